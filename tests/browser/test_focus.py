"""Where the focus is when what had it goes away, and what is taken back without being done."""

import re

from playwright.sync_api import Page, expect

from tests.support.browsers import (
    FINGER,
    PASSWORD,
    choose,
    composer,
    frames_heard,
    message,
    say,
    write,
)
from tests.support.house import House, Post, draft, enter


def test_a_boost_that_is_taken_back_leaves_the_focus_with_its_message(house: House) -> None:
    room = house.room()
    house.boost("Maya", house.post("Jonas", room, "Boosted"), "🎉")
    maya = house.sit("Maya", room)
    own = maya.get_by_role("button", name="boosted 🎉, press to take yours back")

    own.focus()
    maya.keyboard.press("Enter")

    expect(own).to_have_count(0)
    expect(message(maya, "Boosted")).to_be_focused()


def test_the_focus_never_falls_to_the_page(house: House) -> None:
    room = house.room()
    posted = [house.post("Jonas", room, f"Number {number}.") for number in range(130)]
    maya = house.sit("Maya")
    enter(maya, f"{room}/@{posted[20]['id']}")
    maya.locator(".messages").evaluate("list => list.scrollTo(0, 0)")
    house.post("Jonas", room, "Newest")
    maya.get_by_role("button", name="Jump to newest message").click()
    expect(message(maya, "Newest")).to_be_in_viewport()
    expect(composer(maya)).to_be_focused()

    post = Post(maya)
    post.always = 422
    say(maya, "Refused")
    message(maya, "Refused").get_by_role("button", name="Try again").click()
    expect(composer(maya)).to_be_focused()
    post.always = None
    expect(message(maya, "Refused").get_by_role("button", name="Try again")).to_be_visible()
    choose(maya, "Newest", "Party popper")
    expect(message(maya, "Newest").locator(".boost")).to_have_count(1)
    expect(message(maya, "Newest")).to_be_focused()

    maya.get_by_role("button", name="Ping", exact=True).click()
    field = maya.get_by_role("combobox", name="Who do you want to ping?")
    field.fill("jonas")
    maya.get_by_role("option", name="Jonas Weber").click()
    maya.get_by_role("button", name="Remove Jonas Weber").click()
    expect(field).to_be_focused()


def test_what_is_typed_at_a_message_goes_to_the_composer(house: House) -> None:
    room = house.room()
    house.post("Jonas", room, "Question?")
    maya = house.sit("Maya", room)
    message(maya, "Question?").focus()
    maya.keyboard.type("Answer!")
    expect(composer(maya)).to_be_focused()
    assert draft(maya) == "Answer!"


def test_the_closed_sidebar_of_a_phone_gives_the_focus_to_its_button(house: House) -> None:
    maya = house.sit("Maya", house.room(), **FINGER)
    toggle = maya.locator(".sidebar__toggle")
    toggle.tap()
    expect(maya.locator("#sidebar")).to_have_class(re.compile("open"))
    maya.go_back()
    expect(toggle).to_be_focused()


def signing_in(page: Page, name: str) -> None:
    expect(page.get_by_label(f"Enter your {name}")).to_be_focused()


def test_sign_in_begins_in_its_first_empty_field_and_says_who_is_known_already(
    house: House,
) -> None:
    guest = house.sit("Maya")
    guest.context.clear_cookies()
    guest.goto("/session/new")
    signing_in(guest, "email address")
    guest.goto("/session/new?email_address=jonas@northwind.example")
    signing_in(guest, "password")

    guest.goto(f"/join/{house.join_code}")
    guest.get_by_label("Name", exact=True).fill("Jonas again")
    guest.get_by_label("Email address").fill("jonas@northwind.example")
    guest.get_by_label("Password").fill(PASSWORD)
    guest.get_by_role("button", name="Save").click()
    expect(guest.get_by_role("status").filter(has_text="known here already")).to_be_visible()
    signing_in(guest, "password")
    frames_heard(guest).clear()
    guest.keyboard.type(PASSWORD)
    guest.keyboard.press("Enter")
    expect(composer(guest)).to_be_visible()


def test_a_refused_message_comes_back_into_the_editor_before_the_draft(house: House) -> None:
    maya = house.sit("Maya", house.room())
    post = Post(maya)
    post.always = 422
    say(maya, "Nearly right")
    expect(message(maya, "Nearly right")).to_contain_text("That is too long.")
    write(maya, "and the next")
    message(maya, "Nearly right").get_by_role("button", name="Edit", exact=True).click()

    expect(message(maya, "Nearly right")).to_have_count(0)
    expect(composer(maya)).to_be_focused()
    assert draft(maya) == "Nearly right\nand the next"
    maya.reload()
    expect(composer(maya)).to_contain_text("Nearly right")
    expect(message(maya, "Nearly right")).to_have_count(0)


def test_the_limit_is_named_before_anything_is_sent(house: House) -> None:
    maya = house.sit("Maya", house.room())
    post = Post(maya)
    composer(maya).click()
    maya.keyboard.insert_text("ä" * 40_000)
    words = "Too long to send: 79 KB, and a message has room for 64."
    expect(maya.locator(".typing-indicator--status")).to_contain_text(words)
    maya.keyboard.press("Enter")
    expect(composer(maya)).to_contain_text("ä")
    assert len(post) == 0
    maya.keyboard.press("Control+A")
    maya.keyboard.type("short")
    expect(maya.locator(".typing-indicator--status")).to_have_count(0)
    maya.keyboard.press("Enter")
    expect(message(maya, "short")).to_be_visible()


def test_the_plus_for_a_new_room_never_covers_a_room(house: House) -> None:
    for number in range(30):
        house.room(name=f"Covered {number}")
    maya = house.sit("Maya", house.room(name="Zenith"))
    covered = """list => {
      const plus = document.querySelector('.rooms__new-btn').getBoundingClientRect()
      const found = []
      for (list.scrollTop = 0; ; list.scrollTop += 7) {
        for (let y = plus.top; y < plus.bottom; y += 4)
          found.push(...document.elementsFromPoint(plus.left + 9, y)
            .filter((each) => each.matches('.room')))
        if (list.scrollTop + list.clientHeight >= list.scrollHeight - 1) return found.length
      }
    }"""
    assert maya.locator(".rooms").evaluate(covered) == 0
    expect(maya.get_by_role("link", name="Zenith")).to_be_in_viewport()
    assert maya.locator(".rooms").evaluate("list => list.scrollHeight > list.clientHeight")

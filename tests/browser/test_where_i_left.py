"""Where I left off: the line above what is new, the way to it, and what tells of it elsewhere."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.asking import It
from tests.support.browsers import (
    DESKTOP,
    FINGER,
    composer,
    connected,
    frames_heard,
    message,
    options,
    say,
    violations,
)
from tests.support.house import Cable, House, announced, enter, look

LINE = "[data-new]"
# Of the list's height, how far below its upper edge an element is.
AT = """element => {
  const list = element.closest('.messages').getBoundingClientRect()
  return (element.getBoundingClientRect().top - list.top) / list.height
}"""


def talk(house: House, room: str, count: int, who: str = "Jonas") -> None:
    for n in range(count):
        house.post(who, room, f"{who} {n}")


def read_up_to_here(house: House, page: Page, room: str) -> None:
    """Maya looks at the room, and goes to another."""
    enter(page, room)
    enter(page, house.room(name="Elsewhere"))


def new_line(page: Page) -> Locator:
    return page.locator(f".message:has({LINE})")


@pytest.mark.parametrize("screen", [{"viewport": DESKTOP}, FINGER, {"color_scheme": "dark"}])
def test_a_room_opens_where_i_left_off_with_the_line_a_third_from_the_top(
    house: House, screen: dict[str, Any]
) -> None:
    room, maya = house.room(), house.sit("Maya", **screen)
    talk(house, room, 15, "Inés")
    read_up_to_here(house, maya, room)
    house.post("Maya", room, "My own words, from elsewhere")
    talk(house, room, 20)

    enter(maya, room)

    expect(new_line(maya)).to_have_count(1)
    expect(new_line(maya)).to_contain_text("Jonas 0")
    expect(new_line(maya)).to_have_accessible_name(re.compile("^New Jonas Weber"))
    assert abs(new_line(maya).evaluate(AT) - 1 / 3) < 0.02
    expect(announced(maya)).to_have_text("20 new messages")
    expect(maya.get_by_role("button", name="Jump to newest message")).to_be_visible()
    assert violations(maya) == []


def test_the_line_stays_until_i_send_mark_the_room_as_read_or_leave_it(
    it: It, house: House
) -> None:
    room, maya = house.room(), house.sit("Maya")
    with it("it stays where it is while others write"):
        read_up_to_here(house, maya, room)
        talk(house, room, 2)
        enter(maya, room)
        expect(new_line(maya)).to_contain_text("Jonas 0")
        house.post("Jonas", room, "And on")
        expect(message(maya, "And on")).to_be_visible()
        expect(new_line(maya)).to_contain_text("Jonas 0")
    with it("what I send ends it"):
        say(maya, "I am here")
        expect(new_line(maya)).to_have_count(0)
    with it("Shift+Escape ends it, and goes to the newest"):
        read_up_to_here(house, maya, room)
        talk(house, room, 30)
        enter(maya, room)
        expect(new_line(maya)).to_be_visible()
        maya.keyboard.press("Shift+Escape")
        expect(new_line(maya)).to_have_count(0)
        expect(message(maya, "Jonas 29")).to_be_in_viewport()
        expect(announced(maya)).to_have_text("Marked read")
        expect(composer(maya)).to_be_focused()
    with it("coming back, there is none"):
        enter(maya, room)
        expect(message(maya, "Jonas 29")).to_be_visible()
        expect(new_line(maya)).to_have_count(0)


def test_what_is_further_up_than_the_page_is_a_button_away(house: House) -> None:
    room, maya = house.room(), house.sit("Maya")
    talk(house, room, 5, "Inés")
    read_up_to_here(house, maya, room)
    talk(house, room, 60)
    enter(maya, room)
    up = maya.get_by_role("button", name="60 new, jump up")
    expect(up).to_be_visible()
    expect(message(maya, "Jonas 59")).to_be_in_viewport()
    assert violations(maya) == []

    up.click()

    expect(new_line(maya)).to_contain_text("Jonas 0")
    assert abs(new_line(maya).evaluate(AT) - 1 / 3) < 0.02
    expect(message(maya, "Inés 4")).to_be_in_viewport()
    expect(up).to_have_count(0)
    maya.get_by_role("button", name="Jump to newest message").click()
    expect(message(maya, "Jonas 59")).to_be_in_viewport()


@pytest.mark.parametrize("lost", [False, True])
def test_what_came_while_the_window_was_hidden_for_a_minute_is_below_a_line(
    house: House,
    lost: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    room, maya = house.room(), house.sit("Maya")
    maya.clock.install()
    cable = Cable(maya)
    talk(house, room, 15, "Inés")
    read_up_to_here(house, maya, room)
    enter(maya, room)
    pill = maya.locator(f".rooms [href='{room}']")
    look(maya, "hidden")
    cable.pass_time(5)
    if lost:
        cable.cut()
    talk(house, room, 30)
    if lost:
        maya.clock.run_for(61_000)
        cable.mend()
    else:
        cable.pass_time(61)
        expect(maya).to_have_title(re.compile("^• "))
        expect(pill).to_have_class(re.compile("unread"))

    look(maya, "visible")

    expect(new_line(maya)).to_contain_text("Jonas 0")
    expect(announced(maya)).to_have_text("30 new messages")
    expect(pill).not_to_have_class(re.compile("unread"))
    assert abs(new_line(maya).evaluate(AT) - 1 / 3) < 0.02


def test_a_message_is_kept_for_later_and_i_go_to_the_room_before(it: It, house: House) -> None:
    before, room = house.room(name="Before"), house.room(name="Kept for later")
    maya, other = house.sit("Maya", before), house.sit("Maya", before)
    talk(house, room, 3)
    pill = maya.locator(f".rooms [href='{room}']")
    pill.click()
    expect(message(maya, "Jonas 2")).to_be_visible()
    expect(pill).to_have_attribute("aria-current", "page")

    options(maya, "Jonas 1")
    maya.get_by_role("menuitem", name="Mark unread from here").click()

    expect(maya.get_by_role("heading", name="Before")).to_be_visible()
    for page in (maya, other):
        expect(page.locator(f".rooms [href='{room}']")).to_have_accessible_name(
            "Kept for later, unread"
        )
    pill.click()
    expect(new_line(maya)).to_contain_text("Jonas 1")
    with it("in the sidebar Shift+Escape marks a room as read, without going there"):
        expect(other.locator(f".rooms [href='{room}']")).to_have_accessible_name("Kept for later")
        frames_heard(maya).clear()
        maya.locator(f".rooms [href='{before}']").click()
        connected(maya)  # and so the room is left
        house.post("Jonas", room, "Again")
        expect(pill).to_have_accessible_name("Kept for later, unread")
        pill.focus()
        maya.keyboard.press("Shift+Escape")
        for page in (maya, other):
            expect(page.locator(f".rooms [href='{room}']")).to_have_accessible_name(
                "Kept for later"
            )
        expect(maya.get_by_role("heading", name="Before")).to_be_visible()


def test_the_title_the_icon_and_the_pills_tell_what_waits_for_me(it: It, house: House) -> None:
    here, room = house.room(name="Here"), house.room(name="Where I am named")
    ping = house.ping("Maya", "Jonas")
    for other in house.ask("Maya", "GET", "/api/rooms")["rooms"]:
        house.ask("Maya", "DELETE", f"/api/rooms/{other['id']}/unread")
    maya = house.sit("Maya", here)
    icon = maya.locator("link[rel=icon]")
    plain = icon.get_attribute("href") or ""
    pill = maya.locator(f".rooms [href='{room}']")
    expect(maya).to_have_title("Here")
    with it("something to read is a dot"):
        house.post("Jonas", room, "Hello")
        expect(maya).to_have_title("• Here")
        expect(icon).to_have_attribute("href", re.compile("^data:image/png"))
        expect(pill.get_by_text("@")).to_have_count(0)
    with it("a mention is a number, and an @ in the pill"):
        house.post("Jonas", room, f"{house.mention('Maya')} look")
        expect(maya).to_have_title("(1) Here")
        expect(pill.get_by_text("@")).to_be_visible()
        expect(pill).to_have_accessible_name("Where I am named, unread, mentions you")
        assert violations(maya) == []
    with it("an unread ping is one more, however much is said"):
        for words in ("Psst", "Are you there?"):
            house.post("Jonas", ping, words)
        expect(maya).to_have_title("(2) Here")
    with it("it is so after a reload, and not in my other window what I wrote myself"):
        maya.reload()
        expect(maya).to_have_title("(2) Here")
        expect(pill.get_by_text("@")).to_be_visible()
        house.post("Maya", house.room(name="By myself"), "Note to self")
        house.post("Jonas", room, f"{house.mention('Maya')} again")
        expect(maya).to_have_title("(3) Here")
        expect(maya.get_by_role("link", name="By myself")).to_have_accessible_name("By myself")
    with it("nothing is left when I have been there"):
        pill.click()
        expect(maya).to_have_title("(1) Where I am named")
        maya.locator(f".directs [href='{ping}']").click()
        expect(maya).to_have_title("Jonas Weber")
        expect(icon).to_have_attribute("href", plain)

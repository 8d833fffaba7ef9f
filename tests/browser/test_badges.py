"""Boosts that are alike, emoji to pick, what was edited, and what a room is about: in a browser."""

import re

from playwright.sync_api import expect

from tests.support.browsers import choose, message, picture
from tests.support.house import House, enter


def test_the_same_boost_by_several_is_one_badge_that_a_click_joins_or_leaves(house: House) -> None:
    room = house.room()
    posted = house.post("Maya", room, "Look at this")
    for who, content in (("Jonas", "👍"), ("Inés", "🎉"), ("Inés", "👍")):
        house.boost(who, posted, content)
    maya, jonas = house.sit("Maya", room), house.sit("Jonas", room)
    badges = message(maya, "Look").locator(".boost")
    thumbs = badges.first

    expect(badges).to_have_text([re.compile("👍.*2"), re.compile("^🎉$")])
    expect(thumbs.locator("img")).to_have_count(2)
    said = "Jonas Weber and Inés Duarte boosted 👍, press to join"
    expect(thumbs).to_have_accessible_name(said)
    expect(thumbs).to_have_attribute("aria-pressed", "false")
    thumbs.click()
    for page in (maya, jonas):
        expect(message(page, "Look").locator(".boost").first).to_have_text(re.compile("👍.*3"))
    expect(thumbs).to_have_accessible_name(
        re.compile("Maya Okafor boosted 👍, press to take yours")
    )
    expect(thumbs).to_have_attribute("aria-pressed", "true")
    picture(maya, "badges")

    thumbs.click()
    expect(thumbs).to_have_attribute("aria-pressed", "false")
    expect(message(jonas, "Look").locator(".boost").first).to_have_text(re.compile("👍.*2"))
    assert len(house.boosts("Maya", posted)) == 3


def test_emoji_are_picked_of_what_the_room_used_last_and_of_common_ones(house: House) -> None:
    room = house.room()
    posted = house.post("Jonas", room, "Ahoy 🛟 and ⛵")
    house.boost("Inés", posted, "🦀")
    maya = house.sit("Maya", room)
    cells = maya.get_by_role("menuitem")

    choose(maya, "Ahoy", "New boost")
    maya.get_by_role("button", name="Emoji").click()
    expect(cells).to_have_count(64)
    expect(cells.nth(0)).to_have_text("🦀")
    expect(cells.nth(1)).to_have_text("🛟")
    expect(cells.nth(2)).to_have_accessible_name("Sailboat")
    expect(cells.nth(3)).to_have_accessible_name("Thumbs up")
    expect(cells.nth(0)).to_be_focused()
    for key in ("ArrowDown", "ArrowRight", "ArrowUp", "Enter"):
        maya.keyboard.press(key)
    expect(message(maya, "Ahoy").locator(".boost")).to_have_text(["🦀", "🛟"])
    expect(message(maya, "Ahoy")).to_be_focused()
    assert [each["content"] for each in house.boosts("Maya", posted)] == ["🦀", "🛟"]

    choose(maya, "Ahoy", "New boost")
    maya.get_by_role("button", name="Emoji").click()
    expect(cells).to_have_count(64)
    maya.keyboard.press("Escape")
    expect(cells).to_have_count(0)
    expect(maya.get_by_role("button", name="Emoji")).to_be_focused()


def test_under_a_finger_the_keyboard_has_emoji_and_no_button_is_in_the_way(house: House) -> None:
    room = house.room()
    house.boost("Inés", house.post("Jonas", room, "Ahoy"), "🦀")
    phone = house.sit("Maya", room, has_touch=True, is_mobile=True)

    phone.get_by_role("button", name="New boost").tap()

    expect(phone.get_by_role("textbox", name="New boost")).to_be_focused()
    expect(phone.get_by_role("button", name="Emoji")).to_have_count(0)


def test_an_edited_message_says_so_and_by_whom_when_it_was_another(house: House) -> None:
    room = house.room()
    posted = house.post("Jonas", room, "First")
    maya, ines = house.sit("Maya", room), house.sit("Inés", room)
    mark = message(maya, "thoughts").locator(".message__edited")
    expect(maya.locator(".message__edited")).to_have_count(0)

    house.edit("Jonas", room, posted, "Second thoughts")
    expect(mark).to_have_text("edited")
    assert mark.get_attribute("title")
    expect(message(maya, "thoughts")).to_have_accessible_name(re.compile("Jonas Weber .* edited$"))
    house.edit("Maya", room, posted, "Third thoughts")
    for page in (maya, ines):
        shown = message(page, "Third thoughts").locator(".message__edited")
        expect(shown).to_have_text("edited by Maya Okafor")
    maya.reload()
    expect(mark).to_have_text("edited by Maya Okafor")
    picture(maya, "edited")


def test_a_room_shows_its_topic_under_its_name_to_everybody_at_once(house: House) -> None:
    room = house.room(name="Harbour")
    maya, jonas = house.sit("Maya", room), house.sit("Jonas", room)
    expect(jonas.locator(".room-topic")).to_have_count(0)

    maya.get_by_role("link", name="Settings for this room").click()
    maya.get_by_role("textbox", name="Topic").fill("Boats,  tides & who has the keys")
    maya.get_by_role("button", name="Save").click()

    for page in (maya, jonas):
        expect(page.locator(".room-topic")).to_have_text("Boats, tides & who has the keys")
        expect(page.get_by_role("heading", level=1)).to_have_text("Harbour")
    name, topic = maya.locator("#nav h1").bounding_box(), maya.locator(".room-topic").bounding_box()
    assert name
    assert topic
    assert name["y"] + name["height"] <= topic["y"] + 1
    picture(maya, "topic")
    enter(jonas, house.room())
    expect(jonas.locator(".room-topic")).to_have_count(0)
    maya.get_by_role("link", name="Settings for this room").click()
    maya.get_by_role("textbox", name="Topic").fill("")
    maya.get_by_role("button", name="Save").click()
    expect(maya.locator(".room-topic")).to_have_count(0)

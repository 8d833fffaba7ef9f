"""The options of a message: how they open, and where."""

import math

from playwright.sync_api import expect

from tests.support.browsers import FINGER, SETTLED, options
from tests.support.house import House, announced, box


def test_the_options_open_by_mouse_key_and_finger(house: House) -> None:
    room = house.room()
    house.post("Jonas", room, "Words")
    maya = house.sit("Maya", room)
    maya.context.grant_permissions(["clipboard-read", "clipboard-write"])
    menu = maya.get_by_role("menu", name="Message options")
    dots = maya.get_by_role("button", name="Message options")

    options(maya, "Words")
    expect(menu).to_be_visible()
    maya.mouse.click(700, 600)
    expect(menu).to_have_count(0)
    dots.focus()
    maya.keyboard.press("Enter")
    walk = [("", "Thumbs up"), ("ArrowRight", "Clapping"), ("ArrowDown", "Red heart"),
            ("ArrowDown", "Fire"), ("ArrowDown", "Copy link"), ("ArrowDown", "Clapping"),
            ("ArrowUp", "Copy link"), ("Home", "Thumbs up"), ("ArrowLeft", "Edit"),
            ("ArrowRight", "Thumbs up"), ("End", "Edit"), ("x", "Edit")]  # fmt: skip
    for key, name in walk:
        if key:
            maya.keyboard.press(key)
        expect(menu.get_by_role("menuitem", name=name)).to_be_focused()
    maya.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(dots).to_be_focused()
    maya.keyboard.press("Space")
    menu.get_by_role("menuitem", name="Copy link").click()
    expect(announced(maya)).to_have_text("Copied")
    expect(menu).to_have_count(0)
    link = f"{house.url}{room}/@{maya.locator('.message').get_attribute('data-message-id')}"
    assert maya.evaluate("navigator.clipboard.readText()") == link

    phone = house.sit("Maya", room, **FINGER)
    phone.get_by_role("button", name="Message options").tap()
    expect(phone.get_by_role("menu", name="Message options")).to_be_in_viewport(ratio=1)


def test_the_options_open_upwards_within_90_pixels_of_the_windows_end(house: House) -> None:
    room = house.room()
    house.post("Jonas", room, "Words")
    maya = house.sit("Maya", room)
    menu = maya.get_by_role("menu", name="Message options")
    options(maya, "Words")
    expect(menu).to_be_visible()
    maya.evaluate(SETTLED)  # nothing moves any more
    place = box(menu)
    bottom = place["y"] + place["height"]

    for nearer, flipped in ((0, None), (1, "true")):
        maya.keyboard.press("Escape")
        maya.set_viewport_size({"width": 1280, "height": math.ceil(bottom + 90) - nearer})
        options(maya, "Words")
        expect(menu).to_be_visible()
        assert menu.get_attribute("data-flipped") == flipped

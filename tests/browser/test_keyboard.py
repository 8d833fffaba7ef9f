"""Everything by keyboard alone."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.browsers import PASSWORD, composer, join, message
from tests.support.executable import Campfire
from tests.support.house import House, focused


def test_keys_walk_the_feed_and_one_message_is_in_the_tab_order(house: House) -> None:
    room = house.room()
    for number in range(45):
        house.post("Jonas", room, f"Number {number}.")
    maya = house.sit("Maya", room)
    bell = maya.locator("#nav button")
    bell.focus()
    maya.keyboard.press("Tab")
    expect(maya.get_by_role("button", name="new, jump up")).to_be_focused()
    maya.keyboard.press("Tab")
    expect(message(maya, "Number 44.")).to_be_focused()
    expect(message(maya, "Number 44.")).to_have_accessible_name(re.compile(r"Jonas Weber,? \d"))
    expect(message(maya, "Number 44.")).to_have_accessible_description("Number 44.")
    maya.keyboard.press("PageUp")
    expect(message(maya, "Number 43.")).to_be_focused()
    assert maya.locator(".message[tabindex='0']").count() == 1
    others = ".message[tabindex='-1'] :is(a, button)"
    assert maya.locator(f"{others}:not([tabindex='-1'])").count() == 0
    maya.keyboard.press("PageDown")
    maya.keyboard.press("Enter")
    expect(maya.get_by_role("menuitem", name="Thumbs up")).to_be_focused()
    maya.keyboard.press("Escape")
    message(maya, "Number 44.").focus()
    maya.keyboard.press("Control+End")
    expect(composer(maya)).to_be_focused()
    maya.keyboard.press("Shift+Tab")
    message(maya, "Number 44.").focus()
    maya.keyboard.press("Control+Home")
    expect(maya.locator("#nav :focus")).to_have_count(1)
    message(maya, "Number 5.").focus()
    maya.keyboard.press("PageUp")
    expect(message(maya, "Number 4.")).to_be_focused()


def test_everything_can_be_done_with_the_keyboard_alone(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, jonas = window(), window()
    keys = maya.keyboard
    set_up_by_keys(maya, campfire)
    expect(composer(maya)).to_be_focused()
    join(jonas, maya.get_by_label("Join link").input_value(), "Jonas Weber")

    tab_to(maya, "New room")
    keys.press("Enter")
    expect(maya.get_by_label("Name of the room")).to_be_focused()
    keys.type("Design")
    keys.press("Enter")
    expect(maya.get_by_role("heading", name="Design")).to_be_visible()
    expect(composer(maya)).to_be_focused()
    keys.type("Morning")
    keys.press("Enter")
    expect(message(maya, "Morning").locator(".message__permalink")).to_be_attached()
    boost_and_edit_by_keys(maya, "Morning", ", all")
    expect(message(maya, "Morning, all")).to_be_visible()

    maya.reload()
    expect(composer(maya)).to_be_focused()
    tab_to(maya, "Jonas")
    keys.press("Enter")
    expect(maya.get_by_role("heading", name="Ping with Jonas Weber")).to_be_visible()
    tab_to(maya, "Search", "Shift+Tab")
    keys.press("Enter")
    expect(maya.get_by_role("searchbox")).to_be_focused()
    keys.type("morning")
    keys.press("Enter")
    expect(maya.locator(".message")).to_have_count(1)
    tab_to(maya, "Go back")
    keys.press("Enter")
    tab_to(maya, "My settings")
    keys.press("Enter")
    expect(maya.get_by_role("heading", name="My settings")).to_be_focused()
    tab_to(maya, "Log out", "Shift+Tab")
    keys.press("Enter")
    expect(maya).to_have_url(f"{campfire.url}/session/new")
    expect(jonas.locator(".message")).to_have_count(0)


def tab_to(page: Page, name: str, key: str = "Tab") -> None:
    """Presses Tab until something of this name has the focus, which must be soon enough."""
    for _ in range(60):
        page.keyboard.press(key)
        if focused(page).startswith(name):
            return
    raise AssertionError(f"{name} is out of reach")


def set_up_by_keys(page: Page, campfire: Campfire) -> None:
    """First run, as Maya, without a mouse."""
    page.goto(campfire.url)
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type("Maya Okafor")
    tab_to(page, "Email address")
    page.keyboard.type("maya@northwind.example")
    tab_to(page, "Password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")


def boost_and_edit_by_keys(page: Page, words: str, more: str) -> None:
    """Thumbs up for the last message, and some more words to it."""
    tab_to(page, "Message options", "Shift+Tab")
    for key in ("Enter", "Enter"):
        page.keyboard.press(key)
    expect(message(page, words).locator(".boost")).to_contain_text("👍")
    expect(page.get_by_role("button", name="Message options")).to_be_focused()
    for key in ("Enter", "End", "Enter"):
        page.keyboard.press(key)
    expect(page.get_by_role("textbox", name="Edit message")).to_be_focused()
    page.keyboard.type(more)
    page.keyboard.press("Control+Enter")

"""What buttons, dialogs and fields say of themselves: tooltips, keys, refusals, signs of work."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.browsers import (
    PAINTED,
    ROOT,
    choose,
    composer,
    message,
    options,
    say,
    until,
    write,
)  # fmt: skip
from tests.support.house import HELD, House, Post, box

# What shows nothing but a drawing, and nothing when the pointer rests on it.
MUTE = """() => [...document.querySelectorAll('button, a[href]')].filter((each) => {
  if (!each.checkVisibility() || each.closest('[title]')) return false
  const shown = each.cloneNode(true)
  for (const hidden of shown.querySelectorAll('.for-screen-reader')) hidden.remove()
  return shown.textContent.trim() === ''
}).map((each) => each.outerHTML.slice(0, 120))"""
LINK = "trix-toolbar [data-trix-action=link]"
# Trix renders what was typed with the next frame, and then selects as it thinks right.
DIALOG = "[data-trix-dialog=href]"


@pytest.mark.parametrize(
    "path",
    ["room", "/users/me/profile", "/account/edit", "/account/bots", "/account/bots/new",
     "/searches", "/rooms/opens/new", "/account/custom_styles/edit", "/nowhere"],
)  # fmt: skip
def test_every_button_of_icons_has_a_tooltip(house: House, path: str) -> None:
    room = house.room()
    house.post("Jonas", room, "Words")
    maya = house.sit("Maya")
    maya.goto(room if path == "room" else path)
    expect(maya.locator("h1").first).to_be_attached()
    if path == "room":
        expect(message(maya, "Words")).to_be_visible()
        options(maya, "Words")
        maya.get_by_role("button", name="Rich text").click()

    assert maya.evaluate(MUTE) == []


def test_tooltips_and_the_editor_name_their_keys(house: House) -> None:
    maya = house.sit("Maya", house.room())
    say(maya, "Mine")
    expect(maya.get_by_role("button", name="Send message")).to_have_attribute(
        "title", "Send message (Enter)"
    )
    maya.get_by_role("button", name="Rich text").click()
    expect(maya.get_by_role("button", name="Bold")).to_have_attribute("title", "Bold (Ctrl+B)")
    expect(maya.get_by_role("button", name="Send message")).to_have_attribute(
        "title", "Send message (Ctrl+Enter)"
    )
    choose(maya, "Mine", "Edit")

    expect(maya.get_by_text("Ctrl+Enter saves, Escape leaves")).to_be_visible()
    leave = maya.get_by_role("button", name="Stop editing")
    expect(leave).to_have_attribute("title", "Stop editing, discard changes (Escape)")


def in_link_dialog(page: Page, words: str) -> None:
    """Selects what is written and asks for a link."""
    page.get_by_role("button", name="Rich text").click()
    write(page, words)
    page.evaluate(PAINTED)
    page.keyboard.press("Control+A")
    page.evaluate(PAINTED)
    page.locator(LINK).click()
    expect(page.locator(DIALOG)).to_be_visible()


# The buttons of the toolbar that show and do not lie on top at their own centre.
COVERED = """() => [...document.querySelectorAll('#composer .trix-button-row button')]
  .filter((each) => {
    const {x, y, width, height} = each.getBoundingClientRect()
    return width && !each.contains(document.elementFromPoint(x + width / 2, y + height / 2))
  }).map((each) => each.title)"""


@pytest.mark.parametrize("width", [820, 900, 1000, 1280])
def test_no_button_of_the_toolbar_lies_under_another_however_narrow_the_window(
    house: House, width: int
) -> None:
    maya = house.sit("Maya", house.room())
    maya.set_viewport_size({"width": width, "height": 700})
    maya.get_by_role("button", name="Rich text").click()
    expect(maya.get_by_role("button", name="Keys and marks")).to_be_visible()
    maya.evaluate(PAINTED)

    assert maya.evaluate(COVERED) == []


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("example.org/page", "https://example.org/page"),
        ("http://example.org:8080", "http://example.org:8080"),
        ("localhost:3000/x", "https://localhost:3000/x"),
        ("bea@example.org", "mailto:bea@example.org"),
    ],
)
def test_the_link_dialog_takes_an_address_as_people_type_it(
    house: House, typed: str, address: str
) -> None:
    maya = house.sit("Maya", house.room())
    in_link_dialog(maya, "our page")
    maya.keyboard.type(typed)
    maya.keyboard.press("Enter")

    expect(maya.locator(f"trix-editor a[href='{address}']")).to_have_text("our page")


def test_the_link_dialog_says_what_it_refuses_and_covers_no_words(house: House) -> None:
    maya = house.sit("Maya", house.room())
    in_link_dialog(maya, "our page")
    words, dialog = box(composer(maya)), box(maya.locator(DIALOG))
    assert (
        dialog["y"] >= words["y"] + words["height"] or words["y"] >= dialog["y"] + dialog["height"]
    )

    for typed in ("not an address", "javascript:alert(1)", "ftp://example.org", ""):
        maya.locator(DIALOG).locator("[name=href]").fill(typed)
        maya.get_by_role("button", name="Link", exact=True).last.click()
        expect(maya.locator(DIALOG).get_by_role("alert")).to_contain_text("no web address")
    expect(maya.locator("trix-editor a")).to_have_count(0)
    maya.locator(DIALOG).locator("[name=href]").fill("example.org")
    expect(maya.locator(DIALOG).get_by_role("alert")).to_be_empty()
    maya.locator(f"{DIALOG} [data-trix-method=setAttribute]").click()
    expect(maya.locator("trix-editor a[href='https://example.org']")).to_have_count(1)


def test_a_search_shows_that_it_works_and_the_dates_and_what_was_cut(house: House) -> None:
    room = house.room()
    for number in range(101):
        house.post("Jonas", room, f"Plenty {number}.", at="2026-03-12T10:00:00Z")
    maya = house.sit("Maya", timezone_id="UTC")
    maya.goto("/searches")
    post = Post(maya, "**/api/searches", HELD)
    maya.get_by_role("searchbox").fill("plenty")
    maya.keyboard.press("Enter")
    expect(maya.get_by_text("Searching")).to_be_attached()
    expect(maya.get_by_role("progressbar", name="Loading")).to_be_visible()
    post.let_go()

    expect(maya.locator(".message__timestamp").last).to_have_text("3/12/26, 10:00 AM")
    expect(maya.locator(".searches__query")).to_contain_text("the newest 100")
    expect(maya.get_by_text("Searching")).to_have_count(0)


def test_a_search_field_has_one_mark_that_clears_it(house: House) -> None:
    maya = house.sit("Maya")
    maya.goto("/searches")
    maya.get_by_role("searchbox").fill("words")

    expect(maya.get_by_role("button", name="Clear", exact=True)).to_have_count(1)
    # Chromium draws none, and WebKit does as this says.
    styles = (ROOT / "static_bundle" / "src" / "styles" / "inputs.css").read_text()
    assert re.search(r"search-cancel-button,[^{]*{[^}]*display: none", styles)


APART = """dots => new Promise((done) => requestAnimationFrame(() => {
  const menu = document.querySelector('[role=menu]')
  done(menu.getBoundingClientRect().y - dots.getBoundingClientRect().y)
}))"""
AWAY_FROM_END = "list => list.scrollHeight - list.clientHeight - list.scrollTop"


def test_an_open_menu_stays_with_its_message_and_a_second_press_closes_it(house: House) -> None:
    room = house.room()
    for number in range(30):
        house.post("Jonas", room, f"Number {number}.")
    maya = house.sit("Maya", room)
    menu = maya.get_by_role("menu", name="Message options")
    dots = message(maya, "Number 24.").get_by_role("button", name="Message options")
    expect(message(maya, "Number 0.")).to_be_attached()
    options(maya, "Number 24.")

    feed = maya.locator(".messages")

    def apart() -> float:
        """Of one frame, after what is done in it: the list may move between two questions."""
        return float(dots.evaluate(APART))

    def away_from_end() -> float:
        return float(feed.evaluate(AWAY_FROM_END))

    def seen() -> object:
        return before, apart(), away_from_end(), box(dots), box(menu)

    before = apart()
    feed.evaluate("list => { list.scrollTop -= 150 }")
    until(maya, lambda: away_from_end() > 100 and abs(apart() - before) < 1, seen)
    # What moves a message need not be a scroll: a preview may come above it.
    feed.evaluate("list => { list.style.translate = '0 40px' }")
    until(maya, lambda: abs(apart() - before) < 1, seen)
    feed.evaluate("list => { list.style.translate = 'none' }")
    dots.click()
    expect(menu).to_have_count(0)
    dots.click()
    expect(menu).to_be_visible()

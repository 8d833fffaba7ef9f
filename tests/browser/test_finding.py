"""Going anywhere without the mouse, searches that are narrowed, and rooms that come first."""

import re

from playwright.sync_api import Page, expect

from tests.support.browsers import composer, hold, message, texts, until
from tests.support.house import House


def switcher(page: Page) -> None:
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox", name="Room, ping or person")).to_be_focused()


def test_control_k_goes_to_any_room_ping_or_person_by_a_few_letters(house: House) -> None:
    here, there = house.room(name="Émile Bakery"), house.room(name="Quiet Corner")
    ping = house.ping("Maya", "Jonas")
    maya = house.sit("Maya", here)
    composer(maya).click()

    switcher(maya)
    maya.keyboard.type("qc")
    options = maya.get_by_role("listbox", name="Rooms, pings and people").get_by_role("option")
    expect(options.first).to_have_text("Quiet Corner")
    expect(options.first).to_have_attribute("aria-selected", "true")
    maya.keyboard.press("Enter")
    expect(maya).to_have_url(re.compile(f"{there}$"))
    expect(composer(maya)).to_be_focused()

    switcher(maya)
    maya.keyboard.type("emile")
    maya.keyboard.press("Enter")
    expect(maya).to_have_url(re.compile(f"{here}$"))
    switcher(maya)
    maya.keyboard.type("jonas")
    maya.keyboard.press("Enter")
    expect(maya).to_have_url(re.compile(f"{ping}$"))

    switcher(maya)
    maya.keyboard.type("nobody of this name")
    expect(maya.get_by_text("Nothing found", exact=True)).to_be_visible()
    maya.keyboard.press("Enter")  # leads nowhere
    maya.keyboard.press("Escape")
    expect(maya.get_by_role("dialog")).to_have_count(0)
    expect(composer(maya)).to_be_focused()


def test_what_is_typed_before_the_switcher_has_come_is_typed_into_it(house: House) -> None:
    here, there = house.room(), house.room(name="Velvet Nook")
    maya = house.sit("Maya", here, service_workers="block")
    code = hold(maya, "**/dialogs.js")
    composer(maya).click()
    maya.keyboard.press("Control+k")
    until(maya, lambda: len(code) == 1)

    maya.keyboard.type("vn")
    maya.keyboard.press("Enter")
    code[0].continue_()

    field = maya.get_by_role("combobox", name="Room, ping or person")
    expect(field).to_have_value("vn")
    expect(composer(maya)).to_have_text("")
    expect(message(maya, "vn")).to_have_count(0)
    field.press("Enter")
    expect(maya).to_have_url(re.compile(f"{there}$"))


def test_the_switcher_asks_nobody_and_shows_what_is_unread_first(house: House) -> None:
    here, news = house.room(name="Archive"), house.room(name="Zebra crossing")
    maya = house.sit("Maya", here)
    switcher(maya)
    maya.keyboard.press("Escape")
    house.post("Jonas", news, "Something new")
    expect(maya.locator(".room.unread", has_text="Zebra crossing")).to_be_visible()
    asked: list[str] = []
    maya.on("request", lambda request: asked.append(request.url))

    switcher(maya)
    maya.keyboard.type("cr")
    first = maya.get_by_role("option").first
    expect(first).to_have_text("Zebra crossing, unread")

    assert [url for url in asked if "/assets/" not in url] == []
    maya.keyboard.press("Control+k")
    expect(maya.get_by_role("dialog")).to_have_count(0)


def test_alt_and_arrows_walk_the_rooms_and_with_shift_the_unread_ones(house: House) -> None:
    first, second, third = (house.room(name=f"Walk {n}") for n in (1, 2, 3))
    maya = house.sit("Maya", first)
    composer(maya).click()

    maya.keyboard.press("Alt+ArrowDown")
    expect(maya).to_have_url(re.compile(f"{second}$"))
    maya.keyboard.press("Alt+ArrowUp")
    expect(maya).to_have_url(re.compile(f"{first}$"))
    house.post("Jonas", third, "Read me")
    expect(maya.locator(".room.unread", has_text="Walk 3")).to_be_visible()
    maya.keyboard.press("Alt+Shift+ArrowDown")
    expect(maya).to_have_url(re.compile(f"{third}$"))
    expect(message(maya, "Read me")).to_be_visible()


def test_a_colleagues_link_is_found_by_two_pills_and_back_returns_to_the_hits(
    house: House,
) -> None:
    room = house.room(name="Plans", only=("Maya", "Jonas"))
    for n in range(60):
        house.post("Maya", room, f"plan number {n}", at=f"2026-09-01T10:{n:02}:00+00:00")
    house.post("Jonas", room, "plan https://example.com/plan", at="2026-09-02T10:00:00+00:00")
    house.post("Jonas", room, "plan without one", at="2026-09-03T10:00:00+00:00")
    maya = house.sit("Maya")
    maya.goto("/searches")
    expect(maya.get_by_role("navigation", name="Rooms and pings")).to_be_visible()
    maya.keyboard.type("pla")
    maya.keyboard.press("Enter")
    expect(maya.locator(".searches__query")).to_have_text(re.compile("“pla” *62"))
    days = maya.locator(".message__day-separator")
    expect(days).to_have_count(3)

    maya.get_by_role("combobox", name="Has").select_option("A link")
    expect(maya.locator(".searches__query")).to_have_text(re.compile("“pla” *1"))
    maya.get_by_role("combobox", name="Person").select_option("Jonas Weber")
    expect(maya).to_have_url(re.compile(r"/searches\?q=pla&has=link&creator_id=\d+$"))
    assert texts(maya) == ["plan https://example.com/plan"]
    maya.get_by_role("combobox", name="Has").select_option("Anything")
    expect(maya.locator(".searches__query")).to_have_text(re.compile("“pla” *2"))
    maya.get_by_role("combobox", name="Person").select_option("Anybody")
    expect(maya.locator(".searches__query")).to_have_text(re.compile("“pla” *62"))

    results = maya.locator(".searches__results")
    results.evaluate("list => { list.scrollTop = 300 }")
    hit = maya.locator(".message", has_text="plan number 12")
    hit.focus()
    top = results.evaluate("list => list.scrollTop")
    maya.keyboard.press("Enter")
    expect(maya).to_have_url(re.compile(rf"{room}/@\d+$"))
    expect(message(maya, "plan number 12")).to_have_class(re.compile("search-highlight"))
    expect(message(maya, "plan number 13")).to_be_attached()
    maya.go_back()
    expect(maya.locator(".searches__query")).to_have_text(re.compile("“pla” *62"))
    assert results.evaluate("list => list.scrollTop") == top


def test_older_hits_come_above_and_stay_when_one_comes_back(house: House) -> None:
    room = house.room(name="Long talk", only=("Maya", "Jonas"))
    for n in range(110):
        house.post("Jonas", room, f"giraffe {n}")
    maya = house.sit("Maya")
    maya.goto("/searches?q=giraffe")
    chip = maya.locator(".searches__query")
    expect(chip).to_have_text(re.compile("the newest 100"))

    maya.get_by_role("button", name="Older").click()

    expect(chip).to_have_text(re.compile("“giraffe” *110"))
    expect(maya.get_by_role("button", name="Older")).to_have_count(0)
    assert texts(maya) == [f"giraffe {n}" for n in range(110)]
    maya.locator(".message", has_text="giraffe 3").first.locator(".message__permalink").click()
    expect(maya).to_have_url(re.compile(rf"{room}/@\d+$"))
    maya.go_back()
    expect(chip).to_have_text(re.compile("“giraffe” *110"))


def test_a_star_puts_a_room_first_in_all_windows_of_its_member(house: House) -> None:
    house.room(name="Aardvarks")
    room = house.room(name="Zoo")
    maya, other = house.sit("Maya", room), house.sit("Maya", room)
    rooms = other.get_by_role("list", name="Rooms", exact=True).get_by_role("link")
    expect(rooms.first).not_to_have_text("Zoo")

    maya.get_by_role("link", name="Settings for this room").click()
    star = maya.get_by_role("button", name="Star Zoo")
    star.click()
    expect(star).to_have_attribute("aria-pressed", "true")

    expect(rooms.first).to_have_text("Zoo")
    expect(other.locator(".rooms > [data-plain]")).to_have_count(1)
    maya.goto(room)
    mine = maya.get_by_role("list", name="Rooms", exact=True).get_by_role("link")
    expect(mine.first).to_have_text("Zoo")
    house.post("Jonas", room, "News do not move it")
    house.ask("Maya", "DELETE", f"/api{room}/star")
    expect(rooms.first).not_to_have_text("Zoo")

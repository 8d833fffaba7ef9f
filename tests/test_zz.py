"""Draft."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browsers import (
    FINGER,
    PASSWORD,
    fill_in,
    message,
    set_up,
    until,
)
from tests.house import (
    HELD,
    House,
    Post,
    Sit,
    announced,
    enter,
    stub_push,
)
from tests.readers import Campfire

# --- Around the room ----------------------------------------------------------------------------


def test_what_is_said_elsewhere_is_unread_until_any_window_of_mine_enters(
    house: House, sit: Sit
) -> None:
    room, elsewhere = house.room(), house.room(name="Élan vital")
    badge = "window.badge = 0; navigator.setAppBadge = async (count) => { window.badge = count }"
    maya, other, phone = sit("Maya"), sit("Maya"), sit("Maya", **FINGER)
    maya.add_init_script(f"{badge}; navigator.clearAppBadge = async () => {{ window.badge = 0 }}")
    for page in (maya, other, phone):
        enter(page, room)
    before = maya.evaluate("window.badge")
    pills = [page.locator(f".rooms [href='{elsewhere}']") for page in (maya, other)]

    house.post("Jonas", elsewhere, "Hello")

    for pill in pills:
        expect(pill).to_have_accessible_name("Élan vital, unread")
        expect(pill).to_have_css("font-weight", "600")
    assert maya.evaluate("window.badge") == before + 1
    menu = phone.get_by_role("button", name=f"Open menu, {before + 1} unread")
    expect(menu).to_have_attribute("data-unread", "true")
    menu.click()
    expect(phone.locator("#sidebar.open")).to_be_visible()
    assert phone.locator("#sidebar :focus").count() == 1
    phone.keyboard.press("Escape")
    expect(phone.locator("#sidebar.open")).to_have_count(0)
    expect(phone.locator(".sidebar__toggle")).to_be_focused()
    menu.click()
    phone.locator(f".rooms [href='{elsewhere}']").click()
    expect(message(phone, "Hello")).to_be_visible()
    expect(phone.locator("#sidebar.open")).to_have_count(0)
    for pill in pills:
        expect(pill).to_have_accessible_name("Élan vital")
    assert maya.evaluate("window.badge") == before


def test_rooms_are_sorted_as_they_come_and_go_and_a_ping_moves_to_the_front(
    house: House, sit: Sit
) -> None:
    room = house.room(name="Zebra")
    quiet, loud = house.ping("Maya", "Inés"), house.ping("Maya", "Jonas")
    maya = sit("Maya", room, viewport={"width": 1280, "height": 420})
    rooms, pings = maya.locator(".rooms a.room"), maya.locator(".directs a.direct")
    first = house.room("Jonas", "apple 🍎")
    second = house.room("Jonas", "Äpfel")

    expect(rooms.filter(has_text=re.compile("^(?:apple 🍎|Äpfel|Zebra)"))).to_have_text(
        ["Äpfel", "apple 🍎", "Zebra"]
    )
    house.ask("Jonas", "PUT", f"/api/rooms/opens/{first.rpartition('/')[2]}", {"name": "Zoo"})
    expect(rooms.last).to_have_text("Zoo")
    house.ask("Jonas", "DELETE", f"/api{second}")
    expect(rooms.filter(has_text="Äpfel")).to_have_count(0)
    house.post("Inés", quiet, "Psst")
    expect(pings.first).to_have_attribute("href", quiet)
    house.post("Jonas", loud, "Psst")
    expect(pings.first).to_have_accessible_name("Jonas Weber, unread")
    column = maya.locator(".sidebar__container")
    rooms.last.scroll_into_view_if_needed()
    place = column.evaluate("column => column.scrollTop")
    rooms.last.click()
    expect(maya.get_by_role("heading", name="Zoo")).to_be_visible()
    assert column.evaluate("column => column.scrollTop") == place > 0
    house.ask("Jonas", "DELETE", f"/api{first}")
    expect(maya.get_by_text("This room has been deleted.")).to_be_visible()


@pytest.mark.parametrize(
    ("permission", "subscribed", "first", "then"),
    [
        ("denied", False, "Notification settings for this room", "Notifications are blocked"),
        ("default", False, "Notification settings for this room", "Notified of @mentions"),
        ("granted", False, "Notification settings for this room", "Notified of @mentions"),
        ("granted", True, "Notified of @mentions", "Notified of every message"),
    ],
)
def test_the_bell_tells_what_this_browser_is_told(
    house: House, sit: Sit, permission: str, first: str, then: str, *, subscribed: bool
) -> None:
    maya = sit("Maya")
    stub_push(maya, permission, subscribed=subscribed)
    enter(maya, house.room())
    bell = maya.locator("#nav button")
    expect(bell).to_have_accessible_name(first)
    pulses = re.compile("btn--pulsing")
    (expect(bell).not_to_have_class if subscribed else expect(bell).to_have_class)(pulses)

    bell.click()

    if permission == "denied":
        expect(maya.get_by_role("dialog", name=then)).to_be_visible()
        maya.keyboard.press("Escape")
        expect(maya.get_by_role("dialog")).to_have_count(0)
        expect(bell).to_be_focused()
    else:
        expect(bell).to_have_accessible_name(then)
    expect(bell).not_to_have_class(pulses)
    if not subscribed:
        names = {each["name"] for each in maya.context.cookies()}
        assert "notifications-first-run-seen" in names


def test_the_bell_goes_round_and_turns_back_when_the_server_refuses(house: House, sit: Sit) -> None:
    maya = sit("Maya")
    stub_push(maya, "granted", subscribed=True)
    enter(maya, house.room())
    bell = maya.locator("#nav button")
    round_ = ("Notified of every message", "Notifications are off",
              "Notifications are off and the room is hidden from the sidebar",
              "Notified of @mentions")  # fmt: skip
    for name in round_:
        bell.click()
        expect(bell).to_have_accessible_name(name)
        expect(announced(maya)).to_have_text(name)
    post = Post(maya, "**/involvement", HELD)
    bell.click()
    expect(bell).to_have_accessible_name("Notified of every message")
    until(maya, lambda: post.dealt == 1)
    post.let_go(500)
    expect(bell).to_have_accessible_name("Notified of @mentions")
    expect(maya.get_by_role("alert").first).to_be_attached()

    enter(maya, house.ping("Maya", "Jonas"))
    expect(bell).to_have_accessible_name("Notified of every message")
    for name in ("Notifications are off", "Notified of every message"):
        bell.click()
        expect(bell).to_have_accessible_name(name)


def test_administrators_style_the_page_at_once_and_plain_goes_without(
    house: House, sit: Sit
) -> None:
    room, maya = house.room(), sit("Maya")
    house.post("Jonas", room, "Words")
    maya.goto("/account/custom_styles/edit")
    field = maya.get_by_role("textbox", name="Custom CSS")
    field.evaluate("field => { field.value = 'x'.repeat(65537) }")
    field.press("Control+Enter")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    field.fill(".message__body-content, h1 { background-color: rgb(1, 2, 3) !important }")
    field.press("Control+Enter")
    expect(maya.get_by_role("status").filter(has_text="Saved.")).to_be_attached()
    styled = re.compile(re.escape("rgb(1, 2, 3)"))
    expect(maya.locator("h1")).to_have_css("background-color", styled)

    maya.goto(room)
    bubble = maya.locator(".message__body-content")
    expect(bubble).to_have_css("background-color", styled)
    maya.goto(f"{room}?plain=1")
    expect(bubble).not_to_have_css("background-color", styled)
    house.ask("Maya", "PUT", "/api/account/custom_styles", {"custom_styles": ""})


# --- Coming in ----------------------------------------------------------------------------------


def test_whoever_is_second_at_the_first_run_and_whoever_is_known_already_finds_the_way_in(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, late, third = window(), window(), window()
    late.goto(campfire.url)
    link = set_up(maya, campfire)
    fill_in(late, "Theo Late")
    expect(late).to_have_url(f"{campfire.url}/session/new")

    third.goto(link)
    fill_in(third, "Maya Okafor")
    expect(third).to_have_url(re.compile(r"/session/new\?email_address=maya%40northwind.example$"))
    expect(third.get_by_label("Enter your email address")).to_have_value("maya@northwind.example")
    third.goto(f"{campfire.url}/join/unknown")
    expect(third.get_by_role("heading", name="We can’t find that.")).to_be_visible()
    maya.goto(link)
    expect(maya).to_have_url(re.compile("/rooms/1$"))

    maya.goto(f"{campfire.url}/users/me/profile")
    transfer = maya.get_by_label("Sign-in link").input_value()
    late.goto(transfer)
    expect(late).to_have_url(re.compile("/rooms/1$"))
    third.goto(transfer)
    expect(third.get_by_role("heading", name="That didn’t work.")).to_be_visible()
    third.get_by_role("link", name="Sign in").click()
    expect(third).to_have_url(re.compile("/session/new$"))


def test_a_refused_sign_in_shakes_says_why_and_keeps_the_address(
    house: House, window: Callable[..., Page]
) -> None:
    guest = window(base_url=house.url, reduced_motion="no-preference")
    guest.goto("/rooms/opens/1/edit")
    expect(guest).to_have_url(f"{house.url}/session/new")
    guest.get_by_label("Enter your email address").fill("jonas@northwind.example")
    password = guest.get_by_label("Enter your password")
    password.fill("wrong password")
    password.press("Enter")

    expect(guest.locator(".panel.shake")).to_be_visible()
    why = "That e-mail and password don’t match, or there were too many tries."
    expect(guest.locator("#sign-in-refused")).to_contain_text(why)
    expect(guest.locator(".flash__inner[data-kind=alert]")).to_be_attached()
    expect(password).to_be_focused()
    expect(password).to_have_value("")
    expect(guest.get_by_label("Enter your email address")).to_have_value("jonas@northwind.example")
    guest.keyboard.type(PASSWORD)
    guest.keyboard.press("Enter")
    expect(guest).to_have_url(f"{house.url}/rooms/opens/1/edit")


# --- Forms --------------------------------------------------------------------------------------


def test_everyones_switch_changes_the_kind_of_room_in_place_and_the_filter_finds_people(
    house: House, sit: Sit
) -> None:
    maya = sit("Maya", house.room())
    maya.get_by_role("link", name="New room").click()
    name = maya.get_by_label("Name of the room")
    expect(name).to_be_focused()
    maya.keyboard.type("Secret garden")
    everyone = maya.get_by_role("switch", name="Give everyone access to this room")
    expect(everyone).to_be_checked()
    expect(maya.get_by_role("switch")).to_have_count(1)
    everyone.uncheck(force=True)
    expect(maya).to_have_url(re.compile("/rooms/closeds/new$"))
    expect(name).to_have_value("Secret garden")
    jonas = maya.get_by_role("switch", name="Give Jonas Weber access to this room")
    expect(maya.get_by_role("switch", name="Give Maya")).to_have_count(0)
    jonas.check(force=True)
    name.press("Enter")
    expect(maya.get_by_role("heading", name="Secret garden")).to_be_visible()
    maya.get_by_role("link", name="Settings for this room").click()
    expect(maya).to_have_url(re.compile(r"/rooms/closeds/\d+/edit$"))
    expect(jonas).to_be_checked()
    expect(maya.get_by_role("switch", name="Give Inés")).not_to_be_checked()
    name.fill("  ")
    name.press("Enter")
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_be_focused()

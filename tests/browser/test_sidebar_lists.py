"""The lists beside the room: what is unread, and in which order."""

import re

from playwright.sync_api import expect

from tests.support.asking import It
from tests.support.browsers import FINGER, message
from tests.support.house import House, enter


def test_what_is_said_elsewhere_is_unread_until_i_enter(it: It, house: House) -> None:
    room, elsewhere = house.room(), house.room(name="Élan vital")
    badge = "window.badge = 0; navigator.setAppBadge = async (count) => { window.badge = count }"
    maya, other, phone = house.sit("Maya"), house.sit("Maya"), house.sit("Maya", **FINGER)
    maya.add_init_script(f"{badge}; navigator.clearAppBadge = async () => {{ window.badge = 0 }}")
    for page in (maya, other, phone):
        enter(page, room)
    before = maya.evaluate("window.badge")
    pills = [page.locator(f".rooms [href='{elsewhere}']") for page in (maya, other)]
    with it("a room turns unread in the sidebar when another writes, and read when opened"):
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


def test_rooms_are_sorted_as_they_come_and_pings_by_activity(house: House) -> None:
    room = house.room(name="Zebra")
    quiet, loud = house.ping("Maya", "Inés"), house.ping("Maya", "Jonas")
    for letter in "qwertyuiop":
        house.room(name=f"Many {letter}")
    maya = house.sit("Maya", room, viewport={"width": 1280, "height": 320})
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
    column = maya.locator(".rooms")
    rooms.last.scroll_into_view_if_needed()
    place = column.evaluate("column => column.scrollTop")
    rooms.last.click()
    expect(maya.get_by_role("heading", name="Zoo")).to_be_visible()
    assert column.evaluate("column => column.scrollTop") == place > 0
    maya.mouse.move(400, 100)  # a row that comes under it would be fetched ahead, with the alert
    house.ask("Jonas", "DELETE", f"/api{first}")
    expect(maya.get_by_text("This room has been deleted.")).to_be_visible()
    maya.reload()
    expect(maya.get_by_role("alert")).to_have_text("That room is gone, or closed to you.")

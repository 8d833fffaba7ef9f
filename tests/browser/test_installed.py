"""Campfire as an installed app: notifications, no network, and the offer to install."""

import json
from typing import Any

from playwright.sync_api import expect

from tests.support.browsers import call, composer, connected, message, stub_push, until
from tests.support.house import House, enter
from tests.support.installed import PushService, Worker
from tests.support.services import Browser as Keys

# The browser offers to install the app; whether it would also show that by itself.
OFFER = """() => {
  window.prompted ??= 0
  const offer = new Event('beforeinstallprompt', {cancelable: true})
  offer.prompt = async () => { window.prompted += 1 }
  return dispatchEvent(offer)
}"""
# How it is installed where the browser does not offer it by itself.
INSTALLING = {
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/18.2 Mobile/15E148 Safari/604.1": (
        "Press share Share.", "Choose Add to Home Screen. Notifications need it.",
    ),
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.2 Safari/605.1.15": ("Open the File menu.", "Choose Add to Dock."),
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/150.0.0.0 Safari/537.36 Edg/150.0.0.0": (
        "Press download in the address bar.", "Choose Install.",
    ),
    "Mozilla/5.0 (Android 15; Mobile; rv:150.0) Gecko/150.0 Firefox/150.0": (
        "Press dots.", "Choose Install.",
    ),
}  # fmt: skip
ALLOWED: dict[str, Any] = {"permissions": ["notifications"]}
PATH = {"path": "/rooms/1"}


def test_from_the_permission_to_the_click_that_opens_the_room(
    house: House, push_service: PushService
) -> None:
    """The whole way: permission, subscription, a mention, the push, the notification, its click."""
    room, elsewhere = house.room(name="Pushed"), house.room()
    maya = house.sit("Maya", **ALLOWED)
    push_service.stands_behind(maya)
    enter(maya, room)
    maya.get_by_role("button", name="Notification settings for this room").click()
    expect(maya.get_by_role("button", name="Notified of @mentions")).to_be_visible()
    key = "window.subscribed.options.applicationServerKey.length"
    assert maya.evaluate(f"[window.subscribed.options.userVisibleOnly, {key}]") == [True, 65]
    enter(maya, elsewhere)
    house.post("Jonas", room, f"<div>{house.mention('Maya')} look</div>")

    told, worker = push_service.next(), Worker(maya)
    worker.push(json.dumps(told))

    (shown,) = worker.wait_for(room)
    assert (shown["title"], shown["body"]) == ("Pushed", "Jonas Weber: @Maya Okafor look")
    assert (shown["icon"], shown["renotify"]) == ("/account/logo", True)
    assert worker.badges() == [told["options"]["data"]["badge"]] == [1]
    maya.evaluate("window.here = true")
    worker.click(room)
    expect(maya).to_have_url(house.url + room)
    expect(message(maya, "look")).to_be_visible()
    assert maya.evaluate("window.here") is True  # the page went there without being loaded again
    maya.goto("about:blank")
    until(maya, lambda: worker.windows() == 0)  # the browser forgets a window a little later
    worker.click(room)
    assert worker.opened() == [house.url + room]
    maya.goto(room)
    expect(message(maya, "look")).to_be_visible()


def test_pushes_of_one_room_share_a_notification_and_what_cannot_be_read_is_shown_too(
    house: House,
) -> None:
    """Two pushes of one room, and one that says nothing readable."""
    worker = Worker(house.sit("Maya", house.room(), **ALLOWED))
    for words in ("first", "second"):
        worker.push(json.dumps({"title": "Design", "options": {"body": words, "data": PATH}}))
        worker.wait_for("/rooms/1")
    worker.push("{not JSON")

    shown = worker.wait_for("/rooms/1", "/")
    assert [(each["title"], each["body"]) for each in shown] == [
        ("Design", "second"), ("Campfire", "Something new in Campfire"),
    ]  # fmt: skip
    assert worker.badges() == [0, 0, 0]


def test_without_a_network_a_page_says_so_and_no_words_are_kept(house: House) -> None:
    """Loses the network, sees the page that says so, and comes back."""
    page = house.sit("Maya", room := house.room())
    worker = Worker(page)
    page.reload()
    connected(page)
    page.context.set_offline(True)
    page.goto(room)
    expect(page.get_by_role("heading")).to_have_text(
        "You're offline. Campfire comes back when your connection does."
    )
    kept = worker.kept()
    page.context.set_offline(False)
    page.get_by_role("link", name="Try again").click()
    expect(composer(page)).to_be_visible()
    assert {path for path in kept if not path.startswith("/assets/")} == {
        "/offline", "/account/logo",
    }  # fmt: skip
    assert worker.scope == f"{house.url}/"


def test_the_server_is_told_of_a_subscription_the_browser_changed(house: House) -> None:
    """The browser changes its subscription, and the server learns of it."""
    page = house.sit("Maya", house.room(), **ALLOWED)
    Worker(page).change_subscription(Keys().keys)

    devices = call(page, "GET", "/api/users/me/push_subscriptions")["push_subscriptions"]
    assert "https://push.example/again" in [each["endpoint"] for each in devices]


def test_what_cannot_be_fetched_says_so(house: House) -> None:
    """Asks for what comes later while it cannot be fetched, then where it can."""
    page = house.sit("Maya")
    stub_push(page, "denied")
    page.route("**/screens.js", lambda route: route.abort())
    enter(page, house.room())
    page.locator("#nav button").click()
    expect(page.get_by_role("alert")).to_contain_text("t be reached")
    expect(page.locator("dialog")).to_have_count(0)
    page.unroute_all()
    page.reload()
    page.locator("#nav button").click()
    expect(page.get_by_role("dialog", name="Notifications are blocked")).to_be_visible()


def test_the_browsers_offer_to_install_is_kept_until_somebody_takes_it(house: House) -> None:
    """Takes the browser's offer to install the app, and sees it go."""
    page = house.sit("Maya")
    page.goto("/users/me/profile")
    install = page.get_by_text("Install Campfire")
    expect(page.get_by_label("Name", exact=True)).to_be_visible()
    expect(install).to_have_count(0)
    assert page.evaluate(OFFER) is False  # what the browser would have shown by itself is held back
    install.click()
    page.get_by_role("button", name="Install now").click()
    assert page.evaluate("window.prompted") == 1
    expect(install).to_have_count(0)
    page.evaluate(OFFER)
    expect(install).to_be_visible()
    page.evaluate("dispatchEvent(new Event('appinstalled'))")
    expect(install).to_have_count(0)
    for agent, steps in INSTALLING.items():
        elsewhere = house.sit("Maya", user_agent=agent)
        elsewhere.goto("/users/me/profile")
        elsewhere.get_by_text("Install Campfire").click()
        box = elsewhere.locator("details", has_text="Install Campfire")
        expect(box.get_by_role("listitem")).to_have_text(steps)

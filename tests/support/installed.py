"""Campfire as an installed app: its service worker, what is pushed to it, and who pushes."""

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browsers import call, composer, connected, message, stub_push, until
from tests.support.house import House, Sit, enter
from tests.support.services import Browser as Keys

# What the worker asks the browser to show, one notification for a tag, which number to put on the
# app's icon, and which window to open. Headless, the browser itself may take a notification away
# again at any time.
WATCH = """() => {
  self.badges = []
  navigator.setAppBadge = async (count) => { self.badges.push(count) }
  self.shown = {}
  const show = registration.showNotification.bind(registration)
  registration.showNotification = async (title, options) => {
    await show(title, options)
    self.shown[options.tag] = {title, ...options}
  }
  self.opened = []
  clients.openWindow = async (address) => { self.opened.push(address) }
}"""
# Only a real finger makes an event that the browser trusts, and lets a worker open windows.
CLICK = """async (tag) => {
  const {title, ...options} = self.shown[tag]
  let notification
  while (!notification) {
    await ServiceWorkerRegistration.prototype.showNotification.call(registration, title, options);
    [notification] = await registration.getNotifications({tag})
  }
  const event = new NotificationEvent('notificationclick', {notification})
  let done
  event.waitUntil = (work) => { done = work }
  self.dispatchEvent(event)
  await done
}"""
# The browser has changed a subscription, and does not say which it was.
CHANGED = """async (keys) => {
  PushManager.prototype.subscribe = async (options) => ({
    endpoint: 'https://push.example/again', options, toJSON: () => ({keys}),
  })
  const event = new Event('pushsubscriptionchange')
  let done
  event.waitUntil = (work) => { done = work }
  self.dispatchEvent(event)
  await done
}"""
# The browser offers to install the app; whether it would also show that by itself.
OFFER = """() => {
  window.prompted ??= 0
  const offer = new Event('beforeinstallprompt', {cancelable: true})
  offer.prompt = async () => { window.prompted += 1 }
  return dispatchEvent(offer)
}"""
# A browser of the tests has no push service of its own; this is all that is put in its place.
OWN_SERVICE = """
const subscription = (options) => ({
  endpoint: %(endpoint)s, options,
  unsubscribe: async () => { window.subscribed = null; return true },
  toJSON: () => ({endpoint: %(endpoint)s, keys: {p256dh: %(p256dh)s, auth: %(auth)s}}),
})
window.subscribed = null
PushManager.prototype.getSubscription = async () => window.subscribed
PushManager.prototype.subscribe = async (options) => (window.subscribed = subscription(options))
"""


class Worker:
    """The service worker that stands behind a page."""

    def __init__(self, page: Page) -> None:
        self._page, self._registrations = page, list[dict[str, Any]]()
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        (self._worker,) = page.context.service_workers
        self._worker.evaluate(WATCH)
        self._session = page.context.new_cdp_session(page)
        self._session.on(
            "ServiceWorker.workerRegistrationUpdated",
            lambda event: self._registrations.extend(event["registrations"]),
        )
        self._session.send("ServiceWorker.enable")
        until(page, lambda: bool(self._registrations))
        self.scope = self._registrations[0]["scopeURL"]

    def push(self, data: str) -> None:
        """As the browser's push service delivers it, already decrypted."""
        self._session.send(
            "ServiceWorker.deliverPushMessage",
            {
                "origin": self.scope.rstrip("/"),
                "registrationId": self._registrations[0]["registrationId"],
                "data": data,
            },
        )

    def shown(self) -> dict[str, dict[str, Any]]:
        """The notifications by their tags."""
        found: dict[str, dict[str, Any]] = self._worker.evaluate("self.shown")
        return found

    def wait_for(self, *tags: str) -> list[dict[str, Any]]:
        """The notifications with these tags, as soon as they are there."""
        until(self._page, lambda: set(self.shown()) >= set(tags))
        return [self.shown()[tag] for tag in tags]

    def badges(self) -> list[int]:
        """The numbers it has put on the app's icon."""
        found: list[int] = self._worker.evaluate("self.badges")
        return found

    def click(self, tag: str) -> None:
        """Clicks a notification, and waits until the worker has done its part."""
        self._worker.evaluate(CLICK, tag)

    def windows(self) -> int:
        """How many windows it could show something in."""
        script = """async () => {
          const all = await self.clients.matchAll({type: "window", includeUncontrolled: true})
          return all.length
        }"""
        return int(self._worker.evaluate(script))

    def opened(self) -> list[str]:
        """The addresses for which it has asked for a window."""
        found: list[str] = self._worker.evaluate("self.opened")
        return found

    def change_subscription(self, keys: dict[str, str]) -> None:
        """Tells it that the browser's subscription is another one now."""
        self._worker.evaluate(CHANGED, {"p256dh": keys["p256dh_key"], "auth": keys["auth_key"]})

    def kept(self) -> set[str]:
        """The paths of all that it keeps on this device."""
        script = """async () => {
          const all = await Promise.all((await caches.keys()).map((name) => caches.open(name)))
          const kept = await Promise.all(all.map((cache) => cache.keys()))
          return kept.flat().map(({url}) => new URL(url).pathname)
        }"""
        return set(self._worker.evaluate(script))


class PushService:
    """A push service on 127.0.0.1, and the keys of one browser that is subscribed to it."""

    def __init__(self) -> None:
        self.keys, self.status = Keys(), 201
        self._came: queue.Queue[bytes] = queue.Queue()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service._came.put(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(service.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}/devices/one"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stands_behind(self, page: Page) -> None:
        """Makes it the push service of this page's browser."""
        keys = self.keys.keys
        known = {"endpoint": self.endpoint, "p256dh": keys["p256dh_key"], "auth": keys["auth_key"]}
        page.add_init_script(OWN_SERVICE % {name: json.dumps(each) for name, each in known.items()})

    def next(self) -> dict[str, Any]:
        """What came next, as the browser reads it."""
        return self.keys.read(self._came.get(timeout=30))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def push_service() -> Iterator[PushService]:
    service = PushService()
    yield service
    service.close()


# --- Journeys -------------------------------------------------------------------------------------

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

ALLOWED = {"permissions": ["notifications"]}
PATH = {"path": "/rooms/1"}


def push_and_click(house: House, sit: Sit, push_service: PushService) -> None:
    """The whole way: permission, subscription, a mention, the push, the notification, its click."""
    room, elsewhere = house.room(name="Pushed"), house.room()
    maya = sit("Maya", **ALLOWED)
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


def push_thrice(house: House, sit: Sit) -> None:
    """Two pushes of one room, and one that says nothing readable."""
    worker = Worker(sit("Maya", house.room(), **ALLOWED))
    for words in ("first", "second"):
        worker.push(json.dumps({"title": "Design", "options": {"body": words, "data": PATH}}))
        worker.wait_for("/rooms/1")
    worker.push("{not JSON")

    shown = worker.wait_for("/rooms/1", "/")
    assert [(each["title"], each["body"]) for each in shown] == [
        ("Design", "second"), ("Campfire", "Something new in Campfire"),
    ]  # fmt: skip
    assert worker.badges() == [0, 0, 0]


def change(house: House, sit: Sit) -> None:
    """The browser changes its subscription, and the server learns of it."""
    page = sit("Maya", house.room(), **ALLOWED)
    Worker(page).change_subscription(Keys().keys)

    devices = call(page, "GET", "/api/users/me/push_subscriptions")["push_subscriptions"]
    assert "https://push.example/again" in [each["endpoint"] for each in devices]


def go_offline(house: House, sit: Sit) -> None:
    """Loses the network, sees the page that says so, and comes back."""
    page = sit("Maya", room := house.room())
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


def miss_a_chunk(house: House, sit: Sit) -> None:
    """Asks for what comes later while it cannot be fetched, then where it can."""
    page = sit("Maya")
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


def install(sit: Sit) -> None:
    """Takes the browser's offer to install the app, and sees it go."""
    page = sit("Maya")
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
        elsewhere = sit("Maya", user_agent=agent)
        elsewhere.goto("/users/me/profile")
        elsewhere.get_by_text("Install Campfire").click()
        box = elsewhere.locator("details", has_text="Install Campfire")
        expect(box.get_by_role("listitem")).to_have_text(steps)

"""Campfire as an installed app: its service worker, what is pushed to it, and who pushes."""

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.browsers import until
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

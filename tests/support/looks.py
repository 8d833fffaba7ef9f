"""Browsers at the studio: who is signed in there, on which device, and what they see."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.browsers import CHROMIUM, DESKTOP, FLAGS, PHONE, violations
from tests.support.seed import HOST, NOW, URL, Studio
from tests.support.states import STATES, State

SEEN = "notifications-first-run-seen"
SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": DESKTOP},
    "phone": {"viewport": PHONE, "device_scale_factor": 2, "has_touch": True, "is_mobile": True},
}

# What a browser with notifications answers, and one whose sheet for sharing opens.
DEVICE = """
const how = "HOW"
const subscription = {endpoint: 'https://push.example/1', unsubscribe: async () => true}
const pushManager = {getSubscription: async () => subscription}
const registration = {pushManager, addEventListener() {}}
const worker = {
  getRegistration: () => how === 'unknown' ? new Promise(() => {}) : Promise.resolve(registration),
  register: async () => registration,
  ready: Promise.resolve(registration),
  addEventListener() {},
}
Object.defineProperty(navigator, 'serviceWorker', {value: worker})
Object.defineProperty(navigator, 'canShare', {value: () => true})
window.PushManager = class {}
window.Notification = class {}
Notification.permission = how === 'unknown' ? 'granted' : how
Notification.requestPermission = async () => Notification.permission
"""


def open_studio(browser: Browser, size: str, notifications: str, **options: Any) -> Page:  # noqa: ANN401 - playwright's own
    """A window of a browser profile of its own.

    Notifications are `granted`, `denied`, not yet asked for (`default`) or still to be found out
    (`unknown`, as on the first visit).
    """
    here = {"locale": "en-US", "timezone_id": "UTC", "reduced_motion": "reduce"}
    context = browser.new_context(**{**here, **SIZES[size], **options})
    context.add_init_script(f"(() => {{{DEVICE.replace('HOW', notifications)}}})()")
    if notifications != "unknown":
        context.add_cookies([{"name": SEEN, "value": "true", "url": URL}])
    return context.new_page()


def forget(page: Page) -> None:
    """Makes a page as it was when it was opened, but for its cookies."""
    page.goto("about:blank")
    page.unroute_all()
    page.emulate_media(color_scheme="light")
    page.context.set_offline(False)
    tools = page.context.new_cdp_session(page)
    kept = "appcache,cache_storage,file_systems,indexeddb,local_storage,service_workers"
    tools.send("Storage.clearDataForOrigin", {"origin": URL, "storageTypes": kept})
    tools.detach()


class Look:
    """A browser at the studio: `look("room", "phone")` is a page in that state, at rest."""

    def __init__(self, studio: Studio, browser: Browser) -> None:
        self._studio, self._browser, self.faults = studio, browser, list[str]()
        # One for all states of a kind: opening it would take the longest.
        self.pages: dict[str, Page] = {}

    def __call__(self, state: State | str, size: str = "desktop", **more: Any) -> Page:  # noqa: ANN401 - playwright's own
        state = STATES[state] if isinstance(state, str) else state
        self._studio.play(
            state.scene, changes=state.changes, fresh=state.fresh, settings=state.settings
        )
        page = self._page(size, {**state.options, **more, "notifications": state.notifications})
        page.context.clear_cookies(name="session_token")
        if state.user and not state.fresh:
            token = self._studio.token(state.user)
            page.context.add_cookies([{"name": "session_token", "value": token, "url": URL}])
        page.clock.set_fixed_time(NOW)
        page.goto(URL + state.path)
        expect(page.locator(".frame")).to_have_count(0)  # the client has taken its place
        expect(page.locator("h1").first).to_be_attached()
        if page.locator(".composer__editor").count():
            expect(page.locator("trix-editor")).to_be_attached()
            expect(page.locator(".messages[aria-busy=true]")).to_have_count(0)
        if state.act:
            state.act(page)
        return page

    def _page(self, size: str, options: dict[str, Any]) -> Page:
        kind = repr((size, options))
        if page := self.pages.get(kind):
            forget(page)
            return page
        self.pages[kind] = open_studio(self._browser, size, **options)
        self.pages[kind].on("pageerror", lambda error: self.faults.append(str(error)))
        return self.pages[kind]


@contextmanager
def chromium_at(studio: Studio) -> Iterator[Browser]:
    """Chromium, for which the studio's name leads to the studio."""
    rules = f"--host-resolver-rules=MAP {HOST}:80 127.0.0.1:{studio.port}"
    trusted = f"--unsafely-treat-insecure-origin-as-secure={URL}"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            # Or each state would begin with a process of its own, which takes longer than the page.
            executable_path=CHROMIUM,
            args=[*FLAGS.split(), "--renderer-process-limit=1", rules, trusted],
        )
        yield chromium
        chromium.close()


def examined(folder: Path, size: str) -> dict[str, list[str]]:
    """What axe finds in each state at this size, by name; in a studio and a browser of its own."""
    found = {}
    with closing(Studio(folder)) as studio, chromium_at(studio) as chromium:
        look = Look(studio, chromium)
        for name, state in STATES.items():
            if state.only in ("", size):
                page = look(state, size)
                found[f"{name} on a {size}"] = violations(page)
                page.goto("about:blank")  # or the next state would sign it out while it is open
    assert look.faults == []
    return found


@pytest.fixture(scope="module")
def northwind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with closing(Studio(tmp_path_factory.mktemp("studio"))) as studio:
        yield studio


@pytest.fixture(scope="module")
def studio_browser(northwind: Studio) -> Iterator[Browser]:
    with chromium_at(northwind) as chromium:
        yield chromium


@pytest.fixture
def look(northwind: Studio, studio_browser: Browser) -> Iterator[Look]:
    look = Look(northwind, studio_browser)
    yield look
    for page in look.pages.values():
        page.context.close()
    assert look.faults == []

"""Real browsers: Chromium, a window for each person, and what a person does in it."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

from tests.support.executable import PYZ, Campfire

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path("/usr/bin/chromium")
PICTURES = ROOT / "tests" / "screenshots"
AXE = ROOT / "static_bundle" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    "--no-sandbox --headless --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
)
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
FINGER: dict[str, Any] = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
# Trix takes the alt away from whatever stands in an attachment of its own.
FACES_IN_TRIX = "trix-editor [data-trix-attachment] img"
OF_COLOURS = ["color-contrast", "link-in-text-block"]  # in the dark only colours are different
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
# What is done in one frame is on the screen in the next: only then can somebody act on it.
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
SETTLED = """async () => {
  const frame = () => new Promise(requestAnimationFrame)
  // What has come to its end may still be in effect, and what has no end is at rest in itself.
  const runs = (each) => each.playState === 'running' && each.effect.getTiming().iterations < 100
  const running = () => document.getAnimations().filter(runs)
  do {
    await frame()
    await Promise.allSettled(running().map((each) => each.finished))
    await frame()
  } while (running().length > 0)
}"""
AT_ONCE = """() => {
  const sheet = new CSSStyleSheet()
  sheet.replaceSync('*, ::before, ::after { transition: none !important }')
  document.adoptedStyleSheets.push(sheet)
}"""
PASSWORD = "secret123456"  # noqa: S105 - the cast's

expect.set_options(timeout=10_000)


# The frames each window has heard since it was told to forget them.
_heard: dict[Page, list[str]] = defaultdict(list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM.exists(), f"{CHROMIUM} is missing: apt-get install chromium"
    assert PYZ.exists(), "campfire.pyz is missing: ./build_zipapp.sh"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield chromium
        chromium.close()


@pytest.fixture
def campfire(tmp_path: Path) -> Iterator[Campfire]:
    served = Campfire(tmp_path)
    served.start()
    yield served
    assert served.stop() == 0


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """What went wrong inside a page; nothing may."""
    seen: list[str] = []
    yield seen
    assert seen == []


@pytest.fixture
def window(browser: Browser, faults: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens a browser profile of its own."""
    contexts = []

    def opened(**options: Any) -> Page:  # noqa: ANN401 - playwright's own options
        options = {"viewport": DESKTOP, "locale": "en-US", "reduced_motion": "reduce", **options}
        contexts.append(browser.new_context(**options))
        page: Page = contexts[-1].new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        return heard(page)

    yield opened
    for context in contexts:
        context.close()
    _heard.clear()


def heard(page: Page) -> Page:
    """A page whose frames are kept from now on."""
    hear = _heard[page].append
    page.on("websocket", lambda line: line.on("framereceived", lambda it: hear(str(it))))
    return page


def set_up(page: Page, campfire: Campfire, name: str = "Maya Okafor") -> str:
    """Goes through first run; the address of the invitation."""
    page.goto(campfire.url)
    expect(page).to_have_url(f"{campfire.url}/first_run")
    fill_in(page, name)
    expect(page).to_have_url(f"{campfire.url}/rooms/1")
    return str(page.get_by_label("Join link").input_value())


def fill_in(page: Page, name: str) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Email address").fill(f"{name.partition(' ')[0].lower()}@northwind.example")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Save").click()


def sign_in(page: Page, email_address: str, password: str = PASSWORD) -> None:
    page.get_by_label("Enter your email address").fill(email_address)
    page.get_by_label("Enter your password").fill(password)
    page.get_by_role("button", name="Go").click()


def join(page: Page, link: str, name: str) -> None:
    page.goto(link)
    fill_in(page, name)
    expect(composer(page)).to_be_visible()


def call(page: Page, method: str, path: str, body: object = None) -> dict[str, Any]:
    """Asks the API as this page's person."""
    script = """async ([method, path, body]) => {
      const token = (await (await fetch('/api/boot')).json()).csrf_token
      const headers = {'X-CSRF-Token': token, 'Content-Type': 'application/json'}
      const answer = await fetch(path, {method, headers, body: body && JSON.stringify(body)})
      return answer.status === 204 ? {} : answer.json()
    }"""
    found: dict[str, Any] = page.evaluate(script, [method, path, body])
    return found


def composer(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Write a message")


def write(page: Page, words: str) -> None:
    composer(page).click()
    page.keyboard.type(words)


def say(page: Page, words: str) -> None:
    write(page, words)
    page.keyboard.press("Enter")


def message(page: Page, words: str) -> Locator:
    return page.locator(".message", has_text=words)


def texts(page: Page) -> list[str]:
    return page.locator(".message .message__presentation").all_inner_texts()


def until(
    page: Page, come_true: Callable[[], bool], seen: Callable[[], object] = lambda: ""
) -> None:
    """Lets a page go on until something has happened here, or tells what is seen instead."""
    deadline = time.monotonic() + 10
    while not come_true():
        assert time.monotonic() < deadline, f"it did not happen {seen()}"
        page.evaluate("0")


def frames_heard(page: Page) -> list[str]:
    """To be cleared before the next page, and added to by whoever stands in the line."""
    return _heard[page]


def follows(page: Page) -> bool:
    return any("caught_up" in each for each in _heard[page])


def connected(*pages: Page) -> None:
    """Waits until each page's socket follows the room."""
    for page in pages:
        until(page, partial(follows, page))
        page.wait_for_function("document.querySelector('.messages')?.ariaBusy !== 'true'")
        expect(page.get_by_role("button", name="Send message")).to_be_enabled()


def options(page: Page, words: str) -> None:
    page.evaluate(PAINTED)
    message(page, words).hover()
    message(page, words).get_by_role("button", name="Message options").click()


def choose(page: Page, words: str, option: str) -> None:
    options(page, words)
    page.get_by_role("menuitem", name=option).click()


def hold(page: Page, path: str) -> list[Route]:
    """The requests for this path, each of which waits until the test lets it go."""
    routes: list[Route] = []

    def keep(route: Route) -> None:  # playwright takes no method of a list
        routes.append(route)

    page.route(path, keep)
    return routes


def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    page.evaluate(SETTLED)
    page.screenshot(path=PICTURES / f"{name}.png")


def violations(page: Page) -> list[str]:
    """What axe finds on this screen, in light and in dark."""
    places = []
    page.evaluate(AXE.read_text())
    page.evaluate(AT_ONCE)  # a transition of each element is what turning to the dark takes longest
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate(SETTLED)
        found = page.evaluate(
            "([exclude, runOnly]) => axe.run({exclude: [[exclude]]}, {runOnly,"
            " resultTypes: ['violations']}).then(result => result.violations)",
            [FACES_IN_TRIX, AXE_TAGS if scheme == "light" else OF_COLOURS],
        )
        places += [
            f"{scheme}: {each['id']}: {node['html'][:160]}"
            for each in found
            for node in each["nodes"]
        ]
    return places


SOUNDS = """
window.played = []
window.Audio = class extends EventTarget {
  constructor(url) { super(); this.url = url }
  play() { window.played.push(this.url); return Promise.resolve() }
  pause() { window.played.push("pause") }
}
"""

PUSH = """
window.push = {permission: %s, subscribed: %s}
class Subscription {
  endpoint = "https://push.example/1"
  toJSON() { return {endpoint: this.endpoint, keys: {p256dh: "key", auth: "auth"}} }
  async unsubscribe() { window.push.subscribed = false; return true }
}
const manager = {
  getSubscription: async () => (window.push.subscribed ? new Subscription() : null),
  subscribe: async () => { window.push.subscribed = true; return new Subscription() },
}
const worker = {pushManager: manager}
Object.defineProperty(navigator, "serviceWorker", {value: {
  register: async () => worker, getRegistration: async () => worker,
  ready: Promise.resolve(worker), addEventListener() {},
}})
Object.defineProperty(window, "Notification", {value: {
  get permission() { return window.push.permission },
  async requestPermission() {
    if (window.push.permission === "default") window.push.permission = "granted"
    return window.push.permission
  },
}})
"""


def stub_push(page: Page, permission: str, *, subscribed: bool = False) -> None:
    """What the browser and the person have said about notifications."""
    page.add_init_script(PUSH % (json.dumps(permission), json.dumps(subscribed)))

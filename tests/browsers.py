"""Real browsers: Chromium, a window for each person, and what a person does in it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.readers import PYZ, Campfire

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = Path("/usr/bin/chromium")
PICTURES = ROOT / "tests" / "screenshots"
AXE = ROOT / "static_bundle" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    "--no-sandbox --headless --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
)
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
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
PASSWORD = "secret123456"  # noqa: S105 - the cast's

expect.set_options(timeout=10_000)


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
        return page

    yield opened
    for context in contexts:
        context.close()


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


def say(page: Page, words: str) -> None:
    composer(page).click()
    page.keyboard.type(words)
    page.keyboard.press("Enter")


def message(page: Page, words: str) -> Locator:
    return page.locator(".message", has_text=words)


def texts(page: Page) -> list[str]:
    return page.locator(".message .message__presentation").all_inner_texts()


def connected(*pages: Page) -> None:
    """Waits until each page's socket follows the room."""
    for page in pages:
        page.wait_for_function("document.querySelector('.messages')?.ariaBusy !== 'true'")
        expect(page.get_by_role("button", name="Send message")).to_be_enabled()


def options(page: Page, words: str) -> None:
    message(page, words).hover()
    message(page, words).get_by_role("button", name="Message options").click()


def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    page.evaluate(SETTLED)
    page.screenshot(path=PICTURES / f"{name}.png")


def violations(page: Page) -> list[str]:
    """What axe finds on this screen, in light and in dark."""
    places = []
    page.evaluate(AXE.read_text())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate(SETTLED)
        found = page.evaluate(
            "tags => axe.run({runOnly: tags}).then(result => result.violations)", AXE_TAGS
        )
        places += [
            f"{scheme}: {each['id']}: {node['html'][:160]}"
            for each in found
            for node in each["nodes"]
        ]
    return places

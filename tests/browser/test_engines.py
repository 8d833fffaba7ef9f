"""One journey through the built executable in each of the other engines: Firefox and WebKit."""

import asyncio
import base64
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest

from tests.support.browsers import PASSWORD
from tests.support.executable import Campfire, is_ci
from tests.support.studio import encoded, painted

ENTER, CONTROL, UP = "\ue007", "\ue009", "\ue013"
PATIENCE = 20  # seconds
WHOLE = aiohttp.ClientTimeout(2 * PATIENCE)
# What Debian calls what each engine needs, and a command of each.
NEEDS = {
    "firefox": {"firefox-esr": "firefox-esr"},
    "webkit": {"webkit2gtk-driver": "WebKitWebDriver", "xvfb": "Xvfb"},
}
# The first element that is seen, of this kind, with these words in its name or its text.
FIND = """
const named = (each) => [
  each.ariaLabel, each.title, each.placeholder, each.innerText,
  ...[...each.labels ?? []].map((label) => label.ariaLabel ?? label.innerText),
].join(' ')
const find = (kind, words) => [...document.querySelectorAll(kind)].find(
  (each) => named(each).includes(words) && each.checkVisibility({visibilityProperty: true}))
"""
PLACE = f"""(kind, words) => {{
  {FIND}
  const found = find(kind, words)
  if (!found || found.disabled) return null
  found.scrollIntoView({{block: 'nearest', behavior: 'instant'}})
  const {{x, y, width, height}} = found.getBoundingClientRect()
  const place = [Math.round(x + width / 2), Math.round(y + height / 2)]
  // Nothing may still slide over it.
  return found.contains(document.elementFromPoint(...place)) ? place : null
}}"""
TEXT = f"(kind, words) => {{ {FIND} return find(kind, words)?.innerText ?? null }}"
Ask = Callable[..., Any]

COMPOSER = '[role="textbox"][aria-label="Write a message"]'
EDITOR = '[role="textbox"][aria-label="Edit message"]'
VALUE = "(label) => [...document.querySelectorAll('input')]"
VALUE += ".find((each) => (each.ariaLabel ?? each.labels[0]?.innerText ?? '').includes(label))"
VALUE += "?.value"


class Engine(Protocol):
    async def go(self, url: str) -> None: ...
    async def resize(self, width: int, height: int) -> None: ...
    async def call(self, function: str) -> Any: ...  # noqa: ANN401 - what a page returns
    async def act(self, actions: list[dict[str, Any]]) -> None: ...


class Window:
    """One person's window, and what a person does in it."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.go, self.resize = engine, engine.go, engine.resize

    async def run(self, function: str, *given: object) -> Any:  # noqa: ANN401 - as above
        """What a function of JavaScript returns here."""
        called = f"JSON.stringify(({function})(...{json.dumps(given)}) ?? null)"
        return json.loads(await self._engine.call(called))

    async def until(self, function: str, *given: object) -> Any:  # noqa: ANN401 - as above
        """The same as soon as it is something."""
        deadline = time.monotonic() + PATIENCE
        while not (found := await self.run(function, *given)):
            assert time.monotonic() < deadline, (given, await self.run(
                "() => document.body.innerText"))  # fmt: skip
        return found

    async def sees(self, words: str, kind: str = ".message") -> str:
        return str(await self.until(TEXT, kind, words))

    async def hover(self, kind: str, words: str = "", *then: dict[str, Any]) -> None:
        x, y = await self.until(PLACE, kind, words)
        move = {"type": "pointerMove", "x": x, "y": y, "duration": 0, "origin": "viewport"}
        await self._engine.act([
            {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"},
             "actions": [move, *then]}
        ])  # fmt: skip

    async def click(self, kind: str, words: str = "") -> None:
        await self.hover(
            kind, words, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}
        )

    async def type(self, keys: str, holding: str = "") -> None:
        presses = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        held = [{"type": "keyDown", "value": key} for key in holding]
        released = [{"type": "keyUp", "value": key} for key in holding]
        await self._engine.act(
            [{"type": "key", "id": "keyboard", "actions": [*held, *presses, *released]}]
        )


Pair = tuple[Window, Window]


def missing(engine: str) -> str:
    """What has to be installed before this engine can be tried; empty if nothing."""
    packages = [name for name, program in NEEDS[engine].items() if not shutil.which(program)]
    return f"apt-get install {' '.join(packages)}" if packages else ""


@asynccontextmanager
async def started(*command: str | Path, **environment: str) -> AsyncIterator[asyncio.StreamReader]:
    """A program and what it says, ended with the block."""
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.terminate()
        await process.communicate()


class Firefox:
    """A window of Firefox with a profile of its own."""

    def __init__(self, ask: Ask, context: str) -> None:
        self._ask, self._context = ask, context

    async def go(self, url: str) -> None:
        await self._ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def resize(self, width: int, height: int) -> None:
        viewport = {"width": width, "height": height}
        await self._ask("browsingContext.setViewport", context=self._context, viewport=viewport)

    async def call(self, function: str) -> Any:  # noqa: ANN401 - what a page returns
        answer = await self._ask(
            "script.evaluate", expression=function, awaitPromise=True,
            target={"context": self._context},
        )  # fmt: skip
        assert answer["type"] == "success", answer
        return answer["result"]["value"]

    async def act(self, actions: list[dict[str, Any]]) -> None:
        await self._ask("input.performActions", context=self._context, actions=actions)


@asynccontextmanager
async def firefox(folder: Path) -> AsyncIterator[tuple[Window, Window]]:
    flags = ["--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", str(folder)]
    async with (
        started("firefox-esr", *flags, HOME=str(folder)) as told,
        aiohttp.ClientSession() as session,
    ):
        while b"listening on" not in (line := await told.readline()):
            assert line, "Firefox did not start"
        async with session.ws_connect(f"{line.split()[-1].decode()}/session") as socket:

            async def ask(method: str, **params: object) -> Mapping[str, Any]:
                await socket.send_json({"id": 1, "method": method, "params": params})
                answer: dict[str, Any] = {}
                async with asyncio.timeout(2 * PATIENCE):
                    while answer.get("id") != 1:  # whatever else it tells is none
                        answer = await socket.receive_json()
                assert answer["type"] == "success", answer
                found: Mapping[str, Any] = answer["result"]
                return found

            await ask("session.new", capabilities={})
            windows = []
            for _ in range(2):
                user = (await ask("browser.createUserContext"))["userContext"]
                made = await ask("browsingContext.create", type="window", userContext=user)
                windows.append(Window(Firefox(ask, made["context"])))
            yield windows[0], windows[1]


class WebKit:
    """A window of WebKitGTK behind a driver of its own."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def go(self, url: str) -> None:
        await self._ask("POST", "/url", url=url)

    async def resize(self, width: int, height: int) -> None:
        await self._ask("POST", "/window/rect", width=width, height=height)

    async def call(self, function: str) -> Any:  # noqa: ANN401 - what a page returns
        return await self._ask("POST", "/execute/sync", script=f"return {function}", args=[])

    async def act(self, actions: list[dict[str, Any]]) -> None:
        await self._ask("POST", "/actions", actions=actions)


@asynccontextmanager
async def _webkit_window(port: int, **environment: str) -> AsyncIterator[Window]:
    async with (
        started("WebKitWebDriver", "--host=127.0.0.1", f"--port={port}", **environment),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=WHOLE) as session,
    ):

        async def ask(method: str, path: str, **body: object) -> Any:  # noqa: ANN401 - any value
            given = body if method == "POST" else None
            async with session.request(method, here + path, json=given) as answer:
                value = (await answer.json(content_type=None))["value"]
                assert answer.status == 200, value
                return value

        here, deadline = "/session", time.monotonic() + PATIENCE
        made = None
        while made is None:
            try:
                made = await ask("POST", "", capabilities={"alwaysMatch": {}})
            except aiohttp.ClientConnectionError:
                assert time.monotonic() < deadline, "the driver did not start"
        here = f"/session/{made['sessionId']}"
        try:
            yield Window(WebKit(ask))
        finally:
            await ask("DELETE", "")


@asynccontextmanager
async def webkit(folder: Path, ports: tuple[int, int]) -> AsyncIterator[tuple[Window, Window]]:
    screen = "-displayfd 1 -screen 0 1280x900x24 -nolisten tcp".split()
    async with started("Xvfb", *screen) as told, AsyncExitStack() as stack:
        while not (number := (await told.readline()).strip()).isdigit():
            assert number, "Xvfb did not start"
        settings = {"DISPLAY": f":{number.decode()}", "HOME": str(folder)}
        one, other = [
            await stack.enter_async_context(_webkit_window(port, **settings)) for port in ports
        ]
        yield one, other


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(params=["firefox", "webkit"])
async def windows(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair | None]:
    """Two windows of an engine, one for each person; None where it is not installed."""
    if lacking := missing(request.param):
        assert not is_ci(), lacking
        sys.stderr.write(f"\nNot tried: {request.param}; {lacking}\n")
        yield None
        return
    folder = tmp_path / request.param
    folder.mkdir()
    one, other = free_ports(2)
    opened = firefox(folder) if request.param == "firefox" else webkit(folder, (one, other))
    async with opened as pair:
        yield pair


async def fill_in(window: Window, name: str) -> None:
    address = f"{name.partition(' ')[0].lower()}@northwind.example"
    for label, words in (("Name", name), ("Email", address), ("Password", PASSWORD)):
        await window.click("input", label)
        await window.type(words)
    await window.click("button", "Save")
    await window.until(f"() => !!document.querySelector('{COMPOSER}')")


async def say(window: Window, words: str) -> None:
    await window.click(COMPOSER)
    await window.type(words + ENTER)


async def sign_up(maya: Window, jonas: Window, campfire: Campfire) -> None:
    await maya.go(campfire.url)
    await fill_in(maya, "Maya Okafor")
    await jonas.go(await maya.until(VALUE, "Join link"))
    await fill_in(jonas, "Jonas Weber")


async def test_two_people_go_through_a_day_in_this_engine(
    windows: Pair | None, campfire: Campfire
) -> None:
    if windows is None:
        return
    maya, jonas = windows
    await sign_up(maya, jonas, campfire)
    # They talk.
    await say(maya, "Morning, shall we meet at eleven?")
    await jonas.sees("meet at eleven?")
    await say(jonas, "Yes")
    await maya.sees("Yes")
    # She edits what she said, and he boosts it.
    await maya.click(COMPOSER)
    await maya.type(UP)
    await maya.until(f"() => document.activeElement?.matches('{EDITOR}')")
    await maya.type("a", holding=CONTROL)
    await maya.type("Shall we meet at noon?")
    await maya.type(ENTER, holding=CONTROL)
    await jonas.sees("meet at noon?")
    await jonas.hover(".message", "meet at noon?")
    await jonas.click(".message:hover button", "Message options")
    await jonas.click('[role="menuitem"]', "Party popper")
    await maya.sees("🎉", ".boost")
    # She mentions him, and he finds it again.
    await maya.click(COMPOSER)
    await maya.type("@jo")
    await maya.sees("Jonas Weber", '[role="option"]')
    await maya.type(ENTER + "about lanterns" + ENTER)
    await jonas.sees("about lanterns", ".message--mentioned")
    await jonas.go(f"{campfire.url}/searches")
    await jonas.click('[type="search"]')
    await jonas.type("lanterns" + ENTER)
    await jonas.sees("about lanterns")
    await jonas.go(f"{campfire.url}/rooms/1")
    await jonas.sees("about lanterns")


async def test_a_server_that_was_away_is_found_again_in_this_engine(
    windows: Pair | None, campfire: Campfire
) -> None:
    if windows is None:
        return
    maya, jonas = windows
    await sign_up(maya, jonas, campfire)
    await say(maya, "Before")
    await jonas.sees("Before")

    assert campfire.stop() == 0
    await say(maya, "While you were away")
    await maya.sees("While you were away")
    campfire.start()

    await jonas.sees("While you were away")
    await say(jonas, "Welcome back")
    await maya.sees("Welcome back")
    for each in windows:
        told = await each.run("() => document.querySelectorAll('.message').length")
        assert told == 3


# What a person's choice of a file leads to, which no driver can make in every engine.
CHOOSE = """(name, type, data) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))
  const chosen = new DataTransfer()
  chosen.items.add(new File([bytes], name, {type}))
  const field = document.querySelector('#composer input[type=file]')
  field.files = chosen.files
  field.dispatchEvent(new Event('change', {bubbles: true}))
}"""
SHARING = """() => {
  navigator.canShare = () => true
  navigator.share = async ({files: [file]}) => { shared = [file.name, file.type, file.size] }
}"""
DOWNLOAD = """() => {
  const {href, download} = document.querySelector('.lightbox__btn--download')
  fetch(href).then(async (answer) => {
    const {size} = await answer.blob()
    downloaded = [download, answer.headers.get('Content-Disposition').split(';')[0], size]
  })
}"""
SEEN = """(place) => {
  const image = document.querySelector(place)
  return image?.complete && image.naturalWidth ? [image.naturalWidth, image.naturalHeight] : null
}"""
ITS_BOX = """() => {
  const {width, height} = document.querySelector('.attachment--image').getBoundingClientRect()
  return [Math.round(width), Math.round(height)]
}"""
SIDEWAYS = 6  # how a telephone that was held upright notes it


async def test_a_photo_goes_from_a_phone_to_a_desk_in_this_engine(
    windows: Pair | None, campfire: Campfire
) -> None:
    if windows is None:
        return
    maya, jonas = windows
    await sign_up(maya, jonas, campfire)
    await maya.resize(390, 844)
    await maya.until("() => innerWidth < 500 && !document.querySelector('.sidebar--open')")
    photo = painted(1200, 900)
    notes = photo.getexif()
    notes[0x0112] = SIDEWAYS
    data = encoded(photo, "JPEG", exif=notes)
    # She sends it.
    await maya.run(CHOOSE, "harbour.jpg", "image/jpeg", base64.b64encode(data).decode())
    await maya.until(SEEN, ".composer__file img")
    await maya.click("button", "Send message")
    for each in windows:
        assert await each.until(SEEN, ".attachment--image img") == [600, 800]
    assert await jonas.run(ITS_BOX) == [300, 400]
    assert (await maya.run(ITS_BOX))[0] <= 390
    # He opens, shares and downloads it.
    await jonas.run(SHARING)
    await jonas.click("a", "View harbour.jpg")
    await jonas.until("() => document.querySelector('.lightbox__image').src.endsWith('.jpg')")
    assert await jonas.until(SEEN, ".lightbox__image") == [900, 1200]
    await jonas.click(".lightbox__btn", "Share")
    name, kind, size = await jonas.until("() => window.shared")
    assert (name, kind) == ("harbour.jpg", "image/jpeg")
    await jonas.run(DOWNLOAD)
    assert await jonas.until("() => window.downloaded") == ["harbour.jpg", "attachment", size]
    await jonas.click("button", "Close")
    await jonas.until("() => !document.querySelector('.lightbox')")


async def test_somebody_who_comes_from_elsewhere_finds_their_ways_in_this_engine(
    windows: Pair | None, campfire: Campfire
) -> None:
    if windows is None:
        return
    maya, jonas = windows
    await sign_up(maya, jonas, campfire)
    # She writes as she is used to.
    await say(maya, "**Lunch** is at `noon` today")
    await jonas.sees("Lunch", ".message strong")
    await jonas.sees("noon", ".message code")
    await maya.click(COMPOSER)
    await maya.type("``` let dish = 'soup'")
    await maya.type(ENTER, holding=CONTROL)
    await jonas.sees("let dish = 'soup'", ".message pre")
    await maya.type("Warm :tada")
    await maya.sees(":tada:", '[role="option"]')
    await maya.type(ENTER + ENTER)
    await jonas.sees("Warm 🎉")
    # She goes to him without a mouse, and comes back to where she stopped.
    await maya.type("k", holding=CONTROL)
    await maya.until("() => document.activeElement?.matches('dialog input')")
    await maya.type("jonas" + ENTER)
    await maya.until("() => location.pathname !== '/rooms/1'")
    await say(jonas, "Soup it is")
    await maya.until("() => document.title.startsWith('• ')")
    await maya.type("k", holding=CONTROL)
    await maya.until("() => document.activeElement?.matches('dialog input')")
    await maya.type("all" + ENTER)
    await maya.sees("Soup it is", ".message:has([data-new])")
    await maya.type("/", holding=CONTROL)
    await maya.sees("Ctrl", "dialog")

"""One journey through the built executable in each of the other engines: Firefox and WebKit."""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.browsers import PASSWORD
from tests.support.engines import CONTROL, ENTER, UP, Window, firefox, missing, webkit
from tests.support.interpreters import is_ci
from tests.support.readers import Campfire

COMPOSER = '[role="textbox"][aria-label="Write a message"]'
EDITOR = '[role="textbox"][aria-label="Edit message"]'
VALUE = "(label) => [...document.querySelectorAll('input')]"
VALUE += ".find((each) => (each.ariaLabel ?? each.labels[0]?.innerText ?? '').includes(label))"
VALUE += "?.value"
Pair = tuple[Window, Window]


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


async def test_two_people_go_through_a_day_in_this_engine(
    windows: Pair | None, campfire: Campfire
) -> None:
    if windows is None:
        return
    maya, jonas = windows
    # They sign up.
    await maya.go(campfire.url)
    await fill_in(maya, "Maya Okafor")
    await jonas.go(await maya.until(VALUE, "Join link"))
    await fill_in(jonas, "Jonas Weber")
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
    await maya.go(campfire.url)
    await fill_in(maya, "Maya Okafor")
    await jonas.go(await maya.until(VALUE, "Join link"))
    await fill_in(jonas, "Jonas Weber")
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

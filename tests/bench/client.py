"""How fast the client is: the budgets of the specification, measured in a real Chromium.

    .venv/bin/python -m tests.bench.client [name…]

runs every workload, or those named, against the built executable, three times each, and prints one
table of medians. The processor is slowed four times unless a row says otherwise; the networks are
what Chromium's own tools mean by their names ("Slow 3G" was one until they called it "3G"). A busy
machine makes every number worse, and none better: "bare" is what the browser itself takes for as
much, in the same run. There the same elements with the same styles stand in a page without React,
Trix or a network, which a line or two of script changes.
"""

import asyncio
import contextlib
import gzip
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, CDPSession, Locator, Page, sync_playwright

import campfire as program
from tests.bench.scripts import (
    ALIVE,
    FIRST_PAINT,
    NEXT_MESSAGE,
    NEXT_ROOM,
    NOTES,
    POST,
    SCROLL,
    STILL,
)
from tests.support import browsers
from tests.support.browsers import CHROMIUM, FLAGS, composer, connected, heard
from tests.support.cast import SESAME, Cast, Server, gather_cast, start_server
from tests.support.executable import Campfire

ROUNDS = 3
SLOWED = 4
# Milliseconds until an answer begins, bytes a second down and up.
NETWORKS = {
    "Fast 4G": (165, 1_125_000, 187_500),
    "Slow 4G": (562.5, 180_000, 84_375),
    "Slow 3G": (2000, 50_000, 50_000),
}
LONG = 10_000  # messages of the long room
FAST = 1_200  # pixels a frame, where only the end of scrolling counts
MEBIBYTE = 1_048_576

# --- The world ------------------------------------------------------------------------------------

WORDS = """
The tent is packed and the stove as well. Who brings the map? I thought it was you, but never mind:
there is a second one in the car, under the blue jacket, next to the torch that nobody could find.
""".split()


def saying(number: int) -> str:
    """The `number`th thing said: from three words to four lines, with code now and then."""
    if number % 97 == 0:
        return f"<pre>def answer():\n    return {number}</pre>"
    words = " ".join(WORDS[: 3 + number * 7 % len(WORDS)])
    return f"<div>Number {number}. {words}</div>"


async def talk(server: Server, cast: Cast, room: program.Room, count: int) -> None:
    """David and Jason say so many things, in bursts of ten a quarter of an hour apart."""
    post = server.parts.messages.create_message_with_deduplication
    people = (cast.david, cast.jason)
    for first in range(1, count + 1, 10):
        server.wall.ahead += 900
        numbers = range(first, min(first + 10, count + 1))
        drafts = [
            program.DraftMessage(room.id, people[n // 3 % 2].id, f"number-{n}", saying(n))
            for n in numbers
        ]
        await asyncio.gather(*map(post, drafts))


async def furnish(database: Path, long: int) -> tuple[int, int]:
    """Makes a database in which David and Jason have a long room and a short one; their ids."""
    server = await start_server(database, ahead=-86_400 * 60)
    try:
        cast = await gather_cast(server.parts)
        await talk(server, cast, cast.hq, 40)
        await talk(server, cast, cast.watercooler, long)
        return cast.watercooler.id, cast.hq.id
    finally:
        await server.close()


@contextlib.contextmanager
def furnished(folder: Path, long: int = LONG) -> Iterator[tuple[Campfire, int, int]]:
    """A running Campfire with a long room and a short one."""
    with ThreadPoolExecutor() as aside:  # this thread may have Playwright's loop
        rooms = aside.submit(asyncio.run, furnish(folder / "campfire.db", long)).result()
    campfire = Campfire(folder)
    campfire.start()
    try:
        yield campfire, *rooms
    finally:
        campfire.stop()


def sign_in(page: Page, campfire: Campfire, name: str) -> None:
    page.goto(f"{campfire.url}/session/new")
    browsers.sign_in(page, f"{name}@example.com", SESAME)
    page.wait_for_url("**/rooms/*")


# --- The browser ----------------------------------------------------------------------------------


@dataclass
class World:
    """A browser, a running Campfire, and David and Jason, who have signed in."""

    chromium: Browser
    campfire: Campfire
    long: int
    short: int
    signed_in: dict[str, Any]
    said: int = 0
    step: int = 300  # how far a frame scrolls

    @contextlib.contextmanager
    def page(self, name: str = "david", *, slowed: bool = True) -> Iterator[Page]:
        """A fresh profile, so that nothing is kept from an earlier visit."""
        context = self.chromium.new_context(
            viewport={"width": 1280, "height": 800},
            locale="en-US",
            storage_state=self.signed_in[name],
        )
        context.add_init_script(NOTES)
        page = heard(context.new_page())
        if slowed:
            slow(page, SLOWED)
        yield page
        context.close()

    def open(self, page: Page, room: int) -> None:
        page.goto(f"{self.campfire.url}/rooms/{room}")
        page.locator("trix-editor").wait_for()
        connected(page)

    def open_full(self, page: Page, *, slowed: bool = True) -> None:
        """The long room with its window full: 300 messages."""
        slow(page, 1)  # what leads there is not measured
        self.open(page, self.long)
        page.evaluate(SCROLL, [7, FAST])
        page.evaluate("document.querySelector('.messages').scrollTop = 1e9")
        page.wait_for_function("document.querySelectorAll('.message').length >= 300")
        slow(page, SLOWED if slowed else 1)

    def say(self, page: Page, room: int, count: int, at_once: int = 1) -> None:
        """Whoever is at `page` says so many things."""
        page.evaluate(POST, [room, count, self.said, at_once])
        self.said += count


def slow(page: Page, times: int) -> None:
    """Makes the processor of this page so many times slower than it is."""
    tools(page).send("Emulation.setCPUThrottlingRate", {"rate": times})


def shape(page: Page, network: str) -> None:
    latency, down, up = NETWORKS[network]
    speeds = {"latency": latency, "downloadThroughput": down, "uploadThroughput": up}
    line = tools(page)
    line.send("Network.enable")
    line.send("Network.emulateNetworkConditions", {"offline": False, **speeds})


def press(target: Locator) -> None:
    """A click, without the questions that Playwright asks the page while it clicks."""
    box = target.bounding_box()
    assert box
    target.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def tools(page: Page) -> CDPSession:
    return page.context.new_cdp_session(page)


@contextlib.contextmanager
def bare(world: World, page: Page, *, slowed: bool = True) -> Iterator[Page]:
    """The same as on `page`, in a page that the browser has nearly for itself."""
    still = page.evaluate(STILL)
    with world.page(slowed=slowed) as other:
        address = f"{world.campfire.url}/still"
        other.route(address, lambda route: route.fulfill(body=still, content_type="text/html"))
        other.goto(address)
        other.evaluate(ALIVE)
        other.wait_for_function(FIRST_PAINT)
        yield other


# --- Workloads ------------------------------------------------------------------------------------

Measured = dict[str, float]


def weight(world: World) -> Measured:
    """What a visit to a room of 40 messages brings first."""
    with world.page(slowed=False) as page:
        world.open(page, world.short)
        html = page.evaluate("fetch(location.href).then(answer => answer.text())")
    return {"HTML of a room of 40 messages, gzipped": len(gzip.compress(html.encode())) / 1000}


def load(world: World) -> Measured:
    """A cold visit to a room of 40 messages over each network, and one without any shaping."""
    with world.page(slowed=False) as page:
        world.open(page, world.short)
        plain = page.evaluate(FIRST_PAINT)
        with bare(world, page, slowed=False) as still:
            floor = still.evaluate(FIRST_PAINT)
        with bare(world, page) as still:
            still.evaluate("painted().then(painted)")
            least = longest(still.evaluate("notes.tasks"))
    painted: Measured = {}
    notes: dict[str, Any] = {}
    for name in NETWORKS:
        with world.page() as page:
            shape(page, name)
            world.open(page, world.short)
            painted[f"first paint, cold, {name}"] = page.evaluate(FIRST_PAINT)
            notes = page.evaluate("notes")
            painted[f"messages painted, cold, {name}"] = notes["shown"]
    return {
        **painted,
        "first paint, cold, plain loopback, not slowed": plain,
        "first paint, cold, plain loopback, not slowed, bare": floor,
        "typing possible after the messages are painted": max(0, notes["ready"] - notes["shown"]),
        "longest task at load": longest(notes["tasks"]),
        "longest task at load, bare": least,
    }


def longest(tasks: list[list[float]]) -> float:
    """Of the tasks a page noted, in ms."""
    return max((took for _, took in tasks), default=0)


def rooms(world: World) -> Measured:
    """From the click on a room that was prefetched to its being painted."""
    pill = f".rooms a[href='/rooms/{world.long}']"
    with world.page() as page:
        world.open(page, world.short)
        with bare(world, page) as still:
            press(still.locator(pill))
            floor = still.evaluate("next.then(at => at - notes.from)")
        with page.expect_response("**/api/boot?*"):
            page.hover(pill)
        page.evaluate(NEXT_ROOM)
        press(page.locator(pill))
        took = page.evaluate("next.then(at => at - notes.from)")
    return {"room to room, prefetched": took, "room to room, bare": floor}


def own(world: World) -> Measured:
    """From Enter to one's own message being painted, in a room of 300."""

    def send(page: Page) -> float:
        page.get_by_role("textbox").click()
        times: list[float] = []
        for number in range(5):
            page.keyboard.type(f"Mine {number}")
            page.evaluate(NEXT_MESSAGE)
            page.keyboard.press("Enter")
            times.append(page.evaluate("next.then(at => at - notes.from)"))
        return statistics.median(times)

    with world.page() as page:
        world.open_full(page)
        page.evaluate(
            "addEventListener('keydown', event => { notes.from = event.timeStamp }, true)"
        )
        took = send(page)
        with bare(world, page) as still:
            return {"own message after Enter": took, "own message, bare": send(still)}


def live(world: World) -> Measured:
    """From the frame on the cable to the message being painted, in a room of 300."""
    with world.page() as page, world.page("jason", slowed=False) as jason:
        jason.goto(f"{world.campfire.url}/users/me/profile")
        world.open_full(page)
        page.evaluate("notes.shifts = []")
        times = []
        for _ in range(21):  # the list is cut meanwhile
            page.evaluate(NEXT_MESSAGE)
            world.say(jason, world.long, 1)
            times.append(page.evaluate("next.then(at => at - notes.came)"))
        shift = sum(page.evaluate("notes.shifts"))
        floors = []
        with bare(world, page) as still:
            for _ in range(21):
                still.evaluate(NEXT_MESSAGE)
                still.evaluate("come()")
                floors.append(still.evaluate("next.then(at => at - notes.came)"))
    return {
        "live message, cable to painted": statistics.median(times),
        "live message, bare": statistics.median(floors),
        "layout shift, live": shift,
    }


def flood(world: World) -> Measured:
    """How many live messages a second one who watches keeps up with."""
    with world.page(slowed=False) as page, world.page("jason", slowed=False) as jason:
        jason.goto(f"{world.campfire.url}/users/me/profile")
        world.open_full(page, slowed=False)
        begun = page.evaluate("performance.now()")
        world.say(jason, world.long, 600, at_once=16)
        page.locator(".message", has_text=f"Live {world.said - 1}").wait_for()
        took = page.evaluate("performance.now()") - begun
    return {"live messages a second, not slowed": 600_000 / took}


def input_delay(world: World) -> Measured:
    """Clicks and keys in a room of 300: the slowest."""
    with world.page() as page:
        world.open_full(page)
        page.evaluate("notes.events = []")
        message = page.locator(".message").nth(-3)
        press(composer(page))
        page.keyboard.type("A few words, typed")
        message.hover()
        press(message.get_by_role("button", name="Message options"))
        press(page.get_by_role("menuitem", name="Party popper"))
        press(page.locator(".message").nth(-4))
        page.keyboard.press("PageUp")
        page.keyboard.press("PageDown")
        press(page.get_by_role("button", name="Rich text"))
        press(page.get_by_role("button", name="Rich text"))
        press(page.get_by_role("button", name="Notification").first)
        press(composer(page))
        page.keyboard.press("Enter")
        page.evaluate("painted().then(painted)")
        with bare(world, page) as still:
            message = still.locator(".message").nth(-3)
            message.hover()
            press(message.get_by_role("button").first)
            press(still.get_by_role("textbox"))
            still.keyboard.press("Enter")
            still.evaluate("painted().then(painted)")
            floor = slowest(still)
        return {"input delay (INP) among 300 messages": slowest(page), "input delay, bare": floor}


def slowest(page: Page) -> float:
    """The longest of the clicks and keys so far, in ms."""
    return float(max((took for _, took in page.evaluate("notes.events")), default=0))


def scroll(world: World) -> Measured:
    """Up through 10,000 messages, page by page, not slowed."""
    with world.page(slowed=False) as page:
        world.open_full(page, slowed=False)
        heap = tools(page)
        heap.send("HeapProfiler.enable")

        def used() -> float:
            heap.send("HeapProfiler.collectGarbage")
            return float(heap.send("Runtime.getHeapUsage")["usedSize"])

        before = used()
        seen = page.evaluate(SCROLL, [LONG // 40 - 8, world.step])
        growth = used() - before
    frames = seen["frames"]
    return {
        "pages scrolled through, not slowed": seen["came"] + 8,
        "longest frame while scrolling, not slowed": max(frames),
        "frames under 17 ms, not slowed": 100 * sum(each < 17 for each in frames) / len(frames),
        "most messages in a painted frame": seen["most"],
        "heap growth over the scroll": growth / MEBIBYTE,
    }


WORKLOADS: dict[str, Callable[[World], Measured]] = {
    "weight": weight, "load": load, "rooms": rooms, "own": own, "live": live, "flood": flood,
    "input": input_delay, "scroll": scroll,
}  # fmt: skip

# What must hold: at most, or at least, so much.
AT_MOST = {
    "HTML of a room of 40 messages, gzipped": (30, "kB"),
    "first paint, cold, Fast 4G": (1200, "ms"),
    "first paint, cold, Slow 4G": (1500, "ms"),
    "first paint, cold, Slow 3G": (3500, "ms"),
    "first paint, cold, plain loopback, not slowed": (300, "ms"),
    "typing possible after the messages are painted": (100, "ms"),
    "longest task at load": (150, "ms"),
    "room to room, prefetched": (200, "ms"),
    "own message after Enter": (60, "ms"),
    "live message, cable to painted": (50, "ms"),
    "layout shift, live": (0.02, ""),
    "input delay (INP) among 300 messages": (100, "ms"),
    "longest frame while scrolling, not slowed": (50, "ms"),
    "most messages in a painted frame": (320, ""),
    "heap growth over the scroll": (20, "MiB"),
}
AT_LEAST = {
    "frames under 17 ms, not slowed": (95, "%"),
    "pages scrolled through, not slowed": (250, ""),
}


def row(name: str, value: float) -> str:
    """A line of the table."""
    if name in AT_MOST:
        budget, unit = AT_MOST[name]
        verdict, bound = value <= budget, f"<= {budget} {unit}"
    elif name in AT_LEAST:
        budget, unit = AT_LEAST[name]
        verdict, bound = value >= budget, f">= {budget} {unit}"
    else:
        return f"{name:<50} {value:>10.2f}"
    return f"{name:<50} {value:>10.2f}  {bound:<12} {'holds' if verdict else 'DOES NOT HOLD'}"


@contextlib.contextmanager
def opened(chromium: Browser) -> Iterator[World]:
    """The world to measure in."""
    with (
        tempfile.TemporaryDirectory() as folder,
        furnished(Path(folder)) as (campfire, long, short),
    ):
        signed_in = {}
        for name in ("david", "jason"):
            context = chromium.new_context()
            sign_in(context.new_page(), campfire, name)
            signed_in[name] = context.storage_state()
            context.close()
        yield World(chromium, campfire, long, short, signed_in)


def main(names: list[str]) -> None:
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split()) as chromium,
        opened(chromium) as world,
    ):
        for name in names or list(WORKLOADS):
            measured = [WORKLOADS[name](world) for _ in range(ROUNDS)]
            for what in measured[0]:
                line = row(what, statistics.median(each[what] for each in measured))
                sys.stdout.write(line + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

"""A working day of fifty people in forty minutes, and whether everything is as it should be after.

    .venv/bin/python -m tests.bench.soak [MINUTES]

They post, edit, delete, boost, search, send pictures, change rooms, sleep and wake; three look on
in Chromium, one of them on a phone that loses its network. There are a bot and five devices that
are pushed to. Every "hour", an eighth of the time, there is a backup; the certificate is renewed
once, and the server is stopped and started five times. Prints what was done, and what is wrong.
"""

import asyncio
import json
import os
import re
import signal
import sqlite3
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from playwright.async_api import BrowserContext, Page, async_playwright
from playwright.async_api import TimeoutError as NotInTime

from tests.bench.files import photo
from tests.bench.workplace import (
    AGENT,
    MEGABYTE,
    NONCE,
    PYZ,
    ROOMS,
    SECRET,
    SIGNER,
    Bench,
    Served,
    identifier,
    token,
)
from tests.support.browsers import CHROMIUM, DESKTOP, FLAGS, PHONE
from tests.support.operators import certify
from tests.support.services import DEVICES, Browser, Receiver, Service

PEOPLE, PORT, RESTARTS, HOURS = 50, 3_443, 5, 8
BASE = f"https://127.0.0.1:{PORT}"
METRICS = "soak" * 8
MOST, LONGEST_LOG = 100, 16  # megabytes (reliability.md B9, 6.3)
TRUSTING = ssl.create_default_context()
TRUSTING.check_hostname, TRUSTING.verify_mode = False, ssl.CERT_NONE
RESULT = re.compile(r'campfire_(webhooks|pushes)_total\{result="(\w+)"\} (\d+)')
# What a list shows: each message and its words, its boosts and its state.
SHOWN = """() => [...document.querySelectorAll('.message')].map((message) =>
  [message.id, message.querySelector('.message__body')?.innerText,
   message.querySelectorAll('.boost').length])"""
ENDS_WITH = f"""(newest) => {{
  const shown = ({SHOWN})()
  return JSON.stringify(shown.slice(-newest.length)) === JSON.stringify(newest)
}}"""


@dataclass
class Day:
    """What was done, as the server acknowledged it."""

    bench: Bench
    database: Path
    random: Random = field(default_factory=lambda: Random(21))  # noqa: S311 - no secret
    done: Counter[str] = field(default_factory=Counter)
    words: dict[str, str | None] = field(default_factory=dict)  # by client id; None: deleted
    wrong: list[str] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)  # results of webhooks and pushes
    memory: list[float] = field(default_factory=list)
    picture: bytes = b""
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    served: Served | None = None

    def serve(self) -> None:
        """The server, by a Python that says what is never closed."""
        self.served = Served(
            ["sh", "-c", 'exec "$@" 2>>"$0"', str(self.bench.folder / "errors"),
             sys.executable, "-W", "always::ResourceWarning", str(PYZ), "serve"],
            CAMPFIRE_DB=str(self.database), HOST="127.0.0.1", PORT=str(PORT),
            SECRET_KEY_BASE=SECRET, SHIV_ROOT=str(self.bench.folder / "shiv"),
            TLS_CERT_FILE=str(self.bench.folder / "cert.pem"), METRICS_TOKEN=METRICS,
            TLS_KEY_FILE=str(self.bench.folder / "key.pem"), ALLOW_PRIVATE_PUSH_ENDPOINTS="1",
            LOG_FILE=str(self.bench.folder / "log"),
        )  # fmt: skip

    def look(self, *, is_warm: bool) -> None:
        """How much the server needs just now; memory counts from when it is warm."""
        assert self.served
        log = Path(f"{self.database}-wal")
        size = log.stat().st_size / MEGABYTE if log.exists() else 0
        self.check("the log of SQLite", holds=size <= LONGEST_LOG, what=f"{size:.0f} MB")
        files = len([*Path(f"/proc/{self.served.process.pid}/fd").iterdir()])
        self.check("descriptors", holds=files < PEOPLE * 4, what=files)
        if is_warm:
            self.memory.append(self.served.megabytes())

    async def pause(self, least: float, most: float) -> None:
        """Some time; none when the day is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.is_over.wait(), self.random.uniform(least, most))

    def check(self, name: str, *, holds: bool, what: object = "") -> None:
        if not holds:
            self.wrong.append(f"{name}: {what}")


class Person:
    """Somebody at work: one connection for requests, one tab that listens."""

    def __init__(self, day: Day, number: int) -> None:
        self.day, self.number, self.room = day, number, number % ROOMS + 1
        self.mine: list[tuple[str, int, int]] = []  # client id, message, room
        self.ready = asyncio.Event()
        headers = {
            "User-Agent": AGENT, "Origin": BASE, "X-CSRF-Token": SIGNER.csrf_token(NONCE),
            "Cookie": f"session_token={token(number)}; _campfire_csrf={NONCE}",
        }  # fmt: skip
        connector = aiohttp.TCPConnector(ssl=TRUSTING)
        self.session = aiohttp.ClientSession(connector=connector, headers=headers)

    async def ask(self, method: str, path: str, body: object = None, **options: Any) -> Any:  # noqa: ANN401 - aiohttp's own
        """What the API answers; asked again, as the client does, while the server is away."""
        if body is not None:
            options |= {"data": json.dumps(body), "headers": {"Content-Type": "application/json"}}
        while True:
            with suppress(aiohttp.ClientConnectionError, TimeoutError):
                async with self.session.request(method, BASE + path, **options) as answer:
                    told = await answer.read()
                    if answer.status != 503:
                        gone = method == "DELETE" and answer.status == 404
                        self.day.check(path, holds=answer.ok or gone, what=told[:200])
                        return json.loads(told) if told and answer.ok else {}
            await self.day.pause(1, 1)

    async def post(self) -> None:
        name = f"{self.number}-{time.monotonic_ns()}"
        said = f"word {self.day.random.randrange(99)} common {name}"
        body = {"client_message_id": name, "body": f"<div>{said}</div>"}
        told = await self.ask("POST", f"/api/rooms/{self.room}/messages", body)
        if told:
            self.day.words[name] = said
            self.mine.append((name, told["message"]["id"], self.room))

    async def edit(self) -> None:
        name, message, room = self.day.random.choice(self.mine)
        said = f"edited {time.monotonic_ns()} {name}"
        await self.ask(
            "PUT", f"/api/rooms/{room}/messages/{message}", {"body": f"<div>{said}</div>"}
        )
        self.day.words[name] = said

    async def delete(self) -> None:
        name, message, room = self.mine.pop(self.day.random.randrange(len(self.mine)))
        await self.ask("DELETE", f"/api/rooms/{room}/messages/{message}")
        self.day.words[name] = None

    async def boost(self) -> None:
        _, message, _ = self.day.random.choice(self.mine)
        await self.ask("POST", f"/api/messages/{message}/boosts", {"content": "👍"})

    async def search(self) -> None:
        await self.ask("GET", "/api/searches?q=common")

    async def send(self) -> None:
        form = aiohttp.FormData()
        form.add_field("attachment", self.day.picture, filename="photo.jpg")
        with suppress(aiohttp.ClientConnectionError, TimeoutError):  # the reader's own to repeat
            path = f"{BASE}/api/rooms/{self.room}/messages"
            async with self.session.post(path, data=form) as answer:
                self.day.check("upload", holds=answer.status in (201, 503), what=answer.status)

    async def move(self) -> None:
        self.room = self.day.random.randrange(ROOMS) + 1
        await self.ask("GET", f"/api/rooms/{self.room}/messages")
        await self.cable.close()

    async def sleep(self) -> None:
        await self.cable.close()
        await self.day.pause(5, 40)

    async def listen(self) -> None:
        """A tab in the room this person is in, opened again whenever it was closed."""
        while not self.day.is_over.is_set():
            with suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
                self.cable = await self.session.ws_connect(
                    f"{BASE}/cable", protocols=["actioncable-v1-json"]
                )
                order = {"command": "subscribe", "identifier": identifier(self.room)}
                await self.cable.send_str(json.dumps(order))
                self.ready.set()
                async for _ in self.cable:
                    self.day.done["frames"] += 1
            await self.day.pause(0.5, 0.5)

    async def work(self) -> None:
        """Something every few seconds until the day is over."""
        listening = asyncio.create_task(self.listen())
        await self.ready.wait()
        doings = [self.post] * 12 + [self.search, self.move, self.sleep]
        doings_of_mine = [self.edit] * 3 + [self.boost] * 3 + [self.delete]
        while not self.day.is_over.is_set():
            doing = self.day.random.choice(doings + (doings_of_mine if self.mine else []))
            doing = self.send if self.day.random.random() < 0.01 else doing
            await doing()
            self.day.done[doing.__name__] += 1
            await self.day.pause(2, 10)
        await self.cable.close()
        await listening


# --- What goes on beside them --------------------------------------------------------------------


async def metrics(day: Day) -> None:
    """Adds what became of webhooks and pushes in this life of the server."""
    headers = {"Authorization": f"Bearer {METRICS}"}
    connector = aiohttp.TCPConnector(ssl=TRUSTING)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"{BASE}/metrics", headers=headers) as answer,
    ):
        for kind, result, count in RESULT.findall(await answer.text()):
            day.told[f"{kind} {result}"] += int(count)


async def restart(day: Day) -> None:
    assert day.served
    await metrics(day)
    day.served.process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(day.served.process.wait)
    day.check("ended with", holds=code == 0, what=code)
    await asyncio.to_thread(day.serve)


async def operate(day: Day, seconds: float) -> None:
    """A backup an hour, five restarts, one new certificate; memory, descriptors, log meanwhile."""
    assert day.served
    began, hours, restarts, is_renewed, start = time.monotonic(), 0, 0, False, 0.0
    while (passed := time.monotonic() - began) < seconds:
        await day.pause(5, 5)
        if passed > seconds * (hours + 0.5) / HOURS:
            hours += 1
            copy = day.bench.folder / f"backup{hours}.db"
            command = [sys.executable, str(PYZ), "backup", str(copy)]
            environment = os.environ | {"CAMPFIRE_DB": str(day.database)}
            backup = await asyncio.create_subprocess_exec(*command, env=environment)
            day.check("backup", holds=await backup.wait() == 0)
        if passed > seconds / 2 and not is_renewed:
            is_renewed = True
            certify(day.bench.folder, "127.0.0.1")
            day.served.process.send_signal(signal.SIGHUP)
        if passed > seconds * (restarts + 1) / (RESTARTS + 2):
            restarts += 1
            await restart(day)
            start = passed
        day.look(is_warm=passed - start > seconds / 20)
    day.done |= {"backups": hours, "restarts": restarts}


@asynccontextmanager
async def windows(day: Day) -> AsyncIterator[list[tuple[BrowserContext, Page]]]:
    """Three people who look on, the last one on a phone."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        opened = []
        for number, size in enumerate([DESKTOP, DESKTOP, PHONE], PEOPLE + 1):
            options: dict[str, Any] = {"viewport": size, "ignore_https_errors": True}
            context = await chromium.new_context(**options)
            await context.add_cookies(
                [{"name": "session_token", "value": token(number), "url": BASE}]
            )
            page = await context.new_page()
            page.on("pageerror", lambda error: day.wrong.append(f"in a window: {error}"))
            await page.goto(f"{BASE}/rooms/{number % ROOMS + 1}")
            opened.append((context, page))
        yield opened
        await chromium.close()


async def look_on(day: Day, opened: list[tuple[BrowserContext, Page]]) -> None:
    """The phone loses its network now and again; sometimes somebody goes to another room."""
    while not day.is_over.is_set():
        context, page = day.random.choice(opened)
        if page is opened[-1][1]:
            await context.set_offline(True)
            await day.pause(5, 30)
            await context.set_offline(False)
        else:
            room = day.random.randrange(ROOMS) + 1
            with suppress(Exception):  # the server may be away just then
                await page.goto(f"{BASE}/rooms/{room}")
        await day.pause(20, 20)


async def compare(day: Day, opened: list[tuple[BrowserContext, Page]]) -> None:
    """Every window shows what a new one shows, as soon as it is back."""
    for number, (context, page) in enumerate(opened):
        fresh = await context.new_page()
        await fresh.goto(page.url)
        await fresh.wait_for_selector(".messages:not([aria-busy=true]) .message")
        newest = await fresh.evaluate(SHOWN)
        try:
            await page.wait_for_function(ENDS_WITH, arg=newest)
        except NotInTime:
            shown = await page.evaluate(SHOWN)
            differ = [each for each in newest if each not in shown]
            day.check(f"window {number}", holds=False, what=differ[:2])
        day.done["compared messages"] += len(newest)


def audit(day: Day) -> None:
    """Whether the database has everything that was acknowledged, as it was last acknowledged."""
    with closing(sqlite3.connect(f"file:{day.database}?mode=ro", uri=True)) as connection:
        day.check("integrity", holds=connection.execute("PRAGMA integrity_check").fetchone()
                  == ("ok",))  # fmt: skip
        stored = connection.execute("SELECT client_message_id, body_text FROM messages").fetchall()
    day.check("twice", holds=len({name for name, _ in stored}) == len(stored))
    texts = dict(stored)
    differ = {name: (said, texts.get(name)) for name, said in day.words.items()
              if texts.get(name) != said}  # fmt: skip
    day.check("acknowledged", holds=not differ, what=list(differ.items())[:3])


async def live(day: Day, seconds: float) -> None:
    """The whole day, and then the looks at what it left."""
    service, bot = Service(), Receiver()
    await service.listen()
    people = [Person(day, number) for number in range(1, PEOPLE + 1)]
    for number, person in enumerate(people[:5]):
        keys = {"endpoint": f"{service.address}/devices/{number}", **Browser().keys}
        await person.ask("POST", DEVICES, keys)
        everything = {"involvement": "everything"}
        await person.ask("PUT", f"/api/rooms/{person.room}/involvement", everything)
    made = {"name": "Hubot", "webhook_url": await bot.listen(), "events": ["messages"]}
    await people[0].ask("POST", "/api/account/bots", made)
    async with windows(day) as opened:
        working = [asyncio.create_task(person.work()) for person in people]
        looking = asyncio.create_task(look_on(day, opened))
        await operate(day, seconds)
        day.is_over.set()
        await asyncio.gather(*working, looking)
        await compare(day, opened)
    await metrics(day)
    for kind, came in (("webhooks", len(bot.told)), ("pushes", len(service.came))):
        known = sum(count for name, count in day.told.items() if name.startswith(kind))
        balance = f"{came} came, {known} are known"
        # What was under way when the server was stopped is known to one of them only.
        day.check(kind, holds=abs(came - known) <= RESTARTS * 8, what=balance)
        day.done[kind] = came
    for person in people:
        await person.session.close()
    await service.close()
    await bot.close()


def require_quiet(day: Day) -> None:
    """No error in the log, no word about what was never closed, no growth."""
    lines = [json.loads(line) for line in (day.bench.folder / "log").read_text().splitlines()]
    loud = [line for line in lines if line["level"] == "error"]
    day.check("log", holds=not loud, what=loud[:3])
    said = (day.bench.folder / "errors").read_text()
    day.check("warnings", holds="Warning" not in said and "Traceback" not in said, what=said[:500])
    day.check("memory", holds=max(day.memory) <= MOST, what=f"{max(day.memory):.0f} MB")


def main() -> int:
    """Prints what was done and what is wrong; 1 when something is."""
    minutes = float(sys.argv[1]) if sys.argv[1:] else 40
    with tempfile.TemporaryDirectory(prefix="campfire-soak-") as folder:
        bench = Bench(Path(folder), quick=False)
        certify(bench.folder, "127.0.0.1")
        day = Day(bench, bench.database(1_000))
        day.picture = photo(bench.folder / "photo.jpg", 800, 600, 4, 70).read_bytes()
        day.serve()
        asyncio.run(live(day, minutes * 60))
        assert day.served
        day.served.process.terminate()
        day.check("ended with", holds=day.served.process.wait() == 0)
        audit(day)
        require_quiet(day)
    done = ", ".join(f"{name} {count:,}" for name, count in sorted(day.done.items()))
    memory = f"memory {min(day.memory):.0f} to {max(day.memory):.0f} MB"
    wrong = "\n".join(["", *day.wrong]) if day.wrong else " nothing."
    sys.stdout.write(f"{minutes:g} minutes: {done}; {memory}\nWrong:{wrong}\n")
    return 1 if day.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

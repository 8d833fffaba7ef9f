"""How fast and how small the built executable is, beside a bare aiohttp under the same load.

    .venv/bin/python -m tests.bench              all ten workloads, half an hour, one table
    .venv/bin/python -m tests.bench P1 P6        some of them
    .venv/bin/python -m tests.bench --quick      sizes and times cut down, to see that it works

The load comes from processes of `tests.load`. A budget is a ratio to a reference measured in the
same run, or processor time of the server from /proc: machines are noisy. Everything real is on:
sessions, CSRF, membership checks, sanitizing, full text, unread marks, synchronous=FULL, the log.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Self

import campfire as program

ROOT = Path(__file__).resolve().parent.parent
PYZ = ROOT / "campfire.pyz"
SECRET = "5ec2e7" * 20
NONCE = "bench"
SIGNER = program.Signer(SECRET)
PEOPLE, ROOMS, HERMIT = 64, 10, 64  # the last person is in one small room and nowhere else
SMALL_ROOM = ROOMS + 1
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MEGABYTE = 1024 * 1024
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"
SAID = "<div>sent-SENT says what people say in a hundred bytes or so, now and again</div>"
POST = '{"client_message_id":"NAME","body":"' + SAID + '"}'
FRAME = 1_900  # bytes around what is said, in a frame of ours


class Row(NamedTuple):
    """One line of the table."""

    id: str
    workload: str
    ours: str
    reference: str
    ratio: str
    budget: str
    holds: bool


# --- A database of any size ----------------------------------------------------------------------


def sentences(random: Random) -> Iterator[str]:
    """What people say: half of it has `common`, every thousandth `middling`, hardly any `rare`."""
    syllables = "ka lo mi ne ra su to vi".split()
    words = ["".join(random.choices(syllables, k=3)) for _ in range(3_000)]
    number = 0
    while True:
        said = random.sample(words, 11)
        said += ["common"] * (number % 2) + ["middling"] * (number % 1_000 == 0)
        said += ["rare"] * (number % 100_000 == 0)
        yield " ".join(said)
        number += 1


def write_messages(connection: sqlite3.Connection, count: int, began: int) -> None:
    """Messages over all rooms, and a few in the small one."""
    random = Random(7)  # noqa: S311 - the same database every time
    said = sentences(random)

    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(1, count + 1):
            is_hermit = number % max(count // 200, 1) == 0
            room, user = (
                (SMALL_ROOM, HERMIT) if is_hermit else (number % ROOMS + 1, number % 60 + 1)
            )
            text, at = next(said), began + number * 1_000
            yield number, room, user, f"seed-{number}", f"<div>{text}</div>", text, at, at

    connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows())
    connection.execute(
        "INSERT INTO message_search_index (rowid, body) SELECT id, body_text FROM messages"
    )
    connection.execute(
        """
        INSERT INTO boosts (message_id, booster_id, content, created_at, updated_at)
        SELECT id, id % 60 + 1, '👍', created_at, created_at FROM messages WHERE id % 10 = 0
        """
    )


def seed(path: Path, messages: int, people: int = PEOPLE) -> None:
    """An account, people with sessions, ten open rooms, a small closed one, and messages."""
    began = time.time_ns() // 1000 - (messages + 60_000_000)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        program.create_schema(connection, began)
        connection.execute("BEGIN")
        tx, at = program.WriteTx(program.ReadTx(connection)), program.Timestamp(began)
        program.set_up(tx, at, "Person 1", "person1@example.com", "-")
        connection.executemany(
            "INSERT INTO users (name, email_address, bio, role, created_at, updated_at)"
            " VALUES (?, ?, 'Northwind Studio', 0, ?, ?)",
            [(f"Person {n}", f"person{n}@example.com", began, began) for n in range(2, people + 1)],
        )
        connection.executemany(
            "INSERT INTO rooms (type, name, creator_id, created_at, updated_at)"
            " VALUES (?, ?, 1, ?, ?)",
            [("open", f"Room {n}", began, began) for n in range(2, ROOMS + 1)]
            + [("closed", "Small room", began, began)],
        )
        connection.execute(
            "INSERT INTO memberships (room_id, user_id, created_at, updated_at)"
            " SELECT rooms.id, users.id, :at, :at FROM rooms, users"
            " WHERE (users.id = :hermit) = (rooms.id = :small) ON CONFLICT DO NOTHING",
            {"at": began, "hermit": HERMIT, "small": SMALL_ROOM},
        )
        connection.executemany(
            "INSERT INTO sessions (user_id, token_hash, last_active_at, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?)",
            [(n, program.hashed(token(n)), *[time.time_ns() // 1000] * 3)
             for n in range(1, people + 1)],
        )  # fmt: skip
        write_messages(connection, messages, began)
        connection.execute("COMMIT")


# --- Processes -----------------------------------------------------------------------------------


def token(person: int) -> program.RawToken:
    return program.RawToken(f"session-of-person-{person}")


class Served:
    """A server in a process of its own, and what it uses of the machine."""

    def __init__(self, command: Sequence[str], **settings: str) -> None:
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | settings
        )
        assert self.process.stdout is not None
        while not (line := self.process.stdout.readline()).startswith("Listening"):
            assert line, "the server did not start"
        self.started = time.perf_counter() - self.began
        self.address = ("127.0.0.1", int(line.rpartition(":")[2]))
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        with suppress(ValueError):
            while self.process.stdout and self.process.stdout.buffer.read1(1 << 16):
                pass

    @property
    def host(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def cpu(self) -> float:
        """Seconds of processor time, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def megabytes(self) -> float:
        """Resident memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * PAGE_BYTES / MEGABYTE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


class Load:
    """A process that makes load, told by one JSON object a line."""

    def __init__(self, role: str, **settings: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.load", role, json.dumps(settings)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.ready = self.hear()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"failed": "the load is gone"}
        assert "failed" not in found, found["failed"]
        return found

    def tell(self, **order: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self.tell(do="end")
        self.process.wait()


class Asked(NamedTuple):
    """How requests went."""

    answered: int
    cpu: float  # of the server
    seconds: float
    p50: float
    p99: float
    share: float  # of a processor, for the load itself

    @property
    def per_cpu(self) -> float:
        return self.answered / max(self.cpu, 1 / TICKS)


@dataclass
class Bench:
    """The folder of this run, its databases, and how much is cut down."""

    folder: Path
    quick: bool
    busiest: float = 0.0

    def scaled(self, full: float, small: float) -> float:
        return small if self.quick else full

    def database(self, messages: int, people: int = PEOPLE) -> Path:
        """A copy of a seeded database; each size is made once."""
        made = self.folder / f"{messages}-{people}.db"
        if not made.exists():
            seed(made, messages, people)
        copy = self.folder / "campfire.db"
        for old in self.folder.glob("campfire.db*"):
            old.unlink()
        shutil.copyfile(made, copy)
        return copy

    def campfire(self, database: Path) -> Served:
        return Served(
            [sys.executable, "-I", str(PYZ), "serve"],
            CAMPFIRE_DB=str(database), HOST="127.0.0.1", PORT="0", SECRET_KEY_BASE=SECRET,
            MAX_WS_CONNECTIONS="20000", SHIV_ROOT=str(self.folder / "shiv"), LOG_LEVEL="info",
        )  # fmt: skip

    def bare(self) -> Served:
        return Served([sys.executable, "-m", "tests.load", "bare", json.dumps({"frame": FRAME})])

    def head(self, served: Served, person: int, line: str, *, posts: bool) -> str:
        origin = f"http://{served.host}"
        lines = [
            f"{line} HTTP/1.1", f"Host: {served.host}", f"User-Agent: {AGENT}",
            f"Cookie: session_token={token(person)}; _campfire_csrf={NONCE}; last_room=1",
        ]  # fmt: skip
        if posts:
            lines += [
                f"X-CSRF-Token: {SIGNER.csrf_token(NONCE)}", f"Origin: {origin}",
                "Sec-Fetch-Site: same-origin", "Content-Type: application/json",
            ]  # fmt: skip
        return "\r\n".join(lines) + "\r\n"

    def people(
        self, served: Served, line: str, count: int, body: str = "", rooms: Sequence[int] = (1,)
    ) -> Load:
        people = [number % min(count, HERMIT - 1) + 1 for number in range(count)]
        heads = [self.head(served, person, line, posts=bool(body)) for person in people]
        return Load("people", address=served.address, heads=heads, body=body, rooms=[*rooms])

    def ask(
        self, served: Served, load: Load, seconds: float, requests: int = 10**9, pace: float = 0
    ) -> Asked:
        """Requests, and the processor time the server needed for them."""
        before = served.cpu()
        load.tell(do="go", requests=requests, seconds=seconds, pace=pace)
        done = load.hear()
        self.busiest = max(self.busiest, done["share"])
        cpu = served.cpu() - before
        return Asked(
            done["answered"], cpu, done["seconds"], done["p50"], done["p99"], done["share"]
        )

    def rate(self, served: Served, line: str, count: int, seconds: float, body: str = "") -> Asked:
        """What some people get out of one address, after a moment to warm up."""
        with self.people(served, line, count, body) as load:
            self.ask(served, load, seconds / 4)
            return self.ask(served, load, seconds)

    def tabs(
        self, served: Served, count: int, rooms: Sequence[int] = (1,), people: int = PEOPLE - 1,
        *, timed: bool = False,
    ) -> Load:  # fmt: skip
        """Sockets that have subscribed to the messages of some rooms."""
        lines = (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Origin: http://{served.host}\r\nSec-WebSocket-Protocol: actioncable-v1-json\r\n\r\n"
        )
        openings = [
            self.head(served, person, "GET /cable", posts=False) + lines
            for person in range(1, people + 1)
        ]
        subscribes = [json.dumps({"command": "subscribe", "identifier": identifier(room)})
                      for room in rooms]  # fmt: skip
        return Load(
            "tabs", address=served.address, count=count, openings=openings,
            subscribes=subscribes, timed=timed,
        )  # fmt: skip

    def fan_out(
        self, served: Served, line: str, tabs: Load, posts: int, flights: int
    ) -> tuple[float, bool]:
        """Deliveries per second of processor time, and whether all came, and in order."""
        with self.people(served, line, flights, POST) as load:
            before = served.cpu()
            tabs.tell(do="wait", frames=posts)
            self.ask(served, load, 600, posts)
            heard = tabs.hear()
            cpu = served.cpu() - before
        whole = heard["least"] == heard["most"] == posts and heard["in_order"]
        return heard["total"] / max(cpu, 1 / TICKS), whole


def identifier(room: int) -> str:
    signed = SIGNER.stream(f"room_{room}:messages")
    return json.dumps({"channel": "RoomMessagesChannel", "signed_stream_name": signed})


ROOM_POST = "POST /api/rooms/ROOM/messages"


# --- The workloads -------------------------------------------------------------------------------


def fan_out(bench: Bench) -> Iterator[Row]:
    sockets = int(bench.scaled(1_000, 100))
    posts = {32: int(bench.scaled(2_000, 100)), 4: int(bench.scaled(600, 60))}
    ours, theirs, whole = {}, {}, True
    with bench.campfire(bench.database(1_000)) as served, bench.tabs(served, sockets) as tabs:
        for flights in (32, 4):
            bench.fan_out(served, ROOM_POST, tabs, posts[flights] // 4, flights)
            ours[flights], fine = bench.fan_out(served, ROOM_POST, tabs, posts[flights], flights)
            whole = whole and fine
    with bench.bare() as served, bench.tabs(served, sockets) as tabs:
        for flights in (32, 4):
            theirs[flights], _ = bench.fan_out(
                served, "POST /post", tabs, posts[flights] // 5, flights
            )
    for flights, factor in ((32, 5), (4, 2)):
        ratio = ours[flights] / theirs[flights]
        yield Row(
            "P1", f"fan-out to {sockets:,} sockets, {flights} posts in flight",
            f"{ours[flights]:,.0f}/cpu-s{'' if whole else ', NOT ALL IN ORDER'}",
            f"{theirs[flights]:,.0f}/cpu-s", f"{ratio:.1f}×", f"≥ {factor}×, none lost, in order",
            ratio >= factor and whole,
        )  # fmt: skip


def posting(bench: Bench) -> Iterator[Row]:
    seconds = bench.scaled(10, 1)
    with bench.bare() as served:
        bare = bench.rate(served, "GET /json", 64, seconds)
    with bench.campfire(bench.database(1_000)) as served:
        ours = bench.rate(served, ROOM_POST, 64, seconds, POST)
        some = bench.rate(served, ROOM_POST, 16, seconds, POST)
        alone = bench.rate(served, ROOM_POST, 1, seconds, POST)
    ratio = ours.per_cpu / bare.per_cpu
    yield Row(
        "P2", f"posting, 64 posters ({ours.answered / ours.seconds:,.0f}/s)",
        f"{ours.per_cpu:,.0f}/cpu-s", f"{bare.per_cpu:,.0f} GET/cpu-s", f"1/{1 / ratio:.1f}",
        "≥ 1/6", ratio >= 1 / 6,
    )  # fmt: skip
    yield Row(
        "P2", "ack, 16 posters: p50, p99", f"{some.p50:.1f}, {some.p99:.1f} ms", "", "",
        "≤ 4, 15 ms", some.p50 <= 4 and some.p99 <= 15,
    )  # fmt: skip
    yield Row("P2", "ack, one poster: p50", f"{alone.p50:.2f} ms", "", "", "≤ 1.5 ms",
              alone.p50 <= 1.5)  # fmt: skip


def _chatter(
    bench: Bench, served: Served, line: str, seconds: float
) -> tuple[Asked, dict[str, Any]]:
    rooms = range(1, ROOMS + 1)
    posts = int(seconds * 50)
    with (
        bench.tabs(served, 50, rooms, 50, timed=True) as tabs,
        bench.people(served, line, 50, POST, rooms) as load,
    ):
        tabs.tell(do="wait", frames=posts)
        asked = bench.ask(served, load, seconds * 2, posts, 50)
        return asked, tabs.hear()


def chatter(bench: Bench) -> Iterator[Row]:
    seconds = bench.scaled(60, 4)
    with bench.campfire(bench.database(1_000)) as served:
        ours, heard = _chatter(bench, served, ROOM_POST, seconds)
    with bench.bare() as served:
        theirs, bare = _chatter(bench, served, "POST /post", seconds)
    yield Row(
        "P3", "chatter, 50 people × 10 rooms, 50 posts/s: delivery p50, p99",
        f"{heard['p50']:.1f}, {heard['p99']:.1f} ms", f"{bare['p50']:.1f}, {bare['p99']:.1f} ms",
        "", "≤ 4, 12 ms", heard["p50"] <= 4 and heard["p99"] <= 12,
    )  # fmt: skip
    ratio = ours.per_cpu / theirs.per_cpu
    yield Row(
        "P3", "the same: posts per cpu-s", f"{ours.per_cpu:,.0f}", f"{theirs.per_cpu:,.0f}",
        f"{ratio:.0%}", "≥ 60 %", ratio >= 0.6,
    )  # fmt: skip


def crowd(bench: Bench) -> Iterator[Row]:
    sockets, seconds = int(bench.scaled(10_000, 500)), bench.scaled(60, 3)
    with bench.campfire(bench.database(1_000)) as served:
        idle = served.megabytes()
        with (
            bench.tabs(served, sockets, timed=True) as tabs,
            bench.people(served, ROOM_POST, 16, POST) as load,
        ):
            memory = served.megabytes()
            posts = int(seconds)
            tabs.tell(do="wait", frames=posts)
            bench.ask(served, load, seconds * 2, posts, 1)
            heard, memory = tabs.hear(), max(memory, served.megabytes())
    yield Row(
        "P4", f"{sockets:,} sockets in one room, 1 post/s: p50, p99 to all",
        f"{heard['p50']:.0f}, {heard['p99']:.0f} ms", "", "", "≤ 100, 300 ms",
        heard["p50"] <= 100 and heard["p99"] <= 300,
    )  # fmt: skip
    each = (memory - idle) * 1024 / sockets
    yield Row(
        "P4", "resident memory, and per socket", f"{memory:.0f} MB, {each:.1f} KB",
        f"idle {idle:.0f} MB", "", "≤ 240 MB, 18 KB", memory <= 240 and each <= 18,
    )  # fmt: skip


def _slowest_health(served: Served, ended: threading.Event) -> float:
    """The longest that /up took until the event."""
    slowest = 0.0
    while not ended.is_set():
        began = time.perf_counter()
        with closing(http.client.HTTPConnection(*served.address, timeout=30)) as connection:
            connection.request("GET", "/up")
            connection.getresponse().read()
        slowest = max(slowest, time.perf_counter() - began)
        ended.wait(0.02)
    return slowest


def storm(bench: Bench) -> Iterator[Row]:
    for sockets in (1_000, 10_000) if not bench.quick else (200,):
        with bench.bare() as served, bench.tabs(served, sockets) as tabs:
            bare = tabs.ready["opened"]
        with bench.campfire(bench.database(1_000)) as served:
            ended, slowest = threading.Event(), [0.0]
            watch = threading.Thread(
                target=lambda: slowest.__setitem__(0, _slowest_health(served, ended))
            )
            watch.start()
            with bench.tabs(served, sockets) as tabs:
                ours = tabs.ready["opened"]
                ended.set()
            watch.join()
        ratio = ours / bare
        yield Row(
            "P5", f"storm: {sockets:,} connect and subscribe at once; slowest /up",
            f"{ours:.2f} s; {slowest[0] * 1000:.0f} ms", f"{bare:.2f} s", f"{ratio:.1f}×",
            "≤ 3×; ≤ 1 s", ratio <= 3 and slowest[0] <= 1,
        )  # fmt: skip


READS = (
    ("room JSON, 40 messages", "GET /api/rooms/ROOM", 4),
    ("messages page", "GET /api/rooms/ROOM/messages", 4),
    ("sidebar", "GET /api/users/me/sidebar", 6),
    ("search, a common word", "GET /api/searches?q=common", 6),
    ("room HTML with boot data", "GET /rooms/ROOM", 6),
)


def reads(bench: Bench) -> Iterator[Row]:
    seconds = bench.scaled(8, 1)
    with bench.bare() as served:
        bare = bench.rate(served, "GET /json", 16, seconds)
    with bench.campfire(bench.database(10_000)) as served:
        for name, line, least in READS:
            ours = bench.rate(served, line, 16, seconds)
            ratio = ours.per_cpu / bare.per_cpu
            yield Row(
                "P6", f"{name} ({ours.answered / ours.seconds:,.0f}/s)",
                f"{ours.per_cpu:,.0f}/cpu-s", f"{bare.per_cpu:,.0f} GET/cpu-s",
                f"1/{1 / ratio:.1f}", f"≥ 1/{least}", ratio >= 1 / least,
            )  # fmt: skip


def _sql_of_searches(database: Path) -> Iterator[tuple[str, float, float]]:
    """The median and 99th percentile, in ms, of finding what a search shows."""
    searches = (("rare", 1), ("middling", 1), ("common", 1), ("common", HERMIT))
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        for word, person in searches:
            took = []
            for _ in range(200):
                began = time.perf_counter()
                program.matches_for(program.ReadTx(connection), program.UserId(person), word)
                took.append((time.perf_counter() - began) * 1000)
            name = word if person != HERMIT else f"{word}, in one small room"
            yield name, statistics.median(took), sorted(took)[197]


def growth(bench: Bench) -> Iterator[Row]:
    seconds = bench.scaled(5, 1)
    sizes = (1_000, 100_000, 1_000_000) if not bench.quick else (1_000, 10_000)
    lines = [("posting", ROOM_POST), *((name, line) for name, line, _ in READS)]
    costs: dict[str, list[float]] = {name: [] for name, _ in lines}
    for size in sizes:
        database = bench.database(size)
        with bench.campfire(database) as served:
            for name, line in lines:
                body = POST if line == ROOM_POST else ""
                costs[name].append(1e6 / bench.rate(served, line, 16, seconds, body).per_cpu)
    for name, cost in costs.items():
        ratio = cost[-1] / cost[0]
        yield Row(
            "P7", f"{name} at {', '.join(f'{size:,}' for size in sizes)}",
            ", ".join(f"{each:,.0f}" for each in cost) + " cpu-µs", "", f"{ratio:.2f}×",
            "≤ 1.25×", ratio <= 1.25,
        )  # fmt: skip
    for name, p50, p99 in _sql_of_searches(database):
        yield Row(
            "P7", f"SQL of a search at {sizes[-1]:,}: {name}; p50, p99",
            f"{p50:.2f}, {p99:.2f} ms", "", "", "≤ 1, 6 ms", p50 <= 1 and p99 <= 6,
        )  # fmt: skip


def _import_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "from aiohttp import web"], check=True)
    return time.perf_counter() - began


def start(bench: Bench) -> Iterator[Row]:
    runs, database = int(bench.scaled(9, 3)), bench.database(1_000)
    imports, warm, first = [], [], []
    for _ in range(runs):
        imports.append(_import_seconds())
        with bench.campfire(database) as served:
            warm.append(served.started)
    for _ in range(min(runs, 3)):
        shutil.rmtree(bench.folder / "shiv")
        with bench.campfire(database) as served:
            first.append(served.started)
    bare = statistics.median(imports)
    for name, taken, most in (("warm", warm, 1.4), ("the first after a copy", first, 5.0)):
        ours = statistics.median(taken)
        yield Row(
            "P8", f"start to Listening, {name}", f"{ours * 1000:.0f} ms",
            f"import {bare * 1000:.0f} ms", f"{ours / bare:.2f}×", f"≤ {most}×",
            ours / bare <= most,
        )  # fmt: skip


def memory(bench: Bench) -> Iterator[Row]:
    seconds, rounds = bench.scaled(600, 10), 10
    with bench.campfire(bench.database(10_000)) as served:
        idle = served.megabytes()
        yield Row("P9", "memory, idle", f"{idle:.1f} MB", "", "", "≤ 60 MB", idle <= 60)
        rooms = range(1, ROOMS + 1)
        with (
            bench.tabs(served, 50, rooms, 50) as tabs,
            bench.people(served, ROOM_POST, 50, POST, rooms) as load,
            bench.people(served, "GET /rooms/ROOM", 50, "", rooms) as readers,
        ):
            seen = []
            for _ in range(rounds):
                posts = int(seconds / rounds * 20)
                tabs.tell(do="wait", frames=posts)
                bench.ask(served, load, seconds, posts, 20)
                bench.ask(served, readers, seconds, 50)
                tabs.hear()
                seen.append(served.megabytes())
    half = seen[rounds // 2 :]
    grown = half[-1] - half[0]
    yield Row(
        "P9", f"memory, 50 people talk for {seconds:.0f} s; grown in the second half",
        f"{max(seen):.1f} MB, {grown:+.1f} MB", "", "", "≤ 80 MB, flat",
        max(seen) <= 80 and grown <= 2,
    )  # fmt: skip


def size(bench: Bench) -> Iterator[Row]:
    del bench
    whole = PYZ.stat().st_size / MEGABYTE
    with zipfile.ZipFile(PYZ) as archive:
        others = sum(
            info.compress_size
            for info in archive.infolist()
            if re.search(r"\.cpython-31[23]-", info.filename)
        )
    one = whole - others / MEGABYTE
    yield Row("P10", "size of the pyz for Python 3.11 alone", f"{one:.1f} MB", "", "", "≤ 16 MB",
              one <= 16)  # fmt: skip
    yield Row("P10", "size of the pyz for 3.11 to 3.13", f"{whole:.1f} MB", "", "", "≤ 24 MB",
              whole <= 24)  # fmt: skip


WORKLOADS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "P1": fan_out, "P2": posting, "P3": chatter, "P4": crowd, "P5": storm,
    "P6": reads, "P7": growth, "P8": start, "P9": memory, "P10": size,
}  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """The rows as a table of text."""
    lines = [("", "workload", "ours", "reference", "ratio", "budget", "")]
    lines += [(*row[:6], "holds" if row.holds else "DOES NOT HOLD") for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def main() -> int:
    """Runs what is named, prints the table; 1 when something does not hold."""
    options = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    options.add_argument("names", nargs="*", metavar="P1..P10")
    options.add_argument("--quick", action="store_true")
    given = options.parse_args()
    wanted = [name.upper() for name in given.names] or list(WORKLOADS)
    if unknown := set(wanted) - set(WORKLOADS):
        options.error(f"no such workload: {', '.join(sorted(unknown))}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campfire-bench-")))
        bench = Bench(folder, given.quick)
        bench.campfire(bench.database(1_000)).__exit__()  # unpacks itself
        rows = []
        for name in wanted:
            sys.stderr.write(f"{name} … ")
            sys.stderr.flush()
            rows += WORKLOADS[name](bench)
        sys.stderr.write("\n")
    sys.stdout.write(f"{table(rows)}\n\nThe busiest load used {bench.busiest:.0%} of a core.\n")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""What the benchmarks measure on: seeded databases, served programs, and loads beside them."""

import http.client
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Self

import campfire as program
from tests.support.executable import address_of

ROOT = Path(__file__).resolve().parents[2]
PYZ = ROOT / "campfire.pyz"
SECRET = "5ec2e7" * 20
NONCE = "bench"
SIGNER = program.Signer(SECRET)
PEOPLE, ROOMS, HERMIT = 64, 10, 64  # the last person is in one small room and nowhere else
SMALL_ROOM = ROOMS + 1
THREE_YEARS = 3 * 365 * program.DAY
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MEGABYTE = 1024 * 1024
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"
SAID = "<div>sent-SENT says what people say in a hundred bytes or so, now and again</div>"
POST = '{"client_message_id":"NAME","body":"' + SAID + '"}'
FRAME = 1_900  # bytes around what is said, in a frame of ours


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
    """Messages over all rooms and three years, and a few in the small one; every twentieth has a
    link, every fiftieth is called after its file."""
    random = Random(7)  # noqa: S311 - the same database every time
    said = sentences(random)

    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(1, count + 1):
            is_hermit = number % max(count // 200, 1) == 0
            room, user = (
                (SMALL_ROOM, HERMIT)
                if is_hermit
                else (number // 3 % ROOMS + 1, number // 2 % 60 + 1)
            )
            link = " https://example.com/" * (number // 2 % 20 == 3)
            text, at = next(said) + link, began + number * (THREE_YEARS // count)
            yield number, room, user, f"seed-{number}", f"<div>{text}</div>", text, at, at

    connection.executemany(
        """
        INSERT INTO messages (id, room_id, creator_id, client_message_id, body_html, body_text,
          created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        """,
        rows(),
    )
    connection.execute(
        """
        INSERT INTO blobs (id, key, byte_size, content_type, created_at)
        SELECT id, printf('%020d', id), 1, 'image/png', 0 FROM messages WHERE id / 2 % 50 = 7
        """
    )
    connection.execute(
        """
        INSERT INTO attachments (message_id, blob_id, filename, kind, created_at)
        SELECT id, id, 'a.png', iif(id / 2 % 100 = 7, 'image', 'file'), 0 FROM blobs
        """
    )
    program.rebuild_index(connection)
    connection.execute(
        """
        INSERT INTO boosts (message_id, booster_id, content, created_at, updated_at)
        SELECT id, id % 60 + 1, '👍', created_at, created_at FROM messages WHERE id % 10 = 0
        """
    )


def seed(path: Path, messages: int, people: int = PEOPLE) -> None:
    """An account, people with sessions, ten open rooms, a small closed one, and messages."""
    began = time.time_ns() // 1000 - THREE_YEARS - 60_000_000
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        program.create_schema(connection, began)
        connection.execute("BEGIN")
        tx, at = program.WriteTx(program.ReadTx(connection)), program.Timestamp(began)
        program.set_up(tx, at, program.Newcomer("Person 1", "person1@example.com", ""), "-")
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


def _page(tx: program.ReadTx, page: program.Excerpt) -> tuple[program.PersistedMessage, ...]:
    return program.messages_by_id(tx, [message["id"] for message in page.found])


# What people read all day, by whom: the second person, who is in all the big rooms, or the hermit.
ROOM, READER = program.RoomId(1), program.UserId(2)
READS: dict[str, Callable[[program.ReadTx], object]] = {
    "the newest page": lambda tx: _page(tx, program.page_of(tx, ROOM)),
    "a page far back": lambda tx: _page(
        tx, program.page_of(tx, ROOM, around=program.MessageId(5_010))
    ),
    "the sidebar": lambda tx: program.sidebar_of(tx, program.user_by_id(tx, READER)),
    "a rare word": lambda tx: program.hits_for(tx, READER, "rare"),
    "a common word": lambda tx: program.hits_for(tx, READER, "common"),
    "a common word, for somebody in one small room": lambda tx: program.hits_for(
        tx, program.UserId(HERMIT), "common"
    ),
}


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
        self.address = address_of(self.process)
        self.started = time.perf_counter() - self.began
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        """Reads what the server prints to its end: a full pipe would stop it."""
        with suppress(ValueError):
            for _ in self.process.stdout or ():
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
            [sys.executable, "-m", "tests.bench.load", role],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.tell(**settings)
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


class Row(NamedTuple):
    """One line of the table."""

    id: str
    workload: str
    ours: str
    reference: str
    ratio: str
    budget: str
    holds: bool


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

    def campfire(self, database: Path, **settings: str) -> Served:
        usual = {
            "HOST": "127.0.0.1", "PORT": "0", "SECRET_KEY_BASE": SECRET, "LOG_LEVEL": "info",
            "MAX_WS_CONNECTIONS": "20000", "SHIV_ROOT": str(self.folder / "shiv"),
        }  # fmt: skip
        command = [sys.executable, "-I", str(PYZ), "serve"]
        return Served(command, **(usual | settings), CAMPFIRE_DB=str(database))

    def bare(self) -> Served:
        return Served(
            [sys.executable, "-m", "tests.bench.load", "bare", json.dumps({"frame": FRAME})]
        )

    def head(self, served: Served, person: int, line: str, *, posts: bool) -> str:
        origin = f"http://{served.host}"
        lines = [
            f"{line} HTTP/1.1", f"Host: {served.host}", f"User-Agent: {AGENT}",
            "Accept-Encoding: gzip",
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

    def beside(
        self, served: Served, line: str, post: str, rooms: Sequence[int], seconds: float
    ) -> Asked:
        """The same while people post, twenty times a second; without what the posts cost."""
        with (
            self.people(served, post, 16, POST, rooms) as talk,
            self.people(served, line, 16) as asking,
        ):
            self.ask(served, asking, seconds / 4)
            alone = self.ask(served, talk, seconds, pace=20)
            talk.tell(do="go", requests=10**9, seconds=seconds + 0.5, pace=20)
            asked = self.ask(served, asking, seconds)
            talk.hear()
        return asked._replace(cpu=asked.cpu - alone.cpu / alone.seconds * asked.seconds)

    def weight(self, served: Served, path: str) -> int:
        """Bytes of an answer's body, as they go over the wire."""
        head = dict(
            line.split(": ", 1) for line in self.head(served, 2, "", posts=False).splitlines()[1:]
        )
        with closing(http.client.HTTPConnection(*served.address)) as connection:
            connection.request("GET", path, headers=head)
            return len(connection.getresponse().read())

    def openings(self, served: Served, people: int) -> list[str]:
        """What the browsers of so many people say to open a socket."""
        lines = (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Origin: http://{served.host}\r\nSec-WebSocket-Protocol: actioncable-v1-json\r\n\r\n"
        )
        return [
            self.head(served, person, "GET /cable", posts=False) + lines
            for person in range(1, people + 1)
            if person != HERMIT
        ]

    def tabs(
        self, served: Served, count: int, rooms: Sequence[int] = (1,), people: int = PEOPLE,
        *, timed: bool = False,
    ) -> Load:  # fmt: skip
        """Sockets that have subscribed to the messages of some rooms."""
        openings, subscribes = self.openings(served, people), [subscribe(room) for room in rooms]
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


def subscribe(room: int) -> str:
    return json.dumps({"command": "subscribe", "identifier": identifier(room)})


def identifier(room: int) -> str:
    signed = SIGNER.stream(f"room_{room}:messages")
    return json.dumps({"channel": "RoomMessagesChannel", "signed_stream_name": signed})

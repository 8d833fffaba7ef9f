"""What an operator does: runs commands, reads numbers, renews certificates, damages a file."""

import asyncio
import base64
import http.client
import itertools
import json
import os
import re
import select
import socket
import sqlite3
import ssl
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client.parser import text_string_to_metric_families

import campfire as program
from campfire import DraftMessage, MessageId, Room, User
from tests.support.cast import PATIENCE, SETTINGS, Cast, Person, Server, copy_database

PROGRAM = Path(program.__file__)
REFUSED, USAGE, UNUSABLE = 1, 2, 3
Done = subprocess.CompletedProcess[str]


def command(database: Path, *arguments: str, typed: str = "", **settings: str) -> Done:
    """One command, run to its end."""
    environment = {"PATH": os.environ["PATH"], "BCRYPT_COST": "4", "CAMPFIRE_DB": str(database)}
    return subprocess.run(
        [sys.executable, PROGRAM, *arguments],
        env={**environment, **settings},
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def done(result: Done) -> str:
    """What a command that succeeded said."""
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.strip()


def refusal(result: Done, code: int = REFUSED) -> str:
    """The one line of a command that failed."""
    assert result.returncode == code, result
    assert re.fullmatch(r"campfire: [^\n]+\n", result.stderr), result.stderr
    return result.stderr.removeprefix("campfire: ").strip()


@pytest.fixture
def database(template: tuple[Path, Cast], tmp_path: Path) -> Path:
    """The cast's database; nobody serves it."""
    return copy_database(template[0], tmp_path)


@pytest.fixture
def edit(database: Path) -> Iterator[sqlite3.Connection]:
    """The cast's database, as somebody who should not would open it."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        yield connection


Damage = Callable[[sqlite3.Connection], object]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "words missing from search": (
        lambda db: db.execute("DELETE FROM message_search_index WHERE rowid < 4"),
        "search: 3 messages are missing from the search index",
    ),
    "words of nobody": (
        lambda db: db.execute("INSERT INTO message_search_index (rowid, body) VALUES (999, 'x')"),
        "search: 1 entries of the search index have no message",
    ),
    "words that are not those of the index": (
        lambda db: db.execute("UPDATE message_search_index_content SET c0 = 'else' WHERE id = 2"),
        "search: the index does not agree with itself",
    ),
    "no search at all": (
        lambda db: db.execute("DROP TABLE message_search_index"),
        "schema: table message_search_index is missing",
    ),
    "a row of a search index table": (
        lambda db: db.execute("DELETE FROM message_search_index_data WHERE id > 10"),
        "search: the index does not agree with itself",
    ),
    "an index": (
        lambda db: db.execute("DROP INDEX messages_page"),
        "schema: index messages_page is missing",
    ),
    "messages of nobody": (
        lambda db: db.execute("UPDATE messages SET creator_id = 777 WHERE id = 3"),
        "references: 1 rows of messages point to missing users",
    ),
    "unread marks of nobody": (
        lambda db: db.execute("UPDATE memberships SET user_id = 777, unread_at = 1 WHERE id = 2"),
        "unread: 1 unread marks of people who are no members",
    ),
}


# --- Numbers -------------------------------------------------------------------------------------

COUNTERS = "http_requests broadcasts ws_frames_sent ws_slow_closed messages_created webhooks pushes"
GAUGES = "ws_connections ws_subscriptions db_writer_queue presence_entries build_info"
HISTOGRAMS = "http_request_seconds broadcast_seconds db_write_seconds db_group_size"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def numbers(person: Person) -> Samples:
    """All samples, read by Prometheus' own parser."""
    answer = await person.get("/metrics")
    assert answer.status == 200, answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def number(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((f"campfire_{name}", frozenset(labels.items())), 0)


# --- Certificates and time limits ----------------------------------------------------------------


def certify(folder: Path, name: str, ended: timedelta = timedelta(days=-1)) -> bytes:
    """A certificate that ended so long ago in `cert.pem`, its key in `key.pem`; its encoding."""
    key, subject = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now - ended)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made.public_bytes(serialization.Encoding.DER)


def shown_certificate(port: int, name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


async def heard_until_the_end(port: int, sends: bytes, until: bytes = b"") -> bytes:
    """What a client hears that sends this much and no more, until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sends)
    async with asyncio.timeout(20):
        everything = await (reader.readuntil(until) if until else reader.read())
    writer.close()
    return everything


def read_to_end(connection: socket.socket) -> int:
    """The number of bytes that still come."""
    total = 0
    with suppress(ConnectionResetError):
        while more := connection.recv(1_000_000):
            total += len(more)
    return total


def qr_path(text: bytes) -> str:
    return f"/qr_code/{base64.urlsafe_b64encode(text).decode()}"


# --- Salvage -------------------------------------------------------------------------------------


def page_with(database: Path, words: str) -> int:
    """The number of the first page, from 0, on which these words stand."""
    with closing(sqlite3.connect(database)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return database.read_bytes().index(words.encode()) // int(size)


def page_of_index(database: Path, index: str, part: str) -> int:
    """The number, from 0, of an index's root page, or of its first leaf."""
    with closing(sqlite3.connect(database)) as connection:
        found = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (root,) = connection.execute(found, (index,)).fetchone()
    page = database.read_bytes()[(root - 1) * 4096 : root * 4096]
    is_interior = page[0] == 2  # the file format of SQLite, 1.6
    return int.from_bytes(page[8:12]) - 1 if part == "leaf" and is_interior else int(root) - 1


def words_in(database: Path) -> list[tuple[int, str]]:
    """Every message's id and words, read without any index but the table's own."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT id, body_text FROM messages ORDER BY +id").fetchall()


def wipe(database: Path, page: int) -> None:
    with database.open("r+b") as opened:
        opened.seek(page * 4096)
        opened.write(b"\x00" * 4096)


def fill(edit: sqlite3.Connection, cast: Cast, count: int) -> None:
    """So many more messages in the Watercooler, and nothing waiting in a log."""
    edit.execute("BEGIN")
    edit.executemany(
        "INSERT INTO messages (room_id, creator_id, client_message_id, body_html, body_text,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, 1, 1)",
        [
            (cast.watercooler.id, cast.david.id, f"n{n}", f"Needle {n:06}", f"needle {n:06}")
            for n in range(count)
        ],
    )
    edit.execute("COMMIT")
    edit.close()


@asynccontextmanager
async def writing(server: Server, room: Room, by: User) -> AsyncIterator[list[MessageId]]:
    """Twenty writers who post as fast as the server takes it; the ids it acknowledged so far."""
    written: list[MessageId] = []
    finished, names = asyncio.Event(), itertools.count()

    async def write() -> None:
        while not finished.is_set():
            draft = DraftMessage(room.id, by.id, f"m{next(names)}", "<div>and so on</div>")
            posted = await server.parts.messages.create_message_with_deduplication(draft)
            written.append(posted.message.id)

    writers = [asyncio.create_task(write()) for _ in range(20)]
    yield written
    finished.set()
    await asyncio.gather(*writers)


# Makes the terminal it gets the one it is controlled from, then becomes the program.
_CONTROLLED = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
_CONTROLLED += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


def at_a_terminal(
    database: Path, words: str, answers: Mapping[str, str]
) -> tuple[int, str, list[bool]]:
    """The exit code of a command, all that its terminal showed, and whether it echoed each answer.

    An answer is typed when its prompt stands there.
    """
    ours, theirs = os.openpty()
    environment = {"PATH": os.environ["PATH"], "BCRYPT_COST": "4", "CAMPFIRE_DB": str(database)}
    process = subprocess.Popen(
        [sys.executable, "-c", _CONTROLLED, str(PROGRAM), *words.split()],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    shown, echoed = b"", []

    def read_on() -> bytes:
        ready, _, _ = select.select([ours], [], [], PATIENCE)
        assert ready, shown
        return os.read(ours, 1_000)

    for prompt, typed in answers.items():
        while not shown.endswith(prompt.encode()):
            shown += read_on()
        echoed.append(bool(termios.tcgetattr(theirs)[3] & termios.ECHO))
        os.write(ours, f"{typed}\n".encode())
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.01)[0]:
            shown += os.read(ours, 1_000)
    os.close(ours)
    os.close(theirs)
    return process.returncode, " ".join(shown.decode().split()), echoed


# Lowers the number of files the program may have, then becomes it.
_LIMITED = "import os, resource, sys; files = int(sys.argv[1]); "
_LIMITED += "resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)); "
_LIMITED += "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"


def run_out_of_files(database: Path, files: int, sockets: int) -> list[str]:
    """What a server logs while more sockets are open than it can have; then it must answer."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LIMITED, str(files), str(PROGRAM), "serve"],
        env={**os.environ, **SETTINGS, "CAMPFIRE_DB": str(database)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    line = ""
    while not line.startswith("Listening on "):
        line = process.stdout.readline()
        assert line, "the server did not start"
    address = ("127.0.0.1", int(line.rpartition(":")[2]))
    with ExitStack() as crowd:
        for _ in range(sockets):
            crowd.enter_context(socket.create_connection(address, PATIENCE))
        said = [json.loads(process.stdout.readline())["event"]]
    with closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as connection:
        connection.request("GET", "/up")
        assert connection.getresponse().status == 200
    process.terminate()
    rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    *meanwhile, stopping, stopped = [json.loads(each)["event"] for each in rest.splitlines()]
    assert (stopping, stopped) == ("stopping", "stopped")
    return said + meanwhile

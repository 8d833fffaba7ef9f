"""What an operator does: runs commands, reads numbers, renews certificates, damages a file."""

import asyncio
import base64
import itertools
import os
import re
import socket
import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
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
from tests.support.cast import SETTINGS, Cast, Person, Server, Template, copy_database
from tests.support.executable import Done, ran

PROGRAM = Path(program.__file__)
ROOT = PROGRAM.parent
REFUSED, USAGE, UNUSABLE = 1, 2, 3


def command(database: Path, *arguments: str, typed: str = "", **settings: str) -> Done:
    """One command, run to its end."""
    environment = {"PATH": os.environ["PATH"], "BCRYPT_COST": "4", "CAMPFIRE_DB": str(database)}
    return ran(
        [sys.executable, PROGRAM, *arguments],
        env={**environment, **settings},
        input=typed,
        timeout=60,
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
def database(template: Template, tmp_path: Path) -> Path:
    """The cast's database; nobody serves it."""
    return copy_database(template[0], tmp_path)


@pytest.fixture
def edit(database: Path) -> Iterator[sqlite3.Connection]:
    """The cast's database, as somebody who should not would open it."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        yield connection


# --- Numbers -------------------------------------------------------------------------------------

COUNTERS = "http_requests broadcasts ws_frames_sent ws_slow_closed messages_created webhooks pushes"
COUNTERS += " workshop_results uploads unfurls upload_bytes downloads_bytes"
GAUGES = "ws_connections ws_subscriptions db_writer_queue presence_entries build_info"
GAUGES += " files files_bytes files_free_bytes doomed_blobs workshop_sandbox uploads_active"
HISTOGRAMS = "http_request_seconds broadcast_seconds db_write_seconds db_group_size"
HISTOGRAMS += " workshop_seconds"
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


def qr_path(text: bytes) -> str:
    return f"/qr_code/{base64.urlsafe_b64encode(text).decode()}"


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


class Child:
    """The program as a process of its own, and the lines it said before the one on its address."""

    def __init__(self, process: asyncio.subprocess.Process, address: str, said: list[str]) -> None:
        self.process, self.address, self.said = process, address, said

    async def says(self, words: str) -> None:
        """Waits for the line of its log with these words."""
        stdout = self.process.stdout
        assert stdout
        async with asyncio.timeout(20):
            while words not in (line := (await stdout.readline()).decode()):
                assert line, f"the server ended before it said {words}"

    def kilobytes(self) -> int:
        """The memory it needs, with what of it others need, too."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4

    async def ended(self) -> int:
        async with asyncio.timeout(40):
            return await self.process.wait()


@asynccontextmanager
async def child_server(
    database: Path,
    level: str = "error",
    program: Sequence[str | Path] = (sys.executable, PROGRAM),
    **settings: str,
) -> AsyncIterator[Child]:
    """Serves this database until it is told, or killed, or no longer needed."""
    process = await asyncio.create_subprocess_exec(
        *program, "serve", "--db", database,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **SETTINGS, "LOG_LEVEL": level, **settings},
    )  # fmt: skip
    assert process.stdout
    said: list[str] = []
    try:
        async with asyncio.timeout(40):
            while line := (await process.stdout.readline()).decode().strip():
                if line.startswith("Listening on "):
                    break
                said.append(line)
        yield Child(process, line.removeprefix("Listening on "), said)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()

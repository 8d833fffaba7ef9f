"""A kill, a power cut, a stop while files come: every acknowledged file is there, none is half."""

import asyncio
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from functools import partial
from itertools import count
from pathlib import Path

import aiohttp
import pytest

import campfire as program
from tests.operators.test_sudden_ends import browser, token_for
from tests.support.cast import PATIENCE, SETTINGS, Template, copy_database
from tests.support.files import TYPE, form
from tests.support.operators import ROOT, child_server
from tests.support.studio import encoded, painted, spooled

ROUNDS, CUTS = 200, 100
EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0SERIAL-4711"


class Kinds:
    """What is sent, by its name; and what of it must be stored."""

    def __init__(self, chance: random.Random) -> None:
        photo = encoded(painted(90, 60), "JPEG", exif=EXIF)
        self.sent = {
            "photo.jpg": photo,
            "picture.png": encoded(painted(40, 30), "PNG"),
            **{f"{size}.bin": chance.randbytes(size) for size in (1, 4_096, 70_000, 700_000)},
        }
        with spooled(photo) as source, spooled(b"") as target:
            program.ORDERS["strip"](source, target)
            target.seek(0)
            stored = {**self.sent, "photo.jpg": target.readall()}
        self.hashes = {name: hashlib.sha256(data).digest() for name, data in stored.items()}
        assert b"SERIAL" not in stored["photo.jpg"]


async def in_pieces(body: bytes, is_sent: Callable[[], None]) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 100_000):
        yield body[at : at + 100_000]
        is_sent()


async def send_on(
    session: aiohttp.ClientSession, path: str, name: str, kinds: Kinds, is_sent: Callable[[], None]
) -> AsyncIterator[tuple[str, str]]:
    """Sends file after file until nobody answers: each that was acknowledged, and its name."""
    for number in count():
        client_id = f"{name}-{number}"
        file = list(kinds.sent)[(number + len(name)) % len(kinds.sent)]
        body = form(kinds.sent[file], file, client_message_id=client_id)
        async with session.post(path, data=in_pieces(body, is_sent), headers=TYPE) as answer:
            assert answer.status == 201, await answer.text()
        yield client_id, file


@asynccontextmanager
async def mortal(database: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """What starts a server over this database for each line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.mortal", cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **SETTINGS, "LOG_LEVEL": "error", "CAMPFIRE_DB": str(database)},
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
        assert process.stdin
        process.stdin.close()
        assert await process.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def told(stdout: asyncio.StreamReader, words: str) -> str:
    """What the next line says, which begins with these words."""
    async with asyncio.timeout(PATIENCE):
        line = (await stdout.readline()).decode().strip()
    assert line.startswith(words), line
    return line.removeprefix(words).strip()


def files_in(database: Path) -> dict[str, Path]:
    return {path.name: path for path in (database.parent / "campfire-files").glob("??/??/*")}


def copied(database: Path, folder: Path) -> sqlite3.Connection:
    """A copy to look at, so that it is the program that repairs its own file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in (database.name, f"{database.name}-wal"):
        if (database.parent / name).exists():
            shutil.copy(database.parent / name, folder / name)
    return sqlite3.connect(folder / database.name)


def require_files(looking: sqlite3.Connection, files: dict[str, Path], after: int = 0) -> int:
    """Every row has its whole file; how many there are."""
    rows = "SELECT key, byte_size, sha256 FROM blobs WHERE id > ?"
    blobs = looking.execute(rows, (after,)).fetchall()
    for key, size, sha256 in blobs:
        data = files[key].read_bytes()
        assert (len(data), hashlib.sha256(data).digest()) == (size, sha256)
    return len(blobs)


class Senders:
    """Six people's browsers, who send until nobody answers."""

    def __init__(self, path: str, tokens: list[str], chance: random.Random) -> None:
        self.path, self.tokens, self.chance = path, tokens, chance
        self.kinds, self.acknowledged = Kinds(chance), dict[str, str]()

    async def send_until_killed(self, turn: int, starter: asyncio.subprocess.Process) -> None:
        """Starts a server, sends to it, and kills it: after a file, or a piece of one."""
        assert starter.stdin
        assert starter.stdout
        starter.stdin.write(b"\n")
        pid = int(await told(starter.stdout, "process"))
        address = await told(starter.stdout, "Listening on")
        is_last = turn == ROUNDS - 1  # then much is to be in the log of the database
        pieces = sys.maxsize if is_last else self.chance.randrange(1, 24)
        left = {"pieces": pieces, "files": 60 if is_last else 9}

        def count_down(what: str) -> None:
            left[what] -= 1
            if left[what] == 0:
                left.update(pieces=sys.maxsize, files=sys.maxsize)
                os.kill(pid, signal.SIGKILL)

        async def write_on(number: int) -> None:
            name, token = f"w{turn}-{number}{'x' * number}", self.tokens[number % 3]
            is_sent = partial(count_down, "pieces")
            with suppress(aiohttp.ClientError, OSError):  # nobody answers any more
                async with browser(address, token) as session:
                    sent = send_on(session, self.path, name, self.kinds, is_sent)
                    async for client_id, file in sent:
                        self.acknowledged[client_id] = file
                        count_down("files")

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*map(write_on, range(6)))
            assert await told(starter.stdout, "ended") == "-9"

    def require_what_was_acknowledged(self, looking: sqlite3.Connection) -> None:
        """Every file that was acknowledged is there under its name, as it was sent."""
        stored = looking.execute(
            """
            SELECT client_message_id, filename, sha256
            FROM messages
            JOIN attachments ON message_id = messages.id
            JOIN blobs ON blobs.id = blob_id
            """
        ).fetchall()
        assert self.acknowledged.items() <= {(client_id, name) for client_id, name, _ in stored}
        assert {sha256 == self.kinds.hashes[name] for _, name, sha256 in stored} == {True}


async def test_killed_at_any_moment_it_has_every_acknowledged_file_whole(
    template: Template, tmp_path: Path
) -> None:
    database, cast = copy_database(template[0], tmp_path), template[1]
    tokens = [await token_for(database, user) for user in (cast.david, cast.kevin, cast.jz)]
    chance = random.Random(44)  # noqa: S311 - the same kills every time
    senders, checked = Senders(f"/api/rooms/{cast.designers.id}/messages", tokens, chance), 0

    async with mortal(database) as starter:
        for turn in range(ROUNDS):
            await senders.send_until_killed(turn, starter)
            with closing(copied(database, tmp_path / "copy")) as looking:
                checked += require_files(looking, files := files_in(database), checked)
                known = looking.execute("SELECT key FROM blobs UNION SELECT key FROM doomed_blobs")
                assert files.keys() <= {key for (key,) in known}

    assert len(senders.acknowledged) > ROUNDS
    with closing(copied(database, tmp_path / "copy")) as looking:
        assert looking.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert require_files(looking, files_in(database)) >= len(senders.acknowledged)
        senders.require_what_was_acknowledged(looking)
    require_files_after_power_cuts(database, tmp_path / "torn", chance)


def require_files_after_power_cuts(database: Path, folder: Path, chance: random.Random) -> None:
    """Wherever the log of the database breaks off, what is left has its files."""
    log, files, seen = Path(f"{database}-wal"), files_in(database), set[int]()
    whole = log.read_bytes()
    for turn in range(CUTS):
        at = chance.randrange(len(whole))
        flipped = whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]
        copied(database, folder).close()
        (folder / log.name).write_bytes(whole[:at] if turn % 2 else flipped)
        with closing(sqlite3.connect(folder / database.name)) as looking:
            assert looking.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            seen.add(require_files(looking, files))
    assert len(seen) > 3  # however little came since the last checkpoint


async def test_told_to_stop_it_waits_for_a_file_that_comes_and_cuts_one_that_does_not(
    template: Template, tmp_path: Path
) -> None:
    database, cast = copy_database(template[0], tmp_path), template[1]
    path, coming = f"/api/rooms/{cast.designers.id}/messages", tmp_path / "campfire-files/incoming"
    tokens = [await token_for(database, user) for user in (cast.david, cast.kevin)]
    is_told = asyncio.Event()

    async def body(name: str, *, ends: bool) -> AsyncIterator[bytes]:
        whole = form(bytes(900_000), name, client_message_id=name)
        yield whole[:500_000]
        await is_told.wait()
        if ends:
            yield whole[500_000:]
        else:
            await asyncio.Event().wait()

    async with AsyncExitStack() as stack:
        child = await stack.enter_async_context(child_server(database, "info"))
        first, second = [
            await stack.enter_async_context(browser(child.address, token)) for token in tokens
        ]
        ends = asyncio.create_task(first.post(path, data=body("ends", ends=True), headers=TYPE))
        hangs = asyncio.create_task(second.post(path, data=body("hangs", ends=False), headers=TYPE))
        async with asyncio.timeout(PATIENCE):
            while sum(each.stat().st_size > 0 for each in coming.iterdir()) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
        child.process.send_signal(signal.SIGTERM)
        await child.says("stopping")
        is_told.set()
        assert (await ends).status == 201
        with pytest.raises(aiohttp.ClientError):
            await hangs
        assert await child.ended() == 0

    with closing(sqlite3.connect(database)) as looking:
        assert looking.execute("SELECT filename FROM attachments").fetchall() == [("ends",)]
        assert looking.execute("SELECT count(*) FROM doomed_blobs").fetchone() == (0,)
        assert require_files(looking, files := files_in(database)) == len(files) == 1
    assert not list(coming.iterdir())

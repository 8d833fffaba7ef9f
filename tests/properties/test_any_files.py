"""Whatever happens to files: each has a row, each row has its file, and none is lost or left."""

import asyncio
import hashlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
)

import campfire as program
from tests.support.cast import Cast
from tests.support.killed import HOUR, Clock, hang_up, opened, portrait, put

ROOT = Path(__file__).resolve().parents[2]


def files_in(folder: Path) -> dict[str, bytes]:
    """What lies in the store, by its names; what is on its way does not."""
    places = (folder / "campfire-files").glob("??/??/*")
    return {path.name: path.read_bytes() for path in places}


def rows_in(folder: Path) -> tuple[dict[str, tuple[int, bytes]], set[str]]:
    """Size and hash of each blob, and the doomed."""
    with closing(sqlite3.connect(folder / "campfire.db")) as stored:
        blobs = stored.execute("SELECT key, byte_size, sha256 FROM blobs").fetchall()
        doomed = {key for (key,) in stored.execute("SELECT key FROM doomed_blobs")}
    return {key: (size, sha256) for key, size, sha256 in blobs}, doomed


def require_order(folder: Path) -> None:
    """Every row has its whole file, and every file has a row."""
    files, (blobs, doomed) = files_in(folder), rows_in(folder)
    assert not blobs.keys() & doomed
    assert files.keys() <= blobs.keys() | doomed
    for key, (size, sha256) in blobs.items():
        assert len(files[key]) == size
        assert hashlib.sha256(files[key]).digest() == sha256


async def a_day_later(folder: Path) -> None:
    """The server starts again, and sweeps."""
    clock = Clock()
    clock.ahead = 26 * HOUR
    db, store = await opened(folder, clock)
    await store.sweep()
    await db.close()


def test_killed_at_any_step_of_any_change_nothing_is_lost_and_nothing_stays(
    template: tuple[Path, Cast], tmp_path: Path
) -> None:
    shutil.copy(template[0], tmp_path / "first.db")
    command = [sys.executable, "-m", "tests.support.killed", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=500)
    lives = sorted(int(path.name) for path in tmp_path.iterdir() if path.is_dir())

    pictures = set()
    for life in lives:
        folder = tmp_path / str(life)
        require_order(folder)
        asyncio.run(a_day_later(folder))
        require_order(folder)
        files, (blobs, doomed) = files_in(folder), rows_in(folder)
        assert files.keys() == blobs.keys()
        assert not doomed
        assert not list((folder / "campfire-files" / "incoming").iterdir())
        pictures |= set(files.values())

    assert len(lives) > 60
    assert pictures == {b"first picture", b"second picture", b"third picture"}


class Refused(Exception):
    """What ends a transaction of these tests."""


def refuse(tx: program.WriteTx, at: program.Timestamp, stored: program.StoredFile) -> None:
    hang_up(tx, at, stored)
    raise Refused


class LifeOfFiles(RuleBasedStateMachine):
    """Any order of everything that happens to files, against a dictionary."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        shutil.copy(self.template, self.folder / "campfire.db")
        self.runner, self.clock = asyncio.Runner(), Clock()
        self.db, self.store = self.runner.run(opened(self.folder, self.clock))
        self.kept: bytes | None = None
        self.abandoned: list[Any] = []

    def teardown(self) -> None:
        self.runner.run(self.db.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    @rule(data=st.binary(max_size=40))
    def puts(self, data: bytes) -> None:
        self.runner.run(put(self.db, self.store, data))
        self.kept = data

    @rule()
    def removes(self) -> None:
        self.runner.run(self.db.write(hang_up, None))
        self.kept = None

    @rule(data=st.binary(max_size=40), is_settled=st.booleans())
    def gives_up(self, data: bytes, *, is_settled: bool) -> None:
        async def give_up() -> None:
            async with self.store.incoming() as spool:
                await self.store.write(spool, data)
                if is_settled:
                    await self.db.write(refuse, await self.store.settle(spool, "image/webp"))
                raise Refused

        with pytest.raises(Refused):
            self.runner.run(give_up())

    @rule(data=st.binary(max_size=40), is_settled=st.booleans())
    def dies_on_the_way(self, data: bytes, *, is_settled: bool) -> None:
        async def die() -> None:
            coming = self.store.incoming()
            spool = await coming.__aenter__()
            await self.store.write(spool, data)
            if is_settled:
                await self.store.settle(spool, "image/webp")
            self.abandoned.append(coming)  # nobody ever comes back to it
            await self.db.close()
            self.db, self.store = await opened(self.folder, self.clock)

        self.runner.run(die())

    @rule(minutes=st.sampled_from([1, 59, 61, 600, 1_500]))
    def waits(self, minutes: int) -> None:
        self.clock.ahead += minutes * 60 * program.SECOND

    @rule()
    def sweeps(self) -> None:
        self.runner.run(self.store.sweep())

    @invariant()
    def every_file_has_a_row_and_every_row_its_file(self) -> None:
        require_order(self.folder)

    @invariant()
    def the_sum_is_that_of_the_files(self) -> None:
        usage = self.runner.run(self.db.read(self.store.usage_in))
        files, (blobs, doomed) = files_in(self.folder), rows_in(self.folder)
        of_files = sum(len(data) for key, data in files.items() if key not in doomed)
        assert (usage.bytes, usage.files) == (of_files, len(blobs))
        assert usage.doomed == len(doomed)

    @invariant()
    def the_picture_is_the_last_that_was_kept(self) -> None:
        avatar = self.runner.run(self.db.read(portrait))
        assert (avatar is None) == (self.kept is None)
        assert [
            data for key, data in files_in(self.folder).items() if key in rows_in(self.folder)[0]
        ] == ([] if self.kept is None else [self.kept])


def test_whatever_happens_to_files_in_any_order_they_are_what_the_rows_say(
    template: tuple[Path, Cast],
) -> None:
    LifeOfFiles.template = template[0]
    machine = LifeOfFiles.TestCase
    machine.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
    machine("runTest").runTest()


@pytest.fixture(scope="module")
def filled(template: tuple[Path, Cast]) -> Iterator[tuple[asyncio.Runner, program.Store, Path]]:
    folder = Path(tempfile.mkdtemp())
    shutil.copy(template[0], folder / "campfire.db")
    with asyncio.Runner() as runner:
        db, store = runner.run(opened(folder, Clock()))
        yield runner, store, folder
        runner.run(db.close())
    shutil.rmtree(folder)


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=30), max_size=6), st.integers(0, 60), st.integers(0, 100))
def test_bytes_are_counted_and_not_believed(
    filled: tuple[asyncio.Runner, program.Store, Path],
    pieces: list[bytes],
    most: int,
    declared: int,
) -> None:
    runner, store, folder = filled
    whole = b"".join(pieces)

    async def upload() -> program.StoredFile:
        async with store.incoming(declared, most + 1) as spool:
            for piece in pieces:
                await store.write(spool, piece)
            return await store.settle(spool, "text/plain")

    if len(whole) > most + 1:
        with pytest.raises(program.FileTooLarge) as refused:
            runner.run(upload())
        assert refused.value.details == {"max_bytes": most + 1}
    else:
        stored = runner.run(upload())
        assert stored.byte_size == len(whole)
        assert stored.sha256 == hashlib.sha256(whole).digest()
    assert files_in(folder) == {}  # nobody stored it
    assert not list((folder / "campfire-files" / "incoming").iterdir())
    assert rows_in(folder)[1] == set()

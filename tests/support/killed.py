"""A life of files that is ended at any of its steps: run as a program, in a process of its own.

    python -m tests.support.killed FOLDER

Copies FOLDER/first.db into FOLDER/0, FOLDER/1 …, and in copy n lives until its n-th call into the
system or into SQLite, where it is killed as by a power cut. The last of them lives to its end.
"""

import asyncio
import os
import shutil
import signal
import sys
import threading
import time
from datetime import datetime
from itertools import count
from pathlib import Path
from types import FrameType
from typing import cast

import campfire as program

HOUR = 3_600 * program.SECOND
# What touches the disk; what only looks leaves nothing to be killed between.
CALLS = set(
    """
    open write fsync rename mkdir unlink remove rmdir execute close
    """.split()
)


class Clock:
    """The time of day; an hour passes when a test says so."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000 + self.ahead


class Fate:
    """Kills this process before its n-th call."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def watch(self, _: FrameType, event: str, what: object) -> None:
        if event != "c_call" or isinstance(getattr(what, "__self__", None), str | datetime):
            return  # which have a `replace`, too
        if getattr(what, "__name__", "") in CALLS:
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1


async def opened(folder: Path, clock: Clock) -> tuple[program.Database, program.Store]:
    """Database and store, as a server starts them."""
    config = program.config_from(
        {"CAMPFIRE_DB": str(folder / "campfire.db"), "FILES_RESERVE_BYTES": "0"}
    )
    db = program.Database(config.database, clock)
    await db.open()
    store = program.Store(db, config)
    await store.start()
    return db, store


def portrait(tx: program.ReadTx) -> int | None:
    """The file of the only person's picture."""
    [(avatar,)] = program.rows(tx, "SELECT avatar_id FROM users WHERE id = 1")
    return cast(int | None, avatar)


def hang_up(tx: program.WriteTx, at: program.Timestamp, stored: program.StoredFile | None) -> None:
    """Gives the only person another picture, or none; the one before is doomed."""
    before = portrait(tx)
    avatar = program.store_blob(tx, at, stored) if stored else None
    program.run(tx, "UPDATE users SET avatar_id = :avatar WHERE id = 1", avatar=avatar)
    program.doom(tx, at, [before] if before else [])


async def put(db: program.Database, store: program.Store, *pieces: bytes) -> None:
    """Takes a picture in, as an upload does."""
    async with store.incoming() as spool:
        for piece in pieces:
            await store.write(spool, piece)
        stored = await store.settle(spool, "image/webp")
        await db.write(hang_up, stored)


async def live(folder: Path) -> None:
    """An upload, a change of picture, one that comes to nothing, a deletion, a sweep."""
    clock = Clock()
    db, store = await opened(folder, clock)
    await put(db, store, b"first", b" picture")
    await put(db, store, b"second picture")
    async with store.incoming() as spool:
        await store.write(spool, b"given up")
    await db.write(hang_up, None)
    clock.ahead = 2 * HOUR
    await store.sweep()
    await put(db, store, b"third picture")
    await db.close()


def main(folder: Path) -> None:
    for calls in count():
        copy = folder / str(calls)
        copy.mkdir()
        shutil.copy(folder / "first.db", copy / "campfire.db")
        if not (child := os.fork()):
            fate = Fate(calls)
            threading.setprofile(fate.watch)
            sys.setprofile(fate.watch)
            asyncio.run(live(copy))
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))

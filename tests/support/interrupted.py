"""What an operator's command leaves that is killed at any of its steps: run as a program.

    python -m tests.support.interrupted backup|restore|attach|import COPY FOLDER

Each life has a world of its own, in which the command is killed at its n-th call into the system
or into SQLite, as by a power cut, and then done once more. The last lives to its end. Prints after
how many calls that was.
"""

import argparse
import asyncio
import hashlib
import os
import shutil
import socket
import sqlite3
import sys
import threading
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

import campfire as program
from tests.support.killed import CALLS, Fate

CALLS |= {"link", "replace", "backup", "truncate", "sendfile", "sync"}
AT = 1_700_000_000.0
OLD = b"what was there before"


def files_in(folder: Path) -> dict[str, bytes]:
    return {place.name: place.read_bytes() for place in folder.glob("??/??/*")}


def rows_in(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a database says; nothing when it does not have such a table yet."""
    with closing(sqlite3.connect(database)) as connection, suppress(sqlite3.OperationalError):
        return connection.execute(sql).fetchall()
    return []


def hashes_in(database: Path) -> dict[str, bytes]:
    sql = "SELECT key, sha256 FROM blobs WHERE sha256 IS NOT NULL"
    return dict(rows_in(database, sql))


def require_whole(database: Path, folder: Path) -> None:
    """Every file that the database speaks of is in the folder, as it was."""
    files, hashes = files_in(folder), hashes_in(database)
    assert {key: hashlib.sha256(files[key]).digest() for key in hashes} == hashes


class World:
    """A folder with a database, its store, and a copy of both."""

    step = 1  # calls, from one life to the next

    def __init__(self, copy: Path, folder: Path) -> None:
        self.copy, self.folder = copy, folder
        self.database, self.store = folder / "campfire.db", folder / "campfire-files"
        self.count = len(hashes_in(copy))
        shutil.copy(copy, self.database)
        shutil.copytree(program.files_beside(copy), self.store)

    def get_ready(self) -> None:
        """What a command has before it begins."""

    def run(self) -> None:
        """The command."""
        raise NotImplementedError

    def after(self) -> None:
        """What holds whenever it was killed."""
        require_whole(self.database, self.store)

    def at_last(self) -> None:
        """What holds when it was done once more."""
        self.after()

    def state(self) -> object:
        """What must be the same in the end, whenever it was killed."""


class Backup(World):
    def run(self) -> None:
        names = (self.folder / f"copy{n}.db" for n in count())
        free = next(name for name in names if not program.files_beside(name).exists())
        assert program.back_up_all(self.database, self.store, free, AT) == []

    def after(self) -> None:
        super().after()
        for copy in self.folder.glob("copy*.db"):
            require_whole(copy, program.files_beside(copy))
        for files in self.folder.glob("copy*-files"):  # also where the database has no name yet
            require_whole(self.copy, files)

    def at_last(self) -> None:
        super().at_last()
        assert list(self.folder.glob("copy*.db"))


class Restore(World):
    def __init__(self, copy: Path, folder: Path) -> None:
        super().__init__(copy, folder)
        shutil.rmtree(self.store)
        (place := program.path_in(self.store, "o" * 28)).parent.mkdir(parents=True)
        place.write_bytes(OLD)

    def run(self) -> None:
        _, lacking = program.restore(self.copy, self.database, self.store, AT)
        assert lacking == 0

    def after(self) -> None:
        kept = [files_in(place).get("o" * 28) for place in self.folder.glob("campfire-files*")]
        assert OLD in kept
        require_whole(self.copy, program.files_beside(self.copy))

    def at_last(self) -> None:
        self.after()
        require_whole(self.database, self.store)


class Attach(World):
    def __init__(self, copy: Path, folder: Path) -> None:
        super().__init__(copy, folder)
        shutil.rmtree(self.store)
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("UPDATE blobs SET sha256 = NULL, awaited = '{}'")

    def run(self) -> None:
        asyncio.run(self.bring())

    async def bring(self) -> None:
        config = program.config_from({"CAMPFIRE_DB": str(self.database)})
        db = program.Database(config.database, lambda: int(AT * program.SECOND))
        await db.open(is_server=False)
        line, _ = socket.socketpair()
        folder = program.files_beside(self.copy)
        await program.bring_all(db, config, line, folder, is_news=True)
        await db.close()

    def at_last(self) -> None:
        super().at_last()
        assert len(hashes_in(self.database)) == self.count


class Import(World):
    """The copy is the database of a Rails Campfire, beside which `storage` lies."""

    step = 17  # its rows are one transaction, whose every step is like the others

    def __init__(self, copy: Path, folder: Path) -> None:
        self.copy = copy
        self.database, self.store = folder / "campfire.db", folder / "campfire-files"
        self.was = self.everything_there()

    def everything_there(self) -> dict[Path, bytes]:
        places = (place for place in self.copy.parent.rglob("*") if place.is_file())
        return {place: place.read_bytes() for place in places}

    def get_ready(self) -> None:
        self.line = program.open_workshop()

    def run(self) -> None:
        asyncio.run(self.bring())

    async def bring(self) -> None:
        storage = str(self.copy.parent / "storage")
        named = {"rails_db": str(self.copy), "storage": storage, "dir": storage, "line": self.line}
        options = argparse.Namespace(**named, move=False, stills=True)
        config = program.config_from(
            {"CAMPFIRE_DB": str(self.database), "SECRET_KEY_BASE": "s" * 64}
        )
        try:
            await program.import_from_rails(config, options)
        except program.AlreadySetUp:
            await program.attach_files(config, options)

    def after(self) -> None:
        self.line.close()
        os.wait()  # for the workshop, which nobody needs any more
        super().after()
        assert self.everything_there() == self.was
        assert rows_in(self.database, "SELECT count(*) FROM messages") in ([], [(0,)], [(9,)])

    def state(self) -> object:
        """Everything that an import leaves of files, but for keys that are made anew."""
        files = "SELECT message_id, sha256, filename, kind, still_width FROM attached ORDER BY id"
        pictures = "SELECT id, avatar_id IS NULL FROM users ORDER BY id"
        logo = "SELECT logo_id IS NULL, logo_small_id IS NULL FROM accounts"
        kept = "SELECT count(*), count(sha256), count(awaited) FROM blobs"
        return [rows_in(self.database, sql) for sql in (files, pictures, logo, kept)]

    def at_last(self) -> None:
        self.after()
        stills = "SELECT count(*) FROM attached WHERE still_id IS NOT NULL"
        assert rows_in(self.database, stills) == [(2,)]


def ends_well(world: World, fate: Fate | None = None) -> bool:
    """Whether a process of its own lived to the end of the command."""
    world.get_ready()
    if not (child := os.fork()):
        code = 1
        try:
            if fate:
                threading.setprofile(fate.watch)
                sys.setprofile(fate.watch)
            world.run()
            code = 0
        finally:
            sys.setprofile(None)
            if code:
                sys.excepthook(*sys.exc_info())
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -9), status
    return status == 0


def main(what: str, copy: Path, folder: Path) -> int:
    kind = {"backup": Backup, "restore": Restore, "attach": Attach, "import": Import}[what]
    (place := folder / "undisturbed").mkdir()
    undisturbed = kind(copy, place)
    assert ends_well(undisturbed)
    undisturbed.at_last()
    for calls in count(step=kind.step):
        (place := folder / f"life{calls}").mkdir()
        world = kind(copy, place)
        has_lived = ends_well(world, Fate(calls))
        world.after()
        assert ends_well(world)
        world.at_last()
        assert world.state() == undisturbed.state()
        shutil.rmtree(place)
        if has_lived:
            return calls
    return 0


if __name__ == "__main__":
    told = os.dup(1)
    os.dup2(2, 1)  # where the commands may say what they like
    os.write(told, str(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))).encode())

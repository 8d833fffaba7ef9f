"""Whose file it is: nobody else's is adopted or changed, and ours is read by nobody else."""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import aiohttp
import pytest

import campfire as program
from tests.bench.workplace import READS, seed
from tests.support.cast import SETTINGS, Cast, LogLines, Server, Start, Template, copy_database
from tests.support.executable import Done, ran
from tests.support.operators import (
    PROGRAM,
    UNUSABLE,
    child_server,
    command,
    done,
    fill,
    refusal,
    words_in,
)

COMMANDS = (
    "serve", "create-admin --name A --email a@example.com --password secret123456",
    "reset-password --email david@example.com --password secret123456", "bot list", "backup",
    "check", "check --repair", "vapid --store", "secrets",
)  # fmt: skip
# What a root user must do without, for the modes of files to count for them too.
_NO_PRIVILEGE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")


def everything_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def modes_in(folder: Path) -> set[str]:
    return {f"{path.stat().st_mode & 0o777:o}" for path in [folder, *folder.rglob("*")]}


def without_privilege(database: Path, *arguments: str) -> Done:
    """A command as a user whom the modes of files keep out."""
    privilege = _NO_PRIVILEGE if os.geteuid() == 0 else ()
    return ran(
        [*privilege, sys.executable, PROGRAM, *arguments],
        env={"PATH": os.environ["PATH"], "CAMPFIRE_DB": str(database), "PORT": "0"},
        timeout=60,
    )


# --- What is not ours ----------------------------------------------------------------------------


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")


def marked_by_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA application_id = 252006674; CREATE TABLE a (b)")


def in_the_log_of_another_program(path: Path) -> None:
    """All that this program wrote is still in its log, as after a power cut."""
    original = path.with_name("original.db")
    with closing(sqlite3.connect(original)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE songs (title TEXT)")
        for ending in ("", "-wal"):
            shutil.copy(f"{original}{ending}", f"{path}{ending}")
    original.unlink()


def of_rails(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for table in (*program.RAILS_TABLES, "schema_migrations", "action_text_rich_texts"):
            connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)")


def of_a_newer_campfire(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        program.create_schema(connection)
        connection.execute("INSERT INTO schema_version VALUES (99, 1, '9.8.0')")


FOREIGN: dict[Callable[[Path], None], str] = {
    of_another_program: "{} is a database of another program, and is left alone",
    marked_by_another_program: "{} is a database of another program, and is left alone",
    in_the_log_of_another_program: "{} is a database of another program, and is left alone",
    of_rails: "{} is the database of a Rails Campfire: `import` takes it over into a new one",
    of_a_newer_campfire: f"{{}} needs Campfire 9.8.0 or newer; this is {program.VERSION}",
    Path.mkdir: "{} is no file: --db names the database file itself",
}


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)
def test_what_is_not_ours_is_named_and_not_changed_by_a_byte(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    database = tmp_path / "campfire.db"
    make(database)
    before = everything_in(tmp_path)

    refused = refusal(command(database, *words.split()), UNUSABLE)

    assert refused == FOREIGN[make].format(database)
    assert everything_in(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {name.split("/")[0] for name in before} | {
        "campfire.db"
    }


def test_a_log_that_another_file_left_is_never_folded_into_a_backup_put_there(
    database: Path, cast: Cast, edit: sqlite3.Connection
) -> None:
    backup = Path(done(command(database, "backup")))
    edit.execute("PRAGMA journal_mode = WAL")
    fill(edit, cast, 1)  # closed cleanly, so that it is in WAL mode from now on
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("UPDATE messages SET body_text = 'after the backup' WHERE id = 1")
        log = Path(f"{database}-wal").read_bytes()
    shutil.copy(backup, database)
    Path(f"{database}-wal").write_bytes(log)
    before = everything_in(database.parent)

    for words in COMMANDS:
        refused = refusal(command(database, *words.split()), UNUSABLE)
        assert f"{database}-wal is the log of another file than {database}" in refused
        assert "remove campfire.db-wal and campfire.db-shm" in refused

    assert everything_in(database.parent) == before
    Path(f"{database}-wal").unlink()
    assert "is healthy" in done(command(database, "check"))


def test_a_log_is_judged_by_what_it_makes_of_a_file_that_once_had_one(
    database: Path, cast: Cast, edit: sqlite3.Connection, tmp_path: Path
) -> None:
    edit.execute("PRAGMA journal_mode = WAL")
    edit.execute("UPDATE rooms SET updated_at = updated_at")  # and folded in, in WAL mode
    edit.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    older = Path(shutil.copy(database, tmp_path / "older.db"))
    fill(edit, cast, 500)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("DELETE FROM messages WHERE id > 400")
        shutil.copy(f"{database}-wal", f"{older}-wal")
        shutil.copy(f"{database}-wal", tmp_path / "own.db-wal")
        shutil.copy(database, tmp_path / "own.db")
    before = everything_in(tmp_path)

    refused = refusal(command(older, "bot", "list"), UNUSABLE)

    assert "is the log of another file" in refused
    assert everything_in(tmp_path) == before
    done(command(tmp_path / "own.db", "bot", "list"))
    assert len(words_in(tmp_path / "own.db")) == 400


# --- One server ----------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
async def test_a_second_server_is_refused_under_every_name_of_the_file(
    database: Path, link: Callable[[Path, Path], None]
) -> None:
    (elsewhere := database.parent / "elsewhere").mkdir()
    other = elsewhere / "other.db"
    link(other, database)
    async with child_server(database) as child:
        assert child.address
        second = await asyncio.to_thread(command, other, "serve", **SETTINGS)
        listed = await asyncio.to_thread(command, other, "bot", "list")
        async with aiohttp.ClientSession() as visitor, visitor.get(f"{child.address}/up") as answer:
            assert answer.status == 200  # the first goes on

    assert f"another Campfire is serving {other}" in refusal(second, UNUSABLE)
    if link is Path.symlink_to:
        assert "Bender Bot" in done(listed)
    else:  # its log would not be the server's
        assert refusal(listed, UNUSABLE).endswith("under another name")
    assert [path.name for path in elsewhere.iterdir()] == ["other.db"]
    assert not list(database.parent.glob("*.lock"))


# --- Whose it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_file_or_folder_that_cannot_be_written_is_named_with_its_owner(
    database: Path, cast: Cast, place: str, words: str
) -> None:
    assert cast
    closed = database if place == "file" else database.parent
    closed.chmod(0o000 if place == "file" else 0o500)
    if os.geteuid() == 0:
        os.chown(closed, 65_534, -1)
    before = closed.stat()

    # A backup has no place to go to; all others have no database.
    code = 1 if (place, words) == ("folder", "backup") else UNUSABLE
    refused = refusal(without_privilege(database, *words.split()), code)

    assert refused.startswith(f"{closed} belongs to {closed.owner()}")
    assert ("check --repair" in refused, closed.stat()) == (False, before)
    closed.chmod(0o700)


@pytest.mark.parametrize("umask", ["0000", "0022", "0777"])
def test_nobody_else_can_read_what_is_written_under_any_umask(tmp_path: Path, umask: str) -> None:
    folder = tmp_path / "data"
    database = folder / "campfire.db"
    script = f'umask {umask}; exec "$0" "$@"'

    def run(*arguments: str) -> None:
        subprocess.run(
            ["sh", "-c", script, sys.executable, PROGRAM, *arguments, "--db", str(database)],
            env={"PATH": os.environ["PATH"], "BCRYPT_COST": "4"}, check=False, timeout=60,
        )  # fmt: skip

    run("create-admin", "--name", "Ann", "--email", "ann@example.com", "--password", "secret123456")
    run("backup")
    run("backup", str(folder / "elsewhere" / "copy.db"))

    with database.open("r+b") as opened:
        opened.truncate(database.stat().st_size - 4_096)
    run("check", "--repair")

    assert {path.suffix for path in folder.rglob("*.*")} == {".db", ".recovered"}
    assert len(list(folder.rglob("*.db"))) == 4
    assert modes_in(folder) == {"600", "700"}


async def test_a_running_server_keeps_its_log_private_too(tmp_path: Path) -> None:
    database = tmp_path / "data" / "campfire.db"
    async with child_server(database) as child:
        assert child.address
        found = {path.name for path in database.parent.iterdir()}
        modes = modes_in(database.parent)

    assert found == {"campfire.db", "campfire.db-wal", "campfire.db-shm", "campfire-files"}
    assert modes == {"600", "700"}


async def test_what_was_open_to_others_is_made_private_at_start_and_said_once(
    template: Template, tmp_path: Path, start: Start, log_lines: LogLines
) -> None:
    database = copy_database(template[0], tmp_path)
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups").chmod(0o755)
    database.chmod(0o644)

    server: Server = await start()

    assert server.parts.config.database == database
    assert f"{database.stat().st_mode & 0o777:o}" == "600"
    assert f"{(tmp_path / 'backups').stat().st_mode & 0o777:o}" == "700"
    said = [json.loads(line) for line in log_lines() if "made_private" in line]
    assert [(line["file"], line["was"], line["is"]) for line in said] == [
        (str(database), "0644", "0600"), (str(tmp_path / "backups"), "0755", "0700"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same people with ten thousand messages, and with five times as many."""
    folder = tmp_path_factory.mktemp("histories")
    for size in (10_000, 50_000):
        seed(folder / f"{size}.db", size)
    return [folder / "10000.db", folder / "50000.db"]


@pytest.mark.parametrize("what", READS)
def test_reading_costs_the_same_however_long_the_history(histories: list[Path], what: str) -> None:
    costs = []
    for history in histories:
        steps: list[None] = []  # each ten instructions of SQLite's machine
        with closing(sqlite3.connect(history)) as connection:
            connection.row_factory = sqlite3.Row
            connection.set_progress_handler(partial(steps.append, None), 10)
            READS[what](program.ReadTx(connection))
        costs.append(len(steps))

    assert costs[0] > 0
    assert costs[1] <= 1.5 * costs[0]

"""Copies of the database: made while it is in use, put back, and made before every upgrade."""

import asyncio
import gzip
import json
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

import campfire as program
from tests.support.asking import page_of
from tests.support.cast import SESAME, SETTINGS, Cast, Server, Start, start_server
from tests.support.operators import (
    ROOT,
    UNUSABLE,
    child_server,
    command,
    done,
    fill,
    refusal,
    words_in,
    writing,
)

RELEASED = sorted((ROOT / "tests" / "databases").glob("*.db.gz"))


def schema_in(database: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        said = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
        return connection.execute(said).fetchall()


def unpacked(released: Path, folder: Path) -> Path:
    """A database as a released Campfire left it: the cast, their rooms and ten messages."""
    database = folder / "campfire.db"
    database.write_bytes(gzip.decompress(released.read_bytes()))
    return database


def everything_kept(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as connection:
        tables = ("users", "rooms", "memberships", "messages", "boosts", "secrets", "mentions")
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - ours
            for table in tables
        }


def seen_in(folder: Path) -> set[tuple[str, int, int]]:
    """Names, sizes and times of everything in a folder."""
    found = ((path, path.lstat()) for path in folder.iterdir())
    return {(path.name, facts.st_size, facts.st_mtime_ns) for path, facts in found}


# --- Upgrades ------------------------------------------------------------------------------------


def test_a_database_of_every_released_version_is_kept_to_try_upgrades_on() -> None:
    headings = re.findall(
        r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    older = set(headings[1:])  # the first is the one that is made

    assert {path.name.removesuffix(".db.gz") for path in RELEASED} == older


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.name)
async def test_a_database_of_an_older_release_is_upgraded_and_talk_goes_on(
    released: Path, tmp_path: Path, start: Start
) -> None:
    database = unpacked(released, tmp_path)
    kept, words = everything_kept(database), words_in(database)

    server = await start()
    person = await server.visitor()
    given = {"email_address": "david@example.com", "password": SESAME}
    assert (await person.post("/api/session", given)).status == 201
    found = (await person.get("/api/searches?q=drop")).json["messages"]

    assert {message["plain_text"] for message in found} == {f"Drop {n}" for n in range(1, 11)}
    assert everything_kept(database) == kept
    assert words_in(database) == words
    fresh = tmp_path / "fresh.db"
    with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
        program.create_schema(connection)
    assert schema_in(database) == schema_in(fresh)
    with closing(sqlite3.connect(database)) as connection:
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        versions = connection.execute("SELECT version, release FROM schema_version").fetchall()
    assert mark == program.APPLICATION_ID
    assert versions[-1] == (program.SCHEMA_VERSION, "2.1.0")


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.name)
def test_every_upgrade_makes_a_backup_first_and_never_writes_over_one(
    released: Path, tmp_path: Path
) -> None:
    database = unpacked(released, tmp_path)
    schema, words = schema_in(database), words_in(database)

    done(command(database, "bot", "list"))
    first = tmp_path / "backups" / f"before-{program.SCHEMA_VERSION}.db"
    done(command(database, "bot", "list"))  # which upgrades nothing any more
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    assert (schema_in(first), words_in(first)) == (schema, words)
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    before = first.read_bytes()
    done(command(database, "restore", str(first)))
    assert schema_in(database) == schema
    done(command(database, "bot", "list"))

    second = first.with_name(f"before-{program.SCHEMA_VERSION}-2.db")
    assert {path.name for path in first.parent.iterdir()} == {first.name, second.name}
    assert first.read_bytes() == before


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.name)
def test_without_room_for_the_backup_nothing_is_upgraded(released: Path, tmp_path: Path) -> None:
    database = unpacked(released, tmp_path)
    (tmp_path / "backups").write_text("a file where the folder should be")
    before = database.read_bytes()

    assert "backups" in refusal(command(database, "bot", "list"), UNUSABLE)

    assert database.read_bytes() == before


def test_a_database_that_nobody_used_yet_needs_no_backup(tmp_path: Path) -> None:
    done(command(tmp_path / "campfire.db", "secrets"))

    assert [path.name for path in tmp_path.iterdir()] == ["campfire.db"]


# --- Backups -------------------------------------------------------------------------------------


def test_keep_removes_older_copies_where_it_writes_and_nowhere_else(
    database: Path, tmp_path: Path
) -> None:
    for folder in (database.parent / "backups", tmp_path / "far"):
        folder.mkdir()
        for year in (2019, 2020, 2021):
            (folder / f"campfire-{year}0101-000000.db").write_text("old")
    (tmp_path / "far" / "campfire-mine.db").write_text("of another name")

    newest = Path(done(command(database, "backup", str(tmp_path / "far"), "--keep", "2")))

    assert {path.name for path in (tmp_path / "far").iterdir()} == {
        "campfire-mine.db", "campfire-20210101-000000.db", newest.name,
    }  # fmt: skip
    assert len(list((database.parent / "backups").iterdir())) == 3


def test_copies_of_another_owner_are_left_and_said(database: Path) -> None:
    folder = database.parent / "backups"
    folder.mkdir()
    theirs = folder / "campfire-20190101-000000.db"
    theirs.write_text("old")
    if os.geteuid() == 0:
        os.chown(theirs, 65_534, -1)

    result = command(database, "backup", "--keep", "1")

    assert result.returncode == 0
    is_another = theirs.exists()
    assert is_another == (os.geteuid() == 0)
    assert ("belongs to" in result.stderr) == is_another


@pytest.mark.parametrize("kind", ["file", "device", "link", "dangling link"])
def test_a_backup_never_writes_over_anything(database: Path, tmp_path: Path, kind: str) -> None:
    place, other = tmp_path / "there.db", tmp_path / "other"
    other.write_text("precious")
    match kind:
        case "file":
            place.write_text("precious")
        case "device":
            place = Path("/dev/null")
        case "link":
            place.symlink_to(other)
        case _:
            place.symlink_to(tmp_path / "nowhere")
    before = seen_in(tmp_path)

    said = refusal(command(database, "backup", str(place)))

    assert said == f"{place} is there already, and nothing is written over it"
    assert seen_in(tmp_path) == before


def test_two_backups_within_a_second_have_two_names(database: Path) -> None:
    copies = [done(command(database, "backup")) for _ in range(4)]

    assert len(set(copies)) == 4
    assert all(Path(copy).is_file() for copy in copies)


# --- Restore -------------------------------------------------------------------------------------


def test_a_backup_is_restored_and_what_was_there_is_kept(
    database: Path, cast: Cast, edit: sqlite3.Connection
) -> None:
    backup = Path(done(command(database, "backup")))
    fill(edit, cast, 50)
    before = database.read_bytes()

    said = done(command(database, "restore", str(backup))).splitlines()

    assert said[0] == f"{backup} is restored as {database}."
    kept = Path(said[1].removeprefix("What was there is kept as ").removesuffix("."))
    assert re.fullmatch(r"campfire\.db\.before-restore-\d{8}-\d{6}", kept.name)
    assert (kept.read_bytes(), len(words_in(database))) == (before, len(cast.ten_messages))
    assert {f"{path.stat().st_mode & 0o777:o}" for path in (database, kept)} <= {"600", "644"}
    assert {path.name for path in database.parent.iterdir()} == {
        "campfire.db", "backups", kept.name,
    }  # fmt: skip
    assert backup.is_file()
    assert "is healthy" in done(command(database, "check"))


def test_what_was_still_in_the_log_is_kept_too_when_a_backup_is_restored(
    database: Path, cast: Cast, edit: sqlite3.Connection, tmp_path: Path
) -> None:
    backup = Path(done(command(database, "backup")))
    edit.execute("PRAGMA journal_mode = WAL")
    fill(edit, cast, 1)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("UPDATE messages SET body_text = 'in the log' WHERE id = 1")
        (killed := tmp_path / "killed").mkdir()
        for ending in ("", "-wal", "-shm"):
            shutil.copy(f"{database}{ending}", killed / f"campfire.db{ending}")

    said = done(command(killed / "campfire.db", "restore", str(backup))).splitlines()

    kept = Path(said[1].removeprefix("What was there is kept as ").removesuffix("."))
    assert {path.name for path in killed.iterdir()} == {
        "campfire.db",
        kept.name,
        f"{kept.name}-wal",
    }
    assert words_in(kept)[0] == (1, "in the log")
    assert words_in(killed / "campfire.db")[0] == (1, "Drop 1")


def test_a_backup_is_restored_where_there_is_no_database(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "chat.db"

    assert done(command(target, "restore", str(database))).startswith(f"{database} is restored")

    assert words_in(target) == words_in(database)


@pytest.mark.parametrize("spoil", ["damaged", "no database", "newer"])
def test_whatever_is_wrong_with_what_is_there_a_backup_can_be_restored(
    database: Path, spoil: str
) -> None:
    backup, words = Path(done(command(database, "backup"))), words_in(database)
    match spoil:
        case "damaged":
            os.truncate(database, 20_000)
        case "no database":
            database.write_bytes(b"this was never a database" * 400)
        case _:
            with closing(sqlite3.connect(database, isolation_level=None)) as connection:
                connection.execute("INSERT INTO schema_version VALUES (99, 1, '9.9.0')")
    refusal(command(database, "bot", "list"), UNUSABLE)

    done(command(database, "restore", str(backup)))

    assert words_in(database) == words


def change(backup: Path, *, by: str) -> None:
    with closing(sqlite3.connect(backup, isolation_level=None)) as connection:
        connection.execute(by)


BACKUPS: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "damaged": lambda backup: os.truncate(backup, 20_000),
    "newer": partial(change, by="INSERT INTO schema_version VALUES (99, 1, '9.9.0')"),
    "foreign": partial(change, by="PRAGMA application_id = 5"),
}


@pytest.mark.parametrize("what", BACKUPS)
def test_what_is_no_backup_is_not_restored_and_touches_nothing(database: Path, what: str) -> None:
    backup = Path(done(command(database, "backup")))
    BACKUPS[what](backup)
    before = seen_in(database.parent)

    assert str(backup) in refusal(command(database, "restore", str(backup)), UNUSABLE)

    assert seen_in(database.parent) == before


async def test_a_database_that_is_served_is_not_restored(server: Server, tmp_path: Path) -> None:
    database = server.parts.config.database
    backup = done(await asyncio.to_thread(command, database, "backup"))
    before = seen_in(tmp_path)

    result = await asyncio.to_thread(command, database, "restore", backup)

    assert refusal(result) == f"a Campfire is serving {database}: stop it first"
    assert seen_in(tmp_path) == before


async def test_a_restored_database_is_served_again(database: Path) -> None:
    backup = Path(done(await asyncio.to_thread(command, database, "backup")))
    done(await asyncio.to_thread(command, database, "restore", str(backup)))

    async with child_server(database) as child:
        assert child.address.startswith("http://")
        listed = await asyncio.to_thread(command, database, "bot", "list", "--json", **SETTINGS)

    assert [bot["name"] for bot in json.loads(done(listed))] == ["Bender Bot"]


async def test_a_backup_taken_while_200_messages_and_more_are_written_restores_and_is_healthy(
    server: Server, cast: Cast
) -> None:
    database = server.parts.config.database
    copies: list[Path] = []
    during: list[int] = []
    async with writing(server, cast.watercooler, cast.david) as written:
        for n in range(3):
            before, place = len(written), str(database.with_name(f"copy{n}.db"))
            copies.append(Path(done(await asyncio.to_thread(command, database, "backup", place))))
            during.append(len(written) - before)

    assert min(during) >= 200  # and the command takes about a second
    ids: list[int] = []
    for copy in copies:
        assert "is healthy" in done(command(copy, "check"))
        ids = [each for each, _ in words_in(copy)]
        assert ids == list(range(1, len(ids) + 1))  # a prefix of what was committed
        assert len(cast.ten_messages) < len(ids) <= len(written) + len(cast.ten_messages)
    restored = await start_server(copies[-1])
    page = await page_of(restored.parts, cast.david, cast.watercooler.id)
    assert page.messages[-1].id == ids[-1]
    await restored.close()


def test_a_backup_has_a_dated_name_is_private_and_restores(database: Path, cast: Cast) -> None:
    copy = Path(done(command(database, "backup")))

    assert copy.parent == database.parent / "backups"
    assert re.fullmatch(r"campfire-\d{8}-\d{6}\.db", copy.name)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    database.unlink()
    copy.rename(database)
    listed = json.loads(done(command(database, "bot", "list", "--json")))
    assert [each["id"] for each in listed] == [cast.bender.id]


def test_a_backup_goes_into_a_folder_but_never_over_its_own_database(
    database: Path, tmp_path: Path
) -> None:
    (tmp_path / "safe").mkdir()

    copy = Path(done(command(database, "backup", str(tmp_path / "safe"))))

    assert copy.parent == tmp_path / "safe"
    before = database.read_bytes()
    assert "is there already" in refusal(command(database, "backup", str(database)))
    assert database.read_bytes() == before


def test_a_damaged_database_makes_no_backup(database: Path) -> None:
    with database.open("r+b") as opened:
        opened.seek(4096 * 5)
        opened.write(b"\xff" * 4096 * 20)

    assert "cannot be copied" in refusal(command(database, "backup"), UNUSABLE)
    assert list((database.parent / "backups").iterdir()) == []

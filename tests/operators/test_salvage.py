"""What can still be read of a file that SQLite will not open, and where it is put."""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.cast import Cast
from tests.support.operators import (
    UNUSABLE,
    command,
    done,
    fill,
    page_of_index,
    page_with,
    refusal,
    wipe,
    words_in,
)

PAGE = 4_096


def overwrite(database: Path, first: int, end: int) -> None:
    with database.open("r+b") as opened:
        opened.seek(first)
        opened.write(bytes(end - first))


def cut(database: Path, count: int) -> None:
    os.truncate(database, database.stat().st_size - count)


WRECKS: dict[str, Callable[[Path], None]] = {
    "cut by a page": lambda database: cut(database, PAGE),
    "without its header": lambda database: overwrite(database, 0, 100),
    "without its first page": lambda database: overwrite(database, 0, PAGE),
}


def counted(database: Path) -> dict[str, int]:
    tables = "accounts users rooms memberships messages boosts secrets mentions sessions".split()
    with closing(sqlite3.connect(database)) as connection:
        counts = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - ours
            for table in tables
        }
    return {table: count for table, count in counts.items() if count}


@pytest.mark.parametrize("wreck", WRECKS)
def test_every_row_that_is_there_comes_back_from_a_file_that_cannot_be_opened(
    database: Path, edit: sqlite3.Connection, cast: Cast, wreck: str
) -> None:
    edit.execute("CREATE TABLE filler (words)")  # what lies last is nobody's
    fill(edit, cast, 7_397)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("INSERT INTO filler VALUES (hex(zeroblob(20000)))")
    rows, words = counted(database), words_in(database)
    WRECKS[wreck](database)
    before = database.read_bytes()

    refusal(command(database, "check"), UNUSABLE)
    result = command(database, "check", "--repair")

    recovered = Path(f"{database}.recovered")
    assert refusal(result, UNUSABLE).endswith(f"`restore` {recovered}, or a backup")
    assert rows["messages"] == 7_407
    for table, count in rows.items():
        assert f"saved: {count} rows of {table}\n" in result.stdout
    assert (counted(recovered), words_in(recovered)) == (rows, words)
    assert "lost: nothing" in result.stdout
    assert database.read_bytes() == before
    assert {path.name for path in database.parent.iterdir()} == {
        "backups", database.name, recovered.name,
    }  # fmt: skip
    done(command(database, "restore", str(recovered)))
    assert "is healthy" in done(command(database, "check"))


@pytest.mark.parametrize("wreck", ["without its header", "without its first page"])
def test_what_was_only_in_the_log_of_a_wreck_comes_back_too(
    database: Path, edit: sqlite3.Connection, cast: Cast, tmp_path: Path, wreck: str
) -> None:
    edit.execute("PRAGMA journal_mode = WAL")
    fill(edit, cast, 500)
    (killed := tmp_path / "killed").mkdir()
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("UPDATE messages SET body_text = 'in the log' WHERE id = 3")
        for ending in ("", "-wal"):
            shutil.copy(f"{database}{ending}", killed / f"campfire.db{ending}")
    WRECKS[wreck](killed / "campfire.db")

    refusal(command(killed / "campfire.db", "check", "--repair"), UNUSABLE)

    words = dict(words_in(killed / "campfire.db.recovered"))
    assert (len(words), words[3]) == (510, "in the log")


def test_what_repair_saves_is_always_a_new_file(database: Path) -> None:
    cut(database, PAGE)
    earlier = Path(f"{database}.recovered")
    earlier.write_text("what an earlier repair saved")

    results = [command(database, "check", "--repair", "--json") for _ in range(2)]

    assert earlier.read_text() == "what an earlier repair saved"
    saved = [json.loads(result.stdout)["recovered"]["database"] for result in results]
    assert saved == [f"{database}.recovered-2", f"{database}.recovered-3"]
    assert len(list((database.parent / "backups").glob("before-repair-*.db"))) == 2


def test_of_what_never_was_a_database_a_copy_is_kept_and_nothing_else_is_made(
    database: Path,
) -> None:
    database.write_bytes(b"this was never a database" * 400)

    result = command(database, "check", "--repair", "--json")

    assert json.loads(result.stdout)["recovered"] is None
    (kept,) = (database.parent / "backups").iterdir()
    assert kept.read_bytes() == database.read_bytes()
    assert {path.name for path in database.parent.iterdir()} == {"backups", "campfire.db"}


def test_repair_saves_what_can_be_read_of_damaged_pages_and_says_what_was_lost(
    database: Path, edit: sqlite3.Connection, cast: Cast
) -> None:
    total = 1_000 + len(cast.ten_messages)
    fill(edit, cast, 1_000)
    wipe(database, page_with(database, "Needle 000500"))

    refusal(command(database, "check"), UNUSABLE)
    result = command(database, "check", "--repair")

    recovered = Path(f"{database}.recovered")
    assert str(recovered) in refusal(result, UNUSABLE)
    lost = re.search(
        r"^lost: messages: (\d+) rows could not be read \(ids (\d+) to (\d+)\)$",
        result.stdout, re.MULTILINE,
    )  # fmt: skip
    assert lost, result.stdout
    missing = set(range(int(lost[2]), int(lost[3]) + 1))
    assert int(lost[1]) == len(missing) < 100
    with closing(sqlite3.connect(recovered)) as stored:
        saved = {each for (each,) in stored.execute("SELECT id FROM messages")}
        (newest,) = stored.execute(
            "SELECT seq FROM sqlite_sequence WHERE name='messages'"
        ).fetchone()
    assert saved == set(range(1, total + 1)) - missing
    assert newest == total
    shutil.move(recovered, database)
    assert "is healthy" in done(command(database, "check"))


def test_words_are_saved_even_when_their_author_is_lost(
    database: Path, cast: Cast, edit: sqlite3.Connection
) -> None:
    edit.close()
    wipe(database, page_with(database, "kevin@example.com"))

    result = command(database, "check", "--repair", "--json")

    refusal(result, UNUSABLE)
    facts = json.loads(result.stdout)
    assert facts["recovered"]["rows"]["messages"] == len(cast.ten_messages)
    assert any("stand-ins" in line for line in facts["recovered"]["lost"])
    recovered = Path(facts["recovered"]["database"])
    assert "is healthy" in done(command(recovered, "check"))
    with closing(sqlite3.connect(recovered)) as stored:
        people = dict(stored.execute("SELECT id, name FROM users WHERE status = 1").fetchall())
    assert people[cast.david.id] == f"Lost person {cast.david.id}"


@pytest.mark.parametrize("index", ["messages_changed", "messages_page", "users_by_status_name"])
@pytest.mark.parametrize("part", ["root", "leaf"])
def test_an_index_whose_pages_are_gone_is_made_anew_in_place_and_nothing_is_lost(
    database: Path, edit: sqlite3.Connection, cast: Cast, index: str, part: str
) -> None:
    fill(edit, cast, 2_000)
    wipe(database, page_of_index(database, index, part))
    words = words_in(database)

    refusal(command(database, "check"), UNUSABLE)
    result = command(database, "check", "--repair")

    assert f"made anew from the rows: {index}\n" in result.stdout
    assert f"{database} is healthy" in done(result)
    assert not Path(f"{database}.recovered").exists()
    assert words_in(database) == words
    assert len(words) == 2_010
    assert "is healthy" in done(command(database, "check"))


@pytest.mark.parametrize("part", ["root", "leaf"])
def test_a_rule_whose_pages_are_gone_is_kept_by_saving_every_row_into_a_new_file(
    database: Path, edit: sqlite3.Connection, cast: Cast, part: str
) -> None:
    fill(edit, cast, 2_000)
    wipe(database, page_of_index(database, "sqlite_autoindex_messages_1", part))

    result = command(database, "check", "--repair")

    refusal(result, UNUSABLE)
    assert "lost: nothing" in result.stdout
    assert len(words_in(Path(f"{database}.recovered"))) == 2_010

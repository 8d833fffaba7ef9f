"""`check`: what it finds in a database, in words and in JSON, and what it mends."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cast import Cast
from tests.support.operators import UNUSABLE, command, done, refusal

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


def test_a_sound_database_is_healthy_in_words_and_in_json(database: Path) -> None:
    before = database.read_bytes()

    assert done(command(database, "check")).endswith(f"{database} is healthy")
    facts = json.loads(done(command(database, "check", "--json")))

    assert (facts["healthy"], facts["problems"]) == (True, [])
    assert database.read_bytes() == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_repair_mends_what_follows_from_the_rows_and_keeps_the_file_as_it_was(
    database: Path, edit: sqlite3.Connection, damage: str
) -> None:
    spoil, words = DAMAGES[damage]
    spoil(edit)
    edit.close()
    before = database.read_bytes()

    found = command(database, "check")
    mended = command(database, "check", "--repair")

    assert "check --repair" in refusal(found, UNUSABLE)
    assert words in found.stdout
    assert f"{database} is healthy" in done(mended)
    (kept,) = (database.parent / "backups").glob("before-repair-*.db")
    assert kept.read_bytes() == before
    assert done(command(database, "check"))
    assert not Path(f"{database}.recovered").exists()


def test_a_room_without_members_is_told_but_is_no_damage(
    database: Path, edit: sqlite3.Connection, cast: Cast
) -> None:
    edit.execute("DELETE FROM memberships WHERE room_id = ?", (cast.pets.id,))

    assert f"room {cast.pets.id} (Pets) has no members" in done(command(database, "check"))


@pytest.mark.parametrize("words", [["check"], ["check", "--repair"], ["serve"], ["bot", "list"]])
def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path, words: list[str]) -> None:
    database = tmp_path / "campfire.db"
    database.write_bytes(b"this was never a database" * 400)

    refusal(command(database, *words), UNUSABLE)

    assert database.read_bytes() == b"this was never a database" * 400


@pytest.mark.parametrize("words", [["check"], ["serve"]])
def test_a_database_of_a_newer_campfire_is_refused(
    database: Path, edit: sqlite3.Connection, words: list[str]
) -> None:
    edit.execute("INSERT INTO schema_version (version, applied_at) VALUES (99, 1)")
    edit.close()

    result = command(database, *words)

    refusal(result, UNUSABLE)
    assert "newer Campfire" in result.stdout + result.stderr

"""Moving in from a Rails Campfire whose rows are not all as they should be."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.operators import UNUSABLE, command, done, refusal
from tests.support.rails import AT, BENDER, DAVID, LOBBY, add, rows_in, say

LATER = "2024-03-05 09:00:00"


@pytest.fixture
def old(rails: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(rails, isolation_level=None)) as connection:
        yield connection


@pytest.mark.parametrize("time", ["yesterday", "", None, 1e300, "0000-00-00 00:00:00"])
def test_a_time_that_cannot_be_read_is_that_of_the_row_before(
    rails: Path, old: sqlite3.Connection, target: Path, time: object
) -> None:
    say(old, 200, LOBBY, DAVID, "<div>before</div>", created_at=LATER, updated_at=LATER)
    say(old, 201, LOBBY, DAVID, "<div>when?</div>", created_at=time, updated_at=time)
    old.execute("UPDATE messages SET created_at = ? WHERE id = 100", (time,))  # the first of all

    said = done(command(target, "import", str(rails))).splitlines()

    times = dict(rows_in(target, "SELECT id, created_at FROM messages WHERE id IN (100, 200, 201)"))
    assert times == {100: AT, 200: AT + 4 * 86_400_000_000, 201: AT + 4 * 86_400_000_000}
    counted = 2 if time in ("", None) else 3  # what says nothing of a change is no change
    words = "times could not be read: each is now that of the row before"
    assert f"warning: {words} ({counted})" in said
    assert rows_in(target, "SELECT count(*) FROM messages WHERE created_at < 1000000000") == [(0,)]


def test_a_room_of_an_unknown_type_is_named_as_such(
    rails: Path, old: sqlite3.Connection, target: Path
) -> None:
    add(old, "rooms", id=70, type="Rooms::Voice", name="Loud", creator_id=DAVID)

    said = done(command(target, "import", str(rails))).splitlines()

    assert "skipped: 1 of rooms of the unknown type Rooms::Voice" in said
    assert "skipped: 1 of rooms that belonged to nothing" in said


def test_a_repeated_bot_token_is_skipped_with_a_warning(
    rails: Path, old: sqlite3.Connection, target: Path
) -> None:
    add(old, "users", id=60, name="Second Bot", role=2, bot_token="ABCDEFGHIJKL")
    add(old, "users", id=61, name="Third Bot", role=2)
    add(old, "users", id=62, name="Fourth Bot", role=2)

    said = done(command(target, "import", str(rails))).splitlines()

    assert "warning: bots had the key of another; they need a new one (1)" in said
    assert rows_in(target, "SELECT id, bot_token FROM users WHERE role = 2 ORDER BY id") == [
        (BENDER, "ABCDEFGHIJKL"), (60, None), (61, None), (62, None),
    ]  # fmt: skip


def test_our_own_database_and_that_of_another_program_are_named(
    database: Path, tmp_path: Path
) -> None:
    target, other = tmp_path / "target.db", tmp_path / "songs.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")

    own = refusal(command(target, "import", str(database)), UNUSABLE)
    strange = refusal(command(target, "import", str(other)), UNUSABLE)

    assert own.startswith(f"{database} is a database of this Campfire, not of a Rails one")
    assert strange == f"{other} is no database of a Rails Campfire: it has no table accounts"


@pytest.mark.parametrize(
    "settings", ["[" * 100_000, '{"restrict_room_creation_to_administrators": []}']
)
def test_settings_that_make_no_sense_are_none(
    rails: Path, old: sqlite3.Connection, target: Path, settings: str
) -> None:
    old.execute("UPDATE accounts SET settings = ?", (settings,))

    done(command(target, "import", str(rails)))

    assert rows_in(target, "SELECT settings FROM accounts") == [("{}",)]

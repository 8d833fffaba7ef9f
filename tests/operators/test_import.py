"""Moving in from a Rails Campfire: what comes along, and what cannot."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import campfire as program
from tests.support.cast import SESAME, Start
from tests.support.operators import UNUSABLE, command, done, refusal
from tests.support.rails import (
    AT,
    BANNED,
    BENDER,
    CLUB,
    DAVID,
    JASON,
    KEVIN,
    LOBBY,
    LONELY,
    NAMELESS,
    PING,
    PING_AGAIN,
    SAID,
    add,
    move_in,
    rows_in,
    say,
    typed_in,
)

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


def test_the_report_counts_what_came_along_and_what_did_not(rails: Path, target: Path) -> None:
    before = rails.read_bytes()

    lines = done(command(target, "import", str(rails))).splitlines()

    assert set(lines) == {
        "accounts: 1", "users: 6", "sessions: 1", "bans: 1", "webhooks: 1",
        "push_subscriptions: 1", "searches: 10", "rooms: 5", "memberships: 9", "messages: 9",
        "mentions: 2", "blobs: 3", "attachments: 1", "boosts: 2",
        "skipped: 1 of sessions that belonged to nothing",
        "skipped: 1 of rooms that belonged to nothing",
        "skipped: 2 of memberships that belonged to nothing",
        "skipped: 2 of messages that belonged to nothing",
        "skipped: 2 of boosts that belonged to nothing",
        "skipped: 1 of memberships that were there twice",
        "skipped: 1 of push_subscriptions that were there twice",
        "warning: people without a name are now called Unnamed (1)",
        "warning: messages shared a client id; the later ones got a new one (1)",
        "warning: messages were nested too deeply: only their words are kept (1)",
        "warning: link previews are kept without their pictures (1)",
        "warning: boosts were cut to 16 characters (1)",
        "warning: keep the old storage folder: `attach-files` brings its files (3)",
        "warning: files beside text or other files were left out (1)",
        "warning: push subscriptions need the old VAPID keys in the environment (1)",
        "foreign_key_check: ok", "search index: 9 messages",
    }  # fmt: skip
    assert rails.read_bytes() == before
    assert [path.name for path in rails.parent.iterdir()] == [rails.name]
    assert "is healthy" in done(command(target, "check"))


def test_rows_are_kept_as_they_were_or_made_to_fit(rails: Path, target: Path) -> None:
    done(command(target, "import", str(rails)))

    assert rows_in(target, "SELECT name, join_code, custom_styles, settings FROM accounts") == [
        ("Northwind Studio", "AbCd-EfGh-IjKl", "a { color: red }",
         '{"restrict_room_creation_to_administrators": true}'),
    ]  # fmt: skip
    assert rows_in(target, "SELECT id, name, role, status, bio, bot_token FROM users") == [
        (DAVID, "David", 1, 0, "Programmer", None), (JASON, "Jason", 0, 0, None, None),
        (KEVIN, "Kevin", 0, 1, None, None), (BANNED, "Mallory", 0, 2, None, None),
        (NAMELESS, "Unnamed", 0, 0, None, None),
        (BENDER, "Bender Bot", 2, 0, None, "ABCDEFGHIJKL"),
    ]  # fmt: skip
    assert rows_in(target, "SELECT id, type, name, direct_key FROM rooms ORDER BY id") == [
        (LOBBY, "open", "Lobby", None), (CLUB, "closed", "Club", None),
        (PING, "direct", None, "1,2"), (PING_AGAIN, "direct", None, None),
        (LONELY, "closed", "Unnamed", None),
    ]  # fmt: skip
    club = "SELECT involvement, unread_at FROM memberships WHERE room_id = 11 ORDER BY id"
    assert rows_in(target, club) == [("nothing", AT + 123_456), ("mentions", None)]
    assert rows_in(target, "SELECT last_active_at, created_at FROM sessions") == [
        (AT + 123_456, AT)
    ]
    assert rows_in(target, "SELECT query FROM searches ORDER BY updated_at DESC") == [
        (f"query {n}",) for n in range(11, 1, -1)
    ]
    assert rows_in(target, "SELECT content FROM boosts") == [("👍",), ("a boost that is ",)]
    files = "SELECT message_id, filename, kind, byte_size, content_type, sha256 FROM attached"
    assert rows_in(target, files) == [
        (109, "plan <b>.pdf", "file", 12, "application/pdf", None),
    ]  # fmt: skip
    assert rows_in(target, "SELECT message_id, user_id FROM mentions") == [
        (101, DAVID), (101, BENDER),
    ]  # fmt: skip
    assert rows_in(target, "SELECT id, client_message_id FROM messages WHERE id IN (102, 103, 104)"
                  " ORDER BY id") == [
        (102, "same id?"), (103, "same id?-103"), (104, "same id?"),
    ]  # fmt: skip


async def test_people_go_on_with_their_passwords_sessions_rooms_and_words(
    rails: Path, target: Path, start: Start
) -> None:
    done(command(target, "import", str(rails)))
    server = await start(seeded=False)
    david = await typed_in(server, "david")

    answer = await david.get(f"/api/rooms/{LOBBY}/messages")

    shown = {each["id"]: each for each in answer.json["messages"]}
    assert [each["plain_text"] for each in shown.values()] == [
        "Hello world", "@David and @Bender Bot", "Twice", "Twice again", "bad", "See ",
        "plan <b>.pdf", "Deep down",
    ]  # fmt: skip
    assert shown[100]["timestamp"] == (AT + 123_456) // 1000
    assert f'data-user-id="{BENDER}"' in shown[101]["body_html"]
    assert "javascript" not in shown[107]["body_html"]
    club = (await david.get(f"/api/rooms/{CLUB}/messages")).json["messages"]
    assert [each["plain_text"] for each in club] == ["☒@Kevin"]
    assert (await david.get("/api/account/users")).json["users"][0]["role"] == "administrator"
    assert (await david.get("/api/searches?q=hello")).json["messages"][0]["id"] == 100
    posted = await david.post(f"/api/rooms/{LOBBY}/messages", {"body": "first here"})
    assert posted.json["message"]["id"] == 901


async def test_a_cookie_of_the_rails_app_goes_on_signing_in_and_bots_keep_their_keys(
    rails: Path, target: Path, start: Start
) -> None:
    done(command(target, "import", str(rails)))
    server = await start(seeded=False)
    visitor = await server.visitor()
    inside = base64.b64encode(json.dumps("old-token").encode()).decode()
    cookie = base64.b64encode(json.dumps({"_rails": {"message": inside}}).encode()).decode()
    visitor.set_cookie("session_token", f"{cookie}--{'0' * 40}")

    assert (await visitor.get("/api/session")).json["user"]["id"] == DAVID
    posted = await visitor.request(
        "POST", f"/rooms/{LOBBY}/{BENDER}-ABCDEFGHIJKL/messages", data="still here"
    )
    assert posted.status == 201
    for name in ("kevin", "mallory"):
        given = {"email_address": f"{name}@example.com", "password": SESAME}
        assert (await visitor.post("/api/session", given)).status == 401


def test_an_older_schema_comes_along_too(rails: Path, target: Path) -> None:
    with closing(sqlite3.connect(rails)) as connection:
        connection.executescript(
            """
            ALTER TABLE users ADD COLUMN active boolean DEFAULT 1;
            UPDATE users SET active = 0 WHERE status > 0;
            DROP VIEW tempting;
            ALTER TABLE users DROP COLUMN status;
            ALTER TABLE accounts DROP COLUMN settings;
            ALTER TABLE accounts DROP COLUMN singleton_guard;
            ALTER TABLE accounts DROP COLUMN custom_styles;
            DROP TABLE bans;
            """
        )

    assert "users: 6" in done(command(target, "import", str(rails))).splitlines()
    assert rows_in(target, "SELECT id FROM users WHERE status = 1") == [(KEVIN,), (BANNED,)]
    assert rows_in(target, "SELECT settings FROM accounts") == [("{}",)]


def test_what_is_still_in_the_log_of_the_old_database_comes_along(
    rails: Path, target: Path
) -> None:
    with closing(sqlite3.connect(rails, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        say(connection, 200, LOBBY, DAVID, "<div>Just said</div>")

        done(command(target, "import", str(rails)))

    assert rows_in(target, "SELECT body_text FROM messages WHERE id = 200") == [("Just said",)]


def test_a_second_import_is_refused_and_changes_nothing(rails: Path, target: Path) -> None:
    done(command(target, "import", str(rails)))
    before = rows_in(target, "SELECT * FROM messages")

    assert refusal(command(target, "import", str(rails))) == "Campfire is set up already."
    assert rows_in(target, "SELECT * FROM messages") == before


@pytest.mark.parametrize("damage", ["missing", "no target", "another program", "no account"])
def test_what_is_no_campfire_is_refused_and_leaves_nothing(
    rails: Path, target: Path, damage: str
) -> None:
    match damage:
        case "missing":
            rails.unlink()
        case "no target":
            rails.write_bytes(b"not a target" * 100)
        case _:
            with closing(sqlite3.connect(rails, isolation_level=None)) as connection:
                connection.execute(
                    "DROP TABLE rooms" if damage == "another program" else "DELETE FROM accounts"
                )

    refusal(command(target, "import", str(rails)), UNUSABLE)

    assert rows_in(target, "SELECT count(*) FROM users") == [(0,)]
    assert rows_in(target, "SELECT count(*) FROM accounts") == [(0,)]


@settings(max_examples=60)
@given(st.lists(SAID, max_size=12), st.sampled_from(list(program.Involvement)))
def test_ids_order_plain_text_roles_and_involvement_survive(
    said: list[tuple[int, str, datetime, bool]], level: program.Involvement
) -> None:
    move_in(said, level)

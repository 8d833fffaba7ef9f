"""A Rails Campfire's database, with everything that can be wrong in one."""

import base64
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import strategies as st

import campfire as program
from tests.support.cast import SESAME, Person, Server

TABLES = """
CREATE TABLE accounts (id integer PRIMARY KEY AUTOINCREMENT, name varchar, join_code varchar,
  custom_styles text, settings json, singleton_guard integer DEFAULT 0, TIMES);
CREATE TABLE users (id integer PRIMARY KEY AUTOINCREMENT, name varchar, role integer DEFAULT 0,
  email_address varchar, password_digest varchar, bio text, bot_token varchar,
  status integer DEFAULT 0, TIMES);
CREATE TABLE sessions (id integer PRIMARY KEY AUTOINCREMENT, user_id integer, token varchar,
  ip_address varchar, user_agent varchar, last_active_at datetime(6), TIMES);
CREATE TABLE bans (id integer PRIMARY KEY AUTOINCREMENT, user_id integer, ip_address varchar,
  TIMES);
CREATE TABLE webhooks (id integer PRIMARY KEY AUTOINCREMENT, user_id integer, url varchar, TIMES);
CREATE TABLE push_subscriptions (id integer PRIMARY KEY AUTOINCREMENT, user_id integer,
  endpoint varchar, p256dh_key varchar, auth_key varchar, user_agent varchar, TIMES);
CREATE TABLE searches (id integer PRIMARY KEY AUTOINCREMENT, user_id integer, query varchar,
  TIMES);
CREATE TABLE rooms (id integer PRIMARY KEY AUTOINCREMENT, name varchar, type varchar,
  creator_id bigint, TIMES);
CREATE TABLE memberships (id integer PRIMARY KEY AUTOINCREMENT, room_id integer, user_id integer,
  involvement varchar DEFAULT 'mentions', unread_at datetime(6), connections integer DEFAULT 0,
  connected_at datetime(6), TIMES);
CREATE TABLE messages (id integer PRIMARY KEY AUTOINCREMENT, room_id integer, creator_id integer,
  client_message_id varchar, TIMES);
CREATE TABLE boosts (id integer PRIMARY KEY AUTOINCREMENT, message_id integer, booster_id integer,
  content varchar(16), TIMES);
CREATE TABLE action_text_rich_texts (id integer PRIMARY KEY AUTOINCREMENT, name varchar,
  body text, record_type varchar, record_id bigint, TIMES);
CREATE TABLE active_storage_blobs (id integer PRIMARY KEY AUTOINCREMENT, key varchar,
  filename varchar, content_type varchar, metadata text, byte_size bigint, checksum varchar,
  service_name varchar, created_at datetime(6));
CREATE TABLE active_storage_variant_records (id integer PRIMARY KEY AUTOINCREMENT, blob_id bigint,
  variation_digest varchar);
CREATE TABLE active_storage_attachments (id integer PRIMARY KEY AUTOINCREMENT, name varchar,
  record_type varchar, record_id bigint, blob_id bigint, created_at datetime(6));
CREATE VIRTUAL TABLE message_search_index USING fts5(body, tokenize=porter);
CREATE VIEW tempting AS SELECT * FROM users;
""".replace("TIMES", "created_at datetime(6), updated_at datetime(6)")
WHOLE, PRECISE = "2024-03-01 09:00:00", "2024-03-01 09:00:00.123456"
AT = 1_709_283_600_000_000  # WHOLE, in microseconds
DAVID, JASON, KEVIN, BANNED, NAMELESS, BENDER, GHOST = 1, 2, 3, 4, 5, 6, 404
LOBBY, CLUB, PING, PING_AGAIN, LONELY, LOST = 10, 11, 12, 13, 14, 15


def add(rails: sqlite3.Connection, table: str, **values: object) -> None:
    """A row, made at nine o'clock unless it says otherwise."""
    timed = {"created_at": WHOLE, "updated_at": WHOLE} | values
    if table.startswith("active_storage"):
        del timed["updated_at"]
    if table == "active_storage_variant_records":
        del timed["created_at"]
    names, marks = ", ".join(timed), ", ".join(f":{name}" for name in timed)
    rails.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", timed)  # noqa: S608 - ours


def say(
    rails: sqlite3.Connection, message_id: int, room: int, author: int, body: str, **more: object
) -> None:
    """A message as Rails keeps it: in two tables."""
    given = {"client_message_id": f"client-{message_id}", **more}
    add(rails, "messages", id=message_id, room_id=room, creator_id=author, **given)
    text = {"name": "body", "record_type": "Message", "record_id": message_id}
    add(rails, "action_text_rich_texts", id=message_id + 5_000, body=body, **text)


def sgid(user_id: int, *, older: bool = False) -> str:
    """A mention as Rails signs it, with a signature nobody can check any more."""
    gid = f"gid://campfire/User/{user_id}?expires_in"
    inside: dict[str, object] = {"data": gid, "pur": "attachable"}
    if older:  # marshalled: bytes in which the id stands
        inside = {"message": base64.b64encode(b'\x04\bI"\x21' + gid.encode() + b"\x06").decode()}
    return base64.b64encode(json.dumps({"_rails": inside}).encode()).decode() + "--0bad51"


def mention(user_id: int, *, older: bool = False) -> str:
    return f'<action-text-attachment sgid="{sgid(user_id, older=older)}"></action-text-attachment>'


def write_people(rails: sqlite3.Connection) -> None:
    digest = bcrypt.hashpw(SESAME.encode(), bcrypt.gensalt(4, b"2a")).decode()
    add(
        rails, "accounts", id=1, name="Northwind Studio", join_code="AbCd-EfGh-IjKl",
        custom_styles="a { color: red }",
        settings='{"restrict_room_creation_to_administrators":"true"}',
    )  # fmt: skip
    for user_id, name, role, status in (
        (DAVID, "David", 1, 0), (JASON, "Jason", 0, 0), (KEVIN, "Kevin", 0, 1),
        (BANNED, "Mallory", 0, 2), (NAMELESS, " ", 0, 0),
    ):  # fmt: skip
        email = f"{name.strip().lower() or 'nobody'}@example.com"
        add(rails, "users", id=user_id, name=name, role=role, status=status, email_address=email,
            password_digest=digest, bio="Programmer" if user_id == DAVID else None)  # fmt: skip
    add(rails, "users", id=BENDER, name="Bender Bot", role=2, bot_token="ABCDEFGHIJKL")
    for session_id, user_id, token in ((1, DAVID, "old-token"), (2, GHOST, "x"), (3, JASON, "")):
        add(rails, "sessions", id=session_id, user_id=user_id, token=token, ip_address="192.0.2.1",
            last_active_at=PRECISE)  # fmt: skip
    add(rails, "bans", id=1, user_id=BANNED, ip_address="203.0.113.7")
    add(rails, "webhooks", id=1, user_id=BENDER, url="http://bender.example/")
    add(rails, "webhooks", id=2, user_id=JASON, url=" ")
    keys = {"endpoint": "https://push.example/1", "p256dh_key": "p", "auth_key": "a"}
    add(rails, "push_subscriptions", id=1, user_id=JASON, **keys)
    add(rails, "push_subscriptions", id=2, user_id=JASON, **keys)
    for n in range(12):
        add(rails, "searches", id=n + 1, user_id=DAVID, query=f"query {n}",
            updated_at=f"2024-03-01 09:00:{n:02}")  # fmt: skip


def write_rooms(rails: sqlite3.Connection) -> None:
    for room_id, kind, name, creator in (
        (LOBBY, "Open", "Lobby", DAVID), (CLUB, "Closed", "Club", JASON),
        (PING_AGAIN, "Direct", None, DAVID), (PING, "Direct", None, JASON),
        (LONELY, "Closed", "", DAVID), (LOST, "Open", "Of nobody", GHOST),
    ):  # fmt: skip
        made = {PING: "2023-01-01 00:00:00", PING_AGAIN: "2023-06-01 00:00:00"}.get(room_id, WHOLE)
        add(rails, "rooms", id=room_id, type=f"Rooms::{kind}", name=name, creator_id=creator,
            created_at=made)  # fmt: skip
    for number, (room_id, user_id, level, unread) in enumerate(
        (
            (LOBBY, DAVID, "everything", None), (LOBBY, JASON, "invisible", None),
            (LOBBY, BENDER, "mentions", None), (CLUB, JASON, "nothing", PRECISE),
            (CLUB, DAVID, "mentions", None), (CLUB, DAVID, "mentions", None),
            (PING, DAVID, "everything", None), (PING, JASON, "everything", None),
            (PING_AGAIN, JASON, "everything", None), (PING_AGAIN, DAVID, "everything", None),
            (PING, GHOST, "everything", None), (LOST, DAVID, "mentions", None),
        ),
        1,
    ):  # fmt: skip
        add(rails, "memberships", id=number, room_id=room_id, user_id=user_id, involvement=level,
            unread_at=unread, connections=3, connected_at=PRECISE)  # fmt: skip


def write_messages(rails: sqlite3.Connection) -> None:
    say(rails, 100, LOBBY, DAVID, "<div>Hello <strong>world</strong></div>", created_at=PRECISE)
    say(rails, 101, LOBBY, JASON, f"<div>{mention(DAVID)} and {mention(BENDER, older=True)}</div>")
    say(rails, 102, LOBBY, JASON, "<div>Twice</div>", client_message_id="same id?")
    say(rails, 103, LOBBY, JASON, "<div>Twice again</div>", client_message_id="same id?")
    say(rails, 104, CLUB, DAVID, f"<div>{mention(GHOST)}{mention(KEVIN)}</div>",
        client_message_id="same id?")  # fmt: skip
    say(rails, 105, LOBBY, GHOST, "<div>Of nobody</div>")
    say(rails, 106, LOST, DAVID, "<div>Nowhere</div>")
    say(rails, 107, LOBBY, DAVID, '<div><a href="javascript:x()">bad</a><script>x()</script></div>')
    preview = 'content-type="application/vnd.actiontext.opengraph-embed" href="http://a.example/"'
    say(rails, 108, LOBBY, DAVID, f"<div>See <action-text-attachment {preview}>"
        "</action-text-attachment></div>")  # fmt: skip
    say(rails, 109, LOBBY, DAVID, "")
    say(rails, 110, LOBBY, DAVID, f"{'<div>' * 5_000}Deep down")
    for number, (owner, record_id, name) in enumerate(
        (("Message", 109, "plan <b>.pdf"), ("ActionText::RichText", 5_100, "inline.png"),
         ("User", DAVID, "me.png"), ("Account", 1, "logo.png")), 1,
    ):  # fmt: skip
        add(rails, "active_storage_blobs", id=number, key=f"ab{number}xyz", filename=name,
            content_type="application/pdf", byte_size=12, checksum="c", metadata="{}")  # fmt: skip
        add(rails, "active_storage_attachments", id=number, name="attachment", record_type=owner,
            record_id=record_id, blob_id=number)  # fmt: skip
    for boost_id, message_id, booster, content in (
        (1, 100, JASON, "👍"), (2, 100, JASON, "a boost that is far too long"),
        (3, 105, JASON, "x"), (4, 100, GHOST, "x"), (5, 100, DAVID, " "),
    ):  # fmt: skip
        given = {"message_id": message_id, "booster_id": booster, "content": content}
        add(rails, "boosts", id=boost_id, **given)
    rails.execute("UPDATE sqlite_sequence SET seq = 900 WHERE name = 'messages'")


@pytest.fixture
def rails(tmp_path: Path) -> Path:
    """A Rails Campfire's database, with everything that can be wrong in one."""
    path = tmp_path / "rails" / "production.sqlite3"
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
        write_people(connection)
        write_rooms(connection)
        write_messages(connection)
        connection.commit()
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "campfire.db"


def rows_in(target: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(target)) as connection:
        return connection.execute(sql).fetchall()


async def typed_in(server: Server, name: str) -> Person:
    """Somebody who types the password they had."""
    person = await server.visitor()
    given = {"email_address": f"{name}@example.com", "password": SESAME}
    assert (await person.post("/api/session", given)).status == 201
    return person


MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1))
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)
SAID = st.tuples(st.integers(1, 3), WORDS, MOMENTS, st.booleans())


def exact(at: datetime, *, is_precise: bool) -> int:
    """A naive moment in UTC, in microseconds."""
    kept = at if is_precise else at.replace(microsecond=0)
    since = kept.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def plain(words: str) -> str:
    """What is left of plain words: their edges are trimmed, and nothing else."""
    return program.sanitize(escape(words), {}).text


def move_in(said: list[tuple[int, str, datetime, bool]], level: program.Involvement) -> None:
    """Messages of three people imported, against what was said."""
    with closing(sqlite3.connect(":memory:")) as old, closing(sqlite3.connect(":memory:")) as new:
        old.executescript(TABLES)
        old.row_factory = new.row_factory = sqlite3.Row
        add(old, "accounts", id=1, name="A", join_code="x")
        for role in (0, 1, 2):
            add(old, "users", id=role + 1, name=f"P{role}", role=role)
        add(old, "rooms", id=7, type="Rooms::Open", name="R", creator_id=1)
        for user_id in (1, 2, 3):
            add(old, "memberships", id=user_id, room_id=7, user_id=user_id, involvement=level.value)
        for number, (author, words, at, is_precise) in enumerate(said):
            moment = at.isoformat(" ", "microseconds" if is_precise else "seconds")
            say(old, 50 + 3 * number, 7, author, escape(words), created_at=moment)
        new.isolation_level = None
        program.create_schema(new)
        tx = program.WriteTx(program.ReadTx(new))
        signer = program.Signer("x")
        report = program.import_all(tx, program.Timestamp(1), old, signer)

        found = new.execute("SELECT * FROM messages ORDER BY created_at, id").fetchall()
        expected = sorted(
            (exact(at, is_precise=is_precise), 50 + 3 * number, plain(words))
            for number, (_, words, at, is_precise) in enumerate(said)
        )
        assert [(each["created_at"], each["id"], each["body_text"]) for each in found] == expected
        assert report.taken["messages"] == len(said)
        roles: Mapping[int, int] = dict(new.execute("SELECT id, role FROM users").fetchall())
        assert roles == {1: 0, 2: 1, 3: 2}
        levels = {each["involvement"] for each in new.execute("SELECT * FROM memberships")}
        assert levels == {level.value}

"""The database file: moving in, copying, checking, mending; its one writer; and sudden ends."""

import asyncio
import base64
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
from contextlib import AsyncExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import campfire as program
from tests.bench.workplace import READS, seed
from tests.support.cast import PATIENCE, SESAME, SETTINGS, Cast, Server, Start, copy_database
from tests.support.machines import (
    ROOT,
    Child,
    assert_whole,
    browser,
    child_server,
    token_for,
    write_on,
)
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
    Here,
    move_in,
    rows_in,
    say,
    typed_in,
)


def test_the_report_counts_what_came_along_and_what_did_not(rails: Path, target: Path) -> None:
    before = rails.read_bytes()

    lines = done(command(target, "import", str(rails))).splitlines()

    assert set(lines) == {
        "accounts: 1", "users: 6", "sessions: 1", "bans: 1", "webhooks: 1",
        "push_subscriptions: 1", "searches: 10", "rooms: 5", "memberships: 9", "messages: 9",
        "mentions: 2", "attachments: 2", "boosts: 2",
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
        "warning: link previews are not taken over (1)",
        "warning: boosts were cut to 16 characters (1)",
        "warning: avatars are not taken over (1)", "warning: logos are not taken over (1)",
        "warning: keep the old storage folder: files come in v2.0 (2)",
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
    assert rows_in(target, "SELECT message_id, blob_key, filename FROM attachments") == [
        (109, "ab1xyz", "plan <b>.pdf"), (100, "ab2xyz", "inline.png"),
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
        "📎 plan <b>.pdf — File attachments are coming in v2.0", "Deep down",
    ]  # fmt: skip
    assert shown[100]["timestamp"] == (AT + 123_456) // 1000
    assert f'data-user-id="{BENDER}"' in shown[101]["body_html"]
    assert "javascript" not in shown[107]["body_html"]
    club = (await david.get(f"/api/rooms/{CLUB}/messages")).json["messages"]
    assert [each["plain_text"] for each in club] == ["☒@Kevin"]
    assert (await david.get("/api/account/users")).json["users"][0]["role"] == "administrator"
    assert (await david.get("/api/searches?q=hello")).json["messages"][0]["id"] == 100
    assert (await david.say(cast(program.Room, Here(LOBBY)), "first here"))["id"] == 901


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


def test_files_that_are_not_in_the_storage_folder_are_told(rails: Path, target: Path) -> None:
    storage = rails.parent / "storage"
    (storage / "ab" / "1x").mkdir(parents=True)
    (storage / "ab" / "1x" / "ab1xyz").write_bytes(b"a plan")

    said = done(command(target, "import", str(rails), "--storage", str(storage)))

    assert f"warning: files are not in {storage} (1)" in said.splitlines()


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


def test_after_a_power_cut_the_words_are_a_prefix_and_the_file_is_sound(
    database: Path, edit: sqlite3.Connection, cast: Cast, tmp_path: Path
) -> None:
    edit.execute("PRAGMA journal_mode = WAL")
    edit.execute("PRAGMA wal_autocheckpoint = 0")
    for n in range(40):
        values = (cast.watercooler.id, cast.david.id, f"n{n}", f"Drop {n}")
        edit.execute(
            "INSERT INTO messages (room_id, creator_id, client_message_id, body_text, created_at,"
            " updated_at) VALUES (?, ?, ?, ?, 1, 1)",
            values,
        )
    log, size = Path(f"{database}-wal").read_bytes(), Path(f"{database}-wal").stat().st_size
    chance = random.Random(7)  # noqa: S311 - the same damage every time
    seen = set()
    for turn in range(60):
        at, copy = chance.randrange(size), tmp_path / "torn" / f"{turn}.db"
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(database, copy)
        flipped = log[:at] + bytes([log[at] ^ 1 << chance.randrange(8)]) + log[at + 1 :]
        Path(f"{copy}-wal").write_bytes(log[:at] if turn % 2 else flipped)

        problems = program.look_at(copy).problems

        with closing(sqlite3.connect(copy)) as stored:
            found = [each for (each,) in stored.execute("SELECT id FROM messages ORDER BY id")]
        assert found == list(range(1, len(found) + 1))
        unindexed = len(found) - len(cast.ten_messages)
        assert problems == (
            (f"search: {unindexed} messages are missing from the search index",)
            if unindexed
            else ()
        )
        seen.add(len(found))
    assert len(seen) > 10


# --- The process ---------------------------------------------------------------------------------


async def test_killed_at_any_moment_it_has_every_acknowledged_message_and_no_half_one(
    template: tuple[Path, Cast], tmp_path: Path
) -> None:
    database, cast = copy_database(template[0], tmp_path), template[1]
    token = await token_for(database, cast.david)
    path = f"/api/rooms/{cast.designers.id}/messages"
    acknowledged: set[str] = set()

    for turn, enough in enumerate([1, 2, 3, 5, 8, 17, 33, 64, 100, 160]):
        async with child_server(database) as child, browser(child.address, token) as david:
            async with david.get("/api/autocompletable/users?query=kevin") as answer:
                [kevin] = (await answer.json())["users"]
            mention = (
                f'<action-text-attachment sgid="{kevin["sgid"]}"'
                ' content-type="application/vnd.campfire.mention"></action-text-attachment>'
            )
            aim = len(acknowledged) + enough

            def told(name: str, aim: int = aim, child: Child = child) -> None:
                acknowledged.add(name)
                if len(acknowledged) == aim:
                    child.process.kill()

            writers = [write_on(david, path, mention, f"w{turn}-{n}", told) for n in range(8)]
            async with asyncio.timeout(40):
                await asyncio.gather(*writers)
            assert await child.ended() == -signal.SIGKILL
        (folder := tmp_path / f"copy-{turn}").mkdir()
        assert_whole(database, folder, acknowledged, cast.kevin.id)

    assert len(acknowledged) >= 393


async def test_told_to_stop_under_load_it_says_goodbye_and_keeps_everything(
    template: tuple[Path, Cast], tmp_path: Path
) -> None:
    database, cast = copy_database(template[0], tmp_path), template[1]
    token = await token_for(database, cast.david)
    path = f"/api/rooms/{cast.designers.id}/messages"
    acknowledged: set[str] = set()

    async with child_server(database) as child, AsyncExitStack() as tabs:
        david = await tabs.enter_async_context(browser(child.address, token))
        sockets = [
            await tabs.enter_async_context(
                david.ws_connect("/cable", headers={"Origin": child.address}, autoclose=False)
            )
            for _ in range(20)
        ]

        def told(name: str) -> None:
            acknowledged.add(name)
            if len(acknowledged) == 50:
                child.process.send_signal(signal.SIGTERM)

        await asyncio.gather(*(write_on(david, path, "", f"w{n}", told) for n in range(8)))
        goodbye = {"type": "disconnect", "reason": "server_restart", "reconnect": True}
        last: object = None
        for socket in sockets:
            async with asyncio.timeout(PATIENCE):
                while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    last = message.json()
            assert (last, message.type, message.data) == (goodbye, aiohttp.WSMsgType.CLOSE, 1000)
        assert await child.ended() == 0

    assert not list(tmp_path.glob("*-wal"))  # noqa: ASYNC240 - as above
    looking = sqlite3.connect(database)
    assert looking.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    stored = looking.execute("SELECT client_message_id FROM messages").fetchall()
    assert acknowledged <= {name for (name,) in stored}
    looking.close()


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
            connection.set_progress_handler(lambda steps=steps: steps.append(None), 10)  # type: ignore[misc]
            READS[what](program.ReadTx(connection))
        costs.append(len(steps))

    assert costs[0] > 0
    assert costs[1] <= 1.5 * costs[0]


async def test_a_second_server_on_one_database_says_so_in_one_line(
    server: Server, cast: Cast
) -> None:
    second = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "campfire.py", "serve", "--db", server.parts.config.database,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **SETTINGS},
    )  # fmt: skip
    said, complaint = await asyncio.wait_for(second.communicate(), 40)

    assert (second.returncode, said) == (UNUSABLE, b"")
    assert re.fullmatch(r"campfire: another Campfire is serving [^\n]+\n", complaint.decode())
    kevin = await server.sign_in(cast.kevin)
    assert (await kevin.say(cast.designers, "still here"))["plain_text"] == "still here"

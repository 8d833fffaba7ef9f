"""A power cut, a kill, a stop under load: every acknowledged word is there."""

import asyncio
import random
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from itertools import count
from pathlib import Path

import aiohttp

import campfire as program
from tests.support.cast import (
    AGENT,
    PATIENCE,
    Cast,
    Template,
    copy_database,
    start_server,
    start_session,
)
from tests.support.operators import Child, child_server

Told = Callable[[str], None]


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


async def test_killed_at_any_moment_it_has_every_acknowledged_message_and_no_half_one(
    template: Template, tmp_path: Path
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
    template: Template, tmp_path: Path
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


async def token_for(database: Path, user: program.User) -> str:
    """A session made before the program starts."""
    server = await start_server(database)
    token = await start_session(server.parts, user.id, "127.0.0.1", AGENT)
    await server.close()
    return token


@asynccontextmanager
async def browser(address: str, token: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A signed-in browser with its CSRF token."""
    jar = aiohttp.CookieJar(unsafe=True)
    jar.update_cookies({"session_token": token})
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(address, cookie_jar=jar, connector=connector) as session:
        async with session.get("/api/boot") as answer:
            session.headers["X-CSRF-Token"] = (await answer.json())["csrf_token"]
        yield session


async def write_on(
    browser: aiohttp.ClientSession, path: str, body: str, name: str, told: Told
) -> None:
    """Posts message after message, noting each that was acknowledged, until nobody answers."""
    try:
        for number in count():
            message = {"client_message_id": f"{name}-{number}", "body": f"{body} {name}-{number}"}
            async with browser.post(path, json=message) as answer:
                if answer.status != 201:
                    return
                told(message["client_message_id"])
    except (aiohttp.ClientError, OSError):
        return


def assert_whole(database: Path, folder: Path, acknowledged: set[str], named: int) -> None:
    """Looks at a copy, so that it is the program that repairs its own file."""
    for name in (database.name, f"{database.name}-wal"):
        if (database.parent / name).exists():
            shutil.copy(database.parent / name, folder / name)
    looking = sqlite3.connect(folder / database.name)
    assert looking.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert looking.execute("PRAGMA foreign_key_check").fetchall() == []
    messages = looking.execute(
        """
        SELECT client_message_id, body_text LIKE '%' || client_message_id,
          (SELECT body FROM message_search_index WHERE rowid = messages.id) = body_text,
          (SELECT group_concat(user_id) FROM mentions WHERE message_id = messages.id)
        FROM messages
        WHERE client_message_id LIKE 'w%'
        """
    ).fetchall()
    assert acknowledged <= {each[0] for each in messages}
    assert {each[1:] for each in messages} <= {(1, 1, str(named))}
    assert looking.execute(
        "SELECT (SELECT count(*) FROM messages) - (SELECT count(*) FROM message_search_index)"
    ).fetchone() == (0,)
    moments = looking.execute(
        """
        SELECT max(messages.created_at), rooms.updated_at, min(messages.created_at), unread_at
        FROM messages
        JOIN rooms ON rooms.id = messages.room_id
        JOIN memberships ON memberships.room_id = rooms.id AND user_id = :named
        WHERE client_message_id LIKE 'w%'
        """,
        {"named": named},
    ).fetchone()
    moved, first_unread = moments[:2], moments[2:]
    assert not acknowledged or (len(set(moved)), len(set(first_unread))) == (1, 1)
    looking.close()

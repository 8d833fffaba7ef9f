"""What is asked again before anything was committed: given as it was, and never when it is not."""

import asyncio
import re
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

import campfire as program
from tests.support.cast import PATIENCE, Answer, Cast, LogLines, Person, Server

AGAIN = ["PRAGMA data_version"]


@contextmanager
def statements(server: Server) -> Iterator[list[str]]:
    """What the database is asked on the loop."""
    told: list[str] = []
    glance = server.parts.db._glance  # noqa: SLF001 - nothing else tells what is not done
    assert glance is not None
    glance.set_trace_callback(told.append)
    yield told
    glance.set_trace_callback(None)


async def seen(server: Server, person: Person, path: str) -> tuple[Answer, list[str]]:
    """An answer, and what the database was asked for it."""
    with statements(server) as told:
        answer = await person.get(path)
    return answer, told


def addresses(cast: Cast) -> list[str]:
    room = cast.watercooler.id
    return [
        f"/rooms/{room}", f"/api/rooms/{room}", f"/api/rooms/{room}/messages",
        "/api/users/me/sidebar", "/api/searches?q=drop", "/searches?q=drop",
        f"/api/boot?path=/rooms/{room}", f"/rooms/{room}/@{cast.ten_messages[2].id}",
        f"/api/rooms/{room}/messages?before={cast.ten_messages[2].id}",
    ]  # fmt: skip


async def at_home(person: Person, cast: Cast) -> None:
    """As a browser is that has shown a page before: its cookies do not change any more."""
    await person.csrf()
    await person.get(f"/rooms/{cast.watercooler.id}")


async def test_what_is_asked_again_asks_the_database_only_whether_it_has_changed(
    server: Server, jason: Person, david: Person, cast: Cast
) -> None:
    await at_home(jason, cast)
    for path in addresses(cast):
        first, asked = await seen(server, jason, path)
        again, nothing = await seen(server, jason, path)
        assert (again.status, nothing) == (first.status, AGAIN), path
        assert len(asked) > 2
    await david.say(cast.hq, "news")
    for path in addresses(cast):
        assert (await seen(server, jason, path))[1] != AGAIN


async def test_head_is_answered_as_get_is(server: Server, jason: Person, cast: Cast) -> None:
    await at_home(jason, cast)
    path = f"/api/rooms/{cast.watercooler.id}/messages"
    answer = await jason.get(path)
    with statements(server) as told:
        head = await jason.request("HEAD", path)
    assert (head.status, head.body, told) == (200, b"", AGAIN)
    assert head.headers["ETag"] == answer.headers["ETag"]


async def test_a_page_that_the_browser_has_is_not_sent_again(jason: Person, cast: Cast) -> None:
    await at_home(jason, cast)
    path = f"/api/rooms/{cast.watercooler.id}/messages"
    etag = (await jason.get(path)).headers["ETag"]
    kept = [await jason.get(path, {"If-None-Match": etag}) for _ in range(2)]
    assert [(it.status, it.body) for it in kept] == [(304, b"")] * 2
    assert [sorted(it.headers) for it in kept] == [sorted(kept[0].headers)] * 2
    assert "Content-Length" not in kept[0].headers
    assert (await jason.get(path, {"If-None-Match": 'W/"other"'})).status == 200


async def test_times_and_tokens_are_new_in_each_answer(
    server: Server, jason: Person, cast: Cast
) -> None:
    await at_home(jason, cast)
    page, room = f"/rooms/{cast.watercooler.id}", f"/api/rooms/{cast.watercooler.id}"
    first, told = await jason.get(page), (await jason.get(room)).json
    server.wall.ahead += 3600
    again, asked = await seen(server, jason, page)
    later = (await jason.get(room)).json

    assert asked == AGAIN
    assert again.boot["server_time_ms"] > first.boot["server_time_ms"] + 3_000_000
    assert again.boot["data"]["loaded_at_ms"] == again.boot["server_time_ms"]
    assert later["loaded_at_ms"] > told["loaded_at_ms"] + 3_000_000
    assert again.boot["csrf_token"] != first.boot["csrf_token"]
    assert f'<meta name="csrf-token" content="{again.boot["csrf_token"]}">' in again.text
    said = {"X-CSRF-Token": again.boot["csrf_token"]}
    path = f"/api/rooms/{cast.watercooler.id}/messages"
    posted = await jason.request("POST", path, json={"body": "hi"}, headers=said)
    assert posted.status == 201


async def test_what_a_shell_commits_is_seen_at_once(
    server: Server, jason: Person, cast: Cast
) -> None:
    await at_home(jason, cast)
    path = f"/api/rooms/{cast.watercooler.id}/messages"
    assert [(await jason.get(path)).status for _ in range(2)] == [200, 200]
    with closing(sqlite3.connect(server.parts.db.path, isolation_level=None)) as shell:
        shell.execute("DELETE FROM sessions WHERE user_id = ?", (jason.id,))
    assert (await jason.get(path)).status == 401


async def test_what_else_a_request_says_has_an_answer_of_its_own(
    server: Server, jason: Person, kevin: Person, cast: Cast
) -> None:
    await at_home(jason, cast)
    path = f"/api/rooms/{cast.watercooler.id}"
    here = (await jason.get(path)).json["messages"]["messages"][0]["url"]
    elsewhere = (await jason.get(path, {"Host": "chat.example.com"})).json
    assert here.startswith(server.address)
    assert elsewhere["messages"]["messages"][0]["url"].startswith("http://chat.example.com/")
    old = {"User-Agent": "Mozilla/5.0 Chrome/60.0.0.0 Safari/537.36"}
    page = f"/rooms/{cast.watercooler.id}"
    assert "boot" in (await jason.get(page)).text
    assert 'id="boot"' not in (await jason.get(page, old)).text
    jason.set_cookie("last_room", str(cast.hq.id))
    assert (await jason.get("/api/searches")).json["return_to_room_id"] == cast.hq.id
    jason.set_cookie("last_room", str(cast.watercooler.id))
    assert (await jason.get("/api/searches")).json["return_to_room_id"] == cast.watercooler.id
    assert (await kevin.get(path)).code == "room_not_found"


async def test_a_word_of_why_has_an_end_and_is_looked_at_each_time(
    server: Server, kevin: Person, cast: Cast
) -> None:
    await kevin.get(f"/rooms/{cast.hq.id}")
    moved = await kevin.get(f"/rooms/{cast.watercooler.id}")
    assert moved.location == "/"
    flash = kevin.cookie("flash") or ""
    for _ in range(2):  # the same request, word for word
        kevin.set_cookie("flash", flash)
        page, asked = await seen(server, kevin, f"/rooms/{cast.hq.id}")
        assert page.boot["flash"]["alert"] == "Room not found or inaccessible"
        assert asked != AGAIN
    assert (await kevin.get(f"/rooms/{cast.hq.id}")).boot["flash"]["alert"] is None


async def test_a_browser_without_our_cookie_gets_a_new_one_each_time(
    jason: Person, cast: Cast
) -> None:
    path, session = f"/rooms/{cast.watercooler.id}", jason.cookie("session_token") or ""
    given = []
    for _ in range(2):
        jason.forget_cookies()
        jason.set_cookie("session_token", session)
        given.append((await jason.get(path)).cookies["_campfire_csrf"].value)
    assert given[0] != given[1]


async def test_no_more_is_remembered_than_two_thousand_answers_and_8_megabytes(
    server: Server,
) -> None:
    kept = server.parts.db.until_commit()
    for number in range(5_000):
        kept.keep(number, "small", program.LEAST_KEPT)
    assert {kept.find(number) for number in range(4_100, 5_000)} == {"small"}
    assert {kept.find(number) for number in range(3_000)} == {None}  # the oldest went first


async def test_without_a_picture_workshop_a_page_says_so_at_once(
    server: Server, jason: Person, cast: Cast
) -> None:
    await at_home(jason, cast)
    path, workshop = f"/rooms/{cast.watercooler.id}", server.parts.workshop
    before = (await jason.get(path)).boot["features"]["avatars"]
    workshop.has_pictures = not workshop.has_pictures
    after = (await jason.get(path)).boot["features"]["avatars"]
    workshop.has_pictures = before
    assert before != after


async def test_the_log_says_who_asked_again(jason: Person, cast: Cast, log_lines: LogLines) -> None:
    await at_home(jason, cast)
    path = f"/api/rooms/{cast.watercooler.id}/messages"
    for _ in range(2):
        await jason.get(path)
    lines = [line for line in log_lines() if f'"path":"{path}"' in re.sub(r'": "', '":"', line)]
    assert len(lines) == 2
    assert all(f'"user_id": {jason.id}' in line for line in lines)


@pytest.mark.parametrize("piece", [b"", b"short", b"x" * 127, b"y" * 128, bytes(70_000)])
def test_what_is_packed_alone_fits_into_a_stream(piece: bytes) -> None:
    packed = program.Packed(piece)
    whole = zlib.decompressobj(-zlib.MAX_WBITS)
    assert whole.decompress(packed.deflated + b"\3\0") == piece
    assert whole.eof
    assert packed.check == zlib.crc32(piece)


async def test_who_asks_again_keeps_the_session_fresh_and_is_counted(
    server: Server, jason: Person, cast: Cast
) -> None:
    await at_home(jason, cast)
    path, counts = f"/api/rooms/{cast.watercooler.id}/messages", server.parts.requests
    sql = "UPDATE sessions SET last_active_at = :at WHERE user_id = :id"
    old = time.time_ns() // 1000 - program.SESSION_REFRESH + 500_000  # in half a second it is
    await server.parts.db.write(lambda tx, _: program.run(tx, sql, at=old, id=jason.id))
    await jason.get(path)
    already, asked = counts["GET", "/api/rooms/{room_id}/messages", "200"], [AGAIN]
    async with asyncio.timeout(PATIENCE):
        while asked[-1] == AGAIN:  # until it is noted, which is a commit
            asked.append((await seen(server, jason, path))[1])

    session = (await jason.get("/api/session")).json["session"]
    assert session["last_active_at"] > program.iso(program.Timestamp(old))
    assert counts["GET", "/api/rooms/{room_id}/messages", "200"] == already + len(asked) - 1

"""How much one request may bring, and how long it may take to bring it."""

import asyncio
import io
import json
import select
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import campfire as program
from tests.support.asking import KEY
from tests.support.cast import (
    PATIENCE,
    SESAME,
    Answer,
    Cast,
    LogLines,
    Person,
    Server,
    Start,
    Template,
)
from tests.support.services import TurnableLoop, on_a_turnable_clock

KB = 1_024
LIMITS = [
    ("POST", "/api/session", 16 * KB),
    ("POST", "/api/first_run", 16 * KB),
    ("POST", "/api/join/CODE", 16 * KB),
    ("POST", "/api/rooms/opens", 128 * KB),
    ("PUT", "/api/users/me/profile", 128 * KB),
    ("POST", "/api/messages/1/boosts", 128 * KB),
    ("PUT", "/api/account/custom_styles", 128 * KB),
    ("POST", "/api/rooms/3/messages", 512 * KB),
    ("PATCH", "/api/rooms/3/messages/1", 512 * KB),
    ("POST", f"/rooms/3/{KEY}/messages", 512 * KB),
    ("PUT", f"/rooms/3/{KEY}/messages/3", 512 * KB),
    ("POST", f"/rooms/3/{KEY}/messages/3/boosts", 128 * KB),
]


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """The body without its length, as a client sends it that does not know it before."""
    yield body[:10]
    yield body[10:]


@pytest.mark.parametrize(("method", "path", "most"), LIMITS)
async def test_a_body_has_the_size_its_address_has_room_for(
    david: Person, method: str, path: str, most: int
) -> None:
    if most == 16 * KB:
        david.forget_cookies()
    headers = {"X-CSRF-Token": await david.csrf(), "Content-Type": "application/json"}

    async def sends(size: int, *, whole: bool) -> Answer:
        body = json.dumps({"name": ""}).encode().ljust(size)
        data = io.BytesIO(body) if whole else in_pieces(body)
        return await david.request(method, path, data=data, headers=headers)

    for whole in (True, False):
        over = await sends(most + 1, whole=whole)
        assert over.status == 413
        assert not over.body or over.code == "payload_too_large"
        assert (await sends(most, whole=whole)).status != 413


async def heard(server: Server, head: str, body: bytes = b"") -> str:
    """The first line that comes back while the body, or its rest, is still owed."""
    reader, writer = await server.dialled()
    writer.write(f"{head}\r\nHost: {server.host}\r\n\r\n".encode() + body)
    async with asyncio.timeout(PATIENCE):
        line = await reader.readline()
    writer.close()
    return line.decode().strip()


@pytest.mark.parametrize("length", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    ("path", "status"), [("/api/rooms/3/messages", 401), (f"/rooms/3/{KEY[:-1]}/messages", 302)]
)
async def test_a_stranger_is_turned_away_before_bringing_more_than_16_kb(
    server: Server, visitor: Person, path: str, status: int, length: str
) -> None:
    head = f"POST {path} HTTP/1.1\r\n{length}\r\nContent-Type: application/json\r\n"
    head += f"X-CSRF-Token: {await visitor.csrf()}\r\n"
    head += f"Cookie: _campfire_csrf={visitor.cookie('_campfire_csrf')}; session_token=forged"

    assert (await heard(server, head)).split()[1] == str(status)


async def test_who_tries_too_often_is_told_so_whatever_the_body_says(visitor: Person) -> None:
    headers = {"X-CSRF-Token": await visitor.csrf(), "Content-Type": "application/json"}
    answers = [
        await visitor.request("POST", "/api/session", data=b"{", headers=headers) for _ in range(11)
    ]

    assert [answer.status for answer in answers] == [400] * 10 + [429]
    good = {"email_address": "kevin@example.com", "password": SESAME}
    assert (await visitor.post("/api/session", good)).status == 429


async def bring_half_and_wait(server: Server, _: Cast) -> list[str]:
    """What a client hears as time passes whose body stops in the middle."""
    loop = TurnableLoop.running()
    reader, writer = await server.dialled()
    head = f"POST /rooms/3/{KEY}/messages HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 9\r\n"
    writer.write(f"{head}Expect: 100-continue\r\n\r\nhalf".encode())
    lines = [await reader.readline(), await reader.readline()]  # now the server waits for the rest
    visitor, answer = await server.visitor(), asyncio.create_task(reader.readline())
    loop.ahead += 59
    assert (await visitor.get("/up")).status == 200
    assert not answer.done()
    loop.ahead += 1.1
    async with asyncio.timeout(PATIENCE):
        lines.append(await answer)
    writer.close()
    return [line.decode().strip() for line in lines]


def test_a_body_has_one_minute_to_come(template: Template, tmp_path: Path) -> None:
    told = on_a_turnable_clock(template, tmp_path, bring_half_and_wait)

    assert told == ["HTTP/1.1 100 Continue", "", "HTTP/1.1 400 Bad Request"]


# Words to search for.


def test_of_a_long_search_only_the_first_thousand_characters_are_looked_at() -> None:
    query = program.cleaned_query

    assert query("word " * 300_000) == " ".join(["word"] * 200)
    assert query("!" * 1_000 + "late") == ""
    assert query("x" * 5_000) == "x" * 1_000
    assert query("a" * 998 + " whole") == "a" * 998  # half a word would find nothing
    assert query("a" * 994 + " whole") == "a" * 994 + " whole"


# Answers nobody takes.


async def fill_with_two_megabytes(person: Person, room: program.Room) -> None:
    for n in range(30):
        assert (await person.say(room, "x" * 60_000, f"big-{n}"))["id"]


async def deaf(person: Person, room: program.Room) -> socket.socket:
    """A connection that has asked for a page of the room and takes nothing of it."""
    host, _, port = person.server.host.partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(PATIENCE)
    connection.connect((host, int(port)))
    cookie = f"Cookie: session_token={person.cookie('session_token')}"
    path = f"/api/rooms/{room.id}/messages"
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{cookie}\r\n\r\n".encode())
    await asyncio.to_thread(connection.recv, 1)
    return connection


async def is_cut(connection: socket.socket, seconds: float) -> bool:
    """Whether the server hangs up within so many seconds, though much is still to be read."""
    poll = select.poll()
    poll.register(connection, 0)  # for nothing but the end
    return bool(await asyncio.to_thread(poll.poll, seconds * 1_000))


async def test_an_answer_in_memory_that_nobody_takes_is_cut_off_in_time(
    start: Start, cast: Cast
) -> None:
    server = await start(HTTP_WRITE_TIMEOUT="1")
    kevin = await server.sign_in(cast.kevin)
    await fill_with_two_megabytes(kevin, cast.designers)

    with await deaf(kevin, cast.designers) as connection:
        assert await is_cut(connection, PATIENCE)


async def take_slowly_then_nothing(server: Server, cast: Cast) -> None:
    loop = TurnableLoop.running()
    kevin = await server.sign_in(cast.kevin)
    await fill_with_two_megabytes(kevin, cast.designers)
    with await deaf(kevin, cast.designers) as connection:
        for _ in range(3):  # longer than 30 seconds, but something is taken every time
            for _ in range(20):
                await asyncio.to_thread(connection.recv, 16_384)
            loop.ahead += 29
            await kevin.get("/up")
        assert not await is_cut(connection, 0)
        for seconds in (31, 31):  # one look that may still find less, and one that cannot
            loop.ahead += seconds
            await kevin.get("/up")
        assert await is_cut(connection, PATIENCE)


def test_a_large_answer_of_which_nothing_is_taken_for_half_a_minute_is_cut_off(
    template: Template, tmp_path: Path
) -> None:
    on_a_turnable_clock(template, tmp_path, take_slowly_then_nothing)


BROKEN = [
    ("Content-Length: 99", b"half a wo"),  # and then nothing
    ("Transfer-Encoding: chunked", b"5\r\nhello\r\nnonsense\r\n"),
]


@pytest.mark.parametrize(("length", "sent"), BROKEN)
async def test_whoever_leaves_in_the_middle_of_a_body_is_no_fault_of_ours(
    server: Server, log_lines: LogLines, length: str, sent: bytes
) -> None:
    reader, writer = await server.dialled()
    head = f"POST /rooms/3/{KEY}/messages HTTP/1.1\r\nHost: {server.host}\r\n{length}\r\n"
    writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert b" 100 " in await reader.readline()
    writer.write(sent)
    await writer.drain()
    writer.transport.abort()
    await server.stop()

    lines = [json.loads(line) for line in log_lines()]
    assert {line["level"] for line in lines} == {"info"}
    assert [line["status"] for line in lines if line["event"] == "request"] == [400]

"""A socket has a pace, and a person has so many of them: nobody's flood is another's wait."""

import asyncio
import json
import time

import aiohttp
import pytest

from campfire import Room
from tests.support.cable import HEARTBEAT, masked, wired
from tests.support.cast import PATIENCE, Cast, LogLines, Person, Server, Start


def events(log_lines: LogLines, name: str) -> list[str]:
    return [line for line in log_lines() if json.loads(line)["event"] == name]


async def test_who_sends_faster_than_fifty_frames_a_second_is_closed_and_nobody_waits(
    server: Server, kevin: Person, jz: Person, designers: Room, log_lines: LogLines
) -> None:
    tab = await jz.room_tab(designers)

    frames = masked(0x81, json.dumps({"command": "unsubscribe", "identifier": "x"}).encode())

    async with wired(kevin, frames * 20_000) as (_, wire):
        began = time.monotonic()
        await jz.say(designers, "and nobody waits")
        assert "nobody waits" in await tab.next_message()
        assert time.monotonic() - began < 2
        assert await wire.close_code() == 1008
    assert len(events(log_lines, "cable_flooded")) == 1
    assert events(log_lines, "cable_ignored") == []  # nor is any of it read
    assert [each.user_id for each in server.parts.sockets.connections] == [jz.id]


async def test_a_flood_ends_a_socket_before_any_of_it_is_read(
    kevin: Person, log_lines: LogLines
) -> None:
    async with wired(kevin) as (_, wire):
        assert json.loads((await wire.frame())[1]) == {"type": "welcome"}

        await wire.say(masked(0x81, b"") * 501)

        assert await wire.close_code() == 1008
    assert len(events(log_lines, "cable_flooded")) == 1
    assert events(log_lines, "cable_ignored") == []


async def test_a_burst_of_five_hundred_frames_is_taken_and_regained_by_and_by(
    kevin: Person,
) -> None:
    known = json.dumps({"command": "unsubscribe", "identifier": HEARTBEAT}).encode()

    async with wired(kevin, masked(0x81, known) * 499) as (_, wire):
        assert json.loads((await wire.frame())[1]) == {"type": "welcome"}
        began = time.monotonic()
        while time.monotonic() - began < 0.3:  # in which fifteen more are regained
            await kevin.get("/up")
        await wire.say(masked(0x81, known) * 10 + masked(0x89, b"still there?"))
        assert await wire.frame() == (0x8A, b"still there?")
        await wire.say(masked(0x81, known) * 100)
        assert await wire.close_code() == 1008


async def test_a_hundred_frames_nobody_understands_end_a_socket_with_one_log_line(
    kevin: Person, log_lines: LogLines
) -> None:
    tab = await kevin.welcomed()
    for _ in range(99):
        await tab.socket.send_str("{}")
    assert await tab.drain() == []

    await tab.socket.send_bytes(b"\x00")

    async with asyncio.timeout(PATIENCE):
        assert (await tab.socket.receive()).data == 1008
    assert len(events(log_lines, "cable_ignored")) == 1


async def test_the_fifty_first_socket_of_a_person_is_refused_with_a_sentence(
    kevin: Person, jz: Person, log_lines: LogLines
) -> None:
    tabs = [await kevin.welcomed() for _ in range(50)]

    for _ in range(2):
        async with wired(kevin) as (head, wire):
            assert head.startswith("HTTP/1.1 503 ")
            assert "retry-after: 10" in head.lower()
            assert b"fifty times" in await wire.reader.read(80)

    await jz.welcomed()
    assert len(events(log_lines, "too_many_tabs")) == 1
    await tabs[0].socket.close()
    async with asyncio.timeout(PATIENCE):
        while len(kevin.server.parts.sockets.connections) > 50:
            await kevin.get("/up")
    await kevin.welcomed()


async def test_whoever_leaves_in_the_handshake_takes_no_place_along(
    start: Start, cast: Cast, log_lines: LogLines
) -> None:
    kevin = await (await start(MAX_WS_CONNECTIONS="1")).sign_in(cast.kevin)
    head = [
        "GET /cable HTTP/1.1", f"Host: {kevin.server.host}", f"Origin: {kevin.server.address}",
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Cookie: session_token={kevin.cookie('session_token')}", "", "",
    ]  # fmt: skip
    for _ in range(10):
        _, leaver = await asyncio.open_connection(*kevin.server.host.split(":"))
        leaver.write("\r\n".join(head).encode())
        leaver.transport.abort()
    async with asyncio.timeout(PATIENCE):
        while len([line for line in log_lines() if '"/cable"' in line]) < 10:
            await kevin.get("/up")

    await kevin.welcomed()


async def test_strangers_take_nobodys_place_and_are_gone_within_a_second(
    start: Start, cast: Cast, log_lines: LogLines
) -> None:
    server = await start(MAX_WS_CONNECTIONS="1")
    kevin, visitor = await server.sign_in(cast.kevin), await server.visitor()

    async with wired(visitor) as (head, wire), wired(visitor) as (_, other):
        began = time.monotonic()
        assert head.startswith("HTTP/1.1 101 ")
        await kevin.welcomed()
        for each in (wire, other):  # they never say goodbye themselves
            assert json.loads((await each.frame())[1])["reason"] == "unauthorized"
            assert (await each.frame())[0] == 0x88
            assert await each.reader.read() == b""
        assert time.monotonic() - began < 5  # a handshake may take longer
    for _ in range(2):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await kevin.cable()
        told = refusal.value.headers
        assert (refusal.value.status, told and told["Retry-After"]) == (503, "10")
    assert len(events(log_lines, "ws_capacity")) == 1

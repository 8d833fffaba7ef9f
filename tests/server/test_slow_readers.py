"""Readers that are slow, and readers that have stopped."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator

import pytest

import campfire as program
from tests.support.cable import HEARTBEAT, masked, subscribed_wire, wired
from tests.support.cast import PATIENCE, Person, Server


@pytest.fixture
async def line() -> AsyncIterator[tuple[program.Connection, socket.socket]]:
    """A connection over a real pair of sockets, and its far end."""
    near, far = socket.socketpair()
    near.settimeout(0)  # as asyncio wants it
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
    whose = program.UserId(1), program.SessionId(1), "JZ"
    yield program.Connection(transport, *whose, {}, [], print), far
    transport.abort()
    far.close()


async def heard(connection: program.Connection) -> str:
    """The next that the far end says."""
    async with asyncio.timeout(PATIENCE):
        return str((await connection.inbox.read()).data)


async def test_what_piles_up_unheeded_is_read_no_further_until_some_of_it_is_heeded(
    line: tuple[program.Connection, socket.socket],
) -> None:
    connection, far = line
    connection.transport.set_protocol(connection)
    said = [letter * 60_000 for letter in "abcdef"]
    frames = [masked(0x81, each.encode()) for each in said]

    talking = asyncio.create_task(asyncio.to_thread(far.sendall, b"".join(frames)))
    async with asyncio.timeout(PATIENCE):
        while connection.transport.is_reading():
            await asyncio.to_thread(bool)  # turns of the loop

    assert [await heard(connection) for _ in said] == said
    assert connection.transport.is_reading()
    await talking


async def read_some(connection: program.Connection, far: socket.socket) -> None:
    """The far end reads until something has left the near one."""
    before = connection.transport.get_write_buffer_size()
    while connection.transport.get_write_buffer_size() >= before:
        await asyncio.to_thread(far.recv, 65_536)


async def test_a_reader_that_is_slow_but_moves_is_kept(
    line: tuple[program.Connection, socket.socket],
) -> None:
    connection, far = line
    connection.send(b"x" * 3_000_000)
    assert connection.flush(1.0)
    assert not connection.is_stalled(7.0)
    for now in (8.5, 15.0, 21.5):  # the buffer is never seen empty
        await read_some(connection, far)
        assert not connection.is_stalled(now)

    assert not connection.is_stalled(28.0)
    assert connection.is_stalled(28.6)


async def test_writing_more_does_not_hide_that_nothing_moves(
    line: tuple[program.Connection, socket.socket],
) -> None:
    connection, _ = line
    for now in (1.0, 4.0, 7.0):
        connection.send(b"x" * 900_000)
        assert connection.flush(now)

    assert connection.is_stalled(8.1)


@pytest.mark.parametrize(("size", "most"), [(60_000, 160), (600, 9_000)])
async def test_a_reader_who_lets_too_much_pile_up_is_cut_off_and_delays_nobody(
    server: Server, kevin: Person, jz: Person, size: int, most: int
) -> None:
    cable, payload = server.parts.sockets, {"word": "w" * size}
    signed = server.parts.signer.stream("rooms")
    identifier = json.dumps({"channel": "Turbo::StreamsChannel", "signed_stream_name": signed})
    fast = await jz.welcomed()
    await fast.transmit("subscribe", identifier)
    assert (await fast.next_frame())["type"] == "confirm_subscription"

    async with wired(kevin) as (_, wire):
        await subscribed_wire(wire, identifier)
        sent = 0
        while cable.slow == 0 and sent < most:
            sent += cable.broadcast("rooms", payload) > 0
            async with asyncio.timeout(1):
                assert (await fast.next_message()) == payload

        assert cable.slow == 1
        assert {each.user_id for each in cable.connections} == {jz.id}
        wire.transport.resume_reading()
        assert await wire.close_code() == 1013


async def test_a_reader_who_takes_more_than_seven_seconds_for_one_write_is_cut_off(
    server: Server, kevin: Person
) -> None:
    cable = server.parts.sockets
    async with wired(kevin) as (_, wire):
        await subscribed_wire(wire, HEARTBEAT)
        [connection] = cable.connections
        while connection.transport.get_write_buffer_size() == 0:
            cable.broadcast("heartbeat", {"word": "w" * 60_000})
            await asyncio.sleep(0)

        now = time.monotonic()
        assert not connection.is_stalled(now + 6.9)
        assert connection.is_stalled(now + program.STALLED_SECONDS + 0.1)
        wire.transport.resume_reading()
        while connection.is_stalled(time.monotonic() + 60):
            await wire.frame()

"""Readers that are slow, and readers that have stopped."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

import campfire as program


@pytest.fixture
async def line() -> AsyncIterator[tuple[program.Connection, socket.socket]]:
    """A connection over a real pair of sockets, and its far end."""
    near, far = socket.socketpair()
    near.settimeout(0)  # as asyncio wants it
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
    yield program.Connection(web.WebSocketResponse(), transport, []), far
    transport.abort()
    far.close()


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

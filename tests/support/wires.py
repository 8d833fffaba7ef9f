"""A WebSocket by hand, and whatever anybody may send over one."""

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from hypothesis import strategies as st

from tests.support.cast import PATIENCE, Person, Server

CHANNELS = [
    "HeartbeatChannel", "RoomChannel", "PresenceChannel", "TypingNotificationsChannel",
    "ReadRoomsChannel", "UnreadRoomsChannel", "RoomMessagesChannel", "Turbo::StreamsChannel",
]  # fmt: skip
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Wire:
    """A WebSocket by hand: bytes out, bytes in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.transport = cast(asyncio.Transport, writer.transport)

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def say(self, data: bytes) -> None:
        """Sends these bytes in a segment of their own."""
        self.writer.write(data)
        await self.writer.drain()

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload."""
        first, size = await self.read(2)
        if size >= 126:
            size = int.from_bytes(await self.read(2 if size == 126 else 8), "big")
        return first, await self.read(size)

    async def close_code(self) -> int:
        """The code the server closes with, whatever else it sends before."""
        while True:
            first, payload = await self.frame()
            if first == 0x88:
                return int.from_bytes(payload[:2], "big")


def masked(first: int, payload: bytes) -> bytes:
    """A client's frame; the mask of zeros leaves the payload readable."""
    size = len(payload)
    code, width = (size, 0) if size < 126 else (126, 2) if size < 65_536 else (127, 8)
    length = bytes([0x80 | code]) + (size.to_bytes(width, "big") if width else b"")
    return bytes([first]) + length + bytes(4) + payload


@asynccontextmanager
async def wired(
    person: Person, early: bytes = b"", given: Mapping[str, str | None] = {}
) -> AsyncIterator[tuple[str, "Wire"]]:
    """The answer's head and the wire, after a handshake with headers of one's own."""
    server = person.server
    headers: dict[str, str | None] = {
        "Host": server.host, "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13", "Origin": server.address,
        "Cookie": f"session_token={person.cookie('session_token')}",
        **{name.replace("_", "-"): value for name, value in given.items()},
    }  # fmt: skip
    method = headers.pop("method", "GET")
    connection = sockets.create_connection(tuple(server.host.split(":")))  # type: ignore[arg-type]
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 65_536)
    connection.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**16)
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    writer.write("\r\n".join([f"{method} /cable HTTP/1.1", *lines, "", ""]).encode() + early)
    try:
        async with asyncio.timeout(PATIENCE):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        yield head, Wire(reader, writer)
    finally:
        writer.transport.abort()


async def spoken(server: Server, said: str) -> str:
    """All that a connection is told that has said this."""
    reader, writer = await asyncio.open_connection(*server.host.split(":"))
    writer.write(said.encode())
    async with asyncio.timeout(PATIENCE):
        told = await reader.read()
    writer.close()
    return told.decode()


HEARTBEAT = '{"channel":"HeartbeatChannel"}'
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
channels = st.sampled_from([*CHANNELS, "Channel", "", 7]) | anything
parameters = st.fixed_dictionaries(
    {"channel": channels},
    optional={"room_id": st.integers(0, 12) | anything, "signed_stream_name": anything},
)
commands = st.fixed_dictionaries(
    {},
    optional={
        "command": st.sampled_from(["subscribe", "subscribe", "unsubscribe", "message"]) | anything,
        "identifier": parameters.map(json.dumps) | anything,
        "data": st.builds(json.dumps, anything) | anything,
    },
)


def wants_an_answer(command: dict[str, Any], known: set[str]) -> str | None:
    """The identifier to be confirmed or rejected, if any."""
    identifier = command.get("identifier")
    if command.get("command") != "subscribe" or not isinstance(identifier, str):
        return None
    try:
        params = json.loads(identifier)
    except ValueError:
        return None
    channel = params.get("channel") if isinstance(params, dict) else None
    is_known = isinstance(channel, str) and channel in CHANNELS
    return identifier if is_known and identifier not in known else None


# --- Closing -------------------------------------------------------------------------------------


def goodbye(reason: str, *, reconnect: bool) -> tuple[dict[str, Any], int]:
    return {"type": "disconnect", "reason": reason, "reconnect": reconnect}, 1000


# --- Slow readers --------------------------------------------------------------------------------


async def subscribed_wire(wire: Wire, identifier: str) -> None:
    command = {"command": "subscribe", "identifier": identifier}
    wire.writer.write(masked(0x81, json.dumps(command).encode()))
    assert json.loads((await wire.frame())[1]) == {"type": "welcome"}
    assert json.loads((await wire.frame())[1])["type"] == "confirm_subscription"
    wire.transport.pause_reading()

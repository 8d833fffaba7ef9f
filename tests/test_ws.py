"""Action Cable: opening, commands, channels, who hears of what, presence, catching up."""

import asyncio
import json
import socket as sockets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from aiohttp.web import WebSocketResponse
from hypothesis import given, settings
from hypothesis import strategies as st

import campfire as program
from campfire import Room
from tests.cast import PATIENCE, Cast, LogLines, Person, Server, Start
from tests.conftest import Place

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
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**16)
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    writer.write("\r\n".join([f"{method} /cable HTTP/1.1", *lines, "", ""]).encode() + early)
    try:
        async with asyncio.timeout(PATIENCE):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        yield head, Wire(reader, writer)
    finally:
        writer.transport.abort()


# --- Opening -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        {"method": "POST", "Content_Length": "0"}, {"method": "HEAD"}, {"Upgrade": None},
        {"Upgrade": "h2c"}, {"Connection": "close"}, {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "short"}, {"Sec_WebSocket_Version": "12"}, {"Origin": None},
        {"Origin": "null"}, {"Origin": "http://evil.example"}, {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"}, {"Origin": "http://sub.HOST"}, {"Origin": "ftp://HOST"},
        {"Origin": "http://HOST.evil.example"}, {"Origin": "http://u@HOST"}, {"Origin": "HOST"},
    ],
)  # fmt: skip
async def test_what_is_no_upgrade_of_our_own_pages_is_not_found(
    kevin: Person, odd: dict[str, str | None]
) -> None:
    host = kevin.server.host
    given = {name: value and value.replace("HOST", host) for name, value in odd.items()}

    async with wired(kevin, given=given) as (head, wire):
        assert head.startswith("HTTP/1.1 404 ")
        assert "content-type: text/plain" in head.lower()
        if given.get("method") != "HEAD":
            assert await wire.read(14) == b"Page not found"
    assert kevin.server.parts.cable.connections == {}


async def test_above_the_most_sockets_the_next_is_told_to_try_later(
    start: Start, cast: Cast
) -> None:
    server = await start(MAX_WS_CONNECTIONS="2")
    kevin = await server.sign_in(cast.kevin)
    first, _ = [await kevin.welcomed() for _ in range(2)]

    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await kevin.cable()
    assert refusal.value.status == 503

    await first.socket.close()
    async with asyncio.timeout(PATIENCE):
        while len(server.parts.cable.connections) > 1:
            await kevin.get("/up")
    await kevin.welcomed()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("actioncable-v1-json", "actioncable-unsupported"), "actioncable-v1-json"),
        (("chat", "actioncable-unsupported", "actioncable-v1-json"), "actioncable-unsupported"),
        (("chat",), None), ((), None),
    ],
)  # fmt: skip
async def test_the_first_known_protocol_offered_is_chosen_and_none_is_fine(
    kevin: Person, offered: tuple[str, ...], chosen: str | None
) -> None:
    tab = await kevin.cable(protocols=offered)

    assert tab.socket.protocol == chosen
    assert await tab.next_frame() == {"type": "welcome"}


@pytest.mark.parametrize("who", ["no cookie", "a bad token", "deactivated", "banned", "signed out"])
async def test_without_a_session_of_an_active_person_there_is_a_goodbye_and_no_welcome(
    server: Server, visitor: Person, kevin: Person, who: str
) -> None:
    visitor.set_cookie("session_token", kevin.cookie("session_token") or "")
    match who:
        case "no cookie":
            visitor.forget_cookies()
        case "a bad token":
            visitor.set_cookie("session_token", "A" * 43)
        case "signed out":
            await kevin.delete("/api/session")
        case _:
            status = program.Status[who.upper()]
            change = "UPDATE users SET status = ? WHERE id = ?"
            await server.parts.db.write(lambda tx, _: tx.execute(change, (status, kevin.id)))

    tab = await visitor.cable()

    goodbye = {"type": "disconnect", "reason": "unauthorized", "reconnect": False}
    assert await tab.goodbye() == (goodbye, 1000)
    assert server.parts.cable.connections == {}


async def test_frames_that_come_before_the_welcome_are_handled_after_it(kevin: Person) -> None:
    early = {"command": "subscribe", "identifier": '{"channel":"HeartbeatChannel"}'}

    async with wired(kevin, masked(0x81, json.dumps(early).encode())) as (head, wire):
        assert head.startswith("HTTP/1.1 101 ")
        assert json.loads((await wire.frame())[1]) == {"type": "welcome"}
        confirmed = json.loads((await wire.frame())[1])
    assert confirmed == {"identifier": early["identifier"], "type": "confirm_subscription"}


async def test_every_three_seconds_one_ping_goes_to_all(server: Server, kevin: Person) -> None:
    tabs = [await kevin.welcomed() for _ in range(2)]
    program.start_sweepers(server.parts)

    async with asyncio.timeout(PATIENCE):
        first, arrived = [await tab.socket.receive_json() for tab in tabs], time.monotonic()
        second = [await tab.socket.receive_json() for tab in tabs]

    assert first[0] == first[1] == {"type": "ping", "message": first[0]["message"]}
    assert abs(first[0]["message"] - time.time()) < PATIENCE
    assert second[0]["message"] - first[0]["message"] in (2, 3, 4)
    assert 2.5 < time.monotonic() - arrived < 4


# --- Frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (masked(0x81, b" " * 65_537), 1009),
        (masked(0x01, b" " * 40_000) + masked(0x80, b" " * 40_000), 1009),
        (masked(0xC1, b"{}"), 1002),  # a reserved bit
        (masked(0x83, b"{}"), 1002),  # a reserved opcode
        (masked(0x89, b"x" * 126), 1002),  # a ping of more than 125 bytes
        (masked(0x09, b""), 1002),  # a ping in pieces
        (masked(0x80, b"{}"), 1002),  # goes on with nothing
        (masked(0x01, b"\xce\xba\xe1") + masked(0x80, b"\xbd\xff"), 1007),  # no UTF-8
        (masked(0x88, b"\x03"), 1002),  # half a close code
        (masked(0x88, (1005).to_bytes(2, "big")), 1002),
        (masked(0x88, (1000).to_bytes(2, "big")), 1000),
    ],
)
async def test_a_frame_against_the_protocol_closes_with_its_code(
    kevin: Person, frame: bytes, code: int
) -> None:
    async with wired(kevin, frame) as (_, wire):
        assert await wire.close_code() == code


HEARTBEAT = '{"channel":"HeartbeatChannel"}'
FAULTS: list[str | bytes | Mapping[str, object]] = [
    "", "hello", "[]", "7", '"subscribe"', "null", "{", "[" * 30_000, '{"a":' * 5_000,
    b"\x00\x01", json.dumps({"command": "subscribe", "identifier": HEARTBEAT}).encode(),
    {}, {"command": "sleep"}, {"command": None, "identifier": HEARTBEAT},
    {"command": ["subscribe"], "identifier": HEARTBEAT}, {"identifier": HEARTBEAT},
    {"command": "subscribe"}, {"command": "unsubscribe"},
    *({"command": "subscribe", "identifier": identifier} for identifier in (
        "HeartbeatChannel", {"channel": "HeartbeatChannel"}, "{}", "[1]", '{"channel":' * 4,
        '{"channel":"SecretsChannel"}', '{"channel":["HeartbeatChannel"]}', HEARTBEAT + " " * 4_096,
    )),
    {"command": "message", "identifier": HEARTBEAT, "data": '{"action":"present"}'},
    {"command": "message", "identifier": "PRESENCE"},
    *({"command": "message", "identifier": "PRESENCE", "data": data} for data in (
        "present", {"action": "present"}, "{}", '{"action":"dance"}', '{"action":["present"]}',
        '{"action":"_present"}',
    )),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=range(len(FAULTS)))
async def test_what_cannot_be_understood_is_one_log_line_and_nothing_else(
    kevin: Person, designers: Room, log_lines: LogLines, fault: str | bytes | Mapping[str, object]
) -> None:
    tab = await kevin.welcomed()
    presence = await tab.subscribe(channel="PresenceChannel", room_id=designers.id)
    before = len(log_lines())

    if isinstance(fault, bytes):
        await tab.socket.send_bytes(fault)
    else:
        text = fault if isinstance(fault, str) else json.dumps(fault)
        await tab.socket.send_str(text.replace('"PRESENCE"', json.dumps(presence)))

    assert await tab.drain() == []
    assert len(log_lines()) == before + 1


async def test_an_action_that_fails_is_logged_and_the_socket_lives(
    server: Server, kevin: Person, designers: Room, log_lines: LogLines
) -> None:
    tab = await kevin.welcomed()
    presence = await tab.subscribe(channel="PresenceChannel", room_id=designers.id)
    await tab.drain()

    for old, new in (("memberships", "elsewhere"), ("elsewhere", "memberships")):
        rename = f"ALTER TABLE {old} RENAME TO {new}"
        await server.parts.db.write(lambda tx, _: tx.execute(rename).rowcount)  # noqa: B023 - awaited
        before = len(log_lines())
        await tab.perform(presence, "present")
        assert len(await tab.drain()) == 0
        assert any('"error"' in line for line in log_lines()[before:]) == (new == "elsewhere")


async def test_an_identifier_is_a_key_byte_for_byte(kevin: Person, designers: Room) -> None:
    tab = await kevin.welcomed()
    room_id = designers.id
    spellings = [
        f'{{"channel":"TypingNotificationsChannel","room_id":{room_id}}}',
        f'{{"room_id":"{room_id}" , "channel":"TypingNotificationsChannel"}}',
        f'{{"channel":"Typing\\u004eotificationsChannel","room_id":{room_id},"é":"\\ud83d"}}',
    ]

    for spelling in [*spellings, *spellings]:  # the second time there is no answer
        await tab.transmit("subscribe", spelling)
    for spelling in spellings:
        expected = {"identifier": spelling, "type": "confirm_subscription"}
        assert await tab.next_frame() == expected
    await tab.perform(spellings[1], "start")
    heard = [await tab.next_frame() for _ in spellings]
    assert {frame["identifier"] for frame in heard} == set(spellings)
    assert len({json.dumps(frame["message"]) for frame in heard}) == 1
    for _ in range(2):  # the second time it is unknown
        await tab.transmit("unsubscribe", spellings[0])
    await tab.perform(spellings[1], "stop")
    assert len(await tab.drain()) == 2


async def test_sizes_at_their_limits_are_taken(kevin: Person) -> None:
    tab = await kevin.welcomed()
    longest = HEARTBEAT + " " * (4_096 - len(HEARTBEAT))
    frame = json.dumps({"command": "subscribe", "identifier": longest})
    await tab.socket.send_str(frame + " " * (65_536 - len(frame)))
    assert await tab.next_frame() == {"identifier": longest, "type": "confirm_subscription"}

    answers = [(await tab.ask(channel="HeartbeatChannel", n=n))["type"] for n in range(65)]

    assert answers == ["confirm_subscription"] * 63 + ["reject_subscription"] * 2
    await tab.transmit("unsubscribe", longest)
    await tab.subscribe(channel="HeartbeatChannel", n=64)


async def test_a_frame_without_a_mask_does_no_harm(kevin: Person) -> None:
    wanted = masked(0x81, json.dumps({"command": "subscribe", "identifier": HEARTBEAT}).encode())

    async with wired(kevin, b"\x81\x05hello" + wanted) as (_, wire):
        assert json.loads((await wire.frame())[1]) == {"type": "welcome"}
        assert json.loads((await wire.frame())[1])["type"] == "confirm_subscription"


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


@settings(max_examples=60)
@given(st.lists(commands, max_size=30))
def test_a_good_subscribe_gets_one_answer_and_nothing_else_gets_any(
    place: Place, cast: Cast, given_commands: list[dict[str, Any]]
) -> None:
    async def send_all() -> None:
        tab = await (await place.server.sign_in(cast.kevin)).welcomed()
        known: set[str] = set()
        for command in given_commands:
            await tab.socket.send_json(command)
            if identifier := wants_an_answer(command, known):
                answer = await tab.next_frame()
                while "message" in answer:  # what a presence or typing tells
                    answer = await tab.next_frame()
                assert answer["identifier"] == identifier
                assert answer["type"] in ("confirm_subscription", "reject_subscription")
                if answer["type"] == "confirm_subscription":
                    known.add(identifier)
            if command.get("command") == "unsubscribe":
                known -= {str(command.get("identifier"))}
        assert [each for each in await tab.drain() if "type" in each] == []

    place.do(send_all())


# --- Closing -------------------------------------------------------------------------------------


def goodbye(reason: str, *, reconnect: bool) -> tuple[dict[str, Any], int]:
    return {"type": "disconnect", "reason": reason, "reconnect": reconnect}, 1000


async def test_losing_a_membership_closes_all_ones_sockets_and_nothing_of_the_room_follows(
    server: Server, jason: Person, kevin: Person, designers: Room, cast: Cast
) -> None:
    room_tab, other_tab = await kevin.room_tab(designers), await kevin.welcomed()
    path, wanted = f"/api/rooms/closeds/{designers.id}", [cast.david.id, cast.jz.id]
    name = server.parts.signer.stream(f"room_{designers.id}:messages")

    save = jason.put(path, {"name": "Designers", "user_ids": wanted})
    said = [jason.say(designers, f"word {n}") for n in range(10)]
    answer, *messages = await asyncio.gather(save, *said)

    later = [m["id"] for m in messages if m["timestamp"] > answer.json["room"]["updated_at_ms"]]
    while "message" in (frame := await room_tab.next_frame()):
        assert not any(f'data-message-id="{each}"' in frame["message"] for each in later)
    assert frame == goodbye("remote", reconnect=True)[0]
    assert await other_tab.goodbye() == goodbye("remote", reconnect=True)
    again = await kevin.welcomed()
    refused = await again.ask(channel="RoomMessagesChannel", signed_stream_name=name)
    assert refused["type"] == "reject_subscription"
    await jason.say(designers, "among ourselves")
    assert await again.drain() == []


@pytest.mark.parametrize("reconnect", [True, False])
async def test_whoever_is_disconnected_hears_nothing_afterwards(
    server: Server, kevin: Person, *, reconnect: bool
) -> None:
    tab = await kevin.welcomed()
    await tab.subscribe(channel="UnreadRoomsChannel")

    server.parts.cable.disconnect_user(kevin.id, reconnect=reconnect)
    reached = server.parts.cable.broadcast(f"user_{kevin.id}_unreads", {"roomId": 1})

    assert reached == 0
    assert await tab.goodbye() == goodbye("remote", reconnect=reconnect)
    assert server.parts.cable.connections == {}


def test_a_socket_only_moves_forward_and_nothing_is_sent_once_it_is_closed() -> None:
    state = program.ConnectionState
    steps = [(a, b) for a in state for b in state]

    def moved(here: program.ConnectionState, there: program.ConnectionState) -> bool:
        connection = program.Connection(WebSocketResponse(), asyncio.Transport(), [])
        connection.state = here
        try:
            connection.move_to(there)
        except ValueError:
            return False
        return True

    assert [step for step in steps if moved(*step)] == [
        (here, there) for here, there in steps if here <= there and here is not state.CLOSED
    ]


# --- Slow readers --------------------------------------------------------------------------------


async def subscribed_wire(wire: Wire, identifier: str) -> None:
    command = {"command": "subscribe", "identifier": identifier}
    wire.writer.write(masked(0x81, json.dumps(command).encode()))
    assert json.loads((await wire.frame())[1]) == {"type": "welcome"}
    assert json.loads((await wire.frame())[1])["type"] == "confirm_subscription"
    wire.transport.pause_reading()


@pytest.mark.parametrize(("size", "most"), [(60_000, 160), (600, 9_000)])
async def test_a_reader_who_lets_too_much_pile_up_is_cut_off_and_delays_nobody(
    server: Server, kevin: Person, jz: Person, size: int, most: int
) -> None:
    cable, payload = server.parts.cable, {"word": "w" * size}
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
        assert {each.user_id for each in cable.connections.values()} == {jz.id}
        wire.transport.resume_reading()
        assert await wire.close_code() == 1013


async def test_a_reader_who_takes_more_than_seven_seconds_for_one_write_is_cut_off(
    server: Server, kevin: Person
) -> None:
    cable = server.parts.cable
    async with wired(kevin) as (_, wire):
        await subscribed_wire(wire, HEARTBEAT)
        [connection] = cable.connections.values()
        while connection.transport.get_write_buffer_size() == 0:
            cable.broadcast("heartbeat", {"word": "w" * 60_000})
            await asyncio.sleep(0)

        now = time.monotonic()
        assert not connection.is_stalled(now + 6.9)
        assert connection.is_stalled(now + program.STALLED_SECONDS + 0.1)
        wire.transport.resume_reading()
        while connection.is_stalled(time.monotonic() + 60):
            await wire.frame()

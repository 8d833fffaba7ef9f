"""Action Cable on the wire: opening, frames, closing, and what cannot be understood."""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import campfire as program
from campfire import Room
from tests.conftest import Place
from tests.support.asking import run, set_status
from tests.support.cable import HEARTBEAT, commands, goodbye, masked, wants_an_answer, wired
from tests.support.cast import PATIENCE, Cast, LogLines, Person, Server, Start
from tests.support.tables import cases

# --- Opening -------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", cases("handshakes that are not found"))
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
    assert kevin.server.parts.sockets.connections == set()


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
        while len(server.parts.sockets.connections) > 1:
            await kevin.get("/up")
    await kevin.welcomed()


@pytest.mark.parametrize(("offered", "chosen"), cases("protocols offered and chosen"))
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
            await set_status(server, kevin.user, program.Status[who.upper()])

    tab = await visitor.cable()

    goodbye = {"type": "disconnect", "reason": "unauthorized", "reconnect": False}
    assert await tab.goodbye() == (goodbye, 1000)
    assert server.parts.sockets.connections == set()


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
    assert 1 < time.monotonic() - arrived < PATIENCE  # however late the first one was read


async def test_who_answers_no_ping_of_websockets_own_is_dropped_and_who_does_stays(
    server: Server, kevin: Person
) -> None:
    cable = server.parts.sockets
    async with wired(kevin) as (_, dead), wired(kevin) as (_, alive):
        for _ in range(3):
            for _ in range(8):
                cable.beat()
            while (await alive.frame())[0] != 0x89:
                pass
            await alive.say(masked(0x8A, b""))
            async with asyncio.timeout(PATIENCE):
                while all(each.quiet for each in cable.connections):
                    await kevin.get("/up")
        async with asyncio.timeout(PATIENCE):
            while (await dead.reader.read(65_536)) != b"":
                pass
        [kept] = cable.connections
        cable.beat()
        assert json.loads((await alive.frame())[1])["type"] == "ping"
        assert not kept.is_closed


async def test_a_socket_is_one_line_of_the_log_when_it_ends(
    kevin: Person, log_lines: LogLines
) -> None:
    def told() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in log_lines()]
        return [line for line in lines if str(line.get("path")).startswith("/cable")]

    async with wired(kevin, given={"X-Request-Id": "of-a-socket"}) as (_, wire):
        await wire.frame()
        assert told() == []
    async with asyncio.timeout(PATIENCE):
        while not told():
            await kevin.get("/up")

    [line] = told()
    expected = {"event": "request", "request_id": "of-a-socket", "method": "GET", "path": "/cable"}
    assert line.items() >= {**expected, "status": 101, "ip": "127.0.0.1", "user_id": None}.items()
    assert line["ms"] > 0


# --- Frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frame", "code"), cases("frames and their close codes"))
async def test_a_frame_against_the_protocol_closes_with_its_code(
    kevin: Person, frame: bytes, code: int
) -> None:
    async with wired(kevin, frame) as (_, wire):
        assert await wire.close_code() == code


FAULTS = cases("frames nobody understands")


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
        await run(server, rename)
        before = len(log_lines())
        await tab.perform(presence, "present")
        assert len(await tab.drain()) == 0
        wrong = [json.loads(line) for line in log_lines()[before:] if '"error"' in line]
        assert bool(wrong) == (new == "elsewhere")
        failed = [line["request_id"] for line in wrong if line["event"] == "job_failed"]
        assert all(re.fullmatch("[0-9a-f-]{36}", each) for each in failed)


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


async def test_a_frame_without_a_mask_closes_with_1002(kevin: Person) -> None:
    wanted = json.dumps({"command": "subscribe", "identifier": HEARTBEAT}).encode()
    sizes = (125, 126, 65_535, 65_536)

    async with wired(kevin) as (_, wire):
        assert json.loads((await wire.frame())[1]) == {"type": "welcome"}
        for byte in masked(0x81, wanted):
            await wire.say(bytes([byte]))
        assert json.loads((await wire.frame())[1])["type"] == "confirm_subscription"
        for size in sizes:
            frames = masked(0x81, b" " * size) + masked(0x89, b"%d" % size)
            for cut in (frames[:3], frames[3:-3], frames[-3:]):
                await wire.say(cut)
            assert await wire.frame() == (0x8A, b"%d" % size)
        await wire.say(b"\x81\x05hello")
        assert await wire.close_code() == 1002
        assert await wire.reader.read() == b""


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
        await tab.socket.close()

    place.do(send_all())


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
    assert server.parts.sockets.connections == set()


async def test_whoever_never_answers_hears_why_the_server_stops_and_is_let_go(
    kevin: Person,
) -> None:
    async with wired(kevin) as (_, wire):
        await wire.frame()
        await kevin.server.stop()
        assert json.loads((await wire.frame())[1])["reason"] == "server_restart"
        assert await wire.close_code() == 1000
        assert await wire.reader.read() == b""

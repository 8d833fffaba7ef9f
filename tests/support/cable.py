"""Action Cable: frames as the specification spells them, who hears of what, readers, and a wire."""

import asyncio
import json
import re
import socket as sockets
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from itertools import chain
from typing import Any, cast

import pytest
from hypothesis import strategies as st

import campfire as program
from campfire import Room, RoomId
from tests.support.asking import page_of
from tests.support.cast import PATIENCE, Cast, Person, Server, Tab

CHANNELS = [
    "HeartbeatChannel", "RoomChannel", "PresenceChannel", "TypingNotificationsChannel",
    "ReadRoomsChannel", "UnreadRoomsChannel", "RoomMessagesChannel", "Turbo::StreamsChannel",
]  # fmt: skip
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
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

FRAME = re.compile(
    r'<turbo-stream (?:maintain_scroll="true" )?action="(\w+)" target="([^"]+)">'
    r"(?:<template>(.*)</template>)?</turbo-stream>",
    re.DOTALL,
)
Seen = tuple[str, str, tuple[tuple[object, object], ...]]

SCROLL = 'maintain_scroll="true" '


def turbo(action: str, target: str, markup: str | None = None, extra: str = "") -> str:
    inside = "" if markup is None else f"<template>{markup}</template>"
    return f'<turbo-stream {extra}action="{action}" target="{target}">{inside}</turbo-stream>'


def messages_of(server: Server, room: Room) -> dict[str, str]:
    """What subscribes to the messages of a room."""
    signed = server.parts.signer.stream(f"room_{room.id}:messages")
    return {"channel": "RoomMessagesChannel", "signed_stream_name": signed}


async def fill(person: Person, room: Room, after: Mapping[str, Any]) -> None:
    """300 long messages after this one, stored without being told: as much as is caught up with."""
    insert = """
        INSERT INTO messages
          (room_id, creator_id, client_message_id, body_html, body_text, created_at, updated_at)
        VALUES (:room, :by, 'long-' || :at, :text, :text, :at, :at)
    """
    long, start = {"room": room.id, "by": person.id, "text": "word " * 400}, after["timestamp"]
    many = [{**long, "at": start * 1000 + n} for n in range(1_000, 1_300)]
    await person.server.parts.db.write(lambda tx, _: tx.executemany(insert, many).rowcount)


async def stored_message(server: Server, shape: Mapping[str, Any]) -> program.PersistedMessage:
    """The message of this JSON as it is now."""
    message_id = program.MessageId(shape["id"])
    (message,) = await server.parts.db.read(program.messages_by_id, [message_id])
    return message


async def element(server: Server, shape: Mapping[str, Any], room_name: str = "Watercooler") -> str:
    message = await stored_message(server, shape)
    return program.message_element(server.parts.shapes, message, room_name)


ONES_OWN = (
    "involvement involvement_label next_involvement unread unread_since_ms mentions"
    " starred can_administer invitation"  # of a room
).split()


def listed(room: Mapping[str, Any]) -> str:
    """A shared room as sidebars list it, in the specification's words, with what the API says."""
    name = escape(room["name"])
    public = {key: value for key, value in room.items() if key not in ONES_OWN}
    said = program.written(public)[0].decode().replace("'", "&#39;")
    return (
        f'<a id="list_room_{room["id"]}" href="/rooms/{room["id"]}"'
        ' class="align-center gap room btn txt-nowrap"'
        f' data-room-id="{room["id"]}" data-room-type="{room["type"]}"'
        f" data-sorted-list-name=\"{name}\" data-json='{said}'>"
        f'<span class="overflow-ellipsis">{name}</span></a>'
    )


# --- Who hears of what ---------------------------------------------------------------------------


@dataclass
class Audience:
    """Everybody, each with one tab that listens to all they may listen to."""

    server: Server
    people: dict[str, Person]
    tabs: dict[str, Tab]

    async def heard(self) -> dict[str, list[Any]]:
        """What reached whom since the last time."""
        return {name: await tab.drain() for name, tab in self.tabs.items()}

    async def heard_by(self, *names: str) -> list[Any]:
        """What exactly these people have heard, all the same and in the same order, but for who
        has seen it."""
        heard = await self.heard()
        for frame in chain.from_iterable(heard.values()):
            if isinstance(frame, dict):
                frame.pop("seen", None)
        assert {name for name, frames in heard.items() if frames} == set(names)
        first = heard[names[0]]
        assert all(heard[name] == first for name in names)
        return first

    def renderings(self) -> int:
        return self.server.parts.shapes.renderings


@pytest.fixture
async def audience(
    server: Server, david: Person, jason: Person, jz: Person, kevin: Person, cast: Cast
) -> Audience:
    """The cast, listening. David and Jason are in the Watercooler."""
    people, tabs = {"david": david, "jason": jason, "jz": jz, "kevin": kevin}, {}
    for name, person in people.items():
        tab = tabs[name] = await person.sidebar_tab()
        for channel in ("UnreadRoomsChannel", "ReadRoomsChannel"):
            await tab.subscribe(channel=channel)
        for room in (cast.watercooler, cast.designers):
            await tab.ask(**messages_of(server, room))
            await tab.ask(channel="TypingNotificationsChannel", room_id=room.id)
    return Audience(server, people, tabs)


def seen(message: Mapping[str, Any]) -> Seen:
    """What a reader sees of a message: who it is, its body, its boosts."""
    boosts = tuple((boost["id"], boost["content"]) for boost in message["boosts"])
    return message["client_message_id"], message["body_html"], boosts


class Reader:
    """A room as one client shows it: the page it loaded, and what frames made of that."""

    def __init__(self, person: Person, room: RoomId) -> None:
        self.person, self.room = person, room
        self.shown: dict[int, dict[str, Any]] = {}
        self.since = 0

    async def load(self) -> None:
        answer = (await self.person.get(f"/api/rooms/{self.room}")).json
        self.shown = {each["id"]: each for each in answer["messages"]["messages"]}
        self.since = answer["loaded_at_ms"]

    async def listen(self, between: Coroutine[Any, Any, None]) -> None:
        """Subscribes and, after what happens between, catches up, as after every `connected`."""
        self.appended: list[int] = []
        self.tab = await self.person.welcomed()
        signed = self.person.server.parts.signer.stream(f"room_{self.room}:messages")
        params = {"channel": "RoomMessagesChannel", "signed_stream_name": signed}
        identifier = await self.tab.subscribe(**params)
        last_seen = max(self.shown, default=None)
        await between
        await self.tab.perform(
            identifier, "catch_up", last_seen_message_id=last_seen, since=self.since
        )
        while not isinstance(message := await self.tab.next_message(), dict):
            self.apply(message)
        assert message["reset"] is False
        assert message["last_seen_message_id"] >= max(self.shown, default=0)
        self.since = message["server_time_ms"]

    async def lose_connection(self, lost: int) -> None:
        """The last frames never arrive."""
        frames = await self.tab.drain()
        for frame in frames[: len(frames) - lost if lost < len(frames) else 0]:
            self.apply(frame)
        await self.tab.socket.close()

    async def catch_breath(self) -> None:
        for frame in await self.tab.drain():
            self.apply(frame)
        assert len(set(self.appended)) == len(self.appended)  # none twice on one connection

    def named(self, client_message_id: str) -> dict[str, Any] | None:
        found = [m for m in self.shown.values() if m["client_message_id"] == client_message_id]
        return found[0] if found else None

    def apply(self, frame: str) -> None:
        found = FRAME.fullmatch(frame)
        assert found is not None, frame
        action, target, markup = found[1], found[2], found[3] or ""
        kind, _, name = target.rpartition("_")
        if (action, kind) == ("append", "messages_room"):
            for each in re.split(r'(?=<div id="message_)', markup)[1:]:
                self.appended.append(self.keep(read_back(each)))
        elif (action, kind) == ("remove", "boost"):
            for message in self.shown.values():
                message["boosts"] = [b for b in message["boosts"] if b["id"] != int(name)]
        elif message := self.named(name) or {}:
            self.change(message, f"{action} {kind}", markup)

    def change(self, message: dict[str, Any], how: str, markup: str) -> None:
        match how:
            case "append boosts_message":
                [boost] = boosts_in(Markup(markup))
                others = [each for each in message["boosts"] if each["id"] != boost["id"]]
                message["boosts"] = [*others, boost]
            case "replace message":
                self.keep(read_back(markup))
            case "replace presentation_message":
                body = re.search(r'<div class="trix-content">(.*)</div></div>', markup)
                message["body_html"] = body and body[1]
            case "remove message":
                del self.shown[message["id"]]
            case _:
                raise AssertionError(how)

    def keep(self, message: dict[str, Any]) -> int:
        self.shown[message["id"]] = message
        self.since = max(self.since, message["updated_at_ms"])
        return int(message["id"])


async def happen(jz: Person, room: RoomId, deed: tuple[str, int]) -> None:
    """One deed of somebody else in the room; on the message at this place, if it needs one."""
    what, which = deed
    page = await page_of(jz.server.parts, jz.user, room)
    ids, path = [each.id for each in page.messages], f"/api/rooms/{room}/messages"
    chosen = ids[which % len(ids)] if ids else 0
    match what:
        case "edit" if ids:
            await jz.put(f"{path}/{chosen}", {"body": f"edited {which}"})
        case "delete" if ids:
            await jz.delete(f"{path}/{chosen}")
        case "boost" if ids:
            await jz.post(f"/api/messages/{chosen}/boosts", {"content": f"b{which}"})
        case "unboost" if ids:
            boosts = (await jz.get(f"/api/messages/{chosen}/boosts")).json.get("boosts", [])
            for boost in boosts[:1]:
                await jz.delete(f"/api/messages/{chosen}/boosts/{boost['id']}")
        case _:
            await jz.post(path, {"body": f"said {which}"})


async def caught_up(person: Person, room: Room, last_seen: object, since: object) -> list[Any]:
    """The frames of a catch-up on a fresh socket."""
    tab = await person.room_tab(room)
    identifier = json.dumps(messages_of(person.server, room))
    await tab.perform(identifier, "catch_up", last_seen_message_id=last_seen, since=since)
    return await tab.drain()


class Markup(HTMLParser):
    """The elements of a piece of markup: attributes, and the text right after the tag."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str], list[str]]] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.found.append(({name: value or "" for name, value in attrs}, []))

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1][1].append(data)

    def all(self, name: str) -> list[tuple[dict[str, str], str]]:
        return [(attrs, "".join(text)) for attrs, text in self.found if name in attrs]


def boosts_in(parsed: Markup) -> list[dict[str, Any]]:
    """The boosts in a message's markup, with the fields of their JSON."""
    contents = [text for _, text in parsed.all("data-boost-content")]
    return [
        {
            "id": int(boost["data-boost-id"]),
            "message_id": int(boost["data-message-id"]),
            "content": content,
            "emoji_only": json.loads(boost["data-emoji-only"]),
            "booster": json.loads(boost["data-booster"]),
            "created_at": boost["data-created-at"],
        }
        for (boost, _), content in zip(parsed.all("data-boost-id"), contents, strict=True)
    ]


def read_back(markup: str) -> dict[str, Any]:
    """The message in its markup, with the fields of its JSON."""
    parsed = Markup(markup)
    message, _ = parsed.all("data-client-message-id")[0]
    shown, _ = parsed.all("data-content-type")[0]
    moved = int(message["data-message-updated-at"])
    inner = re.search(r'data-plain-text="[^"]*">(.*)</div><div class="boosts" ', markup, re.DOTALL)
    assert inner is not None
    file = json.loads(shown.get("data-attachment", "null"))
    told = json.loads(message["data-json"])
    rich_text = re.fullmatch(r'<div class="trix-content">(.*)</div>', inner[1], re.DOTALL)
    return {
        "id": int(message["data-message-id"]),
        "client_message_id": message["data-client-message-id"],
        "room_id": int(message["data-room-id"]),
        "creator": json.loads(message["data-creator"]),
        "created_at": parsed.all("datetime")[0][0]["datetime"],
        "updated_at": program.iso(program.Timestamp(moved * 1000)),
        "timestamp": int(message["data-message-timestamp"]),
        "updated_at_ms": moved,
        "sort_value": int(message["data-sort-value"]),
        "content_type": shown["data-content-type"],
        "body_html": "" if file else (rich_text or inner)[1],
        "plain_text": shown["data-plain-text"],
        "emoji_only": json.loads(shown["data-emoji-only"]),
        "sound": json.loads(shown["data-sound"]),
        "attachment": file,
        "mentionee_ids": [int(each) for each in shown["data-mentionee-ids"].split(",") if each],
        "links": json.loads(shown["data-links"]),
        "boosts": boosts_in(parsed),
        "path": message["data-path"],
        **{name: told[name] for name in "edited_at_ms edited_by to_everyone previews".split()},
    }


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
    connection = sockets.create_connection(("127.0.0.1", int(server.host.rpartition(":")[2])))
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


def goodbye(reason: str, *, reconnect: bool) -> tuple[dict[str, Any], int]:
    return {"type": "disconnect", "reason": reason, "reconnect": reconnect}, 1000


async def subscribed_wire(wire: Wire, identifier: str) -> None:
    command = {"command": "subscribe", "identifier": identifier}
    wire.writer.write(masked(0x81, json.dumps(command).encode()))
    assert json.loads((await wire.frame())[1]) == {"type": "welcome"}
    assert json.loads((await wire.frame())[1])["type"] == "confirm_subscription"
    wire.transport.pause_reading()

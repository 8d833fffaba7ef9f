"""Who hears of what: frames as the specification spells them, and everybody listening."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pytest

import campfire as program
from campfire import Room
from tests.support.cast import Cast, Person, Server, Tab

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
    return await server.parts.db.read(program.message_by_id, shape["room_id"], message_id)


async def element(server: Server, shape: Mapping[str, Any], room_name: str = "Watercooler") -> str:
    message = await stored_message(server, shape)
    return program.message_element(server.parts.shapes, message, room_name)


ONES_OWN = (
    "involvement involvement_label next_involvement unread can_administer invitation"  # of a room
).split()


def listed(room: Mapping[str, Any]) -> str:
    """A shared room as sidebars list it, in the specification's words, with what the API says."""
    name = escape(room["name"])
    public = {key: value for key, value in room.items() if key not in ONES_OWN}
    said = bytes(program.written(public)).decode().replace("'", "&#39;")
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
        """What exactly these people have heard, all the same and in the same order."""
        heard = await self.heard()
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

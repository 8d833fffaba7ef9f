"""The channels: who may listen, and who hears of what, frame by frame."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from campfire import Room, boost_element, presentation_element
from tests.support.cable import (
    SCROLL,
    Audience,
    element,
    listed,
    messages_of,
    stored_message,
    turbo,
)
from tests.support.cast import Cast, Person, Server


async def test_messages_are_for_members_with_a_signed_name(
    server: Server, kevin: Person, designers: Room, watercooler: Room, david_and_jason: Room
) -> None:
    tab, good = await kevin.welcomed(), messages_of(server, designers)
    name = good["signed_stream_name"]
    encoded, mac = name.split("--")
    purposes = server.parts.signer.sgid(kevin.id), server.parts.signer.avatar_token(kevin.id)
    bad: list[object] = [
        None, 7, "", "--", f"room_{designers.id}:messages", encoded, f"--{mac}", name[:-1],
        f"{encoded}--{mac[::-1]}", f"{encoded}--{mac}0", f"é{name}", *purposes,
        *(server.parts.signer.stream(other) for other in (
            f"room_{watercooler.id}:messages", f"room_{david_and_jason.id}:messages",
            "room_404:messages", f"room_{designers.id}:message", "rooms", "", "room_:messages",
            f"x room_{designers.id}:messages", f"room_{designers.id}:messages\n",
        )),
    ]  # fmt: skip

    assert (await tab.ask(**good))["type"] == "confirm_subscription"
    assert (await tab.ask(channel="RoomMessagesChannel"))["type"] == "reject_subscription"
    for signed in bad:
        frame = await tab.ask(channel="RoomMessagesChannel", signed_stream_name=signed)
        assert frame["type"] == "reject_subscription", signed


async def test_sidebars_are_everybodys_or_ones_own_and_never_messages(
    server: Server, kevin: Person, designers: Room, cast: Cast
) -> None:
    tab, sign = await kevin.welcomed(), server.parts.signer.stream
    wanted = {
        "rooms": True, f"user_{kevin.id}:rooms": True, f"user_{cast.david.id}:rooms": False,
        f"user_{kevin.id}_reads": False, f"user_{cast.david.id}_unreads": False,
        f"user_{kevin.id}_unreads": False, "unread_rooms": False,
        f"room_{designers.id}:messages": False, f"typing_notifications:{designers.id}": False,
    }  # fmt: skip

    for name, is_allowed in wanted.items():
        frame = await tab.ask(channel="Turbo::StreamsChannel", signed_stream_name=sign(name))
        assert (frame["type"] == "confirm_subscription") == is_allowed, name
    for unsigned in ("rooms", None):
        frame = await tab.ask(channel="Turbo::StreamsChannel", signed_stream_name=unsigned)
        assert frame["type"] == "reject_subscription"


async def test_b1_b2_a_message_is_appended_for_its_room_and_then_unread_for_each_member(
    audience: Audience, watercooler: Room, cast: Cast
) -> None:
    david, jason = audience.people["david"], audience.people["jason"]
    path = f"/api/rooms/{watercooler.id}"
    await jason.put(f"{path}/involvement", {"involvement": "invisible"})
    await audience.heard()
    before = audience.renderings()
    bender = await (await audience.server.sign_in(cast.bender)).welcomed()
    await bender.subscribe(channel="UnreadRoomsChannel")

    first = await david.post(f"{path}/messages", {"body": "hi", "client_message_id": "k3x9"})
    again = await jason.post(f"{path}/messages", {"body": "HI", "client_message_id": "k3x9"})

    shape = first.json["message"]
    assert (first.status, again.status) == (201, 200)
    assert (again.json["message"]["id"], again.json["message"]["plain_text"]) == (shape["id"], "hi")
    assert audience.renderings() == before + 1
    markup = await element(audience.server, shape)
    frame = turbo("append", f"messages_room_{watercooler.id}", markup)
    heard = await audience.heard()
    assert {name: told for name, told in heard.items() if told} == {
        "david": [frame, {"roomId": watercooler.id, "seen": True}],
        "jason": [frame, {"roomId": watercooler.id}],
    }
    assert await bender.drain() == [{"roomId": watercooler.id}]


async def test_b3_to_b6_edits_boosts_and_removals_reach_the_room(
    audience: Audience, watercooler: Room
) -> None:
    david, shapes = audience.people["david"], audience.server.parts.shapes
    shape = await david.say(watercooler, "hi", "a1")
    await audience.heard()
    path = f"/api/rooms/{watercooler.id}/messages/{shape['id']}"
    before = audience.renderings()

    await david.put(path, {"body": "edited"})
    edited = await stored_message(audience.server, shape)
    boost = (await david.post(f"/api/messages/{shape['id']}/boosts", {"content": "👍"})).json
    boosted = (await stored_message(audience.server, shape)).boosts[0]
    await david.delete(f"/api/messages/{shape['id']}/boosts/{boost['boost']['id']}")
    await david.delete(path)

    assert audience.renderings() == before + 2
    presentation = presentation_element(shapes, edited)
    assert await audience.heard_by("david", "jason") == [
        turbo("replace", "presentation_message_a1", presentation, SCROLL),
        turbo("append", "boosts_message_a1", boost_element(shapes, boosted), SCROLL),
        turbo("remove", f"boost_{boosted.id}"),
        turbo("remove", "message_a1"),
    ]


async def test_b7_b8_b12_open_rooms_appear_change_and_go_for_everybody(audience: Audience) -> None:
    david, everybody = audience.people["david"], tuple(audience.people)
    before = audience.renderings()

    room = (await david.post("/api/rooms/opens", {"name": "Q & <A>"})).json["room"]
    path = f"/api/rooms/opens/{room['id']}"
    assert await audience.heard_by(*everybody) == [turbo("prepend", "shared_rooms", listed(room))]

    room = (await david.put(path, {"name": "Answers"})).json["room"]
    target = f"list_room_{room['id']}"
    assert await audience.heard_by(*everybody) == [turbo("replace", target, listed(room))]
    assert audience.renderings() == before + 2

    await david.delete(f"/api/rooms/{room['id']}")
    assert await audience.heard_by(*everybody) == [turbo("remove", target)]


async def test_b9_b10_a_closed_room_is_told_to_its_members_kept_granted_and_revoked(
    audience: Audience, cast: Cast
) -> None:
    david, before = audience.people["david"], audience.renderings()
    created = await david.post(
        "/api/rooms/closeds", {"name": "Secret", "user_ids": [cast.jz.id, cast.kevin.id]}
    )
    room = created.json["room"]
    new = turbo("prepend", "shared_rooms", listed(room))
    assert await audience.heard_by("david", "jz", "kevin") == [new]

    path = f"/api/rooms/closeds/{room['id']}"
    wanted = {"name": "Secrets", "user_ids": [cast.jason.id, cast.kevin.id]}
    room = (await david.put(path, wanted)).json["room"]

    assert audience.renderings() == before + 2
    target = f"list_room_{room['id']}"
    jz = audience.tabs.pop("jz")
    assert await jz.next_message() == turbo("remove", target)
    assert (await jz.goodbye())[0]["reconnect"] is True
    heard = await audience.heard()
    assert heard["david"] == heard["kevin"] == [turbo("replace", target, listed(room))]
    assert heard["jason"] == [turbo("prepend", "shared_rooms", listed(room))]


@pytest.mark.parametrize("turn", ["created", "found"])
async def test_b11_a_ping_comes_to_each_of_its_people_in_their_own_words(
    audience: Audience, cast: Cast, turn: str
) -> None:
    jz, people = audience.people["jz"], [cast.jz.id, cast.kevin.id]
    if turn == "found":
        await audience.people["kevin"].post("/api/rooms/directs", {"user_ids": [cast.jz.id]})
        await audience.heard()

    answer = await jz.post("/api/rooms/directs", {"user_ids": people})

    assert answer.status == (201 if turn == "created" else 200)
    heard = await audience.heard()
    assert heard["david"] == heard["jason"] == []
    told = {"jz": "Kevin", "kevin": "JZ"} if turn == "created" else {"jz": "Kevin"}
    assert [name for name, frames in heard.items() if frames] == list(told)
    for name, other in told.items():
        [frame] = heard[name]
        assert frame.startswith(
            '<turbo-stream action="prepend" target="direct_rooms"><template>'
            f'<a id="list_room_{answer.json["room"]["id"]}" '
        )
        assert f">{other}</span></a></template>" in frame


async def test_b12_a_deleted_room_is_silent_for_ever(
    audience: Audience, watercooler: Room, david_and_jason: Room
) -> None:
    david, cable = audience.people["david"], audience.server.parts.sockets
    for room in (watercooler, david_and_jason):
        await david.delete(f"/api/rooms/{room.id}")
        assert await audience.heard_by(*audience.people) == [
            turbo("remove", f"list_room_{room.id}")
        ]
    tab, before = audience.tabs["david"], cable.broadcasts_by.total()

    answer = await david.post(f"/api/rooms/{watercooler.id}/messages", {"body": "hello?"})
    identifier = json.dumps(messages_of(audience.server, watercooler))
    await tab.perform(identifier, "catch_up", last_seen_message_id=0, since=0)
    assert (answer.status, await tab.drain()) == (404, [])
    assert cable.broadcasts_by.total() == before


async def test_b13_b14_hiding_and_showing_a_room_is_told_to_oneself_only(
    audience: Audience, watercooler: Room, david_and_jason: Room
) -> None:
    david = audience.people["david"]

    async def heard(room: Room, *levels: str) -> list[Any]:
        for level in levels:
            await david.put(f"/api/rooms/{room.id}/involvement", {"involvement": level})
        frames = await audience.heard()
        assert not any(frames[name] for name in frames if name != "david")
        return frames["david"]

    shown = listed((await david.get(f"/api/rooms/{watercooler.id}")).json["room"])
    hidden = [turbo("remove", f"list_room_{watercooler.id}")]
    assert await heard(watercooler, "everything", "nothing", "mentions") == []
    assert await heard(watercooler, "invisible", "invisible") == hidden
    assert await heard(watercooler, "everything") == [turbo("prepend", "shared_rooms", shown)]
    assert await heard(david_and_jason, "nothing", "invisible", "everything") == []


async def test_frames_of_a_stream_come_in_the_order_of_the_commits(
    audience: Audience, watercooler: Room
) -> None:
    david, jason = audience.people["david"], audience.people["jason"]
    await asyncio.gather(david.csrf(), jason.csrf())

    await asyncio.gather(*((david, jason)[n % 2].say(watercooler, f"word {n}") for n in range(40)))

    frames = [frame for frame in await audience.heard_by("david", "jason") if "roomId" not in frame]
    heard = [int(frame.split('data-message-id="')[1].split('"')[0]) for frame in frames]
    assert len(heard) == 40
    assert all(earlier < later for earlier, later in pairwise(heard))

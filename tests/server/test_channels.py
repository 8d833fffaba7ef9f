"""The eight channels: who may listen, who hears of what, who is here, and what was missed."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

import campfire as program
from campfire import Room
from tests.support.cast import Cast, Person, Server, Tab
from tests.support.listeners import (
    SCROLL,
    Audience,
    element,
    fill,
    listed,
    messages_of,
    stored_message,
    turbo,
)
from tests.support.readers import caught_up

# --- Who may listen ------------------------------------------------------------------------------

ROOM_CHANNELS = ["RoomChannel", "PresenceChannel", "TypingNotificationsChannel"]


@pytest.mark.parametrize("channel", ROOM_CHANNELS)
async def test_only_members_may_listen_in_a_room(
    kevin: Person, designers: Room, watercooler: Room, channel: str
) -> None:
    tab = await kevin.welcomed()
    unusable: list[object] = [None, "", "x", -1, 1.5, True, [4], {"id": 4}, "4 ", "4.0", 10**19]

    async def answer(**params: object) -> str:
        frame = await tab.ask(channel=channel, **params)
        await tab.drain()
        return str(frame["type"])

    assert await answer(room_id=designers.id) == "confirm_subscription"
    assert await answer(room_id=str(designers.id)) == "confirm_subscription"
    assert await answer(room_id=watercooler.id) == "reject_subscription"
    assert await answer(room_id=404) == "reject_subscription"
    assert await answer() == "reject_subscription"
    for room_id in unusable:
        assert await answer(room_id=room_id, n=1) == "reject_subscription", room_id


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
        "rooms": True,
        f"user_{kevin.id}:rooms": True,
        f"user_{cast.david.id}:rooms": False,
        f"user_{kevin.id}_reads": False,
        f"user_{cast.david.id}_unreads": False,
        f"room_{designers.id}:messages": False,
        f"typing_notifications:{designers.id}": False,
    }

    for name, is_allowed in wanted.items():
        frame = await tab.ask(channel="Turbo::StreamsChannel", signed_stream_name=sign(name))
        assert (frame["type"] == "confirm_subscription") == is_allowed, name
    for unsigned in ("rooms", None):
        frame = await tab.ask(channel="Turbo::StreamsChannel", signed_stream_name=unsigned)
        assert frame["type"] == "reject_subscription"


async def test_an_unread_stream_is_ones_own(
    david: Person, kevin: Person, jason: Person, david_and_jason: Room, cast: Cast
) -> None:
    tabs = [await person.welcomed() for person in (david, kevin)]
    for tab in tabs:
        await tab.subscribe(channel="UnreadRoomsChannel", user_id=cast.david.id)

    await jason.say(david_and_jason, "between us")

    assert await tabs[0].drain() == [{"roomId": david_and_jason.id}]
    assert await tabs[1].drain() == []


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
    assert await audience.heard_by("david", "jason") == [
        turbo("append", f"messages_room_{watercooler.id}", markup),
        {"roomId": watercooler.id},
    ]
    assert await bender.drain() == [{"roomId": watercooler.id}]


async def test_of_many_sendings_at_once_there_is_one_created_one_frame(
    audience: Audience, watercooler: Room
) -> None:
    body = {"body": "again", "client_message_id": "same"}
    david, path = audience.people["david"], f"/api/rooms/{watercooler.id}/messages"
    await david.csrf()

    answers = await asyncio.gather(*(david.post(path, body) for _ in range(12)))

    assert sorted(answer.status for answer in answers) == [200] * 11 + [201]
    assert len({answer.json["message"]["id"] for answer in answers}) == 1
    assert len(await audience.heard_by("david", "jason")) == 2


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
    presentation = shapes.presentation_element(edited)
    assert await audience.heard_by("david", "jason") == [
        turbo("replace", "presentation_message_a1", presentation, SCROLL),
        turbo("append", "boosts_message_a1", shapes.boost_element(boosted), SCROLL),
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
    david, cable = audience.people["david"], audience.server.parts.cable
    for room in (watercooler, david_and_jason):
        await david.delete(f"/api/rooms/{room.id}")
        assert await audience.heard_by(*audience.people) == [
            turbo("remove", f"list_room_{room.id}")
        ]
    tab, before = audience.tabs["david"], cable.broadcasts

    answer = await david.post(f"/api/rooms/{watercooler.id}/messages", {"body": "hello?"})
    identifier = json.dumps(messages_of(audience.server, watercooler))
    await tab.perform(identifier, "catch_up", last_seen_message_id=0, since=0)
    assert (answer.status, await tab.drain()) == (404, [])
    assert cable.broadcasts == before


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

    shown = listed({"id": watercooler.id, "name": "Watercooler", "type": "closed"})
    hidden = [turbo("remove", f"list_room_{watercooler.id}")]
    assert await heard(watercooler, "everything", "nothing", "mentions") == []
    assert await heard(watercooler, "invisible", "invisible") == hidden
    assert await heard(watercooler, "everything") == [turbo("prepend", "shared_rooms", shown)]
    assert await heard(david_and_jason, "nothing", "invisible", "everything") == []


async def test_b15_being_present_is_told_to_all_ones_own_tabs(
    audience: Audience, kevin: Person, designers: Room
) -> None:
    tab = await kevin.welcomed()

    presence = await tab.subscribe(channel="PresenceChannel", room_id=designers.id)
    assert await audience.heard_by("kevin") == [{"room_id": designers.id}]

    for action in ("refresh", "absent"):
        await tab.perform(presence, action)
    await tab.drain()
    assert not any((await audience.heard()).values())
    await tab.perform(presence, "present")
    await tab.drain()
    assert await audience.heard_by("kevin") == [{"room_id": designers.id}]


async def test_b16_typing_is_told_to_the_room_the_typist_included(
    audience: Audience, cast: Cast, watercooler: Room
) -> None:
    steady, tab = audience.server.steady, audience.tabs["david"]
    typing = json.dumps({"channel": "TypingNotificationsChannel", "room_id": watercooler.id})

    async def heard(*actions: str, after: float = 0) -> list[str]:
        steady.seconds += after
        for action in actions:
            await tab.perform(typing, action)
        frames = await audience.heard_by("david", "jason")
        assert all(f["user"] == {"id": cast.david.id, "name": "David"} for f in frames)
        return [frame["action"] for frame in frames]

    assert await heard("start") == ["start"]
    assert await heard("start", "stop", after=0.4) == ["stop"]
    assert await heard("start", "start", "stop", "stop", after=0.6) == ["start", "stop", "stop"]


async def test_typing_ends_with_a_message_with_leaving_and_silently_after_five_seconds(
    audience: Audience, cast: Cast, watercooler: Room
) -> None:
    david, tab = audience.people["david"], audience.tabs["david"]
    typing = json.dumps({"channel": "TypingNotificationsChannel", "room_id": watercooler.id})
    stop = {"action": "stop", "user": {"id": cast.david.id, "name": "David"}}
    second = await david.welcomed()
    await second.transmit("subscribe", typing)

    async def start(then: float) -> None:
        audience.server.steady.seconds += 1
        await tab.perform(typing, "start")
        await audience.heard()
        audience.server.steady.seconds += then

    await start(then=4.9)
    await david.say(watercooler, "done")
    assert (await audience.heard_by("david", "jason"))[2:] == [stop]
    await david.say(watercooler, "and more")
    assert len(await audience.heard_by("david", "jason")) == 2

    await start(then=5.1)
    await david.say(watercooler, "late")
    assert len(await audience.heard_by("david", "jason")) == 2

    await start(then=1)
    await tab.transmit("unsubscribe", typing)
    assert (await audience.heard())["jason"] == []  # another tab of his still listens
    await second.socket.close()
    assert await audience.tabs["jason"].next_message() == stop


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


# --- Who is here ---------------------------------------------------------------------------------


async def test_presence_counts_tabs_for_sixty_seconds_after_each_heartbeat(
    server: Server, kevin: Person, designers: Room
) -> None:
    presence, steady, room = server.parts.cable.presence, server.steady, designers.id
    tabs = [await kevin.welcomed() for _ in range(2)]
    params = {"channel": "PresenceChannel", "room_id": room}

    async def count_after(tab: Tab, action: str, seconds: float = 0) -> int:
        steady.seconds += seconds
        if action in ("subscribe", "unsubscribe"):
            await tab.transmit(action, json.dumps(params))
        else:
            await tab.perform(json.dumps(params), action)
        await tab.drain()
        assert presence.present_in(room) == (
            {kevin.id} if presence.count(room, kevin.id) else set()
        )
        return presence.count(room, kevin.id)

    assert presence.count(room, kevin.id) == 0
    assert await count_after(tabs[0], "subscribe") == 1
    assert await count_after(tabs[1], "subscribe", 30) == 2
    assert await count_after(tabs[1], "refresh", 30) == 2  # at exactly sixty seconds
    assert await count_after(tabs[1], "refresh", 1) == 1
    assert await count_after(tabs[0], "refresh") == 2  # made anew
    assert await count_after(tabs[0], "absent") == 1
    assert await count_after(tabs[0], "absent") == 1
    assert await count_after(tabs[0], "unsubscribe") == 1
    assert await count_after(tabs[1], "absent", 61) == 0
    assert await count_after(tabs[1], "present") == 1
    await tabs[1].socket.close()
    while presence.entries():
        await kevin.get("/up")


async def test_a_message_is_unread_for_visible_members_elsewhere_until_they_come(
    server: Server, kevin: Person, david: Person, jz: Person, designers: Room, cast: Cast
) -> None:
    unread = """
        SELECT user_id FROM memberships WHERE room_id = :room
        AND unread_at = (SELECT max(created_at) FROM messages WHERE room_id = :room)
    """

    async def marked() -> set[int]:
        found = await server.parts.db.read(lambda tx: program.rows(tx, unread, room=designers.id))
        return {each["user_id"] for each in found}

    tab = await david.welcomed()
    presence = await tab.subscribe(channel="PresenceChannel", room_id=designers.id)
    await jz.put(f"/api/rooms/{designers.id}/involvement", {"involvement": "invisible"})

    await kevin.say(designers, "anybody?")
    assert await marked() == {cast.jason.id}

    await tab.perform(presence, "absent")
    await tab.drain()
    await kevin.say(designers, "David?")
    assert await marked() == {cast.jason.id, cast.david.id}

    await david.get(f"/api/rooms/{designers.id}")  # looking alone reads nothing
    assert await marked() == {cast.jason.id, cast.david.id}
    await tab.perform(presence, "refresh")
    await tab.drain()
    assert await marked() == {cast.jason.id, cast.david.id}
    await tab.perform(presence, "present")
    await tab.drain()
    assert await marked() == {cast.jason.id}


async def test_a_catch_up_brings_the_missed_then_the_changed_then_the_removed_and_says_so(
    server: Server, kevin: Person, david: Person, designers: Room
) -> None:
    bystander = await david.room_tab(designers)
    path = f"/api/rooms/{designers.id}/messages"
    old = [await kevin.say(designers, f"old {n}", f"o{n}") for n in range(4)]
    since = old[-1]["timestamp"]
    missed = [await kevin.say(designers, f"new {n}", f"n{n}") for n in range(85)]
    await kevin.put(f"{path}/{old[1]['id']}", {"body": "edited"})
    await kevin.post(f"/api/messages/{old[0]['id']}/boosts", {"content": "+1"})
    for gone in (old[2], missed.pop(50)):
        await kevin.delete(f"{path}/{gone['id']}")
    await bystander.drain()

    *frames, done = await caught_up(kevin, designers, old[-1]["id"], since)

    elements = [await element(server, each, "Designers") for each in missed]
    target = f"messages_room_{designers.id}"
    changed = [await element(server, old[n], "Designers") for n in (3, 1, 0)]
    assert frames == [
        *(turbo("append", target, "".join(elements[n : n + 40])) for n in (0, 40, 80)),
        *(
            turbo("replace", f"message_o{n}", each)
            for n, each in zip((3, 1, 0), changed, strict=True)
        ),
        turbo("remove", "message_o2"),
    ]
    moment = done.pop("server_time_ms")
    newest = missed[-1]["id"]
    assert done == {"action": "caught_up", "last_seen_message_id": newest, "reset": False}
    assert since <= moment
    assert await bystander.drain() == []
    unusable: list[object] = [-1, "1", 1.5, [], True, 10**18]
    for last_seen in unusable:
        assert await caught_up(kevin, designers, last_seen, 0) == []
    for since in (None, "0", -1, 0.5, False, 10**15):
        assert await caught_up(kevin, designers, 1, since) == []


async def test_too_much_or_too_old_is_a_refresh(kevin: Person, designers: Room) -> None:
    refresh = '<turbo-stream action="refresh"></turbo-stream>'
    first = await kevin.say(designers, "first")
    now, week_ms = first["timestamp"], 7 * 24 * 3600 * 1000

    frames = await caught_up(kevin, designers, None, now - week_ms - 60_000)
    assert frames[0] == refresh
    assert frames[1]["reset"] is True
    assert len(await caught_up(kevin, designers, None, now - week_ms + 60_000)) == 2

    await fill(kevin, designers, first)
    *frames, done = await caught_up(kevin, designers, first["id"], now + 1)
    brought = [frame.count('data-client-message-id="long-') for frame in frames]
    assert (sum(brought), done["reset"]) == (300, False)
    frames = await caught_up(kevin, designers, first["id"] - 1, now + 1)
    assert (frames[0], frames[1]["reset"], len(frames)) == (refresh, True, 2)

    tab, stream = await kevin.room_tab(designers), messages_of(kevin.server, designers)
    seen_now = {"last_seen_message_id": first["id"], "since": now + 1}
    await tab.perform(json.dumps(stream), "catch_up", **seen_now)
    path = f"/api/rooms/{designers.id}/messages/{first['id'] + 1}"
    await kevin.put(path, {"body": "edited meanwhile"})
    frames = await tab.drain()  # the edit comes behind what it changes, or is in it already
    edits = [n for n, frame in enumerate(frames) if "edited meanwhile" in frame]
    assert edits[-1] in (0, len(frames) - 1)
    assert sum(isinstance(frame, dict) for frame in frames) == 1

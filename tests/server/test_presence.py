"""Who is here: counted by tabs, for a minute after each sign of life."""

import json

import pytest

from campfire import Room
from tests.support.cable import Audience
from tests.support.cast import Person, Server, Tab

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


async def test_presence_counts_tabs_for_sixty_seconds_after_each_heartbeat(
    server: Server, kevin: Person, designers: Room
) -> None:
    presence, steady, room = server.parts.sockets.presence, server.steady, designers.id
    tabs = [await kevin.welcomed() for _ in range(2)]
    params = {"channel": "PresenceChannel", "room_id": room}

    async def count_after(tab: Tab, action: str, seconds: float = 0) -> int:
        steady.seconds += seconds
        if action in ("subscribe", "unsubscribe"):
            await tab.transmit(action, json.dumps(params))
        else:
            await tab.perform(json.dumps(params), action)
        await tab.drain()
        here = presence.present_in(room)
        presence.sweep()
        assert here == ({kevin.id} if presence.entries() else set())
        return presence.entries()

    assert presence.entries() == 0
    assert await count_after(tabs[0], "subscribe") == 1
    assert await count_after(tabs[1], "subscribe", 30) == 2
    assert await count_after(tabs[1], "refresh", 30) == 2  # at exactly sixty seconds
    assert await count_after(tabs[1], "refresh", 1) == 1
    assert await count_after(tabs[0], "refresh") == 2  # made anew
    assert await count_after(tabs[0], "absent") == 1
    assert await count_after(tabs[0], "absent") == 1
    assert await count_after(tabs[0], "present") == 2
    assert await count_after(tabs[0], "unsubscribe") == 1
    assert await count_after(tabs[1], "absent", 61) == 0
    assert await count_after(tabs[1], "present") == 1
    await tabs[1].socket.close()
    while presence.entries():
        await kevin.get("/up")

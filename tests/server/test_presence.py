"""Who is here: counted by tabs, for a minute after each sign of life."""

import json

import pytest

import campfire as program
from campfire import Room
from tests.support.asking import CONFIRMED, REJECTED, It
from tests.support.cable import Audience
from tests.support.cast import Cast, Person, Server, SteadyClock, Tab

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


async def test_presence_follows_the_subscription_of_a_member(
    it: It, kevin: Person, cast: Cast
) -> None:
    """As Rails' own tests of channels/presence_channel."""
    tab, presence = await kevin.welcomed(), kevin.server.parts.cable.presence

    async def ask(**params: object) -> str:
        return str((await tab.ask(channel="PresenceChannel", **params))["type"])

    with it("subscribing turns the membership from not connected to connected"):
        assert presence.count(cast.designers.id, kevin.id) == 0
        assert await ask(room_id=cast.designers.id) == CONFIRMED
        assert presence.count(cast.designers.id, kevin.id) == 1
    with it("unsubscribing turns it back"):
        given = {"channel": "PresenceChannel", "room_id": cast.designers.id}
        await tab.transmit("unsubscribe", json.dumps(given))
        await tab.drain()
        assert presence.count(cast.designers.id, kevin.id) == 0
    with it("member → subscribe → confirmed, streams for the room"):
        assert await ask(room_id=cast.pets.id) == CONFIRMED
        assert presence.present_in(cast.pets.id) == {kevin.id}
    with it("non-member → rejected"):
        assert await ask(room_id=cast.watercooler.id) == REJECTED
    with it("unknown room → rejected"):
        assert await ask(room_id=999) == REJECTED
    with it("no usable room id → rejected"):
        assert [await ask(), await ask(room_id=None), await ask(room_id="x")] == [REJECTED] * 3


async def test_presence_lasts_a_minute_and_counts_tabs(
    it: It, jz: Person, david: Person, cast: Cast
) -> None:
    """As Rails' own tests of models/membership."""
    clock, room, user = SteadyClock(), cast.pets.id, cast.jz.id
    presence, one, two = program.PresenceMap(clock), object(), object()

    def connected() -> bool:
        return user in presence.present_in(room)

    presence.enter(room, user, one)
    with it("connected within 60 s, not after"):
        clock.seconds += 60
        assert connected()
        clock.seconds += 0.1
        assert not connected()
    with it("disconnected is the complement"):
        assert (presence.count(room, user), presence.present_in(room)) == (0, frozenset())
    with it("connecting after expiry counts 1"):
        presence.enter(room, user, two)
        assert presence.count(room, user) == 1
    with it("connecting twice counts 2"):
        presence.enter(room, user, one)
        assert presence.count(room, user) == 2
    with it("disconnecting 2→1→0"):
        for tab, left in ((one, 1), (two, 0)):
            presence.leave(room, user, tab)
            assert presence.count(room, user) == left
    with it("disconnecting after expiry → 0"):
        presence.enter(room, user, one)
        clock.seconds += 61
        presence.leave(room, user, one)
        assert presence.count(room, user) == 0
    with it("refresh revives an expired one"):
        presence.enter(room, user, one)
        clock.seconds += 61
        presence.enter(room, user, one)
        assert connected()
    with it("losing a membership closes the user's sockets"):
        tab, without = await jz.welcomed(), {"name": "Designers", "user_ids": [cast.kevin.id]}
        await david.put(f"/api/rooms/closeds/{cast.designers.id}", without)
        assert (await tab.goodbye())[0]["reason"] == "remote"

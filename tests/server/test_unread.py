"""Unread marks: for whom, from when, until when."""

import campfire as program
from campfire import Room
from tests.support.asking import crowd, found
from tests.support.cast import Cast, Person, Server


async def test_an_unread_stream_is_ones_own(
    david: Person, kevin: Person, jason: Person, david_and_jason: Room, cast: Cast
) -> None:
    tabs = [await person.welcomed() for person in (david, kevin)]
    for tab in tabs:
        await tab.subscribe(channel="UnreadRoomsChannel", user_id=cast.david.id)

    await jason.say(david_and_jason, "between us")

    assert await tabs[0].drain() == [{"roomId": david_and_jason.id}]
    assert await tabs[1].drain() == []


async def test_a_message_is_unread_for_visible_members_elsewhere_until_they_come(
    server: Server, kevin: Person, david: Person, jz: Person, designers: Room, cast: Cast
) -> None:
    unread = """
        SELECT user_id FROM memberships WHERE room_id = :room
        AND unread_at = (SELECT max(created_at) FROM messages WHERE room_id = :room)
    """

    async def marked() -> set[int]:
        return {user_id for (user_id,) in await found(server, unread, room=designers.id)}

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


async def test_the_unread_mark_of_a_message_costs_no_more_than_those_who_are_here(
    server: Server, kevin: Person, jz: Person, hq: Room
) -> None:
    others = await crowd(server, 300)
    await server.parts.db.write(program.grant, hq, list(map(program.UserId, others)))
    tab = await jz.welcomed()
    await tab.subscribe(channel="UnreadRoomsChannel")
    cable, named = server.parts.cable, "user_{}_unreads"
    members = await server.parts.db.read(program.member_ids, hq.id)

    await kevin.say(hq, "hello everybody")

    assert await tab.drain() == [{"roomId": hq.id}]
    assert cable.broadcast_to(members, named, {"roomId": hq.id}) == 1
    assert cable.broadcast_to([kevin.id], named, {"roomId": hq.id}) == 0

"""Unread marks: for whom, from when, until when."""

from typing import Any

import campfire as program
from campfire import Room
from tests.support.asking import It, crowd, found, mention
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
        SELECT user_id, body_text FROM memberships
        LEFT JOIN messages ON messages.room_id = :room AND messages.created_at = unread_at
        WHERE memberships.room_id = :room AND unread_at IS NOT NULL
    """

    async def marked() -> dict[int, str]:
        return dict(await found(server, unread, room=designers.id))

    tab = await david.welcomed()
    presence = await tab.subscribe(channel="PresenceChannel", room_id=designers.id)
    await jz.put(f"/api/rooms/{designers.id}/involvement", {"involvement": "invisible"})

    await kevin.say(designers, "anybody?")
    assert await marked() == {cast.jason.id: "anybody?"}

    await tab.perform(presence, "absent")
    await tab.drain()
    await kevin.say(designers, "David?")
    await kevin.say(designers, "Nobody then.")
    both = {cast.jason.id: "anybody?", cast.david.id: "David?"}
    assert await marked() == both

    await david.get(f"/api/rooms/{designers.id}")  # looking alone reads nothing
    assert await marked() == both
    await tab.perform(presence, "refresh")
    await tab.drain()
    assert await marked() == both
    await tab.perform(presence, "present")
    await tab.drain()
    assert await marked() == {cast.jason.id: "anybody?"}


async def test_a_room_says_since_when_it_is_unread_what_was_said_first_and_how_often_i_am_named(
    kevin: Person, jz: Person, jason: Person, designers: Room
) -> None:
    named = mention(jz.server, jz.user)
    await jz.say(designers, f"my own words, to {named}")
    first = await kevin.say(designers, "the first")
    await jz.say(designers, "mine, from another device")
    await kevin.say(designers, f"{named}, look!")
    await kevin.say(designers, f"and {named} again")

    page = (await jz.get(f"/api/rooms/{designers.id}")).json
    entered = (await jz.boot(f"/rooms/{designers.id}"))["data"]
    for told in (page, entered):
        assert told["first_unread"] == {"message_id": first["id"], "count": 3}
        about = [told["room"][name] for name in ("unread", "unread_since_ms", "mentions")]
        assert about == [True, first["timestamp"], 2]
    [listed] = [it for it in entered["sidebar"]["shared"] if it["id"] == designers.id]
    assert (listed["unread_since_ms"], listed["mentions"]) == (first["timestamp"], 2)
    other = (await jason.get(f"/api/rooms/{designers.id}")).json["room"]
    assert (other["unread"], other["mentions"]) == (True, 0)

    await (await jz.welcomed()).subscribe(channel="PresenceChannel", room_id=designers.id)

    page = (await jz.get(f"/api/rooms/{designers.id}")).json
    about = [page["room"][name] for name in ("unread", "unread_since_ms", "mentions")]
    assert (about, page["first_unread"]) == ([False, None, 0], None)


async def test_a_message_is_marked_unread_by_its_reader_alone_and_read_again(
    it: It, kevin: Person, jz: Person, jason: Person, designers: Room, pets: Room
) -> None:
    path = f"/api/rooms/{designers.id}/unread"
    said = [await kevin.say(designers, f"number {n}") for n in range(3)]
    elsewhere = await kevin.say(pets, "in another room")
    here, beside, other = [await person.welcomed() for person in (jz, jz, jason)]
    await here.subscribe(channel="PresenceChannel", room_id=designers.id)
    for tab in (here, beside, other):
        await tab.subscribe(channel="UnreadRoomsChannel")
    await beside.subscribe(channel="ReadRoomsChannel")

    async def first_unread() -> Any:  # noqa: ANN401 - JSON
        return (await jz.get(f"/api/rooms/{designers.id}")).json["first_unread"]

    with it("what follows the message is unread, and one's own tabs are told"):
        assert (await jz.put(path, {"message_id": said[1]["id"]})).status == 204
        assert await first_unread() == {"message_id": said[1]["id"], "count": 2}
        assert await here.drain() == await beside.drain() == [{"roomId": designers.id}]
        assert await other.drain() == []
    with it("what is said later does not move the mark"):
        await kevin.say(designers, "number 3")
        assert await first_unread() == {"message_id": said[1]["id"], "count": 3}
        await beside.drain()
    with it("another message moves it, also back"):
        for each in (said[2], said[0]):
            assert (await jz.put(path, {"message_id": str(each["id"])})).status == 204
            assert (await first_unread())["message_id"] == each["id"]
        await beside.drain()
    with it("a message of another room, and what is no message: 404, and nothing moves"):
        for wrong in (elsewhere["id"], 10**17, -1, 1.5, None, [said[2]["id"]]):
            refused = await jz.put(path, {"message_id": wrong})
            assert (refused.status, refused.code) == (404, "message_not_found")
        assert (await first_unread())["message_id"] == said[0]["id"]
        assert await beside.drain() == []
    with it("it is read again without going there, and one's own tabs are told"):
        assert (await jz.delete(path)).status == 204
        assert await first_unread() is None
        assert await beside.drain() == [{"room_id": designers.id}]
    with it("an invisible room is never unread"):
        await jz.put(f"/api/rooms/{designers.id}/involvement", {"involvement": "invisible"})
        assert (await jz.put(path, {"message_id": said[0]["id"]})).status == 204
        assert await first_unread() is None


async def test_the_unread_frame_says_who_has_seen_a_message_and_who_is_named_in_it(
    kevin: Person, david: Person, jz: Person, jason: Person, designers: Room
) -> None:
    tabs = {person: await person.welcomed() for person in (kevin, david, jz, jason)}
    for tab in tabs.values():
        await tab.subscribe(channel="UnreadRoomsChannel")
    await tabs[david].subscribe(channel="PresenceChannel", room_id=designers.id)
    names = " ".join(mention(kevin.server, each.user) for each in (jz, david, kevin))

    await kevin.say(designers, names)

    frame = {"roomId": designers.id}
    assert await tabs[jz].drain() == [{**frame, "mention": True}]
    assert await tabs[jason].drain() == [frame]
    for person in (kevin, david):
        assert await tabs[person].drain() == [{**frame, "seen": True}]


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

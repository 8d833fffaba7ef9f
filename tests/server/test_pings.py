"""Pings: one room for the same few people, for ever."""

import asyncio
import json
import time

import campfire as program
from tests.support.asking import crowd, member_names, room_of, targets
from tests.support.cable import Markup
from tests.support.cast import Cast, Person, Server


async def test_a_ping_is_one_room_for_the_same_people_in_any_order(
    jz: Person, kevin: Person, david: Person
) -> None:
    tabs = [await person.sidebar_tab() for person in (jz, kevin, david)]

    made = await jz.post("/api/rooms/directs", {"user_ids": [kevin.id, jz.id, kevin.id]})
    found = await kevin.post("/api/rooms/directs", {"user_ids": [jz.id]})

    room_id = made.json["room"]["id"]
    assert (made.status, found.status, found.json["room"]["id"]) == (201, 200, room_id)
    assert made.headers["Location"] == f"/rooms/{room_id}"
    assert await jz.server.parts.db.read(program.member_ids, room_id) == (jz.id, kevin.id)
    heard = [targets(await tab.drain()) for tab in tabs]
    assert heard == [[("prepend", "direct_rooms")], [("prepend", "direct_rooms")] * 2, []]
    answers = await asyncio.gather(
        *(kevin.post("/api/rooms/directs", {"user_ids": [1, 2, 3]}) for _ in range(8))
    )
    assert len({answer.json["room"]["id"] for answer in answers}) == 1
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert answers[0].json["room"]["display_name"] == "David, Jason, and JZ"
    alone = (await jz.post("/api/rooms/directs")).json["room"]
    assert (alone["display_name"], [user["name"] for user in alone["members"]]) == ("JZ", ["JZ"])


async def test_a_ping_keeps_its_kind_and_its_two_people_for_ever(
    david: Person, kevin: Person, cast: Cast
) -> None:
    ping = cast.david_and_kevin
    for person in (david, kevin):
        for kind in ("opens", "closeds"):
            given = {"name": "Ours", "user_ids": [1, 2, 3, 4]}
            answer = await person.put(f"/api/rooms/{kind}/{ping.id}", given)
            assert (answer.status, answer.code) == (404, "room_not_found")
            assert (await person.get(f"/rooms/{kind}/{ping.id}/edit")).location == "/"

    room = await room_of(david, ping.id)
    assert (room["type"], room["name"]) == ("direct", None)
    assert await member_names(david, ping.id) == ["David", "Kevin"]
    assert (await david.get(f"/api/rooms/{ping.id}/members")).json["unselected"] == []
    edit = await david.get(f"/rooms/directs/{ping.id}/edit")
    assert (edit.boot["page"], edit.boot["data"]["room"]["id"]) == ("direct_edit", ping.id)
    assert (await david.get(f"/rooms/directs/{cast.hq.id}/edit")).location == "/"


async def test_either_of_two_deletes_their_ping_and_nobody_else_does(
    kevin: Person, jz: Person, cast: Cast
) -> None:
    refused = await jz.delete(f"/api/rooms/{cast.david_and_kevin.id}")
    deleted = await kevin.delete(f"/api/rooms/{cast.david_and_kevin.id}")

    assert (refused.status, deleted.status) == (404, 204)
    page = await kevin.get(f"/rooms/{cast.david_and_kevin.id}")
    assert (page.status, page.location) == (302, "/")
    for path in (f"/api/rooms/directs/{cast.hq.id}", f"/api/rooms/directs/{cast.designers.id}"):
        assert (await kevin.delete(path)).status in (403, 404, 405)
    assert (await room_of(kevin, cast.hq.id))["name"] == "HQ"


async def test_a_ping_has_at_most_fifty_people(server: Server, kevin: Person) -> None:
    others = await crowd(server, 50)
    path = "/api/rooms/directs"

    refused = await kevin.post(path, {"user_ids": others})
    assert (refused.status, refused.code) == (422, "validation_failed")
    taken = await kevin.post(path, {"user_ids": others[:49]})
    assert (taken.status, len(taken.json["room"]["members"])) == (201, 49)


async def test_a_ping_that_is_there_already_is_told_to_its_caller_alone(
    kevin: Person, jz: Person
) -> None:
    tabs = [await person.sidebar_tab() for person in (kevin, jz)]

    first = await kevin.post("/api/rooms/directs", {"user_ids": [jz.id]})
    told = [len(await tab.drain()) for tab in tabs]
    again = await kevin.post("/api/rooms/directs", {"user_ids": [jz.id]})
    told_again = [len(await tab.drain()) for tab in tabs]

    assert (first.status, again.status) == (201, 200)
    assert (told, told_again) == ([1, 1], [1, 0])


async def test_a_large_ping_shows_each_member_the_others_at_the_cost_of_one(
    server: Server, kevin: Person
) -> None:
    others = await crowd(server, 49)
    tab = await kevin.sidebar_tab()
    began = time.process_time()
    await kevin.post("/api/rooms/directs", {"user_ids": others})
    took = time.process_time() - began

    (frame,) = await tab.drain()
    ((attributes, _),) = Markup(frame).all("data-members")
    assert [each["id"] for each in json.loads(attributes["data-members"])] == others
    assert frame.count("<img") == 4
    assert took < 0.5

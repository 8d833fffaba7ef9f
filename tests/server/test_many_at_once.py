"""What concerns few costs few: pings, boosts, bots, and who hears of them."""

import time

import campfire as program
from campfire import Room
from tests.support.cast import Cast, Person, Server


async def crowd(server: Server, count: int) -> list[int]:
    """So many more people, written straight into the database."""
    insert = """
        INSERT INTO users (name, folded, role, status, created_at, updated_at)
        VALUES ('Person ' || :n, 'person ' || :n, 0, 0, :at, :at)
    """

    def work(tx: program.WriteTx, at: program.Timestamp) -> list[int]:
        return [program.insert(tx, insert, n=n, at=at) for n in range(count)]

    return await server.parts.db.write(work)


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


async def test_somebody_boosts_a_message_twenty_times_and_not_more(
    kevin: Person, jz: Person, designers: Room
) -> None:
    message = await kevin.say(designers, "the best of all")
    path = f"/api/messages/{message['id']}/boosts"
    boosts = [await kevin.post(path, {"content": "👍"}) for _ in range(21)]

    assert [each.status for each in boosts] == [201] * 20 + [422]
    assert boosts[-1].code == "too_many_boosts"
    assert (await jz.post(path, {"content": "👏"})).status == 201
    first = boosts[0].json["boost"]["id"]
    assert (await kevin.delete(f"{path}/{first}")).status == 204
    assert (await kevin.post(path, {"content": "🎉"})).status == 201


async def test_a_large_ping_shows_each_member_the_others_at_the_cost_of_one(
    server: Server, kevin: Person
) -> None:
    others = await crowd(server, 49)
    tab = await kevin.sidebar_tab()
    began = time.process_time()
    await kevin.post("/api/rooms/directs", {"user_ids": others})
    took = time.process_time() - began

    (frame,) = await tab.drain()
    assert frame.count("&quot;id&quot;:") == 49
    assert f"&quot;id&quot;:{kevin.id}," not in frame
    assert frame.count("<img") == 4
    assert took < 0.5


async def test_the_unread_mark_of_a_message_costs_no_more_than_those_who_are_here(
    server: Server, kevin: Person, jz: Person, hq: Room
) -> None:
    others = await crowd(server, 300)
    await server.parts.db.write(program.grant, hq, others)  # type: ignore[arg-type]
    tab = await jz.welcomed()
    await tab.subscribe(channel="UnreadRoomsChannel")
    cable, named = server.parts.cable, "user_{}_unreads"
    members = await server.parts.db.read(program.member_ids, hq.id)

    await kevin.say(hq, "hello everybody")

    assert await tab.drain() == [{"roomId": hq.id}]
    assert cable.broadcast_to(members, named, {"roomId": hq.id}) == 1
    assert cable.broadcast_to([kevin.id], named, {"roomId": hq.id}) == 0


async def test_bots_are_found_among_people_without_reading_them_all(
    server: Server, david: Person, cast: Cast
) -> None:
    await crowd(server, 50)

    listed = (await david.get("/api/account/bots")).json["bots"]

    assert [bot["name"] for bot in listed] == [cast.bender.name]
    plan = await server.parts.db.read(
        lambda tx: program.rows(
            program.ReadTx(tx),
            "EXPLAIN QUERY PLAN SELECT id FROM users WHERE role = 2 AND status = 0 ORDER BY folded",
        )
    )
    assert "users_bots" in " ".join(str(each["detail"]) for each in plan)

"""The sidebar: one's rooms, what is unread in them, and people to ping."""

import campfire as program
from tests.support.cast import Cast, Person, Server, newcomer


async def test_the_sidebar_names_ones_rooms_and_marks_what_is_unread(
    kevin: Person, david: Person, cast: Cast
) -> None:
    for room in (cast.designers, cast.david_and_kevin, cast.pets):
        await david.say(room, "news")
    hidden = f"/api/rooms/{cast.pets.id}/involvement"
    await kevin.put(hidden, {"involvement": "invisible"})
    await david.say(cast.pets, "unseen")

    sidebar = (await kevin.get("/api/users/me/sidebar")).json

    assert [(room["name"], room["unread"]) for room in sidebar["shared"]] == [
        ("Designers", True),
        ("HQ", False),
    ]
    assert [(room["display_name"], room["unread"]) for room in sidebar["directs"]] == [
        ("David", True),
        ("Bender Bot", False),
    ]
    assert [user["name"] for user in sidebar["placeholders"]] == ["Jason", "JZ"]
    assert (sidebar["can_create_rooms"], sidebar["total_unread"]) == (True, 2)
    page = await kevin.boot("/users/me/sidebar")
    assert (page["page"], page["data"]) == ("sidebar", {"sidebar": sidebar})
    assert (await david.get("/api/users/me/sidebar")).json["total_unread"] == 1  # Watercooler
    await kevin.put(hidden, {"involvement": "mentions"})
    names = [room["name"] for room in (await kevin.get("/api/rooms")).json["rooms"]]
    assert names == ["Designers", "HQ", "Pets", None, None]


async def test_placeholders_fill_the_sidebar_up_and_never_below_nothing(
    server: Server, jz: Person, cast: Cast
) -> None:
    expected = {0: 19, 1: 17, 2: 16, 17: 1, 18: 0, 19: 0, 20: 0, 21: 0}
    for pings in range(22):
        given = (f"Guest {pings:02}", f"guest{pings}@example.com", "password")
        await server.parts.auth.join(cast.join_code, newcomer(*given))
    for pings in range(22):
        sidebar = (await jz.get("/api/users/me/sidebar")).json
        people = [user["id"] for user in sidebar["placeholders"]]
        known = [user["id"] for room in sidebar["directs"] for user in room["members"]]
        assert len(known) == pings
        assert expected.get(pings, len(people)) == len(people)
        assert people == sorted(people)
        assert {jz.id, *known}.isdisjoint(people)
        guest = len(cast.everybody) + 1 + pings
        await server.parts.rooms.find_or_create_direct(cast.jz, [program.UserId(guest)])
    many = "INSERT INTO users (name, role, created_at, updated_at) VALUES ('Guest', 0, 0, 0)"
    await server.parts.db.write(lambda tx, _: [tx.execute(many) for _ in range(478)])
    newest = len(cast.everybody) + 22
    for guest in range(newest + 1, newest + 479):
        await server.parts.rooms.find_or_create_direct(cast.jz, [program.UserId(guest)])
    sidebar = (await jz.get("/api/users/me/sidebar")).json
    assert (len(sidebar["directs"]), sidebar["placeholders"]) == (500, [])

"""Stars: rooms and pings that come first, each for whoever starred it alone."""

import itertools

from hypothesis import given as for_any
from hypothesis import settings
from hypothesis import strategies as st

import campfire as program
from campfire import RoomType
from tests.conftest import Place
from tests.support.cast import Cast, Person


async def names_in(person: Person) -> list[tuple[str, bool]]:
    sidebar = (await person.get("/api/users/me/sidebar")).json
    rooms = [*sidebar["shared"], *sidebar["directs"]]
    return [(room["display_name"], room["starred"]) for room in rooms]


async def test_starred_rooms_and_pings_come_first_for_whoever_starred_them(
    kevin: Person, david: Person, cast: Cast
) -> None:
    plain = await names_in(kevin)
    assert plain == [
        *[("Designers", False), ("HQ", False), ("Pets", False)],
        *[("Bender Bot", False), ("David", False)],
    ]
    before = await names_in(david)

    for room in (cast.pets, cast.hq, cast.david_and_kevin):
        assert (await kevin.put(f"/api/rooms/{room.id}/star")).status == 204
        assert (await kevin.put(f"/api/rooms/{room.id}/star")).status == 204  # stays so

    assert await names_in(kevin) == [
        *[("HQ", True), ("Pets", True), ("Designers", False)],
        *[("David", True), ("Bender Bot", False)],
    ]
    assert await names_in(david) == before
    assert (await kevin.get(f"/api/rooms/{cast.hq.id}")).json["room"]["starred"] is True
    for room in (cast.pets, cast.hq, cast.david_and_kevin):
        assert (await kevin.delete(f"/api/rooms/{room.id}/star")).status == 204
    assert await names_in(kevin) == plain


async def test_a_star_is_told_to_ones_own_windows_and_to_nobody_else(
    kevin: Person, david: Person, cast: Cast
) -> None:
    own, others = await kevin.sidebar_tab(), await david.sidebar_tab()
    async with own, others:
        await kevin.put(f"/api/rooms/{cast.hq.id}/star")
        await david.say(cast.hq, "after it")
        frames = [str(await own.next_message())]
        await kevin.delete(f"/api/rooms/{cast.hq.id}/star")
        frames.append(str(await own.next_message()))

        assert [frame.count(f'target="star_{cast.hq.id}"') for frame in frames] == [1, 1]
        stars = [frame.count('"starred":true') for frame in frames]
        assert stars == [1, 0]
        assert "star_" not in str(await others.drain())


async def test_only_a_member_stars_a_room(jz: Person, cast: Cast) -> None:
    for method in (jz.put, jz.delete):
        answer = await method(f"/api/rooms/{cast.watercooler.id}/star")
        assert (answer.status, answer.code) == (404, "room_not_found")
        assert (await method("/api/rooms/9999/star")).status == 404


async def test_who_leaves_a_room_comes_back_without_the_star(
    kevin: Person, david: Person, cast: Cast
) -> None:
    room, path = f"/api/rooms/closeds/{cast.designers.id}", f"/api/rooms/{cast.designers.id}"
    await kevin.put(f"{path}/star")
    everybody = [david.id, kevin.id]
    await david.put(room, {"name": "Designers", "user_ids": [david.id]})
    await david.put(room, {"name": "Designers", "user_ids": everybody})

    assert (await kevin.get(path)).json["room"]["starred"] is False


NAMES = st.text("aÄzé Ж-", min_size=1).filter(str.strip)


@settings(max_examples=40)
@for_any(st.lists(st.tuples(NAMES, st.booleans()), max_size=8))
def test_the_order_is_starred_then_by_folded_name_then_by_age(
    place: Place, cast: Cast, rooms: list[tuple[str, bool]]
) -> None:
    place.run("DELETE FROM rooms")
    expected, db = list[tuple[bool, str, int]](), place.parts.db
    for name, is_starred in rooms:
        create = place.rooms.create(cast.kevin, RoomType.CLOSED, name, [])
        room = place.do(create).room
        place.do(db.write(program.star, cast.kevin.id, room.id, on=is_starred))
        expected.append((not is_starred, program.folded(room.name or ""), room.id))

    own = place.do(db.read(program.memberships_of, cast.kevin.id))

    assert [membership.room.id for membership in own] == [it[2] for it in sorted(expected)]
    stars = [membership.starred_at is None for membership in own]
    assert [it for it, _ in itertools.groupby(stars)] in ([], [False], [True], [False, True])

"""Who may do what to whom, as the table of authorization says."""

import re

import pytest

import campfire as program
from tests.support import matrix
from tests.support.cast import Cast, Person
from tests.support.matrix import World


async def test_who_may_do_what_to_whom(david: Person, jz: Person, cast: Cast) -> None:
    await david.post(f"/api/users/{cast.jason.id}/ban")
    expected = {  # link, ban, message: for David, and for JZ
        cast.david.id: ((True, False, True), (False, False, True)),
        cast.jason.id: ((False, True, False), (False, False, False)),
        cast.jz.id: ((True, True, True), (True, False, True)),
        cast.kevin.id: ((True, True, True), (False, False, True)),
        cast.bender.id: ((False, False, True), (False, False, True)),
    }
    links = {None}
    for user_id, rights in expected.items():
        for person, right in zip((david, jz), rights, strict=True):
            page = (await person.get(f"/users/{user_id}")).boot["data"]
            for shown in (page, (await person.get(f"/api/users/{user_id}")).json):
                links.add(shown["transfer_url"])
                told = bool(shown["transfer_url"]), shown["can_ban"], shown["can_message"]
                assert told == right, (user_id, person.user.name)
    assert len(links) == 9  # each is made fresh
    assert (await jz.get("/api/users/999")).code == "user_not_found"


@pytest.mark.parametrize(("route", "room"), matrix.ROWS)
def test_everybody_is_answered_as_the_table_of_authorization_says(
    world: World, route: str, room: str
) -> None:
    method, body = route.partition(" ")[0], matrix.ROUTES[route].get("body")
    path = world.path(route, room)
    for name, status in matrix.statuses(route, room).items():
        actor = world.actors[name]
        before = world.place.do(world.everything()), world.heard()
        told = world.place.do(world.ask(actor, method, path, body))

        assert told.status == status, (name, told)
        if matrix.is_refusal(status):
            odd = world.place.do(matrix.odd_statuses(world, actor, route, room))
            assert min(odd) >= 300, (name, odd)
            assert (world.place.do(world.everything()), world.heard()) == before, name
        if status == 404 and room != "open" and name not in matrix.INSIDERS:
            assert world.place.do(matrix.refused_the_same(world, actor, route, room, told)), name
        if method != "GET" and status < 400:
            world.restore()


@pytest.mark.parametrize(("channel", "target"), matrix.SUBSCRIPTIONS)
def test_nobody_hears_or_does_more_on_a_channel_than_they_may(
    world: World, channel: str, target: str
) -> None:
    told = [
        world.place.do(matrix.outcome(world, world.actors[name], channel, target))
        for name in matrix.ACTORS
    ]

    assert " ".join(told) == matrix.CHANNELS[channel][target]


def test_the_table_of_authorization_knows_every_route() -> None:
    bare = re.compile(r"{(\w+):[^{}]*}")
    routes = [(each.method, bare.sub(r"{\1}", each.path)) for each in program.ROUTES]

    assert set(matrix.ROUTES) == {f"{method} {path}" for method, path in routes if method != "*"}

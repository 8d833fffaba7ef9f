"""A clock that was wrong: what was said then keeps its place, and what is said after, its time."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import campfire as program
from tests.conftest import Place
from tests.support.asking import page_of
from tests.support.cast import Cast, LogLines, Person, Server, Start, start_server

DAY, YEAR = 86_400.0, 365 * 86_400.0


def jumps_in(lines: list[str]) -> list[int]:
    """The hours that the clock jumped by, as the warnings in the log say."""
    told = [line for line in map(json.loads, lines) if line["event"] == "clock_jumped"]
    assert {line["level"] for line in told} <= {"warning"}
    return [round(line["by_s"] / 3600) for line in told]


async def bodies(person: Person, path: str) -> list[str]:
    answer = await person.get(path)
    return [each["plain_text"] for each in answer.json["messages"]]


async def test_after_an_hour_of_a_wrong_clock_messages_have_their_true_time_and_come_last(
    server: Server, cast: Cast
) -> None:
    kevin, room = await server.sign_in(cast.kevin), f"/api/rooms/{cast.designers.id}/messages"
    server.wall.ahead = YEAR
    wrong = [await kevin.say(cast.designers, f"wrong {n}") for n in range(2)]
    server.wall.ahead = 0.0
    right = [await kevin.say(cast.designers, f"right {n}") for n in range(2)]

    said = ["wrong 0", "wrong 1", "right 0", "right 1"]
    for each in right:
        assert abs(each["timestamp"] - server.wall() // 1000) < 60_000
    assert await bodies(kevin, room) == said
    assert await bodies(kevin, f"{room}?after={wrong[0]['id']}") == said[1:]
    assert await bodies(kevin, f"{room}?before={right[1]['id']}") == said[:3]
    assert await bodies(kevin, f"{room}?around={right[0]['id']}") == said
    found = await kevin.get("/api/searches?q=right")
    assert [each["id"] for each in found.json["messages"]] == [each["id"] for each in right]


async def test_times_stored_in_the_future_do_not_pull_the_messages_of_a_later_start(
    start: Start, cast: Cast, log_lines: LogLines
) -> None:
    server = await start()
    server.wall.ahead = YEAR
    await (await server.sign_in(cast.kevin)).say(cast.designers, "wrong")
    await server.close()
    again = await start_server(server.parts.config.database)
    kevin = await again.sign_in(cast.kevin)

    said = await kevin.say(cast.designers, "right")

    assert abs(said["timestamp"] - again.wall() // 1000) < 60_000
    assert await bodies(kevin, f"/api/rooms/{cast.designers.id}/messages") == ["wrong", "right"]
    assert jumps_in(log_lines())[-1] == -365 * 24
    await again.close()


@pytest.mark.parametrize("ahead", [2 * DAY, YEAR])
async def test_a_jump_of_more_than_a_day_forward_is_one_warning_at_start_and_while_running(
    start: Start, cast: Cast, log_lines: LogLines, ahead: float
) -> None:
    server = await start(ahead=-DAY / 2)
    kevin = await server.sign_in(cast.kevin)
    before = jumps_in(log_lines())
    server.wall.ahead += DAY - 60
    await kevin.say(cast.designers, "a day is no jump")
    server.wall.ahead += ahead
    for n in range(3):
        await kevin.say(cast.designers, f"wrong {n}")
    assert (before, jumps_in(log_lines())) == ([], [round(ahead / 3600)])
    await server.close()

    again = await start_server(server.parts.config.database, ahead=server.wall.ahead + ahead)
    await (await again.sign_in(cast.kevin)).say(cast.designers, "wronger")
    assert jumps_in(log_lines()) == [round(ahead / 3600)] * 2
    await again.close()


async def test_a_moment_to_come_is_answered_with_a_reset_and_the_true_time(
    server: Server, cast: Cast
) -> None:
    kevin = await server.sign_in(cast.kevin)
    server.wall.ahead = YEAR
    wrong = await kevin.say(cast.designers, "wrong")
    server.wall.ahead = 0.0
    room, since = f"/api/rooms/{cast.designers.id}/refresh", wrong["updated_at_ms"]

    for path in (f"?since={since}", f"?since={since}&last_seen_message_id={wrong['id']}"):
        news = (await kevin.get(room + path)).json
        assert (news["reset"], news["messages"], news["updated"]) == (True, [], [])
        assert news["server_time_ms"] <= server.wall() // 1000
    await kevin.say(cast.designers, "the first with its true time")
    since = server.wall() // 1000 + 1
    server.wall.ahead = 1.0
    right = await kevin.say(cast.designers, "right")
    for path in (f"?since={since}", f"?since={since}&last_seen_message_id={right['id'] - 1}"):
        news = (await kevin.get(room + path)).json
        assert not news["reset"]
        assert [each["id"] for each in news["messages"]] == [right["id"]]


async def test_an_edit_of_a_message_with_a_time_to_come_is_newer_than_the_message(
    server: Server, cast: Cast
) -> None:
    kevin = await server.sign_in(cast.kevin)
    server.wall.ahead = YEAR
    wrong = await kevin.say(cast.designers, "wrong")
    server.wall.ahead = 0.0
    path = f"/api/rooms/{cast.designers.id}/messages/{wrong['id']}"

    edited = (await kevin.put(path, {"body": "mended"})).json["message"]
    await kevin.post(f"/api/messages/{wrong['id']}/boosts", {"content": "yes"})

    boosted = (await kevin.get(path)).json["message"]
    rows = await server.parts.db.read(
        lambda tx: program.rows(
            tx, "SELECT updated_at FROM messages WHERE id = :id", id=wrong["id"]
        )[0]
    )
    assert wrong["updated_at_ms"] <= edited["updated_at_ms"] <= boosted["updated_at_ms"]
    assert rows["updated_at"] // 1000 >= wrong["updated_at_ms"]


@settings(max_examples=30)
@given(st.lists(st.sampled_from([0, 0, 1, -1, 3_600, -3_600, 90_000, YEAR, -YEAR]), max_size=60))
def test_however_the_clock_jumps_a_room_is_paged_in_the_order_of_what_was_said(
    place: Place, cast: Cast, jumps: list[float]
) -> None:
    room, wall = place.room(cast.jz), place.server.wall
    said: list[Any] = []
    for n, jump in enumerate(jumps):
        wall.ahead += jump
        message = place.post(cast.jz, room, f"word {n}").message
        assert abs(message.created_at - wall()) < 60_000_000
        said.append(message)
    wall.ahead = 0.0
    assert all(earlier.id < later.id for earlier, later in pairwise(said))

    found = place.do(page_of(place.parts, cast.jz, room))
    backwards = list(found.messages)
    while found.has_before:
        found = place.do(page_of(place.parts, cast.jz, room, before=backwards[0].id))
        backwards[:0] = found.messages
    forwards = said[:1]
    found = found._replace(has_after=bool(said))
    while found.has_after:
        found = place.do(page_of(place.parts, cast.jz, room, after=forwards[-1].id))
        forwards += found.messages
    assert backwards == forwards == said


async def test_a_clock_set_back_by_a_second_gives_no_moment_twice(server: Server) -> None:
    async def moments(count: int) -> list[int]:
        return await asyncio.gather(
            *(server.parts.db.write(lambda _, at: at) for _ in range(count))
        )

    before = await moments(20)
    server.wall.ahead = -1.0
    after = await moments(20)

    assert all(earlier < later for earlier, later in pairwise([*before, *after]))

"""A right is looked at where it is used: withdrawn while a request is on its way, it is gone."""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing

import pytest

import campfire as program
from tests.support import matrix
from tests.support.asking import found, reset_password, run, session_for
from tests.support.cast import PATIENCE, SESAME, Cast, LogLines, Person, Server
from tests.support.matrix import Actor, Told, World

PERSON, BOT = "administrator inside", "bot inside"
WRITES = [(route, room) for route, room in matrix.ROWS if not route.startswith("GET")]
OF_PEOPLE = [row for row in WRITES if "{bot_key}" not in row[0]]
OF_BOTS = [row for row in WRITES if "{bot_key}" in row[0]]

Withdrawal = Callable[[World], Coroutine[object, object, object]]


async def _viewer(world: World, name: str) -> program.Viewer:
    viewer = await session_for(world.parts, program.RawToken(world.actors[name].token))
    assert viewer is not None
    return viewer


async def _sign_out(world: World) -> None:
    viewer = await _viewer(world, PERSON)
    await world.parts.db.write(program.end_session, viewer.session, None)


async def _change_the_password_elsewhere(world: World) -> None:
    await reset_password(world.parts, "jason@example.com", "another secret")


async def _leave_the_room(world: World) -> None:
    rooms = program.as_list(ids["room_id"] for ids in world.ids.values())
    sql = """
        DELETE FROM memberships
        WHERE room_id IN (SELECT value FROM json_each(:rooms)) AND user_id IN (:jason, :bender)
    """
    jason, bender = world.cast.jason.id, world.cast.bender.id
    await run(world.place.server, sql, rooms=rooms, jason=jason, bender=bender)


WITHDRAWALS: dict[str, Withdrawal] = {
    "signed out": _sign_out,
    "another password": _change_the_password_elsewhere,
    "banned": lambda world: world.parts.db.write(
        program.banish, world.cast.david, world.cast.jason.id
    ),
    "deactivated": lambda world: world.parts.db.write(program.retire_person, world.cast.jason.id),
    "demoted": lambda world: world.parts.db.write(
        program.set_role, world.cast.jason.id, program.Role.MEMBER
    ),
    "out of the room": _leave_the_room,
}
BOTS_WITHDRAWALS: dict[str, Withdrawal] = {
    "another key": lambda world: world.parts.db.write(program.renew_bot_key, world.cast.bender.id),
    "deleted": lambda world: world.parts.db.write(program.retire_bot, world.cast.bender.id),
    "out of the room": _leave_the_room,
}


async def _turns_until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        for _ in itertools.takewhile(lambda _: not condition(), itertools.count()):
            await asyncio.sleep(0)


async def _while_the_writer_is_held(
    world: World, actor: Actor, route: str, room: str, withdraw: Withdrawal
) -> Told:
    """What is told when the right goes after the door has looked and before anything is written."""
    db, method, body = world.parts.db, route.partition(" ")[0], matrix.ROUTES[route].get("body")
    with closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        withdrawn = asyncio.ensure_future(withdraw(world))
        await _turns_until(lambda: db.queue.qsize() > 0)  # the withdrawal stands in the queue
        await _turns_until(db.queue.empty)  # the writer has it, and waits for the file
        asked = asyncio.ensure_future(world.ask(actor, method, world.path(route, room), body))
        await _turns_until(lambda: asked.done() or db.queue.qsize() > 0)
        other.execute("ROLLBACK")
    await withdrawn
    return await asked


async def _between_head_and_body(
    world: World, actor: Actor, route: str, room: str, withdraw: Withdrawal
) -> Told:
    """What is told when the right goes while the body is still coming."""
    method, body = route.partition(" ")[0], matrix.ROUTES[route].get("body")
    path = world.path(route, room).replace("/BOT/", f"/{actor.bot_key}/")
    is_text = "{bot_key}" in route
    said = (str(body) if is_text else json.dumps(body)).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {world.place.server.host}\r\nConnection: close\r\n"
        f"X-Forwarded-For: {actor.address}\r\nX-CSRF-Token: {world.csrf}\r\n"
        f"Cookie: _campfire_csrf={world.nonce}; session_token={actor.token}\r\n"
        f"Content-Type: {'text/plain' if is_text else 'application/json'}\r\n"
        f"Content-Length: {len(said)}\r\nExpect: 100-continue\r\n\r\n"
    )
    reader, writer = await world.place.server.dialled()
    writer.write(head.encode())
    assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(said[:1])
    await writer.drain()
    await withdraw(world)
    writer.write(said[1:])
    answer = await reader.read()
    writer.close()
    head_of_answer, _, content = answer.partition(b"\r\n\r\n")
    return Told(int(head_of_answer.split(b" ")[1]), "", content.decode("latin-1"))


WRITES_NOTHING = {"POST /api/unfurl_link"}
WAYS = {"held": _while_the_writer_is_held, "slow": _between_head_and_body}


def _cases() -> Iterator[tuple[str, str, str, str, str]]:
    for name, rows, withdrawals in (
        (PERSON, OF_PEOPLE, WITHDRAWALS), (BOT, OF_BOTS, BOTS_WITHDRAWALS),
    ):  # fmt: skip
        for route, room in rows:
            for withdrawal in withdrawals:
                if route not in WRITES_NOTHING:
                    yield name, route, room, withdrawal, "held"
                if matrix.ROUTES[route].get("body"):
                    yield name, route, room, withdrawal, "slow"


@pytest.mark.parametrize(("name", "route", "room", "withdrawal", "way"), list(_cases()))
def test_what_is_withdrawn_on_the_way_is_refused_as_if_asked_afterwards(
    world: World, name: str, route: str, room: str, withdrawal: str, way: str
) -> None:
    actor = world.actors[name]
    method, body = route.partition(" ")[0], matrix.ROUTES[route].get("body")
    withdraw = (WITHDRAWALS if name == PERSON else BOTS_WITHDRAWALS)[withdrawal]
    world.restore()
    world.place.do(withdraw(world))
    after = world.place.do(world.ask(actor, method, world.path(route, room), body))
    world.restore()
    told = world.place.do(WAYS[way](world, actor, route, room, withdraw))

    # What refused it before the right was withdrawn wrote nothing either.
    assert told.status == after.status or told.status >= 400, (told, after)


# --- What the shell ends -------------------------------------------------------------------------


async def test_the_sockets_of_a_session_that_vanished_are_closed_by_themselves(
    server: Server, cast: Cast, david: Person, kevin: Person
) -> None:
    other, kept = await david.welcomed(), await kevin.welcomed()
    await run(server, "DELETE FROM sessions WHERE user_id = :id", id=cast.david.id)

    await program.close_ended_sessions(server.parts)

    goodbye, code = await other.goodbye()
    assert goodbye == {"type": "disconnect", "reason": "remote", "reconnect": False}
    assert code == 1000
    assert await kept.drain() == []
    assert 0 < program.SESSION_LOOK_SECONDS <= 15


async def test_a_running_server_looks_for_ended_sessions_by_itself(server: Server) -> None:
    program.start_sweepers(server.parts)

    names = {task.get_name() for task in asyncio.all_tasks()}

    assert "every_look_at_sessions" in names


async def test_a_socket_whose_session_is_gone_marks_nothing_as_read_and_is_closed(
    server: Server, cast: Cast, david: Person, jason: Person
) -> None:
    tab = await jason.welcomed()
    await david.say(cast.watercooler, "news for Jason")
    await run(server, "DELETE FROM sessions WHERE user_id = :id", id=cast.jason.id)

    identifier = json.dumps({"channel": "PresenceChannel", "room_id": cast.watercooler.id})
    await tab.transmit("subscribe", identifier)
    goodbye, _ = await tab.goodbye()

    assert goodbye["reconnect"] is False
    unread = "SELECT unread_at IS NULL FROM memberships WHERE room_id = :room AND user_id = :user"
    read = await found(server, unread, room=cast.watercooler.id, user=cast.jason.id)
    assert read == [(0,)]


async def test_what_a_request_leaves_behind_to_do_goes_on_when_its_right_is_gone(
    server: Server, cast: Cast, david: Person, jz: Person
) -> None:
    for n in range(3):
        await jz.say(cast.designers, f"said {n}")
    assert (await david.post(f"/api/users/{cast.jz.id}/ban")).status == 200
    await server.parts.db.write(program.set_role, cast.david.id, program.Role.MEMBER)

    async with asyncio.timeout(PATIENCE):
        await server.parts.jobs.finish(PATIENCE)

    left = await found(server, "SELECT id FROM messages WHERE creator_id = :id", id=cast.jz.id)
    assert left == []


# --- Sign-in links, tokens, and signing in again -------------------------------------------------


async def test_a_new_password_gives_this_browser_a_new_token_and_the_old_one_opens_nothing(
    server: Server, kevin: Person
) -> None:
    old, thief = kevin.cookie("session_token"), await server.visitor()
    assert old
    tab = await kevin.welcomed()

    changed = await kevin.put("/api/users/me/profile", {"password": "a new secret"})

    assert changed.status == 200
    assert kevin.cookie("session_token") not in (old, None)
    assert (await kevin.get("/api/session")).status == 200
    assert await tab.drain() == []  # the same session goes on
    thief.set_cookie("session_token", old)
    assert (await thief.get("/api/session")).status == 401


async def test_signing_in_over_a_session_ends_the_old_one_and_closes_its_sockets(
    server: Server, cast: Cast, kevin: Person, log_lines: LogLines
) -> None:
    old, elsewhere = kevin.cookie("session_token"), await server.visitor()
    assert old
    tab = await kevin.welcomed()

    given = {"email_address": "jz@example.com", "password": SESAME}
    assert (await kevin.post("/api/session", given)).status == 201

    assert (await tab.goodbye())[0]["reconnect"] is False
    elsewhere.set_cookie("session_token", old)
    assert (await elsewhere.get("/api/session")).status == 401
    assert (await kevin.get("/api/session")).json["user"]["id"] == cast.jz.id
    (line,) = [line for line in map(json.loads, log_lines()) if line["event"] == "signed_in"]
    assert (line["user_id"], line["by"]) == (cast.jz.id, "password")


async def test_joining_and_another_role_are_events_in_the_log(
    server: Server, cast: Cast, david: Person, log_lines: LogLines
) -> None:
    newcomer = await server.visitor()
    given = {"name": "Ann", "email_address": "ann@example.com", "password": SESAME}
    ann = (await newcomer.post(f"/api/join/{cast.join_code}", given)).json["user"]["id"]
    await david.put(f"/api/account/users/{ann}", {"role": "administrator"})

    lines = [json.loads(line) for line in log_lines()]
    told = {line["event"]: line for line in lines if line["event"] in ("joined", "role_changed")}
    assert told["joined"]["user_id"] == ann
    changed = told["role_changed"]
    assert (changed["user_id"], changed["role"], changed["by"]) == (ann, "administrator", david.id)

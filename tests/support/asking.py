"""What tests ask of a server and its database, and the words they say to it."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import campfire as program
from tests.support.cast import AGENT, SESAME, Answer, Person, Server, start_session

It = Callable[[str], AbstractContextManager[None]]  # the fixture `it`
SET_UP = {"name": "David", "email_address": "david@example.com", "password": SESAME}
SIGN_IN = {"email_address": "kevin@example.com", "password": SESAME}
NEWCOMER = {"name": "Zoe", "email_address": "zoe@example.com", "password": "open sesame"}
SESSION, ACCOUNT, BOTS = "/api/session", "/api/account", "/api/account/bots"
STYLES, PROFILE = "/api/account/custom_styles", "/api/users/me/profile"
CONFIRMED, REJECTED = "confirm_subscription", "reject_subscription"


async def found(server: Server, sql: str, **values: object) -> list[tuple[Any, ...]]:
    return await server.parts.db.read(lambda tx: [tuple(row) for row in tx.execute(sql, values)])


async def run(server: Server, sql: str, **values: object) -> None:
    """Changes the database behind everybody's back."""
    await server.parts.db.write(lambda tx, _: tx.execute(sql, values).rowcount)


async def stored(server: Server) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in the database, to see that nothing changed."""
    tables = await found(server, "SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name: await found(server, f"SELECT * FROM {name}") for (name,) in tables}  # noqa: S608 - own


async def settle(server: Server) -> None:
    """Waits for what is left to do in the background, and for what that leads to."""
    for _ in range(3):
        await server.parts.jobs.finish(10)


async def count(server: Server, table: str) -> int:
    rows = await found(server, f"SELECT count(*) FROM {table}")  # noqa: S608 - the names are ours
    return int(rows[0][0])


async def set_status(server: Server, user: program.User, status: program.Status) -> None:
    await run(server, "UPDATE users SET status = :status WHERE id = :id", status=status, id=user.id)


async def transfer_to(server: Server, user: program.User) -> str:
    """A sign-in link of somebody's, made in a session of theirs."""
    digest = await server.parts.db.read(program.password_digest_of, user.id)
    token = await start_session(server.parts, user.id, "127.0.0.1", AGENT)
    viewer = await session_for(server.parts, token)
    assert viewer is not None
    at = program.Timestamp(server.wall())
    return server.parts.signer.transfer_id(user, viewer.session.id, digest, at)[0]


async def room_of(person: Person, room_id: int) -> dict[str, Any]:
    answer = await person.get(f"/api/rooms/{room_id}")
    return dict(answer.json["room"]) if answer.status == 200 else {}


async def member_names(person: Person, room_id: int) -> list[str]:
    answer = await person.get(f"/api/rooms/{room_id}/members")
    return [user["name"] for user in answer.json["selected"]]


async def restrict(administrator: Person, value: object) -> None:
    settings = {"restrict_room_creation_to_administrators": value}
    assert (await administrator.put("/api/account", {"settings": settings})).status == 200


def targets(frames: list[Any]) -> list[tuple[str, str]]:
    """Action and target of each Turbo frame."""
    found = [re.search(r'action="(\w+)" target="([\w-]+)"', str(frame)) for frame in frames]
    assert all(found), frames
    return [(each[1], each[2]) for each in found if each]


def ids(answer_or_page: Any) -> list[int]:  # noqa: ANN401 - JSON
    return [message["id"] for message in answer_or_page["messages"]]


def path_of(room: program.Room, message_id: int | None = None) -> str:
    return f"/api/rooms/{room.id}/messages" + (f"/{message_id}" if message_id else "")


def mention(server: Server, *people: program.User) -> str:
    return "".join(
        f'<action-text-attachment sgid="{server.parts.signer.sgid(each.id)}"'
        ' content-type="application/vnd.campfire.mention"></action-text-attachment>'
        for each in people
    )


KEY, TOKEN = "5-ABCDEFGHIJKL", "ABCDEFGHIJKL"


def url_of(room: program.Room, rest: str = "", key: str = KEY) -> str:
    return f"/rooms/{room.id}/{key}/messages{rest}"


async def bot_says(
    visitor: Person, room: program.Room, text: str | bytes, key: str = KEY
) -> Answer:
    return await visitor.request("POST", url_of(room, key=key), data=text)


async def texts(person: Person, room: program.Room) -> list[str]:
    answer = await person.get(f"/api/rooms/{room.id}/messages")
    return [each["plain_text"] for each in answer.json["messages"]] if answer.body else []


async def began_together(server: Server) -> list[bool]:
    """For each session, whether it began in the transaction that made its person."""
    sql = """
        SELECT users.created_at = sessions.created_at FROM sessions JOIN users ON users.id = user_id
    """
    return [bool(each) for (each,) in await found(server, sql)]


async def crowd(server: Server, count: int) -> list[int]:
    """So many more people, written straight into the database."""
    insert = """
        INSERT INTO users (name, folded, role, status, created_at, updated_at)
        VALUES ('Person ' || :n, 'person ' || :n, 0, 0, :at, :at)
    """

    def work(tx: program.WriteTx, at: program.Timestamp) -> list[int]:
        return [program.insert(tx, insert, n=n, at=at) for n in range(count)]

    return await server.parts.db.write(work)


async def session_for(parts: program.Campfire, token: str) -> program.Viewer | None:
    """The active person this token signs in."""
    return (await parts.db.read(program.at_the_door, token)).viewer


async def reset_password(parts: program.Campfire, email: str, password: str) -> program.User:
    """What `reset-password` does."""
    program.check_fields(password=password)
    return await parts.db.write(program.set_password, email, program.hash_password(password, 4))


class Shown(NamedTuple):
    """A page of a room."""

    messages: tuple[program.PersistedMessage, ...]
    has_before: bool
    has_after: bool
    highlighted_id: program.MessageId | None


async def page_of(
    parts: program.Campfire, user: program.User, room_id: program.RoomId, **place: program.MessageId
) -> Shown:
    """A page as a member of the room may see it."""

    def work(tx: program.ReadTx) -> Shown:
        program.membership_of(tx, user.id, room_id)
        page = program.page_of(tx, room_id, **place)
        messages = program.messages_by_id(tx, [message["id"] for message in page.found])
        return Shown(messages, page.has_before, page.has_after, page.highlighted_id)

    return await parts.db.read(work)

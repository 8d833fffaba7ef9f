"""What the tests do behind the server's back: people who come in and sign in, pages of a room."""

from typing import NamedTuple

import campfire as program

SESAME = "secret123456"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"


def newcomer(name: str, email: str, password: str = SESAME) -> program.Newcomer:
    return program.Newcomer(name, email, password)


async def start_session(
    parts: program.Campfire, user_id: program.UserId, ip: str = "127.0.0.1", agent: str = AGENT
) -> program.RawToken:
    """Signs somebody in without their password."""
    session = program.fresh_session(ip, agent)
    await parts.db.write(program.start_session, user_id, session)
    return session.token


async def session_for(parts: program.Campfire, token: str) -> program.Viewer | None:
    """The active person this token signs in."""
    return (await parts.db.read(program.at_the_door, token)).viewer


async def make_administrator(
    parts: program.Campfire, name: str, email: str, password: str = SESAME
) -> program.User:
    """What `create-admin` does."""
    digest = program.hash_password(password, 4)
    return await parts.db.write(program.make_administrator, newcomer(name, email), digest)


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

"""What the tests of invariants drive: two state machines, and the program as a process."""

import asyncio
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

import campfire as program
from campfire import MessageId, RoomId, User, UserId
from tests.conftest import Place, Template
from tests.support.cast import (
    AGENT,
    SETTINGS,
    start_server,
)
from tests.support.doing import make_administrator, newcomer, page_of, start_session

ROOT = Path(__file__).resolve().parents[2]
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
people = st.integers(0, 4)
anybody = st.integers(0, 59)
crowd = st.sets(st.integers(0, 5), max_size=3)


@dataclass
class Said:
    """What the model knows of a message."""

    by: User
    text: str
    named: set[UserId]
    boosts: list[tuple[program.BoostId, str]] = field(default_factory=list)


class Talk(RuleBasedStateMachine):
    """One room, in which people write, change their minds, and boost."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place, self.everybody = place, place.cast.everybody
        self.inside = self.everybody[1:4]
        self.room = place.room(*self.inside)
        self.said: dict[MessageId, Said] = {}
        self.gone: set[MessageId] = set()

    def chosen(self, which: int) -> MessageId:
        return list(self.said)[which % len(self.said)]

    def source(self, text: str, named: set[int]) -> str:
        return text + "".join(self.place.mention(self.everybody[n]) * 2 for n in sorted(named))

    def members(self, named: set[int]) -> set[UserId]:
        return {self.everybody[n].id for n in named} & {user.id for user in self.inside}

    @rule(by=st.integers(0, 2), text=st.sampled_from(["hello", "a dog"]), named=st.sets(people))
    def write(self, by: int, text: str, named: set[int]) -> None:
        posted = self.place.post(self.inside[by], self.room, self.source(text, named))
        assert posted.message.id > max([*self.said, *self.gone, 0])
        self.said[posted.message.id] = Said(self.inside[by], text, self.members(named))

    @precondition(lambda self: self.said)
    @rule(which=st.integers(0), named=st.sets(people))
    def edit(self, which: int, named: set[int]) -> None:
        message_id, source = self.chosen(which), self.source("edited", named)
        said = self.said[message_id]
        self.place.do(self.place.messages.update(said.by, self.room, message_id, source))
        said.text, said.named = "edited", self.members(named)

    @precondition(lambda self: self.said)
    @rule(which=st.integers(0))
    def delete(self, which: int) -> None:
        message_id = self.chosen(which)
        by = self.said.pop(message_id).by
        self.place.do(self.place.messages.delete(by, self.room, message_id))
        self.gone.add(message_id)

    @precondition(lambda self: self.said)
    @rule(which=st.integers(0), content=st.sampled_from(["\N{THUMBS UP SIGN}", "same here"]))
    def boost(self, which: int, content: str) -> None:
        boost = self.place.messages.boost(self.inside[0], self.chosen(which), content)
        self.said[self.chosen(which)].boosts.append((self.place.do(boost).boost.id, content))

    @precondition(lambda self: any(said.boosts for said in self.said.values()))
    @rule(which=st.integers(0))
    def unboost(self, which: int) -> None:
        boosted = [message_id for message_id, said in self.said.items() if said.boosts]
        message_id = boosted[which % len(boosted)]
        boost_id, _ = self.said[message_id].boosts.pop(0)
        self.place.do(self.place.messages.unboost(self.inside[0], message_id, boost_id))

    @invariant()
    def everything_is_as_it_was_said(self) -> None:
        """Order, bodies, boosts, mentions of members only, and the search index."""
        page = self.place.do(page_of(self.place.parts, self.inside[0], self.room)).messages
        assert [
            (m.id, m.creator.id, set(m.body.mentions), [(b.id, b.content) for b in m.boosts])
            for m in page
        ] == [
            (message_id, said.by.id, said.named, said.boosts)
            for message_id, said in sorted(self.said.items())
        ]
        assert all(m.body.text.startswith(self.said[m.id].text) for m in page)
        assert all(len(set(m.body.mentions)) == len(m.body.mentions) for m in page)
        assert all(earlier.created_at < later.created_at for earlier, later in pairwise(page))
        said = self.place.rows("SELECT id, body_text FROM messages ORDER BY id")
        assert self.place.rows("SELECT rowid, body FROM message_search_index ORDER BY rowid") == [
            (each, program.searchable(text)) for each, text in said
        ]

    @invariant()
    def what_is_gone_left_a_tombstone_and_the_room_moved(self) -> None:
        stones = "SELECT message_id FROM message_tombstones WHERE room_id = :room"
        assert {gone for (gone,) in self.place.rows(stones, room=self.room)} == self.gone
        moments = """
            SELECT rooms.updated_at >= max(messages.updated_at)
            FROM rooms JOIN messages ON room_id = rooms.id
            WHERE rooms.id = :room
        """
        assert self.place.rows(moments, room=self.room) in [[(1,)], [(None,)]]

    def teardown(self) -> None:
        self.place.do(self.place.parts.db.write(program.remove_room, self.inside[0], self.room))
        assert rows_that_refer_to(self.place, self.room) == []


def rows_that_refer_to(place: Place, room: RoomId) -> list[tuple[Any, ...]]:
    """The room, whatever belongs to it, and whatever belongs to a message that is not there."""
    return place.rows(
        """
        SELECT 'room', id FROM rooms WHERE id = :room
        UNION ALL SELECT 'membership', id FROM memberships WHERE room_id = :room
        UNION ALL SELECT 'message', id FROM messages WHERE room_id = :room
        UNION ALL SELECT 'tombstone', message_id FROM message_tombstones WHERE room_id = :room
        UNION ALL SELECT 'boost', id FROM boosts WHERE message_id NOT IN (SELECT id FROM messages)
        UNION ALL SELECT 'mention', message_id FROM mentions
          WHERE message_id NOT IN (SELECT id FROM messages)
        UNION ALL SELECT 'index', rowid FROM message_search_index
          WHERE rowid NOT IN (SELECT id FROM messages)
        """,
        room=room,
    )


class House(RuleBasedStateMachine):
    """People, rooms, memberships and who looks where, against plain dictionaries."""

    def __init__(self, template: Template) -> None:
        super().__init__()
        self.place = Place(template)
        self.presence, self.clock = self.place.parts.cable.presence, self.place.server.steady
        self.people = list(self.place.cast.everybody)
        self.types: dict[RoomId, str] = {}
        self.creators: dict[RoomId, UserId] = {}
        for room, kind, creator in self.place.rows("SELECT id, type, creator_id FROM rooms"):
            self.types[room], self.creators[room] = kind, creator
        self.inside = {(room, user): [level, unread] for room, user, level, unread in self.stored()}
        self.looks: dict[tuple[RoomId, UserId, int], float] = {}

    def stored(self) -> list[tuple[Any, ...]]:
        return self.place.rows(
            "SELECT room_id, user_id, involvement, unread_at IS NOT NULL FROM memberships"
        )

    def person(self, which: int) -> User:
        return self.people[which % len(self.people)]

    def room_of(self, which: int) -> RoomId:
        return list(self.types)[which % len(self.types)]

    def let_in(self, room: RoomId, users: Iterable[UserId]) -> None:
        level = "everything" if self.types[room] == "direct" else "mentions"
        for user in users:
            self.inside.setdefault((room, user), [level, 0])

    def made(self, room: program.Room, users: Iterable[UserId]) -> None:
        self.types[room.id], self.creators[room.id] = room.type.value, room.creator_id
        self.let_in(room.id, users)

    def refusal(self, by: User, room: RoomId, *, saves: bool) -> type[Exception] | None:
        """Why somebody may not save or delete a room, if they may not."""
        is_direct = self.types[room] == "direct"
        if (room, by.id) not in self.inside or (saves and is_direct):
            return program.RoomNotFound
        may = is_direct or by.is_administrator or self.creators[room] == by.id
        return None if may else program.Forbidden

    @rule()
    def somebody_joins(self) -> None:
        number, code = len(self.people), self.place.cast.join_code
        joining = self.place.auth.join(code, newcomer(f"New {number}", f"new{number}@example.com"))
        self.people.append(user := self.place.do(joining))
        for room, kind in self.types.items():
            self.let_in(room, [user.id] if kind == "open" else [])

    @rule(which=st.integers(0, 2))
    def somebody_gone_returns_as_administrator(self, which: int) -> None:
        user = self.person(which + 1)
        self.place.run("UPDATE users SET status = 1 WHERE id = :user", user=user.id)
        self.place.run(
            """
            DELETE FROM memberships WHERE user_id = :user
            AND room_id IN (SELECT id FROM rooms WHERE type != 'direct')
            """,
            user=user.id,
        )
        made = make_administrator(self.place.parts, user.name, str(user.email_address))
        self.people[which + 1] = self.place.do(made)
        for room, kind in self.types.items():
            if kind != "direct":
                self.inside.pop((room, user.id), None)
            is_theirs = kind == "closed" and self.creators[room] == user.id
            self.let_in(room, [user.id] if kind == "open" or is_theirs else [])

    @rule(by=anybody)
    def create_open(self, by: int) -> None:
        change = self.place.do(self.place.rooms.create_open(self.person(by), "Open"))
        self.made(change.room, [user.id for user in self.people])

    @rule(by=anybody, others=crowd)
    def create_closed(self, by: int, others: set[int]) -> None:
        users = {self.person(n).id for n in others}
        work = self.place.rooms.create_closed(self.person(by), "Closed", [*users, UserId(10**9)])
        self.made(self.place.do(work).room, users | {self.person(by).id})

    @rule(by=anybody, others=crowd)
    def ping(self, by: int, others: set[int]) -> None:
        users = {self.person(n).id for n in others} | {self.person(by).id}
        known = [
            room
            for room, kind in self.types.items()
            if kind == "direct" and {user for r, user in self.inside if r == room} == users
        ]
        ping = self.place.rooms.find_or_create_direct

        async def from_all_sides() -> list[tuple[program.RoomChange, bool]]:
            orders = [sorted(users), sorted(users, reverse=True), [*users, *users]]
            return await asyncio.gather(*(ping(self.person(by), order) for order in orders))

        outcomes = self.place.do(from_all_sides())
        assert sum(is_new for _, is_new in outcomes) == (0 if known else 1)
        assert {change.room.id for change, _ in outcomes} == {*known} or not known
        self.made(outcomes[0][0].room, users)

    @rule(by=anybody, which=anybody, others=crowd, opens=st.booleans())
    def save(self, by: int, which: int, others: set[int], *, opens: bool) -> None:
        actor, room, rooms = self.person(by), self.room_of(which), self.place.rooms
        users = {self.person(n).id for n in others} | {self.creators[room]}
        work: Coroutine[Any, Any, program.RoomChange] = (
            rooms.save_open(actor, room, "Saved")
            if opens
            else rooms.save_closed(actor, room, "Saved", sorted(users))
        )
        if refusal := self.refusal(actor, room, saves=True):
            with pytest.raises(refusal):
                self.place.do(work)
            return
        change = self.place.do(work)
        before = {user for r, user in self.inside if r == room}
        self.types[room] = "open" if opens else "closed"
        after = {user.id for user in self.people} | before if opens else users
        self.let_in(room, after)
        for user in before - after:
            del self.inside[room, user]
        assert (set(change.granted), set(change.revoked)) == (after - before, before - after)

    @precondition(lambda self: len(self.types) > 2)
    @rule(by=anybody, which=anybody)
    def delete(self, by: int, which: int) -> None:
        actor, room = self.person(by), self.room_of(which)
        if refusal := self.refusal(actor, room, saves=False):
            with pytest.raises(refusal):
                self.place.do(self.place.parts.db.write(program.remove_room, actor, room))
            return
        self.place.do(self.place.parts.db.write(program.remove_room, actor, room))
        assert rows_that_refer_to(self.place, room) == []
        del self.types[room], self.creators[room]
        self.inside = {key: held for key, held in self.inside.items() if key[0] != room}

    @rule(which=anybody, turns=st.integers(1, 4))
    def turn_the_bell(self, which: int, turns: int) -> None:
        room, user = list(self.inside)[which % len(self.inside)]
        person = next(each for each in self.people if each.id == user)
        cycle = ["mentions", "everything", "nothing", "invisible"]
        if self.types[room] == "direct":
            cycle = ["everything", "nothing"]
        held = self.inside[room, user]
        for _ in range(turns):
            view = self.place.do(self.place.parts.db.read(program.view_of, user, room))
            level = program.next_involvement(view.room.type, view.membership.involvement)
            assert level == (cycle * 2)[cycle.index(held[0]) + 1]
            self.place.do(self.place.rooms.set_involvement(person, room, level))
            held[:] = [level.value, 0 if level == "invisible" else held[1]]

    @rule(which=anybody)
    def write(self, which: int) -> None:
        room, by = list(self.inside)[which % len(self.inside)]
        person = next(each for each in self.people if each.id == by)
        self.place.post(person, room, "hello")
        for (where, user), held in self.inside.items():
            is_elsewhere = user != by and not self.tabs(room, user)
            if where == room and is_elsewhere and held[0] != "invisible":
                held[1] = 1

    def tabs(self, room: RoomId, user: UserId) -> int:
        return sum(
            key[:2] == (room, user) and self.clock.seconds - seen <= 60
            for key, seen in self.looks.items()
        )

    @rule(which=anybody, tab=st.integers(0, 1), comes=st.booleans())
    def look(self, which: int, tab: int, *, comes: bool) -> None:
        room, user = list(self.inside)[which % len(self.inside)]
        self.presence.enter(room, user, tab)
        self.looks[room, user, tab] = self.clock.seconds
        if comes:  # a mere heartbeat reads nothing
            self.place.do(self.place.parts.db.write(program.mark_read, user, room))
            self.inside[room, user][1] = 0

    @precondition(lambda self: self.looks)
    @rule(which=anybody)
    def look_away(self, which: int) -> None:
        key = list(self.looks)[which % len(self.looks)]
        for _ in range(2):
            self.presence.leave(*key)
        del self.looks[key]

    @rule(seconds=st.sampled_from([1, 30, 61]), sweeps=st.booleans())
    def time_passes(self, seconds: int, *, sweeps: bool) -> None:
        self.clock.seconds += seconds
        if sweeps:
            self.presence.sweep()

    @invariant()
    def everybody_is_where_the_model_says(self) -> None:
        found = {(room, user): [level, unread] for room, user, level, unread in self.stored()}
        assert found == self.inside
        rooms = self.place.rows("SELECT id, type, direct_key, creator_id FROM rooms")
        assert {room: kind for room, kind, *_ in rooms} == self.types
        for room, kind, key, creator in rooms:
            users = {user for where, user in found if where == room}
            assert creator in users
            assert kind != "open" or {user.id for user in self.people} <= users
            assert key == (",".join(map(str, sorted(users))) if kind == "direct" else None)
        for room, user in found:
            assert self.presence.count(room, user) == self.tabs(room, user)

    def teardown(self) -> None:
        for key in self.looks:
            self.presence.leave(*key)
        assert self.presence.entries() == 0
        self.place.close()


class Child:
    """The program as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.process, self.address = process, address

    async def ended(self) -> int:
        async with asyncio.timeout(40):
            return await self.process.wait()


@asynccontextmanager
async def child_server(database: Path, **settings: str) -> AsyncIterator[Child]:
    """Serves this database until it is told, or killed, or no longer needed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "campfire.py", "serve", "--db", database,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **SETTINGS, "LOG_LEVEL": "error", **settings},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            line = (await process.stdout.readline()).decode()
        found = re.fullmatch(r"Listening on (https?://\S+:[0-9]+)\n", line)
        yield Child(process, found[1] if found else line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def token_for(database: Path, user: program.User) -> str:
    """A session made before the program starts."""
    server = await start_server(database)
    token = await start_session(server.parts, user.id, "127.0.0.1", AGENT)
    await server.close()
    return token


@asynccontextmanager
async def browser(address: str, token: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A signed-in browser with its CSRF token."""
    jar = aiohttp.CookieJar(unsafe=True)
    jar.update_cookies({"session_token": token})
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(address, cookie_jar=jar, connector=connector) as session:
        async with session.get("/api/boot") as answer:
            session.headers["X-CSRF-Token"] = (await answer.json())["csrf_token"]
        yield session


Told = Callable[[str], None]


async def write_on(
    browser: aiohttp.ClientSession, path: str, body: str, name: str, told: Told
) -> None:
    """Posts message after message, noting each that was acknowledged, until nobody answers."""
    try:
        for number in count():
            message = {"client_message_id": f"{name}-{number}", "body": f"{body} {name}-{number}"}
            async with browser.post(path, json=message) as answer:
                if answer.status != 201:
                    return
                told(message["client_message_id"])
    except (aiohttp.ClientError, OSError):
        return


def assert_whole(database: Path, folder: Path, acknowledged: set[str], named: int) -> None:
    """Looks at a copy, so that it is the program that repairs its own file."""
    for name in (database.name, f"{database.name}-wal"):
        if (database.parent / name).exists():
            shutil.copy(database.parent / name, folder / name)
    looking = sqlite3.connect(folder / database.name)
    assert looking.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert looking.execute("PRAGMA foreign_key_check").fetchall() == []
    messages = looking.execute(
        """
        SELECT client_message_id, body_text LIKE '%' || client_message_id,
          (SELECT body FROM message_search_index WHERE rowid = messages.id) = body_text,
          (SELECT group_concat(user_id) FROM mentions WHERE message_id = messages.id)
        FROM messages
        WHERE client_message_id LIKE 'w%'
        """
    ).fetchall()
    assert acknowledged <= {each[0] for each in messages}
    assert {each[1:] for each in messages} <= {(1, 1, str(named))}
    assert looking.execute(
        "SELECT (SELECT count(*) FROM messages) - (SELECT count(*) FROM message_search_index)"
    ).fetchone() == (0,)
    latest = looking.execute(
        """
        SELECT max(messages.created_at), rooms.updated_at, unread_at
        FROM messages
        JOIN rooms ON rooms.id = messages.room_id
        JOIN memberships ON memberships.room_id = rooms.id AND user_id = :named
        WHERE client_message_id LIKE 'w%'
        """,
        {"named": named},
    ).fetchone()
    assert not acknowledged or len(set(latest)) == 1
    looking.close()

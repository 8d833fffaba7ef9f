"""Whatever people do: rooms hold whom they should, and exactly those hear of it."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import campfire as program
from campfire import RoomId, RoomType, User, UserId
from tests.conftest import Place
from tests.support.cable import Reader, happen, seen
from tests.support.cast import Cast, Template, make_administrator, newcomer

deeds = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "edit", "delete", "boost", "unboost"]), st.integers(0, 5)
    ),
    max_size=7,
)

anybody = st.integers(0, 59)
crowd = st.sets(st.integers(0, 5), max_size=3)


def test_rooms_hold_whom_they_should_whatever_people_do(template: Template) -> None:
    run_state_machine_as_test(
        lambda: House(template),  # type: ignore[arg-type]  # as hypothesis documents it
        settings=settings(max_examples=50, stateful_step_count=30),
    )


@settings(max_examples=40)
@given(st.integers(0, 5), st.sets(st.integers(0, 5)), st.sets(st.integers(4, 5)), st.booleans())
def test_exactly_the_bots_pinged_or_named_are_called_and_never_the_author(
    place: Place,
    cast: Cast,
    by: int,
    named: set[int],
    hooked: set[int],
    is_ping: bool,  # noqa: FBT001 - hypothesis gives it by place
) -> None:
    db, hook = place.parts.db, "http://127.0.0.1/hook"
    zed = place.do(db.write(program.make_bot, "Zed", hook if 5 in hooked else "")).user
    url = hook if 4 in hooked else ""
    place.do(db.write(program.revise_bot, cast.bender.id, None, url))
    people = [*cast.everybody, zed]
    ids = [each.id for each in people]
    room = place.room(people[by], *people)
    if is_ping:
        room = place.do(place.rooms.find_or_create_direct(people[by], ids))[0].room.id
    words = "hi " + "".join(place.mention(people[n]) for n in sorted(named))
    posted = place.post(people[by], room, words)
    said = program.Happening(
        "message.created", room, people[by], posted.message.created_at, message=posted.message
    )
    calls = place.do(db.read(program.calls_for, said))
    expected = [people[n].id for n in sorted(hooked - {by}) if is_ping or n in named]
    assert [each.bot.user.id for each in calls] == expected
    assert all(each.is_asked for each in calls)
    place.do(db.write(program.retire_bot, zed.id))


@settings(max_examples=15)
@given(st.sets(st.integers(0, 3)), st.integers(0, 3), st.booleans())
def test_of_what_is_said_edited_and_boosted_exactly_the_members_hear(
    place: Place,
    cast: Cast,
    inside: set[int],
    by: int,
    is_ping: bool,  # noqa: FBT001 - hypothesis gives it by place
) -> None:
    """Everybody listens to all they can; four frames for each member, none for others."""
    members = [cast.everybody[n] for n in sorted(inside | {by})]
    room_id, author = place.room(cast.everybody[by], *members), cast.everybody[by]
    if is_ping:
        ping = place.rooms.find_or_create_direct(author, [each.id for each in members])
        room_id = place.do(ping)[0].room.id
    room, sign = replace(cast.hq, id=room_id), place.parts.signer.stream

    async def story() -> None:
        people = {each.id: await place.server.sign_in(each) for each in cast.everybody[:4]}
        tabs = {user_id: await each.sidebar_tab() for user_id, each in people.items()}
        for tab in tabs.values():
            await tab.ask(channel="UnreadRoomsChannel")
            name = sign(f"room_{room_id}:messages")
            await tab.ask(channel="RoomMessagesChannel", signed_stream_name=name)
            await tab.ask(channel="TypingNotificationsChannel", room_id=room_id)
        said = await people[author.id].say(room, "between us")
        path = f"/api/rooms/{room_id}/messages/{said['id']}"
        await people[author.id].put(path, {"body": "edited"})
        await people[author.id].post(f"/api/messages/{said['id']}/boosts", {"content": "+1"})
        heard = {user_id: len(await tab.drain()) for user_id, tab in tabs.items()}
        assert heard == {each: 4 * (each in {m.id for m in members}) for each in people}
        await asyncio.gather(*(each.__aexit__() for each in people.values()))

    place.do(story())


@settings(max_examples=80)
@given(deeds, deeds, st.integers(0, 8), deeds, deeds, deeds)
def test_whoever_loses_their_connection_ends_with_exactly_what_the_server_has(
    place: Place,
    before: list[tuple[str, int]],
    live: list[tuple[str, int]],
    lost: int,
    away: list[tuple[str, int]],
    between: list[tuple[str, int]],
    meanwhile: list[tuple[str, int]],
) -> None:
    """A reader against a freshly loaded page, after all that happened meanwhile."""
    cast = place.cast
    room = place.room(cast.jz, cast.kevin)

    async def story() -> None:
        jz, kevin = [await place.server.sign_in(user) for user in (cast.jz, cast.kevin)]

        async def happening(chapter: Sequence[tuple[str, int]]) -> None:
            for deed in chapter:
                await happen(jz, room, deed)

        await happening(before)
        reader, fresh = Reader(kevin, room), Reader(kevin, room)
        await reader.load()
        await asyncio.gather(happening(live), reader.listen(happening(between[:2])))
        await reader.lose_connection(lost)
        await happening(away)
        await asyncio.gather(happening(meanwhile), reader.listen(happening(between)))
        await reader.catch_breath()
        await fresh.load()

        shown = sorted(reader.shown.values(), key=lambda each: (each["sort_value"], each["id"]))
        assert list(map(seen, shown)) == list(map(seen, fresh.shown.values()))
        await asyncio.gather(jz.http.close(), kevin.http.close())

    place.do(story())


def test_rooms_hold_whom_they_should_bots_included(template: Template) -> None:
    run_state_machine_as_test(
        lambda: HouseWithBots(template),  # type: ignore[arg-type]  # as hypothesis documents it
        settings=settings(max_examples=15, stateful_step_count=20),
    )


@settings(max_examples=15)
@given(st.integers(0, 3), st.integers(0, 8), st.integers(1, 3))
def test_whoever_is_put_out_of_a_room_hears_nothing_said_after_it(
    place: Place, cast: Cast, before: int, at_once: int, after: int
) -> None:
    """Somebody is revoked while others talk, and comes back to listen."""
    room = replace(cast.hq, id=place.room(cast.jz, cast.kevin))

    async def story() -> None:
        jz, kevin = [await place.server.sign_in(each) for each in (cast.jz, cast.kevin)]
        tab, heard = await kevin.room_tab(room), ""
        for n in range(before):
            await jz.say(room, f"before {n}")
        out = jz.put(f"/api/rooms/closeds/{room.id}", {"name": "Us", "user_ids": []})
        saved, *said = await asyncio.gather(out, *(jz.say(room, "now") for _ in range(at_once)))
        with suppress(ConnectionError):
            while frame := await tab.next_frame():
                heard += str(frame.get("message", ""))
        end = saved.json["room"]["updated_at_ms"]
        later = [each["id"] for each in said if each["timestamp"] > end]
        assert [each for each in later if f'data-message-id="{each}"' in heard] == []
        back, signed = await kevin.welcomed(), place.parts.signer.stream(f"room_{room.id}:messages")
        refused = await back.ask(channel="RoomMessagesChannel", signed_stream_name=signed)
        assert refused["type"] == "reject_subscription"
        for n in range(after):
            await jz.say(room, f"after {n}")
        assert await back.drain() == []
        await asyncio.gather(jz.__aexit__(), kevin.__aexit__())

    place.do(story())


class House(RuleBasedStateMachine):
    """People, rooms, memberships and who looks where, against plain dictionaries."""

    def __init__(self, template: Template) -> None:
        super().__init__()
        self.place = Place(template)
        self.presence, self.clock = self.place.parts.sockets.presence, self.place.server.steady
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
        may = is_direct or by.role is program.Role.ADMINISTRATOR or self.creators[room] == by.id
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
        change = self.place.do(self.place.rooms.create(self.person(by), RoomType.OPEN, "Open"))
        self.made(change.room, [user.id for user in self.people])

    @rule(by=anybody, others=crowd)
    def create_closed(self, by: int, others: set[int]) -> None:
        users = {self.person(n).id for n in others}
        work = self.place.rooms.create(
            self.person(by), RoomType.CLOSED, "Closed", [*users, UserId(10**9)]
        )
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
            rooms.save(actor, room, RoomType.OPEN, "Saved")
            if opens
            else rooms.save(actor, room, RoomType.CLOSED, "Saved", sorted(users))
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
        assert self.place.rows_about(room) == []
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
            live = sum(self.clock.seconds - seen <= 60 for seen in self.looks.values())
            assert self.presence.entries() == live

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
            here = {user for where, user in found if where == room and self.tabs(room, user)}
            assert self.presence.present_in(room) & users == here

    def teardown(self) -> None:
        for key in self.looks:
            self.presence.leave(*key)
        assert self.presence.entries() == 0
        self.place.close()


class HouseWithBots(House):
    @rule()
    def a_bot_is_made(self) -> None:
        bot = self.place.do(self.place.parts.db.write(program.make_bot, "Bot", ""))
        self.people.append(self.place.do(self.place.parts.db.read(program.user_by_id, bot.user.id)))
        for room, kind in self.types.items():
            self.let_in(room, [bot.user.id] if kind == "open" else [])

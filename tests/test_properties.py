"""What holds whatever people do: messages, rooms, presence, and who may come in."""

import asyncio
import json
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import campfire as program
from campfire import MessageId, PersistedMessage, RoomId, User, UserId
from tests.cast import SESAME, Cast
from tests.conftest import Place, Template, read_back

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
people = st.integers(0, 4)
anybody = st.integers(0, 59)
crowd = st.sets(st.integers(0, 5), max_size=3)


# --- Messages ------------------------------------------------------------------------------------

sendings = st.tuples(
    st.sampled_from("abc"), st.integers(0, 1), st.integers(0, 1), st.sampled_from(["hello", "bye"])
)


@settings(max_examples=60)
@given(st.lists(sendings, max_size=12))
def test_however_often_it_is_sent_a_message_is_stored_once_and_its_first_words_win(
    place: Place, cast: Cast, sends: list[tuple[str, int, int, str]]
) -> None:
    rooms = [place.room(cast.jz, cast.kevin), place.room(cast.kevin, cast.jz)]
    first_words: dict[tuple[str, RoomId], PersistedMessage] = {}

    for client_message_id, which_room, by, source in sends:
        room = rooms[which_room]
        posted = place.post((cast.jz, cast.kevin)[by], room, source, client_message_id)

        assert posted.fresh == ((client_message_id, room) not in first_words)
        assert posted.message == first_words.setdefault((client_message_id, room), posted.message)

    for room in rooms:
        stored = [message for (_, where), message in first_words.items() if where == room]
        assert list(place.do(place.messages.page(cast.jz, room)).messages) == stored
        [(moved_at,)] = place.rows("SELECT updated_at FROM rooms WHERE id = :room", room=room)
        assert not stored or moved_at == stored[-1].created_at


def store_at(place: Place, by: User, room: RoomId, times: Sequence[int]) -> list[MessageId]:
    """Messages of these times, as an import may bring them; their ids in the room's order."""
    insert = """
        INSERT INTO messages (room_id, creator_id, client_message_id, created_at, updated_at)
        VALUES (:room, :by, :cmid, :at, :at)
    """
    rows = [{"room": room, "by": by.id, "cmid": str(n), "at": at} for n, at in enumerate(times)]
    place.do(place.parts.db.write(lambda tx, _: tx.executemany(insert, rows).rowcount))
    order = "SELECT id FROM messages WHERE room_id = :room ORDER BY created_at, id"
    return [MessageId(message_id) for (message_id,) in place.rows(order, room=room)]


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9), max_size=130), st.integers(0, 129))
@example([7] * 81, 40)
@example([7] * 80, 39)
@example([1] * 40 + [2] * 41, 80)
def test_paging_in_either_direction_visits_every_message_once_in_order(
    place: Place, cast: Cast, times: list[int], centre: int
) -> None:
    room = place.room(cast.jz)
    everything = store_at(place, cast.jz, room, times)

    def page(**somewhere: MessageId) -> program.MessagePage:
        found = place.do(place.messages.page(cast.jz, room, **somewhere))
        places = [(each.created_at, each.id) for each in found.messages]
        assert all(earlier < later for earlier, later in pairwise(places))
        assert len(places) <= (81 if "around" in somewhere else 40)
        return found

    found = page()
    backwards = [each.id for each in found.messages]
    while found.has_before:
        found = page(before=backwards[0])
        backwards[:0] = [each.id for each in found.messages]
    assert backwards == everything

    forwards = everything[:1]
    while forwards and (found := page(after=forwards[-1])).messages:
        forwards += [each.id for each in found.messages]
        assert found.has_after == (forwards[-1] != everything[-1])
    assert forwards == everything

    if everything:
        middle = centre % len(everything)
        found = page(around=everything[middle])
        expected = everything[max(middle - 40, 0) : middle + 41]
        assert [each.id for each in found.messages] == expected
        assert found.highlighted_id == everything[middle]
    place.do(place.rooms.delete(cast.jz, room))


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
        page = self.place.do(self.place.messages.page(self.inside[0], self.room)).messages
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
        assert self.place.rows(
            "SELECT rowid, body FROM message_search_index ORDER BY rowid"
        ) == self.place.rows("SELECT id, body_text FROM messages ORDER BY id")

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
        self.place.do(self.place.rooms.delete(self.inside[0], self.room))
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


def test_a_room_holds_exactly_what_was_said_and_not_taken_back(place: Place) -> None:
    run_state_machine_as_test(
        lambda: Talk(place),  # type: ignore[arg-type]  # as hypothesis documents it
        settings=settings(max_examples=40, stateful_step_count=14),
    )


# --- Rooms ---------------------------------------------------------------------------------------


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
        joining = self.place.auth.join(code, f"New {number}", f"new{number}@example.com", SESAME)
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
        create = self.place.auth.create_administrator
        self.people[which + 1] = self.place.do(create(user.name, str(user.email_address), SESAME))
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
                self.place.do(self.place.rooms.delete(actor, room))
            return
        self.place.do(self.place.rooms.delete(actor, room))
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
            view = self.place.do(self.place.rooms.view(user, room))
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
            self.place.do(self.place.rooms.read_by(user, room))
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


def test_rooms_hold_whom_they_should_whatever_people_do(template: Template) -> None:
    run_state_machine_as_test(
        lambda: House(template),  # type: ignore[arg-type]  # as hypothesis documents it
        settings=settings(max_examples=50, stateful_step_count=30),
    )


# --- Markup --------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(words, words, st.lists(words.map(lambda text: text[:16]), max_size=3))
@example("/play tada", "\N{BLACK SQUARE}", [])
@example("\N{GRINNING FACE}", "Kevin", ["\N{THUMBS UP SIGN}"])
@example("https://example.com/?a=1&b='2' </div>", "<b>&amp;", ["<i>", '"'])
def test_a_message_reads_the_same_from_its_markup_and_names_no_address(
    place: Place, cast: Cast, source: str, name: str, boosts: list[str]
) -> None:
    room = place.room(cast.kevin)
    place.run("UPDATE users SET name = :name WHERE id = :kevin", name=name, kevin=cast.kevin.id)
    stored = place.post(cast.kevin, room, place.mention(cast.kevin) + source).message
    for content in boosts:
        if program.without_controls(content).strip():
            place.do(place.messages.boost(cast.kevin, stored.id, content))
    [message] = place.do(place.messages.page(cast.kevin, room)).messages

    markup = place.parts.shapes.message_element(message, "Backstage")
    shape = place.parts.shapes.public_message(message, "http://chat.example.com")

    del shape["url"]
    assert read_back(markup) == json.loads(json.dumps(shape))
    assert "kevin@example.com" not in markup
    place.run("UPDATE users SET name = 'Kevin' WHERE id = :kevin", kevin=cast.kevin.id)

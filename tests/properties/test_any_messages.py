"""Whatever is said, edited, deleted, boosted and sent again: messages stay what they are."""

import asyncio
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
from tests.conftest import Place
from tests.support.asking import Shown, page_of
from tests.support.cable import Markup, read_back
from tests.support.cast import Cast

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
people = st.integers(0, 4)

sendings = st.tuples(
    st.sampled_from("abc"), st.integers(0, 1), st.integers(0, 1), st.sampled_from(["hello", "bye"])
)
DEEDS = st.lists(
    st.tuples(st.sampled_from("say say edit delete ban unban room".split()), st.integers(0, 9)),
    max_size=20,
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
        assert list(place.do(page_of(place.parts, cast.jz, room)).messages) == stored
        [(moved_at,)] = place.rows("SELECT updated_at FROM rooms WHERE id = :room", room=room)
        assert not stored or moved_at == stored[-1].created_at


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9), max_size=130), st.integers(0, 129))
@example([7] * 81, 40)
@example([7] * 80, 39)
@example([1] * 40 + [2] * 41, 80)
def test_paging_in_either_direction_visits_every_message_once_in_order(
    place: Place, cast: Cast, times: list[int], centre: int
) -> None:
    """Pages back from the last page, forward from the first message, and around one."""
    room = place.room(cast.jz)
    everything = store_at(place, cast.jz, room, times)

    def page(**somewhere: MessageId) -> Shown:
        found = place.do(page_of(place.parts, cast.jz, room, **somewhere))
        places = [each.id for each in found.messages]
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
    place.do(place.parts.db.write(program.remove_room, cast.jz, room))


def test_a_room_holds_exactly_what_was_said_and_not_taken_back(place: Place) -> None:
    run_state_machine_as_test(
        lambda: Talk(place),  # type: ignore[arg-type]  # as hypothesis documents it
        settings=settings(max_examples=40, stateful_step_count=14),
    )


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
    [message] = place.do(page_of(place.parts, cast.kevin, room)).messages

    shapes = place.parts.shapes
    markup = program.message_element(shapes, message, "Backstage")
    shape = json.loads(
        b"".join(shapes.told(message).seen_by(cast.kevin, "http://chat.example.com"))
    )

    del shape["url"], shape["can_edit"]
    assert read_back(markup) == shape
    beside = {key: shape.pop(key) for key in ("creator", "body_html", "plain_text")}
    assert all(value is not None for value in beside.values())
    assert json.loads(Markup(markup).all("data-json")[0][0]["data-json"]) == shape
    assert "kevin@example.com" not in markup
    place.run("UPDATE users SET name = 'Kevin' WHERE id = :kevin", kevin=cast.kevin.id)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 3))
def test_of_any_sendings_at_once_each_is_stored_rendered_and_told_once_in_order(
    place: Place, cast: Cast, crowds: list[int], listeners: int
) -> None:
    """Crowds of equal sendings: one row, one rendering, one frame each, in the order of ids."""
    room = replace(cast.hq, id=place.room(cast.kevin))
    sends = [{"client_message_id": f"c{n}", "body": "hi"}
             for n, times in enumerate(crowds) for _ in range(times)]  # fmt: skip

    async def story() -> None:
        kevin = await place.server.sign_in(cast.kevin)
        tabs = [await kevin.room_tab(room) for _ in range(listeners)]
        await kevin.csrf()
        before, path = place.parts.shapes.renderings, f"/api/rooms/{room.id}/messages"
        answers = await asyncio.gather(*(kevin.post(path, each) for each in sends))
        statuses = [201] * len(crowds) + [200] * (len(sends) - len(crowds))
        assert sorted(each.status for each in answers) == sorted(statuses)
        heard = [await tab.drain() for tab in tabs]
        ids = [int(re.findall(r'data-message-id="(\d+)"', frame)[0]) for frame in heard[0]]
        assert ids == sorted({each.json["message"]["id"] for each in answers})
        assert heard == [heard[0]] * listeners
        assert place.parts.shapes.renderings == before + len(crowds)
        await kevin.__aexit__()

    place.do(story())


@given(st.integers(0, 4), st.integers(0, 4), st.tuples(st.booleans(), st.booleans()))
def test_only_the_author_or_an_administrator_inside_changes_a_message(
    place: Place, cast: Cast, author: int, actor: int, choice: tuple[bool, bool]
) -> None:
    is_inside, edits = choice
    by, who, messages = cast.everybody[author], cast.everybody[actor], place.messages
    room = place.room(by, *(each for each in cast.everybody if each != who or is_inside))
    said = place.post(by, room, "mine").message.id
    everything = "SELECT * FROM messages JOIN rooms ON rooms.id = room_id WHERE room_id = :room"
    before = place.rows(everything, room=room)
    draft = program.DraftMessage(room, who.id, None, "x")
    work: Any = messages.update(who, said, draft) if edits else messages.delete(who, room, said)
    is_in = is_inside or who == by
    if is_in and (who == by or who.role is program.Role.ADMINISTRATOR):
        place.do(work)
        assert place.rows(everything, room=room) != before
    else:
        with pytest.raises(program.Forbidden if is_in else program.RoomNotFound):
            place.do(work)
        assert place.rows(everything, room=room) == before


@settings(max_examples=40)
@given(DEEDS)
def test_the_search_index_holds_exactly_what_is_there_whatever_is_deleted_or_banned(
    place: Place, cast: Cast, deeds: list[tuple[str, int]]
) -> None:
    """After every deed the index is compared with the messages."""
    db, messages = place.parts.db, place.messages
    rooms, known = [place.room(cast.david, cast.kevin, cast.jz) for _ in range(2)], []
    for what, n in deeds:
        room, david, kevin = rooms[n % 2], cast.david, cast.kevin
        works: list[Any] = []
        if what == "say":
            with suppress(program.RoomNotFound):  # as it is for the banned
                said = place.post((david, kevin)[n % 2], room, f"word {n}").message.id
                known.append((room, said))
        elif what in ("edit", "delete") and known:
            where, said = known[n % len(known)]
            draft = program.DraftMessage(where, david.id, None, "new")
            works = [messages.update(david, said, draft) if what == "edit"
                     else messages.delete(david, where, said)]  # fmt: skip
        elif what == "ban":  # the removal is cut short
            bury = program.bury_oldest_of_banned
            works = [db.write(program.banish, david, kevin.id)]
            works += [db.write(bury, kevin.id) for _ in "ab"[n:]]
        elif what == "unban":
            works = [db.write(program.readmit, kevin.id)]
        elif what == "room":
            works = [place.parts.db.write(program.remove_room, david, room)]
            rooms[n % 2] = place.room(david, kevin)
        for work in works:
            with suppress(program.MessageNotFound, program.RoomNotFound):
                place.do(work)
        place.assert_all_is_indexed()
    place.do(db.write(program.readmit, cast.kevin.id))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 14), max_size=40))
def test_whatever_is_searched_the_ten_searches_last_used_are_remembered(
    place: Place, cast: Cast, numbers: list[int]
) -> None:
    db, jz = place.parts.db, cast.jz.id
    place.do(db.write(program.forget_searches, jz))
    for n in numbers:
        place.do(db.write(program.remember_search, jz, f"word {n}"))
    recent = place.do(db.read(program.recent_searches, jz))
    expected = list(dict.fromkeys(reversed(numbers)))[:10]
    assert [each["query"] for each in recent] == [f"word {n}" for n in expected]


def store_at(place: Place, by: User, room: RoomId, times: Sequence[int]) -> list[MessageId]:
    """Messages of these times, by a clock that jumps; their ids in the room's order."""
    insert = """
        INSERT INTO messages (room_id, creator_id, client_message_id, created_at, updated_at)
        VALUES (:room, :by, :cmid, :at, :at)
    """
    rows = [{"room": room, "by": by.id, "cmid": str(n), "at": at} for n, at in enumerate(times)]
    place.do(place.parts.db.write(lambda tx, _: tx.executemany(insert, rows).rowcount))
    order = "SELECT id FROM messages WHERE room_id = :room ORDER BY id"
    return [MessageId(message_id) for (message_id,) in place.rows(order, room=room)]


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
        draft = program.DraftMessage(self.room, said.by.id, None, source)
        self.place.do(self.place.messages.update(said.by, message_id, draft))
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
        self.place.assert_all_is_indexed()

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
        assert self.place.rows_about(self.room) == []

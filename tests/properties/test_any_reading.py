"""Whoever comes, goes and says what: what somebody has not read begins where they left."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import campfire as program
from tests.conftest import Place
from tests.support.cast import Cast

DEEDS = ("say", "say", "name", "come", "leave", "keep", "done", "edit", "delete")
deeds = st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 2), st.integers(0, 9)))


class Reading:
    """A room of three, and what of it each of them has read: lists of messages, newest last."""

    def __init__(self, place: Place, cast: Cast) -> None:
        self.place, self.people = place, [cast.kevin, cast.jz, cast.jason]
        self.room = place.room(cast.kevin, *self.people)
        self.said: list[tuple[program.PersistedMessage, set[int]]] = []
        self.looking: set[int] = set()
        self.left: dict[int, int | None] = {0: None, 1: None, 2: None}  # the time it is unread from

    def say(self, by: int, n: int, named: tuple[int, ...] = ()) -> None:
        words = f"<div>{n}</div>" + "".join(self.place.mention(self.people[it]) for it in named)
        message = self.place.post(self.people[by], self.room, words).message
        self.said.append((message, set(named) - {by}))
        for reader in {0, 1, 2} - self.looking - {by}:
            self.left[reader] = self.left[reader] or message.created_at

    def name(self, by: int, n: int) -> None:
        self.say(by, n, (n % 3, (n + 1) % 3))

    def come(self, by: int, _: int) -> None:
        self.place.parts.sockets.presence.enter(self.room, self.people[by].id, self)
        self.looking.add(by)
        self.done(by, 0)

    def leave(self, by: int, _: int) -> None:
        self.place.parts.sockets.presence.leave(self.room, self.people[by].id, self)
        self.looking.discard(by)

    def keep(self, by: int, n: int) -> None:
        if self.said:
            message = self.said[n % len(self.said)][0]
            self.write(program.mark_unread, self.people[by].id, self.room, message.id)
            self.left[by] = message.created_at

    def done(self, by: int, _: int) -> None:
        self.write(program.mark_read, self.people[by].id, self.room)
        self.left[by] = None

    def edit(self, _: int, n: int) -> None:
        if self.said:
            message, _named = self.said[n % len(self.said)]
            draft = program.DraftMessage(self.room, message.creator.id, None, "other words")
            self.place.do(self.place.messages.update(message.creator, message.id, draft))
            self.said[n % len(self.said)] = (message, set())

    def delete(self, _: int, n: int) -> None:
        if self.said:
            message, _named = self.said.pop(n % len(self.said))
            self.place.do(self.place.messages.delete(message.creator, self.room, message.id))

    def write(self, work: Callable[..., Any], *given: object) -> None:
        self.place.do(self.place.parts.db.write(work, *given))

    def expected(self, by: int) -> tuple[int | None, object, int]:
        since, own = self.left[by], self.people[by].id
        news = [it for it in self.said if since and it[0].created_at >= since]
        others = [it for it, _ in news if it.creator.id != own]
        first = {"message_id": others[0].id, "count": len(others)} if others else None
        return since, first, sum(by in named for it, named in news)

    def found(self, by: int) -> tuple[int | None, object, int]:
        view = self.place.do(
            self.place.parts.db.read(program.view_of, self.people[by].id, self.room)
        )
        member = view.membership
        first = self.place.do(self.place.parts.db.read(program.first_unread_of, member))
        return member.unread_at, first if member.unread_at else None, view.mentions


@settings(max_examples=60)
@given(deeds)
def test_what_is_unread_begins_with_the_first_message_since_somebody_left(
    place: Place, cast: Cast, what: list[tuple[str, int, int]]
) -> None:
    reading = Reading(place, cast)
    for deed, by, n in what:
        getattr(reading, deed)(by, n)
        assert [reading.found(it) for it in range(3)] == [reading.expected(it) for it in range(3)]
    for by in list(reading.looking):
        reading.leave(by, 0)

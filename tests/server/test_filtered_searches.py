"""Searching with more than words: a room, a person, days, what a message has; and older pages."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from random import Random

import pytest
from hypothesis import given as for_any
from hypothesis import settings
from hypothesis import strategies as st

import campfire as program
from campfire import DAY, ReadTx, Timestamp, UserId, Wanted
from tests.support.cast import Cast, Person

MANY, ROOMS, PEOPLE, LONER, HERMIT = 4_000, 5, 6, 5, 6
NOON = Timestamp(20_000 * DAY + DAY // 2)
WORDS = ("often", "sometimes", "release", "releases", "seldom", "上海")


@dataclass(frozen=True)
class Said:
    """A message as a scan sees it."""

    id: int
    room: int
    by: int
    at: int
    words: frozenset[str]
    has: str


def everything(random: Random) -> Iterator[Said]:
    """Years of talk, by a clock that was wrong more than once."""
    for number in range(1, MANY + 1):
        at = NOON + number * DAY // 5 + random.choice((0, 0, 0, DAY, -40 * DAY))
        words = {"often"} if number % 2 else {"sometimes"} if number % 50 == 0 else set()
        words |= {random.choice(WORDS[2:])} if random.random() < 0.1 else set()
        has = random.choices(("", "link", "file", "image"), (80, 10, 6, 4))[0]
        room = ROOMS if number % 40 == 0 else random.randint(1, ROOMS - 1)
        yield Said(number, room, random.randint(1, PEOPLE), at, frozenset(words), has)


TALK = tuple(everything(Random(7)))  # noqa: S311 - the same talk every time


@pytest.fixture(scope="module")
def tx() -> Iterator[ReadTx]:
    """The loner is in one large room, the hermit in the small one, everybody else in the others."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        program.create_schema(connection)
        users = "INSERT INTO users (name, created_at, updated_at) VALUES (?, 0, 0)"
        connection.executemany(users, [(f"Person {n}",) for n in range(1, PEOPLE + 1)])
        rooms = """
            INSERT INTO rooms (type, name, creator_id, created_at, updated_at)
            VALUES ('closed', ?, 1, 0, 0)
        """
        connection.executemany(rooms, [(f"Room {n}",) for n in range(1, ROOMS + 1)])
        members = [(n, by) for n in range(1, ROOMS - 1) for by in range(1, LONER)]
        joined = """
            INSERT INTO memberships (room_id, user_id, created_at, updated_at) VALUES (?, ?, 0, 0)
        """
        connection.executemany(joined, [*members, (ROOMS - 1, LONER), (ROOMS, HERMIT)])
        for it in TALK:
            text = " ".join(sorted(it.words)) + (" https://a.example" if it.has == "link" else "")
            row = {"id": it.id, "room_id": it.room, "creator_id": it.by, "body_text": text}
            times = {"created_at": it.at, "updated_at": it.at}
            about = {"client_message_id": str(it.id), "body_html": f"<div>{text}</div>"}
            program.put(connection, "messages", {**row, **times, **about})
            if it.has in ("file", "image"):
                key = {"key": f"{it.id:020}", "byte_size": 1, "content_type": "x/y"}
                program.put(connection, "blobs", {"id": it.id, "created_at": 0, **key})
                file = {"filename": "x", "kind": it.has, "created_at": 0}
                ids = {"message_id": it.id, "blob_id": it.id}
                program.put(connection, "attachments", file | ids)
        program.rebuild_index(connection)
        yield ReadTx(connection)


MOMENTS = st.integers(0, MANY // 5).map(lambda days: Timestamp(NOON + days * DAY + 7))
ANY_WANTED = st.builds(
    Wanted,
    room_id=st.sampled_from((None, *range(1, ROOMS + 2))),
    creator_id=st.sampled_from((None, *range(1, PEOPLE + 2))),
    has=st.sampled_from(("", "", "file", "link", "image")),
    since=st.just(Wanted().since) | MOMENTS,
    until=st.just(Wanted().until) | MOMENTS,
    before=st.just(Wanted().before) | st.integers(0, MANY + 1),
)


def wanted_of(user: int, word: str, wanted: Wanted) -> list[int]:
    """The same, by looking at everything that was ever said."""
    rooms = {LONER: {ROOMS - 1}, HERMIT: {ROOMS}}.get(user, set(range(1, ROOMS - 1)))
    same = {"file": ("file", "image")}.get(wanted.has, (wanted.has,))
    return [
        it.id
        for it in reversed(TALK)
        if it.room in rooms
        and (not word or any(said.startswith(word.removesuffix("s")) for said in it.words))
        and wanted.room_id in (None, it.room)
        and wanted.creator_id in (None, it.by)
        and (not wanted.has or it.has in same)
        and wanted.since <= it.at < wanted.until
        and it.id < wanted.before
    ]


@settings(max_examples=300)
@for_any(
    st.sampled_from((1, LONER, HERMIT)), st.sampled_from(("", *WORDS, "none", "rel")), ANY_WANTED
)
def test_a_filtered_search_finds_the_newest_of_what_a_look_at_everything_finds(
    tx: ReadTx, user: int, word: str, wanted: Wanted
) -> None:
    found = program.matches_for(tx, UserId(user), word, wanted)

    is_nothing = not word and wanted == Wanted(before=wanted.before)
    expected = [] if is_nothing else wanted_of(user, word, wanted)
    assert [message["id"] for message in found] == expected[: program.SEARCH_LIMIT + 1]


def test_ways_that_take_turns_leave_nothing_out_where_they_meet(tx: ReadTx) -> None:
    for creator in range(1, PEOPLE + 1):
        for room in (None, *range(1, ROOMS)):
            for before in range(MANY - 40, MANY):
                wanted = Wanted(creator_id=creator, room_id=room, before=before)
                found = program.matches_for(tx, UserId(1), "often", wanted)
                expected = wanted_of(1, "often", wanted)[: program.SEARCH_LIMIT + 1]
                assert [message["id"] for message in found] == expected, wanted


async def test_older_pages_follow_each_other_until_all_was_shown_once(
    kevin: Person, cast: Cast
) -> None:
    said = [await kevin.say(cast.designers, f"needle {n}") for n in range(205)]
    pages, before, more = list[list[int]](), "", True
    while more:
        answer = (await kevin.get(f"/api/searches?q=needle{before}")).json
        pages.append([hit["id"] for hit in answer["messages"]])
        before, more = f"&before={pages[-1][0]}", answer["has_before"]

    assert [len(page) for page in pages] == [100, 100, 5]
    assert sorted(chain.from_iterable(pages)) == [message["id"] for message in said]


async def test_filters_are_asked_for_by_name_with_words_or_without(
    kevin: Person, jz: Person, david: Person, cast: Cast
) -> None:
    link = await kevin.say(cast.designers, "see https://example.com/plan for the plan")
    await jz.say(cast.designers, "what plan")
    await david.say(cast.pets, "no plan of mine")
    ids = {"room_id": cast.designers.id, "creator_id": kevin.id}

    async def texts(**asked: object) -> list[str]:
        answer = await kevin.get("/api/searches", params={k: str(it) for k, it in asked.items()})
        assert answer.status == 200, answer.text
        return [hit["plain_text"].split()[0] for hit in answer.json["messages"]]

    assert await texts(q="plan") == ["see", "what", "no"]
    assert await texts(q="plan", room_id=cast.designers.id) == ["see", "what"]
    assert await texts(q="plan", creator_id=jz.id) == ["what"]
    assert await texts(q="", has="link") == ["see"]
    assert await texts(q="", **ids) == ["see"]
    assert await texts(q="plan", **{"from": link["created_at"]}) == ["see", "what", "no"]
    assert await texts(q="plan", to=link["created_at"]) == []
    day = link["created_at"][:10]
    assert await texts(q="plan", **{"from": day}, to=day) == ["see", "what", "no"]
    assert await texts(q="plan", **{"from": "2031-01-01"}) == []
    assert await texts(has="image") == []
    assert await texts(before=10**6) == []  # of nothing in particular
    page = await kevin.boot(f"/searches?creator_id={jz.id}&has=link")
    assert (page["page"], page["data"]["search"]["messages"]) == ("searches", [])


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ("room_id=x", {"room_id": ["is no id"]}),
        ("creator_id=-1", {"creator_id": ["is no id"]}),
        ("before=1.5", {"before": ["is no id"]}),
        ("from=yesterday", {"from": ["is no date"]}),
        ("to=2026-13-01", {"to": ["is no date"]}),
        ("has=sound", {"has": ["can be file, link or image"]}),
        ("from=x&room_id=y", {"from": ["is no date"], "room_id": ["is no id"]}),
    ],
)
async def test_a_filter_that_is_none_is_refused_by_name(
    kevin: Person, asked: str, wrong: dict[str, list[str]]
) -> None:
    answer = await kevin.get(f"/api/searches?q=plan&{asked}")

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert answer.json["error"]["fields"] == wrong


async def test_no_filter_shows_a_message_of_a_room_one_is_not_in(
    kevin: Person, jz: Person, david: Person, cast: Cast
) -> None:
    await jz.say(cast.designers, "a secret https://example.com")
    room = f"/api/rooms/closeds/{cast.designers.id}"
    await david.put(room, {"name": "Designers", "user_ids": [david.id, jz.id]})
    for asked in ("q=secret", f"room_id={cast.designers.id}", f"creator_id={jz.id}", "has=link"):
        assert (await kevin.get(f"/api/searches?{asked}")).json["messages"] == [], asked

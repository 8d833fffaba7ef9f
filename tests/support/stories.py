"""What properties are tried on: lists of deeds, jobs for the writer, a house with bots."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

import campfire as program
from campfire import MessageId, RoomId, User
from tests.conftest import Place
from tests.support.cast import Cast
from tests.support.doing import Shown, page_of
from tests.support.machines import House
from tests.support.readers import Reader, happen, seen

# --- Messages ------------------------------------------------------------------------------------

sendings = st.tuples(
    st.sampled_from("abc"), st.integers(0, 1), st.integers(0, 1), st.sampled_from(["hello", "bye"])
)


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


SET = """
    INSERT INTO secrets (name, value) VALUES (:name, :value)
    ON CONFLICT DO UPDATE SET value = :value
"""


class Spoiled(Exception):
    """What goes wrong inside a job."""


def value_of(tx: program.ReadTx, name: str) -> str:
    found = program.row(tx, "SELECT value FROM secrets WHERE name = :name", name=name)
    return str(found["value"]) if found else ""


def extend(tx: program.WriteTx, at: int, name: str, more: str, fails_after: int) -> str:
    """Appends letter by letter; fails after so many letters."""
    del at
    for position, letter in enumerate(more):
        if position == fails_after:
            raise Spoiled
        tx.execute(SET, {"name": name, "value": value_of(tx, name) + letter})
    return value_of(tx, name)


# --- The writer ----------------------------------------------------------------------------------

jobs = st.tuples(
    st.sampled_from("xyz"), st.text("abc", min_size=1, max_size=3), st.sampled_from([0, 1, 2, 9])
)


@pytest.fixture(scope="module")
def quiet_database(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[asyncio.Runner, program.Database]]:
    """A database that nobody else uses, and its loop."""
    db = program.Database(tmp_path_factory.mktemp("quiet") / "campfire.db", lambda: 1)
    with asyncio.Runner() as runner:
        runner.run(db.open())
        yield runner, db
        runner.run(db.close())


def moment(tx: program.WriteTx, at: program.Timestamp) -> program.Timestamp:
    del tx
    return at


# --- A client that loses its connection ----------------------------------------------------------

deeds = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "edit", "delete", "boost", "unboost"]), st.integers(0, 5)
    ),
    max_size=7,
)
DEEDS = st.lists(
    st.tuples(st.sampled_from("say say edit delete ban unban room".split()), st.integers(0, 9)),
    max_size=20,
)


class HouseWithBots(House):
    @rule()
    def a_bot_is_made(self) -> None:
        bot = self.place.do(self.place.parts.db.write(program.make_bot, "Bot", ""))
        self.people.append(self.place.do(self.place.parts.db.read(program.user_by_id, bot.user.id)))
        for room, kind in self.types.items():
            self.let_in(room, [bot.user.id] if kind == "open" else [])


TRIES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2_000)), max_size=80)


def page_both_ways(place: Place, cast: Cast, times: list[int], centre: int) -> None:
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


def write_in_batches(
    quiet_database: tuple[asyncio.Runner, program.Database],
    batches: list[list[tuple[str, str, int]]],
) -> None:
    """Jobs that are queued at once, against a dictionary that runs them one by one."""
    runner, db = quiet_database
    model: dict[str, str] = {}
    finished: list[tuple[str, str, int]] = []

    async def one(job: tuple[str, str, int]) -> str | None:
        try:
            result = await db.write(extend, *job)
        except Spoiled:
            result = None
        finished.append(job)
        seen = await db.read(value_of, job[0])
        assert result is None or seen.startswith(result)  # delivered is visible
        return result

    async def together(batch: list[tuple[str, str, int]]) -> list[str | None]:
        return await asyncio.gather(*map(one, batch))

    runner.run(db.write(lambda tx, _: tx.execute("DELETE FROM secrets").rowcount))
    for batch in batches:
        finished.clear()
        for (name, more, fails_after), result in zip(
            batch, runner.run(together(batch)), strict=True
        ):
            if fails_after < len(more):
                assert result is None
            else:
                model[name] = model.get(name, "") + more
                assert result == model[name]
        assert finished == batch  # results come in the order of the queue

    stored = runner.run(db.read(lambda tx: tx.execute("SELECT * FROM secrets").fetchall()))
    assert {each["name"]: each["value"] for each in stored} == model


def say_edit_and_boost(
    place: Place, cast: Cast, inside: set[int], by: int, *, is_ping: bool
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


def lose_and_catch_up(
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


def send_at_once(place: Place, cast: Cast, crowds: list[int], listeners: int) -> None:
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


def fill_the_disk(place: Place, cast: Cast, left: int, sizes: list[int]) -> None:
    """Messages into a file that may grow by so many pages."""
    room, kept = place.room(cast.kevin, cast.jz), []
    [(pages,)] = place.rows("PRAGMA page_count")
    place.run(f"PRAGMA max_page_count = {pages + left}")
    for size in sizes:
        with suppress(program.StorageError):
            words = place.mention(cast.jz) + "word " * size
            kept.append(place.post(cast.kevin, room, words).message)
    place.run("PRAGMA max_page_count = 1000000")
    whole = """
        SELECT id, body_text = (SELECT body FROM message_search_index WHERE rowid = messages.id),
          (SELECT group_concat(user_id) FROM mentions WHERE message_id = messages.id)
        FROM messages WHERE room_id = :room ORDER BY id
    """
    assert place.rows(whole, room=room) == [(each.id, 1, str(cast.jz.id)) for each in kept]
    moved = "SELECT unread_at FROM memberships WHERE room_id = :room AND user_id = :jz"
    last = kept[-1].created_at if kept else None
    assert place.rows(moved, room=room, jz=cast.jz.id) == [(last,)]
    [(at,)] = place.rows("SELECT updated_at FROM rooms WHERE id = :room", room=room)
    assert not kept or at == last


def say_delete_and_ban(place: Place, cast: Cast, deeds: list[tuple[str, int]]) -> None:
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
            is_edit = what == "edit"
            works = [messages.update(david, where, said, "new") if is_edit
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
        indexed = place.rows("SELECT rowid, body FROM message_search_index ORDER BY rowid")
        stored = place.rows("SELECT id, body_text FROM messages ORDER BY id")
        assert indexed == [(each, program.searchable(text)) for each, text in stored]
    place.do(db.write(program.readmit, cast.kevin.id))


def put_out_and_talk(place: Place, cast: Cast, before: int, at_once: int, after: int) -> None:
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


def try_again_and_again(tries: list[tuple[str, int]]) -> None:
    """Tries of two addresses, against windows counted by hand."""
    tenths, windows = 0, {"a": [(-10_000, 0)], "b": [(-10_000, 0)]}
    limiter = program.TryLimiter(lambda: tenths / 10)
    for address, wait in tries:
        tenths += wait if wait > 200 else wait // 10  # often many in one window
        began, count = windows[address][-1]
        if tenths - began >= 1_800:
            windows[address].append((tenths, 0))
            began, count = tenths, 0
        if count < 10:
            limiter.count(address)
            windows[address][-1] = began, count + 1
            continue
        with pytest.raises(program.RateLimited) as refused:
            limiter.count(address)
        assert 0 <= refused.value.retry_after * 10 - (began + 1_800 - tenths) < 10
    for used in windows.values():
        assert all(count <= 10 for _, count in used)
        assert all(later - earlier >= 1_800 for (earlier, _), (later, _) in pairwise(used))


def wish_and_be_told(
    place: Place,
    cast: Cast,
    wishes: list[tuple[str, bool, bool, int]],
    by: int,
    seconds: int,
    *,
    is_ping: bool,
) -> None:
    """Who is pushed by the wishes of five people, against the sentence of the specification."""
    people, author = cast.everybody, cast.everybody[by]
    place.run("DELETE FROM push_subscriptions")
    room = place.room(author, *people)
    if is_ping:
        ids = [each.id for each in people]
        room = place.do(place.rooms.find_or_create_direct(author, ids))[0].room.id
    keep = place.parts.push.keep
    for person, (level, is_present, _, devices) in zip(people, wishes, strict=True):
        involvement = program.Involvement(level)
        place.do(place.rooms.set_involvement(person, room, involvement))
        for n in range(devices):
            endpoint = f"https://push.example.com/{n}"
            place.do(keep(person.id, endpoint, ("k", "a"), ""))
        if is_present:
            place.parts.cable.presence.enter(room, person.id, 0)
    place.server.steady.seconds += seconds

    named = [each for each, (_, _, is_named, _) in zip(people, wishes, strict=True) if is_named]
    posted = place.post(author, room, "hi " + "".join(map(place.mention, named)), None)

    expected = [
        (person.id, f"https://push.example.com/{n}")
        for person, (level, is_present, is_named, devices) in zip(people, wishes, strict=True)
        for n in range(devices)
        if person.id != author.id and not (is_present and seconds <= 60)
        if level == "everything" or (level == "mentions" and is_named)
    ]
    notices = place.do(
        place.parts.db.read(program.notices_for, room, posted.message, posted.present)
    )
    told = [(each.subscription.user_id, each.subscription.endpoint) for each in notices]
    assert sorted(told) == sorted(expected)
    for each in notices:
        sql = "SELECT count(*) FROM memberships WHERE user_id = :id AND unread_at IS NOT NULL"
        assert place.rows(sql, id=each.subscription.user_id) == [(each.badge,)]
    for person in people:
        place.parts.cable.presence.leave(room, person.id, 0)


FOUND_WORDS = "running Runs cafés CAFE not near and fire fires 日本".split()
OPERATORS = """NOT AND OR NEAR( " * ^ : body: ( ) - + { \\ ' ; -- ... # @x <b>""".split()
SAYINGS = st.lists(
    st.tuples(st.booleans(), st.lists(st.sampled_from(FOUND_WORDS), max_size=4)), max_size=6
)
QUERIES = st.one_of(
    st.lists(st.sampled_from(FOUND_WORDS + OPERATORS), max_size=4).map(" ".join),
    st.text(max_size=12),
)


def say_and_search(
    place: Place, cast: Cast, said: list[tuple[bool, list[str]]], query: str
) -> None:
    """Messages found by a query, against a scan for its stems."""
    for table in ("message_search_index", "mentions", "messages"):
        place.run(f"DELETE FROM {table}")  # noqa: S608 - three names
    mine, others = place.room(cast.kevin), place.room(cast.jz)
    stems = {"running": "run", "runs": "run", "cafés": "cafe", "fires": "fire"}
    expected = []
    for is_mine, words in said:
        author, room = (cast.kevin, mine) if is_mine else (cast.jz, others)
        posted = place.post(author, room, "ok " + " ".join(words)).message
        held = {stems.get(word.lower(), word.lower()) for word in ["ok", *words]}
        asked = [word.lower() for word in program.cleaned_query(query).split()]
        if is_mine and all(stems.get(word, word) in held for word in asked):
            expected.append(posted.id)

    cleaned = program.cleaned_query(query)
    hits = place.do(place.parts.db.read(program.hits_for, cast.kevin.id, cleaned)).hits

    words_only = all(word in FOUND_WORDS for word in query.split()) and query.strip()
    assert {hit.found["room_id"] for hit in hits} <= {mine}
    assert [hit.found["id"] for hit in hits] == sorted(hit.found["id"] for hit in hits)
    if words_only:
        assert [hit.found["id"] for hit in hits] == expected


LEVELS = ["everything", "mentions", "nothing", "invisible"]

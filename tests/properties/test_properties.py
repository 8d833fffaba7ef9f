"""What holds whatever happens: to messages, rooms, the writer, the file and the process."""

import asyncio
import json
import sqlite3
import tempfile
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from hypothesis import example, given, settings
from hypothesis import given as for_any
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

import campfire as program
from campfire import PersistedMessage, RoomId
from tests.conftest import Markup, Place, Template, read_back
from tests.support.asking import KEY
from tests.support.cast import PATIENCE, Cast, Server, start_server
from tests.support.doing import newcomer, page_of, session_for, start_session
from tests.support.fuzz import PARSERS, Request, anything, ask_all, requests
from tests.support.machines import House, Talk, words
from tests.support.stories import (
    DEEDS,
    TRIES,
    HouseWithBots,
    deeds,
    extend,
    fill_the_disk,
    jobs,
    lose_and_catch_up,
    moment,
    page_both_ways,
    put_out_and_talk,
    say_delete_and_ban,
    say_edit_and_boost,
    send_at_once,
    sendings,
    try_again_and_again,
    value_of,
    write_in_batches,
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
    page_both_ways(place, cast, times, centre)


def test_a_room_holds_exactly_what_was_said_and_not_taken_back(place: Place) -> None:
    run_state_machine_as_test(
        lambda: Talk(place),  # type: ignore[arg-type]  # as hypothesis documents it
        settings=settings(max_examples=40, stateful_step_count=14),
    )


# --- Rooms ---------------------------------------------------------------------------------------


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
    [message] = place.do(page_of(place.parts, cast.kevin, room)).messages

    shapes = place.parts.shapes
    markup = program.message_element(shapes, message, "Backstage")
    shape = json.loads(bytes(shapes.message(message, cast.kevin, "http://chat.example.com")))

    del shape["url"], shape["can_edit"]
    assert read_back(markup) == shape
    beside = {key: shape.pop(key) for key in ("creator", "body_html", "plain_text")}
    assert all(value is not None for value in beside.values())
    assert json.loads(Markup(markup).all("data-json")[0][0]["data-json"]) == shape
    assert "kevin@example.com" not in markup
    place.run("UPDATE users SET name = 'Kevin' WHERE id = :kevin", kevin=cast.kevin.id)


@settings(max_examples=40)
@given(st.lists(st.lists(jobs, min_size=1, max_size=100), max_size=4))
def test_jobs_do_what_they_would_do_one_after_another_and_failing_ones_do_nothing(
    quiet_database: tuple[asyncio.Runner, program.Database],
    batches: list[list[tuple[str, str, int]]],
) -> None:
    write_in_batches(quiet_database, batches)


async def test_every_moment_is_later_than_the_last_even_when_the_clock_stands_or_turns_back(
    tmp_path: Path,
) -> None:
    times = iter([10, 10, 10, 5, 3_000, 1, 3_000, 3_000, 3_002, *range(100)])
    db = program.Database(tmp_path / "campfire.db", lambda: next(times, 7))
    await db.open()

    moments = [await db.write(moment) for _ in range(20)]
    moments += await asyncio.gather(*(db.write(moment) for _ in range(20)))

    assert all(earlier < later for earlier, later in pairwise(moments))
    await db.close()


async def test_a_commit_that_fails_fails_for_everybody_in_it(server: Server) -> None:
    db = server.parts.db

    def dangle(tx: program.WriteTx, at: int) -> None:
        tx.execute("PRAGMA defer_foreign_keys = ON")
        tx.execute("INSERT INTO searches VALUES (NULL, 404, 'x', ?, ?)", (at, at))

    works = [db.write(extend, "x", "a", 9), db.write(dangle), db.write(extend, "y", "a", 9)]
    outcomes = await asyncio.gather(*works, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [program.DatabaseFailed] * 3
    assert await db.read(value_of, "x") == await db.read(value_of, "y") == ""
    assert await db.write(extend, "x", "b", 9) == "b"


async def test_when_sqlite_gives_up_a_whole_transaction_what_is_refused_is_not_stored(
    server: Server,
) -> None:
    db = server.parts.db

    def break_down(tx: program.WriteTx, _: int) -> None:
        tx.execute("ROLLBACK")  # as SQLite itself does on a full disk or a failing one
        raise sqlite3.OperationalError("disk I/O error")

    works = [db.write(extend, "x", "a", 9), db.write(break_down), db.write(extend, "y", "a", 9)]
    outcomes = await asyncio.gather(*works, return_exceptions=True)

    for name, outcome in (("x", outcomes[0]), ("y", outcomes[2])):
        stored = await db.read(value_of, name)
        assert stored == ("" if isinstance(outcome, program.StorageError) else "a"), name
    assert await db.write(extend, "z", "a", 9) == "a"


async def test_a_full_disk_refuses_writes_in_words_and_leaves_everything_else_alone(
    server: Server, cast: Cast
) -> None:
    db, kevin = server.parts.db, await server.sign_in(cast.kevin)
    [pages] = await db.read(lambda tx: tx.execute("PRAGMA page_count").fetchone())
    room = f"/api/rooms/{cast.designers.id}/messages"

    def allow(tx: program.WriteTx, _: int, most: int) -> None:
        tx.execute(f"PRAGMA max_page_count = {most}")

    await db.write(allow, pages + 4)
    await kevin.csrf()
    bodies = [{"body": "word " * (9_000 if n % 3 else 1), "client_message_id": str(n)}
              for n in range(12)]  # fmt: skip
    answers = await asyncio.gather(*(kevin.post(room, body) for body in bodies))

    refused = [answer for answer in answers if answer.status != 201]
    assert refused
    assert {(answer.status, answer.code) for answer in refused} == {(503, "database_full")}
    assert "disk is full" in refused[0].json["error"]["message"]
    page = await kevin.get(room)
    stored = [each["client_message_id"] for each in page.json["messages"]] if page.body else []
    kept = [str(n) for n, answer in enumerate(answers) if answer.status == 201]
    assert sorted(stored) == sorted(kept)
    await db.write(allow, 1_000_000)
    assert (await kevin.post(room, bodies[1])).status in (200, 201)


async def test_a_write_whose_request_is_gone_still_happens_and_blocks_nobody(
    server: Server,
) -> None:
    db = server.parts.db

    for turns in range(12):
        task = asyncio.create_task(db.write(extend, f"gone-{turns}", "a", 9))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        if turns == 0:
            continue  # it never reached the queue
        assert await db.write(extend, "here", "a", 9) == "a" * turns
        assert await db.read(value_of, f"gone-{turns}") == "a"


# --- The connections -----------------------------------------------------------------------------


async def test_only_the_writer_can_write_or_checkpoint(server: Server) -> None:
    db, meeting = server.parts.db, threading.Barrier(4, timeout=PATIENCE)
    more_than_a_glance = """
        WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 300000)
        SELECT max(n) FROM counted
    """

    def settings_of(tx: program.ReadTx) -> tuple[int, ...]:
        names = ("query_only", "wal_autocheckpoint", "foreign_keys", "synchronous")
        return tuple(tx.execute(f"PRAGMA {name}").fetchone()[0] for name in names)

    def meet(tx: program.ReadTx) -> tuple[int, ...]:
        tx.execute(more_than_a_glance).fetchone()
        meeting.wait()  # all four readers are here at once
        return settings_of(tx)

    readers = await asyncio.gather(*(db.read(meet) for _ in range(4)), db.read(settings_of))
    writer = await db.write(lambda tx, _: settings_of(tx))

    full = 2
    assert {each[:3] for each in readers} == {(1, 0, 1)}
    assert writer == (0, 1000, 1, full)
    open_files = [each.resolve() for each in Path("/proc/self/fd").iterdir()]  # noqa: ASYNC240 - a test may block
    assert open_files.count(db.path.resolve()) == len([*readers, writer, "the lock"])
    with pytest.raises(program.StorageError):
        await db.read(lambda tx: tx.execute("DELETE FROM secrets").rowcount)


async def test_aiosqlite_still_runs_a_whole_function_in_its_own_thread() -> None:
    async with aiosqlite.connect(":memory:") as connection:
        trips = [asyncio.get_running_loop().create_future() for _ in range(2)]
        for trip in trips:
            connection._tx.put_nowait((trip, threading.get_ident))  # noqa: SLF001 - the name that `_Link.hop` relies on
        first, second = await asyncio.gather(*trips)

    assert first == second != threading.get_ident()


@settings(max_examples=40)
@given(st.integers(0, 5), st.sets(st.integers(0, 5)), st.sets(st.integers(4, 5)), st.booleans())
def test_exactly_the_bots_pinged_or_named_are_called_and_never_the_author(
    place: Place,
    cast: Cast,
    by: int,
    named: set[int],
    hooked: set[int],
    is_ping: bool,  # noqa: FBT001
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
    hooks = place.do(db.read(program.hooks_for, posted.room, posted.message))
    expected = [people[n].id for n in sorted(hooked - {by}) if is_ping or n in named]
    assert [each.bot.id for each in hooks] == expected
    place.do(db.write(program.retire_bot, zed.id))


@settings(max_examples=15)
@given(st.sets(st.integers(0, 3)), st.integers(0, 3), st.booleans())
def test_of_what_is_said_edited_and_boosted_exactly_the_members_hear(
    place: Place,
    cast: Cast,
    inside: set[int],
    by: int,
    is_ping: bool,  # noqa: FBT001
) -> None:
    say_edit_and_boost(place, cast, inside, by, is_ping=is_ping)


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
    lose_and_catch_up(place, before, live, lost, away, between, meanwhile)


# --- What all of them rely on --------------------------------------------------------------------


@settings(max_examples=20)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 3))
def test_of_any_sendings_at_once_each_is_stored_rendered_and_told_once_in_order(
    place: Place, cast: Cast, crowds: list[int], listeners: int
) -> None:
    send_at_once(place, cast, crowds, listeners)


@settings(max_examples=30)
@given(st.integers(0, 30), st.lists(st.integers(1, 9_000), min_size=1, max_size=6))
def test_however_little_room_a_disk_has_a_message_is_stored_whole_or_not_at_all(
    place: Place, cast: Cast, left: int, sizes: list[int]
) -> None:
    fill_the_disk(place, cast, left, sizes)


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
    work: Any = messages.update(who, room, said, "x") if edits else messages.delete(who, room, said)
    is_in = is_inside or who == by
    if is_in and (who == by or who.is_administrator):
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
    say_delete_and_ban(place, cast, deeds)


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
    assert [each.query for each in recent] == [f"word {n}" for n in expected]


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
    put_out_and_talk(place, cast, before, at_once, after)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=20))
def test_a_session_lives_until_it_is_ended_and_its_token_is_stored_nowhere(
    place: Place, cast: Cast, deeds: list[tuple[bool, int]]
) -> None:
    lives: dict[program.RawToken, bool] = {}
    for begins, n in deeds:
        if begins:
            token = place.do(start_session(place.parts, cast.jz.id, "127.0.0.1", "x"))
            assert token not in lives
            assert len(program.from_base64(token)) == 32  # 256 bits
            lives[token] = True
        elif lives:
            token = list(lives)[n % len(lives)]
            if viewer := place.do(session_for(place.parts, token)):
                place.do(place.parts.db.write(program.end_session, viewer.session, None))
            lives[token] = False
    for token, is_alive in lives.items():
        assert (place.do(session_for(place.parts, token)) is not None) == is_alive
    kept = str(place.rows("SELECT * FROM sessions"))
    assert [token for token in lives if token in kept] == []


@given(TRIES)
@example([("a", 0)] * 12)
@example([("a", 163)] * 24)
def test_no_three_minutes_of_an_address_let_more_than_ten_tries_through(
    tries: list[tuple[str, int]],
) -> None:
    try_again_and_again(tries)


@settings(max_examples=8)
@given(st.integers(2, 20))
@example(50)
def test_of_any_number_of_first_runs_at_once_exactly_one_wins(tries: int) -> None:
    async def story(folder: str) -> None:
        server = await start_server(Path(folder) / "campfire.db")
        run = server.parts.auth.first_run
        works = [run(newcomer("David", f"david{n}@example.com")) for n in range(tries)]
        outcomes = await asyncio.gather(*works, return_exceptions=True)
        kinds = Counter(type(each) for each in outcomes)
        assert kinds.pop(program.User) == 1  # the others came too late, or had no place to hash
        assert set(kinds) <= {program.AlreadySetUp, program.TooManyPasswords}
        tables = ("accounts", "users", "rooms", "memberships")
        sql = "SELECT " + ", ".join(f"(SELECT count(*) FROM {each})" for each in tables)  # noqa: S608
        assert tuple(await server.parts.db.read(lambda tx: program.one(tx, sql))) == (1, 1, 1, 1)
        await server.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(folder))


@settings(max_examples=60)
@for_any(st.integers(0, len(KEY) - 1), st.characters(codec="utf-8"))
@example(0, "\uff15")
@example(2, "-")
def test_no_key_with_one_character_changed_is_good(place: Place, at: int, other: str) -> None:
    changed = f"{KEY[:at]}{other}{KEY[at + 1 :]}"
    find = place.parts.db.read
    found = place.do(find(program.bot_by_key, changed))
    assert (found is not None) == (changed == KEY)
    for longer in (f" {KEY}", f"{KEY} ", f"{KEY}-whatever"):  # a key is taken whole
        assert place.do(find(program.bot_by_key, longer)) is None


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_is_content_with_whatever_it_is_given(name: str) -> None:
    settings(max_examples=150)(given(anything)(PARSERS[name]))()


@settings(max_examples=60)
@given(st.lists(requests, min_size=10, max_size=40))
def test_whatever_is_asked_the_answer_is_no_failure(asked: list[Request]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert asyncio.run(ask_all(Path(folder), asked)) == []

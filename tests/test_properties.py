"""What holds whatever happens: to messages, rooms, the writer, the file and the process."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import aiohttp
import aiosqlite
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    run_state_machine_as_test,
)

import campfire as program
from campfire import MessageId, PersistedMessage, RoomId, User
from tests.cast import (
    PATIENCE,
    SETTINGS,
    Cast,
    Server,
    Start,
    copy_database,
    start_server,
)
from tests.conftest import Place, Template, read_back
from tests.machines import (
    ROOT,
    Child,
    House,
    Talk,
    assert_whole,
    browser,
    child_server,
    token_for,
    words,
    write_on,
)

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
    [message] = place.do(place.messages.page(cast.kevin, room)).messages

    markup = place.parts.shapes.message_element(message, "Backstage")
    shape = place.parts.shapes.public_message(message, "http://chat.example.com")

    del shape["url"]
    assert read_back(markup) == json.loads(json.dumps(shape))
    assert "kevin@example.com" not in markup
    place.run("UPDATE users SET name = 'Kevin' WHERE id = :kevin", kevin=cast.kevin.id)


UNUSABLE = 3
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


@settings(max_examples=40)
@given(st.lists(st.lists(jobs, min_size=1, max_size=100), max_size=4))
def test_jobs_do_what_they_would_do_one_after_another_and_failing_ones_do_nothing(
    quiet_database: tuple[asyncio.Runner, program.Database],
    batches: list[list[tuple[str, str, int]]],
) -> None:
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


async def test_a_message_written_after_the_clock_was_set_back_still_comes_last(
    start: Start, cast: Cast
) -> None:
    server = await start()
    server.wall.ahead = 86_400.0
    before = await (await server.sign_in(cast.kevin)).say(cast.designers, "before")
    await server.close()
    again = await start_server(server.parts.config.database)

    after = await (await again.sign_in(cast.kevin)).say(cast.designers, "after")

    assert (after["timestamp"], after["id"]) >= (before["timestamp"], before["id"] + 1)
    stored = await again.parts.messages.page(cast.kevin, cast.designers.id)
    assert [message.body.text for message in stored.messages] == ["before", "after"]
    await again.close()


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
    assert {(answer.status, answer.code) for answer in refused} == {(503, "database_busy")}
    assert refused[0].json["error"]["message"] == "Campfire is busy, please try again."
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
    db, meeting = server.parts.db, threading.Barrier(3, timeout=PATIENCE)
    more_than_a_glance = """
        WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 300000)
        SELECT max(n) FROM counted
    """

    def settings_of(tx: program.ReadTx) -> tuple[int, ...]:
        names = ("query_only", "wal_autocheckpoint", "foreign_keys", "synchronous")
        return tuple(tx.execute(f"PRAGMA {name}").fetchone()[0] for name in names)

    def meet(tx: program.ReadTx) -> tuple[int, ...]:
        tx.execute(more_than_a_glance).fetchone()
        meeting.wait()  # all three readers are here at once
        return settings_of(tx)

    readers = await asyncio.gather(*(db.read(meet) for _ in range(3)), db.read(settings_of))
    writer = await db.write(lambda tx, _: settings_of(tx))

    full = 2
    assert {each[:3] for each in readers} == {(1, 0, 1)}
    assert writer == (0, 1000, 1, full)
    open_files = [each.resolve() for each in Path("/proc/self/fd").iterdir()]  # noqa: ASYNC240 - a test may block
    assert open_files.count(db.path.resolve()) == len([*readers, writer])
    with pytest.raises(program.DatabaseFailed):
        await db.read(lambda tx: tx.execute("DELETE FROM secrets").rowcount)


async def test_aiosqlite_still_runs_a_whole_function_in_its_own_thread() -> None:
    async with aiosqlite.connect(":memory:") as connection:
        trips = [asyncio.get_running_loop().create_future() for _ in range(2)]
        for trip in trips:
            connection._tx.put_nowait((trip, threading.get_ident))  # noqa: SLF001 - the name that `_Link.hop` relies on
        first, second = await asyncio.gather(*trips)

    assert first == second != threading.get_ident()


# --- The process ---------------------------------------------------------------------------------


async def test_killed_at_any_moment_it_has_every_acknowledged_message_and_no_half_one(
    template: tuple[Path, Cast], tmp_path: Path
) -> None:
    database, cast = copy_database(template[0], tmp_path), template[1]
    token = await token_for(database, cast.david)
    path = f"/api/rooms/{cast.designers.id}/messages"
    acknowledged: set[str] = set()

    for turn, enough in enumerate([1, 2, 3, 5, 8, 17, 33, 64, 100, 160]):
        async with child_server(database) as child, browser(child.address, token) as david:
            async with david.get("/api/autocompletable/users?query=kevin") as answer:
                [kevin] = (await answer.json())["users"]
            mention = (
                f'<action-text-attachment sgid="{kevin["sgid"]}"'
                ' content-type="application/vnd.campfire.mention"></action-text-attachment>'
            )
            aim = len(acknowledged) + enough

            def told(name: str, aim: int = aim, child: Child = child) -> None:
                acknowledged.add(name)
                if len(acknowledged) == aim:
                    child.process.kill()

            writers = [write_on(david, path, mention, f"w{turn}-{n}", told) for n in range(8)]
            async with asyncio.timeout(40):
                await asyncio.gather(*writers)
            assert await child.ended() == -signal.SIGKILL
        (folder := tmp_path / f"copy-{turn}").mkdir()
        assert_whole(database, folder, acknowledged, cast.kevin.id)

    assert len(acknowledged) >= 393


async def test_told_to_stop_under_load_it_says_goodbye_and_keeps_everything(
    template: tuple[Path, Cast], tmp_path: Path
) -> None:
    database, cast = copy_database(template[0], tmp_path), template[1]
    token = await token_for(database, cast.david)
    path = f"/api/rooms/{cast.designers.id}/messages"
    acknowledged: set[str] = set()

    async with child_server(database) as child, AsyncExitStack() as tabs:
        david = await tabs.enter_async_context(browser(child.address, token))
        sockets = [
            await tabs.enter_async_context(
                david.ws_connect("/cable", headers={"Origin": child.address}, autoclose=False)
            )
            for _ in range(20)
        ]

        def told(name: str) -> None:
            acknowledged.add(name)
            if len(acknowledged) == 50:
                child.process.send_signal(signal.SIGTERM)

        await asyncio.gather(*(write_on(david, path, "", f"w{n}", told) for n in range(8)))
        goodbye = {"type": "disconnect", "reason": "server_restart", "reconnect": True}
        last: object = None
        for socket in sockets:
            async with asyncio.timeout(PATIENCE):
                while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    last = message.json()
            assert (last, message.type, message.data) == (goodbye, aiohttp.WSMsgType.CLOSE, 1000)
        assert await child.ended() == 0

    assert not list(tmp_path.glob("*-wal"))  # noqa: ASYNC240 - as above
    looking = sqlite3.connect(database)
    assert looking.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    stored = looking.execute("SELECT client_message_id FROM messages").fetchall()
    assert acknowledged <= {name for (name,) in stored}
    looking.close()


async def test_a_second_server_on_one_database_says_so_in_one_line(
    server: Server, cast: Cast
) -> None:
    second = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "campfire.py", "serve", "--db", server.parts.config.database,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **SETTINGS},
    )  # fmt: skip
    said, complaint = await asyncio.wait_for(second.communicate(), 40)

    assert (second.returncode, said) == (UNUSABLE, b"")
    assert re.fullmatch(r"campfire: another Campfire is serving [^\n]+\n", complaint.decode())
    kevin = await server.sign_in(cast.kevin)
    assert (await kevin.say(cast.designers, "still here"))["plain_text"] == "still here"

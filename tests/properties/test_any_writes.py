"""Whatever is written: the writer, its connections, and what fails with it."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import campfire as program
from tests.conftest import Place
from tests.support.cast import PATIENCE, Cast, Server

SET = """
    INSERT INTO secrets (name, value) VALUES (:name, :value)
    ON CONFLICT DO UPDATE SET value = :value
"""
jobs = st.tuples(
    st.sampled_from("xyz"), st.text("abc", min_size=1, max_size=3), st.sampled_from([0, 1, 2, 9])
)


@settings(max_examples=40)
@given(st.lists(st.lists(jobs, min_size=1, max_size=100), max_size=4))
def test_jobs_do_what_they_would_do_one_after_another_and_failing_ones_do_nothing(
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
        trip: Any = connection._execute  # noqa: SLF001 - the name that `Link.hop` stands for
        first, second = await asyncio.gather(trip(threading.get_ident), trip(threading.get_ident))

    assert first == second != threading.get_ident()


@settings(max_examples=30)
@given(st.integers(0, 30), st.lists(st.integers(1, 9_000), min_size=1, max_size=6))
def test_however_little_room_a_disk_has_a_message_is_stored_whole_or_not_at_all(
    place: Place, cast: Cast, left: int, sizes: list[int]
) -> None:
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
    first = kept[0].created_at if kept else None
    assert place.rows(moved, room=room, jz=cast.jz.id) == [(first,)]
    [(at,)] = place.rows("SELECT updated_at FROM rooms WHERE id = :room", room=room)
    assert not kept or at == kept[-1].created_at


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

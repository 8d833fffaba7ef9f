"""The truth about the database: full, read-only, busy, or without its writer."""

import asyncio
import http.client
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

import campfire as program
from tests.support.asking import found
from tests.support.cast import SETTINGS, Cast, LogLines, Person, Server
from tests.support.executable import MOUNTED, address_of, ran
from tests.support.operators import PROGRAM, UNUSABLE, refusal


async def database_of(person: Person, status: int) -> str:
    """What `/up` says of it."""
    answer = await person.get("/up.json")
    assert (answer.status, answer.json["status"]) == (status, "up" if status == 200 else "down")
    return str(answer.json["database"])


async def pragma(server: Server, words: str) -> None:
    await server.parts.db.write(lambda tx, _: tx.execute(f"PRAGMA {words}").fetchall())


TROUBLES = [
    ("full", "max_page_count = 1", "max_page_count = 4294967294", "disk is full"),
    ("readonly", "query_only = 1", "", "may not write"),
]


@pytest.mark.parametrize(("word", "breaks", "mends", "says"), TROUBLES)
async def test_a_full_disk_or_a_read_only_file_is_told_to_people_and_to_machines(
    server: Server, kevin: Person, cast: Cast, word: str, breaks: str, mends: str, says: str
) -> None:
    assert len(await kevin.say(cast.designers, "there is room")) > 0
    await pragma(server, breaks)

    assert await database_of(kevin, 503) == word
    assert await database_of(kevin, 503) == word  # also without a probe
    path, long = f"/api/rooms/{cast.designers.id}/messages", "<div>" + "x" * 9_000 + "</div>"
    refused = await kevin.post(path, {"body": long})

    assert (refused.status, refused.code) == (503, f"database_{word}")
    assert says in refused.json["error"]["message"]
    assert refused.headers["Retry-After"] == "60"
    assert (await kevin.get(path)).status == 200  # reading goes on
    if mends:
        await pragma(server, mends)
        assert await kevin.say(cast.designers, "there is room again")


async def test_a_probe_leaves_nothing_behind_and_is_made_every_ten_seconds_at_most(
    server: Server, kevin: Person
) -> None:
    before = await found(server, "SELECT * FROM sqlite_schema")

    assert await database_of(kevin, 200) == "ok"
    await pragma(server, "max_page_count = 1")  # which only a probe would notice
    assert await database_of(kevin, 200) == "ok"
    await pragma(server, "max_page_count = 4294967294")

    assert await found(server, "SELECT * FROM sqlite_schema") == before
    with pytest.raises(program.Undone):
        await server.parts.db.write(program.try_to_write)


async def test_a_write_waits_five_seconds_for_a_foreign_lock_however_late_it_came(
    server: Server, kevin: Person, jz: Person, cast: Cast
) -> None:
    async def say(person: Person) -> tuple[float, int, str]:
        began = time.monotonic()
        path = f"/api/rooms/{cast.designers.id}/messages"
        answer = await person.post(path, {"body": "<div>hello</div>"})
        return time.monotonic() - began, answer.status, answer.code

    await asyncio.gather(kevin.csrf(), jz.csrf())
    with closing(sqlite3.connect(server.parts.db.path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        first = asyncio.create_task(say(kevin))
        assert await database_of(jz, 503) == "busy"  # after two seconds
        told = await asyncio.gather(first, say(jz))
    assert [answer[1:] for answer in told] == [(503, "database_busy")] * 2
    assert all(4.5 < answer[0] < 7.5 for answer in told)  # one after the other: eight


async def test_a_write_that_began_to_wait_later_may_still_wait_when_the_first_gave_up(
    server: Server, kevin: Person, jz: Person, cast: Cast
) -> None:
    with closing(sqlite3.connect(server.parts.db.path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        path = f"/api/rooms/{cast.designers.id}/messages"
        first = asyncio.create_task(kevin.post(path, {"body": "<div>hello</div>"}))
        assert await database_of(jz, 503) == "busy"
        later = asyncio.create_task(jz.say(cast.designers, "patience"))
        assert (await first).status == 503
        foreign.execute("ROLLBACK")
        assert (await later)["plain_text"] == "patience"


async def test_when_the_writer_ends_nobody_waits_for_ever_and_health_says_so(
    server: Server, kevin: Person, cast: Cast, log_lines: LogLines
) -> None:
    db, ended = server.parts.db, asyncio.Event()
    db.on_broken = ended.set

    def end(tx: program.WriteTx, at: program.Timestamp) -> None:
        raise asyncio.CancelledError(tx, at)

    async with asyncio.timeout(5):
        together = [db.write(end), *(db.write(lambda *_: None) for _ in range(program.GROUP_SIZE))]
        results = await asyncio.gather(*together, return_exceptions=True)
        await ended.wait()
        assert await database_of(kevin, 503) in ("busy", "down")
        refused = await kevin.post(f"/api/rooms/{cast.designers.id}/messages", {"body": "x"})
    assert {type(each) for each in results} == {program.DatabaseFailed}
    assert refused.status == 503
    assert [json.loads(line)["event"] for line in log_lines()].count("writer_ended") == 1


def test_a_disk_that_fills_up_is_noticed_though_nobody_writes(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    server = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNTED, "sh",
         "size=2m", folder, sys.executable, PROGRAM, "serve"],
        env={**os.environ, **SETTINGS, "CAMPFIRE_DB": str(folder / "campfire.db")},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    address = address_of(server)
    seen = Path(f"/proc/{server.pid}/root{folder}")

    with (seen / "filler").open("wb", 0) as filler:
        with suppress(OSError):
            while True:
                filler.write(bytes(4_096))
        filler.truncate(filler.tell() - 65_536)  # for some pages there is room, for the probe not
    with closing(http.client.HTTPConnection(*address, timeout=10)) as connection:
        connection.request("GET", "/up.json")
        answer = connection.getresponse()
        told = json.loads(answer.read())

    assert (answer.status, told["database"]) == (503, "full")
    server.terminate()
    server.communicate(timeout=30)


# What is made of an error that does not say why, beside as much of a file as can be written.
_UNCLEAR = """
import contextlib, pathlib, sqlite3, sys, campfire

path, error = pathlib.Path(sys.argv[1], "campfire.db"), sqlite3.OperationalError("disk I/O error")
error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
with contextlib.suppress(OSError):
    path.write_bytes(bytes(100_000))
print(type(campfire.in_words(error, path)).__name__)
"""


@pytest.mark.parametrize(
    ("options", "told"),
    [("size=2m", "DatabaseFailed"), ("size=64k", "DatabaseFull"), ("ro", "DatabaseReadonly")],
)
def test_an_error_that_does_not_say_why_is_told_by_asking_the_disk(
    tmp_path: Path, options: str, told: str
) -> None:
    asks: list[str | Path] = [sys.executable, "-c", _UNCLEAR, tmp_path]
    said = ran(
        [
            "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNTED, "sh", options,
            tmp_path, *asks,
        ],
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent)},
        check=True,
    )  # fmt: skip

    assert said.stdout == f"{told}\n"


# A program whose writer ends half a second after it began.
_DYING = """
import asyncio, sys, campfire

def end(tx, at):
    raise asyncio.CancelledError

class Dying(campfire.Database):
    async def open(self, **named):
        await super().open(**named)
        loop = asyncio.get_running_loop()
        loop.call_later(0.5, lambda: loop.create_task(self.write(end)))

campfire.Database = Dying
sys.argv[1:] = ["serve"]
sys.exit(campfire.main())
"""


def test_a_server_whose_writer_ended_stops_with_one_line(tmp_path: Path) -> None:
    ended = ran(
        [sys.executable, "-c", _DYING],
        env={
            **os.environ,
            **SETTINGS,
            "CAMPFIRE_DB": str(tmp_path / "campfire.db"),
            "PYTHONPATH": str(PROGRAM.parent),
        },
        timeout=30,
    )

    assert refusal(ended, UNUSABLE) == "the writer of the database ended; the log says why"
    assert '"event": "writer_ended"' in ended.stdout

"""Files where something is missing, broken, switched off or told to end: the rest goes on."""

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import aiohttp
import pytest

import campfire as program
from tests.operators.test_sudden_ends import browser, token_for
from tests.support.asking import path_of
from tests.support.cast import Cast, LogLines, Start, Template, copy_database
from tests.support.executable import ran
from tests.support.files import END, TYPE, form, sent, stored_files, upload
from tests.support.operators import PROGRAM, child_server, command, done
from tests.support.rails import rows_in
from tests.support.studio import Studio, at_work, encoded, painted

# What lies in $1 is on a disk at $2 that is read-only by the time the rest of the words is run.
ON_A_DISK_TO_READ = """
set -e
mount -t tmpfs none "$2"
cp -R "$1" "$2/files"
mount -o remount,ro "$2"
shift 2
exec "$@"
"""
PHOTO = encoded(painted(40, 30), "JPEG")
UNFILTERED = "import campfire; campfire._control = lambda *_: False\n"


@dataclass
class ReadOnly:
    """A store on a disk that only the programs begun like this see, and nobody can write."""

    database: Path
    store: Path
    message: str  # its address
    url: str  # of its file
    command: tuple[str, ...]


async def test_told_to_end_in_the_middle_of_an_upload_it_ends_and_leaves_nothing(
    template: Template, tmp_path: Path
) -> None:
    database, cast = copy_database(template[0], tmp_path), template[1]
    token = await token_for(database, cast.kevin)
    store, never = tmp_path / "campfire-files", asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield form(b"x" * 600_000, "half.bin").removesuffix(END.encode())
        await never.wait()

    async with child_server(database) as child, browser(child.address, token) as kevin:
        sending = asyncio.create_task(
            kevin.post(path_of(cast.designers), data=half(), headers=TYPE)
        )
        sizes = [0]
        while max(sizes) < 500_000:  # until most of it is there
            async with kevin.get("/up") as answer:
                assert answer.status == 200
            sizes = [place.stat().st_size for place in (store / "incoming").iterdir()] or [0]
        child.process.terminate()
        assert await child.ended() == 0
        with pytest.raises(aiohttp.ClientError):
            await sending

    assert [place for place in store.rglob("*") if place.is_file()] == []
    assert rows_in(database, "SELECT count(*) FROM attachments") == [(0,)]
    assert rows_in(database, "SELECT count(*) FROM doomed_blobs") == [(0,)]
    assert "is healthy" in done(await asyncio.to_thread(command, database, "check"))


async def test_where_the_store_cannot_be_written_words_go_on_and_files_are_off(
    start: Start, cast: Cast, log_lines: LogLines
) -> None:
    server = await start(FILES_DIR="/proc/campfire-files")  # which nobody can make
    kevin = await server.sign_in(cast.kevin)

    refused = await upload(kevin, cast.designers, form(b"data"))

    assert (refused.status, refused.code) == (501, "feature_disabled")
    assert (await kevin.say(cast.designers, "Words go on"))["plain_text"] == "Words go on"
    features = (await kevin.boot("/users/me/profile"))["features"]
    assert (features["files"], features["avatars"]) == (False, False)
    assert (await kevin.get("/up", {"Accept": "application/json"})).json["files"] == "unwritable"
    assert [json.loads(line)["event"] for line in log_lines() if "store_unw" in line] == [
        "store_unwritable"
    ]


@pytest.fixture
async def read_only(start: Start, cast: Cast, tmp_path: Path) -> ReadOnly:
    """A database whose store has a file, and one whose time has come, and never changes again."""
    server = await start()
    kevin = await server.sign_in(cast.kevin)
    kept = await sent(kevin, cast.designers, b"minutes", "minutes.txt")
    gone = await sent(kevin, cast.designers, b"noise", "noise.txt")
    assert (await kevin.delete(f"{path_of(cast.designers)}/{gone['id']}")).status == 204
    await server.close()
    database, disk = server.parts.config.database, tmp_path / "disk"
    disk.mkdir()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE doomed_blobs SET unlink_after = 0")
    alone = "unshare --user --map-root-user --mount sh -c".split()
    begins = (*alone, ON_A_DISK_TO_READ, "sh", str(server.parts.store.folder), str(disk))
    command = (*begins, sys.executable, str(PROGRAM))
    message = f"{path_of(cast.designers)}/{kept['id']}"
    return ReadOnly(database, disk / "files", message, kept["attachment"]["url"], command)


async def test_a_store_that_cannot_be_written_any_more_shows_what_it_has(
    read_only: ReadOnly, cast: Cast
) -> None:
    token = await token_for(read_only.database, cast.kevin)
    room = {"FILES_DIR": str(read_only.store)}

    async with (
        child_server(read_only.database, "warn", read_only.command, **room) as child,
        browser(child.address, token) as kevin,
    ):
        said = [json.loads(line) for line in child.said]
        assert [line["event"] for line in said] == ["store_unwritable"]
        assert "Read-only file system" in said[0]["problem"]
        await child.says("store_unwritable")  # by a file whose time has come
        async with kevin.get(read_only.url) as answer:
            assert (answer.status, await answer.read()) == (200, b"minutes")
        async with kevin.post(path_of(cast.designers), data=form(b"more"), headers=TYPE) as answer:
            assert answer.status == 501
        async with kevin.delete(read_only.message) as answer:
            assert answer.status == 204
    assert rows_in(read_only.database, "SELECT count(*) FROM doomed_blobs") == [(2,)]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("backup", "COPY"), 0, ""),
        (("backup", "--tar", "COPY"), 0, ""),
        (("check", "--deep"), 0, ""),
        (("restore", "DATABASE"), 1, "Read-only file system"),
        (("attach-files", "."), 0, ""),
    ],
)
def test_each_command_does_what_can_be_done_with_such_a_store(
    read_only: ReadOnly, tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    copy, before = tmp_path / "copy.db", read_only.database.read_bytes()
    names = {"COPY": copy, "DATABASE": read_only.database}
    settings = {"CAMPFIRE_DB": str(read_only.database), "FILES_DIR": str(read_only.store)}

    result = ran(
        [*read_only.command, *(names.get(each, each) for each in arguments)],
        env={"PATH": os.environ["PATH"], **settings},
    )

    assert (result.returncode, result.stderr.count("\n")) == (code, code), result.stderr
    assert told in result.stderr
    assert read_only.database.read_bytes() == before
    if "--tar" not in arguments and copy.exists():
        [kept] = program.files_beside(copy).glob("??/??/*")
        assert kept.read_bytes() == b"minutes"


async def test_without_its_workshop_files_go_up_and_pictures_are_rows(
    start: Start, cast: Cast
) -> None:
    server = await start()
    workshop = at_work(server.parts.workshop)
    kevin = await server.sign_in(cast.kevin)
    first = await sent(kevin, cast.designers, PHOTO, "first.jpg")
    workshop.kill()
    workshop.wait(30)

    second = await sent(kevin, cast.designers, encoded(painted(9, 9), "PNG"), "second.png")

    assert first["attachment"]["still_width"] == 40
    assert (await kevin.get(second["attachment"]["url"])).status == 200
    assert (await kevin.get(second["attachment"]["still_url"])).status == 404
    up = await kevin.get("/up", {"Accept": "application/json"})
    assert (up.status, up.json["pictures"]) == (200, "unavailable")
    assert (await kevin.boot("/users/me/profile"))["features"]["avatars"] is False


def test_where_the_kernel_refuses_the_filter_pictures_are_made_and_it_is_said_once(
    log_lines: LogLines,
) -> None:
    studio = Studio(UNFILTERED)

    assert studio.still(PHOTO).width == studio.still(PHOTO).width == 40

    studio.close()
    assert studio.workshop.sandbox == "rlimits"
    assert len([line for line in log_lines() if "workshop_unfiltered" in line]) == 1


@pytest.mark.parametrize("switches", list(product("01", repeat=3)))
async def test_each_switch_turns_off_what_it_says_and_what_is_there_stays(
    start: Start, cast: Cast, switches: tuple[str, str, str]
) -> None:
    server = await start()
    workshop = at_work(server.parts.workshop)
    kevin, david = await server.sign_in(cast.kevin), await server.sign_in(cast.david)
    kept = await sent(kevin, cast.designers, PHOTO, "kept.jpg")
    server.parts.workshop.close()
    workshop.wait(30)
    await server.close()
    names = ("FILES_ENABLED", "AVATARS_ENABLED", "OPENGRAPH_ENABLED")
    server = await start(**dict(zip(names, switches, strict=True)))
    workshop = at_work(server.parts.workshop)
    kevin, david = await server.sign_in(cast.kevin), await server.sign_in(cast.david)
    picture = {"headers": {"Content-Type": "image/jpeg", "X-CSRF-Token": await david.csrf()}}

    answers = {
        "files": await upload(kevin, cast.designers, form(b"data")),
        "logo": await david.request("PUT", "/api/account/logo", data=PHOTO, **picture),
        "avatars": await david.request("PUT", "/api/users/me/avatar", data=PHOTO, **picture),
        "opengraph": await kevin.post("/api/unfurl_link", {"url": "http://127.0.0.1/"}),
    }

    files, avatars, opengraph = (switch == "1" for switch in switches)
    is_on = {"files": files, "logo": files, "avatars": avatars, "opengraph": opengraph}
    assert {name: answer.status != 501 for name, answer in answers.items()} == is_on
    told = (await kevin.boot("/users/me/profile"))["features"]
    assert [told[name] for name in ("files", "avatars", "opengraph")] == [files, avatars, opengraph]
    assert (await kevin.get(kept["attachment"]["url"])).body == PHOTO
    assert (await kevin.get(kept["attachment"]["still_url"])).status == 200
    path = f"/api/rooms/{cast.designers.id}/messages/{kept['id']}"
    assert (await kevin.delete(path)).status == 204
    assert len(stored_files(server)) >= 2  # for an hour
    server.parts.workshop.close()
    workshop.wait(30)

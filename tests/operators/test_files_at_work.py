"""Files where something is missing, broken, switched off or told to end: the rest goes on."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import aiohttp
import pytest

from tests.operators.test_sudden_ends import browser, token_for
from tests.support.asking import path_of
from tests.support.cast import Cast, LogLines, Start, Template, copy_database
from tests.support.files import END, TYPE, form, sent, stored_files, upload
from tests.support.operators import child_server, command, done
from tests.support.rails import rows_in
from tests.support.studio import Studio, at_work, encoded, painted

PHOTO = encoded(painted(40, 30), "JPEG")
UNFILTERED = "import campfire; campfire._control = lambda *_: False\n"


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

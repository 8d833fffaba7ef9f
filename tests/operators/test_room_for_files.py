"""What files need of a machine, and how a server does that lacks it: memory, disk, Pillow."""

import asyncio
import io
import re
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.operators.test_sudden_ends import browser, token_for
from tests.support.cast import PATIENCE, Template, copy_database
from tests.support.executable import MOUNTED, PYZ
from tests.support.files import TYPE, form
from tests.support.operators import PROGRAM, Child, child_server
from tests.support.studio import encoded, painted

MEBIBYTE = 1 << 20
PIECE = bytes(256 << 10)


async def long_body(size: int, half: asyncio.Barrier | None = None) -> AsyncIterator[bytes]:
    """A form with a file of so many bytes; in its middle it waits for the others."""
    head, end = form(b"").split(b"\r\n\r\n")
    yield head + b"\r\n\r\n"
    for at in range(0, size, len(PIECE)):
        if half and at == size // 2:
            await half.wait()
        yield PIECE
    yield end


def forget_peak_of(child: Child) -> None:
    Path(f"/proc/{child.process.pid}/clear_refs").write_text("5")


def peak_of(child: Child) -> int:
    """The most memory that it has had since."""
    status = Path(f"/proc/{child.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


async def test_however_large_the_files_that_come_are_they_need_a_megabyte_and_a_half_each(
    template: Template, tmp_path: Path
) -> None:
    database, cast = copy_database(template[0], tmp_path), template[1]
    people = (cast.david, cast.jason, cast.jz, cast.kevin)
    tokens = [await token_for(database, user) for user in people]
    path, count = f"/api/rooms/{cast.pets.id}/messages", 3 * len(people)

    async with child_server(database) as child, AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(browser(child.address, each)) for each in tokens]

        async def send(number: int, size: int, half: asyncio.Barrier) -> None:
            session, body = tabs[number % len(tabs)], long_body(size, half)
            async with session.post(path, data=body, headers=TYPE) as answer:
                assert answer.status == 201, await answer.text()

        async def send_together(size: int) -> int:
            half = asyncio.Barrier(count)
            forget_peak_of(child)
            await asyncio.gather(*(send(number, size, half) for number in range(count)))
            return peak_of(child)

        before = await send_together(2 * len(PIECE))
        before = await send_together(2 * len(PIECE))
        peak = await send_together(24 * MEBIBYTE)

    assert peak - before <= count * 3 * MEBIBYTE // 2


@pytest.mark.parametrize(
    ("options", "too_much", "little"),
    [
        ("size=3m", (507, "storage_full"), (201, "")),
        ("ro", (501, "feature_disabled"), (501, "feature_disabled")),
    ],
)
async def test_a_disk_that_is_full_or_read_only_takes_no_file_and_people_talk_on(
    template: Template,
    tmp_path: Path,
    options: str,
    too_much: tuple[int, str],
    little: tuple[int, str],
) -> None:
    database, cast = copy_database(template[0], tmp_path), template[1]
    token, disk = await token_for(database, cast.david), tmp_path / "disk"
    disk.mkdir()
    path = f"/api/rooms/{cast.pets.id}/messages"
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNTED, "sh"]
    command: list[str | Path] = [*mounted, options, disk, sys.executable, PROGRAM]
    room = {"FILES_DIR": str(disk / "files"), "FILES_RESERVE_BYTES": "0"}

    async with (
        child_server(database, program=command, **room) as child,
        browser(child.address, token) as david,
    ):
        for body, told in (
            (long_body(16 * MEBIBYTE), too_much), (io.BytesIO(form(bytes(4 * MEBIBYTE))), too_much),
            (io.BytesIO(form(bytes(900_000))), little),
        ):  # fmt: skip
            assert await refusal_of(david, path, body) == told
            async with david.post(path, json={"body": "and we talk on"}) as answer:
                assert answer.status == 201
        assert sizes_of_files(child, disk) == ([900_000] if little[0] == 201 else [])


def sizes_of_files(child: Child, disk: Path) -> list[int]:
    """What lies on a disk that this server alone sees."""
    seen = Path(f"/proc/{child.process.pid}/root{disk}/files")
    return [file.stat().st_size for file in seen.rglob("*") if file.is_file()]


async def refusal_of(
    session: aiohttp.ClientSession, path: str, body: AsyncIterator[bytes] | io.BytesIO
) -> tuple[int, str]:
    """How a form was answered, and the code of a refusal."""
    async with asyncio.timeout(PATIENCE), session.post(path, data=body, headers=TYPE) as answer:
        told = await answer.json()
        return answer.status, told.get("error", {}).get("code", "")


def without_pillow(place: Path) -> Path:
    """The executable, as for a machine for which there is no Pillow."""
    with zipfile.ZipFile(PYZ) as whole, zipfile.ZipFile(place, "w") as packed:
        for info in whole.infolist():
            if not re.match("site-packages/(PIL|pillow)", info.filename):
                packed.writestr(info, whole.read(info))
    return place


async def test_the_executable_serves_without_pillow_and_pictures_are_files(
    template: Template, tmp_path: Path
) -> None:
    database, cast = copy_database(template[0], tmp_path), template[1]
    token, cache = await token_for(database, cast.david), str(tmp_path / "cache")
    command: list[str | Path] = [sys.executable, "-S", without_pillow(tmp_path / "campfire.pyz")]
    photo = encoded(painted(90, 60), "JPEG", comment=b"SERIAL-4711")

    async with (
        child_server(database, "warn", command, SHIV_ROOT=cache) as child,
        browser(child.address, token) as david,
    ):
        assert sum("pictures_unavailable" in line for line in child.said) == 1
        async with david.get("/up.json") as answer:
            told = await answer.json()
            assert (told["status"], told["files"], told["pictures"]) == ("up", "ok", "unavailable")
        path = f"/api/rooms/{cast.pets.id}/messages"
        async with david.post(path, data=form(photo, "a.jpg"), headers=TYPE) as answer:
            assert answer.status == 201
            file = (await answer.json())["message"]["attachment"]
        async with david.get(file["url"]) as answer:
            assert (answer.status, answer.content_type) == (200, "image/jpeg")
            assert b"SERIAL" not in await answer.read()
        async with david.get(f"/files/{file['id']}/still") as answer:
            assert answer.status == 404
        for place in ("/api/users/me/avatar", "/api/account/logo"):
            picture = {"Content-Type": "image/jpeg"}
            async with david.put(place, data=photo, headers=picture) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (
                    501, "pictures_unavailable",
                )  # fmt: skip
        async with david.get("/api/boot?path=/users/me/profile") as answer:
            features = (await answer.json())["features"]
            assert (features["files"], features["avatars"]) == (True, False)

"""A file on its way out: who gets it, with which headers, in which parts; and what is shown."""

import asyncio
import json
import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, closing, suppress
from itertools import pairwise
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from PIL import Image

import campfire as program
from tests.support.asking import found, path_of, run, set_status
from tests.support.cast import Cast, Person, Server
from tests.support.files import form, sent, stored_files, upload
from tests.support.studio import at_work, encoded, opened, painted

PAGE = b"<!doctype html><script>alert(1)</script>"
POLICY = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
MP4, M4A, HEIC = (b"\0\0\0\x18ftyp" + brand + bytes(64) for brand in (b"isom", b"M4A ", b"heic"))


@pytest.fixture
async def artful(server: Server) -> AsyncIterator[Server]:
    """A server with a workshop."""
    process = at_work(server.parts.workshop)
    yield server
    server.parts.workshop.close()
    assert await asyncio.to_thread(process.wait, 30) == 0


@pytest.mark.parametrize(
    ("data", "name", "content_type", "how"),
    [
        (MP4, "film.mp4", "video/mp4", "inline"), (M4A, "memo.m4a", "audio/mp4", "inline"),
        (b"%PDF-1.7", "plan.pdf", "application/pdf", "attachment"),
        (b"words", "a.txt", "text/plain", "attachment"),
        (PAGE, "page.png", "application/octet-stream", "attachment"),
        (PAGE, "page.html", "application/octet-stream", "attachment"),
        (b"<svg/>", "a.svg", "application/octet-stream", "attachment"),
    ],
)  # fmt: skip
async def test_a_file_is_sent_with_headers_that_let_it_do_nothing(
    kevin: Person, cast: Cast, data: bytes, name: str, content_type: str, how: str
) -> None:
    file = (await sent(kevin, cast.designers, data, name))["attachment"]

    answer, saved = await kevin.get(file["url"]), await kevin.get(file["download_url"])
    headers = CIMultiDict(answer.headers)

    assert (answer.body, saved.body) == (data, data)
    assert headers["Content-Disposition"] == f"{how}; filename=\"{name}\"; filename*=UTF-8''{name}"
    assert saved.headers["Content-Disposition"].startswith("attachment; ")
    assert headers["Content-Type"] == content_type
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "private, max-age=604800, immutable"
    assert headers["Accept-Ranges"] == "bytes"
    assert "ETag" in headers
    assert "Last-Modified" in headers
    assert "Set-Cookie" not in headers
    assert "Content-Encoding" not in headers
    head = CIMultiDict((await kevin.request("HEAD", file["url"])).headers)
    for each in ("Date", "X-Request-Id"):
        del head[each], headers[each]
    assert head == headers
    seen = await kevin.get(file["url"], {"If-None-Match": headers["ETag"]})
    other_name = await kevin.get(f"/files/{file['id']}/anything.html")
    assert (seen.status, other_name.body) == (304, data)
    assert other_name.headers["Content-Type"] == content_type


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=3_000), st.data())
async def test_every_range_is_a_slice_and_the_slices_are_the_file(
    kevin: Person, cast: Cast, data: bytes, drawn: st.DataObject
) -> None:
    url = (await sent(kevin, cast.pets, data))["attachment"]["url"]
    cuts = sorted({0, len(data), *drawn.draw(st.lists(st.integers(0, len(data)), max_size=4))})
    last = drawn.draw(st.integers(1, len(data)))

    parts = [
        await kevin.get(url, {"Range": f"bytes={low}-{high - 1}"}) for low, high in pairwise(cuts)
    ]
    end = await kevin.get(url, {"Range": f"bytes=-{last}"})
    beyond = await kevin.get(url, {"Range": f"bytes={len(data)}-"})

    assert b"".join(part.body for part in parts) == data
    assert {part.status for part in parts} == {206}
    assert end.body == data[-last:]
    assert beyond.status == 416


def taken(browser: socket.socket) -> int:
    """How many bytes there are for a browser; now there are none."""
    size = 0
    with suppress(BlockingIOError):
        while data := browser.recv(1 << 20):
            size += len(data)
    return size


async def test_in_a_turn_of_the_loop_goes_one_small_piece_of_all_files(
    server: Server, kevin: Person, cast: Cast
) -> None:
    size, host, token = 3 << 20, server.host.split(":"), kevin.cookie("session_token")
    url = (await sent(kevin, cast.designers, os.urandom(size)))["attachment"]["url"]
    asks = f"GET {url} HTTP/1.1\r\nHost: {server.host}\r\nCookie: session_token={token}\r\n\r\n"
    came = list[int]()
    with ExitStack() as opened:
        browsers = [opened.enter_context(closing(socket.socket())) for _ in range(6)]
        for browser in browsers:
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            browser.connect((host[0], int(host[1])))
            browser.sendall(asks.encode())
            browser.settimeout(0)
        while sum(came) < len(browsers) * size:
            await asyncio.sleep(0)
            came.append(sum(map(taken, browsers)))

    assert max(came) < 400_000


async def test_a_file_is_for_members_of_its_room_and_only_while_they_are(
    server: Server, kevin: Person, david: Person, visitor: Person, cast: Cast
) -> None:
    message = await sent(kevin, cast.designers, MP4, "a.mp4", still=b"no picture")
    file = message["attachment"]
    url, still = file["url"], f"/files/{file['id']}/still"
    outsider = await server.sign_in(cast.jz)
    await run(
        server, "DELETE FROM memberships WHERE room_id = :room AND user_id = :id",
        room=cast.designers.id, id=cast.jz.id,
    )  # fmt: skip

    for path in (url, still):
        stranger, outside = await visitor.get(path), await outsider.get(path)
        assert (stranger.status, stranger.code) == (401, "unauthenticated")
        assert (outside.status, outside.code) == (404, "attachment_not_found")
    assert (await kevin.get("/files/99/a")).code == "attachment_not_found"
    assert (await kevin.get(f"/files/{file['id']}/")).status == 404
    assert (await kevin.get(url)).status == 200

    await set_status(server, cast.kevin, program.Status.DEACTIVATED)
    assert (await kevin.get(url)).status == 401
    assert (await david.get(url)).status == 200
    await david.delete(path_of(cast.designers, message["id"]))
    assert (await david.get(url)).status == 404


async def test_a_file_whose_bytes_are_not_here_says_so(
    server: Server, kevin: Person, cast: Cast
) -> None:
    message = await sent(kevin, cast.designers, b"%PDF-1.7", "plan.pdf")
    url = message["attachment"]["url"]
    (path,) = stored_files(server)
    path.write_bytes(b"%PDF")
    assert (await kevin.get(url)).status == 404

    await run(server, "UPDATE blobs SET sha256 = NULL")
    await kevin.put(f"/api/messages/{message['id']}/boosts", {"content": "?"})
    shown = await server.parts.db.read(program.messages_by_id, [message["id"]])
    file = program.file_json(shown[0].file)  # type: ignore[arg-type] # it has one

    assert (file["missing"], file["url"], file["download_url"]) == (True, None, None)
    assert "This file has not been moved here yet" in program.file_element(shown[0].file)  # type: ignore[arg-type]


async def test_a_photograph_is_shown_upright_by_its_still_and_rid_of_its_tales(
    artful: Server, kevin: Person, david: Person, cast: Cast
) -> None:
    tab = await david.room_tab(cast.designers)
    photo = encoded(painted(1_600, 1_200), "JPEG", exif=turned(), quality=60)

    message = await sent(kevin, cast.designers, photo, "harbour morning.jpg")
    file = message["attachment"]
    original, still = await kevin.get(file["url"]), await kevin.get(file["still_url"])

    sizes = [file[name] for name in ("width", "height", "still_width", "still_height")]
    assert sizes == [1_200, 1_600, 600, 800]
    assert b"Telephone" in photo
    assert b"Telephone" not in original.body
    assert opened(original.body).getexif()[0x0112] == 6
    assert opened(still.body).size == (600, 800)
    assert still.headers["Content-Type"] == "image/jpeg"
    assert file["byte_size"] == len(original.body)
    (frame,) = await tab.drain()
    box = 'style="width: 300px; aspect-ratio: 0.75;"'
    assert box in frame
    assert f'<img src="{file["still_url"]}" width="600" height="800"' in frame
    attribute = re.search(r"data-attachment='([^']*)'", frame)
    assert attribute
    assert json.loads(attribute[1].replace("&#39;", "'")) == file
    assert len(stored_files(artful)) == 2


@pytest.mark.usefixtures("artful")
async def test_a_film_has_the_still_of_its_browser_and_a_picture_of_its_own(
    kevin: Person, cast: Cast
) -> None:
    frame = encoded(painted(640, 480), "JPEG")
    lie = encoded(painted(10, 10), "PNG")

    film = await sent(kevin, cast.pets, MP4, "clip.mp4", still=frame, duration_ms="1500")
    heic = await sent(kevin, cast.pets, HEIC, "photo.heic", still=frame)
    plain = await sent(kevin, cast.pets, HEIC, "other.heic", still=b"x" * 5_000_000)
    bare = await sent(kevin, cast.pets, MP4, "bare.mp4", width="1920", height="1080")
    png = await sent(
        kevin, cast.pets, encoded(painted(100, 50, "RGBA"), "PNG"), "a.png", still=lie, width="7"
    )
    words = await sent(kevin, cast.pets, b"words", "a.txt", still=frame)

    def told(message: dict[str, object]) -> list[object]:
        file = dict(message["attachment"])  # type: ignore[call-overload]
        names = ("kind", "width", "height", "still_width", "still_height", "duration_ms")
        return [*(file[name] for name in names), file["still_url"] is not None]

    assert told(film) == ["video", 640, 480, 640, 480, 1500, True]
    assert told(heic) == ["image", 640, 480, 640, 480, None, True]
    assert told(plain) == ["image", None, None, None, None, None, False]
    assert told(bare) == ["video", 1920, 1080, None, None, None, False]
    assert told(png) == ["image", 100, 50, 100, 50, None, True]
    assert told(words) == ["file", None, None, None, None, None, False]


async def test_a_still_that_could_not_be_made_is_made_once_when_it_is_first_seen(
    server: Server, kevin: Person, cast: Cast
) -> None:
    good = (await sent(kevin, cast.pets, encoded(painted(90, 60), "PNG"), "a.png"))["attachment"]
    bad = (await sent(kevin, cast.pets, encoded(painted(90, 60), "PNG")[:80], "b.png"))[
        "attachment"
    ]
    assert (good["still_url"], good["still_width"]) == (f"/files/{good['id']}/still", None)
    assert (await kevin.get(good["still_url"])).status == 404
    process = at_work(server.parts.workshop)

    answers = await asyncio.gather(*(kevin.get(good["still_url"]) for _ in range(12)))
    refused = [await kevin.get(bad["still_url"]) for _ in range(2)]

    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert [answer.status for answer in refused] == [404, 404]
    results = server.parts.workshop.results
    assert results == {("still", "ok"): 1, ("still", "refused"): 1}
    states = await found(server, "SELECT still_state, width FROM attachments ORDER BY id")
    assert states == [(1, 90), (2, None)]
    server.parts.workshop.close()
    assert await asyncio.to_thread(process.wait, 30) == 0


async def test_no_more_than_32_wait_for_stills(server: Server, kevin: Person, cast: Cast) -> None:
    picture = encoded(painted(9, 9), "PNG")
    file = (await sent(kevin, cast.pets, picture, "a.png"))["attachment"]
    process = at_work(server.parts.workshop)
    async with server.parts.workshop._turn:  # noqa: SLF001 - somebody else's order takes long
        asked = [asyncio.create_task(kevin.get(file["still_url"])) for _ in range(40)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert {(await task).status for task in done} == {503}
        assert {(await task).headers["Retry-After"] for task in done} == {"2"}

    statuses = sorted([(await task).status for task in asked])

    assert statuses == [200] * 32 + [503] * 8
    server.parts.workshop.close()
    assert await asyncio.to_thread(process.wait, 30) == 0


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='\r\n\0"'), max_size=80
    )
)
async def test_whatever_a_file_is_called_it_is_found_under_the_name_that_is_shown(
    kevin: Person, cast: Cast, name: str
) -> None:
    answer = await upload(kevin, cast.pets, form(b"\0", name))
    file = answer.json["message"]["attachment"]
    fetched = await kevin.get(file["url"])

    assert file["filename"] == program.safe_name(re.sub("%0[DA]", "", name).replace("%22", '"'))
    assert fetched.body == b"\0"
    told = fetched.headers["Content-Disposition"].rpartition("UTF-8''")[2]
    assert unquote(told) == file["filename"]


def turned() -> bytes:
    """What a telephone says of a photograph that it took upright."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "Telephone"
    return tags.tobytes()

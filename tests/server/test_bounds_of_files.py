"""What files cannot do to a server: not by many, not by slow readers, not by what they are."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.asking import ACCOUNT, count, path_of
from tests.support.bombs import chunk, gif, png
from tests.support.cast import AGENT, PATIENCE, Answer, Cast, LogLines, Person, Server, Start
from tests.support.files import form, sent, stored_files, upload
from tests.support.studio import at_work, encoded, painted

WORDS = b"Minutes of the meeting\n" * 40


async def comes(is_so: Callable[[], bool]) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110 - the server tells nobody of it
            await asyncio.sleep(0)


async def until(event: asyncio.Event, whole: bytes) -> AsyncIterator[bytes]:
    """A body whose end comes after the event."""
    yield whole[:300]
    await event.wait()
    yield whole[300:]


async def test_while_three_files_of_one_person_come_the_fourth_waits_and_words_do_not(
    server: Server, kevin: Person, jz: Person, cast: Cast
) -> None:
    end, store = asyncio.Event(), server.parts.store
    await kevin.csrf()
    coming = [
        asyncio.create_task(upload(kevin, cast.designers, until(end, form(WORDS, f"{n}.txt"))))
        for n in range(3)
    ]
    await comes(lambda: store.uploading[cast.kevin.id] == 3)

    fourth = await upload(kevin, cast.designers, form(WORDS))
    of_another = await sent(jz, cast.designers, WORDS)
    said = await kevin.say(cast.designers, "words")
    end.set()
    taken = [(await each).status for each in coming]

    assert (fourth.status, fourth.code) == (429, "too_many_uploads")
    assert fourth.headers["Retry-After"] == "5"
    assert (of_another["content_type"], said["plain_text"]) == ("attachment", "words")
    assert taken == [201, 201, 201]
    assert store.uploading.total() == 0
    assert (await upload(kevin, cast.designers, form(WORDS))).status == 201


def connections(server: Server) -> Sequence[object]:
    """Who is connected, idle or not."""
    listening = server.runner[0].server
    assert listening
    return listening.connections


async def test_who_takes_nothing_of_a_file_is_cut_off_and_who_reads_is_not(
    start: Start, cast: Cast
) -> None:
    server = await start(UPLOAD_IDLE_TIMEOUT="1")
    kevin = await server.sign_in(cast.kevin)
    whole = bytes(40_000_000)
    file = (await sent(kevin, cast.designers, whole))["attachment"]
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    lazy.settimeout(0)
    host, _, port = server.host.partition(":")
    loop, held = asyncio.get_running_loop(), len(connections(server))
    with closing(lazy):
        await loop.sock_connect(lazy, (host, int(port)))
        asks = (
            f"GET {file['url']} HTTP/1.1\r\nHost: {server.host}\r\nUser-Agent: {AGENT}\r\n"
            f"Cookie: session_token={kevin.cookie('session_token')}\r\n\r\n"
        )
        await loop.sock_sendall(lazy, asks.encode())
        assert (await loop.sock_recv(lazy, 12)) == b"HTTP/1.1 200"

        await comes(lambda: len(connections(server)) == held)

        assert (await kevin.get(file["url"])).body == whole


@pytest.fixture
async def artful(server: Server) -> AsyncIterator[Server]:
    """A server with a workshop."""
    process = at_work(server.parts.workshop)
    yield server
    server.parts.workshop.close()
    assert await asyncio.to_thread(process.wait, 30) == 0


BOMBS = {
    "many pixels": png(8_000, 8_000, bytes(8_000 * (8_000 * 8 + 1) // 8), depth=16, kind=6),
    "many frames": gif(5_000, 5_000, frames=2_000),
    "too many pixels": png(65_501, 65_501),
    "no pixels": png(0, 0),
    "a profile that swells": png(
        100, 100, bytes(101 * 100), chunk(b"iCCP", b"a\0\0" + bytes(5_000_000))
    ),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
async def test_while_a_bomb_is_looked_at_the_server_answers_and_then_it_is_a_row(
    artful: Server, kevin: Person, jz: Person, cast: Cast, bomb: bytes
) -> None:
    await jz.csrf()
    bombing = asyncio.create_task(sent(kevin, cast.pets, bomb, "kitten.png"))
    workshop, answers = artful.parts.workshop, list[Answer]()
    await comes(lambda: workshop._turn.locked() or bombing.done())  # noqa: SLF001 - it is looked at
    while not bombing.done():
        answers.append(await jz.get("/up.json"))
        await jz.say(cast.pets, "and we talk on")
    bombed = (await bombing)["attachment"]
    good = (await sent(kevin, cast.pets, encoded(painted(40, 30), "PNG"), "a.png"))["attachment"]

    assert {(each.status, each.json["pictures"]) for each in answers} <= {(200, "ok")}
    assert answers or bomb is not BOMBS["many pixels"]
    assert good["still_url"]
    if bombed["still_url"] is None:
        assert (bombed["kind"], bombed["width"]) == ("image", None)
    assert (await kevin.get(bombed["url"])).body == bomb


def outside(folder: Path) -> str:
    """A place that cannot be a folder, not even for root."""
    (folder / "a file").write_bytes(b"")
    return str(folder / "a file" / "files")


async def test_where_nothing_can_be_stored_people_talk_and_are_told_that_files_are_off(
    start: Start, cast: Cast, tmp_path: Path, log_lines: LogLines
) -> None:
    server = await start(FILES_DIR=outside(tmp_path))
    david = await server.sign_in(cast.david)
    picture = {"X-CSRF-Token": await david.csrf(), "Content-Type": "image/png"}

    answers = [await upload(david, cast.designers, form(WORDS))]
    answers += [
        await david.request("PUT", path, data=b"\x89PNG", headers=picture)
        for path in ("/api/users/me/avatar", f"{ACCOUNT}/logo")
    ]

    assert [(each.status, each.code) for each in answers] == [(501, "feature_disabled")] * 3
    features = (await david.boot("/users/me/profile"))["features"]
    assert (features["files"], features["avatars"]) == (False, False)
    assert (await david.say(cast.designers, "words"))["plain_text"] == "words"
    told = (await david.get("/up.json")).json
    assert (told["status"], told["files"]) == ("up", "unwritable")
    assert sum('"event": "store_unwritable"' in line for line in log_lines()) == 1
    assert (await david.delete("/api/users/me/avatar")).status == 200


async def test_people_boost_a_picture_and_the_boosts_go_with_it(
    artful: Server, kevin: Person, jz: Person, cast: Cast
) -> None:
    tab = await jz.room_tab(cast.designers)
    message = await sent(kevin, cast.designers, encoded(painted(40, 30), "PNG"), "harbour.png")

    boosted = await jz.post(f"/api/messages/{message['id']}/boosts", {"content": "👏"})
    shown = (await kevin.get(path_of(cast.designers, message["id"]))).json["message"]
    frames = await tab.drain()
    await kevin.delete(path_of(cast.designers, message["id"]))

    assert boosted.status == 201
    assert [boost["content"] for boost in shown["boosts"]] == ["👏"]
    assert shown["attachment"] == message["attachment"]
    assert "👏" in frames[-1]
    assert await count(artful, "boosts") == 0
    assert await count(artful, "doomed_blobs") == 2
    assert len(stored_files(artful)) == 2

"""Who hears of a file, and in which words; and what nobody ever hears."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from tests.support.asking import ACCOUNT, SIGN_IN, count, found, path_of, settle, url_of
from tests.support.cast import Cast, LogLines, Person, Server, Start
from tests.support.files import TYPE, form, sent, stored_files, upload
from tests.support.services import Browser, Service, subscribe
from tests.support.studio import at_work, encoded, painted

PICTURE = encoded(painted(90, 60), "PNG")


@pytest.fixture
async def artful(server: Server) -> AsyncIterator[Server]:
    """A server with a workshop."""
    process = at_work(server.parts.workshop)
    yield server
    server.parts.workshop.close()
    assert await asyncio.to_thread(process.wait, 30) == 0


async def test_a_notification_of_a_file_says_its_name_and_who_sent_it(
    start: Start, cast: Cast, service: Service
) -> None:
    server, browser = await start(ALLOW_PRIVATE_PUSH_ENDPOINTS="1"), Browser()
    kevin, david, jz = [await server.sign_in(each) for each in (cast.kevin, cast.david, cast.jz)]
    await subscribe(kevin, f"{service.address}/devices/one", browser.keys)
    await kevin.put(f"/api/rooms/{cast.designers.id}/involvement", {"involvement": "everything"})

    await sent(jz, cast.designers, b"words", "moon landing.txt")
    await settle(server)
    await sent(david, cast.david_and_kevin, b"words", "secret.txt")
    await settle(server)

    told = [browser.read(body) for _, body, _ in service.came]
    assert [(each["title"], each["options"]["body"]) for each in told] == [
        ("Designers", "JZ: moon landing.txt"), ("David", "secret.txt"),
    ]  # fmt: skip


async def test_a_file_makes_its_room_unread_for_those_who_are_elsewhere(
    kevin: Person, jz: Person, david: Person, cast: Cast
) -> None:
    elsewhere, here = await jz.welcomed(), await david.room_tab(cast.designers)
    await elsewhere.subscribe(channel="UnreadRoomsChannel")

    await sent(kevin, cast.designers, b"words", "minutes.txt")

    assert await elsewhere.next_message() == {"roomId": cast.designers.id}
    assert len(await here.drain()) == 1


async def test_who_deletes_a_file_takes_it_out_of_every_open_page(
    server: Server, kevin: Person, david: Person, cast: Cast
) -> None:
    tab = await david.room_tab(cast.designers)
    message = await sent(kevin, cast.designers, b"words", "minutes.txt")

    assert (await kevin.delete(path_of(cast.designers, message["id"]))).status == 204

    assert 'action="remove"' in (await tab.drain())[-1]
    assert (await david.get(path_of(cast.designers, message["id"]))).status == 404
    assert (await david.get(message["attachment"]["url"])).status == 404
    assert (await count(server, "blobs"), await count(server, "doomed_blobs")) == (0, 1)
    server.wall.ahead += 3_601
    await server.parts.store.sweep()
    assert stored_files(server) == set()


async def test_from_a_banned_address_nobody_sends_anything(
    server: Server, cast: Cast, visitor: Person
) -> None:
    there = {"X-Forwarded-For": "52.0.0.7"}
    await visitor.post("/api/session", {**SIGN_IN, "email_address": "jz@example.com"}, there)
    david, kevin = [await server.sign_in(each) for each in (cast.david, cast.kevin)]
    assert (await david.post(f"/api/users/{cast.jz.id}/ban")).status == 200

    by_person = await upload(kevin, cast.designers, form(b"words"), there)
    by_bot = await visitor.request(
        "POST", url_of(cast.hq), data=form(b"words"), headers={**TYPE, **there}
    )

    assert (by_person.status, by_person.code) == (429, "banned_ip")
    assert (by_bot.status, by_bot.body) == (429, b"")
    assert stored_files(server) == set()


async def test_every_picture_of_a_page_is_made_once_however_many_look(
    server: Server, kevin: Person, jz: Person, cast: Cast
) -> None:
    urls = [
        (await sent(kevin, cast.pets, PICTURE, f"{n}.png"))["attachment"]["still_url"]
        for n in range(8)
    ]
    process = at_work(server.parts.workshop)

    answers = await asyncio.gather(*(person.get(url) for url in urls for person in (kevin, jz) * 2))

    assert {answer.status for answer in answers} == {200}
    assert server.parts.workshop.results == {("still", "ok"): 8}
    assert await count(server, "blobs") == 16
    server.parts.workshop.close()
    assert await asyncio.to_thread(process.wait, 30) == 0


async def test_no_answer_frame_or_line_tells_where_a_file_lies(
    artful: Server, kevin: Person, david: Person, visitor: Person, cast: Cast, log_lines: LogLines
) -> None:
    tab = await david.room_tab(cast.designers)
    message = await sent(kevin, cast.designers, PICTURE, "harbour.png")
    headers = {"X-CSRF-Token": await david.csrf(), "Content-Type": "image/png"}
    for place in ("/api/users/me/avatar", f"{ACCOUNT}/logo"):
        assert (await david.request("PUT", place, data=PICTURE, headers=headers)).status == 200
    file, me = message["attachment"], (await david.get("/api/session")).json["user"]
    room, messages = f"/rooms/{cast.designers.id}", path_of(cast.designers)

    answers = [
        await david.get(path)
        for path in (
            room, f"/api{room}", messages, f"{messages}/{message['id']}", file["url"],
            file["still_url"], file["download_url"], "/api/searches?q=harbour", me["avatar_url"],
            "/account/logo", ACCOUNT, "/account/edit", "/api/users/me/sidebar", "/up.json",
            "/metrics", "/webmanifest", f"/files/{file['id'] + 9}/a",
        )
    ]  # fmt: skip
    answers.append(await visitor.get(url_of(cast.hq)))

    told = "\n".join(f"{dict(each.headers)} {each.body!r}" for each in answers)
    told += str(await tab.drain()) + "\n".join(log_lines())
    keys = [key for (key,) in await found(artful, "SELECT key FROM blobs")]
    assert len(keys) == 5
    assert [key for key in keys if key in told] == []
    assert str(artful.parts.store.folder) not in told
    assert not re.search(r"incoming|lost\+found", told)

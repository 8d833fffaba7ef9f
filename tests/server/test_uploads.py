"""A file on its way in: what is taken, what is refused, and what is left of it."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.asking import KEY, count, found, path_of, run, settle, url_of
from tests.support.cast import AGENT, PATIENCE, Cast, LogLines, Person, Server, Start
from tests.support.files import TYPE, form, sent, stored_files, upload

WORDS = b"Minutes of the meeting\n" * 40


async def in_time(body: bytes, *sizes: int) -> AsyncIterator[bytes]:
    """A body in chunks of these sizes, and then the rest."""
    at = 0
    for size in sizes:
        yield body[at : at + size]
        at += size
    yield body[at:]


async def comes(is_so: Callable[[], bool]) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110 - the server tells nobody of it
            await asyncio.sleep(0)


async def test_a_file_becomes_a_message_that_everybody_is_told(
    server: Server, kevin: Person, david: Person, cast: Cast
) -> None:
    tab = await david.room_tab(cast.designers)

    message = await sent(kevin, cast.designers, WORDS, "minutes of may.txt", client_message_id="m1")

    file = message["attachment"]
    assert file == {
        "id": file["id"], "filename": "minutes of may.txt", "content_type": "text/plain",
        "kind": "file", "byte_size": len(WORDS), "width": None, "height": None,
        "duration_ms": None, "animated": False, "missing": False,
        "url": f"/files/{file['id']}/minutes%20of%20may.txt",
        "download_url": f"/files/{file['id']}/minutes%20of%20may.txt?download=1",
        "still_url": None, "still_width": None, "still_height": None,
    }  # fmt: skip
    assert (message["content_type"], message["client_message_id"]) == ("attachment", "m1")
    assert (message["body_html"], message["plain_text"]) == ("", "minutes of may.txt")
    [frame] = await tab.drain()
    assert 'action="append"' in frame
    assert 'data-content-type="attachment"' in frame
    assert f"{len(WORDS)} B" in frame
    (path,) = stored_files(server)
    assert path.read_bytes() == WORDS
    assert await count(server, "doomed_blobs") == 0
    page = (await david.get(path_of(cast.designers))).json["messages"]
    assert page[-1]["attachment"] == file


async def test_a_form_may_name_its_parts_as_rails_does(kevin: Person, cast: Cast) -> None:
    names = {"message[client_message_id]": "m1"}

    answers = [
        await upload(
            kevin, cast.designers, form(WORDS, "a.txt", part="message[attachment]", **names)
        )
        for _ in range(2)
    ]

    assert [answer.status for answer in answers] == [201, 200]
    assert answers[0].json["message"]["attachment"]["filename"] == "a.txt"
    assert answers[1].json["message"]["client_message_id"] == "m1"


async def test_a_file_sent_again_is_there_once(
    server: Server, kevin: Person, david: Person, cast: Cast
) -> None:
    tab = await david.room_tab(cast.designers)
    body = form(WORDS, "a.txt", client_message_id="once")
    id_first = form(b"once", "", part="client_message_id").replace(b'; filename=""', b"")
    id_first = id_first.replace(b"--b0undary--\r\n", b"") + form(b"other bytes", "b.txt")

    answers = await asyncio.gather(*(upload(kevin, cast.designers, body) for _ in range(3)))
    later = [await upload(kevin, cast.designers, each) for each in (body, id_first)]

    assert sorted(answer.status for answer in answers) == [200, 200, 201]
    assert [answer.status for answer in later] == [200, 200]
    assert {answer.json["message"]["id"] for answer in [*answers, *later]} == {11}
    assert len(await tab.drain()) == 1
    assert len(stored_files(server)) == 1
    assert await count(server, "doomed_blobs") == 0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (form(b"x", "a").replace(b"--b0undary--\r\n", b"") + form(b"y", "b"), 422, "one_file_only"),
        (form(b"x", "a", part="other"), 422, "file_blank"),
        (form(b"", "a"), 422, "file_blank"),
        (form(b"x", "a").replace(b'; filename="a"', b""), 422, "file_blank"),
        (form(b"x" * (1 << 20) + b"y"), 413, "file_too_large"),
        (form(b"x", "a")[:-12], 400, "bad_request"),
        (form(b"x", "a").replace(b"Content-Type", b"Content-Transfer-Encoding: base64\r\nA"), 400,
         "bad_request"),
        (form(b"x", "a", note="n" * 65_537), 400, "bad_request"),
        (form(b"x", "a", client_message_id="n" * 1_025), 400, "bad_request"),
        (form(b"x", "a", client_message_id="no good"), 422, "invalid_client_message_id"),
        (form(b"x", "a", **{f"f{n}": "" for n in range(32)}), 400, "bad_request"),
    ],
    ids=["two files", "no file", "empty", "no name", "too large", "no end", "base64", "long part",
         "long id", "no id", "many parts"],
)  # fmt: skip
async def test_what_is_no_file_to_send_leaves_nothing(
    start: Start, cast: Cast, body: bytes, status: int, code: str
) -> None:
    server = await start(FILES_MAX_BYTES="1M")
    kevin = await server.sign_in(cast.kevin)

    for whole in (in_time(body), in_time(body, 100, 7)):
        answer = await upload(kevin, cast.designers, whole)

        assert (answer.status, answer.code) == (status, code)
        assert answer.json["error"].get("max_bytes") == ((1 << 20) if status == 413 else None)
    assert stored_files(server) == set()
    assert await count(server, "doomed_blobs") == 0
    assert await count(server, "blobs") == 0


async def test_a_form_that_says_it_is_too_long_is_refused_before_it_comes(
    start: Start, cast: Cast
) -> None:
    server = await start(FILES_MAX_BYTES="1M")
    kevin = await server.sign_in(cast.kevin)
    token, cookie = await kevin.csrf(), kevin.cookie("session_token")
    nonce = kevin.cookie("_campfire_csrf")
    reader, writer = await server.dialled()
    with closing(writer):
        lines = (
            f"POST {path_of(cast.designers)} HTTP/1.1", f"Host: {server.host}",
            f"Cookie: session_token={cookie}; _campfire_csrf={nonce}", f"X-CSRF-Token: {token}",
            f"User-Agent: {AGENT}", f"Content-Type: {TYPE['Content-Type']}",
            f"Content-Length: {(1 << 30)}", "", "",
        )  # fmt: skip
        writer.write("\r\n".join(lines).encode())

        answer = await asyncio.wait_for(reader.readuntil(b"}}"), 10)

        assert b" 413 " in answer.splitlines()[0]
        assert b"Connection: close" in answer
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_a_connection_that_ends_early_leaves_nothing(
    server: Server, kevin: Person, cast: Cast
) -> None:
    token, cookie = await kevin.csrf(), kevin.cookie("session_token")
    nonce = kevin.cookie("_campfire_csrf")
    _, writer = await server.dialled()
    lines = (
        f"POST {path_of(cast.designers)} HTTP/1.1", f"Host: {server.host}",
        f"Cookie: session_token={cookie}; _campfire_csrf={nonce}", f"X-CSRF-Token: {token}",
        f"User-Agent: {AGENT}", f"Content-Type: {TYPE['Content-Type']}",
        "Content-Length: 5000000", "", "",
    )  # fmt: skip
    writer.write("\r\n".join(lines).encode() + form(bytes(900_000))[:-14])
    await writer.drain()
    await comes(lambda: bool(stored_files(server)))

    writer.close()

    await comes(lambda: not server.parts.store.uploading.total())
    assert stored_files(server) == set()
    assert await count(server, "doomed_blobs") == 0


async def test_an_upload_that_drips_is_ended_with_408(start: Start, cast: Cast) -> None:
    server = await start(UPLOAD_IDLE_TIMEOUT="1")
    kevin = await server.sign_in(cast.kevin)
    ended = asyncio.Event()

    async def dripping() -> AsyncIterator[bytes]:
        yield form(b"x" * 1_000)[:-20]
        await ended.wait()

    answer = await upload(kevin, cast.designers, dripping())
    ended.set()

    assert (answer.status, answer.code) == (408, "upload_too_slow")
    assert stored_files(server) == set()


async def test_one_person_sends_three_files_at_once_and_all_together_sixteen(
    server: Server, kevin: Person, cast: Cast
) -> None:
    store = server.parts.store
    with store.place_for(cast.kevin.id), store.place_for(cast.kevin.id):
        with store.place_for(cast.kevin.id):
            refused = await upload(kevin, cast.designers, form(WORDS))
        taken = await upload(kevin, cast.designers, form(WORDS))

    assert (refused.status, refused.code) == (429, "too_many_uploads")
    assert refused.headers["Retry-After"] == "5"
    assert taken.status == 201
    assert store.uploading.total() == 0


async def test_who_may_not_send_to_a_room_learns_it_before_anything_is_stored(
    server: Server, kevin: Person, visitor: Person, cast: Cast
) -> None:
    outside = await upload(kevin, cast.watercooler, form(WORDS))
    stranger = await upload(visitor, cast.designers, form(WORDS))
    forged = await upload(kevin, cast.designers, form(WORDS), {"X-CSRF-Token": "forged"})
    old = await kevin.post(f"/api/rooms/{cast.designers.id}/attachments")

    assert [outside.status, stranger.status, forged.status, old.status] == [404, 401, 422, 404]
    assert stored_files(server) == set()


@pytest.mark.parametrize(
    ("happens", "status"),
    [
        ("DELETE FROM sessions WHERE user_id = :id", 401),
        ("DELETE FROM memberships WHERE user_id = :id AND room_id = :room", 404),
        ("DELETE FROM rooms WHERE id = :room AND :id", 404),
        ("UPDATE users SET role = 1 WHERE id = :id AND :room", 408),
    ],
    ids=["signed out", "let out", "room deleted", "another role"],
)
async def test_whoever_is_let_out_while_a_file_comes_has_sent_nothing(
    server: Server, kevin: Person, cast: Cast, happens: str, status: int
) -> None:
    gone, begun = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        whole = form(WORDS)
        yield whole[:200]
        begun.set()
        await gone.wait()
        yield whole[200:]

    answer = asyncio.create_task(upload(kevin, cast.designers, body()))
    await begun.wait()
    await comes(lambda: len(stored_files(server)) == 1)
    await run(server, happens, id=cast.kevin.id, room=cast.designers.id)
    gone.set()

    assert (await answer).status == status
    assert stored_files(server) == set()
    assert await count(server, "attachments") == 0


async def test_with_files_switched_off_nothing_new_comes_and_what_is_there_stays(
    start: Start, cast: Cast
) -> None:
    server = await start()
    message = await sent(await server.sign_in(cast.kevin), cast.designers, WORDS)
    await server.close()
    server = await start(FILES_ENABLED="0")
    kevin = await server.sign_in(cast.kevin)

    refused = await upload(kevin, cast.designers, form(WORDS))

    assert (refused.status, refused.code) == (501, "feature_disabled")
    assert refused.json["error"]["message"] == "File sharing is switched off here"
    assert (await kevin.get(message["attachment"]["url"])).body == WORDS
    assert (await kevin.delete(path_of(cast.designers, message["id"]))).status == 204


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("../../x", "x"), (r"C:\a\b.txt", "b.txt"), ("a%0D%0Ab.txt", "ab.txt"),
        ("é" * 300, "é" * 127), (".htaccess", "htaccess"), ("photo\u202egpj.exe", "photogpj.exe"),
        ("", "file"), ("👍", "👍"), (r"say \"hi\".txt", 'say "hi".txt'), ("%22.txt", '".txt'),
        ("/play bell", "play bell"), ("a; name=b.txt", "a; name=b.txt"),
    ],
)  # fmt: skip
async def test_a_name_is_kept_as_a_text_and_nothing_more(
    kevin: Person, cast: Cast, given_name: str, shown: str
) -> None:
    message = await sent(kevin, cast.designers, b"\0bytes", given_name)

    assert message["plain_text"] == message["attachment"]["filename"] == shown
    assert (message["emoji_only"], message["sound"]) == (False, None)
    answer = await kevin.get(message["attachment"]["download_url"])
    assert (answer.status, answer.body) == (200, b"\0bytes")


async def test_a_file_message_cannot_be_edited_and_goes_as_every_message(
    server: Server, kevin: Person, david: Person, cast: Cast
) -> None:
    message = await sent(kevin, cast.designers, WORDS, "museum-contract-final.pdf")
    place = path_of(cast.designers, message["id"])
    hits = (await david.get("/api/searches?q=contracts")).json["messages"]

    edited = await kevin.put(place, {"body": "other"})
    by_another = await david.put(place, {"body": "other"})
    deleted = await david.delete(place)

    assert (edited.status, edited.code) == (422, "attachment_not_editable")
    assert (by_another.status, deleted.status) == (422, 204)
    assert [hit["attachment"]["filename"] for hit in hits] == ["museum-contract-final.pdf"]
    assert "<mark>contract</mark>" in hits[0]["highlight_html"]
    assert (await david.get("/api/searches?q=contracts")).json["messages"] == []
    assert (await kevin.get(message["attachment"]["url"])).status == 404
    assert await count(server, "doomed_blobs") == 1


async def test_files_go_with_their_room_and_with_whoever_is_banned(
    server: Server, kevin: Person, david: Person, cast: Cast
) -> None:
    for room in (cast.designers, cast.hq):
        await sent(kevin, room, WORDS)
    assert (await david.delete(f"/api/rooms/{cast.designers.id}")).status == 204
    assert await count(server, "doomed_blobs") == 1

    await david.post(f"/api/users/{cast.kevin.id}/ban")
    await settle(server)

    assert await count(server, "doomed_blobs") == 2
    assert await count(server, "blobs") == await count(server, "attachments") == 0
    server.wall.ahead += 2 * 3_600
    await server.parts.store.sweep()
    assert stored_files(server) == set()


async def test_a_bot_sends_a_file_and_gets_files_back(
    server: Server, kevin: Person, visitor: Person, cast: Cast
) -> None:
    body = form(WORDS, "moon.txt", body="text beside it")
    answer = await visitor.request("POST", url_of(cast.hq), data=body, headers=TYPE)
    nothing = await visitor.request(
        "POST", url_of(cast.hq), data=form(b"x", part="body"), headers=TYPE
    )
    blank = await visitor.request("POST", url_of(cast.hq), data=form(b""), headers=TYPE)
    wrong = await visitor.request("POST", url_of(cast.hq, key="5-x"), data=body, headers=TYPE)

    assert (answer.status, answer.body) == (201, b"")
    assert (nothing.status, nothing.body) == (422, b"")
    assert (blank.status, blank.code, wrong.status) == (422, "file_blank", 302)
    said = (await visitor.get(url_of(cast.hq))).json[-1]
    address = server.address + url_of(cast.hq, f"/{said['id']}/attachment")
    assert said["body"] == {"plain_text": "moon.txt", "html": ""}
    assert said["attachment"] == {
        "filename": "moon.txt", "content_type": "text/plain", "byte_size": len(WORDS),
        "url": address,
    }  # fmt: skip
    fetched = await visitor.get(address.removeprefix(server.address))
    assert (fetched.status, fetched.body) == (200, WORDS)
    assert fetched.headers["Content-Disposition"].startswith("attachment;")
    message = (await kevin.get(path_of(cast.hq, said["id"]))).json["message"]
    assert (await visitor.get(f"{message['attachment']['url']}?bot_key={KEY}")).status == 403


async def test_no_file_name_is_ever_in_a_line_of_the_log(
    kevin: Person, cast: Cast, log_lines: LogLines
) -> None:
    message = await sent(kevin, cast.designers, WORDS, "redundancies.txt")
    await kevin.get(message["attachment"]["url"])

    told = "\n".join(log_lines())
    assert "redundancies" not in told
    assert f'"/files/{message["attachment"]["id"]}"' in told


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_however_a_form_is_cut_up_the_same_bytes_are_stored(
    server: Server, kevin: Person, cast: Cast, data: st.DataObject
) -> None:
    inside = data.draw(st.binary(min_size=1, max_size=600) | st.just(b"\r\n--b0undar" * 40_000))
    sizes = data.draw(st.lists(st.integers(1, 400), max_size=12))
    body = form(inside, "a.bin", note="beside", width="7")
    if b"--b0undary" in inside:
        return

    answer = await upload(kevin, cast.pets, in_time(body, *sizes))

    file = answer.json["message"]["attachment"]
    assert (await kevin.get(file["url"])).body == inside
    [(size, sha256)] = await found(
        server,
        "SELECT byte_size, sha256 FROM blobs JOIN attachments ON blob_id = blobs.id"
        " WHERE attachments.id = :id",
        id=file["id"],
    )
    assert (size, sha256) == (len(inside), hashlib.sha256(inside).digest())


async def test_a_store_that_is_full_takes_no_file_and_every_word(start: Start, cast: Cast) -> None:
    server = await start(FILES_RESERVE_BYTES="1000000G")
    kevin = await server.sign_in(cast.kevin)

    full = await upload(kevin, cast.designers, form(WORDS))
    said = await kevin.say(cast.designers, "words")

    assert (full.status, full.code) == (507, "storage_full")
    assert said["plain_text"] == "words"
    assert stored_files(server) == set()


async def test_what_is_stored_never_exceeds_what_may_be(start: Start, cast: Cast) -> None:
    server = await start(FILES_QUOTA_BYTES=str(1 << 20))
    kevin = await server.sign_in(cast.kevin)

    async def stored() -> int:
        return (await server.parts.db.read(server.parts.store.usage_in)).bytes

    async def send(size: int, *, is_told: bool) -> None:
        before = await stored()
        body = form(bytes(size))

        answer = await upload(kevin, cast.pets, body if is_told else in_time(body, 1_000))

        after = await stored()
        assert (answer.status, after) in ((201, before + size), (507, before))
        assert answer.status == 201 or before + size > (1 << 20) - 2_000
        assert after <= 1 << 20
        assert len(stored_files(server)) == await count(server, "blobs")
        assert (await kevin.say(cast.pets, "words"))["id"]

    for size in (1, *[150_000, 70_000] * 8, 3_000, 1):
        for is_told in (True, False):
            await send(size, is_told=is_told)


async def test_files_and_words_are_told_in_the_order_in_which_they_are_stored(
    server: Server, kevin: Person, jz: Person, david: Person, cast: Cast
) -> None:
    tab = await david.room_tab(cast.pets)
    await kevin.csrf()

    async def talk(person: Person) -> None:
        for n in range(12):
            await person.say(cast.pets, f"words {n}")

    async def hand_over(person: Person) -> None:
        for n in range(6):
            await sent(person, cast.pets, WORDS * (1 + n))

    await asyncio.gather(talk(kevin), talk(jz), hand_over(kevin), hand_over(jz))

    told = [re.findall(r'data-message-id="([0-9]+)"', frame)[0] for frame in await tab.drain()]
    assert told == sorted(told, key=int)
    assert len(told) == 36
    assert len(stored_files(server)) == 12

"""Programs that talk: their keys and addresses, who looks after them, and who is called."""

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

import pytest

import campfire as program
from tests.conftest import Template
from tests.support.asking import KEY, TOKEN, bot_says, mention, settle, stored, texts, url_of
from tests.support.cast import Answer, Cast, LogLines, Person, copy_database, start_server
from tests.support.checklist_words import It
from tests.support.readers import Receiver
from tests.support.services import (
    TIMED_OUT,
    Hostile,
    TurnableLoop,
    give_webhook,
    hang_at_three_stages,
)
from tests.support.tables import briefly, cases


async def test_a_body_of_any_type_is_what_the_bot_says(
    visitor: Person, jason: Person, cast: Cast
) -> None:
    tab, path = await jason.room_tab(cast.watercooler), url_of(cast.watercooler)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": "session_token=x"}

    answers = [
        await visitor.request("POST", path, data="Hé <b>you</b> 👋".encode(), headers=headers),
        await visitor.request("POST", path, data=b"caf\xe9"),
        await visitor.request("POST", f"{path}.json", data=b"<script></script>"),
    ]  # fmt: skip

    assert [(each.status, each.body) for each in answers] == [(201, b"")] * 3
    message_id = answers[0].location.rpartition("/")[2]
    assert answers[0].location == f"{visitor.server.address}/messages/{message_id}"
    assert (await jason.get(f"/messages/{message_id}")).location == f"/rooms/3/@{message_id}"
    said = (await texts(jason, cast.watercooler))[-3:]
    assert said == ["Hé you 👋", "caf\N{REPLACEMENT CHARACTER}", ""]
    frames = await tab.drain()
    assert [frame.count('action="append"') for frame in frames] == [1] * 3
    assert f"/rooms/3/@{message_id}" in frames[0]


@pytest.mark.parametrize("text", ["", "   ", "\n\t\r", "\N{NO-BREAK SPACE}\N{EM SPACE}"])
async def test_saying_nothing_is_refused_without_a_word(
    visitor: Person, cast: Cast, text: str
) -> None:
    before = await stored(visitor.server)
    for rest, data in (
        ("", text),
        ("/1/boosts", text),
        ("", "x" * 65_537),
        ("/1/boosts", "x" * 17),
    ):
        path = url_of(cast.watercooler, rest)
        answer = await visitor.request("POST", path, data=data.encode())
        assert (answer.status, answer.body) == (422, b"")
    assert await stored(visitor.server) == before


async def test_files_of_bots_are_for_later(visitor: Person, cast: Cast) -> None:
    def form(name: str) -> dict[str, Any]:
        body = f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nhi\r\n--x--\r\n'
        return {"data": body, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}

    file = await visitor.request("POST", url_of(cast.watercooler), **form("attachment"))
    other = await visitor.request("POST", url_of(cast.watercooler), **form("text"))
    outside = await visitor.request("POST", url_of(cast.designers), **form("attachment"))

    assert (file.status, file.json["error"]["feature"]) == (501, "files")
    assert [(each.status, each.body) for each in (other, outside)] == [(422, b""), (404, b"")]


async def test_a_bot_reads_a_room_with_every_field(visitor: Person, cast: Cast) -> None:
    server = visitor.server
    words = f"Hey {mention(server, cast.jason)} https://example.com"
    posted = await bot_says(visitor, cast.watercooler, words)
    message_id = int(posted.location.rpartition("/")[2])

    answer = await visitor.get(url_of(cast.watercooler))

    assert (answer.status, answer.headers["X-Total-Count"]) == (200, "11")
    assert "Link" not in answer.headers
    assert [each["id"] for each in answer.json] == [*range(1, 11), message_id]
    last = answer.json[-1]
    html = last["body"].pop("html")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", last.pop("created_at"))
    assert last.pop("creator").pop("avatar_url").startswith(f"{server.address}/users/")
    assert last == {
        "id": message_id, "body": {"plain_text": "Hey @Jason https://example.com"},
        "room": {"id": cast.watercooler.id},
        "url": f"{server.address}/rooms/{cast.watercooler.id}/messages/{message_id}",
    }  # fmt: skip
    assert html.startswith('<div class="trix-content">\n  Hey <action-text-attachment')
    assert html.endswith("</action-text-attachment> https://example.com\n</div>\n")
    assert "Jason" in html
    creators = [each["creator"]["role"] for each in answer.json[:3]]
    assert creators == ["administrator", "administrator", "bot"]


async def test_pages_of_a_bot_lead_to_every_message_once(
    visitor: Person, david: Person, cast: Cast
) -> None:
    room, prefix = cast.hq, visitor.server.address
    empty = await visitor.get(url_of(room))
    ids = [(await david.say(room, f"{n}"))["id"] for n in range(85)]

    def link(answer: Answer) -> str | None:
        pattern = rf'<{re.escape(prefix)}([^>]+)>; rel="next"'
        found = re.fullmatch(pattern, answer.headers.get("Link", "-"))
        return found[1] if found else None

    async def walk(path: str) -> list[list[int]]:
        pages: list[list[int]] = []
        step: str | None = path
        while step:
            answer = await visitor.get(step)
            assert answer.headers["X-Total-Count"] == "85"
            pages.append([each["id"] for each in answer.json])
            step = link(answer)
        return pages

    assert (empty.json, empty.headers["X-Total-Count"], link(empty)) == ([], "0", None)
    assert await walk(url_of(room)) == [ids[45:], ids[5:45], ids[:5]]
    assert await walk(url_of(room, f"?after={ids[0]}")) == [ids[1:41], ids[41:81], ids[81:]]
    assert await walk(url_of(room, f"?after={ids[80]}")) == [ids[81:]]
    assert await walk(url_of(room, f"?before={ids[3]}&after={ids[1]}")) == [ids[:3]]
    assert await walk(url_of(room, f"?after={ids[84]}")) == [[]]
    foreign = await visitor.get(url_of(room, "?before=1"))
    assert (foreign.status, foreign.body) == (404, b"")


async def test_a_bot_edits_and_deletes_its_own_messages_and_the_room_sees_it(
    visitor: Person, jason: Person, cast: Cast
) -> None:
    tab, path = await jason.room_tab(cast.watercooler), url_of(cast.watercooler, "/3")

    edited = await visitor.request("PATCH", path, data="Grüße".encode())
    emptied = await visitor.request("PUT", path, data=b"")
    deleted = await visitor.request("DELETE", path)

    message = edited.json
    assert [each.status for each in (edited, emptied, deleted)] == [200, 200, 204]
    assert (message["id"], message["body"]["plain_text"]) == (3, "Grüße")
    assert message["creator"]["name"] == "Bender Bot"
    assert message["url"] == f"{visitor.server.address}/rooms/3/messages/3"
    assert (emptied.json["body"]["plain_text"], deleted.body) == ("", b"")
    frames = await tab.drain()
    shown = [re.findall(r'action="(\w+)" target="([\w-]+)"', frame)[0] for frame in frames]
    replaced, removed = ("replace", "presentation_message_drop-3"), ("remove", "message_drop-3")
    assert shown == [replaced, replaced, removed]
    assert len(await texts(jason, cast.watercooler)) == 9


async def test_a_bot_boosts_and_takes_its_own_boosts_back(
    visitor: Person, jason: Person, cast: Cast
) -> None:
    tab, path = await jason.room_tab(cast.watercooler), url_of(cast.watercooler, "/1/boosts")
    of_jason = (await jason.post("/api/messages/1/boosts", {"content": "mine"})).json["boost"]
    await tab.drain()

    boosts = [
        await visitor.request("POST", path, data=content.encode())
        for content in ("👍", "well done")
    ]
    boost = boosts[0].json
    removed = await visitor.request("DELETE", f"{path}/{boost['id']}")
    foreign = await visitor.request("DELETE", f"{path}/{of_jason['id']}")

    assert [each.status for each in boosts] == [201, 201]
    assert (boost["content"], boost["booster"]["id"]) == ("👍", cast.bender.id)
    assert boost["message"] == {"id": 1, "url": f"{visitor.server.address}/rooms/3/messages/1"}
    assert set(boost) == {"id", "content", "created_at", "booster", "message"}
    assert set(boost["booster"]) == {"id", "name", "role", "avatar_url"}
    assert [(each.status, each.body) for each in (removed, foreign)] == [(204, b""), (404, b"")]
    frames = [re.findall(r'action="(\w+)"', frame)[0] for frame in await tab.drain()]
    assert frames == ["append", "append", "remove"]
    left = (await jason.get("/api/messages/1/boosts")).json["boosts"]
    assert [each["content"] for each in left] == ["mine", "well done"]


async def test_no_wrong_parent_no_foreign_message_and_no_foreign_room_is_touched(
    visitor: Person, david: Person, cast: Cast
) -> None:
    in_designers = (await david.say(cast.designers, "not yours"))["id"]
    in_pets = (await david.say(cast.pets, "a pet"))["id"]
    await visitor.request("POST", url_of(cast.watercooler, "/1/boosts"), data=b"+1")
    before, mine = await stored(visitor.server), cast.watercooler.id
    inner = (("PATCH", ""), ("DELETE", ""), ("POST", "/boosts"), ("DELETE", "/boosts/1"))
    rows: list[tuple[str, int, str, int]] = [
        ("PATCH", mine, "/1", 403), ("DELETE", mine, "/1", 403),
        ("DELETE", mine, "/2/boosts/1", 404), ("DELETE", mine, "/1/boosts/99", 404),
        ("DELETE", cast.pets.id, f"/{in_pets}/boosts/1", 404),
    ]  # fmt: skip
    for room_id in (cast.designers.id, cast.david_and_jason.id, 999):
        rows += [("GET", room_id, "", 404), ("POST", room_id, "", 404)]
        rows += [(each, room_id, f"/3{rest}", 404) for each, rest in inner]
        rows += [(each, room_id, f"/{in_designers}{rest}", 404) for each, rest in inner]
    for message in (in_pets, in_designers, 999):
        rows += [(each, mine, f"/{message}{rest}", 404) for each, rest in inner]

    for method, room_id, rest, status in rows:
        path = f"/rooms/{room_id}/{KEY}/messages{rest}"
        answer = await visitor.request(method, path, data=None if method == "GET" else b"+1")
        assert (answer.status, answer.body) == (status, b""), (method, path)

    assert await stored(visitor.server) == before


@pytest.mark.parametrize("key", cases("wrong keys of bots"), ids=briefly)
async def test_a_wrong_key_leads_to_the_sign_in_page_and_changes_nothing(
    visitor: Person, cast: Cast, key: str
) -> None:
    before, address = await stored(visitor.server), f"{visitor.server.address}/session/new"
    for asked in "GET: POST: PATCH:/3 DELETE:/3 POST:/1/boosts DELETE:/1/boosts/1".split():
        method, rest = asked.split(":")
        path = url_of(cast.watercooler, rest, key)
        answer = await visitor.request(method, path, data=None if method == "GET" else b"hi")
        assert (answer.status, answer.location) == (302, address), method
    assert await stored(visitor.server) == before


async def test_a_bot_key_opens_nothing_but_the_addresses_of_bots(
    visitor: Person, kevin: Person, cast: Cast
) -> None:
    for path in "/ /rooms/1 /rooms/1/messages /account/edit /users/me/profile /searches".split():
        answer = await visitor.get(f"{path}?bot_key={KEY}")
        assert (answer.status, answer.body) == (403, b"")
        assert (await visitor.get(f"{path}?bot_key=5-wrong")).status in (302, 404)
    for method, path in (("GET", "/api/rooms"), ("POST", "/api/rooms/opens"), ("GET", "/api/boot")):
        answer = await visitor.send(method, f"{path}?bot_key={KEY}")
        assert (answer.status, answer.code) == (403, "bot_forbidden")
    assert (await visitor.get("/api/rooms?bot_key=5-wrong")).code == "unauthenticated"
    signed_in = await kevin.request("POST", url_of(cast.watercooler, key="4-x"), data=b"hi")
    assert signed_in.status == 302  # cookies are not looked at


async def test_a_new_key_kills_the_old_one_and_keys_stay_out_of_the_log(
    david: Person, visitor: Person, cast: Cast, log_lines: LogLines
) -> None:
    answer = await david.put(f"/api/account/bots/{cast.bender.id}/key")

    key = answer.json["bot"]["bot_key"]
    assert re.fullmatch(r"5-[A-Za-z0-9]{12}", key)
    assert key != KEY
    assert (await bot_says(visitor, cast.watercooler, "old")).status == 302
    assert (await bot_says(visitor, cast.watercooler, "new", key)).status == 201
    assert (await visitor.get(f"/rooms/1?bot_key={key}")).status == 403
    lines = "\n".join(log_lines())
    assert '"bot_auth_failed"' in lines
    assert [each for each in (TOKEN, key[2:]) if each in lines] == []


async def test_a_bot_at_a_banned_address_may_read_but_not_write(
    david: Person, visitor: Person, cast: Cast
) -> None:
    await david.server.parts.auth.start_session(cast.jz.id, "52.0.0.7", "")
    await david.post(f"/api/users/{cast.jz.id}/ban")
    there = {"X-Forwarded-For": "52.0.0.7"}

    assert (await visitor.get(url_of(cast.watercooler), there)).status == 200
    for key in (KEY, "5-wrong"):
        path = url_of(cast.watercooler, key=key)
        refused = await visitor.request("POST", path, data=b"x", headers=there)
        assert (refused.status, refused.body) == (429, b"")


async def test_administrators_make_change_and_remove_bots(
    david: Person, visitor: Person, cast: Cast
) -> None:
    path, hook = "/api/account/bots", "https://bots.example.com/hook"
    made = await david.post(path, {"name": " Zed ", "webhook_url": f" {hook} "})
    bot = made.json["bot"]
    assert (made.status, bot["name"], bot["role"]) == (201, "Zed", "bot")
    assert (bot["webhook_url"], bot["email_address"]) == (hook, None)
    assert re.fullmatch(rf"{bot['id']}-[A-Za-z0-9]{{12}}", bot["bot_key"])
    address = david.server.address
    assert bot["rooms"] == [
        {"id": room.id, "name": room.name,
         "messages_url": f"{address}/rooms/{room.id}/{bot['bot_key']}/messages"}
        for room in (cast.hq, cast.pets)
    ]  # fmt: skip
    one = f"{path}/{bot['id']}"
    assert (await david.get(one)).json == made.json
    listed = (await david.get(path)).json["bots"]
    assert [each["name"] for each in listed] == ["Bender Bot", "Zed"]
    assert [room["name"] for room in listed[0]["rooms"]] == ["HQ", "Pets", "Watercooler"]
    assert (await david.get("/account/bots")).boot["data"] == {"bots": listed}
    edit = (await david.get(f"/account/bots/{bot['id']}/edit")).boot
    assert (edit["page"], edit["data"]) == ("bot_edit", made.json)
    renamed = (await david.put(one, {"name": "Zoe", "webhook_url": hook + "?x"})).json["bot"]
    assert (renamed["name"], renamed["webhook_url"]) == ("Zoe", hook + "?x")
    kept = (await david.send("PATCH", one, {})).json["bot"]
    assert (kept["name"], kept["webhook_url"]) == ("Zoe", None)
    assert (await bot_says(visitor, cast.hq, "hi", bot["bot_key"])).status == 201
    assert (await david.delete(one)).status == 204
    assert (await bot_says(visitor, cast.hq, "hi", bot["bot_key"])).status == 302
    for method, gone in (("GET", one), ("PUT", one), ("DELETE", one), ("PUT", f"{one}/key")):
        assert (await david.send(method, gone)).code == "bot_not_found"
    assert (await david.get(f"{path}/{cast.kevin.id}")).code == "bot_not_found"
    assert (await david.get("/account/bots/999/edit")).status == 404


@pytest.mark.parametrize(("field", "value"), cases("bad fields of a bot"), ids=briefly)
async def test_bad_fields_are_named(david: Person, cast: Cast, field: str, value: object) -> None:
    before = await stored(david.server)
    for method, path in (("POST", ""), ("PUT", f"/{cast.bender.id}")):
        given = {"name": "Zed", field: value}
        answer = await david.send(method, f"/api/account/bots{path}", given)
        assert (answer.status, answer.code) == (422, "validation_failed")
        assert list(answer.json["error"]["fields"]) == [field]
    assert await stored(david.server) == before


async def test_a_mentioned_bot_is_told_who_where_and_what_and_answers_in_its_name(
    david: Person, receiver: Receiver, cast: Cast
) -> None:
    await give_webhook(david, cast.bender, receiver.url)
    receiver.reply = receiver.says("<p>I am <b>here</b></p><script>x</script>", "text/html; a=b")
    tab = await david.room_tab(cast.watercooler)

    said = await david.say(cast.watercooler, f"Hey {mention(david.server, cast.bender)} ping")
    await settle(david.server)

    (told,) = receiver.told
    html = told["message"]["body"].pop("html")
    assert html.startswith("<div>Hey <action-text-attachment")
    assert html.endswith("</action-text-attachment> ping</div>")
    assert told == {
        "user": {"id": cast.david.id, "name": "David"},
        "room": {"id": 3, "name": "Watercooler", "path": f"/rooms/3/{KEY}/messages"},
        "message": {"id": said["id"], "body": {"plain": "Hey  ping"}, "path": said["path"]},
    }
    (headers,) = receiver.headers
    assert headers["Content-Type"].startswith("application/json")
    assert headers["User-Agent"] == f"Campfire/{program.VERSION}"
    frames = await tab.drain()
    assert [frame.count('action="append"') for frame in frames] == [1, 1]
    last = (await david.get("/api/rooms/3/messages")).json["messages"][-1]
    assert (last["creator"]["name"], last["plain_text"]) == ("Bender Bot", "I am here")
    assert "script" not in last["body_html"]


async def test_bots_are_called_in_pings_or_when_mentioned_and_never_about_themselves(
    david: Person, kevin: Person, visitor: Person, receiver: Receiver, cast: Cast
) -> None:
    await give_webhook(david, cast.bender, receiver.url)
    receiver.reply = receiver.says(mention(david.server, cast.bender) + "me again")
    named = mention(david.server, cast.bender)

    async def calls() -> int:
        await settle(david.server)
        told, receiver.told = len(receiver.told), []
        return told

    ping = await kevin.say(cast.bender_and_kevin, "no name needed")
    await settle(david.server)
    assert receiver.told[0]["room"]["name"] is None
    assert await calls() == 1  # its answer, in the ping and naming itself, called nobody
    await david.say(cast.watercooler, "nobody is named")
    await david.say(cast.designers, f"not a member {named}")
    await bot_says(visitor, cast.watercooler, f"I name myself {named}")
    await bot_says(visitor, cast.bender_and_kevin, "I speak in my ping")
    assert await calls() == 0
    await david.say(cast.watercooler, f"twice {named} {named}")
    assert await calls() == 1
    path = f"/api/rooms/{cast.bender_and_kevin.id}/messages/{ping['id']}"
    await kevin.put(path, {"body": f"edited {named}"})
    await kevin.post(f"/api/messages/{ping['id']}/boosts", {"content": "+1"})
    again = {"body": "sent again", "client_message_id": ping["client_message_id"]}
    await kevin.post(f"/api/rooms/{cast.bender_and_kevin.id}/messages", again)
    assert await calls() == 0
    await give_webhook(david, cast.bender, "")
    await kevin.say(cast.bender_and_kevin, "nobody to call")
    assert await calls() == 0


async def test_two_bots_that_name_each_other_stop_after_one_answer_each(
    david: Person, visitor: Person, receiver: Receiver, cast: Cast
) -> None:
    given = {"name": "Zed", "webhook_url": receiver.url}
    made = (await david.post("/api/account/bots", given)).json
    zed = await david.server.parts.users.by_id(made["bot"]["id"])
    await give_webhook(david, cast.bender, receiver.url)
    both = mention(david.server, cast.bender, zed)
    receiver.reply = receiver.says(both)

    await david.say(cast.pets, f"Go! {both}")
    await settle(david.server)
    assert sorted(each["room"]["path"] for each in receiver.told) == sorted(
        url_of(cast.pets, key=key) for key in (KEY, made["bot"]["bot_key"])
    )
    assert len(await texts(david, cast.pets)) == 3
    receiver.told.clear()
    await bot_says(visitor, cast.pets, both)  # a bot may call another one, once

    await settle(david.server)
    assert len(receiver.told) == 1


@pytest.mark.parametrize("answer", cases("answers of a webhook and what the bot says"), ids=briefly)
async def test_of_a_webhooks_answers_only_words_become_a_message_and_none_a_fault(
    david: Person, kevin: Person, receiver: Receiver, cast: Cast, log_lines: LogLines,
    answer: tuple[str | bytes, str, int, str | None],
) -> None:  # fmt: skip
    body, kind, status, said = answer
    await give_webhook(david, cast.bender, receiver.url)
    receiver.reply = receiver.says(body, kind, status)

    await kevin.say(cast.bender_and_kevin, "ping")
    await settle(david.server)

    assert len(receiver.told) == 1
    heard = [said] if said is not None else []
    assert await texts(kevin, cast.bender_and_kevin) == ["ping", *heard]
    assert [line for line in log_lines() if "job_failed" in line] == []


async def test_a_hostile_webhook_is_cut_off_and_says_nothing(
    david: Person, kevin: Person, receiver: Receiver, cast: Cast, log_lines: LogLines
) -> None:
    elsewhere = Receiver()
    hostile = Hostile(await elsewhere.listen())
    await give_webhook(david, cast.bender, receiver.url)
    for reply in (hostile.redirect, hostile.endless, hostile.bomb, hostile.broken):
        receiver.reply = reply
        await kevin.say(cast.bender_and_kevin, "ping")
        await settle(david.server)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for url in (f"http://127.0.0.1:{closed.getsockname()[1]}/", "http://[::1", "http://a b/"):
            await give_webhook(david, cast.bender, url.replace(" ", "%20"))
            await kevin.say(cast.bender_and_kevin, "ping")
            await settle(david.server)

    assert await texts(kevin, cast.bender_and_kevin) == ["ping"] * 7
    assert (len(receiver.told), elsewhere.told) == (4, [])
    assert hostile.written < 64
    assert [line for line in log_lines() if "job_failed" in line] == []
    await elsewhere.close()


@pytest.mark.parametrize(
    ("end", "where"),
    [("bot", "ping"), ("bot", "room"), ("membership", "room"), ("room", "ping"), ("room", "room")],
)
async def test_a_bot_deleted_meanwhile_is_no_longer_heard(
    david: Person, kevin: Person, receiver: Receiver, cast: Cast, end: str, where: str
) -> None:
    await give_webhook(david, cast.bender, receiver.url)
    person, room = (kevin, cast.bender_and_kevin) if where == "ping" else (david, cast.watercooler)
    receiver.reply, before = receiver.says("I live"), await texts(person, room)
    receiver.may_answer.clear()
    await person.say(room, f"ping {mention(david.server, cast.bender)}")
    await receiver.came.wait()

    if end == "bot":
        await david.delete(f"/api/account/bots/{cast.bender.id}")
    elif end == "membership":
        given = {"name": room.name, "user_ids": [cast.jason.id]}
        await david.put(f"/api/rooms/closeds/{room.id}", given)
    else:
        await person.delete(f"/api/rooms/{room.id}")
    receiver.may_answer.set()
    await settle(david.server)

    if end != "room":
        assert len(await texts(person, room)) == len(before) + 1
    sql = "SELECT count(*) FROM messages WHERE body_text = 'I live'"
    assert await david.server.parts.db.read(lambda tx: program.one(tx, sql)[0]) == 0


def test_a_bot_that_hangs_at_any_stage_is_given_seven_seconds_in_all(
    it: It, template: Template, tmp_path: Path
) -> None:
    async def story() -> list[str]:
        server = await start_server(copy_database(template[0], tmp_path))
        try:
            return await hang_at_three_stages(server, template[1])
        finally:
            await server.close()

    timed_out = it("time-out → `Failed to respond within 7 seconds`")
    with timed_out, asyncio.Runner(loop_factory=TurnableLoop) as runner:
        assert runner.run(story())[1:] == [TIMED_OUT] * 3

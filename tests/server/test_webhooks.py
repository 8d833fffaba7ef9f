"""Bots that are called: when, with what, and what becomes of their answer."""

import asyncio
import gzip
import json
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import campfire as program
from tests.support.asking import KEY, bot_says, crowd, found, mention, settle, texts, url_of
from tests.support.cast import Cast, LogLines, Person, Server, Template
from tests.support.services import Receiver, TurnableLoop, give_webhook, on_a_turnable_clock
from tests.support.tables import briefly, cases

TIMED_OUT = "Failed to respond within 7 seconds"


async def test_a_mentioned_bot_is_told_who_where_and_what_and_answers_in_its_name(
    david: Person, receiver: Receiver, cast: Cast
) -> None:
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
    zed = await david.server.parts.db.read(program.user_by_id, made["bot"]["id"])
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
    assert await found(david.server, sql) == [(0,)]


def test_a_bot_that_hangs_at_any_stage_is_given_seven_seconds_in_all(
    template: Template, tmp_path: Path
) -> None:
    assert on_a_turnable_clock(template, tmp_path, hang_at_three_stages)[1:] == [TIMED_OUT] * 3


@pytest.mark.parametrize(
    "dropped",
    [
        ("{}", "application/json", 200, "type"),
        ("Hello", "application/octet-stream", 200, "type"),
        ("Hello", "text/plain", 201, "status"),
        ("", "text/plain", 404, "status"),
        ("Hello", "text/plain", 500, "status"),
        ("x" * 1_048_577, "text/plain", 200, "size"),
        ("x" * 65_537, "text/plain", 200, "body_too_long"),
    ],
    ids=briefly,
)
async def test_an_answer_that_is_thrown_away_leaves_one_line_in_the_log(
    david: Person, kevin: Person, receiver: Receiver, cast: Cast, log_lines: LogLines,
    dropped: tuple[str, str, int, str],
) -> None:  # fmt: skip
    body, kind, status, reason = dropped
    receiver.reply = receiver.says(body, kind, status)

    await kevin.say(cast.bender_and_kevin, "ping")
    await settle(david.server)

    (line,) = [json.loads(each) for each in log_lines() if "webhook_answer_dropped" in each]
    told: dict[str, Any] = {name: line[name] for name in ("bot_id", "status", "type", "reason")}
    assert told == {"bot_id": cast.bender.id, "status": status, "type": kind, "reason": reason}


async def test_an_answer_that_says_nothing_on_purpose_is_no_line_in_the_log(
    david: Person, kevin: Person, receiver: Receiver, cast: Cast, log_lines: LogLines
) -> None:
    for body, status in (("", 200), (" \n", 200), ("", 204), ("Hello", 200)):
        receiver.reply = receiver.says(body, "text/plain", status)
        await kevin.say(cast.bender_and_kevin, "ping")
        await settle(david.server)

    assert [line for line in log_lines() if "webhook_answer_dropped" in line] == []


async def test_bots_are_found_among_people_without_reading_them_all(
    server: Server, david: Person, cast: Cast
) -> None:
    await crowd(server, 50)

    listed = (await david.get("/api/account/bots")).json["bots"]

    assert [bot["name"] for bot in listed] == [cast.bender.name]
    plan = await server.parts.db.read(
        lambda tx: program.rows(
            program.ReadTx(tx),
            "EXPLAIN QUERY PLAN SELECT id FROM users WHERE role = 2 AND status = 0 ORDER BY folded",
        )
    )
    assert "users_bots" in " ".join(str(each["detail"]) for each in plan)


async def hang_at_three_stages(server: Server, cast: Cast) -> list[str]:
    loop = TurnableLoop.running()
    david, kevin = await server.sign_in(cast.david), await server.sign_in(cast.kevin)
    at_headers, at_body, begun = Receiver(), Receiver(), asyncio.Event()
    urls = [await at_headers.listen(), await at_body.listen()]
    at_headers.may_answer.clear()

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(b"I was about to sa")
        begun.set()
        await at_headers.may_answer.wait()
        return response

    at_body.reply = half
    sockets = ExitStack()
    deaf = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    waiting = [sockets.enter_context(socket.socket()) for _ in range(3)]
    for each in waiting:  # they fill the queue of those who wait to be accepted
        each.settimeout(0)
        each.connect_ex(deaf.getsockname())
    urls.append(f"http://127.0.0.1:{deaf.getsockname()[1]}/hook")
    made = [
        await david.post("/api/account/bots", {"name": "Bot", "webhook_url": url}) for url in urls
    ]
    bots = [each.json["bot"] for each in made]
    found = await server.parts.db.read(
        program.users_by_id, [program.UserId(bot["id"]) for bot in bots]
    )
    await kevin.say(cast.pets, f"Anybody? {mention(server, *found.values())}")
    await at_headers.came.wait()
    await begun.wait()
    loop.ahead += 6.5
    assert await texts(kevin, cast.pets) == ["Anybody? @Bot@Bot@Bot"]
    loop.ahead += 0.6
    await settle(server)
    with sockets, pytest.raises(OSError, match="not connected"):
        waiting[-1].getpeername()  # the queue was full indeed
    at_headers.may_answer.set()
    for receiver in (at_headers, at_body):
        await receiver.close()
    return await texts(kevin, cast.pets)


class Hostile:
    """Ways in which a webhook may answer to harm whoever calls it."""

    def __init__(self, elsewhere: str) -> None:
        self.elsewhere, self.written = elsewhere, 0

    async def redirect(self, _: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(self.elsewhere)

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        for _ in range(1024):  # a gigabyte
            await response.write(b"x" * 1_048_576)
            self.written += 1
        return response

    async def bomb(self, _: web.Request) -> web.StreamResponse:
        packed = gzip.compress(b"x" * 200_000_000, 6)
        headers = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
        return web.Response(body=packed, headers=headers)

    async def broken(self, request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

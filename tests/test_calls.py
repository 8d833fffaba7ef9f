"""What the server calls: webhooks, however hostile, and push services, but nothing inside."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

import campfire as program
from tests.cast import Cast, LogLines, Person, Server, copy_database, start_server
from tests.conftest import Place, Template
from tests.readers import Receiver
from tests.test_bots import KEY, bot_says, mention, texts, url_of
from tests.test_people import settle
from tests.test_push import DEVICES, Browser, TurnableLoop

TIMED_OUT = "Failed to respond within 7 seconds"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.listen()
    yield receiver
    await receiver.close()


async def give_webhook(david: Person, bot: program.User, url: str) -> None:
    given = {"webhook_url": url}
    assert (await david.put(f"/api/account/bots/{bot.id}", given)).status == 200


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


SENT = "Sent a file ({}). File sharing is coming in v2.0."
ANSWERS: list[tuple[str | bytes, str, int, str | None]] = [
    ("Hello", "text/plain", 200, "Hello"), ("Hé".encode("latin-1"), "text/plain", 200, "H�"),
    ("<b>Hi</b>", "TEXT/HTML;charset=utf-8", 200, "Hi"), ("", "text/plain", 200, None),
    (" \n ", "text/html", 200, None), ("Hello", "text/plain", 204, None),
    ("Hello", "text/plain", 201, None), ("Hello", "text/plain", 500, None),
    ("{}", "application/json", 200, None), ("Hello", "", 200, None), ("", "image/png", 200, None),
    ("PNG", "image/png", 200, SENT.format("image/png")),
    ("PDF", "application/pdf", 200, SENT.format("application/pdf")),
    ("PNG", "image/png", 500, None), ("x" * 65_537, "text/plain", 200, None),
    ("x" * 65_000, "text/plain", 200, "x" * 65_000), ("<b>" * 30_000, "text/html", 200, None),
    ("x" * 1_048_577, "text/plain", 200, None), ("x" * 1_048_577, "image/png", 200, None),
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda each: str(each)[:40])
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
    elsewhere, written = Receiver(), 0
    other = await elsewhere.listen()

    async def redirect(_: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(other)

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        for _ in range(1024):  # a gigabyte
            await response.write(b"x" * 1_048_576)
            written += 1
        return response

    async def bomb(_: web.Request) -> web.StreamResponse:
        packed = gzip.compress(b"x" * 200_000_000, 6)
        headers = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
        return web.Response(body=packed, headers=headers)

    async def broken(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

    await give_webhook(david, cast.bender, receiver.url)
    for reply in (redirect, endless, bomb, broken):
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
    assert written < 64
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


async def hang_at_three_stages(server: Server, cast: Cast) -> list[str]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TurnableLoop)
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
    found = await server.parts.users.by_ids(program.UserId(bot["id"]) for bot in bots)
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


def test_a_bot_that_hangs_at_any_stage_is_given_seven_seconds_in_all(
    template: Template, tmp_path: Path
) -> None:
    async def story() -> list[str]:
        server = await start_server(copy_database(template[0], tmp_path))
        try:
            return await hang_at_three_stages(server, template[1])
        finally:
            await server.close()

    with asyncio.Runner(loop_factory=TurnableLoop) as runner:
        assert runner.run(story())[1:] == [TIMED_OUT] * 3


# Never inside.

PRIVATE = """
    0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0 127.0.0.1
    127.255.255.255 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0
    192.0.0.255 192.0.2.0 192.0.2.255 192.88.99.0 192.88.99.255 192.168.0.0 192.168.255.255
    198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255 224.0.0.0
    239.255.255.255 240.0.0.0 255.255.255.255 :: ::1 ::2 ::127.0.0.1 ::8.8.8.8 ::ffff:0:1
    ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 ::ffff:0:8.8.8.8 64:ff9b::127.0.0.1
    64:ff9b::a00:1 64:ff9b::a9fe:a9fe 64:ff9b:1:: 64:ff9b:1::808:808
    64:ff9b:1:ffff:ffff:ffff:ffff:ffff 2001:: 2001:0:ffff:ffff:ffff:ffff:ffff:ffff 2001:2::
    2001:2:0:ffff:ffff:ffff:ffff:ffff 2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 2002::
    2002:7f00:1:: 2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff fc00:: fd00::1
    fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff fe80:: fe80::1%eth0 febf:ffff::1 ff00:: ff02::1
""".split()
PUBLIC = """
    1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255
    128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0
    192.0.1.255 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255
    198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 64:ff9b::808:808
    64:ff9b::8.8.8.8 2001:4860:4860::8888 2606:4700:4700::1111 2001:1::1 2001:3:: 2001:db7:ffff::
    2001:db9:: 2003:: 2a01:4f8::1 fbff:ffff::1 fec0::1 64:ff9b:2::1 ::1:0:0:0
""".split()
UNREADABLE = """
    1 127.1 2130706433 0x7f.1 0x7f000001 017700000001 0177.0.0.1 127.0.0.01 127.0.0.1. 1.2.3
    1.2.3.4.5 256.1.1.1 -1.1.1.1 1..2.3 ::1::1 12345:: [::1] localhost 8.8.8.8/32
""".split()
WIDE = "127.0.0.1 2130706433 127.1".translate(
    {n + 48: n + 0xFF10 for n in range(10)} | {46: 0x3002}
)
CIRCLED = "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460"
SAME = ["127.1", "2130706433", "127.0.0.1.", CIRCLED, *WIDE.split()]  # all of them are 127.0.0.1
UNFIT = [
    "http://push.example.com/", "ftp://push.example.com/", "push.example.com", "https://", "//x",
    "javascript:alert(1)", "https://[::1", "https://push.example.com:99999/", "https://x@/",
    "https:///x", f"https://push.example.com/{'x' * 3_000}", 7, ["https://push.example.com/"],
]  # fmt: skip


def test_every_address_class_is_told_apart_at_both_its_ends() -> None:
    private = [*PRIVATE, *UNREADABLE, *SAME, "", " ", "8.8.8.8 "]
    assert [each for each in private if program.is_public(each)] == []
    assert [each for each in PUBLIC if not program.is_public(each)] == []


def as_url(host: str) -> str:
    return f"https://[{host.replace('%', '%25')}]/x" if ":" in host else f"https://{host}/x"


@pytest.mark.parametrize(
    "endpoint", [*map(as_url, PRIVATE[::3] + SAME), *UNFIT], ids=lambda each: ascii(each)[:40]
)
async def test_an_endpoint_inside_or_not_https_is_not_registered(
    kevin: Person, endpoint: object
) -> None:
    given = {"endpoint": endpoint, "p256dh_key": "k", "auth_key": "a"}
    answer = await kevin.post(DEVICES, given)

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert answer.json["error"]["fields"] == {"endpoint": ["is invalid"]}
    assert (await kevin.get(DEVICES)).json["push_subscriptions"] == []


@pytest.mark.parametrize(
    "host", ["localhost", "localhost.", "127.0.0.1", "[::1]", "0x7f.1", *SAME], ids=ascii
)
async def test_nothing_is_sent_inside_whatever_the_host_is_called(kevin: Person, host: str) -> None:
    came, keys = asyncio.Event(), Browser().keys

    async def door(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        writer.close()

    inside = await asyncio.start_server(door, "127.0.0.1", 0)
    port = inside.sockets[0].getsockname()[1]
    inside_6 = await asyncio.start_server(door, "::1", port)
    endpoint = f"https://{host}:{port}/x"
    keep = program.keep_subscription  # as if an older version had let it in
    p256dh, auth = keys.values()
    device = await kevin.server.parts.db.write(keep, kevin.id, endpoint, p256dh, auth, "")

    answer = await kevin.post(f"{DEVICES}/{device.id}/test_notifications")

    assert (answer.status, answer.code) == (502, "push_failed")
    assert not came.is_set()
    assert len((await kevin.get(DEVICES)).json["push_subscriptions"]) == 1
    inside.close()
    inside_6.close()


async def test_a_name_that_leads_inside_is_refused_and_one_that_leads_nowhere_is_not_found() -> (
    None
):
    resolver = program.PublicResolver()

    with pytest.raises(OSError, match="open internet") as refused:
        await resolver.resolve("localhost", 443)
    with pytest.raises(OSError, match=r"\[Errno") as failed:
        await resolver.resolve("nowhere.invalid", 443)
    found = await resolver.resolve("8.8.8.8", 443)

    assert type(refused.value) is not type(failed.value)
    assert [(each["host"], each["port"]) for each in found] == [("8.8.8.8", 443)]


class Names(asyncio.SelectorEventLoop):
    """A loop whose names lead where a test says, the next look-up elsewhere."""

    answers: list[list[str]]
    asked = 0

    async def getaddrinfo(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - asyncio's own
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443))
                for each in self.answers.pop(0)]  # fmt: skip


def test_one_private_answer_refuses_a_name_and_each_name_is_looked_up_once() -> None:
    loop, resolver = Names(), program.PublicResolver()
    loop.answers = [["8.8.8.8", "127.0.0.1"], ["1.1.1.1", "8.8.8.8"], ["127.0.0.1"], []]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        with pytest.raises(OSError, match="open internet"):
            runner.run(resolver.resolve("both.example", 443))
        found = runner.run(resolver.resolve("rebinding.example", 443))
    assert [each["host"] for each in found] == ["1.1.1.1", "8.8.8.8"]
    assert all(each["flags"] == socket.AI_NUMERICHOST for each in found)  # never looked up again
    assert loop.asked == 2


@settings(max_examples=40)
@given(st.integers(0, 5), st.sets(st.integers(0, 5)), st.sets(st.integers(4, 5)), st.booleans())
def test_exactly_the_bots_pinged_or_named_are_called_and_never_the_author(
    place: Place,
    cast: Cast,
    by: int,
    named: set[int],
    hooked: set[int],
    is_ping: bool,  # noqa: FBT001
) -> None:
    bots, hook = place.parts.bots, "http://127.0.0.1/hook"
    zed = place.do(bots.create("Zed", hook if 5 in hooked else "")).user
    place.do(bots.save(cast.bender.id, None, hook if 4 in hooked else ""))
    people = [*cast.everybody, zed]
    ids = [each.id for each in people]
    room = place.room(people[by], *people)
    if is_ping:
        room = place.do(place.rooms.find_or_create_direct(people[by], ids))[0].room.id
    words = "hi " + "".join(place.mention(people[n]) for n in sorted(named))
    posted = place.post(people[by], room, words)
    hooks = place.do(bots.hooks_for(posted.room, posted.message))
    expected = [people[n].id for n in sorted(hooked - {by}) if is_ping or n in named]
    assert [each.bot.id for each in hooks] == expected
    place.do(bots.delete(zed.id))


async def test_a_message_is_pushed_once_however_often_it_is_sent(
    kevin: Person, jz: Person, cast: Cast
) -> None:
    keep = kevin.server.parts.push.keep
    await keep(jz.id, "https://push.example.com/1", ("k", "a"), "")
    await jz.put(f"/api/rooms/{cast.designers.id}/involvement", {"involvement": "everything"})
    draft = program.DraftMessage(cast.designers.id, kevin.id, "once", "hello")
    create = kevin.server.parts.messages.create_message_with_deduplication
    posted = [await create(draft) for _ in range(3)]
    assert [len(each.notices) for each in posted] == [1, 0, 0]


@settings(max_examples=15)
@given(st.sets(st.integers(0, 3)), st.integers(0, 3), st.booleans())
def test_of_what_is_said_edited_and_boosted_exactly_the_members_hear(
    place: Place,
    cast: Cast,
    inside: set[int],
    by: int,
    is_ping: bool,  # noqa: FBT001
) -> None:
    members = [cast.everybody[n] for n in sorted(inside | {by})]
    room_id, author = place.room(cast.everybody[by], *members), cast.everybody[by]
    if is_ping:
        ping = place.rooms.find_or_create_direct(author, [each.id for each in members])
        room_id = place.do(ping)[0].room.id
    room, sign = replace(cast.hq, id=room_id), place.parts.signer.stream

    async def story() -> None:
        people = {each.id: await place.server.sign_in(each) for each in cast.everybody[:4]}
        tabs = {user_id: await each.sidebar_tab() for user_id, each in people.items()}
        for tab in tabs.values():
            await tab.ask(channel="UnreadRoomsChannel")
            name = sign(f"room_{room_id}:messages")
            await tab.ask(channel="RoomMessagesChannel", signed_stream_name=name)
            await tab.ask(channel="TypingNotificationsChannel", room_id=room_id)
        said = await people[author.id].say(room, "between us")
        path = f"/api/rooms/{room_id}/messages/{said['id']}"
        await people[author.id].put(path, {"body": "edited"})
        await people[author.id].post(f"/api/messages/{said['id']}/boosts", {"content": "+1"})
        heard = {user_id: len(await tab.drain()) for user_id, tab in tabs.items()}
        assert heard == {each: 4 * (each in {m.id for m in members}) for each in people}
        await asyncio.gather(*(each.__aexit__() for each in people.values()))

    place.do(story())

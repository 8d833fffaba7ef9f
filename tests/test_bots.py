"""Programs that talk: their keys, their addresses, their webhooks; and finding what was said."""

import asyncio
import gzip
import json
import re
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import example, settings
from hypothesis import given as for_any
from hypothesis import strategies as st

import campfire as program
from tests.cast import Answer, Cast, LogLines, Person, Server, copy_database, start_server
from tests.conftest import Place, Template

KEY, TOKEN = "5-ABCDEFGHIJKL", "ABCDEFGHIJKL"
TIMED_OUT = "Failed to respond within 7 seconds"


def url_of(room: program.Room, rest: str = "", key: str = KEY) -> str:
    return f"/rooms/{room.id}/{key}/messages{rest}"


def mention(server: Server, *people: program.User) -> str:
    return "".join(
        f'<action-text-attachment sgid="{server.parts.signer.sgid(each.id)}"'
        ' content-type="application/vnd.campfire.mention"></action-text-attachment>'
        for each in people
    )


async def bot_says(visitor: Person, room: program.Room, text: str | bytes, key: str = KEY) -> Answer:
    return await visitor.request("POST", url_of(room, key=key), data=text)


async def texts(person: Person, room: program.Room) -> list[str]:
    answer = await person.get(f"/api/rooms/{room.id}/messages")
    return [each["plain_text"] for each in answer.json["messages"]] if answer.body else []


async def stored(server: Server) -> list[tuple[Any, ...]]:
    """All that bots could change."""

    def work(tx: program.ReadTx) -> list[tuple[Any, ...]]:
        found = []
        for table in ("messages", "boosts", "rooms", "memberships", "users", "webhooks"):
            found += tx.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - six names
        return [tuple(row) for row in found]

    return await server.parts.db.read(work)


async def settle(server: Server) -> None:
    """Waits for the webhooks, for what they answered, and for what that led to."""
    for _ in range(3):
        await server.parts.jobs.finish(10)


# Speaking.


async def test_whatever_its_type_a_body_is_what_the_bot_says_and_the_room_hears_it(
    visitor: Person, jason: Person, cast: Cast
) -> None:
    tab = await jason.room_tab(cast.watercooler)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": "session_token=x"}

    answer = await visitor.request(
        "POST", url_of(cast.watercooler), data="Hello 👋 <b>wörld</b>\xff".encode(), headers=headers
    )
    broken = await bot_says(visitor, cast.watercooler, b"caf\xe9")
    odd = await visitor.request("POST", url_of(cast.watercooler, ".json"), data=b"<script></script>")

    frames = await tab.drain()
    assert [answer.status, broken.status, odd.status] == [201] * 3
    assert answer.body == b""
    message_id = answer.location.rpartition("/")[2]
    assert answer.location == f"{visitor.server.address}/messages/{message_id}"
    assert (await jason.get(f"/messages/{message_id}")).location == f"/rooms/3/@{message_id}"
    said = (await texts(jason, cast.watercooler))[-3:]
    assert said == ["Hello 👋 wörldÿ", "caf\N{REPLACEMENT CHARACTER}", ""]
    assert [re.findall(r'action="(\w+)"', frame)[0] for frame in frames] == ["append"] * 3
    assert f"/rooms/3/@{message_id}" in frames[0]


@pytest.mark.parametrize("text", ["", "   ", "\n\t\r", "\N{NO-BREAK SPACE}\N{EM SPACE}"])
async def test_saying_nothing_is_refused_without_a_word(
    visitor: Person, cast: Cast, text: str
) -> None:
    before = await stored(visitor.server)

    said = await bot_says(visitor, cast.watercooler, text.encode())
    boosted = await visitor.request(
        "POST", url_of(cast.watercooler, "/1/boosts"), data=text.encode()
    )
    too_long = await bot_says(visitor, cast.watercooler, "x" * 65_537)

    for answer in (said, boosted, too_long):
        assert (answer.status, answer.body) == (422, b"")
    assert await stored(visitor.server) == before


async def test_files_of_bots_are_for_later(visitor: Person, cast: Cast) -> None:
    def form(name: str) -> dict[str, Any]:
        body = f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nhi\r\n--x--\r\n'
        return {"data": body, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}

    file = await visitor.request("POST", url_of(cast.watercooler), **form("attachment"))
    other = await visitor.request("POST", url_of(cast.watercooler), **form("text"))
    outside = await visitor.request("POST", url_of(cast.designers), **form("attachment"))

    assert (file.status, file.code) == (501, "feature_disabled")
    assert file.json["error"]["feature"] == "files"
    assert [(each.status, each.body) for each in (other, outside)] == [(422, b""), (404, b"")]


# Reading.


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
    assert html.endswith("https://example.com\n</div>\n")
    assert "Jason" in html
    assert "<a " not in html
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


# Editing, deleting, boosting.


async def test_a_bot_edits_and_deletes_its_own_messages_and_the_room_sees_it(
    visitor: Person, jason: Person, cast: Cast
) -> None:
    tab, path = await jason.room_tab(cast.watercooler), url_of(cast.watercooler, "/3")
    total = len(await texts(jason, cast.watercooler))

    edited = await visitor.request("PATCH", path, data="Grüße ☃".encode())
    emptied = await visitor.request("PUT", path, data=b"")
    deleted = await visitor.request("DELETE", path)

    assert (edited.status, edited.json["body"]["plain_text"]) == (200, "Grüße ☃")
    assert edited.json["creator"]["name"] == "Bender Bot"
    assert (edited.json["id"], edited.json["url"]) == (
        3,
        f"{visitor.server.address}/rooms/3/messages/3",
    )
    assert (emptied.status, emptied.json["body"]["plain_text"]) == (200, "")
    assert (deleted.status, deleted.body) == (204, b"")
    frames = await tab.drain()
    assert [re.findall(r'action="(\w+)" target="([\w-]+)"', frame)[0] for frame in frames] == [
        ("replace", "presentation_message_drop-3"),
        ("replace", "presentation_message_drop-3"),
        ("remove", "message_drop-3"),
    ]
    assert len(await texts(jason, cast.watercooler)) == total - 1


async def test_a_bot_boosts_and_takes_its_own_boosts_back(
    visitor: Person, jason: Person, cast: Cast
) -> None:
    tab, path = await jason.room_tab(cast.watercooler), url_of(cast.watercooler, "/1/boosts")
    of_jason = (await jason.post("/api/messages/1/boosts", {"content": "mine"})).json["boost"]
    await tab.drain()

    boosts = [
        await visitor.request("POST", path, data=content.encode())
        for content in ("👍", "well done", "x" * 17)
    ]
    boost = boosts[0].json
    removed = await visitor.request("DELETE", f"{path}/{boost['id']}")
    foreign = await visitor.request("DELETE", f"{path}/{of_jason['id']}")

    assert [each.status for each in boosts] == [201, 201, 422]
    assert (boost["content"], boost["booster"]["id"]) == ("👍", cast.bender.id)
    assert boost["message"] == {"id": 1, "url": f"{visitor.server.address}/rooms/3/messages/1"}
    assert set(boost) == {"id", "content", "created_at", "booster", "message"}
    assert set(boost["booster"]) == {"id", "name", "role", "avatar_url"}
    assert [(each.status, each.body) for each in (removed, foreign)] == [(204, b""), (404, b"")]
    frames = await tab.drain()
    assert [re.findall(r'action="(\w+)"', frame)[0] for frame in frames] == [
        "append",
        "append",
        "remove",
    ]
    left = (await jason.get("/api/messages/1/boosts")).json["boosts"]
    assert [each["content"] for each in left] == ["mine", "well done"]


async def test_no_wrong_parent_no_foreign_message_and_no_foreign_room_is_touched(
    visitor: Person, david: Person, cast: Cast
) -> None:
    in_designers = (await david.say(cast.designers, "not yours"))["id"]
    in_pets = (await david.say(cast.pets, "a pet"))["id"]
    await visitor.request("POST", url_of(cast.watercooler, "/1/boosts"), data=b"+1")
    before, outside = await stored(visitor.server), (cast.designers, cast.david_and_jason)
    rows: list[tuple[str, str, int]] = [
        ("PATCH", url_of(cast.watercooler, "/1"), 403),
        ("DELETE", url_of(cast.watercooler, "/1"), 403),
        ("DELETE", url_of(cast.watercooler, "/2/boosts/1"), 404),
        ("DELETE", url_of(cast.pets, f"/{in_pets}/boosts/1"), 404),
        ("DELETE", url_of(cast.watercooler, "/1/boosts/99"), 404),
    ]
    gone = program.Room(**{**_fields(cast.pets), "id": program.RoomId(999)})
    for room in (*outside, gone):
        rows += [("GET", url_of(room), 404), ("POST", url_of(room), 404)]
        rows += [
            (method, url_of(room, f"/{message}{rest}"), 404)
            for message in (3, in_designers)
            for method, rest in (
                ("PATCH", ""), ("DELETE", ""), ("POST", "/boosts"), ("DELETE", "/boosts/1"),
            )
        ]  # fmt: skip
    rows += [
        (method, url_of(cast.watercooler, f"/{message}{rest}"), 404)
        for message in (in_pets, in_designers, 999)
        for method, rest in (
            ("PATCH", ""), ("DELETE", ""), ("POST", "/boosts"), ("DELETE", "/boosts/1"),
        )
    ]  # fmt: skip

    for method, path, status in rows:
        answer = await visitor.request(method, path, data=None if method == "GET" else b"+1")
        assert (answer.status, answer.body) == (status, b""), (method, path)

    assert await stored(visitor.server) == before


def _fields(room: program.Room) -> dict[str, Any]:
    return {name: getattr(room, name) for name in room.__dataclass_fields__}


# Keys.

WRONG_KEYS = [
    "5", "5-", "5--", "-ABCDEFGHIJKL", "ABCDEFGHIJKL", "ABCDEFGHIJKL-5", "4-", "4-ABCDEFGHIJKL",
    "1-", "0-ABCDEFGHIJKL", "5-abcdefghijkl", "5-ABCDEFGHIJK", "5-ABCDEFGHIJKLM", "5%00-ABCDEFGHIJKL",
    "5-ABCDEFGHIJKL%00", "%D9%A5-ABCDEFGHIJKL", "5-%EF%BC%A1BCDEFGHIJKL", "5-None", "-5-ABCDEFGHIJKL",
    "5%FF-ABCDEFGHIJKL", "9" * 30 + "-ABCDEFGHIJKL", "5-" + "A" * 6000, "5%2F-ABCDEFGHIJKL",
]  # fmt: skip


@pytest.mark.parametrize("key", WRONG_KEYS, ids=lambda key: key[:24])
async def test_a_wrong_key_leads_to_the_sign_in_page_and_changes_nothing(
    visitor: Person, cast: Cast, key: str
) -> None:
    before = await stored(visitor.server)

    for method, rest in (
        ("GET", ""), ("POST", ""), ("PATCH", "/3"), ("DELETE", "/3"), ("POST", "/1/boosts"),
        ("DELETE", "/1/boosts/1"),
    ):  # fmt: skip
        path = url_of(cast.watercooler, rest, key)
        answer = await visitor.request(method, path, data=None if method == "GET" else b"hi")
        address = f"{visitor.server.address}/session/new"
        assert (answer.status, answer.location, answer.body) == (302, address, b""), method

    assert await stored(visitor.server) == before


@settings(max_examples=60)
@for_any(st.integers(0, len(KEY) - 1), st.characters(codec="utf-8"))
@example(0, "４")
@example(2, "-")
def test_no_key_with_one_character_changed_is_good(place: Place, at: int, other: str) -> None:
    changed = f"{KEY[:at]}{other}{KEY[at + 1 :]}"
    find = place.parts.db.read

    found = place.do(find(program.bot_by_key, changed))

    assert (found is not None) == (changed == KEY)
    for spaced in (f" {KEY} ", f"{KEY}-whatever"):  # spaces are removed, and two parts count
        bot = place.do(find(program.bot_by_key, spaced))
        assert bot is not None
        assert bot.name == "Bender Bot"


async def test_a_bot_key_opens_nothing_but_the_addresses_of_bots(
    visitor: Person, kevin: Person, cast: Cast
) -> None:
    pages = ("/", "/rooms/1", "/rooms/1/messages", "/account/edit", "/users/me/profile", "/searches")
    for path in pages:
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

    read = await visitor.get(url_of(cast.watercooler), there)
    refused = [
        await visitor.request("POST", url_of(cast.watercooler, key=key), data=b"x", headers=there)
        for key in (KEY, "5-wrong")
    ]

    assert read.status == 200
    assert [(each.status, each.body) for each in refused] == [(429, b"")] * 2


# Administration.


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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "), ("name", "x" * 256), ("name", 7), ("name", "\0"), ("webhook_url", "bots"),
        ("webhook_url", "ftp://example.com"), ("webhook_url", "http://"), ("webhook_url", ["x"]),
        ("webhook_url", "javascript:alert(1)"), ("webhook_url", f"https://a.example/{'x' * 2048}"),
    ],
    ids=lambda each: str(each)[:20],
)  # fmt: skip
async def test_a_bad_field_of_a_bot_is_named(
    david: Person, cast: Cast, field: str, value: object
) -> None:
    before = await stored(david.server)

    for method, path in (("POST", ""), ("PUT", f"/{cast.bender.id}")):
        given = {"name": "Zed", field: value}
        answer = await david.send(method, f"/api/account/bots{path}", given)
        assert (answer.status, answer.code) == (422, "validation_failed")
        assert list(answer.json["error"]["fields"]) == [field]

    assert await stored(david.server) == before


# Webhooks.

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """Somebody's webhook on 127.0.0.1: what it was told, and how it answers."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.came, self.may_answer = asyncio.Event(), asyncio.Event()
        self.may_answer.set()
        self.reply: Reply = self.says("")

    def says(self, body: str | bytes, kind: str = "text/plain", status: int = 200) -> Reply:
        data = body.encode() if isinstance(body, str) else body

        async def answer(_: web.Request) -> web.Response:
            headers = {"Content-Type": kind} if kind else {}
            return web.Response(status=status, body=data, headers=headers)

        return answer

    async def hook(self, request: web.Request) -> web.StreamResponse:
        self.told.append(await request.json())
        self.headers.append(dict(request.headers))
        self.came.set()
        await self.may_answer.wait()
        return await self.reply(request)

    async def listen(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/hook", self.hook)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/hook"
        return self.url

    async def close(self) -> None:
        self.may_answer.set()
        await self.runner.cleanup()


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
    made = (await david.post("/api/account/bots", {"name": "Zed", "webhook_url": receiver.url})).json
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


ENDLESS = "endless"
ANSWERS: list[tuple[str | bytes, str, int, str | None]] = [
    ("Hello", "text/plain", 200, "Hello"), ("Hé".encode("latin-1"), "text/plain", 200, "H�"),
    ("<b>Hi</b>", "TEXT/HTML;charset=utf-8", 200, "Hi"), ("", "text/plain", 200, None),
    (" \n ", "text/html", 200, None), ("Hello", "text/plain", 204, None),
    ("Hello", "text/plain", 201, None), ("Hello", "text/plain", 500, None),
    ("{}", "application/json", 200, None), ("Hello", "", 200, None), ("", "image/png", 200, None),
    ("PNG", "image/png", 200, "Sent a file (image/png). File sharing is coming in v2.0."),
    ("PDF", "application/pdf", 200, "Sent a file (application/pdf). File sharing is coming in v2.0."),
    ("PNG", "image/png", 500, None), ("x" * 65_537, "text/plain", 200, None),
    ("x" * 65_000, "text/plain", 200, "x" * 65_000), ("<b>" * 30_000, "text/html", 200, None),
    ("x" * 1_048_577, "text/plain", 200, None), ("x" * 1_048_577, "image/png", 200, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"), ANSWERS, ids=lambda each: str(each)[:24]
)
async def test_of_a_webhooks_answers_only_words_become_a_message_and_none_a_fault(
    david: Person, kevin: Person, receiver: Receiver, cast: Cast, log_lines: LogLines,
    body: str | bytes, kind: str, status: int, said: str | None,
) -> None:  # fmt: skip
    await give_webhook(david, cast.bender, receiver.url)
    receiver.reply = receiver.says(body, kind, status)

    await kevin.say(cast.bender_and_kevin, "ping")
    await settle(david.server)

    assert len(receiver.told) == 1
    heard = [said] if said is not None else []
    assert await texts(kevin, cast.bender_and_kevin) == ["ping", *heard]
    assert [line for line in log_lines() if '"level": "error"' in line] == []


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
    assert [line for line in log_lines() if '"level": "error"' in line] == []
    await elsewhere.close()


@pytest.mark.parametrize("end", ["deleted", "left the room", "room deleted"])
@pytest.mark.parametrize("is_ping", [True, False])
async def test_a_bot_deleted_meanwhile_is_no_longer_heard(
    david: Person, kevin: Person, receiver: Receiver, cast: Cast, end: str, *, is_ping: bool
) -> None:
    await give_webhook(david, cast.bender, receiver.url)
    person, room = (kevin, cast.bender_and_kevin) if is_ping else (david, cast.watercooler)
    receiver.reply, before = receiver.says("I live"), await texts(person, room)
    receiver.may_answer.clear()
    await person.say(room, f"ping {mention(david.server, cast.bender)}")
    await receiver.came.wait()

    if end == "deleted":
        await david.delete(f"/api/account/bots/{cast.bender.id}")
    elif end == "left the room" and not is_ping:
        given = {"name": room.name, "user_ids": [cast.jason.id]}
        await david.put(f"/api/rooms/closeds/{room.id}", given)
    else:
        await person.delete(f"/api/rooms/{room.id}")
    receiver.may_answer.set()
    await settle(david.server)

    if end == "deleted" or (end == "left the room" and not is_ping):
        assert len(await texts(person, room)) == len(before) + 1
    sql = "SELECT count(*) FROM messages WHERE body_text = 'I live'"
    assert await david.server.parts.db.read(lambda tx: program.one(tx, sql)[0]) == 0


class TurnableLoop(asyncio.SelectorEventLoop):
    """A loop whose clock a test turns on, so that seven seconds pass at once."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


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
    deaf = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(3)]
    for each in waiting:  # they fill the queue of those who wait to be accepted
        each.setblocking(False)
        each.connect_ex(deaf.getsockname())
    urls.append(f"http://127.0.0.1:{deaf.getsockname()[1]}/hook")
    bots = [
        (await david.post("/api/account/bots", {"name": f"Bot {n}", "webhook_url": url})).json["bot"]
        for n, url in enumerate(urls)
    ]
    found = await server.parts.users.by_ids(program.UserId(bot["id"]) for bot in bots)
    await kevin.say(cast.pets, f"Anybody? {mention(server, *found.values())}")
    await at_headers.came.wait()
    await begun.wait()
    loop.ahead += 6.5
    assert await texts(kevin, cast.pets) == ["Anybody? @Bot 0 @Bot 1 @Bot 2"]
    loop.ahead += 0.6
    await settle(server)
    for each in (deaf, *waiting):
        each.close()
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


# Searching.


async def test_a_search_finds_stems_in_ones_own_rooms_and_marks_them(
    kevin: Person, jz: Person, david: Person, cast: Cast
) -> None:
    first = await kevin.say(cast.designers, "Running to the caf&eacute; <b>NOW</b>")
    await david.say(cast.hq, "a &lt;i&gt; run &amp; more")
    await david.say(cast.david_and_kevin, "run in a ping")
    await david.say(cast.watercooler, "run with others")
    await kevin.put(f"/api/rooms/{cast.hq.id}/involvement", {"involvement": "invisible"})

    answer = (await kevin.get("/api/searches?q=%20RUN!%20")).json

    assert [(hit["plain_text"], hit["room_name"]) for hit in answer["messages"]] == [
        ("Running to the café NOW", "Designers"),
        ("a <i> run & more", "HQ"),
        ("run in a ping", "David"),
    ]
    assert [hit["highlight_html"] for hit in answer["messages"]] == [
        "<mark>Running</mark> to the café NOW",
        "a &lt;i&gt; <mark>run</mark> &amp; more",
        "<mark>run</mark> in a ping",
    ]
    assert answer["messages"][0]["path"] == first["path"]
    assert (answer["query"], answer["recent_searches"]) == ("RUN", [])
    assert len((await kevin.get("/api/searches?q=now+cafe")).json["messages"]) == 1
    page = (await kevin.get("/searches?q=run")).boot
    assert (page["page"], len(page["data"]["search"]["messages"])) == ("searches", 3)
    found = (await jz.get("/api/searches?q=run")).json["messages"]
    assert [hit["room_name"] for hit in found] == ["Designers", "HQ"]
    await david.put(
        f"/api/rooms/closeds/{cast.designers.id}",
        {"name": "Designers", "user_ids": [kevin.id]},
    )
    found = (await jz.get("/api/searches?q=run")).json["messages"]
    assert [hit["room_name"] for hit in found] == ["HQ"]
    for query in ("", "?q=", "?q=%20", "?q=_", "?q=%F0%9F%91%8D", "?q=%22-*", "?q=%00"):
        none = (await kevin.get(f"/api/searches{query}")).json
        assert none["messages"] == []
    assert (await kevin.get("/api/searches")).json["query"] is None


async def test_the_ten_searches_last_used_are_remembered(kevin: Person, jz: Person) -> None:
    path = "/api/searches"
    for n in range(11):
        answer = await kevin.post(path, {"q": f" Word, {n}! "})
        assert (answer.status, answer.json["query"]) == (201, f"Word {n}")
        assert answer.json["redirect_to"] in (f"/searches?q=Word+{n}", f"/searches?q=Word%20{n}")
    await kevin.post(path, {"q": "Word 1"})

    recent = (await kevin.get(f"{path}?q=anything")).json["recent_searches"]

    numbers = [1, 10, 9, 8, 7, 6, 5, 4, 3, 2]
    assert [each["query"] for each in recent] == [f"Word {n}" for n in numbers]
    for nothing in ("", " !? ", "_", None, 7):
        assert (await kevin.post(path, {"q": nothing})).code == "validation_failed"
    assert (await jz.get(path)).json["recent_searches"] == []
    assert (await kevin.delete(f"{path}/clear")).status == 204
    assert (await kevin.get(path)).json["recent_searches"] == []


async def test_one_visible_message_is_found_among_many_hidden_ones_and_at_most_a_hundred(
    jz: Person, david: Person, cast: Cast
) -> None:
    mine = await jz.say(cast.designers, "needle")
    sql = """
        WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 2500)
        INSERT INTO messages (room_id, creator_id, client_message_id, body_html, body_text,
          created_at, updated_at)
        SELECT :room, 1, 'n' || n, 'needle', 'needle', 1e15 + n, 1e15 + n FROM counter
    """
    index = """
        INSERT INTO message_search_index (rowid, body)
        SELECT id, body_text FROM messages WHERE body_text = 'needle' AND client_message_id LIKE 'n%'
    """

    def fill(tx: program.WriteTx, _: program.Timestamp) -> None:
        tx.execute(sql, {"room": cast.watercooler.id})
        tx.execute(index)

    await david.server.parts.db.write(fill)

    of_jz = (await jz.get("/api/searches?q=needle")).json["messages"]
    of_david = (await david.get("/api/searches?q=needle")).json["messages"]

    assert [hit["id"] for hit in of_jz] == [mine["id"]]
    assert len(of_david) == 100
    ids = [hit["id"] for hit in of_david]
    assert ids == sorted(ids)
    assert ids[0] > mine["id"] + 2300


WORDS = ["running", "Runs", "cafés", "CAFE", "not", "near", "and", "fire", "fires", "日本"]
OPERATORS = ["NOT", "AND", "OR", "NEAR(", '"', "*", "^", ":", "body:", "(", ")", "-", "+", "{", "\\"]


@settings(max_examples=60)
@for_any(
    st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(WORDS), max_size=4)), max_size=6),
    st.one_of(
        st.lists(st.sampled_from(WORDS + OPERATORS), max_size=4).map(" ".join),
        st.text(max_size=12),
    ),
)
def test_a_search_finds_exactly_what_holds_all_its_words_and_never_fails(
    place: Place, cast: Cast, said: list[tuple[bool, list[str]]], query: str
) -> None:
    place.run("DELETE FROM message_search_index")
    place.run("DELETE FROM mentions")
    place.run("DELETE FROM messages")
    mine, others = place.room(cast.kevin), place.room(cast.jz)
    stems = {"running": "run", "runs": "run", "cafés": "cafe", "fires": "fire"}
    expected = []
    for is_mine, words in said:
        author, room = (cast.kevin, mine) if is_mine else (cast.jz, others)
        posted = place.post(author, room, "ok " + " ".join(words)).message
        held = {stems.get(word.lower(), word.lower()) for word in ["ok", *words]}
        asked = [word.lower() for word in program.cleaned_query(query).split()]
        if is_mine and all(stems.get(word, word) in held for word in asked):
            expected.append(posted.id)

    hits, _ = place.do(place.parts.search.search_messages(cast.kevin.id, query))

    words_only = all(word in WORDS for word in query.split()) and query.strip()
    assert {hit.message.room_id for hit in hits} <= {mine}
    assert [hit.message.id for hit in hits] == sorted(hit.message.id for hit in hits)
    if words_only:
        assert [hit.message.id for hit in hits] == expected

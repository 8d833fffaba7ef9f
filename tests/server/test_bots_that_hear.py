"""Bots that hear more than their name: what they are told, signed, and when they are not."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

import campfire as program
from tests.support.asking import BOTS, KEY, bot_says, mention, path_of, settle, texts, url_of
from tests.support.cast import ENTRUSTED, Cast, LogLines, Person, Start, newcomer
from tests.support.services import Receiver

EVERYTHING = ["messages", "edits", "deletions", "boosts", "members"]


class Listener(Receiver):
    """Bender's webhook, which also keeps what was signed."""

    def __init__(self, david: Person, bot: program.User) -> None:
        super().__init__()
        self.david, self.bot = david, bot
        self.bodies: list[bytes] = []
        self.at_once = self.most = 0

    async def hook(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            return await super().hook(request)
        finally:
            self.at_once -= 1

    async def hears(self, *events: str, url: str | None = None) -> dict[str, Any]:
        """The bot, which is told of these from now on."""
        given = {"webhook_url": self.url if url is None else url, "events": [*events]}
        answer = await self.david.put(f"{BOTS}/{self.bot.id}", given)
        assert answer.status == 200, answer.text
        ENTRUSTED.update(filter(None, [answer.json["bot"]["webhook_secret"]]))
        return dict(answer.json["bot"])

    async def heard(self) -> list[str]:
        """The names of what it was told of since the last look."""
        await settle(self.david.server)
        told, self.told = self.told, []
        return sorted(each.get("event", "") for each in told)


@pytest.fixture
async def listener(david: Person, cast: Cast) -> AsyncIterator[Listener]:
    listener = Listener(david, cast.bender)
    await listener.listen()
    yield listener
    await listener.close()


async def do_everything(person: Person, room: program.Room) -> dict[str, Any]:
    """A message is said, boosted, not boosted, edited, deleted; somebody comes, and goes again."""
    said = await person.say(room, "first")
    boosts = f"/api/messages/{said['id']}/boosts"
    boost = (await person.post(boosts, {"content": "👍"})).json["boost"]
    await person.delete(f"{boosts}/{boost['id']}")
    await person.put(path_of(room, said["id"]), {"body": "second"})
    await person.delete(path_of(room, said["id"]))
    members = (await person.get(f"/api/rooms/{room.id}/members")).json
    inside = [each["id"] for each in members["selected"]]
    guest = next(each for each in members["unselected"] if each["role"] != "bot")
    for ids in ([*inside, guest["id"]], inside):
        given = {"name": room.name, "user_ids": ids}
        assert (await person.put(f"/api/rooms/closeds/{room.id}", given)).status == 200
    return {"said": said, "boost": boost, "guest": guest}


@pytest.mark.parametrize(
    ("events", "heard"),
    [
        ([], []),
        (["messages"], ["message.created"]),
        (["edits"], ["message.edited"]),
        (["deletions"], ["message.deleted"]),
        (["boosts"], ["boost.created", "boost.deleted"]),
        (["members"], ["members.joined", "members.left"]),
        (["edits", "members"], ["members.joined", "members.left", "message.edited"]),
    ],
)
async def test_a_bot_hears_of_exactly_what_was_chosen_for_it(
    david: Person, listener: Listener, cast: Cast, events: list[str], heard: list[str]
) -> None:
    assert (await listener.hears(*events))["events"] == events
    curious = {"name": "Zed", "webhook_url": f"{listener.url}?zed", "events": EVERYTHING}
    await david.post(BOTS, curious)  # which is in none of these rooms, but somebody hears of all
    await listener.heard()

    await do_everything(david, cast.watercooler)
    assert await listener.heard() == heard
    lab = (await david.post("/api/rooms/closeds", {"name": "Lab", "user_ids": []})).json["room"]
    await do_everything(david, replace(cast.designers, id=lab["id"], name="Lab"))  # without it
    assert await listener.heard() == []


async def test_what_a_bot_hears_says_who_did_what_where_and_when(
    david: Person, listener: Listener, cast: Cast
) -> None:
    await listener.hears(*EVERYTHING)

    done = await do_everything(david, cast.watercooler)
    await settle(david.server)

    by_name = {each["event"]: each for each in listener.told}
    assert len(by_name) == len(listener.told) == 7
    who, where = {"id": cast.david.id, "name": "David"}, f"/rooms/3/{KEY}/messages"
    room = {"id": 3, "name": "Watercooler", "path": where}
    assert all((each["user"], each["room"]) == (who, room) for each in listener.told)
    in_order = sorted(listener.told, key=lambda each: str(each["at"]))
    assert [each["event"] for each in in_order] == [
        "message.created", "boost.created", "boost.deleted", "message.edited", "message.deleted",
        "members.joined", "members.left",
    ]  # fmt: skip
    said, boost = done["said"], {"id": done["boost"]["id"], "content": "👍"}
    shown = {"id": said["id"], "creator": who, "path": said["path"]}
    assert by_name["message.created"]["message"] == {
        **shown, "body": {"html": "<div>first</div>", "plain": "first"},
    }  # fmt: skip
    assert by_name["message.created"]["at"] == said["created_at"]
    assert by_name["message.edited"]["message"]["body"]["plain"] == "second"
    assert by_name["message.deleted"]["message"] == {"id": said["id"]}
    for name in ("boost.created", "boost.deleted"):
        assert by_name[name]["boost"] == boost
        assert by_name[name]["message"]["id"] == said["id"]
    guest = {"id": done["guest"]["id"], "name": done["guest"]["name"]}
    assert by_name["members.joined"]["members"] == by_name["members.left"]["members"] == [guest]


async def test_what_a_bot_hears_is_signed_with_a_secret_that_only_administrators_see(
    david: Person, kevin: Person, listener: Listener, cast: Cast
) -> None:
    path, secret = f"{BOTS}/{cast.bender.id}", (await listener.hears("messages"))["webhook_secret"]
    assert len(secret) >= 32
    assert (await kevin.get(path)).status == 403

    await david.say(cast.watercooler, "Größe 🌱")
    await settle(david.server)

    mark = hmac.new(secret.encode(), listener.bodies[0], hashlib.sha256).hexdigest()
    assert listener.headers[0]["X-Campfire-Signature"] == f"sha256={mark}"
    assert listener.headers[0]["X-Campfire-Event"] == "message.created"
    assert (await listener.hears("edits", url=f"{listener.url}?x"))["webhook_secret"] == secret
    renewed = (await david.put(f"{path}/key")).json["bot"]["webhook_secret"]
    assert renewed not in (None, secret)
    ENTRUSTED.add(renewed)


async def test_a_bot_for_which_nothing_was_chosen_is_called_as_it_always_was(
    david: Person, listener: Listener, cast: Cast
) -> None:
    bot = await listener.hears()
    assert (bot["events"], bot["webhook_secret"]) == ([], None)

    await david.say(cast.watercooler, f"Hey {mention(david.server, cast.bender)}")
    await settle(david.server)

    (told,), (headers,) = listener.told, listener.headers
    assert set(told) == {"user", "room", "message"}
    assert set(told["message"]) == {"id", "body", "path"}
    assert [name for name in headers if name.startswith("X-")] == []


async def test_only_who_was_named_or_pinged_is_answered_for(
    david: Person, kevin: Person, listener: Listener, cast: Cast
) -> None:
    listener.reply = listener.says("I heard that")
    await listener.hears(*EVERYTHING)

    await do_everything(david, cast.watercooler)
    await settle(david.server)
    assert "I heard that" not in await texts(david, cast.watercooler)
    await david.say(cast.watercooler, f"You? {mention(david.server, cast.bender)}")
    await kevin.say(cast.bender_and_kevin, "You?")
    await settle(david.server)

    assert (await texts(david, cast.watercooler))[-1] == "I heard that"
    assert await texts(kevin, cast.bender_and_kevin) == ["You?", "I heard that"]
    named = [each for each in listener.told if each["event"] == "message.created"][1:]
    assert len(named) == 2  # each of them once, though it hears of messages, too


async def test_nothing_that_bots_do_is_an_event_so_that_no_two_talk_for_ever(
    david: Person, visitor: Person, listener: Listener, cast: Cast
) -> None:
    zed = (await david.post(BOTS, {"name": "Zed"})).json["bot"]
    listener.reply = listener.says("echo")
    await listener.hears(*EVERYTHING)
    await listener.heard()

    async def by_bot(key: str) -> None:
        answer = await bot_says(visitor, cast.pets, "I say", key)
        at = f"/{answer.location.rpartition('/')[2]}"
        boosts = f"{url_of(cast.pets, at, key)}/boosts"
        boost = await visitor.request("POST", boosts, data="+1")
        await visitor.request("DELETE", f"{boosts}/{boost.json['id']}")
        await visitor.request("PUT", url_of(cast.pets, at, key), data="I said")
        gone = await visitor.request("DELETE", url_of(cast.pets, at, key))
        assert gone.status == 204

    await by_bot(KEY)
    await by_bot(zed["bot_key"])
    assert await listener.heard() == []
    await bot_says(visitor, cast.pets, mention(david.server, cast.bender), zed["bot_key"])
    assert await listener.heard() == ["message.created"]  # a bot may call another by its name


async def test_a_bot_is_called_eight_times_at_once_and_two_hundred_calls_wait(
    david: Person, listener: Listener, cast: Cast, log_lines: LogLines
) -> None:
    await listener.hears("messages")
    bots, db = david.server.parts.bots, david.server.parts.db
    message, at = cast.ten_messages[0], cast.ten_messages[0].created_at
    said = program.Happening("message.created", cast.watercooler.id, cast.david, at, None, message)
    [call] = await db.read(program.calls_for, said)
    listener.may_answer.clear()

    calls = [asyncio.create_task(bots.run(call)) for _ in range(300)]
    await listener.came.wait()
    assert bots.calls["dropped"] == 300 - 208
    listener.may_answer.set()
    await asyncio.gather(*calls)

    assert bots.calls == {"dropped": 92, "answered": 208}
    assert (len(listener.told), listener.most) == (208, 8)
    assert sum("webhook_dropped" in line for line in log_lines()) == 92
    assert 'campfire_webhooks_total{result="dropped"} 92' in (await david.get("/metrics")).text
    async with AsyncExitStack() as opened:
        assert await bots.call(call, opened)  # there is room again


@pytest.mark.parametrize("end", ["bot", "address", "webhook"])
async def test_calls_that_wait_end_with_what_they_wait_for(
    david: Person, listener: Listener, cast: Cast, end: str
) -> None:
    await listener.hears("messages")
    listener.may_answer.clear()
    for n in range(12):
        await david.say(cast.watercooler, f"{n}")
    await listener.came.wait()

    if end == "bot":
        assert (await david.delete(f"{BOTS}/{cast.bender.id}")).status == 204
    else:
        await listener.hears(url=f"{listener.url}/elsewhere" if end == "address" else "")
    listener.may_answer.set()
    await settle(david.server)

    assert len(listener.told) <= 8


async def test_what_a_bot_hears_of_outlives_the_server(
    start: Start, cast: Cast, david: Person, listener: Listener
) -> None:
    await listener.hears("edits")
    await david.server.close()
    again = await (await start()).sign_in(cast.david)

    said = await again.say(cast.watercooler, "first")
    await again.put(path_of(cast.watercooler, said["id"]), {"body": "second"})
    await settle(again.server)

    assert [each["event"] for each in listener.told] == ["message.edited"]


async def test_who_comes_into_the_account_or_leaves_it_comes_and_goes_in_every_room(
    david: Person, listener: Listener, cast: Cast
) -> None:
    await listener.hears("members")
    server, rooms = david.server, {cast.hq.name, cast.pets.name}
    account = f"/api/join/{cast.join_code}"
    zoe = await server.visitor()
    person = newcomer("Zoe", "zoe@example.com")
    given = {"name": "Zoe", "email_address": person.email_address, "password": person.password}

    async def told(event: str, who: str) -> set[str]:
        await settle(server)
        heard, listener.told = listener.told, []
        assert all(each["event"] == event for each in heard)
        assert all([it["name"] for it in each["members"]] == [who] for each in heard)
        return {each["room"]["name"] for each in heard}

    user = (await zoe.post(account, given)).json["user"]
    assert await told("members.joined", "Zoe") == rooms
    await david.post(f"/api/users/{user['id']}/ban")
    assert await told("members.left", "Zoe") == rooms
    await david.delete(f"/api/users/{user['id']}/ban")
    assert await told("members.joined", "Zoe") == rooms
    await david.delete(f"/api/account/users/{user['id']}")
    assert await told("members.left", "Zoe") == rooms
    zed = (await david.post(BOTS, {"name": "Zed"})).json["bot"]
    assert await told("members.joined", "Zed") == rooms
    await david.delete(f"{BOTS}/{zed['id']}")
    assert await told("members.left", "Zed") == rooms


async def test_a_bot_is_told_that_it_is_let_into_a_room_and_that_it_is_out_again(
    david: Person, listener: Listener, cast: Cast
) -> None:
    await listener.hears("members")
    given = {"name": "Lab", "user_ids": [cast.bender.id]}
    made = (await david.post("/api/rooms/closeds", given)).json["room"]
    await david.put(f"/api/rooms/closeds/{made['id']}", {**given, "user_ids": []})
    await david.delete(f"/api/rooms/{cast.pets.id}")
    await settle(david.server)

    shown = {(each["event"], each["room"]["name"], len(each["members"])) for each in listener.told}
    assert shown == {
        ("members.joined", "Lab", 2), ("members.left", "Lab", 1), ("members.left", "Pets", 5),
    }  # fmt: skip


async def test_what_a_banned_person_said_goes_without_anybodys_doing(
    david: Person, jason: Person, listener: Listener, cast: Cast
) -> None:
    await listener.hears("deletions")

    await david.post(f"/api/users/{jason.id}/ban")
    await settle(david.server)

    assert {each["event"] for each in listener.told} == {"message.deleted"}
    assert [each["user"] for each in listener.told] == [None] * len(listener.told)
    own = {each.id for each in cast.ten_messages if each.creator.id == jason.id}
    assert {each["message"]["id"] for each in listener.told} == own


@pytest.mark.parametrize("events", ["messages", {"messages": True}, ["everything"], [1], [None]])
async def test_what_nobody_can_hear_of_is_refused_in_a_sentence(
    david: Person, listener: Listener, cast: Cast, events: object
) -> None:
    given = {"webhook_url": listener.url, "events": events}

    answer = await david.put(f"{BOTS}/{cast.bender.id}", given)

    assert (answer.status, answer.code) == (422, "validation_failed")
    reasons = answer.json["error"]["fields"]["events"]
    assert reasons == ["can be messages, edits, deletions, boosts, members"]


async def test_a_bot_without_an_address_can_hear_of_nothing(david: Person, cast: Cast) -> None:
    answer = await david.put(f"{BOTS}/{cast.bender.id}", {"events": ["boosts"]})

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert answer.json["error"]["fields"] == {"webhook_url": ["is needed to hear of anything"]}


async def test_what_is_not_said_of_events_leaves_them_as_they_are(
    david: Person, listener: Listener, cast: Cast
) -> None:
    before = await listener.hears("edits", "boosts")
    path = f"{BOTS}/{cast.bender.id}"

    kept = (await david.put(path, {"name": "Zed", "webhook_url": listener.url})).json["bot"]
    assert (kept["events"], kept["webhook_secret"]) == (
        ["edits", "boosts"],
        before["webhook_secret"],
    )
    ended = (await david.put(path, {"name": "Zed"})).json["bot"]
    assert (ended["events"], ended["webhook_url"]) == ([], None)


async def test_a_bot_lists_who_is_in_its_room_and_can_mention_them(
    david: Person, visitor: Person, cast: Cast
) -> None:
    address = url_of(cast.watercooler).replace("messages", "members")

    members = (await visitor.get(address)).json

    assert [each["name"] for each in members] == ["Bender Bot", "David", "Jason"]
    person = members[1]
    assert (person["id"], person["role"]) == (cast.david.id, "administrator")
    assert person["avatar_url"].startswith(f"{david.server.address}/users/")
    sgid = person["sgid"]
    said = f'Hey <action-text-attachment sgid="{sgid}"></action-text-attachment>'
    await bot_says(visitor, cast.watercooler, said)
    last = (await david.get(path_of(cast.watercooler))).json["messages"][-1]
    assert last["plain_text"] == "Hey @David"


async def test_a_bot_finds_what_was_said_in_its_room_and_in_no_other(
    david: Person, visitor: Person, cast: Cast
) -> None:
    address = url_of(cast.watercooler).replace("messages", "searches")
    await david.say(cast.pets, "Drop elsewhere")  # where the bot is, too
    await david.say(cast.designers, "Drop where it is not")

    hits = (await visitor.get(f"{address}?q=drop")).json

    assert [each["body"]["plain_text"] for each in hits] == [f"Drop {n}" for n in range(1, 11)]
    assert hits == (await visitor.get(url_of(cast.watercooler))).json
    by_jason = f"{address}?q=drop&creator_id={cast.jason.id}&room_id={cast.designers.id}"
    names = {each["creator"]["name"] for each in (await visitor.get(by_jason)).json}
    assert names == {"Jason"}
    assert (await visitor.get(f"{address}?q=nothing")).json == []
    assert (await visitor.get(f"{address}?q=drop&from=tuesday")).status == 422
    outside = url_of(cast.designers).replace("messages", "searches")
    assert (await visitor.get(f"{outside}?q=drop")).status == 404


async def test_a_bot_pages_through_more_hits_than_a_hundred(
    david: Person, visitor: Person, cast: Cast
) -> None:
    for n in range(105):
        await david.say(cast.pets, f"pebble {n}")
    first = await visitor.get(url_of(cast.pets).replace("messages", "searches") + "?q=pebble")

    link = re.fullmatch(r'<(\S+)>; rel="next"', first.headers["Link"])
    assert link
    rest = await visitor.get(link[1].removeprefix(david.server.address))

    said = [each["body"]["plain_text"] for each in [*rest.json, *first.json]]
    assert said == [f"pebble {n}" for n in range(105)]
    assert "Link" not in rest.headers

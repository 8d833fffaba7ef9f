"""The checklist of Rails' own tests, first part: what is said, and who hears it.

A test for each of the original's test files; inside it each thing asserted there has its sentence,
which pytest reports as a subtest of that name: `it("member → 403")`. What concerns a feature that
is for later is left out. `vars().update(WORDS)` makes the tests those of a test file.
"""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

import campfire as program
from tests.support.asking import (
    KEY,
    bot_says,
    count,
    found,
    ids,
    mention,
    path_of,
    settle,
    targets,
    texts,
    url_of,
)
from tests.support.cast import Answer, Cast, Person, Server
from tests.support.listeners import Audience, messages_of
from tests.support.readers import Receiver
from tests.support.services import give_webhook
from tests.support.writing import KEVIN, SOMEBODY, encoded, html_of
from tests.support.writing import mention as markup_of

It = Callable[[str], AbstractContextManager[None]]
CONFIRMED, REJECTED = "confirm_subscription", "reject_subscription"
OF_A_MEMBER = "4-"  # Kevin's id in the place of a bot's key
Test = TypeVar("Test", bound=Callable[..., object])


class Checklist(dict[str, object]):
    """Tests by the names that pytest finds them under."""

    def of(self, file: str) -> Callable[[Test], Test]:
        """Adds the test that holds what this file of Rails' tests asserts."""

        def keep(test: Test) -> Test:
            self[f"test {file}"] = test
            return test

        return keep


WORDS = Checklist()


# --- Channels ------------------------------------------------------------------------------------


@WORDS.of("channels/presence_channel")
async def channels_presence(it: It, kevin: Person, cast: Cast) -> None:
    tab, presence = await kevin.welcomed(), kevin.server.parts.cable.presence

    async def ask(**params: object) -> str:
        return str((await tab.ask(channel="PresenceChannel", **params))["type"])

    with it("subscribing turns the membership from not connected to connected"):
        assert presence.count(cast.designers.id, kevin.id) == 0
        assert await ask(room_id=cast.designers.id) == CONFIRMED
        assert presence.count(cast.designers.id, kevin.id) == 1
    with it("unsubscribing turns it back"):
        given = {"channel": "PresenceChannel", "room_id": cast.designers.id}
        await tab.transmit("unsubscribe", json.dumps(given))
        await tab.drain()
        assert presence.count(cast.designers.id, kevin.id) == 0
    with it("member → subscribe → confirmed, streams for the room"):
        assert await ask(room_id=cast.pets.id) == CONFIRMED
        assert presence.present_in(cast.pets.id) == {kevin.id}
    with it("non-member → rejected"):
        assert await ask(room_id=cast.watercooler.id) == REJECTED
    with it("unknown room → rejected"):
        assert await ask(room_id=999) == REJECTED
    with it("no usable room id → rejected"):
        assert [await ask(), await ask(room_id=None), await ask(room_id="x")] == [REJECTED] * 3


@WORDS.of("channels/room_messages_channel")
async def channels_room_messages(
    it: It, server: Server, david: Person, jz: Person, cast: Cast
) -> None:
    tab, good = await jz.welcomed(), messages_of(server, cast.designers)
    channel, sign = good["channel"], server.parts.signer.stream

    async def ask(**params: object) -> str:
        return str((await tab.ask(**params))["type"])

    with it("member with signed name → confirmed on that stream"):
        assert await ask(**good) == CONFIRMED
        said = await david.say(cast.designers, "hi")
        assert f'data-message-id="{said["id"]}"' in await tab.next_message()
    with it("never a member → rejected"):
        assert await ask(**messages_of(server, cast.watercooler)) == REJECTED
    with it("unsigned name → rejected"):
        name = f"room_{cast.designers.id}:messages"
        assert await ask(channel=channel, signed_stream_name=name) == REJECTED
    with it("missing name → rejected"):
        assert await ask(channel=channel) == REJECTED
    with it("signed name of another room one is not in → rejected"):
        assert await ask(**messages_of(server, cast.david_and_kevin)) == REJECTED
    with it("`Turbo::StreamsChannel` with a room-messages name → rejected even for a member"):
        given = {**good, "channel": "Turbo::StreamsChannel"}
        assert await ask(**given) == REJECTED
    with it("same channel with the `rooms` name → confirmed"):
        given = {"channel": "Turbo::StreamsChannel", "signed_stream_name": sign("rooms")}
        assert await ask(**given) == CONFIRMED
    with it("revoked member with the old signed name → rejected"):
        without = {"name": "Designers", "user_ids": [cast.kevin.id]}
        await david.put(f"/api/rooms/closeds/{cast.designers.id}", without)
        tab = await jz.welcomed()
        assert await ask(**good) == REJECTED


@WORDS.of("channels/unread_rooms_channel")
async def channels_unread_rooms(
    it: It, david: Person, jason: Person, jz: Person, cast: Cast
) -> None:
    tabs = [await person.welcomed() for person in (david, jz)]
    for tab in tabs:
        await tab.subscribe(channel="UnreadRoomsChannel")
    await jason.say(cast.david_and_jason, "between us")
    mine, of_an_outsider = [await tab.drain() for tab in tabs]
    with it("message in one's own ping → exactly one frame with its room id"):
        assert mine == [{"roomId": cast.david_and_jason.id}]
    with it("message in a ping of two others → an outsider gets nothing"):
        assert of_an_outsider == []
    with it("streams only one's own unread stream, no global one"):
        sign = jz.server.parts.signer.stream
        for name in (f"user_{david.id}_unreads", "unread_rooms", f"user_{jz.id}_unreads"):
            given = {"channel": "Turbo::StreamsChannel", "signed_stream_name": sign(name)}
            assert (await tabs[1].ask(**given))["type"] == REJECTED


# --- Messages and boosts -------------------------------------------------------------------------


@WORDS.of("controllers/messages (index)")
async def controllers_messages_pages(it: It, david: Person, cast: Cast) -> None:
    path, known = path_of(cast.watercooler), [each.id for each in cast.ten_messages]
    with it("default → last page"):
        assert ids((await david.get(path)).json) == known
    with it("`before` → the earlier two, not itself nor later"):
        assert ids((await david.get(f"{path}?before={known[2]}")).json) == known[:2]
    with it("`after` → the later ones, not itself nor earlier"):
        assert ids((await david.get(f"{path}?after={known[7]}")).json) == known[8:]
    with it("empty room → 204"):
        assert (await david.get(path_of(cast.pets))).status == 204
    with it("single message opens"):
        shown = await david.get(path_of(cast.watercooler, known[4]))
        assert (shown.status, shown.json["message"]["id"]) == (200, known[4])
        assert (await david.get(f"/rooms/{cast.watercooler.id}/@{known[4]}")).status == 200


@WORDS.of("controllers/messages")
async def controllers_messages(it: It, audience: Audience, cast: Cast) -> None:
    jz, kevin, david = [audience.people[name] for name in ("jz", "kevin", "david")]
    room = cast.designers

    await jz.put(f"/api/rooms/{room.id}/involvement", {"involvement": "everything"})
    said = await kevin.say(room, "Hello!", "k1")
    heard, path = await audience.heard(), path_of(room, said["id"])
    with it("create → append frame to the room with the text and the permalink"):
        frame = heard["david"][0]
        assert targets([frame]) == [("append", f"messages_room_{room.id}")]
        assert "Hello!" in frame
        assert f"/rooms/{room.id}/@{said['id']}" in frame
    with it("create → exactly one unread frame per member"):
        for frames in heard.values():
            assert frames.count({"roomId": room.id}) == 1
    with it("none to non-members"):
        await david.say(cast.watercooler, "not for all", "d1")
        heard = await audience.heard()
        assert heard["jz"] == heard["kevin"] == []
    for sentence, person in (
        ("author edits → one replace frame, text changed", kevin),
        ("administrator edits another's → same", david),
    ):
        with it(sentence):
            edited = await person.put(path, {"body": sentence})
            assert (edited.status, edited.json["message"]["plain_text"]) == (200, sentence)
            frames = await audience.heard_by("david", "jason", "jz", "kevin")
            assert targets(frames) == [("replace", "presentation_message_k1")]


@WORDS.of("controllers/messages (update and destroy by others)")
async def messages_of_others(it: It, audience: Audience, receiver: Receiver, cast: Cast) -> None:
    jz, kevin, david = [audience.people[name] for name in ("jz", "kevin", "david")]
    room = cast.designers
    said = await kevin.say(room, "mine", "k1")
    path = path_of(room, said["id"])
    await audience.heard()
    before = await texts(kevin, room)
    with it("member edits another's → 403"):
        assert (await jz.put(path, {"body": "mine now"})).status == 403
    with it("member deletes another's → 403"):
        assert (await jz.delete(path)).status == 403
        assert await texts(kevin, room) == before
        assert not any((await audience.heard()).values())
    other = await kevin.say(room, "another", "k2")
    await audience.heard()
    for sentence, person, message, target in (
        ("author deletes → one less, one remove frame", kevin, said, "message_k1"),
        ("administrator deletes another's → same", david, other, "message_k2"),
    ):
        with it(sentence):
            before = await texts(kevin, room)
            assert (await person.delete(path_of(room, message["id"]))).status == 204
            assert len(await texts(kevin, room)) == len(before) - 1
            frames = await audience.heard_by("david", "jason", "jz", "kevin")
            assert targets(frames) == [("remove", target)]
    with it("mentioning a bot member → exactly one webhook job"):
        await give_webhook(david, cast.bender, receiver.url)
        await david.say(cast.watercooler, f"Hey {mention(audience.server, cast.bender)}")
        await settle(audience.server)
        assert len(receiver.told) == 1


@WORDS.of("controllers/messages/boosts")
async def controllers_messages_boosts(it: It, audience: Audience, cast: Cast) -> None:
    jz = audience.people["jz"]
    said = await jz.say(cast.designers, "boost me", "star")
    path, everybody = f"/api/messages/{said['id']}/boosts", ("david", "jason", "jz", "kevin")
    await audience.heard()
    with it("create → one boost, one frame"):
        boost = (await jz.post(path, {"content": "🎉"})).json["boost"]
        assert await count(audience.server, "boosts") == 1
        frames = await audience.heard_by(*everybody)
        assert targets(frames) == [("append", "boosts_message_star")]
    with it("delete own → one less, one frame"):
        (boost,) = (await jz.get(path)).json["boosts"]
        await jz.delete(f"{path}/{boost['id']}")
        assert await count(audience.server, "boosts") == 0
        frames = await audience.heard_by(*everybody)
        assert targets(frames) == [("remove", f"boost_{boost['id']}")]


@WORDS.of("controllers/messages/by_bots (create)")
async def controllers_messages_by_bots_post(
    it: It, visitor: Person, david: Person, receiver: Receiver, cast: Cast
) -> None:
    server, room, path = visitor.server, cast.watercooler, url_of(cast.watercooler)
    await give_webhook(david, cast.bender, receiver.url)
    with it("POST text → message with that text"):
        assert (await bot_says(visitor, room, "hello")).status == 201
        assert (await texts(david, room))[-1] == "hello"
    with it("UTF-8 kept"):
        await bot_says(visitor, room, "Grüße 👋 日本語")
        assert (await texts(david, room))[-1] == "Grüße 👋 日本語"
    with it("bot mentioning itself → no webhook"):
        await bot_says(visitor, room, f"me: {mention(server, cast.bender)}")
        await settle(server)
        assert receiver.told == []
    with it("bot speaking in a ping → no webhook to itself"):
        assert (await bot_says(visitor, cast.bender_and_kevin, "beep")).status == 201
        await settle(server)
        assert receiver.told == []
    messages = await count(server, "messages")
    with it("nothing or blanks → 422 both, none created"):
        assert [(await bot_says(visitor, room, each)).status for each in ("", " \n ")] == [422] * 2
    with it('`"<member id>-"` → redirect, none'):
        assert (await bot_says(visitor, room, "hi", OF_A_MEMBER)).status == 302
    with it("bad key → redirect"):
        assert (await bot_says(visitor, room, "hi", "5-wrong")).location.endswith("/session/new")
        assert (await visitor.get(url_of(room, key="5-wrong"))).status == 302
    with it("POST there → 404, none"):
        assert (await bot_says(visitor, cast.designers, "hi")).status == 404
        assert await count(server, "messages") == messages
    with it("GET room not a member of → 404"):
        assert (await visitor.get(url_of(cast.designers))).status == 404
    with it("ordinary messages URL with `bot_key` → 403"):
        assert (await visitor.get(f"/rooms/{room.id}/messages?bot_key={KEY}")).status == 403
    with it("file: n/a (501)"):
        form = b'--x\r\nContent-Disposition: form-data; name="attachment"\r\n\r\nhi\r\n--x--\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert (await visitor.request("POST", path, data=form, headers=headers)).status == 501


def next_page(answer: Answer) -> str:
    """Where the header leads, without the server's own address; nothing at the end."""
    link = re.fullmatch(r'<http://[^/]+([^>]+)>; rel="next"', answer.headers.get("Link", ""))
    return link[1] if link else ""


@WORDS.of("controllers/messages/by_bots (index)")
async def controllers_messages_by_bots_get(
    it: It, visitor: Person, david: Person, cast: Cast
) -> None:
    known, address = [each.id for each in cast.ten_messages], visitor.server.address
    with it("GET → all ids in order"):
        listed = (await visitor.get(url_of(cast.watercooler))).json
        assert [each["id"] for each in listed] == known
    with it(
        "last item has id, both body forms, created_at in ms, creator id/name/role `bot`, room id,"
        " URL"
    ):
        posted = await bot_says(visitor, cast.watercooler, "I am the last")
        last = (await visitor.get(url_of(cast.watercooler))).json[-1]
        assert str(last["id"]) == posted.location.rpartition("/")[2]
        assert last["body"]["plain_text"] == "I am the last"
        assert "I am the last" in last["body"]["html"]
        assert re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", last["created_at"])
        creator = last["creator"]
        shown = creator["id"], creator["name"], creator["role"]
        assert shown == (cast.bender.id, "Bender Bot", "bot")
        assert last["room"] == {"id": cast.watercooler.id}
        assert last["url"] == f"{address}/rooms/{cast.watercooler.id}/messages/{last['id']}"
    with it("empty room → `[]`, total 0, no Link"):
        empty = await visitor.get(url_of(cast.pets))
        assert (empty.json, empty.headers["X-Total-Count"], next_page(empty)) == ([], "0", "")
    said = [(await david.say(cast.pets, f"{n}"))["id"] for n in range(41)]
    with it(
        "41 messages → page of 40, total 41, without the oldest; following Link → just the oldest,"
        " no Link"
    ):
        first = await visitor.get(url_of(cast.pets))
        second = await visitor.get(next_page(first))
        assert [each["id"] for each in first.json] == said[1:]
        assert first.headers["X-Total-Count"] == "41"
        assert ([each["id"] for each in second.json], next_page(second)) == (said[:1], "")
    with it("`after` a message with fewer than 41 later ones → exactly those in order, no Link"):
        later = await visitor.get(url_of(cast.pets, f"?after={said[30]}"))
        assert ([each["id"] for each in later.json], next_page(later)) == (said[31:], "")


@WORDS.of("controllers/messages/by_bots (update, destroy)")
async def controllers_messages_by_bots_patch_and_delete(
    it: It, visitor: Person, david: Person, cast: Cast
) -> None:
    room, of_david = cast.watercooler, cast.ten_messages[0].id
    posted = await bot_says(visitor, room, "first words")
    mine = int(posted.location.rpartition("/")[2])
    foreign = (await david.say(cast.designers, "elsewhere"))["id"]
    before = await count(visitor.server, "messages")

    async def ask(method: str, rest: str, room: program.Room = room, key: str = KEY) -> Answer:
        data = "Grüße".encode() if method == "PATCH" else None
        return await visitor.request(method, url_of(room, rest, key), data=data)

    with it("PATCH own → 200, text changed, JSON with id, text, creator, URL, no new message"):
        changed = await visitor.request("PATCH", url_of(room, f"/{mine}"), data=b"new words")
        message, url = changed.json, f"{visitor.server.address}/rooms/{room.id}/messages/{mine}"
        assert (changed.status, (await texts(david, room))[-1]) == (200, "new words")
        assert (message["id"], message["body"]["plain_text"]) == (mine, "new words")
        assert (message["creator"]["id"], message["url"]) == (cast.bender.id, url)
        assert await count(visitor.server, "messages") == before
    with it("PATCH UTF-8"):
        assert (await ask("PATCH", f"/{mine}")).json["body"]["plain_text"] == "Grüße"
        assert (await texts(david, room))[-1] == "Grüße"
    unchanged = await found(visitor.server, "SELECT id, body_text, updated_at FROM messages")
    with it("PATCH of another's → 403 unchanged"):
        assert (await ask("PATCH", f"/{of_david}")).status == 403
    with it("PATCH in a foreign room → 404 unchanged"):
        assert (await ask("PATCH", f"/{foreign}", cast.designers)).status == 404
    with it('PATCH with `"<member id>-"` → redirect unchanged'):
        assert (await ask("PATCH", f"/{mine}", key=OF_A_MEMBER)).status == 302
    with it("DELETE of another's → 403"):
        assert (await ask("DELETE", f"/{of_david}")).status == 403
        now = await found(visitor.server, "SELECT id, body_text, updated_at FROM messages")
        assert now == unchanged
    with it("DELETE own → 204, one less"):
        assert (await ask("DELETE", f"/{mine}")).status == 204
        assert await count(visitor.server, "messages") == before - 1


@WORDS.of("controllers/messages/boosts/by_bots")
async def controllers_messages_boosts_by_bots(
    it: It, visitor: Person, jason: Person, cast: Cast
) -> None:
    tab, room, server = await jason.room_tab(cast.watercooler), cast.watercooler, visitor.server
    path, message = url_of(room, "/1/boosts"), f"{visitor.server.address}/rooms/3/messages/1"

    async def boost(content: str, at: str = path) -> Answer:
        return await visitor.request("POST", at, data=content.encode())

    with it(
        "POST emoji → 201, boost by the bot, JSON with id, content, booster id, message id and URL"
    ):
        made = await boost("👍")
        told = made.json
        assert (made.status, told["content"], told["booster"]["id"]) == (201, "👍", cast.bender.id)
        assert told["message"] == {"id": 1, "url": message}
        assert await found(server, "SELECT id, booster_id FROM boosts") == [(told["id"], 5)]
    with it("one frame is broadcast"):
        assert targets(await tab.drain()) == [("append", "boosts_message_drop-1")]
    with it("text content works"):
        assert (await boost("well done")).json["content"] == "well done"
        await tab.drain()
    with it("empty and blank → 422, none created"):
        assert [(await boost(each)).status for each in ("", " \n")] == [422, 422]
    with it("bad key → redirect, none"):
        assert (await boost("+1", url_of(room, "/1/boosts", "5-wrong"))).status == 302
    with it("room the bot is not in → 404"):
        assert (await boost("+1", url_of(cast.designers, "/1/boosts"))).status == 404
    with it("message outside the room → 404"):
        assert (await boost("+1", url_of(cast.pets, "/1/boosts"))).status == 404
    with it('`"<member id>-"` as key → redirect'):
        assert (await boost("+1", url_of(room, "/1/boosts", OF_A_MEMBER))).status == 302
        assert (await count(server, "boosts"), await tab.drain()) == (2, [])
    with it("DELETE of another's boost → 404, stays"):
        other = (await jason.post("/api/messages/1/boosts", {"content": "mine"})).json["boost"]
        await tab.drain()
        assert (await visitor.request("DELETE", f"{path}/{other['id']}")).status == 404
    with it("DELETE with bad key → redirect, stays"):
        wrong = url_of(room, "/1/boosts/1", "5-wrong")
        assert (await visitor.request("DELETE", wrong)).status == 302
        assert (await count(server, "boosts"), await tab.drain()) == (3, [])
    with it("DELETE own → 204, gone"):
        assert (await visitor.request("DELETE", f"{path}/1")).status == 204
        assert await found(server, "SELECT id FROM boosts ORDER BY id") == [(2,), (3,)]
    with it("its removal is broadcast once"):
        assert targets(await tab.drain()) == [("remove", "boost_1")]


# --- What is kept of it, and where it may go -----------------------------------------------------


@WORDS.of("helpers/content_filters")
def helpers_content_filters(it: It) -> None:
    with it("`<img>` disappears without a trace"):
        assert html_of('<div>a<img src="x.png" onerror="x()">b</div>') == "<div>ab</div>"
    with it("`javascript:` link → `<a>x</a>`"):
        assert html_of('<a href="javascript:x()">x</a>') == "<a>x</a>"
    with it('`onmouseover`, `onclick` gone, `href="/x"` and text stay'):
        source = '<a href="/x" onmouseover="x()" onclick="x()">text</a>'
        assert html_of(source) == '<a href="/x">text</a>'
    with it("`data:` link → `<a>x</a>`"):
        assert html_of('<a href="data:text/html,x">x</a>') == "<a>x</a>"
    with it("links, bold, code, lists survive"):
        source = (
            '<div><a href="https://example.com">a</a> <strong>b</strong> <code>c</code>'
            "<ul><li>d</li></ul><ol><li>e</li></ol></div>"
        )
        assert html_of(source) == source
    with it("`class` on span survives: here the language of code, and no other (server.md 16.2)"):
        assert html_of('<code class="language-ruby">x</code>') == (
            '<code class="language-ruby">x</code>'
        )
        assert html_of('<span class="btn">x</span>') == "<span>x</span>"
    with it("a mention survives with its sgid and content type"):
        assert html_of(f"Hi {markup_of(KEVIN)}") == f"Hi {markup_of(KEVIN)}"
        assert f'sgid="{KEVIN.sgid}"' in markup_of(KEVIN)
    with it("concurrent sanitizing never mixes settings"):
        sources = ["<u>a</u>", '<a href="javascript:x">b</a>', markup_of(KEVIN)] * 50
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(html_of, sources)) == [html_of(each) for each in sources]


@WORDS.of("lib/rails_ext")
def lib_rails_ext(it: It) -> None:
    with it("mention with a good signature → that user"):
        assert program.user_id_in_sgid(KEVIN.sgid) == KEVIN.id
    with it("with a bad signature → still that user"):
        assert program.user_id_in_sgid(KEVIN.sgid.rpartition("--")[0] + "--" + "0" * 40) == KEVIN.id
    with it("with the older payload form → that user"):
        assert program.user_id_in_sgid(encoded(SOMEBODY["in a message of Ruby's"])) == 7
    with it("no sgid → missing (☒)"):
        assert "☒" in html_of('<action-text-attachment content-type="x"></action-text-attachment>')
    with it("a non-user model with a bad signature → missing"):
        room = encoded({"_rails": {"data": "gid://campfire/Room/1", "pur": "attachable"}})
        assert program.user_id_in_sgid(f"{room}--{'0' * 40}") is None

"""What people say: sending once, editing, deleting, mentioning, and paging back."""

import asyncio
import re
import uuid
from typing import Any

import pytest

import campfire as program
from tests.support.asking import ids, mention, path_of, texts
from tests.support.cast import Cast, Person, Server, Start
from tests.support.tables import briefly, cases

TEXT_LIMIT = 65_536


async def test_a_sent_message_has_exactly_this_shape(start: Start, cast: Cast) -> None:
    server = await start(TLS_DOMAIN="chat.example.com", DISABLE_SSL="1")
    kevin = await server.sign_in(cast.kevin)

    words = "<div>Hi <b>all</b> https://example.com</div>"
    given = {"client_message_id": "k3x9", "body": words}
    answer = await kevin.post(path_of(cast.designers), given)

    message = answer.json["message"]
    at = message["timestamp"]
    moment = program.iso(program.Timestamp(at * 1000))
    avatar = server.parts.signer.avatar_url(cast.kevin)
    assert re.fullmatch(r"/users/[\w-]+--[0-9a-f]{64}/avatar\?v=\d{14}", avatar)
    link = '<a href="https://example.com" target="_blank" rel="noopener noreferrer">'
    creator = {
        "id": cast.kevin.id, "name": "Kevin", "initials": "K", "has_avatar": False,
        "title": "Kevin \u2013 Programmer",
        "bio": "Programmer", "role": "member", "status": "active", "avatar_url": avatar,
        "url": f"/users/{cast.kevin.id}",
    }  # fmt: skip
    assert message == {
        "id": 11, "client_message_id": "k3x9", "room_id": cast.designers.id, "creator": creator,
        "created_at": moment, "updated_at": moment, "timestamp": at, "updated_at_ms": at,
        "sort_value": at, "edited_at_ms": None, "edited_by": None, "content_type": "text",
        "emoji_only": False, "sound": None, "to_everyone": False,
        "attachment": None,
        "body_html": f"<div>Hi <b>all</b> {link}https://example.com</a></div>",
        "plain_text": "Hi all https://example.com", "mentionee_ids": [],
        "links": ["https://example.com"], "previews": [], "boosts": [],
        "path": f"/rooms/{cast.designers.id}/@11",
        "url": f"http://chat.example.com/rooms/{cast.designers.id}/@11", "can_edit": True,
    }  # fmt: skip
    assert (await kevin.get(path_of(cast.designers, 11))).json == {"message": message}
    assert (await kevin.get(path_of(cast.designers))).json["messages"] == [message]
    page = (await kevin.boot(f"/rooms/{cast.designers.id}"))["data"]["messages"]
    assert page["messages"] == [message]


async def test_the_same_message_sent_again_is_there_once_and_its_first_words_stand(
    kevin: Person, david: Person, cast: Cast
) -> None:
    tab = await david.room_tab(cast.designers)
    given = {"client_message_id": "twice", "body": "first words"}

    first = await kevin.post(path_of(cast.designers), given)
    again = await kevin.post(path_of(cast.designers), {**given, "body": "other words"})
    by_another = await david.post(path_of(cast.designers), given)
    elsewhere = await kevin.post(path_of(cast.hq), given)
    at_once = await asyncio.gather(
        *(kevin.post(path_of(cast.hq), {**given, "client_message_id": 7}) for _ in range(8))
    )

    assert [each.status for each in (first, again, by_another)] == [201, 200, 200]
    assert again.json == first.json
    assert by_another.json["message"]["id"] == first.json["message"]["id"]
    assert elsewhere.json["message"]["id"] != first.json["message"]["id"]
    assert len(await tab.drain()) == 1
    assert sorted(each.status for each in at_once) == [200] * 7 + [201]
    assert {each.json["message"]["client_message_id"] for each in at_once} == {"7"}


@pytest.mark.parametrize("given", ["a b", "x" * 65, "\u00e4", "<b>", "a\n", True, 1.5, [], {}])
async def test_message_ids_are_fit_or_fresh(kevin: Person, cast: Cast, given: object) -> None:
    path = path_of(cast.hq)
    refused = await kevin.post(path, {"body": "hi", "client_message_id": given})
    fresh = [await kevin.post(path, {"body": "hi", "client_message_id": no}) for no in (None, "")]

    assert (refused.status, refused.code) == (422, "invalid_client_message_id")
    made = {uuid.UUID(each.json["message"]["client_message_id"]).version for each in fresh}
    assert made == {4}
    assert await texts(kevin, cast.hq) == ["hi", "hi"]


@pytest.mark.parametrize(("body", "code"), cases("bodies that are refused"), ids=briefly)
async def test_an_empty_or_too_long_message_is_refused_when_sent_and_when_edited(
    kevin: Person, cast: Cast, body: object, code: str
) -> None:
    message = await kevin.say(cast.hq, "words")

    sent = await kevin.post(path_of(cast.hq), {"body": body})
    edited = await kevin.put(path_of(cast.hq, message["id"]), {"body": body})

    if body == "\u0000\u0007":  # control characters are dropped, or no text at all
        code = sent.code
    assert (sent.status, sent.code, edited.status, edited.code) == (422, code, 422, code)
    assert await texts(kevin, cast.hq) == ["words"]


async def test_what_people_write_is_made_safe(kevin: Person, cast: Cast) -> None:
    for source, shown in (
        ("x" * TEXT_LIMIT, "x" * TEXT_LIMIT),
        ('<img src="/x.png">ok', "ok"),
        ('<a href="javascript:alert(1)">x</a>', "<a>x</a>"),
        ('<a href="data:text/html,x">x</a>', "<a>x</a>"),
        ('<a href="/x" onmouseover="a()" onclick="b()">x</a>', '<a href="/x">x</a>'),
        ("<b>x</b><ul><li>y</li></ul>", "<b>x</b><ul><li>y</li></ul>"),
        ('<pre class="language-ruby evil">x</pre>', '<pre class="language-ruby">x</pre>'),
    ):
        answer = await kevin.post(path_of(cast.hq), {"body": source})
        assert (answer.status, answer.json["message"]["body_html"]) == (201, shown)


async def test_sounds_and_emoji_are_whole_messages(kevin: Person, cast: Cast) -> None:
    sound, with_picture, text = [
        await kevin.say(cast.hq, words) for words in ("/play tada", "/play nyan", "/play nosuch")
    ]

    assert (sound["content_type"], sound["plain_text"]) == ("sound", "/play tada")
    words = "plays a fanfare \U0001f38f"
    tada = {"name": "tada", "url": "/sounds/tada.mp3", "text": words, "image": None}
    assert sound["sound"] == tada
    assert sound["body_html"].startswith('<div class="sound" data-sound-name="tada"')
    assert with_picture["sound"]["image"] == {
        "url": "/assets/sounds/nyan.svg", "width": 36, "height": 15,
    }  # fmt: skip
    assert (text["content_type"], text["sound"]) == ("text", None)
    sounds = (await kevin.get("/api/sounds")).json["sounds"]
    assert len(sounds) == 56
    assert sounds == sorted(sounds, key=lambda each: each["name"])
    assert sound["sound"] in sounds
    emoji = [await kevin.say(cast.hq, words) for words in ("\U0001f604\U0001f918", "\U0001f604 hi")]
    assert [each["emoji_only"] for each in emoji] == [True, False]


async def test_mentionees_are_members_and_count_once_whoever_is_named(
    server: Server, kevin: Person, cast: Cast
) -> None:
    named = mention(server, cast.jz, cast.jz, cast.kevin, cast.bender)

    answer = await kevin.post(path_of(cast.designers), {"body": f"Look {named}"})

    message = answer.json["message"]
    assert sorted(message["mentionee_ids"]) == [cast.jz.id, cast.kevin.id]
    assert message["plain_text"] == "Look @JZ@JZ@Kevin@Bender Bot"
    assert message["body_html"].count('<span class="mention" data-user-id=') == 4
    alone = await kevin.post(path_of(cast.hq), {"body": mention(server, cast.jz)})
    assert (alone.status, alone.json["message"]["mentionee_ids"]) == (201, [cast.jz.id])
    gone = await kevin.post(path_of(cast.hq), {"body": '<action-text-attachment sgid="x">'})
    assert gone.json["message"]["plain_text"] == "\u2612"


@pytest.mark.parametrize("editor", ["kevin", "jason"])
async def test_the_author_and_an_administrator_edit_a_message_and_the_room_sees_it(
    server: Server, cast: Cast, kevin: Person, jz: Person, editor: str
) -> None:
    person = await server.sign_in(getattr(cast, editor))
    message = await kevin.say(cast.designers, "old words", "edited")
    tab = await jz.room_tab(cast.designers)

    source = f"<div>new words {mention(server, cast.jz)}</div>"
    answer = await person.put(path_of(cast.designers, message["id"]), {"body": source})

    edited, (frame,) = answer.json["message"], await tab.drain()
    assert (answer.status, edited["plain_text"]) == (200, "new words @JZ")
    assert (edited["created_at"], edited["client_message_id"]) == (message["created_at"], "edited")
    assert edited["mentionee_ids"] == [cast.jz.id]
    assert edited["updated_at_ms"] >= message["updated_at_ms"]
    assert frame.startswith(
        '<turbo-stream maintain_scroll="true" action="replace"'
        ' target="presentation_message_edited"><template><div id="presentation_message_edited"'
    )
    opened = (await person.get(path_of(cast.designers, message["id"]) + "?edit=1")).json
    assert "data-trix-attachment" in opened["edit_html"]
    again = await person.put(path_of(cast.designers, message["id"]), {"body": opened["edit_html"]})
    assert again.json["message"]["body_html"] == edited["body_html"]


@pytest.mark.parametrize("editor", ["kevin", "jason"])
async def test_the_author_and_an_administrator_delete_a_message_and_the_room_sees_it(
    server: Server, cast: Cast, kevin: Person, jz: Person, editor: str
) -> None:
    person = await server.sign_in(getattr(cast, editor))
    message = await kevin.say(cast.designers, "words", "gone")
    await jz.post(f"/api/messages/{message['id']}/boosts", {"content": "x"})
    tab = await jz.room_tab(cast.designers)

    answer = await person.delete(path_of(cast.designers, message["id"]))

    assert (answer.status, answer.body) == (204, b"")
    (frame,) = await tab.drain()
    assert frame == '<turbo-stream action="remove" target="message_gone"></turbo-stream>'
    assert (await kevin.get(path_of(cast.designers))).status == 204
    for path in (path_of(cast.designers, message["id"]), f"/api/messages/{message['id']}/boosts"):
        assert (await kevin.get(path)).code == "message_not_found"
    assert (await person.delete(path_of(cast.designers, message["id"]))).status == 404


async def test_another_member_changes_nothing(kevin: Person, jz: Person, cast: Cast) -> None:
    message = await kevin.say(cast.designers, "mine")
    tab, path = await kevin.room_tab(cast.designers), path_of(cast.designers, message["id"])

    edited, blank = await jz.put(path, {"body": "yours"}), await jz.put(path, {"body": ""})
    deleted, opened = await jz.delete(path), (await jz.get(path + "?edit=1")).json

    assert [(each.status, each.code) for each in (edited, blank, deleted)] == [
        (403, "forbidden")
    ] * 3
    assert (opened["message"]["can_edit"], "edit_html" in opened) == (False, False)
    assert await tab.drain() == []
    assert await texts(jz, cast.designers) == ["mine"]


async def test_a_message_is_found_in_its_own_room_only(kevin: Person, cast: Cast) -> None:
    message = await kevin.say(cast.designers, "here")
    wrong = path_of(cast.hq, message["id"])

    for method in ("GET", "PUT", "DELETE"):
        answer = await kevin.send(method, wrong, {"body": "x"})
        assert (answer.status, answer.code) == (404, "message_not_found")
    for path in (
        f"/rooms/{cast.designers.id}/messages/{message['id']}",
        f"/messages/{message['id']}",
    ):
        assert (await kevin.get(path)).location == message["path"]
    for path in (f"/rooms/{cast.hq.id}/messages/{message['id']}", "/messages/999", "/messages/1"):
        assert (await kevin.get(path)).status == 404


async def test_a_page_is_the_newest_forty_and_leads_both_ways(kevin: Person, cast: Cast) -> None:
    messages = kevin.server.parts.messages
    for n in range(85):
        draft = program.DraftMessage(cast.hq.id, kevin.id, None, f"message {n}")
        await messages.create_message_with_deduplication(draft)
    path = path_of(cast.hq)
    last = (await kevin.get(path)).json
    everything = list(range(ids(last)[-1] - 84, ids(last)[-1] + 1))

    async def page(query: str) -> dict[str, Any]:
        return dict((await kevin.get(f"{path}?{query}")).json)

    before = await page(f"before={ids(last)[0]}&after=1&around=1")
    first = await page(f"before={ids(before)[0]}")
    after = await page(f"after={ids(first)[-1]}&around=1")
    around = await page(f"around={everything[42]}")

    assert ids(first) + ids(before) + ids(last) == everything
    assert [len(ids(each)) for each in (first, before, last)] == [5, 40, 40]
    assert (last["has_before"], last["has_after"], last["highlighted_id"]) == (True, False, None)
    assert (first["has_before"], first["has_after"]) == (False, True)
    assert ids(after) == ids(before)
    assert ids(around) == everything[2:83]
    assert (around["has_before"], around["has_after"]) == (True, True)
    assert around["highlighted_id"] == everything[42]
    for unknown in ("around=1", "around=999999", "around=x"):
        assert ids(await page(unknown)) == ids(last)
    room = (await kevin.get(f"/api/rooms/{cast.hq.id}?message_id={everything[42]}")).json
    assert (room["messages"], room["room"]["invitation"]) == (around, False)
    shown = await kevin.boot(f"/rooms/{cast.hq.id}/@{everything[42]}")
    assert shown["data"]["messages"] == around
    assert (await kevin.boot(f"/rooms/{cast.hq.id}/@1"))["data"]["messages"] == last
    assert (await kevin.get(f"{path}?before={everything[0]}")).status == 204
    assert (await kevin.get(f"{path}?after={everything[-1]}")).status == 204
    for wrong in ("before=999", "after=999", "before=1", "before=0", "after=x"):
        assert (await kevin.get(f"{path}?{wrong}")).code == "message_not_found"


async def test_a_page_that_has_not_changed_is_not_sent_again(david: Person, cast: Cast) -> None:
    path, seen = path_of(cast.watercooler), set()
    message_id = cast.ten_messages[0].id

    async def tag() -> str:
        answer = await david.get(path)
        etag = answer.headers["ETag"]
        same = await david.get(path, {"If-None-Match": etag})
        assert (same.status, same.body, same.headers["ETag"]) == (304, b"", etag)
        for tags, status in ((f'"x", {etag}', 304), (etag[2:], 304), ("*", 304), ('"x"', 200)):
            assert (await david.get(path, {"If-None-Match": tags})).status == status
        return etag

    seen.add(await tag())
    boosts = f"/api/messages/{message_id}/boosts"
    for method, changed, body in (
        ("POST", path, {"body": "more"}), ("POST", boosts, {"content": "x"}),
        ("DELETE", f"{boosts}/1", None), ("PUT", f"{path}/{message_id}", {"body": "edited"}),
    ):  # fmt: skip
        assert (await david.send(method, changed, body)).status in (200, 201, 204)
        seen.add(await tag())

    assert len(seen) == 5
    assert all(re.fullmatch(r'W/"[^"]+"', each) for each in seen)

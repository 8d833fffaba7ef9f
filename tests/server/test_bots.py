"""Programs that talk: what they say, read, change and boost, and what is not theirs."""

import re

import pytest

from tests.support.asking import (
    KEY,
    bot_says,
    mention,
    stored,
    texts,
    url_of,
)
from tests.support.cast import Answer, Cast, Person


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
        ("", text), ("/1/boosts", text), ("", "x" * 65_537), ("/1/boosts", "x" * 17),
    ):  # fmt: skip
        path = url_of(cast.watercooler, rest)
        answer = await visitor.request("POST", path, data=data.encode())
        assert (answer.status, answer.body) == (422, b"")
    assert await stored(visitor.server) == before


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
    creator = last.pop("creator")
    assert creator.pop("avatar_url").startswith(f"{server.address}/users/")
    assert creator == {"id": cast.bender.id, "name": "Bender Bot", "role": "bot"}
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

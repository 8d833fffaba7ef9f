"""Programs that talk: their keys and addresses, who looks after them; and finding what was said."""

import re
from typing import Any

import pytest
from hypothesis import example, settings
from hypothesis import given as for_any
from hypothesis import strategies as st

import campfire as program
from tests.cast import Answer, Cast, LogLines, Person, Server
from tests.conftest import Place
from tests.test_people import stored

KEY, TOKEN = "5-ABCDEFGHIJKL", "ABCDEFGHIJKL"


def url_of(room: program.Room, rest: str = "", key: str = KEY) -> str:
    return f"/rooms/{room.id}/{key}/messages{rest}"


def mention(server: Server, *people: program.User) -> str:
    return "".join(
        f'<action-text-attachment sgid="{server.parts.signer.sgid(each.id)}"'
        ' content-type="application/vnd.campfire.mention"></action-text-attachment>'
        for each in people
    )


async def bot_says(
    visitor: Person, room: program.Room, text: str | bytes, key: str = KEY
) -> Answer:
    return await visitor.request("POST", url_of(room, key=key), data=text)


async def texts(person: Person, room: program.Room) -> list[str]:
    answer = await person.get(f"/api/rooms/{room.id}/messages")
    return [each["plain_text"] for each in answer.json["messages"]] if answer.body else []


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


WRONG_KEYS = """
    5 5- 5-- -ABCDEFGHIJKL ABCDEFGHIJKL ABCDEFGHIJKL-5 4- 1- 4-ABCDEFGHIJKL 0-ABCDEFGHIJKL 5-None
    5-abcdefghijkl 5-ABCDEFGHIJK 5-ABCDEFGHIJKLM 5%00-ABCDEFGHIJKL 5-ABCDEFGHIJKL%00
    %D9%A5-ABCDEFGHIJKL 5-%EF%BC%A1BCDEFGHIJKL -5-ABCDEFGHIJKL 5%FF-ABCDEFGHIJKL 5%2F-ABCDEFGHIJKL
""".split()
WRONG_KEYS += ["9" * 30 + "-ABCDEFGHIJKL", "5-" + "A" * 6000]


@pytest.mark.parametrize("key", WRONG_KEYS, ids=lambda key: key[:24])
async def test_a_wrong_key_leads_to_the_sign_in_page_and_changes_nothing(
    visitor: Person, cast: Cast, key: str
) -> None:
    before, address = await stored(visitor.server), f"{visitor.server.address}/session/new"
    for asked in "GET: POST: PATCH:/3 DELETE:/3 POST:/1/boosts DELETE:/1/boosts/1".split():
        method, rest = asked.split(":")
        path = url_of(cast.watercooler, rest, key)
        answer = await visitor.request(method, path, data=None if method == "GET" else b"hi")
        assert (answer.status, answer.location, answer.body) == (302, address, b""), method
    assert await stored(visitor.server) == before


@settings(max_examples=60)
@for_any(st.integers(0, len(KEY) - 1), st.characters(codec="utf-8"))
@example(0, "\uff15")
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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "), ("name", "x" * 256), ("name", 7), ("name", "\0"), ("webhook_url", "bots"),
        ("webhook_url", "ftp://example.com"), ("webhook_url", "http://"), ("webhook_url", ["x"]),
        ("webhook_url", "javascript:alert(1)"), ("webhook_url", f"https://a.example/{'x' * 2048}"),
    ],
    ids=lambda each: str(each)[:20],
)  # fmt: skip
async def test_bad_fields_are_named(david: Person, cast: Cast, field: str, value: object) -> None:
    before = await stored(david.server)
    for method, path in (("POST", ""), ("PUT", f"/{cast.bender.id}")):
        given = {"name": "Zed", field: value}
        answer = await david.send(method, f"/api/account/bots{path}", given)
        assert (answer.status, answer.code) == (422, "validation_failed")
        assert list(answer.json["error"]["fields"]) == [field]
    assert await stored(david.server) == before


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
    only_kevin = {"name": "Designers", "user_ids": [kevin.id]}
    await david.put(f"/api/rooms/closeds/{cast.designers.id}", only_kevin)
    found = (await jz.get("/api/searches?q=run")).json["messages"]
    assert [hit["room_name"] for hit in found] == ["HQ"]
    for query in ("", "?q=", "?q=%20", "?q=_", "?q=%F0%9F%91%8D", "?q=%22-*", "?q=%00"):
        assert (await kevin.get(f"/api/searches{query}")).json["messages"] == []
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
    fill = """
        WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 2500)
        INSERT INTO messages (room_id, creator_id, client_message_id, body_html, body_text,
          created_at, updated_at)
        SELECT 3, 1, 'n' || n, 'needle', 'needle', 1e15 + n, 1e15 + n FROM counter
    """
    index = """
        INSERT INTO message_search_index (rowid, body)
        SELECT id, body_text FROM messages WHERE client_message_id GLOB 'n[0-9]*'
    """

    def work(tx: program.WriteTx, _: program.Timestamp) -> int:
        return sum(tx.execute(sql).rowcount for sql in (fill, index))

    await jz.server.parts.db.write(work)

    of_jz = (await jz.get("/api/searches?q=needle")).json["messages"]
    of_david = (await david.get("/api/searches?q=needle")).json["messages"]

    assert [hit["id"] for hit in of_jz] == [mine["id"]]
    assert len(of_david) == 100
    ids = [hit["id"] for hit in of_david]
    assert (ids, ids[0] > mine["id"] + 2300) == (sorted(ids), True)


WORDS = "running Runs cafés CAFE not near and fire fires 日本".split()
OPERATORS = """NOT AND OR NEAR( " * ^ : body: ( ) - + { \\ ' ; -- ... # @x <b>""".split()


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
    for table in ("message_search_index", "mentions", "messages"):
        place.run(f"DELETE FROM {table}")  # noqa: S608 - three names
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
    assert {hit.found["room_id"] for hit in hits} <= {mine}
    assert [hit.found["id"] for hit in hits] == sorted(hit.found["id"] for hit in hits)
    if words_only:
        assert [hit.found["id"] for hit in hits] == expected

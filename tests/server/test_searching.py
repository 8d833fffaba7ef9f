"""Searching: what it costs, what it shows of long messages, and the scripts without spaces."""

import asyncio
import gzip
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given as for_any
from hypothesis import settings
from hypothesis import strategies as st

import campfire as program
from campfire import Room
from tests.conftest import Place
from tests.support.cast import PATIENCE, Answer, Cast, Person, Server
from tests.support.source import ROOT

FOUND_WORDS = "running Runs cafés CAFE not near and fire fires 日本".split()
OPERATORS = """NOT AND OR NEAR( " * ^ : body: ( ) - + { \\ ' ; -- ... # @x <b>""".split()
SAYINGS = st.lists(
    st.tuples(st.booleans(), st.lists(st.sampled_from(FOUND_WORDS), max_size=4)), max_size=6
)
QUERIES = st.one_of(
    st.lists(st.sampled_from(FOUND_WORDS + OPERATORS), max_size=4).map(" ".join),
    st.text(max_size=12),
)


async def store(person: Person, room: Room, *texts: str, markup: str | None = None) -> None:
    """Messages written straight into the database: nobody could type so many."""
    insert = """
        INSERT INTO messages
          (room_id, creator_id, client_message_id, body_html, body_text, created_at, updated_at)
        VALUES (:room, :by, :name, :html, :text, :at, :at)
    """

    indexed = """
        INSERT INTO message_search_index (rowid, body, about)
        SELECT id, body, about FROM indexed WHERE id = :id
    """

    def work(tx: program.WriteTx, at: program.Timestamp) -> None:
        for n, text in enumerate(texts):
            given = {"room": room.id, "by": person.id, "name": f"m{at}-{n}", "at": at + n}
            message_id = program.insert(tx, insert, **given, text=text, html=markup or text)
            program.run(tx, indexed, id=message_id)

    await person.server.parts.db.write(work)


async def found(person: Person, query: str) -> list[dict[str, object]]:
    answer = await person.get("/api/searches", params={"q": query})
    return list(answer.json["messages"])


async def texts_of(person: Person, query: str) -> list[object]:
    return [hit["plain_text"] for hit in await found(person, query)]


async def test_an_outsiders_search_for_what_private_rooms_are_full_of_costs_nothing(
    david: Person, jz: Person, kevin: Person, cast: Cast
) -> None:
    only_david = {"name": "Designers", "user_ids": [david.id]}
    await david.put(f"/api/rooms/closeds/{cast.designers.id}", only_david)
    await store(david, cast.designers, *["a " * 31_000] * 12)
    await kevin.say(cast.hq, "an ordinary word")
    before = time.process_time()

    hostile = asyncio.gather(*(found(jz, "a") for _ in range(3)))
    began = time.perf_counter()
    ordinary = await texts_of(kevin, "ordinary")
    waited = time.perf_counter() - began

    assert (await hostile, ordinary) == ([[], [], []], ["an ordinary word"])
    assert time.process_time() - before < 0.5  # 1.6 s for each of the three before 1.1
    assert waited < 1  # and behind the three it would be five


async def test_a_long_hit_is_shown_as_what_stands_around_its_first_mark(
    kevin: Person, cast: Cast
) -> None:
    await store(kevin, cast.designers, "other words " * 3_000 + "needle " * 90 + "other " * 900)
    await store(kevin, cast.designers, f"needle {'x' * 3_000} needle")

    long, short = await found(kevin, "needle")

    assert long["excerpt"] is True
    assert "excerpt" not in short
    text, marked = str(long["plain_text"]), str(long["highlight_html"])
    assert 200 <= len(text) <= 300
    assert (text, long["body_html"]) == (marked.replace("<mark>", "").replace("</mark>", ""), text)
    assert text.startswith("other words")
    assert 10 < marked.count("<mark>needle</mark>") <= 50
    assert str(short["highlight_html"]).count("<mark>needle</mark>") == 2


async def test_a_text_full_of_hits_has_fifty_marks_at_most(kevin: Person, cast: Cast) -> None:
    await store(kevin, cast.designers, "b " * 1_500)

    (hit,) = await found(kevin, "b")

    assert str(hit["highlight_html"]).count("<mark>") == 50


async def test_a_search_answers_two_megabytes_at_most_and_says_that_there_is_more(
    kevin: Person, cast: Cast
) -> None:
    await store(kevin, cast.designers, *["needle &<>" * 250] * 100, markup="<b>x</b>" * 500)

    answer = await kevin.get("/api/searches?q=needle")

    assert 1_500_000 < len(answer.body) < 2_100_000
    assert answer.json["has_before"] is True
    ids = [hit["id"] for hit in answer.json["messages"]]
    assert (len(ids) < 100, ids) == (True, sorted(ids))


async def test_the_hundred_newest_hits_say_whether_there_are_more(
    kevin: Person, cast: Cast
) -> None:
    path = "/api/searches?q=needle"
    await store(kevin, cast.designers, *["needle"] * 100)
    exact = (await kevin.get(path)).json
    await store(kevin, cast.designers, "needle once more")
    more = (await kevin.get(path)).json

    assert (len(exact["messages"]), exact["has_before"]) == (100, False)
    assert (len(more["messages"]), more["has_before"]) == (100, True)
    assert more["messages"][-1]["plain_text"] == "needle once more"


# --- A reader's time -----------------------------------------------------------------------------

ENDLESS = """
    WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted)
    SELECT max(n) FROM counted
"""


def endless(tx: program.ReadTx) -> object:
    return tx.execute(ENDLESS).fetchone()


async def test_a_question_that_takes_a_reader_more_than_two_seconds_is_given_up(
    server: Server,
) -> None:
    db, began = server.parts.db, time.perf_counter()

    with pytest.raises(program.DatabaseBusy):
        await db.read(endless)

    assert 1.9 < time.perf_counter() - began < PATIENCE
    assert await db.read(lambda tx: tx.execute("SELECT 7").fetchone()[0]) == 7


async def test_a_question_nobody_waits_for_ends_before_its_reader_is_lent_again(
    server: Server,
) -> None:
    db = server.parts.db
    gone = [asyncio.ensure_future(db.read_aside(endless, 6 * PATIENCE)) for _ in range(12)]
    await asyncio.wait(gone, timeout=0.2)
    for each in gone:
        each.cancel()

    more_than_a_glance = ENDLESS.replace("FROM counted)", "FROM counted WHERE n < 200000)")
    work = db.read(lambda tx: tx.execute(more_than_a_glance).fetchone()[0])

    async with asyncio.timeout(PATIENCE):
        assert await work == 200_000


# --- Scripts without spaces, and beginnings ------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("我家在上海东边", "上海", "我家在<mark>上海</mark>东边"),
        ("明日は東京タワーへ行きます", "東京タワー", "明日は<mark>東京タワー</mark>へ行きます"),
        ("서울에서 만나요", "서울", "<mark>서울</mark>에서 만나요"),
        ("ประเทศไทยสวยงาม", "ไทย", "ประเทศ<mark>ไทย</mark>สวยงาม"),
        ("iPhone版は来月です", "iphone版", "<mark>iPhone版</mark>は来月です"),
        ("the next release is out", "releas", "the next <mark>release</mark> is out"),
        ("Élan vital", "ela", "<mark>Élan</mark> vital"),
        ("filing a complaint", "files", "<mark>filing</mark> a complaint"),
        ("we are happy here", "happiness", "we are <mark>happy</mark> here"),
        ("call foo_bar() twice", "foo_bar", "call <mark>foo_bar</mark>() twice"),
    ],
)
async def test_words_of_every_script_are_found_and_marked(
    kevin: Person, cast: Cast, text: str, query: str, marked: str
) -> None:
    await kevin.say(cast.designers, "海上 夏の京都 울서 ยไท 版")
    await kevin.say(cast.designers, text)

    hits = await found(kevin, query)

    assert [hit["highlight_html"] for hit in hits] == [marked]


async def test_only_the_last_word_is_a_beginning_and_whole_words_come_first(
    kevin: Person, cast: Cast
) -> None:
    for text in ("deploy released", "deployment of release", "a deploy note"):
        await kevin.say(cast.designers, text)

    assert await texts_of(kevin, "deploy relea") == ["deploy released"]
    assert await texts_of(kevin, "deploy") == [
        "deploy released", "deployment of release", "a deploy note"
    ]  # fmt: skip
    assert await texts_of(kevin, "depl releas") == []


async def test_signs_alone_find_nothing_and_record_nothing(kevin: Person, cast: Cast) -> None:
    await kevin.say(cast.designers, "C++ and more")

    answer = (await kevin.get("/api/searches?q=%2B%2B")).json

    assert (answer["query"], answer["messages"], answer["has_before"]) == (None, [], False)
    assert (await kevin.post("/api/searches", {"q": "++"})).code == "validation_failed"
    page = (await kevin.get("/searches?q=%2B%2B")).boot
    assert (page["params"], page["data"]["search"]["query"]) == ({"q": "++"}, None)


def test_an_older_database_is_indexed_anew_where_words_have_no_spaces(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress((ROOT / "tests" / "databases" / "1.0.0.db.gz").read_bytes()))
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("UPDATE messages SET body_text = '我家 is home' WHERE id = 1")
        old.execute("UPDATE message_search_index SET body = '我家 is home' WHERE rowid = 1")
        kept = "SELECT rowid, body FROM message_search_index ORDER BY rowid"
        before = dict(old.execute(kept).fetchall())

        program.create_schema(old)

        assert dict(old.execute(kept).fetchall()) == before | {1: " 我  家  is home"}
        words = "SELECT rowid FROM message_search_index WHERE message_search_index MATCH '\"家\"'"
        assert old.execute(words).fetchall() == [(1,)]
        before_again = old.total_changes
        program.create_schema(old)
        assert old.total_changes == before_again


def test_stems_are_those_of_the_index_itself(place: Place) -> None:
    words = "running flies happy relational cafés Straße 上 _ ½ ...".split()

    assert [program.stem_of(word) for word in words] == [
        "run", "fli", "happi", "relat", "cafe", "straß", "上", "", "½", ""
    ]  # fmt: skip
    assert place.rows("SELECT count(*) FROM message_search_index") != []


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
    many = (await kevin.get(f"/api/searches?q={'run+' * 400}")).json
    assert (len(many["query"]), len(many["messages"])) == (999, 3)  # no half a word at its end


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
    await hide_needles(jz.server, 2_500)

    of_jz = (await jz.get("/api/searches?q=needle")).json["messages"]
    of_david = (await david.get("/api/searches?q=needle")).json["messages"]

    assert [hit["id"] for hit in of_jz] == [mine["id"]]
    assert len(of_david) == 100
    ids = [hit["id"] for hit in of_david]
    assert (ids, ids[0] > mine["id"] + 2300) == (sorted(ids), True)


@settings(max_examples=60)
@for_any(SAYINGS, QUERIES)
def test_a_search_finds_exactly_what_holds_all_its_words_and_never_fails(
    place: Place, cast: Cast, said: list[tuple[bool, list[str]]], query: str
) -> None:
    """Messages found by a query, against a scan for its stems."""
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

    cleaned = program.cleaned_query(query)
    hits = place.do(place.parts.db.read(program.hits_for, cast.kevin.id, cleaned)).messages

    words_only = all(word in FOUND_WORDS for word in query.split()) and query.strip()
    assert {hit["room_id"] for hit in hits} <= {mine}
    assert [hit["id"] for hit in hits] == sorted(hit["id"] for hit in hits)
    if words_only:
        assert [hit["id"] for hit in hits] == expected


async def test_a_search_asked_again_says_what_is_true_now(
    server: Server, kevin: Person, jz: Person, david: Person, cast: Cast
) -> None:
    path, shapes = f"/api/rooms/{cast.designers.id}/messages", server.parts.shapes
    kept, edited, removed = [await kevin.say(cast.designers, f"needle {n}") for n in range(3)]
    room, boosts = f"/api/rooms/closeds/{cast.designers.id}", f"/api/messages/{kept['id']}/boosts"
    members = [kevin.id, jz.id, david.id]

    async def asked() -> list[object]:
        answers = [(await each.get("/api/searches?q=needle")).json for each in (kevin, jz)]
        for person, answer in zip((kevin, jz), answers, strict=True):
            program.Shapes.__init__(shapes, shapes.signer)  # remembers nothing
            assert answer == (await person.get("/api/searches?q=needle")).json
        assert answers == [(await each.get("/api/searches?q=needle")).json for each in (kevin, jz)]
        return answers

    changes: list[Callable[[], Awaitable[Answer]]] = [
        lambda: kevin.put(f"{path}/{edited['id']}", {"body": "needle of another kind"}),
        lambda: kevin.delete(f"{path}/{removed['id']}"),
        lambda: david.put(f"/api/account/users/{jz.id}", {"role": "administrator"}),
        lambda: jz.post(boosts, {"content": "👍"}),
        lambda: kevin.put("/api/users/me/profile", {"name": "Kevin the Second"}),
        lambda: david.put(room, {"name": "Drawers", "user_ids": members}),
        lambda: jz.post(path, {"body": "one more needle", "client_message_id": "more"}),
        lambda: david.put(room, {"name": "Drawers", "user_ids": members[::2]}),
    ]
    before = await asked()
    for change in changes:
        assert (await change()).status in (200, 201, 204)
        after = await asked()
        assert after != before
        before = after


async def test_a_search_finds_edited_words_and_neither_deleted_ones_nor_markup(
    kevin: Person, cast: Cast
) -> None:
    path = f"/api/rooms/{cast.designers.id}/messages"
    edited = await kevin.say(cast.designers, "<strong>apple</strong>")
    deleted = await kevin.say(cast.designers, "banana")
    await kevin.put(f"{path}/{edited['id']}", {"body": "<strong>cherry</strong>"})
    await kevin.delete(f"{path}/{deleted['id']}")

    async def found(word: str) -> list[int]:
        answer = await kevin.get(f"/api/searches?q={word}")
        return [each["id"] for each in answer.json["messages"]]

    words = ("cherry", "apple", "banana", "strong", "div")
    assert [await found(word) for word in words] == [[edited["id"]], [], [], [], []]


async def hide_needles(server: Server, most: int) -> None:
    """So many messages that say `needle`, in the Watercooler, found by the index."""
    fill = """
        WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < :most)
        INSERT INTO messages (room_id, creator_id, client_message_id, body_html, body_text,
          created_at, updated_at)
        SELECT 3, 1, 'n' || n, 'needle', 'needle', 1e15 + n, 1e15 + n FROM counter
    """
    index = """
        INSERT INTO message_search_index (rowid, body, about)
        SELECT id, body, about FROM indexed
        WHERE id IN (SELECT id FROM messages WHERE client_message_id GLOB 'n[0-9]*')
    """
    await server.parts.db.write(
        lambda tx, _: tx.execute(fill, {"most": most}).rowcount + tx.execute(index).rowcount
    )


async def test_what_is_said_at_the_same_time_goes_into_the_index_in_one_piece(
    server: Server, cast: Cast
) -> None:
    """A segment for each message would have to be merged with the others, by later posts."""
    database, at = server.parts.db, cast.designers.id
    drafts = [
        program.DraftMessage(at, cast.kevin.id, f"m{number}", "<div>Good morning</div>")
        for number in range(3)
    ]

    async def segments() -> set[int]:
        sql = "SELECT segid FROM message_search_index_idx"
        return {segment for (segment,) in await database.read(lambda tx: program.rows(tx, sql))}

    before = await segments()
    posts = map(server.parts.messages.create_message_with_deduplication, drafts)
    posted = await asyncio.gather(*posts)

    assert all(each.fresh for each in posted)
    assert len(await segments() - before) == 1

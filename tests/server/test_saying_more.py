"""What a message says besides its words: that it was edited, that it is for everybody; and what a
room is about."""

import json

import pytest
from hypothesis import example, settings
from hypothesis import given as for_any
from hypothesis import strategies as st

import campfire as program
from tests.conftest import Place
from tests.support.asking import path_of, room_of, run
from tests.support.cable import Audience, Markup
from tests.support.cast import Cast, Person

EDITED = ("edited_at_ms", "edited_by")


async def test_an_edited_message_says_when_and_by_whom(
    david: Person, kevin: Person, cast: Cast
) -> None:
    message = await kevin.say(cast.designers, "the first draft")
    path = path_of(cast.designers, message["id"])
    assert [message[name] for name in EDITED] == [None, None]

    by_author = (await kevin.put(path, {"body": "the second draft"})).json["message"]
    assert by_author["edited_at_ms"] == by_author["updated_at_ms"] > message["timestamp"]
    assert by_author["edited_by"] == {"id": cast.kevin.id, "name": "Kevin"}

    by_another = (await david.put(path, {"body": "what David made of it"})).json["message"]
    assert by_another["edited_by"] == {"id": cast.david.id, "name": "David"}
    assert by_another["edited_at_ms"] >= by_author["edited_at_ms"]
    assert by_another["creator"]["name"] == "Kevin"
    page = (await kevin.get(path_of(cast.designers))).json["messages"]
    assert [page[-1][name] for name in EDITED] == [by_another[name] for name in EDITED]


async def test_nothing_but_other_words_makes_a_message_edited(
    kevin: Person, jz: Person, cast: Cast
) -> None:
    message = await kevin.say(cast.designers, "as <b>it</b> is")
    path = path_of(cast.designers, message["id"])

    await jz.post(f"/api/messages/{message['id']}/boosts", {"content": "👍"})
    same = (await kevin.put(path, {"body": message["body_html"]})).json["message"]
    assert [same[name] for name in EDITED] == [None, None]
    other = (await kevin.put(path, {"body": "as it is"})).json["message"]
    again = (await kevin.put(path, {"body": "as it is"})).json["message"]
    assert other["edited_at_ms"] == again["edited_at_ms"] < again["updated_at_ms"]


async def test_whoever_edited_is_called_as_they_are_called_now(
    david: Person, kevin: Person, cast: Cast
) -> None:
    message = await kevin.say(cast.designers, "draft")
    path = path_of(cast.designers, message["id"])
    await david.put(path, {"body": "final"})

    await david.put("/api/users/me/profile", {"name": "David <H>"})

    page = (await kevin.get(path_of(cast.designers))).json["messages"]
    assert page[-1]["edited_by"] == {"id": cast.david.id, "name": "David <H>"}


async def test_everybody_who_looks_hears_that_a_message_was_edited(
    audience: Audience, cast: Cast
) -> None:
    jason, david = audience.people["jason"], audience.people["david"]
    message = await jason.say(cast.watercooler, "one")
    path = path_of(cast.watercooler, message["id"])
    await audience.heard()

    edited = (await david.put(path, {"body": "two"})).json["message"]

    [frame] = await audience.heard_by("david", "jason")
    told = json.loads(Markup(frame).all("data-json")[0][0]["data-json"])
    assert [told[name] for name in EDITED] == [edited[name] for name in EDITED]
    assert told["edited_by"]["name"] == "David"


# --- @everyone ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "is_call"),
    [
        ("@everyone lunch", True), ("<div>Lunch, @Everyone!</div>", True),
        ("so<br>(@everyone)", True), ("<blockquote>one</blockquote>@everyone", True),
        ("everyone", False), ("@everyones", False), ("me@everyone.com", False),
        ("@everyone.example.com", False), ("@@everyone", False), ("@everyone@example.com", False),
        ("<blockquote>@everyone <blockquote>x</blockquote> @everyone</blockquote>no", False),
        ("<pre>@everyone</pre>", False), ("write <code>@everyone</code>", False),
    ],
)  # fmt: skip
async def test_everyone_is_called_by_a_word_of_ones_own(
    david: Person,
    cast: Cast,
    body: str,
    is_call: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    message = await david.say(cast.designers, body)
    stored = (await david.get(path_of(cast.designers, message["id"]))).json["message"]

    assert message["to_everyone"] is stored["to_everyone"] is is_call
    assert message["mentionee_ids"] == []


async def test_who_made_a_room_and_administrators_call_everyone_and_nobody_else(
    david: Person, jz: Person, kevin: Person, cast: Cast
) -> None:
    made = await kevin.post("/api/rooms/closeds", {"name": "X", "user_ids": [jz.id, david.id]})
    room = await kevin.server.parts.db.read(
        lambda tx: program.membership_of(tx, cast.kevin.id, made.json["room"]["id"]).room
    )

    async def may(person: Person) -> bool:
        query = f"/api/autocompletable/users?query=every&room_id={room.id}"
        offered = (await person.get(query)).json["everyone"]
        assert (await person.say(room, "@everyone hi"))["to_everyone"] is offered
        return bool(offered)

    assert [await may(person) for person in (kevin, david, jz)] == [True, True, False]
    assert (await kevin.get("/api/autocompletable/users?query=every")).json["everyone"] is False


async def test_a_room_of_more_than_two_hundred_people_is_not_called(
    david: Person, cast: Cast
) -> None:
    sql = "INSERT INTO users (name, created_at, updated_at) VALUES ('P' || :n, 1, 1)"
    many = [{"n": n} for n in range(201 - 5)]
    await david.server.parts.db.write(lambda tx, _: tx.executemany(sql, many).rowcount)
    await david.put(f"/api/rooms/opens/{cast.hq.id}", {"name": "HQ"})

    assert (await david.say(cast.hq, "@everyone"))["to_everyone"] is False
    await run(david.server, "DELETE FROM memberships WHERE user_id = (SELECT max(id) FROM users)")
    assert (await david.say(cast.hq, "@everyone"))["to_everyone"] is True


async def test_an_edit_calls_everyone_as_its_author_may(
    david: Person, jz: Person, cast: Cast
) -> None:
    own, other = await david.say(cast.designers, "hi"), await jz.say(cast.designers, "hi")
    called = [
        (await david.put(path_of(cast.designers, message["id"]), {"body": body})).json["message"]
        for message, body in ((own, "hi @everyone"), (other, "hi @everyone"), (own, "hi"))
    ]
    assert [message["to_everyone"] for message in called] == [True, False, False]


async def test_a_call_to_everyone_counts_as_a_mention_of_each_until_they_have_read(
    david: Person, jz: Person, kevin: Person, cast: Cast
) -> None:
    tab = await jz.welcomed()
    await tab.subscribe(channel="UnreadRoomsChannel")

    for words in ("@everyone one", "@everyone two"):
        await david.say(cast.designers, words)
    await kevin.say(cast.designers, "@everyone, says nobody")

    frame = {"roomId": cast.designers.id}
    assert await tab.drain() == [{**frame, "mention": True}, {**frame, "mention": True}, frame]
    for person, times in ((jz, 2), (kevin, 2), (david, 0)):
        assert (await room_of(person, cast.designers.id))["mentions"] == times
    await tab.subscribe(channel="PresenceChannel", room_id=cast.designers.id)
    assert (await room_of(jz, cast.designers.id))["mentions"] == 0


# --- What a room is about -------------------------------------------------------------------------


async def test_a_room_has_a_topic_which_everybody_in_it_hears_of(
    jason: Person, jz: Person, kevin: Person, cast: Cast
) -> None:
    path, tab = f"/api/rooms/closeds/{cast.designers.id}", await jz.sidebar_tab()
    members = {"user_ids": [cast.david.id, cast.jz.id, cast.kevin.id]}
    assert (await room_of(jz, cast.designers.id))["topic"] is None

    given = {"name": "Designers", "topic": "  Type,\n  colour & <b>space</b> ", **members}
    saved = (await jason.put(path, given)).json["room"]

    assert saved["topic"] == "Type, colour & <b>space</b>"
    assert (await room_of(kevin, cast.designers.id))["topic"] == saved["topic"]
    frame = (await tab.drain())[-1]
    told = json.loads(Markup(frame).all("data-json")[0][0]["data-json"])
    assert (told["id"], told["topic"]) == (cast.designers.id, saved["topic"])
    kept = (await jason.put(path, {"name": "Design", **members})).json["room"]
    assert kept["topic"] == saved["topic"]  # as clients that know of none leave it
    assert (await jason.put(path, given | {"topic": " "})).json["room"]["topic"] is None
    assert (await jz.put(path, given)).status == 403


async def test_a_new_room_may_have_a_topic_and_a_ping_has_none(kevin: Person, cast: Cast) -> None:
    for kind in ("opens", "closeds"):
        made = await kevin.post(f"/api/rooms/{kind}", {"name": "New", "topic": "é" * 200})
        assert (made.status, made.json["room"]["topic"]) == (201, "é" * 200)
    plain = await kevin.post("/api/rooms/opens", {"name": "New"})
    assert plain.json["room"]["topic"] is None
    assert (await room_of(kevin, cast.david_and_kevin.id))["topic"] is None


async def test_a_topic_that_is_too_long_or_no_text_is_refused(kevin: Person, david: Person) -> None:
    room = (await kevin.post("/api/rooms/opens", {"name": "New", "topic": "old"})).json["room"]
    for topic, reason in (
        ("x" * 201, "is too long (maximum is 200 characters)"), (["x"], "is invalid"),
    ):  # fmt: skip
        given = {"name": "Other", "topic": topic}
        for answer in (
            await kevin.post("/api/rooms/opens", given),
            await david.put(f"/api/rooms/opens/{room['id']}", given),
        ):
            assert (answer.status, answer.code) == (422, "validation_failed")
            assert answer.json["error"]["fields"] == {"topic": [reason]}
    assert (await room_of(kevin, room["id"]))["topic"] == "old"


TOPICS = st.text(st.characters(codec="utf-8"), max_size=220)


@settings(max_examples=60)
@for_any(TOPICS, TOPICS)
@example("\0", "\u2028")
@example(" " * 300 + "x", "")
def test_whatever_topic_is_given_it_is_one_line_of_at_most_200_characters(
    place: Place, cast: Cast, first: str, second: str
) -> None:
    made: program.Room | None = None
    for topic in (first, second):
        try:
            if made is None:
                creating = place.rooms.create(cast.david, program.RoomType.OPEN, "R", (), topic)
                made = place.do(creating).room
            else:
                kind = program.RoomType.CLOSED
                made = place.do(place.rooms.save(cast.david, made.id, kind, "R", (), topic)).room
        except program.ValidationFailed:
            assert len(topic) > 200
            continue
        shown = made.topic or ""
        assert len(shown) <= 200
        assert shown == " ".join(shown.split())
        assert shown.splitlines() in ([], [shown])
        assert set(shown.split()) <= set(program.without_controls(topic).split())

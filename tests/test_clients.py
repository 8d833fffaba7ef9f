"""What clients make of us: the official packages, one that loses its line, and what all rely on."""

import asyncio
import json
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from playwright.async_api import expect

import campfire as program
from campfire import Room
from tests.cast import SESAME, Cast, Person, Server, Start, start_server
from tests.conftest import Place, Template
from tests.machines import House
from tests.readers import (
    TYPING,
    Reader,
    caught_up,
    happen,
    node_client,
    seen,
    turbo_page,
)
from tests.test_channels import element, messages_of, turbo

# --- @rails/actioncable --------------------------------------------------------------------------


async def test_the_official_client_is_confirmed_rejected_told_and_sent_away(
    kevin: Person, designers: Room, watercooler: Room
) -> None:
    async with node_client(kevin) as client:
        client.tell("subscribe", "room", params=messages_of(kevin.server, designers))
        assert await client.hears() == ("room", "connected", False)
        client.tell("subscribe", "foreign", params=messages_of(kevin.server, watercooler))
        assert await client.hears() == ("foreign", "rejected", None)
        client.tell("subscribe", "typing", params={"channel": TYPING, "room_id": designers.id})
        assert await client.hears() == ("typing", "connected", False)

        markup = await element(kevin.server, await kevin.say(designers, "hello"), "Designers")
        append = turbo("append", f"messages_room_{designers.id}", markup)
        assert await client.hears() == ("room", "received", append)
        client.tell("unsubscribe", "room")
        client.tell("perform", "typing", action="start", data={})
        start = {"action": "start", "user": {"id": kevin.id, "name": "Kevin"}}
        assert await client.hears() == ("typing", "received", start)
        await kevin.say(designers, "nobody hears this but the typist stops")
        assert await client.hears() == ("typing", "received", {**start, "action": "stop"})

        await kevin.delete("/api/session")
        assert await client.hears() == ("typing", "disconnected", False)


async def test_the_official_client_comes_back_after_a_restart_and_catches_up(
    start: Start, cast: Cast
) -> None:
    server = await start()
    kevin, port = await server.sign_in(cast.kevin), server.host.split(":")[1]

    async with node_client(kevin) as client:
        client.tell("subscribe", "room", params=messages_of(server, cast.designers))
        assert await client.hears() == ("room", "connected", False)
        await server.stop()
        assert await client.hears() == ("room", "disconnected", True)

        again = await start(PORT=port)
        jz = await again.sign_in(cast.jz)
        said = await jz.say(cast.designers, "while you were away")
        client.tell("look")  # the tab comes to the front, which is when the client looks
        assert (await client.hears())[:2] == ("room", "connected")
        since = said["timestamp"]
        seen = {"last_seen_message_id": said["id"] - 1, "since": since}
        client.tell("perform", "room", action="catch_up", data=seen)

        markup = await element(again, said, "Designers")
        append = turbo("append", f"messages_room_{cast.designers.id}", markup)
        assert await client.hears() == ("room", "received", append)
        caught_up = (await client.hears())[2]
        moment = caught_up.pop("server_time_ms")
        done = {"action": "caught_up", "last_seen_message_id": said["id"], "reset": False}
        assert caught_up == done
        assert moment >= since


# --- @hotwired/turbo -----------------------------------------------------------------------------


async def test_turbo_applies_every_kind_of_frame_to_a_page(
    server: Server, kevin: Person, jason: Person, designers: Room
) -> None:
    sidebar = {"channel": "Turbo::StreamsChannel",
               "signed_stream_name": server.parts.signer.stream("rooms")}  # fmt: skip
    path = f"/api/rooms/{designers.id}/messages"
    async with turbo_page(kevin, messages_of(server, designers), sidebar) as page:
        lists = f'<div id="messages_room_{designers.id}"></div><nav id="shared_rooms">old</nav>'
        await page.evaluate("lists => document.body.insertAdjacentHTML('beforeend', lists)", lists)
        texts = page.locator(".message .trix-content")
        body = '<b>hi</b> &amp; <img src=x onerror="document.title=1">'

        shape = (await jason.post(path, {"body": body, "client_message_id": "a1"})).json["message"]
        await kevin.say(designers, "you too", "a2")
        await expect(texts).to_have_text(["hi &", "you too"])
        await jason.put(f"{path}/{shape['id']}", {"body": "hello"})
        await expect(texts).to_have_text(["hello", "you too"])
        boosts = f"/api/messages/{shape['id']}/boosts"
        boost = (await kevin.post(boosts, {"content": "well said"})).json["boost"]
        await expect(page.locator("#boosts_message_a1 .boost")).to_have_text(["well said"])
        await kevin.delete(f"{boosts}/{boost['id']}")
        await expect(page.locator(".boost")).to_have_count(0)
        await jason.delete(f"{path}/{shape['id']}")
        await expect(texts).to_have_text(["you too"])

        room = (await jason.post("/api/rooms/opens", {"name": "News"})).json["room"]
        await expect(page.locator("#shared_rooms")).to_have_text("Newsold")
        await jason.put(f"/api/rooms/opens/{room['id']}", {"name": "Olds"})
        await expect(page.locator("#shared_rooms")).to_have_text("Oldsold")
        await jason.delete(f"/api/rooms/{room['id']}")
        await expect(page.locator("#shared_rooms")).to_have_text("old")
        assert await page.title() == ""


# --- A client that loses its connection ----------------------------------------------------------

deeds = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "edit", "delete", "boost", "unboost"]), st.integers(0, 5)
    ),
    max_size=7,
)


@settings(max_examples=80)
@given(deeds, deeds, st.integers(0, 8), deeds, deeds, deeds)
def test_whoever_loses_their_connection_ends_with_exactly_what_the_server_has(
    place: Place,
    before: list[tuple[str, int]],
    live: list[tuple[str, int]],
    lost: int,
    away: list[tuple[str, int]],
    between: list[tuple[str, int]],
    meanwhile: list[tuple[str, int]],
) -> None:
    cast = place.cast
    room = place.room(cast.jz, cast.kevin)

    async def story() -> None:
        jz, kevin = [await place.server.sign_in(user) for user in (cast.jz, cast.kevin)]

        async def happening(chapter: Sequence[tuple[str, int]]) -> None:
            for deed in chapter:
                await happen(jz, room, deed)

        await happening(before)
        reader, fresh = Reader(kevin, room), Reader(kevin, room)
        await reader.load()
        await asyncio.gather(happening(live), reader.listen(happening(between[:2])))
        await reader.lose_connection(lost)
        await happening(away)
        await asyncio.gather(happening(meanwhile), reader.listen(happening(between)))
        await reader.catch_breath()
        await fresh.load()

        shown = sorted(reader.shown.values(), key=lambda each: (each["sort_value"], each["id"]))
        assert list(map(seen, shown)) == list(map(seen, fresh.shown.values()))
        await asyncio.gather(jz.http.close(), kevin.http.close())

    place.do(story())


async def test_a_catch_up_brings_the_missed_then_the_changed_then_the_removed_and_says_so(
    server: Server, kevin: Person, david: Person, designers: Room
) -> None:
    bystander = await david.room_tab(designers)
    path = f"/api/rooms/{designers.id}/messages"
    old = [await kevin.say(designers, f"old {n}", f"o{n}") for n in range(4)]
    since = old[-1]["timestamp"]
    missed = [await kevin.say(designers, f"new {n}", f"n{n}") for n in range(85)]
    await kevin.put(f"{path}/{old[1]['id']}", {"body": "edited"})
    await kevin.post(f"/api/messages/{old[0]['id']}/boosts", {"content": "+1"})
    for gone in (old[2], missed.pop(50)):
        await kevin.delete(f"{path}/{gone['id']}")
    await bystander.drain()

    *frames, done = await caught_up(kevin, designers, old[-1]["id"], since)

    elements = [await element(server, each, "Designers") for each in missed]
    target = f"messages_room_{designers.id}"
    changed = [await element(server, old[n], "Designers") for n in (3, 1, 0)]
    assert frames == [
        *(turbo("append", target, "".join(elements[n : n + 40])) for n in (0, 40, 80)),
        *(
            turbo("replace", f"message_o{n}", each)
            for n, each in zip((3, 1, 0), changed, strict=True)
        ),
        turbo("remove", "message_o2"),
    ]
    moment = done.pop("server_time_ms")
    newest = missed[-1]["id"]
    assert done == {"action": "caught_up", "last_seen_message_id": newest, "reset": False}
    assert since <= moment
    assert await bystander.drain() == []
    unusable: list[object] = [-1, "1", 1.5, [], True, 10**18]
    for last_seen in unusable:
        assert await caught_up(kevin, designers, last_seen, 0) == []
    for since in (None, "0", -1, 0.5, False, 10**15):
        assert await caught_up(kevin, designers, 1, since) == []


async def test_too_much_or_too_old_is_a_refresh(kevin: Person, designers: Room) -> None:
    refresh = '<turbo-stream action="refresh"></turbo-stream>'
    first = await kevin.say(designers, "first")
    now, week_ms = first["timestamp"], 7 * 24 * 3600 * 1000

    frames = await caught_up(kevin, designers, None, now - week_ms - 60_000)
    assert frames[0] == refresh
    assert frames[1]["reset"] is True
    assert len(await caught_up(kevin, designers, None, now - week_ms + 60_000)) == 2

    insert = """
        INSERT INTO messages
          (room_id, creator_id, client_message_id, body_html, body_text, created_at, updated_at)
        VALUES (:room, :by, 'long-' || :at, :text, :text, :at, :at)
    """
    many = [{"room": designers.id, "by": kevin.id, "text": "word " * 3_000, "at": now * 1000 + n}
            for n in range(1_000, 1_300)]  # fmt: skip
    await kevin.server.parts.db.write(lambda tx, _: tx.executemany(insert, many).rowcount)
    *frames, done = await caught_up(kevin, designers, first["id"], now + 1)
    assert (len(frames), done["reset"]) == (8, False)
    frames = await caught_up(kevin, designers, first["id"] - 1, now + 1)
    assert (frames[0], frames[1]["reset"], len(frames)) == (refresh, True, 2)

    tab, stream = await kevin.room_tab(designers), messages_of(kevin.server, designers)
    seen_now = {"last_seen_message_id": first["id"], "since": now + 1}
    await tab.perform(json.dumps(stream), "catch_up", **seen_now)
    path = f"/api/rooms/{designers.id}/messages/{first['id'] + 1}"
    await kevin.put(path, {"body": "edited meanwhile"})
    frames = await tab.drain()  # the edit comes behind what it changes, or is in it already
    edits = [n for n, frame in enumerate(frames) if "edited meanwhile" in frame]
    assert edits[-1] in (0, len(frames) - 1)
    assert isinstance(frames[8], dict)


# --- What all of them rely on --------------------------------------------------------------------


@settings(max_examples=20)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 3))
def test_of_any_sendings_at_once_each_is_stored_rendered_and_told_once_in_order(
    place: Place, cast: Cast, crowds: list[int], listeners: int
) -> None:
    room = replace(cast.hq, id=place.room(cast.kevin))
    sends = [{"client_message_id": f"c{n}", "body": "hi"}
             for n, times in enumerate(crowds) for _ in range(times)]  # fmt: skip

    async def story() -> None:
        kevin = await place.server.sign_in(cast.kevin)
        tabs = [await kevin.room_tab(room) for _ in range(listeners)]
        await kevin.csrf()
        before, path = place.parts.shapes.renderings, f"/api/rooms/{room.id}/messages"
        answers = await asyncio.gather(*(kevin.post(path, each) for each in sends))
        statuses = [201] * len(crowds) + [200] * (len(sends) - len(crowds))
        assert sorted(each.status for each in answers) == sorted(statuses)
        heard = [await tab.drain() for tab in tabs]
        ids = [int(re.findall(r'data-message-id="(\d+)"', frame)[0]) for frame in heard[0]]
        assert ids == sorted({each.json["message"]["id"] for each in answers})
        assert heard == [heard[0]] * listeners
        assert place.parts.shapes.renderings == before + len(crowds)
        await kevin.__aexit__()

    place.do(story())


@settings(max_examples=30)
@given(st.integers(0, 30), st.lists(st.integers(1, 9_000), min_size=1, max_size=6))
def test_however_little_room_a_disk_has_a_message_is_stored_whole_or_not_at_all(
    place: Place, cast: Cast, left: int, sizes: list[int]
) -> None:
    room, kept = place.room(cast.kevin, cast.jz), []
    [(pages,)] = place.rows("PRAGMA page_count")
    place.run(f"PRAGMA max_page_count = {pages + left}")
    for size in sizes:
        with suppress(program.StorageError):
            words = place.mention(cast.jz) + "word " * size
            kept.append(place.post(cast.kevin, room, words).message)
    place.run("PRAGMA max_page_count = 1000000")
    whole = """
        SELECT id, body_text = (SELECT body FROM message_search_index WHERE rowid = messages.id),
          (SELECT group_concat(user_id) FROM mentions WHERE message_id = messages.id)
        FROM messages WHERE room_id = :room ORDER BY id
    """
    assert place.rows(whole, room=room) == [(each.id, 1, str(cast.jz.id)) for each in kept]
    moved = "SELECT unread_at FROM memberships WHERE room_id = :room AND user_id = :jz"
    last = kept[-1].created_at if kept else None
    assert place.rows(moved, room=room, jz=cast.jz.id) == [(last,)]
    [(at,)] = place.rows("SELECT updated_at FROM rooms WHERE id = :room", room=room)
    assert not kept or at == last


@given(st.integers(0, 4), st.integers(0, 4), st.tuples(st.booleans(), st.booleans()))
def test_only_the_author_or_an_administrator_inside_changes_a_message(
    place: Place, cast: Cast, author: int, actor: int, choice: tuple[bool, bool]
) -> None:
    is_inside, edits = choice
    by, who, messages = cast.everybody[author], cast.everybody[actor], place.messages
    room = place.room(by, *(each for each in cast.everybody if each != who or is_inside))
    said = place.post(by, room, "mine").message.id
    everything = "SELECT * FROM messages JOIN rooms ON rooms.id = room_id WHERE room_id = :room"
    before = place.rows(everything, room=room)
    work: Any = messages.update(who, room, said, "x") if edits else messages.delete(who, room, said)
    is_in = is_inside or who == by
    if is_in and (who == by or who.is_administrator):
        place.do(work)
        assert place.rows(everything, room=room) != before
    else:
        with pytest.raises(program.Forbidden if is_in else program.RoomNotFound):
            place.do(work)
        assert place.rows(everything, room=room) == before


DEEDS = st.lists(
    st.tuples(st.sampled_from("say say edit delete ban unban room".split()), st.integers(0, 9)),
    max_size=20,
)


@settings(max_examples=40)
@given(DEEDS)
def test_the_search_index_holds_exactly_what_is_there_whatever_is_deleted_or_banned(
    place: Place, cast: Cast, deeds: list[tuple[str, int]]
) -> None:
    people, messages = place.parts.people, place.messages
    rooms, known = [place.room(cast.david, cast.kevin, cast.jz) for _ in range(2)], []
    for what, n in deeds:
        room, david, kevin = rooms[n % 2], cast.david, cast.kevin
        works: list[Any] = []
        if what == "say":
            with suppress(program.RoomNotFound):  # as it is for the banned
                said = place.post((david, kevin)[n % 2], room, f"word {n}").message.id
                known.append((room, said))
        elif what in ("edit", "delete") and known:
            where, said = known[n % len(known)]
            is_edit = what == "edit"
            works = [messages.update(david, where, said, "new") if is_edit
                     else messages.delete(david, where, said)]  # fmt: skip
        elif what == "ban":  # the removal is cut short
            works = [people.ban(david, kevin.id), *(people.bury_oldest(kevin.id) for _ in "ab"[n:])]
        elif what == "unban":
            works = [people.unban(kevin.id)]
        elif what == "room":
            works = [place.rooms.delete(david, room)]
            rooms[n % 2] = place.room(david, kevin)
        for work in works:
            with suppress(program.MessageNotFound, program.RoomNotFound):
                place.do(work)
        indexed = place.rows("SELECT rowid, body FROM message_search_index ORDER BY rowid")
        assert indexed == place.rows("SELECT id, body_text FROM messages ORDER BY id")
    place.do(people.unban(cast.kevin.id))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 14), max_size=40))
def test_whatever_is_searched_the_ten_searches_last_used_are_remembered(
    place: Place, cast: Cast, numbers: list[int]
) -> None:
    search, jz = place.parts.search, cast.jz.id
    place.do(search.clear(jz))
    for n in numbers:
        place.do(search.record(jz, f"word {n}"))
    _, recent = place.do(search.search_messages(jz, ""))
    expected = list(dict.fromkeys(reversed(numbers)))[:10]
    assert [each.query for each in recent] == [f"word {n}" for n in expected]


class HouseWithBots(House):
    @rule()
    def a_bot_is_made(self) -> None:
        bot = self.place.do(self.place.parts.bots.create("Bot", ""))
        self.people.append(self.place.do(self.place.parts.users.by_id(bot.user.id)))
        for room, kind in self.types.items():
            self.let_in(room, [bot.user.id] if kind == "open" else [])


def test_rooms_hold_whom_they_should_bots_included(template: Template) -> None:
    run_state_machine_as_test(
        lambda: HouseWithBots(template),  # type: ignore[arg-type]  # as hypothesis documents it
        settings=settings(max_examples=15, stateful_step_count=20),
    )


@settings(max_examples=15)
@given(st.integers(0, 3), st.integers(0, 8), st.integers(1, 3))
def test_whoever_is_put_out_of_a_room_hears_nothing_said_after_it(
    place: Place, cast: Cast, before: int, at_once: int, after: int
) -> None:
    room = replace(cast.hq, id=place.room(cast.jz, cast.kevin))

    async def story() -> None:
        jz, kevin = [await place.server.sign_in(each) for each in (cast.jz, cast.kevin)]
        tab, heard = await kevin.room_tab(room), ""
        for n in range(before):
            await jz.say(room, f"before {n}")
        out = jz.put(f"/api/rooms/closeds/{room.id}", {"name": "Us", "user_ids": []})
        saved, *said = await asyncio.gather(out, *(jz.say(room, "now") for _ in range(at_once)))
        with suppress(ConnectionError):
            while frame := await tab.next_frame():
                heard += str(frame.get("message", ""))
        end = saved.json["room"]["updated_at_ms"]
        later = [each["id"] for each in said if each["timestamp"] > end]
        assert [each for each in later if f'data-message-id="{each}"' in heard] == []
        back, signed = await kevin.welcomed(), place.parts.signer.stream(f"room_{room.id}:messages")
        refused = await back.ask(channel="RoomMessagesChannel", signed_stream_name=signed)
        assert refused["type"] == "reject_subscription"
        for n in range(after):
            await jz.say(room, f"after {n}")
        assert await back.drain() == []
        await asyncio.gather(jz.__aexit__(), kevin.__aexit__())

    place.do(story())


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=20))
def test_a_session_lives_until_it_is_ended_and_its_token_is_stored_nowhere(
    place: Place, cast: Cast, deeds: list[tuple[bool, int]]
) -> None:
    lives: dict[program.RawToken, bool] = {}
    for begins, n in deeds:
        if begins:
            token = place.do(place.auth.start_session(cast.jz.id, "127.0.0.1", "x"))
            assert token not in lives
            assert len(program.from_base64(token)) == 32  # 256 bits
            lives[token] = True
        elif lives:
            token = list(lives)[n % len(lives)]
            if viewer := place.do(place.auth.session_for(token)):
                place.do(place.auth.end_session(viewer.session, None))
            lives[token] = False
    for token, is_alive in lives.items():
        assert (place.do(place.auth.session_for(token)) is not None) == is_alive
    kept = str(place.rows("SELECT * FROM sessions"))
    assert [token for token in lives if token in kept] == []


TRIES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2_000)), max_size=80)


@given(TRIES)
@example([("a", 0)] * 12)
@example([("a", 163)] * 24)
def test_no_three_minutes_of_an_address_let_more_than_ten_tries_through(
    tries: list[tuple[str, int]],
) -> None:
    tenths, windows = 0, {"a": [(-10_000, 0)], "b": [(-10_000, 0)]}
    limiter = program.TryLimiter(lambda: tenths / 10)
    for address, wait in tries:
        tenths += wait if wait > 200 else wait // 10  # often many in one window
        began, count = windows[address][-1]
        if tenths - began >= 1_800:
            windows[address].append((tenths, 0))
            began, count = tenths, 0
        if count < 10:
            limiter.count(address)
            windows[address][-1] = began, count + 1
            continue
        with pytest.raises(program.RateLimited) as refused:
            limiter.count(address)
        assert 0 <= refused.value.retry_after * 10 - (began + 1_800 - tenths) < 10
    for used in windows.values():
        assert all(count <= 10 for _, count in used)
        assert all(later - earlier >= 1_800 for (earlier, _), (later, _) in pairwise(used))


@settings(max_examples=8)
@given(st.integers(2, 20))
@example(50)
def test_of_any_number_of_first_runs_at_once_exactly_one_wins(tries: int) -> None:
    async def story(folder: str) -> None:
        server = await start_server(Path(folder) / "campfire.db")
        run = server.parts.auth.first_run
        works = [run("David", f"david{n}@example.com", SESAME) for n in range(tries)]
        outcomes = await asyncio.gather(*works, return_exceptions=True)
        kinds = [type(each) for each in outcomes]
        assert (kinds.count(program.User), kinds.count(program.AlreadySetUp)) == (1, tries - 1)
        tables = ("accounts", "users", "rooms", "memberships")
        sql = "SELECT " + ", ".join(f"(SELECT count(*) FROM {each})" for each in tables)  # noqa: S608
        assert tuple(await server.parts.db.read(lambda tx: program.one(tx, sql))) == (1, 1, 1, 1)
        await server.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(folder))

"""Coming back: what was missed, what changed and what went, and when it is too much."""

import json

from campfire import Room
from tests.support.asking import ids, path_of
from tests.support.cable import (
    caught_up,
    element,
    fill,
    masked,
    messages_of,
    subscribed_wire,
    turbo,
    wired,
)
from tests.support.cast import Cast, Person, Server


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

    await fill(kevin, designers, first)
    *frames, done = await caught_up(kevin, designers, first["id"], now + 1)
    brought = [frame.count('data-client-message-id="long-') for frame in frames]
    assert (sum(brought), done["reset"]) == (300, False)
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
    assert sum(isinstance(frame, dict) for frame in frames) == 1


async def test_a_refresh_brings_what_changed_since(david: Person, cast: Cast) -> None:
    old, removed, boosted = cast.ten_messages[:3]
    path = f"/api/rooms/{cast.watercooler.id}/refresh"
    loaded = (await david.get(f"/api/rooms/{cast.watercooler.id}")).json["loaded_at_ms"]
    await david.put(path_of(cast.watercooler, old.id), {"body": "edited"})
    await david.delete(path_of(cast.watercooler, removed.id))
    await david.post(f"/api/messages/{boosted.id}/boosts", {"content": "x"})
    fresh = await david.say(cast.watercooler, "fresh")

    since = (await david.get(f"{path}?since={loaded}")).json
    seen = (await david.get(f"{path}?since={loaded}&last_seen_message_id=10")).json

    for news in (since, seen):
        assert ids(news) == [fresh["id"]]
        assert sorted(each["id"] for each in news["updated"]) == [old.id, boosted.id]
        assert news["removed"] == [
            {"id": removed.id, "client_message_id": removed.client_message_id}
        ]
        assert news["reset"] is False
        assert news["server_time_ms"] >= loaded
    for wrong in ("", "?since=", "?since=x", "?since=1.5", "?since=-1"):
        assert (await david.get(path + wrong)).code == "bad_request"


async def test_a_catch_up_reaches_a_slow_reader_whole_however_much_it_is(
    server: Server, kevin: Person, designers: Room
) -> None:
    first = await kevin.say(designers, "first")
    await fill(kevin, designers, first)
    identifier = json.dumps(messages_of(server, designers))
    seen = {"last_seen_message_id": first["id"] + 1, "since": first["timestamp"] + 1}
    asked = {"action": "catch_up", **seen}
    command = {"command": "message", "identifier": identifier, "data": json.dumps(asked)}
    async with wired(kevin) as (_, wire):
        await subscribed_wire(wire, identifier)
        await wire.say(masked(0x81, json.dumps(command).encode()))
        await kevin.say(designers, "meanwhile")  # and nobody reads; it may be the 300th missed
        wire.transport.resume_reading()

        brought = 0
        while isinstance(told := json.loads((await wire.frame())[1])["message"], str | int):
            brought += str(told).count('data-client-message-id="long-')

    assert (told["action"], brought) == ("caught_up", 300)
    assert server.parts.sockets.slow == 0

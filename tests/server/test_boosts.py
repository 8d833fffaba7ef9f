"""Boosts, as those hear them who do not see them."""

from campfire import Room
from tests.support.asking import path_of
from tests.support.cast import Cast, Person


async def test_the_label_of_a_boost_names_the_person_and_not_their_initials(
    david: Person, jason: Person, cast: Cast
) -> None:
    await jason.put("/api/users/me/profile", {"name": "Jay <Zee>"})
    tab, path = await david.room_tab(cast.watercooler), path_of(cast.watercooler)
    posted = (await david.post(path, {"body": "hi"})).json["message"]

    await jason.post(f"/api/messages/{posted['id']}/boosts", {"content": "🎉"})

    frame = (await tab.drain())[-1]
    assert '"Jay &lt;Zee&gt; boosted 🎉"' in frame
    assert "JZ boosted" not in frame


async def test_a_boost_comes_and_goes_in_a_frame(kevin: Person, jz: Person, cast: Cast) -> None:
    message = await kevin.say(cast.designers, "boost me", "star")
    tab, path = await kevin.room_tab(cast.designers), f"/api/messages/{message['id']}/boosts"

    made = await jz.post(path, {"content": "  \U0001f389 "})
    boost = made.json["boost"]
    listed = (await kevin.get(path)).json
    gone = await jz.delete(f"{path}/{boost['id']}")

    assert (made.status, gone.status) == (201, 204)
    assert set(boost) == {"id", "message_id", "content", "emoji_only", "booster", "created_at"}
    assert (boost["content"], boost["emoji_only"]) == ("\U0001f389", True)
    assert (boost["message_id"], boost["booster"]["name"]) == (message["id"], "JZ")
    assert listed == {"boosts": [boost]}
    appended, removed = await tab.drain()
    assert appended.startswith(
        '<turbo-stream maintain_scroll="true" action="append" target="boosts_message_star">'
        f'<template><div id="boost_{boost["id"]}" class="boost"'
    )
    assert removed == f'<turbo-stream action="remove" target="boost_{boost["id"]}"></turbo-stream>'
    assert (await kevin.get(path)).json == {"boosts": []}
    after = (await kevin.get(path_of(cast.designers, message["id"]))).json["message"]
    room = (await kevin.get(f"/api/rooms/{cast.designers.id}")).json["room"]
    assert after["updated_at_ms"] >= message["updated_at_ms"]
    assert room["updated_at"] == after["updated_at"]


async def test_a_boost_has_one_to_sixteen_characters(jz: Person, david: Person, cast: Cast) -> None:
    message = await jz.say(cast.designers, "boost me")
    path = f"/api/messages/{message['id']}/boosts"

    for content in ("x" * 16, "\U0001f389" * 16, "x" * 16):
        assert (await jz.post(path, {"content": content})).status == 201
    for wrong, code in (
        ("", "boost_blank"), (" \n", "boost_blank"), (None, "boost_blank"),
        ("x" * 17, "boost_too_long"), (7, "validation_failed"),
    ):  # fmt: skip
        answer = await jz.post(path, {"content": wrong})
        assert (answer.status, answer.code) == (422, code)
    assert len((await david.get(path)).json["boosts"]) == 3


async def test_only_who_boosted_takes_a_boost_back(
    jz: Person, david: Person, kevin: Person, cast: Cast
) -> None:
    message, other = await kevin.say(cast.designers, "one"), await kevin.say(cast.designers, "two")
    path, private = f"/api/messages/{message['id']}/boosts", cast.ten_messages[0].id
    boost = (await jz.post(path, {"content": "x"})).json["boost"]

    refused = [
        await david.delete(f"{path}/{boost['id']}"),
        await jz.delete(f"/api/messages/{other['id']}/boosts/{boost['id']}"),
        await jz.delete(f"{path}/999"),
    ]
    unseen = [
        await jz.get(f"/api/messages/{private}/boosts"),
        await jz.post(f"/api/messages/{private}/boosts", {"content": "x"}),
        await jz.post(f"/api/messages/{private}/boosts", {"content": ""}),
        await jz.delete(f"/api/messages/{private}/boosts/{boost['id']}"),
        await jz.get("/api/messages/999/boosts"),
    ]

    assert [(each.status, each.code) for each in refused] == [(404, "boost_not_found")] * 3
    assert [(each.status, each.code) for each in unseen] == [(404, "message_not_found")] * 5
    assert (await kevin.get(path)).json == {"boosts": [boost]}


async def test_somebody_boosts_a_message_twenty_times_and_not_more(
    kevin: Person, jz: Person, designers: Room
) -> None:
    message = await kevin.say(designers, "the best of all")
    path = f"/api/messages/{message['id']}/boosts"
    boosts = [await kevin.post(path, {"content": "👍"}) for _ in range(21)]

    assert [each.status for each in boosts] == [201] * 20 + [422]
    assert boosts[-1].code == "too_many_boosts"
    assert (await jz.post(path, {"content": "👏"})).status == 201
    first = boosts[0].json["boost"]["id"]
    assert (await kevin.delete(f"{path}/{first}")).status == 204
    assert (await kevin.post(path, {"content": "🎉"})).status == 201

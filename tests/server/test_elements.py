"""What streams bring: an element carries the JSON of the API, but for what stands in it anyway."""

import json
from collections.abc import Mapping
from typing import Any

from campfire import Room
from tests.support.cable import ONES_OWN, Audience, Markup
from tests.support.cast import Cast

BESIDE = ("creator", "body_html", "plain_text", "url", "can_edit")


def without(shape: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in shape.items() if name not in names}


async def carried(audience: Audience, name: str, attribute: str = "data-json") -> list[Any]:
    """The JSON in the frames that reached somebody since the last time."""
    frames = [each for each in (await audience.heard())[name] if isinstance(each, str)]
    return [json.loads(Markup(frame).all(attribute)[0][0][attribute]) for frame in frames]


async def test_a_message_its_edits_and_its_boosts_say_what_their_answers_say(
    audience: Audience, watercooler: Room
) -> None:
    david = audience.people["david"]
    said = await david.say(watercooler, "It's <b>'so'</b> & \"so\", www.example.com", "a1")
    path = f"/api/rooms/{watercooler.id}/messages/{said['id']}"
    edited = (await david.put(path, {"body": "/play tada"})).json["message"]
    given = {"content": "it's <good>"}
    boost = (await david.post(f"/api/messages/{said['id']}/boosts", given)).json["boost"]

    assert await carried(audience, "jason") == [
        without(said, *BESIDE),
        without(edited, *BESIDE),
        without(boost, "booster"),
    ]


async def test_rooms_and_people_say_what_everybody_may_know_of_them(
    audience: Audience, cast: Cast
) -> None:
    david, jz = audience.people["david"], audience.people["jz"]
    named = (await david.post("/api/rooms/opens", {"name": "It's 'ours' & <yours>"})).json["room"]
    assert await carried(audience, "kevin") == [without(named, *ONES_OWN)]

    await david.post("/api/rooms/directs", {"user_ids": [cast.jz.id, cast.kevin.id]})
    [ping] = await carried(audience, "jz")
    listed = (await jz.get(f"/api/rooms/{ping['id']}")).json["room"]
    assert ping == without(listed, *ONES_OWN, "members")

    me = (await david.put("/api/users/me/profile", {"name": "David O'Hara"})).json["user"]
    assert await carried(audience, "kevin") == [without(me, "email_address")]

"""Who is typing, and who no longer is."""

import json

from campfire import Room
from tests.support.cable import Audience
from tests.support.cast import Cast


async def test_b16_typing_is_told_to_the_room_the_typist_included(
    audience: Audience, cast: Cast, watercooler: Room
) -> None:
    steady, tab = audience.server.steady, audience.tabs["david"]
    typing = json.dumps({"channel": "TypingNotificationsChannel", "room_id": watercooler.id})

    async def heard(*actions: str, after: float = 0) -> list[str]:
        steady.seconds += after
        for action in actions:
            await tab.perform(typing, action)
        frames = await audience.heard_by("david", "jason")
        assert all(f["user"] == {"id": cast.david.id, "name": "David"} for f in frames)
        return [frame["action"] for frame in frames]

    assert await heard("start") == ["start"]
    assert await heard("start", "stop", after=0.4) == ["stop"]
    assert await heard("start", "start", "stop", "stop", after=0.6) == ["start", "stop", "stop"]


async def test_typing_ends_with_a_message_with_leaving_and_silently_after_five_seconds(
    audience: Audience, cast: Cast, watercooler: Room
) -> None:
    david, tab = audience.people["david"], audience.tabs["david"]
    typing = json.dumps({"channel": "TypingNotificationsChannel", "room_id": watercooler.id})
    stop = {"action": "stop", "user": {"id": cast.david.id, "name": "David"}}
    second = await david.welcomed()
    await second.transmit("subscribe", typing)

    async def start(then: float) -> None:
        audience.server.steady.seconds += 1
        await tab.perform(typing, "start")
        await audience.heard()
        audience.server.steady.seconds += then

    await start(then=4.9)
    await david.say(watercooler, "done")
    assert (await audience.heard_by("david", "jason"))[2:] == [stop]
    await david.say(watercooler, "and more")
    assert len(await audience.heard_by("david", "jason")) == 2

    await start(then=5.1)
    await david.say(watercooler, "late")
    assert len(await audience.heard_by("david", "jason")) == 2

    await start(then=1)
    await tab.transmit("unsubscribe", typing)
    assert (await audience.heard())["jason"] == []  # another tab of his still listens
    await second.socket.close()
    assert await audience.tabs["jason"].next_message() == stop

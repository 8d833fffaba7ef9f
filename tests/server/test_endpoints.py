"""Nobody's endpoint is anybody else's delay: slow names and slow bots."""

import asyncio
import socket
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from tests.support.asking import mention, settle, texts
from tests.support.cable import messages_of
from tests.support.cast import Cast, Server, Template, copy_database, start_server
from tests.support.services import (
    Browser,
    Receiver,
    TurnableLoop,
    give_webhook,
    on_a_turnable_clock,
    subscribe,
)


class SlowNames:
    """Names that are found only when a test says so."""

    def __init__(self) -> None:
        self.asked, self.may_answer = 0, Event()

    def __call__(self, host: str, port: int, *_: object) -> list[tuple[Any, ...]]:
        self.asked += 1
        self.may_answer.wait(30)
        if host != "bot.example":
            raise OSError(f"nobody knows {host}")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


async def test_names_that_do_not_answer_hold_up_nothing_but_who_asked_for_them(
    template: Template, tmp_path: Path
) -> None:
    names, cast = SlowNames(), template[1]
    server = await start_server(copy_database(template[0], tmp_path), look_up=names)
    jz, jason, kevin, david = [
        await server.sign_in(each) for each in (cast.jz, cast.jason, cast.kevin, cast.david)
    ]
    keys = Browser().keys
    for person in (jason, kevin, david, jz):
        path = f"/api/rooms/{cast.designers.id}/involvement"
        await person.put(path, {"involvement": "everything"})
        for n in range(10):
            await subscribe(person, f"https://{person.id}-{n}.slow.example/x", keys)

    async with asyncio.timeout(5):
        first = await jz.say(cast.designers, "hello")
        await jason.say(cast.designers, "hello")
        while names.asked < 32:  # as many as may be asked at once
            await kevin.get("/up")
        tab = await kevin.welcomed()
        room = await tab.subscribe(**messages_of(server, cast.designers))
        long = "<div>" + "long words " * 1_100 + "</div>"
        posted = await jz.post(f"/api/rooms/{cast.designers.id}/messages", {"body": long})
        await tab.next_message()
        await tab.perform(
            room, "catch_up", last_seen_message_id=first["id"], since=server.wall() // 1000 - 1_000
        )
        assert "hello" in await tab.next_message()
        sound = await kevin.get("/sounds/bell.mp3")
    assert (posted.status, sound.status) == (201, 200)
    assert names.asked == 32
    names.may_answer.set()
    await server.close()


async def wait_for_a_name(names: SlowNames, server: Server, cast: Cast) -> list[str]:
    loop, receiver = TurnableLoop.running(), Receiver()
    url, receiver.reply = await receiver.listen(), receiver.says("Hello")
    david, kevin = await server.sign_in(cast.david), await server.sign_in(cast.kevin)
    await give_webhook(david, cast.bender, url.replace("127.0.0.1", "bot.example"))

    await kevin.say(cast.pets, f"Anybody? {mention(server, cast.bender)}")
    while not names.asked:
        await kevin.get("/up")
    loop.ahead += 30
    assert await texts(kevin, cast.pets) == ["Anybody? @Bender Bot"]
    names.may_answer.set()
    await settle(server)
    await receiver.close()
    return await texts(kevin, cast.pets)


def test_a_bots_seven_seconds_begin_when_we_connect_and_not_while_we_look_for_its_name(
    template: Template, tmp_path: Path
) -> None:
    names = SlowNames()
    story = partial(wait_for_a_name, names)

    told = on_a_turnable_clock(template, tmp_path, story, names)

    assert told == ["Anybody? @Bender Bot", "Hello"]

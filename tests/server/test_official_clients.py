"""@rails/actioncable and @hotwired/turbo, as they are, against the real server."""

from playwright.async_api import expect

from campfire import Room
from tests.support.cast import Cast, Person, Server, Start
from tests.support.listeners import element, messages_of, turbo
from tests.support.readers import TYPING, node_client, turbo_page


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

"""Pages that messages show: sent, broadcast, edited, and the end of their pictures."""

import asyncio
import json
import re
from html import escape, unescape
from typing import Any

import campfire as program
from tests.support.asking import KEY, count, path_of
from tests.support.cast import Cast, Person, Server
from tests.support.files import stored_files

TYPE = "application/vnd.actiontext.opengraph-embed"
HARBOUR = "https://site.example/harbour"
DAY = 86_400


async def picture_of_a_page(server: Server) -> str:
    """The address of a picture that somebody has just been told of."""
    store, keep = server.parts.store, program.keep_preview_picture
    async with store.incoming() as spool:
        await store.write(spool, b"\xff\xd8\xff a picture")
        stored = await store.settle(spool, "image/jpeg")
        await server.parts.db.write(keep, stored, 640, 360, is_portrait=False)
    return f"/previews/{stored.key}"


def figure(url: str = "", href: str = HARBOUR) -> str:
    """As the editor spells a page."""
    told = {"contentType": TYPE, "href": href, "url": url, "filename": "A harbour", "caption": "D"}
    return f'<figure data-trix-attachment="{escape(json.dumps(told))}"></figure>'


async def sent(person: Person, room: program.Room, body: str) -> dict[str, Any]:
    answer = await person.post(path_of(room), {"body": body})
    assert answer.status == 201, answer.text
    return dict(answer.json["message"])


async def swept(server: Server, after: float) -> list[object]:
    """What is left of files so much later, once all has been swept that is due."""
    server.wall.ahead += after
    for _ in range(2):
        await server.parts.store.sweep()
        server.wall.ahead += 2 * 3_600
    return list(stored_files(server))


async def test_a_message_tells_of_its_pages_wherever_it_is_told(
    server: Server, kevin: Person, david: Person, cast: Cast
) -> None:
    tab = await david.room_tab(cast.designers)
    url = await picture_of_a_page(server)

    message = await sent(kevin, cast.designers, f"<div>Look {figure(url)}</div>")

    assert message["previews"] == [{
        "url": HARBOUR, "title": "A harbour", "description": "D", "image": url,
        "image_width": 640, "image_height": 360, "portrait": False,
    }]  # fmt: skip
    assert (message["plain_text"], message["links"]) == ("Look ", [])
    assert f'<img src="{url}" width="640" height="360"' in message["body_html"]
    [frame] = await tab.drain()
    told = re.search(r"data-json=(['\"])(.*?)\1", frame)
    assert told
    assert json.loads(unescape(told[2]))["previews"] == message["previews"]
    assert message["body_html"] in frame
    page = (await david.get(path_of(cast.designers))).json["messages"]
    assert page[-1]["previews"] == message["previews"]
    found = (await david.get(f"{path_of(cast.designers)}/{message['id']}?edit=1")).json
    assert found["message"]["previews"] == message["previews"]
    edited = await kevin.get(f"{path_of(cast.designers)}/{message['id']}?edit=1")
    assert HARBOUR in edited.json["edit_html"]


async def test_a_message_that_is_a_page_alone_says_its_address(
    server: Server, kevin: Person, cast: Cast
) -> None:
    message = await sent(kevin, cast.designers, figure())

    assert message["plain_text"] == HARBOUR
    hits = (await kevin.get("/api/searches?q=harbour")).json["messages"]
    assert [hit["id"] for hit in hits] == [message["id"]]
    assert await count(server, "message_pictures") == 0


async def test_a_bot_cannot_make_anybody_load_a_picture_of_others(
    server: Server, visitor: Person, david: Person, cast: Cast
) -> None:
    url = await picture_of_a_page(server)
    address = f"/rooms/{cast.watercooler.id}/{KEY}/messages"
    shape = '<action-text-attachment content-type="{}" href="{}" url="{}" filename="T">'
    for picture in ("https://tracker.example/a.png", url):
        data = shape.format(TYPE, HARBOUR, picture).encode()
        answer = await visitor.request("POST", address, data=data)
        assert answer.status == 201, answer.text

    foreign, ours = (await david.get(path_of(cast.watercooler))).json["messages"][-2:]
    theirs = (await visitor.get(address)).json

    assert [message["previews"][0]["image"] for message in (foreign, ours)] == [None, url]
    assert "tracker" not in json.dumps([foreign, theirs])
    assert '<figure class="attachment attachment--content attachment--og">' in json.dumps(
        theirs
    ).replace('\\"', '"')


async def test_a_picture_stays_while_a_message_shows_it_and_goes_within_a_day(
    server: Server, kevin: Person, cast: Cast
) -> None:
    url = await picture_of_a_page(server)
    first = await sent(kevin, cast.designers, figure(url))
    second = await sent(kevin, cast.designers, f"and {figure(url)}")
    path = path_of(cast.designers)

    assert len(await swept(server, 30 * DAY)) == 1
    await kevin.send("PUT", f"{path}/{first['id']}", {"body": "no more"})
    assert len(await swept(server, 2 * DAY)) == 1
    assert (await kevin.get(url)).status == 200
    await kevin.send("DELETE", f"{path}/{second['id']}")

    assert await swept(server, 0) == []
    assert (await kevin.get(url)).status == 404
    assert await count(server, "preview_pictures") == 0
    assert await count(server, "message_pictures") == 0


async def test_a_picture_that_nobody_sent_goes_after_a_day_and_not_before(
    server: Server, kevin: Person
) -> None:
    url = await picture_of_a_page(server)

    assert len(await swept(server, DAY - 5 * 3_600)) == 1
    assert (await kevin.get(url)).status == 200
    assert await swept(server, 3_600) == []


async def test_a_room_goes_with_the_pictures_of_its_pages(
    server: Server, david: Person, cast: Cast
) -> None:
    url = await picture_of_a_page(server)
    await sent(david, cast.watercooler, figure(url))

    await david.send("DELETE", f"/api/rooms/{cast.watercooler.id}")

    assert await swept(server, 2 * DAY) == []


async def test_a_picture_that_is_swept_while_somebody_sends_it_is_left_out(
    server: Server, cast: Cast
) -> None:
    url, gone = await picture_of_a_page(server), await picture_of_a_page(server)
    database, key = server.parts.db, gone.rpartition("/")[2]
    body = program.sanitize(
        f"{figure(url)}{figure(gone)}", {}, {url: (640, 360, False), gone: (1, 1, False)}
    )
    valid = program.ValidatedMessage(cast.designers.id, cast.kevin.id, "m1", body)

    def end(tx: program.WriteTx, at: program.Timestamp) -> None:
        program.doom(tx, at, [program.preview_picture(tx, key).id])

    await database.write(end)
    posted = await database.write(program.store_message, valid, frozenset())

    assert [page.image for page in posted.message.body.previews] == [url, None]
    assert program.pictures_in(posted.message.body.html) == [url]
    assert await count(server, "message_pictures") == 1


async def test_messages_with_pages_come_and_go_in_any_order_and_no_picture_is_missed(
    server: Server, kevin: Person, cast: Cast
) -> None:
    urls = [await picture_of_a_page(server) for _ in range(3)]
    path = path_of(cast.designers)
    bodies = [f"{n} {figure(urls[n % 3])}{figure(urls[n % 2])}" for n in range(12)]
    messages = await asyncio.gather(*(sent(kevin, cast.designers, body) for body in bodies))
    await asyncio.gather(
        *(kevin.send("DELETE", f"{path}/{message['id']}") for message in messages[::2]),
        *(kevin.send("PUT", f"{path}/{message['id']}", {"body": figure(urls[1])})
          for message in messages[1::2]),
    )  # fmt: skip

    left = await swept(server, 2 * DAY)

    assert len(left) == 1
    assert [(await kevin.get(url)).status for url in urls] == [404, 200, 404]

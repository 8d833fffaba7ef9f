"""Everybody who may come to any address: fourteen actors, three rooms, and what each is answered.

What is expected stands in matrix.json, a row of fourteen statuses for each route and room.
"""

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

import campfire as program
from campfire import RoomType
from tests.conftest import Place
from tests.support.asking import session_for, stored
from tests.support.cast import AGENT, PATIENCE, Template, newcomer, start_session
from tests.support.operators import qr_path

TOLD: dict[str, Any] = json.loads((Path(__file__).parent / "matrix.json").read_text())
ACTORS: list[str] = TOLD["actors"]
ROUTES: dict[str, dict[str, Any]] = TOLD["routes"]
CHANNELS: dict[str, dict[str, str]] = TOLD["channels"]
ROWS = [
    (route, room)
    for route, rows in ROUTES.items()
    for room in rows
    if room not in ("body", "query")
]
SUBSCRIPTIONS = [(channel, target) for channel, rows in CHANNELS.items() for target in rows]
ABSENT = "987654321"
NEW_EACH_TIME = re.compile(r'(?<=csrf-token" content=")[^"]+|(?<="csrf_token":")[^"]+')
BANNED = "52.0.0.7"
# Who sees that there is something, and is told that it is not theirs to change.
INSIDERS = {"inside", "creator", "author", "administrator inside", "bot inside"}
ODD_IDS = ("1.0", "01x", "1e0", "-1", str(2**63), "%D9%A1", "1%00", "%2B1", "0x1")


@dataclass(frozen=True)
class Actor:
    """Somebody, with the cookie or the key they come with."""

    name: str
    token: str = ""
    bot_key: str = ""
    address: str = "203.0.113.9"


@dataclass(frozen=True)
class Told:
    """What somebody was told, without what differs from answer to answer."""

    status: int
    location: str
    body: str


PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")


class World:
    """One server, everybody in it, and a way back to how it was."""

    def __init__(self, template: Template, kind: type[program.Database] = program.Database) -> None:
        self.place = Place(template, kind)
        self.parts, self.cast = self.place.parts, self.place.cast
        self.ids: dict[str, dict[str, int]] = {}
        self.actors = {actor.name: actor for actor in self.place.do(self._gather())}
        self.http = self.place.do(self._browser())
        self.nonce = "nonce"
        self.csrf = self.parts.signer.csrf_token(self.nonce)
        self.saved = self.place.folder / "saved.db"
        with closing(sqlite3.connect(self.place.folder / "campfire.db")) as source:
            source.execute("VACUUM INTO ?", (str(self.saved),))

    async def _browser(self) -> aiohttp.ClientSession:
        cookies = aiohttp.DummyCookieJar()
        return aiohttp.ClientSession(cookie_jar=cookies, headers={"User-Agent": AGENT})

    async def _gather(self) -> list[Actor]:
        auth, db, cast = self.parts.auth, self.parts.db, self.cast
        newcomers = [
            await auth.join(cast.join_code, newcomer(name, f"{name}@example.com"))
            for name in ("maya", "ruth", "gone", "away", "lone", "troll")
        ]
        maya, ruth, gone, away, lone, troll = newcomers
        zed = (await self.parts.db.write(program.make_bot, "Zed", "")).user
        lost = await self.parts.db.write(program.make_bot, "Lost", "")
        inside = [cast.jz, maya, cast.jason, cast.bender, lost.user]
        await self._make_rooms(cast.kevin, inside, ruth)
        tokens = {
            user.id: await start_session(self.parts, user.id, BANNED if user is troll else "")
            for user in (*newcomers, cast.jz, cast.kevin, cast.jason, cast.david)
        }
        banned = await start_session(self.parts, maya.id, "203.0.113.9")
        expired = await session_for(self.parts, tokens[away.id])
        assert expired is not None
        await db.write(program.end_session, expired.session, None)
        await db.write(program.retire_person, gone.id)
        await db.write(program.banish, cast.david, troll.id)
        await self.parts.db.write(program.renew_bot_key, lost.user.id)
        key_of_zed = (await self.parts.db.read(program.bot_by_id, zed.id)).key
        return [
            Actor("nobody"),
            Actor("banned address", banned, address=BANNED),
            Actor("deactivated", tokens[gone.id]), Actor("expired", tokens[away.id]),
            Actor("outside", tokens[lone.id]), Actor("inside", tokens[maya.id]),
            Actor("revoked", tokens[ruth.id]), Actor("creator", tokens[cast.kevin.id]),
            Actor("author", tokens[cast.jz.id]),
            Actor("administrator inside", tokens[cast.jason.id]),
            Actor("administrator outside", tokens[cast.david.id]),
            Actor("bot inside", bot_key="5-ABCDEFGHIJKL"),
            Actor("bot outside", bot_key=key_of_zed),
            Actor("bot with a reset key", bot_key=lost.key),
        ]  # fmt: skip

    async def _make_rooms(
        self, creator: program.User, inside: list[program.User], revoked: program.User
    ) -> None:
        """An open room, a closed one and a ping, each with a message by JZ that JZ has boosted."""
        rooms, everybody = self.parts.rooms, [each.id for each in inside]
        closed = await rooms.create(creator, RoomType.CLOSED, "Studio", [*everybody, revoked.id])
        await rooms.save(creator, closed.room.id, RoomType.CLOSED, "Studio", everybody)
        ping, _ = await rooms.find_or_create_direct(creator, everybody)
        opened = await rooms.create(creator, RoomType.OPEN, "Plaza")
        for kind, room in (("closed", closed), ("direct", ping), ("open", opened)):
            draft = program.DraftMessage(room.room.id, inside[0].id, f"said-{kind}", "words")
            message = (await self.parts.messages.create_message_with_deduplication(draft)).message
            boost = await self.parts.messages.boost(inside[0], message.id, "+1")
            file = await self._send_file(room.room.id, inside[0])
            assert file.file
            self.ids[kind] = {
                "room_id": room.room.id, "message_id": message.id, "boost_id": boost.boost.id,
                "attachment_id": file.file.id, "file_message_id": file.id,
            }  # fmt: skip
        await self._keep_preview()
        key, path = f"{self.cast.bender.id}-ABCDEFGHIJKL", f"/rooms/{closed.room.id}"
        bot = await self.place.server.visitor()  # whose own message and boost are a fourth target
        said = await bot.request("POST", f"{path}/{key}/messages", data=b"beep")
        message_id = int(said.location.rpartition("/")[2])
        boosts = f"{path}/{key}/messages/{message_id}/boosts"
        boosted = (await bot.request("POST", boosts, data=b"+1")).json["id"]
        self.ids["of the bot"] = {
            "room_id": closed.room.id, "message_id": message_id, "boost_id": boosted,
        }  # fmt: skip

    async def _keep_preview(self) -> None:
        """The picture of a page that somebody is about to show."""
        store, keep = self.parts.store, program.keep_preview_picture
        async with store.incoming() as spool:
            await store.write(spool, PIXEL)
            stored = await store.settle(spool, "image/gif")
            await self.parts.db.write(keep, stored, 64, 64, is_portrait=False)
        self.preview_key = stored.key

    async def _send_file(
        self, room_id: program.RoomId, by: program.User
    ) -> program.PersistedMessage:
        """A message that is a picture, and has a still."""
        store = self.parts.store
        async with store.incoming() as spool, store.incoming() as still:
            for each in (spool, still):
                await store.write(each, PIXEL)
            picture, small = [await store.settle(each, "image/gif") for each in (spool, still)]
            file = program.NewFile(
                picture, "pixel.gif", 1, 1, still=small, still_width=1, still_height=1
            )
            draft = program.DraftMessage(room_id, by.id, None, "", file=file)
            return (await self.parts.messages.create_message_with_deduplication(draft)).message

    def close(self) -> None:
        self.place.do(self.http.close())
        self.place.close()

    def restore(self) -> None:
        """Every row as it was, behind the server's back: it keeps none in memory."""
        self.place.server.steady.seconds += 200  # and nobody has tried to sign in

        def work(tx: program.WriteTx, _: program.Timestamp) -> int:
            tables = [name for (name,) in tx.execute(
                "SELECT name FROM saved.sqlite_schema WHERE type = 'table'"
                " AND name NOT GLOB 'sqlite_*' AND name NOT GLOB 'message_search_index*'"
            )]  # fmt: skip
            tx.execute("PRAGMA defer_foreign_keys = ON")
            for name in tables:
                tx.execute(f"DELETE FROM main.{name}")  # noqa: S608 - its own tables
            for name in tables:
                tx.execute(f"INSERT INTO main.{name} SELECT * FROM saved.{name}")  # noqa: S608 - own
            program.rebuild_index(tx)
            return len(tables)

        self.attach("ATTACH DATABASE ? AS saved", str(self.saved))
        self.place.do(self.parts.db.write(work))
        self.attach("DETACH DATABASE saved")
        self.place.do(self.parts.jobs.finish(5))

    def attach(self, sql: str, *values: str) -> None:
        """Between transactions, in the writer's own connection."""
        writer: Any = self.parts.db._writer  # noqa: SLF001 - no job runs outside a transaction

        async def hop() -> None:
            await writer.hop(lambda: writer.raw.execute(sql, values).close())

        self.place.do(hop())

    def path(self, route: str, room: str, **other: object) -> str:
        """The address of a route: about this room, or about what `other` says."""
        pattern, signer = route.split(" ")[1], self.parts.signer
        invitation = f"{self.place.server.address}/join/{self.cast.join_code}"
        given: Mapping[str, object] = {
            **self.ids["closed"], **self.ids.get(room, {}), "user_id": self.cast.kevin.id,
            "bot_id": self.cast.bender.id, "subscription_id": 1, "type": f"{room or 'open'}s",
            "transfer": "x", "join_code": self.cast.join_code, "path": "logo-192.png",
            "avatar_token": signer.avatar_token(self.cast.kevin.id), "name": "tada",
            "text": qr_path(invitation.encode()).rpartition("/")[2],
            "bot_key": "BOT", "filename": "pixel.gif", "key": self.preview_key, **other,
        }  # fmt: skip
        if pattern.endswith("/attachment"):
            given = {**given, "message_id": given["file_message_id"], **other}
        path = re.sub(r"\{(\w+)[^{}]*\}", lambda found: str(given[found[1]]), pattern)
        return path + str(ROUTES[route].get("query", ""))

    async def ask(
        self, actor: Actor, method: str, path: str, body: object = None, **more: str
    ) -> Told:
        """What this actor is told."""
        is_bots = "/BOT/" in path
        if actor.bot_key and not is_bots:
            path += f"{'&' if '?' in path else '?'}bot_key={actor.bot_key}"
        path = path.replace("/BOT/", f"/{actor.bot_key or '4-no_bots_key'}/")
        headers = {
            "X-Forwarded-For": actor.address, "X-CSRF-Token": self.csrf,
            "Cookie": f"_campfire_csrf={self.nonce}; session_token={actor.token}", **more,
        }  # fmt: skip
        data = None
        if body is not None and method not in ("GET", "HEAD"):
            in_room = [ids for ids in self.ids.values() if f"/{ids['room_id']}/" in path]
            message_id = str(in_room[0]["message_id"]) if in_room else ABSENT
            told = str(body) if is_bots else json.dumps(body)
            data = told.replace("{message_id}", message_id).encode()
            headers.setdefault("Content-Type", "application/json")
        url = URL(self.place.server.address + path, encoded=True)
        async with self.http.request(
            method, url, headers=headers, data=data, allow_redirects=False
        ) as response:
            text = (await response.read()).decode("latin-1")
            text = NEW_EACH_TIME.sub("", text)
            return Told(response.status, response.headers.get("Location", ""), text)

    def heard(self) -> tuple[int, int]:
        """What the world has heard so far: broadcasts, and pushes of any outcome."""
        return self.parts.sockets.broadcasts_by.total(), self.parts.push.pushes.total()

    async def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        return await stored(self.place.server)


@pytest.fixture(scope="module")
def world(template: Template) -> Iterator[World]:
    """The world of a module, which its tests leave as they like."""
    world = World(template)
    yield world
    world.close()


def statuses(route: str, room: str) -> dict[str, int]:
    """The status for each actor."""
    return dict(zip(ACTORS, map(int, ROUTES[route][room].split()), strict=True))


def is_refusal(status: int) -> bool:
    return status in (401, 403, 404, 429)


async def refused_the_same(world: World, actor: Actor, route: str, room: str, told: Told) -> bool:
    """Whether an outsider learns no more of what is there than of what is not."""
    method, body = route.partition(" ")[0], ROUTES[route].get("body")
    nowhere = world.path(
        route, room, room_id=ABSENT, message_id=ABSENT, boost_id=ABSENT, bot_id=ABSENT
    )
    return await world.ask(actor, method, nowhere, body) == told


async def odd_statuses(world: World, actor: Actor, route: str, room: str) -> list[int]:
    """What a refused actor is told who tries it by another spelling."""
    method, path = route.partition(" ")[0], world.path(route, room)
    body = ROUTES[route].get("body")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    asked = [
        world.ask(actor, method, f"{path}/", body), world.ask(actor, method, f"/{path}", body),
        world.ask(actor, method, f"{path}?_method=DELETE", body),
    ]  # fmt: skip
    if method == "GET":
        asked.append(world.ask(actor, "HEAD", path))
    else:
        asked.append(world.ask(actor, method, path, body, **form))
        override = {"X-HTTP-Method-Override": method}
        asked.append(world.ask(actor, "POST", path, body or {}, **override))
    if "_id}" in route:
        odd = [dict.fromkeys(("room_id", "message_id", "boost_id", "user_id", "bot_id"), each)
               for each in ODD_IDS]  # fmt: skip
        asked += [world.ask(actor, method, world.path(route, room, **each), body) for each in odd]
    return [told.status for told in await asyncio.gather(*asked)]


async def welcomed(world: World, actor: Actor) -> aiohttp.ClientWebSocketResponse | None:
    """A socket of this actor's, welcomed; None when it is sent away, as it must be at once."""
    address, query = world.place.server.address, f"?bot_key={actor.bot_key}" * bool(actor.bot_key)
    headers = {"Origin": address, "X-Forwarded-For": actor.address,
               "Cookie": f"session_token={actor.token}"}  # fmt: skip
    socket = await world.http.ws_connect(f"{address}/cable{query}", headers=headers)
    first = await socket.receive_json(timeout=PATIENCE)
    if first == {"type": "welcome"}:
        return socket
    assert first == {"type": "disconnect", "reason": "unauthorized", "reconnect": False}
    await socket.close()
    return None


def parameters_of(world: World, channel: str, target: str) -> tuple[dict[str, object], str]:
    """What subscribes to a channel, and the stream it then hears (%d is one's own id)."""
    ids, sign = world.ids.get(target, {}), world.parts.signer.stream
    room_id = ids.get("room_id", 0)
    match channel, target:
        case "RoomMessagesChannel", _:
            name = f"room_{room_id}:messages"
            return {"channel": channel, "signed_stream_name": sign(name)}, name
        case "Turbo::StreamsChannel", _:
            name = {"rooms": "rooms", "of David": f"user_{world.cast.david.id}:rooms"}.get(
                target, f"room_{room_id}:messages"
            )
            return {"channel": channel, "signed_stream_name": sign(name)}, name
        case "ReadRoomsChannel" | "UnreadRoomsChannel", _:
            kind = channel.removesuffix("RoomsChannel").lower()
            return {"channel": channel, "user_id": 1}, f"user_%d_{kind}s"
        case "HeartbeatChannel", _:
            return {"channel": channel}, "heartbeat"
        case _:
            pass
    streams = {"RoomChannel": "room", "PresenceChannel": "presence"}
    stream = f"{streams.get(channel, 'typing_notifications')}:{room_id}"
    return {"channel": channel, "room_id": room_id}, stream


ACTIONS = ("present", "absent", "refresh", "start", "stop", "catch_up")


async def outcome(world: World, actor: Actor, channel: str, target: str) -> str:
    """What comes of subscribing; and whoever is not let in cannot act, nor hear what is said."""
    socket = await welcomed(world, actor)
    if socket is None:
        return "unauthorized"
    params, stream = parameters_of(world, channel, target)
    identifier = json.dumps(params)
    await socket.send_json({"command": "subscribe", "identifier": identifier})
    kind = str((await socket.receive_json(timeout=PATIENCE))["type"])
    before, rows = world.heard(), await world.everything()
    if kind == "reject_subscription":
        for action in ACTIONS:
            data = json.dumps({"action": action, "last_seen_message_id": 0, "since": 0})
            command = {"command": "message", "identifier": identifier, "data": data}
            await socket.send_json(command)
    mark = json.dumps({"channel": "HeartbeatChannel", "mark": 1})
    await socket.send_json({"command": "subscribe", "identifier": mark})
    while (frame := await socket.receive_json(timeout=PATIENCE)).get("identifier") != mark:
        assert kind == "confirm_subscription", frame
    if kind == "reject_subscription":
        assert world.heard() == before
        assert await world.everything() == rows
    [user_id] = {each.user_id for each in world.parts.sockets.connections}
    reached = world.parts.cable.broadcast(stream.replace("%d", str(user_id)), {"marked": True})
    assert (reached > 0) == (kind == "confirm_subscription")
    await socket.close()
    async with asyncio.timeout(PATIENCE):
        while world.parts.sockets.connections:
            await world.ask(actor, "GET", "/up")
    return kind.partition("_")[0]

"""The people of the tests, the server they use, and the clients they use it with.

The server is the real one: a real SQLite file, real sockets on 127.0.0.1. Its two clocks can be
turned, because time comes in through constructors. The clients do what browsers do: they keep
cookies, read the CSRF token from the boot data, and speak Action Cable over a WebSocket.
"""

import asyncio
import json
import re
import secrets
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partialmethod
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, Self, cast

import aiohttp
from yarl import URL

import campfire as program
from campfire import RoomType

SESAME = "secret123456"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"
PATIENCE = 10  # seconds until something that must come counts as missing
SETTINGS = {"HOST": "127.0.0.1", "PORT": "0", "BCRYPT_COST": "4", "LOG_LEVEL": "debug"}
# What a test's servers trusted anybody with, and what they keep: no log may hold any of it.
ENTRUSTED: set[str] = set()
_BOOT = re.compile(r'<script type="application/json" id="boot">(.*?)</script>', re.DOTALL)


class WallClock:
    """The time of day in microseconds; `ahead` turns it on (or back) by seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + int(self.ahead * 1_000_000)


class SteadyClock:
    """Seconds that only a test moves on: for windows, presence and typing."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass(frozen=True)
class Cast:
    """Who is there, and where they meet."""

    david: program.User
    jason: program.User
    jz: program.User
    kevin: program.User
    bender: program.User
    hq: program.Room
    pets: program.Room
    watercooler: program.Room
    designers: program.Room
    david_and_jason: program.Room
    david_and_kevin: program.Room
    bender_and_kevin: program.Room
    ten_messages: tuple[program.PersistedMessage, ...]  # of the Watercooler
    join_code: str

    @property
    def everybody(self) -> tuple[program.User, ...]:
        return (self.david, self.jason, self.jz, self.kevin, self.bender)


Template = tuple[Path, Cast]  # the database of the cast, and who is in it


def newcomer(name: str, email: str, password: str = SESAME) -> program.Newcomer:
    return program.Newcomer(name, email, password)


async def start_session(
    parts: program.Campfire, user_id: program.UserId, ip: str = "127.0.0.1", agent: str = AGENT
) -> program.RawToken:
    """Signs somebody in without their password."""
    session = program.NewSession(program.RawToken(secrets.token_urlsafe(32)), ip, agent)
    await parts.db.write(program.start_session, user_id, session)
    return session.token


async def make_administrator(
    parts: program.Campfire, name: str, email: str, password: str = SESAME
) -> program.User:
    """What `create-admin` does."""
    digest = program.hash_password(password, 4)
    return await parts.db.write(program.make_administrator, newcomer(name, email), digest)


def _build_bender(tx: program.WriteTx, at: program.Timestamp) -> program.User:
    """A bot, and Kevin's bio: the two things of the cast that no service makes yet."""
    user_id = program.insert(
        tx,
        """
        INSERT INTO users (name, role, bot_token, created_at, updated_at)
        VALUES ('Bender Bot', 2, 'ABCDEFGHIJKL', :at, :at)
        """,
        at=at,
    )
    program.grant_open_rooms(tx, at, program.UserId(user_id))
    program.run(tx, "UPDATE users SET bio = 'Programmer' WHERE name = 'Kevin'")
    return program.user_by_id(tx, program.UserId(user_id))


async def _gather_people(parts: program.Campfire) -> tuple[program.User, ...]:
    auth, db = parts.auth, parts.db
    david = await auth.first_run(newcomer("David", "david@example.com"))
    jason = await make_administrator(parts, "Jason", "jason@example.com")
    code = (await db.read(program.the_account)).join_code
    jz = await auth.join(code, newcomer("JZ", "jz@example.com"))
    kevin = await auth.join(code, newcomer("Kevin", "kevin@example.com"))
    bender = await db.write(_build_bender)
    return david, jason, jz, await parts.db.read(program.user_by_id, kevin.id), bender


async def gather_cast(parts: program.Campfire) -> Cast:
    """Everybody of the specification's cast in a database that has had no first run."""
    david, jason, jz, kevin, bender = await _gather_people(parts)
    rooms = parts.rooms
    (all_talk,) = await parts.db.read(program.memberships_of, david.id)
    hq = await rooms.save(david, all_talk.room.id, RoomType.OPEN, "HQ")
    pets = await rooms.create(david, RoomType.OPEN, "Pets")
    watercooler = await rooms.create(david, RoomType.CLOSED, "Watercooler", [jason.id, bender.id])
    designers = await rooms.create(jason, RoomType.CLOSED, "Designers", [david.id, jz.id, kevin.id])
    first, _ = await rooms.find_or_create_direct(david, [jason.id])
    second, _ = await rooms.find_or_create_direct(david, [kevin.id])
    third, _ = await rooms.find_or_create_direct(kevin, [bender.id])
    room_id = watercooler.room.id
    posted = [
        await parts.messages.create_message_with_deduplication(
            program.DraftMessage(room_id, author.id, f"drop-{n}", f"<div>Drop {n}</div>")
        )
        for n, author in enumerate((david, jason, bender, david, jason) * 2, start=1)
    ]
    account = await parts.db.read(program.the_account)
    return Cast(
        david, jason, jz, kevin, bender, hq.room, pets.room, watercooler.room, designers.room,
        first.room, second.room, third.room,
        tuple(each.message for each in posted),
        account.join_code,
    )  # fmt: skip


def _on_clock(parts: program.Campfire, steady: SteadyClock) -> program.Campfire:
    """The same parts, with the three that count seconds on a clock of the test's."""
    presence = program.PresenceMap(steady)
    messages = program.Messages(parts.db, parts.signer, presence.present_in)
    auth = program.Auth(parts.db, steady, parts.config.bcrypt_cost)
    shapes, jobs, most = parts.shapes, parts.jobs, parts.config.max_sockets
    cable = program.Cable(parts.db, messages, shapes, presence, jobs, steady, most)
    return replace(parts, auth=auth, messages=messages, cable=cable, sockets=cable)


@dataclass
class Server:
    """A running Campfire and everybody who has come to it."""

    parts: program.Campfire
    runner: program.Listening
    address: str
    wall: WallClock
    steady: SteadyClock
    _visitors: AsyncExitStack = field(default_factory=AsyncExitStack)
    _is_running: bool = True

    @property
    def host(self) -> str:
        return self.address.removeprefix("http://")

    async def dialled(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection."""
        host, _, port = self.host.partition(":")
        return await asyncio.open_connection(host, int(port))

    async def visitor(self, headers: Mapping[str, str] | None = None) -> "Person":
        """Somebody with an empty browser."""
        return await self._visitors.enter_async_context(Person(self, None, headers or {}))

    async def sign_in(self, user: program.User) -> "Person":
        """Somebody with a session of their own (a second time: on a second device)."""
        person = await self._visitors.enter_async_context(Person(self, user, {}))
        token = await start_session(self.parts, user.id, "127.0.0.1", AGENT)
        person.set_cookie("session_token", token)
        return person

    async def stop(self) -> None:
        """Stops as SIGTERM does; a second time does nothing."""
        if self._is_running:
            self._is_running = False
            await program.stop(self.parts, self.runner)

    async def close(self) -> None:
        await self._visitors.aclose()
        await self.stop()


Start = Callable[..., Awaitable[Server]]  # how the fixture `start` is called
LogLines = Callable[[], list[str]]  # and `log_lines`


async def start_server(
    database: Path,
    client: Path | None = None,
    ahead: float = 0.0,
    kind: type[program.Database] = program.Database,
    look_up: program.LookUp = socket.getaddrinfo,
    **settings: str,
) -> Server:
    """The program over this database file, on a free port. Settings as in the environment.

    The built client is the one of this clone, or another `client` folder.
    """
    wall, steady = WallClock(), SteadyClock()
    wall.ahead = ahead
    config = program.config_from({**SETTINGS, "CAMPFIRE_DB": str(database), **settings})
    db = kind(database, wall)
    await db.open()
    try:
        known = await program.load_secrets(db, config)
        parts = _on_clock(program.assemble(config, db, known, look_up), steady)
        bundle = program.load_bundle(*filter(None, [client]))
        await parts.store.start()
        runner, address = await program.listen(parts, bundle)
        ENTRUSTED.update(await db.read(_kept_secrets), {SESAME})
    except BaseException:
        await db.close()
        raise
    return Server(parts, runner, address, wall, steady)


def _kept_secrets(tx: program.ReadTx) -> list[str]:
    kept = "SELECT value FROM secrets UNION SELECT bot_token FROM users"
    codes = "SELECT join_code FROM accounts UNION SELECT secret FROM webhooks"
    return [value for (value,) in program.rows(tx, f"{kept} UNION {codes}") if value]


def copy_database(template: Path, folder: Path) -> Path:
    """A test's own copy of the cast."""
    return Path(shutil.copy(template, folder / "campfire.db"))


@dataclass(frozen=True)
class Answer:
    """What came back: nothing is followed, nothing is hidden."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: SimpleCookie

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:  # noqa: ANN401 - tests look into it freely
        assert self.headers["Content-Type"].startswith("application/json"), self.text
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(self.json["error"]["code"])

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")

    @property
    def boot(self) -> dict[str, Any]:
        """The boot data inside a page."""
        found = _BOOT.search(self.text)
        assert found, self.text
        return cast(dict[str, Any], json.loads(found[1]))


class Person:
    """A browser: cookies, the CSRF token, and sockets."""

    def __init__(
        self, server: Server, user: program.User | None, headers: Mapping[str, str]
    ) -> None:
        self.server, self._user = server, user
        self._headers = {"User-Agent": AGENT, **headers}
        self._csrf_token = ""
        self._tabs = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession(
            self.server.address,
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            headers=self._headers,
            skip_auto_headers=("Accept-Encoding",),
        )
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._tabs.aclose()
        await self.http.close()

    @property
    def user(self) -> program.User:
        assert self._user, "this visitor is nobody yet"
        return self._user

    @property
    def id(self) -> program.UserId:
        return self.user.id

    def set_cookie(self, name: str, value: str) -> None:
        self.http.cookie_jar.update_cookies({name: value}, URL(self.server.address))

    def cookie(self, name: str) -> str | None:
        """The value the browser would send now."""
        kept = self.http.cookie_jar.filter_cookies(URL(self.server.address))
        return kept[name].value if name in kept else None

    def forget_cookies(self) -> None:
        self.http.cookie_jar.clear()
        self._csrf_token = ""

    async def csrf(self) -> str:
        """The token of this browser, asked for once, as the first page does."""
        if not self._csrf_token or not self.cookie("_campfire_csrf"):
            answer = await self.get("/api/boot", params={"path": "/session/new"})
            self._csrf_token = str(answer.json["csrf_token"])
        return self._csrf_token

    async def request(self, method: str, path: str, **details: Any) -> Answer:  # noqa: ANN401 - aiohttp's own
        """One request as it is, without a token of its own accord."""
        url = URL(path, encoded=True)
        async with asyncio.timeout(PATIENCE):
            response = await self.http.request(method, url, allow_redirects=False, **details)
            async with response:
                body = await response.read()
                ENTRUSTED.update(each.value for each in response.cookies.values() if each.value)
                return Answer(response.status, response.headers, body, response.cookies)

    async def send(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """An unsafe request with the token, and with a JSON body when one is given."""
        dressed = {"X-CSRF-Token": await self.csrf(), **(headers or {})}
        if body is None:
            return await self.request(method, path, headers=dressed)
        return await self.request(method, path, headers=dressed, json=body)

    async def get(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        query = f"?{URL.build(query=params).raw_query_string}" if params else ""
        return await self.request("GET", path + query, headers=headers or {})

    post = partialmethod(send, "POST")
    put = partialmethod(send, "PUT")
    delete = partialmethod(send, "DELETE")

    async def boot(self, path: str) -> dict[str, Any]:
        """What the client gets when it moves on to this address."""
        answer = await self.get("/api/boot", params={"path": path})
        assert answer.status == 200, answer.text
        return cast(dict[str, Any], answer.json)

    async def say(self, room: program.Room, text: str, name: str | None = None) -> dict[str, Any]:
        """A message in a room; `name` is its client message id."""
        given = {"body": f"<div>{text}</div>"} | ({"client_message_id": name} if name else {})
        answer = await self.post(f"/api/rooms/{room.id}/messages", given)
        assert answer.status in (200, 201), answer.text
        return cast(dict[str, Any], answer.json["message"])

    async def cable(self, **details: Any) -> "Tab":  # noqa: ANN401 - aiohttp's own
        """A socket of this browser; its first frame is still to be read."""
        details.setdefault("protocols", ("actioncable-v1-json", "actioncable-unsupported"))
        details.setdefault("headers", {"Origin": self.server.address})
        socket = await self.http.ws_connect("/cable", **details)
        return await self._tabs.enter_async_context(Tab(socket))

    async def welcomed(self) -> "Tab":
        """A socket whose welcome was read."""
        tab = await self.cable()
        assert await tab.next_frame() == {"type": "welcome"}
        return tab

    async def sidebar_tab(self) -> "Tab":
        """A socket that hears of rooms: everybody's stream and one's own."""
        tab = await self.welcomed()
        for signed in (await self.boot("/users/me/sidebar"))["streams"].values():
            await tab.subscribe(channel="Turbo::StreamsChannel", signed_stream_name=signed)
        return tab

    async def room_tab(self, room: program.Room) -> "Tab":
        """A socket that hears the messages of a room."""
        tab = await self.welcomed()
        signed = self.server.parts.signer.stream(f"room_{room.id}:messages")
        await tab.subscribe(channel="RoomMessagesChannel", signed_stream_name=signed)
        return tab


class Tab:
    """One WebSocket, speaking Action Cable. Pings are passed over unless asked for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._marks = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self.socket.close()

    async def next_frame(self) -> Any:  # noqa: ANN401 - tests look into it freely
        """The next frame that is no ping. Raises TimeoutError, or ConnectionError at the end."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self.socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise ConnectionError(f"closed with {self.socket.close_code}")
                frame = json.loads(message.data)
                if frame.get("type") != "ping":
                    return frame

    async def next_message(self) -> Any:  # noqa: ANN401 - as above
        """What the next broadcast carries."""
        frame = await self.next_frame()
        assert set(frame) == {"identifier", "message"}, frame
        return frame["message"]

    async def transmit(self, command: str, identifier: str, **more: object) -> None:
        await self.socket.send_json({"command": command, "identifier": identifier, **more})

    async def ask(self, **params: object) -> dict[str, Any]:
        """Subscribes; the frame that answers."""
        await self.transmit("subscribe", json.dumps(params))
        frame = await self.next_frame()
        assert frame["identifier"] == json.dumps(params), frame
        return cast(dict[str, Any], frame)

    async def subscribe(self, **params: object) -> str:
        """Subscribes and is confirmed; the identifier."""
        frame = await self.ask(**params)
        assert frame["type"] == "confirm_subscription", frame
        return str(frame["identifier"])

    async def perform(self, identifier: str, action: str, **data: object) -> None:
        await self.transmit("message", identifier, data=json.dumps({"action": action, **data}))

    async def drain(self) -> list[Any]:
        """All that has been broadcast to this tab up to now, without waiting for anything.

        The server writes frames in order, so what it sends before it confirms a fresh
        subscription is everything.
        """
        self._marks += 1
        mark = json.dumps({"channel": "HeartbeatChannel", "mark": self._marks})
        await self.transmit("subscribe", mark)
        frames = []
        while (frame := await self.next_frame()).get("identifier") != mark:
            frames.append(frame.get("message", frame))
        return frames

    async def goodbye(self) -> tuple[dict[str, Any], int | None]:
        """The disconnect frame that must come next (after any broadcasts), and the close code."""
        frame = await self.next_frame()
        while frame.get("type") != "disconnect":
            frame = await self.next_frame()
        async with asyncio.timeout(PATIENCE):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE, message
        return frame, message.data

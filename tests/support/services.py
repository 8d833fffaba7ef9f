"""Push services and webhooks on 127.0.0.1, and loops whose clock and names a test sets."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import http_ece  # type: ignore[import-untyped] # it ships no types
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import campfire as program
from tests.support.cast import Cast, Person, Server, Template, copy_database, start_server

T = TypeVar("T")
Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]

DEVICES = "/api/users/me/push_subscriptions"


class Receiver:
    """Somebody's webhook on 127.0.0.1: what it was told, and how it answers."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.came, self.may_answer = asyncio.Event(), asyncio.Event()
        self.may_answer.set()
        self.reply: Reply = self.says("")

    def says(self, body: str | bytes, kind: str = "text/plain", status: int = 200) -> Reply:
        data = body.encode() if isinstance(body, str) else body

        async def answer(_: web.Request) -> web.Response:
            headers = {"Content-Type": kind} if kind else {}
            return web.Response(status=status, body=data, headers=headers)

        return answer

    async def hook(self, request: web.Request) -> web.StreamResponse:
        self.told.append(await request.json())
        self.headers.append(dict(request.headers))
        self.came.set()
        await self.may_answer.wait()
        return await self.reply(request)

    async def listen(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/hook", self.hook)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/hook"
        return self.url

    async def close(self) -> None:
        self.may_answer.set()
        await self.runner.cleanup()


def base64_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Browser:
    """A browser's own keys: only it can read what is sent to it."""

    def __init__(self) -> None:
        self.private, self.secret = ec.generate_private_key(ec.SECP256R1()), b"0123456789abcdef"
        form = Encoding.X962, PublicFormat.UncompressedPoint
        point = self.private.public_key().public_bytes(*form)
        self.keys = {"p256dh_key": base64_of(point), "auth_key": base64_of(self.secret)}

    def read(self, body: bytes) -> dict[str, Any]:
        options = {"private_key": self.private, "auth_secret": self.secret}
        text = http_ece.decrypt(body, version="aes128gcm", **options)
        assert len(text) <= 3_000
        assert len(body) <= 4_096
        return dict(json.loads(text))


class Service:
    """A push service on 127.0.0.1: what came for which device, and what it answers."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes, dict[str, str]]] = []
        self.statuses: dict[str, int] = {}
        self.news, self.may_answer = asyncio.Condition(), asyncio.Event()
        self.may_answer.set()

    async def push(self, request: web.Request) -> web.Response:
        device = request.match_info["device"]
        async with self.news:
            self.came.append((device, await request.read(), dict(request.headers)))
            self.news.notify_all()
        await self.may_answer.wait()
        status = self.statuses.get(device, 201)
        moved = {"Location": "/devices/elsewhere"} if 300 <= status < 400 else {}
        return web.Response(status=status, headers=moved)

    async def listen(self) -> None:
        app = web.Application()
        app.router.add_post("/devices/{device}", self.push)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def close(self) -> None:
        self.may_answer.set()
        await self.runner.cleanup()

    async def has(self, number: int) -> None:
        """Waits until so many pushes have come."""
        async with self.news, asyncio.timeout(30):
            await self.news.wait_for(lambda: len(self.came) >= number)

    @property
    def devices(self) -> list[str]:
        """Whom something came for since the last look."""
        came, self.came = self.came, []
        return sorted(device for device, _, _ in came)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    await service.listen()
    yield service
    await service.close()


def subscription(name: str) -> dict[str, str]:
    """A browser as it announces itself, whose service is nobody's."""
    endpoint = f"https://push.example.com/{name}"
    return {"endpoint": endpoint, "p256dh_key": "k", "auth_key": "a"}


async def subscribe(person: Person, endpoint: str, keys: dict[str, str]) -> dict[str, Any]:
    answer = await person.post(DEVICES, {"endpoint": endpoint, **keys})
    assert answer.status == 200, answer.text
    return dict(answer.json["push_subscription"])


class TurnableLoop(asyncio.SelectorEventLoop):
    """A loop whose clock a test turns on, so that seven seconds pass at once."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead

    @classmethod
    def running(cls) -> Self:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, cls)
        return loop


def on_a_turnable_clock(
    template: Template,
    folder: Path,
    story: Callable[[Server, Cast], Coroutine[Any, Any, T]],
    look_up: program.LookUp = socket.getaddrinfo,
    **settings: str,
) -> T:
    """What comes of a story of the cast and their server, whose seconds pass when it says so."""

    async def told() -> T:
        database, kind = copy_database(template[0], folder), program.Database
        server = await start_server(database, None, 0.0, kind, look_up, **settings)
        try:
            return await story(server, template[1])
        finally:
            await server.close()

    with asyncio.Runner(loop_factory=TurnableLoop) as runner:
        return runner.run(told())


@pytest.fixture
async def receiver(david: Person, cast: Cast) -> AsyncIterator[Receiver]:
    """Bender's webhook."""
    receiver = Receiver()
    await give_webhook(david, cast.bender, await receiver.listen())
    yield receiver
    await receiver.close()


async def give_webhook(david: Person, bot: program.User, url: str) -> None:
    given = {"webhook_url": url}
    assert (await david.put(f"/api/account/bots/{bot.id}", given)).status == 200


class Names:
    """Names that lead where a test says, the next look-up elsewhere."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, *_: object) -> list[tuple[Any, ...]]:
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443))
                for each in self.answers.pop(0)]  # fmt: skip

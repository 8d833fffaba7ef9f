"""Push services and webhooks on 127.0.0.1, and loops whose clock and names a test sets."""

import asyncio
import base64
import gzip
import json
import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import http_ece  # type: ignore[import-untyped]
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import campfire as program
from tests.support.asking import mention, settle, texts
from tests.support.cast import Cast, Person, Server
from tests.support.readers import Receiver

DEVICES = "/api/users/me/push_subscriptions"


def base64_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def bytes_of(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


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


async def endpoints(person: Person) -> list[str]:
    devices = (await person.get(DEVICES)).json["push_subscriptions"]
    return [each["endpoint"].rpartition("/")[2] for each in devices]


def check_vapid(header: str, origin: str, boot: dict[str, Any]) -> None:
    """The proof of who sends (RFC 8292), checked as a push service does."""
    assert header.startswith("vapid ")
    parts = dict(each.strip().split("=", 1) for each in header.removeprefix("vapid ").split(","))
    head, claims, signature = parts["t"].split(".")
    point, raw = bytes_of(parts["k"]), bytes_of(signature)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    public.verify(utils.encode_dss_signature(r, s), f"{head}.{claims}".encode(), ec.ECDSA(SHA256()))
    told = json.loads(bytes_of(claims))
    assert json.loads(bytes_of(head))["alg"] == "ES256"
    assert (told["aud"], told["sub"]) == (origin, "mailto:david@example.com")
    assert 0 < told["exp"] - time.time() <= 24 * 3600
    assert parts["k"].rstrip("=") == boot["vapid_public_key"].rstrip("=")


class TurnableLoop(asyncio.SelectorEventLoop):
    """A loop whose clock a test turns on, so that seven seconds pass at once."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


async def hang_for_ten_seconds(server: Server, cast: Cast, service: Service) -> None:
    """Eight at once to a person, one to an endpoint, and after three timeouts an hour's rest."""
    loop, keys = asyncio.get_running_loop(), Browser().keys
    assert isinstance(loop, TurnableLoop)
    jz, kevin, david = [await server.sign_in(each) for each in (cast.jz, cast.kevin, cast.david)]
    for person, devices in ((kevin, 20), (david, 1)):
        await person.put(f"/api/rooms/{cast.pets.id}/involvement", {"involvement": "everything"})
        for n in range(devices):
            await subscribe(person, f"{service.address}/devices/{person.id}-{n}", keys)
    service.may_answer.clear()

    await jz.say(cast.pets, "hello")  # which nothing holds up
    await service.has(9)
    await jz.say(cast.pets, "and once more")
    for seconds, come in ((9.5, 9), (0.6, 18), (10.1, 26), (10.1, 34)):
        loop.ahead += seconds
        await service.has(come)
        await jz.say(cast.designers, "nobody waits")
        assert len(service.came) == come
    service.may_answer.set()
    await settle(server)
    assert server.parts.push.pushes["failed"] == 26
    assert len(await endpoints(kevin)) == 20


async def rest_for_an_hour(server: Server, cast: Cast, service: Service) -> None:
    """Three timeouts running, then an hour in which nobody calls; a good answer forgives."""
    loop, keys = asyncio.get_running_loop(), Browser().keys
    assert isinstance(loop, TurnableLoop)
    jz, kevin = await server.sign_in(cast.jz), await server.sign_in(cast.kevin)
    await kevin.put(f"/api/rooms/{cast.pets.id}/involvement", {"involvement": "everything"})
    await subscribe(kevin, f"{service.address}/devices/one", keys)

    for answered in (False, False, True, False, False, False):
        service.may_answer.set() if answered else service.may_answer.clear()
        await jz.say(cast.pets, "hello")
        await service.has(1)
        loop.ahead += 0 if answered else 10.1
        await settle(server)
        assert service.devices == ["one"]
    service.may_answer.set()
    for seconds, devices in ((0, []), (3_500, []), (101, ["one"]), (0, ["one"])):
        loop.ahead += seconds
        jz = await server.sign_in(cast.jz)  # nobody's connection is kept for so long
        await jz.say(cast.pets, "are you there?")
        await settle(server)
        assert service.devices == devices
    assert server.parts.push.pushes["resting"] == 2


TIMED_OUT = "Failed to respond within 7 seconds"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.listen()
    yield receiver
    await receiver.close()


async def give_webhook(david: Person, bot: program.User, url: str) -> None:
    given = {"webhook_url": url}
    assert (await david.put(f"/api/account/bots/{bot.id}", given)).status == 200


async def hang_at_three_stages(server: Server, cast: Cast) -> list[str]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TurnableLoop)
    david, kevin = await server.sign_in(cast.david), await server.sign_in(cast.kevin)
    at_headers, at_body, begun = Receiver(), Receiver(), asyncio.Event()
    urls = [await at_headers.listen(), await at_body.listen()]
    at_headers.may_answer.clear()

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(b"I was about to sa")
        begun.set()
        await at_headers.may_answer.wait()
        return response

    at_body.reply = half
    sockets = ExitStack()
    deaf = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    waiting = [sockets.enter_context(socket.socket()) for _ in range(3)]
    for each in waiting:  # they fill the queue of those who wait to be accepted
        each.settimeout(0)
        each.connect_ex(deaf.getsockname())
    urls.append(f"http://127.0.0.1:{deaf.getsockname()[1]}/hook")
    made = [
        await david.post("/api/account/bots", {"name": "Bot", "webhook_url": url}) for url in urls
    ]
    bots = [each.json["bot"] for each in made]
    found = await server.parts.db.read(
        program.users_by_id, [program.UserId(bot["id"]) for bot in bots]
    )
    await kevin.say(cast.pets, f"Anybody? {mention(server, *found.values())}")
    await at_headers.came.wait()
    await begun.wait()
    loop.ahead += 6.5
    assert await texts(kevin, cast.pets) == ["Anybody? @Bot@Bot@Bot"]
    loop.ahead += 0.6
    await settle(server)
    with sockets, pytest.raises(OSError, match="not connected"):
        waiting[-1].getpeername()  # the queue was full indeed
    at_headers.may_answer.set()
    for receiver in (at_headers, at_body):
        await receiver.close()
    return await texts(kevin, cast.pets)


class Names:
    """Names that lead where a test says, the next look-up elsewhere."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, *_: object) -> list[tuple[Any, ...]]:
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443))
                for each in self.answers.pop(0)]  # fmt: skip


def public_resolver(look_up: program.LookUp = socket.getaddrinfo) -> program.Resolver:
    """What finds the addresses of push services."""
    return program.Resolver(ThreadPoolExecutor(1), look_up, only_public=True)


def as_url(host: str) -> str:
    return f"https://[{host.replace('%', '%25')}]/x" if ":" in host else f"https://{host}/x"


class Hostile:
    """Ways in which a webhook may answer to harm whoever calls it."""

    def __init__(self, elsewhere: str) -> None:
        self.elsewhere, self.written = elsewhere, 0

    async def redirect(self, _: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(self.elsewhere)

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        for _ in range(1024):  # a gigabyte
            await response.write(b"x" * 1_048_576)
            self.written += 1
        return response

    async def bomb(self, _: web.Request) -> web.StreamResponse:
        packed = gzip.compress(b"x" * 200_000_000, 6)
        headers = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
        return web.Response(body=packed, headers=headers)

    async def broken(self, request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

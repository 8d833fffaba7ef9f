"""The open internet, as far as tests have it: sites behind names, and where everybody connected."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from aiohttp.abc import ResolveResult

import campfire as program
from tests.support.cast import Cast, Person, Server, Start
from tests.support.studio import at_work, encoded, painted

OUTSIDE = "93.184.216.34"  # where every name leads that a test says nothing of
CONNECTED: list[str] = []  # addresses, in this process, since it began

Site = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(args[1], tuple):
        CONNECTED.append(str(args[1][0]))


sys.addaudithook(_note)


def says(
    body: bytes | str = b"",
    kind: str = "text/html; charset=utf-8",
    status: int = 200,
    more: str = "",
) -> bytes:
    """An answer, as it is sent."""
    data = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status} So\r\nContent-Length: {len(data)}\r\nConnection: close\r\n"
    kind = f"Content-Type: {kind}\r\n" if kind else ""
    return f"{head}{kind}{more}\r\n".encode() + data


def leads_to(address: str, status: int = 302) -> bytes:
    return says(status=status, more=f"Location: {address}\r\n")


def tells(title: str = "A harbour", **more: str) -> str:
    """A page that says this of itself."""
    metas = {"og:title": title, **{f"og:{name}": value for name, value in more.items()}}
    told = "".join(f'<meta property="{name}" content="{value}">' for name, value in metas.items())
    return f"<!doctype html><html><head>{told}</head><body>Words</body></html>"


def picture(width: int = 640, height: int = 360, kind: str = "PNG") -> bytes:
    return encoded(painted(width, height), kind)


def drawn(data: bytes | None = None, kind: str = "image/png") -> bytes:
    return says(picture() if data is None else data, kind)


class Internet(program.Resolver):
    """Sites by their addresses; the guard judges where names lead, and only then are they here."""

    def __init__(self) -> None:
        super().__init__(ThreadPoolExecutor(1), self._look_up, only_public=True)
        self.sites: dict[str, Site] = {}
        self.leads: dict[str, list[list[str]]] = {}  # names, and where each look-up leads
        self.asked: list[str] = []  # host and path
        self.heads: list[str] = []
        self.news = asyncio.Condition()

    def _look_up(self, host: str, port: int, *_: object) -> list[tuple[Any, ...]]:
        ways = self.leads.get(host, [[OUTSIDE]])
        found = ways.pop(0) if len(ways) > 1 else ways[0]
        kinds = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(kinds[":" in it], socket.SOCK_STREAM, 6, "", (it, port)) for it in found]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        return [ResolveResult(**{**found[0], "host": "127.0.0.1", "port": self.port,
                                 "family": socket.AF_INET})]  # fmt: skip

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()

    async def has_been_asked(self, times: int) -> None:
        async with self.news, asyncio.timeout(30):
            await self.news.wait_for(lambda: len(self.asked) >= times)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        [host] = [line[6:] for line in head.split("\r\n") if line.lower().startswith("host: ")]
        async with self.news:
            self.asked.append(host + path)
            self.heads.append(head)
            self.news.notify_all()
        site = self.sites.get(host + path, says("nothing here", status=404))
        try:
            if isinstance(site, bytes):
                writer.write(site)
                await writer.drain()
            else:
                await site(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def internet(start: Start, cast: Cast) -> AsyncIterator[tuple[Server, Person, Internet]]:
    """A server that can look at pages, Kevin, and the sites there are."""
    server = await start()
    internet = Internet()
    await internet.listen()
    server.parts.previews.client.names = internet
    process = at_work(server.parts.workshop)
    yield server, await server.sign_in(cast.kevin), internet
    await server.close()
    server.parts.workshop.close()
    await asyncio.to_thread(process.wait, 30)
    await internet.close()


async def unfurled(person: Person, url: str) -> dict[str, Any] | None:
    """What the server says of a page."""
    answer = await person.post("/api/unfurl_link", {"url": url})
    if answer.status == 204:
        return None
    assert answer.status == 200, answer.text
    return cast(dict[str, Any], answer.json)

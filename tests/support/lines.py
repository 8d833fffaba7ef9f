"""A way to a server that is as slow as a test says, can be lost, and be found again."""

import asyncio
import re
import threading
from collections.abc import Coroutine
from typing import Any

PIECE = 64 * 1024
ID = re.compile(rb'name="client_message_id"\r\n\r\n([-\w]+)')


class Line:
    """What goes up through it is counted; `losing_at` bytes of a file cut it by itself."""

    def __init__(self, port: int, speed: int) -> None:
        self._goal, self._speed = port, speed  # bytes in a second, upwards
        self.port = 0
        self.gone, self.losing_at = 0, 0
        self.ids: list[str] = []  # of the files whose sending began, each time
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.mend()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_lost(self) -> bool:
        return self._server is None

    def lose(self) -> None:
        self._do(self._lose())

    def mend(self) -> None:
        self._do(self._listen())

    def close(self) -> None:
        self._do(self._lose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._opened, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _lose(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for end in self._ends:
            end.transport.abort()

    async def _opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._goal)
        ends = {writer, to_server}
        self._ends |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._up(reader, to_server))
                group.create_task(self._down(from_server, writer))
        except* OSError:
            pass  # either side is gone, and the other with it
        finally:
            self._ends -= ends
            for end in ends:
                end.close()

    async def _up(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            if found := ID.search(piece):
                self.ids.append(found[1].decode())
            self.gone += len(piece)
            if 0 < self.losing_at <= self.gone:
                self.losing_at = 0
                await self._lose()
                return
            to.write(piece)
            await to.drain()
            through = asyncio.Event()
            self._loop.call_later(len(piece) / self._speed, through.set)
            await through.wait()
        to.close()

    async def _down(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            to.write(piece)
            await to.drain()
        to.close()

"""What makes the load that `tests.bench` measures: people who post and read, tabs that listen.

Each role is a process of its own, started as `python -m tests.bench.load ROLE`, which is told its
settings, and what to do next, as one JSON object a line, and says what it has done the same way.
It works on raw sockets with large reads, so that it costs less than what it measures.
`bare` is the reference: aiohttp and nothing else, under the same load.
"""

import json
import os
import re
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

SENT = re.compile(rb'data-plain-text=\\"sent-(\d+)')  # when a message was sent, in its markup
APPENDED = re.compile(rb'class=\\"message\\" data-message-id=\\"(\d+)')
MESSAGE_BYTES = 512  # a longer frame is a message; pings and confirmations are shorter
PROTOCOLS = ("actioncable-v1-json",)
PING, PONG = 0x89, b"\x8a\x80" + bytes(4)
LARGE_READ = 1 << 18
PATIENCE = 30  # seconds without any progress after which the load gives up


def now() -> int:
    """The moment on the clock all processes share, in nanoseconds."""
    return time.monotonic_ns()


def say(**facts: object) -> None:
    """Reports to the bench; every report tells how busy this process was."""
    sys.stdout.write(json.dumps({"busy": time.process_time(), **facts}) + "\n")
    sys.stdout.flush()


def told() -> dict[str, Any]:
    """What to do next; nothing when the bench is gone."""
    line = sys.stdin.readline()
    found: dict[str, Any] = json.loads(line) if line else {"do": "end"}
    return found


def quantiles(nanoseconds: list[int]) -> dict[str, float]:
    """The median and the 99th percentile in milliseconds."""
    ordered = sorted(nanoseconds)
    if not ordered:
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    at = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "max": len(ordered) - 1}
    return {name: ordered[place] / 1e6 for name, place in at.items()}


# --- People: requests over connections that stay open --------------------------------------------


class Browser:
    """One keep-alive connection with one request under way at most."""

    def __init__(self, address: tuple[str, int], head: str, room: int) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = head.replace("ROOM", str(room))
        self.buffer = b""
        self.sent = 0

    def ask(self, body: str, number: int) -> None:
        self.sent = now()
        name = f"{os.getpid():08d}-{number:08d}"  # no two posts of a run are the same
        filled = body.replace("NAME", name).replace("SENT", f"{self.sent:020d}")
        length = f"Content-Length: {len(filled)}\r\n" if body else ""
        head = self.head.replace("COUNT", name) if "COUNT" in self.head else self.head
        self.socket.sendall(f"{head}{length}\r\n{filled}".encode())

    def heard(self) -> bool:
        """Whether the whole answer is here. Raises ValueError when it is a refusal."""
        arrived = self.socket.recv(LARGE_READ)
        self.buffer += arrived
        head, gap, body = self.buffer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head) if gap else None
        if not arrived or (gap and not head.startswith(b"HTTP/1.1 2")):
            raise ValueError(self.buffer[:400].decode(errors="replace"))
        if length is None or len(body) < int(length[1]):
            return False
        self.buffer = b""
        return True


class People:
    """Everybody asks again as soon as they have an answer, or all of them together at a pace."""

    def __init__(self, given: dict[str, Any]) -> None:
        rooms = given["rooms"]
        self.body = given["body"]
        self.browsers = {
            browser.socket.fileno(): browser
            for number, head in enumerate(given["heads"])
            for browser in [Browser(tuple(given["address"]), head, rooms[number % len(rooms)])]
        }
        self.poll = select.epoll()
        for number in self.browsers:
            self.poll.register(number, select.EPOLLIN)
        self.asked = 0

    def go(self, requests: int, seconds: float, pace: float) -> dict[str, object]:
        """Sends so many requests, or for so long; how many were answered, and how fast."""
        began, took = now(), list[int]()
        idle, waiting, asked = list(self.browsers.values()), 0, 0
        while True:
            passed = (now() - began) / 1e9
            due = requests if not pace else int(passed * pace) + 1
            wanted = min(due, requests) if passed < seconds else asked
            while idle and asked < wanted:
                idle.pop(0).ask(self.body, self.asked + asked)
                waiting, asked = waiting + 1, asked + 1
            if not waiting and (asked >= requests or passed >= seconds):
                break
            next_one = (asked / pace - passed) if pace else PATIENCE
            for number, _ in self.poll.poll(max(min(next_one, PATIENCE), 0.0005)):
                browser = self.browsers[number]
                if browser.heard():
                    took.append(now() - browser.sent)
                    idle.append(browser)
                    waiting -= 1
        self.asked += asked
        return {"answered": len(took), "seconds": (now() - began) / 1e9, **quantiles(took)}


def people(given: dict[str, Any]) -> None:
    """Requests until told to end."""
    crowd = People(given)
    say(ready=True)
    while (order := told())["do"] != "end":
        busy = time.process_time()
        done = crowd.go(order["requests"], order["seconds"], order["pace"])
        spent = time.process_time() - busy
        say(share=spent / max(float(str(done["seconds"])), 0.001), **done)


# --- Tabs: sockets that subscribe and count ------------------------------------------------------


def masked(text: str) -> bytes:
    """A client's text frame; a mask of zeros leaves the text as it is."""
    data = text.encode()
    short = len(data) < 126
    size = bytes((0x80 | len(data),)) if short else b"\xfe" + len(data).to_bytes(2, "big")
    return b"\x81" + size + bytes(4) + data


class Tab:
    """One socket. Frames are hopped over by their headers and never decoded."""

    def __init__(self, address: tuple[str, int], opening: bytes, subscribes: list[str]) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(address)
        self.opening, self.subscribes = opening, subscribes
        self.confirmed = self.frames = 0
        self.is_open = self.has_asked = self.is_long = False
        self.rest, self.left, self.seen = b"", 0, b""
        self.found: list[tuple[int, int]] = []  # what a pattern found, and when

    @property
    def is_ready(self) -> bool:
        return self.has_asked and self.confirmed >= len(self.subscribes)

    def begin(self) -> None:
        self.socket.sendall(self.opening)

    def take(self, data: bytes) -> None:
        """Counts the messages in what arrived. Raises ValueError when the door was shut."""
        if not self.is_open:
            data = self.rest + data
            head, gap, data = data.partition(b"\r\n\r\n")
            if not gap:
                self.rest = head
                return
            if b" 101 " not in head:
                raise ValueError(head.decode(errors="replace"))
            self.is_open, self.rest = True, b""
        if not self.is_ready:
            self._open(data)
        self._hop(data)

    def _open(self, data: bytes) -> None:
        window = self.seen + data
        if not self.has_asked and b'"welcome"' in window:
            self.has_asked = True
            self.socket.sendall(b"".join(map(masked, self.subscribes)))
        if b"reject_subscription" in window or b'"disconnect"' in window:
            raise ValueError(window.decode(errors="replace"))
        self.confirmed += window.count(b"confirm_subscription")
        end = window.rfind(b"confirm_subscription") + len(b"confirm_subscription")
        self.seen = window[max(end, len(window) - 40) :]

    def _hop(self, data: bytes) -> None:  # one loop, unrolled for speed
        if self.left > len(data):
            self.left -= len(data)
            return
        if self.left:
            self.frames += self.is_long
        data, at = (self.rest + data, self.left) if self.rest else (data, self.left)
        self.left, self.rest, size = 0, b"", len(data)
        while size - at >= 2:
            if size - at < 10 and (data[at + 1] > 125):
                break
            length, head = data[at + 1], 2
            if length == 126:
                length, head = data[at + 2] << 8 | data[at + 3], 4
            elif length == 127:
                length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
            if data[at] == PING:
                self.socket.sendall(PONG)
            at += head + length
            self.is_long = length >= MESSAGE_BYTES
            if at > size:
                self.left = at - size
                return
            self.frames += self.is_long
        self.rest = data[at:]

    def note(self, data: bytes, pattern: re.Pattern[bytes], at: int) -> None:
        """Remembers what a pattern finds, also across two reads."""
        window, end = self.seen + data, 0
        for hit in pattern.finditer(window):
            self.found.append((int(hit[1]), at))
            end = hit.end()
        self.seen = window[max(end, len(window) - 80) :]


class Tabs:
    """All sockets of one process."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.poll = select.epoll()
        self.tabs: dict[int, Tab] = {}
        self.is_timed: bool = given["timed"]
        self.watched: set[int] = set()
        address, many = tuple(given["address"]), given["openings"]
        began = now()
        for number in range(given["count"]):
            opening = many[number % len(many)].encode()
            tab = Tab(address, opening, given["subscribes"])
            self.tabs[tab.socket.fileno()] = tab
            self.poll.register(tab.socket, select.EPOLLOUT)
        waiting = set(self.tabs)
        while waiting:
            for number in self.turn():
                if self.tabs[number].is_ready:
                    waiting.discard(number)
        self.opened = (now() - began) / 1e9
        # In a room of thousands a few tabs tell the order; when times count, every tab does.
        self.watched = set(self.tabs) if self.is_timed else set(list(self.tabs)[:3])
        for tab in self.tabs.values():
            tab.frames, tab.seen = 0, b""

    def turn(self) -> list[int]:
        """Reads whatever arrived; the sockets it arrived at."""
        ready = self.poll.poll(PATIENCE)
        if not ready:
            raise TimeoutError("nothing more arrived")
        pattern, touched = SENT if self.is_timed else APPENDED, []
        for number, event in ready:
            if number == sys.stdin.fileno():
                touched.append(number)
                continue
            tab = self.tabs[number]
            if event & select.EPOLLOUT:
                self.poll.modify(number, select.EPOLLIN)
                tab.begin()
                continue
            data = tab.socket.recv(LARGE_READ)
            at = now()
            if not data:
                raise ConnectionResetError("a tab was closed")
            tab.take(data)
            if number in self.watched:
                tab.note(data, pattern, at)
            touched.append(number)
        return touched

    def wait_for(self, frames: int) -> None:
        """Until every tab has got so many messages since the last report."""
        behind = {number for number, tab in self.tabs.items() if tab.frames < frames}
        while behind:
            behind -= {number for number in self.turn() if self._has(number, frames)}

    def _has(self, number: int, frames: int) -> bool:
        return number in self.tabs and self.tabs[number].frames >= frames

    def report(self) -> dict[str, object]:
        """What arrived since the last report: too many is as wrong as too few."""
        counts = [tab.frames for tab in self.tabs.values()]
        found = [tab.found for number, tab in self.tabs.items() if number in self.watched]
        ids = [[value for value, _ in each] for each in found]
        delays = [at - sent for each in found for sent, at in each] if self.is_timed else []
        for tab in self.tabs.values():
            tab.frames, tab.found = 0, []
        return {
            "least": min(counts), "most": max(counts), "total": sum(counts),
            "in_order": self.is_timed or all(sorted(set(each)) == each for each in ids),
            **quantiles(delays),
        }  # fmt: skip


def tabs(given: dict[str, Any]) -> None:
    """Sockets that listen until told to end."""
    try:
        crowd = Tabs(given)
    except (ValueError, OSError) as error:
        say(failed=str(error)[:400])
        return
    say(opened=crowd.opened)
    crowd.poll.register(sys.stdin.fileno(), select.EPOLLIN)
    while True:
        if sys.stdin.fileno() not in crowd.turn():
            continue
        order = told()
        if order["do"] == "end":
            return
        crowd.poll.unregister(sys.stdin.fileno())
        crowd.wait_for(order["frames"])
        crowd.poll.register(sys.stdin.fileno(), select.EPOLLIN)
        say(**crowd.report())


# --- The reference -------------------------------------------------------------------------------


def bare(given: dict[str, Any]) -> None:
    """aiohttp that answers JSON, and sends every message to every socket with `send_str`."""
    sockets: set[web.WebSocketResponse] = set()
    padding = "x" * given["frame"]

    async def show(_: web.Request) -> web.Response:
        return web.json_response({"id": 1, "name": "All Talk", "type": "open", "unread": False})

    async def post(request: web.Request) -> web.Response:
        body = (await request.json())["body"]
        said = f'data-plain-text="{body.removeprefix("<div>")}"{padding}'
        text = json.dumps({"identifier": "room", "message": said})
        for each in list(sockets):
            await each.send_str(text)
        return web.json_response({"id": 1}, status=201)

    async def cable(request: web.Request) -> web.WebSocketResponse:
        each = web.WebSocketResponse(protocols=PROTOCOLS, compress=False, heartbeat=25)
        await each.prepare(request)
        await each.send_str('{"type":"welcome"}')
        async for message in each:
            await each.send_str(f'{{"type":"confirm_subscription","identifier":{message.data}}}')
            sockets.add(each)
        sockets.discard(each)
        return each

    app = web.Application()
    app.add_routes([web.get("/up", show), web.get("/json", show)])
    app.add_routes([web.post("/post", post), web.get("/cable", cable)])
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sys.stdout.write(f"Listening on http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    web.run_app(app, sock=listener, access_log=None, print=None)


ROLES: dict[str, Callable[[dict[str, Any]], None]] = {"people": people, "tabs": tabs, "bare": bare}

if __name__ == "__main__":
    ROLES[sys.argv[1]](json.loads(sys.argv[2]) if sys.argv[2:] else told())

"""Whom tests meet: Action Cable in Node, Turbo in Chromium, a webhook, a life, the executable."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import Page, Route, async_playwright, expect

import campfire as program
from campfire import Room, RoomId
from tests.conftest import Markup, Place, boosts_in, read_back
from tests.support.cast import AGENT, PATIENCE, SESAME, Person
from tests.support.doing import make_administrator, page_of, start_session
from tests.support.listeners import messages_of

PYZ = Path(__file__).resolve().parents[2] / "campfire.pyz"
Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]
TYPING = "TypingNotificationsChannel"
ACTION_CABLE = "@rails/actioncable/app/assets/javascripts/actioncable.js"
PACKAGES = Path(__file__).resolve().parents[2] / "static_bundle" / "node_modules"
CHROMIUM = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
    # A page that the test serves itself has no address, and so no network to be local to.
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets",
]  # fmt: skip
# A browser's surroundings as far as Action Cable looks at them, told what to do line by line.
NODE = """
const page = new EventTarget()
Object.assign(globalThis, {
  document: { visibilityState: "visible" },
  addEventListener: page.addEventListener.bind(page),
  removeEventListener: page.removeEventListener.bind(page),
})
const ActionCable = require("@rails/actioncable")
const [origin, cookie] = process.argv.slice(1)
const say = event => process.stdout.write(JSON.stringify(event) + "\\n")
ActionCable.adapters.WebSocket = class extends require("ws") {
  constructor(url, protocols) { super(url, protocols, { origin, headers: { cookie } }) }
}
const consumer = ActionCable.createConsumer(origin.replace("http", "ws") + "/cable")
const subscriptions = {}
const todo = {
  subscribe({ tag, params }) {
    subscriptions[tag] = consumer.subscriptions.create(params, {
      connected: ({ reconnected }) => say({ tag, event: "connected", reconnected }),
      disconnected: ({ willAttemptReconnect }) =>
        say({ tag, event: "disconnected", willAttemptReconnect }),
      rejected: () => say({ tag, event: "rejected" }),
      received: data => say({ tag, event: "received", data }),
    })
  },
  perform: ({ tag, action, data }) => subscriptions[tag].perform(action, data),
  unsubscribe: ({ tag }) => subscriptions[tag].unsubscribe(),
  look: () => page.dispatchEvent(new Event("visibilitychange")),
}
require("readline").createInterface({ input: process.stdin })
  .on("line", line => { const { what, ...how } = JSON.parse(line); todo[what](how) })
  .on("close", () => process.exit())
"""
# What turbo-rails does around the two packages: a stream source that the cable feeds.
SOURCE = """
const consumer = ActionCable.createConsumer("/cable")
customElements.define("cable-source", class extends HTMLElement {
  connectedCallback() {
    Turbo.connectStreamSource(this)
    const { channel, name } = this.dataset
    consumer.subscriptions.create({ channel, signed_stream_name: name }, {
      connected: () => this.setAttribute("connected", ""),
      received: data => this.dispatchEvent(new MessageEvent("message", { data })),
    })
  }
})
"""


class NodeClient:
    """The official client in a Node of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def tell(self, what: str, tag: str = "", **how: object) -> None:
        self._in.write(json.dumps({"what": what, "tag": tag, **how}).encode() + b"\n")

    def leave(self) -> None:
        self._in.close()

    async def hears(self) -> tuple[str, str, Any]:
        """What happened next: to which subscription, what, and the one thing to know of it."""
        async with asyncio.timeout(PATIENCE):
            line = await self._out.readline()
        event = json.loads(line)
        return event.pop("tag"), event.pop("event"), next(iter(event.values()), None)


@asynccontextmanager
async def node_client(person: Person) -> AsyncIterator[NodeClient]:
    cookie = f"session_token={person.cookie('session_token')}"
    process = await asyncio.create_subprocess_exec(
        "node", "-e", NODE, person.server.address, cookie, cwd=PACKAGES,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    client = NodeClient(process)
    try:
        yield client
    finally:
        client.leave()
        await process.communicate()


@asynccontextmanager
async def turbo_page(person: Person, *sources: Mapping[str, str]) -> AsyncIterator[Page]:
    """A page of this site with nothing but the two packages and the stream sources."""
    server = person.server

    async def blank(route: Route) -> None:
        await route.fulfill(content_type="text/html", body="<!doctype html><body></body>")

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=CHROMIUM
        )
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        token = person.cookie("session_token") or ""
        await page.context.add_cookies(
            [{"name": "session_token", "value": token, "url": server.address}]
        )
        await page.route(f"{server.address}/blank", blank)
        await page.goto(f"{server.address}/blank")
        await page.add_script_tag(path=PACKAGES / "@hotwired/turbo/dist/turbo.es2017-umd.js")
        await page.add_script_tag(path=PACKAGES / ACTION_CABLE)
        await page.add_script_tag(content=SOURCE)
        markup = "".join(
            f'<cable-source data-channel="{source["channel"]}"'
            f' data-name="{source["signed_stream_name"]}"></cable-source>'
            for source in sources
        )
        await page.evaluate("markup => document.body.innerHTML = markup", markup)
        await expect(page.locator("cable-source[connected]")).to_have_count(len(sources))
        yield page
        await browser.close()


FRAME = re.compile(
    r'<turbo-stream (?:maintain_scroll="true" )?action="(\w+)" target="([^"]+)">'
    r"(?:<template>(.*)</template>)?</turbo-stream>",
    re.DOTALL,
)
Seen = tuple[str, str, tuple[tuple[object, object], ...]]


def seen(message: Mapping[str, Any]) -> Seen:
    """What a reader sees of a message: who it is, its body, its boosts."""
    boosts = tuple((boost["id"], boost["content"]) for boost in message["boosts"])
    return message["client_message_id"], message["body_html"], boosts


class Reader:
    """A room as one client shows it: the page it loaded, and what frames made of that."""

    def __init__(self, person: Person, room: RoomId) -> None:
        self.person, self.room = person, room
        self.shown: dict[int, dict[str, Any]] = {}
        self.since = 0

    async def load(self) -> None:
        answer = (await self.person.get(f"/api/rooms/{self.room}")).json
        self.shown = {each["id"]: each for each in answer["messages"]["messages"]}
        self.since = answer["loaded_at_ms"]

    async def listen(self, between: Coroutine[Any, Any, None]) -> None:
        """Subscribes and, after what happens between, catches up, as after every `connected`."""
        self.appended: list[int] = []
        self.tab = await self.person.welcomed()
        signed = self.person.server.parts.signer.stream(f"room_{self.room}:messages")
        params = {"channel": "RoomMessagesChannel", "signed_stream_name": signed}
        identifier = await self.tab.subscribe(**params)
        last_seen = max(self.shown, default=None)
        await between
        await self.tab.perform(
            identifier, "catch_up", last_seen_message_id=last_seen, since=self.since
        )
        while not isinstance(message := await self.tab.next_message(), dict):
            self.apply(message)
        assert message["reset"] is False
        assert message["last_seen_message_id"] >= max(self.shown, default=0)
        self.since = message["server_time_ms"]

    async def lose_connection(self, lost: int) -> None:
        """The last frames never arrive."""
        frames = await self.tab.drain()
        for frame in frames[: len(frames) - lost if lost < len(frames) else 0]:
            self.apply(frame)
        await self.tab.socket.close()

    async def catch_breath(self) -> None:
        for frame in await self.tab.drain():
            self.apply(frame)
        assert len(set(self.appended)) == len(self.appended)  # none twice on one connection

    def named(self, client_message_id: str) -> dict[str, Any] | None:
        found = [m for m in self.shown.values() if m["client_message_id"] == client_message_id]
        return found[0] if found else None

    def apply(self, frame: str) -> None:
        found = FRAME.fullmatch(frame)
        assert found is not None, frame
        action, target, markup = found[1], found[2], found[3] or ""
        kind, _, name = target.rpartition("_")
        if (action, kind) == ("append", "messages_room"):
            for each in re.split(r'(?=<div id="message_)', markup)[1:]:
                self.appended.append(self.keep(read_back(each)))
        elif (action, kind) == ("remove", "boost"):
            for message in self.shown.values():
                message["boosts"] = [b for b in message["boosts"] if b["id"] != int(name)]
        elif message := self.named(name) or {}:
            self.change(message, f"{action} {kind}", markup)

    def change(self, message: dict[str, Any], how: str, markup: str) -> None:
        match how:
            case "append boosts_message":
                [boost] = boosts_in(Markup(markup))
                others = [each for each in message["boosts"] if each["id"] != boost["id"]]
                message["boosts"] = [*others, boost]
            case "replace message":
                self.keep(read_back(markup))
            case "replace presentation_message":
                body = re.search(r'<div class="trix-content">(.*)</div></div>', markup)
                message["body_html"] = body and body[1]
            case "remove message":
                del self.shown[message["id"]]
            case _:
                raise AssertionError(how)

    def keep(self, message: dict[str, Any]) -> int:
        self.shown[message["id"]] = message
        self.since = max(self.since, message["updated_at_ms"])
        return int(message["id"])


async def happen(jz: Person, room: RoomId, deed: tuple[str, int]) -> None:
    """One deed of somebody else in the room; on the message at this place, if it needs one."""
    what, which = deed
    page = await page_of(jz.server.parts, jz.user, room)
    ids, path = [each.id for each in page.messages], f"/api/rooms/{room}/messages"
    chosen = ids[which % len(ids)] if ids else 0
    match what:
        case "edit" if ids:
            await jz.put(f"{path}/{chosen}", {"body": f"edited {which}"})
        case "delete" if ids:
            await jz.delete(f"{path}/{chosen}")
        case "boost" if ids:
            await jz.post(f"/api/messages/{chosen}/boosts", {"content": f"b{which}"})
        case "unboost" if ids:
            boosts = (await jz.get(f"/api/messages/{chosen}/boosts")).json.get("boosts", [])
            for boost in boosts[:1]:
                await jz.delete(f"/api/messages/{chosen}/boosts/{boost['id']}")
        case _:
            await jz.post(path, {"body": f"said {which}"})


async def caught_up(person: Person, room: Room, last_seen: object, since: object) -> list[Any]:
    """The frames of a catch-up on a fresh socket."""
    tab = await person.room_tab(room)
    identifier = json.dumps(messages_of(person.server, room))
    await tab.perform(identifier, "catch_up", last_seen_message_id=last_seen, since=since)
    return await tab.drain()


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


class Life:
    """Somebody new, and what should be true of them."""

    def __init__(self, place: Place, number: int) -> None:
        self.place, self.address = place, f"52.{number % 200}.7.1"
        self.fields = {"email_address": f"new{number}@example.com", "password": SESAME}
        self.status, self.is_address_banned = "active", False
        self.browser = place.do(place.server.visitor())
        given = {"name": "New", **self.fields}
        joined = self.browser.post(f"/api/join/{place.cast.join_code}", given)
        self.id = program.UserId(place.do(joined).json["user"]["id"])
        self.sign_in()
        self.void_link = ""
        self.link = (
            place.do(self.browser.get("/api/users/me/profile"))
            .json["transfer_url"]
            .rpartition("/")[2]
        )

    def sign_in(self) -> None:
        token = self.place.do(start_session(self.place.parts, self.id, self.address, AGENT))
        self.browser.set_cookie("session_token", token)
        self.is_signed_in = True

    def lose_links(self, *, has_left: bool) -> None:
        """A link made before a ban stays dead, whatever comes."""
        if not has_left:
            self.void_link, self.link = self.link or self.void_link, ""

    def meet(self, what: str, david: Person) -> None:
        """One thing happens to them; then something else is true of them."""
        do, path, status = self.place.do, f"/api/users/{self.id}/ban", self.status
        has_left, is_in = status == "deactivated", status == "active"
        if what == "ban":
            assert do(david.post(path)).status == (422 if has_left else 200)
            self.is_address_banned |= self.is_signed_in
            self.lose_links(has_left=has_left)
        elif what == "unban":
            assert do(david.delete(path)).status == (422 if has_left else 200)
        elif what == "deactivate":
            answer = do(david.delete(f"/api/account/users/{self.id}"))
            assert answer.status == (204 if is_in else 404)
        elif what == "promote" and not has_left:
            do(make_administrator(self.place.parts, "New", self.fields["email_address"]))
            self.link, self.is_signed_in = "", False  # the password is another
        elif what == "sign in" and is_in:
            self.sign_in()
        elif what == "open a room":
            do(self.place.rooms.create_open(self.place.cast.jz, "Open"))
        if not has_left and what in ("ban", "unban", "promote", "deactivate"[: 10 * is_in]):
            self.status = {"ban": "banned", "deactivate": "deactivated"}.get(what, "active")
        self.is_signed_in &= self.status == "active"
        self.is_address_banned &= self.status != "active"

    async def check(self) -> None:
        status, here = 201 if self.status == "active" else 401, {"X-Forwarded-For": self.address}
        assert (await self.browser.get("/api/rooms")).status == (200 if self.is_signed_in else 401)
        first = await (await self.browser.cable()).next_frame()
        assert first["type"] == ("welcome" if self.is_signed_in else "disconnect")
        stranger = await self.place.server.visitor()
        assert (await stranger.post("/api/session", self.fields)).status == status
        expected = 429 if self.is_address_banned else status
        assert (await stranger.post("/api/session", self.fields, here)).status == expected
        assert (await stranger.get("/session/new", here)).status == 200
        if self.void_link:
            voided = await stranger.put(f"/api/session/transfers/{self.void_link}", None)
            assert voided.status == 400
        if self.link:
            redeemed = await stranger.put(f"/api/session/transfers/{self.link}")
            assert redeemed.status == (201 if status == 201 else 400)


class Campfire:
    """`campfire.pyz serve`, as an operator runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, PYZ, "serve", "--host", "127.0.0.1", "--port", str(self.port)],
            env={
                **os.environ,
                "CAMPFIRE_DB": str(self.folder / "campfire.db"),
                "BCRYPT_COST": "4",
                "ALLOW_PRIVATE_PUSH_ENDPOINTS": "1",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        listening = threading.Event()
        threading.Thread(target=self._read_log, args=(self.process, listening)).start()
        assert listening.wait(30), "the server did not start"
        assert self.process.poll() is None

    def _read_log(self, process: subprocess.Popen[str], listening: threading.Event) -> None:
        """Reads what the server prints to its end: a full pipe would stop it."""
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Listening on "):
                listening.set()
        process.stdout.close()
        listening.set()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

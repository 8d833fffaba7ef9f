"""@rails/actioncable and @hotwired/turbo, as they are, against the real server."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Page, Route, async_playwright, expect

from campfire import Room
from tests.support.cable import element, messages_of, turbo
from tests.support.cast import PATIENCE, Cast, Person, Server, Start
from tests.support.files import sent
from tests.support.studio import at_work, encoded, painted

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


async def test_turbo_shows_every_kind_of_file_without_a_script_of_ours(
    server: Server, kevin: Person, designers: Room
) -> None:
    process = at_work(server.parts.workshop)
    async with turbo_page(kevin, messages_of(server, designers)) as page:
        into = f'<div id="messages_room_{designers.id}"></div>'
        await page.evaluate("into => document.body.insertAdjacentHTML('beforeend', into)", into)
        film, sound = (b"\0\0\0\x18ftyp" + brand + bytes(64) for brand in (b"isom", b"M4A "))

        await sent(kevin, designers, encoded(painted(90, 60), "PNG"), "harbour.png")
        for data, name in ((film, "clip.mp4"), (sound, "memo.m4a"), (b"%PDF-1.7", "plan.pdf")):
            await sent(kevin, designers, data, name)
        await kevin.say(designers, "that was all")
        await expect(page.locator(".message .trix-content")).to_have_text(["that was all"])

        image = page.get_by_role("img", name="harbour.png")
        await expect(image).to_have_js_property("naturalWidth", 90)
        box = page.locator(".attachment--image")
        await expect(box).to_have_attribute("style", "width: 45px; aspect-ratio: 1.5;")
        await expect(page.locator("video[aria-label='clip.mp4']")).to_be_visible()
        await expect(page.locator("audio[aria-label='memo.m4a']")).to_be_visible()
        await expect(page.locator(".attachment--file")).to_contain_text(["plan.pdf 8 B"])
        links = page.get_by_role("link", name="Download plan.pdf")
        assert (await links.get_attribute("href") or "").endswith("/plan.pdf?download=1")
    server.parts.workshop.close()
    assert await asyncio.to_thread(process.wait, 30) == 0


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

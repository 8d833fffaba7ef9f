"""What clients make of us: the official packages unmodified, and one that loses its connection."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.async_api import Page, Route, async_playwright, expect

from campfire import Room, RoomId
from tests.cast import PATIENCE, Cast, Person, Server, Start
from tests.conftest import Markup, Place, boosts_in, read_back
from tests.test_channels import element, messages_of, turbo

TYPING = "TypingNotificationsChannel"
ACTION_CABLE = "@rails/actioncable/app/assets/javascripts/actioncable.js"
PACKAGES = Path(__file__).resolve().parent.parent / "static_bundle" / "node_modules"
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


# --- @rails/actioncable --------------------------------------------------------------------------


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


# --- @hotwired/turbo -----------------------------------------------------------------------------


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


# --- A client that loses its connection ----------------------------------------------------------

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
    page = await jz.server.parts.messages.page(jz.user, room)
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


deeds = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "edit", "delete", "boost", "unboost"]), st.integers(0, 5)
    ),
    max_size=7,
)


@settings(max_examples=80)
@given(deeds, deeds, st.integers(0, 8), deeds, deeds, deeds)
def test_whoever_loses_their_connection_ends_with_exactly_what_the_server_has(
    place: Place,
    before: list[tuple[str, int]],
    live: list[tuple[str, int]],
    lost: int,
    away: list[tuple[str, int]],
    between: list[tuple[str, int]],
    meanwhile: list[tuple[str, int]],
) -> None:
    cast = place.cast
    room = place.room(cast.jz, cast.kevin)

    async def story() -> None:
        jz, kevin = [await place.server.sign_in(user) for user in (cast.jz, cast.kevin)]

        async def happening(chapter: Sequence[tuple[str, int]]) -> None:
            for deed in chapter:
                await happen(jz, room, deed)

        await happening(before)
        reader, fresh = Reader(kevin, room), Reader(kevin, room)
        await reader.load()
        await asyncio.gather(happening(live), reader.listen(happening(between[:2])))
        await reader.lose_connection(lost)
        await happening(away)
        await asyncio.gather(happening(meanwhile), reader.listen(happening(between)))
        await reader.catch_breath()
        await fresh.load()

        shown = sorted(reader.shown.values(), key=lambda each: (each["sort_value"], each["id"]))
        assert list(map(seen, shown)) == list(map(seen, fresh.shown.values()))
        await asyncio.gather(jz.http.close(), kevin.http.close())

    place.do(story())


async def caught_up(person: Person, room: Room, last_seen: object, since: object) -> list[Any]:
    """The frames of a catch-up on a fresh socket."""
    tab = await person.room_tab(room)
    identifier = json.dumps(messages_of(person.server, room))
    await tab.perform(identifier, "catch_up", last_seen_message_id=last_seen, since=since)
    return await tab.drain()


async def test_a_catch_up_brings_the_missed_then_the_changed_then_the_removed_and_says_so(
    server: Server, kevin: Person, david: Person, designers: Room
) -> None:
    bystander = await david.room_tab(designers)
    path = f"/api/rooms/{designers.id}/messages"
    old = [await kevin.say(designers, f"old {n}", f"o{n}") for n in range(4)]
    since = old[-1]["timestamp"]
    missed = [await kevin.say(designers, f"new {n}", f"n{n}") for n in range(85)]
    await kevin.put(f"{path}/{old[1]['id']}", {"body": "edited"})
    await kevin.post(f"/api/messages/{old[0]['id']}/boosts", {"content": "+1"})
    for gone in (old[2], missed.pop(50)):
        await kevin.delete(f"{path}/{gone['id']}")
    await bystander.drain()

    *frames, done = await caught_up(kevin, designers, old[-1]["id"], since)

    elements = [await element(server, each, "Designers") for each in missed]
    target = f"messages_room_{designers.id}"
    changed = [await element(server, old[n], "Designers") for n in (3, 1, 0)]
    assert frames == [
        *(turbo("append", target, "".join(elements[n : n + 40])) for n in (0, 40, 80)),
        *(
            turbo("replace", f"message_o{n}", each)
            for n, each in zip((3, 1, 0), changed, strict=True)
        ),
        turbo("remove", "message_o2"),
    ]
    moment = done.pop("server_time_ms")
    newest = missed[-1]["id"]
    assert done == {"action": "caught_up", "last_seen_message_id": newest, "reset": False}
    assert since <= moment
    assert await bystander.drain() == []
    unusable: list[object] = [-1, "1", 1.5, [], True, 10**18]
    for last_seen in unusable:
        assert await caught_up(kevin, designers, last_seen, 0) == []
    for since in (None, "0", -1, 0.5, False, 10**15):
        assert await caught_up(kevin, designers, 1, since) == []


async def test_too_much_or_too_old_is_a_refresh(kevin: Person, designers: Room) -> None:
    refresh = '<turbo-stream action="refresh"></turbo-stream>'
    first = await kevin.say(designers, "first")
    now, week_ms = first["timestamp"], 7 * 24 * 3600 * 1000

    frames = await caught_up(kevin, designers, None, now - week_ms - 60_000)
    assert frames[0] == refresh
    assert frames[1]["reset"] is True
    assert len(await caught_up(kevin, designers, None, now - week_ms + 60_000)) == 2

    insert = """
        INSERT INTO messages
          (room_id, creator_id, client_message_id, body_html, body_text, created_at, updated_at)
        VALUES (:room, :by, 'long-' || :at, :text, :text, :at, :at)
    """
    many = [{"room": designers.id, "by": kevin.id, "text": "word " * 3_000, "at": now * 1000 + n}
            for n in range(1_000, 1_300)]  # fmt: skip
    await kevin.server.parts.db.write(lambda tx, _: tx.executemany(insert, many).rowcount)
    *frames, done = await caught_up(kevin, designers, first["id"], now + 1)
    assert (len(frames), done["reset"]) == (8, False)
    frames = await caught_up(kevin, designers, first["id"] - 1, now + 1)
    assert (frames[0], frames[1]["reset"], len(frames)) == (refresh, True, 2)

    tab, identifier = (
        await kevin.room_tab(designers),
        json.dumps(messages_of(kevin.server, designers)),
    )
    seen_now = {"last_seen_message_id": first["id"], "since": now + 1}
    await tab.perform(identifier, "catch_up", **seen_now)
    path = f"/api/rooms/{designers.id}/messages/{first['id'] + 1}"
    await kevin.put(path, {"body": "edited meanwhile"})
    frames = await tab.drain()  # the edit comes behind what it changes, or is in it already
    edits = [n for n, frame in enumerate(frames) if "edited meanwhile" in frame]
    assert edits[-1] in (0, len(frames) - 1)
    assert isinstance(frames[8], dict)

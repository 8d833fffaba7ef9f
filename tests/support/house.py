"""A Campfire that many browser tests share: people who stay, a room for each test, and the network.

Everybody has a browser context that only asks the API; windows are opened with its cookies, so a
test never signs in and leaves nothing behind but a room.
"""

import itertools
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest
from playwright.sync_api import (
    APIResponse,
    Browser,
    BrowserContext,
    FilePayload,
    FloatRect,
    Locator,
    Page,
    Route,
    WebSocketRoute,
)

from tests.support.browsers import (
    PAINTED,
    PASSWORD,
    choose,
    composer,
    connected,
    frames_heard,
    hold,
    until,
)
from tests.support.executable import Campfire


class House:
    """Maya, who administers it, Jonas and Inés; whoever else is wanted joins."""

    window: Callable[..., Page]  # of the test that is at work

    def __init__(self, campfire: Campfire, browser: Browser) -> None:
        self.url, self._campfire, self._browser = campfire.url, campfire, browser
        self._contexts: dict[str, BrowserContext] = {}
        self._tokens: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self.ids: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._come("Maya Okafor", "/api/first_run")
        self.join_code = self.ask("Maya", "GET", "/api/account")["account"]["join_code"]
        for name in ("Jonas Weber", "Inés Duarte"):
            self.invite(name)

    def invite(self, name: str, called: str = "") -> int:
        """Somebody new, known to the tests by their first name or as they are `called`."""
        return self._come(name, f"/api/join/{self.join_code}", called)

    def _come(self, name: str, path: str, called: str = "") -> int:
        called = called or name.partition(" ")[0]
        self._contexts[called] = self._browser.new_context(base_url=self.url)
        email = f"{called.lower()}@northwind.example"
        person = {"name": name, "email_address": email, "password": PASSWORD}
        user = self.ask(called, "POST", path, person)["user"]
        self._tokens.pop(called)  # the session has a token of its own
        self.ids[called], self._names[called] = int(user["id"]), name
        return self.ids[called]

    def ask(self, who: str, method: str, path: str, body: object = None) -> dict[str, Any]:
        """What the API answers this person, who must be allowed to ask."""
        request = self._contexts[who].request
        headers = {"X-CSRF-Token": self._token(who), "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        answer = request.fetch(path, method=method, headers=headers, data=data)
        assert answer.ok, f"{method} {path}: {answer.status} {answer.text()}"
        found: dict[str, Any] = answer.json() if answer.status != 204 else {}
        return found

    def _token(self, who: str) -> str:
        if who not in self._tokens:
            booted = self._contexts[who].request.get("/api/boot").json()
            self._tokens[who] = booted["csrf_token"]
        return self._tokens[who]

    def send(self, who: str, room: str, name: str, content: bytes) -> dict[str, Any]:
        """A file, of whatever kind its bytes say."""
        file = FilePayload(name=name, mimeType="application/octet-stream", buffer=content)
        headers = {"X-CSRF-Token": self._token(who)}
        request, path = self._contexts[who].request, f"/api{room}/messages"
        answer = request.post(path, headers=headers, multipart={"attachment": file})
        assert answer.ok, f"{name}: {answer.status} {answer.text()}"
        sent: dict[str, Any] = answer.json()["message"]
        return sent

    def sit(self, who: str, room: str = "", **options: Any) -> Page:  # noqa: ANN401 - playwright's own
        """Opens a window of somebody of the house: in a room, or nowhere yet."""
        page = self.window(storage_state=self.state(who), base_url=self.url, **options)
        if room:
            enter(page, room)
        return page

    def state(self, who: str) -> Any:  # noqa: ANN401 - playwright's own
        return self._contexts[who].storage_state()

    def room(self, by: str = "Maya", name: str = "", only: tuple[str, ...] = ()) -> str:
        """The address of a new room: open, or closed with `only` these people."""
        body: dict[str, object] = {"name": name or f"Room {next(self._numbers)}"}
        if only:
            body["user_ids"] = [self.ids[each] for each in only]
        path = "/api/rooms/closeds" if only else "/api/rooms/opens"
        return str(self.ask(by, "POST", path, body)["room"]["path"])

    def ping(self, by: str, *others: str) -> str:
        ids = [self.ids[each] for each in others]
        path = self.ask(by, "POST", "/api/rooms/directs", {"user_ids": ids})["room"]["path"]
        return str(path)

    def post(self, who: str, room: str, body: str, at: str = "") -> dict[str, Any]:
        """A message, said `at` another time when one is given."""
        path = f"/api{room}/messages"
        posted: dict[str, Any] = self.ask(who, "POST", path, {"body": body})["message"]
        if at:
            moment = int(datetime.fromisoformat(at).timestamp() * 1_000_000)
            statement = "UPDATE messages SET created_at = :at, updated_at = :at WHERE id = :id"
            self.run(statement, at=moment, id=posted["id"])
        return posted

    def mention(self, who: str) -> str:
        """The markup that mentions somebody."""
        query = f"query={self._names[who].partition(' ')[0]}"
        found = self.ask("Maya", "GET", f"/api/autocompletable/users?{query}")["users"]
        sgid = next(each["sgid"] for each in found if each["value"] == self.ids[who])
        kind = "application/vnd.campfire.mention"
        return (
            f'<action-text-attachment sgid="{sgid}" content-type="{kind}"></action-text-attachment>'
        )

    def edit(self, who: str, room: str, posted: dict[str, Any], body: str) -> None:
        self.ask(who, "PUT", f"/api{room}/messages/{posted['id']}", {"body": body})

    def delete(self, who: str, room: str, posted: dict[str, Any]) -> None:
        self.ask(who, "DELETE", f"/api{room}/messages/{posted['id']}")

    def boost(self, who: str, posted: dict[str, Any], content: str) -> None:
        self.ask(who, "POST", f"/api/messages/{posted['id']}/boosts", {"content": content})

    def boosts(self, who: str, posted: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(who, "GET", f"/api/messages/{posted['id']}/boosts")[
            "boosts"
        ]
        return found

    def run(self, statement: str, **values: object) -> None:
        """Changes the database behind the server's back, which no person can: the past."""
        path = self._campfire.folder / "campfire.db"
        with closing(sqlite3.connect(path, timeout=10)) as database, database:
            database.execute(statement, values)


@pytest.fixture(scope="module")
def housed(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    served = Campfire(tmp_path_factory.mktemp("house"))
    served.start()
    yield House(served, browser)
    assert served.stop() == 0


@pytest.fixture
def house(housed: House, window: Callable[..., Page]) -> House:
    housed.window = window
    return housed


def enter(page: Page, room: str) -> None:
    """Goes to a room, and waits until its news arrive live."""
    frames_heard(page).clear()
    page.goto(room)
    connected(page)
    page.evaluate(PAINTED)


# --- The network --------------------------------------------------------------------------------


class Cable:
    """A page's socket, which can be listened to, spoken into, and cut."""

    def __init__(self, page: Page) -> None:
        self.page, self.is_cut = page, False
        self.held: list[str | bytes] | None = None  # what the page is not to hear yet
        self.sent: list[dict[str, Any]] = []
        self._line: WebSocketRoute | None = None
        page.route_web_socket(re.compile("/cable$"), self._opened)

    def _opened(self, line: WebSocketRoute) -> None:
        if self.is_cut:
            line.close()
            return
        self._line = line
        server = line.connect_to_server()

        def to_server(frame: str | bytes) -> None:
            self.sent.append(json.loads(frame))
            server.send(frame)

        def to_page(frame: str | bytes) -> None:
            frames_heard(self.page).append(str(frame))
            if self.held is None:
                line.send(frame)
            else:
                self.held.append(frame)

        line.on_message(to_server)
        server.on_message(to_page)

    @property
    def is_open(self) -> bool:
        return self._line is not None and not self.is_cut

    def cut(self) -> None:
        """The connection is lost, and no other can be had until it is mended."""
        assert self._line is not None
        self.is_cut = True
        self._line.close()

    def mend(self) -> None:
        self.is_cut = False
        self.page.evaluate("dispatchEvent(new Event('online'))")

    def hold(self) -> None:
        self.held = []

    def let_go(self) -> None:
        held, self.held = self.held or [], None
        assert self._line is not None
        for frame in held:
            self._line.send(frame)

    def hear(self, frame: dict[str, Any]) -> None:
        assert self._line is not None
        self._line.send(json.dumps(frame))

    def pass_time(self, seconds: float) -> None:
        """Moves the page's clock on with a living connection, whose pings come every three."""
        while seconds > 0:
            step = min(2.0, seconds)
            self.hear({"type": "ping", "message": 0})
            self.page.clock.run_for(round(step * 1000))
            seconds = round(seconds - step, 3)

    def attempts(self, post: "Post", seconds: int) -> list[float]:
        """When each attempt to post was made, while the page's clock goes on by fifths."""
        times: list[float] = []
        for step in range(seconds * 5):
            # What was asked for before this is dealt with before it, and answered before it.
            self.page.evaluate("fetch('/webmanifest')")
            if len(post) > len(times):
                times += [step / 5] * (len(post) - len(times))
                until(self.page, lambda: post.dealt == len(post))
                self.page.evaluate("fetch('/webmanifest')")
            self.pass_time(0.2)
        return times

    def said(self, channel: str) -> list[str]:
        """What the page told one of its channels, in order."""
        frames = [each for each in self.sent if channel in each["identifier"]]
        return [json.loads(each["data"])["action"] for each in frames if "data" in each]


# What may become of a request, besides a status that is answered in the server's place.
HELD = -1  # it reaches the server when it is let go
UNANSWERED = -2  # the server has it, and its answer comes when it is let go
LOST = -3  # the server has it, and its answer never comes


class Post:
    """What a page sends to some addresses: counted, and held up or refused as the test says."""

    def __init__(self, page: Page, path: str = "**/api/rooms/*/messages", *fates: int) -> None:
        self.page, self.fates = page, list(fates)
        self.always: int | None = None
        self.bodies: list[dict[str, Any]] = []
        self.dealt = 0  # how many of them have met their fate
        self._held: list[tuple[Route, APIResponse | None]] = []
        page.route(path, self._asked)

    def _asked(self, route: Route) -> None:
        if route.request.method == "GET":
            route.fallback()
            return
        self.bodies.append(route.request.post_data_json or {})
        fate = self.fates.pop(0) if self.fates else self.always
        if fate is None:
            route.fallback()
        elif fate == HELD:
            self._held.append((route, None))
        elif fate in (UNANSWERED, LOST):
            answer = route.fetch()
            if fate == LOST:
                route.abort()
            else:
                self._held.append((route, answer))
        else:
            refuse(route, fate)
        self.dealt += 1

    def __len__(self) -> int:
        return len(self.bodies)

    def has_come(self) -> None:
        """Waits until something was sent."""
        until(self.page, lambda: len(self) > 0)

    def let_go(self, status: int = 0) -> None:
        """What was held goes its way, or is refused."""
        for route, answer in self._held:
            if status:
                refuse(route, status)
            elif answer:
                route.fulfill(response=answer)
            else:
                route.fallback()
        self._held.clear()


def refuse(route: Route, status: int) -> None:
    error = {"code": "no", "message": "That is too long."}
    route.fulfill(status=status, json={"error": error})


def stop_clock(page: Page) -> None:
    """From here on the page's time passes only when a test lets it."""
    now = page.evaluate("Date.now()")
    page.clock.pause_at(now / 1000 + 1)


# --- What is on the screen ----------------------------------------------------------------------


def box(place: Locator) -> FloatRect:
    found = place.bounding_box()
    assert found is not None
    return found


def focused(page: Page) -> str:
    """The accessible name of what has the focus, or its tag."""
    found: str = page.evaluate(
        """() => { const at = document.activeElement
        const words = at.getAttribute('aria-label') || at.innerText || at.textContent || ''
        return words.trim() || at.tagName.toLowerCase() }"""
    )
    return found


def draft(page: Page) -> str:
    return composer(page).inner_text().strip()


def announced(page: Page, how: str = "polite") -> Locator:
    return page.locator(f"[aria-live={how}]")


def scrolled(page: Page) -> dict[str, float]:
    found: dict[str, float] = page.locator(".messages").evaluate(
        """list => ({top: list.scrollTop,
        rest: list.scrollHeight - list.scrollTop - list.clientHeight})"""
    )
    return found


def look(page: Page, how: str) -> None:
    """The page is hidden, or seen again, as far as it can tell."""
    page.evaluate(
        """how => { Object.defineProperty(document, 'visibilityState',
        {configurable: true, get: () => how})
        document.dispatchEvent(new Event('visibilitychange')) }""",
        how,
    )


def rewrite(page: Page, words: str, new: str) -> None:
    """Edits a message, whose source comes late: when all of its text is selected already."""
    late = hold(page, "**/*edit=1")
    choose(page, words, "Edit")
    page.keyboard.press("Control+A")
    until(page, lambda: len(late) == 1)
    late[0].continue_()
    page.evaluate("fetch('/webmanifest')")
    page.keyboard.type(new)
    page.get_by_role("button", name="Save changes").click()
    page.unroute("**/*edit=1")


def delete(page: Page, words: str) -> None:
    """Deletes a message through its options."""
    choose(page, words, "Edit")
    page.get_by_role("button", name="Delete message").click()


ROOM_MESSAGES = "**/api/rooms/*/messages"

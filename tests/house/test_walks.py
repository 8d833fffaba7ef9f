"""How far a request walks through `campfire.py`: the five roads of house.md 1, and their limits.

A walk is counted by `sys.setprofile`, in the loop's thread and in all others: every function of
ours that is called (also a method, a lambda and what stands inside a function; a comprehension
belongs to the function around it), and every section that one of them stands in. The server is
the real one on loopback, and at rest: the road was walked before, nothing else happens, and only
what each of three walks calls is counted.

    pytest -q -s tests/house/test_walks.py      prints the five figures
    pytest -s -v tests/house/test_walks.py      ... and the rooms of each road
"""

import asyncio
import logging
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest

import campfire
from campfire import Room
from tests.support.cast import SESAME, Cast, Person, Server, Start, Tab
from tests.support.source import section_at

WALKS = 3


class Limit(NamedTuple):
    """At most so many functions and sections: what is held now, and what house.md wants."""

    functions: int
    sections: int
    functions_at_last: int
    sections_at_last: int


# Lower the first two with every move that shortens the road; nothing raises them.
LIMITS = {
    "post": Limit(90, 14, 90, 14),
    "reconnect": Limit(82, 14, 85, 14),
    "sign_in": Limit(58, 8, 60, 11),
    "room_page": Limit(75, 13, 100, 16),
    "members": Limit(38, 8, 50, 11),
}

# A road is got ready up to its first `yield`, walked up to the second, and then tidied up.
Road = AsyncGenerator[None, None]


async def post(server: Server, cast: Cast) -> Road:
    """A message, with one tab listening."""
    david, jason = await server.sign_in(cast.david), await server.sign_in(cast.jason)
    room, tab = cast.watercooler, await jason.welcomed()
    page = await jason.boot(f"/rooms/{room.id}")
    await everywhere(tab, room, page)
    await david.csrf()
    yield
    given = {"body": "<div>Good morning, everybody</div>"}
    answer = await david.post(f"/api/rooms/{room.id}/messages", given)
    heard = await tab.next_message()
    yield
    assert answer.status == 201
    assert answer.json["message"]["client_message_id"] in heard
    await left(server, david, tab)


async def reconnect(server: Server, cast: Cast) -> Road:
    """All that a tab subscribes to after its connection broke, and one message that it missed."""
    david, jason = await server.sign_in(cast.david), await server.sign_in(cast.jason)
    room, page = cast.watercooler, await jason.boot(f"/rooms/{cast.watercooler.id}")
    last_seen, since = cast.ten_messages[-1].id, page["data"]["loaded_at_ms"]
    missed = await david.say(room, "was missed")
    yield
    tab = await jason.welcomed()
    messages = await everywhere(tab, room, page)
    await tab.perform(messages, "catch_up", last_seen_message_id=last_seen, since=since)
    heard = [await tab.next_message()]
    while isinstance(heard[-1], str):
        heard.append(await tab.next_message())
    yield
    assert missed["client_message_id"] in heard[0]
    assert heard[-1]["last_seen_message_id"] == missed["id"]
    await left(server, david, tab)


async def sign_in(server: Server, cast: Cast) -> Road:
    visitor = await server.visitor()
    given = {"email_address": cast.kevin.email_address, "password": SESAME}
    await visitor.csrf()
    yield
    answer = await visitor.post("/api/session", given)
    yield
    assert answer.status == 201


async def room_page(server: Server, cast: Cast) -> Road:
    """The page of a room, as a browser opens it."""
    jason = await server.sign_in(cast.jason)
    await jason.csrf()
    yield
    answer = await jason.get(f"/rooms/{cast.watercooler.id}")
    yield
    assert len(answer.boot["data"]["messages"]["messages"]) == len(cast.ten_messages)


async def members(server: Server, cast: Cast) -> Road:
    jason = await server.sign_in(cast.jason)
    await jason.csrf()
    yield
    answer = await jason.get(f"/api/rooms/{cast.designers.id}/members")
    yield
    assert answer.status == 200


async def everywhere(tab: Tab, room: Room, page: Mapping[str, Any]) -> str:
    """Subscribes a tab to all that the client subscribes to; the identifier of its messages."""
    for channel in ("HeartbeatChannel", "UnreadRoomsChannel", "ReadRoomsChannel"):
        await tab.subscribe(channel=channel)
    for name in (page["streams"]["rooms"], page["streams"]["user_rooms"]):
        await tab.subscribe(channel="Turbo::StreamsChannel", signed_stream_name=name)
    name = page["data"]["room"]["streams"]["messages"]
    messages = await tab.subscribe(channel="RoomMessagesChannel", signed_stream_name=name)
    await tab.subscribe(channel="TypingNotificationsChannel", room_id=room.id)
    await tab.subscribe(channel="PresenceChannel", room_id=room.id)
    assert await tab.next_message() == {"room_id": room.id}  # who looks at a room has read it
    return messages


async def left(server: Server, by: Person, tab: Tab) -> None:
    """Nobody listens any more."""
    await tab.socket.close()
    while server.parts.sockets.connections:
        await by.get("/up")


# --- Counting ------------------------------------------------------------------------------------


@dataclass
class Steps:
    """Counts each call of a function of ours while a road is walked."""

    is_walking: bool = False
    calls: Counter[CodeType] = field(default_factory=Counter)

    def note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if self.is_walking and event == "call" and code.co_filename == campfire.__file__:
            self.calls[code] += 1

    async def of(self, road: Road) -> Counter[CodeType]:
        """What one walk calls, together with the jobs that it leaves behind."""
        await anext(road)
        self.calls = Counter()
        self.is_walking = True
        sys.setprofile(self.note)
        await anext(road)
        while jobs := [each for each in asyncio.all_tasks() if is_job(each)]:
            await asyncio.wait(jobs)
        sys.setprofile(None)
        self.is_walking = False
        await anext(road, None)
        return self.calls


def is_job(task: asyncio.Task[object]) -> bool:
    """The program names its jobs, and asyncio all others."""
    return not task.get_name().startswith(("Task-", "every_"))


def is_function(code: CodeType) -> bool:
    """Comprehensions are called up to Python 3.11, and no longer since."""
    return code.co_name == "<lambda>" or not code.co_name.startswith("<")


@pytest.fixture
def steps() -> Iterator[Steps]:
    """Listens in all threads that begin from now on, and lets the log say what it does at rest."""
    steps = Steps()
    threading.setprofile(steps.note)
    logging.getLogger("campfire").setLevel(logging.INFO)
    yield steps
    threading.setprofile(None)


@pytest.mark.parametrize("road", [post, reconnect, sign_in, room_page, members])
async def test_a_walk_enters_no_more_functions_and_sections_than_its_limit(
    steps: Steps,
    start: Start,
    cast: Cast,
    road: Callable[[Server, Cast], Road],
    pytestconfig: pytest.Config,
) -> None:
    server = await start()
    await steps.of(road(server, cast))
    walks = [await steps.of(road(server, cast)) for _ in range(WALKS)]

    called = set.intersection(*(set(filter(is_function, each)) for each in walks))
    rooms: dict[str, list[str]] = defaultdict(list)
    for code in sorted(called, key=lambda code: code.co_firstlineno):
        rooms[section_at(code.co_firstlineno)].append(code.co_qualname)
    calls = min(sum(walk[code] for code in called) for walk in walks)
    found = f"{road.__name__}: {len(called)} functions, {len(rooms)} sections, {calls} calls"
    entered = "".join(f"\n  {room}: {', '.join(names)}" for room, names in rooms.items())
    sys.stdout.write(f"\n{found}{entered * (pytestconfig.get_verbosity() > 0)}\n")
    limit = LIMITS[road.__name__]
    if len(called) > limit.functions or len(rooms) > limit.sections:
        pytest.fail(f"{found}; at most {limit}:{entered}", pytrace=False)

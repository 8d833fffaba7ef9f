"""Whatever people read and do: an answer given again says what one made anew would say."""

import asyncio
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import campfire as program
from tests.conftest import Place
from tests.support.cast import Cast, Person, Server, start_session

ADDRESSES = (
    "/rooms/{room}", "/api/boot?path=/rooms/{room}", "/api/rooms/{room}",
    "/rooms/{room}/@{message}",
    "/api/rooms/{room}/messages", "/api/rooms/{room}/messages.json?before={message}",
    "/api/rooms/{room}?message_id={message}", "/api/users/me/sidebar", "/users/me/sidebar",
    "/api/searches?q=drop", "/searches?q=drop", "/api/boot?path=/searches%3Fq=drop",
    "/api/searches",
)  # fmt: skip
NEW = re.compile(
    rb'(csrf-token" content="|"csrf_token":"|"server_time_ms":|"loaded_at_ms":)([\w-]+)'
)
NEW_COOKIE = re.compile(r"(return_to=)[^;]+")  # it says until when
DEEDS = "say edit boost leave join rename demote sign_out sign_in shell star unread late"
deeds = st.tuples(
    st.sampled_from(["read"] * 12 + DEEDS.split()), st.integers(0, 3), st.integers(0, 25)
)


class Reading:
    """Four people who look at the same room, each with a browser."""

    def __init__(self, server: Server, cast: Cast, room: program.Room) -> None:
        self.server, self.cast, self.room = server, cast, room
        self.people: list[Person] = []
        self.message = self.asked = 0

    async def begin(self) -> None:
        for user in self.cast.everybody[:4]:
            self.people.append(await self.server.sign_in(user))
            await self.people[-1].csrf()
        said = await self.people[0].say(self.room, "drop by drop")
        self.message = said["id"]

    async def read(self, by: int, n: int) -> None:
        """Asks twice as a browser does, and once with a cookie that nobody ever had."""
        person, told, self.asked = self.people[by], list[Any](), self.asked + 1
        path = ADDRESSES[n % len(ADDRESSES)].format(room=self.room.id, message=self.message)
        details: dict[str, Any] = {"headers": {"Accept-Encoding": "gzip"}} if n % 2 else {}
        while len(told) < 2:
            before = person.cookie("last_room")
            told.append(await self.told(person, path, **details))
            told = told if before == person.cookie("last_room") else []  # that was another question
        anew = await self.told(person, path, cookies={"never": str(self.asked)}, **details)

        assert told == [anew, anew]

    async def told(self, person: Person, path: str, **details: Any) -> tuple[Any, ...]:  # noqa: ANN401 - aiohttp's own
        """An answer, but for what is new in each."""
        answer = await person.request("GET", path, **details)
        headers = [
            (name, NEW_COOKIE.sub(r"\1", value))
            for name, value in answer.headers.items()
            if name not in ("X-Request-ID", "Date", "Content-Length")
        ]
        return answer.status, headers, NEW.sub(rb"\1", answer.body)

    async def say(self, by: int, n: int) -> None:
        path = f"/api/rooms/{self.room.id}/messages"
        await self.people[by].post(path, {"body": f"<div>drop {n}</div>"})

    async def edit(self, by: int, n: int) -> None:
        path = f"/api/rooms/{self.room.id}/messages/{self.message}"
        await self.people[by].put(path, {"body": f"a drop of {n}"})

    async def boost(self, by: int, n: int) -> None:
        await self.people[by].post(f"/api/messages/{self.message}/boosts", {"content": f"+{n}"})

    async def leave(self, by: int, _: int) -> None:
        await self.invite([n for n in range(1, 4) if n != by])

    async def join(self, *_: int) -> None:
        await self.invite([1, 2, 3])

    async def invite(self, who: list[int]) -> None:
        given = {"name": self.room.name, "user_ids": [self.people[n].id for n in who]}
        await self.people[0].put(f"/api/rooms/closeds/{self.room.id}", given)

    async def rename(self, by: int, n: int) -> None:
        name = {"name": f"Somebody {n}", "email_address": self.people[by].user.email_address}
        await self.people[by].put("/api/users/me/profile", name)

    async def demote(self, _: int, n: int) -> None:
        path = f"/api/account/users/{self.people[1].id}"
        await self.people[0].put(path, {"role": ("member", "administrator")[n % 2]})

    async def sign_out(self, by: int, _: int) -> None:
        """Signs out; the page in another window goes on with the cookie that it had."""
        person = self.people[by]
        kept = person.cookie("session_token")
        await person.delete("/api/session")
        person.set_cookie("session_token", kept or "")

    async def sign_in(self, by: int, _: int) -> None:
        person = self.people[by]
        person.set_cookie("session_token", await start_session(self.server.parts, person.id))

    async def shell(self, by: int, _: int) -> None:
        """What a command in a shell does, over a connection of its own: it ends the sessions."""
        path = self.server.parts.db.path
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("DELETE FROM sessions WHERE user_id = ?", (self.people[by].id,))

    async def star(self, by: int, _: int) -> None:
        await self.people[by].put(f"/api/rooms/{self.room.id}/star")

    async def unread(self, by: int, _: int) -> None:
        await self.people[by].put(f"/api/rooms/{self.room.id}/unread", {"message_id": self.message})

    async def late(self, *_: int) -> None:
        self.server.wall.ahead += 5


@settings(max_examples=60)
@given(st.lists(deeds, min_size=6, max_size=40))
def test_what_is_given_again_is_what_would_be_made_anew(
    place: Place, cast: Cast, what: list[tuple[str, int, int]]
) -> None:
    room = replace(cast.designers, id=place.room(*cast.everybody[:4]))
    reading = Reading(place.server, cast, room)

    async def story() -> None:
        await reading.begin()
        for deed, by, n in what:
            await getattr(reading, deed)(by, n)
        await place.parts.db.write(program.set_role, cast.jason.id, program.Role.ADMINISTRATOR)
        await asyncio.gather(*(person.http.close() for person in reading.people))

    place.do(story())

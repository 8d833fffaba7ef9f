"""What bots hear, whatever people do."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

import campfire as program
from tests.conftest import Place
from tests.support.asking import BOTS, KEY, settle
from tests.support.cast import Cast, Person
from tests.support.services import Receiver

TICKS = sorted(program.HEARD)
SPEAKING = ["say", "edit", "delete", "boost", "withdraw"]
MOVING = ["let in", "take out", "ban", "let back", "open", "close"]
PEOPLE = st.sampled_from(["jason", "jz", "kevin"])


class Story:
    """What David does in a room where Bender is, and the ticks of what should be heard of it."""

    def __init__(self, david: Person, cast: Cast, room: int) -> None:
        self.david, self.cast, self.room = david, cast, room
        self.said: list[int] = []
        self.boosts: list[str] = []
        self.expected: list[str] = []

    async def speak(self, deed: str) -> None:
        path = f"/api/rooms/{self.room}/messages"
        if deed == "say":
            self.said.append((await self.david.post(path, {"body": "a"})).json["message"]["id"])
            self.boosts = []
        elif not self.said or (deed == "withdraw" and not self.boosts):
            return
        elif deed == "edit":
            await self.david.put(f"{path}/{self.said[-1]}", {"body": "b"})
        elif deed == "delete":
            await self.david.delete(f"{path}/{self.said.pop()}")
            self.boosts = []
        elif deed == "boost":
            boosts = f"/api/messages/{self.said[-1]}/boosts"
            boost = (await self.david.post(boosts, {"content": "+1"})).json["boost"]
            self.boosts.append(f"{boosts}/{boost['id']}")
        else:
            await self.david.delete(self.boosts.pop())
        ticks = {"say": "messages", "edit": "edits", "delete": "deletions"}
        self.expected.append(ticks.get(deed, "boosts"))

    async def move(self, deed: str, who: program.User) -> None:
        members = (await self.david.get(f"/api/rooms/{self.room}/members")).json["selected"]
        ids, kind = {each["id"] for each in members}, "closeds"
        if deed == "ban":
            await self.david.post(f"/api/users/{who.id}/ban")
        elif deed == "let back":
            await self.david.delete(f"/api/users/{who.id}/ban")
        else:
            kind = "opens" if deed == "open" else "closeds"
            ids = ids | {who.id} if deed == "let in" else ids - {who.id}
            given = {"name": "Lab", "user_ids": sorted(ids)}
            answer = await self.david.put(f"/api/rooms/{kind}/{self.room}", given)
            assert answer.status == 200, answer.text


@settings(max_examples=12, deadline=None)
@given(st.sets(st.sampled_from(TICKS)), st.lists(st.sampled_from(SPEAKING), max_size=8),
       st.lists(st.tuples(st.sampled_from(MOVING), PEOPLE), max_size=8))  # fmt: skip
@example({"members"}, [], [("ban", "jz"), ("let in", "jz"), ("let back", "jz")])
@example({"members"}, [], [("ban", "jason"), ("open", "kevin"), ("close", "kevin")])
@example({"edits", "boosts"}, ["say", "boost", "boost", "withdraw", "edit", "delete"], [])
def test_a_bot_hears_each_thing_it_chose_once_and_its_list_of_members_stays_true(
    place: Place, cast: Cast, ticks: set[str], spoken: list[str], moved: list[tuple[str, str]]
) -> None:
    async def told() -> None:
        david, bender = await place.server.sign_in(cast.david), Receiver()
        given = {"name": "Lab", "user_ids": [cast.jason.id, cast.bender.id]}
        room = (await david.post("/api/rooms/closeds", given)).json["room"]["id"]
        given = {"webhook_url": await bender.listen(), "events": sorted(ticks)}
        assert (await david.put(f"{BOTS}/{cast.bender.id}", given)).status == 200
        place.parts.bots.heard = sum(program.HEARD.values())  # as if another bot heard of all
        here = f"/rooms/{room}/{KEY}/members"
        known = {each["id"] for each in (await david.get(here)).json}
        story = Story(david, cast, room)
        for deed in spoken:
            await story.speak(deed)
        for deed, name in moved:
            await settle(place.server)  # so that no two happen in one millisecond
            await story.move(deed, getattr(cast, name))
        await settle(place.server)
        heard = [each for each in bender.told if each["room"]["id"] == room]
        of_words = [each for each in heard if not each["event"].startswith("members.")]
        assert len(of_words) == sum(tick in ticks for tick in story.expected)
        for each in sorted(heard, key=lambda each: str(each["at"])):
            ids = {it["id"] for it in each.get("members", ())}
            known = known - ids if each["event"] == "members.left" else known | ids
        if "members" in ticks:
            assert known == {each["id"] for each in (await david.get(here)).json}
        else:
            assert len(heard) == len(of_words)
        for name in ("jason", "jz", "kevin"):
            await david.delete(f"/api/users/{getattr(cast, name).id}/ban")
        await david.delete(f"/api/rooms/{room}")
        await bender.close()

    place.do(told())

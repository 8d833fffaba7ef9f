"""Who is banned is out at once, with all they said and from every address of theirs."""

import re

from hypothesis import example, settings
from hypothesis import given as for_any
from hypothesis import strategies as st

import campfire as program
from tests.conftest import Place
from tests.support.asking import NEWCOMER, SET_UP, SIGN_IN, found, run, settle, stored, transfer_to
from tests.support.cast import (
    AGENT,
    SESAME,
    Cast,
    LogLines,
    Person,
    Server,
    Start,
    make_administrator,
    start_session,
)
from tests.support.services import subscription
from tests.support.tables import cases

NEVER_BANNED = cases("addresses that are never banned")
BANNED = "52.0.0.7 172.32.0.1 172.15.255.255 11.0.0.1 192.169.0.1 2a01:4f8::7 64.64.0.1".split()
EVENTS = ["ban", "unban", "deactivate", "promote", "sign in", "open a room"]


async def test_a_banned_address_may_look_but_not_touch(
    server: Server, cast: Cast, visitor: Person
) -> None:
    there, elsewhere = {"X-Forwarded-For": "52.0.0.7"}, {"X-Forwarded-For": "52.0.0.8"}
    await visitor.post("/api/session", {**SIGN_IN, "email_address": "jz@example.com"}, there)
    david, link = await server.sign_in(cast.david), await transfer_to(server, cast.kevin)
    assert (await david.post(f"/api/users/{cast.jz.id}/ban")).status == 200

    refused = [
        await visitor.post("/api/session", SIGN_IN, there),
        await visitor.post("/api/first_run", SET_UP, there),
        await visitor.post(f"/api/join/{cast.join_code}", NEWCOMER, there),
        await visitor.put(f"/api/session/transfers/{link}", None, there),
        await visitor.request("POST", "/api/session", headers=there),  # before CSRF, too
        await visitor.request("DELETE", "/api/rooms/1", headers=there),  # and before sign-in
    ]

    assert [(each.status, each.code) for each in refused] == [(429, "banned_ip")] * 6
    assert (await visitor.get("/session/new", there)).status == 200
    assert (await visitor.request("HEAD", "/session/new", headers=there)).status == 200
    assert (await visitor.post("/api/session", SIGN_IN, elsewhere)).status == 201
    assert (await visitor.get("/api/rooms", there)).status == 200


async def test_a_ban_covers_every_public_address_of_the_persons_sessions_once(
    david: Person, jason: Person, visitor: Person, cast: Cast
) -> None:
    for address in [*NEVER_BANNED, *BANNED, "", BANNED[0]]:
        await start_session(david.server.parts, cast.jz.id, address, AGENT)
    answers = [await each.post(f"/api/users/{cast.jz.id}/ban") for each in (david, jason)]
    assert [(each.status, each.json["user"]["status"]) for each in answers] == [(200, "banned")] * 2
    bans = await found(david.server, "SELECT user_id, ip_address FROM bans")
    assert sorted(bans) == sorted((cast.jz.id, address) for address in BANNED)
    for address in BANNED:
        there = {"X-Forwarded-For": address}
        assert (await visitor.post("/api/session", {}, there)).code == "banned_ip"
        assert (await visitor.get(f"/join/{cast.join_code}", there)).status == 200


async def test_who_is_banned_is_out_at_once_and_all_they_said_goes_oldest_first(
    david: Person, kevin: Person, jz: Person, cast: Cast, log_lines: LogLines
) -> None:
    stays = await jz.say(cast.designers, "sunshine of JZ")
    for n in range(45):
        await kevin.say(cast.designers, f"sunshine {n}", f"k{n}")
    await kevin.say(cast.pets, "sunshine for pets", "k-pets")
    await jz.post(f"/api/messages/{stays['id']}/boosts", {"content": "+1"})
    await kevin.post("/api/users/me/push_subscriptions", subscription("1"))
    of_kevin = "SELECT room_id FROM memberships WHERE user_id = 4"
    rooms = await found(kevin.server, of_kevin)
    tab, tab_of_kevin = await jz.room_tab(cast.designers), await kevin.welcomed()
    assert (await david.post(f"/api/users/{kevin.id}/ban")).status == 200
    await settle(david.server)
    assert (await tab_of_kevin.goodbye())[0]["reconnect"] is False
    frames = [re.findall(r'"remove" target="([^"]+)"', each) for each in await tab.drain()]
    assert frames == [[f"message_k{n}"] for n in range(45)]
    gone = "messages WHERE creator_id = 4", "sessions WHERE user_id = 4", "push_subscriptions"
    for each in gone:
        assert await found(kevin.server, f"SELECT * FROM {each}") == []  # noqa: S608 - ours
    assert await found(kevin.server, of_kevin) == rooms
    (hit,) = (await jz.get("/api/searches?q=sunshine")).json["messages"]
    assert (hit["id"], len(hit["boosts"])) == (stays["id"], 1)
    for _ in range(2):
        unbanned = await david.delete(f"/api/users/{kevin.id}/ban")
        assert (unbanned.status, unbanned.json["user"]["status"]) == (200, "active")
    assert (await jz.get(f"/api/rooms/{cast.pets.id}/messages")).status == 204  # gone for good
    assert any('"user_banned"' in line for line in log_lines())


async def test_a_removal_goes_on_at_the_next_start(start: Start, cast: Cast) -> None:
    kevin = await (first := await start()).sign_in(cast.kevin)
    for n in range(3):
        await kevin.say(cast.designers, f"word {n}", f"k{n}")
    ban = "UPDATE users SET status = 2 WHERE name = 'Kevin'"
    await run(first, ban)
    await first.stop()
    jz = await (second := await start()).sign_in(cast.jz)
    tab = await jz.room_tab(cast.designers)
    await program.resume_bans(second.parts)
    await settle(second)
    removed = [re.findall(r'target="message_(\w+)"', frame) for frame in await tab.drain()]
    assert removed == [["k0"], ["k1"], ["k2"]]
    assert (await jz.get(f"/api/rooms/{cast.designers.id}/messages")).status == 204


async def test_nobody_bans_themselves_or_a_bot_or_who_has_left(david: Person, cast: Cast) -> None:
    await david.delete(f"/api/account/users/{cast.kevin.id}")
    before, cannot = await stored(david.server), (422, "cannot_ban")
    for user_id, banned, unbanned in (
        (cast.david.id, cannot, (200, "")), (cast.bender.id, cannot, cannot),
        (cast.kevin.id, cannot, cannot), (999, *[(404, "user_not_found")] * 2),
    ):  # fmt: skip
        for method, expected in (("POST", banned), ("DELETE", unbanned)):
            answer = await david.send(method, f"/api/users/{user_id}/ban")
            assert (answer.status, answer.json.get("error", {}).get("code", "")) == expected
    assert await stored(david.server) == before


@settings(max_examples=30)
@example([("ban", 0), ("promote", 0)])
@example([("ban", 1), ("unban", 1), ("sign in", 1), ("ban", 1), ("deactivate", 0), ("unban", 0)])
@for_any(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 1)), max_size=9))
def test_only_who_is_active_gets_in_and_they_are_in_every_open_room_whatever_happens(
    place: Place, cast: Cast, events: list[tuple[str, int]]
) -> None:
    [(number,)] = place.rows("SELECT max(id) FROM users")
    place.server.steady.seconds += 180
    david = place.do(place.server.sign_in(cast.david))
    lives = [Life(place, number + 1), Life(place, number + 2)]
    for what, who in events:
        lives[who].meet(what, david)
    for life in lives:
        place.do(life.check())
    sql = """
        SELECT 1 FROM users CROSS JOIN rooms LEFT JOIN memberships ON user_id = users.id
        AND room_id = rooms.id WHERE status = 0 AND type = 'open' AND involvement IS NULL
    """
    assert place.rows(sql) == []


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
            do(self.place.rooms.create(self.place.cast.jz, program.RoomType.OPEN, "Open"))
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

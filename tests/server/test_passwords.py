"""Passwords, and how much work with them one person or one stranger may cost the others."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator

import bcrypt
import pytest

import campfire as program
from tests.support.asking import NEWCOMER, SET_UP, SIGN_IN, found, reset_password
from tests.support.cast import (
    SESAME,
    Answer,
    Cast,
    LogLines,
    Person,
    Server,
    Start,
    make_administrator,
)

ELSEWHERE = [f"198.51.100.{n}" for n in range(1, 255)]


async def _try(server: Server, email: str, password: str, address: str) -> Answer:
    visitor = await server.visitor({"X-Forwarded-For": address})
    given = {"email_address": email, "password": password}
    return await visitor.post("/api/session", given)


class Hashings(list[str]):
    """Each call of bcrypt in a thread that begins from now on; it waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def note(self, _: object, event: str, called: object) -> None:
        if event == "c_call" and getattr(called, "__name__", "") in ("checkpw", "hashpw"):
            self.append("one")
            self.may_go_on.wait()


@pytest.fixture
def hashings() -> Iterator[Hashings]:
    calls = Hashings()
    threading.setprofile(calls.note)
    yield calls
    threading.setprofile(None)
    calls.may_go_on.set()


BYTES = "needs 8 to 72 bytes (é takes two, an emoji four)"


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("short77", BYTES), ("x" * 73, BYTES), ("é" * 37, BYTES), ("   ", "can't be blank"),
        ("eight888", None), ("x" * 72, None), ("é" * 4, None), ("🔥🔥", None),
    ],
)  # fmt: skip
async def test_a_new_password_has_8_to_72_bytes_wherever_it_is_chosen(
    server: Server, cast: Cast, kevin: Person, password: str, says: str | None
) -> None:
    newcomer = await server.visitor()
    given = {"name": "Ann", "email_address": "ann@example.com", "password": password}
    joined = await newcomer.post(f"/api/join/{cast.join_code}", given)
    changed = await kevin.put("/api/users/me/profile", {"password": password})

    if says is None:
        assert (joined.status, changed.status) == (201, 200)
        return
    assert joined.json["error"]["fields"] == {"password": [says]}
    assert changed.status == (200 if password.isspace() else 422)  # blank: not changed
    with pytest.raises(program.ValidationFailed):
        await reset_password(server.parts, "kevin@example.com", password)


@pytest.mark.parametrize("old", ["short", "x" * 100])
async def test_an_old_password_of_another_length_goes_on_working(
    server: Server, cast: Cast, old: str
) -> None:
    digest = program.hash_password(old, 4)
    change = program.Change(password_digest=digest)
    await server.parts.db.write(program.revise_user, cast.kevin.id, change)

    assert (await _try(server, "kevin@example.com", old, "127.0.0.1")).status == 201


async def test_of_one_persons_new_passwords_ten_are_made_in_three_minutes(
    kevin: Person, jz: Person
) -> None:
    for n in range(10):
        changed = await kevin.put("/api/users/me/profile", {"password": f"a new secret {n}"})
        assert changed.status == 200
    refused = await kevin.put("/api/users/me/profile", {"password": "one more secret"})
    others = await jz.put("/api/users/me/profile", {"password": "a new secret"})
    bio = await kevin.put("/api/users/me/profile", {"bio": "tired"})

    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.json["error"]["message"] == "Too many tries. Try again in 3 minutes."
    assert int(refused.headers["Retry-After"]) <= 180
    assert (others.status, bio.status) == (200, 200)


async def test_from_one_address_a_hundred_people_may_join_in_an_hour(
    server: Server, cast: Cast
) -> None:
    async def join(n: int, address: str = ELSEWHERE[0]) -> int:
        visitor = await server.visitor({"X-Forwarded-For": address})
        given = {"name": "Ann", "email_address": f"ann{n}@example.com", "password": SESAME}
        return (await visitor.post(f"/api/join/{cast.join_code}", given)).status

    assert {await join(n) for n in range(100)} == {201}
    assert await join(0) == 409  # is taken: told before anything is counted or hashed
    assert await join(100) == 429
    assert await join(100, ELSEWHERE[1]) == 201
    server.steady.seconds += 3600
    assert await join(101) == 201


async def test_beyond_twenty_that_wait_for_a_hash_the_next_are_told_to_come_back(
    start: Start, hashings: Hashings
) -> None:
    server = await start()
    await make_administrator(server.parts, "Ann", "ann@example.com")
    visitors = [await server.visitor({"X-Forwarded-For": each}) for each in ELSEWHERE[:60]]
    await asyncio.gather(*(each.csrf() for each in visitors))

    async def guess(n: int, visitor: Person) -> Answer:
        given = {"email_address": f"nobody{n}@example.com", "password": "wrong password"}
        return await visitor.post("/api/session", given)

    hashings.may_go_on.clear()
    guesses = [asyncio.create_task(guess(n, each)) for n, each in enumerate(visitors)]
    answers = asyncio.as_completed(guesses, timeout=60)
    refused = [await next(answers) for _ in range(60 - 2 - 20)]  # two at work, twenty wait
    hashings.may_go_on.set()
    others = [await each for each in answers]

    assert {(each.status, each.code) for each in refused} == {(503, "busy")}
    assert refused[0].headers["Retry-After"] == "1"
    assert "Try again" in refused[0].json["error"]["message"]
    assert {each.status for each in others} == {401}
    again = await _try(server, "ann@example.com", SESAME, ELSEWHERE[70])
    assert again.status == 201  # every place was given back


@pytest.mark.parametrize("email", ["kevin@example.com", "nobody@example.com"])
async def test_after_fifty_wrong_guesses_only_known_addresses_may_try(
    server: Server, email: str
) -> None:
    if email.startswith("kevin"):
        assert (await _try(server, email, SESAME, ELSEWHERE[200])).status == 201
    for n in range(50):
        assert (await _try(server, email, "wrong", ELSEWHERE[n])).status == 401

    refused = await _try(server, email, SESAME, ELSEWHERE[60])
    known = await _try(server, email, SESAME, ELSEWHERE[200])
    others = await _try(server, "jz@example.com", SESAME, ELSEWHERE[61])
    server.steady.seconds += 3600
    later = await _try(server, email, SESAME, ELSEWHERE[62])

    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.json["error"]["message"] == "Too many tries. Try again in 60 minutes."
    assert known.status == (201 if email.startswith("kevin") else 429)
    assert others.status == 201
    assert later.status == (201 if email.startswith("kevin") else 401)


async def test_from_where_somebody_signed_in_is_known_for_thirty_days(
    server: Server, cast: Cast
) -> None:
    assert (await _try(server, "kevin@example.com", SESAME, "2001:db8:1:2::7")).status == 201

    known = await found(server, "SELECT user_id, ip_address FROM sign_ins")
    assert (cast.kevin.id, program.household("2001:db8:1:2::8")) in known
    server.wall.ahead = 31 * 86_400
    await server.parts.db.write(program.sweep_sign_ins)
    assert await found(server, "SELECT * FROM sign_ins") == []


async def test_a_digest_of_another_cost_is_renewed_when_its_person_signs_in(
    start: Start, cast: Cast
) -> None:
    server = await start(BCRYPT_COST="5")
    digests = "SELECT password_digest FROM users WHERE id = :id"
    before = await found(server, digests, id=cast.kevin.id)
    refused = await _try(server, "kevin@example.com", "wrong password", ELSEWHERE[0])
    unchanged = await found(server, digests, id=cast.kevin.id)
    allowed = await _try(server, "kevin@example.com", SESAME, ELSEWHERE[0])
    again = await _try(server, "kevin@example.com", SESAME, ELSEWHERE[0])

    ((after,),) = await found(server, digests, id=cast.kevin.id)
    assert (refused.status, allowed.status, again.status) == (401, 201, 201)
    assert program.cost_of(before[0][0]) == 4
    assert unchanged == before
    assert program.cost_of(after) == 5
    assert program.password_matches(SESAME, after)


def test_what_is_no_digest_matches_nothing_and_costs_as_much_as_any() -> None:
    assert program.cost_of(program.nobodys_digest(11)) == 11
    assert program.cost_of("rot13") == 0
    assert not program.password_matches("", program.nobodys_digest(4))
    assert not program.password_matches(SESAME, "rot13")


async def test_behind_a_proxy_that_sends_no_address_one_line_says_that_all_look_like_one(
    server: Server, log_lines: LogLines
) -> None:
    visitor, proxy = await server.visitor(), "10.20.30.40"  # one that no other test speaks of
    stranger = {"email_address": "x@example.com", "password": "y"}
    for _ in range(13):
        await visitor.post("/api/session", stranger, {"X-Forwarded-For": proxy})

    told = [json.loads(line) for line in log_lines() if "all_look_like_one" in line]
    assert [(line["ip"], line["needs"]) for line in told] == [(proxy, "X-Forwarded-For")]


async def test_known_and_unknown_addresses_cost_the_same_single_hash(
    hashings: Hashings, visitor: Person, cast: Cast
) -> None:
    for address in ("kevin@example.com", "nobody@example.com"):
        wrong = {"email_address": address, "password": "wrong"}
        assert (await visitor.post("/api/session", wrong)).code == "invalid_credentials"
        assert hashings == ["one"]
        hashings.clear()
    for address, times in (("kevin@example.com", 0), ("zoe@example.com", 1)):
        await visitor.post(f"/api/join/{cast.join_code}", {**NEWCOMER, "email_address": address})
        assert hashings == ["one"] * times  # one that is taken is refused before any work
        hashings.clear()


async def test_a_digest_of_a_lower_cost_takes_as_long_as_one_of_the_highest(
    hashings: Hashings,
) -> None:
    low = program.hash_password("right", 4)
    hashings.clear()
    assert not await asyncio.to_thread(program.password_matches, "wrong", low, 7)
    assert hashings == ["one"] * 4  # 2^4 + 2^4 + 2^5 + 2^6 = 2^7


async def test_passwords_are_bcrypt_and_count_up_to_72_bytes(fresh_server: Server) -> None:
    visitor = await fresh_server.visitor()
    long_one = "å" * 36

    await visitor.post("/api/first_run", {**SET_UP, "password": long_one})

    digest = await fresh_server.parts.db.read(program.password_digest_of, program.UserId(1))
    assert re.fullmatch(r"\$2[aby]\$04\$[./A-Za-z0-9]{53}", digest)
    assert bcrypt.checkpw(long_one.encode()[:72], digest.encode())
    for password, status in ((long_one, 201), (long_one + "other", 201), ("å" * 35, 401)):
        given = {"email_address": "david@example.com", "password": password}
        assert (await visitor.post("/api/session", given)).status == status


async def test_of_one_address_ten_tries_in_three_minutes_reach_the_password(
    server: Server, visitor: Person, log_lines: LogLines
) -> None:
    for n in range(10):
        given = SIGN_IN if n % 2 else {**SIGN_IN, "password": "x"}
        assert (await visitor.post("/api/session", given)).status == (201 if n % 2 else 401)
        server.steady.seconds += 10

    refused = await visitor.post("/api/session", SIGN_IN)
    elsewhere = await visitor.post("/api/session", SIGN_IN, {"X-Forwarded-For": "203.0.113.1"})
    server.steady.seconds += 79.5
    still_refused = await visitor.post("/api/session", SIGN_IN)
    server.steady.seconds += 0.5
    allowed = await visitor.post("/api/session", SIGN_IN)

    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.json["error"]["message"] == "Too many tries. Try again in 2 minutes."
    waits = [each.headers["Retry-After"] for each in (refused, still_refused)]
    assert (waits, still_refused.status) == (["80", "1"], 429)
    assert (elsewhere.status, allowed.status) == (201, 201)
    assert sum('"rate_limited"' in line for line in log_lines()) == 2


def test_the_limiter_forgets_the_address_seen_longest_ago_beyond_fifty_thousand() -> None:
    limiter = program.TryLimiter(lambda: 0)
    for address in ["first"] * 10 + ["second"] * 10 + [str(n) for n in range(49_998)]:
        limiter.count(address)
    with pytest.raises(program.RateLimited):
        limiter.count("first")
    for n in range(10):  # everybody in a household of IPv6 is one address
        limiter.count(f"2001:db8:0:7::{n:x}")
    with pytest.raises(program.RateLimited):
        limiter.count("2001:db8:0:7:ffff::1")
    limiter.count("2001:db8:0:8::1")
    limiter.count("one more")  # the longest ago is now the second
    limiter.count("second")
    with pytest.raises(program.RateLimited):
        limiter.count("first")

"""Passwords, and how much work with them one person or one stranger may cost the others."""

import asyncio
import json

import pytest

import campfire as program
from tests.support.asking import found
from tests.support.cast import SESAME, Answer, Cast, LogLines, Person, Server, Start

ELSEWHERE = [f"198.51.100.{n}" for n in range(1, 255)]


async def _try(server: Server, email: str, password: str, address: str) -> Answer:
    visitor = await server.visitor({"X-Forwarded-For": address})
    given = {"email_address": email, "password": password}
    return await visitor.post("/api/session", given)


# --- What a new password must be ------------------------------------------------------------------

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
        await server.parts.auth.reset_password("kevin@example.com", password)


@pytest.mark.parametrize("old", ["short", "x" * 100])
async def test_an_old_password_of_another_length_goes_on_working(
    server: Server, cast: Cast, old: str
) -> None:
    digest = program.hash_password(old, 4)
    await server.parts.db.write(program.update_credentials, cast.kevin.id, digest)

    assert (await _try(server, "kevin@example.com", old, "127.0.0.1")).status == 201


# --- Limits --------------------------------------------------------------------------------------


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
    start: Start,
) -> None:
    server = await start(BCRYPT_COST="10")
    await server.parts.auth.create_administrator("Ann", "ann@example.com", SESAME)
    visitors = [await server.visitor({"X-Forwarded-For": each}) for each in ELSEWHERE[:60]]
    await asyncio.gather(*(each.csrf() for each in visitors))

    async def guess(n: int, visitor: Person) -> Answer:
        given = {"email_address": f"nobody{n}@example.com", "password": "wrong password"}
        return await visitor.post("/api/session", given)

    told = await asyncio.gather(*(guess(n, each) for n, each in enumerate(visitors)))

    assert {each.status for each in told} == {401, 503}
    refused = next(each for each in told if each.status == 503)
    assert (refused.code, refused.headers["Retry-After"]) == ("busy", "1")
    assert "Try again" in refused.json["error"]["message"]
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

    def known(address: str) -> "asyncio.Future[bool]":
        return asyncio.ensure_future(
            server.parts.db.read(program.has_signed_in_from, cast.kevin.id, address)
        )

    assert await known("2001:db8:1:2::8")  # the household of IPv6
    assert not await known("2001:db8:1:3::7")
    server.wall.ahead = 31 * 86_400
    await server.parts.db.write(program.sweep_sign_ins)
    assert not await known("2001:db8:1:2::7")
    assert await found(server, "SELECT * FROM sign_ins") == []


# --- Time ----------------------------------------------------------------------------------------


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


# --- A proxy that says nothing -------------------------------------------------------------------


async def test_behind_a_proxy_that_sends_no_address_one_line_says_that_all_look_like_one(
    server: Server, log_lines: LogLines
) -> None:
    visitor, proxy = await server.visitor(), "10.20.30.40"  # one that no other test speaks of
    stranger = {"email_address": "x@example.com", "password": "y"}
    for _ in range(13):
        await visitor.post("/api/session", stranger, {"X-Forwarded-For": proxy})

    told = [json.loads(line) for line in log_lines() if "all_look_like_one" in line]
    assert [(line["ip"], line["needs"]) for line in told] == [(proxy, "X-Forwarded-For")]

"""Addresses of e-mail: kept as they are typed, and the same in capitals."""

import pytest

import campfire as program
from tests.support.asking import found, reset_password, run
from tests.support.cast import SESAME, Cast, Person, Server, make_administrator


async def _sign_in(person: Person, email: str, password: str = SESAME) -> int:
    given = {"email_address": email, "password": password}
    return (await person.post("/api/session", given)).status


@pytest.mark.parametrize("typed", ["Kevin@Example.COM", "kevin@example.com", " KEVIN@EXAMPLE.COM "])
async def test_who_signs_in_may_type_their_address_in_capitals(visitor: Person, typed: str) -> None:
    assert await _sign_in(visitor, typed) == 201


async def test_an_address_is_stored_as_typed_and_taken_in_every_case(
    server: Server, cast: Cast, visitor: Person, kevin: Person
) -> None:
    def newcomer(email: str) -> dict[str, str]:
        return {"name": "Bea", "email_address": email, "password": SESAME}

    path = f"/api/join/{cast.join_code}"
    joined = await visitor.post(path, newcomer("Bea@Example.com"))
    others = await server.visitor()
    taken = await others.post(path, newcomer("bea@example.com"))
    changed = await kevin.put("/api/users/me/profile", {"email_address": "BEA@example.com"})
    own = await kevin.put("/api/users/me/profile", {"email_address": "Kevin@example.com"})

    assert joined.json["user"]["email_address"] == "Bea@Example.com"
    assert (taken.status, taken.code) == (409, "email_taken")
    assert (changed.status, changed.code) == (422, "email_taken")
    assert (own.status, own.json["user"]["email_address"]) == (200, "Kevin@example.com")
    assert await _sign_in(others, "bea@EXAMPLE.com") == 201


async def test_only_the_case_of_letters_is_ignored(cast: Cast, visitor: Person) -> None:
    for email, status in (("jörn@example.com", 201), ("jorn@example.com", 201),
                          ("JÖRN@example.com", 409)):  # fmt: skip
        visitor.forget_cookies()
        given = {"name": "Jörn", "email_address": email, "password": SESAME}
        assert (await visitor.post(f"/api/join/{cast.join_code}", given)).status == status


async def test_of_twins_in_an_old_database_the_exact_spelling_wins(
    server: Server, cast: Cast, visitor: Person
) -> None:
    twin = "email_address = 'KEVIN@example.com', email_folded = 'kevin@example.com'"
    await run(server, f"UPDATE users SET {twin} WHERE id = :jz", jz=cast.jz.id)  # noqa: S608 - ours
    signed_in = []
    for typed in ("kevin@example.com", "KEVIN@example.com", "Kevin@example.com"):
        visitor.forget_cookies()
        assert await _sign_in(visitor, typed) == 201
        signed_in.append((await visitor.get("/api/session")).json["user"]["id"])

    assert signed_in[:2] == [cast.kevin.id, cast.jz.id]
    assert signed_in[2] in (cast.kevin.id, cast.jz.id)


async def test_who_left_frees_their_address_in_every_case(
    server: Server, cast: Cast, david: Person, visitor: Person
) -> None:
    assert (await david.delete(f"/api/account/users/{cast.kevin.id}")).status == 204
    given = {"name": "Kevin", "email_address": "KEVIN@example.com", "password": SESAME}

    assert (await visitor.post(f"/api/join/{cast.join_code}", given)).status == 201
    rows = "SELECT count(*) FROM users WHERE email_folded = 'kevin@example.com'"
    assert await found(server, rows) == [(1,)]


async def test_a_command_finds_a_person_in_every_case(server: Server, cast: Cast) -> None:
    parts = server.parts
    assert (await reset_password(parts, "KEVIN@example.com", "a new secret")).id == cast.kevin.id
    made = await make_administrator(parts, "Kev", "Kevin@Example.com")
    assert (made.id, made.role) == (cast.kevin.id, program.Role.ADMINISTRATOR)

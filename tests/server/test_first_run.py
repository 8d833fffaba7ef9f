"""The first run: one account, one administrator, one room, once."""

import asyncio
import re

import pytest

from tests.support.asking import SET_UP, began_together, count
from tests.support.cast import Person, Server
from tests.support.tables import cases


async def test_without_an_account_the_way_leads_to_the_first_run_page(fresh_server: Server) -> None:
    visitor = await fresh_server.visitor()

    home = await visitor.get("/")
    sign_in = await visitor.get("/session/new")
    page = await visitor.get("/first_run")

    assert (home.status, home.location) == (302, "/session/new")
    assert (sign_in.status, sign_in.location) == (302, "/first_run")
    assert (page.status, page.boot["page"]) == (200, "first_run")
    assert page.boot["account"] is None


async def test_with_an_account_the_first_run_page_redirects_home(visitor: Person) -> None:
    page = await visitor.get("/first_run")
    posted = await visitor.post("/api/first_run", SET_UP)

    assert (page.status, page.location) == (302, "/")
    assert (posted.status, posted.code) == (409, "already_set_up")


async def test_the_first_run_makes_one_administrator_in_one_open_room(fresh_server: Server) -> None:
    visitor = await fresh_server.visitor()

    answer = await visitor.post("/api/first_run", {**SET_UP, "avatar": "ignored"})

    rooms = (await visitor.get("/api/rooms")).json["rooms"]
    assert answer.status == 201
    assert await began_together(fresh_server) == [True]
    assert answer.json["redirect_to"] == "/"
    assert answer.json["user"]["role"] == "administrator"
    assert [(room["name"], room["type"]) for room in rooms] == [("All Talk", "open")]
    assert rooms[0]["creator_id"] == answer.json["user"]["id"]
    account = (await visitor.boot("/users/me/sidebar"))["account"]
    assert account["name"] == "Campfire"
    assert re.fullmatch(r"[A-Za-z0-9]{4}(-[A-Za-z0-9]{4}){2}", account["join_code"])


async def test_of_five_first_runs_at_once_exactly_one_wins(fresh_server: Server) -> None:
    people = [await fresh_server.visitor() for _ in range(5)]
    for person in people:
        await person.csrf()

    answers = await asyncio.gather(
        *(
            person.post("/api/first_run", {**SET_UP, "email_address": f"david{n}@example.com"})
            for n, person in enumerate(people)
        )
    )

    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409]
    assert {answer.code for answer in answers if answer.status == 409} == {"already_set_up"}
    for table in ("accounts", "users", "rooms"):
        assert await count(fresh_server, table) == 1


@pytest.mark.parametrize(("field", "value", "says"), cases("bad fields of a first run"))
async def test_a_first_run_with_a_bad_field_says_which_and_changes_nothing(
    fresh_server: Server, field: str, value: object, says: str
) -> None:
    visitor = await fresh_server.visitor()

    answer = await visitor.post("/api/first_run", {**SET_UP, field: value})

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert answer.json["error"]["fields"] == {field: [says]}
    assert await count(fresh_server, "accounts") == 0

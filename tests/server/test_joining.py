"""Coming in by the link of the account."""

from tests.support.asking import NEWCOMER, began_together, count
from tests.support.cast import Cast, Person


async def test_the_join_page_opens_with_the_code_only(cast: Cast, visitor: Person) -> None:
    page = await visitor.get(f"/join/{cast.join_code}")
    told = await visitor.get(f"/api/join/{cast.join_code}")

    assert (page.status, page.boot["page"]) == (200, "join")
    assert page.boot["data"] == {"join_code": cast.join_code}
    assert page.boot["help_contact"] == {"name": "David", "email_address": "david@example.com"}
    assert set(told.json) == {"account_name", "logo_url"}
    for code in (cast.join_code.swapcase(), "AAAA-BBBB-CCCC", "x", "%C3%A9"):
        assert (await visitor.get(f"/join/{code}")).status == 404
        assert (await visitor.get(f"/api/join/{code}")).code == "invalid_join_code"
        assert (await visitor.post(f"/api/join/{code}", NEWCOMER)).code == "invalid_join_code"


async def test_somebody_signed_in_is_sent_home_from_joining(cast: Cast, kevin: Person) -> None:
    page = await kevin.get("/join/WRONG")
    answer = await kevin.post("/api/join/WRONG", NEWCOMER)

    assert (page.status, page.location) == (302, "/")
    assert (answer.status, answer.code) == (409, "already_signed_in")
    assert answer.json["error"]["redirect_to"] == "/"
    assert await count(kevin.server, "users") == len(cast.everybody)


async def test_who_joins_is_in_exactly_the_open_rooms(cast: Cast, visitor: Person) -> None:
    answer = await visitor.post(f"/api/join/{cast.join_code}", {**NEWCOMER, "name": " Zoe "})

    rooms = (await visitor.get("/api/rooms")).json["rooms"]
    assert (answer.status, answer.json["redirect_to"]) == (201, "/")
    assert await began_together(visitor.server) == [True]
    user = answer.json["user"]
    assert (user["name"], user["role"], user["status"]) == ("Zoe", "member", "active")
    shown = [(room["name"], room["involvement"]) for room in rooms]
    assert shown == [("HQ", "mentions"), ("Pets", "mentions")]


async def test_joining_with_a_known_address_leads_to_sign_in(cast: Cast, visitor: Person) -> None:
    given = {**NEWCOMER, "email_address": "kevin@example.com"}

    answer = await visitor.post(f"/api/join/{cast.join_code}", given)

    assert (answer.status, answer.code) == (409, "email_taken")
    assert answer.json["error"]["redirect_to"] == "/session/new?email_address=kevin%40example.com"
    assert await count(visitor.server, "users") == len(cast.everybody)
    assert "session_token" not in answer.cookies

"""Who you are: signing in and out, and the cookies that say so."""

import base64
import hashlib
import json

import pytest

import campfire as program
from tests.support.asking import PROFILE, SIGN_IN, found, set_status
from tests.support.cast import AGENT, SESAME, Cast, Person, Server, Start
from tests.support.tables import cases


async def test_the_right_password_signs_in_and_leads_home(server: Server, visitor: Person) -> None:
    given = {"email_address": "  kevin@example.com ", "password": SESAME}
    answer = await visitor.post("/api/session", given)

    told = (await visitor.get("/api/session")).json
    session = told["session"]
    assert (answer.status, answer.json["redirect_to"]) == (201, "/")
    assert answer.json["user"]["email_address"] == "kevin@example.com"
    assert told["user"] == answer.json["user"]
    fields = {"id", "created_at", "last_active_at", "ip_address", "user_agent"}
    assert (set(session), session["ip_address"]) == (fields, "127.0.0.1")
    assert session["user_agent"] == AGENT
    token = visitor.cookie("session_token") or ""
    assert len(token) == 43
    kept = await found(server, "SELECT token_hash FROM sessions ORDER BY id DESC LIMIT 1")
    assert kept == [(hashlib.sha256(token.encode()).digest(),)]


@pytest.mark.parametrize("given", cases("wrong passwords"), ids=str)
async def test_a_wrong_password_is_refused_in_the_same_words_and_sets_no_cookie(
    visitor: Person, given: dict[str, str]
) -> None:
    answer = await visitor.post("/api/session", given)

    assert (answer.status, answer.code) == (401, "invalid_credentials")
    assert answer.json["error"]["message"] == "Too many requests or unauthorized."
    assert "session_token" not in answer.cookies


@pytest.mark.parametrize("status", [program.Status.DEACTIVATED, program.Status.BANNED])
async def test_who_is_deactivated_or_banned_cannot_sign_in_and_is_signed_out(
    server: Server, visitor: Person, kevin: Person, status: program.Status
) -> None:
    await set_status(server, kevin.user, status)

    answer = await visitor.post("/api/session", SIGN_IN)

    assert answer.code == "invalid_credentials"
    assert (await kevin.get("/api/rooms")).code == "unauthenticated"
    assert (await (await kevin.cable()).goodbye())[0]["reason"] == "unauthorized"


async def test_a_second_sign_in_keeps_the_first(kevin: Person, visitor: Person) -> None:
    again, elsewhere = [await person.post("/api/session", SIGN_IN) for person in (kevin, visitor)]

    assert (again.status, elsewhere.status) == (201, 201)
    assert (await kevin.get("/api/session")).status == 200


async def test_signing_out_ends_the_session_its_cookies_and_its_sockets_only(
    server: Server, kevin: Person
) -> None:
    other_device = await server.sign_in(kevin.user)
    tab, other_tab = await kevin.welcomed(), await other_device.welcomed()
    token = kevin.cookie("session_token") or ""

    answer = await kevin.delete("/api/session", {"push_subscription_endpoint": "https://a.example"})

    assert (answer.status, answer.json) == (200, {"redirect_to": "/"})
    for name in ("session_token", "_campfire_csrf"):
        assert answer.cookies[name]["max-age"] == "0"
        assert kevin.cookie(name) is None
    frame, code = await tab.goodbye()
    assert (frame["reason"], frame["reconnect"], code) == ("remote", False, 1000)
    assert await other_tab.drain() == []
    assert (await kevin.get("/")).location == "/session/new"
    kevin.set_cookie("session_token", token)  # as whoever stole it would
    assert (await kevin.get("/")).location == "/session/new"
    assert (await other_device.get("/api/session")).status == 200


async def test_signing_out_with_an_endpoint_ends_that_subscription(kevin: Person) -> None:
    db = kevin.server.parts.db

    def subscribe(tx: program.WriteTx, at: program.Timestamp) -> None:
        tx.executemany(
            "INSERT INTO push_subscriptions (user_id, endpoint, p256dh_key, auth_key, created_at,"
            " updated_at) VALUES (?, ?, 'k', 'a', ?, ?)",
            [(4, "one", at, at), (4, "two", at, at), (1, "one", at, at)],
        )

    await db.write(subscribe)

    await kevin.delete("/api/session", {"push_subscription_endpoint": "one"})

    sql = "SELECT user_id, endpoint FROM push_subscriptions ORDER BY id"
    assert await found(kevin.server, sql) == [(4, "two"), (1, "one")]


async def test_after_signing_in_people_get_back_to_where_they_wanted_once(visitor: Person) -> None:
    refused = await visitor.get("/rooms/4?from=mail%20it")

    first, second = [await visitor.post("/api/session", SIGN_IN) for _ in range(2)]

    assert (refused.status, refused.location) == (302, "/session/new")
    cookie = refused.cookies["return_to"]
    assert (cookie["max-age"], cookie["httponly"], cookie["samesite"]) == ("3600", True, "Lax")
    assert first.json["redirect_to"] in ("/rooms/4?from=mail+it", "/rooms/4?from=mail%20it")
    assert second.json["redirect_to"] == "/"


async def test_nobody_is_led_to_another_site_or_by_a_forged_or_old_cookie(visitor: Person) -> None:
    signer, good = visitor.server.parts.signer, {"to": "/rooms/4"}
    for path in ("//evil.example", "/\\evil.example", "//evil.example/%2e", "/\t/evil.example"):
        await visitor.get("/api/boot", params={"path": path})
        assert (await visitor.post("/api/session", SIGN_IN)).json["redirect_to"] == "/"
    for value in (
        signer.cookie(good, 3600, 0.0), program.Signer("another").cookie(good, 3600, 2e9),
        signer.cookie({"to": ["/rooms/4"]}, 3600, 2e9), "x--y",
    ):  # fmt: skip
        visitor.set_cookie("return_to", value)
        assert (await visitor.post("/api/session", SIGN_IN)).json["redirect_to"] == "/"


async def test_a_session_is_refreshed_after_an_hour(server: Server, cast: Cast) -> None:
    server.wall.ahead = -3700
    older = await server.sign_in(cast.jz)
    server.wall.ahead = -3500
    recent = await server.sign_in(cast.kevin)
    server.wall.ahead = 0
    agent = {"User-Agent": "Firefox", "X-Forwarded-For": "203.0.113.9"}

    for person in (recent, older):
        before = (await person.get("/api/session", agent)).json["session"]
        await server.parts.jobs.finish(5)
        after = (await person.get("/api/session")).json["session"]
        if person is recent:
            assert after == before
        else:
            assert after["last_active_at"] > before["last_active_at"]
            assert (after["user_agent"], after["ip_address"]) == ("Firefox", "203.0.113.9")


@pytest.mark.parametrize("form", ["data", "message", "escaped", "bare"])
async def test_a_session_cookie_of_the_rails_app_signs_in_and_is_replaced(
    kevin: Person, form: str
) -> None:
    token = kevin.cookie("session_token") or ""
    quoted = json.dumps(token)
    inside: dict[str, object] = {"pur": "cookie.session_token", "exp": None}
    if form == "message":
        inside["message"] = base64.b64encode(quoted.encode()).decode()
    else:
        inside["data"] = token if form == "bare" else quoted
    payload = base64.b64encode(json.dumps({"_rails": inside}).encode()).decode()
    rails = f"{payload}--{'0' * 40}"
    kevin.forget_cookies()
    kevin.set_cookie("session_token", rails.replace("=", "%3D") if form == "escaped" else rails)

    page = await kevin.get("/rooms/4")

    assert page.status == 200
    assert page.cookies["session_token"].value == token


@pytest.mark.parametrize("value", cases("bad session cookies"))
async def test_a_bad_session_cookie_is_nobodys(visitor: Person, value: str) -> None:
    answer = await visitor.request(
        "GET", "/api/rooms", headers={"Cookie": f"session_token={value}"}
    )

    assert (answer.status, answer.code) == (401, "unauthenticated")


@pytest.mark.parametrize(("scheme", "disabled"), [("http", ""), ("https", ""), ("https", "1")])
async def test_cookies_have_the_attributes_of_the_table(
    start: Start, cast: Cast, scheme: str, disabled: str
) -> None:
    kevin = await (await start(DISABLE_SSL=disabled)).sign_in(cast.kevin)
    page = await kevin.get("/rooms/4", {"X-Forwarded-Proto": scheme})

    is_secure = scheme == "https" and not disabled
    for name, is_hidden in (("session_token", True), ("_campfire_csrf", True), ("last_room", "")):
        cookie = page.cookies[name]
        assert (cookie["path"], cookie["samesite"], cookie["httponly"]) == ("/", "Lax", is_hidden)
        assert (cookie["secure"], cookie["max-age"]) == (is_secure or "", str(20 * 365 * 86_400))
    assert page.cookies["last_room"].value == "4"
    assert ("Strict-Transport-Security" in page.headers) == is_secure


async def test_a_new_password_ends_all_other_sessions_and_their_sockets(
    server: Server, kevin: Person, jz: Person, visitor: Person, cast: Cast
) -> None:
    async def links() -> list[str]:
        paths = (PROFILE, f"/api/users/{kevin.id}")
        return [(await kevin.get(path)).json["transfer_url"].split("/")[-1] for path in paths]

    other, old_links = await server.sign_in(cast.kevin), await links()
    tab, other_tab, tab_of_jz = [await each.welcomed() for each in (kevin, other, jz)]
    answer = await kevin.put(PROFILE, {"password": "a new one"})
    assert (answer.status, "password" in answer.text) == (200, False)
    assert (await other_tab.goodbye())[0]["reconnect"] is False
    assert await tab.drain() == await tab_of_jz.drain() == []
    assert [(await each.get("/api/session")).status for each in (other, kevin)] == [401, 200]
    for password, status in ((SESAME, 401), ("a new one", 201)):
        given = {**SIGN_IN, "password": password}
        assert (await visitor.post("/api/session", given)).status == status
    used = [*old_links, *(await links()) * 2]  # they die with the password, and work once
    answers = [await visitor.put(f"/api/session/transfers/{link}") for link in used]
    assert [each.status for each in answers] == [400, 400, 201, 201, 400, 400]

"""Who you are: setting up, joining, signing in and out, links to other devices, and the door."""

import asyncio
import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator

import bcrypt
import pytest

import campfire as program
from tests.support.asking import began_together, count, set_status, transfer_to
from tests.support.cast import AGENT, SESAME, Cast, LogLines, Person, Server, Start
from tests.support.tables import cases

SET_UP = {"name": "David", "email_address": "david@example.com", "password": SESAME}
SIGN_IN = {"email_address": "kevin@example.com", "password": SESAME}
NEWCOMER = {"name": "Zoe", "email_address": "zoe@example.com", "password": "open sesame"}


# First run.


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


BLANK, LONG = "can't be blank", "is too long (maximum is 255 characters)"


@pytest.mark.parametrize(("field", "value", "says"), cases("bad fields of a first run"))
async def test_a_first_run_with_a_bad_field_says_which_and_changes_nothing(
    fresh_server: Server, field: str, value: object, says: str
) -> None:
    visitor = await fresh_server.visitor()

    answer = await visitor.post("/api/first_run", {**SET_UP, field: value})

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert answer.json["error"]["fields"] == {field: [says]}
    assert await count(fresh_server, "accounts") == 0


# Signing in and out.


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
    stored = await server.parts.db.read(
        lambda tx: program.one(tx, "SELECT token_hash FROM sessions ORDER BY id DESC")[0]
    )
    assert stored == hashlib.sha256(token.encode()).digest()


@pytest.mark.parametrize("given", cases("wrong passwords"), ids=str)
async def test_a_wrong_password_is_refused_in_the_same_words_and_sets_no_cookie(
    visitor: Person, given: dict[str, str]
) -> None:
    answer = await visitor.post("/api/session", given)

    assert (answer.status, answer.code) == (401, "invalid_credentials")
    assert answer.json["error"]["message"] == "Too many requests or unauthorized."
    assert "session_token" not in answer.cookies


@pytest.fixture
def hashings() -> Iterator[list[str]]:
    """Each call of bcrypt in a thread that begins from now on."""
    calls: list[str] = []

    def note(_: object, event: str, called: object) -> None:
        if event == "c_call" and getattr(called, "__name__", "") in ("checkpw", "hashpw"):
            calls.append("one")

    threading.setprofile(note)
    yield calls
    threading.setprofile(None)


async def test_known_and_unknown_addresses_cost_the_same_single_hash(
    hashings: list[str], visitor: Person, cast: Cast
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
    hashings: list[str],
) -> None:
    low, hasher = program.hash_password("right", 4), program.Hasher(4)
    hashings.clear()
    assert not await hasher.matches("wrong", low, 7)
    assert hashings == ["one"] * 4  # 2^4 + 2^4 + 2^5 + 2^6 = 2^7


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
    left = await db.read(lambda tx: program.rows(tx, sql))
    assert [tuple(each) for each in left] == [(4, "two"), (1, "one")]


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


# Sessions.


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


# Links to another device.


async def test_a_transfer_page_opens_for_any_id_and_its_link_signs_in_one_device_only(
    server: Server, cast: Cast, visitor: Person
) -> None:
    link = await transfer_to(server, cast.kevin)
    await visitor.csrf()

    pages = [await visitor.get(f"/session/transfers/{each}") for each in ("nonsense", link, link)]
    answers = await asyncio.gather(
        *(visitor.put(f"/api/session/transfers/{link}") for _ in range(4))
    )

    assert [page.boot["page"] for page in pages] == ["transfer"] * 3
    assert sorted(answer.status for answer in answers) == [201, 400, 400, 400]
    assert {each.code for each in answers if each.status == 400} == {"invalid_transfer"}
    (won,) = [each for each in answers if each.status == 201]
    assert won.json["redirect_to"] == "/"
    assert (await visitor.get("/api/session")).json["user"]["name"] == "Kevin"


async def test_a_transfer_link_ends_after_four_hours_or_with_its_password_or_person(
    server: Server, cast: Cast, visitor: Person
) -> None:
    async def redeem(link: str) -> int:
        return (await visitor.put(f"/api/session/transfers/{link}")).status

    def new_password(tx: program.WriteTx, at: program.Timestamp) -> None:
        program.update_credentials(tx, at, cast.jz.id, program.hash_password("another", 4))

    of_jason, of_jz = await transfer_to(server, cast.jason), await transfer_to(server, cast.jz)
    of_kevin = await transfer_to(server, cast.kevin)
    server.wall.ahead = -4 * 3600 - 5
    too_old = await transfer_to(server, cast.david)
    server.wall.ahead = -4 * 3600 + 60
    nearly_too_old = await transfer_to(server, cast.david)
    server.wall.ahead = 0
    await server.parts.db.write(new_password)
    await set_status(server, cast.kevin, program.Status.BANNED)

    assert [await redeem(each) for each in (too_old, of_jz, of_kevin)] == [400, 400, 400]
    assert [await redeem(each) for each in (nearly_too_old, of_jason)] == [201, 201]


async def test_forged_transfers_are_refused(server: Server, cast: Cast, visitor: Person) -> None:
    good = await transfer_to(server, cast.kevin)
    encoded, _, mac = good.rpartition("--")
    avatar = server.parts.signer.avatar_token(cast.kevin.id)

    for link in (
        encoded,
        f"{encoded}--",
        f"{encoded}--{mac[::-1]}",
        f"A{good}",
        avatar,
        "%C3%A9--0",
    ):
        answer = await visitor.put(f"/api/session/transfers/{link}")
        assert (answer.status, answer.code) == (400, "invalid_transfer")
    assert visitor.cookie("session_token") is None


# Joining.


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


# The door.


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

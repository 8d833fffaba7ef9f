"""What a proxy of ours is believed, and what is said of one that says too little."""

import json

import aiohttp
import pytest

from tests.support.asking import SIGN_IN
from tests.support.cast import SESAME, Cast, LogLines, Person, Start
from tests.support.tables import cases

TEN = "10.0.0.0/8"


@pytest.mark.parametrize(("trusted", "forwarded", "client"), cases("proxies and the client"))
async def test_the_client_is_the_first_address_from_the_right_that_is_no_proxy_of_ours(
    start: Start, trusted: str, forwarded: list[str], client: str
) -> None:
    visitor = await (await start(TRUSTED_PROXIES=trusted)).visitor()
    headers = [("X-CSRF-Token", await visitor.csrf())]
    headers += [("X-Forwarded-For", each) for each in forwarded]

    await visitor.request("POST", "/api/session", json=SIGN_IN, headers=headers)

    session = (await visitor.get("/api/session")).json["session"]
    assert session["ip_address"] == client


async def test_scheme_and_host_come_from_a_trusted_proxy_only(start: Start, cast: Cast) -> None:
    headers = {"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "front.example, b.example"}
    for setting, value, expected in (
        ("TLS_DOMAIN", "", "https://front.example"), ("TRUSTED_PROXIES", TEN, ""),
        ("TLS_DOMAIN", "chat.example.com", "https://chat.example.com"),
    ):  # fmt: skip
        server = await start(**{setting: value})
        kevin = await server.sign_in(cast.kevin)
        answer = await kevin.get("/api/boot?path=/rooms/4", headers)
        url = f"{expected or server.address}/join/{cast.join_code}"
        assert answer.json["account"]["join_url"] == url
        await server.stop()


@pytest.mark.parametrize("host", ["a b", "%", "☃.example", "a/b", '"><script>', "kevin@host"])
async def test_a_host_that_is_no_name_is_refused_in_words(visitor: Person, host: str) -> None:
    for path, shown in (
        ("/session/new", "Campfire could not read this request."), ("/api/boot", "bad_request"),
        ("/cable", ""), ("/up", ""),
    ):  # fmt: skip
        answer = await visitor.get(path, headers={"Host": host})
        assert answer.status == 400
        assert shown in answer.text
        assert host not in str(answer.headers)


async def test_plain_requests_are_sent_to_https_when_a_domain_is_set(start: Start) -> None:
    server = await start(TLS_DOMAIN="chat.example.com")
    visitor = await server.visitor()

    plain = await visitor.get("/rooms/4?a=b")
    secure = await visitor.get("/session/new", {"X-Forwarded-Proto": "https"})

    assert (plain.status, plain.location) == (301, "https://chat.example.com/rooms/4?a=b")
    assert (secure.status, (await visitor.get("/up")).status) == (200, 200)
    assert secure.headers["Strict-Transport-Security"] == "max-age=63072000; includeSubDomains"


async def test_a_proxy_without_host_is_named_and_the_password_is_not_blamed(
    visitor: Person, log_lines: LogLines
) -> None:
    given = {"email_address": "kevin@example.com", "password": SESAME}
    browser = {"Origin": "https://chat.example.com", "Host": "127.0.0.1:3000"}

    answer = await visitor.post("/api/session", given, browser)
    stale = await visitor.request("POST", "/api/session", json=given, headers=browser)
    elsewhere = await visitor.post(
        "/api/session", given, {**browser, "Sec-Fetch-Site": "cross-site"}
    )

    assert (answer.status, answer.code) == (422, "invalid_csrf_token")
    assert answer.json["error"]["message"] == (
        "Campfire is reached as 127.0.0.1:3000 but the browser asks for chat.example.com."
        " The proxy must pass the Host header."
    )
    for other in (stale, elsewhere):
        assert other.json["error"]["message"].startswith("This page is out of date.")
    rejected = [line for line in map(json.loads, log_lines()) if line["event"] == "csrf_rejected"]
    assert len(rejected) == 3
    assert {(line["origin"], line["host"]) for line in rejected} == {tuple(browser.values())}


async def test_a_socket_of_another_host_is_logged_with_both_names(
    kevin: Person, log_lines: LogLines
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError, match="404"):
        await kevin.cable(headers={"Origin": "https://chat.example.com"})

    (line,) = [
        line for line in map(json.loads, log_lines()) if line["event"] == "ws_origin_rejected"
    ]
    assert (line["origin"], line["host"]) == ("https://chat.example.com", kevin.server.host)


async def test_a_proxy_that_hides_https_sends_nobody_round_for_ever(
    start: Start, log_lines: LogLines
) -> None:
    visitor = await (await start(TLS_DOMAIN="chat.example.com")).visitor()

    for path in ("/session/new?a=b", "/session/new", "/session/new"):
        turns, page = 0, await visitor.get(path)
        while page.status == 301 and turns < 5:  # the proxy takes https, and asks us as before
            assert page.location == f"https://chat.example.com{path}"
            assert page.headers["Cache-Control"] == "no-store"
            turns, page = turns + 1, await visitor.get(path)
        assert (page.status, turns) == (200, 3 if "?" in path else 0)
    told = {"Origin": "https://chat.example.com"}
    given = {"email_address": "kevin@example.com", "password": SESAME}
    assert (await visitor.post("/api/session", given, told)).status == 201
    warnings = [
        line for line in map(json.loads, log_lines()) if line["event"] == "proxy_hides_https"
    ]
    assert [line["level"] for line in warnings] == ["warning"]
    assert warnings[0]["needs"] == "X-Forwarded-Proto"


async def test_whoever_is_known_to_come_without_https_is_always_sent_there(start: Start) -> None:
    for settings, headers in (
        ({}, {"X-Forwarded-Proto": "http"}), ({"TRUSTED_PROXIES": "10.0.0.0/8"}, {}),
    ):  # fmt: skip
        server = await start(TLS_DOMAIN="chat.example.com", **settings)
        visitor = await server.visitor()
        assert {(await visitor.get("/rooms/4", headers)).status for _ in range(9)} == {301}
        await server.stop()

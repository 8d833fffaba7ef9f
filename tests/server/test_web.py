"""How it answers: tokens and origins, headers and refusals, pages and their data."""

import asyncio
import io
import json
import re
import socket
from contextlib import suppress

import aiohttp
import pytest

import campfire as program
from tests.support.asking import SIGN_IN
from tests.support.cast import PATIENCE, SESAME, Cast, LogLines, Person, Start
from tests.support.tables import briefly, cases

SAFETY = {
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "SAMEORIGIN", "X-XSS-Protection": "0",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin", "X-Version": program.VERSION, "X-Rev": "",
}  # fmt: skip


@pytest.mark.parametrize(("headers", "status"), cases("headers of a write and its status"))
async def test_a_write_needs_the_token_of_its_cookie_and_a_page_of_ours(
    visitor: Person, headers: dict[str, str], status: int
) -> None:
    good = {"X-CSRF-Token": await visitor.csrf()}
    good["Cookie"] = f"_campfire_csrf={visitor.cookie('_campfire_csrf')}"
    visitor.http.cookie_jar.clear()
    given = {name: value.replace("SELF", visitor.server.address) for name, value in headers.items()}

    answer = await visitor.request("POST", "/api/session", json=SIGN_IN, headers=good | given)

    assert answer.status == status
    assert status == 201 or answer.code == "invalid_csrf_token"


async def test_the_door_asks_for_token_session_and_room_before_it_looks_at_the_body(
    visitor: Person, kevin: Person, jz: Person, jason: Person, cast: Cast
) -> None:
    away, here = (f"/api/rooms/closeds/{room.id}" for room in (cast.watercooler, cast.designers))
    bad = {"name": "", "user_ids": "x"}

    answers = [await visitor.request("PUT", away, json=bad), await visitor.put(away, bad)]
    answers += [await kevin.put(away, bad), await jz.put(here, bad), await jason.put(here, bad)]

    assert [answer.code for answer in answers] == [
        "invalid_csrf_token", "unauthenticated", "room_not_found", "forbidden", "validation_failed",
    ]  # fmt: skip


@pytest.mark.parametrize(("origin", "is_allowed"), cases("origins and whether they are allowed"))
async def test_sockets_and_writes_are_for_pages_of_our_own_origins(
    start: Start, cast: Cast, origin: str, *, is_allowed: bool
) -> None:
    server = await start(
        TLS_DOMAIN="domain.example", DISABLE_SSL="1", ALLOWED_ORIGINS="https://extra.example"
    )
    kevin = await server.sign_in(cast.kevin)
    headers = {"Host": "chat.example.com", "Origin": origin}

    written = await kevin.post("/api/rooms/opens", {"name": "Garden"}, headers)
    if is_allowed:
        tab = await kevin.cable(headers=headers)
        assert await tab.next_frame() == {"type": "welcome"}
    else:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="404"):
            await kevin.cable(headers=headers)

    assert written.status == (201 if is_allowed else 422)


async def test_a_socket_needs_an_origin_and_an_upgrade(kevin: Person) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError, match="404"):
        await kevin.cable(headers={})
    for answer in (await kevin.get("/cable"), await kevin.post("/cable")):
        assert (answer.status, answer.text) == (404, "Page not found")


async def test_every_answer_is_dressed_alike_and_named(kevin: Person, cast: Cast) -> None:
    answers = [
        await kevin.get("/rooms/4"), await kevin.get("/api/rooms"), await kevin.get("/nowhere"),
        await kevin.get("/api/nowhere"), await kevin.get("/"), await kevin.get("/up"),
        await kevin.get("/sounds/tada.mp3"), await kevin.get("/cable"),
        await kevin.request("POST", "/api/rooms/opens"), await kevin.request("POST", "/rooms/4"),
        await kevin.get(f"/api/rooms/{cast.hq.id}/messages"), await kevin.get("/robots.txt"),
    ]  # fmt: skip

    for answer in answers:
        assert {name: answer.headers.get(name) for name in SAFETY} == SAFETY
        assert not {"Strict-Transport-Security", "Access-Control-Allow-Origin"} & set(
            answer.headers
        )
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == len(answers)
    page, api, host = answers[0], answers[1], kevin.server.host
    kinds = [(each.headers["Cache-Control"], each.headers["Content-Type"]) for each in (page, api)]
    assert kinds[0] == ("private, no-cache", "text/html; charset=utf-8")
    assert kinds[1] == ("no-store", "application/json; charset=utf-8")
    for shown in (page, answers[2]):
        assert shown.headers["Content-Security-Policy"] == (
            "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline' https:; "
            "font-src 'self' data: https:; img-src 'self' data: blob: https:; media-src 'self'; "
            f"connect-src 'self' ws://{host} wss://{host}; worker-src 'self'; "
            "manifest-src 'self'; frame-ancestors 'self'; base-uri 'self'; form-action 'self'; "
            "object-src 'none'"
        )


GIVEN = [("a-B-9", True), ("x" * 255, True), ("x" * 256, False), ("a b", False)]


@pytest.mark.parametrize(("given", "is_kept"), GIVEN, ids=briefly)
async def test_the_id_of_a_request_is_kept_when_it_is_one(
    kevin: Person, given: str, *, is_kept: bool
) -> None:
    answer = await kevin.get("/up", {"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) == is_kept


@pytest.mark.parametrize("path", ["/api/rooms", "/api/rooms/1", "/api/session", "/api/sounds"])
async def test_dot_json_at_the_end_of_an_address_changes_nothing(kevin: Person, path: str) -> None:
    plain, dotted = await kevin.get(path), await kevin.get(f"{path}.json")
    assert (dotted.status, set(dotted.json)) == (200, set(plain.json))


@pytest.mark.parametrize(
    "path", ["/api/rooms", "/rooms/4", "/up", "/nowhere", "/api/nowhere", "/sounds/tada.mp3"]
)
async def test_head_is_get_without_its_body(kevin: Person, path: str) -> None:
    shown, head = await kevin.get(path), await kevin.request("HEAD", path)
    assert (head.status, head.body) == (shown.status, b"")
    assert head.headers["Content-Type"] == shown.headers["Content-Type"]


async def test_patch_does_what_put_does(kevin: Person, cast: Cast) -> None:
    bell = f"/api/rooms/{cast.hq.id}/involvement.json"
    assert (await kevin.send("PATCH", bell, {"involvement": "nothing"})).status == 200


ALLOWED = [
    ("DELETE", "/api/rooms", "GET, HEAD"), ("PUT", "/api/session", "DELETE, GET, HEAD, POST"),
    ("POST", "/rooms/4", "GET, HEAD"), ("DELETE", "/", "GET, HEAD"),
    ("POST", "/api/rooms/opens/4", "PATCH, PUT"), ("PUT", "/up", "GET, HEAD"),
    ("OPTIONS", "/api/rooms", "GET, HEAD"), ("GET", "/api/first_run", "POST"),
]  # fmt: skip
ODD = ["0x4", "-4", "+4", "4.0", "%D9%A4", "1" * 19, "4%00", "%204", "4;", "four"]


@pytest.mark.parametrize(("method", "path", "allow"), ALLOWED)
async def test_a_wrong_method_is_told_the_right_ones(
    kevin: Person, method: str, path: str, allow: str
) -> None:
    answer = await kevin.send(method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, allow)


@pytest.mark.parametrize("odd", ODD)
async def test_what_is_no_number_is_no_room(kevin: Person, odd: str) -> None:
    assert (await kevin.get(f"/api/rooms/{odd}")).code == "not_found"
    page = await kevin.get(f"/rooms/{odd}")
    assert (page.status, page.boot["page"], page.boot["status"]) == (404, "error", 404)


async def test_an_unknown_address_says_so(kevin: Person, visitor: Person) -> None:
    assert (await kevin.get(f"/api/rooms/{'9' * 18}")).code == "room_not_found"
    assert (await visitor.get("/api/nowhere")).code == "not_found"
    assert (await visitor.get("/api")).status == 404
    assert (await visitor.get("/nowhere")).boot["data"]["message"]


JSON = "application/json"
BODIES = cases("bodies of requests and their status")


@pytest.mark.parametrize(("body", "media_type", "status"), BODIES, ids=briefly)
async def test_a_body_that_is_no_json_object_is_refused_and_never_a_fault(
    kevin: Person, body: bytes, media_type: str, status: int
) -> None:
    code = {400: "bad_request", 413: "payload_too_large", 415: "unsupported_media_type"}
    headers = {"X-CSRF-Token": await kevin.csrf(), "Content-Type": media_type}

    answer = await kevin.request("POST", "/api/rooms/opens", data=io.BytesIO(body), headers=headers)

    assert answer.status == status
    assert status == 201 or answer.code == code.get(status, "validation_failed")
    for method, path in (
        ("POST", "/api/session"), ("POST", "/api/first_run"), ("POST", "/api/rooms/directs"),
        ("POST", "/api/rooms/4/messages"), ("PUT", "/api/rooms/4/involvement"),
        ("POST", "/api/messages/1/boosts"), ("PUT", "/api/rooms/closeds/4"),
        ("PUT", "/api/rooms/opens/4"), ("PUT", "/api/rooms/4/messages/1"),
    ):  # fmt: skip
        answer = await kevin.request(method, path, data=io.BytesIO(body), headers=headers)
        assert answer.status < 500 or answer.code == "feature_disabled", (path, answer.text)
        assert set(answer.json) & {"error", "user", "room", "message", "involvement"}


async def test_a_page_carries_what_the_api_says_about_its_address(
    david: Person, visitor: Person, cast: Cast
) -> None:
    addresses = [
        f"/rooms/{cast.hq.id}", f"/rooms/{cast.watercooler.id}/@5", "/rooms/opens/new",
        "/rooms/directs/new", f"/rooms/opens/{cast.hq.id}/edit", "/users/me/sidebar", "/nowhere",
        f"/rooms/closeds/{cast.designers.id}/edit", "/rooms/directs/6/edit",
        "/session/new?email_address=a%40b", f"/join/{cast.join_code}", "/session/transfers/x",
    ]  # fmt: skip
    for person in (david, visitor):
        for address in addresses:
            told, page = await person.boot(address), await person.get(address)
            if page.status == 302:
                assert page.location == ("/" if person is david else "/session/new")
                assert told == {"redirect_to": page.location, "csrf_token": told["csrf_token"]}
                continue
            new_each_time = {"server_time_ms": 0, "csrf_token": ""}
            assert page.boot | new_each_time == told | new_each_time
            assert (page.status, told["cable_url"]) == (told["status"], "/cable")
            assert f'name="csrf-token" content="{page.boot["csrf_token"]}"' in page.text
    room = await david.boot(addresses[0])
    assert set(room) == {
        "page", "status", "params", "account", "current_user", "csrf_token", "vapid_public_key",
        "version", "features", "cable_url", "streams", "last_room_id", "server_time_ms", "flash",
        "help_contact", "data", "sounds",
    }  # fmt: skip
    assert set(room["data"]) == {"room", "messages", "loaded_at_ms", "first_unread", "sidebar"}
    assert room["features"] == {
        "files": True, "avatars": False, "opengraph": True, "max_file_bytes": 512 << 20,
    }  # fmt: skip
    sign = david.server.parts.signer.stream
    assert room["streams"] == {"rooms": sign("rooms"), "user_rooms": sign("user_1:rooms")}
    assert room["current_user"]["email_address"] == "david@example.com"
    told = (await david.get(f"/api/rooms/{cast.hq.id}")).json
    assert room["data"] | told | {"loaded_at_ms": 0} == room["data"] | {"loaded_at_ms": 0}
    edit = await david.boot("/rooms/closeds/4/edit")
    assert edit["data"] == (await david.get("/api/rooms/4/members")).json
    anonymous = await visitor.boot("/session/new")
    assert set(anonymous["account"]) == {"name", "logo_url", "has_logo"}
    assert anonymous["current_user"] is anonymous["streams"] is anonymous["last_room_id"] is None
    assert anonymous["help_contact"] == {"name": "David", "email_address": "david@example.com"}


async def test_nothing_people_wrote_is_markup_in_a_page(david: Person, cast: Cast) -> None:
    hostile = "</script><script>alert(1)</script>&\u2028<!--"
    await david.put(f"/api/rooms/opens/{cast.hq.id}", {"name": hostile})
    page = await david.get(f"/rooms/{cast.hq.id}")

    assert page.boot["data"]["room"]["name"] == hostile
    assert page.text.startswith("<!DOCTYPE html>")
    assert "\u2028" not in page.text.split('id="boot">')[1]
    assert len(re.findall("<script", page.text)) == 2
    for part in (
        '<div id="root" data-root>', 'name="csrf-param" content="authenticity_token"',
        'name="action-cable-url" content="/cable"', 'name="vapid-public-key"', 'name="viewport"',
        f'name="current-user-id" content="{david.id}"', 'name="current-user-name"', "#000000",
        f'name="current-room-id" content="{cast.hq.id}"', 'name="color-scheme"',
        '<link rel="manifest" href="/webmanifest.json">',
    ):  # fmt: skip
        assert part in page.text


async def test_the_small_addresses_that_machines_ask_for(visitor: Person) -> None:
    up, told = await visitor.get("/up"), await visitor.get("/up.json")
    wanted = await visitor.get("/up", {"Accept": "application/json"})
    robots, icon = await visitor.get("/robots.txt"), await visitor.get("/favicon.ico")
    large, small = await visitor.get("/account/logo"), await visitor.get("/account/logo?size=small")

    green = '<!DOCTYPE html><html><body style="background-color: green"></body></html>'
    assert (up.status, up.text) == (200, green)
    for answer in (told, wanted):
        assert answer.json["status"] == "up"
        assert (answer.json["database"], answer.json["version"]) == ("ok", program.VERSION)
        assert set(answer.json) == {
            "status", "timestamp", "version", "uptime_seconds", "websocket_connections", "database",
            "files", "pictures",
        }  # fmt: skip
        assert (answer.json["files"], answer.json["pictures"]) == ("ok", "unavailable")
    assert (robots.status, robots.text.count("\n"), robots.text[0]) == (200, 1, "#")
    assert (icon.status, icon.location) == (302, "/account/logo?size=small")
    for logo, side in ((large, 512), (small, 192)):
        assert logo.headers["Content-Type"] == "image/png"
        assert logo.headers["Cache-Control"] == "public, max-age=300, stale-while-revalidate=604800"
        assert [int.from_bytes(logo.body[at : at + 4]) for at in (16, 20)] == [side, side]
    seen = {"If-None-Match": large.headers["ETag"]}
    assert (await visitor.get("/account/logo", seen)).status == 304


async def test_the_log_holds_no_secret_of_a_whole_visit(
    visitor: Person, cast: Cast, log_lines: LogLines
) -> None:
    await visitor.get("/session/new?email_address=secret%40example.com&bot_key=5-ABCDEFGHIJKL")
    wrong = {"email_address": "secret@example.com", "password": "wrong words"}
    await visitor.post("/api/session", wrong)
    await visitor.request("POST", "/api/session", json=wrong, headers={"X-CSRF-Token": "forged"})
    await visitor.put("/api/session/transfers/transferred")
    await visitor.get(f"/join/{cast.join_code}")
    me = (await visitor.post("/api/session", SIGN_IN)).json["user"]
    await visitor.get(me["avatar_url"])
    await visitor.say(cast.designers, "whispered")
    cookies = [visitor.cookie(name) or "?" for name in ("session_token", "_campfire_csrf")]
    secrets = [
        "secret@", "secret%40", "wrong words", "forged", "transferred", cast.join_code, SESAME,
        "whispered", "ABCDEFGHIJKL", me["avatar_url"].split("/")[2], await visitor.csrf(), *cookies,
    ]  # fmt: skip

    lines = [json.loads(line) for line in log_lines()]

    assert [each for each in secrets if each in "\n".join(log_lines())] == []
    assert {"sign_in_failed", "csrf_rejected", "request"} <= {line["event"] for line in lines}
    assert set(lines[-1]) == set(
        "ts level event request_id method path status ms ip user_id".split()
    )
    assert (lines[-1]["path"], lines[-1]["user_id"]) == ("/api/rooms/4/messages", me["id"])


@pytest.mark.parametrize("turns", range(6))
async def test_whoever_connects_as_it_stops_is_let_go(start: Start, turns: int) -> None:
    server = await start()
    host, port = server.host.split(":")
    with socket.create_connection((host, int(port))) as late:
        for _ in range(turns):  # of the loop: accepted, served, or neither yet
            await asyncio.sleep(0)
        await server.stop()
        late.settimeout(PATIENCE)
        with suppress(ConnectionResetError):
            assert await asyncio.to_thread(late.recv, 1) == b""

"""Who stands at the door: what the log shows of them, and what they are refused."""

import json
import re
import socket
from urllib.parse import quote

import pytest

import campfire as program
from tests.support.asking import KEY, found, run
from tests.support.cast import PATIENCE, Cast, LogLines, Person, Server, Start
from tests.support.operators import heard_until_the_end, number, numbers
from tests.support.tables import cases

PICTURE = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


def port_of(server: Server) -> int:
    return int(server.host.rpartition(":")[2])


@pytest.mark.parametrize(("address", "shown"), cases("addresses as the log shows them"))
async def test_the_log_shows_of_an_address_what_is_no_secret(
    server: Server, log_lines: LogLines, address: str, shown: str
) -> None:
    head = f"GET {address} HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n"
    await heard_until_the_end(port_of(server), head.encode())

    assert [json.loads(line).get("path") for line in log_lines()][-1] == shown


async def test_no_character_of_a_stranger_steers_a_terminal(
    server: Server, log_lines: LogLines
) -> None:
    odd = [*range(0x20), *range(0x7F, 0xA0), 0x061C, *range(0x200B, 0x2010), *range(0x2028, 0x202F)]
    steering = {*map(chr, odd), "\u2066", "\u2069", "\ufeff"}
    visitor = await server.visitor()
    for character in "\x85\x9b\u2028\u202e\ufeff":
        await visitor.get(f"/assets/{quote(character)}31m.js")
        headers = {"Origin": f"http://a{character}b", "X-CSRF-Token": await visitor.csrf()}
        await visitor.request("POST", "/api/session", headers=headers)
        program.LOG.info("heard", extra={"fields": {"what": character, character: 1}})

    lines = log_lines()
    assert [line for line in lines if steering & set(line)] == []
    assert {json.loads(line).get("what") for line in lines} >= set("\x85\x9b\u2028\u202e\ufeff")


LINE_ENDS = [
    "/rooms/4%0D%0A", "/join/x%0D%0ASet-Cookie:a", "/up%0A", "/assets/%0D%0A", "/users/x%0A/avatar",
    "/session/transfers/%0D", "/%0D%0A", f"/rooms/3/{KEY}%0D%0A/messages",
]  # fmt: skip


@pytest.mark.parametrize("path", LINE_ENDS)
async def test_a_line_end_in_an_address_leads_nowhere(kevin: Person, path: str) -> None:
    assert (await kevin.get(path)).status == 404
    assert (await kevin.get(f"/api{path}")).code == "not_found"


async def test_a_drawing_opened_by_itself_can_do_nothing(kevin: Person) -> None:
    me = (await kevin.get("/api/users/me/profile")).json
    globe = program.load_bundle().url("globe.svg")
    for path in (me["user"]["avatar_url"], me["transfer_qr_path"], globe):
        picture = await kevin.get(path)
        assert picture.headers["Content-Type"].startswith("image/svg+xml"), path
        assert picture.headers["Content-Security-Policy"] == PICTURE
        assert picture.headers["X-Content-Type-Options"] == "nosniff"


async def test_signing_out_clears_what_the_browser_kept(kevin: Person) -> None:
    assert (await kevin.delete("/api/session")).headers["Clear-Site-Data"] == '"cache"'
    assert "Clear-Site-Data" not in (await kevin.get("/session/new")).headers


async def test_a_bug_behind_an_address_without_a_route_is_answered_like_any_other(
    kevin: Person, log_lines: LogLines
) -> None:
    broken = "UPDATE accounts SET updated_at = 9000000000000000000"  # later than any calendar knows
    await run(kevin.server, broken)

    page = await kevin.get("/nowhere")

    assert (page.status, page.boot["page"]) == (500, "error")
    assert page.boot["data"]["message"] == "Something went wrong."
    assert re.fullmatch(r"[0-9a-f-]{36}", page.headers["X-Request-Id"])
    assert page.headers["Server"] == "Campfire"
    lines, name = map(json.loads, log_lines()), page.headers["X-Request-Id"]
    named = [line["event"] for line in lines if line.get("request_id") == name]
    assert named == ["request_failed", "request"]
    counted = await numbers(kevin)
    assert (
        number(counted, "http_requests_total", method="GET", route="unmatched", status="500") == 1
    )


async def test_whoever_leaves_in_the_handshake_of_a_socket_is_one_line(
    server: Server, log_lines: LogLines
) -> None:
    head = f"GET /cable HTTP/1.1\r\nHost: {server.host}\r\nOrigin: {server.address}\r\n"
    head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port_of(server)), PATIENCE) as leaver:
            await heard_until_the_end(port_of(server), b"GET /up HTTP/1.0\r\n\r\n")  # it is let in
            leaver.sendall(head.encode())
    await server.stop()

    lines = [line for line in map(json.loads, log_lines()) if "/cable" in str(line)]
    assert [(line["event"], line["level"]) for line in lines] == [("request", "info")] * 3


async def test_a_sound_is_sent_once_and_leaves_its_connection_open(
    server: Server, log_lines: LogLines
) -> None:
    asked = b"GET /sounds/tada.mp3 HTTP/1.1\r\nHost: x\r\n\r\n" * 2
    asked += b"GET /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    heard = await heard_until_the_end(port_of(server), asked)

    assert heard.count(b"HTTP/1.1 200 OK") == 3
    assert {json.loads(line)["level"] for line in log_lines()} == {"info"}


@pytest.mark.parametrize(
    "path",
    ["/rooms/4", "/session/new", "/api/rooms", "/up", "/sounds/tada.mp3", "/users/me/profile"],
)
async def test_an_address_with_a_slash_at_its_end_is_the_one_without(
    kevin: Person, path: str
) -> None:
    moved = await kevin.get(f"{path}/?a=b")
    assert (moved.status, moved.location) == (301, f"{path}?a=b")
    assert (await kevin.request("HEAD", f"{path}/")).location == path


async def test_a_slash_at_the_end_of_an_address_changes_nothing(kevin: Person, cast: Cast) -> None:
    said = await kevin.post(f"/api/rooms/{cast.designers.id}/messages/", {"body": "slashed"})
    assert said.status == 201
    bell = f"/api/rooms/{cast.hq.id}/involvement/"
    assert (await kevin.send("PATCH", bell, {"involvement": "nothing"})).status == 200
    assert (await kevin.request("POST", f"/rooms/3/{KEY}/messages/", data=b"beep")).status == 201
    assert (await kevin.delete(f"/api/rooms/{cast.designers.id}/")).status == 403
    for nowhere in ("/nowhere/", "/rooms/4//", "/api/nowhere/", "/.//evil.example/"):
        assert (await kevin.get(nowhere)).status == 404, nowhere


NO_REQUESTS = [
    (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"HTTP/1.1 400 "),
    (b"GET / HTTP/1.0\r\nbad header\r\n\r\n", b"HTTP/1.0 400 "),
    (b"GET /a b c HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400 "),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HTTP/1.1 400 "),
    (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
]


@pytest.mark.parametrize(("sent", "heard"), NO_REQUESTS)
async def test_what_is_no_request_is_refused_in_its_own_version(
    server: Server, sent: bytes, heard: bytes
) -> None:
    refusal = await heard_until_the_end(port_of(server), sent)

    assert refusal.startswith(heard)
    assert b"\r\nConnection: close\r\n" in refusal or heard.startswith(b"HTTP/1.0")


async def come_from(server: Server, user: program.User, ip: str) -> None:
    await run(server, "UPDATE sessions SET ip_address = :ip WHERE user_id = :id", ip=ip, id=user.id)


async def test_no_ban_covers_an_address_that_an_administrator_uses(
    start: Start, cast: Cast
) -> None:
    server = await start(TRUSTED_PROXIES="127.0.0.1/32")
    david, jason, *_ = [
        await server.sign_in(user) for user in (cast.david, cast.jason, cast.kevin, cast.jz)
    ]
    office, home = ({"X-Forwarded-For": f"203.0.113.{n}"} for n in (1, 2))
    for user, n in ((cast.david, 1), (cast.jz, 1), (cast.kevin, 2), (cast.jason, 3)):
        await come_from(server, user, f"203.0.113.{n}")

    banned = [
        (await david.post(f"/api/users/{each.id}/ban", None, office)).status
        for each in (cast.jz, cast.kevin)
    ]

    assert banned == [200, 200]
    assert await found(server, "SELECT DISTINCT ip_address FROM bans") == [("203.0.113.2",)]
    visitor = await server.visitor()
    wrong = {"email_address": "a@b", "password": "x"}
    statuses = [(await visitor.post("/api/session", wrong, at)).status for at in (office, home)]
    assert statuses == [401, 429]
    # Jason comes to the banned address, and may undo it from there; nobody else may write.
    assert (await jason.delete(f"/api/users/{cast.kevin.id}/ban", None, home)).status == 200
    assert await found(server, "SELECT * FROM bans WHERE ip_address = '203.0.113.2'") == []

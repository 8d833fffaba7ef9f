"""How it answers: the door, headers and refusals, pages and their data, numbers, old browsers."""

import asyncio
import io
import json
import re
import socket
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

import campfire as program
from tests.support import matrix
from tests.support.cast import PATIENCE, SESAME, Cast, LogLines, Person, Server, Start
from tests.support.operators import COUNTERS, GAUGES, HISTOGRAMS, number, numbers
from tests.support.tables import briefly, cases

SIGN_IN = {"email_address": "kevin@example.com", "password": SESAME}
SAFETY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "X-XSS-Protection": "0",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Version": program.VERSION,
    "X-Rev": "",
}


# Who may write: the token, the page one comes from, the order of the questions.


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


LOCAL, PUBLIC, OTHER = "127.0.0.1", "203.0.113.5", "198.51.100.7"
ONE, TEN, BOTH = "127.0.0.1/32", "10.0.0.0/8", "127.0.0.1/32,203.0.113.0/24"


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


# What every answer carries, and refusals of every kind.


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
    for given, is_kept in (("a-B-9", True), ("x" * 255, True), ("x" * 256, False), ("a b", False)):
        answer = await kevin.get("/up", {"X-Request-Id": given})
        assert (answer.headers["X-Request-Id"] == given) == is_kept
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


async def test_dot_json_and_head_and_patch_are_understood(kevin: Person, cast: Cast) -> None:
    for path in ("/api/rooms", f"/api/rooms/{cast.hq.id}", "/api/session", "/api/sounds"):
        plain, dotted = await kevin.get(path), await kevin.get(f"{path}.json")
        assert (dotted.status, set(dotted.json)) == (200, set(plain.json))
    for path in ("/api/rooms", "/rooms/4", "/up", "/nowhere", "/api/nowhere", "/sounds/tada.mp3"):
        shown, head = await kevin.get(path), await kevin.request("HEAD", path)
        assert (head.status, head.body) == (shown.status, b"")
        assert head.headers["Content-Type"] == shown.headers["Content-Type"]
    bell = f"/api/rooms/{cast.hq.id}/involvement.json"
    assert (await kevin.send("PATCH", bell, {"involvement": "nothing"})).status == 200


async def test_a_wrong_method_and_an_unknown_address_say_so(kevin: Person, visitor: Person) -> None:
    for method, path, allow in (
        ("DELETE", "/api/rooms", "GET, HEAD"), ("PUT", "/api/session", "DELETE, GET, HEAD, POST"),
        ("POST", "/rooms/4", "GET, HEAD"), ("DELETE", "/", "GET, HEAD"),
        ("POST", "/api/rooms/opens/4", "PATCH, PUT"), ("PUT", "/up", "GET, HEAD"),
        ("OPTIONS", "/api/rooms", "GET, HEAD"), ("GET", "/api/first_run", "POST"),
    ):  # fmt: skip
        answer = await kevin.send(method, path)
        assert (answer.status, answer.headers["Allow"]) == (405, allow), (method, path)
    for odd in ("0x4", "-4", "+4", "4.0", "%D9%A4", "1" * 19, "4%00", "%204", "4;", "four"):
        assert (await kevin.get(f"/api/rooms/{odd}")).code == "not_found", odd
        page = await kevin.get(f"/rooms/{odd}")
        assert (page.status, page.boot["page"], page.boot["status"]) == (404, "error", 404)
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


# Pages.


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
    assert set(room["data"]) == {"room", "messages", "loaded_at_ms", "sidebar"}
    assert room["features"] == {"files": False, "avatars": False, "opengraph": False}
    sign = david.server.parts.signer.stream
    assert room["streams"] == {"rooms": sign("rooms"), "user_rooms": sign("user_1:rooms")}
    assert room["current_user"]["email_address"] == "david@example.com"
    told = (await david.get(f"/api/rooms/{cast.hq.id}")).json
    assert room["data"] | told | {"loaded_at_ms": 0} == room["data"] | {"loaded_at_ms": 0}
    edit = await david.boot("/rooms/closeds/4/edit")
    assert edit["data"] == (await david.get("/api/rooms/4/members")).json
    anonymous = await visitor.boot("/session/new")
    assert set(anonymous["account"]) == {"name", "logo_url"}
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
        }  # fmt: skip
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


# --- Pages and pictures --------------------------------------------------------------------------

MOZILLA = "Mozilla/5.0 (X11; Linux x86_64) "
TRANSLATIONS = Path(program.__file__).parent / "static_bundle" / "src" / "translations.json"
TOO_OLD = cases("browsers that are too old")
GOOD_ENOUGH = cases("browsers that are good enough")


@pytest.mark.parametrize("agent", TOO_OLD)
async def test_a_browser_that_is_too_old_is_asked_to_upgrade(server: Server, agent: str) -> None:
    visitor = await server.visitor({"User-Agent": MOZILLA + agent})

    page = await visitor.get("/session/new")

    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "<h1>Upgrade to a supported web browser</h1>" in page.text
    assert "<script" not in page.text
    listed = re.findall(r"<strong>(\w+)</strong> <span>([\d.]+)\+</span>", page.text)
    assert listed == [
        ("Safari", "17.2"), ("Chrome", "120"), ("Firefox", "125"), ("Opera", "104"),
    ]  # fmt: skip
    told = re.findall(r'>(\S+)</span> <span lang="([\w-]+)">([^<]+)</span>', page.text)
    languages = json.loads(TRANSLATIONS.read_text())["languages"]  # of the client's own notices
    assert [[language, flag] for flag, language, _ in told] == languages
    assert told[4][2] == "Bitte nutze einen aktuellen Browser"
    assert (await visitor.get("/api/boot?path=/session/new")).json["page"] == "sign_in"
    assert (await visitor.get("/")).status == 302


@pytest.mark.parametrize("agent", GOOD_ENOUGH)
async def test_every_other_browser_gets_the_client(server: Server, agent: str) -> None:
    visitor = await server.visitor({"User-Agent": MOZILLA + agent if agent else ""})

    assert (await visitor.get("/session/new")).boot["page"] == "sign_in"


async def test_redirects_come_before_the_upgrade_page(server: Server) -> None:
    visitor = await server.visitor({"User-Agent": MOZILLA + TOO_OLD[0]})

    assert (await visitor.get("/rooms/1")).location == "/session/new"


async def test_metrics_are_in_the_text_format_under_their_names(visitor: Person) -> None:
    answer = await visitor.get("/metrics")

    families = {each.name: each.type for each in text_string_to_metric_families(answer.text)}
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    kinds = {"counter": COUNTERS, "gauge": GAUGES, "histogram": HISTOGRAMS}
    wanted = {f"campfire_{name}": kind for kind, names in kinds.items() for name in names.split()}
    wanted |= {"campfire_process_resident_memory_bytes": "gauge"}
    assert families == wanted | {"campfire_process_cpu_seconds": "counter"}


async def test_metrics_count_what_happens_by_pattern_and_never_by_path(
    kevin: Person, designers: program.Room
) -> None:
    tab = await kevin.room_tab(designers)
    await tab.subscribe(channel="PresenceChannel", room_id=designers.id)
    before = await numbers(kevin)
    for _ in range(2):
        await kevin.say(designers, "counted once", "once")
    await kevin.get(f"/rooms/{designers.id}")
    await kevin.get("/no/such/page")
    await kevin.request("PROPFIND", "/files")
    after = await numbers(kevin)

    def grown(name: str, **labels: str) -> float:
        return number(after, name, **labels) - number(before, name, **labels)

    assert grown("messages_created_total") == grown("broadcast_seconds_count") == 1
    route = "/api/rooms/{room_id}/messages"
    assert grown("http_requests_total", method="POST", route=route, status="201") == 1
    assert grown("http_requests_total", method="POST", route=route, status="200") == 1
    assert grown("http_request_seconds_count", route="/rooms/{room_id}") == 1
    assert grown("http_requests_total", method="GET", route="unmatched", status="404") == 1
    assert grown("http_requests_total", method="other", route="unmatched", status="404") == 1
    assert grown("broadcasts_total", kind="room_messages") == 1
    assert grown("broadcasts_total", kind="user_unreads") == 4
    assert grown("ws_frames_sent_total") >= 1
    assert grown("db_group_size_count") >= 2
    assert grown("db_write_seconds_bucket", le="+Inf") >= 2
    assert number(after, "ws_connections") == number(after, "presence_entries") == 1
    assert number(after, "ws_subscriptions", channel="RoomMessagesChannel") == 1
    assert number(after, "process_resident_memory_bytes") > 10_000_000
    assert number(after, "build_info", version=program.VERSION, revision="") == 1
    text = (await kevin.get("/metrics")).text
    assert f"/rooms/{designers.id}" not in text
    assert "/no/such" not in text


async def test_histograms_add_up_from_bucket_to_bucket(visitor: Person) -> None:
    await visitor.get("/up")

    samples = await numbers(visitor)

    buckets = [
        (float(dict(labels)["le"]), value)
        for (name, labels), value in samples.items()
        if name == "campfire_http_request_seconds_bucket" and ("route", "/up") in labels
    ]
    counts = [value for _, value in sorted(buckets)]
    assert counts == sorted(counts)
    assert counts[-1] == number(samples, "http_request_seconds_count", route="/up") == 1


async def test_without_a_token_metrics_answer_this_machine_directly_and_nobody_else(
    visitor: Person, server: Server
) -> None:
    assert (await visitor.get("/metrics")).status == 200
    assert (await visitor.get("/metrics", {"X-Forwarded-For": "127.0.0.1"})).status == 404
    for peer, may in (("127.0.0.1", True), ("::1", True), ("10.0.0.5", False), ("", False)):
        assert program.may_read_metrics(server.parts.config, peer, {"Host": "[::1]:3000"}) is may
    assert not program.may_read_metrics(server.parts.config, "::1", {"Host": "chat.example"})


async def test_with_a_token_metrics_answer_whoever_holds_it(start: Start) -> None:
    visitor = await (await start(METRICS_TOKEN="hush")).visitor()

    assert (await visitor.get("/metrics")).status == 404
    assert (await visitor.get("/metrics", {"Authorization": "Bearer hus"})).status == 404
    proxied = {"Authorization": "Bearer hush", "X-Forwarded-For": "203.0.113.9"}
    assert (await visitor.get("/metrics", proxied)).status == 200


def test_the_table_of_authorization_knows_every_route() -> None:
    bare = re.compile(r"{(\w+):[^{}]*}")
    routes = [(each.method, bare.sub(r"{\1}", each.path)) for each in program.ROUTES]

    assert set(matrix.ROUTES) == {f"{method} {path}" for method, path in routes if method != "*"}


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

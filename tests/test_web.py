"""How it answers: the door, headers and refusals, pages and their data, files and pictures."""

import gzip
import io
import json
import re
from pathlib import Path

import aiohttp
import pytest

import campfire as program
from tests.cast import SESAME, Cast, LogLines, Person, Server, Start

SIGN_IN = {"email_address": "kevin@example.com", "password": SESAME}
SAFETY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "X-XSS-Protection": "0",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "X-Version": program.VERSION,
    "X-Rev": "",
}

# Who may write: the token, the page one comes from, the order of the questions.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201), ({"Sec-Fetch-Site": "same-origin"}, 201), ({"Origin": "SELF"}, 201),
        ({"X-CSRF-Token": ""}, 422), ({"X-CSRF-Token": "forged"}, 422),
        ({"X-CSRF-Token": "\u00e9"}, 422), ({"Cookie": "_campfire_csrf=other"}, 422),
        ({"Cookie": ""}, 422), ({"Sec-Fetch-Site": "cross-site"}, 422),
        ({"Sec-Fetch-Site": "same-site"}, 422), ({"Sec-Fetch-Site": "none"}, 422),
        ({"Origin": "http://evil.example"}, 422), ({"Origin": "null"}, 422), ({"Origin": ""}, 422),
        ({"Origin": "SELF", "Sec-Fetch-Site": "cross-site"}, 422),
    ],
)  # fmt: skip
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


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("http://chat.example.com", True), ("https://chat.example.com", True),
        ("http://chat.example.com:80", True), ("https://chat.example.com:443", True),
        ("HTTP://CHAT.EXAMPLE.COM", True), ("https://extra.example", True),
        ("https://domain.example", True), ("http://chat.example.com:81", False),
        ("https://chat.example.com:80", False), ("ftp://chat.example.com", False),
        ("http://chat.example.com.evil.example", False), ("http://evil.example", False),
        ("http://user@chat.example.com", False), ("http://chat.example.com/path", False),
        ("http://extra.example", False), ("null", False), ("", False), ("chat.example.com", False),
        ("http://", False), ("http://chat.example.com\\@evil.example", False),
    ],
)  # fmt: skip
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


@pytest.mark.parametrize(
    ("trusted", "forwarded", "client"),
    [
        # The peer is always 127.0.0.1, and with the default list it is believed.
        ("", [], LOCAL), ("", [PUBLIC], PUBLIC), ("", [f"{OTHER}, {PUBLIC}"], PUBLIC),
        ("", [f"{PUBLIC}, 10.0.0.1"], PUBLIC), ("", [f"10.0.0.9, {PUBLIC}, 172.16.0.1"], PUBLIC),
        ("", [f"{OTHER}, {PUBLIC}, 10.0.0.1, 192.168.1.1"], PUBLIC), ("", ["10.0.0.1"], "10.0.0.1"),
        ("", ["10.0.0.1, 10.0.0.2"], "10.0.0.1"), ("", [LOCAL], LOCAL), ("", [""], LOCAL),
        ("", [f"  {PUBLIC}  "], PUBLIC), ("", [f"{PUBLIC},"], PUBLIC), ("", ["garbage"], LOCAL),
        ("", [f"{PUBLIC}, garbage"], LOCAL), ("", [f"garbage, {PUBLIC}"], PUBLIC),
        ("", ["unknown, 10.0.0.1"], LOCAL), ("", [f"{PUBLIC}:4711"], LOCAL),
        ("", ["2001:db8::1"], "2001:db8::1"), ("", ["999.1.1.1"], LOCAL),
        ("", ["2001:DB8:0::1, fc00::1, fe80::2"], "2001:db8::1"), ("", [OTHER, PUBLIC], PUBLIC),
        ("", [PUBLIC, "10.0.0.1"], PUBLIC), ("", ["x" * 4000], LOCAL),
        # With only itself in the list the next proxy is a client; else nobody is believed.
        (ONE, [f"{PUBLIC}, 10.0.0.1"], "10.0.0.1"), (ONE, [PUBLIC], PUBLIC), (ONE, [LOCAL], LOCAL),
        (TEN, [PUBLIC], LOCAL), (TEN, ["10.0.0.1"], LOCAL), ("203.0.113.0/24", [PUBLIC], LOCAL),
        (BOTH, [f"{OTHER}, {PUBLIC}"], OTHER),
    ],
)  # fmt: skip
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
    for number in ("0x4", "-4", "+4", "4.0", "%D9%A4", "1" * 19, "4%00", "%204", "4;", "four"):
        assert (await kevin.get(f"/api/rooms/{number}")).code == "not_found", number
        page = await kevin.get(f"/rooms/{number}")
        assert (page.status, page.boot["page"], page.boot["status"]) == (404, "error", 404)
    assert (await kevin.get(f"/api/rooms/{'9' * 18}")).code == "room_not_found"
    assert (await visitor.get("/api/nowhere")).code == "not_found"
    assert (await visitor.get("/api")).status == 404
    assert (await visitor.get("/nowhere")).boot["data"]["message"]


JSON = "application/json"
BODIES: list[tuple[bytes, str, int]] = [
    (b"{", JSON, 400), (b"[]", JSON, 400), (b"null", JSON, 400), (b'"x"', JSON, 400),
    (b"7", JSON, 400), (b"\xff\xfe", JSON, 400), (b'{"name": "\xff"}', JSON, 400),
    (b"{'name': 1}", JSON, 400), (b'{"name":' + b"[" * 100_000, JSON, 400),
    (b"\xef\xbb\xbf{}", JSON, 400), (b'{"n": ' + b"9" * 5000 + b"}", JSON, 400),
    (b'{"name": NaN}', JSON, 422), (b'{"name": 1e999}', JSON, 422), (b"", JSON, 422),
    (b'{"name": "\\u0000"}', JSON, 422), (b"  ", JSON, 422), (b'{"name": {"a": "x"}}', JSON, 422),
    (b"{}", f"{JSON}; charset=utf-8", 422), (b'{"name": "\\ud83d"}', JSON, 201),
    (b'{"name": "x", "name": "y", "more": [1]}', JSON, 201), (b"{}", "text/plain", 415),
    (b"name=x", "application/x-www-form-urlencoded", 415), (b"{}", "text/json", 415),
    (b"{}", "", 415), (b"{}", f"{JSON}x", 415), (b"--x--", "multipart/form-data; boundary=x", 415),
    (b'{"name": "' + b"x" * 1_048_576 + b'"}', JSON, 413),
]  # fmt: skip


@pytest.mark.parametrize(("body", "media_type", "status"), BODIES, ids=lambda each: str(each)[:30])
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
            assert page.boot | {"server_time_ms": 0} == told | {"server_time_ms": 0}
            assert (page.status, told["cable_url"]) == (told["status"], "/cable")
            assert f'name="csrf-token" content="{told["csrf_token"]}"' in page.text
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
        '<div id="root"></div>', 'name="csrf-param" content="authenticity_token"',
        'name="action-cable-url" content="/cable"', 'name="vapid-public-key"', 'name="viewport"',
        f'name="current-user-id" content="{david.id}"', 'name="current-user-name"', "#000000",
        f'name="current-room-id" content="{cast.hq.id}"', 'name="color-scheme"',
        '<link rel="manifest" href="/webmanifest.json">',
    ):  # fmt: skip
        assert part in page.text


OPERA = "Mozilla/5.0 AppleWebKit/537.36 Chrome/119.0 Safari/537.36 OPR/"
APPLE = "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/"


@pytest.mark.parametrize(
    ("agent", "is_old"),
    [
        ("Mozilla/5.0 Gecko/20100101 Firefox/120.0", True), ("Firefox/121.0", False),
        (f"{APPLE}17.1 Safari/605.1.15", True), (f"{APPLE}17.2 Safari/605.1.15", False),
        (f"{APPLE}18.0 Safari/605.1.15", False), ("Chrome/119.0 Safari/537.36", True),
        ("Chrome/120.0 Safari/537.36", False), ("CriOS/119.0", True), ("FxiOS/120.0", True),
        (f"{OPERA}103.0", True), (f"{OPERA}104.0", False), ("Chrome/100.0 Edg/100.0", False),
        ("Mozilla/5.0 (Windows NT 10.0; Trident/7.0; rv:11.0) like Gecko", True), ("curl/8", False),
        ("Mozilla/4.0 (compatible; MSIE 8.0)", True), ("", False),
        ("Chrome/80.0 Googlebot/2.1", False),
    ],
)  # fmt: skip
async def test_an_old_browser_gets_the_upgrade_page_and_no_script(
    server: Server, agent: str, *, is_old: bool
) -> None:
    visitor = await server.visitor({"User-Agent": agent})

    page = await visitor.get("/session/new")

    assert page.status == 200
    assert ("Please use a recent browser</h1>" in page.text) == is_old
    assert ("<script" in page.text) != is_old
    assert (await visitor.get("/")).status == 302


# Files and pictures.


async def test_an_avatar_is_initials_or_a_robot(kevin: Person, cast: Cast) -> None:
    visitor = await kevin.server.visitor()
    signer = kevin.server.parts.signer
    url = signer.avatar_url(cast.kevin)

    picture, robot = await kevin.get(url), await kevin.get(signer.avatar_url(cast.bender))
    same = await kevin.get(url, {"If-None-Match": picture.headers["ETag"]})

    assert picture.headers["Content-Type"].startswith("image/svg+xml")
    keeps = "public, max-age=1800, stale-while-revalidate=604800"
    assert picture.headers["Cache-Control"] == keeps
    assert re.findall(r"<text[^>]*>([^<]*)</text>", picture.text) == ["K"]
    assert 'viewBox="0 0 512 512"' in picture.text
    assert 'rx="50" fill="#3B3633"' in picture.text
    assert (same.status, same.body) == (304, b"")
    assert "<text" not in robot.text
    wrong = signer.avatar_token(cast.kevin.id)[:-1] + "x"
    for token in (wrong, "x", signer.stream("rooms"), signer.avatar_token(program.UserId(99))):
        assert (await kevin.get(f"/users/{token}/avatar")).status == 404
    assert (await visitor.get(url)).location == "/session/new"


async def test_initials_are_the_first_character_of_every_word(jz: Person, cast: Cast) -> None:
    for n, (name, letters) in enumerate((
        ("Bender Bot", "BB"), ("Jean-Luc Picard", "JLP"), ("Bender's Friend", "BsF"),
        ("jason fried", "jf"), ("\u00c5sa \u042f", "\u00c5\u042f"), ("\U0001f389", "?"),
    )):  # fmt: skip
        auth = jz.server.parts.auth
        user = await auth.join(cast.join_code, name, f"{n}@example.com", "password")
        picture = await jz.get(jz.server.parts.signer.avatar_url(user))
        assert f">{letters}</text>" in picture.text
        assert ('textLength="85%"' in picture.text) == (len(letters) > 2)


async def test_files_of_the_client_are_sent_packed_and_kept(start: Start, tmp_path: Path) -> None:
    (tmp_path / "dist" / "sounds").mkdir(parents=True)
    (tmp_path / "dist" / "app.js.gz").write_bytes(gzip.compress(b"say()"))
    (tmp_path / "dist" / "sounds" / "nyan.svg").write_bytes(b"<svg/>")
    (tmp_path / "secret.txt").write_text("not for anybody")
    server = await start(client=tmp_path / "dist")
    visitor = await server.visitor()
    (url,) = re.findall(
        r'<script type="module" src="(.*?)"', (await visitor.get("/session/new")).text
    )

    packed = await visitor.get(url, {"Accept-Encoding": "br, gzip"})
    unpacked = await visitor.get(url)
    plain = await visitor.get("/assets/sounds/nyan.svg")

    assert [each.body for each in (packed, unpacked, plain)] == [b"say()", b"say()", b"<svg/>"]
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in unpacked.headers
    assert packed.headers["Vary"] == unpacked.headers["Vary"] == "Accept-Encoding"
    assert packed.headers["Content-Type"].startswith("text/javascript")
    assert plain.headers["Content-Type"] == "image/svg+xml"
    assert packed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert plain.headers["Cache-Control"] == "public, max-age=2592000"
    for path in (
        "/assets/../secret.txt", "/assets/%2e%2e/secret.txt", "/assets/..%2fsecret.txt",
        f"/assets/%2f{str(tmp_path / 'secret.txt')[1:]}", "/assets/app.js%00", "/assets/nothing.js",
        "/assets/", "/assets/..%5csecret.txt", "/sounds/..%2f..%2fsecret.mp3", "/sounds/none.mp3",
        "/sounds/%2e%2e%2fLICENSE", "/sounds/tada.mp3%00", "/sounds/tada.wav", "/campfire.py",
    ):  # fmt: skip
        assert (await visitor.get(path)).status == 404, path


async def test_a_sound_is_sent_in_ranges(visitor: Person) -> None:
    whole = await visitor.get("/sounds/tada.mp3")
    part = await visitor.get("/sounds/tada.mp3", {"Range": "bytes=2-5"})
    beyond = await visitor.get("/sounds/tada.mp3", {"Range": "bytes=99999999-"})

    assert (whole.status, whole.headers["Content-Type"]) == (200, "audio/mpeg")
    assert whole.headers["Cache-Control"] == "public, max-age=2592000"
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert (part.status, part.body) == (206, whole.body[2:6])
    assert part.headers["Content-Range"] == f"bytes 2-5/{len(whole.body)}"
    assert beyond.status == 416


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

"""What operators rely on: numbers, certificates, limits, pages, and a file that can be mended."""

import asyncio
import base64
import json
import random
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client.parser import text_string_to_metric_families

import campfire as program
from tests.cast import SETTINGS, Cast, Person, Server, Start, copy_database
from tests.test_cli import PROGRAM, UNUSABLE, command, done, refusal


@pytest.fixture
def database(template: tuple[Path, Cast], tmp_path: Path) -> Path:
    """The cast's database; nobody serves it."""
    return copy_database(template[0], tmp_path)


@pytest.fixture
def edit(database: Path) -> Iterator[sqlite3.Connection]:
    """The cast's database, as somebody who should not would open it."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        yield connection


# --- Numbers -------------------------------------------------------------------------------------

COUNTERS = "http_requests broadcasts ws_frames_sent ws_slow_closed messages_created webhooks pushes"
GAUGES = "ws_connections ws_subscriptions db_writer_queue presence_entries build_info"
HISTOGRAMS = "http_request_seconds broadcast_seconds db_write_seconds db_group_size"
PROCESS = "process_resident_memory_bytes process_cpu_seconds"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def numbers(person: Person) -> Samples:
    """All samples, read by Prometheus' own parser."""
    answer = await person.get("/metrics")
    assert answer.status == 200, answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def number(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((f"campfire_{name}", frozenset(labels.items())), 0)


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
        assert program.may_read_metrics(server.parts.config, peer, {}) is may


async def test_with_a_token_metrics_answer_whoever_holds_it(start: Start) -> None:
    visitor = await (await start(METRICS_TOKEN="hush")).visitor()

    assert (await visitor.get("/metrics")).status == 404
    assert (await visitor.get("/metrics", {"Authorization": "Bearer hus"})).status == 404
    proxied = {"Authorization": "Bearer hush", "X-Forwarded-For": "203.0.113.9"}
    assert (await visitor.get("/metrics", proxied)).status == 200


# --- Certificates and time limits ----------------------------------------------------------------


def certify(folder: Path, name: str) -> bytes:
    """A fresh certificate in `cert.pem` with its key in `key.pem`; its encoding."""
    key, subject = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made.public_bytes(serialization.Encoding.DER)


def shown_certificate(port: int, name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


async def test_a_renewed_certificate_takes_over_at_sighup_and_a_broken_one_does_not(
    database: Path, tmp_path: Path
) -> None:
    first = certify(tmp_path, "first")
    files = {"TLS_CERT_FILE": str(tmp_path / "cert.pem"), "TLS_KEY_FILE": str(tmp_path / "key.pem")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, PROGRAM, "serve", stdout=asyncio.subprocess.PIPE,
        env={**SETTINGS, **files, "CAMPFIRE_DB": str(database)},
    )  # fmt: skip
    stdout = process.stdout
    assert stdout

    async def line_with(words: str) -> str:
        while words not in (line := (await asyncio.wait_for(stdout.readline(), 20)).decode()):
            assert line, f"the server ended before it said {words}"
        return line

    port = int((await line_with("Listening on https://127.0.0.1:")).rpartition(":")[2])
    shown = [await asyncio.to_thread(shown_certificate, port, "chat.example.com")]
    second = certify(tmp_path, "second")
    process.send_signal(signal.SIGHUP)
    await line_with("tls_reloaded")
    shown += [await asyncio.to_thread(shown_certificate, port, name) for name in ("chat", None)]
    (tmp_path / "key.pem").write_text("no key")
    process.send_signal(signal.SIGHUP)
    await line_with("tls_reload_failed")
    shown.append(await asyncio.to_thread(shown_certificate, port, None))
    process.send_signal(signal.SIGTERM)

    assert await asyncio.wait_for(process.wait(), 30) == 0
    assert shown == [first, second, second, second]


def test_a_server_with_unusable_certificate_files_says_so(database: Path, tmp_path: Path) -> None:
    certify(tmp_path, "first")
    (tmp_path / "key.pem").write_text("no key")
    files = {"TLS_CERT_FILE": str(tmp_path / "cert.pem"), "TLS_KEY_FILE": str(tmp_path / "key.pem")}

    assert "TLS_KEY_FILE" in refusal(command(database, "serve", **SETTINGS, **files), 2)


async def heard(port: int, sends: bytes, until: bytes = b"") -> bytes:
    """What a client hears that sends this much and no more, until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sends)
    async with asyncio.timeout(20):
        everything = await (reader.readuntil(until) if until else reader.read())
    writer.close()
    return everything


async def test_a_request_that_never_ends_and_an_answer_nobody_reads_are_cut_off(
    start: Start, cast: Cast
) -> None:
    limits = {"HTTP_IDLE_TIMEOUT": "2", "HTTP_READ_TIMEOUT": "1", "HTTP_WRITE_TIMEOUT": "1"}
    server = await start(**limits)
    port, url = int(server.address.rpartition(":")[2]), server.parts.bundle.url("app.js")
    wanted = f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    whole = len(await heard(port, wanted.replace(b"Host: x", b"Host: x\r\nConnection: close")))
    deaf = socket.create_connection(("127.0.0.1", port), timeout=20)
    deaf.sendall(wanted * 200)

    slow_head = await heard(port, b"GET /session/new HTTP/1.1\r\nHost: x\r\n")
    path = f"/rooms/{cast.watercooler.id}/{cast.bender.id}-ABCDEFGHIJKL/messages"
    half = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nhalf a wo"
    slow_body = await heard(port, half.encode(), until=b"\r\n\r\n")
    with deaf:
        late = await asyncio.to_thread(read_to_end, deaf)

    assert slow_head == b""  # after two seconds, twice what an unread answer gets
    assert slow_body.startswith(b"HTTP/1.1 400 ")
    assert late < 200 * whole


def read_to_end(connection: socket.socket) -> int:
    """The number of bytes that still come."""
    total = 0
    with suppress(ConnectionResetError):
        while more := connection.recv(1_000_000):
            total += len(more)
    return total


# --- Pages and pictures --------------------------------------------------------------------------

MOZILLA = "Mozilla/5.0 (X11; Linux x86_64) "
TOO_OLD = (
    "AppleWebKit/537.36 Chrome/119.0.0.0 Safari/537.36", "CriOS/119.0 Mobile Safari/604.1",
    "Gecko/20100101 Firefox/120.0", "FxiOS/120.0 Mobile Safari/605.1.15",
    "AppleWebKit/605.1.15 Version/17.1 Safari/605.1.15", "Version/9.0.3 Safari/601",
    "Chrome/119.0 Safari/537.36 OPR/103.0.0.0", "Opera/9.80 Presto/2.12", "Trident/7.0; rv:11.0",
    "MSIE 10.0; Windows NT 6.2",
)  # fmt: skip
GOOD_ENOUGH = (
    "AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36", "CriOS/131.0 Mobile Safari/604.1",
    "Gecko/20100101 Firefox/121.0", "AppleWebKit/605.1.15 Version/17.2 Safari/605.1.15",
    "Version/18.0 Safari/605", "Chrome/118.0 Safari/537.36 OPR/104.0.0.0", "", "curl/8.5",
    "Chrome/90.0.0.0 Safari/537.36 Edg/90.0", "Chrome/41.0 (compatible; Googlebot/2.1)",
    "facebookexternalhit/1.1 Chrome/1.0", "Firefox/",
)  # fmt: skip


@pytest.mark.parametrize("agent", TOO_OLD)
async def test_a_browser_that_is_too_old_is_asked_to_upgrade(server: Server, agent: str) -> None:
    visitor = await server.visitor({"User-Agent": MOZILLA + agent})

    page = await visitor.get("/session/new")

    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "<h1>Please use a recent browser</h1>" in page.text
    assert "<script" not in page.text
    listed = re.findall(r"<strong>(\w+)</strong> <span>([\d.]+)\+</span>", page.text)
    assert listed == [
        ("Safari", "17.2"), ("Chrome", "120"), ("Firefox", "121"), ("Opera", "104"),
    ]  # fmt: skip
    assert (await visitor.get("/api/boot?path=/session/new")).json["page"] == "sign_in"


@pytest.mark.parametrize("agent", GOOD_ENOUGH)
async def test_every_other_browser_gets_the_client(server: Server, agent: str) -> None:
    visitor = await server.visitor({"User-Agent": MOZILLA + agent if agent else ""})

    assert (await visitor.get("/session/new")).boot["page"] == "sign_in"


async def test_redirects_come_before_the_upgrade_page(server: Server) -> None:
    visitor = await server.visitor({"User-Agent": MOZILLA + TOO_OLD[0]})

    assert (await visitor.get("/rooms/1")).location == "/session/new"


async def test_the_manifest_has_the_name_of_the_account(david: Person) -> None:
    await david.put("/api/account", {"name": "Northwind Studio"})

    answer = await david.get("/webmanifest.json")

    assert answer.headers["Content-Type"].startswith("application/manifest+json")
    manifest = json.loads(answer.body)
    assert (manifest["name"], manifest["short_name"]) == ("Northwind Studio", "Northwind St")
    assert [(icon["sizes"], icon["purpose"]) for icon in manifest["icons"]] == [
        ("192x192", "any"), ("512x512", "any"), ("512x512", "maskable"),
    ]  # fmt: skip
    assert [each["url"] for each in manifest["shortcuts"]] == [
        "/rooms/opens/new", "/users/me/profile",
    ]  # fmt: skip
    assert manifest["categories"] == ["social", "business", "productivity"]
    for name in ("start_url", "scope", "id"):
        assert manifest[name] == "/"
    assert (manifest["display"], manifest["theme_color"]) == ("standalone", "#ffffff")
    assert (await david.get("/webmanifest")).body == answer.body


def qr_path(text: bytes) -> str:
    return f"/qr_code/{base64.urlsafe_b64encode(text).decode()}"


async def test_a_qr_code_is_a_black_on_white_drawing_kept_for_a_year(visitor: Person) -> None:
    address = "https://chat.example.com/join/AbCd-EfGh-IjKl?x=é".encode()

    answer = await visitor.get(qr_path(address))

    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000"
    drawing = ET.fromstring(answer.text)  # noqa: S314 - it is our own
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert drawing.get("viewBox")
    assert {"#fff", "#000"} <= set(re.findall(r"#[0f]{3}", answer.text))
    assert (await visitor.get(qr_path(address).rstrip("="))).body == answer.body
    assert (await visitor.get(qr_path(b"other"))).body != answer.body
    assert (await visitor.get(qr_path(b"x" * 1_000))).status == 200


@pytest.mark.parametrize(
    "path",
    [qr_path(b"x" * 1_001), qr_path(b"\xff\xfe"), "/qr_code/a", "/qr_code/a*b", "/qr_code/%C3%A9"],
)
async def test_what_is_no_text_makes_no_qr_code(visitor: Person, path: str) -> None:
    assert (await visitor.get(path)).status == 400


# --- Salvage -------------------------------------------------------------------------------------


def page_with(database: Path, words: str) -> int:
    """The number of the first page, from 0, on which these words stand."""
    with closing(sqlite3.connect(database)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return database.read_bytes().index(words.encode()) // int(size)


def wipe(database: Path, page: int) -> None:
    with database.open("r+b") as opened:
        opened.seek(page * 4096)
        opened.write(b"\x00" * 4096)


def fill(edit: sqlite3.Connection, cast: Cast, count: int) -> None:
    """So many more messages in the Watercooler, and nothing waiting in a log."""
    edit.execute("BEGIN")
    edit.executemany(
        "INSERT INTO messages (room_id, creator_id, client_message_id, body_html, body_text,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, 1, 1)",
        [
            (cast.watercooler.id, cast.david.id, f"n{n}", f"Needle {n:06}", f"needle {n:06}")
            for n in range(count)
        ],
    )
    edit.execute("COMMIT")
    edit.close()


def test_repair_saves_what_can_be_read_of_damaged_pages_and_says_what_was_lost(
    database: Path, edit: sqlite3.Connection, cast: Cast
) -> None:
    total = 1_000 + len(cast.ten_messages)
    fill(edit, cast, 1_000)
    wipe(database, page_with(database, "Needle 000500"))

    refusal(command(database, "check"), UNUSABLE)
    result = command(database, "check", "--repair")

    recovered = Path(f"{database}.recovered")
    assert str(recovered) in refusal(result, UNUSABLE)
    lost = re.search(
        r"^lost: messages: (\d+) rows could not be read \(ids (\d+) to (\d+)\)$",
        result.stdout, re.MULTILINE,
    )  # fmt: skip
    assert lost, result.stdout
    missing = set(range(int(lost[2]), int(lost[3]) + 1))
    assert int(lost[1]) == len(missing) < 100
    with closing(sqlite3.connect(recovered)) as stored:
        saved = {each for (each,) in stored.execute("SELECT id FROM messages")}
        (newest,) = stored.execute(
            "SELECT seq FROM sqlite_sequence WHERE name='messages'"
        ).fetchone()
    assert saved == set(range(1, total + 1)) - missing
    assert newest == total
    shutil.move(recovered, database)
    assert "is healthy" in done(command(database, "check"))


def test_words_are_saved_even_when_their_author_is_lost(
    database: Path, cast: Cast, edit: sqlite3.Connection
) -> None:
    edit.close()
    wipe(database, page_with(database, "kevin@example.com"))

    result = command(database, "check", "--repair", "--json")

    refusal(result, UNUSABLE)
    facts = json.loads(result.stdout)
    assert facts["recovered"]["rows"]["messages"] == len(cast.ten_messages)
    assert any("stand-ins" in line for line in facts["recovered"]["lost"])
    recovered = Path(facts["recovered"]["database"])
    assert "is healthy" in done(command(recovered, "check"))
    with closing(sqlite3.connect(recovered)) as stored:
        people = dict(stored.execute("SELECT id, name FROM users WHERE status = 1").fetchall())
    assert people[cast.david.id] == f"Lost person {cast.david.id}"


def test_a_damaged_index_loses_nothing(
    database: Path, edit: sqlite3.Connection, cast: Cast
) -> None:
    (root,) = edit.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'messages_changed'"
    ).fetchone()
    fill(edit, cast, 1_000)
    wipe(database, root - 1)

    result = command(database, "check", "--repair")

    refusal(result, UNUSABLE)
    assert "lost: nothing" in result.stdout
    with closing(sqlite3.connect(f"{database}.recovered")) as stored:
        assert stored.execute("SELECT count(*) FROM messages").fetchone() == (1_010,)


def test_after_a_power_cut_the_words_are_a_prefix_and_the_file_is_sound(
    database: Path, edit: sqlite3.Connection, cast: Cast, tmp_path: Path
) -> None:
    edit.execute("PRAGMA journal_mode = WAL")
    edit.execute("PRAGMA wal_autocheckpoint = 0")
    for n in range(40):
        values = (cast.watercooler.id, cast.david.id, f"n{n}", f"Drop {n}")
        edit.execute(
            "INSERT INTO messages (room_id, creator_id, client_message_id, body_text, created_at,"
            " updated_at) VALUES (?, ?, ?, ?, 1, 1)",
            values,
        )
    log, size = Path(f"{database}-wal").read_bytes(), Path(f"{database}-wal").stat().st_size
    chance = random.Random(7)  # noqa: S311 - the same damage every time
    seen = set()
    for turn in range(60):
        at, copy = chance.randrange(size), tmp_path / "torn" / f"{turn}.db"
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(database, copy)
        flipped = log[:at] + bytes([log[at] ^ 1 << chance.randrange(8)]) + log[at + 1 :]
        Path(f"{copy}-wal").write_bytes(log[:at] if turn % 2 else flipped)

        problems = program.look_at(copy).problems

        with closing(sqlite3.connect(copy)) as stored:
            found = [each for (each,) in stored.execute("SELECT id FROM messages ORDER BY id")]
        assert found == list(range(1, len(found) + 1))
        unindexed = len(found) - len(cast.ten_messages)
        assert problems == (
            (f"search: {unindexed} messages are missing from the search index",)
            if unindexed
            else ()
        )
        seen.add(len(found))
    assert len(seen) > 10

"""What operators rely on: commands, backups, repair, numbers, certificates and limits."""

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import campfire as program
from tests.support.cast import SESAME, SETTINGS, Cast, LogLines, Server, Start, start_server
from tests.support.doing import page_of
from tests.support.operators import (
    DAMAGES,
    PROGRAM,
    UNUSABLE,
    USAGE,
    at_a_terminal,
    certify,
    command,
    done,
    heard_until_the_end,
    read_to_end,
    refusal,
    run_out_of_files,
    shown_certificate,
    words_in,
    writing,
)
from tests.support.tables import cases
from tests.support.wires import spoken


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


async def test_a_request_that_never_ends_and_an_answer_nobody_reads_are_cut_off(
    start: Start, cast: Cast
) -> None:
    limits = {"HTTP_IDLE_TIMEOUT": "2", "HTTP_READ_TIMEOUT": "1", "HTTP_WRITE_TIMEOUT": "1"}
    server = await start(**limits)
    port, url = int(server.address.rpartition(":")[2]), server.parts.bundle.url("app.js")
    wanted = f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    whole = len(
        await heard_until_the_end(port, wanted.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    )
    deaf = socket.create_connection(("127.0.0.1", port), timeout=20)
    deaf.sendall(wanted * 200)

    slow_head = await heard_until_the_end(port, b"GET /session/new HTTP/1.1\r\nHost: x\r\n")
    path = f"/rooms/{cast.watercooler.id}/{cast.bender.id}-ABCDEFGHIJKL/messages"
    half = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nhalf a wo"
    slow_body = await heard_until_the_end(port, half.encode(), until=b"\r\n\r\n")
    with deaf:
        late = await asyncio.to_thread(read_to_end, deaf)

    assert slow_head == b""  # after two seconds, twice what an unread answer gets
    assert slow_body.startswith(b"HTTP/1.1 400 ")
    assert late < 200 * whole


# --- Words ---------------------------------------------------------------------------------------


def test_no_command_shows_the_help_and_is_wrong_usage(tmp_path: Path) -> None:
    result = command(tmp_path / "none.db")

    assert result.returncode == USAGE
    for name in ("serve", "create-admin", "reset-password", "bot", "backup", "check", "vapid"):
        assert name in result.stdout
    assert command(tmp_path / "none.db", "bot").returncode == USAGE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", cases("wrong usage of the command line"))
def test_wrong_usage_exits_2_and_makes_no_database(tmp_path: Path, words: str) -> None:
    result = command(tmp_path / "none.db", *words.split())

    assert result.returncode == USAGE, result
    assert result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["", "serve", "bot", "bot create", "check", "import"])
def test_help_is_at_every_level(tmp_path: Path, words: str) -> None:
    assert done(command(tmp_path / "none.db", *words.split(), "--help")).startswith("usage: ")


def test_the_version_names_the_release_and_the_revision(tmp_path: Path) -> None:
    given = {"APP_VERSION": "1.2.3", "GIT_REVISION": "abc"}

    assert done(command(tmp_path / "none.db", "--version", **given)) == "campfire 1.2.3 (abc)"
    assert f"campfire {program.VERSION} (" in done(command(tmp_path / "none.db", "--version"))


@pytest.mark.parametrize("words", cases("commands that need a database"))
def test_a_command_that_needs_a_database_makes_none(tmp_path: Path, words: str) -> None:
    said = refusal(command(tmp_path / "none.db", *words.split()), UNUSABLE)

    assert said == f"there is no database at {tmp_path / 'none.db'}"
    assert list(tmp_path.iterdir()) == []


# --- People and keys -----------------------------------------------------------------------------


def test_the_first_administrator_is_the_first_run_and_later_ones_are_promoted(
    tmp_path: Path,
) -> None:
    database = tmp_path / "campfire.db"
    words = "create-admin --email ann@example.com --name".split()

    first = done(command(database, *words, "Ann", "--password-stdin", typed="from stdin\n"))
    again = done(command(database, *words, "Other", CAMPFIRE_ADMIN_PASSWORD="from outside"))

    assert first == again == "Ann is an administrator and can sign in as ann@example.com."
    with closing(sqlite3.connect(database)) as stored:
        assert stored.execute("SELECT name, role, status FROM users").fetchall() == [("Ann", 1, 0)]
        assert stored.execute("SELECT name FROM rooms").fetchall() == [("All Talk",)]
        (digest,) = stored.execute("SELECT password_digest FROM users").fetchone()
    assert program.password_matches("from outside", digest)


def test_an_administrator_needs_a_valid_address_and_a_password(tmp_path: Path) -> None:
    words = "create-admin --name Ann --email".split()

    bad = refusal(command(tmp_path / "a.db", *words, "nowhere", "--password", SESAME))
    blank = refusal(command(tmp_path / "a.db", *words, "a@b", "--password-stdin", typed="\n"))
    silent = refusal(command(tmp_path / "a.db", *words, "a@b"))

    assert (bad, blank) == ("email_address is invalid", "password can't be blank")
    assert silent == "no password was given: --password-stdin reads one"


def test_at_a_terminal_a_password_is_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    database, words = tmp_path / "campfire.db", "create-admin --name Ann --email ann@example.com"

    differently = at_a_terminal(database, words, {"Password: ": SESAME, "Again: ": "other"})
    alike = at_a_terminal(database, words, {"Password: ": SESAME, "Again: ": SESAME})
    reset = "reset-password --email ann@example.com"
    again = at_a_terminal(database, reset, {"Password: ": "a new one", "Again: ": "a new one"})

    refused = "Password: Again: campfire: password is not the same twice"
    assert differently == (1, refused, [False, False])
    said = "Password: Again: Ann is an administrator and can sign in as ann@example.com."
    assert alike == (0, said, [False, False])  # nothing was echoed
    assert again == (0, "Password: Again: Ann can sign in with the new password.", [False, False])


async def test_a_reset_password_signs_in_and_ends_the_sessions_of_the_old_one(
    server: Server, cast: Cast
) -> None:
    kevin, david = await server.sign_in(cast.kevin), await server.sign_in(cast.david)
    words = ("reset-password", "--email", "kevin@example.com", "--password", "a new one")

    said = done(await asyncio.to_thread(command, server.parts.config.database, *words))

    assert said == "Kevin can sign in with the new password."
    assert (await kevin.get("/api/session")).status == 401
    assert (await david.get("/api/session")).status == 200
    given = {"email_address": "kevin@example.com"}
    assert (await kevin.post("/api/session", {**given, "password": SESAME})).status == 401
    assert (await kevin.post("/api/session", {**given, "password": "a new one"})).status == 201


def test_the_password_of_nobody_cannot_be_reset(database: Path) -> None:
    words = f"reset-password --password {SESAME} --email".split()

    assert refusal(command(database, *words, "ghost@example.com")) == "User not found"


def test_secrets_are_those_in_use(database: Path) -> None:
    lines = dict(line.split("=", 1) for line in done(command(database, "secrets")).splitlines())

    assert re.fullmatch("[0-9a-f]{128}", lines["SECRET_KEY_BASE"])
    assert list(lines) == ["SECRET_KEY_BASE", "VAPID_PRIVATE_KEY", "VAPID_PUBLIC_KEY"]
    assert done(command(database, "secrets")) == "\n".join(map("=".join, lines.items()))
    assert "SECRET_KEY_BASE=mine" in done(command(database, "secrets", SECRET_KEY_BASE="mine"))


def test_a_vapid_pair_is_fresh_and_used_once_it_is_stored(database: Path) -> None:
    before = done(command(database, "secrets"))

    loose = done(command(database, "vapid"))
    stored = done(command(database, "vapid", "--store"))

    private, public = (line.split("=")[1] for line in stored.splitlines())
    assert stored.startswith("VAPID_PRIVATE_KEY=")
    assert len(program.from_base64(private)) == 32
    assert len(program.from_base64(public)) == 65
    assert loose != stored
    assert loose not in before
    assert done(command(database, "secrets")).splitlines()[1:] == stored.splitlines()


# --- Bots ----------------------------------------------------------------------------------------


async def test_bots_are_made_listed_given_new_keys_and_deleted_while_a_server_runs(
    server: Server, cast: Cast
) -> None:
    database = server.parts.config.database

    def bot(*words: str) -> str:
        return done(command(database, "bot", *words))

    key = await asyncio.to_thread(bot, "create", "Hal 9000", "--webhook-url", "http://hal.example/")
    door = await server.parts.db.read(program.at_the_door, "127.0.0.1", (), key)
    known = door.bot and door.bot.id
    assert (door.is_banned, known) == (False, int(key.partition("-")[0]))
    listed = json.loads(await asyncio.to_thread(bot, "list", "--json"))
    assert [each["name"] for each in listed] == ["Bender Bot", "Hal 9000"]
    hal = {"id": int(key.partition("-")[0]), "name": "Hal 9000", "bot_key": key}
    assert listed[1] == {
        **hal,
        "webhook_url": "http://hal.example/",
        "rooms": [{"id": cast.hq.id, "name": "HQ"}, {"id": cast.pets.id, "name": "Pets"}],
    }
    assert (await asyncio.to_thread(bot, "list")).splitlines()[1].split("\t") == [
        str(hal["id"]), "Hal 9000", key, "http://hal.example/", "HQ, Pets",
    ]  # fmt: skip

    renewed = await asyncio.to_thread(bot, "reset-token", "Hal 9000")
    assert renewed != key
    assert await server.parts.db.read(program.bot_by_key, key) is None
    assert await server.parts.db.read(program.bot_by_key, renewed) is not None

    said = await asyncio.to_thread(bot, "delete", str(hal["id"]))
    assert said == "Hal 9000 is deactivated."
    assert await server.parts.db.read(program.bot_by_key, renewed) is None
    bots = await server.parts.db.read(program.active_bots)
    assert [each.user.name for each in bots] == ["Bender Bot"]


def test_a_bot_is_named_exactly_and_only_once(database: Path) -> None:
    done(command(database, "bot", "create", "Twin"))
    done(command(database, "bot", "create", "Twin"))

    assert "more than one bot is called Twin" in refusal(command(database, "bot", "delete", "Twin"))
    assert refusal(command(database, "bot", "delete", "twin")) == "There is no such bot."
    assert refusal(command(database, "bot", "delete", "1")) == "There is no such bot."
    assert "can't be blank" in refusal(command(database, "bot", "create", " "))
    wrong = command(database, "bot", "create", "Hal", "--webhook-url", "ftp://hal.example")
    assert refusal(wrong) == "webhook_url is invalid"


async def test_commands_wait_for_a_busy_database_and_then_say_so(
    database: Path, edit: sqlite3.Connection
) -> None:
    edit.execute("PRAGMA journal_mode = WAL")
    edit.execute("BEGIN IMMEDIATE")
    started = time.monotonic()

    made, checked = await asyncio.gather(
        asyncio.to_thread(command, database, "bot", "create", "Late"),
        asyncio.to_thread(command, database, "check"),
    )

    assert refusal(made, UNUSABLE) == f"{database} is locked by another program"
    assert refusal(checked) == "Campfire is busy, please try again."
    assert 4 < time.monotonic() - started < 30


# --- Backup --------------------------------------------------------------------------------------


async def test_a_backup_taken_while_200_messages_and_more_are_written_restores_and_is_healthy(
    server: Server, cast: Cast
) -> None:
    database = server.parts.config.database
    copies: list[Path] = []
    during: list[int] = []
    async with writing(server, cast.watercooler, cast.david) as written:
        for n in range(3):
            before, place = len(written), str(database.with_name(f"copy{n}.db"))
            copies.append(Path(done(await asyncio.to_thread(command, database, "backup", place))))
            during.append(len(written) - before)

    assert min(during) >= 200  # and the command takes about a second
    ids: list[int] = []
    for copy in copies:
        assert "is healthy" in done(command(copy, "check"))
        ids = [each for each, _ in words_in(copy)]
        assert ids == list(range(1, len(ids) + 1))  # a prefix of what was committed
        assert len(cast.ten_messages) < len(ids) <= len(written) + len(cast.ten_messages)
    restored = await start_server(copies[-1])
    page = await page_of(restored.parts, cast.david, cast.watercooler.id)
    assert page.messages[-1].id == ids[-1]
    await restored.close()


def test_a_backup_has_a_dated_name_is_private_and_restores(database: Path, cast: Cast) -> None:
    copy = Path(done(command(database, "backup")))

    assert copy.parent == database.parent / "backups"
    assert re.fullmatch(r"campfire-\d{8}-\d{6}\.db", copy.name)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    database.unlink()
    copy.rename(database)
    listed = json.loads(done(command(database, "bot", "list", "--json")))
    assert [each["id"] for each in listed] == [cast.bender.id]


def test_keep_removes_the_older_dated_copies_and_nothing_else(database: Path) -> None:
    folder = database.parent / "backups"
    folder.mkdir()
    for name in ("campfire-20200101-000000.db", "campfire-20210101-000000.db", "campfire-mine.db"):
        (folder / name).write_text("old")

    newest = Path(done(command(database, "backup", "--keep", "2")))

    assert {path.name for path in folder.iterdir()} == {
        "campfire-mine.db", "campfire-20210101-000000.db", newest.name,
    }  # fmt: skip


def test_a_backup_goes_into_a_folder_but_never_over_its_own_database(
    database: Path, tmp_path: Path
) -> None:
    (tmp_path / "safe").mkdir()

    copy = Path(done(command(database, "backup", str(tmp_path / "safe"))))

    assert copy.parent == tmp_path / "safe"
    before = database.read_bytes()
    assert "is there already" in refusal(command(database, "backup", str(database)))
    assert database.read_bytes() == before


def test_a_damaged_database_makes_no_backup(database: Path) -> None:
    with database.open("r+b") as opened:
        opened.seek(4096 * 5)
        opened.write(b"\xff" * 4096 * 20)

    assert "cannot be copied" in refusal(command(database, "backup"), UNUSABLE)
    assert list((database.parent / "backups").iterdir()) == []


# --- Check and repair ----------------------------------------------------------------------------


def test_a_sound_database_is_healthy_in_words_and_in_json(database: Path) -> None:
    before = database.read_bytes()

    assert done(command(database, "check")).endswith(f"{database} is healthy")
    facts = json.loads(done(command(database, "check", "--json")))

    assert (facts["healthy"], facts["problems"]) == (True, [])
    assert database.read_bytes() == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_repair_mends_what_follows_from_the_rows_and_keeps_the_file_as_it_was(
    database: Path, edit: sqlite3.Connection, damage: str
) -> None:
    spoil, words = DAMAGES[damage]
    spoil(edit)
    edit.close()
    before = database.read_bytes()

    found = command(database, "check")
    mended = command(database, "check", "--repair")

    assert "check --repair" in refusal(found, UNUSABLE)
    assert words in found.stdout
    assert f"{database} is healthy" in done(mended)
    (kept,) = (database.parent / "backups").glob("before-repair-*.db")
    assert kept.read_bytes() == before
    assert done(command(database, "check"))
    assert not Path(f"{database}.recovered").exists()


def test_a_room_without_members_is_told_but_is_no_damage(
    database: Path, edit: sqlite3.Connection, cast: Cast
) -> None:
    edit.execute("DELETE FROM memberships WHERE room_id = ?", (cast.pets.id,))

    assert f"room {cast.pets.id} (Pets) has no members" in done(command(database, "check"))


@pytest.mark.parametrize("words", [["check"], ["check", "--repair"], ["serve"], ["bot", "list"]])
def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path, words: list[str]) -> None:
    database = tmp_path / "campfire.db"
    database.write_bytes(b"this was never a database" * 400)

    refusal(command(database, *words), UNUSABLE)

    assert database.read_bytes() == b"this was never a database" * 400


@pytest.mark.parametrize("words", [["check"], ["serve"]])
def test_a_database_of_a_newer_campfire_is_refused(
    database: Path, edit: sqlite3.Connection, words: list[str]
) -> None:
    edit.execute("INSERT INTO schema_version (version, applied_at) VALUES (99, 1)")
    edit.close()

    result = command(database, *words)

    refusal(result, UNUSABLE)
    assert "newer Campfire" in result.stdout + result.stderr


# --- Serving -------------------------------------------------------------------------------------


async def test_a_server_says_where_it_listens_goes_on_at_sighup_and_stops_at_sigterm(
    database: Path,
) -> None:
    environment = {**os.environ, **SETTINGS, "CAMPFIRE_DB": str(database), "FILES_ENABLED": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, PROGRAM, "serve",
        env={**environment, "SENTRY_DSN": "https://k@sentry.example/1", "RAILS_ENV": "production"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    lines: list[str] = []
    while not (lines and lines[-1].startswith("Listening on http://127.0.0.1:")):
        lines.append((await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip())
    ignored = [json.loads(line) for line in lines if "setting_ignored" in line]
    port = lines[-1].rpartition(":")[2]

    second = await asyncio.to_thread(command, database, "serve", HOST="127.0.0.1", PORT="0")
    elsewhere = database.parent / "other.db"
    taken = await asyncio.to_thread(command, elsewhere, "serve", HOST="127.0.0.1", PORT=port)
    process.send_signal(signal.SIGHUP)
    listed = await asyncio.to_thread(command, database, "bot", "list")
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 30)

    assert [each["setting"] for each in ignored] == ["SENTRY_DSN", "FILES_ENABLED"]
    assert refusal(second, UNUSABLE) == f"another Campfire is serving {database}"
    assert "address already in use" in refusal(taken)
    assert "Bender Bot" in done(listed)
    assert (process.returncode, errors) == (0, b"")


def test_a_server_out_of_files_says_so_once_and_goes_on_when_there_are_some(
    database: Path,
) -> None:
    assert run_out_of_files(database, files=100, sockets=200) == ["out_of_files"]


@pytest.mark.parametrize("said", ["HELO", "GET / HTTP/9.9", "\x16\x03\x01", "GET /" + "x" * 20_000])
async def test_what_is_no_request_is_refused_in_our_own_words(
    server: Server, log_lines: LogLines, said: str
) -> None:
    told = await spoken(server, f"{said}\r\n\r\n")

    assert told.startswith("HTTP/1.1 400 Bad Request\r\n")
    assert '"message":"Campfire could not read this request."' in told
    assert ("Server: Campfire" in told, re.search("aiohttp|Python|HELO|xx", told)) == (True, None)
    assert [json.loads(line)["level"] for line in log_lines()] == ["info"]

"""The commands: their help, their answers at a terminal and without one, and how they fail."""

import asyncio
import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

import campfire as program
from tests.support.cast import PATIENCE, SESAME, Cast, Server
from tests.support.executable import ran
from tests.support.operators import PROGRAM, UNUSABLE, USAGE, command, done, refusal
from tests.support.tables import cases

# Makes the terminal it gets the one it is controlled from, then becomes the program.
_CONTROLLED = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
_CONTROLLED += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"

# Runs the program as the launcher does, and says when its handlers are there.
_RUNS = """
import getpass, os, runpy, sys
sys.argv = sys.argv[1:]
names = runpy.run_path(sys.argv[0])
read = sys.stdin.readline
class Told:
    def readline(self):
        print("main begins", flush=True)
        return read()
    def isatty(self):
        return False
sys.stdin = Told()
sys.exit(names["main"]())
"""


def test_every_flag_of_every_command_is_described(tmp_path: Path) -> None:
    database = tmp_path / "campfire.db"
    listed = done(command(database, "bot", "--help")) + command(database).stdout
    names = re.findall(r"^    ([a-z-]+) ", listed, re.MULTILINE)
    assert {"serve", "restore", "create"} <= set(names)
    for name in [*names, "reset-token"]:
        words = ["bot", name] if name in ("list", "create", "reset-token", "delete") else [name]
        described = done(command(database, *words, "--help")).split("options:\n")[1]
        flags = re.split(r"\n(?=  -)", described)
        assert [flag for flag in flags if len(re.split(r" {2,}|\n", flag.strip())) < 2] == []


def test_a_command_told_to_end_ends_even_as_process_one(tmp_path: Path) -> None:
    words = ["create-admin", "--name", "A", "--email", "a@example.com", "--password-stdin"]
    for number, code in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 1)):
        process = subprocess.Popen(
            [sys.executable, "-c", _RUNS, str(PROGRAM), *words],
            env={"CAMPFIRE_DB": str(tmp_path / "campfire.db")},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "main begins\n"
        process.send_signal(number)
        _, complaint = process.communicate(timeout=PATIENCE)

        assert process.returncode == code  # a handler's, not a signal's
        assert complaint in ("", "campfire: interrupted\n")


def test_a_command_never_ends_in_a_trace(tmp_path: Path) -> None:
    script = "import contextlib, sys, campfire\nsys.argv = ['campfire', '--version']\n"
    script += "with contextlib.suppress(SystemExit):\n    campfire.main()\n1 / 0\n"
    failed = ran(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(PROGRAM.parent), "CAMPFIRE_DB": str(tmp_path / "a.db")},
    )

    assert failed.returncode == 1
    said = r"campfire: this is a bug, please report it \(ZeroDivisionError: [^\n]+, <string>:5\)\n"
    assert re.fullmatch(said, failed.stderr)


@pytest.mark.parametrize("typed", [b"\xff\xfe\n", None])
def test_a_password_that_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, typed: bytes | None
) -> None:
    words = "create-admin --name A --email a@example.com --password-stdin"
    script = f'exec "$0" "$@" {"<&-" if typed is None else ""}'
    failed = subprocess.run(
        ["sh", "-c", script, sys.executable, PROGRAM, *words.split()],
        env={"CAMPFIRE_DB": str(tmp_path / "a.db"), "PYTHONUTF8": "1"},
        input=typed or b"", capture_output=True, check=False,
    )  # fmt: skip

    assert failed.stderr == b"campfire: no password can be read from standard input\n"


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


async def test_bots_are_made_listed_given_new_keys_and_deleted_while_a_server_runs(
    server: Server, cast: Cast
) -> None:
    database = server.parts.config.database

    def bot(*words: str) -> str:
        return done(command(database, "bot", *words))

    key = await asyncio.to_thread(bot, "create", "Hal 9000", "--webhook-url", "http://hal.example/")
    door = await server.parts.db.read(program.at_the_door, "", key, "127.0.0.1")
    known = door.bot and door.bot.id
    assert (door.is_banned, known) == (False, int(key.partition("-")[0]))
    listed = json.loads(await asyncio.to_thread(bot, "list", "--json"))
    assert [each["name"] for each in listed] == ["Bender Bot", "Hal 9000"]
    hal = {"id": int(key.partition("-")[0]), "name": "Hal 9000", "bot_key": key}
    assert listed[1] == {
        **hal,
        "webhook_url": "http://hal.example/",
        "events": [],
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


def at_a_terminal(
    database: Path, words: str, answers: Mapping[str, str]
) -> tuple[int, str, list[bool]]:
    """The exit code of a command, all that its terminal showed, and whether it echoed each answer.

    An answer is typed when its prompt stands there.
    """
    ours, theirs = os.openpty()
    environment = {"PATH": os.environ["PATH"], "BCRYPT_COST": "4", "CAMPFIRE_DB": str(database)}
    process = subprocess.Popen(
        [sys.executable, "-c", _CONTROLLED, str(PROGRAM), *words.split()],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    shown, echoed = b"", []

    def read_on() -> bytes:
        ready, _, _ = select.select([ours], [], [], PATIENCE)
        assert ready, shown
        return os.read(ours, 1_000)

    for prompt, typed in answers.items():
        while not shown.endswith(prompt.encode()):
            shown += read_on()
        echoed.append(bool(termios.tcgetattr(theirs)[3] & termios.ECHO))
        os.write(ours, f"{typed}\n".encode())
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.01)[0]:
            shown += os.read(ours, 1_000)
    os.close(ours)
    os.close(theirs)
    return process.returncode, " ".join(shown.decode().split()), echoed

"""Where a server listens, how it is stopped while it starts, and what its commands say of it."""

import asyncio
import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import campfire as program
from tests.support.cast import PATIENCE, SETTINGS, LogLines
from tests.support.machines import child_server
from tests.support.operators import PROGRAM, certify, command, done, refusal


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return int(taken.getsockname()[1])


def answered(host: str, port: int, tls: ssl.SSLContext | None = None) -> tuple[int, str]:
    """The status of `/rooms/1`, and where it leads."""
    connection = (
        http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=tls)
        if tls
        else http.client.HTTPConnection(host, port, timeout=PATIENCE)
    )
    with closing(connection):
        connection.request("GET", "/rooms/1?a=b", headers={"Host": f"chat.example.com:{port}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("Location", "")


@pytest.mark.parametrize("host", [None, "::"])
async def test_by_default_and_on_two_colons_both_families_are_served_on_one_port(
    database: Path, host: str | None
) -> None:
    settings = {"HOST": host} if host else {"HOST": ""}
    async with child_server(database, **settings) as child:
        port = int(child.address.rpartition(":")[2])
        told = [await asyncio.to_thread(answered, name, port) for name in ("127.0.0.1", "::1")]

    assert child.address == f"http://[::]:{port}"
    assert [status for status, _ in told] == [302, 302]


async def test_an_ipv4_address_is_served_alone_and_a_taken_port_is_named(database: Path) -> None:
    async with child_server(database) as child:
        port = int(child.address.rpartition(":")[2])
        other = database.parent / "other.db"
        second = await asyncio.to_thread(command, other, "serve", HOST="127.0.0.1", PORT=str(port))
        with pytest.raises(OSError, match="refused"):
            await asyncio.to_thread(answered, "::1", port)

    assert refusal(second) == f"cannot listen on 127.0.0.1 port {port}: address already in use"
    nowhere = await asyncio.to_thread(command, other, "serve", HOST="nowhere.invalid", PORT="0")
    assert refusal(nowhere).startswith("cannot listen on nowhere.invalid port 0: ")


async def test_what_comes_without_tls_is_sent_to_https_where_a_port_is_given_for_it(
    database: Path, tmp_path: Path
) -> None:
    certify(tmp_path, "chat.example.com")
    files = {"TLS_CERT_FILE": str(tmp_path / "cert.pem"), "TLS_KEY_FILE": str(tmp_path / "key.pem")}
    plain, port, unchecked = free_port(), free_port(), ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    ports = {"PORT": str(port), "HTTP_PORT": str(plain)}
    async with child_server(database, **ports, **files) as child:
        status, place = await asyncio.to_thread(answered, "127.0.0.1", plain)
        secure, _ = await asyncio.to_thread(answered, "127.0.0.1", port, unchecked)

    assert child.address == f"https://127.0.0.1:{port}"
    assert (status, place) == (301, f"https://chat.example.com:{port}/rooms/1?a=b")
    assert secure == 302


async def test_an_expired_certificate_is_said_at_start(database: Path, tmp_path: Path) -> None:
    certify(tmp_path, "chat.example.com", ended=timedelta(days=3))
    files = {"TLS_CERT_FILE": str(tmp_path / "cert.pem"), "TLS_KEY_FILE": str(tmp_path / "key.pem")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, PROGRAM, "serve", stdout=asyncio.subprocess.PIPE,
        env={**SETTINGS, **files, "CAMPFIRE_DB": str(database)},
    )  # fmt: skip
    assert process.stdout
    lines: list[str] = []
    while not (lines and lines[-1].startswith("Listening on ")):
        lines.append((await asyncio.wait_for(process.stdout.readline(), 20)).decode())
    process.terminate()
    await process.communicate()

    (said,) = [json.loads(line) for line in lines if "certificate_expired" in line]
    assert said["file"] == str(tmp_path / "cert.pem")
    assert datetime.fromisoformat(said["ended"]) < datetime.now(UTC) - timedelta(days=2)


def test_a_server_looks_at_its_certificate_once_a_day(tmp_path: Path, log_lines: LogLines) -> None:
    certify(tmp_path, "chat.example.com")
    certificates = program.Certificates((tmp_path / "cert.pem", tmp_path / "key.pem"))
    assert log_lines() == []
    certify(tmp_path, "chat.example.com", ended=timedelta(hours=1))
    certificates.reload()

    certificates.warn_if_expired()

    assert sum("certificate_expired" in line for line in log_lines()) == 2


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


def test_a_command_never_ends_in_a_trace(tmp_path: Path) -> None:
    script = "import contextlib, sys, campfire\nsys.argv = ['campfire', '--version']\n"
    script += "with contextlib.suppress(SystemExit):\n    campfire.main()\n1 / 0\n"
    failed = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(PROGRAM.parent), "CAMPFIRE_DB": str(tmp_path / "a.db")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

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

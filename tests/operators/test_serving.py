"""A server from its first line to its last: listening, cut off, out of files, told to stop."""

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from campfire import load_bundle
from tests.operators.test_sudden_ends import browser, token_for
from tests.support.cable import spoken
from tests.support.cast import (
    PATIENCE,
    SETTINGS,
    Cast,
    LogLines,
    Server,
    Start,
    Template,
    copy_database,
)
from tests.support.executable import PYZ, address_of
from tests.support.operators import (
    PROGRAM,
    UNUSABLE,
    child_server,
    command,
    done,
    heard_until_the_end,
    refusal,
)
from tests.support.services import DEVICES, Browser, Service

# Lowers the number of files the program may have, then becomes it.
_LIMITED = "import os, resource, sys; files = int(sys.argv[1]); "
_LIMITED += "resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)); "
_LIMITED += "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"


async def test_a_request_that_never_ends_and_an_answer_nobody_reads_are_cut_off(
    start: Start, cast: Cast
) -> None:
    limits = {"HTTP_IDLE_TIMEOUT": "2", "HTTP_READ_TIMEOUT": "1", "HTTP_WRITE_TIMEOUT": "1"}
    server = await start(**limits)
    port, url = int(server.address.rpartition(":")[2]), load_bundle().url("app.js")
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


async def test_a_server_says_where_it_listens_goes_on_at_sighup_and_stops_at_sigterm(
    database: Path,
) -> None:
    ignoring = {"SENTRY_DSN": "https://k@sentry.example/1"}
    async with child_server(database, "info", **ignoring, RAILS_ENV="production") as child:
        ignored = [json.loads(line) for line in child.said if "setting_ignored" in line]
        port = child.address.removeprefix("http://127.0.0.1:")

        second = await asyncio.to_thread(command, database, "serve", HOST="127.0.0.1", PORT="0")
        elsewhere = database.parent / "other.db"
        taken = await asyncio.to_thread(command, elsewhere, "serve", HOST="127.0.0.1", PORT=port)
        child.process.send_signal(signal.SIGHUP)
        listed = await asyncio.to_thread(command, database, "bot", "list")
        child.process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(child.process.communicate(), 30)

    assert [each["setting"] for each in ignored] == ["SENTRY_DSN"]
    assert refusal(second, UNUSABLE) == f"another Campfire is serving {database}"
    assert "address already in use" in refusal(taken)
    assert "Bender Bot" in done(listed)
    assert (child.process.returncode, errors) == (0, b"")


async def test_the_first_push_needs_less_than_fifteen_megabytes(
    template: Template, tmp_path: Path, service: Service
) -> None:
    database, settings = copy_database(template[0], tmp_path), {"ALLOW_PRIVATE_PUSH_ENDPOINTS": "1"}
    token, program = await token_for(database, template[1].kevin), (sys.executable, PYZ)
    async with (
        child_server(database, program=program, **settings) as child,
        browser(child.address, token) as kevin,
    ):
        keys = {"endpoint": f"{service.address}/devices/one", **Browser().keys}
        async with kevin.post(DEVICES, json=keys) as answer:
            one = (await answer.json())["push_subscription"]
        before = child.kilobytes()
        async with kevin.post(f"{DEVICES}/{one['id']}/test_notifications") as answer:
            assert answer.status == 200
        grown = child.kilobytes() - before

    assert (service.devices, grown < 15_000) == (["one"], True)


def test_a_server_out_of_files_says_so_once_and_goes_on_when_there_are_some(database: Path) -> None:
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


def read_to_end(connection: socket.socket) -> int:
    """The number of bytes that still come."""
    total = 0
    with suppress(ConnectionResetError):
        while more := connection.recv(1_000_000):
            total += len(more)
    return total


def run_out_of_files(database: Path, files: int, sockets: int) -> list[str]:
    """What a server logs while more sockets are open than it can have; then it must answer."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LIMITED, str(files), str(PROGRAM), "serve"],
        env={**os.environ, **SETTINGS, "CAMPFIRE_DB": str(database)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    address = address_of(process)
    assert process.stdout
    with ExitStack() as crowd:
        for _ in range(sockets):
            crowd.enter_context(socket.create_connection(address, PATIENCE))
        said = [json.loads(process.stdout.readline())["event"]]
    with closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as connection:
        connection.request("GET", "/up")
        assert connection.getresponse().status == 200
    process.terminate()
    rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    *meanwhile, stopping, stopped = [json.loads(each)["event"] for each in rest.splitlines()]
    assert (stopping, stopped) == ("stopping", "stopped")
    return said + meanwhile

"""The log is for operators, and never in anybody's way."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

import campfire as program
from tests.support.cast import PATIENCE, SETTINGS
from tests.support.operators import PROGRAM, USAGE, command, refusal


class Serving:
    """A server in a process of its own, on a port that was free."""

    def __init__(self, folder: Path, redirect: str = "", **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        given = {"CAMPFIRE_DB": str(folder / "campfire.db"), "PORT": str(self.port), **settings}
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, PROGRAM, "serve"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **SETTINGS, **given},
        )  # fmt: skip

    def get(self, *paths: str) -> list[int]:
        """The statuses of these, one after the other; at first it may still be starting."""
        until, statuses = time.monotonic() + PATIENCE, list[int]()
        while not statuses:
            assert time.monotonic() < until
            with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
                try:
                    for path in paths:
                        connection.request("GET", path)
                        with connection.getresponse() as answer:
                            answer.read()
                        statuses.append(answer.status)
                except ConnectionRefusedError:
                    continue
        return statuses

    def stop(self) -> tuple[int, bytes]:
        """Its exit code, and what it had to say about it."""
        self.process.terminate()
        return self.process.wait(20), self.process.stderr.read() if self.process.stderr else b""


@contextmanager
def serving(folder: Path, redirect: str = "", **settings: str) -> Iterator[Serving]:
    server = Serving(folder, redirect, **settings)
    with server.process:
        try:
            yield server
        finally:
            server.process.kill()


def lines_of(log: Path, words: str) -> list[dict[str, Any]]:
    """The lines of a log, as soon as one of them holds these words."""
    until = time.monotonic() + PATIENCE
    while words not in (text := log.read_text() if log.exists() else ""):
        assert time.monotonic() < until, text
    return [json.loads(line) for line in text.splitlines()]


def test_lines_that_nobody_reads_are_dropped_and_counted_and_hold_nobody_up() -> None:
    read, write = os.pipe()
    lines, heard = program.Lines(Path(f"/proc/self/fd/{write}")), b""

    for n in range(3 * program.LINES_WAITING):
        lines.put(f"line {n} {'x' * 100}")
    lines.finish()  # which waits no longer than a second

    until = time.monotonic() + PATIENCE
    while b"log_lines_dropped" not in heard:
        assert time.monotonic() < until
        lines.put("and so on")
        heard += os.read(read, 1_000_000)
    numbers = [int(line.split()[1]) for line in heard.decode().splitlines() if line[:5] == "line "]
    (told,) = [json.loads(line) for line in heard.decode().splitlines() if line[0] == "{"]
    assert numbers == list(range(len(numbers)))
    assert told["level"] == "warning"
    assert told["lines"] >= 3 * program.LINES_WAITING - len(numbers) > program.LINES_WAITING


def test_lines_go_on_when_somebody_reads_again_with_the_number_of_the_lost(tmp_path: Path) -> None:
    log = tmp_path / "log"
    os.mkfifo(log)
    reads = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    lines = program.Lines(log)
    os.close(reads)
    lines.put("lost")
    lines.finish()
    reads = os.open(log, os.O_RDONLY | os.O_NONBLOCK)

    lines.put("heard")
    lines.finish()

    heard, dropped = os.read(reads, 1_000).decode().splitlines()
    assert (heard, json.loads(dropped)["lines"]) == ("heard", 1)


@pytest.mark.parametrize("redirect", ["", ">/dev/full", ">&-", "leaves"])
def test_a_server_serves_and_stops_well_whatever_becomes_of_its_output(
    tmp_path: Path, redirect: str
) -> None:
    with serving(tmp_path, redirect.removeprefix("leaves")) as server:
        if redirect == "leaves" and server.process.stdout:
            server.process.stdout.close()
        statuses = server.get(*(f"/api/rooms?{'x' * 500}={n}" for n in range(300)), "/up")
        ended = server.stop()

    assert statuses == [401] * 300 + [200]
    assert ended == (0, b"")


def test_the_log_goes_to_a_file_and_on_in_a_new_one_when_it_was_moved_away(tmp_path: Path) -> None:
    log, moved = tmp_path / "campfire.log", tmp_path / "campfire.log.1"

    with serving(tmp_path, LOG_FILE=str(log), LOG_LEVEL="info") as server:
        server.get("/robots.txt")
        before = lines_of(log, "/robots.txt")
        log.rename(moved)
        server.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + PATIENCE
        while not log.exists():
            assert time.monotonic() < until
            server.get("/up")
        server.get("/favicon.ico")
        assert [line["path"] for line in lines_of(log, "/favicon.ico")] == ["/favicon.ico"]
        assert server.stop() == (0, b"")

    assert before[0]["event"] == "started"
    assert [each["event"] for each in lines_of(log, "stopped")][-2:] == ["stopping", "stopped"]
    assert "/favicon.ico" not in moved.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_signal_shows_all_there_is_to_say_and_another_one_is_nothing(tmp_path: Path) -> None:
    log = tmp_path / "campfire.log"

    with serving(tmp_path, LOG_FILE=str(log), LOG_LEVEL="warn") as server:
        server.get("/webmanifest")
        for _ in range(2):
            server.process.send_signal(signal.SIGUSR1)
        server.process.send_signal(signal.SIGUSR2)
        lines_of(log, '"now": "debug"')
        server.get("/account/logo")
        lines_of(log, "/account/logo")
        server.process.send_signal(signal.SIGUSR2)
        lines_of(log, '"now": "warning"')
        server.get("/webmanifest.json")
        assert server.stop() == (0, b"")

    assert "webmanifest" not in log.read_text()


def test_a_log_file_that_cannot_be_written_refuses_the_start_in_one_line(tmp_path: Path) -> None:
    refused = command(tmp_path / "campfire.db", "serve", LOG_FILE=str(tmp_path / "no" / "log"))

    assert "LOG_FILE" in refusal(refused, USAGE)
    assert "No such file" in refusal(refused, USAGE)

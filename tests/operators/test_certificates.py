"""Certificates: renewed at SIGHUP, refused when unusable, and watched."""

import asyncio
import contextlib
import gc
import http.client
import json
import signal
import socket
import ssl
import sys
from asyncio.sslproto import SSLProtocol
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

import campfire as program
from tests.support.cable import KEY
from tests.support.cast import PATIENCE, SETTINGS, LogLines, start_server
from tests.support.executable import PYZ
from tests.support.operators import (
    PROGRAM,
    certify,
    child_server,
    command,
    refusal,
    shown_certificate,
)


def certified(folder: Path) -> dict[str, str]:
    """The settings that name the files of `certify`."""
    return {"TLS_CERT_FILE": str(folder / "cert.pem"), "TLS_KEY_FILE": str(folder / "key.pem")}


def trusting_anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def test_a_renewed_certificate_takes_over_at_sighup_and_a_broken_one_does_not(
    database: Path, tmp_path: Path
) -> None:
    first = certify(tmp_path, "first")
    async with child_server(database, "info", **certified(tmp_path)) as child:
        assert child.address.startswith("https://127.0.0.1:")
        port = int(child.address.rpartition(":")[2])
        shown = [await asyncio.to_thread(shown_certificate, port, "chat.example.com")]
        second = certify(tmp_path, "second")
        child.process.send_signal(signal.SIGHUP)
        await child.says("tls_reloaded")
        shown += [await asyncio.to_thread(shown_certificate, port, name) for name in ("chat", None)]
        (tmp_path / "key.pem").write_text("no key")
        child.process.send_signal(signal.SIGHUP)
        await child.says("tls_reload_failed")
        shown.append(await asyncio.to_thread(shown_certificate, port, None))
        child.process.send_signal(signal.SIGTERM)

        assert await child.ended() == 0
    assert shown == [first, second, second, second]


async def test_a_stop_leaves_no_connection_open_that_is_idle_under_tls(
    database: Path, tmp_path: Path
) -> None:
    certify(tmp_path, "chat.example.com")
    trusting = trusting_anybody()
    program = sys.executable, "-W", "always::ResourceWarning", PROGRAM
    async with child_server(database, program=program, **certified(tmp_path)) as child:
        port = int(child.address.rpartition(":")[2])
        heard, line = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        line.write(b"GET /up HTTP/1.1\r\nHost: chat.example.com\r\n\r\n")
        assert b" 200 " in await heard.readline()
        cast(asyncio.Transport, line.transport).pause_reading()  # nothing answers the end of TLS
        child.process.send_signal(signal.SIGTERM)
        _, said = await child.process.communicate()
        line.transport.abort()

    assert (child.process.returncode, said) == (0, b"")


async def test_a_stop_leaves_none_open_that_was_given_up_and_has_not_answered_the_end_of_tls(
    database: Path, tmp_path: Path
) -> None:
    certify(tmp_path, "chat.example.com")
    program = sys.executable, "-W", "always::ResourceWarning", PROGRAM
    settings = {**certified(tmp_path), "HTTP_IDLE_TIMEOUT": "1"}
    async with child_server(database, program=program, **settings) as child:
        address = "127.0.0.1", int(child.address.rpartition(":")[2])
        with trusting_anybody().wrap_socket(socket.create_connection(address)) as line:
            assert await asyncio.to_thread(line.recv, 1) == b""  # its end of TLS, never answered
            child.process.send_signal(signal.SIGTERM)
            _, said = await child.process.communicate()

    assert (child.process.returncode, said) == (0, b"")


def begin_to_sign_in(slow: http.client.HTTPSConnection) -> None:
    """Sends all but the body, which the server waits for."""
    slow.request("GET", "/api/boot?path=/session/new")
    answer = slow.getresponse()
    slow.putrequest("POST", "/api/session")
    slow.putheader("X-CSRF-Token", json.load(answer)["csrf_token"])
    slow.putheader("Cookie", answer.headers["Set-Cookie"].partition(";")[0])
    slow.putheader("Content-Length", "2")
    slow.putheader("Expect", "100-continue")
    slow.endheaders()
    assert b" 100 " in slow.sock.recv(1_024)


def wait_until_refused(address: tuple[str, int]) -> None:
    with contextlib.suppress(ConnectionRefusedError):
        while True:
            socket.create_connection(address).close()


async def test_a_stop_leaves_none_open_that_comes_to_an_agreement_on_tls_meanwhile(
    database: Path, tmp_path: Path
) -> None:
    certify(tmp_path, "chat.example.com")
    program = sys.executable, "-W", "always::ResourceWarning", PROGRAM
    async with child_server(database, program=program, **certified(tmp_path)) as child:
        address = "127.0.0.1", int(child.address.rpartition(":")[2])
        slow = http.client.HTTPSConnection(*address, context=trusting_anybody())
        with socket.create_connection(address) as late:
            begin_to_sign_in(slow)
            child.process.send_signal(signal.SIGTERM)
            wait_until_refused(address)
            with trusting_anybody().wrap_socket(late):
                slow.send(b"{}")
                _, said = await child.process.communicate()
        slow.close()

    assert (child.process.returncode, said) == (0, b"")


async def test_a_connection_under_tls_needs_less_than_seventy_kilobytes(
    database: Path, tmp_path: Path
) -> None:
    certify(tmp_path, "chat.example.com")
    trusting, program = trusting_anybody(), (sys.executable, PYZ)
    async with child_server(database, program=program, **certified(tmp_path)) as child:
        port, before = int(child.address.rpartition(":")[2]), child.kilobytes()
        opened = [await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
                  for _ in range(300)]  # fmt: skip
        grown = child.kilobytes() - before
        for _, line in opened:
            line.transport.abort()

    assert grown / 300 < 70


def heard_to_the_end(address: tuple[str, int], said: str) -> bytes:
    heard = b""
    with trusting_anybody().wrap_socket(socket.create_connection(address, PATIENCE)) as line:
        line.sendall(said.encode())
        while part := line.recv(65_536):
            heard += part
    return heard


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/up", "Connection: close\r\n"),
        (
            "/cable",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nOrigin: https://HOST\r\n",
        ),
    ],
)
async def test_what_a_connection_under_tls_held_is_free_as_soon_as_it_has_ended(
    database: Path, tmp_path: Path, path: str, more: str
) -> None:
    certify(tmp_path, "chat.example.com")
    files = certified(tmp_path)
    cert, key = files["TLS_CERT_FILE"], files["TLS_KEY_FILE"]
    server = await start_server(database, TLS_CERT_FILE=cert, TLS_KEY_FILE=key)
    host = server.address.removeprefix("https://")
    address = "127.0.0.1", int(host.rpartition(":")[2])
    said = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more.replace('HOST', host)}\r\n"
    gc.collect()
    gc.disable()
    try:
        assert b"\r\n\r\n" in await asyncio.to_thread(heard_to_the_end, address, said)
        server.parts.sockets.beat()
        async with asyncio.timeout(PATIENCE):
            while [held for held in gc.get_objects() if isinstance(held, SSLProtocol)]:
                await asyncio.to_thread(gc.get_count)  # the loop goes on
    finally:
        gc.enable()
        await server.close()


def test_a_server_with_unusable_certificate_files_says_so(database: Path, tmp_path: Path) -> None:
    certify(tmp_path, "first")
    (tmp_path / "key.pem").write_text("no key")

    refused = command(database, "serve", **SETTINGS, **certified(tmp_path))
    assert "TLS_KEY_FILE" in refusal(refused, 2)


async def test_an_expired_certificate_is_said_at_start(database: Path, tmp_path: Path) -> None:
    certify(tmp_path, "chat.example.com", ended=timedelta(days=3))
    async with child_server(database, "info", **certified(tmp_path)) as child:
        (said,) = [json.loads(line) for line in child.said if "certificate_expired" in line]
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

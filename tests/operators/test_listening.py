"""Where a server listens, and what comes there without TLS."""

import asyncio
import http.client
import socket
import ssl
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.cast import PATIENCE
from tests.support.operators import certify, child_server, command, refusal


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

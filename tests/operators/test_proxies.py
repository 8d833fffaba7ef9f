"""The README's lines for nginx and Caddy, pasted into Debian's nginx and Caddy."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.cast import SESAME, Cast, Person, Server
from tests.support.operators import PROGRAM

README = PROGRAM.parent / "README.md"
NGINX = """
daemon on; user root; pid {folder}/pid; error_log {folder}/errors;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; {pasted} }}
}}
"""
Proxy = Callable[[Server], str]  # its address, in front of a server


def lines_for(language: str, server: Server) -> str:
    """What the README says to paste, for this server."""
    found = re.search(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    assert found, language
    assert found[1].count("\n") <= 6
    assert "127.0.0.1:3000" in found[1]
    return found[1].replace("127.0.0.1:3000", server.host)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


def begin(*words: str, folder: Path) -> None:
    """Starts a proxy that goes on in the background once it listens."""
    environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin", "HOME": str(folder)}
    quiet = subprocess.DEVNULL
    subprocess.run(words, env=environment, stdout=quiet, stderr=quiet, timeout=30, check=True)


@pytest.fixture(params=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proxy]:
    """Puts a proxy in front of a server, as the README says."""

    def in_front_of(server: Server) -> str:
        port, pasted = free_port(), lines_for(request.param, server)
        address, settings = f"http://127.0.0.1:{port}", tmp_path / "settings"
        if request.param == "nginx":
            settings.write_text(NGINX.format(folder=tmp_path, port=port, pasted=pasted))
            begin("nginx", "-c", str(settings), folder=tmp_path)
        else:
            pasted = pasted.replace("chat.example.com", address)
            settings.write_text(f"{{\n\tadmin 127.0.0.1:{free_port()}\n}}\n{pasted}")
            words = "caddy", "start", "--adapter", "caddyfile", "--config", str(settings)
            begin(*words, "--pidfile", str(tmp_path / "pid"), folder=tmp_path)
        return address

    yield in_front_of
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)


async def test_people_sign_in_and_talk_through_the_proxies_of_the_readme(
    server: Server, cast: Cast, proxy: Proxy
) -> None:
    front = replace(server, address=proxy(server))
    async with Person(front, None, {}) as kevin:
        browser = {"Origin": front.address}
        given = {"email_address": "kevin@example.com", "password": SESAME}
        signed_in = await kevin.post("/api/session", given, browser)
        assert signed_in.status == 201, signed_in.text
        tab = await kevin.room_tab(cast.designers)
        said = await kevin.say(cast.designers, "through a proxy")
        assert f"message_{said['client_message_id']}" in str(await tab.next_message())
        invitation = (await kevin.get("/api/account")).json["account"]["join_url"]
        assert invitation.startswith(f"{front.address}/join/")
        assert (await kevin.get("/metrics")).status == 404

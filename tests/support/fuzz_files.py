"""Hostile files for whatever looks at one: names, first bytes, forms that bring them, ranges.

Forms and ranges are tried on a server of their own, which lives as long as the process.
"""

import asyncio
import atexit
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import campfire as program
from tests.support.asking import path_of
from tests.support.cast import Answer, Cast, Person, gather_cast, start_server
from tests.support.files import TYPE, form, sent, stored_files

CONTENT = bytes(range(256)) * 4
FILE_PIECES = [
    "--b0undary\r\n", "--b0undary--\r\n", "\r\n", "\r\n\r\n", "Content-Disposition: form-data",
    '; name="attachment"', '; name="message[attachment]"', '; filename="a.png"', '; filename="',
    '; name="client_message_id"', '; name="still"', "Content-Transfer-Encoding: base64\r\n",
    "Content-Length: 9\r\n", "\x89PNG\r\n\x1a\n", "GIF89a", "\x00\x00\x00\x18ftyp", "%PDF-", "ID3",
    "OggS", "RIFF", "WEBP", "\\", "/", "..", "\u202e", ".exe", "%0D", '\\"', "bytes=", "-", ",",
    "0-9", "1023-", "5-2", "99999999999999999999",
]  # fmt: skip


def file_names(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for given in (text, program.given_name(f'form-data; name="a"; filename="{text}"') or ""):
        name = program.safe_name(given)
        assert program.safe_name(name) == name
        assert 1 <= len(name.encode()) <= 255
        assert not set("/\\") & set(name)
        assert not any(unicodedata.category(letter) == "Cc" for letter in name)
        header = program.content_disposition(name, is_shown=True)
        assert header.isascii()
        assert header.isprintable()


def kinds(data: bytes) -> None:
    name, _, head = data.partition(b"\n")
    told = name.decode("utf-8", "replace")
    content_type = program.type_of(head, told)
    headers = program.file_headers(program.safe_name(told), content_type, is_download=False)
    is_shown = headers["Content-Disposition"].startswith("inline")
    assert not is_shown or headers["Content-Type"] in program.SHOWN_TYPES
    assert program.type_of(head, told) == content_type
    assert headers["X-Content-Type-Options"] == "nosniff"


class World:
    """A server, somebody who sends files, and one that was sent."""

    def __init__(self) -> None:
        self.folder, self.runner = Path(tempfile.mkdtemp()), asyncio.Runner()
        self.cast: Cast
        self.runner.run(self.begin())
        atexit.register(self.end)

    async def begin(self) -> None:
        database = self.folder / "campfire.db"
        self.server = await start_server(database, FILES_RESERVE_BYTES="0")
        self.cast = await gather_cast(self.server.parts)
        self.person: Person = await self.server.sign_in(self.cast.kevin)
        message = await sent(self.person, self.cast.designers, CONTENT)
        self.url = message["attachment"]["url"]

    def do(self, method: str, path: str, **details: Any) -> Answer:  # noqa: ANN401 - aiohttp's own
        return self.runner.run(self.ask(method, path, details))

    async def ask(self, method: str, path: str, details: dict[str, Any]) -> Answer:
        dressed = {"X-CSRF-Token": await self.person.csrf(), **details.pop("headers")}
        return await self.person.request(method, path, headers=dressed, **details)

    def end(self) -> None:
        self.runner.run(self.server.close())
        self.runner.close()
        shutil.rmtree(self.folder)


@cache
def world() -> World:
    return World()


def forms(data: bytes) -> None:
    """What is given, inside a form: it says where, and how much of the form makes way for it."""
    here, whole = world(), form(CONTENT[:9], "a.bin", client_message_id=os.urandom(8).hex())
    (at, less), data = (*data[:2], 0, 0)[:2], data[2:]
    at = at * len(whole) // 256
    before = stored_files(here.server)
    path = path_of(here.cast.designers)
    answer = here.do("POST", path, data=whole[:at] + data + whole[at + less % 9 :], headers=TYPE)
    came = stored_files(here.server) - before
    assert answer.status in (201, 400, 413, 422), answer
    assert len(came) == (answer.status == 201)
    assert not [place for place in came if place.parent.name == "incoming"]


def ranges(data: bytes) -> None:
    text = re.sub(r"[^\x20-\x7e]", "", data.decode("latin-1"))
    answer = world().do("GET", world().url, headers={"Range": text.strip()})
    assert answer.status in (200, 206, 416), answer
    if answer.status == 206:
        told = re.fullmatch(r"bytes (\d+)-(\d+)/1024", answer.headers["Content-Range"])
        assert told
        assert answer.body == CONTENT[int(told[1]) : int(told[2]) + 1] != b""
    elif answer.status == 200:
        assert answer.body == CONTENT


FILE_PARSERS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (file_names, kinds, forms, ranges)
}

"""Files as tests send, fetch and look for them."""

import errno
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import campfire as program
from tests.support.asking import path_of
from tests.support.cast import Answer, Person, Server

END = "--b0undary--\r\n"


def form(data: bytes, name: str = "notes.bin", /, **fields: str | bytes) -> bytes:
    """A form of a browser's: a file under a name, and what is told beside it."""
    part = str(fields.pop("part", "attachment"))
    parts = [f'name="{part}"; filename="{name}"\r\nContent-Type: image/x-lie'.encode(), data]
    for field, value in fields.items():
        is_file = isinstance(value, bytes)
        parts.append(f'name="{field}"'.encode() + (b'; filename="blob"' if is_file else b""))
        parts.append(value if isinstance(value, bytes) else value.encode())
    told = b""
    for head, value in zip(parts[::2], parts[1::2], strict=True):
        told += b"--b0undary\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n"
        told += value + b"\r\n"
    return told + END.encode()


TYPE = {"Content-Type": "multipart/form-data; boundary=b0undary"}


async def upload(
    person: Person,
    room: program.Room,
    body: Any,  # noqa: ANN401 - bytes, or what brings them
    headers: Mapping[str, str] | None = None,
) -> Answer:
    dressed = {"X-CSRF-Token": await person.csrf(), **TYPE, **(headers or {})}
    body = io.BytesIO(body) if isinstance(body, bytes) else body
    return await person.request("POST", path_of(room), data=body, headers=dressed)


async def sent(
    person: Person, room: program.Room, data: bytes, name: str = "notes.bin", **fields: str | bytes
) -> dict[str, Any]:
    """The message that a file became."""
    answer = await upload(person, room, form(data, name, **fields))
    assert answer.status == 201, answer.text
    message: dict[str, Any] = answer.json["message"]
    return message


# That ext4 (65,000) and btrfs give a file; others give it all that anybody wants.
MOST_NAMES = 65_535


def use_up_the_names_of(place: Path, folder: Path) -> bool:
    """Gives a file names until it can have no more; whether that was so."""
    folder.mkdir()
    for number in range(MOST_NAMES):
        try:
            (folder / str(number)).hardlink_to(place)
        except OSError as error:
            return error.errno == errno.EMLINK
    return False


def stored_files(server: Server) -> set[Path]:
    """All that lies in the store."""
    folder = server.parts.store.folder
    return {path for path in folder.rglob("*") if path.is_file()}

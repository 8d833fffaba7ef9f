"""The storage folder of a Rails Campfire, and the rows that speak of it, as v2.md 2.9 has them."""

import base64
import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import campfire as program
from tests.support.rails import DAVID, JASON, LOBBY, TABLES, add, say, write_people, write_rooms
from tests.support.studio import encoded, painted

ACCOUNT, PHOTO, CLIP, PLAN, MEMO, GONE, SHORT, SPOILT, TWEET, TALK = 1, *range(300, 309)
FILM = b"\0\0\0\x18ftypmp42" + b"moving pictures" * 20
PDF = b"%PDF-1.7 the plan" * 30
SOUND = b"ID3" + b"a memo" * 50
CARD = (
    '<div><action-text-attachment content-type="application/vnd.actiontext.opengraph-embed"'
    ' href="https://x.com/37signals/status/1" url="https://pbs.twimg.com/profile_images/1/a.jpg"'
    ' filename="37signals" caption="Once"></action-text-attachment></div>'
)


@dataclass
class Storage:
    """What a Rails Campfire has on its disk."""

    rails: sqlite3.Connection
    database: Path
    folder: Path  # `storage`; the files lie in `storage/files`
    numbers: Iterator[int]

    def place(self, key: str) -> Path:
        return program.path_in(self.folder / "files", key)

    def keep(self, data: bytes, name: str, content_type: str, **more: Any) -> int:  # noqa: ANN401 - any column
        """A blob, and its file; its id."""
        number = next(self.numbers)
        key = f"{number:028}".translate(str.maketrans("0123456789", "abcdefghij"))
        row = {
            "key": key, "filename": name, "content_type": content_type, "byte_size": len(data),
            "metadata": json.dumps({"identified": True, "analyzed": True, **more.pop("facts", {})}),
            "checksum": base64.b64encode(hashlib.md5(data).digest()).decode(), **more,  # noqa: S324 - Rails'
        }  # fmt: skip
        add(self.rails, "active_storage_blobs", id=number, service_name="local", **row)
        place = self.place(row["key"])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return number

    def hang(self, blob_id: int, name: str, kind: str, owner: int) -> None:
        number = next(self.numbers)
        record = {"record_type": kind, "record_id": owner, "blob_id": blob_id}
        add(self.rails, "active_storage_attachments", id=number, name=name, **record)

    def send(self, message: int, data: bytes, name: str, kind: str, **more: Any) -> int:  # noqa: ANN401 - any column
        """A message of a file; the id of its blob."""
        add(self.rails, "messages", id=message, room_id=LOBBY, creator_id=JASON,
            client_message_id=f"client-{message}")  # fmt: skip
        blob_id = self.keep(data, name, kind, **more)
        self.hang(blob_id, "attachment", "Message", message)
        return blob_id

    def files(self) -> dict[str, bytes]:
        """Everything that lies there, by its name."""
        places = (path for path in self.folder.rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in places}


def fill_storage(storage: Storage) -> None:
    """A photograph, a film with a poster, a plan, a memo, a person's picture, a logo, a tweet; one
    file is gone, one is short, one is spoilt."""
    photo = encoded(painted(640, 480), "JPEG")
    send, hang = storage.send, storage.hang
    blob_id = send(PHOTO, photo, "harbour morning.jpg", "image/jpeg",
                   facts={"width": 640, "height": 480})  # fmt: skip
    variant = storage.keep(b"a thumbnail", "harbour morning.webp", "image/webp")
    add(
        storage.rails, "active_storage_variant_records", id=1, blob_id=blob_id, variation_digest="d"
    )
    hang(variant, "image", "ActiveStorage::VariantRecord", 1)
    film = send(CLIP, FILM, "clip.mp4", "video/mp4",
                facts={"width": 1280.0, "height": 720.0, "duration": 2.5})  # fmt: skip
    poster = storage.keep(encoded(painted(1280, 720), "WEBP"), "clip.webp", "image/webp")
    hang(poster, "preview_image", "ActiveStorage::Blob", film)
    send(PLAN, PDF, "../plan.pdf", "application/pdf")
    send(MEMO, SOUND, "memo.mp3", "audio/mpeg")
    send(GONE, b"gone", "gone.txt", "text/plain")
    send(SHORT, b"cut short", "short.txt", "text/plain")
    send(SPOILT, b"as it was", "spoilt.txt", "text/plain")
    say(storage.rails, TWEET, LOBBY, DAVID, CARD)
    say(storage.rails, TALK, LOBBY, DAVID, "<div>Only words</div>")
    hang(storage.keep(encoded(painted(300, 200), "PNG"), "me.png", "image/png"),
         "avatar", "User", DAVID)  # fmt: skip
    hang(storage.keep(b"no picture", "me.heic", "image/heic"), "avatar", "User", JASON)
    hang(storage.keep(encoded(painted(90, 40), "PNG"), "logo.png", "image/png"),
         "logo", "Account", ACCOUNT)  # fmt: skip


def key_of(storage: Storage, name: str) -> str:
    """The key of the file with this name."""
    sql = "SELECT key FROM active_storage_blobs WHERE filename = ?"
    return str(storage.rails.execute(sql, (name,)).fetchone()[0])


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A Rails Campfire with files, as complete as it ever was."""
    database = tmp_path / "rails" / "chat.sqlite3"
    folder = tmp_path / "rails" / "storage"
    (folder / "files").mkdir(parents=True)
    with closing(sqlite3.connect(database, isolation_level=None)) as rails:
        rails.executescript(TABLES)
        write_people(rails)
        write_rooms(rails)
        kept = Storage(rails, database, folder, itertools.count(1))
        fill_storage(kept)
        kept.place(key_of(kept, "gone.txt")).unlink()
        kept.place(key_of(kept, "short.txt")).write_bytes(b"cut")
        kept.place(key_of(kept, "spoilt.txt")).write_bytes(b"as it is.")
        yield kept

"""What an older Campfire noted of files it could not take becomes file messages of this one."""

import gzip
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import campfire as program
from campfire import noted_file
from tests.support.cast import LogLines, Start
from tests.support.operators import command, done
from tests.support.rails import rows_in
from tests.support.studio import encoded, painted

ROOT = Path(__file__).resolve().parents[2]
COMING = "— File attachments are coming in v2.0"
Note = Callable[..., None]


@pytest.fixture(params=["1.0.0", "1.1.0"])
def old(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A database that a 1.x left."""
    database = tmp_path / "campfire.db"
    released = ROOT / "tests" / "databases" / f"{request.param}.db.gz"
    database.write_bytes(gzip.decompress(released.read_bytes()))
    return database


def note(database: Path, message: int, text: str, *files: tuple[str, str], **about: Any) -> None:  # noqa: ANN401 - as Rails wrote it
    """Lets a message be one that 1.x's import made of these files, by key and name."""
    facts = {"byte_size": 12, "metadata": None, "at": 1_000_000, **about, "id": message}
    with closing(sqlite3.connect(database)) as connection, connection:
        said = "UPDATE messages SET body_html = :text, body_text = :text WHERE id = :id"
        connection.execute(said, {**facts, "text": text})
        for key, name in files:
            connection.execute(
                "INSERT INTO attachments (message_id, blob_key, filename, content_type, byte_size,"
                " metadata, created_at) VALUES (:id, :key, :name, 'text/html', :byte_size,"
                " :metadata, :at)",
                {**facts, "key": key, "name": name},
            )


FILES = "SELECT * FROM attached ORDER BY message_id"
WORDS = "SELECT id, body_html, body_text FROM messages WHERE id <= 5"


async def test_a_placeholder_becomes_a_message_of_its_file_that_search_finds(
    old: Path, start: Start, log_lines: LogLines
) -> None:
    photo, clip = "photo" * 5, "clip0" * 5
    size = json.dumps({"width": 30.0, "height": 40, "duration": 1.5, "identified": True})
    note(old, 1, f"📎 IMG_2041.jpg {COMING}", (photo, "IMG_2041.jpg"), metadata=size)
    note(old, 2, f"📎 a.mov {COMING}\n📎 b.pdf {COMING}", (clip, "a.mov"), ("b" * 28, "b.pdf"))
    note(old, 3, "Look at this", ("c" * 28, "c.png"))
    note(old, 4, f"📎 ../plan.pdf {COMING}", ("short", "../plan.pdf"), metadata="[")
    note(old, 5, f"📎 IMG_2041.jpg {COMING}", (photo, "IMG_2041.jpg"))

    server = await start()

    assert rows_in(old, WORDS) == [
        (1, "", "IMG_2041.jpg"), (2, "", "a.mov"), (3, "Look at this", "Look at this"),
        (4, "", "plan.pdf"), (5, "", "IMG_2041.jpg"),
    ]  # fmt: skip
    files = await server.parts.db.read(program.files_of, [program.MessageId(n) for n in range(9)])
    assert [(file.message_id, file.filename, file.kind) for file in files.values()] == [
        (1, "IMG_2041.jpg", "image"), (2, "a.mov", "video"), (4, "plan.pdf", "file"),
        (5, "IMG_2041.jpg", "image"),
    ]  # fmt: skip
    blobs = [file.blob for file in files.values()]
    assert [blob.key for blob in blobs[:2]] == [photo, clip]
    assert all(re.fullmatch("[a-z0-9]{28}", blob.key) for blob in blobs[2:])
    assert {(blob.byte_size, blob.sha256) for blob in blobs} == {(12, None)}
    first = files[program.MessageId(1)]
    assert (first.width, first.height, first.duration_ms, first.still) == (30, 40, 1_500, None)
    with pytest.raises(program.AttachmentNotFound):
        server.parts.store.path_of(first.blob)
    found = rows_in(old, "SELECT rowid FROM message_search_index('2041') ORDER BY rowid")
    assert found == [(1,), (5,)]
    [left] = [json.loads(line) for line in log_lines() if "files_left_out" in line]
    assert (left["beside_text"], left["beside_others"]) == (1, 1)


async def test_files_that_are_noted_are_kept_in_the_backup_made_before(
    old: Path, start: Start
) -> None:
    note(old, 1, f"📎 a.pdf {COMING}", ("a" * 28, "a.pdf"))

    await start()

    backup = old.parent / "backups" / f"before-{program.SCHEMA_VERSION}.db"
    assert rows_in(backup, "SELECT message_id, filename FROM attachments") == [(1, "a.pdf")]
    assert rows_in(old, "PRAGMA foreign_key_check") == []
    assert rows_in(old, "SELECT name FROM sqlite_schema WHERE name LIKE '%of_1'") == []


async def test_files_that_are_noted_are_brought_from_the_old_folder_while_a_server_runs(
    old: Path, start: Start, tmp_path: Path
) -> None:
    data, photo = b"the plan itself", encoded(painted(30, 40), "JPEG")
    odd = "Mixed0Case0Key0Of0Old"
    note(old, 1, f"📎 plan.pdf {COMING}", ("a" * 28, "plan.pdf"), byte_size=len(data))
    note(old, 2, f"📎 photo.jpg {COMING}", (odd, "photo.jpg"), byte_size=len(photo))
    note(old, 4, f"📎 gone.txt {COMING}", ("c" * 28, "gone.txt"), byte_size=9)
    for key, content in (("a" * 28, data), (odd, photo)):
        place = program.path_in(tmp_path / "storage" / "files", key)
        place.parent.mkdir(parents=True)
        place.write_bytes(content)
    server = await start()

    said = done(command(old, "attach-files", str(tmp_path / "storage"), "--stills")).splitlines()
    again = done(command(old, "attach-files", str(tmp_path / "storage"))).splitlines()

    missing = f"warning: files are not in {tmp_path / 'storage' / 'files'} (1)"
    assert {"files: 2", "stills: 1", missing} <= set(said)
    assert again == ["files: 0", missing]
    files = await server.parts.db.read(program.files_of, [program.MessageId(n) for n in range(5)])
    assert [file.is_missing for file in files.values()] == [False, False, True]
    here = [server.parts.store.path_of(file.blob).read_bytes() for file in [*files.values()][:2]]
    assert here == [data, photo]
    still = files[program.MessageId(2)]
    assert (still.width, still.still_width, still.still_height) == (30, 30, 40)


NUMBERS = st.one_of(
    st.none(), st.text(max_size=3), st.floats(), st.integers(-9, 2**70), st.booleans()
)


@given(
    st.text(max_size=70), st.text(max_size=300), st.integers(-(2**63), 2**63 - 1),
    st.one_of(
        st.none(), st.text(max_size=9),
        st.fixed_dictionaries({}, optional=dict.fromkeys(("width", "height", "duration"), NUMBERS))
        .map(json.dumps),
    ),
)  # fmt: skip
def test_whatever_another_campfire_notes_of_a_file_the_tables_can_hold_it(
    key: str, name: str, size: int, metadata: str | None
) -> None:
    blob, file = noted_file(key, name, size, metadata, 1)

    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(
            "CREATE TABLE held (key TEXT CHECK (length(key) BETWEEN 20 AND 64 AND key NOT GLOB"
            " '*[^a-z0-9]*'), size INTEGER CHECK (size >= 0), width INTEGER CHECK (width BETWEEN 1"
            " AND 65535), height INTEGER CHECK (height BETWEEN 1 AND 65535), ms INTEGER CHECK"
            " (ms >= 0), CHECK ((width IS NULL) = (height IS NULL))) STRICT"
        )
        connection.execute(
            "INSERT INTO held VALUES (?, ?, ?, ?, ?)",
            (blob["key"], blob["byte_size"], file["width"], file["height"], file["duration_ms"]),
        )

"""`check` over the store: what is gone, what is other than its row says, what nobody knows."""

import json
import os
import time
from pathlib import Path

import pytest

import campfire as program
from tests.support.asking import count, found, run
from tests.support.cast import Cast, Person, Server, Start
from tests.support.files import sent, stored_files
from tests.support.operators import UNUSABLE, command, done

WORDS = b"Minutes of the meeting\n" * 40


async def stopped(server: Server) -> Path:
    """The database of a server that has stopped."""
    await server.close()
    return server.parts.config.database


async def message_of(start: Start, cast: Cast) -> tuple[Server, dict[str, object], Path]:
    """A server, a file message there, and where its bytes lie."""
    server = await start()
    message = await sent(await server.sign_in(cast.kevin), cast.designers, WORDS, "minutes.txt")
    (place,) = stored_files(server)
    return server, message, place


async def test_a_store_with_every_file_in_its_place_is_healthy(start: Start, cast: Cast) -> None:
    server, *_ = await message_of(start, cast)
    database = await stopped(server)

    told = done(command(database, "check", "--deep"))

    assert told.endswith(f"{database} is healthy")
    assert "MB of files were read" in told


@pytest.mark.parametrize(
    ("spoilt", "flag", "words"),
    [
        (None, (), "cannot be read"), (WORDS[1:], (), f"has {len(WORDS) - 1} bytes"),
        (WORDS[::-1], ("--deep",), "has other bytes"),
    ],
)  # fmt: skip
async def test_a_file_that_is_not_what_its_row_says_is_named_by_its_message_and_marked(
    start: Start, cast: Cast, spoilt: bytes | None, flag: tuple[str, ...], words: str
) -> None:
    server, message, place = await message_of(start, cast)
    database = await stopped(server)
    if spoilt is None:
        place.unlink()
    else:
        place.write_bytes(spoilt)

    looked = command(database, "check", *flag)
    mended = command(database, "check", "--repair", *flag)
    again = command(database, "check", "--deep")

    assert looked.returncode == UNUSABLE
    assert f"files: the file of message {message['id']} {words}" in looked.stdout
    assert mended.returncode == again.returncode == 0
    assert "1 files have not been moved here yet" in again.stdout
    aside = [path.read_bytes() for path in (place.parents[2] / "lost+found").glob("*")]
    assert aside == ([] if spoilt is None else [spoilt])
    server = await start()
    kevin = await server.sign_in(cast.kevin)
    shown = await kevin.get(str(message["path"]).replace("@", "messages/"))
    assert shown.status in (200, 302)
    assert await found(server, "SELECT sha256 FROM blobs") == [(None,)]


async def test_files_that_no_row_speaks_of_are_set_aside_once_they_are_old(
    start: Start, cast: Cast
) -> None:
    server, _, place = await message_of(start, cast)
    database = await stopped(server)
    key = program.fresh_key()
    stray = program.path_in(server.parts.store.folder, key)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"whose")
    young = done(command(database, "check"))
    os.utime(stray, (time.time() - 90_001,) * 2)

    old = done(command(database, "check"))
    done(command(database, "check", "--repair"))

    assert "belong to no row" not in young
    assert "note: 1 files belong to no row" in old
    assert not stray.exists()
    assert (server.parts.store.folder / "lost+found" / key).read_bytes() == b"whose"
    assert place.read_bytes() == WORDS


async def test_a_picture_or_a_still_without_bytes_is_let_go_of(
    server: Server, kevin: Person, cast: Cast
) -> None:
    await sent(kevin, cast.designers, WORDS)
    await sent(kevin, cast.designers, WORDS)
    blobs = [blob_id for (blob_id,) in await found(server, "SELECT id FROM blobs ORDER BY id")]
    await run(server, "DELETE FROM attachments WHERE blob_id = :id", id=blobs[1])
    await run(
        server, "UPDATE users SET avatar_id = :blob WHERE id = :id",
        blob=blobs[1], id=cast.kevin.id,
    )  # fmt: skip
    for place in stored_files(server):
        place.unlink()
    database = await stopped(server)

    facts = json.loads(done(command(database, "check", "--repair", "--json")))

    assert "marked as missing: 2 files" in facts["repaired"]
    assert "1 files have not been moved here yet" in facts["notes"]


async def test_a_database_without_a_store_has_none_to_look_at(server: Server) -> None:
    assert await count(server, "blobs") == 0
    database = await stopped(server)

    assert done(command(database, "check")).endswith("is healthy")

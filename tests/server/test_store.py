"""The store of a server: where it is, how much it takes, and what it does when it cannot."""

import asyncio
import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from types import FrameType

import pytest

import campfire as program
from campfire import ConfigError, config_from
from tests.support.cast import LogLines, Server, Start
from tests.support.killed import hang_up, portrait, put


@pytest.mark.parametrize(
    ("given", "size"),
    [("1M", 1 << 20), ("64g", 64 << 30), ("1048577", 1_048_577), (" 2048K ", 2 << 20)],
)
def test_a_size_is_given_in_bytes_or_in_thousands_of_them(given: str, size: int) -> None:
    assert config_from({"FILES_MAX_BYTES": given}).files_max_bytes == size


@pytest.mark.parametrize("given", ["1", "65G", "-1M", "1.5M", "1MB", "M", "much"])
def test_a_size_that_makes_no_sense_stops_the_start(given: str) -> None:
    with pytest.raises(ConfigError, match="FILES_MAX_BYTES must be a number of bytes from"):
        config_from({"FILES_MAX_BYTES": given})


def test_without_a_word_of_the_operator_files_lie_beside_the_database() -> None:
    usual = config_from({"CAMPFIRE_DB": "/srv/chat/talk.db"})
    other = config_from({"CAMPFIRE_DB": "/srv/chat/talk.db", "FILES_DIR": "/big/files"})
    off = config_from({"FILES_ENABLED": "no", "FILES_RESERVE_BYTES": "0"})

    assert usual.files == Path("/srv/chat/talk-files")
    assert other.files == Path("/big/files")
    assert (usual.files_enabled, usual.avatars_enabled, usual.opengraph_enabled) == (True,) * 3
    assert (off.files_enabled, off.files_reserve_bytes) == (False, 0)
    assert usual.files_max_bytes == 512 << 20
    assert (usual.files_quota_bytes, usual.files_reserve_bytes) == (None, None)


async def test_the_store_is_nobody_elses_and_begins_without_what_was_on_its_way(
    start: Start,
) -> None:
    server = await start()
    store = server.parts.store
    await put(server.parts.db, store, b"a picture")
    (store.folder / "incoming" / "left").write_bytes(b"half a picture")
    (store.folder / "staging").mkdir()
    await server.close()

    again = (await start()).parts.store

    assert list(again.folder.rglob("left")) == []
    assert not (again.folder / "staging").exists()
    modes = {path.stat().st_mode & 0o077 for path in (again.folder, *again.folder.rglob("*"))}
    assert modes == {0}
    assert await again.state() == "ok"


async def test_what_would_leave_too_little_room_is_refused_and_leaves_nothing(
    start: Start,
) -> None:
    server = await start(FILES_RESERVE_BYTES="512T".replace("T", "000G"))
    store, db = server.parts.store, server.parts.db

    with pytest.raises(program.StorageFull):
        await put(db, store, b"a picture")

    assert await store.state() == "full"
    assert await db.read(store.usage_in) == program.Usage(0, 0, 0, store.seen.free_bytes)
    assert list((store.folder / "incoming").iterdir()) == []


async def test_all_files_together_stay_within_the_quota_those_on_their_way_too(
    start: Start,
) -> None:
    server = await start(FILES_QUOTA_BYTES="100", FILES_RESERVE_BYTES="0")
    store, db = server.parts.store, server.parts.db
    await put(db, store, bytes(60))

    async with store.incoming(30):
        with pytest.raises(program.StorageFull):
            async with store.incoming(20):
                pass
        async with store.incoming(10):
            pass
    with pytest.raises(program.StorageFull):  # whoever said nothing is counted in the end
        await put(db, store, bytes(41))
    assert (await db.read(store.usage_in)).bytes == 60
    await put(db, store, bytes(40))


def test_a_large_file_reaches_the_disk_as_it_comes(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    spool, synced = program.Spool(tmp_path, 0, 64 << 20), list[int]()

    def watch(_: FrameType, event: str, what: object) -> None:
        if event == "c_call" and what is os.fsync:
            synced.append(spool.size)

    spool.open()
    sys.setprofile(watch)
    for _ in range(5 * 1024):
        spool.write(bytes(5 * 1024))
    sys.setprofile(None)
    spool.remove()

    steps = [after - before for before, after in pairwise([0, *synced, spool.size])]
    assert max(steps) <= (8 << 20) + 5 * 1024
    assert len(steps) == 4


async def test_a_store_that_cannot_be_written_stops_nothing_but_files(
    start: Start, log_lines: LogLines, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("by a file")
    server = await start(FILES_DIR=str(tmp_path / "taken" / "files"))

    said = [json.loads(line) for line in log_lines() if "store_unwritable" in line]

    assert len(said) == 1
    assert await server.parts.store.state() == "unwritable"
    assert (await (await server.visitor()).get("/metrics")).status == 200


async def test_a_file_that_is_not_whole_is_not_there_and_the_log_says_which(
    server: Server, log_lines: LogLines
) -> None:
    store, db = server.parts.store, server.parts.db
    await put(db, store, b"a picture")
    [blob] = await db.read(
        lambda tx: [program.Blob(*row[:5]) for row in program.rows(tx, "SELECT * FROM blobs")]
    )
    with store.open(blob) as file:
        assert file.read() == b"a picture"
    place = store.path_of(blob)

    place.write_bytes(b"a pic")
    with pytest.raises(program.AttachmentNotFound):
        store.open(blob)
    place.unlink()
    place.symlink_to("/etc/passwd")
    with pytest.raises(program.AttachmentNotFound):
        store.path_of(blob)

    said = [json.loads(line) for line in log_lines() if "blob_damaged" in line]
    assert [line["blob_id"] for line in said] == [blob.id, blob.id]


async def test_who_leaves_in_the_middle_leaves_nothing_and_who_is_done_loses_nothing(
    server: Server,
) -> None:
    store, db = server.parts.store, server.parts.db
    reached = asyncio.Event()

    async def stay() -> None:
        async with store.incoming() as spool:
            await store.write(spool, b"half a picture")
            reached.set()
            await asyncio.Event().wait()

    async def store_and_stay() -> None:
        async with store.incoming() as spool:
            await store.write(spool, b"a picture")
            await db.write(hang_up, await store.settle(spool, "image/webp"))
            reached.set()
            await asyncio.Event().wait()

    for work in (stay, store_and_stay):
        reached.clear()
        task = asyncio.create_task(work())
        await reached.wait()
        task.cancel()
        await asyncio.wait([task])

    assert await db.read(portrait)
    files = [path.read_bytes() for path in store.folder.glob("??/??/*")]
    assert files == [b"a picture"]
    assert list((store.folder / "incoming").iterdir()) == []
    assert (await db.read(store.usage_in)).doomed == 0


async def test_whose_right_ends_in_the_middle_leaves_nothing(server: Server) -> None:
    store, db = server.parts.store, server.parts.db
    has_right = True

    def right(_: program.ReadTx) -> None:
        if not has_right:
            raise program.RightChanged

    async def lose_it_before_the_end() -> None:
        nonlocal has_right
        async with store.incoming() as spool:
            await store.write(spool, b"a picture")
            stored = await store.settle(spool, "image/webp")
            has_right = False
            await db.write(hang_up, stored)

    with program.writing_by(right), pytest.raises(program.RightChanged):
        await lose_it_before_the_end()

    assert list(store.folder.glob("??/??/*")) == []
    assert (await db.read(store.usage_in)).doomed == 0

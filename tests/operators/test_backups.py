"""Backups with files: linked or copied, shipped as a tar, restored, under load, and killed."""

import asyncio
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import campfire as program
from tests.support.cast import Cast, Person, Server, Start, start_server
from tests.support.files import sent, stored_files, use_up_the_names_of
from tests.support.operators import PROGRAM, ROOT, command, done, refusal
from tests.support.rails import rows_in

WORDS = [f"Minutes of meeting {n}\n".encode() * 40 for n in range(4)]


@pytest.fixture
async def minutes(start: Start, cast: Cast) -> Server:
    """A server with four files, that has stopped."""
    server = await start()
    kevin = await server.sign_in(cast.kevin)
    for n, words in enumerate(WORDS):
        await sent(kevin, cast.designers, words, f"minutes {n}.txt")
    await server.close()
    return server


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def database_of(server: Server) -> Path:
    return server.parts.config.database


def files_in(folder: Path) -> dict[str, bytes]:
    """What lies in a store or in the files of a backup, by key."""
    return {place.name: place.read_bytes() for place in folder.glob("??/??/*")}


def hashes_in(database: Path) -> dict[str, bytes]:
    return dict(rows_in(database, "SELECT key, sha256 FROM blobs WHERE sha256 IS NOT NULL"))


def require_whole(database: Path, folder: Path) -> None:
    """Every file that the database speaks of is in the folder, as it was."""
    files = files_in(folder)
    found = {key: hashlib.sha256(files[key]).digest() for key in hashes_in(database)}
    assert found == hashes_in(database)


# --- Backup and restore --------------------------------------------------------------------------


def test_a_backup_has_the_files_under_second_names_beside_it(minutes: Server) -> None:
    copy = Path(done(command(database_of(minutes), "backup")))

    folder = copy.with_name(f"{copy.stem}-files")
    assert sorted(files_in(folder).values()) == sorted(WORDS)
    assert {place.name for place in copy.parent.iterdir()} == {copy.name, folder.name}
    assert {place.stat().st_nlink for place in stored_files(minutes)} == {2}
    assert {place.stat().st_mode & 0o777 for place in folder.rglob("*")} == {0o600, 0o700}
    assert list((minutes.parts.store.folder / "staging").glob("*")) == []


def test_on_another_disk_they_are_copied_and_the_store_keeps_no_second_name(
    minutes: Server, elsewhere: Path
) -> None:
    copy = Path(done(command(database_of(minutes), "backup", str(elsewhere))))

    require_whole(copy, copy.with_name(f"{copy.stem}-files"))
    assert {place.stat().st_nlink for place in stored_files(minutes)} == {1}
    assert list((minutes.parts.store.folder / "staging").glob("*")) == []


def test_a_file_that_can_have_no_more_names_is_copied_on_its_way_there_and_back(
    minutes: Server, tmp_path: Path
) -> None:
    database, place = database_of(minutes), min(stored_files(minutes))
    is_full = use_up_the_names_of(place, tmp_path / "names")

    copy = Path(done(command(database, "backup")))

    folder = copy.with_name(f"{copy.stem}-files")
    kept = program.path_in(folder, place.name)
    assert kept.samefile(place) is not is_full
    require_whole(copy, folder)
    assert list((minutes.parts.store.folder / "staging").glob("*")) == []
    new, is_full = tmp_path / "new" / "campfire.db", use_up_the_names_of(kept, tmp_path / "more")
    done(command(new, "restore", str(copy)))
    assert program.path_in(new.with_name("campfire-files"), kept.name).samefile(kept) is not is_full
    assert "is healthy" in done(command(new, "check", "--deep"))


@pytest.mark.parametrize("disk", ["this", "another"])
async def test_a_restored_backup_has_every_file_whatever_happened_to_the_store_since(
    minutes: Server, start: Start, cast: Cast, elsewhere: Path, disk: str
) -> None:
    database, store = database_of(minutes), minutes.parts.store.folder
    where = elsewhere if disk == "another" else database.parent / "safe"
    where.mkdir(exist_ok=True)
    copy = Path(done(command(database, "backup", str(where))))
    before = files_in(store)
    server = await start()
    david = await server.sign_in(cast.david)
    for message in (await david.get(f"/api/rooms/{cast.designers.id}/messages")).json["messages"]:
        path = f"/api/rooms/{cast.designers.id}/messages/{message['id']}"
        assert (await david.delete(path)).status == 204
    server.wall.ahead = 2 * 3_600
    await server.parts.store.sweep()
    later = await sent(await server.sign_in(cast.kevin), cast.designers, b"later", "later.txt")
    await server.close()
    assert list(files_in(store).values()) == [b"later"]
    kept = files_in(copy.with_name(f"{copy.stem}-files"))

    said = done(command(database, "restore", str(copy))).splitlines()

    assert said[0] == f"{copy} is restored as {database}."
    aside = [Path(line.removeprefix("What was there is kept as ")[:-1]) for line in said[1:]]
    assert [place.name.partition(".before-restore-")[0] for place in aside] == [
        "campfire.db", "campfire-files",
    ]  # fmt: skip
    assert files_in(store) == before == kept
    assert "is healthy" in done(command(database, "check", "--deep"))
    # What made way is a backup itself.
    assert done(command(database, "restore", str(aside[0])))
    assert list(files_in(store).values()) == [b"later"]
    assert rows_in(database, f"SELECT count(*) FROM messages WHERE id = {later['id']}") == [(1,)]  # noqa: S608 - a number


def test_what_lives_on_changes_nothing_in_a_backup_and_the_other_way_round(
    minutes: Server,
) -> None:
    database, store = database_of(minutes), minutes.parts.store.folder
    copy = Path(done(command(database, "backup")))
    folder = copy.with_name(f"{copy.stem}-files")
    for place in stored_files(minutes):
        place.unlink()

    assert sorted(files_in(folder).values()) == sorted(WORDS)
    done(command(database, "restore", str(copy)))
    shutil.rmtree(folder)
    assert sorted(files_in(store).values()) == sorted(WORDS)


async def test_without_files_a_backup_restores_to_placeholders(
    minutes: Server, cast: Cast, tmp_path: Path
) -> None:
    database = database_of(minutes)
    copy = Path(done(command(database, "backup", "--no-files")))
    assert [place.name for place in copy.parent.iterdir()] == [copy.name]
    new = tmp_path / "new" / "campfire.db"

    said = done(command(new, "restore", str(copy))).splitlines()

    assert said[1:] == ["4 files are not there: `check --repair` marks them as missing."]
    assert command(new, "check").returncode == 3
    done(command(new, "check", "--repair"))
    server = await start_server(new)
    kevin = await server.sign_in(cast.kevin)
    answer = await kevin.get(f"/api/rooms/{cast.designers.id}/messages")
    await server.close()
    assert [each["attachment"]["missing"] for each in answer.json["messages"]] == [True] * 4
    # Where the store is still there, nothing is missing at all.
    assert "not there" not in done(command(database, "restore", str(copy)))
    assert "is healthy" in done(command(database, "check", "--deep"))


def test_a_file_that_is_gone_is_told_and_the_backup_is_kept(minutes: Server) -> None:
    database = database_of(minutes)
    place = min(stored_files(minutes))
    place.unlink()

    result = command(database, "backup")

    assert result.returncode == 1
    assert f"is not in {minutes.parts.store.folder}" in result.stderr
    assert "the file of message" in result.stderr
    copy = Path(result.stdout.strip())
    assert len(files_in(copy.with_name(f"{copy.stem}-files"))) == 3
    assert "1 files are not there" in done(command(database, "restore", str(copy)))


def test_keep_removes_files_with_their_database_and_what_was_left_unfinished(
    minutes: Server,
) -> None:
    database = database_of(minutes)
    folder = database.parent / "backups"
    folder.mkdir()
    for day in ("20200101", "20210101", "20220101"):
        (folder / f"campfire-{day}-000000.db").write_text("old")
        (folder / f"campfire-{day}-000000-files" / "ab").mkdir(parents=True)
    (folder / "campfire-20190101-000000-files.partial" / "ab").mkdir(parents=True)
    (folder / ".campfire-20190101-000000.db.partial").write_text("half")
    (folder / "campfire-20210601-000000-files").mkdir()
    (folder / "before-3.db").write_text("of an upgrade")

    newest = Path(done(command(database, "backup", "--keep", "2")))

    assert {place.name for place in folder.iterdir()} == {
        "before-3.db", "campfire-20220101-000000.db", "campfire-20220101-000000-files",
        newest.name, f"{newest.stem}-files",
    }  # fmt: skip


def test_a_backup_never_writes_over_files_of_another(minutes: Server, tmp_path: Path) -> None:
    (tmp_path / "there-files").mkdir()

    said = refusal(command(database_of(minutes), "backup", str(tmp_path / "there.db")))

    assert said == f"{tmp_path / 'there-files'} is there already, and nothing is written over it"
    assert not (tmp_path / "there.db").exists()
    over = database_of(minutes).with_name("campfire")
    assert "is there already" in refusal(command(database_of(minutes), "backup", str(over)))


# --- Tar -----------------------------------------------------------------------------------------


def raw(database: Path, *arguments: str) -> bytes:
    """What a command writes to standard output, in bytes."""
    environment = {"PATH": os.environ["PATH"], "CAMPFIRE_DB": str(database)}
    done = subprocess.run(
        [sys.executable, PROGRAM, *arguments], env=environment, capture_output=True, check=True
    )
    assert done.stderr == b""
    return done.stdout


def test_a_tar_holds_the_database_and_then_the_files_and_restores(
    minutes: Server, tmp_path: Path
) -> None:
    database, file = database_of(minutes), tmp_path / "all.tar"
    done(command(database, "backup", "--tar", str(file)))
    streamed = raw(database, "backup", "--tar", "-")

    with tarfile.open(file) as tar, tarfile.open(fileobj=io.BytesIO(streamed)) as other:
        names = tar.getnames()
        assert names[0].endswith(".db")
        assert names[1:] == sorted(names[1:])
        assert [name.split("/", 1)[1:] for name in names] == [
            name.split("/", 1)[1:] for name in other.getnames()
        ]
        assert {member.mode for member in tar} == {0o600}
        tar.extractall(tmp_path / "out", filter="data")
    assert not (database.parent / "backups").exists()
    new = tmp_path / "new" / "campfire.db"
    done(command(new, "restore", str(tmp_path / "out" / names[0])))
    assert sorted(files_in(new.with_name("campfire-files")).values()) == sorted(WORDS)
    assert "is healthy" in done(command(new, "check", "--deep"))
    alone = raw(database, "backup", "--no-files", "--tar", "-")
    with tarfile.open(fileobj=io.BytesIO(alone)) as tar:
        assert [Path(name).suffix for name in tar.getnames()] == [".db"]


def test_a_tar_is_one_archive_and_no_other_backup(minutes: Server, tmp_path: Path) -> None:
    for more in (["--keep", "2"], [str(tmp_path)]):
        said = refusal(command(database_of(minutes), "backup", "--tar", "-", *more))
        assert said.startswith("--tar makes one archive")
    (tmp_path / "all.tar").write_text("precious")
    said = refusal(command(database_of(minutes), "backup", "--tar", str(tmp_path / "all.tar")))
    assert "is there already" in said
    assert (tmp_path / "all.tar").read_text() == "precious"


# --- Under load, and killed ----------------------------------------------------------------------


async def test_a_backup_during_uploads_and_deletions_restores_to_a_server_whose_files_all_hash(
    server: Server, cast: Cast, kevin: Person, jz: Person, tmp_path: Path
) -> None:
    database = database_of(server)
    finished, posted = asyncio.Event(), 0

    async def upload(person: Person) -> None:
        nonlocal posted
        while not finished.is_set():
            data = os.urandom(50_000 + posted)
            message = await sent(person, cast.designers, data, "noise.bin")
            posted += 1
            if posted % 3 == 0:
                path = f"/api/rooms/{cast.designers.id}/messages/{message['id']}"
                assert (await person.delete(path)).status == 204
            await server.parts.store.sweep()

    senders = [asyncio.create_task(upload(person)) for person in (kevin, jz)]
    copies = []
    for n in range(3):
        before = posted
        place = str(tmp_path / f"copy{n}.db")
        copies.append(Path(done(await asyncio.to_thread(command, database, "backup", place))))
        assert posted > before  # and more than fifty a minute
    finished.set()
    await asyncio.gather(*senders)
    news = [tmp_path / f"new{n}" / "campfire.db" for n in range(3)]
    for new, copy in zip(news, copies, strict=True):
        done(await asyncio.to_thread(command, new, "restore", str(copy)))
        assert "is healthy" in done(await asyncio.to_thread(command, new, "check", "--deep"))
    restored = await start_server(news[-1])
    reader = await restored.sign_in(cast.kevin)
    answer = await reader.get(f"/api/rooms/{cast.designers.id}/messages")
    hashes = set(hashes_in(news[-1]).values())
    opened = [await reader.get(each["attachment"]["url"]) for each in answer.json["messages"]]
    await restored.close()
    assert opened
    assert {hashlib.sha256(each.body).digest() for each in opened} <= hashes
    assert {each.status for each in opened} == {200}


@pytest.mark.parametrize("what", ["backup", "restore", "attach"])
def test_killed_at_any_step_nothing_has_a_name_that_is_not_whole_and_the_next_try_ends_well(
    minutes: Server, tmp_path: Path, what: str
) -> None:
    copy = Path(done(command(database_of(minutes), "backup", str(tmp_path / "first.db"))))
    lives = [sys.executable, "-m", "tests.support.interrupted", what, str(copy), str(tmp_path)]

    told = subprocess.run(lives, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)

    assert told.returncode == 0, told.stderr
    assert int(told.stdout) >= 20

"""Moving in from a Rails Campfire with its storage folder: every file, counted, and it opens."""

import hashlib
import json
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.cast import Server, Start
from tests.support.executable import ran
from tests.support.files import use_up_the_names_of
from tests.support.operators import ROOT, command, done, refusal
from tests.support.rails import DAVID, JASON, LOBBY, rows_in, typed_in
from tests.support.storage import (
    CLIP,
    FILM,
    GONE,
    MEMO,
    PDF,
    PHOTO,
    PLAN,
    SHORT,
    SOUND,
    SPOILT,
    TALK,
    TWEET,
    Storage,
    key_of,
)  # fmt: skip
from tests.support.studio import at_work, opened

WHAT_CAME = "SELECT message_id, key, byte_size, hex(sha256), content_type, kind, width, height"
WHAT_CAME += ", duration_ms, still_width, still_height FROM attached ORDER BY message_id"


def state_of(target: Path) -> list[Any]:
    """Everything that an import leaves of files, but for keys that are made anew."""
    pictures = "SELECT count(*), count(sha256) FROM blobs"
    people = "SELECT id, avatar_id IS NULL FROM users ORDER BY id"
    return [rows_in(target, sql) for sql in (WHAT_CAME, pictures, people)]


def files_of(target: Path) -> dict[str, bytes]:
    """What lies in the store, by key."""
    places = (target.parent / "campfire-files").glob("??/??/*")
    return {place.name: place.read_bytes() for place in places}


def require_whole(target: Path) -> None:
    """Every row with a hash has its bytes, and every file a row."""
    files = files_of(target)
    blobs = rows_in(target, "SELECT key, sha256 FROM blobs WHERE sha256 IS NOT NULL")
    assert {key: hashlib.sha256(files[key]).digest() for key, _ in blobs} == dict(blobs)
    known = rows_in(target, "SELECT key FROM blobs UNION SELECT key FROM doomed_blobs")
    assert files.keys() <= {key for (key,) in known}


async def shown_in(server: Server) -> tuple[Any, dict[int, Any]]:
    """David, and the messages of the Lobby."""
    david = await typed_in(server, "david")
    answer = await david.get(f"/api/rooms/{LOBBY}/messages")
    return david, {each["id"]: each for each in answer.json["messages"]}


def test_an_import_with_the_storage_folder_says_what_came_and_what_did_not(
    storage: Storage, target: Path
) -> None:
    before = storage.files()

    said = done(command(target, "import", str(storage.database), "--storage", str(storage.folder)))

    folder = storage.folder / "files"
    assert set(said.splitlines()) >= {
        "messages: 9", "attachments: 7", "files: 4", "posters: 1", "pictures of people: 1",
        "logos: 1", "files that share their bytes with the old folder: 4",
        f"warning: files are not in {folder} (1)",
        "warning: files have another size than they had (1)",
        "warning: files have other bytes than they had (1)",
        "warning: pictures of people cannot be read (1)",
        "warning: link previews are kept without their pictures (1)",
    }  # fmt: skip
    assert storage.files() == before
    require_whole(target)
    assert "3 files have not been moved here yet" in done(command(target, "check", "--deep"))
    assert rows_in(target, "SELECT message_id FROM attached WHERE sha256 IS NULL") == [
        (GONE,), (SHORT,), (SPOILT,)
    ]  # fmt: skip


async def test_every_file_that_came_opens_under_its_name_and_is_what_it_was(
    storage: Storage, target: Path, start: Start
) -> None:
    photo = storage.place(key_of(storage, "harbour morning.jpg")).read_bytes()
    done(command(target, "import", str(storage.database), "--storage", str(storage.folder)))
    server = await start(seeded=False)
    process = at_work(server.parts.workshop)

    david, messages = await shown_in(server)

    for message_id, name, data, content_type, kind in (
        (PHOTO, "harbour morning.jpg", photo, "image/jpeg", "image"),
        (CLIP, "clip.mp4", FILM, "video/mp4", "video"),
        (PLAN, "plan.pdf", PDF, "application/pdf", "file"),
        (MEMO, "memo.mp3", SOUND, "audio/mpeg", "audio"),
    ):
        told = messages[message_id]["attachment"]
        assert (told["filename"], told["content_type"]) == (name, content_type)
        assert (told["kind"], told["missing"]) == (kind, False)
        answer = await david.get(told["url"])
        assert (answer.status, answer.body) == (200, data)
        assert messages[message_id]["plain_text"] == name
        assert messages[message_id]["body_html"] == ""
    film = messages[CLIP]["attachment"]
    assert (film["duration_ms"], film["still_width"], film["still_height"]) == (2_500, 1_200, 675)
    assert opened((await david.get(film["still_url"])).body).size == (1_200, 675)
    picture = messages[PHOTO]["attachment"]
    assert (picture["width"], picture["height"]) == (640, 480)
    assert (await david.get(picture["still_url"])).status == 200  # made at first sight
    for message_id in (GONE, SHORT, SPOILT):
        assert messages[message_id]["attachment"]["missing"]
    assert messages[TALK]["attachment"] is None
    people = {each["id"]: each for each in (await david.get("/api/account/users")).json["users"]}
    face = await david.get(people[DAVID]["avatar_url"])
    assert (face.headers["Content-Type"], opened(face.body).size) == ("image/webp", (200, 200))
    assert (people[DAVID]["has_avatar"], people[JASON]["has_avatar"]) == (True, False)
    assert opened((await david.get("/account/logo")).body).size == (512, 512)
    server.parts.workshop.close()
    assert process.wait(30) == 0


def test_what_an_import_left_behind_attach_files_brings_to_the_same_end(
    storage: Storage, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "campfire.db"
    done(command(other, "import", str(storage.database), "--storage", str(storage.folder)))
    said = done(command(target, "import", str(storage.database)))
    advice = "keep the old storage folder: `attach-files` brings its files"
    assert f"warning: {advice} (10)" in said.splitlines()
    done(command(target, "check"))

    first = done(command(target, "attach-files", str(storage.folder / "files")))
    state, files = state_of(target), files_of(target)
    second = done(command(target, "attach-files", str(storage.folder)))

    assert "files: 4" in first.splitlines()
    assert (state, sorted(files.values())) == (state_of(other), sorted(files_of(other).values()))
    assert [line.partition(" (")[0] for line in second.splitlines()] == [
        "files: 0", f"warning: files are not in {storage.folder / 'files'}",
        "warning: files have another size than they had",
        "warning: files have other bytes than they had",
    ]  # fmt: skip
    assert (state_of(target), files_of(target)) == (state, files)
    require_whole(target)


def test_only_what_is_here_leaves_the_old_folder_and_only_if_it_is_to_move(
    storage: Storage, target: Path
) -> None:
    where = ("--storage", str(storage.folder), "--move")

    done(command(target, "import", str(storage.database), *where))

    left = {"harbour morning.webp", "short.txt", "spoilt.txt", "me.heic"}
    assert storage.files().keys() == {key_of(storage, name) for name in left}
    require_whole(target)


def test_on_another_disk_files_are_copied_and_found_the_same(
    storage: Storage, target: Path
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        folder = Path(shutil.copytree(storage.folder, Path(elsewhere) / "storage"))
        assert folder.stat().st_dev != target.parent.stat().st_dev

        said = done(command(target, "import", str(storage.database), "--storage", str(folder)))

    assert "files: 4" in said.splitlines()
    assert "share their bytes" not in said
    require_whole(target)


def test_a_file_that_can_have_no_more_names_is_copied(
    storage: Storage, target: Path, tmp_path: Path
) -> None:
    plan = storage.place(key_of(storage, "../plan.pdf"))
    is_full = use_up_the_names_of(plan, tmp_path / "names")

    said = done(command(target, "import", str(storage.database), "--storage", str(storage.folder)))

    shared = f"files that share their bytes with the old folder: {3 if is_full else 4}"
    assert {"files: 4", shared} <= set(said.splitlines())
    require_whole(target)


def test_a_file_is_what_its_bytes_say_and_a_key_leads_nowhere_else(
    storage: Storage, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "rails" / "secret").write_bytes(b"<b>not yours</b>")
    page = b"<script>alert(1)</script>"
    storage.send(320, page, "photo.png", "image/png", facts={"width": 3, "height": 4})
    storage.send(321, b"<b>not yours</b>", "a.txt", "text/plain")
    storage.send(322, b"far away", "b.txt", "text/plain")
    rename = "UPDATE active_storage_blobs SET key = ? WHERE filename = ?"
    storage.rails.execute(rename, ("../../secret", "a.txt"))
    service = "UPDATE active_storage_blobs SET service_name = 'amazon', key = ? WHERE filename = ?"
    storage.rails.execute(service, ("z" * 28, "b.txt"))

    said = done(
        command(target, "import", str(storage.database), "--storage", str(storage.folder))
    ).splitlines()

    assert "warning: files are kept by the service amazon (1)" in said
    assert f"warning: files are not in {storage.folder / 'files'} (3)" in said
    came = "SELECT kind, content_type, width FROM attached WHERE message_id = 320"
    assert rows_in(target, came) == [("file", "application/octet-stream", None)]
    found = "SELECT rowid FROM message_search_index('about : {}') WHERE rowid = 320"
    assert rows_in(target, found.format("file")) == [(320,)]
    assert rows_in(target, found.format("image")) == []
    assert b"<b>not yours</b>" not in files_of(target).values()


def test_without_the_folder_that_was_named_nothing_is_imported(
    storage: Storage, target: Path
) -> None:
    nowhere = str(storage.folder / "nowhere")

    said = refusal(command(target, "import", str(storage.database), "--storage", nowhere))

    assert said == f"there is no folder at {nowhere}"
    assert not target.exists()
    done(command(target, "import", str(storage.database)))
    assert refusal(command(target, "attach-files", nowhere)) == said


def test_stills_are_made_at_once_for_whoever_wants_that(storage: Storage, target: Path) -> None:
    where = ("--storage", str(storage.folder), "--stills")

    said = done(command(target, "import", str(storage.database), *where))

    assert "stills: 1" in said.splitlines()
    stills = "SELECT message_id, still_width, still_height FROM attached WHERE still_id"
    assert rows_in(target, stills) == [(PHOTO, 640, 480), (CLIP, 1_200, 675)]
    require_whole(target)


def test_an_import_that_is_killed_at_any_step_is_finished_by_the_next_and_rails_keeps_its_own(
    storage: Storage, tmp_path: Path
) -> None:
    (places := tmp_path / "lives").mkdir()
    lives = "-m", "tests.support.interrupted", "import", storage.database, places

    told = ran([sys.executable, *lives], cwd=ROOT, timeout=500)

    assert told.returncode == 0, told.stderr
    assert int(told.stdout) >= 500


async def test_pages_that_a_server_remembers_show_the_files_that_came_meanwhile(
    storage: Storage, target: Path, start: Start
) -> None:
    done(command(target, "import", str(storage.database)))
    server = await start(seeded=False)
    david, before = await shown_in(server)

    said = done(command(target, "attach-files", str(storage.folder)))

    answer = await david.get(f"/api/rooms/{LOBBY}/messages")
    after = {each["id"]: each for each in answer.json["messages"]}
    assert "files: 4" in said.splitlines()
    assert before[PLAN]["attachment"]["missing"]
    assert (await david.get(after[PLAN]["attachment"]["url"])).body == PDF
    assert opened((await david.get(after[CLIP]["attachment"]["still_url"])).body).size[0] == 1_200
    assert before[TALK]["updated_at"] == after[TALK]["updated_at"]


async def test_a_picture_that_somebody_chose_meanwhile_stays(
    storage: Storage, target: Path, start: Start
) -> None:
    done(command(target, "import", str(storage.database)))
    server = await start(seeded=False)
    david = await typed_in(server, "david")
    assert (await david.delete("/api/users/me/avatar")).status == 200

    said = done(command(target, "attach-files", str(storage.folder)))

    assert "pictures of people: 1" not in said
    assert (await david.get("/api/session")).json["user"]["has_avatar"] is False


def test_where_pillow_is_missing_files_come_and_pictures_wait(
    storage: Storage, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "without" / "PIL").mkdir(parents=True)
    (tmp_path / "without" / "PIL" / "__init__.py").write_text("raise ImportError")
    where = ("--storage", str(storage.folder))
    without = {"PYTHONPATH": str(tmp_path / "without")}

    first = done(command(target, "import", str(storage.database), *where, **without)).splitlines()
    second = done(command(target, "attach-files", str(storage.folder))).splitlines()

    assert "files: 4" in first
    assert "warning: posters wait until Pillow is installed (1)" in first
    assert {"posters: 1", "pictures of people: 1", "logos: 1"} <= set(second)
    require_whole(target)


def test_a_tweet_keeps_its_words_without_its_picture(storage: Storage, target: Path) -> None:
    done(command(target, "import", str(storage.database), "--storage", str(storage.folder)))

    (said,) = rows_in(target, f"SELECT body_html FROM messages WHERE id = {TWEET}")  # noqa: S608 - a number
    assert "pbs.twimg.com" not in said[0]


def test_what_waits_for_its_bytes_says_where_they_are(storage: Storage, target: Path) -> None:
    done(command(target, "import", str(storage.database)))

    with closing(sqlite3.connect(target)) as connection:
        sql = (
            "SELECT awaited FROM attachments JOIN blobs ON blobs.id = blob_id WHERE message_id = ?"
        )
        ((told,),) = connection.execute(sql, (CLIP,))

    about = json.loads(told)
    assert about["key"] == key_of(storage, "clip.mp4")
    assert about["poster"]["key"] == key_of(storage, "clip.webp")

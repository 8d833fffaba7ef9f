"""The folder into which the executable unpacks itself: whole, healed, swept, and nobody else's."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.executable import PYZ, TAG, Campfire, assert_refused, is_whole, run, unpacked

TWO_MONTHS = 60 * 24 * 60 * 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the executable has unpacked; its root is the test's own folder."""
    tmp_path.chmod(0o700)
    assert run(cache=tmp_path).returncode == 0
    (folder,) = unpacked(tmp_path)
    return folder


def age(path: Path) -> None:
    """As if it had been used last two months ago."""
    then = time.time() - TWO_MONTHS
    for each in (path, *path.glob("complete")):
        os.utime(each, (then, then))


def test_a_server_that_had_to_unpack_itself_holds_no_more_than_any_other(tmp_path: Path) -> None:
    cache, held = tmp_path / "cache", list[int]()
    server = Campfire(tmp_path, SHIV_ROOT=str(cache))
    server.start()  # which makes the database
    server.stop()
    shutil.rmtree(cache)
    for _ in range(2):
        server.start()
        assert server.process
        held.append(int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]))
        server.stop()

    assert held[0] < 1.2 * held[1]


# --- It heals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", None])
def test_a_file_that_is_empty_or_gone_is_unpacked_again(
    folder: Path, content: bytes | None
) -> None:
    damaged, sound = (folder / "site-packages" / name for name in ("campfire.py", "LICENSE"))
    before = sound.stat().st_ino
    damaged.unlink()
    if content is not None:
        damaged.write_bytes(content)

    outcome = run(cache=folder.parent)

    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert is_whole(folder)
    assert sound.stat().st_ino == before


@pytest.mark.parametrize("mark", [b"", b"0 site-packages/campfire.py\n", None])
def test_a_folder_without_its_whole_mark_is_not_trusted_in_anything(
    folder: Path, mark: bytes | None
) -> None:
    program = folder / "site-packages" / "campfire.py"
    wrong = b"#" * program.stat().st_size
    program.write_bytes(wrong)
    (folder / "complete").unlink()
    if mark is not None:
        (folder / "complete").write_bytes(mark)

    outcome = run(cache=folder.parent)

    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert program.read_bytes() != wrong


def test_healing_leaves_the_files_of_a_running_process_alone(folder: Path) -> None:
    program = folder / "site-packages" / "campfire.py"
    with program.open("rb") as opened:
        os.truncate(program, 1_000)
        assert run(cache=folder.parent).returncode == 0

        assert os.fstat(opened.fileno()).st_size == 1_000
        assert program.stat().st_size > 100_000


def test_what_is_marked_as_whole_has_reached_the_disk_before(tmp_path: Path) -> None:
    traced = """
import os, runpy, sys
sys.argv = sys.argv[1:]
def watched(event, arguments):
    if event == "os.rename" and arguments[1].endswith("/complete"):
        print("marked", flush=True)
sys.addaudithook(watched)
sync = os.sync
os.sync = lambda: (sync(), print("synced", flush=True))
runpy.run_path(sys.argv[0], run_name="__main__")
"""

    outcome = run(sys.executable, "-c", traced, PYZ, cache=tmp_path / "cache")

    assert outcome.stdout.split()[:3] == ["synced", "marked", "synced"]


@pytest.mark.parametrize("share", [0.00001, 0.5, 0.999])
def test_a_truncated_download_says_that_the_file_is_incomplete(
    tmp_path: Path, share: float
) -> None:
    content = PYZ.read_bytes()
    cut = tmp_path / "campfire.pyz"
    cut.write_bytes(content[: max(100, int(len(content) * share))])

    outcome = run(sys.executable, cut, cache=tmp_path / "cache")

    assert outcome.returncode == 1
    assert "this-file-is-incomplete--copy-or-download-it-again" in outcome.stderr
    assert "Traceback" not in outcome.stderr


# --- It is swept ---------------------------------------------------------------------------------


def test_what_nothing_has_used_for_a_month_is_removed_with_its_lock(tmp_path: Path) -> None:
    tag = "cpython-311"
    idle, fresh, held = (tmp_path / f"old.pyz_{digit * 64}_{tag}" for digit in "123")
    lock, half_made = tmp_path / f".old.pyz_{'1' * 64}_{tag}_lock", tmp_path / f"{idle.name}.tmp"
    of_another = tmp_path / f"another_{'4' * 64}"
    for folder in (idle, fresh, held, half_made, of_another):
        (folder / "site-packages").mkdir(parents=True)
    lock.touch()
    for path in (idle, held, half_made, of_another, lock):
        age(path)
    holding = os.open(held, os.O_RDONLY)
    fcntl.flock(holding, fcntl.LOCK_SH)

    assert run(cache=tmp_path).returncode == 0

    os.close(holding)
    kept = {path for path in tmp_path.iterdir() if TAG not in path.name}
    assert kept == {fresh, held, of_another}


def test_a_start_is_a_use_of_its_folder(folder: Path) -> None:
    age(folder)

    assert run(cache=folder.parent).returncode == 0

    assert time.time() - (folder / "complete").stat().st_mtime < TWO_MONTHS / 2


def test_the_folder_of_the_release_before_goes_with_the_upgrade(folder: Path) -> None:
    before = folder.parent / f"campfire.pyz_{'1' * 64}_cpython-3{sys.version_info[1]}"
    before.mkdir()

    assert run(cache=folder.parent).returncode == 0

    assert unpacked(folder.parent) == [folder]


# --- It is one's own -----------------------------------------------------------------------------


def test_what_is_unpacked_is_its_users_alone_under_any_umask(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    command = ["sh", "-c", 'umask 000; exec "$@"', "sh", sys.executable]

    assert run(*command, PYZ, cache=cache).returncode == 0

    assert {path.stat().st_mode & 0o077 for path in (cache, *cache.rglob("*"))} == {0}


@pytest.mark.parametrize("mode", [0o770, 0o702])
@pytest.mark.parametrize("where", [".", "{}", "{}/site-packages"])
def test_a_cache_into_which_others_may_write_is_refused(
    folder: Path, where: str, mode: int
) -> None:
    (folder.parent / where.format(folder.name)).chmod(mode)

    outcome = run(cache=folder.parent)

    assert_refused(outcome, "others may put programs into .*chmod go-w")


def test_several_starts_heal_a_folder_at_the_same_time(folder: Path) -> None:
    (folder / "site-packages" / "campfire.py").write_bytes(b"")
    environment = {**os.environ, "SHIV_ROOT": str(folder.parent)}
    command = [sys.executable, str(PYZ), "--version"]

    starts = [subprocess.Popen(command, env=environment, stdout=-1, stderr=-1) for _ in range(4)]

    assert {(start.communicate()[1], start.returncode) for start in starts} == {(b"", 0)}
    assert is_whole(folder)

"""What ships: the executable, how it starts or why it cannot."""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.executable import (
    ELSEWHERE,
    LARGEST,
    MOUNTED,
    PYZ,
    ROOT,
    TAG,
    assert_refused,
    is_whole,
    run,
    unpacked,
)
from tests.support.tables import cases

# --- What is inside ------------------------------------------------------------------------------


def test_two_builds_give_the_same_bytes() -> None:
    digests = []
    for _ in range(2):
        subprocess.run(
            [ROOT / "build_zipapp.sh"],
            env={**os.environ, "PYTHON": sys.executable},
            check=True,
            capture_output=True,
        )
        digests.append(hashlib.sha256(PYZ.read_bytes()).hexdigest())

    assert digests[0] == digests[1]


def test_the_executable_is_one_small_file_that_python_3_runs() -> None:
    assert PYZ.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert os.access(PYZ, os.X_OK)
    assert PYZ.stat().st_size <= LARGEST


def test_the_executable_holds_the_server_the_built_client_and_the_sounds_of_this_clone() -> None:
    shipped = [ROOT / name for name in ("campfire.py", "LICENSE", "THIRD_PARTY")]
    shipped += [path for path in (ROOT / "static_bundle/dist").rglob("*") if path.is_file()]
    shipped += [*(ROOT / "sounds").glob("*.mp3"), ROOT / "sounds/sounds.json"]

    with zipfile.ZipFile(PYZ) as archive:
        for path in shipped:
            inside = f"site-packages/{path.relative_to(ROOT)}"
            assert archive.read(inside) == path.read_bytes(), inside


# --- How it starts -------------------------------------------------------------------------------


def test_it_starts_unpacks_once_and_leaves_no_half_made_folder(tmp_path: Path) -> None:
    first = run(cache=tmp_path / "cache")
    second = run(PYZ, cache=tmp_path / "cache")

    assert first.stdout.startswith("campfire ")
    assert (first.returncode, first.stderr) == (0, "")
    assert second.stdout == first.stdout
    (folder,) = unpacked(tmp_path / "cache")
    assert is_whole(folder)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_the_environment_cannot_put_another_program_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "aiohttp.py").write_text("raise SystemExit('not ours')")

    outcome = run(cache=tmp_path / "c", PYTHONPATH=str(tmp_path), SHIV_ENTRY_POINT="os:getcwd")

    assert outcome.returncode == 0
    assert outcome.stdout.startswith("campfire ")


def test_several_first_starts_at_once_unpack_it_once(tmp_path: Path) -> None:
    environment = {**os.environ, "SHIV_ROOT": str(tmp_path / "cache")}
    command = [sys.executable, str(PYZ), "--version"]

    starts = [subprocess.Popen(command, env=environment, stdout=-1, stderr=-1) for _ in range(4)]
    outcomes = [(*start.communicate(), start.returncode) for start in starts]

    assert {outcome[1:] for outcome in outcomes} == {(b"", 0)}
    (folder,) = unpacked(tmp_path / "cache")
    assert is_whole(folder)


def test_a_start_that_was_killed_while_it_unpacked_leaves_nothing_that_is_used(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, "SHIV_ROOT": str(tmp_path)}
    with subprocess.Popen([sys.executable, PYZ, "--version"], env=environment) as start:
        while not list(tmp_path.glob("*/site-packages/*")):
            assert start.poll() is None
        start.send_signal(signal.SIGKILL)
    assert not list(tmp_path.glob("*/complete"))

    assert run(cache=tmp_path).returncode == 0
    (folder,) = unpacked(tmp_path)
    assert is_whole(folder)


def test_what_other_builds_unpacked_is_removed_unless_a_process_holds_it(tmp_path: Path) -> None:
    held, idle = (tmp_path / f"campfire.pyz_{digit * 64}_{TAG}" for digit in "12")
    of_another_program = tmp_path / f"another.pyz_{'3' * 64}_{TAG}"
    for folder in (held, idle, of_another_program):
        (folder / "site-packages").mkdir(parents=True)

    holding = os.open(held, os.O_RDONLY)
    fcntl.flock(holding, fcntl.LOCK_SH)
    outcome = run(cache=tmp_path)
    os.close(holding)

    assert outcome.returncode == 0
    assert held.exists()
    assert of_another_program.exists()
    assert not idle.exists()


# --- Why it cannot -------------------------------------------------------------------------------


@pytest.mark.parametrize(("pretence", "reason"), cases("wrong Pythons and machines"))
def test_a_wrong_python_or_machine_is_told_in_one_line(
    tmp_path: Path, pretence: str, reason: str
) -> None:
    program = ELSEWHERE.format(pretence=pretence)

    outcome = run(sys.executable, "-c", program, PYZ, cache=tmp_path / "cache")

    assert_refused(outcome, reason)
    assert not (tmp_path / "cache").exists()


def test_without_a_home_it_says_what_to_set() -> None:
    outcome = run(cache=Path(), SHIV_ROOT="", XDG_CACHE_HOME="", HOME="/dev/null")

    assert_refused(outcome, "set SHIV_ROOT to a folder of this user")


def test_a_cache_that_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    cache = Path("/usr")
    if os.geteuid() == 0:
        cache = tmp_path / "cache"
        cache.mkdir()
        os.chown(cache, 54_321, 54_321)

    assert_refused(run(cache=cache), "others may put programs into")


def test_a_cache_that_anybody_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    assert_refused(run(cache=tmp_path), "others may put programs into")


@pytest.mark.parametrize(("options", "reason"), cases("folders nobody can unpack into"))
def test_a_cache_it_cannot_unpack_into_is_told_in_one_line(
    tmp_path: Path, options: str, reason: str
) -> None:
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNTED, "sh"]

    outcome = run(*namespace, options, tmp_path, sys.executable, PYZ, cache=tmp_path)

    assert_refused(outcome, reason)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_executable_is_told_in_one_line(tmp_path: Path) -> None:
    damaged = tmp_path / "campfire.pyz"
    content = bytearray(PYZ.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = bytes(4096)
    damaged.write_bytes(content)

    outcome = run(sys.executable, damaged, cache=tmp_path / "cache")

    assert_refused(outcome, "this file is damaged .*: copy or download it again")
    assert unpacked(tmp_path / "cache") == []

"""`campfire.pyz` itself: what is inside, and how it starts, or says in one line why it cannot."""

import fcntl
import hashlib
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYZ = ROOT / "campfire.pyz"
TAG = f"cpython-{sys.version_info[0]}{sys.version_info[1]}"
LARGEST = 24 * 1024 * 1024
CANNOT_START = 78

# Runs the executable as if Python or the machine were another one.
ELSEWHERE = """
import os, runpy, sys
sys.argv = [sys.argv[1], "--version"]
{pretence}
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# Runs a command with a folder of its own kind mounted, which needs no rights in a user namespace.
MOUNTED = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'


def run(*command: str | Path, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `--version` says when it unpacks into `cache`."""
    return subprocess.run(
        [*(command or (sys.executable, PYZ)), "--version"],
        env={**os.environ, "SHIV_ROOT": str(cache), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_refused(outcome: subprocess.CompletedProcess[str], reason: str) -> None:
    assert outcome.returncode == CANNOT_START
    assert outcome.stdout == ""
    assert re.fullmatch(rf"campfire\.pyz: [^\n]*{reason}[^\n]*\n", outcome.stderr)


def unpacked(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if not path.name.startswith("."))


def is_whole(folder: Path) -> bool:
    """Whether every file of the executable that concerns this Python lies in the folder."""
    with zipfile.ZipFile(PYZ) as archive:
        wanted = [
            info
            for info in archive.infolist()
            if info.filename.startswith("site-packages/")
            and (".cpython-" not in info.filename or TAG in info.filename)
        ]
        return all((folder / info.filename).stat().st_size == info.file_size for info in wanted)


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
    shipped += (ROOT / "sounds").glob("*.mp3")

    with zipfile.ZipFile(PYZ) as archive:
        for path in shipped:
            inside = f"site-packages/{path.relative_to(ROOT)}"
            assert archive.read(inside) == path.read_bytes(), inside


def test_every_compiled_module_is_there_for_all_three_pythons() -> None:
    with zipfile.ZipFile(PYZ) as archive:
        names = [name for name in archive.namelist() if name.endswith(".so")]
    tagged = [re.sub(r"\.cpython-\d+-", ".cpython-*-", name) for name in names]

    assert {tagged.count(name) for name in tagged if "*" in name} == {3}
    assert {name for name in tagged if "*" not in name and ".abi3." not in name} == set()


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
        while not list(tmp_path.glob("*.tmp/site-packages/*")):
            assert start.poll() is None
        start.send_signal(signal.SIGKILL)
    assert not [folder for folder in unpacked(tmp_path) if folder.suffix != ".tmp"]

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


@pytest.mark.parametrize(
    ("pretence", "reason"),
    [
        ("sys.version_info = (3, 10, 13, 'final', 0)", "needs Python 3.11, 3.12 or 3.13"),
        ("sys.version_info = (3, 14, 0, 'final', 0)", "needs Python 3.11, 3.12 or 3.13"),
        ("sys.implementation.name = 'pypy'", "needs the ordinary CPython"),
        ("sys.platform = 'darwin'", "runs on x86-64 Linux; this is darwin"),
        ("os.confstr = lambda name: 'glibc 2.17'", "needs glibc 2.28 or newer; this is 2.17"),
        ("os.confstr = lambda name: None", "needs glibc 2.28 or newer"),
    ],
)
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


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("noexec,mode=700", "is mounted noexec"),
        ("ro,mode=700", "cannot write to"),
        ("size=10m,mode=700", "needs 60 MB of free space"),
    ],
)
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

    assert_refused(outcome, "cannot unpack into")
    assert unpacked(tmp_path / "cache") == []

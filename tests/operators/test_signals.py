"""SIGTERM and SIGINT from the executable's first line on, also where it is process 1."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cast import PATIENCE, SETTINGS
from tests.support.executable import PYZ, is_whole, run, unpacked

# Runs the executable; when something happens for the first time, it says so and waits for a line.
_HALTS = """
import runpy, sys
happens, words = sys.argv[1:3]
sys.argv = sys.argv[3:]
def halt(event, arguments):
    global happens
    if event == happens and words in str(arguments[0]):
        happens = ""
        print("halted", flush=True)
        sys.stdin.readline()
sys.addaudithook(halt)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
AS_PROCESS_ONE = "unshare --user --map-root-user --pid --fork --mount-proc --kill-child".split()
ENDED = 128 + signal.SIGTERM

Halted = subprocess.Popen[str]


def halted(folder: Path, first: list[str], at: tuple[str, str], *words: str) -> Halted:
    """The executable with this command, where the event has just happened."""
    database = folder / "campfire.db"
    process = subprocess.Popen(
        [*first, sys.executable, "-c", _HALTS, *at, PYZ, *words],
        env={**os.environ, **SETTINGS, "CAMPFIRE_DB": str(database),
             "SHIV_ROOT": str(folder / "cache")},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    said = ""
    while not said.startswith(("halted", "Listening on ")):
        said = process.stdout.readline()
        assert said, "it did not happen"
    return process


def told(process: Halted, number: signal.Signals) -> tuple[int, str]:
    """Its exit code and complaint once it has got a signal; `unshare` takes none of them itself."""
    os.killpg(process.pid, number)
    _, complaint = process.communicate(timeout=PATIENCE)
    return process.returncode, complaint


@pytest.fixture(params=[[], AS_PROCESS_ONE], ids=["as any process", "as process 1"])
def first(request: pytest.FixtureRequest) -> list[str]:
    """What the command begins with."""
    words: list[str] = request.param
    return words


@pytest.mark.parametrize("at", [("open", "campfire.py.new"), ("import", "aiohttp")])
@pytest.mark.parametrize(
    ("number", "ends"),
    [(signal.SIGTERM, (ENDED, "")), (signal.SIGINT, (1, "campfire.pyz: interrupted\n"))],
)
def test_a_start_that_is_told_to_end_ends_at_once_and_the_next_one_is_whole(
    tmp_path: Path,
    first: list[str],
    at: tuple[str, str],
    number: signal.Signals,
    ends: tuple[int, str],
) -> None:
    process = halted(tmp_path, first, at, "--version")
    (folder,) = unpacked(tmp_path / "cache")
    assert (folder / "complete").exists() == (at[0] == "import")

    assert told(process, number) == ends

    again = run(cache=tmp_path / "cache")
    assert (again.returncode, again.stderr) == (0, "")
    assert is_whole(folder)


@pytest.mark.parametrize("at", [("sqlite3.connect", "campfire.db"), ("none", "")])
def test_a_server_told_to_end_while_it_starts_or_serves_stops_well(
    tmp_path: Path, first: list[str], at: tuple[str, str]
) -> None:
    process = halted(tmp_path, first, at, "serve")

    assert told(process, signal.SIGTERM) == (0, "")


def test_a_command_told_to_end_puts_away_what_it_began(tmp_path: Path, first: list[str]) -> None:
    assert told(halted(tmp_path, [], ("none", ""), "serve"), signal.SIGTERM) == (0, "")

    process = halted(
        tmp_path, first, ("sqlite3.connect", ".partial"), "backup", str(tmp_path / "b")
    )
    assert (tmp_path / ".b.partial").exists()

    assert told(process, signal.SIGTERM) == (ENDED, "")
    assert not (tmp_path / ".b.partial").exists()


def test_a_command_that_is_interrupted_says_so_in_one_line(
    tmp_path: Path, first: list[str]
) -> None:
    process = halted(tmp_path, first, ("sqlite3.connect", "campfire.db"), "secrets")

    assert told(process, signal.SIGINT) == (1, "campfire: interrupted\n")

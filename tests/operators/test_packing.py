"""For whom the executable is packed: each Python on each machine, tried with all there are."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.executable import (
    ELSEWHERE,
    PYTHONS,
    PYZ,
    ROOT,
    Command,
    address_of,
    assert_refused,
    interpreter,
    is_ci,
    missing,
    ran,
    run,
)

Packed = Callable[..., Path]
RELEASED = ["Linux-x86_64-glibc", "Linux-aarch64-glibc"]
FOREIGN = ["3.11:Linux-x86_64-musl", "3.13:Linux-aarch64-musl", "3.15:macOS-arm64"]
# The packages that are compiled, and what one of their modules is called.
COMPILED = {
    "_cffi_backend": "_cffi_backend", "aiohttp/_http_parser": "aiohttp._http_parser",
    "bcrypt/_bcrypt": "bcrypt._bcrypt", "multidict/_multidict": "multidict._multidict",
    "cryptography/hazmat/bindings/_rust": "cryptography.hazmat.bindings._rust",
    "nh3/nh3": "nh3.nh3", "propcache/_helpers_c": "propcache._helpers_c",
    "yarl/_quoting_c": "yarl._quoting_c",
}  # fmt: skip
# How a compiled module of this machine begins: ELF with its processor, or Mach-O.
BEGINS = {
    "x86_64": rb"\x7fELF\x02\x01.{12}\x3e\x00", "aarch64": rb"\x7fELF\x02\x01.{12}\xb7\x00",
    "arm64": rb"\xcf\xfa\xed\xfe\x0c|\xca\xfe\xba\xbe",
}  # fmt: skip
# Starts the executable, then looks whether what is compiled can be loaded.
LOADED = """
import importlib, runpy, sys
sys.argv = [sys.argv[1], "--version"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as ended:
    assert not ended.code, ended
for name in {names}:
    importlib.import_module(name)
"""


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """Packs for these targets, once."""
    made: dict[tuple[str, ...], Path] = {}

    def pack(*targets: str, **settings: str) -> Path:
        if targets not in made:
            result = tmp_path_factory.mktemp("packed") / "campfire.pyz"
            environment = {**os.environ, "PYTHON": sys.executable, **settings, "PYZ": str(result)}
            subprocess.run([ROOT / "build_zipapp.sh", *targets], env=environment, check=True)
            made[targets] = result
        return made[targets]

    return pack


def holds(file: Path) -> dict[str, list[str]]:
    """The targets, each with the groups of files it shares with others."""
    with zipfile.ZipFile(file) as archive:
        line = re.search(r"^HOLDS = (.*)$", archive.read("__main__.py").decode(), re.MULTILINE)
    assert line is not None
    found: dict[str, list[str]] = json.loads(line[1])
    return found


def modules(file: Path, target: str) -> dict[str, bytes]:
    """What is unpacked for this target of the compiled modules: name and first bytes."""
    places = ["site-packages/", *(f"site-packages/.only/{n}/" for n in holds(file)[target])]
    with zipfile.ZipFile(file) as archive:
        return {
            name.removeprefix(place): archive.read(name)[:32]
            for name in archive.namelist()
            for place in places
            if name.endswith(".so")
            and name.startswith(place)
            and (place != "site-packages/" or ".only/" not in name)
        }


def assert_complete(file: Path, target: str) -> None:
    """Every compiled package is there for this target, and nothing for any other."""
    python, machine = target.split(":")
    found = modules(file, target)
    tags = rf"(\.cpython-{python.replace('.', '')}-[-\w]+|\.abi3t?)\.so"
    for name in COMPILED:
        assert [each for each in found if re.fullmatch(name + tags, each)], (target, name)
    for name, begin in found.items():
        assert re.search(tags, name), (target, name)
        assert re.match(BEGINS[machine.split("-")[1]], begin, re.DOTALL), (target, name)


def try_out(command: Command | None, file: Path, cache: Path, untried: str) -> bool:
    """Whether this Python runs the file with all that is compiled; in CI there has to be one."""
    if command is None:
        assert not is_ci(), untried
        sys.stderr.write(f"\nNot tried: {untried}\n")
        return False
    program = LOADED.format(names=list(COMPILED.values()))
    outcome = run(*command, "-c", program, file, cache=cache)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith("campfire ")
    return True


# --- One for all ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", PYTHONS)
def test_the_release_serves_with_every_python_that_can_be_had(
    packed: Packed, tmp_path: Path, version: str
) -> None:
    file, command = packed("release"), interpreter(version)
    if not try_out(command, file, tmp_path / "cache", missing(version)):
        return
    settings = {"CAMPFIRE_DB": tmp_path / "campfire.db", "SHIV_ROOT": tmp_path / "cache"}
    serving = subprocess.Popen(
        [*(command or ()), "-I", file, "serve", "--host", "127.0.0.1", "--port", "0"],
        env={"PATH": os.environ["PATH"], **{name: str(each) for name, each in settings.items()}},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with closing(http.client.HTTPConnection(*address_of(serving), timeout=30)) as asking:
        asking.request("GET", "/up")
        assert asking.getresponse().status == 200
    serving.send_signal(signal.SIGTERM)
    serving.communicate(timeout=30)
    assert serving.returncode == 0


def test_the_release_runs_on_aarch64_under_an_emulator(packed: Packed, tmp_path: Path) -> None:
    file, cache = packed("release"), tmp_path / "cache"
    # An emulator would be a minute about it: this machine's own unpacks what is for the other one.
    aarch64 = "os.uname = lambda: type('', (), {'machine': 'aarch64'})"
    unpacking = ELSEWHERE.format(pretence=aarch64)
    run(*(interpreter("3.14") or [sys.executable]), "-c", unpacking, file, cache=cache)

    command = interpreter("3.14", "arm64")

    try_out(command, file, cache, missing("3.14", "arm64"))


def test_the_release_holds_each_compiled_module_for_each_python_and_machine(packed: Packed) -> None:
    file = packed("release")

    assert sorted(holds(file)) == sorted(f"{n}:{each}" for each in RELEASED for n in PYTHONS)
    for target in holds(file):
        assert_complete(file, target)


def test_what_targets_share_is_in_the_release_once(packed: Packed) -> None:
    with zipfile.ZipFile(packed("release")) as archive:
        files = [info for info in archive.infolist() if info.file_size > 100_000]
        contents = {(info.CRC, info.file_size) for info in files}

    assert len(contents) == len(files)


# --- One for one ---------------------------------------------------------------------------------


def test_the_executable_is_for_the_python_and_machine_that_packed_it() -> None:
    (target,) = holds(PYZ)

    assert target == f"3.{sys.version_info[1]}:Linux-{os.uname().machine}-glibc"
    assert_complete(PYZ, target)
    with zipfile.ZipFile(PYZ) as archive:
        assert [name for name in archive.namelist() if "/.only/" in name] == []


def test_another_python_packs_for_itself(packed: Packed, tmp_path: Path) -> None:
    (command,) = interpreter("3.13") or ["python3.13"]

    file = packed(PYTHON=str(command))

    assert list(holds(file)) == [f"3.13:Linux-{os.uname().machine}-glibc"]
    assert try_out([command], file, tmp_path, missing("3.13"))


def test_there_are_locked_wheels_for_other_c_libraries_and_for_macs(packed: Packed) -> None:
    file = packed(*FOREIGN)

    for target in FOREIGN:
        assert_complete(file, target)
    assert_refused(run(sys.executable, file, cache=Path("/")), "pack one here with ./build_zipapp")


def test_a_python_without_wheels_is_refused_with_a_sentence() -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "PYZ": "/dev/null"}

    outcome = ran([ROOT / "build_zipapp.sh", "3.99:Linux-x86_64-glibc"], env=environment)

    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1] == (
        "build_zipapp.sh: there are no wheels for Python 3.99 on Linux-x86_64-glibc"
        " in requirements.lock."
    )


def test_another_python_of_this_machine_is_told_which_one_to_start_it_with(tmp_path: Path) -> None:
    others = [n for n in PYTHONS if n != f"3.{sys.version_info[1]}"]
    command = next(found for n in others if (found := interpreter(n)))

    outcome = run(*command, PYZ, cache=tmp_path)

    python = f"python3.{sys.version_info[1]}"
    assert_refused(outcome, f"start it with {python} or pack one here with ./build_zipapp.sh")

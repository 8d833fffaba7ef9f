"""The executable: how it starts, what it unpacks, how it serves, and the Pythons to try it with.

Those are this machine's, and newer ones out of Debian's archives: unpacked, not installed, and run
by their own loader with their own glibc; one for another processor runs under qemu.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
UNPACKED = ROOT / ".build" / "pythons"
PYTHONS = re.findall(r"3\.\d+", re.findall(r"^readonly PYTHONS=\((.*)\)$",
                     (ROOT / "build_zipapp.sh").read_text(), re.MULTILINE)[0])  # fmt: skip
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
LOADERS = {
    "amd64": ["usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"],
    "arm64": ["usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1", "usr/lib/aarch64-linux-gnu"],
}
Command = Sequence[str | Path]
Done = subprocess.CompletedProcess[str]
EMULATORS: dict[str, Command] = {"amd64": [], "arm64": ["qemu-aarch64"]}

PYZ = ROOT / "campfire.pyz"
TAG = f"cpython-{sys.version_info[0]}{sys.version_info[1]}-Linux-{os.uname().machine}-glibc"
LARGEST = 24 * 1024 * 1024  # of which Pillow with its libraries is a third
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


def ran(command: Command, *, check: bool = False, **options: Any) -> Done:  # noqa: ANN401 - subprocess's own
    """A command that has ended, and what it said."""
    return subprocess.run(command, check=check, capture_output=True, text=True, **options)


def address_of(process: subprocess.Popen[str]) -> tuple[str, int]:
    """Where a server listens, as soon as it says so."""
    line = ""
    while not line.startswith("Listening on "):
        line = process.stdout.readline() if process.stdout else ""
        assert line, "the server did not start"
    return "127.0.0.1", int(line.rpartition(":")[2])


def run(*command: str | Path, cache: Path, **environment: str) -> Done:
    """What `--version` says when it unpacks into `cache`."""
    return ran(
        [*(command or (sys.executable, PYZ)), "--version"],
        env={**os.environ, "SHIV_ROOT": str(cache), **environment},
    )


def assert_refused(outcome: Done, reason: str) -> None:
    assert outcome.returncode == CANNOT_START
    assert outcome.stdout == ""
    assert re.fullmatch(rf"campfire\.pyz: [^\n]*{reason}[^\n]*\n", outcome.stderr)


def unpacked(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if not path.name.startswith("."))


def is_whole(folder: Path) -> bool:
    """Whether every file of the executable, which is for one Python, lies in the folder."""
    with zipfile.ZipFile(PYZ) as archive:
        wanted = [i for i in archive.infolist() if i.filename.startswith("site-packages/")]
        return all((folder / info.filename).stat().st_size == info.file_size for info in wanted)


class Campfire:
    """`campfire.pyz serve`, as an operator runs it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.settings = folder, settings
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, PYZ, "serve", "--host", "127.0.0.1", "--port", str(self.port)],
            env={
                **os.environ,
                "CAMPFIRE_DB": str(self.folder / "campfire.db"),
                "BCRYPT_COST": "4",
                "ALLOW_PRIVATE_PUSH_ENDPOINTS": "1",
                **self.settings,
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        listening = threading.Event()
        threading.Thread(target=self._read_log, args=(self.process, listening)).start()
        assert listening.wait(30), "the server did not start"
        assert self.process.poll() is None

    def _read_log(self, process: subprocess.Popen[str], listening: threading.Event) -> None:
        """Reads what the server prints to its end: a full pipe would stop it."""
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Listening on "):
                listening.set()
        process.stdout.close()
        listening.set()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


def answers(command: Command, version: str) -> bool:
    """Whether this starts a CPython of this version."""
    asked = [*command, "-c", "import sys; print(sys.implementation.name, sys.version)"]
    try:
        found = ran(asked, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False
    return found.stdout.startswith(f"cpython {version}.")


@cache
def interpreter(version: str, architecture: str = "amd64") -> Command | None:
    """How to start this Python; None if it cannot be had."""
    if architecture == "amd64":
        own = [*Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python")]
        for path in (sys.executable, f"python{version}", *map(str, own)):
            if answers([path], version):
                return [path]
    unpacked = UNPACKED / f"{version}-{architecture}"
    loader, libraries = LOADERS[architecture]
    command = [
        *EMULATORS[architecture], unpacked / loader, "--library-path", unpacked / libraries,
        unpacked / "usr" / "bin" / f"python{version}",
    ]  # fmt: skip
    if not answers(command, version):
        fetch(version, architecture, unpacked)
    return command if answers(command, version) else None


@cache
def archive() -> str:
    """Where this machine has its Debian from; newer Pythons than it has are in sid."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian"]
    listed = ran(asked, check=True).stdout.split()
    return listed[0] if listed else "none:"


def apt(architecture: str, *arguments: str) -> None:
    """Debian's own client, with lists, cache and nothing installed in a folder of ours."""
    home = UNPACKED / f"apt-{architecture}"
    for folder in ("lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "sources.list").write_text(f"deb [signed-by={KEYS}] {archive()} sid main\n")
    options = {
        "APT::Architecture": architecture, "APT::Architectures": architecture,
        "Dir::Etc::SourceList": home / "sources.list", "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State": home, "Dir::State::Lists": home / "lists",
        "Dir::State::Status": "/dev/null", "Dir::Cache": home / "cache",
        "APT::Sandbox::User": "root", "Debug::NoLocking": "true",
    }  # fmt: skip
    given = [f"-o{name}={option}" for name, option in options.items()]
    subprocess.run(["apt-get", "-qq", *given, *arguments], check=True, capture_output=True)


def fetch(version: str, architecture: str, folder: Path) -> None:
    """Unpacks this Python and what it needs, if Debian has it."""
    if not shutil.which("apt-get"):
        return
    packages = [f"python{version}-minimal", f"libpython{version}-stdlib"]
    home = UNPACKED / f"apt-{architecture}"
    try:
        if not (home / "cache" / "pkgcache.bin").exists():
            apt(architecture, "update")
        apt(architecture, "install", "--download-only", "--no-install-recommends", "-y", *packages)
    except (OSError, subprocess.CalledProcessError):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for package in (home / "cache" / "archives").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)


def missing(version: str, architecture: str = "amd64") -> str:
    """Why a Python is not tried; in CI the archives and the emulator have to be there."""
    return (
        f"Python {version} for {architecture} cannot be had here"
        " (it needs Debian's archives by apt-get; for arm64 also: apt-get install qemu-user)"
    )


def is_ci() -> bool:
    return os.environ.get("CI") == "true"

"""Resolves pyproject.toml into the hash-pinned lock files: `./build_zipapp.sh lock` runs this.

Versions are decided once, for the Python at hand; their files are looked up for every target.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping

# The folder in which a file for each machine lists pip's names for it; what has no wheel at all.
WORK, FROM_SOURCE, EVERYWHERE = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
# The tests run where their tools have wheels.
TESTED = [f"3.{minor}:Linux-x86_64-glibc" for minor in (11, 12, 13)]
Pinned = Mapping[str, set[str]]


def resolved(*wishes: str) -> Iterator[tuple[str, str, str]]:
    """What pip would install: (name, version, SHA-256) of each file."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
        options = ["--dry-run", "--ignore-installed", "--report", str(report), "--target", folder]
        subprocess.run([*command, *options, *wishes], check=True)
        for item in json.loads(report.read_text())["install"]:
            name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
            hashes = item["download_info"]["archive_info"]["hashes"]
            yield name, item["metadata"]["version"], hashes["sha256"]


def pinned(wishes: Iterable[str], targets: Iterable[str]) -> Pinned:
    pins = [f"{name}=={version}" for name, version, _ in resolved(*wishes)]
    wheels = ["--only-binary=:all:", f"--no-binary={FROM_SOURCE}"]
    hashes = collections.defaultdict(set)
    for target in targets:
        version, machine = target.split(":")
        platforms = [f"--platform={name}" for name in (WORK / machine).read_text().split()]
        places = ["--implementation=cp", f"--python-version={version}", *platforms]
        for name, release, digest in resolved("--no-deps", *wheels, *places, *pins):
            hashes[f"{name}=={release}"].add(digest)
    return hashes


def write(name: str, hashes: Pinned, *first: str) -> None:
    lines = ["# Written by ./build_zipapp.sh lock from pyproject.toml. Do not edit.", *first]
    for pin, digests in sorted(hashes.items()):
        if not pin.startswith("pip=="):
            hashes_of_pin = (f"--hash=sha256:{digest}" for digest in sorted(digests))
            lines.append(" \\\n    ".join([pin, *hashes_of_pin]))
    pathlib.Path(name).write_text("\n".join(lines) + "\n")


project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())
groups = project["dependency-groups"]
runtime = pinned(project["project"]["dependencies"], EVERYWHERE)
build = pinned(groups["build"], TESTED)
dev = pinned([*groups["dev"], *runtime, *build], TESTED)
write("requirements.lock", runtime)
write("requirements-build.lock", build)
others = {pin: found for pin, found in dev.items() if pin not in runtime and pin not in build}
write("requirements-dev.lock", others, "-r requirements.lock", "-r requirements-build.lock")

"""What build_zipapp.sh does in Python: the client's dist, and the lock files.

    build.py client          replaces the committed dist
    build.py client --check  builds it elsewhere, and fails when the committed one differs
    build.py lock ...        resolves pyproject.toml into the hash-pinned lock files

Dist is compared after decompression: the same bundle gives other bytes under another zlib or Node.
Versions are decided once, for the Python at hand; their files are looked up for every target.
"""

import collections
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# === dist ========================================================================================

CLIENT = Path(__file__).resolve().parents[1] / "static_bundle"
NODE = 20
TEXT = {".css", ".html", ".js", ".json", ".svg", ".txt", ".webmanifest"}
WORTH_IT = 1024  # bytes
MADE = {"dist", "dist-plain", "node_modules"}


def node_version() -> int:
    found = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return int(found.stdout.lstrip("v").split(".")[0])


def bundle(dist: Path) -> None:
    """The finished build in this folder; what npm says is for people."""
    for command in (
        "npm ci --ignore-scripts --no-audit --no-fund",
        f"npm run build -- --outDir {dist} --emptyOutDir",
    ):
        subprocess.run(command.split(), cwd=CLIENT, stdout=sys.stderr, check=True)
    finish(dist)


def finish(dist: Path) -> None:
    """Texts gzipped, and a manifest that says from which sources."""
    built = {}
    for path in sorted(path for path in dist.rglob("*") if path.is_file()):
        data, name = path.read_bytes(), path.relative_to(dist).as_posix()
        built[name] = hashlib.sha256(data).hexdigest()
        if path.suffix in TEXT:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, 9, mtime=0))
            if len(data) > WORTH_IT:
                path.with_name(path.name + ".br").write_bytes(brotli(data))
            path.unlink()
    manifest = {"source": source_digest(CLIENT), "files": built}
    (dist / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def brotli(data: bytes) -> bytes:
    """The same for browsers that take Brotli, which Python's own library does not know."""
    script = "process.stdout.write(zlib.brotliCompressSync(fs.readFileSync(0)))"
    return subprocess.run(
        ["node", "-e", script], input=data, capture_output=True, check=True
    ).stdout


def source_digest(root: Path) -> str:
    """SHA-256 over every file that decides the build: the sources, the lock file, the settings."""
    files = (path for path in root.rglob("*") if path.is_file())
    names = sorted(path.relative_to(root).as_posix() for path in files)
    lines = (
        f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n"
        for name in names
        if name.split("/")[0] not in MADE
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    """What each file holds, decompressed."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): plain(path) for path in files}


def plain(path: Path) -> bytes:
    if path.suffix == ".br":  # says what its neighbour says; a test looks
        return b""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def client(*options: str) -> None:
    if not shutil.which("npm") or node_version() < NODE:
        sys.exit(f"build_zipapp.sh client: needs Node {NODE} or newer with npm.")
    with tempfile.TemporaryDirectory() as folder:
        dist = Path(folder, "dist")
        bundle(dist)
        if options == ("--check",):
            fresh, known = contents(dist), contents(CLIENT / "dist")
            names = {name for name in {*fresh, *known} if fresh.get(name) != known.get(name)}
            if names:
                sys.exit(f"dist is not what src builds: {', '.join(sorted(names))}")
        else:
            shutil.rmtree(CLIENT / "dist", ignore_errors=True)
            shutil.copytree(dist, CLIENT / "dist")


# === The lock files ==============================================================================

# The tests run where their tools have wheels.
TESTED = [f"3.{minor}:Linux-x86_64-glibc" for minor in (11, 12, 13)]
Pinned = Mapping[str, set[str]]


def resolved(*wishes: str) -> Iterator[tuple[str, str, str]]:
    """What pip would install: (name, version, SHA-256) of each file."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
        options = ["--dry-run", "--ignore-installed", "--report", str(report), "--target", folder]
        subprocess.run([*command, *options, *wishes], check=True)
        for item in json.loads(report.read_text())["install"]:
            name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
            hashes = item["download_info"]["archive_info"]["hashes"]
            yield name, item["metadata"]["version"], hashes["sha256"]


def pinned(wishes: Iterable[str], work: Path, from_source: str, targets: Iterable[str]) -> Pinned:
    pins = [f"{name}=={version}" for name, version, _ in resolved(*wishes)]
    wheels = ["--only-binary=:all:", f"--no-binary={from_source}"]
    hashes = collections.defaultdict(set)
    for target in targets:
        version, machine = target.split(":")
        platforms = [f"--platform={name}" for name in (work / machine).read_text().split()]
        places = ["--implementation=cp", f"--python-version={version}", *platforms]
        for name, release, digest in resolved("--no-deps", *wheels, *places, *pins):
            hashes[f"{name}=={release}"].add(digest)
    return hashes


def write(name: str, hashes: Pinned, *first: str) -> None:
    lines = ["# Written by ./build_zipapp.sh lock from pyproject.toml. Do not edit.", *first]
    for pin, digests in sorted(hashes.items()):
        hashes_of_pin = (f"--hash=sha256:{digest}" for digest in sorted(digests))
        lines.append(" \\\n    ".join([pin, *hashes_of_pin]))
    Path(name).write_text("\n".join(lines) + "\n")


def lock(work: str, from_source: str, *everywhere: str) -> None:
    """`work` holds a file for each machine with pip's names for it; `from_source` has no wheel."""
    project = tomllib.loads(Path("pyproject.toml").read_text())
    groups = project["dependency-groups"]
    names = Path(work), from_source
    runtime = pinned(project["project"]["dependencies"], *names, everywhere)
    build = pinned(groups["build"], *names, TESTED)
    dev = pinned([*groups["dev"], *runtime, *build], *names, TESTED)
    write("requirements.lock", runtime)
    write("requirements-build.lock", build)
    others = {pin: found for pin, found in dev.items() if pin not in runtime and pin not in build}
    write("requirements-dev.lock", others, "-r requirements.lock", "-r requirements-build.lock")


{"client": client, "lock": lock}[sys.argv[1]](*sys.argv[2:])

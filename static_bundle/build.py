"""Builds dist from src; `./build_zipapp.sh client` runs this.

    build.py          replaces the committed build
    build.py --check  builds elsewhere, and fails when the committed build differs

Compared after decompression: the same bundle gives other bytes under another zlib or Node.
"""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
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
        subprocess.run(command.split(), cwd=HERE, stdout=sys.stderr, check=True)
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
    manifest = {"source": source_digest(HERE), "files": built}
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


def main() -> None:
    if not shutil.which("npm") or node_version() < NODE:
        sys.exit(f"build_zipapp.sh client: needs Node {NODE} or newer with npm.")
    with tempfile.TemporaryDirectory() as folder:
        dist = Path(folder, "dist")
        bundle(dist)
        if sys.argv[1:] == ["--check"]:
            fresh, known = contents(dist), contents(HERE / "dist")
            names = {name for name in {*fresh, *known} if fresh.get(name) != known.get(name)}
            if names:
                sys.exit(f"dist is not what src builds: {', '.join(sorted(names))}")
        else:
            shutil.rmtree(HERE / "dist", ignore_errors=True)
            shutil.copytree(dist, HERE / "dist")


main()

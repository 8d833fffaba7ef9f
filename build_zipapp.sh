#!/usr/bin/env bash
# Builds Campfire.
#
#   ./build_zipapp.sh                 packs campfire.pyz; needs Python 3.11 or newer with pip
#   ./build_zipapp.sh client          builds static_bundle/dist from its src; needs Node 20, npm
#   ./build_zipapp.sh client --check  builds it elsewhere; fails when the committed one differs
#   ./build_zipapp.sh lock            resolves pyproject.toml into the hash-pinned lock files
#
# Everything it makes on the way lies in .build/, which may be deleted at any time.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")"

# One file serves these Pythons: the compiled modules of each carry its version in their names
# (x.cpython-312-x86_64-linux-gnu.so), so those of all three can lie side by side.
readonly PYTHONS=(3.11 3.12 3.13)

# glibc 2.28 is the oldest that all the wheels run on. pip takes these names literally, so every
# older one that a wheel may carry is spelled out.
readonly PLATFORMS=(
  manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_24_x86_64 manylinux_2_17_x86_64
  manylinux2014_x86_64 manylinux_2_12_x86_64 manylinux2010_x86_64 manylinux_2_5_x86_64
  manylinux1_x86_64
)

# http-ece is published as source only; it is pure Python and builds to the same everywhere.
readonly FROM_SOURCE=http-ece

readonly PYTHON=${PYTHON:-python3}

# What is half made lies here, and is gone in the end, however it ends.
readonly WORK=.build/work.$$
trap 'rm -rf "$WORK"' EXIT

main() {
  mkdir -p "$WORK"
  case "$*" in
    "") pack ;;
    client) build_client ;;
    "client --check") check_client ;;
    lock) lock ;;
    *)
      sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
}

say() { printf '%s\n' "$*" >&2; }

die() {
  say "build_zipapp.sh: $*"
  exit 1
}

# === campfire.pyz ================================================================================

pack() {
  need_python
  [ -f static_bundle/dist/manifest.json ] \
    || die "static_bundle/dist is missing; ./build_zipapp.sh client builds it."
  local packages tools
  tools=$PWD/$(fetch_tools)
  packages=$(fetch_packages "$tools")
  SOURCE_DATE_EPOCH=$(last_change)
  export SOURCE_DATE_EPOCH

  local work=$WORK/pack
  mkdir -p "$work/site"
  cp -R "$packages/." "$work/site/"
  cp campfire.py LICENSE THIRD_PARTY "$work/site/"
  mkdir "$work/site/static_bundle"
  cp -R static_bundle/dist "$work/site/static_bundle/dist"
  mkdir "$work/site/sounds"
  cp sounds/*.mp3 "$work/site/sounds/"

  PYTHONPATH=$tools "$PYTHON" -m shiv --reproducible --uncompressed --entry-point campfire:main \
    --site-packages "$work/site" --output-file "$work/shiv.pyz"
  entry_module >"$work/__main__.py"
  finish "$work/shiv.pyz" "$work/__main__.py" "$work/campfire.pyz"
  mv -f "$work/campfire.pyz" campfire.pyz
  say "campfire.pyz: $(wc -c <campfire.pyz) bytes, sha256 $(sha256sum campfire.pyz | cut -d' ' -f1)"
}

need_python() {
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    || die "needs Python 3.11 or newer as $PYTHON; to name another: PYTHON=python3.12 $0"
  "$PYTHON" -m pip --version >/dev/null 2>&1 \
    || die "needs pip for $PYTHON; on Debian: apt-get install python3-pip"
}

# pip, heard only when it fails.
pip_install() {
  "$PYTHON" -m pip --disable-pip-version-check -qq --no-input install \
    --require-hashes --no-deps --only-binary=:all: "$@" >&2
}

# The newest commit dates every file inside; outside of git, one fixed day does.
last_change() { git log -1 --format=%ct 2>/dev/null || echo 1767225600; }

# A folder for what the given files and this script decide, named after their digest.
folder_for() {
  local name=$1
  shift
  printf '.build/%s-%s' "$name" "$(cat "$@" build_zipapp.sh | sha256sum | cut -c1-16)"
}

fetch_tools() {
  local folder
  folder=$(folder_for tools requirements-build.lock)
  if [ ! -d "$folder" ]; then
    say "Fetching shiv"
    pip_install --target "$WORK/tools" -r requirements-build.lock
    mv -T "$WORK/tools" "$folder"
  fi
  printf '%s' "$folder"
}

# The packages for the first Python, and over them the compiled modules for the others.
fetch_packages() {
  local tools=$1 folder version
  folder=$(folder_for packages requirements.lock requirements-build.lock)
  if [ ! -d "$folder" ]; then
    for version in "${PYTHONS[@]}"; do
      say "Fetching the packages for Python $version"
      PYTHONPATH=$tools pip_install --no-compile --no-binary="$FROM_SOURCE" --use-pep517 \
        --no-build-isolation --implementation cp --python-version "$version" \
        "${PLATFORMS[@]/#/--platform=}" --target "$WORK/$version" -r requirements.lock
    done
    for version in "${PYTHONS[@]:1}"; do
      (cd "$WORK/$version" && find . -name '*.so' -exec cp --parents {} "../${PYTHONS[0]}/" \;)
    done
    slim "$WORK/${PYTHONS[0]}"
    mv -T "$WORK/${PYTHONS[0]}" "$folder"
  fi
  printf '%s' "$folder"
}

# Leaves out what a running server never opens. Licences stay.
slim() {
  find "$1" -depth -type d \( -name __pycache__ -o -name tests -o -name test -o -path "$1/bin" \) \
    -exec rm -rf {} +
  find "$1" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' \
    -o -name '*.h' -o -name '*.hash' -o -name '*.pth' -o -name py.typed -o -name '_testcapi.*' \
    \) -delete
  find "$1" -path '*.dist-info/*' -type f \( -name RECORD -o -name INSTALLER -o -name REQUESTED \
    -o -name WHEEL -o -name direct_url.json -o -name top_level.txt -o -name entry_points.txt \
    -o -path '*/sboms/*' \) -delete
  find "$1" -type d -empty -delete
}

# Puts our entry module in place of shiv's, and makes order, times and modes the same everywhere.
finish() {
  "$PYTHON" - "$@" <<'PYTHON'
import json
import pathlib
import sys
import zipfile

packed, entry, result = map(pathlib.Path, sys.argv[1:])
with zipfile.ZipFile(packed) as archive:
    build = json.loads(archive.read("environment.json"))["build_id"]
    stamp = archive.getinfo("environment.json").date_time
    contents = {name: archive.read(name) for name in archive.namelist()}
contents["__main__.py"] = entry.read_bytes().replace(b"@BUILD@", build.encode())
with result.open("wb") as file:
    file.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in sorted(contents.items()):
            info = zipfile.ZipInfo(name, stamp)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            # Deflating what is compressed already only costs the first start time.
            is_small = name.endswith((".mp3", ".gz"))
            method = zipfile.ZIP_STORED if is_small else zipfile.ZIP_DEFLATED
            archive.writestr(info, content, method, 6)
result.chmod(0o755)
PYTHON
}

# The first thing Python runs inside campfire.pyz. shiv packs and unpacks; this decides whether it
# can, says in one line why not, and keeps the warm start short by importing shiv only to unpack.
# It must compile under any Python 3, or an old one could not be told that it is too old.
entry_module() {
  cat <<'PYTHON'
import os
import sys

BUILD = "@BUILD@"
PYTHON = "cpython-%d%d" % sys.version_info[:2]
NEEDED_TO_UNPACK = 60 * 1024 * 1024
ADVICE = "set SHIV_ROOT to a folder of this user."


def refuse(reason):
    sys.stderr.write("campfire.pyz: " + reason + "\n")
    raise SystemExit(78)


def check_machine():
    here = "%d.%d" % sys.version_info[:2]
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        refuse("needs Python 3.11, 3.12 or 3.13; this is Python " + here + ".")
    if sys.implementation.name != "cpython" or "t" in sys.abiflags:
        refuse("needs the ordinary CPython; this is " + sys.version.replace("\n", " ") + ".")
    if sys.platform != "linux" or os.uname().machine != "x86_64" or sys.maxsize < 2**32:
        refuse("runs on x86-64 Linux; this is %s on %s." % (sys.platform, os.uname().machine))
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    except (AttributeError, OSError, ValueError):
        refuse("needs glibc 2.28 or newer, which this system does not use.")
    if tuple(map(int, version.split("."))) < (2, 28):
        refuse("needs glibc 2.28 or newer; this is " + version + ".")


def cache_root():
    chosen = os.environ.get("SHIV_ROOT")
    if not chosen and os.path.isabs(os.environ.get("XDG_CACHE_HOME", "")):
        chosen = os.path.join(os.environ["XDG_CACHE_HOME"], "campfire")
    root = os.path.expanduser(chosen or "~/.shiv")
    if root.startswith("~"):
        refuse("there is no home directory to unpack into; " + ADVICE)
    return os.path.abspath(root)


def check_root(root):
    """The cache holds code that will be run: only this user may be able to put something there."""
    try:
        os.makedirs(root, 0o700, exist_ok=True)
        owner, mode = os.stat(root).st_uid, os.stat(root).st_mode
        noexec = os.statvfs(root).f_flag & os.ST_NOEXEC
    except OSError as error:
        refuse("cannot unpack into %s (%s); %s" % (root, error.strerror, ADVICE))
    if owner != os.geteuid() or mode & 0o002:
        refuse("others may put programs into %s; %s" % (root, ADVICE))
    if noexec:
        refuse("%s is mounted noexec; set SHIV_ROOT to where programs may run from." % root)


def unpack(archive, folder):
    root = os.path.dirname(folder)
    space = os.statvfs(root)
    if not os.access(root, os.W_OK):
        refuse("cannot write to %s; %s" % (root, ADVICE))
    if space.f_bavail * space.f_frsize < NEEDED_TO_UNPACK:
        refuse("needs 60 MB of free space in %s to unpack." % root)
    import pathlib
    import shutil
    import zipfile
    import zlib

    from _bootstrap import extract_site_packages
    from _bootstrap.filelock import FileLock

    class Ours(zipfile.ZipFile):
        def infolist(self):  # modules compiled for other Pythons would only double it
            names = ((info, info.filename) for info in super().infolist())
            return [info for info, name in names if ".cpython-" not in name or PYTHON in name]

    try:
        with Ours(archive) as contents:
            extract_site_packages(contents, pathlib.Path(folder))
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        try:
            with FileLock(os.path.join(root, "." + os.path.basename(folder) + "_lock")):
                shutil.rmtree(folder + ".tmp", ignore_errors=True)
        except OSError:  # so full that the lock has no room; then nothing was unpacked
            pass
        refuse("cannot unpack into %s (%s)." % (root, getattr(error, "strerror", None) or error))


def hold(archive, folder):
    """Unpack unless somebody has, and keep a shared lock on the folder while this process lives."""
    import fcntl

    while True:
        if not os.path.isdir(folder):
            unpack(archive, folder)
        try:
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_SH)
        except OSError:  # no locks on this file system: then nobody can remove it either
            return
        if os.path.isdir(folder) and os.path.samestat(os.fstat(held), os.stat(folder)):
            return
        os.close(held)


def forget_other_builds(folder):
    """Remove what other builds unpacked and no process holds; each upgrade would leave 30 MB."""
    import fcntl

    root, ours = os.path.split(folder)
    stem = ours[: ours.rindex(BUILD)]
    for name in os.listdir(root):
        another_build = len(name) == len(ours) and name.endswith(PYTHON) and name.startswith(stem)
        if name == ours or not another_build:
            continue
        other = os.path.join(root, name)
        try:
            held = os.open(other, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            import shutil

            shutil.rmtree(other, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(held)


def start():
    check_machine()
    archive = os.path.realpath(sys.argv[0])
    root = cache_root()
    check_root(root)
    folder = os.path.join(root, "%s_%s_%s" % (os.path.basename(archive), BUILD, PYTHON))
    hold(archive, folder)
    forget_other_builds(folder)
    os.environ["CAMPFIRE_PYZ"] = archive
    sys.path[0] = os.path.join(folder, "site-packages")
    sys.dont_write_bytecode = False  # the cache is ours; without it each start takes a second more
    from campfire import main

    return main()


sys.exit(start())
PYTHON
}

# === The client ==================================================================================

build_client() {
  need_node
  local work=$PWD/$WORK/client
  bundle "$work"
  rm -rf static_bundle/dist
  cp -R "$work/dist" static_bundle/dist
  say "static_bundle/dist: $(du -sk static_bundle/dist | cut -f1) KB"
}

# Compared after decompression: the same bundle gives other gzip bytes under another zlib.
check_client() {
  need_node
  local work=$PWD/$WORK/client
  bundle "$work"
  "$PYTHON" - "$work/dist" static_bundle/dist <<'PYTHON'
import gzip
import pathlib
import sys


def contents(folder):
    files = (path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): plain(path) for path in files}


def plain(path):
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


fresh, committed = contents(sys.argv[1]), contents(sys.argv[2])
different = sorted(name for name in {*fresh, *committed} if fresh.get(name) != committed.get(name))
if different:
    sys.exit(f"static_bundle/dist is not what static_bundle/src builds: {', '.join(different)}")
PYTHON
  say "static_bundle/dist is what static_bundle/src builds."
}

need_node() {
  node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' 2>/dev/null \
    || die "needs Node 20 or newer."
  command -v npm >/dev/null || die "needs npm."
  need_python
}

# Leaves the finished build in FOLDER/dist.
bundle() {
  (
    cd static_bundle
    npm ci --ignore-scripts --no-audit --no-fund
    npm run build -- --outDir "$1/dist" --emptyOutDir
  ) >&2
  "$PYTHON" - "$1/dist" <<'PYTHON'
import gzip
import hashlib
import json
import pathlib
import sys

TEXT = {".css", ".html", ".js", ".json", ".svg", ".txt", ".webmanifest"}


def source_digest(root):
    """SHA-256 over every file that decides the build: the sources, the lock file, the settings."""
    files = (path for path in root.rglob("*") if path.is_file())
    names = sorted(path.relative_to(root).as_posix() for path in files)
    made = {"dist", "dist-plain", "node_modules"}
    lines = (
        f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n"
        for name in names
        if name.split("/")[0] not in made
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


dist = pathlib.Path(sys.argv[1])
built = {}
for path in sorted(path for path in dist.rglob("*") if path.is_file()):
    data, name = path.read_bytes(), path.relative_to(dist).as_posix()
    built[name] = hashlib.sha256(data).hexdigest()
    if path.suffix in TEXT:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, 9, mtime=0))
        path.unlink()
manifest = {"source": source_digest(pathlib.Path("static_bundle")), "files": built}
(dist / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
PYTHON
}

# === The lock files ==============================================================================

# Versions are decided once, for the Python at hand; their files are looked up for all three.
lock() {
  need_python
  "$PYTHON" - "$FROM_SOURCE" "${PYTHONS[*]}" "${PLATFORMS[*]}" <<'PYTHON'
import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

FROM_SOURCE, PYTHONS, PLATFORMS = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()


def resolved(*wishes):
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


def pinned(wishes):
    pins = [f"{name}=={version}" for name, version, _ in resolved(*wishes)]
    wheels = ["--only-binary=:all:", f"--no-binary={FROM_SOURCE}"]
    platforms = [f"--platform={name}" for name in PLATFORMS]
    hashes = collections.defaultdict(set)
    for version in PYTHONS:
        places = ["--implementation=cp", f"--python-version={version}", *platforms]
        for name, release, digest in resolved("--no-deps", *wheels, *places, *pins):
            hashes[f"{name}=={release}"].add(digest)
    return hashes


def write(name, hashes, *first):
    lines = ["# Written by ./build_zipapp.sh lock from pyproject.toml. Do not edit.", *first]
    for pin, digests in sorted(hashes.items()):
        hashes_of_pin = (f"--hash=sha256:{digest}" for digest in sorted(digests))
        lines.append(" \\\n    ".join([pin, *hashes_of_pin]))
    pathlib.Path(name).write_text("\n".join(lines) + "\n")


project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())
groups = project["dependency-groups"]
runtime = pinned(project["project"]["dependencies"])
build = pinned(groups["build"])
build = {pin: found for pin, found in build.items() if not pin.startswith("pip==")}
dev = pinned([*groups["dev"], *runtime, *build])
write("requirements.lock", runtime)
write("requirements-build.lock", build)
others = {pin: found for pin, found in dev.items() if pin not in runtime and pin not in build}
others = {pin: found for pin, found in others.items() if not pin.startswith("pip==")}
write("requirements-dev.lock", others, "-r requirements.lock", "-r requirements-build.lock")
PYTHON
}

main "$@"

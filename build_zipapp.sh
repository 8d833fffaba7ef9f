#!/usr/bin/env bash
# Builds Campfire.
#
#   ./build_zipapp.sh                 packs campfire.pyz for the Python and the machine it runs on
#   ./build_zipapp.sh TARGET...       packs it for others, such as 3.14:Linux-aarch64-musl
#   ./build_zipapp.sh release         packs it for every Python on Linux x86-64 and aarch64, glibc
#   ./build_zipapp.sh client          builds static_bundle/dist from its src; needs Node 20, npm
#   ./build_zipapp.sh client --check  builds it elsewhere; fails when the committed one differs
#   ./build_zipapp.sh lock            resolves pyproject.toml into the hash-pinned lock files
#
# It needs CPython 3.11 or newer with pip; PYTHON names another than python3, PYZ another file than
# campfire.pyz. Everything made on the way lies in .build/, which may be deleted at any time.
set -euo pipefail
shopt -s inherit_errexit 2>/dev/null || true # macOS brings a bash that is too old to know it
cd "$(dirname "${BASH_SOURCE[0]}")"

# The lock file holds the wheels of each of these Pythons for each of these machines. For Intel
# Macs cryptography makes none any more.
readonly PYTHONS=(3.11 3.12 3.13 3.14 3.15)
readonly MACHINES=(
  Linux-x86_64-glibc Linux-aarch64-glibc Linux-x86_64-musl Linux-aarch64-musl macOS-arm64
)
readonly RELEASED=(Linux-x86_64-glibc Linux-aarch64-glibc)

# http-ece is published as source only; it is pure Python and builds to the same everywhere.
readonly FROM_SOURCE=http-ece

readonly PYTHON=${PYTHON:-python3}
readonly PYZ=${PYZ:-campfire.pyz}

# What is half made lies here, and is gone in the end.
readonly WORK=.build/work.$$
trap 'rm -rf "$WORK"' EXIT

main() {
  mkdir -p "$WORK"
  local target
  case "$*" in
    "") target=$(this_target) && pack "$target" ;;
    release) pack $(targets "${RELEASED[@]}") ;;
    3.*) pack "$@" ;;
    client | "client --check")
      need_python
      "$PYTHON" .ci/build.py $*
      ;;
    lock) lock ;;
    *)
      sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
}

say() { printf '%s\n' "$*" >&2; }

die() { say "build_zipapp.sh: $*"; exit 1; }

# === Whom it is for ==============================================================================

targets() {
  local machine python
  for machine in "$@"; do
    for python in "${PYTHONS[@]}"; do printf '%s:%s\n' "$python" "$machine"; done
  done
}

this_target() {
  need_python
  entry_module >"$WORK/entry.py"
  PYTHONPATH=$WORK "$PYTHON" -c 'import entry; print(entry.this_target())'
}

# The names by which pip knows a machine. It takes them literally, so every older one that a wheel
# may carry is spelled out: glibc 2.28 and macOS 11 are the oldest that all the wheels run on.
platforms() {
  local processor kinds kind
  processor=$(cut -d- -f2 <<<"$1")
  case $1 in
    *-glibc)
      kinds="manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014
        manylinux_2_12 manylinux2010 manylinux_2_5 manylinux1"
      ;;
    *-musl) kinds="musllinux_1_2 musllinux_1_1" ;;
    macOS-*)
      kinds="macosx_11_0"
      printf 'macosx_%s_universal2\n' 11_0 10_15 10_14 10_13 10_12 10_9
      ;;
  esac
  for kind in $kinds; do printf '%s_%s\n' "$kind" "$processor"; done
}

# === campfire.pyz ================================================================================

pack() {
  need_python
  [ -f static_bundle/dist/manifest.json ] \
    || die "static_bundle/dist is missing; ./build_zipapp.sh client builds it."
  local folder packages=() target tools
  tools=$PWD/$(fetch_tools)
  for target in "$@"; do
    folder=$(fetch_packages "$tools" "$target")
    packages+=("$target=$folder")
  done
  # The newest commit dates every file inside; outside of git, one fixed day does.
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)
  export SOURCE_DATE_EPOCH

  local work=$WORK/pack
  mkdir -p "$work/site/static_bundle" "$work/site/sounds"
  lay_out "$work/site" "${packages[@]}" >"$work/holds.json"
  cp campfire.py LICENSE THIRD_PARTY "$work/site/"
  cp -R static_bundle/dist "$work/site/static_bundle/dist"
  cp sounds/*.mp3 sounds/sounds.json "$work/site/sounds/"

  PYTHONPATH=$tools "$PYTHON" -m shiv --reproducible --uncompressed --entry-point campfire:main \
    --site-packages "$work/site" --output-file "$work/shiv.pyz"
  entry_module >"$work/__main__.py"
  finish "$work/shiv.pyz" "$work/__main__.py" "$work/holds.json" "$work/campfire.pyz"
  mv -f "$work/campfire.pyz" "$PYZ"
  say "$PYZ: $(wc -c <"$PYZ") bytes, sha256 $(digest "$PYZ"), for $*"
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

# SHA-256; macOS has no sha256sum.
digest() {
  cat "$@" | "$PYTHON" -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

# A folder for what the given files and this script decide, named after their digest.
folder_for() { printf '.build/%s-%.16s' "$1" "$(digest "${@:2}" build_zipapp.sh)"; }

fetch_tools() {
  local folder
  folder=$(folder_for tools requirements-build.lock)
  if [ ! -d "$folder" ]; then
    say "Fetching shiv"
    pip_install --target "$WORK/tools" -r requirements-build.lock
    mv "$WORK/tools" "$folder"
  fi
  printf '%s' "$folder"
}

fetch_packages() {
  local tools=$1 python=${2%%:*} machine=${2#*:} folder options
  folder=$(folder_for "$python-$machine" requirements.lock requirements-build.lock)
  if [ ! -d "$folder" ]; then
    say "Fetching the packages for Python $python on $machine"
    options=$(platforms "$machine" | sed 's/^/--platform=/')
    PYTHONPATH=$tools pip_install --no-compile --no-binary="$FROM_SOURCE" --use-pep517 \
      --no-build-isolation --implementation cp --python-version "$python" $options \
      --target "$WORK/packages" -r requirements.lock \
      || die "there are no wheels for Python $python on $machine in requirements.lock."
    slim "$WORK/packages"
    mv "$WORK/packages" "$folder"
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

# Lays the packages of all targets into one folder, and says as JSON who needs what: what is the
# same for all in its place, everything else below .only, by the group of targets that share it.
lay_out() {
  "$PYTHON" - "$@" <<'PYTHON'
import collections, hashlib, json, pathlib, shutil, sys

site, folders = pathlib.Path(sys.argv[1]), dict(each.split("=", 1) for each in sys.argv[2:])
users, sources = collections.defaultdict(list), {}
for target, folder in folders.items():
    for path in sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file()):
        file = path.relative_to(folder), hashlib.sha256(path.read_bytes()).digest()
        users[file].append(target)
        sources[file] = path
groups = sorted({tuple(targets) for targets in users.values()} - {tuple(folders)})
for file, targets in users.items():
    below = "" if len(targets) == len(folders) else f".only/{groups.index(tuple(targets))}"
    place = site / below / file[0]
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(sources[file], place)
of = {target: [str(n) for n, group in enumerate(groups) if target in group] for target in folders}
print(json.dumps(of))
PYTHON
}

# Puts our entry module in place of shiv's, and makes order, times and modes the same everywhere.
finish() {
  "$PYTHON" - "$@" <<'PYTHON'
import json, pathlib, sys, zipfile

packed, entry, holds, result = map(pathlib.Path, sys.argv[1:])
with zipfile.ZipFile(packed) as archive:
    build = json.loads(archive.read("environment.json"))["build_id"]
    stamp = archive.getinfo("environment.json").date_time
    names = [name for name in archive.namelist() if not name.startswith("_bootstrap/")]
    contents = {name: archive.read(name) for name in names}
main = entry.read_text().replace("@BUILD@", build)
contents["__main__.py"] = main.replace('{"@": "HOLDS"}', holds.read_text().strip()).encode()
with result.open("wb") as file:
    # Python reads the second line only when the end of the file, where a zip has its contents, is
    # not there: then there is no such encoding, and the name of it is all that can be said.
    file.write(b"#!/usr/bin/env python3\n")
    file.write(b"# coding: this-file-is-incomplete--copy-or-download-it-again\n")
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in sorted(contents.items()):
            info = zipfile.ZipInfo(name, stamp)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            # Deflating what is compressed already only costs the first start time.
            is_small = name.endswith((".mp3", ".gz", ".br"))
            method = zipfile.ZIP_STORED if is_small else zipfile.ZIP_DEFLATED
            archive.writestr(info, content, method, 6)
result.chmod(0o755)
PYTHON
}

# The first thing Python runs inside campfire.pyz: says in one line why it cannot run here, or
# unpacks. It must compile under any Python 3, or an old one could not be told that it is too old.
entry_module() {
  cat <<'PYTHON'
import os
import signal
import sys

def end(number, frame):
    """At once, until main takes over: half an unpacked folder has no mark, and is not trusted."""
    try:
        if number == signal.SIGINT:
            os.write(2, b"campfire.pyz: interrupted\n")
    finally:
        os._exit(1 if number == signal.SIGINT else 128 + number)

if __name__ == "__main__":  # before anything else: process 1 does not end without a handler
    signal.signal(signal.SIGTERM, end)
    if callable(signal.getsignal(signal.SIGINT)):  # not what a shell's background ignores
        signal.signal(signal.SIGINT, end)

import contextlib
import io
import re
import shutil
import time

if os.name == "posix":  # all others are refused below
    import fcntl

BUILD = "@BUILD@"
HOLDS = {"@": "HOLDS"}
MARK = "complete"
OURS = "site-packages/campfire.py"
ADVICE = "set SHIV_ROOT to a folder of this user."
CACHE = re.compile(r"\.?(.+)_[0-9a-f]{64}_(cpython-[0-9]+[-\w]*?)(\.tmp|_lock)?")

def refuse(reason):
    sys.stderr.write("campfire.pyz: " + reason + "\n")
    raise SystemExit(78)

def this_machine():
    if sys.platform not in ("linux", "darwin"):
        return sys.platform
    processor = os.uname().machine + ("" if sys.maxsize > 2**32 else "-32-bit")
    if sys.platform == "darwin":
        return "macOS-" + processor
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    except (AttributeError, OSError, ValueError):
        return "Linux-" + processor + "-musl"
    if tuple(map(int, version.split("."))) < (2, 28):
        refuse("needs glibc 2.28 or newer; this is " + version + ".")
    return "Linux-" + processor + "-glibc"

def this_target():
    if sys.implementation.name != "cpython" or "t" in getattr(sys, "abiflags", ""):
        refuse("needs the ordinary CPython; this is " + sys.version.replace("\n", " ") + ".")
    return "%d.%d:%s" % (sys.version_info[0], sys.version_info[1], this_machine())

def check_target(target):
    if target in HOLDS:
        return
    python, machine = target.split(":")
    pythons = sorted(set(each.split(":")[0] for each in HOLDS))
    machines = sorted(set(each.split(":")[1] for each in HOLDS))
    ways = ["start it with python" + pythons[-1]] if machine in machines else []
    if sys.version_info >= (3, 11):
        ways.append("pack one here with ./build_zipapp.sh")
    refuse("packed for CPython %s on %s; this is CPython %s on %s: %s." % (
        ", ".join(pythons), " and ".join(machines), python, machine,
        " or ".join(ways or ["install CPython 3.11 or newer, and pack one with ./build_zipapp.sh"])
    ))

def cache_root():
    chosen = os.environ.get("SHIV_ROOT")
    if not chosen and os.path.isabs(os.environ.get("XDG_CACHE_HOME", "")):
        chosen = os.path.join(os.environ["XDG_CACHE_HOME"], "campfire")
    root = os.path.expanduser(chosen or "~/.shiv")
    if root.startswith("~"):
        refuse("there is no home directory to unpack into; " + ADVICE)
    return os.path.abspath(root)

def check_owned(folder):
    """Here lies code that will be run: only this user may be able to put something there."""
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        found = os.stat(folder)
        noexec = os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0)
    except OSError as error:
        refuse("cannot unpack into %s (%s); %s" % (folder, error.strerror, ADVICE))
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        refuse("others may put programs into %s; chmod go-w it if it is yours, or %s"
               % (folder, ADVICE))
    if noexec:
        refuse("%s is mounted noexec; set SHIV_ROOT to where programs may run from." % folder)

def size_of(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return -1

def unpacked(folder):
    """The size of each file as it was unpacked; nothing unless that came to its end."""
    try:
        with open(os.path.join(folder, MARK), encoding="utf-8") as mark:
            *lines, end = mark.read().split("\n")
            sizes = dict((name, int(size)) for size, name in (each.split(" ", 1) for each in lines))
            return sizes if end == "end" else {}
    except (OSError, ValueError):
        return {}

def is_whole(folder):
    """Whether all that was unpacked is still there: a power cut leaves files empty."""
    sizes = unpacked(folder)
    return bool(sizes) and all(
        size_of(os.path.join(folder, name)) == size for name, size in sizes.items())

def write_file(path, source):
    """Puts it in its place when it is there: a process may be running from the one before."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "wb") as file:
        shutil.copyfileobj(source, file)
    os.replace(path + ".new", path)

def wanted_from(archive, target):
    """What concerns this Python and machine: where it goes, and what it is in the archive."""
    for info in archive.infolist():
        top, _, name = info.filename.partition("/")
        if name.startswith(".only/"):
            _, group, name = name.split("/", 2)
            name = name if group in HOLDS[target] else ""
        if top == "site-packages" and name:
            yield "site-packages/" + name, info

def write_missing(archive, folder, target):
    """Writes what is not there or has not its size; without its mark nothing is trusted."""
    import py_compile

    sizes, wanted = unpacked(folder), dict(wanted_from(archive, target))
    missing = [name for name, info in wanted.items()
               if not sizes or size_of(os.path.join(folder, name)) != info.file_size]
    room = sum(wanted[name].file_size for name in missing) // 2**20 + 16
    if shutil.disk_usage(folder).free < room * 2**20:
        refuse("needs %d MB of free space in %s to unpack." % (room, os.path.dirname(folder)))
    for name in sorted(missing, key=OURS.__ne__):
        with archive.open(wanted[name]) as source:
            write_file(os.path.join(folder, name), source)
        if name == OURS and not os.fork():  # beside the rest; and a server would keep its memory
            try:
                py_compile.compile(os.path.join(folder, name))
            finally:
                os._exit(0)
    os.sync()  # only what has reached the disk is marked
    lines = ["%d %s" % (info.file_size, name) for name, info in wanted.items()]
    write_file(os.path.join(folder, MARK), io.BytesIO("\n".join(lines + ["end"]).encode()))
    os.sync()

def unpack(archive, folder, target):
    root = os.path.dirname(folder)
    if not os.access(root, os.W_OK):
        refuse("cannot write to %s; %s" % (root, ADVICE))
    import zipfile
    import zlib

    try:
        os.makedirs(folder, exist_ok=True)
        with zipfile.ZipFile(archive) as packed:
            write_missing(packed, folder, target)
    except (EOFError, zipfile.BadZipFile, zlib.error) as error:
        refuse("this file is damaged (%s): copy or download it again." % error)
    except OSError as error:
        refuse("cannot unpack into %s (%s)." % (root, error.strerror))
    finally:
        with contextlib.suppress(ChildProcessError):
            os.wait()
        if not unpacked(folder):
            shutil.rmtree(folder, ignore_errors=True)

def locked(path, how):
    """The open file or folder with its lock; none where the file system has no locks."""
    opened = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(opened, how)
    except OSError:
        os.close(opened)
        return None
    return opened

def hold(archive, folder, target):
    """Unpacks what is missing, and keeps a shared lock on the folder while this process lives."""
    while True:
        if not is_whole(folder):
            turn = locked(os.path.dirname(folder), fcntl.LOCK_EX)
            if not is_whole(folder):
                unpack(archive, folder, target)
            if turn is not None:
                os.close(turn)
        try:
            held = locked(folder, fcntl.LOCK_SH)
            if held is None or os.path.samestat(os.fstat(held), os.stat(folder)):
                return
        except FileNotFoundError:  # just swept
            continue

def sweep(folder):
    """Removes what this build replaces, 30 MB each, and what nobody has used for a month."""
    root, name = os.path.split(folder)
    ours = CACHE.fullmatch(name)
    turn = locked(root, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or somebody is unpacking
    for other in os.listdir(root) if turn is not None else ():
        found, path = CACHE.fullmatch(other), os.path.join(root, other)
        if not found or other == name:
            continue
        mark = os.path.join(path, MARK)
        used = os.stat(mark if os.path.exists(mark) else path).st_mtime
        replaced = found.group(1, 3) == ours.group(1, 3) and ours[2].startswith(found[2])
        if replaced or time.time() - used > 30 * 24 * 60 * 60:
            held = locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if held is not None:
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
                os.close(held)
    if turn is not None:
        os.close(turn)

def start():
    os.umask(0o077)  # what is written from here on is this user's alone
    target = this_target()
    check_target(target)
    archive, root = os.path.realpath(sys.argv[0]), cache_root()
    check_owned(root)
    tag = "cpython-" + target.replace(".", "").replace(":", "-")
    folder = os.path.join(root, "%s_%s_%s" % (os.path.basename(archive), BUILD, tag))
    hold(archive, folder, target)
    check_owned(folder)
    check_owned(os.path.join(folder, "site-packages"))
    with contextlib.suppress(OSError):  # no way to tidy up is no reason not to start
        os.utime(os.path.join(folder, MARK))  # when it was used last
        sweep(folder)
    os.environ["CAMPFIRE_PYZ"] = archive
    sys.path[0] = os.path.join(folder, "site-packages")
    sys.dont_write_bytecode = False  # the cache is ours; without it each start takes a second more
    from campfire import main

    return main()

if __name__ == "__main__":
    sys.exit(start())
PYTHON
}

# === The lock files ==============================================================================

lock() {
  need_python
  local machine
  for machine in "${MACHINES[@]}"; do platforms "$machine" >"$WORK/$machine"; done
  "$PYTHON" .ci/build.py lock "$WORK" "$FROM_SOURCE" $(targets "${MACHINES[@]}")
}

main "$@"

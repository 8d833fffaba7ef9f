"""The workshop against what is sent to harm it; what its hands can do; and how it ends."""

import asyncio
import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pytest

import campfire as program
from tests.operators.test_sudden_ends import browser, token_for
from tests.support.bombs import bombs
from tests.support.cast import LogLines, Template, copy_database
from tests.support.files import TYPE, form
from tests.support.operators import child_server
from tests.support.studio import ROOT, Studio, encoded, painted, spooled

TRIES = """
import campfire, ctypes, json, os, socket, subprocess, sys
source, target, mouth = (os.dup(int(each)) for each in sys.argv[1:])
is_filtered = campfire.confine((source, target, mouth), 1 << 20)
libc = ctypes.CDLL(None, use_errno=True)
def errno_of(call):
    try:
        call()
    except OSError as error:
        return error.errno
    return 0
def system(*values):
    def call():
        if libc.syscall(*values) == -1:
            raise OSError(ctypes.get_errno(), "")
    return call
tried = {
    "open": system(2, b"/etc/passwd", 0), "openat": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "socket": lambda: socket.socket(), "connect": system(42, 0, 0, 0),
    "clone": system(56, 17, 0, 0, 0, 0),
    "fork": lambda: os.fork(), "execve": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(os.getppid(), 0), "ptrace": system(101, 0, 0, 0, 0),
    "ioctl": system(16, source, 0x5401, 0), "fcntl": system(72, source, 1, 0),
    "unlink": lambda: os.unlink("/nothing"), "stat": lambda: os.stat("/etc"),
}
told = {name: errno_of(call) for name, call in tried.items()}
told["open descriptors"] = sum(errno_of(lambda n=n: os.lseek(n, 0, 1)) != 9 for n in range(256))
told["is filtered"] = is_filtered
os.write(mouth, json.dumps(told).encode())
os._exit(0)
"""


def test_a_hand_can_open_nothing_ask_nobody_and_start_nothing() -> None:
    ear, mouth = os.pipe()
    with spooled(b"") as source, spooled(b"") as target:
        given = (source.fileno(), target.fileno(), mouth)
        command = [sys.executable, "-c", TRIES, *map(str, given)]
        child = subprocess.Popen(command, cwd=ROOT, pass_fds=given)
    os.close(mouth)
    with open(ear, "rb") as told:  # noqa: PTH123 - a descriptor has no path
        results = json.loads(told.read())
    assert child.wait(30) == 0

    assert results.pop("is filtered") is True
    assert results.pop("open descriptors") == 3
    assert results == dict.fromkeys(results, 1)  # EPERM
    assert len(results) == 13


# --- Bytes that mean harm ---


def test_what_is_made_to_be_too_much_is_refused_and_the_next_picture_is_not(
    darkroom: Studio,
) -> None:
    made, orders = list(bombs()), cycle((darkroom.still, darkroom.avatar, darkroom.logo))
    assert len(made) >= 60
    good = encoded(painted(40, 30), "PNG")

    for bomb, order in zip(made, orders, strict=False):
        started = time.monotonic()
        with suppress(program.PictureUnreadable):
            order(bomb)
        assert time.monotonic() - started < 21
    for order in (darkroom.still, darkroom.avatar, darkroom.logo):
        assert order(good)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 900_000  # of the hands too


def mutated(picture: bytes, chance: random.Random) -> bytes:
    """The picture with some of its bytes changed, cut out, doubled."""
    data = bytearray(picture)
    for _ in range(chance.choice((1, 1, 2, 4, 32))):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at : at + 4] = chance.randbytes(4)
            case 2:
                del data[at : at + chance.randrange(1, 40)]
            case _:
                data[at:at] = data[at : at + chance.randrange(1, 40)]
        if not data:
            return b"\0"
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_whatever_is_wrong_with_a_picture_there_is_an_answer_and_the_loop_goes_on(
    darkroom: Studio, kind: str
) -> None:
    chance = random.Random(kind)  # noqa: S311 - the same damage every time
    good = encoded(painted(50, 40, "RGB"), kind)
    longest, ended = 0.0, False

    async def look_at_the_clock() -> None:
        nonlocal longest
        while not ended:
            before = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - before)

    async def ask_on(times: int) -> int:
        nonlocal ended
        looking = asyncio.create_task(look_at_the_clock())
        refused = 0
        for turn in range(times):
            with spooled(mutated(good, chance)) as source, spooled(b"") as target:
                try:
                    if turn % 4 == 3:
                        await darkroom.workshop.strip(source.fileno(), target.fileno())
                    else:
                        await darkroom.workshop.still(source.fileno())
                except program.PictureUnreadable:
                    refused += 1
        ended = True
        await looking
        return refused

    assert 0 < darkroom.runner.run(ask_on(100)) < 100
    assert longest < 0.5
    assert darkroom.still(good).width == 50


# A decoder that somebody has taken over, by what they want of it.
TAKEN_OVER = """
import campfire, os
def still(source, target):
    match source.read(1):
        case b"p": os.write(target.fileno(), b"<html>")
        case b"w": return {"width": "1", "height": [], "is_animated": 1}
        case b"n": return {"number": 0, "result": ["ok"], "width": 10**4000, "height": -1}
        case b"l": return {str(n): n for n in range(9_999)}
        case b"q": os._exit(0)
        case b"c": os.closerange(0, 256); [None for _ in iter(int, 1)]
        case b"m": bytes(2 << 30)
        case b"o": open("/etc/passwd")
        case b"f": os.fork()
        case b"z": os.write(target.fileno(), bytes(64 << 20))
    return {"width": 1, "height": 1, "is_animated": False}
campfire.ORDERS["still"] = still
"""


def test_a_decoder_that_is_taken_over_spoils_one_picture_and_nothing_else() -> None:
    taken_over = Studio(TAKEN_OVER)

    for wish in b"pwnlqcmofz":
        with pytest.raises(program.PictureUnreadable):
            taken_over.still(bytes([wish]))
        assert taken_over.avatar(encoded(painted(9, 9), "PNG"))
    results = {how: times for (order, how), times in taken_over.workshop.results.items()}
    assert set(results) == {"ok", "refused", "limit", "killed"}
    taken_over.close()


# --- How it ends ---


def test_what_nobody_waits_for_any_more_disturbs_nothing(darkroom: Studio) -> None:
    slow, quick = encoded(painted(3_000, 2_000), "PNG"), encoded(painted(40, 30), "PNG")

    async def ask() -> program.Still:
        with spooled(slow) as source:
            asked = asyncio.create_task(darkroom.workshop.still(source.fileno()))
            await asyncio.wait([asked], timeout=0.01)
            asked.cancel()
            await asyncio.wait([asked])
            assert asked.cancelled()
        with spooled(quick) as source:
            return await darkroom.workshop.still(source.fileno())

    assert darkroom.runner.run(ask()).width == 40


def test_without_the_workshop_there_are_no_pictures_and_nothing_else_changes() -> None:
    alone = Studio()
    alone.process.kill()
    alone.process.wait(30)

    with pytest.raises(program.PicturesUnavailable):
        alone.still(encoded(painted(9, 9), "PNG"))
    with pytest.raises(program.PicturesUnavailable):
        alone.avatar(b"")
    assert not alone.workshop.has_pictures
    alone.runner.close()


def test_where_pillow_cannot_be_loaded_photographs_are_stripped_all_the_same() -> None:
    without = Studio("import sys; sys.modules['PIL'] = None")
    photo = encoded(painted(9, 9), "JPEG", comment=b"SERIAL-4711")

    assert b"SERIAL" not in without.stripped(photo)
    assert without.workshop.has_pictures  # nobody has asked for one
    for _ in range(2):
        with pytest.raises(program.PicturesUnavailable):
            without.still(photo)
        assert not without.workshop.has_pictures
    assert b"SERIAL" not in without.stripped(photo)
    without.close()


def test_where_the_kernel_watches_over_nobody_pictures_are_made_and_the_log_says_so_once(
    log_lines: LogLines,
) -> None:
    unwatched = Studio("import campfire; campfire._control = lambda *_: False; ")

    for _ in range(3):
        assert unwatched.still(encoded(painted(40, 30), "PNG")).width == 40

    assert unwatched.workshop.sandbox == "rlimits"
    assert sum('"workshop_unfiltered"' in line for line in log_lines()) == 1
    unwatched.close()


async def test_when_the_workshop_is_killed_the_server_serves_on_and_pictures_are_files(
    template: Template, tmp_path: Path
) -> None:
    database, cast = copy_database(template[0], tmp_path), template[1]
    token, path = await token_for(database, cast.david), f"/api/rooms/{cast.pets.id}/messages"
    body = form(encoded(painted(40, 30), "PNG"), "a.png")

    async with child_server(database, "warn") as child, browser(child.address, token) as david:
        os.kill(seen(child.process.pid).children[0], signal.SIGKILL)
        for _ in range(2):
            async with david.post(path, data=body, headers=TYPE) as answer:
                assert answer.status == 201
                assert (await answer.json())["message"]["attachment"]["width"] is None
        await child.says("pictures_unavailable")
        async with david.get("/up.json") as answer:
            assert (await answer.json())["pictures"] == "unavailable"
        async with david.put("/api/users/me/avatar", headers={"Content-Type": "image/png"},
                             data=encoded(painted(9, 9), "PNG")) as answer:  # fmt: skip
            assert answer.status == 501


class Seen(NamedTuple):
    """What the kernel says of a process."""

    children: list[int]
    threads: int
    libraries: str
    descriptors: list[str]


def seen(pid: int) -> Seen:
    place = Path(f"/proc/{pid}")
    threads = list((place / "task").iterdir())
    children = (place / "task" / str(pid) / "children").read_text().split()
    descriptors = sorted(
        str(each.readlink()).partition(":")[0] for each in (place / "fd").iterdir()
    )
    return Seen([*map(int, children)], len(threads), (place / "maps").read_text(), descriptors)


async def test_the_server_never_loads_a_decoder_and_its_workshop_ends_with_it(
    database: Path,
) -> None:
    async with child_server(database) as child:
        server = seen(child.process.pid)
        [pid] = server.children
        workshop, end = seen(pid), select.poll()
        end.register(os.pidfd_open(pid), select.POLLIN)
        os.kill(pid, signal.SIGTERM)  # as whoever stops a whole group does
        child.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(child.process.communicate(), 30)

    assert "PIL" not in server.libraries
    assert "pillow" not in server.libraries
    assert workshop.threads == 1
    assert workshop.descriptors == ["/dev/null"] * 4 + ["socket"]
    assert end.poll(10_000)

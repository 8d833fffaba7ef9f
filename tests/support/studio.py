"""The workshop as tests ask it: a process of its own, with nothing of a server around it."""

import asyncio
import io
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

import campfire as program

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import campfire, socket, sys
campfire.work_until_alone(socket.socket(fileno=int(sys.argv[1])))
"""


def at_work(workshop: program.Workshop, before: str = "") -> "subprocess.Popen[bytes]":
    """The process that works for it, until it is closed."""
    process, line = working(before)
    workshop.open(line)
    return process


def working(before: str = "") -> "tuple[subprocess.Popen[bytes], socket.socket]":
    """A process that works for whoever has the way that leads to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-c", before + WORK, str(theirs.fileno())]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
    theirs.close()
    return process, ours


class Studio:
    """A workshop, and the server's side of it on a loop of its own."""

    def __init__(self, before: str = "") -> None:
        self.runner, self.workshop = asyncio.Runner(), program.Workshop()
        self.process = at_work(self.workshop, before)

    def close(self) -> None:
        self.workshop.close()
        assert self.process.wait(30) == 0
        self.runner.close()

    def still(self, picture: bytes) -> program.Still:
        with spooled(picture) as source:
            return self.runner.run(self.workshop.still(source.fileno()))

    def avatar(self, picture: bytes) -> bytes:
        with spooled(picture) as source:
            return self.runner.run(self.workshop.avatar(source.fileno()))[0]

    def logo(self, picture: bytes) -> tuple[bytes, bytes]:
        with spooled(picture) as source:
            large, small = self.runner.run(self.workshop.logo(source.fileno()))
            return large, small

    def stripped(self, photo: bytes) -> bytes:
        with spooled(photo) as source, spooled(b"") as target:
            self.runner.run(self.workshop.strip(source.fileno(), target.fileno()))
            target.seek(0)
            return target.read()


@contextmanager
def spooled(data: bytes) -> Iterator[io.FileIO]:
    """A file with these bytes and no name, at its beginning."""
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        file.seek(0)
        yield file


@pytest.fixture(scope="module")
def darkroom() -> Iterator[Studio]:
    pictures = Studio()
    yield pictures
    pictures.close()


def encoded(picture: Image.Image, kind: str, **how: object) -> bytes:
    """A picture as a file of this kind."""
    written_to = io.BytesIO()
    picture.save(written_to, kind, **how)
    return written_to.getvalue()


def opened(data: bytes) -> Image.Image:
    """A picture, decoded."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def painted(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture in which every corner has a colour of its own."""
    colours = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30))
    picture = Image.new("RGB", (2, 2))
    picture.putdata(colours)
    return picture.resize((width, height), Image.Resampling.BICUBIC).convert(mode)

"""Pictures that are small to send and large to look at, or no pictures at all."""

import struct
import zlib
from collections.abc import Iterator
from itertools import product

from tests.support.studio import encoded, painted


def chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + check


def png(
    width: int, height: int, data: bytes = b"", *more: bytes, depth: int = 8, kind: int = 0
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(data))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + pixels + chunk(b"IEND", b"")
    )


def jpeg(width: int, height: int) -> bytes:
    """A small photograph that says it is as large as this."""
    photo = encoded(painted(16, 16), "JPEG")
    at = photo.index(b"\xff\xc0") + 5
    return photo[:at] + struct.pack(">HH", height, width) + photo[at + 4 :]


def gif(width: int, height: int, frames: int = 1) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00"
    return head + frame * frames + b";"


def bombs() -> Iterator[bytes]:
    """Pictures that are small to send and large to look at, or no pictures at all."""
    for side in (0, 1, 8_000, 8_001, 20_000, 65_500, 65_501, 2**31 - 1, 2**32 - 1):
        yield png(side, side)
        yield png(side, 1, bytes(side % 70_000 + 1))
        yield jpeg(side & 0xFFFF, side & 0xFFFF)
        yield gif(side & 0xFFFF, side & 0xFFFF)
    yield png(8_000, 8_000, bytes(8_000 * 8_001))
    yield png(8_000, 8_000, bytes(8_000 * (8_000 * 8 + 1) // 8), depth=16, kind=6)
    yield png(
        100,
        100,
        bytes(101 * 100),
        *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(9_000_000)))] * 9,
    )
    yield png(
        100, 100, bytes(101 * 100), chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000)))
    )
    yield png(100, 100, bytes(101 * 100), chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)))
    yield gif(5_000, 5_000, frames=2_000)
    yield gif(10, 10, frames=100_000)
    yield encoded(painted(8_000, 7_900, "L"), "WEBP", lossless=True)
    yield encoded(painted(30, 30), "JPEG")[:-2] + b"\xff\xda\0\x0c" * 50_000
    yield b"\xff\xd8" + b"\xff\xe1\0\x02" * 200_000
    yield b"\xff\xd8\xff\xe1\xff\xffExif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(70_000)
    for start, rest in product(
        (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP"), (b"", b"\xff" * 9)
    ):
        yield start + rest
    yield from (b"", b"<svg/>", b"%!PS", b"\0" * 99, b"\0\0\0\x1cftypavif" + bytes(90))
    yield encoded(painted(64, 64), "AVIF")[:-40] + bytes(40)

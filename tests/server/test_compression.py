"""Fewer bytes on the way: gzip, brotli twins, and nothing to learn from lengths."""

import gzip
import re
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import campfire as program
from tests.support.cast import Answer, Cast, Person, Start

ROOT = Path(__file__).resolve().parents[2]
BROWSER = {"Accept-Encoding": "gzip, deflate, br, zstd"}


async def packed(person: Person, path: str) -> tuple[Answer, bytes]:
    """An answer and its bytes, before and after they are made whole again."""
    url = f"{person.server.address}{path}"
    async with person.http.get(url, headers=BROWSER, auto_decompress=False) as response:
        body = await response.read()
        assert response.headers["Content-Length"] == str(len(body))
        whole = Answer(response.status, response.headers, body, response.cookies)
        is_packed = response.headers.get("Content-Encoding") == "gzip"
        return whole, gzip.decompress(body) if is_packed else body


async def test_what_is_made_for_a_request_is_compressed_when_it_is_worth_it(
    kevin: Person, cast: Cast
) -> None:
    for n in range(60):
        await kevin.say(cast.designers, f"message {n} of some length, as people write them")
    for path, share in ((f"/rooms/{cast.designers.id}", 0.25), ("/api/searches?q=message", 0.15)):
        await kevin.get(path)  # which is noted as the last room
        answer, whole = await packed(kevin, path)
        plain = await kevin.get(path)

        assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == (
            "gzip", "Accept-Encoding"
        )  # fmt: skip
        assert (plain.headers.get("Content-Encoding"), plain.headers["Vary"]) == (
            None, "Accept-Encoding"
        )  # fmt: skip
        assert len(answer.body) < share * len(whole)
        masked = re.compile(
            rb'(csrf-token" content="|"(?:csrf_token|server_time_ms|loaded_at_ms)":)"?[\w-]+'
        )
        assert masked.sub(b"", whole) == masked.sub(b"", plain.body)
    small, _ = await packed(kevin, f"/api/rooms/{cast.designers.id}/involvement")
    assert "Content-Encoding" not in small.headers


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("gzip", "gzip"), ("br, GZIP;q=0.5", "gzip"), ("gzip;q=0", ""), ("gzip; q=0.000", ""),
        ("", ""), ("identity", ""), ("deflate, br", ""), ("gzip;q=1.0, *;q=0", "gzip"),
    ],
)  # fmt: skip
def test_a_browser_gets_only_the_coding_it_takes(header: str, taken: str) -> None:
    assert program.accepted(header) & {"gzip"} == set(taken.split())


async def test_the_token_is_masked_anew_and_the_length_says_nothing(
    kevin: Person, cast: Cast
) -> None:
    path = f"/rooms/{cast.designers.id}"
    pages = [await packed(kevin, path) for _ in range(12)]

    tokens = [re.search(rb'"csrf_token":"([\w-]+)"', whole) for _, whole in pages]
    assert len({found[1] for found in tokens if found}) == 12
    assert len({len(answer.body) for answer, _ in pages}) > 4
    assert len({len(whole) for _, whole in pages}) == 1


async def test_every_masked_token_is_taken_and_no_other(kevin: Person, cast: Cast) -> None:
    path = f"/api/rooms/{cast.designers.id}/messages"
    first = (await kevin.boot("/session/new"))["csrf_token"]
    second = (await kevin.boot("/session/new"))["csrf_token"]
    other = await kevin.server.visitor()
    foreign = (await other.boot("/session/new"))["csrf_token"]
    wrong = [
        first[:-2] + ("AA" if first[-2:] != "AA" else "BB"), foreign, "", "x", first + first, "é",
    ]  # fmt: skip

    async def status(token: str) -> int:
        headers = {"X-CSRF-Token": token}
        return (await kevin.request("POST", path, json={"body": "hi"}, headers=headers)).status

    assert [await status(token) for token in (first, second)] == [201, 201]
    assert {await status(token) for token in wrong} == {422}


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=400)), max_size=8))
def test_pieces_that_were_deflated_before_fit_into_every_stream(
    pieces: Sequence[tuple[bool, bytes]],
) -> None:
    made = [program.Packed(data) if is_packed else data for is_packed, data in pieces]

    stream = program.gzipped(made)

    assert gzip.decompress(stream) == b"".join(data for _, data in pieces)
    assert zlib.decompress(stream, 31) == b"".join(data for _, data in pieces)


async def test_a_file_with_a_brotli_twin_is_sent_smaller_to_who_takes_it(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "app.js.gz").write_bytes(gzip.compress(b"say()"))
    (tmp_path / "dist" / "app.js.br").write_bytes(b"as small as can be")
    visitor = await (await start(client=tmp_path / "dist")).visitor()
    got = []
    for header in ("gzip, deflate, br", "gzip, br;q=0", ""):
        url, headers = f"{visitor.server.address}/assets/app.js", {"Accept-Encoding": header}
        async with visitor.http.get(url, headers=headers, auto_decompress=False) as response:
            got.append((response.headers.get("Content-Encoding"), await response.read()))

    assert got[0] == ("br", b"as small as can be")
    assert (got[1][0], gzip.decompress(got[1][1])) == ("gzip", b"say()")
    assert got[2] == (None, b"say()")


def test_brotli_twins_say_what_their_neighbours_say() -> None:
    dist = ROOT / "static_bundle" / "dist"
    script = """
        const { brotliDecompressSync, gunzipSync } = require("node:zlib")
        const read = require("node:fs").readFileSync
        for (const path of process.argv.slice(1))
          if (!brotliDecompressSync(read(path)).equals(gunzipSync(read(path.replace(/br$/, "gz")))))
            throw Error(path)
    """
    twins = sorted(map(str, dist.rglob("*.br")))

    subprocess.run(["node", "-e", script, *twins], check=True)
    names = {Path(twin).name for twin in twins}
    assert {"app.js.br", "app.css.br", "trix.js.br", "service_worker.js.br"} <= names
    large = {path for path in dist.rglob("*.gz") if len(gzip.decompress(path.read_bytes())) > 1024}
    assert {str(path.with_suffix(".br")) for path in large} == set(twins)
    first = ("app.js", "app.css", "shell.js", "rolldown-runtime.js", "screens.js", "trix.js")
    saved = [
        (dist / f"{name}.gz").stat().st_size - (dist / f"{name}.br").stat().st_size
        for name in first
        if (dist / f"{name}.br").exists()
    ]
    assert sum(saved) > 20_000

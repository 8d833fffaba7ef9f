"""Files of the client, sounds and the manifest, as they are sent."""

import gzip
import json
import re
import struct
from pathlib import Path

import pytest

import campfire as program
from tests.support.cast import Person, Start


async def test_files_of_the_client_are_sent_packed_and_kept(start: Start, tmp_path: Path) -> None:
    (tmp_path / "dist" / "sounds").mkdir(parents=True)
    (tmp_path / "dist" / "app.js.gz").write_bytes(gzip.compress(b"say()"))
    (tmp_path / "dist" / "sounds" / "nyan.svg").write_bytes(b"<svg/>")
    page = '<script type="module" src="/assets/BUILD/app.js"></script>{boot}'
    (tmp_path / "dist" / "index.html").write_text(page)
    (tmp_path / "secret.txt").write_text("not for anybody")
    server = await start(client=tmp_path / "dist")
    visitor = await server.visitor()
    (url,) = re.findall(
        r'<script type="module" src="(.*?)"', (await visitor.get("/session/new")).text
    )

    packed = await visitor.get(url, {"Accept-Encoding": "br, gzip"})
    unpacked = await visitor.get(url)
    plain = await visitor.get("/assets/sounds/nyan.svg")

    assert [each.body for each in (packed, unpacked, plain)] == [b"say()", b"say()", b"<svg/>"]
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in unpacked.headers
    assert packed.headers["Vary"] == unpacked.headers["Vary"] == "Accept-Encoding"
    assert packed.headers["Content-Type"].startswith("text/javascript")
    assert plain.headers["Content-Type"] == "image/svg+xml"
    assert packed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert plain.headers["Cache-Control"] == "public, max-age=2592000"
    assert (await visitor.get(f"/assets/%2f{str(tmp_path / 'secret.txt')[1:]}")).status == 404
    assert (await visitor.get("/assets/..%2fsecret.txt")).status == 404


NOWHERE = [
    "/assets/../secret.txt", "/assets/%2e%2e/secret.txt", "/assets/app.js%00", "/assets/nothing.js",
    "/assets/", "/assets/..%5csecret.txt", "/sounds/..%2f..%2fsecret.mp3", "/sounds/none.mp3",
    "/sounds/%2e%2e%2fLICENSE", "/sounds/tada.mp3%00", "/sounds/tada.wav", "/campfire.py",
]  # fmt: skip


@pytest.mark.parametrize("path", NOWHERE)
async def test_no_address_leads_out_of_the_bundle(visitor: Person, path: str) -> None:
    assert (await visitor.get(path)).status == 404


def test_every_file_that_a_page_names_is_in_the_bundle_and_no_page_is_a_file() -> None:
    bundle = program.load_bundle()

    named = re.findall(rf"/assets/{bundle.digest}/([\w.-]+)", "".join(bundle.pages.values()))

    assert {"app.js", "app.css", "icons.svg", "globe.svg"} <= set(named) <= set(bundle.files)
    assert [name for name in bundle.files if name.endswith(".html")] == []


async def test_a_sound_is_sent_in_ranges(visitor: Person) -> None:
    whole = await visitor.get("/sounds/tada.mp3")
    part = await visitor.get("/sounds/tada.mp3", {"Range": "bytes=2-5"})
    beyond = await visitor.get("/sounds/tada.mp3", {"Range": "bytes=99999999-"})

    assert (whole.status, whole.headers["Content-Type"]) == (200, "audio/mpeg")
    assert whole.headers["Cache-Control"] == "public, max-age=2592000"
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert (part.status, part.body) == (206, whole.body[2:6])
    assert part.headers["Content-Range"] == f"bytes 2-5/{len(whole.body)}"
    assert beyond.status == 416


async def test_the_manifest_has_the_name_of_the_account(david: Person) -> None:
    await david.put("/api/account", {"name": "Northwind Studio"})

    answer = await david.get("/webmanifest.json")

    assert answer.headers["Content-Type"].startswith("application/manifest+json")
    manifest = json.loads(answer.body)
    assert (manifest["name"], manifest["short_name"]) == ("Northwind Studio", "Northwind St")
    assert [(icon["sizes"], icon["purpose"]) for icon in manifest["icons"]] == [
        ("192x192", "any"), ("512x512", "any"), ("512x512", "maskable"),
    ]  # fmt: skip
    assert [each["url"] for each in manifest["shortcuts"]] == [
        "/rooms/opens/new", "/users/me/profile",
    ]  # fmt: skip
    assert manifest["categories"] == ["social", "business", "productivity"]
    for name in ("start_url", "scope", "id"):
        assert manifest[name] == "/"
    assert (manifest["display"], manifest["theme_color"]) == ("standalone", "#ffffff")
    assert (await david.get("/webmanifest")).body == answer.body
    labels = {each["label"] for each in manifest["screenshots"]}
    assert len(labels) == len(manifest["screenshots"]) == 3
    for each in manifest["screenshots"]:
        assert (each["sizes"], each["form_factor"]) == ("1080x2400", "narrow")
        picture = await david.get(each["src"])
        assert (picture.status, picture.headers["Content-Type"]) == (200, each["type"])
        assert struct.unpack(">II", picture.body[16:24]) == (1080, 2400)

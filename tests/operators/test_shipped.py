"""What ships: the executable, how it starts or why it cannot, its files, sounds and pictures."""

import fcntl
import gzip
import hashlib
import itertools
import json
import os
import re
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import miniaudio  # type: ignore[import-untyped]
import numpy as np
import pytest

import campfire as program
from campfire import SOUNDS
from tests.support.cast import Cast, Person, Start
from tests.support.doing import newcomer
from tests.support.listening import (
    DISTANCE,
    ELSEWHERE,
    FOLDER,
    LARGEST,
    MOTION,
    MOUNTED,
    NAMES,
    PICTURES,
    PYZ,
    RATE,
    ROOT,
    SKIP,
    SVG,
    TAG,
    assert_refused,
    fingerprint,
    heard,
    is_whole,
    loudness,
    pictured,
    run,
    scored,
    script,
    seconds,
    true_peak,
    unpacked,
)
from tests.support.operators import qr_path
from tests.support.tables import cases

# --- What is inside ------------------------------------------------------------------------------


def test_two_builds_give_the_same_bytes() -> None:
    digests = []
    for _ in range(2):
        subprocess.run(
            [ROOT / "build_zipapp.sh"],
            env={**os.environ, "PYTHON": sys.executable},
            check=True,
            capture_output=True,
        )
        digests.append(hashlib.sha256(PYZ.read_bytes()).hexdigest())

    assert digests[0] == digests[1]


def test_the_executable_is_one_small_file_that_python_3_runs() -> None:
    assert PYZ.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert os.access(PYZ, os.X_OK)
    assert PYZ.stat().st_size <= LARGEST


def test_the_executable_holds_the_server_the_built_client_and_the_sounds_of_this_clone() -> None:
    shipped = [ROOT / name for name in ("campfire.py", "LICENSE", "THIRD_PARTY")]
    shipped += [path for path in (ROOT / "static_bundle/dist").rglob("*") if path.is_file()]
    shipped += (ROOT / "sounds").glob("*.mp3")

    with zipfile.ZipFile(PYZ) as archive:
        for path in shipped:
            inside = f"site-packages/{path.relative_to(ROOT)}"
            assert archive.read(inside) == path.read_bytes(), inside


# --- How it starts -------------------------------------------------------------------------------


def test_it_starts_unpacks_once_and_leaves_no_half_made_folder(tmp_path: Path) -> None:
    first = run(cache=tmp_path / "cache")
    second = run(PYZ, cache=tmp_path / "cache")

    assert first.stdout.startswith("campfire ")
    assert (first.returncode, first.stderr) == (0, "")
    assert second.stdout == first.stdout
    (folder,) = unpacked(tmp_path / "cache")
    assert is_whole(folder)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_the_environment_cannot_put_another_program_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "aiohttp.py").write_text("raise SystemExit('not ours')")

    outcome = run(cache=tmp_path / "c", PYTHONPATH=str(tmp_path), SHIV_ENTRY_POINT="os:getcwd")

    assert outcome.returncode == 0
    assert outcome.stdout.startswith("campfire ")


def test_several_first_starts_at_once_unpack_it_once(tmp_path: Path) -> None:
    environment = {**os.environ, "SHIV_ROOT": str(tmp_path / "cache")}
    command = [sys.executable, str(PYZ), "--version"]

    starts = [subprocess.Popen(command, env=environment, stdout=-1, stderr=-1) for _ in range(4)]
    outcomes = [(*start.communicate(), start.returncode) for start in starts]

    assert {outcome[1:] for outcome in outcomes} == {(b"", 0)}
    (folder,) = unpacked(tmp_path / "cache")
    assert is_whole(folder)


def test_a_start_that_was_killed_while_it_unpacked_leaves_nothing_that_is_used(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, "SHIV_ROOT": str(tmp_path)}
    with subprocess.Popen([sys.executable, PYZ, "--version"], env=environment) as start:
        while not list(tmp_path.glob("*/site-packages/*")):
            assert start.poll() is None
        start.send_signal(signal.SIGKILL)
    assert not list(tmp_path.glob("*/complete"))

    assert run(cache=tmp_path).returncode == 0
    (folder,) = unpacked(tmp_path)
    assert is_whole(folder)


def test_what_other_builds_unpacked_is_removed_unless_a_process_holds_it(tmp_path: Path) -> None:
    held, idle = (tmp_path / f"campfire.pyz_{digit * 64}_{TAG}" for digit in "12")
    of_another_program = tmp_path / f"another.pyz_{'3' * 64}_{TAG}"
    for folder in (held, idle, of_another_program):
        (folder / "site-packages").mkdir(parents=True)

    holding = os.open(held, os.O_RDONLY)
    fcntl.flock(holding, fcntl.LOCK_SH)
    outcome = run(cache=tmp_path)
    os.close(holding)

    assert outcome.returncode == 0
    assert held.exists()
    assert of_another_program.exists()
    assert not idle.exists()


# --- Why it cannot -------------------------------------------------------------------------------


@pytest.mark.parametrize(("pretence", "reason"), cases("wrong Pythons and machines"))
def test_a_wrong_python_or_machine_is_told_in_one_line(
    tmp_path: Path, pretence: str, reason: str
) -> None:
    program = ELSEWHERE.format(pretence=pretence)

    outcome = run(sys.executable, "-c", program, PYZ, cache=tmp_path / "cache")

    assert_refused(outcome, reason)
    assert not (tmp_path / "cache").exists()


def test_without_a_home_it_says_what_to_set() -> None:
    outcome = run(cache=Path(), SHIV_ROOT="", XDG_CACHE_HOME="", HOME="/dev/null")

    assert_refused(outcome, "set SHIV_ROOT to a folder of this user")


def test_a_cache_that_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    cache = Path("/usr")
    if os.geteuid() == 0:
        cache = tmp_path / "cache"
        cache.mkdir()
        os.chown(cache, 54_321, 54_321)

    assert_refused(run(cache=cache), "others may put programs into")


def test_a_cache_that_anybody_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    assert_refused(run(cache=tmp_path), "others may put programs into")


@pytest.mark.parametrize(("options", "reason"), cases("folders nobody can unpack into"))
def test_a_cache_it_cannot_unpack_into_is_told_in_one_line(
    tmp_path: Path, options: str, reason: str
) -> None:
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNTED, "sh"]

    outcome = run(*namespace, options, tmp_path, sys.executable, PYZ, cache=tmp_path)

    assert_refused(outcome, reason)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_executable_is_told_in_one_line(tmp_path: Path) -> None:
    damaged = tmp_path / "campfire.pyz"
    content = bytearray(PYZ.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = bytes(4096)
    damaged.write_bytes(content)

    outcome = run(sys.executable, damaged, cache=tmp_path / "cache")

    assert_refused(outcome, "this file is damaged .*: copy or download it again")
    assert unpacked(tmp_path / "cache") == []


def test_every_sound_has_its_file_and_nothing_else_lies_there() -> None:
    files = {file.name for file in FOLDER.iterdir()}

    assert len(NAMES) == 59
    assert files == {f"{name}.mp3" for name in NAMES} | {"make_sounds.py", "README.md"}


def test_all_sounds_together_are_light() -> None:
    assert sum(file.stat().st_size for file in FOLDER.glob("*.mp3")) <= 3_500_000


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_is_an_mp3_of_44_1_kilohertz_that_bears_its_name_and_campfires(name: str) -> None:
    data = (FOLDER / f"{name}.mp3").read_bytes()
    info = miniaudio.mp3_get_info(data)
    tags = data[: data.index(b"\xff\xfb")]

    assert info.sample_rate == RATE
    assert info.nchannels in {1, 2}
    assert 96_000 * 0.98 <= len(data) * 8 / info.duration <= 128_000 * 1.06
    assert re.search(rb"TIT2.{7}" + name.encode() + rb"\0*T", tags, re.DOTALL)
    assert re.search(rb"TALB.{7}Campfire", tags, re.DOTALL)


# --- How they sound ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_lasts_long_enough_to_be_heard_and_no_longer_than_a_laugh(name: str) -> None:
    assert 0.5 <= seconds(name) <= 8


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_is_as_loud_as_the_others_and_never_clips(name: str) -> None:
    assert loudness(heard(name)) == pytest.approx(-16, abs=1.5)
    assert true_peak(heard(name)) < 1


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_starts_at_once_and_fades_at_its_end(name: str) -> None:
    level = np.abs(heard(name)).max(axis=0)

    assert np.argmax(level > 0.02 * level.max()) < 0.05 * RATE
    assert level[-round(0.01 * RATE) :].max() < 0.05 * level.max()


def test_sounds_can_be_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    prints = {name: fingerprint(name) for name in NAMES}
    distances = {
        (one, other): float(np.sqrt(np.mean((prints[one] - prints[other]) ** 2)))
        for one, other in itertools.combinations(NAMES, 2)
    }
    one, other = closest = min(distances, key=lambda pair: distances[pair])
    with capsys.disabled():
        apart = f"{distances[closest]:.1f} dB apart"
        sys.stdout.write(f"\nclosest sounds: {one} and {other}, {apart}\n")

    assert distances[closest] > DISTANCE


# --- The script and the list ---------------------------------------------------------------------


def test_the_script_has_a_score_for_every_sound() -> None:
    assert sorted(scored()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_score_can_be_read(name: str) -> None:
    for layer in scored()[name].split(";"):
        played = layer.split("|")[0].split()
        if not played:
            continue
        at, gain, source, *words = played
        notes = (
            " ".join(words).partition("=")[2].split() if source == "say" else words[SKIP[source] :]
        )

        assert float(at) >= 0
        assert 0 < float(gain) <= 1
        assert source in script()["SOURCES"]
        assert source == "say" or script()["read_notes"](notes, 1.0)
        assert source != "gm" or words[0] in {"kit", *script()["KEYS"]}


def test_the_readme_tells_of_every_sound_and_how_long_it_is() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (.+) \| ([\d.]+) s \|$", (FOLDER / "README.md").read_text(), re.MULTILINE
    )

    assert sorted(name for name, _told, _length in rows) == NAMES
    assert len({told for _name, told, _length in rows}) == len(NAMES)
    for name, _told, length in rows:
        assert float(length) == pytest.approx(seconds(name), abs=0.1), name


def test_every_sound_shows_words_or_a_picture_never_both() -> None:
    assert len(pictured()) == 15
    assert [name for name, sound in SOUNDS.items() if bool(sound.text) == bool(sound.image)] == []


@pytest.mark.parametrize("name", sorted(pictured()))
def test_a_picture_has_the_size_the_server_tells(name: str) -> None:
    image = pictured()[name]
    drawing = ET.parse(PICTURES / image.file).getroot()  # noqa: S314 - a file of this repository

    assert drawing.tag == f"{SVG}svg"
    assert (drawing.get("width"), drawing.get("height")) == (str(image.width), str(image.height))
    assert drawing.get("viewBox") == f"0 0 {image.width} {image.height}"
    assert drawing.findtext(f"{SVG}title")


@pytest.mark.parametrize("name", sorted(pictured()))
def test_a_picture_is_only_a_picture_and_moves_only_for_those_who_like_it(name: str) -> None:
    text = (PICTURES / pictured()[name].file).read_text()
    still = re.sub(MOTION, "", text)

    assert not re.search(
        r"<script|<foreignObject|<image|<text|<animate|<set|\bon\w+=|href=\"(?!#)", text
    )
    assert not re.search(r"url\((?!#)|@import", text)
    assert "animation" not in still
    assert "infinite" not in text  # WCAG 2.2.2: what moves by itself stops within five seconds
    assert len(text) < 8_000


@pytest.mark.parametrize("name", sorted(pictured()))
def test_the_built_client_holds_the_picture(name: str) -> None:
    image = pictured()[name]
    built = gzip.decompress((ROOT / f"static_bundle/dist/sounds/{image.file}.gz").read_bytes())

    assert built == (PICTURES / image.file).read_bytes()


# Files and pictures.


async def test_an_avatar_is_initials_or_a_robot(kevin: Person, cast: Cast) -> None:
    visitor = await kevin.server.visitor()
    signer = kevin.server.parts.signer
    url = signer.avatar_url(cast.kevin)

    picture, robot = await kevin.get(url), await kevin.get(signer.avatar_url(cast.bender))
    same = await kevin.get(url, {"If-None-Match": f"W/{picture.headers['ETag']}"})

    assert picture.headers["Content-Type"].startswith("image/svg+xml")
    keeps = "public, max-age=1800, stale-while-revalidate=604800"
    assert picture.headers["Cache-Control"] == keeps
    assert re.findall(r"<text[^>]*>([^<]*)</text>", picture.text) == ["K"]
    assert 'viewBox="0 0 512 512"' in picture.text
    assert 'rx="50" fill="#3B3633"' in picture.text
    assert (same.status, same.body) == (304, b"")
    drawn = ROOT / "static_bundle" / "src" / "pictures" / "robot.svg"  # beside a bot's first name
    assert robot.text == drawn.read_text().rstrip()
    assert "<text" not in robot.text
    wrong = signer.avatar_token(cast.kevin.id)[:-1] + "x"
    for token in (wrong, "x", signer.stream("rooms"), signer.avatar_token(program.UserId(99))):
        assert (await kevin.get(f"/users/{token}/avatar")).status == 404
    assert (await visitor.get(url)).location == "/session/new"


async def test_initials_are_the_first_character_of_every_word(jz: Person, cast: Cast) -> None:
    for n, (name, letters) in enumerate((
        ("Bender Bot", "BB"), ("Jean-Luc Picard", "JLP"), ("Bender's Friend", "BsF"),
        ("jason fried", "jf"), ("\u00c5sa \u042f", "\u00c5\u042f"), ("\U0001f389", "?"),
    )):  # fmt: skip
        auth = jz.server.parts.auth
        user = await auth.join(cast.join_code, newcomer(name, f"{n}@example.com", "password"))
        picture = await jz.get(jz.server.parts.signer.avatar_url(user))
        assert f">{letters}</text>" in picture.text
        assert ('textLength="85%"' in picture.text) == (len(letters) > 2)


async def test_files_of_the_client_are_sent_packed_and_kept(start: Start, tmp_path: Path) -> None:
    (tmp_path / "dist" / "sounds").mkdir(parents=True)
    (tmp_path / "dist" / "app.js.gz").write_bytes(gzip.compress(b"say()"))
    (tmp_path / "dist" / "sounds" / "nyan.svg").write_bytes(b"<svg/>")
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
    for path in (
        "/assets/../secret.txt", "/assets/%2e%2e/secret.txt", "/assets/..%2fsecret.txt",
        f"/assets/%2f{str(tmp_path / 'secret.txt')[1:]}", "/assets/app.js%00", "/assets/nothing.js",
        "/assets/", "/assets/..%5csecret.txt", "/sounds/..%2f..%2fsecret.mp3", "/sounds/none.mp3",
        "/sounds/%2e%2e%2fLICENSE", "/sounds/tada.mp3%00", "/sounds/tada.wav", "/campfire.py",
    ):  # fmt: skip
        assert (await visitor.get(path)).status == 404, path


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


async def test_a_qr_code_is_a_black_on_white_drawing_kept_for_a_year(
    david: Person, visitor: Person
) -> None:
    profile = (await david.get("/api/users/me/profile")).json
    invitation = (await david.get("/api/account")).json["account"]["join_url"]

    answer = await visitor.get(profile["transfer_qr_path"])

    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000"
    drawing = ET.fromstring(answer.text)  # noqa: S314 - it is our own
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert drawing.get("viewBox")
    assert {"#fff", "#000"} <= set(re.findall(r"#[0f]{3}", answer.text))
    path = qr_path(invitation.encode())
    other = await visitor.get(path)
    assert (other.status, other.body == answer.body) == (200, False)
    assert (await visitor.get(path.rstrip("="))).body == other.body


@pytest.mark.parametrize("text", cases("texts that are no addresses of ours"))
async def test_a_qr_code_is_drawn_for_addresses_of_ours_alone(
    visitor: Person, cast: Cast, text: str
) -> None:
    base = visitor.server.address
    given = text.replace("BASE", base).replace("CODE", cast.join_code)

    assert (await visitor.get(qr_path(given.encode()))).status == 404


@pytest.mark.parametrize("path", cases("addresses of no QR code"))
async def test_what_is_no_text_makes_no_qr_code(visitor: Person, path: str) -> None:
    assert (await visitor.get(path)).status == 400

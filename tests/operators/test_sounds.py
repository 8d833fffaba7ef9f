"""The sounds and the pictures that go with them.

Loudness is EBU R128's integrated loudness (ITU-R BS.1770-4: K weighting, blocks of 400 ms, three
quarters overlapping, gated at -70 LUFS and 10 LU under the mean). It needs one whole block: every
sound is longer than that, so none is padded or looped for the measurement.
"""

import functools
import gzip
import itertools
import re
import runpy
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import miniaudio  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt
import pytest

from campfire import SOUNDS
from tests.support.executable import ROOT

FOLDER = ROOT / "sounds"
PICTURES = ROOT / "static_bundle" / "src" / "pictures"
# Served as in earlier Campfires, but no command plays them.
NOT_COMMANDS = {"incoming", "mario_coin", "maybe"}
NAMES = sorted(SOUNDS.keys() | NOT_COMMANDS)
SVG = "{http://www.w3.org/2000/svg}"
RATE = 44_100
# In decibels, between two fingerprints; a sound and its copy of another loudness are 0 apart.
DISTANCE = 6
# Where the notes begin among a source's words.
SKIP = {"gm": 1, "tone": 2}
MOTION = (
    r"@media \(prefers-reduced-motion: no-preference\) \{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
)
Audio = npt.NDArray[np.float64]


@functools.cache
def heard(name: str) -> Audio:
    """The decoded sound, one row for each ear."""
    decoded = miniaudio.decode(
        (FOLDER / f"{name}.mp3").read_bytes(),
        output_format=miniaudio.SampleFormat.FLOAT32,
        nchannels=2,
        sample_rate=RATE,
    )
    return np.array(decoded.samples, dtype=np.float64).reshape(-1, 2).T


def seconds(name: str) -> float:
    return float(heard(name).shape[1] / RATE)


def loudness(audio: Audio) -> float:
    """Integrated loudness in LUFS."""
    size = 1 << audio.shape[1].bit_length()
    turn = 1j * np.tan(np.pi * np.fft.rfftfreq(size))
    shelf = turn / np.tan(np.pi * 1681.974450955533 / RATE)
    high = turn / np.tan(np.pi * 38.13547087602444 / RATE)
    weight = (1.584864701 * shelf**2 + 1.258720930 * shelf / 0.707175237 + 1) / (
        shelf**2 + shelf / 0.707175237 + 1
    )
    weight *= high**2 / (high**2 + high / 0.500327037 + 1)
    weighted = np.fft.irfft(np.fft.rfft(audio, size) * weight)[:, : audio.shape[1]]
    block, step = round(0.4 * RATE), round(0.1 * RATE)
    sums = np.append(0, np.cumsum((weighted**2).sum(axis=0)))
    starts = np.arange(0, audio.shape[1] - block + 1, step)
    power = (sums[starts + block] - sums[starts]) / block
    power = power[power > 10 ** ((-70 + 0.691) / 10)]
    power = power[power > power.mean() / 10]
    return float(-0.691 + 10 * np.log10(power.mean()))


def true_peak(audio: Audio) -> float:
    """The highest point between the samples too: BS.1770's fourfold oversampling."""
    size = 1 << audio.shape[1].bit_length()
    finer = np.fft.irfft(np.fft.rfft(audio, size), 4 * size) * 4
    return float(np.abs(finer).max())


def fingerprint(name: str) -> Audio:
    """Two seconds as 12 steps of time by 24 bands of pitch, in decibels, without their mean."""
    mono = heard(name).mean(axis=0)
    mono = np.pad(mono, (0, max(0, 2 * RATE - len(mono))))[: 2 * RATE]
    edges = np.geomspace(80, 12_000, 25)
    rows = []
    for part in np.split(mono, 12):
        power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
        bands = np.searchsorted(np.fft.rfftfreq(len(part), 1 / RATE), edges)
        rows.append([power[low:high].mean() for low, high in itertools.pairwise(bands)])
    decibels = 10 * np.log10(np.array(rows) + 1e-3)
    return np.asarray(decibels - decibels.mean())


@functools.cache
def script() -> dict[str, Any]:
    """What sounds/make_sounds.py defines: its tools are needed only when it renders."""
    return runpy.run_path(str(FOLDER / "make_sounds.py"))


def scored() -> dict[str, str]:
    """Name -> layers, as the script reads them."""
    found = script()["SOUND"].findall(script()["SCORES"])
    return {name: layers for name, _tempo, _longest, layers in found}


def pictured() -> dict[str, Any]:
    return {name: sound["image"] for name, sound in SOUNDS.items() if sound["image"]}


def drawn(name: str) -> Path:
    return PICTURES / str(pictured()[name]["url"]).removeprefix("/assets/sounds/")


def test_every_sound_has_its_file_and_nothing_else_lies_there() -> None:
    files = {file.name for file in FOLDER.iterdir()}

    assert len(NAMES) == 59
    assert files == {f"{name}.mp3" for name in NAMES} | {
        "make_sounds.py",
        "sounds.json",
        "README.md",
    }


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
    both = [name for name, it in SOUNDS.items() if bool(it["text"]) == bool(it["image"])]
    assert both == []


@pytest.mark.parametrize("name", sorted(pictured()))
def test_a_picture_has_the_size_the_server_tells(name: str) -> None:
    width, height = str(pictured()[name]["width"]), str(pictured()[name]["height"])
    drawing = ET.parse(drawn(name)).getroot()  # noqa: S314 - a file of this repository

    assert drawing.tag == f"{SVG}svg"
    assert (drawing.get("width"), drawing.get("height")) == (width, height)
    assert drawing.get("viewBox") == f"0 0 {width} {height}"
    assert drawing.findtext(f"{SVG}title")


@pytest.mark.parametrize("name", sorted(pictured()))
def test_a_picture_is_only_a_picture_and_moves_only_for_those_who_like_it(name: str) -> None:
    text = drawn(name).read_text()
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
    built = gzip.decompress(
        (ROOT / f"static_bundle/dist/sounds/{drawn(name).name}.gz").read_bytes()
    )

    assert built == drawn(name).read_bytes()

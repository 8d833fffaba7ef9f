"""How the executable starts, and how its sounds sound to a machine.

Loudness is EBU R128's integrated loudness (ITU-R BS.1770-4: K weighting, blocks of 400 ms, three
quarters overlapping, gated at -70 LUFS and 10 LU under the mean). It needs one whole block: every
sound is longer than that, so none is padded or looped for the measurement.
"""

import functools
import itertools
import os
import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import miniaudio  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from campfire import SOUNDS, SoundImage

ROOT = Path(__file__).resolve().parents[2]
PYZ = ROOT / "campfire.pyz"
TAG = f"cpython-{sys.version_info[0]}{sys.version_info[1]}-Linux-{os.uname().machine}-glibc"
LARGEST = 16 * 1024 * 1024
CANNOT_START = 78
# Runs the executable as if Python or the machine were another one.
ELSEWHERE = """
import os, runpy, sys
sys.argv = [sys.argv[1], "--version"]
{pretence}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# Runs a command with a folder of its own kind mounted, which needs no rights in a user namespace.
MOUNTED = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'


def run(*command: str | Path, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `--version` says when it unpacks into `cache`."""
    return subprocess.run(
        [*(command or (sys.executable, PYZ)), "--version"],
        env={**os.environ, "SHIV_ROOT": str(cache), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_refused(outcome: subprocess.CompletedProcess[str], reason: str) -> None:
    assert outcome.returncode == CANNOT_START
    assert outcome.stdout == ""
    assert re.fullmatch(rf"campfire\.pyz: [^\n]*{reason}[^\n]*\n", outcome.stderr)


def unpacked(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if not path.name.startswith("."))


def is_whole(folder: Path) -> bool:
    """Whether every file of the executable, which is for one Python, lies in the folder."""
    with zipfile.ZipFile(PYZ) as archive:
        wanted = [i for i in archive.infolist() if i.filename.startswith("site-packages/")]
        return all((folder / info.filename).stat().st_size == info.file_size for info in wanted)


# --- The sounds ----------------------------------------------------------------------------------

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


# --- The pictures --------------------------------------------------------------------------------


def pictured() -> dict[str, SoundImage]:
    return {name: sound.image for name, sound in SOUNDS.items() if sound.image}

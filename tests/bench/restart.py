"""How long tabs are gone when the server is restarted; they come back as our client does."""

import re
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import chain, repeat
from random import Random

from tests.bench.load import Tab
from tests.bench.workplace import ROOT, Bench, Row, subscribe

TABS = 50
CLIENT = (ROOT / "static_bundle/src/lib/cable.ts").read_text()
# Seconds before each try; a fifth less at random.
WAITS = [int(wait) / 1000 for wait in re.split(", ", re.findall(r"AFTER = \[(.*)\]", CLIENT)[0])]


def _dialled(address: tuple[str, int], opening: str) -> Tab:
    """A tab that has joined its room. Raises OSError."""
    tab = Tab(address, opening.encode(), [subscribe(1)])
    tab.socket.settimeout(60)
    tab.begin()
    while not tab.is_ready:
        if not (data := tab.socket.recv(1 << 16)):
            raise ConnectionResetError
        tab.take(data)
    return tab


def _until_back(address: tuple[str, int], opening: str, everybody: threading.Barrier) -> float:
    """Lives through a restart; when it was back."""
    random, pause = Random(opening), threading.Event()  # noqa: S311 - the same each time
    with closing(_dialled(address, opening).socket) as connection:
        everybody.wait()
        while connection.recv(1 << 16):
            pass
    for wait in chain(WAITS, repeat(WAITS[-1])):
        pause.wait(wait * (1 - random.random() / 5))
        with suppress(OSError), closing(_dialled(address, opening).socket):
            break
    return time.perf_counter()


def restart(bench: Bench) -> Iterator[Row]:
    database, everybody = bench.database(1_000), threading.Barrier(TABS + 1)
    with ThreadPoolExecutor(TABS) as tabs:
        with bench.campfire(database) as served:
            openings, port = bench.openings(served, TABS), str(served.address[1])
            living = [tabs.submit(_until_back, served.address, it, everybody) for it in openings]
            everybody.wait()
            began = time.perf_counter()
        with bench.campfire(database, PORT=port) as served:
            up, back = time.perf_counter() - began, [each.result() - began for each in living]
    p50 = statistics.median(back)
    yield Row(
        "P8", f"{TABS} tabs, back after a restart: p50, last", f"{p50:.2f}, {max(back):.2f} s",
        f"Listening after {up:.2f} s", "", "≤ 1 s", p50 <= 1,
    )  # fmt: skip

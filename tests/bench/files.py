"""What files cost: on their way in and out, as pictures, beside talk, in backups; and previews."""

import hashlib
import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

import campfire as program
from tests.bench.workplace import MEGABYTE, POST, PYZ, ROOMS, Bench, Row, Served

GIGABYTE = 1024 * MEGABYTE
PIECE = bytes(256 * 1024)
BOUNDARY = "b0undary"
HEAD = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="attachment"; filename="NAME"\r\n\r\n'
END = f"\r\n--{BOUNDARY}--\r\n"
# One order in a process that does nothing else, as a hand does it; its processor time and memory.
ONE_STILL = """
import campfire, io, json, os, sys, tempfile
campfire.get_ready_for_pictures()
if not (hand := os.fork()):
    with open(sys.argv[1], "rb", 0) as source, tempfile.TemporaryFile(buffering=0) as target:
        campfire.ORDERS["still"](source, target)
    os._exit(0)
_, _, used = os.wait4(hand, 0)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def photo(path: Path, width: int, height: int, detail: int, quality: int) -> Path:
    """A photograph about as large as such are: noise, blown up."""
    small = (width // detail, height // detail)
    noise = Image.frombytes("RGB", small, os.urandom(small[0] * small[1] * 3))
    blown_up = noise.resize((width, height), Image.Resampling.BICUBIC)
    blown_up.save(path, "JPEG", quality=quality)
    return path


def _answer(connection: socket.socket) -> tuple[int, int, bytes]:
    """Status, length and the end of the body of the next answer."""
    buffer = bytearray(MEGABYTE)
    with connection.makefile("rb") as heard:
        status, length = int(heard.readline().split()[1]), 0
        while line := heard.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        left, got = length, 0
        while left:
            got = heard.readinto(memoryview(buffer)[: min(left, MEGABYTE)])
            left -= got
        return status, length, bytes(buffer[:got])


class Sender:
    """A browser that sends files, and looks at them."""

    def __init__(self, bench: Bench, served: Served, person: int, room: int = 1) -> None:
        self.connection = socket.create_connection(served.address)
        line = f"POST /api/rooms/{room}/messages"
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        posts = bench.head(served, person, line, posts=True).replace("gzip", "identity")
        self.posts = posts.replace("application/json", kind)
        self.gets = bench.head(served, person, "GET PATH", posts=False)

    def send(self, size: int, data: bytes = b"", name: str = "notes.bin") -> dict[str, object]:
        """The message that a file became: of these bytes, or of so many zeros."""
        head = HEAD.replace("NAME", name)
        length = len(head) + (len(data) or size) + len(END)
        self.connection.sendall(f"{self.posts}Content-Length: {length}\r\n\r\n{head}".encode())
        self.connection.sendall(data)
        for _ in range(0 if data else size // len(PIECE)):
            self.connection.sendall(PIECE)
        self.connection.sendall(END.encode())
        status, _, told = _answer(self.connection)
        assert status == 201, told
        message: dict[str, dict[str, object]] = json.loads(told)["message"]
        return message["attachment"]

    def get(self, path: object) -> int:
        """How many bytes there are at an address."""
        self.connection.sendall(f"{self.gets.replace('PATH', str(path))}\r\n".encode())
        status, length, _ = _answer(self.connection)
        assert status == 200
        return length

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def _private(pid: int) -> float:
    """Megabytes that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def _workshop_of(served: Served) -> int:
    children = f"/proc/{served.process.pid}/task/{served.process.pid}/children"
    return int(Path(children).read_text().split()[0])


def pictures(bench: Bench) -> Iterator[Row]:
    times, took = int(bench.scaled(50, 5)), list[float]()
    small = photo(bench.folder / "small.jpg", 2_000, 1_500, 8, 61)
    large = photo(bench.folder / "large.jpg", 4_000, 3_000, 3, 80)
    with bench.campfire(bench.database(1_000)) as served, Sender(bench, served, 2) as sender:
        idle, workshop = served.megabytes(), _private(_workshop_of(served))
        data = small.read_bytes()
        for _ in range(times):
            began = time.perf_counter()
            file = sender.send(0, data, "harbour.jpg")
            sender.get(file["still_url"])
            took.append((time.perf_counter() - began) * 1000)
        after = _private(_workshop_of(served))
    with bench.campfire(bench.database(1_000), FILES_ENABLED="0", AVATARS_ENABLED="0") as served:
        without = served.megabytes()
    yield Row("P11", "resident memory, files on and off", f"{idle:.1f} MB", f"{without:.1f} MB",
              f"{idle - without:+.1f} MB", "≤ +2 MB", idle - without <= 2)  # fmt: skip
    yield Row(
        "P11", "private memory of the workshop, before and after its first picture",
        f"{workshop:.1f}, {after:.1f} MB", "", "", "≤ 2, 10 MB", workshop <= 2 and after <= 10,
    )  # fmt: skip
    p50 = statistics.median(took)
    yield Row("P11", f"a JPEG of {len(data) // 1000} KB, posted until its still is there: p50",
              f"{p50:.0f} ms", "", "", "≤ 120 ms", p50 <= 120)  # fmt: skip
    told = subprocess.run([sys.executable, "-c", ONE_STILL, large], check=True, capture_output=True)
    cpu, memory = json.loads(told.stdout)
    yield Row(
        "P11", f"still of a JPEG of 12 megapixels, {large.stat().st_size / MEGABYTE:.1f} MB",
        f"{cpu * 1000:.0f} cpu-ms, {memory:.0f} MB", "", "", "≤ 170 ms, 110 MB",
        cpu <= 0.17 and memory <= 110,
    )  # fmt: skip


def uploads(bench: Bench) -> Iterator[Row]:
    size = int(bench.scaled(64, 4)) * MEGABYTE
    with bench.campfire(bench.database(1_000)) as served, ThreadPoolExecutor(16) as together:
        senders = [Sender(bench, served, 2 + number // 3) for number in range(16)]
        list(together.map(lambda sender: sender.send(len(PIECE)), senders))
        idle, cpu = served.megabytes(), served.cpu()
        seen, ended = [idle], threading.Event()

        def look() -> None:
            while not ended.wait(0.02):
                seen.append(served.megabytes())

        watch = threading.Thread(target=look)
        watch.start()
        began = time.perf_counter()
        list(together.map(lambda sender: sender.send(size), senders))
        seconds = time.perf_counter() - began
        ended.set()
        watch.join()
        each = (served.cpu() - cpu) * GIGABYTE / (16 * size)
        for sender in senders:
            sender.connection.close()
    grown = max(seen) - idle
    yield Row("P12", f"16 uploads of {size // MEGABYTE} MB at once: memory on top",
              f"{grown:+.1f} MB", "", "", "≤ +24 MB", grown <= 24)  # fmt: skip
    yield Row("P12", f"the same ({16 * size / MEGABYTE / seconds:.0f} MB/s): a GB uploaded",
              f"{each:.2f} cpu-s", "", "", "≤ 3.5 cpu-s", each <= 3.5)  # fmt: skip


def talk_meanwhile(bench: Bench) -> Iterator[Row]:
    seconds, rooms = bench.scaled(20, 3), range(1, ROOMS + 1)
    posts, heard = int(seconds * 50), list[dict[str, float]]()
    with bench.campfire(bench.database(1_000)) as served:
        for is_busy in (False, True):
            ended = threading.Event()

            def upload(ended: threading.Event = ended) -> None:
                with Sender(bench, served, 63) as sender:
                    while not ended.is_set():
                        sender.send(256 * MEGABYTE)

            busy = threading.Thread(target=upload)
            if is_busy:
                busy.start()
            line = "POST /api/rooms/ROOM/messages"
            with (
                bench.tabs(served, 50, rooms, 50, timed=True) as tabs,
                bench.people(served, line, 50, POST, rooms) as load,
            ):
                tabs.tell(do="wait", frames=posts)
                bench.ask(served, load, seconds * 2, posts, 50)
                heard.append(tabs.hear())
            ended.set()
            if is_busy:
                busy.join()
    quiet, loud = heard[0]["p99"], heard[1]["p99"]
    yield Row(
        "P13", "chatter, 50 posts/s, while a large file comes: p50, p99",
        f"{heard[1]['p50']:.1f}, {loud:.1f} ms", f"{heard[0]['p50']:.1f}, {quiet:.1f} ms",
        f"{loud / quiet:.1f}x", "≤ 2x", loud <= 2 * quiet,
    )  # fmt: skip


def reading(bench: Bench) -> Iterator[Row]:
    seconds, path = bench.scaled(8, 1), photo(bench.folder / "tiny.jpg", 400, 300, 8, 60)
    with bench.campfire(bench.database(10_000)) as served, Sender(bench, served, 2, 2) as sender:
        for _ in range(40):
            sender.send(0, path.read_bytes(), "harbour.jpg")
        words = bench.rate(served, "GET /api/rooms/1/messages", 16, seconds)
        images = bench.rate(served, "GET /api/rooms/2/messages", 16, seconds)
        ratio = images.per_cpu / words.per_cpu
        yield Row("P14", "a page of 40 pictures", f"{images.per_cpu:,.0f}/cpu-s",
                  f"{words.per_cpu:,.0f} of words/cpu-s", f"{ratio:.0%}", "≥ 85 %",
                  ratio >= 0.85)  # fmt: skip
        file, ended = sender.send(100 * MEGABYTE)["url"], threading.Event()

        def download() -> int:
            with Sender(bench, served, 3) as reader:
                times = 0
                while not ended.is_set():
                    times += reader.get(file) > 0
                return times

        with ThreadPoolExecutor(8) as together, bench.people(served, "GET /up", 1) as load:
            quiet, cpu = bench.ask(served, load, seconds, pace=100), served.cpu()
            downloads = [together.submit(download) for _ in range(8)]
            loud = bench.ask(served, load, seconds, pace=100)
            ended.set()
            times = sum(each.result() for each in downloads)
            each = (served.cpu() - cpu) / max(times, 1)
    yield Row(
        "P14", f"8 downloads of 100 MB at once ({each:.2f} cpu-s each): /up p99",
        f"{loud.p99:.1f} ms", f"{quiet.p99:.1f} ms", "", "≤ 5 ms more",
        loud.p99 - quiet.p99 <= 5,
    )  # fmt: skip


class Page(BaseHTTPRequestHandler):
    """What a page that people link to says of itself."""

    def do_GET(self) -> None:
        page = (
            b'<head><meta property="og:title" content="Harbour"></head><body>In the morning</body>'
        )
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass


def _site() -> ThreadingHTTPServer:
    """A site at one of the ports where previews look."""
    for port in (8000, 8080, 8443):
        with suppress(OSError):
            return ThreadingHTTPServer(("127.0.0.1", port), Page)
    raise OSError("ports 8000, 8080 and 8443 are taken")


def previews(bench: Bench) -> Iterator[Row]:
    line, seconds = "POST /api/unfurl_link", bench.scaled(8, 1)
    with (
        _site() as site,
        bench.campfire(bench.database(1_000), ALLOW_PRIVATE_PREVIEWS="1") as served,
    ):
        threading.Thread(target=site.serve_forever, daemon=True).start()
        body = json.dumps({"url": f"http://127.0.0.1:{site.server_port}/"})
        asked = bench.rate(served, line, 1, seconds, body)
        site.shutdown()
    yield Row("P15", f"a preview that is remembered ({asked.per_cpu:,.0f}/cpu-s): p50",
              f"{asked.p50:.1f} ms", "", "", "≤ 2 ms", asked.p50 <= 2)  # fmt: skip


def _fill(bench: Bench, count: int, size: int) -> tuple[Path, list[Path]]:
    """A database with so many files of so many bytes; and where they are."""
    database, places = bench.database(1_000), list[Path]()
    shutil.rmtree(folder := database.with_name("campfire-files"), ignore_errors=True)
    with closing(sqlite3.connect(database)) as connection, connection:
        for _ in range(count):
            key, data = program.fresh_key(), os.urandom(min(size, MEGABYTE)) * -(-size // MEGABYTE)
            places.append(place := program.path_in(folder, key))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            sha256 = hashlib.sha256(data).digest()
            values = (key, len(data), sha256, "application/octet-stream", 0)
            connection.execute(
                "INSERT INTO blobs (key, byte_size, sha256, content_type, created_at)"
                " VALUES (?, ?, ?, ?, ?)",
                values,
            )
    return database, places


# By a small process, since Linux takes what its parent held for a process's own memory.
WATCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def _command(bench: Bench, database: Path, *arguments: str) -> tuple[float, float, float]:
    """Seconds, processor time and megabytes of a command."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-Ic", WATCH, sys.executable, "-I", PYZ, *arguments],
        env={**os.environ, "CAMPFIRE_DB": str(database), "SHIV_ROOT": str(bench.folder / "shiv")},
        capture_output=True, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    used, most = map(float, done.stdout.split())
    return seconds, used, most / 1024


def backups(bench: Bench) -> Iterator[Row]:
    count, size = int(bench.scaled(20_000, 2_000)), int(bench.scaled(64, 8))
    database, places = _fill(bench, count, 100)
    alone, _, least = _command(bench, database, "backup", "--no-files", str(bench.folder / "a.db"))
    whole, _, _ = _command(bench, database, "backup", str(bench.folder / "b.db"))
    began = time.perf_counter()
    for place in places:
        program.put_at(place, program.path_in(bench.folder / "links", place.name))
    os.sync()
    bare, ours = time.perf_counter() - began, whole - alone
    yield Row("P16", f"a backup of {count:,} files under second names, beside the database's",
              f"{ours:.1f} s", f"{bare:.1f} s to name them", f"{ours / bare:.1f}x", "≤ 5x",
              ours <= 5 * bare)  # fmt: skip
    database, places = _fill(bench, 16, size * MEGABYTE)
    _, _, memory = _command(bench, database, "backup", "--tar", str(bench.folder / "all.tar"))
    yield Row("P16", f"a tar of {16 * size} MB: memory of the command", f"{memory:.0f} MB",
              f"{least:.0f} MB without files", f"{memory - least:+.0f} MB", "≤ +16 MB",
              memory - least <= 16)  # fmt: skip
    _, alone, _ = _command(bench, database, "check")
    _, deep, _ = _command(bench, database, "check", "--deep")
    began = time.process_time()
    for place in places:
        with place.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    bare, ours = time.process_time() - began, deep - alone
    yield Row("P16", f"check --deep of {16 * size} MB, beside check", f"{ours:.1f} cpu-s",
              f"{bare:.1f} cpu-s to hash them", f"{ours / bare:.1f}x", "≤ 1.5x",
              ours <= 1.5 * bare)  # fmt: skip

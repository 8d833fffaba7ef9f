"""The Dockerfile, step by step, without Docker.

What a step does to the image is done to this machine's own files as a new process sees them: an
overlay in its own mount namespace, gone with it. The base image's Python is the one of the tests.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.cast import SETTINGS
from tests.support.executable import PYTHONS, is_ci, ran
from tests.support.operators import PROGRAM, certify, command, done, refusal

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(sys.executable).resolve()
# Shows the machine's files at $1/root, where whatever is changed is changed for these alone.
OVERLAID = """
set -e
mount -t tmpfs none "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay none -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
for each in proc dev sys; do mount --rbind "/$each" "$1/root/$each"; done
cp -R "$2" "$1/clone"
cd "$1/root"
"""
# The image runs until it is healthy, is told to stop, and then it is not healthy any more.
RUNS = """
{run} & serving=$!
until {health}; do kill -0 $serving; done
kill -TERM $serving
wait $serving
if {health}; then exit 9; fi
chroot . sh -c "stat -c '%U %a %n' /data /data/*"
"""


def instructions() -> list[tuple[str, str]]:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def of(name: str) -> list[str]:
    return [rest for each, rest in instructions() if each == name]


def step(user: str, settings: str, words: str) -> str:
    """One command inside the image, as a shell of ours runs it."""
    path = f"PATH={PYTHON.parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin"
    given = f"env -i HOME=/home/{user} PORT=3999 HOST=127.0.0.1 {path} {settings}"
    return f"chroot --userspec={user} . {given} {words}"


def exec_form(words: str) -> str:
    return shlex.join(json.loads(words.removeprefix("CMD ")))


def image() -> str:
    """The Dockerfile as a shell script."""
    script, user, settings = [], "root", ""
    for name, rest in instructions():
        match name:
            case "COPY" if rest.startswith("--from=build "):
                _, source, to = rest.split()
                script.append(f"cp .{source} .{to}; rm -r ./src")
            case "COPY":
                _, to = rest.split()
                script.append(f"cp -R ../clone .{to}")
            case "RUN":
                script.append(step("root", "", f"sh -ec {shlex.quote(rest)}"))
            case "USER":
                user = rest
            case "ENV":
                settings = rest
            case _:
                pass
    (health,), (run,) = of("HEALTHCHECK"), of("CMD")
    script.append("chmod a+x root 2>/dev/null || true")  # where this machine has its Python
    told = {"run": exec_form(run), "health": exec_form(health)}
    return "\n".join(script) + RUNS.format(
        **{name: step(user, settings, each) for name, each in told.items()}
    )


def test_the_dockerfile_is_short_and_says_what_a_container_needs() -> None:
    names = [name for name, _ in instructions()]

    assert len(names) <= 12
    assert names.count("FROM") == 2
    assert of("USER") == ["campfire"]
    assert of("VOLUME") == ["/data"]
    assert {each.split("=")[1].split("/")[1] for each in of("ENV")[0].split()} == {"data"}
    assert exec_form(of("HEALTHCHECK")[0]) == "campfire.pyz healthcheck"
    bases = {rest.split()[0] for rest in of("FROM")}
    (version,) = {match[1] for each in bases if (match := re.match(r"python:(3\.\d+)-slim$", each))}
    assert len(bases) == 1
    assert version in PYTHONS


def test_the_readme_runs_the_container_in_two_commands() -> None:
    found = re.findall(r"^docker .+$", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert [each.split()[1] for each in found] == ["build", "run"]
    assert "-v campfire:/data" in found[1]
    assert f"-p 3000:{of('EXPOSE')[0]}" in found[1]


def test_each_step_of_the_dockerfile_works_and_the_image_runs(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        assert not is_ci()
        sys.stderr.write("\nNot tried: the steps of the Dockerfile need root\n")
        return
    clone, place = tmp_path / "clone", tmp_path / "image"
    place.mkdir()
    listed = subprocess.run("git ls-files".split(), cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().splitlines():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)

    outcome = ran(
        [
            "unshare", "--mount", "--propagation=private", "bash", "-c", OVERLAID + image(),
            "image", place, clone,
        ],
        timeout=280,
    )  # fmt: skip

    assert outcome.returncode == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert "campfire 700 /data" in lines
    assert "campfire 700 /data/cache" in lines
    assert "campfire 600 /data/campfire.db" in lines


# --- healthcheck ---------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - every address there is
@pytest.mark.parametrize("is_secure", [False, True])
def test_healthcheck_says_nothing_while_the_server_is_well(
    tmp_path: Path, host: str, *, is_secure: bool
) -> None:
    settings = {"HOST": host, "CAMPFIRE_DB": str(tmp_path / "campfire.db"), "LOG_LEVEL": "error"}
    if is_secure:
        certify(tmp_path, "chat.example.com")
        files = {"TLS_CERT_FILE": "cert.pem", "TLS_KEY_FILE": "key.pem"}
        settings |= {name: str(tmp_path / file) for name, file in files.items()}
    with subprocess.Popen(
        [sys.executable, PROGRAM, "serve"],
        env={**os.environ, **SETTINGS, **settings}, stdout=subprocess.PIPE, text=True,
    ) as serving:  # fmt: skip
        assert serving.stdout
        port = serving.stdout.readline().strip().rpartition(":")[2]
        well = command(tmp_path / "campfire.db", "healthcheck", "--port", port, **settings)
        serving.terminate()

    assert done(well) == ""


def test_healthcheck_fails_with_a_line_when_nobody_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
    outcome = command(tmp_path / "campfire.db", "healthcheck", PORT=port, HOST="127.0.0.1")

    assert refusal(outcome) == f"no Campfire answers at http://127.0.0.1:{port}/up"
    assert list(tmp_path.iterdir()) == []


def test_healthcheck_fails_with_what_up_says_when_it_is_not_well(tmp_path: Path) -> None:
    class Ill(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b'{"database": "full"}')

    with ThreadingHTTPServer(("127.0.0.1", 0), Ill) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        port = str(server.server_address[1])
        outcome = command(tmp_path / "campfire.db", "healthcheck", PORT=port, HOST="127.0.0.1")
        server.shutdown()

    assert refusal(outcome) == f'http://127.0.0.1:{port}/up answers 503: {{"database": "full"}}'

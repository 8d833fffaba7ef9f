"""The project around the code: its files, its limits, its client, its packages, its words."""

import ast
import asyncio
import gzip
import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import campfire
from tests.support.cast import Cast, Server
from tests.support.executable import ran

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "static_bundle"
SOURCE = CLIENT / "src"
STYLES = SOURCE / "styles"

FILE_LINES = 500
PRODUCT_FILES = 60
README_LINES = 300
SOURCE_SUFFIXES = {".py", ".sh", ".ts", ".tsx", ".js", ".css", ".html", ".sql"}

STYLESHEETS = """
_reset actiontext animation autocomplete avatars base boosts buttons code colorize colors composer
embeds filters flash inputs layout lightbox messages nav panels separators sidebar signup spinner
utilities
""".split()
LAYERS = ["reset", "base", "trix", "components", "utilities"]

CLIENT_PACKAGES = set("@rails/actioncable dompurify highlight.js react react-dom trix".split())
SERVER_PACKAGES = set("aiohttp aiosqlite bcrypt cryptography nh3 pillow pywebpush segno".split())
# Packages that may run a script when they are installed; we install with --ignore-scripts anyway.
INSTALL_SCRIPTS = {"node_modules/fsevents"}

TOP_LEVEL = set(
    """
    .ci .gitattributes .gitignore CHANGELOG.md Dockerfile LICENSE README.md SECURITY.md THIRD_PARTY
    build_zipapp.sh campfire.py pyproject.toml requirements-build.lock requirements-dev.lock
    requirements.lock sounds static_bundle tests
    """.split()
)


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that is or would be committed."""
    command = "git ls-files --cached --others --exclude-standard -z".split()
    listed = ran(command, cwd=ROOT, check=True)
    files = (Path(name) for name in sorted(set(listed.stdout.split("\0"))) if name)
    return tuple(file for file in files if (ROOT / file).is_file())


def is_source(file: Path) -> bool:
    return file.suffix in SOURCE_SUFFIXES and "dist" not in file.parts


def product_sources() -> list[Path]:
    return [file for file in tracked() if is_source(file) and file.parts[0] != "tests"]


def sources_of_tests() -> list[Path]:
    return [file for file in tracked() if is_source(file) and file.parts[0] == "tests"]


def lines_of(file: Path) -> list[str]:
    return (ROOT / file).read_text().splitlines()


# --- Files and limits ----------------------------------------------------------------------------


def test_the_top_level_holds_what_the_rulings_name_and_nothing_else() -> None:
    assert {file.parts[0] for file in tracked()} - TOP_LEVEL == set()


def test_at_most_sixty_source_files_make_the_product() -> None:
    assert len(product_sources()) <= PRODUCT_FILES


def test_a_file_has_a_name_of_its_own_for_the_tests_it_holds_and_no_other_holds_any() -> None:
    a_test = re.compile(r"^\s*(?:(?:async )?def test_|(?:test|it)(?:\.\w+)*\()", re.MULTILINE)
    is_named = re.compile(r"test_\w+\.py|\w+\.test\.tsx?")
    tests = {file: is_named.fullmatch(file.name) is not None for file in sources_of_tests()}
    holds = {file: a_test.search((ROOT / file).read_text()) is not None for file in tests}

    assert tests == holds
    names = [file.name for file, is_test in tests.items() if is_test]
    assert sorted(names) == sorted(set(names))  # pytest would take the second for the first


def test_no_source_file_but_the_server_is_longer_than_500_lines() -> None:
    sources = [
        file for file in (*product_sources(), *sources_of_tests()) if file.name != "campfire.py"
    ]

    assert {str(file): n for file in sources if (n := len(lines_of(file))) > FILE_LINES} == {}


def test_no_line_of_shell_is_wider_than_100_columns() -> None:
    # ruff and biome see to the other languages.
    scripts_of_shell = [file for file in tracked() if file.suffix == ".sh" or file.name == "run"]
    wide = [
        (str(file), at)
        for file in scripts_of_shell
        for at, line in enumerate(lines_of(file), 1)
        if len(line) > 100
    ]

    assert len(scripts_of_shell) == 3
    assert wide == []


def test_no_source_leaves_a_debt_behind() -> None:
    words = [word.replace(" ", "") for word in ("TO DO", "FIX ME", "X XX", "HA CK")]
    debts = re.compile(rf"\b({'|'.join(words)})\b")
    found = [
        (str(file), at)
        for file in (*product_sources(), *sources_of_tests())
        for at, line in enumerate(lines_of(file), 1)
        if debts.search(line)
    ]

    assert [place for place in found if place[0] != "tests/house/test_architecture.py"] == []


def test_no_file_names_a_package_registry_or_a_workplace() -> None:
    # Spelled with gaps, so that this file may name them.
    gaps = ["py pi.org", "python hosted.org", "npm js.", "deb.de bian.org", "/wor k/"]
    elsewhere = [name.replace(" ", "") for name in gaps]
    found = []
    for file in tracked():
        content = (ROOT / file).read_bytes()
        text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode("latin-1")
        found += [(str(file), word) for word in elsewhere if word in text]

    assert found == []


# --- Tests ---------------------------------------------------------------------------------------


def python_tests() -> Iterator[tuple[Path, ast.Module]]:
    for file in sources_of_tests():
        if file.suffix == ".py":
            yield file, ast.parse((ROOT / file).read_text())


def test_every_test_is_named_with_a_sentence() -> None:
    names = [
        node.name
        for _, tree in python_tests()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
    ]

    assert len(names) == len(set(names))
    assert [name for name in names if len(name.split("_")) < 5] == []


def test_no_test_mocks_patches_skips_or_sleeps() -> None:
    banned = {"mock", "Mock", "MagicMock", "AsyncMock", "patch", "monkeypatch", "skip", "skipif"}
    found = []
    for file, tree in python_tests():
        for node in ast.walk(tree):
            words = {
                *(getattr(node, name, None) for name in ("id", "attr", "arg", "module")),
                *(alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")),
            }
            found += [(str(file), word) for word in words if word in banned | {"unittest.mock"}]
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "sleep":
                found += [(str(file), "sleep") for arg in node.args if ast.unparse(arg) != "0"]

    assert found == []


def test_no_test_function_is_longer_than_50_lines() -> None:
    long = [
        (str(file), node.name)
        for file, tree in python_tests()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno >= 50
    ]

    assert long == []


# --- The client ----------------------------------------------------------------------------------


def client_digest() -> str:
    """As build_zipapp.sh counts it: SHA-256 over every file that decides the build."""
    files = (path for path in CLIENT.rglob("*") if path.is_file())
    names = sorted(path.relative_to(CLIENT).as_posix() for path in files)
    made = {"dist", "dist-plain", "node_modules"}
    lines = (
        f"{hashlib.sha256((CLIENT / name).read_bytes()).hexdigest()}  {name}\n"
        for name in names
        if name.split("/")[0] not in made
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_committed_client_was_built_from_the_committed_source() -> None:
    manifest = json.loads((CLIENT / "dist" / "manifest.json").read_text())

    assert manifest["source"] == client_digest(), "run ./build_zipapp.sh client"


def test_the_committed_client_is_whole() -> None:
    dist = CLIENT / "dist"
    manifest = json.loads((dist / "manifest.json").read_text())
    built = {}
    for path in dist.rglob("*"):
        if path.is_file() and path.name != "manifest.json" and path.suffix != ".br":
            name, content = path.relative_to(dist).as_posix(), path.read_bytes()
            content = gzip.decompress(content) if name.endswith(".gz") else content
            built[name.removesuffix(".gz")] = hashlib.sha256(content).hexdigest()

    assert built == manifest["files"]
    needed = {"app.js", "app.css", "purify.js", "trix.js", "highlight.js", "service_worker.js"}
    assert needed <= set(built)


def test_there_are_exactly_the_26_stylesheets() -> None:
    assert sorted(path.name for path in STYLES.iterdir()) == [f"{name}.css" for name in STYLESHEETS]
    assert [path for path in SOURCE.rglob("*.css") if path.parent != STYLES] == []


@pytest.mark.parametrize("name", STYLESHEETS)
def test_a_stylesheet_is_exactly_one_layer(name: str) -> None:
    css = re.sub(r"/\*.*?\*/", "", (STYLES / f"{name}.css").read_text(), flags=re.DOTALL).strip()
    if name == "_reset":
        order = f"@layer {', '.join(LAYERS)};"
        assert css.startswith(order)
        css = css.removeprefix(order).strip()
        css = css.removeprefix('@import "trix/dist/trix.css" layer(trix);').strip()

    opening = re.match(r"@layer (\w+) \{", css)
    assert opening
    assert opening[1] in LAYERS
    assert css.count("@layer") == 1
    assert closes_at(css) == len(css) - 1


def test_only_the_reset_is_important_and_layers_and_sizes_of_text_have_names() -> None:
    value = r"(?:z-index|font-size): (?!var\(--[zt]|max\(16px, var|inherit|[\d.]+em;)|!important"
    css = {path.stem: path.read_text() for path in STYLES.iterdir() if path.stem != "_reset"}
    assert {name for name, text in css.items() if re.search(value, text)} == set()


def closes_at(css: str) -> int:
    """Where the first block ends."""
    depth = 0
    for at, character in enumerate(re.sub(r'"[^"\n]*"', lambda m: "." * len(m[0]), css)):
        depth += (character == "{") - (character == "}")
        if character == "}" and depth == 0:
            return at
    return -1


def test_every_stylesheet_comes_in_order_with_the_entry_or_with_what_is_loaded_late() -> None:
    main = (SOURCE / "main.tsx").read_text()
    others = (script.read_text() for script in scripts() if script.name != "main.tsx")
    late = re.findall(r'"\.\./styles/(\w+)\.css\?inline"', "".join(others))

    expected = [name for name in STYLESHEETS if name not in late]
    assert re.findall(r'"\./styles/(\w+)\.css"', main) == expected


def scripts() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*") if path.suffix in {".ts", ".tsx"})


def imports_of(script: Path) -> Iterator[Path]:
    """The scripts a script imports; styles, pictures and data stand outside the layers."""
    for name in re.findall(r'(?:from|import\()\s*"(\.[^"]*)"', script.read_text()):
        target = (script.parent / name).resolve()
        for found in (target, target.with_name(target.name + ".ts"), Path(f"{target}.tsx")):
            if found.suffix in {".ts", ".tsx"} and found.is_file():
                yield found


def rank(script: Path) -> int:
    folder = script.relative_to(SOURCE).parts[0]
    return {"lib": 0, "components": 1, "screens": 2}.get(folder, 3)


def test_the_clients_imports_point_one_way() -> None:
    graph = {script: set(imports_of(script)) for script in scripts()}
    upward = [
        (script.name, target.name)
        for script, targets in graph.items()
        for target in targets
        if rank(target) > rank(script)
    ]

    assert sum(map(len, graph.values())) > 0
    assert upward == []
    assert in_a_circle(graph) == []


def in_a_circle(graph: dict[Path, set[Path]]) -> list[str]:
    """What remains when files that import nothing, or that nothing imports, are taken away."""
    left = {script: set(targets) for script, targets in graph.items()}
    while True:
        imported = set().union(*left.values())
        ends = [script for script in left if not left[script] & set(left) or script not in imported]
        if not ends:
            return sorted(script.name for script in left)
        left = {script: targets for script, targets in left.items() if script not in ends}


def test_markup_from_the_server_enters_the_page_in_one_component() -> None:
    door = "dangerouslySet InnerHTML".replace(" ", "")  # so that this line is no use of it
    uses = {script.name: script.read_text().count(door) for script in scripts()}

    assert {name: count for name, count in uses.items() if count} == {"message.tsx": 1}


def test_the_client_needs_five_packages_at_run_time() -> None:
    package = json.loads((CLIENT / "package.json").read_text())

    assert set(package["dependencies"]) == CLIENT_PACKAGES
    assert all(re.fullmatch(r"[\d.]+", version) for version in package["dependencies"].values())


def locked_client_packages() -> dict[str, dict[str, object]]:
    lock = json.loads((CLIENT / "package-lock.json").read_text())
    packages: dict[str, dict[str, object]] = lock["packages"]
    return {name: entry for name, entry in packages.items() if name}


def test_the_clients_lock_file_pins_by_digest_and_names_no_address() -> None:
    locked = locked_client_packages()

    assert [name for name, entry in locked.items() if "resolved" in entry] == []
    assert [name for name, entry in locked.items() if "integrity" not in entry] == []
    scripted = {name for name, entry in locked.items() if entry.get("hasInstallScript")}
    assert scripted - INSTALL_SCRIPTS == set()


# --- Packages ------------------------------------------------------------------------------------


def pins(lock: str) -> dict[str, list[str]]:
    """`name==version` -> its digests."""
    text = (ROOT / lock).read_text()
    found = re.findall(
        r"^([\w.-]+==\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})+)", text, re.MULTILINE
    )
    return {pin: re.findall(r"[0-9a-f]{64}", hashes) for pin, hashes in found}


LOCKS = ["requirements.lock", "requirements-build.lock", "requirements-dev.lock"]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_python_package_is_pinned_by_version_and_digest(lock: str) -> None:
    lines = [line for line in lines_of(Path(lock)) if re.match(r"\w", line)]

    assert len(lines) == len(pins(lock)) > 0


def test_the_server_needs_eight_packages_and_each_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {re.split(r"[<>=]", each)[0] for each in project["project"]["dependencies"]}

    assert wanted == SERVER_PACKAGES
    assert wanted <= {pin.split("==")[0] for pin in pins("requirements.lock")}


def test_every_package_inside_the_executable_is_listed_with_its_licence() -> None:
    listed = dict(
        re.findall(r"^(\S+ \S+)  +(\S.*)$", (ROOT / "THIRD_PARTY").read_text(), re.MULTILINE)
    )
    shipped = {pin.replace("==", " ") for pin in pins("requirements.lock")}
    for name, entry in locked_client_packages().items():
        if not entry.get("dev"):
            shipped.add(f"{name.removeprefix('node_modules/')} {entry['version']}")

    assert shipped - set(listed) == set()


# --- Words ---------------------------------------------------------------------------------------


def test_the_readme_says_of_every_setting_what_its_table_says() -> None:
    readme = (ROOT / "README.md").read_text().replace("`", "")
    cells = r"^\| ([A-Z_, ]+) \| ([a-z -]*)\| .* \| (.*) \|$"
    rows = re.findall(cells, readme, re.MULTILINE)

    assert {"host", "port", "database"} <= set(campfire.SETTINGS)
    for setting in campfire.SETTINGS.values():
        names, flag = set(setting["variables"]), setting["flag"].partition(" ")[0]
        (row,) = (row for row in rows if names <= set(row[0].split(", ")))
        assert row[2].startswith(setting["says"])
        assert row[1].strip() == (f"--{flag}" if flag else "")


def test_the_readme_speaks_of_what_is_in_the_source() -> None:
    chapter = (ROOT / "README.md").read_text().partition("\n## Architecture\n")[2]
    names = set(re.findall(r"`(\w+)`", chapter.partition("\n## ")[0]))
    source = set(re.findall(r"\w+", (ROOT / "campfire.py").read_text()))

    assert {"admit_person", "ROUTES", "WriteTx"} <= names
    assert names - source - {"lib", "components"} == set()


def test_the_readme_mentions_every_route_for_bots() -> None:
    readme = (ROOT / "README.md").read_text()
    routes = [route for route in campfire.ROUTES if "bot_key" in route.path]
    told = [f"`{route.method} {route.path}`".replace("{", ":").replace("}", "") for route in routes]

    assert len(told) == 9
    assert [each for each in told if each not in readme] == []
    assert len(lines_of(Path("README.md"))) < README_LINES


def test_the_changelog_begins_with_the_newest_dated_release() -> None:
    dates = re.findall(
        r"^## \S+ - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )

    assert dates
    assert dates == sorted(dates, reverse=True)


# What the server answered stands behind curl's own output, and every request has its method's name.
CURL = 'curl() { command curl -sS -w "\\n%{method} %{http_code} %header{location}" "$@"; }'


async def test_a_bot_can_be_run_with_the_lines_of_the_readme_and_curl_alone(
    server: Server, cast: Cast
) -> None:
    (block,) = re.findall(r"```sh\n(room=.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    first, *lines = block.strip().splitlines()
    assert first.startswith("room=http://localhost:3000/rooms/1/")
    room = f"room={server.address}/rooms/{cast.watercooler.id}/5-ABCDEFGHIJKL/messages"
    statuses, message, boost = [], "", ""
    for line in lines:
        command = line.replace("$room/42", f"$room{message}").replace("/9", boost)
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", f"{CURL}\n{room}\n{command}", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        body, _, told = output.decode().rpartition("\n")
        method, status, location = told.split(" ")
        statuses.append((method, int(status)))
        message = message or "/" + location.rpartition("/")[2]
        boost = f"/{json.loads(body)['id']}" if "boosts" in line and not boost else boost
    assert statuses == [
        ("POST", 201), ("GET", 200), ("PUT", 200), ("POST", 201), ("DELETE", 204), ("DELETE", 204),
    ]  # fmt: skip


def test_the_built_client_runs_the_pinned_editor_and_one_sanitizer() -> None:
    lock = json.loads((CLIENT / "package-lock.json").read_text())["packages"]
    built = (CLIENT / "dist").glob("*.js.gz")
    scripts = {path.name: gzip.decompress(path.read_bytes()).decode() for path in built}

    assert f"`{lock['node_modules/trix']['version']}`" in scripts["trix.js.gz"]
    found = {
        name: re.findall(r"\.version=`([\d.]+)`,\w+\.removed", script)
        for name, script in scripts.items()
    }
    pinned = lock["node_modules/dompurify"]["version"]
    assert {name: versions for name, versions in found.items() if versions} == {
        "purify.js.gz": [pinned]
    }


# In bytes, gzipped (ui.md 15). The entry comes with the runtime that its chunks share.
CLIENT_BUDGETS = (
    (("app.js.gz", "rolldown-runtime.js.gz"), 125_000),
    (("trix.js.gz",), 56_000),
    (("highlight.js.gz",), 26_000),
    (("app.css.gz",), 18_000),
)


@pytest.mark.parametrize(("names", "budget"), CLIENT_BUDGETS)
def test_the_committed_client_is_as_small_as_promised(names: tuple[str, ...], budget: int) -> None:
    size = sum((CLIENT / "dist" / name).stat().st_size for name in names)
    sys.stdout.write(f"{' + '.join(names)}: {size:,} of {budget:,} bytes\n")
    assert size <= budget


def test_the_entry_of_the_client_comes_in_one_piece() -> None:
    entry = gzip.decompress((CLIENT / "dist" / "app.js.gz").read_bytes()).decode()
    assert set(re.findall(r"from\s*.\./([\w-]+)\.js", entry)) <= {"rolldown-runtime"}

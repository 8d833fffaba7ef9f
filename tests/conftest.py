"""What every test starts from: the cast, a server of its own, and everybody signed in."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import campfire as program
from tests.cast import (
    Cast,
    LogLines,
    Person,
    Server,
    Start,
    copy_database,
    start_server,
    write_template,
)

# A run in the gate must give the same verdict twice: nothing is random there, nothing is timed.
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=200, print_blob=True)
settings.register_profile("soak", deadline=None, max_examples=20_000)
settings.register_profile(
    "quick", deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cast]:
    """The cast's database, made once, and who is in it."""
    database = tmp_path_factory.mktemp("template") / "campfire.db"
    return database, asyncio.run(write_template(database))


@pytest.fixture(scope="session")
def cast(template: tuple[Path, Cast]) -> Cast:
    return template[1]


@pytest.fixture
async def start(template: tuple[Path, Cast], tmp_path: Path) -> AsyncIterator[Start]:
    """Starts servers with settings of one's own: `await start(TLS_DOMAIN="chat.example.com")`.

    The database holds the cast; with `seeded=False` it is a new one. A second start in the same
    test goes on with the database of the first.
    """
    running: list[Server] = []

    async def start_one(
        *, seeded: bool = True, client: Path | None = None, ahead: float = 0.0, **given: str
    ) -> Server:
        database = tmp_path / "campfire.db"
        if seeded and not database.exists():
            copy_database(template[0], tmp_path)
        running.append(await start_server(database, client, ahead, **given))
        return running[-1]

    yield start_one
    for server in reversed(running):
        await server.close()


@pytest.fixture
async def server(start: Start) -> Server:
    """A running server with the cast."""
    return await start()


@pytest.fixture
async def fresh_server(start: Start) -> Server:
    """A running server before its first run."""
    return await start(seeded=False)


@pytest.fixture
async def visitor(server: Server) -> Person:
    """Somebody nobody knows."""
    return await server.visitor()


@pytest.fixture
async def david(server: Server, cast: Cast) -> Person:
    return await server.sign_in(cast.david)


@pytest.fixture
async def jason(server: Server, cast: Cast) -> Person:
    return await server.sign_in(cast.jason)


@pytest.fixture
async def jz(server: Server, cast: Cast) -> Person:
    return await server.sign_in(cast.jz)


@pytest.fixture
async def kevin(server: Server, cast: Cast) -> Person:
    return await server.sign_in(cast.kevin)


@pytest.fixture
def watercooler(cast: Cast) -> program.Room:
    return cast.watercooler


@pytest.fixture
def designers(cast: Cast) -> program.Room:
    return cast.designers


@pytest.fixture
def hq(cast: Cast) -> program.Room:
    return cast.hq


@pytest.fixture
def pets(cast: Cast) -> program.Room:
    return cast.pets


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> LogLines:
    """The log as it would stand on standard output, one JSON object a line."""
    caplog.set_level(logging.DEBUG, logger="campfire")
    return lambda: [program.JsonLines().format(record) for record in caplog.records]

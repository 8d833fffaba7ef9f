"""What every test starts from: the cast, a server of its own, and everybody signed in."""

import asyncio
import logging
import os
import shutil
import socket
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

import campfire as program
from campfire import RoomId, RoomType, User
from tests.support.cast import (
    ENTRUSTED,
    Cast,
    LogLines,
    Person,
    Server,
    Start,
    Template,
    copy_database,
    gather_cast,
    start_server,
)

# A run in the gate must give the same verdict twice: nothing is random there, nothing is timed.
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=200, print_blob=True)
settings.register_profile("soak", deadline=None, max_examples=20_000)
settings.register_profile(
    "quick", deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# The later ones use the earlier ones.
SHARED = """
    cable operators rails services browsers house installed studio looks matrix sites storage
"""
pytest_plugins = [f"tests.support.{name}" for name in SHARED.split()]

T = TypeVar("T")


class BrowsersTakeTurns(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
    """Of several workers one has all the browsers: their tests measure time. Files stay whole."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "browser" if file.startswith("tests/browser/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:  # noqa: ANN401 - xdist's own
    return BrowsersTakeTurns(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which folder takes how long."""
    seconds: dict[str, float] = defaultdict(float)
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport) and not isinstance(report, pytest.SubtestReport):
            seconds[report.nodeid.split("/")[1]] += report.duration
    if len(seconds) > 1:
        told = ", ".join(
            f"{folder} {taken:.0f} s"
            for folder, taken in sorted(seconds.items(), key=itemgetter(1), reverse=True)
        )
        terminalreporter.write_sep("=", told)


class Listener(logging.Handler):
    """Hears every line of the log as it would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(program.JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(autouse=True)
def _no_line_of_any_log_holds_a_secret() -> Iterator[None]:
    log, listener = logging.getLogger("campfire"), Listener()
    level = log.level
    log.addHandler(listener)
    log.setLevel(logging.DEBUG)
    log.propagate = False  # pytest would keep all of it to its end
    yield
    log.propagate = True
    log.setLevel(level)
    log.removeHandler(listener)
    told = "\n".join(listener.lines)
    secrets = [each for each in ENTRUSTED if len(each) > 8]  # the number of a room is none
    ENTRUSTED.clear()
    assert [each for each in secrets if each in told] == []


@pytest.fixture
def it(subtests: pytest.Subtests) -> Callable[[str], AbstractContextManager[None]]:
    """Names what one block of a test shows: `with it("member → 403"):`."""
    return subtests.test


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The cast's database, made once and closed, and who is in it.

    It was all yesterday: stored times never go back, and so a test may write in the past.
    """
    database = tmp_path_factory.mktemp("template") / "campfire.db"

    async def written() -> Cast:
        server = await start_server(database, ahead=-86_400)
        try:
            return await gather_cast(server.parts)
        finally:
            await server.close()

    return database, asyncio.run(written())


@pytest.fixture(scope="session")
def cast(template: Template) -> Cast:
    return template[1]


@pytest.fixture
async def start(template: Template, tmp_path: Path) -> AsyncIterator[Start]:
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
        running.append(
            await start_server(
                database, client, ahead, program.Database, socket.getaddrinfo, **given
            )
        )
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


def signed_in(name: str) -> Any:  # noqa: ANN401 - what makes fixtures has no name of its own
    """The fixture of somebody of the cast, signed in."""

    @pytest.fixture(name=name)
    async def person(server: Server, cast: Cast) -> Person:
        return await server.sign_in(getattr(cast, name))

    return person


def met_in(name: str) -> Any:  # noqa: ANN401 - as above
    """The fixture of a room of the cast."""

    @pytest.fixture(name=name)
    def room(cast: Cast) -> program.Room:
        found: program.Room = getattr(cast, name)
        return found

    return room


david, jason, jz, kevin = map(signed_in, ("david", "jason", "jz", "kevin"))
watercooler, designers, hq = map(met_in, ("watercooler", "designers", "hq"))
david_and_jason, pets = map(met_in, ("david_and_jason", "pets"))


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> LogLines:
    """The log as it would stand on standard output, one JSON object a line."""
    caplog.set_level(logging.DEBUG, logger="campfire")
    logging.getLogger("campfire").propagate = True
    return lambda: [program.JsonLines().format(record) for record in caplog.records]


class Place:
    """A server of the cast with a loop of its own, for tests that hypothesis drives."""

    def __init__(self, template: Template, kind: type[program.Database] = program.Database) -> None:
        self.folder, self.cast = Path(tempfile.mkdtemp()), template[1]
        self.runner = asyncio.Runner()
        self.server = self.do(start_server(copy_database(template[0], self.folder), kind=kind))
        self.parts = self.server.parts
        self.rooms, self.messages = self.parts.rooms, self.parts.messages
        self.auth = self.parts.auth

    def close(self) -> None:
        self.do(self.server.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def rows(self, sql: str, **values: object) -> list[tuple[Any, ...]]:
        """What a statement finds, as plain tuples."""
        work = self.parts.db.read(lambda tx: [tuple(each) for each in tx.execute(sql, values)])
        return self.do(work)

    def run(self, sql: str, **values: object) -> None:
        """Changes the database behind everybody's back."""
        self.do(self.parts.db.write(lambda tx, _: tx.execute(sql, values).rowcount))

    def rows_about(self, room: RoomId) -> list[tuple[Any, ...]]:
        """The room, whatever belongs to it, and whatever belongs to a message that is not there."""
        return self.rows(
            """
            SELECT 'room', id FROM rooms WHERE id = :room
            UNION ALL SELECT 'membership', id FROM memberships WHERE room_id = :room
            UNION ALL SELECT 'message', id FROM messages WHERE room_id = :room
            UNION ALL SELECT 'tombstone', message_id FROM message_tombstones WHERE room_id = :room
            UNION ALL SELECT 'boost', id FROM boosts
              WHERE message_id NOT IN (SELECT id FROM messages)
            UNION ALL SELECT 'mention', message_id FROM mentions
              WHERE message_id NOT IN (SELECT id FROM messages)
            UNION ALL SELECT 'index', rowid FROM message_search_index
              WHERE rowid NOT IN (SELECT id FROM messages)
            """,
            room=room,
        )

    def assert_all_is_indexed(self) -> None:
        """Each message by its words, its room, its author and what it has, and nothing else."""
        sql = """
            SELECT messages.id, body_text, room_id, creator_id, kind, body_html LIKE '%http%'
            FROM messages LEFT JOIN attachments ON message_id = messages.id ORDER BY messages.id
        """
        assert self.rows("SELECT rowid, body, about FROM message_search_index ORDER BY rowid") == [
            (
                message_id,
                program.searchable(text),
                f"r{room} u{by} r{room}u{by}"
                + (f" file {kind}" if kind else "")
                + " link" * has_link,
            )
            for message_id, text, room, by, kind, has_link in self.rows(sql)
        ]

    def room(self, creator: User, *others: User) -> RoomId:
        """A new closed room."""
        members = [other.id for other in others]
        return self.do(self.rooms.create(creator, RoomType.CLOSED, "Backstage", members)).room.id

    def post(
        self, by: User, room: RoomId, source: str, client_message_id: str | None = None
    ) -> program.Posted:
        draft = program.DraftMessage(room, by.id, client_message_id, source)
        return self.do(self.messages.create_message_with_deduplication(draft))

    def mention(self, user: User) -> str:
        sgid = self.parts.signer.sgid(user.id)
        kind = "application/vnd.program.mention"
        return f'<action-text-attachment sgid="{sgid}" content-type="{kind}">' + (
            "</action-text-attachment>"
        )


@pytest.fixture(scope="module")
def place(template: Template) -> Iterator[Place]:
    """One server for all the examples of a module."""
    place = Place(template)
    yield place
    place.close()

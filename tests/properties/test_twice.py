"""A transaction that outlasts a glance begins again: what it did before must leave no trace."""

import ast
import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import campfire as program
from tests.support import matrix
from tests.support.asking import reset_password, session_for, transfer_to
from tests.support.cast import (
    SESAME,
    Template,
    WallClock,
    make_administrator,
    newcomer,
    start_server,
)
from tests.support.matrix import World
from tests.support.storage import Storage
from tests.support.studio import at_work

ROOT = Path(__file__).resolve().parents[2]
PROBES = {"try_to_write if probes else lambda *_: None"}  # what they write is undone
GIVEN_ON = {"hang_up"}  # a parameter: what it stands for is tried under its own name

# What is drawn anew each time; the rest of a row must be the same.
DRAWN = {
    "join_code", "bot_token", "token_hash", "email_address", "email_folded", "client_message_id",
    "value", "key",
}  # fmt: skip


def _without_what_is_drawn(result: object) -> str:
    return re.sub(r"[\w-]{12,}", "*", repr(result))


def _rows(tx: program.WriteTx) -> dict[str, list[tuple[Any, ...]]]:
    tables = [name for (name,) in tx.execute(
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE TABLE%'"
    )]  # fmt: skip
    kept: dict[str, list[tuple[Any, ...]]] = {}
    for table in tables:
        rows = tx.execute(f"SELECT * FROM main.{table}").fetchall()  # noqa: S608 - its own tables
        kept[table] = [tuple(row[n] for n in row.keys() if n not in DRAWN) for row in rows]  # noqa: SIM118 - a Row
    return kept


class Twice(program.Database):
    """A database that does everything, takes it back, and does it again."""

    tried: ClassVar[set[str]] = set()

    async def write(self, work: Callable[..., Any], *args: Any, **named: Any) -> Any:  # noqa: ANN401 - any work
        def twice(tx: program.WriteTx, at: program.Timestamp) -> Any:  # noqa: ANN401 - any work
            def done() -> tuple[str, dict[str, list[tuple[Any, ...]]], Any]:
                try:
                    result = work(tx, at, *args, **named)
                except program.CampfireError as refusal:
                    if program.is_interrupted(refusal):  # it is done anew, off the loop
                        raise
                    result = refusal
                said = repr(result) if isinstance(result, Exception) else ""
                return said or _without_what_is_drawn(result), _rows(tx), result

            tx.execute("SAVEPOINT first")
            before = done()
            tx.execute("ROLLBACK TO first")
            tx.execute("RELEASE first")
            after = done()
            assert after[:2] == before[:2], work
            if isinstance(after[2], Exception):
                raise after[2]
            self.tried.add(getattr(work, "__name__", ""))
            return after[2]

        return await super().write(twice)


def _given_to_the_writer() -> set[str]:
    """The names of all functions that campfire.py hands to `write`."""
    tree = ast.parse((ROOT / "campfire.py").read_text())
    return {
        ast.unparse(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and re.search(r"\bdb\.write$|_db\.write$", ast.unparse(node.func))
    }


@pytest.fixture(scope="module")
def world(template: Template) -> Iterator[World]:
    world = World(template, Twice)
    yield world
    world.close()


async def _ask_for_everything(world: World, name: str, route: str, room: str) -> None:
    method, body = route.partition(" ")[0], matrix.ROUTES[route].get("body")
    await world.ask(world.actors[name], method, world.path(route, room), body)


async def _do_what_no_route_does(world: World) -> None:
    parts, cast = world.parts, world.cast
    await parts.db.write(program.sweep_tombstones)
    await parts.db.write(program.sweep_sign_ins)
    await parts.db.write(program.note_result, 1, 403, "keys")
    await parts.db.write(program.keep_secrets, {"new": "secret"})
    await parts.db.write(program.keep_secrets, {"new": "other"}, anew=True)
    await make_administrator(parts, "Ann", "ann@example.com")
    await make_administrator(parts, "Kevin", "kevin@example.com")
    await reset_password(parts, "kevin@example.com", SESAME)
    link = await transfer_to(world.place.server, cast.kevin)
    session = program.NewSession(program.RawToken("its token"), "127.0.0.1", "phone")
    await parts.db.write(program.redeem, parts.signer, link, session)
    viewer = await session_for(parts, program.RawToken(world.actors["author"].token))
    assert viewer is not None
    await parts.db.write(program.refresh_session, viewer.session.id, "127.0.0.1", "phone")
    await parts.db.write(program.mark_read, cast.kevin.id, cast.designers.id)
    await parts.db.write(program.banish, cast.david, cast.jz.id)
    while await parts.db.write(program.bury_oldest_of_banned, cast.jz.id):
        pass
    await _take_files(world)


async def _take_files(world: World) -> None:
    """A file without a still, and one that nobody sent in the end."""
    parts, cast = world.parts, world.cast
    async with parts.store.incoming() as spool, parts.store.incoming():
        await parts.store.write(spool, matrix.PIXEL)
        picture = await parts.store.settle(spool, "image/gif")
        file = program.NewFile(picture, "pixel.gif", is_untried=True)
        draft = program.DraftMessage(cast.designers.id, cast.kevin.id, None, "", file=file)
        sent = (await parts.messages.create_message_with_deduplication(draft)).message
    assert sent.file
    await parts.db.write(program.note_still, sent.file, None, None)
    await parts.store.sweep()


async def _found_a_campfire(database: Path) -> None:
    server = await start_server(database, kind=Twice)
    try:
        await server.parts.auth.first_run(newcomer("David", "david@example.com"))
    finally:
        await server.close()


async def _take_over_a_campfire(database: Path, source: Path) -> program.Import:
    db = Twice(database, WallClock())
    await db.open()
    try:
        with program.open_rails(source) as rails:
            signer = program.Signer("secret")
            report: program.Import = await db.write(program.import_all, rails, signer)
            return report
    finally:
        await db.close()


async def _bring_files(database: Path, storage: Storage) -> None:
    """What an import noted of files is brought, drawn, and swept a day later."""
    db, workshop = Twice(database, clock := WallClock()), program.Workshop()
    await db.open()
    process = at_work(workshop)
    try:
        store = program.Store(db, program.config_from({"CAMPFIRE_DB": str(database)}))
        moving = program.Moving(db, store, workshop, storage.folder / "files", is_news=True)
        await moving.take_all(is_move=False)
        await moving.draw_stills()
        clock.ahead = 26 * 3_600
        await store.sweep()
    finally:
        workshop.close()
        await db.close()
    assert process.wait(30) == 0


def test_every_transaction_does_the_same_when_it_begins_again(
    world: World, tmp_path: Path, rails: Path, storage: Storage
) -> None:
    for route, room in matrix.ROWS:
        if not route.startswith("GET"):
            for name in ("nobody", "author", "creator", "administrator inside", "bot inside"):
                world.restore()
                world.place.do(_ask_for_everything(world, name, route, room))
    world.restore()
    world.place.do(_do_what_no_route_does(world))
    asyncio.run(_found_a_campfire(tmp_path / "first.db"))
    report = asyncio.run(_take_over_a_campfire(tmp_path / "second.db", rails))

    asyncio.run(_take_over_a_campfire(tmp_path / "third.db", storage.database))
    asyncio.run(_bring_files(tmp_path / "third.db", storage))

    assert "users: 0" not in "\n".join(report.lines())
    assert sorted(_given_to_the_writer() - Twice.tried - PROBES - GIVEN_ON) == []

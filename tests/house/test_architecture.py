"""The shape of `campfire.py`: the rules of style.md, held by reading the syntax tree."""

import ast
import re
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import campfire
from tests.support.executable import ran
from tests.support.source import (
    FUNCTIONS,
    HOME,
    LINES,
    ORDER,
    PARENT,
    ROOT,
    SECTIONS,
    TEXT,
    TREE,
    USES,
    Function,
    called,
    defined,
    functions_calling,
    path_to,
    section_of,
)

FILE_LINES = 15_081
SECTIONS_AT_MOST = 41  # the whole of 2.x
SECTION_LINES = 500
FUNCTION_LINES = 50
GUARD_AWAITS = 1
HANDLER_AWAITS = 2

# Who may make a proof. Holding one means that somebody checked, or that the database said so.
PROOFS = {
    "HashedToken": {"hashed"},
    "Membership": {"membership_of", "memberships_of"},
    "PersistedMessage": {"messages_in", "store_message"},
    "ReadTx": {"Database._does", "Database.at_a_glance", "_read"},
    "SafeHtml": {"sanitize", "messages_in"},
    "Subscription": {"Cable._subscribe"},
    "ValidatedMessage": {"validate"},
    "Viewer": {"at_the_door"},
    "WriteTx": {"Database._does"},
}

# Awaits that only read the request, send the answer, or hand over to the next in line.
READING = re.compile(r"read_\w+")
SENDING = {"prepare", "write", "write_eof"}

# The compiler's proof that a step cannot be left out: each line must stay illegal.
FORBIDDEN = """
from campfire import *
def moves(
    tx: WriteTx, reader: ReadTx, db: Database, at: Timestamp, draft: DraftMessage,
    valid: ValidatedMessage, by: Membership, user_id: UserId, room_id: RoomId, raw: RawToken,
    typed: str,
) -> None:
    store_message(tx, at, valid, ())
    store_message(tx, at, draft, ())  # type: ignore[arg-type]
    store_message(reader, at, valid, ())  # type: ignore[arg-type]
    db.read(store_message, at, valid, ())  # type: ignore[arg-type, unused-coroutine]
    views_of(tx, [by])
    views_of(tx, [room_id])  # type: ignore[list-item]
    membership_of(tx, room_id, user_id)  # type: ignore[arg-type]
    mark_read(reader, at, user_id, room_id)  # type: ignore[arg-type]
    start_session(tx, at, user_id, raw)  # type: ignore[arg-type]
    Body(html=typed, text=typed, mentions=(), links=())  # type: ignore[arg-type]
    messages_in(tx, [valid])  # type: ignore[list-item]
def promises(
    auth: Auth, rooms: Rooms, messages: Messages, cable: Cable, jobs: Jobs
) -> tuple[AuthService, RoomService, MessageService, WebSocketBroadcaster, BackgroundWork]:
    return auth, rooms, messages, cable, jobs
"""

# Tables that have a few rows by their nature; scanning one is not a growing cost.
SMALL = {"accounts", "schema_version", "secrets", "sqlite_sequence"}

# Statements that may scan a table that grows, by the function that runs them.
MAY_SCAN = {
    "_sentences": "a check looks at everything",
    "take_inventory": "a check looks at everything",
    "_kept_in": "a backup looks at everything",
    "_mark": "mending looks at everything, once",
    "_stand_ins": "a salvage looks at everything, once",
    "rebuild_index": "it is made of all messages",
    "_take_over_files": "a migration looks at everything, once",
    "_due": "once an hour, over what was deleted in the last",
    "_doom_unshown": "once an hour, over the pictures of previews",
    "Store.usage_in": "asked when a quota is set, or by whoever looks after the server",
    "stem_of": "an index in memory holds one word",
    "views_of": "takes the first entry of an index and stops",
    "grant_open_rooms": "whoever joins gets every open room, so it reads them all",
    "sweep_tombstones": "once an hour, over what was deleted in seven days",
    "sweep_sign_ins": "once an hour, over the sign-in links of four hours",
}

WAITING = (ast.Await, ast.AsyncFor, ast.AsyncWith)


# --- The page ------------------------------------------------------------------------------------


def test_the_table_of_contents_lists_the_banners_in_order() -> None:
    contents = re.findall(r"^ *(\d+)\.? +(\w+) +\S", ast.get_docstring(TREE) or "", re.MULTILINE)

    assert [(int(number), name) for number, name in contents] == [
        (section.number, section.name) for section in SECTIONS
    ]
    assert [section.number for section in SECTIONS] == list(range(1, len(SECTIONS) + 1))


def test_every_banner_says_its_idea_and_then_what_it_owns_and_raises_if_anything() -> None:
    for section in SECTIONS:
        idea = re.split("# (?:Owns|Raises)  ", section.banner)[0]
        words = re.findall(r"^# (\w+) {2,}\S", section.banner, re.MULTILINE)
        assert len(idea.split()) >= 8, section.name
        assert words in ([], ["Owns"], ["Raises"], ["Owns", "Raises"]), section.name


def test_nothing_stands_outside_a_section() -> None:
    outside = [node for node in TREE.body if not section_of(node)]
    kinds = {called(node.value) if isinstance(node, ast.Assign) else type(node) for node in outside}

    assert kinds <= {ast.Expr, ast.Import, ast.ImportFrom, "ParamSpec", "TypeVar"}


def test_a_section_uses_only_sections_above_it() -> None:
    downward = [
        (here, there, sorted(names))
        for here, used in USES.items()
        for there, names in used.items()
        if ORDER.index(there) > ORDER.index(here)
    ]

    assert downward == []


def test_a_table_is_written_by_the_one_section_that_owns_it() -> None:
    owned = {(section.name, table) for section in SECTIONS for table in section.declares("Owns")}
    written = {
        (section_of(node), found[1])
        for node, sql in SQL.items()
        if (found := re.match(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)", sql))
        and section_of(node) != "schema"  # a migration rewrites what is there
    }

    assert len({table for _, table in owned}) == len(owned)
    assert written
    assert written - owned == set()


def test_no_section_is_a_drawer() -> None:
    assert {"utils", "util", "misc", "helpers", "helper", "common", "tools"} & set(ORDER) == set()


def test_a_private_name_never_leaves_its_section() -> None:
    leaks = [
        (here, there, name)
        for here, used in USES.items()
        for there, names in used.items()
        for name in names
        if name.startswith("_")
    ]

    assert leaks == []


NAMING = (
    ast.ExceptHandler,
    ast.MatchAs,
    ast.MatchStar,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
)


def local_names(function: Function) -> Iterator[tuple[str, int]]:
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif node is not function and isinstance(node, NAMING) and node.name:
            yield node.name, node.lineno


def test_no_local_name_shadows_a_top_level_name() -> None:
    top = [each for each in FUNCTIONS if not isinstance(PARENT[each], Function)]
    lambdas = [node.args for node in ast.walk(TREE) if isinstance(node, ast.Lambda)]
    shadows = {found for each in top for found in local_names(each) if found[0] in HOME}
    shadows |= {(arg.arg, arg.lineno) for args in lambdas for arg in args.args if arg.arg in HOME}

    assert sorted(shadows) == []


def test_the_file_has_no_more_lines_and_sections_than_it_had() -> None:
    assert len(LINES) <= FILE_LINES
    assert len(SECTIONS) <= SECTIONS_AT_MOST


def test_no_section_is_longer_than_500_lines() -> None:
    assert {s.name: s.end - s.start for s in SECTIONS if s.end - s.start >= SECTION_LINES} == {}


def test_no_function_is_longer_than_50_lines() -> None:
    lengths = {
        path_to(each) + "." + each.name: (each.end_lineno or 0) - each.lineno + 1
        for each in FUNCTIONS
    }

    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


def test_annotations_are_read_by_python_itself_so_that_none_points_down_the_file() -> None:
    futures = [node for node in ast.walk(TREE) if isinstance(node, ast.ImportFrom)]

    assert [node.lineno for node in futures if node.module == "__future__"] == []


def test_no_word_of_a_drawer_a_debt_or_a_print_is_in_the_file() -> None:
    words = r"\b(utils?|helpers?|TODO|FIXME|XXX|HACK|print)\b"

    assert [line for line in LINES if re.search(words, line)] == []


def test_handlers_see_of_a_service_only_what_it_promises() -> None:
    parts = {part.name: part.type for part in fields(campfire.Campfire)}

    assert [parts[name] for name in ("auth", "rooms", "messages", "cable")] == [
        campfire.AuthService,
        campfire.RoomService,
        campfire.MessageService,
        campfire.WebSocketBroadcaster,
    ]


# --- SQL -----------------------------------------------------------------------------------------

VERB = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH)\s")
SQL = {
    node: node.value
    for node in ast.walk(TREE)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and VERB.match(node.value)
}
STATEMENTS = sorted({(path_to(node), sql) for node, sql in SQL.items()})


class AnyValue(dict[str, object]):
    """Stands for whatever a statement wants bound."""

    def __missing__(self, name: str) -> None:
        return None


@pytest.fixture(scope="module")
def schema() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    campfire.create_schema(connection)
    connection.execute(campfire.STEMS)  # which stands beside an index in memory alone
    connection.execute(
        "CREATE TABLE attachments_of_1 (id, message_id, blob_key, filename, byte_size, metadata,"
        " created_at)"  # which a migration reads, and drops
    )
    yield connection
    connection.close()


def stands_right_before_its_call(statement: ast.AST) -> bool:
    """`sql = ...`, and the next line runs it: nothing is added to it, nothing comes between."""
    if not isinstance(statement, ast.Assign) or ast.unparse(statement.targets[0]) != "sql":
        return False
    beside = next(
        body
        for _, body in ast.iter_fields(PARENT[statement])
        if isinstance(body, list) and statement in body
    )
    following = beside[beside.index(statement) + 1]
    names = [node for node in ast.walk(following) if isinstance(node, ast.Name)]
    used = [node for node in names if node.id == "sql" and isinstance(node.ctx, ast.Load)]
    return bool(used) and all(node in getattr(PARENT[node], "args", ())[:2] for node in used)


def test_every_statement_is_a_plain_literal_in_the_call_that_runs_it_or_right_before_it() -> None:
    loose = {
        (path_to(node), node.lineno)
        for node in SQL
        if not (isinstance(parent := PARENT[node], ast.Call) and node in parent.args)
        and not stands_right_before_its_call(parent)
    }

    assert SQL
    assert loose == set()


def test_sql_stands_only_in_the_database_and_the_domain_sections() -> None:
    domain = ORDER[ORDER.index("schema") : ORDER.index("web")]
    beside = {"rails", "moving", "repair", "backup"}  # what is done to a file that nobody serves

    assert {section_of(node) for node in SQL} - {*domain, *beside} == set()


@pytest.mark.parametrize(("where", "sql"), STATEMENTS, ids=[where for where, _ in STATEMENTS])
def test_sqlite_can_plan_every_statement_without_scanning_a_table_that_grows(
    schema: sqlite3.Connection, where: str, sql: str
) -> None:
    schema.execute(f"EXPLAIN {sql}", AnyValue()).fetchall()

    assert where in MAY_SCAN or not scanned_by(schema, sql)


def test_every_statement_that_may_scan_still_does(schema: sqlite3.Connection) -> None:
    scanning = {where for where, sql in STATEMENTS if scanned_by(schema, sql)}

    assert scanning == set(MAY_SCAN)


@pytest.mark.parametrize(
    ("view", "record"),
    [
        ("people", campfire.User),
        ("said", campfire.PersistedMessage),
        ("room_rows", campfire.Membership),
        ("attached", campfire.AttachedFile),
        ("subscriptions", campfire.PushSubscription),
    ],
)
def test_a_view_has_the_columns_of_the_record_that_is_made_of_it(
    schema: sqlite3.Connection, view: str, record: type
) -> None:
    columns = [name for _, name, *_ in schema.execute(f"PRAGMA table_info({view})")]

    assert columns == list(flat_fields(record))


# Of what a view has in place of a record inside another: the rest is read beside it.
COLUMNS = {
    "room": [field.name for field in fields(campfire.Room)],
    "creator": ["creator_id"],
    "body": ["body_html", "body_text"],
    "boosts": [],
    "blob": "blob_id key byte_size sha256 content_type".split(),
    "still": "still_id still_key still_size still_sha256 still_type".split(),
    "named": [],
    "path": [],
    "edited_by": ["edited_by"],
    "file": [],
}


def flat_fields(record: type) -> Iterator[str]:
    for name in record.__annotations__:
        yield from COLUMNS.get(name, [name])


NAMED = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(\w+)(?:\s+AS\s+(\w+))?")


def scanned_by(schema: sqlite3.Connection, sql: str) -> set[str]:
    """The growing tables that a statement reads from end to end, by SQLite's own plan."""
    steps = schema.execute(f"EXPLAIN QUERY PLAN {sql}", AnyValue()).fetchall()
    scans = {found[1] for *_, step in steps if (found := re.match(r"SCAN (\w+)", step))}
    tables = {alias or table: table for table, alias in NAMED.findall(sql)}
    scanned = {tables.get(name) or str(name) for name in scans}  # a view's tables by their own
    return scanned & ordinary_tables(schema) - SMALL


def ordinary_tables(schema: sqlite3.Connection) -> set[str]:
    found = schema.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL"
    )
    return {name for (name,) in found if not name.startswith("message_search_index")}


def test_work_inside_a_transaction_never_awaits() -> None:
    awaiting = [
        each.name
        for each in FUNCTIONS
        if isinstance(each, ast.AsyncFunctionDef) and any(arg.arg == "tx" for arg in each.args.args)
    ]

    assert awaiting == []


# --- Async, errors, proofs -----------------------------------------------------------------------


def awaits_in(function: Function) -> int:
    """How often a function waits for something of its own."""
    waits = [node for node in ast.walk(function) if isinstance(node, WAITING)]
    names = [called(node.value) if isinstance(node, ast.Await) else "" for node in waits]
    return sum(not READING.fullmatch(name) and name not in SENDING for name in names)


def test_a_guard_waits_at_most_once_to_learn_who_asks() -> None:
    returns = {each: ast.unparse(each.returns) for each in FUNCTIONS if each.returns}
    guards = [each for each, given in returns.items() if given.endswith(", Right]")]

    assert {each.name for each in guards} == {"admit_person", "_admit_bot"}
    assert {each.name: awaits_in(each) for each in guards if awaits_in(each) > GUARD_AWAITS} == {}


def rows_of_routes() -> list[ast.Call]:
    (table,) = [node for node in TREE.body if "ROUTES" in defined(node)]
    assert section_of(table) == "app"
    assert isinstance(table, ast.AnnAssign)
    assert isinstance(table.value, ast.Tuple)
    return [row for row in table.value.elts if isinstance(row, ast.Call)]


def test_nothing_is_written_for_a_request_without_a_second_look_at_its_right() -> None:
    rows = rows_of_routes()
    bare = {ast.literal_eval(row.args[0]) for row in rows if called(row) == "Route"}

    assert {called(row) for row in rows} == {"Screen", "sight", "act", "Route"}
    assert functions_calling("Route") == {"", "sight", "act"}
    assert functions_calling("Screen") == {""}
    assert bare == {"GET", "*"}  # looking writes nothing; the socket has a right of its own
    assert functions_calling("writing_by") == {"act.guarded", "Cable._heed"}
    assert functions_calling("right") == {"Database._does"}
    assert PROOFS["WriteTx"] == {"Database._does"}


def test_a_handler_waits_at_most_twice_and_what_only_looks_never() -> None:
    awaits = {each.name: awaits_in(each) for each in FUNCTIONS if path_to(each) == ""}
    most = {"Screen": 0, "sight": 0, "act": HANDLER_AWAITS}
    column = {"Screen": 2, "sight": 2}
    handlers = {
        (called(row), ast.unparse(work.args[0] if isinstance(work, ast.Call) else work))
        for row in rows_of_routes()
        if not isinstance(work := row.args[column.get(called(row), 3)], ast.Lambda)
    }

    assert {name for _, name in handlers} <= set(awaits)
    assert [
        each for each in handlers if awaits.get(each[1], 0) > most.get(each[0], HANDLER_AWAITS)
    ] == []


def is_broad(catcher: ast.ExceptHandler) -> bool:
    """Whether it ends an exception of any kind; cleaning up and raising again ends none."""
    names = ast.walk(catcher.type) if catcher.type else ()
    caught = {name.id for name in names if isinstance(name, ast.Name)}
    is_any = catcher.type is None or bool(caught & {"Exception", "BaseException"})
    last = catcher.body[-1]
    return is_any and not (isinstance(last, ast.Raise) and last.exc is None)


def test_only_the_error_answer_and_the_runner_of_jobs_catch_everything() -> None:
    catchers = {
        path_to(node)
        for node in ast.walk(TREE)
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    }

    assert catchers == {"answer_errors", "Jobs.attempt"}
    assert TEXT.count("except Exception") == len(catchers)


@pytest.mark.parametrize("proof", sorted(PROOFS))
def test_a_proof_is_made_only_where_it_is_checked_or_loaded(proof: str) -> None:
    assert functions_calling(proof) == PROOFS[proof]


def test_the_type_checker_refuses_every_forbidden_move(tmp_path: Path) -> None:
    snippet = tmp_path / "forbidden.py"
    snippet.write_text(FORBIDDEN)
    options = ["--strict", "--warn-unused-ignores", "--config-file", "pyproject.toml"]

    verdict = ran([sys.executable, "-m", "mypy", *options, str(snippet)], cwd=ROOT)

    assert verdict.stdout.startswith("Success"), verdict.stdout

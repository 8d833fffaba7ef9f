"""The tables of the tests: rows in tables.json, each table under a name that says what it lists."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

_REPEATED = re.compile(r"«(.+?)\*(\d+)»", re.DOTALL)


@cache
def _tables() -> dict[str, list[Any]]:
    told: dict[str, list[Any]] = json.loads((Path(__file__).parent / "tables.json").read_text())
    return told


def _meant(told: Any) -> Any:  # noqa: ANN401 - JSON
    """What a cell stands for: «x*9» is nine x, and {"bytes": "…"} are bytes."""
    match told:
        case str():
            return _REPEATED.sub(lambda found: found[1] * int(found[2]), told)
        case list():
            return [_meant(each) for each in told]
        case {"bytes": text, **rest} if not rest:
            return str(_meant(text)).encode("latin-1")
        case dict():
            return {_meant(name): _meant(each) for name, each in told.items()}
        case _:
            return told


def cases(name: str) -> list[Any]:
    """The rows under this name."""
    return [_meant(row) for row in _tables()[name]]


def briefly(cell: object) -> str:
    """The name of a case in a report."""
    return ascii(cell)[:40]

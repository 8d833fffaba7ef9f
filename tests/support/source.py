"""`campfire.py` as its tests read it: the syntax tree, and the sections."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "campfire.py").read_text()
LINES = TEXT.splitlines()
TREE = ast.parse(TEXT)
PARENT = {child: node for node in ast.walk(TREE) for child in ast.iter_child_nodes(node)}
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class Section(NamedTuple):
    number: int
    name: str
    start: int
    end: int
    banner: str  # the comment under its headline

    def declares(self, word: str) -> set[str]:
        """The names after Owns or Raises."""
        found = re.search(rf"^# {word} +(.*(?:\n#  {{4,}}.*)*)$", self.banner, re.MULTILINE)
        return set(re.findall(r"\w+", found[1].replace("#", ""))) if found else set()


def read_sections() -> list[Section]:
    headlines = [
        (at, int(found[1]), found[2])
        for at, line in enumerate(LINES, 1)
        if (found := re.fullmatch(r"# === (\d+)\. (\w+) =+", line))
    ]
    ends = [at - 1 for at, _, _ in headlines[1:]] + [len(LINES)]
    return [
        Section(number, name, at, end, _banner(at))
        for (at, number, name), end in zip(headlines, ends, strict=True)
    ]


def _banner(headline: int) -> str:
    lines = []
    for line in LINES[headline:]:
        if not line.startswith("#") or re.fullmatch(r"# =+", line):
            break
        lines.append(line)
    return "\n".join(lines)


SECTIONS = read_sections()
ORDER = [section.name for section in SECTIONS]


def section_at(line: int) -> str:
    """The section of a line; empty before the first."""
    return next((each.name for each in SECTIONS if each.start <= line <= each.end), "")


def section_of(node: ast.AST) -> str:
    """The section a node stands in; empty before the first."""
    return section_at(getattr(node, "lineno", 0))


def defined(node: ast.stmt) -> Iterator[str]:
    """The names a statement at the top level gives the file."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))


HOME = {name: section_of(node) for node in TREE.body for name in defined(node)}
FUNCTIONS = [
    node for node in ast.walk(TREE) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
]


def read_uses() -> dict[str, dict[str, set[str]]]:
    """Section -> other section -> the names of it that the code mentions."""
    found: dict[str, dict[str, set[str]]] = {name: defaultdict(set) for name in ORDER}
    for node in ast.walk(TREE):
        if not isinstance(node, ast.Name) or isinstance(node.ctx, ast.Store):
            continue
        if here := section_of(node):
            there = HOME.get(node.id, here)
            if there not in {here, ""}:
                found[here][there].add(node.id)
    return found


USES = read_uses()


def path_to(node: ast.AST) -> str:
    """`Class.method` or `function`: where a node stands."""
    names, around = [], PARENT.get(node)
    while around:
        if isinstance(around, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(around.name)
        around = PARENT.get(around)
    return ".".join(reversed(names))


def called(node: ast.AST) -> str:
    """The last word of what a call calls."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def functions_calling(name: str) -> set[str]:
    return {path_to(node) for node in ast.walk(TREE) if called(node) == name}

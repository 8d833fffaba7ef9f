"""What the tests of text say and judge by: cases, attacks, and the specification's own lists.

Plain cases stand in text_cases.json, where «this» is one of the WORDS, and attacks in
xss_vectors.json.
"""

import base64
import json
import re
from html import escape
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
from hypothesis import strategies as st

from campfire import Mentionable, UserId, presented, sanitize

MENTION = "application/vnd.campfire.mention"
NEW_TAB = ' target="_blank" rel="noopener noreferrer"'


def encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def sgid_of(user_id: int) -> str:
    payload = {"_rails": {"data": f"gid://campfire/User/{user_id}", "pur": "attachable"}}
    return f"{encoded(payload)}--5ca1ab1e"


def person(user_id: int, name: str, bio: str = "") -> Mentionable:
    title = f"{name} \N{EN DASH} {bio}" if bio else name
    avatar = f"/users/{user_id}/avatar?v=1&w=2"
    return Mentionable(UserId(user_id), name, title, avatar, sgid_of(user_id))


DAVID = person(1, "David")
KEVIN = person(3, "Kevin", "Programmer")
QUOTED = person(5, 'J"Z <b>&', "<i>")
CAST = {each.id: each for each in (DAVID, KEVIN, QUOTED)}


def mention(user: Mentionable, content: str = "") -> str:
    start = f'<action-text-attachment sgid="{user.sgid}" content-type="{MENTION}">'
    return f"{start}{content}</action-text-attachment>"


def trix(described: object, element: str = "figure", content: str = "") -> str:
    told = described if isinstance(described, str) else json.dumps(described)
    return f'<{element} data-trix-attachment="{escape(told)}" class="x">{content}</{element}>'


def html_of(source: str) -> str:
    return sanitize(source, CAST).html


def text_of(source: str) -> str:
    return sanitize(source, CAST).text


def shown(source: str) -> str:
    return presented(sanitize(source, CAST), CAST)


WORDS = {
    "mention of Kevin": mention(KEVIN), "sgid of Kevin": KEVIN.sgid, "sgid of David": DAVID.sgid,
    "sgid of nobody": sgid_of(404), "new tab": NEW_TAB,
    "90 different elements": "".join(f"<u title={n}>" for n in range(90)),
    "200 elements": "<div>" * 200, "9999 brackets": "[" * 9_999, "5000 nines": "9" * 5_000,
}  # fmt: skip


def told_in(name: str) -> dict[str, Any]:
    text = (Path(__file__).parent / name).read_text()
    for word, meaning in WORDS.items():
        text = text.replace(f"«{word}»", json.dumps(meaning)[1:-1])
    told: dict[str, Any] = json.loads(text)
    return told


CASES = told_in("text_cases.json")
STORED = CASES["sentences on what is stored"]
SHOWN = CASES["sentences on what is shown"]
NAMED = CASES["sentences on who is named"]
SOMEBODY = CASES["ids of user 7"]
NOBODY = CASES["ids of nobody"]
VECTORS = [vector for family in told_in("xss_vectors.json").values() for vector in family]


# --- Whatever anybody writes ---------------------------------------------------------------------

# The lists of the specification, once more and by hand: the program's own must not judge it.
SCHEMES = "|".join(CASES["the specification: schemes"])
ADDRESS = re.compile(rf"(?:{SCHEMES}):|[^:/?#]*(?:[/?#]|$)", re.IGNORECASE)


def parsed(markup: str) -> Element:
    tree: Element = html5lib.parseFragment(markup, namespaceHTMLElements=False)
    return tree


def elements(markup: str) -> list[Element]:
    return list(parsed(markup).iter())[1:]


def is_harmless(element: Element) -> bool:
    """By the lists of the specification, for a body as it is stored."""
    if element.tag == "action-text-attachment":
        return set(element.attrib) == {"sgid", "content-type"} and len(element) == 0
    allowed = {"title", "lang", *CASES["the specification: attributes"].get(element.tag, [])}
    addresses = [element.attrib[name] for name in ("href", "cite") if name in element.attrib]
    return (
        element.tag in CASES["the specification: elements"]
        and set(element.attrib) <= allowed
        and all(ADDRESS.match(re.sub(r"[\x00-\x20\x7f]", "", each)) for each in addresses)
        and all(each.startswith("language-") for each in element.get("class", "").split())
    )


def harmful(markup: str) -> list[Element]:
    return [each for each in elements(markup) if not is_harmless(each)]


soup = {part: st.sampled_from(choices) for part, choices in CASES["the soup"].items()}
tags = st.builds("<{}{}{}>".format, soup["slashes"], soup["elements"], soup["attributes"])
soups = st.lists(st.one_of(tags, tags, soup["words"], st.text(max_size=5)), max_size=40)
sources = st.one_of(st.text(), soups.map("".join))


# --- Too deep ------------------------------------------------------------------------------------


def repeated(parts: list[tuple[str, int]]) -> str:
    return "".join(text * times for text, times in parts)

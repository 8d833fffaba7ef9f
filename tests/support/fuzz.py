"""Hostile input for whatever takes some: bytes for every parser, requests for every route.

    pip install atheris
    .venv/bin/python -m tests.support.fuzz NAME [-max_total_time=60 …]

has a parser try what covers more and more of it, for as long as one likes; the suite gives each of
them, and the routes, what hypothesis thinks of.
"""

import importlib
import json
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

from hypothesis import strategies as st

import campfire as program
from tests.support.cast import Person, gather_cast, start_server
from tests.support.fuzz_files import FILE_PARSERS, FILE_PIECES
from tests.support.matrix import ROUTES

# --- Parsers --------------------------------------------------------------------------------------

RUNS = re.compile(r"\s*(javascript|vbscript|data):", re.IGNORECASE)
FORBIDDEN = set("base embed form iframe link math meta object script style svg".split())
SIGNER = program.Signer("s" * 64)


class Wall(HTMLParser):
    """Finds in markup what would run, load or send something."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[object] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag in FORBIDDEN else []
        self.found += [
            (tag, name, value)
            for name, value in attrs
            if name.startswith("on") or (name in ("href", "src") and RUNS.match(value or ""))
        ]


def markup(data: bytes) -> None:
    body = program.sanitize(data.decode("utf-8", "replace"), {})
    assert program.sanitize(body.html, {}).html == body.html
    assert program.sanitize(program.editable(body, {}), {}).html == body.html
    assert Wall(body.html).found == Wall(program.presented(body, {})).found == []


def cookies(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    program.token_inside_rails_cookie(text)
    assert SIGNER.cookie_value(text, 1.0) == {}
    assert SIGNER.user_id_in_avatar_token(text) is None
    assert SIGNER.opened("stream", text, str) is None
    assert SIGNER.transfer_in(text) is None


def searches(data: bytes) -> None:
    words = program.cleaned_query(data.decode("utf-8", "replace"))
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE words USING fts5 (body)")
        quoted = " ".join(f'"{word}"' for word in words.split())
        if any(map(str.isalnum, words)):
            connection.execute("SELECT * FROM words WHERE words MATCH ?", [quoted]).fetchall()


def frames(data: bytes) -> None:
    at = 0
    with suppress(ValueError):
        while (end := program.frame_end(data, at)) is not None:
            assert end > at
            at = end


def addresses(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    if address := program.parsed_address(text):
        program.is_public(str(address))
    with suppress(program.CampfireError):
        program.check_endpoint(f"https://{text}", may_be_private=False)


def replies(data: bytes) -> None:
    media_type, _, body = data.partition(b"\n")
    program.source_of_bot(program.decoded(body, media_type.decode("utf-8", "replace")))


def agents(data: bytes) -> None:
    program.is_supported(data.decode("utf-8", "replace"))
    program.shown_query(data.decode("utf-8", "replace"))


def pages(data: bytes) -> None:
    declared, _, page = data.partition(b"\n")
    facts = program.facts_of(page, declared.decode("utf-8", "replace"))
    assert list(facts) == ["title", "description", "image", "url"]
    for name, most in (("title", 280), ("description", 560), ("image", 2_049), ("url", 2_049)):
        assert len(facts[name]) <= most
    for told in (facts["title"], facts["description"]):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|</?[a-z]", told)


PARSERS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (markup, cookies, searches, frames, addresses, replies, agents, pages)
} | FILE_PARSERS
PIECES = [
    "<div>", "</a>", '<a href="', "javascript:", "<script>", "<!--", "<pre>", "<svg>", "<noscript>",
    "&lt;", "&#x3c;", "http://a.b/", "www.a.b", "a@b.cd", "@", "[::1]", "\x00", "eyJ", "--", '"',
    "<figure data-trix-attachment=\'{&quot;sgid&quot;:&quot;eyJ", "<action-text-attachment sgid=",
    "shift_jis\n", "<title>", "<meta charset=", "<meta property='og:title' content='", "</head>",
    "text/plain\n", "Chrome/", "Version/9.9", "\u0661", "\ufeff", *FILE_PIECES,
]  # fmt: skip
something = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=9).map("".join)
anything = st.binary(max_size=80) | something.map(str.encode)

# --- Requests -------------------------------------------------------------------------------------

odd: st.SearchStrategy[object] = st.sampled_from(
    ["", "a" * 300, "\x00", "\ud800", "\r\nX: y", "\u202e", "../..", "%00", "-1", "1e3", "9" * 30,
     "\u0663", "' OR 1", "<b>", "@", "/play bell", None, True, -1, 2**63, 1.5, [], [[]], {}],
)  # fmt: skip
names = st.sampled_from(
    """name email_address password role bio custom_styles body client_message_id user_ids settings
    involvement content q url endpoint p256dh_key auth_key webhook_url since before after page path
    query avatar restrict_room_creation_to_administrators sidebar""".split()
)
bodies = st.dictionaries(names, odd, max_size=3)
headers = st.dictionaries(
    st.sampled_from(["Accept", "Range", "If-None-Match", "Content-Type", "X-Forwarded-For"]),
    st.sampled_from(["", ",", "*", "bytes=9-1", "text/plain; charset=?", "multipart/form-data"]),
    max_size=2,
)
# Who asks stays signed in.
asked = st.sampled_from([route for route in ROUTES if not route.startswith("DELETE /api/session")])
places = st.lists(st.integers(0, 12) | odd, min_size=4, max_size=4)
requests = st.tuples(asked, places, bodies, bodies, headers)
Request = tuple[str, list[object], dict[str, object], dict[str, object], dict[str, str]]


def escaped(value: object) -> str:
    return quote(str(value).encode("utf-8", "surrogatepass"), safe="") or "1"


async def ask(person: Person, request: Request) -> int:
    """The status of the answer."""
    route, places, query, changes, headers = request
    method, path = route.split(" ")
    rest = iter(places)
    path = re.sub(r"\{(\w+)\}", lambda _: escaped(next(rest, 1)), path)
    search = "&".join(f"{name}={escaped(value)}" for name, value in query.items())
    usual = ROUTES[route].get("body")
    sent = json.dumps({**(usual if isinstance(usual, dict) else {}), **changes})
    given = {"Content-Type": "application/json", "X-CSRF-Token": await person.csrf(), **headers}
    body = {} if method == "GET" else {"data": sent.encode()}
    return (await person.request(method, f"{path}?{search}", headers=given, **body)).status


async def ask_all(folder: Path, requests: list[Request]) -> list[tuple[int, Request]]:
    """Each request, asked by an administrator and by a stranger, that was answered by a failure."""
    server = await start_server(folder / "campfire.db")
    try:
        cast = await gather_cast(server.parts)
        people = [await server.sign_in(cast.david), await server.visitor()]
        answers = [(await ask(person, each), each) for each in requests for person in people]
    finally:
        await server.close()
    return [each for each in answers if each[0] >= 500 and each[0] != 501]


def main() -> None:
    atheris = importlib.import_module("atheris")  # only here, and only by hand
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *sys.argv[2:]], PARSERS[sys.argv[1]])
    atheris.Fuzz()


if __name__ == "__main__":
    main()

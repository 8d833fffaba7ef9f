"""What bots say arrives: as the text it is, in its own character set, or as the markup it is."""

import pytest

from campfire import source_of_bot
from tests.support.asking import bot_says, settle, texts, url_of
from tests.support.cast import Cast, Person
from tests.support.services import Receiver

LITERAL = [
    'File "<stdin>", line 1\n  print(x\nSyntaxError: "(" was never closed', "Bea <bea@example.com>",
    "-  for (i=0; a<b; i++) {\n+  while (a<b && b>c) {\n",
    "List<String> and Map<Object, Button> and Promise<Time>", "one\ntwo\n\nfour",
    "a\tb\n\tc   d  e", "   indented\nnot", "R&D &amp; &lt;b&gt; &nbsp;|",
    "<!-- no --> <!doctype x> <?php ?> </b> <https://example.org/?a=1&b=2>",
    'if x <y: print("a" if b> 1 else c)', "x <b", "usage: copy <from> <to>\r\nor: copy <from>\rend",
    "Größe ≤ 5 € 👋",
]  # fmt: skip
MARKUP = [
    ("<b>bold</b>\nand so on", "<b>bold</b>\nand so on"),
    ("a < b <br> c & d", "a &lt; b <br> c &amp; d"),
    ('<A HREF="https://example.org">x</A> <stdin>', '<a href="https://example.org">x</a>'),
    ("<u>a</u> <font color='red'>b</font>", "a b"),
    ("say <script>x</script>nothing", "say nothing"),
    ("<img src=x onerror=alert(1)>a", "a"),
    ("<hr/>a<br/>b", "<hr>a<br>b"),
]


@pytest.mark.parametrize("said", LITERAL)
async def test_a_body_without_markup_arrives_letter_by_letter_and_line_by_line(
    visitor: Person, kevin: Person, cast: Cast, receiver: Receiver, david: Person, said: str
) -> None:
    """The one rule, on all three ways that words of a bot come."""
    words = said.replace("\r\n", "\n").replace("\r", "\n").rstrip().lstrip("\n")
    receiver.reply = receiver.says(said, "text/html")

    posted = await bot_says(visitor, cast.watercooler, said)
    await kevin.say(cast.bender_and_kevin, "ping")
    await settle(david.server)
    replied = (await kevin.get(f"/api/rooms/{cast.bender_and_kevin.id}/messages")).json
    path = url_of(cast.watercooler, f"/{posted.location.rpartition('/')[2]}")
    await visitor.request("PATCH", path, data=b"x")
    edited = (await visitor.request("PATCH", path, data=said.encode())).json["body"]

    assert edited["plain_text"] == words
    assert "\n" not in edited["html"].removeprefix('<div class="trix-content">\n  ')[:-8]
    assert (await texts(david, cast.watercooler))[-1] == words
    reply = replied["messages"][-1]
    assert reply["plain_text"] == words
    assert reply["body_html"].count("<br>") == words.count("\n")


@pytest.mark.parametrize(("said", "html"), MARKUP)
async def test_a_body_with_an_element_is_markup_as_it_always_was(
    visitor: Person, cast: Cast, said: str, html: str
) -> None:
    await bot_says(visitor, cast.watercooler, said)

    body = (await visitor.get(url_of(cast.watercooler))).json[-1]["body"]
    assert body["html"] == f'<div class="trix-content">\n  {html}\n</div>\n'


def test_to_tell_text_from_markup_takes_no_longer_than_reading_it() -> None:
    for piece in ("<b ", "<b a='", '<b a="', "<b a=b ", "<b a='<b a=' a='", "<a\t", "<" * 9, "&"):
        hostile = piece * (65_000 // len(piece))
        assert source_of_bot(hostile) != "", piece


@pytest.mark.parametrize(
    ("charset", "body", "said"),
    [
        ("windows-1252", "Größe 5 €".encode("cp1252"), "Größe 5 €"),
        ("ISO-8859-1", "caf\xe9".encode("latin-1"), "café"),
        ('"koi8-r"', "Привет".encode("koi8-r"), "Привет"),
        ("Shift_JIS", "こんにちは".encode("shift-jis"), "こんにちは"),
        ("utf-16", "Hé".encode("utf-16"), "Hé"),
        ("us-ascii", "Hé".encode(), "Hé"),
        ("utf-8", b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        ("klingon", b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        ("hex", b"6869", "6869"),
        ("idna", b"xn--a-ecp.ru", "xn--a-ecp.ru"),
        ("unicode_escape", b"\\d \\x41", "\\d \\x41"),
        ("../../etc", b"hi", "hi"),
    ],
)
async def test_words_are_read_in_the_character_set_they_declare(
    visitor: Person, kevin: Person, david: Person, cast: Cast, receiver: Receiver,
    charset: str, body: bytes, said: str,
) -> None:  # fmt: skip
    kind = f"text/plain; charset={charset}"
    receiver.reply = receiver.says(body, kind)

    path, headers = url_of(cast.watercooler), {"Content-Type": kind}
    posted = await visitor.request("POST", path, data=body, headers=headers)
    await kevin.say(cast.bender_and_kevin, "ping")
    await settle(david.server)

    assert posted.status == 201
    assert (await texts(david, cast.watercooler))[-1] == said
    assert (await texts(kevin, cast.bender_and_kevin))[-1] == said


async def test_cells_of_a_table_stand_apart_in_plain_words(visitor: Person, cast: Cast) -> None:
    table = (
        "<table><thead><tr><th>Step</th><th>Time</th></tr></thead>\n"
        "<tr><td><b>Build</b>\n<td>3 min</td></tr><tr><td>Test<td>x</table>done"
    )
    await bot_says(visitor, cast.watercooler, table)

    text = (await visitor.get(url_of(cast.watercooler))).json[-1]["body"]["plain_text"]
    assert [line.split() for line in text.split("\n") if line.strip()] == [
        ["Step", "Time"], ["Build"], ["3", "min"], ["Test", "x"], ["done"],
    ]  # fmt: skip

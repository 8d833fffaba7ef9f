"""Whatever a page is made of, it is read to its end, and tells no more than it should."""

import asyncio
import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

import campfire as program
from tests.support.fuzz import pages, something
from tests.support.studio import Studio

# As pages call them, and letters that each of them has.
SCRIPTS = {
    charset: letters
    for letters, charsets in (
        ("é日本", "utf-8 utf-16le utf-16be"),
        ("Тихо", "windows-1251 koi8-r koi8-u"),
        ("港の朝", "shift_jis euc-jp iso-2022-jp"),
        ("你好", "gbk gb18030 big5"),
        ("안녕", "euc-kr"),
        ("Łódź", "iso-8859-2 windows-1250"),
        ("Ήσυχο", "iso-8859-7 windows-1253"),
        ("été", "macintosh iso-8859-1 iso-8859-15"),
        ("שלום", "windows-1255"),
        ("سلام", "windows-1256"),
    )
    for charset in charsets.split()
}


@given(st.binary(max_size=200) | something.map(str.encode))
def test_any_bytes_are_a_page_that_tells_something_or_nothing(data: bytes) -> None:
    pages(data)


@given(st.lists(something, max_size=6))
def test_no_decoy_is_ever_told_of(words: list[str]) -> None:
    decoy = '<meta property="og:title" content="decoy"><title>decoy</title>'
    hidden = "".join(
        f"<{name}>{decoy}</{name}>"
        for name in ("script", "style", "noscript", "template", "svg", "textarea")
    )
    page = f"<title>the page</title>{hidden}<!-- {decoy} --><p>{''.join(words).replace('>', '')}"

    assert program.facts_of(page.encode("utf-8", "surrogatepass"))["title"] == "the page"


@pytest.mark.parametrize("charset", SCRIPTS)
def test_every_script_is_read_where_nothing_can_be_loaded_any_more(
    darkroom: Studio, charset: str
) -> None:
    letters = SCRIPTS[charset]
    codec = {"macintosh": "mac_roman", "shift_jis": "cp932"}.get(charset, charset)
    page = f"<title>{letters}</title>".encode(codecs.lookup(codec).name)

    told = darkroom.runner.run(darkroom.workshop.page(page, charset))

    assert told["title"] == letters


@pytest.mark.parametrize("piece", ["<div>", "&", "<", "<svg>", "<b><p>", '<meta content="'])
def test_a_page_made_to_take_for_ever_is_given_up_and_the_next_is_read(
    darkroom: Studio, piece: str
) -> None:
    hostile = (piece * (2 << 20))[: 2 << 20].encode()

    async def ask() -> dict[str, str]:
        try:
            async with asyncio.timeout(20):
                await darkroom.workshop.page(hostile, "")
        except program.PictureUnreadable:
            pass
        return await darkroom.workshop.page(b"<title>next</title>", "")

    assert darkroom.runner.run(ask())["title"] == "next"


@given(st.binary(max_size=60), st.integers(0, 60))
def test_a_page_says_the_same_wherever_its_end_is_cut_after_what_it_says(
    rest: bytes, at: int
) -> None:
    head = "<meta charset=utf-8><title>Été</title>".encode()

    assert program.facts_of(head + rest[:at])["title"] == "Été"

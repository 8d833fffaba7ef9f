"""Pages in a body: how they are written, kept, shown and edited."""

import json
import re
from html import escape, unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

import campfire as program
from campfire import editable, filled_body, presented, sanitize
from tests.support.writing import CAST, KEVIN, mention, trix

TYPE = "application/vnd.actiontext.opengraph-embed"
KEY = "/previews/" + "k" * 28
PICTURES = {KEY: (640, 360, False), "/previews/" + "f" * 28: (64, 64, True)}
HARBOUR = "https://www.site.example/harbour?a=1&b=2"


def embed(href: str = HARBOUR, **more: str) -> str:
    """A page, in the order of the canonical form."""
    told = {"content-type": TYPE, "href": href, **more}
    said = " ".join(f'{name}="{escape(value)}"' for name, value in told.items() if value)
    return f"<action-text-attachment {said}></action-text-attachment>"


def kept(source: str) -> str:
    return sanitize(source, CAST, PICTURES).html


def shown(source: str) -> str:
    return presented(sanitize(source, CAST, PICTURES), CAST)


def test_both_spellings_of_a_page_are_one() -> None:
    whole = embed(url=KEY, filename="A harbour", caption="At dawn")
    described = {
        "contentType": f"{TYPE};a=b", "href": HARBOUR, "url": KEY,
        "caption": " At\ndawn ", "filename": "A  harbour", "content": "<script>a</script><b>c</b>",
    }  # fmt: skip
    shuffled = (
        f'<action-text-attachment caption="At dawn" filename="A harbour" url="{KEY}" class="x"'
        f' href="{escape(HARBOUR)}" content-type="{TYPE}"><p>inside</p></action-text-attachment>'
    )

    assert [kept(source) for source in (whole, trix(described), shuffled)] == [whole] * 3


@pytest.mark.parametrize(
    "href",
    [
        "", "/rooms/1", "mailto:a@b.example", "javascript:alert(1)", "ftp://a.example", "https://",
        "https:a.example", "http:///a", "https://[::1", "http://a b.example/", "//a.example", "x",
        "data:text/html,https://a.example", "https://:80/", "http://@/",
    ],
)  # fmt: skip
def test_what_leads_to_no_page_of_the_web_vanishes(href: str) -> None:
    assert kept(f"a{embed(href, filename='T')}b") == "ab"
    assert kept(trix({"contentType": TYPE, "href": href, "filename": "T"})) == ""
    assert kept(trix({"contentType": TYPE, "href": [href], "filename": {"a": 1}})) == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://tracker.example/pixel.png", "/previews/" + "x" * 28, "/previews/../files/1/a",
        f"{KEY}?x", f" {KEY}", f"https://site.example{KEY}", "/files/12/still", "data:image/png,x",
        KEY.upper(), f"//evil.example{KEY}",
    ],
)  # fmt: skip
def test_a_picture_that_is_not_one_of_ours_is_not_shown(url: str) -> None:
    source = embed(url=url, filename="T")

    assert kept(source) == embed(filename="T")
    assert "<img" not in shown(source)
    assert kept(trix({"contentType": TYPE, "href": HARBOUR, "url": url, "filename": "T"})) == embed(
        filename="T"
    )


def test_words_are_cut_cleaned_and_never_blank() -> None:
    long = sanitize(embed(filename="é" * 400, caption="d" * 800), {}).previews[0]
    odd = sanitize(embed(filename=" \u202e \t", caption="a\u200f\n <b>b</b>"), {}).previews[0]

    assert (long.title, long.description) == ("é" * 279 + "…", "d" * 559 + "…")
    assert (odd.title, odd.description) == ("www.site.example", "a <b>b</b>")


def test_the_ninth_page_of_a_body_vanishes() -> None:
    pages = [embed(f"https://a.example/{n}", filename="T") for n in range(12)]

    body = sanitize("<br>".join(pages), {})

    assert [page.url for page in body.previews] == [f"https://a.example/{n}" for n in range(8)]
    assert body.html == "<br>".join(pages[:8] + [""] * 4).strip()


def test_a_page_says_nothing_in_words_but_where_there_are_no_others() -> None:
    beside, alone = sanitize(f"Look{embed()}!", {}), sanitize(f"<p>{embed()} {embed()}</p>", {})

    assert beside.text == "Look!"
    assert alone.text == f"{HARBOUR}\n{HARBOUR}"
    assert alone.links == ()


@pytest.mark.parametrize(
    ("text", "href", "state"),
    [
        (HARBOUR, HARBOUR, "alone"),
        (f" {HARBOUR}\n", HARBOUR, "alone"),
        ("https://a.example/", "https://a.example", "alone"),
        ("https://a.example", "https://a.example/", "alone"),
        ("https://x.com/k/status/1?s=20", "https://twitter.com/k/status/1", "alone"),
        ("https://twitter.com/k/status/1/", "https://x.com/k/status/1?ref=a", "alone"),
        ("https://www.x.com/k", "https://x.com/k", "alone"),
        ("https://x.com/k/status/1", "https://x.com/k/status/2", "beside"),
        ("https://xx.com/k?s=20", "https://xx.com/k", "beside"),
        ("https://a.example/?v=1", "https://a.example/?v=2", "beside"),
        (f"Look: {HARBOUR}", HARBOUR, "beside"),
    ],
)
def test_beside_its_own_address_a_page_stands_alone(text: str, href: str, state: str) -> None:
    link = f'<a href="{escape(text.strip())}">{escape(text)}</a>'
    page = embed(href, filename="A harbour")

    for source in (f"<div>{link}{page}</div>", f"<p>{escape(text)}</p>{page}"):
        assert shown(source).startswith("<action-text-attachment") is (state == "alone")
    assert not shown(f"{link}{page}{page}").startswith("<action")


def test_a_card_is_drawn_as_the_markup_contract_says() -> None:
    whole = shown(f"Look {embed(url=KEY, filename='A <harbour>', caption='At dawn')}")
    bare = shown(embed(filename="T"))
    face = shown(embed(url="/previews/" + "f" * 28, filename="T"))

    assert whole == (
        f'Look <action-text-attachment content-type="{TYPE}"><figure class="attachment'
        ' attachment--content attachment--og"><div class="og-embed gap">'
        '<div class="og-embed__content"><div class="og-embed__host">site.example</div>'
        f'<div class="og-embed__title"><a href="{escape(HARBOUR)}" target="_blank"'
        ' rel="noopener noreferrer">A &lt;harbour&gt;</a></div>'
        '<div class="og-embed__description">At dawn</div></div><div class="og-embed__image">'
        f'<img src="{KEY}" width="640" height="360" class="image center" alt="" loading="lazy"'
        ' decoding="async"></div></div></figure></action-text-attachment>'
    )
    assert "og-embed__image" not in bare
    assert "og-embed__description" not in bare
    assert 'class="og-embed gap cf-twitter-avatar"' in face


@pytest.mark.parametrize(
    ("href", "host"),
    [
        ("https://WWW.Site.example:8080/a", "site.example"),
        ("https://bank.example@evil.example/", "evil.example"),
        ("https://evil.example\\@bank.example/", "evil.example"),
        ("https://a:b@c@evil.example#@bank.example", "evil.example"),
        ("http://[2001:db8::1]:80/", "[2001:db8::1]"),
    ],
)
def test_the_host_of_a_card_is_where_a_browser_would_go(href: str, host: str) -> None:
    told = shown(embed(href, filename="Your bank"))

    assert f'<div class="og-embed__host">{host}</div>' in told


def test_the_editor_gets_a_page_whole_and_gives_it_back() -> None:
    body = sanitize(f"<div>Hi {mention(KEVIN)} {embed(url=KEY, filename='T', caption='D')}</div>",
                    CAST, PICTURES)  # fmt: skip
    in_editor = editable(body, CAST)
    [figure] = re.findall(rf'<figure data-trix-attachment="([^"]*{TYPE}[^"]*)"', in_editor)
    described = json.loads(unescape(figure))

    assert described.pop("content").startswith('<div class="og-embed gap">')
    assert described == {
        "contentType": TYPE, "href": HARBOUR, "url": KEY, "filename": "T", "caption": "D",
    }  # fmt: skip
    assert kept(in_editor) == body.html


def test_bots_are_shown_a_page_and_webhooks_its_address() -> None:
    body = sanitize(f"{mention(KEVIN)}{embed(url=KEY, filename='T')}", CAST, PICTURES)

    assert filled_body(body, CAST).endswith("</figure></action-text-attachment>")
    assert body.html.endswith(embed(url=KEY, filename="T"))


words = st.text(max_size=20) | st.sampled_from(["\u202e", "<b>", "&amp;", '"', "'", "\x00", "…"])
pages = st.fixed_dictionaries(
    {},
    optional={
        "href": st.sampled_from([HARBOUR, "http://a.example", "javascript:x"]) | words,
        "url": st.sampled_from([KEY, "/previews/" + "x" * 28, "http://t.example/a.png"]) | words,
        "filename": words,
        "caption": words,
    },
)
spelt = pages.flatmap(
    lambda page: st.sampled_from(
        [
            trix({"contentType": TYPE, **page}),
            embed(**{"href": "", **page}),
            f"<a href=/x>{embed(**{'href': '', **page})}",
            f"<pre>{trix({'contentType': TYPE, **page}, 'p')}",
        ]
    )
)
sources = st.lists(st.text(max_size=12) | spelt | st.just(HARBOUR), max_size=12).map("".join)


@given(sources)
def test_whatever_is_written_its_pages_are_kept_closed_and_load_nothing_of_others(
    source: str,
) -> None:
    body = sanitize(source, CAST, PICTURES)
    again = sanitize(body.html, CAST, PICTURES)

    assert again.html == body.html
    assert again.previews == body.previews
    assert kept(editable(body, CAST)) == body.html
    for markup in (presented(body, CAST), filled_body(body, CAST), editable(body, CAST)):
        assert set(re.findall(r'<img src="([^"]*)"', unescape(markup))) <= {*PICTURES}
    assert set(re.findall(r' url="([^"]*)"', body.html)) <= {*PICTURES}
    assert len(body.previews) <= 8
    for page in body.previews:
        assert 0 < len(page.title) <= 280
        assert not page.description or len(page.description) <= 560
        assert not re.search("[\x00-\x1f\u202a-\u202e]", page.title + (page.description or ""))
    assert all(set(program.pictures_in(body.html)) <= {*PICTURES} for _ in body.previews)

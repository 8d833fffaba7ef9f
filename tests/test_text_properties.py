"""What must hold of every text, however it was made; and how deep one may be."""

import json
import re
from html import escape
from pathlib import Path
from xml.etree.ElementTree import Element

import html5lib
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from campfire import (
    SOUNDS,
    editable,
    is_emoji_only,
    is_nested_too_deeply,
    links_in,
    presented,
    sanitize,
    sound_in,
    user_id_in_sgid,
    users_named_in,
)
from tests.test_text import CAST, DAVID, KEVIN, encoded, html_of, mention, sgid_of, text_of

VECTORS = [
    vector
    for family in json.loads((Path(__file__).parent / "xss_vectors.json").read_text()).values()
    for vector in family
]

# The lists of the specification, once more and by hand: the program's own must not judge it.
ELEMENTS = set(
    (
        "a abbr acronym address b big blockquote br cite code dd del dfn div dl dt em figcaption "
        "figure h1 h2 h3 h4 h5 h6 hr i ins kbd li ol p pre samp small span strong sub sup time tt "
        "ul var action-text-attachment"
    ).split(" ")
)
REMOVED = (
    "script style template noscript iframe object applet svg math title textarea select option "
    "xmp form button video audio canvas"
).split(" ")
ATTRIBUTES = {
    "a": {"href"},
    "blockquote": {"cite"},
    "code": {"class"},
    "del": {"cite", "datetime"},
    "ins": {"cite", "datetime"},
    "pre": {"class"},
    "time": {"datetime"},
}
SCHEMES = (
    "http https mailto tel sms ftp sftp ssh irc news nntp xmpp webcal callto urn tag rtsp rsync "
    "aim afs ed2k gopher telnet"
)
ADDRESS = re.compile(rf"(?:{SCHEMES.replace(' ', '|')}):|[^:/?#]*(?:[/?#]|$)", re.IGNORECASE)
NEW_TAB = ' target="_blank" rel="noopener noreferrer"'


def parsed(markup: str) -> Element:
    tree: Element = html5lib.parseFragment(markup, namespaceHTMLElements=False)
    return tree


def elements(markup: str) -> list[Element]:
    return list(parsed(markup).iter())[1:]


def is_harmless(element: Element) -> bool:
    """By the lists of the specification, for a body as it is stored."""
    if element.tag == "action-text-attachment":
        return set(element.attrib) == {"sgid", "content-type"} and len(element) == 0
    allowed = {"title", "lang"} | ATTRIBUTES.get(str(element.tag), set())
    addresses = [element.attrib[name] for name in ("href", "cite") if name in element.attrib]
    return (
        element.tag in ELEMENTS
        and set(element.attrib) <= allowed
        and all(ADDRESS.match(re.sub(r"[\x00-\x20\x7f]", "", each)) for each in addresses)
        and all(each.startswith("language-") for each in element.get("class", "").split())
    )


def without_new_tabs(markup: str) -> str:
    return markup.replace(NEW_TAB, "")


NAMES = (
    "a b i u p div span table tr td li ul ol pre code h1 h2 blockquote br hr svg math style script "
    "textarea title noscript template select option button form figure figcaption font nobr "
    "plaintext xmp dd dt iframe noembed mglyph foreignObject desc caption image input marquee "
    "action-text-attachment made-up"
)
ATTACHED = [
    "",
    " title='<p>'",
    " class='language-x btn'",
    " href=javascript:x",
    " href='//x'",
    " cite=data:x",
    " id=x onclick=x",
    f" sgid={KEVIN.sgid}",
    f" sgid='{sgid_of(404)}",
    " data-trix-attachment='{}'",
    f' data-trix-attachment=\'{{"sgid":"{DAVID.sgid}"}}\'',
]
WORDS = [
    "x", " ", "\n", "&amp;", "&lt;", "<", "&", "<!--", "-->", "<![CDATA[", "]]>", ">", '"', "'",
    "\ufeff", "&nbsp;", "&#1;", "&#13;", "\r", "\x00", "<!x>", "<?y?>", "</", "/>", "\ud800",
    "http://a.example/(b)).", "www.a.example", "a.b@c.example", "://", "@", "/play bell",
]  # fmt: skip
tags = st.builds("<{}{}{}>".format, st.sampled_from(["", "/"]), st.sampled_from(NAMES.split()),
                 st.sampled_from(ATTACHED))  # fmt: skip
soups = st.lists(st.one_of(tags, tags, st.sampled_from(WORDS), st.text(max_size=5)), max_size=40)
sources = st.one_of(st.text(), soups.map("".join))


@pytest.mark.parametrize("vector", VECTORS)
def test_an_attack_comes_out_harmless_wherever_it_is_shown(vector: str) -> None:
    body = sanitize(vector, CAST)
    on_screen = presented(body, CAST)

    assert [each for each in elements(body.html) if not is_harmless(each)] == []
    assert [each for each in elements(without_new_tabs(on_screen)) if not is_harmless(each)] == []
    assert html_of(body.html) == body.html
    assert html_of(editable(body.html, CAST)) == body.html


@pytest.mark.parametrize("element", REMOVED)
def test_what_runs_loads_or_asks_goes_with_all_it_holds(element: str) -> None:
    assert html_of(f"a<{element} title=t>x&lt;b&gt;</{element}>b") == "ab"


def test_of_two_equal_attributes_the_first_counts() -> None:
    twice = mention(KEVIN).replace(" content-type", f" SGID='{DAVID.sgid}' content-type")

    assert html_of(twice) == mention(KEVIN)


def test_the_attacks_are_many() -> None:
    assert len(set(VECTORS)) >= 250


@given(sources)
@example("<a>1<table><td><a>2</a></td></table></a>")
@example("<pre>\n\n\nx")
@example("&#32;x&#13;&#1;")
@example("\ufeff\ufeffx")
@example(
    "<style data-trix-attachment='{}'><action-text-attachment sgid=x></action-text-attachment>"
)
def test_making_a_text_safe_again_changes_nothing(source: str) -> None:
    body = sanitize(source, CAST)

    assert sanitize(body.html, CAST) == body
    assert sanitize(source, CAST) == body


@given(sources)
def test_another_parser_finds_only_what_is_allowed(source: str) -> None:
    assert [each for each in elements(html_of(source)) if not is_harmless(each)] == []


@given(soups.map("".join))
def test_another_parser_finds_every_element_where_it_is_written(source: str) -> None:
    html = html_of(source)
    written = re.findall(r"<([a-z][a-z0-9-]*)", html)

    assert [each.tag for each in elements(html)] == written


@given(st.text().filter(lambda text: not set(text) & set("<&")))
@example("\ufeffx")
def test_text_without_markup_survives(text: str) -> None:
    typed = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "", text)

    assert text_of(escape(typed)) == typed.strip().rstrip("\n")


@given(sources)
def test_what_the_editor_is_given_comes_back_as_it_was(source: str) -> None:
    html = html_of(source)

    assert html_of(editable(html, CAST)) == html


@given(sources)
def test_everybody_mentioned_was_named_before(source: str) -> None:
    assert set(sanitize(source, CAST).mentions) <= users_named_in(source)


@given(sources)
def test_links_are_added_to_text_only_and_are_safe_themselves(source: str) -> None:
    body = sanitize(source, {})
    on_screen = "" if sound_in(body.text) else presented(body, {})

    assert [each for each in elements(without_new_tabs(on_screen)) if not is_harmless(each)] == []
    if on_screen:
        assert "".join(parsed(on_screen).itertext()) == "".join(parsed(body.html).itertext())
        without_links = re.sub(r"</?a\b[^>]*>", "", on_screen)
        assert without_links == re.sub(r"</?a\b[^>]*>", "", body.html)


@given(sources)
def test_links_are_few_distinct_and_on_the_web(source: str) -> None:
    links = links_in(html_of(source))

    assert len(links) == len(set(links)) <= 5
    assert all(re.match("https?://.", link, re.IGNORECASE) for link in links)


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_id_can_be_read(value: object) -> None:
    assert user_id_in_sgid(str(value)) is None
    assert user_id_in_sgid(encoded(value)) is None
    assert user_id_in_sgid(encoded({"_rails": {"data": value, "message": value}})) is None


@given(sources)
def test_whatever_follows_what_is_too_deep_is_too_deep(source: str) -> None:
    assert is_nested_too_deeply("<div>" * 101 + source)


@given(st.text(st.sampled_from("😄🤘❤\ufe0f\u200d 1©x🏽⭐")))
def test_a_text_is_only_emoji_when_each_of_its_characters_is(text: str) -> None:
    assert is_emoji_only(text) == (text != "" and all(is_emoji_only(each) for each in text))


def test_as_many_characters_are_emoji_as_the_table_counts() -> None:
    emoji = [point for point in range(0x110000) if is_emoji_only(chr(point))]

    assert len(emoji) == 3569
    assert (emoji[0], emoji[-1]) == (0xA9, 0x1FFFD)


@given(st.one_of(st.sampled_from(sorted(SOUNDS)), st.text(max_size=8)), st.text(max_size=2))
def test_a_sound_is_played_exactly_when_the_whole_text_asks_for_one(name: str, more: str) -> None:
    text = f"/play {name}{more}"
    known = name + more in SOUNDS

    assert (sound_in(text) is not None) == known
    assert sound_in(f"{more}x{text}") is None
    assert sound_in(text[1:]) is None


# --- Too deep ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "<div>" * 101,
        "<b>" * 101,
        "<div title='</div>'>" * 101,
        "<div><!-- </div> -->" * 101,
        "<div><style></div></style>" * 101,
        "<div><table><td></div>" * 60,
        "<p><button></p>" * 101,
        "<u><table><td></u>" * 60,
        "<action-text-attachment>" * 9,
        "<figure data-trix-attachment='{}'>" * 9,
        "<p>" + "".join(f"<u title={n}>" for n in range(90)) + "</p>" + "<p>x" * 10_000,
        "<div><b title=" + "x" * 9_000 + "></div>" + "<p>x" * 10_000,
        "<div><b title=" + "x" * 9_000 + "><table><td></b></table></div>" + "<p>x" * 10_000,
    ],
)
def test_a_body_that_would_take_long_to_read_is_too_deep(source: str) -> None:
    assert is_nested_too_deeply(source)


@pytest.mark.parametrize(
    "source",
    [
        "<div>" * 100,
        "<" * 60_000,
        "<br>" * 10_000,
        "<p>x" * 10_000,
        "<ul>" + "<li>x" * 5_000,
        "<dl>" + "<dt>x<dd>y" * 5_000,
        "<table>" + "<tr><td>x<td>y" * 3_000,
        "<div><b>x</b></div>" * 3_000,
        "<b><i>" + "<p>x</p>" * 7_000,
        "<div><!--block-->x</div>" * 2_000,
        "<table>" + "<tr><td><b>x</td></tr>" * 2_000 + "</table>",
        mention(KEVIN) * 300,
        ("<blockquote>" * 8 + mention(KEVIN) + "</blockquote>" * 8) * 50,
    ],
)
def test_a_long_or_sloppy_body_is_not(source: str) -> None:
    assert not is_nested_too_deeply(source)


def test_what_is_too_deep_keeps_its_words_and_loses_its_markup() -> None:
    assert html_of("<div>" * 200 + "a &lt; b") == "a &lt; b"

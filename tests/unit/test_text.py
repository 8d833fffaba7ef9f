"""What people write: made safe, in plain words, on the screen, as sound and emoji, and found."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from html import escape, unescape
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from campfire import (
    SOUNDS,
    Mentionable,
    editable,
    filled_body,
    is_emoji_only,
    is_nested_too_deeply,
    links_in,
    mentions_in,
    presented,
    sanitize,
    sound_in,
    user_id_in_sgid,
)
from tests.support.writing import (
    CASES,
    CAST,
    DAVID,
    KEVIN,
    MENTION,
    NAMED,
    NEW_TAB,
    NOBODY,
    QUOTED,
    SHOWN,
    SOMEBODY,
    STORED,
    VECTORS,
    elements,
    encoded,
    harmful,
    html_of,
    mention,
    parsed,
    repeated,
    shown,
    soups,
    sources,
    text_of,
    trix,
)


def told(sentences: dict[str, list[list[str]]]) -> list[Any]:
    """Each pair under a sentence is a case with the sentence for its name."""
    return [
        pytest.param(*pair, id=sentence) for sentence, pairs in sentences.items() for pair in pairs
    ]


# --- What is kept and what goes ------------------------------------------------------------------


@pytest.mark.parametrize(("source", "html"), told(STORED))
def test_a_body_is_stored_as_the_sentence_says(source: str, html: str) -> None:
    assert html_of(source) == html


@pytest.mark.parametrize(("source", "html"), CASES["markup and what is kept of it"])
def test_markup_keeps_what_is_allowed_and_nothing_else(source: str, html: str) -> None:
    assert html_of(source) == html


@pytest.mark.parametrize(("classes", "kept"), CASES["classes and what is kept of them"])
def test_only_the_language_of_code_survives_among_classes(classes: str, kept: str) -> None:
    assert html_of(f'<pre class="{classes}">x</pre>') == f'<pre class="{kept}">x</pre>'
    assert html_of(f'<code class="{classes}">x</code>') == f'<code class="{kept}">x</code>'
    assert html_of(f'<div class="{classes}">x</div>') == "<div>x</div>"
    assert html_of('<code class="btn">x</code>') == "<code>x</code>"


@pytest.mark.parametrize("address", CASES["addresses that stay"])
def test_an_address_of_a_known_scheme_or_of_none_stays(address: str) -> None:
    assert html_of(f'<a href="{address}">x</a>') == f'<a href="{address}">x</a>'


@pytest.mark.parametrize("address", CASES["addresses that go"])
def test_an_address_of_any_other_scheme_goes_and_its_text_stays(address: str) -> None:
    assert html_of(f'<a href="{address}">x</a>') == "<a>x</a>"


def test_settings_of_one_cleaning_never_show_in_another() -> None:
    sources = [
        "<u>a</u>", '<a href="javascript:x">b</a>', mention(KEVIN), "<b onclick=x>c</b>",
    ] * 50  # fmt: skip

    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(html_of, sources))

    assert together == [html_of(source) for source in sources]


# --- Attachments and mentions --------------------------------------------------------------------


def test_a_mention_survives_with_its_id_and_type_and_without_its_children() -> None:
    body = sanitize(f"<p>Hi {mention(KEVIN, '<p>x</p><figcaption>y</figcaption>')}!</p>", CAST)

    assert body.html == f"<p>Hi {mention(KEVIN)}!</p>"
    assert body.text == "Hi @Kevin!"
    assert body.mentions == (KEVIN.id,)


@pytest.mark.parametrize("element", ["figure", "div", "made-up", "u", "td", "button", "IMG"])
def test_whatever_element_the_editor_hangs_it_on_a_mention_is_a_mention(element: str) -> None:
    described = {"sgid": KEVIN.sgid, "contentType": MENTION, "content": "<span>x</span>"}
    source = f"<p>a {trix(described, element, '' if element == 'IMG' else '<b>x</b>')} b</p>"

    assert html_of(source) == f"<p>a {mention(KEVIN)} b</p>"
    assert set(mentions_in(source)) == {KEVIN.id}


@pytest.mark.parametrize("described", ["{bad", "[]", "1", '"x"', "null", "", "[" * 60_000])
def test_what_the_editor_describes_badly_is_an_ordinary_element(described: str) -> None:
    assert html_of(trix(described, content="<b>x</b>")) == "<figure><b>x</b></figure>"


@pytest.mark.parametrize("source", CASES["attachments that are nobody"])
def test_an_attachment_that_is_nobody_is_a_crossed_box_and_the_rest_stays(source: str) -> None:
    body = sanitize(f"a {source} b", CAST)

    assert (body.html, body.text, body.mentions) == ("a ☒ b", "a ☒ b", ())


@pytest.mark.parametrize("sentence", NAMED)
def test_a_body_names_whom_the_sentence_says(sentence: str) -> None:
    source, html, named = NAMED[sentence]

    assert html_of(source) == html
    assert set(mentions_in(source)) == set(named)


def test_people_named_twice_count_once_and_in_order() -> None:
    assert sanitize(mention(KEVIN) + mention(DAVID) + mention(KEVIN), CAST).mentions == (3, 1)
    assert sanitize("Hi @David", CAST).mentions == ()


@pytest.mark.parametrize("sgid", SOMEBODY.values(), ids=SOMEBODY)
def test_an_id_is_read_in_both_forms_whoever_signed_it(sgid: object) -> None:
    assert user_id_in_sgid(sgid if isinstance(sgid, str) else encoded(sgid)) == 7


@pytest.mark.parametrize("sgid", NOBODY.values(), ids=NOBODY)
def test_what_names_no_person_is_nobody(sgid: object) -> None:
    assert user_id_in_sgid(sgid if isinstance(sgid, str) else encoded(sgid)) is None


# --- In plain words, on the screen and in the editor ---------------------------------------------


@pytest.mark.parametrize(("source", "text"), CASES["bodies and their plain words"])
def test_plain_words_follow_the_shape_of_the_body(source: str, text: str) -> None:
    assert text_of(source) == text


@pytest.mark.parametrize(("source", "html"), told(SHOWN))
def test_a_body_is_shown_as_the_sentence_says(source: str, html: str) -> None:
    assert shown(source) == html


@pytest.mark.parametrize(("text", "html"), CASES["texts and their links"])
def test_addresses_in_text_become_links(text: str, html: str) -> None:
    assert shown(escape(text, quote=False)) == html


@pytest.mark.parametrize("html", CASES["html that gets no links"])
def test_text_in_links_and_addresses_in_attributes_are_left_alone(html: str) -> None:
    assert shown(html) == html


@pytest.mark.parametrize(("source", "html"), CASES["links that leave the site"])
def test_a_link_that_leaves_the_site_opens_in_a_new_tab(source: str, html: str) -> None:
    assert shown(source) == html


def test_a_mention_shows_the_person_as_they_are_now() -> None:
    was = sanitize(f"Hi {mention(KEVIN)}", CAST)
    now = {KEVIN.id: Mentionable(KEVIN.id, "Kev www.x.y", 'K "&"', "/a?b&c", "fresh")}

    assert presented(was, now) == f"Hi {CASES['a mention as it is shown now']}"
    assert filled_body(was, now) == presented(was, now)
    assert presented(was, {}) == "Hi ☒"


def test_the_words_for_bots_have_people_but_no_links() -> None:
    body = sanitize(f"{mention(DAVID)} www.a.example", CAST)

    assert filled_body(body, CAST).endswith("David</span></action-text-attachment> www.a.example")


def test_links_are_the_first_five_web_pages_once_each() -> None:
    source, links = CASES["a body with many links and what counts"]
    html = html_of(source)

    assert links_in(html) == tuple(links)
    assert sanitize(html, CAST).links == links_in(html)


@pytest.mark.parametrize("wrapper", ["{}", "<div>{}</div>", "<p>a {} b</p>", "<li><b>{}</b></li>"])
def test_an_edited_body_that_is_not_changed_comes_back_the_same(wrapper: str) -> None:
    html = html_of(wrapper.format(mention(KEVIN) + " &amp; " + mention(QUOTED)))
    in_editor = editable(sanitize(html, CAST), CAST)

    assert in_editor.count("<figure data-trix-attachment=") == 2
    assert "action-text-attachment" not in in_editor
    assert html_of(in_editor) == html


def test_the_editor_is_told_whom_a_mention_shows() -> None:
    in_editor = editable(sanitize(mention(KEVIN), CAST), CAST)
    start, end = in_editor.split(' data-trix-content-type="')
    described = json.loads(unescape(start.removeprefix('<figure data-trix-attachment="')[:-1]))

    assert end == f'{MENTION}" class="attachment attachment--content"></figure>'
    assert list(described) == ["sgid", "contentType", "content"]
    assert described["sgid"] == KEVIN.sgid
    assert described["content"] in filled_body(sanitize(mention(KEVIN), CAST), CAST)


# --- Emoji and sounds ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["😄🤘", "❤️", "👍", "©", "⭐️", "👍🏽", "\ufe0f", "🇨🇭"])
def test_emoji_alone_are_only_emoji(text: str) -> None:
    assert is_emoji_only(text)


@pytest.mark.parametrize("text", ["", "😄 🤘", "😄\n", "ok 😄", "1", "1️⃣", "👩\u200d💻", "x"])
def test_words_spaces_joiners_and_digits_are_not(text: str) -> None:
    assert not is_emoji_only(text)


def test_there_are_56_sounds_41_with_words_and_15_with_a_picture() -> None:
    assert len(SOUNDS) == 56
    assert list(SOUNDS) == sorted(SOUNDS)
    assert sum(sound["text"] is not None for sound in SOUNDS.values()) == 41
    assert sum(sound["image"] is not None for sound in SOUNDS.values()) == 15
    assert all((sound["text"] is None) != (sound["image"] is None) for sound in SOUNDS.values())


@pytest.mark.parametrize("text", CASES["not quite a sound"])
def test_anything_else_than_a_known_sound_is_plain_text(text: str) -> None:
    assert sound_in(text) is None


def test_a_sound_with_a_picture_is_shown_with_it() -> None:
    assert shown("/play deeper").endswith(
        '<img src="/assets/sounds/top.svg" width="188" height="80" class="align--middle"'
        ' alt="deeper"></div>'
    )
    assert text_of("/play deeper") == "/play deeper"


@pytest.mark.parametrize("vector", VECTORS)
def test_an_attack_comes_out_harmless_wherever_it_is_shown(vector: str) -> None:
    body = sanitize(vector, CAST)
    on_screen = presented(body, CAST)

    assert harmful(body.html) == []
    assert harmful(on_screen.replace(NEW_TAB, "")) == []
    assert html_of(body.html) == body.html
    assert html_of(editable(body, CAST)) == body.html


@pytest.mark.parametrize("element", CASES["the specification: elements that go with all they hold"])
def test_what_runs_loads_or_asks_goes_with_all_it_holds(element: str) -> None:
    assert html_of(f"a<{element} title=t>x&lt;b&gt;</{element}>b") == "ab"


def test_the_attacks_are_many() -> None:
    assert len(set(VECTORS)) >= 250


@given(sources)
@example("<a>1<table><td><a>2</a></td></table></a>")
@example("<pre>\n\n\nx")
@example("&#32;x&#13;&#1;")
@example("\ufeff\ufeffx")
@example(CASES["an attachment inside a style"])
def test_making_a_text_safe_again_changes_nothing(source: str) -> None:
    body = sanitize(source, CAST)

    assert sanitize(body.html, CAST) == body
    assert sanitize(source, CAST) == body


@given(sources)
def test_another_parser_finds_only_what_is_allowed(source: str) -> None:
    assert harmful(html_of(source)) == []


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

    assert html_of(editable(sanitize(html, CAST), CAST)) == html


@given(sources)
def test_everybody_mentioned_was_named_before(source: str) -> None:
    assert set(sanitize(source, CAST).mentions) <= set(mentions_in(source))


@given(sources)
def test_links_are_added_to_text_only_and_are_safe_themselves(source: str) -> None:
    body = sanitize(source, {})
    on_screen = "" if sound_in(body.text) else presented(body, {})

    assert harmful(on_screen.replace(NEW_TAB, "")) == []
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
    only = text != "" and all(is_emoji_only(each) for each in text)
    assert bool(is_emoji_only(text)) == only


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


@pytest.mark.parametrize("source", [*map(repeated, CASES["too deep"])])
def test_a_body_that_would_take_long_to_read_is_too_deep(source: str) -> None:
    assert is_nested_too_deeply(source)


@pytest.mark.parametrize("source", [*map(repeated, CASES["long but not too deep"])])
def test_a_long_or_sloppy_body_is_not(source: str) -> None:
    assert not is_nested_too_deeply(source)

"""What people write: made safe, in plain words, on the screen, in the editor, as sound and emoji.

What must hold for every string stands in test_text_properties.py.
"""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from html import escape, unescape

import pytest

from campfire import (
    SOUNDS,
    Mentionable,
    UserId,
    editable,
    is_emoji_only,
    links_in,
    presented,
    sanitize,
    sound_in,
    user_id_in_sgid,
    users_named_in,
    with_mentions,
)

MENTION = "application/vnd.campfire.mention"
PREVIEW = "application/vnd.actiontext.opengraph-embed"
NEW_TAB = ' target="_blank" rel="noopener noreferrer"'


def encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def sgid_of(user_id: int, signature: str = "5ca1ab1e") -> str:
    payload = {"_rails": {"data": f"gid://campfire/User/{user_id}", "pur": "attachable"}}
    return f"{encoded(payload)}--{signature}"


def person(user_id: int, name: str, bio: str = "") -> Mentionable:
    title = f"{name} \N{EN DASH} {bio}" if bio else name
    return Mentionable(
        UserId(user_id), name, title, f"/users/{user_id}/avatar?v=1&w=2", sgid_of(user_id)
    )


DAVID = person(1, "David")
KEVIN = person(3, "Kevin", "Programmer")
QUOTED = person(5, 'J"Z <b>&', "<i>")
CAST = {each.id: each for each in (DAVID, KEVIN, QUOTED)}


def mention(user: Mentionable, content: str = "") -> str:
    return (
        f'<action-text-attachment sgid="{user.sgid}" content-type="{MENTION}">'
        f"{content}</action-text-attachment>"
    )


def trix(described: object, element: str = "figure", content: str = "") -> str:
    told = described if isinstance(described, str) else json.dumps(described)
    return f'<{element} data-trix-attachment="{escape(told)}" class="x">{content}</{element}>'


def html_of(source: str) -> str:
    return sanitize(source, CAST).html


def text_of(source: str) -> str:
    return sanitize(source, CAST).text


def shown(source: str) -> str:
    return presented(sanitize(source, CAST), CAST)


def link(href: str, text: str | None = None) -> str:
    return f'<a href="{href}"{NEW_TAB}>{text or href}</a>'


# --- What is kept and what goes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ('a<img src="x" onerror="alert(1)">b', "ab"),
        ('<a href="javascript:alert(1)">x</a>', "<a>x</a>"),
        ('<a href="data:text/html,x">x</a>', "<a>x</a>"),
        ('<a href="/x" onmouseover="a()" onclick="b()">x</a>', '<a href="/x">x</a>'),
        ("<b>bold</b> <i>slanted</i>", "<b>bold</b> <i>slanted</i>"),
        ("<ul><li>one</li><li>two</li></ul>", "<ul><li>one</li><li>two</li></ul>"),
        ('<a href="https://example.com">x</a>', '<a href="https://example.com">x</a>'),
        ("<span class='mention'>x</span>", "<span>x</span>"),
        ("<u>a</u><s>b</s><font color=red>c</font><made-up>d</made-up>", "abcd"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "ab"),
        ("a<script>x</script><style>x</style><title>x</title><svg><path>x</path></svg>b", "ab"),
        ("a<form>x</form><button>x</button><video>x</video><object>x</object>b", "ab"),
        ("a<!-- x --><!DOCTYPE html><?xml x?>b", "ab"),
        ("<b title=t lang=en id=i name=n style=s data-x=y>x</b>", '<b title="t" lang="en">x</b>'),
        ("<time datetime=2026 cite=x>x</time>", '<time datetime="2026">x</time>'),
        ("<del cite=/a datetime=b>x</del>", '<del cite="/a" datetime="b">x</del>'),
        ("<blockquote cite=data:x>x</blockquote>", "<blockquote>x</blockquote>"),
        ("<a href=/x target=_top rel=opener>x</a>", '<a href="/x">x</a>'),
        ("<P>A<BR/>b<HR>", "<p>A<br>b</p><hr>"),
        ("a &lt; b > c &amp;copy; \xa0d", "a &lt; b &gt; c &amp;copy; &nbsp;d"),
        ("<pre>" + "\n" * 50 + "x</pre>", "<pre>x</pre>"),
    ],
)
def test_markup_keeps_what_is_allowed_and_nothing_else(source: str, html: str) -> None:
    assert html_of(source) == html


@pytest.mark.parametrize(
    ("classes", "kept"),
    [("language-ruby", "language-ruby"), ("btn language-c language-x", "language-c language-x")],
)
def test_only_the_language_of_code_survives_among_classes(classes: str, kept: str) -> None:
    assert html_of(f'<pre class="{classes}">x</pre>') == f'<pre class="{kept}">x</pre>'
    assert html_of(f'<code class="{classes}">x</code>') == f'<code class="{kept}">x</code>'
    assert html_of(f'<div class="{classes}">x</div>') == "<div>x</div>"
    assert html_of('<code class="btn">x</code>') == "<code>x</code>"


@pytest.mark.parametrize(
    "address",
    ["/x", "x/y:z", "#a:b", "?q=a:b", "?q=%3a", "//example.com", "HTTPS://example.com", "", "a/%3a",
     "mailto:a%3ab@example.com", "tel:+1", "ssh://x", "ed2k://x", "urn:isbn:1", "xmpp:x@y"],
)  # fmt: skip
def test_an_address_of_a_known_scheme_or_of_none_stays(address: str) -> None:
    assert html_of(f'<a href="{address}">x</a>') == f'<a href="{address}">x</a>'


@pytest.mark.parametrize(
    "address",
    ["javascript:x", "JAVASCRIPT:x", "java\nscript:x", " javascript:x", "java script:x", "file:///x",
     "javascript&colon;x", "javascript&#58;x", "javascript&amp;colon;x", "javascript%3Ax", "feed:x",
     "javascript&amp;#x3a;x", "javascript&#37;3ax", "a%3ab", "x&amp;#58b", "&#1;data:x", "blob:x",
     "vbscript:x", "made-up:x", "1:2", ":x", "\u2000javascript:x", "http%3a//x"],
)  # fmt: skip
def test_an_address_of_any_other_scheme_goes_and_its_text_stays(address: str) -> None:
    assert html_of(f'<a href="{address}">x</a>') == "<a>x</a>"


def test_white_space_around_and_control_characters_anywhere_are_no_part_of_a_message() -> None:
    assert html_of(" \n\u2003 a\r\nb\rc\td\x00\x07\x1b\x85e \xa0\n") == "a\nb\nc\tde"
    assert html_of("&#32;a&#13;b&#1;&#32;") == "a\nb"
    assert html_of("half a character: \ud800") == "half a character: \ufffd"


def test_settings_of_one_cleaning_never_show_in_another() -> None:
    sources = [
        "<u>a</u>",
        '<a href="javascript:x">b</a>',
        mention(KEVIN),
        "<b onclick=x>c</b>",
    ] * 50

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
    assert users_named_in(source) == {KEVIN.id}


@pytest.mark.parametrize("described", ["{bad", "[]", "1", '"x"', "null", "", "[" * 60_000])
def test_what_the_editor_describes_badly_is_an_ordinary_element(described: str) -> None:
    assert html_of(trix(described, content="<b>x</b>")) == "<figure><b>x</b></figure>"


@pytest.mark.parametrize(
    "source",
    [
        "<action-text-attachment>gone</action-text-attachment>",
        f'<action-text-attachment sgid="{sgid_of(404)}">gone</action-text-attachment>',
        '<action-text-attachment sgid="%" content-type="image/png">gone</action-text-attachment>',
        trix({"contentType": "image/png", "url": "/x.png"}, content="gone"),
        trix({"contentType": "text/html", "content": "<b>gone</b>"}),
        trix({"sgid": 7}),
        trix({}),
    ],
)
def test_an_attachment_that_is_nobody_is_a_crossed_box_and_the_rest_stays(source: str) -> None:
    body = sanitize(f"a {source} b", CAST)

    assert (body.html, body.text, body.mentions) == ("a ☒ b", "a ☒ b", ())


def test_a_mention_that_is_never_closed_leaves_the_rest_of_the_message_alone() -> None:
    assert html_of(f'<ACTION-TEXT-ATTACHMENT SGID="{KEVIN.sgid}"/> hi') == f"{mention(KEVIN)} hi"


def test_attachments_inside_attachments_go_with_them() -> None:
    source = mention(KEVIN, trix({"sgid": DAVID.sgid}) + mention(DAVID)) + "!"

    assert html_of(source) == f"{mention(KEVIN)}!"
    assert users_named_in(source) == {KEVIN.id}


def test_an_attachment_in_a_comment_or_in_a_script_is_not_there() -> None:
    hidden = (
        f"<!-- {mention(KEVIN)} --><script data-trix-attachment='{{}}'>{mention(KEVIN)}</script>x"
    )

    assert html_of(hidden) == "x"
    assert users_named_in(hidden) == frozenset()


def test_people_named_twice_count_once_and_in_order() -> None:
    assert sanitize(mention(KEVIN) + mention(DAVID) + mention(KEVIN), CAST).mentions == (3, 1)
    assert sanitize("Hi @David", CAST).mentions == ()


def test_a_link_preview_vanishes_beside_text_and_is_a_link_when_alone() -> None:
    ours = f'<action-text-attachment content-type="{PREVIEW}" href="https://a.example/?b&amp;c">x'
    theirs = trix({"contentType": PREVIEW, "href": "https://a.example/?b&c"})
    address = "https://a.example/?b&amp;c"

    assert html_of(f"hi {ours}</action-text-attachment>") == "hi"
    assert html_of(f"<div>{ours}</action-text-attachment></div>") == (
        f'<div><a href="{address}">{address}</a></div>'
    )
    assert html_of(theirs) == f'<a href="{address}">{address}</a>'
    assert html_of(trix({"contentType": PREVIEW})) == ""


MARSHALLED = b'\x04\bI"\x1dgid://campfire/User/7\x06:\x06ET'


def gid(number: object, model: str = "User", app: str = "campfire") -> str:
    return f"gid://{app}/{model}/{number}"


@pytest.mark.parametrize(
    "sgid",
    [
        sgid_of(7),
        sgid_of(7, "a wrong--signature"),
        sgid_of(7).partition("--")[0],
        sgid_of(7).partition("--")[0].rstrip("="),
        encoded({"_rails": {"data": gid("7?expires_in"), "pur": "x"}}),
        encoded({"_rails": {"message": encoded(gid("7")), "exp": None, "pur": "attachable"}}),
        encoded({"_rails": {"message": base64.b64encode(MARSHALLED).decode()}}),
        encoded({"_rails": {"data": gid("7?~~~???>>>")}}).translate({43: "-", 47: "_"}) + "--x",
    ],
)
def test_an_id_is_read_in_both_forms_whoever_signed_it(sgid: str) -> None:
    assert user_id_in_sgid(sgid) == 7


@pytest.mark.parametrize(
    "sgid",
    [
        "", "--", "x", "é", "\ud800", "%%%--x", "e30=", "bnVsbA==", "[" * 9_999, encoded([]),
        encoded({"_rails": None}), encoded({"_rails": {}}), encoded({"_rails": {"data": 7}}),
        encoded({"_rails": {"data": gid(7, "Room")}}), encoded({"_rails": {"data": gid("7x")}}),
        encoded({"_rails": {"data": gid(7, app="x")}}), encoded({"_rails": {"data": gid("-7")}}),
        encoded({"_rails": {"data": gid("\u0667")}}), encoded({"_rails": {"data": "x" + gid(7)}}),
        encoded({"_rails": {"data": gid("9" * 5_000)}}), encoded({"_rails": {"message": "é"}}),
        encoded({"_rails": {"message": encoded(gid(7, "ActiveStorage::Blob"))}}),
    ],
)  # fmt: skip
def test_what_names_no_person_is_nobody(sgid: str) -> None:
    assert user_id_in_sgid(sgid) is None


# --- Plain words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a\n\n<b>b\n</b>c", "abc"),
        ("a<br>b<br><br>c<br>", "a\nb\n\nc"),
        ("<div>a</div><div>b<br></div>c", "a\nb\nc"),
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("<h1>a</h1><h6>b</h6>c", "a\n\nb\n\nc"),
        ("<ul><li>a</li><li>b<br></li></ul>c", "• a\n• b\n\nc"),
        ("<ol><li>a</li>x<b>y</b><li>b</li></ol>", "1. a\nxy3. b"),
        ("<ol><li>a<ul><li>b<ol><li>c</li></ol></li></ul></li><li>d</li></ol>",
         "1. a\n  • b\n    1. c\n2. d"),
        ("<li>alone</li>", "• alone"),
        ("<blockquote>a b</blockquote>c", "“a b”\n\nc"),
        ("<blockquote> a <br> </blockquote>b", " “a” \n \n\nb"),
        ("<blockquote><p>a</p><p>b</p></blockquote>", "“a\n\nb”"),
        ("x<blockquote> <br></blockquote>y", "x“”y"),
        ("<figure>a<figcaption>b</figcaption></figure>c", "a[b]c"),
        (f"Hey {mention(KEVIN)} ping", "Hey @Kevin ping"),
        ("<b>a</b> <code>b</code> <a href='/x'>c</a>", "a b c"),
        ("a  b&nbsp;c &lt;d&gt; &amp;amp;", "a  b\xa0c <d> &amp;"),
        ("<div>  a</div><div></div><div><br></div>", "  a"),
        ("<div>&nbsp;<br> </div>", ""),
        ("<hr>a", "a"),
        ("<dl><dt>a</dt><dd>b</dd></dl>", "ab"),
    ],
)  # fmt: skip
def test_plain_words_follow_the_shape_of_the_body(source: str, text: str) -> None:
    assert text_of(source) == text


# --- On the screen -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("see https://a.example/b?c=d now", f"see {link('https://a.example/b?c=d')} now"),
        ("HTTP://A.example", link("HTTP://A.example")),
        ("www.a.example", link("http://www.a.example", "www.a.example")),
        ("www. a www.", "www. a www."),
        ("看https://a.example/é", f"看{link('https://a.example/é')}"),
        ("https://a.example/?b&c=d&", f"{link('https://a.example/?b&amp;c=d')}&amp;"),
        ("https://a.example.", f"{link('https://a.example')}."),
        ("https://a.example/?!,", f"{link('https://a.example/')}?!,"),
        ("https://a.example/-_=;", link("https://a.example/-_=;")),
        ("(https://a.example/b)", f"({link('https://a.example/b')})"),
        ("https://a.example/b_(c)", link("https://a.example/b_(c)")),
        ("https://a.example/b_(c))).", f"{link('https://a.example/b_(c)')}))."),
        ("[https://a.example/b[c]]", f"[{link('https://a.example/b[c]')}]"),
        ("{https://a.example/{b}}", f"{{{link('https://a.example/{b}')}}}"),
        ("https://a.example/(b.)", link("https://a.example/(b.)")),
        ('"https://a.example"', f'"{link("https://a.example")}"'),
        ("<https://a.example>", f"&lt;{link('https://a.example')}&gt;"),
        ("https://a.example\xa0b", f"{link('https://a.example')}&nbsp;b"),
        ("https://...", "https://..."),
        ("https:// a", "https:// a"),
        ("ssh://a.example sms://1", f"{link('ssh://a.example')} {link('sms://1')}"),
        ("javascript://a.example", "javascript://a.example"),
        ("it's a.b@c.example.", f"it's {link('mailto:a.b@c.example', 'a.b@c.example')}."),
        ("a+b&c@d-e.example", link("mailto:a+b&amp;c@d-e.example", "a+b&amp;c@d-e.example")),
        ("mailto:a@b.example", f"mailto:{link('mailto:a@b.example', 'a@b.example')}"),
        ("a@b @c.example a@.b", "a@b @c.example a@.b"),
        ("a@www.b.example", link("mailto:a@www.b.example", "a@www.b.example")),
        ("ftp://a@b.example/c", link("ftp://a@b.example/c")),
    ],
)
def test_addresses_in_text_become_links(text: str, html: str) -> None:
    assert shown(escape(text, quote=False)) == html


@pytest.mark.parametrize(
    "html",
    [
        '<a href="/x">https://a.example and a@b.example</a>',
        "<a><b>www.a.example</b></a>",
        '<b title="https://a.example">x</b>',
        '<a href="/x">x</a>',
        '<a href="mailto:a@b.example">x</a>',
        '<a href="#https://a.example">x</a>',
    ],
)
def test_text_in_links_and_addresses_in_attributes_are_left_alone(html: str) -> None:
    assert shown(html) == html


@pytest.mark.parametrize("href", ["https://a.example", "//a.example/b", "ssh://a", "HTTP://a"])
def test_a_link_that_leaves_the_site_opens_in_a_new_tab(href: str) -> None:
    assert (
        shown(f'<a href="{href}" title="t">x</a>') == f'<a href="{href}" title="t"{NEW_TAB}>x</a>'
    )


def test_text_after_a_link_is_linked_again() -> None:
    assert shown("<a href='/x'>www.a.example</a> www.b.example") == (
        f'<a href="/x">www.a.example</a> {link("http://www.b.example", "www.b.example")}'
    )


def test_a_mention_shows_the_person_as_they_are_now() -> None:
    was = sanitize(f"Hi {mention(KEVIN)}", CAST)
    now = {KEVIN.id: Mentionable(KEVIN.id, "Kev www.x.y", 'K "&"', "/a?b&c", "fresh")}
    filled = (
        '<span class="mention" data-user-id="3"><a href="/users/3" class="btn avatar"'
        ' title="K &quot;&amp;&quot;"><img src="/a?b&amp;c" class="avatar" width="48" height="48"'
        ' alt="" aria-hidden="true"></a> Kev www.x.y</span>'
    )

    html = f'Hi <action-text-attachment sgid="fresh" content-type="{MENTION}">{filled}'
    assert presented(was, now) == f"{html}</action-text-attachment>"
    assert with_mentions(was.html, now) == presented(was, now)
    assert presented(was, {}) == "Hi ☒"


def test_the_words_for_bots_have_people_but_no_links() -> None:
    html = html_of(f"{mention(DAVID)} www.a.example")

    assert with_mentions(html, CAST).endswith("David</span></action-text-attachment> www.a.example")


def test_links_are_the_first_five_web_pages_once_each() -> None:
    html = html_of(
        "https://1.example <a href='https://2.example/?a&amp;b'>https://no.example</a>"
        " www.3.example. a@b.example ftp://no.example <a href='//no.example'>x</a> https://1.example"
        " HTTP://4.example https://5.example https://6.example"
    )

    assert links_in(html) == (
        "https://1.example", "https://2.example/?a&b", "http://www.3.example", "HTTP://4.example",
        "https://5.example",
    )  # fmt: skip
    assert sanitize(html, CAST).links == links_in(html)


# --- In the editor -------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", ["{}", "<div>{}</div>", "<p>a {} b</p>", "<li><b>{}</b></li>"])
def test_an_edited_body_that_is_not_changed_comes_back_the_same(wrapper: str) -> None:
    html = html_of(wrapper.format(mention(KEVIN) + " &amp; " + mention(QUOTED)))
    in_editor = editable(html, CAST)

    assert in_editor.count("<figure data-trix-attachment=") == 2
    assert "action-text-attachment" not in in_editor
    assert html_of(in_editor) == html


def test_the_editor_is_told_whom_a_mention_shows() -> None:
    in_editor = editable(html_of(mention(KEVIN)), CAST)
    start, end = in_editor.split(' data-trix-content-type="')
    described = json.loads(unescape(start.removeprefix('<figure data-trix-attachment="')[:-1]))

    assert end == f'{MENTION}" class="attachment attachment--content"></figure>'
    assert list(described) == ["sgid", "contentType", "content"]
    assert described["sgid"] == KEVIN.sgid
    assert described["content"] in with_mentions(mention(KEVIN), CAST)


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
    assert sum(sound.text is not None for sound in SOUNDS.values()) == 41
    assert sum(sound.image is not None for sound in SOUNDS.values()) == 15
    assert all((sound.text is None) != (sound.image is None) for sound in SOUNDS.values())


@pytest.mark.parametrize(
    "text", ["/play nosuch", "/play bell now", "/play  bell", "/Play bell", " /play bell", "/play",
             "/play Bell", "/play incoming", "/play bell\n", "/play\tbell"]
)  # fmt: skip
def test_anything_else_than_a_known_sound_is_plain_text(text: str) -> None:
    assert sound_in(text) is None


def test_an_unknown_command_is_shown_as_typed() -> None:
    assert shown("/play nosuch") == "/play nosuch"


def test_a_sound_with_words_is_shown_as_a_button_and_its_words() -> None:
    button = '<button type="button" class="btn btn--plain" aria-label="Play vuvuzela">🔊</button>'

    assert shown("<div><b>/play</b> vuvuzela</div>") == (
        '<div class="sound" data-sound-name="vuvuzela" data-sound-url="/sounds/vuvuzela.mp3">'
        f"{button} ======&lt;() ~ ♪ ~♫</div>"
    )


def test_a_sound_with_a_picture_is_shown_with_it() -> None:
    image = SOUNDS["deeper"].image

    assert image
    assert image.file.startswith("top.")
    assert shown("/play deeper").endswith(
        f'<img src="/assets/sounds/{image.file}" width="188" height="80" class="align--middle"'
        ' alt="deeper"></div>'
    )
    assert text_of("/play deeper") == "/play deeper"

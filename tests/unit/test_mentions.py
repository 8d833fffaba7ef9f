"""What Rails' own tests ask of markup and of mentions."""

from concurrent.futures import ThreadPoolExecutor

import campfire as program
from tests.support.asking import It
from tests.support.writing import KEVIN, SOMEBODY, encoded, html_of
from tests.support.writing import mention as markup_of


def test_what_is_harmful_goes_and_what_is_harmless_stays(it: It) -> None:
    """As Rails' own tests of helpers/content_filters."""
    with it("`<img>` disappears without a trace"):
        assert html_of('<div>a<img src="x.png" onerror="x()">b</div>') == "<div>ab</div>"
    with it("`javascript:` link → `<a>x</a>`"):
        assert html_of('<a href="javascript:x()">x</a>') == "<a>x</a>"
    with it('`onmouseover`, `onclick` gone, `href="/x"` and text stay'):
        source = '<a href="/x" onmouseover="x()" onclick="x()">text</a>'
        assert html_of(source) == '<a href="/x">text</a>'
    with it("`data:` link → `<a>x</a>`"):
        assert html_of('<a href="data:text/html,x">x</a>') == "<a>x</a>"
    with it("links, bold, code, lists survive"):
        source = (
            '<div><a href="https://example.com">a</a> <strong>b</strong> <code>c</code>'
            "<ul><li>d</li></ul><ol><li>e</li></ol></div>"
        )
        assert html_of(source) == source
    with it("`class` on span survives: here the language of code, and no other (server.md 16.2)"):
        assert html_of('<code class="language-ruby">x</code>') == (
            '<code class="language-ruby">x</code>'
        )
        assert html_of('<span class="btn">x</span>') == "<span>x</span>"
    with it("a mention survives with its sgid and content type"):
        assert html_of(f"Hi {markup_of(KEVIN)}") == f"Hi {markup_of(KEVIN)}"
        assert f'sgid="{KEVIN.sgid}"' in markup_of(KEVIN)
    with it("concurrent sanitizing never mixes settings"):
        sources = ["<u>a</u>", '<a href="javascript:x">b</a>', markup_of(KEVIN)] * 50
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(html_of, sources)) == [html_of(each) for each in sources]


def test_a_mention_leads_to_its_person_whatever_its_signature(it: It) -> None:
    """As Rails' own tests of lib/rails_ext."""
    with it("mention with a good signature → that user"):
        assert program.user_id_in_sgid(KEVIN.sgid) == KEVIN.id
    with it("with a bad signature → still that user"):
        assert program.user_id_in_sgid(KEVIN.sgid.rpartition("--")[0] + "--" + "0" * 40) == KEVIN.id
    with it("with the older payload form → that user"):
        assert program.user_id_in_sgid(encoded(SOMEBODY["in a message of Ruby's"])) == 7
    with it("no sgid → missing (☒)"):
        assert "☒" in html_of('<action-text-attachment content-type="x"></action-text-attachment>')
    with it("a non-user model with a bad signature → missing"):
        room = encoded({"_rails": {"data": "gid://campfire/Room/1", "pur": "attachable"}})
        assert program.user_id_in_sgid(f"{room}--{'0' * 40}") is None

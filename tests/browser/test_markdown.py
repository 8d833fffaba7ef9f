"""Marks that become formats while one types, the keys of code, and pasted text as it was meant."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from tests.browser.test_pasting import paste
from tests.support.browsers import composer, message, picture, texts, violations, write
from tests.support.house import House

# Trix renders what is typed with the next frame.
SETTLED = "await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
EDITOR = "document.querySelector('trix-editor')"
VALUE = f"async () => {{ {SETTLED}; return {EDITOR}.value.replaceAll('&nbsp;', ' ') }}"
EMPTY = f"() => {EDITOR}.editor.loadHTML('')"
WORDS = f"() => {EDITOR}.editor.getDocument().toString().slice(0, -1)"
MADE = f"""() => JSON.parse(JSON.stringify({EDITOR}.editor.getDocument())).flatMap(
  ({{attributes, text}}) => [attributes, ...text.map((piece) => Object.keys(piece.attributes))]
).flat().filter((name) => name !== 'blockBreak')"""


def ready(page: Page) -> None:
    """The editor itself, and not what stands in for it."""
    composer(page).click()
    expect(page.locator("trix-editor")).to_be_focused()


def html_of(page: Page, *keys: str) -> str:
    """What the editor has after these words; a name of a key in brackets is that key."""
    page.evaluate(EMPTY)
    for each in keys:
        if each.startswith("<"):
            page.keyboard.press(each.strip("<>"))
        else:
            page.keyboard.type(each)
    found: str = page.evaluate(VALUE)
    return found


def test_a_mark_becomes_its_format_with_the_letter_that_closes_it(house: House) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)

    for typed, html in (
        ("so **bold** it", "<div>so <strong>bold</strong> it</div>"),
        ("*a* _b_", "<div><em>a</em> <em>b</em></div>"),
        ("~old~ new", "<div><del>old</del> new</div>"),
        ("run `a * b`!", "<div>run <code>a * b</code>!</div>"),
        (
            "**a _b_ c**",
            "<div><strong>a </strong><strong><em>b</em></strong><strong> c</strong></div>",
        ),
        ("> said", "<blockquote>said</blockquote>"),
        ("- one", "<ul><li>one</li></ul>"),
        ("1. one", "<ol><li>one</li></ol>"),
        ("# Title", "<h1>Title</h1>"),
        ("``` x = 1", "<pre>x = 1</pre>"),
        ("```py x = 1", '<pre class="language-py">x = 1</pre>'),
    ):
        found = html_of(maya, typed)
        assert found.replace("</strong><strong>", "") == html.replace("</strong><strong>", ""), (
            typed
        )
    assert html_of(maya, "so", "<Shift+Enter>", "- one") == "<div>so</div><ul><li>one</li></ul>"


@pytest.mark.parametrize(
    "words",
    [
        "snake_case_name and 2*3*4",
        "\\*x* \\_y_ \\`z`",
        "__init__ and *_* and ^_^",
        "https://x.example/_a_/*b*",
        "a - b > c # d 1. e",
        "* * *",
    ],
)
def test_what_is_no_mark_stays_as_it_was_typed(house: House, words: str) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)

    html_of(maya, words.replace("* * *", "a * * *"))

    assert maya.evaluate(MADE) == []
    assert maya.evaluate(WORDS) == words.replace("* * *", "a * * *")


def test_no_mark_is_made_in_code_in_a_link_or_across_lines(house: House) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)

    assert html_of(maya, "``` **a** - b") == "<pre>**a** - b</pre>"
    assert html_of(maya, "**a", "<Shift+Enter>", "b**") == "<div>**a<br>b**</div>"
    link = '<div><a href="https://x.example/">a *b</a></div>'
    maya.evaluate(f"html => {EDITOR}.editor.loadHTML(html)", link)
    maya.keyboard.press("End")
    maya.keyboard.press("ArrowLeft")
    maya.keyboard.type("c*")
    assert "<em>" not in maya.evaluate(VALUE)
    assert "a *c*b" in maya.evaluate(WORDS)


def test_undo_takes_a_format_back_and_leaves_its_marks(house: House) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)

    for typed in ("**bold**", "run `x`", "- ", "> ", "1. ", "# ", "```py "):
        html_of(maya, typed)
        assert maya.evaluate(MADE) != [], typed
        maya.keyboard.press("Control+z")
        assert (maya.evaluate(MADE), maya.evaluate(WORDS)) == ([], typed)
    maya.keyboard.type("x")
    assert maya.evaluate(WORDS) == "```py x"


def test_whatever_is_typed_undoing_each_change_leaves_what_was_typed(house: House) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)

    made = list[str]()

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.text(alphabet="*_~`>-#1.\\ ab🎉é@(", max_size=16))
    @example("**a** _b_ ~c~ `d` ```e``` - f")
    @example("- > # 1. ")
    @example("``` `a`")
    @example("`*a*` **`b`**")
    def typed(words: str) -> None:
        maya.evaluate(EMPTY)
        for at, letter in enumerate(words, 1):
            maya.keyboard.insert_text(letter)
            if found := maya.evaluate(MADE):
                made.extend(found)
                maya.keyboard.press("Control+z")
                assert (maya.evaluate(MADE), maya.evaluate(WORDS)) == ([], words[:at])
        assert (maya.evaluate(MADE), maya.evaluate(WORDS)) == ([], words)

    typed()
    assert {"bold", "italic", "strike", "inlineCode", "bullet", "code"} <= set(made)


def test_code_keeps_its_empty_lines_and_is_left_by_two_of_them_or_downwards(house: House) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)

    code = html_of(maya, "```py", "<Enter>", "a", "<Enter>", "<Enter>", "b")
    assert code == '<pre class="language-py">a\n\nb</pre>'
    maya.keyboard.press("ArrowDown")
    maya.keyboard.type("so")
    assert maya.evaluate(VALUE) == '<pre class="language-py">a\n\nb</pre><div>so</div>'
    out = html_of(maya, "```", "<Enter>", "a", "<Enter>", "<Enter>", "<Enter>", "so")
    assert out == "<pre>a</pre><div>so</div>"
    assert html_of(maya, "```", "<Enter>", "a", "<Enter>", "```", "<Enter>", "so") == out
    assert html_of(maya, "```", "<Enter>", "<Enter>", "<Enter>", "so") == "<div>so</div>"
    assert html_of(maya, "```x = 1", "<Enter>", "y") == "<pre>x = 1\ny</pre>"
    assert texts(maya) == []

    maya.keyboard.press("Control+Enter")
    expect(maya.locator(".message pre")).to_have_text("x = 1\ny")


def test_the_language_of_code_decides_its_colours_and_is_kept_while_editing(house: House) -> None:
    maya, room = house.sit("Maya"), house.room()
    maya.goto(room)
    ready(maya)
    html_of(maya, "```sql", "<Enter>", "def = 1", "<Control+Enter>")
    code = maya.locator(".message pre")
    expect(code).to_have_attribute("data-highlighted", "yes")
    expect(code).to_have_class("language-sql hljs")

    composer(maya).press("ArrowUp")
    editor = maya.get_by_role("textbox", name="Edit message")
    expect(editor.locator("pre")).to_have_class("language-sql")
    maya.keyboard.type("2")
    maya.keyboard.press("Control+Enter")
    expect(code).to_have_text("def = 12")
    expect(code).to_have_class("language-sql hljs")
    html_of(maya, "```zig", "<Enter>", "const x = 1", "<Control+Enter>")
    expect(code.last).to_have_text("const x = 1")
    expect(code.last).to_have_attribute("data-highlighted", "no")


def test_where_enter_sends_the_other_one_goes_on_with_a_list(house: House) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)

    items = html_of(maya, "- one", "<Shift+Enter>", "two", "<Shift+Enter>", "<Shift+Enter>", "so")
    assert items == "<ul><li>one</li><li>two</li></ul><div>so</div>"
    maya.keyboard.press("Enter")

    expect(maya.locator(".message li")).to_have_text(["one", "two"])


def test_an_input_method_at_work_makes_no_format(house: House) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)
    maya.keyboard.type("*a")
    method = maya.context.new_cdp_session(maya)
    method.send("Input.imeSetComposition", {"text": "*", "selectionStart": 1, "selectionEnd": 1})
    assert maya.evaluate(MADE) == []
    method.send("Input.insertText", {"text": "日本"})

    expect(composer(maya)).to_have_text("*a日本")
    maya.keyboard.type("*")
    assert maya.evaluate(VALUE) == "<div><em>a日本</em></div>"


LIST = "Two things:\n\n- **first**\n- second\n\n```py\nx = 1\n```"


def test_text_with_marks_is_pasted_formatted_and_one_press_makes_it_text(house: House) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)

    paste(maya, LIST)
    offer = maya.get_by_role("button", name="Paste as text")
    expect(offer).to_be_visible()
    assert maya.evaluate(VALUE) == (
        "<div>Two things:</div><ul><li><strong>first</strong></li><li>second</li></ul>"
        '<pre class="language-py">x = 1</pre><div><br></div>'
    )
    picture(maya, "pasted")
    assert violations(maya) == []
    maya.keyboard.press("Tab")
    expect(offer).to_be_focused()
    maya.keyboard.press("Enter")
    expect(offer).to_have_count(0)
    expect(maya.locator("trix-editor")).to_be_focused()
    assert (maya.evaluate(MADE), maya.evaluate(WORDS)) == ([], LIST)
    maya.keyboard.press("Control+z")
    assert maya.evaluate(WORDS) == ""

    paste(maya, LIST)
    maya.keyboard.type("so")
    expect(offer).to_have_count(0)
    maya.keyboard.press("Enter")
    expect(maya.locator(".message li")).to_have_text(["first", "second"])
    expect(message(maya, "so").locator("pre")).to_have_text("x = 1")


def test_what_is_pasted_into_code_is_code(house: House) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)
    html_of(maya, "```", "<Enter>")

    paste(maya, "- **a**\r\nhttps://x.example/", "<ul><li><b>a</b></li></ul>")

    assert maya.evaluate(VALUE) == "<pre>- **a**\nhttps://x.example/</pre>"


def test_who_wants_no_markdown_switches_it_off(house: House) -> None:
    maya, room = house.sit("Maya"), house.room()
    maya.goto("/users/me/profile")
    habit = maya.get_by_role("switch", name="Markdown while I type")
    expect(habit).to_be_checked()
    habit.focus()
    maya.keyboard.press("Space")
    maya.goto(room)
    ready(maya)

    html_of(maya, "**a** - ```")
    assert maya.evaluate(MADE) == []
    paste(maya, LIST)
    assert maya.evaluate(MADE) == []
    maya.keyboard.press("Enter")
    expect(message(maya, "**a**")).to_be_visible()

    maya.goto("/users/me/profile")
    expect(habit).not_to_be_checked()


def test_all_keys_are_listed_by_a_button_and_by_keys(house: House) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)
    keys = maya.get_by_role("dialog", name="Keys and marks")

    maya.keyboard.press("Control+/")
    expect(keys).to_be_visible()
    expect(keys).to_contain_text("**bold**")
    expect(keys).to_have_css("border-radius", "16px")
    picture(maya, "keys")
    assert violations(maya) == []
    maya.keyboard.press("Escape")
    expect(keys).to_have_count(0)
    expect(composer(maya)).to_be_focused()

    maya.get_by_role("button", name="Rich text").click()
    maya.get_by_role("button", name="Keys and marks").click()
    expect(keys).to_be_visible()
    keys.get_by_role("button", name="Close").click()
    expect(keys).to_have_count(0)


def test_who_comes_from_slack_writes_code_a_list_and_a_bold_word(house: House) -> None:
    maya = house.sit("Maya", house.room())
    ready(maya)

    write(maya, "**Deploy** needs `make`:")
    maya.keyboard.press("Shift+Enter")
    maya.keyboard.type("- pull")
    maya.keyboard.press("Shift+Enter")
    maya.keyboard.type("build")
    maya.keyboard.press("Shift+Enter")
    maya.keyboard.press("Shift+Enter")
    for line in ("```bash", "make install", "```"):
        maya.keyboard.type(line)
        maya.keyboard.press("Enter")
    picture(maya, "markdown")
    maya.keyboard.press("Enter")

    said = message(maya, "Deploy").locator(".trix-content")
    expect(said.locator("strong")).to_have_text("Deploy")
    expect(said.locator("code")).to_have_text("make")
    expect(said.locator("li")).to_have_text(["pull", "build"])
    expect(said.locator("pre")).to_have_text("make install")
    expect(composer(maya)).to_have_text("")

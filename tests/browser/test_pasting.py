"""Pasting, as a browser does it: white space, code, cells of sheets, and pictures."""

import re

from playwright.sync_api import Page, expect

from tests.support.browsers import composer, message
from tests.support.house import House, enter


def paste(page: Page, text: str, html: str = "") -> None:
    composer(page).click()
    page.evaluate(
        """([text, html]) => { const clipboardData = new DataTransfer()
        clipboardData.setData('text/plain', text)
        if (html) clipboardData.setData('text/html', html)
        const how = {bubbles: true, cancelable: true, clipboardData}
        document.activeElement.dispatchEvent(new ClipboardEvent('paste', how)) }""",
        [text, html],
    )


def test_tabs_and_runs_of_blanks_are_seen_as_they_were_pasted(house: House) -> None:
    maya = house.sit("Maya")
    enter(maya, house.room())
    words = "name\tsize\n\ta   b"

    paste(maya, words)
    expect(composer(maya)).to_have_js_property("innerText", words.replace("   ", " \xa0 "))
    maya.keyboard.press("Enter")

    body = message(maya, "size").locator(".trix-content")
    assert body.inner_text().replace("\xa0", " ") == words
    body.hover()
    maya.keyboard.press("ArrowUp")
    editor = maya.get_by_role("textbox", name="Edit message")
    expect(editor).to_be_focused()
    assert editor.inner_text().replace("\xa0", " ").rstrip("\n") == words


def test_a_bots_lines_tabs_and_indentation_are_seen(house: House) -> None:
    bot = house.ask("Maya", "POST", "/api/account/bots", {"name": "Builder"})["bot"]
    maya, room = house.sit("Maya"), house.room()
    enter(maya, room)
    words = 'File "<stdin>", line 1\n\tif a<b:\n    print(x)'
    markup = "<ul>\n  <li>a</li>\n\n  <li>b</li>\n</ul>\n\n<p>done</p>"

    for said in (words, markup):
        maya.request.post(f"{room}/{bot['bot_key']}/messages", data=said.encode())

    assert message(maya, "stdin").locator(".trix-content").inner_text() == words
    listed = message(maya, "done").locator(".trix-content").inner_text()
    assert [line for line in listed.split("\n") if line.strip()] == ["a", "b", "done"]
    expect(message(maya, "done").locator(".trix-content")).to_have_css("white-space", "normal")


def test_pasted_code_is_code_and_blank_lines_at_the_end_go(house: House) -> None:
    maya = house.sit("Maya")
    enter(maya, house.room())

    paste(maya, "def f():\n    return 1\n", "<pre><code>def f():\n    return 1\n</code></pre>")
    maya.keyboard.press("Enter")
    code = maya.locator(".message pre")
    expect(code).to_have_text(re.compile(r"^def f\(\):\n    return 1$"))
    expect(code).to_have_attribute("data-highlighted", "yes")
    paste(maya, "the last line\n\n\n")
    maya.keyboard.press("Enter")
    expect(message(maya, "the last line")).to_be_visible()
    assert message(maya, "the last line").locator(".trix-content").inner_html() == (
        "<div>the last line</div>"
    )


def test_a_cell_is_its_words_an_emoji_its_letter_and_no_picture_is_fetched(house: House) -> None:
    maya, fetched = house.sit("Maya"), list[str]()
    enter(maya, house.room())
    maya.on("request", lambda request: fetched.append(request.url))

    paste(maya, "42", "<table><!--StartFragment-->\n<tr>\n <td>42</td>\n</tr>\n</table>")
    expect(composer(maya)).to_have_text("42")
    paste(maya, "", f'<p>so <img alt="🎉" src="{house.url}/a.png"> what</p>')
    paste(maya, "", f'<img src="{house.url}/b.png" alt="Chart">')
    expect(composer(maya)).to_contain_text("so 🎉 what")
    maya.keyboard.press("Enter")
    expect(message(maya, "so 🎉 what")).to_be_visible()

    assert [url for url in fetched if url.endswith(".png")] == []

"""Writing: what Enter means, quoting, boosting and changing what was said."""

import re

from playwright.sync_api import expect

from tests.browser.test_keyboard import tab_to
from tests.support.asking import It
from tests.support.browsers import FINGER, choose, composer, message, options, texts, write
from tests.support.house import (
    HELD,
    ROOM_MESSAGES,
    House,
    Post,
    announced,
    delete,
    draft,
    enter,
    rewrite,
)


def test_enter_sends_unless_it_means_something_else(house: House) -> None:
    maya = house.sit("Maya", house.room())
    keys, rich = maya.keyboard, maya.get_by_role("button", name="Rich text")
    composer(maya).click()
    keys.press("Enter")
    keys.type("one")
    keys.press("Shift+Enter")
    keys.type("two")
    assert texts(maya) == []
    keys.press("Enter")
    expect(message(maya, "two")).to_be_visible()
    assert texts(maya) == ["one\ntwo"]

    rich.click()
    expect(rich).to_have_attribute("aria-pressed", "true")
    expect(composer(maya)).to_be_focused()
    tab_to(maya, "Bold")
    keys.press("Escape")
    expect(rich).to_have_attribute("aria-pressed", "false")
    rich.click()
    keys.type("three")
    keys.press("Enter")
    keys.type("four")
    keys.press("Control+Enter")
    expect(message(maya, "four")).to_contain_text("three")
    expect(rich).to_have_attribute("aria-pressed", "false")

    input_method = maya.context.new_cdp_session(maya)
    typed = {"text": "にほん", "selectionStart": 3, "selectionEnd": 3}
    input_method.send("Input.imeSetComposition", typed)
    keys.press("Enter")
    expect(maya.locator(".message")).to_have_count(2)
    input_method.send("Input.insertText", {"text": "日本"})
    keys.press("Enter")
    expect(maya.locator(".message").last).to_contain_text("日本")


def test_enter_is_a_new_line_under_a_finger_and_the_button_sends(house: House) -> None:
    maya = house.sit("Maya", house.room(), **FINGER)
    expect(composer(maya)).not_to_be_focused()
    composer(maya).tap()
    maya.keyboard.type("one")
    maya.keyboard.press("Enter")
    maya.keyboard.type("two")
    assert texts(maya) == []

    maya.get_by_role("button", name="Send message").tap()

    expect(message(maya, "two")).to_contain_text("one")
    expect(composer(maya)).to_be_focused()
    expect(composer(maya)).to_have_text("")


def test_the_up_arrow_edits_what_i_said_last_unless_i_am_writing(house: House) -> None:
    room = house.room()
    for who, words in (("Maya", "Mine"), ("Jonas", "His")):
        house.post(who, room, words)
    maya = house.sit("Maya", room)
    editor = maya.get_by_role("textbox", name="Edit message")

    composer(maya).click()
    maya.keyboard.press("ArrowUp")
    expect(editor).to_have_text("Mine")
    expect(editor).to_be_focused()
    maya.keyboard.type(" and more")
    maya.keyboard.press("Escape")
    expect(editor).to_have_count(0)
    expect(composer(maya)).to_be_focused()
    assert texts(maya) == ["Mine", "His"]
    maya.keyboard.type("x")
    maya.keyboard.press("ArrowUp")
    expect(editor).to_have_count(0)
    maya.evaluate("document.activeElement.blur()")
    maya.keyboard.press("ArrowUp")
    expect(editor).to_be_focused()
    maya.goto("/searches")
    maya.get_by_role("searchbox").press("ArrowUp")
    expect(editor).to_have_count(0)


def test_a_reply_quotes_before_the_draft_and_one_undo_takes_it_back(house: House) -> None:
    room, maya = house.room(), house.sit("Maya")
    house.post("Jonas", room, f"{house.mention('Inés')} wrote <b>this</b>")
    enter(maya, room)
    write(maya, "My thoughts")
    choose(maya, "wrote", "Reply")

    quote = composer(maya).locator("blockquote")
    expect(quote).to_have_text(re.compile(r"^Inés Duarte wrote this\s*$"))
    expect(composer(maya).locator(".mention")).to_have_count(0)
    expect(composer(maya).locator("cite")).to_have_text(re.compile("Jonas Weber #"))
    expect(composer(maya)).to_contain_text("My thoughts")
    expect(composer(maya)).to_be_focused()
    maya.keyboard.type("!")
    assert draft(maya).endswith("My thoughts!")
    maya.keyboard.press("Control+Z")
    maya.keyboard.press("Control+Z")
    expect(composer(maya)).to_have_text("My thoughts")


def test_a_boost_is_chosen_or_typed_and_taken_back_only_by_its_owner(it: It, house: House) -> None:
    room = house.room()
    words = house.post("Maya", room, "Words")
    maya, jonas = house.sit("Maya", room), house.sit("Jonas", room, reduced_motion="no-preference")
    choose(jonas, "Words", "Party popper")
    expect(message(maya, "Words").locator(".boost")).to_contain_text("🎉")
    expect(maya.get_by_role("button", name="boosted 🎉, press to join")).to_be_visible()
    expect(maya.get_by_role("button", name="press to take yours back")).to_have_count(0)
    jonas.get_by_role("button", name="New boost").click()
    typing = jonas.get_by_role("textbox", name="New boost")
    expect(typing).to_be_focused()
    jonas.keyboard.type("   ")
    jonas.keyboard.press("Enter")
    expect(typing).to_have_value("   ")
    typing.fill("")
    jonas.keyboard.type("seventeen letters")
    expect(typing).to_have_value("seventeen letter")
    with it("an edit or boost by another keeps a half-typed boost"):
        house.edit("Maya", room, words, "Words, edited")
        house.boost("Inés", words, "👏")
        expect(message(jonas, "edited").locator(".boost", has_text="👏")).to_be_visible()
        expect(typing).to_have_value("seventeen letter")
    typing.press("Enter")
    expect(message(maya, "edited").locator(".boost")).to_have_count(3)
    with it("boosting and taking a boost back in the browser"):
        jonas.get_by_role("button", name="boosted 🎉, press to take yours back").click()
        expect(message(maya, "edited").locator(".boost")).to_have_count(2)
        expect(message(jonas, "edited").locator(".boost")).to_have_count(2)


def test_authors_and_administrators_change_a_message(it: It, house: House) -> None:
    room = house.room()
    house.post("Maya", room, "Hers")
    house.post("Jonas", room, "His")
    maya, jonas = house.sit("Maya", room), house.sit("Jonas", room)
    options(jonas, "Hers")
    expect(jonas.get_by_role("menuitem", name="Reply")).to_be_visible()
    expect(jonas.get_by_role("menuitem", name="Edit")).to_have_count(0)
    jonas.keyboard.press("Escape")

    rewrite(maya, "His", "His, corrected")
    expect(message(jonas, "His, corrected")).to_be_visible()
    expect(maya.get_by_role("button", name="Stop editing")).to_have_count(0)

    # Refused: the words come back into the editor, and the old ones to everybody.
    post = Post(jonas, f"{ROOM_MESSAGES}/*", HELD)
    post.always = 403
    rewrite(jonas, "His, corrected", "Mine!")
    expect(message(jonas, "Mine!")).to_be_visible()
    post.let_go(403)
    editor = jonas.get_by_role("textbox", name="Edit message")
    expect(editor).to_have_text("Mine!")
    expect(jonas.get_by_role("alert").first).to_be_attached()
    editor.press("Control+A")
    editor.press("Delete")
    editor.press("Control+Enter")
    expect(announced(jonas, "assertive")).to_have_text(
        "A message can't be empty. Delete it instead?"
    )
    editor.press("Escape")
    expect(message(jonas, "His, corrected")).to_be_visible()
    with it("edit and delete appear in the other browser"):
        jonas.on("dialog", lambda dialog: dialog.accept())
        delete(jonas, "His, corrected")
        expect(message(jonas, "His, corrected")).to_be_visible()
        post.always = None
        delete(jonas, "His, corrected")
        expect(message(maya, "His, corrected")).to_have_count(0)
    assert texts(jonas) == texts(maya) == ["Hers"]

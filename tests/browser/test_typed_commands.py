"""What one types beside words: emoji by their names, sounds to play, everybody at once."""

import re

from playwright.sync_api import Page, expect

from tests.support.browsers import composer, message, picture, texts, write
from tests.support.house import House

# Every sound that begins, by the last part of its address.
HEARD = """
window.heard = [];
HTMLMediaElement.prototype.play = function () {
  window.heard.push(this.src.split('/').at(-1));
  return new Promise(() => {});
};
HTMLMediaElement.prototype.pause = function () { window.heard.push('quiet'); };
window.heard;
"""


def heard(page: Page, *names: str) -> None:
    page.wait_for_function("names => heard.join() === names.join()", arg=list(names))


def test_emoji_are_completed_by_their_names_and_a_second_colon_ends_one(house: House) -> None:
    maya = house.sit("Maya", house.room())
    offers = maya.get_by_role("option")

    write(maya, "so :tad")
    expect(offers.first).to_have_text(re.compile("🎉.*:tada:"))
    expect(maya.get_by_role("listbox", name="Emoji")).to_be_visible()
    picture(maya, "emoji-names")
    maya.keyboard.press("Tab")
    expect(composer(maya)).to_have_text(re.compile("^so 🎉\\s*$"))
    expect(offers).to_have_count(0)
    maya.keyboard.type("and :thumbsup:")
    expect(composer(maya)).to_have_text(re.compile("^so 🎉 and 👍\\s*$"))
    maya.keyboard.press("Control+Z")
    expect(composer(maya)).to_have_text(re.compile("and :thumbsup:"))
    maya.keyboard.press("Control+A")
    maya.keyboard.press("Delete")

    maya.keyboard.type("note :on the :party")  # words that begin so, and no key but Tab or Enter
    expect(offers.nth(1)).to_contain_text("🎉")
    maya.keyboard.press("ArrowDown")
    expect(offers.nth(1)).to_have_attribute("aria-selected", "true")
    maya.keyboard.press("Enter")
    expect(composer(maya)).to_have_text(re.compile("^note :on the 🎉\\s*$"))
    assert texts(maya) == []


def test_what_only_looks_like_an_emoji_is_sent_as_it_was_typed(house: House) -> None:
    maya = house.sit("Maya", house.room())

    for words in ("at 10:30 :) :D", "see :nothingcalledso", "fast :fire", "http://a.example:80"):
        write(maya, words)
        maya.keyboard.press("Enter")
        expect(message(maya, words)).to_be_visible()
    write(maya, "at once :fire:")
    maya.keyboard.press("Enter")
    expect(message(maya, "at once 🔥")).to_be_visible()
    write(maya, ":tada")
    expect(maya.get_by_role("option").first).to_be_visible()
    maya.keyboard.press("Escape")
    expect(maya.get_by_role("option")).to_have_count(0)
    maya.keyboard.press("Enter")
    expect(message(maya, ":tada")).to_be_visible()


def test_play_lists_the_sounds_and_what_one_rests_on_is_heard(house: House) -> None:
    maya = house.sit("Maya", house.room())
    maya.evaluate(HEARD)
    offers = maya.get_by_role("option")

    write(maya, "/play")
    expect(maya.get_by_role("listbox", name="Sounds")).to_be_visible()
    expect(offers).to_have_count(56)
    maya.keyboard.type(" ta")
    expect(offers).to_have_text([re.compile("tada.*plays a fanfare", re.DOTALL)])
    assert maya.evaluate("heard") == []
    offers.first.hover()
    heard(maya, "tada.mp3")
    picture(maya, "sounds")
    maya.mouse.move(5, 5)
    heard(maya, "tada.mp3", "quiet")
    maya.keyboard.press("Backspace")
    maya.keyboard.press("Backspace")
    maya.keyboard.type("y")
    expect(offers).to_have_count(3)
    maya.keyboard.press("ArrowDown")
    heard(maya, "tada.mp3", "quiet", "yeah.mp3")
    maya.keyboard.press("Enter")
    heard(maya, "tada.mp3", "quiet", "yeah.mp3", "quiet")
    expect(composer(maya)).to_have_text(re.compile("^/play yeah\\s*$"))
    expect(offers).to_have_count(0)
    assert texts(maya) == []
    maya.keyboard.press("Enter")
    expect(maya.get_by_role("button", name="Play yeah")).to_be_visible()

    write(maya, "/play tada")
    maya.keyboard.press("Enter")  # a whole name is sent at once
    expect(maya.get_by_role("button", name="Play tada")).to_be_visible()


def test_everyone_is_offered_to_those_who_may_and_marks_the_message_for_the_others(
    house: House,
) -> None:
    room = house.room()
    maya, jonas = house.sit("Maya", room), house.sit("Jonas", room)

    write(jonas, "@every")
    expect(jonas.locator(".autocomplete__list")).to_have_text("Nobody found")
    jonas.keyboard.press("Escape")
    write(maya, "@every")
    expect(maya.get_by_role("option")).to_have_text([re.compile("everyone.*Notifies", re.DOTALL)])
    picture(maya, "everyone")
    maya.keyboard.press("Enter")
    maya.keyboard.type("lunch")
    maya.keyboard.press("Enter")

    expect(message(jonas, "@everyone lunch")).to_have_class(re.compile("message--mentioned"))
    expect(message(maya, "@everyone lunch")).to_be_visible()
    expect(maya.locator(".message--mentioned")).to_have_count(0)
    jonas.reload()
    expect(jonas.locator(".message--mentioned")).to_have_count(1)

"""What somebody wrote lasts until the server has it: reloads, pages that never come, refusals."""

import re

from playwright.sync_api import expect

from tests.support.browsers import composer, connected, frames_heard, message, say, texts, until
from tests.support.house import HELD, LOST, House, Post, Sit, enter


def test_words_sent_from_an_old_page_outlive_the_newest_page_that_never_comes(
    house: House, sit: Sit
) -> None:
    room = house.room()
    posted = [house.post("Jonas", room, f"Number {number}.") for number in range(130)]
    maya = sit("Maya")
    enter(maya, f"{room}/@{posted[20]['id']}")
    maya.route(f"**/api{room}", lambda route: route.abort())
    post = Post(maya)
    post.always = HELD

    say(maya, "From the past")

    expect(maya.get_by_role("button", name="Jump to newest message")).to_be_visible()
    until(maya, lambda: len(post) > 0)
    assert "From the past" not in texts(maya)
    frames_heard(maya).clear()
    post.always = None
    maya.reload()
    connected(maya)
    maya.unroute(f"**/api{room}")
    maya.get_by_role("button", name="Jump to newest message").click()
    expect(message(maya, "From the past")).to_have_count(1)
    maya.goto(room)
    expect(message(maya, "Number 129.")).to_be_visible()
    assert texts(maya)[-2:] == ["Number 129.", "From the past"]
    expect(composer(maya)).to_have_text("")


def test_a_reload_in_the_middle_of_a_post_neither_loses_nor_doubles_it(
    house: House, sit: Sit
) -> None:
    room = house.room()
    maya = sit("Maya", room)
    for fate, words in ((HELD, "never arrived"), (LOST, "arrived unanswered")):
        post = Post(maya, "**/api/rooms/*/messages", fate)
        say(maya, words)
        until(maya, lambda post=post: len(post) == 1)  # type: ignore[misc]
        enter(maya, room)
        expect(message(maya, words)).to_have_count(1)
        expect(message(maya, words)).to_have_attribute("data-message-id", re.compile(r"^\d+$"))
    assert texts(maya) == ["never arrived", "arrived unanswered"]

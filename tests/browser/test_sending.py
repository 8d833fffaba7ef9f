"""Sending: at once, again, or not at all; what somebody wrote lasts until the server has it."""

import re
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_feed import watch_shifts
from tests.support.browsers import (
    composer,
    connected,
    frames_heard,
    message,
    say,
    sign_in,
    texts,
    until,
    write,
)
from tests.support.house import (
    HELD,
    LOST,
    ROOM_MESSAGES,
    Cable,
    House,
    Post,
    announced,
    enter,
    stop_clock,
)


def test_what_i_send_is_there_in_the_next_frame_and_stays_the_same_node(house: House) -> None:
    room = house.room()
    house.post("Jonas", room, "Before")
    maya = house.sit("Maya", room)
    post = Post(maya, ROOM_MESSAGES, HELD)
    watch_shifts(maya)
    write(maya, "Mine")
    frames = frames_until_sent(maya, "Mine")
    until(maya, lambda: len(post) == 1)
    sent = post.bodies[0]["client_message_id"]
    expect(message(maya, "Mine").locator(".message__permalink")).to_have_count(0)
    post.let_go()

    expect(message(maya, "Mine").locator(".message__permalink")).to_be_attached()
    assert frames <= 1
    assert maya.evaluate("window.sent.isConnected && window.sent.id") == f"message_{sent}"
    expect(maya.locator(f"[id='message_{sent}']")).to_have_count(1)
    assert maya.evaluate("window.shift") == 0


def test_what_the_server_stored_without_its_answer_arriving_is_sent_again_and_stored_once(
    house: House,
) -> None:
    maya, room = house.sit("Maya"), house.room()
    cable = Cable(maya)
    enter(maya, room)
    post = Post(maya, ROOM_MESSAGES, LOST)
    cable.hold()

    say(maya, "Once")

    until(maya, lambda: len(post) == 2)
    expect(message(maya, "Once").locator(".message__permalink")).to_be_attached()
    cable.let_go()
    assert len({each["client_message_id"] for each in post.bodies}) == 1
    assert texts(maya) == ["Once"]
    assert len(house.ask("Maya", "GET", f"/api{room}/messages")["messages"]) == 1


def test_what_cannot_be_sent_is_tried_again_after_1_2_4_8_and_16_seconds(house: House) -> None:
    maya, room = house.sit("Maya"), house.room()
    maya.clock.install()
    cable = Cable(maya)
    enter(maya, room)
    post = Post(maya, ROOM_MESSAGES, *[500] * 5)
    write(maya, "Persistent")
    stop_clock(maya)
    maya.keyboard.press("Enter")
    until(maya, lambda: post.dealt == 1)
    expect(message(maya, "Persistent")).to_contain_text("Trying again")
    expect(announced(maya)).to_have_text("Not sent yet, trying again")

    times = cable.attempts(post, 34)

    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == pytest.approx([1, 2, 4, 8, 16], abs=0.5)
    expect(message(maya, "Persistent").locator(".message__permalink")).to_be_attached()
    expect(message(maya, "Persistent")).not_to_have_class(re.compile("retrying|failed"))
    assert len({each["client_message_id"] for each in post.bodies}) == 1


def test_what_failed_for_good_says_so_and_can_be_sent_or_discarded(house: House) -> None:
    maya, room = house.sit("Maya"), house.room()
    maya.clock.install()
    cable = Cable(maya)
    enter(maya, room)
    post = Post(maya)
    post.always = 500
    write(maya, "Unlucky")
    stop_clock(maya)
    maya.keyboard.press("Enter")
    until(maya, lambda: post.dealt == 1)
    cable.attempts(post, 33)

    expect(message(maya, "Unlucky")).to_have_class(re.compile("message--failed"))
    expect(message(maya, "Unlucky")).to_contain_text("Not sent")
    expect(announced(maya, "assertive")).to_have_text("Your message was not sent")
    post.always = None
    again = message(maya, "Unlucky").get_by_role("button", name="Try again")
    again.focus()
    expect(again).to_be_focused()
    maya.keyboard.press("Enter")
    expect(message(maya, "Unlucky").locator(".message__permalink")).to_be_attached()
    assert len({each["client_message_id"] for each in post.bodies}) == 1

    post.always = 422
    maya.clock.resume()
    say(maya, "Too long")
    expect(message(maya, "Too long")).to_contain_text("That is too long.")
    message(maya, "Too long").get_by_role("button", name="Discard").click()
    expect(message(maya, "Too long")).to_have_count(0)
    expect(composer(maya)).to_be_focused()
    assert texts(maya) == ["Unlucky"]


def test_a_room_that_is_gone_when_one_writes_says_so_in_place_of_the_composer(house: House) -> None:
    room = house.room()
    maya = house.sit("Maya")
    cable = Cable(maya)
    enter(maya, room)
    cable.hold()
    house.ask("Maya", "DELETE", f"/api{room}")
    post = Post(maya)

    say(maya, "Too late")

    expect(maya.locator("#composer")).to_contain_text("That room is gone, or closed to you.")
    expect(composer(maya)).to_have_count(0)
    expect(message(maya, "Too late")).to_have_class(re.compile("message--failed"))
    assert len(post) == 1


def test_whoever_was_signed_out_meanwhile_finds_their_words_after_signing_in(house: House) -> None:
    guest_id = house.invite("Gus Guest")
    room = house.room()
    gus = house.sit("Gus", room)
    house.run("DELETE FROM sessions WHERE user_id = :id", id=guest_id)

    say(gus, "Not lost")

    expect(gus).to_have_url(re.compile("/session/new"))
    sign_in(gus, "gus@northwind.example")
    expect(gus).to_have_url(re.compile(f"{room}$"))
    expect(composer(gus)).to_have_text("Not lost")


def test_words_sent_from_an_old_page_outlive_the_newest_page_that_never_comes(house: House) -> None:
    room = house.room()
    posted = [house.post("Jonas", room, f"Number {number}.") for number in range(130)]
    maya = house.sit("Maya")
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


def test_a_reload_in_the_middle_of_a_post_neither_loses_nor_doubles_it(house: House) -> None:
    room = house.room()
    maya = house.sit("Maya", room)
    for fate, words in ((HELD, "never arrived"), (LOST, "arrived unanswered")):
        post = Post(maya, "**/api/rooms/*/messages", fate)
        say(maya, words)
        post.has_come()
        enter(maya, room)
        expect(message(maya, words)).to_have_count(1)
        expect(message(maya, words)).to_have_attribute("data-message-id", re.compile(r"^\d+$"))
    assert texts(maya) == ["never arrived", "arrived unanswered"]


def frames_until_sent(page: Page, words: str) -> int:
    """Presses Enter, and counts the frames until the message, `window.sent`, is there."""
    frames: int = page.evaluate(
        """words => new Promise((resolve) => {
          const key = {key: 'Enter', bubbles: true, cancelable: true}
          document.querySelector('trix-editor').dispatchEvent(new KeyboardEvent('keydown', key))
          let frames = 0
          const look = () => {
            window.sent = [...document.querySelectorAll('.message')].at(-1)
            if (window.sent.textContent.includes(words)) return resolve(frames)
            frames += 1
            requestAnimationFrame(look)
          }
          look()
        })""",
        words,
    )
    return frames

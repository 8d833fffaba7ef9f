"""Away, and back: a server that was gone, a lost connection, a page that was hidden."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.browsers import (
    SOUNDS,
    composer,
    connected,
    join,
    message,
    picture,
    say,
    set_up,
    texts,
    until,
)
from tests.support.executable import Campfire
from tests.support.house import Cable, House, announced, enter, look, stop_clock
from tests.support.studio import encoded, painted


def test_a_lost_connection_shows_after_five_seconds_and_everything_missed_comes_silently(
    house: House,
) -> None:
    room = house.room()
    first, second, third = (house.post("Jonas", room, words) for words in ("One", "Two", "Three"))
    maya = house.sit("Maya")
    maya.clock.install()
    maya.add_init_script(SOUNDS)
    cable = Cable(maya)
    enter(maya, room)
    stop_clock(maya)
    send = maya.get_by_role("button", name="Send message")
    status = maya.locator(".typing-indicator--status")

    cable.cut()
    until(maya, lambda: not cable.is_open)
    maya.clock.run_for(4900)
    expect(send).to_be_enabled()
    expect(status).to_have_count(0)
    maya.clock.run_for(100)
    expect(status).to_contain_text("Reconnecting… your draft is safe here")
    expect(send).to_be_disabled()
    expect(maya.get_by_role("button", name="Attach files")).to_be_disabled()
    maya.clock.resume()
    say(maya, "Half a thought")
    expect(announced(maya)).to_have_text("Reconnecting… your draft is safe here")
    maya.reload()
    expect(composer(maya)).to_have_text("Half a thought")

    house.edit("Jonas", room, first, "One, edited")
    house.delete("Jonas", room, second)
    house.boost("Inés", third, "👏")
    house.post("Jonas", room, "/play bell")
    cable.mend()

    expect(maya.get_by_role("button", name="Play bell")).to_be_visible()
    expect(announced(maya)).to_have_text("1 new message")
    expect(message(maya, "Three").locator(".boost")).to_contain_text("👏")
    expect(status).to_have_count(0)
    expect(send).to_be_enabled()
    assert [words.strip() for words in texts(maya)[:2]] == ["One, edited", "Three"]
    assert len(texts(maya)) == 3
    assert maya.evaluate("window.played") == []
    expect(maya.locator(".message[data-live]")).to_have_count(0)


@pytest.mark.parametrize(("seconds", "asks"), [(59, False), (61, True)])
def test_a_page_that_was_hidden_for_a_minute_asks_what_it_missed(
    house: House, seconds: int, *, asks: bool
) -> None:
    maya = house.sit("Maya")
    maya.clock.install()
    cable = Cable(maya)
    enter(maya, house.room())
    stop_clock(maya)
    lists: list[str] = []
    maya.on("request", lambda request: lists.append(request.url))
    assert cable.said("RoomMessagesChannel") == ["catch_up"]

    look(maya, "hidden")
    cable.pass_time(seconds)
    look(maya, "visible")
    cable.pass_time(1)

    assert cable.said("RoomMessagesChannel") == ["catch_up"] * (2 if asks else 1)
    assert any("/api/users/me/sidebar" in each for each in lists) == asks


def test_twenty_seconds_without_the_server_lose_nothing_and_double_nothing(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, jonas = window(), window()
    join(jonas, set_up(maya, campfire), "Jonas Weber")
    connected(maya, jonas)
    say(maya, "Before")
    expect(message(jonas, "Before")).to_be_visible()

    gone = maya.evaluate("Date.now()")
    assert campfire.stop() == 0
    say(maya, "While you were away")
    expect(message(maya, "While you were away")).to_contain_text("Trying again")
    expect(jonas.locator(".typing-indicator--status")).to_contain_text("Reconnecting")
    expect(jonas.get_by_role("button", name="Send message")).to_be_disabled()
    picture(jonas, "offline")
    maya.wait_for_function("gone => Date.now() - gone > 20000", arg=gone, timeout=30_000)
    campfire.start()

    expect(message(jonas, "While you were away")).to_be_visible(timeout=20_000)
    expect(jonas.get_by_role("button", name="Send message")).to_be_enabled()
    expect(maya.locator(".message--retrying")).to_have_count(0)
    say(jonas, "Welcome back")
    expect(message(maya, "Welcome back")).to_be_visible()
    seen = texts(maya), texts(jonas)
    maya.reload()
    jonas.reload()
    expect(message(maya, "Welcome back")).to_be_visible()
    expect(message(jonas, "Welcome back")).to_be_visible()
    assert seen == (texts(maya), texts(jonas))
    assert texts(maya) == ["Before", "While you were away", "Welcome back"]


def test_pictures_that_did_not_come_are_there_when_the_connection_is_back(house: House) -> None:
    room, maya = house.room(), house.sit("Maya")
    house.send("Jonas", room, "harbour.png", encoded(painted(300, 200), "PNG"))
    house.post("Jonas", room, "/play 56k")
    pictures = re.compile("/avatar|/still|/assets/sounds/")
    maya.route(pictures, lambda asked: asked.abort())
    cable = Cable(maya)
    enter(maya, room)
    expect(maya.get_by_role("link", name="Download harbour.png")).to_be_visible()

    cable.cut()
    until(maya, lambda: not cable.is_open)
    maya.unroute(pictures)
    cable.mend()

    expect(maya.get_by_role("link", name="View harbour.png")).to_be_visible()
    maya.wait_for_function(
        "() => [...document.querySelectorAll('.message img')]"
        ".every((image) => image.complete && image.naturalWidth)"
    )

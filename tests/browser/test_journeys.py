"""Two people talk: journeys through the built executable, in real browsers."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.asking import It
from tests.support.browsers import (
    PASSWORD,
    SOUNDS,
    connected,
    join,
    message,
    picture,
    say,
    set_up,
    texts,
    write,
)
from tests.support.executable import Campfire
from tests.support.house import House, delete, enter


def test_two_people_set_up_join_and_talk_without_reloading(
    it: It, campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, jonas = window(), window()
    link = set_up(maya, campfire)
    picture(maya, "welcome")
    join(jonas, link, "Jonas Weber")
    connected(maya, jonas)
    with it("two browsers exchange messages"):
        say(maya, "Morning, are we still meeting at eleven?")
        expect(message(jonas, "at eleven?")).to_be_visible()
        write(jonas, "Yes")
        expect(maya.locator(".typing-indicator--active")).to_contain_text("Jonas Weber")
        # Twice by mistake is once.
        jonas.get_by_role("button", name="Send message").dblclick()
        expect(message(maya, "Yes")).to_be_visible()
        expect(maya.locator(".typing-indicator--active")).to_have_count(0)
    picture(jonas, "talk")
    maya.on("dialog", lambda dialog: dialog.accept())
    delete(maya, "at eleven?")
    expect(message(jonas, "at eleven?")).to_have_count(0)
    assert texts(maya) == texts(jonas) == ["Yes"]


def test_scrolling_up_brings_the_pages_before(house: House) -> None:
    room = house.room()
    for number in range(1, 131):
        house.post("Jonas", room, f"Number {number}.")

    maya = house.sit("Maya", room)
    expect(message(maya, "Number 130.")).to_be_in_viewport()
    maya.locator(".messages").hover()
    for oldest in (51, 11, 1):
        maya.mouse.wheel(0, -9000)
        expect(message(maya, f"Number {oldest}.")).to_have_count(1)
    assert texts(maya) == [f"Number {number}." for number in range(1, 131)]


def test_markup_that_somebody_sends_never_runs(house: House) -> None:
    room = house.room()
    maya = house.sit("Maya", room)
    hostile = "<img src=x onerror='window.__xss=1'><script>window.__xss=1</script><b>bold</b>"

    house.post("Jonas", room, hostile)
    house.room(name=hostile)

    expect(message(maya, "bold").locator(".message__presentation b")).to_have_text("bold")
    maya.reload()
    expect(message(maya, "bold")).to_be_visible()
    assert maya.evaluate("window.__xss") is None


def test_a_sound_is_played_once_as_it_arrives_and_never_from_history(house: House) -> None:
    room, maya = house.room(), house.sit("Maya")
    house.post("Jonas", room, "/play yeah")
    maya.add_init_script(SOUNDS)
    enter(maya, room)

    house.post("Jonas", room, "/play bell")
    bell = maya.get_by_role("button", name="Play bell")
    expect(bell).to_have_attribute("aria-pressed", "true")
    bell.click()
    expect(bell).to_have_attribute("aria-pressed", "false")
    say(maya, "/play nosuchsound")
    say(maya, "/PLAY Bell")
    expect(bell).to_have_count(2)

    expect(message(maya, "/play nosuchsound")).to_be_visible()
    played = [each for each in maya.evaluate("window.played") if each != "pause"]
    assert played == ["/sounds/bell.mp3", "/sounds/bell.mp3"]


def test_a_refused_sign_in_shakes_says_why_and_keeps_the_address(
    house: House, window: Callable[..., Page]
) -> None:
    guest = window(base_url=house.url, reduced_motion="no-preference")
    guest.goto("/rooms/opens/1/edit")
    expect(guest).to_have_url(f"{house.url}/session/new")
    guest.get_by_label("Enter your email address").fill("jonas@northwind.example")
    password = guest.get_by_label("Enter your password")
    password.fill("wrong password")
    password.press("Enter")

    expect(guest.locator(".panel.shake")).to_be_visible()
    why = re.compile("That e-mail and password don.t match.")
    expect(guest.locator("#sign-in-refused")).to_contain_text(why)
    expect(guest.locator(".flash__inner[data-kind=alert]")).to_be_attached()
    expect(password).to_be_focused()
    expect(password).to_have_value("")
    expect(guest.get_by_label("Enter your email address")).to_have_value("jonas@northwind.example")
    guest.keyboard.type(PASSWORD)
    guest.keyboard.press("Enter")
    expect(guest).to_have_url(f"{house.url}/rooms/opens/1/edit")

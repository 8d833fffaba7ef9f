"""What a person reads when something fails: what happened, and what to do about it."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.browsers import ROOT, connected, set_up
from tests.support.executable import Campfire
from tests.support.house import ROOM_MESSAGES, House, Post, rewrite, stop_clock

SOURCE = ROOT / "static_bundle" / "src"
# The browser's words, or a mistake's, on their way to a person.
FOREIGN = re.compile(r"as Error\)\.message|String\((error|problem)\)|\"alert\", \w+\.message")
AWAY = "Campfire can\u2019t be reached. Check your connection and try again."


def told(page: Page) -> str:
    """The sentence of the flash, as the eye sees it."""
    flash = page.locator(".flash__inner")
    expect(flash).to_be_visible()
    expect(flash.locator("span").last).not_to_have_class("for-screen-reader")
    return flash.inner_text()


def test_no_screen_shows_the_words_of_an_error_it_does_not_know() -> None:
    files = [path for path in SOURCE.rglob("*.ts*") if path.name != "trouble.ts"]

    assert [path.name for path in files if FOREIGN.search(path.read_text())] == []


def test_a_failure_is_said_for_six_seconds_and_a_newer_one_takes_its_place(house: House) -> None:
    maya = house.sit("Maya", house.room())
    maya.route("**/api/boot*", lambda route: route.abort())
    stop_clock(maya)
    settings, flash = maya.locator(".sidebar__tool").last, maya.locator(".flash__inner")

    settings.click()
    assert told(maya) == AWAY
    maya.clock.run_for(6000)
    assert told(maya) == AWAY
    maya.clock.run_for(400)
    expect(flash).to_have_count(0)

    settings.click()
    assert told(maya) == AWAY
    maya.clock.run_for(5000)
    settings.click()
    maya.clock.run_for(5000)
    assert told(maya) == AWAY
    expect(flash).to_have_count(1)


def test_what_the_server_refuses_is_said_in_its_sentence(house: House) -> None:
    room = house.room()
    house.post("Maya", room, "Words of mine")
    maya = house.sit("Maya", room)
    post = Post(maya, f"{ROOM_MESSAGES}/*")
    post.always = 422

    rewrite(maya, "Words of mine", "Other words")

    assert told(maya) == "That is too long."
    maya.get_by_role("button", name="Stop editing").click()
    post.always = None
    maya.goto("/users/me/profile")
    maya.get_by_role("button", name="Save").click()
    assert told(maya) == "Saved."


def test_a_saved_notice_goes_when_an_error_comes(house: House) -> None:
    maya = house.sit("Maya")
    maya.goto("/users/me/profile")
    save = maya.get_by_role("button", name="Save")
    save.click()
    assert told(maya) == "Saved."

    maya.get_by_label("Email address").fill("jonas@northwind.example")
    save.click()

    expect(maya.locator("[aria-invalid=true]")).to_be_focused()
    expect(maya.locator(".flash__inner")).to_have_count(0)


@pytest.mark.parametrize(
    ("path", "happened", "advice"),
    [
        ("/account/bots", "This page is for administrators.", "Ask one of them"),
        ("/nothing/here", "We can\u2019t find that.", "Go back to your rooms"),
        ("/session/transfers/used-up", "This link was used or has expired.", "Ask for a new one."),
    ],
)
def test_a_page_of_trouble_says_what_happened_and_what_to_do(
    house: House, path: str, happened: str, advice: str
) -> None:
    jonas = house.sit("Jonas")
    jonas.goto(path)

    expect(jonas.get_by_role("heading", name=happened)).to_be_visible()
    expect(jonas.locator(".trouble p")).to_contain_text(advice)
    expect(jonas.locator(".trouble .btn").first).to_be_visible()


def test_an_invitation_that_no_longer_works_says_so(
    house: House, window: Callable[..., Page]
) -> None:
    guest = window(base_url=house.url)
    guest.goto("/join/made-anew-since")

    ends = "This invitation link does not work any more."
    expect(guest.get_by_role("heading", name=ends)).to_be_visible()
    expect(guest.locator(".trouble p")).to_have_text("Ask whoever invited you for a new one.")
    expect(guest.get_by_role("link", name="Sign in")).to_be_visible()


def test_whose_session_ended_elsewhere_is_told_so_and_who_comes_anew_is_not(
    house: House, window: Callable[..., Page]
) -> None:
    house.invite("Nuria")
    nuria = house.sit("Nuria", house.room())
    house.ask("Maya", "DELETE", f"/api/account/users/{house.ids['Nuria']}")

    expect(nuria).to_have_url(re.compile(r"/session/new$"))
    assert told(nuria) == "You were signed out. Sign in to go on."
    guest = window(base_url=house.url)
    guest.goto("/")
    expect(guest).to_have_url(re.compile(r"/session/new$"))
    expect(guest.locator(".flash__inner")).to_have_count(0)


def test_a_link_that_could_not_be_tried_is_not_called_used(house: House) -> None:
    jonas = house.sit("Jonas")
    jonas.route("**/api/session/transfers/*", lambda route: route.abort())
    jonas.goto("/session/transfers/not-tried")

    expect(jonas.get_by_role("heading", name=AWAY)).to_be_visible()
    expect(jonas.get_by_role("button", name="Reload")).to_be_visible()


def test_who_is_removed_from_a_room_is_not_told_that_it_was_deleted(house: House) -> None:
    room = house.room(only=("Maya", "Jonas"))
    jonas = house.sit("Jonas", room)
    number = room.rpartition("/")[2]
    closed = {"name": "Ours", "user_ids": [house.ids["Maya"]]}

    house.ask("Maya", "PUT", f"/api/rooms/closeds/{number}", closed)

    expect(jonas.get_by_text("That room is gone, or closed to you.")).to_be_visible()
    expect(jonas.get_by_text("deleted")).to_have_count(0)


def test_too_many_tries_to_sign_in_say_when_to_try_again(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya = window()
    set_up(maya, campfire)
    connected(maya)
    guest = window()
    guest.goto(f"{campfire.url}/session/new")
    for _ in range(11):
        guest.get_by_label("Enter your email address").fill("maya@northwind.example")
        guest.get_by_label("Enter your password").fill("not her password")
        with guest.expect_response("**/api/session"):
            guest.get_by_role("button", name="Go").click()
        expect(guest.locator("#sign-in-refused")).to_be_visible()

    sentence = re.compile(r"^Too many tries\. Try again in (a minute|[23] minutes)\.$")
    expect(guest.locator("#sign-in-refused")).to_have_text(sentence)
    assert sentence.match(told(guest))

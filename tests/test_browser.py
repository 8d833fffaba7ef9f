"""Two people talk: journeys through the built executable, in real browsers."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browsers import (
    PASSWORD,
    PHONE,
    call,
    composer,
    connected,
    join,
    message,
    options,
    picture,
    say,
    set_up,
    texts,
)
from tests.readers import Campfire

# --- Two people -----------------------------------------------------------------------------------


def test_two_people_set_up_join_and_talk_without_reloading(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, jonas = window(), window()
    link = set_up(maya, campfire)
    picture(maya, "welcome")
    join(jonas, link, "Jonas Weber")
    connected(maya, jonas)

    say(maya, "Morning, are we still meeting at eleven?")
    expect(message(jonas, "at eleven?")).to_be_visible()
    composer(jonas).click()
    jonas.keyboard.type("Yes")
    expect(maya.locator(".typing-indicator--active")).to_contain_text("Jonas Weber")
    jonas.keyboard.press("Enter")
    expect(message(maya, "Yes")).to_be_visible()
    expect(maya.locator(".typing-indicator--active")).to_have_count(0)

    options(jonas, "at eleven?")
    jonas.get_by_role("menuitem", name="Party popper").click()
    expect(message(maya, "at eleven?").locator(".boost")).to_contain_text("🎉")
    options(maya, "at eleven?")
    maya.get_by_role("menuitem", name="Edit").click()
    maya.keyboard.press("Control+A")
    maya.keyboard.type("Are we meeting at noon?")
    maya.get_by_role("button", name="Save changes").click()
    expect(message(jonas, "at noon?").locator(".boost")).to_contain_text("🎉")
    picture(jonas, "talk")

    maya.on("dialog", lambda dialog: dialog.accept())
    options(maya, "at noon?")
    maya.get_by_role("menuitem", name="Edit").click()
    maya.get_by_role("button", name="Delete message").click()
    expect(message(jonas, "at noon?")).to_have_count(0)
    assert texts(maya) == texts(jonas) == ["Yes"]


def test_a_room_turns_unread_when_another_writes_and_read_when_opened(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, jonas = window(), window()
    join(jonas, set_up(maya, campfire), "Jonas Weber")
    maya.goto(f"{campfire.url}/rooms/opens/new")
    maya.get_by_label("Name of the room").fill("Design")
    maya.get_by_role("button", name="Save").click()
    expect(maya.get_by_role("heading", name="Design")).to_be_visible()
    pill = jonas.get_by_role("list", name="Rooms", exact=True).get_by_role("link", name="Design")
    expect(pill).to_be_visible()
    connected(maya, jonas)

    say(maya, "First")

    expect(pill).to_have_class(re.compile("unread"))
    expect(pill).to_have_accessible_name(re.compile("unread"))
    pill.click()
    expect(message(jonas, "First")).to_be_visible()
    expect(pill).not_to_have_class(re.compile("unread"))


def test_a_ping_opens_at_both_sides_and_moves_to_the_front(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, jonas = window(), window()
    join(jonas, set_up(maya, campfire), "Jonas Weber")
    connected(jonas)
    maya.reload()
    pings = maya.get_by_role("list", name="Pings")
    pings.get_by_text("Jonas").click()
    expect(maya).to_have_url(re.compile("/rooms/2$"))
    connected(maya)

    say(maya, "Psst")

    theirs = jonas.get_by_role("list", name="Pings").get_by_role("link", name=re.compile("Maya"))
    expect(theirs).to_have_accessible_name(re.compile("unread"))
    theirs.click()
    expect(message(jonas, "Psst")).to_be_visible()


def test_a_double_click_posts_once(campfire: Campfire, window: Callable[..., Page]) -> None:
    maya, jonas = window(), window()
    join(jonas, set_up(maya, campfire), "Jonas Weber")
    connected(maya, jonas)

    composer(maya).click()
    maya.keyboard.type("Once only")
    maya.get_by_role("button", name="Send message").dblclick()
    say(maya, "Then this")

    expect(message(jonas, "Then this")).to_be_visible()
    assert texts(jonas) == ["Once only", "Then this"]
    stored = call(maya, "GET", "/api/rooms/1/messages")["messages"]
    assert [each["plain_text"] for each in stored] == ["Once only", "Then this"]


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


def test_what_was_missed_edited_and_deleted_while_the_network_was_down_is_made_up_for(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, jonas = window(), window()
    join(jonas, set_up(maya, campfire), "Jonas Weber")
    connected(maya, jonas)
    for words in ("One", "Two", "Three"):
        say(maya, words)
    expect(message(jonas, "Three")).to_be_visible()

    jonas.context.set_offline(True)
    jonas.evaluate("window.dispatchEvent(new Event('offline'))")
    call(maya, "PUT", "/api/rooms/1/messages/1", {"body": "One, edited"})
    call(maya, "DELETE", "/api/rooms/1/messages/2")
    call(maya, "POST", "/api/rooms/1/messages", {"body": "Four"})
    call(maya, "POST", "/api/messages/3/boosts", {"content": "👏"})
    jonas.context.set_offline(False)

    expect(message(jonas, "Four")).to_be_visible(timeout=20_000)
    expect(message(jonas, "Three").locator(".boost")).to_contain_text("👏")
    assert texts(jonas) == texts(maya) == ["One, edited", "Three", "Four"]


# --- One person -----------------------------------------------------------------------------------


def test_a_mention_is_completed_by_keyboard_and_marks_the_message_for_the_one_it_names(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, jonas = window(), window()
    join(jonas, set_up(maya, campfire), "Jonas Weber")
    connected(maya, jonas)

    composer(maya).click()
    maya.keyboard.type("@jw")
    expect(maya.get_by_role("option", name="Jonas Weber")).to_be_visible()
    maya.keyboard.press("Enter")
    maya.keyboard.type("look")
    expect(maya.locator("trix-editor .mention")).to_contain_text("Jonas Weber")
    maya.keyboard.press("Enter")

    expect(jonas.locator(".message--mentioned")).to_contain_text("look")
    expect(maya.locator(".message--mentioned")).to_have_count(0)


def test_scrolling_up_brings_the_pages_before_and_a_permalink_opens_in_the_middle(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya = window()
    set_up(maya, campfire)
    for number in range(1, 131):
        call(maya, "POST", "/api/rooms/1/messages", {"body": f"Number {number}."})

    maya.goto(f"{campfire.url}/rooms/1")
    expect(message(maya, "Number 130.")).to_be_in_viewport()
    maya.locator(".messages").hover()
    for oldest in (51, 11, 1):
        maya.mouse.wheel(0, -9000)
        expect(message(maya, f"Number {oldest}.")).to_have_count(1)
    assert texts(maya) == [f"Number {number}." for number in range(1, 131)]
    maya.goto(f"{campfire.url}/rooms/1/@50")

    expect(message(maya, "Number 50.")).to_have_class(re.compile("search-highlight"))
    expect(message(maya, "Number 50.")).to_be_in_viewport()
    centre = message(maya, "Number 50.").bounding_box()
    assert centre is not None
    assert abs(centre["y"] + centre["height"] / 2 - 355) < 40


def test_markup_that_somebody_sends_never_runs(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya = window()
    set_up(maya, campfire)
    hostile = "<img src=x onerror='window.__xss=1'><script>window.__xss=1</script><b>bold</b>"

    call(maya, "POST", "/api/rooms/1/messages", {"body": hostile})
    call(maya, "POST", "/api/rooms/opens", {"name": hostile})

    expect(message(maya, "bold").locator(".message__presentation b")).to_have_text("bold")
    maya.reload()
    expect(message(maya, "bold")).to_be_visible()
    assert maya.evaluate("window.__xss") is None


def test_a_refused_sign_in_says_so_and_a_right_one_comes_back_to_where_one_was(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, again = window(), window()
    set_up(maya, campfire)

    again.goto(f"{campfire.url}/rooms/opens/1/edit")
    expect(again).to_have_url(f"{campfire.url}/session/new")
    again.get_by_label("Enter your email address").fill("maya@northwind.example")
    again.get_by_label("Enter your password").fill("wrong password")
    again.get_by_role("button", name="Go").click()
    expect(again.get_by_role("alert").filter(has_text="That e-mail").first).to_be_visible()
    expect(again.get_by_label("Enter your password")).to_be_focused()
    again.keyboard.type(PASSWORD)
    again.get_by_role("button", name="Go").click()

    expect(again).to_have_url(f"{campfire.url}/rooms/opens/1/edit")


def test_files_say_when_they_come_and_nothing_is_sent(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya = window()
    set_up(maya, campfire)
    sent: list[str] = []
    maya.on("request", lambda request: sent.append(request.method))

    maya.get_by_role("button", name="Attach a file").click()

    expect(maya.get_by_text("File sharing available in v2.0")).to_be_visible()
    assert "POST" not in sent


def test_the_phone_keeps_its_sidebar_behind_a_button_with_a_dot_for_unread(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, jonas = window(), window(viewport=PHONE, has_touch=True, is_mobile=True)
    join(jonas, set_up(maya, campfire), "Jonas Weber")
    connected(jonas)
    room = call(maya, "POST", "/api/rooms/opens", {"name": "Design"})["room"]
    expect(jonas.locator(".sidebar").get_by_text("Design")).to_have_count(1)

    call(maya, "POST", f"/api/rooms/{room['id']}/messages", {"body": "Hello"})
    jonas.get_by_role("button", name="Open menu, 1 unread").click()
    picture(jonas, "phone-sidebar")
    jonas.get_by_role("link", name=re.compile("Design")).click()

    expect(message(jonas, "Hello")).to_be_visible()
    expect(jonas.get_by_role("button", name="Open menu", exact=True)).to_be_visible()
    assert jonas.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_boost_is_given_and_taken_back_and_a_half_typed_one_outlives_what_others_do(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, jonas = window(), window()
    join(jonas, set_up(maya, campfire), "Jonas Weber")
    connected(maya, jonas)
    say(maya, "Words")
    options(jonas, "Words")
    jonas.get_by_role("menuitem", name="Party popper").click()
    expect(message(maya, "Words").locator(".boost")).to_contain_text("🎉")
    jonas.get_by_role("button", name="New boost").click()
    typing = jonas.get_by_role("textbox", name="New boost")
    typing.fill("half")

    call(maya, "PUT", "/api/rooms/1/messages/1", {"body": "Words, edited"})
    call(maya, "POST", "/api/messages/1/boosts", {"content": "👏"})
    expect(message(jonas, "edited").locator(".boost", has_text="👏")).to_be_visible()

    expect(typing).to_have_value("half")
    typing.press("Escape")
    jonas.get_by_role("button", name="press to delete").click()
    jonas.get_by_role("button", name="Delete this boost").click()
    expect(message(maya, "edited").locator(".boost")).to_have_count(1)

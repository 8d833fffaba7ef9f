"""How a room behaves: what is said, shown, sent, lost and found again, in real browsers."""

import math
import re
from itertools import pairwise

import pytest
from playwright.sync_api import expect

from tests.support.browsers import (
    FINGER,
    PASSWORD,
    SOUNDS,
    composer,
    message,
    options,
    say,
    texts,
    until,
)
from tests.support.house import (
    HELD,
    LOST,
    ROOM_MESSAGES,
    Cable,
    House,
    Post,
    Sit,
    announced,
    box,
    enter,
    frames_until_sent,
    gap,
    has_class,
    look,
    scrolled,
    stop_clock,
    watch_shifts,
)

# --- How messages look --------------------------------------------------------------------------


def test_messages_of_one_person_within_five_minutes_hang_together(house: House, sit: Sit) -> None:
    room = house.room()
    said = [("Jonas", "12:00:00"), ("Jonas", "12:00:00"), ("Jonas", "12:04:59"),
            ("Jonas", "12:09:59"), ("Jonas", "12:15:00"), ("Inés", "12:15:10"),
            ("Jonas", "12:15:20")]  # fmt: skip
    for number, (who, at) in enumerate(said):
        house.post(who, room, f"words {number}", f"2026-03-12T{at}Z")

    maya = sit("Maya", room)

    shown = maya.locator(".message").all()
    threaded = [has_class(each, "message--threaded") for each in shown]
    assert threaded == [False, True, True, True, False, False, False]
    gaps = [gap(upper, lower) for upper, lower in pairwise(shown)]
    assert gaps == pytest.approx([2, 2, 2, 24.5, 24.5, 24.5], abs=0.5)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_day_begins_at_local_midnight_and_may_begin_in_the_middle_of_a_thread(
    house: House, sit: Sit, zone: str
) -> None:
    midnight = {"Pacific/Kiritimati": "10:00", "America/Los_Angeles": "07:00"}[zone]
    before = {"10:00": "09:59", "07:00": "06:59"}[midnight]
    room = house.room()
    house.post("Jonas", room, "late", f"2026-03-12T{before}:00Z")
    house.post("Jonas", room, "early", f"2026-03-12T{midnight}:59Z")

    maya = sit("Maya", room, timezone_id=zone)

    labels = maya.locator(".message__day-separator").all_inner_texts()
    days = {"10:00": ("MARCH 12, 2026", "MARCH 13, 2026")}.get(
        midnight, ("MARCH 11, 2026", "MARCH 12, 2026")
    )
    assert tuple(labels) == days
    expect(message(maya, "early")).to_have_class(re.compile("message--threaded"))


def test_nothing_but_emoji_is_shown_large_and_without_a_bubble(house: House, sit: Sit) -> None:
    room = house.room()
    only = {
        "👍": True,
        "❤️": True,
        "👍👍": True,
        "👍 ": False,
        "1️⃣": False,
        "👨‍👩‍👧": False,
        "ok 👍": False,
    }
    for words in only:
        house.post("Jonas", room, words.replace(" ", "&nbsp;"))

    maya = sit("Maya", room)

    shown = maya.locator(".message").all()
    assert [has_class(each, "message--emoji") for each in shown] == [True] * 3 + [False] * 4
    bubble = shown[0].locator(".message__body-content")
    expect(bubble).to_have_css("background-color", re.compile(r"transparent|, 0\)"))
    expect(shown[0].locator(".message__presentation")).to_have_css("font-size", "38.4px")


def test_a_mention_marks_the_message_only_for_the_person_it_means(house: House, sit: Sit) -> None:
    house.invite("Jonas Weber", called="Twin")
    room = house.room()
    other, jonas = sit("Twin", room), sit("Jonas", room)

    house.post("Maya", room, f"{house.mention('Twin')} have a look")

    expect(other.locator(".message--mentioned")).to_contain_text("have a look")
    expect(message(jonas, "have a look")).to_be_visible()
    expect(jonas.locator(".message--mentioned")).to_have_count(0)
    # Whole, and before anything else.
    expect(announced(other)).to_contain_text("Maya Okafor: @Jonas Weber have a look")


# --- Where one is -------------------------------------------------------------------------------


def test_a_permalink_opens_in_the_centre_and_the_way_back_to_the_newest_is_a_button(
    house: House, sit: Sit
) -> None:
    room = house.room()
    posted = [house.post("Jonas", room, f"Number {number}.") for number in range(100)]

    maya = sit("Maya", f"{room}/@{posted[40]['id']}")

    bubble = message(maya, "Number 40.").locator(".message__body-content")
    list_, row = box(maya.locator(".messages")), box(bubble)
    centre = list_["y"] + list_["height"] / 2
    assert row["y"] + row["height"] / 2 == pytest.approx(centre, abs=10)
    expect(message(maya, "Number 40.")).to_have_class(re.compile("search-highlight"))
    expect(bubble).to_have_css("border-color", re.compile(r", 0\)|/ 0\)|transparent"))
    jump = maya.get_by_role("button", name="Jump to newest message")
    expect(jump).to_have_count(0)
    house.post("Jonas", room, "Something new")
    jump.click()
    expect(message(maya, "Something new")).to_be_in_viewport()
    expect(jump).to_have_count(0)
    assert scrolled(maya)["rest"] < 1


@pytest.mark.parametrize(("distance", "follows"), [(100, True), (101, False)])
def test_a_new_message_is_followed_by_those_within_100_pixels_of_the_end(
    house: House, sit: Sit, distance: int, *, follows: bool
) -> None:
    room = house.room()
    for number in range(30):
        house.post("Jonas", room, f"Number {number}.")
    maya = sit("Maya", room)
    maya.locator(".messages").evaluate(
        "(list, away) => list.scrollTo(0, list.scrollHeight - list.clientHeight - away)", distance
    )
    assert scrolled(maya)["rest"] == distance
    before = scrolled(maya)["top"]

    house.post("Jonas", room, "Something new")

    expect(message(maya, "Something new")).to_be_attached()
    expect(maya.get_by_role("button", name="Jump to newest")).to_have_count(0 if follows else 1)
    assert scrolled(maya)["rest"] < 1 if follows else scrolled(maya)["top"] == before


# --- Sending ------------------------------------------------------------------------------------


def test_what_i_send_is_there_in_the_next_frame_and_stays_the_same_node(
    house: House, sit: Sit
) -> None:
    room = house.room()
    house.post("Jonas", room, "Before")
    maya = sit("Maya", room)
    post = Post(maya, ROOM_MESSAGES, HELD)
    watch_shifts(maya)
    composer(maya).click()
    maya.keyboard.type("Mine")
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
    house: House, sit: Sit
) -> None:
    maya, room = sit("Maya"), house.room()
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


def test_what_cannot_be_sent_is_tried_again_after_1_2_4_8_and_16_seconds(
    house: House, sit: Sit
) -> None:
    maya, room = sit("Maya"), house.room()
    maya.clock.install()
    cable = Cable(maya)
    enter(maya, room)
    post = Post(maya, ROOM_MESSAGES, *[500] * 5)
    composer(maya).click()
    maya.keyboard.type("Persistent")
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


def test_what_failed_for_good_says_so_and_can_be_sent_or_discarded(house: House, sit: Sit) -> None:
    maya, room = sit("Maya"), house.room()
    maya.clock.install()
    cable = Cable(maya)
    enter(maya, room)
    post = Post(maya)
    post.always = 500
    composer(maya).click()
    maya.keyboard.type("Unlucky")
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


def test_a_room_that_is_gone_when_one_writes_says_so_in_place_of_the_composer(
    house: House, sit: Sit
) -> None:
    room = house.room()
    maya = sit("Maya")
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


def test_whoever_was_signed_out_meanwhile_finds_their_words_after_signing_in(
    house: House, sit: Sit
) -> None:
    guest_id = house.invite("Gus Guest")
    room = house.room()
    gus = sit("Gus", room)
    house.run("DELETE FROM sessions WHERE user_id = :id", id=guest_id)

    say(gus, "Not lost")

    expect(gus).to_have_url(re.compile("/session/new"))
    gus.get_by_label("Enter your email address").fill("gus@northwind.example")
    gus.get_by_label("Enter your password").fill(PASSWORD)
    gus.keyboard.press("Enter")
    expect(gus).to_have_url(re.compile(f"{room}$"))
    expect(composer(gus)).to_have_text("Not lost")


# --- Options -----------------------------------------------------------------------------------


def test_the_options_open_by_mouse_key_and_finger(house: House, sit: Sit) -> None:
    room = house.room()
    house.post("Jonas", room, "Words")
    maya = sit("Maya", room)
    maya.context.grant_permissions(["clipboard-read", "clipboard-write"])
    menu = maya.get_by_role("menu", name="Message options")
    dots = maya.get_by_role("button", name="Message options")

    options(maya, "Words")
    expect(menu).to_be_visible()
    maya.mouse.click(700, 600)
    expect(menu).to_have_count(0)
    dots.focus()
    maya.keyboard.press("Enter")
    walk = [("", "Thumbs up"), ("ArrowRight", "Clapping"), ("ArrowDown", "Red heart"),
            ("ArrowDown", "Fire"), ("ArrowDown", "Copy link"), ("ArrowDown", "Clapping"),
            ("ArrowUp", "Copy link"), ("Home", "Thumbs up"), ("ArrowLeft", "Edit"),
            ("ArrowRight", "Thumbs up"), ("End", "Edit"), ("x", "Edit")]  # fmt: skip
    for key, name in walk:
        if key:
            maya.keyboard.press(key)
        expect(menu.get_by_role("menuitem", name=name)).to_be_focused()
    maya.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(dots).to_be_focused()
    maya.keyboard.press("Space")
    menu.get_by_role("menuitem", name="Copy link").click()
    expect(announced(maya)).to_have_text("Copied")
    expect(menu).to_have_count(0)
    link = f"{house.url}{room}/@{maya.locator('.message').get_attribute('data-message-id')}"
    assert maya.evaluate("navigator.clipboard.readText()") == link

    phone = sit("Maya", room, **FINGER)
    phone.get_by_role("button", name="Message options").tap()
    expect(phone.get_by_role("menu", name="Message options")).to_be_in_viewport(ratio=1)


def test_the_options_open_upwards_within_90_pixels_of_the_windows_end(
    house: House, sit: Sit
) -> None:
    room = house.room()
    house.post("Jonas", room, "Words")
    maya = sit("Maya", room)
    menu = maya.get_by_role("menu", name="Message options")
    options(maya, "Words")
    bottom = box(menu)["y"] + box(menu)["height"]

    for nearer, flipped in ((0, None), (1, "true")):
        maya.keyboard.press("Escape")
        maya.set_viewport_size({"width": 1280, "height": math.ceil(bottom + 90) - nearer})
        options(maya, "Words")
        expect(menu).to_be_visible()
        assert menu.get_attribute("data-flipped") == flipped


# --- Away, and back -----------------------------------------------------------------------------


def test_a_lost_connection_shows_after_five_seconds_and_everything_missed_comes_silently(
    house: House, sit: Sit
) -> None:
    room = house.room()
    first, second, third = (house.post("Jonas", room, words) for words in ("One", "Two", "Three"))
    maya = sit("Maya")
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
    expect(maya.get_by_role("button", name="Attach a file")).to_be_disabled()
    maya.clock.resume()
    composer(maya).click()
    maya.keyboard.type("Half a thought")
    maya.keyboard.press("Enter")
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
    house: House, sit: Sit, seconds: int, *, asks: bool
) -> None:
    maya = sit("Maya")
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


def test_who_types_is_told_once_a_second_and_shown_by_name_until_they_stop(
    house: House, sit: Sit
) -> None:
    room = house.room()
    maya, jonas, ines = sit("Maya"), sit("Jonas"), sit("Inés", room)
    maya.clock.install()
    line, typing = Cable(maya), Cable(jonas)
    enter(maya, room)
    enter(jonas, room)
    stop_clock(maya)

    composer(jonas).click()
    jonas.keyboard.type("ten keys!!")
    composer(ines).click()
    ines.keyboard.type("x")

    names = maya.locator(".typing-indicator--active .typing-indicator__author")
    expect(names).to_have_text("Inés Duarte, Jonas Weber")
    assert typing.said("TypingNotificationsChannel") == ["start"]
    jonas.keyboard.press("Control+A")
    jonas.keyboard.press("Delete")
    expect(names).to_have_text("Inés Duarte")
    assert typing.said("TypingNotificationsChannel") == ["start", "stop"]
    line.pass_time(4.9)
    expect(names).to_have_text("Inés Duarte")
    line.pass_time(1.2)
    expect(names).to_have_count(0)


def test_what_others_say_is_read_out_and_a_flood_is_a_number(house: House, sit: Sit) -> None:
    room = house.room()
    maya = sit("Maya", room)
    say(maya, "My own")
    expect(message(maya, "My own").locator(".message__permalink")).to_be_attached()
    first = house.post("Jonas", room, "word " * 40)
    expect(announced(maya)).to_have_text(f"Jonas Weber: {'word ' * 40}"[:120])
    house.edit("Jonas", room, first, "Silently changed")
    for number in range(3):
        house.post("Jonas", room, f"Number {number}.")
    expect(announced(maya)).to_have_text("3 new messages")


def test_files_left_behind_can_be_leafed_through_and_quoted(house: House, sit: Sit) -> None:
    room = house.room()
    for name in ("plan.pdf", "sketch.png"):
        house.post("Jonas", room, f"📎 {name} — File attachments are coming in v2.0")
    maya = sit("Maya", room)
    opener = maya.get_by_role("button", name="plan.pdf")
    opener.click()
    viewer = maya.get_by_role("dialog", name="Image viewer, press Escape to close")
    expect(viewer).to_contain_text("plan.pdf is safe and will open here after the upgrade.")
    for key, name in [("ArrowLeft", "plan.pdf"), ("ArrowRight", "sketch.png"),
                      ("ArrowRight", "sketch.png"), ("Home", "plan.pdf")]:  # fmt: skip
        maya.keyboard.press(key)
        expect(viewer).to_contain_text(f"{name} is safe")
    maya.keyboard.press("Escape")
    expect(opener).to_be_focused()
    options(maya, "sketch.png")
    maya.get_by_role("menuitem", name="Reply").click()
    expect(composer(maya).locator("blockquote")).to_have_text(re.compile(r"^sketch\.png\s*$"))

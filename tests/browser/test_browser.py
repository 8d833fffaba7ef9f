"""Two people talk: journeys through the built executable, in real browsers."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

from tests.support import installed
from tests.support.asking import It
from tests.support.browsers import (
    FINGER,
    PASSWORD,
    SOUNDS,
    composer,
    connected,
    join,
    message,
    options,
    picture,
    say,
    set_up,
    texts,
    until,
)
from tests.support.house import (
    HELD,
    ROOM_MESSAGES,
    House,
    Post,
    Sit,
    announced,
    delete,
    draft,
    drag_files,
    enter,
    focused,
    paste_file,
    rewrite,
    stop_clock,
    tab_to,
)
from tests.support.readers import Campfire

# --- Two people -----------------------------------------------------------------------------------


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
        composer(jonas).click()
        jonas.keyboard.type("Yes")
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


def test_scrolling_up_brings_the_pages_before(house: House, sit: Sit) -> None:
    room = house.room()
    for number in range(1, 131):
        house.post("Jonas", room, f"Number {number}.")

    maya = sit("Maya", room)
    expect(message(maya, "Number 130.")).to_be_in_viewport()
    maya.locator(".messages").hover()
    for oldest in (51, 11, 1):
        maya.mouse.wheel(0, -9000)
        expect(message(maya, f"Number {oldest}.")).to_have_count(1)
    assert texts(maya) == [f"Number {number}." for number in range(1, 131)]


def test_markup_that_somebody_sends_never_runs(house: House, sit: Sit) -> None:
    room = house.room()
    maya = sit("Maya", room)
    hostile = "<img src=x onerror='window.__xss=1'><script>window.__xss=1</script><b>bold</b>"

    house.post("Jonas", room, hostile)
    house.room(name=hostile)

    expect(message(maya, "bold").locator(".message__presentation b")).to_have_text("bold")
    maya.reload()
    expect(message(maya, "bold")).to_be_visible()
    assert maya.evaluate("window.__xss") is None


# --- Writing ------------------------------------------------------------------------------------


def test_enter_sends_unless_it_means_something_else(house: House, sit: Sit) -> None:
    maya = sit("Maya", house.room())
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


def test_enter_is_a_new_line_under_a_finger_and_the_button_sends(house: House, sit: Sit) -> None:
    maya = sit("Maya", house.room(), **FINGER)
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


def test_the_up_arrow_edits_what_i_said_last_unless_i_am_writing(house: House, sit: Sit) -> None:
    room = house.room()
    for who, words in (("Maya", "Mine"), ("Jonas", "His")):
        house.post(who, room, words)
    maya = sit("Maya", room)
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


def test_a_reply_quotes_before_the_draft_and_one_undo_takes_it_back(house: House, sit: Sit) -> None:
    room, maya = house.room(), sit("Maya")
    house.post("Jonas", room, f"{house.mention('Inés')} wrote <b>this</b>")
    enter(maya, room)
    composer(maya).click()
    maya.keyboard.type("My thoughts")
    options(maya, "wrote")
    maya.get_by_role("menuitem", name="Reply").click()

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


def test_people_are_suggested_after_300_milliseconds_and_taken_by_key(
    house: House, sit: Sit
) -> None:
    maya, jonas, room = sit("Maya"), sit("Jonas"), house.room()
    enter(maya, room)
    enter(jonas, room)
    people = maya.get_by_role("option")
    composer(maya).click()
    maya.keyboard.type("@")
    expect(people.first).to_have_attribute("aria-selected", "true")
    names = people.all_inner_texts()
    assert names == sorted(names)
    place = maya.get_by_role("listbox").bounding_box()
    maya.keyboard.press("ArrowDown")
    assert maya.get_by_role("listbox").bounding_box() == place
    maya.keyboard.type("jw")
    expect(people).to_have_text(["Jonas Weber"])
    expect(maya.get_by_role("combobox")).to_have_attribute("aria-expanded", "true")
    maya.keyboard.press("Escape")
    expect(people).to_have_count(0)
    maya.keyboard.press("Tab")
    expect(people).to_have_text(["Jonas Weber"])
    maya.keyboard.press("Enter")
    expect(composer(maya).locator(".mention")).to_have_text(re.compile("Jonas Weber"))
    assert texts(maya) == []
    maya.keyboard.type("and @i")
    expect(people).to_have_text(["Inés Duarte"])
    maya.keyboard.type(",")
    expect(composer(maya).locator(".mention")).to_have_count(2)
    maya.keyboard.press("Enter")

    expect(jonas.locator(".message--mentioned")).to_contain_text("Jonas Weber and Inés Duarte,")


def test_only_the_newest_question_about_people_is_answered(house: House, sit: Sit) -> None:
    maya = sit("Maya")
    maya.clock.install()
    enter(maya, house.room())
    asked: list[Route] = []

    def ask(route: Route) -> None:
        asked.append(route)

    maya.route("**/api/autocompletable/**", ask)
    begin = maya.get_by_role("button", name="Ping", exact=True)
    begin.click()
    maya.keyboard.press("Escape")
    expect(begin).to_be_focused()
    begin.click()
    stop_clock(maya)
    field = maya.get_by_role("combobox", name="Who do you want to ping?")
    expect(field).to_be_focused()

    maya.keyboard.type("m")
    maya.clock.run_for(299)
    assert asked == []
    maya.clock.run_for(1)
    until(maya, lambda: len(asked) == 1)
    maya.keyboard.press("Backspace")
    maya.keyboard.type("i")
    maya.clock.run_for(300)
    until(maya, lambda: len(asked) == 2)
    for route in reversed(asked):
        route.continue_()
    expect(maya.get_by_role("option")).to_have_text(["Inés Duarte"])
    maya.get_by_role("option").click()
    maya.get_by_role("button", name="Start ping").click()  # before the row has blinked
    maya.clock.resume()
    expect(maya.get_by_role("heading", name="Ping with Inés Duarte")).to_be_visible()


def test_a_sound_is_played_once_as_it_arrives_and_never_from_history(
    house: House, sit: Sit
) -> None:
    room, maya = house.room(), sit("Maya")
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


def test_files_wait_for_version_2_however_they_come_and_nothing_is_uploaded(
    house: House, sit: Sit
) -> None:
    maya = sit("Maya", house.room())
    sent: list[str] = []
    maya.on("request", lambda each: sent.append(each.method) if each.post_data else None)
    clip = maya.get_by_role("button", name="Attach a file")
    notice = maya.get_by_role("group", name="File sharing available in v2.0")
    curtain = maya.locator(".dropzone")

    clip.click()
    expect(notice).to_contain_text("Text, links, code and sounds all work today.")
    assert focused(maya) == "File sharing available in v2.0"
    maya.keyboard.press("Escape")
    expect(notice).to_have_count(0)
    expect(clip).to_be_focused()
    clip.click()
    clip.click()
    expect(notice).to_have_count(0)
    drag_files(maya, "dragenter")
    expect(curtain).to_contain_text("Nothing is uploaded if you let go here.")
    maya.keyboard.press("Escape")
    expect(curtain).to_have_count(0)
    for kind in ("dragenter", "dragover", "drop"):
        drag_files(maya, kind)
    expect(curtain).to_have_count(0)
    expect(notice).to_be_visible()
    notice.get_by_role("button", name="Close").click()
    composer(maya).click()
    paste_file(maya)
    expect(notice).to_be_visible()
    expect(announced(maya)).to_have_text("File sharing available in v2.0")

    assert draft(maya) == ""
    assert sent == []


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


# --- What is done to messages -------------------------------------------------------------------


def test_a_boost_is_chosen_or_typed_and_taken_back_only_by_its_owner(
    it: It, house: House, sit: Sit
) -> None:
    room = house.room()
    words = house.post("Maya", room, "Words")
    maya, jonas = sit("Maya", room), sit("Jonas", room, reduced_motion="no-preference")
    options(jonas, "Words")
    jonas.get_by_role("menuitem", name="Party popper").click()
    expect(message(maya, "Words").locator(".boost")).to_contain_text("🎉")
    expect(maya.get_by_role("link", name="Jonas Weber boosted 🎉")).to_be_visible()
    expect(maya.get_by_role("button", name="press to delete")).to_have_count(0)
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
    with it("boosting and deleting a boost in the browser"):
        jonas.get_by_role("button", name="boosted 🎉, press to delete").click()
        remove = jonas.get_by_role("button", name="Delete this boost")
        expect(remove).to_be_focused()
        remove.click()
        expect(message(maya, "edited").locator(".boost")).to_have_count(2)
        expect(message(jonas, "edited").locator(".boost")).to_have_count(2)


def test_authors_and_administrators_change_a_message(it: It, house: House, sit: Sit) -> None:
    room = house.room()
    house.post("Maya", room, "Hers")
    house.post("Jonas", room, "His")
    maya, jonas = sit("Maya", room), sit("Jonas", room)
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


# --- Installed ------------------------------------------------------------------------------------


def test_from_the_permission_to_the_click_that_opens_the_room(
    house: House, sit: Sit, push_service: installed.PushService
) -> None:
    installed.push_and_click(house, sit, push_service)


def test_pushes_of_one_room_share_a_notification_and_what_cannot_be_read_is_shown_too(
    house: House, sit: Sit
) -> None:
    installed.push_thrice(house, sit)


def test_without_a_network_a_page_says_so_and_no_words_are_kept(house: House, sit: Sit) -> None:
    installed.go_offline(house, sit)


def test_the_server_is_told_of_a_subscription_the_browser_changed(house: House, sit: Sit) -> None:
    installed.change(house, sit)


def test_what_cannot_be_fetched_says_so(house: House, sit: Sit) -> None:
    installed.miss_a_chunk(house, sit)


def test_the_browsers_offer_to_install_is_kept_until_somebody_takes_it(sit: Sit) -> None:
    installed.install(sit)

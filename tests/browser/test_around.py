"""Around the room: lists, bells, forms, search, and the whole product by keyboard alone."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.support.asking import It
from tests.support.browsers import (
    FINGER,
    QUESTIONS,
    composer,
    fill_in,
    join,
    message,
    set_up,
    stub_push,
    texts,
    until,
)
from tests.support.house import (
    HELD,
    House,
    Post,
    Sit,
    announced,
    boost_and_edit_by_keys,
    delete,
    enter,
    set_up_by_keys,
    tab_to,
)
from tests.support.readers import Campfire

# --- Around the room ----------------------------------------------------------------------------


def test_what_is_said_elsewhere_is_unread_until_i_enter(it: It, house: House, sit: Sit) -> None:
    room, elsewhere = house.room(), house.room(name="Élan vital")
    badge = "window.badge = 0; navigator.setAppBadge = async (count) => { window.badge = count }"
    maya, other, phone = sit("Maya"), sit("Maya"), sit("Maya", **FINGER)
    maya.add_init_script(f"{badge}; navigator.clearAppBadge = async () => {{ window.badge = 0 }}")
    for page in (maya, other, phone):
        enter(page, room)
    before = maya.evaluate("window.badge")
    pills = [page.locator(f".rooms [href='{elsewhere}']") for page in (maya, other)]
    with it("a room turns unread in the sidebar when another writes, and read when opened"):
        house.post("Jonas", elsewhere, "Hello")
        for pill in pills:
            expect(pill).to_have_accessible_name("Élan vital, unread")
            expect(pill).to_have_css("font-weight", "600")
        assert maya.evaluate("window.badge") == before + 1
        menu = phone.get_by_role("button", name=f"Open menu, {before + 1} unread")
        expect(menu).to_have_attribute("data-unread", "true")
        menu.click()
        expect(phone.locator("#sidebar.open")).to_be_visible()
        assert phone.locator("#sidebar :focus").count() == 1
        phone.keyboard.press("Escape")
        expect(phone.locator("#sidebar.open")).to_have_count(0)
        expect(phone.locator(".sidebar__toggle")).to_be_focused()
        menu.click()
        phone.locator(f".rooms [href='{elsewhere}']").click()
        expect(message(phone, "Hello")).to_be_visible()
        expect(phone.locator("#sidebar.open")).to_have_count(0)
        for pill in pills:
            expect(pill).to_have_accessible_name("Élan vital")
        assert maya.evaluate("window.badge") == before


def test_rooms_are_sorted_as_they_come_and_pings_by_activity(house: House, sit: Sit) -> None:
    room = house.room(name="Zebra")
    quiet, loud = house.ping("Maya", "Inés"), house.ping("Maya", "Jonas")
    for letter in "qwertyuiop":
        house.room(name=f"Many {letter}")
    maya = sit("Maya", room, viewport={"width": 1280, "height": 320})
    rooms, pings = maya.locator(".rooms a.room"), maya.locator(".directs a.direct")
    first = house.room("Jonas", "apple 🍎")
    second = house.room("Jonas", "Äpfel")

    expect(rooms.filter(has_text=re.compile("^(?:apple 🍎|Äpfel|Zebra)"))).to_have_text(
        ["Äpfel", "apple 🍎", "Zebra"]
    )
    house.ask("Jonas", "PUT", f"/api/rooms/opens/{first.rpartition('/')[2]}", {"name": "Zoo"})
    expect(rooms.last).to_have_text("Zoo")
    house.ask("Jonas", "DELETE", f"/api{second}")
    expect(rooms.filter(has_text="Äpfel")).to_have_count(0)
    house.post("Inés", quiet, "Psst")
    expect(pings.first).to_have_attribute("href", quiet)
    house.post("Jonas", loud, "Psst")
    expect(pings.first).to_have_accessible_name("Jonas Weber, unread")
    column = maya.locator(".rooms")
    rooms.last.scroll_into_view_if_needed()
    place = column.evaluate("column => column.scrollTop")
    rooms.last.click()
    expect(maya.get_by_role("heading", name="Zoo")).to_be_visible()
    assert column.evaluate("column => column.scrollTop") == place > 0
    house.ask("Jonas", "DELETE", f"/api{first}")
    expect(maya.get_by_text("This room has been deleted.")).to_be_visible()
    maya.reload()
    expect(maya.get_by_role("alert")).to_have_text("That room is gone, or closed to you.")


@pytest.mark.parametrize(
    ("permission", "subscribed", "first", "then"),
    [
        ("denied", False, "Notification settings for this room", "Notifications are blocked"),
        ("default", False, "Notification settings for this room", "Notified of @mentions"),
        ("granted", False, "Notification settings for this room", "Notified of @mentions"),
        ("granted", True, "Notified of @mentions", "Notified of every message"),
    ],
)
def test_the_bell_tells_what_this_browser_is_told(
    house: House, sit: Sit, permission: str, first: str, then: str, *, subscribed: bool
) -> None:
    maya = sit("Maya")
    stub_push(maya, permission, subscribed=subscribed)
    enter(maya, house.room())
    bell = maya.locator("#nav button")
    expect(bell).to_have_accessible_name(first)
    pulses = re.compile("btn--pulsing")
    (expect(bell).not_to_have_class if subscribed else expect(bell).to_have_class)(pulses)
    bell.click()

    if permission == "denied":
        expect(maya.get_by_role("dialog", name=then)).to_be_visible()
        maya.keyboard.press("Escape")
        expect(maya.locator("dialog")).to_have_count(0)
        expect(bell).to_be_focused()
    else:
        expect(bell).to_have_accessible_name(then)
    expect(bell).not_to_have_class(pulses)
    if not subscribed:
        names = {each["name"] for each in maya.context.cookies()}
        assert "notifications-first-run-seen" in names


def test_the_bell_goes_round_and_turns_back_when_the_server_refuses(house: House, sit: Sit) -> None:
    maya = sit("Maya")
    stub_push(maya, "granted", subscribed=True)
    enter(maya, house.room())
    bell = maya.locator("#nav button")
    round_ = ("Notified of every message", "Notifications are off",
              "Notifications are off and the room is hidden from the sidebar",
              "Notified of @mentions")  # fmt: skip
    for name in round_:
        bell.click()
        expect(bell).to_have_accessible_name(name)
        expect(announced(maya)).to_have_text(name)
    post = Post(maya, "**/involvement", HELD)
    bell.click()
    expect(bell).to_have_accessible_name("Notified of every message")
    until(maya, lambda: post.dealt == 1)
    post.let_go(500)
    expect(bell).to_have_accessible_name("Notified of @mentions")
    expect(maya.get_by_role("alert").first).to_be_attached()

    enter(maya, house.ping("Maya", "Jonas"))
    expect(bell).to_have_accessible_name("Notified of every message")
    for name in ("Notifications are off", "Notified of every message"):
        bell.click()
        expect(bell).to_have_accessible_name(name)


def test_administrators_style_the_page_and_plain_goes_without(house: House, sit: Sit) -> None:
    room, maya = house.room(), sit("Maya")
    house.post("Jonas", room, "Words")
    maya.goto("/account/custom_styles/edit")
    field = maya.get_by_role("textbox", name="Custom CSS")
    field.evaluate("field => { field.value = 'x'.repeat(65537) }")
    field.press("Control+Enter")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    field.fill(".message__body-content, h1 { background-color: rgb(1, 2, 3) !important }")
    field.press("Control+Enter")
    expect(maya.get_by_role("status").filter(has_text="Saved.")).to_be_attached()
    styled = re.compile(re.escape("rgb(1, 2, 3)"))
    expect(maya.locator("h1")).to_have_css("background-color", styled)

    maya.goto(room)
    bubble = maya.locator(".message__body-content")
    expect(bubble).to_have_css("background-color", styled)
    maya.goto(f"{room}?plain=1")
    expect(bubble).not_to_have_css("background-color", styled)
    house.ask("Maya", "PUT", "/api/account/custom_styles", {"custom_styles": ""})


# --- Coming in ----------------------------------------------------------------------------------


def test_whoever_is_second_at_the_first_run_and_whoever_is_known_already_finds_the_way_in(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, late, third = window(), window(), window()
    late.goto(campfire.url)
    link = set_up(maya, campfire)
    fill_in(late, "Theo Late")
    expect(late).to_have_url(f"{campfire.url}/session/new")

    third.goto(link)
    fill_in(third, "Maya Okafor")
    expect(third).to_have_url(re.compile(r"/session/new\?email_address=maya%40northwind.example$"))
    expect(third.get_by_label("Enter your email address")).to_have_value("maya@northwind.example")
    third.goto(f"{campfire.url}/join/unknown")
    expect(third.get_by_role("heading", name=re.compile("This invitation link"))).to_be_visible()
    maya.goto(link)
    expect(maya).to_have_url(re.compile("/rooms/1$"))

    maya.goto(f"{campfire.url}/users/me/profile")
    transfer = maya.get_by_label("Sign-in link").input_value()
    late.goto(transfer)
    expect(late).to_have_url(re.compile("/rooms/1$"))
    third.goto(transfer)
    expect(third.get_by_role("heading", name=re.compile("This link was used"))).to_be_visible()
    third.get_by_role("link", name="Sign in").click()
    expect(third).to_have_url(re.compile("/session/new$"))


# --- Forms --------------------------------------------------------------------------------------


def test_everyones_switch_changes_the_kind_of_room_in_place(house: House, sit: Sit) -> None:
    maya = sit("Maya", house.room())
    maya.get_by_role("link", name="New room").click()
    name = maya.get_by_label("Name of the room")
    expect(name).to_be_focused()
    maya.keyboard.type("Secret garden")
    everyone = maya.get_by_role("switch", name="Give everyone access to this room")
    expect(everyone).to_be_checked()
    expect(maya.get_by_role("switch")).to_have_count(1)
    everyone.uncheck(force=True)
    expect(maya).to_have_url(re.compile("/rooms/closeds/new$"))
    expect(name).to_have_value("Secret garden")
    jonas = maya.get_by_role("switch", name="Give Jonas Weber access to this room")
    expect(maya.get_by_role("switch", name="Give Maya")).to_have_count(0)
    jonas.check(force=True)
    name.press("Enter")
    expect(maya.get_by_role("heading", name="Secret garden")).to_be_visible()
    maya.get_by_role("link", name="Settings for this room").click()
    expect(maya).to_have_url(re.compile(r"/rooms/closeds/\d+/edit$"))
    expect(jonas).to_be_checked()
    expect(maya.get_by_role("switch", name="Give Inés")).not_to_be_checked()
    name.fill("  ")
    name.press("Enter")
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_be_focused()


def test_a_filter_finds_people_who_keep_their_switches(house: House, sit: Sit) -> None:
    for number in range(20):
        house.invite(f"Person {number}", called=f"P{number}")
    maya = sit("Maya")
    maya.goto("/rooms/closeds/new")
    rows = maya.locator(".membership-item:visible")
    jonas = maya.get_by_role("switch", name="Give Jonas Weber access to this room")
    jonas.check(force=True)
    everybody = rows.count()

    maya.get_by_role("searchbox", name="Filter people by name").fill("person 1")

    expect(rows).to_have_count(11)
    expect(announced(maya)).to_have_text("11 people")
    maya.get_by_role("searchbox", name="Filter people by name").fill("")
    expect(rows).to_have_count(everybody)
    expect(jonas).to_be_checked()


def test_whatever_cannot_be_taken_back_asks_first(house: House, sit: Sit) -> None:
    room, ping = house.room(name="Attic"), house.ping("Maya", "Inés")
    house.post("Maya", room, "Words")
    bot = house.ask("Maya", "POST", "/api/account/bots", {"name": "Bender"})["bot"]["id"]
    outcast = house.invite("Otto Outcast")
    house.ask("Maya", "POST", f"/api/users/{outcast}/ban")
    house.ask("Maya", "POST", "/api/searches", {"q": "words"})
    maya, asked = sit("Maya"), list[str]()

    def refuse_to(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    maya.on("dialog", refuse_to)
    names = {"room": room[7:], "ping": ping[7:], "bot": bot, "outcast": outcast,
             "ines": house.ids["Inés"]}  # fmt: skip
    writes: list[str] = []
    maya.on("request", lambda each: writes.append(each.url) if each.method != "GET" else None)

    for path, button, _ in QUESTIONS:
        maya.goto(path.format(**names))
        maya.get_by_role("button", name=button).click()
    enter(maya, room)
    delete(maya, "Words")

    assert asked == [*(words for _, _, words in QUESTIONS), "Delete this message for good?"]
    assert writes == []


def test_only_administrators_lead_and_name_the_account(house: House, sit: Sit) -> None:
    maya, jonas = sit("Maya"), sit("Jonas")
    jonas.goto("/account/edit")
    expect(jonas.get_by_label("Join link")).to_be_visible()
    expect(jonas.get_by_role("button", name=re.compile("Role|Remove|New link"))).to_have_count(0)
    maya.goto("/account/edit")
    name = maya.get_by_label("Name of this account")
    name.fill("Northwind Studio")
    name.press("Enter")
    expect(maya.get_by_role("status").filter(has_text="Saved.")).to_be_attached()
    expect(maya.get_by_role("button", name="Role: Administrator, Maya Okafor")).to_be_disabled()
    maya.get_by_role("button", name="Role: Member, Inés Duarte").click()
    leader = maya.get_by_role("button", name="Role: Administrator, Inés Duarte")
    expect(leader).to_have_attribute("aria-pressed", "true")
    restrict = maya.get_by_role("switch", name="Only administrators can create rooms")
    restrict.check(force=True)
    enter(jonas, house.room())
    expect(jonas.get_by_role("link", name="New room")).to_have_count(0)
    restrict.uncheck(force=True)
    post = Post(maya, "**/api/account/users/*")
    post.always = 500
    leader.click()
    expect(maya.get_by_role("alert").first).to_be_attached()
    expect(leader).to_be_visible()
    post.always = None
    leader.click()
    expect(maya.get_by_role("button", name="Role: Member, Inés Duarte")).to_be_visible()


def test_a_banned_person_is_shown_so_and_can_be_let_back(house: House, sit: Sit) -> None:
    outcast, maya = house.invite("Uli Unruh"), sit("Maya")
    maya.on("dialog", lambda dialog: dialog.accept())
    maya.goto(f"/users/{outcast}")
    ban = maya.get_by_role("button", name="Ban Uli Unruh")
    ping = maya.get_by_role("button", name="Ping Uli Unruh")
    ban.click()
    lift = maya.get_by_role("button", name="Remove ban")
    expect(ping).to_have_count(0)
    lift.click()
    expect(ban).to_be_visible()
    ping.click()
    expect(maya.get_by_role("heading", name="Ping with Uli Unruh")).to_be_visible()


def test_ones_profile_is_saved_or_says_what_is_wrong(house: House, sit: Sit) -> None:
    house.invite("Petra Quick")
    petra = sit("Petra")
    petra.goto("/users/me/profile")
    email, bio = petra.get_by_label("Email address"), petra.get_by_label("Something about you")
    email.fill("jonas@northwind.example")
    email.press("Enter")
    expect(email).to_have_attribute("aria-invalid", "true")
    expect(email).to_be_focused()
    expect(email).to_have_accessible_description(re.compile("Email address .+"))
    email.fill("petra@northwind.example")
    bio.fill("Potter")
    petra.get_by_role("button", name="Save").click()
    expect(petra.get_by_role("status").filter(has_text="Saved.")).to_be_attached()
    bell = petra.get_by_role("button", name="Notified of @mentions, All Talk")
    bell.click()
    expect(petra.get_by_role("button", name="Notified of every message, All Talk")).to_be_visible()

    opener = petra.get_by_role("button", name="Show QR code")
    opener.click()
    viewer = petra.get_by_role("dialog", name="Image viewer, press Escape to close")
    expect(viewer.get_by_role("img")).to_have_js_property("complete", value=True)
    assert viewer.get_by_role("img").evaluate("image => image.naturalWidth") > 0
    petra.keyboard.press("Escape")
    expect(viewer).to_have_count(0)
    expect(opener).to_be_focused()
    petra.get_by_role("button", name="Log out").click()
    expect(petra).to_have_url(re.compile("/session/new$"))
    petra.goto("/users/me/profile")
    expect(petra).to_have_url(re.compile("/session/new$"))


def test_bots_are_made_with_a_name_and_show_how_they_are_used(house: House, sit: Sit) -> None:
    maya = sit("Maya")
    maya.goto("/account/bots")
    maya.get_by_role("link", name="Add a chat bot").click()
    maya.get_by_label("Name of the bot").fill("Deploy Bot")
    maya.get_by_label("Webhook address").fill("ftp://nowhere.example")
    maya.get_by_role("button", name="Save").click()
    expect(maya.get_by_label("Webhook address")).to_have_attribute("aria-invalid", "true")
    expect(maya.get_by_label("Webhook address")).to_be_focused()
    maya.get_by_label("Webhook address").fill("")
    maya.get_by_role("button", name="Save").click()

    line = maya.get_by_label("Post text to All Talk").last
    expect(line).to_have_value(
        re.compile(rf"^curl -d 'Hello!' {house.url}/rooms/1/\d+-\w+/messages$")
    )
    expect(maya.get_by_label("Post a file to All Talk, arrives in v2.0").last).to_be_disabled()
    maya.get_by_role("link", name="Edit Deploy Bot").click()
    expect(maya.get_by_label("Name of the bot")).to_have_value("Deploy Bot")


def test_a_search_finds_marks_remembers_and_leads_to_the_message(house: House, sit: Sit) -> None:
    room = house.room(name="Kitchen")
    for words in ("A pancake recipe", "Another pancake", "Tea"):
        house.post("Jonas", room, words)
    maya = sit("Maya")
    maya.goto("/searches")
    field = maya.get_by_role("searchbox", name="Search")
    expect(field).to_be_focused()
    maya.keyboard.type("pancake!")
    maya.keyboard.press("Enter")

    expect(maya).to_have_url(re.compile(r"/searches\?q=pancake"))
    expect(maya.locator(".searches__query")).to_have_text(re.compile(r"“pancake” *2"))
    assert texts(maya) == ["A pancake recipe", "Another pancake"]
    expect(maya.locator("mark")).to_have_text(["pancake", "pancake"])
    recents = maya.get_by_role("list", name="Recent searches")
    expect(recents.get_by_role("link").first).to_have_text("“pancake”")
    maya.locator(".message__room a").first.click()
    expect(maya).to_have_url(re.compile(rf"{room}/@\d+$"))
    expect(message(maya, "A pancake recipe")).to_have_class(re.compile("search-highlight"))
    maya.goto("/searches?q=nothing_like_it")
    expect(maya.locator(".searches__query")).to_contain_text("0")
    expect(maya.get_by_role("status").filter(has_text="Nothing found for")).to_be_attached()
    field.press("Escape")
    expect(maya).to_have_url(re.compile("/searches$"))
    expect(field).to_have_value("")


# --- By keyboard alone --------------------------------------------------------------------------


def test_keys_walk_the_feed_and_one_message_is_in_the_tab_order(house: House, sit: Sit) -> None:
    room = house.room()
    for number in range(45):
        house.post("Jonas", room, f"Number {number}.")
    maya = sit("Maya", room)
    bell = maya.locator("#nav button")
    bell.focus()
    maya.keyboard.press("Tab")
    expect(message(maya, "Number 44.")).to_be_focused()
    expect(message(maya, "Number 44.")).to_have_accessible_name(re.compile(r"Jonas Weber,? \d"))
    expect(message(maya, "Number 44.")).to_have_accessible_description("Number 44.")
    maya.keyboard.press("PageUp")
    expect(message(maya, "Number 43.")).to_be_focused()
    assert maya.locator(".message[tabindex='0']").count() == 1
    others = ".message[tabindex='-1'] :is(a, button)"
    assert maya.locator(f"{others}:not([tabindex='-1'])").count() == 0
    maya.keyboard.press("PageDown")
    maya.keyboard.press("Enter")
    expect(maya.get_by_role("menuitem", name="Thumbs up")).to_be_focused()
    maya.keyboard.press("Escape")
    message(maya, "Number 44.").focus()
    maya.keyboard.press("Control+End")
    expect(composer(maya)).to_be_focused()
    maya.keyboard.press("Shift+Tab")
    message(maya, "Number 44.").focus()
    maya.keyboard.press("Control+Home")
    expect(maya.locator("#nav :focus")).to_have_count(1)
    message(maya, "Number 5.").focus()
    maya.keyboard.press("PageUp")
    expect(message(maya, "Number 4.")).to_be_focused()


def test_everything_can_be_done_with_the_keyboard_alone(
    campfire: Campfire, window: Callable[..., Page]
) -> None:
    maya, jonas = window(), window()
    keys = maya.keyboard
    set_up_by_keys(maya, campfire)
    expect(composer(maya)).to_be_focused()
    join(jonas, maya.get_by_label("Join link").input_value(), "Jonas Weber")

    tab_to(maya, "New room")
    keys.press("Enter")
    expect(maya.get_by_label("Name of the room")).to_be_focused()
    keys.type("Design")
    keys.press("Enter")
    expect(maya.get_by_role("heading", name="Design")).to_be_visible()
    expect(composer(maya)).to_be_focused()
    keys.type("Morning")
    keys.press("Enter")
    expect(message(maya, "Morning").locator(".message__permalink")).to_be_attached()
    boost_and_edit_by_keys(maya, "Morning", ", all")
    expect(message(maya, "Morning, all")).to_be_visible()

    maya.reload()
    expect(composer(maya)).to_be_focused()
    tab_to(maya, "Jonas")
    keys.press("Enter")
    expect(maya.get_by_role("heading", name="Ping with Jonas Weber")).to_be_visible()
    tab_to(maya, "Search", "Shift+Tab")
    keys.press("Enter")
    expect(maya.get_by_role("searchbox")).to_be_focused()
    keys.type("morning")
    keys.press("Enter")
    expect(maya.locator(".message")).to_have_count(1)
    tab_to(maya, "Go back")
    keys.press("Enter")
    tab_to(maya, "My settings")
    keys.press("Enter")
    expect(maya.get_by_role("heading", name="My settings")).to_be_focused()
    tab_to(maya, "Log out", "Shift+Tab")
    keys.press("Enter")
    expect(maya).to_have_url(f"{campfire.url}/session/new")
    expect(jonas.locator(".message")).to_have_count(0)

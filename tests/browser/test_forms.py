"""Forms: the first run, rooms, people, bots, the account, and what cannot be taken back."""

import re
from collections.abc import Callable

from playwright.sync_api import Dialog, Page, expect

from tests.support.browsers import fill_in, set_up
from tests.support.executable import Campfire
from tests.support.house import House, Post, announced, delete, enter

# Where something is done that cannot be taken back, by which button, and what is asked first.
NO_WAY_BACK = "There is no way back."
QUESTIONS = [
    ("/rooms/opens/{room}/edit", "Delete Attic",
     f"Delete this room and everything said in it? {NO_WAY_BACK}"),
    ("/rooms/directs/{ping}/edit", "Delete ping",
     f"Delete this ping and everything said in it? {NO_WAY_BACK}"),
    ("/account/edit", "Remove Inés Duarte",
     f"Remove Inés Duarte from the account for good? {NO_WAY_BACK}"),
    ("/account/edit", "New link", "Make a new join link? The old one stops working."),
    ("/account/bots/{bot}/edit", "Delete this chat bot",
     f"Remove this bot for good? {NO_WAY_BACK}"),
    ("/account/bots/{bot}/edit", "Make a new key",
     "Make a new key? Whatever uses the old one stops working until you update it."),
    ("/users/{ines}", "Ban Inés Duarte", "Ban Inés Duarte? They are signed out, their messages are "
     "deleted and their network addresses are blocked."),
    ("/users/{outcast}", "Remove ban", "Lift the ban on Otto Outcast?"),
    ("/searches", "Clear recent searches", "Clear your recent searches?"),
]  # fmt: skip


def test_administrators_style_the_page_and_plain_goes_without(house: House) -> None:
    room, maya = house.room(), house.sit("Maya")
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


def test_everyones_switch_changes_the_kind_of_room_in_place(house: House) -> None:
    maya = house.sit("Maya", house.room())
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


def test_a_filter_finds_people_who_keep_their_switches(house: House) -> None:
    for number in range(20):
        house.invite(f"Person {number}", called=f"P{number}")
    maya = house.sit("Maya")
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


def test_whatever_cannot_be_taken_back_asks_first(house: House) -> None:
    room, ping = house.room(name="Attic"), house.ping("Maya", "Inés")
    house.post("Maya", room, "Words")
    bot = house.ask("Maya", "POST", "/api/account/bots", {"name": "Bender"})["bot"]["id"]
    outcast = house.invite("Otto Outcast")
    house.ask("Maya", "POST", f"/api/users/{outcast}/ban")
    house.ask("Maya", "POST", "/api/searches", {"q": "words"})
    maya, asked = house.sit("Maya"), list[str]()

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


def test_only_administrators_lead_and_name_the_account(house: House) -> None:
    maya, jonas = house.sit("Maya"), house.sit("Jonas")
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


def test_a_banned_person_is_shown_so_and_can_be_let_back(house: House) -> None:
    outcast, maya = house.invite("Uli Unruh"), house.sit("Maya")
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


def test_ones_profile_is_saved_or_says_what_is_wrong(house: House) -> None:
    house.invite("Petra Quick")
    petra = house.sit("Petra")
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


def test_bots_are_made_with_a_name_and_show_how_they_are_used(house: House) -> None:
    maya = house.sit("Maya")
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
    expect(maya.get_by_label("Post a file to All Talk").last).to_have_value(
        re.compile(r"^curl -F \"attachment=@/path/to/file\" ")
    )
    maya.get_by_role("link", name="Edit Deploy Bot").click()
    expect(maya.get_by_label("Name of the bot")).to_have_value("Deploy Bot")


def test_a_bot_is_told_of_what_is_ticked_and_of_nothing_without_an_address(house: House) -> None:
    maya = house.sit("Maya")
    maya.goto("/account/bots/new")
    group = maya.get_by_role("group", name="Also tell it of")
    ticks = group.get_by_role("switch")
    expect(ticks).to_have_count(5)
    expect(ticks.first).to_be_disabled()
    maya.get_by_label("Name of the bot").fill("Karma")
    maya.get_by_label("Webhook address").fill("https://bots.example/karma")
    group.get_by_role("switch", name="Boosts").focus()
    maya.keyboard.press("Space")
    maya.get_by_role("button", name="Save").click()
    expect(maya).to_have_url(re.compile("/account/bots$"))

    bot = house.ask("Maya", "GET", "/api/account/bots")["bots"][-1]
    assert (bot["name"], bot["events"]) == ("Karma", ["boosts"])
    maya.get_by_role("link", name="Edit Karma").click()
    expect(group.get_by_role("switch", name="Boosts")).to_be_checked()
    expect(group.get_by_role("switch", checked=True)).to_have_count(1)
    secret = maya.get_by_role("textbox", name="Secret that signs these calls")
    expect(secret).to_have_value(bot["webhook_secret"])
    maya.context.grant_permissions(["clipboard-read"])
    group.get_by_role("button", name="Copy: Secret that signs these calls").click()
    assert maya.evaluate("navigator.clipboard.readText()") == bot["webhook_secret"]
    maya.get_by_label("Webhook address").fill("")
    expect(ticks.first).to_be_disabled()
    maya.get_by_role("button", name="Save").click()
    expect(maya).to_have_url(re.compile("/account/bots$"))
    bot = house.ask("Maya", "GET", f"/api/account/bots/{bot['id']}")["bot"]
    assert (bot["events"], bot["webhook_url"]) == ([], None)

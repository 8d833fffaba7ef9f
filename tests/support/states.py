"""Every screen and state of Campfire, and how a person gets there from the studio's front door."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import FilePayload, Page, Route, expect

from campfire import UserId
from tests.support.browsers import (
    PASSWORD,
    call,
    choose,
    composer,
    message,
    options,
    sign_in,
    write,
)
from tests.support.marks import list_keys, write_marks
from tests.support.posters import paste_address
from tests.support.seed import (
    ALL_TALK,
    BOT,
    CARMEN,
    DESIGN,
    FILES,
    HOST,
    KENJI,
    LATER,
    LEFT_OFF,
    MAYA,
    PRIYA_AND_JONAS,
    SAM,
    THEO,
)

OLD_BROWSER = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/90.0.0.0 Safari/537.36"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"
JOIN = "/join/k3Qd-9ZtR-vb2M"
PROFILE, ACCOUNT = "/users/me/profile", "/account/edit"
OFF = {"FILES_ENABLED": "0", "AVATARS_ENABLED": "0", "OPENGRAPH_ENABLED": "0"}
Act = Callable[[Page], None]


@dataclass(frozen=True)
class State:
    """Where it begins, and what has to be done there."""

    path: str = f"/rooms/{ALL_TALK}"
    act: Act | None = None
    scene: str = "room"
    user: UserId | None = MAYA
    changes: str = ""
    fresh: bool = False  # before the first run
    notifications: str = "granted"
    options: dict[str, Any] = field(default_factory=dict)  # of the browser's profile
    settings: dict[str, str] = field(default_factory=dict)  # of the server
    only: str = ""  # where it exists on one kind of screen only


def button(name: str, *, first: bool = False) -> Act:
    """Presses the button with this name."""

    def press(page: Page) -> None:
        found = page.get_by_role("button", name=name)
        (found.first if first else found).click()

    return press


def blurred(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")


def open_options(words: str) -> Act:
    return lambda page: options(page, words)


def suggest(page: Page) -> None:
    write(page, "Could @")
    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("ArrowDown")


def mention(page: Page) -> None:
    write(page, "Morning @theo")
    page.get_by_role("option", name="Theo Lindqvist").click()
    expect(page.locator("trix-editor .mention")).to_be_visible()
    page.keyboard.type("could you check this?")
    blurred(page)


def reply(page: Page) -> None:
    choose(page, "green ones", "Reply")
    expect(composer(page)).to_contain_text("Priya Raman")


def format_text(page: Page) -> None:
    composer(page).click()
    expect(page.locator("trix-editor")).to_be_focused()
    toggle = page.get_by_role("button", name="Rich text")
    if toggle.is_visible():
        toggle.click()
    html = (
        "<div>Quick <strong>note</strong> before lunch:</div>"
        "<ul><li>proofs at two</li><li>museum at four</li></ul>"
    )
    page.evaluate("html => document.querySelector('trix-editor').editor.loadHTML(html)", html)
    expect(composer(page)).to_contain_text("museum at four")


def edit(page: Page) -> None:
    choose(page, "Lovely", "Edit")
    expect(page.get_by_role("textbox", name="Edit message")).to_contain_text("museum people")


def boost(page: Page) -> None:
    theirs = message(page, "Got mine").locator(".boost").first
    theirs.click()
    expect(theirs).to_have_attribute("aria-pressed", re.compile("true|false"))
    message(page, "green ones").get_by_role("button", name="New boost").click()
    page.get_by_role("textbox", name="New boost").fill("Me too")


def look_at_emoji(page: Page) -> None:
    message(page, "green ones").get_by_role("button", name="New boost").click()
    page.get_by_role("button", name="Emoji").click()
    expect(page.get_by_role("menuitem")).to_have_count(64)


def type_and_see(words: str, offered: str) -> Act:
    def typed(page: Page) -> None:
        write(page, words)
        expect(page.get_by_role("listbox", name=offered)).to_be_visible()

    return typed


def jump(page: Page) -> None:
    page.locator(".messages").hover()
    page.mouse.wheel(0, -9000)
    expect(page.locator(".message").first).to_be_in_viewport()
    path = f"/api/rooms/{ALL_TALK}/messages"
    call(page, "POST", path, {"body": "Anybody seen the stapler?"})
    expect(page.get_by_role("button", name="Jump to newest message")).to_be_visible()


def highlight(page: Page) -> None:
    link = message(page, "portfolio case").locator(".message__permalink")
    page.goto(f"http://{HOST}{link.get_attribute('href')}")
    expect(page.locator(".search-highlight")).to_be_visible()


def fail_to_send(page: Page) -> None:
    """One is tried again, because nothing answers; before that, one was refused."""
    answers = iter([422])

    def answer(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
        elif next(answers, None):
            body = '{"error": {"code": "validation_failed", "message": "Not sent"}}'
            route.fulfill(status=422, content_type="application/json", body=body)
        else:
            route.abort()

    page.route(f"**/api/rooms/{ALL_TALK}/messages", answer)
    for words, state in (
        ("Never mind, it is the tram tunnel again.", "failed"),
        ("Is anyone else\u2019s connection dropping every few minutes?", "retrying"),
    ):
        write(page, words)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Send message").click()
        expect(page.locator(f".message--{state}")).to_be_visible()
    blurred(page)


def lose_connection(page: Page) -> None:
    write(page, "I will be there at ten to elev")
    page.context.set_offline(True)
    page.evaluate("window.dispatchEvent(new Event('offline'))")
    expect(page.locator(".typing-indicator--active")).to_be_visible()
    blurred(page)


def drag(page: Page) -> None:
    page.evaluate("""() => {
      const dataTransfer = new DataTransfer()
      dataTransfer.items.add(new File(['x'], 'x.png'))
      const how = {dataTransfer, bubbles: true}
      document.querySelector('.messages').dispatchEvent(new DragEvent('dragenter', how))
    }""")
    expect(page.locator(".dropzone")).to_be_visible()
    blurred(page)


def link(page: Page) -> None:
    """The toolbar's dialog for a link."""
    write(page, "The brief")
    page.get_by_role("button", name="Rich text").click()
    page.keyboard.press("Control+A")
    page.locator("trix-toolbar [data-trix-attribute=href]").click()
    expect(page.locator(".trix-dialog--link")).to_be_visible()


def theirs(page: Page) -> None:
    """Theo types."""
    browser = page.context.browser
    assert browser
    theo = browser.new_context().new_page()
    theo.goto(f"http://{HOST}/session/new")
    sign_in(theo, "theo@northwind.example")
    expect(composer(theo)).to_be_visible()
    theo.goto(f"http://{HOST}/rooms/{ALL_TALK}")
    write(theo, "I")
    expect(page.locator(".typing-indicator--active")).to_contain_text("Theo Lindqvist")
    blurred(page)  # and Theo stays, or he would type no more


def wait_for_transfer(page: Page) -> None:
    """The link is being redeemed, and stays so."""
    page.route("**/api/session/transfers/*", lambda _: None)
    page.goto(f"http://{HOST}/session/transfers/pending")
    expect(page.get_by_text("Signing you in…")).to_be_visible()


def delete_room(page: Page) -> None:
    call(page, "DELETE", f"/api/rooms/{ALL_TALK}")
    expect(page.get_by_text("This room has been deleted.")).to_be_visible()


def new_ping(*names: str, asking: str = "") -> Act:
    def pick(page: Page) -> None:
        if page.get_by_role("button", name="Open menu").is_visible():
            page.get_by_role("button", name="Open menu").click()
        page.get_by_role("button", name="Ping", exact=True).click()
        for name in names:
            page.keyboard.type(name)
            page.get_by_role("option", name=name).click()
            expect(page.locator(".autocomplete__pill", has_text=name)).to_be_visible()
        page.keyboard.type(asking)
        if asking:
            expect(page.get_by_role("option").first).to_be_visible()

    return pick


def filter_people(page: Page) -> None:
    page.get_by_label("Filter people by name").fill("theo")
    expect(page.get_by_role("link", name="Noor Haddad")).to_be_hidden()


def refuse_sign_in(page: Page) -> None:
    sign_in(page, "theo@northwind.example", "wrong password")
    expect(page.locator("#sign-in-refused")).to_be_visible()


def set_up(page: Page) -> None:
    page.get_by_label("Name", exact=True).fill("Maya Okafor")
    page.get_by_label("Email address").fill("maya@northwind.example")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#system_welcome")).to_be_visible()
    blurred(page)


def save(page: Page) -> None:
    page.get_by_role("button", name="Save").first.click()
    expect(page.locator(".flash__inner")).to_be_visible()


def view_qr(page: Page) -> None:
    page.get_by_role("button", name="Show QR code").first.click()
    expect(page.locator(".lightbox__image")).to_be_visible()


def pick(*names: str) -> Act:
    """Chooses files, without sending them."""

    def choose_them(page: Page) -> None:
        types = {".png": "image/png", ".pdf": "application/pdf"}
        files = [
            FilePayload(name=name, mimeType=types[name[-4:]], buffer=FILES[name]) for name in names
        ]
        page.locator("#composer input[type=file]").set_input_files(files)
        expect(page.locator(".composer__file")).to_have_count(len(names))
        expect(page.locator(".composer__file img")).to_have_count(
            sum(name.endswith(".png") for name in names)
        )

    return choose_them


def upload(page: Page) -> None:
    """One that stays on its way."""
    page.evaluate(
        "() => { XMLHttpRequest.prototype.send = function () {"
        " this.upload.onprogress({loaded: 62, total: 100}) } }"
    )
    pick("museum-contract-final.pdf")(page)
    page.get_by_role("button", name="Send message").click()
    expect(page.get_by_role("progressbar")).to_contain_text("62%")
    blurred(page)


def fail_to_upload(page: Page) -> None:
    def full(route: Route) -> None:
        route.fulfill(status=507, json={"error": {"code": "storage_full", "message": "Full."}})

    page.route("**/api/rooms/*/messages", full)
    pick("museum-contract-final.pdf")(page)
    page.get_by_role("button", name="Send message").click()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    blurred(page)


def view_picture(page: Page) -> None:
    page.get_by_role("link", name="View harbour-morning.png").click()
    expect(page.get_by_role("dialog").get_by_role("img")).to_be_visible()


def edit_file(page: Page) -> None:
    choose(page, "museum-contract-final.pdf", "Edit")


def key(*keys: str) -> Act:
    def press(page: Page) -> None:
        blurred(page)
        for each in keys:
            page.keyboard.press(each)

    return press


def hover(selector: str) -> Act:
    def over(page: Page) -> None:
        blurred(page)
        page.locator(selector).first.hover()

    return over


def involved(how: str) -> str:
    return INVOLVED.replace("HOW", how)


INVOLVED = """
UPDATE memberships SET involvement = 'HOW' WHERE user_id = MAYA AND room_id = ALL_TALK;
"""
MANY = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
INSERT INTO users (name, email_address, password_digest, created_at, updated_at)
SELECT 'Guest ' || i, 'guest' || i || '@northwind.example', 'x', 1, 1 FROM n;
"""
EDITED = """
UPDATE rooms SET topic = 'Everything that concerns all of us: lunch, keys, visitors, the boiler'
WHERE id = ALL_TALK;
UPDATE messages SET edited_at = updated_at, edited_by = iif(id % 2, creator_id, MAYA);
"""
DEVICES = """
INSERT INTO push_subscriptions
  (user_id, endpoint, p256dh_key, auth_key, user_agent, created_at, updated_at)
VALUES
  (MAYA, 'https://push.example/wpush/v2/gAAAAABm3fXq0c', 'a', 'b',
   'Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:132.0) Gecko/20100101 Firefox/132.0', 1, 1),
  (MAYA, 'https://push.example/fcm/send/dQw4w9WgXcQ:APA91b', 'a', 'b',
   'Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/131.0.0.0 Mobile',
   2, 2);
"""
HEARING = "INSERT INTO webhooks VALUES (NULL, BOT, 'https://bots.example/', 0, 0, 9, 'c2VjcmV0');"
STYLES = """
UPDATE accounts SET custom_styles = ':root {
  --lch-blue: 54% 0.23 150;
}

.message__body-content {
  border-radius: 0.2em;
}
';
"""
NO_ROOMS = "DELETE FROM memberships WHERE user_id = MAYA;"

ROOMS_AND_MESSAGES = {
    "room": State(act=blurred),
    "room-direct": State(f"/rooms/{PRIYA_AND_JONAS}", blurred),
    "room-rich": State(act=blurred, scene="rich"),
    "room-sounds": State(act=blurred, scene="sounds"),
    "room-boostform": State(act=boost, scene="boosts"),
    "room-emoji": State(act=look_at_emoji, scene="boosts", only="desktop"),
    "room-left-off": State(changes=LEFT_OFF),
    "room-edited": State(act=blurred, changes=EDITED),
    "room-emoji-names": State(act=type_and_see(":par", "Emoji")),
    "room-sounds-to-play": State(act=type_and_see("/play", "Sounds")),
    "room-editing": State(act=edit, scene="edit"),
    "room-highlight": State(act=highlight, scene="highlight"),
    "room-hover-options": State(act=hover(".message__body"), only="desktop"),
    "room-latest": State(act=jump, scene="long"),
    "room-menu": State(act=open_options("Posters are back"), scene="menu"),
    "room-menu-own": State(act=open_options("Coming down now"), scene="menu-own"),
    "room-menu-top": State(act=open_options("half past two"), scene="menu-top"),
    "room-welcome": State("/", set_up, user=None, fresh=True, notifications="unknown"),
    "no-rooms": State("/", blurred, changes=NO_ROOMS),
    "composer-focused": State(),
    "composer-autocomplete": State(act=suggest),
    "composer-mention": State(act=mention),
    "composer-reply": State(act=reply),
    "composer-rich": State(act=format_text),
    "composer-link": State(act=link, only="desktop"),
    "composer-marks": State(act=write_marks),
    "keys": State(act=list_keys),
    "composer-typing": State(act=theirs),
    "composer-deleted": State(act=delete_room),
    "sidebar-open": State(act=button("Open menu"), only="phone"),
    "ping-new": State(act=new_ping()),
    "ping-new-open": State(act=new_ping("Theo Lindqvist", asking="n")),
    "ping-new-filled": State(act=new_ping("Theo Lindqvist", "Inês Duarte")),
    "button-hover": State(act=hover("#nav a"), only="desktop"),
    "button-focus-ring": State(act=key("Tab", "Tab"), only="desktop"),
    "skip-link": State(act=key("Tab"), only="desktop"),
    "proposal-offline": State(act=lose_connection, scene="short"),
    "proposal-send-retry-and-failed": State(act=fail_to_send, scene="short"),
    "proposal-link-and-file-placeholders": State(act=blurred, scene="links", settings=OFF),
    "proposal-files-popover": State(act=button("Attach a file"), scene="short", settings=OFF),
    "proposal-drop-zone": State(act=drag, scene="short", settings=OFF),
    "composer-drop": State(act=drag, scene="short"),
    "composer-files": State(act=pick("harbour-morning.png", "museum-contract-final.pdf")),
    "room-upload": State(act=upload, scene="before-files"),
    "room-upload-failed": State(act=fail_to_upload, scene="before-files"),
    "room-image": State(act=blurred, scene="files"),
    "room-lightbox": State(act=view_picture, scene="files"),
    "room-file-editing": State(act=edit_file, scene="files"),
    "room-embed": State(act=blurred, scene="pages"),
    "room-portrait": State(act=blurred, scene="post"),
    "room-lively": State(act=blurred, scene="lively"),
    "composer-embed": State(act=paste_address, scene="short"),
}
BELLS = {
    **{f"bell-{how}": State(act=blurred, changes=involved(how)) for how in
       ("everything", "mentions", "nothing", "invisible")},
    "bell-alert": State(act=blurred, notifications="default"),
    "bell-default": State(act=blurred, notifications="unknown"),
    "notifications-help": State(
        act=button("Notification settings for this room"),
        notifications="denied",
        options={"user_agent": WINDOWS},
    ),
}  # fmt: skip
PANELS = {
    "room-new-open": State("/rooms/opens/new"),
    "room-new-closed": State("/rooms/closeds/new"),
    "room-edit-open": State(f"/rooms/opens/{ALL_TALK}/edit", blurred),
    "room-edit-closed": State(f"/rooms/closeds/{DESIGN}/edit", blurred),
    "room-edit-filter": State(f"/rooms/closeds/{DESIGN}/edit", filter_people, changes=MANY),
    "room-edit-readonly": State(f"/rooms/opens/{ALL_TALK}/edit", user=THEO),
    "direct-edit": State(f"/rooms/directs/{PRIYA_AND_JONAS}/edit"),
    "search-empty": State("/searches", blurred),
    "search-none": State("/searches?q=zeppelin", blurred),
    "search-results": State("/searches?q=poster", blurred, scene="posters"),
    "search-filtered": State(f"/searches?q=poster&room_id={DESIGN}", blurred, scene="posters"),
    "switcher": State(act=lambda page: page.keyboard.press("Control+k")),
    "my-profile": State(PROFILE, changes=LATER),
    "proposal-avatar-popover": State(
        PROFILE, button("Change picture"), changes=LATER, settings=OFF
    ),
    "push-subscriptions": State("/users/me/push_subscriptions", changes=DEVICES),
    "user-profile": State(f"/users/{THEO}", user=CARMEN),
    "user-profile-admin": State(f"/users/{THEO}"),
    "user-profile-banned": State(f"/users/{SAM}", changes=LATER),
    "user-profile-bot": State(f"/users/{BOT}"),
    "user-profile-deactivated": State(
        f"/users/{KENJI}", changes="UPDATE users SET status = 1 WHERE id = KENJI;"
    ),
    "account-admin": State(ACCOUNT, changes=LATER),
    "account-member": State(ACCOUNT, user=THEO, changes=LATER),
    "account-flash": State(ACCOUNT, save, changes=LATER),
    "account-qr": State(ACCOUNT, view_qr),
    "bots": State("/account/bots"),
    "bots-empty": State(
        "/account/bots", changes="UPDATE users SET status = 1 WHERE id = BOT;"
    ),
    "bot-new": State("/account/bots/new"),
    "bot-edit": State(f"/account/bots/{BOT}/edit", changes=HEARING),
    "custom-styles": State("/account/custom_styles/edit?plain=1", changes=STYLES),
}  # fmt: skip
COMING_IN = {
    "first-run": State("/", user=None, fresh=True),
    "join": State(JOIN, blurred, user=None),
    "sign-in": State("/session/new", blurred, user=None),
    "sign-in-error": State("/session/new", refuse_sign_in, user=None),
    "sign-in-translate": State("/session/new", button("Translate", first=True), user=None),
    "unsupported-browser": State(user=None, options={"user_agent": OLD_BROWSER}),
    "transfer": State("/session/new", wait_for_transfer, user=None),
    "error-404": State("/nowhere"),
    "error-422": State("/session/transfers/used", user=None),
    "error-500": State("/searches", changes="DROP TABLE searches;"),
}
STATES = {**ROOMS_AND_MESSAGES, **BELLS, **PANELS, **COMING_IN}

"""What is taken out of Campfire: copied links and messages, and the conversation on paper."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from tests.support.browsers import (
    CHROMIUM,
    FLAGS,
    choose,
    composer,
    message,
    say,
    sign_in,
)
from tests.support.house import House, announced

NAME = "campfire.lan"  # a name is no secure context, as 127.0.0.1 is
SELECT = """([first, last]) => {
  const words = (id) => document.querySelector(`[data-message-id="${id}"] .message__presentation`)
  const start = document.createTreeWalker(words(first), NodeFilter.SHOW_TEXT).nextNode()
  const end = words(last)
  getSelection().setBaseAndExtent(start, 5, end, end.childNodes.length)
}"""


@pytest.fixture
def on_the_lan(browser: Browser, house: House) -> Iterator[Page]:
    """Maya in All Talk, by plain http and the machine's name."""
    rules = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"
    other = browser.browser_type.launch(executable_path=CHROMIUM, args=[*FLAGS.split(), rules])
    page = other.new_page(reduced_motion="reduce")
    page.goto(house.url.replace("127.0.0.1", NAME) + "/session/new")
    sign_in(page, "maya@northwind.example")
    expect(composer(page)).to_be_visible()
    assert page.evaluate("isSecureContext") is False
    yield page
    other.close()


def test_a_link_is_copied_without_https(on_the_lan: Page) -> None:
    say(on_the_lan, "Copy me")
    expect(message(on_the_lan, "Copy me").locator(".message__permalink")).to_be_visible()
    choose(on_the_lan, "Copy me", "Copy link")

    expect(announced(on_the_lan)).to_have_text("Copied")
    composer(on_the_lan).click()
    on_the_lan.keyboard.press("Control+V")
    link = re.compile(rf"http://{NAME}:\d+/rooms/\d+/@\d+")
    expect(composer(on_the_lan)).to_have_text(link)


def test_what_cannot_be_copied_is_shown_to_be_copied_by_hand(on_the_lan: Page) -> None:
    shown: list[tuple[str, str]] = []

    def see(dialog: Dialog) -> None:
        shown.append((dialog.type, dialog.default_value))
        dialog.accept()

    on_the_lan.on("dialog", see)
    on_the_lan.goto(re.sub(r"/rooms/\d+", "/users/me/profile", on_the_lan.url))
    on_the_lan.evaluate("document.execCommand = () => false")
    link = on_the_lan.get_by_label("Sign-in link").input_value()

    on_the_lan.get_by_role("button", name="Copy link").click()

    assert shown == [("prompt", link)]


def test_several_messages_are_copied_with_names_and_times(house: House) -> None:
    room = house.room()
    ids = [
        house.post("Jonas", room, "Good morning", at="2026-03-12T10:00:00Z"),
        house.post("Inés", room, "Hello<br>and <b>welcome</b>", at="2026-03-12T10:01:00Z"),
        house.post("Jonas", room, "Thanks", at="2026-03-12T10:02:00Z"),
    ]
    maya = house.sit("Maya", room, timezone_id="UTC")
    maya.context.grant_permissions(["clipboard-read"])
    expect(message(maya, "Thanks")).to_be_visible()

    maya.evaluate(SELECT, [ids[0]["id"], ids[2]["id"]])
    maya.keyboard.press("Control+C")

    copied = maya.evaluate("navigator.clipboard.readText()")
    # The space before AM is a narrow one.
    assert re.sub(r"\s(?=AM)", " ", copied).split("\n") == [
        "Jonas Weber, 3/12/26, 10:00 AM", "morning", "",
        "Inés Duarte, 3/12/26, 10:01 AM", "Hello", "and welcome", "",
        "Jonas Weber, 3/12/26, 10:02 AM", "Thanks",
    ]  # fmt: skip

    maya.evaluate(SELECT, [ids[0]["id"], ids[0]["id"]])
    maya.keyboard.press("Control+C")
    assert maya.evaluate("navigator.clipboard.readText()").strip() == "morning"


def test_on_paper_there_is_the_conversation_alone(house: House) -> None:
    room = house.room()
    for number in range(30):
        house.post("Jonas", room, f"Line {number}.")
    maya = house.sit("Maya", room)
    expect(message(maya, "Line 29.")).to_be_visible()

    maya.emulate_media(media="print")

    for gone in ("#nav", "#sidebar", "#composer", ".corner-logo", ".message__options-btn"):
        expect(maya.locator(gone).first).to_be_hidden()
    # All of it is on the page, and nothing inside it scrolls.
    area = maya.locator(".messages")
    assert area.evaluate("it => it.scrollHeight - it.clientHeight") <= 1
    assert maya.evaluate("document.documentElement.scrollHeight") >= area.evaluate(
        "it => it.scrollHeight"
    )
    expect(message(maya, "Line 0.").locator(".message__author")).to_be_visible()


def test_the_bell_says_that_notifications_need_https(on_the_lan: Page) -> None:
    on_the_lan.locator("#nav button").click()

    expect(on_the_lan.get_by_role("alert")).to_contain_text("Notifications need https.")

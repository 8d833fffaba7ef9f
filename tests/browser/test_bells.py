"""Bells: what this browser is told, and how a room's bell goes round."""

import re

import pytest
from playwright.sync_api import expect

from tests.support.browsers import stub_push, until
from tests.support.house import HELD, House, Post, announced, enter


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
    house: House, permission: str, first: str, then: str, *, subscribed: bool
) -> None:
    maya = house.sit("Maya")
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


def test_the_bell_goes_round_and_turns_back_when_the_server_refuses(house: House) -> None:
    maya = house.sit("Maya")
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

"""The page of the devices that get notifications: how the last one ended, in words."""

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.support.house import House
from tests.support.installed import PushService

# What the service answers, and what the page says then.
ENDS = {
    403: "its service refused Campfire's keys. Remove this device and turn notifications on anew.",
    429: "its service got too many notifications and asks for a pause.",
    413: "its service found the notification too large.",
    500: "its service refused the notification.",
}


@pytest.fixture
def shown(house: House, push_service: PushService) -> Locator:
    """The one device on Maya's page."""
    device = {"endpoint": push_service.endpoint, **push_service.keys.keys}
    house.ask("Maya", "POST", "/api/users/me/push_subscriptions", device)
    maya = house.sit("Maya")
    maya.goto("/users/me/push_subscriptions")
    return maya.get_by_role("listitem").filter(has_text=push_service.endpoint)


def test_the_page_of_devices_says_in_words_how_the_last_notification_ended(
    shown: Locator, push_service: PushService
) -> None:
    said, again = shown.locator("p").last, shown.get_by_role("button", name="Send test")
    expect(said).to_have_text(push_service.endpoint)  # nothing was sent yet

    for status, words in ENDS.items():
        push_service.status = status
        again.click()
        expect(said).to_have_text(re.compile(rf"^Not told on .+: {re.escape(words)} \({status}\)$"))
    expect(shown.page.get_by_role("alert").first).to_contain_text("did not take the notification")
    push_service.status = 201
    again.click()
    expect(said).to_have_text(re.compile(r"^Told on .+\.$"))
    push_service.close()
    again.click()
    expect(said).to_have_text(re.compile(r"^Not told on .+: its service could not be reached\.$"))
    shown.page.reload()
    expect(said).to_contain_text("could not be reached")


def test_a_device_that_its_service_no_longer_knows_leaves_the_page(
    shown: Locator, push_service: PushService
) -> None:
    push_service.status = 410

    shown.get_by_role("button", name="Send test").click()

    expect(shown).to_have_count(0)

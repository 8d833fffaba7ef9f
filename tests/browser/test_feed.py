"""How a room shows what is said, and where one is in it."""

import re
from itertools import pairwise

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browsers import message
from tests.support.house import House, announced, box, scrolled


def test_messages_of_one_person_within_five_minutes_hang_together(house: House) -> None:
    room = house.room()
    said = [("Jonas", "12:00:00"), ("Jonas", "12:00:00"), ("Jonas", "12:04:59"),
            ("Jonas", "12:09:59"), ("Jonas", "12:15:00"), ("Inés", "12:15:10"),
            ("Jonas", "12:15:20")]  # fmt: skip
    for number, (who, at) in enumerate(said):
        house.post(who, room, f"words {number}", f"2026-03-12T{at}Z")

    maya = house.sit("Maya", room)

    shown = maya.locator(".message").all()
    threaded = [has_class(each, "message--threaded") for each in shown]
    assert threaded == [False, True, True, True, False, False, False]
    gaps = [gap(upper, lower) for upper, lower in pairwise(shown)]
    assert gaps == pytest.approx([2, 2, 2, 24.5, 24.5, 24.5], abs=0.5)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_day_begins_at_local_midnight_and_may_begin_in_the_middle_of_a_thread(
    house: House, zone: str
) -> None:
    midnight = {"Pacific/Kiritimati": "10:00", "America/Los_Angeles": "07:00"}[zone]
    before = {"10:00": "09:59", "07:00": "06:59"}[midnight]
    room = house.room()
    house.post("Jonas", room, "late", f"2026-03-12T{before}:00Z")
    house.post("Jonas", room, "early", f"2026-03-12T{midnight}:59Z")

    maya = house.sit("Maya", room, timezone_id=zone)

    labels = maya.locator(".message__day-separator").all_inner_texts()
    days = {"10:00": ("MARCH 12, 2026", "MARCH 13, 2026")}.get(
        midnight, ("MARCH 11, 2026", "MARCH 12, 2026")
    )
    assert tuple(labels) == days
    expect(message(maya, "early")).to_have_class(re.compile("message--threaded"))


def test_nothing_but_emoji_is_shown_large_and_without_a_bubble(house: House) -> None:
    room = house.room()
    large = ["👍", "❤️", "👍👍"]
    usual = ["👍 ", "1️⃣", "👨‍👩‍👧", "ok 👍"]
    for words in large + usual:
        house.post("Jonas", room, words.replace(" ", "&nbsp;"))

    maya = house.sit("Maya", room)

    shown = maya.locator(".message").all()
    assert [has_class(each, "message--emoji") for each in shown] == [True] * 3 + [False] * 4
    bubble = shown[0].locator(".message__body-content")
    expect(bubble).to_have_css("background-color", re.compile(r"transparent|, 0\)"))
    expect(shown[0].locator(".message__presentation")).to_have_css("font-size", "38.4px")


def test_a_mention_marks_the_message_only_for_the_person_it_means(house: House) -> None:
    house.invite("Jonas Weber", called="Twin")
    room = house.room()
    other, jonas = house.sit("Twin", room), house.sit("Jonas", room)

    house.post("Maya", room, f"{house.mention('Twin')} have a look")

    expect(other.locator(".message--mentioned")).to_contain_text("have a look")
    expect(message(jonas, "have a look")).to_be_visible()
    expect(jonas.locator(".message--mentioned")).to_have_count(0)
    # Whole, and before anything else.
    expect(announced(other)).to_contain_text("Maya Okafor: @Jonas Weber have a look")


def test_a_permalink_opens_in_the_centre_and_the_way_back_to_the_newest_is_a_button(
    house: House,
) -> None:
    room = house.room()
    posted = [house.post("Jonas", room, f"Number {number}.") for number in range(100)]

    maya = house.sit("Maya", f"{room}/@{posted[40]['id']}")

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
    house: House, distance: int, *, follows: bool
) -> None:
    room = house.room()
    for number in range(30):
        house.post("Jonas", room, f"Number {number}.")
    maya = house.sit("Maya", room)
    maya.locator(".messages").evaluate(
        "(list, away) => list.scrollTo(0, list.scrollHeight - list.clientHeight - away)", distance
    )
    assert scrolled(maya)["rest"] == distance
    before = scrolled(maya)["top"]

    house.post("Jonas", room, "Something new")

    expect(message(maya, "Something new")).to_be_attached()
    expect(maya.get_by_role("button", name="Jump to newest")).to_have_count(0 if follows else 1)
    assert scrolled(maya)["rest"] < 1 if follows else scrolled(maya)["top"] == before


def gap(upper: Locator, lower: Locator) -> float:
    """The distance from one bubble down to the next."""
    first, second = (box(each.locator(".message__body-content")) for each in (upper, lower))
    return second["y"] - first["y"] - first["height"]


def has_class(place: Locator, name: str) -> bool:
    return name in (place.get_attribute("class") or "").split()


def watch_shifts(page: Page) -> None:
    """Sums up in `window.shift` how much of the layout moves without anybody's doing."""
    page.evaluate(
        """() => { window.shift = 0
        new PerformanceObserver((list) => {
          for (const each of list.getEntries()) if (!each.hadRecentInput) window.shift += each.value
        }).observe({type: 'layout-shift', buffered: false}) }"""
    )

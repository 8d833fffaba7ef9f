"""The screen of searches."""

import re

from playwright.sync_api import expect

from tests.support.browsers import message, texts
from tests.support.house import House, box


def test_signs_alone_are_nothing_to_search_for_and_stay_in_the_box(house: House) -> None:
    room = house.room(name="Workshop")
    house.post("Jonas", room, "C++ and waffles")
    maya = house.sit("Maya")
    maya.goto("/searches?q=waffles")
    field = maya.get_by_role("searchbox", name="Search")
    expect(maya.locator("mark")).to_have_text(["waffles"])
    assert texts(maya) == ["C++ and waffles"]

    field.fill("++")
    field.press("Enter")

    expect(maya).to_have_url(re.compile(r"/searches\?q=%2B%2B$"))
    expect(maya.get_by_text("Nothing to search for in “++”")).to_be_visible()
    expect(field).to_have_value("++")
    assert texts(maya) == []
    field.fill("waffles")
    field.press("Enter")
    expect(maya.locator("mark")).to_have_text(["waffles"])


def test_a_long_search_of_before_stays_within_the_sidebar(house: House) -> None:
    maya = house.sit("Maya")
    maya.goto("/searches")
    maya.get_by_role("searchbox", name="Search").fill("long" * 100)
    maya.keyboard.press("Enter")
    recent = maya.get_by_role("link", name="longlong")
    expect(recent).to_be_visible()

    room, pill = box(maya.locator(".searches__recents")), box(recent)
    assert pill["x"] + pill["width"] <= room["x"] + room["width"]


def test_a_search_finds_marks_remembers_and_leads_to_the_message(house: House) -> None:
    room = house.room(name="Kitchen")
    for words in ("A pancake recipe", "Another pancake", "Tea"):
        house.post("Jonas", room, words)
    maya = house.sit("Maya")
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

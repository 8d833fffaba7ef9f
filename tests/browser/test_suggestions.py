"""Suggesting people, as a browser shows it: who is offered, and which keys choose."""

import re

from playwright.sync_api import expect

from tests.support.browsers import composer, hold, texts, until, write
from tests.support.house import House, enter, stop_clock


def test_people_are_offered_in_whatever_letters_their_name_is_typed(house: House) -> None:
    for name, called in (("Иван Петров", "Ivan"), ("Ömer Çelik", "Omer"), ("Ελένη", "Eleni")):
        house.invite(name, called)
    maya = house.sit("Maya")
    enter(maya, house.room())

    composer(maya).click()
    for typed, name in (
        ("@иван", "Иван Петров"), ("@ömer", "Ömer Çelik"), ("@omer", "Ömer Çelik"),
        ("@ελένη", "Ελένη"), ("@петр", "Иван Петров"), ("@етров", "Nobody found"),
    ):  # fmt: skip
        maya.keyboard.type(typed)
        shown = maya.locator(".autocomplete__item")
        expect(shown).to_have_text([name])
        maya.keyboard.press("Escape")
        expect(shown).to_have_count(0)
        maya.keyboard.press("Control+A")
        maya.keyboard.press("Delete")
        expect(composer(maya)).to_have_text("")
        maya.keyboard.type("so ")


def test_two_of_one_name_show_what_tells_them_apart(house: House) -> None:
    house.invite("Kim Lee", "Kim")
    house.invite("Kím Lee", "Kim2")
    house.ask("Kim", "PUT", "/api/users/me/profile", {"bio": "Paints the north wall"})
    maya = house.sit("Maya")
    enter(maya, house.room())

    write(maya, "@kim")

    people = maya.get_by_role("option")
    expect(people).to_have_count(2)
    expect(people.first).to_contain_text("Paints the north wall")
    expect(people.last).to_contain_text("Member since")
    maya.keyboard.press("Backspace")
    maya.keyboard.press("Backspace")
    maya.keyboard.press("Backspace")
    maya.keyboard.type("jonas")
    expect(people).to_have_text(["Jonas Weber"])


def test_space_chooses_only_when_no_other_name_goes_on_with_what_is_typed(house: House) -> None:
    house.invite("Anna", "Anna")
    house.invite("Anna Berg", "Berg")
    maya = house.sit("Maya")
    enter(maya, house.room())
    people, mentions = maya.get_by_role("option"), composer(maya).locator(".mention")

    write(maya, "@anna")
    expect(people).to_have_text(["Anna", "Anna Berg"])
    maya.keyboard.press("Space")
    expect(mentions).to_have_count(0)
    maya.keyboard.type("be")
    expect(people).to_have_text(["Anna Berg"])
    maya.keyboard.press("Space")
    expect(mentions).to_have_text([re.compile("Anna Berg")])
    maya.keyboard.type("and @anna")
    expect(people).to_have_count(2)
    maya.keyboard.type(" how are you")
    expect(people).to_have_count(0)
    maya.keyboard.press("Enter")
    expect(maya.locator(".message").last).to_contain_text("and @anna how are you")


def test_enter_right_after_typing_takes_the_first_of_the_answer_under_way(house: House) -> None:
    maya = house.sit("Maya")
    enter(maya, house.room())
    mentions = composer(maya).locator(".mention")

    write(maya, "@jonas")
    maya.keyboard.press("Enter")
    expect(mentions).to_have_text([re.compile("Jonas Weber")])
    assert texts(maya) == []
    maya.keyboard.type("and @nobodyatall")
    maya.keyboard.press("Enter")  # is sent, when nobody is found
    expect(maya.locator(".message").last).to_contain_text("and @nobodyatall")

    waiting = hold(maya, "**/api/autocompletable/**")
    write(maya, "too late @jonas")
    maya.keyboard.press("Enter")  # and after 300 ms without an answer
    expect(maya.locator(".message").last).to_contain_text("too late @jonas")
    assert len(waiting) == 1


def test_no_key_of_a_composition_is_taken_by_the_list_of_a_ping(house: House) -> None:
    maya = house.sit("Maya")
    enter(maya, house.room())
    maya.get_by_role("button", name="Ping", exact=True).click()
    field = maya.get_by_role("combobox", name="Who do you want to ping?")
    field.fill("jonas")
    expect(maya.get_by_role("option")).to_have_text(["Jonas Weber"])

    for key in ("Enter", " ", "Escape", "Tab", "Backspace"):
        for details in ({"isComposing": True}, {"keyCode": 229}):
            field.dispatch_event("keydown", {"key": key, "bubbles": True, **details})

    expect(field).to_have_value("jonas")
    expect(maya.get_by_role("option")).to_have_text(["Jonas Weber"])
    field.fill("xyz")
    expect(maya.locator(".autocomplete__list")).to_have_text("Nobody found")
    field.fill("jonas")
    expect(maya.get_by_role("option")).to_have_text(["Jonas Weber"])
    field.press("Enter")
    expect(maya.get_by_role("list", name="People to ping")).to_contain_text("Jonas Weber")


def test_people_are_suggested_after_300_milliseconds_and_taken_by_key(house: House) -> None:
    maya, jonas, room = house.sit("Maya"), house.sit("Jonas"), house.room()
    enter(maya, room)
    enter(jonas, room)
    people = maya.get_by_role("option")
    write(maya, "@")
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


def test_only_the_newest_question_about_people_is_answered(house: House) -> None:
    maya = house.sit("Maya")
    maya.clock.install()
    enter(maya, house.room())
    asked = hold(maya, "**/api/autocompletable/**")
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

"""Who is typing, and what is read out to those who do not look."""

from playwright.sync_api import expect

from tests.support.browsers import message, say, write
from tests.support.house import Cable, House, announced, enter, stop_clock


def test_who_types_is_told_once_a_second_and_shown_by_name_until_they_stop(house: House) -> None:
    room = house.room()
    maya, jonas, ines = house.sit("Maya"), house.sit("Jonas"), house.sit("Inés", room)
    maya.clock.install()
    line, typing = Cable(maya), Cable(jonas)
    enter(maya, room)
    enter(jonas, room)
    stop_clock(maya)

    write(jonas, "ten keys!!")
    write(ines, "x")

    names = maya.locator(".typing-indicator--active .typing-indicator__author")
    expect(names).to_have_text("Inés Duarte, Jonas Weber")
    assert typing.said("TypingNotificationsChannel") == ["start"]
    jonas.keyboard.press("Control+A")
    jonas.keyboard.press("Delete")
    expect(names).to_have_text("Inés Duarte")
    assert typing.said("TypingNotificationsChannel") == ["start", "stop"]
    line.pass_time(4.9)
    expect(names).to_have_text("Inés Duarte")
    line.pass_time(1.2)
    expect(names).to_have_count(0)


def test_what_others_say_is_read_out_and_a_flood_is_a_number(house: House) -> None:
    room = house.room()
    maya = house.sit("Maya", room)
    say(maya, "My own")
    expect(message(maya, "My own").locator(".message__permalink")).to_be_attached()
    first = house.post("Jonas", room, "word " * 40)
    expect(announced(maya)).to_have_text(f"Jonas Weber: {'word ' * 40}"[:120])
    house.edit("Jonas", room, first, "Silently changed")
    for number in range(3):
        house.post("Jonas", room, f"Number {number}.")
    expect(announced(maya)).to_have_text("3 new messages")

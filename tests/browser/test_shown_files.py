"""What each kind of file looks like in a room and on the whole screen, and whose pictures show."""

import os
import re
from collections.abc import Callable

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from tests.support.browsers import (
    composer,
    fill_in,
    hold,
    message,
    until,
    violations,
)
from tests.support.house import House, box
from tests.support.studio import encoded, painted

HELD_UPRIGHT = 6


def photo() -> bytes:
    picture = painted(4032, 3024)
    notes = picture.getexif()
    notes[0x0112] = HELD_UPRIGHT
    return encoded(picture, "JPEG", exif=notes)


def moving(side: int, count: int) -> bytes:
    """Frames of noise, which no compression makes smaller."""
    frames = [Image.frombytes("P", (side, side), os.urandom(side * side)) for _ in range(count)]
    for frame in frames:
        frame.putpalette(bytes(range(256)) * 3)
    more: dict[str, object] = {"save_all": True, "append_images": frames[1:], "duration": 100}
    return encoded(frames[0], "GIF", **more)


def test_each_kind_of_file_is_shown_as_what_it_is(house: House) -> None:
    room = house.room()
    clip = b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + bytes(400)
    whole = encoded(painted(600, 400), "JPEG")
    for name, content in {
        "upright.jpg": photo(),
        "small.png": encoded(painted(100, 50), "PNG"),
        "clip.mp4": clip,
        "memo.mp3": b"ID3\x04\0\0\0\0\0\0" + bytes(400),
        "broken.jpg": whole[: len(whole) // 3],
        "page.png": b"<!doctype html><script>document.title = 'taken over'</script>",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "plan.pdf": b"%PDF-1.4",
    }.items():
        house.send("Jonas", room, name, content)
    maya = house.sit("Maya", room)

    sizes = {
        name: box(maya.get_by_role("link", name=f"View {name}"))
        for name in ("upright.jpg", "small.png")
    }
    assert [(round(it["width"]), round(it["height"])) for it in sizes.values()] == [
        (300, 400), (50, 25)
    ]  # fmt: skip
    video = maya.get_by_label("clip.mp4")
    assert box(video.locator("..")) | {"x": 0, "y": 0} == {
        "x": 0, "y": 0, "width": 300, "height": pytest.approx(168.75, abs=0.1)
    }  # fmt: skip
    expect(video).to_have_attribute("src", re.compile(r"^/files/\d+/clip\.mp4#t=0\.1$"))
    expect(maya.locator("audio")).to_have_attribute("aria-label", "memo.mp3")
    rows = maya.locator(".attachment--file")
    expect(rows).to_have_count(4)
    for row, name in zip(
        rows.all(), ("broken.jpg", "page.png", "drawing.svg", "plan.pdf"), strict=True
    ):
        download = row.get_by_role("link", name=f"Download {name}")
        expect(download).to_have_attribute("href", re.compile(r"\?download=1$"))
    assert violations(maya) == []


def test_small_moving_pictures_move_unless_somebody_wants_less_of_it(house: House) -> None:
    room = house.room()
    house.send("Jonas", room, "wave.gif", moving(40, 3))
    house.send("Jonas", room, "storm.gif", moving(800, 14))
    maya = house.sit("Maya", room, reduced_motion="no-preference")

    shown = maya.get_by_role("img", name="wave.gif")
    large = maya.get_by_role("link", name="View storm.gif")
    expect(shown).to_have_js_property("complete", value=True)
    assert str(shown.evaluate("image => image.currentSrc")).endswith("/wave.gif")
    expect(large).to_contain_text("GIF")
    assert str(large.get_by_role("img").evaluate("image => image.src")).endswith("/still")
    maya.emulate_media(reduced_motion="reduce")
    maya.wait_for_function(
        "() => document.querySelector('.message__attachment').currentSrc.endsWith('/still')"
    )


def test_the_whole_screen_shows_what_is_there_until_the_original_is(house: House) -> None:
    room = house.room()
    for name in ("first.png", "second.png", "lost.png"):
        house.send("Jonas", room, name, encoded(painted(2000, 1000), "PNG"))
    maya = house.sit("Maya", room)
    originals = hold(maya, "**/files/*/*.png")
    maya.get_by_role("link", name="View first.png").click()
    viewed = maya.get_by_role("dialog").get_by_role("img")
    expect(viewed).to_have_attribute("src", re.compile("/still$"))
    before = box(viewed)
    until(maya, lambda: len(originals) == 1)
    originals[0].continue_()
    expect(viewed).to_have_attribute("src", re.compile("first.png$"))
    assert box(viewed) == before
    # Whoever goes on before it is there sees nothing of it later.
    maya.keyboard.press("ArrowRight")
    until(maya, lambda: len(originals) == 2)
    maya.keyboard.press("ArrowRight")
    until(maya, lambda: len(originals) == 3)
    originals[1].continue_()
    originals[2].abort()
    expect(maya.get_by_text("The original could not be loaded")).to_be_visible()
    expect(viewed).to_have_attribute("alt", "lost.png")
    expect(viewed).to_have_attribute("src", re.compile("/still$"))


# --- Pictures of people ---------------------------------------------------------------------------


def choose_picture(page: Page, content: bytes, name: str = "me.png") -> None:
    page.locator(".avatar__form input[type=file]").set_input_files(
        FilePayload(name=name, mimeType="image/png", buffer=content)
    )


def join(page: Page, house: House, name: str, picture: bytes) -> None:
    page.goto(f"{house.url}/join/{house.join_code}")
    choose_picture(page, picture)
    fill_in(page, name)
    expect(composer(page)).to_be_visible()


def test_who_joins_with_a_picture_has_it_and_an_administrator_may_take_it_away(
    house: House, window: Callable[..., Page]
) -> None:
    kenji = window()
    join(kenji, house, "Kenji Mori", encoded(painted(100, 300), "PNG"))
    boot = "fetch('/api/boot?path=/users/me/profile').then((answer) => answer.json())"
    me = kenji.evaluate(boot)["current_user"]
    assert me["has_avatar"]
    kind = "src => fetch(src).then((answer) => answer.headers.get('Content-Type'))"
    assert kenji.evaluate(kind, me["avatar_url"]) == "image/webp"
    maya = house.sit("Maya")
    maya.on("dialog", lambda dialog: dialog.accept())
    maya.goto(f"/users/{me['id']}")
    removal = maya.get_by_role("button", name=re.compile("Remove Kenji Mori.s picture"))
    removal.click()
    expect(
        maya.get_by_role("button", name=re.compile("Remove Kenji Mori.s picture"))
    ).to_have_count(0)

    now = house.ask("Maya", "GET", f"/api/users/{me['id']}")["user"]
    assert not now["has_avatar"]
    assert now["avatar_url"] != me["avatar_url"]


def test_who_joins_with_a_picture_that_cannot_be_read_is_in_all_the_same(
    house: House, window: Callable[..., Page]
) -> None:
    noor = window()
    join(noor, house, "Noor Haddad", b"<html>")

    expect(noor.get_by_role("alert")).to_contain_text("That picture could not be read.")


def test_a_bot_gets_its_picture_when_it_is_made_and_loses_it_when_asked(house: House) -> None:
    maya = house.sit("Maya")
    maya.goto("/account/bots/new")
    choose_picture(maya, encoded(painted(300, 300), "PNG"))
    maya.get_by_label("Name", exact=False).first.fill("Harbour Bot")
    maya.get_by_role("button", name="Save").click()
    expect(maya).to_have_url(re.compile("/account/bots$"))
    bot = house.ask("Maya", "GET", "/api/account/bots")["bots"][-1]
    assert (bot["name"], bot["has_avatar"]) == ("Harbour Bot", True)
    maya.goto(f"/account/bots/{bot['id']}/edit")
    maya.get_by_role("button", name=re.compile("Delete bot.s picture")).click()
    expect(maya.get_by_role("button", name=re.compile("Delete bot.s picture"))).to_have_count(0)


def test_a_reply_to_a_file_and_its_boosts_stand_where_those_of_words_do(house: House) -> None:
    room = house.room()
    sent = house.send("Jonas", room, "boat.png", encoded(painted(400, 300), "PNG"))
    house.boost("Inés", sent, "⛵")
    maya = house.sit("Maya", room)
    theirs = maya.locator(".message", has=maya.get_by_role("link", name="View boat.png"))

    expect(theirs.locator(".boost")).to_contain_text("⛵")
    picture, boosts = theirs.locator(".attachment--image"), theirs.locator(".boosts")
    assert box(boosts)["y"] >= box(picture)["y"] + box(picture)["height"]
    expect(message(maya, "⛵")).to_have_count(1)

"""Files: before they are sent, on their way, in the room, and on the whole screen."""

import re
import struct
import zlib
from functools import partial
from typing import Any

from playwright.sync_api import Dialog, FilePayload, Locator, Page, Route, expect

from tests.support.browsers import (
    PAINTED,
    choose,
    composer,
    connected,
    hold,
    message,
    options,
    say,
    texts,
    until,
    violations,
    write,
)
from tests.support.house import (
    ROOM_MESSAGES,
    House,
    announced,
    box,
    draft,
    enter,
    focused,
    scrolled,
)

ANYTHING = "application/octet-stream"


def png(width: int = 100, height: int = 50) -> bytes:
    """A picture in one colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checked = name + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    rows = (b"\0" + b"\x20\x80\xc0" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def pick(page: Page, **files: bytes) -> None:
    """Chooses files, whose names have an underscore for their dot."""
    page.locator("#composer input[type=file]").set_input_files(
        [
            FilePayload(name=name.replace("_", "."), mimeType=kind_of(name), buffer=content)
            for name, content in files.items()
        ]
    )


def kind_of(name: str) -> str:
    kinds = {"png": "image/png", "pdf": "application/pdf", "txt": "text/plain"}
    return kinds.get(name.rpartition("_")[2], ANYTHING)


def tiles(page: Page) -> Locator:
    return page.get_by_role("list", name="Files to send").get_by_role("button")


def send(page: Page) -> None:
    page.get_by_role("button", name="Send message").click()


def sent(page: Page, **files: bytes) -> None:
    """Sends files, one after another, and waits until they are there."""
    for name, content in files.items():
        pick(page, **{name: content})
        send(page)
        stored = message(page, name.replace("_", ".")).or_(
            page.locator(".message", has=page.get_by_role("link", name=name.replace("_", ".")))
        )
        expect(stored.first.locator(".message__permalink")).to_be_attached()


def refuse(status: int, code: str, route: Route) -> None:
    route.fulfill(status=status, json={"error": {"code": code, "message": "In short: no."}})


def paste(page: Page, name: str, kind: str, **words: str) -> None:
    """Pastes a file, with words of some types beside it."""
    page.evaluate(
        """([name, type, words]) => { const clipboardData = new DataTransfer()
        clipboardData.items.add(new File(['x'], name, {type}))
        const say = ([type, text]) => clipboardData.setData(`text/${type}`, text)
        Object.entries(words).forEach(say)
        const how = {bubbles: true, cancelable: true, clipboardData}
        document.activeElement.dispatchEvent(new ClipboardEvent('paste', how)) }""",
        [name, kind, words],
    )


def test_files_are_piled_up_by_name_and_taken_away_by_a_press(house: House) -> None:
    maya = house.sit("Maya", house.room())
    pick(maya, zebra_pdf=b"%PDF-1.4", harbour_png=png())
    pick(maya, apple_txt=b"words")
    expect(tiles(maya)).to_have_count(3)
    names = [tile.get_attribute("aria-label") for tile in tiles(maya).all()]
    assert names == ["Remove apple.txt", "Remove harbour.png", "Remove zebra.pdf"]
    picture = box(tiles(maya).nth(1).locator(".composer__file-thumbnail"))
    assert (round(picture["width"]), round(picture["height"])) == (135, 108)
    assert violations(maya) == []

    tiles(maya).nth(1).click()
    expect(tiles(maya)).to_have_count(2)
    assert focused(maya) == "Remove zebra.pdf"
    maya.keyboard.press("Enter")
    maya.keyboard.press("Enter")
    expect(tiles(maya)).to_have_count(0)
    expect(composer(maya)).to_be_focused()


def test_what_is_left_with_files_in_hand_has_them_still_when_it_is_seen_again(
    house: House,
) -> None:
    room, other = house.room(), house.room(name="Elsewhere")
    maya = house.sit("Maya", room)
    pick(maya, plan_pdf=b"%PDF-1.4")
    maya.get_by_role("link", name="Elsewhere").click()
    expect(maya).to_have_url(re.compile(f"{other}$"))
    expect(tiles(maya)).to_have_count(0)
    maya.go_back()

    expect(tiles(maya)).to_have_count(1)


def test_each_file_becomes_a_message_of_its_own_and_the_words_another(house: House) -> None:
    room = house.room()
    maya, jonas = house.sit("Maya", room), house.sit("Jonas", room)
    held = hold(maya, ROOM_MESSAGES)
    pick(maya, b_txt=b"b", a_txt=b"a")
    write(maya, "Two for the folder")
    maya.keyboard.press("Enter")
    # The first file and the words: the second file waits for the first.
    until(maya, lambda: len(held) == 2)
    expect(maya.get_by_role("progressbar", name="b.txt")).to_contain_text("waiting")
    expect(announced(maya)).to_have_text("Uploading a.txt")
    for route in held:
        route.continue_()
    until(maya, lambda: len(held) == 3)
    held[2].continue_()

    for page in (maya, jonas):
        expect(page.locator(".message .message__permalink")).to_have_count(3)
    expect(maya.get_by_role("progressbar")).to_have_count(0)
    assert sorted(each.split("\n")[0] for each in texts(jonas)) == [
        "Two for the folder", "a.txt", "b.txt"
    ]  # fmt: skip


def test_a_picture_is_there_before_it_is_sent_and_does_not_move_when_it_is(house: House) -> None:
    maya = house.sit("Maya", house.room())
    held = hold(maya, ROOM_MESSAGES)
    pick(maya, harbour_png=png(600, 400))
    send(maya)
    going = maya.get_by_role("progressbar", name="harbour.png")
    before = box(going)
    assert (round(before["width"]), round(before["height"])) == (300, 200)
    until(maya, lambda: len(held) == 1)
    held[0].continue_()

    picture = maya.get_by_role("link", name="View harbour.png")
    expect(picture).to_be_visible()
    after = box(picture)
    assert all(abs(before[side] - after[side]) <= 1 for side in ("x", "y", "width", "height"))


def test_the_end_stays_in_sight_when_files_are_there(house: House) -> None:
    room = house.room()
    for number in range(20):
        house.post("Jonas", room, f"Line {number}")
    maya = house.sit("Maya", room)
    pick(maya, harbour_png=png(600, 400), plan_pdf=b"%PDF-1.4")
    send(maya)

    expect(maya.get_by_role("link", name="View harbour.png")).to_be_visible()
    expect(maya.get_by_role("link", name="Download plan.pdf")).to_be_visible()
    expect(maya.get_by_role("progressbar")).to_have_count(0)
    maya.evaluate(PAINTED)
    assert scrolled(maya)["rest"] < 1


def test_the_end_stays_in_sight_when_a_picture_is_sent_before_it_is_read(house: House) -> None:
    room = house.room()
    for number in range(20):
        house.post("Jonas", room, f"Line {number}")
    maya = house.sit("Maya", room)
    hold(maya, ROOM_MESSAGES)
    maya.evaluate(
        """async (data) => {
        const chosen = new DataTransfer()
        chosen.items.add(new File([Uint8Array.from(data)], 'boat.png', {type: 'image/png'}))
        const field = document.querySelector('#composer input[type=file]')
        field.files = chosen.files
        field.dispatchEvent(new Event('change', {bubbles: true}))
        await Promise.resolve()
        document.querySelector('.composer__send-btn').click() }""",
        list(png(600, 400)),
    )

    going = maya.get_by_role("progressbar", name="boat.png")
    expect(going).to_have_attribute("data-picture", "true")
    maya.evaluate(PAINTED)
    assert scrolled(maya)["rest"] < 1


def test_what_is_cancelled_on_its_way_leaves_nothing_and_the_next_one_goes(house: House) -> None:
    room = house.room()
    maya = house.sit("Maya", room)
    held = hold(maya, ROOM_MESSAGES)
    pick(maya, a_txt=b"a", b_txt=b"b")
    send(maya)
    until(maya, lambda: len(held) == 1)
    maya.get_by_role("button", name="Cancel upload of a.txt").click()
    until(maya, lambda: len(held) == 2)
    held[1].continue_()

    expect(maya.locator(".message .message__permalink")).to_have_count(1)
    assert [each["plain_text"] for each in messages(house, room)] == ["b.txt"]


def messages(house: House, room: str) -> list[dict[str, Any]]:
    found = house.ask("Maya", "GET", f"/api{room}/messages")
    return list(found.get("messages", []))


def test_where_there_is_no_room_for_a_file_it_says_so_and_can_be_tried_again(house: House) -> None:
    room = house.room()
    maya = house.sit("Maya", room)
    maya.route(ROOM_MESSAGES, partial(refuse, 507, "storage_full"))
    pick(maya, plan_pdf=b"%PDF-1.4")
    send(maya)
    failed = message(maya, "plan.pdf")
    expect(failed).to_contain_text("This server has no room for more files. Tell an administrator.")
    assert violations(maya) == []
    say(maya, "Words go all the same")
    maya.unroute(ROOM_MESSAGES)
    failed.get_by_role("button", name="Try again").click()

    expect(failed.locator(".message__permalink")).to_be_attached()
    assert len([each for each in messages(house, room) if each["attachment"]]) == 1


def test_a_file_waits_while_there_is_no_network_and_goes_when_it_is_back(house: House) -> None:
    room = house.room()
    maya = house.sit("Maya", room)
    held = hold(maya, ROOM_MESSAGES)
    pick(maya, plan_pdf=b"%PDF-1.4")
    send(maya)
    until(maya, lambda: len(held) == 1)
    maya.context.set_offline(True)
    held[0].abort("internetdisconnected")
    expect(maya.get_by_role("progressbar", name="plan.pdf")).to_contain_text("waiting")
    pick(maya, later_txt=b"words")
    expect(maya.get_by_role("button", name="Send message")).to_be_disabled()
    maya.unroute(ROOM_MESSAGES)
    maya.context.set_offline(False)

    expect(message(maya, "plan.pdf").locator(".message__permalink")).to_be_attached()
    expect(tiles(maya)).to_have_count(1)
    assert [each["plain_text"] for each in messages(house, room)] == ["plan.pdf"]


def test_leaving_the_page_is_asked_about_while_a_file_goes_up(house: House) -> None:
    maya = house.sit("Maya", house.room())
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    maya.on("dialog", stay)
    held = hold(maya, ROOM_MESSAGES)
    pick(maya, plan_pdf=b"%PDF-1.4")
    send(maya)
    until(maya, lambda: len(held) == 1)
    maya.reload()

    assert asked == ["beforeunload"]


def test_an_upload_goes_on_while_another_room_is_on_the_screen(house: House) -> None:
    room, _ = house.room(), house.room(name="Next door")
    maya = house.sit("Maya", room)
    held = hold(maya, ROOM_MESSAGES)
    pick(maya, plan_pdf=b"%PDF-1.4")
    send(maya)
    until(maya, lambda: len(held) == 1)
    maya.get_by_role("link", name="Next door").click()
    connected(maya)
    held[0].continue_()
    until(maya, lambda: len(messages(house, room)) == 1)
    enter(maya, room)

    expect(message(maya, "plan.pdf")).to_have_count(1)


def test_files_that_cannot_be_sent_are_refused_in_words(house: House) -> None:
    maya = house.sit("Maya", house.room())
    pick(maya, empty_txt=b"", full_txt=b"x")

    expect(maya.get_by_role("alert")).to_contain_text("empty.txt is empty.")
    expect(tiles(maya)).to_have_count(1)


def test_a_paste_is_a_file_unless_it_is_the_picture_of_its_own_text(house: House) -> None:
    maya = house.sit("Maya", house.room())
    composer(maya).click()
    paste(maya, "image.png", "image/png", html="<b>a</b>", plain="From a word processor")
    expect(tiles(maya)).to_have_count(0)
    expect(composer(maya)).to_contain_text("a")
    paste(maya, "image.png", "image/png")
    expect(tiles(maya).first).to_have_attribute(
        "aria-label", re.compile(r"Remove Screenshot \d{4}-\d\d-\d\d at \d\d\.\d\d\.\d\d\.png")
    )
    paste(maya, "plan.pdf", "application/pdf", plain="/home/maya/plan.pdf")
    expect(tiles(maya)).to_have_count(2)
    paste(maya, "boat.png", "image/png", html="<img src='https://elsewhere.example/boat.png'>")
    expect(tiles(maya)).to_have_count(3)
    assert draft(maya) == "a"


def drag(page: Page, kind: str, *names: str) -> None:
    page.evaluate(
        """([kind, names]) => { const dataTransfer = new DataTransfer()
        for (const name of names) dataTransfer.items.add(new File(['x'], name))
        const how = {bubbles: true, cancelable: true, dataTransfer}
        document.querySelector('.messages').dispatchEvent(new DragEvent(kind, how)) }""",
        [kind, names],
    )


def test_files_are_dropped_on_the_room_and_folders_are_not(house: House) -> None:
    maya = house.sit("Maya", house.room(name="Harbour"))
    curtain = maya.locator(".dropzone")
    drag(maya, "dragenter")
    expect(curtain).to_have_count(0)
    drag(maya, "dragenter", "a.txt")
    expect(curtain).to_contain_text("Drop to send to Harbour")
    expect(curtain).to_contain_text("Up to 512 MB each")
    maya.keyboard.press("Escape")
    expect(curtain).to_have_count(0)
    drag(maya, "dragenter", "a.txt")
    drag(maya, "dragleave", "a.txt")
    expect(curtain).to_have_count(0)
    for kind in ("dragenter", "dragover", "drop"):
        drag(maya, kind, "c.txt", "a.txt", "b.txt")
    expect(curtain).to_have_count(0)
    expect(tiles(maya)).to_have_count(3)
    # What a browser says of a folder, which no script can put into its hands.
    maya.evaluate(
        "() => { DataTransferItem.prototype.webkitGetAsEntry = () => ({isDirectory: true}) }"
    )
    drag(maya, "drop", "holidays")

    expect(maya.get_by_role("alert")).to_contain_text("Put them in a zip file first.")
    expect(tiles(maya)).to_have_count(3)


def test_pictures_are_looked_at_one_after_another_on_the_whole_screen(house: House) -> None:
    maya = house.sit("Maya", house.room())
    sent(maya, first_png=png(), second_png=png(50, 100))
    opener = maya.get_by_role("link", name="View first.png")
    opener.click()
    viewer = maya.get_by_role("dialog")
    expect(viewer).to_have_attribute("aria-label", "first.png, image viewer, press Escape to close")
    for key, name in [("ArrowLeft", "first"), ("ArrowRight", "second"), ("ArrowRight", "second"),
                      ("Home", "first"), ("End", "second")]:  # fmt: skip
        maya.keyboard.press(key)
        expect(viewer.get_by_role("img")).to_have_attribute("alt", f"{name}.png")
    expect(viewer.get_by_role("link", name="Download")).to_have_attribute("download", "second.png")
    expect(viewer.get_by_role("img")).to_have_attribute("src", re.compile("/files/.*second.png"))
    assert violations(maya) == []
    maya.keyboard.press("Escape")

    expect(viewer).to_have_count(0)
    expect(opener).to_be_focused()


def test_a_file_is_quoted_by_its_name_downloaded_and_deleted_but_not_edited(house: House) -> None:
    room = house.room()
    maya = house.sit("Maya", room)
    say(maya, "Mine")
    sent(maya, plan_pdf=b"%PDF-1.4")
    composer(maya).press("ArrowUp")
    expect(maya.get_by_role("textbox", name="Edit message")).to_have_text("Mine")
    maya.keyboard.press("Escape")
    choose(maya, "plan.pdf", "Reply")
    expect(composer(maya).locator("blockquote")).to_have_text(re.compile(r"^📎 plan\.pdf\s*$"))
    options(maya, "plan.pdf")
    download = maya.get_by_role("menuitem", name="Download")
    expect(download).to_have_attribute("href", re.compile(r"^/files/\d+/plan\.pdf\?download=1$"))
    maya.get_by_role("menuitem", name="Edit").click()
    expect(maya.get_by_role("button", name="Save changes")).to_have_count(0)
    assert violations(maya) == []
    maya.on("dialog", lambda dialog: dialog.accept())
    maya.get_by_role("button", name="Delete message").click()

    expect(message(maya, "plan.pdf")).to_have_count(0)


# --- Pictures of people, and of the house ---------------------------------------------------------


def choose_picture(page: Page, content: bytes) -> None:
    page.locator(".avatar__form input[type=file]").set_input_files(
        FilePayload(name="me.png", mimeType="image/png", buffer=content)
    )


def test_my_picture_is_everywhere_as_soon_as_it_is_chosen_and_gone_when_i_say_so(
    house: House,
) -> None:
    house.invite("Olga Petrova")
    olga = house.sit("Olga")
    olga.goto("/users/me/profile")
    before = olga.locator(".avatar__form img").get_attribute("src")
    choose_picture(olga, png(300, 300))
    flash = olga.locator(".flash__inner")
    expect(flash).to_have_text("Saved. Others may see your old picture for up to half an hour.")
    expect(olga.locator(".avatar__form img")).not_to_have_attribute("src", before or "")
    assert violations(olga) == []
    olga.get_by_role("button", name="Delete picture").click()

    expect(olga.get_by_role("button", name="Delete picture")).to_have_count(0)


def test_a_picture_that_cannot_be_read_leaves_the_old_one(house: House) -> None:
    maya = house.sit("Maya")
    maya.goto("/users/me/profile")
    before = maya.locator(".avatar__form img").get_attribute("src")
    choose_picture(maya, b"<html>")

    expect(maya.get_by_role("alert")).to_contain_text("That picture could not be read.")
    expect(maya.locator(".avatar__form img")).to_have_attribute("src", before or "")


def test_the_accounts_logo_stands_in_its_rooms_until_it_is_deleted(house: House) -> None:
    room = house.room()
    maya = house.sit("Maya")
    maya.goto("/account/edit")
    choose_picture(maya, png())
    expect(maya.get_by_role("button", name="Delete logo")).to_be_visible()
    expect(maya.get_by_text(re.compile(r"^Files use .+ free on this server$"))).to_be_visible()
    enter(maya, room)
    logo = maya.locator("#nav .account-logo")
    expect(logo).to_be_visible()
    wide = logo.locator("img").evaluate("async img => (await img.decode(), img.naturalWidth)")
    assert wide == 192
    maya.goto("/account/edit")
    maya.get_by_role("button", name="Delete logo").click()
    expect(maya.get_by_role("button", name="Delete logo")).to_have_count(0)
    enter(maya, room)

    expect(maya.locator("#nav .account-logo")).to_have_count(0)

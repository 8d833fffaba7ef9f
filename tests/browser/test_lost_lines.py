"""Files on slow lines, and from telephones: what is sent arrives once, and whole."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.support.browsers import FINGER, connected, message, say
from tests.support.executable import Campfire
from tests.support.house import House, box
from tests.support.lines import Line
from tests.support.studio import encoded, opened, painted

MEGABYTE = 1024 * 1024
# One whole file of the largest size over a line of ten megabytes in a second takes a minute:
# for somebody who sets these by hand, and waits.
SIZE = int(os.environ.get("SLOW_FILE_MEGABYTES", "12")) * MEGABYTE
SPEED = int(os.environ.get("SLOW_LINE_MEGABYTES", "6")) * MEGABYTE
ITS_END = SIZE / SPEED * 1000 * 4 + 30_000  # milliseconds


@pytest.fixture(scope="module")
def lined(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[House, Line]]:
    served = Campfire(tmp_path_factory.mktemp("lined"))
    served.start()
    line = Line(served.port, SPEED)
    yield House(served, browser), line
    line.close()
    assert served.stop() == 0


@pytest.fixture
def slow(lined: tuple[House, Line], window: Callable[..., Page]) -> tuple[House, Line]:
    lined[0].window = window
    return lined


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_large_file_whose_line_is_lost_begins_again_and_is_one_message(
    slow: tuple[House, Line], tmp_path: Path
) -> None:
    house, line = slow
    room, other = house.room(name="Folder"), house.room(name="Elsewhere")
    file = tmp_path / "museum.mov.zip"
    with file.open("wb") as written:
        for _ in range(SIZE // MEGABYTE):
            written.write(os.urandom(MEGABYTE))
    maya = house.sit("Maya", line.url + room)
    maya.locator("#composer input[type=file]").set_input_files(file)
    line.losing_at = line.gone + SIZE // 2
    maya.get_by_role("button", name="Send message").click()
    expect(maya.locator(".message--retrying")).to_have_count(1, timeout=ITS_END)
    assert line.is_lost
    going = maya.get_by_role("progressbar", name=file.name)
    expect(going).to_contain_text("waiting")
    line.mend()
    expect(going).to_contain_text("%", timeout=ITS_END)
    # She looks into another room meanwhile.
    maya.get_by_role("link", name="Elsewhere").click()
    connected(maya)
    say(maya, "How is it going here?")
    expect(message(maya, "How is it").locator(".message__permalink")).to_be_attached()
    maya.get_by_role("link", name="Folder").click()
    stored = maya.get_by_role("link", name=f"Download {file.name}")
    expect(stored).to_be_visible(timeout=ITS_END)

    assert len(line.ids) >= 2
    assert len(set(line.ids)) == 1
    found = house.ask("Maya", "GET", f"/api{room}/messages")["messages"]
    assert [(each["client_message_id"], each["attachment"]["byte_size"]) for each in found] == [
        (line.ids[0], SIZE)
    ]
    assert house.ask("Maya", "GET", f"/api{other}/messages")["messages"]
    with maya.expect_download(timeout=ITS_END) as download:
        stored.click()
    assert digest(download.value.path()) == digest(file)


SHARING = """() => {
  navigator.canShare = () => true
  navigator.share = async ({files: [file]}) => { window.shared = [file.name, file.type] }
}"""


def test_a_photo_goes_from_a_phone_to_a_desk(slow: tuple[House, Line]) -> None:
    house, _ = slow
    room = house.room()
    maya, jonas = house.sit("Maya", room, **FINGER), house.sit("Jonas", room)
    jonas.evaluate(SHARING)
    photo = painted(1200, 900)
    notes = photo.getexif()
    notes[0x0112] = 6  # held upright
    notes[0x010F] = "A telephone of Maya's"
    data = encoded(photo, "JPEG", exif=notes)
    with maya.expect_file_chooser() as chooser:
        maya.get_by_role("button", name="Attach files").tap()
    chooser.value.set_files(FilePayload(name="harbour.jpg", mimeType="image/jpeg", buffer=data))
    expect(maya.locator(".composer__file img")).to_be_visible()
    maya.get_by_role("button", name="Send message").tap()

    theirs = jonas.get_by_role("link", name="View harbour.jpg")
    expect(theirs.get_by_role("img")).to_have_js_property("naturalWidth", 600)
    assert (round(box(theirs)["width"]), round(box(theirs)["height"])) == (300, 400)
    expect(maya.get_by_role("link", name="View harbour.jpg")).to_be_visible()
    theirs.click()
    viewer = jonas.get_by_role("dialog", name="harbour.jpg, image viewer")
    expect(viewer.get_by_role("img")).to_have_js_property("naturalHeight", 1200)
    viewer.get_by_role("button", name="Share").click()
    jonas.wait_for_function("() => window.shared")
    assert jonas.evaluate("shared") == ["harbour.jpg", "image/jpeg"]
    with jonas.expect_download() as download:
        viewer.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "harbour.jpg"
    kept = download.value.path().read_bytes()
    assert opened(kept).getexif().get(0x0112) == 6
    assert b"telephone of Maya" not in kept
    jonas.mouse.click(5, 400)  # the ground beside the picture
    expect(viewer).to_have_count(0)
    expect(theirs).to_be_focused()

"""Files, pictures and previews where whoever runs Campfire has switched them off."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browsers import composer, message
from tests.support.executable import Campfire
from tests.support.house import House, announced, draft, focused

FILES_OFF = "File sharing is switched off here"


@pytest.fixture(scope="module")
def bare(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    flags = {"FILES_ENABLED": "0", "AVATARS_ENABLED": "0", "OPENGRAPH_ENABLED": "0"}
    served = Campfire(tmp_path_factory.mktemp("bare"), **flags)
    served.start()
    yield House(served, browser)
    assert served.stop() == 0


@pytest.fixture
def off(bare: House, window: Callable[..., Page]) -> House:
    bare.window = window
    return bare


def test_files_are_refused_however_they_come_and_nothing_is_uploaded(off: House) -> None:
    maya = off.sit("Maya", off.room())
    sent: list[str] = []
    maya.on("request", lambda each: sent.append(each.method) if each.post_data else None)
    clip = maya.get_by_role("button", name="Attach a file")
    notice = maya.get_by_role("group", name=FILES_OFF)
    curtain = maya.locator(".dropzone")

    clip.click()
    expect(notice).to_contain_text("Text, links, code and sounds all work.")
    assert focused(maya) == FILES_OFF
    maya.keyboard.press("Escape")
    expect(notice).to_have_count(0)
    expect(clip).to_be_focused()
    clip.click()
    clip.click()
    expect(notice).to_have_count(0)
    drag_files(maya, "dragenter")
    expect(curtain).to_contain_text("Nothing is uploaded if you let go here.")
    maya.keyboard.press("Escape")
    expect(curtain).to_have_count(0)
    for kind in ("dragenter", "dragover", "drop"):
        drag_files(maya, kind)
    expect(curtain).to_have_count(0)
    expect(notice).to_be_visible()
    notice.get_by_role("button", name="Close").click()
    composer(maya).click()
    paste_file(maya)
    expect(notice).to_be_visible()
    expect(announced(maya)).to_have_text(FILES_OFF)

    assert draft(maya) == ""
    assert sent == []


def test_pictures_logos_and_files_of_bots_say_that_they_are_switched_off(off: House) -> None:
    maya = off.sit("Maya")
    maya.goto("/users/me/profile")
    maya.get_by_role("button", name="Change picture").click()
    expect(maya.get_by_role("group", name="Avatar uploads are switched off here")).to_be_visible()
    maya.goto("/account/edit")
    maya.get_by_role("button", name="Change logo").click()
    expect(maya.get_by_role("group", name=FILES_OFF)).to_be_visible()
    off.ask("Maya", "POST", "/api/account/bots", {"name": "Deploy Bot"})
    maya.goto("/account/bots")

    expect(maya.get_by_label("Post a file to All Talk").first).to_be_disabled()


def test_an_address_has_a_quiet_card_in_place_of_its_preview(off: House) -> None:
    room = off.room()
    off.post("Jonas", room, "https://elsewhere.example/page")
    maya = off.sit("Maya", room)

    card = message(maya, "elsewhere.example").locator(".link-soon")
    expect(card).to_contain_text("Link previews are switched off here")


def drag_files(page: Page, kind: str, target: str = ".messages") -> None:
    """A drag event with a file in it."""
    script = """([kind, target]) => { const data = new DataTransfer()
      data.items.add(new File(['x'], 'plan.pdf', {type: 'application/pdf'}))
      const how = {bubbles: true, cancelable: true, dataTransfer: data}
      document.querySelector(target).dispatchEvent(new DragEvent(kind, how)) }"""
    page.evaluate(script, [kind, target])


def paste_file(page: Page) -> None:
    page.evaluate(
        """() => { const clipboardData = new DataTransfer()
        clipboardData.items.add(new File(['x'], 'plan.png', {type: 'image/png'}))
        const how = {bubbles: true, cancelable: true, clipboardData}
        document.activeElement.dispatchEvent(new ClipboardEvent('paste', how)) }"""
    )

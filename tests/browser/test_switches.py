"""Files, pictures of people and previews, each on or off: their doors, and what is there."""

from itertools import product

import pytest
from playwright.sync_api import Page, expect

from tests.support.browsers import composer, message
from tests.support.looks import Look
from tests.support.posters import paste
from tests.support.seed import URL
from tests.support.states import ACCOUNT, PROFILE, State

SWITCHES = ("FILES_ENABLED", "AVATARS_ENABLED", "OPENGRAPH_ENABLED")


@pytest.mark.parametrize("switches", list(product("01", repeat=3)), ids="".join)
def test_each_switch_shuts_its_own_doors_and_what_is_there_is_shown(
    look: Look, switches: tuple[str, str, str]
) -> None:
    settings = dict(zip(SWITCHES, switches, strict=True))
    files, avatars, pages = (switch == "1" for switch in switches)

    room = look(State(scene="everything", settings=settings))
    for shown in (room.get_by_role("img", name="our-window.png"), room.locator(".og-embed img")):
        expect(shown).to_be_visible()
        expect(shown).not_to_have_js_property("naturalWidth", 0)
    expect(room.get_by_role("link", name="Download museum-contract-final.pdf")).to_be_visible()
    expect(room.locator(".link-soon")).to_have_count(0 if pages else 1)
    assert_asks_for_files(room, "Attach files" if files else "Attach a file", is_on=files)
    assert looks_at(room, "http://127.0.0.1/") is pages

    room.goto(URL + PROFILE)
    assert_asks_for_files(room, "Change picture", is_on=avatars)
    room.goto(URL + ACCOUNT)
    assert_asks_for_files(room, "Change logo", is_on=files)
    room.goto(f"{URL}/account/bots")
    line = room.get_by_label("Post a file to").first
    expect(line).to_be_enabled(enabled=files)


def assert_asks_for_files(page: Page, name: str, *, is_on: bool) -> None:
    """The button opens the dialog for files, or says why it does not."""
    button = page.get_by_role("button", name=name, exact=True)
    if is_on:
        with page.expect_file_chooser():
            button.click()
    else:
        button.click()
        expect(page.get_by_role("group", name="switched off here")).to_be_visible()
        page.keyboard.press("Escape")


def looks_at(page: Page, address: str) -> bool:
    """Whether it asks the server of a pasted address, until that is sent."""
    asked: list[str] = []
    page.on("request", lambda each: asked.append(each.url))
    composer(page).click()
    paste(page, address)
    with page.expect_response(lambda answer: answer.url.endswith("/messages")):
        page.get_by_role("button", name="Send message").click()
    expect(message(page, address)).to_be_visible()
    return any(url.endswith("/api/unfurl_link") for url in asked)

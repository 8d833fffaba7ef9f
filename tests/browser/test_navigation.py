"""Going from page to page: clicks, Back, and what comes late."""

import re
from typing import Literal

import pytest
from playwright.sync_api import Page, Route, expect

from tests.bench.scripts import FIRST_PAINT
from tests.support.browsers import FINGER, composer, connected, hold, message, until
from tests.support.house import House, box, enter
from tests.support.installed import Worker

FADING = """document.getAnimations()
  .filter((each) => each.effect.pseudoElement?.startsWith('::view-transition'))"""
FADES = f"""() => new Promise((resolve) => {{
  const look = () => {{
    const fades = {FADING}
    if (fades.length) resolve(fades.map((each) => each.effect.getTiming().duration))
    else requestAnimationFrame(look)
  }}
  look()
}})"""
# Until then, browsers give every click to the whole document: nothing is drawn.
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"

UNDRAWN = """
window.undrawn = 0
new MutationObserver(() => {
  for (const use of document.querySelectorAll('#root use'))
    if (!document.querySelector(use.getAttribute('href'))) window.undrawn += 1
}).observe(document, {childList: true, subtree: true})
"""


def middle(page: Page, name: str) -> tuple[float, float]:
    at = box(page.get_by_role("link", name=name))
    return at["x"] + at["width"] / 2, at["y"] + at["height"] / 2


def lose_first(page: Page, address: str) -> list[str]:
    """The first request for an address fails; all requests for it, as they come."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            route.abort()
        else:
            route.fallback()

    page.route(address, answer)
    return asked


def test_the_newest_click_wins_however_soon_it_comes(house: House) -> None:
    paths = [house.room(name=f"Click {letter}") for letter in "ABC"]
    maya = house.sit("Maya", paths[0], reduced_motion="no-preference")
    second, third = (middle(maya, f"Click {letter}") for letter in "BC")
    settings = middle(maya, "Account settings")

    maya.mouse.click(*second)
    maya.wait_for_url(f"**{paths[1]}")
    maya.mouse.click(*third)
    expect(maya).to_have_url(re.compile(f"{paths[2]}$"))

    maya.mouse.click(*settings)
    expect(maya.get_by_role("button", name="New link")).to_be_visible()
    back = middle(maya, "Go back")
    maya.go_back()
    expect(composer(maya)).to_be_visible()
    maya.evaluate(DRAWN)
    until(maya, lambda: not maya.evaluate(f"{FADING}.length"))
    maya.evaluate(f"void (window.fades = ({FADES})())")  # begun before: it is soon over
    maya.mouse.click(*settings)
    assert max(maya.evaluate("fades")) <= 120
    maya.mouse.click(*back)  # while it fades
    expect(composer(maya)).to_be_visible()


def test_back_on_a_phone_closes_the_open_sidebar_first(house: House) -> None:
    first, second = house.room(name="Phone one"), house.room(name="Phone two")
    maya = house.sit("Maya", first, **FINGER)
    toggle = maya.locator(".sidebar__toggle")

    toggle.tap()
    expect(toggle).to_have_attribute("aria-expanded", "true")
    maya.go_back()
    expect(toggle).to_have_attribute("aria-expanded", "false")
    expect(maya).to_have_url(re.compile(f"{first}$"))
    toggle.tap()
    maya.get_by_role("link", name="Phone two").tap()
    expect(maya).to_have_url(re.compile(f"{second}$"))
    expect(toggle).to_have_attribute("aria-expanded", "false")
    maya.go_back()
    expect(maya.get_by_role("heading", name="Phone one")).to_be_visible()
    toggle.tap()
    toggle.tap()
    expect(toggle).to_have_attribute("aria-expanded", "false")
    maya.go_forward()
    expect(maya.get_by_role("heading", name="Phone one")).to_be_visible()


def test_go_back_never_leaves_the_app_whatever_happened_before(house: House) -> None:
    room, maya = house.room(name="Behind"), house.sit("Maya")
    maya.goto("about:blank")
    maya.goto(f"/users/{house.ids['Jonas']}")
    back = maya.get_by_role("link", name="Go back")
    maya.route("**/api/boot**", lambda route: route.abort())
    maya.get_by_role("link", name="Campfire home").click()
    expect(maya.get_by_role("alert")).to_be_attached()
    maya.unroute_all()
    back.click()
    expect(maya).to_have_url(re.compile("/rooms/"))

    enter(maya, room)
    house.post("Jonas", room, "Who am I?")
    message(maya, "Who am I?").get_by_role("link", name="Jonas Weber, profile").click()
    expect(back).to_be_visible()
    maya.reload()
    back.click()
    expect(maya).to_have_url(re.compile(f"{room}$"))
    assert maya.evaluate("history.state") is None  # it is the entry that was there before


def test_what_could_not_be_fetched_ahead_or_later_is_asked_for_again(house: House) -> None:
    room, other = house.room(name="Here"), house.room(name="There")
    maya = house.sit("Maya", service_workers="block")
    code = lose_first(maya, "**/highlight.js")
    enter(maya, room)
    house.post("Jonas", room, "<pre>def campfire(): return 1</pre>")
    expect(maya.locator("pre .hljs-keyword").first).to_have_text("def")
    assert len(code) == 2

    ahead = lose_first(maya, "**/api/boot?*")
    maya.get_by_role("link", name="There").hover()
    until(maya, lambda: len(ahead) == 1)
    maya.get_by_role("link", name="There").click()
    expect(maya).to_have_url(re.compile(f"{other}$"))
    assert len(ahead) > 1


def test_the_first_paint_has_its_icons_and_a_lost_sheet_of_them_is_asked_for_again(
    house: House,
) -> None:
    maya = house.sit("Maya", service_workers="block")
    maya.add_init_script(UNDRAWN)
    enter(maya, house.room(name="Drawn"))
    expect(maya.locator(".composer__send-btn use")).to_have_count(1)
    assert maya.evaluate("window.undrawn") == 0

    sheet = lose_first(maya, "**/icons.svg")
    maya.reload()
    expect(maya.locator("#drawing-search")).to_be_attached()
    assert len(sheet) > 1


def test_the_page_for_no_network_goes_on_by_itself_when_the_server_answers(house: House) -> None:
    maya = house.sit("Maya", room := house.room())
    Worker(maya)
    enter(maya, room)
    maya.context.set_offline(True)
    maya.goto(room)
    expect(maya.get_by_role("heading")).to_contain_text("You're offline.")
    maya.context.set_offline(False)
    expect(composer(maya)).to_be_visible()
    connected(maya)


def test_until_the_client_comes_the_page_draws_the_frame_of_the_room_and_words_after_a_while(
    house: House,
) -> None:
    room = house.room(name="Still coming")
    maya = house.sit("Maya", service_workers="block")
    waiting = hold(maya, "**/app.js")
    maya.goto(room, wait_until="commit")
    late = maya.get_by_text("Campfire is taking long to arrive.")
    expect(maya.get_by_role("heading", name="Still coming")).to_be_visible()
    frame = [box(maya.locator(place)) for place in (".room-title", ".composer__input")]
    expect(late).to_be_hidden()
    until(maya, lambda: len(waiting) == 1)
    expect(late).to_be_visible()

    waiting[0].continue_()
    expect(composer(maya)).to_be_visible()
    expect(late).to_have_count(0)
    title = box(maya.locator(".room-title"))
    assert (title["x"], title["y"]) == (frame[0]["x"], frame[0]["y"])
    assert box(maya.locator(".composer__input"))["height"] == frame[1]["height"]


STYLED = "!!document.querySelector('link[rel=stylesheet]').sheet"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_frame_is_painted_before_the_styles_come_and_looks_the_same_with_them(
    house: House, scheme: Literal["light", "dark"], width: int
) -> None:
    room = house.room(name="Styled already")
    maya = house.sit("Maya", service_workers="block", color_scheme=scheme)
    maya.set_viewport_size({"width": width, "height": 700})
    styles, client = hold(maya, "**/app.css"), hold(maya, "**/app.js")
    maya.goto(room, wait_until="commit")
    expect(maya.get_by_role("heading", name="Styled already")).to_be_visible()
    until(maya, lambda: len(styles) == len(client) == 1)
    until(maya, lambda: maya.evaluate(FIRST_PAINT))
    assert not maya.evaluate(STYLED)
    before = maya.screenshot()

    styles[0].continue_()
    until(maya, lambda: maya.evaluate(STYLED))
    assert maya.screenshot() == before
    client[0].continue_()
    expect(composer(maya)).to_be_visible()


def test_without_javascript_there_are_words_instead_of_white(house: House) -> None:
    maya = house.sit("Maya", java_script_enabled=False)
    for path in (house.room(), "/session/new", "/account/edit"):
        maya.goto(path)
        expect(maya.locator("noscript p")).to_be_visible()  # which no text is looked for in
    expect(maya.get_by_text("Campfire is taking long")).to_be_hidden()

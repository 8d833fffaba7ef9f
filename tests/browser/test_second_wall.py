"""The client's own sanitizer, in a browser whose server lets everything through."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browsers import message
from tests.support.house import House
from tests.support.writing import VECTORS

# What Chromium is made to be without: `purify.js` then takes its place.
BROWSERS = {"has a sanitizer of its own": "", "has none": "delete Element.prototype.setHTML"}
BOOT = re.compile(r'(<script type="application/json" id="boot">)(.*?)(</script>)', re.DOTALL)
# What can run or load, among the words of messages.
DANGERS = """() => [...document.querySelectorAll('.trix-content *')].filter((each) =>
  each.matches('script, style, link, meta, base, iframe, frame, object, embed, svg, math, form') ||
  [...each.attributes].some(({name, value}) =>
    name.startsWith('on') || ['style', 'srcdoc'].includes(name) ||
    /^[\\x00-\\x20]*(javascript|vbscript|data):/i.test(value)) ||
  (each.src && new URL(each.src).origin !== location.origin)).map((each) => each.outerHTML)"""


def said(bodies: list[str], like: dict[str, Any]) -> list[dict[str, Any]]:
    """A message for each body, as the server would tell it."""
    return [
        {**like, "id": like["id"] + n, "client_message_id": f"told-{n}", "body_html": body}
        for n, body in enumerate(bodies)
    ]


def without_first_wall(page: Page, room: str, bodies: list[str]) -> None:
    """Makes the room's page hold these messages, exactly as they are given."""

    def told(route: Route) -> None:
        answer = route.fetch()

        def broken(found: re.Match[str]) -> str:
            boot = json.loads(found[2])
            page = boot["data"]["messages"]
            page["messages"] = said(bodies, page["messages"][0])
            return found[1] + json.dumps(boot).replace("<", "\\u003c") + found[3]

        route.fulfill(response=answer, body=BOOT.sub(broken, answer.text()))

    page.route(f"**{room}", told)


@pytest.mark.parametrize("kind", BROWSERS)
def test_nothing_runs_in_a_browser_even_when_the_server_lets_it_through(
    house: House, kind: str
) -> None:
    room = house.room()
    house.post("Jonas", room, "like this")
    maya = house.sit("Maya")
    maya.add_init_script(BROWSERS[kind])
    maya.add_init_script("alert = () => { document.title = 'It ran.' }")
    without_first_wall(maya, room, [*VECTORS, "<b>still</b> said <a href='/rooms/1'>here</a>"])

    maya.goto(room)

    expect(message(maya, "still said").locator("b")).to_have_text("still")
    expect(message(maya, "still said").locator("a", has_text="here")).to_be_visible()
    expect(maya.locator("[id^=message_told-]")).to_have_count(len(VECTORS) + 1)
    assert maya.evaluate(DANGERS) == []
    assert maya.title() != "It ran."


def test_a_browser_with_a_sanitizer_shows_messages_before_any_other_comes(house: House) -> None:
    room = house.room()
    house.post("Jonas", room, "<b>bold</b> words")
    for kind, script in BROWSERS.items():
        maya = house.sit("Maya")
        maya.add_init_script(script)
        maya.route("**/purify.js", lambda route: route.abort())
        maya.goto(room)

        # Where there is none at all, the words are there without their markup.
        shown = message(maya, "bold words")
        expect(shown).to_be_visible()
        expect(shown.locator("b")).to_have_count(0 if kind == "has none" else 1)

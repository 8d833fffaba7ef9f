"""Pages that people link to: pasted, shown, taken out again; and nobody's browser goes there."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect

from tests.support.browsers import PAINTED, choose, composer, message
from tests.support.executable import Campfire
from tests.support.house import House, enter
from tests.support.posters import paste
from tests.support.sites import picture, tells

PLACE = ("127.93.18.4", 8080)  # of the few ports where pages are asked for
HARBOUR = f"http://{PLACE[0]}:{PLACE[1]}/harbour"
TITLE = "A short history of the printed poster"
WORDS = "How four colours and a flat stone changed every high street in a single generation."


class Sites(ThreadingHTTPServer):
    """Two pages, and when they may be told."""

    def __init__(self) -> None:
        super().__init__(PLACE, _Answers)
        self.may_tell = threading.Event()
        self.may_tell.set()
        self.asked: list[str] = []


class _Answers(BaseHTTPRequestHandler):
    server: Sites

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.may_tell.wait(30)
        is_picture = self.path == "/poster.png"
        body = picture() if is_picture else b""
        if self.path.startswith("/harbour"):
            body = tells(TITLE, description=WORDS, image="/poster.png").encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "image/png" if is_picture else "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    with Sites() as served:
        threading.Thread(target=served.serve_forever).start()
        yield served
        served.may_tell.set()
        served.shutdown()


@pytest.fixture(scope="module")
def street(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    served = Campfire(tmp_path_factory.mktemp("street"), ALLOW_PRIVATE_PREVIEWS="1")
    served.start()
    yield House(served, browser)
    assert served.stop() == 0


@pytest.fixture
def town(street: House, window: Callable[..., Page], sites: Sites) -> House:
    street.window = window
    sites.may_tell.set()
    return street


def cards(within: Page | Locator) -> Locator:
    return within.locator(".og-embed")


def elsewhere(page: Page, house: House) -> list[str]:
    """Requests that go to anybody else, from now on."""
    gone: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith(house.url):
            gone.append(request.url)

    page.on("request", note)
    return gone


def test_a_pasted_address_shows_its_page_and_alone_it_is_the_page(town: House) -> None:
    room = town.room()
    maya, jonas = town.sit("Maya", room), town.sit("Jonas", room)
    gone = [elsewhere(page, town) for page in (maya, jonas)]
    composer(maya).click()

    paste(maya, HARBOUR)
    card = cards(composer(maya))
    expect(card.get_by_role("link", name=TITLE)).to_be_visible()
    expect(card.locator("img")).to_have_js_property("naturalWidth", 640)
    maya.keyboard.press("Enter")

    for page in (maya, jonas):
        shown = page.locator(".message:not([data-outgoing])").filter(has_text=TITLE)
        link = cards(shown).get_by_role("link", name=TITLE)
        expect(link).to_have_attribute("href", HARBOUR)
        expect(link).to_have_attribute("target", "_blank")
        expect(cards(shown)).to_contain_text(WORDS)
        expect(cards(shown)).to_contain_text(PLACE[0])
        assert shown.get_by_role("link", name=HARBOUR).count() == 0
        box, text = cards(shown).bounding_box(), link.bounding_box()
        assert box
        assert text
        beside = maya.evaluate(
            "([x, y]) => document.elementFromPoint(x, y)?.textContent",
            [box["x"] + box["width"] - 4, box["y"] + box["height"] - 4],
        )
        assert page is not maya or beside == TITLE  # all of the card is the link
    assert gone == [[], []]


def test_in_the_middle_of_words_the_card_follows_the_address_and_the_caret_stays(
    town: House,
) -> None:
    maya = town.sit("Maya", town.room())
    composer(maya).click()
    maya.keyboard.type("See  tomorrow")
    maya.evaluate(PAINTED)  # Trix puts the caret once more where it was
    maya.evaluate("document.querySelector('trix-editor').editor.setSelectedRange(4)")

    paste(maya, HARBOUR)
    expect(cards(composer(maya))).to_have_count(1)
    maya.keyboard.type("!")

    editor = composer(maya)
    before, _, after = editor.inner_text().partition(HARBOUR)
    assert before == "See "
    assert after.split()[-1] in ("!tomorrow", "tomorrow")
    assert WORDS in after
    maya.keyboard.press("ControlOrMeta+z")
    maya.keyboard.press("ControlOrMeta+z")
    expect(cards(editor)).to_have_count(0)
    expect(editor).to_contain_text(HARBOUR)


def test_the_card_goes_by_its_button_and_the_words_are_sent_without_it(town: House) -> None:
    maya = town.sit("Maya", town.room())
    composer(maya).click()
    paste(maya, HARBOUR)
    cards(composer(maya)).click()

    maya.get_by_role("button", name="Remove preview").click()
    expect(cards(composer(maya))).to_have_count(0)
    composer(maya).click()
    maya.keyboard.press("Enter")

    shown = message(maya, HARBOUR)
    expect(shown).to_be_visible()
    expect(cards(shown)).to_have_count(0)


def test_what_was_sent_or_taken_away_before_the_answer_gets_no_card(
    town: House, sites: Sites
) -> None:
    maya = town.sit("Maya", town.room())
    composer(maya).click()
    sites.may_tell.clear()

    with maya.expect_response("**/api/unfurl_link") as told:
        paste(maya, f"{HARBOUR}?sent")
        maya.keyboard.press("Enter")
        expect(message(maya, f"{HARBOUR}?sent")).to_be_visible()
        sites.may_tell.set()
    assert told.value.status == 200
    sites.may_tell.clear()
    with maya.expect_response("**/api/unfurl_link") as told:
        paste(maya, f"{HARBOUR}?gone")
        maya.keyboard.press("ControlOrMeta+a")
        maya.keyboard.press("Backspace")
        maya.keyboard.type("other words")
        sites.may_tell.set()
    assert told.value.status == 200
    maya.keyboard.press("Enter")

    expect(message(maya, "other words")).to_be_visible()
    expect(cards(maya)).to_have_count(0)


def test_a_typed_address_asks_for_nothing(town: House, sites: Sites) -> None:
    maya = town.sit("Maya", town.room())
    composer(maya).click()

    maya.keyboard.type(f"{HARBOUR}?typed ")
    maya.keyboard.press("Enter")

    expect(message(maya, f"{HARBOUR}?typed")).to_be_visible()
    assert [path for path in sites.asked if "typed" in path] == []


def test_an_edited_message_keeps_its_card_or_loses_it(town: House) -> None:
    room = town.room()
    maya, jonas = town.sit("Maya", room), town.sit("Jonas", room)
    composer(maya).click()
    paste(maya, HARBOUR)
    expect(cards(composer(maya))).to_have_count(1)
    maya.keyboard.press("Enter")
    expect(cards(jonas)).to_have_count(1)

    composer(maya).click()
    maya.keyboard.press("ArrowUp")
    editor = maya.get_by_role("textbox", name="Edit message")
    expect(editor).to_contain_text(HARBOUR)
    expect(cards(editor)).to_have_count(1)
    maya.keyboard.type(" and more")
    maya.keyboard.press("ControlOrMeta+Enter")
    expect(message(jonas, "and more")).to_contain_text(HARBOUR)
    expect(cards(message(jonas, "and more"))).to_have_count(1)
    composer(maya).click()
    with maya.expect_response("**edit=1"):
        maya.keyboard.press("ArrowUp")
    cards(editor).click()
    maya.get_by_role("button", name="Remove preview").click()
    editor.press("ControlOrMeta+Enter")

    expect(cards(jonas)).to_have_count(0)
    expect(message(jonas, "and more")).to_contain_text(HARBOUR)


def test_a_reply_quotes_the_words_or_the_address_and_no_card(town: House) -> None:
    maya = town.sit("Maya", town.room())
    composer(maya).click()
    paste(maya, HARBOUR)
    expect(cards(composer(maya))).to_have_count(1)
    maya.keyboard.press("Enter")
    expect(cards(message(maya, TITLE))).to_be_visible()

    choose(maya, TITLE, "Reply")

    expect(composer(maya).locator("blockquote")).to_have_text(HARBOUR)
    expect(cards(composer(maya))).to_have_count(0)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_card_has_its_picture_beside_the_words_or_under_them(town: House, width: int) -> None:
    room = town.room()
    maya = town.sit("Maya", viewport={"width": width, "height": 800})
    enter(maya, room)
    composer(maya).click()
    paste(maya, HARBOUR)
    expect(cards(composer(maya))).to_have_count(1)
    maya.get_by_role("button", name="Send message").click()
    image, words = (cards(maya).locator(f".og-embed__{part}") for part in ("image", "content"))
    expect(image.locator("img")).to_have_js_property("naturalWidth", 640)

    picture_box, words_box = image.bounding_box(), words.bounding_box()

    assert picture_box
    assert words_box
    assert abs(picture_box["width"] / picture_box["height"] - 16 / 9) < 0.02
    if width == 1280:
        assert picture_box["width"] == pytest.approx(192, abs=1)
        assert picture_box["x"] >= words_box["x"] + words_box["width"]
    else:
        assert picture_box["y"] >= words_box["y"] + words_box["height"]

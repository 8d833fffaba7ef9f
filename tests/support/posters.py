"""Pages that the studio's people link to, and the pictures on its walls."""

import json
from dataclasses import dataclass
from html import escape
from itertools import starmap

from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from campfire import PREVIEW_TYPE
from tests.support.browsers import composer
from tests.support.studio import encoded

RED, OCHRE, SLATE, SAND, MOSS = "#b5372c", "#e0a338", "#34506b", "#e6dcc6", "#5f7a4f"


def poster(width: int, height: int, ground: str, disc: str, block: str) -> Image.Image:
    """A disc over a block, which is all that a poster needs."""
    picture = Image.new("RGB", (width, height), ground)
    draw, unit = ImageDraw.Draw(picture), min(width, height) / 10
    x, y = width / 2, height / 2
    draw.rectangle((x - unit, y - unit, x + 4 * unit, y + 4 * unit), fill=block)
    draw.ellipse((x - 4 * unit, y - 4 * unit, x + unit, y + unit), fill=disc)
    return picture


def window() -> bytes:
    """Three of them behind glass, shown 300 pixels wide."""
    picture = Image.new("RGB", (600, 280), "#2f2a26")
    ImageDraw.Draw(picture).rectangle((16, 16, 584, 240), fill="#f3ede1")
    colours = ((RED, SAND, SLATE), (SAND, OCHRE, MOSS), (SLATE, RED, OCHRE))
    sheets = starmap(poster, ((140, 190, *each) for each in colours))
    for place, sheet in enumerate(sheets):
        picture.paste(sheet, (50 + 180 * place, 33))
    return encoded(picture, "PNG")


@dataclass(frozen=True)
class LinkedPage:
    """A page as its site tells of it."""

    url: str
    title: str
    description: str
    picture: Image.Image
    is_portrait: bool = False

    def figure(self, picture: str) -> str:
        """As an editor spells it that was told of it, with the address of its picture."""
        told = {"contentType": PREVIEW_TYPE, "href": self.url, "url": picture,
                "filename": self.title, "caption": self.description}  # fmt: skip
        return f'<figure data-trix-attachment="{escape(json.dumps(told))}"></figure>'


PAGES = {
    "history": LinkedPage(
        "https://posters.example/history",
        "A short history of the printed poster",
        "How four colours, a flat stone and a lot of patience changed every high street in a"
        " single generation.",
        poster(640, 360, SAND, RED, SLATE),
    ),
    "post": LinkedPage(
        "https://x.com/museum/status/12",
        "Museum of Print (@museum)",
        "Doors open at eleven. Bring the largest portfolio case that you can carry.",
        poster(400, 400, OCHRE, SLATE, RED),
        is_portrait=True,
    ),
}


def paste(page: Page, text: str) -> None:
    """Text from the clipboard, where the caret is."""
    page.evaluate(
        """(text) => { const clipboardData = new DataTransfer()
        clipboardData.setData('text/plain', text)
        const how = {bubbles: true, cancelable: true, clipboardData}
        document.activeElement.dispatchEvent(new ClipboardEvent('paste', how)) }""",
        text,
    )


def paste_address(page: Page) -> None:
    """One whose page the server tells of."""
    linked, image = PAGES["history"], "/previews/posterposterposterposter"
    told = {"title": linked.title, "url": linked.url, "description": linked.description,
            "image": image, "image_width": 640, "image_height": 360, "portrait": False}  # fmt: skip
    drawn = encoded(linked.picture, "PNG")
    page.route(f"**{image}", lambda route: route.fulfill(body=drawn, content_type="image/png"))
    page.route("**/api/unfurl_link", lambda route: route.fulfill(json=told))
    composer(page).click()
    paste(page, linked.url)
    composer(page).locator(".og-embed").click()
    expect(page.get_by_role("button", name="Remove preview")).to_be_visible()

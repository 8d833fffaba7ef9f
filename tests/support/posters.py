"""A page that the studio's people link to, as their screens show it."""

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from campfire import PREVIEW_TYPE
from tests.support.browsers import call, composer
from tests.support.seed import ALL_TALK

PICTURE = Path(__file__).resolve().parents[1] / "pictures" / "room--desktop-light.png"
POSTER = {
    "url": "https://posters.example/history", "title": "A short history of the printed poster",
    "image": "/previews/posterposterposterposter", "image_width": 640, "image_height": 360,
    "description": "How four colours, a flat stone and a lot of patience changed every high street"
    " in a single generation.", "portrait": False,
}  # fmt: skip
PREVIEWS = """
INSERT INTO blobs (key, byte_size, sha256, content_type, created_at)
VALUES ('posterposterposterposter', 9, zeroblob(32), 'image/png', 1);
INSERT INTO preview_pictures (blob_id, width, height, fetched_at)
SELECT id, 640, 360, 1 FROM blobs WHERE key = 'posterposterposterposter';
"""


def show_pages(page: Page) -> None:
    """One beside words and one by itself."""
    page.route("**/previews/*", lambda route: route.fulfill(path=PICTURE))
    told = {"contentType": f"{PREVIEW_TYPE}", "href": POSTER["url"], "url": POSTER["image"],
            "filename": POSTER["title"], "caption": POSTER["description"]}  # fmt: skip
    card = f"<figure data-trix-attachment='{json.dumps(told)}'></figure>"
    path = f"/api/rooms/{ALL_TALK}/messages"
    call(page, "POST", path, {"body": f"Worth ten minutes of any lunch break {card}"})
    call(page, "POST", path, {"body": f'<a href="{POSTER["url"]}">{POSTER["url"]}</a>{card}'})
    expect(page.locator(".og-embed img").last).to_have_js_property("complete", value=True)
    page.evaluate("document.activeElement.blur()")


def paste_address(page: Page) -> None:
    page.route("**/previews/*", lambda route: route.fulfill(path=PICTURE))
    page.route("**/api/unfurl_link", lambda route: route.fulfill(json=POSTER))
    composer(page).click()
    page.evaluate(
        """(text) => { const clipboardData = new DataTransfer()
        clipboardData.setData('text/plain', text)
        const how = {bubbles: true, cancelable: true, clipboardData}
        document.activeElement.dispatchEvent(new ClipboardEvent('paste', how)) }""",
        POSTER["url"],
    )
    composer(page).locator(".og-embed").click()
    expect(page.get_by_role("button", name="Remove preview")).to_be_visible()

"""What somebody does who writes with marks and finds keys."""

from playwright.sync_api import Page, expect

from tests.support.browsers import composer


def write_marks(page: Page) -> None:
    """As somebody who has always written so: bold, code, a list, a block of code."""
    composer(page).click()
    expect(page.locator("trix-editor")).to_be_focused()
    page.keyboard.type("**Proofs** with `make`:")
    for line in ("- museum", "posters", ""):
        page.keyboard.press("Shift+Enter")
        page.keyboard.type(line)
    page.keyboard.press("Shift+Enter")
    for line in ("```bash", "make proofs"):
        page.keyboard.type(line)
        page.keyboard.press("Enter")
    page.keyboard.press("Backspace")
    expect(page.locator("trix-editor pre")).to_have_text("make proofs")


def list_keys(page: Page) -> None:
    page.keyboard.press("Control+/")
    expect(page.get_by_role("dialog", name="Keys and marks")).to_be_visible()

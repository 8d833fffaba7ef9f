"""How Campfire looks: its measures, its pictures, its moods, and that everybody can use it."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.seed import ALL_TALK, Look, Studio
from tests.states import JOIN, STATES, State

TOLERANCE = 1.5

# x, y, width and height; None where the reference leaves it to the text.
Box = tuple[float | None, float | None, float | None, float | None]


def shown(look: Look, studio: Studio, state: State, size: str, **more: object) -> Page:
    """The page in this state, at rest."""
    studio.play(state.scene, changes=state.changes, fresh=state.fresh)
    options = {**state.options, **more, "notifications": state.notifications}
    page = look(state.path, size=size, user=None if state.fresh else state.user, **options)
    expect(page.locator("h1").first).to_be_attached()
    if page.locator(".composer__editor").count():
        expect(page.locator("trix-editor")).to_be_attached()
    if state.act:
        state.act(page)
    return page


# --- Measures -------------------------------------------------------------------------------------


DESKTOP_ROOM: dict[str, Box] = {
    "#main-content": (64, 0, 883.2, 800),
    "#sidebar": (947.2, 0, 332.8, 800),
    ".room-title": (34.6, 16, 89.9, 42.4),
    "#nav a.btn": (129, 16, 42.4, 42.4),
    "#nav button.btn": (175.9, 16, 42.4, 42.4),
    ".messages": (65, 0, 881.2, 710),
    "#footer": (65, 710, 881.2, 90),
    ".message:not(.message--me) .message__avatar": (86.8, None, 31.5, 31.5),
    ".message:not(.message--me) .message__body-content": (110.7, None, None, None),
    ".message--me .message__avatar": (893, None, 31.5, 31.5),
    ".message--threaded .message__body-content": (None, None, None, 64.3),
    ".message:has(.boost) .message__body-content": (None, None, None, 96.3),
    ".message__day-separator time": (439, None, 133.3, 34.8),
    ".composer__context-btn": (86.8, 733.6, 42.4, 42.4),
    ".composer__input": (138.2, 734, 786.3, 42),
    ".composer__input-hint .icon": (152, 745, 22, 22),
    "trix-editor": (182.9, 743, 608, 24),
    ".composer__attachment-btn": (799.9, 738.2, 33.9, 33.9),
    ".composer__rich-text-btn": (842.8, 738.2, 33.9, 33.9),
    ".composer__send-btn": (885.7, 738.2, 33.9, 33.9),
    ".directs": (947.2, 0, 332.8, 88.5),
    ".direct__new": (960.7, 16, 45, 45),
    ".avatar__group": (None, None, 45, None),
    ".room": (960.7, 96.5, None, 40.4),
    ".room.unread": (960.7, 144.8, None, 40.4),
    ".rooms__new-btn": (960.7, None, 58, 38),
    ".sidebar__tools > :first-child": (1172.8, 733.6, 42.4, 42.4),
    ".sidebar__tools > :last-child": (1224.1, 733.6, 42.4, 42.4),
    ".corner-logo svg": (12.8, 734, 38.4, None),
}
PHONE_ROOM: dict[str, Box] = {
    "#nav": (0, 0, 390, 58.4),
    ".room-title": (9, 8, None, 42.4),
    "#nav a.btn": (103.4, 8, 42.4, 42.4),
    "#nav button.btn": (150.3, 8, 42.4, 42.4),
    ".sidebar__toggle": (338.4, 8, 42.4, 42.4),
    "#footer": (0, 754, 390, 90),
    ".message:not(.message--me) .message__avatar": (12.9, None, 31.5, 31.5),
    ".message:not(.message--me) .message__body-content": (36.8, None, 340.3, None),
    ".message__options-btn": (None, None, 33.9, 22),
    ".composer__context-btn": (12.9, 777.6, 42.4, 42.4),
    ".composer__input": (64.3, 778, 312.8, 42),
    ".composer__attachment-btn": (295.5, 782.2, 33.9, 33.9),
    ".composer__send-btn": (338.4, 782.2, 33.9, 33.9),
}
PANELS: dict[str, dict[str, Box]] = {
    "my-profile": {".panel": (415.2, 50, 449.6, None)},
    "bots": {".panel": (280.3, 50, 719.4, None)},
    "sign-in": {
        ".account-logo": (586, 83, 107.9, 107.9),
        "label.input": (501.6, 254.2, 328.2, 55.7),
        "[type=submit]": (610.3, 397.7, 59.4, 59.4),
    },
    "first-run": {
        ".nametag": (418.2, 152.2, 443.7, None),
        ".nametag__inner": (451.2, 217.2, 377.7, None),
        ".nametag__lanyard": (555.5, -38, 169.1, 233.3),
    },
    "room-menu": {
        ".message__actions-menu": (None, None, 107, 164.5),
        ".quick-boosts > :first-child": (None, None, 33.9, 33.9),
    },
    "notifications-help": {"dialog": (415.2, None, 449.6, None)},
}


def strays(page: Page, boxes: dict[str, Box]) -> list[str]:
    """The boxes that are not where they should be."""
    found = []
    for selector, wanted in boxes.items():
        box = page.locator(selector).first.bounding_box()
        assert box, selector
        measured = [round(box[side], 1) for side in ("x", "y", "width", "height")]
        pairs = zip(measured, wanted, strict=True)
        if any(want is not None and abs(is_ - want) > TOLERANCE for is_, want in pairs):
            found.append(f"{selector}: {measured}, not {wanted}")
    return found


def right(of: Locator) -> float:
    box = of.bounding_box()
    assert box
    return float(box["x"] + box["width"])


def test_the_room_on_the_desktop_has_the_measures_of_the_reference(
    look: Look, studio: Studio
) -> None:
    page = shown(look, studio, STATES["room"], "desktop")

    assert strays(page, DESKTOP_ROOM) == []
    own = page.locator(".message--me .message__body-content").first
    assert right(own) == pytest.approx(900.5, abs=TOLERANCE)


def test_the_room_on_the_phone_has_the_measures_of_the_reference(
    look: Look, studio: Studio
) -> None:
    page = shown(look, studio, STATES["room"], "phone")

    assert strays(page, PHONE_ROOM) == []
    own = page.locator(".message--me .message__body-content").first
    assert right(own) == pytest.approx(353.2, abs=TOLERANCE)
    padding = "element => getComputedStyle(element).paddingBlockStart"
    assert page.locator(".messages").evaluate(padding) == "66px"


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_or_dialog_has_the_measures_of_the_reference(
    look: Look, studio: Studio, name: str
) -> None:
    page = shown(look, studio, STATES[name], "desktop")

    assert strays(page, PANELS[name]) == []


def test_a_panel_fills_the_phone_and_the_open_sidebar_keeps_its_tools_at_the_corner(
    look: Look, studio: Studio
) -> None:
    panel = shown(look, studio, STATES["my-profile"], "phone").locator(".panel")
    box = panel.bounding_box()
    assert box
    assert (box["x"], box["width"]) == (0, 390)
    assert panel.evaluate("element => getComputedStyle(element).padding") == "16px"

    sidebar = shown(look, studio, STATES["sidebar-open"], "phone")

    tools: dict[str, Box] = {
        ".sidebar__tools > :first-child": (282.8, 777.6, 42.4, 42.4),
        ".sidebar__tools > :last-child": (334.1, 777.6, 42.4, 42.4),
    }
    expect(sidebar.locator("#sidebar")).to_have_class("sidebar open")
    sidebar.evaluate("Promise.all(document.getAnimations().map((each) => each.finished))")
    assert strays(sidebar, tools) == []


def test_messages_of_one_group_stand_close_and_groups_apart(look: Look, studio: Studio) -> None:
    page = shown(look, studio, State(scene="posters"), "desktop")

    gaps = page.locator(".message__body-content").evaluate_all("""(bubbles) => {
      const boxes = bubbles.map((bubble) => bubble.getBoundingClientRect())
      return boxes.slice(1).map((box, index) => box.top - boxes[index].bottom)
    }""")

    day, in_group, between = gaps[0], gaps[1], gaps[3]
    assert (in_group, between) == pytest.approx((2, 24.5), abs=TOLERANCE)
    assert day == pytest.approx(93, abs=TOLERANCE)

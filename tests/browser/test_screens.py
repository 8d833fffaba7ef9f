"""How Campfire looks: its measures, its pictures, its moods, and that everybody can use it."""

import base64
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.bench.client import FAST, WORKLOADS, World, opened, row
from tests.support.browsers import ROOT, SETTLED
from tests.support.looks import SEEN, SIZES, Look, examined
from tests.support.states import STATES, State

TOLERANCE = 1.5

# x, y, width and height; None where the reference leaves it to the text.
Box = tuple[float | None, float | None, float | None, float | None]


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
PANEL_BOXES: dict[str, dict[str, Box]] = {
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
        ".message__actions-menu": (None, None, 107, 198.2),  # a row more: it can be kept unread
        ".quick-boosts > :first-child": (None, None, 33.9, 33.9),
    },
    "notifications-help": {"dialog": (415.2, None, 449.6, None)},
    "composer-files": {
        ".composer__file-thumbnail": (138.2, 599, 135, 108),
        "li + li .composer__file-thumbnail": (282.2, 599, 135, 108),
        ".composer__file-caption .icon": (255.5, 708, 16, 16),
    },
    "room-upload": {
        ".message--me .message__body-content": (593, 441, 308, 62),
        ".attachment--going .icon": (606.3, None, 22.4, 22.4),
        ".attachment--going .icon + span": (638, None, None, None),
    },
    "room-image": {
        ".message__body-content": (111, 70, 400, 401),
        ".message__attachment": (112, 112, 398, None),
        ".message--me .message__body-content": (None, None, None, 74),
        ".message--me .message__action-btn": (None, None, 33.9, 33.9),
    },
    "room-embed": {
        ".message__body-content": (111, 70, 691, 231),
        ".og-embed": (124, 140, 665, 142),
        ".og-embed__image": (582, 157, 192, 108),
        ".message--me .message__body-content": (209.5, 325, 691, None),
    },
    "room-portrait": {".og-embed__image": (None, None, 48, 48)},
    "room-lightbox": {
        ".lightbox__btn": (1228.6, 16, 42.4, 42.4),
        ".lightbox__btn--share": (9, 16, 42.4, 42.4),
        ".lightbox__btn--download": (1228.6, 742, 42.4, 42.4),
    },
    "proposal-drop-zone": {".dropzone": (87, 66, 836.9, 643.5)},
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


@pytest.mark.parametrize(
    ("size", "boxes", "end"), [("desktop", DESKTOP_ROOM, 900.5), ("phone", PHONE_ROOM, 353.2)]
)
def test_the_room_has_the_measures_of_the_reference(
    look: Look, size: str, boxes: dict[str, Box], end: float
) -> None:
    page = look("room", size)

    assert strays(page, boxes) == []
    own = page.locator(".message--me .message__body-content").first.bounding_box()
    assert own
    assert own["x"] + own["width"] == pytest.approx(end, abs=TOLERANCE)
    padding = page.locator(".messages").evaluate("list => getComputedStyle(list).paddingBlockStart")
    assert size == "desktop" or padding == "66px"


@pytest.mark.parametrize("name", PANEL_BOXES)
def test_a_panel_or_dialog_has_the_measures_of_the_reference(look: Look, name: str) -> None:
    page = look(name)

    assert strays(page, PANEL_BOXES[name]) == []


def test_a_panel_fills_the_phone_and_the_open_sidebar_keeps_its_tools_at_the_corner(
    look: Look,
) -> None:
    panel = look("my-profile", "phone").locator(".panel")
    box = panel.bounding_box()
    assert box
    assert (box["x"], box["width"]) == (0, 390)
    assert panel.evaluate("element => getComputedStyle(element).padding") == "16px"

    sidebar = look("sidebar-open", "phone")

    tools: dict[str, Box] = {
        ".sidebar__tools > :first-child": (282.8, 777.6, 42.4, 42.4),
        ".sidebar__tools > :last-child": (334.1, 777.6, 42.4, 42.4),
    }
    expect(sidebar.locator("#sidebar")).to_have_class("sidebar open")
    sidebar.evaluate(SETTLED)
    assert strays(sidebar, tools) == []


def test_messages_of_one_group_stand_close_and_groups_apart(look: Look) -> None:
    page = look(State(scene="posters"))

    gaps = page.locator(".message__body-content").evaluate_all("""(bubbles) => {
      const boxes = bubbles.map((bubble) => bubble.getBoundingClientRect())
      return boxes.slice(1).map((box, index) => box.top - boxes[index].bottom)
    }""")

    day, in_group, between = gaps[0], gaps[1], gaps[3]
    assert (in_group, between) == pytest.approx((2, 24.5), abs=TOLERANCE)
    assert day == pytest.approx(93, abs=TOLERANCE)


# --- Pictures -------------------------------------------------------------------------------------

PICTURES = ROOT / "tests" / "pictures"
CLIENT_PICTURES = ROOT / "static_bundle" / "src" / "pictures"
# Which monospaced letters and arrows there are depends on the machine; Roboto is on all of them.
ON_ANY_MACHINE = """
  img { outline: 0 }
  :root { --font-mono: Roboto !important }
  .message__room::before { content: '>' !important }
"""
DRESS = """(css) => {
  const list = document.querySelector('.messages')
  const atEnd = list && list.scrollHeight - list.scrollTop - list.clientHeight < 2
  const sheet = new CSSStyleSheet()
  sheet.replaceSync(css)
  document.adoptedStyleSheets.push(sheet)
  if (atEnd) list.scrollTop = list.scrollHeight
  return devicePixelRatio
}"""
APPROVING = "APPROVE_PICTURES"  # set it, and what the screens show now is what they shall show
MOST_DIFFERENT = 0.002  # those that the manifest shows are reduced to 256 colours afterwards
APPROVED = """
    room--desktop-light room--desktop-dark room--phone-light room-rich--desktop-light
    room-boostform--desktop-light room-menu--desktop-dark room-edit-closed--desktop-light
    search-results--desktop-light account-admin--desktop-light sign-in--desktop-light
    first-run--desktop-light sidebar-open--phone-dark user-profile--phone-light
    room-image--desktop-light room-image--phone-dark room-upload--desktop-dark
    composer-files--desktop-light room-embed--desktop-light room-embed--phone-dark
    composer-embed--desktop-dark room-portrait--phone-light room-lively--desktop-light
    room-lively--phone-light room-left-off--desktop-light room-left-off--phone-dark
    composer-marks--desktop-light keys--desktop-dark search-filtered--phone-light
    switcher--desktop-light room-edited--phone-dark room-emoji--desktop-light
    room-emoji-names--phone-light bot-edit--desktop-light
""".split()
# The share of pixels whose like is nowhere within a pixel of CSS of its place in the other picture:
# what anti-aliasing and rounding move so far, or colour a little otherwise, is the same to the eye.
DIFFERENT = """async ([one, other, reach]) => {
  const decode = async (data) => {
    const image = Object.assign(new Image(), {src: 'data:image/png;base64,' + data})
    await image.decode()
    const canvas = new OffscreenCanvas(image.width, image.height)
    const context = canvas.getContext('2d')
    context.drawImage(image, 0, 0)
    return context.getImageData(0, 0, image.width, image.height)
  }
  const [a, b] = [await decode(one), await decode(other)]
  if (a.width !== b.width || a.height !== b.height) return 1
  const like = (from, at, to, x, y) => {
    if (x < 0 || y < 0 || x >= to.width || y >= to.height) return false
    const there = (y * to.width + x) * 4
    return [0, 1, 2].every((n) => Math.abs(from.data[at + n] - to.data[there + n]) <= 24)
  }
  const steps = Array.from({length: 2 * reach + 1}, (_, n) => n - reach)
  const around = steps.flatMap((x) => steps.map((y) => [x, y]))
  let different = 0
  for (let y = 0; y < a.height; y += 1)
    for (let x = 0; x < a.width; x += 1) {
      const at = (y * a.width + x) * 4
      if (like(a, at, b, x, y)) continue
      const found = (from, to) => around.some(([dx, dy]) => like(from, at, to, x + dx, y + dy))
      if (!found(a, b) || !found(b, a)) different += 1
    }
  return different / (a.width * a.height)
}"""


@pytest.mark.parametrize("picture", APPROVED)
def test_a_screen_looks_as_approved(look: Look, picture: str) -> None:
    name, shown = picture.split("--")
    size, scheme = shown.split("-")
    page = look(name, size, color_scheme=scheme, device_scale_factor=1)
    assert_looks_like(page, PICTURES / f"{picture}.png")


def assert_looks_like(page: Page, file: Path) -> None:
    reach = page.evaluate(DRESS, ON_ANY_MACHINE)
    page.evaluate(SETTLED)
    picture = page.screenshot(animations="disabled", caret="hide")
    if os.environ.get(APPROVING):
        file.write_bytes(picture)

    assert file.exists(), f"nobody has approved this yet: {APPROVING}=1 tests/run {__file__}"
    pair = [base64.b64encode(each).decode() for each in (file.read_bytes(), picture)]
    # What is the same to the bit needs no look, which takes a second.
    part = len({*pair}) > 1 and page.context.new_page().evaluate(DIFFERENT, [*pair, reach])
    assert part <= MOST_DIFFERENT, f"{part:.2%} of {file.name} differ"


@pytest.mark.parametrize(
    ("name", "state", "scheme"),
    [("chat", "room", "light"), ("sidebar", "sidebar-open", "light"), ("dark", "room", "dark")],
)
def test_the_pictures_an_app_store_shows_are_of_this_client(
    look: Look, name: str, state: str, scheme: str
) -> None:
    narrow = {"viewport": {"width": 360, "height": 800}, "device_scale_factor": 3}
    page = look(state, "phone", color_scheme=scheme, **narrow)
    assert_looks_like(page, CLIENT_PICTURES / f"screenshot-{name}.png")


# --- Moods ----------------------------------------------------------------------------------------


def style(page: Page, selector: str, name: str, part: str | None = None) -> str:
    script = "(element, [name, part]) => getComputedStyle(element, part)[name]"
    return str(page.locator(selector).first.evaluate(script, [name, part]))


def test_dark_mode_turns_the_colours_and_nothing_else(look: Look) -> None:
    page = look("room")
    bubble, mentioned = ".message__body-content", ".message--mentioned .message__body-content"
    light = [style(page, each, "backgroundColor") for each in ("body", bubble, mentioned)]
    box = page.locator(bubble).first.bounding_box()

    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.evaluate(SETTLED)

    dark = [style(page, each, "backgroundColor") for each in ("body", bubble, mentioned)]
    assert light == ["oklch(1 0 0)", "oklch(0.96 0.005 96)", "oklch(0.51 0.2 31 / 0.1)"]
    assert dark == ["oklch(0 0 0)", "oklch(0.252 0 0)", "oklch(0.738 0.184 29.18 / 0.2)"]
    assert style(page, "body", "color") == "oklch(1 0 0)"
    assert style(page, ":root", "colorScheme") == "light dark"
    assert page.locator(bubble).first.bounding_box() == box


def test_who_wants_less_motion_gets_none(look: Look) -> None:
    state = State(act=STATES["room-latest"].act, scene="long")
    page = look(state, reduced_motion="reduce")

    jump = ".message-area__return-to-latest"
    assert style(page, jump, "animationName", "::after") == "none"
    assert style(page, jump, "outlineWidth", "::after") == "2px"  # what would pulse stands
    assert float(style(page, ".message__options-btn", "transitionDuration")[:-1]) <= 0.00001
    assert style(page, ":root", "scrollBehavior") == "auto"
    page.evaluate(SETTLED)
    running = """document.getAnimations().filter(({playState}) => playState === 'running')
      .map((each) => `${each.effect.target.className} ${each.animationName ?? 'transition'}`)"""
    assert page.evaluate(running) == []


def test_an_idle_room_paints_nothing(look: Look) -> None:
    page = look("bell-alert", reduced_motion="no-preference")
    page.context.clear_cookies(name=SEEN)
    page.reload()
    expect(page.locator(".btn--pulsing")).to_be_visible()

    moved = """document.getAnimations().filter(({playState, effect}) =>
        playState === 'running' && effect.getTiming().iterations === Infinity)
      .flatMap(({effect}) => effect.getKeyframes()).flatMap(Object.keys)
      .filter((name) => !['offset', 'easing', 'composite', 'computedOffset'].includes(name))"""
    assert set(page.evaluate(moved)) == {"opacity", "scale"}  # these the compositor moves alone


def test_forced_colours_keep_an_edge_around_what_has_only_a_ground(look: Look) -> None:
    page = look("room", forced_colors="active")

    assert style(page, ".message__body-content", "borderTopWidth") == "1px"
    assert style(page, ".message__body-content", "borderTopStyle") == "solid"
    assert style(page, ".icon", "color") == style(page, "body", "color")
    dot = "element => getComputedStyle(element, '::after').forcedColorAdjust"
    assert page.locator(".direct.unread").first.evaluate(dot) == "none"
    form = look("room-new-closed", forced_colors="active").locator(".switch__btn")
    assert form.first.evaluate("element => getComputedStyle(element).borderTopWidth") == "1px"


@pytest.mark.parametrize(
    ("scheme", "grey"), [("light", "oklch(0.45 0.005 96)"), ("dark", "oklch(0.7 0 0)")]
)
def test_who_wants_more_contrast_gets_darker_edges_and_words(
    look: Look, scheme: str, grey: str
) -> None:
    state = State(act=STATES["room-rich"].act, scene="long")
    page = look(state, color_scheme=scheme, contrast="more")

    assert "/ 0.8)" in style(page, ".message__timestamp", "color")
    for edge in (".message__body-content", ".boost", ".composer__input"):
        drawn = [style(page, edge, f"borderTop{part}") for part in ("Width", "Color")]
        assert drawn == ["1px", grey]
    assert style(page, ".trix-content a:not([class])", "textDecorationLine") == "underline"


# --- Everybody ------------------------------------------------------------------------------------

# Brings each control into view; those that are then not wholly between the window's sides.
OUT_OF_REACH = """() => {
  const controls = document.querySelectorAll('a[href], button, input, textarea, trix-editor')
  return [...controls].filter((control) => {
    if (!control.checkVisibility({visibilityProperty: true}) || control.closest('[inert]')) return
    if (control.matches('.skip-navigation')) return
    control.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'})
    // A long name ends in an ellipsis: what can be pressed is what its box shows of it.
    const cut = getComputedStyle(control.parentElement).textOverflow === 'ellipsis'
    const {left, right} = (cut ? control.parentElement : control).getBoundingClientRect()
    return left < -1 || right > innerWidth + 1
  }).map((control) => control.outerHTML.slice(0, 120))
}"""
ZOOMED = ["room", "room-rich", "room-editing", "proposal-files-popover", "sidebar-open", "ping-new",
          "composer-files", "room-image", "room-upload-failed", "room-file-editing",
          "room-lightbox", "room-embed", "room-portrait", "composer-embed",
          "search-results", "room-new-closed", "room-edit-closed", "direct-edit", "my-profile",
          "user-profile-admin", "account-admin", "bots", "bot-edit", "custom-styles", "sign-in",
          "first-run", "join", "push-subscriptions", "notifications-help", "error-404",
          "composer-marks", "keys"]  # fmt: skip


@pytest.mark.parametrize("name", ZOOMED)
def test_a_screen_at_four_hundred_percent_loses_nothing_and_never_scrolls_sideways(
    look: Look, name: str
) -> None:
    page = look(name, "phone", viewport={"width": 320, "height": 640})
    page.evaluate(SETTLED)

    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    main = page.locator("#main-content, main").first
    assert main.evaluate("main => main.scrollWidth - main.clientWidth") <= 1
    assert page.evaluate(OUT_OF_REACH) == []


@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_in_any_state_of_any_screen(
    tmp_path_factory: pytest.TempPathFactory, size: str
) -> None:
    with ThreadPoolExecutor() as aside:  # playwright's loop may run in this thread already
        found = aside.submit(examined, tmp_path_factory.mktemp(size), size).result()

    violations = sum(map(len, found.values()))
    print(f"\naxe, light and dark: {len(found)} states, {violations} violations")  # noqa: T201 - for `-s`
    assert {name: places for name, places in found.items() if places} == {}


# --- Speed ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(studio_browser: Browser) -> Iterator[World]:
    with opened(studio_browser) as world:
        world.step = FAST
        yield world


# What must hold on any machine; the rest is only measured, by `tests.bench.client`.
BOUNDED = {
    "weight": {"HTML of a room of 40 messages, gzipped"},
    "live": {"layout shift, live"},
    "scroll": {"heap growth over the scroll", "most messages in a painted frame",
               "pages scrolled through, not slowed"},
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDED)
def test_the_client_is_as_light_as_promised(world: World, name: str) -> None:
    measured = WORKLOADS[name](world)
    lines = [row(what, measured[what]) for what in BOUNDED[name]]
    assert [line for line in lines if "NOT" in line] == []


def test_a_room_can_be_used_after_five_requests(world: World) -> None:
    with world.page(slowed=False) as page:
        asked: list[str] = []

        def answer(route: Route) -> None:
            asked.append(route.request.url)
            (route.continue_ if len(asked) <= 5 else route.abort)()

        page.route("**/*", answer)
        page.goto(f"{world.campfire.url}/rooms/{world.short}")
        expect(page.locator(".message")).to_have_count(40)
        page.get_by_label("Write a message").fill("Typed before anything else came")
    assert len(asked) > 5


# How many messages each frame shows, where the newest ends in it, and whether the list is full.
FRAMES = """window.frames_seen = []; (function look() {
  const shown = [...document.querySelectorAll('.message')]
  const list = document.querySelector('.messages')
  const end = shown.at(-1)?.getBoundingClientRect().bottom
  const seen = [shown.length, end, list?.scrollHeight > list?.clientHeight]
  if (shown.length && frames_seen.at(-1)?.[0] !== seen[0]) frames_seen.push(seen)
  requestAnimationFrame(look)
})()"""


@pytest.mark.parametrize("height", [800, 1500])
def test_the_newest_are_painted_first_and_the_rest_above_them(world: World, height: int) -> None:
    with world.page(slowed=False) as page:
        page.set_viewport_size({"width": 1280, "height": height})
        page.add_init_script(FRAMES)
        world.open(page, world.short)
        expect(page.locator(".messages[aria-busy=false] .message")).to_have_count(40)

        counts, ends, full = zip(*page.evaluate("frames_seen"), strict=True)
        assert (counts[0], counts[-1], all(full)) == (-(-height // 56), 40, True)
        assert (max(ends) - min(ends) < 1, page.evaluate("notes.shifts")) == (True, [])


def test_going_from_room_to_room_leaves_what_is_beside_the_messages(world: World) -> None:
    with world.page(slowed=False) as page:
        world.open(page, world.short)
        page.get_by_role("button", name="Ping", exact=True).click()
        form, sidebar = page.locator(".direct--new"), page.locator("#sidebar")
        kept, current = sidebar.element_handle(), page.locator(".room--current")
        expect(form).to_be_visible()

        page.locator(f".rooms a[href='/rooms/{world.long}']").click()
        expect(current).to_have_text("Watercooler")
        expect(form).to_have_count(0)
        page.go_back()
        expect(current).not_to_have_text("Watercooler")
        expect(form).to_have_count(0)
        assert sidebar.evaluate("(now, before) => now === before", kept)

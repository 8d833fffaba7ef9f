"""How a file is shown without a script: boxes, players, rows, and names that are only text."""

from dataclasses import replace

import pytest

import campfire as program
from campfire import AttachedFile, Blob, Kind, MessageId

BLOB = Blob(1, "k" * 28, 4_958_455, bytes(32), "image/jpeg")
STILL = Blob(2, "s" * 28, 9_000, bytes(32), "image/jpeg")
PHOTO = AttachedFile(
    id=12, message_id=MessageId(7), blob=BLOB, still=STILL, still_state=1,
    filename="harbour morning.jpg", kind=Kind.IMAGE, width=3_024, height=4_032, still_width=600,
    still_height=800, duration_ms=None, is_animated=False,
)  # fmt: skip
UNSHOWN = {"still": None, "still_state": 2, "still_width": None, "still_height": None}


def shown(**about: object) -> str:
    return program.file_element(replace(PHOTO, **about))  # type: ignore[arg-type] # by the tests


def test_a_picture_is_half_as_wide_as_its_still_and_leads_to_the_original() -> None:
    assert shown() == (
        '<div class="attachment attachment--image max-inline-size center flex overflow-clip"'
        ' style="width: 300px; aspect-ratio: 0.75;">'
        '<a href="/files/12/harbour%20morning.jpg" class="flex" data-lightbox'
        ' data-download-url="/files/12/harbour%20morning.jpg?download=1"'
        ' aria-label="View harbour morning.jpg">'
        '<img src="/files/12/still" width="600" height="800" class="message__attachment"'
        ' loading="lazy" decoding="async" alt="harbour morning.jpg"></a></div>'
    )


def test_an_odd_side_is_halved_and_an_unknown_one_fixes_no_box() -> None:
    assert 'style="width: 50.5px; aspect-ratio: 2.02;"' in shown(still_width=101, still_height=50)
    unknown = shown(**{**UNSHOWN, "still_state": 0}, width=None, height=None)
    assert "style=" not in unknown
    assert '<img src="/files/12/still" class=' in unknown


def test_a_still_that_is_to_come_has_the_size_it_will_have() -> None:
    unmade = replace(PHOTO, still=None, still_state=0, still_width=None, still_height=None)
    to_come = program.file_json(unmade)

    assert (to_come["still_url"], to_come["still_width"], to_come["still_height"]) == (
        "/files/12/still", 600, 800,
    )  # fmt: skip


@pytest.mark.parametrize(("size", "moves"), [(8 << 20, True), ((8 << 20) + 1, False)])
def test_what_moves_moves_while_it_is_small_and_nobody_minds(size: int, moves: bool) -> None:  # noqa: FBT001 - a column
    markup = shown(blob=replace(BLOB, byte_size=size), is_animated=True)

    still = '<source srcset="/files/12/still" media="(prefers-reduced-motion: reduce)">'
    assert (still in markup) is moves
    assert ('<img src="/files/12/harbour%20morning.jpg"' in markup) is moves
    assert ('<span class="attachment__label">GIF</span>' in markup) is not moves


def test_a_film_is_loaded_when_it_is_played_and_shows_a_still_or_its_first_frame() -> None:
    film = shown(kind=Kind.VIDEO, filename="clip.mp4")
    bare = shown(kind=Kind.VIDEO, filename="clip.mp4", width=None, height=None, **UNSHOWN)
    sized = shown(kind=Kind.VIDEO, filename="clip.mp4", width=1_920, height=1_080, **UNSHOWN)

    assert 'src="/files/12/clip.mp4" poster="/files/12/still" controls' in film
    assert 'preload="none"' in film
    assert 'src="/files/12/clip.mp4#t=0.1" controls playsinline preload="metadata"' in bare
    assert 'style="width: 300px; aspect-ratio: 1.778;"' in bare
    assert 'style="width: 600px; aspect-ratio: 1.778;"' in sized


def test_a_sound_has_a_player_and_everything_else_a_row_with_its_size() -> None:
    sound = shown(kind=Kind.AUDIO, filename="memo.m4a", **UNSHOWN)
    row = shown(kind=Kind.FILE, filename="contract.pdf", **UNSHOWN)
    unreadable = shown(**UNSHOWN)

    assert '<audio src="/files/12/memo.m4a" controls preload="none" aria-label="memo.m4a">' in sound
    for markup in (row, unreadable):
        assert '<span class="attachment__size">5.0 MB</span>' in markup
    for markup in (sound, row):
        assert 'download aria-label="Download ' in markup
        assert 'data-share="/files/12/' in markup


def test_a_file_that_is_not_here_has_no_address() -> None:
    missing = shown(blob=replace(BLOB, sha256=None))

    assert "This file has not been moved here yet" in missing
    assert "/files/" not in missing


@pytest.mark.parametrize("kind", list(Kind))
def test_a_name_is_never_markup(kind: Kind) -> None:
    name = "\"><script>alert('x')</script>&.png"

    for still in ({}, UNSHOWN, {"blob": replace(BLOB, sha256=None)}):
        markup = shown(kind=kind, filename=name, **still)
        assert "<script>" not in markup
        assert "alert('x')" not in markup


def test_a_file_called_still_has_another_address_than_its_still() -> None:
    file = program.file_json(replace(PHOTO, filename="still"))

    assert (file["filename"], file["url"]) == ("still", "/files/12/file")

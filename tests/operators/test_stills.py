"""What the workshop makes of good pictures: stills, portraits, logos, photographs without tales."""

import io
import struct
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms

from campfire import STILL_BOX, PictureUnreadable, Still, fitted, orientation_in
from tests.support.studio import Studio, encoded, opened, painted

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")
TURNS = [
    None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_270,
]  # fmt: skip


def exif(orientation: int) -> bytes:
    """What a telephone says of a photograph: how it was held, which telephone, and where."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0xA431] = orientation, "Telephone", "SERIAL-4711"
    tags[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    return tags.tobytes()


def held(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture as a camera that was held like this stores it."""
    turn = TURNS[orientation - 1]
    return picture if turn is None else picture.transpose(turn)


def is_alike(one: Image.Image, other: Image.Image, most: int = 24) -> bool:
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return max(high for _, high in difference.getextrema()) <= most  # type: ignore[misc] # of RGB


def told(still: Still) -> tuple[int, int, int, int, str, bool]:
    return (
        still.width, still.height, still.still_width, still.still_height, still.content_type,
        still.is_animated,
    )  # fmt: skip


@settings(max_examples=30)
@given(
    st.sampled_from(FORMATS), st.integers(1, 1_700), st.integers(1, 1_700),
    st.sampled_from(["RGB", "RGBA", "L"]), st.integers(1, 8),
)  # fmt: skip
def test_a_still_is_small_upright_and_says_nothing_but_its_colours(
    darkroom: Studio, kind: str, width: int, height: int, mode: str, orientation: int
) -> None:
    upright = painted(width, height, mode if kind in ("PNG", "WEBP") else "RGB")
    if upright.mode == "RGBA":
        upright.putalpha(128)
    says = {} if kind == "GIF" else {"exif": exif(orientation), "icc_profile": SRGB}
    picture = encoded(held(upright, orientation if says else 1), kind, **says)

    still = darkroom.still(picture)

    size = fitted(width, height, STILL_BOX)
    kept = "image/webp" if upright.mode == "RGBA" else "image/jpeg"
    made = opened(still.data)
    assert told(still) == (width, height, *size, kept, False)
    assert made.size == size
    assert not {"exif", "xmp", "comment", "photoshop", "XML:com.adobe.xmp"} & set(made.info)
    assert b"Telephone" not in still.data
    if min(size) > 8:
        colours = made.convert("RGBA").resize((2, 2), Image.Resampling.BOX)
        wanted = upright.convert("RGBA").resize((2, 2), Image.Resampling.BOX)
        assert is_alike(colours, wanted, 40)
    assert darkroom.still(picture) == still


@pytest.mark.parametrize("orientation", range(1, 9))
def test_however_the_camera_was_held_the_still_stands_upright(
    darkroom: Studio, orientation: int
) -> None:
    upright = painted(300, 200)
    photo = encoded(held(upright, orientation), "JPEG", quality=95, exif=exif(orientation))

    assert is_alike(opened(darkroom.still(photo).data), upright)
    assert is_alike(opened(darkroom.avatar(photo)), upright.crop((50, 0, 250, 200)), 40)
    assert orientation_in(exif(orientation)) == orientation


def test_the_colours_are_right_whatever_they_are_stored_as(darkroom: Studio) -> None:
    grey = Image.new("I;16", (40, 30), 40_000)
    palette = painted(40, 30).convert("P", palette=Image.Palette.ADAPTIVE)
    palette_with_hole = encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))

    cmyk = darkroom.still(encoded(painted(40, 30, "CMYK"), "JPEG", quality=95))
    deep = darkroom.still(encoded(grey, "PNG"))
    one_bit = darkroom.still(encoded(painted(40, 30, "1"), "PNG"))
    hole = darkroom.still(palette_with_hole)
    opaque = darkroom.still(encoded(painted(40, 30, "RGBA"), "PNG"))

    assert is_alike(opened(cmyk.data), painted(40, 30), 40)
    assert opened(deep.data).getpixel((9, 9)) == 156
    assert one_bit.content_type == opaque.content_type == "image/jpeg"
    assert hole.content_type == "image/webp"
    assert opened(hole.data).getpixel((0, 0))[3] < 128  # type: ignore[index] # it is RGBA


def test_a_profile_of_colours_stays_while_it_fits(darkroom: Studio) -> None:
    wide = darkroom.still(encoded(painted(40, 30), "PNG", icc_profile=SRGB))
    strange = darkroom.still(encoded(painted(40, 30, "L"), "PNG", icc_profile=SRGB))
    huge = darkroom.still(encoded(painted(40, 30), "PNG", icc_profile=SRGB + bytes(70_000)))

    assert opened(wide.data).info["icc_profile"] == SRGB
    assert "icc_profile" not in opened(strange.data).info
    assert "icc_profile" not in opened(huge.data).info


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_what_moves_is_known_by_its_second_frame_and_shown_by_its_first(
    darkroom: Studio, kind: str
) -> None:
    first, second = painted(64, 48), Image.new("RGB", (64, 48), "white")
    moving = encoded(first, kind, save_all=True, append_images=[second], duration=100)

    still = darkroom.still(moving)

    assert still.is_animated
    assert is_alike(opened(still.data), first, 60)


@settings(max_examples=20)
@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from(FORMATS))
def test_a_portrait_is_a_square_and_a_logo_has_both_its_sizes(
    darkroom: Studio, width: int, height: int, kind: str
) -> None:
    picture = encoded(painted(width, height), kind)

    portrait, logos = opened(darkroom.avatar(picture)), map(opened, darkroom.logo(picture))

    side = min(width, height, 512)
    assert (portrait.format, portrait.size) == ("WEBP", (side, side))
    for logo, wanted in zip(logos, (512, 192), strict=True):
        assert (logo.format, logo.mode, logo.size) == ("PNG", "RGBA", (wanted, wanted))
        across, down = fitted(width * wanted, height * wanted, (wanted, wanted))
        corner = ((wanted - across) // 2, (wanted - down) // 2)
        box = (*corner, corner[0] + across, corner[1] + down)
        assert logo.getchannel("A").getbbox() == box


# --- Photographs without tales ---


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


TALES = st.sampled_from(
    [
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>SERIAL-4711</x:xmpmeta>"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04SERIAL-4711"),
        segment(0xFE, b"SERIAL-4711"),
        segment(0xE2, b"MPF\0MM\0*SERIAL-4711"),
        segment(0xE5, b"of some program"),
        b"\xff\xff" + segment(0xE6, b""),
    ]
)


@settings(max_examples=40)
@given(
    st.lists(TALES, max_size=4), st.integers(1, 8), st.booleans(), st.booleans(),
    st.sampled_from(["RGB", "L", "CMYK"]), st.binary(max_size=40),
)  # fmt: skip
def test_a_stripped_photograph_has_the_same_pixels_and_tells_nothing_of_its_maker(
    darkroom: Studio,
    tales: list[bytes],
    orientation: int,
    is_progressive: bool,  # noqa: FBT001 - hypothesis' way
    has_exif: bool,  # noqa: FBT001 - hypothesis' way
    mode: str,
    after: bytes,
) -> None:
    says = {"exif": exif(orientation)} if has_exif else {}
    profile = SRGB if mode == "RGB" else b""
    photo = encoded(
        painted(90, 60, mode), "JPEG", progressive=is_progressive, icc_profile=profile, **says
    )
    photo = photo[:2] + b"".join(tales) + photo[2:] + after

    stripped = darkroom.stripped(photo)

    with warnings.catch_warnings(action="ignore"):  # the tale of the second picture is none
        before = opened(photo)
    now = opened(stripped)
    assert now.tobytes() == before.tobytes()
    assert now.info.get("icc_profile", b"") == profile
    assert orientation_in(now.info.get("exif", b"")) == (orientation if has_exif else 1)
    assert len(now.info.get("exif", bytes(32))) == 32
    assert not [tale for tale in (b"SERIAL", b"Telephone", b"\0\0\x004") if tale in stripped[:99]]
    assert b"SERIAL" not in stripped
    assert stripped.endswith(b"\xff\xd9")
    assert darkroom.stripped(stripped) == stripped


@settings(max_examples=40)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(lambda b: b"\xff\xd8" + b)))
def test_what_is_no_whole_photograph_is_stripped_of_nothing_or_ends_where_it_did(
    darkroom: Studio, data: bytes
) -> None:
    stripped = darkroom.stripped(data)

    assert darkroom.stripped(stripped) == stripped
    if not data.startswith(b"\xff\xd8"):
        assert stripped == data


def test_other_pictures_are_stripped_of_nothing(darkroom: Studio) -> None:
    for kind in ("PNG", "GIF", "WEBP", "AVIF"):
        picture = encoded(painted(40, 30), kind)
        assert darkroom.stripped(picture) == picture


def test_a_second_picture_behind_the_first_goes_with_the_place_it_was_taken(
    darkroom: Studio,
) -> None:
    clip = encoded(painted(20, 10), "JPEG", exif=exif(6))
    photo = encoded(painted(90, 60), "JPEG", exif=exif(3))

    stripped = darkroom.stripped(photo + clip)

    assert stripped == darkroom.stripped(photo)
    assert b"Telephone" not in stripped


@given(st.binary(max_size=200))
def test_any_bytes_say_how_a_camera_was_held(data: bytes) -> None:
    assert orientation_in(data) in range(1, 9)
    assert orientation_in(b"Exif\0\0II*\0" + data) in range(1, 9)


def test_half_a_picture_is_refused(darkroom: Studio) -> None:
    for kind in FORMATS:
        picture = encoded(painted(400, 300), kind)
        with pytest.raises(PictureUnreadable):
            darkroom.still(picture[: len(picture) // 2])
    assert io.BytesIO(darkroom.still(encoded(painted(9, 9), "JPEG")).data)

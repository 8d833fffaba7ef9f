"""What a file is, how it is called, how large it is in words, and how large its still is."""

import email.utils
import re
import unicodedata
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from campfire import (
    SHOWN_TYPES,
    STILL_BOX,
    Kind,
    content_disposition,
    ending_for,
    file_headers,
    fitted,
    kind_of,
    safe_name,
    size_in_words,
    type_by_name,
    type_of,
)

ISO, EBML = b"\0\0\0\x18ftyp", b"\x1aE\xdf\xa3\x9fB\x86\x81\x01"
PROOFS = {
    b"\xff\xd8\xff\xe0": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"RIFF\0\0\0\nWEBPVP8 ": "image/webp",
    **{ISO + brand: "image/avif" for brand in (b"avif", b"avis")},
    **{
        ISO + brand: "image/heic"
        for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
    },
    ISO + b"qt  ": "video/quicktime",
    ISO + b"M4A ": "audio/mp4",
    ISO + b"M4B ": "audio/mp4",
    ISO + b"isom": "video/mp4",
    EBML + b"B\x82\x84webm": "video/webm",
    EBML + b"B\x82\x88matroska": "video/x-matroska",
    b"OggS\0\x02" + bytes(22) + b"\x80theora": "video/ogg",
    b"OggS\0\x02" + bytes(22) + b"\x01vorbis": "audio/ogg",
    b"ID3\x04": "audio/mpeg",
    b"\xff\xfb\x90\x64": "audio/mpeg",
    b"\xff\xf3\x40\xc0": "audio/mpeg",
    b"RIFF\0\0\0\nWAVEfmt ": "audio/wav",
    b"fLaC\0": "audio/flac",
    b"\xff\xf1\x50\x80": "audio/aac",
    b"\xff\xf9\x50\x80": "audio/aac",
    b"%PDF-1.7": "application/pdf",
}
UNPROVEN = (
    b"", b"\0", b"<html><script>alert(1)</script>", b"<?xml version='1.0'?><svg/>", b"PK\3\4",
    b"\xff\xfe<\0h\0", b"\xff\xff\xff\xff", b"\xff\xfb\xf0\0", b"BM", b"II*\0", b"8BPS",
    b"\xff\xd8",    b"\0\0\0\x0cjP  ", b"\xff\x0a",
)  # fmt: skip
ENDINGS = """
jpg jpeg png gif webp avif heic tif tiff bmp ico psd svg jxl jp2 mp4 mov webm mkv ogv avi mp3 m4a
ogg wav flac aac pdf html htm xhtml xml js mjs css txt md csv json zip docx xlsx pptx odt ods odp
epub jar apk ps exe swf mathml appcache unknown PNG HTML
""".split()
NAMES = [*(f"a.{ending}" for ending in ENDINGS), "a", ".png", "a.png.html", "a.html.png", ""]
RUNNABLE = re.compile(r".*(html|xml|svg|script|postscript|flash|mathml|manifest).*")


def test_a_file_is_what_its_first_bytes_prove_whatever_it_is_called() -> None:
    for head, content_type in PROOFS.items():
        for name in NAMES:
            family = content_type.partition("/")[0]
            kind = Kind.FILE if family == "application" else Kind(family)
            assert type_of(head + bytes(9), name) == content_type
            assert kind_of(content_type) is kind


def test_without_a_proof_it_is_a_file_and_no_picture_film_or_sound() -> None:
    for head in UNPROVEN:
        for name in NAMES:
            content_type = type_of(head, name)
            assert kind_of(content_type) is Kind.FILE
            assert not content_type.startswith(("image/", "video/", "audio/"))

    assert type_of(b"<html>", "a.png") == "application/octet-stream"
    assert type_of(b"a,b", "Figures.CSV") == "text/csv"
    assert type_of(b"PK\3\4", "a.docx").endswith("wordprocessingml.document")


@pytest.mark.parametrize("is_download", [False, True])
def test_only_what_is_proven_is_shown_and_all_of_it_is_locked_in(is_download: bool) -> None:  # noqa: FBT001 - pytest's way
    cases = [(head, name) for head in (*PROOFS, *UNPROVEN) for name in NAMES]
    assert len(cases) * 2 >= 3_000
    assert len(SHOWN_TYPES) == 17
    for head, name in cases:
        headers = file_headers(safe_name(name), type_of(head, name), is_download=is_download)
        if headers["Content-Disposition"].startswith("inline"):
            assert headers["Content-Type"] in SHOWN_TYPES
            assert not is_download
        else:
            assert headers["Content-Disposition"].startswith("attachment; ")
        assert not RUNNABLE.fullmatch(headers["Content-Type"].replace("openxml", ""))
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@given(st.binary(max_size=5_000), st.text())
def test_any_bytes_under_any_name_are_one_thing_and_always_the_same(head: bytes, name: str) -> None:
    content_type = type_of(head, name)

    assert content_type == type_of(head[:4_096] + b"<script>", name) == type_of(head, name)
    assert (content_type in SHOWN_TYPES) == (kind_of(content_type) is not Kind.FILE)
    assert content_type == type_of(head, f"somewhere/else/{name}") or "." not in name


def test_by_its_name_alone_a_file_is_what_its_ending_says() -> None:
    assert type_by_name("IMG_1.JPG") == "image/jpeg"
    assert type_by_name("clip.mov") == "video/quicktime"
    assert type_by_name("scan.tiff") == "application/octet-stream"
    assert type_by_name("plan.pdf") == "application/pdf"
    assert type_by_name("pdf") == "application/octet-stream"


def test_a_type_gives_a_name_its_usual_ending() -> None:
    given_types = ["image/jpeg", "audio/mpeg", "application/pdf", "text/csv", "image/x-nobody"]

    assert [ending_for(each) for each in given_types] == ["jpg", "mp3", "pdf", "csv", "bin"]


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("../../x", "x"),
        (r"C:\a\b.txt", "b.txt"),
        ("a\r\nb.txt", "ab.txt"),
        ("é" * 300, "é" * 127),
        ("é" * 300 + ".jpeg", "é" * 125 + ".jpeg"),
        (".htaccess", "htaccess"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("", "file"),
        (" . ", "file"),
        ("👍", "👍"),
        ("e\u0301.txt", "é.txt"),
        ("half \ud800.txt", "half .txt"),
    ],
)
def test_a_name_is_made_safe_to_show_and_to_save_under(given_name: str, name: str) -> None:
    assert safe_name(given_name) == name


DIFFICULT = st.text(" ./\\\"%;'*a\0\r\n\x7f\x85\u200e\u202e\u2066\ufeff\u0301\ud800é👍\u1100\u1161")


@given(st.one_of(st.text(), DIFFICULT, st.text(min_size=200), DIFFICULT.map(lambda s: s * 90)))
@example(". \u0301")
@example("a" * 253 + " .b")
@example("a" * 250 + ". " + "b" * 20)
def test_a_safe_name_stays_as_it_is_and_is_one_short_line(given_name: str) -> None:
    name = safe_name(given_name)

    assert safe_name(name) == name
    assert 1 <= len(name.encode()) <= 255
    assert unicodedata.normalize("NFC", name) == name
    assert not set(name) & set("/\\\0\r\n")
    assert not {unicodedata.bidirectional(each) for each in name} & {
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    }  # fmt: skip


@given(st.text(st.characters(codec="utf-8"), max_size=300), st.sampled_from(["jpg", "é", "x" * 16]))
def test_however_long_a_name_is_its_ending_stays(stem: str, ending: str) -> None:
    assert safe_name(f"a{stem}.{ending}").endswith(f".{ending}")


@given(st.one_of(st.text(), DIFFICULT), st.booleans())
@example('a"b\\c;d%41.txt', True)  # noqa: FBT003 - hypothesis' way
def test_a_program_of_mail_reads_the_name_that_the_header_says(
    given_name: str,
    is_shown: bool,  # noqa: FBT001 - hypothesis' way
) -> None:
    name = safe_name(given_name)

    header = content_disposition(name, is_shown=is_shown)

    assert header.isascii()
    assert re.fullmatch(r'\w+; filename="[ -~]*"; filename\*=UTF-8\'\'[A-Za-z0-9%._~-]+', header)
    told = email.message_from_string(f"Content-Disposition: {header}\n\n")
    assert (
        email.utils.collapse_rfc2231_value(told.get_params("", "content-disposition")[-1][1])
        == name
    )
    assert told.get_content_disposition() == ("inline" if is_shown else "attachment")
    assert told.get_filename() == re.sub(r"[^ -~]|[\"\\]", "_", name)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"), (640, "640 B"), (999, "999 B"), (1_000, "1.0 KB"), (2_400_000, "2.4 MB"),
        (9_949, "9.9 KB"), (9_951, "10 KB"), (38_000_000, "38 MB"), (999_499, "999 KB"),
        (999_500, "1.0 MB"), (999_500_000, "1.0 GB"), (64 << 30, "69 GB"), (1 << 50, "1125900 GB"),
    ],
)  # fmt: skip
def test_a_size_is_said_as_people_say_it(size: int, words: str) -> None:
    assert size_in_words(size) == words


SIDES = st.integers(1, 65_500)


@given(SIDES, SIDES)
@example(3_024, 4_032)
@example(65_500, 1)
def test_a_still_lies_in_its_box_and_keeps_its_shape_to_a_pixel(width: int, height: int) -> None:
    across, down = fitted(width, height, STILL_BOX)

    assert 1 <= across <= min(width, 1_200)
    assert 1 <= down <= min(height, 800)
    scale = min(Fraction(1_200, width), Fraction(800, height), Fraction(1))
    assert abs(across - width * scale) <= 1
    assert abs(down - height * scale) <= 1
    if scale == 1:
        assert (across, down) == (width, height)


def test_half_a_pixel_of_a_still_is_a_whole_one() -> None:
    assert fitted(3_024, 4_032, STILL_BOX) == (600, 800)
    assert fitted(2_400, 1, STILL_BOX) == (1_200, 1)
    assert fitted(2_400, 1_001, STILL_BOX) == (1_200, 501)
    assert fitted(100, 50, STILL_BOX) == (100, 50)

"""Avatars and QR codes."""

import re
from xml.etree import ElementTree as ET

import pytest

import campfire as program
from tests.support.cast import Cast, Person, newcomer
from tests.support.executable import ROOT
from tests.support.operators import qr_path
from tests.support.tables import cases


async def test_an_avatar_is_initials_or_a_robot(kevin: Person, cast: Cast) -> None:
    visitor = await kevin.server.visitor()
    signer = kevin.server.parts.signer
    url = signer.avatar_url(cast.kevin)

    picture, robot = await kevin.get(url), await kevin.get(signer.avatar_url(cast.bender))
    same = await kevin.get(url, {"If-None-Match": f"W/{picture.headers['ETag']}"})

    assert picture.headers["Content-Type"].startswith("image/svg+xml")
    keeps = "public, max-age=1800, stale-while-revalidate=604800"
    assert picture.headers["Cache-Control"] == keeps
    assert re.findall(r"<text[^>]*>([^<]*)</text>", picture.text) == ["K"]
    assert 'viewBox="0 0 512 512"' in picture.text
    assert 'rx="50" fill="#3B3633"' in picture.text
    assert (same.status, same.body) == (304, b"")
    drawn = ROOT / "static_bundle" / "src" / "pictures" / "robot.svg"  # beside a bot's first name
    assert robot.text == drawn.read_text().rstrip()
    assert "<text" not in robot.text
    wrong = signer.avatar_token(cast.kevin.id)[:-1] + "x"
    for token in (wrong, "x", signer.stream("rooms"), signer.avatar_token(program.UserId(99))):
        assert (await kevin.get(f"/users/{token}/avatar")).status == 404
    assert (await visitor.get(url)).location == "/session/new"


async def test_initials_are_the_first_character_of_every_word(jz: Person, cast: Cast) -> None:
    for n, (name, letters) in enumerate((
        ("Bender Bot", "BB"), ("Jean-Luc Picard", "JLP"), ("Bender's Friend", "BsF"),
        ("jason fried", "jf"), ("\u00c5sa \u042f", "\u00c5\u042f"), ("\U0001f389", "?"),
    )):  # fmt: skip
        auth = jz.server.parts.auth
        user = await auth.join(cast.join_code, newcomer(name, f"{n}@example.com", "password"))
        picture = await jz.get(jz.server.parts.signer.avatar_url(user))
        assert f">{letters}</text>" in picture.text
        assert ('textLength="85%"' in picture.text) == (len(letters) > 2)


async def test_a_qr_code_is_a_black_on_white_drawing_kept_for_a_year(
    david: Person, visitor: Person
) -> None:
    profile = (await david.get("/api/users/me/profile")).json
    invitation = (await david.get("/api/account")).json["account"]["join_url"]

    answer = await visitor.get(profile["transfer_qr_path"])

    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000"
    drawing = ET.fromstring(answer.text)  # noqa: S314 - it is our own
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert drawing.get("viewBox")
    assert {"#fff", "#000"} <= set(re.findall(r"#[0f]{3}", answer.text))
    path = qr_path(invitation.encode())
    other = await visitor.get(path)
    assert (other.status, other.body == answer.body) == (200, False)
    assert (await visitor.get(path.rstrip("="))).body == other.body


@pytest.mark.parametrize("text", cases("texts that are no addresses of ours"))
async def test_a_qr_code_is_drawn_for_addresses_of_ours_alone(
    visitor: Person, cast: Cast, text: str
) -> None:
    base = visitor.server.address
    given = text.replace("BASE", base).replace("CODE", cast.join_code)

    assert (await visitor.get(qr_path(given.encode()))).status == 404


@pytest.mark.parametrize("path", cases("addresses of no QR code"))
async def test_what_is_no_text_makes_no_qr_code(visitor: Person, path: str) -> None:
    assert (await visitor.get(path)).status == 400

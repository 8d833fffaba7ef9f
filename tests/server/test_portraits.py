"""Pictures of people, and of the account: taken, shown, replaced, taken away."""

import asyncio
import io
from collections.abc import AsyncIterator

import pytest

from tests.support.asking import ACCOUNT, BOTS, count, run
from tests.support.bombs import png
from tests.support.cast import Answer, Cast, Person, Server, Start
from tests.support.files import stored_files
from tests.support.studio import at_work, encoded, opened, painted

MINE, LOGO = "/api/users/me/avatar", "/api/account/logo"


@pytest.fixture
async def artful(server: Server) -> AsyncIterator[Server]:
    """A server with a workshop."""
    process = at_work(server.parts.workshop)
    yield server
    server.parts.workshop.close()
    assert await asyncio.to_thread(process.wait, 30) == 0


async def give(person: Person, path: str, picture: bytes, kind: str = "image/png") -> Answer:
    headers = {"X-CSRF-Token": await person.csrf(), "Content-Type": kind}
    return await person.request("PUT", path, data=io.BytesIO(picture), headers=headers)


async def test_a_picture_is_shown_to_everybody_under_a_new_address(
    artful: Server, kevin: Person, david: Person
) -> None:
    before = (await kevin.get("/api/session")).json["user"]
    drawn = await david.get(before["avatar_url"])

    answer = await give(kevin, MINE, encoded(painted(100, 300), "JPEG"), "image/jpeg")
    user = answer.json["user"]
    shown = await david.get(user["avatar_url"])

    assert drawn.headers["Content-Type"].startswith("image/svg+xml")
    assert (answer.status, before["has_avatar"], user["has_avatar"]) == (200, False, True)
    assert user["avatar_url"].partition("?v=")[2] > before["avatar_url"].partition("?v=")[2]
    assert shown.headers["Content-Type"] == "image/webp"
    assert opened(shown.body).size == (100, 100)
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    assert shown.headers["Content-Security-Policy"].startswith("sandbox;")
    assert shown.headers["Cache-Control"] == drawn.headers["Cache-Control"]
    known = {"If-None-Match": shown.headers["ETag"]}
    assert (await david.get(user["avatar_url"], known)).status == 304
    assert len(stored_files(artful)) == 1


async def test_another_picture_takes_the_place_of_the_first_and_none_gives_the_initials_back(
    artful: Server, kevin: Person
) -> None:
    urls = set()
    for side in (30, 40):
        user = (await give(kevin, MINE, encoded(painted(side, side), "PNG"))).json["user"]
        urls.add(user["avatar_url"])
        assert opened((await kevin.get(user["avatar_url"])).body).size == (side, side)
    assert await count(artful, "doomed_blobs") == 1

    gone = [(await kevin.delete(MINE)).json["user"] for _ in range(2)]

    assert gone[0] == gone[1]
    assert gone[0]["has_avatar"] is False
    assert gone[0]["avatar_url"] not in urls
    drawn = await kevin.get(gone[0]["avatar_url"])
    assert drawn.headers["Content-Type"].startswith("image/svg+xml")
    assert (await count(artful, "doomed_blobs"), await count(artful, "blobs")) == (2, 0)


@pytest.mark.parametrize(
    ("picture", "kind", "status", "code"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", 422, "picture_unreadable"),
        (b"<html>", "image/png", 422, "picture_unreadable"),
        (b"BM" + bytes(80), "image/bmp", 422, "picture_unreadable"),
        (b"", "image/png", 422, "picture_unreadable"),
        (encoded(painted(9, 9), "PNG"), "application/octet-stream", 415, "unsupported_media_type"),
        (encoded(painted(9, 9), "PNG"), "image/", 415, "unsupported_media_type"),
        (bytes((10 << 20) + 1), "image/png", 413, "file_too_large"),
        (png(65_501, 65_501), "image/png", 422, "picture_unreadable"),
    ],
    ids=["svg", "html", "bmp", "nothing", "no picture", "half a type", "too large", "bomb"],
)
async def test_what_is_no_picture_is_refused_and_the_old_one_stays(
    artful: Server, kevin: Person, david: Person, picture: bytes, kind: str, status: int, code: str
) -> None:
    await give(kevin, MINE, encoded(painted(30, 30), "PNG"))
    user = (await kevin.get("/api/session")).json["user"]

    for person, path in ((kevin, MINE), (david, LOGO), (david, f"{BOTS}/5/avatar")):
        answer = await give(person, path, picture, kind)

        assert (answer.status, answer.code) == (status, code)
        assert answer.json["error"].get("max_bytes") == (10 << 20 if status == 413 else None)
    assert (await kevin.get("/api/session")).json["user"] == user
    assert len(stored_files(artful)) == 1


async def test_bots_get_pictures_from_administrators_who_may_take_anybodys_away(
    artful: Server, kevin: Person, david: Person, cast: Cast
) -> None:
    picture = encoded(painted(30, 30), "PNG")
    await give(kevin, MINE, picture)
    face = f"{BOTS}/{cast.bender.id}/avatar"

    refused = await give(kevin, face, picture)
    unknown = await give(david, f"{BOTS}/99/avatar", picture)
    given = await give(david, face, picture)
    taken = await david.delete(face)
    moderated = await david.delete(f"/api/users/{cast.kevin.id}/avatar")
    by_a_member = await kevin.delete(f"/api/users/{cast.david.id}/avatar")

    assert (refused.status, unknown.code) == (403, "bot_not_found")
    assert given.json["bot"]["has_avatar"] is True
    assert taken.json["bot"]["has_avatar"] is False
    assert moderated.json["user"]["has_avatar"] is False
    assert by_a_member.status == 403
    assert await count(artful, "blobs") == 0


async def test_the_account_has_a_logo_in_two_sizes_until_it_is_taken_away(
    artful: Server, david: Person, visitor: Person
) -> None:
    stock = (await visitor.get("/account/logo")).body
    before = (await david.get(ACCOUNT)).json["account"]

    answer = await give(david, LOGO, encoded(painted(100, 40), "PNG"))
    account = answer.json["account"]
    large = await visitor.get(account["logo_url"])
    small = await visitor.get("/account/logo?size=small")

    assert (before["has_logo"], account["has_logo"]) == (False, True)
    assert account["logo_url"] > before["logo_url"]
    for shown, side in ((large, 512), (small, 192)):
        assert (opened(shown.body).format, opened(shown.body).size) == ("PNG", (side, side))
    known = {"If-None-Match": large.headers["ETag"]}
    assert (await visitor.get(account["logo_url"], known)).status == 304
    assert (await visitor.get("/account/logo?size=small", known)).status == 200
    version = account["logo_url"].partition("?v=")[2]
    icons = (await visitor.get("/webmanifest")).text + (await david.get("/account/edit")).text
    assert icons.count(f"/account/logo?v={version}") >= 5
    assert f"/account/logo?v={version}&size=small" in icons
    gone = (await david.delete(LOGO)).json["account"]
    assert gone["has_logo"] is False
    assert gone["logo_url"] > account["logo_url"]
    assert (await visitor.get("/account/logo")).body == stock
    assert await count(artful, "doomed_blobs") == 2


async def test_administrators_learn_how_much_is_stored(
    artful: Server, kevin: Person, david: Person
) -> None:
    await give(kevin, MINE, encoded(painted(30, 30), "PNG"))
    (path,) = stored_files(artful)

    storage = (await david.get(ACCOUNT)).json["account"]["storage"]

    assert (storage["bytes"], storage["quota_bytes"]) == (path.stat().st_size, None)
    assert storage["free_bytes"] > 0
    assert "storage" not in (await kevin.get(ACCOUNT)).json["account"]


async def test_a_picture_whose_bytes_are_lost_is_drawn_as_if_there_were_none(
    artful: Server, kevin: Person
) -> None:
    user = (await give(kevin, MINE, encoded(painted(30, 30), "PNG"))).json["user"]
    (path,) = stored_files(artful)
    path.unlink()

    drawn = await kevin.get(user["avatar_url"])

    assert drawn.headers["Content-Type"].startswith("image/svg+xml")


@pytest.mark.parametrize(
    ("switch", "path", "feature", "words"),
    [
        ("AVATARS_ENABLED", MINE, "avatars", "Avatar uploads are switched off here"),
        ("FILES_ENABLED", LOGO, "files", "File sharing is switched off here"),
    ],
)
async def test_pictures_can_be_switched_off_and_taken_away_all_the_same(
    start: Start, cast: Cast, switch: str, path: str, feature: str, words: str
) -> None:
    server = await start(**{switch: "0"})
    david = await server.sign_in(cast.david)

    answer = await give(david, path, encoded(painted(9, 9), "PNG"))

    assert (answer.status, answer.code) == (501, "feature_disabled")
    assert (answer.json["error"]["feature"], answer.json["error"]["message"]) == (feature, words)
    assert (await david.delete(path)).status == 200
    assert (await david.boot("/users/me/profile"))["features"][feature] is False


async def test_without_a_workshop_there_are_no_new_pictures(david: Person) -> None:
    for path in (MINE, LOGO):
        answer = await give(david, path, encoded(painted(9, 9), "PNG"))

        assert (answer.status, answer.code) == (501, "pictures_unavailable")


async def test_the_address_of_a_picture_changes_even_within_a_second(
    artful: Server, kevin: Person, cast: Cast
) -> None:
    ahead = "UPDATE users SET updated_at = updated_at + 1500000 WHERE id = :id"
    urls = []
    for side in (9, 10, 11):
        urls.append((await give(kevin, MINE, encoded(painted(side, side), "PNG"))).json)
        await run(artful, ahead, id=cast.kevin.id)
    renamed = (await kevin.put("/api/users/me/profile", {"name": "Kev"})).json

    versions = [answer["user"]["avatar_url"][-14:] for answer in urls]
    assert versions == sorted(set(versions))
    assert renamed["user"]["avatar_url"][-14:] >= versions[-1]

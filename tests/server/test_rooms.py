"""Where people talk: listing rooms, opening one, and deleting it."""

import json

import pytest

import campfire as program
from tests.support.asking import room_of, run, targets
from tests.support.cast import Cast, Person, Server

GONE = "Room not found or inaccessible"


@pytest.mark.parametrize("path", ["/rooms", "/rooms/opens", "/rooms/closeds", "/rooms/directs"])
async def test_the_list_of_rooms_redirects_to_the_newest_one(
    jz: Person, cast: Cast, path: str
) -> None:
    page = await jz.get(path)
    assert (page.status, page.location) == (302, f"/rooms/{cast.designers.id}")


async def test_a_room_opens_for_its_members_and_is_remembered(jz: Person, cast: Cast) -> None:
    page = await jz.get(f"/rooms/{cast.designers.id}")
    home = await jz.get("/")
    told = await jz.get(f"/api/rooms/{cast.pets.id}")

    assert (page.status, page.boot["page"]) == (200, "room")
    assert page.boot["params"] == {"room_id": cast.designers.id, "message_id": None}
    assert page.cookies["last_room"].value == str(cast.designers.id)
    assert home.location == f"/rooms/{cast.designers.id}"
    assert told.cookies["last_room"].value == str(cast.pets.id)
    assert (await jz.get("/")).location == f"/rooms/{cast.pets.id}"


@pytest.mark.parametrize("remembered", ["", "99", "x", "the Watercooler", "9" * 30])
async def test_home_is_the_oldest_room_when_the_last_one_is_unknown(
    jz: Person, cast: Cast, remembered: str
) -> None:
    jz.set_cookie("last_room", remembered.replace("the Watercooler", str(cast.watercooler.id)))
    assert (await jz.get("/")).location == f"/rooms/{cast.hq.id}"


async def test_without_any_room_home_is_the_welcome_page(server: Server, jz: Person) -> None:
    await run(server, "DELETE FROM memberships WHERE user_id = :id", id=jz.id)

    page = await jz.get("/")

    assert (page.status, page.boot["page"], page.boot["last_room_id"]) == (200, "welcome", None)
    assert (await jz.get("/rooms")).location == "/"


async def test_for_an_outsider_a_room_is_the_same_as_none(jz: Person, cast: Cast) -> None:
    kinds = ("", "/opens", "/closeds", "/directs")
    for room_id in (cast.watercooler.id, cast.david_and_jason.id, 999):
        for path in [f"/rooms{kind}/{room_id}" for kind in kinds] + [
            f"/rooms/{room_id}/@1",
            *(f"/rooms{kind}/{room_id}/edit" for kind in kinds[1:]),
        ]:
            page = await jz.get(path)
            assert (page.status, page.location) == (302, "/"), path
            assert page.cookies["flash"]["httponly"] is True
        for method, path, body in (
            ("GET", "", None), ("GET", "/members", None), ("GET", "/involvement", None),
            ("GET", "/messages", None), ("GET", "/messages/1", None), ("DELETE", "", None),
            ("PUT", "/involvement", {"involvement": "nothing"}),
            ("GET", "/refresh?since=0", None),
            ("POST", "/messages", {"body": "hi"}), ("POST", "/messages", {"body": ""}),
            ("PUT", "/messages/1", {"body": "hi"}), ("DELETE", "/messages/1", None),
        ):  # fmt: skip
            answer = await jz.send(method, f"/api/rooms/{room_id}{path}", body)
            assert (answer.status, answer.code) == (404, "room_not_found"), (method, path)
        for kind in ("opens", "closeds"):
            given = {"name": "Mine", "user_ids": [jz.id]}
            answer = await jz.put(f"/api/rooms/{kind}/{room_id}", given)
            assert (answer.status, answer.code) == (404, "room_not_found")


async def test_the_word_about_a_missing_room_is_shown_once(jz: Person) -> None:
    await jz.get("/rooms/999")
    shown, later = await jz.get("/rooms/4"), await jz.get("/rooms/4")

    assert shown.boot["flash"] == {"notice": None, "alert": GONE}
    assert later.boot["flash"] == {"notice": None, "alert": None}


async def test_a_room_shows_every_field_of_its_shape(david: Person, cast: Cast) -> None:
    hq, ping = await room_of(david, cast.hq.id), await room_of(david, cast.david_and_kevin.id)

    signed = david.server.parts.signer.stream(f"room_{cast.hq.id}:messages")
    assert hq == {
        "id": cast.hq.id, "type": "open", "name": "HQ", "topic": None, "display_name": "HQ",
        "creator_id": cast.david.id, "created_at": program.iso(cast.hq.created_at),
        "updated_at": program.iso(cast.hq.updated_at),
        "updated_at_ms": cast.hq.updated_at // 1000, "involvement": "mentions",
        "involvement_label": "Notifying about @ mentions", "next_involvement": "everything",
        "unread": False, "starred": False, "unread_since_ms": None, "mentions": 0,
        "can_administer": True, "invitation": True, "members": None,
        "streams": {"messages": signed}, "path": f"/rooms/{cast.hq.id}",
    }  # fmt: skip
    assert (ping["name"], ping["display_name"], ping["type"]) == (None, "Kevin", "direct")
    assert [user["name"] for user in ping["members"]] == ["Kevin"]
    assert (ping["involvement"], ping["next_involvement"]) == ("everything", "nothing")
    assert ping["invitation"] is False
    assert "email_address" not in json.dumps(ping["members"])


async def test_deleting_a_room_is_for_its_creator_and_administrators_in_it(
    david: Person, kevin: Person, jz: Person, cast: Cast
) -> None:
    tab = await jz.sidebar_tab()
    mine = (await kevin.post("/api/rooms/opens", {"name": "Mine"})).json["room"]["id"]
    await tab.drain()

    refused = await kevin.delete(f"/api/rooms/{cast.hq.id}")
    deleted = await kevin.delete(f"/api/rooms/{mine}")
    by_administrator = await david.delete(f"/api/rooms/{cast.designers.id}")

    assert (refused.status, refused.code) == (403, "forbidden")
    assert (deleted.status, deleted.body, by_administrator.status) == (204, b"", 204)
    assert targets(await tab.drain()) == [
        ("remove", f"list_room_{mine}"),
        ("remove", f"list_room_{cast.designers.id}"),
    ]
    assert (await kevin.get(f"/api/rooms/{mine}")).code == "room_not_found"
    assert await david.server.parts.db.read(program.member_ids, mine) == ()
    assert await david.server.parts.db.read(program.member_ids, cast.designers.id) == ()

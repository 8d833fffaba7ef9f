"""Where people talk: open rooms, closed rooms, pings, who is in them and who hears of it."""

import asyncio
import json

import pytest

import campfire as program
from tests.support.asking import member_names, restrict, room_of, targets
from tests.support.cast import Cast, Person, Server
from tests.support.checklist_rooms import ROOMS

GONE = "Room not found or inaccessible"


# Rooms of any kind.


async def test_the_list_of_rooms_redirects_to_the_newest_one(jz: Person, cast: Cast) -> None:
    for path in ("/rooms", "/rooms/opens", "/rooms/closeds", "/rooms/directs"):
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


async def test_home_is_the_oldest_room_when_the_last_one_is_unknown(jz: Person, cast: Cast) -> None:
    for remembered in ("", "99", "x", str(cast.watercooler.id), "9" * 30):
        jz.set_cookie("last_room", remembered)
        assert (await jz.get("/")).location == f"/rooms/{cast.hq.id}"


async def test_without_any_room_home_is_the_welcome_page(server: Server, jz: Person) -> None:
    await server.parts.db.write(
        lambda tx, _: program.run(tx, "DELETE FROM memberships WHERE user_id = :id", id=jz.id)
    )

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
            ("GET", "/refresh?since=0", None), ("POST", "/attachments", None),
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
        "id": cast.hq.id, "type": "open", "name": "HQ", "display_name": "HQ",
        "creator_id": cast.david.id, "created_at": program.iso(cast.hq.created_at),
        "updated_at": program.iso(cast.hq.updated_at),
        "updated_at_ms": cast.hq.updated_at // 1000, "involvement": "mentions",
        "involvement_label": "Notifying about @ mentions", "next_involvement": "everything",
        "unread": False, "can_administer": True, "invitation": True, "members": None,
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


# Open rooms.


async def test_the_forms_for_rooms_open_with_everybody_active(jz: Person) -> None:
    opens, closeds = await jz.get("/rooms/opens/new"), await jz.get("/rooms/closeds/new")

    for page in (opens, closeds):
        assert (page.status, page.boot["page"]) == (200, "room_new")
        data = page.boot["data"]
        assert (data["default_name"], data["can_create"]) == ("New room", True)
        names = [user["name"] for user in data["users"]]
        assert names == ["Bender Bot", "David", "Jason", "JZ", "Kevin"]
    assert (await jz.get("/rooms/directs/new")).boot["page"] == "direct_new"


async def test_a_new_open_room_holds_everybody_and_is_announced_once_to_all(
    jz: Person, kevin: Person
) -> None:
    tab = await kevin.sidebar_tab()

    answer = await jz.post("/api/rooms/opens", {"name": "  Garden "})

    room = answer.json["room"]
    assert set(answer.json) == {"room"}
    (frame,) = await tab.drain()
    assert (answer.status, answer.headers["Location"]) == (201, f"/rooms/{room['id']}")
    assert (room["name"], room["type"], room["creator_id"]) == ("Garden", "open", jz.id)
    assert await member_names(jz, room["id"]) == ["Bender Bot", "David", "Jason", "JZ", "Kevin"]
    assert frame.startswith('<turbo-stream action="prepend" target="shared_rooms"><template><a id=')
    assert 'data-sorted-list-name="Garden"' in frame
    assert f'id="list_room_{room["id"]}"' in frame


@pytest.mark.parametrize("kind", ["opens", "closeds"])
@pytest.mark.parametrize("name", ["", "   ", "x" * 256, 7, ["x"], None])
async def test_a_room_needs_a_name(jz: Person, kind: str, name: object) -> None:
    answer = await jz.post(f"/api/rooms/{kind}", {"name": name})

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert list(answer.json["error"]["fields"]) == ["name"]


@pytest.mark.parametrize("kind", ["opens", "closeds"])
async def test_when_restricted_only_administrators_make_rooms_but_all_ping(
    jz: Person, jason: Person, cast: Cast, kind: str
) -> None:
    await restrict(jason, "true")

    refused = await jz.post(f"/api/rooms/{kind}", {"name": "Garden"})
    form = await jz.get(f"/rooms/{kind}/new")
    allowed = await jason.post(f"/api/rooms/{kind}", {"name": "Garden"})
    ping = await jz.post("/api/rooms/directs", {"user_ids": [cast.kevin.id]})

    assert (refused.status, refused.code) == (403, "room_creation_restricted")
    assert (form.status, form.boot["page"]) == (403, "error")
    assert (allowed.status, ping.status) == (201, 201)
    assert (await jz.boot("/rooms/4"))["account"]["can_create_rooms"] is False
    await restrict(jason, "0")
    assert (await jz.post(f"/api/rooms/{kind}", {"name": "Garden"})).status == 201


async def test_the_creator_renames_an_open_room_and_everybody_hears_it_once(
    kevin: Person, jz: Person
) -> None:
    room = (await kevin.post("/api/rooms/opens", {"name": "Garden"})).json["room"]
    tab = await jz.sidebar_tab()

    refused = await jz.put(f"/api/rooms/opens/{room['id']}", {"name": "Mine"})
    blank = await kevin.put(f"/api/rooms/opens/{room['id']}", {"name": " "})
    frames_before = await tab.drain()
    saved = await kevin.send("PATCH", f"/api/rooms/opens/{room['id']}", {"name": "Orchard"})

    assert (refused.status, blank.status, frames_before) == (403, 422, [])
    assert (saved.status, saved.json["room"]["name"]) == (200, "Orchard")
    assert targets(await tab.drain()) == [("replace", f"list_room_{room['id']}")]
    edit = await jz.get(f"/rooms/opens/{room['id']}/edit")
    assert (edit.boot["page"], edit.boot["data"]["room"]["can_administer"]) == ("room_edit", False)


async def test_a_closed_room_saved_as_open_lets_everybody_in_and_the_new_ones_hear_it_first(
    jason: Person, jz: Person, cast: Cast
) -> None:
    newcomer, old_member = await jz.sidebar_tab(), await jason.sidebar_tab()
    target = f"list_room_{cast.watercooler.id}"

    answer = await jason.put(f"/api/rooms/opens/{cast.watercooler.id}", {"name": "Watercooler"})

    assert (answer.status, answer.json["room"]["type"]) == (200, "open")
    assert len(await member_names(jz, cast.watercooler.id)) == 5
    assert targets(await newcomer.drain()) == [("prepend", "shared_rooms"), ("replace", target)]
    assert targets(await old_member.drain()) == [("replace", target)]


# Closed rooms.


async def test_show_addresses_of_any_kind_redirect_to_the_room(kevin: Person, cast: Cast) -> None:
    for kind in ("opens", "closeds", "directs"):
        page = await kevin.get(f"/rooms/{kind}/{cast.designers.id}")
        assert (page.status, page.location) == (302, f"/rooms/{cast.designers.id}")


async def test_a_new_closed_room_holds_its_people_and_each_hears_it_once(
    kevin: Person, jz: Person, david: Person, cast: Cast
) -> None:
    tabs = [await person.sidebar_tab() for person in (kevin, jz, david)]
    wanted = [cast.jz.id, str(cast.jason.id), cast.jz.id, 999]

    answer = await kevin.post("/api/rooms/closeds", {"name": "Plans", "user_ids": wanted})

    assert answer.status == 201
    assert await member_names(kevin, answer.json["room"]["id"]) == ["Jason", "JZ", "Kevin"]
    heard = [targets(await tab.drain()) for tab in tabs]
    assert heard == [[("prepend", "shared_rooms")], [("prepend", "shared_rooms")], []]
    alone = await kevin.post("/api/rooms/closeds", {"name": "Alone"})
    assert await member_names(kevin, alone.json["room"]["id"]) == ["Kevin"]


async def test_a_closed_room_loses_who_is_left_out_and_gains_who_is_named(
    jason: Person, jz: Person, kevin: Person, server: Server, cast: Cast
) -> None:
    left_out, kept, added = [
        await person.sidebar_tab() for person in (jz, kevin, await server.sign_in(cast.bender))
    ]
    room_tab = await jz.room_tab(cast.designers)
    target = f"list_room_{cast.designers.id}"

    answer = await jason.put(
        f"/api/rooms/closeds/{cast.designers.id}",
        {"name": "Artists", "user_ids": [cast.kevin.id, cast.david.id, cast.bender.id]},
    )

    assert (answer.status, answer.json["still_member"]) == (200, True)
    assert await member_names(jason, cast.designers.id) == ["Bender Bot", "David", "Jason", "Kevin"]
    assert targets(await kept.drain()) == [("replace", target)]
    assert targets(await added.drain()) == [("prepend", "shared_rooms")]
    assert targets([await left_out.next_message()]) == [("remove", target)]
    for tab in (left_out, room_tab):
        frame, code = await tab.goodbye()
        assert (frame["reason"], frame["reconnect"], code) == ("remote", True, 1000)
    signed = server.parts.signer.stream(f"room_{cast.designers.id}:messages")
    back = await jz.welcomed()
    for channel, more in (
        ("RoomMessagesChannel", {"signed_stream_name": signed}),
        ("PresenceChannel", {"room_id": cast.designers.id}),
    ):
        assert (await back.ask(channel=channel, **more))["type"] == "reject_subscription"
    await kevin.say(cast.designers, "without JZ")
    assert await back.drain() == []


async def test_an_open_room_saved_as_closed_keeps_the_chosen_and_its_creator(
    jason: Person, cast: Cast
) -> None:
    given = {"name": "Pets", "user_ids": [cast.kevin.id]}

    answer = await jason.put(f"/api/rooms/closeds/{cast.pets.id}", given)

    # David made the room: he stays. Jason left himself out: he goes.
    assert answer.json == {"room": None, "still_member": False}
    assert (await jason.get(f"/rooms/{cast.pets.id}")).location == "/"
    ids = await jason.server.parts.db.read(program.member_ids, cast.pets.id)
    assert ids == (cast.david.id, cast.kevin.id)


async def test_a_member_who_did_not_make_the_room_changes_nothing_in_it(
    jz: Person, kevin: Person, cast: Cast
) -> None:
    tab = await kevin.sidebar_tab()

    for kind in ("opens", "closeds"):
        for given in ({"name": "Mine", "user_ids": [jz.id]}, {"name": ""}):
            answer = await jz.put(f"/api/rooms/{kind}/{cast.designers.id}", given)
            assert (answer.status, answer.code) == (403, "forbidden")

    assert await tab.drain() == []
    room = await room_of(jz, cast.designers.id)
    assert (room["name"], room["type"], room["can_administer"]) == ("Designers", "closed", False)
    assert await member_names(jz, cast.designers.id) == ["David", "Jason", "JZ", "Kevin"]


@pytest.mark.parametrize("ids", [None, "1,2", {"1": 2}, [1, "x"], [True], [1.5], [-1], [[1]]])
async def test_user_ids_must_be_a_list_of_ids(jason: Person, cast: Cast, ids: object) -> None:
    given = {"name": "Designers", "user_ids": ids}

    for answer in (
        await jason.put(f"/api/rooms/closeds/{cast.designers.id}", given),
        await jason.put(f"/api/rooms/closeds/{cast.designers.id}", {"name": "Designers"}),
        await jason.post("/api/rooms/directs", {"user_ids": ids}),
        await jason.post("/api/rooms/closeds", given),
    ):
        assert (answer.status, answer.code) == (422, "validation_failed")
        assert list(answer.json["error"]["fields"]) == ["user_ids"]
    assert len(await member_names(jason, cast.designers.id)) == 4


# Pings.


async def test_a_ping_is_one_room_for_the_same_people_in_any_order(
    jz: Person, kevin: Person, david: Person
) -> None:
    tabs = [await person.sidebar_tab() for person in (jz, kevin, david)]

    made = await jz.post("/api/rooms/directs", {"user_ids": [kevin.id, jz.id, kevin.id]})
    found = await kevin.post("/api/rooms/directs", {"user_ids": [jz.id]})

    room_id = made.json["room"]["id"]
    assert (made.status, found.status, found.json["room"]["id"]) == (201, 200, room_id)
    assert made.headers["Location"] == f"/rooms/{room_id}"
    assert await jz.server.parts.db.read(program.member_ids, room_id) == (jz.id, kevin.id)
    heard = [targets(await tab.drain()) for tab in tabs]
    assert heard == [[("prepend", "direct_rooms")], [("prepend", "direct_rooms")] * 2, []]
    answers = await asyncio.gather(
        *(kevin.post("/api/rooms/directs", {"user_ids": [1, 2, 3]}) for _ in range(8))
    )
    assert len({answer.json["room"]["id"] for answer in answers}) == 1
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert answers[0].json["room"]["display_name"] == "David, Jason, and JZ"
    alone = (await jz.post("/api/rooms/directs")).json["room"]
    assert (alone["display_name"], [user["name"] for user in alone["members"]]) == ("JZ", ["JZ"])


async def test_a_ping_keeps_its_kind_and_its_two_people_for_ever(
    david: Person, jason: Person, cast: Cast
) -> None:
    ping = cast.david_and_jason
    for person in (david, jason):
        for kind in ("opens", "closeds"):
            given = {"name": "Ours", "user_ids": [1, 2, 3, 4]}
            answer = await person.put(f"/api/rooms/{kind}/{ping.id}", given)
            assert (answer.status, answer.code) == (404, "room_not_found")
            assert (await person.get(f"/rooms/{kind}/{ping.id}/edit")).location == "/"

    room = await room_of(david, ping.id)
    assert (room["type"], room["name"]) == ("direct", None)
    assert await member_names(david, ping.id) == ["David", "Jason"]
    assert (await david.get(f"/api/rooms/{ping.id}/members")).json["unselected"] == []
    edit = await david.get(f"/rooms/directs/{ping.id}/edit")
    assert (edit.boot["page"], edit.boot["data"]["room"]["id"]) == ("direct_edit", ping.id)
    assert (await david.get(f"/rooms/directs/{cast.hq.id}/edit")).location == "/"


async def test_either_of_two_deletes_their_ping_and_nobody_else_does(
    kevin: Person, jz: Person, cast: Cast
) -> None:
    refused = await jz.delete(f"/api/rooms/{cast.david_and_kevin.id}")
    deleted = await kevin.delete(f"/api/rooms/{cast.david_and_kevin.id}")

    assert (refused.status, deleted.status) == (404, 204)
    page = await kevin.get(f"/rooms/{cast.david_and_kevin.id}")
    assert (page.status, page.location) == (302, "/")
    for path in (f"/api/rooms/directs/{cast.hq.id}", f"/api/rooms/directs/{cast.designers.id}"):
        assert (await kevin.delete(path)).status in (403, 404, 405)
    assert (await room_of(kevin, cast.hq.id))["name"] == "HQ"


# Involvement.


async def test_the_bell_opens_and_only_hiding_and_unhiding_are_told_to_oneself(
    kevin: Person, jz: Person, cast: Cast
) -> None:
    tab, other = await kevin.sidebar_tab(), await jz.sidebar_tab()
    path, target = f"/api/rooms/{cast.designers.id}/involvement", f"list_room_{cast.designers.id}"

    opened = await kevin.get(path)
    levels = ("everything", "nothing", "invisible", "everything", "mentions")
    saved = [await kevin.put(path, {"involvement": level}) for level in levels]
    shown = [answer.json for answer in (opened, *saved)]

    assert [(each["involvement"], each["next_involvement"]) for each in shown] == [
        ("mentions", "everything"), ("everything", "nothing"), ("nothing", "invisible"),
        ("invisible", "mentions"), ("everything", "nothing"), ("mentions", "everything"),
    ]  # fmt: skip
    assert [each["involvement_label"] for each in shown[:4]] == [
        "Notifying about @ mentions",
        "Notifying about all messages",
        "Notifications are off",
        "Notifications are off and room invisible in sidebar",
    ]
    assert targets(await tab.drain()) == [("remove", target), ("prepend", "shared_rooms")]
    assert await other.drain() == []


async def test_the_bell_of_a_ping_is_told_to_nobody(kevin: Person, cast: Cast) -> None:
    tab, path = await kevin.sidebar_tab(), f"/api/rooms/{cast.david_and_kevin.id}/involvement"

    off = await kevin.put(path, {"involvement": "nothing"})
    hidden = await kevin.put(path, {"involvement": "invisible"})

    assert (off.json["next_involvement"], hidden.json["next_involvement"]) == ("everything",) * 2
    assert await tab.drain() == []
    for wrong in ("", "loud", None, 7, ["nothing"]):
        answer = await kevin.put(path, {"involvement": wrong})
        assert (answer.status, answer.code) == (422, "invalid_involvement")


# The sidebar.


async def test_the_sidebar_names_ones_rooms_and_marks_what_is_unread(
    kevin: Person, david: Person, cast: Cast
) -> None:
    for room in (cast.designers, cast.david_and_kevin, cast.pets):
        await david.say(room, "news")
    hidden = f"/api/rooms/{cast.pets.id}/involvement"
    await kevin.put(hidden, {"involvement": "invisible"})
    await david.say(cast.pets, "unseen")

    sidebar = (await kevin.get("/api/users/me/sidebar")).json

    assert [(room["name"], room["unread"]) for room in sidebar["shared"]] == [
        ("Designers", True),
        ("HQ", False),
    ]
    assert [(room["display_name"], room["unread"]) for room in sidebar["directs"]] == [
        ("David", True),
        ("Bender Bot", False),
    ]
    assert [user["name"] for user in sidebar["placeholders"]] == ["Jason", "JZ"]
    assert (sidebar["can_create_rooms"], sidebar["total_unread"]) == (True, 2)
    page = await kevin.boot("/users/me/sidebar")
    assert (page["page"], page["data"]) == ("sidebar", {"sidebar": sidebar})
    assert (await david.get("/api/users/me/sidebar")).json["total_unread"] == 1  # Watercooler
    await kevin.put(hidden, {"involvement": "mentions"})
    names = [room["name"] for room in (await kevin.get("/api/rooms")).json["rooms"]]
    assert names == ["Designers", "HQ", "Pets", None, None]


async def test_placeholders_fill_the_sidebar_up_and_never_below_nothing(
    server: Server, jz: Person, cast: Cast
) -> None:
    expected = {0: 19, 1: 17, 2: 16, 17: 1, 18: 0, 19: 0, 20: 0, 21: 0}
    for pings in range(22):
        given = (f"Guest {pings:02}", f"guest{pings}@example.com", "password")
        await server.parts.auth.join(cast.join_code, *given)
    for pings in range(22):
        sidebar = (await jz.get("/api/users/me/sidebar")).json
        people = [user["id"] for user in sidebar["placeholders"]]
        known = [user["id"] for room in sidebar["directs"] for user in room["members"]]
        assert len(known) == pings
        assert expected.get(pings, len(people)) == len(people)
        assert people == sorted(people)
        assert {jz.id, *known}.isdisjoint(people)
        guest = len(cast.everybody) + 1 + pings
        await server.parts.rooms.find_or_create_direct(cast.jz, [program.UserId(guest)])
    many = "INSERT INTO users (name, role, created_at, updated_at) VALUES ('Guest', 0, 0, 0)"
    await server.parts.db.write(lambda tx, _: [tx.execute(many) for _ in range(478)])
    newest = len(cast.everybody) + 22
    for guest in range(newest + 1, newest + 479):
        await server.parts.rooms.find_or_create_direct(cast.jz, [program.UserId(guest)])
    sidebar = (await jz.get("/api/users/me/sidebar")).json
    assert (len(sidebar["directs"]), sidebar["placeholders"]) == (500, [])


vars().update(ROOMS)  # and what the tests of Rails assert

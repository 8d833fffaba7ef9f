"""Open and closed rooms: making them, changing them, who is in them and who hears of it."""

import pytest

import campfire as program
from tests.support.asking import member_names, restrict, room_of, targets
from tests.support.cast import Cast, Person, Server


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

"""The people: lists, roles, leaving, profiles, names, and what one may know of whom."""

import base64
import json
import re

import campfire as program
from tests.support.asking import ACCOUNT, PROFILE, SIGN_IN, STYLES, found, run
from tests.support.cast import SESAME, Cast, LogLines, Person, make_administrator, newcomer
from tests.support.files import sent
from tests.support.services import subscription


async def test_administrators_are_listed_first_and_bots_not(david: Person, jz: Person) -> None:
    await jz.put(PROFILE, {"name": "adam"})
    zoe = await make_administrator(jz.server.parts, "Zoe", "zoe@example.com")
    assert (await david.delete(f"/api/account/users/{zoe.id}")).status == 204
    assert (await david.post("/api/users/4/ban")).status == 200
    people, few = "/api/account/users", ["David", "Jason", "adam"]
    for person, path, expected in (
        (david, people, [*few, "Kevin"]), (jz, people, few),
        (jz, "/api/users", ["adam", "Bender Bot", "David", "Jason"]),
    ):  # fmt: skip
        assert [user["name"] for user in (await person.get(path)).json["users"]] == expected
    page = (await david.get("/account/edit")).boot
    statuses = [user["status"] for user in page["data"]["users"]]
    assert (page["page"], statuses) == ("account_edit", ["active"] * 3 + ["banned"])


async def test_lists_of_people_come_in_pages_of_five_hundred(david: Person) -> None:
    sql = """
        WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 500)
        INSERT INTO users (name, email_address, created_at, updated_at)
        SELECT 'Guest ' || n, 'guest' || n || '@example.com', 0, 0 FROM counter
    """
    await run(david.server, sql)
    for path, rest in (("/api/account/users", 4), ("/api/users", 5)):
        pages = [(await david.get(f"{path}?page={n}")).json for n in ("1", "2", "3", "0", "x")]
        assert [len(each["users"]) for each in pages] == [500, rest, 0, 500, 500]
        assert [each["next_page"] for each in pages] == [2, None, None, 2, 2]


async def test_roles_count_at_once_for_active_people(
    david: Person, jz: Person, visitor: Person, cast: Cast
) -> None:
    for role in ("member", "bot", "", None, 7, "Administrator"):
        for given, is_one in (("administrator", True), (role, False)):
            answer = await david.put(f"/api/account/users/{jz.id}", {"role": given})
            assert answer.json["user"]["role"] == ("administrator" if is_one else "member")
            assert (await jz.get(STYLES)).status == (200 if is_one else 403)
    await david.delete(f"/api/account/users/{jz.id}")
    await david.post(f"/api/users/{cast.kevin.id}/ban")
    for user_id in (cast.bender.id, jz.id, cast.kevin.id, 999):
        for method in ("PUT", "DELETE"):
            refused = await david.send(method, f"/api/account/users/{user_id}", {"role": "member"})
            assert (refused.status, refused.code) == (404, "user_not_found")
    for name in ("David", "Jason"):
        helper = (await visitor.get("/session/new")).boot["help_contact"]
        assert helper == {"name": name, "email_address": f"{name.lower()}@example.com"}
        await david.put(f"/api/account/users/{david.id}", {"role": "member"})  # nobody guards it


async def test_who_is_deactivated_leaves_everything_but_pings_and_what_they_said(
    david: Person, kevin: Person, visitor: Person, cast: Cast, log_lines: LogLines
) -> None:
    said = await kevin.say(cast.designers, "I was here")
    await kevin.post("/api/searches", {"q": "here"})
    assert (await kevin.post("/api/users/me/push_subscriptions", subscription("1"))).status == 200
    tab = await kevin.welcomed()
    assert (await david.delete(f"/api/account/users/{kevin.id}")).status == 204
    frame, code = await tab.goodbye()
    assert (frame["reason"], frame["reconnect"], code) == ("remote", False, 1000)
    for table in ("sessions", "push_subscriptions", "searches"):
        rows = f"SELECT * FROM {table} WHERE user_id = 4"  # noqa: S608 - the tables just named
        assert await found(kevin.server, rows) == []
    rooms = await found(kevin.server, "SELECT room_id FROM memberships WHERE user_id = 4")
    assert sorted(rooms) == [(cast.david_and_kevin.id,), (cast.bender_and_kevin.id,)]
    shown = (await david.get(f"/api/users/{kevin.id}")).json["user"]
    address = r"kevin-deactivated-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}@example\.com"
    assert re.fullmatch(address, shown["email_address"])
    kept = await david.get(f"/api/rooms/{cast.designers.id}/messages/{said['id']}")
    assert kept.json["message"]["creator"]["status"] == shown["status"] == "deactivated"
    assert any('"user_deactivated"' in line for line in log_lines())
    dead = {"email_address": shown["email_address"], "password": SESAME}
    assert (await visitor.post("/api/session", dead)).status == 401
    again = await visitor.post(f"/api/join/{cast.join_code}", {"name": "Kevin", **SIGN_IN})
    assert again.status == 201  # the address is free
    assert (await david.delete(f"/api/account/users/{david.id}")).status == 204  # oneself, too
    assert (await david.get(ACCOUNT)).code == "unauthenticated"


async def test_a_profile_shows_rooms_and_a_link_to_the_next_device(kevin: Person) -> None:
    await kevin.put("/api/rooms/2/involvement", {"involvement": "invisible"})
    profile = (await kevin.get(PROFILE)).json
    shared, direct = profile["shared_memberships"], profile["direct_memberships"]
    names = [(each["room"]["name"], each["involvement"]) for each in shared]
    assert names[1:] == [("HQ", "mentions"), ("Pets", "invisible")]
    assert [each["room"]["display_name"] for each in direct] == ["Bender Bot", "David"]
    assert {*shared[0]} == {"room", "involvement", "involvement_label", "next_involvement"}
    assert profile["transfer_url"].startswith(f"{kevin.server.address}/session/transfers/")
    encoded = profile["transfer_qr_path"].removeprefix("/qr_code/")
    assert base64.urlsafe_b64decode(encoded + "==").decode() == profile["transfer_url"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", profile["transfer_expires_at"])
    page = (await kevin.get("/users/me/profile")).boot
    assert (page["page"], page["data"]["user"]) == ("profile", profile["user"])
    assert (await kevin.get("/users/1")).boot["data"]["user"]["name"] == "David"


async def test_a_profile_changes_what_is_given_and_nobody_elses(kevin: Person, cast: Cast) -> None:
    others = "SELECT * FROM users WHERE id != 4"
    before = await found(kevin.server, others)
    fields = {"name": " Kev ", "bio": " Writes <code> ", "id": cast.jz.id, "role": 1, "avatar": "x"}
    user = (await kevin.put(f"{PROFILE}?user_id={cast.jz.id}", fields)).json["user"]
    assert (user["name"], user["bio"], user["role"]) == ("Kev", "Writes <code>", "member")
    title = "Kev \u2013 Writes <code>"
    assert (user["email_address"], user["title"]) == ("kevin@example.com", title)
    for nothing in ({}, {"name": None, "bio": None}, {"password": "  "}):
        same = (await kevin.put(PROFILE, nothing)).json["user"]
        assert (same["name"], same["bio"]) == ("Kev", "Writes <code>")
    moved = await kevin.put(PROFILE, {"email_address": " Kev@Example.com ", "bio": ""})
    user = moved.json["user"]
    assert (user["email_address"], user["title"]) == ("Kev@Example.com", "Kev")
    assert await found(kevin.server, others) == before


async def test_addresses_are_shown_to_administrators_and_oneself_and_nobody_else(
    david: Person, jz: Person, kevin: Person, cast: Cast
) -> None:
    tabs = [await jz.sidebar_tab(), await jz.room_tab(cast.designers)]
    said = await kevin.say(cast.designers, "hello")
    boosts = f"/api/messages/{said['id']}/boosts"
    words = dict.fromkeys("transfer name avatar_token path text id key bot_key".split(), "x")
    file = (await sent(kevin, cast.designers, b"words"))["attachment"]
    ids = {"user_id": 4, "bot_id": 5, "message_id": said["id"], "type": "opens", **words}
    ids |= {"join_code": cast.join_code, "attachment_id": file["id"], "filename": file["filename"]}
    asked: list[tuple[str, str, object]] = [
        ("POST", "/api/rooms/directs", {"user_ids": [1, 4]}), ("POST", boosts, {"content": "+1"}),
        ("POST", "/api/rooms/closeds", {"name": "New", "user_ids": [1]}), ("GET", boosts, None),
        ("POST", "/api/rooms/opens", {"name": "New"}), ("GET", "/api/searches?q=hello", None),
        ("POST", "/api/rooms/4/messages", {"body": "mine"}), ("GET", "/api/rooms/4/messages", None),
        ("GET", "/api/autocompletable/users?query=k&room_id=4", None),
    ]  # fmt: skip
    for route in sorted({route.path for route in program.ROUTES if route.method == "GET"}):
        for room_id in (cast.designers.id, cast.david_and_kevin.id, cast.hq.id):
            path = re.sub(r":[^{}]*\}", "}", route).format_map({**ids, "room_id": room_id})
            asked += [("GET", path, None), ("GET", f"/api/boot?path={path}", None)]
    texts = [(path, (await jz.send(each, path, given)).body) for each, path, given in asked]
    await david.post(boosts, {"content": "+2"})
    await kevin.put(f"/api/rooms/4/messages/{said['id']}", {"body": "edited"})
    await kevin.post("/api/rooms/directs", {"user_ids": [jz.id, david.id]})
    others = re.compile(rb"(david|jason|kevin)@example")
    shown = {path.removeprefix("/api/boot?path=") for path, text in texts if others.search(text)}
    assert shown == {"/session/new"}  # whom to ask for help
    frames = [str(frame) for tab in tabs for frame in await tab.drain()]
    assert (len(frames) >= 7, [frame for frame in frames if "@example" in frame]) == (True, [])
    lists = ("/api/users", "/api/account/users", "/api/rooms/1/members")
    for path in (*lists, f"/api/users/{jz.id}", "/api/session", PROFILE):
        assert "jz@example.com" in (await jz.get(path)).text, path
    for path in (*lists, "/account/edit", "/rooms/closeds/new"):
        text = (await david.get(path)).text
        assert all(f"{name}@example.com" in text for name in ("jz", "jason", "kevin")), path


async def test_names_are_completed_for_all_or_for_one_room(jz: Person, cast: Cast) -> None:
    await jz.server.parts.auth.join(
        cast.join_code, newcomer("Dana <b>", "dana@example.com", "password")
    )

    async def names(query: str) -> list[str]:
        answer = await jz.get(f"/api/autocompletable/users?{query}")
        return [user["name"] for user in answer.json["users"]]

    found = (await jz.get("/api/autocompletable/users?query=DA")).json
    assert (found["page"], found["next_page"]) == (1, None)
    assert [user["name"] for user in found["users"]] == ["Dana <b>", "David"]
    dana = found["users"][0]
    assert (dana["name_html"], dana["value"]) == ("Dana &lt;b&gt;", 6)
    assert dana["sgid"] == jz.server.parts.signer.sgid(program.UserId(6))
    assert set(dana) == {"name", "name_html", "value", "avatar_url", "sgid", "about"}
    assert await names(f"query=da&room_id={cast.designers.id}") == ["David"]
    assert await names("query=") == ["Bender Bot", "Dana <b>", "David", "Jason", "JZ", "Kevin"]
    assert [await names(query) for query in ("query=%25", "query=_", "query=%00")] == [[], [], []]
    for room in (cast.watercooler.id, 0, 999, "x", "-4"):
        outside = await jz.get(f"/api/autocompletable/users?room_id={room}")
        assert (outside.status, outside.code) == (404, "room_not_found")
    assert "email" not in json.dumps(found)
    listed = (await jz.get("/api/users")).json
    assert [user["name"] for user in listed["users"]] == await names("")
    assert (listed["page"], listed["next_page"]) == (1, None)

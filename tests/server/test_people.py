"""The account and its people: settings, roles, leaving, bans, profiles, and what one may know."""

import base64
import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import example, settings
from hypothesis import given as for_any
from hypothesis import strategies as st

import campfire as program
from tests.conftest import Place, Template
from tests.support import matrix
from tests.support.asking import found, settle, stored
from tests.support.cast import AGENT, SESAME, Cast, LogLines, Person, Server, Start
from tests.support.checklist_people import PEOPLE
from tests.support.readers import Life
from tests.support.tables import briefly, cases

KEVIN = {"email_address": "kevin@example.com", "password": SESAME}
BLANK, INVALID = "can't be blank", "is invalid"
LONG = "is too long (maximum is 255 characters)"
STYLE, RESTRICTION = "custom_styles", "restrict_room_creation_to_administrators"
ACCOUNT, STYLES, PROFILE = "/api/account", "/api/account/custom_styles", "/api/users/me/profile"
SUBSCRIPTION = {"endpoint": "https://push.example.com/1", "p256dh_key": "k", "auth_key": "a"}


async def test_administrators_name_the_account_and_say_who_makes_rooms(
    start: Start, cast: Cast
) -> None:
    server = await start(TLS_DOMAIN="chat.example.com", DISABLE_SSL="1")
    david, jz = await server.sign_in(cast.david), await server.sign_in(cast.jz)
    for value, is_set in (
        (True, True),
        ("false", False),
        ("1", True),
        ("0", False),
        ("true", True),
    ):
        for given in ({"settings": {RESTRICTION: value}}, {"settings": {RESTRICTION: None}}):
            account = (await david.put(ACCOUNT, given)).json["account"]
            assert (account["settings"], account["can_create_rooms"]) == (
                {RESTRICTION: is_set},
                True,
            )
        assert (await jz.get(ACCOUNT)).json["account"]["can_create_rooms"] is not is_set
    assert (await david.put(ACCOUNT, {"name": " Northwind Studio "})).status == 200
    account = (await jz.get(ACCOUNT)).json["account"]
    assert re.fullmatch(r"/account/logo\?v=\d{14}", account.pop("logo_url"))
    del account["updated_at"]
    assert account == {
        "name": "Northwind Studio", "join_code": cast.join_code, "can_create_rooms": False,
        "join_url": f"http://chat.example.com/join/{cast.join_code}",
        "settings": {RESTRICTION: True},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "field", "value", "says"),
    cases("bad fields of settings"),
    ids=briefly,
)
async def test_a_bad_field_is_named_and_changes_nothing(
    david: Person, path: str, field: str, value: object, says: str | None
) -> None:
    before = await stored(david.server)
    answer = await david.put(path, {field: value})
    code = "validation_failed" if says else "email_taken"
    assert (answer.status, answer.code) == (422, code)
    assert answer.json["error"].get("fields") == ({field: [says]} if says else None)
    assert await stored(david.server) == before


async def test_a_new_invitation_ends_the_old(david: Person, visitor: Person, cast: Cast) -> None:
    answer = await david.post("/api/account/join_code")
    old, new = cast.join_code, answer.json["join_code"]
    assert (answer.status, new != old) == (201, True)
    assert re.fullmatch(r"[A-Za-z0-9]{4}(-[A-Za-z0-9]{4}){2}", new)
    assert answer.json["join_url"] == f"{david.server.address}/join/{new}"
    assert [(await visitor.get(f"/join/{code}")).status for code in (old, new)] == [404, 200]


async def test_styles_are_kept_and_stay_inside_their_element(
    david: Person, visitor: Person
) -> None:
    styles = "body > p { color: red } /* </style><b> */"
    answer = await david.put(STYLES, {STYLE: styles})
    assert answer.json == (await david.get(STYLES)).json == {STYLE: styles}
    assert (await david.get("/account/custom_styles/edit")).boot["data"] == answer.json
    shown = styles.replace("</", "<\\/")
    assert f'<style id="custom-styles">{shown}</style>' in (await visitor.get("/session/new")).text
    for each in ("x" * 65_536, ""):
        assert (await david.put(STYLES, {STYLE: each})).status == 200
    assert 'id="custom-styles"' not in (await visitor.get("/session/new")).text


async def test_logos_and_pictures_of_ones_own_are_for_later(david: Person, jz: Person) -> None:
    for person, path, feature, says in (
        (david, "/api/account/logo", "files", "Custom logos are coming in v2.0"),
        (jz, "/api/users/me/avatar", "avatars", "Avatar uploads are coming in v2.0"),
    ):
        for method in ("PUT", "DELETE"):
            answer = await person.send(method, path)
            told = {"code": "feature_disabled", "feature": feature, "message": says}
            assert (answer.status, answer.json["error"]) == (501, told)


async def test_some_things_are_for_administrators(jz: Person, visitor: Person, cast: Cast) -> None:
    before, fields = await stored(jz.server), {"role": "administrator", STYLE: "p {}"}
    guarded = [each for each in program.ROUTES if each.audience == "administrators"]
    assert len(guarded) == 16  # as many as section 11 has
    for method, path in ((each.method, each.path) for each in guarded):
        there = path.format(user_id=cast.kevin.id, bot_id=cast.bender.id)
        nowhere = path.format(user_id=999, bot_id=999)
        forbidden, signed_out = (403, "forbidden"), (401, "unauthenticated")
        keyed = f"{there}?bot_key=5-ABCDEFGHIJKL"
        for person, where, refusal in (
            (jz, there, forbidden), (jz, nowhere, forbidden), (visitor, there, signed_out),
            (visitor, nowhere, signed_out), (visitor, keyed, (403, "bot_forbidden")),
        ):  # fmt: skip
            answer = await person.send(method, where, None if method == "GET" else fields)
            assert (answer.status, answer.code) == refusal, (method, where)
    for page in ("bots", "bots/new", f"bots/{cast.bender.id}/edit", "custom_styles/edit"):
        assert (await jz.get(f"/account/{page}")).status == 403
    assert await stored(jz.server) == before


async def test_administrators_are_listed_first_and_bots_not(david: Person, jz: Person) -> None:
    await jz.put(PROFILE, {"name": "adam"})
    zoe = await jz.server.parts.auth.create_administrator("Zoe", "zoe@example.com", SESAME)
    assert (await david.delete(f"/api/account/users/{zoe.id}")).status == 204
    assert (await david.post("/api/users/4/ban")).status == 200
    people, few = "/api/account/users", ["David", "Jason", "adam"]
    for person, path, expected in (
        (david, people, [*few, "Kevin"]), (jz, people, few),
        (jz, "/api/users", ["adam", "Bender Bot", "David", "Jason"]),
    ):  # fmt: skip
        assert [user["name"] for user in (await person.get(path)).json["users"]] == expected
    page = (await david.get("/account/edit")).boot["data"]["users"]
    assert [user["status"] for user in page] == ["active"] * 3 + ["banned"]


async def test_lists_of_people_come_in_pages_of_five_hundred(david: Person) -> None:
    sql = """
        WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 500)
        INSERT INTO users (name, email_address, created_at, updated_at)
        SELECT 'Guest ' || n, 'guest' || n || '@example.com', 0, 0 FROM counter
    """
    await david.server.parts.db.write(lambda tx, _: tx.execute(sql).rowcount)
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
    assert (await kevin.post("/api/users/me/push_subscriptions", SUBSCRIPTION)).status == 200
    tab = await kevin.welcomed()
    assert (await david.delete(f"/api/account/users/{kevin.id}")).status == 204
    frame, code = await tab.goodbye()
    assert (frame["reason"], frame["reconnect"], code) == ("remote", False, 1000)
    for table in ("sessions", "push_subscriptions", "searches"):
        assert await found(kevin.server, f"SELECT * FROM {table} WHERE user_id = 4") == []  # noqa: S608
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
    again = await visitor.post(f"/api/join/{cast.join_code}", {"name": "Kevin", **KEVIN})
    assert again.status == 201  # the address is free
    assert (await david.delete(f"/api/account/users/{david.id}")).status == 204  # oneself, too
    assert (await david.get(ACCOUNT)).code == "unauthenticated"


NEVER_BANNED = cases("addresses that are never banned")
BANNED = "52.0.0.7 172.32.0.1 172.15.255.255 11.0.0.1 192.169.0.1 2a01:4f8::7 64.64.0.1".split()


async def test_a_ban_covers_every_public_address_of_the_persons_sessions_once(
    david: Person, jason: Person, visitor: Person, cast: Cast
) -> None:
    for address in [*NEVER_BANNED, *BANNED, "", BANNED[0]]:
        await david.server.parts.auth.start_session(cast.jz.id, address, AGENT)
    answers = [await each.post(f"/api/users/{cast.jz.id}/ban") for each in (david, jason)]
    assert [(each.status, each.json["user"]["status"]) for each in answers] == [(200, "banned")] * 2
    bans = await found(david.server, "SELECT user_id, ip_address FROM bans")
    assert sorted(bans) == sorted((cast.jz.id, address) for address in BANNED)
    for address in BANNED:
        there = {"X-Forwarded-For": address}
        assert (await visitor.post("/api/session", {}, there)).code == "banned_ip"
        assert (await visitor.get(f"/join/{cast.join_code}", there)).status == 200


async def test_who_is_banned_is_out_at_once_and_all_they_said_goes_oldest_first(
    david: Person, kevin: Person, jz: Person, cast: Cast, log_lines: LogLines
) -> None:
    stays = await jz.say(cast.designers, "sunshine of JZ")
    for n in range(45):
        await kevin.say(cast.designers, f"sunshine {n}", f"k{n}")
    await kevin.say(cast.pets, "sunshine for pets", "k-pets")
    await jz.post(f"/api/messages/{stays['id']}/boosts", {"content": "+1"})
    await kevin.post("/api/users/me/push_subscriptions", SUBSCRIPTION)
    of_kevin = "SELECT room_id FROM memberships WHERE user_id = 4"
    rooms = await found(kevin.server, of_kevin)
    tab, tab_of_kevin = await jz.room_tab(cast.designers), await kevin.welcomed()
    assert (await david.post(f"/api/users/{kevin.id}/ban")).status == 200
    await settle(david.server)
    assert (await tab_of_kevin.goodbye())[0]["reconnect"] is False
    frames = [re.findall(r'"remove" target="([^"]+)"', each) for each in await tab.drain()]
    assert frames == [[f"message_k{n}"] for n in range(45)]
    gone = "messages WHERE creator_id = 4", "sessions WHERE user_id = 4", "push_subscriptions"
    for each in gone:
        assert await found(kevin.server, f"SELECT * FROM {each}") == []  # noqa: S608
    assert await found(kevin.server, of_kevin) == rooms
    (hit,) = (await jz.get("/api/searches?q=sunshine")).json["messages"]
    assert (hit["id"], len(hit["boosts"])) == (stays["id"], 1)
    for _ in range(2):
        unbanned = await david.delete(f"/api/users/{kevin.id}/ban")
        assert (unbanned.status, unbanned.json["user"]["status"]) == (200, "active")
    assert (await jz.get(f"/api/rooms/{cast.pets.id}/messages")).status == 204  # gone for good
    assert any('"user_banned"' in line for line in log_lines())


async def test_a_removal_goes_on_at_the_next_start(start: Start, cast: Cast) -> None:
    kevin = await (first := await start()).sign_in(cast.kevin)
    for n in range(3):
        await kevin.say(cast.designers, f"word {n}", f"k{n}")
    ban = "UPDATE users SET status = 2 WHERE name = 'Kevin'"
    await first.parts.db.write(lambda tx, _: tx.execute(ban).rowcount)
    await first.stop()
    jz = await (second := await start()).sign_in(cast.jz)
    tab = await jz.room_tab(cast.designers)
    await program.resume_bans(second.parts)
    await settle(second)
    removed = [re.findall(r'target="message_(\w+)"', frame) for frame in await tab.drain()]
    assert removed == [["k0"], ["k1"], ["k2"]]
    assert (await jz.get(f"/api/rooms/{cast.designers.id}/messages")).status == 204


async def test_nobody_bans_themselves_or_a_bot_or_who_has_left(david: Person, cast: Cast) -> None:
    await david.delete(f"/api/account/users/{cast.kevin.id}")
    before, cannot = await stored(david.server), (422, "cannot_ban")
    for user_id, banned, unbanned in (
        (cast.david.id, cannot, (200, "")), (cast.bender.id, cannot, cannot),
        (cast.kevin.id, cannot, cannot), (999, *[(404, "user_not_found")] * 2),
    ):  # fmt: skip
        for method, expected in (("POST", banned), ("DELETE", unbanned)):
            answer = await david.send(method, f"/api/users/{user_id}/ban")
            assert (answer.status, answer.json.get("error", {}).get("code", "")) == expected
    assert await stored(david.server) == before


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
    assert (await kevin.get("/users/me/profile")).boot["data"]["user"] == profile["user"]


async def test_a_profile_changes_what_is_given_and_nobody_elses(kevin: Person, cast: Cast) -> None:
    others = "SELECT * FROM users WHERE id != 4"
    before = await found(kevin.server, others)
    fields = {"name": " Kev ", "bio": " Writes <code> ", "id": cast.jz.id, "role": 1, "avatar": "x"}
    user = (await kevin.put(PROFILE, fields)).json["user"]
    assert (user["name"], user["bio"], user["role"]) == ("Kev", "Writes <code>", "member")
    assert (user["email_address"], user["title"]) == ("kevin@example.com", "Kev – Writes <code>")  # noqa: RUF001
    for nothing in ({}, {"name": None, "bio": None}, {"password": "  "}):
        same = (await kevin.put(PROFILE, nothing)).json["user"]
        assert (same["name"], same["bio"]) == ("Kev", "Writes <code>")
    moved = await kevin.put(PROFILE, {"email_address": " Kev@Example.com ", "bio": ""})
    user = moved.json["user"]
    assert (user["email_address"], user["title"]) == ("Kev@Example.com", "Kev")
    assert await found(kevin.server, others) == before


async def test_a_new_password_ends_all_other_sessions_and_their_sockets(
    server: Server, kevin: Person, jz: Person, visitor: Person, cast: Cast
) -> None:
    async def links() -> list[str]:
        paths = (PROFILE, f"/api/users/{kevin.id}")
        return [(await kevin.get(path)).json["transfer_url"].split("/")[-1] for path in paths]

    other, old_links = await server.sign_in(cast.kevin), await links()
    tab, other_tab, tab_of_jz = [await each.welcomed() for each in (kevin, other, jz)]
    answer = await kevin.put(PROFILE, {"password": "a new one"})
    assert (answer.status, "password" in answer.text) == (200, False)
    assert (await other_tab.goodbye())[0]["reconnect"] is False
    assert await tab.drain() == await tab_of_jz.drain() == []
    assert [(await each.get("/api/session")).status for each in (other, kevin)] == [401, 200]
    for password, status in ((SESAME, 401), ("a new one", 201)):
        given = {**KEVIN, "password": password}
        assert (await visitor.post("/api/session", given)).status == status
    used = [*old_links, *(await links()) * 2]  # they die with the password, and work once
    answers = [await visitor.put(f"/api/session/transfers/{link}") for link in used]
    assert [each.status for each in answers] == [400, 400, 201, 201, 400, 400]


async def test_who_may_do_what_to_whom(david: Person, jz: Person, cast: Cast) -> None:
    await david.post(f"/api/users/{cast.jason.id}/ban")
    expected = {  # link, ban, message: for David, and for JZ
        cast.david.id: ((True, False, True), (False, False, True)),
        cast.jason.id: ((False, True, False), (False, False, False)),
        cast.jz.id: ((True, True, True), (True, False, True)),
        cast.kevin.id: ((True, True, True), (False, False, True)),
        cast.bender.id: ((False, False, True), (False, False, True)),
    }
    links = {None}
    for user_id, rights in expected.items():
        for person, right in zip((david, jz), rights, strict=True):
            page = (await person.get(f"/users/{user_id}")).boot["data"]
            for shown in (page, (await person.get(f"/api/users/{user_id}")).json):
                links.add(shown["transfer_url"])
                told = bool(shown["transfer_url"]), shown["can_ban"], shown["can_message"]
                assert told == right, (user_id, person.user.name)
    assert len(links) == 9  # each is made fresh
    assert (await jz.get("/api/users/999")).code == "user_not_found"


async def test_addresses_are_shown_to_administrators_and_oneself_and_nobody_else(
    david: Person, jz: Person, kevin: Person, cast: Cast
) -> None:
    tabs = [await jz.sidebar_tab(), await jz.room_tab(cast.designers)]
    said = await kevin.say(cast.designers, "hello")
    boosts = f"/api/messages/{said['id']}/boosts"
    words = dict.fromkeys("transfer name avatar_token path text id bot_key".split(), "x")
    ids = {"user_id": 4, "bot_id": 5, "message_id": said["id"], "type": "opens", **words}
    ids["join_code"] = cast.join_code
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


EVENTS = ["ban", "unban", "deactivate", "promote", "sign in", "open a room"]


@settings(max_examples=30)
@example([("ban", 0), ("promote", 0)])
@example([("ban", 1), ("unban", 1), ("sign in", 1), ("ban", 1), ("deactivate", 0), ("unban", 0)])
@for_any(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 1)), max_size=9))
def test_only_who_is_active_gets_in_and_they_are_in_every_open_room_whatever_happens(
    place: Place, cast: Cast, events: list[tuple[str, int]]
) -> None:
    [(number,)] = place.rows("SELECT max(id) FROM users")
    place.server.steady.seconds += 180
    david = place.do(place.server.sign_in(cast.david))
    lives = [Life(place, number + 1), Life(place, number + 2)]
    for what, who in events:
        lives[who].meet(what, david)
    for life in lives:
        place.do(life.check())
    sql = """
        SELECT 1 FROM users CROSS JOIN rooms LEFT JOIN memberships ON user_id = users.id
        AND room_id = rooms.id WHERE status = 0 AND type = 'open' AND involvement IS NULL
    """
    assert place.rows(sql) == []


async def test_with_a_domain_no_address_is_made_from_the_host_header(
    start: Start, cast: Cast
) -> None:
    server = await start(TLS_DOMAIN="chat.example.com", DISABLE_SSL="1")
    kevin, evil = await server.sign_in(cast.kevin), {"Host": "evil.example"}
    await kevin.say(cast.designers, "hello")
    for path in (
        "/rooms/4", "/api/rooms/4", "/api/rooms/4/messages", "/users/me/profile", "/rooms/9",
        "/api/users/me/profile", "/api/account", "/webmanifest.json",
    ):  # fmt: skip
        answer = await kevin.get(path, evil)  # whatever the status
        assert "evil.example" not in answer.text + answer.location, path


@settings(max_examples=25)
@for_any(st.text(min_size=1, max_size=40))
@example("\"'</script>\\\u2028{}")
def test_the_manifest_is_json_whatever_the_account_is_called(name: str) -> None:
    account = program.Account(name, "", "", False, program.Timestamp(0))  # noqa: FBT003 - a row
    assert json.loads(program.compact(program.manifest_of(account, str)))["name"] == name


def test_the_limiter_forgets_the_address_seen_longest_ago_beyond_fifty_thousand() -> None:
    limiter = program.TryLimiter(lambda: 0)
    for address in ["first"] * 10 + ["second"] * 10 + [str(n) for n in range(49_998)]:
        limiter.count(address)
    with pytest.raises(program.RateLimited):
        limiter.count("first")
    for n in range(10):  # everybody in a household of IPv6 is one address
        limiter.count(f"2001:db8:0:7::{n:x}")
    with pytest.raises(program.RateLimited):
        limiter.count("2001:db8:0:7:ffff::1")
    limiter.count("2001:db8:0:8::1")
    limiter.count("one more")  # the longest ago is now the second
    limiter.count("second")
    with pytest.raises(program.RateLimited):
        limiter.count("first")


@pytest.fixture(scope="module")
def world(template: Template) -> Iterator[matrix.World]:
    world = matrix.World(template)
    yield world
    world.close()


@pytest.mark.parametrize(("route", "room"), matrix.ROWS)
def test_everybody_is_answered_as_the_table_of_authorization_says(
    world: matrix.World, route: str, room: str
) -> None:
    method, body = route.partition(" ")[0], matrix.ROUTES[route].get("body")
    path = world.path(route, room)
    for name, status in matrix.statuses(route, room).items():
        actor = world.actors[name]
        before = world.place.do(world.everything()), world.heard()
        told = world.place.do(world.ask(actor, method, path, body))

        assert told.status == status, (name, told)
        if matrix.is_refusal(status):
            odd = world.place.do(matrix.odd_statuses(world, actor, route, room))
            assert min(odd) >= 300, (name, odd)
            assert (world.place.do(world.everything()), world.heard()) == before, name
        if status == 404 and room != "open" and name not in matrix.INSIDERS:
            assert world.place.do(matrix.refused_the_same(world, actor, route, room, told)), name
        if method != "GET" and status < 400:
            world.restore()


@pytest.mark.parametrize(("channel", "target"), matrix.SUBSCRIPTIONS)
def test_nobody_hears_or_does_more_on_a_channel_than_they_may(
    world: matrix.World, channel: str, target: str
) -> None:
    told = [
        world.place.do(matrix.outcome(world, world.actors[name], channel, target))
        for name in matrix.ACTORS
    ]

    assert " ".join(told) == matrix.CHANNELS[channel][target]


vars().update(PEOPLE)  # and what the tests of Rails assert

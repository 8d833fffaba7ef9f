"""The keys of bots: who makes them, what they open, and what a wrong one is told."""

import re

import pytest

import campfire as program
from tests.support.asking import KEY, TOKEN, bot_says, found, stored, url_of
from tests.support.cast import Cast, LogLines, Person, start_session
from tests.support.tables import briefly, cases


@pytest.mark.parametrize("key", cases("wrong keys of bots"), ids=briefly)
async def test_a_wrong_key_leads_to_the_sign_in_page_and_changes_nothing(
    visitor: Person, cast: Cast, key: str
) -> None:
    before, address = await stored(visitor.server), f"{visitor.server.address}/session/new"
    for asked in "GET: POST: PATCH:/3 DELETE:/3 POST:/1/boosts DELETE:/1/boosts/1".split():
        method, rest = asked.split(":")
        path = url_of(cast.watercooler, rest, key)
        answer = await visitor.request(method, path, data=None if method == "GET" else b"hi")
        assert (answer.status, answer.location) == (302, address), method
    assert await stored(visitor.server) == before


async def test_a_bot_key_opens_nothing_but_the_addresses_of_bots(
    visitor: Person, kevin: Person, cast: Cast
) -> None:
    for path in "/ /rooms/1 /rooms/1/messages /account/edit /users/me/profile /searches".split():
        answer = await visitor.get(f"{path}?bot_key={KEY}")
        assert (answer.status, answer.body) == (403, b"")
        assert (await visitor.get(f"{path}?bot_key=5-wrong")).status in (302, 404)
    for method, path in (("GET", "/api/rooms"), ("POST", "/api/rooms/opens"), ("GET", "/api/boot")):
        answer = await visitor.send(method, f"{path}?bot_key={KEY}")
        assert (answer.status, answer.code) == (403, "bot_forbidden")
    assert (await visitor.get("/api/rooms?bot_key=5-wrong")).code == "unauthenticated"
    signed_in = await kevin.request("POST", url_of(cast.watercooler, key="4-x"), data=b"hi")
    assert signed_in.status == 302  # cookies are not looked at


async def test_a_new_key_kills_the_old_one_and_keys_stay_out_of_the_log(
    david: Person, visitor: Person, cast: Cast, log_lines: LogLines
) -> None:
    answer = await david.put(f"/api/account/bots/{cast.bender.id}/key")

    key = answer.json["bot"]["bot_key"]
    assert re.fullmatch(r"5-[A-Za-z0-9]{12}", key)
    assert key != KEY
    assert (await bot_says(visitor, cast.watercooler, "old")).status == 302
    assert (await bot_says(visitor, cast.watercooler, "new", key)).status == 201
    assert (await visitor.get(f"/rooms/1?bot_key={key}")).status == 403
    lines = "\n".join(log_lines())
    assert '"bot_auth_failed"' in lines
    assert [each for each in (TOKEN, key[2:]) if each in lines] == []


async def test_a_bot_at_a_banned_address_may_read_but_not_write(
    david: Person, visitor: Person, cast: Cast
) -> None:
    await start_session(david.server.parts, cast.jz.id, "52.0.0.7", "")
    await david.post(f"/api/users/{cast.jz.id}/ban")
    there = {"X-Forwarded-For": "52.0.0.7"}

    assert (await visitor.get(url_of(cast.watercooler), there)).status == 200
    for key in (KEY, "5-wrong"):
        path = url_of(cast.watercooler, key=key)
        refused = await visitor.request("POST", path, data=b"x", headers=there)
        assert (refused.status, refused.body) == (429, b"")


async def test_administrators_make_change_and_remove_bots(
    david: Person, visitor: Person, cast: Cast
) -> None:
    path, hook = "/api/account/bots", "https://bots.example.com/hook"
    made = await david.post(path, {"name": " Zed ", "webhook_url": f" {hook} "})
    bot = made.json["bot"]
    assert (made.status, bot["name"], bot["role"]) == (201, "Zed", "bot")
    assert (bot["webhook_url"], bot["email_address"]) == (hook, None)
    assert re.fullmatch(rf"{bot['id']}-[A-Za-z0-9]{{12}}", bot["bot_key"])
    address = david.server.address
    assert bot["rooms"] == [
        {"id": room.id, "name": room.name,
         "messages_url": f"{address}/rooms/{room.id}/{bot['bot_key']}/messages"}
        for room in (cast.hq, cast.pets)
    ]  # fmt: skip
    one = f"{path}/{bot['id']}"
    assert (await david.get(one)).json == made.json
    listed = (await david.get(path)).json["bots"]
    assert [each["name"] for each in listed] == ["Bender Bot", "Zed"]
    assert [room["name"] for room in listed[0]["rooms"]] == ["HQ", "Pets", "Watercooler"]
    page = (await david.get("/account/bots")).boot
    assert (page["page"], page["data"]) == ("bots", {"bots": listed})
    edit = (await david.get(f"/account/bots/{bot['id']}/edit")).boot
    assert (edit["page"], edit["data"]) == ("bot_edit", made.json)
    renamed = (await david.put(one, {"name": "Zoe", "webhook_url": hook + "?x"})).json["bot"]
    assert (renamed["name"], renamed["webhook_url"]) == ("Zoe", hook + "?x")
    kept = (await david.send("PATCH", one, {})).json["bot"]
    assert (kept["name"], kept["webhook_url"]) == ("Zoe", None)
    assert (await bot_says(visitor, cast.hq, "hi", bot["bot_key"])).status == 201
    assert (await david.delete(one)).status == 204
    status = await found(david.server, "SELECT status FROM users WHERE id = :id", id=bot["id"])
    assert status == [(program.Status.DEACTIVATED,)]
    assert (await bot_says(visitor, cast.hq, "hi", bot["bot_key"])).status == 302
    for method, gone in (("GET", one), ("PUT", one), ("DELETE", one), ("PUT", f"{one}/key")):
        assert (await david.send(method, gone)).code == "bot_not_found"
    assert (await david.get(f"{path}/{cast.kevin.id}")).code == "bot_not_found"
    assert (await david.get("/account/bots/999/edit")).status == 404


@pytest.mark.parametrize(("field", "value"), cases("bad fields of a bot"), ids=briefly)
async def test_bad_fields_are_named(david: Person, cast: Cast, field: str, value: object) -> None:
    before = await stored(david.server)
    for method, path in (("POST", ""), ("PUT", f"/{cast.bender.id}")):
        given = {"name": "Zed", field: value}
        answer = await david.send(method, f"/api/account/bots{path}", given)
        assert (answer.status, answer.code) == (422, "validation_failed")
        assert list(answer.json["error"]["fields"]) == [field]
    assert await stored(david.server) == before


async def test_the_redirect_of_a_wrong_key_says_what_is_wrong(visitor: Person, cast: Cast) -> None:
    answer = await visitor.request("POST", url_of(cast.watercooler, key="5-wrong"), data=b"hi")

    assert (answer.status, answer.headers["Content-Type"]) == (302, "text/plain; charset=utf-8")
    assert answer.text == "This bot key is wrong or no longer in use.\n"


@pytest.mark.parametrize(
    "key", [f"{KEY}-x", f"{KEY}-", f"%20{KEY}", f"{KEY}%20", f"{KEY}%0A", KEY.lower()]
)
async def test_a_bot_key_is_good_as_a_whole_or_not_at_all(visitor: Person, key: str) -> None:
    answer = await visitor.request("POST", f"/rooms/3/{key}/messages", data=b"beep")
    asked = await visitor.get(f"/rooms/3/messages?bot_key={key}")

    assert answer.status in (302, 404)
    assert asked.status == 404
    assert len(await found(visitor.server, "SELECT 1 FROM messages WHERE creator_id = 5")) == 2

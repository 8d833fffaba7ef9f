"""The account: its name, settings, invitation, styles and logo, and who may change them."""

import json
import re

import pytest
from hypothesis import example, settings
from hypothesis import given as for_any
from hypothesis import strategies as st

import campfire as program
from tests.support.asking import ACCOUNT, STYLES, stored
from tests.support.cast import Cast, Person, Start
from tests.support.tables import briefly, cases

STYLE, RESTRICTION = "custom_styles", "restrict_room_creation_to_administrators"


async def test_administrators_name_the_account_and_say_who_makes_rooms(
    start: Start, cast: Cast
) -> None:
    server = await start(TLS_DOMAIN="chat.example.com", DISABLE_SSL="1")
    david, jz = await server.sign_in(cast.david), await server.sign_in(cast.jz)
    for value, is_set in (
        (True, True), ("false", False), ("1", True), ("0", False), ("true", True),
    ):  # fmt: skip
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
        "has_logo": False,
        "join_url": f"http://chat.example.com/join/{cast.join_code}",
        "settings": {RESTRICTION: True},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "field", "value", "says"), cases("bad fields of settings"), ids=briefly
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
    assert all(re.fullmatch(r"[A-Za-z0-9]{4}(-[A-Za-z0-9]{4}){2}", each) for each in (old, new))
    assert answer.json["join_url"] == f"{david.server.address}/join/{new}"
    assert [(await visitor.get(f"/join/{code}")).status for code in (old, new)] == [404, 200]


async def test_styles_are_kept_and_stay_inside_their_element(
    david: Person, visitor: Person
) -> None:
    styles = "body > p { color: red } /* </style><b> */"
    answer = await david.put(STYLES, {STYLE: styles})
    assert answer.json == (await david.get(STYLES)).json == {STYLE: styles}
    page = (await david.get("/account/custom_styles/edit")).boot
    assert (page["page"], page["data"]) == ("custom_styles", answer.json)
    shown = styles.replace("</", "<\\/")
    assert f'<style id="custom-styles">{shown}</style>' in (await visitor.get("/session/new")).text
    for each in ("x" * 65_536, ""):
        assert (await david.put(STYLES, {STYLE: each})).status == 200
    assert 'id="custom-styles"' not in (await visitor.get("/session/new")).text


async def test_some_things_are_for_administrators(jz: Person, visitor: Person, cast: Cast) -> None:
    before, fields = await stored(jz.server), {"role": "administrator", STYLE: "p {}"}
    guarded = [at for at in program.ROUTES if at.audience == "administrators" and "api" in at.path]
    assert len(guarded) == 19  # as many as section 11 has, and three for pictures
    for method, path in ((at.method, at.path) for at in guarded):
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
    manifest = program.manifest_of(name, program.Bundle("", {}, {}))
    assert json.loads(manifest)["name"] == name

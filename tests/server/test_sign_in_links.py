"""Links that sign in on another device, once and for four hours."""

import asyncio

import pytest

import campfire as program
from tests.support.asking import run, set_status, transfer_to
from tests.support.cast import Cast, Person, Server


async def test_a_transfer_page_opens_for_any_id_and_its_link_signs_in_one_device_only(
    server: Server, cast: Cast, visitor: Person
) -> None:
    link = await transfer_to(server, cast.kevin)
    await visitor.csrf()

    pages = [await visitor.get(f"/session/transfers/{each}") for each in ("nonsense", link, link)]
    answers = await asyncio.gather(
        *(visitor.put(f"/api/session/transfers/{link}") for _ in range(4))
    )

    assert [page.boot["page"] for page in pages] == ["transfer"] * 3
    assert sorted(answer.status for answer in answers) == [201, 400, 400, 400]
    assert {each.code for each in answers if each.status == 400} == {"invalid_transfer"}
    (won,) = [each for each in answers if each.status == 201]
    assert won.json["redirect_to"] == "/"
    assert (await visitor.get("/api/session")).json["user"]["name"] == "Kevin"


async def test_a_transfer_link_ends_after_four_hours_or_with_its_password_or_person(
    server: Server, cast: Cast, visitor: Person
) -> None:
    async def redeem(link: str) -> int:
        return (await visitor.put(f"/api/session/transfers/{link}")).status

    def new_password(tx: program.WriteTx, at: program.Timestamp) -> None:
        digest = program.hash_password("another", 4)
        program.revise_user(tx, at, cast.jz.id, program.Change(password_digest=digest))

    of_jason, of_jz = await transfer_to(server, cast.jason), await transfer_to(server, cast.jz)
    of_kevin = await transfer_to(server, cast.kevin)
    server.wall.ahead = -4 * 3600 - 5
    too_old = await transfer_to(server, cast.david)
    server.wall.ahead = -4 * 3600 + 60
    nearly_too_old = await transfer_to(server, cast.david)
    server.wall.ahead = 0
    await server.parts.db.write(new_password)
    await set_status(server, cast.kevin, program.Status.BANNED)

    assert [await redeem(each) for each in (too_old, of_jz, of_kevin)] == [400, 400, 400]
    assert [await redeem(each) for each in (nearly_too_old, of_jason)] == [201, 201]


@pytest.mark.parametrize(
    "forged", ["{id}", "{id}--", "{id}--{cam}", "A{id}--{mac}", "{avatar}", "%C3%A9--0"]
)
async def test_forged_transfers_are_refused(
    server: Server, cast: Cast, visitor: Person, forged: str
) -> None:
    encoded, _, mac = (await transfer_to(server, cast.kevin)).rpartition("--")
    avatar = server.parts.signer.avatar_token(cast.kevin.id)

    link = forged.format(id=encoded, mac=mac, cam=mac[::-1], avatar=avatar)
    answer = await visitor.put(f"/api/session/transfers/{link}")

    assert (answer.status, answer.code) == (400, "invalid_transfer")
    assert visitor.cookie("session_token") is None


async def _link_of(person: Person) -> str:
    transfer = (await person.get("/api/users/me/profile")).json["transfer_url"]
    return str(transfer).rpartition("/")[2]


async def test_a_sign_in_link_ends_with_the_session_that_made_it(
    server: Server, cast: Cast, kevin: Person
) -> None:
    kept, lost = await _link_of(kevin), await _link_of(await server.sign_in(cast.kevin))
    await run(server, "DELETE FROM sessions WHERE id = (SELECT max(id) FROM sessions)")
    phone = await server.visitor()

    refused = await phone.put(f"/api/session/transfers/{lost}")
    allowed = await phone.put(f"/api/session/transfers/{kept}")

    assert (refused.status, refused.code) == (400, "invalid_transfer")
    assert allowed.status == 201

"""Who joins, leaves, is banned or renamed: what everybody is told, and what open pages show."""

import re

from playwright.sync_api import expect

from tests.support.asking import targets
from tests.support.browsers import composer, connected, frames_heard, until, write
from tests.support.cast import SESAME, Cast, Person
from tests.support.house import House, draft, enter

LENA = {"name": "Lena", "email_address": "lena@example.com", "password": SESAME}


async def test_everybody_is_told_who_joins_leaves_is_banned_or_has_another_name(
    david: Person, kevin: Person, jz: Person, visitor: Person, cast: Cast
) -> None:
    tab = await jz.sidebar_tab()

    async def told() -> list[tuple[str, str]]:
        return targets(await tab.drain())

    lena = (await visitor.post(f"/api/join/{cast.join_code}", LENA)).json["user"]["id"]
    (frame,) = await tab.drain()
    assert targets([frame]) == [("append", "people")]
    assert '"name":"Lena"' in frame
    assert "lena@example.com" not in frame
    await kevin.put("/api/users/me/profile", {"name": "Kevin K."})
    await kevin.put("/api/users/me/profile", {"email_address": "k@example.com"})
    assert await told() == [("replace", f"person_{kevin.id}")]
    await david.post(f"/api/users/{lena}/ban")
    await david.delete(f"/api/users/{lena}/ban")
    assert await told() == [("replace", f"person_{lena}")] * 2
    await david.delete(f"/api/account/users/{lena}")
    assert await told() == [("remove", f"person_{lena}")]


async def test_bots_come_are_renamed_and_go_as_people_do(david: Person, jz: Person) -> None:
    tab = await jz.sidebar_tab()
    bot = (await david.post("/api/account/bots", {"name": "Deploys"})).json["bot"]["id"]
    await david.put(f"/api/account/bots/{bot}", {"name": "Releases"})
    await david.delete(f"/api/account/bots/{bot}")
    assert targets(await tab.drain()) == [
        ("append", "people"), ("replace", f"person_{bot}"), ("remove", f"person_{bot}"),
    ]  # fmt: skip


def test_who_joins_or_changes_appears_on_open_pages_and_is_welcomed_quietly(house: House) -> None:
    maya = house.sit("Maya", "/rooms/1")
    strip = maya.get_by_role("list", name="Pings")
    welcome = maya.locator("#system_welcome")
    expect(welcome).not_to_contain_text("joined")

    nadia = house.invite("Nadia Newcomb")
    expect(strip.get_by_role("button", name="Nadia Newcomb")).to_be_visible()
    expect(welcome.get_by_role("status")).to_have_text("Nadia joined")
    house.ask("Nadia", "PUT", "/api/users/me/profile", {"name": "Nadia Older"})
    expect(strip.get_by_role("button", name="Nadia Older")).to_be_visible()
    expect(strip.get_by_role("button", name="Nadia Newcomb")).to_have_count(0)

    ping = house.ping("Nadia", "Maya")
    expect(strip.get_by_role("link", name="Nadia Older")).to_be_visible()
    enter(maya, ping)
    house.ask("Nadia", "PUT", "/api/users/me/profile", {"name": "Ninon Oldest"})
    expect(strip.get_by_role("link", name="Ninon Oldest")).to_be_visible()
    expect(maya.get_by_role("heading", name="Ping with Ninon Oldest")).to_be_visible()
    expect(maya).to_have_title(re.compile("Ninon Oldest"))
    house.ask("Maya", "POST", f"/api/users/{nadia}/ban")
    expect(strip.locator("[data-status=banned]")).to_be_visible()
    house.ask("Maya", "DELETE", f"/api/users/{nadia}/ban")
    expect(strip.locator("[data-status=banned]")).to_have_count(0)

    gone = house.invite("Greta Gone")
    expect(strip.get_by_role("button", name="Greta Gone")).to_be_visible()
    house.ask("Maya", "DELETE", f"/api/account/users/{gone}")
    expect(strip.get_by_role("button", name="Greta Gone")).to_have_count(0)


def test_access_given_again_heals_the_open_page_with_its_draft(house: House) -> None:
    room = house.room(only=("Jonas",), name="Attic")
    path = f"/api/rooms/closeds/{room.rpartition('/')[2]}"
    jonas = house.sit("Jonas", room)
    write(jonas, "Half a thought")

    house.ask("Maya", "PUT", path, {"name": "Attic", "user_ids": [house.ids["Inés"]]})
    expect(composer(jonas)).to_have_count(0)
    expect(jonas.get_by_role("link", name="Attic")).to_have_count(0)
    until(jonas, lambda: any("reject_subscription" in each for each in frames_heard(jonas)))
    frames_heard(jonas).clear()
    ids = [house.ids[each] for each in ("Inés", "Jonas")]
    house.ask("Maya", "PUT", path, {"name": "Attic", "user_ids": ids})

    expect(composer(jonas)).to_be_visible()
    connected(jonas)
    assert draft(jonas) == "Half a thought"
    house.post("Maya", room, "Welcome back")
    expect(jonas.get_by_text("Welcome back")).to_be_visible()

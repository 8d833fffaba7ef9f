"""The browsers that somebody is told on."""

from tests.support.asking import It, count, found
from tests.support.cast import AGENT, Person
from tests.support.services import DEVICES, subscribe, subscription


async def test_the_same_browser_again_is_only_refreshed(kevin: Person, jz: Person) -> None:
    given = {"endpoint": "https://push.example.com/1", "p256dh_key": "k", "auth_key": "a"}

    first, again = [await kevin.post(DEVICES, given) for _ in range(2)]
    others = [
        await person.post(DEVICES, {**given, **change})
        for person, change in (
            (kevin, {"auth_key": "b"}), (kevin, {"p256dh_key": "l"}), (jz, {}),
            (kevin, {"endpoint": "https://push.example.com/2"}),
        )
    ]  # fmt: skip

    device, known = (each.json["push_subscription"] for each in (first, again))
    assert first.status == again.status == 200
    assert set(device) == {
        "id", "endpoint", "user_agent", "created_at", "updated_at", "last_result",
    }  # fmt: skip
    assert device["user_agent"] == AGENT
    assert (known["id"], known["created_at"]) == (device["id"], device["created_at"])
    assert known["updated_at"] >= device["updated_at"]
    ids = {each.json["push_subscription"]["id"] for each in others}
    assert len(ids - {device["id"]}) == 4
    listed = (await kevin.get(DEVICES)).json["push_subscriptions"]
    assert len(listed) == 4
    page = (await kevin.get("/users/me/push_subscriptions")).boot
    assert (page["page"], page["data"]) == ("push_subscriptions", {"push_subscriptions": listed})


async def test_a_device_is_kept_once(it: It, kevin: Person) -> None:
    """As Rails' own tests of controllers/users/push_subscriptions."""
    server, given = kevin.server, subscription("one")
    with it("create stores the triple and the User-Agent, 200"):
        made = await kevin.post(DEVICES, given)
        sql = "SELECT endpoint, p256dh_key, auth_key, user_agent FROM push_subscriptions"
        assert (made.status, await found(server, sql)) == (
            200,
            [(given["endpoint"], "k", "a", AGENT)],
        )
    device = made.json["push_subscription"]
    with it("same triple again → no new row, `updated_at` moves"):
        server.wall.ahead = 60
        again = (await kevin.post(DEVICES, given)).json["push_subscription"]
        assert (again["id"], again["updated_at"] > device["updated_at"]) == (device["id"], True)
        assert await count(server, "push_subscriptions") == 1
    with it("delete → one less"):
        assert (await kevin.delete(f"{DEVICES}/{device['id']}")).status == 204
        assert await count(server, "push_subscriptions") == 0


async def test_the_oldest_browser_goes_when_a_person_has_more_than_twenty(
    kevin: Person, jz: Person
) -> None:
    async def listed(person: Person) -> list[str]:
        devices = (await person.get(DEVICES)).json["push_subscriptions"]
        return [each["endpoint"] for each in devices]

    keys = {"p256dh_key": "k", "auth_key": "a"}
    await subscribe(jz, "https://push.example.com/0", keys)
    for n in range(20):
        await subscribe(kevin, f"https://push.example.com/{n}", keys)
    await subscribe(kevin, "https://push.example.com/0", keys)  # in use: it is not the oldest

    await subscribe(kevin, "https://push.example.com/20", keys)

    kept = [f"https://push.example.com/{n}" for n in (0, *range(2, 21))]
    assert await listed(kevin) == kept
    assert await listed(jz) == ["https://push.example.com/0"]

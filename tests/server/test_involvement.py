"""How much somebody wants to hear of a room, and who is told of that."""

from tests.support.asking import It, targets
from tests.support.cable import Audience
from tests.support.cast import Cast, Person


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


async def test_how_much_one_hears_of_a_room_is_ones_own_choice(
    it: It, audience: Audience, cast: Cast
) -> None:
    """As Rails' own tests of controllers/rooms/involvements."""
    kevin, shared, ping = audience.people["kevin"], cast.designers.id, cast.david_and_kevin.id

    async def heard(room_id: int, level: str) -> list[tuple[str, str]]:
        path = f"/api/rooms/{room_id}/involvement"
        assert (await kevin.put(path, {"involvement": level})).json["involvement"] == level
        frames = await audience.heard()
        assert not any(frames[name] for name in frames if name != "kevin")
        return targets(frames["kevin"])

    with it("opens"):
        shown = (await kevin.get(f"/api/rooms/{shared}/involvement")).json
        assert shown["involvement"] == "mentions"
    with it("member changes own"):
        assert await heard(shared, "everything") == []
        of_jz = await audience.people["jz"].get(f"/api/rooms/{shared}/involvement")
        assert of_jz.json["involvement"] == "mentions"
    with it("everything→invisible → one frame to oneself"):
        assert await heard(shared, "invisible") == [("remove", f"list_room_{shared}")]
    with it("invisible→everything → one more"):
        assert await heard(shared, "everything") == [("prepend", "shared_rooms")]
    with it("everything→mentions → no frame"):
        assert await heard(shared, "mentions") == []
    with it("ping everything→nothing → no frame"):
        assert await heard(ping, "nothing") == []

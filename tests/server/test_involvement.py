"""How much somebody wants to hear of a room, and who is told of that."""

from tests.support.asking import targets
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


async def test_the_bell_of_a_ping_is_told_to_nobody(
    kevin: Person, david: Person, cast: Cast
) -> None:
    tab, path = await kevin.sidebar_tab(), f"/api/rooms/{cast.david_and_kevin.id}/involvement"

    off = await kevin.put(path, {"involvement": "nothing"})
    hidden = await kevin.put(path, {"involvement": "invisible"})

    assert (off.json["next_involvement"], hidden.json["next_involvement"]) == ("everything",) * 2
    assert (await david.get(path)).json["involvement"] == "everything"  # his own is his
    assert await tab.drain() == []
    for wrong in ("", "loud", None, 7, ["nothing"]):
        answer = await kevin.put(path, {"involvement": wrong})
        assert (answer.status, answer.code) == (422, "invalid_involvement")

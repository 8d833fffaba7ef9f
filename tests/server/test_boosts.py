"""Boosts, as those hear them who do not see them."""

from tests.support.asking import path_of
from tests.support.cast import Cast, Person


async def test_the_label_of_a_boost_names_the_person_and_not_their_initials(
    david: Person, jason: Person, cast: Cast
) -> None:
    await jason.put("/api/users/me/profile", {"name": "Jay <Zee>"})
    tab, path = await david.room_tab(cast.watercooler), path_of(cast.watercooler)
    posted = (await david.post(path, {"body": "hi"})).json["message"]

    await jason.post(f"/api/messages/{posted['id']}/boosts", {"content": "🎉"})

    frame = (await tab.drain())[-1]
    assert '"Jay &lt;Zee&gt; boosted 🎉"' in frame
    assert "JZ boosted" not in frame

"""Names are found as people type them: one way of folding, everywhere."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import campfire as program
from tests.support.asking import found
from tests.support.cast import Cast, Person, Template, copy_database, newcomer, start_server

NAMES: dict[str, list[Any]] = json.loads(
    (Path(__file__).parents[1] / "support" / "names.json").read_text()
)
STRANGERS = "Иван,Ömer,Ελένη,Łukasz Żak,Zoë,adam,Ägidius".split(",")


async def offered(person: Person, query: str) -> list[str]:
    path = f"/api/autocompletable/users?query={quote(query)}"
    return [user["name"] for user in (await person.get(path)).json["users"]]


@pytest.mark.parametrize(("name", "plain"), NAMES["names and how they are folded"])
def test_a_name_is_folded_as_the_list_says(name: str, plain: str) -> None:
    assert program.folded(name) == plain
    assert program.folded(plain) == plain


@pytest.mark.parametrize(("query", "name", "rank"), NAMES["what is typed, a name, and its rank"])
def test_a_name_answers_what_is_typed_as_the_list_says(
    query: str, name: str, rank: int | None
) -> None:
    assert program.match_rank(program.folded(query), program.folded(name)) == rank


@pytest.mark.parametrize("query", ["a" * 254 + "b", "ab" * 127, "a b" * 85], ids=len)
@pytest.mark.parametrize("name", ["a " * 127, "a" * 255, "ab " * 85], ids=len)
def test_no_name_takes_long_to_compare_with_what_is_typed(query: str, name: str) -> None:
    began = time.process_time()
    program.match_rank(query, name)

    assert time.process_time() - began < 0.5


async def test_people_are_offered_whatever_letters_their_names_have(jz: Person, cast: Cast) -> None:
    for number, name in enumerate(STRANGERS):
        await jz.server.parts.auth.join(
            cast.join_code, newcomer(name, f"p{number}@example.com", "password")
        )

    asked = ["иван", "ИВАН", "ömer", "omer", "ελένη", "ΕΛΕΝΗ", "lz", "zak", "zoe", "ag"]
    answers = [await offered(jz, query) for query in asked]
    assert answers == [
        ["Иван"], ["Иван"], ["Ömer"], ["Ömer"], ["Ελένη"], ["Ελένη"], ["Łukasz Żak"],
        ["Łukasz Żak"], ["Zoë"], ["Ägidius"],
    ]  # fmt: skip
    listed = [user["name"] for user in (await jz.get("/api/users")).json["users"]]
    assert listed == sorted(listed, key=program.folded)
    assert listed[:3] == ["adam", "Ägidius", "Bender Bot"]


async def test_of_many_people_those_whose_word_begins_with_it_are_offered_first(jz: Person) -> None:
    names = [f"Class {n:03} Bass" for n in range(120)] + ["Zo Silva", "Sam", "Anna-Sofie", "Šeb"]
    for number, name in enumerate(names):
        person = program.Change(name, f"m{number}@example.com", "x")
        await jz.server.parts.db.write(program.insert_user, program.Role.MEMBER, person)

    many = await offered(jz, "s")

    assert many[:4] == ["Sam", "Šeb", "Anna-Sofie", "Zo Silva"]
    assert len(many) == 20
    assert (await offered(jz, "c119"))[0] == "Class 119 Bass"


async def test_folded_names_follow_every_change_of_a_name(david: Person) -> None:
    assert (await david.put("/api/users/me/profile", {"name": "Dávid"})).status == 200
    bot = (await david.post("/api/account/bots", {"name": "Bjørn"})).json["bot"]
    await david.put(f"/api/account/bots/{bot['id']}", {"name": "Bjørn Bot"})
    room = (await david.post("/api/rooms/opens", {"name": "Öffentlich"})).json["room"]
    await david.put(f"/api/rooms/opens/{room['id']}", {"name": "Ärger"})

    server = david.server
    people = await found(server, "SELECT name, folded FROM users")
    rooms = await found(server, "SELECT name, folded FROM rooms WHERE name IS NOT NULL")
    assert {"Dávid", "Bjørn Bot", "Ärger"} <= {name for name, _ in people + rooms}
    assert [(name, program.folded(name)) for name, _ in people + rooms] == people + rooms


async def test_names_written_by_an_older_version_or_by_hand_are_folded_at_the_start(
    template: Template, tmp_path: Path
) -> None:
    database = copy_database(template[0], tmp_path)
    with closing(sqlite3.connect(database)) as hand, hand:
        hand.execute("UPDATE users SET name = 'Žofie', folded = '' WHERE id = 1")
        hand.execute("UPDATE rooms SET name = 'Ústí' WHERE id = 1")

    server = await start_server(database)
    try:
        people = await found(server, "SELECT folded FROM users WHERE id = 1")
        rooms = await found(server, "SELECT folded FROM rooms WHERE id = 1")
    finally:
        await server.close()

    assert people + rooms == [("zofie",), ("usti",)]


async def test_two_of_one_name_are_told_apart_by_their_second_line(jz: Person, cast: Cast) -> None:
    await jz.server.parts.auth.join(
        cast.join_code, newcomer("Kévin", "kevin2@example.com", "password")
    )

    users = (await jz.get("/api/autocompletable/users?query=kev")).json["users"]

    assert [user["name"] for user in users] == ["Kevin", "Kévin"]
    assert users[0]["about"] == "Programmer"
    assert users[1]["about"].startswith("Member since ")

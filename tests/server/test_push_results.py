"""Why a browser was not told, and keys that are none."""

import json
from pathlib import Path
from typing import Any

import pytest

import campfire as program
from tests.support.asking import settle
from tests.support.cast import Cast, LogLines, Person, Server, Start
from tests.support.operators import USAGE, command, refusal
from tests.support.services import DEVICES, Browser, Service, subscribe


@pytest.fixture
async def server(start: Start) -> Server:
    """A server that may push to 127.0.0.1."""
    return await start(ALLOW_PRIVATE_PUSH_ENDPOINTS="1")


async def last_result(person: Person) -> dict[str, Any] | None:
    (device,) = (await person.get(DEVICES)).json["push_subscriptions"]
    result = device["last_result"]
    return result and {name: result[name] for name in ("status", "problem")}


@pytest.mark.parametrize(
    ("status", "problem"),
    [(201, None), (403, "keys"), (429, "too_many"), (413, "too_large"), (500, "refused")],
)
async def test_why_a_browser_was_not_told_is_kept_with_it_and_in_the_log(
    kevin: Person,
    jz: Person,
    cast: Cast,
    service: Service,
    log_lines: LogLines,
    status: int,
    problem: str | None,
) -> None:
    device = await subscribe(kevin, f"{service.address}/devices/one", Browser().keys)
    await kevin.put(f"/api/rooms/{cast.pets.id}/involvement", {"involvement": "everything"})
    assert await last_result(kevin) is None

    service.statuses["one"] = status
    for text in ("hello", "hello again"):
        await jz.say(cast.pets, text)
        await settle(kevin.server)

    assert await last_result(kevin) == {"status": status, "problem": problem}
    told = [line for line in map(json.loads, log_lines()) if line["event"] == "push_failed"]
    shown = [(line["host"], line["status"], line["reason"]) for line in told]
    assert shown == ([("127.0.0.1", status, problem)] * 2 if problem else [])
    tested = await kevin.post(f"{DEVICES}/{device['id']}/test_notifications")
    assert tested.json.get("error", {}).get("problem") == problem
    service.statuses["one"] = 201
    await kevin.post(f"{DEVICES}/{device['id']}/test_notifications")
    assert await last_result(kevin) == {"status": 201, "problem": None}


async def test_a_service_that_cannot_be_reached_is_no_network(
    kevin: Person, service: Service
) -> None:
    device = await subscribe(kevin, f"{service.address}/devices/one", Browser().keys)
    await service.close()

    tested = await kevin.post(f"{DEVICES}/{device['id']}/test_notifications")

    assert (tested.status, tested.json["error"]["problem"]) == (502, "no_network")
    assert await last_result(kevin) == {"status": None, "problem": "no_network"}


PAIR, OTHER = program.fresh_vapid_keys(), program.fresh_vapid_keys()
PUBLIC, PRIVATE = PAIR["vapid_public_key"], PAIR["vapid_private_key"]


@pytest.mark.parametrize(
    ("public", "private", "says"),
    [
        (OTHER["vapid_public_key"], PRIVATE, "no pair"),
        (PRIVATE, PUBLIC, "VAPID_PUBLIC_KEY must be 65 bytes"),
        ("nonsense!", PRIVATE, "VAPID_PUBLIC_KEY must be 65 bytes"),
        (PUBLIC, "c2hvcnQ", "VAPID_PRIVATE_KEY must be 32 bytes"),
        (PUBLIC, "A" * 43, "no keys of P-256"),
    ],
    ids=range(5),
)
def test_keys_that_prove_nothing_refuse_the_start_with_one_line(
    tmp_path: Path, public: str, private: str, says: str
) -> None:
    given = {"VAPID_PUBLIC_KEY": public, "VAPID_PRIVATE_KEY": private}

    refused = command(tmp_path / "campfire.db", "serve", HOST="127.0.0.1", PORT="0", **given)

    assert says in refusal(refused, USAGE)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("ops@example.com", "mailto:ops@example.com"),
        ("mailto:ops@example.com", "mailto:ops@example.com"),
        ("https://example.com/ops", "https://example.com/ops"),
        ("", None),
    ],
)
def test_whom_push_services_may_write_to_is_understood_as_people_write_it(
    given: str, used: str | None
) -> None:
    assert program.config_from({"VAPID_SUBJECT": given}).vapid_subject == used
    with pytest.raises(program.ConfigError, match="VAPID_SUBJECT"):
        program.config_from({"VAPID_SUBJECT": "the people upstairs"})


async def test_a_test_notification_works_with_an_address_as_people_write_it(
    start: Start, cast: Cast, service: Service
) -> None:
    given = {"VAPID_PUBLIC_KEY": PUBLIC, "VAPID_PRIVATE_KEY": PRIVATE}
    server = await start(ALLOW_PRIVATE_PUSH_ENDPOINTS="1", VAPID_SUBJECT="ops@example.com", **given)
    kevin = await server.sign_in(cast.kevin)
    device = await subscribe(kevin, f"{service.address}/devices/one", Browser().keys)

    tested = await kevin.post(f"{DEVICES}/{device['id']}/test_notifications")

    assert (tested.status, service.devices) == (200, ["one"])

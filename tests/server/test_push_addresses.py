"""Where pushes may go: never inside, whatever the address looks like."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from yarl import URL

import campfire as program
from tests.support.cast import Cast, Start
from tests.support.services import DEVICES, Browser, Names
from tests.support.tables import briefly, cases

# Each class with its first and last addresses, and then the neighbours outside of it.
CLASSES = [
    (name, private.split(), public.split())
    for name, private, public in cases("classes of addresses, those inside and those outside")
]
PRIVATE = [each for _, private, _ in CLASSES[:-1] for each in private]  # all that parse
PUBLIC = [each for _, _, public in CLASSES for each in public]
UNREADABLE = cases("unreadable addresses")
SAME = cases("other spellings of 127.0.0.1")
UNFIT = cases("unfit push endpoints")
# The cases that Campfire's own guard is held to in the original (W-02), 157 of them. Five are
# refused here: translated addresses of any kind (server.md 29.5), and numbers that do not parse.
ADMITTED = [*cases("surfguard: allowed"), *cases("surfguard: boundaries, allowed")]
REFUSED = [
    *cases("surfguard: blocked"), *cases("surfguard: boundaries, blocked"),
    *cases("surfguard: legacy numeric"), *cases("surfguard: malformed"),
    *cases("surfguard: prefixes"), *cases("surfguard: allowed there and refused here"),
]  # fmt: skip


def public_resolver(look_up: program.LookUp = socket.getaddrinfo) -> program.Resolver:
    """What finds the addresses of push services."""
    return program.Resolver(ThreadPoolExecutor(1), look_up, only_public=True)


def as_url(host: str) -> str:
    return f"https://[{host.replace('%', '%25')}]/x" if ":" in host else f"https://{host}/x"


def test_every_address_class_is_told_apart_at_both_its_ends() -> None:
    private = [*PRIVATE, *UNREADABLE, *SAME, "", " ", "8.8.8.8 "]
    assert [each for each in private if program.is_public(each)] == []
    assert [each for each in PUBLIC if not program.is_public(each)] == []


@pytest.mark.parametrize("address", ADMITTED)
async def test_an_address_of_the_open_internet_is_pushed_to(address: str) -> None:
    found = await public_resolver().resolve(address, 443, socket.AF_UNSPEC)

    assert not program.leads_inside(URL(as_url(address)))
    assert [each["port"] for each in found] == [443]


@pytest.mark.parametrize("host", REFUSED)
async def test_a_host_inside_or_made_to_look_outside_is_never_reached(host: str) -> None:
    assert not program.is_public(host)
    try:
        is_refused = program.leads_inside(URL(as_url(host)))
    except ValueError:
        is_refused = True  # no such address can be written
    if not is_refused:
        with pytest.raises((OSError, UnicodeError)):
            await public_resolver().resolve(host, 443, socket.AF_UNSPEC)


@pytest.mark.parametrize("name", cases("surfguard: real names"))
def test_a_name_with_numbers_in_it_is_a_name(name: str) -> None:
    assert not program.leads_inside(URL(as_url(name)))


@pytest.mark.parametrize("endpoint", [*map(as_url, PRIVATE[::3] + SAME), *UNFIT], ids=briefly)
async def test_an_endpoint_inside_or_not_https_is_not_registered(
    start: Start, cast: Cast, endpoint: object
) -> None:
    kevin = await (await start()).sign_in(cast.kevin)
    given = {"endpoint": endpoint, "p256dh_key": "k", "auth_key": "a"}
    answer = await kevin.post(DEVICES, given)

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert answer.json["error"]["fields"] == {"endpoint": ["is invalid"]}
    assert (await kevin.get(DEVICES)).json["push_subscriptions"] == []


@pytest.mark.parametrize(
    "host", ["localhost", "localhost.", "127.0.0.1", "[::1]", "0x7f.1", *SAME], ids=ascii
)
async def test_nothing_is_sent_inside_whatever_the_host_is_called(
    start: Start, cast: Cast, host: str
) -> None:
    kevin = await (await start()).sign_in(cast.kevin)
    came, keys = asyncio.Event(), Browser().keys

    async def door(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        writer.close()

    inside = await asyncio.start_server(door, "127.0.0.1", 0)
    port = inside.sockets[0].getsockname()[1]
    inside_6 = await asyncio.start_server(door, "::1", port)
    endpoint = f"https://{host}:{port}/x"
    keep = program.keep_subscription  # as if an older version had let it in
    p256dh, auth = keys.values()
    device = await kevin.server.parts.db.write(keep, kevin.id, endpoint, (p256dh, auth), "")

    answer = await kevin.post(f"{DEVICES}/{device.id}/test_notifications")

    assert (answer.status, answer.code) == (502, "push_failed")
    assert not came.is_set()
    assert len((await kevin.get(DEVICES)).json["push_subscriptions"]) == 1
    inside.close()
    inside_6.close()


async def test_a_name_that_leads_inside_is_refused_and_one_that_leads_nowhere_is_not_found() -> (
    None
):
    resolver = public_resolver()

    with pytest.raises(OSError, match="open internet") as refused:
        await resolver.resolve("localhost", 443)
    with pytest.raises(OSError, match=r"\[Errno") as failed:
        await resolver.resolve("nowhere.invalid", 443)
    found = await resolver.resolve("8.8.8.8", 443)

    assert type(refused.value) is not type(failed.value)
    assert [(each["host"], each["port"]) for each in found] == [("8.8.8.8", 443)]


def test_one_private_answer_refuses_a_name_and_each_name_is_looked_up_once() -> None:
    names = Names(["8.8.8.8", "127.0.0.1"], ["1.1.1.1", "8.8.8.8"], ["127.0.0.1"], [])
    resolver = public_resolver(names)
    with asyncio.Runner() as runner:
        with pytest.raises(OSError, match="open internet"):
            runner.run(resolver.resolve("both.example", 443))
        found = runner.run(resolver.resolve("rebinding.example", 443))
    assert [each["host"] for each in found] == ["1.1.1.1", "8.8.8.8"]
    assert all(each["flags"] == socket.AI_NUMERICHOST for each in found)  # never looked up again
    assert names.asked == 2

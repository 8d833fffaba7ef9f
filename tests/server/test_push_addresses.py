"""Where pushes may go: never inside, whatever the address looks like."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from yarl import URL

import campfire as program
from tests.support.asking import It
from tests.support.cast import Cast, Start
from tests.support.services import DEVICES, Browser, Names
from tests.support.tables import briefly, cases

# Each class with its first and last addresses, and then the neighbours outside of it.
CLASSES = {
    "0/8": ("0.0.0.0 0.255.255.255", "1.0.0.0"),
    "10/8": ("10.0.0.0 10.255.255.255", "9.255.255.255 11.0.0.0"),
    "100.64/10": ("100.64.0.0 100.127.255.255", "100.63.255.255 100.128.0.0"),
    "127/8": ("127.0.0.0 127.255.255.255", "126.255.255.255 128.0.0.0"),
    "169.254/16": ("169.254.0.0 169.254.255.255", "169.253.255.255 169.255.0.0"),
    "172.16/12": ("172.16.0.0 172.31.255.255", "172.15.255.255 172.32.0.0"),
    "192.0.0/24": ("192.0.0.0 192.0.0.255", "191.255.255.255 192.0.1.0"),
    "192.0.2/24": ("192.0.2.0 192.0.2.255", "192.0.1.255 192.0.3.0"),
    "192.88.99/24": ("192.88.99.0 192.88.99.255", "192.88.98.255 192.88.100.0"),
    "192.168/16": ("192.168.0.0 192.168.255.255", "192.167.255.255 192.169.0.0"),
    "198.18/15": ("198.18.0.0 198.19.255.255", "198.17.255.255 198.20.0.0"),
    "198.51.100/24": ("198.51.100.0 198.51.100.255", "198.51.99.255 198.51.101.0"),
    "203.0.113/24": ("203.0.113.0 203.0.113.255", "203.0.112.255 203.0.114.0"),
    "224/4": ("224.0.0.0 239.255.255.255", "223.255.255.255"),
    "240/4": ("240.0.0.0 255.255.255.255", ""),
    "::/128, ::1": (":: ::1", ""),
    "IPv4-mapped": ("::ffff:8.8.8.8 ::ffff:10.0.0.1 ::ffff:ffff:ffff", ""),
    "IPv4-compatible": ("::8.8.8.8 ::127.0.0.1 ::ffff:ffff", ""),
    "SIIT": ("::ffff:0:8.8.8.8 ::ffff:0:0:0", ""),
    "64:ff9b::/96": ("64:ff9b::10.0.0.1 64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8"),
    "64:ff9b:1::/48": ("64:ff9b:1:: 64:ff9b:1:ffff:ffff:ffff:808:808", ""),
    "Teredo": ("2001:: 2001:0:ffff:ffff:ffff:ffff:ffff:ffff", ""),
    "2001:2::/48": ("2001:2:: 2001:2:0:ffff:ffff:ffff:ffff:ffff", ""),
    "2001:db8::/32": ("2001:db8:: 2001:db8:ffff::", "2001:db7:ffff:: 2001:db9::"),
    "6to4": ("2002:: 2002:808:808::1", "2003::"),
    "fc00::/7": ("fc00:: fdff::1", ""),
    "fe80::/10": ("fe80::1 febf:ffff::", ""),
    "ff00::/8": ("ff00:: ff02::1 ffff::", ""),
    "anything that does not parse": ("localhost 127.1 0x7f.1 1.2.3.4.5 ::1::1", ""),
}

PRIVATE = cases("private addresses")
PUBLIC = cases("public addresses")
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
    device = await kevin.server.parts.db.write(keep, kevin.id, endpoint, p256dh, auth, "")

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


async def test_addresses_inside_are_told_from_those_outside(it: It) -> None:
    """As Rails' own tests of lib/restricted_http."""
    for name, (private, public) in CLASSES.items():
        with it(f"address classes of §29.5, one by one: {name}"):
            assert [each for each in private.split() if program.is_public(each)] == []
            assert [each for each in public.split() if not program.is_public(each)] == []
    resolver = public_resolver()
    inside = pytest.raises(OSError, match="open internet")
    with it("a host resolving to a private address → refused"), inside as refused:
        await resolver.resolve("localhost", 443)
    with it("to nothing → lookup failure, not a violation"):
        with pytest.raises(OSError, match=r"\[Errno") as failed:
            await resolver.resolve("nowhere.invalid", 443)
        assert type(failed.value) is not type(refused.value)

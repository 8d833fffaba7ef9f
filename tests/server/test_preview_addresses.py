"""Where looks at pages may lead: never inside and never back to us, whatever a step is called."""

import pytest

import campfire as program
from tests.server.test_push_addresses import ADMITTED, PRIVATE, REFUSED, SAME
from tests.support.cast import Person, Server
from tests.support.sites import CONNECTED, OUTSIDE, Internet, drawn, leads_to, says, tells

World = tuple[Server, Person, Internet]
HERE = frozenset(("127.0.0.1", OUTSIDE))


def as_url(host: str, scheme: str = "http") -> str:
    return f"{scheme}://[{host.replace('%', '%25')}]/x" if ":" in host else f"{scheme}://{host}/x"


async def looked(world: World, address: str) -> tuple[program.Preview | None, set[str]]:
    """What a look tells, and where it connected to, but for the sites of this test."""
    server, kevin, _ = world
    began = len(CONNECTED)
    preview = await server.parts.previews.of(kevin.id, address, frozenset())
    return preview, {place for place in CONNECTED[began:] if place != "127.0.0.1"}


@pytest.mark.parametrize("kind", ["pasted", "redirect", "picture", "name"])
async def test_no_address_inside_is_ever_connected_to(internet: World, kind: str) -> None:
    net = internet[2]
    hosts = [*REFUSED, *PRIVATE[::5], *SAME, "localhost", "0x7f.1", "127.1", "[::ffff:10.0.0.1]"]

    for at, host in enumerate(hosts):
        address, site = as_url(host.strip("[]") if "[" in host else host), f"s{at}.example"
        net.sites = {
            f"{site}/redirect": leads_to(address.replace("\n", "").replace("\r", "")),
            f"{site}/picture": says(tells(image=address.replace('"', ""))),
        }
        net.leads = {host.lower(): [[host]], f"n{at}.example": [[OUTSIDE, host]]}
        start = {"pasted": address, "name": f"http://n{at}.example/"}
        asked = len(net.asked)

        preview, places = await looked(internet, start.get(kind, f"http://{site}/{kind}"))

        assert places == set(), host
        assert (preview is not None) == (kind == "picture"), host
        assert preview is None or preview.image is None, host
        assert {told.partition("/")[0] for told in net.asked[asked:]} <= {site}, host


@pytest.mark.parametrize("address", ADMITTED)
async def test_a_name_that_leads_to_the_open_internet_is_looked_at(
    internet: World, address: str
) -> None:
    _, _, net = internet
    net.sites, net.leads = {"site.example/": says(tells())}, {"site.example": [[address]]}

    preview, places = await looked(internet, "http://site.example/")

    assert preview
    assert (places, net.asked) == (set(), ["site.example/"])


async def test_the_first_answer_of_a_name_is_the_one_that_is_asked(internet: World) -> None:
    _, _, net = internet
    net.sites = {"moves.example/": says(tells(image="/a")), "moves.example/a": drawn()}
    net.leads = {"moves.example": [[OUTSIDE], ["10.0.0.1"]]}

    preview, places = await looked(internet, "http://moves.example/")

    assert preview
    assert preview.image is None  # by then the name led inside
    assert (places, net.asked) == (set(), ["moves.example/"])


@pytest.mark.parametrize(
    "address",
    [
        "http://site.example:22/", "http://site.example:3000/", "http://site.example:0/",
        "ftp://site.example/", "file:///etc/passwd", "gopher://site.example/",
        "http://kevin:secret@site.example/", "site.example",
        "http://site.example:99999/", "http://[site.example]/", "//site.example/",
        "javascript:alert(1)", "http://a\u2025b.example:1/", "unix:///run/docker.sock",
    ],
)  # fmt: skip
async def test_an_odd_address_is_not_asked_pasted_or_led_to(internet: World, address: str) -> None:
    _, _, net = internet
    led = address.encode("ascii", "ignore").decode()
    net.sites = {"first.example/": leads_to(led) if "://" in led else says()}

    pasted, places = await looked(internet, address)
    redirected, more = await looked(internet, "http://first.example/")

    assert (pasted, redirected, places | more) == (None, None, set())
    assert net.asked == ["first.example/"]


@pytest.mark.parametrize("port", ["", ":80", ":443", ":8000", ":8080", ":8443"])
async def test_the_five_ports_are_asked(internet: World, port: str) -> None:
    _, _, net = internet
    host = f"site.example{port.replace(':80/', '') if port != ':80' else ''}"
    net.sites = {f"{host}/": says(tells())}

    preview, _ = await looked(internet, f"http://site.example{port}/")

    assert preview


async def test_neither_cookies_nor_credentials_go_from_one_step_to_the_next(
    internet: World,
) -> None:
    _, _, net = internet
    net.sites = {
        "a.example/": says(status=302, more="Location: http://b.example/\r\nSet-Cookie: a=b\r\n"),
        "b.example/": leads_to("http://a.example/there"),
        "a.example/there": says(tells()),
    }  # fmt: skip

    preview, _ = await looked(internet, "http://a.example/")

    assert preview
    assert [
        head for head in net.heads if "cookie" in head.lower() or "referer" in head.lower()
    ] == []

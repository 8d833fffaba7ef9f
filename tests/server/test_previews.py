"""What pages say of themselves: sites of every make, and what is told of each."""

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

import campfire as program
from campfire import UserId
from tests.support.cast import Cast, LogLines, Person, Server, Start
from tests.support.sites import (
    Internet,
    Site,
    drawn,
    leads_to,
    picture,
    says,
    tells,
    unfurled,
)

World = tuple[Server, Person, Internet]

JAPANESE, RUSSIAN, GREEK = "港の朝はとても静か", "Тихое утро в гавани", "Ήσυχο πρωινό"
NOBODY: dict[str, Any] = {
    "description": None, "image": None, "image_width": None, "image_height": None,
    "portrait": False,
}  # fmt: skip
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="360"/>'
DECOYS = """
    <!-- <meta property="og:title" content="comment"> -->
    <script>"<meta property='og:title' content='script'>"</script>
    <style><meta property="og:title" content="style"></style>
    <noscript><meta property="og:title" content="noscript"></noscript>
    <template><meta property="og:title" content="template"></template>
    <svg><title>svg</title><meta property="og:title" content="svg"></svg>
    <svg width="1"/><textarea><meta property="og:title" content="textarea"></textarea>
    <div title='<meta property="og:title" content="attribute">'></div>
"""

# A name, what stands where, and what is told of http://site.example/.
SITES: list[tuple[str, dict[str, Site], dict[str, Any] | None]] = [
    ("four tags", {
        "site.example/": says(tells("A harbour", description="At dawn", image="http://cdn.example/a",
                                    url="http://site.example/harbour")),
        "cdn.example/a": drawn(),
     }, {"title": "A harbour", "description": "At dawn", "url": "http://site.example/harbour",
         "image_width": 640, "image_height": 360}),
    ("only a title", {"site.example/": says("<title> Tom &amp; Jerry\n at <b>sea</b> </title>")},
     {"title": "Tom & Jerry at sea", **NOBODY}),
    ("no title", {"site.example/": says('<meta name="og:description" content="x"> words')}, None),
    ("names instead of properties", {"site.example/": says(
        "<META NAME=' og:Title ' CONTENT=Harbour><meta name=description content=Dawn>")},
     {"title": "Harbour", "description": "Dawn"}),
    ("two titles", {"site.example/": says(
        '<meta property="og:title" content=" "><meta property="og:title" content="first">'
        '<meta property="og:title" content="second"><title>third</title>')}, {"title": "first"}),
    ("what the other network calls them", {"site.example/": says(
        '<meta name="twitter:title" content="A"><meta name="twitter:description" content="B">')},
     {"title": "A", "description": "B"}),
    ("decoys", {"site.example/": says(f"{DECOYS}<title>the page</title>")}, {"title": "the page"}),
    ("markup in a value", {"site.example/": says(tells(
        "Hey!&lt;script&gt;alert(1)&lt;/script&gt; 1 &lt; 2",
        description="&amp;lt;b&amp;gt;AT&amp;amp;T&#x202e;&#7;"))},
     {"title": "Hey!alert(1) 1 < 2", "description": "AT&T"}),
    ("long words", {"site.example/": says(tells("é" * 300, description="d " * 400))},
     {"title": "é" * 279 + "…", "description": ("d " * 280)[:559].rstrip() + "…"}),
    ("a relative picture", {
        "site.example/": leads_to("/deep/page"),
        "site.example/deep/page": says(tells(image="a.jpg?x=1&amp;copy=2")),
        "site.example/deep/a.jpg?x=1&copy=2": drawn(picture(1600, 100, "JPEG"), "image/jpeg"),
     }, {"image_width": 800, "image_height": 50, "url": "http://site.example/"}),
    ("a drawing", {"site.example/": says(tells(image="/a")),
                   "site.example/a": drawn(SVG.encode(), "image/svg+xml")}, NOBODY),
    ("a drawing that is called a picture", {"site.example/": says(tells(image="/a")),
                   "site.example/a": drawn(SVG.encode())}, NOBODY),
    ("a picture of one pixel", {"site.example/": says(tells(image="/a")),
                   "site.example/a": drawn(picture(1, 1))}, NOBODY),
    ("six megabytes of picture", {"site.example/": says(tells(image="/a")),
                   "site.example/a": drawn(picture() + b"\0" * (6 << 20))}, NOBODY),
    ("a picture inside", {"site.example/": says(tells(image="http://192.168.1.1/a"))}, NOBODY),
    ("a picture whose name leads inside", {"site.example/": says(tells(image="http://in.example/"))},
     NOBODY),
    ("another's address", {"site.example/": says(tells(url="http://bank.example/"))},
     {"url": "http://site.example/"}),
    ("the address of its domain", {"site.example/": says(tells(url="https://www.site.example/a"))},
     {"url": "https://www.site.example/a"}),
    ("an address that hides another", {"site.example/": says(
        tells(url="http://bank.example\\@site.example/"))}, {"url": "http://site.example/"}),
    ("five redirects", {
        "site.example/": leads_to("/1", 301),
        **{f"site.example/{n}": leads_to(f"/{n + 1}", 307) for n in range(1, 5)},
        "site.example/5": says(tells()),
     }, {"title": "A harbour"}),
    ("six redirects", {
        "site.example/": leads_to("/1"),
        **{f"site.example/{n}": leads_to(f"/{n + 1}") for n in range(1, 6)},
        "site.example/6": says(tells()),
     }, None),
    ("plain words", {"site.example/": says(tells(), "text/plain")}, None),
    ("nothing there", {"site.example/": says(tells(), status=404)}, None),
    ("no type", {"site.example/": says(tells(), "")}, None),
    ("compressed", {"site.example/": says(tells(), more="Content-Encoding: gzip\r\n")}, None),
    ("Japanese", {"site.example/": says(
        f"<meta charset=Shift_JIS><title>{JAPANESE}</title>".encode("cp932"), "text/html")},
     {"title": JAPANESE}),
    ("Japanese, in escapes", {"site.example/": says(
        f"<title>{JAPANESE}</title>".encode("iso2022_jp"), "text/html; charset=ISO-2022-JP")},
     {"title": JAPANESE}),
    ("Russian", {"site.example/": says(
        f"<title>{RUSSIAN}</title>".encode("cp1251"), 'text/html; charset="Windows-1251"')},
     {"title": RUSSIAN}),
    ("Greek, said in the old way", {"site.example/": says(
        '<meta http-equiv=Content-Type content="text/html; charset=iso-8859-7">'
        f"<title>{GREEK}</title>".encode("iso8859_7"), "text/html")}, {"title": GREEK}),
    ("two bytes a letter", {"site.example/": says(
        f"<title>{JAPANESE}</title>".encode("utf-16"), "text/html")}, {"title": JAPANESE}),
    ("nothing said, and no UTF-8", {"site.example/": says(
        "<title>Côté mer, “été”</title>".encode("cp1252"), "text/html")},
     {"title": "Côté mer, “été”"}),
    ("an unknown character set", {"site.example/": says(
        "<title>Côté</title>".encode("cp1252"), "text/html; charset=zlib")}, {"title": "Côté"}),
    ("XHTML", {"site.example/": says(
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>X</title>'
        "</head></html>", "application/xhtml+xml")}, {"title": "X"}),
    ("a body that hides a second head", {"site.example/": says(
        "<head></head><body><meta property='og:title' content='late'></body>")}, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sites", "told"), [site[1:] for site in SITES], ids=[name for name, *_ in SITES]
)
async def test_a_page_is_told_as_it_says(
    internet: World, sites: dict[str, Site], told: dict[str, Any] | None
) -> None:
    _, kevin, net = internet
    net.sites, net.leads["in.example"] = sites, [["93.184.216.34", "10.0.0.1"]]

    preview = await unfurled(kevin, "http://site.example/")

    assert (preview is None) == (told is None)
    assert {fact: preview[fact] for fact in told} == told if preview and told is not None else True
    if preview and preview["image"]:
        shown = await kevin.get(preview["image"])
        assert shown.headers["Content-Type"] == "image/jpeg"
        assert shown.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def dripping(writer: asyncio.StreamWriter) -> None:
    writer.write(says().replace(b"Content-Length: 0", b"Content-Length: 1000"))
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.2)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(says().replace(b"Content-Length: 0", b"Pragma: none") + b"<title>Endless</title>")
    while not writer.is_closing():
        writer.write(b"<p>more</p>" * 1_000)
        await writer.drain()


async def test_what_drips_stalls_lies_or_never_ends_is_given_up(
    internet: World, cast: Cast
) -> None:
    server, kevin, net = internet
    over = asyncio.Event()

    async def silent(_: asyncio.StreamWriter) -> None:
        await over.wait()

    lies = says("<title>Lies</title>").replace(b"Content-Length: 19", b"Content-Length: 900")
    net.sites = {
        "drips.example/": dripping, "endless.example/": endless, "silent.example/": silent,
        "lies.example/": lies, "slow.example/": says(tells("Slow", image="/a")),
        "slow.example/a": dripping,
    }  # fmt: skip
    asked = (
        (cast.kevin, "drips"),
        (cast.kevin, "silent"),
        (cast.david, "slow"),
        (cast.david, "endless"),
    )
    look = server.parts.previews.of

    told = await asyncio.gather(
        *(look(user.id, f"http://{name}.example/", frozenset()) for user, name in asked)
    )

    assert [preview and preview.title for preview in told] == [None, None, "Slow", "Endless"]
    assert told[2] is not None
    assert told[2].image is None
    over.set()
    assert await unfurled(kevin, "http://lies.example/") is None


ODD_HEADERS = [
    b"Location: \xff\xfe", b"Location: http://a..b/", b"Location: http://[::1", b"Location: //",
    b"Location: http://%00/", b"Location: http://a.example:\xd9\xa1/", b"Location: ?",
    b"Location: http://" + b"a" * 300 + b".example/", b"Location: " + b"a" * 9_000, b"Location: ",
]  # fmt: skip
ODD_ANSWERS = [
    b"", b"garbage\r\n\r\n", b"HTTP/9.9 200 OK\r\nContent-Type: text/html\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 5_000 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    *(b"HTTP/1.1 302 So\r\nConnection: close\r\n" + odd + b"\r\n\r\n" for odd in ODD_HEADERS),
]  # fmt: skip
ODD_PICTURES = ["http://[", "http://a..b/x", "http://" + "b" * 400, "//", "data:image/png,a", "x:y"]


async def test_answers_that_make_no_sense_come_to_nothing(internet: World) -> None:
    _, kevin, net = internet
    net.sites = {**{f"a{n}.example/": odd for n, odd in enumerate(ODD_ANSWERS)}}
    pages: dict[str, Site] = {
        f"p{n}.example/": says(tells(image=odd)) for n, odd in enumerate(ODD_PICTURES)
    }

    nothing = [await unfurled(kevin, f"http://{place}") for place in net.sites]
    net.sites = pages
    bare = [await unfurled(kevin, f"http://{place}") for place in pages]

    assert nothing == [None] * len(ODD_ANSWERS)
    assert [preview and preview["image"] for preview in bare] == [None] * len(pages)
    assert all(bare)


async def test_a_person_has_two_looks_at_once_and_all_have_sixteen(
    internet: World, cast: Cast
) -> None:
    server, kevin, net = internet
    let_go = asyncio.Event()

    async def held(writer: asyncio.StreamWriter) -> None:
        await let_go.wait()
        writer.write(says(tells()))

    net.sites = {f"{n}.example/": held for n in range(30)}
    first = [asyncio.create_task(unfurled(kevin, f"http://{n}.example/")) for n in range(2)]
    await net.has_been_asked(2)

    refused = await kevin.post("/api/unfurl_link", {"url": "http://3.example/"})
    joined = asyncio.create_task(unfurled(kevin, "http://1.example/#there"))
    looks, own = server.parts.previews, frozenset[tuple[str, int]]()
    others = [
        asyncio.create_task(looks.of(UserId(100 + n // 2), f"http://{n + 4}.example/", own))
        for n in range(14)
    ]
    await net.has_been_asked(16)
    too_many = await (await server.sign_in(cast.jz)).post(
        "/api/unfurl_link", {"url": "http://29.example/"}
    )
    let_go.set()
    told = await asyncio.gather(*first, joined, *others)

    assert (refused.status, refused.code) == (429, "too_many_previews")
    assert refused.headers["Retry-After"] == "2"
    assert (too_many.status, too_many.code) == (429, "too_many_previews")
    assert len([preview for preview in told if preview]) == 17
    assert sorted(net.asked) == sorted(f"{n}.example/" for n in (0, 1, *range(4, 18)))
    assert await unfurled(kevin, "http://20.example/")
    metrics = (await kevin.get("/metrics")).text
    assert 'campfire_unfurls_total{result="too_many"} 2' in metrics
    assert 'campfire_unfurls_total{result="found"} 17' in metrics


async def test_a_page_is_fetched_once_however_often_it_is_pasted(internet: World) -> None:
    server, kevin, net = internet
    net.sites = {"site.example/": says(tells(url="")), "none.example/": says("")}
    ways = ["http://site.example", " HTTP://SITE.example:80/#top ", "http://site.example/"]

    told = [await unfurled(kevin, url) for url in ways]
    none = [await unfurled(kevin, "www.none.example") for _ in range(2)]
    none += [await unfurled(kevin, "http://none.example/") for _ in range(2)]

    assert [preview and preview["url"] for preview in told] == [url.strip() for url in ways]
    assert none == [None] * 4
    assert net.asked == ["site.example/", "www.none.example/", "none.example/"]
    assert server.parts.previews.unfurls["remembered"] == 4


async def test_who_leaves_does_not_stop_what_others_wait_for(internet: World, cast: Cast) -> None:
    server, kevin, net = internet
    let_go, address = asyncio.Event(), "http://site.example/"

    async def held(writer: asyncio.StreamWriter) -> None:
        await let_go.wait()
        writer.write(says(tells()))

    net.sites = {"site.example/": held}
    looks = server.parts.previews
    leaving, staying = (
        asyncio.create_task(looks.of(user_id, address, frozenset()))
        for user_id in (kevin.id, cast.david.id)
    )
    await net.has_been_asked(1)
    leaving.cancel()
    let_go.set()

    preview = await staying

    assert preview
    assert preview.title == "A harbour"
    assert leaving.cancelled()
    assert len(net.asked) == 1


async def test_a_post_is_asked_for_where_it_can_be_read(internet: World) -> None:
    _, kevin, net = internet
    face = "http://pbs.twimg.com/profile_images/1/a.jpg"
    post = tells("Kevin", description=JAPANESE, image=face, url="https://x.com/kevin/status/1")
    net.sites = {
        "fxtwitter.com/kevin/status/1?s=20": says(post, "text/html; charset=iso-8859-1"),
        "pbs.twimg.com/profile_images/1/a.jpg": drawn(picture(400, 400, "JPEG"), "image/jpeg"),
        "short.example/": leads_to("http://www.twitter.com/kevin/status/1?s=20"),
        "x.com/": says("<title>X</title>"),
    }

    told = await unfurled(kevin, "http://x.com/kevin/status/1?s=20")
    short = await unfurled(kevin, "http://short.example/")
    front = await unfurled(kevin, "http://x.com/")
    silent = await unfurled(kevin, "http://twitter.com/nobody")

    assert silent is None
    assert told
    assert short
    assert front
    assert (told["portrait"], told["description"]) == (True, JAPANESE)
    assert told["url"] == "http://x.com/kevin/status/1?s=20"
    assert short["title"] == "Kevin"
    assert {asked.split("/")[0] for asked in net.asked} == {
        "fxtwitter.com", "pbs.twimg.com", "short.example", "x.com"
    }  # fmt: skip
    assert "x.com/kevin/status/1?s=20" not in net.asked


@pytest.mark.parametrize("ending", ["/a.pdf", "/a.MP4?x", "/b/a.tar", "/x.jpeg#y"])
async def test_what_is_no_page_by_its_name_is_not_asked_for(internet: World, ending: str) -> None:
    _, kevin, net = internet

    assert await unfurled(kevin, f"http://site.example{ending}") is None
    assert net.asked == []


@pytest.mark.parametrize("given", [None, 5, "", ["x"], "http://a.example/" + "a" * 2_048])
async def test_what_is_no_address_at_all_is_a_bad_request(internet: World, given: object) -> None:
    _, kevin, _ = internet

    answer = await kevin.post("/api/unfurl_link", {"url": given})

    assert (answer.status, answer.code) == (400, "bad_request")


async def test_where_previews_are_switched_off_nothing_is_asked_for(
    start: Start, cast: Cast
) -> None:
    kevin = await (await start(OPENGRAPH_ENABLED="0")).sign_in(cast.kevin)

    answer = await kevin.post("/api/unfurl_link", {"url": "https://example.com"})

    assert (answer.status, answer.code) == (501, "feature_disabled")
    assert answer.json["error"]["feature"] == "opengraph"
    assert answer.json["error"]["message"] == "Link previews are switched off here"
    assert (await kevin.get("/users/me/profile")).boot["features"]["opengraph"] is False


async def test_a_picture_of_a_page_is_for_those_who_are_signed_in(internet: World) -> None:
    server, kevin, net = internet
    net.sites = {"site.example/": says(tells(image="/a")), "site.example/a": drawn()}
    preview = await unfurled(kevin, "http://site.example/")
    assert preview
    visitor = await server.visitor()

    anonymous = await visitor.get(preview["image"])
    wrong = await kevin.get("/previews/" + "0" * 28)

    assert (anonymous.status, anonymous.code) == (401, "unauthenticated")
    assert (wrong.status, wrong.code) == (404, "attachment_not_found")


async def test_the_log_tells_neither_addresses_nor_keys(
    internet: World, log_lines: LogLines
) -> None:
    _, kevin, net = internet
    net.sites = {"site.example/secret": says(tells(image="/a")), "site.example/a": drawn()}

    preview = await unfurled(kevin, "http://site.example/secret")
    assert preview
    await kevin.get(preview["image"])
    await unfurled(kevin, "http://site.example/other")

    told = "\n".join(log_lines())
    assert "site.example/" not in told  # no more than the host, and this for debugging
    assert "secret" not in told
    assert preview["image"] not in told
    assert "/previews/[FILTERED]" in told
    assert json.loads(next(line for line in log_lines() if "preview_refused" in line))


async def test_a_full_disk_or_a_workshop_that_is_gone_leaves_no_preview(internet: World) -> None:
    server, kevin, net = internet
    net.sites = {"a.example/": says(tells(image="/p")), "a.example/p": drawn()}
    net.sites["b.example/"] = says(tells())
    config = server.parts.config
    full = program.Store(server.parts.db, replace(config, files_quota_bytes=1))
    await full.start()
    parts = (server.parts.db, full, server.parts.workshop)
    poor = program.Previews(config, *parts, net)

    on_a_full_disk = await poor.of(kevin.id, "http://a.example/", frozenset())
    server.parts.workshop.close()
    in_no_workshop = await unfurled(kevin, "http://b.example/")

    assert (on_a_full_disk, in_no_workshop) == (None, None)
    await poor.close()


async def test_our_own_address_is_never_asked_whatever_leads_to_it(internet: World) -> None:
    server, kevin, net = internet
    net.sites = {"site.example/": leads_to("http://chat.example:8080/rooms/1")}
    ours = {"Host": "chat.example:8080"}
    own = program.own_places("https", ["chat.example", None, "", "a b", "talk.example:8443"])

    answer = await kevin.post("/api/unfurl_link", {"url": "http://chat.example:8080/a"}, ours)
    led = await kevin.post("/api/unfurl_link", {"url": "http://site.example/"}, ours)
    told = [
        await server.parts.previews.of(kevin.id, f"{address}/@1", own)
        for address in ("http://CHAT.example", "https://chat.example.", "https://talk.example:8443")
    ]

    assert (answer.status, led.status) == (204, 204)
    assert told == [None] * 3
    assert net.asked == ["site.example/"]

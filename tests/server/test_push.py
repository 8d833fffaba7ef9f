"""Telling browsers that are not open: whom, what and how."""

import base64
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import example, settings
from hypothesis import given as for_any
from hypothesis import strategies as st

import campfire as program
from tests.conftest import Place
from tests.support.asking import mention, settle
from tests.support.cast import Cast, Person, Server, Start, Template
from tests.support.services import (
    DEVICES,
    Browser,
    Service,
    TurnableLoop,
    on_a_turnable_clock,
    subscribe,
)
from tests.support.tables import briefly, cases

LEVELS = ["everything", "mentions", "nothing", "invisible"]

Story = Callable[[Server, Cast, Service], Coroutine[Any, Any, None]]


async def hang_for_ten_seconds(server: Server, cast: Cast, service: Service) -> None:
    """Eight at once to a person, one to an endpoint, and after three timeouts an hour's rest."""
    loop, keys = TurnableLoop.running(), Browser().keys
    jz, kevin, david = [await server.sign_in(each) for each in (cast.jz, cast.kevin, cast.david)]
    for person, devices in ((kevin, 20), (david, 1)):
        await person.put(f"/api/rooms/{cast.pets.id}/involvement", {"involvement": "everything"})
        for n in range(devices):
            await subscribe(person, f"{service.address}/devices/{person.id}-{n}", keys)
    service.may_answer.clear()

    await jz.say(cast.pets, "hello")  # which nothing holds up
    await service.has(9)
    await jz.say(cast.pets, "and once more")
    for seconds, come in ((9.5, 9), (0.6, 18), (10.1, 26), (10.1, 34)):
        loop.ahead += seconds
        await service.has(come)
        await jz.say(cast.designers, "nobody waits")
        assert len(service.came) == come
    service.may_answer.set()
    await settle(server)
    assert server.parts.push.pushes["failed"] == 26
    assert len(await endpoints(kevin)) == 20


async def rest_for_an_hour(server: Server, cast: Cast, service: Service) -> None:
    """Three timeouts running, then an hour in which nobody calls; a good answer forgives."""
    loop, keys = TurnableLoop.running(), Browser().keys
    jz, kevin = await server.sign_in(cast.jz), await server.sign_in(cast.kevin)
    await kevin.put(f"/api/rooms/{cast.pets.id}/involvement", {"involvement": "everything"})
    await subscribe(kevin, f"{service.address}/devices/one", keys)

    for answered in (False, False, True, False, False, False):
        service.may_answer.set() if answered else service.may_answer.clear()
        await jz.say(cast.pets, "hello")
        await service.has(1)
        loop.ahead += 0 if answered else 10.1
        await settle(server)
        assert service.devices == ["one"]
    service.may_answer.set()
    for seconds, devices in ((0, []), (3_500, []), (101, ["one"]), (0, ["one"])):
        loop.ahead += seconds
        jz = await server.sign_in(cast.jz)  # nobody's connection is kept for so long
        await jz.say(cast.pets, "are you there?")
        await settle(server)
        assert service.devices == devices
    assert server.parts.push.pushes["resting"] == 2


@pytest.fixture
async def server(start: Start) -> Server:
    """A server that may push to 127.0.0.1."""
    return await start(ALLOW_PRIVATE_PUSH_ENDPOINTS="1")


@pytest.fixture
def browser() -> Browser:
    return Browser()


async def test_a_push_is_encrypted_signed_and_says_who_said_what_where(
    kevin: Person, jz: Person, david: Person, service: Service, browser: Browser, cast: Cast
) -> None:
    await subscribe(kevin, f"{service.address}/devices/one", browser.keys)
    for room in (cast.hq, cast.designers):
        await kevin.put(f"/api/rooms/{room.id}/involvement", {"involvement": "everything"})

    await jz.say(cast.designers, "Hi <b>you</b> &amp; all")
    await settle(kevin.server)
    await david.say(cast.david_and_kevin, "psst")
    await settle(kevin.server)
    await david.say(cast.david_and_kevin, "👍" * 16_000)
    await settle(kevin.server)

    told = [browser.read(body) for _, body, _ in service.came]
    assert told[0] == {
        "title": "Designers",
        "options": {
            "body": "JZ: Hi you & all", "icon": "/account/logo",
            "data": {"path": f"/rooms/{cast.designers.id}", "badge": 1},
        },
    }  # fmt: skip
    shown = [(each["title"], each["options"]["data"]["badge"]) for each in told[1:]]
    assert shown == [("David", 2)] * 2
    short, cut = [each["options"]["body"] for each in told[1:]]
    assert (short, cut[:2], cut[-2:]) == ("psst", "👍👍", "👍…")
    sent = service.came[0][2]
    expected = {"Content-Encoding": "aes128gcm", "Urgency": "high", "TTL": "2419200"}
    assert {name: sent[name] for name in expected} == expected
    check_vapid(sent["Authorization"], service.address, await kevin.boot("/rooms/4"))


async def test_one_browser_on_two_services_is_proved_to_each_of_them(
    kevin: Person, service: Service, browser: Browser
) -> None:
    other = Service()
    await other.listen()
    boot = await kevin.boot("/users/me/profile")

    for each in (service, other, service):
        one = await subscribe(kevin, f"{each.address}/devices/one", browser.keys)
        tested = await kevin.post(f"{DEVICES}/{one['id']}/test_notifications")
        assert tested.status == 200
        check_vapid(each.came[-1][2]["Authorization"], each.address, boot)
    await other.close()


@settings(max_examples=100)
@for_any(st.text(max_size=80), st.text(), st.integers(0, 70), st.sampled_from(["/rooms/5", "/"]))
@example("Designers", "👍", 65_536 // 4, "/rooms/5")
@example("👍" * 255, "", 1, "/rooms/5")
@example('"' * 255, '"', 65_536, "/rooms/5")
@example("Designers", "\n" + "x" * 7, 8_000, "/rooms/5")
@example("Designers", "\x00\x01", 2_000, "/rooms/5")
def test_a_payload_is_short_enough_and_cut_between_characters_no_more_than_needed(
    title: str, words: str, times: int, path: str
) -> None:
    body = words * times

    data = program.push_payload(title, body, path, 7)

    told = json.loads(data)
    shown, cut = told["options"]["body"], told["options"]["body"].removesuffix("…")
    assert len(data) <= 3_000
    assert title.startswith(told["title"].removesuffix("…"))
    assert shown == body or (shown.endswith("…") and body.startswith(cut))
    assert shown == body or len(data) > 2_900
    assert told["options"]["data"] == {"path": path, "badge": 7}


async def test_who_is_told_of_what_as_rails_tests_it(
    start: Start, cast: Cast, service: Service, browser: Browser
) -> None:
    server = await start(ALLOW_PRIVATE_PUSH_ENDPOINTS="1")
    david, jason, jz, kevin = [
        await server.sign_in(each) for each in (cast.david, cast.jason, cast.jz, cast.kevin)
    ]
    for person in (david, jason, jz, kevin):
        await subscribe(person, f"{service.address}/devices/{person.user.name}", browser.keys)

    async def involve(level: str, *people: Person) -> None:
        for person in people:
            path = f"/api/rooms/{cast.designers.id}/involvement"
            await person.put(path, {"involvement": level})

    async def told(text: str) -> list[str]:
        await david.say(cast.designers, text)
        await settle(server)
        return service.devices

    await involve("everything", david, jason, jz, kevin)
    assert await told("all of you") == ["JZ", "Jason", "Kevin"]
    await involve("mentions", kevin)
    assert await told("but Kevin") == ["JZ", "Jason"]
    assert await told(f"with {mention(server, cast.kevin)}") == ["JZ", "Jason", "Kevin"]
    await involve("invisible", jason)
    await involve("nothing", jz)
    assert await told(f"hi {mention(server, cast.jason, cast.jz)}") == []
    await involve("everything", jason, jz)
    tab = await jz.welcomed()
    looking = await tab.subscribe(channel="PresenceChannel", room_id=cast.designers.id)
    assert await told("JZ is here") == ["Jason"]
    await tab.perform(looking, "absent")
    await tab.drain()
    said = await david.say(cast.designers, "JZ is elsewhere")
    await settle(server)
    assert service.devices == ["JZ", "Jason"]
    path = f"/api/rooms/{cast.designers.id}/messages/{said['id']}"
    await david.put(path, {"body": f"edited {mention(server, cast.kevin)}"})
    await jz.post(f"/api/messages/{said['id']}/boosts", {"content": "+1"})
    await settle(server)
    assert service.devices == []
    visitor = await server.visitor()
    await visitor.request("POST", f"/rooms/{cast.hq.id}/5-ABCDEFGHIJKL/messages", data=b"nobody")
    posted = f"/rooms/{cast.bender_and_kevin.id}/5-ABCDEFGHIJKL/messages"
    assert (await visitor.request("POST", posted, data=b"beep")).status == 201
    await settle(server)
    assert service.devices == ["Kevin"]


@settings(max_examples=60)
@for_any(
    st.lists(
        st.tuples(st.sampled_from(LEVELS), st.booleans(), st.booleans(), st.integers(0, 2)),
        min_size=5, max_size=5,
    ),
    st.integers(0, 4), st.integers(0, 4), st.sampled_from([0, 30, 61]), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_whatever_people_wish_exactly_those_elsewhere_who_want_it_are_told(
    place: Place, cast: Cast, wishes: list[tuple[str, bool, bool, int]], by: int, keeper: int,
    seconds: int, is_ping: bool, calls_all: bool,  # noqa: FBT001 - hypothesis gives them by place
) -> None:  # fmt: skip
    """Who is pushed by the wishes of five people, against the sentence of the specification."""
    people, author = cast.everybody, cast.everybody[by]
    place.run("DELETE FROM push_subscriptions")
    room = place.room(people[keeper], *people)
    if is_ping:
        ids = [each.id for each in people]
        room = place.do(place.rooms.find_or_create_direct(author, ids))[0].room.id
    keep = place.parts.push.keep
    for person, (level, is_present, _, devices) in zip(people, wishes, strict=True):
        involvement = program.Involvement(level)
        place.do(place.rooms.set_involvement(person, room, involvement))
        for n in range(devices):
            endpoint = f"https://push.example.com/{n}"
            place.do(keep(person.id, endpoint, ("k", "a"), ""))
        if is_present:
            place.parts.sockets.presence.enter(room, person.id, 0)
    place.server.steady.seconds += seconds

    named = [each for each, (_, _, is_named, _) in zip(people, wishes, strict=True) if is_named]
    words = "hi @everyone " * calls_all + "".join(map(place.mention, named))
    posted = place.post(author, room, words or "hi", None)

    [(creator_id,)] = place.rows("SELECT creator_id FROM rooms WHERE id = :room", room=room)
    may_call = author.role is program.Role.ADMINISTRATOR or author.id == creator_id
    expected = [
        (person.id, f"https://push.example.com/{n}")
        for person, (level, is_present, is_named, devices) in zip(people, wishes, strict=True)
        for n in range(devices)
        if person.id != author.id and not (is_present and seconds <= 60)
        if level == "everything" or (level == "mentions" and (is_named or (calls_all and may_call)))
    ]
    notices = place.do(place.parts.db.read(program.notices_for, posted))
    assert posted.is_awaited or not notices
    told = [(subscription.user_id, subscription.endpoint) for subscription, _ in notices]
    assert sorted(told) == sorted(expected)
    for subscription, badge in notices:
        sql = "SELECT count(*) FROM memberships WHERE user_id = :id AND unread_at IS NOT NULL"
        assert place.rows(sql, id=subscription.user_id) == [(badge,)]
    for person in people:
        place.parts.sockets.presence.leave(room, person.id, 0)


FAILED = [301, 307, 400, 401, 403, 413, 429, 500, 503]


@pytest.mark.parametrize(
    ("status", "answer"),
    [(200, 200), (201, 200), (204, 200), *((each, 502) for each in FAILED), (404, 410), (410, 410)],
)
async def test_only_a_service_that_says_gone_ends_a_subscription(
    kevin: Person, service: Service, browser: Browser, cast: Cast, status: int, answer: int
) -> None:
    service.statuses["one"] = status
    one = await subscribe(kevin, f"{service.address}/devices/one", browser.keys)
    await subscribe(kevin, f"{service.address}/devices/two", browser.keys)
    jz = await kevin.server.sign_in(cast.jz)

    await jz.post("/api/rooms/directs", {"user_ids": [kevin.id]})
    await jz.post("/api/rooms/8/messages", {"body": "hello"})
    await settle(kevin.server)
    told, kept = service.devices, await endpoints(kevin)
    if answer == 410:
        one = await subscribe(kevin, f"{service.address}/devices/one", browser.keys)
    tested = await kevin.post(f"{DEVICES}/{one['id']}/test_notifications")

    assert (told, service.devices) == (["one", "two"], ["one"])
    assert kept == await endpoints(kevin) == (["two"] if answer == 410 else ["one", "two"])
    code = tested.json.get("error", {}).get("code")
    expected = {200: None, 410: "push_gone", 502: "push_failed"}[answer]
    assert (tested.status, code) == (answer, expected)


@pytest.mark.parametrize("change", cases("keys that encrypt nothing"), ids=briefly)
async def test_keys_that_encrypt_nothing_end_the_subscription(
    kevin: Person,
    jz: Person,
    service: Service,
    browser: Browser,
    cast: Cast,
    change: dict[str, str],
) -> None:
    keys, endpoint = {**browser.keys, **change}, f"{service.address}/devices/one"
    await subscribe(kevin, endpoint, keys)
    await subscribe(kevin, f"{service.address}/devices/two", browser.keys)
    await kevin.put(f"/api/rooms/{cast.pets.id}/involvement", {"involvement": "everything"})

    await jz.say(cast.pets, "hello")
    await settle(kevin.server)

    assert (service.devices, await endpoints(kevin)) == (["two"], ["two"])
    again = await subscribe(kevin, endpoint, keys)
    tested = await kevin.post(f"{DEVICES}/{again['id']}/test_notifications")
    assert (tested.status, tested.code) == (410, "push_gone")
    assert await endpoints(kevin) == ["two"]


@pytest.mark.parametrize("shows", [hang_for_ten_seconds, rest_for_an_hour])
def test_a_service_that_hangs_is_nobody_elses_delay_and_soon_left_alone(
    template: Template, tmp_path: Path, shows: Story
) -> None:
    async def story(server: Server, cast: Cast) -> None:
        await (service := Service()).listen()
        try:
            await shows(server, cast, service)
        finally:
            await service.close()

    on_a_turnable_clock(template, tmp_path, story, ALLOW_PRIVATE_PUSH_ENDPOINTS="1")


async def test_a_message_is_pushed_once_however_often_it_is_sent(
    kevin: Person, jz: Person, cast: Cast, service: Service, browser: Browser
) -> None:
    await subscribe(jz, f"{service.address}/devices/one", browser.keys)
    await jz.put(f"/api/rooms/{cast.designers.id}/involvement", {"involvement": "everything"})

    for _ in range(3):
        await kevin.say(cast.designers, "hello", "once")
        await settle(kevin.server)

    assert service.devices == ["one"]


async def test_people_delete_and_test_their_own_browsers_only(
    kevin: Person, jz: Person, service: Service, browser: Browser
) -> None:
    one = await subscribe(kevin, f"{service.address}/devices/one", browser.keys)
    path = f"{DEVICES}/{one['id']}"

    foreign = [await jz.delete(path), await kevin.delete(f"{DEVICES}/999")]
    refused = await jz.post(f"{path}/test_notifications")
    tested = await kevin.post(f"{path}/test_notifications")

    assert [each.status for each in foreign] == [204, 204]
    assert (refused.status, refused.code) == (404, "push_subscription_not_found")
    assert (tested.status, tested.json) == (200, {"delivered": True})
    ((device, body, _),) = service.came
    told = browser.read(body)
    assert (device, told["title"]) == ("one", "Campfire Test")
    assert len(told["options"]["body"]) == 36
    path_told = told["options"]["data"]["path"]
    assert path_told == f"{kevin.server.address}/users/me/push_subscriptions"
    assert await endpoints(kevin) == ["one"]
    assert (await kevin.delete(path)).status == 204
    assert await endpoints(kevin) == []


async def test_blank_fields_are_named_and_private_services_are_for_closed_networks_only(
    kevin: Person, browser: Browser
) -> None:
    for endpoint in ("http://push.internal/1", "https://10.0.0.1/1", "http://[::1]:8080/1"):
        assert await subscribe(kevin, endpoint, browser.keys)
    good = {"endpoint": "https://push.example.com/1", **browser.keys}
    for field, value, says in (
        ("endpoint", "ftp://push.internal", "is invalid"), ("endpoint", None, "can't be blank"),
        ("p256dh_key", "", "can't be blank"), ("auth_key", None, "can't be blank"),
    ):  # fmt: skip
        refused = await kevin.post(DEVICES, {**good, field: value})
        assert (refused.status, refused.json["error"]["fields"]) == (422, {field: [says]})


def bytes_of(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def endpoints(person: Person) -> list[str]:
    devices = (await person.get(DEVICES)).json["push_subscriptions"]
    return [each["endpoint"].rpartition("/")[2] for each in devices]


def check_vapid(header: str, origin: str, boot: dict[str, Any]) -> None:
    """The proof of who sends (RFC 8292), checked as a push service does."""
    assert header.startswith("vapid ")
    parts = dict(each.strip().split("=", 1) for each in header.removeprefix("vapid ").split(","))
    head, claims, signature = parts["t"].split(".")
    point, raw = bytes_of(parts["k"]), bytes_of(signature)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    public.verify(utils.encode_dss_signature(r, s), f"{head}.{claims}".encode(), ec.ECDSA(SHA256()))
    told = json.loads(bytes_of(claims))
    assert json.loads(bytes_of(head))["alg"] == "ES256"
    assert (told["aud"], told["sub"]) == (origin, "mailto:david@example.com")
    assert 0 < told["exp"] - time.time() <= 24 * 3600
    assert parts["k"].rstrip("=") == boot["vapid_public_key"].rstrip("=")

"""The checklist of Rails' own tests, second part: rooms, and who is called there."""

import pytest

import campfire as program
from tests.support.asking import (
    count,
    ids,
    member_names,
    mention,
    restrict,
    room_of,
    settle,
    targets,
    texts,
)
from tests.support.cast import Cast, Person, Server, Start, SteadyClock
from tests.support.checklist_words import Checklist, It
from tests.support.listeners import Audience
from tests.support.readers import Receiver
from tests.support.services import (
    DEVICES,
    Browser,
    Service,
    give_webhook,
    public_resolver,
    subscribe,
)

EVERYBODY = ("david", "jason", "jz", "kevin")
ROOMS = Checklist()


@ROOMS.of("controllers/rooms")
async def controllers_rooms(it: It, audience: Audience, cast: Cast) -> None:
    jz, kevin, everybody = audience.people["jz"], audience.people["kevin"], tuple(audience.people)
    with it("list → redirect to the newest room"):
        assert (await jz.get("/rooms")).location == f"/rooms/{cast.designers.id}"
    shown = await jz.get(f"/rooms/{cast.pets.id}")
    with it("show opens"):
        assert (shown.status, shown.boot["page"]) == (200, "room")
    with it("show sets `last_room`"):
        assert shown.cookies["last_room"].value == str(cast.pets.id)
    rooms = await count(audience.server, "rooms")
    with it("delete → one frame on `rooms`, one room less"):
        assert (await audience.people["david"].delete(f"/api/rooms/{cast.pets.id}")).status == 204
        frames = await audience.heard_by(*everybody)
        assert targets(frames) == [("remove", f"list_room_{cast.pets.id}")]
        assert await count(audience.server, "rooms") == rooms - 1
    with it("member who is not creator → 403; as creator → deleted"):
        mine = (await kevin.post("/api/rooms/opens", {"name": "Mine"})).json["room"]["id"]
        assert (await jz.delete(f"/api/rooms/{mine}")).status == 403
        assert (await kevin.delete(f"/api/rooms/{mine}")).status == 204
        assert await room_of(kevin, mine) == {}


@ROOMS.of("controllers/rooms/opens")
async def controllers_rooms_opens(it: It, audience: Audience, cast: Cast) -> None:
    david, jason, jz, kevin = audience.people.values()
    everybody, path = tuple(audience.people), "/api/rooms/opens"
    with it("show redirects"):
        assert (await jz.get(f"/rooms/opens/{cast.hq.id}")).location == f"/rooms/{cast.hq.id}"
    with it("form opens"):
        assert (await jz.get("/rooms/opens/new")).boot["page"] == "room_new"
    made = (await kevin.post(path, {"name": "Garden"})).json["room"]
    garden = f"{path}/{made['id']}"
    with it("create → one frame on `rooms`, everybody a member"):
        assert targets(await audience.heard_by(*everybody)) == [("prepend", "shared_rooms")]
        assert len(await member_names(jz, made["id"])) == len(cast.everybody)
    with it("non-creator → 403, no frame, name unchanged"):
        assert (await jz.put(garden, {"name": "Mine"})).status == 403
        assert not any((await audience.heard()).values())
        assert (await room_of(jz, made["id"]))["name"] == "Garden"
    with it("creator renames → one frame on `rooms`, name changed"):
        assert (await kevin.put(garden, {"name": "Orchard"})).status == 200
        frames = await audience.heard_by(*everybody)
        assert targets(frames) == [("replace", f"list_room_{made['id']}")]
        assert (await room_of(jz, made["id"]))["name"] == "Orchard"
    with it("closed saved as open → everybody a member"):
        assert (await jason.put(f"{path}/{cast.watercooler.id}", {"name": "Water"})).status == 200
        assert len(await member_names(jz, cast.watercooler.id)) == len(cast.everybody)
    for sentence, person in (
        ("ping → stays direct with the same two, for its creator", kevin),
        ("and for an administrator", david),
    ):
        with it(sentence):
            ping = (await kevin.post("/api/rooms/directs", {"user_ids": [david.id]})).json["room"]
            assert (await person.put(f"{path}/{ping['id']}", {"name": "Ours"})).status == 404
            assert (await room_of(kevin, ping["id"]))["type"] == "direct"
            assert await member_names(kevin, ping["id"]) == ["David", "Kevin"]
    with it("member when restricted → 403"):
        await restrict(david, value=True)
        assert (await jz.post(path, {"name": "Mine"})).status == 403


@ROOMS.of("controllers/rooms/closeds")
async def controllers_rooms_closeds(it: It, audience: Audience, cast: Cast) -> None:
    david, jason, jz, kevin = audience.people.values()
    path, three = "/api/rooms/closeds", [cast.jason.id, cast.jz.id, cast.kevin.id]
    with it("opens/closeds show URL → redirect to the room"):
        for kind, room in (("opens", cast.hq), ("closeds", cast.designers)):
            assert (await jz.get(f"/rooms/{kind}/{room.id}")).location == f"/rooms/{room.id}"
    with it("form opens"):
        assert (await jz.get("/rooms/closeds/new")).boot["page"] == "room_new"
    made = (await kevin.post(path, {"name": "Plans", "user_ids": three})).json["room"]
    plans = f"{path}/{made['id']}"
    with it("create with three people → three memberships, one sidebar frame to each"):
        assert await member_names(kevin, made["id"]) == ["Jason", "JZ", "Kevin"]
        frames = await audience.heard_by("jason", "jz", "kevin")
        assert targets(frames) == [("prepend", "shared_rooms")]
    with it("non-creator member → 403, nothing broadcast, name unchanged"):
        assert (await jz.put(plans, {"name": "Mine", "user_ids": three})).status == 403
        assert not any((await audience.heard()).values())
        assert (await room_of(jz, made["id"]))["name"] == "Plans"
    with it("update without one member → one less, name changed"):
        await kevin.put(plans, {"name": "Schemes", "user_ids": three[1:]})
        assert await member_names(kevin, made["id"]) == ["JZ", "Kevin"]
        assert (await room_of(kevin, made["id"]))["name"] == "Schemes"
    with it("open room saved as closed with two people → two memberships"):
        given = {"name": "Pets", "user_ids": [cast.david.id, cast.kevin.id]}
        assert (await david.put(f"{path}/{cast.pets.id}", given)).status == 200
        assert await member_names(david, cast.pets.id) == ["David", "Kevin"]
    with it("direct room → type and members unchanged"):
        given = {"name": "Ours", "user_ids": three}
        assert (await david.put(f"{path}/{cast.david_and_kevin.id}", given)).status == 404
        assert (await room_of(david, cast.david_and_kevin.id))["type"] == "direct"
        assert await member_names(david, cast.david_and_kevin.id) == ["David", "Kevin"]
    with it("removing oneself → membership gone, visiting the room redirects home"):
        # Whoever made a room stays in it (server.md 14.2); Jason did not make this one.
        given = {"name": "Watercooler", "user_ids": [cast.david.id]}
        saved = await jason.put(f"{path}/{cast.watercooler.id}", given)
        assert saved.json == {"room": None, "still_member": False}
        assert (await jason.get(f"/rooms/{cast.watercooler.id}")).location == "/"
    with it("member when restricted → 403"):
        await restrict(david, value=True)
        assert (await jz.post(path, {"name": "Mine", "user_ids": []})).status == 403


@ROOMS.of("controllers/rooms/directs")
async def controllers_rooms_directs(
    it: It, david: Person, jz: Person, kevin: Person, cast: Cast
) -> None:
    path, rooms = "/api/rooms/directs", await count(david.server, "rooms")
    made = await jz.post(path, {"user_ids": [cast.kevin.id]})
    ping = made.json["room"]["id"]
    with it("create → room with both"):
        assert made.status == 201
        assert await member_names(jz, ping) == ["JZ", "Kevin"]
    with it("twice → one room"):
        again = await jz.post(path, {"user_ids": [cast.kevin.id]})
        assert (again.status, again.json["room"]["id"]) == (200, ping)
        assert await count(david.server, "rooms") == rooms + 1
    with it("deleting a closed room through the ping URL → refused"):
        assert (await jz.delete(f"{path}/{cast.designers.id}")).status in (403, 404, 405)
    with it("deleting an open room that way → refused"):
        assert (await jz.delete(f"{path}/{cast.hq.id}")).status in (403, 404, 405)
    with it("deleting a ping of others → 404, stays"):
        assert (await jz.delete(f"/api/rooms/{cast.david_and_kevin.id}")).status == 404
        assert await count(david.server, "rooms") == rooms + 1
    with it("any of the two deletes → gone, redirect home"):
        assert (await kevin.delete(f"/api/rooms/{ping}")).status == 204
        assert (await david.delete(f"/api/rooms/{cast.david_and_kevin.id}")).status == 204
        assert (await jz.get(f"/rooms/{ping}")).location == "/"
        assert await count(david.server, "rooms") == rooms - 1


@ROOMS.of("controllers/rooms/involvements")
async def controllers_rooms_involvements(it: It, audience: Audience, cast: Cast) -> None:
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


@ROOMS.of("controllers/rooms/refreshes")
async def controllers_rooms_refreshes(it: It, david: Person, cast: Cast) -> None:
    with it(
        "since T → a message created after T is appended, an older one touched after T is replaced,"
        " one element each"
    ):
        room, old = cast.watercooler.id, cast.ten_messages[2]
        moment = (await david.get(f"/api/rooms/{room}")).json["loaded_at_ms"]
        await david.put(f"/api/rooms/{room}/messages/{old.id}", {"body": "touched"})
        new = await david.say(cast.watercooler, "new")
        news = (await david.get(f"/api/rooms/{room}/refresh?since={moment}")).json
        assert ids(news) == [new["id"]]
        assert [each["id"] for each in news["updated"]] == [old.id]


@ROOMS.of("controllers/welcome")
async def controllers_welcome(it: It, jz: Person, cast: Cast) -> None:
    with it("redirect to the oldest room one belongs to"):
        assert (await jz.get("/")).location == f"/rooms/{cast.hq.id}"
    with it("with `last_room` cookie → to that room"):
        jz.set_cookie("last_room", str(cast.designers.id))
        assert (await jz.get("/")).location == f"/rooms/{cast.designers.id}"


@ROOMS.of("controllers/users/sidebars")
async def controllers_users_sidebars(it: It, kevin: Person, david: Person, cast: Cast) -> None:
    await david.say(cast.david_and_kevin, "news")
    await david.say(cast.designers, "more")
    sidebar = (await kevin.get("/api/users/me/sidebar")).json
    shared = {room["name"]: room["unread"] for room in sidebar["shared"]}
    with it("names of one's open rooms appear"):
        assert {"HQ", "Pets"} <= set(shared)
    with it("unread pings marked"):
        pings = {room["display_name"]: room["unread"] for room in sidebar["directs"]}
        assert pings == {"David": True, "Bender Bot": False}
    with it("unread others marked"):
        assert shared == {"Designers": True, "HQ": False, "Pets": False}


@ROOMS.of("controllers/searches")
async def controllers_searches(it: It, kevin: Person, david: Person, cast: Cast) -> None:
    path = "/api/searches"
    said = await david.say(cast.designers, "Hello world!")
    with it("without query no messages"):
        assert (await kevin.get(path)).json["messages"] == []
    with it('"hello" finds "Hello world!"'):
        assert ids((await kevin.get(f"{path}?q=hello")).json) == [said["id"]]
    with it("posting a query records it and redirects to it"):
        posted = (await kevin.post(path, {"q": "hello"})).json
        assert posted["redirect_to"] == "/searches?q=hello"
        recent = (await kevin.get(path)).json["recent_searches"]
        assert [each["query"] for each in recent] == ["hello"]
    with it("after losing the membership → none"):
        without = {"name": "Designers", "user_ids": [cast.jz.id]}
        await david.put(f"/api/rooms/closeds/{cast.designers.id}", without)
        assert (await kevin.get(f"{path}?q=hello")).json["messages"] == []
    with it("clearing empties the history"):
        assert (await kevin.delete(f"{path}/clear")).status == 204
        assert (await kevin.get(path)).json["recent_searches"] == []


# --- Models --------------------------------------------------------------------------------------


@ROOMS.of("models/room")
async def models_room(it: It, server: Server, cast: Cast, david: Person) -> None:
    rooms, read = server.parts.rooms, server.parts.db.read

    async def members(room: program.Room) -> tuple[int, ...]:
        return await read(program.member_ids, room.id)

    with it("closed create grants the given people"):
        made = (await rooms.create_closed(cast.david, "Plans", [cast.jz.id])).room
        assert await members(made) == (cast.david.id, cast.jz.id)
    with it("grant, revoke, revise change the member list"):
        for chosen in ([cast.jz.id, cast.kevin.id], [cast.kevin.id], [cast.jason.id]):
            await rooms.save_closed(cast.david, made.id, "Plans", chosen)
            assert await members(made) == tuple(sorted([cast.david.id, *chosen]))
    with it("three type predicates"):
        kinds = [(await room_of(david, room.id))["type"]
                 for room in (cast.hq, cast.watercooler, cast.david_and_kevin)]  # fmt: skip
        assert kinds == ["open", "closed", "direct"]
    with it("defaults: mentions, pings everything"):
        shown = [(await room_of(david, room.id))["involvement"]
                 for room in (cast.hq, made, cast.david_and_kevin)]  # fmt: skip
        assert shown == ["mentions", "mentions", "everything"]
    with it("same two people in either order → same ping, nobody else in it"):
        first, _ = await rooms.find_or_create_direct(cast.jz, [cast.kevin.id])
        second, _ = await rooms.find_or_create_direct(cast.kevin, [cast.jz.id])
        assert first.room.id == second.room.id
        assert await members(first.room) == (cast.jz.id, cast.kevin.id)
    with it("open room creation and conversion → everybody"):
        everybody = tuple(sorted(each.id for each in cast.everybody))
        opened = (await rooms.create_open(cast.david, "Garden")).room
        await rooms.save_open(cast.david, made.id, "Plans")
        assert await members(opened) == await members(made) == everybody


@ROOMS.of("models/membership")
async def models_membership(it: It, jz: Person, david: Person, cast: Cast) -> None:
    clock, room, user = SteadyClock(), cast.pets.id, cast.jz.id
    presence, one, two = program.PresenceMap(clock), object(), object()

    def connected() -> bool:
        return user in presence.present_in(room)

    presence.enter(room, user, one)
    with it("connected within 60 s, not after"):
        clock.seconds += 60
        assert connected()
        clock.seconds += 0.1
        assert not connected()
    with it("disconnected is the complement"):
        assert (presence.count(room, user), presence.present_in(room)) == (0, frozenset())
    with it("connecting after expiry counts 1"):
        presence.enter(room, user, two)
        assert presence.count(room, user) == 1
    with it("connecting twice counts 2"):
        presence.enter(room, user, one)
        assert presence.count(room, user) == 2
    with it("disconnecting 2→1→0"):
        for tab, left in ((one, 1), (two, 0)):
            presence.leave(room, user, tab)
            assert presence.count(room, user) == left
    with it("disconnecting after expiry → 0"):
        presence.enter(room, user, one)
        clock.seconds += 61
        presence.leave(room, user, one)
        assert presence.count(room, user) == 0
    with it("refresh revives an expired one"):
        presence.enter(room, user, one)
        clock.seconds += 61
        presence.enter(room, user, one)
        assert connected()
    with it("losing a membership closes the user's sockets"):
        tab, without = await jz.welcomed(), {"name": "Designers", "user_ids": [cast.kevin.id]}
        await david.put(f"/api/rooms/closeds/{cast.designers.id}", without)
        assert (await tab.goodbye())[0]["reason"] == "remote"


@ROOMS.of("models/message")
async def models_message(it: It, start: Start, service: Service, cast: Cast) -> None:
    server, browser = await start(ALLOW_PRIVATE_PUSH_ENDPOINTS="1"), Browser()
    david, kevin = await server.sign_in(cast.david), await server.sign_in(cast.kevin)
    room, path = cast.designers, f"/api/rooms/{cast.designers.id}/messages"

    async def hits(word: str) -> list[int]:
        return ids((await kevin.get(f"/api/searches?q={word}")).json)

    with it("create schedules one push job"):
        await subscribe(kevin, f"{service.address}/devices/kevin", browser.keys)
        given = {"body": mention(server, cast.kevin), "client_message_id": "once"}
        for _ in range(2):
            await david.post(path, given)
        await settle(server)
        assert service.devices == ["kevin"]
    with it('emoji-only true for "😄🤘", false with words, line breaks or spaces'):
        said = [await david.say(room, each) for each in ("😄🤘", "😄 yes", "😄<br>🤘", "😄 🤘")]
        assert [each["emoji_only"] for each in said] == [True, False, False, False]
    with it("mentionees: member yes, twice counts once, non-member no"):
        named = mention(server, cast.kevin, cast.kevin, cast.bender)
        assert (await david.say(room, named))["mentionee_ids"] == [cast.kevin.id]
    found, edited, deleted = [
        (await david.say(room, each))["id"] for each in ("running far", "apples", "bananas")
    ]
    with it("text found by stem, edited text found, deleted text not"):
        await david.put(f"{path}/{edited}", {"body": "cherries"})
        await david.delete(f"{path}/{deleted}")
        assert await hits("run") == [found]
        assert [await hits(each) for each in ("cherry", "apple", "banana")] == [[edited], [], []]
    with it("results in message order"):
        later = (await david.say(room, "runs again"))["id"]
        assert await hits("run") == [found, later]
    with it("markup is not indexed"):
        await david.say(room, "<strong>plain</strong>")
        assert [await hits(each) for each in ("strong", "div")] == [[], []]


@ROOMS.of("models/room/push")
async def models_room_push(it: It, start: Start, service: Service, cast: Cast) -> None:
    server, keys = await start(ALLOW_PRIVATE_PUSH_ENDPOINTS="1"), Browser().keys
    people = {name: await server.sign_in(getattr(cast, name)) for name in EVERYBODY}
    for name, person in people.items():
        await subscribe(person, f"{service.address}/devices/{name}", keys)
        await involve(person, cast.designers, "everything")

    async def pushed(text: str) -> list[str]:
        await people["david"].say(cast.designers, text)
        await settle(server)
        return service.devices

    with it('everyone else with a subscription in an all-"everything" room is pushed'):
        assert await pushed("all of you") == ["jason", "jz", "kevin"]
    with it('"mentions" members only when mentioned (2, then 3 with a mention)'):
        await involve(people["kevin"], cast.designers, "mentions")
        assert await pushed("two of you") == ["jason", "jz"]
        assert await pushed(f"and {mention(server, cast.kevin)}") == ["jason", "jz", "kevin"]
    with it("present member not pushed"):
        tab = await people["jz"].welcomed()
        await tab.subscribe(channel="PresenceChannel", room_id=cast.designers.id)
        assert await pushed("JZ sees it") == ["jason"]
    with it("invisible not pushed"):
        await involve(people["jason"], cast.designers, "invisible")
        assert await pushed(f"hidden from {mention(server, cast.jason)}") == []
    with it("gone subscriptions deleted"):
        service.statuses["kevin"] = 410
        await pushed(mention(server, cast.kevin))
        assert (await people["kevin"].get(DEVICES)).json["push_subscriptions"] == []


async def involve(person: Person, room: program.Room, level: str) -> None:
    path = f"/api/rooms/{room.id}/involvement"
    assert (await person.put(path, {"involvement": level})).status == 200


@ROOMS.of("models/webhook")
async def models_webhook(
    it: It, kevin: Person, david: Person, receiver: Receiver, cast: Cast
) -> None:
    await give_webhook(david, cast.bender, receiver.url)
    room = cast.bender_and_kevin

    async def answers(body: str | bytes, kind: str, status: int = 200) -> list[str]:
        """What the bot says when its webhook answers so."""
        receiver.reply, before = receiver.says(body, kind, status), await texts(kevin, room)
        await kevin.say(room, "ping")
        await settle(kevin.server)
        return (await texts(kevin, room))[len(before) + 1 :]

    with it("200 without body or type → nothing posted"):
        assert await answers("", "") == []
    with it("payload as §20"):
        (told,) = receiver.told
        url = f"/rooms/{room.id}/5-ABCDEFGHIJKL/messages"
        assert told["user"] == {"id": cast.kevin.id, "name": "Kevin"}
        assert told["room"] == {"id": room.id, "name": None, "path": url}
        said = told["message"]
        assert said["body"] == {"html": "<div>ping</div>", "plain": "ping"}
        assert said["path"] == f"/rooms/{room.id}/@{said['id']}"
    with it("200 text → reply with that text"):
        assert await answers("Hello Kevin", "text/plain") == ["Hello Kevin"]
    with it("200 image → attachment (here: the announcement)"):
        (said,) = await answers(b"GIF89a", "image/gif")
        assert "v2.0" in said
    with it("500 → nothing"):
        assert await answers("Oops", "text/plain", 500) == []


# --- Where pushes may go -------------------------------------------------------------------------

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


@ROOMS.of("lib/restricted_http")
async def lib_restricted_http(it: It) -> None:
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

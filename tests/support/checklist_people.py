"""The checklist of Rails' own tests, third part: people, and their account."""

import asyncio
import re

import campfire as program
from tests.support.asking import count, found, settle, transfer_to, url_of
from tests.support.cast import AGENT, SESAME, Answer, Cast, Person, Server
from tests.support.checklist_words import Checklist, It
from tests.support.services import DEVICES

ACCOUNT, BOTS, STYLES = "/api/account", "/api/account/bots", "/api/account/custom_styles"
PROFILE, SESSION = "/api/users/me/profile", "/api/session"
SET_UP = {"name": "David", "email_address": "david@example.com", "password": SESAME}
SIGN_IN = {"email_address": "kevin@example.com", "password": SESAME}
NEWCOMER = {"name": "Zoe", "email_address": "zoe@example.com", "password": "open sesame"}
PEOPLE = Checklist()
CODE = r"[A-Za-z0-9]{4}-[A-Za-z0-9]{4}-[A-Za-z0-9]{4}"


# --- Signing in and out --------------------------------------------------------------------------


@PEOPLE.of("channels/application_cable/connection")
async def channels_connection(it: It, server: Server, kevin: Person) -> None:
    visitor = await server.visitor()
    with it("valid session cookie → connect → connection belongs to that user"):
        await kevin.welcomed()
        (connection,) = server.parts.cable.connections.values()
        assert connection.user_id == kevin.id
    unauthorized = {"type": "disconnect", "reason": "unauthorized", "reconnect": False}
    with it("no cookie → rejected"):
        assert (await (await visitor.cable()).goodbye())[0] == unauthorized
    with it("cookie with a bad token → rejected"):
        visitor.set_cookie("session_token", "A" * 43)
        assert (await (await visitor.cable()).goodbye())[0] == unauthorized


@PEOPLE.of("controllers/first_runs")
async def controllers_first_runs(it: It, fresh_server: Server) -> None:
    people = [await fresh_server.visitor() for _ in range(5)]
    with it("no account → page opens"):
        page = await people[0].get("/first_run")
        assert (page.status, page.boot["page"]) == (200, "first_run")
    with it("no users → redirect to first run"):
        assert (await people[0].get("/session/new")).location == "/first_run"
    for person in people:
        await person.csrf()
    answers = await asyncio.gather(*(each.post("/api/first_run", SET_UP) for each in people))
    with it("five at once → one account, one administrator"):
        assert sorted(each.status for each in answers) == [201, 409, 409, 409, 409]
        assert await count(fresh_server, "accounts") == 1
        assert await found(fresh_server, "SELECT role FROM users") == [(1,)]
    (first,) = [n for n, each in enumerate(answers) if each.status == 201]
    with it("create → one room, one user, signed in, redirect"):
        assert answers[first].json["redirect_to"] == "/"
        assert (await people[first].get(SESSION)).json["user"]["name"] == "David"
        assert [await count(fresh_server, each) for each in ("rooms", "users")] == [1, 1]
    with it("account exists → redirect to `/`"):
        assert (await people[0].get("/first_run")).location == "/"


@PEOPLE.of("models/first_run")
async def models_first_run(it: It, fresh_server: Server) -> None:
    david = await fresh_server.parts.auth.first_run("David", "david@example.com", SESAME)
    with it("first user administrator"):
        assert david.role is program.Role.ADMINISTRATOR
    (room,) = await fresh_server.parts.rooms.all_of(david.id)
    with it("exactly one room"):
        assert await count(fresh_server, "rooms") == 1
    with it("it is open"):
        assert room.room.type is program.RoomType.OPEN


@PEOPLE.of("controllers/sessions")
async def controllers_sessions(it: It, server: Server, visitor: Person) -> None:
    with it("page opens"):
        page = await visitor.get("/session/new")
        assert (page.status, page.boot["page"]) == (200, "sign_in")
    upgrade = "Upgrade to a supported web browser"
    with it("old Firefox → upgrade page"):
        old = "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/114.0"
        assert upgrade in (await visitor.get("/session/new", {"User-Agent": old})).text
    with it("Safari 17.2 → no upgrade page"):
        safari = (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like"
            " Gecko) Version/17.2 Safari/605.1.15"
        )
        assert upgrade not in (await visitor.get("/session/new", {"User-Agent": safari})).text
    sessions = await count(server, "sessions")
    with it("wrong → 401, no cookie"):
        wrong = await visitor.post(SESSION, {**SIGN_IN, "password": "wrong"})
        assert (wrong.status, visitor.cookie("session_token")) == (401, None)
        assert await count(server, "sessions") == sessions
    with it("right password → session, cookie, redirect home"):
        right = await visitor.post(SESSION, SIGN_IN)
        assert (right.status, right.json["redirect_to"]) == (201, "/")
        assert right.cookies["session_token"].value
        assert await count(server, "sessions") == sessions + 1
    with it("sign-out with a push endpoint → that subscription gone"):
        for name in ("one", "two"):
            await visitor.post(DEVICES, subscription(name))
        gone = {"push_subscription_endpoint": subscription("one")["endpoint"]}
        out = await visitor.delete(SESSION, gone)
        left = await found(server, "SELECT endpoint FROM push_subscriptions")
        assert left == [(subscription("two")["endpoint"],)]
    with it("sign-out → session and cookie gone, redirect home"):
        assert (out.json["redirect_to"], visitor.cookie("session_token")) == ("/", None)
        assert await count(server, "sessions") == sessions


def subscription(name: str) -> dict[str, str]:
    endpoint = f"https://push.example.com/{name}"
    return {"endpoint": endpoint, "p256dh_key": "k", "auth_key": "a"}


@PEOPLE.of("controllers/sessions/transfers")
async def controllers_sessions_transfers(it: It, visitor: Person, cast: Cast) -> None:
    link = await transfer_to(visitor.server, cast.kevin)
    with it("page opens for any token, signed out"):
        for token in ("anything", link):
            page = await visitor.get(f"/session/transfers/{token}")
            assert (page.status, page.boot["page"]) == (200, "transfer")
    with it("valid transfer id → signed in, redirect home"):
        redeemed = await visitor.put(f"/api/session/transfers/{link}")
        assert (redeemed.status, redeemed.json["redirect_to"]) == (201, "/")
        assert (await visitor.get(SESSION)).json["user"]["id"] == cast.kevin.id


@PEOPLE.of("controllers/concerns/block_banned_requests")
async def controllers_concerns_block_banned_requests(
    it: It, visitor: Person, david: Person, cast: Cast
) -> None:
    there, elsewhere = {"X-Forwarded-For": "52.0.0.7"}, {"X-Forwarded-For": "52.0.0.8"}
    await visitor.server.parts.auth.start_session(cast.jz.id, "52.0.0.7", AGENT)
    await david.post(f"/api/users/{cast.jz.id}/ban")
    with it("POST from a banned address → 429"):
        assert (await visitor.post(SESSION, SIGN_IN, there)).status == 429
    with it("GET from a banned address → works"):
        assert (await visitor.get("/session/new", there)).status == 200
    with it("POST from another → works"):
        assert (await visitor.post(SESSION, SIGN_IN, elsewhere)).status == 201


# --- People --------------------------------------------------------------------------------------


@PEOPLE.of("controllers/users")
async def controllers_users(it: It, visitor: Person, kevin: Person, cast: Cast) -> None:
    code, people = cast.join_code, len(cast.everybody)
    with it("profile opens"):
        page = await kevin.get(f"/users/{cast.david.id}")
        assert (page.status, page.boot["data"]["user"]["name"]) == (200, "David")
    with it("join page opens with the code"):
        page = await visitor.get(f"/join/{code}")
        assert (page.status, page.boot["page"]) == (200, "join")
    with it("signed in → redirect home"):
        assert (await kevin.get(f"/join/{code}")).location == "/"
    with it("wrong code → 404"):
        assert (await visitor.get("/join/AAAA-BBBB-CCCC")).status == 404
    with it("existing e-mail → no user, sent to sign-in with the address"):
        taken = {**NEWCOMER, "email_address": "kevin@example.com"}
        told = (await visitor.post(f"/api/join/{code}", taken)).json["error"]
        assert told["redirect_to"] == "/session/new?email_address=kevin%40example.com"
        assert await count(visitor.server, "users") == people
    with it("join → one user, signed in, member of exactly the open rooms"):
        assert (await visitor.post(f"/api/join/{code}", NEWCOMER)).status == 201
        assert await count(visitor.server, "users") == people + 1
        rooms = (await visitor.get("/api/rooms")).json["rooms"]
        assert [room["name"] for room in rooms] == ["HQ", "Pets"]


@PEOPLE.of("controllers/users/profiles")
async def controllers_users_profiles(it: It, kevin: Person, cast: Cast) -> None:
    with it("opens"):
        page = await kevin.get("/users/me/profile")
        assert (page.status, page.boot["page"]) == (200, "profile")
    with it("name and bio change, e-mail stays"):
        changed = (await kevin.put(PROFILE, {"name": "Kev", "bio": "Writes"})).json["user"]
        assert (changed["name"], changed["bio"]) == ("Kev", "Writes")
        assert changed["email_address"] == "kevin@example.com"
    with it("another user's id in the request changes nobody else"):
        users = "SELECT * FROM users WHERE id != 4"
        before = await found(kevin.server, users)
        given = {"id": cast.david.id, "user_id": cast.david.id, "name": "Mine"}
        assert (await kevin.put(f"{PROFILE}?user_id={cast.david.id}", given)).status == 200
        assert await found(kevin.server, users) == before


@PEOPLE.of("controllers/users/avatars")
async def controllers_users_avatars(it: It, kevin: Person, cast: Cast) -> None:
    signer = kevin.server.parts.signer
    with it('initials "K" in the SVG text'):
        picture = await kevin.get(signer.avatar_url(cast.kevin))
        assert picture.headers["Content-Type"].startswith("image/svg+xml")
        assert re.findall(r"<text[^>]*>([^<]*)</text>", picture.text) == ["K"]
    with it("bad token → 404"):
        assert (await kevin.get("/users/bad-token/avatar")).status == 404


@PEOPLE.of("controllers/users/bans")
async def controllers_users_bans(
    it: It, david: Person, kevin: Person, jz: Person, cast: Cast
) -> None:
    server, path = david.server, f"/api/users/{cast.kevin.id}/ban"
    await kevin.say(cast.designers, "soon gone")
    for address in ("52.0.0.7", "52.0.0.8"):
        await server.parts.auth.start_session(kevin.id, address, AGENT)
    with it("member → 403"):
        assert (await jz.post(path)).status == 403
        assert await count(server, "bans") == 0
    assert (await david.post(path)).status == 200
    with it("ban with sessions from two public addresses → two ban records"):
        bans = await found(server, "SELECT ip_address FROM bans WHERE user_id = 4 ORDER BY 1")
        assert bans == [("52.0.0.7",), ("52.0.0.8",)]
    with it("sessions deleted"):
        assert await found(server, "SELECT id FROM sessions WHERE user_id = 4") == []
    with it("clean-up scheduled"):
        await settle(server)
        assert (await jz.get(f"/api/rooms/{cast.designers.id}/messages")).status == 204
    with it("after clean-up no messages"):
        assert await found(server, "SELECT id FROM messages WHERE creator_id = 4") == []
    with it("member unbans → 403"):
        assert (await jz.delete(path)).status == 403
    with it("unban → records deleted, active"):
        assert (await david.delete(path)).json["user"]["status"] == "active"
        assert await count(server, "bans") == 0


@PEOPLE.of("controllers/users/push_subscriptions")
async def controllers_users_push_subscriptions(it: It, kevin: Person) -> None:
    server, given = kevin.server, subscription("one")
    with it("create stores the triple and the User-Agent, 200"):
        made = await kevin.post(DEVICES, given)
        sql = "SELECT endpoint, p256dh_key, auth_key, user_agent FROM push_subscriptions"
        assert (made.status, await found(server, sql)) == (
            200,
            [(given["endpoint"], "k", "a", AGENT)],
        )
    device = made.json["push_subscription"]
    with it("same triple again → no new row, `updated_at` moves"):
        server.wall.ahead = 60
        again = (await kevin.post(DEVICES, given)).json["push_subscription"]
        assert (again["id"], again["updated_at"] > device["updated_at"]) == (device["id"], True)
        assert await count(server, "push_subscriptions") == 1
    with it("delete → one less"):
        assert (await kevin.delete(f"{DEVICES}/{device['id']}")).status == 204
        assert await count(server, "push_subscriptions") == 0


@PEOPLE.of("controllers/autocompletable/users")
async def controllers_autocompletable_users(it: It, jz: Person, cast: Cast) -> None:
    await jz.server.parts.auth.join(cast.join_code, "Zed <b>", "zed@example.com", SESAME)

    async def ask(query: str) -> Answer:
        return await jz.get(f"/api/autocompletable/users?query={query}")

    with it('"da" → David first'):
        assert (await ask("da")).json["users"][0]["name"] == "David"
    with it("a name with markup comes out HTML-escaped (here `name_html`)"):
        assert (await ask("zed")).json["users"][0]["name_html"] == "Zed &lt;b&gt;"
    with it("limited to a room → David"):
        users = (await ask(f"da&room_id={cast.designers.id}")).json["users"]
        assert [each["name"] for each in users] == ["David"]
    with it("a room one is not in → 404"):
        assert (await ask(f"da&room_id={cast.watercooler.id}")).status == 404


@PEOPLE.of("models/user")
async def models_user(
    it: It, server: Server, david: Person, kevin: Person, visitor: Person, cast: Cast
) -> None:
    with it("very long passwords accepted"):
        given = {**NEWCOMER, "password": "long " * 14}  # 70 of at most 72 bytes
        assert (await visitor.post(f"/api/join/{cast.join_code}", given)).status == 201
    zoe = (await visitor.get(SESSION)).json["user"]
    with it("new user joins the open rooms"):
        rooms = await found(server, "SELECT room_id FROM memberships WHERE user_id = 6 ORDER BY 1")
        assert rooms == sorted([(cast.hq.id,), (cast.pets.id,)])
    with it("joined users are members"):
        assert (zoe["id"], zoe["role"]) == (6, "member")
    with it("bot key is `id-token`; reset changes it; it authenticates"):
        made = (await david.post(BOTS, {"name": "Zed"})).json["bot"]
        assert re.fullmatch(rf"{made['id']}-[A-Za-z0-9]{{12}}", made["bot_key"])
        key = (await david.put(f"{BOTS}/{made['id']}/key")).json["bot"]["bot_key"]
        assert key != made["bot_key"]
        for each, status in ((made["bot_key"], 302), (key, 201)):
            answer = await visitor.request("POST", url_of(cast.hq, key=each), data=b"hi")
            assert answer.status == status
    with it("`can_administer`: administrators yes, members no; own records yes, others' no"):
        said = {person: await person.say(cast.designers, "mine") for person in (david, kevin)}
        for person, message, may in (
            (david, said[kevin], True), (kevin, said[david], False), (kevin, said[kevin], True),
        ):  # fmt: skip
            path = f"/api/rooms/{cast.designers.id}/messages/{message['id']}"
            assert (await person.get(path)).json["message"]["can_edit"] is may
    with it(
        "deactivation removes non-direct memberships, subscriptions, searches, sessions and"
        " rewrites the e-mail as `local-deactivated-<uuid>@domain`"
    ):
        await kevin.post("/api/searches", {"q": "mine"})
        await kevin.post(DEVICES, subscription("one"))
        assert (await david.delete(f"/api/account/users/{kevin.id}")).status == 204
        for table in ("push_subscriptions", "searches", "sessions"):
            assert await found(server, f"SELECT id FROM {table} WHERE user_id = 4") == []  # noqa: S608
        rooms = await found(server, "SELECT room_id FROM memberships WHERE user_id = 4 ORDER BY 1")
        assert rooms == sorted([(cast.david_and_kevin.id,), (cast.bender_and_kevin.id,)])
        ((address,),) = await found(server, "SELECT email_address FROM users WHERE id = 4")
        uuid = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
        assert re.fullmatch(rf"kevin-deactivated-{uuid}@example\.com", address)


# --- The account ---------------------------------------------------------------------------------


@PEOPLE.of("controllers/accounts")
async def controllers_accounts(it: It, david: Person, jz: Person) -> None:
    with it("settings open"):
        page = await david.get("/account/edit")
        assert (page.status, page.boot["page"]) == (200, "account_edit")
    with it("administrators are listed apart from and before members"):
        roles = [each["role"] for each in page.boot["data"]["users"]]
        assert roles == ["administrator"] * 2 + ["member"] * 2
    with it("administrator renames → stored"):
        assert (await david.put(ACCOUNT, {"name": "Northwind"})).status == 200
        assert await found(david.server, "SELECT name FROM accounts") == [("Northwind",)]
    with it("member → 403"):
        assert (await jz.put(ACCOUNT, {"name": "Mine"})).status == 403
        assert await found(david.server, "SELECT name FROM accounts") == [("Northwind",)]


@PEOPLE.of("models/account")
async def models_account(it: It, fresh_server: Server) -> None:
    david = await fresh_server.visitor()
    await david.post("/api/first_run", SET_UP)
    name = "restrict_room_creation_to_administrators"
    account = (await david.get(ACCOUNT)).json["account"]
    with it("new account gets a code `XXXX-XXXX-XXXX`"):
        assert re.fullmatch(CODE, account["join_code"])
    with it("settings cast strings to booleans"):
        for given, meant in (("true", True), ("false", False), ("1", True), ("0", False)):
            saved = await david.put(ACCOUNT, {"settings": {name: given}})
            assert saved.json["account"]["settings"][name] is meant
    with it("reset changes it"):
        code = (await david.post("/api/account/join_code")).json["join_code"]
        assert re.fullmatch(CODE, code)
        assert code != account["join_code"]


@PEOPLE.of("controllers/accounts/join_codes")
async def controllers_accounts_join_codes(it: It, david: Person, jz: Person, cast: Cast) -> None:
    code = "SELECT join_code FROM accounts"
    with it("member → 403"):
        assert (await jz.post("/api/account/join_code")).status == 403
        assert await found(david.server, code) == [(cast.join_code,)]
    with it("administrator → code changes"):
        assert (await david.post("/api/account/join_code")).status == 201
        assert await found(david.server, code) != [(cast.join_code,)]


@PEOPLE.of("controllers/accounts/custom_styles")
async def controllers_accounts_custom_styles(it: It, david: Person, jz: Person) -> None:
    css, stored = "body { color: red }", "SELECT custom_styles FROM accounts"
    with it("editor opens"):
        page = await david.get("/account/custom_styles/edit")
        assert (page.status, page.boot["page"]) == (200, "custom_styles")
    with it("administrator saves CSS → stored"):
        assert (await david.put(STYLES, {"custom_styles": css})).status == 200
        assert await found(david.server, stored) == [(css,)]
    with it("member → 403"):
        assert (await jz.put(STYLES, {"custom_styles": "p {}"})).status == 403
        assert await found(david.server, stored) == [(css,)]


@PEOPLE.of("controllers/accounts/logos")
async def controllers_accounts_logos(it: It, visitor: Person) -> None:
    for sentence, path, side in (
        ("no logo → PNG 512×512", "/account/logo", 512),  # noqa: RUF001 - the checklist's own sign
        ("small → 192×192", "/account/logo?size=small", 192),  # noqa: RUF001
    ):
        with it(sentence):
            logo = await visitor.get(path)
            assert logo.headers["Content-Type"] == "image/png"
            assert [int.from_bytes(logo.body[at : at + 4]) for at in (16, 20)] == [side, side]


@PEOPLE.of("controllers/accounts/users")
async def controllers_accounts_users(it: It, david: Person, jz: Person, cast: Cast) -> None:
    path = f"/api/account/users/{cast.kevin.id}"
    with it("member → 403 for both"):
        for method in ("PUT", "DELETE"):
            assert (await jz.send(method, path, {"role": "administrator"})).status == 403
    with it("administrator sets role administrator → stays"):
        assert (await david.put(path, {"role": "administrator"})).status == 200
        assert await found(david.server, "SELECT role FROM users WHERE id = 4") == [(1,)]
    with it("deletes an active user → no longer active"):
        assert (await david.delete(path)).status == 204
        assert await found(david.server, "SELECT status FROM users WHERE id = 4") != [(0,)]


@PEOPLE.of("controllers/accounts/bots")
async def controllers_accounts_bots(it: It, david: Person) -> None:
    async def listed() -> list[str]:
        return [each["name"] for each in (await david.get(BOTS)).json["bots"]]

    with it("list opens"):
        page = await david.get("/account/bots")
        assert (page.status, page.boot["page"]) == (200, "bots")
    with it("create with a name → last bot has it"):
        given = {"name": "Zed", "webhook_url": "https://bots.example.com/hook"}
        bot = (await david.post(BOTS, given)).json["bot"]
        newest = "SELECT name FROM users WHERE role = 2 ORDER BY id DESC LIMIT 1"
        assert await found(david.server, newest) == [("Zed",)]
    one = f"{BOTS}/{bot['id']}"
    with it("rename → changed"):
        renamed = await david.put(one, {"name": "Zoe", "webhook_url": bot["webhook_url"]})
        assert renamed.json["bot"]["name"] == "Zoe"
        assert await listed() == ["Bender Bot", "Zoe"]
    with it("update without a webhook URL → webhook gone"):
        assert (await david.put(one, {"name": "Zoe"})).json["bot"]["webhook_url"] is None
    with it("administrator resets a bot's key → token changed"):
        key = (await david.put(f"{one}/key")).json["bot"]["bot_key"]
        assert key != bot["bot_key"]
    with it("delete → one active bot less, bot deactivated"):
        assert (await david.delete(one)).status == 204
        assert await listed() == ["Bender Bot"]
        status = f"SELECT status FROM users WHERE id = {bot['id']}"  # noqa: S608
        assert await found(david.server, status) == [(program.Status.DEACTIVATED,)]


@PEOPLE.of("controllers/qr_code")
async def controllers_qr_code(it: It, david: Person, visitor: Person) -> None:
    with it("SVG, public, max-age one year"):
        profile = await david.get("/api/users/me/profile")
        drawing = await visitor.get(profile.json["transfer_qr_path"])
        assert drawing.headers["Content-Type"].startswith("image/svg+xml")
        assert drawing.headers["Cache-Control"] == "public, max-age=31536000"

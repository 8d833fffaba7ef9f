"""Northwind Studio: the people, rooms and words that the pictures of Campfire show.

It is 10:00 on the 12th of March 2026 there, whatever the day is here. Each scene says something
else in All Talk; the rest of the house stays. The studio is the real server over a file of its
own, in a thread beside the browsers, at the name that its links carry.
"""

import asyncio
import re
import shutil
import socket
import sqlite3
import threading
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from PIL import Image, ImageDraw

import campfire as program
from campfire import MessageId, RoomId, UserId
from tests.support.browsers import PASSWORD
from tests.support.cast import AGENT, PATIENCE, newcomer, start_session
from tests.support.posters import PAGES, window
from tests.support.studio import encoded, working

HOST = "chat.northwind.example"
URL = f"http://{HOST}"
NOW = datetime(2026, 3, 12, 10, tzinfo=UTC)

T = TypeVar("T")
# In the order of their ids, which decide the colours of their pictures.
PEOPLE = {
    "Maya Okafor": "Studio lead. Mostly tea.", "Theo Lindqvist": "Type, posters, bad puns",
    "Priya Raman": "", "Carmen Ibáñez Vidal": "Writes the small print", "Jonas Weber": "",
    "Sam Whitfield": "", "Noor Haddad": "", "Deploy Bot": "", "Inês Duarte": "", "Kenji Mori": "",
}  # fmt: skip
MAYA, THEO, PRIYA, CARMEN, JONAS, SAM, NOOR, BOT, INES, KENJI = (
    UserId(number) for number in range(1, 11)
)
IDS = {name.split()[0]: UserId(number) for number, name in enumerate(PEOPLE, 1)}
ROOMS = ("✈️ Travel", "All Talk", "Engineering", "🐞 Bugs", "📈 Marketing", "📞 Support")
TRAVEL, ALL_TALK, ENGINEERING, BUGS, MARKETING, SUPPORT, DESIGN = (
    RoomId(number) for number in range(1, 8)
)
PINGS = ((NOOR,), (SAM, NOOR, INES, KENJI), (CARMEN,), (PRIYA, JONAS), (THEO,))  # oldest first
NOORS, CROWD, CARMENS, PRIYA_AND_JONAS, THEOS = (RoomId(number) for number in range(8, 13))


def harbour() -> bytes:
    """A picture that is shown 400 pixels wide."""
    picture = Image.new("RGB", (800, 640), "#dfe6e4")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 400, 800, 640), fill="#2f5d73")
    draw.ellipse((540, 90, 660, 210), fill="#e8a33d")
    draw.polygon(((140, 390), (520, 390), (460, 470), (200, 470)), fill="#8c2f2b")
    draw.polygon(((320, 120), (320, 370), (170, 370)), fill="#fbfaf5")
    return encoded(picture, "PNG")


FILES = {
    "harbour-morning.png": harbour(), "museum-contract-final.pdf": b"%PDF-1.4" * 48_000,
    "our-window.png": window(),
}  # fmt: skip
# Who says what and when, or sends a FILE, or shows a PAGE, and `+` the boosts it got; what is
# further in goes on.
MORNING = """
9:12 Priya Morning all ☕ The new type specimens arrived and they smell amazing.
9:13 Priya I left a stack on the big table, help yourselves.
"""
GREEN_ONES = """
9:15 Priya Please leave at least one of the green ones for Jonas, he has been asking since January.
  + Jonas 💚 + Carmen 😂"""
GREEN, PARTY = GREEN_ONES + "\n", "9:21 Jonas 🎉💚🙏\n"
LOVELY = "9:24 Maya Lovely. Are we still meeting the museum people at eleven?\n"
LIFT = "9:25 Maya I can drive if anyone wants a lift.\n"
TWO_OF_US = "9:31 Carmen @Maya yes please! Two of us, plus a very large portfolio case.\n"
THUMB = "9:32 Maya 👍\n"
LIVELY = (
    MORNING.splitlines()[1]
    + """
9:15 Theo FILE our-window.png + Carmen 😍 + Jonas 💚
9:24 Maya https://posters.example/history PAGE history
9:31 Carmen @Maya the museum would like one of those, two sizes larger.
"""
)
CODE = """def tint(swatch, amount=0.2):
    \"\"\"Lighten a swatch towards white.\"\"\"
    # works in OKLCH, so hue is kept
    l, c, h = swatch
    return min(1.0, l + amount), c * (1 - amount), h"""
RICH = """
14:02 Jonas Here\u2019s the helper I mentioned, call <code>tint()</code> with any
  swatch:<pre>CODE</pre> + Maya 🔥
14:06 Theo <blockquote>I left a stack on the big table, help yourselves.</blockquote><cite>Priya
  Raman <a href="/rooms/2/@2">#</a></cite>Took two. The <strong>bold</strong> cut is superb, the
  <em>italic</em> even more so, <del>and the condensed</del> well.
14:07 Maya Three things before Friday:<ol><li>Proofs back from the printer</li><li>Captions
  from @Carmen</li><li>Invoice sent</li></ol>The brief lives at
  https://northwind.example/briefs/museum-spring
14:10 Carmen <h1>Caption style</h1><ul><li>Sentence case</li><li>No full stops</li></ul>Done by
  four.
"""
SCENES = {
    "empty": "",
    "room": MORNING + GREEN + PARTY + LOVELY + LIFT + TWO_OF_US + THUMB,
    "short": MORNING + PARTY + LOVELY,
    "posters": MORNING + GREEN + LOVELY,  # and what POSTERS has besides
    "edit": MORNING + GREEN + PARTY + """
9:24 Maya Lovely. Are we still meeting the <strong>museum people</strong> at eleven?
""" + TWO_OF_US,
    "highlight": MORNING + GREEN + PARTY + """
9:31 Carmen Two of us, plus a very large portfolio case.
""" + THUMB,
    "boosts": MORNING + GREEN_ONES + " + Maya noted\n" + LOVELY + """
9:40 Theo Got mine, thank you! + Maya 🌿 + Priya 👏
""",
    "menu": """
9:10 Theo Posters are back from the printer and look great in the window.
""" + MORNING + GREEN + LOVELY,
    "menu-own": MORNING.splitlines()[1] + """
9:14 Maya Coming down now, save me one of the green ones please.
""" + PARTY + """
9:30 Jonas On my way too, stuck behind a tram.
""",
    "menu-top": MORNING + GREEN + PARTY + LOVELY + """
9:31 Carmen Could we move the review to half past two? The museum asked for a later slot.
""",
    "rich": RICH,
    "long": MORNING + GREEN + PARTY + LOVELY + LIFT + TWO_OF_US + THUMB + RICH,
    "sounds": """
11:40 Sam /play trombone
11:41 Noor /play nyan
11:41 Sam /play 56k + Noor 😂 + Maya Monday! + Jonas 👏
11:44 Maya /play tada
""",
    "links": """
15:20 Sam https://example.org/a-short-history-of-the-printed-poster
15:22 Maya Saving this for lunch: https://example.org/poster looks great.
""",
    "files": """
13:02 Theo FILE harbour-morning.png + Carmen 😍
13:05 Maya FILE museum-contract-final.pdf
""",
    "before-files": MORNING + GREEN + PARTY,
    "pages": """
15:20 Sam Worth ten minutes of anyone\u2019s lunch break PAGE history
15:22 Maya https://posters.example/history PAGE history
""",
    "post": """
10:40 Noor See what they write about tonight PAGE post
10:41 Maya https://x.com/museum/status/12?s=20 PAGE post
""",
    "lively": LIVELY,
    "everything": LIVELY + """
9:35 Maya FILE museum-contract-final.pdf
9:36 Sam https://example.org/a-short-history-of-the-printed-poster
""",
}  # fmt: skip
GRID = """
10:02 Priya Shall we look at the grid together after lunch?
10:04 Jonas Yes! I have a free hour at one.
10:05 Maya Perfect, I\u2019ll bring the printouts.
"""
POSTERS = (
    (DESIGN, "16:58 Theo Right, that is the poster file exported."),
    (ALL_TALK, "11:02 Maya Can the poster go to print on Thursday?"),
    (
        SUPPORT,
        "14:40 Carmen The museum would like the poster two sizes larger, and in blue. + Sam 😬",
    ),
    (CROWD, "9:10 Sam Poster number three is my favourite of the lot."),
)

# The statements name people and rooms, as `numbered` knows them.
UNREAD = """
UPDATE memberships
SET unread_at = CASE WHEN room_id IN (DESIGN, SUPPORT, PRIYA_AND_JONAS) THEN 1 END
WHERE user_id = MAYA;
"""
LEFT_OFF = """
UPDATE memberships
SET unread_at = (SELECT created_at FROM messages WHERE room_id = ALL_TALK AND creator_id = JONAS)
WHERE user_id = MAYA AND room_id = ALL_TALK;
"""
QUIET = "UPDATE rooms SET updated_at = created_at"  # so that pings stay in their order
HOUSE = """
UPDATE accounts SET name = 'Northwind Studio', join_code = 'k3Qd-9ZtR-vb2M';
UPDATE users SET bot_token = 'Xk2Lq8Rt5Vmn' WHERE id = BOT;
DELETE FROM memberships WHERE user_id = BOT AND room_id NOT IN (ENGINEERING, SUPPORT);
UPDATE memberships SET involvement = 'everything'
WHERE user_id = MAYA AND room_id IN (SUPPORT, DESIGN, CARMENS, PRIYA_AND_JONAS);
UPDATE memberships SET involvement = 'nothing' WHERE user_id = MAYA AND room_id = MARKETING;
"""
# What the own profile and the account look like on a later day.
LATER = """
UPDATE memberships SET involvement = 'invisible' WHERE user_id = MAYA AND room_id = TRAVEL;
UPDATE memberships SET involvement = 'nothing' WHERE user_id = MAYA AND room_id = THEOS;
UPDATE users SET status = 2 WHERE id = SAM;
"""


def numbered(sql: str) -> str:
    """The statements with the numbers of the people and rooms they name."""
    return re.sub(r"\b[A-Z_]{3,}\b", lambda name: str(globals().get(name[0], name[0])), sql)


def _change(database: Path, script: str) -> None:
    """Runs statements on a database that nobody has open."""
    with closing(sqlite3.connect(database)) as db:
        db.executescript(numbered(script))


class Studio:
    """Northwind Studio, served; the scene can be changed between two looks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._moment = int(NOW.timestamp() * 1_000_000)
        self._process, self._line = working()  # for all servers, one after another
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._served: tuple[program.Campfire, Any] | None = None
        self._settings: Mapping[str, str] = {}
        self._template = folder / "template.db"
        self._open(self._template)
        self._do(self._furnish())
        self._close()
        _change(self._template, HOUSE + UNREAD)

    def play(
        self,
        scene: str = "room",
        *,
        changes: str = "",
        fresh: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Begins again: with this scene in All Talk, and with changes made to the database.

        A fresh one has had no first run. What a scene shows was sent before the settings were.
        """
        self._close()
        database = self._folder / "campfire.db"
        for file in self._folder.glob("campfire.db*"):
            file.unlink()
        if not fresh:
            self._set_once(database, scene)
            _change(database, changes)
        self._settings = settings or {}
        self._open(database)

    def _set_once(self, database: Path, scene: str) -> None:
        kept = self._folder / f"{scene}.db"
        if not kept.exists():
            self._settings = {}
            shutil.copy(self._template, database)
            self._open(database)
            self._do(self._set(scene))
            self._close()
            database.rename(kept)
        shutil.copy(kept, database)

    def token(self, user_id: UserId) -> str:
        """A session of this person's, for a cookie."""
        return self._do(start_session(self.parts, user_id, "127.0.0.1", AGENT))

    def close(self) -> None:
        self._close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()
        self._line.close()
        assert self._process.wait(PATIENCE) == 0

    @property
    def parts(self) -> program.Campfire:
        assert self._served
        return self._served[0]

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def _clock(self) -> int:
        """Ten o'clock; a microsecond later each time, so that nothing happens at once."""
        self._moment += 1
        return self._moment

    def _open(self, database: Path) -> None:
        self._served = self._do(self._serve(database))

    async def _serve(self, database: Path) -> tuple[program.Campfire, Any]:
        settings = {
            "HOST": "127.0.0.1", "PORT": str(self.port), "BCRYPT_COST": "4",
            "CAMPFIRE_DB": str(database), "SECRET_KEY_BASE": "northwind" * 8, **self._settings,
        }  # fmt: skip
        config = program.config_from(settings)
        db = program.Database(database, self._clock)
        await db.open()
        parts = program.assemble(config, db, await program.load_secrets(db, config))
        await parts.store.start()
        parts.workshop.open(self._line.dup())
        runner, _ = await program.listen(parts, program.load_bundle())
        return parts, runner

    def _close(self) -> None:
        if self._served:
            self._do(program.stop(*self._served))
            self.parts.workshop.close()
            self._served = None

    async def _furnish(self) -> None:
        auth, rooms = self.parts.auth, self.parts.rooms
        maya = await auth.first_run(newcomer("Maya Okafor", "maya@northwind.example", PASSWORD))
        account = await self.parts.db.read(program.the_account)
        for name in [*PEOPLE][1:]:
            if name == "Deploy Bot":
                await self.parts.db.write(program.make_bot, name, "")
                continue
            email = f"{name.split()[0].lower().replace('ê', 'e')}@northwind.example"
            await auth.join(account.join_code, newcomer(name, email, PASSWORD))
        await self.parts.db.write(program.set_role, PRIYA, program.Role.ADMINISTRATOR)
        await rooms.save(maya, TRAVEL, program.RoomType.OPEN, ROOMS[0])
        for name in ROOMS[1:]:
            await rooms.create(maya, program.RoomType.OPEN, name)
        await rooms.create(maya, program.RoomType.CLOSED, "🎨 Design", [THEO, CARMEN])
        for others in PINGS:
            await rooms.find_or_create_direct(maya, others)
        await self.parts.db.write(self._dress)
        for query in ("tram", "green specimen", "museum invoice", "poster"):
            await self.parts.db.write(program.remember_search, MAYA, query)

    async def _set(self, scene: str) -> None:
        if scene == "posters":
            for day, (room, lines) in enumerate(POSTERS, start=3):
                await self._tell(room, lines, f"{day:02}")
        await self._tell(PRIYA_AND_JONAS, GRID, "12")
        await self._tell(ALL_TALK, SCENES[scene], "12")
        await self.parts.db.write(lambda tx, _: program.run(tx, numbered(UNREAD)))
        await self.parts.db.write(lambda tx, _: program.run(tx, QUIET))

    @staticmethod
    def _dress(tx: program.WriteTx, _: program.Timestamp) -> None:
        for name, bio in PEOPLE.items():
            program.run(tx, "UPDATE users SET bio = :bio WHERE name = :name", bio=bio, name=name)

    async def _tell(self, room: RoomId, lines: str, day: str) -> None:
        """Says the lines, then moves them to the minute they were said; `@Name` is a mention."""
        for line in filter(None, lines.replace("\n  ", " ").splitlines()):
            said, *boosts = line.split(" + ")
            when, who, words = said.split(" ", 2)
            hour, _, minute = when.partition(":")
            at = datetime(2026, 3, int(day), int(hour), int(minute), tzinfo=UTC)
            name = f"{room}-{day}-{hour}-{minute}-{IDS[who]}"
            if words.startswith("FILE "):
                message_id = await self._send(room, IDS[who], name, words[5:])
            else:
                words, _, page = words.replace("CODE", CODE).partition(" PAGE ")
                source = self._mentioned(f"<div>{words}</div>")
                source += await self._page(page) if page else ""
                draft = program.DraftMessage(room, IDS[who], name, source)
                posted = await self.parts.messages.create_message_with_deduplication(draft)
                message_id = posted.message.id
            for booster, content in (boost.split(" ", 1) for boost in boosts):
                user = await self.parts.db.read(program.user_by_id, IDS[booster])
                await self.parts.messages.boost(user, message_id, content)
            await self.parts.db.write(self._date, message_id, int(at.timestamp() * 1_000_000))

    async def _page(self, name: str) -> str:
        """A page with its picture, kept as the server keeps what it was told of."""
        page = PAGES[name]
        async with AsyncExitStack() as opened:
            stored = await self.parts.store.keep(encoded(page.picture, "PNG"), opened)
            keep, is_portrait = program.keep_preview_picture, page.is_portrait
            sides = page.picture.size
            await self.parts.db.write(keep, stored, *sides, is_portrait=is_portrait)
        return page.figure(f"/previews/{stored.key}")

    async def _send(self, room: RoomId, user_id: UserId, name: str, file: str) -> MessageId:
        """A file, as a browser sends one."""
        token = await start_session(self.parts, user_id, "127.0.0.1", AGENT)
        here, jar = f"http://127.0.0.1:{self.port}", aiohttp.CookieJar(unsafe=True)
        kept = {"session_token": token}
        async with aiohttp.ClientSession(here, cookie_jar=jar, cookies=kept) as http:
            async with http.get("/api/boot") as answer:
                csrf = (await answer.json())["csrf_token"]
            form = aiohttp.FormData({"client_message_id": name})
            form.add_field("attachment", FILES[file], filename=file)
            path, told = f"/api/rooms/{room}/messages", {"X-CSRF-Token": csrf}
            async with http.post(path, data=form, headers=told) as answer:
                return MessageId((await answer.json())["message"]["id"])

    @staticmethod
    def _date(tx: program.WriteTx, _: program.Timestamp, message_id: int, moment: int) -> None:
        sql = "UPDATE messages SET created_at = :at, updated_at = :at WHERE id = :id"
        program.run(tx, sql, at=moment + message_id, id=message_id)

    def _mentioned(self, words: str) -> str:
        for name, user_id in IDS.items():
            sgid = self.parts.signer.sgid(user_id)
            mention = (
                f'<action-text-attachment sgid="{sgid}"'
                ' content-type="application/vnd.campfire.mention"></action-text-attachment>'
            )
            words = words.replace(f"@{name}", mention)
        return words

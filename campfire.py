#!/usr/bin/env python3
"""Campfire: a group chat in one file, beside one SQLite database.

Read it like a book. A section uses only sections above it, and its banner says which; the
name of a section is a word you can search for ("# === 10." jumps there).

   1. config           what the operator decides; limits
   2. errors           the whole tree of refusals
   3. types            ids, enums, frozen records, a message's three states
   4. contracts        Protocols: what the services promise
   5. schema           every table; migrations
   6. db               one writer, four readers
   7. markup           what people write, made safe
   8. text             plain text, mentions, links, emoji, sounds
   9. signing          signatures, stream names, cookies, tokens
  10. users            people and bots
  11. memberships      who is in which room; sidebar; unread
  12. rooms            open, closed, direct: made, saved, deleted
  13. history          pages of forty; what a reader missed
  14. messages         posted once, edited, deleted, boosted
  15. auth             first run, joining, passwords, sessions, sign-in links
  16. shapes           records as JSON and as Turbo Stream markup
  17. presence         who looks at which room; who types
  18. sockets          one tab: frames, joined writes, slow readers
  19. ws               Action Cable: broadcasts, channels, catch-up
  20. ops              log lines, background jobs, health
  21. assets           the client's files, sounds, avatars
  22. web              guards, callers, bodies, answers
  23. pages            what each address shows; boot data
  24. documents        the one HTML page
  25. people_handlers  sessions, joining, people
  26. room_handlers    rooms, messages, boosts, the socket; announce
  27. site_handlers    pages, files, health
  28. app              all routes; errors into answers; start and stop
  29. cli              the commands

The road of a request: the guard asks who, the handler parses what, one service method is one
transaction, and then the handler tells the world. What follows a new message stands in one
place, `announce`. Nothing happens behind the reader's back: no callbacks, no event bus.
"""

import ipaddress
import logging
import os
import re
import sqlite3
from collections.abc import (
    Coroutine,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import (
    ClassVar,
    Final,
    NewType,
    ParamSpec,
    Protocol,
    TypeVar,
)


P = ParamSpec("P")
T = TypeVar("T")

# === 1. config ================================================================
# What the operator may decide, and the numbers nobody may. Read once at start:
# flags first, then the environment, then the defaults; empty counts as unset.
#
# Owns      -
# Uses      -
# Raises    ConfigError
# ==============================================================================

VERSION: Final = "1.0.0"
LOG: Final = logging.getLogger("campfire")

PAGE_SIZE: Final = 40
BODY_LIMIT: Final = 65_536  # bytes, of the source and of its canonical form
REQUEST_LIMIT: Final = 1_048_576
SECOND: Final = 1_000_000  # stored times are microseconds
TWENTY_YEARS: Final = 20 * 365 * 24 * 3600

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE_PROXIES: Final = (
    "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16,fc00::/7,fe80::/10"
)
_LOG_LEVELS: Final = {"debug": 10, "info": 20, "warn": 30, "error": 40}


class ConfigError(Exception):
    """A setting that cannot be used: one line, and the start stops."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the operator decided, checked."""

    database: Path
    host: str
    port: int
    domain: str | None
    disable_ssl: bool
    force_ssl: bool
    tls_files: tuple[Path, Path] | None
    secret_key_base: str | None
    vapid_keys: tuple[str, str] | None  # public, private
    trusted_proxies: tuple[Network, ...]
    allowed_origins: frozenset[str]
    log_level: int
    idle_timeout: int  # seconds, as the two below
    read_timeout: int
    write_timeout: int
    max_sockets: int
    bcrypt_cost: int
    version: str
    revision: str


def _number(settings: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = settings.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise ConfigError(f"{name} must be a whole number from {low} to {high}, not {text!r}")
    return int(text)


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"TRUSTED_PROXIES: {error}") from error


def _pair(settings: Mapping[str, str], first: str, second: str) -> tuple[str, str] | None:
    one_half, other_half = settings.get(first), settings.get(second)
    if one_half and other_half:
        return one_half, other_half
    if not one_half and not other_half:
        return None
    raise ConfigError(f"{first} and {second} go together: set both or neither")


def default_database() -> Path:
    """`campfire.db` beside the executable, or beside this file when run from source."""
    return Path(os.environ.get("CAMPFIRE_PYZ") or __file__).resolve().parent / "campfire.db"


def config_from(settings: Mapping[str, str]) -> Config:
    """The settings as one checked record. Raises ConfigError."""
    given = {name: value for name, value in settings.items() if value}
    level = (given.get("LOG_LEVEL") or given.get("RAILS_LOG_LEVEL") or "info").lower()
    if level not in _LOG_LEVELS:
        raise ConfigError(f"LOG_LEVEL must be debug, info, warn or error, not {level!r}")
    domain = given.get("TLS_DOMAIN") or given.get("SSL_DOMAIN")
    tls = _pair(given, "TLS_CERT_FILE", "TLS_KEY_FILE")
    return Config(
        database=Path(given["CAMPFIRE_DB"]) if "CAMPFIRE_DB" in given else default_database(),
        host=given.get("HOST", "0.0.0.0"),  # noqa: S104 - a chat server is there to be reached
        port=_number(given, "PORT", 3000, 0, 65_535),
        domain=domain,
        disable_ssl="DISABLE_SSL" in given,
        force_ssl="DISABLE_SSL" not in given and ("FORCE_SSL" in given or domain is not None),
        tls_files=(Path(tls[0]), Path(tls[1])) if tls else None,
        secret_key_base=given.get("SECRET_KEY_BASE"),
        vapid_keys=_pair(given, "VAPID_PUBLIC_KEY", "VAPID_PRIVATE_KEY"),
        trusted_proxies=_networks(given.get("TRUSTED_PROXIES", _PRIVATE_PROXIES)),
        allowed_origins=frozenset(
            origin.strip().rstrip("/").lower()
            for origin in given.get("ALLOWED_ORIGINS", "").split(",")
            if origin.strip()
        ),
        log_level=_LOG_LEVELS[level],
        idle_timeout=_number(given, "HTTP_IDLE_TIMEOUT", 60, 1, 86_400),
        read_timeout=_number(given, "HTTP_READ_TIMEOUT", 300, 1, 86_400),
        write_timeout=_number(given, "HTTP_WRITE_TIMEOUT", 300, 1, 86_400),
        max_sockets=_number(given, "MAX_WS_CONNECTIONS", 10_000, 1, 1_000_000),
        bcrypt_cost=_number(given, "BCRYPT_COST", 12, 4, 15),
        version=given.get("APP_VERSION", VERSION),
        revision=given.get("GIT_REVISION", ""),
    )


# === 2. errors ================================================================
# Two levels. A CampfireError is an answer: a status, a code, a sentence for a
# person. Anything else is a bug, logged once and shown as "Something went wrong."
#
#   CampfireError
#   |-- AuthError      who you are, and what you may do
#   |-- RoomError      rooms and memberships
#   |-- MessageError   messages and boosts
#   |-- CableError     sockets and push (not ConnectionError: that is Python's)
#   |-- RequestError   the request itself
#   `-- StorageError   the database cannot answer now
#
# Owns      -
# Uses      -
# Raises    -
# ==============================================================================


class CampfireError(Exception):
    """An answer that is a refusal: `status`, `code`, and `says`, the sentence people read."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    says: ClassVar[str] = "Something went wrong."

    def details(self) -> dict[str, object]:
        """What the error object holds besides code and message."""
        return {}


class AuthError(CampfireError):
    """Who you are, and what you may do."""


class RoomError(CampfireError):
    """Rooms and memberships."""


class MessageError(CampfireError):
    """Messages and boosts."""


class CableError(CampfireError):
    """Sockets and push."""


class RequestError(CampfireError):
    """The request itself."""


class StorageError(CampfireError):
    """The database cannot answer now; what is wrong is in the log only."""

    says = "Campfire is busy, please try again."


class Unauthenticated(AuthError):
    status, code, says = 401, "unauthenticated", "Please sign in first."


class InvalidCredentials(AuthError):
    status, code, says = 401, "invalid_credentials", "Too many requests or unauthorized."


class Forbidden(AuthError):
    status, code, says = 403, "forbidden", "You may not do that."


class BotForbidden(AuthError):
    status, code, says = 403, "bot_forbidden", "Bots may not do that."


class BannedAddress(AuthError):
    status, code, says = 429, "banned_ip", "Too many requests or unauthorized."


class RateLimited(AuthError):
    status, code, says = 429, "rate_limited", "Too many requests or unauthorized."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after  # seconds


class InvalidCsrfToken(AuthError):
    status, code = 422, "invalid_csrf_token"
    says = "This page is out of date. Reload it and try again."


class InvalidTransfer(AuthError):
    status, code = 400, "invalid_transfer"
    says = "This sign-in link has been used, or is too old."


class InvalidJoinCode(AuthError):
    status, code, says = 404, "invalid_join_code", "This invitation link does not work any more."


class AlreadySetUp(AuthError):
    status, code, says = 409, "already_set_up", "Campfire is set up already."


class _Elsewhere(AuthError):
    """A refusal that says where to go instead."""

    def __init__(self, redirect_to: str) -> None:
        super().__init__()
        self.redirect_to = redirect_to

    def details(self) -> dict[str, object]:
        return {"redirect_to": self.redirect_to}


class AlreadySignedIn(_Elsewhere):
    status, code, says = 409, "already_signed_in", "You are signed in already."


class EmailTakenAtJoin(_Elsewhere):
    status, code, says = 409, "email_taken", "Somebody uses this e-mail address already."


class EmailTaken(AuthError):
    status, code, says = 422, "email_taken", "Somebody uses this e-mail address already."


class UserNotFound(AuthError):
    status, code, says = 404, "user_not_found", "There is no such person."


class RoomNotFound(RoomError):
    status, code, says = 404, "room_not_found", "Room not found or inaccessible"


class RoomCreationRestricted(RoomError):
    status, code, says = 403, "room_creation_restricted", "Only administrators may create rooms."


class InvalidInvolvement(RoomError):
    status, code, says = 422, "invalid_involvement", "There is no such notification level."


class MessageNotFound(MessageError):
    status, code, says = 404, "message_not_found", "There is no such message."


class BodyBlank(MessageError):
    status, code, says = 422, "body_blank", "A message needs some words."


class BodyTooLong(MessageError):
    status, code, says = 422, "body_too_long", "This message is too long."


class InvalidClientMessageId(MessageError):
    status, code = 422, "invalid_client_message_id"
    says = "The message's id may hold 1 to 64 letters, digits, dots, underscores, colons, hyphens."


class BoostNotFound(MessageError):
    status, code, says = 404, "boost_not_found", "There is no such boost."


class BoostBlank(MessageError):
    status, code, says = 422, "boost_blank", "A boost needs a character or two."


class BoostTooLong(MessageError):
    status, code, says = 422, "boost_too_long", "A boost has at most 16 characters."


class OriginRefused(CableError):
    status, code, says = 404, "ws_origin", "Page not found"


class CableFull(CableError):
    status, code, says = 503, "ws_capacity", "Campfire is full, please try again."


class BadRequest(RequestError):
    status, code, says = 400, "bad_request", "Campfire could not read this request."


class NotFound(RequestError):
    status, code, says = 404, "not_found", "There is nothing here."


class MethodNotAllowed(RequestError):
    status, code, says = 405, "method_not_allowed", "That cannot be done here."

    def __init__(self, allow: str) -> None:
        super().__init__()
        self.allow = allow


class PayloadTooLarge(RequestError):
    status, code, says = 413, "payload_too_large", "This request is too large."


class UnsupportedMediaType(RequestError):
    status, code, says = 415, "unsupported_media_type", "Please send JSON."


class ValidationFailed(RequestError):
    status, code, says = 422, "validation_failed", "Please check what you entered."

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.fields = fields

    def details(self) -> dict[str, object]:
        return {"fields": self.fields}


class FeatureDisabled(RequestError):
    status, code = 501, "feature_disabled"

    def __init__(self, feature: str, message: str) -> None:
        super().__init__()
        self.feature, self.message = feature, message

    def details(self) -> dict[str, object]:
        return {"feature": self.feature, "message": self.message}


class DatabaseBusy(StorageError):
    status, code = 503, "database_busy"


class DatabaseFailed(StorageError):
    status, code = 500, "database_error"


class DatabaseUnusable(StorageError):
    """The start stops, or the command: one line that says what to do. Exit code 3."""

    status, code = 500, "database_error"


# === 3. types =================================================================
# The nouns. Ids that cannot be mixed up, frozen records, and a message's three
# states: what came in, what was made safe, what was stored.
#
# Owns      -
# Uses      -
# Raises    -
# ==============================================================================

UserId = NewType("UserId", int)
RoomId = NewType("RoomId", int)
MessageId = NewType("MessageId", int)
BoostId = NewType("BoostId", int)
SessionId = NewType("SessionId", int)
ConnectionId = NewType("ConnectionId", str)
Timestamp = NewType("Timestamp", int)  # microseconds since 1970, UTC
SafeHtml = NewType("SafeHtml", str)  # only `sanitize`, and loading what it made, give one
RawToken = NewType("RawToken", str)  # what a browser holds
HashedToken = NewType("HashedToken", bytes)  # what we keep of it
ReadTx = NewType("ReadTx", sqlite3.Connection)
WriteTx = NewType("WriteTx", ReadTx)  # may stand in for a ReadTx, never the reverse


def milliseconds(at: Timestamp) -> int:
    """A moment as clients count: milliseconds since 1970, truncated."""
    return at // 1000


def iso(at: Timestamp) -> str:
    """A moment as JSON writes it: 2026-01-02T03:04:05.678Z."""
    moment = datetime.fromtimestamp(at // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at // 1000 % 1000:03d}Z"


class Role(IntEnum):
    MEMBER = 0
    ADMINISTRATOR = 1
    BOT = 2


class Status(IntEnum):
    ACTIVE = 0
    DEACTIVATED = 1
    BANNED = 2


class RoomType(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    DIRECT = "direct"


class Involvement(StrEnum):
    INVISIBLE = "invisible"
    NOTHING = "nothing"
    MENTIONS = "mentions"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    join_code: str
    custom_styles: str
    only_administrators_create_rooms: bool
    updated_at: Timestamp


@dataclass(frozen=True, slots=True)
class User:
    id: UserId
    name: str
    email_address: str | None
    bio: str
    role: Role
    status: Status
    created_at: Timestamp
    updated_at: Timestamp

    @property
    def title(self) -> str:
        return " \N{EN DASH} ".join(part for part in (self.name, self.bio) if part)

    @property
    def is_administrator(self) -> bool:
        return self.role is Role.ADMINISTRATOR


@dataclass(frozen=True, slots=True)
class Session:
    id: SessionId
    user_id: UserId
    ip_address: str
    user_agent: str
    created_at: Timestamp
    last_active_at: Timestamp


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody signed in, by the session that proves it."""

    user: User
    session: Session

    @property
    def id(self) -> UserId:
        return self.user.id


@dataclass(frozen=True, slots=True)
class Room:
    id: RoomId
    type: RoomType
    name: str | None  # None for a direct room
    creator_id: UserId
    created_at: Timestamp
    updated_at: Timestamp


@dataclass(frozen=True, slots=True)
class Membership:
    """Proof that somebody is in a room: only loading one from the database makes one."""

    room: Room
    user_id: UserId
    involvement: Involvement
    unread_at: Timestamp | None

    @property
    def room_id(self) -> RoomId:
        return self.room.id


@dataclass(frozen=True, slots=True)
class RoomView:
    """A room as one of its members sees it."""

    membership: Membership
    people: tuple[User, ...]  # everybody in a direct room; empty for the others
    is_invitation: bool  # the oldest room, while it has no more than one page

    @property
    def room(self) -> Room:
        return self.membership.room


@dataclass(frozen=True, slots=True)
class Sidebar:
    directs: tuple[RoomView, ...]
    shared: tuple[RoomView, ...]
    placeholders: tuple[User, ...]
    can_create_rooms: bool
    total_unread: int


@dataclass(frozen=True, slots=True)
class RoomMembers:
    view: RoomView
    selected: tuple[User, ...]
    unselected: tuple[User, ...]


@dataclass(frozen=True, slots=True)
class RoomChange:
    """What a save did to a room, and who has to hear of it."""

    view: RoomView | None  # as the actor sees it afterwards; None when no longer a member
    room: Room
    kept: tuple[UserId, ...]
    granted: tuple[UserId, ...]
    revoked: tuple[UserId, ...]
    was: RoomType | None  # None when new


@dataclass(frozen=True, slots=True)
class Mentionable:
    """A person as a mention shows them."""

    id: UserId
    name: str
    title: str
    avatar_url: str
    sgid: str


@dataclass(frozen=True, slots=True)
class Body:
    """Rich text, made safe: canonical HTML, its plain form, whom it names, where it links."""

    html: SafeHtml
    text: str
    mentions: tuple[UserId, ...]
    links: tuple[str, ...]  # distinct http(s) addresses, at most five


@dataclass(frozen=True, slots=True)
class SoundImage:
    file: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Sound:
    name: str
    text: str | None
    image: SoundImage | None


@dataclass(frozen=True, slots=True)
class DraftMessage:
    """What came in."""

    room_id: RoomId
    creator_id: UserId
    client_message_id: str | None
    source: str


@dataclass(frozen=True, slots=True)
class ValidatedMessage:
    """Made safe, and not empty: only `validate` makes one."""

    room_id: RoomId
    creator_id: UserId
    client_message_id: str
    body: Body


@dataclass(frozen=True, slots=True)
class Boost:
    id: BoostId
    message_id: MessageId
    content: str
    booster: User
    created_at: Timestamp


@dataclass(frozen=True, slots=True)
class PersistedMessage:
    """Stored, with the id and times that only the database gives."""

    id: MessageId
    room_id: RoomId
    creator: User
    client_message_id: str
    body: Body  # its mentions are the mentionees: members of the room when it was written
    created_at: Timestamp
    updated_at: Timestamp
    boosts: tuple[Boost, ...]
    named: tuple[User, ...]  # everybody the text shows, member or not

    @property
    def path(self) -> str:
        return f"/rooms/{self.room_id}/@{self.id}"


@dataclass(frozen=True, slots=True)
class MessagePage:
    messages: tuple[PersistedMessage, ...]
    has_before: bool
    has_after: bool
    highlighted_id: MessageId | None


@dataclass(frozen=True, slots=True)
class Posted:
    """A stored message; `fresh` is False when this client_message_id was there before."""

    message: PersistedMessage
    fresh: bool
    room_name: str  # the same for everybody
    members: tuple[UserId, ...]


@dataclass(frozen=True, slots=True)
class Tombstone:
    message_id: MessageId
    room_id: RoomId
    client_message_id: str


@dataclass(frozen=True, slots=True)
class Boosted:
    boost: Boost
    room_id: RoomId
    client_message_id: str


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What a reader missed in one room, from one snapshot."""

    missed: tuple[PersistedMessage, ...]
    changed: tuple[PersistedMessage, ...]
    removed: tuple[Tombstone, ...]
    is_too_much: bool
    room_name: str
    at: Timestamp


# === 4. contracts =============================================================
# What the program promises, before how. The services change the database and
# return what they did; telling the world is the caller's part. The normative
# words are here; the methods that keep them carry no docstring of their own.
#
# Owns      -
# Uses      types
# Raises    -
# ==============================================================================


class Clock(Protocol):
    """Microseconds since 1970, UTC. May stand still or jump: the writer makes it increase."""

    def __call__(self) -> int: ...


class AuthService(Protocol):
    async def first_run(self, name: str, email: str, password: str) -> User:
        """The first administrator, with the account and the room All Talk, in one transaction.

        However many try at once, one wins. Raises AlreadySetUp, ValidationFailed.
        """
        ...

    async def join(self, join_code: str, name: str, email: str, password: str) -> User:
        """A new member, who belongs to every open room.

        Raises InvalidJoinCode, EmailTakenAtJoin, ValidationFailed.
        """
        ...

    async def authenticate(self, email: str, password: str, ip: str) -> User:
        """The active person with this address and password, in the same time for all others.

        Raises RateLimited after ten tries from one address within 180 s, InvalidCredentials.
        """
        ...

    async def start_session(self, user_id: UserId, ip: str, user_agent: str) -> RawToken:
        """A fresh token of 256 random bits; only its SHA-256 is stored (Gap #4)."""
        ...

    async def session_for(self, raw_token: RawToken) -> Viewer | None:
        """The active person this token signs in, read anew each time."""
        ...

    async def end_session(self, session: Session, push_endpoint: str | None) -> None:
        """Deletes the session, and the person's push subscription with that endpoint."""
        ...

    async def transfer(self, transfer_id: str) -> User:
        """The active person a sign-in link names; it works once, for four hours.

        Raises InvalidTransfer.
        """
        ...


class RoomService(Protocol):
    async def create_open(self, actor: User, name: str) -> RoomChange:
        """A new room with every active user in it.

        Raises RoomCreationRestricted, ValidationFailed.
        """
        ...

    async def create_closed(
        self, actor: User, name: str, user_ids: Sequence[UserId] | None
    ) -> RoomChange:
        """A new room with the actor and those of `user_ids` who exist.

        Raises RoomCreationRestricted, ValidationFailed.
        """
        ...

    async def find_or_create_direct(
        self, actor: User, user_ids: Sequence[UserId] | None
    ) -> tuple[RoomChange, bool]:
        """The one ping of exactly these people and the actor, and whether it is new.

        Raises ValidationFailed.
        """
        ...

    async def save_open(self, actor: User, room_id: RoomId, name: str) -> RoomChange:
        """Renames; a closed room becomes open and everybody active is granted.

        Raises RoomNotFound (direct rooms too), Forbidden, ValidationFailed.
        """
        ...

    async def save_closed(
        self, actor: User, room_id: RoomId, name: str, user_ids: Sequence[UserId] | None
    ) -> RoomChange:
        """Renames and revises the members; an open room becomes closed; its creator stays.

        Raises RoomNotFound (direct rooms too), Forbidden, ValidationFailed.
        """
        ...

    async def delete(self, actor: User, room_id: RoomId) -> Room:
        """The room that is gone, with everything that referred to it.

        Raises RoomNotFound, Forbidden.
        """
        ...

    async def set_involvement(
        self, actor: User, room_id: RoomId, involvement: str
    ) -> tuple[RoomView, Involvement]:
        """The room as the actor sees it now, and the level it had before.

        Raises RoomNotFound, InvalidInvolvement.
        """
        ...


class MessageService(Protocol):
    async def create_message_with_deduplication(self, draft: DraftMessage) -> Posted:
        """The stored message; the same client_message_id in a room stores nothing twice (Gap #1).

        One transaction with its mentions, index row, the room's time and the unread marks of
        members who are elsewhere. Raises RoomNotFound, BodyBlank, BodyTooLong,
        InvalidClientMessageId.
        """
        ...

    async def update(
        self, actor: User, room_id: RoomId, message_id: MessageId, source: str
    ) -> PersistedMessage:
        """The message with its new body and everything derived from it.

        Raises RoomNotFound, MessageNotFound, Forbidden, BodyBlank, BodyTooLong.
        """
        ...

    async def delete(self, actor: User, room_id: RoomId, message_id: MessageId) -> Tombstone:
        """What is left of a deleted message. Raises RoomNotFound, MessageNotFound, Forbidden."""
        ...

    async def page(
        self,
        actor: User,
        room_id: RoomId,
        *,
        before: MessageId | None = None,
        after: MessageId | None = None,
        around: MessageId | None = None,
    ) -> MessagePage:
        """Forty messages, oldest first; up to 81 `around` one; without a direction, the newest.

        Raises RoomNotFound, MessageNotFound.
        """
        ...

    async def get_messages_since(
        self, user_id: UserId, room_id: RoomId, last_seen: MessageId, since_ms: int
    ) -> CatchUp:
        """What changed since, from one snapshot (Gap #2).

        More than 300 of a kind, or older than 7 days: `is_too_much`, and nothing else.
        Raises RoomNotFound.
        """
        ...

    async def boost(self, actor: User, message_id: MessageId, content: str) -> Boosted:
        """A new boost. Raises MessageNotFound, BoostBlank, BoostTooLong."""
        ...

    async def unboost(self, actor: User, message_id: MessageId, boost_id: BoostId) -> Boosted:
        """The boost that is gone; only its booster may. Raises MessageNotFound, BoostNotFound."""
        ...


class Presence(Protocol):
    """Who is looking at which room, in memory, for at most 60 s a heartbeat (Gap #5)."""

    def present_in(self, room_id: RoomId) -> frozenset[UserId]:
        """The people with a live entry for this room."""
        ...


class WebSocketBroadcaster(Protocol):
    """Plain functions, called after a commit: they encode once, wait for nobody."""

    def broadcast(
        self, stream: str, payload: str | Mapping[str, object], *, appends: MessageId | None = None
    ) -> int:
        """The number of subscriptions reached. `appends` names the message a frame brings."""
        ...

    def disconnect_user(self, user_id: UserId, *, reconnect: bool) -> None:
        """Closes all sockets of a person; no frame reaches them afterwards."""
        ...

    def disconnect_session(self, session_id: SessionId) -> None:
        """Closes the sockets that one session opened, for good."""
        ...


class Jobs(Protocol):
    """Work that nobody waits for: held, logged when it fails, given time at shutdown."""

    def spawn(self, name: str, work: Coroutine[object, object, object]) -> None:
        """Runs in the background; a failure is one log line."""
        ...

    async def attempt(self, name: str, work: Coroutine[object, object, object]) -> bool:
        """True when it finished; a failure is one log line and False."""
        ...

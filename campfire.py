#!/usr/bin/env python3
"""Campfire: a group chat in one file, beside one SQLite database.

Read it like a book. A section uses only sections above it; the name of a section is a word
you can search for ("# === 10." jumps there).

   1. config           what the operator decides; limits
   2. errors           the whole tree of refusals
   3. nouns            ids, enums, records; what the services promise
   4. written          JSON, gzip, moments, words looked for, each once; the bounded memory
   5. attachments      what a file is, and how it is called
   6. schema           every table; migrations
   7. file             the file on the disk: whose, locked, opened, copied
   8. db               one writer, four readers
   9. store            files on the disk, and the rows that own them
  10. text             plain words: character sets, addresses, emoji, sounds
  11. markup           what people write, made safe; in words, shown, edited
  12. signing          signatures, cookies, tokens, certificates
  13. account          the account, and who belongs to it
  14. rooms            who is where; open, closed, direct; sidebar; unread
  15. history          which messages a page holds; what a reader missed
  16. messages         posted once, edited, deleted, boosted, indexed
  17. search           full text, in the rooms one is in
  18. outbound         where our own requests may lead
  19. push             browsers that want to be told, and telling them
  20. auth             who is signed in, and how one gets there
  21. people           profiles, roles, leaving, bans
  22. bots             bots, their keys, webhooks and answers
  23. shapes           records as JSON and as markup, written once while nothing changes
  24. pictures         what is made of pictures
  25. workshop         where pictures are decoded, by hands that can do nothing else
  26. previews         what a page says of itself, fetched once and kept
  27. tabs             who looks where; one tab: frames, slow readers
  28. ws               Action Cable: broadcasts, channels, catch-up
  29. web              callers, cookies, bodies, answers; background jobs
  30. files            the client, sounds, pictures: served as they lie
  31. ops              the log, health, numbers
  32. people_handlers  sessions, joining, people; administration of bots
  33. room_handlers    rooms, messages, boosts, the bot API, the socket; announce
  34. upload_handlers  files on their way in and out
  35. screens          what each address shows; the one HTML page
  36. app              all routes; errors into answers; start and stop
  37. rails            rows of whole tables; moving in from a Rails Campfire
  38. moving           files of a Rails Campfire, brought here from its folder
  39. repair           is the file sound; mending it, or saving what can be read
  40. backup           is every file where its row says; copies of all, and back again
  41. commands         what each command does

The road of a request: the guard asks who, the handler parses what, one service method is one
transaction, and then the handler tells the world. What follows a new message stands in one
place, `announce`. Nothing happens behind the reader's back: no callbacks, no event bus.
"""

# By hand: one imported name a line would be two pages of names.
# fmt: off
# isort: off
import argparse
import asyncio
import base64
import codecs
import encodings.aliases
import errno
import fcntl
import gc
import getpass
import gzip
import hashlib
import hmac
import io
import ipaddress
import json
import logging
import math
import os
import pkgutil
import pwd
import random
import re
import resource
import secrets
import select
import shutil
import signal
import socket
import sqlite3
import ssl
import stat
import string
import struct
import sys
import tarfile
import tempfile
import threading
import time
import unicodedata
import uuid
import warnings
import zlib
from asyncio.sslproto import SSLProtocol
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import (
    AsyncIterator, Awaitable, Callable, Container, Coroutine, Iterable, Iterator, Mapping, Sequence,
)
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import (
    AbstractContextManager, AsyncExitStack, ExitStack, asynccontextmanager, closing,
    contextmanager, nullcontext, suppress,
)
from contextvars import Context, ContextVar
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import cached_property, lru_cache, partial
from html import escape, unescape
from http import HTTPStatus
from importlib import import_module
from importlib.machinery import PathFinder
from itertools import accumulate, chain, groupby, islice, pairwise, product, starmap, takewhile
from operator import itemgetter
from pathlib import Path
from threading import Event, Thread
from types import MappingProxyType, SimpleNamespace, TracebackType
from typing import (
    TYPE_CHECKING, Any, ClassVar, Concatenate, Final, Generic, Literal, NewType, ParamSpec,
    IO, NamedTuple, Protocol, Self, TypeAlias, TypeGuard, TypeVar, cast,
)
from urllib.parse import quote, unquote, urlencode
from weakref import WeakSet, WeakValueDictionary, proxy

import aiosqlite
import bcrypt
import nh3
from aiohttp import (
    BodyPartReader, ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar,
    EofStream, HttpVersion10, HttpVersion11, TCPConnector, TraceConfig, web,
)
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_websocket import WebSocketError, WSCloseCode, WSMsgType
from multidict import CIMultiDict
from yarl import URL
# isort: on
# fmt: on

P = ParamSpec("P")
T = TypeVar("T")

# === 1. config ================================================================
# What the operator may decide, and the numbers nobody may. Read once at start:
# flags first, then the environment, then the defaults; empty counts as unset. Each
# setting stands once, in the record: its variables, how it is read, its default, its
# flag and its sentence; README's table and `serve --help` say the same.
#
# Raises    ConfigError
# ==============================================================================

VERSION: Final = "2.1.0"
HERE: Final = Path(__file__).resolve().parent
LOG: Final = logging.getLogger("campfire")

PAGE_SIZE: Final = 40
BODY_LIMIT: Final = 65_536  # bytes, of the source and of its canonical form
MOST_SHOWN: Final = 2_000_000  # bytes of messages in one answer
DEFLATE_LEVEL: Final = 1
RESTRICTION: Final = "restrict_room_creation_to_administrators"  # the one setting of an account
SECOND: Final = 1_000_000  # stored times are microseconds
DAY: Final = 86_400 * SECOND
TWENTY_YEARS: Final = 20 * 365 * 24 * 3600

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOCAL_NETWORKS: Final = (
    "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16,fc00::/7,fe80::/10"
)
_LOG_LEVELS: Final = {"debug": 10, "info": 20, "warn": 30, "error": 40}
SHORT_SECRET: Final = 32  # characters: a shorter one may be guessed
_OFF: Final = frozenset(("", "0", "f", "false", "n", "no", "off"))
EVERYWHERE: Final = "::"  # every address of the machine, of both families where it has them
BACKLOG: Final = 1_024
_NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class ConfigError(Exception):
    """A setting that cannot be used: one line, and the start stops."""


@lru_cache(maxsize=4096)
def parsed_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, a mapped one as the IPv4 it stands for; None when it is none."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


# How the text of a setting is read. What is no such thing is a ValueError.


def _database(text: str) -> Path:
    """`campfire.db` beside the executable, or beside this file when run from source."""
    here = Path(os.environ.get("CAMPFIRE_PYZ") or __file__).resolve().parent
    return Path(text) if text else here / "campfire.db"


def _number(low: int, high: int, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise ValueError(f"must be a whole number from {low} to {high}, not {text!r}")
    return int(text)


def _size(low: int, high: int, text: str) -> int:
    """Bytes, or K, M, G of them."""
    size = re.fullmatch(r"([0-9]{1,15})([KMG]?)", text.strip().upper())
    value = int(size[1]) << 10 * " KMG".index(size[2] or " ") if size else -1
    if not low <= value <= high:
        raise ValueError(f"must be a number of bytes from {low} to {high}, not {text!r}")
    return value


def _is_on(text: str) -> bool:
    """Whether a switch is set, to anything but a word that says no."""
    return text.strip().lower() not in _OFF


def networks_in(text: str) -> tuple[Network, ...]:
    """The networks in a list with commas between them."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def _domain(text: str) -> str | None:
    """A host name, with a port perhaps; an address is understood as the name in it."""
    name = re.sub(r"\Ahttps?://|/\Z", "", text.strip().lower())
    if name and not re.fullmatch(r"[a-z0-9.-]+(:[0-9]{1,5})?", name):
        raise ValueError(f"must be a host name like chat.example.com, not {text!r}")
    return name or None


def _origins(text: str) -> frozenset[str]:
    origins = frozenset(part.strip().rstrip("/").lower() for part in text.split(",")) - {""}
    for origin in sorted(origins):
        if not re.fullmatch(r"https?://[^/@?#\s]+", origin):
            raise ValueError(f"must be addresses like https://chat.example.com, not {origin!r}")
    return origins


def _log_level(text: str) -> int:
    if (level := _LOG_LEVELS.get(text.lower())) is None:
        raise ValueError(f"must be debug, info, warn or error, not {text.lower()!r}")
    return level


def _vapid_key(size: int, text: str) -> str:
    """A point or a number of P-256 in URL-safe base64."""
    with suppress(ValueError):
        padded = text + "=" * (-len(text) % 4)
        if len(base64.b64decode(padded, altchars=b"-_", validate=True)) == size:
            return text
    raise ValueError(f"must be {size} bytes in URL-safe base64; `campfire.pyz vapid` prints a pair")


def _subject(text: str) -> str | None:
    """Whom push services may write to, as they want it: an address of e-mail, or of a page."""
    text = text.strip()
    if text and not re.fullmatch(r"(mailto:)?[^@\s]+@[^@\s]+\.[^@\s]+|https://\S+", text):
        raise ValueError(f"must be an address of e-mail, or of https, not {text!r}")
    return f"mailto:{text}" if text and not text.startswith(("mailto:", "https:")) else text or None


def _setting(names: str, read: Callable[[str], T], says: str, default: str | None = None) -> T:
    """A field of the record below: variables (the first counts), flag; None without a default."""
    variables, _, flag = names.partition(" --")
    table = {"variables": variables.split(), "read": read, "default": default}
    return cast(T, field(metadata={**table, "flag": flag, "says": says}))


_SECONDS: Final = partial(_number, 1, 86_400)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the operator decided, checked."""

    # fmt: off
    database: Path = _setting("CAMPFIRE_DB --db PATH", _database, "the database file", "")
    host: str = _setting("HOST --host ADDRESS", str,
        "where to listen; default: every address, IPv4 and IPv6", EVERYWHERE)
    port: int = _setting("PORT --port PORT", partial(_number, 0, 65_535),
        "default: 3000; 0 picks a free one and shows it", "3000")
    domain: str | None = _setting("TLS_DOMAIN SSL_DOMAIN --domain NAME", _domain,
        "the public host name, for links and the origin check")
    disable_ssl: bool = _setting("DISABLE_SSL --disable-ssl", _is_on,
        "never redirect to https, nor ask browsers to", "0")
    force_ssl: bool = _setting("FORCE_SSL --force-ssl", _is_on,
        "redirect http to https; the default with a domain", "0")
    tls_cert: Path | None = _setting("TLS_CERT_FILE --tls-cert FILE", Path,
        "serve https with this certificate")
    tls_key: Path | None = _setting("TLS_KEY_FILE --tls-key FILE", Path,
        "the key of the certificate")
    plain_port: int = _setting("HTTP_PORT", partial(_number, 0, 65_535),
        "with a certificate: a port on which plain http is sent to https", "0")
    trusted_proxies: tuple[Network, ...] = _setting("TRUSTED_PROXIES --trusted-proxies CIDRS",
        networks_in, "whose X-Forwarded-* headers are believed", LOCAL_NETWORKS)
    allowed_origins: frozenset[str] = _setting("ALLOWED_ORIGINS", _origins,
        "further origins that may use /cable and change things (commas)", "")
    secret_key_base: str | None = _setting("SECRET_KEY_BASE", str, "the root of every signature")
    vapid_public_key: str | None = _setting("VAPID_PUBLIC_KEY", partial(_vapid_key, 65),
        "keys for Web Push")
    vapid_private_key: str | None = _setting("VAPID_PRIVATE_KEY", partial(_vapid_key, 32),
        "keys for Web Push")
    vapid_subject: str | None = _setting("VAPID_SUBJECT", _subject,
        "whom push services may write to")
    private_push_endpoints: bool = _setting("ALLOW_PRIVATE_PUSH_ENDPOINTS", _is_on,
        "push endpoints may be http and private", "0")
    metrics_token: str | None = _setting("METRICS_TOKEN", str, "bearer token for /metrics")
    log_level: int = _setting("LOG_LEVEL RAILS_LOG_LEVEL --log-level LEVEL", _log_level,
        "debug, info, warn or error; default: info", "info")
    log_file: Path | None = _setting("LOG_FILE", Path,
        "where the log goes; SIGHUP opens the file anew, and the certificates")
    idle_timeout: int = _setting("HTTP_IDLE_TIMEOUT", _SECONDS,
        "seconds a connection may be idle between requests", "60")
    read_timeout: int = _setting("HTTP_READ_TIMEOUT", _SECONDS,
        "seconds to receive an upload; any other body has at most 60", "300")
    write_timeout: int = _setting("HTTP_WRITE_TIMEOUT", _SECONDS,
        "seconds to send one whole answer", "300")
    files_enabled: bool = _setting("FILES_ENABLED", _is_on,
        "new files, and the account's logo, are taken", "1")
    avatars_enabled: bool = _setting("AVATARS_ENABLED", _is_on,
        "new pictures of people are taken", "1")
    opengraph_enabled: bool = _setting("OPENGRAPH_ENABLED", _is_on,
        "previews of pasted links are fetched", "1")
    private_previews: bool = _setting("ALLOW_PRIVATE_PREVIEWS", _is_on,
        "previews may show pages on private addresses", "0")
    files_dir: Path | None = _setting("FILES_DIR --files DIR", Path,
        "the folder of files; default: named after the database, beside it")
    files_max_bytes: int = _setting("FILES_MAX_BYTES", partial(_size, 1 << 20, 64 << 30),
        "how large a file may be; K, M and G are understood", "512M")
    files_quota_bytes: int | None = _setting("FILES_QUOTA_BYTES", partial(_size, 0, 1 << 50),
        "how large all files together may be")
    files_reserve_bytes: int | None = _setting("FILES_RESERVE_BYTES", partial(_size, 0, 1 << 50),
        "what files leave free on the disk; default: a twentieth of it, 512 MiB at least")
    upload_idle_timeout: int = _setting("UPLOAD_IDLE_TIMEOUT", _SECONDS,
        "seconds in which at least 64 KiB of an upload must come", "60")
    max_sockets: int = _setting("MAX_WS_CONNECTIONS", partial(_number, 1, 1_000_000),
        "sockets at once", "10000")
    bcrypt_cost: int = _setting("BCRYPT_COST", partial(_number, 4, 15),
        "cost of new password digests, 4 to 15", "12")
    version: str = _setting("APP_VERSION", str, "shown in headers and the version badge", VERSION)
    revision: str = _setting("GIT_REVISION", str, "shown in headers and the version badge", "")
    # fmt: on

    @property
    def files(self) -> Path:
        """The folder of files."""
        return self.files_dir or self.database.with_name(f"{self.database.stem}-files")

    @property
    def tls_files(self) -> tuple[Path, Path] | None:
        return (self.tls_cert, self.tls_key) if self.tls_cert and self.tls_key else None

    @property
    def vapid_keys(self) -> tuple[str, str] | None:
        """Public, private."""
        pair = self.vapid_public_key, self.vapid_private_key
        return (pair[0], pair[1]) if pair[0] and pair[1] else None


SETTINGS: Final = {setting.name: setting.metadata for setting in fields(Config)}


def config_from(settings: Mapping[str, str]) -> Config:
    """The settings as one checked record. Raises ConfigError."""
    given = {name: value for name, value in settings.items() if value}
    for pair in ("TLS_CERT_FILE TLS_KEY_FILE", "VAPID_PUBLIC_KEY VAPID_PRIVATE_KEY"):
        first, second = pair.split()
        if (first in given) is not (second in given):
            raise ConfigError(f"{first} and {second} go together: set both or neither")
    if "TLS_CERT_FILE" not in given:
        given.pop("HTTP_PORT", None)
    values: dict[str, Any] = {}
    for field_name, setting in SETTINGS.items():
        text = next(filter(None, map(given.get, setting["variables"])), setting["default"])
        try:
            values[field_name] = None if text is None else setting["read"](text)
        except ValueError as error:
            between = " " if str(error).startswith("must ") else ": "
            raise ConfigError(f"{setting['variables'][0]}{between}{error}") from error
    is_wanted = values["force_ssl"] or values["domain"] is not None
    values["force_ssl"] = is_wanted and not values["disable_ssl"]
    return Config(**values)


def ignored_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """What the operator set and cannot have, each with its reason."""
    ignored = {"SENTRY_DSN": "not supported"} if settings.get("SENTRY_DSN") else {}
    own = {"CAMPFIRE_DB", "CAMPFIRE_PYZ", "CAMPFIRE_ADMIN_PASSWORD"}
    strange = (name for name in settings if name.startswith("CAMPFIRE_") and name not in own)
    return ignored | dict.fromkeys(strange, "there is no such setting")


def listening_on(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen there, all on one port, one for each address of the host. Two families
    have two sockets, so that an IPv4 address looks like one. Raises OSError."""
    made: list[socket.socket] = []
    for name in ("0.0.0.0", "::") if host == EVERYWHERE else (host,):  # noqa: S104 - who serves is reached
        try:
            for family, _, _, _, place in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM):
                at = (place[0], made[0].getsockname()[1] if made else port, *place[2:])
                made.append(socket.create_server(at, family=family, backlog=BACKLOG))
        except OSError as error:
            is_elsewhere = made or (host == EVERYWHERE and name != "::")
            if error.errno in _NO_SUCH_ADDRESS and is_elsewhere:  # the machine has no such family
                continue
            for listener in made:
                listener.close()
            why = (error.strerror or "it failed").partition(" (while")[0].lower()
            raise OSError(f"cannot listen on {host} port {port}: {why}") from error
    return made


# === 2. errors ================================================================
# Two levels. A CampfireError is an answer: a status, a code, a sentence for a
# person. Anything else is a bug, logged once and shown as "Something went wrong."
# They are of seven kinds. One of a kind is a line of the table, unless it has something to
# say for itself.
# ==============================================================================


class CampfireError(Exception):
    """An answer that is a refusal: `status`, `code`, and `says`, the sentence people read."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    says: str = "Something went wrong."
    headers: Mapping[str, str] = MappingProxyType({})  # of the answer

    def __init__(
        self, line: str = "", headers: Mapping[str, str] | None = None, **details: object
    ) -> None:
        super().__init__(line)  # for whoever reads a command's answer
        self.details = details  # what a program reads beside code and message
        self.headers = headers or self.headers

    @classmethod
    def of(cls, status: int, code: str, says: str = "", retry_after: int = 0) -> type[Self]:
        """A class of errors that differ from others of their kind in what they answer."""
        answer_of = {"status": status, "code": code, "says": says or cls.says}
        if retry_after:  # seconds
            answer_of["headers"] = {"Retry-After": str(retry_after)}
        return cast(type[Self], type(code, (cls,), answer_of))


# fmt: off
class AuthError(CampfireError): ...  # who you are, and what you may do
class RoomError(CampfireError): ...  # rooms and memberships
class MessageError(CampfireError): ...  # messages and boosts
class FileError(CampfireError): ...  # files and pictures
class CableError(CampfireError): ...  # sockets and push; not ConnectionError: that is Python's
class RequestError(CampfireError): ...  # the request itself
# fmt: on


class StorageError(CampfireError):
    """The database cannot answer now; what is wrong is in the log only."""

    says = "Campfire is busy, please try again."


# fmt: off
Unauthenticated = AuthError.of(401, "unauthenticated", "Please sign in first.")
InvalidCredentials = AuthError.of(401, "invalid_credentials", "Too many requests or unauthorized.")
Forbidden = AuthError.of(403, "forbidden", "You may not do that.")
BotForbidden = AuthError.of(403, "bot_forbidden", "Bots may not do that.")
WrongBotKey = AuthError.of(302, "wrong_bot_key",  # as Rails answers: to sign in
    "This bot key is wrong or no longer in use.\n")
BannedAddress = AuthError.of(429, "banned_ip", "Too many requests or unauthorized.")
TooManyPasswords = AuthError.of(503, "busy",
    "Too many people are signing in right now. Try again in a moment.", retry_after=1)
InvalidCsrfToken = AuthError.of(422, "invalid_csrf_token",
    "This page is out of date. Reload it and try again.")
InvalidTransfer = AuthError.of(400, "invalid_transfer",
    "This sign-in link has been used, or is too old.")
InvalidJoinCode = AuthError.of(404, "invalid_join_code",
    "This invitation link does not work any more.")
AlreadySetUp = AuthError.of(409, "already_set_up", "Campfire is set up already.")
EmailTaken = AuthError.of(422, "email_taken", "Somebody uses this e-mail address already.")
AlreadySignedIn = AuthError.of(409, "already_signed_in", "You are signed in already.")
EmailTakenAtJoin = AuthError.of(409, EmailTaken.code, EmailTaken.says)
UserNotFound = AuthError.of(404, "user_not_found", "There is no such person.")
CannotBan = AuthError.of(422, "cannot_ban", "This person cannot be banned.")
BotNotFound = AuthError.of(404, "bot_not_found", "There is no such bot.")

RoomNotFound = RoomError.of(404, "room_not_found", "Room not found or inaccessible")
RoomCreationRestricted = RoomError.of(403, "room_creation_restricted",
    "Only administrators may create rooms.")
InvalidInvolvement = RoomError.of(422, "invalid_involvement",
    "There is no such notification level.")

MessageNotFound = MessageError.of(404, "message_not_found", "There is no such message.")
BodyBlank = MessageError.of(422, "body_blank", "A message needs some words.")
BodyTooLong = MessageError.of(422, "body_too_long", "This message is too long.")
InvalidClientMessageId = MessageError.of(422, "invalid_client_message_id",
    "The message's id may hold 1 to 64 letters, digits, dots, underscores, colons, hyphens.")
BoostNotFound = MessageError.of(404, "boost_not_found", "There is no such boost.")
BoostBlank = MessageError.of(422, "boost_blank", "A boost needs a character or two.")
BoostTooLong = MessageError.of(422, "boost_too_long", "A boost has at most 16 characters.")
TooManyBoosts = MessageError.of(422, "too_many_boosts",
    "You have boosted this message 20 times already.")

FileBlank = FileError.of(422, "file_blank", "This file is empty.")
OneFileOnly = FileError.of(422, "one_file_only", "Send one file at a time.")
FileTooLarge = FileError.of(413, "file_too_large", "This file is too large.")
UploadTooSlow = FileError.of(408, "upload_too_slow", "The upload stopped. Check your connection.")
TooManyUploads = FileError.of(429, "too_many_uploads",
    "Other files are still on their way. Try again in a moment.", retry_after=5)
StorageFull = FileError.of(507, "storage_full",
    "This server has no room for more files. Tell an administrator.")
AttachmentNotEditable = FileError.of(422, "attachment_not_editable",
    "You can't edit a file. Delete it and send another.")
AttachmentNotFound = FileError.of(404, "attachment_not_found", "There is no such file.")
PictureUnreadable = FileError.of(422, "picture_unreadable",
    "That picture could not be read. Try a JPEG, PNG, GIF or WebP.")
PicturesBusy = FileError.of(503, "pictures_busy",
    "Too many pictures are being made. Try again in a moment.", retry_after=2)
PicturesUnavailable = FileError.of(501, "pictures_unavailable", "This server cannot read pictures.")

OriginRefused = CableError.of(404, "ws_origin", "Page not found")
CableFull = CableError.of(503, "ws_capacity", "Campfire is full, please try again.", retry_after=10)
TooManyTabs = CableError.of(503, "too_many_tabs",
    "You have Campfire open fifty times already. Close some of the windows and try again.",
    retry_after=10)
PushFailed = CableError.of(502, "push_failed", "The push service did not take the notification.")
PushGone = CableError.of(410, "push_gone", "This browser has unsubscribed.")
PushSubscriptionNotFound = CableError.of(404, "push_subscription_not_found",
    "There is no such device.")

FeatureDisabled = RequestError.of(501, "feature_disabled")
BadRequest = RequestError.of(400, "bad_request", "Campfire could not read this request.")
NotFound = RequestError.of(404, "not_found", "There is nothing here.")
TooManyPreviews = RequestError.of(429, "too_many_previews",
    "Other links are still being looked at. Try again in a moment.", retry_after=2)
PayloadTooLarge = RequestError.of(413, "payload_too_large", "This request is too large.")
MethodNotAllowed = RequestError.of(405, "method_not_allowed", "That cannot be done here.")
UnsupportedMediaType = RequestError.of(415, "unsupported_media_type", "Please send JSON.")

DatabaseBusy = StorageError.of(503, "database_busy", retry_after=1)
DatabaseFull = StorageError.of(503, "database_full",
    "The server's disk is full. Nothing was lost; try again when there is room.", retry_after=60)
DatabaseReadonly = StorageError.of(503, "database_readonly",
    "The server may not write to its own files. Nothing was lost; tell whoever runs it.",
    retry_after=60)
DatabaseFailed = StorageError.of(500, "database_error")
# The start stops, or the command: one line that says what to do. Exit code 3.
DatabaseUnusable = StorageError.of(500, "database_error")
DatabaseForeign = DatabaseUnusable.of(500, "database_error")  # of another program
DatabaseUnreadable = DatabaseUnusable.of(500, "database_error")  # damaged past recognising
# fmt: on


class RateLimited(AuthError):
    """One try too many, by a person or from an address."""

    status, code = 429, "rate_limited"

    def __init__(self, retry_after: int) -> None:
        super().__init__(headers={"Retry-After": str(retry_after)})
        self.retry_after = retry_after  # seconds
        minutes = -(-retry_after // 60)
        when = "in a minute" if minutes == 1 else f"in {minutes} minutes"
        self.says = f"Too many tries. Try again {when}."


class ValidationFailed(RequestError):
    status, code, says = 422, "validation_failed", "Please check what you entered."

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        line = "; ".join(f"{name} {' and '.join(says)}" for name, says in fields.items())
        super().__init__(line, fields=fields)


for _name_of_it, _kind in list(globals().items()):
    if isinstance(_kind, type) and issubclass(_kind, CampfireError):
        _kind.__name__ = _kind.__qualname__ = _name_of_it  # as traces show it


# === 3. nouns =================================================================
# What is spoken of: ids that cannot be mixed up, frozen records, a message's three states
# (what came in, what was made safe, what was stored); and what the services promise,
# before how. They change the database and return what they did; telling the world is the
# caller's part. The words here are the contract: the methods that keep it carry none.
# ==============================================================================

Json = dict[str, object]
Facts = dict[str, Any]  # JSON that was read
Payload = str | Mapping[str, object]  # markup, or what JSON is made of

UserId = NewType("UserId", int)
RoomId = NewType("RoomId", int)
MessageId = NewType("MessageId", int)
BoostId = NewType("BoostId", int)
SessionId = NewType("SessionId", int)
Timestamp = NewType("Timestamp", int)  # microseconds since 1970, UTC
Invited: TypeAlias = Sequence[UserId] | None  # None for what was no list of ids
SafeHtml = NewType("SafeHtml", str)  # only `sanitize`, and loading what it made, give one
RawToken = NewType("RawToken", str)  # what a browser holds
HashedToken = NewType("HashedToken", bytes)  # what we keep of it
ReadTx = NewType("ReadTx", sqlite3.Connection)
WriteTx = NewType("WriteTx", ReadTx)  # may stand in for a ReadTx, never the reverse
Work: TypeAlias = Coroutine[object, object, object]

Role = IntEnum("Role", "MEMBER ADMINISTRATOR BOT", start=0)
Status = IntEnum("Status", "ACTIVE DEACTIVATED BANNED", start=0)
RoomType = StrEnum("RoomType", "OPEN CLOSED DIRECT")  # as texts: "open", "closed", "direct"
Involvement = StrEnum("Involvement", "INVISIBLE NOTHING MENTIONS EVERYTHING")


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    join_code: str
    custom_styles: str
    only_administrators_create_rooms: bool
    updated_at: Timestamp
    logo_id: int | None = None  # of blobs: large and small
    logo_small_id: int | None = None


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
    folded: str = ""  # the name, as it is looked for
    avatar_id: int | None = None  # of blobs

    @property
    def title(self) -> str:
        return " \N{EN DASH} ".join(part for part in (self.name, self.bio) if part)


@dataclass(frozen=True, slots=True)
class Newcomer:  # who comes in, by their own words
    name: str
    email_address: str
    password: str


@dataclass(frozen=True, slots=True)
class Session:
    id: SessionId
    user_id: UserId
    ip_address: str
    user_agent: str
    created_at: Timestamp
    last_active_at: Timestamp


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be: it begins in the transaction that makes its person, or finds them."""

    token: RawToken
    ip_address: str
    user_agent: str
    replaces: SessionId | None = None  # what this browser was signed in as before


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a sign-in link says: for whom, and which session vouches for it until when."""

    user_id: UserId
    session_id: SessionId
    nonce: str
    until: str  # ISO
    credential: str  # a mark of the password digest it was made under


class Viewer(NamedTuple):
    """Somebody signed in, by the session that proves it."""

    user: User
    session: Session


@dataclass(frozen=True, slots=True)
class Room:
    id: RoomId
    type: RoomType
    name: str | None  # None for a direct room
    creator_id: UserId
    created_at: Timestamp
    updated_at: Timestamp
    topic: str | None = None


class Membership(NamedTuple):
    """Proof that somebody is in a room: only loading one from the database makes one."""

    room: Room
    user_id: UserId
    involvement: Involvement
    unread_at: Timestamp | None  # the time of the first message not read yet
    starred_at: Timestamp | None


@dataclass(frozen=True, slots=True)
class RoomView:
    """A room as one of its members sees it."""

    room: Room
    membership: Membership
    people: tuple[User, ...]  # everybody in a direct room; empty for the others
    mentions: int  # of the viewer, in what they have not read
    is_invitation: bool  # the oldest room, while it has no more than one page


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
    kept: tuple[UserId, ...] = ()
    granted: tuple[UserId, ...] = ()
    revoked: tuple[UserId, ...] = ()


@dataclass(frozen=True, slots=True)
class Mentionable:
    """A person as a mention shows them."""

    id: UserId
    name: str
    title: str
    avatar_url: str
    sgid: str


Named: TypeAlias = Mapping[UserId, Mentionable]  # whom a text may name


@dataclass(frozen=True, slots=True)
class Preview:
    """What a page says of itself, as a message shows it; sides are those of its picture."""

    url: str
    title: str
    description: str | None = None
    image: str | None = None  # its address here
    image_width: int | None = None
    image_height: int | None = None
    portrait: bool = False  # somebody's face


Pictures: TypeAlias = Mapping[str, tuple[int, int, bool]]  # by address: sides, is a portrait


@dataclass(frozen=True, slots=True)
class Body:
    """Rich text, made safe: canonical HTML, its plain form, whom it names, where it links."""

    html: SafeHtml
    text: str
    mentions: tuple[UserId, ...]
    links: tuple[str, ...]  # distinct http(s) addresses, at most five
    previews: tuple[Preview, ...] = ()  # in the order of the markup


Kind = StrEnum("Kind", "IMAGE VIDEO AUDIO FILE")


@dataclass(frozen=True, slots=True)
class Blob:
    """One file in the store; `sha256` is None while its bytes have not been moved here."""

    id: int
    key: str
    byte_size: int
    sha256: bytes | None
    content_type: str


@dataclass(frozen=True, slots=True)
class Usage:
    """How many files there are, how large together, how many wait for their end; what is free."""

    files: int
    bytes: int
    doomed: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """The file of a message, and what the room shows of it."""

    blob: Blob
    still: Blob | None
    id: int
    message_id: MessageId
    still_state: int
    filename: str
    width: int | None
    height: int | None
    still_width: int | None
    still_height: int | None
    duration_ms: int | None
    kind: Kind
    is_animated: bool

    @property
    def is_missing(self) -> bool:
        return self.blob.sha256 is None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in its place, that no row speaks of yet."""

    key: str
    byte_size: int
    sha256: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class NewFile:
    """The file of a message that is about to be, in its place, with what is known of it."""

    stored: StoredFile
    filename: str
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    is_animated: bool = False
    still: StoredFile | None = None
    still_width: int | None = None
    still_height: int | None = None
    is_untried: bool = False  # a picture whose still may be made when somebody wants to see it


class DraftMessage(NamedTuple):
    """What came in."""

    room_id: RoomId
    creator_id: UserId
    client_message_id: str | None
    source: str
    may_vanish: bool = False  # a bot's markup may come to nothing, and is stored all the same
    file: NewFile | None = None  # which is all of it, then


class ValidatedMessage(NamedTuple):
    """Made safe, and not empty: only `validate` makes one."""

    room_id: RoomId
    creator_id: UserId
    client_message_id: str
    body: Body
    file: NewFile | None = None
    named: Named = MappingProxyType({})  # for the body's making


@dataclass(frozen=True, slots=True)
class Boost:
    id: BoostId
    message_id: MessageId
    content: str
    booster: User
    created_at: Timestamp


class PersistedMessage(NamedTuple):
    """Stored, with the id and times that only the database gives."""

    id: MessageId
    room_id: RoomId
    creator: User
    client_message_id: str
    body: Body  # its mentions are the mentionees: members of the room when it was written
    created_at: Timestamp
    updated_at: Timestamp
    edited_at: Timestamp | None  # when it last became another text
    edited_by: User | None
    to_everyone: bool  # it names everybody in the room
    boosts: tuple[Boost, ...]
    named: tuple[User, ...]  # everybody the text shows, member or not
    path: str
    file: AttachedFile | None  # whose name is the text, then


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Which messages a page shows: rows of their ids, moments and authors, oldest first."""

    found: Sequence[sqlite3.Row]
    has_before: bool
    has_after: bool
    highlighted_id: MessageId | None = None


class Posted(NamedTuple):
    """A stored message; `fresh` is False when this client_message_id was there before."""

    message: PersistedMessage
    fresh: bool
    room: Room
    room_name: str  # the same for everybody
    members: tuple[UserId, ...]
    present: frozenset[UserId]  # who looked at the room when it was stored
    is_awaited: bool = False  # somebody may want to be told of it


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
    """What a reader missed in one room, from one snapshot: the messages as an excerpt has them."""

    at: Timestamp
    missed: Sequence[sqlite3.Row] = ()
    changed: Sequence[sqlite3.Row] = ()
    removed: tuple[Tombstone, ...] = ()
    room_name: str = ""
    is_too_much: bool = False


class AuthService(Protocol):
    async def first_run(self, who: Newcomer, session: NewSession | None = None) -> User:
        """The first administrator, with account, room and any session, in one transaction. However
        many try at once, one wins. Raises AlreadySetUp, ValidationFailed."""

    async def join(self, join_code: str, who: Newcomer, session: NewSession | None = None) -> User:
        """A new member, who belongs to every open room; the session begins with them. Raises
        InvalidJoinCode, EmailTakenAtJoin, ValidationFailed."""

    def count_try(self, ip: str) -> None:
        """Notes a try to sign in. Raises RateLimited after ten from one address within 180 s."""

    async def sign_in(self, email: str, password: str, session: NewSession) -> User:
        """The active person with this address and password, with this session. It takes the same
        time for all others. After fifty failed tries an hour for one address of e-mail only who has
        signed in from here before may try. If the password changes while it is being checked, the
        old one counts for nothing. Raises InvalidCredentials, RateLimited."""

    async def new_digest(self, user_id: UserId, password: str) -> str:
        """A digest for somebody's new password. Raises RateLimited for the 11th in 3 minutes."""


class RoomService(Protocol):
    async def create(
        self, actor: User, kind: RoomType, name: str, ids: Invited = (), topic: str | None = None
    ) -> RoomChange:
        """A new open room with all active users, or a closed one with the actor and those of these
        ids who exist. Raises RoomCreationRestricted, ValidationFailed."""

    async def find_or_create_direct(self, actor: User, ids: Invited) -> tuple[RoomChange, bool]:
        """The one ping of exactly these people, and whether it is new. Raises ValidationFailed."""

    async def save(
        self,
        actor: User,
        room_id: RoomId,
        kind: RoomType,
        name: str,
        ids: Invited = (),
        topic: str | None = None,
    ) -> RoomChange:
        """Renames; a topic of None stays. An open room gets everybody active; who is in a closed
        one is revised, but for its creator. Raises RoomNotFound, Forbidden, ValidationFailed."""

    async def set_involvement(
        self, actor: User, room_id: RoomId, involvement: str
    ) -> tuple[RoomView, Involvement]:
        """The room as it is now, and the level before. Raises RoomNotFound, InvalidInvolvement."""


class MessageService(Protocol):
    async def create_message_with_deduplication(self, draft: DraftMessage) -> Posted:
        """The stored message; the same client_message_id in a room stores nothing twice (Gap #1).
        One transaction with its mentions, index row, the room's time and unread marks. Raises
        RoomNotFound, BodyBlank, BodyTooLong, InvalidClientMessageId."""

    async def update(
        self, actor: User, message_id: MessageId, draft: DraftMessage
    ) -> PersistedMessage:
        """The message with its new body and everything derived from it. Raises RoomNotFound,
        MessageNotFound, Forbidden, BodyBlank, BodyTooLong."""

    async def delete(self, actor: User, room_id: RoomId, message_id: MessageId) -> Tombstone:
        """What is left of a deleted message. Raises RoomNotFound, MessageNotFound, Forbidden."""

    async def get_messages_since(
        self, user_id: UserId, room_id: RoomId, last_seen: MessageId, since_ms: int
    ) -> CatchUp:
        """What changed since, from one snapshot (Gap #2). More than 300 of a kind, more than 2 MB,
        or older than 7 days: `is_too_much`, and nothing else. Raises RoomNotFound."""

    async def boost(
        self, actor: User, message_id: MessageId, content: str, room_id: RoomId | None = None
    ) -> Boosted:
        """A new boost, of a message of this room if one is given. Raises RoomNotFound,
        MessageNotFound, BoostBlank, BoostTooLong, TooManyBoosts."""

    async def unboost(
        self, actor: User, message_id: MessageId, boost_id: BoostId, room_id: RoomId | None = None
    ) -> Boosted:
        """Only its booster may. Raises RoomNotFound, MessageNotFound, BoostNotFound."""


class WebSocketBroadcaster(Protocol):
    """Plain functions, called after a commit: they encode once, wait for nobody."""

    def broadcast(
        self, stream: str | Sequence[str], payload: Payload, *, appends: MessageId | None = None
    ) -> int:
        """The number of subscriptions reached. `appends` names the message a frame brings."""

    def broadcast_to(self, user_ids: Sequence[UserId], stream: str, payload: Payload) -> int:
        """The same on the stream of each of these people; who is not here costs nothing."""

    def stopped_typing(self, room_id: RoomId, user_id: UserId, name: str) -> None:
        """Tells the others, if they think this person types."""

    def disconnect_user(self, user_id: UserId, *, reconnect: bool) -> None:
        """Closes all sockets of a person; no frame reaches them afterwards."""

    def disconnect_session(self, session_id: SessionId) -> None:
        """Closes the sockets that one session opened, for good."""

    def disconnect_others(self, user_id: UserId, session_id: SessionId) -> None:
        """Closes a person's sockets but for those of one session: their password changed."""


class BackgroundWork(Protocol):
    """Work that nobody waits for: held, logged when it fails, given time at shutdown."""

    def spawn(self, name: str, work: Work) -> None:
        """Runs in the background; a failure is one log line."""

    async def attempt(self, name: str, work: Work, **known: object) -> bool:
        """True when it finished; a failure is one log line, with what is `known`, and False."""


# === 4. written ===============================================================
# How values leave us: JSON, base64, moments; and words as they are looked for. What is
# written already is never written again, what is sent again and again is deflated once,
# and what was made lately is remembered, as far as it may weigh. gzip is what every browser
# takes, and its quickest level costs less than sending what it saves; whoever takes an
# answer too slowly is cut off.
# ==============================================================================

compact: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
as_list: Final = json.JSONEncoder(default=list).encode  # for `json_each(:ids)`
PIECES: Final = web.ResponseKey("pieces", tuple[bytes, ...])  # of which a body is made
_WORTH_IT: Final = 1_024  # bytes, below which a packet is a packet
_SHORT: Final = 128  # bytes, below which deflating costs more than it saves
_LONG: Final = 262_144  # bytes, above which compressing leaves the loop
_PADDING: Final = 64  # bytes at most


def json_object(text: str | bytes) -> Facts:
    """The object in a text, or an empty one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def to_base64(data: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def from_base64(text: str) -> bytes:
    """The bytes of standard or URL-safe base64, padded or not. Raises ValueError."""
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)


class Written(tuple[bytes, ...]):
    """JSON that is written already, in pieces; it may stand inside a page's script as it is."""

    __slots__ = ()


def written(value: object) -> Written:
    """JSON in which no character could end a script, in one piece."""
    text = compact(value)
    for character in "<>&\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return Written((text.encode(),))


PLACE: Final = secrets.token_hex()  # where what is packed already is put


def joined(parts: Mapping[str, object]) -> Written:
    """An object of parts, some of which are written already and are not written again."""
    ready = [part for part in parts.values() if isinstance(part, Packed)]
    rest = {name: part for name, part in parts.items() if not isinstance(part, Written)}
    rest |= {name: PLACE for name, part in rest.items() if isinstance(part, Packed)}
    first, *others = written(rest)[0][:-1].split(f'"{PLACE}"'.encode())
    pieces = [first, *chain(*zip(ready, others, strict=True))]
    for name, part in parts.items():
        if isinstance(part, Written):
            comma = "," if len(pieces) > 1 or rest else ""
            pieces += f'{comma}"{name}":'.encode(), *part
    return Written((*pieces, b"}"))


def written_list(items: Iterable[Written]) -> Written:
    """A list of what is written already."""
    pieces = [piece for item in items for piece in (*item, b",")]
    return Written((b"[", *pieces[:-1], b"]"))


_DEFLATING: Final = threading.local()  # making what deflates takes longer than it takes for a page


class Packed(bytes):
    """What is sent again and again: deflated once, as blocks that may stand in any gzip stream."""

    @cached_property
    def deflated(self) -> bytes:
        """RFC 1951, closed by a full flush: nothing before or after is referred to."""
        if len(self) < _SHORT:  # it stands there as it is
            return struct.pack("<xHH", len(self), len(self) ^ 0xFFFF) + self
        if (stream := getattr(_DEFLATING, "stream", None)) is None:
            stream = zlib.compressobj(DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
            _DEFLATING.stream = stream
        return stream.compress(self) + stream.flush(zlib.Z_FULL_FLUSH)

    @cached_property
    def check(self) -> int:
        """What a stream that begins with this has to know of it."""
        return zlib.crc32(self)


class Moment(Packed):
    """Milliseconds: when this is said, also if it was said before."""


class Mask(Packed):
    """A token in quotation marks, masked anew each time."""


def as_packed(pieces: Iterable[bytes]) -> tuple[Packed, ...]:
    """The pieces, such as may be sent again, in as few as there can be."""
    kinds = groupby(pieces, type)
    made = ((Packed(b"".join(some)),) if kind is bytes else some for kind, some in kinds)
    return cast(tuple[Packed, ...], tuple(chain.from_iterable(made)))


K = TypeVar("K")


class Memory(Generic[K, T]):
    """The last things made, for any thread, up to `size`; then the older half is forgotten."""

    def __init__(self, size: int) -> None:
        self._size = size // 2
        self._weight = 0  # of the young ones
        self._young: dict[K, tuple[T, int]] = {}
        self._old: dict[K, tuple[T, int]] = {}

    def find(self, key: K) -> T | None:
        """What was kept under the key, if it is not forgotten."""
        kept = self._young.get(key)
        if kept is None and (kept := self._old.get(key)) is not None:
            self.keep(key, *kept)
        return kept and kept[0]

    def keep(self, key: K, made: T, weight: int = 1) -> None:
        """Remembers, in place of what was there; the weight is in bytes, about."""
        if self._weight + weight > self._size:
            self._old, self._young, self._weight = self._young, {}, 0
        self._weight += weight
        self._young[key] = made, weight


def grouped(pairs: Iterable[tuple[K, T]]) -> dict[K, tuple[T, ...]]:
    """What belongs to each key, in order."""
    groups: dict[K, tuple[T, ...]] = {}
    for key, item in pairs:
        groups[key] = (*groups.get(key, ()), item)
    return groups


_YEAR_10000: Final = 253_402_300_800  # seconds


@lru_cache(maxsize=8192)
def iso(at: Timestamp) -> str:
    """A moment as JSON writes it: 2026-01-02T03:04:05.678Z."""
    moment = datetime.fromtimestamp(at // 1_000_000, UTC)
    return f"{moment.isoformat()[:19]}.{at // 1000 % 1000:03d}Z"


def moment_in(value: object) -> Timestamp | None:
    """A time in words or seconds, UTC if it does not say; None when it is none."""
    if isinstance(value, (int, float)):
        return Timestamp(int(value * SECOND)) if abs(value) < _YEAR_10000 else None
    try:
        moment = datetime.fromisoformat(str(value).strip().removesuffix("UTC").strip())
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        whole = int(moment.replace(microsecond=0).timestamp())
    except (ValueError, OverflowError):
        return None
    return Timestamp(whole * SECOND + moment.microsecond)


def record_json(record: object, names: str, **more: object) -> Json:
    """Fields of a record as JSON has them: moments as text, roles and standings as words."""
    shape: Json = {}
    for name in names.split():
        value = getattr(record, name)
        if name.endswith("_at"):
            value = iso(value)
        shape[name] = value.name.lower() if isinstance(value, IntEnum) else value
    return shape | more


@lru_cache(maxsize=8192)
def version_of(at: Timestamp) -> str:
    """A moment as addresses of pictures carry it: 20260102030405."""
    return f"{datetime.fromtimestamp(at // 1_000_000, UTC):%Y%m%d%H%M%S}"


_SPACELESS: Final = (  # Thai, Lao, Burmese, Khmer, kana, Han, Hangul
    "([\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff"
    "\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff"
    "\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff])"
)


def searchable(text: str) -> str:
    """A text as the index takes it: characters of scripts without spaces stand one by one."""
    return text if text.isascii() else re.sub(_SPACELESS, r" \1 ", text)


_PLAIN_LETTERS: Final = str.maketrans("łøđðħŧ\u0131", "loddhti") | str.maketrans(
    {"æ": "ae", "œ": "oe", "þ": "th"}
)


def folded(name: str) -> str:
    """The name as it is looked for: case folded (ß is ss), NFKD without marks, plain letters."""
    if name.isascii():
        return name.lower()
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    bare = "".join(c for c in letters if not unicodedata.category(c).startswith("M"))
    return bare.translate(_PLAIN_LETTERS)


def caseless(email: str | None) -> str | None:
    """An address of e-mail as it is looked for: case alone does not tell two people apart."""
    return email and email.casefold()


@lru_cache(maxsize=512)
def accepted(header: str) -> frozenset[str]:
    """The codings that a browser takes, by its Accept-Encoding (RFC 9110, 12.5.3)."""
    parts = (part.partition(";") for part in header.lower().split(","))
    is_refused = re.compile(r"\s*q=0(\.0*)?\s*").fullmatch
    return frozenset(name.strip() for name, _, weight in parts if not is_refused(weight))


def gzipped(pieces: Iterable[bytes]) -> bytes:
    """The pieces as one gzip stream (RFC 1952). Its length tells nothing exactly: the name of the
    file in its head is as long as chance wants, and so nobody learns a secret by what compresses
    well beside it (BREACH)."""
    name = b"-" * (secrets.token_bytes(1)[0] % (_PADDING + 1))
    made = [b"\x1f\x8b\x08\x08\0\0\0\0\x04\xff" + name + b"\0"]  # deflate, FNAME, fastest
    check = size = 0
    for piece in as_packed(pieces):
        check, size = zlib.crc32(piece, check) if size else piece.check, size + len(piece)
        made.append(piece.deflated)
    made.append(b"\3\0")  # the last block, with nothing in it
    return b"".join((*made, check.to_bytes(4, "little"), size.to_bytes(4, "little")))


async def compress(request: web.Request, response: web.StreamResponse) -> None:
    """Puts the pieces of an answer together: as gzip, if that is accepted and worth it."""
    if not isinstance(response, web.Response) or not (pieces := response.get(PIECES)):
        return
    headers = response.headers
    if (size := sum(map(len, pieces))) >= _WORTH_IT:
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in accepted(request.headers.get("Accept-Encoding", "")):
            headers["Content-Encoding"], is_long = "gzip", size > _LONG
            pieces = (await asyncio.to_thread(gzipped, pieces) if is_long else gzipped(pieces),)
    response.body = b"".join(pieces)


_FITTING_BYTES: Final = 61_440  # of an answer that, with its head, a transport takes at once
_MUCH_BYTES: Final = 1_048_576  # of an answer in memory: who takes nothing of it
_UNTAKEN_SECONDS: Final = 30  # for so long is cut off
_UNSENT_BYTES: Final = 16_384  # the system holds of it, besides what is on its way
_NO_LINGER: Final = (1).to_bytes(4, sys.byteorder) + bytes(4)  # `struct linger`: on, 0 seconds


def _cut(transport: asyncio.Transport, *, if_stuck: bool = False) -> None:
    """Hangs up. What the system still holds for whoever takes nothing goes at once, too."""
    if if_stuck and not transport.get_write_buffer_size():
        return
    if (connection := transport.get_extra_info("socket")) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


async def _while_taken(transport: asyncio.Transport, sending: Work) -> None:
    """Sends much. Raises TimeoutError when nothing of it was taken for so long."""
    if (connection := transport.get_extra_info("socket")) is not None:  # else it takes megabytes
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    task, left = asyncio.create_task(sending), math.inf
    try:
        await asyncio.wait((task,), timeout=0)
        while not task.done():
            before, left = left, transport.get_write_buffer_size()
            if left >= before:
                raise TimeoutError
            await asyncio.wait((task,), timeout=_UNTAKEN_SECONDS)
        await task
    finally:
        task.cancel()


async def send_in_time(request: web.Request, response: web.StreamResponse, seconds: float) -> None:
    """Sends the answer; a browser that takes too long to receive it is cut off."""
    transport = request.transport
    if transport is None or isinstance(response, web.WebSocketResponse):
        return
    length = response.content_length if isinstance(response, web.Response) else None
    fits = length is not None and length <= _FITTING_BYTES and not transport.get_write_buffer_size()
    is_much = length is not None and length > _MUCH_BYTES
    try:
        with suppress(ConnectionError):  # the browser is gone, which is no fault
            is_file = isinstance(response, web.FileResponse)  # which the kernel watches over
            async with nullcontext() if fits or is_file else asyncio.timeout(seconds):
                await response.prepare(request)
                sending = response.write_eof()  # waits until all but the last 64 KB are taken
                await (_while_taken(transport, sending) if is_much else sending)
    except TimeoutError:
        _cut(transport)
    if transport.get_write_buffer_size():  # the end of it is on its way
        asyncio.get_running_loop().call_later(seconds, partial(_cut, transport, if_stuck=True))


_HIDDEN: Final = "passw|email|secret|token|_key|crypt|salt|certificate|otp|ssn|cv[cv]|endpoint|body"
_secret_words_in: Final = lru_cache(maxsize=256)(re.compile(_HIDDEN).search)
_LINE: Final = json.JSONEncoder(ensure_ascii=False, default=str)
# What moves a terminal's cursor, ends a line or turns its direction, and halves of characters.
_UNPRINTABLE: Final = re.compile(
    "[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


class JsonLines(logging.Formatter):
    """A log record as one JSON object, with whatever might be a secret filtered."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        given: dict[str, object] = record.__dict__.get("fields", {})
        for name, value in given.items():
            line[name] = "[FILTERED]" if _secret_words_in(name) else value
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return _UNPRINTABLE.sub(lambda sign: f"\\u{ord(sign[0]):04x}", _LINE.encode(line))


def turbo(action: str, target: str, markup: str | None = None, extra: str = "") -> str:
    """A Turbo Stream; those that bring nothing have no template."""
    inside = "" if markup is None else f"<template>{markup}</template>"
    does = f'{extra}action="{action}" target="{escape(target)}"'
    return f"<turbo-stream {does}>{inside}</turbo-stream>"


def attribute(name: str, value: object) -> str:
    """JSON as an attribute: written as everywhere, nothing but its quotation mark could end it."""
    pieces = value if isinstance(value, Written) else written(value)
    return f" {name}='" + b"".join(pieces).decode().replace("'", "&#39;") + "'"


# === 5. attachments ===========================================================
# What a file is, and how it is called. Its first bytes say it, and after them the end
# of its name; what its sender says counts for nothing. Only pictures, films and sounds
# that their own bytes prove are ever shown in a page of ours: everything else is handed
# over to be saved. A name is a text that people read, and no part of any path here. And
# how a message shows its file: as JSON, and as markup that needs no script.
# ==============================================================================

HEAD_BYTES: Final = 4_096  # of a file, from which its type is told
OCTETS: Final = "application/octet-stream"
# What bytes prove; the first that fits counts. Of MPEG audio layers II and III alone: a text in
# UTF-16 begins as layer I does.
_PROOFS: Final = tuple(
    (re.compile(pattern, re.DOTALL), content_type)
    for pattern, content_type in (
        (rb"\xff\xd8\xff", "image/jpeg"),
        (rb"\x89PNG\r\n\x1a\n", "image/png"),
        (rb"GIF8[79]a", "image/gif"),
        (rb"RIFF....WEBP", "image/webp"),
        (rb"....ftypavi[fs]", "image/avif"),
        (rb"....ftyp(?:hei[cxms]|hevc|mif1|msf1)", "image/heic"),
        (rb"....ftypqt  ", "video/quicktime"),
        (rb"....ftypM4[AB] ", "audio/mp4"),
        (rb"....ftyp", "video/mp4"),
        (rb"\x1aE\xdf\xa3.{0,56}webm", "video/webm"),
        (rb"\x1aE\xdf\xa3.{0,52}matroska", "video/x-matroska"),
        (rb"OggS.*theora", "video/ogg"),
        (rb"OggS", "audio/ogg"),
        (rb"ID3|\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd](?:(?![\x0c-\x0f])[\x10-\xef])", "audio/mpeg"),
        (rb"RIFF....WAVE", "audio/wav"),
        (rb"fLaC", "audio/flac"),
        (rb"\xff[\xf1\xf9]", "audio/aac"),
        (rb"%PDF-", "application/pdf"),
    )
)
_MEDIA: Final = ("image/", "video/", "audio/")
# All that may be shown in a page, and of it what the workshop decodes.
SHOWN_TYPES: Final = frozenset(kind for _, kind in _PROOFS if kind.startswith(_MEDIA))
DRAWN_TYPES: Final = {kind for kind in SHOWN_TYPES if kind.startswith("image/")} - {"image/heic"}
# A type, and the endings of its names: the first is the one we give. What is no sound, film or
# picture has no other proof than its name.
_ENDINGS: Final = {
    f"{family}/{subtype}": endings
    for family, table in (
        ("image", """jpeg jpg jpeg jpe jfif, png png apng, gif gif, webp webp, avif avif,
            heic heic heif hif, bmp bmp, jp2 jp2, jxl jxl, svg+xml svg, tiff tif tiff,
            vnd.adobe.photoshop psd, x-icon ico"""),
        ("video", """mp4 mp4 m4v, quicktime mov qt, webm webm, x-matroska mkv, ogg ogv,
            mpeg mpg mpeg, x-msvideo avi"""),
        ("audio", """mpeg mp3, mp4 m4a m4b, ogg ogg oga opus, wav wav, flac flac, aac aac,
            aiff aif aiff, midi mid midi"""),
        ("font", "otf otf, ttf ttf, woff woff, woff2 woff2"),
        ("text", """plain txt log text, markdown md markdown, csv csv, tab-separated-values tsv,
            html html htm, css css, calendar ics, vcard vcf, javascript js mjs"""),
        ("application", """json json, xml xml, xhtml+xml xhtml, yaml yaml yml, pdf pdf, rtf rtf,
            postscript ps eps ai, epub+zip epub, java-archive jar, wasm wasm, zip zip,
            gzip gz tgz, x-7z-compressed 7z, x-bzip2 bz2, x-tar tar, x-xz xz, zstd zst,
            vnd.rar rar, vnd.sqlite3 sqlite db, vnd.android.package-archive apk, msword doc,
            vnd.ms-excel xls, vnd.ms-powerpoint ppt, vnd.oasis.opendocument.text odt,
            vnd.oasis.opendocument.spreadsheet ods, vnd.oasis.opendocument.presentation odp,
            vnd.openxmlformats-officedocument.wordprocessingml.document docx,
            vnd.openxmlformats-officedocument.spreadsheetml.sheet xlsx,
            vnd.openxmlformats-officedocument.presentationml.presentation pptx"""),
    )
    for subtype, *endings in map(str.split, table.split(","))
}  # fmt: skip
BY_ENDING: Final = {f".{end}": kind for kind, endings in _ENDINGS.items() for end in endings}


def type_by_name(name: str) -> str:
    """The type of a file by its name alone: of one whose bytes are not here."""
    _, dot, ending = name.lower().rpartition(".")
    named = BY_ENDING.get(dot + ending, OCTETS)
    return OCTETS if named.startswith(_MEDIA) and named not in SHOWN_TYPES else named


def type_of(head: bytes, name: str = "") -> str:
    """The type of a file, by its first bytes and its name."""
    for magic, content_type in _PROOFS:
        if magic.match(head[:HEAD_BYTES]):
            return content_type
    named = type_by_name(name)
    return OCTETS if named in SHOWN_TYPES else named


def kind_of(content_type: str) -> Kind:
    """What a room does with a type of ours."""
    shown = content_type if content_type in SHOWN_TYPES else "file"
    return Kind(shown.partition("/")[0])


def ending_for(content_type: str) -> str:
    """The ending we give to a name, for a type."""
    return _ENDINGS.get(content_type, ["bin"])[0]


NAME_BYTES: Final = 255
_ENDING_BYTES: Final = 16  # of a name that is cut, and keeps its ending
_UNNAMEABLE: Final = re.compile(  # controls, what turns the direction of a text, half characters
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_FILE_NAME: Final = re.compile(r';\s*filename=(?:"((?:\\"|[^"])*)"|([^;\s]*))')


def safe_name(given: str) -> str:
    """A name to show and save under, itself made safe: in a line, one direction, without a path."""
    name = unicodedata.normalize("NFC", _UNNAMEABLE.sub("", given))
    name = re.split(r"[/\\]", name)[-1].strip(" .")
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > _ENDING_BYTES:
        stem, dot, ending = name, "", ""
    room = NAME_BYTES - len(f"{dot}{ending}".encode())
    stem = stem.encode()[:room].decode(errors="ignore")
    return f"{stem}{dot}{ending}".strip(" .") or "file"


def one_line(text: str, most: int) -> str:
    """A text of others as we show it: a line in its own direction, cut to a length.

    What was cut already stays as it is.
    """
    line = " ".join(_UNNAMEABLE.sub("", " ".join(text.split())).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def given_name(disposition: str) -> str | None:
    """The name of a file in such a header, as browsers write it; None when there is none."""
    file = _FILE_NAME.search(disposition)
    return file and re.sub(r'\\"|%22', '"', re.sub("%0[DA]", "", file[1] or file[2] or ""))


# What a browser could run, or draw as a page: sent as bytes without a meaning.
_RUNNABLE: Final = re.compile(
    r"text/html|.*[/+]xml|image/svg.*|.*(?:javascript|ecmascript|mathml|postscript|flash).*"
    r"|text/cache-manifest"
)
FILE_POLICY: Final = (
    "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
)


def content_disposition(name: str, *, is_shown: bool) -> str:
    """The header: with the name in ASCII for whoever knows no other, and as it is (RFC 8187)."""
    folded_name = re.sub(r"[^ !#-\[\]-~]", "_", name)
    how = "inline" if is_shown else "attachment"
    return f"{how}; filename=\"{folded_name}\"; filename*=UTF-8''{quote(name, safe='')}"


def file_headers(name: str, content_type: str, *, is_download: bool) -> dict[str, str]:
    """The headers of a file's bytes: a page of theirs can do nothing, if they ever become one."""
    is_shown = content_type in SHOWN_TYPES and not is_download
    return {
        "Content-Type": OCTETS if _RUNNABLE.fullmatch(content_type) else content_type,
        "Content-Disposition": content_disposition(name, is_shown=is_shown),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": FILE_POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, max-age=604800, immutable",
    }


_KEY: Final = re.compile("[a-z0-9]{20,64}")
MOST_PIXELS: Final = 65_535
MOST_MS: Final = 2**53


def fresh_key() -> str:
    """A name in the store that nobody guesses."""
    letters = string.ascii_lowercase + string.digits
    return "".join(secrets.choice(letters) for _ in range(28))


def within(value: object, most: int) -> int | None:
    """A plausible number, whole."""
    return int(value) if isinstance(value, (int, float)) and 1 <= value <= most else None


def noted_file(
    key: str, name: str, size: int, noted: str | None, at: int, **more: object
) -> tuple[Facts, Facts]:
    """What Rails notes of a file, as far as it is plausible: for our `blobs` and `attachments`."""
    filename, about = safe_name(name), json_object(noted or "")
    content_type, seconds = type_by_name(filename), about.get("duration")
    width, height = (within(about.get(side), MOST_PIXELS) for side in ("width", "height"))
    milliseconds = seconds * 1_000 if isinstance(seconds, float | int) else None
    blob = {"byte_size": max(size, 0), "content_type": content_type, "created_at": at}
    awaited = compact({"key": key, **more})
    return {"key": key if _KEY.fullmatch(key) else fresh_key(), "awaited": awaited, **blob}, {
        "filename": filename,
        "kind": kind_of(content_type),
        "width": height and width,
        "height": width and height,
        "duration_ms": within(milliseconds, MOST_MS),
        "created_at": at,
    }


# --- How a message shows its file ---

STILL_BOX: Final = (1_200, 800)
_UNKNOWN_SIDES: Final = (600, 337.5)  # of a film: 16 to 9
_MOVING_BYTES: Final = 8 << 20  # of a picture that moves in the room; of others one frame is shown
_UNITS: Final = (  # how many bytes, and from where on the next is said
    ("B", 1, 1_000), ("KB", 1e3, 999_500), ("MB", 1e6, 999_500_000), ("GB", 1e9, math.inf),
)  # fmt: skip
_ONE_DIGIT: Final = 9.95  # below it, one digit and its tenths


@dataclass(frozen=True, slots=True)
class Still:
    """What the room shows of a picture, and what it learnt of the picture itself."""

    width: int
    height: int
    still_width: int
    still_height: int
    content_type: str
    is_animated: bool
    data: bytes


def size_in_words(size: int) -> str:
    """A size as people say it: 640 B, 2.4 MB, 38 MB."""
    unit, scale = next((unit, scale) for unit, scale, most in _UNITS if size < most)
    tenths = int(scale > 1 and size < _ONE_DIGIT * scale)
    return f"{size / scale:.{tenths}f} {unit}"


def fitted(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """The sides of a picture within a box: never enlarged, halves rounded up, at least a pixel."""
    wide, high = min(width, box[0]), min(height, box[1])
    if wide * height <= high * width:  # whole numbers, so that every machine has the same sides
        return wide, max(1, (2 * height * wide + width) // (2 * width))
    return max(1, (2 * width * high + height) // (2 * height)), high


def _sides(file: AttachedFile) -> tuple[int | None, int | None]:
    """How large what the room shows is, or would be if it were made."""
    if not file.still and file.width and file.height:
        return fitted(file.width, file.height, STILL_BOX)
    return file.still_width, file.still_height


def file_json(file: AttachedFile) -> Json:
    """The file of a message; what is not here has no address."""
    name = quote(file.filename, safe="") if file.filename != "still" else "file"
    url = None if file.is_missing else f"/files/{file.id}/{name}"
    has_still = file.still or (file.kind is Kind.IMAGE and not file.still_state)  # or will have it
    width, height = _sides(file) if has_still else (None, None)
    return {
        **record_json(file, "id filename kind width height duration_ms"),
        **record_json(file.blob, "content_type byte_size"),
        "animated": file.is_animated,
        "missing": file.is_missing,
        "url": url,
        "download_url": url and f"{url}?download=1",
        "still_url": f"/files/{file.id}/still" if url and has_still else None,
        "still_width": width,
        "still_height": height,
    }


def file_for_bots(file: AttachedFile, message: str, where: str) -> Json:
    """What a bot learns of a file, whose message has this address."""
    told = {"filename": file.filename, where: f"{message}/attachment"}
    return record_json(file.blob, "content_type byte_size", **told)


@lru_cache(16)
def _in_one_line(markup: str) -> str:
    """Markup where a line's end is nothing between two elements, and a space elsewhere."""
    return re.sub(r"\s*\n\s*", " ", re.sub(r">\s*\n\s*<", "><", markup.strip()))


_ICON: Final = """
    <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="{size}" height="{size}"
      fill="none" stroke="currentColor" stroke-width="2" aria-hidden="true">
    <path d="{lines}"/></svg>
"""
_SHEET: Final = "M6 2h8l4 4v16H6ZM14 2v4h4"  # of paper, its corner turned down
_ICONS: Final = {
    name: _in_one_line(_ICON).format(size=size, lines=lines)
    for name, size, lines in (
        ("sheet", 22, _SHEET),
        ("large_sheet", 28, _SHEET),
        ("down", 20, "M12 3v12m-5-5 5 5 5-5M4 20h16"),  # to have it
        ("up", 20, "M12 15V3M8 7l4-4 4 4M6 11H4v10h16V11h-2"),  # to pass it on
    )
}
_ACTIONS: Final = """
    <a class="btn message__action-btn hide-in-ios-pwa" href="{download_url}" download
      aria-label="Download {filename}">{down}</a>
    <button type="button" class="btn message__action-btn" data-share="{url}" hidden
      aria-label="Share {filename}">{up}</button>
"""
_MARKUP: Final = {
    "image": """
        <div class="attachment attachment--image max-inline-size center flex overflow-clip"{style}>
        <a href="{url}" class="flex" data-lightbox data-download-url="{download_url}"
          aria-label="View {filename}">{before}<img src="{src}"{sides} class="message__attachment"
          loading="lazy" decoding="async" alt="{filename}">{after}</a></div>
    """,
    "video": """
        <div class="attachment attachment--video max-inline-size center flex overflow-clip"{style}>
        <video src="{url}{start}"{poster} controls playsinline preload="{loads}"
          class="message__attachment" aria-label="{filename}"></video></div>
    """,
    "audio": """
        <div class="attachment attachment--audio"><span class="overflow-ellipsis">{filename}</span>
        <audio src="{url}" controls preload="none" aria-label="{filename}"></audio>{actions}</div>
    """,
    "file": """
        <div class="attachment attachment--file flex-inline align-center gap-half">{sheet}
        <span>{filename}</span> <span class="attachment__size">{size}</span>{actions}</div>
    """,
    "missing": """
        <div class="attachment attachment--missing flex-inline align-center gap-half">{large_sheet}
        <span>{filename}</span> <span class="txt-small">This file has not been moved here
        yet</span></div>
    """,
}


def file_element(file: AttachedFile) -> str:
    """A message's file as the room shows it, without a script of ours; a picture's or a film's box
    is there before it is."""
    about, (width, height) = file_json(file), _sides(file)
    told = {name: escape(str(value)) for name, value in about.items()} | _ICONS
    told["size"] = size_in_words(file.blob.byte_size)
    told["actions"] = _in_one_line(_ACTIONS).format(**told)
    across, down = (width, height) if width and height else _UNKNOWN_SIDES
    is_sized = across == width or file.kind is Kind.VIDEO
    style = f' style="width: {across / 2:g}px; aspect-ratio: {across / down:.4g};"'
    told |= {"src": told["still_url"], "before": "", "after": "", "poster": "", "start": "#t=0.1"}
    told |= {"style": style if is_sized else "", "loads": "metadata"}
    told["sides"] = f' width="{width}" height="{height}"' if width else ""
    if file.is_animated and file.blob.byte_size <= _MOVING_BYTES:
        still = f'srcset="{told["still_url"]}" media="(prefers-reduced-motion: reduce)"'
        told |= {"src": told["url"], "before": f"<picture><source {still}>", "after": "</picture>"}
    elif file.is_animated:
        told["after"] = '<span class="attachment__label">GIF</span>'
    if file.still:
        told |= {"poster": f' poster="{told["still_url"]}"', "start": "", "loads": "none"}
    shown = "missing" if file.is_missing else file.kind.value
    if shown == "image" and not about["still_url"]:
        shown = "file"
    return _in_one_line(_MARKUP[shown]).format(**told)


# --- How a message shows a page that it links to ---

PREVIEW_TYPE: Final = "application/vnd.actiontext.opengraph-embed"
MOST_TITLE, MOST_DESCRIPTION, MOST_ADDRESS = 280, 560, 2_048
_WEB_HOST: Final = re.compile(  # as browsers find it, to whom a backslash is a slash
    r"https?://(?:[^/\\?#\s]*@)?(\[[0-9a-f:.]+\]|[^/\\?#\s@:\[\]]+)", re.IGNORECASE
)
_PREVIEW_PICTURE: Final = re.compile(f"/previews/({_KEY.pattern})")
_POST: Final = re.compile(  # of one network, by either of its names
    r"https?://(?:www\.)?(?:x|twitter)\.com(/[^?#]*).*", re.IGNORECASE | re.DOTALL
)
_CARD: Final = """
    <div class="og-embed gap{face}"><div class="og-embed__content">
    <div class="og-embed__host">{host}</div><div class="og-embed__title">
    <a href="{url}" target="_blank"
      rel="noopener noreferrer">{title}</a></div>{words}</div>{shown}</div>
"""
_CARD_WORDS: Final = '<div class="og-embed__description">{description}</div>'
_CARD_PICTURE: Final = """
    <div class="og-embed__image"><img src="{image}"{sides} class="image center" alt=""
      loading="lazy" decoding="async"></div>
"""


def web_host(address: str) -> str:
    """The host of a page's address; nothing of anything else."""
    host = _WEB_HOST.match(address)
    return host[1].lower() if host else ""


def pictures_in(source: str) -> list[str]:
    """The addresses of pictures of ours that a source speaks of, right or wrong."""
    return [picture[0] for picture in _PREVIEW_PICTURE.finditer(source)]


def preview_of(address: str, title: str, description: str, image: str) -> Preview | None:
    """A page as somebody describes it, made fit to be shown; None if it is no page of the web."""
    url = one_line(address, len(address))
    if not (host := web_host(url)):
        return None
    words = one_line(description, MOST_DESCRIPTION) or None
    picture = image if _PREVIEW_PICTURE.fullmatch(image) else None
    return Preview(url, one_line(title, MOST_TITLE) or host, words, picture)


def is_address_of(text: str, preview: Preview) -> bool:
    """Whether a text says nothing but where a page is; a post has several addresses."""
    bare = (_POST.sub(r"https://x.com\1", it.strip()) for it in (text, preview.url))
    return len({address.removesuffix("/") for address in bare}) == 1


def preview_card(preview: Preview) -> str:
    """A page as the room and the editor show it; the picture's box is there before it is."""
    told = {name: escape(str(value)) for name, value in asdict(preview).items()}
    told["host"] = escape(web_host(preview.url).removeprefix("www."))
    width, height = preview.image_width, preview.image_height
    told["sides"] = f' width="{width}" height="{height}"' if width else ""
    told["face"] = " cf-twitter-avatar" if preview.portrait else ""
    told["words"] = _CARD_WORDS.format(**told) if preview.description else ""
    told["shown"] = _in_one_line(_CARD_PICTURE).format(**told) if preview.image else ""
    return _in_one_line(_CARD).format(**told)


# === 6. schema ================================================================
# Every table, once. What the database can hold as a rule is a constraint here
# and not an `if` elsewhere. Migrations are numbered functions, run in order.
#
# Owns      schema_version
# Raises    DatabaseUnusable
# ==============================================================================

_TABLES: Final = """
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT;

CREATE TABLE secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE accounts (
  id INTEGER PRIMARY KEY CHECK (id = 1),  -- a singleton: the first-run race is decided here
  name TEXT NOT NULL,
  join_code TEXT NOT NULL,
  custom_styles TEXT,
  settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  email_address TEXT UNIQUE,
  password_digest TEXT,
  bio TEXT,
  role INTEGER NOT NULL DEFAULT 0 CHECK (role IN (0, 1, 2)),
  status INTEGER NOT NULL DEFAULT 0 CHECK (status IN (0, 1, 2)),
  bot_token TEXT UNIQUE,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK (role = 2 OR bot_token IS NULL)
) STRICT;
CREATE INDEX users_by_status_name ON users (status, lower(name));

CREATE TABLE webhooks (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL UNIQUE REFERENCES users(id) ON DELETE CASCADE,
  url TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  token_hash BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
  ip_address TEXT,
  user_agent TEXT,
  last_active_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);

CREATE TABLE used_transfers (nonce TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT;

CREATE TABLE bans (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  ip_address TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (ip_address, user_id)
) STRICT;
CREATE INDEX bans_by_user ON bans (user_id);

CREATE TABLE rooms (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  type TEXT NOT NULL CHECK (type IN ('open', 'closed', 'direct')),
  name TEXT,
  creator_id INTEGER NOT NULL REFERENCES users(id),
  direct_key TEXT UNIQUE,  -- ascending user ids joined by ',' for direct rooms
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK (type = 'direct' OR (direct_key IS NULL AND name IS NOT NULL))
) STRICT;
CREATE INDEX rooms_by_created ON rooms (created_at, id);

CREATE TABLE memberships (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  room_id INTEGER NOT NULL REFERENCES rooms(id) ON DELETE CASCADE,
  user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  involvement TEXT NOT NULL DEFAULT 'mentions'
    CHECK (involvement IN ('invisible', 'nothing', 'mentions', 'everything')),
  unread_at INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (room_id, user_id)
) STRICT;
CREATE INDEX memberships_by_user ON memberships (user_id, room_id);
CREATE INDEX memberships_unread ON memberships (user_id) WHERE unread_at IS NOT NULL;

CREATE TABLE messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  room_id INTEGER NOT NULL REFERENCES rooms(id) ON DELETE CASCADE,
  creator_id INTEGER NOT NULL REFERENCES users(id),
  client_message_id TEXT NOT NULL,
  body_html TEXT NOT NULL DEFAULT '',
  body_text TEXT NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (client_message_id, room_id)  -- Gap #1
) STRICT;
CREATE INDEX messages_page ON messages (room_id, created_at, id);
CREATE INDEX messages_changed ON messages (room_id, updated_at);
CREATE INDEX messages_by_creator ON messages (creator_id);

CREATE TABLE mentions (
  message_id INTEGER NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
  user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  PRIMARY KEY (message_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE boosts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id INTEGER NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
  booster_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  content TEXT NOT NULL CHECK (length(content) BETWEEN 1 AND 16),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX boosts_by_message ON boosts (message_id, created_at, id);
CREATE INDEX boosts_by_booster ON boosts (booster_id);

CREATE TABLE message_tombstones (  -- Gap #2: what was deleted, kept for 7 days
  message_id INTEGER PRIMARY KEY,
  room_id INTEGER NOT NULL REFERENCES rooms(id) ON DELETE CASCADE,
  client_message_id TEXT NOT NULL,
  deleted_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tombstones_by_room ON message_tombstones (room_id, deleted_at);

CREATE TABLE searches (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  query TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (user_id, query)
) STRICT;
CREATE INDEX searches_recent ON searches (user_id, updated_at);

CREATE TABLE push_subscriptions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  endpoint TEXT NOT NULL,
  p256dh_key TEXT NOT NULL,
  auth_key TEXT NOT NULL,
  user_agent TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (user_id, endpoint, p256dh_key, auth_key)
) STRICT;

CREATE TABLE attachments (  -- for v2.0; only an import fills it
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id INTEGER NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
  blob_key TEXT NOT NULL,
  filename TEXT NOT NULL,
  content_type TEXT,
  byte_size INTEGER NOT NULL,
  checksum TEXT,
  metadata TEXT,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX attachments_by_message ON attachments (message_id);
"""
# What is said, and about what: the room, the author, both together and what a message has stand
# there as words of their own, and so every filter of a search is one more list to go through.
SEARCH_INDEX: Final = (
    "CREATE VIRTUAL TABLE message_search_index USING fts5(body, about, tokenize='porter unicode61')"
)
APPLICATION_ID: Final = int.from_bytes(b"Camp", "big")  # in the header of each of our files

_SINCE_1_1: Final = """
ALTER TABLE schema_version ADD COLUMN release TEXT;

-- the name as it is looked for
ALTER TABLE users ADD COLUMN folded TEXT NOT NULL DEFAULT '';
ALTER TABLE rooms ADD COLUMN folded TEXT NOT NULL DEFAULT '';
DROP INDEX users_by_status_name;
CREATE INDEX users_by_status_name ON users (status, folded);
CREATE INDEX users_bots ON users (status, folded) WHERE role = 2;

-- whether a ban would cover an administrator
CREATE INDEX sessions_by_address ON sessions (ip_address);
-- from where somebody signed in, for 30 days
CREATE TABLE sign_ins (
  user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  ip_address TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (user_id, ip_address)
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_ins_by_time ON sign_ins (at);
INSERT INTO sign_ins (user_id, ip_address, at)
  SELECT user_id, ip_address, max(last_active_at)
  FROM sessions
  WHERE ip_address != ''
  GROUP BY user_id, ip_address;
CREATE INDEX users_by_cost ON users (substr(password_digest, 5, 2));
ALTER TABLE users ADD COLUMN email_folded TEXT;
CREATE INDEX users_by_email ON users (email_folded);
-- how telling a browser ended the last time
ALTER TABLE push_subscriptions ADD COLUMN last_tried_at INTEGER;
ALTER TABLE push_subscriptions ADD COLUMN last_status INTEGER;
ALTER TABLE push_subscriptions ADD COLUMN last_problem TEXT;
-- a room's order is that of its ids: a clock that was wrong for an hour disturbs nothing
DROP INDEX messages_page;
CREATE INDEX messages_page ON messages (room_id, id, created_at);
"""

_SINCE_2_0: Final = """
DROP VIEW IF EXISTS people;
CREATE TABLE blobs (  -- one file in the store; never changed, but for the bytes that come later
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL UNIQUE CHECK (length(key) BETWEEN 20 AND 64 AND key NOT GLOB '*[^a-z0-9]*'),
  byte_size INTEGER NOT NULL CHECK (byte_size >= 0),
  sha256 BLOB CHECK (length(sha256) = 32),  -- NULL: its bytes have not been moved here yet
  content_type TEXT NOT NULL,  -- ours, never the sender's word
  awaited TEXT,  -- JSON: what another Campfire says of what is still in its folder
  created_at INTEGER NOT NULL
) STRICT;

ALTER TABLE attachments RENAME TO attachments_of_1;
CREATE TABLE attachments (  -- the file of a message, whose text is empty
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id INTEGER NOT NULL UNIQUE REFERENCES messages(id) ON DELETE CASCADE,
  blob_id INTEGER NOT NULL UNIQUE REFERENCES blobs(id),
  still_id INTEGER UNIQUE REFERENCES blobs(id),  -- what the room shows of a picture or a film
  still_state INTEGER NOT NULL DEFAULT 0
    CHECK (still_state IN (0, 1, 2)),  -- not tried, there, impossible
  still_width INTEGER CHECK (still_width BETWEEN 1 AND 65535),
  still_height INTEGER CHECK (still_height BETWEEN 1 AND 65535),
  filename TEXT NOT NULL CHECK (length(CAST(filename AS BLOB)) BETWEEN 1 AND 255),
  kind TEXT NOT NULL CHECK (kind IN ('image', 'video', 'audio', 'file')),
  width INTEGER CHECK (width BETWEEN 1 AND 65535),
  height INTEGER CHECK (height BETWEEN 1 AND 65535),
  duration_ms INTEGER CHECK (duration_ms >= 0),
  animated INTEGER NOT NULL DEFAULT 0 CHECK (animated IN (0, 1)),
  created_at INTEGER NOT NULL,
  CHECK ((width IS NULL) = (height IS NULL)),
  CHECK ((still_state = 1) = (still_id IS NOT NULL)),
  CHECK ((still_id IS NULL) = (still_width IS NULL)),
  CHECK ((still_id IS NULL) = (still_height IS NULL))
) STRICT;

ALTER TABLE users ADD COLUMN avatar_id INTEGER REFERENCES blobs(id);
ALTER TABLE accounts ADD COLUMN logo_id INTEGER REFERENCES blobs(id);
ALTER TABLE accounts ADD COLUMN logo_small_id INTEGER REFERENCES blobs(id);
CREATE UNIQUE INDEX users_by_avatar ON users (avatar_id) WHERE avatar_id IS NOT NULL;
CREATE UNIQUE INDEX accounts_by_logo ON accounts (logo_id);
CREATE UNIQUE INDEX accounts_by_small_logo ON accounts (logo_small_id);

CREATE TABLE preview_pictures (
  blob_id INTEGER PRIMARY KEY REFERENCES blobs(id),
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  portrait INTEGER NOT NULL DEFAULT 0,
  fetched_at INTEGER NOT NULL
) STRICT;
CREATE TABLE message_pictures (  -- which messages show which picture of a preview
  message_id INTEGER NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
  blob_id INTEGER NOT NULL REFERENCES preview_pictures(blob_id),
  PRIMARY KEY (message_id, blob_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_pictures_by_blob ON message_pictures (blob_id);

-- files to be removed, and uploads under way
CREATE TABLE doomed_blobs (key TEXT PRIMARY KEY, unlink_after INTEGER NOT NULL)
  STRICT, WITHOUT ROWID;
"""
_SINCE_2_1: Final = """
DROP VIEW IF EXISTS said;
DROP VIEW IF EXISTS room_rows;
ALTER TABLE memberships ADD COLUMN starred_at INTEGER;
-- between which ids the messages of some days lie
CREATE INDEX messages_by_day ON messages (created_at / 86400000000, id);
ALTER TABLE messages ADD COLUMN edited_at INTEGER;
ALTER TABLE messages ADD COLUMN edited_by INTEGER REFERENCES users(id);
ALTER TABLE messages ADD COLUMN to_everyone INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_to_everyone ON messages (room_id, created_at) WHERE to_everyone = 1;
ALTER TABLE rooms ADD COLUMN topic TEXT CHECK (length(topic) <= 200);
ALTER TABLE webhooks ADD COLUMN events INTEGER NOT NULL DEFAULT 0 /* bits of BotEvent */;
ALTER TABLE webhooks ADD COLUMN secret TEXT;
CREATE INDEX mentions_by_user ON mentions (user_id, message_id);  -- whom, the newest first
"""
_PLACEHOLDER: Final = "📎 {} — File attachments are coming in v2.0"  # in the words of 1.x's import

# What the records are made of, field by field: a person, a message as it was said, a room as one of
# its members has it, a browser that wants to be told. A version that changes one drops it first.
# All of this runs whenever a database is opened.
_MADE_GOOD: Final = """
CREATE VIEW IF NOT EXISTS people AS
  SELECT id, name, email_address, coalesce(bio, '') AS bio, role, status, created_at, updated_at,
    folded, avatar_id
  FROM users;
CREATE VIEW IF NOT EXISTS said AS
  SELECT id, room_id, creator_id, client_message_id, body_html, body_text, created_at, updated_at,
    edited_at, edited_by, to_everyone
  FROM messages;
CREATE VIEW IF NOT EXISTS attached AS
  SELECT blob.id AS blob_id, blob.key, blob.byte_size, blob.sha256, blob.content_type, still_id,
    still.key AS still_key, still.byte_size AS still_size, still.sha256 AS still_sha256,
    still.content_type AS still_type, attachments.id, message_id, still_state, filename, width,
    height, still_width, still_height, duration_ms, kind, animated AS is_animated
  FROM attachments
  JOIN blobs AS blob ON blob.id = blob_id
  LEFT JOIN blobs AS still ON still.id = still_id;
CREATE VIEW IF NOT EXISTS room_rows AS
  SELECT rooms.id, type, name, creator_id, rooms.created_at, rooms.updated_at, topic, user_id,
    involvement, unread_at, starred_at
  FROM memberships
  JOIN rooms ON rooms.id = room_id;
CREATE VIEW IF NOT EXISTS indexed AS
  SELECT messages.id, searchable(body_text) AS body,
    printf('r%d u%d r%du%d', room_id, creator_id, room_id, creator_id)
    || coalesce(' file ' || kind, '')
    || iif(instr(lower(body_html), 'http://') OR instr(lower(body_html), 'https://')
      OR instr(lower(body_html), 'www.'), ' link', '') AS about
  FROM messages
  LEFT JOIN attachments ON message_id = messages.id;
CREATE VIEW IF NOT EXISTS subscriptions AS
  SELECT id, user_id, endpoint, p256dh_key, auth_key, coalesce(user_agent, '') AS user_agent,
    created_at, updated_at, last_tried_at, last_status, last_problem
  FROM push_subscriptions;
CREATE VIEW IF NOT EXISTS barred AS  -- never where an administrator's session is
  SELECT ip_address
  FROM bans
  WHERE NOT EXISTS (
    SELECT 1
    FROM sessions
    JOIN users ON users.id = user_id AND status = 0 AND role = 1
    WHERE sessions.ip_address = bans.ip_address
  );
-- names and addresses as they are looked for: what an older version wrote, or somebody by hand
UPDATE users SET folded = fold(name) WHERE folded != fold(name);
UPDATE rooms SET folded = fold(name) WHERE name IS NOT NULL AND folded != fold(name);
UPDATE users SET email_folded = caseless(email_address)
WHERE email_folded IS NOT caseless(email_address);
"""


def _run_all(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def quoted(text: str) -> str:
    """A table's or column's name as SQL quotes it."""
    return '"' + text.replace('"', '""') + '"'


def execute(connection: sqlite3.Connection, /, *words: str, **values: object) -> sqlite3.Cursor:
    """Runs a statement whose table is known only once the file is open."""
    return connection.execute(" ".join(words), values)


def put(connection: sqlite3.Connection, table: str, values: Mapping[str, object]) -> int | None:
    """Stores a row as it is; its id. Raises sqlite3.IntegrityError when the table refuses it."""
    names, marks = ", ".join(map(quoted, values)), ", ".join(f":{name}" for name in values)
    words = f"INTO {quoted(table)} ({names}) VALUES ({marks})"
    return execute(connection, "INSERT", words, **values).lastrowid


def _take_over_files(connection: sqlite3.Connection) -> None:
    """What an import of 1.x noted of files: the first of each message that says nothing else. Its
    words are the name of its file from now on."""
    sql = """
        SELECT message_id, body_text, blob_key, filename, byte_size, metadata, old.created_at
        FROM attachments_of_1 AS old
        JOIN messages ON messages.id = message_id
        ORDER BY message_id, old.id
    """
    noted = connection.execute(sql).fetchall()
    left_out, keys = Counter[str](), set[str]()
    for (message_id, text), files in groupby(noted, itemgetter(0, 1)):
        (_, _, *about), *others = told = list(files)
        placeholders = " ".join(_PLACEHOLDER.format(file["filename"]) for file in told)
        if text.split() != placeholders.split():
            left_out["beside_text"] += len(told)
            continue
        left_out["beside_others"] += len(others)
        blob, file = noted_file(*about)
        blob["key"] = fresh_key() if blob["key"] in keys else blob["key"]
        keys.add(blob["key"])
        ids = {"message_id": message_id, "blob_id": put(connection, "blobs", blob)}
        put(connection, "attachments", file | ids)
        name = file["filename"]
        sql = "UPDATE messages SET body_html = '', body_text = :name WHERE id = :id"
        connection.execute(sql, {"id": message_id, "name": name})
    connection.execute("DROP TABLE attachments_of_1")
    if left_out.total():
        LOG.warning("files_left_out", extra={"fields": dict(left_out)})


# Number n is the n-th, beside the release that came with it; each runs once, all in one
# transaction.
_MIGRATIONS: Final = (
    ("1.0.0", _TABLES),
    ("1.1.0", f"PRAGMA application_id = {APPLICATION_ID};{_SINCE_1_1}"),
    ("2.0.0", _SINCE_2_0),
    ("2.1.0", _SINCE_2_1),
)
SCHEMA_VERSION: Final = len(_MIGRATIONS)
_WITH_FILES: Final = 3  # the first version that had a store


def schema_of(connection: sqlite3.Connection) -> int:
    """The schema of a database of ours; 0 when there is none. Raises DatabaseUnusable if newer."""
    tables = {name for (name, *_) in connection.execute("SELECT name FROM sqlite_schema")}
    if "schema_version" not in tables:
        return 0
    newest = connection.execute("SELECT * FROM schema_version ORDER BY version DESC").fetchone()
    version, _, *release = newest or (0, 0)
    if version > SCHEMA_VERSION:
        needed = f"Campfire {release[0]} or newer" if any(release) else "a newer Campfire"
        raise DatabaseUnusable(f"this database needs {needed}; this is {VERSION}")
    return int(version)


def rebuild_index(connection: sqlite3.Connection) -> int:
    """Makes the search index anew from what the messages say, however damaged it was; how many."""
    connection.create_function("searchable", 1, searchable, deterministic=True)
    connection.execute("DROP TABLE IF EXISTS message_search_index")
    connection.execute(SEARCH_INDEX)
    # Of a long list only the pages are read where a short one has something: small ones are quick.
    sql = "INSERT INTO message_search_index (message_search_index, rank) VALUES ('pgsz', 1000)"
    connection.execute(sql)
    sql = """
        INSERT INTO message_search_index (rowid, body, about)
        SELECT id, body, about FROM indexed ORDER BY id
    """
    count = connection.execute(sql).rowcount
    # In one piece: else the next thousands of messages pay for what is put together.
    sql = "INSERT INTO message_search_index (message_search_index) VALUES ('optimize')"
    connection.execute(sql)
    return count


def create_schema(connection: sqlite3.Connection, at: int = 0) -> None:
    """Brings the connection's database to the newest schema. Raises DatabaseUnusable if newer."""
    for name, function in (("fold", folded), ("caseless", caseless), ("searchable", searchable)):
        connection.create_function(name, 1, function, deterministic=True)
    connection.execute("BEGIN EXCLUSIVE")
    with connection:
        version = schema_of(connection)
        for _, statements in _MIGRATIONS[version:]:
            _run_all(connection, statements)
        if version < _WITH_FILES:
            _take_over_files(connection)
        for n, (release, _) in enumerate(_MIGRATIONS[version:], version + 1):
            put(connection, "schema_version", {"version": n, "applied_at": at, "release": release})
        _run_all(connection, _MADE_GOOD)
        sql = "SELECT 1 FROM sqlite_schema WHERE sql = :sql"
        if not connection.execute(sql, {"sql": SEARCH_INDEX}).fetchone():  # as older ones made it
            rebuild_index(connection)


# === 7. file ==================================================================
# The file on the disk: whose it is, before anything is done to it, who uses it, how
# it is opened, copied and put back. What is not ours is refused and not changed by a
# byte; so is what somebody serves, or what lies beside the log of another file. No
# function here that locks or looks may be called while this process has the file open:
# closing a file gives up the locks that SQLite holds on it for the whole process.
#
# A copy is taken in one step from one snapshot; it gets its name only once it is whole,
# checked and on the disk, so that a name never stands for half a copy. Nothing is ever
# written over: what is there already keeps its name.
#
# Raises    DatabaseUnusable, DatabaseForeign, DatabaseUnreadable, FileExistsError
# ==============================================================================

_MAGIC: Final = b"SQLite format 3\0"  # https://sqlite.org/fileformat.html, 1.3
_IN_WAL_MODE: Final = b"\2"  # the header's byte 18
_LOCK_TRIES: Final = 10  # for a command looks, for a moment, whether anybody has the lock
_LOCK_PAUSE: Final = 0.02  # seconds
READ_ONLY: Final = "mode=ro"
READ_WRITE: Final = "mode=rw"
IMMUTABLE: Final = "mode=ro&immutable=1"  # as if there were no log
BUSY_MS: Final = 5_000  # that a statement waits while somebody else holds the file
_GLANCE_STEPS: Final = 1_000  # of SQLite between two looks at the clock
_UNCLEAR: Final = frozenset((sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN))
_MEANINGS: Final = {
    sqlite3.SQLITE_FULL: DatabaseFull, sqlite3.SQLITE_READONLY: DatabaseReadonly,
    sqlite3.SQLITE_BUSY: DatabaseBusy, sqlite3.SQLITE_LOCKED: DatabaseBusy,
    sqlite3.SQLITE_INTERRUPT: DatabaseBusy,
}  # fmt: skip
# What a system says when it gives a file no second name, and a copy may do.
NO_LINKS: Final = (
    errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EPERM, errno.EACCES,
)  # fmt: skip
COPIED_AT_ONCE: Final = 1 << 20  # bytes
NUMBERS: Final = range(-2, -10_000, -1)  # behind names that are taken
RAILS_TABLES: Final = frozenset(("accounts", "users", "rooms", "memberships", "messages"))


def beside(path: Path, ending: str) -> Path:
    """What SQLite keeps beside a database: `-wal` and `-shm` stand where links lead to."""
    return Path(f"{path.resolve()}{ending}")


def _may(place: Path, needs: int) -> bool:
    return os.access(place, needs | (os.X_OK if place.is_dir() else 0))


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def whose(place: Path) -> str:
    """A sentence for whoever may not use a file or folder; its owner is named."""
    if os.access(place, os.F_OK) and os.statvfs(place).f_flag & os.ST_RDONLY:
        return f"{place} cannot be written: its file system is read-only"
    owner, me = _name_of(place.lstat().st_uid), _name_of(os.geteuid())
    if owner == me:
        return f"{place} belongs to {owner}, but its mode keeps {me} out: change it with chmod"
    return f"{place} belongs to {owner}, and {me} may not use it: run this as {owner}"


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder on the way to it that can be seen."""
    real = path.resolve()
    return next(place for place in (real, *real.parents) if os.access(place, os.F_OK))


def words_of(error: Exception) -> str:
    """An error in one line; where the system keeps somebody out, the owner is named."""
    if isinstance(error, PermissionError) and isinstance(error.filename, str):
        return whose(_nearest(Path(error.filename)))
    return str(error)


def require_access(path: Path) -> None:
    """Nothing, when a database can be written or made there. Raises DatabaseUnusable."""
    nearest = _nearest(path)
    for place in (nearest, nearest.parent if nearest.is_file() else nearest):
        if not _may(place, os.R_OK | os.W_OK):
            raise DatabaseUnusable(whose(place))


def _locked(path: Path, how: int) -> ExitStack:
    """Locks the file itself, until it is closed, under whatever name somebody opens it. Only Linux
    keeps these locks and SQLite's apart (flock(2)); Campfire 1.0 locked a file of its own."""
    older = Path(f"{path}.lock")
    places = [path, *([older] if older.exists() else [])] if sys.platform == "linux" else [older]
    mode = os.O_RDONLY if how == fcntl.LOCK_SH else os.O_RDWR | os.O_CREAT
    with ExitStack() as held:
        for place in places:
            opened = os.open(place, mode | os.O_CLOEXEC, 0o600)
            held.callback(os.close, opened)
            fcntl.flock(opened, how | fcntl.LOCK_NB)
        return held.pop_all()


def take_lock(path: Path) -> ExitStack:
    """Keeps every server away until it is closed. Raises BlockingIOError, OSError."""
    for _ in range(_LOCK_TRIES):
        with suppress(BlockingIOError):
            return _locked(path, fcntl.LOCK_EX)
        time.sleep(_LOCK_PAUSE)
    return _locked(path, fcntl.LOCK_EX)


def is_served(path: Path) -> bool:
    """Whether a server has the file."""
    with suppress(BlockingIOError):
        _locked(path, fcntl.LOCK_SH).close()
        return False
    return True


def left_a_log(path: Path) -> bool:
    """Whether there is a write-ahead log: a clean close folds it into the file."""
    log = beside(path, "-wal")
    return log.exists() and log.stat().st_size > 0


def is_interrupted(error: BaseException | None) -> bool:
    """Whether a statement took more than a glance, whatever was made of its error since."""
    while error is not None:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            return True
        error = error.__cause__ or error.__context__
    return False


def is_busy(error: Exception) -> bool:
    """Whether somebody else held the file for longer than we wait."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY


def in_words(error: sqlite3.Error, path: Path) -> StorageError:
    """A person's error for SQLite's; the technical words go to the log, once."""
    LOG.error("database_error", extra={"fields": {"problem": str(error)}})
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest only makes it more precise
    with suppress(OSError):
        if code in _UNCLEAR and not os.statvfs(path.parent).f_bavail:
            return DatabaseFull()
        if code in _UNCLEAR and not os.access(path, os.W_OK):
            return DatabaseReadonly()
    return _MEANINGS.get(code, DatabaseFailed)()


class Handle(sqlite3.Connection):
    """A connection to the file, as each of ours is opened."""

    until: float  # on the performance counter: when what the loop does here must end

    def give_up_after_a_glance(self) -> None:
        """For a connection that the loop uses itself."""
        self.execute("PRAGMA busy_timeout = 0")
        self.set_progress_handler(lambda: time.perf_counter() > self.until, _GLANCE_STEPS)


def open_file(path: Path, *, for_writing: bool = False, checkpoints: bool = False) -> Handle:
    handle = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Handle)
    handle.row_factory, handle.until = sqlite3.Row, math.inf
    settings = [f"busy_timeout = {BUSY_MS}", "foreign_keys = ON", "temp_store = MEMORY"]
    settings.append(f"wal_autocheckpoint = {1000 if checkpoints else 0}")
    settings += ["journal_mode = WAL", "synchronous = FULL"] if for_writing else ["query_only = ON"]
    try:
        for setting in settings:
            handle.execute(f"PRAGMA {setting}")
    except sqlite3.Error:
        handle.close()
        raise
    return handle


def connect(path: Path, how: str = READ_ONLY) -> sqlite3.Connection:
    """A connection that makes no file: to read only, or as `how` says."""
    uri = f"{path.resolve().as_uri()}?{how}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # the server alone checkpoints
    return connection


def _is_sound(path: Path, how: str) -> bool:
    with suppress(sqlite3.Error), closing(connect(path, how)) as connection:
        return bool(connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    return False


def cannot_read(path: Path, why: object) -> StorageError:
    """The error of a database that SQLite cannot read."""
    advice = "Look at it with `check --repair`, or `restore` a backup"
    return DatabaseUnreadable(f"{path} cannot be used ({why}). {advice}")


def _recognised(path: Path, mark: int, at: Path, how: str = READ_ONLY) -> int:
    """The schema of what is ours, read there; 0 when it is empty. Raises as `recognise` does."""
    with closing(connect(at, how)) as connection:
        listed = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        tables = {name for (name, *_) in listed}
        looks_alike = tables >= RAILS_TABLES
        is_ours = looks_alike and "schema_version" in tables
        if mark not in (0, APPLICATION_ID) or (tables and not mark and not looks_alike):
            raise DatabaseForeign(f"{path} is a database of another program, and is left alone")
        if tables and not mark and not is_ours:
            what = "the database of a Rails Campfire: `import` takes it over into a new one"
            raise DatabaseForeign(f"{path} is {what}")
        if mark and not is_ours:
            raise cannot_read(path, "tables are missing")
        try:
            return schema_of(connection)
        except DatabaseUnusable as error:
            raise DatabaseUnusable(str(error).replace("this database", str(path), 1)) from error


def put_at(source: Path, target: Path) -> None:
    """Gives a file a second name; bytes that never change can have many. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.hardlink_to(source)


def is_put_at(source: Path, target: Path) -> bool:
    """Does the same; False where there are no second names, and nothing is done. Raises OSError."""
    try:
        put_at(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return False
    return True


def _recognised_with_log(path: Path, mark: int) -> int:
    """What a file is whose log was left behind, if it is its own. Raises as `recognise` does. It is
    looked at under another name, beside which a copy of its log lies."""
    with tempfile.TemporaryDirectory(prefix=".campfire-", dir=path.parent) as folder:
        second = Path(folder) / path.name
        if not is_put_at(path, second):
            shutil.copyfile(path, second)
        shutil.copyfile(beside(path, "-wal"), f"{second}-wal")
        if _is_sound(second, READ_ONLY):
            return _recognised(path, mark, second)
    if _is_sound(path, IMMUTABLE):
        raise _beside_a_strange_log(path)
    raise cannot_read(path, "it is damaged")


def _beside_a_strange_log(path: Path) -> StorageError:
    log, index = beside(path, "-wal"), beside(path, "-shm")
    return DatabaseUnusable(
        f"{log} is the log of another file than {path}, and nothing was touched. If {path.name} is"
        f" a backup that was put there, remove {log.name} and {index.name}; if not, put the file"
        " back that was there before"
    )


def _look_into(path: Path) -> int:
    """What a file is. Raises as `recognise` does, and sqlite3.Error."""
    with path.open("rb") as opened:
        header = opened.read(100)
    mark = int.from_bytes(header[68:72], "big")
    if header and not header.startswith(_MAGIC):
        raise cannot_read(path, "it is no database")
    if is_served(path):
        if not beside(path, "-wal").exists():
            raise DatabaseUnusable(f"another Campfire is serving {path} under another name")
        return _recognised(path, mark, path)
    if left_a_log(path):
        if header[18:19] != _IN_WAL_MODE:  # it never had one
            raise _beside_a_strange_log(path)
        return _recognised_with_log(path, mark)
    return _recognised(path, mark, path, IMMUTABLE) if header else 0


def recognise(path: Path) -> int:
    """The schema of a Campfire's database; 0 where there is none yet, or an empty file. Raises
    DatabaseForeign, DatabaseUnreadable, DatabaseUnusable; nothing is changed."""
    if not _may(_nearest(path), os.R_OK):
        raise DatabaseUnusable(whose(_nearest(path)))
    if not path.exists():
        return 0
    if not path.is_file():
        raise DatabaseUnusable(f"{path} is no file: --db names the database file itself")
    try:
        return _look_into(path.resolve())
    except sqlite3.Error as error:
        raise cannot_read(path, error) from error


def require_database(path: Path) -> None:
    """Nothing, where a Campfire's database is. Raises as `recognise` does, and DatabaseUnusable."""
    if not recognise(path):
        raise DatabaseUnusable(f"there is no database at {path}")


def keep_private(path: Path) -> None:
    """Lets nobody but the owner read what was open to others; each is one line in the log."""
    files = [beside(path, ending) for ending in ("", "-wal", "-shm")]
    for place in (*files, path.parent / "backups"):
        with suppress(FileNotFoundError, PermissionError):
            mode = place.stat().st_mode & 0o777
            if mode & 0o077:
                place.chmod(mode & 0o700)
                fields = {"file": str(place), "was": f"{mode:04o}", "is": f"{mode & 0o700:04o}"}
                LOG.warning("made_private", extra={"fields": fields})


def stamp(at: float) -> str:
    """A moment as names of files carry it, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%d-%H%M%S")


def free_name(path: Path) -> Path:
    """This name, or the first like it that nothing has: `a.db`, `a-2.db`, `a-3.db`."""
    stem = path.name.removesuffix(".db")
    ending = path.name[len(stem) :]
    names = (path.with_name(f"{stem}{number}{ending}") for number in ("", *NUMBERS))
    return next(name for name in names if not os.path.lexists(name))


def sync(path: Path) -> None:
    """Sees that a file, or what is in a folder, is on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def growing(path: Path) -> Iterator[Path]:
    """A private file to write, which gets the name once it is finished, and only if it is free.
    After a power cut it is all there or not there. Raises FileExistsError."""
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already, and nothing is written over it")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.partial")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        yield part
        sync(part)
        if not is_put_at(part, path):  # which, unlike a rename, never replaces
            part.rename(path)
        sync(path.parent)
    finally:
        for left in (part, part.with_name(f"{part.name}-journal")):
            left.unlink(missing_ok=True)


def write_all(descriptor: int, piece: bytes | bytearray | memoryview) -> None:
    """Writes a piece, in as many steps as the system wants."""
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def copy_to(source: Path, target: Path) -> None:
    """Copies a file, down to the disk."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with source.open("rb") as opened, target.open("xb") as copy:
        shutil.copyfileobj(opened, copy, COPIED_AT_ONCE)
    sync(target)


def copy_database(source: Path, part: Path) -> None:
    """Copies a database, in use or not, into a file. Raises DatabaseUnusable."""
    try:
        with closing(connect(source)) as reader, closing(sqlite3.connect(part)) as copy:
            reader.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # in one file, without a log beside it
            verdict = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except sqlite3.Error as error:
        require_access(source)
        raise DatabaseUnusable(
            f"{source} cannot be copied ({error}). Look at it with `check --repair`."
        ) from error


def back_up(source: Path, destination: Path) -> None:
    """Copies a database under a new name. Raises DatabaseUnusable, and leaves nothing behind."""
    with growing(destination) as part:
        copy_database(source, part)


# === 8. db ====================================================================
# One file, one writer. Whatever changes the database is a plain function; what waits
# together commits together. Readers are five connections that cannot write. What
# takes no longer than a glance is done on the loop, for the way into a thread and
# back takes longer than most statements; every COMMIT, and whatever takes longer
# or has to wait, travels into a connection's own thread. SQLite before 3.51.3 may
# lose pages when one connection commits while another checkpoints, so the writer
# alone does both, and a lock file keeps a second server away (Gap #3).
#
# A function given to `read` or `write` may run twice: once here until it took more than
# a glance, and then from its beginning in a thread. What it returns and what it changes
# must come from its arguments and the database alone. And before a function of `write`
# runs, the right of whoever asks for it is looked at again, in the same transaction.
#
# Raises    DatabaseBusy, DatabaseFailed, DatabaseUnusable, RightChanged
# ==============================================================================

GROUP_SIZE: Final = 64  # jobs that share one COMMIT
_QUEUE_SIZE: Final = 10_000
_READERS: Final = 4  # and the connection for glances
_READ_SECONDS: Final = 2.0  # that a reader may spend on one question
_AGAIN: Final = 0.02  # seconds until a statement that was told to end is told again
_GLANCE: Final = 0.005  # seconds that the loop may spend on one
SETTLED_AFTER: Final = 60 * SECOND  # no commit takes a minute
# What chrony and ntpd put right by a step is seconds: moments then still only grow. Who sets a
# clock back by more than a minute puts it right, and is followed.
_SET_BACK: Final = 60 * SECOND
_JUMP: Final = 24 * 3600 * SECOND  # is worth a warning
_OLDEST_SQLITE: Final = (3, 38, 0)

Right = Callable[[ReadTx], None]
Reading: TypeAlias = Callable[Concatenate[ReadTx, P], T]
Writing: TypeAlias = Callable[Concatenate[WriteTx, Timestamp, P], T]


class RightChanged(Exception):
    """What a request was allowed to write for is no longer so; its guard asks anew."""


class TakesLong(Exception):
    """A glance finds that what follows is no matter of a glance."""


def row(tx: ReadTx, sql: str, **values: object) -> sqlite3.Row | None:
    """The first row, or None."""
    first: sqlite3.Row | None = tx.execute(sql, values).fetchone()
    return first


def rows(tx: ReadTx, sql: str, **values: object) -> list[sqlite3.Row]:
    """All rows; `[stored] = rows(…)` is the one that must be there."""
    return tx.execute(sql, values).fetchall()


def run(tx: WriteTx, sql: str, **values: object) -> int:
    """The number of rows changed."""
    return tx.execute(sql, values).rowcount


def insert(tx: WriteTx, sql: str, **values: object) -> int:
    """The id of the new row."""
    return tx.execute(sql, values).lastrowid or 0


def leave_the_loop(tx: ReadTx) -> None:
    """Nothing in a thread; on the loop the reading begins again in a thread of its own."""
    if isinstance(tx, Handle) and tx.until < math.inf:
        raise TakesLong


SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Histogram:
    """How often a value lay within each bound, and the sum of all: cheap to count."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.total = bounds, 0.0
        self.counts = [0] * (len(bounds) + 1)  # the last is for what is beyond

    def observe(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Link:
    """A connection and its thread, into which whole functions travel by `hop`. aiosqlite's public
    methods make one trip a statement; a transaction of ours is one function. Here alone its private
    name is known, and a test watches over it."""

    def __init__(self, raw: Handle) -> None:
        self.raw = raw  # for the loop to use while no function travels
        self.thread = aiosqlite.Connection(lambda: raw, iter_chunk_size=64)
        self.hop: Callable[..., Coroutine[Any, Any, Any]] = self.thread._execute  # noqa: SLF001 - see above


# None is the right of jobs, commands and the start, which nobody can withdraw.
_RIGHT: Final = ContextVar[Right | None]("right", default=None)


@contextmanager
def writing_by(right: Right) -> Iterator[None]:
    """Within, `write` does nothing unless `right` holds; it raises RightChanged if it does not.
    What is spawned within has a right of its own: that of the program."""
    before = _RIGHT.set(right)
    try:
        yield
    finally:
        _RIGHT.reset(before)


@dataclass(eq=False, slots=True)
class _Job(AbstractContextManager["_Job"]):
    """One function of a group, and what came of it. `with` keeps an error for its caller."""

    work: Callable[..., object]
    args: tuple[object, ...]
    more: dict[str, Any]
    right: Right | None
    done: asyncio.Future[Any]
    until: float  # on the performance counter: how long it may wait for a foreign lock
    result: object = None
    error: Exception | None = None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None


def _read(connection: Handle, work: Callable[[ReadTx], T]) -> T:
    connection.execute("BEGIN")  # one snapshot for all its statements
    try:
        return work(ReadTx(connection))
    finally:
        while connection.in_transaction:
            with suppress(sqlite3.OperationalError):  # whoever ends the question may hit this
                connection.execute("COMMIT")


class Database:
    """The file: `read` and `write` take functions, and run each in one transaction."""

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self.path = path
        self._clock = clock
        self._last = self._committed = 0
        self._clock_less_steady = 0  # changes only when somebody sets the clock
        self._lock: ExitStack | None = None  # of a server
        self._writer: Link | None = None
        self._readers: list[Link] = []
        self._idle: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        self._glance: Handle | None = None
        self.queue: asyncio.Queue[_Job | None] = asyncio.Queue(_QUEUE_SIZE)  # of the writer
        self._loop: asyncio.Task[None] | None = None
        self._group: list[_Job] = []  # at work
        self.is_broken = False
        self.on_broken: Callable[[], None] = lambda: None  # when there is no writer any more
        self.write_seconds, self.group_sizes = Histogram(SECONDS), Histogram(SIZES)
        self.committed_at = 0.0  # on the performance counter
        self._version, self._until_commit = math.nan, Memory[object, Any](0)

    async def open(self, *, is_server: bool = True) -> None:
        """Lock, check, migrate, and start. Raises DatabaseUnusable with one line of advice."""
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise DatabaseUnusable(f"SQLite {sqlite3.sqlite_version} is too old: 3.38 is needed")
        try:
            self._claim(is_server=is_server)
            await self._connect(is_server=is_server)
        except (OSError, sqlite3.Error, DatabaseUnusable) as error:
            await self.close()
            if isinstance(error, OSError):
                raise DatabaseUnusable(words_of(error)) from error
            if isinstance(error, DatabaseUnusable):
                raise
            if is_busy(error):
                raise DatabaseUnusable(f"{self.path} is locked by another program") from error
            raise cannot_read(self.path, error) from error
        self._loop = asyncio.create_task(self._write_forever())
        self._loop.add_done_callback(self._on_end)

    def _claim(self, *, is_server: bool) -> None:
        """Makes sure that the file is ours to use, before anything is done to it."""
        require_access(self.path)
        schema = recognise(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if is_server:
            try:
                self._lock = take_lock(self.path)
            except BlockingIOError as error:
                raise DatabaseUnusable(f"another Campfire is serving {self.path}") from error
        keep_private(self.path)
        if 0 < schema < SCHEMA_VERSION:
            if not is_server and is_served(self.path):
                raise DatabaseUnusable(f"an older Campfire is serving {self.path}: stop it first")
            copy = free_name(self.path.parent / "backups" / f"before-{SCHEMA_VERSION}.db")
            back_up(self.path, copy)
            LOG.info("backed_up_before_upgrade", extra={"fields": {"backup": str(copy)}})

    async def _connect(self, *, is_server: bool) -> None:
        self._writer = Link(open_file(self.path, for_writing=True, checkpoints=is_server))
        await self._writer.thread
        await self._writer.hop(self._prepare, self._writer.raw)
        self._writer.raw.give_up_after_a_glance()
        for _ in range(_READERS):
            self._readers.append(Link(open_file(self.path)))
            await self._readers[-1].thread
            self._idle.put_nowait(self._readers[-1])
        self._glance = open_file(self.path)
        self._glance.give_up_after_a_glance()

    def _prepare(self, connection: Handle) -> None:
        create_schema(connection, at := self._clock())
        self._last = connection.execute("SELECT max(updated_at) FROM rooms").fetchone()[0] or 0
        self._clock_less_steady = at - time.monotonic_ns() // 1000
        if self._last and abs(jump := at - self._last) > _JUMP:
            LOG.warning("clock_jumped", extra={"fields": {"by_s": jump // SECOND}})

    async def close(self) -> None:
        """Every queued write done, the log folded into the file, every thread ended."""
        if self._loop is not None:
            if not self.is_broken:
                await self.queue.put(None)
            await asyncio.wait([self._loop])
            self._loop = None
        while self._readers:
            await self._readers.pop().thread.close()
        if self._glance is not None:
            self._glance.close()
            self._glance = None
        if self._writer is not None:
            if self._lock:
                with suppress(sqlite3.Error, ValueError):
                    fold = "PRAGMA wal_checkpoint(TRUNCATE)"
                    await self._writer.hop(lambda raw: raw.execute(fold).close(), self._writer.raw)
            await self._writer.thread.close()
            self._writer = None
        if self._lock:
            self._lock.close()

    async def read(self, work: Reading[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What `work` finds in one snapshot. Raises what it raises, or a StorageError. It is tried
        here and now, for the way into a thread and back takes longer than to find what a request
        needs. What goes beyond a glance is given up, and a reader begins again."""
        try:
            return self.at_a_glance(work, *args, **named)
        except TakesLong:
            return await self.read_aside(lambda tx: work(tx, *args, **named))

    def at_a_glance(self, work: Reading[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What `work` finds here and now. Raises TakesLong, or as `read`."""
        glance = self._glance
        if glance is None:  # closed: nobody would ever answer
            raise DatabaseBusy
        try:
            glance.execute("BEGIN")
            glance.until = time.perf_counter() + _GLANCE
            try:
                return work(ReadTx(glance), *args, **named)
            finally:
                glance.until = math.inf
                glance.execute("COMMIT")
        except sqlite3.Error as error:
            if is_interrupted(error) or is_busy(error):
                raise TakesLong from error
            raise in_words(error, self.path) from error

    async def read_aside(self, work: Callable[[ReadTx], T], seconds: float = _READ_SECONDS, /) -> T:
        """As `read`, all of it in a reader's thread, and in so many seconds at most. When nobody
        waits for it any more, it ends. Raises DatabaseBusy when it takes too long."""
        if self._glance is None:
            raise DatabaseBusy
        reader = await self._idle.get()
        travel = asyncio.ensure_future(reader.hop(_read, reader.raw, work))
        end = asyncio.get_running_loop().call_later(seconds, self._end, reader, travel)
        travel.add_done_callback(partial(self._lend, reader, end))
        try:
            return cast(T, await asyncio.shield(travel))
        except asyncio.CancelledError:
            self._end(reader, travel)
            raise
        except sqlite3.Error as error:
            if is_interrupted(error):
                raise DatabaseBusy from error
            raise in_words(error, self.path) from error

    def _lend(self, reader: Link, end: asyncio.TimerHandle, travel: asyncio.Future[Any]) -> None:
        end.cancel()
        travel.exception()  # known to whoever still waited
        self._idle.put_nowait(reader)

    def _end(self, reader: Link, travel: asyncio.Future[T]) -> None:
        """Ends what a reader does, between two of its statements too; then it is lent again."""
        if not travel.done():
            reader.raw.interrupt()
            asyncio.get_running_loop().call_later(_AGAIN, self._end, reader, travel)

    async def write(self, work: Writing[P, T], *args: P.args, **more: P.kwargs) -> T:
        """What `work` returns, once it is committed; if it raises, nothing of it happened. `work`
        gets the moment of its commit: later than every one before, unless the clock was set back by
        more than a minute. Results come in commit order, so a caller that announces at once
        announces in commit order. Raises RightChanged if who asks may not any more (see
        `writing_by`)."""
        if self._loop is None or self._loop.done():  # closed: nobody would ever answer
            raise DatabaseBusy
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        until = time.perf_counter() + BUSY_MS / 1000
        try:
            self.queue.put_nowait(_Job(work, args, more, _RIGHT.get(), done, until))
        except asyncio.QueueFull as error:
            raise DatabaseBusy from error
        return await done

    def until_commit(self) -> Memory[object, Any]:
        """What is remembered until something is committed, here or by a command in a shell."""
        version = math.nan  # like no other
        with suppress(sqlite3.Error):
            if self._glance is not None:
                (version,) = self._glance.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version, self._until_commit = version, Memory(8_000_000)  # bytes
        return self._until_commit

    def now(self) -> Timestamp:
        """The moment, by the clock."""
        return Timestamp(self._clock())

    def settled_at(self) -> Timestamp:
        """A recent moment: all that a later read does not see yet will be later than this."""
        clock = self._clock()
        committed = self._committed if self._committed <= clock + _SET_BACK else 0
        return Timestamp(max(committed, clock - SETTLED_AFTER))

    async def _write_forever(self) -> None:
        stopping = False
        while not stopping or self._group:
            taken: list[_Job | None] = [*self._group] or [await self.queue.get()]
            while len(taken) < GROUP_SIZE and not self.queue.empty():
                taken.append(self.queue.get_nowait())
            stopping = stopping or None in taken
            group = self._group = [job for job in taken if job is not None]
            if group and self._writer is not None:
                await self._commit(self._writer, group)
            self._group = []
            for job in group:
                if isinstance(job.error, DatabaseBusy) and time.perf_counter() < job.until:
                    self._group.append(job)  # it found the file held by somebody else, and waits
                elif job.error and not job.done.done():
                    job.done.set_exception(job.error)
                elif not job.done.done():  # else its request is gone; what it did stands
                    job.done.set_result(job.result)

    def _on_end(self, writing: asyncio.Task[None]) -> None:
        """When the writer ended by anything but `close`, nobody waits for it for ever."""
        error = None if writing.cancelled() else writing.exception()
        if error is None and not writing.cancelled():
            return
        LOG.critical("writer_ended", exc_info=error)
        while not self.queue.empty():
            self._group += filter(None, (self.queue.get_nowait(),))
        for job in self._group:
            if not job.done.done():
                job.done.set_exception(DatabaseFailed())
        self.is_broken = True
        self.on_broken()

    async def _commit(self, writer: Link, group: list[_Job]) -> None:
        """Carries the group out, here and now if that takes no more than a glance."""
        began = time.perf_counter()
        try:
            try:
                self._carry_out(writer.raw, group, _GLANCE)
            except sqlite3.Error:
                await writer.hop(self._carry_out, writer.raw, group, math.inf)
            await writer.hop(writer.raw.execute, "COMMIT")
        except sqlite3.Error as error:
            if writer.raw.in_transaction:
                writer.raw.execute("ROLLBACK")
            refusal = in_words(error, self.path)
            for job in group:
                job.error = refusal
        for job in group:
            if isinstance(job.error, sqlite3.Error):
                job.error = in_words(job.error, self.path)
        self.committed_at, self._committed = time.perf_counter(), self._last
        self.write_seconds.observe(self.committed_at - began)
        self.group_sizes.observe(len(group))

    def _carry_out(self, connection: Handle, group: list[_Job], seconds: float) -> None:
        """All of the group but its COMMIT. Raises sqlite3.Error, and has done nothing then."""
        if seconds == math.inf:  # in the connection's own thread, which may wait for a foreign lock
            left = max(group[0].until - time.perf_counter(), 0)
            connection.execute(f"PRAGMA busy_timeout = {math.ceil(left * 1000)}")
        try:
            for apart in (False, True):  # a savepoint makes the index of words write what it would
                connection.execute("BEGIN IMMEDIATE")  # gather: there are none until a job fails
                if all(self._does(job, connection, seconds, apart=apart) for job in group):
                    break
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            connection.until = math.inf
            if seconds == math.inf:
                connection.execute("PRAGMA busy_timeout = 0")

    def _does(self, job: _Job, connection: Handle, seconds: float, *, apart: bool) -> bool:
        """Whether what was done for a job may stay: all of it, or, apart, what it did not fail."""
        tx, clock = WriteTx(ReadTx(connection)), self._clock()
        less_steady = clock - time.monotonic_ns() // 1000
        if abs(jump := less_steady - self._clock_less_steady) > _JUMP:
            LOG.warning("clock_jumped", extra={"fields": {"by_s": jump // SECOND}})
        self._clock_less_steady = less_steady
        # Later than the last moment, unless the clock was set back by more than a little.
        self._last = clock if self._last > clock + _SET_BACK else max(self._last + 1, clock)
        connection.until = time.perf_counter() + seconds
        if apart:
            connection.execute("SAVEPOINT job")
        with job:
            if job.right:
                job.right(tx)
            job.result = job.work(tx, Timestamp(self._last), *job.args, **job.more)
        if not connection.in_transaction or (job.error and is_interrupted(job.error)):
            why = job.error if isinstance(job.error, sqlite3.Error) else None
            raise why or sqlite3.OperationalError("transaction lost")  # by a full disk
        if apart and job.error:
            connection.execute("ROLLBACK TO job")
        return apart or not job.error


# === 9. store =================================================================
# Files lie in a folder beside the database, one for each row of `blobs`, under names that
# nobody guesses; once there, none is ever changed. A file is whole, on the disk and in its
# place before the row that speaks of it is committed, and its row is gone an hour before
# the file is. So at every instant a file has a row, in `blobs` or among the doomed, and
# what `blobs` knows the bytes of is there; what a crash leaves behind is swept up.
#
# Files are written, hashed and removed in one thread of their own. How much is stored
# SQLite itself says: a number beside it would have to follow every rollback.
#
# Owns      attachments, blobs, doomed_blobs, preview_pictures, message_pictures
# Raises    AttachmentNotFound, FileTooLarge, StorageFull, TooManyUploads
# ======================================================================================

_GRACE: Final = 3_600 * SECOND  # from a row's end to its file's: a backup may still want it
_UNFINISHED: Final = 24 * 3_600 * SECOND  # after which what a crash left is removed
_LOOK_EVERY: Final = 8 << 20  # bytes of a file that are not on the disk yet, nor room looked for
_LEAST_RESERVE: Final = 512 << 20
_RESERVED_PART: Final = 20  # of the file system, one part
_SWEPT_AT_ONCE: Final = 500
_MOST_UPLOADS: Final = 16
_UPLOADS_OF_ONE: Final = 3
_ANSWER_SECONDS: Final = 2  # for a disk to say how it is
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATING: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def path_in(folder: Path, key: str) -> Path:
    """Where a file of the store lies: its key is from a row, never from a request."""
    return folder / key[:2] / key[2:4] / key


def _expect(tx: WriteTx, at: Timestamp, keys: Iterable[str], time_left: int) -> None:
    """Lets the sweeper have files after that time, should no row speak of them then."""
    sql = "INSERT INTO doomed_blobs (key, unlink_after) SELECT value, :after FROM json_each(:keys)"
    run(tx, sql, keys=as_list(keys), after=at + time_left)


def _is_expected(tx: WriteTx, _: Timestamp, key: str) -> bool:
    """Whether no row speaks of a file. As a write it comes after all that were asked for before."""
    return row(tx, "SELECT 1 FROM doomed_blobs WHERE key = :key", key=key) is not None


def _forget(tx: WriteTx, _: Timestamp, keys: Sequence[str]) -> int:
    """Lets the sweeper forget files, that are gone or have a row; how many it knew."""
    sql = "DELETE FROM doomed_blobs WHERE key IN (SELECT value FROM json_each(:keys))"
    return run(tx, sql, keys=as_list(keys))


def store_blob(tx: WriteTx, at: Timestamp, stored: StoredFile) -> int:
    """The id of a file's row, for its owner in the same transaction; the file stays from now on."""
    if not _forget(tx, at, [stored.key]):
        raise LookupError(f"blob {stored.key[:4]}… was given up")
    sql = """
        INSERT INTO blobs (key, byte_size, sha256, content_type, created_at)
        VALUES (:key, :byte_size, :sha256, :content_type, :at)
    """
    return insert(tx, sql, **asdict(stored), at=at)


def attach(tx: WriteTx, at: Timestamp, message_id: MessageId, file: NewFile) -> None:
    """Gives a message its file."""
    blob_id = store_blob(tx, at, file.stored)
    still_id = store_blob(tx, at, file.still) if file.still else None
    state, kind = 1 if still_id else 0 if file.is_untried else 2, kind_of(file.stored.content_type)
    made = {"message_id": message_id, "blob_id": blob_id, "still_id": still_id, "at": at}
    sql = """
        INSERT INTO attachments
          (message_id, blob_id, still_id, still_state, still_width, still_height, filename, kind,
          width, height, duration_ms, animated, created_at)
        VALUES
          (:message_id, :blob_id, :still_id, :state, :still_width, :still_height, :filename, :kind,
          :width, :height, :duration_ms, :is_animated, :at)
    """
    run(tx, sql, **asdict(file), **made, state=state, kind=kind)


def note_still(
    tx: WriteTx, at: Timestamp, file: AttachedFile, stored: StoredFile | None, still: Still | None
) -> AttachedFile:
    """The file with its still, or the word that none can be made. Raises AttachmentNotFound."""
    blob_id = store_blob(tx, at, stored) if stored else None
    names = ("width", "height", "still_width", "still_height", "is_animated")
    learnt = {name: getattr(still, name, None) for name in names}
    sql = """
        UPDATE attachments
        SET still_id = :blob_id, still_state = iif(:blob_id IS NULL, 2, 1),
          still_width = :still_width, still_height = :still_height,
          width = coalesce(:width, width), height = coalesce(:height, height),
          animated = coalesce(:is_animated, animated)
        WHERE id = :id AND still_state = 0
    """
    if not run(tx, sql, id=file.id, blob_id=blob_id, **learnt):
        raise AttachmentNotFound
    return file_by_id(tx, file.id)


def note_bytes(tx: WriteTx, _: Timestamp, blob_id: int, sha256: bytes, content_type: str) -> bool:
    """Notes that a file lies in its place now, and what it is; whether its row waited for it."""
    sql = """
        UPDATE blobs
        SET sha256 = :sha256, content_type = :content_type,
          awaited = iif(json_extract(awaited, '$.poster') IS NULL, NULL, awaited)
        WHERE id = :id AND sha256 IS NULL
    """
    if not run(tx, sql, id=blob_id, sha256=sha256, content_type=content_type):
        return False
    kind = kind_of(content_type)
    has_sides = kind in (Kind.IMAGE, Kind.VIDEO)
    is_drawn = kind is Kind.VIDEO or content_type in DRAWN_TYPES  # now or later
    sql = """
        UPDATE attachments
        SET kind = :kind, still_state = iif(still_id IS NULL, :state, 1),
          width = iif(:has_sides, width, NULL), height = iif(:has_sides, height, NULL)
        WHERE blob_id = :id
    """
    run(tx, sql, id=blob_id, kind=kind, has_sides=has_sides, state=0 if is_drawn else 2)
    return True


def stop_waiting(tx: WriteTx, _: Timestamp, blob_id: int) -> None:
    """Nothing more of a file is elsewhere."""
    run(tx, "UPDATE blobs SET awaited = NULL WHERE id = :id", id=blob_id)


def doom(tx: WriteTx, at: Timestamp, blob_ids: Iterable[int]) -> None:
    """Ends the rows of files, whose owners are gone or have others; the files end after an hour."""
    ids = as_list(blob_ids)
    sql = "DELETE FROM preview_pictures WHERE blob_id IN (SELECT value FROM json_each(:ids))"
    run(tx, sql, ids=ids)
    sql = "DELETE FROM blobs WHERE id IN (SELECT value FROM json_each(:ids)) RETURNING key"
    _expect(tx, at, chain.from_iterable(rows(tx, sql, ids=ids)), _GRACE)


def doom_files_of(tx: WriteTx, at: Timestamp, message_ids: Iterable[MessageId]) -> None:
    """Takes the files from messages that are about to be deleted."""
    sql = """
        DELETE FROM attachments
        WHERE message_id IN (SELECT value FROM json_each(:ids))
        RETURNING blob_id, still_id
    """
    owned = rows(tx, sql, ids=as_list(message_ids))
    doom(tx, at, filter(None, chain.from_iterable(owned)))


def _file_in(attached: sqlite3.Row) -> AttachedFile:
    """The file in a row of the view."""
    still = Blob(*attached[5:10]) if attached["still_id"] else None
    *told, kind, is_animated = attached[10:]
    told += Kind(kind), bool(is_animated)
    return AttachedFile(Blob(*attached[:5]), still, *told)


def files_of(tx: ReadTx, message_ids: Iterable[MessageId]) -> dict[MessageId, AttachedFile]:
    """The files of these messages, by message; most have none."""
    sql = "SELECT * FROM attached WHERE message_id IN (SELECT value FROM json_each(:ids))"
    attached = rows(tx, sql, ids=as_list(message_ids))
    return {file.message_id: file for file in map(_file_in, attached)}


def file_by_id(tx: ReadTx, attachment_id: int) -> AttachedFile:
    """One file. Raises AttachmentNotFound."""
    attached = row(tx, "SELECT * FROM attached WHERE id = :id", id=attachment_id)
    if attached is None:
        raise AttachmentNotFound
    return _file_in(attached)


def keep_preview_picture(
    tx: WriteTx, at: Timestamp, stored: StoredFile, width: int, height: int, *, is_portrait: bool
) -> None:
    """Gives the picture of a page a row; it goes if no message shows it for a day."""
    blob_id = store_blob(tx, at, stored)
    sql = """
        INSERT INTO preview_pictures (blob_id, width, height, portrait, fetched_at)
        VALUES (:blob_id, :width, :height, :portrait, :at)
    """
    run(tx, sql, blob_id=blob_id, width=width, height=height, portrait=is_portrait, at=at)


def show_pictures(tx: WriteTx, message_id: MessageId, previews: Iterable[Preview]) -> None:
    """Notes whose pictures a message shows: those of these pages, and no others any more."""
    run(tx, "DELETE FROM message_pictures WHERE message_id = :id", id=message_id)
    keys = as_list({Path(preview.image).name for preview in previews if preview.image})
    sql = """
        INSERT INTO message_pictures (message_id, blob_id)
        SELECT :id, blob_id
        FROM blobs
        JOIN preview_pictures ON blob_id = blobs.id
        WHERE key IN (SELECT value FROM json_each(:keys))
    """
    run(tx, sql, id=message_id, keys=keys)


def standing_pictures(tx: ReadTx, pictures: Iterable[str]) -> Pictures:
    """Those of these pictures of pages that there are."""
    sql = """
        SELECT '/previews/' || key, width, height, portrait
        FROM blobs
        JOIN preview_pictures ON blob_id = blobs.id
        WHERE key IN (SELECT value FROM json_each(:keys))
    """
    found = rows(tx, sql, keys=as_list({Path(picture).name for picture in pictures}))
    return {picture: (width, height, bool(portrait)) for picture, width, height, portrait in found}


def preview_picture(tx: ReadTx, key: str) -> Blob:
    """The picture of a page. Raises AttachmentNotFound."""
    sql = """
        SELECT id, key, byte_size, sha256, content_type
        FROM blobs
        JOIN preview_pictures ON blob_id = id
        WHERE key = :key
    """
    picture = row(tx, sql, key=key)
    if picture is None:
        raise AttachmentNotFound
    return Blob(*picture)


def _due(tx: ReadTx, now: Timestamp, busy: Sequence[str]) -> list[str]:
    sql = """
        SELECT key FROM doomed_blobs
        WHERE unlink_after <= :now AND key NOT IN (SELECT value FROM json_each(:busy))
        LIMIT :most
    """
    return [key for (key,) in rows(tx, sql, now=now, busy=as_list(busy), most=_SWEPT_AT_ONCE)]


def _doom_unshown(tx: WriteTx, at: Timestamp) -> None:
    """Dooms pictures of previews that no message has shown for a day."""
    sql = """
        SELECT blob_id FROM preview_pictures
        WHERE fetched_at <= :before AND blob_id NOT IN (SELECT blob_id FROM message_pictures)
        LIMIT :most
    """
    unshown = rows(tx, sql, before=at - _UNFINISHED, most=_SWEPT_AT_ONCE)
    doom(tx, at, chain.from_iterable(unshown))


class Spool:
    """A file on its way in: its bytes are counted and hashed as they come."""

    def __init__(self, folder: Path, expected: int, most: int) -> None:
        self.key = fresh_key()
        self.path, self.place = folder / "incoming" / self.key, path_in(folder, self.key)
        self.most, self.expected = most, expected  # bytes, as far as anybody says so beforehand
        self.size = 0
        self.head = b""  # by which its type is told
        self._hash = hashlib.sha256()
        self._opened: io.FileIO | None = None

    def open(self) -> None:
        self._opened = io.FileIO(os.open(self.path, _CREATING, 0o600), "r+")

    def reading(self) -> io.FileIO:
        """What came so far, for the workshop to read."""
        return io.FileIO(os.open(self.path, _READING))

    def fileno(self) -> int:
        """For the workshop to write to."""
        return cast(io.FileIO, self._opened).fileno()

    def write(self, piece: bytes) -> None:
        write_all(self.fileno(), piece)
        self.head += piece[: HEAD_BYTES - len(self.head)]
        self._hash.update(piece)
        self.size += len(piece)
        if self.size % _LOOK_EVERY < len(piece):
            os.fsync(self.fileno())  # commits would wait for all of it in the end

    def count_again(self) -> None:
        """Counts and hashes what somebody else has written into it."""
        file = cast(io.FileIO, self._opened)
        file.seek(0)
        self._hash = hashlib.file_digest(file, "sha256")
        self.size = file.tell()

    def settle(self) -> bytes:
        """Puts it in its place, so that a power cut finds it there; its SHA-256."""
        os.fsync(self.fileno())
        for folder in (self.place.parent.parent, self.place.parent):
            folder.mkdir(exist_ok=True, mode=0o700)
            sync(folder.parent)  # each time: another server may have died before it was
        self.path.rename(self.place)
        sync(self.place.parent)
        self.close()
        return self._hash.digest()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)
        self.place.unlink(missing_ok=True)


class Store:
    """The folder of files. What is taken in is settled, and then stored with its owner:

    async with store.incoming(length) as spool:
        await store.write(spool, piece)
        stored = await store.settle(spool, content_type)
        await db.write(...)  # which calls `store_blob`; if it does not, the file is gone
    """

    def __init__(self, db: Database, config: Config) -> None:
        self._db, self._config, self.folder = db, config, config.files
        self._thread = ThreadPoolExecutor(1, "store")
        self._under_way: set[Spool] = set()
        self.sending = asyncio.Lock()  # for a turn of the loop, by each piece of a file
        self.takes: set[str] = set()  # what new ones may come of: files, avatars, opengraph
        self.uploading: Counter[UserId] = Counter()  # files on their way, by who sends them
        self.uploads: Counter[str] = Counter()  # by how they ended
        self.uploaded_bytes = self.downloaded_bytes = 0
        self.seen = Usage(0, 0, 0, 0)  # when somebody looked last
        self._pictures: Memory[int, bytes] = Memory(16_000_000)

    async def start(self) -> None:
        """Makes the folder, and removes what was on its way when the last server ended."""
        try:
            await self._do(self._make_ready)
        except OSError as error:
            LOG.warning("store_unwritable", extra={"fields": {"problem": words_of(error)}})
        else:
            features = ("files", "avatars", "opengraph")
            self.takes = {name for name in features if getattr(self._config, f"{name}_enabled")}

    def path_of(self, blob: Blob) -> Path:
        """Where a file lies, whole. Raises AttachmentNotFound, which is a line in the log."""
        path = path_in(self.folder, blob.key)
        with suppress(OSError):
            about = path.lstat()
            if stat.S_ISREG(about.st_mode) and about.st_size == blob.byte_size:
                return path
        if blob.sha256 is not None:
            LOG.error("blob_damaged", extra={"fields": {"blob_id": blob.id}})
        raise AttachmentNotFound

    def open(self, blob: Blob) -> io.FileIO:
        """A file to read. Raises AttachmentNotFound."""
        return io.FileIO(os.open(self.path_of(blob), _READING))

    def picture(self, tx: ReadTx, blob_id: int | None) -> bytes | None:
        """A small picture that many look at, remembered; None when it is not there."""
        known = self._pictures.find(blob_id) if blob_id else None
        if blob_id and known is None:
            sql = "SELECT id, key, byte_size, sha256, content_type FROM blobs WHERE id = :id"
            [blob] = rows(tx, sql, id=blob_id)
            with suppress(AttachmentNotFound), self.open(Blob(*blob)) as file:
                known = file.readall()
                self._pictures.keep(blob_id, known, len(known))
        return known

    @contextmanager
    def place_for(self, user_id: UserId) -> Iterator[None]:
        """One of the places of those who send files. Raises TooManyUploads."""
        if self.uploading.total() >= _MOST_UPLOADS or self.uploading[user_id] >= _UPLOADS_OF_ONE:
            raise TooManyUploads
        self.uploading[user_id] += 1
        try:
            yield
        finally:
            self.uploading -= Counter((user_id,))

    @asynccontextmanager
    async def incoming(self, expected: int = 0, most: int | None = None) -> AsyncIterator[Spool]:
        """A file to write; after the block it is gone, unless it was stored. Raises StorageFull."""
        spool = Spool(self.folder, expected, most or self._config.files_max_bytes)
        self._under_way.add(spool)
        try:
            await self._require_room()
            await self._db.write(_expect, [spool.key], _UNFINISHED)
            await self._do(spool.open)
            yield spool
        finally:  # whoever asked may be gone by now, or may do nothing any more
            await asyncio.shield(asyncio.create_task(self._end(spool), context=Context()))

    async def write(self, spool: Spool, piece: bytes) -> None:
        """Takes a piece. Raises FileTooLarge, StorageFull."""
        after = spool.size + len(piece)
        if after > spool.most:
            raise FileTooLarge(max_bytes=spool.most)
        if after // _LOOK_EVERY > spool.size // _LOOK_EVERY:
            await self._require_room()
        await self._do(spool.write, piece)

    async def settle(self, spool: Spool, content_type: str) -> StoredFile:
        """Puts it in its place, for `store_blob`. Raises StorageFull."""
        spool.expected = spool.size
        await self._require_room()
        return StoredFile(spool.key, spool.size, await self._do(spool.settle), content_type)

    async def keep(self, picture: bytes, opened: AsyncExitStack) -> StoredFile:
        """A picture that the workshop made, in its place, as `settle` puts it there."""
        spool = await opened.enter_async_context(self.incoming(len(picture)))
        await self.write(spool, picture)
        return await self.settle(spool, type_of(picture))

    def usage_in(self, tx: ReadTx) -> Usage:
        """How much is stored, and how much more could be."""
        sql = """
            SELECT count(*), coalesce(sum(byte_size), 0), (SELECT count(*) FROM doomed_blobs), :free
            FROM blobs
            WHERE sha256 IS NOT NULL
        """
        [stored] = rows(tx, sql, free=self._look_at_disk()[0])
        self.seen = Usage(*stored)
        return self.seen

    async def state(self) -> str:
        """`ok`, `full`, `unwritable` or `off`, as /up says it."""
        if not self._config.files_enabled:
            return "off"
        with suppress(TimeoutError, StorageError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                if "files" in self.takes:
                    return "ok" if await self._has_room() else "full"
        return "unwritable"

    async def sweep(self) -> None:
        """Removes the files whose time has come, and dooms pictures that nobody sees any more."""
        busy = [spool.key for spool in self._under_way]  # first: what is due then is nobody's
        now = self._db.now()
        while due := await self._db.read(_due, now, busy):
            try:
                await self._do(self._unlink, due)
            except OSError as error:
                LOG.warning("store_unwritable", extra={"fields": {"problem": words_of(error)}})
                break
            await self._db.write(_forget, due)
        await self._db.write(_doom_unshown)

    async def _end(self, spool: Spool) -> None:
        """Closes a file, and removes it if its row was not stored."""
        with suppress(StorageError):  # the sweeper finds it
            if await self._db.write(_is_expected, spool.key):
                await self._do(spool.remove)
                await self._db.write(_forget, [spool.key])
        await self._do(spool.close)
        self._under_way.discard(spool)

    async def _require_room(self) -> None:
        if not await self._has_room():
            LOG.warning("storage_full")
            raise StorageFull

    async def _has_room(self) -> bool:
        """Whether all that is under way may come."""
        free, size = await self._do(self._look_at_disk)
        reserve, quota = self._config.files_reserve_bytes, self._config.files_quota_bytes
        if reserve is None:
            reserve = max(_LEAST_RESERVE, size // _RESERVED_PART)
        coming = sum(max(spool.size, spool.expected) for spool in self._under_way)
        if free + sum(spool.size for spool in self._under_way) < reserve + coming:
            return False
        return quota is None or (await self._db.read(self.usage_in)).bytes + coming <= quota

    async def _do(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What `work` returns, in the store's thread. Raises StorageFull, OSError."""
        call = partial(work, *args, **named)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except OSError as error:
            if error.errno in _NO_ROOM:
                LOG.warning("storage_full")
                raise StorageFull from error
            raise

    def _make_ready(self) -> None:
        for name in ("staging", "incoming"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for folder in (self.folder, self.folder / "incoming"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=self.folder / "incoming").close()  # so it can be written

    def _look_at_disk(self) -> tuple[int, int]:
        """What is free for us, and how large it is; nothing of a folder that could not be made."""
        with suppress(OSError):
            disk = shutil.disk_usage(self.folder)
            return disk.free, disk.total
        return 0, 0

    def _unlink(self, keys: Sequence[str]) -> None:
        """Removes files, and sees that a power cut does not bring them back without a row."""
        places = [path_in(self.folder, key) for key in keys]
        for place in places:
            place.unlink(missing_ok=True)
        for folder in {place.parent for place in places if place.parent.exists()}:
            sync(folder)


# === 10. text =================================================================
# What stands in plain words: in which character set they come, which addresses are in
# them, which emoji, which sound they play, and whom a signed name means; and which tags.
# ==============================================================================


def set_of(words: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(words.split())


SCHEMES = set_of(
    "http https mailto tel sms ftp sftp ssh irc news nntp xmpp webcal callto urn tag rtsp rsync"
    " aim afs ed2k gopher telnet"
)
UNSEEN = re.compile(r"[\x00-\x20\x7f\s]+")
_RETURNS = re.compile(r"\r\n?")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def without_controls(source: str) -> str:
    """A text without control characters, but for tabs and new lines."""
    return CONTROLS.sub("", _RETURNS.sub("\n", source))


@lru_cache(maxsize=1)
def _charsets() -> frozenset[str]:
    """The character sets Python knows, and no other of its codecs (punycode takes for ever)."""
    modules = {module.name for module in pkgutil.iter_modules(encodings.__path__)}
    ours = set_of("idna punycode undefined unicode_escape raw_unicode_escape")
    return frozenset({*modules, *encodings.aliases.aliases}) - ours


def decoded(data: bytes, charset: str | None) -> str:
    """Text in the character set it declares; else, or if it is not, UTF-8 with U+FFFD."""
    name = encodings.normalize_encoding(charset or "").lower()
    if name in _charsets():
        with suppress(LookupError, UnicodeError):
            return data.decode(name)
    return data.decode("utf-8", "replace")


NEW_TAB = ' target="_blank" rel="noopener noreferrer"'
MAY_LINK = re.compile(r"//|@|www\.", re.IGNORECASE)
# Brackets, quotes and stops of East Asian writing, and curly quotes: no address goes past one.
_ENDS_ADDRESS = (
    r"\xab\xbb\u201c-\u201f\u2039\u203a\u3001\u3002\u3008-\u3011\u3014-\u301b\u301d-\u301f"
    r"\ufe10-\ufe19\ufe35-\ufe44\uff01\uff02\uff07-\uff09\uff0c\uff0e\uff1a\uff1b\uff1f\uff3b"
    r"\uff3d\uff5b\uff5d\uff5f-\uff64\u200b"
)
_LOCAL_PART = r"[\w.!#$%&'*/=?^{|}~+-]"
_ADDRESS = re.compile(
    rf"(?P<url>(?:(?P<scheme>(?ai:{'|'.join(sorted(SCHEMES))})://)|(?ai:www)\.(?=\w))[^\s\xa0<\"{_ENDS_ADDRESS}]+)"
    rf"|(?<!{_LOCAL_PART}){_LOCAL_PART}++@[\w-]++(?:\.[\w-]++)++"
)
_STAYS_AT_END = re.compile(r"[\w/=;-]")
_CLOSING = {")": "(", "]": "[", "}": "{"}
_OPENING = {opening: closing for closing, opening in _CLOSING.items()}


def _trimmed(url: str) -> str:
    """The URL without the punctuation of the sentence it stands in."""
    surplus = {end: url.count(start) - url.count(end) for end, start in _CLOSING.items()}
    end = len(url)
    while end and not _STAYS_AT_END.match(url[end - 1]):
        end -= 1
        cut = url[end]
        if cut in _OPENING:
            surplus[_OPENING[cut]] -= 1
        elif cut in surplus:
            surplus[cut] += 1
            if surplus[cut] > 0:
                return url[: end + 1]
    return url[:end]


def addresses_in(text: str) -> Iterator[tuple[int, int, str]]:
    """Where URLs and e-mail addresses stand in a text, and what they link to."""
    for found in _ADDRESS.finditer(text):
        address = found["url"]
        if address is None:
            yield found.start(), found.end(), f"mailto:{found[0]}"
            continue
        address = _trimmed(address)
        if address != found["scheme"]:
            href = address if found["scheme"] else f"http://{address}"
            yield found.start(), found.start() + len(address), href


def _escaped(text: str) -> str:
    """Text as nh3 writes it."""
    return escape(text, quote=False).replace("\xa0", "&nbsp;")


def auto_linked(words: str, most: int) -> tuple[str, int]:
    """The words with links made from so many of their addresses, and how many that were."""
    if not most or not MAY_LINK.search(words):
        return words, 0
    text = unescape(words)
    pieces: list[str] = []
    at = 0
    for start, end, href in islice(addresses_in(text), most):
        link = f'<a href="{escape(href)}"{NEW_TAB}>{_escaped(text[start:end])}</a>'
        pieces += _escaped(text[at:start]), link
        at = end
    return "".join(pieces) + _escaped(text[at:]), len(pieces) // 2


RAW_TEXT = {
    name: re.compile(rf"(?i)</{name}(?=[\s/>])")
    for name in set_of("script style xmp iframe noembed noframes textarea title")
}
# A tag as the HTML standard reads one, even if it never ends; or a comment, which has no name.
# Possessive, so that no input makes it go back over what it has read.
_TAG = re.compile(
    r"""<!--(?:-?>|.*?(?:--!?>|\Z))
      | <(?P<end>/?)(?P<name>[a-z][^\s/>]*+)
        (?P<attributes>(?:[\s/]++|(?:=[^\s/>=]*+|[^\s/>=]++)
          (?:\s*+=\s*+(?:"[^"]*+"?|'[^']*+'?|[^\s>]*+))?+)*+)>?+
      | <[!?/][^>]*+""",
    re.ASCII | re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
_ATTRIBUTE = re.compile(
    r"""[\s/]*+(=[^\s/>=]*+|[^\s/>=]++)
        (?:\s*+=\s*+(?:"([^"]*+)"?|'([^']*+)'?|([^\s>]*+)))?+""",
    re.ASCII | re.VERBOSE,
)
# A tag as nh3 writes one: "<" and ">" are nothing else in its output.
WRITTEN_TAG = re.compile(r"<(?P<end>/?)(?P<name>[a-z0-9-]+)(?P<attributes>[^>]*)>")


def tags_in(source: str) -> Iterator[re.Match[str]]:
    """The tags a browser would see, without those in comments and in raw text."""
    at = 0
    while tag := _TAG.search(source, at):
        at = tag.end()
        if tag["name"]:
            yield tag
            raw_text = RAW_TEXT.get(tag["name"].lower())
            if raw_text and not tag["end"]:
                closing = raw_text.search(source, at)
                at = closing.start() if closing else len(source)


def attributes_of(tag: re.Match[str]) -> dict[str, str]:
    """What a tag says of itself, decoded; of two alike browsers heed the first."""
    said = reversed(_ATTRIBUTE.findall(tag["attributes"]))
    return {name.lower(): unescape("".join(values)) for name, *values in said}


_USER_GID = re.compile(r"gid://campfire/User/([0-9]{1,18})(?![0-9])(\?.*)?", re.DOTALL)


def user_id_in_sgid(sgid: str) -> UserId | None:
    """The person a signed global id names, in either of its two forms. The signature is not looked
    at: a mention gives no right, and thus survives a new SECRET_KEY_BASE and an import."""
    gid = None
    with suppress(ValueError):
        match json_object(from_base64(sgid.partition("--")[0])):
            case {"_rails": {"data": str(data)}}:
                gid = _USER_GID.fullmatch(data)
            case {"_rails": {"message": str(message)}}:
                gid = _USER_GID.search(from_base64(message).decode("latin-1"))
            case _:
                pass
    return UserId(int(gid[1])) if gid else None


_EMOJI_SPANS = """
    A9 AE 203C 2049 2122 2139 2194-2199 21A9-21AA 231A-231B 2328 2388 23CF 23E9-23F3 23F8-23FA
    24C2 25AA-25AB 25B6 25C0 25FB-25FE 2600-2605 2607-2612 2614-2685 2690-2705 2708-2712 2714
    2716 271D 2721 2728 2733-2734 2744 2747 274C 274E 2753-2755 2757 2763-2767 2795-2797 27A1
    27B0 27BF 2934-2935 2B05-2B07 2B1B-2B1C 2B50 2B55 3030 303D 3297 3299 FE0F 1F000-1F0FF
    1F10D-1F10F 1F12F 1F16C-1F171 1F17E-1F17F 1F18E 1F191-1F19A 1F1AD-1F1FF 1F201-1F20F 1F21A
    1F22F 1F232-1F23A 1F23C-1F23F 1F249-1F53D 1F546-1F64F 1F680-1F6FF 1F774-1F77F 1F7D5-1F7FF
    1F80C-1F80F 1F848-1F84F 1F85A-1F85F 1F888-1F88F 1F8AE-1F8FF 1F90C-1F93A 1F93C-1F945
    1F947-1FAFF 1FC00-1FFFD
"""
_POINTS = re.sub(r"\s*(\w+)\s*", lambda point: rf"\U{int(point[1], 16):08X}", _EMOJI_SPANS)
# Whether a text is emoji and nothing else; also tells how a boost is drawn.
is_emoji_only: Final = re.compile(f"[{_POINTS}]+").fullmatch

# What `/api/sounds` tells of each, by name: it shows words or a picture.
SOUNDS: Final[Mapping[str, Json]] = {
    sound["name"]: sound for sound in json.loads((HERE / "sounds/sounds.json").read_text("utf-8"))
}
# The sound a plain text plays, which must say nothing else.
sound_in: Final = {f"/play {name}": sound for name, sound in SOUNDS.items()}.get


def sound_markup(sound: Mapping[str, Any]) -> str:
    name, shown = sound["name"], escape(sound["text"] or "")
    if image := sound["image"]:
        size = f'width="{image["width"]}" height="{image["height"]}"'
        shown = f'<img src="{image["url"]}" {size} class="align--middle" alt="{name}">'
    return (
        f'<div class="sound" data-sound-name="{name}" data-sound-url="{sound["url"]}">'
        f'<button type="button" class="btn btn--plain" aria-label="Play {name}">🔊</button>'
        f" {shown}</div>"
    )


# === 11. markup ===============================================================
# What people write, made safe once, and what it says: in plain words, on the screen, in
# the editor. Only nh3 decides what is HTML; it is repeated until a body no longer changes,
# so that a browser which parses the body sees the very tree that was checked. Our own code
# only finds the attachments before nh3; all else is read from clean markup.
# ==============================================================================

DEEPEST_NESTING = 100
DEEPEST_ATTACHMENT = 8
MOST_CLEANINGS = 10
ATTACHMENT = "action-text-attachment"
TRIX_ATTACHMENT = "data-trix-attachment"
_ELEMENTS = set_of(
    "a abbr acronym address b big blockquote br cite code dd del dfn div dl dt em figcaption"
    " figure h1 h2 h3 h4 h5 h6 hr i ins kbd li ol p pre samp small span strong sub sup time tt ul"
    " var action-text-attachment"
)
_REMOVED_WHOLE = set_of(
    "script style template noscript iframe object embed applet svg math title head textarea"
    " select option xmp form input button video audio canvas"
)
_UNWRAPPED = set_of(
    "u s strike font center table caption colgroup col thead tbody tfoot tr th td img html body"
    " section article header footer main nav aside details summary label q mark"
)
KNOWN_ELEMENTS = sorted(_ELEMENTS | _REMOVED_WHOLE | _UNWRAPPED)
_VOID = set_of(
    "area base basefont bgsound br col embed frame hr img input keygen link meta param source"
    " track wbr"
)
_FORMATTING = set_of("a b big code em font i nobr s small strike strong tt u")
_CELLS = set_of("applet caption marquee object td template th")
_SCOPES = _CELLS | {"button", "table"}
_TABLE_PARTS = set_of("table tbody td tfoot th thead tr")
_ENDS_BEFORE = {  # what a sloppy author leaves open, and who closes it
    "p": {"p"}, "li": {"li"}, "option": {"option"}, "dd": {"dd", "dt"}, "dt": {"dd", "dt"},
    "td": {"td", "th"}, "th": {"td", "th"}, "tr": {"td", "th", "tr"},
}  # fmt: skip
_SPELLS_ATTACHMENT = re.compile("(?:action-text|data-trix)-attachment", re.IGNORECASE)
_SURROGATES = re.compile("[\ud800-\udfff]")  # half characters: JSON can spell them, UTF-8 cannot
_WRITTEN_STEP = re.compile(r"<(/?)(?!(?:br|hr)[ >])")
_PRE_LINES = re.compile(r"(<pre[^>]*>)\n+")
_HIDDEN_COLON = re.compile(
    r"(?i)&(?:#0*58(?![0-9]);?|#x0*3a(?![0-9a-f]);?|colon;)|(?:%|&#0*37;|&#x0*25;|&percnt;)3a"
)
_PATH_START = re.compile(r"[/?#]")


def _normalized(source: str) -> str:
    if CONTROLS.search(source):
        source = without_controls(source)
    return _SURROGATES.sub("\ufffd", source).strip()


class _Nesting:
    """How deep a parser would have to go, told from the tags alone and rather too deep. nh3 takes
    quadratic time in depth, and HTML opens unclosed formatting again in every following paragraph:
    a few kilobytes can stand for millions of elements."""

    MOST_REOPENED = 262_144  # bytes of formatting tags

    def __init__(self) -> None:
        self._path: list[str] = []
        self._attachments: list[int] = []  # depths
        self._formatting: list[tuple[str, int, int]] = []  # name, size, depth
        self._reopened = 0

    def start(self, name: str, size: int, *, attachment: bool) -> bool:
        """Opens an element; whether that is too deep."""
        self._reopened += sum(reopened for _, reopened, _ in self._formatting)
        if name in _FORMATTING:
            self._formatting.append((name, size, len(self._path)))
        else:
            while self._path and self._path[-1] in _ENDS_BEFORE.get(name, ()):
                self._close(len(self._path) - 1)
            self._path.append(name)
            self._attachments += [len(self._path)] if attachment else []
        is_deep = len(self._path) + len(self._formatting) > DEEPEST_NESTING
        is_deep = is_deep or len(self._attachments) > DEEPEST_ATTACHMENT
        return is_deep or self._reopened > self.MOST_REOPENED

    def end(self, name: str) -> None:
        if name in _FORMATTING:
            names = [element for element, _, _ in self._formatting]
            if name in names:
                at = len(names) - 1 - names[::-1].index(name)
                if _SCOPES.isdisjoint(self._path[self._formatting[at][2] :]):
                    del self._formatting[at]
        elif name in self._path:
            at = len(self._path) - 1 - self._path[::-1].index(name)
            # Browsers ignore an end tag inside a cell for something outside of it.
            walls = {"table", "template"} if name in _TABLE_PARTS else _SCOPES
            if walls.isdisjoint(self._path[at + 1 :]):
                self._close(at)

    def _close(self, at: int) -> None:
        forgets = self._path[at] in _CELLS
        del self._path[at:]
        self._attachments = [depth for depth in self._attachments if depth <= at]
        self._formatting = [
            (name, size, min(depth, at))
            for name, size, depth in self._formatting
            if depth <= at or not forgets
        ]


def is_nested_too_deeply(source: str) -> bool:
    """True when parsing this would take much longer than its length promises."""
    if source.count("<") <= DEEPEST_ATTACHMENT:
        return False
    nesting = _Nesting()
    for tag in tags_in(_normalized(source)):
        name = tag["name"].lower()
        if tag["end"]:
            nesting.end(name)
        elif name not in _VOID:
            carries = name == ATTACHMENT or TRIX_ATTACHMENT in tag["attributes"].lower()
            if nesting.start(name, len(tag[0]), attachment=carries):
                return True
    return False


@dataclass(frozen=True, slots=True)
class Attachment:
    user_id: UserId  # 0: nobody
    content_type: str
    preview: Preview | None = None


def _attachment_in(tag: re.Match[str]) -> Attachment | None:
    name = tag["name"].lower()
    is_ours = name == ATTACHMENT
    carries = is_ours or (name not in RAW_TEXT and TRIX_ATTACHMENT in tag["attributes"].lower())
    if tag["end"] or not carries:
        return None
    given: dict[str, Any] = dict(attributes_of(tag))
    if not is_ours:
        try:
            described = json.loads(given.get(TRIX_ATTACHMENT, ""))
        except (ValueError, RecursionError):
            return None
        if not isinstance(described, dict):
            return None
        given = described | {"content-type": described.get("contentType")}
    values = map(given.get, ("sgid", "content-type", "href", "filename", "caption", "url"))
    sgid, content_type, *page = (value if isinstance(value, str) else "" for value in values)
    if PREVIEW_TYPE in content_type:
        return Attachment(UserId(0), PREVIEW_TYPE, preview_of(*page))
    return Attachment(user_id_in_sgid(sgid) or UserId(0), content_type)


def attachments_replaced(source: str, replacement: Callable[[Attachment], str]) -> str:
    """The source with something else for each attachment and its children, if it is closed. Most
    sources have none: whoever comes here has looked."""
    tags = list(tags_in(source))
    ends: dict[int, int] = {}
    still_open: defaultdict[str, list[int]] = defaultdict(list)
    for tag in tags:
        starts = still_open[tag["name"].lower()]
        if not tag["end"]:
            starts.append(tag.start())
        elif starts:
            ends[starts.pop()] = tag.end()
    pieces: list[str] = []
    at = 0
    for tag in tags:
        if tag.start() >= at and (attachment := _attachment_in(tag)):
            pieces += source[at : tag.start()], replacement(attachment)
            at = ends.get(tag.start(), tag.end())
    return "".join(pieces) + source[at:]


def mentions_in(source: str) -> tuple[UserId, ...]:
    """Whom a body mentions, each once and in order; whether they exist is another matter."""
    named: dict[UserId, str] = {}
    if _SPELLS_ATTACHMENT.search(source):
        attachments_replaced(_normalized(source), lambda its: named.setdefault(its.user_id, ""))
    return tuple(user_id for user_id in named if user_id)


def _kept_attribute(_element: str, name: str, value: str) -> str | None:
    if name in ("href", "cite"):
        bare = _HIDDEN_COLON.sub("\0", UNSEEN.sub("", value))
        scheme, colon, _ = _PATH_START.split(bare, maxsplit=1)[0].partition(":")
        return value if "\0" not in scheme and (not colon or scheme.lower() in SCHEMES) else None
    if name == "class":  # any other could dress a message up as part of the interface
        return " ".join(word for word in value.split() if word.startswith("language-")) or None
    return value


_KEPT = {
    "*": "title lang", "a": "href", "blockquote": "cite", "code": "class", "del": "cite datetime",
    "ins": "cite datetime", "pre": "class", "time": "datetime",
    ATTACHMENT: "sgid content-type href url filename caption",
}  # fmt: skip


def _cleaner(*more: str) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags={*_ELEMENTS, *more},
        clean_content_tags=set(_REMOVED_WHOLE),
        attributes={element: {*names.split()} for element, names in _KEPT.items()},
        attribute_filter=_kept_attribute,
        link_rel=None,
        url_schemes=set(SCHEMES),
    )


_CANONICAL, _WITH_TABLES = _cleaner(), _cleaner(*_TABLE_PARTS)
_CELL = re.compile(r"<t[dh][\s/>]", re.ASCII | re.IGNORECASE)
_CELL_END = re.compile(r"(?=</t[dh]>\s*<t[dh][\s>])")
_ROW_END = re.compile(r"(?=</t[dh]>\s*</tr>(?:\s*</t[a-z]+>)*+\s*+\S)")
_WORDS_ONLY = nh3.Cleaner(tags=set(), clean_content_tags=set(_REMOVED_WHOLE), attributes={})


def _cleaned(cleaner: nh3.Cleaner, source: str) -> str:
    # The parser swallows a byte order mark at the start; spelled out, it is text like any other.
    if source.startswith("\ufeff"):
        source = "&#xFEFF;" + source[1:]
    return _normalized(cleaner.clean(source))


def canonical_form(source: str, replacing: Callable[[], Callable[[Attachment], str]]) -> str:
    """The canonical markup of a source: allowed elements, and cleaning it again changes nothing.
    Once is not enough: unwrapping a table cell can leave a link inside a link, which no parser
    keeps. What never settles, or is still too deep, was made to confuse and loses its markup."""
    markup = _normalized(source)
    for _ in range(MOST_CLEANINGS):
        has_any = _SPELLS_ATTACHMENT.search(markup)
        cleaned = attachments_replaced(markup, replacing()) if has_any else markup
        if _CELL.search(cleaned):  # a tab between the cells of a table, a new line between rows
            cleaned = _CELL_END.sub("\t", _cleaned(_WITH_TABLES, cleaned))
            cleaned = _ROW_END.sub("<br>", cleaned)
        cleaned = _PRE_LINES.sub(r"\1", _cleaned(_CANONICAL, cleaned))  # parsers drop the first
        if cleaned == markup:
            return markup
        markup = cleaned
        depths = accumulate(-1 if step[1] else 1 for step in _WRITTEN_STEP.finditer(markup))
        if max(depths, default=0) > DEEPEST_NESTING:
            break
    return _cleaned(_WORDS_ONLY, markup)


MOST_LINKS = 5  # that a message tells of
_MOST_MADE = 100  # links that are made from text
_MENTION_TYPE = "application/vnd.campfire.mention"
_MOST_PREVIEWS = 8
_MISSING = "☒"
_HAS_HOST = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//.", re.IGNORECASE)
_WEB = re.compile(r"https?://", re.IGNORECASE)


class _Element(NamedTuple):
    name: str
    place: int  # among its parent's elements
    lists: tuple[str, ...]  # around it, itself included
    pieces: list[str]
    inside: list[str]


_ENDS: Final = {"div": "\n", **dict.fromkeys(("p", "h1", "h2", "h3", "h4", "h5", "h6"), "\n\n")}
_MARKED: Final = set_of("ul ol li blockquote figcaption")


def _marked(element: _Element, content: str) -> str:
    """What an element with marks of its own says: lists, quotations, captions."""
    block, depth = content.rstrip("\n"), len(element.lists) - 1
    match element.name:
        case "ul" | "ol":
            return ("\n" if depth else "") + block + "\n\n"
        case "li":
            bullet = f"{element.place}." if element.lists[-1:] == ("ol",) else "•"
            return f"{'  ' * depth}{bullet} {block}\n"
        case "blockquote":
            said = block.strip()
            return block.replace(said, f"“{said}”", 1) + "\n\n" if said else "“”"
        case _:
            return f"[{content}]"


def _plain(markup: SafeHtml, users: Named) -> str:
    path = [_Element("", 0, (), [], [])]
    at = 0
    for tag in WRITTEN_TAG.finditer(markup):
        if at < tag.start():
            path[-1].pieces.append(unescape(markup[at : tag.start()]).rstrip("\n"))
        at = tag.end()
        name = tag["name"]
        if tag["end"]:
            closed = path.pop()
            said = "".join(closed.pieces)
            if name in _MARKED:
                said = _marked(closed, said)
            elif name in _ENDS:
                said = said.rstrip("\n") + _ENDS[name]
            path[-1].pieces.append(said)
            continue
        path[-1].inside.append(name)
        if name == "br":
            path[-1].pieces.append("\n")
        elif name != "hr":
            lists = path[-1].lists + ((name,) if name in {"ol", "ul"} else ())
            path.append(_Element(name, len(path[-1].inside), lists, [], []))
        if name == ATTACHMENT and PREVIEW_TYPE not in tag["attributes"]:
            user = users.get(user_id_in_sgid(attributes_of(tag).get("sgid", "")) or UserId(0))
            path[-1].pieces.append(f"@{user.name}" if user else _MISSING)
    text = ("".join(path[0].pieces) + unescape(markup[at:])).rstrip("\n")
    return text if text.strip() else ""


def _steps(markup: str) -> Iterator[tuple[str, bool, str, str]]:
    """Each stretch of text, whether a link holds it already, the tag that ends it, and its link."""
    at, in_link = 0, False
    for tag in WRITTEN_TAG.finditer(markup):
        is_link = tag["name"] == "a"
        target = attributes_of(tag).get("href", "") if is_link else ""
        yield markup[at : tag.start()], in_link, tag[0], target
        at = tag.end()
        in_link = not tag["end"] if is_link else in_link
    yield markup[at:], in_link, "", ""


def _hrefs(markup: str) -> Iterator[str]:
    for words, in_link, _, target in _steps(markup):
        if not in_link and MAY_LINK.search(words):
            yield from (href for *_, href in addresses_in(unescape(words)))
        if target:
            yield target


def links_in(markup: str) -> tuple[str, ...]:
    """The web pages a body links to, written as links or not: each once, the first five."""
    if not MAY_LINK.search(markup):
        return ()
    hrefs = filter(_WEB.match, islice(_hrefs(markup), _MOST_MADE))
    return tuple(dict.fromkeys(hrefs))[:MOST_LINKS]


def _linked(markup: str) -> str:
    pieces: list[str] = []
    most = _MOST_MADE
    for words, in_link, tag, target in _steps(markup):
        linked, made = (words, 0) if in_link else auto_linked(words, most)
        most -= made
        leaves = _HAS_HOST.match(UNSEEN.sub("", target))
        pieces += linked, f"{tag[:-1]}{NEW_TAB}>" if leaves else tag
    return "".join(pieces)


def _mention_element(user: Mentionable, content: str = "") -> str:
    said = f'sgid="{escape(user.sgid)}" content-type="{_MENTION_TYPE}"'
    return f"<{ATTACHMENT} {said}>{content}</{ATTACHMENT}>"


def _mention_span(user: Mentionable) -> str:
    return (
        f'<span class="mention" data-user-id="{user.id}"><a href="/users/{user.id}"'
        f' class="btn avatar" title="{escape(user.title)}"><img src="{escape(user.avatar_url)}"'
        ' class="avatar" width="48" height="48" alt="" aria-hidden="true"></a>'
        f" {escape(user.name)}</span>"
    )


def _preview_element(preview: Preview) -> str:
    values = preview.url, preview.image, preview.title, preview.description
    said = zip(("href", "url", "filename", "caption"), values, strict=True)
    told = "".join(f' {name}="{escape(value)}"' for name, value in said if value)
    return f'<{ATTACHMENT} content-type="{PREVIEW_TYPE}"{told}></{ATTACHMENT}>'


def previews_in(markup: str, pictures: Pictures = MappingProxyType({})) -> tuple[Preview, ...]:
    """The pages that a body shows; a picture that is not among these is not shown."""
    found: list[Preview] = []

    def noted(attachment: Attachment) -> str:
        if preview := attachment.preview:
            sides = pictures.get(preview.image or "", (None, None, False))
            image = preview.image if sides[0] else None
            found.append(Preview(preview.url, preview.title, preview.description, image, *sides))
        return ""

    attachments_replaced(markup, noted)
    return tuple(found)


_Page: TypeAlias = Callable[[Preview], str]


def _drawn(
    markup: str, body: Body, users: Named, person: Callable[[Mentionable], str], page: _Page
) -> str:
    """The markup of a body with its people and pages drawn; who is not there is a crossed box."""
    if not _SPELLS_ATTACHMENT.search(markup):
        return markup
    pages = iter(body.previews)

    def shape(attachment: Attachment) -> str:
        if attachment.content_type == PREVIEW_TYPE:
            return page(next(pages)) if attachment.preview else ""
        user = users.get(attachment.user_id)
        return person(user) if user else _MISSING

    return attachments_replaced(markup, shape)


def _filled(user: Mentionable) -> str:
    return _mention_element(user, _mention_span(user))


def _framed(preview: Preview) -> str:
    kind = "attachment attachment--content attachment--og"
    figure = f'<figure class="{kind}">{preview_card(preview)}</figure>'
    return f'<{ATTACHMENT} content-type="{PREVIEW_TYPE}">{figure}</{ATTACHMENT}>'


def filled_body(body: Body, users: Named) -> str:
    """The body with every mention filled by the person as they are now, and every page shown."""
    return _drawn(body.html, body, users, _filled, _framed)


def presented(body: Body, users: Named) -> str:
    """The body as a room shows it: a sound, or its text with people, links and pages; a page alone,
    if the text says nothing but its address. Links come before mentions, so that a name is never
    taken for an address. What would grow to more than twice what a message may have keeps its links
    as they were written, and names people in words."""
    if sound := sound_in(body.text):
        return sound_markup(sound)
    if len(body.previews) == 1 and is_address_of(body.text, body.previews[0]):
        return _framed(body.previews[0])
    ways = (_linked(body.html), body.html) if MAY_LINK.search(body.html) else (body.html,)
    for markup in ways:
        shown = _drawn(markup, body, users, _filled, _framed)
        if len(shown.encode()) <= 2 * BODY_LIMIT:
            return shown
    return _drawn(body.html, body, users, lambda user: f"@{escape(user.name)}", _framed)


def _figure(content_type: str, content: str, **said: str | None) -> str:
    what = {**said, "contentType": content_type, "content": content}
    told = {name: value for name, value in what.items() if value is not None}
    described = json.dumps(told, ensure_ascii=False)
    figure = f'{TRIX_ATTACHMENT}="{escape(described)}" data-trix-content-type="{content_type}"'
    return f'<figure {figure} class="attachment attachment--content"></figure>'


def _editable_person(user: Mentionable) -> str:
    return _figure(_MENTION_TYPE, _mention_span(user), sgid=user.sgid)


def _editable_page(its: Preview) -> str:
    said = {"href": its.url, "url": its.image, "filename": its.title, "caption": its.description}
    return _figure(PREVIEW_TYPE, preview_card(its), **said)


def editable(body: Body, users: Named) -> str:
    """The body as the editor takes it; cleaned again it is the same body."""
    return _drawn(body.html, body, users, _editable_person, _editable_page)


def sanitize(source: str, users: Named, pictures: Pictures = MappingProxyType({})) -> Body:
    """Whatever was sent, as a body that is safe to show to anybody. `users` holds those of
    `mentions_in(source)` who exist, `pictures` those of `pictures_in(source)`. A mention of anybody
    else becomes a crossed box, like every other attachment; a page is shown without a picture that
    is not ours, and one too many vanishes. Where there is nothing else, they are the text."""

    def resolving() -> Callable[[Attachment], str]:
        places = iter(range(_MOST_PREVIEWS))

        def resolved(attachment: Attachment) -> str:
            if user := users.get(attachment.user_id):
                return _mention_element(user)
            if attachment.content_type != PREVIEW_TYPE:
                return _MISSING
            preview = attachment.preview
            if preview is None or next(places, None) is None:
                return ""
            is_ours = preview.image in pictures
            return _preview_element(preview if is_ours else replace(preview, image=None))

        return resolved

    markup = SafeHtml(canonical_form(source, resolving))
    previews = previews_in(markup, pictures) if PREVIEW_TYPE in markup else ()
    text = _plain(markup, users) or "\n".join(preview.url for preview in previews)
    return Body(markup, text, mentions_in(markup), links_in(markup), previews)


# === 12. signing ==============================================================
# What proves that a name, a link or a cookie came from here. A wrong signature,
# purpose or age reads as "no such thing", never as an error. The root of all signatures,
# and the pair with which we prove to push services who we are, are given by the operator,
# or made at the first start and kept in the database. Certificates he gives, or nobody.
#
# Owns      secrets
# Raises    ConfigError
# ==============================================================================

TRANSFER_SECONDS: Final = 4 * 3600
_ALPHANUMERIC: Final = string.ascii_letters + string.digits


def random_code(*lengths: int) -> str:
    """Letters and digits, from the system's randomness, in groups: XXXX-XXXX-XXXX of 4, 4, 4."""
    return "-".join("".join(secrets.choice(_ALPHANUMERIC) for _ in range(n)) for n in lengths)


def token_inside_rails_cookie(value: str) -> RawToken | None:
    """The session token in a cookie of the Rails app, whose own signature adds nothing."""
    payload, mark, _ = unquote(value).rpartition("--")
    with suppress(ValueError):
        match json_object(from_base64(payload)) if mark else {}:
            case {"_rails": {"data": str(text)}}:
                pass
            case {"_rails": {"message": message}}:
                text = from_base64(str(message)).decode()
            case _:
                return None
        token = json.loads(text) if text.startswith('"') else text
        return RawToken(token) if isinstance(token, str) and token else None
    return None


class Signer:
    """Makes and checks every signature, from one root key."""

    def __init__(self, secret_key_base: str) -> None:
        self._root = secret_key_base.encode()
        self._keys: dict[str, bytes] = {}  # one for each purpose
        self._signed_once = lru_cache(maxsize=None)(self._signed)  # what is signed again and again
        self._csrf_secret = lru_cache(maxsize=8_192)(partial(self._mac, "csrf"))

    def _mac(self, purpose: str, text: str) -> bytes:
        if purpose not in self._keys:
            self._keys[purpose] = hmac.digest(self._root, f"campfire/{purpose}".encode(), "sha256")
        return hmac.digest(self._keys[purpose], text.encode(), "sha256")

    def _signed(self, purpose: str, encoded: str) -> str:
        return f"{encoded}--{self._mac(purpose, encoded).hex()}"

    def opened(self, purpose: str, signed: object, kind: type[T]) -> T | None:
        """What we signed for this purpose; None when it is forged."""
        text = signed if isinstance(signed, str) and signed.isascii() else ""
        encoded, mark, mac = text.rpartition("--")
        if not mark or not hmac.compare_digest(self._mac(purpose, encoded).hex(), mac):
            return None
        value = json.loads(from_base64(encoded))
        return value if isinstance(value, kind) else None

    def stream(self, name: str) -> str:
        """A stream's name as clients subscribe with it."""
        return self._signed_once("stream", base64.b64encode(json.dumps(name).encode()).decode())

    def sgid(self, user_id: UserId) -> str:
        """A person as a mention in rich text names them."""
        inside = f'{{"_rails":{{"data":"gid://campfire/User/{user_id}","pur":"attachable"}}}}'
        return self._signed_once("sgid", base64.b64encode(inside.encode()).decode())

    def avatar_token(self, user_id: UserId) -> str:
        """A person as the address of their picture names them."""
        inside = f'{{"id":{user_id},"pur":"user/avatar"}}'
        return self._signed_once("signed_id", to_base64(inside.encode()))

    def user_id_in_avatar_token(self, token: str) -> UserId | None:
        """The person an avatar token names."""
        inside = self.opened("signed_id", token, dict) or {}
        return UserId(int(inside["id"])) if inside.get("pur") == "user/avatar" else None

    def avatar_url(self, user: User) -> str:
        """The address of somebody's picture; it changes whenever they do."""
        return f"/users/{self.avatar_token(user.id)}/avatar?v={version_of(user.updated_at)}"

    def mentionable(self, user: User) -> Mentionable:
        """The person as a mention shows them."""
        picture, sgid = self.avatar_url(user), self.sgid(user.id)
        return Mentionable(user.id, user.name, user.title, picture, sgid)

    def transfer_id(
        self, user: User, session_id: SessionId, credential: str, at: Timestamp
    ) -> tuple[str, Timestamp]:
        """A sign-in link's id and its end; `credential` is what a new password changes."""
        until = Timestamp(at + TRANSFER_SECONDS * SECOND)
        inside = {"id": user.id, "by": session_id, "pur": "user/transfer", "exp": iso(until)}
        inside |= {"nonce": secrets.token_urlsafe(12), "for": self.credential_mark(credential)}
        return self._signed("signed_id", to_base64(compact(inside).encode())), until

    def transfer_in(self, transfer_id: str) -> Transfer | None:
        """What a sign-in link's id holds; None for one that is not ours, or of before 1.1."""
        inside = self.opened("signed_id", transfer_id, dict) or {}
        if inside.get("pur") != "user/transfer" or "by" not in inside:
            return None
        user_id, session_id = UserId(int(inside["id"])), SessionId(int(inside["by"]))
        return Transfer(user_id, session_id, inside["nonce"], inside["exp"], inside["for"])

    def credential_mark(self, credential: str) -> str:
        """What a sign-in link keeps of the password digest it was made under."""
        return self._mac("transfer", credential).hex()[:16]

    def csrf_token(self, nonce: str) -> str:
        """The token that goes with a `_campfire_csrf` cookie, masked anew each time. Compression
        cannot tell it from noise, whatever stands beside it (BREACH)."""
        secret = self._csrf_secret(nonce)
        mask = secrets.token_bytes(len(secret))
        return to_base64(mask + bytes(map(int.__xor__, secret, mask)))

    def is_csrf_token(self, nonce: str, given: str) -> bool:
        """Whether a token goes with the cookie, however it is masked."""
        secret = self._csrf_secret(nonce)
        try:
            token = base64.b64decode(f"{given}==", altchars=b"-_", validate=True)  # of 64 bytes
        except ValueError:
            return False
        mask, masked = token[: len(secret)], token[len(secret) :]
        if len(masked) != len(secret):
            return False
        secret_again = int.from_bytes(masked, "big") ^ int.from_bytes(mask, "big")
        return hmac.compare_digest(secret_again.to_bytes(len(secret), "big"), secret)

    def cookie(self, value: Mapping[str, object], seconds: int, now: float) -> str:
        """A value for a cookie of ours, good for `seconds`."""
        text = json.dumps({**value, "exp": int(now) + seconds}, separators=(",", ":"))
        return self._signed("cookie", to_base64(text.encode()))

    def cookie_value(self, signed: str, now: float) -> dict[str, Any]:
        """What a cookie of ours holds; nothing when it is forged or too old."""
        inside = self.opened("cookie", signed, dict) or {}
        return inside if float(inside.get("exp", 0)) > now else {}


def stored_secrets(tx: ReadTx) -> dict[str, str]:
    """All that are stored."""
    return {it["name"]: it["value"] for it in rows(tx, "SELECT name, value FROM secrets")}


def keep_secrets(
    tx: WriteTx, _: Timestamp, made: Mapping[str, str], *, anew: bool = False
) -> dict[str, str]:
    """All that are stored, after those of `made` that were missing, or each of them anew."""
    for name, value in made.items():
        sql = """
            INSERT INTO secrets (name, value) VALUES (:name, :value)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE :anew
        """
        run(tx, sql, name=name, value=value, anew=anew)
    return stored_secrets(tx)


def fresh_vapid_keys() -> dict[str, str]:
    """A pair as Rails prints it (RFC 8292: P-256)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    scalar = private.private_numbers().private_value.to_bytes(32, "big")
    form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    point = private.public_key().public_bytes(*form)
    return {"vapid_private_key": to_base64(scalar), "vapid_public_key": to_base64(point)}


def proper_pair(public_key: str, private_key: str) -> tuple[str, str]:
    """The two keys, which belong together. Raises ConfigError with one line."""
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        number = int.from_bytes(from_base64(private_key), "big")
        ours = ec.derive_private_key(number, ec.SECP256R1()).public_key()
        point = from_base64(public_key)
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise ConfigError("VAPID_PUBLIC_KEY and VAPID_PRIVATE_KEY are no keys of P-256") from error
    if ours.public_numbers() != theirs.public_numbers():
        raise ConfigError("VAPID_PUBLIC_KEY and VAPID_PRIVATE_KEY are no pair")
    return public_key, private_key


async def load_secrets(db: Database, config: Config) -> dict[str, str]:
    """The secrets: from the environment, else stored, else made now and stored."""
    kept = await db.read(stored_secrets)
    if not kept.keys() >= {"secret_key_base", "vapid_private_key", "vapid_public_key"}:
        made = {"secret_key_base": secrets.token_hex(64), **fresh_vapid_keys()}
        kept = await db.write(keep_secrets, made)
    if config.secret_key_base:
        if len(config.secret_key_base) < SHORT_SECRET:
            needs = f"SECRET_KEY_BASE of {SHORT_SECRET} characters or more"
            LOG.warning("weak_setting", extra={"fields": {"needs": needs}})
        kept["secret_key_base"] = config.secret_key_base
    if config.vapid_keys:
        kept["vapid_public_key"], kept["vapid_private_key"] = proper_pair(*config.vapid_keys)
    return kept


def _loaded(certificate: Path, key: Path) -> tuple[ssl.SSLContext, datetime]:
    """What shows a certificate, and when that ends; the first in its file is the server's own."""
    from cryptography import x509

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ConfigError(f"TLS_CERT_FILE and TLS_KEY_FILE: {error.strerror or error}") from error
    return context, x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc


class Certificates:
    """The certificate files, as last read. Raises ConfigError when they are no pair. The
    certificate is chosen anew at every handshake, so that a renewed one takes over at SIGHUP: no
    restart, no socket lost."""

    def __init__(self, files: tuple[Path, Path] | None) -> None:
        self._files = files
        self.context: ssl.SSLContext | None = None  # the one that listens
        if files:
            self.context, self._end = _loaded(*files)
            self._newest = self.context
            self.context.sni_callback = self._choose
            self.warn_if_expired()

    def warn_if_expired(self) -> None:
        """One line when browsers refuse the certificate that is shown."""
        if self._files and self._end < datetime.now(UTC):
            fields = {"file": str(self._files[0]), "ended": self._end.isoformat()}
            LOG.warning("certificate_expired", extra={"fields": fields})

    def _choose(self, handshake: ssl.SSLObject, *_: object) -> None:
        handshake.context = self._newest  # of browsers that name no host, too

    def reload(self) -> None:
        """Reads the files again; if they are no good, what was read before goes on."""
        if not self._files:
            return
        try:
            self._newest, self._end = _loaded(*self._files)
        except ConfigError as error:
            LOG.warning("tls_reload_failed", extra={"fields": {"problem": str(error)}})
            return
        LOG.info("tls_reloaded")
        self.warn_if_expired()


# === 13. account ==============================================================
# The one account of an installation, and who belongs to it: people and bots, how they
# are found, what makes their fields valid.
#
# Owns      accounts, users
# Raises    UserNotFound, RoomNotFound, InvalidJoinCode, ValidationFailed
# ==============================================================================

_LINE_LIMIT: Final = 200  # of what somebody, or a room, says of themselves
_LETTERS_ASKED: Final = 16  # of a query, before its rank is looked at
_FIELD_LIMIT: Final = 255
_STYLES_LIMIT: Final = 65_536
_PASSWORD_BYTES: Final = (8, 72)  # bcrypt counts no more; old passwords may be shorter or longer
_WORD: Final = re.compile(r"\w+")


@lru_cache(maxsize=4096)  # most rows are read again and again, and make the same person
def user_in(*person: Any) -> User:  # noqa: ANN401 - as SQLite gives them
    """The user in a row of `people`."""
    user_id, name, email, bio, role, status, *rest = person
    return User(user_id, name, email, bio, Role(role), Status(status), *rest)


def users_by_id(tx: ReadTx, user_ids: Iterable[UserId]) -> dict[UserId, User]:
    """Those of the ids that exist, of any status."""
    wanted = as_list(user_ids)
    if wanted == "[]":
        return {}
    sql = "SELECT * FROM people WHERE id IN (SELECT value FROM json_each(:ids))"
    return {user.id: user for user in starmap(user_in, rows(tx, sql, ids=wanted))}


def user_by_id(tx: ReadTx, user_id: UserId) -> User:
    """Anybody, of any status. Raises UserNotFound."""
    person = row(tx, "SELECT * FROM people WHERE id = :user_id", user_id=user_id)
    if person is None:
        raise UserNotFound
    return user_in(*person)


def active_users(tx: ReadTx) -> tuple[User, ...]:
    """Everybody active, bots too, by name."""
    people = rows(tx, "SELECT * FROM people WHERE status = 0 ORDER BY folded, id")
    return tuple(starmap(user_in, people))


def first_administrator(tx: ReadTx) -> User | None:
    """Whom to ask for help: the administrator who was first."""
    first = row(tx, "SELECT * FROM people WHERE role = 1 AND status = 0 ORDER BY id LIMIT 1")
    return user_in(*first) if first else None


def standing(tx: ReadTx, them: Iterable[tuple[UserId, Timestamp]]) -> set[tuple[UserId, Timestamp]]:
    """Those of the people who have not changed since that moment of theirs."""
    sql = "SELECT id, updated_at FROM users WHERE id IN (SELECT value FROM json_each(:ids))"
    unmoved = rows(tx, sql, ids=as_list(user_id for user_id, _ in them))
    return set(map(tuple, unmoved)).intersection(them)


def match_rank(query: str, name: str) -> int | None:
    """How well a folded name answers a folded query: 0 from its head, 1 from a later word. Each
    letter follows the one before or begins a later word, so that "jw" finds "jonas weber". 2 is a
    name that only holds the query, None one that does not. Bit n of a mask is letter n."""
    if name.startswith(query):
        return 0
    begins = sum(1 << word.start() for word in _WORD.finditer(name))
    for rank, first in enumerate((begins & -begins, begins & (begins - 1))):
        ends = here = first
        for typed in query:
            here = ends & sum(1 << at for at, letter in enumerate(name) if letter == typed)
            if not here:
                break
            ends = here << 1 | begins & ~((here & -here) * 2 - 1)
        if here:
            return rank
    return 2 if query in name else None


def matching_users(
    tx: ReadTx, query: str, viewer_id: UserId, room_id: RoomId | None, page: int, size: int
) -> tuple[User, ...]:
    """Active users whose name answers `query`, best first: a page, and one more if there is one. Of
    a room the viewer is in, if one is given. Raises RoomNotFound."""
    sql = "SELECT 1 FROM memberships WHERE room_id = :room_id AND user_id = :viewer_id"
    if room_id is not None and not row(tx, sql, room_id=room_id, viewer_id=viewer_id):
        raise RoomNotFound
    wanted = folded(query[:_FIELD_LIMIT])
    letters = "".join(f"%~{letter}" for letter in wanted[:_LETTERS_ASKED]) + "%"
    sql = """
        SELECT id, folded
        FROM users
        WHERE status = 0 AND folded LIKE :letters ESCAPE '~'
        AND (:room_id IS NULL OR id IN (SELECT user_id FROM memberships WHERE room_id = :room_id))
        ORDER BY folded, id
    """
    named = rows(tx, sql, letters=letters, room_id=room_id)
    ranks = [(match_rank(wanted, name), user_id) for user_id, name in named]
    best = [user_id for wanted_rank in (0, 1, 2) for rank, user_id in ranks if rank == wanted_rank]
    ids = best[(page - 1) * size : page * size + 1]
    people = users_by_id(tx, ids)
    return tuple(people[user_id] for user_id in ids)


def account_users(tx: ReadTx, page: int, size: int, *, with_banned: bool) -> tuple[User, ...]:
    """People but no bots, administrators first, each by name; one more than a page."""
    sql = """
        SELECT *
        FROM people
        WHERE role != 2 AND (status = 0 OR (status = 2 AND :with_banned))
        ORDER BY role DESC, folded, id LIMIT :size + 1 OFFSET :skipped
    """
    people = rows(tx, sql, with_banned=with_banned, size=size, skipped=(page - 1) * size)
    return tuple(starmap(user_in, people))


def owner_of(tx: ReadTx, email: str) -> UserId | None:
    """Whose address of e-mail this is, whatever they have become; of twins, the exact one's."""
    sql = """
        SELECT id
        FROM users
        WHERE email_folded = :folded
        ORDER BY email_address = :email DESC, id LIMIT 1
    """
    owner = row(tx, sql, email=email, folded=caseless(email))
    return owner["id"] if owner else None


def password_digest_of(tx: ReadTx, user_id: UserId) -> str:
    """What a new password changes; sign-in links made under an old one are dead."""
    person = row(tx, "SELECT password_digest FROM users WHERE id = :user_id", user_id=user_id)
    return (person["password_digest"] or "") if person else ""


@dataclass(frozen=True, slots=True)
class Change:
    """What may change in a person or bot; None stays as it is."""

    name: str | None = None
    email_address: str | None = None
    password_digest: str | None = None
    bio: str | None = None
    role: Role | None = None
    status: Status | None = None
    bot_token: str | None = None


def revise_user(tx: WriteTx, at: Timestamp, user_id: UserId, change: Change) -> User:
    """The person or bot with what is given changed."""
    name, email = change.name and folded(change.name), caseless(change.email_address)
    sql = """
        UPDATE users
        SET name = coalesce(:name, name), folded = coalesce(:folded, folded),
          email_address = coalesce(:email_address, email_address),
          email_folded = coalesce(:email_folded, email_folded), bio = coalesce(:bio, bio),
          password_digest = coalesce(:password_digest, password_digest),
          role = coalesce(:role, role), status = coalesce(:status, status),
          bot_token = coalesce(:bot_token, bot_token), updated_at = max(:at, updated_at + 1)
        WHERE id = :user_id
    """
    run(tx, sql, **asdict(change), folded=name, email_folded=email, at=at, user_id=user_id)
    return user_by_id(tx, user_id)


def insert_user(tx: WriteTx, at: Timestamp, role: Role, who: Change) -> User:
    """A new active person or bot, who has a name. The address must be free."""
    sql = "INSERT INTO users (name, role, created_at, updated_at) VALUES (:name, :role, :at, :at)"
    user_id = UserId(insert(tx, sql, name=who.name, role=role, at=at))
    return revise_user(tx, at, user_id, who)


def _problem_with(field_name: str, value: str) -> str | None:
    if field_name in {"bio", "topic"}:
        is_short = len(value) <= _LINE_LIMIT
        return None if is_short else f"is too long (maximum is {_LINE_LIMIT} characters)"
    if not value.strip():
        return "can't be blank"
    if field_name == "password":
        is_right = _PASSWORD_BYTES[0] <= len(value.encode()) <= _PASSWORD_BYTES[1]
        return None if is_right else "needs 8 to 72 bytes (é takes two, an emoji four)"
    if len(value) > _FIELD_LIMIT:
        return "is too long (maximum is 255 characters)"
    is_fit = field_name == "name" or re.fullmatch(r"[^@\s]+@[^@\s]+", value)
    return None if is_fit else "is invalid"


def check_fields(**fields: str | None) -> None:
    """Whether each field that is given may be stored. Raises ValidationFailed."""
    given = [(name, value) for name, value in fields.items() if value is not None]
    problems = {name: [says] for name, value in given if (says := _problem_with(name, value))}
    if problems:
        raise ValidationFailed(problems)


def initials(name: str) -> str:
    """The first character of every word, in order; a word is letters, digits and underscores."""
    return "".join(word[0] for word in _WORD.findall(name))


def is_set_up(tx: ReadTx) -> bool:
    """Whether the first run is over."""
    return row(tx, "SELECT 1 FROM accounts") is not None


def account_of(tx: ReadTx) -> Account | None:
    """The one account, or None before the first run."""
    sql = """
        SELECT name, join_code, coalesce(custom_styles, ''),
          coalesce(json_extract(settings, '$.restrict_room_creation_to_administrators'), 0),
          updated_at, logo_id, logo_small_id
        FROM accounts
    """
    account = row(tx, sql)
    if account is None:
        return None
    name, join_code, styles, is_restricted, *rest = account
    return Account(name, join_code, styles, bool(is_restricted), *rest)


def the_account(tx: ReadTx) -> Account:
    """The account, which is there when somebody is signed in."""
    account = account_of(tx)
    if account is None:
        raise LookupError("somebody is signed in, and there is no account")
    return account


def account_behind(tx: ReadTx, join_code: str) -> Account:
    """The account this code lets people into. Raises InvalidJoinCode."""
    account = account_of(tx)
    given = join_code.encode("utf-8", "replace")
    if account is None or not hmac.compare_digest(account.join_code.encode(), given):
        raise InvalidJoinCode
    return account


def insert_account(tx: WriteTx, at: Timestamp) -> None:
    """The account, as it is on the first day."""
    sql = """
        INSERT INTO accounts (id, name, join_code, created_at, updated_at)
        VALUES (1, 'Campfire', :join_code, :at, :at)
    """
    run(tx, sql, join_code=random_code(4, 4, 4), at=at)


def revise_account(
    tx: WriteTx, at: Timestamp, name: str | None, *, only_administrators: bool | None
) -> Account:
    """The account with what was given changed. Raises ValidationFailed."""
    check_fields(name=name)
    restricted = None if only_administrators is None else json.dumps(only_administrators)
    sql = """
        UPDATE accounts
        SET name = coalesce(:name, name), updated_at = max(:at, updated_at + 1),
          settings = CASE WHEN :restricted IS NULL THEN settings ELSE json_set(
            settings, '$.restrict_room_creation_to_administrators', json(:restricted)) END
    """
    run(tx, sql, name=name, restricted=restricted, at=at)
    return the_account(tx)


def renew_join_code(tx: WriteTx, at: Timestamp) -> Account:
    """The account with a new invitation; the old one is dead at once."""
    sql = "UPDATE accounts SET join_code = :code, updated_at = max(:at, updated_at + 1)"
    run(tx, sql, code=random_code(4, 4, 4), at=at)
    return the_account(tx)


def store_styles(tx: WriteTx, at: Timestamp, styles: str) -> None:
    """Stores the account's custom styles. Raises ValidationFailed."""
    if len(styles) > _STYLES_LIMIT:
        too_long = f"is too long (maximum is {_STYLES_LIMIT} characters)"
        raise ValidationFailed({"custom_styles": [too_long]})
    sql = "UPDATE accounts SET custom_styles = :styles, updated_at = max(:at, updated_at + 1)"
    run(tx, sql, styles=styles, at=at)


# Addresses of pictures carry the second of their last change: another picture is a later one.
def set_avatar(tx: WriteTx, at: Timestamp, user_id: UserId, new: StoredFile | None = None) -> User:
    """Somebody with another picture, or none; the one before is doomed. Raises UserNotFound."""
    user = user_by_id(tx, user_id)
    if new or user.avatar_id:
        blob_id = store_blob(tx, at, new) if new else None
        sql = """
            UPDATE users
            SET avatar_id = :blob_id, updated_at = max(:at, (updated_at / 1000000 + 1) * 1000000)
            WHERE id = :user_id
        """
        run(tx, sql, user_id=user_id, blob_id=blob_id, at=at)
        doom(tx, at, filter(None, [user.avatar_id]))
    return user_by_id(tx, user_id)


def set_logo(
    tx: WriteTx, at: Timestamp, large: StoredFile | None = None, small: StoredFile | None = None
) -> Account:
    """The account with another logo, large and small, or with Campfire's own again."""
    account = the_account(tx)
    if large or account.logo_id or account.logo_small_id:
        ids = [stored and store_blob(tx, at, stored) for stored in (large, small)]
        sql = """
            UPDATE accounts
            SET logo_id = :large, logo_small_id = :small,
              updated_at = max(:at, (updated_at / 1000000 + 1) * 1000000)
        """
        run(tx, sql, large=ids[0], small=ids[1], at=at)
        doom(tx, at, filter(None, [account.logo_id, account.logo_small_id]))
    return the_account(tx)


# === 14. rooms ================================================================
# Where people talk, and who is where. A membership is found first and the room comes
# from it, so that looking a room up is the permission to see it. An open room holds
# everybody active, a closed one those it was given, a direct room is the one room of
# exactly its people, for ever.
#
# Owns      rooms, memberships
# Raises    RoomNotFound, RoomCreationRestricted, InvalidInvolvement, Forbidden, ValidationFailed,
#           MessageNotFound
# ==============================================================================

MOST_IN_A_PING: Final = 50  # people
_MOST_CALLED: Final = 200  # people whom @everyone names
_SIDEBAR_PEOPLE: Final = 20
_NAMED_AT_MOST: Final = 500  # mentions looked through, the newest: years of them cost nothing
_COUNTED_AT_MOST: Final = 1_000  # messages to be read; who has more wants no number
_SHARED_CYCLE: Final = tuple(map(Involvement, ("mentions", "everything", "nothing", "invisible")))
_DIRECT_CYCLE: Final = (Involvement.EVERYTHING, Involvement.NOTHING)


def next_involvement(kind: RoomType, now: Involvement) -> Involvement:
    """What the bell turns to; a level outside the cycle is followed by its first."""
    cycle = _DIRECT_CYCLE if kind is RoomType.DIRECT else _SHARED_CYCLE
    return cycle[(cycle.index(now) + 1) % len(cycle)] if now in cycle else cycle[0]


def sentence(names: Sequence[str], *, pair: str = " and ") -> str:
    """A, A and B, or A, B, and C."""
    if len(names) <= len(("A", "B")):
        return pair.join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def display_name(view: RoomView) -> str:
    """A room's name for its viewer: for a direct room the others', or one's own when alone."""
    if view.room.name is not None:
        return view.room.name
    others = [user.name for user in view.people if user.id != view.membership.user_id]
    return sentence(others or [user.name for user in view.people])


def can_administer(user: User, creator_id: UserId) -> bool:
    """Whether somebody may change a thing: administrators may, and who made it."""
    return user.role is Role.ADMINISTRATOR or user.id == creator_id


@lru_cache(maxsize=1024)
def _room_in(*room: Any) -> Room:  # noqa: ANN401 - as SQLite gives them
    room_id, room_type, *rest = room
    return Room(room_id, RoomType(room_type), *rest)


def membership_of(tx: ReadTx, user_id: UserId, room_id: RoomId) -> Membership:
    """The proof that somebody active is in a room. Raises RoomNotFound, also if there is none."""
    sql = """
        SELECT room_rows.*
        FROM room_rows
        JOIN users ON users.id = user_id AND status = 0
        WHERE room_rows.id = :room_id AND user_id = :user_id
    """
    membership = row(tx, sql, room_id=room_id, user_id=user_id)
    if membership is None:
        raise RoomNotFound
    *room, _, involvement, unread_at, starred_at = membership
    return Membership(_room_in(*room), user_id, Involvement(involvement), unread_at, starred_at)


def may_call_everyone(tx: ReadTx, user_id: UserId, room_id: RoomId) -> bool:
    """Whether somebody may name all in a room at once: its creator and administrators may."""
    sql = """
        SELECT 1 FROM rooms
        JOIN users ON users.id = :user_id AND (role = 1 OR users.id = creator_id)
        WHERE rooms.id = :room_id
        AND (SELECT count(*) FROM memberships WHERE room_id = :room_id) <= :most
    """
    return row(tx, sql, user_id=user_id, room_id=room_id, most=_MOST_CALLED) is not None


def _order_of(membership: Membership) -> tuple[bool, bool, int, str, RoomId]:
    room, is_plain = membership.room, membership.starred_at is None
    if room.type is RoomType.DIRECT:
        return True, is_plain, -room.updated_at, "", room.id
    return False, is_plain, 0, folded(room.name or ""), room.id


def memberships_of(tx: ReadTx, user_id: UserId) -> list[Membership]:
    """All rooms somebody belongs to, by name, then pings, the latest first; starred ones before."""
    sql = "SELECT * FROM room_rows WHERE user_id = :user_id"
    own = [
        Membership(_room_in(*room), user_id, Involvement(involvement), unread_at, starred_at)
        for *room, _, involvement, unread_at, starred_at in rows(tx, sql, user_id=user_id)
    ]
    return sorted(own, key=_order_of)


def member_ids(tx: ReadTx, room_id: RoomId) -> tuple[UserId, ...]:
    """Everybody in a room."""
    sql = "SELECT json_group_array(user_id) FROM memberships WHERE room_id = :room_id"
    [(ids,)] = rows(tx, sql, room_id=room_id)
    return tuple(sorted(json.loads(ids)))


def _people_in(tx: ReadTx, room_ids: Iterable[RoomId]) -> dict[RoomId, tuple[User, ...]]:
    sql = """
        SELECT room_id, people.*
        FROM memberships
        JOIN people ON people.id = user_id
        WHERE room_id IN (SELECT value FROM json_each(:ids))
        ORDER BY memberships.id
    """
    members = rows(tx, sql, ids=as_list(room_ids))
    return grouped((room_id, user_in(*person)) for room_id, *person in members)


def views_of(tx: ReadTx, memberships: Sequence[Membership]) -> tuple[RoomView, ...]:
    """The rooms as their member sees them; the oldest invites, up to one page of messages."""
    directs = [own.room.id for own in memberships if own.room.type is RoomType.DIRECT]
    people = _people_in(tx, directs) if directs else {}
    unread = [own.user_id for own in memberships if own.unread_at is not None]
    sql = """
        SELECT messages.room_id
        FROM (
          SELECT message_id
          FROM (SELECT * FROM mentions WHERE user_id = :user_id ORDER BY 1 DESC LIMIT :most)
          UNION
          SELECT messages.id
          FROM memberships
          JOIN messages ON messages.room_id = memberships.room_id AND to_everyone = 1
          WHERE user_id = :user_id AND unread_at <= messages.created_at
        )
        JOIN messages ON messages.id = message_id AND creator_id != :user_id
        JOIN memberships ON memberships.room_id = messages.room_id AND user_id = :user_id
        WHERE unread_at <= messages.created_at
    """
    named = rows(tx, sql, user_id=unread[0], most=_NAMED_AT_MOST) if unread else []
    mentions = Counter(room_id for (room_id,) in named)
    sql = """
        SELECT id
        FROM (SELECT id FROM rooms ORDER BY created_at, id LIMIT 1) AS oldest
        WHERE (SELECT 1 FROM messages WHERE room_id = oldest.id LIMIT 1 OFFSET :page) IS NULL
    """
    (invitation,) = row(tx, sql, page=PAGE_SIZE) or [None]
    return tuple(
        RoomView(own.room, own, people.get(room_id, ()), mentions[room_id], invites)
        for own in memberships
        for room_id, invites in [(own.room.id, own.room.id == invitation)]
    )


def view_of(tx: ReadTx, user_id: UserId, room_id: RoomId) -> RoomView:
    """The room as this member sees it. Raises RoomNotFound."""
    return views_of(tx, [membership_of(tx, user_id, room_id)])[0]


def name_for_all(tx: ReadTx, room: Room) -> str:
    """The room's name where everybody reads the same: for a direct room, all its people."""
    if room.name is not None:
        return room.name
    return sentence([user.name for user in _people_in(tx, [room.id]).get(room.id, ())])


def may_create_rooms(tx: ReadTx, user: User) -> bool:
    """Whether somebody may create open and closed rooms; pings they always may."""
    if user.role is Role.ADMINISTRATOR:
        return True
    setting = "$.restrict_room_creation_to_administrators"
    restricted = row(tx, "SELECT json_extract(settings, :setting) FROM accounts", setting=setting)
    return not (restricted and restricted[0])


def last_room_of(tx: ReadTx, user_id: UserId, remembered: RoomId | None) -> RoomId | None:
    """The remembered room if somebody is still in it, else the oldest they belong to."""
    sql = """
        SELECT id FROM room_rows
        WHERE user_id = :user_id
        ORDER BY id = :remembered DESC, created_at, id LIMIT 1
    """
    last = row(tx, sql, user_id=user_id, remembered=remembered or 0)
    return last["id"] if last else None


def sidebar_of(tx: ReadTx, user: User) -> Sidebar:
    """What somebody sees beside every room; with whom they could talk fills it up."""
    memberships = memberships_of(tx, user.id)
    visible = [own for own in memberships if own.involvement is not Involvement.INVISIBLE]
    views = views_of(tx, visible)
    sql = """
        SELECT DISTINCT others.user_id
        FROM room_rows
        JOIN memberships AS others ON others.room_id = room_rows.id
        WHERE room_rows.user_id = :user_id AND type = 'direct'
    """
    pinged = {other_id for (other_id,) in rows(tx, sql, user_id=user.id)}
    space = max(_SIDEBAR_PEOPLE - 1 - len(pinged), 0)
    sql = """
        SELECT *
        FROM people
        WHERE status = 0 AND id NOT IN (SELECT value FROM json_each(:known))
        ORDER BY created_at, id LIMIT :space
    """
    people = rows(tx, sql, known=as_list(pinged | {user.id}), space=space)
    return Sidebar(
        directs=tuple(view for view in views if view.room.type is RoomType.DIRECT),
        shared=tuple(view for view in views if view.room.type is not RoomType.DIRECT),
        placeholders=tuple(starmap(user_in, people)),
        can_create_rooms=may_create_rooms(tx, user),
        total_unread=sum(own.unread_at is not None for own in memberships),
    )


def members_of(tx: ReadTx, user_id: UserId, room_id: RoomId) -> RoomMembers:
    """A room's active members and the other active users, each by name. Raises RoomNotFound."""
    view = view_of(tx, user_id, room_id)
    sql = """
        SELECT memberships.id, people.*
        FROM people
        LEFT JOIN memberships ON room_id = :room_id AND user_id = people.id
        WHERE status = 0 AND (:shows_others OR memberships.id)
        ORDER BY people.folded, people.id
    """
    people = rows(tx, sql, room_id=room_id, shows_others=view.room.type is not RoomType.DIRECT)
    selected = [user_in(*person) for membership_id, *person in people if membership_id]
    others = [user_in(*person) for membership_id, *person in people if not membership_id]
    return RoomMembers(view, tuple(selected), tuple(others))


def grant(tx: WriteTx, at: Timestamp, room: Room, user_ids: Iterable[UserId]) -> None:
    """Lets people in; those who are in already stay as they are. Unknown ids are ignored."""
    level = Involvement.EVERYTHING if room.type is RoomType.DIRECT else Involvement.MENTIONS
    sql = """
        INSERT INTO memberships (room_id, user_id, involvement, created_at, updated_at)
        SELECT :room_id, id, :level, :at, :at
        FROM users
        WHERE id IN (SELECT value FROM json_each(:ids))
        ORDER BY id
        ON CONFLICT DO NOTHING
    """
    run(tx, sql, room_id=room.id, level=level, ids=as_list(user_ids), at=at)


def grant_open_rooms(tx: WriteTx, at: Timestamp, user_id: UserId) -> None:
    """Lets somebody into every open room they are not in yet."""
    sql = """
        INSERT INTO memberships (room_id, user_id, created_at, updated_at)
        SELECT id, :user_id, :at, :at
        FROM rooms
        WHERE type = 'open' OR (type = 'closed' AND creator_id = :user_id)
        ON CONFLICT DO NOTHING
    """
    run(tx, sql, user_id=user_id, at=at)


def leave_shared_rooms(tx: WriteTx, user_id: UserId) -> None:
    """Takes somebody out of every room but the direct ones."""
    sql = """
        DELETE FROM memberships
        WHERE user_id = :user_id AND (SELECT type FROM rooms WHERE id = room_id) != 'direct'
    """
    run(tx, sql, user_id=user_id)


def touch_room(tx: WriteTx, at: Timestamp, room_id: RoomId) -> None:
    """Moves a room's clock: something was said, changed or boosted in it."""
    run(tx, "UPDATE rooms SET updated_at = :at WHERE id = :room_id", at=at, room_id=room_id)


def receive_message(
    tx: WriteTx, at: Timestamp, room_id: RoomId, creator_id: UserId, present: Iterable[UserId]
) -> tuple[tuple[UserId, ...], bool]:
    """Moves the room's clock; unread from here on for visible members elsewhere who had read it.
    Everybody in the room, from the one look at all of them; and whether one hears of everything."""
    touch_room(tx, at, room_id)
    sql = """
        SELECT json_group_array(user_id), max(involvement = 'everything'),
          json_group_array(user_id) FILTER (WHERE unread_at IS NULL AND involvement != 'invisible')
        FROM memberships
        WHERE room_id = :room_id
    """
    [(members, is_awaited, readers)] = rows(tx, sql, room_id=room_id)
    if elsewhere := {*json.loads(readers)}.difference((creator_id,), present):
        sql = """
            UPDATE memberships
            SET unread_at = :at
            WHERE room_id = :room_id AND user_id IN (SELECT value FROM json_each(:elsewhere))
        """
        run(tx, sql, at=at, room_id=room_id, elsewhere=as_list(elsewhere))
    return tuple(sorted(json.loads(members))), bool(is_awaited)


def mark_read(tx: WriteTx, _: Timestamp, user_id: UserId, room_id: RoomId) -> None:
    """Clears somebody's unread mark in a room, if there is one."""
    sql = """
        UPDATE memberships
        SET unread_at = NULL
        WHERE room_id = :room_id AND user_id = :user_id AND unread_at IS NOT NULL
    """
    run(tx, sql, room_id=room_id, user_id=user_id)


def mark_unread(
    tx: WriteTx, _: Timestamp, user_id: UserId, room_id: RoomId, message_id: MessageId | None
) -> None:
    """Unread from a message on, or from none. Raises RoomNotFound, MessageNotFound."""
    membership_of(tx, user_id, room_id)
    sql = """
        UPDATE memberships
        SET unread_at = CASE WHEN involvement != 'invisible'
          THEN (SELECT created_at FROM messages WHERE id = :message_id) END
        WHERE room_id = :room_id AND user_id = :user_id
        AND (:message_id IS NULL
          OR EXISTS (SELECT 1 FROM messages WHERE id = :message_id AND room_id = :room_id))
    """
    if not run(tx, sql, room_id=room_id, user_id=user_id, message_id=message_id):
        raise MessageNotFound


def first_unread_of(tx: ReadTx, own: Membership) -> Json | None:
    """What others said first since somebody left, and how much they said, if that is to be read."""
    place = {"room_id": own.room.id, "user_id": own.user_id, "since": own.unread_at}
    sql = """
        SELECT min(id) AS message_id, count(*) AS count
        FROM (
          SELECT id FROM messages
          WHERE room_id = :room_id AND creator_id != :user_id AND id > coalesce((
            SELECT id FROM messages WHERE room_id = :room_id AND created_at < :since
            ORDER BY id DESC LIMIT 1
          ), 0)
          ORDER BY id LIMIT :most
        )
    """
    found = row(tx, sql, **place, most=_COUNTED_AT_MOST)
    return dict(found) if found and found["count"] else None


def star(tx: WriteTx, at: Timestamp, user_id: UserId, room_id: RoomId, *, on: bool) -> RoomView:
    """Puts a room among the first in its member's sidebar, or back. Raises RoomNotFound."""
    sql = "UPDATE memberships SET starred_at = :at WHERE room_id = :room_id AND user_id = :user_id"
    run(tx, sql, at=at if on else None, room_id=room_id, user_id=user_id)
    return view_of(tx, user_id, room_id)


def insert_room(
    tx: WriteTx,
    at: Timestamp,
    kind: RoomType,
    by: UserId,
    name: str | None,
    key: str | None = None,
    topic: str | None = None,
) -> Room:
    """A new room with nobody in it yet."""
    values = {"kind": kind, "name": name, "sought": folded(name or ""), "topic": topic, "key": key}
    sql = """
        INSERT INTO rooms
          (type, name, folded, topic, creator_id, direct_key, created_at, updated_at)
        VALUES (:kind, :name, :sought, :topic, :by, :key, :at, :at)
    """
    return Room(RoomId(insert(tx, sql, **values, by=by, at=at)), kind, name, by, at, at, topic)


def drop_room(tx: WriteTx, room_id: RoomId) -> None:
    """Deletes a room, and by the foreign keys all that refers to it."""
    run(tx, "DELETE FROM rooms WHERE id = :room_id", room_id=room_id)


def _checked_words(name: str, topic: str | None) -> tuple[str, str | None]:
    """A room's name, and its topic, which is one line."""
    topic = topic and " ".join(without_controls(topic).split())
    check_fields(name=name.strip(), topic=topic)
    return name.strip(), topic


def _checked_ids(ids: Invited) -> Sequence[UserId]:
    """The ids; None stands for something that was no list of ids."""
    if ids is None:
        raise ValidationFailed({"user_ids": ["is invalid"]})
    return ids


def _create(
    tx: WriteTx,
    at: Timestamp,
    actor: User,
    kind: RoomType,
    name: str,
    ids: Invited = (),
    topic: str | None = None,
) -> RoomChange:
    if not may_create_rooms(tx, actor):
        raise RoomCreationRestricted
    name, topic = _checked_words(name, topic)
    room = insert_room(tx, at, kind, actor.id, name, topic=topic or None)
    chosen = [*_checked_ids(ids), actor.id]
    grant(tx, at, room, (user.id for user in active_users(tx)) if kind is RoomType.OPEN else chosen)
    return RoomChange(view_of(tx, actor.id, room.id), room, granted=member_ids(tx, room.id))


def _ping(tx: WriteTx, at: Timestamp, actor: User, ids: Invited) -> tuple[RoomChange, bool]:
    people = sorted(users_by_id(tx, {*_checked_ids(ids), actor.id}))
    if len(people) > MOST_IN_A_PING:
        raise ValidationFailed({"user_ids": [f"can be at most {MOST_IN_A_PING} people with you"]})
    key = ",".join(map(str, people))
    if known := row(tx, "SELECT id FROM rooms WHERE direct_key = :key", key=key):
        view = view_of(tx, actor.id, known["id"])
        return RoomChange(view, view.room, granted=(actor.id,)), False
    room = insert_room(tx, at, RoomType.DIRECT, actor.id, None, key)
    grant(tx, at, room, people)
    return RoomChange(view_of(tx, actor.id, room.id), room, granted=tuple(people)), True


def _save(
    tx: WriteTx,
    at: Timestamp,
    actor: User,
    room_id: RoomId,
    kind: RoomType,
    name: str,
    ids: Invited = (),
    topic: str | None = None,
) -> RoomChange:
    room = membership_of(tx, actor.id, room_id).room
    if room.type is RoomType.DIRECT:
        raise RoomNotFound
    if not can_administer(actor, room.creator_id):
        raise Forbidden
    name, topic = _checked_words(name, room.topic if topic is None else topic)
    words = {"name": name, "folded": folded(name), "topic": topic or None}
    sql = """
        UPDATE rooms
        SET type = :type, name = :name, folded = :folded, topic = :topic, updated_at = :at
        WHERE id = :room_id
    """
    run(tx, sql, **words, type=kind, at=at, room_id=room_id)
    before = set(member_ids(tx, room_id))
    if kind is RoomType.OPEN:
        grant(tx, at, room, (user.id for user in active_users(tx)))
    else:
        creator = user_by_id(tx, room.creator_id)
        stays = [creator.id] if creator.status is Status.ACTIVE else []
        wanted = [*_checked_ids(ids), *stays]
        grant(tx, at, room, wanted)
        sql = """
            DELETE FROM memberships
            WHERE room_id = :room_id AND user_id NOT IN (SELECT value FROM json_each(:wanted))
        """
        run(tx, sql, room_id=room_id, wanted=as_list(wanted))
    after = set(member_ids(tx, room_id))
    return RoomChange(
        view_of(tx, actor.id, room_id) if actor.id in after else None,
        replace(room, type=kind, name=name, topic=topic or None, updated_at=at),
        kept=tuple(sorted(before & after)),
        granted=tuple(sorted(after - before)),
        revoked=tuple(sorted(before - after)),
    )


def _set_involvement(
    tx: WriteTx, at: Timestamp, actor: User, room_id: RoomId, level: str
) -> tuple[RoomView, Involvement]:
    before = membership_of(tx, actor.id, room_id)
    if level not in set(Involvement):
        raise InvalidInvolvement
    sql = """
        UPDATE memberships
        SET involvement = :level, updated_at = :at,
          unread_at = CASE WHEN :level = 'invisible' THEN NULL ELSE unread_at END
        WHERE room_id = :room_id AND user_id = :user_id
    """
    run(tx, sql, level=level, at=at, room_id=room_id, user_id=actor.id)
    return view_of(tx, actor.id, room_id), before.involvement


class OverDatabase(Protocol):
    db: Database


def transaction(
    work: Writing[P, T],
) -> Callable[Concatenate[OverDatabase, P], Coroutine[object, object, T]]:
    """The method of a service that does this work, as one transaction."""

    async def method(service: OverDatabase, /, *args: P.args, **named: P.kwargs) -> T:
        return await service.db.write(work, *args, **named)

    return method


class Rooms:
    """RoomService over SQLite: one method, one transaction."""

    def __init__(self, db: Database) -> None:
        self.db = db

    create = transaction(_create)
    save = transaction(_save)
    find_or_create_direct = transaction(_ping)
    set_involvement = transaction(_set_involvement)


# === 15. history ==============================================================
# Which messages a page holds, and what a reader missed: ids and moments, in the order of
# the ids. What they say is read in `messages`, as far as nobody remembers it.
#
# Raises    MessageNotFound
# ==============================================================================

CATCH_UP_LIMIT: Final = 300
TOMBSTONE_LIFE: Final = 7 * 24 * 3600 * SECOND
_NEWEST: Final = MessageId(2**62)  # later than every message
Edge: TypeAlias = MessageId | None  # of a page, if it has one there
_Found: TypeAlias = tuple[list[sqlite3.Row], bool]


def _page_before(tx: ReadTx, room_id: RoomId, before: MessageId = _NEWEST) -> _Found:
    """The 40 newest rows earlier than a message, ascending, and whether there are earlier ones."""
    sql = """
        SELECT id, created_at, updated_at, creator_id
        FROM messages
        WHERE room_id = :room_id AND id < :before
        ORDER BY id DESC LIMIT :size + 1
    """
    messages = rows(tx, sql, room_id=room_id, before=before, size=PAGE_SIZE)
    return messages[:PAGE_SIZE][::-1], len(messages) > PAGE_SIZE


def _page_after(tx: ReadTx, room_id: RoomId, after: MessageId, size: int = PAGE_SIZE) -> _Found:
    """The oldest rows later than a message, ascending, and whether there are later ones."""
    sql = """
        SELECT id, created_at, updated_at, creator_id, length(body_html) AS size
        FROM messages
        WHERE room_id = :room_id AND id > :after
        ORDER BY id LIMIT :size + 1
    """
    messages = rows(tx, sql, room_id=room_id, after=after, size=size)
    return messages[:size], len(messages) > size


def page_of(
    tx: ReadTx, room_id: RoomId, before: Edge = None, after: Edge = None, around: Edge = None
) -> Excerpt:
    """The page before, after or around a message, else the last. Raises MessageNotFound."""
    edge = after if before is None else before
    place = around if edge is None else edge
    sql = """
        SELECT id, created_at, updated_at, creator_id
        FROM messages
        WHERE id = :message_id AND room_id = :room_id
    """
    message = row(tx, sql, message_id=place, room_id=room_id) if place else None
    if message is None and edge is not None:
        raise MessageNotFound
    if before is not None:
        return Excerpt(*_page_before(tx, room_id, before), has_after=True)
    if after is not None:
        later, has_after = _page_after(tx, room_id, after)
        return Excerpt(later, has_before=True, has_after=has_after)
    if message is None:
        return Excerpt(*_page_before(tx, room_id), has_after=False)
    earlier, has_before = _page_before(tx, room_id, message["id"])
    later, has_after = _page_after(tx, room_id, message["id"])
    return Excerpt([*earlier, message, *later], has_before, has_after, message["id"])


def _gone(tx: ReadTx, room_id: RoomId, last_seen: MessageId, since: int) -> tuple[Tombstone, ...]:
    sql = """
        SELECT message_id, room_id, client_message_id
        FROM message_tombstones
        WHERE room_id = :room_id AND deleted_at >= :since AND message_id <= :last_seen
        ORDER BY deleted_at LIMIT :limit + 1
    """
    stones = rows(tx, sql, room_id=room_id, last_seen=last_seen, since=since, limit=CATCH_UP_LIMIT)
    return tuple(starmap(Tombstone, stones))


def catch_up_of(
    tx: ReadTx, user_id: UserId, room_id: RoomId, last_seen: MessageId, since_ms: int, at: Timestamp
) -> CatchUp:
    """What changed since, as `get_messages_since` says it."""
    room, since = membership_of(tx, user_id, room_id).room, since_ms * 1000
    missed, is_too_much = _page_after(tx, room_id, last_seen, CATCH_UP_LIMIT)
    sql = """
        SELECT id, created_at, updated_at, creator_id, length(body_html) AS size
        FROM messages
        WHERE room_id = :room_id AND updated_at >= :since AND id <= :last_seen
        ORDER BY updated_at LIMIT :limit + 1
    """
    changed = rows(tx, sql, room_id=room_id, since=since, last_seen=last_seen, limit=CATCH_UP_LIMIT)
    removed = _gone(tx, room_id, last_seen, since)
    is_too_much = is_too_much or max(len(changed), len(removed)) > CATCH_UP_LIMIT
    is_large = sum(message["size"] for message in chain(missed, changed)) > MOST_SHOWN
    # Whoever knows the room by a clock that was set back is told nothing: changes may look older.
    is_known = at - TOMBSTONE_LIFE <= since <= at + SETTLED_AFTER
    if is_too_much or is_large or not is_known:
        return CatchUp(at, is_too_much=True)
    return CatchUp(at, missed, changed, removed, name_for_all(tx, room))


def news_of(tx: ReadTx, user_id: UserId, room_id: RoomId, since_ms: int, at: Timestamp) -> CatchUp:
    """The 40 oldest messages since a moment, the 40 latest changes to older ones, the removals."""
    room = membership_of(tx, user_id, room_id).room
    since = since_ms * 1000 + 999  # the last moment of that millisecond
    if since > at + SETTLED_AFTER:
        return CatchUp(at, is_too_much=True)
    sql = """
        SELECT id
        FROM messages
        WHERE room_id = :room_id AND created_at <= :since
        ORDER BY id DESC LIMIT 1
    """
    (last_seen,) = row(tx, sql, room_id=room_id, since=since) or [MessageId(0)]
    created, _ = _page_after(tx, room_id, last_seen)
    values = {"room_id": room_id, "since": since, "last_seen": last_seen, "size": PAGE_SIZE}
    sql = """
        SELECT id, created_at, updated_at, creator_id
        FROM messages
        WHERE room_id = :room_id AND updated_at > :since AND id <= :last_seen
        ORDER BY updated_at > :now, updated_at DESC  -- what has a time to come is told last
        LIMIT :size
    """
    changed = rows(tx, sql, **values, now=at + SETTLED_AFTER)
    changed.sort(key=lambda message: message["id"])
    return CatchUp(at, created, changed, _gone(tx, room_id, _NEWEST, since), name_for_all(tx, room))


# === 16. messages =============================================================
# What people say: once, in order. A draft is made safe, then stored; sending it
# again changes nothing, because browsers retry and people double-click (Gap #1).
# What was deleted leaves a tombstone, so that whoever was away can be told (Gap #2).
# Everything that belongs to a message is read with it, never one by one. The search
# index is written here too: no triggers, so that what a post costs can be read in one place.
#
# Owns      messages, mentions, boosts, message_tombstones, message_search_index
# Raises    MessageNotFound, BodyBlank, BodyTooLong, InvalidClientMessageId, Forbidden,
#           BoostNotFound, BoostBlank, BoostTooLong, TooManyBoosts, AttachmentNotEditable
# ==============================================================================

STEMS: Final = "CREATE VIRTUAL TABLE stems USING fts5vocab(message_search_index, instance)"
GLANCE_BYTES: Final = 65_536  # of bodies, which take the loop a few milliseconds to show
_ONE_AT_A_TIME: Final = threading.Lock()
_LARGE_BODY: Final = 8_192  # bytes above which sanitizing leaves the event loop
BOOST_LIMIT: Final = 16  # code points
_MOST_BOOSTS: Final = 20  # of one person for one message
_CALL: Final = "@everyone"
_EVERYONE: Final = re.compile(rf"(?<![\w@.]){_CALL}(?![\w@]|\.\w)", re.IGNORECASE)
_NOT_SAID: Final = set_of("blockquote pre code")


@lru_cache(maxsize=1)
def _empty_index() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.execute(SEARCH_INDEX)
    connection.execute(STEMS)
    return connection


@lru_cache(maxsize=8_192)
def stem_of(word: str) -> str:
    """What the index makes of a word; nothing of one that it does not keep."""
    with _ONE_AT_A_TIME:
        connection = _empty_index()
        connection.execute("BEGIN")
        connection.execute("INSERT INTO message_search_index (body) VALUES (:word)", {"word": word})
        stem = connection.execute("SELECT term FROM stems LIMIT 1").fetchone()
        connection.execute("ROLLBACK")
    return str(stem[0]) if stem else ""


def verify_index(connection: sqlite3.Connection) -> None:
    """Nothing, when the index agrees with the words it holds. Raises sqlite3.DatabaseError."""
    sql = "INSERT INTO message_search_index (message_search_index) VALUES ('integrity-check')"
    connection.execute(sql)


def boosts_of(tx: ReadTx, message_ids: str) -> dict[MessageId, tuple[Boost, ...]]:
    """The boosts of each message in a JSON list of ids, oldest first."""
    sql = """
        SELECT boosts.id, message_id, content, boosts.created_at, people.*
        FROM boosts
        JOIN people ON people.id = booster_id
        WHERE message_id IN (SELECT value FROM json_each(:ids))
        ORDER BY boosts.id
    """
    return grouped(
        (message_id, Boost(boost_id, message_id, content, user_in(*booster), at))
        for boost_id, message_id, content, at, *booster in rows(tx, sql, ids=message_ids)
    )


def messages_in(tx: ReadTx, said: list[sqlite3.Row]) -> tuple[PersistedMessage, ...]:
    """The messages in rows of `said` and `people`, in their order, with all that is theirs."""
    if sum(len(message["body_html"]) for message in said) > GLANCE_BYTES:
        leave_the_loop(tx)
    ids = as_list([message["id"] for message in said])
    boosts = boosts_of(tx, ids)
    wordless = [message["id"] for message in said if not message["body_html"]]
    with_pages = [html for _, _, _, _, html, *_ in said if PREVIEW_TYPE in html]
    shown = chain.from_iterable(map(pictures_in, with_pages))
    pictures: Pictures = standing_pictures(tx, shown) if with_pages else {}
    files = files_of(tx, wordless) if wordless else {}
    named = {message["id"]: mentions_in(message["body_html"]) for message in said}
    editors = {message["edited_by"] for message in said} - {None}
    mentionees: Mapping[MessageId, tuple[UserId, ...]] = {}
    people: Mapping[UserId, User] = {}
    if any(named.values()):
        sql = """
            SELECT message_id, user_id
            FROM mentions
            WHERE message_id IN (SELECT value FROM json_each(:ids))
            ORDER BY message_id, user_id
        """
        mentionees = grouped(map(tuple, rows(tx, sql, ids=ids)))
    if shown_people := editors.union(*named.values()):
        people = users_by_id(tx, shown_people)
    return tuple(
        PersistedMessage(
            message_id, room_id, user_in(*creator), client_message_id,
            Body(
                SafeHtml(html), text, mentionees.get(message_id, ()), links_in(html),
                previews_in(html, pictures) if PREVIEW_TYPE in html else (),
            ),
            created_at, updated_at, edited_at, people.get(edited_by), bool(to_everyone),
            boosts.get(message_id, ()),
            tuple(people[user_id] for user_id in sorted(people.keys() & named[message_id])),
            f"/rooms/{room_id}/@{message_id}",
            files.get(message_id),
        )
        for (
            message_id, room_id, _, client_message_id, html, text, created_at, updated_at,
            edited_at, edited_by, to_everyone, *creator
        ) in said
    )  # fmt: skip


def messages_by_id(
    tx: ReadTx, ids: Iterable[MessageId], *, with_bodies: bool = True
) -> tuple[PersistedMessage, ...]:
    """Those of the messages that exist, oldest first; or of each only what stands around it."""
    sql = """
        SELECT said.id, room_id, creator_id, client_message_id,
          iif(:with_bodies, body_html, '') AS body_html,
          iif(:with_bodies, body_text, '') AS body_text,
          said.created_at, said.updated_at, edited_at, edited_by, to_everyone, people.*
        FROM said
        JOIN people ON people.id = creator_id
        WHERE said.id IN (SELECT value FROM json_each(:ids))
        ORDER BY said.id
    """
    messages = rows(tx, sql, ids=as_list(ids), with_bodies=with_bodies)
    return messages_in(tx, messages) if messages else ()


def message_for(tx: ReadTx, by: UserId, room_id: RoomId, message_id: MessageId) -> PersistedMessage:
    """A message of a room somebody is in. Raises RoomNotFound, MessageNotFound."""
    membership_of(tx, by, room_id)
    for message in messages_by_id(tx, [message_id]):
        if message.room_id == room_id:
            return message
    raise MessageNotFound


def message_sent_as(
    tx: ReadTx, user_id: UserId, room_id: RoomId, client_message_id: str
) -> PersistedMessage | None:
    """What was sent to a room under this id, for a member of it. Raises RoomNotFound."""
    membership_of(tx, user_id, room_id)
    sql = "SELECT id FROM messages WHERE client_message_id = :name AND room_id = :room_id"
    sent = rows(tx, sql, name=client_message_id, room_id=room_id)
    return next(iter(messages_by_id(tx, [message_id for (message_id,) in sent])), None)


def page_and_count(
    tx: ReadTx, user_id: UserId, room_id: RoomId, before: Edge = None, after: Edge = None
) -> tuple[tuple[PersistedMessage, ...], Excerpt, int]:
    """A page's messages, the page, and how many there are. Raises RoomNotFound, MessageNotFound."""
    membership_of(tx, user_id, room_id)
    page = page_of(tx, room_id, before, after)
    [(count,)] = rows(tx, "SELECT count(*) FROM messages WHERE room_id = :room_id", room_id=room_id)
    return messages_by_id(tx, [message["id"] for message in page.found]), page, count


def message_of_member(
    tx: ReadTx, user_id: UserId, message_id: MessageId, room_id: RoomId | None = None
) -> sqlite3.Row:
    """Where a message is, and its client's id, for a member of its room: this one, if one is given.
    Raises RoomNotFound for a room they are not in, MessageNotFound."""
    if room_id is not None:
        membership_of(tx, user_id, room_id)
    sql = """
        SELECT messages.room_id, client_message_id
        FROM messages
        JOIN memberships ON memberships.room_id = messages.room_id AND user_id = :user_id
        WHERE messages.id = :message_id
    """
    message = row(tx, sql, message_id=message_id, user_id=user_id)
    if message is None or room_id not in (None, message["room_id"]):
        raise MessageNotFound
    return message


def validate(draft: DraftMessage, users: Named, pictures: Pictures) -> ValidatedMessage:
    """The draft made safe. Raises BodyBlank, BodyTooLong, InvalidClientMessageId."""
    cmid = draft.client_message_id or str(uuid.uuid4())
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", cmid):
        raise InvalidClientMessageId
    if draft.file:
        body = replace(sanitize("", {}), text=draft.file.filename)
        return ValidatedMessage(draft.room_id, draft.creator_id, cmid, body, draft.file)
    if is_nested_too_deeply(draft.source):
        raise BodyTooLong
    body = sanitize(draft.source, users, pictures)
    if len(body.html.encode()) > BODY_LIMIT:
        raise BodyTooLong
    if not (draft.may_vanish or body.text.strip() or body.mentions):
        raise BodyBlank
    return ValidatedMessage(draft.room_id, draft.creator_id, cmid, body, named=users)


def _index(tx: WriteTx, message_ids: str) -> None:
    """Indexes what messages say, which are not in the index."""
    sql = "SELECT * FROM indexed WHERE id IN (SELECT value FROM json_each(:ids))"
    for message_id, body, about in rows(tx, sql, ids=message_ids):
        # By itself: before a statement that might fail halfway FTS5 writes what it has.
        sql = "INSERT INTO message_search_index (rowid, body, about) VALUES (:id, :body, :about)"
        run(tx, sql, id=message_id, body=body, about=about)


def index_anew(tx: WriteTx, message_ids: Sequence[int]) -> None:
    """Indexes messages whose words, or what they have, are others now."""
    ids = as_list(message_ids)
    sql = "DELETE FROM message_search_index WHERE rowid IN (SELECT value FROM json_each(:ids))"
    run(tx, sql, ids=ids)
    _index(tx, ids)


def _note_mentions(tx: WriteTx, room_id: RoomId, message_id: MessageId, body: Body) -> None:
    """Notes whom a message mentions: of those named, the room's members."""
    sql = """
        INSERT INTO mentions (message_id, user_id)
        SELECT :message_id, user_id
        FROM memberships
        WHERE room_id = :room_id AND user_id IN (SELECT value FROM json_each(:named))
    """
    run(tx, sql, message_id=message_id, room_id=room_id, named=as_list(body.mentions))


def _calls_everyone(tx: ReadTx, author_id: UserId, room_id: RoomId, body: Body) -> bool:
    """Whether it says @everyone in its author's own words, no quotation and no code, who may."""
    words, at, depth = list[str](), 0, 0
    for tag in WRITTEN_TAG.finditer(body.html):
        words += [body.html[at : tag.start()]] if depth == 0 else []
        at = tag.end()
        if tag["name"] in _NOT_SAID:
            depth += -1 if tag["end"] else 1
    is_said = _EVERYONE.search(" ".join([*words, body.html[at:]]))
    return bool(is_said) and may_call_everyone(tx, author_id, room_id)


def _standing(tx: ReadTx, valid: ValidatedMessage) -> Body:
    """The body, without pictures of pages that were swept since it was made."""
    wanted = {preview.image for preview in valid.body.previews if preview.image}
    pictures = standing_pictures(tx, wanted)
    if wanted <= pictures.keys():
        return valid.body
    return sanitize(valid.body.html, valid.named, pictures)


def store_message(
    tx: WriteTx, at: Timestamp, valid: ValidatedMessage, present: Iterable[UserId]
) -> Posted:
    """The stored message; sent again, the first stands (Gap #1). Raises RoomNotFound."""
    room, author = membership_of(tx, valid.creator_id, valid.room_id).room, valid.creator_id
    body = _standing(tx, valid) if valid.body.previews else valid.body
    to_all = _CALL in body.text.lower() and _calls_everyone(tx, author, room.id, body)
    name, sent_as = room.name or name_for_all(tx, room), valid.client_message_id
    said = {"name": sent_as, "html": body.html, "text": body.text, "to_all": to_all, "at": at}
    sql = """
        INSERT INTO messages (room_id, creator_id, client_message_id, body_html, body_text,
          to_everyone, created_at, updated_at)
        VALUES (:room_id, :creator_id, :name, :html, :text, :to_all, :at, :at)
        ON CONFLICT (client_message_id, room_id) DO NOTHING
    """
    inserted = tx.execute(sql, {"room_id": room.id, "creator_id": author, **said})
    posted = partial(Posted, room=room, room_name=name, present=frozenset(present))
    if not inserted.rowcount:
        first = cast(PersistedMessage, message_sent_as(tx, author, room.id, sent_as))
        return posted(first, fresh=False, members=())
    message_id = MessageId(inserted.lastrowid or 0)
    if valid.file:
        attach(tx, at, message_id, valid.file)
    if body.previews:
        show_pictures(tx, message_id, body.previews)
    members, is_awaited = receive_message(tx, at, room.id, author, present)
    if body.mentions:
        _note_mentions(tx, room.id, message_id, body)
    _index(tx, as_list([message_id]))  # at last: other statements make the index write
    if valid.file or body.mentions or body.previews:
        (message,) = messages_by_id(tx, [message_id])
    else:  # nothing of it has to be read
        [person] = rows(tx, "SELECT * FROM people WHERE id = :id", id=author)
        said_by = message_id, room.id, user_in(*person), sent_as, body, at, at, None, None
        path = f"/rooms/{room.id}/@{message_id}"
        message = PersistedMessage(*said_by, to_all, (), (), path, None)
    is_awaited = is_awaited or to_all or bool(body.mentions)
    return posted(message, fresh=True, members=members, is_awaited=is_awaited)


def _own_message(
    tx: ReadTx, actor: User, room_id: RoomId, message_id: MessageId, *, is_edit: bool = True
) -> PersistedMessage:
    message = message_for(tx, actor.id, room_id, message_id)
    if not can_administer(actor, message.creator.id):
        raise Forbidden
    if is_edit and message.file:
        raise AttachmentNotEditable
    return message


def _update(
    tx: WriteTx, at: Timestamp, actor: User, message_id: MessageId, valid: ValidatedMessage
) -> PersistedMessage:
    room_id, body = valid.room_id, _standing(tx, valid)
    author = _own_message(tx, actor, room_id, message_id).creator
    to_all = _CALL in body.text.lower() and _calls_everyone(tx, author.id, room_id, body)
    said = {"html": body.html, "text": body.text, "to_all": to_all, "by": actor.id}
    sql = """
        UPDATE messages
        SET edited_at = iif(body_html = :html, edited_at, :at),
          edited_by = iif(body_html = :html, edited_by, :by), to_everyone = :to_all,
          body_html = :html, body_text = :text, updated_at = max(:at, updated_at + 1)
        WHERE id = :message_id
    """
    run(tx, sql, **said, at=at, message_id=message_id)
    index_anew(tx, [message_id])
    run(tx, "DELETE FROM mentions WHERE message_id = :id", id=message_id)
    _note_mentions(tx, room_id, message_id, body)
    show_pictures(tx, message_id, body.previews)
    touch_room(tx, at, room_id)
    return message_for(tx, actor.id, room_id, message_id)


def bury_message(tx: WriteTx, at: Timestamp, room_id: RoomId, message_id: MessageId) -> Tombstone:
    """Deletes a message with all that belongs to it, and leaves its tombstone."""
    sql = """
        INSERT INTO message_tombstones (message_id, room_id, client_message_id, deleted_at)
        SELECT id, room_id, client_message_id, :at FROM messages WHERE id = :message_id
        RETURNING message_id, room_id, client_message_id
    """
    [stone] = rows(tx, sql, at=at, message_id=message_id)
    run(tx, "DELETE FROM message_search_index WHERE rowid = :id", id=message_id)
    doom_files_of(tx, at, [message_id])
    run(tx, "DELETE FROM messages WHERE id = :id", id=message_id)
    touch_room(tx, at, room_id)
    return Tombstone(*stone)


def _delete(
    tx: WriteTx, at: Timestamp, actor: User, room_id: RoomId, message_id: MessageId
) -> Tombstone:
    _own_message(tx, actor, room_id, message_id, is_edit=False)
    return bury_message(tx, at, room_id, message_id)


def remove_room(tx: WriteTx, at: Timestamp, actor: User, room_id: RoomId) -> RoomChange:
    """The room that is gone, with all that referred to it. Raises RoomNotFound, Forbidden."""
    room = membership_of(tx, actor.id, room_id).room
    if room.type is not RoomType.DIRECT and not can_administer(actor, room.creator_id):
        raise Forbidden  # any member may delete a ping
    sql = """
        DELETE FROM message_search_index
        WHERE rowid IN (SELECT id FROM messages WHERE room_id = :room_id)
    """
    run(tx, sql, room_id=room_id)
    sql = "SELECT id FROM messages WHERE room_id = :room_id AND body_html = ''"
    doom_files_of(tx, at, [message_id for (message_id,) in rows(tx, sql, room_id=room_id)])
    members = member_ids(tx, room_id)
    drop_room(tx, room_id)
    return RoomChange(None, room, revoked=members)


def _touch_message(tx: WriteTx, at: Timestamp, message_id: MessageId, room_id: RoomId) -> None:
    sql = "UPDATE messages SET updated_at = max(:at, updated_at + 1) WHERE id = :id"
    run(tx, sql, at=at, id=message_id)
    touch_room(tx, at, room_id)


def show_anew(tx: WriteTx, at: Timestamp, message_ids: Sequence[int]) -> None:
    """Has everybody read messages again whose files have come; their rooms keep their order."""
    sql = """
        UPDATE messages
        SET updated_at = max(:at, updated_at + 1)
        WHERE id IN (SELECT value FROM json_each(:ids))
    """
    run(tx, sql, at=at, ids=as_list(message_ids))
    sql = """
        SELECT DISTINCT rooms.id, rooms.updated_at + 1
        FROM messages
        JOIN rooms ON rooms.id = room_id
        WHERE messages.id IN (SELECT value FROM json_each(:ids))
    """
    for room_id, a_little_later in rows(tx, sql, ids=as_list(message_ids)):
        touch_room(tx, a_little_later, room_id)


def _boost(
    tx: WriteTx,
    at: Timestamp,
    actor: User,
    message_id: MessageId,
    content: str,
    room_id: RoomId | None = None,
) -> Boosted:
    message = message_of_member(tx, actor.id, message_id, room_id)
    words = without_controls(content).strip()
    if not words:
        raise BoostBlank
    if len(words) > BOOST_LIMIT:
        raise BoostTooLong
    sql = "SELECT count(*) FROM boosts WHERE message_id = :message_id AND booster_id = :by"
    [(times,)] = rows(tx, sql, message_id=message_id, by=actor.id)
    if times >= _MOST_BOOSTS:
        raise TooManyBoosts
    sql = """
        INSERT INTO boosts (message_id, booster_id, content, created_at, updated_at)
        VALUES (:message_id, :booster_id, :content, :at, :at)
    """
    boost_id = insert(tx, sql, message_id=message_id, booster_id=actor.id, content=words, at=at)
    _touch_message(tx, at, message_id, message["room_id"])
    return Boosted(Boost(BoostId(boost_id), message_id, words, actor, at), *message)


def _unboost(
    tx: WriteTx,
    at: Timestamp,
    actor: User,
    message_id: MessageId,
    boost_id: BoostId,
    room_id: RoomId | None = None,
) -> Boosted:
    message = message_of_member(tx, actor.id, message_id, room_id)
    boosts = boosts_of(tx, as_list([message_id])).get(message_id, ())
    mine = [boost for boost in boosts if boost.id == boost_id and boost.booster.id == actor.id]
    if not mine:
        raise BoostNotFound
    run(tx, "DELETE FROM boosts WHERE id = :boost_id", boost_id=boost_id)
    _touch_message(tx, at, message_id, message["room_id"])
    return Boosted(mine[0], *message)


def sweep_tombstones(tx: WriteTx, at: Timestamp) -> int:
    """Forgets what was deleted more than 7 days ago; the number of tombstones gone."""
    horizon = at - TOMBSTONE_LIFE
    return run(tx, "DELETE FROM message_tombstones WHERE deleted_at < :horizon", horizon=horizon)


class Messages:
    """MessageService over SQLite: one method, one transaction (and a look at who is named)."""

    def __init__(
        self, db: Database, signer: Signer, present_in: Callable[[RoomId], frozenset[UserId]]
    ) -> None:
        self.db, self._signer, self._present_in = db, signer, present_in

    async def _valid(self, draft: DraftMessage) -> ValidatedMessage:
        """The draft made safe, with whom it names, nearly always nobody; a large one aside."""
        if (size := len(draft.source.encode())) > BODY_LIMIT:
            raise BodyTooLong
        ids = mentions_in(draft.source)
        people = await self.db.read(users_by_id, ids) if ids else {}
        users = {user.id: self._signer.mentionable(user) for user in people.values()}
        shown = pictures_in(draft.source) if PREVIEW_TYPE in draft.source else []
        pictures = await self.db.read(standing_pictures, shown) if shown else {}
        if size > _LARGE_BODY:
            return await asyncio.to_thread(validate, draft, users, pictures)
        return validate(draft, users, pictures)

    async def create_message_with_deduplication(self, draft: DraftMessage) -> Posted:
        try:
            valid = await self._valid(draft)
        except MessageError:
            await self.db.read(membership_of, draft.creator_id, draft.room_id)
            raise  # outsiders learn of the room first, that is: nothing
        return await self.db.write(store_message, valid, self._present_in(draft.room_id))

    async def update(
        self, actor: User, message_id: MessageId, draft: DraftMessage
    ) -> PersistedMessage:
        await self.db.read(_own_message, actor, draft.room_id, message_id)
        return await self.db.write(_update, actor, message_id, await self._valid(draft))

    delete = transaction(_delete)
    boost = transaction(_boost)
    unboost = transaction(_unboost)

    async def get_messages_since(
        self, user_id: UserId, room_id: RoomId, last_seen: MessageId, since_ms: int
    ) -> CatchUp:
        at = self.db.settled_at()
        return await self.db.read(catch_up_of, user_id, room_id, last_seen, since_ms, at)


# === 17. search ===============================================================
# Finding what was said, in the rooms one is in. Every word must be there, stemmed
# and folded; there are no operators. The newest hundred come back, oldest first.
# Permission is part of the query: a common word in rooms of others costs a
# bounded probe, and then one goes by one's own rooms.
#
# Owns      searches
# ==============================================================================

SEARCH_LIMIT: Final = 100
RECENT_SEARCHES: Final = 10
_QUERY_LIMIT: Final = 1_000  # characters; who asks for more asks for its first words
_WORDS_LIMIT: Final = 32  # different words of a query that count, and parts of one word
_FEW: Final = 256  # candidates to begin with
_MANY: Final = 100_000  # messages, of which FTS5 goes through two lists in two milliseconds
_LAST: Final = 2**62  # no id, and no moment, is as high
LARGE_HIT: Final = 4_096  # bytes of a body above which a search shows an excerpt of it
_EXCERPT: Final = 300  # characters, of which a third stands before the first mark
_MOST_MARKS: Final = 50
_MOST_DOUBTS: Final = 50  # words of a text that begin as one sought, and are none
_QUICK: Final = 0.1  # seconds after which a search is no ordinary one


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search asks for besides words; all of it must be so."""

    room_id: int | None = None
    creator_id: int | None = None
    has: str = ""  # a "file", a "link" or an "image"
    since: Timestamp = Timestamp(0)
    until: Timestamp = Timestamp(_LAST)  # and before this moment
    before: int = _LAST  # the id of a message


ANYTHING: Final = Wanted()


@dataclass(frozen=True, slots=True)
class Sought:
    """A query as FTS5 takes it, and how to see in a text what FTS5 found there."""

    match: str  # every word quoted, so that none is an operator; empty without words
    beginning: str  # the same with a beginning of the last word; empty where that finds no more
    looks_alike: re.Pattern[str]  # in a folded text
    stems: frozenset[str]
    last: re.Pattern[str] | None  # what begins with the last word


Marks = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SearchHits:
    """The newest matches of a search, oldest first, their rooms' names, and if more are before."""

    words: Sought
    messages: Sequence[sqlite3.Row]
    room_names: Mapping[RoomId, str]
    has_before: bool


def cleaned_query(text: str) -> str:
    """The words of a search: letters, marks, digits and connectors; all else is space."""
    signs = [(sign, unicodedata.category(sign)) for sign in text[: _QUERY_LIMIT + 1]]
    kept = "".join(c if kind[0] in "LM" or kind in ("Nd", "Pc") else " " for c, kind in signs)
    if len(kept) > _QUERY_LIMIT:  # half a word would find nothing
        kept = kept.rpartition(" ")[0] or kept[:_QUERY_LIMIT]
    return " ".join(kept.split())


@lru_cache(maxsize=4_096)
def _folded_character(character: str) -> str:
    return unicodedata.normalize("NFD", character)[0].lower()[0]


def _folded(text: str) -> str:
    """A text without capitals and accents, each character in its place."""
    return text.lower() if text.isascii() else "".join(map(_folded_character, text))


def _like(word: str, stem: str) -> str:
    """Words of this one's stem agree but for its end: happy and happi, filing and file."""
    same = sum(takewhile(bool, map(str.__eq__, word, stem)))
    ending = r"(?:[^\W_]|[\u0300-\u036f])*" if word[1:] else r"(?![^\W_])"
    return re.escape(word[: max(same - 1, len("ed"))]) + ending


@lru_cache(maxsize=256)
def sought(query: str) -> Sought:
    """What a cleaned query seeks."""
    split = (re.findall(r"[^\s_]+", searchable(word)) for word in query.split()[:_QUERY_LIMIT])
    words = dict.fromkeys(" ".join(parts[:_WORDS_LIMIT]) for parts in split)
    phrases = [word for word in words if any(map(str.isalnum, word))][:_WORDS_LIMIT]
    single = [_folded(word) for word in phrases if " " not in word and word == searchable(word)]
    stems = {word: stem_of(word) for word in single}
    last = _folded(phrases[-1]) if phrases else ""
    # The index stems beginnings too; one that stays in the word's own beginning finds enough.
    cut = (last[:size] for size in range(len(last) if last in stems else 0, 1, -1))
    start = next((it for it in cut if len(stem_of(it)) > 1 and last.startswith(stem_of(it))), "")
    rest = [_folded(word).split() for word in phrases if _folded(word) not in stems]
    in_a_row = [r"[\W_]*".join(map(re.escape, parts)) for parts in rest]
    return Sought(
        match=" ".join(f'"{word}"' for word in phrases),
        beginning=" ".join(f'"{word}"' for word in (*phrases[:-1], start)) + " *" if start else "",
        looks_alike=re.compile(
            rf"(?P<whole>{'|'.join(in_a_row) or '(?!)'})"
            rf"|(?<![^\W_])(?:{'|'.join(starmap(_like, stems.items())) or '(?!)'})"
        ),
        stems=frozenset(stems.values()),
        last=re.compile(rf"(?<![^\W_]){re.escape(last)}") if start else None,
    )


def marked_text(text: str, words: Sought, *, is_excerpt: bool) -> tuple[str, Marks]:
    """A text, or what of it stands around its first mark; and where that is marked."""
    marks: list[tuple[int, int]] = []
    doubts = 0
    for alike in words.looks_alike.finditer(_folded(text)):
        is_begun = words.last is not None and words.last.match(alike[0])
        if alike["whole"] or is_begun or stem_of(alike[0]) in words.stems:
            marks.append(alike.span())
        else:
            doubts += 1
        if len(marks) == _MOST_MARKS or doubts == _MOST_DOUBTS:  # enough is shown, or tried
            break
    if not is_excerpt:
        return text, tuple(marks)
    start = max((marks[0][0] if marks else 0) - _EXCERPT // 3, 0)
    start = text.find(" ", start, start + _EXCERPT // 3) + 1 or start if start else 0
    end = start + _EXCERPT
    inside = ((at - start, to - start) for at, to in marks if start <= at and to <= end)
    return text[start:end], tuple(inside)


def wanted_in(query: Mapping[str, str]) -> Wanted:
    """What a search asks for besides words. Raises ValidationFailed."""
    given = {name: text.strip() for name, text in query.items() if text.strip()}
    wanted, wrong = dict[str, Any](), dict[str, list[str]]()
    for name in ("room_id", "creator_id", "before"):
        if name in given:
            wanted[name] = int(given[name]) if re.fullmatch("[0-9]{1,18}", given[name]) else None
            wrong |= {name: ["is no id"]} if wanted[name] is None else {}
    for name, bound in (("from", "since"), ("to", "until")):
        if name in given:
            wanted[bound] = moment_in(given[name])
            wrong |= {name: ["is no date"]} if wanted[bound] is None else {}
    wanted["has"] = given.get("has", "")
    if wanted["has"] not in ("", "file", "link", "image"):
        wrong["has"] = ["can be file, link or image"]
    if wrong:
        raise ValidationFailed(wrong)
    if len(given.get("to", "")) == len("2026-11-30"):  # all of that day
        wanted["until"] += DAY
    return Wanted(**wanted)


def _first_and_last(tx: ReadTx, wanted: Wanted) -> tuple[int, int]:
    """Between which ids whatever is wanted lies. Ids are no clock, but each day has a first and a
    last one: hopping from day to day finds the ends of years, and a wrong clock hides nothing."""
    last = wanted.before - 1
    if (wanted.since, wanted.until) == (ANYTHING.since, ANYTHING.until):
        return 0, last
    sql = """
        WITH RECURSIVE days(day) AS (
          SELECT min(created_at / 86400000000) FROM messages
          WHERE created_at / 86400000000 >= :since / 86400000000
          UNION ALL
          SELECT (
            SELECT min(created_at / 86400000000) FROM messages
            WHERE created_at / 86400000000 > day
          )
          FROM days
          WHERE day < :until / 86400000000
        )
        SELECT
          min(iif(:since = 0, 0, (
            SELECT min(id) FROM messages WHERE created_at / 86400000000 = day
          ))) AS first,
          max((SELECT max(id) FROM messages WHERE created_at / 86400000000 = day)) AS last
        FROM days
    """
    [(first, newest)] = rows(tx, sql, since=wanted.since, until=wanted.until)
    return (1, 0) if first is None else (first, min(last, newest))


def _step_aside(tx: ReadTx) -> None:
    """Leaves the loop for what is one step of SQLite, where that may take longer than a glance."""
    if row(tx, "SELECT 1 FROM messages WHERE id > :many LIMIT 1", many=_MANY):
        leave_the_loop(tx)


def _go(
    tx: ReadTx, most: int, about: Sequence[str], words: str, asked: Mapping[str, object]
) -> tuple[list[sqlite3.Row], bool]:
    """The newest 101 that somebody may see and wants, among so many whose words, and what they are
    about, are all in the index; and whether there are more of those."""
    lists = [f"about : ({' AND '.join(about)})"] * bool(about) + [f"body : ({words})"] * bool(words)
    matches: list[sqlite3.Row] = []
    sql = """
        SELECT messages.id, messages.room_id, messages.created_at, messages.updated_at, body_text,
          length(body_html) AS size, memberships.id IS NOT NULL AND messages.created_at >= :since
          AND messages.created_at < :until AS is_wanted
        FROM message_search_index AS found
        CROSS JOIN messages ON messages.id = found.rowid
        LEFT JOIN memberships
          ON memberships.room_id = messages.room_id AND memberships.user_id = :user_id
        WHERE message_search_index MATCH :match AND found.rowid BETWEEN :first AND :last
        ORDER BY found.rowid DESC
    """
    with closing(tx.execute(sql, {**asked, "match": " AND ".join(lists)})) as candidates:
        for message in islice(candidates, most):
            matches += [message] if message["is_wanted"] else []
            if len(matches) > SEARCH_LIMIT:
                return matches, False
        return matches, next(candidates, None) is not None


def _matches(tx: ReadTx, words: str, **asked: object) -> list[sqlite3.Row]:
    """The newest 101 messages that somebody may see and wants. Most people are in most rooms: a
    look at the newest of all does, unless they are in small ones alone. Else their rooms, too, are
    looked for in the index; that is one step of SQLite, however long the lists are."""
    sql = """
        SELECT 1
        FROM memberships
        JOIN messages ON messages.room_id = memberships.room_id
        WHERE user_id = :user_id
        LIMIT 1 OFFSET :few
    """
    is_short = row(tx, sql, **asked, few=_FEW) is None
    by = "" if asked["creator_id"] is None else f"u{asked['creator_id']}"
    about = [f'"{it}"' for it in (by, asked["has"]) if it]
    if asked["room_id"] is None and (about or words) and not is_short:
        if len(about) + len(words.split()) > 1:
            _step_aside(tx)
        matches, are_more = _go(tx, _FEW, about, words, asked)
        if not are_more:
            return matches
    sql = """
        SELECT '"r' || room_id || :by || '"'
        FROM memberships
        WHERE user_id = :user_id AND room_id = coalesce(:room_id, room_id)
    """
    rooms = [tag for (tag,) in rows(tx, sql, **asked, by=by)]
    if (about or words or rooms[1:]) and not is_short:
        _step_aside(tx)
    return _go(tx, _LAST, [f"({' OR '.join(rooms)})", *about], words, asked)[0] if rooms else []


def matches_for(
    tx: ReadTx, user_id: UserId, query: str, wanted: Wanted = ANYTHING
) -> list[sqlite3.Row]:
    """The newest matches of a cleaned query that somebody may see, newest first: 101 at most. What
    begins with its last word is found too, where the words themselves leave room for it: a prefix
    costs SQLite all that begins with it, in everybody's rooms."""
    words = sought(query)
    if not words.match and (query or replace(wanted, before=_LAST) == ANYTHING):
        return []
    first, last = _first_and_last(tx, wanted)
    asked = {**asdict(wanted), "user_id": user_id, "first": first, "last": last}
    matches = _matches(tx, words.match, **asked)
    if words.beginning and len(matches) < SEARCH_LIMIT:
        _step_aside(tx)  # all that begins alike is put together first
        more = {message["id"]: message for message in matches}
        for message in _matches(tx, words.beginning, **asked):
            if words.last is not None and words.last.search(_folded(message["body_text"])):
                more.setdefault(message["id"], message)
        matches = [more[message_id] for message_id in sorted(more, reverse=True)]
    return matches[: SEARCH_LIMIT + 1]


def hits_for(tx: ReadTx, user_id: UserId, query: str, wanted: Wanted = ANYTHING) -> SearchHits:
    """What a cleaned query finds in somebody's rooms: the newest hundred, oldest first."""
    matches = matches_for(tx, user_id, query, wanted)
    newest = sorted(matches[:SEARCH_LIMIT], key=lambda message: message["id"])
    if sum(message["size"] for message in newest) > GLANCE_BYTES:
        leave_the_loop(tx)
    there = {message["room_id"] for message in newest}
    memberships = memberships_of(tx, user_id) if there else []
    own = [membership for membership in memberships if membership.room.id in there]
    names = {view.room.id: display_name(view) for view in views_of(tx, own)}
    return SearchHits(sought(query), newest, names, len(matches) > SEARCH_LIMIT)


def recent_searches(tx: ReadTx, user_id: UserId) -> list[Json]:
    """Somebody's last ten searches, newest first."""
    sql = """
        SELECT id, query, updated_at
        FROM searches
        WHERE user_id = :user_id
        ORDER BY updated_at DESC LIMIT :recent
    """
    recent = rows(tx, sql, user_id=user_id, recent=RECENT_SEARCHES)
    return [{"id": n, "query": query, "updated_at": iso(at)} for n, query, at in recent]


def remember_search(tx: WriteTx, at: Timestamp, user_id: UserId, query: str) -> None:
    """Remembers a search among somebody's last ten."""
    sql = """
        INSERT INTO searches (user_id, query, created_at, updated_at)
        VALUES (:user_id, :query, :at, :at)
        ON CONFLICT (user_id, query) DO UPDATE SET updated_at = excluded.updated_at
    """
    run(tx, sql, user_id=user_id, query=query, at=at)
    sql = """
        DELETE FROM searches
        WHERE id IN (
          SELECT id FROM searches WHERE user_id = :user_id
          ORDER BY updated_at DESC LIMIT -1 OFFSET :recent
        )
    """
    run(tx, sql, user_id=user_id, recent=RECENT_SEARCHES)


def forget_searches(tx: WriteTx, _: Timestamp, user_id: UserId) -> None:
    """Clears somebody's recent searches."""
    run(tx, "DELETE FROM searches WHERE user_id = :user_id", user_id=user_id)


class Search:
    """Searches, one at a time per person. Whose last search took long waits with others like them:
    no crowd of those delays an ordinary one for longer than it takes to see that they are none."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._turns: defaultdict[UserId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._slow: set[UserId] = set()
        self._quick_ones, self._slow_ones = asyncio.Semaphore(2), asyncio.Semaphore(1)

    async def in_turn(self, user_id: UserId, work: Callable[[ReadTx], T]) -> T:
        """What `work` finds, aside. Raises DatabaseBusy when it takes too long."""
        async with self._turns[user_id]:
            if user_id not in self._slow:
                try:
                    async with self._quick_ones:
                        return await self._db.read_aside(work, _QUICK)
                except DatabaseBusy:
                    self._slow.add(user_id)
            async with self._slow_ones:
                began = time.perf_counter()
                found = await self._db.read_aside(work)
                if time.perf_counter() - began < _QUICK:
                    self._slow.discard(user_id)
                return found


# === 18. outbound =============================================================
# Where a request of ours leads. Looking a name up may take half a minute, so it has
# threads of its own: a slow name delays nobody but whoever waits for it. Where members
# choose the address it must not lead inside: every answer must be one of the open
# internet, and that answer is the one connected to.
# ==============================================================================

NAMES_AT_ONCE: Final = 32
LookUp = Callable[..., Sequence[tuple[Any, ...]]]  # as socket.getaddrinfo
_NOT_PUBLIC: Final = networks_in(
    """
    0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 168.63.129.16/32, 169.254.0.0/16,
    172.16.0.0/12, 192.0.0.0/24, 192.0.2.0/24, 192.88.99.0/24, 192.168.0.0/16, 198.18.0.0/15,
    198.51.100.0/24, 203.0.113.0/24, 224.0.0.0/4, 240.0.0.0/4, 2001:db8::/32
    """
)
# Of IPv6 only what is given out for the open internet (IANA, October 2025), so without mapped and
# translated addresses, tunnels, local networks, groups, and whatever is thought of next.
_GIVEN_OUT: Final = networks_in(
    """
    2001:3::/32, 2001:4:112::/48, 2001:200::/23, 2001:400::/23, 2001:600::/23, 2001:800::/22,
    2001:c00::/23, 2001:e00::/23, 2001:1200::/23, 2001:1400::/22, 2001:1800::/23,
    2001:1a00::/23, 2001:1c00::/22, 2001:2000::/19, 2001:4000::/23, 2001:4200::/23,
    2001:4400::/23, 2001:4600::/23, 2001:4800::/23, 2001:4a00::/23, 2001:4c00::/23,
    2001:5000::/20, 2001:8000::/19, 2001:a000::/20, 2001:b000::/20, 2003::/18, 2400::/11,
    2600::/12, 2610::/23, 2620::/23, 2630::/12, 2800::/12, 2a00::/11, 2c00::/12
    """
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet; what does not parse is not."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    if isinstance(ip, ipaddress.IPv6Address) and not any(ip in network for network in _GIVEN_OUT):
        return False
    return not any(ip in network for network in _NOT_PUBLIC)


def leads_inside(url: URL) -> bool:
    """Whether a URL holds an address instead of a name, and one that is not public. The host is the
    one aiohttp connects to, after it has folded what only looks like digits; for such hosts it asks
    no resolver."""
    host = url.raw_host or ""
    is_address = ":" in host or host.replace(".", "").isdigit()
    return is_address and not is_public(host)


class Resolver(AbstractResolver):
    """Looks names up in threads of their own."""

    def __init__(self, names: ThreadPoolExecutor, look_up: LookUp, *, only_public: bool) -> None:
        self._names, self._look_up, self._only_public = names, look_up, only_public

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """What a name leads to. Raises OSError, also for one that leads inside and must not."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._names, self._look_up, host, port, family, socket.SOCK_STREAM
        )
        addresses = [str(sockaddr[0]) for *_, sockaddr in found]
        if not addresses or (self._only_public and not all(map(is_public, addresses))):
            raise OSError(f"{host} is not on the open internet")
        flags = socket.AI_NUMERICHOST
        return [
            ResolveResult(hostname=host, host=ip, port=port, family=kind, proto=proto, flags=flags)
            for ip, (kind, _, proto, *_) in zip(addresses, found, strict=True)
        ]

    async def close(self) -> None:
        pass


class Client:
    """Asks other servers: it remembers nothing, and finds its way by these names alone."""

    def __init__(self, names: Resolver, agent: str, *tracing: TraceConfig) -> None:
        self.names, self._agent, self._tracing = names, agent, tracing

    @cached_property
    def session(self) -> ClientSession:
        return ClientSession(
            connector=TCPConnector(resolver=self.names, use_dns_cache=False),
            headers={"User-Agent": self._agent},
            trust_env=False,
            cookie_jar=DummyCookieJar(),
            trace_configs=list(self._tracing),
        )

    async def close(self) -> None:
        """Ends its connections, if it has any."""
        if "session" in vars(self):
            await self.session.close()


# === 19. push =================================================================
# Telling browsers that are not open (Web Push: RFC 8030, 8291, 8292). The address
# comes from any member, so it must not lead inside, and what does not answer is
# nobody else's delay: an endpoint is told one thing at a time, a person eight, and
# who lets three run out of time rests for an hour. One try, ten seconds; a service
# that says the browser is gone is believed.
#
# Owns      push_subscriptions
# Raises    PushSubscriptionNotFound, PushFailed, PushGone, ValidationFailed
# ==============================================================================

SUBSCRIPTIONS_LIMIT: Final = 20  # a person
PUSH_LIMIT: Final = 3_000  # bytes of payload; services refuse more than 4,096 encrypted
_PUSH_SECONDS: Final = 10
_PUSHES_AT_ONCE: Final = 50
_PUSHES_EACH: Final = 8  # at once to the browsers of one person
_PUSHES_WAITING_EACH: Final = 400  # twenty messages to twenty browsers
_PEOPLE_WAITING: Final = 10_000
_TIMEOUTS: Final = 3  # running, after which an endpoint rests
_REST_SECONDS: Final = 3_600
_SLOW_ENDPOINTS: Final = 10_000  # remembered
HTTPS_PORT: Final = 443
_PUSH_HEADERS: Final = {
    "Content-Encoding": "aes128gcm", "Content-Type": "application/octet-stream", "Urgency": "high",
    "TTL": "2419200",  # seconds a push service keeps it for a sleeping device
}  # fmt: skip
_TOKEN_LIFE: Final = 6 * 3600
_GONE: Final = frozenset((404, 410))
_PROBLEMS: Final = {400: "keys", 401: "keys", 403: "keys", 413: "too_large", 429: "too_many"}
_NOTED_AGAIN: Final = 3_600 * SECOND  # the same result
_MAILABLE: Final = re.compile(r"[^@\s]+@[\w-]+(\.[\w-]+)+", re.ASCII)  # as py_vapid wants it
_NOBODY: Final = "campfire@localhost.localdomain"
_KEY_LIMIT: Final = 4_096


@dataclass(frozen=True, slots=True)
class PushSubscription:
    """A browser that wants to be told: its address at a push service, and its keys."""

    id: int
    user_id: UserId
    endpoint: str
    p256dh_key: str
    auth_key: str
    user_agent: str
    created_at: Timestamp
    updated_at: Timestamp
    last_tried_at: Timestamp | None
    last_status: int | None  # of the push service; None when it did not answer
    last_problem: str | None  # None when it was told


def subscriptions_of(tx: ReadTx, user_id: UserId) -> tuple[PushSubscription, ...]:
    """Somebody's browsers, oldest first."""
    sql = "SELECT * FROM subscriptions WHERE user_id = :user_id ORDER BY id"
    return tuple(starmap(PushSubscription, rows(tx, sql, user_id=user_id)))


def keep_subscription(
    tx: WriteTx, at: Timestamp, user_id: UserId, endpoint: str, keys: tuple[str, str], agent: str
) -> PushSubscription:
    """The subscription, new or known; a known one is only refreshed. The oldest above 20 goes."""
    p256dh, auth = keys
    sql = """
        INSERT INTO push_subscriptions
          (user_id, endpoint, p256dh_key, auth_key, user_agent, created_at, updated_at)
        VALUES (:user_id, :endpoint, :p256dh, :auth, :agent, :at, :at)
        ON CONFLICT (user_id, endpoint, p256dh_key, auth_key)
        DO UPDATE SET updated_at = excluded.updated_at
    """
    run(tx, sql, user_id=user_id, endpoint=endpoint, p256dh=p256dh, auth=auth, agent=agent, at=at)
    sql = """
        DELETE FROM push_subscriptions
        WHERE id IN (
          SELECT id FROM push_subscriptions WHERE user_id = :user_id
          ORDER BY updated_at DESC, id DESC LIMIT -1 OFFSET :most
        )
    """
    run(tx, sql, user_id=user_id, most=SUBSCRIPTIONS_LIMIT)
    own = subscriptions_of(tx, user_id)
    return next(subscription for subscription in own if subscription.updated_at == at)


def forget_subscriptions(
    tx: WriteTx, _: Timestamp, user_id: UserId, only: int | None = None, endpoint: str | None = None
) -> None:
    """Deletes somebody's subscriptions: all, one of their own, or those at one address."""
    sql = """
        DELETE FROM push_subscriptions
        WHERE user_id = :user_id AND id = coalesce(:only, id)
        AND endpoint = coalesce(:endpoint, endpoint)
    """
    run(tx, sql, user_id=user_id, only=only, endpoint=endpoint)


def note_result(
    tx: WriteTx, at: Timestamp, subscription_id: int, status: int | None, problem: str | None
) -> None:
    """Remembers how telling a browser ended."""
    sql = """
        UPDATE push_subscriptions
        SET last_tried_at = :at, last_status = :status, last_problem = :problem
        WHERE id = :id
    """
    run(tx, sql, at=at, status=status, problem=problem, id=subscription_id)


def notices_for(tx: ReadTx, posted: Posted) -> list[tuple[PushSubscription, int]]:
    """The browsers to tell of a message, of members elsewhere who want it; with their badges."""
    message, present = posted.message, as_list(posted.present)
    whom = {"room_id": message.room_id, "author_id": message.creator.id, "present": present}
    named, to_all = as_list(message.body.mentions), message.to_everyone
    sql = """
        SELECT subscriptions.*, (
            SELECT count(*) FROM memberships AS theirs
            WHERE theirs.user_id = subscriptions.user_id AND theirs.unread_at IS NOT NULL
          ) AS badge
        FROM memberships
        JOIN subscriptions ON subscriptions.user_id = memberships.user_id
        JOIN users ON users.id = memberships.user_id AND users.status = 0
        WHERE room_id = :room_id AND memberships.user_id != :author_id
        AND memberships.user_id NOT IN (SELECT value FROM json_each(:present))
        AND (involvement = 'everything' OR (involvement = 'mentions' AND (:to_all
          OR memberships.user_id IN (SELECT value FROM json_each(:named)))))
        ORDER BY subscriptions.id
    """
    browsers = rows(tx, sql, **whom, named=named, to_all=to_all)
    return [(PushSubscription(*browser), badge) for *browser, badge in browsers]


def _may_be_reached(url: URL) -> bool:
    return url.port == HTTPS_PORT and not leads_inside(url)


def check_endpoint(endpoint: str, *, may_be_private: bool) -> None:
    """Whether a browser may register an address. Raises ValidationFailed."""
    try:
        url = URL(endpoint)
        is_fit = url.scheme == "https" and _may_be_reached(url)
        is_fit = is_fit or (may_be_private and url.scheme in ("https", "http"))
        is_fit = is_fit and bool(url.raw_host) and len(endpoint) <= PUSH_LIMIT
    except ValueError:
        is_fit = False
    if not is_fit:
        raise ValidationFailed({"endpoint": ["is invalid" if endpoint else "can't be blank"]})


def push_payload(title: str, body: str, path: str, badge: int) -> bytes:
    """What the service worker shows; at most 3,000 bytes, the body cut with an ellipsis."""

    def made(shown: str) -> bytes:
        options = {"body": shown, "icon": "/account/logo", "data": {"path": path, "badge": badge}}
        return compact({"title": title, "options": options}).encode()

    if len(body) <= PUSH_LIMIT and len(whole := made(body)) <= PUSH_LIMIT:
        return whole
    lengths = range(min(len(body), PUSH_LIMIT))
    fitting = bisect_right(lengths, PUSH_LIMIT, key=lambda size: len(made(body[:size] + "…")))
    return made(body[: max(fitting - 1, 0)] + "…")


class Push:
    """Subscriptions, and the delivery of notifications to them."""

    def __init__(
        self, db: Database, jobs: BackgroundWork, config: Config, keys: Iterable[str], dns: Resolver
    ) -> None:
        self._db, self._jobs, self.client = db, jobs, Client(dns, "Campfire")
        self.public_key, self._private_key = keys
        self._subject, self._may_be_private = config.vapid_subject, config.private_push_endpoints
        self._waiting: dict[UserId, int] = {}  # those who have none are not in it
        self._slots = asyncio.Semaphore(_PUSHES_AT_ONCE)
        self._lanes: WeakValueDictionary[str | UserId, asyncio.Semaphore] = WeakValueDictionary()
        self._slow: dict[str, tuple[int, float]] = {}  # timeouts running, and until when it rests
        self._tokens: Memory[str, tuple[float, str]] = Memory(2_000)  # proofs, by service
        self.pushes: Counter[str] = Counter()  # by how they ended

    async def keep(
        self, user_id: UserId, endpoint: str, keys: tuple[str, str], user_agent: str
    ) -> PushSubscription:
        """The subscription, new or refreshed. Raises ValidationFailed."""
        check_endpoint(endpoint, may_be_private=self._may_be_private)
        problems = {
            name: ["is invalid" if key else "can't be blank"]
            for name, key in zip(("p256dh_key", "auth_key"), keys, strict=True)
            if not 0 < len(key) <= _KEY_LIMIT
        }
        if problems:
            raise ValidationFailed(problems)
        return await self._db.write(keep_subscription, user_id, endpoint, keys, user_agent)

    async def test(self, user_id: UserId, subscription_id: int, path: str) -> None:
        """Tells one own browser at once. Raises PushSubscriptionNotFound, PushFailed, PushGone."""
        browsers = await self._db.read(subscriptions_of, user_id)
        subscription = next((own for own in browsers if own.id == subscription_id), None)
        if subscription is None:
            raise PushSubscriptionNotFound
        payload = push_payload("Campfire Test", str(uuid.uuid4()), path, 0)
        async with self._turn(subscription):
            await self._deliver(subscription, payload)

    def tell_later(self, posted: Posted) -> None:
        """Tells the browsers of everybody a message is meant for, and who is elsewhere."""
        if posted.is_awaited:
            self._jobs.spawn("push", self._tell_all(posted))

    async def _tell_all(self, posted: Posted) -> None:
        notices = await self._db.read(notices_for, posted)
        room, title, words = posted.room, posted.message.creator.name, posted.message.body.text
        if room.type is not RoomType.DIRECT:
            title, words = room.name or "", f"{title}: {words}"
        told = partial(push_payload, title, words, f"/rooms/{room.id}")
        payloads = {badge: told(badge) for badge in {badge for _, badge in notices}}
        for subscription, badge in notices:
            user_id = subscription.user_id
            waiting = self._waiting.get(user_id, 0)
            if waiting >= _PUSHES_WAITING_EACH or len(self._waiting) >= _PEOPLE_WAITING:
                self.pushes["dropped"] += 1
                LOG.warning("push_dropped", extra={"fields": {"user_id": user_id}})
                continue
            self._waiting[user_id] = waiting + 1
            self._jobs.spawn("push", self._tell(subscription, payloads[badge]))

    async def _tell(self, subscription: PushSubscription, payload: bytes) -> None:
        try:
            async with self._turn(subscription):
                _, until = self._slow.get(subscription.endpoint, (0, 0.0))
                if asyncio.get_running_loop().time() < until:
                    self.pushes["resting"] += 1
                else:
                    await self._deliver(subscription, payload)
        except CableError:
            pass  # it is in the log, and on the page of devices
        finally:
            self._waiting[subscription.user_id] -= 1
            if not self._waiting[subscription.user_id]:
                del self._waiting[subscription.user_id]

    @asynccontextmanager
    async def _turn(self, subscription: PushSubscription) -> AsyncIterator[None]:
        """One at a time to each endpoint, eight to each person, fifty in all."""
        lanes = self._lanes
        endpoint = lanes.setdefault(subscription.endpoint, asyncio.Semaphore(1))
        person = lanes.setdefault(subscription.user_id, asyncio.Semaphore(_PUSHES_EACH))
        async with endpoint, person, self._slots:
            yield

    async def _deliver(self, subscription: PushSubscription, payload: bytes) -> None:
        try:
            body = await asyncio.to_thread(self._encrypted, subscription, payload)
        except (ValueError, IndexError, TypeError) as error:
            self.pushes["gone"] += 1
            await self._db.write(forget_subscriptions, subscription.user_id, subscription.id)
            raise PushGone from error
        status, problem = await self._attempt(subscription.endpoint, body)
        self.pushes["gone" if status in _GONE else "failed" if problem else "delivered"] += 1
        if problem:
            host = URL(subscription.endpoint).raw_host
            fields = {"user_id": subscription.user_id, "host": host, "status": status}
            LOG.info("push_failed", extra={"fields": {**fields, "reason": problem}})
        if status in _GONE:
            await self._db.write(forget_subscriptions, subscription.user_id, subscription.id)
            raise PushGone
        known = (subscription.last_status, subscription.last_problem)
        tried_at = subscription.last_tried_at or 0
        if (status, problem) != known or self._db.now() - tried_at > _NOTED_AGAIN:
            await self._db.write(note_result, subscription.id, status, problem)
        if problem:
            raise PushFailed(problem=problem, status=status)

    async def _attempt(self, endpoint: str, body: bytes) -> tuple[int | None, str | None]:
        """What the service answered, and what is wrong with that."""
        try:
            async with asyncio.timeout(_PUSH_SECONDS):
                status = await self._send(endpoint, body)
        except TimeoutError:
            running = self._slow.pop(endpoint, (0, 0.0))[0] + 1
            rests = asyncio.get_running_loop().time() + _REST_SECONDS
            self._slow[endpoint] = running, rests if running >= _TIMEOUTS else 0.0
            if len(self._slow) > _SLOW_ENDPOINTS:
                del self._slow[next(iter(self._slow))]
            return None, "timeout"
        except (ClientError, OSError):
            return None, "no_network"
        except ValueError:
            return None, "keys"
        self._slow.pop(endpoint, None)
        is_good = status < HTTPStatus.MULTIPLE_CHOICES
        return status, None if is_good else _PROBLEMS.get(status, "refused")

    def _encrypted(self, subscription: PushSubscription, payload: bytes) -> bytes:
        """The payload as only that browser can read it (RFC 8291). Raises ValueError."""
        unused = SimpleNamespace(Response=object, Session=object)  # to send by, which we do: 8 MB
        sys.modules.setdefault("requests", cast(Any, unused))
        from pywebpush import WebPusher, WebPushException

        keys = {"p256dh": subscription.p256dh_key, "auth": subscription.auth_key}
        try:
            pusher = WebPusher({"endpoint": subscription.endpoint, "keys": keys})
            return bytes(pusher.encode(payload, content_encoding="aes128gcm")["body"])
        except WebPushException as error:
            raise ValueError from error

    def _token(self, origin: str, subject: str) -> str:
        """The signed proof of who sends, for one push service (RFC 8292)."""
        from py_vapid import Vapid02, VapidException

        until, token = self._tokens.find(origin) or (0.0, "")
        if until < time.time():
            until = time.time() + _TOKEN_LIFE
            claims = {"aud": origin, "exp": int(until + _TOKEN_LIFE), "sub": subject}
            try:
                token = Vapid02.from_raw(self._private_key.encode()).sign(claims)["Authorization"]
            except VapidException as error:
                raise ValueError from error
            self._tokens.keep(origin, (until, token))
        return token

    async def _send(self, endpoint: str, body: bytes) -> int:
        url = URL(endpoint)
        if not self._may_be_private and not _may_be_reached(url):
            raise OSError(f"{url.raw_host} is not on the open internet")
        subject = self._subject
        if subject is None:
            person = await self._db.read(first_administrator)
            address = (person and person.email_address) or ""
            subject = f"mailto:{address if _MAILABLE.fullmatch(address) else _NOBODY}"
        token = await asyncio.to_thread(self._token, str(url.origin()), subject)
        headers = {**_PUSH_HEADERS, "Authorization": token}
        post = self.client.session.post
        async with post(url, data=body, headers=headers, allow_redirects=False) as reply:
            return reply.status


# === 20. auth =================================================================
# Who is signed in, and how one gets there: the first run, joining, a password or a link.
# A session is a random token of which we keep the SHA-256 (Gap #4). The door looks a
# browser's session up when a request is whole, and each write looks once more, inside
# its transaction: what is withdrawn is gone at once. bcrypt takes a quarter of a second of
# a processor: two at once, in threads of their own, twenty more may wait, tries are counted.
#
# Owns      sessions, sign_ins, used_transfers
# Raises    AlreadySetUp, InvalidCredentials, RateLimited, TooManyPasswords, InvalidTransfer,
#           InvalidJoinCode, EmailTakenAtJoin, RightChanged, ValidationFailed
# ==============================================================================

SESSION_REFRESH: Final = 3600 * SECOND
_KNOWN_FOR: Final = 30 * 24 * 3600 * SECOND
_AGENT_LIMIT: Final = 1_024
_REMEMBERED: Final = 50_000  # by each limiter
_HASHERS: Final = 2  # bcrypt at once: more would starve the loop of processors
_WAITING: Final = 20
_BCRYPT_BYTES: Final = 72


@lru_cache(maxsize=4096)
def household(address: str) -> str:
    """What counts as one address: of IPv6, the /64 in which everybody picks their own."""
    ip = parsed_address(address)
    if not isinstance(ip, ipaddress.IPv6Address):
        return address
    return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))


def hashed(raw_token: RawToken) -> HashedToken:
    """What we keep of a session token."""
    return HashedToken(hashlib.sha256(raw_token.encode("utf-8", "replace")).digest())


def bot_by_key(tx: ReadTx, bot_key: str) -> User | None:
    """The active bot with this key, which is `<id>-<token>`."""
    parts = re.fullmatch("([0-9]{1,18})-([^-]+)", bot_key)
    if parts is None:
        return None
    bot_id, given = UserId(int(parts[1])), parts[2].encode("utf-8", "replace")
    sql = "SELECT bot_token FROM users WHERE id = :id AND role = 2 AND status = 0"
    bot = row(tx, sql, id=bot_id)
    token = (bot["bot_token"] or "").encode() if bot else b""
    return user_by_id(tx, bot_id) if token and hmac.compare_digest(token, given) else None


class Door(NamedTuple):
    """Who stands at the door, from one look."""

    viewer: Viewer | None
    bot: User | None
    is_banned: bool  # this address, for anything but looking


def at_the_door(tx: ReadTx, cookie: str, bot_key: str = "", ip: str | None = None) -> Door:
    """The active person whose session a cookie opens, ours or one of the Rails app; or the bot with
    this key; and whether from this address one may only look (administrators may more)."""
    viewer = None
    for token in (cookie, token_inside_rails_cookie(cookie) if "--" in cookie else None):
        sql = """
            SELECT sessions.id, user_id, coalesce(ip_address, ''), coalesce(user_agent, ''),
              sessions.created_at, last_active_at, people.*
            FROM sessions
            JOIN people ON people.id = user_id AND status = 0
            WHERE token_hash = :token
        """
        person = token and row(tx, sql, token=hashed(RawToken(token)))
        if person:
            viewer = Viewer(user_in(*person[6:]), Session(*person[:6]))
            break
    bot = bot_by_key(tx, bot_key) if bot_key and viewer is None else None
    may_be_banned = ip is not None and not (viewer and viewer.user.role is Role.ADMINISTRATOR)
    banned = may_be_banned and row(tx, "SELECT 1 FROM barred WHERE ip_address = :ip", ip=ip)
    return Door(viewer, bot, bool(banned))


def check_right(tx: ReadTx, ip: str, viewer: Viewer | None) -> None:
    """Whether the door would see the same person still. Raises RightChanged."""
    sql = """
        SELECT
          (
            SELECT role
            FROM sessions
            JOIN users ON users.id = user_id AND status = 0
            WHERE sessions.id = :session_id
          ),
          EXISTS (SELECT 1 FROM barred WHERE ip_address = :ip)
    """
    [(role, is_barred)] = rows(tx, sql, session_id=viewer.session.id if viewer else None, ip=ip)
    may_be_banned = role != Role.ADMINISTRATOR
    if role != (viewer.user.role if viewer else None) or (is_barred and may_be_banned):
        raise RightChanged


def check_bots_right(tx: ReadTx, ip: str, bot_key: str) -> None:
    """Whether the door would let a bot with this key in still. Raises RightChanged."""
    door = at_the_door(tx, "", bot_key, ip)
    if door.is_banned or door.bot is None:
        raise RightChanged


def ended_sessions(tx: ReadTx, session_ids: Iterable[SessionId]) -> tuple[SessionId, ...]:
    """Those of the sessions that are gone, or whose person is not active any more."""
    sql = """
        SELECT value
        FROM json_each(:ids)
        WHERE NOT EXISTS (
          SELECT 1 FROM sessions JOIN users ON users.id = user_id AND status = 0
          WHERE sessions.id = value
        )
    """
    return tuple(session_id for (session_id,) in rows(tx, sql, ids=as_list(session_ids)))


def check_session(tx: ReadTx, session_id: SessionId) -> None:
    """Whether a session still is. Raises RightChanged."""
    if ended_sessions(tx, (session_id,)):
        raise RightChanged


def start_session(
    tx: WriteTx,
    at: Timestamp,
    user_id: UserId,
    session: NewSession,
    digest: str | None = None,
    renewed: str | None = None,
) -> None:
    """A session for who is active and has this password still. Raises InvalidCredentials."""
    agent = session.user_agent[:_AGENT_LIMIT]
    new = {"token": hashed(session.token), "ip": session.ip_address, "user_agent": agent}
    sql = """
        INSERT INTO sessions
          (user_id, token_hash, ip_address, user_agent, last_active_at, created_at, updated_at)
        SELECT id, :token, :ip, :user_agent, :at, :at, :at
        FROM users
        WHERE id = :user_id AND status = 0 AND (:digest IS NULL OR password_digest = :digest)
    """
    if not run(tx, sql, user_id=user_id, digest=digest, at=at, **new):
        raise InvalidCredentials
    run(tx, "DELETE FROM sessions WHERE id = :replaced", replaced=session.replaces)
    sql = """
        INSERT INTO sign_ins (user_id, ip_address, at) VALUES (:user_id, :ip, :at)
        ON CONFLICT (user_id, ip_address) DO UPDATE SET at = :at
    """
    run(tx, sql, user_id=user_id, ip=household(session.ip_address), at=at)
    if renewed is not None:
        revise_user(tx, at, user_id, Change(password_digest=renewed))


def refresh_session(tx: WriteTx, at: Timestamp, used: SessionId, ip: str, agent: str) -> None:
    """Notes that a session is in use, and from where."""
    sql = """
        UPDATE sessions
        SET ip_address = :ip, user_agent = :agent, last_active_at = :at, updated_at = :at
        WHERE id = :used
    """
    run(tx, sql, ip=ip, agent=agent[:_AGENT_LIMIT], at=at, used=used)


def end_session(tx: WriteTx, at: Timestamp, session: Session, push_endpoint: str | None) -> None:
    """Deletes the session, and the person's push subscription with that endpoint."""
    run(tx, "DELETE FROM sessions WHERE id = :session_id", session_id=session.id)
    if push_endpoint is not None:
        forget_subscriptions(tx, at, session.user_id, endpoint=push_endpoint)


def end_sessions(tx: WriteTx, user_id: UserId) -> None:
    """Ends somebody's sessions."""
    run(tx, "DELETE FROM sessions WHERE user_id = :user_id", user_id=user_id)


def keep_only(tx: WriteTx, session: Session) -> RawToken:
    """Ends a person's other sessions; the token for this one, for what it had opens nothing."""
    token = RawToken(secrets.token_urlsafe(32))
    of_this = {"id": session.id, "user_id": session.user_id, "token": hashed(token)}
    run(tx, "DELETE FROM sessions WHERE user_id = :user_id AND id != :id", **of_this)
    run(tx, "UPDATE sessions SET token_hash = :token WHERE id = :id", **of_this)
    return token


def hash_password(password: str, cost: int) -> str:
    """A bcrypt digest as Rails writes it; only the first 72 bytes count."""
    return bcrypt.hashpw(password.encode()[:_BCRYPT_BYTES], bcrypt.gensalt(cost, b"2a")).decode()


def nobodys_digest(cost: int) -> str:
    """A digest that costs as much as anybody's and matches nothing."""
    return f"$2a${cost:02d}${'.' * 53}"


def cost_of(digest: str) -> int:
    """What a digest costs to check, as an exponent of two; 0 for what is none."""
    mark = re.match(r"\$2[aby]\$(\d\d)\$", digest)
    return int(mark[1]) if mark else 0


def password_matches(password: str, digest: str, cost: int = 0) -> bool:
    """Whether the digest was made of this password; a broken digest matches none. It takes as much
    time as a digest of this cost: each step of the cost doubles the work, so c and then c, c + 1, …
    up to cost - 1 make 2^cost."""
    given, matches = password.encode()[:_BCRYPT_BYTES], False
    with suppress(ValueError):
        matches = bcrypt.checkpw(given, digest.encode())
    for missing in range(max(cost_of(digest), 4), cost):
        bcrypt.checkpw(given, nobodys_digest(missing).encode())
    return matches


class TryLimiter:
    """Tries per address or person, in fixed windows that start with the first try."""

    def __init__(self, monotonic: Callable[[], float], tries: int = 10, seconds: int = 180) -> None:
        self._monotonic, self._tries, self._seconds = monotonic, tries, seconds
        self._windows: dict[str, tuple[float, int]] = {}

    def count(self, key: str, *, may_go_on: bool = False) -> None:
        """Notes a try, good or bad. Raises RateLimited for one too many, but for who may go on."""
        now, key = self._monotonic(), household(key)
        started, tries = self._windows.pop(key, (now, 0))
        if now - started >= self._seconds:
            started, tries = now, 0
        self._windows[key] = (started, tries + 1)
        if len(self._windows) > _REMEMBERED:
            del self._windows[next(iter(self._windows))]
        if tries >= self._tries and not may_go_on:
            raise RateLimited(max(1, math.ceil(started + self._seconds - now)))

    def take_back(self, key: str) -> None:
        """Forgets a try that should not count."""
        if (key := household(key)) in self._windows:
            started, tries = self._windows[key]
            self._windows[key] = (started, tries - 1)


def _evidence(tx: ReadTx, email: str, ip: str) -> tuple[User | None, str, bool, int]:
    """Who would sign in, the digest of their password, whether they did from here lately, and what
    checking is to cost: as the dearest of all digests does, for time would tell who is known."""
    [(highest,)] = rows(tx, "SELECT max(substr(password_digest, 5, 2)) FROM users")
    cost = int(highest) if (highest or "").isdigit() else 0
    sql = """
        SELECT coalesce(password_digest, ''), EXISTS (
            SELECT 1 FROM sign_ins WHERE user_id = users.id AND ip_address = :household
          ), people.*
        FROM users
        JOIN people USING (id)
        WHERE email_folded = :folded AND users.status = 0 AND users.role != 2
        ORDER BY users.email_address = :email DESC, id  -- of twins in an old database, the exact
        LIMIT 1
    """
    person = row(tx, sql, email=email, folded=caseless(email), household=household(ip))
    if person is None:
        return None, "", False, cost
    return user_in(*person[2:]), person[0], bool(person[1]), cost


def set_up(
    tx: WriteTx, at: Timestamp, who: Newcomer, digest: str, session: NewSession | None = None
) -> User:
    """The account, its first administrator and All Talk. Raises AlreadySetUp."""
    if is_set_up(tx):
        raise AlreadySetUp
    insert_account(tx, at)
    user = insert_user(tx, at, Role.ADMINISTRATOR, Change(who.name, who.email_address, digest))
    room = insert_room(tx, at, RoomType.OPEN, user.id, "All Talk")
    grant(tx, at, room, [user.id])
    if session is not None:
        start_session(tx, at, user.id, session)
    return user


def _open_for(tx: ReadTx, join_code: str, email: str) -> None:
    """Raises InvalidJoinCode, or EmailTakenAtJoin, when somebody may not come in."""
    account_behind(tx, join_code)
    if owner_of(tx, email) is not None:
        raise EmailTakenAtJoin(redirect_to=f"/session/new?email_address={quote(email, safe='')}")


def _join(
    tx: WriteTx, at: Timestamp, code: str, who: Newcomer, digest: str, session: NewSession | None
) -> User:
    _open_for(tx, code, who.email_address)
    user = insert_user(tx, at, Role.MEMBER, Change(who.name, who.email_address, digest))
    grant_open_rooms(tx, at, user.id)
    if session is not None:
        start_session(tx, at, user.id, session)
    return user


def void_transfers(tx: WriteTx, at: Timestamp, user_id: UserId) -> None:
    """Ends every sign-in link made for somebody up to now, whatever becomes of them later."""
    nonce, until = f"all of {user_id}", at + TRANSFER_SECONDS * SECOND  # no link's own has spaces
    sql = """
        INSERT INTO used_transfers (nonce, expires_at) VALUES (:nonce, :until)
        ON CONFLICT (nonce) DO UPDATE SET expires_at = excluded.expires_at
    """
    run(tx, sql, nonce=nonce, until=until)


def redeem(tx: WriteTx, at: Timestamp, signer: Signer, link_id: str, session: NewSession) -> User:
    """The active person a sign-in link names, with this session. It works once, for four hours,
    while the session it was made in is. Raises InvalidTransfer."""
    transfer = signer.transfer_in(link_id)
    if transfer is None or ended_sessions(tx, (transfer.session_id,)):
        raise InvalidTransfer
    sql = """
        SELECT coalesce(password_digest, ''), coalesce(voided.expires_at, 0), people.*
        FROM people
        JOIN users USING (id)
        LEFT JOIN used_transfers AS voided ON nonce = 'all of ' || people.id
        WHERE people.id = :user_id AND people.status = 0
    """
    person = row(tx, sql, user_id=transfer.user_id)
    if person is None or max(iso(at), iso(person[1])) >= transfer.until:
        raise InvalidTransfer
    is_theirs = hmac.compare_digest(transfer.credential, signer.credential_mark(person[0]))
    until = at + TRANSFER_SECONDS * SECOND
    sql = """
        INSERT INTO used_transfers (nonce, expires_at) VALUES (:nonce, :until)
        ON CONFLICT DO NOTHING
    """
    if not is_theirs or not run(tx, sql, nonce=transfer.nonce, until=until):
        raise InvalidTransfer
    start_session(tx, at, transfer.user_id, session)
    return user_in(*person[2:])


def sweep_sign_ins(tx: WriteTx, at: Timestamp) -> None:
    """Forgets used links that have ended, and from where nobody has signed in for 30 days."""
    run(tx, "DELETE FROM used_transfers WHERE expires_at < :at", at=at)
    run(tx, "DELETE FROM sign_ins WHERE at < :before", before=at - _KNOWN_FOR)


class Auth:
    """AuthService over SQLite and bcrypt."""

    def __init__(self, db: Database, monotonic: Callable[[], float], cost: int) -> None:
        self._db, self._cost = db, cost
        self._threads = ThreadPoolExecutor(_HASHERS, "hash")
        self._hashings: set[Future[Any]] = set()  # at work, or waiting
        self._sign_ins, self._new_passwords = TryLimiter(monotonic), TryLimiter(monotonic)
        self._joins = TryLimiter(monotonic, 100, 3600)  # a whole office comes on the first day
        self._guesses = TryLimiter(monotonic, 50, 3600)  # failed, for one address of e-mail

    async def first_run(self, who: Newcomer, session: NewSession | None = None) -> User:
        check_fields(**asdict(who))
        if await self._db.read(is_set_up):
            raise AlreadySetUp
        return await self._db.write(set_up, who, await self._digest(who.password), session)

    async def join(self, join_code: str, who: Newcomer, session: NewSession | None = None) -> User:
        await self._db.read(account_behind, join_code)
        check_fields(**asdict(who))
        await self._db.read(_open_for, join_code, who.email_address)
        if session is not None:
            self._joins.count(session.ip_address)
        digest = await self._digest(who.password)
        return await self._db.write(_join, join_code, who, digest, session)

    def count_try(self, ip: str) -> None:
        self._sign_ins.count(ip)

    async def sign_in(self, email: str, password: str, session: NewSession) -> User:
        user, digest, is_known, cost = await self._db.read(_evidence, email, session.ip_address)
        account, cost = email.casefold(), cost or self._cost
        self._guesses.count(account, may_go_on=is_known)
        matches = await self._away(password_matches, password, digest or nobodys_digest(cost), cost)
        if not matches or not password.strip() or user is None:
            raise InvalidCredentials
        self._guesses.take_back(account)
        renewed = None if cost_of(digest) == self._cost else await self._digest(password)
        await self._db.write(start_session, user.id, session, digest, renewed)
        return user

    def _away(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> asyncio.Future[T]:
        """What bcrypt makes, away from the loop. Raises TooManyPasswords when twenty wait."""
        if len(self._hashings) >= _HASHERS + _WAITING:
            raise TooManyPasswords
        hashing = self._threads.submit(work, *args, **named)
        self._hashings.add(hashing)
        hashing.add_done_callback(self._hashings.discard)  # also of who has gone away
        return asyncio.wrap_future(hashing)

    def _digest(self, password: str) -> Awaitable[str]:
        return self._away(hash_password, password, self._cost)

    async def new_digest(self, user_id: UserId, password: str) -> str:
        self._new_passwords.count(f"person {user_id}")
        return await self._digest(password)


# === 21. people ===============================================================
# What happens to people: their profile, their role, leaving, being banned, being
# let back in. Messages of somebody who left stay; messages of somebody who was
# banned go, one by one, in the background.
#
# Owns      bans
# Raises    UserNotFound, CannotBan, EmailTaken, ValidationFailed
# ==============================================================================

_UNBANNABLE: Final = networks_in(LOCAL_NETWORKS)


def _check_address(tx: ReadTx, change: Change, user_id: UserId) -> None:
    sql = "SELECT 1 FROM users WHERE email_folded = :folded AND id != :user_id"
    if row(tx, sql, folded=caseless(change.email_address), user_id=user_id):
        raise EmailTaken


def _change_profile(
    tx: WriteTx, at: Timestamp, viewer: Viewer, change: Change
) -> tuple[User, RawToken | None]:
    _check_address(tx, change, viewer.user.id)
    user = revise_user(tx, at, viewer.user.id, change)
    return user, keep_only(tx, viewer.session) if change.password_digest else None


async def change_profile(
    db: Database, auth: AuthService, viewer: Viewer, change: Change, password: str | None
) -> tuple[User, RawToken | None]:
    """The person with what was given changed, and the session's new token, if there is one. A new
    password ends the person's other sessions, and what opened this one; a blank one changes
    nothing. Raises ValidationFailed, EmailTaken, RateLimited."""
    password = password if (password or "").strip() else None
    given = {name: getattr(change, name) for name in ("name", "email_address", "bio")}
    check_fields(**given, password=password)
    if password is not None:
        await db.read(_check_address, change, viewer.user.id)
        change = replace(change, password_digest=await auth.new_digest(viewer.user.id, password))
    return await db.write(_change_profile, viewer, change)


def _active_person(tx: ReadTx, user_id: UserId) -> User:
    user = user_by_id(tx, user_id)
    if user.status is not Status.ACTIVE or user.role is Role.BOT:
        raise UserNotFound
    return user


def set_role(tx: WriteTx, at: Timestamp, user_id: UserId, role: Role) -> User:
    """The active person with their new role. Raises UserNotFound."""
    _active_person(tx, user_id)
    return revise_user(tx, at, user_id, Change(role=role))


def retire(tx: WriteTx, at: Timestamp, user: User) -> list[RoomId]:
    """Ends somebody's part in everything but pings and what they said; their address is free. The
    rooms they were in."""
    left = [membership.room.id for membership in memberships_of(tx, user.id)]
    leave_shared_rooms(tx, user.id)
    forget_subscriptions(tx, at, user.id)
    forget_searches(tx, at, user.id)
    end_sessions(tx, user.id)
    email = user.email_address and user.email_address.replace("@", f"-deactivated-{uuid.uuid4()}@")
    revise_user(tx, at, user.id, Change(email_address=email, status=Status.DEACTIVATED))
    return left


def retire_person(tx: WriteTx, at: Timestamp, user_id: UserId) -> list[RoomId]:
    """Ends an active person's part in Campfire; the rooms they were in. Raises UserNotFound."""
    return retire(tx, at, _active_person(tx, user_id))


def can_ban(actor: User, user: User) -> bool:
    """Whether an administrator may ban this person."""
    is_somebody_else = actor.role is Role.ADMINISTRATOR and actor.id != user.id
    return is_somebody_else and user.role is not Role.BOT and user.status is not Status.DEACTIVATED


def banish(tx: WriteTx, at: Timestamp, actor: User, user_id: UserId) -> User:
    """The banned person, whose messages stay as yet, and with them the public addresses that they
    used and no administrator. Raises UserNotFound, CannotBan."""
    if not can_ban(actor, user_by_id(tx, user_id)):
        raise CannotBan
    sql = """
        SELECT DISTINCT ip_address
        FROM sessions
        WHERE user_id = :user_id AND ip_address != '' AND NOT EXISTS (
          SELECT 1
          FROM sessions AS others
          JOIN users ON users.id = others.user_id AND status = 0 AND role = 1
          WHERE others.ip_address = sessions.ip_address
        )
    """
    for (address,) in rows(tx, sql, user_id=user_id):
        ip = parsed_address(address)
        if ip is not None and not any(ip in network for network in _UNBANNABLE):
            sql = """
                INSERT INTO bans (user_id, ip_address, created_at, updated_at)
                VALUES (:user_id, :address, :at, :at)
                ON CONFLICT DO NOTHING
            """
            run(tx, sql, user_id=user_id, address=address, at=at)
    end_sessions(tx, user_id)
    void_transfers(tx, at, user_id)
    forget_subscriptions(tx, at, user_id)
    return revise_user(tx, at, user_id, Change(status=Status.BANNED))


def readmit(tx: WriteTx, at: Timestamp, user_id: UserId) -> User:
    """The person, active again. Raises UserNotFound, CannotBan."""
    user = user_by_id(tx, user_id)
    if user.status is Status.DEACTIVATED or user.role is Role.BOT:
        raise CannotBan
    if user.status is not Status.BANNED:
        return user
    run(tx, "DELETE FROM bans WHERE user_id = :user_id", user_id=user_id)
    grant_open_rooms(tx, at, user_id)
    return revise_user(tx, at, user_id, Change(status=Status.ACTIVE))


def bury_oldest_of_banned(tx: WriteTx, at: Timestamp, user_id: UserId) -> Tombstone | None:
    """What is left of a banned person's oldest message; None when all are gone, or the ban is."""
    sql = """
        SELECT room_id, messages.id
        FROM messages
        JOIN users ON users.id = creator_id AND status = 2
        WHERE creator_id = :user_id
        ORDER BY messages.id
        LIMIT 1
    """
    oldest = row(tx, sql, user_id=user_id)
    return bury_message(tx, at, *oldest) if oldest else None


def banned_authors(tx: ReadTx) -> tuple[UserId, ...]:
    """Banned people whose messages are not gone yet."""
    sql = """
        SELECT id
        FROM users
        WHERE status = 2 AND EXISTS (SELECT 1 FROM messages WHERE creator_id = users.id)
    """
    return tuple(user_id for (user_id,) in rows(tx, sql))


def make_administrator(tx: WriteTx, at: Timestamp, who: Newcomer, digest: str) -> User:
    """An active administrator with this password: the first one, a known one, or a new one."""
    if not is_set_up(tx):
        return set_up(tx, at, who, digest)
    user_id = owner_of(tx, who.email_address)
    if user_id is None:
        person = Change(who.name, who.email_address, digest)
        user_id = insert_user(tx, at, Role.ADMINISTRATOR, person).id
    else:
        run(tx, "DELETE FROM bans WHERE user_id = :user_id", user_id=user_id)
        end_sessions(tx, user_id)
        promoted = Change(role=Role.ADMINISTRATOR, status=Status.ACTIVE, password_digest=digest)
        revise_user(tx, at, user_id, promoted)
    grant_open_rooms(tx, at, user_id)
    return user_by_id(tx, user_id)


def set_password(tx: WriteTx, at: Timestamp, email: str, digest: str) -> User:
    """The person with a new password, and all their sessions ended. Raises UserNotFound."""
    if (user_id := owner_of(tx, email)) is None:
        raise UserNotFound
    end_sessions(tx, user_id)
    return revise_user(tx, at, user_id, Change(password_digest=digest))


# === 22. bots =================================================================
# Programs that talk. A bot is a user with a key in its address and perhaps a
# webhook: where it is mentioned, or in a ping with it, it is called once, has
# seven seconds, and may answer in words. It may also hear of more: of what people say,
# change, delete and boost in its rooms, and who comes and goes. What bots do is no such
# event, and a bot's answer calls no bot, so two of them cannot talk for ever.
#
# Owns      webhooks
# Raises    BotNotFound, ValidationFailed
# ==============================================================================

WEBHOOK_SECONDS: Final = 7
_REPLY_LIMIT: Final = 1_048_576
_LATE: Final = b"Failed to respond within 7 seconds"
_URL_LIMIT: Final = 2_048
_CALLS_AT_ONCE: Final = 8  # of one bot
_CALLS_WAITING: Final = 200  # for it; the next are dropped
# What a bot may hear of: bits of `webhooks.events`. With none it is called as Rails calls it.
HEARD: Final = {"messages": 1, "edits": 2, "deletions": 4, "boosts": 8, "members": 16}
_BITS: Final = {
    "message.created": 1, "message.edited": 2, "message.deleted": 4,
    "boost.created": 8, "boost.deleted": 8, "members.joined": 16, "members.left": 16,
}  # fmt: skip
_FILE_LIMIT: Final = 25 << 20
_PIECE_OF_FILE: Final = 256 << 10
_FILE_TYPES: Final = re.compile(r"(image|audio|video)/.+|application/(pdf|zip)|text/csv")
# An element as people and programs write them: its name in one case, each attribute with a value.
# What only looks like one, as in List<Object> or a<b && c>d, is text.
_WRITTEN_ELEMENT = re.compile(
    rf"""<(?:(?:{"|".join(KNOWN_ELEMENTS)}|{"|".join(map(str.upper, KNOWN_ELEMENTS))})
        |(?=[^<>]*\s{TRIX_ATTACHMENT}\s*=)[a-z-]+)
      (?:\s+[\w:@.-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'=<>`]+))*+\s*/?>""",
    re.ASCII | re.VERBOSE,
)


def source_of_bot(said: str) -> str:
    """What a bot said, as markup; text stays as it is, unless an element that we know is in it."""
    if _WRITTEN_ELEMENT.search(said):
        return said
    text = said.rstrip().lstrip("\r\n")
    lines = re.sub(r"\r\n?|\n", "<br>", escape(text, quote=False))
    return f"<div>{lines}</div>" if text[:1].isspace() else lines


@dataclass(frozen=True, slots=True)
class Bot:
    """A bot as administrators see it, or as it is called."""

    user: User
    key: str
    webhook_url: str | None
    events: int  # bits of HEARD
    secret: str | None  # which signs what a bot hears
    rooms: tuple[Room, ...] = ()  # for administrators: but for direct ones, by name

    @property
    def hears(self) -> list[str]:
        return [name for name, bit in HEARD.items() if self.events & bit]


@dataclass(frozen=True, slots=True)
class Happening:
    """What happened in a room, as far as whoever tells of it knows."""

    name: str
    room_id: RoomId
    by: User | None  # None when a banned person's messages go
    at: Timestamp
    message_id: MessageId | None = None  # of a message that is gone
    message: PersistedMessage | None = None
    boost: Boost | None = None  # of which the message is looked for
    user_ids: Sequence[UserId] = ()  # who came or went
    room_name: str | None = None  # of a room that is gone


@dataclass(frozen=True, slots=True)
class Call:
    """A bot that is told of an event, and whether what it answers is said."""

    bot: Bot
    event: Happening
    people: tuple[User, ...]
    is_asked: bool


def calls_for(tx: ReadTx, event: Happening) -> tuple[Call, ...]:
    """The bots to call: those that a new message names or that are in its ping, and those of the
    room, or that have just left it, that hear of what people do; never who did it."""
    if event.boost:
        boosted = event.boost.message_id
        message = next(iter(messages_by_id(tx, [boosted])), None)
        event = replace(event, message_id=boosted, message=message)
    hears = event.by is None or event.by.role is not Role.BOT
    is_new, is_left = event.name == "message.created", event.name == "members.left"
    mentions = event.message.body.mentions if event.message and is_new else ()
    sql = """
        SELECT rooms.name, :is_new AND (type = 'direct' OR users.id IN (
            SELECT value FROM json_each(:named)
          )) AS is_asked,
          users.id || '-' || bot_token, url, events, secret, people.*
        FROM users
        JOIN people ON people.id = users.id
        JOIN webhooks ON webhooks.user_id = users.id
        LEFT JOIN rooms ON rooms.id = :room_id
        LEFT JOIN memberships ON room_id = :room_id AND memberships.user_id = users.id
        WHERE users.role = 2 AND users.status = 0 AND users.id IS NOT :by
        AND (memberships.id OR users.id IN (SELECT value FROM json_each(:gone)))
        AND (is_asked OR events & :bit)
        ORDER BY users.id
    """
    calls = rows(
        tx, sql, room_id=event.room_id, by=event.by and event.by.id, is_new=is_new,
        named=as_list(mentions), bit=_BITS[event.name] if hears else 0,
        gone=as_list(event.user_ids if is_left else ()),
    )  # fmt: skip
    users = users_by_id(tx, event.user_ids).values() if calls else ()
    people = tuple(user for user in users if is_left or user.status is Status.ACTIVE)
    if _BITS[event.name] == HEARD["members"] and not people:
        return ()
    return tuple(
        Call(
            Bot(user_in(*bot), key, url, events, secret),
            replace(event, room_name=name or event.room_name), people, bool(is_asked),
        )
        for name, is_asked, key, url, events, secret, *bot in calls
    )  # fmt: skip


def is_still_called(tx: ReadTx, bot: Bot) -> bool:
    """Whether a bot is there, and wants to be called at the same address."""
    sql = """
        SELECT 1
        FROM webhooks
        JOIN users ON users.id = user_id AND status = 0
        WHERE user_id = :bot_id AND url = :url
    """
    return row(tx, sql, bot_id=bot.user.id, url=bot.webhook_url) is not None


def active_bots(tx: ReadTx, bot_id: UserId | None = None) -> tuple[Bot, ...]:
    """All active bots, by name; or the one with this id."""
    bots = []
    sql = """
        SELECT (SELECT users.id || '-' || bot_token FROM users WHERE users.id = people.id),
          url, coalesce(events, 0), secret, people.*
        FROM people
        LEFT JOIN webhooks ON webhooks.user_id = people.id
        WHERE role = 2 AND status = 0 AND people.id = coalesce(:id, people.id)
        ORDER BY folded, people.id
    """
    for key, url, events, secret, *person in rows(tx, sql, id=bot_id):
        bot = user_in(*person)
        own = [membership.room for membership in memberships_of(tx, bot.id)]
        shared = tuple(room for room in own if room.type is not RoomType.DIRECT)
        bots.append(Bot(bot, key, url, events, secret, shared))
    return tuple(bots)


def bot_by_id(tx: ReadTx, bot_id: UserId) -> Bot:
    """An active bot. Raises BotNotFound."""
    for bot in active_bots(tx, bot_id):
        return bot
    raise BotNotFound


def _set_webhook(tx: WriteTx, at: Timestamp, bot_id: UserId, url: str, events: int | None) -> None:
    """Where a bot is called, and of what it hears: None leaves that as it is."""
    if url and (len(url) > _URL_LIMIT or not re.fullmatch(r"https?://[^/\s?#]+\S*", url)):
        raise ValidationFailed({"webhook_url": ["is invalid"]})
    if not url:
        if events:
            raise ValidationFailed({"webhook_url": ["is needed to hear of anything"]})
        run(tx, "DELETE FROM webhooks WHERE user_id = :bot_id", bot_id=bot_id)
        return
    sql = """
        INSERT INTO webhooks (user_id, url, events, created_at, updated_at)
        VALUES (:bot_id, :url, coalesce(:events, 0), :at, :at)
        ON CONFLICT (user_id) DO UPDATE
        SET url = :url, events = coalesce(:events, events), updated_at = :at
    """
    run(tx, sql, bot_id=bot_id, url=url, events=events, at=at)
    sql = """
        UPDATE webhooks
        SET secret = :secret
        WHERE user_id = :bot_id AND events AND secret IS NULL
    """
    run(tx, sql, bot_id=bot_id, secret=secrets.token_urlsafe(32))


def make_bot(tx: WriteTx, at: Timestamp, name: str, url: str, events: int | None = None) -> Bot:
    """A new bot, in every open room. Raises ValidationFailed."""
    check_fields(name=name)
    bot = insert_user(tx, at, Role.BOT, Change(name, bot_token=random_code(12)))
    grant_open_rooms(tx, at, bot.id)
    _set_webhook(tx, at, bot.id, url, events)
    return bot_by_id(tx, bot.id)


def revise_bot(
    tx: WriteTx,
    at: Timestamp,
    bot_id: UserId,
    name: str | None,
    url: str,
    events: int | None = None,
) -> Bot:
    """The bot revised; a blank address ends its webhook. Raises BotNotFound, ValidationFailed."""
    bot_by_id(tx, bot_id)
    check_fields(name=name)
    revise_user(tx, at, bot_id, Change(name=name))
    _set_webhook(tx, at, bot_id, url, events)
    return bot_by_id(tx, bot_id)


def renew_bot_key(tx: WriteTx, at: Timestamp, bot_id: UserId) -> Bot:
    """The bot with a new key, and a new secret if it has one; the old ones are dead at once. Raises
    BotNotFound."""
    bot_by_id(tx, bot_id)
    revise_user(tx, at, bot_id, Change(bot_token=random_code(12)))
    sql = "UPDATE webhooks SET secret = :new WHERE user_id = :bot_id AND secret IS NOT NULL"
    run(tx, sql, new=secrets.token_urlsafe(32), bot_id=bot_id)
    return bot_by_id(tx, bot_id)


def retire_bot(tx: WriteTx, at: Timestamp, bot_id: UserId) -> list[RoomId]:
    """Deactivates a bot; the rooms it was in. Raises BotNotFound."""
    return retire(tx, at, bot_by_id(tx, bot_id).user)


def _message_for(bot: Bot, message: PersistedMessage, path: str) -> Json:
    words = message.body.text.replace(f"@{bot.user.name}", "").strip()
    body = {"html": None if message.file else message.body.html, "plain": words}
    shown: Json = {"id": message.id, "body": body}
    if message.file:
        shown["attachment"] = file_for_bots(message.file, f"{path}/{message.id}", "path")
    if bot.events:
        shown["creator"] = record_json(message.creator, "id name")
    return {**shown, "path": message.path}


def webhook_payload(call: Call) -> Json:
    """What a bot is told: who, where with its own address to answer to, and what."""
    bot, event = call.bot, call.event
    path = f"/rooms/{event.room_id}/{bot.key}/messages"
    told: Json = {
        "user": record_json(event.by, "id name") if event.by else None,
        "room": {"id": event.room_id, "name": event.room_name, "path": path},
    }
    if event.message:
        told["message"] = _message_for(bot, event.message, path)
    elif event.message_id:
        told["message"] = {"id": event.message_id}
    if event.boost:
        told["boost"] = record_json(event.boost, "id content")
    if call.people:
        told["members"] = [record_json(person, "id name") for person in call.people]
    return {**told, "event": event.name, "at": iso(event.at)} if bot.events else told


@dataclass(frozen=True, slots=True)
class Reply:
    """What a webhook answered."""

    bot: User
    status: int
    type: str
    body: bytes = b""  # at most one byte over the limit
    charset: str | None = None
    file: NewFile | None = None  # in place of words

    def source(self) -> str | None:
        """Its words as markup; None when it said nothing, or nothing we take."""
        if self.file:
            return ""
        is_ok, is_short = self.status == HTTPStatus.OK, len(self.body) <= _REPLY_LIMIT
        if is_ok and is_short and self.type in ("text/plain", "text/html"):
            said = decoded(self.body, self.charset)
            return source_of_bot(said) if said.strip() else None
        if is_ok and is_short and self.body and _FILE_TYPES.fullmatch(self.type):
            return f"Sent a file ({self.type}). File sharing is switched off here."
        if not is_short:
            self.note_dropped("size")
        elif not is_ok and (self.body or self.status // 100 != HTTPStatus.OK // 100):
            self.note_dropped("status")
        elif self.body:
            self.note_dropped("type")
        return None

    def note_dropped(self, reason: str) -> None:
        """Tells the log that nobody sees this answer, and why."""
        fields = {"bot_id": self.bot.id, "status": self.status, "type": self.type, "reason": reason}
        LOG.info("webhook_answer_dropped", extra={"fields": fields})


async def _begin_to_count(_: object, call: SimpleNamespace, __: object) -> None:
    call.trace_request_ctx.reschedule(asyncio.get_running_loop().time() + WEBHOOK_SECONDS)


async def _stop_counting(_: object, call: SimpleNamespace, __: object) -> None:
    call.trace_request_ctx.reschedule(None)


class Bots:
    """The calls to the webhooks of bots: eight at once to each, and two hundred that wait."""

    def __init__(
        self, db: Database, jobs: BackgroundWork, config: Config, store: Store, names: Resolver
    ) -> None:
        self._db, self._jobs, self._store = db, jobs, store
        tracing = TraceConfig()
        tracing.on_connection_create_start.append(_begin_to_count)
        tracing.on_connection_reuseconn.append(_begin_to_count)
        tracing.on_dns_resolvehost_start.append(_stop_counting)
        tracing.on_dns_resolvehost_end.append(_begin_to_count)
        self.client = Client(names, f"Campfire/{config.version}", tracing)
        self.heard = 0  # the bits of all that any bot hears of, at least
        self._lanes: defaultdict[UserId, asyncio.Semaphore] = defaultdict(
            partial(asyncio.Semaphore, _CALLS_AT_ONCE)
        )
        self._under_way: Counter[UserId] = Counter()  # the calls that are made or wait
        self.calls: Counter[str] = Counter()  # by how they ended

    async def start(self) -> None:
        """Learns whether any bot hears of anything: where none does, it costs nothing."""
        for bot in await self._db.read(active_bots):
            self.heard |= bot.events

    def tell(self, name: str, room_id: RoomId, by: User | None, **known: Any) -> None:  # noqa: ANN401 - fields of Happening
        """Tells the bots that hear of it what happened in a room."""
        if self.heard & _BITS[name]:
            event = Happening(name, room_id, by, self._db.now(), **known)
            self._jobs.spawn("tell_bots", self._tell(event))

    def tell_everywhere(self, name: str, by: User, user_id: UserId) -> None:
        """Tells of somebody who comes or goes, in all the rooms they have."""
        if self.heard & _BITS[name]:
            self._jobs.spawn("tell_bots", self._tell_everywhere(name, by, user_id))

    async def _tell_everywhere(self, name: str, by: User, user_id: UserId) -> None:
        for membership in await self._db.read(memberships_of, user_id):
            self.tell(name, membership.room.id, by, user_ids=[user_id])

    async def _tell(self, event: Happening) -> None:
        for call in await self._db.read(calls_for, event):
            self._jobs.spawn("call_bot", self.run(call))

    async def run(self, call: Call) -> None:
        """Calls a bot, whatever it answers."""
        async with AsyncExitStack() as opened:
            await self.call(call, opened)

    async def call(self, call: Call, opened: AsyncExitStack) -> Reply | None:
        """What a bot answers, if it is asked, in its turn; None when it cannot, or must wait too
        long. A file is there while it is open."""
        bot, fields = call.bot, {"bot_id": call.bot.user.id}
        if self._under_way[bot.user.id] >= _CALLS_AT_ONCE + _CALLS_WAITING:
            self.calls["dropped"] += 1
            LOG.warning("webhook_dropped", extra={"fields": {**fields, "heard": call.event.name}})
            return None
        self._under_way[bot.user.id] += 1
        try:
            async with self._lanes[bot.user.id]:
                if await self._db.read(is_still_called, bot):
                    return await self._call(call, opened)
                return None
        finally:
            self._under_way[bot.user.id] -= 1

    async def _call(self, call: Call, opened: AsyncExitStack) -> Reply | None:
        """It has seven seconds from the moment in which we begin to connect: what waits before, for
        a place or for its name, waits for us."""
        try:
            async with asyncio.timeout(None) as limit:
                answered = await self._post(call, limit, opened)
        except (ClientError, OSError, ValueError) as error:
            is_late = isinstance(error, TimeoutError)
            self.calls["timeout" if is_late else "failed"] += 1
            if is_late and call.is_asked:
                return Reply(call.bot.user, 200, "text/plain", _LATE)
            fields = {"bot_id": call.bot.user.id, "problem": type(error).__name__}
            LOG.warning("webhook_failed", extra={"fields": fields})
            return None
        self.calls["answered"] += 1
        return answered

    async def _post(self, call: Call, limit: asyncio.Timeout, opened: AsyncExitStack) -> Reply:
        bot, body = call.bot, json.dumps(webhook_payload(call)).encode()
        headers = {"Content-Type": "application/json"}
        if bot.events and bot.secret:
            mark = hmac.new(bot.secret.encode(), body, hashlib.sha256).hexdigest()
            headers["X-Campfire-Event"] = call.event.name
            headers["X-Campfire-Signature"] = f"sha256={mark}"
        how: Any = {"data": body, "timeout": ClientTimeout(), "trace_request_ctx": limit}
        url = bot.webhook_url or ""
        sending = self.client.session.post(url, headers=headers, allow_redirects=False, **how)
        async with sending as response:
            if not call.is_asked:
                return Reply(bot.user, response.status, "")
            media_type = response.content_type if "Content-Type" in response.headers else ""
            said = Reply(bot.user, response.status, media_type.lower())
            is_file = said.status == HTTPStatus.OK and _FILE_TYPES.fullmatch(said.type)
            if is_file and "files" in self._store.takes:
                try:
                    return replace(said, file=await self._kept(response, said.type, opened))
                except FileError as error:
                    said.note_dropped(error.code)
                    return said
            body = await response.content.read(_REPLY_LIMIT + 1)
            while len(body) <= _REPLY_LIMIT and not response.content.at_eof():
                body += await response.content.read(_REPLY_LIMIT + 1 - len(body))
            return replace(said, body=body, charset=response.charset)

    async def _kept(
        self, response: ClientResponse, media_type: str, opened: AsyncExitStack
    ) -> NewFile | None:
        """The file that a bot answers with; None of nothing. Raises FileTooLarge, StorageFull."""
        coming = self._store.incoming(response.content_length or 0, _FILE_LIMIT)
        spool = await opened.enter_async_context(coming)
        async for piece in response.content.iter_chunked(_PIECE_OF_FILE):
            await self._store.write(spool, piece)
        if not spool.size:
            return None
        given = given_name(response.headers.get("Content-Disposition", ""))
        name = safe_name(given or f"attachment.{ending_for(media_type)}")
        stored = await self._store.settle(spool, type_of(spool.head, name))
        return NewFile(stored, name, is_untried=stored.content_type in DRAWN_TYPES)


# === 23. shapes ===============================================================
# Records as JSON, and as the markup that travels to everybody in Turbo Streams. What is
# asked for again and again is written once, for as long as nothing in it changes; an
# answer holds the newest, as far as they fit, and says what is cut off. What is new in a
# stream carries, in `data-json`, the JSON of the answer, but for what stands there anyway
# and what differs from reader to reader; no e-mail address ever enters markup.
#
# Raises    MessageNotFound
# ==============================================================================

INVOLVEMENT_LABELS: Final = {
    Involvement.MENTIONS: "Notifying about @ mentions",
    Involvement.EVERYTHING: "Notifying about all messages",
    Involvement.NOTHING: "Notifications are off",
    Involvement.INVISIBLE: "Notifications are off and room invisible in sidebar",
}
REMEMBERED: Final = 4_000_000  # bytes of messages, of pages, and of what searches found
_EDITABLE: Final = b'","can_edit":true}'
_FIXED: Final = b'","can_edit":false}'
_EXTRA: Final = 500  # bytes of what stands around something remembered, about
ALL_SOUNDS: Final = Written(map(Packed, written(list(SOUNDS.values()))))  # that `/play` knows


def involvement_json(room_type: RoomType, now: Involvement) -> Json:
    """A member's notification level, and what the bell turns to next."""
    label, following = INVOLVEMENT_LABELS[now], next_involvement(room_type, now)
    return {"involvement": now, "involvement_label": label, "next_involvement": following}


@lru_cache(maxsize=256)
def _seen_by(room_type: RoomType, level: Involvement, since: int | None, *told: int) -> bytes:
    """What of a room differs from member to member, to its end."""
    said = zip(("starred", "mentions", "can_administer", "invitation"), told, strict=True)
    unread = {"unread": since is not None, "unread_since_ms": since}
    return b"," + written({**involvement_json(room_type, level), **unread, **dict(said)})[0][1:]


@lru_cache(maxsize=1_024)
def _member(name: str, value: str) -> bytes:
    """A member of an object, with its comma."""
    return written({name: value})[0][1:-1] + b","


Faces = frozenset[tuple[UserId, Timestamp]]  # people, as they looked then
Edges = tuple[MessageId | None, ...]  # the message a page is before, or after, or around


class Shown(NamedTuple):
    """A message as JSON, under everything it was made of; and its text."""

    id: MessageId
    updated_at: Timestamp
    faces: Faces
    creator_id: UserId
    path: bytes
    own: bytes  # what its element carries, not closed yet
    rest: bytes  # what stands there anyway, between commas
    html: str | None  # None when it cannot be shown
    html_size: int  # bytes
    size: int  # bytes of both pieces

    def seen_by(self, viewer: User, base_url: str, *more: bytes) -> Written:
        """The message as one of its readers sees it."""
        end = _EDITABLE if can_administer(viewer, self.creator_id) else _FIXED
        return Written((self.own, self.rest, *more, _member("url", base_url)[:-2], self.path, end))


def _fitting_around(sizes: Sequence[int], anchor: int) -> tuple[int, int]:
    """From where to where a page holds what an answer may, around the message at its anchor."""
    start, end = anchor, anchor + 1
    left = MOST_SHOWN - sum(sizes[start:end])
    while start > 0 or end < len(sizes):
        goes_back = start > 0 and (end >= len(sizes) or anchor - start < end - anchor)
        left -= sizes[start - 1] if goes_back else sizes[end]
        if left < 0:
            break
        start, end = (start - 1, end) if goes_back else (start, end + 1)
    return max(start, 0), end


class Shapes:
    """Every JSON object the server sends."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.renderings = 0  # markup made so far: one a broadcast, however many listen
        self._messages: Memory[MessageId, Shown] = Memory(REMEMBERED)
        # Pages as one of their readers saw them, under the room's moment (whatever happens in it
        # moves that) and the faces; and the marks by which browsers know them again.
        self._pages = Memory[tuple[object, ...], tuple[Timestamp, Faces, Written, str]](REMEMBERED)
        self._people: Memory[UserId, tuple[User, Json, Written]] = Memory(4_000)
        self._rooms: Memory[RoomId, tuple[Room, bytes]] = Memory(1_000)
        self._marked: Memory[tuple[MessageId, str, bool], tuple[int, str, bytes]] = Memory(4_000)
        self._hits: Memory[tuple[object, ...], tuple[object, Faces, Json]] = Memory(REMEMBERED)

    def person(self, user: User) -> tuple[User, Json, Written]:
        """Somebody as everybody sees them, as they are now: the shape, and the same written."""
        known = self._people.find(user.id)
        if known is None or (known[0] is not user and known[0] != user):  # by what it shows
            urls = {"avatar_url": self.signer.avatar_url(user), "url": f"/users/{user.id}"}
            names = "id name title bio role status"
            more = {"initials": initials(user.name), "has_avatar": user.avatar_id is not None}
            shape = record_json(user, names, **more, **urls)
            known = (user, shape, written(shape))
            self._people.keep(user.id, known)
        return known

    def user(self, user: User, viewer: User | None = None) -> Json:
        """A person; the address only for administrators and the person themselves."""
        shape = self.person(user)[1]
        if viewer and (viewer.role is Role.ADMINISTRATOR or viewer.id == user.id):
            return {**shape, "email_address": user.email_address}
        return shape

    def public_room(self, room: Room) -> bytes:
        """What of a room is the same for all its members, not closed yet."""
        known = self._rooms.find(room.id)
        if known is None or known[0] != room:
            streams = {"messages": self.signer.stream(f"room_{room.id}:messages")}
            more = {"updated_at_ms": room.updated_at // 1000, "streams": streams}
            names = "id type name topic creator_id created_at updated_at"
            shape = record_json(room, names, **more, path=f"/rooms/{room.id}")
            if room.type is not RoomType.DIRECT:
                shape |= {"display_name": room.name, "members": None}
            known = (room, written(shape)[0][:-1])
            self._rooms.keep(room.id, known)
        return known[1]

    def room(self, view: RoomView, viewer: User) -> Written:
        """A room as one of its members sees it."""
        room, member, is_direct = view.room, view.membership, view.room.type is RoomType.DIRECT
        may_administer = is_direct or can_administer(viewer, room.creator_id)
        since = None if member.unread_at is None else member.unread_at // 1000
        told = (member.starred_at is not None, view.mentions, may_administer, view.is_invitation)
        seen = _seen_by(room.type, member.involvement, since, *told)
        if not is_direct:
            return Written((self.public_room(room), seen))
        others = [user for user in view.people if user.id != viewer.id] or view.people
        members = written_list(self.person(user)[2] for user in others)
        who = (b',"display_name":', *written(display_name(view)), b',"members":', *members)
        return Written((self.public_room(room), *who, seen))

    def sidebar(self, sidebar: Sidebar, viewer: User) -> Written:
        """What stands beside every room."""
        parts = {
            "directs": written_list(self.room(view, viewer) for view in sidebar.directs),
            "shared": written_list(self.room(view, viewer) for view in sidebar.shared),
            "placeholders": written_list(self.person(user)[2] for user in sidebar.placeholders),
            "can_create_rooms": sidebar.can_create_rooms,
            "total_unread": sidebar.total_unread,
        }
        return joined(parts)

    def boost(self, boost: Boost) -> Json:
        """A boost."""
        emoji_only, booster = bool(is_emoji_only(boost.content)), self.user(boost.booster)
        names = "id message_id content created_at"
        return record_json(boost, names, emoji_only=emoji_only, booster=booster)

    def told(self, message: PersistedMessage, excerpt: str | None = None) -> Shown:
        """A message as everybody sees it, remembered until it changes; an excerpt of it is not."""
        boosters, editor = (boost.booster for boost in message.boosts), message.edited_by
        people = (message.creator, editor or message.creator, *message.named, *boosters)
        faces = frozenset([(user.id, user.updated_at) for user in people])
        known = self._messages.find(message.id) if excerpt is None else None
        if known is not None and (known.updated_at, known.faces) == (message.updated_at, faces):
            return known
        text, html = message.body.text, None if excerpt is None else escape(excerpt)
        if excerpt is None:
            try:
                named = {user.id: self.signer.mentionable(user) for user in message.named}
                html = presented(message.body, named)
            except (ValueError, LookupError, TypeError) as error:
                LOG.exception("message_unrenderable", exc_info=error)
        created_at, file = message.created_at // 1000, message.file
        sound = None if file else sound_in(text)
        own: Json = {
            "id": message.id,
            "client_message_id": message.client_message_id,
            "room_id": message.room_id,
            "created_at": iso(message.created_at),
            "updated_at": iso(message.updated_at),
            "path": message.path,
            "timestamp": created_at,
            "updated_at_ms": message.updated_at // 1000,
            "sort_value": created_at,
            "edited_at_ms": message.edited_at and message.edited_at // 1000,
            "edited_by": editor and {"id": editor.id, "name": editor.name},
            "content_type": "attachment" if file else "sound" if sound else "text",
            "emoji_only": not file and bool(is_emoji_only(text)),
            "sound": sound,
            "attachment": file and file_json(file),
            "mentionee_ids": message.body.mentions,
            "to_everyone": message.to_everyone,
            "links": message.body.links,
            "previews": list(map(asdict, message.body.previews)),
            "boosts": [self.boost(boost) for boost in message.boosts],
        }
        who, seen = self.person(message.creator)[2], text if excerpt is None else excerpt
        said = (*who, *written(html or ""), *written(seen))
        rest = b',"creator":%b,"body_html":%b,"plain_text":%b,' % said
        rest += b'"excerpt":true,' * (excerpt is not None)
        under = (message.id, message.updated_at, faces, message.creator.id, message.path.encode())
        pieces = (written(own)[0][:-1], rest)
        shown = Shown(*under, *pieces, html, len((html or "").encode()), sum(map(len, pieces)))
        if excerpt is None:
            self._messages.keep(message.id, shown, shown.html_size + shown.size + _EXTRA)
        return shown

    def shown(self, tx: ReadTx, excerpt: Sequence[sqlite3.Row]) -> list[Shown]:
        """The messages of an excerpt, with the people in them as they are now."""
        known: dict[MessageId, Shown] = {}
        for entry in excerpt:
            shown = self._messages.find(entry["id"])
            if shown is not None and shown.updated_at == entry["updated_at"]:
                known[entry["id"]] = shown
        faces = Faces().union(*(shown.faces for shown in known.values()))
        if changed := faces - standing(tx, faces):
            known = {key: shown for key, shown in known.items() if not shown.faces & changed}
        missing = [entry["id"] for entry in excerpt if entry["id"] not in known]
        for message in messages_by_id(tx, missing) if missing else ():
            known[message.id] = self.told(message)
        return [known[entry["id"]] for entry in excerpt]

    def page(
        self, tx: ReadTx, room: Room, edges: Edges, viewer: User, base_url: str
    ) -> tuple[Written, str]:
        """The page before, after or around a message, and its mark. Raises MessageNotFound."""
        key = (room.id, edges, None if viewer.role is Role.ADMINISTRATOR else viewer.id, base_url)
        known = self._pages.find(key)
        if known and known[0] == room.updated_at and known[1] == standing(tx, known[1]):
            return known[2:]
        page = page_of(tx, room.id, *edges)
        shown, ids = self.shown(tx, page.found), [entry["id"] for entry in page.found]
        faces = Faces().union(*(message.faces for message in shown))
        anchor = ids.index(page.highlighted_id) if page.highlighted_id in ids else len(ids) - 1
        is_after = edges[0] is None and edges[1] is not None
        start, end = _fitting_around([message.size for message in shown], 0 if is_after else anchor)
        parts = {
            "messages": written_list(told.seen_by(viewer, base_url) for told in shown[start:end]),
            "has_before": page.has_before or start > 0,
            "has_after": page.has_after or end < len(ids),
            "highlighted_id": page.highlighted_id,
        }
        moments = [[entry["id"], entry["updated_at"]] for entry in page.found[start:end]]
        digest = hashlib.sha256(compact([sorted(faces), moments]).encode()).hexdigest()[:24]
        packed, mark = Packed(b"".join(joined(parts))), f'W/"{digest}"' if shown else ""
        made = (room.updated_at, faces, Written((packed,)), mark)
        self._pages.keep(key, made, len(packed) + _EXTRA)
        return made[2:]

    def _marks(
        self, message: sqlite3.Row, words: Sought, *, is_excerpt: bool
    ) -> tuple[int, str, bytes]:
        """What a search shows of a message, remembered for whoever seeks the same."""
        key = (message["id"], words.match, is_excerpt)
        known = self._marked.find(key)
        if known is None or known[0] != message["updated_at"]:
            text, marks = marked_text(message["body_text"], words, is_excerpt=is_excerpt)
            edges = pairwise((0, *chain.from_iterable(marks), len(text)))
            first, *pieces = (escape(text[start:end]) for start, end in edges)
            marked = zip(pieces[::2], pieces[1::2], strict=True)
            html = first + "".join(f"<mark>{mark}</mark>{rest}" for mark, rest in marked)
            json_of_it = b'"highlight_html":%b,' % written(html)[0]
            known = (message["updated_at"], text if is_excerpt else "", json_of_it)
            self._marked.keep(key, known)
        return known

    def hits(self, tx: ReadTx, found: SearchHits, query: str, viewer: User, base_url: str) -> Json:
        """What a search found, oldest first, as far as it is no more than an answer holds."""
        names, messages = found.room_names, found.messages
        key = (viewer.id, viewer.role, base_url, query)
        moments = [(hit["id"], hit["updated_at"], names[hit["room_id"]]) for hit in messages]
        known = self._hits.find(key)
        if known and known[0] == (moments, found.has_before) and known[1] == standing(tx, known[1]):
            return known[2]
        told = self.shown(tx, [hit for hit in messages if hit["size"] <= LARGE_HIT])
        whole = {shown.id: shown for shown in told if shown.html_size <= LARGE_HIT}
        long = [hit["id"] for hit in messages if hit["id"] not in whole]
        cut = {it.id: it for it in messages_by_id(tx, long, with_bodies=False)}
        answered, faces, left = list[Written](), list[Faces](), MOST_SHOWN
        for hit in reversed(messages):
            shown = whole.get(hit["id"])
            _, text, marks = self._marks(hit, found.words, is_excerpt=shown is None)
            if shown is None:
                shown = self.told(cut[hit["id"]], text)
            left -= shown.size + len(marks)
            if left < 0:
                break
            room_name = _member("room_name", names[hit["room_id"]])
            faces.append(shown.faces)
            answered.append(shown.seen_by(viewer, base_url, room_name, marks))
        packed = Packed(b"".join(written_list(answered[::-1])))
        more = found.has_before or len(answered) < len(messages)
        made: Json = {"query": query or None, "messages": Written((packed,)), "has_before": more}
        under = ((moments, found.has_before), Faces().union(*faces))
        self._hits.keep(key, (*under, made), len(packed) + _EXTRA)
        return made


def _avatar(user: Json, figure: str, label: str = "") -> str:
    named = f' aria-label="{escape(label)}"' if label else ""
    hidden = "" if label else ' aria-hidden="true"'
    return (
        f'<figure class="avatar {figure}"><a href="{user["url"]}"'
        f' title="{escape(str(user["title"]))}"'
        f' class="btn avatar"{named}><img src="{escape(str(user["avatar_url"]))}"'
        f' width="48" height="48" alt=""{hidden}></a></figure>'
    )


def person_element(shapes: Shapes, user: User) -> str:
    """Somebody as everybody sees them, for the client alone: nothing of it is drawn."""
    return f'<i id="person_{user.id}"{attribute("data-json", shapes.person(user)[2])}></i>'


def shared_room_element(shapes: Shapes, room: Room) -> str:
    """An open or closed room in the sidebar."""
    shapes.renderings += 1
    name, own = escape(room.name or ""), Written((shapes.public_room(room), b"}"))
    return (
        f'<a id="list_room_{room.id}" href="/rooms/{room.id}" class="align-center gap room btn'
        f' txt-nowrap" data-room-id="{room.id}" data-room-type="{room.type}"'
        f' data-sorted-list-name="{name}"{attribute("data-json", own)}>'
        f'<span class="overflow-ellipsis">{name}</span></a>'
    )


def direct_room_element(shapes: Shapes, room: Room, people: Sequence[User], viewer: User) -> str:
    """A ping in the sidebar of one of its members."""
    shapes.renderings += 1
    others = [user for user in people if user.id != viewer.id] or [viewer]
    names = [user.name for user in others]
    members = written_list(shapes.person(user)[2] for user in others)
    marks = [initials(" ".join(name.split()[:3])).upper() for name in names]
    label = sentence(marks, pair="+") if len(names) > 1 else (names[0].split() or names)[0]
    name = written({"display_name": sentence(names)})[0][1:]
    own = Written((shapes.public_room(room), b",", name))
    urls = (escape(shapes.signer.avatar_url(user)) for user in others[:4])
    picture = '<img src="{}" class="avatar" width="48" height="48" alt="" aria-hidden="true">'
    return (
        f'<a id="list_room_{room.id}" href="/rooms/{room.id}" class="direct"'
        f' data-room-id="{room.id}" data-room-type="direct"'
        f' data-sorted-list-number="{room.updated_at // 1000}"'
        f"{attribute('data-members', members)}{attribute('data-json', own)}>"
        f'<span class="avatar__group">{"".join(map(picture.format, urls))}</span>'
        f'<span class="direct__author">{escape(label)}</span></a>'
    )


def boost_element(shapes: Shapes, boost: Boost, *, is_inside: bool = False) -> str:
    """A boost under its message, as it appears there; inside the message, that says all of it."""
    booster, shape, who = shapes.person(boost.booster)
    emoji = bool(is_emoji_only(boost.content))
    avatar, own = _avatar(shape, "boost__avatar", f"{booster.name} boosted {boost.content}"), ""
    if not is_inside:
        shapes.renderings += 1
        json_of_it = shapes.boost(boost)
        del json_of_it["booster"]  # who stands in the element anyway
        own = attribute("data-json", json_of_it)
    return (
        f'<div id="boost_{boost.id}" class="boost" data-boost-id="{boost.id}"'
        f' data-message-id="{boost.message_id}"{attribute("data-booster", who)}'
        f' data-booster-id="{booster.id}" data-emoji-only="{compact(emoji)}"'
        f' data-created-at="{iso(boost.created_at)}"{own}>{avatar}<span class="txt-small'
        f'{" txt-medium" if emoji else ""}" data-boost-content>{escape(boost.content)}</span></div>'
    )


def presentation_element(
    shapes: Shapes, message: PersistedMessage, inside: Shown | None = None
) -> str:
    """A message's text, as an edit replaces it; inside the message, that says all of it."""
    body, own, file = message.body, "", message.file
    sound = None if file else sound_in(message.body.text)
    if inside is None:
        inside = shapes.told(message)
        shapes.renderings += 1
        own = attribute("data-json", Written((inside.own, b"}")))
    html = inside.html or ""
    content = html if sound else f'<div class="trix-content">{html}</div>'
    attached = ""
    if file:
        content, attached = file_element(file), attribute("data-attachment", file_json(file))
    return (
        f'<div id="presentation_message_{escape(message.client_message_id)}"'
        f' class="message__presentation" dir="auto" data-message-id="{message.id}"'
        f' data-message-updated-at="{message.updated_at // 1000}"'
        f' data-content-type="{"attachment" if file else "sound" if sound else "text"}"'
        f' data-emoji-only="{compact(not file and bool(is_emoji_only(body.text)))}"{attached}'
        f' data-mentionee-ids="{",".join(map(str, body.mentions))}"'
        f"{attribute('data-links', body.links)}{attribute('data-sound', sound)}"
        f' data-plain-text="{escape(body.text)}"{own}>{content}</div>'
    )


def message_element(shapes: Shapes, message: PersistedMessage, room_name: str) -> str:
    """A message's markup; a message that cannot be shown says so in its place."""
    shapes.renderings += 1
    shown = shapes.told(message)
    if shown.html is None:
        return (
            '<div class="message message--formatted message--failed center">'
            '<div class="message__body">Failed to load message content</div></div>'
        )
    cmid, (creator, shape, who) = escape(message.client_message_id), shapes.person(message.creator)
    emoji = " message--emoji" if not message.file and is_emoji_only(message.body.text) else ""
    created, at = message.created_at // 1000, iso(message.created_at)
    return (
        f'<div id="message_{cmid}" class="message{emoji}" data-message-id="{message.id}"'
        f' data-client-message-id="{cmid}" data-room-id="{message.room_id}"'
        f' data-user-id="{creator.id}" data-message-timestamp="{created}"'
        f' data-message-updated-at="{message.updated_at // 1000}"'
        f' data-sort-value="{created}" data-path="{message.path}"'
        f"{attribute('data-creator', who)}{attribute('data-json', Written((shown.own, b'}')))}>"
        f'<h2 class="message__day-separator"><time datetime="{at}" data-local-time-target="date">'
        f"</time></h2>{_avatar(shape, 'message__avatar')}"
        '<div class="message__body"><div class="message__body-content"><div class="message__meta">'
        f'<h3 class="message__heading"><span class="message__author"'
        f' title="{escape(str(shape["title"]))}"><strong>{escape(creator.name)}</strong></span>'
        f' <a href="{message.path}" class="message__permalink"><time class="message__timestamp"'
        f' datetime="{at}" data-local-time-target="time"></time></a>'
        f' <span class="message__room"><a href="{message.path}">{escape(room_name)}</a></span>'
        f"</h3></div>{presentation_element(shapes, message, shown)}"
        f'<div class="boosts" id="boosts_message_{cmid}">'
        f"{''.join(boost_element(shapes, boost, is_inside=True) for boost in message.boosts)}"
        "</div></div></div></div>"
    )


# === 24. pictures =============================================================
# What is made of pictures: a still for the room, square portraits, logos of two sizes,
# and photographs without what a camera says of where they were taken. The formats are
# five, tried by nobody's word but the first bytes; a picture is refused by its size
# before it is decoded, decoded as small as will do, turned upright, and only its colours
# are kept. And what a page says of itself, in words. All of it runs in the workshop: this
# process never loads a decoder.
# ==============================================================================

if TYPE_CHECKING:  # Pillow is imported where pictures are made, and nowhere else
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MOST_PIXELS_OF_JPEG: Final = 210_000_000  # of which as few are decoded as are needed
MOST_PIXELS_DECODED: Final = 64_000_000
LONGEST_SIDE: Final = 65_500
_PROFILE_BYTES: Final = 65_536
_GAP: Final = 1.5  # how much larger a picture is decoded than it is wanted
AVATAR_SIDE: Final = 512
LOGO_SIDES: Final = (512, 192)
_PLUGINS: Final = {f"image/{name.lower()}": name for name in ("Jpeg", "Png", "Gif", "WebP", "Avif")}
_ORIENTATION: Final = 0x0112
_SIDEWAYS: Final = 5  # from this orientation on width and height change places
_EXIF: Final = b"Exif\0\0"
# An EXIF segment that says how the camera was held, and nothing else (EXIF 2.32, 4.6.2).
_HELD: Final = b'\xff\xe1\0"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0%c\0\0\0\0\0\0'
_SOI, _EOI, _SOS, _APP1, _APP2, _APP13, _COM = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xED, 0xFE
_ALONE: Final = (_SOI, _EOI, 0x01, *range(0xD0, 0xD8))  # markers without a length
_NEXT_MARKER: Final = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # after what is coded
_How: TypeAlias = Literal["", "enlarged", "cropped"]


def orientation_in(exif: bytes) -> int:
    """How a camera was held, 1 to 8 (EXIF 2.32, 4.6.4); 1 for what says nothing plausible."""
    tiff = exif.removeprefix(_EXIF)
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    first = number(4, 4)
    for entry in range(first + 2, first + 2 + 12 * number(first, 2), 12):
        if number(entry, 2) == _ORIENTATION:
            return value if (value := number(entry + 8, 2)) in range(1, 9) else 1
    return 1


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The segments of a JPEG's first picture: marker, start, end. Raises ValueError."""
    at, marker = 2, _SOI
    if not data.startswith(b"\xff\xd8"):
        raise ValueError("no JPEG")
    while marker != _EOI and at < len(data):
        start = at
        while data[at : at + 2] == b"\xff\xff":  # padding
            at += 1
        if data[at : at + 1] != b"\xff" or at + 2 > len(data):
            raise ValueError("no marker")
        marker, at = data[at + 1], at + 2
        if marker not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
        if marker == _SOI or at > len(data):
            raise ValueError("no segment")
        if marker == _SOS:
            following = _NEXT_MARKER.search(data, at)
            at = following.start() if following else len(data)
        yield marker, start, at


def _strip(source: io.FileIO, target: io.FileIO) -> Json:
    """A JPEG without what cameras and programs say of it, its first picture bit for bit; whatever
    is none stays as it is."""
    data, is_turned = source.readall(), False
    pieces: list[bytes] = [data[:2]]
    try:
        for marker, start, end in _segments(data):
            said = data[start + 4 : start + 10] if marker in (_APP1, _APP2) else b""
            if said == _EXIF and not is_turned:
                orientation = orientation_in(data[start + 4 : end])
                is_turned = orientation > 1
                pieces += [_HELD % orientation] if is_turned else []
            elif marker not in (_APP1, _APP13, _COM) and not said.startswith(b"MPF\0"):
                pieces.append(data[start:end])
    except ValueError:
        pieces = [data]
    for piece in pieces:
        write_all(target.fileno(), piece)
    return {}


def _picture_in(source: io.FileIO) -> "ImageFile":
    """A picture of one of five formats, not decoded yet. Raises KeyError, ValueError."""
    source.seek(0)
    content_type = type_of(source.read(HEAD_BYTES))
    source.seek(0)
    plugin = import_module(f"PIL.{_PLUGINS[content_type]}ImagePlugin")
    picture: ImageFile = getattr(plugin, f"{_PLUGINS[content_type]}ImageFile")(source)
    most = MOST_PIXELS_OF_JPEG if content_type == "image/jpeg" else MOST_PIXELS_DECODED
    if math.prod(picture.size) > most or max(picture.size) > LONGEST_SIDE:
        raise ValueError("too large")
    return picture


def _in_plain_colours(picture: "Image") -> "Image":
    """The picture in grey, in colour, or in colour with transparency."""
    if picture.mode.startswith("I"):  # of two bytes, where `convert` would take the lower one
        return picture.convert("I").point([value >> 8 for value in range(65_536)], "L")
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def _remade(picture: "ImageFile", box: tuple[int, int], how: _How = "") -> tuple[int, int, "Image"]:
    """The sides of a picture as it is seen, and what fits in the box: upright, in plain colours.
    Nothing is said of it any more but the colours that it was made in, if they still are of its
    kind (ICC.1, 7.2.6). What XMP says of how it was held browsers do not heed."""
    from PIL.Image import Resampling
    from PIL.ImageOps import exif_transpose

    orientation = orientation_in(picture.info.get("exif", b""))
    profile = picture.info.get("icc_profile")
    turned = -1 if orientation >= _SIDEWAYS else 1
    width, height = picture.size[::turned]
    scale = max(box) if how == "enlarged" else 1
    wide, high = fitted(width * scale, height * scale, box)[::turned]
    across, down = picture.size
    if how == "cropped":
        wide = high = min(across, down, *box)
    enough = _GAP * max(wide / across, high / down)
    picture.draft(None, (math.ceil(across * enough), math.ceil(down * enough)))
    plain = _in_plain_colours(picture)
    across, down = plain.size
    left, top = max(across - down, 0) / 2, max(down - across, 0) / 2
    part = (left, top, across - left, down - top) if how == "cropped" else None
    made = plain.resize((wide, high), Resampling.LANCZOS, part, _GAP)
    if made.mode == "RGBA" and made.getchannel("A").getextrema() == (255, 255):
        made = made.convert("RGB")
    made.info = {"exif": _HELD[4:] % orientation}
    made = exif_transpose(made)
    space = b"GRAY" if made.mode == "L" else b"RGB "
    fits = profile and len(profile) <= _PROFILE_BYTES and profile[16:20] == space
    made.info = {"icc_profile": profile if fits else None}
    return width, height, made


def _encode(picture: "Image", target: io.FileIO, kind: str, **how: object) -> None:
    picture.save(target, kind, icc_profile=picture.info.get("icc_profile"), **how)


def _still(source: io.FileIO, target: io.FileIO, box: tuple[int, int] = STILL_BOX) -> Json:
    picture = _picture_in(source)
    width, height, made = _remade(picture, box)
    if made.mode == "RGBA":
        _encode(made, target, "WEBP", quality=80, method=2)
    else:
        _encode(made, target, "JPEG", quality=82, subsampling="4:2:0")
    is_animated = False
    with suppress(EOFError):  # how many frames there are nobody asks
        picture.seek(1)
        is_animated = True
    return {"width": width, "height": height, "is_animated": is_animated}


def _square(source: io.FileIO, target: io.FileIO) -> Json:
    *_, made = _remade(_picture_in(source), (AVATAR_SIDE, AVATAR_SIDE), "cropped")
    _encode(made, target, "WEBP", quality=80, method=4)
    return {}


def _two_logos(source: io.FileIO, target: io.FileIO) -> Json:
    from PIL.Image import new

    first = 0
    for side in LOGO_SIDES:
        *_, made = _remade(_picture_in(source), (side, side), "enlarged")
        ground = new("RGBA", (side, side))
        ground.paste(made.convert("RGBA"), ((side - made.width) // 2, (side - made.height) // 2))
        _encode(ground, target, "PNG")
        first = first or target.tell()
    return {"first": first}


# --- What a page says of itself ---

_META_BYTES: Final = 1_024  # in which a page says how it is written
_CHARSET: Final = re.compile(rb"<meta[^>]*?\bcharset\s*=\s*[\"']?\s*([^\s\"'/>;]+)", re.IGNORECASE)
_BYTE_ORDERS: Final = (
    (b"\xef\xbb\xbf", "utf_8"), (b"\xff\xfe", "utf_16_le"), (b"\xfe\xff", "utf_16_be"),
)  # fmt: skip
_LATIN: Final = "cp1252"
# How pages call what they are written in; browsers read the newer of two that are much the same.
_CHARSETS_OF_PAGES: Final = {
    **{f"iso-8859-{part}": f"iso8859_{part}" for part in (*range(2, 12), *range(13, 17))},
    **{f"windows-{page}": f"cp{page}" for page in range(1_250, 1_259)},
    "utf-8": "utf_8", "utf8": "utf_8",
    "utf-16": "utf_16_le", "utf-16le": "utf_16_le", "utf-16be": "utf_16_be",
    "koi8-r": "koi8_r", "koi8-u": "koi8_u", "macintosh": "mac_roman",
    "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "x-sjis": "cp932",
    "euc-jp": "euc_jp", "iso-2022-jp": "iso2022_jp", "euc-kr": "cp949",
    "gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "big5": "big5hkscs",
}  # fmt: skip
_FACTS: Final = {  # what is told first counts
    "title": ("og:title", "twitter:title", "<title>"),
    "description": ("og:description", "twitter:description", "description"),
    "image": ("og:image:secure_url", "og:image", "twitter:image"),
    "url": ("og:url",),
}
_HEAD_OF_PAGE: Final = nh3.Cleaner(
    tags={"meta", "title"},
    clean_content_tags={
        *set_of("script style noscript template svg math textarea select"),
        *set_of("iframe object xmp noembed noframes"),
    },
    attributes={"meta": {"property", "name", "content"}},
    link_rel=None,
)
_NO_TAGS: Final = nh3.Cleaner(tags=set(), clean_content_tags=set(), attributes={})


def charset_of(data: bytes, declared: str) -> str:
    """What a page is written in: by its first bytes, its sender, its own word, or what fits."""
    for mark, charset in _BYTE_ORDERS:
        if data.startswith(mark):
            return charset
    head = re.sub(rb"<!--.*?-->", b"", data[:_META_BYTES], flags=re.DOTALL)
    said = _CHARSET.search(head)
    if declared:
        return _CHARSETS_OF_PAGES.get(declared.strip().lower(), _LATIN)
    if said:  # which would be no text of ASCII letters, in two bytes each
        charset = _CHARSETS_OF_PAGES.get(said[1].decode("latin-1").lower(), _LATIN)
        return "utf_8" if charset.startswith("utf_16") else charset
    with suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf_8")().decode(data)  # whose end may be cut
        return "utf_8"
    return _LATIN


def _without_drawings(page: str) -> str:
    """A page without what stands in its drawings, from which a parser would let it escape."""
    pieces, at = [], 0
    for tag in tags_in(page) if "<svg" in page.lower() else ():
        if tag["name"].lower() == "svg" and not tag["attributes"].endswith("/"):
            if not tag["end"] and at >= 0:
                pieces.append(page[at : tag.start()])
            at = tag.end() if tag["end"] else -1
    return "".join(pieces) + (page[at:] if at >= 0 else "")


def _in_words(value: str) -> str:
    """A value without tags, however often they were escaped."""
    while (words := unescape(_NO_TAGS.clean(value))) != value:
        value = words
    return words


def facts_of(data: bytes, declared: str = "") -> dict[str, str]:
    """What a page says of itself: title, description, image and url, as far as it does."""
    page = data.decode(charset_of(data, declared), "replace").removeprefix("\ufeff")
    head = _HEAD_OF_PAGE.clean(_without_drawings(page))
    said: dict[str, str] = {}
    for tag in WRITTEN_TAG.finditer(head):
        its = attributes_of(tag)
        name, value = (its.get("property") or its.get("name", "")), its.get("content", "")
        if tag["name"] == "title" and not tag["end"]:
            name, value = "<title>", unescape(head[tag.end() : head.find("<", tag.end())])
        if value.strip():
            said.setdefault(name.strip().lower(), value)
    first = {fact: next(filter(None, map(said.get, names)), "") for fact, names in _FACTS.items()}
    return {
        "title": one_line(_in_words(first["title"]), MOST_TITLE),
        "description": one_line(_in_words(first["description"]), MOST_DESCRIPTION),
        **{fact: first[fact].strip()[: MOST_ADDRESS + 1] for fact in ("image", "url")},
    }


def _read_page(source: io.FileIO, target: io.FileIO) -> Json:
    """The facts of a page, whose first line says how its sender calls what it is written in."""
    declared, _, data = source.readall().partition(b"\n")
    write_all(target.fileno(), compact(facts_of(data, declared.decode("latin-1"))).encode())
    return {}


@lru_cache(1)
def get_ready_for_pages() -> None:
    """Reads a little in every script: whoever reads pages can import nothing."""
    for charset in {*_CHARSETS_OF_PAGES.values(), _LATIN}:
        b"<\x1b$B!!\x1b(B".decode(charset, "replace")
    facts_of(b"<title>a</title>")


CARD_BOX: Final = (800, 450)
ORDERS: Final[Mapping[str, Callable[[io.FileIO, io.FileIO], Json]]] = {
    "strip": _strip, "still": _still, "avatar": _square, "logo": _two_logos,
    "card": partial(_still, box=CARD_BOX), "page": _read_page,
}  # fmt: skip


def memory_file() -> io.FileIO:
    """A file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return io.FileIO(os.memfd_create("picture"), "r+")
    return tempfile.TemporaryFile(buffering=0)


@lru_cache(1)
def get_ready_for_pictures() -> None:
    """Imports what the orders need, by carrying them out once: what decodes can import nothing."""
    from PIL import AvifImagePlugin
    from PIL.Image import new

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the kernel would refuse a second
    told = {"exif": _HELD[4:] % _SIDEWAYS}
    for kind in _PLUGINS.values():
        with memory_file() as source:
            new("P", (8, 8)).convert("RGB").save(source, kind, **told)
            for order in ("still", "avatar", "logo"):
                with memory_file() as target:
                    ORDERS[order](source, target)


# === 25. workshop =============================================================
# Where what strangers send is decoded. The server never does it: before it has a thread
# or a secret it forks the workshop, which takes one order at a time over a socket, with
# the file to read and the file to write; and for each order the workshop forks a hand
# that has nothing but these two, a little memory and time, and no way to ask the kernel
# for more. A decoder that is taken over can spoil one picture. Nothing here says what a
# picture is for; nothing there knows who sent it.
#
# Raises    PictureUnreadable, PicturesUnavailable
# ======================================================================================

_ORDER_BYTES: Final = 4_096
_ORDER_SECONDS: Final = 20
_CPU_SECONDS: Final = 10
_READING_SECONDS: Final = 3  # of CPU, for a page
_MEMORY: Final = 768 << 20
_WRITTEN: Final = 32 << 20
_KEPT_APART: Final = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM
_OUT_OF_MEMORY: Final = 3  # exit code of a hand

# --- The hand: what it may still do (seccomp(2)) ---

# The system calls that decoding needs, by their numbers on x86-64 and aarch64.
_ALLOWED: Final = """
    read 0 63, write 1 64, close 3 57, fstat 5 80, lseek 8 62, mmap 9 222, mprotect 10 226,
    munmap 11 215, brk 12 214, rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139,
    pread64 17 67, sched_yield 24 124, mremap 25 216, madvise 28 233, getpid 39 172, exit 60 93,
    getrusage 98 165, gettid 186 178, futex 202 98, sched_getaffinity 204 123,
    clock_gettime 228 113, exit_group 231 94, getrandom 318 278, rseq 334 293
"""
_MACHINES: Final = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7)}  # column, AUDIT_ARCH_…
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # of classic BPF, on 32 bits
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_SET_PDEATHSIG, _SET_SECCOMP, _SET_NO_NEW_PRIVS, _FILTER = 1, 22, 38, 2


def _control(option: int, *values: object) -> bool:
    """Whether prctl(2) did it; elsewhere than on Linux it never does."""
    import ctypes

    libc = ctypes.CDLL(None)
    return sys.platform == "linux" and not libc.prctl(option, *values, 0, 0, 0)


def _is_filtered() -> bool:
    """Whether the kernel lets nothing but these calls pass; not on machines we do not know."""
    import ctypes

    column, architecture = _MACHINES.get(os.uname().machine, (0, 0))
    if not column:
        return False
    allowed = [int(call.split()[column]) for call in _ALLOWED.split(",")]
    steps = [
        (_LOAD, 0, 0, 4),
        (_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # the call's number
        *((_IF_EQUAL, len(allowed) - at, 0, call) for at, call in enumerate(allowed)),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program = b"".join(struct.pack("HBBI", *step) for step in steps)
    held = ctypes.create_string_buffer(program, len(program))
    about = struct.pack("HP", len(steps), ctypes.addressof(held))
    return _control(_SET_NO_NEW_PRIVS, 1) and _control(_SET_SECCOMP, _FILTER, about)


def confine(kept: Sequence[int], most: int, seconds: int = _CPU_SECONDS) -> bool:
    """Leaves these descriptors and what decoding needs; whether the kernel watches over it."""
    with suppress(OSError):  # who is short of memory ends this first
        Path("/proc/self/oom_score_adj").write_text("1000")
    limits = [(resource.RLIMIT_CPU, seconds), (resource.RLIMIT_FSIZE, most)]
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits.append((resource.RLIMIT_AS, pages * resource.getpagesize() + _MEMORY))
    for limit, value in (*limits, (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # macOS knows no limit of memory
            resource.setrlimit(limit, (value, value))
    for low, high in pairwise((-1, *sorted(kept), os.sysconf("SC_OPEN_MAX"))):
        os.closerange(low + 1, high)
    return _is_filtered()


def _hand(order: str, source: int, target: int, mouth: int) -> None:
    """Carries out one order, and ends this process."""
    code = 1
    try:
        _control(_SET_PDEATHSIG, signal.SIGKILL)
        files = io.FileIO(source), io.FileIO(target, "r+")
        most = os.fstat(source).st_size + 1_024 if order == "strip" else _WRITTEN
        seconds = _READING_SECONDS if order == "page" else _CPU_SECONDS
        is_filtered = confine((source, target, mouth), most, seconds)
        told = {**ORDERS[order](*files), "is_filtered": is_filtered}
        os.write(mouth, compact(told).encode())
        code = 0
    except MemoryError:
        code = _OUT_OF_MEMORY
    finally:
        os._exit(code)


# --- The workshop ---


def _heard(ear: int) -> bytes | None:
    """What a hand says until it ends; None if that takes too long, or is too much."""
    until, said = time.monotonic() + _ORDER_SECONDS, b""
    while len(said) < _ORDER_BYTES:
        if not select.select([ear], [], [], max(until - time.monotonic(), 0))[0]:
            break
        if not (more := os.read(ear, _ORDER_BYTES)):
            return said
        said += more
    return None


def _come_of(order: str, source: int, target: int) -> Json:
    """How an order ended, and what its hand told, which nobody has to believe."""
    ear, mouth = os.pipe()
    if not (hand := os.fork()):
        _hand(order, source, target, mouth)
    os.close(mouth)
    said = _heard(ear)
    os.close(ear)
    os.kill(hand, signal.SIGKILL)  # which changes nothing for one that has ended
    code = os.waitstatus_to_exitcode(os.waitpid(hand, 0)[1])
    if code == 0 and said:
        told = {name: fact for name, fact in json_object(said).items() if isinstance(fact, int)}
        return {**told, "result": "ok"}
    is_limit = said is not None and code in (_OUT_OF_MEMORY, -signal.SIGKILL, -signal.SIGXCPU)
    return {"result": "limit" if is_limit else "refused" if code > 0 else "killed"}


def work_until_alone(line: socket.socket) -> None:
    """The workshop: one order after another, until the server is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    _control(_SET_PDEATHSIG, signal.SIGKILL)
    warnings.simplefilter("ignore")  # of pictures that are not quite as they should be
    while True:
        order, descriptors, _, _ = socket.recv_fds(line, _ORDER_BYTES, 3)
        if not order:
            return
        *files, mouth = descriptors
        try:
            if order == b"page":
                get_ready_for_pages()
            elif order != b"strip":
                get_ready_for_pictures()
            came = _come_of(order.decode(), *files)
        except (ImportError, KeyError):  # there is no Pillow, or one without our formats
            came = {"result": "unavailable"}
        with suppress(OSError):  # nobody waits for it any more
            os.write(mouth, compact(came).encode())
        for descriptor in descriptors:
            os.close(descriptor)


def open_workshop() -> socket.socket:
    """Forks the workshop, and gives the way to it. There must be no thread yet."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, _KEPT_APART)
    gc.freeze()  # looking for garbage in what both share would copy it
    if os.fork():
        theirs.close()
        return ours
    try:
        ours.close()
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):  # whoever reads what the server says hears when it ends
            os.dup2(nothing, number)
        with suppress(ConnectionError):
            work_until_alone(theirs)
    finally:
        os._exit(0)


# --- The server's side ---


class Workshop:
    """Asks the workshop for one thing after another; whoever asks waits for their turn."""

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._turn = asyncio.Lock()
        self.seconds: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(SECONDS))
        self.results: Counter[tuple[str, str]] = Counter()
        self.sandbox = ""  # of the last order
        self.has_pictures = False

    def open(self, line: socket.socket) -> None:
        """Goes to work, by the way that leads to the workshop."""
        line.settimeout(0)
        self._line, self.has_pictures = line, True
        if PathFinder.find_spec("PIL") is None:
            self._without_pictures("Pillow is not installed")

    async def strip(self, source: int, target: int) -> None:
        """Writes a JPEG anew without what is said of it. Raises as `still`."""
        await self._order("strip", source, target)

    async def still(self, source: int, order: str = "still") -> Still:
        """What to show of a picture, or of a page's: a card. Raises PictureUnreadable,
        PicturesUnavailable."""
        told, (data, *_) = await self._pictures(order, source, "image/jpeg", "image/webp")
        width, height = told.get("width", 0), told.get("height", 0)
        if not 0 < min(width, height) <= max(width, height) <= LONGEST_SIDE:
            raise PictureUnreadable
        sizes = width, height, *fitted(width, height, CARD_BOX if order == "card" else STILL_BOX)
        return Still(*sizes, type_of(data), bool(told.get("is_animated")), data)

    async def page(self, data: bytes, declared: str) -> dict[str, str]:
        """What a page says of itself, in the names of `facts_of`. Raises as `still`."""
        with memory_file() as source, memory_file() as target:
            write_all(source.fileno(), declared.encode("latin-1", "replace") + b"\n" + data)
            source.seek(0)
            await self._order("page", source.fileno(), target.fileno())
            target.seek(0)
            facts = json_object(target.read(_WRITTEN))
        return {name: fact for name, fact in facts.items() if isinstance(fact, str)}

    async def avatar(self, source: int) -> Sequence[bytes]:
        """Somebody's picture as WebP, square. Raises as `still`."""
        return (await self._pictures("avatar", source, "image/webp"))[1][:1]

    async def logo(self, source: int) -> Sequence[bytes]:
        """The account's picture as PNG, large and small. Raises as `still`."""
        return (await self._pictures("logo", source, "image/png"))[1]

    def close(self) -> None:
        """The workshop ends when it has done what it is at."""
        if self._line is not None:
            self._line.close()
            self._line = None

    async def _pictures(self, order: str, source: int, *types: str) -> tuple[Facts, list[bytes]]:
        """What a hand told, and the one or two pictures it made, if they are of these types."""
        if not self.has_pictures:
            raise PicturesUnavailable
        with memory_file() as target:
            told = await self._order(order, source, target.fileno())
            target.seek(0)
            data = target.readall()
        first = told.get("first", len(data))
        pictures = [picture for picture in (data[:first], data[first:]) if picture]
        if not pictures or any(type_of(picture) not in types for picture in pictures):
            raise PictureUnreadable
        return told, pictures

    async def _order(self, order: str, source: int, target: int) -> Facts:
        async with self._turn:
            started = time.perf_counter()
            told = await self._answer(order, source, target)
        result, sandbox = told["result"], "seccomp" if told.get("is_filtered") else "rlimits"
        self.seconds[order].observe(time.perf_counter() - started)
        self.results[order, result] += 1
        if result == "ok" and sandbox != self.sandbox:
            self.sandbox = sandbox
            if sandbox == "rlimits":
                LOG.warning("workshop_unfiltered")
        if result == "unavailable":
            raise self._without_pictures("Pillow cannot be loaded")
        if result != "ok":
            refused = "page_refused" if order == "page" else "picture_refused"
            event = "workshop_killed" if result == "killed" else refused
            LOG.warning(event, extra={"fields": {"order": order, "reason": result}})
            raise PictureUnreadable
        return told

    async def _answer(self, order: str, source: int, target: int) -> Facts:
        if self._line is None:
            raise PicturesUnavailable
        ear, mouth = socket.socketpair(socket.AF_UNIX, _KEPT_APART)
        with ear, suppress(OSError):  # it is gone
            ear.settimeout(0)
            with mouth:
                socket.send_fds(self._line, [order.encode()], [source, target, mouth.fileno()])
            if said := await asyncio.get_running_loop().sock_recv(ear, 2 * _ORDER_BYTES):
                return json_object(said)
        self.close()
        raise self._without_pictures("the workshop ended")

    def _without_pictures(self, why: str) -> CampfireError:
        self.has_pictures = False
        LOG.warning("pictures_unavailable", extra={"fields": {"reason": why}})
        return PicturesUnavailable()


# === 26. previews =============================================================
# What a page that somebody links to says of itself, fetched once, when its address is
# pasted; never while a message is read, and never by a browser. Whoever pastes chooses
# where we ask, so no step may lead inside or back to us: every hop is checked like the
# first, in what it is called and in where its name leads. What comes is read in the
# workshop, its picture made anew and kept here. All of it has ten seconds.
#
# Owns      -
# Raises    TooManyPreviews
# ==============================================================================

_PREVIEW_SECONDS: Final = 10
_PREVIEW_SILENCE: Final = 5  # seconds, to be connected, and between two pieces
_PREVIEWS_AT_ONCE: Final = 16
_PREVIEWS_EACH: Final = 2
_PREVIEWS_KNOWN: Final = 2_000  # of which the older half may be forgotten
_KNOWN_SECONDS: Final = (300, 3_600)  # of pages that say nothing, and others
_PREVIEW_PORTS: Final = (80, 443, 8000, 8080, 8443)
_DEFAULT_PORTS: Final = (80, 443)
_MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_PAGE_BYTES: Final = 2 << 20
_CARD_BYTES: Final = 5 << 20
_LEAST_SIDE: Final = 64
_PAGE_TYPES: Final = set_of("text/html application/xhtml+xml")
_HEAD_ENDS: Final = re.compile(rb"</head|<body", re.IGNORECASE)
_LONGEST_END: Final = 6  # bytes of such an end
_NO_PAGE: Final = re.compile(
    r".*\.(?:7z|aac|avi|bmp|bz2|deb|dmg|exe|flv|gif|gz|heic|heif|iso|jpe?g|mkv|mov|mp[34]|mpe?g|msi"
    r"|og[gv]|pdf|pkg|png|rar|tar|wav|webm|webp|wm[av]|xz|zip)",
    re.IGNORECASE | re.DOTALL,
)
_POSTS: Final = set_of("x.com www.x.com twitter.com www.twitter.com")
_TELLS_OF_POSTS: Final = "fxtwitter.com"
_ASKS: Final = {
    "Accept": "text/html,application/xhtml+xml;q=0.9",
    "Accept-Language": "en",
    "Accept-Encoding": "identity",
}
_NOTHING_MADE: Final = (ClientError, OSError, ValueError, CampfireError)  # a time-out is an OSError

Places: TypeAlias = frozenset[tuple[str, int]]  # hosts and ports


class _NoPreviewError(ValueError):
    """There is nothing to show, and why."""


def own_places(scheme: str, hosts: Iterable[str | None]) -> Places:
    """Where we ourselves are reached, under these names; what has no port, at both that go unsaid.
    Names that are no address are nowhere."""
    places: set[tuple[str, int]] = set()
    for host in filter(None, hosts):
        with suppress(ValueError):
            url = URL(f"{scheme}://{host}")
            ports = (url.explicit_port,) if url.explicit_port else _DEFAULT_PORTS
            places |= {((url.raw_host or "").rstrip("."), port) for port in ports}
    return frozenset(places)


def _normal(url: URL) -> URL:
    """An address, without what changes nothing; a post, where it can be read without a script."""
    url = url.with_fragment(None)
    if url.host in _POSTS and url.path != "/":
        url = url.with_host(_TELLS_OF_POSTS)
    return url.with_port(None) if url.is_default_port() else url


def _own_address(said: str, url: URL) -> str:
    """What a page calls its address, if that may be so: it is of its own host, or of its domain."""
    try:
        host = URL(said).raw_host or ""
    except ValueError:
        return ""
    theirs = url.raw_host or ""
    is_near = host == theirs or host.endswith(f".{theirs}") or theirs.endswith(f".{host}")
    is_address = len(said) <= MOST_ADDRESS and said == one_line(said, len(said)) and " " not in said
    return said if is_near and is_address and web_host(said) == host else ""


async def _received(response: ClientResponse, most: int, end: re.Pattern[bytes] | None) -> bytes:
    """What comes: of a page as much as counts, of anything else all. Raises _NoPreviewError."""
    data = bytearray()
    async for piece in response.content.iter_any():
        start = max(len(data) - _LONGEST_END, 0)
        data += piece
        if end and (ends := end.search(data, start, most)):
            return bytes(data[: ends.start()])
        if len(data) > most:
            if end is None:
                raise _NoPreviewError("size")
            break
    return bytes(data[:most])


class Previews:
    """Looks at pages, each once, however many ask at the same time."""

    def __init__(
        self, config: Config, db: Database, store: Store, workshop: Workshop, names: Resolver
    ) -> None:
        self._db, self._store, self._workshop = db, store, workshop
        self._may_be_private = config.private_previews
        agent = f"Mozilla/5.0 (compatible; Campfire/{config.version}; link preview)"
        self.client = Client(names, agent)
        self._known = Memory[tuple[URL, Places], tuple[float, Preview | None]](_PREVIEWS_KNOWN)
        self._running: dict[tuple[URL, Places], asyncio.Task[Preview | None]] = {}
        self._busy: Counter[UserId] = Counter()
        self.unfurls: Counter[str] = Counter()  # by how they ended

    async def close(self) -> None:
        """Asks nobody any more."""
        for task in tuple(self._running.values()):
            task.cancel()
        await self.client.close()

    async def of(self, user_id: UserId, address: str, own: Places) -> Preview | None:
        """What the page at an address says of itself; None when nothing can be shown. Raises
        TooManyPreviews."""
        given = address.strip()
        given = f"http://{given}" if given.lower().startswith("www.") else given
        try:
            key = (_normal(URL(given)), own)
        except ValueError:
            return None
        until, preview = self._known.find(key) or (0.0, None)
        if time.monotonic() < until:
            self.unfurls["remembered"] += 1
        else:
            preview = await asyncio.shield(self._running.get(key) or self._begin(user_id, key))
        return preview and replace(preview, url=preview.url or given)

    def _begin(self, user_id: UserId, key: tuple[URL, Places]) -> asyncio.Task[Preview | None]:
        """Looks at a page, for whoever waits, in nobody's name: who asked first may leave."""
        if self._busy.total() >= _PREVIEWS_AT_ONCE or self._busy[user_id] >= _PREVIEWS_EACH:
            self.unfurls["too_many"] += 1
            raise TooManyPreviews
        self._busy[user_id] += 1

        def ended(_: object) -> None:
            self._busy.subtract((user_id,))
            self._busy += Counter()  # forgets who has none
            del self._running[key]

        task = asyncio.create_task(self._made(key), context=Context())
        task.add_done_callback(ended)
        self._running[key] = task
        return task

    async def _made(self, key: tuple[URL, Places]) -> Preview | None:
        url, own = key
        until, preview = asyncio.get_running_loop().time() + _PREVIEW_SECONDS, None
        try:
            preview = await self._told(url, own, until)
        except _NOTHING_MADE as error:
            reason = str(error) if isinstance(error, _NoPreviewError) else type(error).__name__
            LOG.info("preview_refused", extra={"fields": {"reason": reason}})
            LOG.debug("preview_refused", extra={"fields": {"host": url.host}})
        self.unfurls["found" if preview else "nothing"] += 1
        kept_until = time.monotonic() + _KNOWN_SECONDS[preview is not None]
        self._known.keep(key, (kept_until, preview))
        return preview

    async def _told(self, url: URL, own: Places, until: float) -> Preview:
        """What a page tells, and its picture if there is time for it. Raises what ends a try."""
        if "opengraph" not in self._store.takes:
            raise StorageFull
        async with asyncio.timeout_at(until):
            url, charset, data = await self._fetched(url, own, _PAGE_TYPES, _PAGE_BYTES)
            charset = "utf-8" if url.host == _TELLS_OF_POSTS else charset
            facts = defaultdict(str, await self._workshop.page(data, charset))
        title = one_line(facts["title"], MOST_TITLE)
        if not title:
            raise _NoPreviewError("no title")
        description = one_line(facts["description"], MOST_DESCRIPTION) or None
        preview = Preview(_own_address(facts["url"], url), title, description)
        if not facts["image"] or len(facts["image"]) > MOST_ADDRESS:
            return preview
        try:
            async with asyncio.timeout_at(until):
                picture = await self._picture(url.join(URL(facts["image"])), own)
        except StorageFull:
            raise
        except _NOTHING_MADE:
            return preview
        return replace(preview, **picture)

    async def _picture(self, url: URL, own: Places) -> Facts:
        """The picture of a page, made anew and kept, as its preview tells of it."""
        url, _, data = await self._fetched(url, own, DRAWN_TYPES, _CARD_BYTES)
        with memory_file() as source:
            write_all(source.fileno(), data)
            card = await self._workshop.still(source.fileno(), "card")
        if min(card.width, card.height) < _LEAST_SIDE:
            raise _NoPreviewError("small picture")
        is_portrait = f"{url.host}{url.path}".startswith("pbs.twimg.com/profile_images/")
        wide, high = card.still_width, card.still_height
        async with AsyncExitStack() as opened:
            stored = await self._store.keep(card.data, opened)
            await self._db.write(keep_preview_picture, stored, wide, high, is_portrait=is_portrait)
        shown = {"image": f"/previews/{stored.key}", "image_width": wide, "image_height": high}
        return {**shown, "portrait": is_portrait}

    def _check(self, url: URL, own: Places, *, is_page: bool) -> None:
        """Whether we may ask there. Raises _NoPreviewError."""
        place = ((url.raw_host or "").rstrip("."), url.port)
        is_odd = url.scheme not in ("http", "https") or "@" in url.raw_authority
        if is_odd or url.port not in _PREVIEW_PORTS or not place[0]:
            raise _NoPreviewError("address")
        if place in own:
            raise _NoPreviewError("ours")
        if leads_inside(url) and not self._may_be_private:
            raise _NoPreviewError("private")
        if is_page and _NO_PAGE.fullmatch(url.path):
            raise _NoPreviewError("no page")

    async def _fetched(
        self, url: URL, own: Places, types: Container[str], most: int
    ) -> tuple[URL, str, bytes]:
        """What an address gives, after as many others as there may be: where it was in the end, its
        charset as its sender says, and what came. Raises what ends a try."""
        is_page = types is _PAGE_TYPES
        timeout = ClientTimeout(
            connect=_PREVIEW_SILENCE, sock_connect=_PREVIEW_SILENCE, sock_read=_PREVIEW_SILENCE
        )
        headers = _ASKS if is_page else {**_ASKS, "Accept": "image/*"}
        how: Any = {"allow_redirects": False, "headers": headers, "timeout": timeout}
        for _ in range(_MOST_REDIRECTS + 1):
            self._check(url, own, is_page=is_page)
            async with self.client.session.get(url, **how) as response:
                place = response.headers.get("Location", "")
                if response.status in _REDIRECTS and place:
                    url = _normal(url.join(URL(place)))
                    continue
                if response.status != HTTPStatus.OK:
                    raise _NoPreviewError("status")
                if response.content_type.lower() not in types:
                    raise _NoPreviewError("type")
                if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                    raise _NoPreviewError("encoding")
                data = await _received(response, most, _HEAD_ENDS if is_page else None)
                return url, response.charset or "", data
        raise _NoPreviewError("redirects")


# === 27. tabs =================================================================
# Open tabs: who looks at which room, in memory and for a minute at most (Gap #5); and
# one tab's socket, with its subscriptions. What a tab gets between two flushes is one
# write to its transport; a frame is plain bytes, built once and shared. A reader that
# lets too much pile up is not waited for.
# ==============================================================================

PRESENCE_SECONDS: Final = 60
_WAITING_BYTES: Final = 4 * 1024 * 1024
_WAITING_FRAMES: Final = 512
STALLED_SECONDS: Final = 7
SILENT_SECONDS: Final = 60  # between two lines of the log about the same
_EXTENDED_16: Final = 126  # from here on the length takes two bytes more
_EXTENDED_64: Final = 65_536  # and from here on eight
_MASKED: Final = 0x80
FRAMES_EACH_SECOND: Final = 50
FRAMES_AT_ONCE: Final = 500  # a client's, for whoever comes back and subscribes to everything
FRAME_LIMIT: Final = 65_536
GOODBYE_SECONDS: Final = 0.9


@dataclass(slots=True)
class Seldom:
    """True when asked for the first time, and then not again for so many seconds."""

    seconds: float
    until: float = -math.inf

    def __call__(self) -> bool:
        now = time.monotonic()
        if now < self.until:
            return False
        self.until = now + self.seconds
        return True


class PresenceMap:
    """Presence: room -> person and tab -> last heartbeat, on a clock that never jumps. It decides
    unread marks and pushes, and is shown to nobody. Two tabs count as two entries, and someone who
    just left may count for up to a minute."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._rooms: dict[RoomId, dict[tuple[UserId, object], float]] = {}

    def enter(self, room_id: RoomId, user_id: UserId, tab: object) -> None:
        """The tab looks at the room from now on."""
        self._rooms.setdefault(room_id, {})[user_id, tab] = self._monotonic()

    def leave(self, room_id: RoomId, user_id: UserId, tab: object) -> None:
        """The tab looks away; twice does nothing more."""
        entries = self._rooms.get(room_id, {})
        entries.pop((user_id, tab), None)
        if not entries:
            self._rooms.pop(room_id, None)

    def present_in(self, room_id: RoomId) -> frozenset[UserId]:
        """Who looks at the room."""
        horizon, entries = self._monotonic() - PRESENCE_SECONDS, self._rooms.get(room_id, {})
        return frozenset(user_id for (user_id, _), seen in entries.items() if seen >= horizon)

    def entries(self) -> int:
        """All entries, live or not yet swept."""
        return sum(map(len, self._rooms.values()))

    def sweep(self) -> None:
        """Forgets entries older than sixty seconds."""
        horizon = self._monotonic() - PRESENCE_SECONDS
        for room_id, entries in list(self._rooms.items()):
            for (user_id, tab), seen in list(entries.items()):
                if seen < horizon:
                    self.leave(room_id, user_id, tab)


def frame_of(payload: bytes, kind: WSMsgType = WSMsgType.TEXT) -> bytes:
    """One unmasked, uncompressed frame (RFC 6455, 5.2)."""
    first, size = 0x80 | kind, len(payload)
    if size < _EXTENDED_16:
        return bytes((first, size)) + payload
    if size < _EXTENDED_64:
        return bytes((first, _EXTENDED_16)) + size.to_bytes(2, "big") + payload
    return bytes((first, _EXTENDED_16 + 1)) + size.to_bytes(8, "big") + payload


def frame_end(data: bytes, start: int) -> int | None:
    """Where a frame ends, or None as long as it has no length. Raises ValueError without a mask."""
    if len(data) < start + 2:
        return None
    size = data[start + 1] - _MASKED
    if size < 0:
        raise ValueError("a client's frame without a mask")
    width = {_EXTENDED_16: 2, _EXTENDED_16 + 1: 8}.get(size, 0)
    payload = start + 2 + width
    if len(data) < payload:
        return None
    size = int.from_bytes(data[start + 2 : payload], "big") if width else size
    return payload + 4 + size


@dataclass(eq=False, repr=False, slots=True, weakref_slot=True)  # what it writes is nobody else's
class Connection(asyncio.Protocol):
    """One tab's socket, from its welcome to its end, which nothing takes back. aiohttp leads it up
    to here, and reads its frames; of the request nothing is kept. Here is seen what aiohttp hides:
    a client's frame without a mask, which a server answers by closing (RFC 6455, 5.1) and aiohttp
    would take; whether all that was written has left; and how fast frames come: reading so many
    that others wait ends the socket before they are read."""

    transport: asyncio.Transport
    user_id: UserId  # 0: a stranger
    session_id: SessionId
    name: str
    about: dict[str, object]  # of its request, as the log tells it in the end
    dirty: list["Connection"]  # all that have something to write
    turn_away: Callable[["Connection", int, str], None]
    subscriptions: dict[str, "Subscription"] = field(default_factory=dict)
    inbox: WebSocketDataQueue = field(init=False)  # pauses reading while too much is in it
    is_closed: bool = False
    is_deaf: bool = False  # what comes is read and dropped: unread, it would take our goodbye
    faults: int = 0
    quiet: int = 0  # pings sent since something came
    pending: list[bytes] = field(default_factory=list)
    emptied: asyncio.Event | None = None  # not set while something waits
    _reader: WebSocketReader = field(init=False)
    _reading_paused: bool = False  # for the inbox, which asks
    _may_say: Seldom = field(default_factory=partial(Seldom, SILENT_SECONDS))
    _left: float = FRAMES_AT_ONCE
    _seen_at: float = 0.0
    _head: bytes = b""  # a frame whose length has not come
    _ahead: int = 0  # where the next begins
    _frames: int = 0  # written since the socket was last empty
    _written: int = 0  # bytes
    _gone: int = 0  # and how many of them had left when we last looked
    _moved_at: float = 0.0

    def __post_init__(self) -> None:
        loop, itself = asyncio.get_running_loop(), proxy(self)  # or they would hold each other
        self.inbox = inbox = WebSocketDataQueue(cast(Any, itself), FRAME_LIMIT, loop=loop)
        self._reader = WebSocketReader(inbox, FRAME_LIMIT + 1, compress=False, decode_text=True)

    def data_received(self, data: bytes) -> None:
        if self.is_deaf:
            return
        come, at, frames, now = self._head + data, self._ahead, 0, time.monotonic()
        try:
            while frames <= FRAMES_AT_ONCE and (end := frame_end(come, at)) is not None:
                at, frames = end, frames + 1
        except ValueError:
            self.turn_away(self, WSCloseCode.PROTOCOL_ERROR, "")
            return
        self._head, self._ahead = come[at:], max(at - len(come), 0)
        regained = self._left + (now - self._seen_at) * FRAMES_EACH_SECOND
        self._left, self._seen_at, self.quiet = min(regained, FRAMES_AT_ONCE) - frames, now, 0
        if self._left < 0:
            self.turn_away(self, WSCloseCode.POLICY_VIOLATION, "cable_flooded")
        else:
            self._reader.feed_data(data)

    def ignore(self) -> None:
        """What makes no sense gets no answer; it is one log line a socket and minute."""
        if self._may_say():
            LOG.info("cable_ignored", extra={"fields": {"user_id": self.user_id}})

    def connection_lost(self, _: Exception | None) -> None:
        self.resume_writing()
        self.inbox.feed_eof()

    def pause_reading(self) -> None:
        self._reading_paused = True
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        self._reading_paused = False
        self.transport.resume_reading()

    def pause_writing(self) -> None:
        self.emptied = self.emptied or asyncio.Event()

    def resume_writing(self) -> None:
        if self.emptied is not None:
            self.emptied.set()
            self.emptied = None

    def part(self, code: int, seconds: float = GOODBYE_SECONDS, *, is_awaited: bool = True) -> None:
        """Says goodbye behind what is queued, and waits no longer than this until it has left, and
        for an answer, if one is awaited."""
        self.flush(time.monotonic())
        self.transport.write(frame_of(code.to_bytes(2, "big"), WSMsgType.CLOSE))
        if not is_awaited:
            self.transport.close()
        asyncio.get_running_loop().call_later(seconds, self.transport.abort)

    def send(self, frame: bytes) -> None:
        """Queues a frame for the end of this turn of the loop."""
        if self.is_closed:
            return
        if not self.pending:
            self.dirty.append(self)
        self.pending.append(frame)

    def flush(self, now: float, data: bytes | None = None) -> bool:
        """Writes what is queued, joined; False when the reader is too slow to be kept."""
        data, count = b"".join(self.pending) if data is None else data, len(self.pending)
        self.pending = []
        if not data or self.transport.is_closing():
            return True
        was_empty = not self.transport.get_write_buffer_size()
        self.transport.write(data)
        self._written += len(data)
        waiting = self.transport.get_write_buffer_size()
        if was_empty:
            self._frames, self._gone, self._moved_at = 0, self._written - waiting, now
        self._frames += count
        return not waiting or (waiting <= _WAITING_BYTES and self._frames <= _WAITING_FRAMES)

    def is_stalled(self, now: float) -> bool:
        """Whether something waits, and nothing has left for more than seven seconds."""
        waiting = self.transport.get_write_buffer_size()
        if (gone := self._written - waiting) > self._gone:
            self._gone, self._moved_at = gone, now
        return waiting > 0 and now - self._moved_at > STALLED_SECONDS


@dataclass(eq=False, repr=False, slots=True)
class Subscription:
    """One channel on one connection, known by its identifier, byte for byte."""

    connection: Connection
    identifier: str
    prefix: bytes  # of each frame for this identifier
    channel: str
    stream: str
    room_id: RoomId = RoomId(0)  # 0: not about a room
    # Ids grow in commit order and frames come in commit order, so what was appended live is one run
    # of ids, and two numbers hold it; what catch-ups brought is another.
    live: tuple[MessageId, MessageId] = (MessageId(0), MessageId(0))
    caught: tuple[MessageId, MessageId] = (MessageId(0), MessageId(0))
    held: list[tuple[bytes, MessageId | None]] | None = None

    def deliver(self, frame: bytes, appends: MessageId | None) -> None:
        """Sends a broadcast on; during a catch-up it waits behind what was missed."""
        if self.held is not None:
            self.held.append((frame, appends))
            return
        if appends is not None:
            if appends <= self.caught[1]:
                return  # the catch-up brought it already
            self.live = (self.live[0] or appends, appends)
        self.connection.send(frame)

    def take(self, missed: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
        """What of this no frame has appended, live or by a catch-up: from now on one has."""
        runs = [(first, last) for first, last in (self.live, self.caught) if first]
        fresh = [entry for entry in missed if not any(a <= entry["id"] <= z for a, z in runs)]
        if fresh:
            (first, last), begin, end = self.caught, fresh[0]["id"], fresh[-1]["id"]
            self.caught = (min(first or begin, begin), max(last, end))
        return fresh


# === 28. ws ===================================================================
# Action Cable, spoken exactly, so that the official client works unmodified.
# Broadcasting is a plain function: a payload is encoded once, a frame is built once per
# identifier. No broadcast waits for a slow reader: it is cut off, comes back and catches
# up, told part by part: a part is read, made into markup and sent before the next is
# looked at, so that no reader's past is in memory as a whole (Gap #2).
#
# Raises    CableFull, TooManyTabs
# ==============================================================================

PING_SECONDS: Final = 3
SWEEP_SECONDS: Final = 15
SOCKETS_EACH: Final = 50  # of one person
FAULTS_LIMIT: Final = 100  # frames nobody understands
_IDENTIFIER_LIMIT: Final = 4_096
_SUBSCRIPTIONS_LIMIT: Final = 64
_FRAMES_IN_A_ROW: Final = 50  # of one socket, before others have their turn
_TYPING_SECONDS: Final = 5
_TYPING_PAUSE: Final = 0.5
_REST: Final = 0.016  # seconds between flushes at most, so that many sockets get more at once
_PORTION: Final = 262_144  # characters, which a slow reader takes in less than STALLED_SECONDS
_PART: Final = 65_536  # characters of bodies that a catch-up holds in memory at once
_CATCH_UPS: Final = 4  # parts that are made at once
_ASK: Final = frame_of(b"", WSMsgType.PING)  # WebSocket's own ping, which every browser answers
_ASKED_AFTER: Final = 8  # pings of ours, while nothing comes: a paused server counts none
_GONE_AFTER: Final = 12
_STRANGER: Final = UserId(0), SessionId(0), ""
_NO_DIGITS: Final = str.maketrans("", "", string.digits)
_MESSAGES_STREAM: Final = re.compile(r"room_([0-9]{1,18}):messages")
_CHANNELS: Final = {  # and the stream of each, with the person or the room it is about
    "HeartbeatChannel": "heartbeat",
    "ReadRoomsChannel": "user_{}_reads",
    "UnreadRoomsChannel": "user_{}_unreads",
    "Turbo::StreamsChannel": "",
    "RoomMessagesChannel": "room_{}:messages",
    "RoomChannel": "room:{}",
    "PresenceChannel": "presence:{}",
    "TypingNotificationsChannel": "typing_notifications:{}",
}


def _is_count(value: object, limit: int) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < limit


@lru_cache(maxsize=512)  # of a room, all sockets hold the same
def _spelled(identifier: str) -> tuple[str, bytes]:
    return identifier, b'{"identifier":%b,' % json.dumps(identifier).encode()


def _parts(things: Iterable[T], weight: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Things in their order, a page of them at a time, or less where they are large."""
    part, size = list[T](), 0
    for thing in things:
        part.append(thing)
        size += weight(thing)
        if len(part) == PAGE_SIZE or size > most:
            yield part
            part, size = [], 0
    if part:
        yield part


def _streams_of(shapes: Shapes, action: str, name: str, said: list[PersistedMessage]) -> list[str]:
    elements = [message_element(shapes, message, name) for message in said]
    if action == "append":
        portions = map("".join, _parts(elements, len, _PORTION))
        return [turbo(action, f"messages_room_{said[0].room_id}", portion) for portion in portions]
    targets = (f"message_{message.client_message_id}" for message in said)
    return [turbo(action, *pair) for pair in zip(targets, elements, strict=True)]


class Upgrade(web.WebSocketResponse):
    """aiohttp's handshake alone, for what follows is ours. Should aiohttp ask for this no longer,
    it would read the socket itself: none would get a welcome."""

    def _post_start(self, *_: object) -> None:
        self._eof_sent = True  # nor does it say goodbye


@dataclass(eq=False, repr=False)
class Cable:
    """WebSocketBroadcaster, and the eight channels."""

    db: Database
    messages: MessageService
    shapes: Shapes
    presence: PresenceMap
    jobs: BackgroundWork
    steady: Callable[[], float]
    max_sockets: int
    connections: set[Connection] = field(default_factory=set)
    frames: int = 0
    slow: int = 0
    broadcasts_by: Counter[str] = field(default_factory=Counter)  # streams without their numbers
    _streams: dict[str, dict[Subscription, None]] = field(default_factory=dict)
    _sockets: Counter[UserId] = field(default_factory=Counter)  # who has none is not in it
    _sockets_of_all: int = 0
    _typing: dict[tuple[RoomId, UserId], float] = field(default_factory=dict)  # since when
    _dirty: list[Connection] = field(default_factory=list)
    _lives: set[asyncio.Task[bool]] = field(default_factory=set)  # of all sockets
    _is_flushing: bool = False
    _is_stopping: bool = False
    _rests_until: float = 0.0
    _closings: int = 0  # grows with every forced closing
    _may_complain: Seldom = field(default_factory=partial(Seldom, SILENT_SECONDS))
    _catch_ups: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, _CATCH_UPS))

    def broadcast(
        self, stream: str | Sequence[str], payload: Payload, *, appends: MessageId | None = None
    ) -> int:
        streams = (stream,) if isinstance(stream, str) else stream
        self.broadcasts_by[streams[0].translate(_NO_DIGITS)] += len(streams)
        heard = [self._streams[stream] for stream in streams if stream in self._streams]
        if not heard:
            return 0
        encoded = compact(payload).encode()
        frames: dict[str, bytes] = {}
        for subscription in chain.from_iterable(heard):
            if (frame := frames.get(subscription.identifier)) is None:
                frame = frame_of(b'%b"message":%b}' % (subscription.prefix, encoded))
                frames[subscription.identifier] = frame
            subscription.deliver(frame, appends)
        reached = sum(map(len, heard))
        self.frames += reached
        self._flush_soon()
        return reached

    def broadcast_to(self, user_ids: Sequence[UserId], stream: str, payload: Payload) -> int:
        here = self._sockets.keys() & user_ids
        self.broadcasts_by[stream.replace("{}", "")] += len(user_ids) - len(here)
        streams = [stream.format(user_id) for user_id in here]
        return self.broadcast(streams, payload) if streams else 0

    def stopped_typing(self, room_id: RoomId, user_id: UserId, name: str) -> None:
        started = self._typing.pop((room_id, user_id), -math.inf)
        if self.steady() - started <= _TYPING_SECONDS:
            self._tell_typing("stop", room_id, user_id, name)

    def _tell_typing(self, action: str, room_id: RoomId, user_id: UserId, name: str) -> None:
        payload = {"action": action, "user": {"id": user_id, "name": name}}
        self.broadcast(f"typing_notifications:{room_id}", payload)

    def disconnect_user(self, user_id: UserId, *, reconnect: bool) -> None:
        self._disconnect(lambda tab: tab.user_id == user_id, reconnect=reconnect)

    def disconnect_session(self, session_id: SessionId) -> None:
        self._disconnect(lambda tab: tab.session_id == session_id)

    def disconnect_others(self, user_id: UserId, session_id: SessionId) -> None:
        self._disconnect(lambda tab: tab.user_id == user_id and tab.session_id != session_id)

    async def disconnect_everybody(self) -> None:
        """Tells all clients to come back, and waits until they are told: the server stops."""
        self._is_stopping = True
        self._disconnect(lambda _: True, "server_restart", reconnect=True)
        if self._lives:
            await asyncio.wait(self._lives, timeout=STALLED_SECONDS)

    def _disconnect(
        self, chosen: Callable[[Connection], bool], why: str = "remote", *, reconnect: bool = False
    ) -> None:
        self._closings += 1
        goodbye = {"type": "disconnect", "reason": why, "reconnect": reconnect}
        for connection in list(filter(chosen, self.connections)):
            connection.send(frame_of(compact(goodbye).encode()))
            self._detach(connection)
            seconds = GOODBYE_SECONDS if self._is_stopping else STALLED_SECONDS
            # At a stop, whoever sleeps would hold up everybody's return.
            connection.part(WSCloseCode.OK, seconds, is_awaited=not self._is_stopping)

    def _flush_soon(self) -> None:
        """At the end of this turn; after a flush that took long, what comes meanwhile joins it."""
        if not self._is_flushing:
            self._is_flushing = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(self._rests_until, loop.time()), self._flush)

    def _flush(self) -> None:
        self._is_flushing, now, dirty = False, time.monotonic(), self._dirty.copy()
        self._dirty.clear()
        frames, data = list[bytes](), b""
        for connection in dirty:
            if connection.pending != frames:  # nearly all get the same, which is joined once
                data = b"".join(frames := connection.pending)
            if not connection.flush(now, data):
                self._cut_off(connection)
        ended = time.monotonic()
        self._rests_until = ended + min(ended - now, _REST)

    def _cut_off(self, connection: Connection) -> None:
        """Ends a reader that is too slow; its client comes back and catches up."""
        self.slow += 1
        LOG.info("cable_slow", extra={"fields": {"user_id": connection.user_id}})
        self._detach(connection)
        connection.part(WSCloseCode.TRY_AGAIN_LATER, STALLED_SECONDS, is_awaited=False)

    def beat(self) -> None:
        """The ping of every three seconds, one frame for all; and the end of stalled readers."""
        now = time.monotonic()
        ping = frame_of(compact({"type": "ping", "message": int(time.time())}).encode())
        for connection in list(self.connections):
            connection.quiet += 1
            if connection.is_stalled(now):
                self._cut_off(connection)
            elif connection.quiet > _GONE_AFTER:
                connection.transport.abort()
            else:
                connection.send(_ASK + ping if connection.quiet == _ASKED_AFTER else ping)
        self._flush_soon()

    def sweep(self) -> None:
        """Forgets who looked at a room and who typed, but too long ago."""
        self.presence.sweep()
        horizon = self.steady() - _TYPING_SECONDS
        self._typing = {key: at for key, at in self._typing.items() if at >= horizon}

    # Sockets.

    async def serve(
        self, request: web.Request, response: Upgrade, cookie: str, about: dict[str, object]
    ) -> None:
        """Opens a socket; people take a place. Raises CableFull, TooManyTabs."""
        closings = self._closings
        viewer = (await self.db.read(at_the_door, cookie)).viewer if cookie else None
        person = (viewer.user.id, viewer.session.id, viewer.user.name) if viewer else _STRANGER
        if viewer:
            self._take_place(viewer.user.id)
        transport = cast(asyncio.Transport, request.transport)  # `prepare` sees whether it is there
        connection = Connection(transport, *person, about, self._dirty, self._turn_away)
        try:
            await response.prepare(request)
            while viewer and closings != self._closings:  # somebody was signed out meanwhile
                closings = self._closings
                viewer = (await self.db.read(at_the_door, cookie)).viewer
        except BaseException:
            self._forget(connection)
            raise
        transport.set_protocol(connection)
        transport.set_write_buffer_limits(high=1, low=0)  # pause tells of waiting
        if viewer and not self._is_stopping:
            self.connections.add(connection)
            connection.send(frame_of(b'{"type":"welcome"}'))
            self._flush_soon()
        else:
            LOG.info("ws_unauthorized")
            reason = "server_restart" if self._is_stopping else "unauthorized"
            goodbye = {"type": "disconnect", "reason": reason, "reconnect": self._is_stopping}
            connection.send(frame_of(compact(goodbye).encode()))
            connection.is_closed = True
            connection.part(WSCloseCode.OK)
        life = self.jobs.attempt("cable_socket", self._listen(connection))
        self._lives.add(task := asyncio.create_task(life, context=Context()))
        task.add_done_callback(self._lives.discard)
        early = SimpleNamespace(feed_data=connection.data_received, feed_eof=bool)
        request.protocol.set_parser(cast(Any, early))  # which hands over what has come
        request.protocol.transport = None  # or aiohttp, which now hears that it is lost,
        request.protocol.connection_lost(None)  # would close it
        if transport.is_closing():  # which only aiohttp has heard
            connection.connection_lost(None)

    def _take_place(self, user_id: UserId) -> None:
        """A place for one socket, until it is forgotten. Raises CableFull, TooManyTabs."""
        if self._is_stopping:
            raise CableFull
        is_full = self._sockets_of_all >= self.max_sockets
        if is_full or self._sockets[user_id] >= SOCKETS_EACH:
            refusal: CableError = CableFull() if is_full else TooManyTabs()
            if self._may_complain():
                LOG.warning(refusal.code, extra={"fields": {"user_id": user_id}})
            raise refusal
        self._sockets_of_all += 1
        self._sockets[user_id] += 1

    def _forget(self, connection: Connection) -> None:
        """A socket is gone; its place is given back."""
        self._detach(connection)
        if user_id := connection.user_id:
            self._sockets_of_all -= 1
            self._sockets[user_id] -= 1
            if not self._sockets[user_id]:
                del self._sockets[user_id]

    async def _listen(self, connection: Connection) -> None:
        """Heeds what comes until the socket is gone."""
        transport, number, about = connection.transport, 0, connection.about
        began = time.monotonic()
        try:
            while message := await connection.inbox.read():
                if message.type is WSMsgType.CLOSE:  # the answer to ours, or it waits for one
                    hang_up = transport.abort if connection.is_closed else transport.close
                    self._turn_away(connection, WSCloseCode.OK)
                    hang_up()
                elif message.type is WSMsgType.PING:
                    connection.send(frame_of(message.data, WSMsgType.PONG))
                    self._flush_soon()
                elif message.type is not WSMsgType.PONG and not connection.is_closed:
                    number += 1
                    text = message.data if message.type is WSMsgType.TEXT else ""
                    obeyed = self._heed(connection, text)
                    await self.jobs.attempt("cable", obeyed, request_id=about["request_id"])
                    if number % _FRAMES_IN_A_ROW == 0:
                        await asyncio.sleep(0)  # others wait
        except (EofStream, WebSocketError) as end:
            if isinstance(end, WebSocketError):
                self._turn_away(connection, end.code)
                await asyncio.sleep(GOODBYE_SECONDS)
        finally:
            transport.abort()
            self._forget(connection)
            about["ms"] = round((time.monotonic() - began) * 1000, 1)
            LOG.info("request", extra={"fields": about})

    def _turn_away(self, connection: Connection, code: int, event: str = "") -> None:
        """Ends a socket that breaks a rule or its pace, and lets the rest of it run off."""
        if connection.is_closed:
            return
        if event:
            LOG.warning(event, extra={"fields": {"user_id": connection.user_id}})
        self._detach(connection)
        connection.is_deaf = True
        connection.part(code)
        connection.transport.resume_reading()

    def _detach(self, connection: Connection) -> None:
        """Ends a connection and its subscriptions: no frame reaches it afterwards."""
        self.connections.discard(connection)
        connection.is_closed = True
        for subscription in list(connection.subscriptions.values()):
            self._end(subscription)

    async def _heed(self, connection: Connection, text: str) -> None:
        """Obeys a frame while its session lasts; a socket that outlived its session is closed."""
        try:
            with writing_by(partial(check_session, session_id=connection.session_id)):
                match frame := json_object(text):
                    case {"command": "subscribe", "identifier": str(identifier)}:
                        await self._subscribe(connection, identifier)
                    case {"command": "unsubscribe", "identifier": str(identifier)} | {
                        "command": "message", "identifier": str(identifier), "data": str()
                    }:  # fmt: skip
                        subscription = connection.subscriptions.get(identifier)
                        if subscription is None:
                            connection.ignore()  # it ended while this was on its way
                        elif frame["command"] == "message":
                            await self._act(subscription, json_object(frame["data"]))
                        else:
                            self._end(subscription)
                    case _:  # none of the protocol's; too many end the socket
                        connection.ignore()
                        connection.faults += 1
                        if connection.faults >= FAULTS_LIMIT:
                            code = WSCloseCode.POLICY_VIOLATION
                            self._turn_away(connection, code, "cable_senseless")
                self._flush_soon()
        except RightChanged:
            self.disconnect_session(connection.session_id)

    # Channels.

    async def _subscribe(self, connection: Connection, identifier: str) -> None:
        params = json_object(identifier)
        channel = str(params.get("channel"))
        is_long = len(identifier.encode("utf-8", "replace")) > _IDENTIFIER_LIMIT
        if identifier in connection.subscriptions or channel not in _CHANNELS or is_long:
            connection.ignore()
            return
        is_full = len(connection.subscriptions) >= _SUBSCRIPTIONS_LIMIT
        wanted = None if is_full else await self._stream_for(connection.user_id, params)
        if connection.is_closed:
            return
        identifier, prefix = _spelled(identifier)
        if wanted is None:
            connection.send(frame_of(prefix + b'"type":"reject_subscription"}'))
            return
        subscription = Subscription(connection, identifier, prefix, channel, *wanted)
        connection.subscriptions[identifier] = subscription
        self._streams.setdefault(subscription.stream, {})[subscription] = None
        connection.send(frame_of(prefix + b'"type":"confirm_subscription"}'))
        if channel == "PresenceChannel":
            await self._present(subscription)

    async def _stream_for(self, who: UserId, params: Facts) -> tuple[str, RoomId] | None:
        """The stream of a subscription somebody may have now, and its room; else None."""
        channel, no_room = params["channel"], RoomId(0)
        signed = self.shapes.signer.opened("stream", params.get("signed_stream_name"), str) or ""
        if channel == "Turbo::StreamsChannel":
            return (signed, no_room) if signed in ("rooms", f"user_{who}:rooms") else None
        if channel in ("HeartbeatChannel", "ReadRoomsChannel", "UnreadRoomsChannel"):
            return _CHANNELS[channel].format(who), no_room
        given = params.get("room_id")
        named = re.fullmatch("([0-9]{1,18})", str(given) if type(given) in (int, str) else "")
        if channel == "RoomMessagesChannel":
            named = _MESSAGES_STREAM.fullmatch(signed)
        with suppress(RoomNotFound):
            if named:
                room_id = RoomId(int(named[1]))
                await self.db.read(membership_of, who, room_id)
                return _CHANNELS[channel].format(room_id), room_id
        return None

    def _end(self, subscription: Subscription) -> None:
        """Takes a subscription out, running its channel's leave code."""
        connection, room_id = subscription.connection, subscription.room_id
        connection.subscriptions.pop(subscription.identifier, None)
        listeners = self._streams.get(subscription.stream, {})
        listeners.pop(subscription, None)
        if not listeners:
            self._streams.pop(subscription.stream, None)
        if subscription.channel == "PresenceChannel":
            self.presence.leave(room_id, connection.user_id, subscription)
        users = (other.connection.user_id for other in listeners)
        if subscription.channel == "TypingNotificationsChannel" and connection.user_id not in users:
            self.stopped_typing(room_id, connection.user_id, connection.name)

    async def _act(self, subscription: Subscription, data: Mapping[str, Any]) -> None:
        connection, room_id = subscription.connection, subscription.room_id
        user_id, name = connection.user_id, connection.name
        match subscription.channel, data.get("action"):
            case "PresenceChannel", "present":
                await self._present(subscription)
            case "PresenceChannel", "refresh":
                self.presence.enter(room_id, user_id, subscription)
            case "PresenceChannel", "absent":
                self.presence.leave(room_id, user_id, subscription)
            case "TypingNotificationsChannel", "start":
                now, before = self.steady(), self._typing.get((room_id, user_id), -math.inf)
                if now - before >= _TYPING_PAUSE:
                    self._typing[room_id, user_id] = now
                    self._tell_typing("start", room_id, user_id, name)
            case "TypingNotificationsChannel", "stop":
                self._typing.pop((room_id, user_id), None)
                self._tell_typing("stop", room_id, user_id, name)
            case "RoomMessagesChannel", "catch_up":
                await self._catch_up(subscription, data)
            case _:
                connection.ignore()

    async def _present(self, subscription: Subscription) -> None:
        user_id, room_id = subscription.connection.user_id, subscription.room_id
        self.presence.enter(room_id, user_id, subscription)
        await self.db.write(mark_read, user_id, room_id)
        self.broadcast(f"user_{user_id}_reads", {"room_id": room_id})

    async def _catch_up(self, subscription: Subscription, data: Mapping[str, Any]) -> None:
        """Sends what was missed, and then the broadcasts that came meanwhile."""
        last_seen, since = data.get("last_seen_message_id"), data.get("since")
        last_seen = 0 if last_seen is None else last_seen
        if not _is_count(last_seen, 10**18) or not _is_count(since, 10**15):
            LOG.info("cable_catch_up_refused")
            return
        seen = MessageId(last_seen)
        connection, room_id = subscription.connection, subscription.room_id
        subscription.held = subscription.held or []
        try:
            news = await self.messages.get_messages_since(connection.user_id, room_id, seen, since)
            news = replace(news, missed=subscription.take(news.missed))
            newest = max(seen, subscription.live[1], *(entry["id"] for entry in news.missed))
            async for payload in self._told(news, newest):
                encoded = compact(payload).encode()
                connection.send(frame_of(b'%b"message":%b}' % (subscription.prefix, encoded)))
                if not connection.flush(time.monotonic()):
                    self._cut_off(connection)
                if connection.emptied:  # all at once may be more than may wait
                    await connection.emptied.wait()
        except RoomNotFound:
            self._end(subscription)
        finally:
            held, subscription.held = subscription.held or [], None
            for frame, appends in held:
                subscription.deliver(frame, appends)

    async def _told(self, news: CatchUp, newest: MessageId) -> AsyncIterator[Payload]:
        """What was missed, what changed, what is gone, in this order; or that it is too much."""
        left, is_too_much = MOST_SHOWN, news.is_too_much
        parts = [
            (action, [entry["id"] for entry in part])
            for action, excerpt in (("append", news.missed), ("replace", news.changed))
            for part in _parts(excerpt, itemgetter("size"), _PART)
        ]
        for action, ids in parts:
            async with self._catch_ups:
                messages = await self.db.read(messages_by_id, ids)
                told = sorted(messages, key=lambda message: ids.index(message.id))
                how = self.shapes, action, news.room_name
                streams = await asyncio.to_thread(_streams_of, *how, told)
            left -= sum(map(len, streams))
            if left < 0:
                is_too_much = True
                break
            for stream in streams:
                yield stream
        for stone in () if is_too_much else news.removed:
            yield turbo("remove", f"message_{stone.client_message_id}")
        if is_too_much:
            yield '<turbo-stream action="refresh"></turbo-stream>'
        so_far = {"last_seen_message_id": newest, "server_time_ms": news.at // 1000}
        yield {"action": "caught_up", **so_far, "reset": is_too_much}


# === 29. web ==================================================================
# The door. A request becomes an Ask: who sends it, what it says, what its answer will
# carry. Every route names its audience, so that none can be forgotten; the guard asks
# in one look at the database who is there, in the order: banned address, session, CSRF.
# What it saw is looked at again by whatever the handler writes. Bodies are read and
# checked here alone; what a handler found becomes an answer, and the rest is a job's.
#
# Raises    Unauthenticated, Forbidden, BannedAddress, InvalidCsrfToken, BotForbidden,
#           WrongBotKey, BadRequest, PayloadTooLarge, UnsupportedMediaType, ValidationFailed
# ==============================================================================

SAFE_METHODS: Final = frozenset(("GET", "HEAD"))
NUMBER: Final = re.compile(r"[0-9]{1,18}")
UNKEPT: Final = {"Cache-Control": "no-store"}
FORWARDED_PROTO: Final = "X-Forwarded-Proto"
_JSON: Final = {"Content-Type": "application/json; charset=utf-8", **UNKEPT}


class Jobs:
    """BackgroundWork: tasks that are held until they end, and whose failures are one log line."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[bool]] = set()

    def spawn(self, name: str, work: Work) -> None:
        task = asyncio.create_task(self.attempt(name, work), name=name, context=Context())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def attempt(self, name: str, work: Work, **about: object) -> bool:
        try:
            await work
        except Exception:
            LOG.exception("job_failed", extra={"fields": {"job": name, **about}})
            return False
        return True

    async def finish(self, seconds: float) -> None:
        """Ends what repeats, gives the rest and what it spawns some time, then cancels it."""
        for task in self._running:
            if task.get_name().startswith("every_"):
                task.cancel()
        until = time.monotonic() + seconds
        while self._running and (left := until - time.monotonic()) > 0:
            await asyncio.wait(self._running, timeout=left)
        for task in (late := list(self._running)):
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


_Seconds: Final = partial(Histogram, SECONDS)


@dataclass(frozen=True, slots=True)
class Campfire:
    """The running program: what handlers work with, and what is counted of their work."""

    config: Config
    db: Database
    signer: Signer
    auth: AuthService
    rooms: RoomService
    messages: MessageService
    search: Search
    bots: Bots
    cable: WebSocketBroadcaster
    sockets: Cable  # the same, for what serves and counts sockets
    shapes: Shapes
    jobs: Jobs
    push: Push
    certificates: Certificates
    store: Store
    previews: Previews
    workshop: Workshop
    # Answers by method, route and status, and their seconds by route; and those of broadcasts.
    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    request_seconds: dict[str, Histogram] = field(default_factory=lambda: defaultdict(_Seconds))
    broadcast_seconds: Histogram = field(default_factory=_Seconds)
    started_at: float = field(default_factory=time.monotonic)


CAMPFIRE: Final = web.AppKey("campfire", Campfire)
REQUEST_ID: Final = web.RequestKey("request_id", str)
VIEWER_ID: Final = web.RequestKey("viewer_id", int)
SESSION: Final = web.RequestKey("session", Session)  # in which somebody asks
BOT_ROUTE: Final = web.RequestKey("bot_route", bool)


class Caller(NamedTuple):
    """Where a request comes from and what it takes us for, behind trusted proxies."""

    ip: str
    scheme: str
    host: str
    base_url: str  # absolute, without a slash at the end
    is_secure: bool  # whether cookies are Secure, and HSTS is sent
    agent: str  # the browser's name for itself, as text that can be stored
    cookies: Mapping[str, str]
    csrf_nonce: str | None  # the value of the CSRF cookie, if there is one


CALLER: Final = web.RequestKey("caller", Caller)
LASTS: Final[web.RequestKey[Viewer | None]] = web.RequestKey("lasts")  # who is told until a commit
_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]_-]{0,255}")
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FORWARDING: Final = ("X-Forwarded-For", FORWARDED_PROTO, "X-Forwarded-Host")


def is_trusted(address: str, config: Config) -> bool:
    """Whether what this address says of others' addresses is believed."""
    ip = parsed_address(address)
    return ip is not None and any(ip in network for network in config.trusted_proxies)


def caller_of(request: web.Request) -> Caller:
    """Who calls, as a trusted proxy says. Raises BadRequest, once, for a host that is no name."""
    caller: Caller | None = request.get(CALLER)
    if caller is not None:
        return caller
    config, headers, remote = request.app[CAMPFIRE].config, request.headers, request.remote or ""
    ip = peer = str(parsed_address(remote) or remote)
    scheme, host = request.scheme, request.host
    if any(name in headers for name in _FORWARDING) and is_trusted(peer, config):
        said = ",".join(headers.getall("X-Forwarded-For", ())).split(",")
        hops = [hop.strip() for hop in said if hop.strip()] or [peer]
        theirs = next((hop for hop in reversed(hops) if not is_trusted(hop, config)), hops[0])
        ip = str(parsed_address(theirs) or peer)  # of the last that is no proxy, or the first
        scheme = headers.get(FORWARDED_PROTO, scheme).split(",")[0].strip()
        host = headers.get("X-Forwarded-Host", host).split(",")[0].strip()
    is_name = _HOST.fullmatch(host)
    host = host if is_name else ""
    scheme = "https" if scheme.lower() in ("https", "wss") else "http"
    sent = "; ".join(headers.getall("Cookie", ()))
    pairs = (part.partition("=") for part in sent.split(";"))
    cookies: Mapping[str, str] = {name.strip(): value.strip() for name, _, value in pairs}
    if '"' in sent:  # ours need no quotes
        cookies = request.cookies
    base_url = f"{scheme}://{config.domain or host}"
    is_secure = scheme == "https" and not config.disable_ssl
    agent = headers.get("User-Agent", "").encode("utf-8", "replace").decode()
    nonce = cookies.get("_campfire_csrf", "")
    csrf = nonce if _NONCE.fullmatch(nonce) else None
    request[CALLER] = caller = Caller(ip, scheme, host, base_url, is_secure, agent, cookies, csrf)
    if not is_name:
        raise BadRequest
    return caller


def _origin_host(origin: str) -> str | None:
    """host:port of an http(s) origin, with the default port implied."""
    parts = re.fullmatch(r"(https?)://([^/@?#\\\s]+)", origin.lower())
    return parts and parts[2].removesuffix(":443" if parts[1] == "https" else ":80")


def is_allowed_origin(origin: str, request: web.Request) -> bool:
    """Whether a page of this origin may talk to us with its visitor's cookies."""
    config, caller = request.app[CAMPFIRE].config, caller_of(request)
    origin, host = origin.lower(), _origin_host(origin)
    own = caller.host.lower().removesuffix(":443" if origin.startswith("https") else ":80")
    is_own = host in {own, (config.domain or "").lower()}
    return host is not None and (is_own or origin.rstrip("/") in config.allowed_origins)


def log_foreign(event: str, request: web.Request) -> None:
    """Says that a page was refused, by which hosts: some proxies do not pass on what was asked."""
    caller, origin = caller_of(request), request.headers.get("Origin")
    LOG.warning(event, extra={"fields": {"ip": caller.ip, "origin": origin, "host": caller.host}})


def check_csrf(request: web.Request) -> None:
    """Whether a page of ours sends this. Raises InvalidCsrfToken."""
    caller, headers, origin = caller_of(request), request.headers, request.headers.get("Origin")
    nonce, token = caller.csrf_nonce, headers.get("X-CSRF-Token", "")
    is_signed = nonce is not None and request.app[CAMPFIRE].signer.is_csrf_token(nonce, token)
    is_ours = is_signed and headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
    if is_ours and (origin is None or is_allowed_origin(origin, request)):
        return
    log_foreign("csrf_rejected", request)
    if not (is_ours and origin and (asked := _origin_host(origin))):
        raise InvalidCsrfToken
    reached = f"Campfire is reached as {caller.host} but the browser asks for {asked}."
    raise InvalidCsrfToken(message=f"{reached} The proxy must pass the Host header.")


def number_in(query: Mapping[str, str], name: str) -> int | None:
    """A number in the query; anything else counts as not given."""
    text = query.get(name, "")
    return int(text) if NUMBER.fullmatch(text) else None


Audience: TypeAlias = Literal["anyone", "people", "administrators", "bots"]
Outcome: TypeAlias = Written | Mapping[str, object] | web.StreamResponse | None
BODY: Final[web.RequestKey[bytes | CampfireError]] = web.RequestKey("body")


@dataclass(frozen=True)  # without slots: it remembers its body
class Ask:
    """Somebody asks: all that a handler is given, and what its answer will carry."""

    request: web.Request
    campfire: Campfire
    guest: Viewer | None  # None for strangers and bots
    bot: User | None  # whom the key in the path lets in
    caller: Caller
    parts: Mapping[str, str]  # of the path
    query: Mapping[str, str]
    at: Timestamp = Timestamp(0)  # of a look: all that it does not see yet will be later
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)  # of the answer

    @property
    def viewer(self) -> Viewer:
        """Who is signed in. Raises Unauthenticated."""
        if self.guest is None:
            raise Unauthenticated
        return self.guest

    @property
    def user(self) -> User:
        """Who acts, person or bot. Raises Unauthenticated."""
        person = self.guest.user if self.guest else self.bot
        if person is None:
            raise Unauthenticated
        return person

    @property
    def room_id(self) -> RoomId:
        return RoomId(int(self.parts["room_id"]))

    @property
    def message_id(self) -> MessageId:
        return MessageId(int(self.parts["message_id"]))

    @property
    def data(self) -> bytes:
        """The body. Raises PayloadTooLarge, or BadRequest for one that did not come whole."""
        data: bytes | CampfireError = self.request.get(BODY, b"")
        if isinstance(data, CampfireError):
            raise data
        return data

    @cached_property
    def body(self) -> Json:
        """The body, a JSON object; none counts as an empty one. Raises UnsupportedMediaType,
        PayloadTooLarge, BadRequest."""
        if BODY not in self.request and not self.request.can_read_body:
            return {}
        is_plain = self.request.headers.get("Content-Encoding", "identity") == "identity"
        if self.request.content_type != "application/json" or not is_plain:
            raise UnsupportedMediaType
        try:
            text = self.data.decode()
            body = json.loads(text) if text.strip() else {}
            if "\\ud" in text.lower():  # half a surrogate pair is no text, and cannot be stored
                body = json.loads(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            raise BadRequest from error
        if not isinstance(body, dict):
            raise BadRequest
        return body

    def text(self, name: str) -> str:
        """A text of the body without NUL; none counts as blank. Raises ValidationFailed."""
        value = self.body.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise ValidationFailed({name: ["is invalid"]})
        return value.replace("\0", "")

    def given(self, name: str) -> str | None:
        """As `text`, and None when there is none."""
        return None if self.body.get(name) is None else self.text(name)

    @property
    def db(self) -> Database:
        """Where whatever a handler has to read or write is read and written."""
        return self.campfire.db

    def set_cookie(self, name: str, value: str, seconds: int) -> None:
        """A cookie of ours; only `last_room` may be read by scripts."""
        secure = "; Secure" if self.caller.is_secure else ""
        hidden = "" if name == "last_room" else "; HttpOnly"
        kept = f"{name}={value}; Max-Age={seconds}; Path=/; SameSite=Lax{hidden}{secure}"
        self.headers.add("Set-Cookie", kept)

    def forget_cookie(self, name: str) -> None:
        """Takes a cookie of ours back."""
        gone = f'{name}=""; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/'
        self.headers.add("Set-Cookie", gone)


def answer(
    outcome: Outcome, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """An answer that says what was found or done: nothing is 204, the rest JSON nobody keeps."""
    if isinstance(outcome, web.StreamResponse):
        response = outcome
    elif outcome is None:
        response = web.Response(status=204, headers=UNKEPT)
    else:
        parts = outcome if isinstance(outcome, Written) else joined(outcome)
        response = web.Response(status=status, headers=_JSON)
        response[PIECES] = parts
    if headers:
        response.headers.extend(headers)
    return response


def require(audience: Audience, viewer: Viewer | None) -> None:
    """Whether somebody belongs to a route's audience. Raises Unauthenticated, Forbidden."""
    if viewer is None and audience != "anyone":
        raise Unauthenticated
    if audience == "administrators" and not (viewer and viewer.user.role is Role.ADMINISTRATOR):
        raise Forbidden


async def admit_person(request: web.Request, audience: Audience) -> tuple[Ask, Right]:
    """Who comes in, and what must stay true of them while they write. Raises BannedAddress,
    BotForbidden, InvalidCsrfToken, Unauthenticated, Forbidden."""
    campfire, caller, viewer = request.app[CAMPFIRE], caller_of(request), None
    is_safe, bot_key = request.method in SAFE_METHODS, request.query.get("bot_key", "")
    cookie = caller.cookies.get("session_token", "")
    if cookie or bot_key or not is_safe:
        door = await campfire.db.read(at_the_door, cookie, bot_key, None if is_safe else caller.ip)
        if door.is_banned:
            LOG.warning("banned_request", extra={"fields": {"ip": caller.ip}})
            raise BannedAddress
        viewer = door.viewer
        if door.bot is not None:
            raise BotForbidden
        if not is_safe:
            check_csrf(request)
        if viewer is not None:
            request[VIEWER_ID], request[SESSION] = viewer.user.id, viewer.session
    require(audience, viewer)
    right = partial(check_right, ip=caller.ip, viewer=viewer)
    return Ask(request, campfire, viewer, None, caller, request.match_info, request.query), right


async def _admit_bot(request: web.Request, _: Audience) -> tuple[Ask, Right]:
    """The bot with the key in the path, and what must stay true of it while it writes."""
    request[BOT_ROUTE] = True
    campfire, caller, key = request.app[CAMPFIRE], caller_of(request), request.match_info["bot_key"]
    ip = None if request.method in SAFE_METHODS else caller.ip
    door = await campfire.db.read(at_the_door, "", key, ip)
    if door.is_banned:
        raise BannedAddress
    if door.bot is None:
        LOG.warning("bot_auth_failed", extra={"fields": {"ip": caller.ip}})
        raise WrongBotKey
    request[VIEWER_ID] = door.bot.id
    right = partial(check_bots_right, ip=caller.ip, bot_key=key)
    return Ask(request, campfire, None, door.bot, caller, request.match_info, request.query), right


Look: TypeAlias = Callable[[ReadTx, Ask], T]
Place: TypeAlias = tuple[Mapping[str, str], Mapping[str, str]]  # the parts of a path, a query
_STILL_THERE: Final = 0.1  # seconds between two looks whether somebody waits for a search


async def _while_wanted(request: web.Request, work: Coroutine[object, object, T]) -> T:
    """What the work brings; it ends when the browser is gone."""
    task = asyncio.ensure_future(work)
    while not (await asyncio.wait((task,), timeout=_STILL_THERE))[0]:
        if request.transport is None or request.transport.is_closing():
            task.cancel()
    if task.cancelled():
        raise DatabaseBusy
    return task.result()


async def look_in(
    request: web.Request, work: Look[T], place: Place | None = None, *, searches: bool = False
) -> T:
    """What `work` finds at a place, or where it was asked, in the look that tells who asks."""
    campfire, caller = request.app[CAMPFIRE], caller_of(request)
    cookie, bot_key = caller.cookies.get("session_token", ""), request.query.get("bot_key", "")
    at, (parts, query) = campfire.db.settled_at(), place or (request.match_info, request.query)

    def see(tx: ReadTx) -> tuple[Viewer | None, T | CampfireError]:
        door = at_the_door(tx, cookie, bot_key)
        viewer = door.viewer
        try:
            if door.bot is not None:
                raise BotForbidden
            return viewer, work(tx, Ask(request, campfire, viewer, None, caller, parts, query, at))
        except CampfireError as error:  # the log still says who asked
            return viewer, error

    try:
        viewer, seen = campfire.db.at_a_glance(see)
    except TakesLong:
        searcher = (await campfire.db.read(at_the_door, cookie)).viewer if searches else None
        if searcher is None:
            viewer, seen = await campfire.db.read_aside(see)
        else:
            turn = campfire.search.in_turn(searcher.user.id, see)
            viewer, seen = await _while_wanted(request, turn)
    if viewer is not None:
        request[VIEWER_ID], request[SESSION] = viewer.user.id, viewer.session
    if isinstance(seen, CampfireError):
        raise seen
    return seen


Handler = Callable[[Ask], Awaitable[Outcome]]
Guarded = Callable[[web.Request], Awaitable[web.StreamResponse]]
Admit = Callable[[web.Request, Audience], Awaitable[tuple[Ask, Right]]]
_STRANGERS_BYTES: Final = 16_384  # what anybody may send
_MEMBERS_BYTES: Final = 131_072
_MESSAGE_BYTES: Final = 524_288  # JSON may write each byte of the longest message as six
_MESSAGES: Final = ("/messages", "/messages/{message_id}")
_PICTURES: Final = ("/avatar", "/logo")  # whose bodies are read piece by piece, as forms are
_BODY_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a path, who may come in, and a handler behind its guard."""

    method: str
    path: str
    audience: Audience
    handler: Guarded


def sight(path: str, audience: Audience, work: Look[Outcome], *, searches: bool = False) -> Route:
    """An address that one look answers from beginning to end."""

    def see(tx: ReadTx, ask: Ask) -> web.StreamResponse:
        require(audience, ask.guest)
        return answer(work(tx, ask), headers=ask.headers)

    return Route("GET", path, audience, partial(look_in, work=see, searches=searches))


async def _receive(request: web.Request, audience: Audience, most: int, admit: Admit) -> None:
    """Takes the body in, before anybody is asked who they are: while it comes, that may change."""
    is_form = request.content_type == "multipart/form-data"
    if is_form or not most or not request.can_read_body or request.method in SAFE_METHODS:
        return
    expected = math.inf if request.content_length is None else request.content_length  # not said
    if expected > _STRANGERS_BYTES and audience != "anyone":  # a stranger may not bring so much
        await admit(request, audience)
    if most < expected < math.inf:
        request[BODY] = PayloadTooLarge()
        return
    content, body = request.content, bytearray()
    is_here, seconds = content.is_eof(), request.app[CAMPFIRE].config.read_timeout
    try:
        async with nullcontext() if is_here else asyncio.timeout(min(seconds, _BODY_SECONDS)):
            while len(body) <= most and (part := await content.readany()):
                body += part
        request[BODY] = bytes(body) if len(body) <= most else PayloadTooLarge()
    except (TimeoutError, ConnectionError, web.RequestPayloadError, HttpProcessingError):
        request[BODY] = BadRequest()


def act(
    method: str,
    path: str,
    audience: Audience,
    handler: Handler,
    *,
    status: int = 200,
    form: Handler | None = None,
) -> Route:
    """An address where something is done, with a form perhaps another; the status is a success's.
    If what lets somebody in is no longer so when the handler writes, nothing is written, and it is
    as if the request had come just now."""
    most = _MESSAGE_BYTES if path.endswith(_MESSAGES) else _MEMBERS_BYTES
    most = 0 if path.endswith(_PICTURES) else most
    most = _STRANGERS_BYTES if audience == "anyone" else most
    admit: Admit = _admit_bot if audience == "bots" else admit_person

    async def guarded(request: web.Request) -> web.StreamResponse:
        await _receive(request, audience, most, admit)
        while True:
            ask, right = await admit(request, audience)
            try:
                with writing_by(right):
                    is_form = form and request.content_type == "multipart/form-data"
                    work = form if form and is_form else handler
                    return answer(await work(ask), status, ask.headers)
            except RightChanged:
                continue

    return Route(method, path, audience, guarded)


# === 30. files ================================================================
# What is served as it lies: the built client, whose folder has the digest of the build
# for a name, so that a browser may keep what is in it for ever; sounds and pictures,
# beside this file in the clone and in the executable alike; what devices ask for; and the
# page for browsers that are too old.
#
# Raises    BadRequest, NotFound
# ==============================================================================

_FOREVER: Final = "public, max-age=31536000, immutable"
_MONTH: Final = "public, max-age=2592000"
_HALF_HOUR: Final = "public, max-age=1800, stale-while-revalidate=604800"
_FIVE_MINUTES: Final = "public, max-age=300, stale-while-revalidate=604800"
_AVATAR_COLOURS: Final = (
    "#AF2E1B", "#CC6324", "#3B4B59", "#BFA07A", "#ED8008", "#ED3F1C", "#BF1B1B", "#736B1E",
    "#D07B53", "#736356", "#AD1D1D", "#BF7C2A", "#C09C6F", "#698F9C", "#7C956B", "#5D618F",
    "#3B3633", "#67695E",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bundle:
    """The built client: its digest, its files, and its pages, whose holes are to fill."""

    digest: str
    files: Mapping[str, Mapping[str, bytes]]  # by name and Content-Encoding
    pages: Mapping[str, str]

    def url(self, name: str) -> str:
        """Where a browser gets a file of this build."""
        return f"/assets/{self.digest}/{name}"


BUNDLE: Final = web.AppKey("bundle", Bundle)


def load_bundle(folder: Path = HERE / "static_bundle" / "dist") -> Bundle:
    """The client as it lies on disk, read into memory once (it is about a megabyte)."""
    files: dict[str, dict[str, bytes]] = {}
    digest = hashlib.sha256()
    for path in sorted(filter(Path.is_file, folder.rglob("*"))):
        name, data = path.relative_to(folder).as_posix(), path.read_bytes()
        digest.update(name.encode() + data)
        coding = {".gz": "gzip", ".br": "br"}.get(path.suffix, "")
        files.setdefault(name.removesuffix(path.suffix) if coding else name, {})[coding] = data
    pages: dict[str, str] = {}
    bundle = Bundle(digest.hexdigest()[:16], files, pages)
    for name in [it for it in files if it.endswith((".html", "initials.svg", "webmanifest.json"))]:
        pages[name] = _as_it_is(files.pop(name)).decode().replace("/assets/BUILD/", bundle.url(""))
    # What stands in double brackets is drawn for a room alone.
    index = pages.get("index.html", "")
    pages["room.html"] = re.sub(r"\[\[|\]\]", "", index)
    pages["index.html"] = re.sub(r"\[\[.*?\]\]", "", index, flags=re.DOTALL)
    return bundle


def _as_it_is(coded: Mapping[str, bytes]) -> bytes:
    return gzip.decompress(coded["gzip"]) if "gzip" in coded else coded.get("", b"")


def _file(ask: Ask, name: str, keep: str) -> web.Response:
    """A file of the client, as small as this browser takes it. Raises NotFound."""
    coded = ask.request.app[BUNDLE].files.get(name)
    if coded is None:
        raise NotFound
    accepts = accepted(ask.request.headers.get("Accept-Encoding", ""))
    coding = next((way for way in ("br", "gzip") if way in coded and way in accepts), "")
    kind = BY_ENDING.get(Path(name).suffix, OCTETS)
    kind += "; charset=utf-8" if kind.startswith(("text/", "application/json")) else ""
    headers = {"Content-Type": kind, "Cache-Control": keep, "Vary": "Accept-Encoding"}
    if coding:
        return web.Response(body=coded[coding], headers={**headers, "Content-Encoding": coding})
    return web.Response(body=_as_it_is(coded), headers=headers)


async def show_asset(ask: Ask) -> Outcome:
    """A file of the client: for ever under the build's digest, for a month without it."""
    path, digest = ask.parts["path"], ask.request.app[BUNDLE].digest
    folder, _, name = path.partition("/")
    return _file(ask, name, _FOREVER) if folder == digest else _file(ask, path, _MONTH)


async def show_service_worker(ask: Ask) -> Outcome:
    """The service worker, at the one address whose scope is the whole site."""
    ask.headers["Service-Worker-Allowed"] = "/"
    return _file(ask, "service_worker.js", "no-cache")


_AT_ONCE: Final = 128 << 10  # bytes of a file that go in one turn of the loop


class LyingFile(web.FileResponse):
    """A file that is sent once: aiohttp would begin it again after our middleware has sent it."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None if self.prepared else await super().prepare(request)

    async def _sendfile(
        self, request: web.BaseRequest, fobj: IO[Any], offset: int, count: int
    ) -> AbstractStreamWriter:
        """It may take as long as it likes, but the kernel cuts off whoever takes nothing for a
        while. One piece goes in a turn, of all files: to whoever reads as fast as it sends, the
        kernel would send the whole file at once, and nobody else would be heard meanwhile."""
        campfire, loop = cast(web.Request, request).app[CAMPFIRE], asyncio.get_running_loop()
        writer = await super(web.FileResponse, self).prepare(request)
        if writer is None or (transport := request.transport) is None:
            raise ConnectionResetError
        with suppress(OSError, AttributeError):  # it is gone, or macOS
            option, after = socket.TCP_USER_TIMEOUT, campfire.config.upload_idle_timeout * 1_000
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, after)
        for at in range(offset, offset + count, _AT_ONCE):
            async with campfire.store.sending:
                await asyncio.sleep(0)
            await loop.sendfile(transport, fobj, at, min(_AT_ONCE, offset + count - at))
        await self.write_eof()
        return writer


async def show_sound(ask: Ask) -> Outcome:
    """A sound, with byte ranges: browsers refuse to play without."""
    path = HERE / "sounds" / f"{ask.parts['name']}.mp3"
    if not re.fullmatch(r"[A-Za-z0-9_]{1,40}", ask.parts["name"]) or not path.is_file():
        raise NotFound
    return LyingFile(path, headers={"Content-Type": "audio/mpeg", "Cache-Control": _MONTH})


def is_seen(ask: Ask, etag: str) -> bool:
    """Whether a browser has this already: a proxy that compresses makes our tags weak."""
    given = ask.request.headers.get("If-None-Match", "").split(",")
    tags = {tag.strip().removeprefix("W/") for tag in given}
    return not tags.isdisjoint(("*", etag.removeprefix("W/")))


def _picture(ask: Ask, kind: str, keep: str, etag: str, picture: bytes) -> web.Response:
    headers = {"Content-Type": kind, "Cache-Control": keep, "ETag": etag}
    headers["Content-Security-Policy"] = FILE_POLICY
    if is_seen(ask, etag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=picture, headers=headers)


def show_logo(tx: ReadTx, ask: Ask) -> Outcome:
    """The account's picture, or else Campfire's own mark: 512 pixels square, or 192."""
    account, is_small = account_of(tx), ask.query.get("size") == "small"
    logos = (account.logo_id, account.logo_small_id) if account else (None, None)
    size = 192 if is_small else 512
    etag = f'"{account.updated_at}-{size}"' if account else ""
    if (picture := ask.campfire.store.picture(tx, logos[is_small])) is None:
        picture = ask.request.app[BUNDLE].files.get(f"logo-{size}.png", {}).get("", b"")
        etag = f'"{hashlib.sha256(picture).hexdigest()[:20]}"'
    return _picture(ask, "image/png", _FIVE_MINUTES, etag, picture)


def show_avatar(tx: ReadTx, ask: Ask) -> Outcome:
    """Somebody's picture, initials or a bot's face; strangers are sent to sign in, as for pages."""
    if ask.guest is None:
        return web.Response(status=302, headers={"Location": "/session/new"})
    token = ask.parts["avatar_token"]
    if (user_id := ask.campfire.signer.user_id_in_avatar_token(token)) is None:
        raise NotFound
    user = user_by_id(tx, user_id)
    kind, etag = "image/svg+xml; charset=utf-8", f'"{user.id}-{user.updated_at}"'
    if picture := ask.campfire.store.picture(tx, user.avatar_id):
        return _picture(ask, "image/webp", _HALF_HOUR, etag, picture)
    if user.role is Role.BOT:
        robot = _as_it_is(ask.request.app[BUNDLE].files.get("robot.svg", {}))
        return _picture(ask, kind, _HALF_HOUR, etag, robot.rstrip())
    colour = _AVATAR_COLOURS[zlib.crc32(str(user.id).encode()) % len(_AVATAR_COLOURS)]
    letters = initials(user.name) or "?"
    squeeze = ' textLength="85%" lengthAdjust="spacingAndGlyphs"' if letters[2:] else ""
    svg = ask.request.app[BUNDLE].pages["initials.svg"].rstrip()
    svg = svg.format(colour=colour, squeeze=squeeze, letters=escape(letters))
    return _picture(ask, kind, _HALF_HOUR, etag, svg.encode())


_QR_LIMIT: Final = 1_000  # bytes of text; a square holds little more than twice of it
_SHORT_NAME: Final = 12


def with_logo(text: str, version: str) -> str:
    """What names the account's own logo, under the address that it has since it changed."""
    text = text.replace('"/account/logo?size=small"', f'"/account/logo?v={version}&size=small"')
    return text.replace('"/account/logo"', f'"/account/logo?v={version}"')


def manifest_of(name: str, bundle: Bundle) -> str:
    """Campfire as an app of this name."""
    shown = json.loads(bundle.pages.get("webmanifest.json", "{}"))
    return compact({**shown, "name": name, "short_name": name[:_SHORT_NAME].strip()})


def show_manifest(tx: ReadTx, ask: Ask) -> Outcome:
    """Campfire as an app for the home screen; it has the account's name once there is one."""
    account = account_of(tx)
    text = manifest_of((account and account.name) or "Campfire", ask.request.app[BUNDLE])
    if account and account.logo_id:
        text = with_logo(text, version_of(account.updated_at))
    return web.Response(text=text, content_type="application/manifest+json", charset="utf-8")


@lru_cache(64)
def qr_svg(text: str) -> str:
    """The square that says this text: black on white, a quarter of it may be unreadable."""
    import segno

    drawn = io.BytesIO()
    code = segno.make_qr(text, error="m")
    code.save(drawn, kind="svg", xmldecl=False, omitsize=True, dark="#000", light="#fff")
    return drawn.getvalue().decode()


async def show_qr_code(ask: Ask) -> Outcome:
    """A link as a square to scan: one to sign in with that we signed, or the invitation."""
    encoded, base = ask.parts["text"], f"{ask.caller.base_url}/"
    try:
        is_encoded = re.fullmatch(r"[A-Za-z0-9_-]+={0,2}", encoded)
        text = from_base64(encoded.rstrip("=")).decode() if is_encoded else ""
    except ValueError as error:
        raise BadRequest from error
    if not 0 < len(text.encode()) <= _QR_LIMIT:
        raise BadRequest
    match text.removeprefix(base).split("/") if text.startswith(base) else ():
        case ["join", join_code]:
            await ask.db.read(account_behind, join_code)
        case ["session", "transfers", transfer_id] if ask.campfire.signer.transfer_in(transfer_id):
            pass
        case _:
            raise NotFound
    drawing = await asyncio.to_thread(qr_svg, text)
    headers = {"Cache-Control": "public, max-age=31536000"}
    return web.Response(text=drawing, content_type="image/svg+xml", headers=headers)


async def show_favicon(_: Ask) -> Outcome:
    """The logo, for browsers that ask where they always asked."""
    return web.Response(status=302, headers={"Location": "/account/logo?size=small"})


async def show_robots(_: Ask) -> Outcome:
    """Nothing here is for search engines, and nothing here is public."""
    return web.Response(text="# A private chat: there is nothing to crawl.\n")


async def show_nothing(_: Ask) -> Outcome:
    """An address of Rails' that has no page here; a bot's key is refused before."""
    raise NotFound


_CRAWLER: Final = re.compile("bot|crawl|spider|facebookexternalhit", re.IGNORECASE)
_BROWSERS: Final = (  # the first that fits, and its floor: many call themselves Chrome and Safari
    (re.compile(r"OPR/([0-9]+)|Opera"), (104, 0)),
    (re.compile(r"Edg/()"), (0, 0)),
    (re.compile(r"(?:Chrome|CriOS)/([0-9]+)"), (120, 0)),
    (re.compile(r"(?:Firefox|FxiOS)/([0-9]+)"), (125, 0)),
    (re.compile(r"Version/([0-9]+(?:\.[0-9]+)?).* Safari/"), (17, 2)),
    (re.compile(r"(?:MSIE|Trident/)()"), (math.inf, 0)),
)


def is_supported(user_agent: str) -> bool:
    """Whether the client runs in a browser of this name."""
    if _CRAWLER.search(user_agent):
        return True
    for pattern, floor in _BROWSERS:
        if said := pattern.search(user_agent):
            major, _, minor = (said[1] or "").partition(".")
            return (int(major[:9] or 0), int(minor[:9] or 0)) >= floor
    return True


_LOOP_SECONDS: Final = 5  # in which no browser asks for one address more often
_LOOP_TURNS: Final = 3  # than so, unless it is sent there


class HttpsLoops:
    """Proxies that take https and do not say so: who is sent to https comes back as before."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic, self._since = monotonic, 0.0
        self._sent: Counter[tuple[str, str]] = Counter()  # in the last seconds, by peer and address
        self._silent: set[str] = set()  # the peers that were seen to be such proxies

    def is_one(self, peer: str, address: str) -> bool:
        """Whether sending this peer's request to https was tried, and leads here again."""
        if peer in self._silent:
            return True
        if (now := self._monotonic()) - self._since > _LOOP_SECONDS:
            self._since, self._sent = now, Counter()
        self._sent[peer, address] += 1
        if self._sent[peer, address] <= _LOOP_TURNS:
            return False
        self._silent.add(peer)
        LOG.warning("proxy_hides_https", extra={"fields": {"peer": peer, "needs": FORWARDED_PROTO}})
        return True


# === 31. ops ==================================================================
# What the operator sees of the program at work: its log, in a thread of its own; the word
# of /up; and the numbers to draw curves of, in Prometheus' text format 0.0.4, which are read
# off when somebody asks. A route is named by its pattern: its path would name people's rooms.
#
# Raises    NotFound
# ==============================================================================

_OUT_OF_FILES: Final = (
    "socket.accept() out of system resource",
    "Exception in callback BaseSelectorEventLoop._start_serving(",
)
LINES_WAITING: Final = 10_000
_GATHERING_SECONDS: Final = 0.05


class Lines(logging.Handler):
    """Lines on their way out, in a thread of their own; too many are dropped, and counted."""

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self._path, self._fd = path, -1
        if path is not None:
            self.reopen()
        elif sys.stdout is not None:
            self._fd = sys.stdout.fileno()
        self._waiting: deque[str] = deque()
        self._dropped, self._is_torn, self._may_speak = 0, False, Seldom(SILENT_SECONDS)
        self._news, self._is_idle, self._ends = Event(), Event(), Event()
        Thread(target=self._write_forever, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Sends it off, without what strangers sent: aiohttp puts bad headers into its traces. What
        asyncio would say a thousand times a second, that there are no files, it says seldom."""
        if record.name == "aiohttp.server":
            record.exc_info = None
        elif record.name == "asyncio" and record.getMessage().startswith(_OUT_OF_FILES):
            record.msg, record.exc_info = "out_of_files", None
            if not self._may_speak():
                return
        self.put(self.format(record))

    def put(self, line: str) -> None:
        """Sends a line off; those of a twentieth of a second go together."""
        if len(self._waiting) >= LINES_WAITING:
            self._dropped += 1
            return
        self._waiting.append(line)
        if not self._news.is_set():
            self._news.set()

    def _write_forever(self) -> None:
        while self._news.wait():
            self._ends.wait(_GATHERING_SECONDS)
            self._news.clear()
            while self._waiting:
                self._write([self._waiting.popleft() for _ in range(len(self._waiting))])
            if not self._news.is_set():
                self._is_idle.set()

    def _write(self, lines: list[str]) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            said = {"msg": "log_lines_dropped", "levelname": "WARNING"}
            record = logging.makeLogRecord({**said, "fields": {"lines": dropped}})
            lines.append(self.format(record))
        whole = left = "".join(f"{line}\n" for line in lines).encode()
        try:
            if self._is_torn:
                os.write(self._fd, b"\n")
            while left:
                left = left[os.write(self._fd, left) :]
            self._is_torn = False
        except OSError:  # nobody reads on, or there is no room
            self._is_torn = len(left) < len(whole)
            self._dropped += dropped + len(lines) - bool(dropped)

    def reopen(self) -> None:
        """Goes on in a new file, after the old one was moved away. Raises OSError."""
        if self._path is None:
            return
        fresh = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if self._fd < 0:
            self._fd = fresh
        else:
            os.dup2(fresh, self._fd, inheritable=False)
            os.close(fresh)

    def finish(self) -> None:
        """Writes what waits, if that takes no longer than a second; from now on at once."""
        self._ends.set()
        self._is_idle.clear()
        self._news.set()
        self._is_idle.wait(1)


# What the log shows of an address: parts of a path and of a query that are known to be no secret.
SHOWN_PARTS: Final = re.compile(r"\w+_id|type|name|path")
_SHOWN_QUERY: Final = re.compile(
    r"(\w+_id|after|around|before|edit|page|since|size|v)=[A-Za-z0-9]{1,20}"
)
_NAMED_QUERY: Final = re.compile(r"(bot_key|email_address|path|q|query)(?==)")


def shown_query(query: str) -> str:
    """A query as it was sent, as logs may show it: no key, code or token."""
    shown = []
    for part in query.split("&"):
        name = _NAMED_QUERY.match(part)
        hidden = f"{name[1]}=[FILTERED]" if name else "[FILTERED]"
        shown.append(part if _SHOWN_QUERY.fullmatch(part) else hidden)
    return "&".join(shown)


def log_to(lines: Lines, level: int) -> None:
    """Sends our log, and what libraries warn of, there."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # unused
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(logging.WARNING)
    LOG.setLevel(level)


def toggle_debugging(level: int) -> None:
    """From the operator's level to all there is to say, and back."""
    LOG.setLevel(level if LOG.level == logging.DEBUG else logging.DEBUG)
    LOG.warning("log_level", extra={"fields": {"now": logging.getLevelName(LOG.level).lower()}})


def raise_file_limit() -> None:
    """Lets the process hold as many sockets as the system allows it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS tells of no limit, and takes OPEN_MAX at most.
    wanted = min(most, 10_240) if sys.platform == "darwin" else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


_HEALTH_SECONDS: Final = 2
_PROBE_SECONDS: Final = 10


class Undone(Exception):
    """A write that only tried whether it can."""


def try_to_write(tx: WriteTx, _: Timestamp) -> None:
    """Writes more than stays in memory, and takes it back. Raises Undone when it can."""
    tx.execute("PRAGMA cache_size = 8")  # pages, so that it reaches the disk before its end
    try:
        tx.execute("CREATE TABLE write_probe AS SELECT zeroblob(131072) AS room")
    finally:
        tx.execute("PRAGMA cache_size = -2000")  # SQLite's default
    raise Undone


class Health:
    """Whether the database answers and takes what is written."""

    def __init__(self, db: Database) -> None:
        self._db, self._may_probe, self._could_write = db, Seldom(_PROBE_SECONDS), "ok"

    async def database(self) -> str:
        """`ok`, `full`, `readonly`, `busy` or `down`, after two seconds at most."""
        probes = self._may_probe()
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                await self._db.read(is_set_up)
                await self._db.write(try_to_write if probes else lambda *_: None)
        except Undone:
            self._could_write = "ok"
        except TimeoutError:
            return "busy"
        except StorageError as error:
            word = error.code.removeprefix("database_").replace("error", "down")
            if probes:
                self._could_write = word
            return word
        return self._could_write


HEALTH: Final = web.AppKey("health", Health)


async def show_health(request: web.Request) -> web.StreamResponse:
    """Whether a reader and the writer answer within two seconds, and the disk takes more."""
    campfire, database = request.app[CAMPFIRE], await request.app[HEALTH].database()
    status, word, colour = (200, "up", "green") if database == "ok" else (503, "down", "red")
    if request.path.endswith(".json") or "json" in request.headers.get("Accept", ""):
        facts = {
            "status": word,
            "timestamp": iso(Timestamp(time.time_ns() // 1000)),
            "version": campfire.config.version,
            "uptime_seconds": int(time.monotonic() - campfire.started_at),
            "websocket_connections": len(campfire.sockets.connections),
            "database": database,
            "files": await campfire.store.state(),
            "pictures": "ok" if campfire.workshop.has_pictures else "unavailable",
        }
        return answer(facts, status)
    page = f'<!DOCTYPE html><html><body style="background-color: {colour}"></body></html>'
    return web.Response(text=page, status=status, content_type="text/html", charset="utf-8")


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


_Reading: TypeAlias = float | Histogram | Mapping[Any, Any]
# What is told, with its labels behind its name: a number or a histogram, or several, by the values
# of the labels. The end of a name says of which kind it is.
_KINDS: Final = {"total": "counter", "seconds": "histogram", "size": "histogram"}
# fmt: off
_METRICS: Final[tuple[tuple[str, str, Callable[[Campfire], _Reading]], ...]] = (
    ("http_requests_total method route status", "Answered requests.", lambda of: of.requests),
    ("http_request_seconds route", "Time from a request to its answer.",
        lambda of: of.request_seconds),
    ("ws_connections", "Open sockets.", lambda of: len(of.sockets.connections)),
    ("ws_subscriptions channel", "Subscriptions of open sockets.", lambda of: Counter(
        it.channel for tab in of.sockets.connections for it in tab.subscriptions.values())),
    # A stream without its numbers: `user_7_unreads` is `user_unreads`.
    ("broadcasts_total kind", "Broadcasts, with listeners or without.", lambda of: {
        re.sub("[_:]+", "_", it).strip("_"): n for it, n in of.sockets.broadcasts_by.items()}),
    ("ws_frames_sent_total", "Frames that broadcasts brought to tabs.",
        lambda of: of.sockets.frames),
    ("ws_slow_closed_total", "Sockets cut off because they read too slowly.",
        lambda of: of.sockets.slow),
    ("broadcast_seconds", "Time from a commit to its last frame queued.",
        lambda of: of.broadcast_seconds),
    ("db_writer_queue", "Jobs that wait for the writer.", lambda of: of.db.queue.qsize()),
    ("db_write_seconds", "Time of one commit with all its jobs.", lambda of: of.db.write_seconds),
    ("db_group_size", "Jobs that shared one commit.", lambda of: of.db.group_sizes),
    ("messages_created_total", "Messages stored, repeats not counted.",
        lambda of: sum(of.broadcast_seconds.counts)),  # one is observed for each
    ("webhooks_total result", "Calls to bots, by how they ended.", lambda of: of.bots.calls),
    ("pushes_total result", "Notifications, by how they ended.", lambda of: of.push.pushes),
    ("files", "Files in the store.", lambda of: of.store.seen.files),
    ("files_bytes", "Bytes of all files in the store.", lambda of: of.store.seen.bytes),
    ("files_free_bytes", "Bytes that the disk has room for.", lambda of: of.store.seen.free_bytes),
    ("uploads_total result", "Files sent, by what came of it.", lambda of: of.store.uploads),
    ("upload_bytes_total", "Bytes of files that came.", lambda of: of.store.uploaded_bytes),
    ("unfurls_total result", "Looks at pages, by what came of it.", lambda of: of.previews.unfurls),
    ("uploads_active", "Files on their way.", lambda of: of.store.uploading.total()),
    ("downloads_bytes_total", "Bytes of files asked for.", lambda of: of.store.downloaded_bytes),
    ("doomed_blobs", "Files that wait for their end.", lambda of: of.store.seen.doomed),
    ("workshop_seconds order", "Time of an order to it.", lambda of: of.workshop.seconds),
    ("workshop_results_total order result", "How orders ended.", lambda of: of.workshop.results),
    ("workshop_sandbox kind", "What keeps the workshop's hands in.",
        lambda of: {of.workshop.sandbox: 1} if of.workshop.sandbox else {}),
    ("presence_entries", "Tabs that look at a room.", lambda of: of.sockets.presence.entries()),
    ("process_resident_memory_bytes", "Memory of the process.", lambda _: _resident_bytes()),
    ("process_cpu_seconds_total", "Processor time of the process.", lambda _: time.process_time()),
    ("build_info version revision", "Which Campfire this is.",
        lambda of: {(of.config.version, of.config.revision): 1}),
)
# fmt: on
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def _samples(name: str, labels: Mapping[str, object], value: float | Histogram) -> Iterator[str]:
    told = ",".join(f'{key}="{str(label).translate(_ESCAPES)}"' for key, label in labels.items())
    if not isinstance(value, Histogram):
        shown = int(value) if value == int(value) else value
        yield f"{name}{f'{{{told}}}' if told else ''} {shown}"
        return
    counts = list(accumulate(value.counts))
    for bound, count in zip((*map("{:g}".format, value.bounds), "+Inf"), counts, strict=True):
        yield from _samples(f"{name}_bucket", {**labels, "le": bound}, count)
    yield from _samples(f"{name}_sum", labels, value.total)
    yield from _samples(f"{name}_count", labels, counts[-1])


# What a proxy may say of whom it asks for: X-Forwarded-…, CF-Connecting-IP, True-Client-IP, Via …
_FORWARDED: Final = re.compile(
    "(x-)?forwarded.*|via|.*(real|client|connecting|original|remote)-.*|.*-ip", re.IGNORECASE
)
_LOOPBACK_HOST: Final = re.compile(r"(?i)(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]+)?")


def may_read_metrics(config: Config, peer: str, headers: Mapping[str, str]) -> bool:
    """Whether this request may see the numbers: by the token, else straight from this machine."""
    if config.metrics_token:
        expected = f"Bearer {config.metrics_token}".encode()
        given = headers.get("Authorization", "").encode("utf-8", "replace")
        return hmac.compare_digest(expected, given)
    is_asked_here = _LOOPBACK_HOST.fullmatch(headers.get("Host", ""))
    ip = None if any(map(_FORWARDED.fullmatch, headers)) else parsed_address(peer)
    return bool(is_asked_here and ip and ip.is_loopback)


async def show_metrics(request: web.Request) -> web.Response:
    """The numbers, for whoever may see them; for everybody else there is nothing here."""
    campfire, lines = request.app[CAMPFIRE], list[str]()
    if not may_read_metrics(campfire.config, request.remote or "", request.headers):
        raise NotFound
    await campfire.db.read(campfire.store.usage_in)
    for metric, about, read in _METRICS:
        name, *keys = f"campfire_{metric}".split()
        kind = _KINDS.get(name.rpartition("_")[2], "gauge")
        lines += f"# HELP {name} {about}", f"# TYPE {name} {kind}"
        reading = read(campfire)
        by_labels = reading if isinstance(reading, Mapping) else {(): reading}
        for labels, value in sorted(by_labels.items()):
            told = (labels,) if isinstance(labels, str) else labels
            lines += _samples(name, dict(zip(keys, told, strict=True)), value)
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8", **UNKEPT}
    return web.Response(body="".join(f"{line}\n" for line in lines).encode(), headers=headers)


# === 32. people_handlers ======================================================
# Signing in and out, setting up, joining, the people one can find, and the bots that only
# administrators see. What is shown is found by one look; what is done is told to the world.
#
# Raises    NotFound, AlreadySignedIn, FeatureDisabled, ValidationFailed
# ==============================================================================

USERS_SIZE: Final = 500
_AUTOCOMPLETE_SIZE: Final = 20
_WORDS: Final = {"true": True, "1": True, "false": False, "0": False}  # as a form sends them


def announce_removal(campfire: Campfire, stone: Tombstone, by: User | None) -> None:
    """A message disappears wherever it is shown."""
    frame = turbo("remove", f"message_{stone.client_message_id}")
    campfire.cable.broadcast(f"room_{stone.room_id}:messages", frame)
    campfire.bots.tell("message.deleted", stone.room_id, by, message_id=stone.message_id)


def announce_person(campfire: Campfire, user: User, *, is_new: bool = False) -> None:
    """Somebody joined, or has another name or standing, wherever people are shown."""
    place = ("append", "people") if is_new else ("replace", f"person_{user.id}")
    campfire.cable.broadcast("rooms", turbo(*place, person_element(campfire.shapes, user)))


def _session_from(ask: Ask) -> NewSession:
    """A session for this browser; it ends the one that the browser has."""
    token = RawToken(secrets.token_urlsafe(32))  # 256 random bits
    replaced = ask.guest.session.id if ask.guest else None
    return NewSession(token, ask.caller.ip, ask.caller.agent, replaced)


def _welcome(ask: Ask, user: User, session: NewSession, event: str, **how: str) -> Json:
    """The person, with the cookie that signs them in from now on; the log is told."""
    LOG.info(event, extra={"fields": {"user_id": user.id, "ip": session.ip_address, **how}})
    if session.replaces is not None:
        ask.campfire.cable.disconnect_session(session.replaces)
    ask.set_cookie("session_token", session.token, TWENTY_YEARS)
    ask.forget_cookie("return_to")
    return {"user": ask.campfire.shapes.user(user, user), "redirect_to": "/"}


def _newcomer_in(ask: Ask) -> Newcomer:
    name, email = ask.text("name").strip(), ask.text("email_address").strip()
    return Newcomer(name, email, ask.text("password"))


async def first_run(ask: Ask) -> Outcome:
    """Sets Campfire up."""
    newcomer, session = _newcomer_in(ask), _session_from(ask)
    user = await ask.campfire.auth.first_run(newcomer, session)
    return _welcome(ask, user, session, "joined")


async def join(ask: Ask) -> Outcome:
    """Lets somebody with the invitation link in."""
    if ask.guest is not None:
        raise AlreadySignedIn(redirect_to="/")
    newcomer, session = _newcomer_in(ask), _session_from(ask)
    user = await ask.campfire.auth.join(ask.parts["join_code"], newcomer, session)
    announce_person(ask.campfire, user, is_new=True)
    ask.campfire.bots.tell_everywhere("members.joined", user, user.id)
    return _welcome(ask, user, session, "joined")


def show_invitation(tx: ReadTx, ask: Ask) -> Outcome:
    """What an invitation link leads to."""
    account = account_behind(tx, ask.parts["join_code"])
    logo_url = f"/account/logo?v={version_of(account.updated_at)}"
    return {"account_name": account.name, "logo_url": logo_url}


def show_session(_: ReadTx, ask: Ask) -> Outcome:
    """Who is signed in, and since when."""
    shown = "id created_at last_active_at ip_address user_agent"
    user, session = ask.campfire.shapes.user(ask.user, ask.user), ask.viewer.session
    return {"user": user, "session": record_json(session, shown)}


@lru_cache(maxsize=64)  # once for each
def _warn_that_all_look_like_one(proxy: str) -> None:
    LOG.warning("all_look_like_one", extra={"fields": {"ip": proxy, "needs": "X-Forwarded-For"}})


async def sign_in(ask: Ask) -> Outcome:
    """Signs somebody in with address and password, and leads to where they wanted to go."""
    auth, session = ask.campfire.auth, _session_from(ask)
    ip = session.ip_address
    try:
        auth.count_try(ip)  # before anything is made of the body
        email, password = ask.text("email_address").strip(), ask.text("password")
        user = await auth.sign_in(email, password, session)
    except (InvalidCredentials, RateLimited) as error:
        is_limited = isinstance(error, RateLimited)
        event = "rate_limited" if is_limited else "sign_in_failed"
        LOG.warning(event, extra={"fields": {"ip": ip}})
        if is_limited and is_trusted(ip, ask.campfire.config):
            _warn_that_all_look_like_one(ip)
        raise
    welcome = _welcome(ask, user, session, "signed_in", by="password")
    if cookie := ask.caller.cookies.get("return_to"):
        to = ask.campfire.signer.cookie_value(cookie, time.time()).get("to")
        if isinstance(to, str) and re.fullmatch(r"/(?![/\\])[^\\\s]*", to):  # of this site
            welcome["redirect_to"] = to
    return welcome


async def redeem_transfer(ask: Ask) -> Outcome:
    """Signs in whom a sign-in link names."""
    session = _session_from(ask)
    user = await ask.db.write(redeem, ask.campfire.signer, ask.parts["transfer"], session)
    return _welcome(ask, user, session, "signed_in", by="link")


async def sign_out(ask: Ask) -> Outcome:
    """Ends this session, and closes its sockets."""
    endpoint, session = ask.given("push_subscription_endpoint"), ask.viewer.session
    await ask.db.write(end_session, session, endpoint)
    ask.campfire.cable.disconnect_session(session.id)
    ask.headers["Clear-Site-Data"] = '"cache"'
    ask.forget_cookie("session_token")
    ask.forget_cookie("_campfire_csrf")
    return {"redirect_to": "/"}


def _page_in(ask: Ask) -> int:
    """The page asked for, from 1; bad values are 1."""
    return min(max(number_in(ask.query, "page") or 1, 1), 1_000_000)


def _user_id(ask: Ask) -> UserId:
    """The person or bot that the path names."""
    return UserId(int(ask.parts["user_id" if "user_id" in ask.parts else "bot_id"]))


def _page_of(ask: Ask, users: Sequence[User], page: int) -> Json:
    """A page of people, of whom one more than a page was looked for."""
    shown = [ask.campfire.shapes.user(user, ask.user) for user in users[:USERS_SIZE]]
    more = page + 1 if len(users) > USERS_SIZE else None
    return {"users": shown, "page": page, "next_page": more}


def list_users(tx: ReadTx, ask: Ask) -> Outcome:
    """Everybody active, for the forms of rooms."""
    page = _page_in(ask)
    return _page_of(ask, matching_users(tx, "", UserId(0), None, page, USERS_SIZE), page)


def autocomplete(tx: ReadTx, ask: Ask) -> Outcome:
    """People whose name holds what was typed, perhaps of one room only."""
    typed, size, page = ask.query.get("query", ""), _AUTOCOMPLETE_SIZE, _page_in(ask)
    is_limited = bool(ask.query.get("room_id"))  # what is no id is the id of no room
    room_id = RoomId(number_in(ask.query, "room_id") or 0) if is_limited else None
    users = matching_users(tx, typed, ask.user.id, room_id, page, size)
    signer, shown = ask.campfire.signer, list[Json]()
    for user in users[:size]:
        since = datetime.fromtimestamp(user.created_at / 1_000_000, UTC)
        about = user.bio or f"{user.role.name.capitalize()} since {since:%-d %B %Y}"
        names = {"name": user.name, "name_html": escape(user.name), "value": user.id}
        picture = {"avatar_url": signer.avatar_url(user), "sgid": signer.sgid(user.id)}
        shown.append({**names, **picture, "about": about})  # which tells apart two of one name
    everyone = room_id is not None and may_call_everyone(tx, ask.user.id, room_id)
    more = {"page": page, "next_page": page + 1 if len(users) > size else None}
    return {"users": shown, "everyone": everyone, **more}


def account_shape(ask: Ask, account: Account | None) -> Json | None:
    """The account, if there is one; strangers see its name and its picture."""
    if account is None:
        return None
    logo_url = f"/account/logo?v={version_of(account.updated_at)}"
    about = {"logo_url": logo_url, "has_logo": account.logo_id is not None}
    if ask.guest is None:
        return {"name": account.name, **about}
    is_restricted = account.only_administrators_create_rooms
    about["join_url"] = f"{ask.caller.base_url}/join/{account.join_code}"
    about["can_create_rooms"] = ask.user.role is Role.ADMINISTRATOR or not is_restricted
    shape = record_json(account, "name join_code updated_at", **about)
    return {**shape, "settings": {RESTRICTION: is_restricted}}


def show_account(tx: ReadTx, ask: Ask) -> Json:
    """The account; administrators also learn how much is stored."""
    shape = account_shape(ask, account_of(tx))
    if shape and ask.user.role is Role.ADMINISTRATOR:
        usage, quota = ask.campfire.store.usage_in(tx), ask.campfire.config.files_quota_bytes
        shape["storage"] = record_json(usage, "bytes free_bytes", quota_bytes=quota)
    return {"account": shape}


async def save_account(ask: Ask) -> Outcome:
    """Renames the account, or changes who may create rooms."""
    name, settings = ask.given("name"), ask.body.get("settings")
    wanted: object = None if settings is None else "?"
    if isinstance(settings, dict):
        wanted = settings.get(RESTRICTION)
    if isinstance(wanted, str):
        wanted = _WORDS.get(wanted, "?")
    if wanted is not None and not isinstance(wanted, bool):
        raise ValidationFailed({"settings": ["is invalid"]})
    account = await ask.db.write(revise_account, name and name.strip(), only_administrators=wanted)
    return {"account": account_shape(ask, account)}


async def reset_join_code(ask: Ask) -> Outcome:
    """Makes a new invitation; the old one is dead at once."""
    account = await ask.db.write(renew_join_code)
    join_url = f"{ask.caller.base_url}/join/{account.join_code}"
    return {"join_code": account.join_code, "join_url": join_url}


def show_styles(tx: ReadTx, _: Ask) -> Mapping[str, object]:
    """The account's custom styles."""
    account = account_of(tx)
    return {"custom_styles": account.custom_styles if account else ""}


async def save_styles(ask: Ask) -> Outcome:
    """Changes the account's custom styles."""
    styles = ask.text("custom_styles")
    await ask.db.write(store_styles, styles)
    return {"custom_styles": styles}


def list_people(tx: ReadTx, ask: Ask, page: int | None = None) -> Json:
    """A page of the account's people, administrators first."""
    page, with_banned = page or _page_in(ask), ask.user.role is Role.ADMINISTRATOR
    return _page_of(ask, account_users(tx, page, USERS_SIZE, with_banned=with_banned), page)


async def save_role(ask: Ask) -> Outcome:
    """Makes somebody an administrator, or a member."""
    role = Role.ADMINISTRATOR if ask.body.get("role") == "administrator" else Role.MEMBER
    user = await ask.db.write(set_role, _user_id(ask), role)
    fields = {"user_id": user.id, "role": role.name.lower(), "by": ask.user.id}
    LOG.info("role_changed", extra={"fields": fields})
    return {"user": ask.campfire.shapes.user(user, ask.user)}


async def deactivate_person(ask: Ask) -> None:
    """Removes somebody from the account."""
    campfire, user_id = ask.campfire, _user_id(ask)
    left = await ask.db.write(retire_person, user_id)
    campfire.cable.disconnect_user(user_id, reconnect=False)
    for room_id in left:
        campfire.bots.tell("members.left", room_id, ask.user, user_ids=[user_id])
    campfire.cable.broadcast("rooms", turbo("remove", f"person_{user_id}"))
    LOG.warning("user_deactivated", extra={"fields": {"user_id": user_id, "by": ask.user.id}})


def _profile(tx: ReadTx, ask: Ask, user_id: UserId) -> tuple[User, str | None, str | None]:
    """Anybody; for administrators and themselves also a fresh sign-in link, and when it ends."""
    user, signer = user_by_id(tx, user_id), ask.campfire.signer
    is_able = user.status is Status.ACTIVE and user.role is not Role.BOT
    if not is_able or not can_administer(ask.user, user.id):
        return user, None, None
    session_id, credential = ask.viewer.session.id, password_digest_of(tx, user_id)
    transfer_id, until = signer.transfer_id(user, session_id, credential, ask.db.now())
    return user, f"{ask.caller.base_url}/session/transfers/{transfer_id}", iso(until)


def show_person(tx: ReadTx, ask: Ask) -> Mapping[str, object]:
    """Somebody's profile."""
    user, link, _ = _profile(tx, ask, _user_id(ask))
    can = {"can_ban": can_ban(ask.user, user), "can_message": user.status is Status.ACTIVE}
    return {"user": ask.campfire.shapes.user(user, ask.user), "transfer_url": link, **can}


def show_profile(tx: ReadTx, ask: Ask) -> Mapping[str, object]:
    """One's own profile: rooms, pings, and the link to sign in elsewhere."""
    shapes, (user, link, until) = ask.campfire.shapes, _profile(tx, ask, ask.user.id)
    rooms: dict[bool, list[Written]] = {True: [], False: []}  # pings, and the others
    views = views_of(tx, memberships_of(tx, user.id))
    for view in sorted(views, key=lambda view: folded(display_name(view))):
        level = involvement_json(view.room.type, view.membership.involvement)
        shape = joined({"room": shapes.room(view, user), **level})
        rooms[view.room.type is RoomType.DIRECT].append(shape)
    return {
        "user": shapes.user(user, user),
        "shared_memberships": written_list(rooms[False]),
        "direct_memberships": written_list(rooms[True]),
        "transfer_url": link,
        "transfer_expires_at": until,
        "transfer_qr_path": f"/qr_code/{to_base64((link or '').encode())}",
    }


async def ban_person(ask: Ask) -> Outcome:
    """Bans somebody: signed out at once, their messages gone soon."""
    campfire, user_id = ask.campfire, _user_id(ask)
    user = await ask.db.write(banish, ask.user, user_id)
    campfire.cable.disconnect_user(user_id, reconnect=False)
    announce_person(campfire, user)
    campfire.bots.tell_everywhere("members.left", ask.user, user_id)
    LOG.warning("user_banned", extra={"fields": {"user_id": user_id, "by": ask.user.id}})
    remove_banned_content_later(campfire, user_id)
    return {"user": campfire.shapes.user(user, ask.user)}


def remove_banned_content_later(campfire: Campfire, user_id: UserId) -> None:
    """Deletes a banned person's messages, oldest first, each with its broadcast."""

    async def remove() -> None:
        while stone := await campfire.db.write(bury_oldest_of_banned, user_id):
            announce_removal(campfire, stone, None)

    campfire.jobs.spawn("remove_banned_content", remove())


async def unban_person(ask: Ask) -> Outcome:
    """Lets somebody back in; their messages do not come back."""
    user = await ask.db.write(readmit, _user_id(ask))
    announce_person(ask.campfire, user)
    ask.campfire.bots.tell_everywhere("members.joined", ask.user, user.id)
    return {"user": ask.campfire.shapes.user(user, ask.user)}


async def save_profile(ask: Ask) -> Outcome:
    """Changes one's own name, address, password, bio; a new password ends other sessions."""
    campfire, viewer = ask.campfire, ask.viewer
    name, email, password, bio = map(ask.given, ("name", "email_address", "password", "bio"))
    change = Change(name and name.strip(), email and email.strip(), bio=bio and bio.strip())
    user, token = await change_profile(campfire.db, campfire.auth, viewer, change, password)
    if token is not None:
        campfire.cable.disconnect_others(viewer.user.id, viewer.session.id)
        ask.set_cookie("session_token", token, TWENTY_YEARS)
    if (user.name, user.bio) != (viewer.user.name, viewer.user.bio):
        announce_person(campfire, user)
    return {"user": campfire.shapes.user(user, user)}


def _device_shape(device: PushSubscription) -> Json:
    how = {"status": device.last_status, "problem": device.last_problem}
    result = device.last_tried_at and {"at": iso(device.last_tried_at), **how}
    return record_json(device, "id endpoint user_agent created_at updated_at", last_result=result)


def list_devices(tx: ReadTx, ask: Ask) -> Mapping[str, object]:
    """The viewer's browsers that want to be told."""
    devices = subscriptions_of(tx, ask.user.id)
    return {"push_subscriptions": [_device_shape(device) for device in devices]}


async def save_device(ask: Ask) -> Outcome:
    """Registers a browser, or refreshes it."""
    endpoint, keys = ask.text("endpoint"), (ask.text("p256dh_key"), ask.text("auth_key"))
    device = await ask.campfire.push.keep(ask.user.id, endpoint, keys, ask.caller.agent)
    return {"push_subscription": _device_shape(device)}


async def delete_device(ask: Ask) -> None:
    """Forgets one of the viewer's browsers; another's stays."""
    await ask.db.write(forget_subscriptions, ask.user.id, int(ask.parts["subscription_id"]))


async def test_device(ask: Ask) -> Outcome:
    """Sends a test to one of the viewer's browsers."""
    path = f"{ask.caller.base_url}/users/me/push_subscriptions"
    await ask.campfire.push.test(ask.user.id, int(ask.parts["subscription_id"]), path)
    return {"delivered": True}


def _bot_shape(ask: Ask, bot: Bot) -> Json:
    rooms = [(room, f"{ask.caller.base_url}/rooms/{room.id}/{bot.key}") for room in bot.rooms]
    posted_to = [record_json(room, "id name", messages_url=f"{to}/messages") for room, to in rooms]
    hook = {"webhook_url": bot.webhook_url, "events": bot.hears, "webhook_secret": bot.secret}
    more = {"bot_key": bot.key, **hook, "rooms": posted_to}
    return {**ask.campfire.shapes.user(bot.user, ask.user), **more}


def list_bots(tx: ReadTx, ask: Ask) -> Mapping[str, object]:
    """All active bots."""
    return {"bots": [_bot_shape(ask, bot) for bot in active_bots(tx)]}


def show_bot(tx: ReadTx, ask: Ask) -> Mapping[str, object]:
    """One bot."""
    return {"bot": _bot_shape(ask, bot_by_id(tx, _user_id(ask)))}


def _events_in(ask: Ask) -> int | None:
    """What a bot shall hear of, as bits; None when that is not said. Raises ValidationFailed."""
    names = ask.body.get("events")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(it, str) and it in HEARD for it in names):
        raise ValidationFailed({"events": [f"can be {', '.join(HEARD)}"]})
    return sum(HEARD[name] for name in set(names))


async def create_bot(ask: Ask) -> Outcome:
    """A new bot."""
    name, url = ask.text("name").strip(), ask.text("webhook_url").strip()
    bot = await ask.db.write(make_bot, name, url, _events_in(ask))
    ask.campfire.bots.heard |= bot.events
    announce_person(ask.campfire, bot.user, is_new=True)
    ask.campfire.bots.tell_everywhere("members.joined", ask.user, bot.user.id)
    return {"bot": _bot_shape(ask, bot)}


async def save_bot(ask: Ask) -> Outcome:
    """Changes a bot's name, its webhook, and what it hears of; an address not given ends the
    webhook, as in Rails."""
    name, url = ask.given("name"), ask.text("webhook_url").strip()
    change = (name and name.strip(), url, _events_in(ask))
    bot = await ask.db.write(revise_bot, _user_id(ask), *change)
    ask.campfire.bots.heard |= bot.events
    announce_person(ask.campfire, bot.user)
    return {"bot": _bot_shape(ask, bot)}


async def delete_bot(ask: Ask) -> None:
    """Deactivates a bot."""
    bot_id = _user_id(ask)
    for room_id in await ask.db.write(retire_bot, bot_id):
        ask.campfire.bots.tell("members.left", room_id, ask.user, user_ids=[bot_id])
    ask.campfire.cable.broadcast("rooms", turbo("remove", f"person_{bot_id}"))


async def reset_bot_key(ask: Ask) -> Outcome:
    """Gives a bot a new key."""
    return {"bot": _bot_shape(ask, await ask.db.write(renew_bot_key, _user_id(ask)))}


# === 33. room_handlers ========================================================
# Rooms, messages, boosts, searches and the socket. A handler changes something through
# a service, and then tells the world, at once and in one place: `announce` is all that
# follows a new message. And the addresses bots talk to, as the Rails Campfire has them:
# the key is in the path, the body is the message, refusals have no body.
#
# Raises    BadRequest, OriginRefused, WrongBotKey, BannedAddress
# ==============================================================================


def announce(campfire: Campfire, posted: Posted, *, calls_bots: bool = True) -> None:
    """Everything that follows a new message, in its order."""
    message, cable = posted.message, campfire.cable
    room_id = message.room_id
    element = message_element(campfire.shapes, message, posted.room_name)
    frame = turbo("append", f"messages_room_{room_id}", element)
    cable.broadcast(f"room_{room_id}:messages", frame, appends=message.id)
    seen = {*posted.present, message.creator.id}.intersection(posted.members)
    mentioned = posted.members if message.to_everyone else message.body.mentions
    named = {*mentioned} - seen
    others = {*posted.members}.difference(seen, named)
    for people, more in ((others, {}), (seen, {"seen": True}), (named, {"mention": True})):
        cable.broadcast_to([*people], "user_{}_unreads", {"roomId": room_id, **more})
    cable.stopped_typing(room_id, message.creator.id, message.creator.name)
    campfire.broadcast_seconds.observe(time.perf_counter() - campfire.db.committed_at)
    campfire.push.tell_later(posted)
    is_meant = posted.room.type is RoomType.DIRECT or message.body.mentions
    if calls_bots and (is_meant or campfire.bots.heard & HEARD["messages"]):
        campfire.jobs.spawn("call_bots", _call_bots(campfire, message))


async def _call_bots(campfire: Campfire, message: PersistedMessage) -> None:
    """Calls the bots that a message is meant for, or that hear of every one, each on its own."""
    at, author = message.created_at, message.creator
    event = Happening("message.created", message.room_id, author, at, message=message)
    for call in await campfire.db.read(calls_for, event):
        work = _ask_bot(campfire, call) if call.is_asked else campfire.bots.run(call)
        campfire.jobs.spawn("call_bot", work)


async def _ask_bot(campfire: Campfire, call: Call) -> None:
    """Calls one bot, and says what it answered; an answer calls no bots."""
    async with AsyncExitStack() as opened:
        reply = await campfire.bots.call(call, opened)
        source = reply.source() if reply else None
        if reply is None or source is None:
            return
        room_id, bot_id, file = call.event.room_id, call.bot.user.id, reply.file
        draft = DraftMessage(room_id, bot_id, None, source, may_vanish=True, file=file)
        try:
            answered = await campfire.messages.create_message_with_deduplication(draft)
        except (RoomNotFound, MessageError) as error:  # room or bot is gone, or it said too much
            reply.note_dropped(error.code)
        else:
            announce(campfire, answered, calls_bots=False)


def _made_room(ask: Ask, change: RoomChange, *, is_new: bool = True) -> Json:
    """A room appears: an open one to everybody, the others to their members."""
    cable, shapes, room = ask.campfire.cable, ask.campfire.shapes, change.room
    if room.type is RoomType.DIRECT and change.view is not None:
        people = {user.id: user for user in change.view.people}
        for user_id in change.granted:
            element = direct_room_element(shapes, room, change.view.people, people[user_id])
            cable.broadcast(f"user_{user_id}:rooms", turbo("prepend", "direct_rooms", element))
    else:
        prepended = turbo("prepend", "shared_rooms", shared_room_element(shapes, room))
        if room.type is RoomType.OPEN:
            cable.broadcast("rooms", prepended)
        else:
            cable.broadcast_to(change.granted, "user_{}:rooms", prepended)
    if is_new:
        ask.headers["Location"] = f"/rooms/{room.id}"
        ask.campfire.bots.tell("members.joined", room.id, ask.user, user_ids=change.granted)
    return {"room": shapes.room(change.view, ask.user) if change.view else None}


def _name_in(ask: Ask) -> str:
    """A name; what is none counts as blank, for a service that first asks who may."""
    return ask.text("name") if isinstance(ask.body.get("name"), str) else ""


def _user_ids_in(ask: Ask, default: list[UserId] | None = None) -> list[UserId] | None:
    """`user_ids`, or `default` when there are none; None when it is not a list of ids."""
    given = ask.body.get("user_ids", default)
    listed = given if isinstance(given, list) else ["?"]
    is_good = all(type(it) in (int, str) and NUMBER.fullmatch(str(it)) for it in listed)
    return [UserId(int(user_id)) for user_id in listed] if is_good else None


def list_rooms(tx: ReadTx, ask: Ask) -> Outcome:
    """Every room the viewer belongs to."""
    views = views_of(tx, memberships_of(tx, ask.user.id))
    return {"rooms": written_list(ask.campfire.shapes.room(view, ask.user) for view in views)}


def room_data(tx: ReadTx, ask: Ask, view: RoomView, message_id: MessageId | None) -> Json:
    """A room with a page of its messages."""
    shapes, place, ask.request[LASTS] = ask.campfire.shapes, (None, None, message_id), ask.guest
    page, _ = shapes.page(tx, view.room, place, ask.user, ask.caller.base_url)
    unread = first_unread_of(tx, view.membership) if view.membership.unread_at else None
    room, at = shapes.room(view, ask.user), Moment(b"%d" % (ask.at // 1000))
    return {"room": room, "first_unread": unread, "messages": page, "loaded_at_ms": at}


def room_to_return_to(tx: ReadTx, ask: Ask) -> RoomId | None:
    """The room this browser was in, as it says, or another one of the viewer's."""
    remembered = number_in(ask.caller.cookies, "last_room")
    return last_room_of(tx, ask.user.id, RoomId(remembered) if remembered else None)


def show_room(tx: ReadTx, ask: Ask) -> Outcome:
    """A room with its last page, or the page around a message."""
    view, number = view_of(tx, ask.user.id, ask.room_id), number_in(ask.query, "message_id")
    shown = room_data(tx, ask, view, MessageId(number) if number is not None else None)
    ask.set_cookie("last_room", str(view.room.id), TWENTY_YEARS)
    return shown


async def delete_room(ask: Ask) -> None:
    """Deletes a room with everything in it."""
    change = await ask.db.write(remove_room, ask.user, ask.room_id)
    room, gone = change.room, {"room_name": change.room.name, "user_ids": change.revoked}
    ask.campfire.cable.broadcast("rooms", turbo("remove", f"list_room_{room.id}"))
    ask.campfire.bots.tell("members.left", room.id, ask.user, **gone)


async def create_room(ask: Ask, kind: RoomType) -> Outcome:
    """A new room, an open one for everybody or a closed one for some."""
    invited = () if kind is RoomType.OPEN else _user_ids_in(ask, [])
    name, topic = _name_in(ask), ask.given("topic")
    return _made_room(ask, await ask.campfire.rooms.create(ask.user, kind, name, invited, topic))


async def save_room(ask: Ask, kind: RoomType) -> Outcome:
    """Renames a room, opens or closes it, and revises who is in a closed one. It is replaced where
    it is listed, new to some, gone for others."""
    is_open, cable, shapes = kind is RoomType.OPEN, ask.campfire.cable, ask.campfire.shapes
    name, topic = _name_in(ask), ask.given("topic")
    invited = () if is_open else _user_ids_in(ask)
    change = await ask.campfire.rooms.save(ask.user, ask.room_id, kind, name, invited, topic)
    target, element = f"list_room_{change.room.id}", shared_room_element(shapes, change.room)
    replaced = turbo("replace", target, element)
    cable.broadcast_to(change.granted, "user_{}:rooms", turbo("prepend", "shared_rooms", element))
    if is_open:
        cable.broadcast("rooms", replaced)
    else:
        cable.broadcast_to(change.kept, "user_{}:rooms", replaced)
    cable.broadcast_to(change.revoked, "user_{}:rooms", turbo("remove", target))
    for user_id in change.revoked:
        cable.disconnect_user(user_id, reconnect=True)
    for event, user_ids in (("joined", change.granted), ("left", change.revoked)):
        ask.campfire.bots.tell(f"members.{event}", ask.room_id, ask.user, user_ids=user_ids)
    shown = {"room": shapes.room(change.view, ask.user) if change.view else None}
    return shown if is_open else {**shown, "still_member": change.view is not None}


async def open_ping(ask: Ask) -> Outcome:
    """The one ping of these people, new or found."""
    change, is_new = await ask.campfire.rooms.find_or_create_direct(ask.user, _user_ids_in(ask, []))
    shown = _made_room(ask, change, is_new=is_new)
    return shown if is_new else answer(shown)


def show_members(tx: ReadTx, ask: Ask) -> Json:
    """Who is in a room and who could be."""
    shapes, viewer = ask.campfire.shapes, ask.user
    members = members_of(tx, viewer.id, ask.room_id)
    return {
        "room": shapes.room(members.view, viewer),
        "selected": [shapes.user(user, viewer) for user in members.selected],
        "unselected": [shapes.user(user, viewer) for user in members.unselected],
    }


def show_involvement(tx: ReadTx, ask: Ask) -> Outcome:
    """The viewer's notification level in a room."""
    membership = membership_of(tx, ask.user.id, ask.room_id)
    return involvement_json(membership.room.type, membership.involvement)


async def save_involvement(ask: Ask) -> Outcome:
    """Changes the viewer's notification level in a room."""
    wanted = str(ask.body.get("involvement"))
    view, before = await ask.campfire.rooms.set_involvement(ask.user, ask.room_id, wanted)
    room, now = view.room, view.membership.involvement
    is_hidden = now is Involvement.INVISIBLE
    if room.type is not RoomType.DIRECT and is_hidden != (before is Involvement.INVISIBLE):
        # A shared room that becomes invisible leaves one's own sidebar, and comes back.
        frame = turbo("remove", f"list_room_{room.id}")
        if not is_hidden:
            frame = turbo("prepend", "shared_rooms", shared_room_element(ask.campfire.shapes, room))
        ask.campfire.cable.broadcast(f"user_{ask.user.id}:rooms", frame)
    return involvement_json(room.type, now)


async def mark_room_unread(ask: Ask) -> None:
    """Keeps a message, and what follows it, for another time; the viewer's tabs are told."""
    given = str(ask.body.get("message_id"))
    message_id = MessageId(int(given) if NUMBER.fullmatch(given) else 0)  # of no message
    await ask.db.write(mark_unread, ask.user.id, ask.room_id, message_id)
    ask.campfire.cable.broadcast(f"user_{ask.user.id}_unreads", {"roomId": ask.room_id})


async def mark_room_read(ask: Ask) -> None:
    """The viewer wants nothing more of what they have not read in a room; their tabs are told."""
    await ask.db.write(mark_unread, ask.user.id, ask.room_id, None)
    ask.campfire.cable.broadcast(f"user_{ask.user.id}_reads", {"room_id": ask.room_id})


async def star_room(ask: Ask, *, on: bool) -> None:
    """Stars a room for the viewer alone, or no longer; all their windows hear of it."""
    view = await ask.db.write(star, ask.user.id, ask.room_id, on=on)
    room, cable = view.room, ask.campfire.cable
    if view.membership.involvement is not Involvement.INVISIBLE:
        told = ask.campfire.shapes.room(view, ask.user)
        element = f'<i id="star_{room.id}"{attribute("data-json", told)}></i>'
        cable.broadcast(f"user_{ask.user.id}:rooms", turbo("replace", f"star_{room.id}", element))


def show_sidebar(tx: ReadTx, ask: Ask) -> Written:
    """What stands beside every room."""
    ask.request[LASTS] = ask.guest
    return ask.campfire.shapes.sidebar(sidebar_of(tx, ask.user), ask.user)


def refresh_room(tx: ReadTx, ask: Ask) -> Outcome:
    """What changed in a room since a moment, over HTTP; what is too much is a reset."""
    user, room_id, shapes = ask.user, ask.room_id, ask.campfire.shapes
    since, last_seen = number_in(ask.query, "since"), number_in(ask.query, "last_seen_message_id")
    if since is None or since >= 10**15:
        membership_of(tx, user.id, room_id)
        raise BadRequest
    if last_seen is None:
        news = news_of(tx, user.id, room_id, since, ask.at)
    else:
        news = catch_up_of(tx, user.id, room_id, MessageId(last_seen), since, ask.at)
    shown, excerpt, is_too_much = list[Shown](), [*news.missed, *news.changed], news.is_too_much
    while len(shown) < len(excerpt) and not is_too_much:
        shown += shapes.shown(tx, excerpt[len(shown) : len(shown) + PAGE_SIZE])
        is_too_much = sum(message.size for message in shown) > MOST_SHOWN
    kept, stones = ([], ()) if is_too_much else (shown, news.removed)
    seen = [message.seen_by(user, ask.caller.base_url) for message in kept]
    removed = [{"id": it.message_id, "client_message_id": it.client_message_id} for it in stones]
    return {
        "messages": written_list(seen[: len(news.missed)]),
        "updated": written_list(seen[len(news.missed) :]),
        "removed": removed,
        "reset": is_too_much,
        "server_time_ms": news.at // 1000,
    }


def message_id_in(query: Mapping[str, str], name: str) -> MessageId | None:
    """A message's id in the query; what is no id is the id of no message."""
    return MessageId(number_in(query, name) or 0) if name in query else None


def list_messages(tx: ReadTx, ask: Ask) -> Outcome:
    """A page of a room's messages; 204 when there is nothing to show."""
    room = membership_of(tx, ask.user.id, ask.room_id).room
    place = tuple(message_id_in(ask.query, side) for side in ("before", "after", "around"))
    shown, etag = ask.campfire.shapes.page(tx, room, place, ask.user, ask.caller.base_url)
    ask.request[LASTS] = ask.guest
    if not etag:
        return None
    ask.headers["ETag"] = etag
    return web.Response(status=304, headers=UNKEPT) if is_seen(ask, etag) else shown


async def create_message(ask: Ask) -> Outcome:
    """Posts a message; posting it again answers with the stored one (Gap #1)."""
    if not isinstance(ask.body.get("body", ""), str):
        await ask.db.read(membership_of, ask.user.id, ask.room_id)  # strangers learn nothing else
    key = ask.body.get("client_message_id")
    if key is not None and not isinstance(key, str):
        key = str(key) if type(key) is int else "?"  # refused with all that cannot be an id
    draft = DraftMessage(ask.room_id, ask.user.id, key, ask.text("body"))
    posted = await ask.campfire.messages.create_message_with_deduplication(draft)
    if posted.fresh:
        announce(ask.campfire, posted)
    told = ask.campfire.shapes.told(posted.message)
    shape = {"message": told.seen_by(ask.user, ask.caller.base_url)}
    return shape if posted.fresh else answer(shape)


def show_message(tx: ReadTx, ask: Ask) -> Outcome:
    """One message; for its editors also as the editor takes it."""
    message = message_for(tx, ask.user.id, ask.room_id, ask.message_id)
    shapes, signer = ask.campfire.shapes, ask.campfire.signer
    shown = {"message": shapes.told(message).seen_by(ask.user, ask.caller.base_url)}
    if ask.query.get("edit") == "1" and can_administer(ask.user, message.creator.id):
        named = {user.id: signer.mentionable(user) for user in message.named}
        return {**shown, "edit_html": editable(message.body, named)}
    return shown


async def _edited(ask: Ask, source: str, *, may_vanish: bool = False) -> PersistedMessage:
    """A message with another text, which is replaced wherever it is shown."""
    draft = DraftMessage(ask.room_id, ask.user.id, None, source, may_vanish)
    message = await ask.campfire.messages.update(ask.user, ask.message_id, draft)
    target = f"presentation_message_{message.client_message_id}"
    element = presentation_element(ask.campfire.shapes, message)
    frame = turbo("replace", target, element, 'maintain_scroll="true" ')
    ask.campfire.cable.broadcast(f"room_{message.room_id}:messages", frame)
    ask.campfire.bots.tell("message.edited", message.room_id, ask.user, message=message)
    return message


async def update_message(ask: Ask) -> Outcome:
    """Changes what a message says."""
    message = await _edited(ask, ask.text("body"))
    return {"message": ask.campfire.shapes.told(message).seen_by(ask.user, ask.caller.base_url)}


async def unfurl_link(ask: Ask) -> Outcome:
    """What a page says of itself, for whoever pasted its address; nothing, if it cannot be told."""
    if not ask.campfire.config.opengraph_enabled:
        raise FeatureDisabled(feature="opengraph", message="Link previews are switched off here")
    address = ask.body.get("url")
    if not isinstance(address, str) or not 0 < len(address) <= MOST_ADDRESS:
        raise BadRequest
    own = own_places(ask.caller.scheme, (ask.caller.host, ask.campfire.config.domain))
    preview = await ask.campfire.previews.of(ask.user.id, address, own)
    return asdict(preview) if preview else None


async def delete_message(ask: Ask) -> None:
    """Deletes a message."""
    stone = await ask.campfire.messages.delete(ask.user, ask.room_id, ask.message_id)
    announce_removal(ask.campfire, stone, ask.user)


def list_boosts(tx: ReadTx, ask: Ask) -> Outcome:
    """A message's boosts, oldest first."""
    message_of_member(tx, ask.user.id, ask.message_id)
    boosts = boosts_of(tx, as_list([ask.message_id])).get(ask.message_id, ())
    return {"boosts": [ask.campfire.shapes.boost(boost) for boost in boosts]}


async def _boosted(ask: Ask, content: str, room_id: RoomId | None = None) -> Boost:
    """A new boost, which appears under its message."""
    boosted = await ask.campfire.messages.boost(ask.user, ask.message_id, content, room_id)
    target = f"boosts_message_{boosted.client_message_id}"
    element = boost_element(ask.campfire.shapes, boosted.boost)
    frame = turbo("append", target, element, 'maintain_scroll="true" ')
    ask.campfire.cable.broadcast(f"room_{boosted.room_id}:messages", frame)
    ask.campfire.bots.tell("boost.created", boosted.room_id, ask.user, boost=boosted.boost)
    return boosted.boost


async def create_boost(ask: Ask) -> Outcome:
    """Boosts a message."""
    return {"boost": ask.campfire.shapes.boost(await _boosted(ask, ask.text("content")))}


async def delete_boost(ask: Ask) -> None:
    """Takes one's own boost back; a bot says in which room."""
    messages, boost_id = ask.campfire.messages, BoostId(int(ask.parts["boost_id"]))
    room_id = ask.room_id if "room_id" in ask.parts else None
    boosted = await messages.unboost(ask.user, ask.message_id, boost_id, room_id=room_id)
    frame = turbo("remove", f"boost_{boosted.boost.id}")
    ask.campfire.cable.broadcast(f"room_{boosted.room_id}:messages", frame)
    ask.campfire.bots.tell("boost.deleted", boosted.room_id, ask.user, boost=boosted.boost)


def search_data(tx: ReadTx, ask: Ask) -> Json:
    """What a search finds in the viewer's rooms, and where to go back to."""
    user, query, ask.request[LASTS] = ask.user, cleaned_query(ask.query.get("q", "")), ask.guest
    hits = hits_for(tx, user.id, query, wanted_in(ask.query))
    return {
        **ask.campfire.shapes.hits(tx, hits, query, user, ask.caller.base_url),
        "recent_searches": recent_searches(tx, user.id),
        "return_to_room_id": room_to_return_to(tx, ask),
    }


async def record_search(ask: Ask) -> Outcome:
    """Remembers a search among the last ten."""
    query = cleaned_query(ask.text("q"))
    if not sought(query).match:
        raise ValidationFailed({"q": ["can't be blank"]})
    await ask.db.write(remember_search, ask.user.id, query)
    return {"query": query, "redirect_to": f"/searches?q={quote(query, safe='')}"}


async def clear_searches(ask: Ask) -> None:
    """Forgets the viewer's searches."""
    await ask.db.write(forget_searches, ask.user.id)


def _author_json(ask: Ask, user: User) -> Json:
    avatar_url = ask.caller.base_url + ask.campfire.signer.avatar_url(user)
    return record_json(user, "id name role", avatar_url=avatar_url)


def _said_json(ask: Ask, message: PersistedMessage) -> Json:
    named = {user.id: ask.campfire.signer.mentionable(user) for user in message.named}
    content = filled_body(message.body, named)
    html = "" if message.file else f'<div class="trix-content">\n  {content}\n</div>\n'
    creator, room = _author_json(ask, message.creator), {"id": message.room_id}
    body = {"plain_text": message.body.text, "html": html}
    url = f"{ask.caller.base_url}/rooms/{message.room_id}/messages/{message.id}"
    shown = record_json(message, "id created_at", body=body, creator=creator, room=room, url=url)
    if message.file:
        own = f"/rooms/{message.room_id}/{ask.parts['bot_key']}/messages/{message.id}"
        shown["attachment"] = file_for_bots(message.file, f"{ask.caller.base_url}{own}", "url")
    return shown


def _content(ask: Ask) -> str:
    """The raw body as text; of a form nothing. Raises PayloadTooLarge, BadRequest."""
    is_form = ask.request.content_type == "multipart/form-data"
    return "" if is_form else decoded(ask.data, ask.request.charset)


def _link_to_next(ask: Ask, query: Mapping[str, object]) -> None:
    address = f"{ask.caller.base_url}{ask.request.path}?{urlencode(query)}"
    ask.headers["Link"] = f'<{address}>; rel="next"'


async def list_bot_messages(ask: Ask) -> Outcome:
    """A page of a room, with the number of all its messages and a link to the next page."""
    before, after = message_id_in(ask.query, "before"), message_id_in(ask.query, "after")
    said, page, total = await ask.db.read(page_and_count, ask.user.id, ask.room_id, before, after)
    ask.headers["X-Total-Count"] = str(total)
    forward = after is not None and before is None
    if said and (page.has_after if forward else page.has_before):
        side, edge = ("after", said[-1]) if forward else ("before", said[0])
        _link_to_next(ask, {side: edge.id})
    return written([_said_json(ask, message) for message in said])


async def search_as_bot(ask: Ask) -> Outcome:
    """The newest hundred hits in this room, oldest first, and a link to older ones."""
    query = cleaned_query(ask.query.get("q", ""))
    wanted = replace(wanted_in(ask.query), room_id=ask.room_id)

    def seek(tx: ReadTx) -> tuple[tuple[PersistedMessage, ...], bool]:
        membership_of(tx, ask.user.id, ask.room_id)
        matches = matches_for(tx, ask.user.id, query, wanted)
        newest = [message["id"] for message in matches[:SEARCH_LIMIT]]
        return messages_by_id(tx, newest), len(matches) > SEARCH_LIMIT

    said, has_before = await ask.campfire.search.in_turn(ask.user.id, seek)
    if has_before:
        _link_to_next(ask, {**ask.query, "before": said[0].id})
    return written([_said_json(ask, message) for message in said])


async def list_bot_members(ask: Ask) -> Outcome:
    """Who is in a room, each with what a mention of them is made of."""
    members = await ask.db.read(members_of, ask.user.id, ask.room_id)
    sgid = ask.campfire.signer.sgid
    return written([{**_author_json(ask, it), "sgid": sgid(it.id)} for it in members.selected])


async def create_bot_message(ask: Ask) -> Outcome:
    """Posts what the bot sent, as a message of its own."""
    content = source_of_bot(_content(ask))
    draft = DraftMessage(ask.room_id, ask.user.id, None, content, may_vanish=bool(content.strip()))
    posted = await ask.campfire.messages.create_message_with_deduplication(draft)
    announce(ask.campfire, posted)
    location = f"{ask.caller.base_url}/messages/{posted.message.id}"
    return web.Response(status=201, headers={"Location": location})


async def update_bot_message(ask: Ask) -> Outcome:
    """Changes one of the bot's own messages; it may become empty."""
    source = source_of_bot(_content(ask))
    return _said_json(ask, await _edited(ask, source, may_vanish=True))


async def create_bot_boost(ask: Ask) -> Outcome:
    """Boosts a message of this room."""
    boost = await _boosted(ask, _content(ask), ask.room_id)
    url = f"{ask.caller.base_url}/rooms/{ask.room_id}/messages/{boost.message_id}"
    message, booster = {"id": boost.message_id, "url": url}, _author_json(ask, boost.booster)
    return record_json(boost, "id content created_at", booster=booster, message=message)


async def open_cable(request: web.Request) -> web.StreamResponse:
    """The socket of one tab, which is no matter of requests from then on."""
    campfire, protocols = request.app[CAMPFIRE], ("actioncable-v1-json", "actioncable-unsupported")
    upgrade = Upgrade(protocols=protocols, compress=False)  # 92 KB a socket, and Rails has none
    if request.method != "GET" or not upgrade.can_prepare(request).ok:
        raise OriginRefused
    if not is_allowed_origin(request.headers.get("Origin", ""), request):
        log_foreign("ws_origin_rejected", request)
        raise OriginRefused
    caller, query = caller_of(request), request.rel_url.raw_query_string
    asked = {"method": "GET", "path": "/cable" + (f"?{shown_query(query)}" if query else "")}
    about = {"request_id": request[REQUEST_ID], **asked, "status": 101}
    about |= {"ip": caller.ip, "user_id": None}
    await campfire.sockets.serve(request, upgrade, caller.cookies.get("session_token", ""), about)
    return upgrade


# === 34. upload_handlers ======================================================
# Files on their way in and out. A file comes as a part of a form, piece by piece, and goes
# to the store as it comes: what is too much, too slow or not whole leaves nothing. Then it
# is looked at, a photograph is rid of what cameras write into it, what the room shows is
# made, and all of it is stored together with its message. On its way out a file is asked
# for by a member of the room, each time anew, and the kernel sends it.
#
# Raises    BadRequest, FeatureDisabled, FileBlank, OneFileOnly, UploadTooSlow, FileTooLarge,
#           AttachmentNotFound, PicturesBusy, PicturesUnavailable, PictureUnreadable
# ======================================================================================

_PIECE: Final = 256 << 10  # bytes that are read at once; of half as many it is worth to write
_LEAST_PACE: Final = 64 << 10  # bytes that must come in the time that an upload may be idle
_AROUND: Final = 64 << 10  # bytes of a form, beside its file
_PART_BYTES: Final = 64 << 10
_ID_BYTES: Final = 1_024
_SKETCH_BYTES: Final = 4 << 20
_MOST_PARTS: Final = 32
_PICTURE_SECONDS: Final = 20
_MOST_WAITING: Final = 32
_PICTURE_BYTES: Final = 10 << 20  # of somebody, or of the account
_PLAIN_ENCODINGS: Final = ("binary", "7bit", "8bit")
_UNREADABLE: Final = (ValueError, ConnectionError, HttpProcessingError, web.RequestPayloadError)
_PART_NAME: Final = re.compile(r';\s*name="?(?:message\[(\w+)\]|([^";]*))')  # Rails has brackets
_TAKEN: Final = web.RequestKey("taken", bool)
# Of strange heads of parts aiohttp would complain on standard error; we read them ourselves.
warnings.filterwarnings("ignore", module="aiohttp.multipart")
_SUBJECTS: Final = {"files": "File sharing is", "avatars": "Avatar uploads are"}


def _require(campfire: Campfire, feature: Literal["files", "avatars"]) -> None:
    """Raises FeatureDisabled where nothing new of this kind is taken."""
    if feature not in campfire.store.takes:
        raise FeatureDisabled(feature=feature, message=f"{_SUBJECTS[feature]} switched off here")


@asynccontextmanager
async def _in_time(ask: Ask) -> AsyncIterator[Callable[[bytes], None]]:
    """While a body comes: it is shown every piece, and enough must come in time. A body is read
    once; if what let somebody in changes, they send it again. Raises UploadTooSlow, BadRequest."""
    if _TAKEN in ask.request:
        raise UploadTooSlow
    ask.request[_TAKEN] = True
    loop, idle, came = asyncio.get_running_loop(), ask.campfire.config.upload_idle_timeout, 0

    def see(piece: bytes) -> None:
        nonlocal came
        came += len(piece)
        if came >= _LEAST_PACE:
            came = 0
            limit.reschedule(loop.time() + idle)

    try:
        async with asyncio.timeout(idle) as limit:
            yield see
    except TimeoutError as error:
        raise UploadTooSlow from error
    except _UNREADABLE as error:
        raise BadRequest from error


class _Form:
    """A form as it comes in: its file goes to the store, of the rest little is kept."""

    def __init__(self, ask: Ask, spool: Spool, opened: AsyncExitStack) -> None:
        self._ask, self._store, self.spool, self._opened = ask, ask.campfire.store, spool, opened
        self.sketch: Spool | None = None  # the picture that a browser made of its file
        self.fields: dict[str, str] = {}
        self.filename: str | None = None  # as it was given
        self.known: PersistedMessage | None = None  # what was sent under this id before

    async def take(self) -> None:
        """Raises BadRequest, OneFileOnly, FileBlank, FileTooLarge, UploadTooSlow, StorageFull."""
        parts = 0
        async with _in_time(self._ask) as self._see:
            async for part in await self._ask.request.multipart():
                parts += 1
                if not isinstance(part, BodyPartReader) or parts > _MOST_PARTS:
                    raise BadRequest
                await self._take_part(part)
        if self.known is None and (self.filename is None or not self.spool.size):
            raise BodyBlank if self.filename is None and self._ask.bot else FileBlank

    async def _take_part(self, part: BodyPartReader) -> None:
        disposition, ask = part.headers.get("Content-Disposition", ""), self._ask
        named, filename = _PART_NAME.search(disposition), given_name(disposition)
        name = (named[1] or named[2]) if named else ""
        if part.headers.get("Content-Transfer-Encoding", "8bit").lower() not in _PLAIN_ENCODINGS:
            raise BadRequest
        if name == "attachment" and filename is not None:
            if self.filename is not None:
                raise OneFileOnly
            if sent_as := self.fields.get("client_message_id"):
                self.known = await ask.db.read(message_sent_as, ask.user.id, ask.room_id, sent_as)
            self.filename = filename
            await self._put(part, self.spool, 0 if self.known else math.inf)
        elif name == "still" and self.sketch is None:
            self.sketch = await self._opened.enter_async_context(self._store.incoming())
            await self._put(part, self.sketch, _SKETCH_BYTES)
        else:
            most = _ID_BYTES if name == "client_message_id" else _PART_BYTES
            value = b"".join([piece async for piece in self._read(part, most)])
            if name != "client_message_id" or ask.bot is None:
                self.fields.setdefault(name, value.decode("utf-8", "replace"))

    async def _put(self, part: BodyPartReader, spool: Spool, most: float) -> None:
        """Puts a part in a spool; one that is more than so many bytes counts as none."""
        size = 0
        async for piece in self._read(part):
            size += len(piece)
            self._store.uploaded_bytes += len(piece)
            if size <= most:
                await self._store.write(spool, piece)
        if size > most:
            spool.size = 0

    async def _read(self, part: BodyPartReader, most: float = math.inf) -> AsyncIterator[bytes]:
        """A part, in pieces worth writing. Raises BadRequest if it is more than so many bytes."""
        came, size, told = list[bytes](), 0, 0
        while not part.at_eof():
            came.append(come := await part.read_chunk(_PIECE))
            self._see(come)
            size += len(come)
            if size > most:
                raise BadRequest
            if size - told >= _PIECE // 2 or part.at_eof():
                yield b"".join(came)  # which copies nothing where there is but one
                came, told = [], size


async def _done(order: Callable[[int], Awaitable[T]], source: io.FileIO) -> T:
    """What the workshop makes of a file. Raises PicturesBusy when that takes too long, and more."""
    with source:
        try:
            async with asyncio.timeout(_PICTURE_SECONDS):
                return await order(source.fileno())
        except TimeoutError as error:
            raise PicturesBusy from error


async def _still_for(campfire: Campfire, form: _Form, content_type: str) -> Still | None:
    """Our still of a file, or its sender's. Raises PicturesBusy, PicturesUnavailable."""
    sources = [form.spool] if content_type in DRAWN_TYPES else []
    if form.sketch and form.sketch.size and kind_of(content_type) in (Kind.IMAGE, Kind.VIDEO):
        sources.append(form.sketch)
    for picture in sources:
        with suppress(PictureUnreadable):
            return await _done(campfire.workshop.still, picture.reading())
    return None


async def _without_tales(campfire: Campfire, spool: Spool, opened: AsyncExitStack) -> Spool:
    """A photograph without its camera's tales; as it came where nobody can tell."""
    target = await opened.enter_async_context(campfire.store.incoming(spool.size))
    strip = partial(campfire.workshop.strip, target=target.fileno())
    try:
        await _done(strip, spool.reading())
    except (PictureUnreadable, PicturesUnavailable):
        return spool
    await asyncio.to_thread(target.count_again)
    return target


async def _looked_at(ask: Ask, form: _Form, opened: AsyncExitStack) -> NewFile:
    """The file of a form, in its place, with all that can be told and shown of it."""
    campfire, name = ask.campfire, safe_name(form.filename or "")
    content_type = type_of(form.spool.head, name)
    kind = kind_of(content_type)
    if content_type == "image/jpeg" and ask.bot is None:
        form.spool = await _without_tales(campfire, form.spool, opened)
    still, was_tried = None, False
    with suppress(PicturesBusy, PicturesUnavailable):  # nobody is free to make it now
        still, was_tried = await _still_for(campfire, form, content_type), True
    names = (("width", MOST_PIXELS), ("height", MOST_PIXELS), ("duration_ms", MOST_MS))
    told = (within(number_in(form.fields, name), most) for name, most in names)
    width, height, duration = told  # as its browser says, as far as that is plausible
    if kind is not Kind.VIDEO or None in (width, height):
        width, height = (still.width, still.height) if still else (None, None)
    duration = duration if kind in (Kind.VIDEO, Kind.AUDIO) else None
    is_animated = bool(still and still.is_animated and kind is Kind.IMAGE)
    is_untried = content_type in DRAWN_TYPES and (still is not None or not was_tried)
    stored = await campfire.store.settle(form.spool, content_type)
    file = NewFile(stored, name, width, height, duration, is_animated, is_untried=is_untried)
    with suppress(StorageFull):  # then the message goes without
        if still:
            shown = await campfire.store.keep(still.data, opened)
            wide, high = still.still_width, still.still_height
            return replace(file, still=shown, still_width=wide, still_height=high)
    return file


async def _upload(ask: Ask) -> tuple[PersistedMessage, bool]:
    """The message that a form became, and whether it is new; everybody is told at once."""
    campfire, store, most = ask.campfire, ask.campfire.store, ask.campfire.config.files_max_bytes
    try:
        await ask.db.read(membership_of, ask.user.id, ask.room_id)
        _require(campfire, "files")
        expected = ask.request.content_length or 0
        async with AsyncExitStack() as opened:
            opened.enter_context(store.place_for(ask.user.id))
            if expected > most + _AROUND:
                raise FileTooLarge(max_bytes=most)
            form = _Form(ask, await opened.enter_async_context(store.incoming(expected)), opened)
            await form.take()
            message, is_new = form.known, False
            if message is None:
                file = await _looked_at(ask, form, opened)
                client_id = form.fields.get("client_message_id") or None
                draft = DraftMessage(ask.room_id, ask.user.id, client_id, "", file=file)
                posted = await campfire.messages.create_message_with_deduplication(draft)
                message, is_new = posted.message, posted.fresh
                if is_new:
                    announce(campfire, posted)  # in the order of commits: before anything waits
    except CampfireError as error:
        store.uploads[error.code] += 1
        LOG.info("upload_refused", extra={"fields": {"reason": error.code}})
        raise
    store.uploads["ok" if is_new else "twice"] += 1
    return message, is_new


async def send_file(ask: Ask) -> Outcome:
    """Posts the file in a form; posting it again answers with the stored message (Gap #1)."""
    message, is_new = await _upload(ask)
    told = ask.campfire.shapes.told(message)
    shape = {"message": told.seen_by(ask.user, ask.caller.base_url)}
    return shape if is_new else answer(shape)


async def send_bot_file(ask: Ask) -> Outcome:
    """Posts the file that a bot sent."""
    message, _ = await _upload(ask)
    location = f"{ask.caller.base_url}/messages/{message.id}"
    return web.Response(status=201, headers={"Location": location})


# --- Pictures of people, and of the account ---


def _owner(tx: ReadTx, ask: Ask) -> UserId | None:
    """Whose picture a path speaks of; None: the account's. Raises BotNotFound."""
    if ask.request.path.endswith("/logo"):
        return None
    if "bot_id" in ask.parts:
        return bot_by_id(tx, UserId(int(ask.parts["bot_id"]))).user.id
    return UserId(int(ask.parts.get("user_id", ask.user.id)))


def _hang_up(tx: WriteTx, at: Timestamp, ask: Ask, stored: Sequence[StoredFile] = ()) -> Outcome:
    """Puts a picture in the place of another, or none; what is told of its owner then."""
    owner_id = _owner(tx, ask)
    if owner_id is None:
        return {"account": account_shape(ask, set_logo(tx, at, *stored))}
    user = set_avatar(tx, at, owner_id, *stored)
    if "bot_id" in ask.parts:
        return show_bot(tx, ask)
    return {"user": ask.campfire.shapes.user(user, ask.user)}


async def _made_of_body(ask: Ask, *, is_logo: bool) -> Outcome:
    """Hangs up what the workshop makes of the picture in a body."""
    request, campfire, store = ask.request, ask.campfire, ask.campfire.store
    _require(campfire, "files" if is_logo else "avatars")
    if not campfire.workshop.has_pictures:
        raise PicturesUnavailable
    if not re.match("image/.", request.content_type):
        raise UnsupportedMediaType(message="Please send a picture.")
    expected = request.content_length or 0
    if expected > _PICTURE_BYTES:
        raise FileTooLarge(max_bytes=_PICTURE_BYTES)
    async with store.incoming(expected, _PICTURE_BYTES) as spool, AsyncExitStack() as opened:
        async with _in_time(ask) as see:
            async for piece in request.content.iter_chunked(_PIECE):
                see(piece)
                await store.write(spool, piece)
        if not spool.size:
            raise PictureUnreadable
        order = campfire.workshop.logo if is_logo else campfire.workshop.avatar
        made = await _done(order, spool.reading())
        stored = [await store.keep(picture, opened) for picture in made]
        return await ask.db.write(_hang_up, ask, stored)


async def save_picture(ask: Ask) -> Outcome:
    """Gives oneself, a bot or the account a picture."""
    return await _made_of_body(ask, is_logo=await ask.db.read(_owner, ask) is None)


async def delete_picture(ask: Ask) -> Outcome:
    """Takes a picture away: one's own, a bot's, the account's; as an administrator, anybody's."""
    return await ask.db.write(_hang_up, ask)


# --- The way out ---


def _file_seen_by(tx: ReadTx, user_id: UserId, attachment_id: int) -> AttachedFile:
    """A file, for a member of its room. Raises AttachmentNotFound."""
    file = file_by_id(tx, attachment_id)
    try:
        message_of_member(tx, user_id, file.message_id)
    except MessageNotFound as error:
        raise AttachmentNotFound from error
    return file


def _sent(ask: Ask, file: AttachedFile, blob: Blob | None, *, is_download: bool = False) -> Outcome:
    """The bytes of a file, or of its still. Raises AttachmentNotFound."""
    if blob is None:
        raise AttachmentNotFound
    path = ask.campfire.store.path_of(blob)
    ask.campfire.store.downloaded_bytes += blob.byte_size
    headers = file_headers(file.filename, blob.content_type, is_download=is_download)
    return LyingFile(path, headers=headers)


def show_file(tx: ReadTx, ask: Ask) -> Outcome:
    """The file of a message, to be shown or saved."""
    file = _file_seen_by(tx, ask.user.id, int(ask.parts["attachment_id"]))
    return _sent(ask, file, file.blob, is_download=ask.query.get("download") == "1")


def show_preview(tx: ReadTx, ask: Ask) -> Outcome:
    """The picture of a page that a message shows, or is about to."""
    blob = preview_picture(tx, ask.parts["key"])
    name = f"preview.{ending_for(blob.content_type)}"
    headers = file_headers(name, blob.content_type, is_download=False)
    return LyingFile(ask.campfire.store.path_of(blob), headers=headers)


async def show_bot_file(ask: Ask) -> Outcome:
    """The same for a bot."""
    message = await ask.db.read(message_for, ask.user.id, ask.room_id, ask.message_id)
    if message.file is None:
        raise AttachmentNotFound
    return _sent(ask, message.file, message.file.blob, is_download=True)


class Stills:
    """Stills that are made at first sight: each once, however many want to see it."""

    def __init__(self, campfire: Campfire) -> None:
        self._campfire, self._turn = campfire, asyncio.Lock()
        self._places = asyncio.Semaphore(_MOST_WAITING)

    async def of(self, file: AttachedFile) -> AttachedFile:
        """The file with its still. Raises PicturesBusy, AttachmentNotFound."""
        campfire, still, stored = self._campfire, None, None
        if self._places.locked():
            raise PicturesBusy
        try:
            async with self._places, asyncio.timeout(_PICTURE_SECONDS), self._turn:
                file = await campfire.db.read(file_by_id, file.id)
                if file.still_state:  # somebody was quicker
                    return file
                async with AsyncExitStack() as opened:
                    with suppress(PictureUnreadable), campfire.store.open(file.blob) as source:
                        still = await campfire.workshop.still(source.fileno())
                        stored = await campfire.store.keep(still.data, opened)
                    return await campfire.db.write(note_still, file, stored, still)
        except TimeoutError as error:
            raise PicturesBusy from error
        except (PicturesUnavailable, StorageFull) as error:
            raise AttachmentNotFound from error


STILLS: Final = web.AppKey("stills", Stills)


async def show_still(ask: Ask) -> Outcome:
    """What the room shows of a picture or a film; made now, if it was not yet."""
    file = await ask.db.read(_file_seen_by, ask.user.id, int(ask.parts["attachment_id"]))
    if file.still is None and file.kind is Kind.IMAGE and not file.still_state:
        file = await ask.request.app[STILLS].of(file)
    return _sent(ask, file, file.still)


# === 35. screens ==============================================================
# What a browser gets when it opens an address: one HTML page for all of them, with
# everything the screen needs inside, so that the first paint asks nothing more; most of
# it is what an address of the API answers. The same object is the answer of /api/boot
# when the client moves on. No inline script and no eval, so that the policy can forbid both.
#
# Raises    NotFound, Forbidden
# ==============================================================================

_SIGNED_OUT: Final = "You were signed out. Sign in to go on."
_RETURN_SECONDS: Final = 3600
_TYPED: Final = 1_000  # characters of a search that its screen shows again
_FLASH_SECONDS: Final = 60
LEAST_KEPT: Final = 4_000  # bytes that a remembered answer counts: there are 2,000 at most


@dataclass(frozen=True, slots=True)
class Page:
    """A screen and what it shows."""

    name: str
    data: Mapping[str, object] = field(default_factory=dict)
    params: Json = field(default_factory=dict)
    status: int = 200
    title: str | None = None  # the account's name when there is none
    custom_styles: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another address, perhaps with a word of why; `return_to` comes back here after sign-in."""

    to: str
    alert: str | None = None
    return_to: str | None = None


@dataclass(frozen=True, slots=True)
class Screen:
    """An address with a page of its own; without a name, `work` finds the page."""

    path: str
    audience: Audience
    work: Look[Page | Redirect | Mapping[str, object]]
    name: str = ""
    searches: bool = False
    method: ClassVar[str] = "GET"


SCREENS: Final[web.AppKey[dict[str, Screen]]] = web.AppKey("screens", dict)


def error_page(error: CampfireError) -> Page:
    """The screen that says what went wrong."""
    return Page("error", {"message": error.says, "code": error.code}, status=error.status)


def _bare_boot(campfire: Campfire, page: Page) -> Json:
    """The boot object as far as the database is not asked."""
    store, has_pictures = campfire.store, campfire.workshop.has_pictures
    return {
        **dict.fromkeys(("account", "current_user", "streams", "last_room_id", "help_contact")),
        "page": page.name,
        "status": page.status,
        "params": page.params,
        "csrf_token": Mask(b'""'),
        "vapid_public_key": campfire.push.public_key,
        "version": campfire.config.version,
        "features": {
            "files": "files" in store.takes,
            "avatars": "avatars" in store.takes and has_pictures,
            "opengraph": campfire.config.opengraph_enabled,
            "max_file_bytes": campfire.config.files_max_bytes,
        },
        "cable_url": "/cable",
        "server_time_ms": campfire.db.settled_at() // 1000,
        "flash": {"notice": None, "alert": None},
        "sounds": [],
        "data": joined(page.data),
    }


def _boot(tx: ReadTx, ask: Ask, page: Page, account: Account | None) -> Json:
    """The boot object: a page, and what the client knows of who looks at it."""
    campfire, viewer, flash = ask.campfire, ask.guest, ask.caller.cookies.get("flash", "")
    told = campfire.signer.cookie_value(flash, time.time()) if flash else {}
    contact = first_administrator(tx) if page.name in ("sign_in", "join") else None
    shown = {
        **_bare_boot(campfire, page),
        "account": account_shape(ask, account),
        "server_time_ms": Moment(b"%d" % (ask.at // 1000)),
        "flash": {"notice": told.get("notice"), "alert": told.get("alert")},
        "help_contact": contact and {"name": contact.name, "email_address": contact.email_address},
    }
    if viewer is not None:
        streams = {"rooms": "rooms", "user_rooms": f"user_{viewer.user.id}:rooms"}
        shown |= {
            "current_user": campfire.shapes.user(viewer.user, viewer.user),
            "streams": {name: campfire.signer.stream(of) for name, of in streams.items()},
            "last_room_id": room_to_return_to(tx, ask),
            "sounds": ALL_SOUNDS,
        }
    return shown


def _page_at(tx: ReadTx, ask: Ask, place: Screen | None, path: str) -> Page | Redirect:
    if place is None:
        raise NotFound
    if ask.guest is None and place.audience != "anyone":
        # Signing out takes the cookie: who still has one was signed out by something else.
        alert = _SIGNED_OUT if "session_token" in ask.caller.cookies else None
        back = f"{path}?{urlencode(ask.query)}" if ask.query else path
        return Redirect("/session/new", alert=alert, return_to=back)
    require(place.audience, ask.guest)
    shown = place.work(tx, ask)
    if isinstance(shown, Page | Redirect):
        return shown
    ids: Json = {name: int(part) for name, part in ask.parts.items() if name.endswith("_id")}
    return Page(place.name, shown, ids)


def _add_cookies(ask: Ask, page: Page | Redirect, nonce: str) -> None:
    """The cookies that go with a page or a redirect."""
    signer, now = ask.campfire.signer, time.time()
    if ask.caller.csrf_nonce is None:
        ask.set_cookie("_campfire_csrf", nonce, TWENTY_YEARS)
    if isinstance(page, Page):
        if "flash" in ask.caller.cookies:
            ask.forget_cookie("flash")
        return
    flash = ("flash", "alert", page.alert, _FLASH_SECONDS)
    for name, key, says, seconds in (flash, ("return_to", "to", page.return_to, _RETURN_SECONDS)):
        if says:
            ask.set_cookie(name, signer.cookie({key: says}, seconds, now), seconds)


Opened: TypeAlias = tuple[Ask, Page | Redirect, Json]  # who asks, what for, and the boot object


async def _open(request: web.Request, address: URL) -> Opened:
    """What this browser sees at an address; refusals become the error screen."""
    match = request.match_info
    if address is not request.rel_url:
        asked = SimpleNamespace(method="GET", rel_url=address)  # all that a router looks at
        match = await request.app.router.resolve(cast(web.Request, asked))
    resource = match.route.resource
    place = request.app[SCREENS].get(resource.canonical) if resource else None
    nonce = caller_of(request).csrf_nonce or secrets.token_urlsafe(32)
    mask = Mask(f'"{request.app[CAMPFIRE].signer.csrf_token(nonce)}"'.encode())
    token: Json = {"csrf_token": mask}

    def opened(tx: ReadTx, ask: Ask) -> Opened:
        try:
            page = _page_at(tx, ask, place, address.path)
        except RoomNotFound:
            page = Redirect("/", alert="Room not found or inaccessible")
        except CampfireError as error:
            page = error_page(error)
        _add_cookies(ask, page, nonce)
        if isinstance(page, Redirect):
            return ask, page, {"redirect_to": page.to, **token}
        account = account_of(tx)
        styles = account.custom_styles if account and "plain" not in ask.query else ""
        title = page.title or (account.name if account else None)
        boot = {**_boot(tx, ask, page, account), **token}
        return ask, replace(page, title=title, custom_styles=styles), boot

    searches = place is not None and place.searches and bool(address.query)
    return await look_in(request, opened, (match, address.query), searches=searches)


def repeating(handler: Guarded) -> Guarded:
    """The same to whoever asks the same again before anything was committed, but for the time and
    the token: what they are told hangs on their cookies, the address, and these few words."""

    async def repeated(request: web.Request) -> web.StreamResponse:
        campfire, caller, headers = request.app[CAMPFIRE], caller_of(request), request.headers
        asked = (request.raw_path, headers.getall("Cookie", ()), headers.get("If-None-Match"))
        where = (caller.base_url, caller.host, caller.agent, campfire.workshop.has_pictures)
        key, kept = (*map(str, asked), *where), campfire.db.until_commit()
        if (known := kept.find(key)) is None:
            response = await handler(request)
            is_same = request.get(LASTS) and response.status < HTTPStatus.BAD_REQUEST
            if is_same and caller.csrf_nonce and "flash" not in caller.cookies:
                response[PIECES] = pieces = as_packed(response.get(PIECES, ()))
                known = (request[LASTS], response.status, response.headers.copy(), pieces)
                kept.keep(key, known, max(sum(map(len, pieces)) * 4 // 3, LEAST_KEPT))
            return response
        viewer, status, told, pieces = known
        request[VIEWER_ID], request[SESSION] = viewer.user.id, viewer.session
        anew: dict[type, Packed] = {Moment: Moment(b"%d" % (campfire.db.settled_at() // 1000))}
        if Mask in map(type, pieces):
            token = campfire.signer.csrf_token(caller.csrf_nonce or "")
            anew[Mask] = Mask(f'"{token}"'.encode())
        response = web.Response(status=status, headers=told.copy())
        response[PIECES] = tuple(anew.get(type(piece), piece) for piece in pieces)
        return response

    return repeated


_BODIES: Final = {  # the classes that the client gives the body, before it comes
    **dict.fromkeys(("room", "welcome", "sidebar", "direct_new"), "sidebar"),
    **dict.fromkeys(("first_run", "join"), "signup"),
    "searches": "sidebar searches",
}
# Remote styles, fonts and images are for custom styles.
_POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline' https:; "
    "font-src 'self' data: https:; img-src 'self' data: blob: https:; media-src 'self'; "
    "connect-src 'self' ws://{host} wss://{host}; worker-src 'self'; manifest-src 'self'; "
    "frame-ancestors 'self'; base-uri 'self'; form-action 'self'; object-src 'none'"
)


def index_html(page: Page, boot: Json, bundle: Bundle) -> Written:
    """The one page, with everything its screen needs inside."""
    person = boot["current_user"]
    token = cast(Mask, boot["csrf_token"])
    metas: Json = {"csrf-param": "authenticity_token"}
    metas |= {"action-cable-url": boot["cable_url"], "vapid-public-key": boot["vapid_public_key"]}
    if isinstance(person, dict):
        metas |= {"current-user-id": person["id"], "current-user-name": person["name"]}
        if page.name == "room":
            metas["current-room-id"] = page.params["room_id"]
    told = [f'<meta name="{name}" content="{escape(str(it))}">' for name, it in metas.items()]
    told.insert(0, f'<meta name="csrf-token" content={PLACE}>')
    styles = page.custom_styles.replace("</", r"<\/")
    html = bundle.pages["room.html" if page.name == "room" else "index.html"]
    frame, mark, html = html.partition("</style>")  # braces in there are no holes
    head, _, end = html.partition("{boot}")
    custom = f'<style id="custom-styles">{styles}</style>' if styles else ""
    title, classes = escape(page.title or "Campfire"), _BODIES.get(page.name, "")
    filled = head.format(title=title, metas="".join(told), custom=custom, classes=classes)
    if isinstance(account := boot["account"], dict) and account.get("has_logo"):
        filled = with_logo(filled, account["logo_url"].rpartition("=")[2])
    start, _, rest = f"{frame}{mark}{filled}".partition(PLACE)
    return Written((start.encode(), token, rest.encode(), *joined(boot), end.encode()))


def _html(request: web.Request, html: Written, status: int = 200) -> web.Response:
    """A page of HTML, under the policy."""
    policy = _POLICY.format(host=caller_of(request).host)
    headers = {"Cache-Control": "private, no-cache", "Content-Security-Policy": policy}
    headers["Content-Type"] = "text/html; charset=utf-8"
    response = web.Response(status=status, headers=headers)
    response[PIECES] = html
    return response


def error_screen(request: web.Request, error: CampfireError) -> web.Response:
    """The page that says what went wrong, for which the database is not asked."""
    campfire, page = request.app[CAMPFIRE], error_page(error)
    html = index_html(page, _bare_boot(campfire, page), request.app[BUNDLE])
    return _html(request, html, page.status)


@repeating
async def show_page(request: web.Request) -> web.StreamResponse:
    """Any screen: the page, or where to go instead."""
    ask, page, boot = await _open(request, request.rel_url)
    if isinstance(page, Redirect):
        return answer(web.Response(status=302, headers={"Location": page.to}), headers=ask.headers)
    if not is_supported(ask.caller.agent):
        return _html(request, Written((request.app[BUNDLE].pages["unsupported.html"].encode(),)))
    if ask.guest is not None:
        cookie = ask.caller.cookies["session_token"]
        ask.set_cookie("session_token", token_inside_rails_cookie(cookie) or cookie, TWENTY_YEARS)
    if page.name == "room":
        ask.set_cookie("last_room", str(ask.room_id), TWENTY_YEARS)
    shown = _html(request, index_html(page, boot, request.app[BUNDLE]), page.status)
    shown.headers.extend(ask.headers)
    return shown


@repeating
async def show_boot(request: web.Request) -> web.StreamResponse:
    """What a screen needs, for a client that moves on without loading a page."""
    path, _, search = request.query.get("path", "").partition("#")[0].partition("?")
    address = URL.build(path=path or "/", query_string=search, encoded=True)
    ask, _, boot = await _open(request, address)
    return answer(boot, headers=ask.headers)


def home(tx: ReadTx, ask: Ask) -> Page | Redirect:
    """The room one was in, or a welcome to whoever has none."""
    if (room_id := room_to_return_to(tx, ask)) is None:
        return Page("welcome", {"sidebar": show_sidebar(tx, ask)})
    return Redirect(f"/rooms/{room_id}")


def first_run_screen(tx: ReadTx, _: Ask) -> Page | Redirect:
    """Setting up, once."""
    return Redirect("/") if is_set_up(tx) else Page("first_run")


def sign_in_screen(tx: ReadTx, _: Ask) -> Page | Redirect:
    """Signing in, when there is somebody who can."""
    return Page("sign_in") if is_set_up(tx) else Redirect("/first_run")


def transfer_screen(_: ReadTx, ask: Ask) -> Page | Redirect:
    """What a sign-in link leads to."""
    return Page("transfer", params={"id": ask.parts["transfer"]})


def join_screen(tx: ReadTx, ask: Ask) -> Page | Redirect:
    """What an invitation link leads to."""
    if ask.guest is not None:
        return Redirect("/")
    code = {"join_code": ask.parts["join_code"]}
    account_behind(tx, code["join_code"])
    return Page("join", code, {**code})


def newest_room(tx: ReadTx, ask: Ask) -> Page | Redirect:
    """The room that was made last."""
    ids = [membership.room.id for membership in memberships_of(tx, ask.user.id)]
    return Redirect(f"/rooms/{max(ids)}" if ids else "/")


def room_screen(tx: ReadTx, ask: Ask) -> Page | Redirect:
    """A room, perhaps at one of its messages."""
    message_id = ask.message_id if "message_id" in ask.parts else None
    view = view_of(tx, ask.user.id, ask.room_id)
    params: Json = {"room_id": ask.room_id, "message_id": message_id}
    data = {**room_data(tx, ask, view, message_id), "sidebar": show_sidebar(tx, ask)}
    return Page("room", data, params, title=display_name(view))


def message_screen(tx: ReadTx, ask: Ask) -> Page | Redirect:
    """Where a message is shown."""
    room_id, _ = message_of_member(tx, ask.user.id, ask.message_id)
    if "room_id" in ask.parts and ask.room_id != room_id:
        raise MessageNotFound
    return Redirect(f"/rooms/{room_id}/@{ask.message_id}")


def new_room(tx: ReadTx, ask: Ask) -> Page | Redirect:
    """Making a room."""
    if not may_create_rooms(tx, ask.user):
        raise Forbidden
    users = [ask.campfire.shapes.user(user, ask.user) for user in active_users(tx)]
    data: Json = {"users": users, "default_name": "New room", "can_create": True}
    return Page("room_new", data, {"type": ask.parts["type"].removesuffix("s")})


def shared_room(tx: ReadTx, ask: Ask) -> Page | Redirect:
    """A room, by an address of Rails'."""
    membership_of(tx, ask.user.id, ask.room_id)
    return Redirect(f"/rooms/{ask.room_id}")


def edit_room(tx: ReadTx, ask: Ask) -> Page | Redirect:
    """Changing a room, under the address of its kind."""
    wants, view = ask.parts["type"].removesuffix("s"), view_of(tx, ask.user.id, ask.room_id)
    is_direct = view.room.type is RoomType.DIRECT
    if is_direct != (wants == "direct"):
        raise RoomNotFound
    params: Json = {"room_id": ask.room_id, "type": wants}
    if is_direct:
        return Page("direct_edit", {"room": ask.campfire.shapes.room(view, ask.user)}, params)
    return Page("room_edit", show_members(tx, ask), params)


def account_screen(tx: ReadTx, ask: Ask) -> Json:
    """The account and the first page of its people."""
    return {**show_account(tx, ask), **list_people(tx, ask, 1)}


def sidebar_screen(tx: ReadTx, ask: Ask) -> Json:
    """What stands beside every room."""
    return {"sidebar": show_sidebar(tx, ask)}


def search_screen(tx: ReadTx, ask: Ask) -> Page | Redirect:
    """A search, and what it found."""
    data = search_data(tx, ask)
    back = data["return_to_room_id"]
    parts: Json = {"search": joined(data), "return_to_room_id": back, **sidebar_screen(tx, ask)}
    return Page("searches", parts, {"q": ask.query.get("q", "")[:_TYPED] or None})


# === 36. app ==================================================================
# All routes on one page, each with its audience; then the one place that turns
# what went wrong into an answer; and how the parts are put together, started,
# listened to and stopped.
#
# Raises    NotFound, BadRequest, MethodNotAllowed
# ==============================================================================

_BOTS_ROOM: Final = "/rooms/{room_id}/{bot_key}"
_BOTS: Final = f"{_BOTS_ROOM}/messages"
_DEVICE: Final = "/api/users/me/push_subscriptions/{subscription_id}"
_OPEN, _CLOSED = RoomType.OPEN, RoomType.CLOSED
_IN_ROOM: Final = "/api/rooms/{room_id}/messages"
_OFTEN_ASKED: Final = ("/api/rooms/{room_id}", _IN_ROOM, "/api/users/me/sidebar", "/api/searches")
ROUTES: Final[tuple[Screen | Route, ...]] = (
    Screen("/", "people", home),
    Screen("/first_run", "anyone", first_run_screen),
    Screen("/session/new", "anyone", sign_in_screen),
    Screen("/session/transfers/{transfer}", "anyone", transfer_screen),
    Screen("/join/{join_code}", "anyone", join_screen),
    Screen("/rooms", "people", newest_room),
    *(Screen(f"/rooms/{kind}", "people", newest_room) for kind in ("opens", "closeds", "directs")),
    Screen("/rooms/{room_id}", "people", room_screen),
    Screen("/rooms/{room_id}/@{message_id}", "people", room_screen),
    Screen("/rooms/{room_id}/messages/{message_id}", "people", message_screen),
    Screen("/messages/{message_id}", "people", message_screen),
    Screen("/rooms/{type:opens|closeds}/new", "people", new_room),
    Screen("/rooms/directs/new", "people", sidebar_screen, "direct_new"),
    Screen("/rooms/{type:opens|closeds|directs}/{room_id}", "people", shared_room),
    Screen("/rooms/{type:opens|closeds|directs}/{room_id}/edit", "people", edit_room),
    Screen("/searches", "people", search_screen, searches=True),
    Screen("/account/edit", "people", account_screen, "account_edit"),
    Screen("/account/custom_styles/edit", "administrators", show_styles, "custom_styles"),
    Screen("/account/bots", "administrators", list_bots, "bots"),
    Screen("/account/bots/new", "administrators", lambda *_: {}, "bot_new"),
    Screen("/account/bots/{bot_id}/edit", "administrators", show_bot, "bot_edit"),
    Screen("/users/{user_id}", "people", show_person, "user"),
    Screen("/users/me/profile", "people", show_profile, "profile"),
    Screen("/users/me/sidebar", "people", sidebar_screen, "sidebar"),
    Screen("/users/me/push_subscriptions", "people", list_devices, "push_subscriptions"),
    Route("GET", "/api/boot", "anyone", show_boot),
    act("POST", "/api/first_run", "anyone", first_run, status=201),
    sight("/api/session", "people", show_session),
    act("POST", "/api/session", "anyone", sign_in, status=201),
    act("DELETE", "/api/session", "people", sign_out),
    act("PUT", "/api/session/transfers/{transfer}", "anyone", redeem_transfer, status=201),
    sight("/api/join/{join_code}", "anyone", show_invitation),
    act("POST", "/api/join/{join_code}", "anyone", join, status=201),
    sight("/api/account", "people", show_account),
    act("PUT", "/api/account", "administrators", save_account),
    act("POST", "/api/account/join_code", "administrators", reset_join_code, status=201),
    sight("/api/account/custom_styles", "administrators", show_styles),
    act("PUT", "/api/account/custom_styles", "administrators", save_styles),
    act("PUT", "/api/account/logo", "administrators", save_picture),
    act("DELETE", "/api/account/logo", "administrators", delete_picture),
    sight("/api/account/users", "people", list_people),
    act("PUT", "/api/account/users/{user_id}", "administrators", save_role),
    act("DELETE", "/api/account/users/{user_id}", "administrators", deactivate_person),
    sight("/api/users", "people", list_users),
    sight("/api/users/{user_id}", "people", show_person),
    act("POST", "/api/users/{user_id}/ban", "administrators", ban_person),
    act("DELETE", "/api/users/{user_id}/ban", "administrators", unban_person),
    sight("/api/users/me/profile", "people", show_profile),
    act("PUT", "/api/users/me/profile", "people", save_profile),
    act("PUT", "/api/users/me/avatar", "people", save_picture),
    act("DELETE", "/api/users/me/avatar", "people", delete_picture),
    act("DELETE", "/api/users/{user_id}/avatar", "administrators", delete_picture),
    sight("/api/users/me/sidebar", "people", show_sidebar),
    sight("/api/users/me/push_subscriptions", "people", list_devices),
    act("POST", "/api/users/me/push_subscriptions", "people", save_device),
    act("DELETE", _DEVICE, "people", delete_device),
    act("POST", f"{_DEVICE}/test_notifications", "people", test_device),
    sight("/api/autocompletable/users", "people", autocomplete),
    sight(_IN_ROOM, "people", list_messages),  # before what is asked less often
    act("POST", _IN_ROOM, "people", create_message, status=201, form=send_file),
    sight("/api/rooms/{room_id}", "people", show_room),
    act("DELETE", "/api/rooms/{room_id}", "people", delete_room),
    sight("/api/rooms", "people", list_rooms),
    act("POST", "/api/rooms/opens", "people", partial(create_room, kind=_OPEN), status=201),
    act("PUT", "/api/rooms/opens/{room_id}", "people", partial(save_room, kind=_OPEN)),
    act("POST", "/api/rooms/closeds", "people", partial(create_room, kind=_CLOSED), status=201),
    act("PUT", "/api/rooms/closeds/{room_id}", "people", partial(save_room, kind=_CLOSED)),
    act("POST", "/api/rooms/directs", "people", open_ping, status=201),
    sight("/api/rooms/{room_id}/members", "people", show_members),
    sight("/api/rooms/{room_id}/involvement", "people", show_involvement),
    act("PUT", "/api/rooms/{room_id}/involvement", "people", save_involvement),
    act("PUT", "/api/rooms/{room_id}/unread", "people", mark_room_unread),
    act("DELETE", "/api/rooms/{room_id}/unread", "people", mark_room_read),
    act("PUT", "/api/rooms/{room_id}/star", "people", partial(star_room, on=True)),
    act("DELETE", "/api/rooms/{room_id}/star", "people", partial(star_room, on=False)),
    sight("/api/rooms/{room_id}/refresh", "people", refresh_room),
    sight(f"{_IN_ROOM}/{{message_id}}", "people", show_message),
    act("PUT", f"{_IN_ROOM}/{{message_id}}", "people", update_message),
    act("DELETE", f"{_IN_ROOM}/{{message_id}}", "people", delete_message),
    sight("/api/messages/{message_id}/boosts", "people", list_boosts),
    act("POST", "/api/messages/{message_id}/boosts", "people", create_boost, status=201),
    act("DELETE", "/api/messages/{message_id}/boosts/{boost_id}", "people", delete_boost),
    sight("/api/searches", "people", search_data, searches=True),
    act("POST", "/api/searches", "people", record_search, status=201),
    act("DELETE", "/api/searches/clear", "people", clear_searches),
    sight("/api/sounds", "people", lambda *_: {"sounds": ALL_SOUNDS}),
    act("POST", "/api/unfurl_link", "people", unfurl_link),
    sight("/users/{avatar_token}/avatar", "anyone", show_avatar),
    sight("/api/account/bots", "administrators", list_bots),
    act("POST", "/api/account/bots", "administrators", create_bot, status=201),
    sight("/api/account/bots/{bot_id}", "administrators", show_bot),
    act("PUT", "/api/account/bots/{bot_id}", "administrators", save_bot),
    act("DELETE", "/api/account/bots/{bot_id}", "administrators", delete_bot),
    act("PUT", "/api/account/bots/{bot_id}/avatar", "administrators", save_picture),
    act("DELETE", "/api/account/bots/{bot_id}/avatar", "administrators", delete_picture),
    act("PUT", "/api/account/bots/{bot_id}/key", "administrators", reset_bot_key),
    act("GET", _BOTS, "bots", list_bot_messages),
    act("POST", _BOTS, "bots", create_bot_message, form=send_bot_file),
    act("GET", f"{_BOTS}/{{message_id}}/attachment", "bots", show_bot_file),
    act("PUT", f"{_BOTS}/{{message_id}}", "bots", update_bot_message),
    act("DELETE", f"{_BOTS}/{{message_id}}", "bots", delete_message),
    act("POST", f"{_BOTS}/{{message_id}}/boosts", "bots", create_bot_boost, status=201),
    act("DELETE", f"{_BOTS}/{{message_id}}/boosts/{{boost_id}}", "bots", delete_boost),
    act("GET", f"{_BOTS_ROOM}/members", "bots", list_bot_members),
    act("GET", f"{_BOTS_ROOM}/searches", "bots", search_as_bot),
    act("GET", "/rooms/{room_id}/messages", "anyone", show_nothing),
    sight("/account/logo", "anyone", show_logo),
    act("GET", "/files/{attachment_id}/still", "people", show_still),
    sight("/files/{attachment_id}/{filename:[^/]+}", "people", show_file),
    sight("/previews/{key}", "people", show_preview),
    act("GET", "/assets/{path:.+}", "anyone", show_asset),
    act("GET", "/sounds/{name}.mp3", "anyone", show_sound),
    *(act("GET", f"/service-worker{end}", "anyone", show_service_worker) for end in ("", ".js")),
    *(sight(f"/webmanifest{end}", "anyone", show_manifest) for end in ("", ".json")),
    act("GET", "/qr_code/{text}", "anyone", show_qr_code),
    act("GET", "/favicon.ico", "anyone", show_favicon),
    act("GET", "/robots.txt", "anyone", show_robots),
    *(Route("GET", f"/up{end}", "anyone", show_health) for end in ("", ".json")),
    Route("GET", "/metrics", "anyone", show_metrics),
    Route("*", "/cable", "anyone", open_cable),
)

SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "SAMEORIGIN", "X-XSS-Protection": "0",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin", "Server": "Campfire",
}  # fmt: skip
_PICTURE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


def error_answer(request: web.Request, error: CampfireError) -> web.StreamResponse:
    """The refusal in the form of the route: JSON, a line of text, or the error screen."""
    headers = error.headers
    if isinstance(error, WrongBotKey):
        headers = {"Location": f"{caller_of(request).base_url}/session/new"}
    if isinstance(error, WrongBotKey) or request.path.startswith("/cable"):
        return web.Response(text=error.says, status=error.status, headers=headers)
    is_bare = BOT_ROUTE in request and not isinstance(error, (FeatureDisabled, FileError))
    is_api = request.path.startswith(("/api/", "/files/", "/previews/"))
    if is_bare or (isinstance(error, BotForbidden) and not is_api):
        return web.Response(status=error.status, headers=headers)
    if is_api or BOT_ROUTE in request or request.method not in SAFE_METHODS:
        shape = {"code": error.code, "message": error.says, **error.details}
        return answer({"error": shape}, error.status, headers)
    response = error_screen(request, error)
    response.headers.update(headers)
    return response


HTTPS_LOOPS: Final = web.AppKey("https_loops", HttpsLoops)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9-]{1,255}")
_FILES: Final = ("multipart/form-data", "image/")


def _https_address(request: web.Request) -> str | None:
    """Where a plain request belongs, unless that leads nowhere else."""
    config, caller = request.app[CAMPFIRE].config, caller_of(request)
    if config.plain_port and request.scheme != "https":  # it came to HTTP_PORT
        port = "" if config.port == HTTPS_PORT else f":{config.port}"
        return f"https://{config.domain or URL(f'//{caller.host}').host}{port}{request.path_qs}"
    peer = request.remote or ""
    may_hide = FORWARDED_PROTO not in request.headers and is_trusted(peer, config)
    if may_hide and config.force_ssl and request.app[HTTPS_LOOPS].is_one(peer, request.path_qs):
        return None
    return f"https://{config.domain or caller.host}{request.path_qs}" if config.force_ssl else None


def _shown_address(request: web.Request) -> str:
    """The address as logs may show it; of one that leads nowhere, nothing."""
    match, query = request.match_info, request.rel_url.raw_query_string
    if (resource := match.route.resource) is None:
        return "unmatched"
    if resource.canonical.startswith("/files/"):  # no names of files in any log
        return f"/files/{match['attachment_id']}"
    shown = {name: match[name] if SHOWN_PARTS.fullmatch(name) else "[FILTERED]" for name in match}
    return resource.canonical.format_map(shown) + (f"?{shown_query(query)}" if query else "")


_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def _note(request: web.Request, status: int, started: float) -> None:
    """Counts an answer, keeps the session of who asked fresh, and tells the log."""
    campfire, caller, session = request.app[CAMPFIRE], caller_of(request), request.get(SESSION)
    seconds, resource = time.perf_counter() - started, request.match_info.route.resource
    pattern = resource.canonical if resource else "unmatched"
    method = request.method if request.method in _METHODS else "other"  # there are thousands
    campfire.requests[method, pattern, str(status)] += 1
    if status == HTTPStatus.SWITCHING_PROTOCOLS:
        return  # how long a socket lives is no answer time, and told in the end
    campfire.request_seconds[pattern].observe(seconds)
    if session and time.time() * SECOND - session.last_active_at > SESSION_REFRESH:
        refresh = campfire.db.write(refresh_session, session.id, caller.ip, caller.agent)
        campfire.jobs.spawn("refresh_session", refresh)
    if request.path.startswith("/up") or not LOG.isEnabledFor(logging.INFO):
        return
    asked = {"method": request.method, "path": _shown_address(request), "status": status}
    by_whom = {"ip": caller.ip, "user_id": request.get(VIEWER_ID)}
    fields = {"request_id": request[REQUEST_ID], **asked, "ms": round(seconds * 1000, 1), **by_whom}
    no_line = (LOG.name, logging.INFO, "", 0, "request", (), None)  # nor a walk up the stack
    LOG.handle(LOG.makeRecord(*no_line, extra={"fields": fields}))


_UNFORCED: Final = frozenset(("/up", "/up.json", "/metrics"))  # which machines ask as they like


async def _answered(request: web.Request, handler: Guarded) -> web.StreamResponse:
    """What this address answers; a browser gets a whole page at one that leads nowhere."""
    if not {"\r", "\n"}.isdisjoint(request.path):
        raise NotFound  # it would begin a header in an answer that repeats it
    config, is_plain = request.app[CAMPFIRE].config, caller_of(request).scheme != "https"
    wants_https = (config.force_ssl or config.plain_port) and request.path not in _UNFORCED
    if is_plain and wants_https and (address := _https_address(request)):
        return web.Response(status=301, headers={"Location": address, **UNKEPT})
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as problem:
        allow = {"Allow": ", ".join(sorted(problem.allowed_methods))}
        raise MethodNotAllowed(headers=allow) from problem
    except web.HTTPException as problem:
        error = {404: NotFound, 413: PayloadTooLarge}.get(problem.status, BadRequest)
    except ConnectionError as problem:
        if request.transport is not None and not request.transport.is_closing():
            raise
        raise BadRequest from problem  # whoever asked has left, which is no fault of ours
    is_api = request.path.startswith(("/api/", "/cable"))
    if error is NotFound and request.method in SAFE_METHODS and not is_api:
        return await show_page(request)
    raise error


@web.middleware
async def answer_errors(request: web.Request, handler: Guarded) -> web.StreamResponse:
    """The answer, whatever happens: a refusal in words, a bug as "Something went wrong."."""
    started, config = time.perf_counter(), request.app[CAMPFIRE].config
    given = request.headers.get("X-Request-Id", "")
    if not _REQUEST_ID.fullmatch(given):  # drawn by chance, for it only names a line of the log
        given = str(uuid.UUID(int=random.getrandbits(128), version=4))
    request[REQUEST_ID] = given
    try:
        response = await _answered(request, handler)
    except CampfireError as error:
        response = error_answer(request, error)
    except Exception:
        fields = {"request_id": given, "path": _shown_address(request)}
        LOG.exception("request_failed", extra={"fields": fields})
        response = error_answer(request, CampfireError())
    if isinstance(response, Upgrade):  # it has been sent
        _note(request, response.status, started)
        return response
    if not request.content.is_eof() and request.content_type.startswith(_FILES):
        response.force_close()  # what is still to come is dropped
    if not response.prepared:
        headers = response.headers
        headers.update({**SECURITY_HEADERS, "X-Request-Id": given})
        headers["X-Version"], headers["X-Rev"] = config.version, config.revision
        if response.content_type == "image/svg+xml":  # opened by itself, it is a page of ours
            headers["Content-Security-Policy"] = _PICTURE_POLICY
        if caller_of(request).is_secure:
            headers["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"
    await compress(request, response)
    _note(request, response.status, started)
    await send_in_time(request, response, config.write_timeout)
    return response


async def _show_without_slash(request: web.Request) -> web.Response:
    path, query = request.rel_url.raw_path.rstrip("/"), request.rel_url.raw_query_string
    return web.Response(status=301, headers={"Location": path + (f"?{query}" if query else "")})


def build_app(campfire: Campfire, bundle: Bundle) -> web.Application:
    """The application: PATCH is as good as PUT, `.json` and a slash at the end change nothing."""
    app = web.Application(middlewares=[answer_errors])
    app[CAMPFIRE], app[SCREENS], app[HEALTH] = campfire, {}, Health(campfire.db)
    app[BUNDLE], app[HTTPS_LOOPS] = bundle, HttpsLoops(time.monotonic)
    app[STILLS] = Stills(campfire)
    for route in ROUTES:
        path = re.sub(r"\{(\w+_id)\}", r"{\1:[0-9]{1,18}}", route.path)
        handler: Guarded = show_page if isinstance(route, Screen) else route.handler
        if route.method == "GET" and route.path in _OFTEN_ASKED:  # asked for again and again
            handler = repeating(handler)
        places = [(path, handler)]
        if route.path.startswith("/api/") or route.audience == "bots":
            places.insert(0, (f"{path}.json", handler))
        if path != "/":
            places.append((f"{path}/", _show_without_slash if route.method == "GET" else handler))
        methods = ("PUT", "PATCH") if route.method == "PUT" else (route.method,)
        for (place, shown), method in product(places, methods):
            if method == "GET":
                app.router.add_get(place, shown, allow_head=True)
            else:
                app.router.add_route(method, place, shown)
        if isinstance(route, Screen):
            app[SCREENS][re.sub(r"\{(\w+):[^{}]*\}", r"{\1}", route.path)] = route
    return app


SESSION_LOOK_SECONDS: Final = 10


def assemble(
    config: Config, db: Database, kept: Mapping[str, str], look_up: LookUp = socket.getaddrinfo
) -> Campfire:
    """The parts, put together over an open database."""
    signer, jobs = Signer(kept["secret_key_base"]), Jobs()
    names = partial(Resolver, ThreadPoolExecutor(NAMES_AT_ONCE, "names"), look_up)
    presence, auth = PresenceMap(time.monotonic), Auth(db, time.monotonic, config.bcrypt_cost)
    shapes, messages = Shapes(signer), Messages(db, signer, presence.present_in)
    cable = Cable(db, messages, shapes, presence, jobs, time.monotonic, config.max_sockets)
    keys = (kept["vapid_public_key"], kept["vapid_private_key"])
    to_push = Push(db, jobs, config, keys, names(only_public=not config.private_push_endpoints))
    store, workshop = Store(db, config), Workshop()
    previews = Previews(config, db, store, workshop, names(only_public=not config.private_previews))
    bots = Bots(db, jobs, config, store, names(only_public=False))
    services = (config, db, signer, auth, Rooms(db), messages, Search(db), bots)
    rest = (shapes, jobs, to_push, Certificates(config.tls_files), store, previews, workshop)
    return Campfire(*services, cable, cable, *rest)


async def close_ended_sessions(campfire: Campfire) -> None:
    """Closes the sockets of sessions that a command in a shell, or whatever else, has ended."""
    held = {connection.session_id for connection in campfire.sockets.connections}
    for session_id in await campfire.db.read(ended_sessions, held):
        campfire.cable.disconnect_session(session_id)


def give_back() -> None:
    """What is free in between: glibc keeps it for ever, a tenth of what we need and more."""
    import ctypes

    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # others have none


def start_sweepers(campfire: Campfire) -> None:
    """The ping of all sockets, the look at their sessions, and what is swept, until the stop."""
    sockets, write = campfire.sockets, campfire.db.write

    def every(seconds: float, name: str, *works: Callable[[], Work | None]) -> None:
        async def turn() -> None:
            for work in works:
                if (rest := work()) is not None:
                    await rest

        async def forever() -> None:
            while True:
                await asyncio.sleep(seconds)
                await campfire.jobs.attempt(name, turn())

        campfire.jobs.spawn(name, forever())

    every(PING_SECONDS, "every_beat", sockets.beat)
    every(SESSION_LOOK_SECONDS, "every_look_at_sessions", partial(close_ended_sessions, campfire))
    every(SWEEP_SECONDS, "every_sweep", sockets.sweep, give_back)
    hourly = partial(write, sweep_tombstones), partial(write, sweep_sign_ins), campfire.store.sweep
    every(3600, "every_hour", *hourly)
    every(86_400, "every_day", campfire.certificates.warn_if_expired)


async def resume_bans(campfire: Campfire) -> None:
    """Goes on removing what banned people said, where a stop interrupted it."""
    for user_id in await campfire.db.read(banned_authors):
        remove_banned_content_later(campfire, user_id)


OpenLines: TypeAlias = WeakSet[asyncio.Transport]


class Reader(web.RequestHandler):
    """Reads requests, and refuses in our own words what is none. aiohttp's own tell strangers which
    aiohttp and which Python they have before them. Should `handle_error` no longer be asked, they
    are told again (and HTTP/1.1 to whoever speaks 1.0)."""

    __slots__ = ("_heard", "_lines")

    def __init__(self, lines: OpenLines, *given: Any, **settings: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(*given, **settings)
        self._lines = lines

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Notes the line, which aiohttp lets go of before its end, and at a stop never closes."""
        self._lines.add(cast(asyncio.Transport, transport))
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Keeps the beginning of what came last, which may be no request. aiohttp drops what comes
        while it stops, and then waits for the rest of it in vain."""
        self._heard = data[:8_192]
        ends = self._close, self._force_close
        self._close = self._force_close = False
        super().data_received(data)
        self._close, self._force_close = ends

    def as_spoken(self, message: RawRequestMessage) -> RawRequestMessage:
        """What is no request, in the version of HTTP that was spoken: aiohttp knows none of it."""
        return message._replace(version=(HttpVersion11, HttpVersion10)[b"HTTP/1.0" in self._heard])

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - repeats what was sent
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun")
        is_theirs = status < HTTPStatus.INTERNAL_SERVER_ERROR
        error: CampfireError = BadRequest() if is_theirs else CampfireError()
        about = {"fields": {"problem": type(exc).__name__, "ip": request.remote}}
        if is_theirs:
            LOG.info("unreadable_request", extra=about)
        else:
            LOG.error("request_failed", exc_info=exc, extra=about)
        shape = {"code": error.code, "message": error.says}
        refusal = cast(web.Response, answer({"error": shape}, error.status, SECURITY_HEADERS))
        refusal.body = b"".join(refusal.get(PIECES, ()))
        refusal.force_close()
        return refusal


# A server at work: what runs the app alone, for where we listen is our own; that; and who came.
Listening: TypeAlias = tuple[web.AppRunner, Sequence[asyncio.Server], OpenLines]


async def listen(campfire: Campfire, bundle: Bundle) -> tuple[Listening, str]:
    """A running server and its address. The port is free to choose when it is 0."""
    config, loop = campfire.config, asyncio.get_running_loop()
    await campfire.bots.start()
    loop.set_default_executor(ThreadPoolExecutor(2, "work"))  # names and passwords have their own
    runner = web.AppRunner(build_app(campfire, bundle), shutdown_timeout=10)
    await runner.setup()
    server = cast(web.Server, runner.server)
    made = server.request_factory
    server.request_factory = lambda message, payload, reader, *rest: made(
        cast(Reader, reader).as_spoken(message) if message.method == "UNKNOWN" else message,
        *(payload, reader, *rest),
    )
    reading: dict[str, Any] = {"access_log": None, "keepalive_timeout": config.idle_timeout}
    reading |= {"auto_decompress": False}  # a compressed body is refused, not blown up
    reading |= {"lingering_time": 2.0, "max_line_size": 16_384, "max_field_size": 16_384}
    context = campfire.certificates.context
    SSLProtocol.max_size = 32_768  # what each connection holds to read into; asyncio's: 256 KB
    places = [(place, context) for place in listening_on(config.host, config.port)]
    port = places[0][0].getsockname()[1]
    if config.plain_port:
        places += [(place, None) for place in listening_on(config.host, config.plain_port)]
    reader = partial(Reader, lines := OpenLines(), server, loop=loop, **reading)
    serve: Any = partial(loop.create_server, reader)
    servers = [await serve(sock=at, ssl=tls, backlog=BACKLOG) for at, tls in places]
    host = f"[{config.host}]" if ":" in config.host else config.host
    return (runner, servers, lines), f"{'https' if context else 'http'}://{host}:{port}"


async def stop(campfire: Campfire, listening: Listening) -> None:
    """Says goodbye to every tab, finishes what was begun, and closes the file."""
    loop, (runner, servers, lines) = asyncio.get_running_loop(), listening
    for place in chain.from_iterable(server.sockets for server in servers):
        loop.remove_reader(place.fileno())  # asyncio forgets whoever it lets in as it closes (3.11)
    for _ in range(3):  # turns, from being let in to waiting for a request
        await asyncio.sleep(0)
    for server in servers:
        server.close()
    await asyncio.gather(campfire.sockets.disconnect_everybody(), runner.cleanup())
    await campfire.jobs.finish(seconds=7)
    await campfire.bots.client.close()
    await campfire.push.client.close()
    await campfire.previews.close()
    for line in lines:  # whose browsers have not answered the end of TLS, or began it only now
        line.abort()
    await campfire.db.close()


# === 37. rails ================================================================
# Moving in from a Rails Campfire, whose database was written over the years: it is only
# read, and nothing in it is run. One transaction, everything or nothing. Ids and times
# stay, so that addresses people kept go on working; text is made safe anew; rows that
# belong to nothing are left behind, and counted.
#
# Elsewhere a statement is a literal that SQLite plans in the tests; here, and where a file
# is repaired, the table is known only once the file is open, so `execute` puts it together.
#
# Owns      sqlite_sequence
# Raises    AlreadySetUp, DatabaseUnusable
# ==============================================================================

_ROOM_TYPES: Final = {f"Rooms::{kind.name.title()}": kind for kind in RoomType}
_TRUE: Final = frozenset((True, 1, "1", "true", "t"))
_TWICE: Final = "that were there twice"
_ON_DISK: Final = ("local", "disk", "test")  # services of Rails that keep files in a folder
_OWNERS_THERE: Final = ("Message", "User", "Account")  # whose files are taken over
# fmt: off
# Of each table: the columns that are copied, those that must say something, and those whose
# values together are there once. What else a row has is made by a method below.
_TABLES_KEPT: Final = {
    "accounts": ("custom_styles", "", ""),
    "users": ("bio", "", ""),
    "sessions": ("user_id ip_address user_agent", "token", "token"),
    "bans": ("user_id ip_address", "ip_address", "user_id ip_address"),
    "webhooks": ("user_id", "url", "user_id"),
    "push_subscriptions": ("user_id endpoint p256dh_key auth_key user_agent",
        "endpoint p256dh_key auth_key", "user_id endpoint p256dh_key auth_key"),
    "searches": ("user_id query", "", ""),
    "rooms": ("creator_id", "", ""),
    "memberships": ("room_id user_id", "", "room_id user_id"),
    "messages": ("room_id creator_id", "", ""),
    "boosts": ("message_id booster_id", "content", ""),
}
_PARENTS: Final = {"user_id": "users", "creator_id": "users", "booster_id": "users",
    "room_id": "rooms", "message_id": "messages"}  # the tables whose ids are in these columns
# fmt: on


# --- Whole tables, whichever they are ---

# Of tables without rowids, the first column of their key.
_KEYS: Final = {"mentions": "message_id", "message_pictures": "message_id", "sign_ins": "user_id"}
# What is let go of when it points to nothing, and costs nobody their row.
LET_GO: Final = {
    "avatar_id": "avatar_id = NULL",
    **dict.fromkeys(("logo_id", "logo_small_id"), "logo_id = NULL, logo_small_id = NULL"),
    "still_id": "still_id = NULL, still_width = NULL, still_height = NULL, still_state = 0",
}


def tables_of(connection: sqlite3.Connection) -> tuple[str, ...]:
    """The tables people's rows are in; not SQLite's own, and not those of the search index."""
    sql = """
        SELECT name
        FROM sqlite_schema
        WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '*_search_index*'
        ORDER BY rowid
    """
    return tuple(name for (name, *_) in connection.execute(sql))


def columns_of(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """The columns of a table; none when there is no such table."""
    listed = connection.execute("SELECT name FROM pragma_table_info(:table)", {"table": table})
    return tuple(name for (name, *_) in listed)


def rows_from(
    connection: sqlite3.Connection, table: str, start: int = 1, limit: int = -1
) -> sqlite3.Cursor:
    """A table's rows in their order, from a key on; each says in `at` what its key is."""
    key = _KEYS.get(table, "rowid")
    rest = f"{key} AS at, * FROM {quoted(table)} WHERE {key} >= :start ORDER BY {key} LIMIT :limit"
    return execute(connection, "SELECT", rest, start=start, limit=limit)


def raise_sequences(
    source: sqlite3.Connection, target: sqlite3.Connection, tables: Container[str]
) -> None:
    """New ids of these tables are greater than those another file has given: none is used again."""
    if not columns_of(source, "sqlite_sequence"):
        return
    for table, newest in source.execute("SELECT name, seq FROM sqlite_sequence"):
        if table in tables:
            values = {"name": table, "seq": int(newest or 0)}
            sql = "UPDATE sqlite_sequence SET seq = max(seq, :seq) WHERE name = :name"
            if not target.execute(sql, values).rowcount:
                put(target, "sqlite_sequence", values)


def delete_orphans(connection: sqlite3.Connection) -> Counter[str]:
    """Deletes rows that point to rows which are gone, and then those that pointed to them."""
    references = [
        (table, *reference)
        for table in tables_of(connection)
        for reference in connection.execute(
            'SELECT "from", "table", "to" FROM pragma_foreign_key_list(:table)', {"table": table}
        ).fetchall()
    ]
    gone, before = Counter[str](), -1
    while before != gone.total():
        before = gone.total()
        for table, column, parent, key in references:
            does = ("UPDATE", quoted(table), "SET", LET_GO.get(column, ""))
            words = does if column in LET_GO else ("DELETE", "FROM", quoted(table))
            reads = "NOT IN (SELECT", quoted(key), "FROM", quoted(parent), ")"
            where = "WHERE", quoted(column), "IS NOT NULL AND", quoted(column), *reads
            gone[table] += execute(connection, *words, *where).rowcount
    return +gone


# --- What Rails wrote ---


class _Row(dict[str, Any]):
    """A row of the old database; a column its schema does not have yet is None."""

    def __missing__(self, column: str) -> None:
        return None


class _LeftBehind(Exception):
    """A row that is not taken over, and why."""


@contextmanager
def open_rails(path: Path) -> Iterator[sqlite3.Connection]:
    """The database of a Rails Campfire, to be read only. Raises DatabaseUnusable."""
    if not path.is_file():
        raise DatabaseUnusable(f"there is no database at {path}")
    # SQLite must look beside the file when there is a log.
    with closing(connect(path, READ_ONLY if left_a_log(path) else IMMUTABLE)) as connection:
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        no_rails = f"{path} is no database of a Rails Campfire"
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            tables = set(tables_of(connection))
        except sqlite3.Error as error:
            raise DatabaseUnusable(f"{no_rails} ({error})") from error
        if missing := RAILS_TABLES - tables:
            raise DatabaseUnusable(f"{no_rails}: it has no table {min(missing)}")
        if "schema_version" in tables:
            why = "is a database of this Campfire, not of a Rails one: `restore` puts it in place"
            raise DatabaseUnusable(f"{path} {why}")
        yield connection


@dataclass(slots=True)
class Import:
    """One import: the old database, the new one, and what is known of it so far."""

    rails: sqlite3.Connection
    tx: WriteTx
    at: Timestamp  # for a first row without a time; then the account's
    signer: Signer
    taken: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    ids: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    members: defaultdict[int, set[UserId]] = field(default_factory=lambda: defaultdict(set))
    people: dict[UserId, Mentionable] = field(default_factory=dict)
    direct_keys: dict[int, str] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)  # by the id of their message
    files: defaultdict[tuple[str, int], list[_Row]] = field(
        default_factory=lambda: defaultdict(list)
    )  # by what they belong to
    hanging: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)  # on a message
    keys: set[str] = field(default_factory=set)  # of files
    seen: set[tuple[object, ...]] = field(default_factory=set)
    unread_times: set[tuple[object, ...]] = field(default_factory=set)

    def lines(self) -> Iterator[str]:
        """What was taken over, and what could not be, a line each."""
        yield from (f"{table}: {count}" for table, count in self.taken.items())
        yield from (f"skipped: {count} of {what}" for what, count in self.skipped.items())
        yield from (f"warning: {what} ({count})" for what, count in self.warnings.items())
        yield "foreign_key_check: ok"
        yield f"search index: {self.taken['messages']} messages"

    def take_all(self) -> None:
        """Takes everything over, parents before children."""
        self.find_files()
        accounts = list(self.rows("accounts"))
        self.take("accounts", self.account, accounts[:1])
        if others := len(accounts[1:]):
            self.warnings["only the first account is taken over"] = others
        self.take("users", self.user)
        self.take("sessions", self.session)
        self.take("bans")
        self.take("webhooks", lambda webhook: {"url": str(webhook["url"]).strip()})
        self.take("push_subscriptions")
        self.take("searches", chosen=self.newest_searches())
        self.find_directs()
        self.take("rooms", self.room)
        self.take("memberships", self.membership)
        self.find_texts()
        self.take("messages", self.message)
        self.take("boosts", self.boost)
        if self.unread_times:
            words = "times could not be read: each is now that of the row before"
            self.warnings[words] = len(self.unread_times)
        raise_sequences(self.rails, self.tx, set(tables_of(self.tx)) - {"accounts"})

    def rows(self, table: str) -> Iterator[_Row]:
        """The rows of an old table; a time that is none becomes that of the row before."""
        before = self.at
        for old in map(_Row, rows_from(self.rails, table) if columns_of(self.rails, table) else ()):
            for column in ("created_at", "updated_at", "unread_at", "last_active_at"):
                if old[column] or column == "created_at":
                    moment = moment_in(old[column])
                    if moment is None:
                        self.unread_times.add((table, old["at"], column))
                    old[column] = before if moment is None else moment
                    before = old["created_at"]
            old["updated_at"] = old["updated_at"] or before
            yield old

    def take(
        self,
        table: str,
        made_of: Callable[[_Row], Mapping[str, object]] = lambda _: {},
        chosen: Iterable[_Row] | None = None,
    ) -> None:
        """Stores the rows of a table, each with what is made of it, and what hangs on it."""
        for old in self.rows(table) if chosen is None else chosen:
            try:
                self.put(table, {**self.copied(table, old), **made_of(old)})
            except _LeftBehind as error:
                if error.args:
                    self.skipped[f"{table} {error}"] += 1
            while self.hanging:
                self.put(*self.hanging.pop(0))

    def copied(self, table: str, old: _Row) -> dict[str, object]:
        """What is copied of a row. Raises _LeftBehind, without a word when it says nothing."""
        columns, needed, key = (words.split() for words in _TABLES_KEPT[table])
        for column in _PARENTS.keys() & set(columns):
            row_id = old[column]
            if not isinstance(row_id, int) or row_id not in self.ids[_PARENTS[column]]:
                raise _LeftBehind("that belonged to nothing")
        if not all(str(old[column] or "").strip() for column in needed):
            raise _LeftBehind
        if key and not self.is_new(table, *(old[column] for column in key)):
            raise _LeftBehind(_TWICE)
        return {column: old[column] for column in ("id", *columns, "created_at", "updated_at")}

    def is_new(self, *key: object) -> bool:
        """Whether this is there for the first time."""
        known = len(self.seen)
        self.seen.add(key)
        return len(self.seen) > known

    def put(self, table: str, values: Mapping[str, object]) -> None:
        put(self.tx, table, values)
        self.taken[table] += 1
        if isinstance(row_id := values.get("id"), int):
            self.ids[table].add(row_id)

    def account(self, account: _Row) -> Mapping[str, object]:
        self.at = account["created_at"]
        name, code = str(account["name"] or "").strip(), account["join_code"]
        wanted = json_object(str(account["settings"] or "")).get(RESTRICTION)
        is_told = wanted is not None and not isinstance(wanted, (dict, list))
        settings = json.dumps({RESTRICTION: wanted in _TRUE} if is_told else {})
        named = {"name": name or "Campfire", "join_code": code or random_code(4, 4, 4)}
        logo_id = self.picture("Account", account["id"])
        return {"id": 1, **named, "settings": settings, "logo_id": logo_id}

    def user(self, person: _Row) -> Mapping[str, object]:
        role = {role.value: role for role in Role}.get(person["role"] or 0, Role.MEMBER)
        if "status" not in person:  # older schemas only know `active`
            person["status"] = 0 if person["active"] in (None, *_TRUE) else Status.DEACTIVATED.value
        status = {it.value: it for it in Status}.get(person["status"] or 0, Status.DEACTIVATED)
        name, token = str(person["name"] or "").strip(), person["bot_token"] or None
        if not name:
            self.warnings["people without a name are now called Unnamed"] += 1
        email = person["email_address"] or None
        if email and not self.is_new("e-mail addresses", email):
            self.skipped[f"e-mail addresses {_TWICE}"] += 1
            email = None
        if role is not Role.BOT:
            token = None
        elif token and not self.is_new("bot token", token):
            self.warnings["bots had the key of another; they need a new one"] += 1
            token = None
        named, times = (name or "Unnamed", email), (person["created_at"], person["updated_at"])
        user = User(UserId(person["id"]), *named, person["bio"] or "", role, status, *times)
        self.people[user.id] = self.signer.mentionable(user)
        opens = {"password_digest": person["password_digest"] or None, "bot_token": token}
        who = {"name": user.name, "email_address": email, "role": role.value}
        who |= {"avatar_id": self.picture("User", user.id)}
        return {**who, "status": status.value, **opens}

    def session(self, session: _Row) -> Mapping[str, object]:
        used = session["last_active_at"] or session["updated_at"]
        return {"token_hash": hashed(RawToken(str(session["token"]))), "last_active_at": used}

    def newest_searches(self) -> Iterator[_Row]:
        """The ten newest searches of each person, each query once."""
        kept: Counter[object] = Counter()
        newest_last = sorted(self.rows("searches"), key=lambda old: (old["updated_at"], old["id"]))
        for search in reversed(newest_last):
            owner, query = search["user_id"], str(search["query"] or "")
            if kept[owner] < RECENT_SEARCHES and query.strip():
                if self.is_new("searches", owner, query):
                    kept[owner] += 1
                    yield search
                else:
                    self.skipped[f"searches {_TWICE}"] += 1

    def find_directs(self) -> None:
        """Who is in each ping; of several with the same people the oldest is the one."""
        people: defaultdict[int, set[int]] = defaultdict(set)
        for membership in self.rows("memberships"):
            if membership["user_id"] in self.ids["users"]:
                people[membership["room_id"]].add(membership["user_id"])
        directs = [room for room in self.rows("rooms") if room["type"] == "Rooms::Direct"]
        keys: dict[str, int] = {}
        for room in sorted(directs, key=lambda room: (room["created_at"], room["id"])):
            key = ",".join(map(str, sorted(people[room["id"]])))
            if key and room["creator_id"] in self.ids["users"]:
                keys.setdefault(key, room["id"])
        self.direct_keys = {room_id: key for key, room_id in keys.items()}

    def room(self, room: _Row) -> Mapping[str, object]:
        kind = _ROOM_TYPES.get(str(room["type"]))
        if kind is None:
            raise _LeftBehind(f"of the unknown type {room['type']}")
        name = None if kind is RoomType.DIRECT else str(room["name"] or "").strip() or "Unnamed"
        return {"type": kind.value, "name": name, "direct_key": self.direct_keys.get(room["id"])}

    def membership(self, membership: _Row) -> Mapping[str, object]:
        self.members[membership["room_id"]].add(UserId(membership["user_id"]))
        level = membership["involvement"]
        involvement = level if level in set(Involvement) else Involvement.MENTIONS.value
        return {"involvement": involvement, "unread_at": membership["unread_at"] or None}

    def find_files(self) -> None:
        """The files of everything, by what they belong to: the id of their blob is `blob_id`."""
        blobs = {blob["id"]: blob for blob in self.rows("active_storage_blobs")}
        for file in self.rows("active_storage_attachments"):
            if blob := blobs.get(file["blob_id"]):
                owner = str(file["record_type"]), file["record_id"]
                self.files[owner].append(_Row({**blob, "blob_id": blob["id"], "id": file["id"]}))
                service = str(blob["service_name"] or "local")
                if service not in _ON_DISK and owner[0] in _OWNERS_THERE:
                    self.warnings[f"files are kept by the service {service}"] += 1

    def find_texts(self) -> None:
        """What each message says, and the files that stand in its text."""
        for text in self.rows("action_text_rich_texts"):
            if text["record_type"] == "Message" and text["name"] == "body":
                message_id = text["record_id"]
                self.texts[message_id] = str(text["body"] or "")
                inside = self.files["ActionText::RichText", text["id"]]
                self.files["Message", message_id] += inside

    def message(self, message: _Row) -> Mapping[str, object]:
        message_id, room_id = message["id"], message["room_id"]
        name = str(message["client_message_id"] or f"rails-{message_id}")
        if not self.is_new(room_id, name):
            self.warnings["messages shared a client id; the later ones got a new one"] += 1
            name = f"{name}-{message_id}"
            self.seen.add((room_id, name))
        body = self.body(self.texts.get(message_id, ""))
        files = self.files["Message", message_id]
        alone = files[:1] if not body.text.strip() and not body.mentions else []
        for file in alone:
            body = replace(sanitize("", {}), text=self.noted(file, message_id))
        for user_id in self.members[room_id].intersection(body.mentions):
            self.hanging.append(("mentions", {"message_id": message_id, "user_id": user_id}))
        if left_out := len(files) - len(alone):
            self.warnings["files beside text or other files were left out"] += left_out
        return {"client_message_id": name, "body_html": body.html, "body_text": body.text}

    def body(self, source: str) -> Body:
        if PREVIEW_TYPE in source:
            self.warnings["link previews are kept without their pictures"] += 1
        if is_nested_too_deeply(source):
            self.warnings["messages were nested too deeply: only their words are kept"] += 1
            source = escape(unescape(re.sub(r"<[^>]*>", " ", source)), quote=False)
        return sanitize(source, self.people)

    def blob(self, file: _Row, **more: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is noted of a file whose bytes are still in the old folder."""
        key, name, metadata = str(file["key"]), str(file["filename"]), str(file["metadata"] or "")
        size, at = file["byte_size"] or 0, file["created_at"]
        blob, noted = noted_file(key, name, size, metadata, at, md5=file["checksum"], **more)
        blob["key"] = fresh_key() if blob["key"] in self.keys else blob["key"]
        self.keys.add(blob["key"])
        return {**blob, "id": len(self.keys)}, noted

    def picture(self, owner: str, owner_id: int) -> int | None:
        """The picture of a person or of the account, which hangs there once it is brought here."""
        if not (files := self.files[owner, owner_id]):
            return None
        blob, _ = self.blob(files[-1])
        self.put("blobs", blob)
        return len(self.keys)

    def noted(self, file: _Row, message_id: int) -> str:
        """Notes the file of a message, whose name this is; its bytes are not here yet."""
        more: dict[str, object] = {}
        for drawn in self.files["ActiveStorage::Blob", file["blob_id"]][:1]:
            key, size, md5 = drawn["key"], drawn["byte_size"], drawn["checksum"]
            more["poster"] = {"key": key, "size": size, "md5": md5}
        blob, noted = self.blob(file, **more)
        noted |= {"message_id": message_id, "blob_id": blob["id"]}
        self.hanging += [("blobs", blob), ("attachments", noted)]
        return str(noted["filename"])

    def boost(self, boost: _Row) -> Mapping[str, object]:
        content = str(boost["content"]).strip()
        if len(content) > BOOST_LIMIT:
            self.warnings["boosts were cut to 16 characters"] += 1
        return {"content": content[:BOOST_LIMIT]}


def import_all(tx: WriteTx, at: Timestamp, rails: sqlite3.Connection, signer: Signer) -> Import:
    """Takes a Rails Campfire over, or nothing. Raises AlreadySetUp, DatabaseUnusable."""
    if is_set_up(tx):
        raise AlreadySetUp
    moving = Import(rails, tx, at, signer)
    try:
        moving.take_all()
        rebuild_index(tx)
        broken = tx.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.Error as error:
        raise DatabaseUnusable(f"nothing was imported: {error}") from error
    if broken or not moving.taken["accounts"]:
        why = f"{broken[0]} points to a missing row" if broken else "it has no account"
        raise DatabaseUnusable(f"nothing was imported: {why}")
    return moving


# === 38. moving ===============================================================
# Files that are still in another Campfire's folder, and are brought here: an import wrote
# down which, or a 1.x did. Each is looked for under the key it has there. What is not as
# its old row says stays where it is, and waits on; what comes has a second name here, or is
# copied where there are none. A film's poster, pictures of people and the logo are drawn
# anew, by the workshop. A server may run meanwhile: bytes lie in their place before a row
# says so, and a row says so only while it waits for them.
#
# Owns      -
# Raises    AttachmentNotFound, StorageFull
# ==============================================================================

_STEP: Final = 500  # files, between two commits
_EVERY: Final = 5  # seconds, between two words on how far it is
_KEY_THERE: Final = re.compile("[A-Za-z0-9]{5,64}")  # nothing that leads elsewhere


class _NotTaken(Exception):
    """Why a file does not come."""


@dataclass(frozen=True, slots=True)
class _Brought:
    """A file in its place, before its row says so."""

    row: sqlite3.Row
    source: Path
    sha256: bytes
    content_type: str


def folder_of_rails(given: Path) -> Path:
    """Where Rails' files lie: `storage/files`, which may be given as `storage`. Raises OSError."""
    inner = given / "files"
    if not given.is_dir():
        raise OSError(f"there is no folder at {given}")
    return inner if inner.is_dir() else given


def _digests(place: Path) -> tuple[bytes, bytes, str]:
    """The first bytes of a file, its SHA-256, and its MD5 as Rails writes it."""
    sha256, md5, head = hashlib.sha256(), hashlib.md5(usedforsecurity=False), b""
    with place.open("rb") as file:
        while piece := file.read(COPIED_AT_ONCE):
            head = head or piece[:HEAD_BYTES]
            sha256.update(piece)
            md5.update(piece)
    return head, sha256.digest(), base64.b64encode(md5.digest()).decode()


def _awaited_files(tx: ReadTx, after: int, most: int) -> list[sqlite3.Row]:
    """The next files whose bytes, or whose poster, are still elsewhere; and whose they are."""
    sql = """
        SELECT blobs.id, key, byte_size, sha256 IS NOT NULL AS is_here, awaited, filename,
          attachments.id AS file_id, message_id, users.id AS user_id
        FROM blobs
        LEFT JOIN attachments ON attachments.blob_id = blobs.id
        LEFT JOIN users ON avatar_id = blobs.id
        WHERE blobs.id > :after AND (sha256 IS NULL OR awaited IS NOT NULL)
        ORDER BY blobs.id LIMIT :most
    """
    return rows(tx, sql, after=after, most=most)


def _are_known(tx: ReadTx, keys: Sequence[str]) -> set[str]:
    """Those of some files that a row speaks of, or the sweeper."""
    sql = """
        SELECT key FROM blobs WHERE key IN (SELECT value FROM json_each(:keys))
        UNION SELECT key FROM doomed_blobs WHERE key IN (SELECT value FROM json_each(:keys))
    """
    return {key for (key,) in rows(tx, sql, keys=as_list(keys))}


def _undrawn(tx: ReadTx, after: int, most: int) -> list[int]:
    """The next pictures whose stills nobody tried to make, by the ids of their attachments."""
    sql = """
        SELECT id
        FROM attached
        WHERE id > :after AND still_state = 0 AND kind = 'image' AND sha256 IS NOT NULL
        ORDER BY id LIMIT :most
    """
    return [file_id for (file_id,) in rows(tx, sql, after=after, most=most)]


def _note_all(
    tx: WriteTx, at: Timestamp, brought: Sequence[_Brought], *, is_news: bool
) -> dict[str, Path]:
    """Where those were, by key, whose rows waited for them; and now say that they are here."""
    noted = [
        each
        for each in brought
        if note_bytes(tx, at, each.row["id"], each.sha256, each.content_type)
    ]
    messages = [each.row["message_id"] for each in noted]
    index_anew(tx, messages)
    if is_news:
        show_anew(tx, at, messages)
    return {each.row["key"]: each.source for each in noted}


def _hang(
    tx: WriteTx, at: Timestamp, awaited: sqlite3.Row, still: Still | None, *stored: StoredFile
) -> None:
    """Hangs up a picture where it is waited for: somebody's, the logo, or a film's poster, which
    without one has none for ever. Raises AttachmentNotFound."""
    if awaited["file_id"] is not None:
        file = file_by_id(tx, awaited["file_id"])
        if not file.still_state:
            note_still(tx, at, file, stored[0] if stored else None, still)
        stop_waiting(tx, at, awaited["id"])
    elif (user_id := awaited["user_id"]) is None:
        if the_account(tx).logo_id == awaited["id"]:
            set_logo(tx, at, *stored)
    elif user_by_id(tx, user_id).avatar_id == awaited["id"]:
        set_avatar(tx, at, user_id, *stored)


class Moving:
    """Brings what is awaited from a folder: what came, and what did not and why."""

    def __init__(
        self, db: Database, store: Store, workshop: Workshop, folder: Path, *, is_news: bool
    ) -> None:
        self._db, self._store, self._workshop, self._folder = db, store, workshop, folder
        self._is_news = is_news  # to a server that shows files as missing
        self._files, self._bytes, self._told_at = 0, 0, time.monotonic()
        self.taken: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        (store.folder / "incoming").mkdir(parents=True, exist_ok=True, mode=0o700)

    def lines(self) -> Iterator[str]:
        """What was brought, and what could not be, a line each."""
        taken = {"files": self.taken["files"], **(+self.taken)}
        yield from (f"{what}: {count}" for what, count in taken.items())
        yield from (f"warning: {what} ({count})" for what, count in self.warnings.items())

    async def take_all(self, *, is_move: bool) -> None:
        """Brings everything; for a move it is removed there once it is here."""
        after = 0
        while step := await self._db.read(_awaited_files, after, _STEP):
            came = await self._take_bytes([each for each in step if not each["is_here"]])
            places = [*came.values()]
            for each in step:
                if each["file_id"] is None or each["is_here"] or each["key"] in came:
                    places += await self._drawn(each)
            for place in places if is_move else ():
                place.unlink(missing_ok=True)
            after = step[-1]["id"]

    async def draw_stills(self) -> None:
        """Makes the stills that otherwise are made when somebody looks."""
        after = 0
        while step := await self._db.read(_undrawn, after, _STEP):
            for file_id in step:
                with self._explained("stills"):
                    await self._draw_still(await self._db.read(file_by_id, file_id))
            after = step[-1]

    async def _draw_still(self, file: AttachedFile) -> None:
        still = None
        with suppress(PictureUnreadable), self._store.open(file.blob) as source:
            still = await self._workshop.still(source.fileno())
        async with AsyncExitStack() as opened:
            stored = await self._store.keep(still.data, opened) if still else None
            await self._db.write(note_still, file, stored, still)
        self._count("stills", 0)

    async def _take_bytes(self, step: Sequence[sqlite3.Row]) -> dict[str, Path]:
        """Puts files in their places, and says so in their rows; where they were, by key."""
        brought: list[_Brought] = []
        for each in step:
            if each["file_id"] is not None:
                with self._explained("files"):
                    brought.append(self._bring(each))
        os.sync()  # folder by folder would have the disk answer a thousand times
        noted = await self._db.write(_note_all, brought, is_news=self._is_news)
        gone = [each.row["key"] for each in brought if each.row["key"] not in noted]
        for key in {*gone} - await self._db.read(_are_known, gone):  # deleted meanwhile
            path_in(self._store.folder, key).unlink(missing_ok=True)
        return noted

    def _bring(self, file: sqlite3.Row) -> _Brought:
        """Puts a file in its place. Raises _NotTaken."""
        told = {"key": file["key"], **json_object(file["awaited"] or ""), "size": file["byte_size"]}
        source, place = self._found(told), path_in(self._store.folder, file["key"])
        place.unlink(missing_ok=True)  # what an earlier try left
        if not is_put_at(source, place):
            copy_to(source, place)
        head, sha256, md5 = _digests(place)
        if told.get("md5") not in (None, "", md5):
            place.unlink()
            raise _NotTaken("have other bytes than they had")
        self._count("files", file["byte_size"])
        self.taken["files that share their bytes with the old folder"] += source.samefile(place)
        return _Brought(file, source, sha256, type_of(head, file["filename"]))

    def _found(self, told: Mapping[str, object]) -> Path:
        """Where a file lies there. Raises _NotTaken."""
        key, size = told["key"], None
        place = path_in(self._folder, key if isinstance(key, str) else "")
        if isinstance(key, str) and _KEY_THERE.fullmatch(key):
            with suppress(OSError):
                about = place.lstat()
                size = about.st_size if stat.S_ISREG(about.st_mode) else None
        if size is None:
            raise _NotTaken(f"are not in {self._folder}")
        if size != told["size"]:
            raise _NotTaken("have another size than they had")
        return place

    async def _drawn(self, awaited: sqlite3.Row) -> list[Path]:
        """Where a picture was that hangs here now: a film's poster, somebody's, the logo."""
        about = json_object(awaited["awaited"] or "")
        if awaited["file_id"] is not None:
            what, told = "posters", about.get("poster")
        else:
            what = "logos" if awaited["user_id"] is None else "pictures of people"
            told = {"key": awaited["key"], **about, "size": awaited["byte_size"]}
        if told:
            with self._explained(what):
                place = self._found(told)
                if told.get("md5") not in (None, "", _digests(place)[2]):
                    raise _NotTaken("have other bytes than they had")
                await self._draw(what, place, awaited)
                return [place]
        return []

    async def _draw(self, what: str, place: Path, awaited: sqlite3.Row) -> None:
        """Has the workshop draw a picture anew, and hangs it up. Raises _NotTaken."""
        still, made = None, list[bytes]()
        with suppress(PictureUnreadable), place.open("rb", buffering=0) as source:
            if what == "posters":
                still = await self._workshop.still(source.fileno())
                made = [still.data]
            else:
                draw = self._workshop.logo if what == "logos" else self._workshop.avatar
                made += await draw(source.fileno())
        async with AsyncExitStack() as opened:
            stored = [await self._store.keep(picture, opened) for picture in made]
            await self._db.write(_hang, awaited, still, *stored)
        if not made:
            raise _NotTaken("cannot be read")
        self._count(what, 0)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Counts why something does not come."""
        try:
            yield
        except _NotTaken as error:
            self.warnings[f"{what} {error}"] += 1
        except PicturesUnavailable:
            self.warnings[f"{what} wait until Pillow is installed"] += 1
        except AttachmentNotFound:  # deleted meanwhile
            pass

    def _count(self, what: str, size: int) -> None:
        """Counts what came, and says how far it is now and then."""
        self.taken[what] += 1
        self._files, self._bytes = self._files + 1, self._bytes + size
        if time.monotonic() - self._told_at > _EVERY:
            self._told_at = time.monotonic()
            sys.stderr.write(f"campfire: {self._files} so far, {size_in_words(self._bytes)}\n")


async def bring_all(
    db: Database, config: Config, line: socket.socket, folder: Path, *flags: str, is_news: bool
) -> Iterator[str]:
    """Brings all that is awaited from a folder, by the way that leads to the workshop; what is to
    be said of it. Flags may be `move` and `stills`."""
    workshop = Workshop()
    workshop.open(line)
    moving = Moving(db, Store(db, config), workshop, folder, is_news=is_news)
    await moving.take_all(is_move="move" in flags)
    if "stills" in flags:
        await moving.draw_stills()
    workshop.close()
    return moving.lines()


# === 39. repair ===============================================================
# Whether the file is sound, and what can be done when it is not. Looking changes nothing.
# Mending builds again what follows from the rows (indexes, the words of search) and deletes
# what points nowhere. When pages are gone, every row that can still be read goes into a new
# file, and what is lost is said. A table is read forwards; where that stops, the next
# readable key is searched for, so that one bad page costs its own rows and no more. What
# SQLite will not even open (cut short, without its header or first page) is made readable on
# a copy: the header is written anew, and the rows that say which table begins on which page
# are looked for on every page there is. Nobody's words are dropped because their author's
# row is lost: a stand-in takes the author's place. Numbers in brackets are sections of
# https://sqlite.org/fileformat.html.
#
# Raises    DatabaseUnusable, DatabaseBusy
# ==============================================================================

_PAGE: Final = 4_096  # bytes, of every file that Campfire makes
_LEAF: Final = 13  # the kind of page that rows of a table are on (1.6)
_MORE: Final = 0x80  # the bit of a byte that is not the last of its number (1.6)
_WIDTHS: Final = (0, 1, 2, 3, 4, 6, 8, 8)  # bytes, of NULL and of numbers (2.1)
_TEXT: Final = 12  # from here on a column is bytes or text (2.1)
_HIGHEST: Final = 2**62


@dataclass(frozen=True, slots=True)
class Verdict:
    """What looking at a file found: damage, and what is only worth knowing."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Salvage:
    """A new file, how many rows it has, by table, and what could not be saved."""

    database: str
    rows: Mapping[str, int]
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """What mending did, as programs read it; the new file if one had to be made."""

    backup: str
    repaired: tuple[str, ...]
    recovered: Salvage | None


# --- A copy that SQLite can open ---


def _row_at(page: bytes, at: int) -> list[object]:
    """The columns of a row that lies on its page as a whole. Raises IndexError."""
    left = io.BytesIO(page[at:])

    def number() -> int:
        """A number of up to nine bytes (1.6)."""
        value = 0
        for _ in range(8):
            byte = left.read(1)[0]
            value = value << 7 | byte % _MORE
            if byte < _MORE:
                return value
        return value << 8 | left.read(1)[0]

    def column(kind: int) -> object:
        """A value (2.1); numbers, texts and NULL are enough."""
        if kind >= _TEXT:
            return left.read((kind - _TEXT) // 2).decode("utf-8", "replace")
        if kind >= len(_WIDTHS):  # the numbers 0 and 1
            return kind - len(_WIDTHS)
        return int.from_bytes(left.read(_WIDTHS[kind]), signed=True) if kind else None

    size, _ = number(), number()
    if at + left.tell() + size > len(page):
        raise IndexError(at)
    end, kinds = left.tell() + number(), []
    while left.tell() < end:
        kinds.append(number())
    return [column(kind) for kind in kinds]


def _rows_in(path: Path) -> Iterator[list[object]]:
    """Every row of every table that lies on its page as a whole."""
    with path.open("rb") as opened:
        while page := opened.read(_PAGE):
            count = int.from_bytes(page[3:5]) if page[0] == _LEAF else 0
            for n in range(min(count, len(page) // 4)):
                with suppress(IndexError):
                    yield _row_at(page, int.from_bytes(page[8 + 2 * n : 10 + 2 * n]))


def _give_header(copy: Path, *, has_log: bool) -> None:
    """Makes the file whole pages, and writes its first hundred bytes (1.3), keeping what it can."""
    pages = max(-(-copy.stat().st_size // _PAGE), 1)
    os.truncate(copy, pages * _PAGE)
    with copy.open("r+b") as opened:
        kept = opened.read(100)
        counter, mode = kept[24:28], bytes((2, 2) if has_log else (1, 1))
        head = b"SQLite format 3\0" + _PAGE.to_bytes(2, "big") + mode + bytes((0, 64, 32, 32))
        head += counter + pages.to_bytes(4, "big") + bytes(8)  # no page is free
        head += kept[40:44] + (4).to_bytes(4, "big") + bytes(8) + (1).to_bytes(4, "big")
        opened.seek(0)
        opened.write(head + bytes(8) + kept[68:72] + bytes(20) + counter + kept[96:100])


def _give_tables(copy: Path) -> None:
    """Lists on the first page what tables are found: their names, their pages, their SQL (2.6)."""
    tables: dict[str, list[object]] = {}
    for columns in _rows_in(copy):
        match columns:
            case ["table" | "index" as kind, str(name), str(), int(), None | str() as sql]:
                is_ours = kind == "table" or sql is None
                if is_ours and not name.startswith("message_search_index"):
                    tables[name] = columns
            case _:
                pass
    with copy.open("r+b") as opened:
        opened.seek(100)
        opened.write(bytes((_LEAF, 0, 0, 0, 0)) + _PAGE.to_bytes(2, "big") + bytes(_PAGE - 107))
    with closing(connect(copy, READ_WRITE)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        names = columns_of(connection, "sqlite_schema")
        for columns in tables.values():
            put(connection, "sqlite_schema", dict(zip(names, columns, strict=True)))


def _readable_copy(path: Path, folder: str) -> Path:
    """A copy that SQLite can open. Raises sqlite3.DatabaseError when it was no Campfire's."""
    copy, log = Path(folder) / "wreck.db", beside(path, "-wal")
    shutil.copyfile(path, copy)
    if has_log := log.exists():
        shutil.copyfile(log, f"{copy}-wal")
    for give in (partial(_give_header, has_log=has_log), _give_tables, None):
        with suppress(sqlite3.Error), closing(connect(copy, READ_WRITE)) as connection:
            if "messages" in tables_of(connection):
                return copy
        if give:
            give(copy)
    raise sqlite3.DatabaseError("no page says where the messages are")


# --- Row by row into a new file ---


def _readable_rows(
    connection: sqlite3.Connection, table: str, gaps: list[tuple[int, int]]
) -> Iterator[sqlite3.Row]:
    """All rows that can be read; `gaps` gets the first and last key of what cannot."""

    def is_readable(start: int) -> bool:
        with suppress(sqlite3.Error):
            rows_from(connection, table, start, limit=1).fetchall()
            return True
        return False

    at = 1
    while at < _HIGHEST:
        try:
            for readable in rows_from(connection, table, at):
                at = max(at, readable["at"] + 1)
                yield readable
        except sqlite3.Error:
            first, step = at, 1
            while step < _HIGHEST and not is_readable(at + step):
                step *= 2
            at = bisect_left(range(at + step), 1, at + step // 2 + 1, key=is_readable)
            at = min(at, _HIGHEST)
            gaps.append((first, at - 1))
        else:
            return


def _save_table(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str, lost: list[str]
) -> int:
    """Saves every readable row of a table; how many that are. `lost` gets what is lost of it."""
    there = columns_of(source, table)
    if not there:
        lost.append(f"{table}: the whole table")
        return 0
    columns = [name for name in columns_of(target, table) if name in there]
    gaps, saved, refused = list[tuple[int, int]](), 0, 0
    for readable in _readable_rows(source, table, gaps):
        try:
            put(target, table, {name: readable[name] for name in columns})
            saved += 1
        except sqlite3.Error:
            refused += 1
    spans = ", ".join(f"{a} to {z}" if z < _HIGHEST - 1 else f"from {a} on" for a, z in gaps)
    try:  # the smallest index may know how many there were
        (count,) = execute(source, "SELECT", "count(*) FROM", quoted(table)).fetchone()
        if (missing := count - saved - refused) > 0:
            where = f" (ids {spans})" if spans else ""
            lost.append(f"{table}: {missing} rows could not be read{where}")
    except sqlite3.Error:
        if spans:
            lost.append(f"{table}: what was at ids {spans} could not be read")
    if refused:
        lost.append(f"{table}: {refused} rows made no sense any more")
    return saved


def _stand_ins(target: sqlite3.Connection, at: int) -> Iterator[str]:
    """Takes the places of lost rooms and people, and says so; then what belongs to nothing goes."""
    times = {"created_at": at, "updated_at": at}
    sql = """
        SELECT room_id AS id, min(creator_id) AS creator_id
        FROM messages
        WHERE room_id NOT IN (SELECT id FROM rooms)
        GROUP BY room_id
    """
    for room in (rooms := target.execute(sql).fetchall()):
        put(target, "rooms", {**room, "type": "closed", "name": f"Lost room {room['id']}", **times})
    if rooms:
        yield f"rooms: what {len(rooms)} of them were called, and of what kind they were"
    sql = """
        SELECT creator_id AS id FROM messages
        UNION SELECT creator_id FROM rooms
        UNION SELECT user_id FROM memberships
        EXCEPT SELECT id FROM users
    """
    for person in (people := target.execute(sql).fetchall()):
        name = f"Lost person {person['id']}"
        put(target, "users", {**person, "name": name, "status": 1, **times})
    if people:
        yield f"users: who {len(people)} people were; their words are kept under stand-ins"
    for table, count in delete_orphans(target).items():
        yield f"{table}: {count} rows that belonged to something lost"


def _salvage(path: Path, into: Path, at: float) -> Salvage:
    """Saves every readable row of a damaged file into a new one."""
    moment, saved, lost = int(at * SECOND), Counter[str](), list[str]()
    with (
        growing(into) as part,
        tempfile.TemporaryDirectory(prefix=".campfire-", dir=path.resolve().parent) as folder,
        closing(connect(_readable_copy(path, folder))) as source,
        closing(connect(part, READ_WRITE)) as target,
    ):
        source.text_factory = lambda data: data.decode("utf-8", "replace")
        create_schema(target, moment)
        target.execute("BEGIN")
        for table in tables_of(target):
            if table not in ("schema_version", "doomed_blobs"):  # they are the new file's own
                saved[table] = _save_table(source, target, table, lost)
        lost += _stand_ins(target, moment)
        with suppress(sqlite3.Error):
            raise_sequences(source, target, tables_of(target))
        rebuild_index(target)
        target.execute("COMMIT")
    return Salvage(str(into), dict(+saved), tuple(lost))


# --- Looking ---


def _expected() -> dict[str, tuple[str, str]]:
    """The kinds of a new database's tables and indexes, and what makes them, by name."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
        create_schema(model)
        sql = """
            SELECT name, type, sql
            FROM sqlite_schema
            WHERE type IN ('table', 'index') AND sql IS NOT NULL AND name NOT GLOB 'sqlite_*'
            ORDER BY type DESC, rowid
        """
        return {name: (kind, makes) for name, kind, makes in model.execute(sql)}


def _missing(connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """Those that are not there."""
    there = {name for (name, *_) in connection.execute("SELECT name FROM sqlite_schema")}
    return {name: made for name, made in _expected().items() if name not in there}


def _sentences(connection: sqlite3.Connection, what: str) -> Iterable[Sequence[str]]:
    """What is wrong there, or only odd; nothing is a group without rows, and says nothing."""
    match what:
        case "pages":
            return connection.execute("PRAGMA integrity_check(20)")
        case "schema":
            lost = _missing(connection)
            return [(f"{kind} {name} is missing",) for name, (kind, _) in lost.items()]
        case "references":
            broken = connection.execute("PRAGMA foreign_key_check")
            counts = Counter(f"{table} point to missing {parent}" for table, _, parent, _ in broken)
            return [(f"{count} rows of {words}",) for words, count in counts.items()]
        case "search":
            sql = """
                SELECT count(*) || ' messages are missing from the search index'
                FROM messages
                WHERE id NOT IN (SELECT rowid FROM message_search_index)
                GROUP BY NULL
                UNION ALL
                SELECT count(*) || ' entries of the search index have no message'
                FROM message_search_index
                WHERE rowid NOT IN (SELECT id FROM messages)
                GROUP BY NULL
            """
            return connection.execute(sql)
        case "unread":
            sql = """
                SELECT count(*) || ' unread marks of people who are no members'
                FROM memberships
                WHERE unread_at IS NOT NULL AND NOT (
                  user_id IN (SELECT id FROM users) AND room_id IN (SELECT id FROM rooms))
                GROUP BY NULL
            """
            return connection.execute(sql)
        case _:
            sql = """
                SELECT 'room ' || id || ' (' || coalesce(name, 'a ping') || ') has no members'
                FROM rooms
                WHERE id NOT IN (SELECT room_id FROM memberships)
                ORDER BY id
            """
            return connection.execute(sql)


def _looked(connection: sqlite3.Connection, *looks: str) -> Iterator[str]:
    for what in looks:
        try:
            said = "\n".join(line for (line, *_) in _sentences(connection, what))
        except sqlite3.Error as error:
            said = str(error)
        yield from (f"{what}: {line}" for line in said.splitlines() if line != "ok")


def look_at(path: Path) -> Verdict:
    """What is wrong with a database, in use or not. Raises DatabaseUnusable, DatabaseBusy."""
    require_access(path)
    try:
        require_database(path)
    except DatabaseUnreadable as error:
        return Verdict((f"file: {error}",), ())
    notes, looks = [], ("pages", "schema", "references", "search", "unread")
    if sqlite3.sqlite_version_info < (3, 51, 3):
        why = "before 3.51.3 no other program may checkpoint this file, as Litestream does"
        notes.append(f"SQLite {sqlite3.sqlite_version}: {why}")
    try:
        with closing(connect(path)) as connection:
            problems = list(_looked(connection, *looks))
            try:  # inside: the last to leave would fold the log in
                with closing(connect(path, READ_WRITE)) as writer:  # no other may ask FTS5
                    writer.execute("BEGIN IMMEDIATE")  # which closing takes back
                    verify_index(writer)
            except sqlite3.Error as error:
                if is_busy(error):
                    raise DatabaseBusy from error
                problems.append(f"search: the index does not agree with itself ({error})")
            notes += _looked(connection, "rooms")
    except sqlite3.Error as error:
        problems = [f"file: {error}"]
    return Verdict(tuple(problems), tuple(notes))


# --- Mending ---


def _lost_indexes(connection: sqlite3.Connection) -> list[str]:
    """The indexes beyond rebuilding and dropping; each is tried alone, for a failure spoils all."""
    lost = []
    with suppress(sqlite3.Error):  # not even the schema can be read
        missing = _missing(connection)
        for name, (kind, _) in sorted(_expected().items()):
            if kind == "index" and name not in missing:
                try:
                    connection.execute(f'REINDEX "{name}"')
                except sqlite3.DatabaseError:
                    lost.append(name)
    return lost


def _mended(connection: sqlite3.Connection, what: str, lost: Sequence[str]) -> str:
    """Makes one thing whole again; what was done, if anything was."""
    match what:
        case "lost indexes":  # DROP INDEX would read their pages, which cannot be read
            connection.execute("PRAGMA writable_schema = ON")
            gone = "FROM sqlite_schema WHERE type = 'index' AND name IN (SELECT value FROM"
            execute(connection, "DELETE", gone, "json_each(:lost))", lost=json.dumps(lost))
            connection.execute("PRAGMA writable_schema = RESET")
            for name in lost:
                connection.execute(_expected()[name][1])
            return f"made anew from the rows: {', '.join(lost)}"
        case "indexes":
            for kind, sql in _missing(connection).values():
                if kind == "index":
                    connection.execute(sql)
            connection.execute("REINDEX")
            return "rebuilt every index"
        case "references":
            orphans = delete_orphans(connection).items()
            counts = ", ".join(f"{count} of {table}" for table, count in orphans)
            return f"deleted rows that pointed nowhere: {counts}" if counts else ""
        case _:
            return f"rebuilt the search index over {rebuild_index(connection)} messages"


def _all_mended(path: Path) -> Iterator[str]:
    """What was done, in place: nothing of it takes a row away that belongs to something."""
    with closing(connect(path, READ_WRITE)) as connection:
        lost = _lost_indexes(connection)
        for what in (*(("lost indexes",) if lost else ()), "indexes", "references", "search"):
            done = ""
            with suppress(sqlite3.Error):  # looking again tells what is still wrong
                connection.execute("BEGIN IMMEDIATE")
                with connection:
                    done = _mended(connection, what, lost)
            if done:
                yield done
            if what == "lost indexes":
                with suppress(sqlite3.Error):  # the pages of the old ones belong to nothing
                    connection.execute("VACUUM")


def repair(path: Path, at: float) -> tuple[Verdict, Repair]:
    """Mends a file once it is copied, or salvages it. Raises DatabaseUnusable, DatabaseBusy."""
    copy = free_name(path.parent / "backups" / f"before-repair-{stamp(at)}.db")
    endings, done = ("", "-wal") if left_a_log(path) else ("",), list[str]()
    with ExitStack() as opened:  # the files last: closing one gives up SQLite's locks on it
        sources = [opened.enter_context(beside(path, ending).open("rb")) for ending in endings]
        connection = opened.enter_context(closing(connect(path, READ_WRITE)))
        with suppress(sqlite3.Error):  # no server writes meanwhile
            connection.execute("BEGIN IMMEDIATE")
        for ending, source in zip(endings, sources, strict=True):  # SQLite would stop at the damage
            with growing(Path(f"{copy}{ending}")) as part, part.open("wb") as target:
                shutil.copyfileobj(source, target)
    with suppress(DatabaseUnreadable):  # which is beyond mending
        recognise(path)
        done += _all_mended(path)
    verdict, recovered = look_at(path), None
    if verdict.problems:
        with suppress(sqlite3.Error):  # it is no database at all
            recovered = _salvage(path, free_name(Path(f"{path}.recovered")), at)
    return verdict, Repair(str(copy), tuple(done), recovered)


def findings(before: Verdict, verdict: Verdict, mended: Repair | None) -> Iterator[str]:
    """What people read of a check: before it, after it, and of what was done."""
    if mended:
        yield from (f"found: {line}" for line in before.problems)
        yield f"the file as it was is kept in {mended.backup}"
        yield from mended.repaired
    yield from (f"note: {line}" for line in verdict.notes)
    yield from verdict.problems
    if mended and (new := mended.recovered):
        yield f"{sum(new.rows.values())} rows are saved in {new.database}"
        yield from (f"saved: {count} rows of {table}" for table, count in new.rows.items())
        yield from (f"lost: {line}" for line in new.lost or ("nothing",))


# === 40. backup ===============================================================
# The files beside the database. Is each where its row says, whole, and nothing there that
# no row speaks of: looking changes nothing, mending marks what is gone, so that everybody
# sees it, and puts aside what nobody knows. No byte is ever deleted here.
#
# A copy of all is the database first, and then the files that this copy speaks of: what is
# deleted meanwhile leaves the disk an hour later. Files never change, so a second name is as
# good as a copy, and takes no room; where there are none, copies are made of second names
# that last until the slowest disk is done. The database gets its name last: where it is, all
# is. A server may run.
#
# Owns      -
# Raises    DatabaseBusy, DatabaseForeign, DatabaseUnusable, FileExistsError
# ==============================================================================

_STRAY_AFTER: Final = 25 * 3_600  # seconds: by then a server has swept what it left
_OVERDUE: Final = 2 * 3_600 * SECOND
_A_MEGABYTE: Final = 1_000_000
_LISTED: Final = "IN (SELECT value FROM json_each(:ids))"
_OWNERS: Final = (  # tables and their columns that own files, and whose they are, in words
    ("attachments", "blob_id", "'the file of message ' || message_id"),
    ("attachments", "still_id", "'the still of message ' || message_id"),
    ("users", "avatar_id", "'the picture of person ' || id"),
    ("accounts", "logo_id", "'the logo'"),
    ("accounts", "logo_small_id", "'the small logo'"),
    ("preview_pictures", "blob_id", "'the picture of a preview'"),
)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a look at the store found."""

    lacking: tuple[int, ...] = ()  # rows whose bytes are gone, or others
    set_aside: tuple[Path, ...] = ()  # files that are not what a row says, or that none knows
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _owners(connection: sqlite3.Connection) -> dict[int, str]:
    """Whose file each is, in words."""
    owners: dict[int, str] = {}
    for table, column, words in _OWNERS:
        owners |= execute(connection, "SELECT", column, ",", words, "FROM", table).fetchall()
    return owners


def _fault_of(place: Path, size: int, sha256: bytes = b"", *, is_deep: bool = False) -> str:
    """What is wrong with a file; nothing of one that is as its row says."""
    try:
        about = place.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_size != size:
            return f"has {about.st_size} bytes and not {size}"
        if is_deep:
            with place.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
            return "" if digest == sha256 else "has other bytes"
    except OSError as error:
        return f"cannot be read ({words_of(error)})"
    return ""


def take_inventory(path: Path, folder: Path, now: float, *, is_deep: bool) -> Inventory:
    """Compares rows and files; all bytes of them if it is to be deep."""
    with closing(connect(path)) as connection:
        if "blobs" not in tables_of(connection):
            return Inventory()
        blobs = connection.execute("SELECT id, key, byte_size, sha256 FROM blobs").fetchall()
        doomed = dict(connection.execute("SELECT key, unlink_after FROM doomed_blobs").fetchall())
        owners = _owners(connection)
    started, lacking, wrong, problems = time.monotonic(), list[int](), list[Path](), list[str]()
    here = [blob for blob in blobs if blob["sha256"] is not None]
    for blob_id, key, size, sha256 in here:
        place = path_in(folder, key)
        if fault := _fault_of(place, size, sha256, is_deep=is_deep):
            lacking.append(blob_id)
            wrong += [place] if place.is_file() else []
            problems.append(f"files: {owners.get(blob_id, f'blob {blob_id}')} {fault}")
    known = {blob["key"] for blob in blobs} | doomed.keys()
    unknown = (each for each in folder.glob("[a-z0-9][a-z0-9]/??/*") if each.name not in known)
    strays = [each for each in unknown if each.lstat().st_mtime < now - _STRAY_AFTER]
    left = {each.name for each in (folder / "incoming").glob("*")} - doomed.keys()
    overdue = [after for after in doomed.values() if after < now * SECOND - _OVERDUE]
    counted = {
        "have not been moved here yet": len(blobs) - len(here),
        "belong to no row": len(strays),
        "were left on their way in": len(left),
        "should have been removed by now: no server has run": len(overdue),
    }
    notes = [f"{count} files {what}" for what, count in counted.items() if count]
    if is_deep:
        read = sum(blob["byte_size"] for blob in here) / _A_MEGABYTE
        pace = read / max(time.monotonic() - started, 0.001)
        notes.append(f"{read:.0f} MB of files were read, {pace:.0f} MB a second")
    return Inventory(tuple(lacking), (*wrong, *strays), tuple(problems), tuple(notes))


def _mark(connection: sqlite3.Connection, lacking: Sequence[int], now: float) -> None:
    """Rows without bytes: a still is made anew, a picture is let go of, a file is missing. Files
    that nobody owns then end as all do."""
    ids = as_list(lacking)
    for table, column, _ in _OWNERS:
        if column in LET_GO:
            words = "UPDATE", table, "SET", LET_GO[column], "WHERE", column, _LISTED
            execute(connection, *words, ids=ids)
    for table in ("message_pictures", "preview_pictures"):
        execute(connection, "DELETE", "FROM", table, "WHERE blob_id", _LISTED, ids=ids)
    execute(connection, "UPDATE", "blobs SET sha256 = NULL WHERE id", _LISTED, ids=ids)
    owners = _owners(connection)
    listed = connection.execute("SELECT id FROM blobs")
    ids = as_list([blob_id for (blob_id,) in listed if blob_id not in owners])
    doomed = "INTO doomed_blobs (key, unlink_after) SELECT key, :now FROM blobs WHERE id"
    execute(connection, "INSERT", doomed, _LISTED, ids=ids, now=int(now * SECOND))
    execute(connection, "DELETE", "FROM blobs WHERE id", _LISTED, ids=ids)


def mend_store(path: Path, folder: Path, found: Inventory, now: float) -> Iterator[str]:
    """Marks the rows without bytes, and sets files aside; what was done."""
    aside = folder / "lost+found"
    for place in found.set_aside:
        aside.mkdir(exist_ok=True, mode=0o700)
        place.rename(free_name(aside / place.name))
    if found.set_aside:
        yield f"set aside in {aside}: {len(found.set_aside)} files"
    if found.lacking:
        with closing(connect(path, READ_WRITE)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                _mark(connection, found.lacking, now)
        yield f"marked as missing: {len(found.lacking)} files"


# --- Copies of all ---

_COPY: Final = re.compile(
    r"\.?campfire-([0-9]{8}-[0-9]{6})(?:-([0-9]+))?(?:\.db|-files)(\.partial)?"
)
_BLOCK: Final = 512  # bytes, of a tar


@dataclass(frozen=True, slots=True)
class _Kept:
    """A file that a copy of the database speaks of."""

    key: str
    byte_size: int
    words: str  # whose it is

    def place_in(self, folders: Sequence[Path]) -> Path | None:
        """Where it lies whole, in the first of some folders that has it."""
        places = (path_in(folder, self.key) for folder in folders)
        return next((place for place in places if not _fault_of(place, self.byte_size)), None)


def files_beside(database: Path) -> Path:
    """The files of a copy: `a.db` has `a-files`, and `a.db.before-…` has `a-files.before-…`."""
    stem, _, rest = database.name.partition(".db")
    return database.with_name(f"{stem}-files{rest}")


def _kept_in(copy: Path) -> list[_Kept]:
    """The files whose bytes are there, as a copy of the database tells."""
    with closing(connect(copy, IMMUTABLE)) as connection:
        if "blobs" not in tables_of(connection):
            return []
        owners = _owners(connection)
        sql = "SELECT id, key, byte_size FROM blobs WHERE sha256 IS NOT NULL ORDER BY key"
        blobs = connection.execute(sql).fetchall()
    return [_Kept(key, size, owners.get(row_id, f"blob {row_id}")) for row_id, key, size in blobs]


def _gather(
    files: Sequence[_Kept],
    sources: Sequence[Path],
    target: Path,
    bring: Callable[[Path, Path], None],
) -> list[_Kept]:
    """Puts files into a folder; those that no source has."""
    lacking = []
    for file in files:
        with suppress(FileNotFoundError):  # it went between two looks
            if place := file.place_in(sources):
                bring(place, path_in(target, file.key))
                continue
        lacking.append(file)
    os.sync()  # folder by folder would have the disk answer ten thousand times
    return lacking


@contextmanager
def _held(store: Path, files: Iterable[_Kept], at: float) -> Iterator[list[Path]]:
    """Where files are found until the block ends, whatever is deleted meanwhile."""
    staging = free_name(store / "staging" / stamp(at))
    try:
        for file in files:
            with suppress(OSError):  # it is gone, or nothing here has second names
                put_at(path_in(store, file.key), path_in(staging, file.key))
        yield [staging, store]
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name once it is full. Raises FileExistsError."""
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder} is there already, and nothing is written over it")
    unfinished = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    try:
        yield unfinished
        unfinished.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _fill(
    target: Path,
    files: Sequence[_Kept],
    sources: Sequence[Path],
    lasting: AbstractContextManager[Sequence[Path]],
) -> list[_Kept]:
    """As `_gather`, by second names; where there are none, by copies of what lasts."""
    try:
        return _gather(files, sources, target, put_at)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    shutil.rmtree(target)
    target.mkdir(mode=0o700)
    with lasting as found:
        return _gather(files, found, target, copy_to)


def back_up_all(source: Path, store: Path | None, destination: Path, at: float) -> list[str]:
    """Copies a database, and its files where they are wanted; whose are not there. Raises
    DatabaseUnusable, FileExistsError."""
    with growing(destination) as part:
        copy_database(source, part)
        if not store or not (files := _kept_in(part)):
            return []
        with _new_folder(files_beside(destination)) as folder:
            lacking = _fill(folder, files, [store], _held(store, files, at))
            return [file.words for file in lacking]


def _pack(tar: IO[bytes], name: str, place: Path, at: float) -> None:
    """A file's part of a tar."""
    with place.open("rb") as file:
        about = tarfile.TarInfo(name)
        about.size, about.mode, about.mtime = os.fstat(file.fileno()).st_size, 0o600, int(at)
        tar.write(about.tobuf(tarfile.GNU_FORMAT))
        shutil.copyfileobj(file, tar, COPIED_AT_ONCE)
        tar.write(bytes(-about.size % _BLOCK))


def _write_tar(source: Path, store: Path | None, tar: IO[bytes], at: float) -> list[str]:
    """Writes what `back_up_all` copies as one stream; whose files are not there."""
    database, lacking = Path(f"campfire-{stamp(at)}.db"), []
    with tempfile.TemporaryDirectory(prefix=".campfire-", dir=source.parent) as folder:
        copy_database(source, copy := Path(folder) / database)
        files = _kept_in(copy) if store else []
        with _held(store, files, at) if store and files else nullcontext(list[Path]()) as sources:
            _pack(tar, database.name, copy, at)
            for file in files:
                place = file.place_in(sources)
                if place is None:
                    lacking.append(file.words)
                else:
                    _pack(tar, str(path_in(files_beside(database), file.key)), place, at)
    tar.write(bytes(2 * _BLOCK))
    return lacking


def ship(source: Path, store: Path | None, place: str, at: float) -> list[str]:
    """Writes one archive, to standard output (`-`) or into a new file; whose files are not there.
    Raises DatabaseUnusable, FileExistsError."""
    if place != "-":
        with growing(Path(place)) as part, part.open("wb") as tar:
            return _write_tar(source, store, tar, at)
    with open(sys.stdout.fileno(), "wb", closefd=False) as tar:
        return _write_tar(source, store, tar, at)


def remove_old_backups(newest: Path, keep: int) -> list[Path]:
    """Removes dated copies beside the newest, but for so many, each with its files; and what was
    left unfinished before those. What belongs to others is left."""
    ages, whole = defaultdict[tuple[str, int], list[Path]](list), set()
    for place in sorted(newest.parent.iterdir(), reverse=True):  # a database before its files
        if dated := _COPY.fullmatch(place.name):
            age = dated[1], int(dated[2] or 1)
            ages[age].append(place)
            whole |= {age} if place.suffix == ".db" else set()
    oldest = sorted(whole)[-keep:][:1]
    left = []
    for place in chain.from_iterable(ages[age] for age in sorted(ages) if [age] < oldest):
        if place.lstat().st_uid != newest.stat().st_uid:
            left.append(place)
        elif place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()
    return left


# --- And back again ---


def _make_way(path: Path, aside: Path) -> None:
    """Gives a database another name, and its log with it."""
    if not is_put_at(path, aside):  # its own name stays until the copy takes it
        path.rename(aside)
    with suppress(FileNotFoundError):
        beside(path, "-wal").rename(f"{aside}-wal")
    beside(path, "-shm").unlink(missing_ok=True)


def _require_place(backup: Path, path: Path, store: Path) -> None:
    """Nothing, where a backup can be put. Raises as `restore` does."""
    require_database(backup)
    require_access(path)
    try:
        recognise(path)
    except DatabaseUnusable as error:  # which is why a backup is wanted
        if isinstance(error, DatabaseForeign) or not path.is_file():
            raise
    if store.is_mount():
        raise OSError(f"a disk is mounted at {store}: let --files name a folder inside it")


def restore(backup: Path, path: Path, store: Path, at: float) -> tuple[list[Path], int]:
    """Puts a checked copy of a backup in the place of a database, and its files in theirs: what
    made way, and how many files are nowhere. Raises BlockingIOError while somebody serves it,
    DatabaseUnusable, DatabaseForeign."""
    path, store, source = path.resolve(), store.resolve(), files_beside(backup)
    _require_place(backup, path, store)
    fresh = free_name(path.with_name(f"{path.name}.restored-{stamp(at)}"))
    filled = free_name(store.with_name(f"{store.name}.restored-{stamp(at)}"))
    endings = (f".before-restore-{stamp(at)}{more}" for more in ("", *NUMBERS))
    names = ([place.with_name(place.name + end) for place in (path, store)] for end in endings)
    aside, store_aside = next(two for two in names if not any(map(os.path.lexists, two)))
    made_way = []
    with ExitStack() as held:
        if path.exists():
            held.enter_context(take_lock(path))
        held.callback(fresh.unlink, missing_ok=True)
        held.callback(shutil.rmtree, filled, ignore_errors=True)
        back_up(backup, fresh)
        files, sources = _kept_in(fresh), [source, store]
        if not source.is_dir():  # a copy without files: those that are there stay
            lacking = [file for file in files if not file.place_in([store])]
        else:
            filled.mkdir(parents=True, mode=0o700)
            lacking = _fill(filled, files, sources, nullcontext(sources))
            if store.exists():
                store.rename(store_aside)
                made_way.append(store_aside)
            filled.rename(store)
            sync(store.parent)
        if path.exists():
            _make_way(path, aside)
            made_way.insert(0, aside)
        fresh.replace(path)
        sync(path.parent)
    return made_way, len(lacking)


# === 41. commands =============================================================
# What can be done to a Campfire from a shell, whether it runs or not: SQLite makes
# them wait for one another, and the server keeps nothing in memory that could go
# stale. Each command opens the file, does one thing, says what it did, and closes.
# Exit codes: 0 success, 1 failure with one line on stderr, 2 wrong usage, 3 the
# database cannot be used.
#
# Raises    DatabaseUnusable, AlreadySetUp, BotNotFound, UserNotFound, ValidationFailed
# ==============================================================================


class Refused(CampfireError):
    """A command that cannot be done: one line, exit code 1."""


def wall_clock() -> int:
    """The time of day, in microseconds."""
    return time.time_ns() // 1000


def say(*lines: str) -> None:
    """Lines on standard output, at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


@asynccontextmanager
async def _opened(config: Config, *, may_be_new: bool = False) -> AsyncIterator[Database]:
    """The database, beside a server if there is one; a new one only where that makes sense."""
    if not may_be_new:
        require_database(config.database)
    db = Database(config.database, wall_clock)
    await db.open(is_server=False)
    try:
        yield db
    finally:
        await db.close()


def _password_for(options: argparse.Namespace, environment: str | None = None) -> str:
    """The password from the flag, standard input, the environment, or two equal answers."""
    if options.password is not None:
        return str(options.password)
    if options.password_stdin:
        try:
            typed = sys.stdin.readline().rstrip("\r\n")
            typed.encode()
        except (AttributeError, UnicodeError) as error:  # it is closed, or no text
            raise Refused("no password can be read from standard input") from error
        return typed
    if environment:
        return environment
    if not sys.stdin.isatty():
        raise Refused("no password was given: --password-stdin reads one")
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Again: "):
        raise ValidationFailed({"password": ["is not the same twice"]})
    return first


async def create_admin(config: Config, options: argparse.Namespace) -> None:
    """Makes an administrator: the first, a known person, or a new one."""
    password = _password_for(options, os.environ.get("CAMPFIRE_ADMIN_PASSWORD"))
    who = Newcomer(options.name.strip(), options.email.strip(), password)
    async with _opened(config, may_be_new=True) as db:
        check_fields(**asdict(who))
        digest = hash_password(password, config.bcrypt_cost)
        await load_secrets(db, config)  # a new database has them from its first moment
        user = await db.write(make_administrator, who, digest)
    say(f"{user.name} is an administrator and can sign in as {user.email_address}.")


async def reset_password(config: Config, options: argparse.Namespace) -> None:
    """Gives somebody a new password; their sessions end."""
    password = _password_for(options)
    async with _opened(config) as db:
        try:
            check_fields(password=password)
            digest = hash_password(password, config.bcrypt_cost)
            user = await db.write(set_password, options.email.strip(), digest)
        except UserNotFound as error:
            raise Refused("User not found") from error
    say(f"{user.name} can sign in with the new password.")


async def _bot_called(db: Database, wanted: str) -> Bot:
    """The bot with this id, or else with exactly this name."""
    every = await db.read(active_bots)
    by_id = [bot for bot in every if str(bot.user.id) == wanted]
    matching = by_id or [bot for bot in every if bot.user.name == wanted]
    if not matching:
        raise BotNotFound
    if len(matching) > 1:
        raise Refused(f"more than one bot is called {wanted}: use its id")
    return matching[0]


async def list_every_bot(config: Config, options: argparse.Namespace) -> None:
    """Lists the active bots."""
    async with _opened(config) as db:
        every = await db.read(active_bots)
    if options.json:
        facts = []
        for bot in every:
            rooms = [record_json(room, "id name") for room in bot.rooms]
            hook = {"webhook_url": bot.webhook_url, "events": bot.hears}
            more = {"bot_key": bot.key, **hook, "rooms": rooms}
            facts.append(record_json(bot.user, "id name", **more))
        say(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for bot in every:
        names = ", ".join(room.name or "" for room in bot.rooms) or "-"
        say(f"{bot.user.id}\t{bot.user.name}\t{bot.key}\t{bot.webhook_url or '-'}\t{names}")


async def add_bot(config: Config, options: argparse.Namespace) -> None:
    """Creates a bot, in every open room, and prints its key."""
    async with _opened(config) as db:
        if not await db.read(is_set_up):
            raise Refused("Campfire is not set up yet: create-admin comes first")
        bot = await db.write(make_bot, options.name.strip(), (options.webhook_url or "").strip())
    say(bot.key)


async def renew_bot(config: Config, options: argparse.Namespace) -> None:
    """Gives a bot a new key and prints it; the old one is dead at once."""
    async with _opened(config) as db:
        bot = await db.write(renew_bot_key, (await _bot_called(db, options.bot)).user.id)
    say(bot.key)


async def remove_bot(config: Config, options: argparse.Namespace) -> None:
    """Deactivates a bot."""
    async with _opened(config) as db:
        bot = await _bot_called(db, options.bot)
        await db.write(retire_bot, bot.user.id)
    say(f"{bot.user.name} is deactivated.")


def _require_files(lacking: Sequence[str], store: Path) -> None:
    """Nothing, when all files of a copy were there. Raises Refused."""
    for words in lacking:
        sys.stderr.write(f"campfire: {words} is not in {store}\n")
    if lacking:
        raise Refused(f"the copy is made, but {len(lacking)} files are not in it: see `check`")


async def make_backup(config: Config, options: argparse.Namespace) -> None:
    """Copies database and files while they are in use, and prints where the copy is."""
    at, store = time.time(), None if options.no_files else config.files
    if options.tar and (options.dest or options.keep):
        raise Refused("--tar makes one archive, and nothing in backups/: leave DEST and --keep out")
    if options.tar:
        require_database(config.database)
        _require_files(ship(config.database, store, options.tar, at), config.files)
        return
    destination = Path(options.dest) if options.dest else config.database.parent / "backups"
    if destination.is_dir() or not options.dest:
        destination = free_name(destination / f"campfire-{stamp(at)}.db")
    require_database(config.database)
    lacking = back_up_all(config.database, store, destination, at)
    say(str(destination))
    for left in remove_old_backups(destination, options.keep) if options.keep else ():
        sys.stderr.write(f"campfire: {whose(left)}: it stays\n")
    _require_files(lacking, config.files)


async def restore_backup(config: Config, options: argparse.Namespace) -> None:
    """Puts a backup in the place of database and files, which keep other names."""
    try:
        backup, at = Path(options.backup), time.time()
        aside, lacking = restore(backup, config.database, config.files, at)
    except BlockingIOError as error:
        raise Refused(f"a Campfire is serving {config.database}: stop it first") from error
    say(f"{options.backup} is restored as {config.database}.")
    say(*(f"What was there is kept as {place}." for place in aside))
    if lacking:
        say(f"{lacking} files are not there: `check --repair` marks them as missing.")


async def check_database(config: Config, options: argparse.Namespace) -> None:
    """Says whether the database is sound; with --repair mends it, or saves what it can."""
    path, mended = config.database, None
    verdict = before = look_at(path)
    if options.repair:
        verdict, mended = repair(path, time.time())
    if not verdict.problems:  # else its rows are not to be believed
        look = partial(take_inventory, path, config.files, time.time(), is_deep=options.deep)
        found = look()
        if mended:
            before = replace(before, problems=(*before.problems, *found.problems))
            done = mend_store(path, config.files, found, time.time())
            mended, found = replace(mended, repaired=(*mended.repaired, *done)), look()
        verdict = Verdict(found.problems, (*verdict.notes, *found.notes))
    if options.json:
        facts = {"database": str(path), "healthy": not verdict.problems, **asdict(verdict)}
        facts |= asdict(mended) if mended else {}
        say(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        healthy = [] if verdict.problems else [f"{path} is healthy"]
        say(*findings(before, verdict, mended), *healthy)
    if not verdict.problems:
        return
    remedy = ": `restore` a backup" if mended else ": mend it with `check --repair`"
    if mended and (new := mended.recovered):
        remedy = f". Stop the server and `restore` {new.database}, or a backup"
    raise DatabaseUnusable(f"{path} is damaged{remedy}")


def _say_secrets(kept: Mapping[str, str]) -> None:
    names = sorted(kept.keys() & {"secret_key_base", "vapid_private_key", "vapid_public_key"})
    say(*(f"{name.upper()}={kept[name]}" for name in names))


async def make_vapid(config: Config, options: argparse.Namespace) -> None:
    """Prints a fresh pair of keys for Web Push; with --store the server uses it from now on."""
    pair = fresh_vapid_keys()
    if options.store:
        async with _opened(config, may_be_new=True) as db:
            await db.write(keep_secrets, pair, anew=True)
    _say_secrets(pair)


async def show_secrets(config: Config, _: argparse.Namespace) -> None:
    """Prints the secrets in use, as lines of an environment file."""
    async with _opened(config, may_be_new=True) as db:
        _say_secrets(await load_secrets(db, config))


async def check_health(config: Config, _: argparse.Namespace) -> None:
    """Asks the server with these settings how it is; says nothing when it is well."""
    ip = parsed_address(config.host)
    host = "localhost" if ip and ip.is_unspecified else config.host
    scheme = "https" if config.tls_files else "http"
    url = URL.build(scheme=scheme, host=host, port=config.port, path="/up")
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=10)) as session,  # as long as its write probe
            session.get(url, ssl=False, allow_redirects=False) as up,  # whatever it is named
        ):
            status, said = up.status, await up.text()
    except (ClientError, OSError) as error:
        raise Refused(f"no Campfire answers at {url}") from error
    if status != HTTPStatus.OK:
        raise Refused(f"{url} answers {status}: {said.strip()[:200]}")


def _set_in(options: argparse.Namespace, *flags: str) -> list[str]:
    """Those flags that were given."""
    return [flag for flag in flags if getattr(options, flag)]


async def import_from_rails(config: Config, options: argparse.Namespace) -> None:
    """Takes over everything from a Rails Campfire, its files too if their folder is named."""
    storage = folder_of_rails(Path(options.storage)) if options.storage else None
    async with _opened(config, may_be_new=True) as db:
        if await db.read(is_set_up):
            raise AlreadySetUp
        signer = Signer((await load_secrets(db, config))["secret_key_base"])
        with open_rails(Path(options.rails_db)) as rails:
            report = await db.write(import_all, rails, signer)
        devices = report.taken["push_subscriptions"]
        if devices and not config.vapid_keys:
            words = "push subscriptions need the old VAPID keys in the environment"
            report.warnings[words] = devices
        if report.taken["blobs"] and not storage:
            words = "keep the old storage folder: `attach-files` brings its files"
            report.warnings[words] = report.taken["blobs"]
        say(*report.lines())
        if storage:
            flags = _set_in(options, "move", "stills")
            say(*await bring_all(db, config, options.line, storage, *flags, is_news=False))


async def attach_files(config: Config, options: argparse.Namespace) -> None:
    """Brings the files that an import left in the old folder; a server may run."""
    folder = folder_of_rails(Path(options.dir))
    flags = _set_in(options, "move", "stills")
    async with _opened(config) as db:
        say(*await bring_all(db, config, options.line, folder, *flags, is_news=True))


def _renew(campfire: Campfire, lines: Lines) -> None:
    """What SIGHUP asks for: certificates and the log's file are opened anew."""
    campfire.certificates.reload()
    try:
        lines.reopen()
    except OSError as error:
        LOG.warning("log_not_reopened", extra={"fields": {"problem": str(error)}})


async def _serve(config: Config, options: argparse.Namespace) -> None:
    """Serves until SIGTERM or SIGINT; a second one ends the program at once."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    async with AsyncExitStack() as at_last:
        at_last.callback((out := Lines(None)).finish)
        try:
            lines = Lines(config.log_file) if config.log_file else out
        except OSError as error:
            raise ConfigError(f"LOG_FILE {config.log_file} cannot be written: {error}") from error
        at_last.callback(lines.finish)
        log_to(lines, config.log_level)
        for name, reason in ignored_settings(os.environ).items():
            LOG.warning("setting_ignored", extra={"fields": {"setting": name, "reason": reason}})
        loop.add_signal_handler(signal.SIGUSR1, bool)  # other programs reopen their logs at it
        loop.add_signal_handler(signal.SIGUSR2, toggle_debugging, config.log_level)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: os._exit(1) if told.is_set() else told.set())
        raise_file_limit()
        db = Database(config.database, wall_clock)
        db.on_broken = told.set
        await db.open()
        at_last.push_async_callback(db.close)
        campfire = assemble(config, db, await load_secrets(db, config))
        loop.add_signal_handler(signal.SIGHUP, _renew, campfire, lines)
        await campfire.store.start()
        campfire.workshop.open(options.line)
        listening, address = await listen(campfire, load_bundle())
        start_sweepers(campfire)
        campfire.jobs.spawn("sweep_files", campfire.store.sweep())
        await resume_bans(campfire)
        LOG.info("started", extra={"fields": {"sqlite": sqlite3.sqlite_version}})
        gc.freeze()  # what lives as long as the program needs no looking at
        out.put(f"Listening on {address}")
        await told.wait()
        LOG.info("stopping")
        await stop(campfire, listening)
        LOG.info("stopped")
        if db.is_broken:
            raise DatabaseUnusable("the writer of the database ended; the log says why")


Command = Callable[[Config, argparse.Namespace], Coroutine[Any, Any, None]]

_PASSWORD: Final = {
    "--email EMAIL!": "the address they sign in with",
    "--password PASSWORD|": "the new password; without it you are asked",
    "--password-stdin|": "read it from there",
}
_BOT: Final = {"BOT": "its id, or its exact name"}
_BRINGING: Final = {
    "--stills": "make what the room shows of each picture now, not at first sight",
    "--move": "remove from the old folder what is here",
}

# What each command is called, does and takes, besides --db: spelled as its usage shows it, with
# `!` behind what must be there and `|` behind those of which one may be; N is a number from 1.
# fmt: off
_COMMANDS: Final[Mapping[str, tuple[Command | None, str, Mapping[str, str]]]] = {
    "serve": (_serve, "listen for browsers",
        {f"--{about['flag']}": about["says"] for about in SETTINGS.values() if about["flag"]}),
    "create-admin": (create_admin, "create or promote an administrator",
        {"--name NAME!": "what people call them", **_PASSWORD}),
    "reset-password": (reset_password, "give somebody a new password", _PASSWORD),
    "bot": (None, "bots and their keys", {}),
    "bot list": (list_every_bot, "list the bots with their keys", {"--json": "show JSON"}),
    "bot create": (add_bot, "create a bot and show its key",
        {"NAME": "", "--webhook-url URL": "where to call it"}),
    "bot reset-token": (renew_bot, "give a bot a new key", _BOT),
    "bot delete": (remove_bot, "deactivate a bot", _BOT),
    "backup": (make_backup, "copy database and files while they are in use", {
        "[DEST]": "default: in backups/", "--no-files": "the database alone",
        "--keep N": "remove all but N dated copies in backups/, and their files",
        "--tar FILE": "write one archive instead; - is standard output"}),
    "restore": (restore_backup, "put a backup in the database's place",
        {"BACKUP": "a copy that `backup` made; its files are looked for beside it"}),
    "check": (check_database, "say whether the database is sound",
        {"--repair": "mend it, or save what is left", "--deep": "read all files, too",
         "--json": "show JSON"}),
    "import": (import_from_rails, "take over a Rails Campfire",
        {"RAILS_DB": "its SQLite file", "--storage DIR": "its folder of uploaded files",
         **_BRINGING}),
    "attach-files": (attach_files, "bring the files that an import left behind",
        {"DIR": "the old folder of uploaded files", **_BRINGING}),
    "vapid": (make_vapid, "make a pair of keys for Web Push",
        {"--store": "and use it from now on"}),
    "secrets": (show_secrets, "show the secrets in use", {}),
    "healthcheck": (check_health, "ask the running server how it is",
        {"--port PORT": "where it listens"}),
}
# fmt: on
_PLACES: Final = {"--db PATH": "the database file", "--files DIR": "the folder of files"}
_USAGE: Final = 2
_UNUSABLE: Final = 3
_UNUSABLES: Final = (DatabaseUnusable, DatabaseFailed, DatabaseFull, DatabaseReadonly)


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def _add_options(parser: argparse.ArgumentParser, options: Mapping[str, str]) -> None:
    either: Any = None  # argparse hides the class of a group
    for usage, says in options.items():
        name, _, takes = usage.rstrip("!|").partition(" ")
        more: dict[str, Any] = {"help": says or None}
        if not name.startswith("--"):
            more |= {"metavar": name.strip("[]"), "nargs": "?" if "[" in name else None}
            name = name.strip("[]").lower()
        elif takes:
            more |= {"metavar": takes, "required": "!" in usage}
            more |= {"type": _count} if takes == "N" else {}
        else:
            more["action"] = "store_true"
        if "|" in usage:
            either = either or parser.add_mutually_exclusive_group()
        (either if "|" in usage else parser).add_argument(name, **more)


def _parser() -> argparse.ArgumentParser:
    version, revision = os.environ.get("APP_VERSION"), os.environ.get("GIT_REVISION")
    about = "Campfire: a group chat in one file."
    parser = argparse.ArgumentParser("campfire", description=about, allow_abbrev=False)
    line = f"campfire {version or VERSION} ({revision or 'unreleased'})"
    parser.add_argument("--version", action="version", version=line)
    groups = {"": parser.add_subparsers(dest="command", metavar="COMMAND")}
    for name, (command, says, options) in _COMMANDS.items():
        group, _, word = name.rpartition(" ")
        shown = None if command is None else says
        added = groups[group].add_parser(word, help=says, description=shown, allow_abbrev=False)
        added.set_defaults(run=command, parser=added)
        if command is None:
            groups[name] = added.add_subparsers(dest="bot_command", metavar="COMMAND")
        else:
            _add_options(added, {**_PLACES, **options})
    return parser


def _complain(line: str) -> None:
    sys.stderr.write(f"campfire: {' '.join(line.split())}\n")


def _own_up(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Says in one line that we failed, where Python would show a trace."""
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = trace and f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    is_theirs = issubclass(kind, KeyboardInterrupt)
    bug = f"this is a bug, please report it ({kind.__name__}: {error}, {place})"
    _complain("interrupted" if is_theirs else bug)


def _run(command: Command, options: argparse.Namespace) -> tuple[int, str]:
    """The exit code of a command, and its one line when that is not 0."""
    settings = dict(os.environ)
    for setting in SETTINGS.values():
        flag = setting["flag"].partition(" ")[0].replace("-", "_")
        if given := getattr(options, flag, None):
            settings[setting["variables"][0]] = "1" if given is True else given
    try:
        config = config_from(settings)
        if command in (_serve, import_from_rails, attach_files):
            options.line = open_workshop()  # before there is a thread, a secret or a database
        asyncio.run(command(config, options))
    except ConfigError as error:
        return _USAGE, str(error)
    except sqlite3.Error as error:
        return _UNUSABLE, f"the database cannot be used ({error})"
    except CampfireError as error:
        return _UNUSABLE if isinstance(error, _UNUSABLES) else 1, str(error) or error.says
    except OSError as error:
        return 1, words_of(error)
    except KeyboardInterrupt:
        return 1, "interrupted"
    return 0, ""


def main() -> int:
    """Runs the command in `sys.argv`; its exit code."""
    os.umask(0o077)  # what is written here is nobody else's
    sys.excepthook = _own_up
    threading.excepthook = lambda failed: LOG.error(  # which outlived its loop: no news
        "thread_failed", extra={"fields": {"problem": str(failed.exc_value)}}
    )
    # Process 1 of a container would not end at SIGTERM without a handler.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if callable(signal.getsignal(signal.SIGINT)):  # not what a shell's background ignores
        signal.signal(signal.SIGINT, signal.default_int_handler)  # asyncio replaces no other
    LOG.addHandler(logging.NullHandler())  # until a server logs to stdout, nothing else may speak
    parser = _parser()
    options = parser.parse_args()
    if options.command is None or options.run is None:
        getattr(options, "parser", parser).print_help()
        return _USAGE
    code, line = _run(options.run, options)
    if code:
        _complain(line)
    return code


if __name__ == "__main__":
    sys.exit(main())

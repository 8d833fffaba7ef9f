"""Browsers that are too old, and all others."""

import json
import re
from pathlib import Path

import pytest

import campfire as program
from tests.support.cast import Server
from tests.support.tables import cases

MOZILLA = "Mozilla/5.0 (X11; Linux x86_64) "
TRANSLATIONS = Path(program.__file__).parent / "static_bundle" / "src" / "translations.json"
TOO_OLD = cases("browsers that are too old")
GOOD_ENOUGH = cases("browsers that are good enough")


@pytest.mark.parametrize("agent", TOO_OLD)
async def test_a_browser_that_is_too_old_is_asked_to_upgrade(server: Server, agent: str) -> None:
    visitor = await server.visitor({"User-Agent": MOZILLA + agent})

    page = await visitor.get("/session/new")

    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "<h1>Upgrade to a supported web browser</h1>" in page.text
    assert "<script" not in page.text
    listed = re.findall(r"<strong>(\w+)</strong> <span>([\d.]+)\+</span>", page.text)
    assert listed == [
        ("Safari", "17.2"), ("Chrome", "120"), ("Firefox", "125"), ("Opera", "104"),
    ]  # fmt: skip
    told = re.findall(r'>(\S+)</span> <span lang="([\w-]+)">([^<]+)</span>', page.text)
    languages = json.loads(TRANSLATIONS.read_text())["languages"]  # of the client's own notices
    assert [[language, flag] for flag, language, _ in told] == languages
    assert told[4][2] == "Bitte nutze einen aktuellen Browser"
    assert (await visitor.get("/api/boot?path=/session/new")).json["page"] == "sign_in"
    assert (await visitor.get("/")).status == 302


@pytest.mark.parametrize("agent", GOOD_ENOUGH)
async def test_every_other_browser_gets_the_client(server: Server, agent: str) -> None:
    visitor = await server.visitor({"User-Agent": MOZILLA + agent if agent else ""})

    assert (await visitor.get("/session/new")).boot["page"] == "sign_in"


async def test_redirects_come_before_the_upgrade_page(server: Server) -> None:
    visitor = await server.visitor({"User-Agent": MOZILLA + TOO_OLD[0]})

    assert (await visitor.get("/rooms/1")).location == "/session/new"

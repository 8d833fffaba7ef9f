"""What an operator may set: understood, refused in one line at the start, or doubted aloud."""

import json
from pathlib import Path

import pytest

import campfire as program
from tests.support.cast import SETTINGS, LogLines, Start
from tests.support.operators import USAGE, command, refusal
from tests.support.tables import cases


@pytest.mark.parametrize(("settings", "says"), cases("settings that are refused, and the word"))
def test_garbage_in_a_setting_refuses_the_start_in_one_line(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    said = refusal(command(tmp_path / "none.db", "serve", **SETTINGS, **settings), USAGE)

    assert says in said
    assert list(tmp_path.iterdir()) == []


def test_an_address_where_a_name_belongs_is_understood_as_the_name() -> None:
    for given in ("https://Chat.Example.com/", "http://chat.example.com", "chat.example.com"):
        assert program.config_from({"TLS_DOMAIN": given}).domain == "chat.example.com"
    port = program.config_from({"TLS_DOMAIN": "https://chat.example.com:8443"})
    assert port.domain == "chat.example.com:8443"


def test_a_switch_set_to_a_word_that_says_no_is_off() -> None:
    for word in ("0", "false", "False", "no", "off", "f", " "):
        config = program.config_from({"FORCE_SSL": word, "DISABLE_SSL": word})
        assert (config.force_ssl, config.disable_ssl) == (False, False), word
        private = {"ALLOW_PRIVATE_PUSH_ENDPOINTS": word, "TLS_DOMAIN": "a.example"}
        config = program.config_from(private | {"FORCE_SSL": word})
        assert (config.private_push_endpoints, config.force_ssl) == (False, True)
    assert program.config_from({"FORCE_SSL": "true"}).force_ssl
    assert not program.config_from({"FORCE_SSL": "1", "DISABLE_SSL": "yes"}).force_ssl


def test_names_nobody_knows_are_said_to_be_none() -> None:
    given = {"CAMPFIRE_DB": "x", "CAMPFIRE_PORT": "1", "CAMPFIRE_ADMIN_PASSWORD": "x", "PATH": "/"}

    assert program.ignored_settings(given) == {"CAMPFIRE_PORT": "there is no such setting"}


async def test_a_short_secret_is_used_and_doubted(start: Start, log_lines: LogLines) -> None:
    for secret, doubts in (("x" * 32, 0), ("x" * 31, 1)):
        await (await start(SECRET_KEY_BASE=secret)).stop()
        lines = [json.loads(line) for line in log_lines()]
        weak = [line for line in lines if line["event"] == "weak_setting"]
        assert [line["level"] for line in weak] == ["warning"] * doubts
        assert "SECRET_KEY_BASE" in "".join(log_lines()) or not doubts

"""Whatever is asked, typed or tried: parsers, routes, keys, sessions and limits."""

import asyncio
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import given as for_any
from hypothesis import strategies as st

import campfire as program
from tests.conftest import Place
from tests.support.asking import KEY, session_for
from tests.support.cast import Cast, newcomer, start_server, start_session
from tests.support.fuzz import PARSERS, Request, anything, ask_all, requests

TRIES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2_000)), max_size=80)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=20))
def test_a_session_lives_until_it_is_ended_and_its_token_is_stored_nowhere(
    place: Place, cast: Cast, deeds: list[tuple[bool, int]]
) -> None:
    lives: dict[program.RawToken, bool] = {}
    for begins, n in deeds:
        if begins:
            token = place.do(start_session(place.parts, cast.jz.id, "127.0.0.1", "x"))
            assert token not in lives
            assert len(program.from_base64(token)) == 32  # 256 bits
            lives[token] = True
        elif lives:
            token = list(lives)[n % len(lives)]
            if viewer := place.do(session_for(place.parts, token)):
                place.do(place.parts.db.write(program.end_session, viewer.session, None))
            lives[token] = False
    for token, is_alive in lives.items():
        assert (place.do(session_for(place.parts, token)) is not None) == is_alive
    kept = str(place.rows("SELECT * FROM sessions"))
    assert [token for token in lives if token in kept] == []


@given(TRIES)
@example([("a", 0)] * 12)
@example([("a", 163)] * 24)
def test_no_three_minutes_of_an_address_let_more_than_ten_tries_through(
    tries: list[tuple[str, int]],
) -> None:
    """Tries of two addresses, against windows counted by hand."""
    tenths, windows = 0, {"a": [(-10_000, 0)], "b": [(-10_000, 0)]}
    limiter = program.TryLimiter(lambda: tenths / 10)
    for address, wait in tries:
        tenths += wait if wait > 200 else wait // 10  # often many in one window
        began, count = windows[address][-1]
        if tenths - began >= 1_800:
            windows[address].append((tenths, 0))
            began, count = tenths, 0
        if count < 10:
            limiter.count(address)
            windows[address][-1] = began, count + 1
            continue
        with pytest.raises(program.RateLimited) as refused:
            limiter.count(address)
        assert 0 <= refused.value.retry_after * 10 - (began + 1_800 - tenths) < 10
    for used in windows.values():
        assert all(count <= 10 for _, count in used)
        assert all(later - earlier >= 1_800 for (earlier, _), (later, _) in pairwise(used))


@settings(max_examples=8)
@given(st.integers(2, 20))
@example(50)
def test_of_any_number_of_first_runs_at_once_exactly_one_wins(tries: int) -> None:
    async def story(folder: str) -> None:
        server = await start_server(Path(folder) / "campfire.db")
        run = server.parts.auth.first_run
        works = [run(newcomer("David", f"david{n}@example.com")) for n in range(tries)]
        outcomes = await asyncio.gather(*works, return_exceptions=True)
        kinds = Counter(type(each) for each in outcomes)
        assert kinds.pop(program.User) == 1  # the others came too late, or had no place to hash
        assert set(kinds) <= {program.AlreadySetUp, program.TooManyPasswords}
        tables = ("accounts", "users", "rooms", "memberships")
        sql = "SELECT " + ", ".join(f"(SELECT count(*) FROM {each})" for each in tables)  # noqa: S608 - own
        [found] = await server.parts.db.read(lambda tx: program.rows(tx, sql))
        assert tuple(found) == (1, 1, 1, 1)
        await server.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(folder))


@settings(max_examples=60)
@for_any(st.integers(0, len(KEY) - 1), st.characters(codec="utf-8"))
@example(0, "\uff15")
@example(2, "-")
def test_no_key_with_one_character_changed_is_good(place: Place, at: int, other: str) -> None:
    changed = f"{KEY[:at]}{other}{KEY[at + 1 :]}"
    find = place.parts.db.read
    found = place.do(find(program.bot_by_key, changed))
    assert (found is not None) == (changed == KEY)
    for longer in (f" {KEY}", f"{KEY} ", f"{KEY}-whatever"):  # a key is taken whole
        assert place.do(find(program.bot_by_key, longer)) is None


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_is_content_with_whatever_it_is_given(name: str) -> None:
    settings(max_examples=150)(given(anything)(PARSERS[name]))()


@settings(max_examples=60)
@given(st.lists(requests, min_size=10, max_size=40))
def test_whatever_is_asked_the_answer_is_no_failure(asked: list[Request]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert asyncio.run(ask_all(Path(folder), asked)) == []

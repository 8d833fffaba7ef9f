"""The numbers an operator reads."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import campfire as program
from tests.support.cast import PATIENCE, Cast, Person, Server, Start, Template
from tests.support.operators import COUNTERS, GAUGES, HISTOGRAMS, number, numbers
from tests.support.services import TurnableLoop, on_a_turnable_clock
from tests.support.tables import cases


async def test_metrics_are_in_the_text_format_under_their_names(visitor: Person) -> None:
    answer = await visitor.get("/metrics")

    families = {each.name: each.type for each in text_string_to_metric_families(answer.text)}
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    kinds = {"counter": COUNTERS, "gauge": GAUGES, "histogram": HISTOGRAMS}
    wanted = {f"campfire_{name}": kind for kind, names in kinds.items() for name in names.split()}
    wanted |= {"campfire_process_resident_memory_bytes": "gauge"}
    assert families == wanted | {"campfire_process_cpu_seconds": "counter"}


async def test_metrics_count_what_happens_by_pattern_and_never_by_path(
    kevin: Person, designers: program.Room
) -> None:
    tab = await kevin.room_tab(designers)
    await tab.subscribe(channel="PresenceChannel", room_id=designers.id)
    before = await numbers(kevin)
    for _ in range(2):
        await kevin.say(designers, "counted once", "once")
    await kevin.get(f"/rooms/{designers.id}")
    await kevin.get("/no/such/page")
    await kevin.request("PROPFIND", "/files")
    after = await numbers(kevin)

    def grown(name: str, **labels: str) -> float:
        return number(after, name, **labels) - number(before, name, **labels)

    assert grown("messages_created_total") == grown("broadcast_seconds_count") == 1
    route = "/api/rooms/{room_id}/messages"
    assert grown("http_requests_total", method="POST", route=route, status="201") == 1
    assert grown("http_requests_total", method="POST", route=route, status="200") == 1
    assert grown("http_request_seconds_count", route="/rooms/{room_id}") == 1
    assert grown("http_requests_total", method="GET", route="unmatched", status="404") == 1
    assert grown("http_requests_total", method="other", route="unmatched", status="404") == 1
    assert grown("broadcasts_total", kind="room_messages") == 1
    assert grown("broadcasts_total", kind="user_unreads") == 4
    assert grown("ws_frames_sent_total") >= 1
    assert grown("db_group_size_count") >= 2
    assert grown("db_write_seconds_bucket", le="+Inf") >= 2
    assert number(after, "ws_connections") == number(after, "presence_entries") == 1
    assert number(after, "ws_subscriptions", channel="RoomMessagesChannel") == 1
    assert number(after, "process_resident_memory_bytes") > 10_000_000
    assert number(after, "build_info", version=program.VERSION, revision="") == 1
    text = (await kevin.get("/metrics")).text
    assert f"/rooms/{designers.id}" not in text
    assert "/no/such" not in text


async def need_much_and_then_half_of_it(server: Server, cast: Cast) -> None:
    kevin, held = await server.sign_in(cast.kevin), [bytearray(50_000) for _ in range(2_000)]
    program.start_sweepers(server.parts)
    del held[::2]
    before = number(await numbers(kevin), "process_resident_memory_bytes")
    TurnableLoop.running().ahead += program.SWEEP_SECONDS
    async with asyncio.timeout(PATIENCE):
        while number(await numbers(kevin), "process_resident_memory_bytes") > before - 30_000_000:
            pass


def test_memory_that_is_free_between_what_is_not_goes_back_to_the_system(
    template: Template, tmp_path: Path
) -> None:
    on_a_turnable_clock(template, tmp_path, need_much_and_then_half_of_it)


async def test_histograms_add_up_from_bucket_to_bucket(visitor: Person) -> None:
    await visitor.get("/up")

    samples = await numbers(visitor)

    buckets = [
        (float(dict(labels)["le"]), value)
        for (name, labels), value in samples.items()
        if name == "campfire_http_request_seconds_bucket" and ("route", "/up") in labels
    ]
    counts = [value for _, value in sorted(buckets)]
    assert counts == sorted(counts)
    assert counts[-1] == number(samples, "http_request_seconds_count", route="/up") == 1


async def test_without_a_token_metrics_answer_this_machine_directly_and_nobody_else(
    visitor: Person, server: Server
) -> None:
    assert (await visitor.get("/metrics")).status == 200
    assert (await visitor.get("/metrics", {"X-Forwarded-For": "127.0.0.1"})).status == 404
    for peer, may in (("127.0.0.1", True), ("::1", True), ("10.0.0.5", False), ("", False)):
        assert program.may_read_metrics(server.parts.config, peer, {"Host": "[::1]:3000"}) is may
    assert not program.may_read_metrics(server.parts.config, "::1", {"Host": "chat.example"})


async def test_with_a_token_metrics_answer_whoever_holds_it(start: Start) -> None:
    visitor = await (await start(METRICS_TOKEN="hush")).visitor()

    assert (await visitor.get("/metrics")).status == 404
    assert (await visitor.get("/metrics", {"Authorization": "Bearer hus"})).status == 404
    proxied = {"Authorization": "Bearer hush", "X-Forwarded-For": "203.0.113.9"}
    assert (await visitor.get("/metrics", proxied)).status == 200


@pytest.mark.parametrize(("headers", "status"), cases("headers of a look at the numbers"))
async def test_numbers_without_a_token_are_for_this_machine_asked_by_its_own_name(
    visitor: Person, headers: dict[str, str], status: int
) -> None:
    assert (await visitor.get("/metrics", headers)).status == status

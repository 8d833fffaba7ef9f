"""A webhook that answers with a file, and a bot that is told of one."""

import pytest
from aiohttp import web

from tests.support.asking import KEY, mention, path_of, settle, texts
from tests.support.cast import Cast, LogLines, Person
from tests.support.files import sent, stored_files
from tests.support.services import Receiver
from tests.support.studio import encoded, painted

CHART = encoded(painted(60, 40), "PNG")


async def test_a_webhook_answers_with_a_file_under_its_own_name(
    kevin: Person, receiver: Receiver, cast: Cast
) -> None:
    async def reply(_: web.Request) -> web.Response:
        headers = {"Content-Type": "image/png"}
        headers["Content-Disposition"] = 'inline; filename="chart of may.png"'
        return web.Response(body=CHART, headers=headers)

    receiver.reply = reply
    await kevin.say(cast.bender_and_kevin, "ping")
    await settle(kevin.server)

    last = (await kevin.get(path_of(cast.bender_and_kevin))).json["messages"][-1]
    file = last["attachment"]
    assert (last["creator"]["name"], file["filename"]) == ("Bender Bot", "chart of may.png")
    assert (file["kind"], file["content_type"]) == ("image", "image/png")
    assert (await kevin.get(file["url"])).body == CHART
    assert len(receiver.told) == 1


@pytest.mark.parametrize("size", [25 << 20, (25 << 20) + 1])
async def test_an_answer_of_more_than_25_mib_is_dropped(
    kevin: Person, receiver: Receiver, cast: Cast, log_lines: LogLines, size: int
) -> None:
    receiver.reply = receiver.says(bytes(size), "application/zip")

    await kevin.say(cast.bender_and_kevin, "ping")
    await settle(kevin.server)

    is_taken = size == 25 << 20
    said = await texts(kevin, cast.bender_and_kevin)
    assert said == ["ping", *["attachment.zip"] * is_taken]
    assert len(stored_files(kevin.server)) == is_taken
    dropped = [line for line in log_lines() if '"reason": "file_too_large"' in line]
    assert len(dropped) == (not is_taken)


async def test_a_bot_is_told_of_a_file_and_where_it_gets_it(
    kevin: Person, visitor: Person, receiver: Receiver, cast: Cast
) -> None:
    message = await sent(kevin, cast.bender_and_kevin, b"words", "moon.txt")
    await settle(kevin.server)

    (told,) = receiver.told
    path = f"/rooms/{cast.bender_and_kevin.id}/{KEY}/messages/{message['id']}/attachment"
    assert told["message"]["body"] == {"html": None, "plain": "moon.txt"}
    assert told["message"]["attachment"] == {
        "filename": "moon.txt", "content_type": "text/plain", "byte_size": 5, "path": path,
    }  # fmt: skip
    assert (await visitor.get(path)).body == b"words"


async def test_of_words_a_bot_is_told_as_before(
    kevin: Person, receiver: Receiver, cast: Cast
) -> None:
    await kevin.say(cast.bender_and_kevin, mention(kevin.server, cast.bender))
    await settle(kevin.server)

    assert set(receiver.told[0]["message"]) == {"id", "body", "path"}

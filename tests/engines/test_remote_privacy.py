"""A child's words and the key reach no log and no error of the remote engine, also where a host repeats them."""

import io
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from emotion_svc.engines.presets import find_preset
from emotion_svc.engines.remote import RemoteEngine
from emotion_svc.errors import HostFailed
from emotion_svc.schema import Turn
from tests.upstream import (
    Behaviour,
    Connection,
    Request,
    Upstream,
    breaks,
    cuts_off_after,
    replies,
    says,
    sends,
    status,
)

MARK = "Zanzibar"
KEY = "sk-5e1f-c0ffee"
TURN = Turn(previous_question=MARK, previous_answer=MARK, response=MARK)
EVENTS = {"content-type": "text/event-stream", "x-echo": MARK}
CHOICE = {"type": "choice", "name": MARK, "choice": MARK, "confidence": 1, "probabilities": []}

BEHAVIOURS: dict[str, Behaviour] = {
    "an answer": says('{"emotion":"sad","learn_score":true}'),
    "other words": says(MARK),
    "another label": says(f'{{"emotion":"{MARK}","learn_score":true}}'),
    "another key": says(f'{{"emotion":"sad","learn_score":true,"{MARK}":1}}'),
    "an error": status(500),
    "a refusal": status(400),
    "a wrong key": status(401),
    "too many": status(429, {"retry-after": MARK}),
    "a redirection": status(308, {"location": f"http://{MARK}.invalid/{MARK}"}),
    "no JSON": sends(MARK.encode()),
    "other JSON": replies({MARK: MARK}),
    "a wrong reply": replies({"choices": [{"message": {"content": {MARK: MARK}}}], "usage": MARK}),
    "a wrong decision": replies({"answers": [CHOICE, {"type": MARK}], "usage": {MARK: MARK}}),
    "an error in the stream": sends(f'data: {{"error": {{"message": "{MARK}"}}}}\n\n'.encode(), EVENTS),
    "no JSON in the stream": sends(f"data: {MARK}\n\n".encode(), EVENTS),
    "a cut stream": cuts_off_after(f'{{"emotion":"{MARK}'),
    "a cut connection": breaks,
}


async def echoes_in_the_status_line(_: Request, connection: Connection) -> None:
    await connection.send(f"HTTP/1.1 400 {MARK}\r\ncontent-length: 0\r\nx-request-id: {MARK}\r\n\r\n".encode())


async def is_no_http(_: Request, connection: Connection) -> None:
    await connection.send(f"{MARK}\r\n\r\n".encode())


BEHAVIOURS |= {"a status line": echoes_in_the_status_line, "no HTTP": is_no_http}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that any logger says at any level, as it is said and with tracebacks."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def everything_of(error: BaseException | None) -> str:
    """An error as text, its attributes, and the same of those that it came from."""
    if error is None:
        return ""
    text = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)) + repr(error.args)
    return text + everything_of(error.__cause__) + everything_of(error.__context__)


@pytest.mark.parametrize("preset", ["vllm", "groq", "deepseek", "openai-decisions"])
@pytest.mark.parametrize("kind", BEHAVIOURS)
async def test_nothing_of_a_turn_and_nothing_that_a_host_said_is_logged_or_raised(
    preset: str, kind: str, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_LOG", "debug")
    error: HostFailed | None = None
    with Upstream(BEHAVIOURS[kind]) as upstream:
        host = find_preset(preset, model="m", base_url=upstream.url)
        key = host.key_from({host.key_env: KEY})
        engine = RemoteEngine(host, key)
        await engine.start()
        try:
            await engine.classify([TURN])
        except HostFailed as failed:
            error = failed
        assert MARK in upstream.requests[0].body.decode()  # so the words were there
        assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"
        await engine.close()
    assert (error is None) == (kind == "an answer" and preset != "openai-decisions")
    written = log.getvalue() + everything_of(error) + repr(engine) + repr(vars(engine)) + repr(host) + repr(key)
    assert MARK not in written
    assert KEY not in written


async def test_the_log_of_these_tests_would_show_what_the_client_says(log: io.StringIO) -> None:
    """Guards the test above: with the client's loggers let loose, the log does hold what a host sent."""
    with Upstream(echoes_in_the_status_line) as upstream:
        engine: Any = RemoteEngine(find_preset("vllm", model="m", base_url=upstream.url))
        await engine.start()
        before = {name: logging.getLogger(name).level for name in ("openai", "httpx2", "httpcore2")}
        for name in before:
            logging.getLogger(name).setLevel(logging.DEBUG)
        with pytest.raises(HostFailed):
            await engine.classify([TURN])
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        await engine.close()
    assert MARK in log.getvalue()

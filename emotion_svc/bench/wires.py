"""How a turn is asked over HTTP, and what came back: our native wire, and OpenAI's completions for the peers."""

import json
import re
import time
from typing import Any, Final

from emotion_svc.bench.http_client import Connection, Received
from emotion_svc.bench.load import Ask, Reply
from emotion_svc.bench.peers.plain import ANSWER_TOKENS, prompt_of, response_format
from emotion_svc.bench.subjects import Spec
from emotion_svc.errors import EngineUnavailable
from emotion_svc.schema import Turn

_INFER: Final = re.compile(rb"infer;dur=([\d.]+)")


def wire_for(spec: Spec, connection: Connection) -> Ask:
    """What asks one turn after the other over the connection."""
    return _native(connection) if spec.is_engine else _completions(spec, connection)


def _native(connection: Connection) -> Ask:
    async def ask(turn: Turn) -> Reply:
        received = _good(await connection.request("POST", "/v1/classify", turn.model_dump_json().encode()))
        infer = _INFER.search(received.headers.get(b"server-timing", b""))
        infer_s = float(infer[1]) / 1e3 if infer else None
        return Reply(text=received.body.decode(), infer_s=infer_s, took_s=received.took_s)

    return ask


def _completions(spec: Spec, connection: Connection) -> Ask:
    common: dict[str, Any] = {
        "model": str(spec.checkpoint),
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
        "stream": True,
        "response_format": response_format(),
    }

    async def ask(turn: Turn) -> Reply:
        body = json.dumps(common | {"prompt": prompt_of(spec, turn)}).encode()
        asked = time.perf_counter()
        received = _good(await connection.request("POST", "/v1/completions", body))
        events = [line for line in received.body.splitlines() if line.startswith(b"data: {")]
        pieces = [json.loads(line.removeprefix(b"data: "))["choices"][0]["text"] for line in events]
        return Reply(
            text="".join(pieces).strip(),
            first_token_s=received.chunks[0][0] - asked,
            tokens=sum(map(bool, pieces)),
            took_s=received.took_s,
        )

    return ask


def _good(received: Received) -> Received:
    if received.status != 200:
        raise EngineUnavailable(f"the server answered with status {received.status}; its own log on stderr says why")
    return received

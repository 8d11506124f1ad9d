"""Requests to vLLM's completions wire, and what came back."""

import json
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from emotion_svc.bench.http_client import Connection
from emotion_svc.bench.settings.catalog import Asking
from emotion_svc.decoding.spelling import Question
from emotion_svc.engines.checkpoint import load_checkpoint
from emotion_svc.errors import EngineUnavailable
from emotion_svc.prompt import Prompt, load_prompt
from emotion_svc.schema import ALL_ANSWERS, Answer, Turn

SERVED: Final = "studied"
"""The model's name on the server."""

_LONG: Final = Path(__file__).parent / "long_prompt.toml"
_EVENT: Final = b"data: "


class Reply(NamedTuple):
    """One answer; times since the request was sent, in milliseconds.

    `tokens` counts what was generated, an end token included; `is_valid` says whether the text is an answer, white
    space not counted.
    """

    first_ms: float
    total_ms: float
    tokens: int
    is_valid: bool


class Model:
    """What requests for one model are made of.

    Args:
        directory: the model directory.

    Raises:
        ModelError: as `engines.checkpoint.load_checkpoint`.
    """

    def __init__(self, directory: Path) -> None:
        self.loaded = load_checkpoint(str(directory))
        self.whole: Question = self.loaded.spelling.answer()
        self._longest = max(map(len, ALL_ANSWERS))  # a token is at least one character
        self._long: Prompt = load_prompt(_LONG)

    def body(self, turn: Turn, asking: Asking, *, seed: int, salt: str) -> bytes:
        """The request. `salt` keeps the prefix cache of one configuration apart from that of another."""
        regex = asking.grammar == "regex"
        question = self.whole
        longest = question.grammar.max_tokens if regex else self._longest
        request: dict[str, Any] = {
            "model": SERVED,
            "prompt": self._prompt(turn, asking),
            "max_tokens": longest if asking.max_tokens == "computed" else asking.max_tokens,
            "seed": seed,
            "stream": True,
            "stream_options": {"include_usage": True},
            "cache_salt": salt,
        }
        if regex:
            # The end is among them: with nothing else left to say, and no stop tokens, vLLM must be able to say it.
            allowed = [*question.token_ids, self.loaded.spelling.eos_token_id]
            request |= {"structured_outputs": {"regex": question.regex}, "allowed_token_ids": allowed}
        else:
            schema = {"name": "answer", "schema": Answer.model_json_schema()}
            request |= {"response_format": {"type": "json_schema", "json_schema": schema}}
        if asking.stops:
            request |= {"stop_token_ids": question.deciding_ids} if regex else {"stop": ["}"]}
            request |= {"include_stop_str_in_output": True}  # it is a part of the answer; holds for tokens, too
        if asking.temperature is not None:
            request |= {"temperature": asking.temperature}
        return json.dumps(request).encode()

    def _prompt(self, turn: Turn, asking: Asking) -> str | list[int]:
        regex = asking.grammar == "regex"
        if asking.prompt == "short":
            return self.loaded.encode(turn).ids + (self.whole.prefix_ids if regex else [])
        user = "".join(segment.text for segment in self._long.user_segments(turn))
        return f"{self._long.system}\n\n{user}\n\nAnswer:\n" + (self.whole.said if regex else "")

    def is_valid(self, text: str, asking: Asking) -> bool:
        """Whether the generated text is an answer, or under the regex the only possible beginning of one."""
        if asking.grammar == "regex":
            said = self.whole.said + text
            return sum(answer.startswith(said) for answer in ALL_ANSWERS) == 1
        try:
            Answer.model_validate_json(text)
        except ValidationError:
            return False
        return True


async def ask(connection: Connection, model: Model, turn: Turn, asking: Asking, *, seed: int, salt: str) -> Reply:
    """Sends one turn and reads the stream to its end.

    Raises:
        EngineUnavailable: the server refused the request, or went away.
    """
    body = model.body(turn, asking, seed=seed, salt=salt)
    sent = time.perf_counter()
    try:
        received = await connection.request("POST", "/v1/completions", body)
    except ConnectionError as error:
        raise EngineUnavailable(f"vLLM ended while it was measured ({error}); see its log") from error
    if received.status != 200:
        raise EngineUnavailable(f"vLLM answered a request of the study with status {received.status}; see its log")
    text, tokens, first, last = "", 0, None, sent
    for at, piece in _events(received.chunks):
        if "error" in piece:  # vLLM breaks the answer off; what is there is none
            first, last = first or at, at
        for choice in piece.get("choices", []):
            first, last = first or at, at
            text += choice["text"]
        if piece.get("usage"):
            tokens = piece["usage"]["completion_tokens"]
    assert first is not None, "an answer has at least one piece"
    return Reply((first - sent) * 1e3, (last - sent) * 1e3, tokens, model.is_valid(text, asking))


def _events(chunks: list[tuple[float, bytes]]) -> list[tuple[float, dict[str, Any]]]:
    """The stream's events, each with the time at which its end came."""
    events, rest = [], b""
    for at, chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n\n")
        lines = [line.strip() for line in whole]
        events += [(at, json.loads(line.removeprefix(_EVENT))) for line in lines if line.startswith(_EVENT + b"{")]
    return events

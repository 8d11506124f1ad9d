"""What a chat host is sent, and what its reply or its stream says: pure, without a connection.

A reply is read as plain JSON and by its shape: hosts differ in what they leave out, and the client's own types are
built without any check.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from emotion_svc.decoding.language import answer_regex
from emotion_svc.decoding.posterior import Posteriors
from emotion_svc.decoding.spoken import TextStep, certain, read_answer, spoken_posteriors
from emotion_svc.engines.presets import ChatPreset
from emotion_svc.errors import AnswerRefused, HostBroken, HostUnreachable
from emotion_svc.prompt import Message
from emotion_svc.schema import ALL_ANSWERS, Answer, TokenUsage

ANSWER_TOKENS: Final = max(map(len, ALL_ANSWERS)) + 16
"""The most tokens of an answer: a token is one character or more, and 16 are for white space and the end."""

_TOP_LOGPROBS: Final = 20
"""The most that OpenAI, vLLM (as it is set up) and DeepSeek give."""

_MOST_CHARS: Final = 10 * ANSWER_TOKENS
"""A stream that is longer than this without being an answer will not become one."""


def chat_request(preset: ChatPreset, messages: Sequence[Message]) -> dict[str, Any]:
    """The arguments of `chat.completions.create` for one turn."""
    request: dict[str, Any] = {
        "model": preset.model,
        "messages": [message._asdict() for message in messages],
        "max_tokens": ANSWER_TOKENS + preset.reasoning_tokens,
        "temperature": 0,
        "stream": preset.stream,
    }
    extra: dict[str, Any] = dict(preset.extra)
    match preset.constraint:
        case "json_schema":
            schema = {"name": "answer", "strict": True, "schema": answer_schema()}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        case "structured_outputs":
            extra["structured_outputs"] = {"regex": answer_regex()}
        case "stop":
            request["stop"] = ["}"]
    if preset.logprobs:
        request |= {"logprobs": True, "top_logprobs": _TOP_LOGPROBS}
    if preset.reasoning_effort is not None:
        request["reasoning_effort"] = preset.reasoning_effort
    return request | {"extra_body": extra}


@cache
def answer_schema() -> dict[str, Any]:
    """The answer's JSON schema without remarks: some of them are refused in OpenAI's strict mode, all are billed."""
    schema = Answer.model_json_schema()
    properties = {
        name: {key: value for key, value in of_key.items() if key in {"type", "enum"}}
        for name, of_key in schema["properties"].items()
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


class ChatReader:
    """Puts a host's reply together: one completion, or the chunks of a stream in their order."""

    def __init__(self, preset: ChatPreset) -> None:
        self._preset = preset
        self._text = ""
        self._steps: list[TextStep] = []
        self._has_ended = False
        self.usage: TokenUsage | None = None

    def add(self, piece: Mapping[str, Any]) -> None:
        """Takes a completion or a chunk.

        Raises:
            HostBroken: it is neither.
        """
        self.usage = usage_of(piece.get("usage"), "prompt_tokens", "completion_tokens") or self.usage
        match piece.get("choices"):
            case [{"message": dict(said)} | {"delta": dict(said)} as choice]:
                pass
            case []:  # of a stream: a chunk with counts alone
                return
            case _:
                raise HostBroken(f"the host of preset '{self._preset.name}' sent what is no chat reply")
        if isinstance(text := said.get("content"), str):
            self._text += text
        self._has_ended |= choice.get("finish_reason") is not None
        match choice.get("logprobs"):
            case {"content": [*tokens]}:
                self._steps += map(_step, tokens)

    @property
    def is_complete(self) -> bool:
        """Whether nothing that could follow is of interest: the answer is whole, or it will be none."""
        return len(self._text) > _MOST_CHARS or ("}" in self._text and read_answer(self._text) is not None)

    def posteriors(self) -> Posteriors:
        """What the host's answer says of both slots: its log-probabilities where it gave them, else all on the answer.

        Raises:
            HostUnreachable: the stream broke off before the answer was whole.
            AnswerRefused: what was said is not exactly one answer.
        """
        answer = read_answer(self._text)
        if answer is None and self._has_ended and self._preset.constraint == "stop":
            answer = read_answer(self._text, brace_may_be_missing=True)
        if answer is not None:
            return spoken_posteriors(self._steps) or certain(answer)
        if self._preset.stream and not self._has_ended and not self.is_complete:
            raise HostUnreachable(
                f"the host of preset '{self._preset.name}' ended its stream after {len(self._text)} characters, before "
                "the answer was whole"
            )
        usage = self.usage or TokenUsage(prompt_tokens=0, completion_tokens=0)
        raise AnswerRefused(
            f"the host of preset '{self._preset.name}' said {len(self._text)} characters that are not exactly one "
            "answer; use a model or a preset that is held to the schema",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )


def usage_of(counts: Any, prompt: str, completion: str) -> TokenUsage | None:
    """The tokens that a host counted, under its names for them; None where it did not."""
    if not isinstance(counts, dict):
        return None
    read, said = counts.get(prompt), counts.get(completion)
    if type(read) is not int or type(said) is not int or min(read, said) < 0:
        return None
    return TokenUsage(prompt_tokens=read, completion_tokens=said)


def _step(token: Any) -> TextStep:
    """A token with its alternatives; what is not of this form is left out."""
    match token:
        case {"token": str(text), "top_logprobs": [*others]}:
            return TextStep(text, dict(pair for entry in (*others, token) for pair in _pairs(entry)))
    return TextStep("", {})


def _pairs(entry: Any) -> list[tuple[str, float]]:
    match entry:
        case {"token": str(text), "logprob": (float() | int()) as logprob} if math.isfinite(logprob):
            return [(text, float(logprob))]
    return []

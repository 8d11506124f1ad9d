"""The objects that a chat request is answered with: one completion, or the events of a stream that say the same.

The answer is there at once, so a stream has it in one piece: role, content, end, and the token counts on demand.
"""

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from emotion_svc.serving.usage import Usage

_FROZEN: Final = ConfigDict(frozen=True)


class Message(BaseModel):
    """What is said."""

    model_config = _FROZEN

    role: Literal["assistant"] = "assistant"
    content: str = Field(examples=['{"emotion":"thats_right","learn_score":true}'])
    refusal: None = None


class Choice(BaseModel):
    """The one answer."""

    model_config = _FROZEN

    index: Literal[0] = 0
    message: Message
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class ChatUsage(BaseModel):
    """Tokens of the turn's three fields and of the answer."""

    model_config = _FROZEN

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "ChatUsage":
        """In the words of this wire."""
        return cls(prompt_tokens=usage.read, completion_tokens=usage.answered, total_tokens=usage.total)


class ChatCompletion(BaseModel):
    """The answer to a chat request. Its content is the two-key answer."""

    model_config = _FROZEN

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int = Field(description="Seconds since 1970.")
    model: str = Field(description="The name that was asked for; the default model's own where it stood in.")
    choices: list[Choice] = Field(min_length=1, max_length=1)
    usage: ChatUsage
    system_fingerprint: str = Field(description="Digest of the model file that answered.")

    @property
    def content(self) -> str:
        """The answer."""
        return self.choices[0].message.content


class ChunkChoice(BaseModel):
    """A piece of the one answer."""

    model_config = _FROZEN

    index: Literal[0] = 0
    delta: dict[Literal["role", "content"], str] = Field(description="What the event adds; empty in the last.")
    logprobs: None = None
    finish_reason: Literal["stop"] | None = None


class ChatChunk(BaseModel):
    """One event of a stream; with `usage` only where it was asked for, and then null up to the last one."""

    model_config = _FROZEN

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str
    usage: ChatUsage | None = None


def events(completion: ChatCompletion, *, with_usage: bool) -> str:
    """A completion as server-sent events, up to `[DONE]`."""
    return "".join(f"data: {line}\n\n" for line in _lines(completion, with_usage))


def _lines(completion: ChatCompletion, with_usage: bool) -> Iterator[str]:
    unasked = set() if with_usage else {"usage"}
    pieces = (
        ChunkChoice(delta={"role": "assistant", "content": ""}),
        ChunkChoice(delta={"content": completion.content}),
        ChunkChoice(delta={}, finish_reason="stop"),
    )
    for piece in pieces:
        yield _chunk(completion, [piece]).model_dump_json(exclude=unasked)
    if with_usage:
        yield _chunk(completion, [], completion.usage).model_dump_json()
    yield "[DONE]"


def _chunk(completion: ChatCompletion, choices: list[ChunkChoice], usage: ChatUsage | None = None) -> ChatChunk:
    return ChatChunk(
        id=completion.id,
        created=completion.created,
        model=completion.model,
        choices=choices,
        system_fingerprint=completion.system_fingerprint,
        usage=usage,
    )

"""What a chat request may say besides what `constraints` refuses; a field that is not known is refused too.

What tunes a model that writes freely, or keeps somebody's books, is checked and changes nothing: the answer is
chosen, not sampled, and it is always whole, so that no `max_tokens` and no `stop` cuts it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Discriminator, Field, StrictBool, StrictInt, StrictStr, Tag, ValidationError

from emotion_svc.schema import Turn
from emotion_svc.serving.closed import Closed
from emotion_svc.serving.constraints import without_constraints
from emotion_svc.serving.intake import Intake, Model
from emotion_svc.serving.openai_errors import Refused
from emotion_svc.serving.openai_turn import turn_of_text
from emotion_svc.serving.problems import describe

_ROLES: Final = ("system", "developer", "user", "assistant")
TextTag = Annotated[StrictStr, Tag("text")]
MAX_ITEMS: Final = 1_024
"""In a list. pydantic has an error for each wrong item, and a body has room for half a million of them."""

TEXT_OR_LIST: Final = Discriminator(lambda value: "list" if isinstance(value, list) else "text")
"""Tells a union of a text and a list which of them is meant, so that an error is told about that one alone."""

_Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]
_Penalty = Annotated[float, Field(strict=True, ge=-2, le=2)]
_Count = Annotated[StrictInt, Field(ge=1)]


class StreamOptions(Closed):
    """How a stream is sent."""

    include_usage: StrictBool | None = Field(default=None, description="Send a last chunk with the token counts.")
    include_obfuscation: StrictBool | None = Field(default=None, description="Changes nothing: nothing is padded.")


class ChatRequest(Closed):
    """The fields that are taken; those with a default may also be null."""

    model: StrictStr = Field(description="A name of GET /v1/models.", examples=["HuggingFaceTB/SmolLM2-135M-Instruct"])
    messages: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=MAX_ITEMS,
        description="The last is the user's and holds the turn, each name at the start of a line: 'Previous "
        "Question: …', 'Previous Answer: …', 'Response to check: …'. Those before it are not used.",
    )
    stream: StrictBool | None = Field(default=None, description="Answer with server-sent events.")
    stream_options: StreamOptions | None = None

    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    top_p: _Fraction | None = None
    top_k: Annotated[StrictInt, Field(ge=-1)] | None = None
    min_p: _Fraction | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    repetition_penalty: Annotated[float, Field(strict=True, gt=0)] | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    stop: (
        Annotated[TextTag | Annotated[list[StrictStr], Field(max_length=MAX_ITEMS), Tag("list")], TEXT_OR_LIST] | None
    ) = None
    seed: StrictInt | None = None
    reasoning_effort: StrictStr | None = None
    user: StrictStr | None = None
    metadata: dict[str, Any] | None = None
    safety_identifier: StrictStr | None = None
    prompt_cache_key: StrictStr | None = None

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the token counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def chat_request(fields: Mapping[str, Any]) -> ChatRequest:
    """The request with these fields.

    Raises:
        Refused: a field is missing, unknown or wrong, or asks for another answer than ours. `param` names it.
    """
    request = validated(ChatRequest, without_constraints(fields))
    if request.stream_options is not None and not request.stream:
        raise Refused('stream_options: expected only together with "stream": true', "stream_options")
    return request


def turn_of_messages(intake: Intake, messages: list[dict[str, Any]]) -> Turn:
    """The turn in the last message.

    Raises:
        Refused: the last message is not the user's, or there is no turn in it, or one before it is no message.
        TooLarge: the message or a field of the turn is over the limit.
    """
    check_messages(messages, "messages")
    return turn_of_text(intake, _text(messages[-1].get("content")), "messages")


def check_messages(messages: list[dict[str, Any]], param: str) -> None:
    """Lets messages pass of which the last is the user's. Raises `Refused`."""
    for place, message in enumerate(messages):
        if message.get("role") not in _ROLES or message.get("type", "message") != "message":
            raise Refused(f"{param}.{place}: expected a message with the role {', '.join(_ROLES)}", param)
    if not messages or messages[-1]["role"] != "user":
        raise Refused(f"{param}: expected the last message to be the user's, with the turn", param)


def validated(kind: type[Model], fields: Mapping[str, Any]) -> Model:
    """The model of a request. Raises `Refused` where it is none."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    place = errors[0]["loc"][0] if errors[0]["loc"] else None
    # Outside the handler: pydantic's own error holds the turn. A field that we do not know has no name here.
    raise Refused(describe(errors), place if isinstance(place, str) and place in kind.model_fields else None)


def _text(content: Any) -> str:
    """A message's text, in one piece or in several, each of which begins a line."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise Refused("messages: expected the content of the user's message to be a text", "messages")
    texts = []
    for part in parts:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case _:
                raise Refused("messages: expected parts of the type text in the user's message", "messages")
    return "\n".join(texts)

"""What a decisions request may ask: the two slots of the answer, under their names, and nothing else.

A question's `instructions` and the descriptions of its choices say in the caller's words what the model was trained
on; like the caller's system message in a chat, they are taken and not used.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StrictStr, Tag

from emotion_svc.schema import Turn
from emotion_svc.serving.chat_request import MAX_ITEMS, TEXT_OR_LIST, TextTag, check_messages, validated
from emotion_svc.serving.closed import Closed
from emotion_svc.serving.intake import FIELDS, Intake
from emotion_svc.serving.openai_errors import Refused
from emotion_svc.serving.openai_turn import turn_of_fields, turn_of_text
from emotion_svc.taxonomy import FAMILIES, LABELS

_Items = Annotated[list[dict[str, Any]], Field(max_length=MAX_ITEMS), Tag("list")]
_TextOrItems = Annotated[TextTag | _Items, TEXT_OR_LIST]

ASKABLE: Final = (
    "what can be asked, alone or together: a choice named 'emotion' whose values are the labels "
    f"({', '.join(LABELS)}) or the families ({', '.join(FAMILIES)}), and a predicate named 'learn_score'"
)


class Option(Closed):
    """A value that may be chosen."""

    value: StrictStr
    description: StrictStr | None = None


class ChoiceQuestion(Closed):
    """Which face to wear. The values are all labels, or all families, in any order."""

    type: Literal["choice"]
    name: Literal["emotion"]
    instructions: _TextOrItems
    choices: list[Option] = Field(max_length=255)

    @property
    def asks_for_families(self) -> bool:
        """Whether the values are the families; else they are the labels, or wrong."""
        return sorted(option.value for option in self.choices) == sorted(FAMILIES)

    @property
    def asks_for_labels(self) -> bool:
        """Whether the values are the labels."""
        return sorted(option.value for option in self.choices) == sorted(LABELS)


class PredicateQuestion(Closed):
    """Whether the child just got an English exercise right."""

    type: Literal["predicate"]
    name: Literal["learn_score"]
    instructions: _TextOrItems


Question = Annotated[ChoiceQuestion | PredicateQuestion, Field(discriminator="type")]


class DecisionRequest(Closed):
    """The fields that are taken; those with a default may also be null, and keep somebody's books."""

    model: StrictStr = Field(description="A name of GET /v1/models.")
    input: _TextOrItems = Field(
        description="The turn, each name at the start of a line ('Previous Question: …', 'Previous Answer: …', "
        "'Response to check: …'), or messages of which the last is the user's and holds it, so or as input_json."
    )
    questions: list[Question] = Field(min_length=1, max_length=2)
    prompt_cache_key: StrictStr | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: StrictStr | None = None


def decision_request(fields: Mapping[str, Any]) -> DecisionRequest:
    """The request with these fields.

    Raises:
        Refused: a field is missing, unknown or wrong, or a question cannot be asked. `param` names the field.
    """
    try:
        request = validated(DecisionRequest, fields)
    except Refused as error:
        raise Refused(f"{error}; {ASKABLE}" if error.param == "questions" else str(error), error.param) from None
    if len({question.name for question in request.questions}) < len(request.questions):
        raise Refused(f"questions: expected each name once; {ASKABLE}", "questions")
    for place, question in enumerate(request.questions):
        if isinstance(question, ChoiceQuestion) and not (question.asks_for_labels or question.asks_for_families):
            raise Refused(
                f"questions.{place}.choices: expected all labels or all families, each once, found "
                f"{len(question.choices)} values; {ASKABLE}",
                "questions",
            )
    return request


def turn_of_input(intake: Intake, found: str | list[dict[str, Any]]) -> Turn:
    """The turn in a request's input.

    Raises:
        Refused: the last item is no message of the user, or there is no turn in it.
        TooLarge: the message or a field of the turn is over the limit.
    """
    if isinstance(found, str):
        return turn_of_text(intake, found, "input")
    check_messages(found, "input")
    content = found[-1].get("content")
    if isinstance(content, str):
        return turn_of_text(intake, content, "input")
    match content:
        case [{"type": "input_json", "data": dict(fields)}]:
            return turn_of_fields(intake, fields, "input", _JSON_EXPECTED)
        case [*parts] if parts and all(_is_text(part) for part in parts):
            return turn_of_text(intake, "\n".join(part["text"] for part in parts), "input")
    raise Refused(f"input: expected a text, parts of the type input_text, or one input_json; {_JSON_EXPECTED}", "input")


_JSON_EXPECTED: Final = (
    f"the data of input_json is an object with {', '.join(FIELDS)}, all texts; the response is not empty"
)


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "input_text" and isinstance(part.get("text"), str)

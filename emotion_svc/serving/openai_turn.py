"""A turn in the words of a chat: the lines that the robot's backend writes into the user's message.

    Previous Question: Con mèo tiếng Anh là gì?
    Previous Answer: cat
    Response to check: Chính xác, cat đó!

A name begins a line, in any capitals and with any spaces, and counts where it first does so; all up to the next
name is its field, over several lines too. What has the form of a name inside a line is text. Of a line that is
left out the field is empty, but without a response there is no turn.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from emotion_svc.errors import InvalidTurn, TooLarge
from emotion_svc.schema import Turn
from emotion_svc.serving.intake import FIELDS, Intake, parse_json
from emotion_svc.serving.openai_errors import Refused

_SPACE: Final = r"[^\S\r\n]"
_NAME: Final = re.compile(
    rf"""(?:^|(?<=\r)) {_SPACE}* (?:
        (?P<previous_question> previous {_SPACE}+ question)
        | (?P<previous_answer> previous {_SPACE}+ answer)
        | (?P<response> response {_SPACE}+ to {_SPACE}+ check)
    ) {_SPACE}* :""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_AROUND: Final = 200
"""Characters that a message may have besides the limits of its fields: the names, and space."""

EXPECTED: Final = (
    "expected a turn, each name at the start of a line: 'Previous Question: …', 'Previous Answer: …' (either may be "
    "left out) and 'Response to check: …', which is not empty"
)


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is.

    Raises:
        Refused: it is something else.
    """
    try:
        value = parse_json(body)
    except InvalidTurn:
        value = None
    if not isinstance(value, dict):
        raise Refused(f"body: expected a JSON object, found {len(body)} bytes that are none")
    return value


def turn_of_text(intake: Intake, text: str, param: str) -> Turn:
    """The turn in the lines of a message. `param` is the request's field that the message stands in.

    Raises:
        Refused: there is no turn in it.
        TooLarge: the message or a field of the turn is over the limit.
    """
    limit = len(FIELDS) * intake.max_field_chars + _AROUND
    if len(text) > limit:
        raise TooLarge(f"{param}: the message has {len(text)} characters; the limit is {limit}")
    return turn_of_fields(intake, dict.fromkeys(FIELDS, "") | _fields(text), param)


def turn_of_fields(intake: Intake, fields: Mapping[str, Any], param: str, expected: str = EXPECTED) -> Turn:
    """The turn with these fields; `expected` is told where it is none. Raises as `turn_of_text`."""
    try:
        return intake.turn_from(dict(fields))
    except InvalidTurn:
        pass
    raise Refused(f"{param}: {expected}", param)  # outside the handler: what failed holds the turn


def _fields(text: str) -> dict[str, str]:
    found: dict[str, tuple[int, int]] = {}
    for match in _NAME.finditer(text):
        assert match.lastgroup in FIELDS
        found.setdefault(match.lastgroup, match.span())
    starts = [*sorted(start for start, _ in found.values()), len(text)]
    return {field: text[end : next(start for start in starts if start >= end)] for field, (_, end) in found.items()}

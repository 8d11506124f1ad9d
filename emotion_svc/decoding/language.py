"""The answer language: the regex that the answer's schema stands for.

The pydantic model gives the JSON schema, outlines turns it into a regex. Optional white space is off: one
answer has one spelling, so the language is exactly the strings of `schema.ALL_ANSWERS`.
"""

from functools import cache
from typing import Final

from emotion_svc.schema import ALL_ANSWERS, Answer

FORCED_OPENING: Final = '{"emotion":"'
"""What every answer begins with; it is put into the prompt instead of being generated."""


@cache
def answer_regex() -> str:
    """The regex of all valid answers. outlines is imported here: it costs 0.2 s, which not every caller needs."""
    from outlines.types import JsonSchema
    from outlines.types.dsl import to_regex

    return to_regex(JsonSchema(Answer, whitespace_pattern=""))


@cache
def continuation_regex() -> str:
    """The regex of what follows `FORCED_OPENING` in a valid answer: the left quotient of the answer language."""
    from outlines.types import Choice
    from outlines.types.dsl import to_regex

    return to_regex(Choice([answer.removeprefix(FORCED_OPENING) for answer in ALL_ANSWERS]))


def is_answer(text: str) -> bool:
    """Whether `text` is exactly one valid answer."""
    return text in ALL_ANSWERS

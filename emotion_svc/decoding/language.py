"""The answer language: the regex that the answer's schema stands for.

The pydantic model gives the JSON schema, outlines turns it into a regex. Optional white space is off: one
answer has one spelling, so the language is exactly the strings of `schema.ALL_ANSWERS`.
"""

import json
from functools import cache
from typing import Final

from outlines_core.json_schema import build_regex_from_schema

from emotion_svc.schema import ALL_ANSWERS, Answer

FORCED_OPENING: Final = '{"emotion":"'
"""What every answer begins with; it is put into the prompt instead of being generated."""


@cache
def answer_regex() -> str:
    """The regex of all valid answers.

    It is what `outlines.types.dsl.to_regex(JsonSchema(Answer, whitespace_pattern=""))` gives, by the function of
    outlines_core that outlines calls for it: importing outlines costs a start 0.5 s and 18 MB (docs/performance.md).
    """
    return str(build_regex_from_schema(json.dumps(Answer.model_json_schema()), ""))


@cache
def continuation_regex(said: str = FORCED_OPENING) -> str:
    """The regex of what follows `said` in a valid answer: the left quotient of the answer language.

    It is kept short, label and rest apart: vLLM parses it again with every request, and the 46 answers one by
    one cost 2 ms there.

    Raises:
        ValueError: no answer begins with `said`.
    """
    from outlines.types import Choice
    from outlines.types.dsl import to_regex

    rests = [answer.removeprefix(said) for answer in ALL_ANSWERS if answer.startswith(said)]
    if not rests:
        raise ValueError(f"no answer begins with {said!r}")
    labels = dict.fromkeys(rest.partition('"')[0] for rest in rests)
    tails = dict.fromkeys(rest.removeprefix(rest.partition('"')[0]) for rest in rests)
    assert len(labels) * len(tails) == len(rests), "every label goes with every value of learn_score"
    return to_regex(Choice(list(labels)) + Choice(list(tails)))

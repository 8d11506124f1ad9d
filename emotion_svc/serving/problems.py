"""From failures to what a caller reads: one shape for every wire, and no word of a turn in it.

    {"error": {"kind": "too_large", "message": "response: 4001 characters; the limit is 4000", "retryable": false}}

`kind` and the status come from the error's class (`errors`); callers branch on them. pydantic's own error
list repeats the input, so it never leaves: `describe` says what was wrong in our words, from types and names.
"""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails

from emotion_svc.errors import ServiceError
from emotion_svc.serving.closed import Unknown

_SHOWN: Final = 5

_JSON_TYPES: Final = {
    dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip

_EXPECTED: Final = {
    "string_type": "a text",
    "model_type": "an object",
    "tuple_type": "a list",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "dict_type": "an object",
}
_BOUNDS: Final = {"greater_than": "above", "greater_than_equal": "at least", "less_than_equal": "at most"}


class Problem(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(description="Stable name of the failure; branch on this.", examples=["invalid_turn"])
    message: str = Field(description="For people: what was expected and what was found.")
    retryable: bool = Field(description="Whether the same request may succeed later.")


class ProblemBody(BaseModel):
    """The body of every answer that is no success."""

    model_config = ConfigDict(frozen=True)

    error: Problem


HTTP_PROBLEMS: Final = {
    404: Problem(kind="not_found", message="there is no such path; GET /docs shows those there are", retryable=False),
    405: Problem(
        kind="method_not_allowed",
        message="this path does not take this method; the header Allow names those it takes",
        retryable=False,
    ),
}
"""What the router refuses, by status."""

INTERNAL: Final = Problem(
    kind="internal",
    message="this is a defect of the service; its log has the place, under X-Request-Id",
    retryable=False,
)


def problem_of(error: ServiceError) -> Problem:
    """The problem that stands for an error of our tree."""
    return Problem(kind=error.kind, message=str(error), retryable=error.retryable)


def encode(problem: Problem) -> str:
    """The JSON of a problem's body, on one line."""
    return ProblemBody(error=problem).model_dump_json()


def describe(errors: Sequence[ErrorDetails], *where: str) -> str:
    """What was wrong, by field, from pydantic's list: names that we know, types and counts, never a value.

    `where` is what stands before the fields' names. Unknown fields are told where the model is a `closed` one.
    """
    told = [f"{_place((*where, *_known(error)))}: {_fault(error)}" for error in errors[:_SHOWN]]
    if len(errors) > _SHOWN:
        told.append(f"and {len(errors) - _SHOWN} more")
    return "; ".join(told)


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc)) or "body"


def _known(error: ErrorDetails) -> tuple[int | str, ...]:
    """The names that lead to a fault, without that of a field which is unknown: it could be anything."""
    return error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"]


def _fault(error: ErrorDetails) -> str:
    match error["type"]:
        case "missing":
            return "missing"
        case "extra_forbidden" if isinstance(error["input"], Unknown):
            return str(error["input"])
        case "too_short" if isinstance(error["input"], list):
            return "expected a list that is not empty"
        case "too_short" | "string_too_short":
            return "expected a text that is not empty"
        case "too_long":
            return f"expected a list of at most {error['ctx']['max_length']}, found {len(error['input'])}"
        case kind if kind in _EXPECTED:
            return f"expected {_EXPECTED[kind]}, found {_json_type(error['input'])}"
        case kind if kind in _BOUNDS:
            [bound] = error["ctx"].values()
            return f"expected a number that is {_BOUNDS[kind]} {bound:g}"
        case kind:
            return f"not valid ({kind})"


def _json_type(value: Any) -> str:
    return _JSON_TYPES.get(type(value), "something else")

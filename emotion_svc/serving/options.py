"""What may stand behind the question mark of the native wires.

It is read here and not by FastAPI, whose dependencies take 0.03 ms of every request (docs/performance.md), with nothing
behind the question mark, too. What it would have put into the OpenAPI document is `OPTION_PARAMETERS`.
"""

from typing import Any, Final

from fastapi import Request
from pydantic import Field, ValidationError

from emotion_svc.errors import InvalidTurn
from emotion_svc.serving.closed import Closed
from emotion_svc.serving.problems import describe


class Options(Closed):
    """A misspelt name is refused, not ignored."""

    detail: bool = Field(default=False, description="Answer with the whole verdict instead of the two keys.")
    model: str | None = Field(default=None, description="A name of GET /v1/models; the default model if left out.")


_NONE: Final = Options()

OPTION_PARAMETERS: Final[list[dict[str, Any]]] = [
    {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.pop("description")}
    for name, schema in Options.model_json_schema()["properties"].items()
]
"""For the OpenAPI document."""


def asked_options(request: Request) -> Options:
    """The options of a request.

    Raises:
        InvalidTurn: a name is unknown, or a value is of the wrong type.
    """
    if not request.scope["query_string"]:
        return _NONE
    try:
        return Options.model_validate(dict(request.query_params))
    except ValidationError as error:
        found = describe(error.errors(include_url=False), "query")
    raise InvalidTurn(found)  # outside the handler: pydantic's own error holds what was sent

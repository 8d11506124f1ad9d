"""Failures in the words of OpenAI's API, for the wires that its clients speak to; no word of a turn in them.

    {"error": {"message": "n: …", "type": "invalid_request_error", "param": "n", "code": "invalid_request"}}

`code` is the `kind` of our error tree (`errors`). What is wrong with a request has the status 400 here, as OpenAI
has it, also where the native wires say 422.
"""

from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Scope

from emotion_svc.errors import ServiceError
from emotion_svc.serving.problems import Problem, encode

_PATHS: Final = frozenset({"/v1/chat/completions", "/v1/decisions", "/v1/models"})
_MODEL_PATH: Final = "/v1/models/"


class Refused(ServiceError):
    """The request asks for something that this wire does not do. `param` is the field that asks for it."""

    kind: ClassVar[str] = "invalid_request"
    status: ClassVar[int] = 400

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnknownModel(Refused):
    """No model is served under the name that was sent."""

    kind = "model_not_found"
    status = 404


class OpenAIError(BaseModel):
    """What went wrong, as OpenAI's clients read it."""

    model_config = ConfigDict(frozen=True)

    message: str = Field(description="For people: what was expected and what was found.")
    type: Literal["invalid_request_error", "server_error"] = Field(description="Whose fault it is.")
    param: str | None = Field(description="The field of the request that is meant, where it is one.")
    code: str = Field(description="Stable name of the failure; branch on this.", examples=["invalid_request"])


class OpenAIErrorBody(BaseModel):
    """The body of every answer of these wires that is no success."""

    model_config = ConfigDict(frozen=True)

    error: OpenAIError


OPENAI_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": OpenAIErrorBody, "description": text}
    for status, text in {
        401: "Keys are asked for, and the request has none that is known.",
        429: "The client comes too often, or has too many requests in flight (see Retry-After).",
        500: "A defect of the service.",
        503: "The engine or the model is not ready, or there is more work than is answered in time (see Retry-After).",
    }.items()
}
"""For the OpenAPI document: what may go wrong on each of these wires."""

OPENAI_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": OpenAIErrorBody, "description": text}
    for status, text in {
        400: "The request asks for something that this wire does not do, or holds no turn; `param` names the field.",
        404: "No model is served under this name.",
        408: "The body did not come in time; nothing was computed.",
        413: "A field, the message or the body is over its limit; nothing was computed.",
    }.items()
}
"""The same, besides, for those that take a request."""


def encode_for(scope: Scope, problem: Problem, status: int, param: str | None = None) -> str:
    """The JSON of a problem's body, in the language of the wire of this request."""
    if not is_openai(scope):
        return encode(problem)
    fault: Literal["invalid_request_error", "server_error"] = (
        "server_error" if status >= 500 else "invalid_request_error"
    )
    error = OpenAIError(message=problem.message, type=fault, param=param, code=problem.kind)
    return OpenAIErrorBody(error=error).model_dump_json()


def is_openai(scope: Scope) -> bool:
    """Whether a request's wire speaks OpenAI's language, in failures too."""
    path: str = scope["path"]
    return path in _PATHS or path.startswith(_MODEL_PATH)

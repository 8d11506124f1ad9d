"""The native wires: a turn or a batch of turns in, answers out; and what tells whether we are alive and ready.

Bodies are read by `intake` and not by FastAPI, whose validation repeats the input in its errors, refuses lone
surrogates and checks an answer a second time. What it would have put into the OpenAPI document, `takes` does.
"""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from emotion_svc.config import Settings
from emotion_svc.errors import EngineUnavailable
from emotion_svc.schema import Answer, Timings, Turn, Verdict
from emotion_svc.serving.budget import DEADLINE_PARAMETER, asked_deadline_ms
from emotion_svc.serving.direct import DirectRoute
from emotion_svc.serving.intake import FIELDS, Intake
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.options import OPTION_PARAMETERS, Options, asked_options
from emotion_svc.serving.problems import ProblemBody
from emotion_svc.serving.service import Answered, Service
from emotion_svc.serving.stopping import Stopping

EXAMPLE_TURN: Final = {
    "previous_question": "Tớ buồn quá.",
    "previous_answer": "i think a yummy",
    "response": "Nghe vui quá! Bể Hả, cậu có muốn chơi trò kể tên các loại trái cây bằng tiếng Anh không? "
    "Name fruits in English!",
}
_EXERCISE_TURN: Final = {
    "previous_question": "Con mèo tiếng Anh là gì?",
    "previous_answer": "cat",
    "response": "Chính xác, cat đó! Giỏi quá!",
}

_PROBLEMS: Final = {
    401: "Keys are asked for, and the request has none that is known.",
    408: "The body did not come in time; nothing was computed.",
    413: "A field, the batch or the body is over its limit; nothing was computed.",
    404: "No model is served under the name that was asked for.",
    422: "The body is no turn, or an option is wrong; the message names the field and what was expected.",
    429: "The client comes too often, or has too many requests in flight (see Retry-After).",
    500: "A defect of the service.",
    503: "The engine or the model is not ready, or there is more work than is answered in time (see Retry-After).",
}


_OPEN: Final[dict[str, Any]] = {"security": []}
"""For the OpenAPI document: asks for no key."""


class Answers(BaseModel):
    """The answers to a batch, in the order of its turns."""

    answers: list[Answer] | list[Verdict]


class Alive(BaseModel):
    """The process runs."""

    status: str = Field(examples=["alive"])


class Ready(BaseModel):
    """The engine has started, passed its canary, and has not failed since without an end."""

    status: str = Field(examples=["ready"])
    engine: str = Field(examples=["embedded"])
    model: str = Field(examples=["pika-tiny"])
    model_digest: str


def native_wires(service: Service, settings: Settings) -> APIRouter:
    """`/v1/classify` and `/v1/classify/batch`."""
    router = APIRouter(tags=["classify"], route_class=DirectRoute)
    intake = Intake.of(settings)
    turn_schema = _turn_schema(settings)
    batch_schema = {
        "type": "object",
        "properties": {"turns": {"type": "array", "items": turn_schema, "maxItems": settings.max_batch}},
        "required": ["turns"],
        "additionalProperties": False,
    }

    @router.post(
        "/v1/classify",
        summary="Which face to wear, and whether the child just got an exercise right",
        responses={200: {"model": Answer | Verdict, "description": "The answer."}, **_problems(_PROBLEMS)},
        openapi_extra=takes(
            turn_schema, {"a game": EXAMPLE_TURN, "an exercise": _EXERCISE_TURN}, parameters=OPTION_PARAMETERS
        ),
    )
    async def classify(request: Request) -> Response:
        options = asked_options(request)
        turn = intake.turn(await request.body())
        answered = await service.classify([turn], deadline_ms=asked_deadline_ms(request), model=options.model)
        return timed_answer(_spell(answered.verdicts[0], options), answered.slowest)

    @router.post(
        "/v1/classify/batch",
        summary="The same for several turns, in the same order",
        responses={200: {"model": Answers, "description": "One answer for each turn."}, **_problems(_PROBLEMS)},
        openapi_extra=takes(
            batch_schema, {"two turns": {"turns": [EXAMPLE_TURN, _EXERCISE_TURN]}}, parameters=OPTION_PARAMETERS
        ),
    )
    async def classify_batch(request: Request) -> Response:
        options = asked_options(request)
        turns = intake.batch(await request.body())
        answered = await service.classify(turns, deadline_ms=asked_deadline_ms(request), model=options.model)
        return timed_answer(_spell_all(answered, options), answered.slowest)

    return router


def health_wires(service: Service, metrics: Metrics, stopping: Stopping) -> APIRouter:
    """`/healthz`, `/readyz` and `/metrics`."""
    router = APIRouter(tags=["operations"])

    # Monitors and `curl -I` ask by HEAD.
    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", summary="Whether the process runs", openapi_extra=_OPEN)
    async def alive() -> Alive:
        return Alive(status="alive")

    @router.head("/readyz", include_in_schema=False)
    @router.get(
        "/readyz",
        summary="Whether it may be sent work",
        responses=_problems({503: "The engine is not ready or fails, or the process is about to stop."}),
        openapi_extra=_OPEN,
    )
    async def ready() -> Ready:
        if stopping.has_begun:
            raise EngineUnavailable("the process is about to stop; send work to another")
        engine = service.models.default
        service.readiness.check()
        return Ready(status="ready", engine=engine.name, model=engine.model_name, model_digest=engine.model_digest)

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {}}, "description": "Prometheus text format."},
            **_problems({401: "Keys are asked for here too, and the request has none that is known."}),
        },
    )
    async def render_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return router


def _spell(verdict: Verdict, options: Options) -> str:
    return verdict.model_dump_json() if options.detail else verdict.answer.model_dump_json()


def _spell_all(answered: Answered, options: Options) -> str:
    return '{"answers":[' + ",".join(_spell(verdict, options) for verdict in answered.verdicts) + "]}"


def timed_answer(text: str, timings: Timings, media_type: str = "application/json") -> Response:
    """An answer that says where its time went."""
    spent = (
        f"queue;dur={timings.queue_ms:.3f}, tokenize;dur={timings.tokenize_ms:.3f}, infer;dur={timings.infer_ms:.3f}"
    )
    return Response(text, media_type=media_type, headers={"server-timing": spent})


def _turn_schema(settings: Settings) -> dict[str, Any]:
    schema = Turn.model_json_schema()
    for field in FIELDS:
        schema["properties"][field]["maxLength"] = settings.max_field_chars
    return schema


def takes(
    schema: dict[str, Any], examples: dict[str, Any], parameters: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """A request body for the OpenAPI document, and the header that every wire with a body knows."""
    content = {"schema": schema, "examples": {name: {"value": value} for name, value in examples.items()}}
    return {
        "requestBody": {"required": True, "content": {"application/json": content}},
        "parameters": [*parameters, DEADLINE_PARAMETER],
    }


def _problems(descriptions: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ProblemBody, "description": text} for status, text in descriptions.items()}

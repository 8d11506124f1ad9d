"""`POST /v1/decisions`: OpenAI's wire for questions with a probability, as its clients speak it (`openai` 3.52).

OpenAI does not say how it computes a choice's `confidence`. Here it is the calibrated probability of the chosen
family, also where the values are labels: which animation of a family is played is a policy and not a belief.
"""

from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from emotion_svc.config import Settings
from emotion_svc.schema import Verdict
from emotion_svc.serving.budget import asked_deadline_ms
from emotion_svc.serving.decision_request import (
    ChoiceQuestion,
    DecisionRequest,
    PredicateQuestion,
    decision_request,
    turn_of_input,
)
from emotion_svc.serving.direct import DirectRoute
from emotion_svc.serving.documents import inline_schema
from emotion_svc.serving.intake import Intake
from emotion_svc.serving.openai_errors import OPENAI_PROBLEMS, OPENAI_REFUSALS
from emotion_svc.serving.openai_turn import read_object
from emotion_svc.serving.service import Service
from emotion_svc.serving.usage import Usage, usage_of
from emotion_svc.serving.wires import EXAMPLE_TURN, takes, timed_answer
from emotion_svc.taxonomy import FAMILIES, LABELS, LABELS_OF

EXAMPLE_DECISION: Final[dict[str, Any]] = {
    "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "input": [{"role": "user", "content": [{"type": "input_json", "data": EXAMPLE_TURN}]}],
    "questions": [
        {
            "type": "choice",
            "name": "emotion",
            "instructions": "Which face does Pika wear?",
            "choices": [{"value": family} for family in FAMILIES],
        },
        {
            "type": "predicate",
            "name": "learn_score",
            "instructions": "The child just got an English exercise right.",
        },
    ],
}

_FROZEN: Final = ConfigDict(frozen=True)


class ValueProbability(BaseModel):
    """How likely a value is."""

    model_config = _FROZEN

    value: str
    probability: float


class ChoiceAnswer(BaseModel):
    """What was chosen, and the probabilities of all values, in the order of the question; they sum to 1."""

    model_config = _FROZEN

    type: Literal["choice"] = "choice"
    name: Literal["emotion"] = "emotion"
    choice: str
    confidence: float = Field(description="Probability of the chosen family.")
    probabilities: list[ValueProbability]


class PredicateAnswer(BaseModel):
    """How likely it is that the child just got an exercise right; from one half on, the verdict is yes."""

    model_config = _FROZEN

    type: Literal["predicate"] = "predicate"
    name: Literal["learn_score"] = "learn_score"
    probability: float


class InputDetails(BaseModel):
    """Of the tokens that were read: none comes from a cache that callers pay for."""

    model_config = _FROZEN

    cached_tokens: Literal[0] = 0
    cache_write_tokens: Literal[0] = 0


class OutputDetails(BaseModel):
    """Of the tokens of the answer: there is no reasoning."""

    model_config = _FROZEN

    reasoning_tokens: Literal[0] = 0


class DecisionUsage(BaseModel):
    """Tokens of the turn's three fields and of the answer."""

    model_config = _FROZEN

    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "DecisionUsage":
        """In the words of this wire."""
        return cls(input_tokens=usage.read, output_tokens=usage.answered, total_tokens=usage.total)


class Decision(BaseModel):
    """The answers, in the order of the questions."""

    model_config = _FROZEN

    answers: list[ChoiceAnswer | PredicateAnswer]
    model: str = Field(description="The name that was asked for; the default model's own where it stood in.")
    usage: DecisionUsage


def decisions_wire(service: Service, settings: Settings) -> APIRouter:
    """`/v1/decisions`."""
    router = APIRouter(tags=["openai"], route_class=DirectRoute)
    intake = Intake.of(settings)

    @router.post(
        "/v1/decisions",
        summary="The same as questions with probabilities, as OpenAI's clients speak",
        responses={200: {"model": Decision, "description": "The answers."}, **OPENAI_REFUSALS, **OPENAI_PROBLEMS},
        openapi_extra=takes(inline_schema(DecisionRequest), {"both questions": EXAMPLE_DECISION}),
    )
    async def decide(request: Request) -> Response:
        asked = decision_request(read_object(await request.body()))
        service.models.check(asked.model)
        turn = turn_of_input(intake, asked.input)
        answered = await service.classify([turn], deadline_ms=asked_deadline_ms(request), model=asked.model)
        [verdict] = answered.verdicts
        decision = Decision(
            answers=[_answer(question, verdict) for question in asked.questions],
            model=answered.stand_in or asked.model,
            usage=DecisionUsage.of(usage_of(answered.router, turn, verdict.answer)),
        )
        return timed_answer(decision.model_dump_json(), answered.slowest)

    return router


def _answer(question: ChoiceQuestion | PredicateQuestion, verdict: Verdict) -> ChoiceAnswer | PredicateAnswer:
    if isinstance(question, PredicateQuestion):
        return PredicateAnswer(probability=verdict.learn_score_probability)
    posterior = verdict.emotion_posterior
    probabilities: dict[str, float] = {label: posterior[label] for label in LABELS}
    if question.asks_for_families:
        probabilities = {family: min(1.0, sum(posterior[label] for label in LABELS_OF[family])) for family in FAMILIES}
    return ChoiceAnswer(
        choice=verdict.family if question.asks_for_families else verdict.answer.emotion,
        confidence=verdict.family_confidence,
        probabilities=[
            ValueProbability(value=option.value, probability=probabilities[option.value]) for option in question.choices
        ],
    )

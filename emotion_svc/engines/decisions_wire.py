"""What a host of OpenAI's decisions wire is sent, and what its decision says: pure, without a connection.

It is asked for the family and not for the label: which animation of a family is played is a policy (`decoding.choice`),
and a host that was not trained on our labels has no opinion on it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from emotion_svc.decoding.posterior import Posteriors
from emotion_svc.engines.chat_wire import usage_of
from emotion_svc.engines.presets import DecisionsPreset
from emotion_svc.errors import AnswerRefused, HostBroken
from emotion_svc.prompt import Message
from emotion_svc.schema import TokenUsage
from emotion_svc.taxonomy import FAMILIES, FAMILY_OF, LABELS, LABELS_OF

_QUESTIONS: Final = (
    {
        "type": "choice",
        "name": "emotion",
        "instructions": "The emotion of the Response to check, by the rules of the system message.",
        "choices": [{"value": family} for family in FAMILIES],
    },
    {
        "type": "predicate",
        "name": "learn_score",
        "instructions": "learn_score is true, by the rules of the system message.",
    },
)
_SUM_TOLERANCE: Final = 0.02
"""How far from 1 the probabilities may sum: hosts round them."""


def decisions_request(preset: DecisionsPreset, messages: Sequence[Message]) -> dict[str, Any]:
    """The arguments of `decisions.create` for one turn."""
    return {
        "model": preset.model,
        "input": [message._asdict() for message in messages],
        "questions": _QUESTIONS,
    }


def decision_usage(decision: Mapping[str, Any]) -> TokenUsage | None:
    """The tokens that the host counted."""
    return usage_of(decision.get("usage"), "input_tokens", "output_tokens")


def decision_posteriors(preset: DecisionsPreset, decision: Mapping[str, Any]) -> Posteriors:
    """The probabilities of a decision; a family's is shared by its labels in equal parts.

    Raises:
        HostBroken: this is no decision.
        AnswerRefused: the answers are not those to our questions: refused, of another kind, not for each family, or no
            probabilities.
    """
    match decision.get("answers"):
        case [{"type": "choice", "probabilities": [*rows]}, {"type": "predicate", "probability": true}] if (
            _is_probability(true) and (families := _families(rows)) is not None
        ):
            shared = [families[FAMILY_OF[label]] / len(LABELS_OF[FAMILY_OF[label]]) for label in LABELS]
            return Posteriors(np.array(shared), float(true))
        case [*answers]:
            usage = decision_usage(decision) or TokenUsage(prompt_tokens=0, completion_tokens=0)
            raise AnswerRefused(
                f"the host of preset '{preset.name}' gave {len(answers)} answers that are not a probability for each "
                "family and one for learn_score",
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
            )
    raise HostBroken(f"the host of preset '{preset.name}' sent what is no decision")


def _families(rows: Sequence[Any]) -> dict[str, float] | None:
    """The families' probabilities, scaled to the sum 1; None where they are not those of all families, each once."""
    found: dict[str, float] = {}
    for row in rows:
        match row:
            case {"value": str(family), "probability": probability} if _is_probability(probability):
                found[family] = float(probability)
    total = math.fsum(found.values())
    if len(rows) != len(FAMILIES) or found.keys() != set(FAMILIES) or abs(total - 1) > _SUM_TOLERANCE:
        return None
    return {family: probability / total for family, probability in found.items()}


def _is_probability(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1

"""From posteriors to what the robot gets: the best family first, then one of its animations."""

import hashlib
from typing import Literal

from emotion_svc.decoding.posterior import Posteriors, family_posterior
from emotion_svc.schema import Answer, Timings, Turn, Verdict
from emotion_svc.taxonomy import FAMILIES, LABELS, LABELS_OF, Family, Label

VariantPolicy = Literal["stable", "first", "model"]


def choose_label(turn: Turn, posteriors: Posteriors, policy: VariantPolicy = "stable") -> Label:
    """The label to play. Probability is summed over a family's labels before the best family is taken.

    `stable` picks the variant by a hash of the response (same response, same face; faces vary), `first` the
    plain one, `model` the likeliest.
    """
    family = best_family(posteriors)
    if policy == "model":
        return max(LABELS_OF[family], key=lambda label: posteriors.emotion[LABELS.index(label)])
    return likely_label(turn, family, policy)


def likely_label(turn: Turn, family: Family, policy: VariantPolicy = "stable") -> Label:
    """The label to play if this is the family: the one of `choose_label`; under `model`, which asks more, a guess."""
    variants = LABELS_OF[family]
    if policy == "stable":
        digest = hashlib.blake2b(turn.response.encode(), digest_size=4).digest()
        return variants[int.from_bytes(digest) % len(variants)]
    return variants[0]


def best_family(posteriors: Posteriors) -> Family:
    """The family with the largest summed probability; the earlier in `taxonomy.FAMILIES` of two that tie."""
    return FAMILIES[int(family_posterior(posteriors.emotion).argmax())]


def make_verdict(
    label: Label,
    posteriors: Posteriors,
    *,
    engine: str,
    model_digest: str,
    truncated: bool = False,
    timings: Timings | None = None,
) -> Verdict:
    """The verdict for a chosen label; `learn_score` is true from one half on."""
    families = family_posterior(posteriors.emotion)
    family = next(family for family, variants in LABELS_OF.items() if label in variants)
    return Verdict(
        answer=Answer(emotion=label, learn_score=posteriors.learn_score_true >= 0.5),
        family=family,
        emotion_posterior={name: float(p) for name, p in zip(LABELS, posteriors.emotion, strict=True)},
        family_confidence=min(1.0, float(families[FAMILIES.index(family)])),
        learn_score_probability=min(1.0, max(0.0, posteriors.learn_score_true)),
        engine=engine,
        model_digest=model_digest,
        truncated=truncated,
        timings=timings or Timings(),
    )

"""What a study gives: `settings.json` is a `Study`. All models are frozen; times in milliseconds unless named."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from emotion_svc.bench.results import Frozen, Machine
from emotion_svc.bench.settings.asking import Reply
from emotion_svc.bench.settings.catalog import AnchorName

_RESAMPLES = 2000


class Figures(Frozen):
    """One configuration, medians over the turns."""

    first_ms: float = Field(description="Time to first token.")
    between_ms: float | None = Field(description="Mean time between two tokens of an answer, where it has two.")
    total_ms: float
    total_p95_ms: float
    tokens: float = Field(description="Mean count of generated tokens.")
    valid: float = Field(description="Share of the turns with an answer that is one.")
    turns_per_s: float = Field(description="With several clients at a time.")


class Saving(Frozen):
    """What the value that is said to be faster saves of a whole answer: median of the turns, 95 % interval."""

    ms: float
    low_ms: float
    high_ms: float


class Outcome(Frozen):
    """One comparison. Where vLLM refused a value, `refused` says why and there are no figures."""

    setting: str
    said: str
    said_ms: tuple[float, float] | None
    faster: str
    other: str
    anchor: AnchorName
    anchor_is_faster: bool
    anchor_figures: Figures | None = None
    variant_figures: Figures | None = None
    saving: Saving | None = None
    refused: str | None = None

    @property
    def sides(self) -> tuple[Figures | None, Figures | None]:
        """The figures of the value that is said to be faster, and of the other one."""
        sides = (self.anchor_figures, self.variant_figures)
        return sides if self.anchor_is_faster else (sides[1], sides[0])

    @property
    def is_like_for_like(self) -> bool:
        """Whether both sides gave answers alone; what is saved against half an answer is no saving."""
        return all(side is not None and side.valid == 1 for side in self.sides)


class AnchorReport(Frozen):
    """An anchor: what it is, and its figures beside the other one."""

    name: AnchorName
    server: dict[str, str]
    asking: dict[str, str | int | float | bool | None]
    ready_s: float
    figures: Figures


class Conditions(Frozen):
    """How it was measured."""

    model: str
    model_digest: str
    vllm: str
    on_cpu: bool
    gold: list[str]
    turns: int = Field(description="Asked of each configuration one at a time, the same of all in a group.")
    load_turns: int = Field(description="Asked of each configuration several at a time.")
    clients: int
    warm_up: int = Field(description="Turns asked before, not counted.")
    seed: int


class Study(Frozen):
    """All of one run."""

    date: str
    machine: Machine
    conditions: Conditions
    anchors: list[AnchorReport]
    outcomes: list[Outcome]

    @property
    def summary(self) -> dict[str, float]:
        """What a program reads off the last line: the medians of both anchors, and each saving."""
        said = {f"{anchor.name} total_ms": anchor.figures.total_ms for anchor in self.anchors}
        said |= {
            f"{o.anchor}: {o.setting}, {o.faster} against {o.other}": o.saving.ms
            for o in self.outcomes
            if o.saving is not None
        }
        return {name: round(value, 2) for name, value in said.items()}


def figures_of(replies: Sequence[Reply], turns_per_s: float) -> Figures:
    """The figures of one configuration."""
    totals = [reply.total_ms for reply in replies]
    between = [(reply.total_ms - reply.first_ms) / (reply.tokens - 1) for reply in replies if reply.tokens > 1]
    return Figures(
        first_ms=float(np.median([reply.first_ms for reply in replies])),
        between_ms=float(np.median(between)) if between else None,
        total_ms=float(np.median(totals)),
        total_p95_ms=float(np.percentile(totals, 95)),
        tokens=float(np.mean([reply.tokens for reply in replies])),
        valid=float(np.mean([reply.is_valid for reply in replies])),
        turns_per_s=turns_per_s,
    )


def saving_of(faster: Sequence[Reply], other: Sequence[Reply], seed: int) -> Saving:
    """What `faster` saves against `other`; both answered the same turns in the same order.

    Turns are resampled in pairs, so that what is long for both does not widen the interval.
    """
    differences = np.array([b.total_ms - a.total_ms for a, b in zip(faster, other, strict=True)])
    drawn = np.random.default_rng(seed).choice(differences, (_RESAMPLES, len(differences)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return Saving(ms=float(np.median(differences)), low_ms=float(low), high_ms=float(high))

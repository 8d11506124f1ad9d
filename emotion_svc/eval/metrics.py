"""Measures over gold turns and predictions. Numbers are shares (0 to 1), not percent.

`emotion_accuracy` counts the gold family alone (strict); families in `also` are defensible and counted apart.
Expected calibration error is the usual one over 15 equal bins of confidence (Guo et al. 2017,
arXiv:1706.04599). Intervals are 95 % percentile bootstrap over turns. That of a calibration error lies too high:
drawing turns again adds noise, and each bin counts it as error whichever its sign, so the value often stands near the
lower end.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from emotion_svc.schema import Example
from emotion_svc.taxonomy import FAMILIES, Family

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

BINS: Final = 15


class Prediction(NamedTuple):
    """What an engine said of one turn, with the probability of each choice."""

    family: Family
    learn_score: bool
    family_confidence: float
    learn_score_confidence: float


class Interval(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


class Table(NamedTuple):
    """Gold and predictions side by side, one row a turn."""

    examples: Sequence[Example]
    predictions: Sequence[Prediction]

    @property
    def emotion_right(self) -> Bools:
        """Whether the family is the gold one."""
        return np.array([e.emotion == p.family for e, p in self._rows], dtype=bool)

    @property
    def emotion_defensible(self) -> Bools:
        """Whether the family is the gold one or one of `also`."""
        return np.array([p.family in (e.emotion, *e.also) for e, p in self._rows], dtype=bool)

    @property
    def learn_score_right(self) -> Bools:
        """Whether `learn_score` is the gold one."""
        return np.array([e.learn_score == p.learn_score for e, p in self._rows], dtype=bool)

    @property
    def _rows(self) -> list[tuple[Example, Prediction]]:
        return list(zip(self.examples, self.predictions, strict=True))

    def where(self, keep: Callable[[Example], bool]) -> "Table":
        """The rows whose example is kept."""
        kept = [(e, p) for e, p in self._rows if keep(e)]
        return Table([e for e, _ in kept], [p for _, p in kept])

    def family_f1(self) -> dict[Family, float]:
        """F1 of each family that occurs in gold or predictions."""
        scores = {}
        for family in FAMILIES:
            gold = np.array([e.emotion == family for e in self.examples])
            said = np.array([p.family == family for p in self.predictions])
            if gold.any() or said.any():
                scores[family] = f1(gold, said)
        return scores

    def learn_score_f1(self) -> float:
        """F1 of the value true."""
        return f1(np.array([e.learn_score for e in self.examples]), np.array([p.learn_score for p in self.predictions]))

    def confusions(self) -> list[tuple[Family, Family, int]]:
        """(gold, said, how often), the most frequent first."""
        counts: dict[tuple[Family, Family], int] = {}
        for e, p in self._rows:
            if e.emotion != p.family:
                counts[e.emotion, p.family] = counts.get((e.emotion, p.family), 0) + 1
        return sorted(((g, s, n) for (g, s), n in counts.items()), key=lambda row: -row[2])

    def resampled(self, rows: npt.NDArray[np.intp]) -> "Table":
        """The given rows, which may repeat."""
        return Table([self.examples[i] for i in rows], [self.predictions[i] for i in rows])


def f1(gold: Bools, said: Bools) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is right."""
    both = int((gold & said).sum())
    return 2 * both / (int(gold.sum()) + int(said.sum())) if both else 0.0


def calibration_error(confidence: Sequence[float] | Floats, right: Bools) -> float:
    """Expected calibration error over 15 equal bins."""
    sure = np.asarray(confidence, dtype=np.float64)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    error = 0.0
    for place in range(BINS):
        inside = bins == place
        if inside.any():
            error += inside.mean() * abs(float(right[inside].mean() - sure[inside].mean()))
    return float(error)


def bootstrap(table: Table, measure: Callable[[Table], float], *, rounds: int = 1000, seed: int = 0) -> Interval:
    """`measure` with its 95 % percentile interval over resampled turns."""
    rng, size = np.random.default_rng(seed), len(table.examples)
    values = [measure(table.resampled(rng.integers(0, size, size))) for _ in range(rounds)]
    return Interval(measure(table), float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975)))


def share(right: Bools, *, rounds: int = 1000, seed: int = 0) -> Interval:
    """The share that is true, with its 95 % percentile interval over resampled turns."""
    rows = np.random.default_rng(seed).integers(0, right.size, (rounds, right.size))
    low, high = np.quantile(right[rows].mean(axis=1), (0.025, 0.975))
    return Interval(float(right.mean()), float(low), float(high))


def difference(first: Bools, second: Bools, *, rounds: int = 1000, seed: int = 0) -> Interval:
    """How much larger the first share is than the second on the same turns, resampled together."""
    gains = first.astype(np.float64) - second
    rows = np.random.default_rng(seed).integers(0, gains.size, (rounds, gains.size))
    low, high = np.quantile(gains[rows].mean(axis=1), (0.025, 0.975))
    return Interval(float(gains.mean()), float(low), float(high))


def family_f1_intervals(table: Table, *, rounds: int = 1000, seed: int = 0) -> dict[Family, Interval]:
    """`Table.family_f1` with intervals over resampled turns; all families share the resamples.

    A resample without a family, gold or said, says nothing of it and is left out of that family's interval.
    """
    gold = np.array([FAMILIES.index(e.emotion) for e in table.examples])
    said = np.array([FAMILIES.index(p.family) for p in table.predictions])
    rng, scores = np.random.default_rng(seed), []
    for _ in range(rounds):
        rows = rng.integers(0, gold.size, gold.size)
        g, s = gold[rows], said[rows]
        both, either = (np.bincount(x, minlength=len(FAMILIES)) for x in (g[g == s], np.concatenate((g, s))))
        scores.append(np.where(either, 2 * both / np.maximum(1, either), np.nan))
    values = table.family_f1()
    drawn = np.array(scores)[:, [FAMILIES.index(family) for family in values]]
    low, high = np.nanquantile(drawn, (0.025, 0.975), axis=0)
    return {
        family: Interval(value, float(low[place]), float(high[place]))
        for place, (family, value) in enumerate(values.items())
    }


def mcnemar(first: Bools, second: Bools) -> float:
    """Two-sided exact p-value that two systems are right equally often on the same turns (McNemar 1947)."""
    gains, losses = int((first & ~second).sum()), int((~first & second).sum())
    n, k = gains + losses, min(gains, losses)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n) if n else 1.0


class RiskPoint(NamedTuple):
    """When only turns with at least this confidence are answered: their share, and the share of wrong ones."""

    threshold: float
    coverage: float
    risk: float


def risk_coverage(confidence: Sequence[float], right: Bools) -> list[RiskPoint]:
    """The risk-coverage curve, a point at each distinct confidence, from full coverage down."""
    sure = np.asarray(confidence)
    points = []
    for threshold in np.unique(sure):
        kept = sure >= threshold
        points.append(RiskPoint(float(threshold), float(kept.mean()), float(1 - right[kept].mean())))
    return points

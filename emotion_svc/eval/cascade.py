"""What a cascade gains and costs on gold turns, at several thresholds, from stored predictions: nobody is asked."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from emotion_svc.engines.presets import Price
from emotion_svc.eval.metrics import Interval, share
from emotion_svc.eval.tier_predictions import TierPrediction
from emotion_svc.routing.conditions import why_asked
from emotion_svc.routing.tiers_file import AskedWhen, Tiers, TierTable
from emotion_svc.schema import Example, Turn, Verdict

THRESHOLDS: Final = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)

Said = Mapping[str, TierPrediction]
"""What each tier said of one turn, by its name."""


class Outcome(NamedTuple):
    """One turn's way: the answer that would have gone out (None where no tier gave one) and what it would have cost."""

    verdict: Verdict | None
    asked: int
    unused: int
    """Calls whose answer came too late, or not at all."""
    usd: float
    ms: float


class Row(NamedTuple):
    """One line of the report, over all turns."""

    name: str
    handed_on: float
    unused: float
    emotion: Interval
    learn_score: Interval
    usd_per_1000: float
    mean_ms: float


def report(
    tiers: Tiers,
    prices: Mapping[str, Price | None],
    examples: Sequence[Example],
    stored: Mapping[str, Sequence[TierPrediction]],
) -> list[Row]:
    """Each tier alone, with all the time it wants; the cascade as it is set; and with other thresholds."""
    says: list[Said] = [{name: rows[place] for name, rows in stored.items()} for place in range(len(examples))]

    def row(name: str, cascade: Tiers) -> Row:
        return _row(
            name, examples, [way(cascade, prices, e.turn, said) for e, said in zip(examples, says, strict=True)]
        )

    alone = [row(f"{table.name} alone", _alone(tiers, table)) for table in tiers.tiers]
    thresholds = [row(f"both below {value:g}", _with_threshold(tiers, value)) for value in THRESHOLDS]
    return [*alone, row("as set", tiers), *thresholds]


def way(tiers: Tiers, prices: Mapping[str, Price | None], turn: Turn, said: Said) -> Outcome:
    """One turn's way through the tiers, by the router's rules, if each took as long as it did when it was asked.

    The safety net, where it is not the first tier, is there at the deadline at the latest, as the router begins it
    in time.
    """
    best: Verdict | None = None
    asked, unused, usd, ms = 0, 0, 0.0, 0.0
    for table in tiers.tiers:
        if best is not None and why_asked(table.asked_when, turn, best) is None:
            continue
        left_ms = tiers.deadline_ms - ms
        is_net = table is tiers.safety_net
        if left_ms <= 0 and not is_net:
            continue
        asked += 1
        prediction, price = said[table.name], prices[table.name]
        if price is not None and prediction.verdict is not None and prediction.verdict.usage is not None:
            usd += price.usd(prediction.verdict.usage)
        if is_net:
            ms = ms + prediction.ms if asked == 1 else min(ms + prediction.ms, max(ms, tiers.deadline_ms))
            in_time = True
        else:
            allowed_ms = min(left_ms, table.deadline_ms or left_ms)
            in_time = prediction.ms <= allowed_ms
            ms += min(prediction.ms, allowed_ms)
        if in_time and prediction.verdict is not None:
            best = prediction.verdict
        else:
            unused += 1
    return Outcome(best, asked, unused, usd, ms)


def to_markdown(rows: Sequence[Row], turns: int, gold: str, deadline_ms: float) -> str:
    """The report as a table."""
    lines = [
        f"{turns} turns of `{gold}`, {deadline_ms:g} ms for each, from stored predictions. Brackets hold 95 % "
        "bootstrap intervals. *Handed on*: more than one tier was asked. *Unused*: calls that were too late or failed.",
        "",
        "| | handed on | unused | emotion | learn_score | USD per 1,000 turns | expected latency |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.handed_on:.1%} | {row.unused:.1%} | {row.emotion} | {row.learn_score} "
        f"| {row.usd_per_1000:.4f} | {row.mean_ms:.1f} ms |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, examples: Sequence[Example], outcomes: Sequence[Outcome]) -> Row:
    pairs = [(example, outcome.verdict) for example, outcome in zip(examples, outcomes, strict=True)]
    return Row(
        name,
        handed_on=float(np.mean([outcome.asked > 1 for outcome in outcomes])),
        unused=sum(outcome.unused for outcome in outcomes) / len(outcomes),
        emotion=share(np.array([v is not None and v.family == e.emotion for e, v in pairs])),
        learn_score=share(np.array([v is not None and v.answer.learn_score == e.learn_score for e, v in pairs])),
        usd_per_1000=1000 * float(np.mean([outcome.usd for outcome in outcomes])),
        mean_ms=float(np.mean([outcome.ms for outcome in outcomes])),
    )


def _alone(tiers: Tiers, table: TierTable) -> Tiers:
    only = table.model_copy(update={"asked_when": None, "deadline_ms": None})
    return tiers.model_copy(update={"deadline_ms": float("inf"), "tiers": (only,)})


def _with_threshold(tiers: Tiers, value: float) -> Tiers:
    changed = {"emotion_below": value, "learn_score_below": value}
    tables = [
        table.model_copy(update={"asked_when": (table.asked_when or AskedWhen()).model_copy(update=changed)})
        if place and table.asked_when is not None
        else table
        for place, table in enumerate(tiers.tiers)
    ]
    return tiers.model_copy(update={"tiers": tuple(tables)})

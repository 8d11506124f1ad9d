"""Rounds over all seats: each round lets every seat take every load once, so that a drift of the machine hits all."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from emotion_svc.bench.answers import meaning_of, right_of
from emotion_svc.bench.load import Load, Sample
from emotion_svc.bench.results import Percentiles, Point, SeatReport
from emotion_svc.bench.seats import Seat, Usage
from emotion_svc.bench.subjects import ENGINES
from emotion_svc.schema import Example

Told = Callable[[str], None]


class Plan(NamedTuple):
    """What every seat is put through."""

    clients: Sequence[int]
    rounds: int
    seconds: float
    warm_up_s: float


class Round(NamedTuple):
    """One load of one seat in one round, and what it used meanwhile."""

    load: Load
    cpu_s: float
    resident_bytes: int


class Measured(NamedTuple):
    """A seat with its rounds, by number of clients, and the turns that it was asked before them."""

    name: str
    seat: Seat
    rounds: dict[int, list[Round]]
    warm_up: int

    @property
    def asked(self) -> int:
        """Turns so far; the next one's place, counted on where the order begins again."""
        return self.warm_up + sum(len(one.load.samples) for rounds in self.rounds.values() for one in rounds)


async def measure(seats: Sequence[tuple[str, Seat]], plan: Plan, told: Told) -> list[Measured]:
    """Warms every seat up, then measures round by round; `told` hears of each step.

    Within a round the loads go up, and at each load the seats take turns; every second round goes through them
    backwards, so that none always follows the same one.
    """
    measured = []
    for name, seat in seats:
        warm = await seat.press(0, max(plan.clients), plan.warm_up_s)
        measured.append(Measured(name, seat, {clients: [] for clients in plan.clients}, len(warm.samples)))
    for turn in range(plan.rounds):
        for clients in plan.clients:
            for one in measured[::-1] if turn % 2 else measured:
                told(f"round {turn + 1}/{plan.rounds}: {one.name}, {clients} at a time")
                before = one.seat.usage()
                # Whatever remembers the beginnings of prompts must not meet a turn again sooner than it has to.
                load = await one.seat.press(one.asked, clients, plan.seconds)
                after = one.seat.usage()
                one.rounds[clients].append(_round(load, before, after))
    return measured


def _round(load: Load, before: Usage, after: Usage) -> Round:
    return Round(load, after.cpu_s - before.cpu_s, after.resident_bytes)


def answers_of(measured: Measured) -> dict[int, str]:
    """What the seat answered to each place in the order of turns, the last time that it was asked."""
    return {s.place: s.reply.text for rounds in measured.rounds.values() for one in rounds for s in one.load.samples}


def report_seat(measured: Measured, gold: Sequence[Example], reference: Mapping[int, str]) -> SeatReport:
    """The seat's figures.

    `gold` is in the order in which the turns were asked; `reference`: the answers of the embedded engine by place, may
    be empty.
    """
    exact = measured.name in ENGINES
    everything = [one for rounds in measured.rounds.values() for one in rounds]
    return SeatReport(
        subject=measured.name,
        way=measured.seat.way,
        start_ms=measured.seat.start_s * 1e3,
        resident_mb=max(one.resident_bytes for one in everything) / 1e6,
        passes=measured.asked / len(gold),
        points=[point_of(clients, rounds, gold, reference, exact=exact) for clients, rounds in measured.rounds.items()],
    )


def point_of(
    clients: int, rounds: Sequence[Round], gold: Sequence[Example], reference: Mapping[int, str], *, exact: bool
) -> Point:
    """One load's figures: latencies of all rounds together, and turns over the time of all rounds.

    `exact`: an answer must be one of `schema.ALL_ANSWERS` to the letter; else white space is not held against it.
    """
    samples = [sample for one in rounds for sample in one.load.samples]
    replies = [sample.reply for sample in samples]
    said = [meaning_of(reply.text, exact=exact) for reply in replies]
    right = right_of(said, [gold[sample.place] for sample in samples])
    expected = {place: meaning_of(text, exact=True) for place, text in reference.items()}
    compared = [meant == expected[s.place] for s, meant in zip(samples, said, strict=True) if s.place in expected]
    return Point(
        clients=clients,
        turns=len(samples),
        latency_ms=percentiles(samples),
        round_p50_ms=[percentiles(one.load.samples).p50 for one in rounds],
        turns_per_s=len(samples) / sum(one.load.elapsed_s for one in rounds),
        cpu_ms_per_turn=sum(one.cpu_s for one in rounds) * 1e3 / len(samples),
        overhead_ms=_median([(s.latency_s - s.reply.infer_s) * 1e3 for s in samples if s.reply.infer_s is not None]),
        first_token_ms=_median([r.first_token_s * 1e3 for r in replies if r.first_token_s is not None]),
        inter_token_ms=_median(
            [
                (s.latency_s - s.reply.first_token_s) * 1e3 / (s.reply.tokens - 1)
                for s in samples
                if s.reply.first_token_s is not None and s.reply.tokens is not None and s.reply.tokens > 1
            ]
        ),
        tokens_per_answer=_mean([r.tokens for r in replies if r.tokens is not None]),
        valid=right.valid,
        right_family=right.family,
        right_learn_score=right.learn_score,
        same_as_embedded=_mean(compared),
    )


def percentiles(samples: Sequence[Sample]) -> Percentiles:
    """Of the samples' latencies."""
    p50, p95, p99 = np.percentile([sample.latency_s * 1e3 for sample in samples], (50, 95, 99))
    return Percentiles(p50=float(p50), p95=float(p95), p99=float(p99))


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None

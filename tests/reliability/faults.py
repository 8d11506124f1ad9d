"""What a host can do to a service with tiers, each while turns come in: `python -m tests.reliability.faults`.

The whole service runs as a process of its own; behind it is a host that misbehaves as it is told (`tests/upstream.py`).
For each fault, turns are asked at an even pace; then the host is itself again, and turns are asked until it answers
once more. Prints a table and a last line of JSON; the exit status is 1 where an answer was missing, invalid or late.
"""

import asyncio
import json
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from tests.reliability.asking import Callers, Reply, percentile
from tests.serving.process import Process
from tests.upstream import (
    Behaviour,
    Upstream,
    after,
    breaks,
    cuts_off_after,
    cuts_reply_off,
    every_third,
    hangs,
    says,
    sends,
    status,
)

HOST: Final = "host"
NET: Final = "net"
WELL: Final = says('{"emotion":"afraid","learn_score":false}')
MARGIN_MS: Final = 10.0
"""What an answer may take beyond the deadline: reading the request and writing the answer are not in it."""
NOWHERE: Final = "http://emotion.invalid/v1"
"""A name that never resolves (RFC 6761)."""

_HOST: Final = f"""
[[tiers]]
name = "{HOST}"
engine = "remote"
preset = "vllm"
model = "MODEL"
base_url = "URL"
retry = true
"""
_NET: Final = f"""
[[tiers]]
name = "{NET}"
engine = "embedded"
"""
_ALWAYS: Final = "[tiers.asked_when]\nemotion_below = 1.0\n"

ORDERS: Final = {"in front": _HOST + _NET, "behind": _NET + _HOST + _ALWAYS}
"""Where the host stands: asked first, with the embedded model as safety net; or asked to improve on its answer."""

_TO_FORGET: Final = 20
"""So many good calls make a breaker forget how often it opened (`BreakerPolicy.window`)."""


class Fault(NamedTuple):
    """What befalls the host, before the first turn; where it is `well_before`, in the middle of the turns."""

    name: str
    befall: Callable[[Upstream], None]
    well_before: Behaviour | None = None


class Outcome(NamedTuple):
    """What the callers saw of one fault: during it, and while the host came back. Latency is that during the fault."""

    replies: list[Reply]
    replies_after: list[Reply]
    recovery_s: float | None
    """None where there is no host that could come back."""

    @property
    def bad(self) -> int:
        """Answers that were none: not 200, or not one of ours."""
        return sum(reply.status != 200 or not reply.is_valid for reply in (*self.replies, *self.replies_after))

    def ms(self, percent: float) -> float:
        """A percentile of the latency."""
        return percentile([reply.seconds * 1e3 for reply in self.replies], percent)

    @property
    def ways(self) -> dict[str, int]:
        """Whose answers went out and why, the most frequent first."""
        return dict(
            Counter(
                f"{reply.tier}: {reply.reason}" if reply.tier else f"status {reply.status}" for reply in self.replies
            ).most_common()
        )


def faults(deadline_s: float) -> list[Fault]:
    """All that a host which exists can do, where a request has so much time."""
    return [
        Fault("refuses connections", Upstream.stop),
        Fault("hangs", _behaves(hangs)),
        Fault("hangs every third time", _behaves(every_third(hangs, WELL))),
        Fault("answers after the deadline", _behaves(after(20 * deadline_s, WELL))),
        Fault("429", _behaves(status(429))),
        Fault("429 with Retry-After", _behaves(status(429, {"retry-after": "1"}))),
        Fault("500", _behaves(status(500))),
        Fault("cuts the stream off", _behaves(cuts_off_after('{"emotion":"ha'))),
        Fault("cuts the reply off", _behaves(cuts_reply_off)),
        Fault("hangs up without a word", _behaves(breaks)),
        Fault("garbage", _behaves(sends(b"\x00\xff<html>", {"content-type": "text/event-stream"}))),
        Fault("valid JSON, wrong label", _behaves(says('{"emotion":"joy","learn_score":false}'))),
        # It takes a moment before it answers, so that it has calls in work when it is killed.
        Fault("killed in the middle", Upstream.stop, well_before=after(deadline_s / 4, WELL)),
    ]


@contextmanager
def service(order: str, url: str, deadline_ms: float, model: str = "any") -> Iterator[str]:
    """The URL of a service whose tiers are the embedded model and a host at this URL, in one of `ORDERS`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tiers.toml"
        tiers = ORDERS[order].replace("URL", url).replace("MODEL", model)
        file.write_text(f"deadline_ms = {deadline_ms:g}\n{tiers}", encoding="utf-8")
        process = Process(tiers=str(file))
        try:
            yield process.url
        finally:
            process.stop()


async def suffer(fault: Fault, callers: Callers, upstream: Upstream, *, turns: int, per_second: float) -> Outcome:
    """Lets a fault befall the host under load, sets the host right and waits until it answers again.

    Raises:
        TimeoutError: it is not asked again.
    """

    async def befall() -> None:
        await asyncio.to_thread(fault.befall, upstream)

    if fault.well_before is None:
        await befall()
        seen = await callers.at_pace(turns, per_second)
    else:
        upstream.behaviour = fault.well_before
        seen = await callers.at_pace(turns, per_second, midway=befall)
    upstream.behaviour = WELL
    if not upstream.is_running:
        await asyncio.to_thread(upstream.start)
    before = len(callers.replies)
    recovery_s = await callers.until_answered_by(HOST)
    for _ in range(_TO_FORGET):
        await callers.ask()
    return Outcome(seen, callers.replies[before:], recovery_s)


def _behaves(behaviour: Behaviour) -> Callable[[Upstream], None]:
    def befall(upstream: Upstream) -> None:
        upstream.behaviour = behaviour

    return befall


async def _outcomes(
    order: str, deadline_ms: float, turns: int, per_second: float
) -> AsyncIterator[tuple[str, Outcome, float]]:
    with Upstream(WELL) as upstream, service(order, upstream.url, deadline_ms) as url:
        async with Callers(url) as callers:
            await callers.at_pace(turns, per_second)  # warm
            for fault in (None, *faults(deadline_ms / 1e3)):
                callers.late_s.clear()
                if fault is None:
                    outcome = Outcome(await callers.at_pace(turns, per_second), [], None)
                else:
                    outcome = await suffer(fault, callers, upstream, turns=turns, per_second=per_second)
                yield fault.name if fault else "none", outcome, _late_ms(callers)
    with service(order, NOWHERE, deadline_ms) as url:
        async with Callers(url) as callers:
            outcome = Outcome(await callers.at_pace(turns, per_second), [], None)
            yield "name does not resolve", outcome, _late_ms(callers)


def _late_ms(callers: Callers) -> float:
    return round(percentile(callers.late_s, 99) * 1e3, 1)


async def _measure(deadline_ms: float, turns: int, per_second: float) -> bool:
    """Prints all of it; whether every bar holds."""
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores; load average before: {load:.1f}; deadline {deadline_ms:g} ms; during each fault")
    print(f"{turns} turns, {per_second:g} a second, from this machine, which is the host, too\n")
    print(
        "| host | fault | callers late p99 | bad | p50 ms | p99 ms | max ms | back after s | whose answers, and why |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    rows, late, bad = [], [], 0
    for order in ORDERS:
        async for fault, outcome, late_ms in _outcomes(order, deadline_ms, turns, per_second):
            row = {"order": order, "fault": fault, "bad": outcome.bad, "recovery_s": outcome.recovery_s}
            row |= {"callers_late_p99_ms": late_ms}
            row |= {f"p{percent}_ms": round(outcome.ms(percent), 1) for percent in (50, 99, 100)}
            rows.append(row)
            bad += outcome.bad
            if outcome.ms(99) > deadline_ms + MARGIN_MS:
                late.append(f"{order}: {fault}")
            cells = order, fault, f"{late_ms:.1f}", str(outcome.bad), _figures(outcome), _told(outcome.ways)
            print(f"| {' | '.join(cells)} |", flush=True)
    print(
        json.dumps({"deadline_ms": deadline_ms, "turns": turns, "load": load, "bad": bad, "late": late, "rows": rows})
    )
    return not bad and not late


def measure(
    deadline_ms: Annotated[float, typer.Option(min=1, help="What a request has.")] = 50.0,
    turns: Annotated[int, typer.Option(min=20, help="Turns that are asked during each fault.")] = 200,
    per_second: Annotated[float, typer.Option(min=1, help="Turns a second.")] = 40.0,
) -> None:
    """Measure what callers see of each fault of a host."""
    if not asyncio.run(_measure(deadline_ms, turns, per_second)):
        raise typer.Exit(1)


def _figures(outcome: Outcome) -> str:
    recovery = "" if outcome.recovery_s is None else f"{outcome.recovery_s:.1f}"
    return " | ".join([*(f"{outcome.ms(percent):.1f}" for percent in (50, 99, 100)), recovery])


def _told(ways: dict[str, int]) -> str:
    return ", ".join(f"{way} {count}" for way, count in ways.items())


if __name__ == "__main__":
    main = typer.Typer(pretty_exceptions_enable=False)
    main.command()(measure)
    main()

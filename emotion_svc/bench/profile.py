"""Where the time of a turn goes: by part of the service, and by operator of the graph.

What happens inside a pass is timed by ONNX Runtime's profiler, which costs some of what it measures. So nothing of
those turns is subtracted from turns without it: operators, passes, and what the model does around them are of the same
turns, and tokenizing, the verdict and the engine of others.
"""

import json
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np

from emotion_svc.bench.results import Profile, SeatReport, Slice
from emotion_svc.engines.embedded import EmbeddedEngine, EmbeddedModel
from emotion_svc.schema import Turn

_TURNS: Final = 300
_WARM_UP: Final = 50


class Pass(NamedTuple):
    """One call of the session: how long ONNX Runtime was in it, and its operators' time by name."""

    ms: float
    operators: Mapping[str, float]


async def measure_profile(directory: Path, turns: Sequence[Turn], seats: Sequence[SeatReport]) -> Profile:
    """Asks a directory's model, and an engine with it, the same turns, one at a time.

    What HTTP adds is taken from the seats, where embedded was measured both ways with one client.
    """
    asked = turns[:_TURNS]
    inside, operators = _inside(directory, asked)
    parts = [*inside, *await _around(directory, asked)]
    if (http := _http_ms(seats)) is not None:
        parts.append(Slice(name="HTTP over loopback, client included", ms=http))
    return Profile(parts=parts, operators=operators)


def _inside(directory: Path, turns: Sequence[Turn]) -> tuple[list[Slice], list[Slice]]:
    """What the model's own time consists of, and its operators, the slowest first: medians over the turns."""
    warm_up = turns[:_WARM_UP]
    with TemporaryDirectory() as folder:
        model = EmbeddedModel(directory, profile=Path(folder) / "operators")
        asked = [(model.classify([turn])[0].timings.infer_ms, model.passes) for turn in [*warm_up, *turns]]
        passes = passes_of(json.loads(model.end_profile().read_text(encoding="utf-8")))
    # A turn has one pass or two.
    ends = [0, *(made for _, made in asked)]
    own = [_together(passes[begin:end]) for begin, end in pairwise(ends)]
    rows = [(sum(one.operators.values()), one.ms, ms) for one, (ms, _) in zip(own, asked, strict=True)]
    kernels, run, whole = np.array(rows[len(warm_up) :]).T
    parts = {
        "operators of the graph": kernels,
        "between operators: ONNX Runtime": run - kernels,
        "around the passes: arrays in and out, masks, softmax, choice": whole - run,
    }
    spent = [one.operators for one in own[len(warm_up) :]]
    names = {name for one in spent for name in one}
    operators = [Slice(name=name, ms=float(np.median([one.get(name, 0.0) for one in spent]))) for name in names]
    return (
        [Slice(name=name, ms=float(np.median(ms))) for name, ms in parts.items()],
        sorted(operators, key=lambda one: one.ms, reverse=True),
    )


def _together(passes: Sequence[Pass]) -> Pass:
    operators: Counter[str] = Counter()
    for one in passes:
        operators.update(one.operators)
    return Pass(sum(one.ms for one in passes), operators)


def passes_of(events: Sequence[Mapping[str, Any]]) -> list[Pass]:
    """The passes in a trace of ONNX Runtime's profiler, in order; an operator belongs to the pass that it began in."""
    runs = sorted((e["ts"], e["dur"]) for e in events if (e["cat"], e["name"]) == ("Session", "model_run"))
    operators: list[Counter[str]] = [Counter() for _ in runs]
    begun = [started for started, _ in runs]
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            place = bisect_right(begun, event["ts"]) - 1
            operators[place][event["args"]["op_name"]] += event["dur"]
    return [
        Pass(took / 1e3, {name: total / 1e3 for name, total in own.items()})  # the trace has microseconds
        for (_, took), own in zip(runs, operators, strict=True)
    ]


async def _around(directory: Path, turns: Sequence[Turn]) -> list[Slice]:
    """What the model does besides, and what the engine adds, without the profiler: medians over the turns.

    Whoever is asked a turn second finds its texts and tables in the caches, so model and engine take turns at that.
    """
    model, engine = EmbeddedModel(directory), EmbeddedEngine(directory)
    await engine.start()
    warm_up = turns[:_WARM_UP]
    rows = []
    for place, turn in enumerate([*warm_up, *turns]):
        if place % 2:
            through_engine = await _engine_ms(engine, turn)
        started = time.perf_counter()
        timings = model.classify([turn])[0].timings
        whole = (time.perf_counter() - started) * 1e3
        if not place % 2:
            through_engine = await _engine_ms(engine, turn)
        rows.append((timings.tokenize_ms, whole - timings.tokenize_ms - timings.infer_ms, whole, through_engine))
    await engine.close()
    tokenize, verdict, alone, through = (float(ms) for ms in np.median(np.array(rows[len(warm_up) :]), axis=0))
    return [
        Slice(name="tokenize", ms=tokenize),
        Slice(name="make the verdict", ms=verdict),
        Slice(name="engine: event loop, thread and back", ms=through - alone),
    ]


async def _engine_ms(engine: EmbeddedEngine, turn: Turn) -> float:
    started = time.perf_counter()
    await engine.classify([turn])
    return (time.perf_counter() - started) * 1e3


def _http_ms(seats: Sequence[SeatReport]) -> float | None:
    """What the median is longer by over HTTP than in process, at one client."""
    alone = {
        seat.way: point.latency_ms.p50
        for seat in seats
        for point in seat.points
        if (seat.subject, point.clients) == ("embedded", 1)
    }
    return alone["http"] - alone["process"] if len(alone) == 2 else None

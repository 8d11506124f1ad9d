"""Where the time of a turn goes: by part of the service, and by operator of the graph."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from emotion_svc.bench.results import Profile, SeatReport, Slice
from emotion_svc.engines.embedded import EmbeddedEngine, EmbeddedModel
from emotion_svc.schema import Turn

_TURNS: Final = 300
_WARM_UP: Final = 50


async def measure_profile(directory: Path, turns: Sequence[Turn], seats: Sequence[SeatReport]) -> Profile:
    """Asks a directory's model, and an engine with it, the same turns, one at a time.

    What HTTP adds is taken from the seats, where embedded was measured both ways with one client.
    """
    asked = turns[:_TURNS]
    operators = _operators(directory, asked)
    model, engine = EmbeddedModel(directory), EmbeddedEngine(directory)
    await engine.start()
    rows = []
    warm_up = asked[:_WARM_UP]
    for place, turn in enumerate([*warm_up, *asked]):
        started = time.perf_counter()
        timings = model.classify([turn])[0].timings
        direct = time.perf_counter()
        await engine.classify([turn])
        whole = (direct - started) * 1e3
        through_engine = (time.perf_counter() - direct) * 1e3
        if place >= len(warm_up):
            rows.append(
                (
                    timings.tokenize_ms,
                    timings.infer_ms,
                    whole - timings.tokenize_ms - timings.infer_ms,
                    through_engine - whole,
                )
            )
    await engine.close()
    tokenize, infer, verdict, hop = (float(value) for value in np.median(np.array(rows), axis=0))
    kernels = min(infer, sum(one.ms for one in operators))
    parts = [
        Slice(name="operators of the graph, both passes", ms=kernels),
        Slice(name="around them: ONNX Runtime's dispatch, arrays, posterior, choice", ms=infer - kernels),
        Slice(name="tokenize", ms=tokenize),
        Slice(name="make the verdict", ms=verdict),
        Slice(name="engine: event loop, thread and back", ms=hop),
    ]
    if (http := _http_ms(seats)) is not None:
        parts.append(Slice(name="HTTP over loopback, client included", ms=http))
    return Profile(parts=parts, operators=operators)


def _http_ms(seats: Sequence[SeatReport]) -> float | None:
    """What the median is longer by over HTTP than in process, at one client."""
    alone = {
        seat.way: point.latency_ms.p50
        for seat in seats
        for point in seat.points
        if (seat.subject, point.clients) == ("embedded", 1)
    }
    return alone["http"] - alone["process"] if len(alone) == 2 else None


def _operators(directory: Path, turns: Sequence[Turn]) -> list[Slice]:
    """Mean time by operator, the slowest first."""
    with TemporaryDirectory() as folder:
        model = EmbeddedModel(directory, profile=Path(folder) / "operators")
        for turn in turns:
            model.classify([turn])
        events = json.loads(model.end_profile().read_text(encoding="utf-8"))
    spent: Counter[str] = Counter()
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]  # microseconds
    return [Slice(name=name, ms=total / 1e3 / len(turns)) for name, total in spent.most_common()]

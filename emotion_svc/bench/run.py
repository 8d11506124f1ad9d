"""One run: what was asked for is started, measured in turns, and put into a report."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from emotion_svc import __version__
from emotion_svc.bench.batch import measure_batch
from emotion_svc.bench.floor import measure_floor
from emotion_svc.bench.growth import measure_growth
from emotion_svc.bench.machine import this_machine
from emotion_svc.bench.measure import Plan, Told, answers_of, measure, report_seat
from emotion_svc.bench.prepare import prepare
from emotion_svc.bench.profile import measure_profile
from emotion_svc.bench.results import BenchReport, Conditions, SeatReport
from emotion_svc.bench.seats import Seat, default_python, take_seat
from emotion_svc.bench.subjects import SERVED, Name, Part, Spec, Way
from emotion_svc.bench.turns import shuffled
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.schema import Example


class Request(NamedTuple):
    """What to measure, and how long.

    `model`: the directory that our engines and the peers run. `remote`: settings of the engine remote.
    `pythons`: the interpreter of a subject, where it is not this one.
    """

    subjects: Sequence[Name]
    ways: Sequence[Way]
    parts: Sequence[Part]
    clients: Sequence[int]
    rounds: int
    seconds: float
    warm_up_s: float
    gold: Sequence[Path]
    seed: int
    model: Path
    remote: dict[str, str]
    pythons: dict[str, Path]
    out: Path


async def run(request: Request, told: Told) -> BenchReport:
    """Measures all of it.

    Raises:
        SetupError: a subject cannot start, or a file is missing.
    """
    request.out.mkdir(parents=True, exist_ok=True)
    machine, date = this_machine(), time.strftime("%Y-%m-%d %H:%M")
    gold = shuffled(request.gold, request.seed)
    turns = [example.turn for example in gold]
    directory = request.model
    model = EmbeddedModel(directory)
    seats = await _measure_seats(request, gold, told) if "load" in request.parts else []
    floor = profile = batch = None
    if "floor" in request.parts:
        told("floor: peak of the machine, work of a turn")
        floor = measure_floor(model, turns, directory)
        told("profile: where the time goes")
        profile = await measure_profile(directory, turns, seats)
    if "batch" in request.parts:
        told("batch: classify --input")
        batch = await asyncio.to_thread(measure_batch, gold, directory, request.out)
    growth = []
    if "growth" in request.parts:
        told("growth: longer texts, more clients, more labels")
        growth = await measure_growth(model, directory, turns)
    return BenchReport(
        version=__version__,
        date=date,
        machine=machine,
        conditions=Conditions(
            gold=[path.name for path in request.gold],
            turns=len(turns),
            seed=request.seed,
            clients=list(request.clients),
            rounds=request.rounds,
            seconds=request.seconds,
            warm_up_s=request.warm_up_s,
            model=model.name,
            model_digest=model.digest,
        ),
        seats=seats,
        floor=floor,
        profile=profile,
        batch=batch,
        growth=growth,
    )


async def _measure_seats(request: Request, gold: Sequence[Example], told: Told) -> list[SeatReport]:
    turns = [example.turn for example in gold]
    async with AsyncExitStack() as stack:
        seats: list[tuple[str, Seat]] = []
        for name in request.subjects:
            spec = Spec(
                name=name,
                settings=_settings(name, request),
                gold=tuple(path.resolve() for path in request.gold),
                seed=request.seed,
                model=request.model.resolve(),
                assets=request.out.resolve(),
            )
            python = request.pythons.get(name, default_python())
            await prepare(spec, python, told)
            for way in request.ways:
                if way == "http" and name not in SERVED:
                    continue
                told(f"starting {name} ({way})")
                seat = await take_seat(spec, way, python, turns)
                stack.push_async_callback(seat.close)
                seats.append((name, seat))
        measured = await measure(seats, Plan(request.clients, request.rounds, request.seconds, request.warm_up_s), told)
    embedded = next((one for one in measured if one.name == "embedded"), None)
    reference = {} if embedded is None else answers_of(embedded)
    return [report_seat(one, gold, {} if one is embedded else reference) for one in measured]


def _settings(name: Name, request: Request) -> dict[str, str]:
    match name:
        case "embedded" | "vllm":
            return {"model": str(request.model)}
        case "remote":
            return request.remote
        case _:
            return {}

"""The study: both anchors stay up, the variants of each group of servers are measured beside them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from emotion_svc.bench.machine import this_machine
from emotion_svc.bench.settings.anchors import plain, tuned
from emotion_svc.bench.settings.asking import Model
from emotion_svc.bench.settings.catalog import Anchor, AnchorName, Comparison, comparisons
from emotion_svc.bench.settings.figures import AnchorReport, Conditions, Outcome, Study, saving_of
from emotion_svc.bench.settings.rounds import Candidate, Measured, Turns, measure
from emotion_svc.bench.settings.said import SETTINGS
from emotion_svc.bench.settings.server import Server
from emotion_svc.bench.turns import shuffled
from emotion_svc.engines.vllm import installed_version, runs_on_cpu
from emotion_svc.engines.vllm_options import tuned as tuned_options
from emotion_svc.errors import EngineUnavailable, SetupError

Told = Callable[[str], None]
Started = Server | SetupError
"""A server, or why vLLM refused to be one."""

_SERVERS: Final = 3
"""Servers that are started beside those of the anchors. Each holds about 2 GB; idle ones take no CPU time."""

_WARM_UP: Final = 20
"""Turns that are asked first and do not count: the anchors' servers are warm, so a fresh one must be, too."""


class Request(NamedTuple):
    """What is to be measured, and where it goes. `only`: names of settings; empty for all."""

    model: Path
    gold: Sequence[Path]
    turns: int
    load_turns: int
    clients: int
    seed: int
    only: Sequence[str]
    out: Path


class _Group(NamedTuple):
    anchors: dict[AnchorName, Measured]
    outcomes: list[Outcome]


async def run(request: Request, told: Told) -> AsyncIterator[Study]:
    """Measures; gives the study after each group of servers, so that one that is broken off is worth something.

    Raises:
        SetupError: an anchor does not start, or there are too few turns.
        EngineUnavailable: an anchor ended.
    """
    model, turns, machine = Model(request.model), _choose(request), this_machine()
    anchors = _anchors(model)
    settings = [setting for setting in SETTINGS if not request.only or setting.name in request.only]
    wanted = [comparison for anchor in anchors for comparison in comparisons(settings, anchor)]
    async with _started(anchors, request, "anchor", told) as found:
        home = {anchor.name: _ready(server) for anchor, server in zip(anchors, found, strict=True)}

        async def group(number: int, variants: Sequence[tuple[Comparison, Started]]) -> _Group:
            """Measures the variants with both anchors beside them."""
            there = [(anchor, home[anchor.name]) for anchor in anchors]
            there += [(c.variant, server) for c, server in variants if isinstance(server, Server)]
            candidates = [Candidate(*one, salt=f"{number}-{place}") for place, one in enumerate(there)]
            measured = iter(await measure(candidates, model, turns, request.clients))
            beside = {anchor.name: _unbroken(next(measured)) for anchor in anchors}
            ends = [(c, next(measured) if isinstance(server, Server) else server) for c, server in variants]
            return _Group(beside, [_outcome(c, beside[c.anchor.name], end, request.seed) for c, end in ends])

        asked = [(c, home[c.anchor.name]) for c in wanted if not c.needs_own_server]
        told(f"requests: {len(asked)} comparisons")
        first = await group(0, asked)
        study = Study(
            date=datetime.now(UTC).date().isoformat(),
            machine=machine,
            conditions=_conditions(request, model),
            anchors=[_report(anchor, home[anchor.name], first.anchors[anchor.name]) for anchor in anchors],
            outcomes=first.outcomes,
        )
        yield study
        # What the team's list names comes first: a study that is broken off has that at least.
        served = sorted((c for c in wanted if c.needs_own_server), key=lambda c: not c.setting.said)
        for number, chunk in enumerate(_chunks(served), 1):
            told(f"group {number}: " + "; ".join(f"{c.anchor.name}, {c.title}" for c in chunk))
            async with _started([c.variant for c in chunk], request, f"variant{number}", told) as found:
                done = await group(number, list(zip(chunk, found, strict=True)))
            study = study.model_copy(update={"outcomes": [*study.outcomes, *done.outcomes]})
            yield study


def _choose(request: Request) -> Turns:
    turns = [example.turn for example in shuffled(request.gold, request.seed)]
    first = _WARM_UP + request.turns
    needed = first + request.load_turns
    if len(turns) < needed:
        raise SetupError(f"expected {needed} gold turns, found {len(turns)}; give more files, or ask for fewer turns")
    return Turns(turns[:_WARM_UP], turns[_WARM_UP:first], turns[first:needed])


def _anchors(model: Model) -> list[Anchor]:
    loaded = model.loaded
    widest = max(question.widest for question in loaded.questions)
    options = tuned_options(dtype=loaded.dtype, window=loaded.window, widest=widest, on_cpu=runs_on_cpu())
    return [plain(loaded.dtype), tuned(options)]


def _ready(server: Started) -> Server:
    if isinstance(server, SetupError):
        raise server
    return server


def _unbroken(measured: Measured | EngineUnavailable) -> Measured:
    if isinstance(measured, EngineUnavailable):
        raise measured
    return measured


def _chunks(served: Sequence[Comparison]) -> Iterator[Sequence[Comparison]]:
    for start in range(0, len(served), _SERVERS):
        yield served[start : start + _SERVERS]


@asynccontextmanager
async def _started(wanted: Sequence[Anchor], request: Request, name: str, told: Told) -> AsyncIterator[list[Started]]:
    """The servers, started at the same time; in the place of one that vLLM refused stands its error."""
    begun = time.perf_counter()
    logs = [request.out / f"{name}-{place}.log" for place in range(len(wanted))]
    servers = [Server(request.model, one.server, log) for one, log in zip(wanted, logs, strict=True)]

    async def start(server: Server) -> Started:
        try:
            await server.start()
        except SetupError as error:
            return error
        return server

    try:
        started = await asyncio.gather(*map(start, servers))
        told(f"{len(servers)} servers started in {time.perf_counter() - begun:.0f} s")
        yield list(started)
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


def _conditions(request: Request, model: Model) -> Conditions:
    return Conditions(
        model=model.loaded.name,
        model_digest=model.loaded.digest,
        vllm=installed_version(),
        on_cpu=runs_on_cpu(),
        gold=[str(path) for path in request.gold],
        turns=request.turns,
        load_turns=request.load_turns,
        clients=request.clients,
        warm_up=_WARM_UP,
        seed=request.seed,
    )


def _report(anchor: Anchor, server: Server, measured: Measured) -> AnchorReport:
    return AnchorReport(
        name=anchor.name,
        server=dict(anchor.server),
        asking=anchor.asking._asdict(),
        ready_s=server.ready_s,
        figures=measured.figures,
    )


def _outcome(
    comparison: Comparison, anchor: Measured, variant: Measured | EngineUnavailable | SetupError, seed: int
) -> Outcome:
    outcome = Outcome(
        setting=comparison.setting.name,
        said=comparison.setting.said,
        said_ms=comparison.setting.said_ms,
        faster=comparison.faster.label,
        other=comparison.other.label,
        anchor=comparison.anchor.name,
        anchor_is_faster=comparison.anchor_is_faster,
    )
    if isinstance(variant, EngineUnavailable | SetupError):
        return outcome.model_copy(update={"refused": str(variant)})
    faster, other = (anchor, variant) if comparison.anchor_is_faster else (variant, anchor)
    found = {
        "anchor_figures": anchor.figures,
        "variant_figures": variant.figures,
        "saving": saving_of(faster.replies, other.replies, seed),
    }
    return outcome.model_copy(update=found)

"""The study: groups of servers side by side, rounds that go through all of a group, so that a drift hits all alike."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from emotion_svc.bench.http_client import Connection
from emotion_svc.bench.machine import this_machine
from emotion_svc.bench.settings.anchors import plain, tuned
from emotion_svc.bench.settings.asking import Model, Reply, ask
from emotion_svc.bench.settings.catalog import Anchor, Comparison, comparisons
from emotion_svc.bench.settings.figures import AnchorReport, Conditions, Figures, Outcome, Study, figures_of, saving_of
from emotion_svc.bench.settings.said import SETTINGS
from emotion_svc.bench.settings.server import Server
from emotion_svc.bench.turns import shuffled
from emotion_svc.engines.vllm import installed_version, runs_on_cpu
from emotion_svc.engines.vllm_options import tuned as tuned_launch
from emotion_svc.errors import SetupError
from emotion_svc.schema import Turn

Told = Callable[[str], None]

_ROUND: Final = 5
"""Turns that one configuration is asked before it is the next one's turn."""

_SERVERS: Final = 3
"""Servers that are started beside those of the anchors. Each holds about 2 GB; idle ones take no CPU time."""

_WARM_UP: Final = 3


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


class _Turns(NamedTuple):
    warm_up: list[Turn]
    one_by_one: list[Turn]
    load: list[Turn]


class _Candidate(NamedTuple):
    anchor: Anchor
    server: Server
    salt: str


class _Measured(NamedTuple):
    replies: list[Reply]
    figures: Figures


async def run(request: Request, told: Told) -> AsyncIterator[Study]:
    """Measures; gives the study after each group of servers, so that one that is broken off is worth something.

    Raises:
        SetupError: an anchor does not start, or there are too few turns.
    """
    model, turns = Model(request.model), _choose(request)
    machine, anchors = this_machine(), _anchors(model)
    settings = [setting for setting in SETTINGS if not request.only or setting.name in request.only]
    wanted = [comparison for anchor in anchors for comparison in comparisons(settings, anchor)]
    async with _started(anchors, request, "anchor", told) as found:
        home = {anchor.name: _ready(server) for anchor, server in zip(anchors, found, strict=True)}

        async def measure(number: int, variants: Sequence[tuple[Comparison, Server]]) -> list[_Measured]:
            """Variants with both anchors beside them, whose figures come first."""
            there = [(anchor, home[anchor.name]) for anchor in anchors]
            there += [(comparison.variant, server) for comparison, server in variants]
            candidates = [_Candidate(*one, salt=f"{number}-{place}") for place, one in enumerate(there)]
            return await _measure(candidates, model, turns, request)

        asked = [c for c in wanted if not c.needs_own_server]
        told(f"requests: {len(asked)} comparisons")
        measured = await measure(0, [(c, home[c.anchor.name]) for c in asked])
        reports = [
            _report_anchor(anchor, home[anchor.name], one) for anchor, one in zip(anchors, measured, strict=False)
        ]
        study = Study(
            date=datetime.now(UTC).date().isoformat(),
            machine=machine,
            conditions=_conditions(request, model),
            anchors=reports,
            outcomes=_outcomes(anchors, asked, measured, request.seed),
        )
        yield study
        # What the team's list names comes first: a study that is broken off has that at least.
        served = sorted((c for c in wanted if c.needs_own_server), key=lambda c: not c.setting.said)
        for number, chunk in enumerate(_chunks(served), 1):
            async with _started([c.variant for c in chunk], request, f"variant{number}", told) as found:
                alive = [(c, s) for c, s in zip(chunk, found, strict=True) if isinstance(s, Server)]
                told(f"group {number}: " + "; ".join(f"{c.anchor.name}, {c.title}" for c, _ in alive))
                measured = await measure(number, alive)
            said = _outcomes(anchors, [c for c, _ in alive], measured, request.seed)
            said += [_refused(c, error) for c, error in zip(chunk, found, strict=True) if isinstance(error, SetupError)]
            study = study.model_copy(update={"outcomes": [*study.outcomes, *said]})
            yield study


def _anchors(model: Model) -> list[Anchor]:
    loaded = model.loaded
    widest = max(question.widest for question in loaded.questions)
    launch = tuned_launch(dtype=loaded.dtype, window=loaded.window, widest=widest, on_cpu=runs_on_cpu())
    return [plain(loaded.dtype), tuned(launch)]


def _ready(server: Server | SetupError) -> Server:
    if isinstance(server, SetupError):
        raise server
    return server


def _choose(request: Request) -> _Turns:
    turns = shuffled(request.gold, request.seed)
    needed = _WARM_UP + request.turns + request.load_turns
    if len(turns) < needed:
        raise SetupError(f"expected {needed} gold turns, found {len(turns)}; give more files, or ask for fewer turns")
    first, second = _WARM_UP, _WARM_UP + request.turns
    return _Turns(turns[:first], turns[first:second], turns[second:needed])


@asynccontextmanager
async def _started(
    wanted: Sequence[Anchor], request: Request, name: str, told: Told
) -> AsyncIterator[list[Server | SetupError]]:
    """The servers, started at the same time; in the place of one that vLLM refused stands its error."""
    told(f"starting {len(wanted)} servers ({name})")
    begun = time.perf_counter()
    servers = [
        Server(request.model, anchor.server, request.out / f"{name}-{place}.log") for place, anchor in enumerate(wanted)
    ]

    async def start(server: Server) -> Server | SetupError:
        try:
            await server.start()
        except SetupError as error:
            return error
        return server

    try:
        started = await asyncio.gather(*map(start, servers))
        told(f"ready after {time.perf_counter() - begun:.0f} s")
        yield list(started)
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


async def _measure(candidates: Sequence[_Candidate], model: Model, turns: _Turns, request: Request) -> list[_Measured]:
    """All candidates over the same turns: one at a time in rounds, then with several clients."""
    replies: list[list[Reply]] = [[] for _ in candidates]
    for candidate in candidates:
        [connection] = await candidate.server.connections(1)
        for turn in turns.warm_up:
            await ask(connection, model, turn, candidate.anchor.asking, seed=request.seed, salt=candidate.salt)
    for start in range(0, len(turns.one_by_one), _ROUND):
        places = list(range(len(candidates)))
        # Every second round goes backwards, so that none always follows the same one.
        for place in places[::-1] if start // _ROUND % 2 else places:
            candidate = candidates[place]
            [connection] = await candidate.server.connections(1)
            for number, turn in enumerate(turns.one_by_one[start : start + _ROUND], start):
                reply = await ask(connection, model, turn, candidate.anchor.asking, seed=number, salt=candidate.salt)
                replies[place].append(reply)
    return [
        _Measured(mine, figures_of(mine, await _throughput(candidate, model, turns.load, request.clients)))
        for candidate, mine in zip(candidates, replies, strict=True)
    ]


async def _throughput(candidate: _Candidate, model: Model, turns: Sequence[Turn], clients: int) -> float:
    """Turns a second, with so many clients that each ask their next turn as soon as they have an answer."""
    waiting = iter(enumerate(turns))

    async def client(connection: Connection) -> None:
        for number, turn in waiting:
            await ask(connection, model, turn, candidate.anchor.asking, seed=number, salt=candidate.salt)

    connections = await candidate.server.connections(clients)
    started = time.perf_counter()
    await asyncio.gather(*map(client, connections))
    return len(turns) / (time.perf_counter() - started)


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


def _report_anchor(anchor: Anchor, server: Server, measured: _Measured) -> AnchorReport:
    return AnchorReport(
        name=anchor.name,
        server=dict(anchor.server),
        asking=anchor.asking._asdict(),
        ready_s=server.ready_s,
        figures=measured.figures,
    )


def _outcomes(
    anchors: Sequence[Anchor], done: Sequence[Comparison], measured: Sequence[_Measured], seed: int
) -> list[Outcome]:
    """The outcomes of a group; of what was measured, the anchors come first."""
    of_anchor = {anchor.name: one for anchor, one in zip(anchors, measured, strict=False)}
    outcomes = []
    for comparison, variant in zip(done, measured[len(anchors) :], strict=True):
        anchor = of_anchor[comparison.anchor.name]
        faster, other = (anchor, variant) if comparison.anchor_is_faster else (variant, anchor)
        found = {
            "anchor_figures": anchor.figures,
            "variant_figures": variant.figures,
            "saving": saving_of(faster.replies, other.replies, seed),
        }
        outcomes.append(_outcome(comparison).model_copy(update=found))
    return outcomes


def _refused(comparison: Comparison, error: SetupError) -> Outcome:
    return _outcome(comparison).model_copy(update={"refused": str(error)})


def _outcome(comparison: Comparison) -> Outcome:
    return Outcome(
        setting=comparison.setting.name,
        said=comparison.setting.said,
        said_ms=comparison.setting.said_ms,
        faster=comparison.faster.label,
        other=comparison.other.label,
        anchor=comparison.anchor.name,
        anchor_is_faster=comparison.anchor_is_faster,
    )


def _chunks(served: Sequence[Comparison]) -> Iterator[Sequence[Comparison]]:
    for start in range(0, len(served), _SERVERS):
        yield served[start : start + _SERVERS]

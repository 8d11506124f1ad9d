"""JSON Lines instead of HTTP: turns in, answers out, one line for one line, a few in memory at a time."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO, Final, NamedTuple

from emotion_svc.engines.base import Engine
from emotion_svc.errors import HostFailed, InvalidTurn, TooLarge
from emotion_svc.routing.router import Router
from emotion_svc.schema import Turn, Verdict
from emotion_svc.serving.budget import Budget
from emotion_svc.serving.intake import Intake
from emotion_svc.serving.problems import encode, problem_of

_CHUNK: Final = 64
"""Lines that are read and answered together: some batches of an engine, little memory, answers soon."""


class Line(NamedTuple):
    """What is written for one line that was read; `error` says what was wrong with it. Numbers begin at 1."""

    number: int
    text: str
    error: str | None


def read_lines(file: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """The lines of a file; of one over the limit, its first `max_bytes + 1` bytes, so that it is seen to be."""
    while line := file.readline(max_bytes + 1):
        rest = line
        while len(rest) > max_bytes and not rest.endswith(b"\n"):
            rest = file.readline(max_bytes + 1)
        yield line


async def answer_lines(
    engine: Engine, intake: Intake, lines: Iterable[bytes], *, max_bytes: int, with_detail: bool
) -> AsyncIterator[list[Line]]:
    """Answers in the order of the lines, in chunks; a bad line gets its problem instead, an empty one stays empty.

    A router has as much time for them as for a batch over HTTP. Where no tier gains by batches, each turn is a call of
    its own, and one that its host does not answer has its problem: the others may have been billed.

    Raises:
        EngineUnavailable: the engine failed.
    """
    numbered = iter(enumerate(lines, 1))
    while chunk := list(islice(numbered, _CHUNK)):
        read = [(number, _read(intake, line, max_bytes) if line.strip() else None) for number, line in chunk]
        turns = [turn for _, turn in read if isinstance(turn, Turn)]
        said = iter(await _classify(engine, turns) if turns else [])
        answered = []
        for number, turn in read:
            outcome = next(said) if isinstance(turn, Turn) else turn
            if outcome is None:
                answered.append(Line(number, "", None))
            elif isinstance(outcome, Verdict):
                text = outcome.model_dump_json() if with_detail else outcome.answer.model_dump_json()
                answered.append(Line(number, text, None))
            else:
                answered.append(Line(number, encode(problem_of(outcome)), str(outcome)))
        yield answered


async def _classify(engine: Engine, turns: Sequence[Turn]) -> Sequence[Verdict | HostFailed]:
    if not isinstance(engine, Router):
        return await engine.classify(turns)
    budget_ms = Budget.of(engine.deadline_ms, None, len(turns)).total_ms
    if engine.gains_by_batches:
        return await engine.classify(turns, budget_ms=budget_ms)

    async def one(turn: Turn) -> Verdict | HostFailed:
        try:
            [verdict] = await engine.classify([turn], budget_ms=budget_ms)
        except HostFailed as error:
            return error
        return verdict

    return await asyncio.gather(*map(one, turns))


def _read(intake: Intake, line: bytes, max_bytes: int) -> Turn | InvalidTurn | TooLarge:
    if len(line.removesuffix(b"\n")) > max_bytes:
        return TooLarge(f"line: more than {max_bytes} bytes; that is the limit")
    try:
        return intake.turn(line)
    except (InvalidTurn, TooLarge) as error:
        return error

"""What each tier says of gold turns, asked once and kept: JSON Lines, one file a tier, no text of a turn in it."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from emotion_svc.config import Settings
from emotion_svc.data import DataError, read_rows
from emotion_svc.errors import EngineUnavailable
from emotion_svc.routing.build import build_tiers
from emotion_svc.routing.tier import Failure, Tier
from emotion_svc.routing.tiers_file import Tiers
from emotion_svc.schema import Example, Verdict

_PATIENCE_MS: Final = 20_000.0
"""What a turn may take here: how late an answer is, is to be measured and not cut off."""


class TierPrediction(BaseModel):
    """One line: what a tier said of one gold turn, one turn at a time. `verdict` is None where it failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    ms: float
    verdict: Verdict | None


def stored_predictions(
    tiers: Tiers, examples: Sequence[Example], directory: Path, settings: Settings
) -> dict[str, list[TierPrediction]]:
    """Each tier's predictions for the examples, in their order; tiers without a file are asked now.

    Raises:
        DataError: a file is for other turns, or damaged.
        ServiceError: a tier has to be asked, and does not answer; nothing is written for it.
    """
    missing = [table for table in tiers.tiers if not _file(directory, table.name).exists()]
    if missing:
        patient = [table.model_copy(update={"deadline_ms": None}) for table in missing]
        asked = tiers.model_copy(update={"deadline_ms": _PATIENCE_MS, "tiers": tuple(patient)})
        directory.mkdir(parents=True, exist_ok=True)
        for tier in build_tiers(asked, settings):
            _write(_file(directory, tier.name), asyncio.run(_ask_all(tier, examples)))
    return {table.name: _read(_file(directory, table.name), examples) for table in tiers.tiers}


async def _ask_all(tier: Tier, examples: Sequence[Example]) -> list[TierPrediction]:
    try:
        await tier.start()
        said: list[TierPrediction] = []
        for example in tqdm(examples, desc=tier.name, unit=" turns", disable=None):
            begun = time.perf_counter()
            outcome = await tier.ask(example.turn, _PATIENCE_MS / 1e3)
            ms = (time.perf_counter() - begun) * 1e3
            if isinstance(outcome, Failure) and outcome.trouble in {"breaker_open", "spend_cap"}:
                raise EngineUnavailable(
                    f"tier '{tier.name}' gave up after {len(said)} turns ({outcome.trouble}); nothing of it was kept"
                )
            verdict = None if isinstance(outcome, Failure) else outcome
            said.append(TierPrediction(id=example.id, ms=round(ms, 3), verdict=verdict))
        return said
    finally:
        await tier.close()


def _file(directory: Path, tier: str) -> Path:
    return directory / f"{tier}.jsonl"


def _write(path: Path, said: Sequence[TierPrediction]) -> None:
    path.write_text("".join(row.model_dump_json() + "\n" for row in said), encoding="utf-8")


def _read(path: Path, examples: Sequence[Example]) -> list[TierPrediction]:
    rows = read_rows(path, TierPrediction)
    if [row.id for row in rows] != [example.id for example in examples]:
        raise DataError(f"'{path}' is for other gold turns; delete it to ask the tier again, or give another directory")
    return rows

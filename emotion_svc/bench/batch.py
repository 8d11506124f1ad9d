"""`classify --input` over many turns, as a user runs it: a process of its own, its start counted."""

import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from emotion_svc.bench.results import BatchReport
from emotion_svc.bench.seats import environment
from emotion_svc.schema import ALL_ANSWERS, Turn

TURNS: Final = 10_000


def measure_batch(turns: Sequence[Turn], directory: Path, count: int = TURNS) -> BatchReport:
    """Classifies `count` turns, the given ones again and again."""
    source, answers = directory / "batch.jsonl", directory / "batch.answers.jsonl"
    source.write_text("".join(turn.model_dump_json() + "\n" for turn in islice(cycle(turns), count)), encoding="utf-8")
    started = time.perf_counter()
    with answers.open("wb") as out:
        subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "emotion_svc", "classify", "--input", str(source)],
            stdout=out,
            env=environment(),
            check=True,
        )
    seconds = time.perf_counter() - started
    lines = answers.read_text(encoding="utf-8").splitlines()
    invalid = count - sum(line in ALL_ANSWERS for line in lines)
    source.unlink()
    answers.unlink()
    return BatchReport(turns=count, seconds=seconds, turns_per_s=count / seconds, invalid=invalid)

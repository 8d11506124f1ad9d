"""`classify --input` over many turns, as a user runs it: a process of its own, its start counted."""

import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from emotion_svc.bench.answers import meaning_of, right_of
from emotion_svc.bench.results import BatchReport
from emotion_svc.bench.seats import environment
from emotion_svc.schema import Example

TURNS: Final = 10_000


def measure_batch(gold: Sequence[Example], model: Path, folder: Path) -> BatchReport:
    """Classifies the turns of `gold`, again and again, with the model in a directory; files go to `folder`."""
    source, answers = folder / "batch.jsonl", folder / "batch.answers.jsonl"
    asked = list(islice(cycle(gold), TURNS))
    source.write_text("".join(example.turn.model_dump_json() + "\n" for example in asked), encoding="utf-8")
    started = time.perf_counter()
    with answers.open("wb") as out:
        subprocess.run(  # noqa: S603 - our own command
            [
                *(sys.executable, "-m", "emotion_svc", "classify", "--engine", "embedded", "--model", str(model)),
                *("--input", str(source)),
            ],
            stdout=out,
            env=environment(),
            check=True,
        )
    seconds = time.perf_counter() - started
    lines = answers.read_text(encoding="utf-8").splitlines()
    said = [meaning_of(line, exact=True) for line in lines]
    right = right_of(said, asked)
    source.unlink()
    answers.unlink()
    return BatchReport(
        turns=TURNS,
        seconds=seconds,
        turns_per_s=TURNS / seconds,
        invalid=said.count(None),
        right_family=right.family,
        right_learn_score=right.learn_score,
    )

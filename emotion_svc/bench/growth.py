"""How cost grows: longer texts, more clients, more labels."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emotion_svc.bench.floor import Shape
from emotion_svc.bench.load import Reply, press
from emotion_svc.bench.results import Growth
from emotion_svc.config import load_settings
from emotion_svc.decoding.index import AnswerIndex, vocabulary_of
from emotion_svc.decoding.posterior import softmax
from emotion_svc.engines.embedded import EmbeddedEngine, EmbeddedModel
from emotion_svc.schema import Turn
from emotion_svc.taxonomy import LABELS

_FACTORS: Final = (1, 2, 5, 10)
_TURNS: Final = 60
_ROUNDS: Final = 3
_SECONDS: Final = 0.7


async def measure_growth(model: EmbeddedModel, directory: Path, turns: Sequence[Turn]) -> list[Growth]:
    """Each size up to ten times its usual one; `model` is the directory's."""
    hidden = Shape.of(directory).hidden
    return [*_longer_text(model, turns), await _more_clients(directory, turns), *_more_labels(model, hidden)]


def _longer_text(model: EmbeddedModel, turns: Sequence[Turn]) -> list[Growth]:
    """The same responses, each followed by others until it is so many times as long: as sent and as read."""
    longer = {
        factor: [
            turn.model_copy(update={"response": " ".join(one.response for one in islice(cycle(turns[i:]), factor))})
            for i, turn in enumerate(turns[:_TURNS])
        ]
        for factor in _FACTORS
    }
    times: dict[int, list[float]] = {factor: [] for factor in _FACTORS}
    for _ in range(_ROUNDS):
        for factor, made in longer.items():
            times[factor] += [_seconds(partial(model.classify, [turn])) * 1e3 for turn in made]
    cost = [float(np.median(times[factor])) for factor in _FACTORS]
    characters = [float(np.mean([len(turn.response) for turn in made])) for made in longer.values()]
    tokens = [float(np.mean([len(model.tokens.encode(turn).ids) for turn in made])) for made in longer.values()]
    alone = "embedded, one turn at a time"
    return [
        Growth(
            what="characters of the response",
            unit="ms",
            sizes=characters,
            cost=cost,
            note=f"{alone}; of a long text the middle is cut, which bounds the cost of a pass",
        ),
        Growth(what="tokens of these turns, as read", unit="ms", sizes=tokens, cost=cost, note=alone),
    ]


async def _more_clients(directory: Path, turns: Sequence[Turn]) -> Growth:
    threads = load_settings(engine="embedded").threads
    engine = EmbeddedEngine(directory, threads=threads)
    await engine.start()

    async def ask(turn: Turn) -> Reply:
        [verdict] = await engine.classify([turn])
        return Reply(text=verdict.answer.model_dump_json())

    times: dict[int, list[float]] = {factor: [] for factor in _FACTORS}
    for _ in range(_ROUNDS):
        for clients in _FACTORS:
            load = await press([ask] * clients, turns, first=0, seconds=_SECONDS)
            times[clients] += [sample.latency_s * 1e3 for sample in load.samples]
    await engine.close()
    return Growth(
        what="clients",
        unit="ms",
        sizes=list(_FACTORS),
        cost=[float(np.median(times[clients])) for clients in _FACTORS],
        note=f"embedded in process, passes at a time: {threads}; median latency",
    )


def _more_labels(model: EmbeddedModel, hidden: int) -> list[Growth]:
    """Labels are no setting: what depends on their number is measured alone, with made-up ones behind ours."""
    vocabulary = vocabulary_of(model.tokens.tokenizer)
    first_id = model.tokens.tokenizer.get_vocab_size()
    rng = np.random.default_rng(0)
    building, reading, counts = [], [], [len(LABELS) * factor for factor in _FACTORS]
    for count in counts:
        made_up = [f"label_{number}" for number in range(count - len(LABELS))]
        tokens = vocabulary | {label.encode(): [first_id + place] for place, label in enumerate(made_up)}
        regex = rf'\{{"emotion":"({"|".join([*LABELS, *made_up])})","learn_score":(true|false)\}}'
        building.append(_best(partial(_index_of, tokens, first_id + count, regex)))
        slots = rng.standard_normal((hidden, count)).astype(np.float32)
        state = rng.standard_normal((1, hidden)).astype(np.float32)
        reading.append(_best(partial(_choice_of, state, slots)))
    sizes = [float(count) for count in counts]
    return [
        Growth(what="labels: index, at start", unit="ms", sizes=sizes, cost=building, note="regex to index"),
        Growth(what="labels: posterior, each turn", unit="ms", sizes=sizes, cost=reading, note="logits to choice"),
    ]


def _index_of(vocabulary: Mapping[bytes, Sequence[int]], eos: int, regex: str) -> int:
    return AnswerIndex(vocabulary, eos, regex).max_tokens


def _choice_of(state: npt.NDArray[np.float32], slots: npt.NDArray[np.float32]) -> int:
    return int(softmax(state @ slots).argmax())


def _best(run: Callable[[], object]) -> float:
    """Milliseconds of the fastest of some runs."""
    return min(_seconds(run) for _ in range(10)) * 1e3


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started

"""A training run small enough for a test: a few dozen lines, a network of some thousand weights."""

import itertools
from pathlib import Path

from emotion_svc.schema import Example, ResponseExample
from emotion_svc.taxonomy import FAMILIES
from emotion_svc.train.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from emotion_svc.train.pipeline import Lines, Run

# One word per family that gives the intent away, so that a tiny network can learn it.
CUES = dict(
    zip(
        FAMILIES,
        [
            "vui ghê", "nín nha", "nôn quá", "chơi trò này", "không sao", "thử lại", "kể nghe coi", "ủa thật hả",
            "tự hào lắm", "chính xác", "buồn hiu", "giận rồi", "lo quá", "sợ ghê", "nghe không rõ", "để nghĩ đã",
        ],
        strict=True,
    )
)  # fmt: skip
NAMES = ["Pika", "tớ", "mình", "cô", "anh"]

CONFIG = TrainConfig(
    seed=3,
    data=DataConfig(turn_repeats=1, joined=8, exercises=0, crops=0, teacher_share=0.0),
    augment=AugmentConfig(word_dropout=0.0),
    model=ModelConfig(name="pika-test", vocab=700, hidden=64, intermediate=96, layers=2, heads=1),
    optim=OptimConfig(epochs=20, batch=16, learning_rate=4e-3, dropout=0.0, average_decay=0.9),
)


def lines() -> Lines:
    """Turns and responses whose family is plain from one phrase; `learn_score` is true where child said 'cat'."""
    turns = [
        Example(
            id=f"x{number}",
            previous_question="Con mèo tiếng Anh là gì?",
            previous_answer="cat" if number % 2 else "dog",
            response=f"{name} {CUES[family]} cậu ơi.",
            emotion=family,
            learn_score=bool(number % 2),
            slice="core",
        )
        for number, (family, name) in enumerate(itertools.product(FAMILIES, NAMES))
    ]
    responses = [
        ResponseExample(response=f"Ồ {CUES[family]} nè {name}!", emotion=family)
        for family, name in itertools.product(FAMILIES, NAMES)
    ]
    return Lines(turns, responses, None)


def run(out: Path, config: TrainConfig = CONFIG) -> Run:
    """A run over `lines()`, with some of them as its dev set."""
    data = lines()
    return Run(config, data, data.turns[::3], out)

"""A checkpoint to fine-tune and a run over it, both small enough for a test."""

from pathlib import Path

from emotion_svc.train.config import AugmentConfig, DataConfig, FinetuneConfig, FinetuneOptimConfig
from emotion_svc.train.finetune import FinetuneRun
from emotion_svc.train.pipeline import Lines
from tests.engines import tiny as tiny_model
from tests.train import tiny

PROMPT = """
name = "short"
version = 1
models = ["*"]
style = "chat"
system = "Answer with JSON."
user = "Q: $previous_question A: $previous_answer R: $response"
"""
FAMILIES = ("playful", "thats_right", "sad", "noisy")

CONFIG = FinetuneConfig(
    seed=3,
    data=DataConfig(turn_repeats=1, joined=0, exercises=0, crops=0, teacher_share=0.0),
    augment=AugmentConfig(word_dropout=0.0, no_diacritics=0.0, no_final_punctuation=0.0),
    optim=FinetuneOptimConfig(epochs=12, batch=4, learning_rate=3e-3, precision="fp32"),
)


def lines() -> Lines:
    """Five turns of each of four families, to be learnt by heart."""
    return Lines([turn for turn in tiny.lines().turns if turn.emotion in FAMILIES], [], None)


def prompts(folder: Path) -> Path:
    """A folder with one short prompt for every model: the project's own would make most of a test's time."""
    folder.mkdir(exist_ok=True)
    (folder / "short.toml").write_text(PROMPT, encoding="utf-8")
    return folder


def checkpoint(folder: Path, template: str | None = tiny_model.TEMPLATE) -> Path:
    """An untrained Llama with labels of several tokens."""
    return tiny_model.write_model(folder / "someone-tiny", template=template, spread=0.05)


def run(base: Path, out: Path, config: FinetuneConfig = CONFIG) -> FinetuneRun:
    """A run over `lines()`, which are its held-out turns, too: what was learnt by heart is asked."""
    return FinetuneRun(str(base), config, lines(), lines().turns, out, prompts=prompts(base.parent / "prompts"))

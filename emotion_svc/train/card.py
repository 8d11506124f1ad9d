"""The model card: what the model is, what it was made from, how right it is, and where it is weak."""

import json
from collections.abc import Sequence
from pathlib import Path

from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.eval.report import make_report, to_markdown
from emotion_svc.eval.run import latency, predictions, steadiness
from emotion_svc.schema import Example, Verdict
from emotion_svc.train.config import FinetuneConfig
from emotion_svc.train.pipeline import Lines

_TEXT = """\
---
language: [vi, en]
license: apache-2.0
pipeline_tag: text-classification
---
# {name}

A Llama-architecture decoder ({parameters:.1f}M parameters, {layers} layers, {vocab} tokens) that answers, for one turn
between the robot Pika and a child, which face Pika wears and whether the child just got an English exercise right:
`{{"emotion":"playful","learn_score":false}}`. Its tokenizer writes the answer in four tokens, two of them forced.

Behind the child's answer the prompt (`prompts/pika.toml`) shows three marks that say how it compares with the question
(repeated, spelled, a meaning or a fact in `wordbook.json`, …), and behind the response three that say what its wording
suggests (`wording.npz`, a linear voter over n-grams): they are made by code, so ask this model through emotion_svc,
whose engines make them alike, and not by a prompt of your own.

## Intended use
Choosing an animation and counting right answers in a language-learning toy for Vietnamese children of 5 to 10. It
judges Pika's own words in their context; it does not recognize a child's feelings and must not be used to judge a
child, a person's health, or anything beyond the 16 intents.

{data}
## Scores on held-out turns
{report}
## Known weaknesses
Held-out turns that the model gets wrong, the most confident first:

| response | gold | said | confidence |
|---|---|---|---|
{weak}

## Train it on your own turns
`emotion-svc train --data my_turns.jsonl` adds your lines (format: docs/annotation.md) to the project's and writes a
new model directory; `emotion-svc serve --model runs/pika/model` serves it.
"""

_DATA = """\
## Data
{turns} written turns, {responses} written single responses and {reactions} written reactions, a lexicon of {words}
English words, and exercises generated from them. All of it is synthetic: composed by a language model, line by line,
under written briefs. No recordings of children were used. Real speech recognition will make other mistakes than the
ones imagined here: measure on your own turns before you rely on the figures below (train_data/README.md).
"""

_FINETUNED = """\
---
base_model: {base}
language: [vi, en]
pipeline_tag: text-classification
---
# {base}, fine-tuned for emotion_svc

{base} with {trained}, taught to answer, for one turn between the robot Pika and a child, which face Pika wears and
whether the child just got an English exercise right: `{{"emotion":"playful","learn_score":false}}`. It was taught the
choices alone that the engine `vllm` asks for under its grammar; without a grammar it may write other things. Its
licence is that of its base.

`emotion-svc serve --engine vllm --model DIR` serves this directory as it is.

{data}
## Scores on held-out turns
As transformers computes them from this directory, calibrated on the same turns; vLLM's own arithmetic may differ in the
last digits (`emotion-svc eval --engine vllm --model DIR`).

{report}"""


def write_finetuned_card(
    directory: Path,
    base: str,
    config: FinetuneConfig,
    dev: Sequence[Example],
    verdicts: Sequence[Verdict],
    lines: Lines,
) -> None:
    """Writes README.md into the directory of a fine-tuned model. `verdicts` are what it said of `dev`."""
    report = make_report(
        dev,
        predictions(verdicts),
        engine="transformers",
        model=base,
        model_digest=verdicts[0].model_digest,
        gold=config.data.dev,
    )
    lora = config.lora
    card = _FINETUNED.format(
        base=base,
        trained=f"low-rank adapters (rank {lora.rank}, merged into its weights)" if lora else "all weights trained on",
        data=_data(lines),
        report=to_markdown(report),
    )
    (directory / "README.md").write_text(card, encoding="utf-8")


def write_card(directory: Path, dev: Sequence[Example], dev_name: str, lines: Lines) -> None:
    """Writes README.md into a model directory, with the scores of its int8 file on `dev`."""
    model = EmbeddedModel(directory)
    turns = [example.turn for example in dev]
    verdicts = model.classify(turns)
    report = make_report(
        dev,
        predictions(verdicts),
        engine="embedded",
        model=model.name,
        model_digest=model.digest,
        gold=dev_name,
        steadiness=steadiness(model.classify, dev),
        latency_ms=latency(model, turns),
    )
    wrong = [(v.family_confidence, e, v) for e, v in zip(dev, verdicts, strict=True) if v.family != e.emotion]
    weak = [
        f"| {_cell(e.response)} | {e.emotion} | {v.family} | {sure:.0%} |"
        for sure, e, v in sorted(wrong, key=lambda row: -row[0])[:8]
    ]
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    card = _TEXT.format(
        name=model.name,
        parameters=_parameters(config) / 1e6,
        layers=config["num_hidden_layers"],
        vocab=config["vocab_size"],
        data=_data(lines),
        report=to_markdown(report),
        weak="\n".join(weak),
    )
    (directory / "README.md").write_text(card, encoding="utf-8")


def _data(lines: Lines) -> str:
    knowledge = lines.knowledge
    return _DATA.format(
        turns=len(lines.turns),
        responses=len(lines.responses),
        reactions=sum(map(len, knowledge.reactions.values())) if knowledge else 0,
        words=len(knowledge.words) if knowledge else 0,
    )


def _parameters(config: dict[str, int]) -> int:
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    layer = 4 * hidden * hidden + 3 * hidden * intermediate + 2 * hidden
    return config["vocab_size"] * hidden + config["num_hidden_layers"] * layer + hidden


def _cell(text: str) -> str:
    text = text.replace("|", "\\|").replace("`", "'")
    return text if len(text) <= 120 else text[:119] + "…"

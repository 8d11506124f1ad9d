"""The model card: what the model is, what it was made from, how right it is, and where it is weak."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from emotion_svc.data import read_examples
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.eval.report import make_report, to_markdown
from emotion_svc.eval.run import predictions, steadiness
from emotion_svc.modeldir import SHIPPED
from emotion_svc.schema import Example, Verdict
from emotion_svc.train.config import DataConfig, FinetuneConfig
from emotion_svc.train.pipeline import Lines

_TEXT = """\
---
language: [vi, en]
{licence}pipeline_tag: text-classification
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
These turns were not trained on, but they were used: settings and runs were chosen by them, and the temperatures are
fitted on them, so both calibration errors are in-sample. Expect somewhat less elsewhere. How fast a model is depends on
the machine: docs/performance.md.

{report}
## Known weaknesses
Held-out turns that the model gets wrong, the most confident first:

| response | gold | said | confidence |
|---|---|---|---|
{weak}

## Serve it, or train it on your own turns
`{serve}` serves this directory. `emotion-svc train --data my_turns.jsonl --out runs/mine`
adds your lines (format: docs/annotation.md) to the project's and writes a new one, `runs/mine/model`.
"""

_DATA = """\
## Data
{turns} written turns, {responses} written single responses and {reactions} written reactions, a lexicon of {words}
English words, and exercises generated from them.
{origin}
{own}"""

_PROJECTS = """\
These are the project's lines, all of them synthetic: composed by a language model, line by line, under written briefs.
No recordings of children were used for them. Real speech recognition will make other mistakes than the ones imagined
there: measure on your own turns before you rely on the figures below (train_data/README.md)."""

_OTHERS = """\
They are not the project's lines, but those of `{turns}`, `{responses}` and `{knowledge}`:
what they are, where they come from and under which licence they stand is not known here. Say it before you pass the
model on."""

_OWN = """
Beside them, given with `--data`: {files}.
What these turns are, where they come from and under which licence they stand is not known here. Say it before you pass
the model on.
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


class OwnFile(NamedTuple):
    """A file of turns that were given beside those of the configuration."""

    name: str
    turns: int


def own_files(paths: Sequence[Path]) -> list[OwnFile]:
    """Counts the turns of the files that were given with `--data`."""
    return [OwnFile(path.name, len(read_examples([path]))) for path in paths]


def write_finetuned_card(
    directory: Path,
    base: str,
    config: FinetuneConfig,
    dev: Sequence[Example],
    verdicts: Sequence[Verdict],
    lines: Lines,
    own: Sequence[OwnFile],
) -> None:
    """Writes README.md into the directory of a fine-tuned model.

    `verdicts` are what it said of `dev`; `own` are the files whose turns come last in `lines`.
    """
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
        data=_data(lines, config.data, own),
        report=to_markdown(report),
    )
    (directory / "README.md").write_text(card, encoding="utf-8")


def write_card(directory: Path, dev: Sequence[Example], data: DataConfig, lines: Lines, own: Sequence[OwnFile]) -> None:
    """Writes README.md into a model directory, with the scores of its int8 file on `dev`.

    `own` are the files whose turns come last in `lines`, behind those that `data` names.
    """
    model = EmbeddedModel(directory)
    verdicts = model.classify([example.turn for example in dev])
    report = make_report(
        dev,
        predictions(verdicts),
        engine="embedded",
        model=model.name,
        model_digest=model.digest,
        gold=data.dev,
        steadiness=steadiness(model.classify, dev),
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
        licence="license: apache-2.0\n" if _is_projects(data) and not own else "",
        data=_data(lines, data, own),
        report=to_markdown(report),
        weak="\n".join(weak),
        serve="emotion-svc serve" if directory == SHIPPED else f"emotion-svc serve --model {directory}",
    )
    (directory / "README.md").write_text(card, encoding="utf-8")


def _is_projects(data: DataConfig) -> bool:
    ours = DataConfig()
    return (data.turns, data.responses, data.knowledge) == (ours.turns, ours.responses, ours.knowledge)


def _data(lines: Lines, data: DataConfig, own: Sequence[OwnFile]) -> str:
    knowledge = lines.knowledge
    files = ", ".join(f"`{name}` ({turns} turns)" for name, turns in own)
    return _DATA.format(
        turns=len(lines.turns) - sum(file.turns for file in own),
        responses=len(lines.responses),
        reactions=sum(map(len, knowledge.reactions.values())) if knowledge else 0,
        words=len(knowledge.words) if knowledge else 0,
        origin=_PROJECTS
        if _is_projects(data)
        else _OTHERS.format(turns=data.turns, responses=data.responses, knowledge=data.knowledge),
        own=_OWN.format(files=files) if own else "",
    )


def _parameters(config: dict[str, int]) -> int:
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    layer = 4 * hidden * hidden + 3 * hidden * intermediate + 2 * hidden
    return config["vocab_size"] * hidden + config["num_hidden_layers"] * layer + hidden


def _cell(text: str) -> str:
    text = text.replace("|", "\\|").replace("`", "'")
    return text if len(text) <= 120 else text[:119] + "…"

"""From the lines of `train_data/` to a model directory, step by step."""

import random
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from pydantic_core import to_json
from tokenizers import Tokenizer

from emotion_svc.data import read_examples, read_responses
from emotion_svc.decoding.comparison import WORDBOOK_FILE
from emotion_svc.decoding.index import AnswerIndex, vocabulary_of
from emotion_svc.decoding.slots import Slots, find_slots
from emotion_svc.decoding.tokens import TurnTokenizer
from emotion_svc.decoding.wording import WORDING_FILE
from emotion_svc.errors import SetupError
from emotion_svc.modeldir import CALIBRATION_FILE, ONNX_FILE, Calibration
from emotion_svc.prompt import Prompt, prompt_for
from emotion_svc.schema import Example, ResponseExample
from emotion_svc.train.batches import Batcher, label_target
from emotion_svc.train.begin import PRETRAINED, enter, sign
from emotion_svc.train.calibrate import calibrate
from emotion_svc.train.checkpoint import write_checkpoint
from emotion_svc.train.config import DataConfig, FinetuneConfig, TrainConfig
from emotion_svc.train.exercises import ExerciseMaker
from emotion_svc.train.export import export_onnx
from emotion_svc.train.held_out import refuse_held_out
from emotion_svc.train.lexicon import Knowledge, load_knowledge, wordbook_of
from emotion_svc.train.loop import STATE_FILE
from emotion_svc.train.model import Decoder, Shape
from emotion_svc.train.pretrainer import Pretrainer
from emotion_svc.train.ranges import input_ranges
from emotion_svc.train.samples import Corpus, Sample, from_turn, gold, make_epoch
from emotion_svc.train.teacher import NgramTeacher
from emotion_svc.train.tokenizer import EOS, token_id, train_tokenizer
from emotion_svc.train.trainer import Trainer
from emotion_svc.train.wording import Voters

_RANGED: Final = 400
"""The lines from which the ranges of the products' inputs are read (`ranges.input_ranges`)."""

GOLD: Final = "eval_data/*.jsonl"
"""The project's held-out turns, none of which is trained on."""


class Lines(NamedTuple):
    """All that was written for training."""

    turns: list[Example]
    responses: list[ResponseExample]
    knowledge: Knowledge | None

    @property
    def digest(self) -> str:
        """Of all that is in them: a run that was stopped goes on with the same lines or begins anew."""
        return blake2b(to_json(self), digest_size=16).hexdigest()


def read_lines(root: Path, data: DataConfig, extra: Sequence[Path] = ()) -> Lines:
    """Reads the training files below `root`, and whole turns from the `extra` files.

    Raises:
        DataError: a line is wrong, or a turn is one of those that are held out.
        SetupError: there are no turns at all, or what the configuration names is not below `root`.
    """
    where = f"'{root}', where its paths begin: the folder above the configuration's own"
    knows = bool(data.knowledge and data.exercises)
    for name in (data.dev, data.knowledge) if knows else (data.dev,):
        if not (root / name).exists():
            raise SetupError(f"the configuration names '{name}', which is not in {where}")
    files = [*sorted(root.glob(data.turns)), *extra]
    turns = read_examples(files)
    responses = read_responses(sorted(root.glob(data.responses)))
    if not turns:
        raise SetupError(f"no training turns match '{data.turns}' in {where}; give files with --data")
    refuse_held_out(files, [root / data.dev, *sorted(root.glob(GOLD))])
    knowledge = load_knowledge(root / data.knowledge) if knows else None
    return Lines(turns, responses, knowledge)


def texts_of(lines: Lines) -> list[str]:
    """All texts, for the tokenizer. The lexicon counts twice: its words must not fall to pieces."""
    texts = [text for t in lines.turns for text in (t.previous_question, t.previous_answer, t.response)]
    texts += [r.response for r in lines.responses]
    if lines.knowledge:
        for word in lines.knowledge.words:
            texts += [word.en, *word.sentence, word.clue or "", *word.vi, *word.ear] * 2
        texts += [form for forms in lines.knowledge.forms.values() for form in forms]
        texts += [text for rows in lines.knowledge.quiz.values() for q in rows for text in (q.question, *q.right)]
        texts += [r.response for reactions in lines.knowledge.reactions.values() for r in reactions]
    return texts


class Run:
    """One training run in a directory of its own, with `pretrained/` and, at the end, `model/` in it.

    Args:
        config: the settings; a run is resumed only with the same ones.
        lines: what is trained on; the same holds for them.
        dev: held-out turns for the log and the calibration.
        out: the run's directory.
        anew: another run in `out` may be dropped before it is finished.

    Raises:
        SetupError: another run in `out` is not finished.
        PromptError: no prompt is for the model.
    """

    def __init__(
        self, config: TrainConfig, lines: Lines, dev: Sequence[Example], out: Path, *, anew: bool = False
    ) -> None:
        self.config, self._lines, self._dev, self._out = config, lines, list(dev), out
        torch.manual_seed(config.seed)
        prompt = prompt_for(config.model.name)
        self.tokenizer: Tokenizer = self._begin(prompt, anew=anew)
        index = AnswerIndex(vocabulary_of(self.tokenizer), token_id(self.tokenizer, EOS))
        self.slots: Slots = find_slots(self.tokenizer, index)
        self._tokens = TurnTokenizer(out / "tokenizer.json", prompt)
        self.batcher = Batcher(self._tokens, self.slots, self._voters.opinion, label_noise=config.optim.label_noise)

    def _begin(self, prompt: Prompt, *, anew: bool) -> Tokenizer:
        """Tokenizer and voters: of a stopped run of the same settings, prompt and lines, or new ones."""
        saved = self._out / "tokenizer.json"
        name = {"lines": self._lines.digest, "prompt": prompt.digest} | self.config.model_dump()
        if enter(self._out, name, anew=anew):
            self._voters = Voters.load(self._out)
            return Tokenizer.from_file(str(saved))
        tokenizer = train_tokenizer(texts_of(self._lines), self.config.model.vocab)
        tokenizer.save(str(saved))
        (self._out / WORDBOOK_FILE).unlink(missing_ok=True)
        if self._lines.knowledge:
            wordbook_of(self._lines.knowledge).save(self._out)
        self._voters = Voters(self._lines.turns, self._lines.responses)
        self._voters.save(self._out)
        sign(self._out, name)
        return tokenizer

    def train(self, device: torch.device | None = None, *, progress: bool = True) -> Decoder:
        """Trains on `device` (the CPU by default), or goes on with a stopped run; returns the averaged network."""
        shape = self.config.model
        model = Decoder(
            Shape(
                vocab=self.tokenizer.get_vocab_size(),
                hidden=shape.hidden,
                intermediate=shape.intermediate,
                layers=shape.layers,
                heads=shape.heads,
            ),
            self.config.optim.dropout,
        )
        on = device or torch.device("cpu")
        if self.config.pretrain.epochs and not (self._out / STATE_FILE).exists():
            model = self._pretrained(model, on, progress=progress)
        trainer = Trainer(
            model, self.batcher, self.slots, Epochs(self._lines, self.config), self._dev, self.config, self._out, on
        )
        trainer.resume()
        trainer.run(progress=progress, what="labels")
        return trainer.average.cpu()

    def _pretrained(self, model: Decoder, device: torch.device, *, progress: bool) -> Decoder:
        """The network after it has read all lines as a language model."""
        pretrainer = Pretrainer(
            model,
            self.batcher,
            Readings(self._lines, self.config),
            [from_turn(example) for example in self._dev],
            self.config,
            self._out / PRETRAINED,
            device,
        )
        pretrainer.resume()
        pretrainer.run(progress=progress, what="pretraining")
        model.load_state_dict(pretrainer.average.state_dict())
        return model

    def write(self, model: Decoder, fitted_on: str) -> Calibration | None:
        """Writes checkpoint, int8 graph and, where there are held-out turns, the calibration to `model/`."""
        directory = self._out / "model"
        (directory / CALIBRATION_FILE).unlink(missing_ok=True)  # it is the old files'
        write_checkpoint(model, self.tokenizer, self.config.model.name, directory)
        self._tokens.wordbook.save(directory)
        self._voters.shipped.save(directory / WORDING_FILE)
        ranges = input_ranges(directory, self.slots, self._answered_prompts())
        export_onnx(directory, self.slots, directory / ONNX_FILE, ranges)
        return calibrate(directory, self.slots, self._dev, fitted_on) if self._dev else None

    def _answered_prompts(self) -> list[list[int]]:
        """Some turns and responses as the engine reads them: each up to the token before the value of learn_score."""
        lines = [from_turn(turn) for turn in self._lines.turns]
        lines += [Sample("", "", line.response, gold(line.emotion), None) for line in self._lines.responses]
        rng = random.Random(self.config.seed)
        some = rng.sample(lines, min(_RANGED, len(lines)))
        labels = [self.slots.labels[int(np.argmax(label_target(sample)))] for sample in some]
        return [
            [*prompt, label, self.slots.between]
            for prompt, label in zip(self.batcher.encode(some, rng), labels, strict=True)
        ]


class Readings:
    """An epoch to read: each turn and each response once, varied as in training, made from (seed, epoch)."""

    def __init__(self, lines: Lines, config: TrainConfig) -> None:
        self._corpus, self._seed = Corpus(lines.turns, lines.responses, exercises=None), config.seed
        self._data = DataConfig(turn_repeats=1, response_repeats=1, joined=0, exercises=0, crops=0)
        self._augment = config.augment.model_copy(update={"borrowed_context": 0.0})

    def __call__(self, epoch: int) -> list[Sample]:
        """The samples of one epoch."""
        return make_epoch(self._corpus, self._data, self._augment, random.Random(self._seed * 20_011 + epoch))


class Epochs:
    """Makes an epoch's samples from (seed, epoch), and keeps the last, which is asked for again."""

    def __init__(self, lines: Lines, config: TrainConfig | FinetuneConfig) -> None:
        data = config.data
        exercises = ExerciseMaker(lines.knowledge, lines.responses) if lines.knowledge else None
        teacher = NgramTeacher(lines.turns, lines.responses) if data.teacher_share or data.crops else None
        self._corpus, self._config = Corpus(lines.turns, lines.responses, exercises, teacher), config
        self._last: tuple[int, list[Sample]] | None = None

    def __call__(self, epoch: int) -> list[Sample]:
        """The samples of one epoch."""
        if self._last is None or self._last[0] != epoch:
            rng = random.Random(self._config.seed * 10_007 + epoch)
            late = 3 * epoch >= 2 * self._config.optim.epochs
            self._last = epoch, make_epoch(self._corpus, self._config.data, self._config.augment, rng, late=late)
        return self._last[1]

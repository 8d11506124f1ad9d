"""What one epoch is made of: written turns, single responses in borrowed contexts, joined responses, exercises.

Everything is drawn from a `random.Random` that is seeded with (seed, epoch), so an epoch can be made again
when a run is resumed.
"""

import random
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from emotion_svc.schema import Example, ResponseExample
from emotion_svc.taxonomy import FAMILIES, Family
from emotion_svc.text import without_final_punctuation
from emotion_svc.train.config import AugmentConfig, DataConfig
from emotion_svc.train.exercises import ExerciseMaker
from emotion_svc.train.teacher import Floats, NgramTeacher
from emotion_svc.train.wording import fold_of


class Sample(NamedTuple):
    """A turn to learn from. `learn_score` is None where it is not known.

    `weight` is how much the emotion counts: less for exercises, whose responses come again and again. `fold` is that
    of the text that its response comes from (`wording.fold_of`); None for a turn that is not trained on.
    """

    question: str
    answer: str
    response: str
    emotion: dict[Family, float]
    learn_score: float | None
    weight: float = 1.0
    fold: int | None = None


def gold(emotion: Family, also: Sequence[Family] = ()) -> dict[Family, float]:
    """The target for a family: families that are defensible too get a share of the probability."""
    share = 0.15 if also else 0.0
    target = {emotion: 1 - share}
    for other in also:
        target[other] = share / len(also)
    return target


class Corpus(NamedTuple):
    """All that is trained on."""

    turns: list[Example]
    responses: list[ResponseExample]
    exercises: ExerciseMaker | None
    teacher: NgramTeacher | None = None


def make_epoch(
    corpus: Corpus, data: DataConfig, augment: AugmentConfig, rng: random.Random, *, late: bool = False
) -> list[Sample]:
    """The samples of one epoch, shuffled and varied; `late` in the training, more exercises are none."""
    samples = [
        from_turn(turn)._replace(fold=fold_of(turn.response)) for turn in corpus.turns for _ in range(data.turn_repeats)
    ]
    pool = [*corpus.responses, *(ResponseExample(response=t.response, emotion=t.emotion) for t in corpus.turns)]
    teacher = corpus.teacher
    samples += [
        in_context(response, corpus.turns, augment.borrowed_context, rng)._replace(fold=fold_of(response.response))
        for response in corpus.responses * data.response_repeats
    ]
    if teacher is not None:
        samples = taught(samples, teacher.remembered([s.response for s in samples]), data.teacher_share)
    folds = by_fold([r.response for r in pool])
    for _ in range(data.joined):
        fold = rng.choice(folds)
        joined = join(pool[rng.choice(fold.places)], pool[rng.choice(fold.places)])
        if joined is not None:
            joined_sample = in_context(joined, corpus.turns, augment.borrowed_context, rng)
            samples.append(joined_sample._replace(fold=fold.number))
    if corpus.exercises is not None:
        for _ in range(data.exercises):
            exercise = corpus.exercises.make(rng, late=late)
            samples.append(Sample(*exercise, EXERCISE_WEIGHT, fold_of(exercise.response)))
    samples = [vary(sample, augment, rng) for sample in samples]
    if teacher is not None:
        said = [*(r.response for r in pool), *(t.previous_question for t in corpus.turns if t.previous_question)]
        folds = by_fold(said)
        crops = [splice(said, rng.choice(folds), rng) for _ in range(data.crops)]
        samples += taught(crops, teacher.families([s.response for s in crops]), 1.0)
    rng.shuffle(samples)
    return samples


EXERCISE_WEIGHT = 0.3


class Fold(NamedTuple):
    """The places of the texts of one fold: what is put together from them is new to the fold's double."""

    number: int
    places: list[int]


def by_fold(texts: Sequence[str]) -> list[Fold]:
    """The folds of the texts; those that hold none are left out."""
    places: dict[int, list[int]] = {}
    for place, text in enumerate(texts):
        places.setdefault(fold_of(text), []).append(place)
    return [Fold(number, places[number]) for number in sorted(places)]


def splice(texts: Sequence[str], fold: Fold, rng: random.Random) -> Sample:
    """A run of words out of what Pika says, or two such runs one behind the other, for a teacher to judge."""
    said = " ".join(crop(texts[rng.choice(fold.places)], rng) for _ in range(rng.choice((1, 2))))
    return Sample("", "", said, {}, None, fold=fold.number)


def crop(text: str, rng: random.Random) -> str:
    """A run of words out of a text."""
    words = text.split(" ")
    length = max(2, round(len(words) * rng.uniform(0.2, 0.9)))
    start = rng.randrange(max(1, len(words) - length + 1))
    return " ".join(words[start : start + length])


def taught(samples: Sequence[Sample], opinions: Floats, share: float) -> list[Sample]:
    """The samples with `share` of each emotion target taken from a teacher's opinions (n, 16)."""
    return [
        sample._replace(
            emotion={
                family: share * float(opinion) + (1 - share) * sample.emotion.get(family, 0.0)
                for family, opinion in zip(FAMILIES, row, strict=True)
            }
        )
        for sample, row in zip(samples, opinions, strict=True)
    ]


def from_turn(turn: Example) -> Sample:
    """A written turn as it is."""
    return Sample(
        turn.previous_question,
        turn.previous_answer,
        turn.response,
        gold(turn.emotion, turn.also),
        float(turn.learn_score),
    )


def in_context(response: ResponseExample, turns: Sequence[Example], share: float, rng: random.Random) -> Sample:
    """A single response, with probability `share` after another turn's lines; `learn_score` is then unknown."""
    if rng.random() >= share:
        return Sample("", "", response.response, gold(response.emotion), 0.0)
    other = rng.choice(turns)
    return Sample(other.previous_question, other.previous_answer, response.response, gold(response.emotion), None)


# Of two intents in one response, the one that wins by the ordered rules of docs/annotation.md, where the rule
# does not ask which takes up most of the words.
_WINS: dict[Family, frozenset[Family]] = {
    "noisy": frozenset(FAMILIES),
    "thats_right": frozenset(FAMILIES) - {"noisy"},
    "playful": frozenset({"happy", "excited", "curious", "encouraging", "no_problem", "proud"}),
    "encouraging": frozenset({"no_problem", "happy"}),
}


def join(first: ResponseExample, second: ResponseExample) -> ResponseExample | None:
    """Two responses said in one breath, where the rules decide between their families; else None."""
    if len(first.response) + len(second.response) > 220:
        return None
    for winner, loser in ((first.emotion, second.emotion), (second.emotion, first.emotion)):
        if winner == loser or loser in _WINS.get(winner, ()):
            return ResponseExample(response=f"{first.response} {second.response}", emotion=winner)
    return None


def vary(sample: Sample, augment: AugmentConfig, rng: random.Random) -> Sample:
    """The sample with its texts varied in ways that change no label."""
    return sample._replace(
        question=_vary_text(sample.question, augment, rng),
        # A word of the answer may be what makes it right: it keeps its words.
        answer=_vary_text(sample.answer, augment.model_copy(update={"word_dropout": 0.0}), rng),
        response=_vary_text(sample.response, augment, rng) or sample.response,
    )


def without_final_marks(sample: Sample) -> Sample:
    """The sample with no final punctuation in any field."""
    return sample._replace(
        question=without_final_punctuation(sample.question),
        answer=without_final_punctuation(sample.answer),
        response=without_final_punctuation(sample.response),
    )


def _vary_text(text: str, augment: AugmentConfig, rng: random.Random) -> str:
    if text and rng.random() < augment.no_diacritics:
        text = strip_diacritics(text)
    if text and rng.random() < augment.no_final_punctuation:
        text = text.rstrip(" .!?…~,;:") or text
    words = text.split(" ")
    if len(words) > 4 and augment.word_dropout:
        text = " ".join(word for word in words if rng.random() >= augment.word_dropout) or text
    return text


def strip_diacritics(text: str) -> str:
    """Vietnamese as it is typed without marks: "đọc lại nhé" becomes "doc lai nhe"."""
    apart = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    return unicodedata.normalize("NFC", "".join(char for char in apart if not unicodedata.combining(char)))

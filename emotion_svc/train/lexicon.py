"""The knowledge behind `learn_score`: words that children learn, and the forms in which Pika asks for them."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from emotion_svc.data import DataError, read_rows
from emotion_svc.decoding.comparison import Entry, Wordbook
from emotion_svc.decoding.facts import NUMBERS, Fact, words_of
from emotion_svc.files import first_fault
from emotion_svc.schema import Text
from emotion_svc.taxonomy import Family
from emotion_svc.train.sound import fit_sounds


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Word(_Line):
    """One line of `train_data/lexicon/`.

    `ear`: spellings that sound right to a Vietnamese ear. `misspelt`: not words. `confused`: other English
    words, wrong as an answer. `clue`: an English question that only this word answers. `sentence`: English
    with the word in it, and its translation.
    """

    en: Text
    vi: tuple[Text, ...]
    category: str
    pos: str
    ear: tuple[Text, ...]
    misspelt: tuple[Text, ...]
    confused: tuple[Text, ...]
    plural: Text | None
    past: Text | None
    opposite: Text | None
    clue: Text | None
    sentence: tuple[Text, Text]


class Gloss(_Line):
    """One line of `train_data/exercises/glossary.jsonl`, a word that is only looked up: keys as those of `Word`."""

    en: Text
    vi: tuple[Text, ...]
    ear: tuple[Text, ...]


class FactLine(_Line):
    """One line of `train_data/exercises/facts.jsonl`, which is only looked up: as `facts.Fact`."""

    asked: Annotated[tuple[Text, ...], Field(min_length=1)]
    right: Annotated[tuple[Text, ...], Field(min_length=1)]


class Form(_Line):
    """One line of `train_data/exercises/questions.jsonl`: how Pika asks for something."""

    kind: str
    question: Text


class Manner(_Line):
    """One line of `train_data/exercises/answers.jsonl`: how a child says something."""

    kind: str
    answer: Text


class Reaction(_Line):
    """One line of `train_data/verdicts/`: what Pika says next, and what that says about the child's answer."""

    response: Text
    verdict: Literal["right", "wrong", "unheard", "none"]
    emotion: Family


class Quiz(_Line):
    """One line of `train_data/exercises/quiz.jsonl`: a question that the lexicon cannot make.

    `fact_en` has checkable answers in English; `practice` asks about the child, to be answered in English;
    `fact_vi` (a quiz in Vietnamese) and `opinion` (small talk) are no English exercises.
    """

    kind: Literal["fact_en", "fact_vi", "practice", "opinion"]
    question: Text
    right: tuple[Text, ...]
    wrong: tuple[Text, ...]


class Category(_Line):
    """How "one animal" is said."""

    vi: tuple[Text, ...]
    en: tuple[Text, ...]


class Knowledge(NamedTuple):
    """Everything that the exercise maker draws from."""

    words: list[Word]
    forms: dict[str, list[str]]
    manners: dict[str, list[str]]
    reactions: dict[str, list[Reaction]]
    categories: dict[str, Category]
    quiz: dict[str, list[Quiz]]
    facts: list[FactLine]
    glossary: list[Gloss]


class _Order(NamedTuple):
    """What children are asked to go on with; `words` are what one of them is called."""

    words: tuple[str, ...]
    texts: tuple[str, ...]


_ORDERS: Final = (
    _Order(
        ("day", "ngày", "thứ"),
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "monday"),
    ),
    _Order(
        ("month", "tháng"),
        ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
         "december", "january"),
    ),
    _Order(("season", "mùa"), ("spring", "summer", "autumn", "winter", "spring")),
    _Order(("letter", "chữ"), tuple("bcdefghijklmnopqrstuvwxyz")),  # "a" is an article
    _Order(("number", "số"), NUMBERS[:21]),
)  # fmt: skip

_EMPTY: Final = frozenset(
    words_of(
        "a an the is are am do does did of in on to with your you we i it its this that can have has and or for me my "
        "what which who how will be one each every there they their from at when where kids something about "
        "là gì con cái nào tiếng anh nói bằng một có mấy loại thứ kind part word thing từ về"
    )
)
"""Words that pin no fact down."""


def wordbook_of(knowledge: Knowledge) -> Wordbook:
    """What goes with the model: words, facts (written ones, the quiz, what follows from an order), and sounds."""
    entries = [
        Entry(w.en, w.vi, w.ear, tuple(form for form in (w.opposite, w.plural, w.past) if form and form != w.en))
        for w in knowledge.words
    ]
    entries += [Entry(w.en, w.vi, w.ear, ()) for w in knowledge.glossary]
    facts = [Fact(line.asked, line.right) for line in knowledge.facts]
    asked = [(quiz.question, quiz.right) for quiz in knowledge.quiz.get("fact_en", ())]
    asked += [(word.clue, (word.en,)) for word in knowledge.words if word.clue]
    facts += [Fact((key,), right) for question, right in asked if (key := _key(question))]
    facts += [fact for order in _ORDERS for fact in _neighbours(order)]
    groups = []
    for name, category in knowledge.categories.items():
        keys = {key for text in (*category.vi, *category.en) if (key := _key(text, least=1))}
        members = tuple(word.en for word in knowledge.words if word.category == name)
        groups.append(Fact(tuple(sorted(keys)), members))
    return Wordbook(entries, facts, groups, fit_sounds((entry.en, heard) for entry in entries for heard in entry.said))


def _key(question: str, least: int = 2) -> str:
    """The words that pin a question down; empty where they are fewer than `least`."""
    words = dict.fromkeys(word for word in words_of(question) if word not in _EMPTY)
    return " ".join(words) if len(words) >= least else ""


def _neighbours(order: _Order) -> Iterator[Fact]:
    called = ("come", *order.words)
    for before, after in pairwise(order.texts):
        yield Fact(tuple(f"{word} {where} {before}" for word in called for where in ("after", "sau")), (after,))
        yield Fact(tuple(f"{word} {where} {after}" for word in called for where in ("before", "trước")), (before,))


def load_knowledge(train_data: Path) -> Knowledge:
    """Reads lexicon, question forms, answer manners and reactions below `train_data`.

    Raises:
        DataError: a file is missing or a line is wrong.
    """
    forms: defaultdict[str, list[str]] = defaultdict(list)
    for form in read_rows(train_data / "exercises/questions.jsonl", Form):
        forms[form.kind].append(form.question)
    manners: defaultdict[str, list[str]] = defaultdict(list)
    for manner in read_rows(train_data / "exercises/answers.jsonl", Manner):
        manners[manner.kind].append(manner.answer)
    quiz: defaultdict[str, list[Quiz]] = defaultdict(list)
    for row in read_rows(train_data / "exercises/quiz.jsonl", Quiz):
        quiz[row.kind].append(row)
    reactions: defaultdict[str, list[Reaction]] = defaultdict(list)
    for path in sorted((train_data / "verdicts").glob("*.jsonl")):
        for reaction in read_rows(path, Reaction):
            reactions[reaction.verdict].append(reaction)
    words = [word for path in sorted((train_data / "lexicon").glob("*.jsonl")) for word in read_rows(path, Word)]
    categories = _read_categories(train_data / "exercises/categories.json")
    return Knowledge(
        words,
        dict(forms),
        dict(manners),
        dict(reactions),
        categories,
        dict(quiz),
        read_rows(train_data / "exercises/facts.jsonl", FactLine),
        read_rows(train_data / "exercises/glossary.jsonl", Gloss),
    )


def _read_categories(path: Path) -> dict[str, Category]:
    try:
        return TypeAdapter(dict[str, Category]).validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}; it names the categories of the lexicon") from error
    except ValidationError as error:
        raise DataError(f"'{path}': {first_fault(error)}") from error

"""How a child's answer compares with the question, in three marks that the shipped model reads.

Whether "crayon" repeats "Say 'crayon'.", whether "s u n" spells *sun*, whether *monkey* is in the wordbook under "con
khỉ", whether a spider has *eight* legs: code sees it in microseconds, while a small decoder needs far more turns than
there are to learn to compare at all (docs/log.md). The marks are hints and decide nothing: a response that gives a
verdict, another meaning, a word that the book does not have, all that is the model's to weigh.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, NamedTuple

from emotion_svc.decoding.facts import INNER_APOSTROPHE, Fact, Facts, Judgement, words_of
from emotion_svc.errors import ModelError

WORDBOOK_FILE: Final = "wordbook.json"

Echo = Literal["repeated", "spelled", "misspelled", "part", "within", "new", "silent"]
Meaning = Literal["means", "translated", "form", "sounds", "another", "unknown"]
ECHOES: Final[tuple[Echo, ...]] = ("repeated", "spelled", "misspelled", "part", "within", "new", "silent")
MEANINGS: Final[tuple[Meaning, ...]] = ("means", "translated", "form", "sounds", "another", "unknown")

_LONGEST: Final = 4
"""Words of the longest phrase that is looked up."""

_QUOTED: Final = re.compile("['‘’\"“”«»]([^'‘’\"“”«»]{1,120})['‘’\"“”«»]")


class Entry(NamedTuple):
    """A word of the wordbook. `said`: spellings that sound right; `forms`: opposite, plural, past."""

    en: str
    vi: tuple[str, ...]
    said: tuple[str, ...]
    forms: tuple[str, ...]


class Comparison(NamedTuple):
    """`echo` compares the words themselves, `meaning` looks them up, `judgement` asks the facts."""

    echo: Echo
    meaning: Meaning
    judgement: Judgement


class Wordbook:
    """English words that children learn, with their meanings, and what else they are asked; may be empty.

    Args:
        entries: the words.
        facts: questions with right answers.
        groups: what can be asked to be named, with what belongs to it.
    """

    def __init__(self, entries: Iterable[Entry] = (), facts: Iterable[Fact] = (), groups: Iterable[Fact] = ()) -> None:
        self.entries, self.facts, self.groups = tuple(entries), tuple(facts), tuple(groups)

    @classmethod
    def load(cls, directory: Path) -> "Wordbook":
        """The wordbook of a model directory; an empty one where there is none.

        Raises:
            ModelError: the file is no wordbook.
        """
        path = directory / WORDBOOK_FILE
        if not path.exists():
            return cls()
        try:
            book = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                (Entry(en, tuple(vi), tuple(said), tuple(forms)) for en, vi, said, forms in book["words"]),
                *([Fact(tuple(asked), tuple(right)) for asked, right in book[kind]] for kind in ("facts", "groups")),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(
                f"'{path}' is no wordbook: expected lists of words, facts and groups; take all files from one training "
                "run (python -m emotion_svc.train)"
            ) from error

    def save(self, directory: Path) -> None:
        """Writes the wordbook to a model directory."""
        lists = [
            f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]"
            for name, rows in (("words", self.entries), ("facts", self.facts), ("groups", self.groups))
        ]
        (directory / WORDBOOK_FILE).write_text("{" + ",\n".join(lists) + "}\n", encoding="utf-8")

    def compare(self, question: str, answer: str) -> Comparison:
        """How the answer compares with the question. Both are normalized (`text.normalize`); case does not matter."""
        asked, said = words_of(question), words_of(answer)
        asked_phrases, said_phrases = _phrases(asked), _phrases(said)
        english, by_ear = _found(self._english, said_phrases), _found(self._by_ear, said_phrases)
        echo = _echo(question, asked, said)
        meaning = self._meaning(asked_phrases, said_phrases, english, by_ear)
        heard = {self.entries[number].en for number in by_ear}
        judgement = self._facts.judge(question.lower(), asked, said_phrases | heard)
        if judgement == "wrong":
            is_something_else = echo in ("repeated", "spelled") or meaning not in ("another", "unknown")
            # Words that nobody knows may be a right one as it was heard.
            if is_something_else or not (english or by_ear):
                judgement = "open"
        return Comparison(echo, meaning, judgement)

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.facts, self.groups)

    @cached_property
    def _english(self) -> Mapping[str, tuple[int, ...]]:
        return _places((entry.en, number) for number, entry in enumerate(self.entries))

    @cached_property
    def _by_ear(self) -> Mapping[str, tuple[int, ...]]:
        return _places((text, number) for number, entry in enumerate(self.entries) for text in entry.said)

    @cached_property
    def _vietnamese(self) -> Mapping[str, tuple[int, ...]]:
        return _places((text, number) for number, entry in enumerate(self.entries) for text in entry.vi)

    @cached_property
    def _derived(self) -> Mapping[str, tuple[int, ...]]:
        return _places((text, number) for number, entry in enumerate(self.entries) for text in entry.forms)

    def _meaning(
        self, asked_phrases: Set[str], said_phrases: Set[str], said_english: Set[int], by_ear: Set[int]
    ) -> Meaning:
        if not self.entries or not said_phrases:
            return "unknown"
        asked_english = _found(self._english, asked_phrases)
        if _found(self._vietnamese, asked_phrases) & (said_english | by_ear):
            return "means"
        if asked_english & _found(self._vietnamese, said_phrases):
            return "translated"
        if asked_english & _found(self._derived, said_phrases):
            return "form"
        if asked_english & by_ear:
            return "sounds"
        return "another" if said_english - asked_english else "unknown"


def _echo(question: str, asked: Sequence[str], said: Sequence[str]) -> Echo:
    if not said:
        return "silent"
    smooth = INNER_APOSTROPHE.sub("", question)
    named = [words_of(text) for text in _QUOTED.findall(smooth)]
    if ":" in smooth:
        named.append(words_of(smooth.rsplit(":", 1)[1]))
    named = [words for words in named if words]
    whole = f" {' '.join(said)} "
    if any(f" {' '.join(words)} " in whole for words in named):
        return "repeated"
    if letters := _letters(said):
        return "spelled" if letters in {"".join(words) for words in named} | set(asked) else "misspelled"
    if set(said) <= set(asked):
        return "within"
    return "part" if any(set(words) & set(said) for words in named) else "new"


def _letters(words: Sequence[str]) -> str:
    """The longest run of single letters, put together; empty where there are not two in a row."""
    runs = [""]
    for word in words:
        runs[-1:] = [runs[-1] + word] if len(word) == 1 else [runs[-1], ""]
    longest = max(runs, key=len)
    return longest if len(longest) > 1 else ""


def _phrases(words: Sequence[str]) -> set[str]:
    return {
        " ".join(words[start : start + length])
        for length in range(1, _LONGEST + 1)
        for start in range(len(words) - length + 1)
    }


def _places(pairs: Iterable[tuple[str, int]]) -> Mapping[str, tuple[int, ...]]:
    places: defaultdict[str, set[int]] = defaultdict(set)
    for text, number in pairs:
        places[" ".join(words_of(text))].add(number)
    return {phrase: tuple(numbers) for phrase, numbers in places.items()}


def _found(places: Mapping[str, tuple[int, ...]], phrases: Iterable[str]) -> set[int]:
    return {number for phrase in phrases if phrase in places for number in places[phrase]}

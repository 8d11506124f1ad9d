"""How a child's answer compares with the question, in three marks that the shipped model reads.

Whether "crayon" repeats "Say 'crayon'.", whether "s u n" spells *sun*, whether *monkey* is in the wordbook under "con
khỉ", whether a spider has *eight* legs: code sees it in microseconds, while a small decoder needs far more turns than
there are to learn to compare at all (docs/log.md). The marks are hints and decide nothing: a response that gives a
verdict, another meaning, a word that the book does not have, all that is the model's to weigh.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, NamedTuple

from emotion_svc.decoding.facts import INNER_APOSTROPHE, Fact, Facts, Judgement, words_of
from emotion_svc.decoding.sound import SoundTable, english_sounds, vietnamese_sounds
from emotion_svc.errors import ModelError

WORDBOOK_FILE: Final = "wordbook.json"

Echo = Literal["repeated", "spelled", "misspelled", "part", "within", "new", "silent"]
Meaning = Literal["means", "translated", "form", "sounds", "nearly", "unlike", "another", "unknown"]
ECHOES: Final[tuple[Echo, ...]] = ("repeated", "spelled", "misspelled", "part", "within", "new", "silent")
MEANINGS: Final[tuple[Meaning, ...]] = (
    "means", "translated", "form", "sounds", "nearly", "unlike", "another", "unknown",
)  # fmt: skip

_LONGEST: Final = 4
"""Words of the longest phrase that is looked up."""

_CLOSE, _NEAR = 1.6, 0.8
"""Nearness (`sound.SoundTable.nearness`) from which an answer sounds like the words, and like something near them: of
the training turns that ask to say a word, 90 % are right from the first on, 60 % from the second, 10 % under it."""

_TELLING: Final = 4
"""Sounds from which on words are listened for anywhere in an answer. Fewer are heard by chance in what a child says
about something else: quoted ones are listened for in short answers only, others not at all."""

_SHORT: Final = 3
"""How many words more than the quoted ones a short answer has."""

_MOST_NAMED: Final = 8
"""Texts of a question that are compared; with more it is no question."""

_MOST_WORDS: Final = 60
"""Words of an answer that are listened to."""

_ASKS_OTHERWISE: Final = re.compile(
    r"_|\.\.\.|…|\b(?:or|hay|hoặc|opposite|trái nghĩa|ngược|plural|số nhiều|past|quá khứ|spell|đánh vần|means?|nghĩa"
    r"|là (?:gì|chi)|la gi|translate|dịch)\b",
    re.IGNORECASE,
)
"""Where quoted English is not to be said: a gap, a choice, another form of a word, its letters, its meaning."""

_ENGLISH: Final = re.compile(r"\b(?:english|tiếng anh)\b", re.IGNORECASE)

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
        sounds: how English sounds are written by Vietnamese ears.
    """

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        facts: Iterable[Fact] = (),
        groups: Iterable[Fact] = (),
        sounds: SoundTable | None = None,
    ) -> None:
        self.entries, self.facts, self.groups, self.sounds = tuple(entries), tuple(facts), tuple(groups), sounds

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
                [Entry(en, tuple(vi), tuple(said), tuple(forms)) for en, vi, said, forms in book["words"]],
                [Fact(tuple(asked), tuple(right)) for asked, right in book["facts"]],
                [Fact(tuple(asked), tuple(right)) for asked, right in book["groups"]],
                SoundTable(**book["sounds"]) if book["sounds"] else None,
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(
                f"'{path}' is no wordbook: expected words, facts, groups and sounds; take all files from one training "
                "run (python -m emotion_svc.train)"
            ) from error

    def save(self, directory: Path) -> None:
        """Writes the wordbook to a model directory."""
        lists = [
            f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]"
            for name, rows in (("words", self.entries), ("facts", self.facts), ("groups", self.groups))
        ]
        sounds = json.dumps(self.sounds and self.sounds._asdict(), ensure_ascii=False)
        text = "{" + ",\n".join([*lists, f'"sounds": {sounds}']) + "}\n"
        (directory / WORDBOOK_FILE).write_text(text, encoding="utf-8")

    def compare(self, question: str, answer: str) -> Comparison:
        """How the answer compares with the question. Both are normalized (`text.normalize`); case does not matter."""
        asked, said, named = words_of(question), words_of(answer), _named(question)
        asked_phrases, said_phrases = _phrases(asked), _phrases(said)
        english, by_ear = _found(self._english, said_phrases), _found(self._by_ear, said_phrases)
        right = self._facts.right(question.lower(), asked)
        echo = _echo(named, asked, said)
        meaning = self._meaning(asked_phrases, said_phrases, english, by_ear, named)
        is_new = echo in ("new", "part")
        ear = _Ear(self.sounds, said) if is_new and self.sounds else None
        if ear and not right and meaning in ("sounds", "another", "unknown"):
            meaning = self._listened(meaning, ear, question, asked_phrases, named, by_ear)
        heard = {self.entries[number].en for number in by_ear}
        judgement = self._facts.judge(question.lower(), asked, said_phrases | heard, right)
        if judgement == "wrong" and ear and not english:
            judgement = ear.judge([text.split() for text in right], named)
        # Part of the question is said again, or what else it asks for. Or nobody knows the words.
        is_open = not is_new or meaning in ("means", "translated", "form", "sounds") or not (english or by_ear)
        if judgement == "wrong" and is_open:
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
        self,
        asked_phrases: Set[str],
        said_phrases: Set[str],
        said_english: Set[int],
        by_ear: Set[int],
        named: Iterable[Sequence[str]],
    ) -> Meaning:
        if not self.entries or not said_phrases:
            return "unknown"
        asked_english = _found(self._english, asked_phrases)
        if _found(self._vietnamese, asked_phrases) & (said_english | by_ear):
            return "means"
        # "Say 'cat'." | "con nói két": not *say* is to be translated.
        named_english = _found(self._english, {phrase for words in named for phrase in _phrases(words)})
        if (named_english or asked_english) & _found(self._vietnamese, said_phrases):
            return "translated"
        if asked_english & _found(self._derived, said_phrases):
            return "form"
        if asked_english & by_ear:
            return "sounds"
        return "another" if said_english - asked_english else "unknown"

    def _listened(
        self,
        meaning: Meaning,
        ear: "_Ear",
        question: str,
        asked_phrases: Set[str],
        named: Iterable[Sequence[str]],
        by_ear: Set[int],
    ) -> Meaning:
        """The meaning with the sound of the answer. Any one of the English texts that are quoted is to be heard whole.

        Where none is quoted, the English of what is quoted in Vietnamese, or of what stands in a question for English.
        """
        texts = {" ".join(words): words for words in named}
        english = [words for text, words in texts.items() if self._is_english(text)]
        if not english:
            vietnamese = set(texts) or (asked_phrases if _ENGLISH.search(question) else set())
            meant = sorted(_found(self._vietnamese, vietnamese))[:_MOST_NAMED]
            nearness = ear.nearness(words_of(self.entries[number].en) for number in meant)
            return "means" if nearness >= _CLOSE else meaning
        if _ASKS_OTHERWISE.search(question):
            return meaning
        if ear.text in self._english:
            return "another"
        nearness = ear.nearness(english, are_quoted=True)
        listed = {" ".join(words_of(self.entries[number].en)) for number in by_ear}
        if nearness >= _CLOSE or not listed.isdisjoint(texts):
            return "sounds"
        if meaning == "another":
            return "another"
        return "nearly" if nearness >= _NEAR else "unlike"

    def _is_english(self, text: str) -> bool:
        return text.isascii() and (text in self._english or text not in self._vietnamese)


class _Ear:
    """Listens for English words in an answer."""

    def __init__(self, sounds: SoundTable, said: Sequence[str]) -> None:
        self._table, self._said = sounds, said

    @property
    def text(self) -> str:
        """The answer."""
        return " ".join(self._said)

    @cached_property
    def _heard(self) -> list[str]:
        return vietnamese_sounds(self._said[:_MOST_WORDS])

    def nearness(self, texts: Iterable[Sequence[str]], *, are_quoted: bool = False) -> float:
        """How near the answer comes to the nearest of these texts that can be told from chance; else minus infinity."""
        found = -math.inf
        for words in texts:
            sounds = english_sounds(words)
            if len(sounds) >= _TELLING or (are_quoted and len(self._said) <= len(words) + _SHORT):
                found = max(found, self._table.nearness(sounds, self._heard))
        return found

    def judge(self, right: Iterable[Sequence[str]], named: Iterable[Sequence[str]]) -> Judgement:
        """Whether a right text is heard, and more of it than of what the question names ("plural of 'box'")."""
        nearness = self.nearness(right)
        if nearness >= _CLOSE and nearness > self.nearness(named, are_quoted=True):
            return "right"
        return "wrong" if -math.inf < nearness < _NEAR else "open"


def _named(question: str) -> list[list[str]]:
    """The words of what a question quotes, and of what stands behind its last colon; of too many, the last ones."""
    smooth = INNER_APOSTROPHE.sub("", question)
    texts = _QUOTED.findall(smooth) + ([smooth.rsplit(":", 1)[1]] if ":" in smooth else [])
    return [words for words in map(words_of, dict.fromkeys(texts[-_MOST_NAMED:])) if words]


def _echo(named: Sequence[Sequence[str]], asked: Sequence[str], said: Sequence[str]) -> Echo:
    if not said:
        return "silent"
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
    """All runs of up to four words."""
    phrases = set(words)
    for length in range(2, _LONGEST + 1):
        phrases.update(map(" ".join, zip(*(words[start:] for start in range(length)), strict=False)))
    return phrases


def _places(pairs: Iterable[tuple[str, int]]) -> Mapping[str, tuple[int, ...]]:
    """The numbers under the words of each text. There are thousands: strings are shared, and nothing is put in sets."""
    places: dict[str, tuple[int, ...]] = {}
    for text, number in pairs:
        phrase = " ".join(words_of(text))
        known = places.get(phrase, ())
        if number not in known:
            places[text if text == phrase else phrase] = (*known, number)
    return places


def _found(places: Mapping[str, tuple[int, ...]], phrases: Set[str]) -> set[int]:
    return {number for phrase in places.keys() & phrases for number in places[phrase]}

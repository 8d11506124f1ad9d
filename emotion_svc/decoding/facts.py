"""What is right to answer, where a question asks for something that is written down: facts, members of groups, sums.

A question asks for a fact if it holds all words of one of the fact's sets: "How many legs does a spider have?" and "Con
nhện có mấy chân?" both ask for the fact with the sets *leg spider* and *chân nhện*.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Literal, NamedTuple

Judgement = Literal["right", "wrong", "member", "open"]
JUDGEMENTS: Final[tuple[Judgement, ...]] = ("right", "wrong", "member", "open")

_UNITS: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
NUMBERS: Final = (
    *_UNITS,
    *(f"{ten} {unit}" if unit != "zero" else ten for ten in _TENS for unit in _UNITS[:10]),
    "one hundred",
)
"""The English numbers from 0 to 100."""

_VALUES: Final = {text: value for value, text in enumerate(NUMBERS)} | {str(value): value for value in range(101)}
_LESS: Final = ("-", "−", "–", "minus", "take away", "trừ")
_TIMES: Final = ("x", "×", "*", "times", "nhân")
_MORE: Final = ("+", "plus", "add", "and", "cộng", "với")
_SUM: Final = re.compile(
    rf"(\d{{1,2}}|[a-z]+) *({'|'.join(map(re.escape, (*_LESS, *_TIMES, *_MORE)))}) *(\d{{1,2}}|[a-z]+)"
)
_LETTER: Final = re.compile(r"(?:start|begin|bắt đầu|chữ)[^.?!]{0,25}?\b([a-z])\b")
"""Where a word is to begin with a letter."""


class Fact(NamedTuple):
    """`asked`: sets of words, each as one text; `right`: what to answer."""

    asked: tuple[str, ...]
    right: tuple[str, ...]


class _Known(NamedTuple):
    """One set of a fact, in stems. Tuples: there are thousands, and the sets of Python are ten times as large."""

    words: tuple[str, ...]
    right: tuple[str, ...]


class Facts:
    """Facts to look up.

    Args:
        facts: of which an answer is right or wrong.
        groups: of which an answer can only be a member ("name an animal"); there may be more members than are known.
    """

    def __init__(self, facts: Iterable[Fact], groups: Iterable[Fact] = ()) -> None:
        self._facts, self._groups = _by_rarest(facts), _by_rarest(groups)

    def judge(self, question: str, asked: Sequence[str], said: AbstractSet[str]) -> Judgement:
        """Whether an answer is right.

        Args:
            question: as it was asked, in lower case.
            asked: its words.
            said: all phrases of the answer; empty for silence.
        """
        if not said:
            return "open"
        words = {stem(word) for word in asked}
        stems = {_stems(phrase) for phrase in said}
        known = _found(self._facts, words)
        if (total := _sum(question)) is not None:
            known = [_Known((), (total,))]
        if known:
            pinned = max(len(fact.words) for fact in known)  # what is asked more exactly is meant
            known = [fact for fact in known if len(fact.words) == pinned]
            return "right" if any(text in stems for fact in known for text in fact.right) else "wrong"
        letter = _LETTER.search(question)
        members = (text for group in _found(self._groups, words) for text in group.right if text in stems)
        return "member" if any(letter is None or text.startswith(letter[1]) for text in members) else "open"


def stem(word: str) -> str:
    """A word without the `s` of a plural or a verb; digits as words."""
    if word in _VALUES:
        return NUMBERS[_VALUES[word]] if word.isdigit() else word
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _stems(phrase: str) -> str:
    return " ".join(map(stem, phrase.split()))


def _by_rarest(facts: Iterable[Fact]) -> Mapping[str, Sequence[_Known]]:
    """The facts under the word of each set that the fewest sets hold: few are looked at for a question."""
    known: list[_Known] = []
    for fact in facts:
        right = tuple(sys.intern(_stems(text)) for text in fact.right)
        known += [_Known(tuple({sys.intern(stem(word)) for word in asked.split()}), right) for asked in fact.asked]
    holders = Counter(word for one in known for word in one.words)
    places: defaultdict[str, list[_Known]] = defaultdict(list)
    for one in known:
        places[min(one.words, key=lambda word: (holders[word], word))].append(one)
    return places


def _found(places: Mapping[str, Sequence[_Known]], words: set[str]) -> list[_Known]:
    return [fact for word in words for fact in places.get(word, ()) if words.issuperset(fact.words)]


def _sum(question: str) -> str | None:
    """What the sum in a question makes, in words; None where there is none, or it makes no number from 0 to 100."""
    for match in _SUM.finditer(question):
        first, sign, second = _VALUES.get(match[1]), match[2], _VALUES.get(match[3])
        if first is not None and second is not None:
            total = first * second if sign in _TIMES else first - second if sign in _LESS else first + second
            return NUMBERS[total] if 0 <= total <= 100 else None
    return None

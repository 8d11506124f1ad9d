"""What is right to answer, where a question asks for something that is written down: facts, members of groups, sums.

A question asks for a fact if it holds all words of one of the fact's sets: "How many legs does a spider have?" and "Con
nhện có mấy chân?" both ask for the fact with the sets *leg spider* and *chân nhện*. Where several are asked for, those
with the most words are meant; a sum is meant before all of them.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Literal, NamedTuple

Judgement = Literal["right", "wrong", "member", "open"]
JUDGEMENTS: Final[tuple[Judgement, ...]] = ("right", "wrong", "member", "open")

INNER_APOSTROPHE: Final = re.compile(r"(?<=\w)['’](?=\w)")
_WORD: Final = re.compile(r"[^\W_]+")

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
_LESS: Final = ("minus", "take away", "trừ")
_TIMES: Final = ("times", "nhân")
_MORE: Final = ("plus", "add", "cộng")
_SYMBOLS: Final = {"+": "plus", "-": "minus", "−": "minus", "–": "minus", "×": "times", "x": "times", "*": "times"}
_SIGNS: Final = (*_LESS, *_TIMES, *_MORE, *_SYMBOLS.keys() - {"x"}, " x ")
_NUMBER: Final = "|".join([*(text.replace(" ", "[ -]") for text in sorted(NUMBERS, key=len, reverse=True)), r"\d{1,3}"])
_SIGN: Final = "|".join([*(rf"\s+{word}\s+" for word in (*_LESS, *_TIMES, *_MORE)), r"\s*[+×*]\s*", r"\s+[-−–x]\s+"])
_SUM: Final = re.compile(rf"(?<!\w)({_NUMBER})({_SIGN})({_NUMBER})(?!\w)((?:{_SIGN})(?:{_NUMBER}))?")
_LETTER: Final = re.compile(
    r"(?:letter|chữ(?: cái)?)\W{1,3}([a-z])(?!\w)"
    r"|(?:start|begin|bắt đầu)[^.?!]{0,25}?(?<![\w'’])([b-z])(?!\w)"  # "a" is an article
)
"""Where a word is to begin with a letter."""


class Fact(NamedTuple):
    """`asked`: sets of words, each as one text; `right`: what to answer, in at most four words."""

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

    def right(self, question: str, asked: Sequence[str]) -> tuple[str, ...]:
        """What is right to answer, in stems; empty where nobody knows.

        Args:
            question: as it was asked, in lower case.
            asked: its words (`words_of`).
        """
        if (total := _sum(question)) is not None:
            return (total,)
        known = _asked_for(self._facts, {stem(word) for word in asked})
        exact = max((len(fact.words) for fact in known), default=0)
        return tuple(text for fact in known if len(fact.words) == exact for text in fact.right)

    def judge(self, question: str, asked: Sequence[str], said: AbstractSet[str], right: Sequence[str]) -> Judgement:
        """Whether an answer is right.

        Args:
            question: as it was asked, in lower case.
            asked: its words (`words_of`).
            said: all phrases of the answer; empty for silence.
            right: what is right to answer (`right`).
        """
        if not said:
            return "open"
        groups = [] if right else _asked_for(self._groups, {stem(word) for word in asked})
        if not right and not groups:
            return "open"
        stems = {_stems(phrase) for phrase in said}
        if right:
            return "wrong" if stems.isdisjoint(right) else "right"
        letter = _LETTER.search(question)
        begins = "" if letter is None else letter[1] or letter[2]
        members = (text for group in groups for text in group.right if text in stems)
        return "member" if any(text.startswith(begins) for text in members) else "open"


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; an apostrophe inside a word is dropped, a hyphen parts two."""
    text = text.lower()
    if text.replace(" ", "").isalnum():  # most texts of the wordbook, and most answers: four times as fast
        return text.split()
    return _WORD.findall(INNER_APOSTROPHE.sub("", text))


def stem(word: str) -> str:
    """A word without the `s` of a plural or a verb; digits as words."""
    if word in _VALUES:
        return NUMBERS[_VALUES[word]]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _stems(phrase: str) -> str:
    return " ".join(map(stem, phrase.split()))


def _by_rarest(facts: Iterable[Fact]) -> Mapping[str, Sequence[_Known]]:
    """The facts under the word of each set that the fewest sets hold: few are looked at for a question."""
    known: list[_Known] = []
    for fact in facts:
        right = tuple(sys.intern(_stems(" ".join(words_of(text)))) for text in fact.right)
        sets = ({sys.intern(stem(word)) for word in words_of(asked)} for asked in fact.asked)
        known += [_Known(tuple(words), right) for words in sets if words]
    holders = Counter(word for one in known for word in one.words)
    places: defaultdict[str, list[_Known]] = defaultdict(list)
    for one in known:
        places[min(one.words, key=lambda word: (holders[word], word))].append(one)
    return places


def _asked_for(places: Mapping[str, Sequence[_Known]], words: set[str]) -> list[_Known]:
    return [one for word in words for one in places.get(word, ()) if words.issuperset(one.words)]


def _sum(question: str) -> str | None:
    """What the sum of two numbers in a question makes, in words; None where none stands there from 0 to 100."""
    if not any(map(question.__contains__, _SIGNS)):  # most questions: a tenth of the pattern's time
        return None
    match = _SUM.search(question)
    if match is None or match[4]:
        return None
    first, second = (_VALUES.get(match[place].replace("-", " ")) for place in (1, 3))
    if first is None or second is None:
        return None
    sign = _SYMBOLS.get(match[2].strip(), match[2].strip())
    total = first * second if sign in _TIMES else first - second if sign in _LESS else first + second
    return NUMBERS[total] if 0 <= total <= 100 else None

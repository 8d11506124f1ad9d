"""What Pika asks in a generated exercise, and what would be right and wrong answers to it.

The kinds are those of docs/annotation.md §2. Most draw on the lexicon; `echo` and part of `spell` take any words,
invented ones too, so that what is learnt is to compare and not to know by heart.
"""

import random
import re
from collections import defaultdict
from typing import Final, NamedTuple

from emotion_svc.train.lexicon import Knowledge, Quiz, Word

_KINDS: Final = {
    "to_en": 22, "to_vi": 9, "say": 14, "echo": 12, "say_sentence": 6, "sentence_to_en": 3, "sentence_to_vi": 3,
    "spell": 8, "opposite": 5, "plural": 5, "past": 4, "complete": 6, "clue": 13, "which_vi": 3, "name_one": 6,
    "name_two": 3, "name_letter": 2, "count": 4, "after_number": 2, "sum_en": 4, "fact_en": 18, "practice": 3,
}  # fmt: skip

_NUMBERS: Final[list[str]] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip
NUMBERS_VI: Final[list[str]] = [
    "không", "một", "hai", "ba", "bốn", "năm", "sáu", "bảy", "tám", "chín", "mười", "mười một", "mười hai",
    "mười ba", "mười bốn", "mười lăm", "mười sáu", "mười bảy", "mười tám", "mười chín", "hai mươi",
]  # fmt: skip

_ONSETS: Final = ["b", "bl", "ch", "d", "dr", "f", "fl", "g", "gr", "j", "k", "l", "m", "n", "p", "pl", "r", "s", "sh",
                  "sp", "st", "t", "tr", "v", "w", "z"]  # fmt: skip
_RIMES: Final = ["ab", "ack", "ail", "an", "ap", "ee", "eek", "ell", "en", "ick", "im", "ing", "ip", "oat", "ob", "ock",
                 "og", "oo", "oon", "op", "ow", "ub", "uff", "um", "ut"]  # fmt: skip

_VOWELS: Final = frozenset("aàáăâầấeéêềếiìíoòóôồốơờớuùúưừứy")


class Asked(NamedTuple):
    """A question with what would be right and wrong. `word`, `vi`: what a reaction may name."""

    question: str
    right: list[str]
    wrong: list[str]
    word: str
    vi: str


class Asker:
    """Makes questions from the knowledge below `train_data/`. All randomness comes from the caller's generator."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._by_en = {word.en.lower(): word for word in knowledge.words}
        self._by_vi: defaultdict[str, list[Word]] = defaultdict(list)
        for word in knowledge.words:
            for meaning in word.vi:
                self._by_vi[meaning].append(word)
        self._by_category: defaultdict[str, list[Word]] = defaultdict(list)
        for word in knowledge.words:
            self._by_category[word.category].append(word)
        self._having = {
            "opposite": [w for w in knowledge.words if w.opposite],
            "plural": [w for w in knowledge.words if w.plural and w.plural != w.en],
            "past": [w for w in knowledge.words if w.past],
            "clue": [w for w in knowledge.words if w.clue],
            "complete": [w for w in knowledge.words if self._gap(w)],
            "spell": [w for w in knowledge.words if w.en.isalpha() and w.misspelt],
        }

    def ask(self, rng: random.Random) -> Asked:
        """One English exercise, of a kind drawn by how often it is met."""
        return self._ask(rng.choices([*_KINDS], [*_KINDS.values()])[0], rng)

    def _ask(self, kind: str, rng: random.Random) -> Asked:
        if kind in ("fact_en", "practice"):
            return self._ask_quiz(rng.choice(self.knowledge.quiz[kind]))
        if kind == "echo":
            return self._ask_echo(rng)
        if kind in ("name_one", "name_two"):
            return self._ask_category(kind, rng)
        if kind == "name_letter":
            return self._ask_letter(rng)
        if kind in ("count", "after_number", "sum_en"):
            return self._ask_number(kind, rng)
        word = rng.choice(self._having.get(kind) or self.knowledge.words)
        vi, form = rng.choice(word.vi), rng.choice(self.knowledge.forms[kind])
        en = word.en
        right = self._english(word)
        wrong = self._wrong_english(word, rng)
        values: dict[str, str] = {
            "en": en,
            "EN": en.upper(),
            "vi": vi,
            "sentence_en": word.sentence[0],
            "sentence_vi": word.sentence[1],
        }
        match kind:
            case "to_vi":
                others = [w for w in map(self._by_en.get, word.confused) if w] or [rng.choice(self.knowledge.words)]
                wrong = [rng.choice(o.vi) for o in others if not set(o.vi) & set(word.vi)]
                wrong += [en, self._sibling(word, rng).vi[0]]
                right = [*word.vi]
            case "say_sentence" | "sentence_to_en":
                right, wrong = [_plain(word.sentence[0])], self._wrong_sentence(word, 0, rng)
                right += [self._heard(right[0], rng)]
                wrong += [self._heard(text, rng) for text in (wrong[0], wrong[-1])]
            case "sentence_to_vi":
                right, wrong = [_plain(word.sentence[1])], self._wrong_sentence(word, 1, rng)
            case "spell":
                right = [sep.join(en) for sep in (" ", " ", "-", ", ")]
                bad = (*word.misspelt, _missing(en, rng), _exchanged(en, rng), en[: len(en) // 2])
                wrong = [" ".join(letters) for letters in bad if letters != en]
            case "opposite":
                right = self._english(self._by_en.get((word.opposite or "").lower())) or [word.opposite or ""]
                wrong = [en, *word.confused, self._sibling(word, rng).en]
            case "plural":
                right = [word.plural or ""]
                wrong = [en, *sorted({en + "s", en + "es", en + "ies"} - {word.plural}), self._sibling(word, rng).en]
            case "past":
                right = [word.past or ""]
                wrong = [en, *sorted({en + "ed", en + "s", en + "ing"} - {word.past})]
                wrong += [v.past for v in [rng.choice(self._having["past"])] if v.past and v.past != word.past]
            case "complete":
                values["gapped"] = self._gap(word) or ""
            case "clue":
                values["clue"] = word.clue or ""
            case "which_vi":
                other = self._confused_entry(word, rng)
                pair = [word.en, other.en]
                rng.shuffle(pair)
                values |= {"en_a": pair[0], "en_b": pair[1]}
                wrong = [other.en, other.en, *word.vi]
        right = [r for r in right if r]
        wrong = [w for w in wrong if w and w.lower() not in {r.lower() for r in right}] or [self._sibling(word, rng).en]
        return Asked(fill(form, **values), right, wrong, right[0] if kind in ("opposite", "plural", "past") else en, vi)

    @staticmethod
    def _ask_quiz(quiz: Quiz) -> Asked:
        return Asked(quiz.question, [*quiz.right], [*quiz.wrong], quiz.right[0], quiz.right[0])

    def _ask_echo(self, rng: random.Random) -> Asked:
        """Any words to say again: right is what says the same."""
        kind = rng.choice(["say", "say", "spell", "say_sentence"])
        if kind == "say_sentence":
            words, others = (_plain(rng.choice(self.knowledge.words).sentence[0]).split() for _ in range(2))
            start = rng.randrange(max(1, len(words) - 2))
            words = words[start : start + rng.randrange(2, 6)]
        else:
            words, others = [self._any_word(rng)], [self._any_word(rng)]
        text, other = " ".join(words), " ".join(others[: len(words)])
        form = fill(rng.choice(self.knowledge.forms[kind]), en=text, EN=text.upper(), sentence_en=text)
        if kind == "spell":
            bad = [_missing(text, rng), _exchanged(text, rng), other]
            wrong = [" ".join(letters) for letters in bad if letters != text] + [text]
            return Asked(form, [sep.join(text) for sep in (" ", "-")], wrong, text, text)
        place = rng.randrange(len(words))
        changed = " ".join([*words[:place], rng.choice(others), *words[place + 1 :]])
        wrong = [w for w in (changed, other, " ".join(words[:-1])) if w and w != text] or [self._any_word(rng) + "s"]
        return Asked(form, [text], wrong, text, text)

    def _any_word(self, rng: random.Random) -> str:
        if rng.random() < 0.4:
            return "".join(rng.choice(_ONSETS) + rng.choice(_RIMES) for _ in range(rng.choice([1, 2, 2])))
        sentence = _plain(rng.choice(self.knowledge.words).sentence[0])
        return rng.choice([word for word in sentence.split() if word.isalpha() and len(word) > 2] or ["yes"])

    def _ask_letter(self, rng: random.Random) -> Asked:
        """Something of a category that begins with a letter."""
        category = rng.choice([c for c in self.knowledge.categories if len(self._by_category[c]) >= 12])
        said, words = self.knowledge.categories[category], self._by_category[category]
        letter = rng.choice(words).en[0].lower()
        inside = [w.en for w in words if w.en[0].lower() == letter]
        outside = [w.en for w in rng.sample(words, 8) if w.en[0].lower() != letter][:3]
        form = rng.choice(self.knowledge.forms["name_letter"])
        question = fill(form, category_vi=rng.choice(said.vi), category_en=rng.choice(said.en), letter=letter.upper())
        return Asked(question, inside, [*outside, rng.choice(words).vi[0]], inside[0], words[0].vi[0])

    def _ask_category(self, kind: str, rng: random.Random) -> Asked:
        form = rng.choice(self.knowledge.forms[kind])
        names = [c for c in self.knowledge.categories if len(self._by_category[c]) >= 6]
        category = rng.choice(names)
        said = self.knowledge.categories[category]
        inside = rng.sample(self._by_category[category], 3)
        outside = [w for w in rng.sample(self.knowledge.words, 6) if w.category != category][:2]
        question = fill(form, category_vi=rng.choice(said.vi), category_en=rng.choice(said.en))
        if kind == "name_one":
            right = [rng.choice(self._english(w)) for w in inside]
            wrong = [*(w.en for w in outside), inside[0].vi[0]]
        else:
            right = [
                f"{inside[0].en} {inside[1].en}",
                f"{inside[1].en} and {inside[2].en}",
                inside[0].en + " và " + inside[2].en,
            ]
            wrong = [inside[0].en, f"{inside[0].en} {outside[0].en}" if outside else inside[1].en, inside[0].vi[0]]
        return Asked(question, right, wrong, inside[0].en, inside[0].vi[0])

    def _ask_number(self, kind: str, rng: random.Random) -> Asked:
        form = rng.choice(self.knowledge.forms[kind])
        if kind == "count":
            end = rng.randrange(3, 11)
            row = _NUMBERS[1 : end + 1]
            skip = rng.randrange(len(row) - 1)
            swapped = row.copy()
            swapped[skip], swapped[skip + 1] = swapped[skip + 1], swapped[skip]
            bad = [row[:skip] + row[skip + 1 :], row[: max(1, end // 2)], swapped, NUMBERS_VI[1 : end + 1]]
            question = fill(form, number_en=_NUMBERS[end], number_vi=NUMBERS_VI[end])
            said = [" ".join(words) for words in bad]
            return Asked(question, [" ".join(row)], said, _NUMBERS[end], NUMBERS_VI[end])
        if kind == "after_number":
            a = rng.randrange(0, 20)
            result, values = a + 1, {"number_en": _NUMBERS[a]}
        else:
            a, b = rng.randrange(1, 11), rng.randrange(1, 10)
            result, values = a + b, {"a_en": _NUMBERS[a], "b_en": _NUMBERS[b]}
        near = [n for n in (result - 2, result - 1, result + 1, result + 10) if 0 <= n <= 20]
        word = self._by_en.get(_NUMBERS[result])
        wrong = [*(_NUMBERS[n] for n in near), NUMBERS_VI[result]]
        return Asked(
            fill(form, **values), self._english(word) or [_NUMBERS[result]], wrong, _NUMBERS[result], NUMBERS_VI[result]
        )

    # -- right and wrong ----------------------------------------------------------------------------------

    def _english(self, word: Word | None) -> list[str]:
        """Right ways to say the word: as it is (most often), or as a Vietnamese ear hears it."""
        return [] if word is None else [word.en] * (2 * len(word.ear) or 1) + [*word.ear]

    def _wrong_english(self, word: Word, rng: random.Random) -> list[str]:
        half = word.en[: len(word.en) // 2]
        wrong = [*word.confused, *word.confused, self._sibling(word, rng).en, *word.vi[:1]]
        other = self._confused_entry(word, rng)
        wrong += [rng.choice(other.ear)] if other.ear else []
        synonyms = {w.en.lower() for v in word.vi for w in self._by_vi[v]}
        wrong = [w for w in wrong if w.lower() not in synonyms]
        wrong += [half_heard for half_heard in [_half_heard(word, rng)] if half_heard]
        return wrong + ([half] if len(half) >= 3 and half.lower() not in self._by_en else [])

    def _wrong_sentence(self, word: Word, language: int, rng: random.Random) -> list[str]:
        right = _plain(word.sentence[language])
        parts = right.split()
        cut = " ".join(parts[: max(1, len(parts) // 2)])
        other = _plain(rng.choice(self.knowledge.words).sentence[language])
        wrong = [cut, other, _plain(word.sentence[1 - language])]
        if language == 0:
            swapped = re.sub(rf"\b{re.escape(word.en)}\b", rng.choice(word.confused), right, flags=re.IGNORECASE)
            wrong += [swapped, swapped]
        return [w for w in wrong if w != right]

    def _heard(self, sentence: str, rng: random.Random) -> str:
        """An English sentence as a Vietnamese ear hears it, as far as its words are known."""
        known = ((text, self._by_en.get(text)) for text in sentence.split())
        return " ".join(rng.choice(word.ear) if word and word.ear else text for text, word in known)

    def _sibling(self, word: Word, rng: random.Random) -> Word:
        siblings = self._by_category[word.category]
        for _ in range(8):
            other = rng.choice(siblings)
            if not set(other.vi) & set(word.vi):
                return other
        return rng.choice(self.knowledge.words)

    def _confused_entry(self, word: Word, rng: random.Random) -> Word:
        known = [self._by_en[c] for c in word.confused if c in self._by_en]
        return rng.choice(known) if known else self._sibling(word, rng)

    @staticmethod
    def _gap(word: Word) -> str | None:
        """The word's sentence with a gap in its place; None where the word does not stand in it."""
        gapped, found = re.subn(rf"\b{re.escape(word.en)}\b", "___", word.sentence[0], count=1, flags=re.IGNORECASE)
        return gapped if found else None


def _half_heard(word: Word, rng: random.Random) -> str:
    """The word by ear without its last syllable; empty where that may stand for all of it."""
    *kept, last = rng.choice(word.ear).split() if word.ear else [""]
    # A last syllable that is a vowel alone, or ends on one that is none in English, stands for a consonant: children
    # often leave it out.
    half = "" if last[:1] in _VOWELS or last.endswith(("ờ", "ơ", "ì", "ồ")) else " ".join(kept)
    return "" if half in word.ear else half


def _plain(sentence: str) -> str:
    """A sentence as speech recognition writes it."""
    return sentence.rstrip(".!?").lower().replace(",", "")


def _missing(word: str, rng: random.Random) -> str:
    """The word with one letter left out."""
    place = rng.randrange(len(word))
    return word[:place] + word[place + 1 :]


def _exchanged(word: str, rng: random.Random) -> str:
    """The word with two neighbouring letters exchanged, or one taken for another."""
    place = rng.randrange(len(word))
    if place and rng.random() < 0.4:
        return word[: place - 1] + word[place] + word[place - 1] + word[place + 1 :]
    return word[:place] + rng.choice("abcdefghiklmnoprstuvwy") + word[place + 1 :]


def fill(template: str, **values: str) -> str:
    """Puts values where `{name}` stands; any other brace is text (answers may hold JSON)."""
    return re.sub(r"\{([A-Za-z_]+)\}", lambda m: values.get(m[1], m[0]), template)

"""Generated exercises: every kind of docs/annotation.md §2, answered right and wrong, with a fitting reaction.

A question form meets a word of the lexicon, the child answers in one of many ways, and Pika reacts with an
individually written line. `learn_score` follows §2: where the reaction gives a verdict, the verdict decides;
otherwise the answer does. All randomness comes from the caller's generator.
"""

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from emotion_svc.schema import ResponseExample
from emotion_svc.taxonomy import Family
from emotion_svc.train.lexicon import Knowledge, Reaction, Word

_KINDS: Final = {
    "to_en": 22, "to_vi": 9, "say": 14, "say_sentence": 6, "sentence_to_en": 3, "sentence_to_vi": 3, "spell": 7,
    "opposite": 5, "plural": 5, "past": 4, "complete": 6, "clue": 13, "which_vi": 3, "name_one": 6, "name_two": 3,
    "count": 4, "after_number": 2, "sum_en": 4,
}  # fmt: skip
_NO_EXERCISE: Final = {"no_vi_math": 2, "no_opinion_en": 4, "no_talk": 8, "no_riddle_vi": 3, "no_invite": 3}

_NUMBERS: Final[list[str]] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip
_NUMBERS_VI: Final[list[str]] = [
    "không", "một", "hai", "ba", "bốn", "năm", "sáu", "bảy", "tám", "chín", "mười", "mười một", "mười hai",
    "mười ba", "mười bốn", "mười lăm", "mười sáu", "mười bảy", "mười tám", "mười chín", "hai mươi",
]  # fmt: skip

# What a single response of a family says about an answer that it was not written for. Families that may mean
# either (encouraging, proud, surprised, no_problem, thinking, sad) are left to the lines written for it.
_SAYS: Final[dict[Family, Literal["right", "unheard", "none"]]] = {
    "thats_right": "right", "noisy": "unheard", "happy": "none", "excited": "none", "playful": "none",
    "curious": "none", "worry": "none", "afraid": "none", "calm": "none", "angry": "none",
}  # fmt: skip


class Exercise(NamedTuple):
    """In the order of `samples.Sample`."""

    question: str
    answer: str
    response: str
    emotion: dict[Family, float]
    learn_score: float


class _Asked(NamedTuple):
    """A question with what would be right and wrong. `word`, `vi`: what a reaction may name."""

    question: str
    right: list[str]
    wrong: list[str]
    word: str
    vi: str


class ExerciseMaker:
    """Makes exercises from the knowledge below `train_data/`."""

    def __init__(self, knowledge: Knowledge, responses: Sequence[ResponseExample] = ()) -> None:
        self.knowledge = knowledge
        self._reactions = {verdict: list(reactions) for verdict, reactions in knowledge.reactions.items()}
        self._pool: defaultdict[str, list[Reaction]] = defaultdict(list)
        for response in responses:
            if verdict := _SAYS.get(response.emotion):
                row = Reaction(response=response.response, verdict=verdict, emotion=response.emotion)
                self._pool[verdict].append(row)
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

    def make(self, rng: random.Random) -> Exercise:
        """One exercise, or small talk that looks like one (about one in six)."""
        if rng.random() < 0.16:
            return self._no_exercise(rng)
        asked = self._ask(rng.choices([*_KINDS], [*_KINDS.values()])[0], rng)
        kind = rng.random()
        m = self.knowledge.manners
        if kind < 0.5:
            said = _case(rng.choice(asked.right), rng)
            answer, right = self._wrapped(said, rng), True
            if rng.random() < 0.05:
                answer = _fill(rng.choice(m["hedge"]), x=said, wrong=rng.choice(asked.wrong))
        elif kind < 0.82:
            said = _case(rng.choice(asked.wrong), rng)
            answer, right = self._wrapped(said, rng), False
            if rng.random() < 0.08:
                said = rng.choice(asked.right)
                answer = _fill(rng.choice(m["bad_hedge"]), x=said, wrong=rng.choice(asked.wrong))
        else:
            said, right = "", False
            answer = rng.choice(m[rng.choice(["dont_know", "back", "offtopic", "unclear", "injected_alone", "yes"])])
            # Small talk may hold a right answer by chance ("orange juice").
            if rng.random() < 0.15 or any(right.lower() in answer.lower() for right in asked.right):
                answer = ""
        return self._react(asked, answer, said, right, rng)

    def _react(self, asked: _Asked, answer: str, said: str, right: bool, rng: random.Random) -> Exercise:
        # Half of the reactions give no verdict, so that only question and answer tell.
        draw = rng.random()
        agree = ("right" if right else "wrong") if draw < 0.42 else "none"
        if draw < 0.04:  # speech recognition and Pika disagree: the verdict decides
            agree = "wrong" if right else "right"
        elif draw > 0.96:
            agree = "unheard"
        pool = self._pool[agree]
        candidates = pool if pool and rng.random() < 0.5 else self._reactions[agree]
        reaction: Reaction = rng.choice(candidates)
        while "{said}" in reaction.response and not said:
            reaction = rng.choice(candidates)
        score = {"right": True, "wrong": False, "unheard": False, "none": right}[agree]
        if agree == "right" and not said and rng.random() < 0.8:
            score, reaction = False, rng.choice(self._reactions["wrong"])
        response = _fill(reaction.response, word=asked.word, vi=asked.vi, said=said)
        return Exercise(asked.question, answer, response, {reaction.emotion: 1.0}, float(score))

    def _no_exercise(self, rng: random.Random) -> Exercise:
        kind = rng.choices([*_NO_EXERCISE], [*_NO_EXERCISE.values()])[0]
        form, m = rng.choice(self.knowledge.forms[kind]), self.knowledge.manners
        a, b = rng.randrange(1, 10), rng.randrange(1, 10)
        word = rng.choice(self.knowledge.words)
        question = _fill(form, a_vi=_NUMBERS_VI[a], b_vi=_NUMBERS_VI[b], en=word.en)
        reactions = self._reactions["none"]
        if kind == "no_vi_math":
            answer = self._wrapped(_NUMBERS_VI[a + b] if rng.random() < 0.6 else str(rng.randrange(2, 19)), rng)
            reactions = self._reactions[rng.choice(["right", "wrong", "none"])]
        elif kind == "no_invite":
            answer = rng.choice(m[rng.choice(["yes", "no", "chat"])])
        else:
            answer = rng.choice(m["chat"]) if rng.random() < 0.8 else self._wrapped(word.en, rng)
        reaction = rng.choice([r for r in reactions if "{" not in r.response])
        return Exercise(question, answer, reaction.response, {reaction.emotion: 1.0}, 0.0)

    def _wrapped(self, said: str, rng: random.Random) -> str:
        draw, m = rng.random(), self.knowledge.manners
        if draw < 0.4:
            return said
        if draw < 0.52:  # the child goes on about something else
            return f"{said} {rng.choice(m['offtopic'])}"
        return _fill(rng.choice(m["injected"] if draw > 0.96 else m["wrap"]), x=said)

    # -- what is asked ------------------------------------------------------------------------------------

    def _ask(self, kind: str, rng: random.Random) -> _Asked:
        word = rng.choice(self._having.get(kind) or self.knowledge.words)
        vi, form = rng.choice(word.vi), rng.choice(self.knowledge.forms[kind])
        en = word.en
        right = self._english(word)
        wrong = self._wrong_english(word, rng)
        fill: dict[str, str] = {
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
            case "sentence_to_vi":
                right, wrong = [_plain(word.sentence[1])], self._wrong_sentence(word, 1, rng)
            case "spell":
                right = [sep.join(en) for sep in (" ", " ", "-", ", ")]
                missing = en[: (i := rng.randrange(len(en)))] + en[i + 1 :]
                wrong = [" ".join(bad) for bad in (*word.misspelt, missing) if bad] + [" ".join(en[: len(en) // 2])]
            case "opposite":
                right = self._english(self._by_en.get((word.opposite or "").lower())) or [word.opposite or ""]
                wrong = [en, *word.confused, self._sibling(word, rng).en]
            case "plural":
                right = [word.plural or ""]
                wrong = [en, *{en + "s", en + "es", en + "ies"} - {word.plural}, self._sibling(word, rng).en]
            case "past":
                right = [word.past or ""]
                wrong = [en, *{en + "ed", en + "s", en + "ing"} - {word.past}]
                wrong += [v.past for v in [rng.choice(self._having["past"])] if v.past and v.past != word.past]
            case "complete":
                fill["gapped"] = self._gap(word) or ""
            case "clue":
                fill["clue"] = word.clue or ""
            case "which_vi":
                other = self._confused_entry(word, rng)
                pair = [word.en, other.en]
                rng.shuffle(pair)
                fill |= {"en_a": pair[0], "en_b": pair[1]}
                wrong = [other.en, other.en, *word.vi]
            case "name_one" | "name_two":
                return self._ask_category(kind, form, rng)
            case "count" | "after_number" | "sum_en":
                return self._ask_number(kind, form, rng)
        right = [r for r in right if r]
        wrong = [w for w in wrong if w and w.lower() not in {r.lower() for r in right}] or [self._sibling(word, rng).en]
        return _Asked(_fill(form, **fill), right, wrong, right[0] if kind in ("opposite", "plural", "past") else en, vi)

    def _ask_category(self, kind: str, form: str, rng: random.Random) -> _Asked:
        names = [c for c in self.knowledge.categories if len(self._by_category[c]) >= 6]
        category = rng.choice(names)
        said = self.knowledge.categories[category]
        inside = rng.sample(self._by_category[category], 3)
        outside = [w for w in rng.sample(self.knowledge.words, 6) if w.category != category][:2]
        question = _fill(form, category_vi=rng.choice(said.vi), category_en=rng.choice(said.en))
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
        return _Asked(question, right, wrong, inside[0].en, inside[0].vi[0])

    def _ask_number(self, kind: str, form: str, rng: random.Random) -> _Asked:
        if kind == "count":
            end = rng.randrange(3, 11)
            row = _NUMBERS[1 : end + 1]
            skip = rng.randrange(len(row) - 1)
            swapped = row.copy()
            swapped[skip], swapped[skip + 1] = swapped[skip + 1], swapped[skip]
            bad = [row[:skip] + row[skip + 1 :], row[: max(1, end // 2)], swapped, _NUMBERS_VI[1 : end + 1]]
            question = _fill(form, number_en=_NUMBERS[end], number_vi=_NUMBERS_VI[end])
            said = [" ".join(words) for words in bad]
            return _Asked(question, [" ".join(row)], said, _NUMBERS[end], _NUMBERS_VI[end])
        if kind == "after_number":
            a = rng.randrange(0, 20)
            result, fill = a + 1, {"number_en": _NUMBERS[a]}
        else:
            a, b = rng.randrange(1, 11), rng.randrange(1, 10)
            result, fill = a + b, {"a_en": _NUMBERS[a], "b_en": _NUMBERS[b]}
        near = [n for n in (result - 2, result - 1, result + 1, result + 10) if 0 <= n <= 20]
        word = self._by_en.get(_NUMBERS[result])
        wrong = [*(_NUMBERS[n] for n in near), _NUMBERS_VI[result]]
        return _Asked(
            _fill(form, **fill), self._english(word) or [_NUMBERS[result]], wrong, _NUMBERS[result], _NUMBERS_VI[result]
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


def _plain(sentence: str) -> str:
    """A sentence as speech recognition writes it."""
    return sentence.rstrip(".!?").lower().replace(",", "")


def _case(text: str, rng: random.Random) -> str:
    return text if rng.random() < 0.15 else text.lower()


def _fill(template: str, **values: str) -> str:
    """Puts values where `{name}` stands; any other brace is text (answers may hold JSON)."""
    return re.sub(r"\{([A-Za-z_]+)\}", lambda m: values.get(m[1], m[0]), template)

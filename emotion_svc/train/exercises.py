"""Generated exercises: every kind of docs/annotation.md §2, answered right and wrong, with a fitting reaction.

A question form meets a word of the lexicon, the child answers in one of many ways, and Pika reacts with an
individually written line. `learn_score` follows §2: where the reaction gives a verdict, the verdict decides;
otherwise the answer does. All randomness comes from the caller's generator.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from emotion_svc.schema import ResponseExample
from emotion_svc.taxonomy import Family
from emotion_svc.train.asking import NUMBERS_VI, Asked, Asker, fill
from emotion_svc.train.lexicon import Knowledge, Quiz, Reaction

_EARLY_TALK: Final = 0.2
_LATE_TALK: Final = 0.3
_TALK_IN_ENGLISH: Final = 0.5
_STATEMENTS: Final = 0.5
"""Shares: of small talk among exercises, early and late; of answers in English to it, and of statements that ask for
nothing among it."""

_NO_EXERCISE: Final = {
    "no_vi_math": 2, "no_opinion_en": 4, "no_talk": 8, "no_riddle_vi": 2, "no_invite": 3, "fact_vi": 4, "opinion": 4,
}  # fmt: skip

# What a single response of a family says about an answer that it was not written for. Families that may mean
# either (encouraging, proud, surprised, no_problem) are left to the lines written for it.
_SAYS: Final[dict[Family, Literal["right", "unheard", "none"]]] = {
    "thats_right": "right", "noisy": "unheard", "happy": "none", "excited": "none", "playful": "none",
    "curious": "none", "worry": "none", "afraid": "none", "calm": "none", "angry": "none", "sad": "none",
    "thinking": "none",
}  # fmt: skip


_STATES: Final[frozenset[Family]] = frozenset(
    {"sad", "happy", "afraid", "worry", "calm", "excited", "surprised", "no_problem"}
)
"""Families whose responses ask for no English: what Pika may also have said last."""


class Exercise(NamedTuple):
    """In the order of `samples.Sample`."""

    question: str
    answer: str
    response: str
    emotion: dict[Family, float]
    learn_score: float


class ExerciseMaker:
    """Makes exercises from the knowledge below `train_data/`."""

    def __init__(self, knowledge: Knowledge, responses: Sequence[ResponseExample] = ()) -> None:
        self.knowledge = knowledge
        self._asker = Asker(knowledge)
        self._reactions = {verdict: list(reactions) for verdict, reactions in knowledge.reactions.items()}
        self._pool: defaultdict[str, list[Reaction]] = defaultdict(list)
        # What may follow small talk: reactions that name no word of an exercise.
        self._chat = {
            verdict: [r for r in reactions if "{" not in r.response] for verdict, reactions in self._reactions.items()
        }
        self._statements = [r.response for r in responses if r.emotion in _STATES]
        for response in responses:
            if verdict := _SAYS.get(response.emotion):
                row = Reaction(response=response.response, verdict=verdict, emotion=response.emotion)
                self._pool[verdict].append(row)

    def make(self, rng: random.Random, *, late: bool = False) -> Exercise:
        """One exercise, or small talk that looks like one: more of that `late` in the training.

        At first the rare right answers have to be learnt; later, that English words alone make no exercise.
        """
        if rng.random() < (_LATE_TALK if late else _EARLY_TALK):
            return self._no_exercise(rng, late=late)
        asked = self._asker.ask(rng)
        kind = rng.random()
        m = self.knowledge.manners
        if kind < 0.5:
            said = _case(rng.choice(asked.right), rng)
            answer, right = self._wrapped(said, rng), True
            if rng.random() < 0.05:
                answer = fill(rng.choice(m["hedge"]), x=said, wrong=rng.choice(asked.wrong))
        elif kind < 0.82:
            said = _case(rng.choice(asked.wrong), rng)
            answer, right = self._wrapped(said, rng), False
            if rng.random() < 0.08:
                said = rng.choice(asked.right)
                answer = fill(rng.choice(m["bad_hedge"]), x=said, wrong=rng.choice(asked.wrong))
        else:
            said, right = "", False
            answer = rng.choice(m[rng.choice(["dont_know", "back", "offtopic", "unclear", "injected_alone", "yes"])])
            # Small talk may hold a right answer by chance ("orange juice").
            if rng.random() < 0.15 or any(right.lower() in answer.lower() for right in asked.right):
                answer = ""
        return self._react(asked, answer, said, right, rng)

    def _react(self, asked: Asked, answer: str, said: str, right: bool, rng: random.Random) -> Exercise:
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
        response = fill(reaction.response, word=asked.word, vi=asked.vi, said=said)
        return Exercise(asked.question, answer, response, {reaction.emotion: 1.0}, float(score))

    def _no_exercise(self, rng: random.Random, *, late: bool) -> Exercise:
        if self._statements and rng.random() < _STATEMENTS:
            return self._after_a_statement(rng)
        kind = rng.choices([*_NO_EXERCISE], [*_NO_EXERCISE.values()])[0]
        if kind in ("fact_vi", "opinion"):
            return self._no_english(rng.choice(self.knowledge.quiz[kind]), rng)
        form, m = rng.choice(self.knowledge.forms[kind]), self.knowledge.manners
        a, b = rng.randrange(1, 10), rng.randrange(1, 10)
        word = rng.choice(self.knowledge.words)
        question = fill(form, a_vi=NUMBERS_VI[a], b_vi=NUMBERS_VI[b], en=word.en)
        reactions = self._chat["none"]
        if kind == "no_vi_math":
            answer = self._wrapped(NUMBERS_VI[a + b] if rng.random() < 0.6 else str(rng.randrange(2, 19)), rng)
            reactions = self._chat[rng.choice(["right", "wrong", "none"])]
        elif late and rng.random() < _TALK_IN_ENGLISH:
            answer = self._wrapped(rng.choice([word.en, _part(word.sentence[0], rng)]), rng)
        elif kind == "no_invite":
            answer = rng.choice(m[rng.choice(["yes", "no", "chat"])])
        else:
            answer = rng.choice(m["chat"]) if rng.random() < 0.8 else self._wrapped(word.en, rng)
        reaction = rng.choice(reactions)
        return Exercise(question, answer, reaction.response, {reaction.emotion: 1.0}, 0.0)

    def _after_a_statement(self, rng: random.Random) -> Exercise:
        """Pika said something and asked for nothing; whatever the child says, in whatever language, is no exercise."""
        word, m = rng.choice(self.knowledge.words), self.knowledge.manners
        answer = rng.choice(m["chat"])
        if rng.random() < _TALK_IN_ENGLISH:
            answer = self._wrapped(rng.choice([word.en, _part(word.sentence[0], rng)]), rng)
        pool = self._pool["none"]
        reaction = rng.choice(pool if pool and rng.random() < 0.5 else self._chat["none"])
        return Exercise(rng.choice(self._statements), answer, reaction.response, {reaction.emotion: 1.0}, 0.0)

    def _no_english(self, quiz: Quiz, rng: random.Random) -> Exercise:
        """A quiz in Vietnamese, or small talk in English: nothing that counts, whatever is said about the answer."""
        right = not quiz.wrong or rng.random() < 0.6
        answer = self._wrapped(rng.choice(quiz.right if right else quiz.wrong), rng)
        verdicts = ["none"] if quiz.kind == "opinion" else ["none", "right" if right else "wrong"]
        reaction = rng.choice(self._chat[rng.choice(verdicts)])
        return Exercise(quiz.question, answer, reaction.response, {reaction.emotion: 1.0}, 0.0)

    def _wrapped(self, said: str, rng: random.Random) -> str:
        draw, m = rng.random(), self.knowledge.manners
        if draw < 0.4:
            return said
        if draw < 0.52:  # the child goes on about something else
            return f"{said} {rng.choice(m['offtopic'])}"
        return fill(rng.choice(m["injected"] if draw > 0.93 else m["wrap"]), x=said)


def _case(text: str, rng: random.Random) -> str:
    return text if rng.random() < 0.15 else text.lower()


def _part(sentence: str, rng: random.Random) -> str:
    """Some words in a row of a sentence, as speech recognition writes them."""
    words = sentence.rstrip(".!?").lower().split()
    start = rng.randrange(max(1, len(words) - 2))
    return " ".join(words[start : start + rng.randrange(2, 6)])

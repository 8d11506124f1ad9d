"""How a tokenizer writes the answers, and where a model that writes token by token has to be asked.

Of an answer's tokens only those matter at which the model chooses. So an engine that generates asks twice:
`emotion` behind what all answers begin with, and `learn_score` behind the chosen label and the text that is
forced after it. Forced tokens go into the prompt.

    prompt  {"emotion":"  →  <label …>                                    up to where label or family is certain
    prompt  {"emotion":"  <label>  ","learn_score":  →  <true │ false>

Only tokens that the tokenizer itself would use are allowed: "happy" could also be said letter by letter, in
thirteen tokens that no model was trained to write.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tokenizers import Tokenizer

from emotion_svc.decoding.index import AnswerIndex, vocabulary_of
from emotion_svc.decoding.language import continuation_regex
from emotion_svc.errors import ModelError
from emotion_svc.schema import ALL_ANSWERS, ANSWER_OF, Answer
from emotion_svc.taxonomy import LABELS, Label


class Question(NamedTuple):
    """A place in the answer at which the model chooses.

    `prefix_ids` are the answer's tokens before it and `said` is their text; `regex` and `grammar` say
    what may follow, in the tokens `token_ids`. With one of `deciding_ids` the choice is made, wherever that
    token stands. At most `widest` tokens may come next at a time.
    """

    prefix_ids: list[int]
    said: str
    regex: str
    grammar: AnswerIndex
    token_ids: list[int]
    deciding_ids: list[int]
    widest: int


class Spelling:
    """The 46 answers in the tokens of one tokenizer.

    Args:
        tokenizer: any tokenizer whose tokens stand for bytes (see `index.vocabulary_of`).
        eos_token_id: its end-of-sequence token.

    Raises:
        ModelError: the tokenizer cannot write the answers as they are.
    """

    def __init__(self, tokenizer: Tokenizer, eos_token_id: int) -> None:
        self.eos_token_id = eos_token_id
        self._vocabulary = vocabulary_of(tokenizer)
        self._bytes_of = {token_id: piece for piece, ids in self._vocabulary.items() for token_id in ids}
        self._ids = {text: list(tokenizer.encode(text, add_special_tokens=False).ids) for text in ALL_ANSWERS}
        for text, ids in self._ids.items():
            if self._text_of(ids) != text:
                raise ModelError(
                    f"the tokenizer writes {text} as something else; this model cannot speak the answer language"
                )

    def ids_of(self, answer: Answer) -> list[int]:
        """The tokens with which the tokenizer writes an answer."""
        return list(self._ids[answer.model_dump_json()])

    def answer(self) -> Question:
        """The whole answer at once, up to where only one is left."""
        return self._question(ALL_ANSWERS, lambda answer: answer)

    def emotion(self, decides: Callable[[Label], object]) -> Question:
        """Where the label is chosen. `decides` says what must be certain: the label itself, or its family."""
        return self._question(ALL_ANSWERS, lambda answer: decides(answer.emotion))

    def learn_score(self) -> dict[Label, Question]:
        """Where the value of `learn_score` is chosen, behind each label."""
        answers = {label: [text for text in ALL_ANSWERS if ANSWER_OF[text].emotion == label] for label in LABELS}
        return {label: self._question(texts, lambda answer: answer.learn_score) for label, texts in answers.items()}

    def _question(self, texts: Sequence[str], decides: Callable[[Answer], object]) -> Question:
        prefix = _common_prefix([self._ids[text] for text in texts])
        said = self._text_of(prefix)
        regex = continuation_regex(said)
        grammar = self._grammar({token_id for text in texts for token_id in self._ids[text][len(prefix) :]}, regex)
        is_deciding: dict[int, bool] = {}
        widest = 0
        places = [(said, grammar.initial_state)]
        for so_far, state in places:  # grows while it is walked
            allowed = grammar.allowed(state)
            widest = max(widest, len(allowed))
            for token_id, after in allowed.items():
                text = so_far + grammar.text_of([token_id]).decode()
                left_open = {decides(ANSWER_OF[text + ending]) for ending in grammar.endings(after)}
                is_deciding[token_id] = is_deciding.get(token_id, True) and len(left_open) == 1
                if (text, after) not in places:
                    places.append((text, after))
        deciding = sorted(token_id for token_id, always in is_deciding.items() if always)
        return Question(prefix, said, regex, grammar, sorted(is_deciding), deciding, widest)

    def _grammar(self, token_ids: set[int], regex: str) -> AnswerIndex:
        """The regex over these tokens, with single characters added where they alone lead into a dead end."""
        characters = {i for char in set("".join(ALL_ANSWERS)) for i in self._vocabulary.get(char.encode(), [])}
        for allowed in (token_ids, token_ids | characters):
            vocabulary = {piece: [i for i in ids if i in allowed] for piece, ids in self._vocabulary.items()}
            try:
                return AnswerIndex({piece: ids for piece, ids in vocabulary.items() if ids}, self.eos_token_id, regex)
            except ValueError as error:
                reason = error
        raise ModelError(f"the tokenizer cannot write every answer: {reason}") from reason

    def _text_of(self, ids: Sequence[int]) -> str:
        """What the tokens stand for; the space that some tokenizers put before the first word does not count."""
        return b"".join(self._bytes_of.get(token_id, b"\0") for token_id in ids).decode(errors="replace").lstrip(" ")


def _common_prefix(rows: Sequence[list[int]]) -> list[int]:
    columns = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
    return [column[0] for column in columns]

"""A turn as the token ids that the shipped model reads, cut to the model's window.

Our own text is tokenized with the added tokens (field marks, skeleton, labels); the turn's fields without
them, so nothing in a field can become a mark, a label or a piece of the answer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, NamedTuple

from tokenizers import Tokenizer

from emotion_svc.decoding.comparison import ECHOES, MEANINGS, Comparison, Wordbook
from emotion_svc.decoding.facts import JUDGEMENTS
from emotion_svc.decoding.wording import SURENESS, WORDING_FILE, Opinion, Wording
from emotion_svc.errors import ModelError
from emotion_svc.prompt import COMPARISON, WORDING, Prompt
from emotion_svc.schema import Turn
from emotion_svc.taxonomy import FAMILIES, Family

FIELD_TOKENS: Final = {"previous_question": 80, "previous_answer": 64, "response": 160}
"""The most tokens that a field keeps. Of a longer one, start and end are kept and the middle is cut: what a
turn asks stands at the end of the question, and intent shows at both ends of the response. Of the training
turns, under 0.5 % are longer anywhere."""


_CHARACTERS_PER_TOKEN: Final = 8
"""Twice those of a usual token: of a text with more than so many for each token that is kept, the middle goes unread,
or a long one would cost many times what a pass does."""

_PIECE: Final = re.compile(r"[!-/:-@\[-`{-~0-9]|[^ !-/:-@\[-`{-~0-9]+")
"""A mark of punctuation, a digit, or what is between them and spaces: our tokenizers cut there (`train/tokenizer.py`),
and what stands on one side of a cut changes no token on the other. In ASCII alone: what else they cut at stays
inside."""

_CUTS: Final = ("WhitespaceSplit", "Punctuation", "Digits", "Metaspace")

_PIECES_KEPT, _LONGEST_KEPT = 1 << 14, 32
"""How many pieces of text are kept with their tokens, and the characters of the longest: 4 MB at most."""

_UNREAD: Final = "unread"
MARKS: Final = tuple(
    f"<|{name}|>"
    for name in (
        *ECHOES,
        *MEANINGS,
        *JUDGEMENTS,
        *(f"like_{family}" for family in FAMILIES),
        *(f"or_{family}" for family in FAMILIES),
        *SURENESS,
        _UNREAD,
    )
)
"""The tokens of all parts of comparisons and opinions."""


def marks_of(comparison: Comparison) -> tuple[str, ...]:
    """A comparison in tokens."""
    return tuple(f"<|{part}|>" for part in comparison)


def marks_of_opinion(opinion: Opinion | None) -> tuple[str, ...]:
    """What the wording suggests, in tokens; None where nobody has read it."""
    if opinion is None:
        return (f"<|{_UNREAD}|>",)
    return f"<|like_{opinion.first}|>", f"<|or_{opinion.second}|>", f"<|{opinion.sureness}|>"


class Encoded(NamedTuple):
    """The turn's own tokens, without the system prompt's, and whether a field was cut.

    `likely` is the family that the wording suggests; None where nobody has read it.
    """

    ids: list[int]
    truncated: bool
    likely: Family | None = None


class TurnTokenizer:
    """Turns to token ids for one tokenizer file and one prompt.

    Where the prompt shows the comparison of answer and question, or what the wording suggests, it is made with the
    `wordbook.json` and the `wording.npz` beside the tokenizer.

    Raises:
        ModelError: the file is missing, or is no tokenizer of this project.
    """

    def __init__(self, path: Path, prompt: Prompt) -> None:
        try:
            text = path.read_text(encoding="utf-8")
            self.tokenizer: Tokenizer = Tokenizer.from_str(text)
            # The same tokenizer without added tokens: a field's text is nothing but text.
            fields = json.loads(text) | {"added_tokens": []}
            self.field_tokenizer: Tokenizer = Tokenizer.from_str(json.dumps(fields))
        except FileNotFoundError as error:
            raise ModelError(f"'{path}' does not exist; a model directory holds tokenizer.json") from error
        except Exception as error:  # tokenizers raises bare Exception for anything it cannot read
            raise ModelError(f"'{path}' is no tokenizer file: {error}") from error
        cuts = tuple(part["type"] for part in (fields.get("pre_tokenizer") or {}).get("pretokenizers", ()))
        if cuts != _CUTS:
            raise ModelError(
                f"'{path}': expected a tokenizer that cuts by {', '.join(_CUTS)}, found {', '.join(cuts) or 'none'}; "
                "take all files from one training run (python -m emotion_svc.train)"
            )
        self._ids_of = partial(_ids_of, self.field_tokenizer)
        self._kept = lru_cache(_PIECES_KEPT)(self._ids_of)
        self.system_ids: list[int] = self._own(prompt.system)
        self.wordbook, self.wording = Wordbook.load(path.parent), Wording.load(path.parent / WORDING_FILE)
        self._plan = [(piece.variable, self._own(piece.text)) for piece in prompt.pieces]
        self._mark_ids = {mark: self._own(mark) for mark in MARKS}
        least = Turn(previous_question="", previous_answer="", response="x")
        self._beside_fields = len(self.encode(least).ids) - len(self.field_ids("x"))

    def field_ids(self, text: str) -> list[int]:
        """The tokens of one field, uncut.

        Piece by piece, as most pieces of a turn have been met before: a sixth of the time of a whole text.
        """
        ids: list[int] = []
        for piece in _PIECE.findall(text):
            ids += self._kept(piece) if len(piece) <= _LONGEST_KEPT else self._ids_of(piece)
        return ids

    def encode(self, turn: Turn) -> Encoded:
        """The turn's own tokens, in the order of the prompt's user text."""
        read = within_reach(turn)
        fields: dict[str, list[int]] = {}
        truncated = read is not turn
        for name, limit in FIELD_TOKENS.items():
            fields[name], was_cut = cut(self.field_ids(getattr(read, name)), limit)
            truncated |= was_cut
        opinion = self._opinion(read)
        return Encoded(self.assemble(fields, self._told(read, opinion)), truncated, opinion and opinion.first)

    def count(self, turn: Turn) -> int:
        """How many tokens `encode` gives, without reading what it would tell of the turn."""
        read = within_reach(turn)
        fields = (min(len(self.field_ids(getattr(read, name))), limit) for name, limit in FIELD_TOKENS.items())
        return self._beside_fields + sum(fields)

    def marks(self, turn: Turn) -> dict[str, tuple[str, ...]]:
        """What code tells the model about the turn, in tokens, by the prompt's variable for it."""
        read = within_reach(turn)
        return self._told(read, self._opinion(read))

    def _opinion(self, turn: Turn) -> Opinion | None:
        return None if self.wording is None else self.wording.opinion(turn.response)

    def _told(self, turn: Turn, opinion: Opinion | None) -> dict[str, tuple[str, ...]]:
        comparison = self.wordbook.compare(turn.previous_question, turn.previous_answer)
        return {COMPARISON: marks_of(comparison), WORDING: marks_of_opinion(opinion)}

    def assemble(self, fields: Mapping[str, Sequence[int]], marks: Mapping[str, Sequence[str]]) -> list[int]:
        """The user text of the prompt around the tokens of the fields, with the marks that it shows."""
        ids: list[int] = []
        for variable, own in self._plan:
            ids += own
            if variable is None:
                continue
            if variable in marks:
                ids += [token_id for mark in marks[variable] for token_id in self._mark_ids[mark]]
            else:
                ids += fields[variable]
        return ids

    def _own(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)


def _ids_of(tokenizer: Tokenizer, piece: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(piece, add_special_tokens=False).ids)


def cut(ids: list[int], limit: int) -> tuple[list[int], bool]:
    """At most `limit` ids, start and end kept and the middle left out, and whether any was."""
    if len(ids) <= limit:
        return ids, False
    return ids[: limit // 2] + ids[-(limit - limit // 2) :], True


def within_reach(turn: Turn) -> Turn:
    """The turn without the middle of texts that are far longer than what is kept of them; itself if none is."""
    texts = {name: getattr(turn, name) for name in FIELD_TOKENS}
    long = {
        name: _ends(text, FIELD_TOKENS[name] * _CHARACTERS_PER_TOKEN // 2)
        for name, text in texts.items()
        if len(text) > FIELD_TOKENS[name] * _CHARACTERS_PER_TOKEN
    }
    return turn.model_copy(update=long) if long else turn


def _ends(text: str, characters: int) -> str:
    """So much of a text's start and of its end, whole words where there are any."""
    start, end = text[:characters], text[-characters:]
    return f"{start.rpartition(' ')[0] or start} {end.partition(' ')[2] or end}"

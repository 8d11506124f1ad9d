"""The answer language over a tokenizer's vocabulary: which tokens may come next, and how long it can get.

An `AnswerIndex` wraps `outlines_core.Index`. Its states are the automaton's; its edges are token ids:

    { "emotion":"  →  happy │ happy_2 │ … │ thinking  →  ","learn_score":  →  true} │ false}

A vocabulary with longer or shorter tokens has other paths through the same 46 strings.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from outlines_core import Index, Vocabulary
from tokenizers import Tokenizer

from emotion_svc.decoding.language import answer_regex

_SPACE_MARK = "▁"


def vocabulary_of(tokenizer: Tokenizer) -> dict[bytes, list[int]]:
    """The bytes that each token stands for, special tokens left out: bytes -> ids.

    Understands the three common kinds: byte-level (GPT-2, Qwen, SmolLM), `▁` with byte fallback (Llama),
    and added tokens, which stand for themselves.
    """
    added = tokenizer.get_added_tokens_decoder()
    byte_level = "ByteLevel" in str(tokenizer.decoder)
    vocabulary: dict[bytes, list[int]] = {}
    for token, token_id in tokenizer.get_vocab(with_added_tokens=True).items():
        if token_id in added:
            if not added[token_id].special:
                vocabulary.setdefault(token.encode(), []).append(token_id)
        elif piece := _from_byte_level(token) if byte_level else _from_metaspace(token):
            vocabulary.setdefault(piece, []).append(token_id)
    return vocabulary


def _from_metaspace(token: str) -> bytes:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace(_SPACE_MARK, " ").encode()


def _byte_of_char() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, the others for the characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(0x100 + place): byte for place, byte in enumerate(others)}


_BYTE_OF_CHAR = _byte_of_char()


def _from_byte_level(token: str) -> bytes:
    if all(char in _BYTE_OF_CHAR for char in token):
        return bytes(_BYTE_OF_CHAR[char] for char in token)
    return token.encode()


class AnswerIndex:
    """The tokens that a valid answer may be made of, state by state.

    Args:
        vocabulary: what each token stands for; several ids may stand for the same bytes.
        eos_token_id: the end-of-sequence token; it is an edge of final states only, and is never listed here.
        regex: the language; the whole answer by default.

    Raises:
        ValueError: the vocabulary cannot spell the language (from outlines_core, naming the missing part).
    """

    def __init__(self, vocabulary: Mapping[bytes, Iterable[int]], eos_token_id: int, regex: str | None = None) -> None:
        tokens = {piece: sorted(ids) for piece, ids in vocabulary.items()}
        tokens = {piece: [i for i in ids if i != eos_token_id] for piece, ids in tokens.items()}
        self._index = Index(regex or answer_regex(), Vocabulary(eos_token_id, {p: i for p, i in tokens.items() if i}))
        self._eos = eos_token_id
        self._bytes_of = {token_id: piece for piece, ids in tokens.items() for token_id in ids}
        self._endings: dict[int, frozenset[str]] = {}

    @property
    def initial_state(self) -> int:
        """The state before the first token."""
        return int(self._index.get_initial_state())

    def allowed(self, state: int) -> dict[int, int]:
        """The tokens that may come next, each with the state it leads to. Empty in a complete answer."""
        return self._edges.get(state, {})

    def is_complete(self, state: int) -> bool:
        """Whether the answer may end in this state."""
        return bool(self._index.is_final_state(state))

    def walk(self, token_ids: Sequence[int]) -> int | None:
        """The state after these tokens, or None where one of them is not allowed."""
        state: int | None = self.initial_state
        for token_id in token_ids:
            state = self.allowed(state).get(token_id) if state is not None else None
        return state

    def accepts(self, token_ids: Sequence[int]) -> bool:
        """Whether these tokens are one whole valid answer."""
        state = self.walk(token_ids)
        return state is not None and self.is_complete(state)

    def text_of(self, token_ids: Iterable[int]) -> bytes:
        """What these tokens stand for."""
        return b"".join(self._bytes_of[token_id] for token_id in token_ids)

    def endings(self, state: int) -> frozenset[str]:
        """Every text that these tokens can complete the answer with; of a complete answer, the empty one too."""
        if state not in self._endings:
            said = {""} if self.is_complete(state) else set()
            for token_id, after in self.allowed(state).items():
                said |= {self.text_of([token_id]).decode() + rest for rest in self.endings(after)}
            self._endings[state] = frozenset(said)
        return self._endings[state]

    @cached_property
    def max_tokens(self) -> int:
        """The longest path through the index: no answer needs more tokens, end-of-sequence not counted."""
        longest: dict[int, int] = {}

        def measure(state: int) -> int:
            if state not in longest:
                longest[state] = max((1 + measure(after) for after in set(self.allowed(state).values())), default=0)
            return longest[state]

        return measure(self.initial_state)

    @cached_property
    def _edges(self) -> dict[int, dict[int, int]]:
        return {
            state: {token_id: after for token_id, after in edges.items() if token_id != self._eos}
            for state, edges in self._index.get_transitions().items()
        }

"""Seeded BPE dropout: repeatable, other pieces of the same text, and nothing changed without it."""

import random

from emotion_svc.data import read_rows
from emotion_svc.decoding.tokens import TurnTokenizer
from emotion_svc.modeldir import SHIPPED
from emotion_svc.prompt import prompt_for
from emotion_svc.schema import Example
from emotion_svc.train.bpe_dropout import SeededBpe
from tests.paths import EVAL_DATA

TOKENS = TurnTokenizer(SHIPPED / "tokenizer.json", prompt_for("pika-tiny"))
BPE = SeededBpe(TOKENS.field_tokenizer)
TEXTS = [example.response for example in read_rows(EVAL_DATA / "dev.jsonl", Example)]


def test_without_dropout_the_ids_are_the_tokenizers() -> None:
    assert BPE.encode(TEXTS, 0.0, random.Random(0)) == [TOKENS.field_ids(text) for text in TEXTS]


def test_the_same_seed_cuts_in_the_same_places_and_another_seed_elsewhere() -> None:
    first, again, other = (BPE.encode(TEXTS, 0.3, random.Random(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_other_pieces_spell_the_same_text() -> None:
    decode = TOKENS.field_tokenizer.decode
    for text, ids in zip(TEXTS, BPE.encode(TEXTS, 0.5, random.Random(3)), strict=True):
        assert decode(ids) == decode(TOKENS.field_ids(text))


def test_more_dropout_makes_more_pieces() -> None:
    lengths = [sum(map(len, BPE.encode(TEXTS, share, random.Random(4)))) for share in (0.0, 0.1, 0.5)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[1] < lengths[2]

"""The index over small vocabularies made by hand, walked step by step."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from emotion_svc.decoding.index import AnswerIndex, vocabulary_of

EOS = 0
CAT_OR_CAR = "(cat|car)!"


def test_each_step_allows_just_the_tokens_that_can_still_become_an_answer() -> None:
    tokens = {b"ca": [1], b"c": [2], b"a": [3], b"t": [4], b"r": [5], b"!": [6], b"dog": [7]}
    index = AnswerIndex(tokens, EOS, CAT_OR_CAR)

    start = index.initial_state
    assert set(index.allowed(start)) == {1, 2}
    after_c = index.allowed(start)[2]
    assert set(index.allowed(after_c)) == {3}
    after_ca = index.allowed(after_c)[3]
    assert set(index.allowed(after_ca)) == {4, 5}
    assert index.allowed(start)[1] == after_ca
    after_cat = index.allowed(after_ca)[4]
    assert set(index.allowed(after_cat)) == {6}
    end = index.allowed(after_cat)[6]
    assert index.is_complete(end)
    assert index.allowed(end) == {}


def test_the_longest_answer_counts_the_shortest_tokens() -> None:
    tokens = {b"ca": [1], b"t": [4], b"r": [5], b"!": [6]}
    assert AnswerIndex(tokens, EOS, CAT_OR_CAR).max_tokens == 3
    assert AnswerIndex(tokens | {b"c": [2], b"a": [3]}, EOS, CAT_OR_CAR).max_tokens == 4


def test_an_answer_is_accepted_only_whole() -> None:
    index = AnswerIndex({b"ca": [1], b"t": [4], b"r": [5], b"!": [6]}, EOS, CAT_OR_CAR)
    assert index.accepts([1, 4, 6])
    assert index.accepts([1, 5, 6])
    assert not index.accepts([1, 4])
    assert not index.accepts([1, 4, 6, 6])
    assert not index.accepts([4, 1, 6])
    assert index.walk([4]) is None


def test_two_tokens_for_the_same_bytes_are_both_allowed() -> None:
    index = AnswerIndex({b"ca": [1, 9], b"t": [4], b"r": [5], b"!": [6]}, EOS, CAT_OR_CAR)
    assert set(index.allowed(index.initial_state)) == {1, 9}


def test_a_vocabulary_that_cannot_spell_the_language_is_refused() -> None:
    with pytest.raises(ValueError, match=r"[Vv]ocabulary"):
        AnswerIndex({b"ca": [1], b"t": [4]}, EOS, CAT_OR_CAR)


def test_a_byte_level_vocabulary_is_read_as_bytes() -> None:
    alphabet = {char: number for number, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>"])
    vocabulary = vocabulary_of(tokenizer)
    assert set(vocabulary) == {bytes([byte]) for byte in range(256)}
    assert vocabulary[b" "] == [alphabet["Ġ"]]


def test_a_metaspace_vocabulary_is_read_with_spaces_and_bytes_and_without_special_tokens() -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"<0xE2>": 0, "▁con": 1, "mèo": 2}, merges=[], byte_fallback=True))
    tokenizer.add_special_tokens([AddedToken("<|end|>", special=True)])
    tokenizer.add_tokens([AddedToken('{"emotion":"', special=False)])
    vocabulary = vocabulary_of(tokenizer)
    assert vocabulary == {b"\xe2": [0], b" con": [1], "mèo".encode(): [2], b'{"emotion":"': [4]}

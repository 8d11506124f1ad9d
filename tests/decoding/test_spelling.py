"""How small tokenizers write the answers, and where a model is asked."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from emotion_svc.decoding.spelling import Spelling
from emotion_svc.errors import ModelError
from emotion_svc.modeldir import SHIPPED
from emotion_svc.schema import ALL_ANSWERS
from emotion_svc.taxonomy import FAMILY_OF, LABELS, family_of

EOS = 0


def byte_level(*merges: str) -> Tokenizer:
    """A tokenizer of single bytes and of the given words, each built up from the left."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = dict.fromkeys((word[:end], word[end]) for word in merges for end in range(1, len(word)))
    tokens = ["<|end|>", *alphabet, *dict.fromkeys(left + right for left, right in pairs)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(pairs)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    return tokenizer


def tokens(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    return [tokenizer.id_to_token(token_id) or "" for token_id in ids]


def token_id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    assert found is not None
    return found


def test_the_shipped_tokenizer_is_asked_for_one_token_of_each_slot() -> None:
    tokenizer = Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    spelling = Spelling(tokenizer, token_id(tokenizer, "<|end|>"))
    emotion, learn_score = spelling.emotion(family_of), spelling.learn_score()
    assert tokens(tokenizer, emotion.prefix_ids) == ['{"emotion":"']
    assert set(tokens(tokenizer, list(emotion.grammar.allowed(emotion.grammar.initial_state)))) == set(LABELS)
    assert set(emotion.deciding_ids) == set(spelling.emotion(str).deciding_ids) == set(emotion.token_ids)
    for label in LABELS:
        assert tokens(tokenizer, learn_score[label].prefix_ids) == ['{"emotion":"', label, '","learn_score":']
        assert sorted(tokens(tokenizer, learn_score[label].token_ids)) == ["false}", "true}"]


def test_only_the_tokens_that_the_tokenizer_would_use_are_allowed() -> None:
    tokenizer = byte_level("emotion", *LABELS, "learn", "score", "true", "false")
    question = Spelling(tokenizer, EOS).emotion(family_of)
    assert "happy" in tokens(tokenizer, question.token_ids)
    assert "happ" not in tokens(tokenizer, question.token_ids)


def test_single_characters_are_allowed_where_the_tokens_alone_lead_nowhere() -> None:
    # "thats" begins with "th" and "a" alone is a token, but nothing goes on from "tha".
    tokenizer = byte_level("happy", "th", "ats", "afraid")
    question = Spelling(tokenizer, EOS).emotion(family_of)
    so_far = [token_id(tokenizer, token) for token in ("th", "a", "t")]
    assert question.grammar.walk(so_far) is not None


def test_a_token_decides_when_the_family_is_certain_wherever_it_stands() -> None:
    tokenizer = byte_level("happy", "play", "ful", "no", "isy")
    question = Spelling(tokenizer, EOS).emotion(family_of)
    deciding = set(tokens(tokenizer, question.deciding_ids))
    assert {"happy", "play", "isy"} <= deciding
    assert deciding.isdisjoint({"no", "t", "h", "a"})


def test_with_the_model_choosing_the_animation_the_label_itself_must_be_certain() -> None:
    tokenizer = byte_level("happy", "play", "isy", "no")
    question = Spelling(tokenizer, EOS).emotion(str)
    deciding = set(tokens(tokenizer, question.deciding_ids))
    assert {"isy", '"', "3"} <= deciding
    assert deciding.isdisjoint({"happy", "play", "_"})


@pytest.mark.parametrize("decides", [str, family_of])
def test_every_way_through_the_question_ends_with_a_deciding_token(decides: object) -> None:
    question = Spelling(byte_level("happy", "th", "ats"), EOS).emotion(decides)  # type: ignore[arg-type]
    walks = [(question.said, question.grammar.initial_state)]
    ends = set()
    while walks:
        said, state = walks.pop()
        assert question.grammar.allowed(state), f"nothing goes on from {said}"
        for token_id, after in question.grammar.allowed(state).items():
            text = said + question.grammar.text_of([token_id]).decode()
            if token_id in question.deciding_ids:
                ends.add(text)
            else:
                walks.append((text, after))
    for end in ends:
        labels = [
            label
            for label in LABELS
            if f'{{"emotion":"{label}"'.startswith(end) or end.startswith(f'{{"emotion":"{label}"')
        ]
        assert len({label if decides is str else FAMILY_OF[label] for label in labels}) == 1, end


def test_the_value_is_asked_for_behind_what_both_answers_share() -> None:
    tokenizer = byte_level("emotion", "happy", "learn", "score", "true", "false")
    for label, question in Spelling(tokenizer, EOS).learn_score().items():
        assert question.said == f'{{"emotion":"{label}","learn_score":'
        assert sorted(tokens(tokenizer, question.token_ids)) == ["false", "true", "}"]
        assert question.widest == 2


def test_a_tokenizer_that_merges_across_the_opening_is_asked_earlier() -> None:
    tokenizer = Tokenizer(
        models.BPE(vocab=(vocab := {"<|end|>": 0} | _characters()) | {'"h': len(vocab)}, merges=[('"', "h")])
    )
    question = Spelling(tokenizer, EOS).emotion(family_of)
    assert question.said == '{"emotion":'
    assert '"h' in tokens(tokenizer, question.token_ids)


def test_a_tokenizer_that_cannot_write_the_answers_is_refused() -> None:
    without_braces = {char: number for char, number in _characters().items() if char not in "{}"}
    with pytest.raises(ModelError, match="answer language"):
        Spelling(Tokenizer(models.BPE(vocab={"<|end|>": 0} | without_braces, merges=[])), EOS)


def _characters() -> dict[str, int]:
    return {char: number for number, char in enumerate(sorted(set("".join(ALL_ANSWERS))), 1)}

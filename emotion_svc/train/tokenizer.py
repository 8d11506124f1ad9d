"""The shipped model's tokenizer: BPE over our own text, and the answer in four tokens.

Text is NFC and lower case (so case changes nothing), every word and mark of punctuation begins with `▁` whatever
stands before it (a quoted 'milk' and a bare milk must be the same tokens, or they cannot be compared), unknown
characters fall back to bytes. The field marks are special tokens; the skeleton and the labels are added
tokens that are *not* special, because outlines leaves special tokens out of its vocabulary.
"""

import json
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from emotion_svc.decoding.language import FORCED_OPENING
from emotion_svc.decoding.tokens import MARKS as TURN_MARKS
from emotion_svc.taxonomy import LABELS

PAD, EOS = "<|pad|>", "<|end|>"
MARKS = ("<|system|>", "<|question|>", "<|answer|>", "<|response|>", *TURN_MARKS)
SKELETON = (FORCED_OPENING, '","learn_score":', "true}", "false}")


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that every tokenizer made here has."""
    found = tokenizer.token_to_id(token)
    assert found is not None, f"the tokenizer has no {token}"
    return found


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A tokenizer with `vocab_size` tokens in all; deterministic for the same texts."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=None))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Metaspace(prepend_scheme="always"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    added = [*SKELETON, *LABELS]
    special = [PAD, EOS, *MARKS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(added),
        min_frequency=2,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Bytes were declared special only to get their ids; they are ordinary tokens of the model.
    return _rebuild(tokenizer, special, added)


def _rebuild(trained: Tokenizer, special: list[str], added: list[str]) -> Tokenizer:
    """The trained BPE with only the field marks special, and the answer's pieces after all else.

    A label that BPE has learnt as a piece of text ("happy") is taken out of the BPE with every piece built on
    it: a token of the answer must never be a token of a field.
    """
    state = json.loads(trained.to_str())
    merges = [tuple(merge) for merge in state["model"]["merges"]]
    gone = set(added)
    kept: list[tuple[str, str]] = []
    for left, right in merges:
        if {left, right, left + right} & gone:
            gone.add(left + right)
        else:
            kept.append((left, right))
    gone -= {left + right for left, right in kept}
    vocab = sorted(state["model"]["vocab"], key=state["model"]["vocab"].__getitem__)
    state["model"]["vocab"] = {token: place for place, token in enumerate(t for t in vocab if t not in gone)}
    state["model"]["merges"] = kept
    state["added_tokens"] = []
    tokenizer: Tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    return tokenizer

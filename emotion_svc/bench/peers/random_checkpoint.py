"""Random weights in the shape of SmolLM2-135M: `python -m emotion_svc.bench.peers.random_checkpoint DIR`.

Speed does not depend on what the weights are. What it does depend on is the number of tokens of prompt and answer:
the tokenizer is trained on the general prompt alone, and has no labels as whole tokens.
"""

import sys
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from emotion_svc.bench.peers.plain import WINDOW_135M
from emotion_svc.bench.subjects import RANDOM_135M
from emotion_svc.prompt import prompt_for

_SEED: Final = 7
_TOKENS: Final = 8_000


def write_random_checkpoint(directory: Path) -> None:
    """Writes config, weights and tokenizer, as `save_pretrained` lays them out."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokens = PreTrainedTokenizerFast(tokenizer_object=_tokenizer())
    tokens.add_special_tokens({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    torch.manual_seed(_SEED)
    # https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct/blob/main/config.json; its window of 8,192 tokens is
    # cut, which only saves memory.
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        max_position_embeddings=WINDOW_135M,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        initializer_range=0.041,
        bos_token_id=None,
        eos_token_id=tokens.eos_token_id,
        dtype="bfloat16",
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)
    tokens.save_pretrained(directory)


def _tokenizer() -> Tokenizer:
    """Byte-level BPE, as SmolLM2's is."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_TOKENS,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    general = prompt_for(RANDOM_135M)
    bpe.train_from_iterator([general.system, general.user] * 10, trainer)
    return bpe


if __name__ == "__main__":
    write_random_checkpoint(Path(sys.argv[1]))

"""An instruct model small enough for a test: random weights, a chat template, labels of several tokens.

It is laid out as the Hugging Face Hub's client caches a model, so that it is found by its name without a network.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

NAME = "someone/tiny-instruct"
WINDOW = 800

SENTENCES = (
    "You classify what a robot says. Answer with JSON.",
    "Previous Question: Con mèo tiếng Anh là gì? Previous Answer: cat. Response to check: Chính xác, cat đó!",
    "happy calm excited playful no problem encouraging curious surprised proud right sad angry worry afraid noisy",
    '{"emotion":"happy","learn_score":true} {"emotion":"sad","learn_score":false}',
)

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level BPE over a few sentences, with ChatML's role markers as special tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=template
    )


def write_model(directory: Path, *, template: str | None = TEMPLATE, spread: float = 0.3) -> Path:
    """Writes the model to a directory and returns it. `spread` is the weights' standard deviation; with 0.3 the
    posteriors are far from even, so that the answers differ.
    """
    tokens = tokenizer(template)
    tokens.save_pretrained(directory)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=WINDOW,
        initializer_range=spread,
        eos_token_id=tokens.eos_token_id,
        dtype="float32",
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def write_to_hub_cache(cache: Path) -> Path:
    """Writes the model to a cache of the Hub's client; returns its snapshot, a model directory."""
    model = cache / f"models--{NAME.replace('/', '--')}"
    snapshot = model / "snapshots" / ("0" * 40)
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(snapshot.name)
    return write_model(snapshot)

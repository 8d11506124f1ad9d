"""The Hugging Face checkpoint: config, safetensors, tokenizer. Any Llama runtime loads it unchanged."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from emotion_svc.train.model import Decoder, Shape
from emotion_svc.train.tokenizer import EOS, PAD, token_id


def write_checkpoint(model: Decoder, tokenizer: Tokenizer, name: str, out: Path) -> None:
    """Writes config.json, model.safetensors (float16), tokenizer.json and their small companions to `out`.

    float16 halves the file; the rounded weights *are* the checkpoint, everything later is made from them.
    """
    out.mkdir(parents=True, exist_ok=True)
    shape = model.shape
    eos, pad = token_id(tokenizer, EOS), token_id(tokenizer, PAD)
    _write_json(out / "config.json", llama_config(shape, name, eos, pad))
    _write_json(out / "generation_config.json", {"eos_token_id": eos, "pad_token_id": pad, "do_sample": False})
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": shape.window,
        "clean_up_tokenization_spaces": False,
    }
    _write_json(out / "tokenizer_config.json", tokenizer_config)
    tokenizer.save(str(out / "tokenizer.json"))
    weights = {key: tensor.to(torch.float16) for key, tensor in model.to_llama().items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # safetensors keeps it from everybody else


def llama_config(shape: Shape, name: str, eos: int, pad: int) -> dict[str, object]:
    """`config.json` of a Llama-architecture checkpoint."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "_name_or_path": name,
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.hidden // shape.heads,
        "max_position_embeddings": shape.window,
        "rms_norm_eps": shape.rms_eps,
        "rope_theta": shape.rope_theta,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": None,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "dtype": "float16",
    }


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")

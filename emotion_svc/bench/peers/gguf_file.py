"""A model directory's checkpoint as a GGUF file for llama.cpp: `python -m emotion_svc.bench.peers.gguf_file DIR FILE`.

llama.cpp's own converter does not know the tokenizer. The vocabulary goes in as sentencepiece-like pieces, which
spells every answer right; prompts are tokenized by the project's tokenizer and handed over as ids.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from emotion_svc.modeldir import WEIGHTS_FILE

_OTHER_NAMES: Final = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.layers": "blk",
}


def write_gguf(directory: Path, out: Path) -> None:
    """Writes the directory's checkpoint, 8-bit weights in llama.cpp's own blocks (Q8_0)."""
    import gguf

    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name(config["_name_or_path"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    _add_vocabulary(writer, directory, config)
    for name, tensor in load_file(directory / WEIGHTS_FILE).items():
        value = tensor.astype(np.float32)
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        if heads is not None:
            value = _interleaved(value, config[heads])
        if value.ndim == 1:
            writer.add_tensor(_gguf_name(name), value)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(_gguf_name(name), gguf.quants.quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, directory: Path, config: dict[str, Any]) -> None:
    import gguf

    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    added = tokenizer.get_added_tokens_decoder()
    pieces, kinds = [], []
    for token_id in range(config["vocab_size"]):
        piece = tokenizer.id_to_token(token_id) or f"<unused {token_id}>"
        if token_id in added:
            kind = gguf.TokenType.CONTROL if added[token_id].special else gguf.TokenType.USER_DEFINED
        elif len(piece) == 6 and piece.startswith("<0x"):
            kind = gguf.TokenType.BYTE
        else:
            kind = gguf.TokenType.NORMAL
        pieces.append(piece.encode())
        kinds.append(kind)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(place) for place in range(len(pieces))])
    writer.add_token_types(kinds)
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_bos_token_id(config["eos_token_id"])  # none is ever put in, but llama.cpp wants one
    writer.add_unk_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)


def _gguf_name(name: str) -> str:
    for theirs, ours in _OTHER_NAMES.items():
        name = name.replace(theirs, ours)
    return name


def _interleaved(matrix: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Rows of q or k in the order of llama.cpp's rotation, which pairs neighbours and not halves.

    As `permute` in https://github.com/ggml-org/llama.cpp/blob/master/convert_hf_to_gguf.py.
    """
    rows, inner = matrix.shape
    return matrix.reshape(heads, 2, rows // heads // 2, inner).swapaxes(1, 2).reshape(rows, inner)


if __name__ == "__main__":
    write_gguf(Path(sys.argv[1]), Path(sys.argv[2]))

"""Weights of an existing checkpoint: loaded by transformers, adapted by peft, written back as a plain directory."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

import torch

from emotion_svc.engines.checkpoint import Checkpoint
from emotion_svc.errors import ModelError
from emotion_svc.train.config import LoraConfig

_COMPANIONS: Final = (
    "config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*",
    "merges.txt", "*.jinja", "*.model",
)  # fmt: skip


def load_causal(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> Any:
    """The checkpoint's network.

    Raises:
        ModelError: transformers cannot load it as a causal language model.
    """
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(checkpoint.directory, dtype=dtype)
    except Exception as error:  # transformers raises whatever its parts raise
        raise ModelError(
            f"transformers cannot load '{checkpoint.name}' as a causal language model ({type(error).__name__}); "
            "give a checkpoint with an architecture that ends in ForCausalLM"
        ) from error


def with_adapters(model: Any, config: LoraConfig, name: str) -> Any:
    """The network with its own weights frozen and low-rank adapters to train. `name` is the base's, for the files."""
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    asked = PeftConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, asked)
    adapted.peft_config["default"].base_model_name_or_path = name  # it would be a path of this machine
    return adapted


def write_model(model: Any, checkpoint: Checkpoint, directory: Path, adapter: Path) -> None:
    """Writes a model that any runtime of the checkpoint loads, and to `adapter` the adapters where there are some.

    Weights get the checkpoint's own dtype. Everything else of the directory is the checkpoint's, unchanged: only
    the name is written into config.json, so that the prompt of the training is the one that is served.
    """
    if hasattr(model, "peft_config"):
        model.save_pretrained(adapter, save_embedding_layers=False)
        (adapter / "README.md").unlink(missing_ok=True)  # a form that nobody has filled in
        model = model.merge_and_unload()
    dtype = "float32" if checkpoint.dtype == "auto" else checkpoint.dtype
    model.to(getattr(torch, dtype)).save_pretrained(directory)
    for pattern in _COMPANIONS:
        for file in checkpoint.directory.glob(pattern):
            shutil.copyfile(file, directory / file.name)
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"_name_or_path": checkpoint.name, "dtype": dtype}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

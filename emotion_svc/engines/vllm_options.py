"""The options that vLLM runs with: the same for the `vllm` engine and for a `vllm serve` of one's own.

docs/vllm-settings.md has what each of them was measured to gain. This file needs no vLLM.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

_MAX_REQUESTS: Final = 64
"""Requests that are worked on at the same time; more wait in vLLM."""

_CPU_CACHE_BYTES: Final = 1 << 30
_CPU_BLOCK: Final = 32
"""Tokens that the CPU's prefix cache keeps or forgets together: its smallest. With vLLM's default of 128,
most turns are shorter than one block, and the second request of a turn would compute the first one's again."""

_LOGPROBS: Final = 20
"""vLLM's own default for `max_logprobs`, and what OpenAI's wire may ask for."""


def tuned(*, dtype: str, window: int, widest: int, on_cpu: bool) -> dict[str, Any]:
    """The tuned set for one model, as `AsyncEngineArgs` names the options.

    Args:
        dtype: what the checkpoint's config.json says, such as `float16`.
        window: the longest request, in tokens (`checkpoint.shape_of`).
        widest: the most tokens of the grammar that may come next; all of them get a log-probability.
        on_cpu: whether vLLM runs on the CPU.
    """
    options: dict[str, Any] = {
        "max_model_len": window,
        "max_num_seqs": _MAX_REQUESTS,
        "enable_prefix_caching": True,
        "structured_outputs_config": {"backend": "outlines"},
        "logprobs_mode": "processed_logprobs",  # after the grammar's mask; vLLM's own default is before it
        "max_logprobs": max(_LOGPROBS, widest),
        "disable_log_stats": True,
    }
    if not on_cpu:
        return options
    if dtype == "float16":
        # Most CPUs have no arithmetic in float16: a whole answer takes 29 ms longer in it from the plain set, and 18
        # from this one.
        options["dtype"] = "float32"
    # Compiling would take half a minute at each first start, gained nothing from the plain set, and cost 17 ms of a
    # whole answer (95 % interval 1 to 56) from this one.
    return options | {"enforce_eager": True, "block_size": _CPU_BLOCK, "kv_cache_memory_bytes": _CPU_CACHE_BYTES}


def as_words(options: Mapping[str, Any]) -> list[str]:
    """The options as words of a command line: `{"enforce_eager": True}` is `--enforce-eager`, objects are JSON."""
    words: list[str] = []
    for name, value in options.items():
        words.append(option_name(name))
        if value is not True:
            words.append(value if isinstance(value, str) else json.dumps(value))
    return words


def option_name(name: str) -> str:
    """`max_model_len` is `--max-model-len`."""
    return "--" + name.replace("_", "-")


def given_names(words: Sequence[str]) -> set[str]:
    """The names of the options among the words of a command line, as `--max-model-len`."""
    return {word.split("=")[0].split(".")[0].replace("_", "-") for word in words if word.startswith("--")}


def serve_line(model: str, options: Mapping[str, Any], more: Sequence[str]) -> str:
    """The line for a shell that starts `vllm serve`; where `more` gives an option, it takes the place of ours."""
    given = given_names(more)
    ours = {name: value for name, value in options.items() if option_name(name) not in given}
    return shlex.join(["vllm", "serve", model, *as_words(ours), *more])

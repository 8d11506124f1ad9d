"""The two anchors: what a user starts without a thought, and the tuned set that this package ships."""

import json
from collections.abc import Mapping
from typing import Any, Final

from emotion_svc.bench.settings.catalog import Anchor, Asking
from emotion_svc.engines.vllm_options import as_words, option_name

LONG_WINDOW: Final = 8192
"""Of SmolLM2-135M, the model that the robot asks today. The shipped checkpoint is made to take as much where a window
is compared: its positions are rotations, which can be computed for any length."""

CACHE_BYTES: Final = 1 << 30
"""Without a size vLLM would take nine tenths of the memory, and a second server could not start beside it."""

LONG: Final = {
    "--max-model-len": str(LONG_WINDOW),
    "--hf-overrides": json.dumps({"max_position_embeddings": LONG_WINDOW}),
}
"""The options that give a model this window."""


def plain(dtype: str) -> Anchor:
    """What a user starts without a thought: vLLM's defaults, a long prompt, a JSON schema, `max_tokens` 50.

    Named are only the values that the model would give by itself (`dtype`), the window, and the size of the cache.
    """
    server = {"--dtype": dtype, "--kv-cache-memory-bytes": str(CACHE_BYTES)} | LONG
    return Anchor("plain", server, Asking("long", "schema", 50, stops=False, temperature=None))


def tuned(options: Mapping[str, Any]) -> Anchor:
    """The engine's own options, and the requests that go with them."""
    server = {}
    for name, value in options.items():
        words = as_words({name: value})
        server[option_name(name)] = words[1] if len(words) > 1 else ""
    return Anchor("tuned", server, Asking("short", "regex", "computed", stops=True, temperature=0.0))

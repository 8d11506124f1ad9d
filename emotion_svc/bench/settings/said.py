"""The settings: in the order of what the robot's team noted that each saves, then those that we add."""

from typing import Final

from emotion_svc.bench.settings.anchors import CACHE_BYTES, LONG, LONG_WINDOW
from emotion_svc.bench.settings.catalog import Setting, Value

_LISTED: Final = "listed"
"""The team's list names the setting without a figure."""

_OURS: Final = ""
"""Not on the list; the tuned set has it, or it might have gone in."""


def _option(name: str, value: str | None, label: str = "") -> Value:
    """An option with a value; with None it is not given."""
    return Value(label or value or "default", {name: value})


def _switch(name: str, *, given: bool, label: str) -> Value:
    return Value(label, {name: "" if given else None})


_AS_IT_IS: Final = Value("as it is")
_EAGER: Final = "--enforce-eager"
_NO_PREFIX: Final = "--no-enable-prefix-caching"
_NO_CHUNKS: Final = "--no-enable-chunked-prefill"
_BATCH: Final = "--max-num-batched-tokens"
_LOG: Final = "--enable-log-requests"
_NO_ACCESS_LOG: Final = "--disable-uvicorn-access-log"
_NO_STATISTICS: Final = "--disable-log-stats"
_CACHE: Final = "--kv-cache-memory-bytes"
_GRAMMAR: Final = "--structured-outputs-config"
_PROCESSES: Final = "VLLM_ENABLE_V1_MULTIPROCESSING"
_WINDOW_512: Final = _option("--max-model-len", "512")
_FLOAT16, _BFLOAT16, _FLOAT32 = (_option("--dtype", name) for name in ("float16", "bfloat16", "float32"))
_ONE_GIB: Final = _option(_CACHE, str(CACHE_BYTES), "1 GiB")

SETTINGS: Final = (
    Setting(
        "max-model-len",
        "50–70 ms",
        ((_WINDOW_512, Value(str(LONG_WINDOW), LONG)), (_option("--max-model-len", "256"), _WINDOW_512)),
        (50, 70),
    ),
    Setting(
        "enforce-eager",
        "30–50 ms",
        ((_switch(_EAGER, given=False, label="off"), _switch(_EAGER, given=True, label="on")),),
        (30, 50),
    ),
    Setting(
        "prefix caching",
        "20–40 ms",
        (
            (
                _switch(_NO_PREFIX, given=False, label="on"),
                Value("off", {_NO_PREFIX: "", "--enable-prefix-caching": None}),
            ),
        ),
        (20, 40),
    ),
    Setting(
        "chunked prefill",
        "10–20 ms",
        ((_switch(_NO_CHUNKS, given=False, label="on"), _switch(_NO_CHUNKS, given=True, label="off")),),
        (10, 20),
    ),
    Setting("dtype", "10–15 %", ((_FLOAT16, _FLOAT32), (_FLOAT16, _BFLOAT16), (_BFLOAT16, _FLOAT32))),
    Setting("kv-cache-dtype", _LISTED, ((_option("--kv-cache-dtype", "fp8"), _option("--kv-cache-dtype", None)),)),
    Setting(
        "max-num-batched-tokens",
        _LISTED,
        ((_option(_BATCH, "8192"), _option(_BATCH, None)), (_option(_BATCH, "512"), _option(_BATCH, None))),
    ),
    Setting(
        "request logging",
        "1–3 ms",
        ((_switch(_LOG, given=False, label="off"), _switch(_LOG, given=True, label="on")),),
        (1, 3),
    ),
    Setting(
        "cache's memory (gpu-memory-utilization)",
        _LISTED,
        ((_option(_CACHE, str(4 * CACHE_BYTES), "4 GiB"), _ONE_GIB),),
    ),
    Setting(
        "max-num-seqs",
        "1 against 512",
        ((_option("--max-num-seqs", "1"), _AS_IT_IS), (_option("--max-num-seqs", "512"), _AS_IT_IS)),
    ),
    Setting(
        "system prompt",
        _LISTED,
        ((Value("short", asking={"prompt": "short"}), Value("long", asking={"prompt": "long"})),),
    ),
    Setting(
        "max_tokens",
        _LISTED,
        ((Value("computed", asking={"max_tokens": "computed"}), Value("50", asking={"max_tokens": 50})),),
    ),
    Setting(
        "stop tokens", _LISTED, ((Value("given", asking={"stops": True}), Value("none", asking={"stops": False})),)
    ),
    Setting(
        "temperature",
        _LISTED,
        ((Value("0", asking={"temperature": 0.0}), Value("default", asking={"temperature": None})),),
    ),
    Setting(
        "grammar",
        _OURS,
        (
            (
                Value("regex of rest", asking={"grammar": "regex"}),
                Value("JSON schema", asking={"grammar": "schema"}),
            ),
        ),
    ),
    Setting(
        "structured outputs",
        _OURS,
        ((_option(_GRAMMAR, '{"backend": "outlines"}', "outlines"), _option(_GRAMMAR, None, "auto (xgrammar)")),),
    ),
    Setting("block-size", _OURS, ((_option("--block-size", "32"), _option("--block-size", None)),)),
    Setting(
        "model in the engine's process", _OURS, ((_option(_PROCESSES, "0", "yes"), _option(_PROCESSES, None, "no")),)
    ),
    Setting(
        "statistics",
        _OURS,
        ((_switch(_NO_STATISTICS, given=True, label="off"), _switch(_NO_STATISTICS, given=False, label="on")),),
    ),
    Setting(
        "access log",
        _OURS,
        ((_switch(_NO_ACCESS_LOG, given=True, label="off"), _switch(_NO_ACCESS_LOG, given=False, label="on")),),
    ),
)

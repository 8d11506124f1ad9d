"""The floor: the least time that one turn can take on this machine, from the model's shape and file and measured peaks.

Nothing can be faster than its operations at the machine's peak, or than its bytes at the memory's. Only what the
answer needs is counted: the last layer looks out from one position, a token looks at those before it, 25 tokens get
logits. The operations of norms, activations and softmax are left out, so the true floor lies a little higher. The bytes
of the weights are those in the file that runs, whatever it keeps them in.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from emotion_svc.bench.peak import measure_peak
from emotion_svc.bench.results import Cost, Floor, Peak
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.modeldir import ONNX_FILE
from emotion_svc.schema import Turn
from emotion_svc.taxonomy import LABELS

_LOGITS: Final = len(LABELS) + 2
_WARM_UP: Final = 50
_TABLES: Final = {("Gather", 0), ("RotaryEmbedding", 2), ("RotaryEmbedding", 3)}
"""Operators, and the place of an input of which they read a few rows only."""


class Shape(NamedTuple):
    """What of a Llama's config decides its work."""

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head: int

    @classmethod
    def of(cls, directory: Path) -> "Shape":
        """Of the checkpoint in a model directory."""
        c = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        return cls(
            c["num_hidden_layers"],
            c["hidden_size"],
            c["intermediate_size"],
            c["num_attention_heads"],
            c["num_key_value_heads"],
            c["head_dim"],
        )

    @property
    def query_weights(self) -> int:
        """Weights of a layer that only positions need which are looked out from: q, o, and the MLP."""
        return 2 * self.hidden * self.heads * self.head + 3 * self.hidden * self.inner

    @property
    def key_weights(self) -> int:
        """Weights of a layer that every token needs: k and v."""
        return 2 * self.hidden * self.kv_heads * self.head

    @property
    def weights(self) -> int:
        """Weights that one pass multiplies with; embeddings are looked up."""
        return self.layers * (self.query_weights + self.key_weights) + self.hidden * _LOGITS


def weight_bytes(onnx_file: Path) -> int:
    """Bytes of the constants that a pass reads whole: weights in whatever form, their scales, norms; no embeddings."""
    import onnx

    graph = onnx.load(onnx_file).graph
    read = {
        name for node in graph.node for place, name in enumerate(node.input) if (node.op_type, place) not in _TABLES
    }
    return sum(onnx.numpy_helper.to_array(one).nbytes for one in graph.initializer if one.name in read)


def cost_of_pass(shape: Shape, weights: int, tokens: int, read: int = 1) -> Cost:
    """Work of one pass over so many tokens, at `read` of which slots are read.

    `weights`: their bytes (see `weight_bytes`). All that are read count as looking at every token before the end.
    """
    inner = shape.layers - 1  # layers in which every token is looked out from
    linear = tokens * (shape.layers * shape.key_weights + inner * shape.query_weights)
    linear += read * (shape.query_weights + shape.hidden * _LOGITS)
    attention = 2 * shape.heads * shape.head * (inner * tokens * (tokens + 1) // 2 + read * tokens)
    return Cost(linear_ops=2 * linear, attention_ops=2 * attention, bytes_moved=weights + tokens * shape.hidden)


def cost_of_turn(shape: Shape, weights: int, tokens: int) -> Cost:
    """One pass: the prompt, the token that opens the answer, a likely label and the forced skeleton behind it."""
    return cost_of_pass(shape, weights, tokens + 3, read=2)


def floor_ms(cost: Cost, peak: Peak) -> float:
    """Milliseconds that the cost takes at the peak, computing or moving, whichever is longer.

    A multiplication and an addition are two operations.
    """
    computing = cost.linear_ops / (peak.int8_gops * 1e9) + cost.attention_ops / (peak.fp32_gflops * 1e9)
    return max(computing, cost.bytes_moved / (peak.memory_gb_per_s * 1e9)) * 1e3


def measure_floor(model: EmbeddedModel, turns: Sequence[Turn], directory: Path) -> Floor:
    """The floor at the median length of the turns, and the time of turns of about that length in the engine.

    `model` is the directory's.
    """
    lengths = [len(model.tokens.encode(turn).ids) for turn in turns]
    median = int(np.median(lengths))
    near = [turn for turn, length in zip(turns, lengths, strict=True) if abs(length - median) <= 1]
    for turn in turns[:_WARM_UP]:
        model.classify([turn])
    infer = float(np.median([model.classify([turn])[0].timings.infer_ms for turn in near]))
    peak = measure_peak()
    weights = weight_bytes(directory / ONNX_FILE)
    tokens = len(model.tokens.system_ids) + median
    cost = cost_of_turn(Shape.of(directory), weights, tokens)
    least = floor_ms(cost, peak)
    return Floor(tokens=tokens, cost=cost, peak=peak, floor_ms=least, infer_ms=infer, reached=least / infer)

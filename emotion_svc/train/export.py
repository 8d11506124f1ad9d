"""The ONNX file of a checkpoint, fp32 or int8, built node by node for the embedded engine.

A pass reads a prompt from its first token:

    ids        (batch, length)                  int64    the tokens of each row, padded on the right
    read       (batch, read)                    int64    the positions whose next token is wanted
    read_bias  (batch, 1, read, length)         float32  0 where such a position may look, a large negative where not
    ->
    logits     (batch, read, 25)                         of the 23 labels, then false, true

A token looks at itself and those before it, so padding changes nothing. The last layer is evaluated at `read` alone,
and only the 25 slot tokens get logits. Nothing is kept for a later pass: the system prompt has 7 tokens, and to carry
their keys and values in and all of them out takes longer than to read them anew (docs/performance.md).

In int8 a product's input is quantized with steps that are fixed beforehand (`train/ranges.py`), so that a turn's answer
does not depend on the turns that share its batch; each column of weights has a scale. Weights have 7 bits: with 8, the
sum of two products overflows 16 bits on x86 processors without VNNI, and their answers would be others. The small
product of the slots stays in fp32.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from emotion_svc.decoding.slots import Slots
from emotion_svc.modeldir import digest_of

Array = npt.NDArray[np.float32]

_MICROSOFT = "com.microsoft"
_ZERO: Final = 128
"""Where 0 is in a byte."""


class Range(NamedTuple):
    """How far a product's input goes: nearly all values are within plus and minus `end`, once divided by `channels`.

    channels: (in,), for an input some of whose channels go many times as far as others (`train/ranges.py`); the layer
    before is made to divide by them, and the product's own weights to multiply.
    """

    end: float
    channels: Array | None = None


class _Graph:
    """Collects nodes and weights; every method appends a node and returns the name of its output.

    `inputs` has the input of each product that int8 quantizes, by the product's name.
    """

    def __init__(self, ranges: Mapping[str, Range] | None) -> None:
        self._ranges = ranges
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: dict[str, str] = {}
        self._quantized: dict[str, tuple[str, str]] = {}
        self._zero = "" if ranges is None else self.weight("zero", np.array(_ZERO, np.uint8))

    def weight(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self.weights.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def node(self, op: str, *inputs: str, out: str | None = None, domain: str = "", **attributes: Any) -> str:
        out = out or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], name=out, domain=domain, **attributes))
        return out

    def channels(self, name: str) -> Array | None:
        """What the channels of a product's input are to be divided by, if by anything."""
        return self._ranges[name].channels if self._ranges is not None else None

    def linear(self, x: str, name: str, matrix: Array) -> str:
        """X @ matrix.T, `matrix` as torch keeps it: (out, in)."""
        self.inputs[name] = x
        if self._ranges is None:
            return self.exact(x, name, matrix)
        if x not in self._quantized:  # products of one input share its steps
            step = self.weight(name + ".step", np.array(self._ranges[name].end / 127, np.float32))
            self._quantized[x] = self.node("QuantizeLinear", x, step, self._zero), step
        quantized, step = self._quantized[x]
        columns, column_scales = quantize_columns(matrix)
        return self.node(
            "MatMulIntegerToFloat",
            quantized,
            self.weight(name + ".q7", columns),
            step,
            self.weight(name + ".scale", column_scales),
            self._zero,
            domain=_MICROSOFT,
        )

    def exact(self, x: str, name: str, matrix: Array) -> str:
        """As `linear`, in fp32 whatever the precision is."""
        return self.node("MatMul", x, self.weight(name, matrix.T))

    def embed(self, ids: str, matrix: Array) -> str:
        """Rows of the embedding; in int8, each row has its own scale."""
        if self._ranges is None:
            return self.node("Gather", self.weight("embed", matrix), ids)
        scale = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-12) / 127
        rows = self.node("Gather", self.weight("embed.q8", np.rint(matrix / scale).astype(np.int8)), ids)
        scales = self.node("Gather", self.weight("embed.scale", scale.astype(np.float32)), ids)
        return self.node("Mul", self.node("Cast", rows, to=TensorProto.FLOAT), scales)

    def norm(self, x: str, name: str, weight: Array, eps: float) -> str:
        return self.node("SimplifiedLayerNormalization", x, self.weight(name, weight), axis=-1, epsilon=eps)


def quantize_columns(matrix: Array) -> tuple[npt.NDArray[np.int8], Array]:
    """7-bit weights, as they are multiplied from the right: (in, out), and a scale for each column (out,)."""
    scales = np.maximum(np.abs(matrix).max(axis=1), 1e-12) / 63
    return np.rint(matrix / scales[:, None]).astype(np.int8).T, scales.astype(np.float32)


def export_onnx(checkpoint: Path, slots: Slots, out: Path, ranges: Mapping[str, Range] | None = None) -> str:
    """Writes the graph of the checkpoint directory to `out`; returns its digest (`digest_of`).

    `ranges`: how far the inputs of products go, by the products' names (`ranges.input_ranges`): with them the graph is
    int8, without them fp32.
    """
    onnx.save(graph_of(checkpoint, slots, ranges)[0], out)
    return digest_of(out)


def graph_of(
    checkpoint: Path, slots: Slots, ranges: Mapping[str, Range] | None
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The graph, and the name of the input of each product that int8 quantizes, by the product's name."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    weights = {k: v.astype(np.float32) for k, v in load_file(checkpoint / "model.safetensors").items()}
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    head, eps = config["head_dim"], config["rms_norm_eps"]
    graph = _Graph(ranges)
    angles = np.outer(
        np.arange(config["max_position_embeddings"]), config["rope_theta"] ** (-np.arange(0, head, 2) / head)
    )
    places = _Places(
        graph.weight("cos", np.cos(angles).astype(np.float32)),
        graph.weight("sin", np.sin(angles).astype(np.float32)),
        graph.weight("first", np.zeros(1, np.int64)),
        graph.node("Unsqueeze", "read", graph.weight("axis", np.array([2]))),
    )
    embedding = weights["model.embed_tokens.weight"]
    x = graph.embed("ids", embedding)
    for number in range(layers):
        own = {
            key.split(".", 3)[3]: value for key, value in weights.items() if key.startswith(f"model.layers.{number}.")
        }
        x = _layer(graph, x, own, number, places, heads, eps, last=number == layers - 1)
    x = graph.norm(x, "norm", weights["model.norm.weight"], eps)
    wanted = [*slots.labels, slots.false, slots.true]
    graph.node("Identity", graph.exact(x, "slots", embedding[wanted]), out="logits")
    return _finish(graph, len(wanted)), graph.inputs


class _Places(NamedTuple):
    """What layers share: the angles' tables, where a row's first token stands, and where to gather what is read."""

    cos: str
    sin: str
    first: str
    read: str


def _layer(
    graph: _Graph,
    x: str,
    weights: dict[str, Array],
    number: int,
    places: _Places,
    heads: int,
    eps: float,
    *,
    last: bool,
) -> str:
    """One decoder layer; the last one looks out from the positions `read` alone."""
    name = f"layer{number}."
    normed = graph.norm(x, name + "norm1", weights["input_layernorm.weight"], eps)
    asking, asked_at = normed, places.first
    if last:
        asking, x = (graph.node("GatherND", one, places.read, batch_dims=1) for one in (normed, x))
        asked_at = "read"
    q, k, v = (
        graph.linear(one, name + p, weights[f"self_attn.{p}_proj.weight"])
        for one, p in ((asking, "q"), (normed, "k"), (normed, "v"))
    )
    q, k = (
        graph.node("RotaryEmbedding", one, at, places.cos, places.sin, domain=_MICROSOFT, num_heads=heads)
        for one, at in ((q, asked_at), (k, places.first))
    )
    mixed = graph.node(
        "Attention",
        *((q, k, v, "read_bias") if last else (q, k, v)),
        q_num_heads=heads,
        kv_num_heads=heads,
        is_causal=int(not last),
    )
    x = graph.node("Add", x, graph.linear(mixed, name + "o", weights["self_attn.o_proj.weight"]))
    normed = graph.norm(x, name + "norm2", weights["post_attention_layernorm.weight"], eps)
    up, down = weights["mlp.up_proj.weight"], weights["mlp.down_proj.weight"]
    if (channels := graph.channels(name + "down")) is not None:
        up, down = up / channels[:, None], down * channels
    gate = graph.linear(normed, name + "gate", weights["mlp.gate_proj.weight"])
    silu = graph.node("QuickGelu", gate, domain=_MICROSOFT, alpha=1.0)  # x * sigmoid(x)
    inner = graph.node("Mul", silu, graph.linear(normed, name + "up", up))
    return graph.node("Add", x, graph.linear(inner, name + "down", down))


def _finish(graph: _Graph, slot_tokens: int) -> onnx.ModelProto:
    def value(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    fp, i64 = TensorProto.FLOAT, TensorProto.INT64
    inputs = [
        value("ids", i64, "batch", "length"),
        value("read", i64, "batch", "read"),
        value("read_bias", fp, "batch", 1, "read", "length"),
    ]
    outputs = [value("logits", fp, "batch", "read", slot_tokens)]
    built = helper.make_graph(graph.nodes, "emotion_svc", inputs, outputs, graph.weights)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid(_MICROSOFT, 1)]
    return helper.make_model(built, opset_imports=opsets, ir_version=10, producer_name="emotion_svc")

"""The ONNX file of a checkpoint, fp32 or int8, built node by node for the embedded engine.

One graph serves both passes (the turn, and the pair of tokens that opens the second slot behind a likely label; that
pair anew, where another label is chosen):

    ids        (batch, length)                  int64    the new tokens
    positions  (batch, length)                  int64    their places, the past's tokens counted
    past       (layers, 2, batch, heads, past, head)     keys and values of what was read before
    bias       (batch or 1, 1, length, past + length)    0 where a token may look, a large negative where not
    read_bias  (batch, 1, read, past + length)           the same rows for the positions that are read
    read       (batch, read, 1)                 int64    the positions whose next token is wanted
    ->
    logits     (batch, read, 25)                         of the 23 labels, then false, true
    present    (layers, 2, batch, heads, past + length, head)

The last layer is evaluated at `read` alone, and only the 25 slot tokens get logits. In int8 a product is made in one of
two ways, neither of which lets a turn's answer depend on the turns that share its batch, as scales of whole tensors
would:

- with steps that are fixed beforehand (`QuantizeLinear`, `MatMulIntegerToFloat`), where the range of its input is known
  (`train/ranges.py`): a scale for each column of weights, which have 7 bits. With 8, the sum of two products overflows
  16 bits on x86 processors without VNNI, and their answers would be others;
- else with 8-bit weights in blocks of 64 with a scale each, and inputs that are quantized block by block
  (`MatMulNBits`, accuracy level 4): it takes twice as long, and an outlier spoils one block of one row.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from emotion_svc.decoding.slots import Slots
from emotion_svc.modeldir import digest_of

Precision = Literal["fp32", "int8"]
Array = npt.NDArray[np.float32]

BLOCK: Final = 64
"""Inputs that share a scale; fewer where the inner size is no multiple of it. Against 32: 8 % faster, and no further
from fp32 (docs/log.md)."""
_MICROSOFT = "com.microsoft"
_ZERO: Final = 128
"""Where 0 is in a byte."""


class _Graph:
    """Collects nodes and weights; every method appends a node and returns the name of its output.

    `inputs` has the input of each product by the product's name.
    """

    def __init__(self, precision: Precision, ranges: Mapping[str, float]) -> None:
        self.precision, self._ranges = precision, ranges
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: dict[str, str] = {}
        self._zero = self.weight("zero", np.array(_ZERO, np.uint8)) if ranges else ""

    def weight(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self.weights.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def node(self, op: str, *inputs: str, out: str | None = None, domain: str = "", **attributes: Any) -> str:
        return self.split(op, *inputs, outs=[out or f"{op}_{len(self.nodes)}"], domain=domain, **attributes)[0]

    def split(self, op: str, *inputs: str, outs: list[str], domain: str = "", **attributes: Any) -> list[str]:
        self.nodes.append(helper.make_node(op, inputs, outs, name=outs[0], domain=domain, **attributes))
        return outs

    def linear(self, x: str, name: str, matrix: Array) -> str:
        """X @ matrix.T, `matrix` as torch keeps it: (out, in)."""
        self.inputs[name] = x
        if self.precision == "fp32":
            return self.node("MatMul", x, self.weight(name, matrix.T))
        if name in self._ranges:
            columns, column_scales = quantize_columns(matrix)
            step = self.weight(name + ".step", np.array(self._ranges[name] / 127, np.float32))
            return self.node(
                "MatMulIntegerToFloat",
                self.node("QuantizeLinear", x, step, self._zero),
                self.weight(name + ".q7", columns),
                step,
                self.weight(name + ".scale", column_scales),
                self._zero,
                domain=_MICROSOFT,
            )
        packed, scales = quantize_blocks(matrix)
        return self.node(
            "MatMulNBits",
            x,
            self.weight(name + ".q8", packed),
            self.weight(name + ".scale", scales),
            domain=_MICROSOFT,
            K=matrix.shape[1],
            N=matrix.shape[0],
            bits=8,
            block_size=packed.shape[-1],
            accuracy_level=4,
        )

    def embed(self, ids: str, matrix: Array) -> str:
        """Rows of the embedding; in int8, each row has its own scale."""
        if self.precision == "fp32":
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


def quantize_blocks(matrix: Array) -> tuple[npt.NDArray[np.uint8], Array]:
    """8-bit weights around 128 in blocks along the input: (out, in / block, block), and scales (out, in / block)."""
    out, inner = matrix.shape
    block = math.gcd(inner, BLOCK)
    blocks = matrix.reshape(out, inner // block, block)
    scales = np.maximum(np.abs(blocks).max(axis=-1), 1e-12) / 127
    packed = np.rint(blocks / scales[..., None]).astype(np.int16) + _ZERO
    return packed.astype(np.uint8), scales.astype(np.float32)


def export_onnx(
    checkpoint: Path, slots: Slots, precision: Precision, out: Path, ranges: Mapping[str, float] | None = None
) -> str:
    """Writes the graph of the checkpoint directory to `out`; returns its digest (`digest_of`).

    `ranges`, for int8: how far the inputs of products go, by the products' names (`ranges.input_ranges`).
    """
    onnx.save(graph_of(checkpoint, slots, precision, ranges or {})[0], out)
    return digest_of(out)


def graph_of(
    checkpoint: Path, slots: Slots, precision: Precision, ranges: Mapping[str, float]
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The graph, and the name of the input of each of its products, by the product's name."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    weights = {k: v.astype(np.float32) for k, v in load_file(checkpoint / "model.safetensors").items()}
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    head, eps = config["head_dim"], config["rms_norm_eps"]
    graph = _Graph(precision, ranges)
    angles = np.outer(
        np.arange(config["max_position_embeddings"]), config["rope_theta"] ** (-np.arange(0, head, 2) / head)
    )
    cos, sin = (graph.weight(n, f(angles).astype(np.float32)) for n, f in (("cos", np.cos), ("sin", np.sin)))
    pasts = graph.split("Split", "past", outs=[f"past_{i}" for i in range(layers)], axis=0, num_outputs=layers)
    embedding = weights["model.embed_tokens.weight"]
    x, presents = graph.embed("ids", embedding), []
    for number, past in enumerate(pasts):
        last = number == layers - 1
        own = {
            key.split(".", 3)[3]: value for key, value in weights.items() if key.startswith(f"model.layers.{number}.")
        }
        x, present = _layer(graph, x, own, number, past, cos, sin, heads, eps, last=last)
        presents.append(present)
    graph.node("Concat", *presents, out="present", axis=0)
    x = graph.norm(x, "norm", weights["model.norm.weight"], eps)
    wanted = [*slots.labels, slots.false, slots.true]
    graph.node("Identity", graph.linear(x, "slots", embedding[wanted]), out="logits")
    return _finish(graph, layers, heads, head, len(wanted)), graph.inputs


def _layer(
    graph: _Graph,
    x: str,
    weights: dict[str, Array],
    number: int,
    past: str,
    cos: str,
    sin: str,
    heads: int,
    eps: float,
    *,
    last: bool,
) -> tuple[str, str]:
    """One decoder layer; the last one looks out from the positions `read` alone."""
    name = f"layer{number}."
    normed = graph.norm(x, name + "norm1", weights["input_layernorm.weight"], eps)
    q_weight, k_weight, v_weight = (weights[f"self_attn.{p}_proj.weight"] for p in "qkv")
    positions = "positions"
    if last:
        q_in = graph.node("GatherND", normed, "read", batch_dims=1)
        q_positions = graph.node("GatherND", positions, "read", batch_dims=1)
        x = graph.node("GatherND", x, "read", batch_dims=1)
        q = graph.linear(q_in, name + "q", q_weight)
        kv = graph.linear(normed, name + "kv", np.concatenate((k_weight, v_weight)))
        k, v = graph.split("Split", kv, outs=[name + "k_", name + "v_"], axis=2, num_outputs=2)
    else:
        q_positions = positions
        qkv = graph.linear(normed, name + "qkv", np.concatenate((q_weight, k_weight, v_weight)))
        q, k, v = graph.split("Split", qkv, outs=[name + p for p in ("q_", "k_", "v_")], axis=2, num_outputs=3)
    q = graph.node("RotaryEmbedding", q, q_positions, cos, sin, domain=_MICROSOFT, num_heads=heads)
    k = graph.node("RotaryEmbedding", k, positions, cos, sin, domain=_MICROSOFT, num_heads=heads)
    both = graph.node("Squeeze", past, graph.weight(name + "axis0", np.array([0])))
    past_k, past_v = (graph.node("Gather", both, graph.weight(f"{name}{p}", np.array(p)), axis=0) for p in (0, 1))
    bias = "read_bias" if last else "bias"
    mixed, new_k, new_v = graph.split(
        "MultiHeadAttention",
        *(q, k, v, "", "", bias, past_k, past_v),
        outs=[name + "mixed", name + "k", name + "v"],
        domain=_MICROSOFT,
        num_heads=heads,
    )
    axes = graph.weight(name + "axes", np.array([0, 1]))
    present = graph.node("Concat", *(graph.node("Unsqueeze", part, axes) for part in (new_k, new_v)), axis=1)
    x = graph.node("Add", x, graph.linear(mixed, name + "o", weights["self_attn.o_proj.weight"]))
    normed = graph.norm(x, name + "norm2", weights["post_attention_layernorm.weight"], eps)
    both = graph.linear(
        normed, name + "gate_up", np.concatenate([weights[f"mlp.{p}_proj.weight"] for p in ("gate", "up")])
    )
    gate, up = graph.split("Split", both, outs=[name + "gate", name + "up"], axis=2, num_outputs=2)
    silu = graph.node("QuickGelu", gate, domain=_MICROSOFT, alpha=1.0)  # x * sigmoid(x)
    return graph.node(
        "Add", x, graph.linear(graph.node("Mul", silu, up), name + "down", weights["mlp.down_proj.weight"])
    ), present


def _finish(graph: _Graph, layers: int, heads: int, head: int, slot_tokens: int) -> onnx.ModelProto:
    def value(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    fp, i64 = TensorProto.FLOAT, TensorProto.INT64
    inputs = [
        value("ids", i64, "batch", "length"),
        value("positions", i64, "batch", "length"),
        value("past", fp, layers, 2, "batch", heads, "past", head),
        value("bias", fp, "bias_batch", 1, "length", "all"),
        value("read_bias", fp, "batch", 1, "read", "all"),
        value("read", i64, "batch", "read", 1),
    ]
    outputs = [
        value("logits", fp, "batch", "read", slot_tokens),
        value("present", fp, layers, 2, "batch", heads, "all", head),
    ]
    built = helper.make_graph(graph.nodes, "emotion_svc", inputs, outputs, graph.weights)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(_MICROSOFT, 1)]
    return helper.make_model(built, opset_imports=opsets, ir_version=10, producer_name="emotion_svc")

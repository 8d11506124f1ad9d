"""How far the inputs of the network's products go: what their 8-bit steps are made from (`train/export.py`)."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from emotion_svc.decoding.slots import Slots
from emotion_svc.engines.embedded import open_session, read_bias
from emotion_svc.train.export import Array, Range, graph_of

_WITHIN: Final = 0.9999
"""The share of an input's values that a range holds; what is beyond becomes its end. A few outliers would make every
step of 256 wider."""

_UNEVEN: Final = "down"
"""The product whose input goes to fifty times its spread, in a few channels."""

_EVENED: Final = 0.85
"""How much of a channel's reach its weights take over: SmoothQuant's alpha (Xiao et al. 2023, arXiv:2211.10438)."""

_LEAST: Final = 1e-5
"""What stands in for the reach of a channel that is always 0."""


def input_ranges(checkpoint: Path, slots: Slots, prompts: Sequence[list[int]]) -> dict[str, Range]:
    """The range of each product's input in fp32, by the product's name.

    Args:
        checkpoint: the checkpoint's directory.
        slots: the answer's tokens.
        prompts: token ids of answered turns, as long as the answer's first three tokens go: what the engine reads. At
            least one.
    """
    graph, inputs = graph_of(checkpoint, slots, None)
    outputs = list(dict.fromkeys(inputs.values()))
    graph.graph.output.extend(helper.make_tensor_value_info(put, TensorProto.FLOAT, None) for put in outputs)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fp32.onnx"
        onnx.save(graph, path)
        session = open_session(path)
        rows = [session.run(outputs, _fed(prompt)) for prompt in prompts]
    reaches = {
        put: np.abs(np.concatenate([values[0] for values in column]))
        for put, column in zip(outputs, zip(*rows, strict=True), strict=True)
    }
    return {name: range_of(name, reaches[put], weights[name]) for name, put in inputs.items()}


def range_of(name: str, reaches: Array, weights: Array) -> Range:
    """The range of one product's input. reaches: (tokens, in), how far each value goes; weights: (in, out)."""
    channels = None
    if name.endswith(_UNEVEN):
        of_weights = np.maximum(np.abs(weights).max(axis=1), _LEAST)
        channels = np.maximum(reaches.max(axis=0), _LEAST) ** _EVENED / of_weights ** (1 - _EVENED)
        reaches = reaches / channels
    return Range(float(np.quantile(reaches, _WITHIN)), channels)


def _fed(prompt: list[int]) -> dict[str, Any]:
    """The graph's inputs for one whole prompt, read where its label and its value are asked."""
    read = np.array([[len(prompt) - 3, len(prompt) - 1]])
    return {"ids": np.array([prompt]), "read": read, "read_bias": read_bias(read, len(prompt))}

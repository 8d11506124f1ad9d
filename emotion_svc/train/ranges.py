"""How far the inputs of the network's products go: what their 8-bit steps are made from (`train/export.py`)."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from emotion_svc.decoding.slots import Slots
from emotion_svc.engines.embedded import open_session
from emotion_svc.train.export import graph_of

_WITHIN: Final = 0.9999
"""The share of an input's values that a range holds; what is beyond becomes its end. A few outliers would make every
step of 256 wider."""

_IN_BLOCKS: Final = ("down", "slots")
"""What needs no range: what the feed-forward layer multiplies has outliers of fifty times its spread, and the product
of the slots is small."""


def input_ranges(checkpoint: Path, slots: Slots, prompts: Sequence[list[int]]) -> dict[str, float]:
    """The range of each product's input in fp32, by the product's name: nearly all values are within plus and minus it.

    Args:
        checkpoint: the checkpoint's directory.
        slots: the answer's tokens.
        prompts: token ids of answered turns, as long as the answer's first three tokens go: what the engine reads. At
            least one.
    """
    graph, inputs = graph_of(checkpoint, slots, "fp32", {})
    wanted = {name: put for name, put in inputs.items() if name.rsplit(".", 1)[-1] not in _IN_BLOCKS}
    outputs = list(dict.fromkeys(wanted.values()))
    graph.graph.output.extend(helper.make_tensor_value_info(put, TensorProto.FLOAT, None) for put in outputs)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fp32.onnx"
        onnx.save(graph, path)
        session = open_session(path)
        rows = [session.run(outputs, _fed(session, prompt)) for prompt in prompts]
    ranges = {
        put: float(np.quantile(np.abs(np.concatenate([values.ravel() for values in column])), _WITHIN))
        for put, column in zip(outputs, zip(*rows, strict=True), strict=True)
    }
    return {name: ranges[put] for name, put in wanted.items()}


def _fed(session: Any, prompt: list[int]) -> dict[str, Any]:
    """The graph's inputs for one whole prompt, read where its label and its value are asked."""
    layers, _, _, heads, _, head = session.get_inputs()[2].shape
    length = len(prompt)
    places = np.arange(length)
    bias = np.where(places[None, :] <= places[:, None], 0.0, -1e9).astype(np.float32)[None, None]
    read = np.array([length - 3, length - 1])
    return {
        "ids": np.array([prompt]),
        "positions": places[None],
        "past": np.zeros((layers, 2, 1, heads, 0, head), np.float32),
        "bias": bias,
        "read_bias": bias[:, :, read],
        "read": read[None, :, None],
    }

"""What this machine can do at best, with one thread: ONNX Runtime's own matrix multiply, and the memory."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from emotion_svc.bench.results import Peak
from emotion_svc.engines.embedded import open_session

Int8 = Literal["MatMulNBits", "MatMulInteger", "MatMulIntegerToFloat"]
Kind = Literal["MatMul", Int8]

_SIZE: Final = 512
"""Rows, columns and depth of the product: large enough that its start does not count, small enough for the cache."""

_COPIED_BYTES: Final = 1 << 27
"""Four times the last cache of a large server core complex, so that memory is measured and not the cache."""

_SECONDS: Final = 0.7


def measure_peak() -> Peak:
    """The best of many runs of each; the best, because a peak is what nothing disturbed."""
    operations = 2 * _SIZE**3
    source = np.ones(_COPIED_BYTES, np.uint8)
    target = np.empty_like(source)
    with TemporaryDirectory() as folder:
        products = {kind: product_of(kind, Path(folder)) for kind in get_args(Kind)}
        best = {kind: _best(product) for kind, product in products.items()}
    return Peak(
        fp32_gflops=operations / best["MatMul"] / 1e9,
        int8_gops=operations / min(best[kind] for kind in get_args(Int8)) / 1e9,
        memory_gb_per_s=2 * _COPIED_BYTES / _best(lambda: np.copyto(target, source)) / 1e9,
    )


def _best(run: Callable[[], object]) -> float:
    """The shortest time of a run, in seconds."""
    best, until = float("inf"), time.perf_counter() + _SECONDS
    while (started := time.perf_counter()) < until:
        run()
        best = min(best, time.perf_counter() - started)
    return best


def product_of(kind: Kind, folder: Path, block: int = 64) -> Callable[[], list[npt.NDArray[np.generic]]]:
    """One product of two square matrices, the second a weight, by that operator; `folder` gets its graph.

    `block`: weights that share a scale in MatMulNBits.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    attributes: dict[str, Any] = {}
    weights: list[npt.NDArray[np.generic]]
    x: npt.NDArray[np.generic] = rng.standard_normal((_SIZE, _SIZE)).astype(np.float32)
    into = out = TensorProto.FLOAT
    match kind:
        case "MatMul":
            weights = [rng.standard_normal((_SIZE, _SIZE)).astype(np.float32)]
        case "MatMulNBits":
            blocks = (_SIZE, _SIZE // block)
            weights = [rng.integers(0, 256, (*blocks, block)).astype(np.uint8), np.full(blocks, 0.01, np.float32)]
            attributes = {
                "domain": "com.microsoft",
                "K": _SIZE,
                "N": _SIZE,
                "bits": 8,
                "block_size": block,
                "accuracy_level": 4,
            }
        case _:
            weights = [rng.integers(-127, 128, (_SIZE, _SIZE)).astype(np.int8)]
            x = rng.integers(0, 256, (_SIZE, _SIZE)).astype(np.uint8)
            into, out = TensorProto.UINT8, TensorProto.INT32
            if kind == "MatMulIntegerToFloat":  # a scale for x, and one for each column of the weight
                weights += [np.full(1, 0.01, np.float32), np.full(_SIZE, 0.01, np.float32)]
                attributes, out = {"domain": "com.microsoft"}, TensorProto.FLOAT
    names = [f"weight{place}" for place in range(len(weights))]
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", *names], ["y"], **attributes)],
        kind,
        [helper.make_tensor_value_info("x", into, [_SIZE, _SIZE])],
        [helper.make_tensor_value_info("y", out, [_SIZE, _SIZE])],
        [numpy_helper.from_array(value, name) for name, value in zip(names, weights, strict=True)],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    path = folder / f"{kind}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    session = open_session(path)
    return lambda: list(session.run(None, {"x": x}))

"""The floor, checked by hand and against the graph that is shipped."""

import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.bench.floor import Shape, cost_of_pass, cost_of_turn, floor_ms, weight_bytes
from emotion_svc.bench.peak import Kind, product_of
from emotion_svc.bench.results import Cost, Peak
from emotion_svc.modeldir import ONNX_FILE, SHIPPED

TINY = Shape(layers=2, hidden=4, inner=6, heads=2, kv_heads=1, head=3)


def test_the_work_of_a_tiny_model_is_what_one_counts_by_hand() -> None:
    cost = cost_of_pass(TINY, weights=1000, tokens=3)
    query, key = 2 * 4 * 6 + 3 * 4 * 6, 2 * 4 * 3  # q and o, gate, up and down; k and v
    every_token, last_token = 2 * key + query, query + 4 * 25
    assert cost.linear_ops == 2 * (3 * every_token + last_token)
    looked_at = 1 + 2 + 3  # the tokens before, itself
    assert cost.attention_ops == 2 * 2 * (2 * 3) * (looked_at + 3)
    assert TINY.weights == 2 * (query + key) + 4 * 25
    assert cost.bytes_moved == 1000 + 3 * 4


def test_the_weights_are_those_of_the_shipped_graph() -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(SHIPPED / ONNX_FILE).graph
    sizes = {one.name: math.prod(one.dims) for one in graph.initializer}
    products = [node for node in graph.node if node.op_type.startswith("MatMul")]
    assert Shape.of(SHIPPED).weights == sum(sizes[node.input[1]] for node in products)


def test_the_bytes_of_the_weights_are_those_in_the_file_and_tables_are_only_looked_into(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Gather", ["table", "ids"], ["x"]),
        node("QuantizeLinear", ["x", "scale", "zero"], ["x8"]),
        node("MatMulIntegerToFloat", ["x8", "w8", "scale", "scales", "zero"], ["y"], domain="com.microsoft"),
        node("MatMul", ["y", "w"], ["z"]),
    ]
    constants = {
        "table": np.zeros((100, 8), np.float32),
        "scale": np.ones((), np.float32),  # of two nodes, but read once
        "zero": np.zeros((), np.uint8),
        "w8": np.zeros((8, 6), np.int8),
        "scales": np.ones(6, np.float32),
        "w": np.zeros((6, 2), np.float32),
    }
    graph = onnx.helper.make_graph(
        nodes,
        "made",
        [value("ids", onnx.TensorProto.INT64, [None])],
        [value("z", onnx.TensorProto.FLOAT, [None, 2])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "made.onnx")
    assert weight_bytes(tmp_path / "made.onnx") == 4 + 1 + 8 * 6 + 6 * 4 + 6 * 2 * 4


def test_the_shipped_weights_take_a_byte_each_and_few_for_scales() -> None:
    pytest.importorskip("onnx")
    assert 1 < weight_bytes(SHIPPED / ONNX_FILE) / Shape.of(SHIPPED).weights < 1.1


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_product_of_the_peak_runs(kind: Kind, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    [product] = product_of(kind, tmp_path)()
    assert product.shape == (512, 512)


@given(st.integers(1, 300))
def test_a_longer_turn_is_more_work(tokens: int) -> None:
    shorter, longer = (cost_of_turn(TINY, 1000, count) for count in (tokens, tokens + 1))
    assert all(
        long > short for short, long in zip(shorter.model_dump().values(), longer.model_dump().values(), strict=True)
    )


@pytest.mark.parametrize(("gigabytes_per_s", "expected_ms"), [(1000.0, 2 + 1), (1.0, 50.0)])
def test_the_floor_is_computing_or_moving_whichever_is_longer(gigabytes_per_s: float, expected_ms: float) -> None:
    cost = Cost(linear_ops=200e6, attention_ops=20e6, bytes_moved=50e6)
    peak = Peak(fp32_gflops=20, int8_gops=100, memory_gb_per_s=gigabytes_per_s)
    assert floor_ms(cost, peak) == pytest.approx(expected_ms)

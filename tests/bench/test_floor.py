"""The floor, checked by hand and against the graph that is shipped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.bench.floor import Shape, cost_of_pass, cost_of_turn, floor_ms
from emotion_svc.bench.results import Cost, Peak
from emotion_svc.modeldir import ONNX_FILE, SHIPPED

TINY = Shape(layers=2, hidden=4, inner=6, heads=2, kv_heads=1, head=3)


def test_the_work_of_a_tiny_model_is_what_one_counts_by_hand() -> None:
    cost = cost_of_pass(TINY, tokens=3, past=5)
    query, key = 2 * 4 * 6 + 3 * 4 * 6, 2 * 4 * 3  # q and o, gate, up and down; k and v
    every_token, last_token = 2 * key + query, query + 4 * 25
    assert cost.linear_ops == 2 * (3 * every_token + last_token)
    looked_at = 6 + 7 + 8  # the past, the tokens before, itself
    assert cost.attention_ops == 2 * 2 * (2 * 3) * (looked_at + 8)
    weights = 2 * (query + key) + 4 * 25
    assert cost.bytes_moved == weights * 1.125 + (3 + 5) * 2 * 2 * 3 * 4 + 3 * 4


def test_the_weights_are_those_of_the_shipped_graph() -> None:
    onnx = pytest.importorskip("onnx")
    products = [n for n in onnx.load(SHIPPED / ONNX_FILE).graph.node if n.op_type == "MatMulNBits"]
    sizes = [{a.name: a.i for a in node.attribute} for node in products]
    assert Shape.of(SHIPPED).weights == sum(size["K"] * size["N"] for size in sizes)


@given(st.integers(1, 300), st.integers(0, 50))
def test_a_longer_turn_is_more_work(tokens: int, system: int) -> None:
    shorter, longer = cost_of_turn(TINY, tokens, system), cost_of_turn(TINY, tokens + 1, system)
    assert all(
        long > short for short, long in zip(shorter.model_dump().values(), longer.model_dump().values(), strict=True)
    )


@pytest.mark.parametrize(("gigabytes_per_s", "expected_ms"), [(1000.0, 2 + 1), (1.0, 50.0)])
def test_the_floor_is_computing_or_moving_whichever_is_longer(gigabytes_per_s: float, expected_ms: float) -> None:
    cost = Cost(linear_ops=200e6, attention_ops=20e6, bytes_moved=50e6)
    peak = Peak(fp32_gflops=20, int8_gops=100, memory_gb_per_s=gigabytes_per_s)
    assert floor_ms(cost, peak) == pytest.approx(expected_ms)

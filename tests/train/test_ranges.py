"""Steps fixed beforehand: how far the products' inputs go, and what int8 makes of it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import Tensor, nn

from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.modeldir import ONNX_FILE, SHIPPED, UNCALIBRATED
from emotion_svc.train.export import export_onnx, quantize_columns
from emotion_svc.train.model import Decoder, Shape
from emotion_svc.train.pipeline import Run
from emotion_svc.train.ranges import input_ranges
from tests.train.tiny import CONFIG, lines, run

NAMES = ("layer0.qkv", "layer0.o", "layer0.gate_up", "layer1.q", "layer1.kv", "layer1.o", "layer1.gate_up")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Decoder, Path]:
    """A network of random weights, as wide as a trained one's, in the files of a checkpoint."""
    out = tmp_path_factory.mktemp("ranges")
    whole = run(out)
    torch.manual_seed(0)
    shape = CONFIG.model
    network = Decoder(
        Shape(whole.tokenizer.get_vocab_size(), shape.hidden, shape.intermediate, shape.layers, shape.heads)
    )
    whole.write(network, "nothing")
    return whole, network, out / "model"


def weights_of(graph: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(graph).graph.initializer}


def test_every_product_has_a_range_but_those_with_outliers_and_the_small_one(made: tuple[Run, Decoder, Path]) -> None:
    whole, _, directory = made
    ranges = input_ranges(directory, whole.slots, [[1, 2, 3, 4], [5, 6, 7, 8, 9]])
    assert tuple(ranges) == NAMES
    assert all(0 < reach < 20 for reach in ranges.values())
    assert ranges["layer1.q"] != ranges["layer1.kv"], "the last layer looks out from the positions that are read"


def test_a_range_holds_nearly_all_values_that_the_network_sees(made: tuple[Run, Decoder, Path]) -> None:
    whole, network, directory = made
    prompts = [torch.randint(20, 400, (40,), generator=torch.Generator().manual_seed(n)).tolist() for n in range(20)]
    seen: dict[str, list[Tensor]] = {}
    first = network.layers[0]
    for name, linear in (("layer0.qkv", first.qkv), ("layer0.o", first.o_proj), ("layer0.gate_up", first.gate_up)):
        assert isinstance(linear, nn.Linear)
        seen[name] = []
        linear.register_forward_pre_hook(lambda _, x, name=name: seen[name].append(x[0].flatten()))
    with torch.inference_mode():
        for prompt in prompts:
            network.eval()(torch.tensor([prompt]))
    ranges = input_ranges(directory, whole.slots, prompts)
    for name, values in seen.items():
        assert ranges[name] == pytest.approx(torch.cat(values).abs().quantile(0.9999).item(), rel=0.01)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_columns_of_weights_are_within_half_a_step_and_have_seven_bits(out: int, inner: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(out, inner)).astype(np.float32)
    columns, scales = quantize_columns(matrix)
    assert columns.shape == (inner, out)
    assert (np.abs(columns.T * scales[:, None] - matrix) <= 0.501 * scales[:, None]).all()
    assert np.abs(columns).max() <= 63


def test_no_two_products_overflow_sixteen_bits_in_the_shipped_graph() -> None:
    columns = {name: weight for name, weight in weights_of(SHIPPED / ONNX_FILE).items() if name.endswith(".q7")}
    assert len(columns) == 10
    assert max(2 * 255 * int(np.abs(weight).max()) for weight in columns.values()) < 2**15


def test_fixed_steps_give_what_the_network_gives(made: tuple[Run, Decoder, Path], tmp_path: Path) -> None:
    whole, _, directory = made
    ranges = {
        name.rsplit(".", 1)[0]: float(step) * 127
        for name, step in weights_of(directory / ONNX_FILE).items()
        if name.endswith(".step")
    }
    assert ranges.keys() == set(NAMES)
    export_onnx(directory, whole.slots, "fp32", tmp_path / "exact.onnx")
    export_onnx(directory, whole.slots, "int8", tmp_path / "blocks.onnx")
    turns = [example.turn for example in lines().turns]
    exact, fixed, blocks = (
        [
            [*verdict.emotion_posterior.values()]
            for verdict in EmbeddedModel(directory, onnx_file=graph, temperatures=UNCALIBRATED).classify(turns)
        ]
        for graph in (tmp_path / "exact.onnx", directory / ONNX_FILE, tmp_path / "blocks.onnx")
    )
    assert fixed != blocks
    assert np.abs(np.array(fixed) - exact).max() < 0.03
    assert np.abs(np.array(blocks) - exact).max() < 0.03


def test_an_answer_does_not_depend_on_the_turns_beside_it(made: tuple[Run, Decoder, Path]) -> None:
    model = EmbeddedModel(made[2])
    turns = [example.turn for example in lines().turns]
    together = model.classify(turns)
    for turn, verdict in zip(turns, together, strict=True):
        [alone] = model.classify([turn])
        assert [*alone.emotion_posterior.values()] == pytest.approx([*verdict.emotion_posterior.values()], abs=1e-5)

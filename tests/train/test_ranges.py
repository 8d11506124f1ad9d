"""Steps fixed beforehand: how far the products' inputs go, and what int8 makes of it."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.modeldir import ONNX_FILE, SHIPPED, UNCALIBRATED
from emotion_svc.train.export import export_onnx, quantize_columns
from emotion_svc.train.model import Decoder, Shape
from emotion_svc.train.pipeline import Run
from emotion_svc.train.ranges import input_ranges, range_of
from tests.train.tiny import CONFIG, lines, run

PRODUCTS = ("q", "k", "v", "o", "gate", "up", "down")
NAMES = {f"layer{number}.{name}" for number in (0, 1) for name in PRODUCTS}


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


def test_every_product_has_a_range_and_those_of_one_input_have_the_same(made: tuple[Run, Decoder, Path]) -> None:
    whole, _, directory = made
    ranges = input_ranges(directory, whole.slots, [[1, 2, 3, 4], [5, 6, 7, 8, 9]])
    assert ranges.keys() == NAMES
    assert all(0 < each.end < 20 for each in ranges.values())
    assert ranges["layer0.q"] == ranges["layer0.k"] == ranges["layer0.v"]
    assert ranges["layer0.gate"] == ranges["layer0.up"]
    assert ranges["layer1.q"] != ranges["layer1.k"], "the last layer looks out from the positions that are read"


def test_the_channels_of_the_feed_forward_layer_are_evened_out_and_no_others(made: tuple[Run, Decoder, Path]) -> None:
    whole, network, directory = made
    ranges = input_ranges(directory, whole.slots, [[1, 2, 3, 4], [5, 6, 7, 8, 9]])
    assert {name for name, each in ranges.items() if each.channels is not None} == {"layer0.down", "layer1.down"}
    channels = ranges["layer0.down"].channels
    assert channels is not None
    assert channels.shape == (network.shape.intermediate,)
    assert channels.min() > 0


@given(st.integers(1, 30), st.integers(1, 20), st.integers(0, 2**31))
def test_a_channel_that_goes_far_takes_no_room_from_the_others(tokens: int, inner: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reaches = (1 + np.abs(rng.normal(size=(tokens, inner)))) * 10 ** rng.uniform(-2, 2, inner)
    weights = rng.uniform(0.1, 1, size=(inner, 4))
    made = range_of("layer0.down", reaches.astype(np.float32), weights.astype(np.float32))
    assert made.channels is not None
    evened, before = ((one.max() / one.min()) for one in ((reaches / made.channels).max(axis=0), reaches.max(axis=0)))
    of_weights = weights.max(axis=1).max() / weights.max(axis=1).min()
    assert evened <= (before * of_weights) ** 0.15 * 1.001


def test_a_range_holds_nearly_all_values_that_the_network_sees(made: tuple[Run, Decoder, Path]) -> None:
    whole, network, directory = made
    prompts = [torch.randint(20, 400, (40,), generator=torch.Generator().manual_seed(n)).tolist() for n in range(20)]
    seen: dict[str, list[Tensor]] = {}
    first = network.layers[0]
    for name, linear in (("layer0.q", first.qkv), ("layer0.o", first.o_proj), ("layer0.gate", first.gate_up)):
        assert isinstance(linear, nn.Linear)
        seen[name] = []
        linear.register_forward_pre_hook(lambda _, x, name=name: seen[name].append(x[0].flatten()))
    with torch.inference_mode():
        for prompt in prompts:
            network.eval()(torch.tensor([prompt]))
    ranges = input_ranges(directory, whole.slots, prompts)
    for name, values in seen.items():
        assert ranges[name].end == pytest.approx(torch.cat(values).abs().quantile(0.9999).item(), rel=0.01)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_columns_of_weights_are_within_half_a_step_and_have_seven_bits(out: int, inner: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(out, inner)).astype(np.float32)
    columns, scales = quantize_columns(matrix)
    assert columns.shape == (inner, out)
    assert (np.abs(columns.T * scales[:, None] - matrix) <= 0.501 * scales[:, None]).all()
    assert np.abs(columns).max() <= 63


def test_no_two_products_overflow_sixteen_bits_in_the_shipped_graph() -> None:
    columns = {name: weight for name, weight in weights_of(SHIPPED / ONNX_FILE).items() if name.endswith(".q7")}
    assert len(columns) == 3 * len(PRODUCTS)
    assert max(2 * 255 * int(np.abs(weight).max()) for weight in columns.values()) < 2**15


def test_fixed_steps_give_what_the_network_gives(made: tuple[Run, Decoder, Path], tmp_path: Path) -> None:
    whole, _, directory = made
    export_onnx(directory, whole.slots, tmp_path / "exact.onnx")
    turns = [example.turn for example in lines().turns]
    exact, fixed = (
        [
            [*verdict.emotion_posterior.values()]
            for verdict in EmbeddedModel(directory, onnx_file=graph, temperatures=UNCALIBRATED).classify(turns)
        ]
        for graph in (tmp_path / "exact.onnx", directory / ONNX_FILE)
    )
    assert fixed != exact
    assert np.abs(np.array(fixed) - exact).max() < 0.03


def test_channels_are_evened_out_without_a_change_to_what_the_network_gives(
    made: tuple[Run, Decoder, Path], tmp_path: Path
) -> None:
    whole, network, directory = made
    uneven = tmp_path / "uneven"
    shutil.copytree(directory, uneven)
    weights = load_file(uneven / "model.safetensors")
    rng = np.random.default_rng(0)
    far = 30 ** rng.choice([0.0, 1.0], network.shape.intermediate, p=[0.97, 0.03]).astype(np.float32)
    for number in range(2):
        name = f"model.layers.{number}.mlp."
        weights[name + "up_proj.weight"] = (weights[name + "up_proj.weight"] * far[:, None]).astype(np.float16)
        weights[name + "down_proj.weight"] = (weights[name + "down_proj.weight"] / far).astype(np.float16)
    save_file(weights, uneven / "model.safetensors")
    prompts = [torch.randint(20, 400, (40,), generator=torch.Generator().manual_seed(n)).tolist() for n in range(20)]
    ranges = input_ranges(uneven, whole.slots, prompts)
    turns = [example.turn for example in lines().turns]

    def posteriors(graph: Path) -> np.ndarray:
        verdicts = EmbeddedModel(uneven, onnx_file=graph, temperatures=UNCALIBRATED).classify(turns)
        return np.array([[*verdict.emotion_posterior.values()] for verdict in verdicts])

    export_onnx(uneven, whole.slots, tmp_path / "exact.onnx")
    export_onnx(uneven, whole.slots, tmp_path / "evened.onnx", ranges)
    assert np.abs(posteriors(tmp_path / "evened.onnx") - posteriors(tmp_path / "exact.onnx")).max() < 0.03


def test_an_answer_does_not_depend_on_the_turns_beside_it(made: tuple[Run, Decoder, Path]) -> None:
    model = EmbeddedModel(made[2])
    turns = [example.turn for example in lines().turns]
    together = model.classify(turns)
    for turn, verdict in zip(turns, together, strict=True):
        [alone] = model.classify([turn])
        assert [*alone.emotion_posterior.values()] == pytest.approx([*verdict.emotion_posterior.values()], abs=1e-5)

"""How cost grows is measured on the real model, with sizes up to ten times the usual one."""

import re
import shutil
from pathlib import Path

import pytest

from emotion_svc.bench import growth
from emotion_svc.bench.results import Growth
from emotion_svc.config import load_settings
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.errors import ModelError
from emotion_svc.modeldir import ONNX_FILE, SHIPPED
from emotion_svc.schema import Turn
from emotion_svc.taxonomy import LABELS

TURNS = [
    Turn(previous_question="", previous_answer="", response=f"Cậu kể tiếp chuyện con mèo số {number} cho tớ nghe đi!")
    for number in range(12)
]


async def test_clients_ask_the_model_of_the_directory(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "config.json", tmp_path)
    with pytest.raises(ModelError, match=re.escape(str(tmp_path / ONNX_FILE))):
        await growth.measure_growth(EmbeddedModel(), tmp_path, TURNS[:1])


@pytest.mark.parametrize(("cost", "linear_at_most"), [([2.0, 9.0, 20.0], True), ([2.0, 3.0, 20.1], False)])
def test_a_cost_is_no_worse_than_linear_where_its_factor_is_not_over_that_of_the_size(
    cost: list[float], linear_at_most: bool
) -> None:
    row = Growth(what="made", unit="ms", sizes=[1, 2, 10], cost=cost, note="")
    assert row.is_linear_at_most is linear_at_most


async def test_each_kind_of_size_is_measured_up_to_ten_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "_ROUNDS", 1)
    monkeypatch.setattr(growth, "_SECONDS", 0.05)
    text, tokens, clients, index, posterior = await growth.measure_growth(EmbeddedModel(), SHIPPED, TURNS)
    assert clients.sizes == [1, 2, 5, 10]
    assert index.sizes == posterior.sizes == [len(LABELS) * factor for factor in (1, 2, 5, 10)]
    assert text.sizes[-1] / text.sizes[0] == pytest.approx(10, rel=0.05)  # and the spaces between
    assert tokens.cost == text.cost
    assert tokens.sizes[0] < tokens.sizes[-1] < 10 * tokens.sizes[0]  # the marks stay as they are, and a field is cut
    assert clients.note == f"embedded in process, passes at a time: {load_settings().threads}; median latency"
    for row in (text, clients, index, posterior):
        assert all(cost > 0 for cost in row.cost)
    assert text.cost[-1] > text.cost[0]

"""How cost grows is measured on the real model, with sizes up to ten times the usual one."""

import re
import shutil
from pathlib import Path

import pytest

from emotion_svc.bench import growth
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


async def test_each_kind_of_size_is_measured_up_to_ten_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "_ROUNDS", 1)
    monkeypatch.setattr(growth, "_SECONDS", 0.05)
    text, clients, index, posterior = await growth.measure_growth(EmbeddedModel(), SHIPPED, TURNS)
    assert clients.sizes == [1, 2, 5, 10]
    assert index.sizes == posterior.sizes == [len(LABELS) * factor for factor in (1, 2, 5, 10)]
    assert text.sizes[-1] / text.sizes[0] == pytest.approx(10, rel=0.05)  # and the spaces between
    for row in (text, clients, index, posterior):
        assert all(cost > 0 for cost in row.cost)
    assert text.cost[-1] > text.cost[0]

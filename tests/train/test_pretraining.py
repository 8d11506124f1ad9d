"""Reading before labels: next tokens are learnt first, then labels; both can be stopped and resumed."""

import json
from pathlib import Path

import pytest
import torch

from emotion_svc.train.config import PretrainConfig
from emotion_svc.train.pipeline import PRETRAINED
from emotion_svc.train.pretrainer import Pretrainer, Texts
from emotion_svc.train.trainer import Trainer
from tests.train.tiny import CONFIG, run

READS_FIRST = CONFIG.model_copy(
    update={
        "pretrain": PretrainConfig(epochs=3, learning_rate=4e-3),
        "optim": CONFIG.optim.model_copy(update={"epochs": 1}),
    }
)


def rows_of(log: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def test_every_token_but_the_first_is_asked_and_no_padding() -> None:
    batch = Texts.of([[5, 6, 7], [8, 9]])
    assert batch.ids.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch.following.tolist() == [[6, 7, -100], [9, -100, -100]]


def test_it_learns_to_predict_lines_and_then_labels_from_there(tmp_path: Path) -> None:
    run(tmp_path / "read", READS_FIRST).train(progress=False)
    reading = rows_of(tmp_path / "read" / PRETRAINED / "log.jsonl")
    assert [row["epoch"] for row in reading] == [1, 2, 3]
    assert reading[-1]["dev_loss"] < 0.6 * reading[0]["dev_loss"]
    without = READS_FIRST.model_copy(update={"pretrain": PretrainConfig()})
    run(tmp_path / "new", without).train(progress=False)
    [learnt], [new] = rows_of(tmp_path / "read" / "log.jsonl"), rows_of(tmp_path / "new" / "log.jsonl")
    assert learnt["loss"] < new["loss"]


@pytest.mark.parametrize(("kind", "stops_at"), [(Pretrainer, 17), (Trainer, 5)])
def test_a_stopped_run_ends_with_the_weights_of_an_uninterrupted_one(
    kind: type[Pretrainer | Trainer], stops_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", READS_FIRST).train(progress=False)
    one_step, steps = kind._train_step, 0

    def stop(self: Pretrainer | Trainer, *args: object) -> float:
        nonlocal steps
        steps += 1
        if steps == stops_at:
            raise KeyboardInterrupt
        return one_step(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(kind, "_train_step", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", READS_FIRST).train(progress=False)
    monkeypatch.undo()
    resumed = run(tmp_path / "stopped", READS_FIRST).train(progress=False)
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, msg=f"{name} differs after resuming")


def test_other_settings_read_anew(tmp_path: Path) -> None:
    run(tmp_path, READS_FIRST).train(progress=False)
    run(tmp_path, READS_FIRST.model_copy(update={"seed": 4})).train(progress=False)
    assert [row["epoch"] for row in rows_of(tmp_path / PRETRAINED / "log.jsonl")] == [1, 2, 3]

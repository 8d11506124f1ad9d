"""Reading before labels: next tokens are learnt first, then labels; both can be stopped and resumed."""

import json
from pathlib import Path

import pytest
import torch

from emotion_svc.train import pipeline
from emotion_svc.train.begin import PRETRAINED
from emotion_svc.train.config import PretrainConfig
from emotion_svc.train.model import Decoder
from emotion_svc.train.pretrainer import Pretrainer, Texts
from emotion_svc.train.trainer import Trainer
from tests.train.tiny import CONFIG, run

READS_FIRST = CONFIG.model_copy(
    update={
        "pretrain": PretrainConfig(epochs=2, learning_rate=4e-3),
        "optim": CONFIG.optim.model_copy(update={"epochs": 1, "dropout": 0.1}),
    }
)


def rows_of(log: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Decoder]:
    out = tmp_path_factory.mktemp("whole")
    return out, run(out, READS_FIRST).train(progress=False)


def test_every_token_but_the_first_is_asked_and_no_padding() -> None:
    batch = Texts.of([[5, 6, 7], [8, 9]])
    assert batch.ids.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch.following.tolist() == [[6, 7, -100], [9, -100, -100]]


def test_it_learns_to_predict_lines_and_then_labels_from_there(whole: tuple[Path, Decoder], tmp_path: Path) -> None:
    first, second = rows_of(whole[0] / PRETRAINED / "log.jsonl")
    assert second["dev_loss"] < 0.8 * first["dev_loss"]
    run(tmp_path, READS_FIRST.model_copy(update={"pretrain": PretrainConfig()})).train(progress=False)
    [learnt], [new] = rows_of(whole[0] / "log.jsonl"), rows_of(tmp_path / "log.jsonl")
    assert learnt["loss"] < new["loss"]


def test_labels_are_learnt_from_the_averaged_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[dict[str, torch.Tensor]] = []

    def keep(self: Pretrainer, *, progress: bool = True, what: str = "") -> None:
        one_run(self, progress=progress, what=what)
        read.append({name: weight.clone() for name, weight in self.average.state_dict().items()})

    def begin(model: Decoder, *_: object) -> Trainer:
        for name, weight in model.state_dict().items():
            assert torch.equal(weight, read[0][name])
        raise InterruptedError

    one_run = Pretrainer.run
    monkeypatch.setattr(Pretrainer, "run", keep)
    monkeypatch.setattr(pipeline, "Trainer", begin)
    with pytest.raises(InterruptedError):
        run(tmp_path, READS_FIRST).train(progress=False)


@pytest.mark.parametrize(
    ("kind", "stops_at", "with_what"),
    [(Pretrainer, 14, KeyboardInterrupt), (Trainer, 1, RuntimeError), (Trainer, 5, KeyboardInterrupt)],
    ids=["while it reads", "between reading and labels, before a state is saved", "while it learns labels"],
)
def test_a_stopped_run_goes_on_to_the_weights_of_an_uninterrupted_one(
    kind: type[Pretrainer | Trainer],
    stops_at: int,
    with_what: type[BaseException],
    whole: tuple[Path, Decoder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_step, steps = kind._train_step, 0

    def stop(self: Pretrainer | Trainer, *args: object) -> float:
        nonlocal steps
        steps += 1
        if steps == stops_at:
            raise with_what
        return one_step(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(kind, "_train_step", stop)
    with pytest.raises(with_what):
        run(tmp_path, READS_FIRST).train(progress=False)
    monkeypatch.undo()
    resumed = run(tmp_path, READS_FIRST).train(progress=False)
    # Goes on and does not begin anew, which would end with the same weights.
    assert [row["epoch"] for row in rows_of(tmp_path / PRETRAINED / "log.jsonl")] == [1, 2]
    for name, weight in whole[1].state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, msg=f"{name} differs after resuming")


def test_other_settings_and_other_lines_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = READS_FIRST.model_copy(update={"pretrain": PretrainConfig(epochs=1, learning_rate=4e-3)})
    log = tmp_path / PRETRAINED / "log.jsonl"
    run(tmp_path, once).train(progress=False)
    first = rows_of(log)
    run(tmp_path, once).train(progress=False)
    assert rows_of(log) == first  # nothing is left to do
    run(tmp_path, once.model_copy(update={"seed": 4})).train(progress=False)
    [other] = rows_of(log)
    assert other["loss"] != first[0]["loss"]
    changed = run(tmp_path / "elsewhere", once)._lines
    monkeypatch.setattr("tests.train.tiny.lines", lambda: changed._replace(responses=changed.responses[1:]))
    run(tmp_path, once.model_copy(update={"seed": 4})).train(progress=False)
    assert [row["epoch"] for row in rows_of(log)] == [1]
    assert rows_of(log)[0]["loss"] != other["loss"]

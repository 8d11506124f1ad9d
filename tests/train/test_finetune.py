"""Fine-tuning a checkpoint: it learns, its files are a plain model, adapters leave the base alone."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("transformers", reason="needs transformers (extra 'finetune')")

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from emotion_svc.cli import main
from emotion_svc.engines.checkpoint import Checkpoint, load_checkpoint
from emotion_svc.errors import ModelError, SetupError
from emotion_svc.modeldir import SHIPPED, WEIGHTS_FILE, digest_of, load_calibration, model_name
from emotion_svc.schema import ALL_ANSWERS, Answer, Verdict
from emotion_svc.taxonomy import FAMILY_OF, LABELS
from emotion_svc.train.causal import load_causal
from emotion_svc.train.choices import ChoiceBatcher, choice_loss, written
from emotion_svc.train.config import DeviceName, FinetuneConfig, LoraConfig, load_config
from emotion_svc.train.finetune import Finetuner, FinetuneRun
from emotion_svc.train.loop import find_device
from emotion_svc.train.reader import Reader, Reading
from emotion_svc.train.samples import Sample, from_turn, gold
from tests.paths import TRAIN_DATA
from tests.train.tiny_finetune import CONFIG, checkpoint, lines, prompts, run

ONE_LABEL = ("sad", "noisy")
"""Families of one label: of the others, one of the labels is drawn."""

CPU = torch.device("cpu")

# peft reads what transformers is about to rename.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
LORA = CONFIG.model_copy(
    update={
        "lora": LoraConfig(rank=8, alpha=32.0, dropout=0.0, learning_rate=3e-3),
        "optim": CONFIG.optim.model_copy(update={"epochs": 3}),
    }
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Verdict]]:
    out = tmp_path_factory.mktemp("full")
    whole = run(base, out)
    return out, whole.write(whole.train(CPU, progress=False), "the training turns")


@pytest.fixture(scope="module")
def adapted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A finished run with adapters, and the whole network's weights before they were merged."""
    out = tmp_path_factory.mktemp("lora")
    whole = run(base, out, LORA)
    model = whole.train(CPU, progress=False)
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    whole.write(model, "the training turns")
    return out, weights


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_what_is_learnt_of_an_answer_is_what_the_engine_asks(base: Path) -> None:
    asked = load_checkpoint(str(base))
    for label in LABELS:
        answer = Answer(emotion=label, learn_score=True)
        ids, emotion, learn_score = written(asked, answer)
        assert asked.spelling.ids_of(answer)[: len(ids)] == ids
        chosen = ids[len(asked.emotion.prefix_ids) : emotion[-1].place + 1]
        said = asked.emotion.said + asked.emotion.grammar.text_of(chosen).decode()
        possible = [Answer.model_validate_json(text) for text in ALL_ANSWERS if text.startswith(said)]
        assert {FAMILY_OF[other.emotion] for other in possible} == {FAMILY_OF[label]}
        assert [choice.token_id for choice in (*emotion, *learn_score)] == [
            ids[choice.place] for choice in (*emotion, *learn_score)
        ]
        assert all(len(choice.allowed) > 1 and choice.token_id in choice.allowed for choice in emotion)
        assert learn_score[-1].place == len(ids) - 1


def test_the_loss_is_the_improbability_that_the_engine_would_read(finished: tuple[Path, list[Verdict]]) -> None:
    asked = load_checkpoint(str(finished[0] / "model"), prompts=prompts(finished[0] / "prompts"))
    model = load_causal(asked).eval()
    batcher = ChoiceBatcher(asked, learn_score_weight=1.0)

    def loss(sample: Sample, prompt: list[int]) -> float:
        batch = batcher.make([sample], [prompt], np.random.default_rng(0))
        with torch.inference_mode():
            output = model(input_ids=batch.ids, attention_mask=batch.mask, logits_to_keep=batch.kept)
        return choice_loss(output.logits, batch).item()

    turns = [turn for turn in lines().turns if turn.emotion in ONE_LABEL]
    for turn, reading in zip(turns, Reader(model, asked, nullcontext()).read([t.turn for t in turns]), strict=True):
        prompt, family = asked.encode(turn.turn).ids, FAMILY_OF[reading.label]
        assert family in ONE_LABEL, "the model does not know its turns by heart"
        value = float(Answer.model_validate_json(_said(asked, reading)).learn_score)
        emotion, learn_score = (
            -sum(step.logprobs[step.token_id] for step in steps) for steps in (reading.emotion, reading.learn_score)
        )
        sample = from_turn(turn)._replace(emotion=gold(family))
        assert loss(sample._replace(learn_score=None), prompt) == pytest.approx(emotion, abs=1e-4)
        assert loss(sample._replace(learn_score=value), prompt) == pytest.approx(emotion + learn_score, abs=1e-4)


def _said(asked: Checkpoint, reading: Reading) -> str:
    """The answer that ends as the reading does."""
    question = asked.learn_score[reading.label]
    said = question.said + question.grammar.text_of([step.token_id for step in reading.learn_score]).decode()
    return next(text for text in ALL_ANSWERS if text.startswith(said))


def test_padding_changes_no_loss(base: Path) -> None:
    asked = load_checkpoint(str(base), prompts=prompts(base.parent / "prompts"))
    model = load_causal(asked).eval()
    batcher = ChoiceBatcher(asked, learn_score_weight=0.5)
    turns = [turn for turn in lines().turns if turn.emotion in ONE_LABEL]
    samples, encoded = [from_turn(turn) for turn in turns], [asked.encode(turn.turn).ids for turn in turns]
    assert len({len(ids) for ids in encoded}) > 1

    def loss(places: list[int]) -> float:
        batch = batcher.make([samples[i] for i in places], [encoded[i] for i in places], np.random.default_rng(0))
        with torch.inference_mode():
            output = model(input_ids=batch.ids, attention_mask=batch.mask, logits_to_keep=batch.kept)
        return choice_loss(output.logits, batch).item()

    together = [*range(len(turns))]
    assert loss(together) == pytest.approx(np.mean([loss([place]) for place in together]), abs=1e-4)


def test_it_learns_turns_by_heart_and_the_loss_falls(finished: tuple[Path, list[Verdict]]) -> None:
    rows = log(finished[0])
    assert [row["epoch"] for row in rows] == list(range(1, CONFIG.optim.epochs + 1))
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert rows[-1]["dev_emotion"] >= 0.75  # one of four by chance
    assert rows[-1]["dev_learn_score"] >= 0.75


def test_the_output_is_a_plain_model_directory_with_the_name_of_its_base(
    base: Path, finished: tuple[Path, list[Verdict]]
) -> None:
    directory = finished[0] / "model"
    AutoModelForCausalLM.from_pretrained(directory)
    before, after = AutoTokenizer.from_pretrained(base), AutoTokenizer.from_pretrained(directory)
    assert after.chat_template == before.chat_template
    assert after("Chính xác, cat đó!").input_ids == before("Chính xác, cat đó!").input_ids
    assert model_name(directory) == model_name(base) == "someone-tiny"
    assert not (finished[0] / "adapter").exists()


def test_what_is_written_is_what_was_scored_and_calibrated(finished: tuple[Path, list[Verdict]]) -> None:
    out, verdicts = finished
    calibration = load_calibration(out / "model")
    assert calibration is not None
    temperatures = calibration.by_digest[digest_of(out / "model" / WEIGHTS_FILE)]
    asked = load_checkpoint(str(out / "model"), prompts=prompts(out / "prompts"))
    assert asked.temperatures == temperatures
    again = Reader(load_causal(asked).eval(), asked, nullcontext())
    said = again.classify([turn.turn for turn in lines().turns], temperatures)
    assert [v.answer for v in said] == [v.answer for v in verdicts]
    right = np.mean([v.family == e.emotion for v, e in zip(verdicts, lines().turns, strict=True)])
    assert right == pytest.approx(log(out)[-1]["dev_emotion"])


def test_another_prompt_is_refused_with_what_was_trained_with_this_one(finished: tuple[Path, list[Verdict]]) -> None:
    with pytest.raises(ModelError, match="trained and calibrated with the prompt"):
        load_checkpoint(str(finished[0] / "model"))


def test_adapters_learn_and_leave_every_weight_of_the_base_as_it_was(
    base: Path, adapted: tuple[Path, dict[str, torch.Tensor]]
) -> None:
    out, weights = adapted
    assert log(out)[-1]["loss"] < log(out)[0]["loss"]
    before = load_file(base / WEIGHTS_FILE)
    frozen = {name.removeprefix("base_model.model.").replace(".base_layer", ""): weight
              for name, weight in weights.items() if "lora_" not in name}  # fmt: skip
    assert frozen.keys() == before.keys()
    for name, weight in before.items():
        assert torch.equal(frozen[name], weight), f"{name} has changed"
    assert any("lora_B" in name and weight.abs().max() > 0 for name, weight in weights.items())


def test_adapters_are_merged_into_the_model_and_kept_beside_it(
    base: Path, adapted: tuple[Path, dict[str, torch.Tensor]]
) -> None:
    from peft import PeftModel

    out, _ = adapted
    kept = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert kept["base_model_name_or_path"] == "someone-tiny"
    assert not (out / "model" / "adapter_config.json").exists()
    merged = AutoModelForCausalLM.from_pretrained(out / "model").eval()
    beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out / "adapter").eval()
    ids = torch.tensor([[5, 9, 200, 31]])
    with torch.inference_mode():
        torch.testing.assert_close(merged(ids).logits, beside(ids).logits, atol=1e-4, rtol=1e-3)


def test_a_stopped_run_ends_with_the_weights_of_an_uninterrupted_one(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = CONFIG.model_copy(update={"optim": CONFIG.optim.model_copy(update={"epochs": 2})})
    uninterrupted = run(base, tmp_path / "whole", short).train(CPU, progress=False)
    steps, one_step = 0, Finetuner._train_step

    def stop_in_the_second_epoch(self: Finetuner, *args: Any) -> float:
        nonlocal steps
        steps += 1
        if steps == 8:
            raise KeyboardInterrupt
        return one_step(self, *args)

    monkeypatch.setattr(Finetuner, "_train_step", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run(base, tmp_path / "stopped", short).train(CPU, progress=False)
    monkeypatch.undo()
    resumed = run(base, tmp_path / "stopped", short).train(CPU, progress=False)
    for name, weight in uninterrupted.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, msg=f"{name} differs after resuming")


def test_bf16_changes_little(base: Path, tmp_path: Path) -> None:
    once = {"epochs": 1}
    exact = CONFIG.model_copy(update={"optim": CONFIG.optim.model_copy(update=once)})
    short = CONFIG.model_copy(update={"optim": CONFIG.optim.model_copy(update=once | {"precision": "bf16"})})
    run(base, tmp_path / "fp32", exact).train(CPU, progress=False)
    run(base, tmp_path / "bf16", short).train(CPU, progress=False)
    assert log(tmp_path / "bf16")[0]["loss"] == pytest.approx(log(tmp_path / "fp32")[0]["loss"], rel=0.05)
    assert log(tmp_path / "bf16")[0]["loss"] != log(tmp_path / "fp32")[0]["loss"]


def test_a_base_without_a_chat_template_is_read_as_plain_text(tmp_path: Path) -> None:
    plain = checkpoint(tmp_path, template=None)
    once = CONFIG.model_copy(update={"optim": CONFIG.optim.model_copy(update={"epochs": 1})})
    whole = run(plain, tmp_path / "out", once)
    assert len(whole.write(whole.train(CPU, progress=False), "the training turns")) == len(lines().turns)


def test_a_directory_that_is_no_causal_model_is_refused(base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"model_type": "clip_vision_model"}))
    with pytest.raises(ModelError, match="cannot load 'other' as a causal language model"):
        run(other, tmp_path / "out").train(CPU, progress=False)


def test_a_base_inside_of_the_runs_own_directory_is_refused_and_stays(base: Path, tmp_path: Path) -> None:
    finished = Path(shutil.copytree(base, tmp_path / "run" / "model"))
    before = {file.name: file.read_bytes() for file in finished.iterdir()}
    run(finished, tmp_path / "next")
    for out in (tmp_path / "run", finished, tmp_path / "elsewhere" / ".." / "run"):
        with pytest.raises(ModelError, match=r"lies in the run's directory .* give another --out"):
            run(finished, out)
    assert {file.name: file.read_bytes() for file in finished.iterdir()} == before
    assert not (tmp_path / "run" / "config.json").exists()


def test_the_shipped_model_is_refused_as_a_base(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is a model of this project.* emotion-svc train --data"):
        FinetuneRun(str(SHIPPED), CONFIG, lines(), [], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_old_model_stays_until_the_new_one_is_whole(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old.safetensors").touch()
    whole = run(base, tmp_path)
    monkeypatch.setattr(Reader, "fit", _interrupted)
    model = load_causal(whole.checkpoint)
    with pytest.raises(InterruptedError):
        whole.write(model, "the training turns")
    monkeypatch.undo()
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["old.safetensors"]
    whole.write(load_causal(whole.checkpoint), "the training turns")
    assert {"config.json", "calibration.json", WEIGHTS_FILE} <= {file.name for file in (tmp_path / "model").iterdir()}
    assert not (tmp_path / "model" / "old.safetensors").exists()
    assert not (tmp_path / "model.new").exists()


def _interrupted(*_: Any) -> None:
    raise InterruptedError


def test_a_gpu_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SetupError, match="no CUDA device"):
        find_device(DeviceName.CUDA)
    assert find_device(DeviceName.AUTO) == find_device(DeviceName.CPU) == CPU


def test_the_projects_own_configuration_is_read_and_bpe_dropout_in_it_refused(tmp_path: Path) -> None:
    assert load_config(TRAIN_DATA / "finetune.toml", FinetuneConfig).lora is None
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[augment]\nbpe_dropout = 0.1\n")
    with pytest.raises(SetupError, match="bpe_dropout is for training from scratch"):
        load_config(wrong, FinetuneConfig)


def test_adapters_need_something_to_adapt() -> None:
    done = CliRunner().invoke(main, ["train", "--lora"])
    assert done.exit_code == 2
    assert "--lora needs --init" in " ".join(done.stderr.replace("│", "").split())


def test_one_command_makes_a_model_with_its_card(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    (folder / "train_data" / "turns").mkdir(parents=True)
    turns = "".join(turn.model_dump_json() + "\n" for turn in lines().turns)
    (folder / "train_data" / "turns" / "mine.jsonl").write_text(turns, encoding="utf-8")
    held_out = [turn.model_copy(update={"response": f"Pika nói: {turn.response}"}) for turn in lines().turns]
    (folder / "dev.jsonl").write_text("".join(turn.model_dump_json() + "\n" for turn in held_out), encoding="utf-8")
    config = folder / "train_data" / "finetune.toml"
    config.write_text(
        'seed = 1\n[data]\ndev = "dev.jsonl"\njoined = 0\nexercises = 0\ncrops = 0\nteacher_share = 0\n'
        'turn_repeats = 1\n[optim]\nbatch = 10\nprecision = "fp32"\n'
    )
    rates: set[float] = set()
    one_step = Finetuner._train_step

    def watched(self: Finetuner, *args: Any) -> float:
        loss = one_step(self, *args)
        rates.update(group["lr"] for group in self._optimizer.param_groups)
        return loss

    monkeypatch.setattr(Finetuner, "_train_step", watched)
    options = ["--init", str(base), "--lora", "--config", str(config), "--out", str(tmp_path / "out"), "--epochs", "1"]
    done = CliRunner().invoke(main, ["train", *options, "--device", "cpu"])
    assert done.exit_code == 0, done.stderr
    assert "emotion-svc serve --engine vllm" in done.stdout
    assert 5e-5 < max(rates) <= 2e-4  # the adapters' own, not that for all weights
    card = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert "base_model: someone-tiny" in card
    assert "low-rank adapters (rank 16" in card
    assert (tmp_path / "out" / "log.png").exists()


def test_outside_of_a_checkout_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["train"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert (
        "'train_data/pika.toml' cannot be read: No such file or directory; run this in a checkout of the project"
        in done.stderr
    )

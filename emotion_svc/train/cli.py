"""The training command: options in, model directory out."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from emotion_svc.data import read_examples
from emotion_svc.errors import MissingExtra
from emotion_svc.exits import told_in_one_line
from emotion_svc.schema import Example
from emotion_svc.train.config import Config, DeviceName, FinetuneConfig, LoraConfig, TrainConfig, load_config

_FROM_SCRATCH = Path("train_data/pika.toml")
_FINETUNE = Path("train_data/finetune.toml")


def train(
    config: Annotated[
        Path | None, typer.Option(help=f"The run's settings, TOML ({_FROM_SCRATCH}; with --init {_FINETUNE}).")
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Turns of your own (JSON Lines, docs/annotation.md); may be repeated.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run's directory; the model goes to its 'model/' (runs/pika; with --init runs/finetuned)."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of labels, instead of the configuration's; [pretrain] stays.")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="DIR|HUB_ID", help="Fine-tune this causal checkpoint for the engine vllm instead."),
    ] = None,
    lora: Annotated[bool, typer.Option("--lora", help="With --init: train low-rank adapters alone.")] = False,
    device: Annotated[DeviceName, typer.Option(help="Where to train.")] = DeviceName.AUTO,
    anew: Annotated[
        bool, typer.Option("--anew", help="Drop another run in the directory though it is not finished.")
    ] = False,
) -> None:
    """Train the model from the written lines; run it again to go on with a stopped run."""
    if lora and init is None:
        raise typer.BadParameter("--lora needs --init: there is nothing to adapt in a network that begins at random")
    path = config or (_FROM_SCRATCH if init is None else _FINETUNE)
    root = path.resolve().parent.parent
    out = out or Path("runs/pika" if init is None else "runs/finetuned")
    try:
        with told_in_one_line("emotion-svc train"):
            if init is None:
                _train(_settings(path, TrainConfig, epochs), root, data or [], out, device, anew=anew)
            else:
                settings = _settings(path, FinetuneConfig, epochs)
                if lora and settings.lora is None:
                    settings = settings.model_copy(update={"lora": LoraConfig()})
                _finetune(init, settings, root, data or [], out, device, anew=anew)
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on from {out}", err=True)
        raise typer.Exit(130) from None


def _settings(path: Path, kind: type[Config], epochs: int | None) -> Config:
    settings = load_config(path, kind)
    if epochs is None:
        return settings
    return settings.model_copy(update={"optim": settings.optim.model_copy(update={"epochs": epochs})})


def _train(settings: TrainConfig, root: Path, extra: list[Path], out: Path, device: DeviceName, *, anew: bool) -> None:
    _need("train", "torch", "sklearn", "scipy", "matplotlib", "onnx")
    from emotion_svc.train.card import own_files, write_card
    from emotion_svc.train.loop import LOG_FILE, find_device
    from emotion_svc.train.pipeline import Run, read_lines
    from emotion_svc.train.plot import plot_log

    on = find_device(device)
    lines, own = read_lines(root, settings.data, extra), own_files(extra)
    dev: list[Example] = read_examples([root / settings.data.dev])
    typer.echo(f"{len(lines.turns)} turns, {len(lines.responses)} responses, {len(dev)} held-out turns", err=True)
    run = Run(settings, lines, dev, out, anew=anew)
    model = run.train(on, progress=sys.stderr.isatty())
    calibration = run.write(model, settings.data.dev)
    write_card(out / "model", dev, settings.data, lines, own)
    plot_log(out / LOG_FILE, out / "log.png")
    typer.echo(f"model: {out / 'model'}  {calibration.by_digest if calibration else ''}")


def _finetune(
    init: str, settings: FinetuneConfig, root: Path, extra: list[Path], out: Path, device: DeviceName, *, anew: bool
) -> None:
    _need("finetune", "torch", "sklearn", "scipy", "matplotlib", "transformers", *(["peft"] if settings.lora else []))
    from emotion_svc.train.card import own_files, write_finetuned_card
    from emotion_svc.train.finetune import FinetuneRun
    from emotion_svc.train.loop import LOG_FILE, find_device
    from emotion_svc.train.pipeline import read_lines
    from emotion_svc.train.plot import plot_log

    on = find_device(device)
    lines, own = read_lines(root, settings.data, extra), own_files(extra)
    dev: list[Example] = read_examples([root / settings.data.dev])
    typer.echo(f"{len(lines.turns)} turns, {len(lines.responses)} responses, {len(dev)} held-out turns", err=True)
    run = FinetuneRun(init, settings, lines, dev, out, anew=anew)
    verdicts = run.write(run.train(on, progress=sys.stderr.isatty()), settings.data.dev)
    if verdicts:
        write_finetuned_card(out / "model", run.checkpoint.name, settings, dev, verdicts, lines, own)
    plot_log(out / LOG_FILE, out / "log.png")
    typer.echo(f"model: {out / 'model'}; serve it with: emotion-svc serve --engine vllm --model {out / 'model'}")


def _need(extra: str, *packages: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtra(package, extra)


def main() -> None:
    """The entry point of `python -m emotion_svc.train`."""
    typer.run(train)

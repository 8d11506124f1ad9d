"""The training command: options in, model directory out."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from emotion_svc.data import read_examples
from emotion_svc.errors import MissingExtra, SetupError
from emotion_svc.schema import Example
from emotion_svc.train.config import TrainConfig, load_config


def train(
    config: Annotated[Path, typer.Option(help="The run's settings (TOML).")] = Path("train_data/pika.toml"),
    data: Annotated[
        list[Path] | None, typer.Option(help="Turns of your own (JSON Lines, docs/annotation.md); may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The run's directory; the model goes to its 'model/'.")] = Path("runs/pika"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the configuration's.")] = None,
) -> None:
    """Train the model from the written lines; run it again to go on with a stopped run."""
    try:
        settings = load_config(config)
        if epochs is not None:
            settings = settings.model_copy(update={"optim": settings.optim.model_copy(update={"epochs": epochs})})
        _run(settings, config.resolve().parent.parent, data or [], out)
    except SetupError as error:
        typer.echo(f"emotion-svc train: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on from {out}", err=True)
        raise typer.Exit(130) from None


def _run(settings: TrainConfig, root: Path, extra: list[Path], out: Path) -> None:
    if find_spec("torch") is None:
        raise MissingExtra("torch", "train")
    from emotion_svc.train.card import write_card
    from emotion_svc.train.pipeline import Run, read_lines
    from emotion_svc.train.plot import plot_log
    from emotion_svc.train.trainer import LOG_FILE

    lines = read_lines(root, settings.data, extra)
    dev: list[Example] = read_examples([root / settings.data.dev])
    typer.echo(f"{len(lines.turns)} turns, {len(lines.responses)} responses, {len(dev)} held-out turns", err=True)
    run = Run(settings, lines, dev, out)
    model = run.train(progress=sys.stderr.isatty())
    calibration = run.write(model, settings.data.dev)
    write_card(out / "model", dev, settings.data.dev, lines)
    plot_log(out / LOG_FILE, out / "log.png")
    typer.echo(f"model: {out / 'model'}  {calibration.by_digest if calibration else ''}")


def main() -> None:
    """The entry point of `python -m emotion_svc.train`."""
    typer.run(train)

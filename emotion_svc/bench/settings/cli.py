"""The command of the settings study: tables on stdout, `settings.json`, a plot, and a last line of JSON."""

import asyncio
import json
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotion_svc.errors import MissingExtra
from emotion_svc.exits import told_in_one_line
from emotion_svc.modeldir import SHIPPED

if TYPE_CHECKING:  # vLLM and what measures it are imported where they are used, so that --help is fast
    from emotion_svc.bench.settings.run import Request


def study(
    model: Annotated[Path, typer.Option(help="Model directory (safetensors and tokenizer).")] = SHIPPED,
    only: Annotated[list[str] | None, typer.Option(metavar="SETTING", help="Only these; repeatable.")] = None,
    turns: Annotated[int, typer.Option(min=2, help="Turns for each configuration, one at a time.")] = 30,
    load_turns: Annotated[int, typer.Option(min=1, help="Turns for each configuration, several at a time.")] = 32,
    clients: Annotated[int, typer.Option(min=1, help="How many at a time.")] = 8,
    gold: Annotated[Path, typer.Option(help="Gold turns (JSON Lines).")] = Path("eval_data/dev.jsonl"),
    seed: Annotated[int, typer.Option(help="Of the choice of turns and of sampling.")] = 0,
    out: Annotated[Path, typer.Option(help="Where settings.json, plot and logs go.")] = Path("runs/settings"),
) -> None:
    """Measure vLLM's settings one at a time, from its defaults and from the tuned set. Ctrl-C keeps what is done."""
    with told_in_one_line("emotion-svc bench"):
        _check(only or [])
        from emotion_svc.bench.settings.run import Request

        out.mkdir(parents=True, exist_ok=True)
        request = Request(model, [gold], turns, load_turns, clients, seed, only or [], out)
        _run(request)


def _check(only: list[str]) -> None:
    for package, extra in (("vllm", "vllm"), ("matplotlib", "bench"), ("psutil", "bench")):
        if find_spec(package) is None:
            raise MissingExtra(package, extra)
    from emotion_svc.bench.settings.said import SETTINGS
    from emotion_svc.engines.vllm import prepare

    names = [setting.name for setting in SETTINGS]
    if unknown := [name for name in only if name not in names]:
        raise typer.BadParameter(f"no such setting: {', '.join(unknown)}; there are: {', '.join(names)}")
    prepare()


def _run(request: "Request") -> None:
    from emotion_svc.bench.settings.plot import plot_study
    from emotion_svc.bench.settings.run import run
    from emotion_svc.bench.settings.table import to_markdown

    done = []

    async def measure() -> None:
        async for so_far in run(request, told=lambda text: print(text, file=sys.stderr, flush=True)):
            done.append(so_far)
            file = request.out / "settings.json"
            file.write_text(so_far.model_dump_json(indent=2) + "\n", encoding="utf-8")

    try:
        asyncio.run(measure())
    finally:  # also of a study that is broken off
        if done:
            print(to_markdown(done[-1]))
            plot_study(done[-1], request.out / "settings")
            print(json.dumps(done[-1].summary, ensure_ascii=False), flush=True)


def main() -> None:
    """The entry point of `python -m emotion_svc.bench.settings`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as by Ctrl-C: the servers are ended, too
    # Its tracebacks are long, and would stand above the last thing that was told.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(study)
    app()

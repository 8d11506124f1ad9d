"""The benchmark command: subjects in, figures out, as a table, `bench.json`, plots and a last line of JSON."""

import asyncio
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError

from emotion_svc.bench.subjects import NAMES, PARTS, WAYS, Name, Part, Way
from emotion_svc.errors import MissingExtra, SetupError
from emotion_svc.exits import told_in_one_line
from emotion_svc.modeldir import SHIPPED

Known = TypeVar("Known", bound=str)

_GOLD: Final = (Path("eval_data/dev.jsonl"), Path("eval_data/test.jsonl"))


def bench(
    engine: Annotated[str, typer.Option(metavar="NAMES", help=f"Of {', '.join(NAMES)}.")] = "embedded",
    over: Annotated[str, typer.Option(metavar="WAYS", help="How they are asked.")] = ",".join(WAYS),
    part: Annotated[str, typer.Option(metavar="PARTS", help="What is measured.")] = ",".join(PARTS),
    clients: Annotated[str, typer.Option(help="Turns at a time.")] = "1,4,16",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds over all subjects and loads.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.01, help="Length of one round of one load.")] = 2.0,
    warm_up: Annotated[float, typer.Option(min=0.01, help="Seconds that a subject is asked before.")] = 1.0,
    gold: Annotated[list[Path], typer.Option(help="Gold turns (JSON Lines); repeatable.")] = list(_GOLD),  # noqa: B006
    seed: Annotated[int, typer.Option(help="Of the order of the turns.")] = 0,
    model: Annotated[Path, typer.Option(help="Model directory of all but remote and vllm-json-135m.")] = SHIPPED,
    preset: Annotated[str | None, typer.Option(help="The host that remote asks (docs/remote.md).")] = None,
    base_url: Annotated[str | None, typer.Option(help="Where it is, instead of the preset's URL.")] = None,
    remote_model: Annotated[str | None, typer.Option(help="The model's name there, instead of the preset's.")] = None,
    python: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PATH", help="The Python that runs a subject; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where bench.json, plots and the peers' models go.")] = Path("runs/bench"),
) -> None:
    """Measure engines, and what could be used instead, beside each other on this machine.

    Of engine, over, part and clients there may be several, separated by commas.
    """
    with told_in_one_line("emotion-svc bench"):
        for package in ("psutil", "matplotlib", "onnx"):
            if find_spec(package) is None:
                raise MissingExtra(package, "bench")
        from emotion_svc.bench.plot import plot_report
        from emotion_svc.bench.run import Request, run
        from emotion_svc.bench.table import to_markdown

        request = Request(
            subjects=_each_of(TypeAdapter(Name), engine, "engine", NAMES),
            ways=_each_of(TypeAdapter(Way), over, "over", WAYS),
            parts=_each_of(TypeAdapter(Part), part, "part", PARTS),
            clients=_counts(clients),
            rounds=rounds,
            seconds=seconds,
            warm_up_s=warm_up,
            gold=gold,
            seed=seed,
            model=model,
            remote=_given(preset=preset, base_url=base_url, model=remote_model),
            pythons=dict(_named(pair) for pair in python or []),
            out=out,
        )
        report = asyncio.run(run(request, told=lambda text: print(text, file=sys.stderr, flush=True)))
        print(to_markdown(report))
        (out / "bench.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        pictures = plot_report(report, out)
        print(f"\nWritten: {', '.join(map(str, [out / 'bench.json', *pictures]))}")
        print(json.dumps(report.summary))
        if broken := report.broken_promises:
            print(f"emotion-svc bench: {'; '.join(broken)}", file=sys.stderr)
            raise typer.Exit(1)


def _each_of(kind: TypeAdapter[Known], text: str, option: str, known: tuple[str, ...]) -> list[Known]:
    try:
        return [kind.validate_python(name) for name in text.split(",")]
    except ValidationError:
        raise SetupError(
            f"--{option}: expected some of {', '.join(known)}, separated by commas, found {text[:80]!r}"
        ) from None


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def _counts(text: str) -> list[int]:
    if not all(part.isdecimal() and int(part) for part in text.split(",")):
        raise SetupError(f"--clients: expected numbers from 1 on, separated by commas, found {text[:40]!r}")
    return sorted({int(part) for part in text.split(",")})


def _named(pair: str) -> tuple[str, Path]:
    name, _, path = pair.partition("=")
    if name not in NAMES or not Path(path).is_file():
        raise SetupError(
            f"--python: expected NAME=PATH of an interpreter for one of {', '.join(NAMES)}, found {pair!r}"
        )
    return name, Path(path)


def main() -> None:
    """The entry point of `python -m emotion_svc.bench`."""
    typer.run(bench)

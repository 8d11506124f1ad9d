"""The evaluation command: gold turns and an engine in, a report out; exit 1 where a bar is missed."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from emotion_svc.data import DataError, read_examples
from emotion_svc.errors import EngineUnavailable, HostFailed, MissingExtra, SetupError
from emotion_svc.exits import told_in_one_line
from emotion_svc.modeldir import SHIPPED, UNCALIBRATED, WEIGHTS_FILE, digest_of, load_calibration
from emotion_svc.prompt import prompt_for
from emotion_svc.schema import Example, Verdict

if TYPE_CHECKING:  # numpy and the engines are imported where they are used, so that other commands start fast
    from emotion_svc.eval.metrics import Prediction
    from emotion_svc.eval.report import Report


class EngineName(StrEnum):
    """What can be scored."""

    EMBEDDED = "embedded"
    VLLM = "vllm"
    REMOTE = "remote"
    BASELINE = "baseline"


class _Settings(NamedTuple):
    model: str | None
    preset: str | None
    base_url: str | None
    train_data: Path
    own: Sequence[Path]
    threshold: float | None


class _Said(NamedTuple):
    name: str
    predictions: "list[Prediction]"


class _Scored(NamedTuple):
    """The report, and the predictions behind it, of the gold turns at these places: of all that got an answer."""

    predictions: "list[Prediction]"
    report: "Report"
    answered: Sequence[int]


def evaluate(
    gold: Annotated[Path, typer.Argument(help="Gold turns (JSON Lines).")] = Path("eval_data/dev.jsonl"),
    engine: Annotated[EngineName, typer.Option(help="What answers.")] = EngineName.EMBEDDED,
    model: Annotated[
        str | None, typer.Option(metavar="DIR|NAME", help="Model directory, or its name at a host (the shipped one).")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="The host that the engine remote asks.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Where that host is (the preset's).")] = None,
    against: Annotated[bool, typer.Option("--against-baseline", help="Compare with the n-gram baseline.")] = False,
    train_data: Annotated[
        Path, typer.Option(help="What the baseline learns from: the turns and responses below this.")
    ] = Path("train_data"),
    data: Annotated[
        list[Path] | None, typer.Option(help="Turns that the baseline learns from, too; may be repeated.")
    ] = None,
    against_fp32: Annotated[
        bool, typer.Option("--against-fp32", help="Compare the int8 file with the weights that it was made from.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Show what this confidence keeps, instead of recommending one."),
    ] = None,
    tiers: Annotated[
        Path | None, typer.Option(help="Show what the cascade in this file gains and costs (docs/tiers.md).")
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option("--predictions", help="With --tiers: where each tier's answers are kept; it is asked once."),
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the report here, too.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the risk-coverage curve into this file (.png or .svg).")
    ] = None,
    min_emotion: Annotated[float, typer.Option(min=0, max=1, help="Exit 1 below this emotion accuracy.")] = 0.0,
    min_learn_score: Annotated[float, typer.Option(min=0, max=1, help="Exit 1 below this accuracy.")] = 0.0,
) -> None:
    """Score an engine on gold turns, with intervals, by family and by slice."""
    from emotion_svc.eval.report import compare, counted, to_markdown

    with told_in_one_line("emotion-svc eval"):
        if plot is not None:
            _check_plot(plot)
        examples = read_examples([gold])
        if not examples:
            raise DataError(f"'{gold}' holds no turns; each line is one, see docs/annotation.md")
        if json_out is not None and not json_out.parent.is_dir():
            raise SetupError(f"--json: the folder '{json_out.parent}' does not exist; make it first")
        if engine is not EngineName.REMOTE and (preset or base_url) is not None:
            raise typer.BadParameter("--preset and --base-url are for --engine remote")
        if against_fp32 and engine is not EngineName.EMBEDDED:
            raise typer.BadParameter("--against-fp32 is for --engine embedded")
        if data and engine is not EngineName.BASELINE and not against:
            raise typer.BadParameter("--data is what the baseline learns from; give --against-baseline, too")
        if tiers is None and kept is not None:
            raise typer.BadParameter("--predictions is for --tiers, whose answers it keeps")
        if tiers is not None:
            asked = (model, plot, json_out, data, against, against_fp32, threshold, min_emotion, min_learn_score)
            if engine is not EngineName.EMBEDDED or any(asked):
                raise typer.BadParameter("--tiers takes --predictions alone; leave the other options out")
            typer.echo(_cascade(tiers, kept, examples, gold))
            return
        settings = _Settings(model, preset, base_url, train_data, data or (), threshold)
        rivals = [_say_baseline(examples, settings)] if against else []
        if against_fp32:
            rivals.append(_say_fp32(examples, Path(model or SHIPPED)))
        scored = _score(engine, examples, gold, settings)
        answered = [examples[place] for place in scored.answered]
        compared = {
            rival.name: compare(answered, scored.predictions, [rival.predictions[place] for place in scored.answered])
            for rival in rivals
        }
        report = scored.report.model_copy(update={"against": compared})
        typer.echo(to_markdown(report))
        if plot is not None:
            from emotion_svc.eval.plot import plot_risk_coverage

            plot_risk_coverage(report, plot)
    if json_out is not None:
        json_out.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if report.unanswered:
        typer.echo(f"turns without an answer: {counted(report.unanswered)}", err=True)
        raise typer.Exit(1)
    for name, value, bar in (
        ("emotion", report.emotion_accuracy.value, min_emotion),
        ("learn_score", report.learn_score_accuracy.value, min_learn_score),
    ):
        if value < bar:
            typer.echo(f"{name} accuracy {value:.1%} is under the bar of {bar:.1%}", err=True)
            raise typer.Exit(1)


def _check_plot(out: Path) -> None:
    if out.suffix not in {".png", ".svg"}:
        raise SetupError(f"--plot: expected a file that ends in .png or .svg, found '{out.name}'")
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "train")


def _cascade(file: Path, kept: Path | None, examples: Sequence[Example], gold: Path) -> str:
    from emotion_svc.config import load_settings
    from emotion_svc.eval.cascade import report, to_markdown
    from emotion_svc.eval.tier_predictions import stored_predictions
    from emotion_svc.routing.build import price_of
    from emotion_svc.routing.tiers_file import load_tiers

    if kept is None:
        raise typer.BadParameter("--tiers needs --predictions DIR, where the tiers' answers are kept")
    tiers = load_tiers(file)
    stored = stored_predictions(tiers, examples, kept, load_settings())
    rows = report(tiers, {table.name: price_of(table) for table in tiers.tiers}, examples, stored)
    return to_markdown(rows, len(examples), str(gold), tiers.deadline_ms)


def _score(engine: EngineName, examples: Sequence[Example], gold: Path, settings: _Settings) -> _Scored:
    match engine:
        case EngineName.EMBEDDED:
            return _score_embedded(examples, gold, settings)
        case EngineName.VLLM | EngineName.REMOTE:
            return _score_engine(engine, examples, gold, settings)
        case EngineName.BASELINE:
            return _score_baseline(examples, gold, settings)


def _score_embedded(examples: Sequence[Example], gold: Path, settings: _Settings) -> _Scored:
    from emotion_svc.engines.embedded import EmbeddedModel
    from emotion_svc.eval.report import make_report
    from emotion_svc.eval.run import latency, predictions, steadiness

    model = EmbeddedModel(Path(settings.model or SHIPPED))
    turns = [example.turn for example in examples]
    said = predictions(model.classify(turns))
    report = make_report(
        examples,
        said,
        engine="embedded",
        model=model.name,
        model_digest=model.digest,
        gold=str(gold),
        steadiness=steadiness(model.classify, examples),
        latency_ms=latency(model, turns),
        threshold=settings.threshold,
    )
    return _Scored(said, report, range(len(examples)))


def _score_engine(kind: EngineName, examples: Sequence[Example], gold: Path, settings: _Settings) -> _Scored:
    from emotion_svc.config import load_settings
    from emotion_svc.engines.factory import create_engine, running
    from emotion_svc.eval.asking import ask_each
    from emotion_svc.eval.report import counted, make_report
    from emotion_svc.eval.run import predictions

    given = load_settings(engine=kind.value, model=settings.model, preset=settings.preset, base_url=settings.base_url)

    async def run() -> tuple[list[Verdict | HostFailed], str, str]:
        async with running(create_engine(given)) as engine:
            said = await ask_each(engine, [example.turn for example in examples])
            return said, engine.model_name, engine.model_digest

    outcomes, name, digest = asyncio.run(run())
    verdicts = {place: outcome for place, outcome in enumerate(outcomes) if isinstance(outcome, Verdict)}
    failures = Counter(outcome.kind for outcome in outcomes if isinstance(outcome, HostFailed))
    if not verdicts:
        raise EngineUnavailable(f"the host answered none of {len(examples)} turns: {counted(failures)}")
    said = predictions([*verdicts.values()])
    report = make_report(
        [examples[place] for place in verdicts],
        said,
        engine=kind,
        model=name,
        model_digest=digest,
        gold=str(gold),
        threshold=settings.threshold,
        unanswered=dict(failures),
    )
    return _Scored(said, report, [*verdicts])


def _score_baseline(examples: Sequence[Example], gold: Path, settings: _Settings) -> _Scored:
    from emotion_svc.eval.report import make_report

    name, said = _say_baseline(examples, settings)
    report = make_report(
        examples,
        said,
        engine="baseline",
        model=name,
        model_digest="-",
        gold=str(gold),
        threshold=settings.threshold,
    )
    return _Scored(said, report, range(len(examples)))


def _say_baseline(examples: Sequence[Example], settings: _Settings) -> _Said:
    from emotion_svc.train.baseline import NgramBaseline, read_written

    if find_spec("sklearn") is None:
        raise MissingExtra("scikit-learn", "train")
    lines = read_written(settings.train_data, settings.own)
    baseline = NgramBaseline().fit(lines.turns, lines.responses)
    return _Said(f"n-grams, learnt from {lines.told}", baseline.predict(examples))


def _say_fp32(examples: Sequence[Example], directory: Path) -> _Said:
    from emotion_svc.engines.embedded import EmbeddedModel
    from emotion_svc.eval.run import predictions

    for package in ("onnx", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtra(package, "train")
    from emotion_svc.train.export import export_onnx

    rounded, weights = EmbeddedModel(directory), digest_of(directory / WEIGHTS_FILE)
    calibration = load_calibration(directory)
    fitted = calibration.temperatures(weights, prompt_for(rounded.name).digest) if calibration else UNCALIBRATED
    with TemporaryDirectory() as folder:
        graph = Path(folder) / "model.fp32.onnx"
        export_onnx(directory, rounded.slots, graph)
        exact = EmbeddedModel(directory, onnx_file=graph, temperatures=fitted)
        said = predictions(exact.classify([example.turn for example in examples]))
    return _Said(f"the same weights in fp32 ({weights})", said)


def main() -> None:
    """The entry point of `python -m emotion_svc.eval`."""
    typer.run(evaluate)

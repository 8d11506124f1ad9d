"""The report's risk-coverage curve as a picture."""

from pathlib import Path

from emotion_svc.eval.report import Report


def plot_risk_coverage(report: Report, out: Path) -> None:
    """Share of wrong families among the kept turns by share of turns kept; PNG or SVG by the file's suffix."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    threshold, kept, wrong, _ = report.handover
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.plot([100 * point.coverage for point in report.risk_coverage], [100 * p.risk for p in report.risk_coverage])
    axes.plot(100 * kept.value, 100 * wrong.value, "o", label=f"threshold {threshold:.3f}")
    axes.vlines(100 * kept.value, 100 * wrong.low, 100 * wrong.high)
    axes.hlines(100 * wrong.value, 100 * kept.low, 100 * kept.high)
    axes.set(
        xlabel="turns kept (%)",
        ylabel="wrong families among them (%)",
        title=f"{report.model} ({report.engine}), {report.turns} turns of {Path(report.gold).name}",
        xlim=(0, 102),
        ylim=(0, None),
    )
    axes.legend(loc="upper left")
    figure.savefig(out, dpi=120)
    pyplot.close(figure)

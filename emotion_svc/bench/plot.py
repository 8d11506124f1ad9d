"""A report as pictures, each as PNG and SVG."""

from pathlib import Path
from typing import Any

from emotion_svc.bench.results import BenchReport


def plot_report(report: BenchReport, directory: Path) -> list[Path]:
    """Draws what was measured; returns the files."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "emotion_svc"  # the same report gives the same file
    drawn = []
    if report.seats:
        drawn += _save(latency_against_load(report), directory / "latency")
        drawn += _save(_against_the_floor(report), directory / "floor")
    if report.growth:
        drawn += _save(_growth(report), directory / "growth")
    return drawn


def latency_against_load(report: BenchReport) -> Any:
    """The figure of latencies over clients, both on logarithmic scales with plain numbers."""
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for seat in report.seats:
        clients = [point.clients for point in seat.points]
        [line] = axes.plot(clients, [point.latency_ms.p50 for point in seat.points], marker="o", label=seat.title)
        axes.plot(clients, [point.latency_ms.p99 for point in seat.points], linestyle=":", color=line.get_color())
    axes.set(xscale="log", yscale="log", xlabel="clients", ylabel="ms for one answer: p50, dotted p99")
    axes.set_xticks(report.conditions.clients, [str(count) for count in report.conditions.clients])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def _against_the_floor(report: BenchReport) -> Any:
    from matplotlib import pyplot

    seats = sorted(report.seats, key=lambda seat: seat.points[0].latency_ms.p50, reverse=True)
    times = [seat.points[0].latency_ms.p50 for seat in seats]
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.45 * len(seats)), layout="constrained")
    bars = axes.barh([seat.title for seat in seats], times)
    axes.bar_label(bars, [f"{time:.1f} ms" for time in times], padding=3)
    if report.floor is not None:
        axes.axvline(report.floor.floor_ms, color="black", linestyle="--")
        axes.text(report.floor.floor_ms, -0.45, f" floor {report.floor.floor_ms:.2f} ms", va="bottom", fontsize="small")
    clients = report.conditions.clients[0]
    axes.set(xscale="log", xlabel=f"ms for one answer, p50, {clients} client{'s' if clients > 1 else ''}")
    axes.set_xlim(right=max(times) * 3)
    return figure


def _growth(report: BenchReport) -> Any:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 5), layout="constrained")
    for growth in report.growth:
        sizes = [size / growth.sizes[0] for size in growth.sizes]
        axes.plot(sizes, [cost / growth.cost[0] for cost in growth.cost], marker="o", label=growth.what)
    axes.plot([1, 10], [1, 10], color="black", linestyle="--", label="linear")
    axes.set(xscale="log", yscale="log", xlabel="factor of the size", ylabel="factor of the cost")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def _save(figure: Any, stem: Path) -> list[Path]:
    from matplotlib import pyplot

    files = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    for file in files:
        figure.savefig(file, dpi=120, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)
    return files

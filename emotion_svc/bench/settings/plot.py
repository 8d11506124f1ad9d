"""A study as a picture: what was said beside what was measured."""

from pathlib import Path
from typing import Any, Final

from emotion_svc.bench.settings.figures import Outcome, Study

_SAID: Final = "0.8"


def plot_study(study: Study, stem: Path) -> list[Path]:
    """Draws the savings of whole answers, a panel for each anchor; returns the files (PNG and SVG)."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "emotion_svc"  # the same study gives the same file
    from matplotlib import pyplot

    panels = [(a, [o for o in study.outcomes if o.anchor == a.name and o.saving is not None]) for a in study.anchors]
    rows = max((len(outcomes) for _, outcomes in panels), default=0)
    size = (15, 1.8 + 0.3 * rows)
    figure, [axes] = pyplot.subplots(1, len(panels), figsize=size, layout="constrained", squeeze=False)
    for (anchor, outcomes), panel in zip(panels, axes, strict=True):
        _panel(panel, outcomes)
        panel.set_title(f"from the {anchor.name} set (whole answer {anchor.figures.total_ms:.0f} ms)")
    where = "CPU" if study.conditions.on_cpu else "GPU"
    figure.supxlabel(
        f"ms that the first value saves of a whole answer, median and 95 % interval; grey: what was said "
        f"({study.conditions.model}, vLLM {study.conditions.vllm} on the {where})"
    )
    files = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    for file in files:
        figure.savefig(file, dpi=110, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)
    return files


def label_of(outcome: Outcome) -> str:
    """What stands beside a comparison; marked where a side's answers are not all valid."""
    mark = "" if outcome.is_like_for_like else " (not all valid)"
    return f"{outcome.setting}: {outcome.faster} / {outcome.other}{mark}"


def _panel(panel: Any, outcomes: list[Outcome]) -> None:
    for place, outcome in enumerate(outcomes):
        assert outcome.saving is not None, "chosen by the caller"
        if outcome.said_ms is not None:
            low, high = outcome.said_ms
            panel.barh(place, high - low, left=low, height=0.7, color=_SAID)
        s = outcome.saving
        around = [[max(0.0, s.ms - s.low_ms)], [max(0.0, s.high_ms - s.ms)]]
        look = {"color": "C0" if s.ms >= 0 else "C3", "markersize": 4, "capsize": 2}
        panel.errorbar(s.ms, place, xerr=around, fmt="o" if outcome.is_like_for_like else "x", **look)
    labels = [label_of(outcome) for outcome in outcomes]
    panel.set_yticks(range(len(labels)), labels, fontsize="small")
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.axvline(0, color="black", linewidth=0.8)
    panel.grid(axis="x", alpha=0.3)

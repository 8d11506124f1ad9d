"""A study as Markdown: the anchors, and "said / measured" for each of them."""

from collections.abc import Iterator

from emotion_svc.bench.settings.figures import Figures, Outcome, Study

_TITLES = {
    "plain": "From the plain server and request, one value changed",
    "tuned": "From the tuned set, one value changed",
}


def to_markdown(study: Study) -> str:
    """All of the study."""
    return "\n".join(_lines(study))


def _lines(study: Study) -> Iterator[str]:
    c, m = study.conditions, study.machine
    yield f"{study.date}: vLLM {c.vllm} on the {'CPU' if c.on_cpu else 'GPU'}; {m.cpu}, {m.cores} cores."
    yield (
        f"Model {c.model} ({c.model_digest}). For each configuration {c.turns} turns one at a time and {c.load_turns} "
        f"with {c.clients} clients, {c.warm_up} turns warm-up, seed {c.seed}; load average {m.load_before:.1f} before."
    )
    yield ""
    yield (
        "| anchor | first token, ms | between tokens, ms | whole answer, ms (p95) | tokens | turns/s | valid | "
        "ready, s |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for anchor in study.anchors:
        f = anchor.figures
        yield (
            f"| {anchor.name} | {f.first_ms:.1f} | {_ms(f.between_ms)} | {f.total_ms:.1f} ({f.total_p95_ms:.1f}) "
            f"| {f.tokens:.1f} | {f.turns_per_s:.1f} | {f.valid:.0%} | {anchor.ready_s:.0f} |"
        )
    for name, title in _TITLES.items():
        rows = [outcome for outcome in study.outcomes if outcome.anchor == name]
        if rows:
            yield ""
            yield f"### {title}"
            yield (
                "| setting | this value | against | said to save | measured to save, ms [95 %] | first token, ms "
                "| between tokens, ms | turns/s | tokens | valid |"
            )
            yield "|---|---|---|---|---|---|---|---|---|---|"
            yield from map(_row, rows)


def _row(outcome: Outcome) -> str:
    values = f"{_marked(outcome, faster=True)} | {_marked(outcome, faster=False)}"
    start = f"| {outcome.setting} | {values} | {outcome.said or '–'} "
    faster, other = outcome.sides
    if outcome.saving is None or faster is None or other is None:
        return start + f"| refused: {outcome.refused} | | | | | |"
    s = outcome.saving
    return start + (
        f"| {s.ms:+.1f} [{s.low_ms:+.1f}, {s.high_ms:+.1f}] of {other.total_ms:.1f} "
        f"| {faster.first_ms:.1f} / {other.first_ms:.1f} | {_ms(faster.between_ms)} / {_ms(other.between_ms)} "
        f"| {faster.turns_per_s:.1f} / {other.turns_per_s:.1f} | {faster.tokens:.1f} / {other.tokens:.1f} "
        f"| {_share(faster)} / {_share(other)} |"
    )


def _marked(outcome: Outcome, *, faster: bool) -> str:
    """The value; in bold where it is the anchor's own."""
    label = outcome.faster if faster else outcome.other
    return f"**{label}**" if outcome.anchor_is_faster == faster else label


def _share(figures: Figures) -> str:
    return f"{figures.valid:.0%}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"

"""A report as text for a terminal or a document: Markdown tables."""

from collections.abc import Iterator

from emotion_svc.bench.results import BenchReport, Point, SeatReport


def to_markdown(report: BenchReport) -> str:
    """All parts of the report that were measured."""
    return "\n".join(_lines(report))


def _lines(report: BenchReport) -> Iterator[str]:
    c, m = report.conditions, report.machine
    yield f"emotion-svc {report.version}, {report.date}: {m.cpu}, {m.cores} cores, load {m.load_before:.1f} before."
    yield (
        f"{c.turns} turns in random order (seed {c.seed}), {c.rounds} rounds of {c.seconds:g} s for each load, "
        f"{c.warm_up_s:g} s warm-up, model {c.model} ({c.model_digest})."
    )
    if report.seats:
        yield from _load_table(report)
    if (floor := report.floor) is not None:
        yield ""
        yield (
            f"Floor for {floor.tokens} tokens on one core: {floor.cost.linear_ops / 1e6:.0f} + "
            f"{floor.cost.attention_ops / 1e6:.1f} million operations, {floor.cost.bytes_moved / 1e6:.2f} MB; peak "
            f"{floor.peak.int8_gops:.0f} int8 and {floor.peak.fp32_gflops:.0f} fp32 GFLOP/s, "
            f"{floor.peak.memory_gb_per_s:.1f} GB/s: {floor.floor_ms:.2f} ms. "
            f"Measured in the model: {floor.infer_ms:.2f} ms, {floor.reached:.0%} of the floor's speed."
        )
    if (profile := report.profile) is not None:
        for title, slices in (("part of a turn", profile.parts), ("operator", profile.operators)):
            yield ""
            yield f"| {title} | ms |"
            yield "|---|---|"
            yield from (f"| {one.name} | {one.ms:.3f} |" for one in slices)
    if (batch := report.batch) is not None:
        yield ""
        yield (
            f"classify --input: {batch.turns} turns in {batch.seconds:.1f} s, start included: "
            f"{batch.turns_per_s:.0f} turns/s, {batch.invalid} invalid, "
            f"family {batch.right_family:.1%} and learn_score {batch.right_learn_score:.1%} right."
        )
    if report.growth:
        yield ""
        yield "| what grows | from → to | cost from → to | factor of size | of cost | no worse than linear | how |"
        yield "|---|---|---|---|---|---|---|"
        for g in report.growth:
            yield (
                f"| {g.what} | {g.sizes[0]:g} → {g.sizes[-1]:g} | {g.cost[0]:.3g} → {g.cost[-1]:.3g} {g.unit} "
                f"| {g.size_factor:.1f} | {g.factor:.1f} | {'yes' if g.is_linear_at_most else 'no'} | {g.note} |"
            )


def _load_table(report: BenchReport) -> Iterator[str]:
    yield ""
    yield (
        "| subject | clients | p50 ms | p95 | p99 | turns/s | CPU ms/turn | first token | between tokens | tokens "
        "| valid | family | learn_score | as embedded | turns |"
    )
    yield "|" + "---|" * 15
    for seat in report.seats:
        for point in seat.points:
            yield _load_row(seat, point)
    yield ""
    yield "| subject | start to ready, s | resident, MB | overhead at 1 client, ms | passes over the turns |"
    yield "|---|---|---|---|---|"
    for seat in report.seats:
        alone = next((p.overhead_ms for p in seat.points if p.clients == 1), None)
        yield (
            f"| {seat.title} | {seat.start_ms / 1e3:.2f} | {seat.resident_mb:.0f} | {_ms(alone)} | {seat.passes:.1f} |"
        )


def _load_row(seat: SeatReport, p: Point) -> str:
    return (
        f"| {seat.title} | {p.clients} | {p.latency_ms.p50:.2f} | {p.latency_ms.p95:.2f} | {p.latency_ms.p99:.2f} "
        f"| {p.turns_per_s:.1f} | {p.cpu_ms_per_turn:.2f} | {_ms(p.first_token_ms)} | {_ms(p.inter_token_ms)} "
        f"| {'–' if p.tokens_per_answer is None else f'{p.tokens_per_answer:.1f}'} | {p.valid:.1%} "
        f"| {p.right_family:.1%} | {p.right_learn_score:.1%} "
        f"| {'–' if p.same_as_embedded is None else f'{p.same_as_embedded:.1%}'} | {p.turns} |"
    )


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"

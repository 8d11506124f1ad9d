"""What stands on the axes."""

import pytest

from emotion_svc.bench.results import BenchReport, Conditions, Machine, Percentiles, Point, SeatReport

pytest.importorskip("matplotlib", reason="needs matplotlib (extra 'bench')")

from emotion_svc.bench.plot import latency_against_load


def point(clients: int, p50: float, p99: float) -> Point:
    return Point(
        clients=clients, turns=9, latency_ms=Percentiles(p50=p50, p95=p99, p99=p99), round_p50_ms=[p50],
        turns_per_s=1, cpu_ms_per_turn=1, overhead_ms=None, first_token_ms=None, inter_token_ms=None,
        tokens_per_answer=None, valid=1, right_family=1, right_learn_score=1, same_as_embedded=None,
    )  # fmt: skip


def report(*points: Point) -> BenchReport:
    counts = [one.clients for one in points]
    return BenchReport(
        version="0",
        date="2026-01-01",
        machine=Machine(cpu="some CPU", cores=2, memory_gb=8, python="3.11", onnxruntime="1.22", load_before=0),
        conditions=Conditions(
            gold=["x"], turns=9, seed=0, clients=counts, rounds=1, seconds=1, warm_up_s=1, model="m", model_digest="d"
        ),
        seats=[SeatReport(subject="embedded", way="process", start_ms=1, resident_mb=1, passes=1, points=list(points))],
    )


def test_latencies_and_clients_are_labelled_with_plain_numbers() -> None:
    from matplotlib import pyplot

    figure = latency_against_load(report(point(1, 2.7, 4.7), point(16, 26.4, 41.0)))
    figure.draw_without_rendering()
    [axes] = figure.axes
    labels = {axis: [one.get_text() for one in axis.get_ticklabels()] for axis in (axes.xaxis, axes.yaxis)}
    pyplot.close(figure)
    assert labels[axes.xaxis] == ["1", "16"]
    assert {"5", "10", "20"} <= set(labels[axes.yaxis])

"""Benchmarks that carry their own yardstick: before every round a fixed piece of work is timed, too."""

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from emotion_svc.bench.peak import product_of
from emotion_svc.data import read_examples
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.schema import Turn
from tests.paths import EVAL_DATA

Measure = Callable[..., Any]


@pytest.fixture(scope="session")
def turns() -> list[Turn]:
    return [example.turn for example in read_examples([EVAL_DATA / "dev.jsonl"])]


@pytest.fixture(scope="session")
def model() -> EmbeddedModel:
    return EmbeddedModel()


@pytest.fixture(scope="session")
def yardstick(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], object]:
    """Some milliseconds of what the service does, too: Python with dicts and JSON, and 8-bit products."""
    pytest.importorskip("onnx", reason="needs onnx (extra 'dev')")
    product = product_of("MatMulNBits", tmp_path_factory.mktemp("yardstick"), block=32)  # as in the baseline
    rows = [{"name": f"row {number}", "values": list(range(number % 40))} for number in range(150)]

    def work() -> object:
        product()
        return sorted(json.loads(json.dumps(rows)), key=lambda row: (len(row["values"]), row["name"]))

    return work


@pytest.fixture
def measure(request: pytest.FixtureRequest, benchmark: BenchmarkFixture, yardstick: Callable[[], object]) -> Measure:
    """Times `target(argument)` for each of the arguments, a round each, and the yardstick before every round.

    Both by the same clock: the one in the test's mark `benchmark`.
    """
    mark = request.node.get_closest_marker("benchmark")
    clock: Callable[[], float] = mark.kwargs["timer"] if mark else time.perf_counter

    def run(target: Callable[[Any], object], arguments: list[Any]) -> object:
        waiting = iter([*arguments[:5], *arguments])  # five rounds of warm-up
        taken = []

        def before() -> tuple[tuple[Any], dict[str, Any]]:
            started = clock()
            yardstick()
            taken.append(clock() - started)
            return (next(waiting),), {}

        result = benchmark.pedantic(  # type: ignore[no-untyped-call]
            target, setup=before, rounds=len(arguments), warmup_rounds=5
        )
        benchmark.extra_info["yardstick_s"] = median(taken)
        return result

    return run

"""Holds the results of a benchmark run against the stored baseline: `python -m tests.benchmarks.compare RESULTS…`.

A median alone says nothing on another machine, or on a busy one. So each is divided by the median of the yardstick
that was timed between its rounds (see conftest.py), and those ratios are compared. Exit 1 where one is more than 20 %
over its baseline; `--update` writes a new baseline instead.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

BASELINE: Final = Path(__file__).parent / "baseline.json"
ALLOWED: Final = 1.20
"""How much slower than the baseline a ratio may be."""


def ratios_of(results: Mapping[str, Any]) -> dict[str, float]:
    """Median over the yardstick's median, by benchmark, from pytest-benchmark's JSON."""
    return {
        one["name"].removeprefix("test_"): one["stats"]["median"] / one["extra_info"]["yardstick_s"]
        for one in results["benchmarks"]
    }


def best_of(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The least ratio of each benchmark: what a busy machine adds is no property of the code."""
    return {name: min(run[name] for run in runs if name in run) for name in dict.fromkeys(chain.from_iterable(runs))}


def regressions(now: Mapping[str, float], baseline: Mapping[str, float]) -> list[str]:
    """What is wrong, in words; empty where nothing is."""
    wrong = [f"{name} was not measured" for name in baseline if name not in now]
    wrong += [f"{name} has no baseline; store one with --update" for name in now if name not in baseline]
    wrong += [
        f"{name} takes {now[name]:.3f} yardsticks, {now[name] / before - 1:+.0%} of the baseline's {before:.3f}"
        for name, before in baseline.items()
        if name in now and now[name] > before * ALLOWED
    ]
    return wrong


def main() -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compare")
    parser.add_argument(
        "results", type=Path, nargs="+", help="what pytest wrote with --benchmark-json; of several, the best counts"
    )
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--update", action="store_true", help="store the results as the baseline")
    given = parser.parse_args()
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in given.results]
    now = best_of([ratios_of(run) for run in runs])
    if given.update:
        cpu = runs[0]["machine_info"]["cpu"].get("brand_raw", "unknown")
        stored = {"measured_on": cpu, "ratios": {name: round(ratio, 4) for name, ratio in sorted(now.items())}}
        given.baseline.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
        return 0
    baseline = json.loads(given.baseline.read_text(encoding="utf-8"))["ratios"]
    for name, ratio in sorted(now.items()):
        print(f"{name:20} {ratio:8.4f} yardsticks, baseline {baseline.get(name, float('nan')):8.4f}")
    wrong = regressions(now, baseline)
    for line in wrong:
        print(f"regression: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

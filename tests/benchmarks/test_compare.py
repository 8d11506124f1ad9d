"""The comparison with the stored baseline."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.compare import BASELINE, best_of, ratios_of, regressions
from tests.paths import ROOT


def results(slowed: float = 1.0, machine: float = 1.0, **more: Any) -> dict[str, Any]:
    """Results whose ratios are the baseline's; `slowed`: the code, `machine`: code and yardstick alike."""
    ratios: dict[str, float] = json.loads(BASELINE.read_text(encoding="utf-8"))["ratios"]
    return {
        "machine_info": {"cpu": {"brand_raw": "some CPU"}},
        "benchmarks": [
            {
                "name": f"test_{name}",
                "stats": {"median": ratio * 0.002 * machine * (slowed if name == "tokenize" else 1)},
                "extra_info": {"yardstick_s": 0.002 * machine},
            }
            for name, ratio in ratios.items()
        ],
    } | more


def compare(found: dict[str, Any], folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    file = folder / "results.json"
    file.write_text(json.dumps(found))
    command = [sys.executable, "-m", "tests.benchmarks.compare", str(file), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("machine", [1.0, 3.0, 0.5])
def test_the_same_results_pass_on_a_machine_of_any_speed(tmp_path: Path, machine: float) -> None:
    done = compare(results(machine=machine), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("slowed", "status"), [(0.5, 0), (1.19, 0), (1.21, 1), (3.0, 1)])
def test_more_than_a_fifth_slower_fails(tmp_path: Path, slowed: float, status: int) -> None:
    done = compare(results(slowed), tmp_path)
    assert done.returncode == status
    assert ("regression: tokenize takes" in done.stderr) == bool(status)


def test_a_slowed_benchmark_is_found_on_a_faster_machine_too(tmp_path: Path) -> None:
    assert compare(results(slowed=1.5, machine=0.3), tmp_path).returncode == 1


def test_of_several_runs_the_best_counts() -> None:
    assert best_of([{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 0.5}, {"c": 4.0}]) == {"a": 1.0, "b": 0.5, "c": 4.0}


def test_what_is_missing_on_either_side_is_named() -> None:
    assert regressions({"new": 1.0}, {"old": 1.0}) == [
        "old was not measured",
        "new has no baseline; store one with --update",
    ]


def test_an_update_stores_what_then_passes(tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    slow = results(slowed=3)
    assert compare(slow, tmp_path, "--baseline", str(baseline), "--update").returncode == 0
    assert compare(slow, tmp_path, "--baseline", str(baseline)).returncode == 0
    assert json.loads(baseline.read_text())["ratios"].keys() == ratios_of(slow).keys()


def test_the_baseline_knows_every_benchmark() -> None:
    written = (Path(__file__).parent / "test_hot_pieces.py").read_text(encoding="utf-8")
    names = {
        line.split("(")[0].removeprefix("def test_") for line in written.splitlines() if line.startswith("def test_")
    }
    assert json.loads(BASELINE.read_text(encoding="utf-8"))["ratios"].keys() == names

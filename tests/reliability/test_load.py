"""The load commands: each bar can break, and all of it runs. What they find on a quiet machine: docs/reliability.md."""

import json
import os
import subprocess
import sys

import pytest

from tests.reliability.load import Shots, broken_bars
from tests.reliability.memory import growth

FLAT = [100.0] * 20
GOOD = Shots(1.0, 0.1, {"/v1/classify": [(200, 10.0)] * 99 + [(503, 1.0)]}, 0, FLAT)


def test_a_load_whose_requests_are_answered_or_refused_breaks_no_bar() -> None:
    assert broken_bars(GOOD) == []


@pytest.mark.parametrize(
    ("shots", "told"),
    [
        (GOOD._replace(by_wire={"x": [(200, 1.0), (500, 1.0)]}), "statuses besides 200 and 503: {500: 1}"),
        (GOOD._replace(by_wire={"x": [(200, 1.0), (0, 1.0)]}), "statuses besides 200 and 503: {0: 1}"),
        (GOOD._replace(by_wire={"x": [(503, 1.0)]}), "nothing was answered"),
        (GOOD._replace(invalid=1), "1 answers that are none of ours"),
        (GOOD._replace(mb=[100.0] * 10 + [103.0] * 10), "memory grew by 3.0%, more than 2%"),
    ],
)
def test_each_bar_can_break(shots: Shots, told: str) -> None:
    assert broken_bars(shots) == [told]


def test_latency_is_that_of_one_status() -> None:
    assert (GOOD.ms(99), GOOD.ms(99, status=503), GOOD.ms(99, status=429)) == (10.0, 1.0, 0.0)


def test_growth_is_from_the_first_tenth_to_the_last() -> None:
    assert growth([100.0, 100.0, *[500.0] * 16, 110.0, 112.0]) == pytest.approx(0.11)


@pytest.mark.parametrize("command", [("overload", "--seconds=2"), ("soak", "--seconds=3", "--per-second=20")])
def test_a_command_loads_a_service_and_its_last_line_says_what_came_of_it(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.load", *command],
        capture_output=True,
        text=True,
        env=os.environ | {"EMOTION_SVC_CACHE_BYTES": "30000"},  # soon full
        check=False,
    )
    assert done.stderr == ""
    found = json.loads(done.stdout.splitlines()[-1])
    for load in found["loads"].values():
        assert load["statuses"].keys() <= {"200", "503"}
        assert load["invalid"] == 0
    assert done.returncode == (1 if found["broken"] else 0)

"""Loads the service beyond what it can do, then for long: `python -m tests.reliability.load`, or `make load`.

A process of the service with its usual settings (and those of the environment) on this machine; Locust asks it. First
the cache of verdicts is filled, so that memory is at its usual height. Then: how much can it do; what becomes of
requests at twice that; a soak over all wires at a part of it. Prints a table and a last line of JSON; the exit status
is 1 where a bar does not hold. The callers share the cores with the service, which could do more without them.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import httpx
import typer

from tests.paths import EVAL_DATA
from tests.reliability.asking import percentile
from tests.reliability.memory import growth, watch
from tests.serving.process import Process
from tests.serving.test_operations import metric

DEADLINE_MS: Final = 50.0
"""What an accepted request may take at the 99th percentile."""
GROWTH: Final = 0.02
"""How much more memory may be in use at the end."""
OVERLOAD: Final = 2.0
SOAK: Final = 0.4
"""Of the capacity in requests; the mixed load has about two turns in each."""

_PERIOD_S: Final = 0.25
"""How often each caller asks. Far more than an answer takes: nobody who waits for one is late with the next."""
_CLOSED: Final = (4, 8, 16)
"""Callers who ask again as soon as they are answered; the capacity is what the best of these numbers gets."""
_END_S: Final = 10
_FILL_REQUESTS: Final = 4_000


_COLUMNS: Final = (
    *("load", "s", "asked/s", "answered/s", "statuses", "p50 ms", "p99 ms", "max ms", "503: p99 ms", "MiB", "growth"),
    "callers' cores",
)


class Shots(NamedTuple):
    """What became of the requests of one load; `mb` is the service's memory each second."""

    seconds: float
    cpu_s: float
    by_wire: dict[str, list[tuple[int, float]]]
    invalid: int
    mb: list[float]

    @property
    def statuses(self) -> dict[int, int]:
        """How many of each; 0 stands for no answer."""
        return dict(Counter(status for shots in self.by_wire.values() for status, _ in shots))

    @property
    def per_second(self) -> float:
        """Requests, whatever became of them."""
        return sum(self.statuses.values()) / self.seconds

    @property
    def answered_per_second(self) -> float:
        """Those that were accepted."""
        return self.statuses.get(200, 0) / self.seconds

    def ms(self, percent: float, status: int = 200, wire: str | None = None) -> float:
        """A percentile of the latency of those with this status; 0 where there is none."""
        chosen = [self.by_wire[wire]] if wire else self.by_wire.values()
        found = [ms for shots in chosen for code, ms in shots if code == status]
        return percentile(found, percent) if found else 0.0

    @property
    def figures(self) -> dict[str, Any]:
        """For the last line."""
        return {
            "seconds": round(self.seconds, 1),
            "per_second": round(self.per_second, 1),
            "answered_per_second": round(self.answered_per_second, 1),
            "statuses": self.statuses,
            "invalid": self.invalid,
            **{f"accepted_p{percent}_ms": round(self.ms(percent), 1) for percent in (50, 99, 100)},
            "refused_p99_ms": round(self.ms(99, status=503), 1),
            "mb": [round(self.mb[0], 1), round(self.mb[-1], 1)],
            "growth": round(growth(self.mb), 4),
            "generator_cores": round(self.cpu_s / self.seconds, 2),
        }


class Rig:
    """A service under load.

    Args:
        process: the service.
        folder: for what Locust writes.
    """

    def __init__(self, process: Process, folder: Path) -> None:
        self._process, self._folder, self._numbers = process, folder, itertools.count(1)

    def fill_cache(self) -> None:
        """Asks new turns until the first verdict that was kept gives way. Before, memory grows as it should."""
        turn = {"previous_question": "Con mèo tiếng Anh là gì?", "previous_answer": "cat"}
        with httpx.Client(base_url=self._process.url, timeout=_END_S) as client:
            for number in range(_FILL_REQUESTS):
                turns = [turn | {"response": f"Chính xác! {number} {place}"} for place in range(32)]
                client.post("/v1/classify/batch", json={"turns": turns})
                if metric(client.get("/metrics").text, "emotion_svc_cache_evictions_total") > 0:
                    return
        raise AssertionError(f"the cache is not full after {_FILL_REQUESTS} batches")

    def ask(self, callers: str, *, users: int, seconds: float, period_s: float = 0.0) -> Shots:
        """Lets `users` callers of this class of the locustfile ask for so long."""
        record = self._folder / "record.json"
        command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py")), callers]
        command += ["--headless", "--only-summary", "--host", self._process.url, "--loglevel", "ERROR"]
        command += ["--users", str(users), "--spawn-rate", str(users), "--run-time", f"{ceil(seconds)}s"]
        command += ["--stop-timeout", str(_END_S), "--exit-code-on-error", "0", "--period", str(period_s)]
        command += ["--turns", str(EVAL_DATA / "dev.jsonl"), "--name", f"lần {next(self._numbers)}."]
        command += ["--record", str(record)]
        with (self._folder / "locust.log").open("w+b") as log:
            locust = subprocess.Popen(command, stdout=log, stderr=log)
            seen = watch(self._process.popen.pid, locust, seconds + 60)
            if locust.returncode:
                log.seek(0)
                raise RuntimeError(f"locust ended with {locust.returncode}: {log.read().decode()[-2000:]}")
        fields = json.loads(record.read_text(encoding="utf-8"))
        return Shots(fields["seconds"], fields["cpu_s"], fields["shots"], sum(fields["invalid"].values()), seen)

    def ask_at(self, callers: str, per_second: float, seconds: float) -> Shots:
        """Lets as many callers ask as make so many requests a second."""
        users = ceil(per_second * _PERIOD_S)
        return self.ask(callers, users=users, seconds=seconds, period_s=users / per_second)


def load(
    seconds: Annotated[float, typer.Option(min=1, help="How long twice the capacity is asked.")] = 60.0,
    soak_seconds: Annotated[float, typer.Option(min=1, help="How long the soak takes.")] = 600.0,
) -> None:
    """Measure what the service does at twice its capacity, and whether it grows."""
    conditions = {"cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2)}
    with tempfile.TemporaryDirectory() as folder:
        process = Process()
        try:
            rig = Rig(process, Path(folder))
            rig.fill_cache()
            rig.ask_at("Mixed", 20, max(1, seconds / 12))  # warm: what a wire needs once, it has from now on
            closed = {users: rig.ask("Hurried", users=users, seconds=max(1, seconds / 12)) for users in _CLOSED}
            capacity = max(shots.answered_per_second for shots in closed.values())
            overload = rig.ask_at("Hurried", OVERLOAD * capacity, seconds)
            soak = rig.ask_at("Mixed", SOAK * capacity, soak_seconds)
        finally:
            process.stop()
    print(f"{conditions['cores']} cores, shared with the callers; load average before: {conditions['load_before']}\n")
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
    for users, shots in closed.items():
        print(_row(f"{users} callers, no pause", shots))
    print(_row(f"{OVERLOAD:g} x capacity ({capacity:.0f}/s)", overload))
    print(_row(f"soak, all wires, {SOAK:g} x", soak))
    for wire in sorted(soak.by_wire):
        print(f"\nsoak, {wire}: p50 {soak.ms(50, wire=wire):.1f} ms, p99 {soak.ms(99, wire=wire):.1f} ms", end="")
    broken = [*broken_bars("overload", overload), *broken_bars("soak", soak)]
    if overload.per_second < 0.9 * OVERLOAD * capacity:
        broken.append(f"overload: {overload.per_second:.0f} requests a second, less than was meant")
    if (p99 := overload.ms(99)) > DEADLINE_MS:
        broken.append(f"overload: p99 of accepted requests {p99:.1f} ms, more than {DEADLINE_MS:g} ms")
    figures = {"capacity_per_second": round(capacity, 1), "overload": overload.figures, "soak": soak.figures}
    print(f"\n\n{json.dumps({**conditions, **figures, 'broken': broken})}")
    if broken:
        raise typer.Exit(1)


def broken_bars(name: str, shots: Shots) -> list[str]:
    """What must hold for every load and does not."""
    found = []
    if unexpected := {status: count for status, count in shots.statuses.items() if status not in {200, 503}}:
        found.append(f"{name}: statuses besides 200 and 503: {unexpected}")
    if shots.invalid:
        found.append(f"{name}: {shots.invalid} answers that are none of ours")
    if not shots.statuses.get(200):
        found.append(f"{name}: nothing was answered")
    if (grown := growth(shots.mb)) > GROWTH:
        found.append(f"{name}: memory grew by {grown:.1%}, more than {GROWTH:.0%}")
    return found


def _row(name: str, shots: Shots) -> str:
    cells = [name, f"{shots.seconds:.0f}", f"{shots.per_second:.0f}", f"{shots.answered_per_second:.0f}"]
    cells.append(", ".join(f"{status}: {count}" for status, count in sorted(shots.statuses.items())))
    cells += [f"{shots.ms(percent):.1f}" for percent in (50, 99, 100)]
    cells += [f"{shots.ms(99, status=503):.1f}", f"{shots.mb[0]:.0f} to {shots.mb[-1]:.0f}"]
    cells += [f"{growth(shots.mb):+.1%}", f"{shots.cpu_s / shots.seconds:.2f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    typer.run(load)

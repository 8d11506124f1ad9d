"""Loads the service beyond what it can do, and for long: `python -m tests.reliability.load overload` and `… soak`.

A process of the service with its usual settings (and those of the environment) on this machine; Locust asks it. First
the cache of verdicts is filled, so that memory is at its usual height, and each load is begun once before it counts.
Prints a table and a last line of JSON; the exit status is 1 where a bar does not hold. The callers share the cores with
the service, which could do more without them: the table says how much of a core they take.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
"""Times what the service can do."""

_PERIOD_S: Final = 0.25
"""How often each caller asks. Far more than an answer takes: nobody who waits for one is late with the next."""
_CLOSED: Final = (4, 8, 16)
"""Callers who ask again as soon as they are answered; the capacity is what the best of these numbers gets."""
_END_S: Final = 10
_WAIT_S: Final = 60
_FILL_REQUESTS: Final = 4_000
_LARGEST: Final = 5
_EVICTIONS: Final = "emotion_svc_cache_evictions_total"


_COLUMNS: Final = (
    *("load", "s", "asked/s", "answered/s", "statuses", "p50 ms", "p99 ms", "max ms", "503: p99 ms", "MiB", "growth"),
    "callers' cores",
    "callers late, p99 ms",
)


class Shots(NamedTuple):
    """What became of the requests of one load; `mb` is the service's memory each second.

    `late_ms` says how much later than they were due requests went out: what else the machine does shows here first.
    """

    seconds: float
    cpu_s: float
    by_wire: dict[str, list[tuple[int, float]]]
    invalid: int
    mb: list[float]
    late_ms: Sequence[float] = (0.0,)

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

    def ms(self, percent: float, status: int = 200) -> float:
        """A percentile of the latency of those with this status; 0 where there is none."""
        found = [ms for shots in self.by_wire.values() for code, ms in shots if code == status]
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
            "callers_late_p99_ms": round(percentile(self.late_ms, 99), 1),
            "callers_cores": round(self.cpu_s / self.seconds, 2),
        }


main = typer.Typer(help="Load a service of this machine.", pretty_exceptions_enable=False)


class Rig:
    """A service under load.

    Args:
        process: the service.
        folder: for what Locust writes.
    """

    def __init__(self, process: Process, folder: Path) -> None:
        self._process, self._folder, self._numbers = process, folder, itertools.count(1)

    def warm_up(self) -> None:
        """Brings memory to its usual height, beyond which it should not grow.

        The largest passes first, as the runtime keeps what its largest one needed; then new turns, until the first
        verdict that was kept gives way to another.
        """
        with httpx.Client(base_url=self._process.url, timeout=_WAIT_S) as client:
            longest = dict.fromkeys(("previous_question", "previous_answer", "response"), "mèo và chó " * 350)
            for number in range(_FILL_REQUESTS):
                turn = longest if number < _LARGEST else longest | dict.fromkeys(longest, "Giỏi quá!")
                turns = [
                    turn | {"previous_answer": f"{number} {place} {turn['previous_answer']}"} for place in range(8)
                ]
                client.post("/v1/classify/batch", json={"turns": turns})
                if number > _LARGEST and metric(client.get("/metrics").text, _EVICTIONS) > 0:
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
            seen = watch(self._process.popen.pid, locust, seconds + 300)
            if locust.returncode:
                log.seek(0)
                raise RuntimeError(f"locust ended with {locust.returncode}: {log.read().decode()[-2000:]}")
        fields = json.loads(record.read_text(encoding="utf-8"))
        return Shots(
            fields["seconds"] or seconds,
            fields["cpu_s"],
            fields["shots"],
            sum(fields["invalid"].values()),
            seen,
            fields["late_ms"] or (0.0,),
        )

    def ask_at(self, callers: str, per_second: float, seconds: float) -> Shots:
        """Lets as many callers ask as make so many requests a second, a little while before it counts."""
        users = ceil(per_second * _PERIOD_S)
        self.ask(callers, users=users, seconds=_short(seconds), period_s=users / per_second)
        return self.ask(callers, users=users, seconds=seconds, period_s=users / per_second)


@main.command()
def overload(
    seconds: Annotated[float, typer.Option(min=1, help="How long twice the capacity is asked.")] = 60.0,
) -> None:
    """Find out how much the service can do, and ask twice that of it."""
    with _rig() as rig:
        rig.ask("Hurried", users=_CLOSED[0], seconds=_short(seconds))
        closed = {users: rig.ask("Hurried", users=users, seconds=_short(seconds)) for users in _CLOSED}
        capacity = max(shots.answered_per_second for shots in closed.values())
        shots = rig.ask_at("Hurried", OVERLOAD * capacity, seconds)
    broken = broken_bars(shots)
    if shots.per_second < 0.9 * OVERLOAD * capacity:
        broken.append(f"{shots.per_second:.0f} requests a second, less than was meant")
    if (p99 := shots.ms(99)) > DEADLINE_MS:
        broken.append(f"p99 of accepted requests {p99:.1f} ms, more than {DEADLINE_MS:g} ms")
    rows = {f"{users} callers, no pause": shots for users, shots in closed.items()}
    _tell(rows | {f"{OVERLOAD:g} x {capacity:.0f}/s": shots}, {"capacity_per_second": round(capacity, 1)}, broken)


@main.command()
def soak(
    seconds: Annotated[float, typer.Option(min=1, help="How long.")] = 600.0,
    per_second: Annotated[float, typer.Option(min=1, help="Requests, over all wires.")] = 60.0,
) -> None:
    """Ask on all wires for long, and look whether the service grows."""
    with _rig() as rig:
        shots = rig.ask_at("Mixed", per_second, seconds)
    by_wire = {wire: shots._replace(by_wire={wire: shots.by_wire[wire]}) for wire in sorted(shots.by_wire)}
    _tell({"all wires": shots, **by_wire}, {}, broken_bars(shots))


def broken_bars(shots: Shots) -> list[str]:
    """What must hold for every load and does not."""
    found = []
    if unexpected := {status: count for status, count in shots.statuses.items() if status not in {200, 503}}:
        found.append(f"statuses besides 200 and 503: {unexpected}")
    if shots.invalid:
        found.append(f"{shots.invalid} answers that are none of ours")
    if not shots.statuses.get(200):
        found.append("nothing was answered")
    if (grown := growth(shots.mb)) > GROWTH:
        found.append(f"memory grew by {grown:.1%}, more than {GROWTH:.0%}")
    return found


@contextmanager
def _rig() -> Iterator[Rig]:
    """A service that has been at work for a while."""
    print(
        f"{os.cpu_count()} cores, shared with the callers; load average before: {os.getloadavg()[0]:.1f}\n", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        process = Process()
        try:
            rig = Rig(process, Path(folder))
            rig.warm_up()
            yield rig
        finally:
            process.stop()


def _short(seconds: float) -> float:
    return max(2.0, seconds / 12)


def _tell(rows: dict[str, Shots], more: dict[str, float], broken: list[str]) -> None:
    """Prints what was found. Raises `typer.Exit` where a bar is broken."""
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
    for name, shots in rows.items():
        print(_row(name, shots))
    figures = {name: shots.figures for name, shots in rows.items()}
    print(json.dumps({**more, "loads": figures, "broken": broken}))
    if broken:
        raise typer.Exit(1)


def _row(name: str, shots: Shots) -> str:
    cells = [name, f"{shots.seconds:.0f}", f"{shots.per_second:.0f}", f"{shots.answered_per_second:.0f}"]
    cells.append(", ".join(f"{status}: {count}" for status, count in sorted(shots.statuses.items())))
    cells += [f"{shots.ms(percent):.1f}" for percent in (50, 99, 100)]
    cells += [f"{shots.ms(99, status=503):.1f}", f"{shots.mb[0]:.0f} to {shots.mb[-1]:.0f}"]
    cells += [f"{growth(shots.mb):+.1%}", f"{shots.cpu_s / shots.seconds:.2f}", f"{percentile(shots.late_ms, 99):.1f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

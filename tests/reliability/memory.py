"""How much memory a service and its workers take, looked at while something else goes on."""

from statistics import mean
from subprocess import Popen, TimeoutExpired
from typing import Final

import psutil

_EVERY_S: Final = 1.0


def megabytes(pid: int) -> float:
    """Resident memory of a process and its children, in MiB (what they share is counted for each)."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return float(sum(member.memory_info().rss for member in family)) / 2**20


def watch(pid: int, while_runs: "Popen[bytes]", timeout_s: float) -> list[float]:
    """Megabytes of `pid`, each second until the other process ends.

    Raises:
        TimeoutExpired: it does not end within `timeout_s`.
    """
    seen = [megabytes(pid)]
    for _ in range(int(timeout_s / _EVERY_S)):
        try:
            while_runs.wait(_EVERY_S)
        except TimeoutExpired:
            seen.append(megabytes(pid))
        else:
            return seen
    while_runs.kill()
    while_runs.wait()
    raise TimeoutExpired(while_runs.args, timeout_s)


def growth(seen: list[float]) -> float:
    """By which share the last tenth is above the first: 0.02 is 2 %."""
    tenth = max(1, len(seen) // 10)
    return mean(seen[-tenth:]) / mean(seen[:tenth]) - 1

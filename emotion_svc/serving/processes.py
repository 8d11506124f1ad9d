"""One `/metrics` for several worker processes.

Each worker counts in files of a folder that all share (prometheus_client's multiprocess mode), named after its place
and not after its process id: a worker that replaces a dead one goes on with its counters. So nothing is lost when one
dies, and the number of files stays the same.
"""

import os
from collections.abc import Iterator
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
PID_METRIC: Final = "emotion_svc_worker_pid"


def count_as_worker(folder: str, place: int) -> None:
    """Makes every metric that this process creates from here on count in the folder. Places are from 0."""
    os.environ[FOLDER_VARIABLE] = folder
    values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]


def forget_gauges(folder: str, place: int) -> None:
    """Removes what a dead worker said of itself (in flight, ready); what it counted stays."""
    mark_process_dead(place, folder)  # type: ignore[no-untyped-call]


class AllWorkers(Collector):
    """The metrics of all workers, and of each of their processes."""

    def __init__(self, folder: str) -> None:
        self._workers = MultiProcessCollector(CollectorRegistry(), folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """All of them, as of now."""
        families: list[Metric] = list(self._workers.collect())  # type: ignore[no-untyped-call]
        yield from families
        pids = {s.labels["pid"]: int(s.value) for f in families if f.name == PID_METRIC for s in f.samples}
        yield from _of_processes(pids)


def _of_processes(pids: dict[str, int]) -> Iterator[Metric]:
    """What the system says of each process: memory, time, files; with the worker's place as its label."""
    merged: dict[str, Metric] = {}
    for place, pid in sorted(pids.items()):
        for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            known = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            known.samples += [s._replace(labels={**s.labels, "pid": place}) for s in family.samples]
    yield from merged.values()

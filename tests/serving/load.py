"""Callers that ask again and again until they are told to stop, and remember what came of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx

from emotion_svc.serving.wires import EXAMPLE_TURN
from tests.serving.process import WAIT_S


class Outcomes(NamedTuple):
    """Statuses of what was answered, and the errors of what was not, by caller."""

    answered: list[int]
    failed: dict[int, list[httpx.TransportError]]

    @property
    def failures(self) -> list[httpx.TransportError]:
        return [error for errors in self.failed.values() for error in errors]


class Load:
    """Half of the callers keep their connection, half make one for each request."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_over = threading.Event()
        self._lock = threading.Condition()
        self._outcomes = Outcomes([], {})

    def await_answers(self, count: int) -> None:
        """Returns when so many more have been answered."""
        with self._lock:
            wanted = len(self._outcomes.answered) + count
            assert self._lock.wait_for(lambda: len(self._outcomes.answered) >= wanted, WAIT_S)

    def stop(self) -> None:
        """Nobody begins another request."""
        self._is_over.set()

    def run(self, caller: int) -> None:
        kept = caller % 2 == 0
        with httpx.Client(base_url=self._url, timeout=WAIT_S) as client:
            while not self._is_over.is_set():
                try:
                    answer = client.post(
                        "/v1/classify", json=EXAMPLE_TURN, headers={} if kept else {"connection": "close"}
                    )
                except httpx.TransportError as error:
                    with self._lock:
                        self._outcomes.failed.setdefault(caller, []).append(error)
                else:
                    with self._lock:
                        self._outcomes.answered.append(answer.status_code)
                        self._lock.notify_all()

    @property
    def outcomes(self) -> Outcomes:
        """To be read when it is over."""
        return self._outcomes


@contextmanager
def load(url: str, callers: int = 4) -> Iterator[Load]:
    """So many callers, until the end of the block."""
    load = Load(url)
    threads = [threading.Thread(target=load.run, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop()
        for thread in threads:
            thread.join(WAIT_S)

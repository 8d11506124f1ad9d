"""Whether a request is taken: refused at once is better than answered late."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from emotion_svc.errors import Overloaded
from emotion_svc.serving.metrics import Metrics


class Admission:
    """Places for turns that are worked on or wait. Turns are counted, not requests: a batch is more work."""

    def __init__(self, max_turns: int, metrics: Metrics) -> None:
        self._max_turns, self._metrics = max_turns, metrics
        self._taken = 0

    def check(self, turns: int, *, expected_ms: float, budget_ms: float) -> None:
        """Raises `Overloaded` where so many turns would get no places now."""
        if self._taken + turns > self._max_turns:
            raise Overloaded(
                f"{self._taken} turns are in work, and the limit is {self._max_turns}; come back later",
                _whole_seconds(expected_ms),
            )
        if expected_ms > budget_ms:
            raise Overloaded(
                f"{self._taken} turns are in work, with which an answer would take {expected_ms:.0f} ms; it may take "
                f"{budget_ms:.0f} ms; come back later",
                _whole_seconds(expected_ms),
            )

    @contextmanager
    def places(self, turns: int, *, expected_ms: float = 0.0, budget_ms: float = float("inf")) -> Iterator[None]:
        """Holds places for so many turns, which are expected to take `expected_ms` of the `budget_ms` that they have.

        Raises:
            Overloaded: there are not so many free, or they would take too long; nothing was computed.
        """
        self.check(turns, expected_ms=expected_ms, budget_ms=budget_ms)
        self._taken += turns
        self._metrics.took_places(turns)
        try:
            yield
        finally:
            self._taken -= turns
            self._metrics.took_places(-turns)


def _whole_seconds(ms: float) -> int:
    """What `Retry-After` can say."""
    return max(1, ceil(ms / 1e3))

"""How long a tier takes of late, and from that: when its call must begin to end in time."""

from collections import deque
from typing import Final

_REMEMBERED: Final = 256
"""Calls. The 99th percentile of fewer would be little more than the slowest."""

_MARGIN_S: Final = 0.005
"""For what a percentile of the past does not know: the loop and the scheduler are busy, too."""


class RecentLatency:
    """The times of the last calls."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    def saw(self, seconds: float) -> None:
        """A call was answered after so long."""
        self._seconds.append(seconds)

    def lead_s(self, turns: int) -> float:
        """How long before the deadline a call must begin, when so many turns may need one at the same time.

        The 99th percentile of late, and the margin; for each further turn the time of the fastest call, since
        they share one processor. That makes it begin at once where many wait, and late where it is alone.
        """
        if not self._seconds:
            return _MARGIN_S
        ordered = sorted(self._seconds)
        p99 = ordered[int(0.99 * (len(ordered) - 1) + 0.5)]
        return p99 + _MARGIN_S + (turns - 1) * ordered[0]

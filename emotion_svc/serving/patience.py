"""Callers who were refused and ask again at once: where they are many, their refusals are held back for a moment.

A refusal costs some 0.7 ms of a core (docs/reliability.md). Sixteen callers who ask again as soon as they are refused
make two thousand of them in a second, and take both cores from the turns that were accepted. Held back, a refusal
costs nothing, and its caller asks no more meanwhile. It was decided before: only its answer waits.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

_AT_ONCE_PER_S: Final = 300
"""So many refusals in a second take a fifth of a core; one more, and all are held back in this second and the next."""
_HOLD_S: Final = 0.025


class Patience:
    """Counts the refusals of each second.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second, self._count, self._before = 0, 0, 0

    @property
    def holds(self) -> bool:
        """Whether refusals are held back now."""
        self._turn_to(int(self._clock()))
        return max(self._count, self._before) > _AT_ONCE_PER_S

    async def refuse(self) -> None:
        """One more refusal, which is sent when this returns."""
        self._turn_to(int(self._clock()))
        self._count += 1
        if self.holds:
            await asyncio.sleep(_HOLD_S)

    def _turn_to(self, second: int) -> None:
        if second != self._second:
            self._before = self._count if second == self._second + 1 else 0
            self._second, self._count = second, 0

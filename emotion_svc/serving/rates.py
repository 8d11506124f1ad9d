"""How often a client may come, as a bucket of tokens for each.

Written here, as the libraries for it bring what this needs not (stores, threads, clocks of their own) and cannot be
handed a clock. The algorithm is GCRA (ITU-T I.371): of a bucket only the time is kept at which it will be full again.
"""

import time
from collections.abc import Callable
from typing import Final

_MINUTE_S: Final = 60.0
_ROUNDING_S: Final = 1e-6
"""So that the last token of a full bucket is not lost to a sum of fractions."""


class RateLimiter:
    """A bucket for each client, which holds the requests of one minute and fills again at that rate.

    A client that was away for a minute is forgotten when room is needed; among more than `max_clients` that were not,
    the one that has been known longest is.

    Args:
        max_clients: for how many clients something is kept.
        clock: seconds that only grow.
    """

    def __init__(self, max_clients: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_clients, self._clock = max_clients, clock
        self._full_at: dict[str, float] = {}

    def wait_s(self, client: str, per_minute: int) -> float:
        """Takes a token if there is one: 0. Else how long it takes until there is one, in seconds."""
        now = self._clock()
        costs = _MINUTE_S / per_minute
        full_at = max(self._full_at.get(client, now), now) + costs
        if (wait := full_at - now - _MINUTE_S) > _ROUNDING_S:
            return wait
        if client not in self._full_at and len(self._full_at) >= self._max_clients:
            self._make_room(now)
        self._full_at[client] = full_at
        return 0.0

    def _make_room(self, now: float) -> None:
        self._full_at = {client: full_at for client, full_at in self._full_at.items() if full_at > now}
        if len(self._full_at) >= self._max_clients:
            del self._full_at[next(iter(self._full_at))]

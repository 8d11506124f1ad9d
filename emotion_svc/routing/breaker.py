"""A breaker: a host that fails again and again is left alone for a while, then probed.

    closed ── failures in a row, or too many of the last calls ──▶ open
       ▲                                                          │ the pause is over
       └──────────── the probe is answered ──── half_open ◀───────┘
                            the probe fails ─────▶ open, for twice as long

Libraries were looked at first. aiobreaker 1.2 is untyped and has had no release since 2021; pybreaker 1.4 has no
asyncio (danielfm/pybreaker#7); purgatory 3.0 is typed and asynchronous, but reads `time.time()` itself, lets every
caller through while half open, and knows neither a rate nor a growing pause. What is left is this file.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

Clock = Callable[[], float]
"""Seconds from any beginning; never goes back."""

State = Literal["closed", "half_open", "open"]


class BreakerPolicy(NamedTuple):
    """When a breaker opens and how long it stays so."""

    failures: int = 5
    """So many in a row open it."""
    window: int = 20
    rate: float = 0.5
    """So large a share of the last `window` calls opens it, too: a host that fails every other time."""
    pause_s: float = 1.0
    longest_pause_s: float = 60.0


DEFAULT_POLICY: Final = BreakerPolicy()

LONGEST_ASKED_S: Final = 600.0
"""The most that a host's word (`Retry-After`) closes its tier for. It may say years, and be back in a minute; to ask it
costs one canary."""


class Breaker:
    """The state machine, without any waiting of its own.

    Results of calls count only while it is closed: one that was begun before it opened says nothing about the
    host after. The pause doubles each time, and begins anew when a closed breaker has seen `window` calls.

    Args:
        clock: tells the time.
        moved: is called with each new state.
    """

    def __init__(self, clock: Clock, moved: Callable[[State], None], policy: BreakerPolicy = DEFAULT_POLICY) -> None:
        self._clock, self._moved, self._policy = clock, moved, policy
        self.state: State = "closed"
        self._recent: deque[bool] = deque(maxlen=policy.window)
        self._failures_in_row = 0
        self._next_pause_s = policy.pause_s
        self._open_until = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether calls may be made."""
        return self.state == "closed"

    @property
    def is_probe_due(self) -> bool:
        """Whether the pause is over and nobody probes yet."""
        return self.state == "open" and self._clock() >= self._open_until

    def begin_probe(self) -> None:
        """One probe goes out; call it only where it is due."""
        assert self.is_probe_due
        self._move("half_open")

    def probe_succeeded(self) -> None:
        """The probe was answered: calls may be made again."""
        assert self.state == "half_open"
        self._recent.clear()
        self._failures_in_row = 0
        self._move("closed")

    def probe_failed(self, retry_after_s: float = 0.0) -> None:
        """The probe was not answered."""
        assert self.state == "half_open"
        self.open(retry_after_s)

    def call_succeeded(self) -> None:
        """A call was answered."""
        if self.is_closed:
            self._failures_in_row = 0
            self._saw(failed=False)

    def call_failed(self, retry_after_s: float = 0.0) -> None:
        """A call failed, or was not answered in its time. `retry_after_s`: how long the host asks to be left alone."""
        if not self.is_closed:
            return
        self._failures_in_row += 1
        self._saw(failed=True)
        is_full = len(self._recent) == self._policy.window
        fails_often = is_full and sum(self._recent) >= self._policy.rate * self._policy.window
        if self._failures_in_row >= self._policy.failures or fails_often or retry_after_s > 0:
            self.open(retry_after_s)

    def open(self, retry_after_s: float = 0.0) -> None:
        """No calls from now on, until a probe is answered. `retry_after_s` counts up to `LONGEST_ASKED_S`."""
        self._open_until = self._clock() + max(self._next_pause_s, min(retry_after_s, LONGEST_ASKED_S))
        self._next_pause_s = min(2 * self._next_pause_s, self._policy.longest_pause_s)
        self._move("open")

    def _saw(self, *, failed: bool) -> None:
        self._recent.append(failed)
        if len(self._recent) == self._policy.window and not failed:
            self._next_pause_s = self._policy.pause_s

    def _move(self, state: State) -> None:
        self.state = state
        self._moved(state)

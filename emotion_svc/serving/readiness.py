"""Whether the process may be sent work: not before its default model answers, nor when it does not any more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

from emotion_svc.errors import DeadlineExceeded, EngineUnavailable, Overloaded
from emotion_svc.serving.metrics import Metrics

FAILURES: Final = 5
"""So many calls in a row that failed make the engine doubtful; as many open a tier's breaker."""
_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 10.0
"""Between two canaries: while there is no other engine, nothing is gained by leaving this one alone for long."""

logger = logging.getLogger(__name__)


class Readiness:
    """What `/readyz` and the gauge say between start and stop.

    When calls fail one after the other, a canary decides, as they may have failed by their turns. While it is not
    answered either, the process should be sent no work. It is asked again after a pause, which doubles; its answer, or
    that to a turn that was sent all the same, ends this.

    Args:
        answers_canary: whether the engine answers the canary now.
        metrics: has the gauge.
    """

    def __init__(self, answers_canary: Callable[[], Awaitable[bool]], metrics: Metrics) -> None:
        self._answers_canary, self._metrics = answers_canary, metrics
        self._is_watching = False
        self._is_answering = True
        self._failures = 0
        self._doubt: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """The engine has started."""
        self._is_watching = True
        self._metrics.is_ready()

    def end(self) -> None:
        """No more work should be sent from here on, whatever the engine does."""
        self._is_watching = False
        self._stop_asking()
        self._metrics.may_be_sent_work(may=False)

    def check(self) -> None:
        """Raises `EngineUnavailable` while the engine does not answer."""
        if not self._is_answering:
            raise EngineUnavailable(
                "the engine failed several times in a row and does not answer the canary; it is asked again, and the "
                "log says why it failed: if it does not come back, restart the process"
            )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside is one call of the engine. One that is refused, late or cancelled says nothing about it."""
        try:
            yield
        except (Overloaded, DeadlineExceeded):
            raise
        except Exception:
            self._failures += 1
            if self._is_watching and self._doubt is None and self._failures >= FAILURES:
                self._doubt = asyncio.create_task(self._ask_until_answered())
            raise
        if self._failures and self._is_watching:
            self._settle()

    async def _ask_until_answered(self) -> None:
        pause_s = _PAUSE_S
        while not await self._answers_canary():
            self._tell(is_answering=False)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._doubt = None
        self._settle()

    def _settle(self) -> None:
        """Nothing is held against the engine."""
        self._failures = 0
        self._stop_asking()
        self._tell(is_answering=True)

    def _stop_asking(self) -> None:
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None

    def _tell(self, *, is_answering: bool) -> None:
        if is_answering == self._is_answering:
            return
        self._is_answering = is_answering
        self._metrics.may_be_sent_work(may=is_answering)
        if is_answering:
            logger.warning("the engine answers again; the process is ready")
        else:
            logger.error("the engine fails and does not answer the canary; the process is not ready")

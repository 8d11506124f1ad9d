"""Where very many are refused anyway, a turn is refused before it is read, which costs less.

A refusal costs some 0.7 ms of a core, most of it for what is thrown away: the body, the checks, the way to the engine.
Asked for twice what it can do, a service on two cores spends more on refusals than on answers. So while refusals are
held back (`serving/patience.py`), a single turn that would find no place, or too long a line, is refused unread. One
that the cache knows may be among them: to know that, it would have to be read.
"""

import time
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from emotion_svc.errors import EngineUnavailable, Overloaded
from emotion_svc.serving.admission import Admission
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.patience import Patience
from emotion_svc.serving.refusals import refusal
from emotion_svc.serving.registry import Registry


class Crowd:
    """Passes requests on, but for turns that a full service refuses by the hundred.

    Args:
        app: what comes behind.
        wires: the paths that take a single turn, by POST.
        models: whose default model's line it is; where there are others, nothing is known of a request unread.
        admission: whose places they would take.
        patience: knows how many are refused.
        metrics: sees what is refused here.
    """

    def __init__(
        self,
        app: ASGIApp,
        wires: Collection[str],
        models: Registry,
        admission: Admission,
        patience: Patience,
        metrics: Metrics,
    ) -> None:
        self._app, self._wires, self._models = app, wires, models
        self._admission, self._patience, self._metrics = admission, patience, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection (ASGI)."""
        app = self._app
        began = time.perf_counter()
        if self._patience.holds and scope["type"] == "http" and self._is_single_turn(scope):
            try:
                self._check()
            except EngineUnavailable:  # told by what comes behind
                pass
            except Overloaded as error:
                self._metrics.saw_overload(error, time.perf_counter() - began)
                await self._patience.refuse()
                app = refusal(scope, error)
        await app(scope, receive, send)

    def _is_single_turn(self, scope: Scope) -> bool:
        return scope["method"] == "POST" and scope["path"] in self._wires

    def _check(self) -> None:
        """Raises `Overloaded` where a turn of the only model would be refused now."""
        if self._models.has_one_only:
            model = self._models.default
            self._admission.check(1, expected_ms=model.expected_ms(1), budget_ms=model.deadline_ms)

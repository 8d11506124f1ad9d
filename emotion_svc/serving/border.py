"""The process border: a request's id, its line in the log, its metrics, and the last word on what nobody expected."""

import logging
import random
import re
import time
from collections.abc import Collection
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion_svc.serving.headers import with_security
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.notes import TRACE_ID, Fact, begin_notes
from emotion_svc.serving.openai_errors import encode_for
from emotion_svc.serving.problems import INTERNAL
from emotion_svc.serving.stopping import Stopping

_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_CLIENT_GONE: Final = 499
"""What nginx logs where the caller went away before the answer; it is never sent."""

logger = logging.getLogger(__name__)


class Border:
    """Wraps the whole app. Only a path that we serve (`wires`) is logged and counted, never what the caller typed."""

    def __init__(self, app: ASGIApp, wires: Collection[str], metrics: Metrics, stopping: Stopping) -> None:
        self._app, self._wires, self._metrics, self._stopping = app, wires, metrics, stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        facts = begin_notes()
        facts |= {"request_id": request_id.decode(), "method": scope["method"]}
        if TRACE_ID in scope:
            facts["trace_id"] = scope[TRACE_ID]
        logger.debug("begun", extra={"fields": dict(facts)})
        status = 0

        async def counting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = with_security([*message.get("headers", ()), (b"x-request-id", request_id)])
                if self._stopping.has_begun:
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            elif not message.get("more_body", False):
                # Before the answer leaves, so that whoever has it finds it counted.
                self._count(scope, status, started, facts)
            await send(message)

        try:
            await self._app(scope, receive, counting_send)
        except ClientDisconnect:
            status = _CLIENT_GONE
            self._count(scope, status, started, facts)
        except Exception:  # the border: whatever it is, it is logged without its words and re-shaped
            logger.exception("unexpected", extra={"fields": {"request_id": request_id.decode()}})
            if not status:
                await _send_internal_problem(scope, counting_send)
        milliseconds = round((time.perf_counter() - started) * 1e3, 3)
        facts |= {"wire": self._wire(scope), "status": status, "ms": milliseconds}
        logger.info("request", extra={"fields": facts})

    def _count(self, scope: Scope, status: int, started: float, facts: dict[str, Fact]) -> None:
        self._metrics.saw_request(self._wire(scope), status, time.perf_counter() - started)
        if (reason := facts.get("refused")) is not None:
            self._metrics.refused(str(reason))

    def _wire(self, scope: Scope) -> str:
        """The path of the route; of a request that was refused before it came to one, its own where we serve that."""
        asked: str = scope["path"]
        path: str = getattr(scope.get("route"), "path", asked if asked in self._wires else "unknown")
        return path


def _request_id(scope: Scope) -> bytes:
    sent: bytes = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return sent if _SANE_ID.fullmatch(sent) else b"%016x" % random.getrandbits(64)


async def _send_internal_problem(scope: Scope, send: Send) -> None:
    body = encode_for(scope, INTERNAL, 500).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})

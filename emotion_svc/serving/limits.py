"""What is refused before it is read: bodies over the limit."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion_svc.errors import TooLarge

_DRAIN_BYTES: Final = 8 * 1024 * 1024
_DRAIN_S: Final = 2.0
"""How much of a refused body is still read, and for how long. A connection that is closed while the caller
sends is reset, and the caller may never see why; one that sends without end is cut off all the same."""


class BodyLimit:
    """Raises `errors.TooLarge` where a body is read that is over the limit, announced or not (chunked).

    Whoever reads no body is not disturbed. At most the limit and one chunk are held in memory.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
        received = 0
        must_close = False

        async def limited_receive() -> Message:
            nonlocal received, must_close
            if announced > self._max_bytes:
                must_close = not await _drained(receive)
                raise self._refusal(f"{announced} bytes")
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                must_close = message.get("more_body", False) and not await _drained(receive)
                raise self._refusal(f"more than {self._max_bytes} bytes")
            return message

        async def closing_send(message: Message) -> None:
            if must_close and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, limited_receive, closing_send)

    def _refusal(self, found: str) -> TooLarge:
        return TooLarge(f"body: {found}; the limit is {self._max_bytes} bytes")


async def _drained(receive: Receive) -> bool:
    """Reads and forgets the rest of a body; whether its end was reached within bounds."""
    read = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while read <= _DRAIN_BYTES:
                message = await receive()
                read += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return True
    return False

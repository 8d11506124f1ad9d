"""What is refused before it is read: bodies that are too large or too slow."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion_svc.errors import TooLarge, TooSlow

_DRAIN_BYTES: Final = 8 * 1024 * 1024
_DRAIN_S: Final = 2.0
"""How much of a refused body is still read, and for how long. A connection that is closed while the caller
sends is reset, and the caller may never see why; one that sends without end is cut off all the same."""


class BodyLimit:
    """Refuses a body that is over the limit, announced or not (chunked), or whose end does not come in `timeout_s`.

    Raises `errors.TooLarge` and `errors.TooSlow` where the body is read; whoever reads none is not disturbed.
    At most the limit and one chunk are held in memory.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self._app, self._max_bytes, self._timeout_s = app, max_bytes, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
        received = 0
        ends_at: float | None = None
        is_whole = must_close = False

        async def receive_in_time() -> Message:
            nonlocal ends_at, must_close
            if ends_at is None:
                ends_at = asyncio.get_running_loop().time() + self._timeout_s
            try:
                async with asyncio.timeout_at(ends_at):
                    return await receive()
            except TimeoutError:
                must_close = True
                raise TooSlow(
                    f"body: {received} bytes of it came within {self._timeout_s:g} s, which is the limit"
                ) from None

        async def limited_receive() -> Message:
            nonlocal received, is_whole, must_close
            if is_whole:
                return await receive()
            if announced > self._max_bytes:
                must_close = not await _drained(receive)
                raise self._refusal(f"{announced} bytes")
            message = await receive_in_time()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                must_close = message.get("more_body", False) and not await _drained(receive)
                raise self._refusal(f"more than {self._max_bytes} bytes")
            is_whole = not message.get("more_body", False)
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

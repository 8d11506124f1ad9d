"""What is refused before it is read: bodies that are too large, too slow, or too much together."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion_svc.errors import Overloaded, TooLarge, TooSlow

_DRAIN_BYTES: Final = 8 * 1024 * 1024
_DRAIN_S: Final = 2.0
"""How much of a refused body is still read, and for how long. A connection that is closed while the caller
sends is reset, and the caller may never see why; one that sends without end is cut off all the same."""

_FULL_BODIES: Final = 32
"""How many bodies of the largest size may be held at a time. The usual ones are a thousand times smaller; without a
bound, 4,000 connections that each send a little less than the limit would take 4 GB."""


class BodyLimit:
    """Refuses a body that is over the limit, announced or not (chunked), or whose end does not come in `timeout_s`.

    Raises `errors.TooLarge` and `errors.TooSlow` where the body is read; whoever reads none is not disturbed.
    At most the limit and one chunk are held in memory.

    All bodies together have at most `_FULL_BODIES` times the limit, from their first piece to their answer: where one
    more piece would be more, it is refused (`errors.Overloaded`). A body that comes in one piece, as that of a turn
    does, is taken all the same: those that come slowly keep nobody out.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self._app, self._max_bytes, self._timeout_s = app, max_bytes, timeout_s
        self._max_held, self._held = _FULL_BODIES * max_bytes, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
        received = held = 0
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
            nonlocal received, held, is_whole, must_close
            if is_whole:
                return await receive()
            if announced > self._max_bytes:
                must_close = not await _drained(receive)
                raise self._refusal(f"{announced} bytes")
            message = await receive_in_time()
            piece = len(message.get("body", b""))
            received += piece
            is_whole = not message.get("more_body", False)
            error: TooLarge | Overloaded | None = None
            if received > self._max_bytes:
                error = self._refusal(f"more than {self._max_bytes} bytes")
            elif self._held + piece > self._max_held and not (is_whole and received == piece):
                error = Overloaded(
                    f"body: the bodies in work have {self._held} bytes; the limit is {self._max_held}; come back later"
                )
            if error is not None:
                must_close = not is_whole and not await _drained(receive)
                raise error
            held += piece
            self._held += piece
            return message

        async def closing_send(message: Message) -> None:
            if must_close and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        try:
            await self._app(scope, limited_receive, closing_send)
        finally:
            self._held -= held

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

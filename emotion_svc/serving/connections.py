"""What a connection may do before there is a request: bounds that uvicorn does not have.

uvicorn ends a connection that is idle between two requests (`timeout_keep_alive`), but waits for ever for the first
request and for the end of headers that have begun, and takes any number of bytes of them: its parser has no limits.
"""

import asyncio
import logging
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_OVERHEAD_BYTES: Final = 64 * 1024
"""For all of a request that is no body: its headers, the framing of chunks, trailers. nginx takes 32 KiB."""
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

logger = logging.getLogger(__name__)


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, on which headers must be complete within `headers_s` and `_MAX_OVERHEAD_BYTES`.

    The time runs from the connection's begin and, after an answer, from the first byte of what follows; while there
    is nothing, `timeout_keep_alive` runs. More bytes do not lengthen it. The rest of a body that was refused before
    its end has the same time.
    """

    headers_s: ClassVar[float]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._headers_end: asyncio.TimerHandle | None = None
        self._overhead = 0
        self._is_in_message = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller connects (asyncio)."""
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Bytes came (asyncio)."""
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > _MAX_OVERHEAD_BYTES:
            self._cut("too many bytes that are no body", _TOO_LARGE)
        elif self._headers_end is None and (self.cycle is None or self.cycle.response_complete):
            self._await_headers()

    def on_headers_complete(self) -> None:
        """A request has begun (httptools)."""
        self._await_nothing()
        self._is_in_message = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body came (httptools)."""
        self._overhead -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole (httptools)."""
        self._overhead = 0
        self._is_in_message = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request is answered, perhaps before it was whole (uvicorn)."""
        super().on_response_complete()
        if self._is_in_message and self._headers_end is None:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone (asyncio)."""
        self._await_nothing()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        self._headers_end = self.loop.call_later(self.headers_s, self._cut, "headers did not come in time", _TOO_SLOW)

    def _await_nothing(self) -> None:
        if self._headers_end is not None:
            self._headers_end.cancel()
            self._headers_end = None

    def _cut(self, event: str, answer: bytes) -> None:
        if self.transport.is_closing():
            return
        logger.info(event)
        # Whoever has sent nothing, or has or awaits an answer, would take this for the answer to another request.
        is_owed = self._overhead and not self._is_in_message
        if is_owed and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(answer)
        self.transport.close()


def connections(headers_s: float) -> type[asyncio.Protocol]:
    """The protocol with this time for headers, in seconds."""
    return type("Connection", (Connection,), {"headers_s": headers_s})

"""A caller that goes away before its answer takes its work along: what runs for it is cancelled, its place is free."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CancelWhenGone:
    """Listens for the end of the connection while a request is worked on, and cancels the work then.

    The server tells of it only to whoever waits for the next message, and that nobody does whose body is whole.
    Raises `ClientDisconnect`, as does reading a body that breaks off.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        work = asyncio.current_task()
        assert work is not None
        listener: asyncio.Task[None] | None = None
        is_gone = is_answering = False

        async def listen() -> None:
            nonlocal is_gone
            while (await receive())["type"] != "http.disconnect":
                pass
            if not is_answering:  # the same message tells that an answer is complete
                is_gone = True
                work.cancel()

        async def listening_receive() -> Message:
            nonlocal listener
            if listener is not None:
                await asyncio.shield(listener)
                return {"type": "http.disconnect"}
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                listener = asyncio.create_task(listen())
            return message

        async def noting_send(message: Message) -> None:
            nonlocal is_answering
            is_answering = True
            await send(message)

        try:
            await self._app(scope, listening_receive, noting_send)
        except asyncio.CancelledError:
            if not is_gone:
                raise
            work.uncancel()
            raise ClientDisconnect from None
        finally:
            if listener is not None:
                listener.cancel()

"""Routes that FastAPI documents but does not stand in the way of."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class DirectRoute(APIRoute):
    """A route whose function is called with the request, and nothing else, and gives the response itself.

    FastAPI would look for dependencies, collect background tasks and prepare a body to validate, of which our wires
    have none: a tenth of what a request costs that the engine never sees (docs/performance.md).
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler

"""Routes that FastAPI documents but does not stand in the way of."""

from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction, signature
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class DirectRoute(APIRoute):
    """A route whose function is called with the request, and nothing else, and gives the response itself.

    FastAPI would look for dependencies, collect background tasks and prepare a body to validate, of which our wires
    have none (docs/performance.md has what that costs). So whatever guards a wire stands before it, in `gate`.

    Raises:
        TypeError: the function takes anything but the request, or the route or its router has dependencies, which
            would be left out in silence.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        takes = self.dependant
        is_plain = takes.request_param_name is not None and list(signature(self.endpoint).parameters) == [
            takes.request_param_name
        ]
        if not is_plain or takes.dependencies or not iscoroutinefunction(self.endpoint):
            raise TypeError(f"{self.path}: a direct route's function is async and takes the request alone")
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler

"""Who comes in: a known key where keys are asked for, not too often, and not too many at a time."""

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from emotion_svc.config import Settings
from emotion_svc.errors import RateLimited, ServiceError, TooManyAtOnce
from emotion_svc.serving.keys import Client, Keys
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.notes import note
from emotion_svc.serving.rates import RateLimiter
from emotion_svc.serving.refusals import refusal

HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Open to everybody: what asks them (a container's host, a load balancer) often cannot send a key."""
OPERATIONS_PATHS: Final = HEALTH_PATHS | {"/metrics", "/docs", "/openapi.json"}
"""Not limited, and behind the key only where `keys_cover` says so. All other paths, unknown ones too, are wires."""

ANONYMOUS: Final = "anonymous"
"""The client of the log and the metrics where there are no keys: an address is nobody's name, and can be a child's."""


class Gate:
    """Lets a request in or refuses it, before its body is read."""

    def __init__(self, app: ASGIApp, keys: Keys | None, settings: Settings, metrics: Metrics) -> None:
        self._app, self._keys, self._metrics = app, keys, metrics
        self._open_paths = HEALTH_PATHS if settings.keys_cover == "all" else OPERATIONS_PATHS
        self._per_minute, self._at_once = settings.client_requests_per_minute, settings.client_in_flight
        self._has_limits = self._per_minute is not None or self._at_once is not None
        self._rates = RateLimiter()
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection (ASGI)."""
        app = self._app
        with ExitStack() as place:
            if scope["type"] == "http" and scope["path"] not in self._open_paths:
                try:
                    self._let_in(scope, place)
                except ServiceError as error:
                    app = refusal(scope, error)
            await app(scope, receive, send)

    def _let_in(self, scope: Scope, place: ExitStack) -> None:
        """Takes a place for the request. Raises `errors.Unauthorized`, `RateLimited` or `TooManyAtOnce`."""
        if self._keys is not None:
            client = self._keys.client(_authorization(scope))
            note(client=client.name)
        elif self._has_limits:
            client = Client(_address(scope), None)
        else:
            return
        if scope["path"] in OPERATIONS_PATHS:
            return
        if (per_minute := client.requests_per_minute or self._per_minute) is not None:
            self._check_rate(client.name, per_minute)
        if self._at_once is not None:
            place.enter_context(self._place(client.name, self._at_once))

    def _check_rate(self, client: str, per_minute: int) -> None:
        if wait_s := self._rates.wait_s(client, per_minute):
            self._metrics.limited_rate(client if self._keys is not None else ANONYMOUS)
            raise RateLimited(
                f"more than {per_minute} requests in a minute, which is this client's limit; come back later",
                retry_after_s=wait_s,
            )

    @contextmanager
    def _place(self, client: str, at_once: int) -> Iterator[None]:
        if self._in_flight[client] >= at_once:
            raise TooManyAtOnce(
                f"{at_once} requests of this client are in work, and that is its limit; come back later"
            )
        self._in_flight[client] += 1
        try:
            yield
        finally:
            self._in_flight[client] -= 1
            if not self._in_flight[client]:
                del self._in_flight[client]


def _authorization(scope: Scope) -> bytes:
    return next((value for name, value in scope["headers"] if name == b"authorization"), b"")


def _address(scope: Scope) -> str:
    """Where a request comes from; of an IPv6 address the network, as one host has all of its addresses."""
    host: str = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))

"""Who comes in: a known key where keys are asked for, not too often, and not too many at a time."""

import ipaddress
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from emotion_svc.config import Settings
from emotion_svc.errors import RateLimited, TooManyAtOnce
from emotion_svc.serving.keys import Client, Keys
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.notes import note
from emotion_svc.serving.rates import RateLimiter

HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Open to everybody: what asks them (a container's host, a load balancer) often cannot send a key."""
OPERATIONS_PATHS: Final = HEALTH_PATHS | {"/metrics", "/docs", "/openapi.json"}
"""Not limited, and behind the key only where `keys_cover` says so. All other paths, unknown ones too, are wires."""

ANONYMOUS: Final = "anonymous"
"""The client of the log and the metrics where there are no keys: an address is nobody's name, and can be a child's."""


class Gate:
    """Lets a request in, or raises `errors.Unauthorized`, `RateLimited` or `TooManyAtOnce` before its body is read."""

    def __init__(self, app: ASGIApp, keys: Keys | None, settings: Settings, metrics: Metrics) -> None:
        self._app, self._keys, self._metrics = app, keys, metrics
        self._open_paths = HEALTH_PATHS if settings.keys_cover == "all" else OPERATIONS_PATHS
        self._per_minute, self._at_once = settings.client_requests_per_minute, settings.client_in_flight
        self._rates = RateLimiter()
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection (ASGI)."""
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        client = self._client(scope)
        if scope["path"] in OPERATIONS_PATHS:
            await self._app(scope, receive, send)
            return
        self._check_rate(client)
        with self._place(client.name):
            await self._app(scope, receive, send)

    def _client(self, scope: Scope) -> Client:
        if self._keys is None:
            return Client(_address(scope), None)
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        client = self._keys.client(sent)
        note(client=client.name)
        return client

    def _check_rate(self, client: Client) -> None:
        per_minute = client.requests_per_minute or self._per_minute
        if per_minute is None:
            return
        if wait_s := self._rates.wait_s(client.name, per_minute):
            self._metrics.limited_rate(client.name if self._keys is not None else ANONYMOUS)
            raise RateLimited(
                f"more than {per_minute} requests in a minute, which is this client's limit; come back later",
                retry_after_s=math.ceil(wait_s),
            )

    @contextmanager
    def _place(self, client: str) -> Iterator[None]:
        if self._at_once is None:
            yield
            return
        if self._in_flight[client] >= self._at_once:
            raise TooManyAtOnce(
                f"{self._at_once} requests of this client are in work, and that is its limit; come back later"
            )
        self._in_flight[client] += 1
        try:
            yield
        finally:
            self._in_flight[client] -= 1
            if not self._in_flight[client]:
                del self._in_flight[client]


def _address(scope: Scope) -> str:
    """Where a request comes from; of an IPv6 address the network, as one host has all of its addresses."""
    host: str = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))

"""uvicorn under our terms: bounds on connections, a stop that loses nothing, and the address in the open."""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from emotion_svc.config import Settings
from emotion_svc.errors import SetupError
from emotion_svc.serving.connections import connections
from emotion_svc.serving.stopping import Stopping

_KEEP_ALIVE_S: Final = 75
"""Longer than the pools of common clients (httpx 5 s, nginx 60 s): the side that sends next must be the one that
closes, or a request meets a connection that is just going away."""

STOP_S: Final = 10
"""How long a stop waits for requests in work; container hosts kill after 30 s."""

OnListening = Callable[[str], None]
"""Is called once, with the URL, when connections are taken."""


class Server(uvicorn.Server):
    """uvicorn's server on a bound socket, which says when it listens. `app` is one of `create_app`.

    On SIGTERM `/readyz` says no, and requests are still taken for `stop_grace_s`, so that whoever spreads the load has
    time to see it; answers close their connections meanwhile. Then nothing more is taken, what is in work is answered,
    and `run` returns. SIGINT (somebody at a keyboard) leaves the grace out, and a second one the rest.
    """

    def __init__(self, app: FastAPI, settings: Settings, sock: socket.socket, on_listening: OnListening) -> None:
        super().__init__(_config(app, settings))
        self._app, self._sock, self._on_listening = app, sock, on_listening
        self._stopping: Stopping = app.state.stopping
        self._grace_s = settings.stop_grace_s
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until it is stopped."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens."""
        # Libraries and model are here to stay. Looked through with everything else, they would hold up all answers for
        # some 50 ms at a time.
        gc.collect()
        gc.freeze()
        await super().startup(sockets)
        self._on_listening(url_of(self._sock, is_https=self.config.is_ssl))

    async def run_app(self) -> None:
        """Starts the app, serves until it is stopped, and closes the app.

        The lifespan is entered here and not by uvicorn, which would turn a `SetupError` into a logged traceback.
        """
        async with self._app.router.lifespan_context(self._app):
            await self.serve([self._sock])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """A signal came. Unlike uvicorn's own method, this does not raise it again after the stop."""
        assert self._loop is not None
        # A signal can come in the middle of anything; what it brings about must not.
        self._loop.call_soon_threadsafe(self._hurry if sig == signal.SIGINT else self.stop)

    def stop(self) -> None:
        """Stops after the grace; asked again, it does not begin anew."""
        if not self._stopping.has_begun:
            self._stopping.begin()
            asyncio.get_running_loop().call_later(self._grace_s, self._close)

    def _hurry(self) -> None:
        self.force_exit = self.should_exit
        self._stopping.begin()
        self._close()

    def _close(self) -> None:
        self.should_exit = True


def run(server: Server) -> None:
    """Runs a server to its end. Raises `errors.SetupError` where its engine cannot start."""
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.run_app())


def bind(host: str, port: int) -> socket.socket:
    """A socket that has the address but does not listen yet.

    Raises:
        SetupError: the address is taken, unknown or not allowed.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise SetupError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another host or port, or stop what uses it"
        ) from error
    sock.set_inheritable(True)
    return sock


def url_of(sock: socket.socket, *, is_https: bool = False) -> str:
    """Where a caller on this machine reaches a bound socket."""
    host, port = sock.getsockname()[:2]
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    place = f"[{reached}]" if ":" in reached else reached
    return f"{'https' if is_https else 'http'}://{place}:{port}"


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        lifespan="off",
        loop="uvloop",
        http=connections(settings.receive_timeout_s),
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        server_header=False,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise SetupError(
            f"cannot use the certificate '{settings.tls_cert}' with the key '{settings.tls_key}': "
            f"{error.strerror or 'they are no PEM files that belong together'}; give files that this process can read"
        ) from error
    return config

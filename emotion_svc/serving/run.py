"""Runs the app under uvicorn: one process by itself, or several that share the port."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from emotion_svc.config import Settings, load_settings
from emotion_svc.engines.factory import running
from emotion_svc.errors import SetupError
from emotion_svc.routing.build import create_router
from emotion_svc.serving.app import create_app
from emotion_svc.serving.logs import configure_logging
from emotion_svc.serving.models_file import further_models

_KEEP_ALIVE_S: Final = 75
"""Longer than the pools of common clients (httpx 5 s, nginx 60 s): the side that sends next must be the one that
closes, or a request meets a connection that is just going away."""

_STOP_S: Final = 10
"""How long a stop waits for requests in work; container hosts kill after 30 s."""

OnListening = Callable[[str], None]
"""Is called once, with the URL, when connections are taken."""


def serve(settings: Settings, on_listening: OnListening) -> None:
    """Serves until SIGTERM or SIGINT; requests in work are answered first.

    Raises:
        SetupError: the engine cannot start, or the address is taken.
    """
    configure_logging()
    with bind(settings.host, settings.port) as sock:
        if settings.workers == 1:
            _serve_alone(settings, sock, on_listening)
        else:
            _serve_with_workers(settings, sock, on_listening)


class Server(uvicorn.Server):
    """uvicorn's server on a bound socket, which says when it listens. `app` has been started by the caller."""

    def __init__(self, app: FastAPI, sock: socket.socket, on_listening: OnListening) -> None:
        super().__init__(_config(app, lifespan="off"))
        self._sock, self._on_listening = sock, on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens."""
        await super().startup(sockets)
        self._on_listening(url_of(self._sock))

    async def run_with(self, app: FastAPI) -> None:
        """Starts the app, serves, and closes the app.

        The lifespan is entered here and not by uvicorn, which would turn a `SetupError` into a logged traceback.
        """
        async with app.router.lifespan_context(app):
            await self.serve([self._sock])


def worker_app() -> FastAPI:
    """The app of one of several workers, which know the settings by their environment."""
    configure_logging()
    settings = load_settings()
    return create_app(create_router(settings), settings, further_models(settings))


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


def url_of(sock: socket.socket) -> str:
    """Where a caller on this machine reaches a bound socket."""
    host, port = sock.getsockname()[:2]
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def _serve_alone(settings: Settings, sock: socket.socket, on_listening: OnListening) -> None:
    app = create_app(create_router(settings), settings, further_models(settings))
    server = Server(app, sock, on_listening)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(_until_stopped(server, app))


async def _until_stopped(server: Server, app: FastAPI) -> None:
    # uvicorn stops on a signal and then raises it again, for whoever had it before. That is us, and for us
    # a stop that was asked for is no failure: exit status 0.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: None)
    await server.run_with(app)


def _serve_with_workers(settings: Settings, sock: socket.socket, on_listening: OnListening) -> None:
    asyncio.run(_try_out(settings))
    os.environ.update(settings.environment)
    config = _config("emotion_svc.serving.run:worker_app", factory=True, lifespan="on", workers=settings.workers)
    sock.listen(config.backlog)  # who knocks before the first worker is up, waits for it
    on_listening(url_of(sock))
    supervisor = Multiprocess(config, [sock])
    supervisor.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise SetupError("a worker could not start, though the engine was tried out before; the log says why")


async def _try_out(settings: Settings) -> None:
    """Starts the engines once, so that what is wrong is told once, and not by every worker."""
    async with running(create_router(settings)):
        pass


def _config(app: Any, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_S,
        **more,
    )

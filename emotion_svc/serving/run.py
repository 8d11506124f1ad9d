"""Runs the service: one process by itself, or several that share the port."""

import asyncio
import logging
import os
import socket

from emotion_svc.config import Settings, beside_event_loop
from emotion_svc.engines.factory import running
from emotion_svc.routing.build import create_router
from emotion_svc.serving.app import create_app
from emotion_svc.serving.keys import Keys
from emotion_svc.serving.logs import configure_logging
from emotion_svc.serving.models_file import further_models
from emotion_svc.serving.server import OnListening, Server, bind, run
from emotion_svc.serving.traces import tracing_from
from emotion_svc.serving.workers import Supervisor

logger = logging.getLogger(__name__)


def serve(settings: Settings, on_listening: OnListening) -> None:
    """Serves until SIGTERM or SIGINT; requests in work are answered first.

    Raises:
        SetupError: the engine cannot start, the address is taken, or a file that the settings name is wrong.
    """
    configure_logging(settings.log_level)
    settings = beside_event_loop(settings)
    with bind(settings.host, settings.port) as sock:
        if settings.workers == 1:
            run(make_server(settings, sock, on_listening))
        else:
            asyncio.run(_try_out(settings))
            Supervisor(settings, sock, make_server).run(on_listening)


def make_server(settings: Settings, sock: socket.socket, on_listening: OnListening) -> Server:
    """The server of this process. Raises `errors.SetupError`."""
    configure_logging(settings.log_level)
    router = create_router(settings)
    if router.is_uncapped:
        logger.warning("the host's calls cost money, and nothing caps them; a tiers file can (docs/tiers.md)")
    app = create_app(router, settings, further_models(settings), tracing=tracing_from(os.environ))
    return Server(app, settings, sock, on_listening)


async def _try_out(settings: Settings) -> None:
    """Starts the engines once, so that what is wrong is told once, and not by every worker."""
    Keys.of(settings)
    tracing_from(os.environ)
    further_models(settings)
    async with running(create_router(settings)):
        pass

"""A worker that hangs while it starts, once: the file that `HAS_HUNG` names says whether it has."""

import os
import signal
import socket
from pathlib import Path

from emotion_svc.config import Settings
from emotion_svc.serving.run import make_server
from emotion_svc.serving.server import OnListening, Server


def hang_once(settings: Settings, sock: socket.socket, on_listening: OnListening) -> Server:
    try:
        Path(os.environ["HAS_HUNG"]).touch(exist_ok=False)
    except FileExistsError:
        return make_server(settings, sock, on_listening)
    while True:
        signal.pause()

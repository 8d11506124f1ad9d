"""Several processes that share the port: one is replaced when it dies or hangs, and all are stopped together.

uvicorn's own supervisor has no place for what is done here: a server of our own in each worker (the grace of a stop),
metrics that outlive a worker, a parent whose hold on the port ends with its workers', a replacement that cannot start
without taking the healthy ones down, and workers that do not outlive their parent.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from emotion_svc.config import Settings
from emotion_svc.errors import SetupError
from emotion_svc.serving.processes import count_as_worker, forget_gauges
from emotion_svc.serving.server import STOP_S, OnListening, Server, run, url_of

MakeServer = Callable[[Settings, socket.socket, OnListening], Server]
"""Makes the server of one worker; a function that can be pickled."""

_BEAT_S: Final = 1.0
_HUNG_S: Final = 30.0
_START_S: Final = 120.0
"""Far more than a start takes: several at once on a busy machine, with hosts that are slow to answer the canary."""
_RESTART_S: Final = 1.0
"""At most so often a worker is started in one place, so that one that dies at once does not take the machine."""
_TICK_S: Final = 0.1

_spawn: Final = multiprocessing.get_context("spawn")
logger = logging.getLogger(__name__)


class _Arguments(NamedTuple):
    """What all workers are made from; can be pickled. `folder` is that of their metrics."""

    settings: Settings
    sock: socket.socket
    make: MakeServer
    folder: str


class Worker:
    """One place among the workers, and the process that has it now."""

    def __init__(self, place: int, arguments: _Arguments, *, start_s: float, hung_s: float) -> None:
        self.place = place
        self._arguments, self._start_s, self._hung_s = arguments, start_s, hung_s
        self.was_ever_up = False
        self.start()

    def start(self) -> None:
        """Starts a process in this place."""
        self._beats, theirs = _spawn.Pipe(duplex=False)
        os.set_blocking(self._beats.fileno(), False)
        self.process = _spawn.Process(target=_work, args=(self._arguments, self.place, theirs))
        self.process.start()
        theirs.close()
        self.started_at = time.monotonic()
        self._beat_at: float | None = None

    def listen(self) -> None:
        """Hears whether it is up and beats."""
        with contextlib.suppress(BlockingIOError):
            if os.read(self._beats.fileno(), 4096):
                self.was_ever_up = True
                self._beat_at = time.monotonic()

    @property
    def is_hung(self) -> bool:
        """Whether it lives but has not been heard of for too long, since its start or since it was last."""
        if not self.process.is_alive():
            return False
        if self._beat_at is None:
            return time.monotonic() - self.started_at > self._start_s
        return time.monotonic() - self._beat_at > self._hung_s

    def bury(self) -> None:
        """Clears up after a process that has ended."""
        self.process.join()
        self._beats.close()
        forget_gauges(self._arguments.folder, self.place)


class Supervisor:
    """Keeps `settings.workers` processes at work until SIGTERM or SIGINT.

    Args:
        settings: for each worker's server.
        sock: bound; closed here when the workers are told to stop, so that the port is free with the last of them.
        make: makes a worker's server.
        start_s: how long a worker may take until it listens.
        hung_s: how long a worker may be silent. Its event loop never is, but a machine that swaps may stop it for
            seconds.
    """

    def __init__(
        self,
        settings: Settings,
        sock: socket.socket,
        make: MakeServer,
        *,
        start_s: float = _START_S,
        hung_s: float = _HUNG_S,
    ) -> None:
        self._settings, self._sock, self._make = settings, sock, make
        self._start_s, self._hung_s = start_s, hung_s
        self._is_stopping = False

    def run(self, on_listening: OnListening) -> None:
        """Returns when all have stopped.

        Raises:
            SetupError: a worker ended before it listened, and none ever had in this place. One that hangs is replaced.
        """
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, self._on_signal)
        self._sock.listen(2048)  # who knocks before the first worker is up, waits for it
        with TemporaryDirectory(prefix="emotion-svc-metrics-") as folder:
            arguments = _Arguments(self._settings, self._sock, self._make, folder)
            workers = [
                Worker(place, arguments, start_s=self._start_s, hung_s=self._hung_s)
                for place in range(self._settings.workers)
            ]
            on_listening(url_of(self._sock, is_https=self._settings.tls_cert is not None))
            try:
                while not self._is_stopping:
                    wait([worker.process.sentinel for worker in workers if worker.process.is_alive()], _TICK_S)
                    for worker in workers:
                        if not self._is_stopping:
                            self._look_after(worker)
            finally:
                self._stop(workers)

    def _on_signal(self, *_: object) -> None:
        self._is_stopping = True

    def _look_after(self, worker: Worker) -> None:
        worker.listen()
        was_hung = worker.is_hung
        if was_hung:
            logger.error("a worker hangs and is killed", extra={"fields": {"place": worker.place}})
            worker.process.kill()
            worker.process.join()
        if worker.process.is_alive() or time.monotonic() - worker.started_at < _RESTART_S:
            return
        fields = {"place": worker.place, "pid": worker.process.pid, "exit_code": worker.process.exitcode}
        if not worker.was_ever_up and not was_hung:
            raise SetupError("a worker could not start, though the engine was tried out before; the log says why")
        logger.error("a worker has ended and is replaced", extra={"fields": fields})
        worker.bury()
        worker.start()

    def _stop(self, workers: list[Worker]) -> None:
        self._sock.close()
        for worker in workers:
            worker.process.terminate()
        ends_at = time.monotonic() + self._settings.stop_grace_s + STOP_S + _RESTART_S
        for worker in workers:
            worker.process.join(max(0.0, ends_at - time.monotonic()))
            if worker.process.is_alive():
                logger.error("a worker does not stop and is killed", extra={"fields": {"place": worker.place}})
                worker.process.kill()
            worker.bury()


def _work(arguments: _Arguments, place: int, beats: Connection) -> None:
    """What a worker's process does."""
    settings, sock, make, folder = arguments
    os.set_blocking(beats.fileno(), False)
    count_as_worker(folder, place)
    beating: list[asyncio.Task[None]] = []

    def on_listening(_: str) -> None:
        beating.append(asyncio.create_task(_beat(server, beats)))

    try:
        server = make(settings, sock, on_listening)
        run(server)
    except SetupError as error:
        logger.error("a worker cannot start", extra={"fields": {"place": place, "problem": str(error)}})  # noqa: TRY400
        sys.exit(1)


async def _beat(server: Server, beats: Connection) -> None:
    """Tells the parent that the event loop turns; stops the server when there is no parent any more."""
    while True:
        try:
            os.write(beats.fileno(), b".")
        except BlockingIOError:  # a parent that does not read now: it was told often enough
            pass
        except BrokenPipeError:
            server.stop()
            return
        await asyncio.sleep(_BEAT_S)

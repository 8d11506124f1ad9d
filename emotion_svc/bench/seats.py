"""Subjects as they are measured: each in its own process, with its own Python, in process or behind HTTP."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import psutil

from emotion_svc.bench.http_client import Connection
from emotion_svc.bench.load import Load, press
from emotion_svc.bench.subjects import Spec, Way
from emotion_svc.bench.wires import wire_for
from emotion_svc.bench.worker import READY, Press
from emotion_svc.errors import SetupError
from emotion_svc.schema import Turn

_START_S: Final = 900
"""How long a subject may take to be ready: vLLM compiles a model at its first start."""

_END_S: Final = 30
"""How long a subject may take to end by itself."""

_LINE_BYTES: Final = 1 << 27
_PACKAGE_PARENT: Final = Path(__file__).parent.parent.parent


class Usage(NamedTuple):
    """CPU time so far and resident memory now, of a process and its children."""

    cpu_s: float
    resident_bytes: int


class Seat(Protocol):
    """A started subject. `start_s`: from the start of its process to ready."""

    way: Way
    start_s: float

    async def press(self, first: int, clients: int, seconds: float) -> Load:
        """Lets so many clients ask (see `load.press`)."""

    def usage(self) -> Usage:
        """What its processes have used."""

    async def close(self) -> None:
        """Ends its processes."""


async def take_seat(spec: Spec, way: Way, python: Path, turns: Sequence[Turn]) -> Seat:
    """Starts the subject and waits until it is ready.

    Raises:
        SetupError: it ended, or was not ready in time.
    """
    return await (_WorkerSeat.take(spec, python) if way == "process" else _HttpSeat.take(spec, python, turns))


class _WorkerSeat:
    way: Way = "process"

    def __init__(self, process: asyncio.subprocess.Process, start_s: float) -> None:
        self._process, self.start_s = process, start_s

    @classmethod
    async def take(cls, spec: Spec, python: Path) -> "_WorkerSeat":
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(python, "-m", "emotion_svc.bench.worker", spec.model_dump_json()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            env=environment(),
        )
        assert process.stdout is not None
        line = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                line = await process.stdout.readline()
        if line.strip() != READY.encode():
            await _end(process)
            raise SetupError(f"'{spec.name}' did not start with {python}; its own messages are above, on stderr")
        return cls(process, time.perf_counter() - started)

    async def press(self, first: int, clients: int, seconds: float) -> Load:
        wanted = Press(first=first, clients=clients, seconds=seconds)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(wanted.model_dump_json().encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise SetupError("a subject ended while it was measured; its own messages are above, on stderr")
        return Load.model_validate_json(line)

    def usage(self) -> Usage:
        return _usage(self._process.pid)

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await _end(self._process, already_asked=True)


class _HttpSeat:
    way: Way = "http"

    def __init__(
        self, process: asyncio.subprocess.Process, start_s: float, spec: Spec, port: int, turns: Sequence[Turn]
    ) -> None:
        self._process, self.start_s = process, start_s
        self._spec, self._port, self._turns = spec, port, turns
        self._connections: list[Connection] = []

    @classmethod
    async def take(cls, spec: Spec, python: Path, turns: Sequence[Turn]) -> "_HttpSeat":
        port = free_port()
        started = time.perf_counter()
        log = spec.assets / f"{spec.name}.http.log"  # a line for each request, as where it is in use
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                python, *_server(spec, port), stdout=file, stderr=file, env=environment()
            )
        path = "/readyz" if spec.is_engine else "/health"
        while not await _is_ready(port, path):
            if process.returncode is not None or time.perf_counter() - started > _START_S:
                await _end(process)
                raise SetupError(f"'{spec.name}' did not serve with {python}; '{log}' says why")
            await asyncio.sleep(0.005)
        return cls(process, time.perf_counter() - started, spec, port, turns)

    async def press(self, first: int, clients: int, seconds: float) -> Load:
        while len(self._connections) < clients:
            self._connections.append(await Connection.open("127.0.0.1", self._port))
        asks = [wire_for(self._spec, connection) for connection in self._connections[:clients]]
        return await press(asks, self._turns, first=first, seconds=seconds)

    def usage(self) -> Usage:
        return _usage(self._process.pid)

    async def close(self) -> None:
        for connection in self._connections:
            connection.close()
        await _end(self._process)


def _server(spec: Spec, port: int) -> list[str]:
    if spec.is_engine:
        options = [f"--{name.replace('_', '-')}={value}" for name, value in spec.settings.items()]
        return ["-m", "emotion_svc", "serve", "--engine", spec.name, "--port", str(port), *options]
    from emotion_svc.bench.peers.plain import VLLM_SERVE

    return ["-m", "vllm.entrypoints.cli.main", "serve", str(spec.checkpoint), "--port", str(port), *VLLM_SERVE]


def environment() -> dict[str, str]:
    """Ours, where this package is (another Python may have another one, or none), and what the service is told.

    Every turn is computed, however often it comes, and none is given up for being late: that is what is measured.
    """
    known = os.environ.get("PYTHONPATH")
    told = {"EMOTION_SVC_CACHE_BYTES": "0", "EMOTION_SVC_DEADLINE_MS": str(_START_S * 1000)}
    return os.environ | told | {"PYTHONPATH": os.pathsep.join(filter(None, (str(_PACKAGE_PARENT), known)))}


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def _is_ready(port: int, path: str) -> bool:
    try:
        connection = await Connection.open("127.0.0.1", port)
    except OSError:
        return False
    try:
        return (await connection.request("GET", path)).status == 200
    except ConnectionError:
        return False
    finally:
        connection.close()


def _usage(pid: int) -> Usage:
    cpu, resident = 0.0, 0
    for one in _family(pid):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            cpu += times.user + times.system
            resident += one.memory_info().rss
    return Usage(cpu, resident)


async def _end(process: asyncio.subprocess.Process, *, already_asked: bool = False) -> None:
    """Waits for the end of a process that was asked to, and makes it and its children end where they do not."""
    family = _family(process.pid)
    with suppress(ProcessLookupError):
        if not already_asked:
            process.terminate()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
    for left in family:  # vLLM's engine process outlives a parent that failed
        with suppress(psutil.NoSuchProcess):
            left.kill()


def _family(pid: int) -> list[psutil.Process]:
    """A process and its children; none where it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def default_python() -> Path:
    """The interpreter that runs this."""
    return Path(sys.executable)

"""Apps behind a real uvicorn on a socket of the loopback, and the client that talks to them."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider

from emotion_svc.config import Settings
from emotion_svc.engines.base import Engine
from emotion_svc.engines.embedded import EmbeddedEngine
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.schema import Answer
from emotion_svc.serving.app import create_app
from emotion_svc.serving.registry import FurtherModel
from emotion_svc.serving.server import Server, bind, run
from tests.serving.process import Process

START_S = 120
"""Far more than a start takes; it only ends a test that would hang."""

TABLE = {
    "Chính xác, cat đó!": Answer(emotion="thats_right", learn_score=True),
    "Đừng buồn nhé.": Answer(emotion="encouraging", learn_score=False),
}


@contextmanager
def listening(
    engine: Engine,
    settings: Settings,
    further: Sequence[FurtherModel] = (),
    *,
    tracing: TracerProvider | None = None,
) -> Iterator[httpx.Client]:
    app = create_app(engine, settings, further, tracing=tracing)
    sock = bind("127.0.0.1", 0)
    urls: list[str] = []
    listens = threading.Event()

    def on_listening(url: str) -> None:
        urls.append(url)
        listens.set()

    server = Server(app, settings, sock, on_listening)
    thread = threading.Thread(target=run, args=(server,))
    thread.start()
    try:
        assert listens.wait(START_S)
        with httpx.Client(base_url=urls[0], timeout=START_S) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(START_S)
        assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[..., httpx.Client]]:
    """Starts a server for one test: `serve(engine, **settings)` gives its client."""
    with ExitStack() as stack:

        def start(engine: Engine | None = None, **settings: float | str | tuple[str, ...]) -> httpx.Client:
            return stack.enter_context(listening(engine or ScriptedEngine(TABLE), Settings(**settings)))  # type: ignore[arg-type]

        yield start


@pytest.fixture(scope="package")
def scripted_engine() -> ScriptedEngine:
    return ScriptedEngine(TABLE)


@pytest.fixture(scope="package")
def client(scripted_engine: ScriptedEngine) -> Iterator[httpx.Client]:
    """A server with the usual limits whose engine answers from `TABLE`, and is asked every turn: nothing is cached."""
    with listening(scripted_engine, Settings(cache_bytes=0)) as client:
        yield client


@pytest.fixture(scope="package")
def shipped() -> Iterator[httpx.Client]:
    """A server with the shipped model."""
    with listening(EmbeddedEngine(), Settings()) as client:
        yield client


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts a process for one test: `start("--workers", "2", max_batch="7")`."""
    started: list[Process] = []

    def start_one(*arguments: str, **settings: str) -> Process:
        started.append(Process(*arguments, **settings))
        return started[-1]

    yield start_one
    for process in started:
        if process.popen.poll() is None:
            process.stop()

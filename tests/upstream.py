"""A host that behaves as it is told: a real server on a socket of the loopback, with a thread and a loop of its own.

    with Upstream(says('{"emotion":"happy","learn_score":false}')) as upstream:
        ...                      # upstream.url is what a preset's base_url is set to
        upstream.behaviour = status(429, {"retry-after": "7"})
        ...
        upstream.stop()          # from now on connections are refused
        upstream.start()         # and taken again, at the same address

It is written on bare sockets, because much of what it does no HTTP server would do: hang, cut a reply off, close a
connection in the middle. What it was sent is kept in `requests`.
"""

import asyncio
import itertools
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, NamedTuple, Self

from emotion_svc.serving.server import bind, url_of

WAIT_S: Final = 30
"""Far more than anything here takes; it only ends a test that would hang."""

_HEAD: Final = {"content-type": "application/json"}
_EVENTS: Final = {"content-type": "text/event-stream"}


class Request(NamedTuple):
    """What a client sent."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def fields(self) -> dict[str, Any]:
        """The body as the JSON object that it is."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


class Connection:
    """A client's connection, for a behaviour to write to."""

    def __init__(self, upstream: "Upstream", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._upstream, self._reader, self._writer = upstream, reader, writer

    async def reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """A whole reply."""
        await self.send(_head(status, {**headers, "content-length": str(len(body))}) + body)

    async def begin_stream(self) -> None:
        """The head of a reply that is sent in chunks."""
        await self.send(_head(200, {**_EVENTS, "transfer-encoding": "chunked"}))

    async def event(self, data: str) -> None:
        """A server-sent event in a chunk of its own."""
        line = f"data: {data}\n\n".encode()
        await self.send(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    async def end_stream(self) -> None:
        """The end of the chunks."""
        await self.send(b"0\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    def cut(self) -> None:
        """Closes the connection, whatever was promised."""
        self._writer.close()

    async def until_hung_up(self) -> None:
        """Waits until the client hangs up, and counts it."""
        with suppress(ConnectionError):
            await self._reader.read()
        self._upstream.hung_up.release()


Behaviour = Callable[[Request, Connection], Awaitable[None]]


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with bind("127.0.0.1", 0) as sock:
        return int(sock.getsockname()[1])


class Upstream:
    """The server. `behaviour` may be changed at any time; it counts for requests that come after."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[Request] = []
        self.received = threading.Semaphore(0)
        """Is released once for each request that has come."""
        self.hung_up = threading.Semaphore(0)
        """Is released once for each client that hung up on a behaviour that waited for it."""
        self._port = 0
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL for a client, also while it is stopped."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def is_running(self) -> bool:
        """Whether it takes connections."""
        return self._thread is not None

    def start(self) -> None:
        """Takes connections, at the address that it had before."""
        listens: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listens)))
        self._thread.start()
        listens.result(WAIT_S)

    def stop(self) -> None:
        """Breaks all connections; new ones are refused."""
        if self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _serve(self, listens: "Future[None]") -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        sock = bind("127.0.0.1", self._port)
        self._port = int(url_of(sock).rpartition(":")[2])
        handlers: set[asyncio.Task[Any]] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            handlers.add(task)
            try:
                await self._converse(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the client went away, or we were stopped
            finally:
                handlers.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(handle, sock=sock)
        listens.set_result(None)
        await self._stop.wait()
        server.close()
        for task in list(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        while not writer.is_closing():
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            request = Request(head[0].split()[1], headers, body)
            self.requests.append(request)
            self.received.release()
            await self.behaviour(request, connection)


def says(*pieces: str, finish_reason: str = "stop", usage: Mapping[str, int] | None = None) -> Behaviour:
    """Answers a chat with this text: as one reply, or where a stream is asked for, as one event for each piece."""

    async def behave(request: Request, connection: Connection) -> None:
        if not request.fields.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "".join(pieces)}}
            await connection.reply(200, _HEAD, _completion([choice | {"finish_reason": finish_reason}], usage))
            return
        await connection.begin_stream()
        for piece in pieces:
            await connection.event(_chunk({"content": piece}, None, usage))
        await connection.event(_chunk({}, finish_reason, usage))
        await connection.event("[DONE]")
        await connection.end_stream()

    return behave


def says_and_goes_on(*pieces: str) -> Behaviour:
    """Streams the text, and then waits for the client to hang up instead of ending the stream."""

    async def behave(_: Request, connection: Connection) -> None:
        with suppress(ConnectionError):  # a client may leave before all is said
            await connection.begin_stream()
            for piece in pieces:
                await connection.event(_chunk({"content": piece}, None, None))
        await connection.until_hung_up()

    return behave


def cuts_off_after(*pieces: str, politely: bool = False) -> Behaviour:
    """Streams the text and closes the connection; `politely`, with the stream's end but without the answer's."""

    async def behave(_: Request, connection: Connection) -> None:
        await connection.begin_stream()
        for piece in pieces:
            await connection.event(_chunk({"content": piece}, None, None))
        if politely:
            await connection.end_stream()
        connection.cut()

    return behave


def replies(fields: Any) -> Behaviour:
    """Replies to anything with this as JSON."""
    return sends(json.dumps(fields).encode())


def sends(body: bytes, headers: Mapping[str, str] = _HEAD) -> Behaviour:
    """Replies to anything with these bytes, as if they were all right."""

    async def behave(_: Request, connection: Connection) -> None:
        await connection.reply(200, headers, body)

    return behave


def status(code: int, headers: Mapping[str, str] | None = None) -> Behaviour:
    """Fails with this status, and repeats in header and body what it was sent, as hosts do."""

    async def behave(request: Request, connection: Connection) -> None:
        error = {"error": {"message": f"cannot do: {request.body.decode()}", "type": "x", "code": "x"}}
        words = request.body.decode().encode("ascii", "backslashreplace").decode()
        await connection.reply(code, {**_HEAD, "x-echo": words, **(headers or {})}, json.dumps(error).encode())

    return behave


def after(seconds: float, behaviour: Behaviour) -> Behaviour:
    """Takes so long before it behaves."""

    async def behave(request: Request, connection: Connection) -> None:
        await asyncio.sleep(seconds)
        await behaviour(request, connection)

    return behave


def every_third(now_and_then: Behaviour, otherwise: Behaviour) -> Behaviour:
    """Behaves so with every third request, beginning with the first, and otherwise with the others."""
    numbers = itertools.count()

    async def behave(request: Request, connection: Connection) -> None:
        await (otherwise if next(numbers) % 3 else now_and_then)(request, connection)

    return behave


async def hangs(_: Request, connection: Connection) -> None:
    """Says nothing until the client hangs up."""
    await connection.until_hung_up()


async def cuts_reply_off(_: Request, connection: Connection) -> None:
    """Closes the connection in the middle of a reply that is no stream."""
    await connection.send(_head(200, {**_HEAD, "content-length": "1000"}) + b'{"choices":')
    connection.cut()


async def breaks(_: Request, connection: Connection) -> None:
    """Closes the connection without a word."""
    connection.cut()


def _completion(choices: list[dict[str, Any]], usage: Mapping[str, int] | None) -> bytes:
    fields = {"id": "x", "object": "chat.completion", "created": 0, "model": "x", "choices": choices}
    return json.dumps(fields | ({} if usage is None else {"usage": usage})).encode()


def _chunk(delta: Mapping[str, str], finish_reason: str | None, usage: Mapping[str, int] | None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    fields = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "x", "choices": [choice]}
    return json.dumps(fields | ({} if usage is None else {"usage": usage}))


def _head(code: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {code} {'OK' if code == 200 else 'No'}", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")

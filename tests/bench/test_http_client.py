"""The client, against servers on real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from emotion_svc.bench.http_client import Connection

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(handler: Handler) -> AsyncIterator[Connection]:
    """A connection to a server that gives every request's head to the handler."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # the client has gone
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"content-length: ")[2].split()[0])
                await handler(head + await reader.readexactly(length), writer)
        writer.close()
        await writer.wait_closed()
        served.set()

    served = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        connection = await Connection.open(*server.sockets[0].getsockname()[:2])
        yield connection
        connection.close()
        await served.wait()


async def echo(request: bytes, writer: asyncio.StreamWriter) -> None:
    body = request.splitlines()[0] + b"|" + request.partition(b"\r\n\r\n")[2]
    writer.write(b"HTTP/1.1 200 OK\r\nServer-Timing: infer;dur=1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def test_one_connection_serves_one_request_after_the_other() -> None:
    async with connected(echo) as connection:
        first = await connection.request("POST", "/one", "đ".encode())
        second = await connection.request("GET", "/two")
    assert (first.status, first.body) == (200, b"POST /one HTTP/1.1|" + "đ".encode())
    assert second.body == b"GET /two HTTP/1.1|"
    assert first.headers[b"server-timing"] == b"infer;dur=1"


async def test_each_piece_of_an_answer_has_its_own_time() -> None:
    more = asyncio.Event()

    async def stream(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await more.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    async with connected(stream) as connection:
        asyncio.get_running_loop().call_later(0.01, more.set)
        began = time.perf_counter()
        received = await connection.request("POST", "/")
        around_s = time.perf_counter() - began
    assert received.body == b"onetwo"
    [(first, _), (second, _)] = received.chunks
    assert 0.009 <= second - first <= received.took_s <= around_s


async def test_a_server_that_goes_away_is_an_error() -> None:
    async def hang_up(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with connected(hang_up) as connection:
        with pytest.raises(ConnectionError, match="before its answer"):
            await connection.request("POST", "/")
        with pytest.raises(ConnectionError, match="has closed"):
            await connection.request("POST", "/")

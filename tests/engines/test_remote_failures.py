"""The remote engine against a host that misbehaves: how it fails, hangs up, and goes on."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from emotion_svc.engines.base import CANARY
from emotion_svc.engines.factory import create_remote
from emotion_svc.errors import (
    EngineUnavailable,
    HostBroken,
    HostBusy,
    HostFailed,
    HostRefuses,
    HostSlow,
    HostUnreachable,
    TurnRefused,
)
from emotion_svc.schema import Answer
from tests.engines.remote_host import SAD, TURN, ask, engine_for
from tests.upstream import (
    WAIT_S,
    Behaviour,
    Connection,
    Request,
    Upstream,
    breaks,
    cuts_off_after,
    cuts_reply_off,
    hangs,
    replies,
    says,
    says_and_goes_on,
    sends,
    status,
)

FAILURES: list[tuple[Behaviour, type[HostFailed], bool, float | None]] = [
    (status(429, {"retry-after": "7"}), HostBusy, True, 7.0),
    (status(429, {"retry-after-ms": "250", "retry-after": "1"}), HostBusy, True, 0.25),
    (status(429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}), HostBusy, True, 0.0),
    (status(429, {"retry-after": "soon"}), HostBusy, True, None),
    (status(429), HostBusy, True, None),
    (status(500), HostBroken, True, None),
    (status(503, {"retry-after": "2.5"}), HostBroken, True, 2.5),
    (status(401), HostRefuses, False, None),
    (status(403), HostRefuses, False, None),
    (status(404), HostRefuses, False, None),
    (status(402), HostRefuses, False, None),
    (status(400), TurnRefused, False, None),
    (status(413), TurnRefused, False, None),
    (status(422), TurnRefused, False, None),
    (status(307, {"location": "http://127.0.0.1:1/v1"}), HostRefuses, False, None),
    (breaks, HostUnreachable, True, None),
    (cuts_reply_off, HostUnreachable, True, None),
    (sends(b"not JSON"), HostBroken, True, None),
    (sends(b"<html>", {"content-type": "text/html"}), HostBroken, True, None),
    (sends(b"[1, 2]"), HostBroken, True, None),
    (replies({}), HostBroken, True, None),
    (replies({"choices": "none"}), HostBroken, True, None),
    (replies({"choices": [{"message": "sad"}]}), HostBroken, True, None),
]


@pytest.mark.parametrize(("behaviour", "kind", "may_try_again_now", "retry_after_s"), FAILURES)
@pytest.mark.parametrize("preset", ["groq", "openai-decisions"])
async def test_a_failure_says_whether_and_when_to_try_again(
    upstream: Upstream,
    preset: str,
    behaviour: Behaviour,
    kind: type[HostFailed],
    may_try_again_now: bool,
    retry_after_s: float | None,
) -> None:
    upstream.behaviour = behaviour
    with pytest.raises(HostFailed) as raised:
        await ask(upstream, preset)
    assert type(raised.value) is kind
    assert (raised.value.may_try_again_now, raised.value.retry_after_s) == (may_try_again_now, retry_after_s)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (cuts_off_after(), HostUnreachable),
        (cuts_off_after('{"emotion":"sad",'), HostUnreachable),
        (cuts_off_after('{"emotion":"sad",', politely=True), HostUnreachable),
        (sends(b"data: {no JSON\n\n", {"content-type": "text/event-stream"}), HostBroken),
        (sends(b"data: \xff\n\n", {"content-type": "text/event-stream"}), HostBroken),
        (sends(b'data: {"error": {"message": "sad"}}\n\n', {"content-type": "text/event-stream"}), HostBroken),
        (sends(b'data: {"choices": 1}\n\n', {"content-type": "text/event-stream"}), HostBroken),
        (sends(b"data: 7\n\n", {"content-type": "text/event-stream"}), HostBroken),
    ],
)
async def test_a_stream_that_breaks_may_be_asked_for_again(
    upstream: Upstream, behaviour: Behaviour, kind: type[HostFailed]
) -> None:
    upstream.behaviour = behaviour
    with pytest.raises(HostFailed) as raised:
        await ask(upstream)
    assert type(raised.value) is kind
    assert raised.value.may_try_again_now


async def test_a_refused_connection_may_be_tried_again_and_is_taken_when_the_host_is_back(upstream: Upstream) -> None:
    async with engine_for(upstream) as engine:
        await engine.classify([TURN])
        upstream.stop()
        with pytest.raises(HostUnreachable) as raised:
            await engine.classify([TURN])
        assert raised.value.may_try_again_now
        assert not raised.value.was_sent
        upstream.start()
        [verdict] = await engine.classify([TURN])
    assert verdict.answer == Answer(emotion="sad", learn_score=True)


async def test_a_call_that_breaks_off_may_have_been_billed(upstream: Upstream) -> None:
    upstream.behaviour = breaks
    with pytest.raises(HostUnreachable) as raised:
        await ask(upstream)
    assert raised.value.was_sent


@pytest.mark.parametrize("preset", ["groq", "openai-decisions"])
async def test_the_most_that_a_turn_can_be_billed_with_grows_with_its_bytes(upstream: Upstream, preset: str) -> None:
    long = TURN.model_copy(update={"response": "ơ" * 1000})
    async with engine_for(upstream, preset) as engine:
        most, more = engine.most_tokens(TURN), engine.most_tokens(long)
    assert more.prompt_tokens - most.prompt_tokens == 2000 - len(TURN.response.encode())
    assert most.prompt_tokens > 500


async def test_a_name_that_nobody_knows_is_a_host_that_cannot_be_reached() -> None:
    engine = create_remote("vllm", model="m", base_url="http://no.such.host.invalid/v1", environment={})
    await engine.start()
    with pytest.raises(HostUnreachable, match="check the address"):
        await engine.classify([TURN])
    await engine.close()


@pytest.mark.parametrize("preset", ["vllm", "groq", "openai-decisions"])
async def test_a_host_that_hangs_is_hung_up_on_in_the_end(upstream: Upstream, preset: str) -> None:
    upstream.behaviour = hangs
    with pytest.raises(HostSlow, match=r"within 0\.2 s") as raised:
        await ask(upstream, preset, timeout_s=0.2)
    assert not raised.value.may_try_again_now
    assert upstream.hung_up.acquire(timeout=WAIT_S)


@pytest.mark.parametrize("behaviour", [hangs, says_and_goes_on('{"emotion":')], ids=["at once", "in the stream"])
async def test_a_cancelled_call_hangs_up(upstream: Upstream, behaviour: Behaviour) -> None:
    upstream.behaviour = behaviour
    async with engine_for(upstream) as engine:
        call = asyncio.create_task(engine.classify([TURN, CANARY]))
        for _ in range(2):
            assert await asyncio.to_thread(upstream.received.acquire, timeout=WAIT_S)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        for _ in range(2):
            assert await asyncio.to_thread(upstream.hung_up.acquire, timeout=WAIT_S)
        upstream.behaviour = says(SAD)
        assert (await engine.classify([TURN]))[0].answer == Answer(emotion="sad", learn_score=True)


async def test_where_one_turn_fails_the_others_are_given_up(upstream: Upstream) -> None:
    async def fails_for_the_canary(request: Any, connection: Any) -> None:
        await (status(500) if b"sky" in request.body else hangs)(request, connection)

    upstream.behaviour = fails_for_the_canary
    async with engine_for(upstream) as engine:
        with pytest.raises(HostBroken):
            await engine.classify([TURN, CANARY])
        assert await asyncio.to_thread(upstream.hung_up.acquire, timeout=WAIT_S)


async def test_closing_answers_what_is_under_way(upstream: Upstream) -> None:
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(engine_for(upstream))
        call = asyncio.create_task(engine.classify([TURN] * 5))
        await asyncio.sleep(0)
        await engine.close()
        assert len(await call) == 5
        with pytest.raises(EngineUnavailable, match="closed"):
            await engine.classify([TURN])


async def test_at_most_32_calls_are_under_way_and_the_others_wait_their_turn(upstream: Upstream) -> None:
    under_way = peak = 0
    all_are_here = asyncio.Event()

    async def answers_32_together(request: Request, connection: Connection) -> None:
        nonlocal under_way, peak
        under_way += 1
        peak = max(peak, under_way)
        if under_way == 32:
            all_are_here.set()
        await all_are_here.wait()
        under_way -= 1
        await says(SAD)(request, connection)

    upstream.behaviour = answers_32_together
    async with engine_for(upstream, "groq") as engine:
        verdicts = await engine.classify([TURN] * 40)
    assert peak == 32
    assert len(verdicts) == 40
    assert verdicts[-1].timings.queue_ms > verdicts[0].timings.queue_ms

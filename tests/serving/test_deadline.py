"""The time that a request has: the setting, the header, and what happens to work that cannot be done in time."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.config import Settings
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import Overloaded
from emotion_svc.routing.router import Router
from emotion_svc.routing.tier import Tier, TierPlan
from emotion_svc.schema import Turn, Verdict
from emotion_svc.serving.admission import Admission
from emotion_svc.serving.app import create_app
from emotion_svc.serving.budget import TURNS_PER_DEADLINE, Budget
from emotion_svc.serving.metrics import Metrics
from tests.serving.test_chat import LINES, MODEL, REQUEST
from tests.serving.test_decisions import RIGHT

TURN = {"previous_question": "", "previous_answer": "", "response": "Xin chào!"}
BODIES: dict[str, Any] = {
    "/v1/classify": TURN,
    "/v1/classify/batch": {"turns": [TURN]},
    "/v1/chat/completions": REQUEST,
    "/v1/decisions": {"model": MODEL, "input": LINES, "questions": [RIGHT]},
}
EVERY_WIRE = pytest.mark.parametrize("path", BODIES)


class Busy(ScriptedEngine):
    """Says how long a turn takes, and remembers what it was asked."""

    def __init__(self, expected_ms: float = 0.0) -> None:
        super().__init__()
        self._expected_ms = expected_ms

    def expected_ms(self, turns: int) -> float:
        return turns * self._expected_ms

    async def classify_within(self, turns: Sequence[Turn], within_s: float) -> list[Verdict]:
        assert within_s > 0
        return await self.classify(turns)


@asynccontextmanager
async def app_of(engine: ScriptedEngine | Router, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(engine, Settings(**settings))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        yield client


def asking_for(deadline_ms: object) -> dict[str, str]:
    return {"x-deadline-ms": str(deadline_ms)}


@EVERY_WIRE
async def test_what_cannot_be_answered_in_time_is_refused_at_once(path: str) -> None:
    engine = Busy(expected_ms=4_000)  # seconds, so that a busy machine decides nothing
    async with app_of(engine, deadline_ms=5_000) as client:
        assert (await client.post(path, json=BODIES[path])).status_code == 200
        body = json.loads(
            json.dumps(BODIES[path], ensure_ascii=False).replace("Xin chào!", "Chào!").replace("Chính xác", "Đúng")
        )
        refused = await client.post(path, json=body, headers=asking_for(3_900))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "4")
    error = refused.json()["error"]
    assert error.get("kind", error.get("code")) == "overloaded"
    assert re.search(r"would take 4000 ms; it may take 3\d\d\d ms", error["message"])
    assert len(engine.seen) == 2  # the canary and the first one


async def test_a_busy_net_refuses_nothing_that_a_tier_before_it_may_answer() -> None:
    net = Tier(TierPlan("net"), Busy(expected_ms=4_000))
    for tiers, status in (([Tier(TierPlan("big"), ScriptedEngine()), net], 200), ([net], 503)):
        async with app_of(Router(tiers, net), deadline_ms=50, cache_bytes=0) as client:
            answer = await client.post("/v1/classify?detail=true", json=TURN)
            assert answer.status_code == status
    assert answer.json()["error"]["kind"] == "overloaded"


async def test_the_header_lowers_the_deadline_and_never_raises_it() -> None:
    async with app_of(Busy(expected_ms=3_000), cache_bytes=0) as client:
        for asked, status in ((100_000, 503), (2_900, 503), (None, 503)):
            headers = {} if asked is None else asking_for(asked)
            assert (await client.post("/v1/classify", json=TURN, headers=headers)).status_code == status
    async with app_of(Busy(expected_ms=3_000), deadline_ms=5_000, cache_bytes=0) as client:
        for asked, status in ((100_000, 200), (2_900, 503), (None, 200)):
            headers = {} if asked is None else asking_for(asked)
            assert (await client.post("/v1/classify", json=TURN, headers=headers)).status_code == status


@EVERY_WIRE
@pytest.mark.parametrize("sent", ["0", "-1", "1.5", "1e3", "fast", "", "9" * 10, "5 0", "0x10"])
def test_a_wrong_header_is_refused_and_what_was_expected_is_told(client: httpx.Client, path: str, sent: str) -> None:
    answer = client.post(path, json=BODIES[path], headers=asking_for(sent))
    assert answer.status_code == (422 if path.startswith("/v1/classify") else 400)
    assert answer.json()["error"]["message"] == (
        "X-Deadline-Ms: expected a whole number of milliseconds, at least 1 and of at most 9 digits, found "
        f"{len(sent)} characters that are none"
    )


@EVERY_WIRE
def test_the_header_is_in_the_document(client: httpx.Client, path: str) -> None:
    parameters = client.get("/openapi.json").json()["paths"][path]["post"]["parameters"]
    [header] = [parameter for parameter in parameters if parameter["in"] == "header"]
    assert (header["name"], header["schema"]) == ("X-Deadline-Ms", {"type": "integer", "minimum": 1})


class Told(Router):
    """A router that remembers its budgets."""

    budgets: list[float | None]

    async def classify(self, turns: Sequence[Turn], *, budget_ms: float | None = None) -> list[Verdict]:
        self.budgets.append(budget_ms)
        return await super().classify(turns, budget_ms=budget_ms)


async def test_what_is_left_is_handed_down_and_a_batch_has_more() -> None:
    router = Told.around(ScriptedEngine(), deadline_ms=5_000)
    assert isinstance(router, Told)
    router.budgets = []
    turns = [TURN | {"response": f"Chào {number}"} for number in range(2 * TURNS_PER_DEADLINE + 1)]
    async with app_of(router, cache_bytes=0) as client:
        router.budgets.clear()
        await client.post("/v1/classify", json=TURN)
        await client.post("/v1/classify", json=TURN, headers=asking_for(2_000))
        await client.post("/v1/classify/batch", json={"turns": turns})
        await client.post("/v1/classify/batch", json={"turns": turns}, headers=asking_for(9_000))
    for left, allowed in zip(router.budgets, (5_000, 2_000, 15_000, 9_000), strict=True):
        assert left is not None
        assert allowed - 1_000 < left <= allowed


@given(
    deadline_ms=st.integers(1, 1_000),
    asked_ms=st.none() | st.integers(1, 10**9),
    turns=st.integers(0, 1_000),
    more=st.integers(0, 1_000),
)
def test_a_budget_is_never_raised_by_the_caller_and_never_shrinks_with_more_turns(
    deadline_ms: int, asked_ms: int | None, turns: int, more: int
) -> None:
    def budget(asked_ms: int | None, turns: int) -> Budget:
        return Budget.of(deadline_ms, asked_ms, turns, clock=lambda: 7.0)

    own, asked = budget(None, turns), budget(asked_ms, turns)
    assert own.total_ms == deadline_ms * max(1, -(-turns // TURNS_PER_DEADLINE))
    assert asked.total_ms == (own.total_ms if asked_ms is None else min(own.total_ms, asked_ms))
    assert asked.total_ms <= budget(asked_ms, turns + more).total_ms
    assert asked.left_ms == pytest.approx(asked.total_ms, abs=1e-3)
    kept_back = asked.left_ms - asked.to_answer_ms
    assert kept_back == pytest.approx(min(2.0, 0.04 * asked.total_ms), abs=1e-3), "the answer is sent in that time"
    assert asked.covers(asked)


def test_places_are_free_again_after_a_failure() -> None:
    admission = Admission(1, Metrics())
    with pytest.raises(RuntimeError, match="engine"), admission.places(1):
        raise RuntimeError("engine")
    with admission.places(1), pytest.raises(Overloaded), admission.places(1):
        pytest.fail("there was no place")


def test_a_refusal_says_after_which_time_there_may_be_room() -> None:
    with pytest.raises(Overloaded) as raised, Admission(1, Metrics()).places(1, expected_ms=2_300, budget_ms=50):
        pytest.fail("there was no time")
    assert raised.value.retry_after_s == 3


def test_a_refusal_is_decided_in_far_under_a_millisecond() -> None:
    admission, refused = Admission(512, Metrics()), 0
    began = time.perf_counter()
    for _ in range(1_000):
        try:
            with admission.places(1, expected_ms=60, budget_ms=50):
                pytest.fail("there was no time")
        except Overloaded:
            refused += 1
    assert refused == 1_000
    assert (time.perf_counter() - began) / refused < 0.5e-3


async def overloads(client: httpx.AsyncClient, what: str) -> float:
    text = (await client.get("/metrics")).text
    [value] = re.findall(rf"^emotion_svc_overloaded_seconds_{re.escape(what)} (\S+)$", text, re.MULTILINE)
    return float(value)


async def test_a_refusal_at_the_door_is_decided_in_under_a_millisecond() -> None:
    async with app_of(Busy(expected_ms=4_000)) as client:
        for number in range(100):
            refused = await client.post("/v1/classify", json=TURN | {"response": f"Chào {number}"})
            assert refused.status_code == 503
        assert await overloads(client, 'count{where="door"}') == 100
        assert await overloads(client, 'bucket{le="0.001",where="door"}') > 50  # a busy machine may hold some up
        assert await overloads(client, 'count{where="line"}') == 0


async def test_where_callers_hammer_a_refusal_is_held_back_but_was_decided_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("emotion_svc.serving.patience._AT_ONCE_PER_S", 0)
    monkeypatch.setattr("emotion_svc.serving.patience._HOLD_S", 0.2)
    async with app_of(Busy(expected_ms=4_000)) as client:
        began = time.perf_counter()
        refused = await client.post("/v1/classify", json=TURN)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "4")
        assert time.perf_counter() - began >= 0.2
        assert await overloads(client, 'bucket{le="0.1",where="door"}') == 1


class Line(ScriptedEngine):
    """Lets everything but the canary wait, and refuses it when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_over = asyncio.Event()

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        if self.seen:
            await self.is_over.wait()
            raise Overloaded("too late behind other turns; come back later", where="line")
        return await super().classify(turns)


async def test_a_refusal_in_the_line_is_counted_apart_with_how_long_the_turn_waited() -> None:
    line = Line()
    async with app_of(line) as client:
        waiting = asyncio.create_task(client.post("/v1/classify", json=TURN))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.05)
        line.is_over.set()
        assert (await waiting).status_code == 503
        assert await overloads(client, 'count{where="line"}') == 1
        assert await overloads(client, 'sum{where="line"}') > 0.02
        assert await overloads(client, 'count{where="door"}') == 0


async def test_a_single_turn_is_answered_while_a_long_batch_is_worked_on(serve: Callable[..., httpx.Client]) -> None:
    """With the shipped model: a full batch takes many passes, and single turns overtake it."""
    from emotion_svc.engines.embedded import EmbeddedEngine

    client = serve(EmbeddedEngine(), deadline_ms=10_000)
    turns = [TURN | {"response": f"Bạn số {number} giỏi quá!"} for number in range(256)]
    async with httpx.AsyncClient(base_url=client.base_url, timeout=60) as http:
        began = time.perf_counter()
        batch = asyncio.create_task(http.post("/v1/classify/batch", json={"turns": turns}))
        single_s: list[float] = []
        in_time = 0
        while not batch.done():
            asked = time.perf_counter()
            answer = await http.post("/v1/classify", json=TURN | {"response": f"Chào {len(single_s)}"})
            assert answer.status_code == 200
            single_s.append(time.perf_counter() - asked)
            in_time += not batch.done()
        batch_s = time.perf_counter() - began
        assert (await batch).status_code == 200
    assert in_time >= 5
    assert sorted(single_s)[len(single_s) // 2] < batch_s / 5

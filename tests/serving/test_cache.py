"""Repeated turns: what is kept, under which key, in how many bytes; and one computation for all who ask at once."""

import asyncio
import re
import tracemalloc
import unicodedata
from collections.abc import Awaitable, Callable, Sequence

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import EngineUnavailable
from emotion_svc.schema import Answer, Reason, Timings, TokenUsage, Turn, Verdict
from emotion_svc.serving.budget import Budget
from emotion_svc.serving.cache import VerdictCache, turn_key
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.once import Once
from emotion_svc.text import normalize


def budget(asked_ms: int | None = None) -> Budget:
    """A budget that begins at 0, where the clock stands still."""
    return Budget.of(50, asked_ms, clock=lambda: 0.0)


BUDGET = budget()
TURN = {"previous_question": "Con mèo?", "previous_answer": "cat", "response": "Chính xác!"}


def turn(response: str = "Chính xác!") -> Turn:
    return Turn(previous_question="Con mèo?", previous_answer="cat", response=response)


def key_of(one: Turn) -> bytes:
    return turn_key("m", "0" * 16, one)


async def verdict_of(one: Turn) -> Verdict:
    engine = ScriptedEngine()
    await engine.start()
    [verdict] = await engine.classify([one])
    return verdict


def cache_of(max_bytes: int) -> tuple[VerdictCache, list[None]]:
    evicted: list[None] = []
    return VerdictCache(max_bytes, lambda: evicted.append(None)), evicted


# Texts that are spelt in many ways: composed and decomposed, with invisible characters and odd spaces.
TEXT = st.text(st.sampled_from("aáặeệđĐ \u0301\u0323\u200b\n\t\x00\ud800🙂cat"), max_size=8)


@given(first=st.tuples(TEXT, TEXT, TEXT), second=st.tuples(TEXT, TEXT, TEXT))
@settings(max_examples=300)
def test_turns_have_one_key_exactly_where_no_engine_can_tell_them_apart(
    first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    one, other = (
        Turn(previous_question=question, previous_answer=answer, response=response + "!")
        for question, answer, response in (first, second)
    )
    assert (key_of(one) == key_of(other)) == (one == other)


@pytest.fixture(scope="module")
def model() -> EmbeddedModel:
    return EmbeddedModel()


@given(response=TEXT, form=st.sampled_from(["NFC", "NFD", "NFKC"]))
@settings(max_examples=60)
def test_what_is_kept_is_what_the_engine_says(model: EmbeddedModel, response: str, form: str) -> None:
    spelt = unicodedata.normalize(form, response) if form != "NFKC" else f" {response}\n"  # type: ignore[arg-type]
    first, again = turn(f"Chào {response}"), turn(f"Chào {spelt}")
    cache, _ = cache_of(100_000)
    [said] = model.classify([first])
    cache.put(key_of(first), said)
    kept = cache.get(key_of(again))
    assert kept is not None
    [now] = model.classify([again])
    assert kept.model_copy(update={"cached": False, "timings": Timings()}) == now.model_copy(
        update={"timings": Timings()}
    )


def test_a_key_is_of_one_model_and_one_file_and_holds_no_words() -> None:
    one = turn()
    keys = {turn_key("m", "0" * 16, one), turn_key("n", "0" * 16, one), turn_key("m", "1" * 16, one)}
    assert len(keys) == 3
    assert {len(key) for key in keys} == {16}
    assert normalize("Chính").encode() not in b"".join(keys)


async def test_no_more_bytes_are_used_than_are_counted_and_counted_than_allowed() -> None:
    limit = 400_000
    verdict = await verdict_of(turn())
    keys = [key_of(turn(str(number))) for number in range(2_000)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    cache, evicted = cache_of(limit)
    for key in list(keys):
        cache.put(bytes(bytearray(key)), verdict)  # a key of its own, as in the service
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert cache.taken_bytes <= limit
    assert len(evicted) > 1_000
    assert 0.6 * cache.taken_bytes < used - len(evicted) * 8 <= cache.taken_bytes


async def test_what_was_not_used_for_longest_gives_way() -> None:
    verdict = await verdict_of(turn())
    one, two, three = (key_of(turn(text)) for text in "abc")
    whole, _ = cache_of(1_000_000)
    whole.put(one, verdict)
    cache, evicted = cache_of(2 * whole.taken_bytes)
    cache.put(one, verdict)
    cache.put(two, verdict)
    assert cache.get(one) is not None
    cache.put(three, verdict)
    assert (cache.get(two), len(evicted)) == (None, 1)
    assert cache.get(one) is not None


@pytest.mark.parametrize("reason", ["deadline", "failed", "breaker_open", "busy", "spend_cap"])
async def test_what_only_stands_in_for_a_better_answer_is_not_kept(reason: Reason) -> None:
    cache, _ = cache_of(100_000)
    cache.put(key_of(turn()), (await verdict_of(turn())).model_copy(update={"reason": reason}))
    assert cache.get(key_of(turn())) is None


@pytest.mark.parametrize("reason", [None, "first", "low_confidence", "outside_knowledge"])
async def test_what_the_tiers_say_with_time_and_money_is_kept_and_costs_no_tokens_again(reason: Reason | None) -> None:
    cache, _ = cache_of(100_000)
    usage = TokenUsage(prompt_tokens=9, completion_tokens=4)
    cache.put(key_of(turn()), (await verdict_of(turn())).model_copy(update={"reason": reason, "usage": usage}))
    kept = cache.get(key_of(turn()))
    assert kept is not None
    assert (kept.reason, kept.usage) == (reason, None)


async def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache, evicted = cache_of(0)
    cache.put(key_of(turn()), await verdict_of(turn()))
    assert cache.get(key_of(turn())) is None
    assert (cache.taken_bytes, evicted) == (0, [])


class Slow:
    """Computes when it is let, and counts the calls."""

    def __init__(self) -> None:
        self.let, self.began = asyncio.Event(), asyncio.Semaphore(0)
        self.calls: list[list[Turn]] = []
        self.was_cancelled = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, turns: Sequence[Turn]) -> list[Verdict]:
        self.calls.append(list(turns))
        self.began.release()
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        return [await verdict_of(one) for one in turns]


def once_of(max_bytes: int = 100_000) -> Once:
    return Once(VerdictCache(max_bytes, lambda: None), Metrics())


def ask(once: Once, compute: Slow, *turns: Turn, within: Budget = BUDGET) -> "asyncio.Task[dict[bytes, Verdict]]":
    return asyncio.create_task(_verdicts(once.verdicts({key_of(one): one for one in turns}, within, compute)))


async def _verdicts(asked: Awaitable[dict[bytes, Verdict]]) -> dict[bytes, Verdict]:
    return await asked


async def settle() -> None:
    """Lets every task go on until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_the_same_at_once_shares_one_computation_also_in_batches() -> None:
    once, compute = once_of(0), Slow()
    one, two = turn("a"), turn("b")
    first = ask(once, compute, one)
    await compute.began.acquire()
    batch, third = ask(once, compute, one, two), ask(once, compute, one)
    await compute.began.acquire()
    compute.let.set()
    verdicts = await asyncio.gather(first, batch, third)
    assert compute.calls == [[one], [two]]
    assert verdicts[0] == verdicts[2]
    assert verdicts[1][key_of(one)] == verdicts[0][key_of(one)]


@pytest.mark.parametrize("gone", [0, 1])
async def test_a_caller_that_goes_away_takes_nothing_from_the_others(gone: int) -> None:
    once, compute = once_of(), Slow()
    callers = [ask(once, compute, turn()), ask(once, compute, turn())]
    await settle()
    callers[gone].cancel()
    await settle()
    assert not compute.was_cancelled.is_set()
    compute.let.set()
    assert len(await callers[1 - gone]) == 1
    assert len(compute.calls) == 1


async def test_with_its_last_caller_a_computation_ends_and_the_next_caller_begins_anew() -> None:
    once, compute = once_of(), Slow()
    callers = [ask(once, compute, turn()), ask(once, compute, turn())]
    await settle()
    for caller in callers:
        caller.cancel()
    late = ask(once, compute, turn())  # while the first computation is being cancelled
    await asyncio.wait(callers)
    await compute.was_cancelled.wait()
    compute.let.set()
    assert len(await late) == 1
    assert len(compute.calls) == 2


async def test_a_failure_is_told_to_all_who_share_it_and_is_not_kept() -> None:
    once, compute = once_of(), Slow()
    compute.error = EngineUnavailable("gone")
    callers = [ask(once, compute, turn()), ask(once, compute, turn())]
    compute.let.set()
    for caller in callers:
        with pytest.raises(EngineUnavailable):
            await caller
    compute.error = None
    assert len(await ask(once, compute, turn())) == 1
    assert len(compute.calls) == 2


async def test_a_computation_with_less_time_or_a_later_end_is_not_shared() -> None:
    once, compute = once_of(), Slow()
    hasty = ask(once, compute, turn(), within=budget(1))
    await settle()
    usual = ask(once, compute, turn())
    await settle()
    in_a_hurry = ask(once, compute, turn(), within=budget(5))
    await settle()
    assert len(compute.calls) == 3
    compute.let.set()
    await asyncio.gather(hasty, usual, in_a_hurry)


def metric(text: str, name: str) -> float:
    [value] = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(value)


def test_a_repeated_turn_is_answered_without_the_engine_on_every_wire(serve: Callable[..., httpx.Client]) -> None:
    engine = ScriptedEngine({"Chính xác!": Answer(emotion="thats_right", learn_score=True)})
    client = serve(engine)
    lines = "Previous Question: Con mèo?\nPrevious Answer: cat\nResponse to check: Chính  xác!"
    first = client.post("/v1/classify?detail=true", json=TURN).json()
    spelt = {name: unicodedata.normalize("NFD", text) + "\u200b" for name, text in TURN.items()}
    again = client.post("/v1/classify?detail=true", json=spelt).json()
    batch = client.post("/v1/classify/batch", json={"turns": [TURN, TURN | {"response": "Khác."}, TURN]}).json()
    chat = client.post(
        "/v1/chat/completions", json={"model": "scripted", "messages": [{"role": "user", "content": lines}]}
    )
    assert [one.response for one in engine.seen[1:]] == ["Chính xác!", "Khác."]  # the first was the canary
    assert (first["cached"], again["cached"]) == (False, True)
    assert set(again["timings"].values()) == {0.0}
    same = {"cached": None, "timings": None}
    assert first | same == again | same
    assert batch["answers"][0] == batch["answers"][2] == first["answer"]
    assert chat.json()["choices"][0]["message"]["content"] == '{"emotion":"thats_right","learn_score":true}'

    text = client.get("/metrics").text
    assert metric(text, 'emotion_svc_cache_turns_total{result="miss"}') == 2
    assert metric(text, 'emotion_svc_cache_turns_total{result="hit"}') == 3
    assert 1_000 < metric(text, "emotion_svc_cache_bytes") < 5_000
    assert metric(text, "emotion_svc_cache_evictions_total") == 0


def test_a_repeated_turn_needs_no_place(serve: Callable[..., httpx.Client]) -> None:
    client = serve(ScriptedEngine(), max_in_flight=1, max_batch=1)
    assert client.post("/v1/classify", json=TURN).status_code == 200
    client.post("/v1/classify/batch", json={"turns": [TURN]})
    assert client.post("/v1/classify/batch", json={"turns": [TURN]}).status_code == 200


def test_without_a_cache_the_engine_is_asked_again(serve: Callable[..., httpx.Client]) -> None:
    engine = ScriptedEngine()
    client = serve(engine, cache_bytes=0)
    for _ in range(2):
        assert client.post("/v1/classify?detail=true", json=TURN).json()["cached"] is False
    assert len(engine.seen) == 3

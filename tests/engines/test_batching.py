"""Who goes into which pass: single turns first, long calls in turns, and what is expected of the time."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.decoding.choice import make_verdict
from emotion_svc.decoding.posterior import Posteriors
from emotion_svc.engines.batching import Batcher, Share
from emotion_svc.errors import EngineUnavailable, Overloaded
from emotion_svc.schema import Turn, Verdict
from emotion_svc.taxonomy import LABELS

PASS = 4


class Steps:
    """A computation that does one pass when it is told to, and remembers what was in each."""

    def __init__(self) -> None:
        self.go, self.began = threading.Semaphore(0), threading.Semaphore(0)
        self.passes: list[list[str]] = []
        self.threads: list[int] = []
        self.error: Exception | None = None

    def __call__(self, turns: Sequence[Turn]) -> list[Verdict]:
        self.passes.append([turn.response for turn in turns])
        self.threads.append(threading.get_ident())
        self.began.release()
        assert self.go.acquire(timeout=30)
        if self.error is not None:
            raise self.error
        even = Posteriors(np.full(len(LABELS), 1 / len(LABELS)), 0.0)
        return [make_verdict("happy", even, engine="steps", model_digest="0" * 16) for _ in turns]

    async def step(self) -> None:
        """Ends the pass that runs and waits until the next has begun."""
        self.go.release()
        await asyncio.to_thread(self.began.acquire, timeout=30)


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest_asyncio.fixture
async def batcher(steps: Steps) -> AsyncIterator[Batcher]:
    batcher = Batcher(steps, PASS)
    yield batcher
    steps.go.release(100)
    await batcher.close()


def turns(name: str, count: int = 1) -> list[Turn]:
    names = [name] if count == 1 else [f"{name}{number}" for number in range(count)]
    return [Turn(previous_question="", previous_answer="", response=one) for one in names]


async def ask(batcher: Batcher, name: str, count: int = 1) -> "asyncio.Task[list[Verdict]]":
    """A call that stands in its line."""
    task = asyncio.create_task(batcher.classify(turns(name, count)))
    await asyncio.sleep(0)
    return task


async def begin(batcher: Batcher, steps: Steps) -> "asyncio.Task[list[Verdict]]":
    """A pass with one turn runs from now on, in a thread: the turn is too long for the event loop."""
    task = await ask(batcher, "first " * 100)
    await asyncio.to_thread(steps.began.acquire, timeout=30)
    return task


async def test_a_turn_that_comes_alone_is_computed_where_it_was_asked(batcher: Batcher, steps: Steps) -> None:
    steps.go.release(2)
    for number in range(2):
        [verdict] = await batcher.classify(turns(f"alone{number}"))
        assert verdict.timings.queue_ms == 0
    assert set(steps.threads) == {threading.get_ident()}


async def test_the_event_loop_computes_no_long_turn_and_no_call_of_several(batcher: Batcher, steps: Steps) -> None:
    steps.go.release(3)
    await batcher.classify(turns("x" * 501))
    await batcher.classify(turns("several", 2))
    assert threading.get_ident() not in steps.threads
    await batcher.classify(turns("x" * 500))
    assert steps.threads[2] == threading.get_ident()


async def test_turns_that_come_together_share_a_pass_in_a_thread(batcher: Batcher, steps: Steps) -> None:
    steps.go.release(2)
    await asyncio.gather(*(batcher.classify(turns(f"s{number}")) for number in range(3)))
    assert steps.passes == [["s0", "s1", "s2"]]
    assert threading.get_ident() not in steps.threads


async def test_a_turn_that_failed_alone_is_told_and_the_next_is_computed(batcher: Batcher, steps: Steps) -> None:
    steps.go.release(2)
    steps.error = RuntimeError("broken")
    with pytest.raises(RuntimeError, match="broken"):
        await batcher.classify(turns("a"))
    steps.error = None
    assert len(await batcher.classify(turns("b"))) == 1


async def test_who_comes_while_it_closes_is_told(steps: Steps) -> None:
    batcher = Batcher(steps, PASS)
    coming = await ask(batcher, "coming")
    await batcher.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        await coming
    assert steps.passes == []


async def test_answers_in_time_of_turns_that_come_alone_give_time_back(batcher: Batcher, steps: Steps) -> None:
    steps.go.release(2)
    await batcher.classify(turns("warm"))
    batcher._share.now = 0.5
    await batcher.classify(turns("alone"), within_s=60)
    assert batcher._share.now > 0.5


async def test_a_caller_who_goes_before_its_turn_is_begun_leaves_nothing_behind(batcher: Batcher, steps: Steps) -> None:
    gone = await ask(batcher, "gone")
    gone.cancel()
    await asyncio.wait({gone})
    steps.go.release(1)
    await batcher.classify(turns("b"))
    assert steps.passes == [["b"]]
    assert steps.threads == [threading.get_ident()]


async def test_a_single_turn_overtakes_a_long_call_that_has_begun(batcher: Batcher, steps: Steps) -> None:
    long = await ask(batcher, "long", 10)
    await asyncio.to_thread(steps.began.acquire, timeout=30)
    single = await ask(batcher, "single")
    await steps.step()
    assert steps.passes == [["long0", "long1", "long2", "long3"], ["single", "long4", "long5", "long6"]]
    await steps.step()
    assert len(await single) == 1
    assert not long.done()
    steps.go.release(10)
    assert len(await long) == 10


async def test_a_long_call_gets_on_however_many_single_turns_wait(batcher: Batcher, steps: Steps) -> None:
    await begin(batcher, steps)
    long = await ask(batcher, "long", 2)
    for number in range(9):
        await ask(batcher, f"s{number}")
    for _ in range(2):
        await steps.step()
    assert steps.passes[1:] == [["s0", "s1", "s2", "long0"], ["s3", "s4", "s5", "long1"]]
    await steps.step()
    assert len(await long) == 2
    assert steps.passes[3] == ["s6", "s7", "s8"]


async def test_long_calls_take_turns_so_that_a_short_one_is_soon_done(batcher: Batcher, steps: Steps) -> None:
    await begin(batcher, steps)
    await ask(batcher, "long", 100)
    short = await ask(batcher, "short", 3)
    for _ in range(3):
        await steps.step()
    assert steps.passes[1:3] == [["long0", "long1", "long2", "long3"], ["short0", "short1", "short2", "long4"]]
    assert len(await short) == 3


async def test_turns_of_like_length_share_a_pass_and_come_back_in_the_callers_order(
    batcher: Batcher, steps: Steps
) -> None:
    lengths = [9, 1, 8, 2, 7, 3, 6, 4, 5]
    some = [Turn(previous_question="", previous_answer="", response="x" * length) for length in lengths]
    steps.go.release(10)
    verdicts = await batcher.classify(some)
    assert [[len(text) for text in each] for each in steps.passes] == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    waited = [verdict.timings.queue_ms for verdict in verdicts]
    assert sorted(range(9), key=waited.__getitem__) == sorted(range(9), key=lambda place: (lengths[place] - 1) // 4)


async def test_free_threads_share_what_waits(steps: Steps) -> None:
    batcher = Batcher(steps, PASS, threads=2)
    calls = [asyncio.create_task(batcher.classify(turns(f"s{number}"))) for number in range(4)]
    for _ in range(2):
        await asyncio.to_thread(steps.began.acquire, timeout=30)
    assert sorted(steps.passes) == [["s0", "s1"], ["s2", "s3"]]
    long = await ask(batcher, "long", 10)
    await steps.step()
    assert steps.passes[2] == ["long0", "long1", "long2", "long3"]
    steps.go.release(10)
    assert [len(await call) for call in calls] == [1, 1, 1, 1]
    assert len(await long) == 10
    await batcher.close()


async def test_a_call_that_comes_when_a_thread_has_just_ended_is_answered(steps: Steps) -> None:
    steps.go.release(100)
    batcher = Batcher(steps, PASS, threads=2)
    for number in range(20):
        assert len(await batcher.classify(turns(f"again{number}", 2))) == 2
    await batcher.close()


async def test_verdicts_of_a_call_in_pieces_come_in_order_and_say_how_long_each_waited(
    batcher: Batcher, steps: Steps
) -> None:
    steps.go.release(10)
    verdicts = await batcher.classify(turns("long", 10))
    assert [name for each in steps.passes for name in each] == [f"long{number}" for number in range(10)]
    waited = [verdict.timings.queue_ms for verdict in verdicts]
    assert waited == sorted(waited)
    assert waited[0] < waited[4] < waited[8]


async def test_what_is_left_of_a_call_whose_caller_has_gone_is_skipped(batcher: Batcher, steps: Steps) -> None:
    await begin(batcher, steps)
    gone, kept = await ask(batcher, "gone", 10), await ask(batcher, "kept", 2)
    await steps.step()
    gone.cancel()
    await asyncio.wait({gone})
    await steps.step()
    assert steps.passes[1:] == [["gone0", "gone1", "gone2", "gone3"], ["kept0", "kept1"]]
    steps.go.release(1)
    assert len(await kept) == 2


async def test_a_failure_is_told_to_every_caller_of_the_pass_and_the_next_pass_is_made(
    batcher: Batcher, steps: Steps
) -> None:
    await begin(batcher, steps)
    callers = [await ask(batcher, "a"), await ask(batcher, "long", 9)]
    await steps.step()
    steps.error = RuntimeError("broken")
    later = await ask(batcher, "later")
    await steps.step()
    steps.error = None
    steps.go.release(1)
    for caller in callers:
        with pytest.raises(RuntimeError, match="broken"):
            await caller
    assert len(await later) == 1
    assert steps.passes[2:] == [["later"]]


async def test_who_waited_so_long_that_the_answer_would_be_late_is_refused_and_not_computed(
    batcher: Batcher, steps: Steps
) -> None:
    await begin(batcher, steps)
    late = asyncio.create_task(batcher.classify(turns("late"), within_s=0.001))
    patient = asyncio.create_task(batcher.classify(turns("patient"), within_s=60))
    batch = asyncio.create_task(batcher.classify(turns("batch", 2), within_s=0.001))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(late), 0.01)
    steps.go.release(10)
    with pytest.raises(Overloaded, match="behind other turns") as raised:
        await late
    assert raised.value.where == "line"
    assert len(await patient) == 1
    assert len(await batch) == 2
    assert steps.passes[1:] == [["patient", "batch0", "batch1"]]


async def test_an_idle_batcher_answers_however_little_time_there_is(batcher: Batcher, steps: Steps) -> None:
    steps.go.release(3)
    for number in range(3):
        assert len(await batcher.classify(turns(f"now{number}"), within_s=1e-6)) == 1


@given(
    st.lists(st.floats(0, 0.75).map(lambda part: (part, False)) | st.floats(0.751, 9).map(lambda part: (part, True)))
)
def test_of_its_time_a_turn_may_need_less_the_more_answers_took_over_three_quarters_of_theirs(
    answers: list[tuple[float, bool]],
) -> None:
    share = Share()
    for part, is_late in answers:
        before = share.now
        share.saw(part)
        assert share.now == pytest.approx(max(Share.LEAST, 0.95 * before) if is_late else min(1.0, before + 1 / 2_000))
        assert Share.LEAST <= share.now <= 1.0


def test_as_many_late_answers_are_borne_as_are_aimed_at() -> None:
    share = Share()
    for number in range(2_000):
        share.saw(float(number % 100 == 0))
    assert share.now > 0.9
    for number in range(5_000):
        share.saw(float(number % 50 == 0))
    assert share.now < 0.6
    for number in range(2_000):
        share.saw(float(number % 5 == 0))
    assert share.now < 0.4


async def test_nothing_is_expected_of_an_idle_batcher(batcher: Batcher, steps: Steps) -> None:
    assert batcher.expected_ms(1) == batcher.expected_ms(256) == 0.0
    steps.go.release(10)
    await batcher.classify(turns("a", 10))
    assert batcher.expected_ms(1) == 0.0


async def test_the_more_stands_before_a_call_the_longer_it_is_expected_to_take(batcher: Batcher, steps: Steps) -> None:
    steps.go.release(3)
    await batcher.classify(turns("warm", 12))
    for _ in range(3):
        steps.began.acquire()
    await begin(batcher, steps)
    expected = [batcher.expected_ms(1)]
    for number in range(8):
        await ask(batcher, f"s{number}")
        expected.append(batcher.expected_ms(1))
    assert expected == sorted(expected)
    assert expected[-1] > expected[0] > 0
    alone = batcher.expected_ms(1)
    await ask(batcher, "long", 200)
    behind_long = batcher.expected_ms(1)
    assert alone < behind_long < 2 * alone  # a place in each pass, and not the 200 turns
    assert batcher.expected_ms(100) > 5 * behind_long

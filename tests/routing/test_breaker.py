"""The breaker's states, by hand and for any order of events."""

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from emotion_svc.routing.breaker import LONGEST_ASKED_S, Breaker, BreakerPolicy, State

POLICY = BreakerPolicy(failures=3, window=6, rate=0.5, pause_s=1, longest_pause_s=4)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Given:
    def __init__(self) -> None:
        self.clock, self.states = Clock(), list[State]()
        self.breaker = Breaker(self.clock, self.states.append, POLICY)

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.breaker.call_failed()

    def pause_before_probe(self) -> float:
        """Moves the clock to the moment when a probe is due, and begins it; gives how long that took."""
        begun = self.clock.now
        while not self.breaker.is_probe_due:
            self.clock.now += 0.5
        self.breaker.begin_probe()
        return self.clock.now - begun


def test_failures_in_a_row_open_it_and_an_answer_between_them_does_not() -> None:
    given = Given()
    given.fail(2)
    given.breaker.call_succeeded()
    given.fail(2)
    assert given.breaker.is_closed
    given.fail(1)
    assert given.states == ["open"]


def test_a_host_that_fails_every_other_time_is_left_alone_too() -> None:
    given = Given()
    for _ in range(3):
        given.breaker.call_succeeded()
        given.fail(1)
    assert given.states == ["open"]


def test_it_is_probed_once_after_the_pause_and_an_answer_closes_it() -> None:
    given = Given()
    given.fail(3)
    assert not given.breaker.is_probe_due
    given.clock.now += 1
    assert given.breaker.is_probe_due
    given.breaker.begin_probe()
    assert not given.breaker.is_probe_due
    given.breaker.probe_succeeded()
    assert given.states == ["open", "half_open", "closed"]


def test_the_pause_grows_with_each_failed_probe_up_to_the_longest() -> None:
    given = Given()
    given.fail(3)
    pauses = []
    for _ in range(4):
        pauses.append(given.pause_before_probe())
        given.breaker.probe_failed()
    assert pauses == [1, 2, 4, 4]


def test_a_host_that_answers_only_probes_is_left_alone_for_longer_and_longer() -> None:
    given = Given()
    pauses = []
    for _ in range(3):
        given.fail(3)
        pauses.append(given.pause_before_probe())
        given.breaker.probe_succeeded()
    assert pauses == [1, 2, 4]


def test_the_pause_is_short_again_after_a_window_of_calls() -> None:
    given = Given()
    given.fail(3)
    given.pause_before_probe()
    given.breaker.probe_succeeded()
    for _ in range(POLICY.window):
        given.breaker.call_succeeded()
    given.fail(3)
    assert given.pause_before_probe() == 1


def test_a_host_that_names_a_time_is_left_alone_for_that_long() -> None:
    given = Given()
    given.breaker.call_failed(retry_after_s=30)
    assert given.pause_before_probe() == 30


@pytest.mark.parametrize("asked_s", [601, 86_400, 1e18])
def test_no_host_closes_its_tier_for_longer_than_ten_minutes(asked_s: float) -> None:
    given = Given()
    given.breaker.call_failed(asked_s)
    assert given.pause_before_probe() == 600
    given.breaker.probe_failed(asked_s)
    assert given.pause_before_probe() == 600


def test_what_was_asked_before_it_opened_changes_nothing_after() -> None:
    given = Given()
    given.fail(3)
    given.breaker.call_succeeded()
    given.breaker.call_failed(retry_after_s=1000)
    assert given.states == ["open"]
    assert given.pause_before_probe() == 1
    given.breaker.call_succeeded()
    given.breaker.call_failed()
    assert given.states == ["open", "half_open"]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: one probe at a time, none before its pause, no call but when closed."""

    @initialize()
    def begin(self) -> None:
        self.given = Given()
        self.opened_at: float | None = None
        self.failures = 0

    @rule(seconds=st.floats(0, 10) | st.just(300.0))
    def time_passes(self, seconds: float) -> None:
        self.given.clock.now += seconds

    @rule()
    def a_call_succeeds(self) -> None:
        self.failures = 0
        self.given.breaker.call_succeeded()

    @rule(retry_after_s=st.sampled_from([0.0, 0.0, 0.0, 5.0, 1e9]))
    def a_call_fails(self, retry_after_s: float) -> None:
        was_closed = self.given.breaker.is_closed
        self.failures += was_closed
        self.given.breaker.call_failed(retry_after_s)
        if was_closed and not self.given.breaker.is_closed:
            self.opened_at = self.given.clock.now

    @precondition(lambda self: self.given.breaker.is_probe_due)
    @rule()
    def a_probe_begins(self) -> None:
        assert self.opened_at is not None
        assert self.given.clock.now - self.opened_at >= POLICY.pause_s
        self.given.breaker.begin_probe()

    @precondition(lambda self: self.given.breaker.state == "half_open")
    @rule(succeeds=st.booleans())
    def a_probe_ends(self, succeeds: bool) -> None:
        if succeeds:
            self.given.breaker.probe_succeeded()
            self.failures = 0
        else:
            self.given.breaker.probe_failed()
            self.opened_at = self.given.clock.now

    @invariant()
    def it_is_open_after_so_many_failures_in_a_row(self) -> None:
        if self.given.breaker.is_closed:
            assert self.failures < POLICY.failures

    @invariant()
    def an_open_one_is_probed_sooner_or_later(self) -> None:
        if self.given.breaker.state == "open":
            assert self.opened_at is not None
            late = self.opened_at + max(POLICY.longest_pause_s, LONGEST_ASKED_S)
            assert self.given.breaker.is_probe_due or self.given.clock.now < late

    @invariant()
    def it_moves_only_along_the_arrows(self) -> None:
        arrows = {("closed", "open"), ("open", "half_open"), ("half_open", "open"), ("half_open", "closed")}
        states: list[State] = ["closed", *self.given.states]
        assert set(pairwise(states)) <= arrows


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=30)

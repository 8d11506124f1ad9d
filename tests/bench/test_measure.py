"""Rounds over seats, and what figures come of them."""

from collections.abc import Mapping, Sequence

import pytest

from emotion_svc.bench.load import Load
from emotion_svc.bench.measure import Plan, Round, measure, point_of, report_seat
from emotion_svc.bench.results import Point
from emotion_svc.bench.seats import Usage
from emotion_svc.bench.subjects import Way
from emotion_svc.schema import Answer, Example
from tests.bench.made import ANSWER, gold, one_round, sample


def figures(
    *rounds: Round, right: Sequence[Example] = (gold(),) * 3, reference: Mapping[int, str] = {}, exact: bool = True
) -> Point:
    """Of one client."""
    return point_of(1, rounds, right, reference, exact=exact)


class FakeSeat:
    """Answers one turn a press, and writes down who was pressed."""

    way: Way = "process"
    start_s = 1.0

    def __init__(self, name: str, calls: list[tuple[str, int, int]]) -> None:
        self._name, self._calls = name, calls

    async def press(self, first: int, clients: int, seconds: float) -> Load:
        self._calls.append((self._name, first, clients))
        return Load(samples=[sample(1, first)] * clients, elapsed_s=seconds)

    def usage(self) -> Usage:
        return Usage(float(len(self._calls)), 5_000_000)

    async def close(self) -> None:
        raise AssertionError("whoever started a seat closes it")


async def test_every_round_takes_every_seat_once_at_each_load_and_every_second_one_backwards() -> None:
    calls: list[tuple[str, int, int]] = []
    seats = [("a", FakeSeat("a", calls)), ("b", FakeSeat("b", calls))]
    await measure(seats, Plan([1, 4], rounds=2, seconds=1, warm_up_s=1), told=lambda _: None)
    assert [(name, clients) for name, _, clients in calls] == [
        *[("a", 4), ("b", 4)],  # warm-up
        *[("a", 1), ("b", 1), ("a", 4), ("b", 4)],
        *[("b", 1), ("a", 1), ("b", 4), ("a", 4)],
    ]


async def test_a_seat_goes_on_in_the_order_of_turns_where_it_stopped() -> None:
    calls: list[tuple[str, int, int]] = []
    await measure([("a", FakeSeat("a", calls))], Plan([2], rounds=2, seconds=1, warm_up_s=1), told=lambda _: None)
    assert [first for _, first, _ in calls] == [0, 2, 4]


async def test_the_report_says_how_often_each_turn_came() -> None:
    plan = Plan([2], rounds=2, seconds=1, warm_up_s=1)
    [measured] = await measure([("a", FakeSeat("a", []))], plan, told=lambda _: None)
    assert report_seat(measured, [gold()] * 5, {}).passes == pytest.approx(6 / 5)  # two in each, warm-up counted


def test_latencies_of_all_rounds_count_together_and_each_round_keeps_its_own_median() -> None:
    point = figures(one_round([sample(1), sample(2)]), one_round([sample(3), sample(100)]))
    assert point.latency_ms.p50 == pytest.approx(2.5)
    assert point.latency_ms.p99 > 90
    assert point.round_p50_ms == pytest.approx([1.5, 51.5])
    assert point.turns == 4


def test_throughput_and_cpu_time_are_sums_over_sums() -> None:
    rounds = [one_round([sample(1)] * 30, elapsed_s=1, cpu_s=0.3), one_round([sample(1)] * 10, elapsed_s=3, cpu_s=0.5)]
    point = figures(*rounds)
    assert point.turns_per_s == pytest.approx(10)
    assert point.cpu_ms_per_turn == pytest.approx(20)


@pytest.mark.parametrize(
    ("text", "of_a_peer", "of_ours"),
    [
        (ANSWER, 1, 1),
        (f" {ANSWER}\n", 1, 0),
        (ANSWER.replace(":", ": "), 1, 0),
        ('{"learn_score":true,"emotion":"happy"}', 1, 0),
        (ANSWER[:-1], 0, 0),
        ('{"emotion":"bored","learn_score":true}', 0, 0),
        ("", 0, 0),
    ],
)
def test_an_answer_that_is_none_is_seen_and_ours_are_taken_to_the_letter(
    text: str, of_a_peer: float, of_ours: float
) -> None:
    answered = one_round([sample(1, text=text)])
    for exact, valid in ((False, of_a_peer), (True, of_ours)):
        point = figures(answered, exact=exact)
        assert (point.valid, point.right_family, point.right_learn_score) == (valid, valid, valid)


def test_each_slot_is_held_against_the_gold_label_of_its_turn() -> None:
    answered = one_round([sample(1, place=0), sample(1, place=1), sample(1, place=2), sample(1, place=2)])
    point = figures(answered, right=[gold("sad"), gold("happy", learn_score=False), gold()])
    assert (point.right_family, point.right_learn_score) == (0.75, 0.75)


@pytest.mark.parametrize(
    ("embedded", "same"),
    [
        (Answer(emotion="happy", learn_score=True), 1.0),
        (Answer(emotion="happy_2", learn_score=True), 1.0),  # another animation of the same intent
        (Answer(emotion="happy", learn_score=False), 0.5),
        (Answer(emotion="excited", learn_score=True), 0.5),
    ],
)
def test_answers_agree_where_family_and_learn_score_do_and_only_turns_that_both_were_asked_count(
    embedded: Answer, same: float
) -> None:
    answered = one_round([sample(1, place=0), sample(1, place=1), sample(1, place=2)])
    reference = {0: ANSWER, 1: embedded.model_dump_json()}
    assert figures(answered, reference=reference).same_as_embedded == same
    assert figures(answered).same_as_embedded is None


def test_times_between_tokens_need_two_tokens() -> None:
    point = figures(one_round([sample(10, first_token_s=0.004, tokens=4), sample(9, tokens=1)]))
    assert point.first_token_ms == pytest.approx(4)
    assert point.inter_token_ms == pytest.approx(2)
    assert point.tokens_per_answer == 2.5


def test_what_the_model_did_not_take_is_overhead() -> None:
    assert figures(one_round([sample(5, infer_s=0.002)])).overhead_ms == pytest.approx(3)
    assert figures(one_round([sample(5)])).overhead_ms is None

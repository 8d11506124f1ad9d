"""The day's spend: under its cap, over restarts, and with several processes."""

import json
import multiprocessing
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.routing.spend import DaySpend, Reservation, Spend, SpendError, TierSpend, read_spend
from emotion_svc.schema import TokenUsage

DAY, NEXT = date(2026, 11, 21), date(2026, 11, 22)
USED = TokenUsage(prompt_tokens=100, completion_tokens=10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spend.json"


def reserved(spend: Spend, usd: float, tier: str = "groq") -> Reservation:
    reservation = spend.reserve(tier, usd)
    assert reservation is not None
    return reservation


def test_what_is_reserved_counts_until_it_is_settled(path: Path) -> None:
    spend = Spend(path, 1.0, lambda: DAY)
    reservation = reserved(spend, 0.75)
    assert spend.reserve("groq", 0.5) is None
    spend.settle(reservation, USED, 0.25)
    assert spend.reserve("groq", 0.5) is not None
    assert spend.today().usd == 0.75


def test_the_cap_can_be_reached_but_not_passed(path: Path) -> None:
    spend = Spend(path, 1.0, lambda: DAY)
    assert reserved(spend, 1.0).usd == 1.0
    assert spend.reserve("groq", 1e-9) is None


def test_a_cap_of_nothing_allows_nothing(path: Path) -> None:
    assert Spend(path, 0.0, lambda: DAY).reserve("groq", 1e-9) is None


def test_the_spend_of_a_day_survives_a_restart_and_a_new_day_begins_with_nothing(path: Path) -> None:
    spend = Spend(path, 1.0, lambda: DAY)
    spend.settle(reserved(spend, 0.75), USED, 0.75)
    assert Spend(path, 1.0, lambda: DAY).reserve("groq", 0.5) is None
    again = Spend(path, 1.0, lambda: NEXT)
    assert again.today() == DaySpend(day=NEXT)
    assert again.reserve("groq", 0.5) is not None


def test_a_call_of_yesterday_is_settled_without_a_trace_in_today(path: Path) -> None:
    days = [DAY]
    spend = Spend(path, 1.0, lambda: days[-1])
    yesterday = reserved(spend, 0.5)
    days.append(NEXT)
    spend.settle(yesterday, USED, 0.5)
    assert spend.today() == DaySpend(day=NEXT)


def test_the_file_says_what_each_tier_has_cost(path: Path) -> None:
    spend = Spend(path, 1.0, lambda: DAY)
    spend.settle(reserved(spend, 0.5), USED, 0.25)
    reserved(spend, 0.125, "relay")
    assert read_spend(path, DAY).tiers == {
        "groq": TierSpend(calls=1, prompt_tokens=100, completion_tokens=10, usd=0.25),
        "relay": TierSpend(calls=1, usd=0.125),
    }


@pytest.mark.parametrize("content", ["", "{}", '{"day":"2026-11-21","tiers":{"groq":{"usd":"much"}}}', "\x00"])
def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(SpendError, match=r"spend\.json' is damaged or none"):
        Spend(path, 1.0, lambda: DAY)
    assert path.read_text() == content


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpendError, match="No such file or directory; set EMOTION_SVC_SPEND_FILE"):
        Spend(tmp_path / "nowhere" / "spend.json", 1.0)


def test_nobody_ever_reads_half_a_file(path: Path) -> None:
    spend = Spend(path, 1.0, lambda: DAY)
    with path.open() as before:
        reserved(spend, 0.5)
        assert DaySpend.model_validate(json.load(before)) == DaySpend(day=DAY)
    assert (
        list(path.parent.glob("*")) == [path, path.with_name("spend.json.lock")]
        or len(list(path.parent.iterdir())) == 2
    )


def _spend_all(path: Path, done: "multiprocessing.Queue[int]") -> None:
    spend = Spend(path, 1.0, lambda: DAY)
    calls = 0
    while (reservation := spend.reserve("groq", 1 / 128)) is not None:
        calls += 1
        spend.settle(reservation, USED, 1 / 256)
    done.put(calls)


def test_several_processes_together_stay_under_the_cap(path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    done: multiprocessing.Queue[int] = spawn.Queue()
    workers = [spawn.Process(target=_spend_all, args=(path, done)) for _ in range(3)]
    for worker in workers:
        worker.start()
    calls = sum(done.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join()
    today = read_spend(path, DAY)
    assert calls == today.tiers["groq"].calls
    assert today.usd == calls / 256
    assert 1 - 3 / 128 < today.usd <= 1


@given(
    cap=st.floats(0, 2),
    calls=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=20),
    open_at_a_time=st.integers(1, 4),
)
def test_whatever_is_reserved_and_settled_the_cap_holds(
    tmp_path_factory: pytest.TempPathFactory, cap: float, calls: list[tuple[float, float]], open_at_a_time: int
) -> None:
    spend = Spend(tmp_path_factory.mktemp("spend") / "spend.json", cap, lambda: DAY)
    open_: list[tuple[Reservation, float]] = []
    billed = 0.0
    for most, share in calls:
        reservation = spend.reserve("groq", most)
        if reservation is not None:
            open_.append((reservation, most * share))
        if len(open_) >= open_at_a_time:
            settled, usd = open_.pop(0)
            spend.settle(settled, USED, usd)
            billed += usd
        assert billed <= cap + 1e-9
        assert spend.today().usd <= cap + 1e-9

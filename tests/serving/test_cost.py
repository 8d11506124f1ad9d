"""What `emotion-svc cost` prints, from a running service and from the spend file."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from emotion_svc.cli import main
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.routing.spend import Spend
from emotion_svc.schema import TokenUsage
from emotion_svc.serving.cost import CostError, TierCost, costs_from_metrics, summary
from emotion_svc.serving.metrics import Metrics

USED = TokenUsage(prompt_tokens=100, completion_tokens=10)
TURN = {"previous_question": "", "previous_answer": "", "response": "Xin chào!"}


def cost(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["cost", *arguments])


def test_a_free_service_has_cost_nothing(serve: Callable[..., httpx.Client]) -> None:
    client = serve(ScriptedEngine())
    for answer in ("one", "two", "three", "three"):  # the last is answered from the cache
        client.post("/v1/classify", json=TURN | {"previous_answer": answer})
    done = cost("--url", str(client.base_url))
    assert done.exit_code == 0
    assert "| scripted | 3 | 3 | 0 | 0 | 0.000000 |" in done.stdout.splitlines()
    assert "| (cache) | 1 | 0 | 0 | 0 | 0.000000 |" in done.stdout.splitlines()
    assert "in all: 0.000000 USD" in done.stdout


def test_a_paid_tier_is_held_against_everything_going_there() -> None:
    told = summary([TierCost("net", 90, 100, 0, 0, 0.0), TierCost("groq", 10, 20, 5000, 300, 0.02, 0.001)])
    assert told.splitlines() == [
        "| tier | turns | calls | tokens in | tokens out | USD |",
        "|---|---|---|---|---|---|",
        "| net | 90 | 100 | 0 | 0 | 0.000000 |",
        "| groq | 10 | 20 | 5000 | 300 | 0.020000 |",
        "",
        "in all: 0.020000 USD",
        "everything to groq: 0.100000 USD; the tiers save 80.0%",
    ]


def test_turns_from_the_cache_count_as_saved() -> None:
    metrics = (
        "# TYPE emotion_svc_tier_calls counter\n"
        'emotion_svc_tier_calls_total{outcome="answered",tier="groq"} 10\n'
        "# TYPE emotion_svc_tier_answers counter\n"
        'emotion_svc_tier_answers_total{tier="groq"} 10\n'
        "# TYPE emotion_svc_tier_usd counter\n"
        'emotion_svc_tier_usd_total{by="count",tier="groq"} 0.01\n'
        "# TYPE emotion_svc_tier_paid_calls counter\n"
        'emotion_svc_tier_paid_calls_total{by="count",tier="groq"} 10\n'
        "# TYPE emotion_svc_cache_turns counter\n"
        'emotion_svc_cache_turns_total{result="hit"} 25\n'
        'emotion_svc_cache_turns_total{result="shared"} 5\n'
        'emotion_svc_cache_turns_total{result="miss"} 10\n'
    )
    told = summary(costs_from_metrics(metrics)).splitlines()
    assert "| (cache) | 30 | 0 | 0 | 0 | 0.000000 |" in told
    assert told[-1] == "everything to groq: 0.040000 USD; the tiers save 75.0%"


def test_calls_that_were_not_made_are_not_counted() -> None:
    metrics = "".join(
        f'emotion_svc_tier_calls_total{{outcome="{outcome}",tier="groq"}} {count}\n'
        for outcome, count in {"answered": 1, "deadline": 2, "failed": 4, "breaker_open": 8, "spend_cap": 16}.items()
    )
    [groq] = costs_from_metrics(f"# TYPE emotion_svc_tier_calls counter\n{metrics}")
    assert groq.calls == 7


def of_usages(*usages: tuple[TokenUsage | None, float], answered: int) -> str:
    """The metrics of a service whose paid tier, behind a free one, had such calls."""
    metrics = Metrics()
    for usage, usd in usages:
        metrics.saw_call("groq", "failed", 0.1)
        metrics.saw_usage("groq", usage, usd)
    for _ in range(answered):
        metrics.saw_answer("small", "first")
    return metrics.render().decode()


def test_calls_that_were_free_or_only_reserved_do_not_change_what_a_call_costs() -> None:
    counted, free, reserved = (USED, 0.001), (TokenUsage(prompt_tokens=0, completion_tokens=0), 0.0), (None, 0.05)
    [groq, *_] = costs_from_metrics(of_usages(counted, *[free] * 9, reserved, counted, answered=100))
    assert groq.usd == pytest.approx(0.052)
    assert groq.a_call_usd == pytest.approx(0.001)


def test_without_a_counted_call_the_price_is_not_known() -> None:
    told = summary(costs_from_metrics(of_usages((None, 0.05), answered=3)))
    assert "everything to groq: not known, as its host has counted no tokens yet" in told


def test_everything_to_a_cheaper_tier_may_cost_less_than_the_tiers() -> None:
    told = summary([TierCost("cheap", 9, 9, 0, 0, 0.009, 0.001), TierCost("dear", 1, 1, 0, 0, 0.5, 0.5)])
    assert "everything to cheap: 0.010000 USD; the tiers cost 0.499000 USD more" in told
    assert "everything to dear: 5.000000 USD; the tiers save 89.8%" in told


@given(
    usages=st.lists(
        st.one_of(
            st.tuples(st.just(USED), st.floats(0, 1)),
            st.tuples(st.none(), st.floats(0, 1)),
        )
    ),
    answered=st.integers(0, 20),
)
def test_one_paid_tier_never_saves_less_than_nothing(
    usages: list[tuple[TokenUsage | None, float]], answered: int
) -> None:
    told = summary(costs_from_metrics(of_usages(*usages, (USED, 0.001), answered=answered)))
    saved = re.findall(r"the tiers save (\d+\.\d)%$", told)
    assert len(saved) == 1
    assert 0 <= float(saved[0]) <= 100


def test_metrics_of_something_else_are_refused() -> None:
    with pytest.raises(CostError, match="no metrics of tiers"):
        costs_from_metrics("up 1\n")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1/metrics cannot be read (URLError); is the service running?"),
        ("file:///etc/passwd", "expected a URL such as http://127.0.0.1:30030, found 'file:///etc/passwd'"),
    ],
)
def test_a_service_that_cannot_be_asked_is_told_in_one_line(url: str, told: str) -> None:
    done = cost("--url", url)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"emotion-svc: {told}\n")


def test_todays_spend_file_shows_what_was_paid_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "spend.json"
    spend = Spend(file, 1.0, lambda: datetime.now(UTC).date())
    reservation = spend.reserve("groq", 0.5)
    assert reservation is not None
    spend.settle(reservation, TokenUsage(prompt_tokens=100, completion_tokens=10), 0.25)
    monkeypatch.setenv("EMOTION_SVC_SPEND_FILE", str(file))
    for done in (cost(), cost("--spend-file", str(file))):
        assert done.exit_code == 0
        assert "| groq | – | 1 | 100 | 10 | 0.250000 |" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give --url or --spend-file, or set EMOTION_SVC_SPEND_FILE"),
        (["--url", "http://x", "--spend-file", "y"], "not both"),
        (["--url", "http://x", "--key-env", "NO_SUCH_KEY"], "the environment variable NO_SUCH_KEY is not set"),
    ],
)
def test_a_wrong_call_is_explained(arguments: list[str], told: str) -> None:
    done = cost(*arguments)
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.replace("│", "").split())


def test_a_missing_or_damaged_spend_file_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "spend.json"
    assert cost("--spend-file", str(file)).stderr == f"emotion-svc: spend file '{file}' does not exist\n"
    file.write_text("{")
    assert "cannot be read (SpendError)" in cost("--spend-file", str(file)).stderr

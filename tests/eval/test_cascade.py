"""The report on a cascade: worked out by hand, and from files that are written once."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emotion_svc.cli import main
from emotion_svc.engines.presets import Price
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.eval.cascade import report, way
from emotion_svc.eval.metrics import share
from emotion_svc.eval.tier_predictions import TierPrediction
from emotion_svc.routing.tiers_file import AskedWhen, Tiers, TierTable
from emotion_svc.schema import Answer, Example, TokenUsage, Verdict
from emotion_svc.taxonomy import Label
from tests.paths import EVAL_DATA
from tests.upstream import Upstream, says, status

NET = TierTable(name="net", engine="embedded")
HOST = TierTable(name="host", engine="remote", preset="groq", asked_when=AskedWhen(emotion_below=0.6), deadline_ms=40)
TIERS = Tiers(tiers=(NET, HOST))
PRICES = {"net": None, "host": Price(input_usd=1, output_usd=10)}
USED = TokenUsage(prompt_tokens=1000, completion_tokens=20)
USD = 0.0012


def example(number: int, *, learn_score: bool = False) -> Example:
    return Example(
        id=f"x{number}", previous_question="", previous_answer="", response="r", emotion="sad",
        learn_score=learn_score, slice="core",
    )  # fmt: skip


def said(
    ms: float, emotion: Label = "sad", sure: float = 0.9, usage: TokenUsage | None = None, number: int = 0
) -> TierPrediction:
    plain = ScriptedEngine({"r": Answer(emotion=emotion, learn_score=False)})._verdict(example(0).turn)
    return TierPrediction(
        id=f"x{number}", ms=ms, verdict=plain.model_copy(update={"family_confidence": sure, "usage": usage})
    )


def failed(ms: float) -> TierPrediction:
    return TierPrediction(id="x0", ms=ms, verdict=None)


def family(verdict: Verdict | None) -> str | None:
    return None if verdict is None else verdict.family


@pytest.mark.parametrize(
    ("net", "host", "answer", "asked", "unused", "usd", "ms"),
    [
        (said(3), said(20, "happy", usage=USED), "sad", 1, 0, 0, 3),
        (said(3, sure=0.5), said(20, "happy", usage=USED), "happy", 2, 0, USD, 23),
        (said(3, sure=0.5), said(41, "happy", usage=USED), "sad", 2, 1, USD, 43),
        (said(15, sure=0.5), said(39, "happy", usage=USED), "sad", 2, 1, USD, 50),
        (said(3, sure=0.5), failed(10), "sad", 2, 1, 0, 13),
        (said(60, sure=0.5), said(1, "happy", usage=USED), "sad", 1, 0, 0, 60),
    ],
)
def test_a_turn_goes_the_way_that_the_router_would_send_it(
    net: TierPrediction, host: TierPrediction, answer: str, asked: int, unused: int, usd: float, ms: float
) -> None:
    outcome = way(TIERS, PRICES, example(0).turn, {"net": net, "host": host})
    assert family(outcome.verdict) == answer
    assert (outcome.asked, outcome.unused) == (asked, unused)
    assert (outcome.usd, outcome.ms) == pytest.approx((usd, ms))


@pytest.mark.parametrize(
    ("big", "answer", "ms"),
    [
        (said(20, "happy"), "happy", 20),
        (said(70, "happy"), "sad", 50),
        (failed(10), "sad", 13),
        (failed(49), "sad", 50),
    ],
)
def test_a_safety_net_behind_others_is_there_at_the_deadline(big: TierPrediction, answer: str, ms: float) -> None:
    tiers = Tiers(tiers=(TierTable(name="big", engine="vllm"), NET))
    outcome = way(tiers, {"big": None, "net": None}, example(0).turn, {"big": big, "net": said(3)})
    assert family(outcome.verdict) == answer
    assert outcome.ms == pytest.approx(ms)


def test_without_a_safety_net_there_may_be_no_answer() -> None:
    tiers = Tiers(tiers=(TierTable(name="host", engine="remote", preset="groq"),))
    outcome = way(tiers, PRICES, example(0).turn, {"host": said(51)})
    assert outcome.verdict is None


def test_the_report_has_each_tier_alone_the_cascade_as_it_is_set_and_other_thresholds() -> None:
    examples = [example(number) for number in range(4)]
    stored = {
        "net": [said(3, "happy", sure) for sure in (0.55, 0.65, 0.75, 0.99)],
        "host": [said(20, "sad", usage=USED)] * 4,
    }
    rows = {row.name: row for row in report(TIERS, PRICES, examples, stored)}
    assert [*rows] == ["net alone", "host alone", "as set"] + [
        f"both below {t}" for t in ("0", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "1")
    ]
    assert [rows[name].emotion.value for name in ("net alone", "host alone", "as set")] == [0, 1, 0.25]
    assert rows["host alone"].usd_per_1000 == pytest.approx(1000 * USD)
    assert rows["both below 0"].handed_on == 0
    for name, handed_on in (("as set", 0.25), ("both below 0.7", 0.5), ("both below 0.8", 0.75), ("both below 1", 1)):
        row = rows[name]
        assert (row.handed_on, row.emotion.value) == (handed_on, handed_on)
        assert row.usd_per_1000 == pytest.approx(1000 * USD * handed_on)
        assert row.mean_ms == pytest.approx(3 + 20 * handed_on)
    assert rows["as set"].learn_score.value == 1


def test_the_interval_of_a_share_holds_it() -> None:
    import numpy as np

    interval = share(np.array([True] * 80 + [False] * 20))
    assert interval.value == 0.8
    assert 0.7 < interval.low < 0.8 < interval.high < 0.9


TOML = """
deadline_ms = 10000
spend_cap_usd_per_day = 1.0
[[tiers]]
name = "net"
engine = "embedded"
[[tiers]]
name = "host"
engine = "remote"
preset = "groq"
base_url = "{url}"
asked_when = {{ emotion_below = 0.7 }}
"""


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    file = tmp_path / "gold.jsonl"
    file.write_text("".join((EVAL_DATA / "dev.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:20]))
    return file


def test_the_command_asks_each_tier_once_and_later_nobody(
    tmp_path: Path, gold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "k")
    monkeypatch.setenv("EMOTION_SVC_SPEND_FILE", str(tmp_path / "spend.json"))
    tiers, kept = tmp_path / "tiers.toml", tmp_path / "kept"
    command = ["eval", str(gold), "--tiers", str(tiers), "--predictions", str(kept)]
    with Upstream(says('{"emotion":"sad","learn_score":true}')) as upstream:
        tiers.write_text(TOML.format(url=upstream.url))
        first = CliRunner().invoke(main, command)
        assert first.exit_code == 0, first.output
        assert len(upstream.requests) == 21  # the canary, and each turn
    again = CliRunner().invoke(main, command)
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert "| host alone | 0.0% | 0.0% | " in again.stdout
    texts = [json.loads(line)["response"] for line in gold.read_text(encoding="utf-8").splitlines()]
    stored = "".join(file.read_text(encoding="utf-8") for file in kept.iterdir())
    assert not any(text in stored for text in texts)


def test_a_host_that_fails_leaves_nothing_behind(tmp_path: Path, gold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "k")
    monkeypatch.setenv("EMOTION_SVC_SPEND_FILE", str(tmp_path / "spend.json"))
    tiers, kept = tmp_path / "tiers.toml", tmp_path / "kept"
    with Upstream(status(500, {})) as upstream:
        tiers.write_text(TOML.format(url=upstream.url))
        done = CliRunner().invoke(main, ["eval", str(gold), "--tiers", str(tiers), "--predictions", str(kept)])
    assert done.exit_code == 1
    assert "the host of preset 'groq' answered with status 500" in done.stderr
    assert [file.name for file in kept.iterdir()] == ["net.jsonl"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--tiers", "tiers.toml", "--predictions", "kept", "--min-emotion", "0.9"], "leave the other options out"),
        (["--tiers", "tiers.toml", "--predictions", "kept", "--engine", "vllm"], "leave the other options out"),
        (["--tiers", "tiers.toml"], "--tiers needs --predictions"),
        (["--predictions", "kept"], "--predictions is for --tiers"),
        (["--preset", "groq"], "--preset and --base-url are for --engine remote"),
    ],
)
def test_options_that_would_do_nothing_are_refused(gold: Path, options: list[str], reason: str) -> None:
    (gold.parent / "tiers.toml").write_text('[[tiers]]\nname = "net"\nengine = "embedded"\n')
    done = CliRunner().invoke(main, ["eval", str(gold), *options])
    assert done.exit_code == 2
    assert reason in " ".join(done.stderr.replace("│", " ").split())


def test_predictions_for_other_turns_are_refused(tmp_path: Path, gold: Path) -> None:
    tiers, kept = tmp_path / "tiers.toml", tmp_path / "kept"
    tiers.write_text('[[tiers]]\nname = "net"\nengine = "embedded"\n')
    kept.mkdir()
    (kept / "net.jsonl").write_text(said(3).model_dump_json() + "\n")
    done = CliRunner().invoke(main, ["eval", str(gold), "--tiers", str(tiers), "--predictions", str(kept)])
    assert done.exit_code == 1
    assert "net.jsonl' is for other gold turns" in done.stderr

"""From replies to figures, savings, a table and a plot."""

from pathlib import Path

import pytest

from emotion_svc.bench.results import Machine
from emotion_svc.bench.settings.asking import Reply
from emotion_svc.bench.settings.figures import AnchorReport, Conditions, Outcome, Study, figures_of, saving_of
from emotion_svc.bench.settings.plot import label_of
from emotion_svc.bench.settings.table import to_markdown


def replies(*total_ms: float, tokens: int = 5, valid: bool = True) -> list[Reply]:
    """Answers whose first token came after 2 ms."""
    return [Reply(2.0, total, tokens, valid) for total in total_ms]


SLOW, FAST = replies(20, 30, 40), replies(10, 22, 28)


def outcome(*, anchor_is_faster: bool) -> Outcome:
    fast, slow = figures_of(FAST, 90.0), figures_of(SLOW, 50.0)
    return Outcome(
        setting="prefix caching",
        said="20–40 ms",
        said_ms=(20, 40),
        faster="on",
        other="off",
        anchor="plain",
        anchor_is_faster=anchor_is_faster,
        anchor_figures=fast if anchor_is_faster else slow,
        variant_figures=slow if anchor_is_faster else fast,
        saving=saving_of(FAST, SLOW, seed=0),
    )


def refused() -> Outcome:
    return outcome(anchor_is_faster=True).model_copy(
        update={"setting": "kv-cache-dtype", "saving": None, "variant_figures": None, "refused": "no fp8 here"}
    )


def study(*outcomes: Outcome) -> Study:
    machine = Machine(cpu="some CPU", cores=2, memory_gb=8.0, python="3.11", onnxruntime="1.22", load_before=0.1)
    conditions = Conditions(
        model="pika", model_digest="abc", vllm="0.32.0", on_cpu=True, gold=["x"], turns=3, load_turns=3, clients=2,
        warm_up=1, seed=0,
    )  # fmt: skip
    anchor = AnchorReport(name="plain", server={}, asking={}, ready_s=20.0, figures=figures_of(SLOW, 50.0))
    return Study(date="2026-01-01", machine=machine, conditions=conditions, anchors=[anchor], outcomes=list(outcomes))


def test_figures_are_medians_over_the_turns() -> None:
    figures = figures_of([*replies(10, 18), *replies(26, valid=False)], 50.0)
    assert (figures.first_ms, figures.between_ms, figures.total_ms) == (2.0, 4.0, 18.0)
    assert figures.valid == pytest.approx(2 / 3)


def test_an_answer_of_one_token_has_no_time_between_tokens() -> None:
    assert figures_of(replies(2.0, tokens=1), 1.0).between_ms is None


def test_a_saving_is_the_median_over_turns_of_what_each_saves() -> None:
    saving = saving_of(FAST, SLOW, seed=0)
    assert saving.ms == 10
    assert (saving.low_ms, saving.high_ms) == (8, 12)
    assert saving_of(SLOW, FAST, seed=0).ms == -10


@pytest.mark.parametrize("anchor_is_faster", [True, False])
def test_the_sign_is_of_the_value_that_is_said_to_be_faster_whichever_the_anchor_has(anchor_is_faster: bool) -> None:
    table = to_markdown(study(outcome(anchor_is_faster=anchor_is_faster)))
    values = "**on** | off" if anchor_is_faster else "on | **off**"
    assert f"| prefix caching | {values} | 20–40 ms | +10.0 [+8.0, +12.0] of 30.0 | 2.0 / 2.0 |" in table
    assert "| 90.0 / 50.0 |" in table


def test_a_refusal_stands_in_the_table() -> None:
    assert "| kv-cache-dtype | **on** | off | 20–40 ms | refused: no fp8 here |" in to_markdown(study(refused()))


def test_the_summary_has_the_medians_and_the_savings() -> None:
    summary = study(outcome(anchor_is_faster=True), refused()).summary
    assert summary == {"plain total_ms": 30.0, "plain: prefix caching, on against off": 10.0}


@pytest.mark.parametrize(("valid", "mark"), [(True, ""), (False, " (not all valid)")])
def test_a_comparison_with_a_side_that_is_not_all_valid_is_marked(valid: bool, mark: str) -> None:
    other = figures_of([*replies(20, 30), *replies(40, valid=valid)], 50.0)
    compared = outcome(anchor_is_faster=True).model_copy(update={"variant_figures": other})
    assert label_of(compared) == f"prefix caching: on / off{mark}"


def test_the_same_study_gives_the_same_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (extra 'bench')")
    from emotion_svc.bench.settings.plot import plot_study

    drawn = study(outcome(anchor_is_faster=True), refused())
    first, again = plot_study(drawn, tmp_path / "a"), plot_study(drawn, tmp_path / "b")
    assert [file.suffix for file in first] == [".png", ".svg"]
    assert first[1].read_bytes() == again[1].read_bytes()

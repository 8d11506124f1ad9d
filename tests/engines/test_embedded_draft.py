"""The label that is likely beforehand saves a pass where it is chosen, and decides nothing where it is not."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pytest

from emotion_svc.decoding.choice import VariantPolicy
from emotion_svc.decoding.tokens import Encoded, TurnTokenizer
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.schema import Turn, Verdict
from emotion_svc.taxonomy import FAMILIES, Family


def suggest(monkeypatch: pytest.MonkeyPatch, families: Sequence[Family | None]) -> None:
    """The wording of the turns that are encoded from now on suggests these families, over and over in this order."""
    encode, suggestions = TurnTokenizer.encode, cycle(families)

    def suggested(self: TurnTokenizer, turn: Turn) -> Encoded:
        return encode(self, turn)._replace(likely=next(suggestions))

    monkeypatch.setattr(TurnTokenizer, "encode", suggested)


def figures(verdicts: Sequence[Verdict]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([(v.family_confidence, v.learn_score_probability) for v in verdicts])


@pytest.mark.parametrize("variants", ["stable", "first", "model"])
@pytest.mark.parametrize("suggested", [[None], [*FAMILIES], ["sad", None, "noisy"]], ids=["nothing", "all", "some"])
def test_what_is_suggested_changes_no_verdict(
    variants: VariantPolicy,
    suggested: Sequence[Family | None],
    gold_turns: list[Turn],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = gold_turns[:48]
    model = EmbeddedModel(variants=variants)
    expected = model.classify(turns)
    suggest(monkeypatch, suggested)
    for verdicts in (model.classify(turns), [model.classify([turn])[0] for turn in turns]):
        assert [v.answer for v in verdicts] == [v.answer for v in expected]
        np.testing.assert_allclose(figures(verdicts), figures(expected), atol=1e-4)


def test_a_right_suggestion_saves_the_second_pass(gold_turns: list[Turn], monkeypatch: pytest.MonkeyPatch) -> None:
    model = EmbeddedModel()
    [verdict] = model.classify(gold_turns[:1])
    wrong = next(family for family in FAMILIES if family != verdict.family)
    passes = []
    for family in (verdict.family, wrong):
        suggest(monkeypatch, [family])
        before = model.passes
        model.classify(gold_turns[:1])
        monkeypatch.undo()
        passes.append(model.passes - before)
    assert passes == [1, 2]


def test_in_a_batch_only_those_with_a_wrong_suggestion_are_read_again(
    gold_turns: list[Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = EmbeddedModel()
    families = [verdict.family for verdict in model.classify(gold_turns[:4])]
    wrong = next(family for family in FAMILIES if family not in families)
    read: list[int] = []
    one_pass = model._pass

    def counted(ids: np.ndarray[tuple[int, int], np.dtype[np.int64]], *rest: object) -> object:
        read.append(len(ids))
        return one_pass(ids, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "_pass", counted)
    suggest(monkeypatch, [families[0], wrong, families[2], wrong])
    model.classify(gold_turns[:4])
    assert read == [4, 2]


def test_most_turns_need_one_pass(gold_turns: list[Turn]) -> None:
    model = EmbeddedModel()
    before = model.passes
    for turn in gold_turns[:200]:
        model.classify([turn])
    assert model.passes - before < 1.15 * len(gold_turns[:200])

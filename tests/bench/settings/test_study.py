"""The study itself, with vLLM: two servers, two turns, one setting that only the requests differ in."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from emotion_svc.bench.settings.figures import Study
from tests.engines.marks import NEEDS_VLLM
from tests.paths import ROOT

pytestmark = [*NEEDS_VLLM]


def call(*arguments: str, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emotion_svc.bench.settings", "--out", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_both_anchors_answer_and_one_setting_is_compared_from_each(tmp_path: Path) -> None:
    done = call("--only", "temperature", "--turns", "2", "--load-turns", "2", "--clients", "2", out=tmp_path)
    assert done.returncode == 0, done.stderr
    study = Study.model_validate_json((tmp_path / "settings.json").read_text())
    assert [anchor.name for anchor in study.anchors] == ["plain", "tuned"]
    assert {(o.anchor, o.setting, o.refused) for o in study.outcomes} == {
        ("plain", "temperature", None),
        ("tuned", "temperature", None),
    }
    _, short = study.anchors
    assert (short.figures.valid, short.figures.tokens) == (1.0, 3)
    assert json.loads(done.stdout.splitlines()[-1]) == study.summary
    assert (tmp_path / "settings.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--only", "magic"], "no such setting: magic; there are: max-model-len"),
        (["--turns", "5000"], "expected 5052 gold turns, found"),
    ],
)
def test_a_wrong_call_is_explained_before_anything_starts(arguments: list[str], reason: str, tmp_path: Path) -> None:
    done = call(*arguments, out=tmp_path)
    assert done.returncode != 0
    assert reason in " ".join(done.stderr.replace("│", "").split())
    assert not list(tmp_path.glob("*.log"))

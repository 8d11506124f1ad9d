"""The remote engine against a service of ours, over a socket: what goes out by our wires comes back as it was."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from emotion_svc.config import Settings
from emotion_svc.engines.base import check_canary
from emotion_svc.engines.embedded import EmbeddedEngine, EmbeddedModel
from emotion_svc.engines.factory import create_remote
from emotion_svc.engines.remote import RemoteEngine
from emotion_svc.schema import ALL_ANSWERS, Turn
from emotion_svc.serving.wires import EXAMPLE_TURN
from emotion_svc.taxonomy import LABELS_OF
from tests import hostile
from tests.paths import EVAL_DATA
from tests.serving.conftest import listening
from tests.serving.process import Process

KEYS = {"GROQ_API_KEY": "none", "DEEPSEEK_API_KEY": "none", "OPENAI_API_KEY": "none"}


@pytest.fixture(scope="module")
def served() -> Iterator[httpx.Client]:
    # A line of a chat counts with the space around it, so the longest field needs a little more.
    with listening(EmbeddedEngine(), Settings(max_field_chars=4_100, deadline_ms=60_000)) as client:
        yield client


@pytest.fixture(params=["groq", "openai-decisions"])
async def remote(request: pytest.FixtureRequest, served: httpx.Client) -> AsyncIterator[RemoteEngine]:
    engine = create_remote(request.param, model="pika-tiny", base_url=f"{served.base_url}/v1", environment=KEYS)
    await engine.start()
    yield engine
    await engine.close()


async def test_the_answers_are_those_of_the_engine_behind_it(remote: RemoteEngine, gold_turns: list[Turn]) -> None:
    turns = [*gold_turns[::8], *hostile.TURNS]
    there, here = await remote.classify(turns), EmbeddedModel().classify(turns)
    assert [verdict.answer for verdict in there] == [verdict.answer for verdict in here]
    for verdict in there:
        assert verdict.usage is not None
        assert verdict.usage.prompt_tokens > 0
        assert verdict.timings.infer_ms > 0


async def test_it_passes_the_canary(remote: RemoteEngine) -> None:
    assert (await check_canary(remote)).answer.model_dump_json() in ALL_ANSWERS


async def test_decisions_bring_the_probabilities_of_the_engine_behind_it(
    served: httpx.Client, gold_turns: list[Turn]
) -> None:
    remote = create_remote("openai-decisions", model="pika-tiny", base_url=f"{served.base_url}/v1", environment=KEYS)
    await remote.start()
    turns = gold_turns[:40]
    for there, here in zip(await remote.classify(turns), EmbeddedModel().classify(turns), strict=True):
        assert there.family_confidence == pytest.approx(here.family_confidence, abs=0.01)
        assert there.learn_score_probability == pytest.approx(here.learn_score_probability, abs=0.01)
        for labels in LABELS_OF.values():
            assert sum(there.emotion_posterior[label] for label in labels) == pytest.approx(
                sum(here.emotion_posterior[label] for label in labels), abs=0.01
            )
    await remote.close()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "emotion_svc", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


HOST = {"EMOTION_SVC_PRESET": "openai-decisions", "EMOTION_SVC_MODEL": "pika-tiny", "OPENAI_API_KEY": "none"}
TURN = ["--previous-question", "Con mèo tiếng Anh là gì?", "--previous-answer", "cat", "--response", "Chính xác!"]


def test_the_command_line_asks_a_host(served: httpx.Client) -> None:
    done = run("classify", "--engine", "remote", "--base-url", f"{served.base_url}/v1", *TURN, "--detail", **HOST)
    assert (done.returncode, done.stderr) == (0, "")
    verdict = json.loads(done.stdout)
    assert (verdict["engine"], verdict["family"]) == ("remote", "thats_right")
    assert verdict["usage"]["prompt_tokens"] > 0


def test_a_host_that_is_away_ends_the_command_with_one_line() -> None:
    done = run("classify", "--engine", "remote", "--base-url", "http://127.0.0.1:1/v1", *TURN, **HOST)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("emotion-svc: no connection to the host of preset 'openai-decisions'")


def test_a_host_is_served(served: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOST.items():
        monkeypatch.setenv(name, value)
    process = Process("--engine", "remote", "--base-url", f"{served.base_url}/v1")
    there = httpx.post(f"{process.url}/v1/classify", json=EXAMPLE_TURN)
    ready = httpx.get(f"{process.url}/readyz").json()
    log = process.stop()
    assert process.popen.returncode == 0
    assert (ready["engine"], ready["model"]) == ("remote", "pika-tiny")
    assert there.text == served.post("/v1/classify", json=EXAMPLE_TURN).text
    uncapped = "the host's calls cost money, and nothing caps them; a tiers file can (docs/tiers.md)"
    assert [json.loads(line)["event"] for line in log.splitlines()] == [uncapped, "request", "request"]


def test_a_host_is_scored_on_gold_turns(served: httpx.Client, tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text("".join((EVAL_DATA / "dev.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:60]))
    out = tmp_path / "report.json"
    where = ["--preset", "openai-decisions", "--model", "pika-tiny", "--base-url", f"{served.base_url}/v1"]
    done = run("eval", str(gold), "--engine", "remote", *where, "--json", str(out), OPENAI_API_KEY="none")
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert (report["engine"], report["model"], report["turns"]) == ("remote", "pika-tiny", 60)
    assert report["emotion_accuracy"][0] > 0.8

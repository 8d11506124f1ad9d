"""The pieces that every turn goes through. Run once as tests; measured by `make bench`."""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import pytest

from emotion_svc.bench.seats import environment
from emotion_svc.decoding.choice import choose_label, make_verdict
from emotion_svc.decoding.posterior import Posteriors, softmax
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.schema import ALL_ANSWERS, Turn
from emotion_svc.taxonomy import LABELS
from tests.benchmarks.conftest import Measure

CPU_TIME: Final = pytest.mark.benchmark(timer=time.process_time)
"""What runs in one thread of this process is timed by its CPU time: what else the machine does hardly counts then."""


@CPU_TIME
def test_tokenize(measure: Measure, model: EmbeddedModel, turns: list[Turn]) -> None:
    def tokenize(some: list[Turn]) -> int:
        return sum(len(model.tokens.encode(turn).ids) for turn in some)

    assert measure(tokenize, [turns[place : place + 20] for place in range(0, 560, 20)]) > 20


@CPU_TIME
def test_index_walk(measure: Measure, model: EmbeddedModel) -> None:
    answers = [model.tokens.tokenizer.encode(text, add_special_tokens=False).ids for text in ALL_ANSWERS]

    def walk(times: int) -> bool:
        return all(model.index.accepts(ids) for _ in range(times) for ids in answers)

    assert measure(walk, [20] * 40)


@CPU_TIME
def test_posterior(measure: Measure, turns: list[Turn]) -> None:
    logits = np.random.default_rng(0).standard_normal((20, len(LABELS) + 2)).astype(np.float32)

    def read(some: list[Turn]) -> int:
        emotion, learn_score = softmax(logits[:, : len(LABELS)], 0.8), softmax(logits[:, len(LABELS) :])
        verdicts = [
            make_verdict(choose_label(turn, posteriors), posteriors, engine="embedded", model_digest="0" * 16)
            for turn, posteriors in zip(some, map(Posteriors, emotion, learn_score[:, 1].tolist()), strict=True)
        ]
        return len(verdicts)

    assert measure(read, [turns[place : place + 20] for place in range(0, 560, 20)]) == 20


@CPU_TIME
def test_embedded_p50(measure: Measure, model: EmbeddedModel, turns: list[Turn]) -> None:
    assert measure(lambda turn: model.classify([turn])[0].answer.model_dump_json(), turns[:300]) in ALL_ANSWERS


@pytest.fixture(scope="module")
def connection() -> Iterator[http.client.HTTPConnection]:
    """To the service, in a process of its own, which computes every turn."""
    command = [sys.executable, "-m", "emotion_svc", "serve", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as server:
        assert server.stdout is not None
        url = urlsplit(server.stdout.readline().split()[-1])
        opened = http.client.HTTPConnection(url.hostname or "", url.port)
        yield opened
        opened.close()
        server.terminate()


def test_http_round_trip(measure: Measure, connection: http.client.HTTPConnection, turns: list[Turn]) -> None:
    received: list[tuple[int, str]] = []

    def ask(body: bytes) -> None:
        connection.request("POST", "/v1/classify", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        received.append((answer.status, answer.read().decode()))

    measure(ask, [turn.model_dump_json().encode() for turn in turns[:300]])
    assert len(received) > 0
    assert all(status == 200 and text in ALL_ANSWERS for status, text in received)

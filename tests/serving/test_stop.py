"""A stop loses nothing: readiness goes off first, what is sent meanwhile is answered, and the exit status is 0."""

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from emotion_svc.serving.wires import EXAMPLE_TURN
from tests.serving.load import load
from tests.serving.process import WAIT_S, Process, await_end

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


def await_metric(url: str, line: str) -> None:
    """Returns when the metrics have this line."""
    with httpx.Client(base_url=url, timeout=WAIT_S) as client:
        assert any(f"\n{line}\n" in client.get("/metrics").text for _ in range(5000)), line


def is_ready(url: str) -> bool:
    """What a load balancer asks."""
    return httpx.get(f"{url}/readyz", timeout=WAIT_S).status_code == 200


@WORKERS
def test_under_load_nothing_is_lost_for_who_looks_at_readiness(start: Callable[..., Process], workers: str) -> None:
    process = start("--workers", workers, stop_grace_s="3")
    with load(process.url) as running:
        running.await_answers(100)
        process.popen.send_signal(signal.SIGTERM)
        while is_ready(process.url):
            pass
        running.await_answers(20)  # a balancer needs a while to hear of it
    late = [httpx.post(f"{process.url}/v1/classify", json=EXAMPLE_TURN, timeout=WAIT_S) for _ in range(20)]
    process.end()
    assert {answer.status_code for answer in late} == {200}
    assert {answer.headers["connection"] for answer in late} == {"close"}
    assert running.outcomes.failures == []
    assert set(running.outcomes.answered) == {200}
    assert process.popen.returncode == 0


@WORKERS
def test_what_is_in_work_when_the_doors_close_is_answered(start: Callable[..., Process], workers: str) -> None:
    process = start("--workers", workers, stop_grace_s="0")
    batch = {"turns": [EXAMPLE_TURN | {"previous_answer": str(number)} for number in range(256)]}
    with ThreadPoolExecutor(1) as threads:
        await_metric(process.url, "emotion_svc_turns_in_flight 0.0")
        answer = threads.submit(httpx.post, f"{process.url}/v1/classify/batch", json=batch, timeout=WAIT_S)
        await_metric(process.url, "emotion_svc_turns_in_flight 256.0")
        process.stop()
        assert len(answer.result().json()["answers"]) == 256
    assert process.popen.returncode == 0


def test_readiness_is_off_and_the_process_is_alive_in_the_grace(start: Callable[..., Process]) -> None:
    process = start(stop_grace_s="5")
    process.popen.send_signal(signal.SIGTERM)
    while is_ready(process.url):
        pass
    assert httpx.get(f"{process.url}/healthz").status_code == 200
    assert httpx.get(f"{process.url}/readyz").json()["error"]["message"].startswith("the process is about to stop")
    assert "\nemotion_svc_ready 0.0\n" in httpx.get(f"{process.url}/metrics").text
    process.stop(signal.SIGINT)  # whoever is at the keyboard does not wait
    assert process.popen.returncode == 0


def test_being_told_twice_does_not_cut_the_grace_short(start: Callable[..., Process]) -> None:
    """A service manager tells every process of a group, and the first of them tells the others once more."""
    process = start("--workers", "2", stop_grace_s="2")
    with load(process.url) as running:
        running.await_answers(20)
        for pid in (*process.workers, process.popen.pid):
            os.kill(pid, signal.SIGTERM)
        while is_ready(process.url):
            pass
    process.end()
    assert running.outcomes.failures == []
    assert process.popen.returncode == 0


def test_workers_do_not_outlive_a_parent_that_was_killed(start: Callable[..., Process]) -> None:
    process = start("--workers", "2", stop_grace_s="0")
    await_metric(process.url, "emotion_svc_ready 2.0")
    workers = process.workers
    log = process.stop(signal.SIGKILL)
    for pid in workers:
        await_end(pid)
    assert {json.loads(line)["event"] for line in log.splitlines()} == {"request"}
    with pytest.raises(httpx.ConnectError):
        is_ready(process.url)

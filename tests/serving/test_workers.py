"""Several workers: one that dies is replaced and takes only its own requests along; `/metrics` is that of all."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
from prometheus_client import Gauge
from prometheus_client.parser import text_string_to_metric_families

from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.wires import EXAMPLE_TURN
from tests.serving.load import load
from tests.serving.process import WAIT_S, Process
from tests.serving.test_stop import await_metric


def scrape(url: str) -> dict[str, float]:
    """Every sample, as its name and labels are written."""
    text = httpx.get(f"{url}/metrics", timeout=WAIT_S).text
    samples = re.findall(r"^(?!#)(\S+|\S+\{.*\}) (\S+)$", text, re.MULTILINE)
    assert len(dict(samples)) == len(samples), "a series is there twice"
    return {name: float(value) for name, value in samples}


def test_a_worker_that_is_killed_takes_only_its_own_requests_along_and_is_replaced(
    start: Callable[..., Process],
) -> None:
    process = start("--workers", "2")
    await_metric(process.url, "emotion_svc_ready 2.0")
    before = process.workers
    with load(process.url, callers=6) as running:
        running.await_answers(100)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        running.await_answers(100)  # the other goes on
        await_metric(process.url, "emotion_svc_ready 2.0")
        await_metric(process.url, "emotion_svc_worker_starts_total 3.0")
        running.await_answers(100)
    outcomes = running.outcomes
    assert set(outcomes.answered) == {200}
    assert all(len(errors) <= 1 for errors in outcomes.failed.values()), "a caller was failed twice"

    after = process.workers
    assert len(after) == 2
    assert before - after == {victim}

    counted = scrape(process.url)['emotion_svc_requests_total{status="200",wire="/v1/classify"}']
    answered = len(outcomes.answered)
    assert answered <= counted <= answered + len(outcomes.failures)

    [line] = [line for line in map(json.loads, process.stop().splitlines()) if line["event"] != "request"]
    assert line["event"] == "a worker has ended and is replaced"
    assert (line["pid"], line["exit_code"]) == (victim, -signal.SIGKILL)
    assert process.popen.returncode == 0


def test_metrics_are_those_of_all_workers_whichever_answers(start: Callable[..., Process]) -> None:
    process = start("--workers", "2")
    await_metric(process.url, "emotion_svc_ready 2.0")
    for _ in range(30):
        assert httpx.post(f"{process.url}/v1/classify", json=EXAMPLE_TURN, timeout=WAIT_S).status_code == 200
    for _ in range(10):
        samples = scrape(process.url)
        assert samples['emotion_svc_requests_total{status="200",wire="/v1/classify"}'] == 30
        assert samples['emotion_svc_request_seconds_count{wire="/v1/classify"}'] == 30
        assert samples['emotion_svc_request_seconds_bucket{le="+Inf",wire="/v1/classify"}'] == 30
        assert samples["emotion_svc_turns_in_flight"] == 0
        assert len([name for name in samples if name.startswith("emotion_svc_model_info")]) == 1
        assert {samples[f'emotion_svc_worker_pid{{pid="{place}"}}'] for place in (0, 1)} == process.workers
        for place in (0, 1):
            assert samples[f'process_resident_memory_bytes{{pid="{place}"}}'] > 10_000_000
            assert samples[f'process_start_time_seconds{{pid="{place}"}}'] > 1_700_000_000


def test_one_worker_and_several_have_the_same_metrics(start: Callable[..., Process]) -> None:
    families = []
    for workers in ("1", "2"):
        process = start("--workers", workers)
        await_metric(process.url, f"emotion_svc_ready {workers}.0")
        httpx.post(f"{process.url}/v1/classify", json=EXAMPLE_TURN, timeout=WAIT_S)
        httpx.post(f"{process.url}/v1/classify", json={}, timeout=WAIT_S)
        text = httpx.get(f"{process.url}/metrics", timeout=WAIT_S).text
        families.append({(f.name, f.type, f.documentation) for f in text_string_to_metric_families(text) if f.samples})
    alone, several = families
    # When a counter began is told of one process, and cannot be of several.
    assert {family for family in alone if not family[0].endswith("_created")} == several


def test_every_gauge_says_how_those_of_several_workers_are_put_together() -> None:
    gauges = [metric for metric in vars(Metrics()).values() if isinstance(metric, Gauge)]
    assert gauges
    assert all(gauge._multiprocess_mode.startswith("live") for gauge in gauges)


HANGING = """
from emotion_svc.config import Settings
from emotion_svc.serving.logs import configure_logging
from emotion_svc.serving.run import make_server
from emotion_svc.serving.server import bind
from emotion_svc.serving.workers import Supervisor

if __name__ == "__main__":
    configure_logging("info")
    with bind("127.0.0.1", 0) as sock:
        supervisor = Supervisor(Settings(workers=1, stop_grace_s=0), sock, make_server, hung_s=3)
        supervisor.run(lambda url: print(url, flush=True))
"""


def test_a_worker_that_hangs_is_killed_and_replaced() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        await_metric(url, "emotion_svc_ready 1.0")
        hung = int(scrape(url)['emotion_svc_worker_pid{pid="0"}'])
        os.kill(hung, signal.SIGSTOP)
        assert httpx.post(f"{url}/v1/classify", json=EXAMPLE_TURN, timeout=WAIT_S).status_code == 200
        assert scrape(url)['emotion_svc_worker_pid{pid="0"}'] != hung
        process.terminate()
        log = process.communicate(timeout=WAIT_S)[1]
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert [event for event in events if event != "request"] == [
        "a worker hangs and is killed",
        "a worker has ended and is replaced",
    ]
    assert process.returncode == 0


NEVER_LISTENING = """
from emotion_svc.config import Settings
from emotion_svc.serving.logs import configure_logging
from emotion_svc.serving.server import bind
from emotion_svc.serving.workers import Supervisor
from tests.serving.hanging import hang_once

if __name__ == "__main__":
    configure_logging("info")
    with bind("127.0.0.1", 0) as sock:
        supervisor = Supervisor(Settings(workers=1, stop_grace_s=0), sock, hang_once, start_s=10)
        supervisor.run(lambda url: print(url, flush=True))
"""


def test_a_worker_that_hangs_before_it_listens_is_killed_and_replaced(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", NEVER_LISTENING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HAS_HUNG": str(tmp_path / "has_hung")},
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.post(f"{url}/v1/classify", json=EXAMPLE_TURN, timeout=WAIT_S).status_code == 200
        process.terminate()
        log = process.communicate(timeout=WAIT_S)[1]
    events = [json.loads(line)["event"] for line in log.splitlines()]
    # On a busy machine the replacement may itself take longer than it may.
    assert events[:2] == ["a worker hangs and is killed", "a worker has ended and is replaced"]
    assert process.returncode == 0

"""The process: what it prints, how it refuses to start, how it stops, and several workers."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from emotion_svc.errors import SetupError
from emotion_svc.schema import ALL_ANSWERS
from emotion_svc.serving.server import bind, url_of
from emotion_svc.serving.wires import EXAMPLE_TURN
from tests.serving.process import WAIT_S, Process


def test_the_greeting_shows_the_url_the_docs_and_a_call_that_works(start: Callable[..., Process]) -> None:
    process = start()
    assert process.greeting[0] == f"Serving  {process.url}"
    assert process.greeting[1] == f"Docs     {process.url}/docs"
    assert httpx.get(f"{process.url}/docs").status_code == 200
    label, command, *arguments = shlex.split(process.greeting[2])
    assert (label, command, arguments[:2]) == ("Try", "curl", ["-s", f"{process.url}/v1/classify"])
    body = arguments[arguments.index("-d") + 1]
    assert json.loads(body) == EXAMPLE_TURN
    assert httpx.post(arguments[1], content=body).text in ALL_ANSWERS


def test_the_call_of_the_greeting_has_a_place_for_the_key(start: Callable[..., Process]) -> None:
    assert "-H 'authorization: Bearer KEY'" in start(keys=f"robot:{'0' * 64}").greeting[2]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_was_asked_for_is_no_failure(start: Callable[..., Process], how: signal.Signals) -> None:
    process = start()
    with httpx.Client(base_url=process.url) as client:
        client.get("/healthz")  # its connection stays open, and does not hold up the stop
        log = process.stop(how)
    assert process.popen.returncode == 0
    assert [json.loads(line)["event"] for line in log.splitlines()] == ["request"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "emotion_svc", "serve", "--port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_does_not_exist_ends_the_start_with_one_line(workers: str) -> None:
    done = run("--model", "/nowhere", "--workers", workers)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("emotion-svc: model directory '/nowhere' does not exist; give a directory with")


def test_a_damaged_model_ends_the_start_with_one_line(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "emotion_svc" / "model"
    for file in shipped.iterdir():
        if file.name != "calibration.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.int8.onnx").write_bytes((shipped / "model.int8.onnx").read_bytes()[:10_000])
    done = run("--model", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert f"cannot load '{tmp_path}/model.int8.onnx'" in line


def test_a_taken_port_ends_the_start_with_one_line() -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--port", str(port))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"emotion-svc: cannot listen on 127.0.0.1:{port}: Address already in use; choose another")


def test_a_wrong_setting_ends_the_start_with_one_line() -> None:
    done = run(EMOTION_SVC_MAX_BATCH="many")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "setting 'max_batch' (EMOTION_SVC_MAX_BATCH)" in line


def test_several_workers_share_the_port_and_stop_together(start: Callable[..., Process]) -> None:
    process = start("--workers", "2")
    with ThreadPoolExecutor(8) as threads:
        replies = list(
            threads.map(
                lambda _: httpx.post(f"{process.url}/v1/classify", json=EXAMPLE_TURN, timeout=WAIT_S), range(32)
            )
        )
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.text for reply in replies}) == 1
    workers = process.workers
    assert len(workers) == 2
    process.stop()
    assert process.popen.returncode == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")])
def test_the_url_is_one_that_can_be_called(host: str, url: str) -> None:
    with bind(host, 0) as sock:
        assert url_of(sock) == f"http://{url}:{sock.getsockname()[1]}"


def test_an_unknown_host_is_refused() -> None:
    with pytest.raises(SetupError, match=r"cannot listen on no\.such\.host\.invalid:0: "):
        bind("no.such.host.invalid", 0)


def test_a_start_that_others_could_reach_without_a_key_is_refused_with_one_line() -> None:
    done = run("--host", "0.0.0.0")
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("emotion-svc: others than this machine can connect to 0.0.0.0, and there are no keys: make")


@pytest.mark.parametrize(("level", "events"), [("debug", ["begun", "request"]), ("info", ["request"]), ("warning", [])])
def test_how_much_is_logged_is_a_setting(start: Callable[..., Process], level: str, events: list[str]) -> None:
    process = start(log_level=level)
    httpx.get(f"{process.url}/healthz")
    assert [json.loads(line)["event"] for line in process.stop().splitlines()] == events

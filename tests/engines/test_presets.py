"""Presets, addresses and keys of hosts: what can be used, and what is refused with a reason."""

import subprocess
import sys
from pathlib import Path

import pytest

from emotion_svc.config import Settings
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.engines.factory import create_engine, create_remote, running
from emotion_svc.engines.presets import PresetError, find_preset, preset_names
from emotion_svc.errors import PromptError
from emotion_svc.prompt import prompts_dir
from tests.engines.remote_host import KEY
from tests.upstream import Upstream


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_can_be_used_as_it_is_or_asks_for_a_model(name: str) -> None:
    assert find_preset(name, model="m").model == "m"
    assert find_preset(name, model="m", base_url="https://relay.example/v1").base_url == "https://relay.example/v1"


def test_a_host_of_ones_own_must_be_told_the_model() -> None:
    with pytest.raises(PresetError, match="preset 'vllm' names no model"):
        find_preset("vllm")


def test_an_unknown_preset_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(PresetError, match="no such preset: 'grok'; there are: vllm, llama-cpp, groq"):
        find_preset("grok")


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://host/v1", "http:///v1", "https://me:secret@host/v1", "https://host/v1?key=secret"],
)
def test_an_address_that_cannot_be_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(PresetError, match="preset 'groq': base_url: expected a URL") as raised:
        find_preset("groq", base_url=url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("environment", [{}, {"GROQ_API_KEY": " "}, {"OPENAI_API_KEY": KEY}])
def test_a_missing_key_is_named_by_its_variable(environment: dict[str, str]) -> None:
    with pytest.raises(PresetError, match="put it into the environment variable GROQ_API_KEY"):
        create_remote("groq", environment=environment)


def test_an_engine_whose_package_is_missing_says_how_to_get_it() -> None:
    hidden = "import sys; sys.modules['openai'] = None; from emotion_svc.cli import main; main()"
    turn = ["--previous-question", "", "--previous-answer", "", "--response", "x"]
    done = subprocess.run(
        [sys.executable, "-c", hidden, "classify", *turn, "--engine", "remote", "--preset", "vllm", "--model", "m"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "the package 'openai', which is not installed; install the extra '" in line


def test_the_digest_stands_for_host_model_and_prompt() -> None:
    def digest(**given: str) -> str:
        return create_remote("vllm", **({"model": "m"} | given), environment={}).model_digest  # type: ignore[arg-type]

    assert len({digest(), digest(model="n"), digest(base_url="http://127.0.0.1:1/v1")}) == 3
    assert digest() == digest()


@pytest.fixture
def own_prompts(tmp_path: Path) -> Path:
    """A folder with a prompt of one's own."""
    own = (prompts_dir() / "instruct.toml").read_text(encoding="utf-8").replace("Pika, a robot,", "Bi, a bear,")
    (tmp_path / "instruct.toml").write_text(own, encoding="utf-8")
    return tmp_path


async def test_a_host_is_asked_with_the_prompt_of_ones_own_folder(own_prompts: Path, upstream: Upstream) -> None:
    settings = Settings(engine="remote", preset="vllm", model="m", base_url=upstream.url, prompts=own_prompts)
    async with running(create_engine(settings)):
        pass
    assert "Bi, a bear, teaches" in upstream.requests[0].fields["messages"][0]["content"]


def test_a_folder_without_that_prompt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"instruct\.toml' cannot be read"):
        create_engine(Settings(engine="remote", preset="vllm", model="m", prompts=tmp_path))
    with pytest.raises(PromptError, match="no prompt in"):
        EmbeddedModel(prompts=tmp_path)

"""The tuned options, without vLLM: what they are on which machine, and how they are written for a shell."""

import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.engines.vllm_options import as_words, serve_line, tuned

OPTIONS = {"max_num_seqs": 64, "enforce_eager": True}


def on(*, cpu: bool, dtype: str = "float16", window: int = 512, widest: int = 23) -> dict[str, Any]:
    return tuned(dtype=dtype, window=window, widest=widest, on_cpu=cpu)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"enforce_eager": True}, ["--enforce-eager"]),
        ({"max_model_len": 512}, ["--max-model-len", "512"]),
        ({"dtype": "float32"}, ["--dtype", "float32"]),
        (
            {"structured_outputs_config": {"backend": "outlines"}},
            ["--structured-outputs-config", '{"backend": "outlines"}'],
        ),
    ],
)
def test_an_option_is_written_as_vllm_reads_it(options: dict[str, object], words: list[str]) -> None:
    assert as_words(options) == words


def test_a_gpu_gets_nothing_that_is_for_a_cpu() -> None:
    cpu, gpu = on(cpu=True), on(cpu=False)
    assert {"enforce_eager", "block_size", "kv_cache_memory_bytes", "dtype"} == set(cpu) - set(gpu)


@pytest.mark.parametrize(("dtype", "given"), [("float16", "float32"), ("bfloat16", None), ("float32", None)])
def test_a_cpu_computes_float16_in_float32_and_keeps_the_others(dtype: str, given: str | None) -> None:
    assert on(cpu=True, dtype=dtype).get("dtype") == given


def test_every_token_that_may_come_next_gets_a_log_probability_and_never_fewer_than_vllm_gives() -> None:
    assert on(cpu=True, widest=46)["max_logprobs"] == 46
    assert on(cpu=True, widest=3)["max_logprobs"] == 20


def test_the_line_starts_vllm_serve() -> None:
    assert serve_line("some/model", OPTIONS, []) == "vllm serve some/model --max-num-seqs 64 --enforce-eager"


@pytest.mark.parametrize("more", [["--max-num-seqs", "8"], ["--max-num-seqs=8"], ["--max_num_seqs", "8"]])
def test_an_option_that_is_given_takes_the_place_of_ours(more: list[str]) -> None:
    line = serve_line("m", OPTIONS, more)
    assert "64" not in line
    assert line.endswith(f"--enforce-eager {' '.join(more)}")


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1), st.dictionaries(st.text("ab"), st.text()))
def test_a_shell_reads_back_what_was_written(model: str, value: dict[str, str]) -> None:
    words = shlex.split(serve_line(model, {"speculative_config": value}, ["--port", "1"]))
    assert words[:4] == ["vllm", "serve", model, "--speculative-config"]
    assert json.loads(words[4]) == value
    assert words[5:] == ["--port", "1"]

"""`emotion-svc vllm-args`, held against the parser of the vLLM that is installed."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emotion_svc.engines import vllm_serve
from emotion_svc.engines.vllm import runs_on_cpu
from emotion_svc.engines.vllm_options import tuned
from emotion_svc.engines.vllm_serve import serve_command
from emotion_svc.errors import ModelError, SetupError
from emotion_svc.modeldir import SHIPPED
from tests.engines.marks import NEEDS_VLLM

pytestmark = [*NEEDS_VLLM]

MODEL = str(SHIPPED)
DRAFT = '{"method": "ngram", "num_speculative_tokens": 3}'


def parsed(line: str) -> Any:
    """The line as `vllm serve` itself would read it."""
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    words = shlex.split(line)
    parser = FlexibleArgumentParser()
    ServeSubcommand().subparser_init(parser.add_subparsers())
    start = words.index("vllm")
    assert all("=" in word for word in words[:start])
    return parser.parse_args(words[start + 1 :])


def test_vllms_own_parser_takes_the_line_and_reads_what_was_meant() -> None:
    args = parsed(serve_command(MODEL).line)
    assert (args.model_tag, args.max_model_len, args.max_num_seqs) == (MODEL, 512, 64)
    assert (args.enable_prefix_caching, args.logprobs_mode) == (True, "processed_logprobs")
    assert args.structured_outputs_config.backend == "outlines"


def test_the_line_has_every_option_that_the_engine_runs_with() -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    options = tuned(dtype="float16", window=512, widest=23, on_cpu=runs_on_cpu())
    in_process = AsyncEngineArgs(model=MODEL, **options).create_engine_config()
    served = AsyncEngineArgs.from_cli_args(parsed(serve_command(MODEL).line))
    served.model = MODEL
    config = served.create_engine_config()
    for part in ("max_model_len", "dtype", "enforce_eager", "logprobs_mode", "max_logprobs"):
        assert getattr(config.model_config, part) == getattr(in_process.model_config, part), part
    assert config.scheduler_config.max_num_seqs == in_process.scheduler_config.max_num_seqs
    assert config.cache_config.block_size == in_process.cache_config.block_size


def test_speculative_decoding_and_parallel_sizes_are_passed_through() -> None:
    more = ["--speculative-config", DRAFT, "--tensor-parallel-size", "2", "--data-parallel-size", "3"]
    args = parsed(serve_command(MODEL, more).line)
    assert (args.tensor_parallel_size, args.data_parallel_size) == (2, 3)
    assert args.speculative_config == json.loads(DRAFT)


@pytest.mark.parametrize("more", [["--disable-log-requests"], ["--max-num-seqs", "many"], ["--guided-decoding", "x"]])
def test_what_the_installed_vllm_does_not_take_is_refused(more: list[str]) -> None:
    with pytest.raises(SetupError, match=f"the installed vLLM does not take {shlex.join(more)}: .*error"):
        serve_command(MODEL, more)


def test_an_option_of_ours_that_vllm_has_no_longer_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"disable_log_requests": True, "swap_space": 4, "max_num_seqs": 64}
    monkeypatch.setattr(vllm_serve, "tuned", lambda **_: options)
    command = serve_command(MODEL)
    assert command.line == f"vllm serve {MODEL} --max-num-seqs 64"
    assert command.notes[:2] == [
        f"the installed vLLM has no {name}; left out" for name in ("--disable-log-requests", "--swap-space")
    ]


def test_a_model_needs_no_weights(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    assert parsed(serve_command(str(tmp_path)).line).max_model_len == 512


def test_a_model_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ModelError, match="does not exist"):
        serve_command("/nowhere")


def test_stdout_has_the_line_alone() -> None:
    command = [sys.executable, "-m", "emotion_svc", "vllm-args", MODEL, "--tensor-parallel-size", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [line] = done.stdout.splitlines()
    assert line.endswith("--tensor-parallel-size 2")
    assert parsed(line).model_tag == MODEL

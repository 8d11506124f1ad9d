"""How a command of ours ends where what went wrong was to be expected."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from emotion_svc.errors import ServiceError


@contextmanager
def told_in_one_line(command: str = "emotion-svc") -> Iterator[None]:
    """Ends the command with one line on stderr and status 1 on a `ServiceError`, not with a traceback."""
    try:
        yield
    except ServiceError as error:
        print(f"{command}: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(1) from None

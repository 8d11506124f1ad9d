"""Files that people write: what is wrong with one is told in one line, with its name and the place in it."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from emotion_svc.errors import SetupError

Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path, what: str, problem: type[SetupError], advice: str = "") -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        path: the file.
        what: what it is, for the message.
        problem: the error to raise.
        advice: what to do where it cannot be read.

    Raises:
        SetupError: `problem`: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        rest = f"; {advice}" if advice else ""
        raise problem(f"{what} '{path}' cannot be read: {error.strerror}{rest}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise problem(f"{what} '{path}' is no valid TOML: {error}") from error


def read_settings(path: Path, kind: type[Model], what: str, problem: type[SetupError], advice: str = "") -> Model:
    """The content of a TOML file as `kind`. Arguments and errors as `read_toml`; a key may be wrong, too."""
    content = read_toml(path, what, problem, advice)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise problem(f"{what} '{path}': {first_fault(error)}") from error


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong, behind the names that lead to it, without the value that was found."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]

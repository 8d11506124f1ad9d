"""Gold and training files: JSON Lines, read through the schema and checked line by line."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from emotion_svc.errors import SetupError
from emotion_svc.schema import Example, ResponseExample

Row = TypeVar("Row", bound=BaseModel)


class DataError(SetupError):
    """A data file is missing or a line of it is wrong; the message names file and line."""

    kind = "data"


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """All lines of one file as `kind`.

    Raises:
        DataError: the file is missing, or a line is no JSON or does not fit `kind`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"'{path}' does not exist") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(kind.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise DataError(f"{path}:{number}: {where}: {first['msg']}") from error
    return rows


def read_examples(paths: Iterable[Path]) -> list[Example]:
    """Whole turns from several files, in order.

    Raises:
        DataError: as `read_rows`, or an id occurs twice.
    """
    examples: list[Example] = []
    seen: dict[str, Path] = {}
    for path in paths:
        for example in read_rows(path, Example):
            if example.id in seen:
                raise DataError(f"{path}: id '{example.id}' is also in {seen[example.id]}")
            seen[example.id] = path
            examples.append(example)
    return examples


def read_responses(paths: Iterable[Path]) -> list[ResponseExample]:
    """Single responses from several files, in order."""
    return [row for path in paths for row in read_rows(path, ResponseExample)]

"""Gold and training files: JSON Lines, read through the schema and checked line by line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from emotion_svc.errors import SetupError
from emotion_svc.files import first_fault
from emotion_svc.schema import Example, ResponseExample

Row = TypeVar("Row", bound=BaseModel)


class DataError(SetupError):
    """A data file cannot be read, or a line of it is wrong; the message names file and line."""

    kind = "data"


class Numbered(NamedTuple, Generic[Row]):
    """A line of a file: its number, from 1, and what it holds."""

    number: int
    row: Row


def read_numbered(path: Path, kind: type[Row]) -> list[Numbered[Row]]:
    """All lines of one file as `kind`, with their numbers. Empty lines are passed over.

    Raises:
        DataError: the file is missing or cannot be read, or a line is no JSON or does not fit `kind`.
    """
    rows = []
    # A line ends with \n alone: JSON may hold U+2028, U+2029 and U+0085, at which `splitlines` would cut.
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(Numbered(number, kind.model_validate_json(line)))
        except ValidationError as error:
            raise DataError(f"{path}:{number}: {first_fault(error)}") from error
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"'{path}' does not exist") from error
    except IsADirectoryError as error:
        raise DataError(f"'{path}' is a directory; give the files in it (*.jsonl)") from error
    except OSError as error:
        raise DataError(f"'{path}' cannot be read ({error.strerror}); check its rights") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: is not in UTF-8; save the file as UTF-8") from error


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """All lines of one file as `kind`.

    Raises:
        DataError: as `read_numbered`.
    """
    return [line.row for line in read_numbered(path, kind)]


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

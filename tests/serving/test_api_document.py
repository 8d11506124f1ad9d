"""docs/api.md names every failure that a caller can be told of, with the status and advice that it really has."""

import re
from collections.abc import Iterator

from emotion_svc.errors import ServiceError, SetupError
from emotion_svc.serving.openai_errors import Refused, UnknownModel
from emotion_svc.serving.problems import HTTP_PROBLEMS, INTERNAL
from tests.paths import ROOT

Told = dict[str, tuple[int, bool]]
"""By kind: the status, and whether the same request may succeed later."""


def below(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for one in kind.__subclasses__():
        if not issubclass(one, SetupError) and one.__module__.startswith("emotion_svc."):
            yield one
            yield from below(one)


def documented() -> Told:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    told: Told = {}
    for kinds, statuses, retryable in re.findall(r"^\| (`.+?`) \| ([\d, ]+) \| (yes|no) \|", text, re.MULTILINE):
        names, numbers = re.findall(r"`(\w+)`", kinds), [int(status) for status in statuses.split(",")]
        numbers = numbers if len(numbers) == len(names) else numbers * len(names)
        told |= {name: (number, retryable == "yes") for name, number in zip(names, numbers, strict=True)}
    return told


def test_every_failure_is_documented_as_it_is() -> None:
    errors: list[type[ServiceError]] = [*below(ServiceError), Refused, UnknownModel]
    told: Told = {error.kind: (error.status, error.retryable) for error in errors}
    told |= {problem.kind: (status, problem.retryable) for status, problem in HTTP_PROBLEMS.items()}
    told[INTERNAL.kind] = (500, INTERNAL.retryable)
    assert documented() == told

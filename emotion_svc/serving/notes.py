"""What is known of the request in work, for its line in the log and its span: names and numbers, no word of a turn.

Whoever learns something notes it (the gate the client, the service the timings), and the border writes it down.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

TRACE_ID: Final = "emotion_svc.trace_id"
"""Where a scope has the id of its trace, if there is one."""

Fact = str | int | float | bool

_facts: ContextVar[dict[str, Fact]] = ContextVar("facts")


def begin_notes() -> dict[str, Fact]:
    """Notes for the request that this task serves from here on."""
    facts: dict[str, Fact] = {}
    _facts.set(facts)
    return facts


def notes() -> Mapping[str, Fact]:
    """What was noted of the last request that this task began to serve."""
    return _facts.get()


def note(**facts: Fact) -> None:
    """Adds to the notes of the request in work; outside of any (the command line) nothing is kept."""
    if (known := _facts.get(None)) is not None:
        known.update(facts)

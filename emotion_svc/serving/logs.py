"""The log: one JSON object a line on stderr, and no word of a turn, not even by way of an exception's text."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final

from emotion_svc.config import LogLevel

_OURS: Final = ("emotion_svc.", "uvicorn.error")
"""Loggers whose messages are fixed texts. asyncio's, for one, repeat the exception that nobody caught."""


class JsonLines(logging.Formatter):
    """A record as one line. Of an exception: its type and the places it passed, not its message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        is_ours = record.name.startswith(_OURS)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage().strip() if is_ours else "a message of another library, left out",
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["where"] = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(record.exc_info[2])]
        return json.dumps(line)


def configure_logging(level: LogLevel) -> None:
    """Sends all loggers' records to stderr: those of this level and above of ours, warnings and above of the others."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("emotion_svc").setLevel(level.upper())

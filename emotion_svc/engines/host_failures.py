"""From what a host's status says to what routing needs to know; never from the text that came with it.

A host's error may repeat what it was sent, which is a child's words.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from emotion_svc.engines.presets import Preset
from emotion_svc.errors import HostBroken, HostBusy, HostFailed, HostRefuses, TurnRefused

_OF_OUR_KIND: Final = "check that it is of the kind that the preset is for"


def failure_of_status(preset: Preset, status: int, headers: Mapping[str, str], now: datetime) -> HostFailed:
    """The failure that a status which is no success stands for. `headers` are looked up in lower case."""
    said = f"the host of preset '{preset.name}' answered with status {status}"
    wait_s = retry_after_s(headers, now)
    if status == 429:
        return HostBusy(f"{said}: it takes no more calls now", wait_s)
    if status >= 500 or status == 408:
        return HostBroken(f"{said}: it failed", wait_s)
    match status:
        case 401 | 403:
            hint = f"check the key in {preset.key_env}"
        case 402:
            hint = "the account is empty"
        case 404:
            hint = f"check the address and the model '{preset.model}'"
        case 413:
            return TurnRefused(f"{said}; the turn is longer than it takes", wait_s)
        case 400 | 422:
            return TurnRefused(f"{said}; {_OF_OUR_KIND}, and that its model's window is long enough", wait_s)
        case _:
            hint = _OF_OUR_KIND
    return HostRefuses(f"{said}; {hint}", wait_s)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds that a host wants to be left alone: `retry-after-ms`, or `retry-after` as seconds or as a date.

    None where it names none, or what makes no sense (RFC 9110, section 10.2.3).
    """
    for header, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            wait_s = float(headers.get(header, "")) * unit_s
        except ValueError:
            continue
        if math.isfinite(wait_s):
            return max(0.0, wait_s)
    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    if until.tzinfo is None:  # "-0000" says that the zone is not known
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())

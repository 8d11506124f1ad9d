"""The day's spend and its cap: in one small file, which all workers of a machine share.

Before a paid call the most that it can cost is reserved in the file, under a lock, so the cap holds for all
workers together, however many calls they have in flight, and over restarts. When the host has told what it
counted, the reservation becomes that; where it has not (cut off, killed), the reservation stays, since it may
be billed. Days are UTC; a new day begins with nothing spent.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from emotion_svc.errors import SetupError
from emotion_svc.schema import TokenUsage

_LOCK_S: Final = 1.0
_LOCK_PAUSE_S: Final = 0.001
"""Another worker holds the lock for a fraction of a millisecond; one that is stopped in the middle must not stop
the others for good."""

Today = Callable[[], date]


class SpendError(SetupError):
    """The spend file cannot be read or written; without it the cap would be none."""

    kind = "spend"


class TierSpend(BaseModel):
    """What one tier has cost since midnight. `calls` counts all that may be billed, answered or not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0


class DaySpend(BaseModel):
    """The file: one day (UTC), and what each tier has cost, reservations included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day: date
    tiers: dict[str, TierSpend] = {}

    @property
    def usd(self) -> float:
        """All tiers together."""
        return sum(tier.usd for tier in self.tiers.values())


class Reservation(NamedTuple):
    """A place under the cap for one call."""

    tier: str
    day: date
    usd: float


class Spend:
    """The day's spend, under a cap. Its methods read and write the file: call them from a thread, not from the loop.

    Args:
        path: the file; its directory must exist. A lock file is made beside it.
        cap_usd: the most that all tiers may cost together in a day.
        today: the day it is, in UTC.

    Raises:
        SpendError: the file cannot be read or written, or is none of ours.
    """

    def __init__(self, path: Path, cap_usd: float, today: Today = lambda: datetime.now(UTC).date()) -> None:
        self.cap_usd = cap_usd
        self._path, self._lock_path, self.day = path, path.with_name(path.name + ".lock"), today
        with self._locked() as day:
            self._write(day)

    def today(self) -> DaySpend:
        """What has been spent and reserved today, by all workers. Raises `SpendError`."""
        return read_spend(self._path, self.day())

    def reserve(self, tier: str, usd: float) -> Reservation | None:
        """Sets `usd` aside for a call; None, and no call may be made, where that would go beyond the cap.

        Raises:
            SpendError: the file cannot be read or written; no call may be made.
        """
        with self._locked() as day:
            if day.usd + usd > self.cap_usd:
                return None
            known = day.tiers.get(tier, TierSpend())
            self._write(_with(day, tier, known.model_copy(update={"calls": known.calls + 1, "usd": known.usd + usd})))
            return Reservation(tier, day.day, usd)

    def settle(self, reservation: Reservation, usage: TokenUsage, usd: float) -> None:
        """Turns a reservation into what the call did cost; 0 where it was never billed. Raises `SpendError`."""
        with self._locked() as day:
            if day.day != reservation.day:  # it belonged to yesterday, which is closed
                return
            known = day.tiers.get(reservation.tier, TierSpend())  # unless somebody has deleted the file meanwhile
            settled = TierSpend(
                calls=known.calls,
                prompt_tokens=known.prompt_tokens + usage.prompt_tokens,
                completion_tokens=known.completion_tokens + usage.completion_tokens,
                usd=max(0.0, known.usd - reservation.usd + usd),
            )
            self._write(_with(day, reservation.tier, settled))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[DaySpend]:
        try:
            with self._lock_path.open("w") as file:
                _lock(file.fileno())
                yield read_spend(self._path, self.day())
        except OSError as error:
            raise SpendError(
                f"spend file '{self._path}': {error.strerror or type(error).__name__}; set EMOTION_SVC_SPEND_FILE to a "
                "place that can be written"
            ) from error

    def _write(self, day: DaySpend) -> None:
        # Renamed into place: whoever reads, or is killed in the middle, has the old or the new file, and no half one.
        written = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        written.write_text(day.model_dump_json(), encoding="utf-8")
        written.replace(self._path)


def read_spend(path: Path, today: date) -> DaySpend:
    """What the file says of today; nothing where there is no file, or it is of another day.

    Raises:
        SpendError: it is no spend file.
        OSError: it cannot be read.
    """
    try:
        day = DaySpend.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return DaySpend(day=today)
    except (ValidationError, UnicodeDecodeError) as error:
        raise SpendError(
            f"spend file '{path}' is damaged or none; what was spent today is unknown: repair it, or delete it to "
            "begin with nothing"
        ) from error
    return day if day.day == today else DaySpend(day=today)


def _lock(descriptor: int) -> None:
    for _ in range(round(_LOCK_S / _LOCK_PAUSE_S)):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_LOCK_PAUSE_S)
    raise BlockingIOError(0, "another process holds its lock")


def _with(day: DaySpend, tier: str, spend: TierSpend) -> DaySpend:
    return day.model_copy(update={"tiers": {**day.tiers, tier: spend}})

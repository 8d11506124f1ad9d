"""Whether a run's directory holds the run that is asked for: then it goes on, otherwise it begins anew.

`config.json` names the run by all that it depends on. It is removed before anything else is, and written when all that
it stands for is there: a start that is broken off leaves no name behind.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from emotion_svc.errors import SetupError
from emotion_svc.train.loop import LOG_FILE, STATE_FILE

PRETRAINED: Final = "pretrained"
"""Where in a run's directory its pretraining is."""

_NAME: Final = "config.json"
_FINISHED: Final = "all epochs are done"


def enter(out: Path, name: Mapping[str, Any], *, anew: bool = False) -> bool:
    """Whether the run of this name goes on in `out`; if not, the state of the run before it is dropped.

    Says on stderr which of the two happens.

    Args:
        out: the run's directory; it is made where it is missing.
        name: all that the run depends on, by kind, as JSON has it.
        anew: another run may be dropped before it is finished.

    Raises:
        SetupError: another run is in `out`, is not finished, and may not be dropped.
    """
    before = _read(out)
    changed = sorted(key for key in {*before, *name} if before.get(key) != name.get(key))
    place = _place(out, before)
    if before and not changed:
        print(f"going on in '{out}': {place or 'nothing is trained yet'}", file=sys.stderr)
        return True
    why = f"the run in '{out}' differs in {', '.join(changed)}"
    if before and place and place != _FINISHED and not anew:
        raise SetupError(
            f"{why} and is not finished ({place}); give another --out, go on with what it was begun with, "
            "or drop it with --anew"
        )
    if before:
        print(f"beginning anew: {why}", file=sys.stderr)
    out.mkdir(parents=True, exist_ok=True)
    (out / _NAME).unlink(missing_ok=True)
    for file in (STATE_FILE, LOG_FILE):
        (out / file).unlink(missing_ok=True)
        (out / PRETRAINED / file).unlink(missing_ok=True)
    return False


def sign(out: Path, name: Mapping[str, Any]) -> None:
    """Writes the run's name, when all that it needs to go on is in `out`."""
    (out / _NAME).write_text(json.dumps(name, indent=2), encoding="utf-8")


def _read(out: Path) -> dict[str, Any]:
    path = out / _NAME
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError:  # its writing was broken off: there is no state yet
        return {}
    return found


def _place(out: Path, name: Mapping[str, Any]) -> str:
    """How far the run of this name is; empty where nothing has been trained."""
    for folder, section, what in ((out, "optim", "epoch"), (out / PRETRAINED, "pretrain", "epoch of pretraining")):
        if (folder / STATE_FILE).exists():
            log, epochs = folder / LOG_FILE, name.get(section, {}).get("epochs", 0)
            done = len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0
            if done < epochs:
                return f"{what} {done + 1} of {epochs}"
            return _FINISHED if folder == out else "pretraining is done"
    return ""

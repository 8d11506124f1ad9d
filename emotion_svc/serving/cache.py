"""Verdicts of turns that were asked before, bounded in bytes. No word of a turn is kept, not even as a key."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from cachetools import LRUCache

from emotion_svc.schema import Reason, Timings, Turn, Verdict

_ENTRY_BYTES: Final = 500
"""What an entry takes besides its text: two byte objects, its places in three dictionaries and a link (a test
measures that no more is used than is counted)."""
_MAKESHIFT: Final[frozenset[Reason | None]] = frozenset({"deadline", "failed", "breaker_open", "busy", "spend_cap"})
"""Why a verdict is not the one that the configured tiers would have given with time, host and money at hand."""


def turn_key(model: str, model_digest: str, turn: Turn) -> bytes:
    """What a turn's verdict is kept under: the model's name and file, and the digest of the normalized turn.

    A `Turn` is normalized when it is made, and engines read nothing else: two spellings that an engine cannot tell
    apart have one key. The name is in it because two models of one file may differ in their settings.
    """
    return blake2b(f"{model}\0{model_digest}\0{turn.digest}".encode(), digest_size=16).digest()


class VerdictCache:
    """The verdicts that were used last, as JSON, so that what they take is known to the byte.

    Args:
        max_bytes: what all entries may take; 0 keeps nothing.
        on_evicted: is called for each entry that gives way.
    """

    def __init__(self, max_bytes: int, on_evicted: Callable[[], None]) -> None:
        self._entries = _Entries(max_bytes, on_evicted)

    @property
    def taken_bytes(self) -> int:
        """What the entries take."""
        return int(self._entries.currsize)

    def get(self, key: bytes) -> Verdict | None:
        """The verdict, marked as kept (`cached`, no time spent), or None."""
        kept = self._entries.get(key)
        return None if kept is None else Verdict.model_validate_json(kept)

    def put(self, key: bytes, verdict: Verdict) -> None:
        """Keeps a verdict, unless it takes more than there is, or a better one may be had another time."""
        if verdict.reason in _MAKESHIFT:
            return
        # A repeated turn spends no time, and no tokens that a host would bill.
        update = {"cached": True, "timings": Timings(), "usage": None}
        kept = verdict.model_copy(update=update).model_dump_json().encode()
        if _size(kept) <= self._entries.maxsize:
            self._entries[key] = kept


class _Entries(LRUCache[bytes, bytes]):
    def __init__(self, max_bytes: int, on_evicted: Callable[[], None]) -> None:
        super().__init__(max_bytes, getsizeof=_size)
        self._on_evicted = on_evicted

    def popitem(self) -> tuple[bytes, bytes]:
        """Lets the entry go that was not used for longest; cachetools calls this where room is needed."""
        self._on_evicted()
        return super().popitem()


def _size(kept: bytes) -> int:
    return len(kept) + _ENTRY_BYTES

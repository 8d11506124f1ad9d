"""Learns from the wordbook's spellings how Vietnamese ears write English sounds (`decoding/sound.py`)."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from emotion_svc.decoding.facts import words_of
from emotion_svc.decoding.sound import SoundTable, english_sounds, vietnamese_sounds

_ROUNDS: Final = 6
_PRIOR: Final = 4.0
"""How many times each English sound counts as met before any was, written as anything in its usual share."""
_SILENT: Final = 0.15
"""The share of those times in which it was not written at all."""
_SAME_LETTER, _ALIKE, _UNLIKE, _START_SILENT, _START_PUT_IN = 2.0, 0.5, -2.0, -3.0, -1.5
"""Log-ratios to begin with: consonants are written as consonants, vowels as vowels, the rest is learnt."""

_VOWELS: Final = frozenset("aăâeêioôơuưy")
Pair = tuple[int | None, int | None]


def fit_sounds(spellings: Iterable[tuple[str, str]]) -> SoundTable:
    """A table from pairs of English words and how they were heard, by Viterbi training."""
    pairs = [(english_sounds(words_of(said)), vietnamese_sounds(words_of(heard))) for said, heard in spellings]
    table = _first(pairs)
    for _ in range(_ROUNDS):
        table = _counted(pairs, table)
    written = {sound: _rounded(ratios) for sound, ratios in sorted(table.written.items())}
    return SoundTable(written, _rounded(table.put_in))


def _rounded(ratios: Mapping[str, float]) -> dict[str, float]:
    return {sound: round(ratio, 2) for sound, ratio in sorted(ratios.items())}


def _first(pairs: Sequence[tuple[list[str], list[str]]]) -> SoundTable:
    english, heard = ({sound for pair in pairs for sound in pair[side]} for side in (0, 1))
    written = {}
    for sound in english:
        ratios = {other: _first_guess(sound, other.strip("-")) for other in heard}
        written[sound] = {**ratios, "": _START_SILENT, "?": _UNLIKE}
    return SoundTable(written, {"?": _START_PUT_IN})


def _first_guess(english: str, heard: str) -> float:
    if (english[0] in _VOWELS) != (heard[0] in _VOWELS):
        return _UNLIKE
    return _SAME_LETTER if english[0] == heard[0] else _ALIKE


def _counted(pairs: Sequence[tuple[list[str], list[str]]], table: SoundTable) -> SoundTable:
    """The table that follows from the best alignments under another one."""
    written: defaultdict[str, Counter[str]] = defaultdict(Counter)
    put_in: Counter[str] = Counter()
    met = Counter(sound for _, heard in pairs for sound in heard)
    for english, heard in pairs:
        for place, other in _aligned(english, heard, table):
            if place is None:
                put_in[heard[other or 0]] += 1
            else:
                written[english[place]]["" if other is None else heard[other]] += 1
    total, kinds = met.total() + len(met) + 1, len(met) + 1
    usual = {sound: (count + 1) / total for sound, count in met.items()}
    added, said = put_in.total(), sum(len(english) for english, _ in pairs)
    rate = max(added, 1) / max(said, 1) / (added + kinds)
    return SoundTable(
        {sound: _ratios(counts, usual) for sound, counts in written.items()},
        {sound: math.log(rate * (put_in[sound] + 1) / share) for sound, share in usual.items()}
        | {"?": math.log(rate * total)},
    )


def _ratios(counts: Counter[str], usual: dict[str, float]) -> dict[str, float]:
    total = counts.total() + _PRIOR
    ratios = {
        sound: math.log((count / usual[sound] + _PRIOR * (1 - _SILENT)) / total)
        for sound, count in counts.items()
        if sound
    }
    ratios[""] = math.log((counts[""] + _PRIOR * _SILENT) / total)
    ratios["?"] = math.log(_PRIOR * (1 - _SILENT) / total)
    return ratios


def _aligned(english: Sequence[str], heard: Sequence[str], table: SoundTable) -> list[Pair]:
    """The likeliest way from one to the other: pairs of places, None for what is silent or put in."""
    best: list[list[tuple[float, Pair]]] = [[(0.0, (None, None))]]
    for place in range(len(english) + 1):
        if place:
            best.append([])
        ratios = table.written[english[place - 1]] if place else {}
        for other in range(len(heard) + 1):
            ways: list[tuple[float, Pair]] = []
            if place and other:
                ratio = ratios.get(heard[other - 1], ratios["?"])
                ways.append((best[place - 1][other - 1][0] + ratio, (place - 1, other - 1)))
            if place:
                ways.append((best[place - 1][other][0] + ratios[""], (place - 1, None)))
            if other:
                ratio = table.put_in.get(heard[other - 1], table.put_in["?"])
                ways.append((best[place][other - 1][0] + ratio, (None, other - 1)))
            if ways:
                best[place].append(max(ways, key=lambda way: way[0]))
    place, other = len(english), len(heard)
    pairs: list[Pair] = []
    while place or other:
        pair = best[place][other][1]
        pairs.append(pair)
        place -= pair[0] is not None
        other -= pair[1] is not None
    return pairs

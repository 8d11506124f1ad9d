"""How near a text, written down as a Vietnamese ear hears it, comes to English words: "ai hép ơ sít tờ" for a sister.

Speech recognition that expects Vietnamese writes English in Vietnamese syllables, in ever new ways, so no list holds
them. A memoryless stochastic transducer does (Ristad and Yianilos 1998, "Learning String-Edit Distance"): each English
sound is written as a Vietnamese one, falls silent, or another one is put in, with probabilities that were learnt from
the spellings of the wordbook (`train/sound.py`).
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

_ENGLISH: Final = re.compile(
    r"tion|sion|ture|eigh|augh|ough|igh|tch|sch|dge|([bcdfglmnprstz])\1|ch|sh|ph|th|gh|ck|qu|wh|kn|wr|mb|ng|ee|ea|oo|ou"
    r"|ow|oa|oi|oy|ai|ay|au|aw|ew|ie|ei|ey|ue|ui|ar|er|ir|or|ur|[a-z]"
)
_VIETNAMESE: Final = re.compile(
    r"(ngh|ng|nh|ph|th|tr|ch|kh|gh|gi(?=[aăâeêioôơuưy])|qu|[bcdđghklmnpqrstvxfjzw])?"
    r"([aăâeêioôơuưy]*)(ng|nh|ch|[bcdfghjklmnprstvxz]+)?"
)
_TONES: Final = "\u0300\u0301\u0303\u0309\u0323"
_TONELESS: Final = str.maketrans(
    {unicodedata.normalize("NFC", vowel + tone): vowel for vowel in "aăâeêioôơuưy" for tone in _TONES}
)

_LONGEST: Final = 40, 60
"""English and Vietnamese sounds that are looked at: a sentence; what it takes grows with their product."""


def english_sounds(words: Sequence[str]) -> list[str]:
    """The letters of English words in lower case, in groups that stand for one sound; a last e is mostly mute: `e#`."""
    return [
        "e#" if match[0] == "e" and match.end() == len(word) > 2 else match[0]
        for word in words
        for match in _ENGLISH.finditer(word)
    ]


def vietnamese_sounds(words: Sequence[str]) -> list[str]:
    """The sounds of Vietnamese syllables in lower case (NFC): `t-` begins one, `-t` ends one; tones are left out."""
    sounds: list[str] = []
    for word in words:
        text = word.translate(_TONELESS)
        match = _VIETNAMESE.fullmatch(text)
        if match is None:  # no syllable: its letters
            sounds += text
            continue
        begin, middle, end = match.groups(default="")
        sounds += [sound for sound in (begin and f"{begin}-", middle, end and f"-{end}") if sound]
    return sounds


class SoundTable(NamedTuple):
    """Log-ratios, each against meeting the Vietnamese sound anywhere.

    `written`: of an English sound being written as a Vietnamese one; under the key "" as none, and under "?" as any
    that is not named. `put_in`: of a Vietnamese sound being put in; "?" for any that is not named.
    """

    written: Mapping[str, Mapping[str, float]]
    put_in: Mapping[str, float]

    def nearness(self, english: Sequence[str], heard: Sequence[str]) -> float:
        """How much likelier what was heard is if these English words were said somewhere in it than if not.

        In nats for each English sound, for the likeliest way and place (the Viterbi path): about 2 where the words were
        said well, under 0 where they were not. Only the first 40 English and 60 Vietnamese sounds are looked at.

        Args:
            english: the sounds of the words (`english_sounds`).
            heard: the sounds of the answer (`vietnamese_sounds`); the words may stand anywhere among others.
        """
        english, heard = english[: _LONGEST[0]], heard[: _LONGEST[1]]
        put_in = [self.put_in.get(sound, self.put_in["?"]) for sound in heard]
        best = [0.0] * (len(heard) + 1)
        for sound in english:
            ratios = self.written.get(sound, _UNKNOWN)
            silent, other = ratios[""], ratios["?"]
            before, last = best, best[0] + silent
            best = [last]
            for place, heard_sound in enumerate(heard):
                last = max(
                    before[place] + ratios.get(heard_sound, other), before[place + 1] + silent, last + put_in[place]
                )
                best.append(last)
        return max(best) / max(1, len(english))


_UNKNOWN: Final[Mapping[str, float]] = {"": -2.0, "?": -0.2}
"""For an English sound that was never met."""

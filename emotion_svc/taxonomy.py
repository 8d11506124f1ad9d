"""The labels that the robot knows and the families (intents) behind them.

This is the only file in which a label is spelt. A number at the end of a label (`happy_2`) is another
animation of the same intent, so the family of a label is the label without it.
"""

import re
from typing import Final, Literal, get_args

Label = Literal[
    "happy", "happy_2",
    "calm",
    "excited", "excited_2",
    "playful", "playful_2", "playful_3",
    "no_problem",
    "encouraging", "encouraging_2",
    "curious",
    "surprised",
    "proud", "proud_2",
    "thats_right", "thats_right_2",
    "sad",
    "angry",
    "worry",
    "afraid",
    "noisy",
    "thinking",
]  # fmt: skip

Family = Literal[
    "happy", "calm", "excited", "playful", "no_problem", "encouraging", "curious", "surprised",
    "proud", "thats_right", "sad", "angry", "worry", "afraid", "noisy", "thinking",
]  # fmt: skip

LABELS: Final[tuple[Label, ...]] = get_args(Label)
FAMILIES: Final[tuple[Family, ...]] = get_args(Family)


def family_of(label: Label) -> Family:
    """The intent of which `label` is one animation."""
    return FAMILY_OF[label]


def _family_name(label: str) -> str:
    return re.sub(r"_\d+$", "", label)


FAMILY_OF: Final[dict[Label, Family]] = {
    label: family for label in LABELS for family in FAMILIES if _family_name(label) == family
}
LABELS_OF: Final[dict[Family, tuple[Label, ...]]] = {
    family: tuple(label for label in LABELS if FAMILY_OF[label] == family) for family in FAMILIES
}

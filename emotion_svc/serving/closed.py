"""Objects that a caller sends: what is in them besides the fields that are known is counted, and never named.

The name of an unknown field could be anything: whoever swaps keys and values sends a child's name as one. And pydantic
has an error for each of them, of which a body has room for a hundred thousand; here one stands for all.
"""

from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

_UNKNOWN: Final = "unknown fields"
_SHOWN: Final = 5


class Unknown(NamedTuple):
    """The fields of an object that are not known, by the lengths of their names, and the names of those that are."""

    lengths: list[int]
    known: list[str]

    def __str__(self) -> str:
        """In words: 'an unknown field (6 characters; known are detail, model)'."""
        shown = ", ".join(map(str, self.lengths[:_SHOWN])) + ", …" * (len(self.lengths) > _SHOWN)
        count = "an unknown field" if len(self.lengths) == 1 else f"{len(self.lengths)} unknown fields"
        return f"{count} ({shown} characters; known are {', '.join(self.known)})"


def with_unknown_counted(kind: type[BaseModel], value: Any) -> Any:
    """The value; where the model does not know all of its fields, with one for those, which holds an `Unknown`."""
    known = kind.model_fields
    if not isinstance(value, dict) or value.keys() <= known.keys():
        return value
    lengths = [len(name) for name in value if name not in known]
    return {name: value[name] for name in known if name in value} | {_UNKNOWN: Unknown(lengths, list(known))}


class Closed(BaseModel):
    """A frozen model that refuses unknown fields, with one error for all of them, whose input is an `Unknown`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _count_unknown(cls, value: Any) -> Any:
        return with_unknown_counted(cls, value)

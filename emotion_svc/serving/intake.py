"""What comes in, as turns: parsed, held against the limits, normalized; refused with a reason that repeats nothing."""

import json
from contextlib import suppress
from typing import Annotated, Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic_core import from_json

from emotion_svc.config import Settings
from emotion_svc.errors import InvalidTurn, TooLarge
from emotion_svc.schema import Turn
from emotion_svc.serving.closed import Closed, with_unknown_counted
from emotion_svc.serving.problems import describe

Model = TypeVar("Model", bound=BaseModel)

FIELDS: Final = tuple(Turn.model_fields)
_TURN_SHAPE: Final = f"a turn is an object with {', '.join(FIELDS)}, all texts; the response is not empty"
_BATCH_SHAPE: Final = f'a batch is {{"turns": [turn, …]}}; {_TURN_SHAPE}'


def _only_of_turn(value: Any) -> Any:
    return with_unknown_counted(Turn, value)


class TurnBatch(Closed):
    """Several turns, answered in the same order."""

    turns: tuple[Annotated[Turn, BeforeValidator(_only_of_turn)], ...] = Field(
        description="The turns; answers come in the same order."
    )


class Intake(NamedTuple):
    """Reads turns under limits. Characters are counted as they were sent, before normalization."""

    max_field_chars: int
    max_batch: int

    @classmethod
    def of(cls, settings: Settings) -> "Intake":
        """With the limits of the settings."""
        return cls(settings.max_field_chars, settings.max_batch)

    def turn(self, body: bytes) -> Turn:
        """The turn in a JSON body.

        Raises:
            InvalidTurn: no JSON, or a field is missing, unknown, empty or of the wrong type.
            TooLarge: a field is over the limit.
        """
        return self.turn_from(parse_json(body))

    def turn_from(self, value: object) -> Turn:
        """The turn in a parsed value. Raises as `turn`."""
        self._refuse_long_fields(value)
        return _validated(Turn, _only_of_turn(value), _TURN_SHAPE)

    def batch(self, body: bytes) -> tuple[Turn, ...]:
        """The turns in a JSON body `{"turns": […]}`.

        Raises:
            InvalidTurn: as `turn`; one bad turn refuses the batch, and the message says which it is.
            TooLarge: more turns than the limit, or a field over its limit.
        """
        value = parse_json(body)
        turns = value.get("turns") if isinstance(value, dict) else None
        if isinstance(turns, list):
            if len(turns) > self.max_batch:
                raise TooLarge(f"turns: {len(turns)} turns; the limit is {self.max_batch}")
            for place, turn in enumerate(turns):
                self._refuse_long_fields(turn, f"turns.{place}.")
        return _validated(TurnBatch, value, _BATCH_SHAPE).turns

    def _refuse_long_fields(self, turn: object, where: str = "") -> None:
        if not isinstance(turn, dict):
            return
        for field in FIELDS:
            text = turn.get(field)
            if isinstance(text, str) and len(text) > self.max_field_chars:
                raise TooLarge(f"{where}{field}: {len(text)} characters; the limit is {self.max_field_chars}")


def parse_json(body: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        InvalidTurn: it is no JSON, or is nested deeper than any turn.
    """
    with suppress(ValueError):
        # Keys only: the cache outlives the request, and a child's words must not.
        return from_json(body, cache_strings="keys")
    # The fast parser refuses lone surrogates (half an emoji, cut by a caller), which the standard one reads.
    with suppress(ValueError, RecursionError):
        return json.loads(body)
    # Raised outside the handlers: the parser's own error holds the whole text.
    raise InvalidTurn(f"body: expected JSON, found {len(body)} bytes that are none; {_TURN_SHAPE}")


def _validated(kind: type[Model], value: object, shape: str) -> Model:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        found = describe(error.errors(include_url=False))
    raise InvalidTurn(f"{found}; {shape}")  # outside the handler: pydantic's own error holds the turn

"""What travels between the rooms: turn in, answer out, verdict with the reasons, gold example.

All models are frozen and refuse unknown fields. `Answer` is the one source of truth for what a model may
say: its JSON schema becomes the grammar that every engine obeys (see `emotion_svc.decoding`).
"""

import hashlib
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from emotion_svc.taxonomy import LABELS, Family, Label
from emotion_svc.text import normalize

Slice = Literal["core", "trap", "mixed", "asr", "style", "attack"]

Reason = Literal[
    "first",
    "low_confidence",
    "outside_knowledge",
    "deadline",
    "failed",
    "breaker_open",
    "busy",
    "spend_cap",
]
"""Why the answer of just this tier went out: `first` is asked always; a tier behind it because the one before was not
sure, or the turn is outside what it knows; any other names what kept the tier that should have answered from it."""


def _normalize_text(value: Any) -> Any:
    """Normalizes text; leaves anything else to the type check."""
    return normalize(value) if isinstance(value, str) else value


Text = Annotated[str, Field(strict=True), BeforeValidator(_normalize_text)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Turn(_Frozen):
    """One request of the robot's backend. Texts are normalized when the turn is made (see `text.normalize`)."""

    previous_question: Text = Field(
        default=..., description="What Pika asked or said last; may be empty.", examples=["Con mèo tiếng Anh là gì?"]
    )
    previous_answer: Text = Field(
        default=..., description="What the child answered, from speech recognition; may be empty.", examples=["cat"]
    )
    response: Annotated[Text, Field(min_length=1)] = Field(
        default=..., description="What Pika is about to say: the text to classify.", examples=["Chính xác, cat đó!"]
    )

    @property
    def digest(self) -> str:
        """32 hex digits that stand for this turn in logs and caches; the words cannot be read back from it.

        The texts hold no control characters, so no two turns are joined to the same text.
        """
        joined = "\x1f".join((self.previous_question, self.previous_answer, self.response))
        return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()


class Answer(_Frozen):
    """What the model says and the robot gets: two keys, in this order."""

    emotion: Label = Field(description="The face that Pika wears.", examples=["playful"])
    learn_score: Annotated[bool, Field(strict=True)] = Field(
        description="Whether the child just got an English exercise right."
    )


class Timings(_Frozen):
    """Where the time went, in milliseconds. For a turn that shared a batch: the time of the batch."""

    queue_ms: float = 0.0
    tokenize_ms: float = 0.0
    infer_ms: float = 0.0


class TokenUsage(_Frozen):
    """What a host counted for one turn, reasoning included."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class Verdict(_Frozen):
    """The posteriors of both slots and what was chosen from them."""

    answer: Answer
    family: Family
    emotion_posterior: dict[Label, float] = Field(description="Probability of each label; they sum to 1.")
    family_confidence: float = Field(ge=0, le=1, description="Probability of the chosen family.")
    learn_score_probability: float = Field(ge=0, le=1, description="Probability that learn_score is true.")
    engine: str = Field(description="The engine that answered.")
    model_digest: str = Field(description="Digest of the model file that answered.")
    truncated: bool = Field(default=False, description="Whether the middle of a text was cut to fit the model.")
    cached: bool = Field(default=False, description="Whether the answer was kept from an earlier request.")
    timings: Timings = Timings()
    usage: TokenUsage | None = Field(
        default=None, description="Tokens that a remote host counted; null where none was asked or none were counted."
    )
    tier: str | None = Field(default=None, description="The tier whose answer this is.")
    reason: Reason | None = Field(default=None, description="Why it is this tier's.")

    @property
    def learn_score_confidence(self) -> float:
        """Probability of the chosen value of `learn_score`."""
        return max(self.learn_score_probability, 1 - self.learn_score_probability)


class Example(_Frozen):
    """A turn with its gold label, as the lines of `eval_data/` and `train_data/turns/` hold it (docs/annotation.md)."""

    id: str
    previous_question: Text
    previous_answer: Text
    response: Annotated[Text, Field(min_length=1)]
    emotion: Family
    also: tuple[Family, ...] = Field(default=(), max_length=2)
    learn_score: Annotated[bool, Field(strict=True)]
    slice: Slice
    hard: bool = False

    @property
    def turn(self) -> Turn:
        """The turn without its label."""
        return Turn(
            previous_question=self.previous_question,
            previous_answer=self.previous_answer,
            response=self.response,
        )


class ResponseExample(_Frozen):
    """A response with its emotion alone, as the lines of `train_data/responses/` hold it."""

    response: Annotated[Text, Field(min_length=1)]
    emotion: Family


ALL_ANSWERS: Final[tuple[str, ...]] = tuple(
    Answer(emotion=label, learn_score=value).model_dump_json() for label in LABELS for value in (True, False)
)
"""Every string that an engine may say."""

ANSWER_OF: Final = {text: Answer.model_validate_json(text) for text in ALL_ANSWERS}
"""What each of them means."""

"""A turn and a file of `prompts/` become the text that a model reads; the child's text stays data.

A prompt file is TOML: `name`, `version`, `models` (glob patterns of the models it is for), `style`, and the
texts `system` and `user` with `$previous_question`-like variables (`string.Template`). Filling is one pass,
so template syntax inside a field is never expanded, and fields are single lines (`text.normalize`), so a
field cannot begin a line of its own. Special tokens inside a field are the tokenizing side's business: a
rendered prompt is a list of `Segment`s that says which parts are data.
"""

import fnmatch
import hashlib
from functools import cached_property
from pathlib import Path
from string import Template
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from emotion_svc.errors import PromptError
from emotion_svc.files import read_settings
from emotion_svc.schema import Turn

VARIABLES: Final = tuple(Turn.model_fields)
COMPARISON, WORDING = "comparison", "wording"
"""Further variables for prompts of our own models, in tokens that only our tokenizer has: how the answer compares with
the question (`decoding.comparison`), and what the response's wording suggests (`decoding.wording`)."""

_OURS: Final = frozenset({COMPARISON, WORDING})


class Segment(NamedTuple):
    """A piece of a prompt. `variable` names the turn's field that `text` came from; None is our own text."""

    text: str
    variable: str | None = None


class Message(NamedTuple):
    """One chat message."""

    role: Literal["system", "user"]
    content: str


class Prompt(BaseModel):
    """One file of `prompts/`. `style` is `completion` (text in, our tokens) or `chat` (messages)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: Annotated[int, Field(ge=1)]
    models: tuple[str, ...]
    style: Literal["completion", "chat"]
    system: str
    user: str

    @field_validator("system", "user")
    @classmethod
    def _trim(cls, text: str) -> str:
        return text.strip()

    @field_validator("user")
    @classmethod
    def _uses_every_variable(cls, text: str) -> str:
        template = Template(text)
        if not template.is_valid():
            raise ValueError("has a '$' that begins no variable; write '$$' for a dollar sign")
        used = set(template.get_identifiers())
        if missing := [name for name in VARIABLES if name not in used]:
            raise ValueError(f"lacks the variable {', '.join('$' + name for name in missing)}")
        if unknown := sorted(used - {*VARIABLES, *_OURS}):
            raise ValueError(
                f"has the unknown variable {', '.join('$' + name for name in unknown)}; known: {', '.join(VARIABLES)}"
            )
        return text

    @model_validator(mode="after")
    def _only_our_own_models_are_shown_marks(self) -> Self:
        if self.style == "chat" and (ours := sorted(_OURS.intersection(Template(self.user).get_identifiers()))):
            raise ValueError(f"user: ${ours[0]} is for the style 'completion'; a chat model has no tokens for it")
        return self

    @property
    def digest(self) -> str:
        """12 hex digits over what the model reads; comments and patterns do not count."""
        return hashlib.sha256(f"{self.style}\0{self.system}\0{self.user}".encode()).hexdigest()[:12]

    def is_for(self, model: str) -> bool:
        """Whether one of the file's patterns matches the model's name."""
        return any(fnmatch.fnmatchcase(model, pattern) for pattern in self.models)

    @cached_property
    def pieces(self) -> tuple[Segment, ...]:
        """The user text in order: our own text as it is, and an empty segment for each variable."""
        pieces, end = [], 0
        for match in Template.pattern.finditer(self.user):
            name = match["named"] or match["braced"]
            pieces += [Segment(self.user[end : match.start()]), Segment("", name) if name else Segment("$")]
            end = match.end()
        pieces.append(Segment(self.user[end:]))
        return tuple(piece for piece in pieces if piece.text or piece.variable)

    def user_segments(self, turn: Turn) -> list[Segment]:
        """The user text with every field of the turn as a segment of its own; those of marks stay empty."""
        return [
            Segment(getattr(turn, piece.variable), piece.variable) if piece.variable in VARIABLES else piece
            for piece in self.pieces
        ]

    def messages(self, turn: Turn) -> list[Message]:
        """The prompt as chat messages."""
        user = "".join(segment.text for segment in self.user_segments(turn))
        return [Message("system", self.system), Message("user", user)]


def prompts_dir() -> Path:
    """Where the prompt files are: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "prompts"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "prompts"


def load_prompt(path: Path) -> Prompt:
    """Reads and checks one prompt file.

    Raises:
        PromptError: the file is missing, is no TOML, or a key or variable is missing, unknown or wrong.
    """
    return read_settings(path, Prompt, "prompt file", PromptError)


def prompt_for(model: str, directory: Path | None = None) -> Prompt:
    """The prompt for a model's name; of several that match, the one with the most specific pattern.

    Raises:
        PromptError: no file of the directory is for this model.
    """
    directory = directory or prompts_dir()
    prompts = [load_prompt(path) for path in sorted(directory.glob("*.toml"))]
    fitting = [prompt for prompt in prompts if prompt.is_for(model)]
    if not fitting:
        known = ", ".join(f"{prompt.name} ({', '.join(prompt.models)})" for prompt in prompts) or "none"
        raise PromptError(f"no prompt in '{directory}' is for the model '{model}'; there are: {known}")
    return max(fitting, key=lambda prompt: max(len(p) for p in prompt.models if fnmatch.fnmatchcase(model, p)))

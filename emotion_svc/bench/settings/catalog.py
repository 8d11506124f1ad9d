"""What is compared: an anchor, plain or tuned, with the same in which one setting has another value.

A configuration is a flat mapping: a key that begins with `--` is an option of `vllm serve` ("" has no value), any
other a variable of the environment.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

Configuration = Mapping[str, str]

AnchorName = Literal["plain", "tuned"]


class Asking(NamedTuple):
    """How a whole answer is asked for, in one request.

    `prompt`: `long` is the text of long_prompt.toml, `short` the tokens of the prompt that the engine has for the
    model. `grammar`: `schema` is the JSON schema with the white space that vLLM allows by default, `regex` what is
    left of the answer language behind the text that all answers begin with, in the tokenizer's own tokens.
    `max_tokens`: a number, or `computed` from the grammar. `stops`: whether the request names where to stop.
    `temperature`: None is the server's default.
    """

    prompt: Literal["long", "short"]
    grammar: Literal["schema", "regex"]
    max_tokens: int | Literal["computed"]
    stops: bool
    temperature: float | None


class Anchor(NamedTuple):
    """Where the comparisons start from."""

    name: AnchorName
    server: Configuration
    asking: Asking


class Value(NamedTuple):
    """One value of a setting. In `server` None means that the key is not there; `asking` names fields of `Asking`."""

    label: str
    server: Mapping[str, str | None] = {}
    asking: Mapping[str, Any] = {}

    def holds(self, anchor: Anchor) -> bool:
        """Whether the anchor has this value."""
        asked = anchor.asking._asdict()
        return all(anchor.server.get(key) == value for key, value in self.server.items()) and all(
            asked[field] == value for field, value in self.asking.items()
        )

    def put_into(self, anchor: Anchor) -> Anchor:
        """The anchor with this value."""
        server = {key: value for key, value in {**anchor.server, **self.server}.items() if value is not None}
        return anchor._replace(server=server, asking=anchor.asking._replace(**self.asking))


class Setting(NamedTuple):
    """A setting.

    `pairs` are (the value that is said to be faster, or might be, the other one); `said` is what that is said
    to save of an answer, `said_ms` the same in milliseconds where it is told so.
    """

    name: str
    said: str
    pairs: tuple[tuple[Value, Value], ...]
    said_ms: tuple[float, float] | None = None


class Comparison(NamedTuple):
    """An anchor against the same with one other value."""

    setting: Setting
    faster: Value
    other: Value
    anchor: Anchor
    variant: Anchor

    @property
    def anchor_is_faster(self) -> bool:
        """Whether the anchor has the value that is said to be faster."""
        return self.faster.holds(self.anchor)

    @property
    def needs_own_server(self) -> bool:
        """Whether the difference is in the server, and not in the requests alone."""
        return self.variant.server != self.anchor.server

    @property
    def title(self) -> str:
        """Setting and both values."""
        return f"{self.setting.name}: {self.faster.label} against {self.other.label}"


def comparisons(settings: Iterable[Setting], anchor: Anchor) -> Iterator[Comparison]:
    """Every pair of which the anchor has one value."""
    for setting in settings:
        for faster, other in setting.pairs:
            if other.holds(anchor):
                yield Comparison(setting, faster, other, anchor, faster.put_into(anchor))
            elif faster.holds(anchor):
                yield Comparison(setting, faster, other, anchor, other.put_into(anchor))

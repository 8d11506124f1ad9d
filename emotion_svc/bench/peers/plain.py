"""What a plain user gives to a general engine: a prompt as text, the answer's JSON schema, and a limit of tokens."""

from functools import cache
from pathlib import Path
from typing import Any, Final

from emotion_svc.bench.subjects import RANDOM_135M, Spec
from emotion_svc.decoding.tokens import TurnTokenizer
from emotion_svc.modeldir import model_name
from emotion_svc.prompt import prompt_for
from emotion_svc.schema import Answer, Turn

ANSWER_TOKENS: Final = 64
"""The most tokens of an answer: twice what any needs that is spelt in pieces of words."""

WINDOW_135M: Final = 1024

VLLM: Final[dict[str, Any]] = {
    # A model without training would fill its answer with the white space that the grammar allows by default.
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
}
"""All that is not vLLM's default."""

VLLM_SERVE: Final = (
    "--structured-outputs-config.backend=xgrammar",
    "--structured-outputs-config.disable_any_whitespace=true",
)


def answer_schema() -> dict[str, Any]:
    """The JSON schema of an answer."""
    return Answer.model_json_schema()


def response_format() -> dict[str, Any]:
    """The same as an OpenAI response format."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": answer_schema()}}


def prompt_of(spec: Spec, turn: Turn) -> str | list[int]:
    """The whole prompt: for a model directory's checkpoint its own, as token ids; for the other one the general one."""
    if spec.name == "vllm-json-135m":
        general = prompt_for(RANDOM_135M)
        user = "".join(segment.text for segment in general.user_segments(turn))
        return f"{general.system}\n\n{user}\n\nAnswer:\n"
    tokens = _own_tokens(spec.model)
    return tokens.system_ids + tokens.encode(turn).ids


def own_text(spec: Spec, turn: Turn) -> str:
    """The checkpoint's own prompt as text, for libraries that tokenize themselves."""
    prompt = prompt_for(model_name(spec.model))
    marks = {variable: "".join(shown) for variable, shown in _own_tokens(spec.model).marks(turn).items()}
    texts = turn.model_dump() | marks
    return prompt.system + "".join(texts[piece.variable] if piece.variable else piece.text for piece in prompt.pieces)


@cache
def _own_tokens(directory: Path) -> TurnTokenizer:
    return TurnTokenizer(directory / "tokenizer.json", prompt_for(model_name(directory)))

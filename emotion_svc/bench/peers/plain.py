"""What a plain user gives to a general engine: a prompt as text, the answer's JSON schema, and a limit of tokens."""

from functools import cache
from typing import Any, Final

from emotion_svc.bench.subjects import Name, Spec
from emotion_svc.modeldir import SHIPPED, model_name
from emotion_svc.prompt import Prompt, prompt_for
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


def plain_text(spec: Spec, turn: Turn) -> str:
    """The whole prompt as text: the shipped checkpoint's own, or the general one of `prompts/`."""
    prompt = _prompt_for(spec.name)
    user = "".join(segment.text for segment in prompt.user_segments(turn))
    return prompt.system + user if prompt.style == "completion" else f"{prompt.system}\n\n{user}\n\nAnswer:\n"


@cache
def _prompt_for(name: Name) -> Prompt:
    return prompt_for("random-135m" if name == "vllm-json-135m" else model_name(SHIPPED))

"""The fields of a chat request that ask for another answer than ours. They are refused, and never ignored.

vLLM, for one, answers a field that it no longer knows (`guided_json`) with 200 and no constraint at all. A value
that asks for nothing (`"tools": []`), or for just our answer, is taken.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from emotion_svc.schema import Answer
from emotion_svc.serving.openai_errors import Refused


class _Constraint(NamedTuple):
    """When a value (not null) asks for nothing else than our answer, and what to tell where it does."""

    is_met_by: Callable[[Any], bool]
    reason: str


def without_constraints(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The other fields of a request.

    Raises:
        Refused: a field asks for another answer than ours; `param` names it.
    """
    for name, constraint in CONSTRAINTS.items():
        if (value := fields.get(name)) is not None and not constraint.is_met_by(value):
            raise Refused(f"{name}: {constraint.reason}", name)
    return {name: value for name, value in fields.items() if name not in CONSTRAINTS}


def is_schema_of_answer(schema: Any) -> bool:
    """Whether a JSON schema describes our answer: its two keys, no other, with all their values.

    Titles, descriptions and the order of keys and labels do not count; a key may refer to `$defs`.
    """
    return _bare(schema) == _bare(Answer.model_json_schema())


def _bare(schema: Any) -> object:
    """A schema of an object without what describes it to people, in a form that can be compared."""
    if not isinstance(schema, dict) or not isinstance(properties := schema.get("properties"), dict):
        return None
    if properties.keys() != Answer.model_fields.keys():
        return None
    if not schema.keys() <= _REMARKS | {"type", "properties", "required", "additionalProperties"}:
        return None
    definitions = schema.get("$defs")
    return (
        schema.get("type", "object"),
        schema.get("additionalProperties", False),
        _sorted(schema.get("required", list(properties))),
        {name: _bare_value(value, definitions) for name, value in properties.items()},
    )


def _bare_value(schema: Any, definitions: Any) -> object:
    match schema:
        case {"$ref": str(reference)} if isinstance(definitions, dict):
            schema = definitions.get(reference.removeprefix("#/$defs/"))
    if not isinstance(schema, dict):
        return None
    bare = {name: value for name, value in schema.items() if name not in _REMARKS}
    return {"type": "string"} | bare | {"enum": _sorted(bare["enum"])} if "enum" in bare else bare


def _sorted(names: Any) -> list[str] | None:
    return sorted(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


_REMARKS: Final = frozenset({"title", "description", "examples", "$schema", "$id", "$defs"})


def _is_our_format(value: Any) -> bool:
    match value:
        case {"type": "text" | "json_object"} if len(value) == 1:
            return True
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return is_schema_of_answer(schema)
    return False


def _is_our_structure(value: Any) -> bool:
    match value:
        case {"json": schema} if len(value) == 1:
            return _is_our_json(schema)
        case {"json_object": True} if len(value) == 1:
            return True
    return False


def _is_our_json(value: Any) -> bool:
    """VLLM takes a schema as an object, or as the text of one."""
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            return is_schema_of_answer(json.loads(value))
        return False
    return is_schema_of_answer(value)


def _one_of(*values: Any) -> Callable[[Any], bool]:
    """A test for being one of the values; the number 1 is not true here, as it is to Python."""
    return lambda found: any(type(found) is type(value) and found == value for value in values)


_FIXED: Final = "the answer's form is fixed"
_FORM: Final = (
    f'{_FIXED}: {{"emotion": one of the labels, "learn_score": true or false}}; leave the field out, or send '
    "exactly the schema of that answer (Answer in /openapi.json)"
)
_NO_OTHER_FORM: Final = f"{_FIXED}, and no grammar, pattern or list can change it; leave the field out"
_ONE_TEXT: Final = f"{_FIXED}, one short text; leave the field out"
_ONE_ANSWER: Final = "there is one answer to a turn; leave the field out, or send 1"
_NO_TOOLS: Final = f"no tool is ever called, {_FIXED}; leave the field out"
_NO_LOGPROBS: Final = "probabilities of tokens are not told; POST /v1/decisions tells those of the answers"
_NO_BIAS: Final = "the answer is the model's own; leave the field out"

CONSTRAINTS: Final = {
    "response_format": _Constraint(_is_our_format, _FORM),
    "structured_outputs": _Constraint(_is_our_structure, _FORM),
    "guided_json": _Constraint(_is_our_json, _FORM),
    "guided_json_object": _Constraint(_one_of(True, False), _FORM),
    "guided_regex": _Constraint(_one_of(), _NO_OTHER_FORM),
    "guided_choice": _Constraint(_one_of(), _NO_OTHER_FORM),
    "guided_grammar": _Constraint(_one_of(), _NO_OTHER_FORM),
    "guided_decoding_backend": _Constraint(_one_of(), _NO_OTHER_FORM),
    "guided_whitespace_pattern": _Constraint(_one_of(), _NO_OTHER_FORM),
    "structural_tag": _Constraint(_one_of(), _NO_OTHER_FORM),
    "tools": _Constraint(_one_of([]), _NO_TOOLS),
    "tool_choice": _Constraint(_one_of("none", "auto"), _NO_TOOLS),
    "parallel_tool_calls": _Constraint(_one_of(True, False), _NO_TOOLS),
    "functions": _Constraint(_one_of([]), _NO_TOOLS),
    "function_call": _Constraint(_one_of("none", "auto"), _NO_TOOLS),
    "web_search_options": _Constraint(_one_of(), _NO_TOOLS),
    "n": _Constraint(_one_of(1), _ONE_ANSWER),
    "best_of": _Constraint(_one_of(1), _ONE_ANSWER),
    "logprobs": _Constraint(_one_of(False), _NO_LOGPROBS),
    "top_logprobs": _Constraint(_one_of(0), _NO_LOGPROBS),
    "prompt_logprobs": _Constraint(_one_of(), _NO_LOGPROBS),
    "logit_bias": _Constraint(_one_of({}), _NO_BIAS),
    "bad_words": _Constraint(_one_of([]), _NO_BIAS),
    "allowed_token_ids": _Constraint(_one_of(), _NO_BIAS),
    "modalities": _Constraint(_one_of(["text"]), _ONE_TEXT),
    "audio": _Constraint(_one_of(), _ONE_TEXT),
    "prediction": _Constraint(_one_of(), _ONE_TEXT),
    "min_tokens": _Constraint(_one_of(0), _ONE_TEXT),
    "ignore_eos": _Constraint(_one_of(False), _ONE_TEXT),
    "echo": _Constraint(_one_of(False), _ONE_TEXT),
    "store": _Constraint(_one_of(False), "nothing is ever stored; leave the field out"),
}
"""The fields, and when each is taken."""

"""What the OpenAPI document says about a body that `intake` reads and FastAPI does not."""

from typing import Any

from pydantic import BaseModel


def inline_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema with its definitions where they are used: a part of a document has no root to refer to."""
    schema = kind.model_json_schema(ref_template="{model}")
    definitions = schema.pop("$defs", {})

    def inlined(node: Any) -> Any:
        if isinstance(node, list):
            return [inlined(item) for item in node]
        if not isinstance(node, dict):
            return node
        if isinstance(name := node.get("$ref"), str):
            return inlined(definitions[name])
        return {key: inlined(value) for key, value in node.items()}

    document: dict[str, Any] = inlined(schema)
    return document

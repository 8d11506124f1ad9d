"""What the OpenAPI document says where FastAPI does not know it: bodies that `intake` reads, keys of the `gate`."""

from typing import Any

from fastapi import FastAPI
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


def with_keys(app: FastAPI) -> None:
    """Lets the app's document say that a key is asked for; the routes' own `security` wins over it."""
    document = app.openapi()
    document.setdefault("components", {})["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key of emotion-svc."}
    }
    document["security"] = [{"key": []}]

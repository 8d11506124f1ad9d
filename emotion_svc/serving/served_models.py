"""Under which names models are served: their own, and those that callers already use for another."""

from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from emotion_svc.serving.openai_errors import OPENAI_PROBLEMS, OPENAI_REFUSALS
from emotion_svc.serving.registry import Listed, Registry, State

_NAME_PARAMETER: Final[dict[str, Any]] = {
    "name": "name",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "A name of GET /v1/models, slashes and all.",
}


class ServedModel(BaseModel):
    """A name that a request may carry in `model`. What follows `owned_by` is not OpenAI's; `root` is vLLM's."""

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When this process began to serve it, in seconds since 1970.")
    owned_by: Literal["emotion_svc"] = "emotion_svc"
    root: str = Field(description="The model that answers under this name.")
    digest: str | None = Field(description="Digest of its file, while it is ready.")
    state: State = Field(description="Whether it is ready; what is unloaded is loaded by the next request for it.")


class ModelList(BaseModel):
    """All of them, the default model's own name first."""

    model_config = ConfigDict(frozen=True)

    object: Literal["list"] = "list"
    data: list[ServedModel]


def models_wire(models: Registry, started: int) -> APIRouter:
    """`GET /v1/models` and `GET /v1/models/{id}`. `started` is in seconds since 1970."""
    router = APIRouter(tags=["openai"])

    def spell(listed: Listed) -> ServedModel:
        return ServedModel(id=listed.name, created=started, root=listed.root, digest=listed.digest, state=listed.state)

    @router.get("/v1/models", summary="The names that `model` may have", responses=OPENAI_PROBLEMS)
    async def list_models() -> ModelList:
        return ModelList(data=[spell(listed) for listed in models.listed])

    @router.get(
        "/v1/models/{name:path}",  # the names of the Hub have a slash
        summary="One of them",
        # FastAPI is not told of the name: it would document a status that is never sent.
        openapi_extra={"parameters": [_NAME_PARAMETER]},
        responses={404: OPENAI_REFUSALS[404], **OPENAI_PROBLEMS},
    )
    async def retrieve_model(request: Request) -> ServedModel:
        return spell(models.describe(request.path_params["name"]))

    return router

"""Under which names the model is served: its own, and those that callers already use for another (`model_aliases`)."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from emotion_svc.serving.openai_errors import OPENAI_PROBLEMS, UnknownModel
from emotion_svc.serving.service import Service


class ServedModel(BaseModel):
    """A name that a request may carry in `model`. `root` and `digest` are not OpenAI's; `root` is vLLM's."""

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When this process began to serve it, in seconds since 1970.")
    owned_by: Literal["emotion_svc"] = "emotion_svc"
    root: str = Field(description="The model that answers under this name.")
    digest: str = Field(description="Digest of its file.")


class ModelList(BaseModel):
    """All of them, the model's own name first."""

    model_config = ConfigDict(frozen=True)

    object: Literal["list"] = "list"
    data: list[ServedModel]


class Names:
    """The model's own name and its aliases."""

    def __init__(self, service: Service, aliases: tuple[str, ...]) -> None:
        self._service, self._aliases = service, aliases

    @property
    def all(self) -> tuple[str, ...]:
        """Every name, the model's own first.

        Raises:
            EngineUnavailable: the engine is not ready.
        """
        return tuple(dict.fromkeys((self._service.engine.model_name, *self._aliases)))

    def check(self, name: str) -> None:
        """Lets a served name pass.

        Raises:
            UnknownModel: nothing is served under this name, which is not repeated, as it could hold anything.
            EngineUnavailable: the engine is not ready.
        """
        if name not in self.all:
            raise UnknownModel(
                f"model: there is none of this name ({len(name)} characters); there are {', '.join(self.all)}; others "
                "can be mapped with the setting model_aliases",
                "model",
            )


def models_wire(service: Service, names: Names, started: int) -> APIRouter:
    """`GET /v1/models`. `started` is in seconds since 1970."""
    router = APIRouter(tags=["openai"])

    @router.get("/v1/models", summary="The names that `model` may have", responses=OPENAI_PROBLEMS)
    async def models() -> ModelList:
        engine = service.engine
        return ModelList(
            data=[
                ServedModel(id=name, created=started, root=engine.model_name, digest=engine.model_digest)
                for name in names.all
            ]
        )

    return router

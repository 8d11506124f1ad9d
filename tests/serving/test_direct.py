"""A direct route calls its function with the request; what FastAPI would do besides is refused, not left out."""

from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response

from emotion_svc.serving.direct import DirectRoute


async def echo(request: Request) -> Response:
    return Response(await request.body())


def deny() -> None:
    raise HTTPException(403)


async def test_the_function_gets_the_request_and_gives_the_response() -> None:
    app, router = FastAPI(), APIRouter(route_class=DirectRoute)
    router.post("/echo", summary="Says it again")(echo)
    app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        assert (await client.post("/echo", content=b"said")).text == "said"
        assert (await client.get("/echo")).status_code == 405
    assert app.openapi()["paths"]["/echo"]["post"]["summary"] == "Says it again"


def test_dependencies_are_refused() -> None:
    with pytest.raises(TypeError, match="/echo: a direct route's function is async and takes the request alone"):
        APIRouter(route_class=DirectRoute).post("/echo", dependencies=[Depends(deny)])(echo)
    with pytest.raises(TypeError):
        APIRouter(route_class=DirectRoute, dependencies=[Depends(deny)]).post("/echo")(echo)


def test_other_parameters_and_plain_functions_are_refused() -> None:
    async def detailed(request: Request, detail: bool = False) -> Response:
        return Response(f"{request.method} {detail}")

    async def depending(request: Request, who: Annotated[None, Depends(deny)]) -> Response:
        return Response(f"{request.method} {who}")

    async def nothing() -> Response:
        return Response()

    def plain(request: Request) -> Response:
        return Response(request.method)

    for function in (detailed, depending, nothing, plain):
        with pytest.raises(TypeError):
            APIRouter(route_class=DirectRoute).post("/echo")(function)

"""`/docs`: Swagger UI, under a policy that lets the page run its own script and nothing else."""

import hashlib
import re
from base64 import b64encode
from typing import Final

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_swagger_ui_html

_LIBRARIES: Final = "https://cdn.jsdelivr.net"
"""Where FastAPI's page loads Swagger UI from."""


def docs_page(title: str, openapi_url: str) -> APIRouter:
    """`/docs`."""
    router = APIRouter()
    page = bytes(get_swagger_ui_html(openapi_url=openapi_url, title=title, swagger_favicon_url="data:,").body)
    [script] = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    digest = b64encode(hashlib.sha256(script).digest()).decode()
    policy = (
        f"default-src 'none'; script-src {_LIBRARIES} 'sha256-{digest}'; style-src {_LIBRARIES} 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
    )

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(page, media_type="text/html", headers={"content-security-policy": policy})

    return router

"""From an error of our tree to the answer that refuses a request, in the language of its wire."""

import math

from fastapi import Response
from starlette.types import Scope

from emotion_svc.errors import ServiceError
from emotion_svc.serving.notes import note
from emotion_svc.serving.openai_errors import Refused, encode_for
from emotion_svc.serving.problems import problem_of


def refusal(scope: Scope, error: ServiceError) -> Response:
    """The answer; its reason is noted for the log and the metrics."""
    note(refused=error.kind)
    headers = {}
    if error.status in {429, 503}:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s or 0)))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    param = error.param if isinstance(error, Refused) else None
    body = encode_for(scope, problem_of(error), error.status, param)
    return Response(body, error.status, headers, media_type="application/json")

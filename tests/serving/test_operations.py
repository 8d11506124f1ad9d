"""What operators use: health, readiness, metrics, the OpenAPI document, and what a failing engine looks like."""

import gc
import json
import re
from collections.abc import Callable

import httpx
import pytest

from emotion_svc.config import Settings
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import CanaryFailed, DeadlineExceeded, EngineUnavailable, ModelError, ServiceError
from emotion_svc.schema import Answer, Turn, Verdict
from emotion_svc.serving.app import create_app

TURN = {"previous_question": "", "previous_answer": "", "response": "Xin chào!"}


def test_it_is_alive_and_ready_and_says_what_answers(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    for path in ("/healthz", "/readyz"):
        asked = client.head(path)
        assert (asked.status_code, asked.content) == (200, b"")
    assert client.get("/readyz").json() == {
        "status": "ready",
        "engine": "scripted",
        "model": "scripted",
        "model_digest": "0" * 16,
    }


def test_what_is_loaded_when_it_listens_is_out_of_the_collectors_sight(serve: Callable[..., httpx.Client]) -> None:
    gc.unfreeze()
    try:
        serve()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()


async def test_before_the_engine_has_started_it_is_alive_but_not_ready() -> None:
    app = create_app(ScriptedEngine(), Settings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        assert (await client.get("/healthz")).status_code == 200
        for answer in (await client.get("/readyz"), await client.post("/v1/classify", json=TURN)):
            assert answer.status_code == 503
            assert answer.json()["error"]["kind"] == "engine_unavailable"
        async with app.router.lifespan_context(app):
            assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503


class OffGrammar(ScriptedEngine):
    """Its probabilities sum to one half."""

    async def classify(self, turns: list[Turn]) -> list[Verdict]:  # type: ignore[override]
        return [
            verdict.model_copy(
                update={"emotion_posterior": {label: p / 2 for label, p in verdict.emotion_posterior.items()}}
            )
            for verdict in await super().classify(turns)
        ]


class Damaged(ScriptedEngine):
    async def start(self) -> None:
        raise ModelError("'model.onnx' is damaged")


@pytest.mark.parametrize(("engine", "error"), [(OffGrammar(), CanaryFailed), (Damaged(), ModelError)])
async def test_an_engine_that_cannot_work_fails_the_start(engine: ScriptedEngine, error: type[Exception]) -> None:
    app = create_app(engine, Settings())
    with pytest.raises(error):
        async with app.router.lifespan_context(app):
            pytest.fail("it started")


@pytest.mark.parametrize("error", [EngineUnavailable("gone"), DeadlineExceeded("late")])
def test_an_error_of_the_engine_has_its_own_status(serve: Callable[..., httpx.Client], error: ServiceError) -> None:
    client = serve(ScriptedEngine({"Xin chào!": error}))
    answer = client.post("/v1/classify", json=TURN)
    assert answer.status_code == error.status
    assert answer.json() == {"error": {"kind": error.kind, "message": str(error), "retryable": True}}


def test_a_defect_is_a_problem_too_and_the_next_request_is_answered(serve: Callable[..., httpx.Client]) -> None:
    client = serve(ScriptedEngine({"Xin chào!": RuntimeError("Xin chào!")}))
    answer = client.post("/v1/classify", json=TURN)
    assert answer.status_code == 500
    assert answer.json()["error"]["kind"] == "internal"
    assert "x-request-id" in answer.headers
    assert client.post("/v1/classify", json=TURN | {"response": "Tạm biệt!"}).status_code == 200


def metric(text: str, name: str) -> float:
    [value] = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(value)


def test_metrics_count_requests_answers_and_stages(serve: Callable[..., httpx.Client]) -> None:
    client = serve(ScriptedEngine({"Xin chào!": Answer(emotion="proud", learn_score=True)}, confidence=0.75))
    client.post("/v1/classify", json=TURN)
    client.post("/v1/classify/batch", json={"turns": [TURN, TURN]})
    client.post("/v1/classify", json={})
    client.get("/nowhere")
    text = client.get("/metrics").text
    for name, value in {
        'emotion_svc_requests_total{status="200",wire="/v1/classify"}': 1,
        'emotion_svc_requests_total{status="422",wire="/v1/classify"}': 1,
        'emotion_svc_requests_total{status="200",wire="/v1/classify/batch"}': 1,
        'emotion_svc_requests_total{status="404",wire="unknown"}': 1,
        'emotion_svc_request_seconds_count{wire="/v1/classify"}': 2,
        'emotion_svc_answers_total{emotion="proud",learn_score="true"}': 3,
        'emotion_svc_confidence_bucket{le="0.7",slot="learn_score"}': 0,
        'emotion_svc_confidence_bucket{le="0.8",slot="learn_score"}': 3,
        'emotion_svc_stage_seconds_count{stage="queue"}': 2,
        'emotion_svc_stage_seconds_count{stage="tokenize"}': 2,
        'emotion_svc_stage_seconds_count{stage="infer"}': 2,
        "emotion_svc_truncated_total": 0,
        'emotion_svc_model_info{digest="0000000000000000",engine="scripted",model="scripted"}': 1,
    }.items():
        assert metric(text, name) == value
    assert metric(text, "process_resident_memory_bytes") > 0


def test_a_batch_counts_by_its_turns_and_is_timed_once(serve: Callable[..., httpx.Client]) -> None:
    client = serve(ScriptedEngine({"Hỏng rồi!": EngineUnavailable("gone")}))
    for response, status in (("Xin chào!", 200), ("Hỏng rồi!", 503)):
        turns = [TURN | {"response": response, "previous_answer": str(number)} for number in range(3)]
        assert client.post("/v1/classify/batch", json={"turns": turns}).status_code == status
    text = client.get("/metrics").text
    for outcome in ("answered", "failed"):
        assert metric(text, f'emotion_svc_tier_calls_total{{outcome="{outcome}",tier="scripted"}}') == 3
    assert metric(text, 'emotion_svc_tier_seconds_count{tier="scripted"}') == 1


def test_two_apps_in_one_process_count_apart(serve: Callable[..., httpx.Client]) -> None:
    first, second = serve(), serve()
    first.post("/v1/classify", json=TURN)
    assert 'wire="/v1/classify"' in first.get("/metrics").text
    assert 'wire="/v1/classify"' not in second.get("/metrics").text


def test_the_docs_page_and_its_document_are_there(client: httpx.Client) -> None:
    assert "swagger" in client.get("/docs").text
    paths = client.get("/openapi.json").json()["paths"]
    openai = {"/v1/chat/completions", "/v1/decisions", "/v1/models", "/v1/models/{name}"}
    assert set(paths) == {"/v1/classify", "/v1/classify/batch", "/healthz", "/readyz", "/metrics"} | openai
    native = set(paths["/v1/classify"]["post"]["responses"])
    assert native == {"200", "401", "404", "408", "413", "422", "429", "500", "503"}
    assert set(paths["/v1/decisions"]["post"]["responses"]) == {*native - {"422"}, "400"}


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch", "/v1/chat/completions", "/v1/decisions"])
def test_every_example_of_the_document_is_answered(client: httpx.Client, path: str) -> None:
    body = client.get("/openapi.json").json()["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"]
    assert "$ref" not in json.dumps(body)
    for example in body["examples"].values():
        assert client.post(path, json=example["value"]).status_code == 200


def test_the_document_tells_the_limits(serve: Callable[..., httpx.Client]) -> None:
    paths = serve(max_field_chars=10, max_batch=3).get("/openapi.json").json()["paths"]
    turns = paths["/v1/classify/batch"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"][
        "turns"
    ]
    assert turns["maxItems"] == 3
    assert turns["items"]["properties"]["response"]["maxLength"] == 10
    assert turns["items"]["additionalProperties"] is False

"""OpenTelemetry: a span for each request, off unless it is configured, and no word of a turn in it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from emotion_svc.config import Settings
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import MissingExtra, SetupError
from emotion_svc.serving.traces import tracing_from
from tests.serving.conftest import listening

MARK = "Zanzibar"
TURN = {"previous_question": MARK, "previous_answer": MARK, "response": MARK}
PLACE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@contextmanager
def traced(engine: ScriptedEngine) -> Iterator[tuple[httpx.Client, InMemorySpanExporter]]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with listening(engine, Settings(), tracing=provider) as client:
        yield client, exporter


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_each_request_is_a_span_with_its_facts_in_the_callers_trace() -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"traceparent": f"00-{trace}-{parent}-01", "x-request-id": "r-1"}
    with traced(ScriptedEngine()) as (client, exporter):
        client.post("/v1/classify", json=TURN, headers=headers)
    [span] = exporter.get_finished_spans()
    assert span.name == "POST /v1/classify"
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (trace, parent)
    known = attributes(span)
    assert known["http.request.method"] == "POST"
    assert known["http.route"] == "/v1/classify"
    assert known["http.response.status_code"] == 200
    assert (known["emotion_svc.request_id"], known["emotion_svc.turns"]) == ("r-1", 1)
    assert {"emotion_svc.queue_ms", "emotion_svc.tokenize_ms", "emotion_svc.infer_ms"} <= set(known)


def test_a_refusal_has_its_reason_and_a_defect_is_an_error() -> None:
    with traced(ScriptedEngine({MARK: RuntimeError(MARK)})) as (client, exporter):
        client.post("/v1/classify", json={})
        client.post("/v1/classify", json=TURN)
    refused, failed = exporter.get_finished_spans()
    assert attributes(refused)["emotion_svc.refused"] == "invalid_turn"
    assert refused.status.status_code == StatusCode.UNSET
    assert attributes(failed)["http.response.status_code"] == 500
    assert failed.status.status_code == StatusCode.ERROR


def test_no_word_of_a_turn_and_nothing_that_a_caller_wrote_is_in_a_span() -> None:
    headers = {
        "tracestate": f"a={MARK}",
        "baggage": f"child={MARK}",
        "user-agent": MARK,
        "traceparent": MARK,
        "x-request-id": f"{MARK} {MARK}",
    }
    with traced(ScriptedEngine({MARK: RuntimeError(MARK)})) as (client, exporter):
        for path in ("/v1/classify", f"/v1/classify?a={MARK}", f"/{MARK}", "/v1/decisions"):
            client.post(path, json=TURN, headers=headers)
            client.post(path, content=MARK, headers=headers)
    spans = exporter.get_finished_spans()
    assert len(spans) == 8
    for span in spans:
        assert MARK not in span.to_json()
        assert MARK not in str(span.context.trace_state)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "pika"},
        PLACE | {"OTEL_SDK_DISABLED": "true"},
        PLACE | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_it_is_off_unless_a_place_to_send_to_is_named(environ: dict[str, str]) -> None:
    assert tracing_from(environ) is None


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_it_is_on_where_a_place_is_named(name: str) -> None:
    provider = tracing_from({name: "http://127.0.0.1:1"})
    assert provider is not None
    assert provider.resource.attributes["service.name"] == "emotion-svc"
    provider.shutdown()


def test_the_standard_variable_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pika")
    provider = tracing_from(PLACE | {"OTEL_SERVICE_NAME": "pika"})
    assert provider is not None
    assert provider.resource.attributes["service.name"] == "pika"
    provider.shutdown()


def test_another_exporter_is_refused() -> None:
    with pytest.raises(SetupError, match="OTEL_TRACES_EXPORTER: expected 'otlp' or 'none'"):
        tracing_from(PLACE | {"OTEL_TRACES_EXPORTER": "zipkin"})


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtra, match="install the extra 'otel'"):
        tracing_from(PLACE)


def test_without_traces_the_sdk_is_not_imported() -> None:
    code = "import sys, emotion_svc.serving.run; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [module for module in loaded if module.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]


WITH_A_GLOBAL_PROVIDER = """
import asyncio, httpx
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from emotion_svc.config import Settings
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.serving.app import create_app

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
app = create_app(ScriptedEngine(), Settings())

async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        print((await client.get("/healthz?child=Zanzibar")).status_code)

asyncio.run(ask())
"""


def test_the_web_framework_makes_no_spans_of_its_own_which_would_hold_the_query() -> None:
    done = subprocess.run([sys.executable, "-c", WITH_A_GLOBAL_PROVIDER], capture_output=True, text=True, check=True)
    assert done.stdout == "200\n"

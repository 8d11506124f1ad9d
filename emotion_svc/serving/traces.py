"""OpenTelemetry traces: one span for each request, with names and numbers and no word of a turn.

Off unless the standard variables of OpenTelemetry name a place to send them to; needs the extra `otel`. The span is
made here and not by OpenTelemetry's own ASGI instrumentation, which records the URL with its query and, of a failure,
the exception's text.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from emotion_svc import __version__
from emotion_svc.errors import MissingExtra, SetupError
from emotion_svc.serving.notes import TRACE_ID, Fact, notes

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_STANDARD_NAMES: Final = {
    "method": "http.request.method",
    "wire": "http.route",
    "status": "http.response.status_code",
}
"""OpenTelemetry's semantic conventions for HTTP spans, version 1.23 and later; the rest has our prefix."""
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def tracing_from(environ: Mapping[str, str]) -> "TracerProvider | None":
    """What sends spans by OTLP over HTTP, as the variables `OTEL_…` say; None where they name no place.

    Raises:
        MissingExtra: they do, but OpenTelemetry's SDK is not installed.
        SetupError: they ask for an exporter that is not there.
    """
    exporter = environ.get("OTEL_TRACES_EXPORTER", "otlp")
    is_off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none"
    if is_off or not any(environ.get(name) for name in _ENDPOINTS):
        return None
    if exporter != "otlp":
        raise SetupError("OTEL_TRACES_EXPORTER: expected 'otlp' or 'none', found another; set one of these or unset it")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise MissingExtra("opentelemetry-sdk", "otel") from None
    name = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": "emotion-svc"}
    provider = TracerProvider(resource=Resource.create({**name, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))  # these read the variables themselves
    return provider


class Traced:
    """Gives each request a span, which goes on with the caller's trace (`traceparent`). Wraps the border."""

    def __init__(self, app: ASGIApp, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = provider.get_tracer("emotion_svc", __version__)
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, format_trace_id

        # Not tracestate and not baggage: in these a caller can write what it likes.
        sent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"}
        with self._tracer.start_as_current_span(
            "request",
            context=self._propagator.extract(sent),
            kind=SpanKind.SERVER,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            scope[TRACE_ID] = format_trace_id(span.get_span_context().trace_id)
            await self._app(scope, receive, send)
            _describe(span, notes())


def _describe(span: "Span", facts: Mapping[str, Fact]) -> None:
    from opentelemetry.trace import StatusCode

    span.update_name(f"{facts['method']} {facts['wire']}")
    for name, value in facts.items():
        span.set_attribute(_STANDARD_NAMES.get(name, f"emotion_svc.{name}"), value)
    if int(facts["status"]) >= 500:
        span.set_status(StatusCode.ERROR)

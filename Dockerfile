# docker build .                  the embedded engine, on the CPU
# docker build --target vllm .    the vllm engine, on a GPU
#
# Others than the container can connect, so it does not start without keys: give EMOTION_SVC_KEYS_FILE, or
# EMOTION_SVC_KEYS=none-on-purpose where something in front checks who asks (docs/operations.md).
#
# Debian's release and vLLM's version are those that the steps were tried with.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .


# Has vLLM, uv and the user vllm (uid 2000); its entry point is vLLM's own server. Asking for the extra makes uv
# keep to the versions that vLLM pins.
FROM vllm/vllm-openai:v0.32.0 AS vllm
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel \
    uv pip install --system --no-cache "emotion-svc[vllm] @ file://$(echo /wheel/*.whl)"
USER vllm
WORKDIR /home/vllm
ENV EMOTION_SVC_HOST=0.0.0.0 EMOTION_SVC_PORT=30030
EXPOSE 30030
# http.client, because urllib would ask a proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m CMD python3 -c "\
import http.client; asked = http.client.HTTPConnection('127.0.0.1', $EMOTION_SVC_PORT, timeout=3); \
asked.request('GET', '/readyz'); raise SystemExit(asked.getresponse().status != 200)"
ENTRYPOINT []
CMD ["emotion-svc", "serve", "--engine", "vllm"]


FROM python:3.11-slim-bookworm AS cpu
RUN useradd --create-home --uid 10001 pika
# Hosts as engines and tiers, and traces; none of it is imported unless it is asked for.
ARG EXTRAS=remote,otel
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel \
    pip install --no-cache-dir "emotion-svc[$EXTRAS] @ file://$(echo /wheel/*.whl)"
USER pika
WORKDIR /home/pika
ENV EMOTION_SVC_HOST=0.0.0.0 EMOTION_SVC_PORT=30030
EXPOSE 30030
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD python3 -c "\
import http.client; asked = http.client.HTTPConnection('127.0.0.1', $EMOTION_SVC_PORT, timeout=3); \
asked.request('GET', '/readyz'); raise SystemExit(asked.getresponse().status != 200)"
CMD ["emotion-svc", "serve"]

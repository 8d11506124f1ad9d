# Two stages: the wheel is built in the first; the second holds nothing but Python, the wheel and its needs.
FROM python:3.11-slim AS build
WORKDIR /src
RUN pip install --no-cache-dir build==1.3.0
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY emotion_svc ./emotion_svc
COPY prompts ./prompts
RUN python -m build --wheel --outdir /wheel

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 pika
COPY --from=build /wheel /wheel
RUN pip install --no-cache-dir /wheel/*.whl && rm -rf /wheel
USER pika
ENV EMOTION_SVC_HOST=0.0.0.0 EMOTION_SVC_PORT=30030
EXPOSE 30030
HEALTHCHECK --interval=10s --timeout=2s --start-period=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:30030/readyz', timeout=1)"]
CMD ["emotion-svc", "serve"]

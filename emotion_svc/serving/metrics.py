"""What operators see: Prometheus metrics, in a registry of the app's own. Names and numbers, no word of a turn.

Every gauge says how the values of several workers are put together (`multiprocess_mode`, one of the live ones).
"""

import os
from collections.abc import Callable, Iterable
from math import nan
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from emotion_svc.engines.base import Engine
from emotion_svc.errors import Overloaded
from emotion_svc.routing.breaker import State
from emotion_svc.routing.observer import Outcome
from emotion_svc.routing.spend import SpendError
from emotion_svc.schema import Reason, Timings, TokenUsage, Verdict
from emotion_svc.serving.processes import FOLDER_VARIABLE, PID_METRIC, AllWorkers

_SECONDS: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
"""Fine below 50 ms, which is what an answer may take."""
_PROBABILITY: Final = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)

_BREAKER: Final[dict[State, int]] = {"closed": 0, "half_open": 1, "open": 2}


class Metrics:
    """Counts what one app does; in a worker (`processes.count_as_worker`), what all workers do."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._rendered = registry
        if (folder := os.environ.get(FOLDER_VARIABLE)) is None:
            ProcessCollector(registry=registry)
        else:
            self._rendered = CollectorRegistry()
            self._rendered.register(AllWorkers(folder))
        self._requests = Counter("emotion_svc_requests", "Answered requests.", ["wire", "status"], registry=registry)
        self._refused = Counter(
            "emotion_svc_refused", "Requests that were refused or failed, by reason.", ["reason"], registry=registry
        )
        overloaded = Histogram(
            "emotion_svc_overloaded_seconds",
            "Request read to refusal for too much work, by where: at the door, or in the line of an engine.",
            ["where"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._overloaded_s = {"door": overloaded.labels("door"), "line": overloaded.labels("line")}
        self._rate_limited = Counter(
            "emotion_svc_rate_limited", "Requests over their client's rate, by key.", ["client"], registry=registry
        )
        self._request_seconds = Histogram(
            "emotion_svc_request_seconds", "Request to answer, by wire.", ["wire"], registry=registry, buckets=_SECONDS
        )
        stages = Histogram(
            "emotion_svc_stage_seconds",
            "Where the time of a request went; for a batch, its slowest turn.",
            ["stage"],
            registry=registry,
            buckets=_SECONDS,
        )
        # Looked up once, and not in each request (docs/performance.md).
        self._queue_s, self._tokenize_s, self._infer_s = map(stages.labels, ("queue", "tokenize", "infer"))
        self._in_flight = Gauge(
            "emotion_svc_turns_in_flight",
            "Turns that are worked on or wait.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._answers = Counter("emotion_svc_answers", "Answered turns.", ["emotion", "learn_score"], registry=registry)
        confidence = Histogram(
            "emotion_svc_confidence",
            "Probability of what was chosen, by slot.",
            ["slot"],
            registry=registry,
            buckets=_PROBABILITY,
        )
        self._emotion_confidence, self._learn_score_confidence = map(confidence.labels, ("emotion", "learn_score"))
        self._truncated = Counter(
            "emotion_svc_truncated", "Turns of which a middle was cut to fit the model.", registry=registry
        )
        self._model = Gauge(
            "emotion_svc_model_info",
            "The models: 1 for one that answers, 0 for one that was unloaded.",
            ["engine", "model", "digest"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._loads = Counter(
            "emotion_svc_model_loads", "Loads of further models.", ["model", "outcome"], registry=registry
        )
        self._ready = Gauge(
            "emotion_svc_ready", "Workers that may be sent work.", registry=registry, multiprocess_mode="livesum"
        )
        self._starts = Counter("emotion_svc_worker_starts", "Processes that became ready.", registry=registry)
        self._pid = Gauge(PID_METRIC, "Process id.", registry=registry, multiprocess_mode="liveall")

        self._tier_answers = Counter(
            "emotion_svc_tier_answers",
            "Turns by the tier that answered and why.",
            ["tier", "reason"],
            registry=registry,
        )
        self._tier_calls = Counter(
            "emotion_svc_tier_calls",
            "Turns that a tier was asked for, by outcome.",
            ["tier", "outcome"],
            registry=registry,
        )
        self._tier_seconds = Histogram(
            "emotion_svc_tier_seconds",
            "Answered calls of a tier; a batch of turns is one.",
            ["tier"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._breaker = Gauge(
            "emotion_svc_tier_breaker",
            "0 closed (asked), 1 half open (probed), 2 open; of several workers the worst.",
            ["tier"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._tokens = Counter(
            "emotion_svc_tier_tokens", "Tokens that hosts counted.", ["tier", "direction"], registry=registry
        )
        self._usd = Counter(
            "emotion_svc_tier_usd",
            "Cost in USD, at the tier's price: by the tokens that the host counted, or the most where it did not.",
            ["tier", "by"],
            registry=registry,
        )
        self._paid_calls = Counter(
            "emotion_svc_tier_paid_calls", "Calls that cost something.", ["tier", "by"], registry=registry
        )
        self._spend_today = Gauge(
            "emotion_svc_spend_today_usd",
            "All tiers and workers, since midnight UTC, reservations included.",
            registry=registry,
            multiprocess_mode="livemostrecent",  # the worker that is asked has looked just now
        )
        self._spend_today.set(0)  # else several workers would not show it before somebody looks
        self._spend_cap = Gauge(
            "emotion_svc_spend_cap_usd", "What a day may cost.", registry=registry, multiprocess_mode="livemax"
        )
        self._today_usd: Callable[[], float] | None = None
        self._lookups = Counter(
            "emotion_svc_cache_turns",
            "Turns that were kept (hit), computed for another request at the same time (shared) or computed (miss).",
            ["result"],
            registry=registry,
        )
        self._cache_bytes = Gauge(
            "emotion_svc_cache_bytes", "What the kept verdicts take.", registry=registry, multiprocess_mode="livesum"
        )
        self._evictions = Counter(
            "emotion_svc_cache_evictions", "Kept verdicts that gave way to newer ones.", registry=registry
        )

    def saw_lookups(self, *, hit: int, shared: int, miss: int) -> None:
        """So many turns of a request were looked for in the cache."""
        for result, turns in (("hit", hit), ("shared", shared), ("miss", miss)):
            if turns:
                self._lookups.labels(result).inc(turns)

    def saw_cache(self, taken_bytes: int) -> None:
        """The cache takes so much."""
        self._cache_bytes.set(taken_bytes)

    def saw_eviction(self) -> None:
        """A verdict gave way to a newer one."""
        self._evictions.inc()

    def saw_engine(self, model: str, engine: Engine) -> None:
        """The engine of a model became ready. `model` is the name that it is served under: several may be one file."""
        self._model.labels(engine.name, model, engine.model_digest).set(1)

    def is_ready(self) -> None:
        """The process may be sent work."""
        self._pid.set(os.getpid())
        self._starts.inc()
        self._ready.set(1)

    def may_be_sent_work(self, *, may: bool) -> None:
        """Whether it may be, after that."""
        self._ready.set(may)

    def saw_engine_go(self, model: str, engine: Engine) -> None:
        """It is about to be unloaded."""
        self._model.labels(engine.name, model, engine.model_digest).set(0)

    def saw_load(self, model: str, *, failed: bool) -> None:
        """A further model was loaded, or could not be."""
        self._loads.labels(model, "failed" if failed else "loaded").inc()

    def saw_request(self, wire: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(wire, status).inc()
        self._request_seconds.labels(wire).observe(seconds)

    def refused(self, reason: str) -> None:
        """A request was not served, for a reason that is the `kind` of an error of our tree."""
        self._refused.labels(reason).inc()

    def saw_overload(self, error: Overloaded, seconds: float) -> None:
        """A request's turns were refused so long after it had been read."""
        self._overloaded_s[error.where].observe(seconds)

    def limited_rate(self, client: str) -> None:
        """A client came too often. Its name is that of a key, or stands for all that have none."""
        self._rate_limited.labels(client).inc()

    def took_places(self, turns: int) -> None:
        """So many turns were admitted or, where negative, are done."""
        self._in_flight.inc(turns)

    def saw_verdicts(self, verdicts: Iterable[Verdict], slowest: Timings) -> None:
        """One request's turns were answered."""
        for verdict in verdicts:
            self._answers.labels(verdict.answer.emotion, str(verdict.answer.learn_score).lower()).inc()
            self._emotion_confidence.observe(verdict.family_confidence)
            self._learn_score_confidence.observe(verdict.learn_score_confidence)
            self._truncated.inc(verdict.truncated)
        self._queue_s.observe(slowest.queue_ms / 1e3)
        self._tokenize_s.observe(slowest.tokenize_ms / 1e3)
        self._infer_s.observe(slowest.infer_ms / 1e3)

    def saw_answer(self, tier: str, reason: Reason) -> None:
        """A turn's answer went out."""
        self._tier_answers.labels(tier, reason).inc()

    def saw_call(self, tier: str, outcome: Outcome, seconds: float, turns: int = 1) -> None:
        """A tier was asked for one turn or a batch of them, which took so long together; or would have been."""
        self._tier_calls.labels(tier, outcome).inc(turns)
        if outcome == "answered":
            self._tier_seconds.labels(tier).observe(seconds)

    def saw_breaker(self, tier: str, state: State) -> None:
        """A breaker moved."""
        self._breaker.labels(tier).set(_BREAKER[state])

    def saw_usage(self, tier: str, usage: TokenUsage | None, usd: float) -> None:
        """A call that tokens were counted for, or that may be billed, ended."""
        if usage is not None:
            self._tokens.labels(tier, "prompt").inc(usage.prompt_tokens)
            self._tokens.labels(tier, "completion").inc(usage.completion_tokens)
        by = "reservation" if usage is None else "count"
        self._usd.labels(tier, by).inc(usd)
        if usd > 0:
            self._paid_calls.labels(tier, by).inc()

    def watch_spend(self, today_usd: Callable[[], float], cap_usd: float) -> None:
        """From now on looks up what was spent today whenever it is asked."""
        self._today_usd = today_usd
        self._spend_cap.set(cap_usd)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        if self._today_usd is not None:
            try:
                self._spend_today.set(self._today_usd())
            except (SpendError, OSError):  # paid tiers are closed then, and the log says why
                self._spend_today.set(nan)
        return generate_latest(self._rendered)

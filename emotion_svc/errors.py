"""Every failure that a caller may meet, in one tree.

    ServiceError
    ├── InvalidTurn        422  the input is not a turn
    ├── TooLarge           413  a field, a batch or a body is over its limit
    ├── TooSlow            408  a body that did not come in time
    ├── Unauthorized       401  no key, or none that is known
    ├── RateLimited        429  a client that comes more often than it may
    ├── TooManyAtOnce      429  a client with more requests in flight than it may have
    ├── Overloaded         503  more work than the service takes; come back later
    ├── EngineUnavailable  503  the engine cannot answer (not started, failed)
    │   ├── ModelUnavailable    a model of several is loading or could not be loaded
    │   └── HostFailed          a remote host gave no answer
    │       ├── HostUnreachable     no connection, or it broke before the answer was whole
    │       ├── HostBusy            it takes no more calls now (429)
    │       ├── HostBroken          it failed (5xx)
    │       ├── HostSlow            it did not answer in time
    │       ├── HostRefuses         it will not take our calls (key, account, address, model)
    │       │   └── TurnRefused         it will not take this turn (400, 413, 422)
    │       └── AnswerRefused       what it said is no answer of ours
    ├── DeadlineExceeded   503  no answer in time
    ├── Refused            400  OpenAI's wires alone (`serving/openai_errors.py`): what cannot be asked there
    │   └── UnknownModel   404  on every wire: no model is served under that name
    └── SetupError         500  the process must not start: the message says what, where, what to do
        ├── ModelError          a model directory is missing, damaged or does not fit
        ├── PromptError         a prompt file is missing or wrong
        ├── MissingExtra        an optional dependency is not installed
        ├── CanaryFailed        an engine left the answer language or gave no sensible answer
        └── ConfigError, DataError, PresetError, TiersError, SpendError, CostError: each beside what it is about

Callers branch on the class or on `kind`, never on the text. A message says what was expected, what was
found and what to do, and never holds the words of a turn: lengths, names and digests only.
"""

from typing import ClassVar, Final, Literal


class ServiceError(Exception):
    """Root of the tree. `retryable` says whether the same request may succeed later, and `retry_after_s` when."""

    kind: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None
    """Seconds after which it may, where that is known."""


class InvalidTurn(ServiceError):
    """The input is not a turn: a field is missing, unknown, empty or of the wrong type."""

    kind = "invalid_turn"
    status = 422


class TooLarge(ServiceError):
    """A field, a batch or a body is over its limit. Nothing was computed."""

    kind = "too_large"
    status = 413


class TooSlow(ServiceError):
    """The body did not come within the time that it has. Nothing was computed."""

    kind = "too_slow"
    status = 408
    retryable = True


class Unauthorized(ServiceError):
    """The request carries no key, or none that is known. The message does not say which."""

    kind = "invalid_api_key"
    status = 401


class RateLimited(ServiceError):
    """The client comes more often than it may. Retry after `retry_after_s` seconds."""

    kind = "rate_limit_exceeded"
    status = 429
    retryable = True

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyAtOnce(ServiceError):
    """The client has as many requests in flight as it may."""

    kind = "too_many_at_once"
    status = 429
    retryable = True


class Overloaded(ServiceError):
    """More work is waiting than the service takes on. Retry after `retry_after_s` seconds.

    It is refused at the door, when it comes, or in the line of an engine, where it has waited too long.
    """

    kind = "overloaded"
    status = 503
    retryable = True

    def __init__(self, message: str, retry_after_s: int = 1, *, where: Literal["door", "line"] = "door") -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.where: Final = where


class EngineUnavailable(ServiceError):
    """The engine cannot answer now."""

    kind = "engine_unavailable"
    status = 503
    retryable = True


class ModelUnavailable(EngineUnavailable):
    """The model that the request names is being loaded, or could not be. Retry after `retry_after_s` seconds."""

    kind = "model_unavailable"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HostFailed(EngineUnavailable):
    """A remote host gave no answer.

    `may_try_again_now` says whether the same call may be sent once more at once (or after `retry_after_s`
    seconds, where the host names them); if not, it would end the same way. `retry_after_s` is None where the
    host names nothing.
    """

    kind = "host_failed"
    may_try_again_now: ClassVar[bool] = False

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HostUnreachable(HostFailed):
    """There is no connection (refused, unknown name, TLS), or it broke before the answer was whole.

    `was_sent` says whether the host may have got the call, and may bill it.
    """

    kind = "host_unreachable"
    may_try_again_now = True

    def __init__(self, message: str, retry_after_s: float | None = None, *, was_sent: bool = True) -> None:
        super().__init__(message, retry_after_s)
        self.was_sent = was_sent


class HostBusy(HostFailed):
    """The host takes no more calls now (429)."""

    kind = "host_busy"
    may_try_again_now = True


class HostBroken(HostFailed):
    """The host failed (5xx), or sent what is no reply of its wire."""

    kind = "host_broken"
    may_try_again_now = True


class HostSlow(HostFailed):
    """The host did not answer in time. It is not asked again at once: the time is gone."""

    kind = "host_slow"


class HostRefuses(HostFailed):
    """The host will not take our calls: key, model, address or fields are wrong, or the account is empty."""

    kind = "host_refuses"


class TurnRefused(HostRefuses):
    """The host will not take this turn: it is longer than the model's window, or its words are not allowed there.

    That says nothing about the next one, and nothing about the host. One that takes no field of ours refuses the
    canary, too.
    """

    kind = "turn_refused"


class AnswerRefused(HostFailed):
    """What the host said is not exactly one answer of ours.

    It is billed all the same: `prompt_tokens` and `completion_tokens` are what the host counted, 0 where it did not.
    """

    kind = "answer_refused"

    def __init__(self, message: str, *, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        super().__init__(message)
        self.prompt_tokens, self.completion_tokens = prompt_tokens, completion_tokens


class DeadlineExceeded(ServiceError):
    """No engine answered within the time that the request had."""

    kind = "deadline_exceeded"
    status = 503
    retryable = True


class SetupError(ServiceError):
    """The process must not start; the message says what is wrong, where, and what to do."""

    kind = "setup"


class ModelError(SetupError):
    """A model directory is missing, damaged, or its parts do not belong together."""

    kind = "model"


class PromptError(SetupError):
    """A prompt file is missing, malformed, or lacks a variable."""

    kind = "prompt"


class MissingExtra(SetupError):
    """An engine needs a package that is not installed."""

    kind = "missing_extra"

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package '{package}', which is not installed; "
            f"install the extra '{extra}' of emotion-svc (in a checkout: pip install '.[{extra}]')"
        )


class CanaryFailed(SetupError):
    """An engine answered the canary turn outside the answer language, or not at all."""

    kind = "canary"

"""The models of one process: the default one, there from start to stop, and further ones, loaded at first use."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Final, Literal, NamedTuple

from emotion_svc.config import ConfigError, WhileLoading
from emotion_svc.engines.factory import running
from emotion_svc.errors import DeadlineExceeded, EngineUnavailable, ModelUnavailable, Overloaded, ServiceError
from emotion_svc.routing.router import Router
from emotion_svc.serving.budget import Budget
from emotion_svc.serving.memory import give_back_freed
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.openai_errors import UnknownModel
from emotion_svc.serving.readiness import FAILURES

RETRY_S: Final = 30
"""How long a model that could not be loaded, or failed, is left alone before a request may try again."""
_PAUSES_S: Final = (0.0, 1.0, 2.0, 4.0)
"""Before each canary that a doubtful model is asked: what fails for a moment is not unloaded for it."""

State = Literal["ready", "loading", "unloaded", "failed"]

logger = logging.getLogger(__name__)


class FurtherModel(NamedTuple):
    """A model that is loaded at first use. `create` gives a new router that is not started."""

    name: str
    aliases: tuple[str, ...]
    create: Callable[[], Router]


class InUse(NamedTuple):
    """Who answers a request, the model's own name, and whether it stands in for the one that was asked for."""

    name: str
    router: Router
    stands_in: bool = False


class Listed(NamedTuple):
    """One name of a model. `root` is the model's own name; the digest is known while it is ready."""

    name: str
    root: str
    digest: str | None
    state: State


class _Further:
    """A further model and where it is in its life."""

    def __init__(self, model: FurtherModel) -> None:
        self.model = model
        self.router: Router | None = None
        self.stop: AsyncExitStack | None = None
        self.loading: asyncio.Task[None] | None = None
        self.unloading: asyncio.Task[None] | None = None
        self.doubt: asyncio.Task[None] | None = None
        self.failures = 0
        self.failed_until: float | None = None
        self.users = 0
        self.unused_since = 0.0

    @property
    def state(self) -> State:
        if self.router is not None:
            return "ready"
        if self.loading is not None:
            return "loading"
        return "unloaded" if self.failed_until is None else "failed"


class Registry:
    """Gives each request the router of the model that it names.

    Args:
        default: the router of the default model, not started.
        aliases: further names of the default model, beside its own.
        further: the other models.
        idle_s: a further model that nobody used for so long is unloaded.
        while_loading: whether a request for a model that is loading waits for it, as long as its budget allows, or is
            answered by the default model.
        metrics: sees models come and go.
        clock: in seconds.

    Raises:
        ConfigError: a name is given twice, or is that of a tier of the default model.
    """

    def __init__(
        self,
        default: Router,
        aliases: Sequence[str],
        further: Sequence[FurtherModel],
        *,
        idle_s: float,
        while_loading: WhileLoading,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._default, self._aliases = default, aliases
        self._further = [_Further(model) for model in further]
        self._by_name: dict[str, _Further] = {}
        for entry in self._further:
            if entry.model.name in default.tier_names:
                raise ConfigError(
                    f"the model name '{entry.model.name}' is that of a tier of the default model, from which metrics "
                    "could not tell it; choose another"
                )
            for name in (entry.model.name, *entry.model.aliases):
                if name in self._by_name or name in aliases:
                    raise ConfigError(f"the model name '{name}' is given twice; each name stands for one model")
                self._by_name[name] = entry
        self._idle_s, self._while_loading, self._metrics, self._clock = idle_s, while_loading, metrics, clock
        self._is_ready = False

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Ready inside, with the default model past its canary; at the end all models are closed.

        Raises:
            ServiceError: the default model cannot start, or has the name of another one.
        """
        async with running(self._default):
            if self._default.model_name in self._by_name:
                raise ConfigError(f"the model name '{self._default.model_name}' is the default model's; choose another")
            self._introduce(self._default.model_name, self._default)
            unloader = asyncio.create_task(self._unload_now_and_then())
            self._is_ready = True
            try:
                yield
            finally:
                self._is_ready = False
                unloader.cancel()
                await self._close_further()

    @property
    def default(self) -> Router:
        """The default model's router.

        Raises:
            EngineUnavailable: it is not ready.
        """
        if not self._is_ready:
            raise EngineUnavailable("the engine is not ready: it is starting or stopping; come back later")
        return self._default

    @property
    def has_one_only(self) -> bool:
        """Whether every request is for the default model."""
        return not self._further

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a request may carry, the default model's first. Raises `EngineUnavailable`."""
        return tuple(dict.fromkeys((self.default.model_name, *self._aliases, *self._by_name)))

    @property
    def listed(self) -> list[Listed]:
        """Every name, and what it stands for. Raises `EngineUnavailable`."""
        return [self.describe(name) for name in self.names]

    def describe(self, name: str) -> Listed:
        """What a name stands for. Raises as `check`."""
        self.check(name)
        if (entry := self._by_name.get(name)) is not None:
            digest = None if entry.router is None else entry.router.model_digest
            return Listed(name, entry.model.name, digest, entry.state)
        return Listed(name, self.default.model_name, self.default.model_digest, "ready")

    def check(self, name: str) -> None:
        """Lets a name pass that is served.

        Raises:
            UnknownModel: nothing is served under this name, which is not repeated, as it could hold anything.
            EngineUnavailable: the service is not ready.
        """
        if name not in self.names:
            raise UnknownModel(
                f"model: there is none of this name ({len(name)} characters); there are {', '.join(self.names)}; "
                "others can be added with the settings model_aliases and models",
                "model",
            )

    @asynccontextmanager
    async def use(self, name: str | None, budget: Budget) -> AsyncIterator[InUse]:
        """The router for a name, or the default one for None; it is not unloaded inside.

        Raises:
            UnknownModel: nothing is served under this name.
            ModelUnavailable: the model is still loading when the budget is spent, or could not be loaded.
            EngineUnavailable: the service is not ready.
        """
        if name is not None:
            self.check(name)
        entry = None if name is None else self._by_name.get(name)
        if entry is None:
            yield InUse(self.default.model_name, self.default)
            return
        entry.users += 1
        try:
            yield await self._router_of(entry, budget)
        finally:
            entry.users -= 1
            entry.unused_since = self._clock()

    @contextmanager
    def watching(self, router: Router) -> Iterator[None]:
        """Inside is one call of a further model. One that is refused, late or cancelled says nothing about it.

        Calls that fail one after the other may have failed by their turns: a few canaries decide. A model that answers
        none of them is unloaded, and may be loaded again after `RETRY_S`.
        """
        entry = next((entry for entry in self._further if entry.router is router), None)
        try:
            yield
        except (Overloaded, DeadlineExceeded):
            raise
        except Exception:
            if entry is not None and entry.router is router:
                entry.failures += 1
                if entry.failures >= FAILURES and entry.doubt is None:
                    entry.doubt = asyncio.create_task(self._ask(entry, router))
            raise
        if entry is not None:
            entry.failures = 0

    async def _ask(self, entry: _Further, router: Router) -> None:
        try:
            for pause_s in _PAUSES_S:
                await asyncio.sleep(pause_s)
                if not entry.failures or await router.answers_canary():
                    return
            if entry.router is not router:  # unused, and unloaded meanwhile
                return
            entry.failed_until = self._clock() + RETRY_S
            logger.error("a model fails and answers no canary; unloaded", extra={"fields": {"model": entry.model.name}})
            await self._unload(entry)
        finally:
            entry.doubt, entry.failures = None, 0

    async def _router_of(self, entry: _Further, budget: Budget) -> InUse:
        if entry.router is None:
            self._begin_to_load(entry)
            if self._while_loading == "default":
                return InUse(self.default.model_name, self.default, stands_in=True)
            assert entry.loading is not None
            await asyncio.wait({entry.loading}, timeout=budget.left_ms / 1e3)
        if entry.router is None:
            self._refuse_failed(entry)
            raise ModelUnavailable(f"the model '{entry.model.name}' is being loaded; come back later", retry_after_s=1)
        return InUse(entry.model.name, entry.router)

    def _begin_to_load(self, entry: _Further) -> None:
        if entry.failed_until is not None:
            if self._clock() < entry.failed_until:
                self._refuse_failed(entry)
            entry.failed_until = None
        if entry.loading is None:
            entry.loading = asyncio.create_task(self._load(entry))

    def _refuse_failed(self, entry: _Further) -> None:
        if entry.failed_until is not None:
            raise ModelUnavailable(
                f"the model '{entry.model.name}' could not be loaded, or has failed, and the log says why; it is tried "
                f"again {RETRY_S} s after that; the other models are there",
                retry_after_s=max(1, round(entry.failed_until - self._clock())),
            )

    async def _load(self, entry: _Further) -> None:
        if entry.unloading is not None:  # there may be room for one of it only
            await entry.unloading
        fields: dict[str, object] = {"model": entry.model.name}
        started = self._clock()
        async with AsyncExitStack() as stack:
            try:
                entry.router = await stack.enter_async_context(running(entry.model.create()))
            except Exception as error:  # noqa: BLE001 whatever failed, this model is out of order and no other
                entry.failed_until = self._clock() + RETRY_S
                self._metrics.saw_load(entry.model.name, failed=True)
                fields |= {"error": type(error).__name__}
                if isinstance(error, ServiceError):  # of which we know that no word of a turn is in them
                    fields |= {"reason": str(error)}
                logger.error("model not loaded", extra={"fields": fields})  # noqa: TRY400 the place says nothing
            else:
                entry.stop = stack.pop_all()
                entry.unused_since = self._clock()
                self._introduce(entry.model.name, entry.router)
                self._metrics.saw_load(entry.model.name, failed=False)
                logger.info("model loaded", extra={"fields": fields | {"s": round(self._clock() - started, 3)}})
            finally:
                entry.loading = None

    def _introduce(self, name: str, router: Router) -> None:
        self._metrics.saw_engine(name, router)
        router.report_to(self._metrics)  # not before: canaries are no answers

    async def unload_idle(self) -> None:
        """Unloads the further models that nobody used for `idle_s`, and never one that is in use."""
        now = self._clock()
        for entry in self._further:
            if entry.router is not None and not entry.users and now - entry.unused_since >= self._idle_s:
                await self._unload(entry)

    async def _unload(self, entry: _Further) -> None:
        assert entry.router is not None
        assert entry.stop is not None
        self._metrics.saw_engine_go(entry.model.name, entry.router)
        stop, entry.router, entry.stop = entry.stop, None, None
        entry.unloading = asyncio.create_task(self._close(entry, stop))
        await asyncio.shield(entry.unloading)

    async def _close(self, entry: _Further, stop: AsyncExitStack) -> None:
        fields = {"model": entry.model.name}
        try:
            await stop.aclose()
            await asyncio.to_thread(give_back_freed)
            logger.info("model unloaded", extra={"fields": fields})
        except Exception:  # whatever failed, nobody uses this engine any more, and the others go on
            logger.exception("model not unloaded as it should", extra={"fields": fields})
        finally:
            entry.unloading = None

    async def _unload_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._idle_s / 4)
            await self.unload_idle()

    async def _close_further(self) -> None:
        for entry in self._further:
            for task in (entry.doubt, entry.loading):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
            if entry.router is not None:
                await self._unload(entry)
            if entry.unloading is not None:
                await entry.unloading

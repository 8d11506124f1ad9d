"""Several models in one process: found by name, loaded at first use, unloaded when unused, and apart in failure."""

import asyncio
import operator
import statistics
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emotion_svc.config import ConfigError, Settings, WhileLoading
from emotion_svc.engines.base import CANARY
from emotion_svc.engines.embedded import EmbeddedEngine
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import EngineUnavailable, ModelError, ModelUnavailable
from emotion_svc.modeldir import SHIPPED
from emotion_svc.routing.router import Router
from emotion_svc.schema import Turn, Verdict
from emotion_svc.serving.app import create_app
from emotion_svc.serving.budget import Budget
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.openai_errors import UnknownModel
from emotion_svc.serving.registry import RETRY_S, FurtherModel, Registry, State
from tests.serving.further import (
    ALIAS,
    IDLE_S,
    PLENTY,
    TURN,
    Clock,
    Loading,
    Made,
    OffGrammar,
    name_of_user,
)

OpenRegistry = Callable[..., Any]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def open_registry(clock: Clock) -> AsyncIterator[OpenRegistry]:
    """Opens a registry with one further model, "big", that comes from `made`."""
    async with AsyncExitStack() as stack:

        async def open_one(made: Callable[[], Router], while_loading: WhileLoading = "wait") -> Registry:
            further = [FurtherModel("big", ("someone/big",), made)]
            registry = Registry(
                Router.around(ScriptedEngine()),
                [ALIAS],
                further,
                idle_s=IDLE_S,
                while_loading=while_loading,
                metrics=Metrics(),
                clock=clock,
            )
            await stack.enter_async_context(registry.ready())
            return registry

        yield open_one


def state(registry: Registry) -> State:
    return registry.describe("big").state


async def test_a_model_is_loaded_at_first_use_past_its_canary_and_then_is_there(open_registry: OpenRegistry) -> None:
    made = Made(Loading())
    registry = await open_registry(made)
    assert (state(registry), made.count) == ("unloaded", 0)
    for name in ("big", "someone/big"):
        assert await name_of_user(registry, name, PLENTY) == "big"
    assert (state(registry), made.count) == ("ready", 1)
    assert made.engines[0].seen == [CANARY]
    for default in (None, "scripted", ALIAS):
        assert await name_of_user(registry, default, PLENTY) == "scripted"


async def test_who_asks_while_it_loads_waits_for_the_one_load(open_registry: OpenRegistry) -> None:
    made = Made(Loading(let=False))
    registry = await open_registry(made)
    waiting = [asyncio.create_task(name_of_user(registry, "big", PLENTY)) for _ in range(3)]
    await asyncio.sleep(0)
    assert state(registry) == "loading"
    waiting[0].cancel()  # and the load goes on
    await asyncio.wait(waiting[:1])
    made.engines[0].let.set()
    assert await asyncio.gather(*waiting[1:]) == ["big", "big"]
    assert made.count == 1


async def test_who_has_no_time_to_wait_is_told_to_come_back(open_registry: OpenRegistry) -> None:
    made = Made(Loading(let=False))
    registry = await open_registry(made)
    with pytest.raises(ModelUnavailable, match="'big' is being loaded; come back later") as raised:
        await name_of_user(registry, "big", Budget.of(1, None))
    assert raised.value.retry_after_s == 1
    made.engines[0].let.set()
    assert await name_of_user(registry, "big", PLENTY) == "big"


async def test_by_configuration_the_default_model_answers_while_it_loads(open_registry: OpenRegistry) -> None:
    made = Made(Loading(let=False))
    registry = await open_registry(made, "default")
    assert await name_of_user(registry, "big", PLENTY) == "scripted"
    made.engines[0].let.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert await name_of_user(registry, "big", PLENTY) == "big"


async def test_it_is_unloaded_when_nobody_used_it_for_the_time(open_registry: OpenRegistry, clock: Clock) -> None:
    made = Made(Loading(), Loading())
    registry = await open_registry(made)
    await name_of_user(registry, "big", PLENTY)
    clock.now += IDLE_S - 1
    await registry.unload_idle()
    assert state(registry) == "ready"
    await name_of_user(registry, "big", PLENTY)
    clock.now += IDLE_S - 1
    await registry.unload_idle()
    assert state(registry) == "ready"
    clock.now += 1
    await registry.unload_idle()
    assert (state(registry), made.engines[0].is_closed) == ("unloaded", True)
    await name_of_user(registry, "big", PLENTY)
    assert (state(registry), made.count) == ("ready", 2)


async def test_it_is_never_unloaded_while_it_is_used(open_registry: OpenRegistry, clock: Clock) -> None:
    made = Made(Loading())
    registry = await open_registry(made)
    async with registry.use("big", PLENTY) as used:
        clock.now += 10 * IDLE_S
        await registry.unload_idle()
        assert len(await used.router.classify([CANARY])) == 1
    await registry.unload_idle()
    assert state(registry) == "ready"  # its time begins when the last user goes
    clock.now += IDLE_S
    await registry.unload_idle()
    assert state(registry) == "unloaded"


@pytest.mark.parametrize(
    "broken", [Loading(ModelError("'x' is damaged")), Loading(RuntimeError("no memory")), OffGrammar()]
)
async def test_a_model_that_cannot_be_loaded_harms_no_other_and_is_tried_again_later(
    open_registry: OpenRegistry, clock: Clock, broken: Loading
) -> None:
    made = Made(broken, Loading())
    registry = await open_registry(made)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match=r"'big' could not be loaded") as raised:
            await name_of_user(registry, "big", PLENTY)
        assert raised.value.retry_after_s == RETRY_S
    assert (state(registry), made.count) == ("failed", 1)
    assert await name_of_user(registry, None, PLENTY) == "scripted"
    clock.now += RETRY_S
    assert await name_of_user(registry, "big", PLENTY) == "big"


class Dying(Loading):
    """Answers until it is told that it is dead, and nothing then."""

    is_dead = False

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        if self.is_dead:
            raise EngineUnavailable("the engine died")
        return await super().classify(turns)


async def fail(registry: Registry, router: Router, times: int) -> None:
    for _ in range(times):
        with pytest.raises(EngineUnavailable), registry.watching(router):
            await router.classify([Turn(**TURN)])


async def decided(registry: Registry) -> None:
    doubt = registry._further[0].doubt
    assert doubt is not None
    await doubt


async def test_a_model_that_fails_and_answers_no_canary_is_unloaded_and_loaded_anew_later(
    open_registry: OpenRegistry, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotion_svc.serving.registry._PAUSES_S", (0.0, 0.0))
    dying = Dying()
    registry = await open_registry(Made(dying, Loading()))
    async with registry.use("big", PLENTY) as used:
        dying.is_dead = True
        await fail(registry, used.router, 4)
        assert registry._further[0].doubt is None  # it takes five
        await fail(registry, used.router, 1)
        await decided(registry)
    assert (state(registry), dying.is_closed) == ("failed", True)
    with pytest.raises(ModelUnavailable, match="'big' could not be loaded, or has failed") as raised:
        await name_of_user(registry, "big", PLENTY)
    assert raised.value.retry_after_s == RETRY_S
    assert await name_of_user(registry, None, PLENTY) == "scripted"
    clock.now += RETRY_S
    assert await name_of_user(registry, "big", PLENTY) == "big"


async def test_a_model_whose_turns_fail_but_whose_canary_is_answered_stays(open_registry: OpenRegistry) -> None:
    odd = Loading()
    odd._table["Chính xác!"] = EngineUnavailable("not this turn")
    registry = await open_registry(Made(odd))
    async with registry.use("big", PLENTY) as used:
        await fail(registry, used.router, 4)
        with registry.watching(used.router):
            await used.router.classify([CANARY])  # one that is answered ends the row
        await fail(registry, used.router, 4)
        assert registry._further[0].doubt is None
        await fail(registry, used.router, 1)
        await decided(registry)
    assert (state(registry), odd.is_closed) == ("ready", False)


async def test_at_the_end_all_models_are_closed(open_registry: OpenRegistry, clock: Clock) -> None:
    made = Made(Loading(), Loading(let=False))
    further = [FurtherModel(name, (), made) for name in ("one", "two")]
    registry = Registry(
        Router.around(ScriptedEngine()),
        [],
        further,
        idle_s=IDLE_S,
        while_loading="wait",
        metrics=Metrics(),
        clock=clock,
    )
    async with registry.ready():
        await name_of_user(registry, "one", PLENTY)
        with pytest.raises(ModelUnavailable):
            await name_of_user(registry, "two", Budget.of(1, None))
    assert made.engines[0].is_closed
    assert registry._further[1].loading is None


@pytest.mark.parametrize("name", [ALIAS, "twice", "scripted"])
async def test_a_name_stands_for_one_model(name: str) -> None:
    further = [FurtherModel("twice", (), Made()), FurtherModel("other", (name,), Made())]
    with pytest.raises(ConfigError, match=f"the model name '{name}'"):
        async with create_app(ScriptedEngine(), Settings(), further).router.lifespan_context(None):
            pytest.fail("it started")


async def test_an_unknown_name_is_refused_with_those_that_there_are(open_registry: OpenRegistry) -> None:
    registry = await open_registry(Made())
    with pytest.raises(UnknownModel, match=rf"scripted, {ALIAS}, big, someone/big") as raised:
        await name_of_user(registry, "Zanzibar", PLENTY)
    assert "Zanzibar" not in str(raised.value)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def test_an_unloaded_model_leaves_no_memory_behind() -> None:
    clock = Clock()
    registry = Registry(
        Router.around(ScriptedEngine()),
        [],
        [FurtherModel("again", (), lambda: Router.around(EmbeddedEngine()))],
        idle_s=IDLE_S,
        while_loading="wait",
        metrics=Metrics(),
        clock=clock,
    )
    times = 12
    loaded: list[int] = []
    after: list[int] = []
    async with registry.ready():
        for _ in range(times):
            async with registry.use("again", PLENTY) as used:
                engine_in_use = used.router.head
                assert isinstance(engine_in_use, EmbeddedEngine)
                await used.router.classify([CANARY])
                loaded.append(resident_bytes())
                model = weakref.ref(engine_in_use._loaded)
            del used, engine_in_use
            clock.now += IDLE_S
            await registry.unload_idle()
            assert model() is None  # at once: it does not wait for a garbage collector
            after.append(resident_bytes())
    given_back = statistics.median(map(operator.sub, loaded[2:], after[2:]))
    assert given_back > (SHIPPED / "model.int8.onnx").stat().st_size
    # Ten loads leave less behind than one takes: the allocator's leftovers, which come to an end.
    assert after[-1] - after[1] < given_back


async def test_a_load_does_not_stop_the_loop() -> None:
    """While a model loads, the loop goes on: seen by its steps, far more than those that only begin and end a load."""
    registry = Registry(
        Router.around(ScriptedEngine()),
        [],
        [FurtherModel("again", (), lambda: Router.around(EmbeddedEngine()))],
        idle_s=IDLE_S,
        while_loading="wait",
        metrics=Metrics(),
    )
    async with registry.ready():
        loading = asyncio.create_task(name_of_user(registry, "again", PLENTY))
        steps = 0
        while not loading.done():
            await asyncio.sleep(0.001)
            steps += 1
        assert await loading == "again"
    assert steps > 10

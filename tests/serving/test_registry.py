"""Several models in one process: found by name, loaded at first use, unloaded when unused, and apart in failure."""

import asyncio
import operator
import statistics
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from openai import InternalServerError, NotFoundError, OpenAI

from emotion_svc.config import ConfigError, Settings, WhileLoading
from emotion_svc.engines.base import CANARY
from emotion_svc.engines.embedded import EmbeddedEngine
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import EngineUnavailable, ModelError, ModelUnavailable
from emotion_svc.modeldir import SHIPPED
from emotion_svc.routing.router import Router
from emotion_svc.schema import Answer, Turn, Verdict
from emotion_svc.serving.app import create_app
from emotion_svc.serving.budget import Budget
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.models_file import further_models
from emotion_svc.serving.openai_errors import UnknownModel
from emotion_svc.serving.registry import RETRY_S, FurtherModel, Registry, State
from tests.serving.conftest import listening
from tests.serving.test_decisions import RIGHT
from tests.serving.test_operations import metric

IDLE_S = 100.0
TURN = {"previous_question": "Con mèo?", "previous_answer": "cat", "response": "Chính xác!"}
LINES = "Previous Question: Con mèo?\nPrevious Answer: cat\nResponse to check: Chính xác!"
MESSAGES: Any = [{"role": "user", "content": LINES}]
ALIAS = "HuggingFaceTB/SmolLM2-135M-Instruct"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Loading(ScriptedEngine):
    """Its start ends when it is let, or as the error that it is given."""

    model_name = "big-one"
    model_digest = "1" * 16

    def __init__(self, error: Exception | None = None, *, let: bool = True) -> None:
        super().__init__({"Chính xác!": Answer(emotion="proud", learn_score=False)})
        self._error, self.let, self.is_closed = error, asyncio.Event(), False
        if let:
            self.let.set()

    async def start(self) -> None:
        await self.let.wait()
        if self._error is not None:
            raise self._error
        await super().start()

    async def close(self) -> None:
        self.is_closed = True
        await super().close()


class OffGrammar(Loading):
    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        return [
            verdict.model_copy(update={"emotion_posterior": dict.fromkeys(verdict.emotion_posterior, 0.0)})
            for verdict in await super().classify(turns)
        ]


class Made:
    """Makes engines in the order given, and keeps them."""

    def __init__(self, *engines: Loading) -> None:
        self.engines, self.count = engines, 0

    def __call__(self) -> Router:
        self.count += 1
        return Router.around(self.engines[self.count - 1])


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


async def name_of_user(registry: Registry, name: str | None, budget: Budget) -> str:
    async with registry.use(name, budget) as used:
        return used.name


PLENTY = Budget.of(60_000, None, clock=lambda: 0.0)  # it never ends


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


FILE = """
[[models]]
name = "again"
model = "{model}"
aliases = ["someone/again"]

[[models]]
name = "broken"
model = "/nowhere"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_names_the_further_models(tmp_path: Path) -> None:
    settings = Settings(models=written(tmp_path, FILE.format(model=SHIPPED)))
    assert [model[:2] for model in further_models(settings)] == [("again", ("someone/again",)), ("broken", ())]
    assert isinstance(further_models(settings)[0].create().head, EmbeddedEngine)
    assert further_models(Settings()) == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models = 1", "models: Input should be a valid tuple"),
        ("[[models]]\nname = 'x'", r"models\.0\.model: Field required"),
        ("[[models]]\nname = 'x'\nmodel = 'y'\nengin = 'vllm'", r"models\.0\.engin: Extra inputs"),
        ("[[models]]\nname = 'x'\nmodel = 'y'\nengine = 'magic'", r"models\.0\.engine: Input should be 'embedded'"),
        ("[[models]\n", "is no valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"models file '.*models\.toml'.*{told}"):
        further_models(Settings(models=written(tmp_path, text)))


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="models file '/nowhere' cannot be read: No such file"):
        further_models(Settings(models=Path("/nowhere")))


def test_vllm_is_not_loaded_by_several_workers(tmp_path: Path) -> None:
    text = "[[models]]\nname = 'x'\nmodel = 'y'\nengine = 'vllm'"
    with pytest.raises(ConfigError, match=r"'x' needs the engine vllm, .* workers \(2\) must be 1"):
        further_models(Settings(models=written(tmp_path, text), workers=2))


def test_the_name_of_a_tier_of_the_default_model_is_no_further_models() -> None:
    with pytest.raises(ConfigError, match="'scripted' is that of a tier of the default model"):
        create_app(ScriptedEngine(), Settings(), [FurtherModel("scripted", (), Made())])


TWO = """
[[models]]
name = "one"
model = "{model}"

[[models]]
name = "two"
model = "{model}"
"""


async def test_two_models_of_one_file_are_told_apart_in_the_metrics(tmp_path: Path, clock: Clock) -> None:
    metrics = Metrics()
    further = further_models(Settings(models=written(tmp_path, TWO.format(model=SHIPPED))))
    registry = Registry(
        Router.around(EmbeddedEngine()),
        [],
        further,
        idle_s=IDLE_S,
        while_loading="wait",
        metrics=metrics,
        clock=clock,
    )
    async with registry.ready():
        for name in ("one", "two", "two"):
            async with registry.use(name, PLENTY) as used:
                [verdict] = await used.router.classify([Turn(**TURN)])
                assert verdict.tier == name
                digest = used.router.model_digest
        clock.now += IDLE_S - 1
        await name_of_user(registry, "two", PLENTY)
        clock.now += 1
        await registry.unload_idle()
        text = metrics.render().decode()
    info = f'emotion_svc_model_info{{digest="{digest}",engine="embedded",model='
    for model, is_there in (("pika-tiny", 1), ("one", 0), ("two", 1)):
        assert metric(text, f'{info}"{model}"}}') == is_there
    for tier, calls in (("one", 1), ("two", 2)):
        assert metric(text, f'emotion_svc_tier_calls_total{{outcome="answered",tier="{tier}"}}') == calls
    assert 'tier_calls_total{outcome="answered",tier="embedded"}' not in text


@contextmanager
def served(tmp_path: Path, **more: Any) -> Iterator[tuple[httpx.Client, OpenAI]]:
    settings = Settings(models=written(tmp_path, FILE.format(model=SHIPPED)), deadline_ms=60_000, **more)
    with (
        listening(ScriptedEngine(), settings, further_models(settings)) as client,
        OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as openai,
    ):
        yield client, openai


def test_all_wires_answer_by_the_model_that_they_name(tmp_path: Path) -> None:
    with served(tmp_path) as (client, openai):
        assert openai.models.retrieve(ALIAS).model_extra == {
            "root": "scripted",
            "digest": "0" * 16,
            "state": "ready",
        }
        assert openai.models.retrieve("someone/again").model_extra == {
            "root": "again",
            "digest": None,
            "state": "unloaded",
        }
        native = client.post("/v1/classify?detail=true&model=someone/again", json=TURN).json()
        digest = native["model_digest"]
        assert (native["engine"], native["family"]) == ("embedded", "thats_right")
        batch = client.post("/v1/classify/batch?model=again", json={"turns": [TURN]}).json()
        chat = openai.chat.completions.create(model="again", messages=MESSAGES)
        decision = openai.decisions.create(model="someone/again", input=LINES, questions=[RIGHT])
        assert batch["answers"] == [native["answer"]]
        assert (chat.system_fingerprint, chat.model) == (digest, "again")
        assert decision.answers[0].probability == native["learn_score_probability"]  # type: ignore[union-attr]
        assert client.post("/v1/classify?detail=true", json=TURN).json()["engine"] == "scripted"

        listed = {model.id: model.model_extra for model in openai.models.list()}
        assert list(listed) == ["scripted", ALIAS, "again", "someone/again", "broken"]
        assert listed["again"] == {"root": "again", "digest": digest, "state": "ready"}
        metrics = client.get("/metrics").text
        assert 'emotion_svc_model_loads_total{model="again",outcome="loaded"} 1.0' in metrics


def test_who_stands_in_says_its_own_name() -> None:
    further = [FurtherModel("big", (), Made(Loading(let=False)))]  # it loads for ever
    with (
        listening(ScriptedEngine(), Settings(while_loading="default"), further) as client,
        OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as openai,
    ):
        for asked, named in (("big", "scripted"), (ALIAS, ALIAS)):
            chat = openai.chat.completions.create(model=asked, messages=MESSAGES)
            with openai.chat.completions.create(model=asked, messages=MESSAGES, stream=True) as stream:
                assert {chunk.model for chunk in stream} == {chat.model} == {named}
            assert openai.decisions.create(model=asked, input=LINES, questions=[RIGHT]).model == named
        detail = client.post("/v1/classify?detail=true&model=big", json=TURN).json()
        assert detail["tier"] == "scripted"


def test_a_model_that_cannot_be_loaded_is_a_clear_503_and_the_others_answer(tmp_path: Path) -> None:
    with served(tmp_path) as (client, openai):
        with pytest.raises(InternalServerError) as raised:
            openai.chat.completions.create(model="broken", messages=MESSAGES)
        assert (raised.value.status_code, raised.value.code) == (503, "model_unavailable")
        assert "'broken' could not be loaded" in raised.value.message
        assert raised.value.response.headers["retry-after"] == str(RETRY_S)
        refused = client.post("/v1/classify?model=broken", json=TURN)
        assert (refused.status_code, refused.json()["error"]["kind"]) == (503, "model_unavailable")
        assert openai.models.retrieve("broken").model_extra == {"root": "broken", "digest": None, "state": "failed"}
        assert client.get("/readyz").status_code == 200
        assert openai.chat.completions.create(model="again", messages=MESSAGES).model == "again"


def test_a_model_that_is_not_served_is_not_found_on_every_wire(client: httpx.Client) -> None:
    native = client.post("/v1/classify?model=Zanzibar", json=TURN)
    assert (native.status_code, native.json()["error"]["kind"]) == (404, "model_not_found")
    with OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as openai:
        for name in ("Zanzibar", "some/Zanzibar"):
            with pytest.raises(NotFoundError) as raised:
                openai.models.retrieve(name)
            assert raised.value.code == "model_not_found"
            assert "Zanzibar" not in raised.value.message
    assert "Zanzibar" not in native.text


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

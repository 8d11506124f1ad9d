"""Further models from their file to the wires: read or refused, asked by name, told apart in the metrics."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import InternalServerError, NotFoundError, OpenAI

from emotion_svc.config import ConfigError, Settings
from emotion_svc.engines.embedded import EmbeddedEngine
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.modeldir import SHIPPED
from emotion_svc.routing.router import Router
from emotion_svc.schema import Turn
from emotion_svc.serving.app import create_app
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.models_file import further_models
from emotion_svc.serving.registry import RETRY_S, FurtherModel, Registry
from tests.serving.conftest import listening
from tests.serving.further import (
    ALIAS,
    FILE,
    IDLE_S,
    LINES,
    MESSAGES,
    PLENTY,
    TURN,
    Clock,
    Loading,
    Made,
    name_of_user,
    written,
)
from tests.serving.test_decisions import RIGHT
from tests.serving.test_operations import metric


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


async def test_two_models_of_one_file_are_told_apart_in_the_metrics(tmp_path: Path) -> None:
    clock = Clock()
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

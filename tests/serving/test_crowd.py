"""Where very many are refused anyway, a turn is refused unread; everything else is read as ever."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from emotion_svc.config import Settings
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.routing.router import Router
from emotion_svc.serving.app import create_app
from emotion_svc.serving.registry import FurtherModel
from tests.serving.test_deadline import TURN, Busy, app_of, overloads

NOT_JSON = b"{"
SINGLE = pytest.mark.parametrize("path", ["/v1/classify", "/v1/chat/completions", "/v1/decisions"])


@pytest.fixture(autouse=True)
def _crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One refusal is many."""
    monkeypatch.setattr("emotion_svc.serving.patience._AT_ONCE_PER_S", 0)
    monkeypatch.setattr("emotion_svc.serving.patience._HOLD_S", 0.0)
    monkeypatch.setattr("emotion_svc.serving.patience.Patience._turn_to", lambda self, second: None)


@pytest_asyncio.fixture
async def busy() -> AsyncIterator[tuple[Busy, httpx.AsyncClient]]:
    engine = Busy(expected_ms=4_000)
    async with app_of(engine) as client:
        yield engine, client


@SINGLE
async def test_in_a_crowd_a_turn_is_refused_unread(busy: tuple[Busy, httpx.AsyncClient], path: str) -> None:
    _, client = busy
    assert (await client.post(path, content=NOT_JSON)).status_code in {400, 422}  # nobody was refused before
    assert (await client.post("/v1/classify", json=TURN)).status_code == 503
    refused = await client.post(path, content=NOT_JSON)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "4")
    assert "come back later" in refused.text
    assert refused.headers["x-request-id"]
    assert await overloads(client, 'count{where="door"}') == 2


async def test_who_finds_a_place_is_answered_however_many_were_refused(busy: tuple[Busy, httpx.AsyncClient]) -> None:
    engine, client = busy
    assert (await client.post("/v1/classify", json=TURN)).status_code == 503
    engine._expected_ms = 0.0
    assert (await client.post("/v1/classify", json=TURN)).status_code == 200


async def test_what_is_no_single_turn_is_read_as_ever(busy: tuple[Busy, httpx.AsyncClient]) -> None:
    _, client = busy
    assert (await client.post("/v1/classify", json=TURN)).status_code == 503
    assert (await client.post("/v1/classify/batch", content=NOT_JSON)).status_code == 422
    assert (await client.get("/v1/classify")).status_code == 405
    assert (await client.get("/v1/models")).status_code == 200


async def test_beside_further_models_nothing_is_known_of_a_turn_unread() -> None:
    models = [FurtherModel("other", (), lambda: Router.around(ScriptedEngine()))]
    app = create_app(Busy(expected_ms=4_000), Settings(), models)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.post("/v1/classify", json=TURN)).status_code == 503
        assert (await client.post("/v1/classify", content=NOT_JSON)).status_code == 422

"""`docs/grafana.json` asks for what the service has: every metric and label of its queries is in a real scrape."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from emotion_svc.config import Settings
from emotion_svc.modeldir import SHIPPED
from emotion_svc.routing.build import create_router
from emotion_svc.schema import ALL_ANSWERS
from emotion_svc.serving.models_file import further_models
from emotion_svc.serving.wires import EXAMPLE_TURN
from tests.paths import ROOT
from tests.serving.conftest import listening
from tests.upstream import Upstream, says

CHINESE = "你好，我们一起学英语吧！"
"""What the embedded model has not learnt, so that it goes to the host."""

DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(f"{panel['title']} {target['refId']}", target["expr"]) for panel in PANELS for target in panel["targets"]]
ADDED_BY_PROMETHEUS = {"job", "instance"}


TIERS = """
deadline_ms = 10000
spend_cap_usd_per_day = 1.0

[[tiers]]
name = "small"
engine = "embedded"

[[tiers]]
name = "host"
engine = "remote"
preset = "groq"
base_url = "URL"
asked_when = { outside_knowledge = true }
deadline_ms = 9000
"""


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """The labels of every series of a service whose tiers and models have answered, and which has refused."""
    folder = tmp_path_factory.mktemp("tiers")
    with pytest.MonkeyPatch.context() as environment, Upstream(says(ALL_ANSWERS[0])) as upstream:
        environment.setenv("GROQ_API_KEY", "k")
        (folder / "tiers.toml").write_text(TIERS.replace("URL", upstream.url))
        (folder / "models.toml").write_text(f'[[models]]\nname = "other"\nmodel = "{SHIPPED}"\n')
        settings = Settings(
            tiers=folder / "tiers.toml",
            models=folder / "models.toml",
            spend_file=folder / "spend.json",
            keys=f"robot:{hashlib.sha256(b'k').hexdigest()}:4",
        )
        with listening(create_router(settings), settings, further_models(settings)) as client:
            client.headers["authorization"] = "Bearer k"
            for turn in (EXAMPLE_TURN, EXAMPLE_TURN | {"response": CHINESE}, {}):
                client.post("/v1/classify", json=turn)
            client.post("/v1/classify?model=other", json=EXAMPLE_TURN)
            client.post("/v1/classify", json={})
            yield labels_of(client)


def labels_of(client: httpx.Client) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize(("panel", "query"), QUERIES, ids=[name for name, _ in QUERIES])
def test_a_query_asks_for_what_there_is(scraped: dict[str, set[str]], panel: str, query: str) -> None:
    selectors = re.findall(r"(\w+)\{(.*?)\}", query)
    assert selectors
    assert re.findall(r"\b(?:emotion_svc|process)_\w+", query) == [name for name, _ in selectors]
    for name, matchers in selectors:
        assert name in scraped
        asked = set(re.findall(r"(\w+)=~?\"", matchers))
        grouped = {label for by in re.findall(r"by \((.*?)\)", query) for label in by.split(", ")}
        assert asked | grouped <= scraped[name] | ADDED_BY_PROMETHEUS


def test_every_metric_of_ours_is_on_a_panel(scraped: dict[str, set[str]]) -> None:
    asked = " ".join(query for _, query in QUERIES)
    ours = {re.sub("_(bucket|count|sum|created)$", "", name) for name in scraped if name.startswith("emotion_svc_")}
    ours = {name.removesuffix("_total") for name in ours}
    assert [name for name in sorted(ours) if name not in asked] == ["emotion_svc_worker_pid"]


def test_panels_stand_apart_and_ask_the_chosen_prometheus() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "job"]

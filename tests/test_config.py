import os
import pickle
import re
from pathlib import Path
from typing import NamedTuple, get_args

import pytest
from pydantic import ValidationError

from emotion_svc.config import (
    ConfigError,
    Settings,
    Variants,
    beside_event_loop,
    cores_granted,
    load_settings,
)
from emotion_svc.decoding.choice import VariantPolicy
from tests.paths import ROOT


def test_without_any_setting_the_shipped_model_is_served_on_loopback() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.engine, settings.model) == ("127.0.0.1", 30030, "embedded", None)
    assert (settings.max_field_chars, settings.max_batch, settings.max_body_bytes) == (4000, 256, 2**20)


def test_the_environment_sets_what_is_not_given_and_what_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_SVC_PORT", "8080")
    monkeypatch.setenv("EMOTION_SVC_WORKERS", "2")
    settings = load_settings(port=9090, workers=None)
    assert (settings.port, settings.workers) == (9090, 2)


def test_settings_travel_to_another_process_whole() -> None:
    settings = load_settings(host="0.0.0.0", model="/models/x", threads=2, keys="robot:" + "0" * 64)
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("value", "aliases"),
    [("robot", ("robot",)), ("robot, openai/gpt-oss-20b", ("robot", "openai/gpt-oss-20b")), ("", ()), (" ", ())],
)
def test_the_names_that_callers_use_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, value: str, aliases: tuple[str, ...]
) -> None:
    monkeypatch.setenv("EMOTION_SVC_MODEL_ALIASES", value)
    assert load_settings().model_aliases == aliases


def test_an_empty_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_SVC_MODEL_ALIASES", "robot,,x")
    with pytest.raises(ConfigError, match=r"setting 'model_aliases' \(EMOTION_SVC_MODEL_ALIASES\): "):
        load_settings()


def test_a_misspelt_variable_is_refused_and_the_known_ones_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_SVC_MAX_BACTH", "9")
    with pytest.raises(ConfigError, match=r"no such setting: EMOTION_SVC_MAX_BACTH; .*EMOTION_SVC_MAX_BATCH"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "http"),
        ("workers", "0"),
        ("threads", "0"),
        ("engine", "scripted"),
        ("engine", ""),
        ("model", ""),
        ("variants", "random"),
        ("max_body_bytes", "1MB"),
        ("max_field_chars", "0"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"EMOTION_SVC_{name.upper()}", value)
    with pytest.raises(ConfigError, match=rf"setting '{name}' \(EMOTION_SVC_{name.upper()}\): .*, found '{value}'"):
        load_settings()


def test_a_batch_that_could_never_be_admitted_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_in_flight \(8\) must be at least max_batch \(9\)"):
        load_settings(max_in_flight=8, max_batch=9)


def test_the_vllm_engine_is_not_loaded_several_times() -> None:
    with pytest.raises(ConfigError, match=r"workers \(2\) must be 1 with the engine vllm"):
        load_settings(engine="vllm", workers=2)


def test_the_remote_engine_needs_a_preset() -> None:
    with pytest.raises(ConfigError, match=r"the engine remote needs a preset \(EMOTION_SVC_PRESET\)"):
        load_settings(engine="remote")


@pytest.mark.parametrize("given", [{"preset": "groq"}, {"base_url": "http://127.0.0.1:1/v1"}])
def test_a_host_is_refused_where_nobody_would_ask_it(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="preset and base_url are for the engine remote; the engine is embedded"):
        load_settings(**given)


@pytest.mark.parametrize("named", [{"engine": "vllm"}, {"model": "/models/x"}])
def test_tiers_name_their_own_engines(named: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="tiers: its file names engines and models; leave the settings engine and m"):
        load_settings(tiers="tiers.toml", **named)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_the_variants_are_those_that_decoding_knows() -> None:
    assert get_args(Variants) == get_args(VariantPolicy)


def test_every_setting_stands_in_the_document_with_its_default_and_meaning() -> None:
    expected = [f"| `{row.name}` | {row.default} | {row.description} |" for row in setting_rows()]
    document = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    found = [line for line in document.splitlines() if line.startswith("| `")]
    assert found == expected, "put these rows there:\n" + "\n".join(expected)


def test_every_document_that_a_setting_names_exists() -> None:
    named = {path for row in setting_rows() for path in re.findall(r"docs/\w+\.md", row.description)}
    assert named
    assert all((ROOT / path).is_file() for path in named), named


class Row(NamedTuple):
    name: str
    default: str
    description: str


def setting_rows() -> list[Row]:
    """What docs/settings.md says of each setting."""
    rows = []
    for name, field in Settings.model_fields.items():
        if field.default_factory is not None:
            default = "by the cores"
        elif field.default is None or field.default == ():
            default = "none"
        else:
            default = ", ".join(
                f"`{part}`" for part in (field.default if isinstance(field.default, tuple) else [field.default])
            )
        rows.append(Row(f"EMOTION_SVC_{name.upper()}", default, (field.description or "").replace("|", r"\|")))
    return rows


def test_a_tiers_file_has_a_deadline_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_SVC_TIERS", "tiers.toml")
    load_settings()
    monkeypatch.setenv("EMOTION_SVC_DEADLINE_MS", "80")
    with pytest.raises(ConfigError, match="its file has a deadline_ms of its own"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", 8),
        ("150000 100000\n", 1),
        ("200000 100000\n", 2),
        ("25000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("", 8),
        ("100000 0\n", 8),
        (None, 8),
    ],
)
def test_a_containers_limit_of_cpu_time_counts_as_cores(text: str | None, cores: int, tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    if text is not None:
        file.write_text(text)
    assert cores_granted(8, file) == cores


@pytest.mark.parametrize(
    ("cores", "workers", "passes", "in_a_service"),
    [(1, 1, 1, 1), (2, 1, 2, 1), (4, 1, 4, 3), (8, 1, 4, 4), (8, 2, 4, 3), (8, 4, 2, 1), (2, 4, 1, 1)],
)
def test_a_service_leaves_a_core_of_each_worker_to_its_event_loop(
    cores: int, workers: int, passes: int, in_a_service: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMOTION_SVC_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr("emotion_svc.config.cores_granted", lambda there: there)
    settings = load_settings(workers=workers)
    assert settings.threads == passes
    assert beside_event_loop(settings).threads == in_a_service


def test_passes_that_were_set_are_those_of_a_service_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_SVC_THREADS", "3")
    assert beside_event_loop(load_settings()).threads == 3

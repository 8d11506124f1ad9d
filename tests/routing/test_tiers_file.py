"""What the tiers file may say, and how it is told what is wrong with it."""

import re
from pathlib import Path

import pytest

from emotion_svc.config import Settings
from emotion_svc.engines.presets import Price
from emotion_svc.routing.build import create_router, price_of
from emotion_svc.routing.tiers_file import AskedWhen, Tiers, TiersError, TierTable, load_tiers

ROOT = Path(__file__).parent.parent.parent

CASCADE = """
deadline_ms = 400
spend_cap_usd_per_day = 2.5

[[tiers]]
name = "small"
engine = "embedded"

[[tiers]]
name = "groq"
engine = "remote"
preset = "groq"
asked_when = { emotion_below = 0.6, learn_score_below = 0.7, outside_knowledge = true, longer_than_chars = 300 }
deadline_ms = 350
concurrency = 8
retry = true
price = { input_usd = 0.1, output_usd = 0.5 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tiers.toml"


def test_a_whole_file_is_read(file: Path) -> None:
    file.write_text(CASCADE)
    when = AskedWhen(emotion_below=0.6, learn_score_below=0.7, outside_knowledge=True, longer_than_chars=300)
    assert load_tiers(file) == Tiers(
        deadline_ms=400,
        spend_cap_usd_per_day=2.5,
        tiers=(
            TierTable(name="small", engine="embedded"),
            TierTable(
                name="groq",
                engine="remote",
                preset="groq",
                asked_when=when,
                deadline_ms=350,
                concurrency=8,
                retry=True,
                price=Price(input_usd=0.1, output_usd=0.5),
            ),
        ),
    )


def test_a_request_has_50_ms_unless_the_file_says_otherwise(file: Path) -> None:
    file.write_text('[[tiers]]\nname = "small"\nengine = "embedded"\n')
    assert load_tiers(file).deadline_ms == 50


def test_the_safety_net_is_the_first_embedded_tier_wherever_it_stands(file: Path) -> None:
    file.write_text(
        '[[tiers]]\nname = "big"\nengine = "vllm"\n[[tiers]]\nname = "net"\nengine = "embedded"\n'
        '[[tiers]]\nname = "other"\nengine = "embedded"\nmodel = "/models/other"\n'
    )
    tiers = load_tiers(file)
    assert tiers.safety_net is tiers.tiers[1]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("deadline_ms = 400", "deadlin_ms = 400", "deadlin_ms: unknown key; there are: deadline_ms, spend_cap_usd_per"),
        ("concurrency", "concurency", "tiers.1 (groq).concurency: unknown key; there are: name, engine, model, preset"),
        (
            "emotion_below",
            "emotion",
            "tiers.1 (groq).asked_when.emotion: unknown key; there are: emotion_below, learn_",
        ),
        ("input_usd", "input_eur", "tiers.1 (groq).price.input_usd: missing"),
        ('name = "groq"\n', "", "tiers.1.name: missing"),
        ('name = "groq"', 'name = "small"', "tiers: the name small is given twice"),
        ('name = "groq"', 'name = "Groq Inc"', "tiers.1 (Groq Inc).name: String should match pattern"),
        ('engine = "remote"', 'engine = "magic"', "tiers.1 (groq).engine: Input should be 'embedded', 'vllm' or 'remo"),
        (
            "emotion_below = 0.6",
            "emotion_below = 6",
            "tiers.1 (groq).asked_when.emotion_below: Input should be less tha",
        ),
        (
            "deadline_ms = 350",
            "deadline_ms = 0",
            "tiers.1 (groq).deadline_ms: Input should be greater than 0, found '0'",
        ),
        ("deadline_ms = 350", "deadline_ms = 401", "tiers.1 (groq): deadline_ms: 401 is more than the 400 that a requ"),
        ("deadline_ms = 400", "deadline_ms = nan", "deadline_ms: Input should be"),
        ("spend_cap_usd_per_day = 2.5", "spend_cap_usd_per_day = -1", "spend_cap_usd_per_day: Input should be greater"),
        ('preset = "groq"\n', "", "tiers.1 (groq): preset: missing; engine 'remote' needs to know which kind of host"),
        (
            'engine = "embedded"',
            'engine = "embedded"\nretry = true',
            "tiers.0 (small): retry: only for engine 'remote', and this is 'embedded'",
        ),
        (
            'engine = "embedded"',
            'engine = "embedded"\ndeadline_ms = 10',
            "tiers.0 (small): deadline_ms: not for the safety net (the first embedded tier)",
        ),
        (
            'engine = "embedded"',
            'engine = "embedded"\nasked_when = { emotion_below = 1.0 }',
            "tiers.0 (small): asked_when: the first tier is always asked; leave it out",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_key(file: Path, old: str, new: str, told: str) -> None:
    assert old in CASCADE
    file.write_text(CASCADE.replace(old, new, 1))
    with pytest.raises(TiersError) as raised:
        load_tiers(file)
    assert str(raised.value).startswith(f"tiers file '{file}': {told}")


EXAMPLES = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "tiers.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_docs_can_be_built(file: Path, example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(example)
    tiers = load_tiers(file)
    assert tiers.safety_net is not None
    monkeypatch.setenv("GROQ_API_KEY", "k")
    monkeypatch.setattr("emotion_svc.engines.factory.find_spec", lambda name: name)  # vLLM need not be installed here
    settings = Settings(tiers=file, spend_file=file.with_name("spend.json"))
    assert create_router(settings).name == tiers.tiers[0].engine


def test_the_docs_show_every_key_and_both_orders() -> None:
    assert len(EXAMPLES) == 2
    keys = {*Tiers.model_fields, *TierTable.model_fields, *AskedWhen.model_fields} - {"base_url", "tiers"}
    assert {key for key in keys if key in EXAMPLES[0] + EXAMPLES[1]} == keys


def test_vllm_is_not_loaded_by_several_workers(file: Path) -> None:
    file.write_text('[[tiers]]\nname = "big"\nengine = "vllm"\n')
    with pytest.raises(TiersError, match=r"tier 'big': engine 'vllm' batches by itself.* set workers \(2\) to 1"):
        create_router(Settings(tiers=file, workers=2))


def test_a_file_without_a_tier_is_refused(file: Path) -> None:
    file.write_text("tiers = []")
    with pytest.raises(TiersError, match=r"tiers: Tuple should have at least 1 item"):
        load_tiers(file)


def test_what_is_no_toml_is_refused(file: Path) -> None:
    file.write_text("[[tiers]")
    with pytest.raises(TiersError, match=r"tiers\.toml' is no valid TOML"):
        load_tiers(file)


def test_a_missing_file_is_refused(file: Path) -> None:
    with pytest.raises(TiersError, match=r"tiers\.toml' cannot be read: No such file"):
        load_tiers(file)


def test_a_spend_file_without_tiers_would_cap_nothing_and_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TiersError, match="EMOTION_SVC_SPEND_FILE is given, but no tiers file"):
        create_router(Settings(engine="remote", preset="groq", spend_file=tmp_path / "spend.json"))


def test_a_priced_host_alone_is_capped_by_nothing_and_one_in_tiers_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "x")
    assert create_router(Settings(engine="remote", preset="groq")).is_uncapped
    assert not create_router(Settings()).is_uncapped
    file = tmp_path / "tiers.toml"
    file.write_text(CASCADE)
    assert not create_router(Settings(tiers=file, spend_file=tmp_path / "spend.json")).is_uncapped


def test_what_a_decisions_host_says_has_no_price_as_nothing_bounds_it() -> None:
    table = TierTable(name="host", engine="remote", preset="openai-decisions", price=Price(input_usd=1, output_usd=1))
    with pytest.raises(TiersError, match="'host': output_usd is 1, but how much a decisions host says"):
        price_of(table)

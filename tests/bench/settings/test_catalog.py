"""What the study compares: pairs that differ in one setting, from both anchors."""

import pytest

from emotion_svc.bench.settings.anchors import plain, tuned
from emotion_svc.bench.settings.catalog import Anchor, Comparison, Setting, Value, comparisons
from emotion_svc.bench.settings.said import SETTINGS
from emotion_svc.engines.vllm_options import tuned as tuned_options

PLAIN = plain("float16")
TUNED = tuned(tuned_options(dtype="float16", window=512, widest=23, on_cpu=True))
ALL = [comparison for anchor in (PLAIN, TUNED) for comparison in comparisons(SETTINGS, anchor)]

NOTED = {
    "max-model-len",
    "enforce-eager",
    "prefix caching",
    "chunked prefill",
    "dtype",
    "kv-cache-dtype",
    "max-num-batched-tokens",
    "request logging",
    "cache's memory (gpu-memory-utilization)",
    "max-num-seqs",
    "system prompt",
    "max_tokens",
    "stop tokens",
    "temperature",
}
"""What the robot's team noted."""


def named(name: str, anchor: Anchor) -> list[Comparison]:
    return [c for c in ALL if c.setting.name == name and c.anchor == anchor]


def changed(comparison: Comparison) -> set[str]:
    before, after = comparison.anchor, comparison.variant
    server = {key for key in {*before.server, *after.server} if before.server.get(key) != after.server.get(key)}
    return server | {f for f in before.asking._fields if getattr(before.asking, f) != getattr(after.asking, f)}


@pytest.mark.parametrize("name", sorted(NOTED))
@pytest.mark.parametrize("anchor", [PLAIN, TUNED], ids=["plain", "tuned"])
def test_every_noted_setting_is_measured_from_both_anchors(name: str, anchor: Anchor) -> None:
    assert named(name, anchor)


def test_what_is_said_in_milliseconds_is_also_there_as_numbers() -> None:
    assert {s.name for s in SETTINGS if s.said_ms} == {s.name for s in SETTINGS if s.said.endswith(" ms")}


@pytest.mark.parametrize("comparison", ALL, ids=lambda c: f"{c.anchor.name}, {c.title}")
def test_a_variant_differs_from_its_anchor_in_the_keys_of_its_setting_only(comparison: Comparison) -> None:
    values = (comparison.faster, comparison.other)
    assert changed(comparison)
    assert changed(comparison) <= {key for value in values for key in [*value.server, *value.asking]}


@pytest.mark.parametrize("comparison", ALL, ids=lambda c: f"{c.anchor.name}, {c.title}")
def test_the_anchor_has_one_value_and_the_variant_the_other(comparison: Comparison) -> None:
    theirs = comparison.other if comparison.anchor_is_faster else comparison.faster
    assert theirs.holds(comparison.variant)
    assert not theirs.holds(comparison.anchor)


def test_what_only_the_requests_differ_in_needs_no_server_of_its_own() -> None:
    assert {c.setting.name for c in ALL if not c.needs_own_server} == {
        "system prompt",
        "max_tokens",
        "stop tokens",
        "temperature",
        "grammar",
    }


def test_a_value_that_neither_anchor_has_on_either_side_is_not_compared() -> None:
    setting = Setting("x", "", ((Value("a", {"--x": "a"}), Value("b", {"--x": "b"})),))
    assert list(comparisons([setting], PLAIN)) == []


def test_a_value_of_none_takes_the_option_out() -> None:
    [comparison] = named("enforce-eager", TUNED)
    assert "--enforce-eager" in comparison.anchor.server
    assert "--enforce-eager" not in comparison.variant.server
    assert not comparison.anchor_is_faster


def test_the_tuned_anchor_is_what_the_package_ships() -> None:
    assert TUNED.server["--block-size"] == "32"
    assert TUNED.server["--structured-outputs-config"] == '{"backend": "outlines"}'
    assert TUNED.server["--enforce-eager"] == ""

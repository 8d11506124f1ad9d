"""What the tiers have cost: from a running service's metrics, or from the day's spend file.

The metrics know how many turns every tier has answered since the service began, so they can be held against
"everything to the paid tier". The spend file knows only what was paid for, and only today.
"""

import urllib.error
import urllib.request
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from emotion_svc.errors import SetupError
from emotion_svc.routing.spend import SpendError, read_spend

_TIMEOUT_S: Final = 10.0


class CostError(SetupError):
    """The service's metrics cannot be read, or are none of ours."""

    kind = "cost"


class TierCost(NamedTuple):
    """One tier.

    `turns` are those that went out with its answer; None where only the spend file is known. `a_call_usd` is the mean
    cost of a call whose tokens the host counted; None where there was none.
    """

    tier: str
    turns: int | None
    calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    a_call_usd: float | None = None


def costs_from_url(url: str, key: str | None) -> list[TierCost]:
    """The tiers of the service at `url`. `key` is sent as a bearer token where `/metrics` is behind one.

    Raises:
        CostError: it cannot be reached, refuses, or has no metrics of tiers.
    """
    if not url.startswith(("http://", "https://")):
        raise CostError(f"expected a URL such as http://127.0.0.1:30030, found '{url[:40]}'")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{url.rstrip('/')}/metrics", headers=headers)  # noqa: S310 - http(s) only
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310 - http(s) only
            text = reply.read().decode()
    except urllib.error.HTTPError as error:
        hint = "; give the service's key (--key-env)" if error.code in {401, 403} else ""
        raise CostError(f"{url}/metrics answered with status {error.code}{hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CostError(f"{url}/metrics cannot be read ({type(error).__name__}); is the service running?") from error
    return costs_from_metrics(text)


def costs_from_metrics(text: str) -> list[TierCost]:
    """The tiers in a service's metrics, and the cache. Raises `CostError` where there are none."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def total(name: str, **labels: str) -> float:
        wanted = labels.items()
        return sum(float(s.value) for s in samples if s.name == name and wanted <= s.labels.items())

    tiers = sorted({s.labels["tier"] for s in samples if s.name == "emotion_svc_tier_calls_total"})
    if not tiers:
        raise CostError("there are no metrics of tiers; has the service answered anything yet?")
    costs = [
        TierCost(
            tier,
            turns=round(total("emotion_svc_tier_answers_total", tier=tier)),
            calls=round(sum(total("emotion_svc_tier_calls_total", tier=tier, outcome=made) for made in _MADE)),
            prompt_tokens=round(total("emotion_svc_tier_tokens_total", tier=tier, direction="prompt")),
            completion_tokens=round(total("emotion_svc_tier_tokens_total", tier=tier, direction="completion")),
            usd=total("emotion_svc_tier_usd_total", tier=tier),
            # Calls that were free (429, refused) say nothing of the price, and reservations only what it cannot exceed.
            a_call_usd=_ratio(
                total("emotion_svc_tier_usd_total", tier=tier, by="count"),
                total("emotion_svc_tier_paid_calls_total", tier=tier, by="count"),
            ),
        )
        for tier in tiers
    ]
    kept = round(sum(total("emotion_svc_cache_turns_total", result=found) for found in ("hit", "shared")))
    return [*costs, TierCost(_CACHE, kept, 0, 0, 0, 0.0)] if kept else costs


_CACHE: Final = "(cache)"
"""Turns that no tier was asked: the same one had been answered, or was being answered."""

_MADE: Final = ("answered", "not_needed", "deadline", "failed")
"""Outcomes of calls that were made; the others say why none was."""


def costs_from_file(path: Path, today: date) -> list[TierCost]:
    """The paid tiers in a spend file.

    Raises:
        CostError: the file cannot be read.
    """
    if not path.exists():
        raise CostError(f"spend file '{path}' does not exist")
    try:
        spent = read_spend(path, today)
    except (SpendError, OSError) as error:
        raise CostError(f"spend file '{path}' cannot be read ({type(error).__name__})") from error
    return [
        TierCost(tier, None, of.calls, of.prompt_tokens, of.completion_tokens, of.usd)
        for tier, of in sorted(spent.tiers.items())
    ]


def summary(costs: Iterable[TierCost]) -> str:
    """The costs as a table, and against everything going to each paid tier.

    That is its average price for a counted call, for each turn; never less than it has cost, retries, probes and calls
    that were cut off included.
    """
    costs = list(costs)
    lines = ["| tier | turns | calls | tokens in | tokens out | USD |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {c.tier} | {'–' if c.turns is None else c.turns} | {c.calls} | {c.prompt_tokens} | {c.completion_tokens} "
        f"| {c.usd:.6f} |"
        for c in costs
    ]
    usd = sum(c.usd for c in costs)
    lines += ["", f"in all: {usd:.6f} USD"]
    turns = [c.turns for c in costs if c.turns is not None]
    if not turns:
        lines.append("(the spend file knows paid calls only; --url compares them with everything to the paid tier)")
        return "\n".join(lines)
    for c in costs:
        if c.a_call_usd is not None:
            everything = max(sum(turns) * c.a_call_usd, c.usd)
            lines.append(f"everything to {c.tier}: {everything:.6f} USD; the tiers {_compared(usd, everything)}")
        elif c.usd:
            lines.append(f"everything to {c.tier}: not known, as its host has counted no tokens yet")
    return "\n".join(lines)


def _compared(usd: float, everything: float) -> str:
    """Of several paid tiers, one may be so cheap that everything there would cost less."""
    if usd > everything:
        return f"cost {usd - everything:.6f} USD more"
    return f"save {1 - usd / everything:.1%}"


def _ratio(usd: float, calls: float) -> float | None:
    return usd / calls if calls else None

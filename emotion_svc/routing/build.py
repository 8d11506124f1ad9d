"""From settings to a router: the tiers of the file, or the one engine that the settings name."""

from collections.abc import Mapping

from emotion_svc.config import Settings
from emotion_svc.engines.base import Engine
from emotion_svc.engines.factory import create_engine
from emotion_svc.engines.presets import Price, find_preset
from emotion_svc.routing.router import Router
from emotion_svc.routing.spend import Spend
from emotion_svc.routing.tier import Tier, TierPlan
from emotion_svc.routing.tiers_file import Tiers, TiersError, TierTable, load_tiers


def create_router(settings: Settings) -> Router:
    """The router for the settings, not started.

    Raises:
        SetupError: the tiers file, or what it asks for, cannot be; the message says what and where. Or a spend file is
            given without one.
    """
    if settings.tiers is None:
        if settings.spend_file is not None:
            raise TiersError(
                "EMOTION_SVC_SPEND_FILE is given, but no tiers file, whose spend_cap_usd_per_day it is kept for: "
                "nothing would be capped; give a tiers file (docs/tiers.md), or leave it out"
            )
        return Router.around(create_engine(settings), deadline_ms=settings.deadline_ms, price=_price_of_one(settings))
    return router_of(load_tiers(settings.tiers), settings)


def router_of(tiers: Tiers, settings: Settings) -> Router:
    """The router for tiers that were read. Raises as `create_router`."""
    built = build_tiers(tiers, settings)
    net = next((tier for tier, table in zip(built, tiers.tiers, strict=True) if table is tiers.safety_net), None)
    return Router(built, net, deadline_ms=tiers.deadline_ms)


def build_tiers(tiers: Tiers, settings: Settings) -> list[Tier]:
    """The tiers by themselves, in their order, under one spend cap. Raises as `create_router`."""
    prices = {table.name: price_of(table) for table in tiers.tiers}
    spend = _spend_of(tiers, prices, settings)
    return [
        Tier(_plan_of(table, tiers, prices[table.name]), engine_of(table, settings), spend=spend)
        for table in tiers.tiers
    ]


def price_of(table: TierTable) -> Price | None:
    """What the tier's tokens cost: the file's word, else the preset's; None where they are free.

    Raises:
        TiersError: what a decisions host says has a price: no request bounds it, so no cap would hold.
        PresetError: there is no such preset.
    """
    if table.preset is None:
        return table.price
    preset = find_preset(table.preset, model=table.model, base_url=table.base_url)
    price = preset.price if table.price is None else table.price
    if preset.wire == "decisions" and price is not None and price.output_usd:
        raise TiersError(
            f"tier '{table.name}': output_usd is {price.output_usd:g}, but how much a decisions host says cannot be "
            "bounded, and so not capped; set it to 0, or ask the host as a chat"
        )
    return price


def _price_of_one(settings: Settings) -> Price | None:
    if settings.preset is None:
        return None
    return find_preset(settings.preset, model=settings.model, base_url=settings.base_url).price


def engine_of(table: TierTable, settings: Settings) -> Engine:
    """The tier's engine, not started. Raises `errors.SetupError`."""
    if table.engine == "vllm" and settings.workers > 1:
        raise TiersError(
            f"tier '{table.name}': engine 'vllm' batches by itself, and every worker would load the model again; "
            f"set workers ({settings.workers}) to 1"
        )
    named = {"engine": table.engine, "model": table.model, "preset": table.preset, "base_url": table.base_url}
    return create_engine(settings.model_copy(update=named))


def _plan_of(table: TierTable, tiers: Tiers, price: Price | None) -> TierPlan:
    return TierPlan(
        table.name,
        asked_when=table.asked_when,
        deadline_s=(table.deadline_ms or tiers.deadline_ms) / 1e3,
        concurrency=table.concurrency,
        retries=table.retry,
        price=price,
    )


def _spend_of(tiers: Tiers, prices: Mapping[str, Price | None], settings: Settings) -> Spend | None:
    paid = [name for name, price in prices.items() if price is not None]
    if not paid:
        return None
    if tiers.spend_cap_usd_per_day is None:
        raise TiersError(f"spend_cap_usd_per_day: missing; tier '{paid[0]}' costs money")
    if settings.spend_file is None:
        raise TiersError(
            f"tier '{paid[0]}' costs money, and what is spent in a day must be kept over restarts: set "
            "EMOTION_SVC_SPEND_FILE to a file that can be written"
        )
    return Spend(settings.spend_file, tiers.spend_cap_usd_per_day)

"""Refusals go out at once while they are few; callers who ask again and again without a pause wait for theirs."""

import asyncio

from emotion_svc.serving.patience import Patience


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def held(patience: Patience) -> bool:
    """Whether one more refusal waits."""
    refusing = asyncio.create_task(patience.refuse())
    await asyncio.sleep(0)
    is_held = not refusing.done()
    await refusing
    return is_held


async def test_three_hundred_in_a_second_are_not_held_and_the_next_ones_are() -> None:
    clock = Clock()
    patience = Patience(clock)
    for _ in range(300):
        assert not await held(patience)
    assert await held(patience)
    clock.now += 1  # nor are those of the next second let out at once
    assert await held(patience)


async def test_a_second_with_few_refusals_ends_it() -> None:
    clock = Clock()
    patience = Patience(clock)
    await asyncio.gather(*(patience.refuse() for _ in range(400)))
    clock.now += 1
    assert await held(patience)
    clock.now += 1
    assert not await held(patience)


async def test_so_does_a_pause() -> None:
    clock = Clock()
    patience = Patience(clock)
    await asyncio.gather(*(patience.refuse() for _ in range(400)))
    clock.now += 2
    assert not await held(patience)


async def test_what_was_held_back_long_ago_holds_nothing_now() -> None:
    clock = Clock()
    patience = Patience(clock)
    await asyncio.gather(*(patience.refuse() for _ in range(400)))
    assert patience.holds
    clock.now += 1
    assert patience.holds
    clock.now += 1
    assert not patience.holds

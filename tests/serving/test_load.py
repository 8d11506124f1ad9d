"""At twice what it can do, the service answers what it takes in time and refuses the rest: nothing else goes out.

Runs a real process for a few seconds and prints the figures. Which statuses go out is asserted on any machine; times
only where the generator itself can keep them.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.serving.open_load import Load, accepted, percentile, statuses

DEADLINE_MS = 50
"""The service's own."""
SECONDS = 3.0


@pytest.fixture
def url() -> Iterator[httpx.URL]:
    """Of a process of its own, with the shipped model. Its log goes nowhere: a pipe that nobody reads would stop it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "emotion_svc", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    yield httpx.URL(process.stdout.readline().split()[-1])
    process.terminate()
    process.communicate(timeout=60)


async def test_at_twice_the_capacity_answers_are_in_time_and_the_rest_is_refused(url: httpx.URL) -> None:
    async with Load(url, DEADLINE_MS) as load:
        await load.closed(callers=1, seconds=0.5)  # warm
        unhurried = await load.closed(callers=4, seconds=1.5)
        capacity = len(accepted(unhurried)) / 1.5
        shots, late = await asyncio.gather(load.open(2 * capacity, SECONDS), load.held_up(SECONDS))
        after = await load.closed(callers=1, seconds=0.5)
    taken, refused = accepted(shots), sorted(shot.seconds for shot in shots if shot.status == 503)
    told = (
        f"capacity {capacity:.0f}/s; at twice that for {SECONDS:g} s: {statuses(shots)}, answered "
        f"{len(taken) / SECONDS:.0f}/s in p50 {percentile(taken, 50) * 1e3:.1f} ms, p99 "
        f"{percentile(taken, 99) * 1e3:.1f} ms, refused in p50 "
        f"{percentile(refused, 50) * 1e3:.1f} ms; the generator was late by p99 {percentile(late, 99) * 1e3:.1f} ms"
    )
    print(told)
    assert set(statuses(shots)) == {200, 503}
    assert set(statuses(after)) <= {200, 503}
    if percentile(late, 99) > DEADLINE_MS / 4e3:
        pytest.skip(f"no time can be told on a machine that is busy with other things: {told}")
    # Without admission, 3 s at twice the capacity would leave the last answers 1.5 s late.
    assert percentile(taken, 50) < 2 * DEADLINE_MS / 1e3, told
    assert percentile(taken, 99) < 8 * DEADLINE_MS / 1e3, told
    # Two fifths of it are usual where Python is slow (docs/reliability.md), and 3 s swing around that.
    assert len(taken) / SECONDS > capacity / 6, f"refusing costs so much that too little is answered: {told}"
    assert set(statuses(after)) == {200}, "what it can do again, it does again"

"""vLLM's own server behind the first tier, on the CPU: paused and killed while turns come in, and back again.

It takes some hundred milliseconds for an answer on a CPU, so the deadline is long; that what hangs is cut off at 50 ms,
and how exactly, is measured with another host (docs/reliability.md).
"""

from collections.abc import Callable, Iterator

import pytest

from tests.engines.marks import NEEDS_VLLM
from tests.engines.vllm_server import MODEL, VllmServer, tiny_model
from tests.reliability.asking import Callers, percentile
from tests.reliability.faults import HOST, NET, service

pytestmark = [*NEEDS_VLLM]

DEADLINE_S = 3.0
BOUND_S = 9.0
"""A server that is paused or killed never answers."""


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    with VllmServer(tiny_model(tmp_path_factory.mktemp("hub"))) as server:
        yield server


@pytest.fixture(scope="module")
def url(vllm: VllmServer) -> Iterator[str]:
    """One service for all of it: it must come through without a restart."""
    with service("in front", vllm.url, DEADLINE_S * 1e3, model=MODEL) as url:
        yield url


@pytest.mark.parametrize(
    ("befall", "mend"),
    [(VllmServer.pause, VllmServer.resume), (VllmServer.kill, VllmServer.start)],
    ids=["paused", "killed"],
)
async def test_a_server_that_goes_under_load_costs_nobody_an_answer_and_is_used_when_it_is_back(
    url: str, vllm: VllmServer, befall: Callable[[VllmServer], None], mend: Callable[[VllmServer], None]
) -> None:
    async def midway() -> None:
        befall(vllm)

    async with Callers(url) as callers:
        await callers.until_answered_by(HOST)
        replies = await callers.at_pace(40, 10, midway)
        mend(vllm)
        await callers.until_answered_by(HOST)
    assert {(reply.status, reply.is_valid) for reply in callers.replies} == {(200, True)}
    assert {HOST, NET} <= {reply.tier for reply in replies}
    assert percentile([reply.seconds for reply in replies], 99) < BOUND_S

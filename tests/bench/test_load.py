"""The closed loop of clients."""

import asyncio

import pytest

from emotion_svc.bench.load import Reply, press
from emotion_svc.schema import Turn

TURNS = [Turn(previous_question="", previous_answer="", response=str(number)) for number in range(5)]


class Counting:
    """Answers with the response itself, and counts how many ask at the same time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def __call__(self, turn: Turn) -> Reply:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return Reply(text=turn.response)


@pytest.mark.parametrize("clients", [1, 3])
async def test_so_many_clients_ask_at_the_same_time_and_no_more(clients: int) -> None:
    ask = Counting()
    await press([ask] * clients, TURNS, first=0, seconds=0.01)
    assert ask.most == clients


async def test_turns_are_taken_in_their_order_from_the_first_place_on_and_round_the_end() -> None:
    load = await press([Counting()], TURNS, first=3, seconds=0.005)
    places = [sample.place for sample in load.samples]
    assert places == [(3 + number) % 5 for number in range(len(places))]
    assert all(sample.reply.text == TURNS[sample.place].response for sample in load.samples)


async def test_each_client_answers_a_turn_however_short_the_time_is() -> None:
    load = await press([Counting()] * 4, TURNS, first=0, seconds=0)
    assert sorted(sample.place for sample in load.samples) == [0, 1, 2, 3]
    assert load.elapsed_s > 0


async def test_where_the_wire_knows_how_long_an_answer_took_the_clients_own_work_is_not_counted() -> None:
    async def ask(turn: Turn) -> Reply:
        await asyncio.sleep(0.001)
        return Reply(text=turn.response, took_s=0.0005 if turn.response == "1" else None)

    load = await press([ask], TURNS, first=1, seconds=0.01)
    first, second = load.samples[:2]
    assert first.latency_s == 0.0005
    assert second.latency_s >= 0.001


async def test_a_failing_subject_ends_the_load() -> None:
    async def fail(turn: Turn) -> Reply:
        raise ConnectionError("gone")

    with pytest.RaisesGroup(ConnectionError):
        await press([fail], TURNS, first=0, seconds=1)

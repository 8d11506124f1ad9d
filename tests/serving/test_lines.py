"""JSON Lines: one line for one line, in order, a few in memory at a time."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence

import pytest

from emotion_svc.engines.embedded import EmbeddedEngine
from emotion_svc.engines.factory import running
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import EngineUnavailable, HostBusy
from emotion_svc.routing.router import Router
from emotion_svc.schema import Answer, Turn, Verdict
from emotion_svc.serving.intake import Intake
from emotion_svc.serving.lines import Line, answer_lines, read_lines

INTAKE = Intake(max_field_chars=20, max_batch=1)


def turn(response: str) -> bytes:
    return json.dumps({"previous_question": "", "previous_answer": "", "response": response}).encode() + b"\n"


async def answers(engine: ScriptedEngine, lines: Iterable[bytes], *, with_detail: bool = False) -> list[Line]:
    async with running(engine):
        chunks = answer_lines(engine, INTAKE, lines, max_bytes=100, with_detail=with_detail)
        return [line async for chunk in chunks for line in chunk]


async def test_good_lines_are_answered_and_bad_ones_have_their_problem_in_their_place() -> None:
    engine = ScriptedEngine(
        {"a": Answer(emotion="sad", learn_score=False), "b": Answer(emotion="calm", learn_score=True)}
    )
    lines = await answers(
        engine, [turn("a"), b"no json\n", turn("b"), turn("x" * 21), b"\n", turn("c" * 90), turn("a")]
    )
    assert [line.number for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    rows = [json.loads(line.text or "{}") for line in lines]
    assert [row.get("emotion") or row.get("error", {}).get("kind") for row in rows] == [
        "sad",
        "invalid_turn",
        "calm",
        "too_large",
        None,
        "too_large",
        "sad",
    ]
    assert [line.error is None for line in lines] == [True, False, True, False, True, False, True]
    assert lines[4].text == ""
    assert lines[3].error == "response: 21 characters; the limit is 20"
    assert lines[5].error == "line: more than 100 bytes; that is the limit"


async def test_with_detail_each_line_is_a_verdict() -> None:
    [line] = await answers(ScriptedEngine(), [turn("a")], with_detail=True)
    assert Verdict.model_validate_json(line.text).engine == "scripted"


async def test_answers_come_before_the_input_has_ended() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield turn("a")

    async with running(ScriptedEngine()) as engine:
        chunks = answer_lines(engine, INTAKE, endless(), max_bytes=100, with_detail=False)
        first, second = await anext(chunks), await anext(chunks)
    assert [line.number for line in (*first, *second)] == list(range(1, len(first) + len(second) + 1))


async def test_an_engine_that_fails_is_no_bad_line() -> None:
    with pytest.raises(EngineUnavailable):
        await answers(ScriptedEngine({"a": EngineUnavailable("gone")}), [turn("a")])


async def test_a_line_of_exactly_the_limit_is_answered() -> None:
    longest = turn("a" * 20).rstrip().ljust(100) + b"\n"
    assert [line.error is None for line in await answers(ScriptedEngine(), [longest, b" " + longest])] == [True, False]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"a\nbb\n", [b"a\n", b"bb\n"]),
        (b"a\n\nb", [b"a\n", b"\n", b"b"]),
        (b"1234\n", [b"1234\n"]),
        (b"12345\nb\n", [b"12345", b"b\n"]),
        (b"1234567890123\nb\n", [b"12345", b"b\n"]),
        (b"1234567890123", [b"12345"]),
    ],
)
def test_a_line_over_the_limit_is_read_only_so_far_that_it_is_seen_to_be(text: bytes, lines: list[bytes]) -> None:
    assert list(read_lines(io.BytesIO(text), max_bytes=4)) == lines


async def test_a_turn_that_a_host_does_not_answer_costs_the_others_nothing() -> None:
    engine = ScriptedEngine({"a": Answer(emotion="sad", learn_score=False), "b": HostBusy("too many calls")})
    router = Router.around(engine)
    async with running(router):
        chunks = answer_lines(router, INTAKE, [turn("a"), turn("b"), turn("a")], max_bytes=100, with_detail=False)
        lines = [line async for chunk in chunks for line in chunk]
    assert [line.error for line in lines] == [None, "too many calls", None]
    assert json.loads(lines[1].text)["error"] == {"kind": "host_busy", "message": "too many calls", "retryable": True}


async def test_the_lines_of_a_chunk_have_the_time_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float | None] = []
    async with running(Router.around(EmbeddedEngine(), deadline_ms=30)) as router:
        classify = router.classify

        async def noted(turns: Sequence[Turn], *, budget_ms: float | None = None) -> list[Verdict]:
            asked.append(budget_ms)
            return await classify(turns, budget_ms=budget_ms)

        monkeypatch.setattr(router, "classify", noted)
        chunks = answer_lines(router, INTAKE, [turn("a")] * 17, max_bytes=100, with_detail=False)
        lines = [line async for chunk in chunks for line in chunk]
    assert [line.error for line in lines] == [None] * 17
    assert asked == [90]  # 8 turns share one deadline

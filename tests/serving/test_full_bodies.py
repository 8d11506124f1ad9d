"""Bodies that are full of what is wrong: each is refused in a moment, and takes no more memory than to read it."""

import json
import time
import tracemalloc
from collections.abc import Callable

import pytest

from emotion_svc.errors import InvalidTurn, ServiceError
from emotion_svc.serving.chat_request import chat_request
from emotion_svc.serving.decision_request import decision_request
from emotion_svc.serving.intake import Intake
from emotion_svc.serving.openai_errors import Refused
from emotion_svc.serving.openai_turn import read_object

MIB = 1024 * 1024
NAMES = {f"{number:x}": 0 for number in range(99_000)}
NUMBERS = [0] * 520_000
FACE = {"type": "choice", "name": "emotion", "instructions": "", "choices": []}
CHAT = {"model": "m", "messages": [{"role": "user", "content": ""}]}
DECISION = {"model": "m", "input": "", "questions": [FACE]}


def chat(body: bytes) -> object:
    return chat_request(read_object(body))


def decision(body: bytes) -> object:
    return decision_request(read_object(body))


INTAKE = Intake(max_field_chars=4_000, max_batch=256)

BODIES: dict[str, tuple[Callable[[bytes], object], object]] = {
    "fields of a turn": (INTAKE.turn, NAMES),
    "fields of a batch": (INTAKE.batch, NAMES),
    "fields of a batch's turns": (INTAKE.batch, {"turns": [dict(list(NAMES.items())[:480])] * 256}),
    "fields of a chat": (chat, NAMES),
    "messages": (chat, CHAT | {"messages": NUMBERS}),
    "words to stop at": (chat, CHAT | {"stop": NUMBERS}),
    "options of a stream": (chat, CHAT | {"stream_options": NAMES}),
    "fields of a decision": (decision, NAMES),
    "items of an input": (decision, DECISION | {"input": NUMBERS}),
    "items of instructions": (decision, DECISION | {"questions": [FACE | {"instructions": NUMBERS}]}),
    "questions": (decision, DECISION | {"questions": NUMBERS}),
    "fields of a question": (decision, DECISION | {"questions": [FACE | NAMES]}),
    "choices": (decision, DECISION | {"questions": [FACE | {"choices": NUMBERS}]}),
    "fields of a choice": (decision, DECISION | {"questions": [FACE | {"choices": [NAMES]}]}),
}


@pytest.mark.parametrize(("read", "value"), BODIES.values(), ids=BODIES)
def test_a_body_full_of_mistakes_is_refused_in_a_moment_and_little_memory(
    read: Callable[[bytes], object], value: object
) -> None:
    body = json.dumps(value, separators=(",", ":")).encode()
    assert 0.8 * MIB < len(body) <= MIB

    def refused() -> ServiceError:
        with pytest.raises((InvalidTurn, Refused)) as raised:
            read(body)
        return raised.value

    began = time.thread_time()
    error = refused()
    assert time.thread_time() - began < 1.0
    assert len(str(error)) < 2_000
    tracemalloc.start()
    try:
        refused()
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("field", ["messages", "stop"])
def test_as_many_items_as_a_list_may_have_are_taken_and_one_more_is_refused(field: str) -> None:
    item = {"messages": {"role": "user", "content": ""}, "stop": "."}[field]
    body = CHAT | {field: [item] * 1_024}
    assert chat_request(body)
    with pytest.raises(Refused, match=r"expected a list of at most 1024, found 1025$") as raised:
        chat_request(body | {field: [item] * 1_025})
    assert raised.value.param == field

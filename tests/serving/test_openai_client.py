"""The real `openai` client against the OpenAI wires, over a socket."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError, OpenAI
from openai.types.decision import AnswerAnswerResourceChoice, AnswerAnswerResourcePredicate

from emotion_svc.data import read_examples
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import Overloaded
from emotion_svc.schema import ALL_ANSWERS, Answer, Turn, Verdict
from tests.paths import EVAL_DATA
from tests.serving.test_chat import LINES, MODEL, TURN
from tests.serving.test_decisions import FACE, FAMILY, RIGHT

MESSAGES: Any = [{"role": "system", "content": "Answer in JSON."}, {"role": "user", "content": LINES}]
RIGHT_ANSWER = '{"emotion":"thats_right","learn_score":true}'


def client_of(server: httpx.Client) -> OpenAI:
    return OpenAI(base_url=f"{server.base_url}/v1", api_key="none", max_retries=0)


@pytest.fixture
def openai(client: httpx.Client) -> Iterator[OpenAI]:
    with client_of(client) as openai:
        yield openai


def test_a_chat(openai: OpenAI) -> None:
    completion = openai.chat.completions.create(
        model=MODEL, messages=MESSAGES, temperature=0, max_tokens=50, stop=["}"], top_p=1
    )
    [choice] = completion.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", RIGHT_ANSWER, "stop")
    assert (completion.object, completion.model) == ("chat.completion", MODEL)
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


def test_a_chat_whose_answer_is_parsed_by_the_client(openai: OpenAI) -> None:
    completion = openai.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Answer)
    assert completion.choices[0].message.parsed == Answer(emotion="thats_right", learn_score=True)


def test_a_streamed_chat(openai: OpenAI) -> None:
    with openai.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == RIGHT_ANSWER
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "stop"]
    assert [chunk.usage for chunk in chunks] == [None] * 3


def test_a_streamed_chat_with_token_counts(openai: OpenAI) -> None:
    options: Any = {"include_usage": True}
    with openai.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, stream_options=options) as stream:
        *chunks, last = list(stream)
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (15, 11, 26)


def test_a_streamed_chat_by_the_clients_own_helper(openai: OpenAI) -> None:
    with openai.chat.completions.stream(model=MODEL, messages=MESSAGES, response_format=Answer) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Answer(
            emotion="thats_right", learn_score=True
        )


async def test_the_asynchronous_client(client: httpx.Client) -> None:
    async with AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as openai:
        completion = await openai.chat.completions.create(model=MODEL, messages=MESSAGES)
        decision = await openai.decisions.create(model=MODEL, input=LINES, questions=[RIGHT])
        names = [model.id async for model in openai.models.list()]
    assert completion.choices[0].message.content == RIGHT_ANSWER
    assert len(decision.answers) == 1
    assert names == ["scripted", MODEL]


@pytest.mark.parametrize("choice", [FACE, FAMILY], ids=["labels", "families"])
def test_a_decision(openai: OpenAI, choice: Any) -> None:
    decision = openai.decisions.create(model=MODEL, input=LINES, questions=[choice, RIGHT])
    face, right = decision.answers
    assert isinstance(face, AnswerAnswerResourceChoice)
    assert isinstance(right, AnswerAnswerResourcePredicate)
    assert (face.name, face.choice) == ("emotion", "thats_right")
    assert sum(option.probability for option in face.probabilities) == pytest.approx(1)
    assert right.probability == pytest.approx(0.9)
    assert decision.usage.total_tokens == 26
    assert decision.usage.output_tokens_details.reasoning_tokens == 0


def test_the_models(openai: OpenAI) -> None:
    own, alias = openai.models.list().data
    assert (own.id, alias.id) == ("scripted", MODEL)
    for model in (own, alias):
        assert (model.object, model.owned_by) == ("model", "emotion_svc")
        assert model.created > 1_700_000_000
        assert model.model_extra == {"root": "scripted", "digest": "0" * 16, "state": "ready"}


def test_a_model_is_called_by_any_name_that_the_settings_map(serve: Callable[..., httpx.Client]) -> None:
    server = serve(model_aliases=("robot", "openai/gpt-oss-20b"))
    with client_of(server) as openai:
        for name in (model.id for model in openai.models.list()):
            assert openai.chat.completions.create(model=name, messages=MESSAGES).model == name
        with pytest.raises(NotFoundError) as raised:
            openai.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}),
        ("tools", [{"type": "function", "function": {"name": "x"}}]),
        ("extra_body", {"guided_choice": ["yes", "no"]}),
        ("extra_body", {"structured_outputs": {"regex": ".*"}}),
    ],
)
def test_another_constraint_is_a_bad_request_to_the_client(openai: OpenAI, field: str, value: Any) -> None:
    with pytest.raises(BadRequestError) as raised:
        openai.chat.completions.create(model=MODEL, messages=MESSAGES, **{field: value})
    named = next(iter(value)) if field == "extra_body" else field
    assert (raised.value.param, raised.value.type) == (named, "invalid_request_error")


def test_another_question_is_a_bad_request_to_the_client(openai: OpenAI) -> None:
    question: Any = {"type": "score", "name": "joy", "instructions": "?", "levels": [{"label": "1"}, {"label": "2"}]}
    with pytest.raises(BadRequestError, match="what can be asked") as raised:
        openai.decisions.create(model=MODEL, input=LINES, questions=[question])
    assert raised.value.param == "questions"


def test_a_long_message_is_refused_to_the_client(openai: OpenAI) -> None:
    with pytest.raises(APIStatusError) as raised:
        openai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "a" * 20_000}])
    assert (raised.value.status_code, raised.value.code) == (413, "too_large")


def test_overload_is_told_to_the_client_with_the_time_to_wait(serve: Callable[..., httpx.Client]) -> None:
    server = serve(ScriptedEngine({TURN.response: Overloaded("full", retry_after_s=3)}))
    with client_of(server) as openai, pytest.raises(InternalServerError) as raised:
        openai.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert (raised.value.status_code, raised.value.code) == (503, "overloaded")
    assert raised.value.response.headers["retry-after"] == "3"


def lines_of(turn: Turn) -> str:
    return (
        f"Previous Question: {turn.previous_question}\nPrevious Answer: {turn.previous_answer}\n"
        f"Response to check: {turn.response}"
    )


def test_all_wires_give_the_same_verdict_for_the_same_turn(shipped: httpx.Client) -> None:
    turns = [example.turn for example in read_examples([EVAL_DATA / "dev.jsonl"])[::8]]
    assert len(turns) > 30
    batch = shipped.post("/v1/classify/batch", json={"turns": [turn.model_dump() for turn in turns]}).json()["answers"]
    with client_of(shipped) as openai:
        for turn, in_batch in zip(turns, batch, strict=True):
            native = shipped.post("/v1/classify?detail=true", json=turn.model_dump())
            verdict = Verdict.model_validate_json(native.content)
            text = verdict.answer.model_dump_json()
            assert text in ALL_ANSWERS
            assert Answer.model_validate(in_batch) == verdict.answer

            messages: Any = [{"role": "user", "content": lines_of(turn)}]
            completion = openai.chat.completions.create(model=MODEL, messages=messages)
            assert completion.choices[0].message.content == text
            assert completion.system_fingerprint == verdict.model_digest
            with openai.chat.completions.create(model=MODEL, messages=messages, stream=True) as stream:
                assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == text

            [face, right] = openai.decisions.create(model=MODEL, input=lines_of(turn), questions=[FACE, RIGHT]).answers
            assert isinstance(face, AnswerAnswerResourceChoice)
            assert isinstance(right, AnswerAnswerResourcePredicate)
            assert (face.choice, face.confidence) == (verdict.answer.emotion, verdict.family_confidence)
            assert {row.value: row.probability for row in face.probabilities} == verdict.emotion_posterior
            assert right.probability == verdict.learn_score_probability
            assert (right.probability >= 0.5) == verdict.answer.learn_score
            [family] = openai.decisions.create(model=MODEL, input=lines_of(turn), questions=[FAMILY]).answers
            assert isinstance(family, AnswerAnswerResourceChoice)
            assert (family.choice, family.confidence) == (verdict.family, verdict.family_confidence)

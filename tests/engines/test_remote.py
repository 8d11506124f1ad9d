"""The remote engine: what a host is asked, what is taken for its answer, and what that costs."""

import json
from typing import Any

import pytest

from emotion_svc.engines.factory import create_remote
from emotion_svc.engines.presets import find_preset
from emotion_svc.errors import (
    AnswerRefused,
)
from emotion_svc.schema import Answer, TokenUsage
from emotion_svc.taxonomy import FAMILIES
from tests.engines.remote_host import COUNTS, KEY, SAD, TURN, ask, engine_for
from tests.upstream import (
    WAIT_S,
    Upstream,
    replies,
    says,
    says_and_goes_on,
    sends,
)

# What a host is asked


@pytest.mark.parametrize("preset", ["vllm", "llama-cpp", "groq", "deepseek"])
async def test_a_host_is_asked_with_our_prompt_and_key_and_without_chance(upstream: Upstream, preset: str) -> None:
    assert await ask(upstream, preset) == Answer(emotion="sad", learn_score=True)
    [request] = upstream.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    fields = request.fields
    system, user = fields["messages"]
    assert system["role"] == "system"
    assert "Reply with JSON" in system["content"]
    assert user == {
        "role": "user",
        "content": "Previous Question: Con mèo tiếng Anh là gì?\nPrevious Answer: cat\n"
        "Response to check: Chính xác, cat đó!",
    }
    assert (fields["model"], fields["temperature"]) == ("m", 0)
    assert fields["max_tokens"] == {"groq": 575}.get(preset, 63)
    assert fields.get("reasoning_effort") == {"groq": "low"}.get(preset)
    assert fields["stream"] is (preset in {"vllm", "llama-cpp"})


async def test_each_host_is_held_to_the_language_in_its_own_way(upstream: Upstream) -> None:
    for preset in ("vllm", "llama-cpp", "groq", "deepseek"):
        await ask(upstream, preset)
    vllm, llama, groq, deepseek = (request.fields for request in upstream.requests)
    assert '\\{"emotion":(' in vllm["structured_outputs"]["regex"]
    assert llama["response_format"] == groq["response_format"]
    assert groq["response_format"]["json_schema"]["strict"] is True
    schema = groq["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["emotion", "learn_score"]
    assert schema["additionalProperties"] is False
    assert len(schema["properties"]["emotion"]["enum"]) == 23
    assert deepseek["stop"] == ["}"]
    assert [set(fields) & {"structured_outputs", "stop"} for fields in (llama, groq)] == [set(), set()]


async def test_a_decisions_host_is_asked_for_the_family_and_learn_score(upstream: Upstream) -> None:
    upstream.behaviour = replies(decision())
    await ask(upstream, "openai-decisions")
    [request] = upstream.requests
    assert request.path == "/v1/decisions"
    choice, predicate = request.fields["questions"]
    assert [option["value"] for option in choice["choices"]] == list(FAMILIES)
    assert (predicate["type"], predicate["name"]) == ("predicate", "learn_score")


async def test_what_the_openai_client_finds_in_the_environment_is_told_to_no_host(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "not-yours")
    engine = create_remote("vllm", model="m", base_url=upstream.url, environment={})
    await engine.start()
    await engine.classify([TURN])
    await engine.close()
    assert "not-yours" not in str(upstream.requests)


# What is taken for an answer


@pytest.mark.parametrize("preset", ["vllm", "groq"])
@pytest.mark.parametrize(
    "pieces",
    [
        (SAD,),
        tuple(SAD),
        ('{\n  "emotion": "sad",\n', '  "learn_score": true\n}\n'),
        ('{"learn_score":true,', '"emotion":"sad"}'),
    ],
    ids=["whole", "letter by letter", "with white space", "the other way round"],
)
async def test_an_answer_is_read_however_it_is_laid_out(
    upstream: Upstream, preset: str, pieces: tuple[str, ...]
) -> None:
    upstream.behaviour = says(*pieces)
    assert await ask(upstream, preset) == Answer(emotion="sad", learn_score=True)


@pytest.mark.parametrize("preset", ["vllm", "groq", "deepseek"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "Pika is sad.",
        "{}",
        "null",
        SAD + SAD,
        f"[{SAD}]",
        f"```json\n{SAD}\n```",
        '{"emotion":"joyful","learn_score":true}',
        '{"emotion":"Sad","learn_score":true}',
        '{"emotion":"sad","learn_score":"true"}',
        '{"emotion":"sad","learn_score":1}',
        '{"emotion":"sad","learn_score":true,"why":"tears"}',
        '{"emotion":"happy","emotion":"sad","learn_score":true}',
        '{"emotion":"sad"}',
        "[" * 5_000,
    ],
)
async def test_anything_else_is_refused_and_not_asked_for_again(upstream: Upstream, preset: str, text: str) -> None:
    upstream.behaviour = says(text, usage=COUNTS)
    with pytest.raises(AnswerRefused, match=f"said {len(text)} characters") as raised:
        await ask(upstream, preset)
    assert not raised.value.may_try_again_now
    assert (raised.value.prompt_tokens, raised.value.completion_tokens) == (230, 12)


async def test_the_brace_that_a_stop_token_ate_is_put_back(upstream: Upstream) -> None:
    upstream.behaviour = says(SAD.removesuffix("}"))
    assert await ask(upstream, "deepseek") == Answer(emotion="sad", learn_score=True)


@pytest.mark.parametrize("preset", ["vllm", "groq"])
async def test_a_missing_brace_is_put_back_only_where_a_stop_token_eats_it(upstream: Upstream, preset: str) -> None:
    upstream.behaviour = says(SAD.removesuffix("}"), finish_reason="length")
    with pytest.raises(AnswerRefused):
        await ask(upstream, preset)


async def test_a_stream_is_left_as_soon_as_the_answer_is_whole(upstream: Upstream) -> None:
    upstream.behaviour = says_and_goes_on('{"emotion":"sad",', '"learn_score":true}')
    assert await ask(upstream) == Answer(emotion="sad", learn_score=True)
    assert upstream.hung_up.acquire(timeout=WAIT_S)


async def test_a_stream_that_will_be_no_answer_is_left_too(upstream: Upstream) -> None:
    upstream.behaviour = says_and_goes_on(*["Once upon a time "] * 100)
    with pytest.raises(AnswerRefused):
        await ask(upstream)
    assert upstream.hung_up.acquire(timeout=WAIT_S)


async def test_the_animation_is_chosen_by_the_policy_as_in_every_engine(upstream: Upstream) -> None:
    upstream.behaviour = says('{"emotion":"playful","learn_score":false}')
    turns = [TURN.model_copy(update={"response": f"Chơi nhé {number}!"}) for number in range(20)]
    async with engine_for(upstream) as engine:
        faces = {verdict.answer.emotion for verdict in await engine.classify(turns)}
    assert faces == {"playful", "playful_2", "playful_3"}


async def test_without_probabilities_all_of_it_is_on_what_was_said(upstream: Upstream) -> None:
    async with engine_for(upstream) as engine:
        [verdict] = await engine.classify([TURN])
    assert verdict.emotion_posterior["sad"] == verdict.family_confidence == verdict.learn_score_probability == 1


async def test_log_probabilities_become_the_posterior(upstream: Upstream) -> None:
    upstream.behaviour = sends(
        b"".join(
            b"data: " + json.dumps(chunk).encode() + b"\n\n"
            for chunk in (
                token('{"emotion":"', {'{"emotion":"': 0.0, "Sure": -3.0}),
                token("sad", {"sad": -0.7, "happy": -1.6, "happy_2": -1.6, "joy": -0.1}),
                token('","learn_score":', {'","learn_score":': 0.0}),
                token("true}", {"true}": -0.4, "false}": -1.1}),
            )
        ),
        {"content-type": "text/event-stream"},
    )
    async with engine_for(upstream) as engine:
        [verdict] = await engine.classify([TURN])
    assert verdict.answer == Answer(emotion="sad", learn_score=True)
    assert verdict.family_confidence == pytest.approx(0.551, abs=1e-3)  # e^-0.7 of e^-0.7 + 2 e^-1.6; "joy" is no label
    assert verdict.emotion_posterior["happy"] == pytest.approx(0.112, abs=1e-3)  # "happy" may still become "happy_2"
    assert verdict.emotion_posterior["happy_2"] == pytest.approx(0.336, abs=1e-3)
    assert verdict.learn_score_probability == pytest.approx(0.668, abs=1e-3)


async def test_a_log_probability_that_is_no_number_counts_for_nothing(upstream: Upstream) -> None:
    chunks = [
        token('{"emotion":"', {'{"emotion":"': 0.0}),
        token("sad", {"sad": float("nan"), "happy": float("nan")}),
        token('","learn_score":true}', {'","learn_score":true}': 0.0}),
    ]
    events = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    upstream.behaviour = sends(events, {"content-type": "text/event-stream"})
    async with engine_for(upstream) as engine:
        [verdict] = await engine.classify([TURN])
    assert verdict.answer == Answer(emotion="sad", learn_score=True)
    assert sum(verdict.emotion_posterior.values()) == pytest.approx(1)


def token(text: str, told: dict[str, float]) -> dict[str, Any]:
    top = [{"token": other, "logprob": logprob} for other, logprob in told.items()]
    logprobs = {"content": [{"token": text, "logprob": told[text], "top_logprobs": top}]}
    return {"choices": [{"index": 0, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": None}]}


async def test_a_decision_gives_its_probabilities(upstream: Upstream) -> None:
    upstream.behaviour = replies(decision(worry=0.5, happy=0.25, sad=0.25))
    async with engine_for(upstream, "openai-decisions") as engine:
        [verdict] = await engine.classify([TURN])
    assert verdict.answer == Answer(emotion="worry", learn_score=True)
    assert (verdict.family_confidence, verdict.learn_score_probability) == (0.5, 0.7)
    assert verdict.emotion_posterior["happy"] == verdict.emotion_posterior["happy_2"] == 0.125
    assert verdict.usage == TokenUsage(prompt_tokens=300, completion_tokens=2)


def decision(*, learn_score: Any = 0.7, **families: Any) -> dict[str, Any]:
    families = families or {"sad": 1.0}
    rows = [{"value": family, "probability": families.get(family, 0.0)} for family in FAMILIES]
    choice = {"type": "choice", "name": "emotion", "choice": "sad", "confidence": 1.0, "probabilities": rows}
    predicate = {"type": "predicate", "name": "learn_score", "probability": learn_score}
    usage = {"input_tokens": 300, "output_tokens": 2, "total_tokens": 302}
    return {"answers": [choice, predicate], "model": "m", "usage": usage}


@pytest.mark.parametrize(
    "wrong",
    [
        decision(learn_score=1.5),
        decision(learn_score="likely"),
        decision(learn_score=None),
        decision(sad=0.5),
        decision(sad=2.0, happy=-1.0),
        decision(sad="all"),
        decision() | {"answers": decision()["answers"][:1]},
        decision() | {"answers": decision()["answers"][::-1]},
        decision() | {"answers": [{"type": "refusal", "name": "emotion"}, decision()["answers"][1]]},
        decision() | {"answers": [decision()["answers"][0] | {"probabilities": []}, decision()["answers"][1]]},
    ],
)
async def test_a_decision_that_answers_something_else_is_refused(upstream: Upstream, wrong: dict[str, Any]) -> None:
    upstream.behaviour = replies(wrong)
    with pytest.raises(AnswerRefused, match="probability for each family") as raised:
        await ask(upstream, "openai-decisions")
    assert (raised.value.prompt_tokens, raised.value.completion_tokens) == (300, 2)


# What it costs


@pytest.mark.parametrize("preset", ["vllm", "groq", "deepseek"])
async def test_the_tokens_that_a_host_counts_are_told(upstream: Upstream, preset: str) -> None:
    upstream.behaviour = says(*SAD, usage=COUNTS)
    async with engine_for(upstream, preset) as engine:
        [verdict] = await engine.classify([TURN])
    assert verdict.usage == TokenUsage(prompt_tokens=230, completion_tokens=12)


async def test_what_a_host_bills_and_does_not_count_is_taken_for_the_most_it_can_be(upstream: Upstream) -> None:
    async with engine_for(upstream, "groq") as billed, engine_for(upstream, "vllm") as free:
        [with_price], [without] = await billed.classify([TURN]), await free.classify([TURN])
    assert without.usage is None
    assert with_price.usage is not None
    assert with_price.usage.prompt_tokens > 1_000
    assert with_price.usage.completion_tokens == 575
    price = find_preset("groq").price
    assert price is not None
    assert price.usd(TokenUsage(prompt_tokens=1_000_000, completion_tokens=2_000_000)) == pytest.approx(0.675)

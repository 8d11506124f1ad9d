"""The remote engine against a host that misbehaves: what is asked, what is taken for an answer, and how it fails."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from emotion_svc.engines.base import CANARY
from emotion_svc.engines.factory import create_remote
from emotion_svc.engines.presets import PresetError, find_preset, preset_names
from emotion_svc.engines.remote import RemoteEngine
from emotion_svc.errors import (
    AnswerRefused,
    EngineUnavailable,
    HostBroken,
    HostBusy,
    HostFailed,
    HostRefuses,
    HostSlow,
    HostUnreachable,
    TurnRefused,
)
from emotion_svc.schema import Answer, TokenUsage, Turn
from emotion_svc.taxonomy import FAMILIES
from tests.upstream import (
    WAIT_S,
    Behaviour,
    Connection,
    Request,
    Upstream,
    breaks,
    cuts_off_after,
    cuts_reply_off,
    hangs,
    replies,
    says,
    says_and_goes_on,
    sends,
    status,
)

TURN = Turn(previous_question="Con mèo tiếng Anh là gì?", previous_answer="cat", response="Chính xác, cat đó!")
SAD = '{"emotion":"sad","learn_score":true}'
KEY = "sk-5e1f-zanzibar"
COUNTS = {"prompt_tokens": 230, "completion_tokens": 12, "total_tokens": 242}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(says(SAD)) as upstream:
        yield upstream


@asynccontextmanager
async def engine_for(
    upstream: Upstream, preset: str = "vllm", timeout_s: float = WAIT_S
) -> AsyncIterator[RemoteEngine]:
    host = find_preset(preset, model="m", base_url=upstream.url)
    engine = RemoteEngine(host, host.key_from({host.key_env: KEY}), timeout_s=timeout_s)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def ask(upstream: Upstream, preset: str = "vllm", timeout_s: float = WAIT_S) -> Answer:
    async with engine_for(upstream, preset, timeout_s) as engine:
        [verdict] = await engine.classify([TURN])
    return verdict.answer


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


# How it fails

FAILURES: list[tuple[Behaviour, type[HostFailed], bool, float | None]] = [
    (status(429, {"retry-after": "7"}), HostBusy, True, 7.0),
    (status(429, {"retry-after-ms": "250", "retry-after": "1"}), HostBusy, True, 0.25),
    (status(429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}), HostBusy, True, 0.0),
    (status(429, {"retry-after": "soon"}), HostBusy, True, None),
    (status(429), HostBusy, True, None),
    (status(500), HostBroken, True, None),
    (status(503, {"retry-after": "2.5"}), HostBroken, True, 2.5),
    (status(401), HostRefuses, False, None),
    (status(403), HostRefuses, False, None),
    (status(404), HostRefuses, False, None),
    (status(402), HostRefuses, False, None),
    (status(400), TurnRefused, False, None),
    (status(413), TurnRefused, False, None),
    (status(422), TurnRefused, False, None),
    (status(307, {"location": "http://127.0.0.1:1/v1"}), HostRefuses, False, None),
    (breaks, HostUnreachable, True, None),
    (cuts_reply_off, HostUnreachable, True, None),
    (sends(b"not JSON"), HostBroken, True, None),
    (sends(b"<html>", {"content-type": "text/html"}), HostBroken, True, None),
    (sends(b"[1, 2]"), HostBroken, True, None),
    (replies({}), HostBroken, True, None),
    (replies({"choices": "none"}), HostBroken, True, None),
    (replies({"choices": [{"message": "sad"}]}), HostBroken, True, None),
]


@pytest.mark.parametrize(("behaviour", "kind", "may_try_again_now", "retry_after_s"), FAILURES)
@pytest.mark.parametrize("preset", ["groq", "openai-decisions"])
async def test_a_failure_says_whether_and_when_to_try_again(
    upstream: Upstream,
    preset: str,
    behaviour: Behaviour,
    kind: type[HostFailed],
    may_try_again_now: bool,
    retry_after_s: float | None,
) -> None:
    upstream.behaviour = behaviour
    with pytest.raises(HostFailed) as raised:
        await ask(upstream, preset)
    assert type(raised.value) is kind
    assert (raised.value.may_try_again_now, raised.value.retry_after_s) == (may_try_again_now, retry_after_s)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (cuts_off_after(), HostUnreachable),
        (cuts_off_after('{"emotion":"sad",'), HostUnreachable),
        (cuts_off_after('{"emotion":"sad",', politely=True), HostUnreachable),
        (sends(b"data: {no JSON\n\n", {"content-type": "text/event-stream"}), HostBroken),
        (sends(b"data: \xff\n\n", {"content-type": "text/event-stream"}), HostBroken),
        (sends(b'data: {"error": {"message": "sad"}}\n\n', {"content-type": "text/event-stream"}), HostBroken),
        (sends(b'data: {"choices": 1}\n\n', {"content-type": "text/event-stream"}), HostBroken),
        (sends(b"data: 7\n\n", {"content-type": "text/event-stream"}), HostBroken),
    ],
)
async def test_a_stream_that_breaks_may_be_asked_for_again(
    upstream: Upstream, behaviour: Behaviour, kind: type[HostFailed]
) -> None:
    upstream.behaviour = behaviour
    with pytest.raises(HostFailed) as raised:
        await ask(upstream)
    assert type(raised.value) is kind
    assert raised.value.may_try_again_now


async def test_a_refused_connection_may_be_tried_again_and_is_taken_when_the_host_is_back(upstream: Upstream) -> None:
    async with engine_for(upstream) as engine:
        await engine.classify([TURN])
        upstream.stop()
        with pytest.raises(HostUnreachable) as raised:
            await engine.classify([TURN])
        assert raised.value.may_try_again_now
        assert not raised.value.was_sent
        upstream.start()
        [verdict] = await engine.classify([TURN])
    assert verdict.answer == Answer(emotion="sad", learn_score=True)


async def test_a_call_that_breaks_off_may_have_been_billed(upstream: Upstream) -> None:
    upstream.behaviour = breaks
    with pytest.raises(HostUnreachable) as raised:
        await ask(upstream)
    assert raised.value.was_sent


@pytest.mark.parametrize("preset", ["groq", "openai-decisions"])
async def test_the_most_that_a_turn_can_be_billed_with_grows_with_its_bytes(upstream: Upstream, preset: str) -> None:
    long = TURN.model_copy(update={"response": "ơ" * 1000})
    async with engine_for(upstream, preset) as engine:
        most, more = engine.most_tokens(TURN), engine.most_tokens(long)
    assert more.prompt_tokens - most.prompt_tokens == 2000 - len(TURN.response.encode())
    assert most.prompt_tokens > 500


async def test_a_name_that_nobody_knows_is_a_host_that_cannot_be_reached() -> None:
    engine = create_remote("vllm", model="m", base_url="http://no.such.host.invalid/v1", environment={})
    await engine.start()
    with pytest.raises(HostUnreachable, match="check the address"):
        await engine.classify([TURN])
    await engine.close()


@pytest.mark.parametrize("preset", ["vllm", "groq", "openai-decisions"])
async def test_a_host_that_hangs_is_hung_up_on_in_the_end(upstream: Upstream, preset: str) -> None:
    upstream.behaviour = hangs
    with pytest.raises(HostSlow, match=r"within 0\.2 s") as raised:
        await ask(upstream, preset, timeout_s=0.2)
    assert not raised.value.may_try_again_now
    assert upstream.hung_up.acquire(timeout=WAIT_S)


@pytest.mark.parametrize("behaviour", [hangs, says_and_goes_on('{"emotion":')], ids=["at once", "in the stream"])
async def test_a_cancelled_call_hangs_up(upstream: Upstream, behaviour: Behaviour) -> None:
    upstream.behaviour = behaviour
    async with engine_for(upstream) as engine:
        call = asyncio.create_task(engine.classify([TURN, CANARY]))
        for _ in range(2):
            assert await asyncio.to_thread(upstream.received.acquire, timeout=WAIT_S)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        for _ in range(2):
            assert await asyncio.to_thread(upstream.hung_up.acquire, timeout=WAIT_S)
        upstream.behaviour = says(SAD)
        assert (await engine.classify([TURN]))[0].answer == Answer(emotion="sad", learn_score=True)


async def test_where_one_turn_fails_the_others_are_given_up(upstream: Upstream) -> None:
    async def fails_for_the_canary(request: Any, connection: Any) -> None:
        await (status(500) if b"sky" in request.body else hangs)(request, connection)

    upstream.behaviour = fails_for_the_canary
    async with engine_for(upstream) as engine:
        with pytest.raises(HostBroken):
            await engine.classify([TURN, CANARY])
        assert await asyncio.to_thread(upstream.hung_up.acquire, timeout=WAIT_S)


async def test_closing_answers_what_is_under_way(upstream: Upstream) -> None:
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(engine_for(upstream))
        call = asyncio.create_task(engine.classify([TURN] * 5))
        await asyncio.sleep(0)
        await engine.close()
        assert len(await call) == 5
        with pytest.raises(EngineUnavailable, match="closed"):
            await engine.classify([TURN])


async def test_at_most_32_calls_are_under_way_and_the_others_wait_their_turn(upstream: Upstream) -> None:
    under_way = peak = 0
    all_are_here = asyncio.Event()

    async def answers_32_together(request: Request, connection: Connection) -> None:
        nonlocal under_way, peak
        under_way += 1
        peak = max(peak, under_way)
        if under_way == 32:
            all_are_here.set()
        await all_are_here.wait()
        under_way -= 1
        await says(SAD)(request, connection)

    upstream.behaviour = answers_32_together
    async with engine_for(upstream, "groq") as engine:
        verdicts = await engine.classify([TURN] * 40)
    assert peak == 32
    assert len(verdicts) == 40
    assert verdicts[-1].timings.queue_ms > verdicts[0].timings.queue_ms


# The setup


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_can_be_used_as_it_is_or_asks_for_a_model(name: str) -> None:
    assert find_preset(name, model="m").model == "m"
    assert find_preset(name, model="m", base_url="https://relay.example/v1").base_url == "https://relay.example/v1"


def test_a_host_of_ones_own_must_be_told_the_model() -> None:
    with pytest.raises(PresetError, match="preset 'vllm' names no model"):
        find_preset("vllm")


def test_an_unknown_preset_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(PresetError, match="no such preset: 'grok'; there are: vllm, llama-cpp, groq"):
        find_preset("grok")


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://host/v1", "http:///v1", "https://me:secret@host/v1", "https://host/v1?key=secret"],
)
def test_an_address_that_cannot_be_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(PresetError, match="preset 'groq': base_url: expected a URL") as raised:
        find_preset("groq", base_url=url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("environment", [{}, {"GROQ_API_KEY": " "}, {"OPENAI_API_KEY": KEY}])
def test_a_missing_key_is_named_by_its_variable(environment: dict[str, str]) -> None:
    with pytest.raises(PresetError, match="put it into the environment variable GROQ_API_KEY"):
        create_remote("groq", environment=environment)


def test_an_engine_whose_package_is_missing_says_how_to_get_it() -> None:
    hidden = "import sys; sys.modules['openai'] = None; from emotion_svc.cli import main; main()"
    turn = ["--previous-question", "", "--previous-answer", "", "--response", "x"]
    done = subprocess.run(
        [sys.executable, "-c", hidden, "classify", *turn, "--engine", "remote", "--preset", "vllm", "--model", "m"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "the package 'openai', which is not installed; install it with: pip install 'emotion-svc[remote]'" in line


def test_the_digest_stands_for_host_model_and_prompt() -> None:
    def digest(**given: str) -> str:
        return create_remote("vllm", **({"model": "m"} | given), environment={}).model_digest  # type: ignore[arg-type]

    assert len({digest(), digest(model="n"), digest(base_url="http://127.0.0.1:1/v1")}) == 3
    assert digest() == digest()

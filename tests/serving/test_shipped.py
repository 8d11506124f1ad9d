"""The service with the shipped model: the robot's real call."""

import unicodedata

import httpx

from emotion_svc.schema import ALL_ANSWERS, Verdict
from emotion_svc.serving.wires import EXAMPLE_TURN

LONG = " ".join(["con mèo"] * 500)


def test_the_robots_call_is_answered_sensibly(shipped: httpx.Client) -> None:
    answer = shipped.post("/v1/classify", json=EXAMPLE_TURN)
    assert answer.text in ALL_ANSWERS
    assert answer.json()["emotion"].startswith("playful")
    assert answer.json()["learn_score"] is False


def test_a_batch_gives_the_same_answers_as_single_calls(shipped: httpx.Client) -> None:
    turns = [EXAMPLE_TURN | {"response": text} for text in (EXAMPLE_TURN["response"], "Chính xác!", "Tớ sợ quá!", LONG)]
    single = [shipped.post("/v1/classify", json=turn).json() for turn in turns]
    assert shipped.post("/v1/classify/batch", json={"turns": turns}).json() == {"answers": single}


def test_nfc_and_nfd_give_the_same_answer(shipped: httpx.Client) -> None:
    forms = [
        {name: unicodedata.normalize(form, text) for name, text in EXAMPLE_TURN.items()} for form in ("NFC", "NFD")
    ]
    first, second = (
        Verdict.model_validate_json(shipped.post("/v1/classify?detail=true", json=turn).content) for turn in forms
    )
    assert forms[0] != forms[1]
    assert (first.answer, first.emotion_posterior) == (second.answer, second.emotion_posterior)


def test_a_text_longer_than_the_window_is_answered_and_said_to_be_cut(shipped: httpx.Client) -> None:
    short = shipped.post("/v1/classify?detail=true", json=EXAMPLE_TURN)
    long = shipped.post("/v1/classify?detail=true", json=EXAMPLE_TURN | {"previous_question": LONG})
    assert [answer.json()["truncated"] for answer in (short, long)] == [False, True]
    truncated = [
        line for line in shipped.get("/metrics").text.splitlines() if line.startswith("emotion_svc_truncated_t")
    ]
    assert float(truncated[0].split()[1]) >= 1


def test_the_time_was_spent_where_the_header_says(shipped: httpx.Client) -> None:
    answer = shipped.post("/v1/classify", json=EXAMPLE_TURN | {"previous_answer": "never asked before"})
    stages = dict(stage.split(";dur=") for stage in answer.headers["server-timing"].split(", "))
    assert 0 < float(stages["infer"]) < answer.elapsed.total_seconds() * 1e3


def test_readiness_and_metrics_name_the_model_file(shipped: httpx.Client) -> None:
    ready = shipped.get("/readyz").json()
    assert ready["engine"] == "embedded"
    assert f'digest="{ready["model_digest"]}"' in shipped.get("/metrics").text

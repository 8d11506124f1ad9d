"""What others would use instead of us, as far as it runs here."""

import json
from pathlib import Path

import numpy as np
import pytest

from emotion_svc.bench.answers import meaning_of
from emotion_svc.bench.load import press
from emotion_svc.bench.peers.plain import answer_schema, own_text, prompt_of, response_format
from emotion_svc.bench.subjects import Name, Spec
from emotion_svc.bench.worker import opened
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.schema import ALL_ANSWERS, Turn
from tests.paths import EVAL_DATA

TURN = Turn(previous_question="Con mèo tiếng Anh là gì?", previous_answer="cat", response="Chính xác, cat đó!")


def spec(name: Name) -> Spec:
    return Spec(name=name, gold=(EVAL_DATA / "dev.jsonl",), seed=0, assets=Path("nowhere"))


def test_the_shipped_checkpoint_is_asked_with_its_own_prompt_and_the_other_one_with_the_general_one() -> None:
    own, general = prompt_of(spec("vllm-json"), TURN), prompt_of(spec("vllm-json-135m"), TURN)
    tokens = EmbeddedModel().tokens
    assert own == tokens.system_ids + tokens.encode(TURN).ids
    assert isinstance(general, str)
    assert "Reply with JSON" in general
    assert all(text in general for text in TURN.model_dump().values())
    assert tokens.tokenizer.encode(own_text(spec("outlines"), TURN)).ids == own


def test_peers_are_held_to_the_schema_of_our_answer() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(answer_schema())
    assert all(validator.is_valid(json.loads(answer)) for answer in ALL_ANSWERS)
    assert not validator.is_valid({"emotion": "bored", "learn_score": True})
    assert response_format()["json_schema"]["schema"] == answer_schema()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
async def test_outlines_answers_within_the_schema_and_its_tokens_are_timed() -> None:
    pytest.importorskip("transformers", reason="needs transformers")
    async with opened(spec("outlines")) as ask:
        load = await press([ask], [TURN], first=0, seconds=0)
    [sample] = load.samples
    assert meaning_of(sample.reply.text, exact=False)
    assert sample.reply.tokens is not None
    assert sample.reply.tokens >= 4
    assert 0 < (sample.reply.first_token_s or 0) < sample.latency_s


def test_the_gguf_file_holds_every_weight_of_the_checkpoint(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="needs gguf")
    from safetensors.numpy import load_file

    from emotion_svc.bench.peers.gguf_file import write_gguf
    from emotion_svc.modeldir import SHIPPED, WEIGHTS_FILE

    write_gguf(SHIPPED, tmp_path / "shipped.gguf")
    written = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "shipped.gguf").tensors}
    weights = load_file(SHIPPED / WEIGHTS_FILE)
    assert len(written) == len(weights)
    down = gguf.quants.dequantize(written["blk.0.ffn_down.weight"].data, gguf.GGMLQuantizationType.Q8_0)
    expected = weights["model.layers.0.mlp.down_proj.weight"].astype(np.float32)
    assert np.abs(down - expected).max() < np.abs(expected).max() / 100

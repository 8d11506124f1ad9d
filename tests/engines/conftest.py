"""Turns for every engine, and the models that the tests start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from emotion_svc.data import read_examples
from emotion_svc.decoding.slots import find_slots
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.modeldir import SHIPPED, WEIGHTS_FILE, digest_of, load_calibration
from emotion_svc.schema import Turn
from tests.engines.remote_host import SAD
from tests.paths import EVAL_DATA
from tests.upstream import Upstream, says


@pytest.fixture(scope="session")
def gold_turns() -> list[Turn]:
    """All turns of `eval_data/`, in their order."""
    return [example.turn for example in read_examples(sorted(EVAL_DATA.glob("*.jsonl")))]


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedModel:
    """The shipped checkpoint in the embedded engine, in fp32, with the calibration of its weights."""
    pytest.importorskip("onnx", reason="needs onnx (extra 'dev')")
    from emotion_svc.train.export import export_onnx

    shipped = EmbeddedModel()
    calibration = load_calibration(SHIPPED)
    assert calibration is not None
    graph = Path(tmp_path_factory.mktemp("fp32")) / "model.fp32.onnx"
    export_onnx(SHIPPED, find_slots(shipped.tokens.tokenizer, shipped.index), graph)
    return EmbeddedModel(onnx_file=graph, temperatures=calibration.by_digest[digest_of(SHIPPED / WEIGHTS_FILE)])


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(says(SAD)) as upstream:
        yield upstream

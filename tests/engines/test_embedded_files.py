"""What the embedded engine says of a graph that it cannot run."""

from pathlib import Path

import pytest

from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.errors import ModelError
from emotion_svc.modeldir import UNCALIBRATED

onnx = pytest.importorskip("onnx", reason="needs onnx (extra 'bench')")


def test_a_graph_of_another_version_is_refused_with_what_it_reads(tmp_path: Path) -> None:
    put = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["past"], ["logits"])],
        "old",
        [put("ids", onnx.TensorProto.INT64, [1]), put("past", onnx.TensorProto.FLOAT, [1])],
        [put("logits", onnx.TensorProto.FLOAT, [1])],
    )
    opsets = [onnx.helper.make_opsetid("", 21)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "old.onnx")
    with pytest.raises(ModelError, match="expected a graph that reads ids, read, read_bias, found ids, past"):
        EmbeddedModel(onnx_file=tmp_path / "old.onnx", temperatures=UNCALIBRATED)

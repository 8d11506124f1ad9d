"""The marks of a test that starts vLLM."""

from importlib.util import find_spec
from typing import Final

import pytest

LET_VLLM_WARN: Final = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:Unclosed context:ResourceWarning"
)
"""torch and vLLM warn about their own insides, and vLLM leaves a context of zmq open."""

NEEDS_VLLM: Final = (
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed (make test-vllm)"),
    LET_VLLM_WARN,
)

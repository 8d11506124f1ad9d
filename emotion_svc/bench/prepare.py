"""Makes the models that peers need and that are not shipped, once, in the peer's own Python."""

import asyncio
from pathlib import Path

from emotion_svc.bench.measure import Told
from emotion_svc.bench.seats import environment
from emotion_svc.bench.subjects import Spec
from emotion_svc.errors import SetupError

_MAKERS = {
    "vllm-json-135m": "emotion_svc.bench.peers.random_checkpoint",
    "llama-cpp": "emotion_svc.bench.peers.gguf_file",
}


async def prepare(spec: Spec, python: Path, told: Told) -> None:
    """Makes `spec.checkpoint` where it is not there yet.

    Raises:
        SetupError: it cannot be made; the maker's own messages are on stderr.
    """
    if spec.checkpoint.exists():
        return
    told(f"making {spec.checkpoint}")
    process = await asyncio.create_subprocess_exec(
        python, "-m", _MAKERS[spec.name], str(spec.checkpoint), env=environment()
    )
    if await process.wait():
        raise SetupError(f"the model for '{spec.name}' cannot be made with {python}; the messages above say why")

"""Makes the models that peers need and that no directory holds, once, in the peer's own Python."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from emotion_svc.bench.measure import Told
from emotion_svc.bench.seats import environment
from emotion_svc.bench.subjects import Spec
from emotion_svc.errors import SetupError


async def prepare(spec: Spec, python: Path, told: Told) -> None:
    """Makes `spec.checkpoint` where it is not there yet. It gets its name when it is whole.

    Raises:
        SetupError: it cannot be made; the maker's own messages are on stderr.
    """
    checkpoint = spec.checkpoint
    if checkpoint.exists():
        return
    told(f"making {checkpoint}")
    with TemporaryDirectory(dir=spec.assets, prefix="making-") as folder:
        made = Path(folder) / checkpoint.name
        process = await asyncio.create_subprocess_exec(python, "-m", *_maker(spec), str(made), env=environment())
        if await process.wait() or not made.exists():
            raise SetupError(f"the model for '{spec.name}' cannot be made with {python}; the messages above say why")
        made.rename(checkpoint)


def _maker(spec: Spec) -> list[str]:
    if spec.name == "llama-cpp":
        return ["emotion_svc.bench.peers.gguf_file", str(spec.model)]
    assert spec.name == "vllm-json-135m", "all others read a model directory"
    return ["emotion_svc.bench.peers.random_checkpoint"]

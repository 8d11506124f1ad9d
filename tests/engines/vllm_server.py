"""vLLM's own server on the CPU, as a process that can be paused, killed and started again at the same address."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final, Self

from tests.upstream import free_port

MODEL: Final = "tiny"
WINDOW: Final = 16_384
"""Room for the longest hostile turn: what is longer than the model's window is refused by the server."""


def tiny_model(folder: Path) -> Path:
    """A tiny instruct model of random weights with this window."""
    from tests.engines import tiny

    model = tiny.write_to_hub_cache(folder)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": WINDOW}))
    return model


class VllmServer:
    """`vllm serve` on a free port."""

    def __init__(self, model: Path) -> None:
        self._model, self._port = model, free_port()
        self._process: subprocess.Popen[str]
        self._reader: threading.Thread

    @property
    def url(self) -> str:
        """The base URL for a client, also while it does not run."""
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> None:
        """Starts it, up to the line with which uvicorn says that it listens."""
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self._model)]
        command += ["--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--enforce-eager", "--max-model-len", str(WINDOW), "--max-num-seqs", "32", "--disable-log-stats"]
        quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | quiet,
            start_new_session=True,  # its workers are signalled with it
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if "startup complete" in line:
                break
        else:
            raise AssertionError("".join(said[-40:]))
        # Whatever it says from now on is read away, or it would stop at a full pipe.
        self._reader = threading.Thread(target=self._process.stderr.read)
        self._reader.start()

    def pause(self) -> None:
        """It takes connections and says nothing more."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Ends it and its workers at once."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """Ends it, if it runs."""
        if self._process.poll() is None:
            self.resume()
            self._process.terminate()
            self._wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self) -> None:
        self._process.wait(60)
        self._reader.join(60)
        assert self._process.stderr is not None
        self._process.stderr.close()

"""`emotion-svc serve` as a process of its own."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

WAIT_S = 120
"""Far more than a start or a stop takes; it only ends a test that would hang."""


class Process:
    """The command on a free port, up to its greeting; settings are those of the environment."""

    def __init__(self, *arguments: str, **settings: str) -> None:
        self._log = TemporaryFile()  # noqa: SIM115 - a pipe that nobody reads would stop the process
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "emotion_svc", "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {f"EMOTION_SVC_{name.upper()}": value for name, value in settings.items()},
        )
        assert self.popen.stdout is not None
        self.greeting = [self.popen.stdout.readline().strip() for _ in range(3)]
        self.url = self.greeting[0].split()[-1]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> str:
        """Asks the process to stop; gives what it wrote to stderr."""
        self.popen.send_signal(how)
        return self.end()

    def end(self) -> str:
        """Waits for the end of the process; gives what it wrote to stderr."""
        self.popen.communicate(timeout=WAIT_S)
        self._log.seek(0)
        with self._log:
            return self._log.read().decode()

    @property
    def workers(self) -> set[int]:
        """The ids of its worker processes."""
        children = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()
        return {int(pid) for pid in children if is_worker(pid)}


def is_worker(pid: str) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return False


def await_end(pid: int) -> None:
    """Returns when a process has ended, which may be nobody's child here."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], WAIT_S)[0], f"{pid} still runs"
    finally:
        os.close(handle)

"""What this machine is."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

from emotion_svc.bench.results import Machine

_CPUINFO: Final = Path("/proc/cpuinfo")


def this_machine() -> Machine:
    """A description; the load is that of this moment."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        python=platform.python_version(),
        onnxruntime=version("onnxruntime"),
        load_before=psutil.getloadavg()[0],
    )


def _cpu() -> str:
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

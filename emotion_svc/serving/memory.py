"""What is freed in this process, handed back to the machine."""

import ctypes


def give_back_freed() -> None:
    """Hands memory back that the C library keeps for later: without it, an unloaded model's stays with the process.

    A call takes some milliseconds, so not on the loop. Other C libraries than glibc keep little, and have no such call.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

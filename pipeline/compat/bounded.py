"""A bound on what untrusted code in a sandbox may cost: seconds and bytes."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_STATM = Path("/proc/self/statm")  # its first number: pages of addresses; Linux has it


@contextmanager
def bounded(seconds: float, more_bytes: int) -> Iterator[None]:
    """End the block by TimeoutError after `seconds`, by MemoryError where the process grows by `more_bytes`.

    The clock needs the main thread, where commands and stages run; the memory needs Linux. Where either is
    lacking, that bound is not kept.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if _STATM.exists():
        limit = int(_STATM.read_text().split()[0]) * resource.getpagesize() + more_bytes
        lower = [value for value in (soft, hard) if value != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min([limit, *lower]), hard))
    clock = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, _stop) if clock else None
    try:
        if clock:
            signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        if clock:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _stop(_: int, __: FrameType | None) -> None:
    raise TimeoutError("it takes too long")

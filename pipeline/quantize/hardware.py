"""The class of hardware that float arithmetic depends on: libraries choose their kernels by it."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")


def hardware_class() -> dict[str, Any]:
    """`machine` (as x86_64), `vendor` of the processor, its vector `instructions`, and `accelerators`.

    The instructions are those that torch uses, so ATEN_CPU_CAPABILITY shows in them. Two machines of
    one class give the same bytes with the same versions and threads; a serial number or the number of
    cores is no part of it.
    """
    import torch

    cuda = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return {
        "machine": platform.machine(),
        "vendor": _vendor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "accelerators": [torch.cuda.get_device_name(number) for number in cuda],
    }


def _vendor() -> str:
    """As the kernel names it: MKL looks at it too when it chooses its kernels."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(found, platform.processor())

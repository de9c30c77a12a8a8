"""The machine and the packages that a release was made with, for a reader who wants to make it again."""

from __future__ import annotations

import os
import platform
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

_GPUS = Path("/proc/driver/nvidia/gpus")
_CPUS = Path("/proc/cpuinfo")


def describe_machine() -> dict[str, Any]:
    """Python, operating system, hardware class and the version of every installed distribution.

    `hardware`: architecture, CPU model, GPU name or None, and the number of cores this process may
    use. No host name, no user, no path: the class of the machine, not the machine.
    """
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "os": {"name": platform.system(), "distribution": _distribution(), "libc": _libc()},
        "hardware": {
            "machine": platform.machine(),
            "cpu": _cpu(),
            "gpu": _gpu(),
            "cores": _cores(),
        },
        "packages": packages(),
    }


def packages() -> dict[str, str]:
    """The version of every installed distribution, by its normalised name (PEP 503)."""
    found: dict[str, str] = {}
    for distribution in distributions():  # the first of a name is the one that is imported
        name = str(distribution.metadata["Name"] or "").lower().replace("_", "-").replace(".", "-")
        if name:
            found.setdefault(name, distribution.version)
    return dict(sorted(found.items()))


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):  # no Linux, or one without the file
        return platform.platform(terse=True)


def _libc() -> str:
    return " ".join(platform.libc_ver()).strip()


def _cpu() -> str:
    """The CPU's model as Linux names it, else what Python knows of it."""
    for line in _lines(_CPUS):
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()


def _gpu() -> str | None:
    """The models of NVIDIA's GPUs as their driver names them, joined by commas; None without one."""
    if not _GPUS.is_dir():
        return None
    names = [
        line.partition(":")[2].strip()
        for folder in sorted(_GPUS.iterdir())
        for line in _lines(folder / "information")
        if line.startswith("Model:")
    ]
    return ", ".join(names) or None


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

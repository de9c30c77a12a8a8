"""Where this machine and its packages are not those of the record, as far as bytes depend on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.reproduce.recorded import Recorded
from pipeline.code import code_digest
from pipeline.release.machine import describe_machine
from pipeline.stages.workspace import environment

# In the record because scores depend on them; no byte of a model does.
_FOR_SCORES = ("great-expectations", "lm-eval", "peft", "scipy")
# In no list of versions but that of the whole environment.
_PACKAGES = ("accelerate", "numba")

Pair = dict[str, str]  # `recorded` and `here`


def surroundings(recorded: Recorded, *, threads: int | None = None) -> dict[str, Pair]:
    """What differs, by name: packages, the code of mergegate, and the class of hardware.

    `threads`: those that quantization used here. A record that does not say a thing is not held to it.
    """
    stated = {k: v for k, v in recorded.versions.items() if k not in _FOR_SCORES}
    here: dict[str, Any] = {**environment(), "code": code_digest()}
    then = {**stated, **_hardware(recorded.quantization), **_machine(recorded.environment)}
    if "instructions" in then:
        here |= _hardware({"hardware": _here(), "threads": threads})
    if recorded.environment:
        here |= _machine(describe_machine())
    return {
        name: {"recorded": _shown(then[name]), "here": _shown(here.get(name, "not known"))}
        for name in sorted(then)
        if then[name] != here.get(name) and here.get(name) is not None
    }


def _here() -> Mapping[str, Any]:
    from pipeline.quantize import hardware_class

    return hardware_class()


def _hardware(quantization: Mapping[str, Any]) -> dict[str, Any]:
    """Threads and hardware class of a quantization's report, one name each; {} where it has none."""
    found = quantization.get("hardware")
    if not isinstance(found, Mapping):
        return {}
    accelerators = ", ".join(map(str, found.get("accelerators") or [])) or "none"
    facts = {**found, "accelerators": accelerators}
    return {**facts, "threads": quantization.get("threads")}


def _machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Processor, GPU and the packages that only the environment of a record names."""
    hardware, packages = environment.get("hardware") or {}, environment.get("packages") or {}
    found = {key: hardware.get(key) for key in ("cpu", "gpu") if key in hardware}
    return {**found, **{name: packages[name] for name in _PACKAGES if name in packages}}


def _shown(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text

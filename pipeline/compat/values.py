"""Check `values`: every stored weight is a finite floating-point number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.compat.registry import CompatFacts, Topic, check, listed
from pipeline.facts import Finding
from pipeline.sources import Adapter, Checkpoint, TensorInfo
from pipeline.sources.tensors import read_elements

TOPIC = Topic("values", "Weights are finite floating-point numbers")
CHUNK_ELEMENTS = 1 << 22
_FLOATS = ("F64", "F32", "F16", "BF16")


@check(TOPIC)
def values(facts: CompatFacts) -> list[Finding]:
    """One finding per source, naming tensors with NaN or infinite values and quantized ones.

    Reads every weight once, CHUNK_ELEMENTS at a time; a folder that sources share is read once.
    """
    done: dict[Path, list[str]] = {}
    found = []
    for name, source in facts.sources.items():
        parts: list[Checkpoint | Adapter] = [source.model]
        if source.adapter:
            parts.append(source.adapter)
        for part in parts:
            if part.folder.resolve() not in done:
                done[part.folder.resolve()] = _faults(part.tensors)
        found.append(_finding(name, [f for p in parts for f in done[p.folder.resolve()]]))
    return found


def _finding(name: str, faults: list[str]) -> Finding:
    if not faults:
        return TOPIC.finding("pass", name, f"{name}: all weights are finite.")
    return TOPIC.finding(
        "fail",
        name,
        f"{name} has weights that cannot be merged: {listed(faults)}.",
        observed=listed(faults, 20),
        required="finite values of F32, F16, BF16 or F64",
        remedy=(
            "Merge the float weights that a quantized model was made from; "
            "train a broken one again."
        ),
    )


def _faults(tensors: Mapping[str, TensorInfo]) -> list[str]:
    """Each faulty tensor in words.

    Integer buffers of at most one dimension (ids, counters) pass.
    """
    found = []
    for name, info in tensors.items():
        if info.dtype not in _FLOATS:
            if len(info.shape) > 1:
                found.append(f"{name} is {info.dtype}, which is not a floating-point weight")
        elif broken := _broken(info):
            found.append(f"{name} has {broken:,} values of {info.elements:,} that are not finite")
    return found


def _broken(info: TensorInfo) -> int:
    """The number of NaN and infinite values."""
    total = 0
    for first in range(0, info.elements, CHUNK_ELEMENTS):
        part = read_elements(info, first, min(CHUNK_ELEMENTS, info.elements - first))
        total += int(part.numel() - part.isfinite().sum())
    return total

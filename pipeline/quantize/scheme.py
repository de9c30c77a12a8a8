"""Schemes, the algorithms that fit them, and the group sizes that a model's shapes allow. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from pipeline.errors import InputError
from pipeline.strict import nearest

Algorithm = Literal["gptq", "awq", "rtn"]

# gptq: Frantar et al., arXiv 2210.17323. awq: Lin et al., arXiv 2306.00978. rtn: round to nearest.
ALGORITHMS: Mapping[str, tuple[Algorithm, ...]] = {
    "W4A16": ("gptq", "awq", "rtn"),
    "W4A16_ASYM": ("awq", "gptq", "rtn"),
    "W8A8": ("gptq", "rtn"),
    "FP8_DYNAMIC": ("rtn",),  # its scales are those of the weights themselves: nothing to calibrate
}
GROUPED = ("W4A16", "W4A16_ASYM")  # the others have one scale per output row
GROUP_SIZES = (128, 64, 32)


def check_scheme(scheme: str, algorithm: str, group_size: int | str) -> None:
    """Refuse what does not fit together. Raises InputError that lists every fault."""
    faults: list[str] = []
    if scheme not in ALGORITHMS:
        faults.append(f"quantize.scheme is {scheme!r}.{nearest(scheme, ALGORITHMS)}")
    elif algorithm not in ALGORITHMS[scheme]:
        faults.append(
            f"quantize.algorithm is {algorithm!r}; "
            f"for {scheme} it must be {' or '.join(ALGORITHMS[scheme])}."
        )
    if algorithm not in get_args(Algorithm):
        faults.append(f"quantize.algorithm is {algorithm!r}; it must be gptq, awq or rtn.")
    if scheme in ALGORITHMS and scheme not in GROUPED and group_size != "auto":
        faults.append(
            f"quantize.group_size is {group_size!r}; {scheme} has no groups. Leave it at auto."
        )
    if faults:
        raise InputError.of(dict.fromkeys(f"params.yaml: {fault}" for fault in faults))


def fit_group_size(group_size: int | str, in_features: Mapping[str, int]) -> int:
    """The number of consecutive input columns that share a scale.

    `in_features` is by layer name. auto is the largest of GROUP_SIZES that divides all of them.
    Raises InputError that names layers which the size does not divide.
    """
    sizes = GROUP_SIZES if group_size == "auto" else (int(group_size),)
    for size in sizes:
        if size > 0 and all(columns % size == 0 for columns in in_features.values()):
            return size
    misfits = [
        f"{name} has {columns}" for name, columns in in_features.items() if columns % sizes[-1]
    ]
    raise InputError(
        f"params.yaml: quantize.group_size is {group_size}; "
        f"{' or '.join(map(str, sizes))} must divide the input columns of every linear layer. "
        f"{_some(misfits)}. Name a size that divides them all, or use W8A8."
    )


def _some(misfits: list[str]) -> str:
    more = f" and {len(misfits) - 3} more layers do not fit" if len(misfits) > 3 else ""
    return ", ".join(misfits[:3]) + more

"""Merge methods, one file each, as pure functions: operands in, and out what makes one block of the result.

A method may read its operands as often as it needs to learn what concerns the whole tensor (a threshold, an angle);
what it returns sees one block. Promises: no files, no globals, no hidden randomness, arithmetic in
float32 and sums over a tensor in float64; the same bits for the same arguments. Methods on deltas
return the merged delta. A method knows nothing of recipes, models or tensor names. Parameters and
citations stand in `pipeline.recipe.METHODS`.
"""

from pipeline.merge.methods import (
    arcee_fusion,
    breadcrumbs,
    dare,
    della,
    karcher,
    linear,
    model_stock,
    multislerp,
    nearswap,
    nuslerp,
    passthrough,
    ram,
    sce,
    slerp,
    task_arithmetic,
    ties,
)
from pipeline.merge.methods.registry import Apply, apply_method, method, method_function

__all__ = [
    "Apply",
    "apply_method",
    "arcee_fusion",
    "breadcrumbs",
    "dare",
    "della",
    "karcher",
    "linear",
    "method",
    "method_function",
    "model_stock",
    "multislerp",
    "nearswap",
    "nuslerp",
    "passthrough",
    "ram",
    "sce",
    "slerp",
    "task_arithmetic",
    "ties",
]

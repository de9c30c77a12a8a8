"""Merge methods, one file each: pure functions of float32 tensors of one shape to one such tensor.

Promises: no files, no globals, no argument changed, no hidden randomness; the same bits for the
same arguments. Methods on deltas return the merged delta and never see the base. A method knows
nothing of recipes, models or tensor names. Parameters and citations stand in
`pipeline.recipe.METHODS`.
"""

from pipeline.merge.methods import dare, linear, passthrough, slerp, task_arithmetic, ties
from pipeline.merge.methods.registry import MethodFunction, method, method_function

__all__ = [
    "MethodFunction",
    "dare",
    "linear",
    "method",
    "method_function",
    "passthrough",
    "slerp",
    "task_arithmetic",
    "ties",
]

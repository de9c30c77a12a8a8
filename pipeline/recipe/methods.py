"""What a recipe may say of each merge method: its parameters, their ranges and meaning, its source.

The arithmetic is in `pipeline.merge.methods`, one file per method, registered under the names of
this table. The citation of a method is stored here and nowhere else; the model card and the
documentation read it from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter: its range `[low, high]` (open below where `above` is set) and its default.

    A parameter without a default is required. `per_model` ones may differ between the models of one
    slice; the others hold for the whole tensor and stand in `parameters` of the recipe or a slice.
    """

    name: str
    meaning: str
    example: str
    default: float | bool | None = None
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    per_model: bool = False

    @property
    def flag(self) -> bool:
        """Whether it is true or false rather than a number."""
        return isinstance(self.default, bool)

    @property
    def argument(self) -> str:
        """Its name as an argument of the method's function (`lambda` is a keyword of Python)."""
        return "lambda_" if self.name == "lambda" else self.name

    @property
    def range(self) -> str:
        """The accepted values, in words: «in (0, 1]»."""
        if self.flag:
            return "true or false"
        if math.isinf(self.low):
            return "a finite number"
        return f"in {'(' if self.above else '['}{self.low:g}, {self.high:g}]"

    def accepts(self, value: float) -> bool:
        """Whether a number lies in the range. A flag accepts 0 and 1 alone."""
        if self.flag:
            return value in (0, 1)
        too_low = value <= self.low if self.above else value < self.low
        return math.isfinite(value) and not too_low and value <= self.high


@dataclass(frozen=True)
class MethodSpec:
    """One merge method as recipes see it.

    `operands` says what its function gets: the tensors of the models, or their differences from the
    base (deltas); `models` is the least and greatest number of them. Equal operands (deltas: zeros)
    give that operand back: always, or where the parameter named by `keeps_equals` is 1.
    """

    name: str
    summary: str
    citation: str
    operands: Literal["tensors", "deltas"]
    parameters: Mapping[str, ParameterSpec]
    models: tuple[int, float] = (1, math.inf)
    keeps_equals: str | None = None
    random: bool = False

    @property
    def needs_base(self) -> bool:
        """Whether a recipe of this method must name a `base_model`."""
        return self.operands == "deltas"


# Accepted for the sake of existing recipes: elsewhere it saves memory, and it changes no number.
INT8_MASK = ParameterSpec("int8_mask", "It has no effect.", "int8_mask: true", default=False)

_WEIGHT = ParameterSpec("weight", "It is the factor of a model.", "weight: 0.5", per_model=True)
_DENSITY = ParameterSpec(
    "density",
    "It is the fraction of delta entries kept.",
    "density: 0.5",
    default=1.0,
    low=0.0,
    high=1.0,
    above=True,
    per_model=True,
)
_LAMBDA = ParameterSpec(
    "lambda", "It is the factor of the merged delta.", "lambda: 1.0", default=1.0
)
_T = ParameterSpec(
    "t", "0 gives the base (the first model), 1 the other.", "t: 0.5", low=0.0, high=1.0
)
_SCALE = ParameterSpec(
    "scale", "It is the factor of every entry.", "scale: 1.0", default=1.0, per_model=True
)


def _normalize(default: bool) -> ParameterSpec:
    return ParameterSpec(
        "normalize", "It divides by the sum of the weights.", "normalize: true", default=default
    )


def _rescale(default: bool, meaning: str) -> ParameterSpec:
    return ParameterSpec("rescale", meaning, "rescale: true", default=default)


def _parameters(*specs: ParameterSpec) -> Mapping[str, ParameterSpec]:
    return MappingProxyType({spec.name: spec for spec in specs})


_DARE = (
    "Yu, Yu, Yu, Huang, Li: Language Models are Super Mario: "
    "Absorbing Abilities from Homologous Models as a Free Lunch. ICML 2024, arXiv 2311.03099"
)
_TIES = (
    "Yadav, Tam, Choshen, Raffel, Bansal: TIES-Merging: "
    "Resolving Interference When Merging Models. NeurIPS 2023, arXiv 2306.01708"
)
_SURVIVORS = "It scales the survivors by 1 / density."

METHODS: Mapping[str, MethodSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            MethodSpec(
                "linear",
                "weighted mean of the models",
                "Wortsman et al.: Model Soups: Averaging Weights of Multiple Fine-tuned Models "
                "Improves Accuracy without Increasing Inference Time. ICML 2022, arXiv 2203.05482",
                "tensors",
                _parameters(_WEIGHT, _normalize(True)),
                keeps_equals="normalize",
            ),
            MethodSpec(
                "slerp",
                "spherical interpolation between two models",
                "Shoemake: Animating Rotation with Quaternion Curves. SIGGRAPH 1985",
                "tensors",
                _parameters(_T),
                models=(2, 2),
            ),
            MethodSpec(
                "task_arithmetic",
                "weighted sum of the differences from the base",
                "Ilharco et al.: Editing Models with Task Arithmetic. ICLR 2023, arXiv 2212.04089",
                "deltas",
                _parameters(_WEIGHT, _normalize(False), _LAMBDA),
            ),
            MethodSpec(
                "ties",
                "differences trimmed to the largest, merged where their signs agree",
                _TIES,
                "deltas",
                _parameters(
                    _WEIGHT,
                    _DENSITY,
                    _normalize(True),
                    _rescale(False, "It restores the L1 norm that a delta had before trimming."),
                    _LAMBDA,
                ),
            ),
            MethodSpec(
                "dare_ties",
                "differences dropped at random, merged where their signs agree",
                f"{_DARE}; sign election of {_TIES}",
                "deltas",
                _parameters(
                    _WEIGHT, _DENSITY, _normalize(False), _rescale(True, _SURVIVORS), _LAMBDA
                ),
                random=True,
            ),
            MethodSpec(
                "dare_linear",
                "differences dropped at random, then summed with weights",
                _DARE,
                "deltas",
                _parameters(
                    _WEIGHT, _DENSITY, _normalize(False), _rescale(True, _SURVIVORS), _LAMBDA
                ),
                random=True,
            ),
            MethodSpec(
                "passthrough",
                "tensors taken as they are, for stacking layers or fusing one adapter",
                "Kim et al.: SOLAR 10.7B: Scaling Large Language Models with Simple yet Effective "
                "Depth Up-Scaling. NAACL 2024, arXiv 2312.15166",
                "tensors",
                _parameters(_SCALE),
                models=(1, 1),
                keeps_equals="scale",
            ),
        )
    }
)

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

# Within the range of float32, in which merges are computed; beyond it an infinity would be the result.
GREATEST = 1e30


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
    low: float = -GREATEST
    high: float = GREATEST
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
        if self.low == -GREATEST:
            return f"a finite number of at most {GREATEST:g} either way"
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
    base (deltas), or ("either") deltas where the recipe names a base and tensors where it does not;
    `models` is the least and greatest number of them. Equal operands (deltas: zeros)
    give that operand back: always, or where the parameter named by `keeps_equals` is 1. `passes` says
    how often a tensor is usually read.
    """

    name: str
    summary: str
    citation: str
    operands: Literal["tensors", "deltas", "either"]
    parameters: Mapping[str, ParameterSpec]
    models: tuple[int, float] = (1, math.inf)
    keeps_equals: str | None = None
    random: bool = False
    passes: int = 1

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
_DELLA = (
    "Deep, Bhardwaj, Poria: DELLA-Merging: Reducing Interference in Model Merging through "
    "Magnitude-Based Sampling. 2024, arXiv 2406.11617"
)
_BREADCRUMBS = (
    "Davari, Belilovsky: Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks. "
    "ECCV 2024, arXiv 2312.06795"
)
_RAM = "Yuan et al.: Behavior Knowledge Merge in Reinforced Agentic Models. 2026, arXiv 2601.13572"
_SHOEMAKE = "Shoemake: Animating Rotation with Quaternion Curves. SIGGRAPH 1985"
_NUSLERP_FLATTEN = ParameterSpec(
    "nuslerp_flatten",
    "It takes a tensor as one vector; otherwise each row, or each column, is one.",
    "nuslerp_flatten: true",
    default=True,
)
_NUSLERP_ROW_WISE = ParameterSpec(
    "nuslerp_row_wise",
    "Without nuslerp_flatten it takes columns of the stored tensor as vectors, not rows.",
    "nuslerp_row_wise: false",
    default=False,
)
_NORMALIZE_WEIGHTS = ParameterSpec(
    "normalize_weights",
    "It divides by the sum of the weights.",
    "normalize_weights: true",
    default=True,
)
_KEEP_EPSILON = ParameterSpec(
    "epsilon",
    "It is half the width of the range of keep probabilities around density.",
    "epsilon: 0.15",
    default=0.15,
    low=0.0,
    high=1.0,
    per_model=True,
)
_GAMMA = ParameterSpec(
    "gamma",
    "It is the fraction of delta entries of largest magnitude to drop.",
    "gamma: 0.01",
    default=0.01,
    low=0.0,
    high=1.0,
    per_model=True,
)
_RAM_EPSILON = ParameterSpec(
    "epsilon",
    "It is the magnitude above which a delta entry counts as a change.",
    "epsilon: 1.0e-5",
    default=1e-5,
    low=0.0,
)


def _number(
    name: str, meaning: str, default: float, low: float, high: float, above: bool = False
) -> ParameterSpec:
    return ParameterSpec(name, meaning, f"{name}: {default:g}", default, low, high, above)


_SURVIVORS = "It scales the survivors by 1 / density."
_SURVIVORS_EACH = "It scales each survivor by 1 / its probability."

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
                _SHOEMAKE,
                "tensors",
                _parameters(_T),
                models=(2, 2),
                passes=2,
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
                passes=2,
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
                "nuslerp",
                "spherical interpolation by weights, of tensors or of differences from a base",
                _SHOEMAKE,
                "either",
                _parameters(_WEIGHT, _NUSLERP_FLATTEN, _NUSLERP_ROW_WISE),
                models=(2, 2),
                passes=2,
            ),
            MethodSpec(
                "multislerp",
                "weighted mean of directions, put back on the sphere",
                "Buss, Fillmore: Spherical Averages and Applications to Spherical Splines and "
                "Interpolation. ACM Transactions on Graphics 20 (2), 2001",
                "either",
                _parameters(
                    _WEIGHT,
                    _NORMALIZE_WEIGHTS,
                    _number(
                        "eps",
                        "It is added to the lengths that directions are divided by.",
                        1e-8,
                        0.0,
                        1.0,
                        above=True,
                    ),
                ),
                models=(2, math.inf),
                keeps_equals="normalize_weights",
                passes=2,
            ),
            MethodSpec(
                "karcher",
                "Riemannian centre of mass of the models' directions",
                "Karcher: Riemannian Center of Mass and Mollifier Smoothing. "
                "Communications on Pure and Applied Mathematics 30, 1977",
                "tensors",
                _parameters(
                    _number("max_iter", "It is the most iterations to take.", 10, 1, 10_000),
                    _number(
                        "tol", "A step shorter than it ends the search.", 1e-5, 0, 1, above=True
                    ),
                ),
                models=(2, math.inf),
                passes=2,
            ),
            MethodSpec(
                "della",
                "differences dropped at random, small ones rather than large ones, merged where their "
                "signs agree",
                f"{_DELLA}; sign election of {_TIES}",
                "deltas",
                _parameters(
                    _WEIGHT,
                    _DENSITY,
                    _KEEP_EPSILON,
                    _normalize(True),
                    _rescale(True, _SURVIVORS_EACH),
                    _LAMBDA,
                ),
                random=True,
            ),
            MethodSpec(
                "della_linear",
                "differences dropped at random, small ones rather than large ones, then summed",
                _DELLA,
                "deltas",
                _parameters(
                    _WEIGHT,
                    _DENSITY,
                    _KEEP_EPSILON,
                    _normalize(False),
                    _rescale(True, _SURVIVORS_EACH),
                    _LAMBDA,
                ),
                random=True,
            ),
            MethodSpec(
                "breadcrumbs",
                "differences without the largest outliers and the smallest rest, then summed",
                _BREADCRUMBS,
                "deltas",
                _parameters(_WEIGHT, _DENSITY, _GAMMA, _normalize(False), _LAMBDA),
                passes=2,
            ),
            MethodSpec(
                "breadcrumbs_ties",
                "differences without outliers and small entries, merged where their signs agree",
                f"{_BREADCRUMBS}; sign election of {_TIES}",
                "deltas",
                _parameters(_WEIGHT, _DENSITY, _GAMMA, _normalize(False), _LAMBDA),
                passes=2,
            ),
            MethodSpec(
                "sce",
                "entries on which the models differ most, weighted by their energy, signs elected",
                "Wan et al.: FuseChat: Knowledge Fusion of Chat Models. 2024, arXiv 2408.07990",
                "deltas",
                _parameters(
                    ParameterSpec(
                        "select_topk",
                        "It is the fraction of entries to keep, by their variance over the models.",
                        "select_topk: 1.0",
                        default=1.0,
                        low=0.0,
                        high=1.0,
                        above=True,
                    )
                ),
                passes=3,
            ),
            MethodSpec(
                "model_stock",
                "the point nearest to the centre of the models' distribution, by their angles",
                "Jang, Yun, Han: Model Stock: All We Need Is Just a Few Fine-Tuned Models. "
                "ECCV 2024, arXiv 2403.19522",
                "deltas",
                _parameters(
                    ParameterSpec(
                        "filter_wise",
                        "It takes each row by itself instead of the tensor.",
                        "filter_wise: false",
                        default=False,
                    )
                ),
                models=(2, math.inf),
                passes=2,
            ),
            MethodSpec(
                "nearswap",
                "the base, moved towards the other model where both are near",
                "alchemonaut: QuartetAnemoi-70B-t0.0001, model card with the method. Hugging Face, 2024",
                "deltas",
                _parameters(
                    ParameterSpec(
                        "t",
                        "Entries that differ by less than it are taken from the other model.",
                        "t: 0.0001",
                        low=0.0,
                    )
                ),
                models=(1, 1),
            ),
            MethodSpec(
                "arcee_fusion",
                "the entries of the other model that matter most, by difference and divergence",
                "Arcee AI: Arcee Fusion, in: Meet mergekit v0.1. 2025",
                "deltas",
                _parameters(),
                models=(1, 1),
                passes=2,
            ),
            MethodSpec(
                "ram",
                "changes that one model alone made summed, shared ones averaged",
                _RAM,
                "deltas",
                _parameters(_RAM_EPSILON),
            ),
            MethodSpec(
                "ramplus_tl",
                "as ram, with the changes of one model alone scaled up by how much it shares",
                _RAM,
                "deltas",
                _parameters(
                    _RAM_EPSILON,
                    _number(
                        "r", "It is the gain per shared part of a model's change.", 0.1, 0.0, 100
                    ),
                    _number("alpha", "It bounds the gain.", 0.2, 0.0, 100),
                ),
                passes=2,
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

"""TIES, Breadcrumbs, SCE, RAM and Arcee Fusion give what mergekit 0.1.5 gives; it is run as a black box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_models import merged, shapes, weights
from torch import Tensor

pytest.importorskip("mergekit", reason="the oracle is not installed")

from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

WEIGHTED = [{"weight": 0.7, "density": 0.6}, {"weight": 0.4, "density": 0.31}, {"weight": 0.2}]
TAILED = [
    {"weight": 0.7, "density": 0.6, "gamma": 0.1},
    {"weight": 0.4, "density": 0.93, "gamma": 0.2},
    {"weight": 0.2, "density": 0.5},
]
CASES: list[tuple[str, list[dict[str, float]], dict[str, Any]]] = [
    ("ties", WEIGHTED, {}),
    ("ties", WEIGHTED, {"normalize": False, "lambda": 0.8}),
    ("ties", WEIGHTED, {"rescale": True}),
    ("ties", [{"weight": 1.0}, {"weight": -0.5}], {"density": 0.5, "normalize": True}),
    ("della", [{"weight": 0.7}, {"weight": 0.4}], {"density": 1.0, "lambda": 0.8}),
    ("della_linear", [{"weight": 0.7}, {"weight": 0.4}], {"density": 1.0}),
    ("breadcrumbs", TAILED, {}),
    ("breadcrumbs", TAILED, {"normalize": True, "lambda": 0.8}),
    ("breadcrumbs", [{"weight": 1.0}], {"density": 0.9}),
    ("breadcrumbs_ties", TAILED, {}),
    ("breadcrumbs_ties", TAILED, {"normalize": True, "lambda": 0.8}),
    ("sce", [{}, {}, {}], {}),
    ("sce", [{}, {}, {}], {"select_topk": 0.5}),
    ("sce", [{}, {}], {"select_topk": 0.07}),
    ("sce", [{}], {}),
    ("ram", [{}, {}, {}], {}),
    ("ram", [{}, {}, {}], {"epsilon": 0.1}),
    ("ramplus_tl", [{}, {}, {}], {"epsilon": 0.1}),
    ("ramplus_tl", [{}, {}, {}], {"epsilon": 0.12, "r": 0.5, "alpha": 1.1}),
    ("ramplus_tl", [{}], {}),
    ("arcee_fusion", [{}], {}),
]


def oracle(out: str, **keys: Any) -> dict[str, Tensor]:
    """What mergekit makes of a recipe given as keys."""
    configuration = MergeConfiguration.model_validate({**keys, "dtype": "float32"})
    run_merge(configuration, out, MergeOptions(write_model_card=False, quiet=True))
    return weights(out)


@pytest.mark.parametrize(("name", "models", "parameters"), CASES)
def test_a_recipe_gives_what_mergekit_makes_of_it(
    model: Callable[..., dict[str, Tensor]],
    name: str,
    models: list[dict[str, float]],
    parameters: dict[str, Any],
) -> None:
    model("base", tied=False)
    for index in range(len(models)):
        model(f"m{index}", index + 1, tied=False)
    keys: dict[str, Any] = {
        "merge_method": name,
        "base_model": "base",
        "models": [
            {"model": f"m{index}", "parameters": given} for index, given in enumerate(models)
        ],
        "parameters": parameters,
    }
    theirs = oracle("theirs", **keys)
    ours = merged("ours", **keys)
    assert set(ours) == set(shapes(tied=False))
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-7)

"""The same recipe here and in mergekit 0.1.5, whose results are facts: every tensor must agree.

mergekit works in the type of the models, float32 here, and sums in it; its angles carry that rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_methods_sphere import karcher_reference, spread
from tiny_models import merged, weights
from torch import Tensor

from pipeline.merge.methods import karcher, model_stock, multislerp, nearswap, nuslerp

MODULES = (karcher, model_stock, multislerp, nearswap, nuslerp)  # importing registers them
LIMIT = 2e-5

pytest.importorskip("mergekit")

Model = Callable[..., dict[str, Tensor]]


def by_mergekit(out: str = "oracle", /, **keys: Any) -> dict[str, Tensor]:
    """The tensors that mergekit makes of a recipe.

    Models are named by their whole paths: it remembers what it has opened, by name.
    """
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    recipe = keys | {"models": [m | {"model": _path(m["model"])} for m in keys["models"]]}
    if "base_model" in recipe:
        recipe["base_model"] = _path(recipe["base_model"])
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
    run_merge(MergeConfiguration.model_validate(recipe), out, options)
    return weights(out)


def _path(name: str) -> str:
    return str(Path(name).resolve())


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in parts of the largest entry."""
    gap = float((found.double() - expected.double()).abs().max())
    return gap / float(expected.abs().max())


def agree(**keys: Any) -> None:
    """Both make the same tensors of a recipe."""
    keys["models"] = [{"model": m} if isinstance(m, str) else m for m in keys["models"]]
    ours, theirs = merged(dtype="float32", **keys), by_mergekit(dtype="float32", **keys)
    assert ours.keys() == theirs.keys()
    errors = {name: error(ours[name], theirs[name]) for name in ours}
    assert max(errors.values()) <= LIMIT, {n: e for n, e in errors.items() if e > LIMIT}


def weighted(**weight: float) -> list[dict[str, Any]]:
    return [{"model": name, "parameters": {"weight": value}} for name, value in weight.items()]


@pytest.fixture
def far(model: Model) -> Model:
    """base, x, y, z: models that have nothing in common."""
    for seed, name in enumerate(("base", "x", "y", "z")):
        model(name, seed)
    return model


@pytest.fixture
def tuned(model: Model) -> Model:
    """base, x, y, z: models a tenth of the base's size away from it, in ways that have something in common."""
    base = model("base", 0)
    common = model("common", 9)
    for seed, name in enumerate(("x", "y", "z"), 1):
        own = model(f"own-{name}", seed)
        model(name, tensors={n: base[n] + 0.07 * common[n] + 0.07 * own[n] for n in base})
    return model


@pytest.fixture(params=["far", "tuned"])
def family(request: pytest.FixtureRequest) -> Model:
    return request.getfixturevalue(request.param)


def test_linear_agrees(family: Model) -> None:
    agree(merge_method="linear", models=weighted(x=0.3, y=-0.2, z=0.9))


def test_linear_without_normalize_agrees(far: Model) -> None:
    models = weighted(x=0.3, y=0.2, z=0.9)
    agree(merge_method="linear", models=models, parameters={"normalize": False})


@pytest.mark.parametrize("normalize", [False, True])
def test_task_arithmetic_agrees(family: Model, normalize: bool) -> None:
    agree(
        merge_method="task_arithmetic",
        base_model="base",
        models=weighted(x=0.3, y=-0.2, z=0.9),
        parameters={"normalize": normalize, "lambda": 0.8},
    )


def test_passthrough_agrees(far: Model) -> None:
    agree(merge_method="passthrough", models=["x"], parameters={"scale": 0.5})


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp_agrees(family: Model, t: float) -> None:
    agree(merge_method="slerp", base_model="x", models=["x", "y"], parameters={"t": t})


def test_slerp_of_a_gradient_agrees(far: Model) -> None:
    agree(merge_method="slerp", base_model="x", models=["x", "y"], parameters={"t": [0.1, 0.9]})


FLATTENED = {"nuslerp_flatten": True}
BY_ROWS = {"nuslerp_flatten": False}
BY_COLUMNS = {"nuslerp_flatten": False, "nuslerp_row_wise": True}


@pytest.mark.parametrize("parameters", [FLATTENED, BY_ROWS, BY_COLUMNS])
@pytest.mark.parametrize("base", [{}, {"base_model": "base"}])
def test_nuslerp_agrees(family: Model, parameters: dict[str, bool], base: dict[str, str]) -> None:
    agree(merge_method="nuslerp", models=weighted(x=0.3, y=0.9), parameters=parameters, **base)


@pytest.mark.parametrize("weight", [(0.5, -0.5), (0.5, -0.5 + 4e-7), (-0.3, 0.9), (0.0, 2.0)])
def test_nuslerp_agrees_for_odd_weights(far: Model, weight: tuple[float, float]) -> None:
    agree(merge_method="nuslerp", models=weighted(x=weight[0], y=weight[1]))


@pytest.mark.parametrize("base", [{}, {"base_model": "base"}])
@pytest.mark.parametrize("normalize", [True, False])
def test_multislerp_agrees(family: Model, base: dict[str, str], normalize: bool) -> None:
    agree(
        merge_method="multislerp",
        models=weighted(x=0.3, y=0.2, z=0.9),
        parameters={"normalize_weights": normalize},
        **base,
    )


@pytest.mark.parametrize("eps", [1e-6, 1e-3])
def test_multislerp_agrees_for_other_eps(far: Model, eps: float) -> None:
    models = weighted(x=0.3, y=-0.2, z=0.9)
    agree(merge_method="multislerp", models=models, parameters={"eps": eps})


@pytest.mark.parametrize("tol", [1e-5, 1e-2])
def test_karcher_agrees(family: Model, tol: float) -> None:
    agree(merge_method="karcher", models=["x", "y", "z"], parameters={"tol": tol})


def test_karcher_agrees_with_float64_where_the_models_lie_far_apart(model: Model) -> None:
    """The search takes all its steps there.

    In float32, as mergekit takes them, each adds its rounding: of a tensor of 2 million entries 1e-5 to 2e-5 is
    lost by norm, here 1e-7. On tensors as small as these both keep their digits.
    """
    names = ("x", "y", "z", "u")
    made = model("shapes")
    tensors = {name: spread(*value.shape) for name, value in made.items()}
    for index, name in enumerate(names):
        model(name, tensors={n: listed[index] for n, listed in tensors.items()})
    keys = {"merge_method": "karcher", "models": [{"model": n} for n in names], "dtype": "float32"}
    ours, theirs = merged(**keys), by_mergekit(**keys)
    truth = {name: karcher_reference(listed) for name, listed in tensors.items()}
    assert max(error(ours[name], truth[name]) for name in truth) < 1e-6
    assert max(error(theirs[name], truth[name]) for name in truth) < LIMIT


@pytest.mark.parametrize("filter_wise", [False, True])
@pytest.mark.parametrize("others", [("x", "y"), ("x", "y", "z")])
def test_model_stock_agrees(family: Model, filter_wise: bool, others: tuple[str, ...]) -> None:
    agree(
        merge_method="model_stock",
        base_model="base",
        models=list(others),
        parameters={"filter_wise": filter_wise},
    )


@pytest.mark.parametrize("t", [0.0, 1e-3, 0.05])
def test_nearswap_agrees(family: Model, t: float) -> None:
    agree(merge_method="nearswap", base_model="base", models=["x"], parameters={"t": t})


@pytest.mark.parametrize(
    ("method", "base"), [("nuslerp", {}), ("nuslerp", {"base_model": "base"}), ("multislerp", {})]
)
def test_a_zero_tensor_agrees(model: Model, method: str, base: dict[str, str]) -> None:
    values = model("base", 0, tensors={"model.norm.weight": torch.zeros(16)})
    gate = "model.layers.0.mlp.gate_proj.weight"
    model("x", 1, tensors={gate: values[gate], "model.norm.weight": torch.zeros(16)})
    model("y", 2)
    agree(merge_method=method, models=weighted(x=0.6, y=0.4), **base)


@pytest.mark.parametrize(
    ("method", "base"), [("karcher", {}), ("model_stock", {"base_model": "base"})]
)
def test_a_zero_tensor_among_others_agrees(model: Model, method: str, base: dict[str, str]) -> None:
    values = model("base", 0)
    gate, norm = "model.layers.0.mlp.gate_proj.weight", "model.norm.weight"
    model("x", 1, tensors={gate: values[gate], norm: torch.zeros(16)})
    for seed, name in enumerate(("y", "z", "u"), 2):
        model(name, seed)
    agree(merge_method=method, models=["x", "y", "z", "u"], **base)

"""Parameter values: gradients, filters, ranges, and the order in which levels are asked."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.recipe import METHODS, Conditional, parse_recipe, value_at
from pipeline.recipe.operands import levels_of
from pipeline.recipe.parameters import value_through


def constant(*gradient: float, filter: str | None = None) -> Conditional:
    return Conditional(filter, gradient)


@pytest.mark.parametrize(
    ("position", "value"),
    [(0.0, 1.0), (0.25, 0.85), (0.5, 0.7), (0.75, 0.4), (1.0, 0.1)],
)
def test_a_gradient_is_piecewise_linear(position: float, value: float) -> None:
    assert value_at((constant(1, 0.7, 0.1),), "x", position) == pytest.approx(value)


def test_a_gradient_gives_its_own_values_exactly_at_their_places() -> None:
    gradient = (constant(0.1, 0.7, 0.3, 0.9),)
    assert [value_at(gradient, "x", place / 3) for place in (0, 1, 3)] == [0.1, 0.7, 0.9]


def test_tensors_outside_the_layers_take_the_first_value() -> None:
    assert value_at((constant(0.1, 0.9),), "lm_head.weight", None) == 0.1


def test_the_first_filter_that_matches_wins() -> None:
    parameter = (constant(1, filter="mlp"), constant(2, filter="down"), constant(3))
    assert value_at(parameter, "layers.0.mlp.down_proj.weight", 0.0) == 1
    assert value_at(parameter, "layers.0.down.weight", 0.0) == 2
    assert value_at(parameter, "norm.weight", None) == 3


def test_no_matching_filter_falls_through_to_the_next_level() -> None:
    near = {"weight": (constant(1, filter="mlp"),)}
    far = {"weight": (constant(5),)}
    assert value_through((near, {}, far), "weight", "norm.weight", None) == 5
    assert value_through((near, {}, far), "weight", "mlp.weight", None) == 1
    assert value_through((near, {}), "weight", "norm.weight", None) is None


def test_levels_are_slice_source_slice_module_recipe() -> None:
    def weight(value: float) -> dict[str, Any]:
        return {"parameters": {"weight": value}}

    recipe = parse_recipe(
        {
            "merge_method": "linear",
            "modules": {
                "default": {
                    "slices": [
                        {
                            "sources": [{"model": "a", "layer_range": [0, 1], **weight(1)}],
                            **weight(2),
                        }
                    ],
                    **weight(3),
                }
            },
            **weight(4),
        },
        "recipe.yaml",
    )
    part = recipe.slices[0]
    levels = levels_of(recipe, part, part.sources[0])
    assert [value_at(level["weight"], "x", None) for level in levels] == [1, 2, 3, 4]


def parse_weight(value: Any, method: str = "linear", name: str = "weight") -> Any:
    keys = {"merge_method": method, "models": [{"model": "a"}], "base_model": "b"}
    parameters = {"weight": 1, name: value}
    return parse_recipe({**keys, "parameters": parameters}, "recipe.yaml").parameters[name]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (2, (constant(2.0),)),
        ([0, 1], (constant(0.0, 1.0),)),
        ("1e-5", (constant(1e-5),)),  # text for YAML 1.1, which wants 1.0e-5
        ({"filter": "mlp", "value": 1}, (constant(1.0, filter="mlp"),)),
        ([{"filter": "*", "value": [0, 1]}], (constant(0.0, 1.0),)),
        (
            [{"filter": "mlp", "value": 1}, {"value": 0.5}],
            (constant(1.0, filter="mlp"), constant(0.5)),
        ),
        ([{"filter": "mlp", "value": 1}, 0.5], (constant(1.0, filter="mlp"), constant(0.5))),
    ],
)
def test_every_way_to_write_a_value(given: Any, meant: Any) -> None:
    assert parse_weight(given) == meant


@pytest.mark.parametrize(
    ("method", "name", "value", "range_"),
    [
        ("ties", "density", 0, "in (0, 1]"),
        ("ties", "density", 1.01, "in (0, 1]"),
        ("ties", "density", [0.5, "x"], "in (0, 1]"),
        ("ties", "normalize", 2, "true or false"),
        ("ties", "weight", True, "a finite number"),
        ("ties", "weight", "0.5", "a finite number"),
        ("ties", "lambda", "inf", "a finite number"),
        ("ties", "weight", [[1]], "a finite number"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(
    method: str, name: str, value: Any, range_: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse_weight(value, method, name)
    assert f"it must be {range_}" in str(caught.value)
    assert f"recipe.yaml: recipe.parameters.{name}" in str(caught.value)


@pytest.mark.parametrize(
    "value", [{"fitler": "x", "value": 1}, {"filter": "x"}, {"filter": 3, "value": 1}]
)
def test_a_malformed_filter_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"weight\[0\]"):
        parse_weight([value])


def test_int8_mask_is_accepted_by_every_method() -> None:
    for method, models in (("linear", 1), ("slerp", 2), ("ties", 1), ("passthrough", 1)):
        needed = {
            name: 1 for name, spec in METHODS[method].parameters.items() if spec.default is None
        }
        parse_recipe(
            {
                "merge_method": method,
                "models": [{"model": f"m{i}"} for i in range(models)],
                **({"base_model": "b"} if method == "ties" else {}),
                "parameters": {**needed, "int8_mask": True},
            },
            "recipe.yaml",
        )


def test_the_recipe_package_imports_without_torch() -> None:
    heavy = "{'torch', 'transformers', 'mlflow', 'prefect', 'great_expectations'}"
    code = f"import sys, pipeline.recipe; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

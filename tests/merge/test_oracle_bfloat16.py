"""In bfloat16 the merge is no further from the formula in float64 than mergekit 0.1.5 is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from test_oracle_sphere import by_mergekit, weighted
from tiny_models import merged
from torch import Tensor

pytest.importorskip("mergekit")

Models = Mapping[str, dict[str, Tensor]]
WEIGHTS = {"x": 0.3, "y": 0.25, "z": 0.9}


@pytest.fixture
def models(model: Callable[..., dict[str, Tensor]], tmp_path: Path) -> Models:
    """base, and x, y, z near it, in bfloat16."""
    made = {"base": model("base", 0, dtype=torch.bfloat16)}
    for seed, name in enumerate(WEIGHTS, 1):
        generator = torch.Generator().manual_seed(seed)
        near = {
            n: (w + 0.02 * torch.randn(w.shape, generator=generator)).bfloat16()
            for n, w in made["base"].items()
        }
        made[name] = model(name, dtype=torch.bfloat16, tensors=near)
    assert tmp_path.exists()
    return made


def linear(values: Mapping[str, Tensor]) -> Tensor:
    return sum(WEIGHTS[m] * values[m] for m in WEIGHTS) / sum(WEIGHTS.values())


def task_arithmetic(values: Mapping[str, Tensor]) -> Tensor:
    return values["base"] + sum(WEIGHTS[m] * (values[m] - values["base"]) for m in WEIGHTS)


def ties(values: Mapping[str, Tensor]) -> Tensor:
    """At density 1, where nothing is trimmed."""
    parts = torch.stack([WEIGHTS[m] * (values[m] - values["base"]) for m in WEIGHTS])
    sign = torch.where(parts.sum(0) >= 0, 1.0, -1.0)
    agrees = (parts * sign > 0).double()
    shares = torch.tensor(list(WEIGHTS.values()), dtype=torch.float64)
    divisor = (agrees * shares.view(-1, *[1] * (parts.dim() - 1))).sum(0)
    return values["base"] + (parts * agrees).sum(0) / torch.where(divisor == 0, 1.0, divisor)


def error(found: Mapping[str, Tensor], models: Models, formula: Callable[..., Tensor]) -> float:
    """norm(found - formula) / norm(formula) over all tensors, in float64."""
    missed = norm = 0.0
    for name, tensor in found.items():
        exact = formula({m: values[name].double() for m, values in models.items()})
        missed += float((tensor.double() - exact).square().sum())
        norm += float(exact.square().sum())
    return (missed / norm) ** 0.5


@pytest.mark.parametrize("formula", [linear, task_arithmetic, ties])
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_the_error_in_bfloat16_is_no_larger_than_mergekits(
    models: Models, formula: Callable[..., Tensor], dtype: str | None
) -> None:
    keys: dict[str, Any] = {"merge_method": formula.__name__, "models": weighted(**WEIGHTS)}
    if formula is not linear:
        keys["base_model"] = "base"
    if dtype:
        keys["dtype"] = dtype
    ours, theirs = merged(**keys), by_mergekit(**keys)
    assert {tensor.dtype for tensor in ours.values()} == {torch.bfloat16}
    assert error(ours, models, formula) <= error(theirs, models, formula)
    if formula is not ties:  # coarse entries may cancel, and then rounding elects their sign
        assert error(ours, models, formula) < 2**-9  # rounded once

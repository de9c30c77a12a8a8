"""Norms, angles, conflicts and shares: by hand, by laws, and against a slow float64 version."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.diagnose.figures import TOP, Group, TensorFigures
from pipeline.diagnose.measure import BINS_PER_OCTAVE, measure
from pipeline.merge import blocks
from pipeline.merge.blocks import Held


def group(*deltas: Tensor, base: Tensor | None = None) -> Group:
    """The figures of deltas in memory, as one tensor."""
    base = torch.ones_like(deltas[0]) if base is None else base
    sums = measure(Held(deltas, base), [None] * len(deltas)).sums
    none = (None,) * len(deltas)
    tensor = TensorFigures("t", tuple(base.shape), None, "t", sums, none, none)
    return Group.of([tensor], len(deltas))


def randoms(count: int, *shape: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def reference(deltas: Sequence[Tensor], base: Tensor) -> dict[str, float]:
    """The figures of two deltas in float64, from their definitions."""
    x, y = (delta.double().flatten() for delta in deltas)
    largest = math.ceil(TOP * x.numel())
    return {
        "relative": float(x.norm() / base.double().norm()),
        "cosine": float(x @ y / (x.norm() * y.norm())),
        "conflict": float(((x * y) < 0).sum() / ((x != 0) | (y != 0)).sum()),
        "cancelled": float(1 - (x + y).abs().sum() / (x.abs().sum() + y.abs().sum())),
        "top": float(x.abs().sort(descending=True).values[:largest].sum() / x.abs().sum()),
    }


def found(g: Group) -> dict[str, float | None]:
    return {
        "relative": g.relative_norm(0),
        "cosine": g.cosine((0, 1)),
        "conflict": g.conflict((0, 1)),
        "cancelled": g.cancelled,
        "top": g.top_share(0),
    }


def test_figures_worked_by_hand() -> None:
    g = group(torch.tensor([3.0, -4, 0, 0]), torch.tensor([0.0, 4, 5, 0]))
    assert g.norm(0) == 5
    assert g.relative_norm(0) == 2.5  # the base [1, 1, 1, 1] has length 2
    assert g.cosine((0, 1)) == pytest.approx(-16 / (5 * math.sqrt(41)), rel=1e-12)
    assert g.conflict((0, 1)) == pytest.approx(
        1 / 3
    )  # one of the three entries that either changes
    assert g.cancelled == pytest.approx(1 - 8 / 16)
    assert g.top_share(0) == pytest.approx(0.8 * 4 / 7, rel=0.004)  # 0.8 of an entry: the 4


@pytest.mark.parametrize("shape", [(64, 48), (1000,), (3, 40, 8)])
def test_figures_agree_with_a_slow_float64_version(shape: tuple[int, ...]) -> None:
    x, y, base = randoms(3, *shape)
    deltas = [x, (y + 0.3 * x) * (y > -0.5)]
    expected = reference(deltas, base)
    share = expected.pop("top")
    values = found(group(*deltas, base=base))
    assert values.pop("top") == pytest.approx(share, rel=1 / BINS_PER_OCTAVE)
    assert values == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["normal", "heavy", "sparse", "equal", "tiny"])
def test_the_share_of_mass_is_right_to_its_resolution(name: str) -> None:
    (x,) = randoms(1, 20_000)
    delta = {
        "normal": x,
        "heavy": x**5,
        "sparse": x * (x > 1.5),
        "equal": x.sign() * 0.37,
        "tiny": x * 1e-30,
    }[name]
    share = reference([delta, delta], delta)["top"]
    assert group(delta).top_share(0) == pytest.approx(share, rel=1 / BINS_PER_OCTAVE)


def test_noise_has_the_shares_that_the_thresholds_speak_of() -> None:
    g = group(*randoms(3, 200_000))
    assert g.top_share(0) == pytest.approx(0.439, abs=0.005)
    assert g.conflict((0, 1)) == pytest.approx(0.5, abs=0.005)
    assert g.cancelled == pytest.approx(1 - 1 / math.sqrt(3), abs=0.005)
    assert group(*randoms(2, 200_000)).cancelled == pytest.approx(1 - 1 / math.sqrt(2), abs=0.005)


def test_scale_changes_lengths_alone() -> None:
    x, y = randoms(2, 50, 20)
    one, other = found(group(x, y)), found(group(4 * x, 4 * y))
    assert other.pop("relative") == pytest.approx(4 * (one.pop("relative") or 0))
    assert other == pytest.approx(one)


def test_the_same_difference_twice_agrees_everywhere() -> None:
    (x,) = randoms(1, 500)
    g = group(x, x)
    assert g.cosine((0, 1)) == pytest.approx(1, abs=1e-12)
    assert (g.conflict((0, 1)), g.cancelled) == (0, 0)


def test_opposite_differences_cancel() -> None:
    (x,) = randoms(1, 500)
    g = group(x, -x)
    assert g.cosine((0, 1)) == pytest.approx(-1, abs=1e-12)
    assert (g.conflict((0, 1)), g.cancelled) == (1, 1)


def test_differences_of_other_entries_do_not_conflict() -> None:
    x, y = randoms(2, 500)
    x[250:], y[:250] = 0, 0
    g = group(x, y)
    assert (g.cosine((0, 1)), g.conflict((0, 1)), g.cancelled) == (0, 0, 0)


def test_an_order_of_sources_only_orders_the_figures() -> None:
    x, y, z = randoms(3, 400)
    one, other = group(x, y, z), group(z, x, y)
    assert one.norm(0) == other.norm(1)
    assert one.conflict((0, 2)) == other.conflict((0, 1))
    assert one.cancelled == pytest.approx(other.cancelled, rel=1e-6)


def test_a_difference_of_zero_has_no_angle_and_no_share() -> None:
    (x,) = randoms(1, 50)
    g = group(x, torch.zeros(50))
    assert (g.cosine((0, 1)), g.relative_norm(1), g.top_share(1)) == (None, None, None)
    assert g.conflict((0, 1)) == 0
    assert group(torch.zeros(5), torch.zeros(5)).conflict((0, 1)) is None


def test_an_empty_tensor_has_no_figures() -> None:
    g = group(torch.empty(0, 4), torch.empty(0, 4))
    assert found(g) == dict.fromkeys(found(g))


def test_figures_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    deltas = randoms(2, 90, 30)
    one = found(group(*deltas))
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 64)
    assert found(group(*deltas)) == pytest.approx(one, rel=1e-12)


def test_a_group_is_what_its_tensors_are_as_one_vector() -> None:
    x, y = randoms(2, 600)
    parts = [
        group(x[at : at + 200].clone(), y[at : at + 200].clone()).tensors[0] for at in (0, 200, 400)
    ]
    together, apart = found(group(x, y)), found(Group.of(parts, 2))
    assert apart.pop("top") == pytest.approx(together.pop("top"), rel=0.02)  # trimmed per tensor
    assert apart == pytest.approx(together)


def test_sums_of_some_sources_are_those_of_all_with_zeros_for_the_others() -> None:
    x, y = randoms(2, 100)
    spread = measure(Held([x, y], torch.ones(100)), [None, None]).sums.spread([2, 0], 3)
    whole = measure(Held([y, torch.zeros(100), x], torch.ones(100)), [None] * 3).sums
    for name in ("inner", "base", "opposed", "mass", "top"):
        np.testing.assert_allclose(getattr(spread, name), getattr(whole, name), rtol=1e-12)

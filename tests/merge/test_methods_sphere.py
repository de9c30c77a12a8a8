"""The methods that go by angles, and nearswap: by hand, by laws, and against slow float64 versions of the papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.merge.blocks import Held
from pipeline.merge.methods import (
    apply_method,
    karcher,
    model_stock,
    multislerp,
    nearswap,
    nuslerp,
    slerp,
)
from pipeline.recipe import METHODS

MODULES = (karcher, model_stock, multislerp, nearswap, nuslerp, slerp)  # importing registers them
FLAT = {"nuslerp_flatten": True, "nuslerp_row_wise": False}
ROWS = {"nuslerp_flatten": False, "nuslerp_row_wise": False}
COLUMNS = {"nuslerp_flatten": False, "nuslerp_row_wise": True}
SPHERE: list[tuple[str, dict[str, Any]]] = [
    ("nuslerp", FLAT),
    ("nuslerp", ROWS),
    ("nuslerp", COLUMNS),
    ("multislerp", {}),
    ("karcher", {}),
]
STOCK: list[tuple[str, dict[str, Any]]] = [
    ("model_stock", {"filter_wise": False}),
    ("model_stock", {"filter_wise": True}),
]
ALL = [*SPHERE, *STOCK, ("nearswap", {"t": 0.1})]


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def randoms(count: int, *shape: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def call(name: str, tensors: Sequence[Tensor], /, **settings: Any) -> Tensor:
    """The method with its defaults and weights of 1."""
    arguments: dict[str, Any] = {}
    for spec in METHODS[name].parameters.values():
        value = 1.0 if spec.default is None else spec.default
        arguments[spec.argument] = [value] * len(tensors) if spec.per_model else value
    return apply_method(name, tensors, **(arguments | settings))


def operands(name: str, *shape: int, seed: int = 0) -> list[Tensor]:
    """As many random operands as the method takes, three at most."""
    return randoms(int(min(3, METHODS[name].models[1])), *shape, seed=seed)


def unit(x: Tensor) -> Tensor:
    return x / x.norm()


close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), ALL)
def test_no_argument_is_changed(name: str, settings: dict[str, Any]) -> None:
    tensors = operands(name, 5, 7)
    before = [tensor.clone() for tensor in tensors]
    call(name, tensors, **settings)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


@pytest.mark.parametrize(("name", "settings"), ALL)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (), (1,), (6,), (6, 1), (2, 1, 3)])
def test_any_shape_is_kept(name: str, settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    result = call(name, operands(name, *shape), **settings)
    assert result.shape == shape
    assert result.dtype == torch.float32
    assert result.isfinite().all()


@pytest.mark.parametrize(("name", "settings"), ALL)
@pytest.mark.parametrize("shape", [(64, 16), (1000,)])
def test_the_result_does_not_depend_on_the_size_of_blocks(
    name: str, settings: dict[str, Any], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = operands(name, *shape)
    whole = call(name, tensors, **settings)
    monkeypatch.setattr("pipeline.merge.blocks.BLOCK_ELEMENTS", 48)
    torch.testing.assert_close(call(name, tensors, **settings), whole, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize(("name", "settings"), ALL)
def test_zeros_give_zeros(name: str, settings: dict[str, Any]) -> None:
    zeros = [torch.zeros(4, 3) for _ in operands(name, 1)]
    assert torch.equal(call(name, zeros, **settings), zeros[0])


@pytest.mark.parametrize(("name", "settings"), ALL)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_entry_that_is_not_finite_is_never_dropped_in_silence(
    name: str, settings: dict[str, Any], bad: float
) -> None:
    tensors = operands(name, 5, 7)
    tensors[-1][2, 3] = bad
    assert not call(name, tensors, **settings)[2, 3].isfinite()


@pytest.mark.parametrize(("name", "settings"), SPHERE)
def test_merging_identical_models_returns_that_model(name: str, settings: dict[str, Any]) -> None:
    (x,) = randoms(1, 30, 20)
    copies = [x.clone() for _ in operands(name, 1)]
    torch.testing.assert_close(call(name, copies, **settings), x, rtol=3e-7, atol=0)


@pytest.mark.parametrize(("name", "settings"), STOCK)
def test_equal_deltas_give_that_delta(name: str, settings: dict[str, Any]) -> None:
    (x,) = randoms(1, 30, 20)
    torch.testing.assert_close(call(name, [x, x, x], **settings), x, rtol=3e-7, atol=0)


@pytest.mark.parametrize(("name", "settings"), [*SPHERE, *STOCK])
def test_the_order_of_models_does_not_matter(name: str, settings: dict[str, Any]) -> None:
    tensors, weight = operands(name, 12, 5), [0.3, 0.9, 0.4]
    weights = weight[: len(tensors)]
    keys = {"weight": weights} if "weight" in METHODS[name].parameters else {}
    turned = {"weight": weights[::-1]} if keys else {}
    close(
        call(name, tensors[::-1], **settings, **turned),
        call(name, tensors, **settings, **keys),
    )


@pytest.mark.parametrize(("name", "settings"), [*SPHERE, *STOCK])
@pytest.mark.parametrize("factor", [1e-3, -1.0, 100.0])
def test_a_common_factor_passes_through(name: str, settings: dict[str, Any], factor: float) -> None:
    tensors = operands(name, 12, 5)
    scaled = call(name, [x * factor for x in tensors], **settings)
    close(scaled / factor, call(name, tensors, **settings))


@pytest.mark.parametrize(("name", "settings"), SPHERE)
def test_a_factor_of_one_model_changes_only_its_length(name: str, settings: dict[str, Any]) -> None:
    """The direction of the others' influence stays: the spherical mean knows directions only."""
    if name == "nuslerp":  # which keeps the factors of both, and so scales one term
        x, y = randoms(2, 12, 5)
        least, most = (call(name, [x, s * y], **settings) for s in (1, 3))
        close(most - least, 2 * (least - call(name, [x, 1e-6 * y], **settings)), rtol=1e-4)
        return
    x, y, z = randoms(3, 12, 5)
    before, after = call(name, [x, y, z]), call(name, [x, 3 * y, z])
    close(unit(after), unit(before))
    lengths = [float(v.norm()) for v in (x, y, z)]
    assert float(after.norm()) == pytest.approx((sum(lengths) + 2 * lengths[1]) / 3, rel=1e-6)


@pytest.mark.parametrize(("name", "settings"), [c for c in SPHERE if c[0] != "karcher"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_model_with_all_the_weight_comes_back_bit_for_bit(
    name: str, settings: dict[str, Any], place: int
) -> None:
    tensors = operands(name, 12, 5)
    weight = [0.7 * (index == place) for index in range(len(tensors))]
    assert torch.equal(call(name, tensors, weight=weight, **settings), tensors[place])


@pytest.mark.parametrize("name", ["nuslerp", "multislerp"])
def test_a_common_factor_of_the_weights_has_no_effect(name: str) -> None:
    x, y = randoms(2, 40)
    close(call(name, [x, y], weight=[0.2, 0.6]), call(name, [x, y], weight=[3.0, 9.0]))


def nuslerp_reference(x: Tensor, y: Tensor, along: float, dim: int | None) -> Tensor:
    """Shoemake 1985 in float64, with the angle between whole tensors or between vectors along `dim`."""
    x, y = x.double(), y.double()
    over = tuple(range(x.dim())) if dim is None else (dim,)
    lengths = x.square().sum(over, True).sqrt() * y.square().sum(over, True).sqrt()
    angle = torch.acos((x * y).sum(over, True) / lengths)
    ends = torch.sin((1 - along) * angle) * x + torch.sin(along * angle) * y
    return ends / torch.sin(angle)


def test_nuslerp_by_hand() -> None:
    """A third of the way from the second axis to the first: 30 degrees off it."""
    merged = call("nuslerp", [t(2, 0), t(0, 2)], weight=[0.5, 1.0])
    assert merged.tolist() == pytest.approx([2 * 0.5, 2 * math.sqrt(0.75)])


@pytest.mark.parametrize(
    ("settings", "shape", "dim"),
    [
        (FLAT, (7, 9), None),
        (FLAT, (2, 3, 5), None),
        (FLAT, (50,), None),
        (ROWS, (7, 9), 1),
        (ROWS, (2, 3, 5), 2),
        (ROWS, (50,), None),
        (COLUMNS, (7, 9), 0),
        (COLUMNS, (50,), None),
        (FLAT | {"nuslerp_row_wise": True}, (7, 9), None),
    ],
)
@pytest.mark.parametrize("weight", [(0.5, 0.5), (0.3, 0.9), (-0.2, 1.0)])
def test_nuslerp_follows_the_paper(
    settings: dict[str, Any], shape: tuple[int, ...], dim: int | None, weight: tuple[float, float]
) -> None:
    x, y = randoms(2, *shape)
    reference = nuslerp_reference(x, y, weight[1] / sum(weight), dim)
    close(call("nuslerp", [x, y], weight=weight, **settings), reference.float())


def test_nuslerp_of_columns_is_that_of_the_rows_of_the_transpose() -> None:
    x, y = randoms(2, 7, 9)
    by_rows = call("nuslerp", [x.T.contiguous(), y.T.contiguous()], weight=[0.3, 0.9], **ROWS)
    close(call("nuslerp", [x, y], weight=[0.3, 0.9], **COLUMNS), by_rows.T)


@pytest.mark.parametrize("weight", [(0.5, -0.5), (0.0, 0.0), (0.5, -0.5 + 4e-7)])
def test_nuslerp_stops_half_way_where_the_weights_sum_to_nothing(
    weight: tuple[float, float],
) -> None:
    x, y = randoms(2, 30)
    assert torch.equal(
        call("nuslerp", [x, y], weight=weight), call("nuslerp", [x, y], weight=[1.0, 1.0])
    )


def test_nuslerp_with_a_zero_tensor_is_as_at_right_angles() -> None:
    (x,) = randoms(1, 40)
    merged = call("nuslerp", [torch.zeros(40), x], weight=[0.6, 0.4])
    close(merged, math.sin(0.4 * math.pi / 2) * x)


@pytest.mark.parametrize("factor", [-1.0, -3.0, 2.0])
def test_nuslerp_of_parallel_and_of_opposite_tensors_is_a_straight_line(factor: float) -> None:
    (x,) = randoms(1, 40)
    close(call("nuslerp", [x, factor * x], weight=[0.6, 0.4]), (0.6 + 0.4 * factor) * x)


def test_each_row_of_nuslerp_stands_by_itself() -> None:
    x, y = randoms(2, 6, 8)
    x[1], y[2], y[3], y[4] = 0, 0, -x[3], 2 * x[4]
    merged = call("nuslerp", [x, y], weight=[0.6, 0.4], **ROWS)
    for row, alone in enumerate(zip(x, y, strict=True)):
        close(merged[row], call("nuslerp", list(alone), weight=[0.6, 0.4], **FLAT))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_row_that_is_not_finite_spoils_no_other(bad: float) -> None:
    x, y = randoms(2, 6, 8)
    y[2, 5] = bad
    for name, settings in (("nuslerp", ROWS), STOCK[1]):
        spoiled = ~call(name, [x, y], **settings).isfinite().all(1)
        assert spoiled.tolist() == [row == 2 for row in range(6)]


def multislerp_reference(tensors: Sequence[Tensor], weight: Sequence[float]) -> Tensor:
    """The weighted mean of the directions, put back on the sphere, with the mean length: in float64."""
    tensors = [x.double() for x in tensors]
    direction = unit(
        torch.stack([w * unit(x) for w, x in zip(weight, tensors, strict=True)]).sum(0)
    )
    return direction * sum(w * float(x.norm()) for w, x in zip(weight, tensors, strict=True))


def test_multislerp_by_hand() -> None:
    """The directions (1, 0) and (0, 1) weigh 3/4 and 1/4; their mean is (3, 1) / sqrt(10), the length 2.5."""
    merged = call("multislerp", [t(3, 0), t(0, 1)], weight=[3.0, 1.0])
    assert merged.tolist() == pytest.approx([2.5 * 3 / math.sqrt(10), 2.5 / math.sqrt(10)])


@pytest.mark.parametrize("weight", [(0.2, 0.5, 0.3), (0.3, -0.2, 0.9), (-0.2, -0.5, -0.3)])
@pytest.mark.parametrize("normalize", [True, False])
def test_multislerp_is_the_mean_of_directions(weight: tuple[float, ...], normalize: bool) -> None:
    tensors = [x * length for x, length in zip(randoms(3, 8, 9), (1, 4, 0.5), strict=True)]
    merged = call("multislerp", tensors, weight=weight, normalize_weights=normalize)
    shares = [w / sum(weight) for w in weight] if normalize else weight
    close(merged, multislerp_reference(tensors, shares).float())


def test_multislerp_of_two_equal_weights_is_slerp_of_unit_vectors() -> None:
    x, y = (unit(v) for v in randoms(2, 50))
    close(call("multislerp", [x, y]), call("slerp", [x, y], t=0.5))


def test_multislerp_takes_weights_that_sum_to_zero_only_as_they_are() -> None:
    x, y = randoms(2, 20)
    with pytest.raises(ZeroDivisionError):
        call("multislerp", [x, y], weight=[0.5, -0.5])
    assert call("multislerp", [x, y], weight=[0.5, -0.5], normalize_weights=False).isfinite().all()


@pytest.mark.parametrize("factor", [-1.0, -3.0])
def test_multislerp_of_directions_that_cancel_is_the_weighted_mean(factor: float) -> None:
    (x,) = randoms(1, 400)
    close(call("multislerp", [x, factor * x]), (1 + factor) / 2 * x)
    close(call("multislerp", [x, factor * x], weight=[0.6, 0.4]), (0.6 - 0.4 * factor) * x)


def test_a_zero_tensor_counts_in_the_length_of_multislerp_alone() -> None:
    x, y = randoms(2, 40)
    with_zero = call("multislerp", [x, torch.zeros(40), y], weight=[0.3, 0.4, 0.3])
    close(with_zero, 0.6 * call("multislerp", [x, y]))


def test_eps_keeps_short_tensors_from_the_direction_of_multislerp() -> None:
    x, y = (unit(v) for v in randoms(2, 40))
    merged = call("multislerp", [x, 1e-6 * y], eps=0.01)
    close(unit(merged), unit(x + 1e-4 * y), rtol=1e-4)


def karcher_reference(tensors: Sequence[Tensor], max_iter: int = 10, tol: float = 1e-5) -> Tensor:
    """The steps of the search in float64, on the vectors themselves."""
    flat = [x.double().flatten() for x in tensors]
    units = [unit(x) for x in flat]
    at = unit(torch.stack(units).sum(0))
    for _ in range(max_iter):
        pulls = []
        for u in units:
            across = u - (u @ at) * at
            angle = torch.atan2(across.norm(), u @ at)
            pulls.append(across * (angle / across.norm() if across.norm() > 0 else 1.0))
        step = torch.stack(pulls).mean(0)
        if step.norm() < tol:
            break
        at = unit(at * step.norm().cos() + step / step.norm() * step.norm().sin())
    return (at * torch.stack([x.norm() for x in flat]).mean()).view(tensors[0].shape)


def spread(*shape: int) -> list[Tensor]:
    """Four directions far apart, between which the search takes many steps."""
    x, y, z, u = randoms(4, *shape)
    return [x, 2 * y - x, 0.4 * z - x, 0.3 * u - y]


def test_karcher_of_three_axes_points_to_the_corner() -> None:
    merged = call("karcher", [t(3, 0, 0), t(0, 4, 0), t(0, 0, 5)])
    assert merged.tolist() == pytest.approx([4 / math.sqrt(3)] * 3)


def test_karcher_of_two_tensors_is_half_way() -> None:
    x, y = (unit(v) for v in randoms(2, 50))
    close(call("karcher", [x, y]), call("slerp", [x, y], t=0.5))


@pytest.mark.parametrize("shape", [(8, 9), (400,), (3, 4, 5)])
@pytest.mark.parametrize("max_iter", [1, 10, 200])
def test_karcher_takes_the_steps_of_its_search(shape: tuple[int, ...], max_iter: int) -> None:
    tensors = spread(*shape)
    reference = karcher_reference(tensors, max_iter)
    close(call("karcher", tensors, max_iter=max_iter), reference.float())


def test_karcher_ends_where_the_directions_to_all_models_cancel() -> None:
    tensors = spread(400)
    at = unit(call("karcher", tensors, max_iter=1000, tol=1e-9).double())
    pulls = []
    for x in tensors:
        across = unit(x.double()) - (unit(x.double()) @ at) * at
        pulls.append(unit(across) * torch.acos(unit(x.double()) @ at))
    assert float(torch.stack(pulls).sum(0).norm()) < 1e-6


def test_a_step_below_tol_is_not_taken() -> None:
    tensors = spread(400)
    start = call("multislerp", tensors)
    close(call("karcher", tensors, tol=1.0), start)
    assert not torch.allclose(call("karcher", tensors, max_iter=1), start, rtol=1e-2)


def test_a_zero_tensor_counts_in_the_length_of_karcher_alone() -> None:
    x, y, z = randoms(3, 40)
    merged = call("karcher", [x, torch.zeros(40), y, z])
    close(merged, 0.75 * call("karcher", [x, y, z]))


@pytest.mark.parametrize("factor", [-1.0, -3.0])
def test_karcher_of_opposite_tensors_keeps_the_first_direction(factor: float) -> None:
    (x,) = randoms(1, 400)
    close(call("karcher", [x, factor * x]), (1 - factor) / 2 * x)


def test_opposite_tensors_leave_the_choice_to_a_third() -> None:
    x, z = randoms(2, 400)
    merged = call("karcher", [x, -x, z])
    reference = karcher_reference([x, -x, z])
    close(merged, reference.float())


@pytest.mark.parametrize("apart", [1e-3, 1.0])
def test_karcher_of_a_large_tensor_loses_no_digits(apart: float) -> None:
    """Sums in float32 lose some, more of them the larger the tensor, and the search repeats them."""
    x, *noise = randoms(4, 500, 1000)
    tensors = [x + apart * n for n in noise]
    reference = karcher_reference(tensors)
    error = (call("karcher", tensors).double() - reference).norm() / reference.norm()
    assert float(error) < 1e-7


def test_karcher_of_nearly_equal_tensors_is_their_mean() -> None:
    x, *noise = randoms(4, 100)
    tensors = [x + 1e-4 * n for n in noise]
    torch.testing.assert_close(
        call("karcher", tensors), torch.stack(tensors).mean(0), rtol=1e-6, atol=1e-6
    )


def stock_reference(deltas: Sequence[Tensor]) -> Tensor:
    """t times the mean, in float64, on whole tensors."""
    count, flat = len(deltas), [d.double().flatten() for d in deltas]
    pairs = [unit(flat[i]) @ unit(flat[j]) for i in range(count) for j in range(i)]
    cosine = torch.stack(pairs).mean()
    ratio = count * cosine / (1 + (count - 1) * cosine)
    return (ratio * torch.stack(flat).mean(0)).view(deltas[0].shape)


def test_model_stock_by_hand() -> None:
    """At 60 degrees, t = 2 * 0.5 / 1.5."""
    merged = call("model_stock", [t(1, 0), t(0.5, math.sqrt(0.75))])
    assert merged.tolist() == pytest.approx([2 / 3 * 0.75, 2 / 3 * math.sqrt(0.75) / 2])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_model_stock_follows_the_paper(count: int) -> None:
    common, *deltas = randoms(count + 1, 8, 9)
    deltas = [common + d for d in deltas]
    close(call("model_stock", deltas), stock_reference(deltas).float())


@pytest.mark.parametrize("count", [2, 4])
def test_model_stock_is_the_point_nearest_to_the_centre(count: int) -> None:
    """Models as far from a centre as the paper finds them, at right angles to each other and to the base."""
    axes = torch.linalg.qr(torch.stack(randoms(count + 1, 30)).T.double()).Q.T.float()
    centre = 0.7 * axes[0]
    deltas = [centre + 1.3 * axis for axis in axes[1:]]
    gap = centre - call("model_stock", deltas)
    assert all(abs(float(gap @ delta)) < 1e-6 for delta in deltas)


def test_model_stock_by_filters_takes_each_row_by_itself() -> None:
    deltas = randoms(3, 6, 8)
    deltas[0][1], deltas[1][2], deltas[1][3] = 0, deltas[0][2], -deltas[0][3]
    merged = call("model_stock", deltas, filter_wise=True)
    for row, alone in enumerate(zip(*deltas, strict=True)):
        close(merged[row], call("model_stock", list(alone)))


@pytest.mark.parametrize("shape", [(50,), (50, 1)])
def test_model_stock_by_filters_takes_one_dimension_as_one_filter(shape: tuple[int, ...]) -> None:
    deltas = randoms(3, *shape)
    whole = call("model_stock", deltas)
    assert torch.equal(call("model_stock", deltas, filter_wise=True), whole)


def test_model_stock_of_orthogonal_deltas_is_the_base() -> None:
    assert call("model_stock", [t(1, 0, 0), t(0, 2, 0), t(0, 0, 3)]).tolist() == [0, 0, 0]


def test_model_stock_counts_a_zero_delta_as_orthogonal() -> None:
    (x,) = randoms(1, 20)
    # mean cosine 1/3 of three pairs: t = 3/3 / (1 + 2/3)
    close(call("model_stock", [x, x, torch.zeros(20)]), 0.6 * 2 / 3 * x)


@pytest.mark.parametrize("factor", [-1.0, -3.0])
@pytest.mark.parametrize("filter_wise", [False, True])
def test_model_stock_of_opposite_deltas_is_the_base(factor: float, filter_wise: bool) -> None:
    (x,) = randoms(1, 5, 8)
    merged = call("model_stock", [x, factor * x], filter_wise=filter_wise)
    assert torch.equal(merged, torch.zeros(5, 8))


def test_nearswap_by_hand() -> None:
    merged = call("nearswap", [t(0.5, -0.5, 0.05, -0.1, 0)], t=0.1)
    assert torch.equal(merged, t(0.1, -0.1, 0.05, -0.1, 0))


def test_nearswap_weights_entries_by_their_nearness() -> None:
    base, other = randoms(2, 8, 9)
    weight = (0.2 / (other - base).abs()).clamp(0, 1)
    merged = base + call("nearswap", [other - base], t=0.2)
    close(merged, (1 - weight) * base + weight * other)


def test_nearswap_at_zero_is_the_base_and_at_a_large_t_the_other_model() -> None:
    (delta,) = randoms(1, 50)
    assert torch.equal(call("nearswap", [delta], t=0.0), torch.zeros(50))
    assert torch.equal(call("nearswap", [delta], t=100.0), delta)


def passes(name: str, tensors: Sequence[Tensor], **settings: Any) -> int:
    """How often a method reads its operands before it writes."""
    read = 0

    class Counted(Held):
        def blocks(self, spans: Any = None) -> Any:
            nonlocal read
            read += 1
            return super().blocks(spans)

    arguments = {s.argument: s.default for s in METHODS[name].parameters.values()}
    arguments |= {"weight": [1.0] * len(tensors)} if "weight" in arguments else {}
    module = next(m for m in MODULES if m.__name__.endswith("." + name))
    getattr(module, name)(Counted(tensors), **(arguments | settings))
    return read


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("nuslerp", FLAT, 1),
        ("nuslerp", ROWS, 0),
        ("nuslerp", COLUMNS, 1),
        ("multislerp", {}, 1),
        ("karcher", {"max_iter": 1000}, 1),
        ("model_stock", {"filter_wise": False}, 1),
        ("model_stock", {"filter_wise": True}, 0),
        ("nearswap", {"t": 0.1}, 0),
    ],
)
def test_a_tensor_is_read_once_to_learn_at_most(
    name: str, settings: dict[str, Any], expected: int
) -> None:
    assert passes(name, operands(name, 8, 9), **settings) == expected

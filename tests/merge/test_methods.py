"""Merge methods against cases worked by hand, laws, and slow float64 versions written from the papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.merge.blocks import Held
from pipeline.merge.draws import draw_key, keep_mask, random_bits
from pipeline.merge.methods import apply_method, dare, method, method_function
from pipeline.merge.methods.selection import cut_largest, operand_streams, select
from pipeline.merge.methods.ties import agreeing_sum, restored, weighted
from pipeline.recipe import METHODS

DELTA_METHODS = [name for name, spec in METHODS.items() if spec.operands == "deltas"]


def having(*parameters: str, among: Sequence[str] = DELTA_METHODS) -> list[str]:
    """The methods that have all these parameters."""
    return [name for name in among if set(parameters) <= set(METHODS[name].parameters)]


def count(name: str, wanted: int) -> int:
    """As many models as wanted, or the nearest number that the method takes."""
    least, most = METHODS[name].models
    return int(min(max(least, wanted), most))


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def randoms(count: int, *shape: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def call(name: str, tensors: Sequence[Tensor], **settings: Any) -> Tensor:
    """The method with its defaults, weights of 1 and fixed keys."""
    arguments: dict[str, Any] = {}
    for spec in METHODS[name].parameters.values():
        value = 1.0 if spec.default is None else spec.default
        arguments[spec.argument] = [value] * len(tensors) if spec.per_model else value
    if METHODS[name].random:
        arguments["keys"] = [draw_key(0, f"m{i}", "x") for i in range(len(tensors))]
    return apply_method(name, tensors, **(arguments | settings))


def trim(delta: Tensor, density: float, rescale: bool) -> Tensor:
    """What TIES makes of one delta."""
    (cut,) = cut_largest(Held([delta]), [density])
    (scale,) = restored(Held([delta]), [cut]) if rescale else (1.0,)
    return cut.keep(delta.clone().view(-1, 1), 0).view(delta.shape) * scale


def largest(values: Tensor, count: int) -> Tensor:
    """The mask of the `count` largest magnitudes; `values` must hold no zero."""
    held = Held([values])
    ((cut,),) = select(operand_streams(held), held.grid, [[count]])
    return cut.keep(values.clone().view(-1, 1), 0).view(values.shape) != 0


def drop(delta: Tensor, density: float, rescale: bool, key: int) -> Tensor:
    return dare.drop(delta.clone(), density, rescale, key)


def agree(deltas: Sequence[Tensor], weight: Sequence[float], normalize: bool) -> Tensor:
    """The agreeing sum of deltas before they are weighted."""
    return agreeing_sum(weighted(torch.stack(list(deltas)), weight), weight, normalize)


def test_every_method_of_the_recipe_table_has_a_function() -> None:
    assert all(callable(method_function(name)) for name in METHODS)


def test_a_second_function_for_a_method_is_refused() -> None:
    with pytest.raises(ValueError, match="'linear' is already registered by"):
        method("linear")(lambda tensors: lambda block: block.operands[0])


def test_a_method_without_entry_in_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="Did you mean linear"):
        method("linaer")


@pytest.mark.parametrize("name", METHODS)
def test_no_argument_is_changed(name: str) -> None:
    tensors = randoms(count(name, 3), 5, 7)
    before = [tensor.clone() for tensor in tensors]
    call(
        name,
        tensors,
        base=torch.ones(5, 7),
        **({"t": 0.3} if "t" in METHODS[name].parameters else {}),
    )
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shape", [(0,), (1,), (), (3, 0), (2, 1, 3)])
def test_any_shape_is_kept(name: str, shape: tuple[int, ...]) -> None:
    result = call(name, randoms(count(name, 3), *shape), base=torch.ones(shape))
    assert result.shape == shape
    assert result.dtype == torch.float32


@pytest.mark.parametrize("name", DELTA_METHODS)
def test_zero_deltas_give_zero(name: str) -> None:
    zeros = [torch.zeros(9)] * count(name, 3)
    assert torch.equal(call(name, zeros, base=torch.ones(9)), torch.zeros(9))


@pytest.mark.parametrize("name", having("weight", "normalize"))
@pytest.mark.parametrize("normalize", [False, True])
def test_a_model_of_weight_zero_has_no_effect(name: str, normalize: bool) -> None:
    deltas = randoms(3, 40)
    keys = {"keys": [5, 6, 7]} if METHODS[name].random else {}
    full = call(name, deltas, weight=[0.5, 0.0, 0.8], normalize=normalize, **keys)
    keys = {"keys": [5, 7]} if METHODS[name].random else {}
    without = call(name, deltas[::2], weight=[0.5, 0.8], normalize=normalize, **keys)
    torch.testing.assert_close(full, without, rtol=0, atol=0)


@pytest.mark.parametrize("name", DELTA_METHODS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_entry_that_is_not_finite_is_never_dropped_in_silence(name: str, bad: float) -> None:
    deltas = randoms(count(name, 3), 50)
    deltas[-1][7] = bad
    known = METHODS[name].parameters
    density = {key: [0.01] * 3 for key in ("density",) if key in known}
    density |= {key: [0.005] * 3 for key in ("epsilon",) if key in known and known[key].per_model}
    assert not call(name, deltas, base=torch.ones(50), **density).isfinite().all()


@pytest.mark.parametrize("name", having("lambda"))
def test_lambda_scales_the_merged_delta(name: str) -> None:
    deltas = randoms(2, 50)
    torch.testing.assert_close(call(name, deltas, lambda_=3.0), 3 * call(name, deltas, lambda_=1.0))


@pytest.mark.parametrize("name", ["linear", *having("weight")])
def test_the_order_of_models_does_not_matter(name: str) -> None:
    tensors, weight, keys = randoms(4, 60), [0.3, 0.9, 0.2, 0.7], [1, 2, 3, 4]

    def merged(order: list[int]) -> Tensor:
        more: dict[str, Any] = {"keys": [keys[i] for i in order]} if METHODS[name].random else {}
        return call(name, [tensors[i] for i in order], weight=[weight[i] for i in order], **more)

    torch.testing.assert_close(merged([0, 1, 2, 3]), merged([3, 1, 0, 2]))


def test_linear_by_hand() -> None:
    tensors = [t(1, 2), t(3, -2)]
    assert call("linear", tensors, weight=[1.0, 3.0]).tolist() == [2.5, -1.0]
    assert call("linear", tensors, weight=[1.0, 3.0], normalize=False).tolist() == [10.0, -4.0]


def test_linear_of_one_model_is_that_model_bit_for_bit() -> None:
    (x,) = randoms(1, 100)
    assert torch.equal(call("linear", [x], weight=[0.3]), x)


def test_linear_with_all_weight_on_one_model_is_that_model_bit_for_bit() -> None:
    x, y = randoms(2, 100)
    assert torch.equal(call("linear", [x, y], weight=[0.0, 0.7]), y)


def test_merging_identical_models_returns_that_model_to_rounding() -> None:
    (x,) = randoms(1, 1000)
    merged = call("linear", [x, x, x], weight=[0.2, 0.5, 0.4])
    torch.testing.assert_close(merged, x, rtol=3e-7, atol=0)
    assert torch.equal(merged.bfloat16(), x.bfloat16()) or (
        (merged.bfloat16() != x.bfloat16()).float().mean() < 1e-2
    )


def slerp_reference(x: Tensor, y: Tensor, along: float) -> Tensor:
    """Shoemake 1985 in float64, with the angle between the flattened tensors."""
    x64, y64 = x.double().flatten(), y.double().flatten()
    angle = torch.acos(x64 @ y64 / (x64.norm() * y64.norm()))
    ends = torch.sin((1 - along) * angle) * x64 + torch.sin(along * angle) * y64
    return (ends / torch.sin(angle)).view(x.shape)


def test_slerp_half_way_between_two_axes_is_the_diagonal() -> None:
    half = math.sqrt(0.5)
    assert call("slerp", [t(1, 0), t(0, 1)], t=0.5).tolist() == pytest.approx([half, half])


@pytest.mark.parametrize("along", [0.0, 0.2, 0.5, 1.0])
def test_slerp_follows_the_paper(along: float) -> None:
    x, y = randoms(2, 8, 9)
    reference = slerp_reference(x, y, along)
    torch.testing.assert_close(
        call("slerp", [x, y], t=along).double(), reference, rtol=1e-5, atol=1e-6
    )


def test_slerp_ends_at_its_models() -> None:
    x, y = randoms(2, 30)
    assert torch.equal(call("slerp", [x, y], t=0.0), x)
    assert torch.equal(call("slerp", [x, y], t=1.0), y)


def test_slerp_is_symmetric() -> None:
    x, y = randoms(2, 30)
    torch.testing.assert_close(call("slerp", [x, y], t=0.3), call("slerp", [y, x], t=0.7))


@pytest.mark.parametrize("sign", [1, -1])
def test_slerp_of_nearly_parallel_tensors_is_a_straight_line(sign: int) -> None:
    x, noise = randoms(2, 1000)
    y = sign * (x + 0.01 * noise)
    torch.testing.assert_close(call("slerp", [x, y], t=0.25), 0.75 * x + 0.25 * y)


def test_slerp_takes_a_zero_tensor_as_at_right_angles() -> None:
    (x,) = randoms(1, 4)
    merged = call("slerp", [torch.zeros(4), x], t=0.25)
    torch.testing.assert_close(merged, math.sin(math.pi / 8) * x)


def test_task_arithmetic_by_hand() -> None:
    deltas = [t(1, 2), t(3, -2)]
    assert call("task_arithmetic", deltas, weight=[1.0, 3.0]).tolist() == [10.0, -4.0]
    normalized = call("task_arithmetic", deltas, weight=[1.0, 3.0], normalize=True, lambda_=2.0)
    assert normalized.tolist() == [5.0, -2.0]


def test_task_arithmetic_normalizes_by_one_where_the_weights_sum_to_zero() -> None:
    merged = call("task_arithmetic", [t(1), t(4)], weight=[0.3, -0.3], normalize=True)
    assert merged.tolist() == pytest.approx([-0.9])


def test_trim_keeps_the_largest_magnitudes() -> None:
    assert trim(t(0.1, -3, 2, -0.5), 0.5, rescale=False).tolist() == [0, -3, 2, 0]


def test_trim_of_equal_magnitudes_keeps_the_lower_index() -> None:
    assert trim(t(1, -1, 1, 1), 0.5, rescale=False).tolist() == [1, -1, 0, 0]
    assert trim(t(1, 2, -1, 1, -2), 0.6, rescale=False).tolist() == [1, 2, 0, 0, -2]


@pytest.mark.parametrize(("size", "density", "kept"), [(1, 0.5, 0), (3, 0.5, 1), (100, 0.29, 28)])
def test_trim_keeps_int_of_density_times_size(size: int, density: float, kept: int) -> None:
    assert int((trim(torch.ones(size), density, rescale=False) != 0).sum()) == kept


def test_trim_at_density_one_keeps_all() -> None:
    (x,) = randoms(1, 10)
    assert torch.equal(trim(x, 1.0, rescale=True), x)


def test_trim_rescaled_has_the_norm_from_before() -> None:
    trimmed = trim(t(1, -3, 2, 2), 0.5, rescale=True)
    assert trimmed.tolist() == pytest.approx([0, -3 * 8 / 5, 2 * 8 / 5, 0])


def test_trim_rescales_no_vanishing_norm() -> None:
    tiny = t(1e-9, 2e-9)
    assert torch.equal(trim(tiny, 0.5, rescale=True), t(0, 2e-9))


@pytest.mark.parametrize("count", [0, 1, 7, 500, 999, 1000])
def test_largest_agrees_with_a_stable_sort(count: int) -> None:
    values = torch.randint(1, 9, (10, 100), generator=torch.Generator().manual_seed(1)).float()
    values[::2] *= -1
    order = values.flatten().abs().sort(descending=True, stable=True).indices
    expected = torch.zeros(1000, dtype=torch.bool)
    expected[order[:count]] = True
    assert torch.equal(largest(values, count), expected.view(10, 100))


def test_ties_by_hand() -> None:
    """Worked through as in figure 1 of the paper: trim, elect, merge disjointly."""
    deltas = [t(0.1, -4, 3, 2), t(5, 1, -1, 2), t(3, -2, -6, 0)]
    # density 0.5 keeps   [0, -4, 3, 0]  [5, 0, 0, 2]  [3, 0, -6, 0]
    # signs elected       plus, minus, minus, plus
    merged = call("ties", deltas, density=[0.5] * 3, weight=[1.0] * 3)
    assert merged.tolist() == [4.0, -4.0, -6.0, 2.0]
    summed = call("ties", deltas, density=[0.5] * 3, weight=[1.0] * 3, normalize=False)
    assert summed.tolist() == [8.0, -4.0, -6.0, 2.0]


def test_a_sum_of_zero_elects_plus_and_zeros_agree_with_nothing() -> None:
    assert agree([t(2, 0), t(-2, 0)], [1.0, 1.0], normalize=True).tolist() == [2.0, 0.0]


def test_the_sign_is_elected_on_weighted_deltas() -> None:
    assert agree([t(2), t(-1)], [1.0, 3.0], normalize=True).tolist() == [-1.0]


def test_a_negative_weight_agrees_by_the_sign_of_its_weighted_delta() -> None:
    assert agree([t(2), t(-1)], [1.0, -1.0], normalize=False).tolist() == [3.0]


def test_agreeing_weights_that_cancel_are_divided_by_one() -> None:
    deltas, weight = [t(1), t(1), t(-1)], [0.1, 0.2, -0.3]
    assert agree(deltas, weight, normalize=True).tolist() == pytest.approx([0.6])


def ties_reference(
    deltas: list[Tensor], weight: list[float], density: list[float], normalize: bool
) -> Tensor:
    """Algorithm 1 of the paper, entry by entry, in Python's float64."""
    size = deltas[0].numel()
    rows = []
    for delta, fraction in zip(deltas, density, strict=True):
        values = delta.flatten().tolist()
        order = sorted(range(size), key=lambda i: (-abs(values[i]), i))[: int(fraction * size)]
        rows.append([values[i] if i in set(order) else 0.0 for i in range(size)])
    merged = []
    for column in zip(*rows, strict=True):
        weighted = [w * value for w, value in zip(weight, column, strict=True)]
        plus = sum(weighted) >= 0
        agree = [i for i, value in enumerate(weighted) if (value > 0 if plus else value < 0)]
        divisor = sum(weight[i] for i in agree) if normalize else 1.0
        merged.append(sum(weighted[i] for i in agree) / (divisor or 1.0))
    return torch.tensor(merged, dtype=torch.float64).view(deltas[0].shape)


@pytest.mark.parametrize("normalize", [True, False])
def test_ties_follows_the_paper(normalize: bool) -> None:
    deltas, weight, density = randoms(3, 11, 13), [0.2, 0.6, 0.4], [0.8, 0.35, 1.0]
    merged = call("ties", deltas, weight=weight, density=density, normalize=normalize)
    reference = ties_reference(deltas, weight, density, normalize)
    torch.testing.assert_close(merged.double(), reference, rtol=1e-5, atol=1e-6)


def test_ties_of_one_model_at_full_density_is_its_delta() -> None:
    (x,) = randoms(1, 40)
    torch.testing.assert_close(call("ties", [x], weight=[0.4]), x)


def splitmix64(state: int) -> int:
    """The reference generator in Python's integers: one step from `state`, and its output."""
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_draws_are_splitmix64() -> None:
    key = 1234567
    bits = [value % 2**64 for value in random_bits(key, 3).tolist()]
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert bits == published
    gamma = 0x9E3779B97F4A7C15
    assert bits == [splitmix64(key + i * gamma) for i in range(3)]


def test_a_draw_depends_on_its_index_and_not_on_the_tile() -> None:
    key = draw_key(7, "base+json", "model.norm.weight")
    assert random_bits(key, 100)[37:80].tolist() == random_bits(key, 43, first=37).tolist()
    mask = keep_mask(key, 200_000, 0.5)
    assert torch.equal(mask[70_001:140_000], keep_mask(key, 69_999, 0.5, first=70_001))


def test_seed_model_and_tensor_each_change_the_draws() -> None:
    keys = {
        draw_key(*which) for which in [(0, "a", "x"), (1, "a", "x"), (0, "b", "x"), (0, "a", "y")]
    }
    assert len(keys) == 4


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_the_fraction_kept_is_the_density(density: float) -> None:
    kept = keep_mask(draw_key(0, "m", "x"), 100_000, density).float().mean()
    assert float(kept) == pytest.approx(density, abs=4 * math.sqrt(density * (1 - density) / 1e5))


def test_density_one_keeps_all() -> None:
    assert keep_mask(99, 1000, 1.0).all()


def test_survivors_are_scaled_by_one_over_density() -> None:
    (x,) = randoms(1, 1000)
    dropped = drop(x, 0.25, rescale=True, key=3)
    kept = keep_mask(3, 1000, 0.25)
    assert torch.equal(dropped[kept], x[kept] / 0.25)
    assert not dropped[~kept].any()
    assert torch.equal(drop(x, 0.25, rescale=False, key=3)[kept], x[kept])


def dare_linear_after(deltas: list[Tensor]) -> Tensor:
    return 0.5 * deltas[0] + 0.8 * deltas[1]


def dare_ties_after(deltas: list[Tensor]) -> Tensor:
    return agree(deltas, [0.5, 0.8], normalize=False)


@pytest.mark.parametrize(
    ("name", "after"), [("dare_linear", dare_linear_after), ("dare_ties", dare_ties_after)]
)
def test_dare_drops_each_model_by_its_own_key_then_merges(
    name: str, after: Callable[[list[Tensor]], Tensor]
) -> None:
    deltas = randoms(2, 6, 50)
    merged = call(name, deltas, weight=[0.5, 0.8], density=[0.3, 0.6], keys=[11, 12])
    dropped = [
        torch.where(keep_mask(key, 300, density).view(6, 50), delta / density, 0.0)
        for delta, density, key in zip(deltas, (0.3, 0.6), (11, 12), strict=True)
    ]
    torch.testing.assert_close(merged, after(dropped))


def test_dare_is_right_on_average() -> None:
    (x,) = randoms(1, 20)
    mean = (
        sum(drop(x, 0.5, rescale=True, key=draw_key(seed, "m", "x")) for seed in range(4000)) / 4000
    )
    torch.testing.assert_close(mean, x, rtol=0.12, atol=0)


def test_passthrough_scales() -> None:
    assert call("passthrough", [t(1, -2)], scale=[0.5]).tolist() == [0.5, -1.0]
    (x,) = randoms(1, 10)
    assert torch.equal(call("passthrough", [x]), x)

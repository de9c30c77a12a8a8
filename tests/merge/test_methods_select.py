"""DELLA, Breadcrumbs, SCE, RAM and Arcee Fusion: cases by hand, laws, and slow float64 versions from the papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.merge.draws import uniform
from pipeline.merge.methods import apply_method
from pipeline.merge.methods.della import keep_chances, prune
from pipeline.merge.methods.sce import variance

WEIGHTED = ("della", "della_linear", "breadcrumbs", "breadcrumbs_ties")
NAMES = (*WEIGHTED, "sce", "ram", "ramplus_tl", "arcee_fusion")


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def randoms(count: int, *shape: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def call(name: str, deltas: Sequence[Tensor], **settings: Any) -> Tensor:
    """The method at settings under which it drops something, on as many of `deltas` as it takes."""
    each = {"weight": 1.0, "density": 0.5}
    given: dict[str, Any] = {
        "della": {**each, "epsilon": 0.3, "keys": 3},
        "breadcrumbs": {**each, "gamma": 0.1},
        "sce": {"select_topk": 0.5},
        "ram": {"epsilon": 1e-5},
        "ramplus_tl": {"epsilon": 1e-5, "r": 0.1, "alpha": 0.2},
        "arcee_fusion": {"base": torch.zeros_like(deltas[0])},
    }[name.removesuffix("_linear").removesuffix("_ties")]
    if name in WEIGHTED:
        given = {key: [value] * len(deltas) for key, value in given.items()}
        given |= {"normalize": False, "lambda_": 1.0}
    if name.startswith("della"):
        given |= {"rescale": True, "keys": list(range(len(deltas)))}
    if name == "arcee_fusion":
        deltas = deltas[:1]
    return apply_method(name, deltas, **(given | settings))


@pytest.mark.parametrize("name", NAMES)
def test_no_argument_is_changed(name: str) -> None:
    deltas = randoms(3, 5, 7)
    before = [delta.clone() for delta in deltas]
    call(name, deltas)
    assert all(torch.equal(a, b) for a, b in zip(deltas, before, strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0,), (1,), (), (2,), (3, 0), (2, 1, 3), (4, 1), (1, 4)])
def test_any_shape_is_kept(name: str, shape: tuple[int, ...]) -> None:
    result = call(name, randoms(3, *shape))
    assert result.shape == shape
    assert result.dtype == torch.float32
    assert result.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_zero_deltas_give_zero(name: str) -> None:
    assert torch.equal(call(name, [torch.zeros(3, 5)] * 3), torch.zeros(3, 5))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_entry_that_is_not_finite_is_never_dropped_in_silence(name: str, bad: float) -> None:
    deltas = randoms(3, 5, 10)
    for place in [(0, 0), (2, 7)]:
        for index in (0, 1):
            changed = [delta.clone() for delta in deltas]
            changed[index if name != "arcee_fusion" else 0][place] = bad
            assert not call(name, changed)[place].isfinite()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(30, 20), (600,), (4, 5, 30)])
def test_the_size_of_blocks_changes_nothing(
    name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.startswith("della") and len(shape) == 1:
        shape = (50,)  # a longer vector is ranked block by block
    deltas = randoms(3, *shape)
    settings = {"base": randoms(1, *shape, seed=9)[0]} if name == "arcee_fusion" else {}
    whole = call(name, deltas, **settings)
    monkeypatch.setattr("pipeline.merge.blocks.BLOCK_ELEMENTS", 50)
    torch.testing.assert_close(call(name, deltas, **settings), whole, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "arcee_fusion"])
def test_the_order_of_models_does_not_matter(name: str) -> None:
    deltas, weight, keys = randoms(4, 6, 10), [0.3, 0.9, 0.2, 0.7], [1, 2, 3, 4]

    def merged(order: list[int]) -> Tensor:
        more: dict[str, Any] = {}
        if name in WEIGHTED:
            more["weight"] = [weight[i] for i in order]
        if name.startswith("della"):
            more["keys"] = [keys[i] for i in order]
        return call(name, [deltas[i] for i in order], **more)

    torch.testing.assert_close(merged([0, 1, 2, 3]), merged([3, 1, 0, 2]))


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("normalize", [False, True])
def test_a_model_of_weight_zero_has_no_effect(name: str, normalize: bool) -> None:
    deltas = randoms(3, 4, 10)
    keys = [{"keys": keys} if name.startswith("della") else {} for keys in ([5, 6, 7], [5, 7])]
    full = call(name, deltas, weight=[0.5, 0.0, 0.8], normalize=normalize, **keys[0])
    without = call(name, deltas[::2], weight=[0.5, 0.8], normalize=normalize, **keys[1])
    torch.testing.assert_close(full, without, rtol=0, atol=0)


@pytest.mark.parametrize("name", WEIGHTED)
def test_lambda_scales_the_merged_delta(name: str) -> None:
    deltas = randoms(2, 5, 10)
    torch.testing.assert_close(call(name, deltas, lambda_=3.0), 3 * call(name, deltas))


@pytest.mark.parametrize("name", [*WEIGHTED, "sce"])
@pytest.mark.parametrize("factor", [2.0**-20, 2.0**9])
def test_deltas_of_another_size_merge_to_that_size(name: str, factor: float) -> None:
    deltas = randoms(3, 5, 10)
    scaled = call(name, [delta * factor for delta in deltas])
    torch.testing.assert_close(scaled, call(name, deltas) * factor, rtol=1e-6, atol=0)


def elected(rows: Sequence[Sequence[float]], weight: Sequence[float], votes: bool) -> list[float]:
    """Per entry, the weighted mean over those that agree in sign with the sum (of `votes`: unweighted)."""
    merged = []
    for column in zip(*rows, strict=True):
        weighted = [w * value for w, value in zip(weight, column, strict=True)]
        plus = sum(column if votes else weighted) >= 0
        agree = [i for i, value in enumerate(weighted) if (value > 0 if plus else value < 0)]
        merged.append(sum(weighted[i] for i in agree) / (sum(weight[i] for i in agree) or 1.0))
    return merged


def flat(delta: Tensor) -> list[float]:
    values: list[float] = delta.double().flatten().tolist()
    return values


def assert_follows(found: Tensor, reference: Sequence[float], rtol: float = 1e-5) -> None:
    expected = torch.tensor(reference, dtype=torch.float64).view(found.shape)
    torch.testing.assert_close(found.double(), expected, rtol=rtol, atol=1e-6)


# DELLA


def test_chances_go_from_density_minus_epsilon_to_density_plus_epsilon() -> None:
    assert keep_chances(5, 0.5, 0.4).tolist() == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert keep_chances(2, 0.4, 0.1).tolist() == pytest.approx([0.3, 0.5])
    assert keep_chances(1, 0.4, 0.1).tolist() == [0.4]


def della_reference(delta: Tensor, density: float, epsilon: float, key: int) -> list[float]:
    """MAGPRUNE for one tensor [rows, columns], entry by entry, with the draws of the key."""
    draws = (uniform(key, delta.numel()) / 2**32).tolist()
    pruned: list[float] = []
    for row in delta.double().tolist():
        n = len(row)
        order = sorted(range(n), key=lambda i: (abs(row[i]), i))
        for i, value in enumerate(row):
            p = density - epsilon + 2 * epsilon * order.index(i) / (n - 1)
            pruned.append(value / p if draws[len(pruned)] < p else 0.0)
    return pruned


def test_della_linear_follows_the_paper() -> None:
    deltas = randoms(2, 9, 14)
    pruned = [
        della_reference(delta, *settings)
        for delta, settings in zip(deltas, [(0.6, 0.3, 11), (0.3, 0.25, 12)], strict=True)
    ]
    merged = call(
        "della_linear",
        deltas,
        weight=[0.5, 0.8],
        density=[0.6, 0.3],
        epsilon=[0.3, 0.25],
        keys=[11, 12],
    )
    assert_follows(merged, [0.5 * a + 0.8 * b for a, b in zip(*pruned, strict=True)])


def test_della_follows_the_paper() -> None:
    deltas, weight = randoms(3, 9, 14), [0.5, 0.8, 0.3]
    pruned = [della_reference(delta, 0.6, 0.3, key) for key, delta in enumerate(deltas)]
    merged = call(
        "della", deltas, weight=weight, density=[0.6] * 3, epsilon=[0.3] * 3, normalize=True
    )
    assert_follows(merged, elected(pruned, weight, votes=False))


def test_equal_magnitudes_take_their_ranks_in_the_order_of_the_row() -> None:
    delta = torch.tensor([[1.0, -1, 1, 1, -1]]).repeat(40, 1)
    found = prune(delta.clone(), 0.5, 0.45, True, 3)
    assert_follows(found, della_reference(delta, 0.5, 0.45, 3))


def each_pruned(delta: Tensor, density: float, epsilon: float, rescale: bool) -> Tensor:
    """`delta` pruned by each of 4000 keys: [4000, rows, columns]."""
    return torch.stack(
        [prune(delta.clone(), density, epsilon, rescale, 977 * key) for key in range(4000)]
    )


def test_an_entry_is_kept_with_the_chance_of_its_rank_in_its_row() -> None:
    rows = torch.tensor([[30.0, -10, 20, 40], [-0.1, 0.2, -0.4, 0.3]])
    kept = (each_pruned(rows, 0.5, 0.3, rescale=False) != 0).double().mean(0)
    chances = torch.tensor([[0.6, 0.2, 0.4, 0.8], [0.2, 0.4, 0.8, 0.6]], dtype=torch.float64)
    assert ((kept - chances).abs() <= 4 * (chances * (1 - chances) / 4000).sqrt()).all()


def test_survivors_are_scaled_by_one_over_their_own_chance() -> None:
    rows = torch.tensor([[1.0, 2, 3, 4, 5]])
    found = each_pruned(rows, 0.5, 0.4, rescale=True)
    for i, p in enumerate([0.1, 0.3, 0.5, 0.7, 0.9]):
        values = found[:, 0, i].unique().tolist()
        assert values == [0.0, pytest.approx((i + 1) / p, rel=1e-6)]


def test_della_has_the_mean_and_the_variance_of_the_paper() -> None:
    """E = d, Var = d^2 (1 - p) / p; within 5 standard errors over 4000 keys."""
    (delta,) = randoms(1, 3, 8)
    found = each_pruned(delta, 0.5, 0.3, rescale=True).double()
    order = delta.abs().argsort(1).argsort(1)
    p = keep_chances(8, 0.5, 0.3)[order]
    expected = delta.double().square() * (1 - p) / p
    error = (found.mean(0) - delta) / (expected / 4000).sqrt()
    assert error.abs().max() < 5
    # The fourth moment of a scaled Bernoulli draw gives the error of its variance.
    kurtosis = (1 - 3 * p * (1 - p)) / (p * (1 - p))
    assert ((found.var(0) - expected) / (expected * ((kurtosis - 1) / 4000).sqrt())).abs().max() < 5


def test_a_vector_is_one_row() -> None:
    (delta,) = randoms(1, 12)
    row = prune(delta.clone().view(1, -1), 0.5, 0.4, True, 8)
    assert torch.equal(prune(delta.clone().view(-1, 1), 0.5, 0.4, True, 8), row.view(-1, 1))


def test_della_without_epsilon_is_dare() -> None:
    deltas = randoms(2, 6, 50)
    settings: dict[str, Any] = {"weight": [0.5, 0.8], "density": [0.25, 0.5], "keys": [11, 12]}
    for suffix, name in (("linear", "della_linear"), ("ties", "della")):
        dare = apply_method(
            f"dare_{suffix}", deltas, normalize=False, rescale=True, lambda_=1.0, **settings
        )
        assert torch.equal(call(name, deltas, epsilon=[0.0, 0.0], **settings), dare)


@pytest.mark.parametrize("name", ["della", "della_linear"])
def test_density_one_keeps_all_whatever_epsilon_is(name: str) -> None:
    (delta,) = randoms(1, 5, 10)
    assert torch.equal(call(name, [delta], density=[1.0], epsilon=[0.15]), delta)


@pytest.mark.parametrize("name", ["della", "della_linear"])
@pytest.mark.parametrize(
    ("density", "epsilon", "span"),
    [(0.9, 0.15, "0.75 to 1.05"), (0.1, 0.15, "-0.05 to 0.25"), (0.25, 0.25, "0 to 0.5")],
)
def test_chances_that_leave_the_open_interval_are_refused(
    name: str, density: float, epsilon: float, span: str
) -> None:
    with pytest.raises(ValueError, match=f"density {density:g} .* from {span}; both ends must be"):
        call(name, [t(1, 2)], density=[density], epsilon=[epsilon])


# Breadcrumbs


@pytest.mark.parametrize(
    ("density", "gamma", "kept"),
    [
        (0.5, 0.2, [3, 4, 5, 6, 7, 8][1:]),  # k = 5 follow the 2 largest of 10
        (0.5, 0.0, [6, 7, 8, 9, 10]),
        (0.5, 0.09, [6, 7, 8, 9, 10]),  # int(0.9) = 0 are outliers
        (0.9, 0.2, [1, 2, 3, 4, 5, 6, 7, 8, 9]),  # only 1 may be dropped
        (1.0, 0.3, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (0.39, 0.3, [5, 6, 7]),
        (0.09, 0.3, []),
    ],
)
@pytest.mark.parametrize("name", ["breadcrumbs", "breadcrumbs_ties"])
def test_breadcrumbs_keeps_k_entries_below_the_outliers(
    name: str, density: float, gamma: float, kept: list[int]
) -> None:
    delta = t(4, -9, 1, 10, -3, 7, 2, -8, 5, 6)
    found = call(name, [delta], density=[density], gamma=[gamma])
    assert found.tolist() == [x if abs(x) in kept else 0 for x in delta.tolist()]


def test_of_equal_magnitudes_the_lower_index_is_the_outlier() -> None:
    found = call("breadcrumbs", [t(1, -1, 1, 1)], density=[0.5], gamma=[0.25])
    assert found.tolist() == [0, -1, 1, 0]


@pytest.mark.parametrize("gamma", [0.0, 0.01])
def test_breadcrumbs_without_outliers_is_ties(gamma: float) -> None:
    """Under a hundred entries the default gamma drops none either."""
    deltas, weight = randoms(3, 9, 11), [0.3, 0.8, 0.5]
    settings: dict[str, Any] = {"weight": weight, "density": [0.3] * 3, "normalize": True}
    ties = apply_method("ties", deltas, rescale=False, lambda_=1.0, **settings)
    assert torch.equal(call("breadcrumbs_ties", deltas, gamma=[gamma] * 3, **settings), ties)


def breadcrumbs_reference(delta: Tensor, density: float, gamma: float) -> list[float]:
    values = flat(delta)
    n = len(values)
    order = sorted(range(n), key=lambda i: (-abs(values[i]), i))
    top = min(int(gamma * n), n - int(density * n))
    kept = set(order[top : top + int(density * n)])
    return [value if i in kept else 0.0 for i, value in enumerate(values)]


@pytest.mark.parametrize("shape", [(11, 13), (300, 301)])
def test_breadcrumbs_follows_the_paper(shape: tuple[int, int]) -> None:
    deltas, weight = randoms(3, *shape), [0.2, 0.6, 0.4]
    density, gamma = [0.8, 0.35, 0.5], [0.1, 0.05, 0.3]
    rows = [
        breadcrumbs_reference(*arguments) for arguments in zip(deltas, density, gamma, strict=True)
    ]
    settings: dict[str, Any] = {"weight": weight, "density": density, "gamma": gamma}
    summed = [
        sum(w * x for w, x in zip(weight, column, strict=True))
        for column in zip(*rows, strict=True)
    ]
    assert_follows(call("breadcrumbs", deltas, **settings), summed)
    normalized = call("breadcrumbs", deltas, normalize=True, **settings)
    assert_follows(normalized, [value / 1.2 for value in summed])
    merged = call("breadcrumbs_ties", deltas, normalize=True, **settings)
    assert_follows(merged, elected(rows, weight, votes=False))


# SCE


def test_sce_by_hand() -> None:
    deltas = [t(1, 2, 3, -4, 0, 1, 5, 1), t(2, -1, 1, -3, 1, 1, -5, -1)]
    # squares sum to 57 and 43; the signs elected are + + + - + + + +
    merged = call("sce", deltas, select_topk=1.0)
    assert merged.tolist() == pytest.approx([1.43, 2, 2.14, -3.57, 1, 1, 5, 1])


def test_sce_selects_a_share_of_the_entries_that_differ_then_weighs() -> None:
    deltas = [t(1, 2, 3, -4, 0, 1, 5, 1), t(2, -1, 1, -3, 1, 1, -5, -1)]
    # 7 entries differ; the int(4.9) = 4 that differ most are 1, 2, 6, 7, where squares sum to 39 and 28
    merged = call("sce", deltas, select_topk=0.7)
    assert merged.tolist() == pytest.approx([0, 2, (39 * 3 + 28) / 67, 0, 0, 0, 5, 1])


def test_sce_elects_signs_without_weights() -> None:
    # the weights are 102 and 3.44 to their sum, so the weighted sum of the first entry is below 0
    merged = call("sce", [t(-1, 10, 0, 1), t(1.2, 1, 0, -1)], select_topk=1.0)
    assert merged.tolist() == pytest.approx([1.2, (102 * 10 + 3.44) / 105.44, 0, 1])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_sce_of_equal_deltas_is_that_delta_and_selects_nothing_of_it(count: int) -> None:
    (delta,) = randoms(1, 6, 10)
    torch.testing.assert_close(call("sce", [delta] * count, select_topk=1.0), delta)
    assert not call("sce", [delta] * count, select_topk=0.9).any()


def test_a_zero_delta_has_no_weight() -> None:
    (delta,) = randoms(1, 6, 10)
    zero = torch.zeros_like(delta)
    assert torch.equal(call("sce", [zero, delta, zero], select_topk=1.0), delta)


def test_the_variance_of_equal_deltas_is_zero_and_else_that_of_the_population() -> None:
    deltas = randoms(3, 200)
    assert not variance([deltas[0]] * 3).any()
    expected = torch.stack(deltas).double().var(0, correction=0)
    torch.testing.assert_close(variance(deltas).double(), expected, rtol=1e-5, atol=1e-7)


def sce_reference(deltas: Sequence[Tensor], topk: float) -> list[float]:
    """Select, calculate, erase, in Python's float64."""
    rows = [flat(delta) for delta in deltas]
    if topk < 1:
        spread = []
        for column in zip(*rows, strict=True):
            mean = sum(column) / len(column)
            spread.append(sum((x - mean) ** 2 for x in column) / len(column))
        order = sorted(range(len(spread)), key=lambda i: (-spread[i], i))
        kept = set(order[: int(topk * sum(s > 0 for s in spread))])
        rows = [[x if i in kept else 0.0 for i, x in enumerate(row)] for row in rows]
    energy = [sum(x * x for x in row) for row in rows]
    return elected(rows, [e / (sum(energy) or 1) for e in energy], votes=True)


@pytest.mark.parametrize("topk", [1.0, 0.6, 0.1, 0.001])
@pytest.mark.parametrize("shape", [(11, 13), (300, 301)])
def test_sce_follows_the_paper(topk: float, shape: tuple[int, int]) -> None:
    deltas = randoms(3, *shape)
    deltas[1] *= 3
    assert_follows(call("sce", deltas, select_topk=topk), sce_reference(deltas, topk))


# RAM


def test_ram_by_hand() -> None:
    deltas = [t(0, 1, 1, -3, 0.5), t(0, 0, 2, -1, -0.5), t(0, 0, 0, 4, 0)]
    assert call("ram", deltas).tolist() == [0, 1, 1.5, 0, 0]


def test_a_change_of_epsilon_is_none() -> None:
    deltas = [t(0.25, 0.26, -0.25, -0.26, 8), t(0, 0, 0, 0.25, 4)]
    assert call("ram", deltas, epsilon=0.25).tolist() == pytest.approx([0, 0.26, 0, -0.26, 6])


@pytest.mark.parametrize("name", ["ram", "ramplus_tl"])
def test_ram_of_one_model_is_its_delta(name: str) -> None:
    (delta,) = randoms(1, 6, 10)
    assert torch.equal(call(name, [delta], epsilon=0.0), delta)


@pytest.mark.parametrize("name", ["ram", "ramplus_tl"])
def test_ram_of_equal_deltas_is_that_delta(name: str) -> None:
    (delta,) = randoms(1, 6, 10)
    torch.testing.assert_close(call(name, [delta] * 3, epsilon=0.0), delta)


def test_ram_of_deltas_without_overlap_is_their_sum() -> None:
    a, b = t(1, 0, 0, -2), t(0, 3, 0, 0)
    assert torch.equal(call("ram", [a, b]), a + b)
    assert torch.equal(call("ramplus_tl", [a, b]), a + b)


def test_ramplus_by_hand() -> None:
    deltas = [t(1, 1, 1, 1, 1, 1, 1, 0, 0, 0), t(3, 3, 0, 0, 0, 0, 0, 1, 1, 0)]
    # 2 entries shared; 5 and 2 alone: gains of 1 + r * 0.4 and 1 + r * 1
    merged = call("ramplus_tl", deltas, r=1.0, alpha=100.0)
    assert merged.tolist() == pytest.approx([2, 2, *[1.4] * 5, 2, 2, 0])
    bounded = call("ramplus_tl", deltas, r=0.5, alpha=0.6)
    assert bounded.tolist() == pytest.approx([2, 2, *[1.2] * 5, 1.3, 1.3, 0])


@pytest.mark.parametrize("settings", [{"r": 0.0}, {"alpha": 0.0}])
def test_ramplus_without_gain_is_ram(settings: dict[str, float]) -> None:
    deltas = sparse(3, 6, 10)
    torch.testing.assert_close(call("ramplus_tl", deltas, **settings), call("ram", deltas))


def sparse(count: int, *shape: int) -> list[Tensor]:
    """Deltas that are zero at two entries of three."""
    keep = randoms(count, *shape, seed=7)
    return [d * (k > 0.43) for d, k in zip(randoms(count, *shape), keep, strict=True)]


@pytest.mark.parametrize("gain", [False, True])
def test_ram_follows_its_formula(gain: bool) -> None:
    deltas, epsilon, r, alpha = sparse(3, 11, 13), 0.1, 0.7, 1.2
    deltas[0][4:] = 0
    rows = [[x if abs(x) > epsilon else 0.0 for x in flat(delta)] for delta in deltas]
    columns = list(zip(*rows, strict=True))
    counts = [sum(x != 0 for x in column) for column in columns]
    gains = []
    for row in rows:
        own = [c for x, c in zip(row, counts, strict=True) if x]
        alone = own.count(1)
        gains.append(1 + r * min((len(own) - alone) / alone, alpha) if gain else 1.0)
    assert len(set(gains)) == (3 if gain else 1)
    expected = [
        sum(g * x for g, x in zip(gains, column, strict=True)) if c == 1 else sum(column) / (c or 1)
        for column, c in zip(columns, counts, strict=True)
    ]
    more = {"r": r, "alpha": alpha} if gain else {}
    assert_follows(call("ramplus_tl" if gain else "ram", deltas, epsilon=epsilon, **more), expected)


# Arcee Fusion


def test_arcee_fusion_by_hand() -> None:
    # One row, so one divergence: quartiles at 2, 3 and 4 times it, the threshold at 3 + 1.5 * 2 = 6.
    assert not call("arcee_fusion", [t(1, 2, -3, 4, -5.9)[None]]).any()
    found = call("arcee_fusion", [t(1, 2, -3, 4, -6.1)[None]])
    assert torch.equal(found, t(0, 0, 0, 0, -6.1)[None])


def test_an_importance_equal_to_the_threshold_is_enough() -> None:
    delta = t(2, -2, -2, 2, 2)[None]
    assert torch.equal(call("arcee_fusion", [delta]), delta)


def test_shifting_a_whole_row_has_no_importance() -> None:
    """The softmax does not see it, however large the difference is."""
    delta = randoms(1, 5, 4)[0]
    delta[0] = 50.0
    found = call("arcee_fusion", [delta])
    assert not found[0].any()
    assert found.any()


def test_one_outlier_is_taken_and_the_rest_left() -> None:
    delta = randoms(1, 8, 8)[0] * 0.01
    delta[3, 3] = 5.0
    found = call("arcee_fusion", [delta])
    assert found[3, 3] == 5
    assert int(torch.count_nonzero(found)) < 20


def arcee_reference(base: Tensor, delta: Tensor) -> Tensor:
    """From the definitions, in float64."""
    rows = base.double().view(1, -1) if base.dim() < 2 else base.double()
    change = delta.double().view(rows.shape)
    before, after = rows.log_softmax(-1), (rows + change).log_softmax(-1)
    divergence = (after.exp() * (after - before)).sum(-1, keepdim=True)
    importance = (change.abs() * divergence).view(delta.shape)
    ordered = importance.flatten().sort().values
    low, middle, high = (float(ordered[int(q * (len(ordered) - 1))]) for q in (0.25, 0.5, 0.75))
    return torch.where(importance >= middle + 1.5 * (high - low), delta, 0.0)


@pytest.mark.parametrize("shape", [*[(n,) for n in range(2, 12)], (9, 30), (3, 5, 7), (300, 301)])
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_arcee_fusion_follows_its_formula(shape: tuple[int, ...], size: float) -> None:
    base, delta = randoms(2, *shape, seed=len(shape) + shape[0])
    delta *= size
    assert torch.equal(call("arcee_fusion", [delta], base=base), arcee_reference(base, delta))


def test_a_vector_longer_than_a_block_is_still_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    base, delta = randoms(2, 5000)
    monkeypatch.setattr("pipeline.merge.blocks.BLOCK_ELEMENTS", 512)
    assert torch.equal(call("arcee_fusion", [delta], base=base), arcee_reference(base, delta))

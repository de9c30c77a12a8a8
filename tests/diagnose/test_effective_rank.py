"""The effective rank: of singular values by hand, of LoRA factors exactly, of a matrix that passes once closely."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from small_models import diagnosed, plus, randoms, shapes, write_lora, write_model
from torch import Tensor

from pipeline.diagnose.spectrum import SKETCH, Rest, Sketch, effective_rank
from pipeline.merge.blocks import Grid

Q0 = "model.layers.0.self_attn.q_proj"
DOWN1 = "model.layers.1.mlp.down_proj"


def values(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def exact(matrix: Tensor) -> float:
    """From all singular values, by the definition."""
    share = torch.linalg.svdvals(matrix.double())
    share = share[share > 1e-12 * share[0]] / share.sum()
    return math.exp(-float((share * share.log()).sum()))


def sketched(matrix: Tensor, rows: int = 50) -> float | None:
    sketch = Sketch(Grid.of(matrix.shape))
    for part in matrix.split(rows):
        sketch.see(part)
    return sketch.rank()


def spectrum(count: int, law: Callable[[Tensor], Tensor]) -> Tensor:
    """A square matrix with the singular values law(1), law(2), ..."""
    generator = torch.Generator().manual_seed(5)
    u, v = (torch.linalg.qr(torch.randn(count, count, generator=generator)).Q for _ in range(2))
    return (u * law(torch.arange(1.0, count + 1))) @ v.T


def noise(rows: int, columns: int, seed: int = 1) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def test_equal_values_count_each_and_one_value_counts_one() -> None:
    assert effective_rank(values(2, 2, 2, 2)) == pytest.approx(4)
    assert effective_rank(values(7, 0, 0)) == pytest.approx(1)
    assert effective_rank(values(0, 0)) is None


def test_two_unequal_values_by_hand() -> None:
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(values(3, 1)) == pytest.approx(expected)


def test_equal_values_known_by_sums_count_as_if_they_were_listed() -> None:
    listed = effective_rank(values(5, 4, *[2] * 40))
    assert effective_rank(values(5, 4), Rest(40, 40 * 4.0, 40 * 16.0)) == pytest.approx(
        listed or 0, rel=1e-3
    )


def test_few_values_among_many_zeros_known_by_sums_count_as_few() -> None:
    found = effective_rank(values(), Rest(4000, 10 * 4.0, 10 * 16.0))
    assert found is not None
    assert 10 < found < 60  # of 4,000


@pytest.mark.parametrize("shape", [(200, 30), (30, 200), (40, 40), (1, 90), (300, SKETCH)])
def test_a_matrix_no_wider_or_no_higher_than_the_sketch_is_exact(shape: tuple[int, int]) -> None:
    matrix = noise(*shape)
    assert sketched(matrix) == pytest.approx(exact(matrix), rel=1e-6)


@pytest.mark.parametrize("rank", [1, 8, SKETCH])
def test_a_matrix_of_a_rank_within_the_sketch_is_exact(rank: int) -> None:
    matrix = noise(300, rank) @ noise(rank, 250, seed=2)
    assert sketched(matrix) == pytest.approx(exact(matrix.double()), rel=1e-3)


@pytest.mark.parametrize(
    "matrix",
    [
        noise(300, 300),
        noise(600, 200),
        noise(300, 6) @ noise(6, 300, seed=2) + 0.05 * noise(300, 300, seed=3),
        spectrum(300, lambda i: i**-0.5),
        spectrum(300, lambda i: 1 / i),
        spectrum(300, lambda i: i**-1.5),
        spectrum(300, lambda i: torch.exp(-i / 10)),
        spectrum(300, lambda i: torch.exp(-i / 60)),
    ],
    ids=["noise", "tall noise", "low rank and noise", "1/sqrt", "1/i", "i^-1.5", "e10", "e60"],
)
def test_a_sketch_comes_within_a_quarter_of_the_effective_rank(matrix: Tensor) -> None:
    assert sketched(matrix) == pytest.approx(exact(matrix), rel=0.25)


def test_a_sketch_does_not_depend_on_how_rows_arrive() -> None:
    matrix = noise(200, 100)
    assert sketched(matrix, 7) == pytest.approx(sketched(matrix, 200) or 0, rel=1e-9)


def test_a_difference_of_zero_has_no_effective_rank() -> None:
    assert sketched(torch.zeros(100, 100)) is None


@pytest.mark.usefixtures("here")
def test_a_lora_difference_is_exact_from_its_factors() -> None:
    write_model("base", randoms(0))
    deltas = write_lora("a", [Q0, DOWN1], seed=1)
    found = diagnosed(merge_method="task_arithmetic", base_model="base", models=["base+a"])
    ranks = {tensor.name: tensor.ranks[0] for tensor in found.tensors}
    expected = {name: exact(delta.double()) for name, delta in deltas.items()}
    assert ranks == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("settings", [{"use_dora": True}, {"modules_to_save": ["q_proj"]}])
def test_a_change_that_is_no_plain_product_is_measured_as_it_is(settings: dict[str, bool]) -> None:
    """DoRA rescales rows, a saved module is replaced: factors alone would tell another rank."""
    from safetensors.torch import load_file, save_file

    base = randoms(0)
    write_model("base", base)
    write_lora("a", [Q0], seed=1, **settings)
    stored = load_file("a/adapter_model.safetensors")
    extra = (
        {f"base_model.model.{Q0}.lora_magnitude_vector": base[f"{Q0}.weight"].norm(dim=1) * 1.3}
        if "use_dora" in settings
        else {f"base_model.model.{Q0}.base_layer.weight": base[f"{Q0}.weight"] * 1.1}
    )
    save_file({**stored, **extra}, "a/adapter_model.safetensors")
    found = diagnosed(merge_method="task_arithmetic", base_model="base", models=["base+a"])
    a, b = (stored[f"base_model.model.{Q0}.lora_{part}.weight"] for part in "AB")
    w = base[f"{Q0}.weight"]
    if "use_dora" in settings:
        moved = w + 2 * b @ a
        delta = extra[next(iter(extra))].view(-1, 1) * moved / moved.norm(dim=1, keepdim=True) - w
    else:
        delta = 1.1 * w + 2 * b @ a - w
    assert found.tensors[0].ranks[0] == pytest.approx(exact(delta), rel=1e-4)


@pytest.mark.usefixtures("here")
def test_vectors_have_no_effective_rank_and_matrices_have_one() -> None:
    base = randoms(0)
    write_model("base", base)
    write_model("x", plus(base, randoms(1, 0.01)))
    found = diagnosed(merge_method="task_arithmetic", base_model="base", models=["x"])
    for tensor in found.tensors:
        assert (tensor.ranks[0] is None) == (len(shapes()[tensor.name]) == 1)

"""The compiled loops give the bits of the torch code that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import recipe_of
from torch import Tensor

from pipeline.merge import engine, fused
from pipeline.merge.blocks import Block, Grid, Stored
from pipeline.merge.merge import merge
from pipeline.merge.methods import method_function
from pipeline.sources import open_source

SHAPES = [
    (700, 513),
    (3, 300_001),
    (1_000, 1),
]  # several blocks, rows longer than a block, one dimension
WEIGHTS = {"weight": [0.5, 0.3, 0.4]}
MIXED = {"weight": [0.5, -0.5, 0.4]}
RESTORED = {"rescale": True, "lambda_": 0.9, "keys": [1, 2**63 + 5, 3]}
FORMS = [
    ("linear", {**WEIGHTS, "normalize": True}),
    ("slerp", {"t": 0.3}),
    ("task_arithmetic", {**MIXED, "normalize": False, "lambda_": 0.7}),
    ("ties", {**WEIGHTS, "density": [0.5, 0.3, 1.0], "normalize": True, "rescale": False, "lambda_": 0.9}),
    ("ties", {**MIXED, "density": [0.5, 0.3, 1.0], "normalize": True, "rescale": True, "lambda_": 1.0}),
    ("ties", {**WEIGHTS, "density": [0.5, 0.3, 1e-7], "normalize": False, "rescale": False, "lambda_": 1.0}),
    ("dare_ties", {**WEIGHTS, "density": [0.5, 0.3, 1.0], **RESTORED, "normalize": True}),
    ("dare_linear", {**MIXED, "density": [0.5, 0.3, 0.9], **RESTORED, "normalize": False}),
    ("breadcrumbs", {**WEIGHTS, "density": [0.5, 0.3, 0.9], "gamma": [0.01] * 3, "normalize": False, "lambda_": 0.9}),
]  # fmt: skip


class Stacked:
    """Operands in memory as they are stored, for the loops or for torch."""

    def __init__(self, tensors: list[Tensor], base: Tensor | None, loops: bool) -> None:
        self.tensors, self.base, self.loops = tensors, base, loops
        self.grid, self.count = Grid.of(tensors[0].shape), len(tensors)

    def blocks(self, spans: Iterable[range] | None = None) -> Iterator[Block]:
        for span in self.grid.spans() if spans is None else spans:
            rows = slice(span.start, span.stop)
            base = None if self.base is None else self.base[rows]
            stored = Stored([t[rows] for t in self.tensors], base, minus=base is not None)
            yield Block(span, stored, fused=self.loops)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "settings"), FORMS)
def test_both_ways_give_the_same_bits(
    name: str, settings: dict[str, Any], shape: tuple[int, int], dtype: torch.dtype
) -> None:
    tensors, base = _family(shape, dtype)
    if name == "slerp":
        tensors = tensors[:2]
    differences = name not in ("linear", "slerp")
    found = []
    for loops in (False, True):
        operands = Stacked(tensors, base if differences else None, loops)
        apply = method_function(name)(operands, **settings)
        found.append([apply(block).clone() for block in operands.blocks()])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


@pytest.mark.parametrize("into", [torch.bfloat16, torch.float32])
def test_the_last_step_adds_the_base_and_rounds_once_to_even(into: torch.dtype) -> None:
    (result, *_), base = _family((300, 400), torch.float32)
    halfway = torch.tensor([1.00390625, 1.01171875])  # between two bfloat16: one goes down, one up
    result[0, :2], base[0, :2] = halfway, 0.0
    rounded = torch.empty(result.shape, dtype=into)
    assert fused.finish(result, base, rounded)
    assert torch.equal(rounded, (result + base).to(into))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3.4e38])
def test_what_does_not_fit_is_seen(bad: float) -> None:
    result = torch.zeros(5_000)
    result[4_999] = bad
    assert not fused.finish(result, None, torch.empty(5_000, dtype=torch.bfloat16))


@pytest.mark.parametrize("name", ["ties", "dare_ties"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_never_vanishes(name: str, bad: float) -> None:
    settings = next(settings for form, settings in FORMS if form == name)
    (first, *others), base = _family((100, 50), torch.float32)
    first[7, 7] = bad
    operands = Stacked([first, *others], base, True)
    settings = {**settings, "density": [1e-9 if name == "ties" else 0.001, 0.3, 0.3]}
    apply = method_function(name)(operands, **settings)
    assert not all(bool(apply(block).isfinite().all()) for block in operands.blocks())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float16])
@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties", "slerp"])
@pytest.mark.parametrize("adapters", [False, True])
def test_a_merge_has_the_same_bytes_either_way(
    method: str,
    dtype: torch.dtype,
    adapters: bool,
    model: Callable[..., Any],
    lora: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed, name in enumerate(("base", "one", "two")):
        model(name, seed, dtype=dtype)
    lora("tuned", {"model.layers.0.self_attn.q_proj": (16, 16)}, seed=5)
    names = ["base" if method == "slerp" else "one", "base+tuned" if adapters else "two"]
    settings: dict[str, Any] = {
        "linear": {"parameters": {"weight": 0.5}},
        "slerp": {"base_model": "base", "parameters": {"t": 0.4}},
    }.get(method, {"base_model": "base", "parameters": {"weight": 0.5, "density": 0.6}})
    recipe = recipe_of(merge_method=method, models=[{"model": n} for n in names], **settings)
    sources = {reference: open_source(reference) for reference in recipe.references()}
    monkeypatch.setattr(engine, "_Loops", ReadyLoops)
    outputs = []
    for limit in (0, 1 << 60):
        monkeypatch.setattr(fused, "WORTH_ELEMENTS", limit)
        out = tmp_path / f"out-{limit}"
        merge(recipe, sources, out)
        outputs.append((out / "model.safetensors").read_bytes())
    assert outputs[0] == outputs[1]


class ReadyLoops:
    """Loops that need no preparation, so that every tensor is made by them."""

    ready = True

    def __init__(self, _plan: object) -> None:
        pass

    def close(self) -> None:
        pass


def test_small_merges_and_machines_without_numba_do_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not fused.worth_it(fused.WORTH_ELEMENTS - 1, "ties")
    assert fused.worth_it(fused.WORTH_ELEMENTS, "ties")
    assert fused.worth_it(fused.WORTH_ELEMENTS, "dare_linear")
    assert not fused.worth_it(fused.WORTH_ELEMENTS, "slerp")
    assert fused.worth_it(32 * fused.WORTH_ELEMENTS, "slerp")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not fused.worth_it(fused.WORTH_ELEMENTS, "ties")


def _family(shape: tuple[int, int], dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(shape, generator=generator).mul_(0.02).to(dtype)
    tensors = [
        (base.float() + torch.randn(shape, generator=generator).mul_(0.002)).to(dtype)
        for _ in range(3)
    ]
    tensors[0][0] = base[0]  # unchanged entries, and zeros
    base[-1] = 0
    return tensors, base


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_loops_can_be_made_ready_for_every_kind_of_merge(
    dtype: torch.dtype, made: bool
) -> None:
    fused.prepare(2, dtype, made, dtype)

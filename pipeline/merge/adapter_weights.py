"""The weights of a merge as an adapter: the best factors of each change, and how much of it they keep."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.merge.adapter_targets import Kind, Targets
from pipeline.merge.blocks import Grid
from pipeline.merge.draws import draw_key
from pipeline.merge.engine import Progress, one_torch_thread
from pipeline.merge.low_rank import Rows, of_products, of_rows, relative_error
from pipeline.merge.methods import method_function
from pipeline.merge.methods.task_arithmetic import sum_factors
from pipeline.merge.operands import StepOperands
from pipeline.merge.plan import FLOATS, Plan, Step
from pipeline.merge.reading import Reader, Scratch
from pipeline.merge.safetensors_writer import ShardWriter, TensorSpec, lay_out
from pipeline.merge.stream import compute
from pipeline.sources.adapter import WEIGHTS, Adapter, AdapterModule

_PREFIX = "base_model.model."
_ONE_SHARD = 1 << 62  # bytes
_DIGITS = 6  # of the figures in a report


@dataclass(frozen=True)
class Approximation:
    """How well the change of one tensor is kept.

    `rank` is what it takes of the adapter's rank. `error` is norm(merged - kept) / norm(merged) of the differences
    from the base, Frobenius, with the factors as they are stored; `energy` is the share of the squared norm that
    is kept, 1 - error^2. `exact` says that the factors come from those of the sources' adapters, with no sketch
    between.
    """

    tensor: str
    shape: tuple[int, ...]
    rank: int
    error: float
    energy: float
    exact: bool


@dataclass(frozen=True)
class _Term:
    """One source's low-rank change of a tensor, and its factor in the sum."""

    factor: float
    adapter: Adapter
    module: AdapterModule

    def product(self) -> tuple[Tensor, Tensor]:
        """(L, R), float64: L @ R is the change as the tensor is stored. See pipeline.merge.changes.LowRank."""
        a, b = (self.adapter.read(name).double() for name in (self.module.a, self.module.b))
        turned = self.module.kind == "embedding" or self.adapter.fan_in_fan_out
        left, right = (a.T, b.T) if turned else (b, a)
        return left * (self.factor * self.module.scaling), right


class AdapterWeights:
    """adapter_model.safetensors of a merge: laid out when it is made, computed by `write`.

    All modules have the rank `rank`: what was asked for, or less where no tensor can need as much. A tensor that
    needs less is filled up with zeros.
    """

    def __init__(self, plan: Plan, targets: Targets, rank: int, seed: int) -> None:
        self._plan, self._targets, self._seed = plan, targets, seed
        self._terms = {path: _terms(plan, step) for path, (step, _) in targets.low_rank.items()}
        self.rank = min(rank, max(self._greatest_rank(path) for path in targets.low_rank))
        dtype = plan.recipe.out_dtype or "float32"
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._stored_as = next(key for key, name in FLOATS.items() if name == dtype)
        self.specs = tuple(self._specs())
        # What is computed, for progress: tensors as the merge would write them.
        self._steps = [step for step, _ in targets.low_rank.values()]
        self._steps += [step for parts in targets.whole.values() for step in parts.values()]

    def write(
        self, folder: Path, threads: int | None = None, progress: Progress | None = None
    ) -> tuple[Approximation, ...]:
        """Write the file into `folder`, `threads` tensors at a time. Raises InputError where a change is not finite."""
        shard = replace(lay_out(self.specs, _ONE_SHARD)[0], file=WEIGHTS)
        with (
            one_torch_thread(),
            Reader() as reader,
            ShardWriter(folder, (shard,)) as writer,
            ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool,
        ):
            done = self._counter(progress)
            work: list[Callable[[], Approximation | None]] = [
                partial(self._low_rank, path, reader, writer, done)
                for path in self._targets.low_rank
            ]
            work += [
                partial(self._whole, path, reader, writer, done) for path in self._targets.whole
            ]
            found = list(pool.map(lambda task: task(), work))
        return tuple(approximation for approximation in found if approximation)

    @torch.inference_mode()
    def _low_rank(
        self, path: str, reader: Reader, writer: ShardWriter, done: Callable[[Step], None]
    ) -> Approximation:
        step, kind = self._targets.low_rank[path]
        rows, terms = _merged(self._plan, step, self._seed, reader), self._terms[path]
        if terms is None:
            key = draw_key(self._seed, "sketch", step.name)
            factors = of_rows(rows, Grid.of(step.shape), self.rank, key)
        else:
            _check_finite(step, *(tensor for term in terms for tensor in term.product()))
            factors = of_products([term.product() for term in terms], self.rank)
        left, right = factors.padded(self.rank, self._dtype)
        error = relative_error(rows, left, right)
        _check_finite(step, left, right)
        a, b = (right, left) if kind == "linear" else (left.T, right.T)
        for name, factor in zip(_names(path, kind), (a, b), strict=True):
            writer.write(name, 0, factor.contiguous())
        done(step)
        return Approximation(
            step.name,
            step.shape,
            factors.rank,
            error=_rounded(error),
            energy=_rounded(max(0.0, 1 - error**2)),
            exact=terms is not None,
        )

    def _whole(
        self, path: str, reader: Reader, writer: ShardWriter, done: Callable[[Step], None]
    ) -> None:
        for part, step in self._targets.whole[path].items():
            sink = partial(writer.write, f"{_PREFIX}{path}.{part}")
            with torch.inference_mode():
                compute(self._plan, step, self._seed, reader, Scratch(), sink, "cpu")
            done(step)

    def _specs(self) -> Iterator[TensorSpec]:
        for path, (step, kind) in self._targets.low_rank.items():
            rows, columns = step.shape
            out, into = (rows, columns) if kind == "linear" else (columns, rows)
            a, b = _names(path, kind)
            yield TensorSpec(a, self._stored_as, (self.rank, into))
            yield TensorSpec(b, self._stored_as, (out, self.rank))
        for path, parts in self._targets.whole.items():
            for part, step in parts.items():
                yield TensorSpec(f"{_PREFIX}{path}.{part}", step.dtype, step.shape)

    def _greatest_rank(self, path: str) -> int:
        """The rank that the change of a tensor can have at most."""
        terms, shape = self._terms[path], self._targets.low_rank[path][0].shape
        return min(*shape, *([] if terms is None else [sum(term.module.rank for term in terms)]))

    def _counter(self, progress: Progress | None) -> Callable[[Step], None]:
        total, lock, sizes = sum(step.spec.nbytes for step in self._steps), threading.Lock(), [0]

        def done(step: Step) -> None:
            with lock:
                sizes[0] += step.spec.nbytes
                if progress:
                    progress(sizes[0], total)

        return done


def _names(path: str, kind: Kind) -> tuple[str, str]:
    """The names of A and B as PEFT writes them."""
    if kind == "embedding":
        return f"{_PREFIX}{path}.lora_embedding_A", f"{_PREFIX}{path}.lora_embedding_B"
    return f"{_PREFIX}{path}.lora_A.weight", f"{_PREFIX}{path}.lora_B.weight"


def _terms(plan: Plan, step: Step) -> list[_Term] | None:
    """The low-rank changes whose sum the merged one is; None where it is anything else."""
    if plan.recipe.merge_method != "task_arithmetic" or step.base is None:
        return None
    found = []
    for operand, factor in zip(step.operands, sum_factors(**step.settings), strict=True):
        weights, adapter = operand.weights, operand.weights.adapter
        if operand.name != step.base.name or not weights.same_model(step.base.weights):
            return None
        if not operand.adapted:
            continue
        if adapter is None:  # several
            return None
        module = adapter.modules.get(operand.name.removesuffix(".weight"))
        if module is None or module.magnitude or operand.name in adapter.replaced:
            return None
        found.append(_Term(factor, adapter, module))
    return found


def _merged(plan: Plan, step: Step, seed: int, reader: Reader) -> Rows:
    """The merged difference of a tensor from the base, to be read as often as needed."""
    operands = StepOperands(plan, step, reader, Scratch())
    settings = dict(step.settings)
    if plan.recipe.method.random:
        names = [str(operand.weights.reference) for operand in step.operands]
        settings["keys"] = [draw_key(seed, name, step.name) for name in names]
    apply = method_function(plan.recipe.merge_method)(operands, **settings)

    def rows() -> Iterator[tuple[range, Tensor]]:
        for block in operands.blocks():
            values = apply(block)
            _check_finite(step, values)
            yield block.span, values

    return rows


def _rounded(figure: float) -> float:
    return float(f"{figure:.{_DIGITS}g}")


def _check_finite(step: Step, *tensors: Tensor) -> None:
    for tensor in tensors:
        if tensor.numel() and not all(math.isfinite(float(x)) for x in torch.aminmax(tensor)):
            raise InputError(
                f"{step.name}: the merged change has infinite or undefined values. "
                "Either a source has them (`mergegate check` names it), or factors exceed the range of "
                "out_dtype: set out_dtype: bfloat16 or float32, or lower weight and lambda."
            )

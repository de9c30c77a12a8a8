"""The pass over the differences: every tensor that a source changes is read once, several at a time."""

from __future__ import annotations

import os
import statistics
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import numpy as np
import torch

from pipeline.diagnose.differences import as_differences
from pipeline.diagnose.figures import Floats, TensorFigures
from pipeline.diagnose.measure import measure
from pipeline.diagnose.naming import labels_of, place_of, source_names
from pipeline.diagnose.report import Diagnosis
from pipeline.diagnose.spectrum import Sketch, effective_rank, known_values
from pipeline.errors import InputError
from pipeline.merge import plan_merge
from pipeline.merge.engine import Progress, one_torch_thread
from pipeline.merge.operands import StepOperands
from pipeline.merge.plan import Operand, Plan, Step
from pipeline.merge.reading import Reader, Scratch
from pipeline.recipe import Recipe
from pipeline.sources import Reference, Source


def diagnose(
    recipe: Recipe,
    sources: Mapping[Reference, Source],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """What the differences of `recipe` look like, whatever its method; nothing is merged or written.

    `sources` are all that `recipe.references()` names. `threads` (default: one per core) tensors are read
    at a time; the figures do not depend on it. `progress` gets (bytes done, all) from any thread. Raises
    InputError with every fault of recipe against sources, and where a tensor holds infinities or NaN.
    """
    differences = as_differences(recipe, sources)
    plan = plan_merge(differences.recipe, differences.sources)
    steps = [step for step in plan.steps if not _untouched(step)]
    names = source_names(differences.recipe)
    with one_torch_thread(), Reader() as reader:
        work = _Work(plan, reader, names, progress, sum(step.spec.nbytes for step in steps))
        found = work.all(steps, threads or os.cpu_count() or 1)
    changed = tuple(figures for figures in found if figures.sums.mass.any())
    bases = dict.fromkeys(str(step.base.weights.reference) for step in plan.steps if step.base)
    return Diagnosis(
        where=recipe.where,
        recipe_digest=recipe.digest,
        recipe_method=recipe.merge_method,
        base=" and ".join(bases),
        base_known=differences.base_known,
        sources=names,
        tensors=changed,
        unchanged=len(plan.steps) - len(changed),
        alike=tuple(_median(t.alike[i] for t in found) for i in range(len(names))),
    )


class _Work:
    def __init__(
        self,
        plan: Plan,
        reader: Reader,
        names: Sequence[str],
        progress: Progress | None,
        size: int,
    ) -> None:
        self._plan, self._reader, self._names = plan, reader, names
        self._progress, self._done, self._all = progress, 0, size
        self._local, self._lock, self._stop = threading.local(), threading.Lock(), threading.Event()

    def all(self, steps: Sequence[Step], threads: int) -> list[TensorFigures]:
        """The figures of every step, in order, `threads` at a time. The first error stops the others."""
        with ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(self._one, step) for step in steps]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
                for future in futures:
                    if future.done():
                        future.result()
            finally:
                self._stop.set()
        return [figures for future in futures if (figures := future.result())]

    def _one(self, step: Step) -> TensorFigures | None:
        if self._stop.is_set():
            return None
        scratch = self._local.__dict__.setdefault("scratch", Scratch())
        with torch.inference_mode():
            figures = self._figures(step, StepOperands(self._plan, step, self._reader, scratch))
        with self._lock:
            self._done += step.spec.nbytes
            if self._progress:
                self._progress(self._done, self._all)
        return figures

    def _figures(self, step: Step, operands: StepOperands) -> TensorFigures:
        known = [known_values(step, operand) for operand in step.operands]
        sketches = [
            Sketch(operands.grid) if values is None and _has_spectrum(step, operand) else None
            for values, operand in zip(known, step.operands, strict=True)
        ]
        measured = measure(operands, sketches)
        _check_finite(step, measured.gram)
        places = [
            self._names.index(label)
            for label in labels_of(o.weights.reference for o in step.operands)
        ]
        ranks: list[float | None] = [None] * len(self._names)
        alike: list[float | None] = [None] * len(self._names)
        for index, place in enumerate(places):
            values, sketch = known[index], sketches[index]
            if values is not None:
                ranks[place] = effective_rank(values)
            elif sketch:
                ranks[place] = sketch.rank()
            if len(step.shape) > 1:
                alike[place] = _alike(measured.gram, index + 1)
        layer, kind = place_of(self._plan, step)
        sums = measured.sums.spread(places, len(self._names))
        return TensorFigures(step.name, step.shape, layer, kind, sums, tuple(ranks), tuple(alike))


def _untouched(step: Step) -> bool:
    """Whether every source has the base's own bytes here, so that there is nothing to read."""
    base = step.base
    return base is None or (
        not step.rows and all(base.same_bytes(operand) for operand in step.operands)
    )


def _has_spectrum(step: Step, operand: Operand) -> bool:
    """Whether the difference is a matrix, and may be other than 0."""
    assert step.base
    same = not step.rows and step.base.same_bytes(operand)
    return len(step.shape) == 2 and min(step.shape) > 1 and not same


def _alike(gram: Floats, source: int) -> float | None:
    """The cosine of base and base plus difference, from their inner products."""
    own = gram[0, 0] + 2 * gram[0, source] + gram[source, source]
    norms = np.sqrt(gram[0, 0] * max(own, 0.0))
    return float((gram[0, 0] + gram[0, source]) / norms) if norms > 0 else None


def _median(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _check_finite(step: Step, gram: Floats) -> None:
    assert step.base
    everyone = (step.base, *step.operands)
    for operand, square in zip(everyone, np.diagonal(gram), strict=True):
        if not np.isfinite(square):
            raise InputError(
                f"{step.name}: {operand.weights.reference} has infinite, undefined or absurdly large "
                "values, of which no figure can be taken. `mergegate check` names what is not finite."
            )

"""What a merge would cost, said before it starts: from headers, and from timing the method on one block of noise."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from pipeline.merge import fused
from pipeline.merge.blocks import BLOCK_ELEMENTS, Grid
from pipeline.merge.draws import draw_key
from pipeline.merge.methods import apply_method
from pipeline.merge.operands import MADE_BYTES, made_bytes
from pipeline.merge.plan import Operand, Plan, Step

# Interpreter, torch and its libraries, resident before the first tensor is read. Measured, Linux x86-64, torch 2.13.
_RESIDENT_BYTES = 420_000_000
# Buffers of a block besides those of its operands: base, result, output, and what an operation makes on its way.
_BUFFERS = 5
_TIMED_RUNS = 3
# How much faster the compiled loops are than torch on a block, and for which methods. Measured on a 2-core AMD EPYC.
_LOOPS_GAIN = 4
_LOOPED = frozenset(["linear", "task_arithmetic", "ties", "dare_ties", "dare_linear"])
# Bytes per second and thread from and into the page cache, and the seconds of start-up. Measured there too.
_READ_RATE, _WRITE_RATE, _START_UP = 4e9, 8e8, 3.0
# Memory for changes that are kept is taken anew where a larger tensor comes, and selecting from them needs some more.
_KEPT_SHARE = 1.5


@dataclass(frozen=True)
class Estimate:
    """Figures in bytes, elements and seconds. `read_bytes` counts every pass over an operand.

    `seconds` is for the whole command on `threads` cores, with the sources in the page cache; where they are not,
    reading them from the disk comes on top.
    """

    method: str
    threads: int
    tensors: int
    copied: int
    parameters: int
    passes: int
    read_bytes: int
    written_bytes: int
    memory_bytes: int
    seconds: float


def estimate(plan: Plan, threads: int | None = None) -> Estimate:
    """What `merge` of this plan would cost. Reads no weights."""
    workers = threads or os.cpu_count() or 1
    passes = plan.recipe.method.passes
    computed = [step for step in plan.steps if not step.copied]
    elements = sum(step.spec.elements for step in computed)
    read_bytes = sum(_read_bytes(step, 1 if step.copied else passes) for step in plan.steps)
    written_bytes = sum(step.spec.nbytes for step in plan.steps)
    arithmetic = _seconds_per_element(plan, computed) * elements
    method = plan.recipe.merge_method
    if method in _LOOPED and fused.worth_it(elements, method):
        arithmetic /= _LOOPS_GAIN
    moving = read_bytes / _READ_RATE + written_bytes / _WRITE_RATE
    return Estimate(
        method=plan.recipe.merge_method,
        threads=workers,
        tensors=len(plan.steps),
        copied=len(plan.steps) - len(computed),
        parameters=sum(step.spec.elements for step in plan.steps),
        passes=passes,
        read_bytes=read_bytes,
        written_bytes=written_bytes,
        memory_bytes=_RESIDENT_BYTES
        + workers * max((_worker_bytes(s, passes) for s in computed), default=0),
        seconds=_START_UP + (arithmetic + moving) / workers,
    )


def _read_bytes(step: Step, passes: int) -> int:
    """Each stored tensor that the step reads, once per pass; adapters over the base read it once."""
    everyone: Iterable[Operand] = (*step.operands, *([step.base] if step.base else []))
    stored = {(o.weights.model.folder, o.name): o.weights.tensors[o.name] for o in everyone}
    return passes * sum(info.end - info.start for info in stored.values())


def _worker_bytes(step: Step, passes: int) -> int:
    """The memory of one worker at this step: float32 blocks, an adapter's factors, the changes that it keeps."""
    block = max(BLOCK_ELEMENTS, Grid.of(step.shape).columns)
    factors = sum(o.weights.change_bytes(o.name) for o in step.operands)
    made = made_bytes(step)
    kept = made if passes > 1 and made <= MADE_BYTES else 0
    return 4 * block * (2 * len(step.operands) + _BUFFERS) + factors + int(_KEPT_SHARE * kept)


def _seconds_per_element(plan: Plan, computed: list[Step]) -> float:
    """The time of the method on one block of noise, with the settings of the largest tensor, by its elements."""
    if not computed:
        return 0.0
    step = max(computed, key=lambda step: step.spec.elements)
    generator = torch.Generator().manual_seed(0)
    shape = (BLOCK_ELEMENTS // 1024, 1024)
    noise = [torch.randn(shape, generator=generator) for _ in step.operands]
    base = torch.randn(shape, generator=generator) if step.base else None
    settings = dict(step.settings)
    if plan.recipe.method.random:
        settings["keys"] = [draw_key(0, str(n), "") for n in range(len(noise))]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = []
        for _ in range(_TIMED_RUNS):
            begun = time.perf_counter()
            apply_method(plan.recipe.merge_method, noise, base=base, **settings)
            times.append(time.perf_counter() - begun)
    finally:
        torch.set_num_threads(threads)
    return min(times) / BLOCK_ELEMENTS

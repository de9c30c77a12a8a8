"""The workers of a merge: they read, compute and write tensors side by side; one thread hashes what is written."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import EnvironmentFault
from pipeline.merge import fused
from pipeline.merge.journal import Hasher, Journal
from pipeline.merge.operands import made_bytes
from pipeline.merge.plan import FLOATS, Plan, Step
from pipeline.merge.reading import Reader, Scratch
from pipeline.merge.safetensors_writer import Shard, ShardWriter
from pipeline.merge.stream import check_stored, compute

Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True)
class Run:
    """How a merge runs. `threads`: tensors worked on at the same time; None stands for one per core."""

    seed: int
    threads: int | None = None
    device: str = "cpu"


def run(
    plan: Plan,
    shards: Sequence[Shard],
    folder: Path,
    journal: Journal,
    how: Run,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Write every shard of `plan` into `folder`; the SHA-256 (hex) of each by file.

    Tensors that the journal vouches for are not computed again. The first error of a worker stops the
    others and is raised.
    """
    with one_torch_thread(), Reader() as reader, ShardWriter(folder, shards) as writer:
        hasher = Hasher(shards, writer, journal)
        work = _Work(plan, how, reader, writer, hasher, progress)
        with ThreadPoolExecutor(max_workers=1) as one:
            hashed = one.submit(hasher.run)
            try:
                work.all(_in_order(plan, shards))
            finally:
                hasher.stop()
            return hashed.result()


def check_device(device: str) -> None:
    """Raise EnvironmentFault where torch has no such device here."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        words = str(error).splitlines()[0]
        raise EnvironmentFault(
            f"device {device!r}: torch cannot use it here ({words}). Use cpu, or cuda where there is a GPU."
        ) from None


class _Loops:
    """The compiled loops, made ready beside the first tensors, which torch computes: the bits are the same."""

    def __init__(self, plan: Plan) -> None:
        self.ready = False
        self._thread = threading.Thread(target=self._prepare, args=(plan,))
        self._thread.start()

    def _prepare(self, plan: Plan) -> None:
        largest = max(plan.steps, key=lambda step: 0 if step.copied else step.spec.elements)
        info = largest.operands[0].weights.tensors[largest.operands[0].name]
        names = plan.recipe.dtype or FLOATS[info.dtype], FLOATS[largest.dtype]
        types = [getattr(torch, name) for name in names]
        # Whatever is wrong with them, torch does the same work.
        with suppress(Exception):
            if fused.readable(*types):
                fused.prepare(len(largest.operands), types[0], made_bytes(largest) > 0, types[1])
                self.ready = True

    def close(self) -> None:
        """Wait for the thread: a process must not end while code is being compiled in it."""
        self._thread.join()


class _Work:
    def __init__(
        self,
        plan: Plan,
        how: Run,
        reader: Reader,
        writer: ShardWriter,
        hasher: Hasher,
        progress: Progress | None,
    ) -> None:
        self._plan, self._how, self._reader, self._writer = plan, how, reader, writer
        self._hasher, self._progress = hasher, progress
        self._local, self._lock, self._stop = threading.local(), threading.Lock(), threading.Event()
        self._done, self._all = 0, sum(step.spec.nbytes for step in plan.steps)
        computed = sum(step.spec.elements for step in plan.steps if not step.copied)
        looped = how.device == "cpu" and fused.worth_it(computed, plan.recipe.merge_method)
        self._loops = _Loops(plan) if looped else None

    def all(self, steps: Sequence[Step]) -> None:
        """Every step, `threads` at a time."""
        with ThreadPoolExecutor(self._how.threads or os.cpu_count() or 1) as pool:
            futures = [pool.submit(self._one, step) for step in steps]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
                for future in filter(Future.done, futures):
                    future.result()
            finally:
                self._stop.set()
                if self._loops:
                    self._loops.close()

    def _one(self, step: Step) -> None:
        if self._stop.is_set():
            return
        if not self._hasher.done(step.name):
            if step.copied:
                self._copy(step)
            else:
                self._compute(step)
            self._hasher.written(step.name)
        with self._lock:
            self._done += step.spec.nbytes
            if self._progress:
                self._progress(self._done, self._all)

    def _copy(self, step: Step) -> None:
        """The bytes of the first operand are the result; only that they are numbers is looked at."""
        info = step.template.weights.tensors[step.template.name]
        source = self._reader.descriptor(info.file)
        self._writer.copy(step.name, source, info.start, info.end - info.start)
        if info.dtype in FLOATS:
            check_stored(step, info, self._reader, self._scratch)

    @property
    def _scratch(self) -> Scratch:
        """That of the thread."""
        scratch: Scratch = self._local.__dict__.setdefault("scratch", Scratch())
        return scratch

    def _compute(self, step: Step) -> None:
        def sink(first: int, values: Tensor) -> None:
            self._writer.write(step.name, first, values)

        how = self._how
        with torch.inference_mode():
            compute(
                self._plan,
                step,
                how.seed,
                self._reader,
                self._scratch,
                sink,
                how.device,
                self._loops is not None and self._loops.ready,
            )


def _in_order(plan: Plan, shards: Sequence[Shard]) -> list[Step]:
    """The steps in the order of their places in the files, so that hashing follows close behind."""
    steps = {step.name: step for step in plan.steps}
    return [
        steps[name]
        for shard in shards
        for name in sorted(shard.starts, key=lambda n: shard.starts[n])
    ]


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """One thread within each operation: torch's sums depend on how it shares out the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The merge as a whole: plan, stream every tensor into its place, put the folder under its name."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import EnvironmentFault, InputError
from pipeline.facts import write_json
from pipeline.folders import FolderKind, check_replaceable, whole_folder
from pipeline.merge.chat_templates import resolve_chat_template
from pipeline.merge.plan import Plan, Step
from pipeline.merge.planner import make_plan
from pipeline.merge.safetensors_writer import Shard, ShardWriter, lay_out
from pipeline.merge.side_files import write_side_files
from pipeline.merge.stream import compute
from pipeline.merge.vocabulary import make_vocabulary
from pipeline.merge.weights import Weights
from pipeline.recipe.types import Recipe
from pipeline.sources.pin import pin
from pipeline.sources.reference import Reference
from pipeline.sources.source import Source

Progress = Callable[[int, int], None]
SHARD_BYTES = 5_000_000_000
RECORD = "merge.json"
MERGE = FolderKind("a merge", RECORD, lambda folder: (folder / RECORD).is_file())
# Tokenizer and configuration, besides the weights.
_SIDE_BYTES = 64_000_000


@dataclass(frozen=True)
class MergeReport:
    """What a merge made. `copied` counts tensors that no source changes, taken byte for byte."""

    out: Path
    merge_method: str
    recipe_digest: str
    seed: int
    tensors: int
    copied: int
    parameters: int
    weight_bytes: int
    shards: tuple[str, ...]


def merge(
    recipe: Recipe,
    sources: Mapping[Reference, Source],
    out: Path,
    *,
    seed: int = 0,
    threads: int = 1,
    force: bool = False,
    shard_bytes: int = SHARD_BYTES,
    hashes: Path | None = None,
    progress: Progress | None = None,
) -> MergeReport:
    """Merge `sources` (all that `recipe.references()` names) into the new folder `out`.

    The bytes depend on recipe, sources, seed and `shard_bytes` alone. `threads` tensors are in
    memory at a time, each with its operands. `force` replaces an earlier merge. `hashes` is the
    cache of known file digests (pipeline.sources.hashes). `progress` gets (done, all) after each
    tensor, from any thread.

    Raises InputError with every fault of recipe against sources before anything is written, and
    EnvironmentFault where the disk is too small or fails; `out` is then as it was.
    """
    plan = plan_merge(recipe, sources)
    _check_out(plan, sources, out, force)
    shards = lay_out([step.spec for step in plan.steps], shard_bytes)
    _check_space(out, sum(shard.size for shard in shards))
    with whole_folder(out, MERGE, replace=force) as folder:
        write_side_files(plan, folder)
        with _one_torch_thread(), ShardWriter(folder, shards) as writer:
            _run(plan, writer, seed, threads, progress)
        write_json(folder / RECORD, _record(plan, sources, seed, hashes))
    return _report(plan, out, seed, shards)


def plan_merge(recipe: Recipe, sources: Mapping[Reference, Source]) -> Plan:
    """What `merge` would do. Raises InputError that lists every fault; reads no weights."""
    missing = [str(reference) for reference in recipe.references() if reference not in sources]
    assert not missing, f"sources lacks {missing}"
    weights = {r: Weights(r, sources[r]) for r in recipe.references()}
    vocabulary = make_vocabulary(recipe, weights)
    resolve_chat_template(recipe, weights)
    return make_plan(recipe, weights, vocabulary)


def _run(
    plan: Plan, writer: ShardWriter, seed: int, threads: int, progress: Progress | None
) -> None:
    """Compute and write every step; the first error stops the rest and is raised."""
    lock, stop = threading.Lock(), threading.Event()
    done = 0

    def work(step: Step) -> None:
        nonlocal done
        if stop.is_set():
            return
        writer.write(step.name, compute(plan, step, seed))
        with lock:
            done += 1
            if progress:
                progress(done, len(plan.steps))

    with ThreadPoolExecutor(max_workers=threads) as pool:
        futures = [pool.submit(work, step) for step in plan.steps]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in filter(Future.done, futures):
                future.result()
        finally:
            stop.set()


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """One thread within each operation: torch's sums depend on how it shares out the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_out(plan: Plan, sources: Mapping[Reference, Source], out: Path, force: bool) -> None:
    check_replaceable(out.absolute(), MERGE, replace=force)
    place = out.resolve()
    for reference in plan.weights:
        source = sources[reference]
        folders = [source.model.folder] + ([source.adapter.folder] if source.adapter else [])
        if any(folder.resolve().is_relative_to(place) for folder in folders):
            raise InputError(f"{out}: holds the source {reference}. Name another folder.")


def _check_space(out: Path, weight_bytes: int) -> None:
    place = next(parent for parent in out.absolute().parents if parent.exists())
    free, needed = shutil.disk_usage(place).free, weight_bytes + _SIDE_BYTES
    if free < needed:
        raise EnvironmentFault(
            f"{out}: the merge needs {needed:,} bytes, {place} has {free:,} free. "
            "Free space, or name a folder on another disk."
        )


def _record(
    plan: Plan, sources: Mapping[Reference, Source], seed: int, hashes: Path | None
) -> dict[str, Any]:
    """merge.json: all that decides the bytes beside it. No time, machine or path of its own."""
    recipe = plan.recipe
    return {
        "schema": 1,
        "recipe": {"text": recipe.text, "digest": recipe.digest, "method": recipe.merge_method},
        "seed": seed,
        "sources": [pin(sources[reference], hashes) for reference in plan.weights],
        "tensors": len(plan.steps),
        "copied": sum(step.copied for step in plan.steps),
        "parameters": sum(step.spec.elements for step in plan.steps),
        "dtypes": sorted({step.dtype for step in plan.steps}),
        "tools": {name: _version(name) for name in ("mergegate", "torch")},
    }


def _report(plan: Plan, out: Path, seed: int, shards: tuple[Shard, ...]) -> MergeReport:
    return MergeReport(
        out=out,
        merge_method=plan.recipe.merge_method,
        recipe_digest=plan.recipe.digest,
        seed=seed,
        tensors=len(plan.steps),
        copied=sum(step.copied for step in plan.steps),
        parameters=sum(step.spec.elements for step in plan.steps),
        weight_bytes=sum(step.spec.nbytes for step in plan.steps),
        shards=tuple(shard.file for shard in shards),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout
        return "not installed"

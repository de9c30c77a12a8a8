"""The merge as a whole: plan, stream every tensor into its place, put the folder under its name."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentFault, InputError, MergegateError
from pipeline.facts import digest_of, package_versions, read_json, write_json
from pipeline.folders import FolderKind, check_replaceable, whole_folder
from pipeline.merge.chat_templates import resolve_chat_template
from pipeline.merge.engine import Progress, Run, check_device, run
from pipeline.merge.journal import JOURNAL, Journal
from pipeline.merge.plan import Plan
from pipeline.merge.planner import make_plan
from pipeline.merge.safetensors_writer import Shard, lay_out
from pipeline.merge.side_files import write_side_files
from pipeline.merge.vocabulary import make_vocabulary
from pipeline.merge.weights import Weights
from pipeline.recipe.types import Recipe
from pipeline.sources.pin import pin
from pipeline.sources.reference import Reference
from pipeline.sources.source import Source

SHARD_BYTES = 5_000_000_000
RECORD = "merge.json"


def _strangers(folder: Path) -> list[str]:
    """What merge.json does not name; nothing where it is of a version that named no files but weights."""
    try:
        record = read_json(folder / RECORD)
        known = {RECORD, *record["files"], *record["beside"]}
    except (MergegateError, KeyError, TypeError):
        return []
    return sorted({path.name for path in folder.iterdir()} - known)


MERGE = FolderKind(
    "a merge", RECORD, lambda folder: (folder / RECORD).is_file(), strangers=_strangers
)
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
    threads: int | None = None,
    device: str = "cpu",
    force: bool = False,
    durable: bool = False,
    shard_bytes: int = SHARD_BYTES,
    hashes: Path | None = None,
    progress: Progress | None = None,
) -> MergeReport:
    """Merge `sources` (all that `recipe.references()` names) into the new folder `out`.

    The bytes depend on recipe, sources, seed, `device` and `shard_bytes` alone. `threads` (default: one
    per core) tensors are worked on at a time, each in blocks of its operands. `force` replaces an earlier
    merge. `hashes` is the cache of known file digests (pipeline.sources.hashes). `progress` gets (bytes
    done, all) from any thread. What an interrupted merge left is verified and used. `durable` waits for
    the disk at the end; without it a loss of power in the next half minute may cost the output, as with `cp`.

    Raises InputError with every fault of recipe against sources before anything is written, and
    EnvironmentFault where the disk is too small or fails; `out` is then as it was.
    """
    check_device(device)
    plan = plan_merge(recipe, sources)
    _check_out(plan, sources, out, force)
    shards = lay_out([step.spec for step in plan.steps], shard_bytes)
    _check_space(out, sum(shard.size for shard in shards))
    with (
        ThreadPoolExecutor(max_workers=1) as background,
        whole_folder(out, MERGE, replace=force, resume=True, durable=durable) as part,
    ):
        pins = background.submit(lambda: [pin(sources[r], hashes) for r in plan.weights])
        journal = Journal(part, _identity(plan, sources, seed, shards, device), shards)
        _keep_only(part, {JOURNAL, *(shard.file for shard in shards)})
        write_side_files(plan, part)
        journal.begin()
        files = run(plan, shards, part, journal, Run(seed, threads, device), progress)
        beside = sorted({path.name for path in part.iterdir()} - {JOURNAL, *files})
        write_json(part / RECORD, _record(plan, pins.result(), seed, device, files, beside))
        journal.remove()
    return _report(plan, out, seed, shards)


def plan_merge(recipe: Recipe, sources: Mapping[Reference, Source]) -> Plan:
    """What `merge` would do. Raises InputError that lists every fault; reads no weights."""
    missing = [str(reference) for reference in recipe.references() if reference not in sources]
    assert not missing, f"sources lacks {missing}"
    weights = {r: Weights(r, sources[r]) for r in recipe.references()}
    vocabulary = make_vocabulary(recipe, weights)
    resolve_chat_template(recipe, weights)
    return make_plan(recipe, weights, vocabulary)


def _check_out(plan: Plan, sources: Mapping[Reference, Source], out: Path, force: bool) -> None:
    check_replaceable(out.absolute(), MERGE, replace=force)
    place = out.resolve()
    for reference in plan.weights:
        if any(f.resolve().is_relative_to(place) for f in sources[reference].folders):
            raise InputError(f"{out}: holds the source {reference}. Name another folder.")


def _check_space(out: Path, weight_bytes: int) -> None:
    place = next(parent for parent in out.absolute().parents if parent.exists())
    free, needed = shutil.disk_usage(place).free, weight_bytes + _SIDE_BYTES
    if free < needed:
        raise EnvironmentFault(
            f"{out}: the merge needs {needed:,} bytes, {place} has {free:,} free. "
            "Free space, or name a folder on another disk."
        )


def _identity(
    plan: Plan,
    sources: Mapping[Reference, Source],
    seed: int,
    shards: Sequence[Shard],
    device: str,
) -> str:
    """A digest of all that decides the bytes; sources by path, size and time, since an interrupted merge is young."""
    files = [
        f"{path.resolve()}|{path.stat().st_size}|{path.stat().st_mtime_ns}"
        for reference in plan.weights
        for folder in sources[reference].folders
        for path in sorted(folder.glob("*.safetensors"))
    ]
    heads = [hashlib.sha256(shard.header).hexdigest() for shard in shards]
    return digest_of([plan.recipe.digest, files, heads, seed, device, _tools()])


def _keep_only(folder: Path, names: Set[str]) -> None:
    """Remove every other file: another merge may have left the folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in names:
            path.unlink()


def _record(
    plan: Plan,
    pins: Sequence[Any],
    seed: int,
    device: str,
    files: Mapping[str, str],
    beside: Sequence[str],
) -> dict[str, Any]:
    """merge.json: all that decides the bytes beside it, and their SHA-256. No time or path of its own."""
    recipe = plan.recipe
    return {
        "schema": 2,
        "recipe": {"text": recipe.text, "digest": recipe.digest, "method": recipe.merge_method},
        "seed": seed,
        "device": device,
        "sources": list(pins),
        "files": dict(files),
        "beside": list(beside),  # other files of the output: configuration, tokenizer, licences
        "tensors": len(plan.steps),
        "copied": sum(step.copied for step in plan.steps),
        "parameters": sum(step.spec.elements for step in plan.steps),
        "dtypes": sorted({step.dtype for step in plan.steps}),
        "tools": _tools(),
    }


def _tools() -> dict[str, str]:
    return package_versions("mergegate", "torch")


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

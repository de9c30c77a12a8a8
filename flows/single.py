"""Commands that work on one recipe, outside a release."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.compat import run_checks
from pipeline.errors import InputError
from pipeline.facts import Finding
from pipeline.progress import bars
from pipeline.recipe import Recipe, load_recipe
from pipeline.sources import Reference, Source
from pipeline.stages.workspace import HASHES, open_reference

if TYPE_CHECKING:
    from pipeline.merge import MergeReport
    from pipeline.merge.estimate import Estimate


# Checks that read weights or load tokenizers; and the one that the merge makes by itself, in the same pass.
_BEYOND_HEADERS = ("chat-template", "lineage", "values")
_SEEN_BY_MERGE = ("values",)
_MB = 1_000_000


def check_recipe(path: Path) -> list[Finding]:
    """All findings on the sources of a recipe."""
    recipe = load_recipe(path)
    return _findings(recipe, _open(recipe))


def plan_recipe(path: Path, *, threads: int | None) -> tuple[list[Finding], Estimate | None]:
    """What headers tell of a recipe: findings, and the cost of the merge where none of them blocks."""
    from pipeline.merge import plan_merge
    from pipeline.merge.estimate import estimate

    recipe = load_recipe(path)
    sources = _open(recipe)
    found = _findings(recipe, sources, skip=_BEYOND_HEADERS)
    if any(finding.blocks for finding in found):
        return found, None
    return found, estimate(plan_merge(recipe, sources), threads)


def merge_recipe(
    path: Path, out: Path, *, seed: int, threads: int | None, device: str, force: bool
) -> MergeReport:
    """Check, then merge into `out`. Raises InputError with every finding that blocks."""
    from pipeline.folders import check_replaceable
    from pipeline.merge import merge
    from pipeline.merge.merge import MERGE

    recipe = load_recipe(path)
    if file := next((p for p in out.absolute().parents if p.exists() and not p.is_dir()), None):
        raise InputError(f"{out}: cannot be a folder, since {file} is a file. Name another place.")
    if out == Path():
        raise InputError("OUT is empty or this very folder. Name a new folder for the merge.")
    check_replaceable(out, MERGE, replace=force)
    sources = _open(recipe)
    found = _findings(recipe, sources, skip=_SEEN_BY_MERGE)
    if faults := [f"{f.message} {f.remedy}".strip() for f in found if f.blocks]:
        raise InputError.of(faults)
    with bars() as progress:
        task = progress.add_task(f"merge {path.name} (MB)", total=None)
        return merge(
            recipe,
            sources,
            out,
            seed=seed,
            threads=threads,
            device=device,
            force=force,
            hashes=HASHES,
            progress=lambda done, total: progress.update(
                task, completed=done // _MB, total=total // _MB
            ),
        )


def _open(recipe: Recipe) -> dict[Reference, Source]:
    return {reference: open_reference(str(reference)) for reference in recipe.references()}


def _findings(
    recipe: Recipe, sources: dict[Reference, Source], skip: Collection[str] = ()
) -> list[Finding]:
    named = {str(reference): source for reference, source in sources.items()}
    return run_checks(recipe, named, cache=HASHES, skip=skip)

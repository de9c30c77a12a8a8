"""Commands that work on one recipe, outside a release."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.compat import run_checks
from pipeline.errors import InputError
from pipeline.facts import Finding
from pipeline.folders import FolderKind, check_file, check_replaceable
from pipeline.progress import meter
from pipeline.recipe import Recipe, load_recipe
from pipeline.sources import Reference, Source
from pipeline.stages.workspace import HASHES, open_reference

if TYPE_CHECKING:
    from pipeline.diagnose import Diagnosis
    from pipeline.merge import MergeReport
    from pipeline.merge.as_adapter import AdapterReport
    from pipeline.merge.estimate import Estimate


# Checks that read weights or load tokenizers; and the one that the merge makes by itself, in the same pass.
_BEYOND_HEADERS = ("chat-template", "lineage", "values")
_SEEN_BY_MERGE = ("values",)


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


def diagnose_recipe(path: Path, *, threads: int | None, png: Path | None) -> Diagnosis:
    """What the differences of a recipe's sources look like; drawn into `png` where it is given."""
    from pipeline.diagnose import diagnose, write_heatmap

    if png:
        check_file(png, ".png")
    recipe = load_recipe(path)
    sources = _open(recipe)
    with meter(f"diagnose {path.name}", None, "MB") as progress:
        found = diagnose(recipe, sources, threads=threads, progress=progress.bytes_to)
    if png:
        write_heatmap(found, png)
    return found


def merge_recipe(
    path: Path, out: Path, *, seed: int, threads: int | None, device: str, force: bool
) -> MergeReport:
    """Check, then merge into `out`. Raises InputError with every finding that blocks."""
    from pipeline.merge import merge
    from pipeline.merge.merge import MERGE

    recipe, sources = _checked(path, out, MERGE, force, skip=_SEEN_BY_MERGE)
    with meter(f"merge {path.name}", None, "MB") as progress:
        return merge(
            recipe,
            sources,
            out,
            seed=seed,
            threads=threads,
            device=device,
            force=force,
            hashes=HASHES,
            progress=progress.bytes_to,
        )


def merge_recipe_as_adapter(
    path: Path, out: Path, *, rank: int, seed: int, threads: int | None, force: bool
) -> AdapterReport:
    """As `merge_recipe`, into an adapter over the recipe's base."""
    from pipeline.merge.as_adapter import ADAPTER, merge_as_adapter

    recipe, sources = _checked(path, out, ADAPTER, force)
    with meter(f"merge {path.name}", None, "MB") as progress:
        return merge_as_adapter(
            recipe,
            sources,
            out,
            rank=rank,
            seed=seed,
            threads=threads,
            force=force,
            hashes=HASHES,
            progress=progress.bytes_to,
        )


def _checked(
    path: Path, out: Path, kind: FolderKind, force: bool, skip: Collection[str] = ()
) -> tuple[Recipe, dict[Reference, Source]]:
    """The recipe and its sources, where they belong together and `out` may be written."""
    recipe = load_recipe(path)
    if file := next((p for p in out.absolute().parents if p.exists() and not p.is_dir()), None):
        raise InputError(f"{out}: cannot be a folder, since {file} is a file. Name another place.")
    if out == Path():
        raise InputError("OUT is empty or this very folder. Name a new folder for the merge.")
    check_replaceable(out, kind, replace=force)
    sources = _open(recipe)
    found = _findings(recipe, sources, skip)
    if faults := [f"{f.message} {f.remedy}".strip() for f in found if f.blocks]:
        raise InputError.of(faults)
    return recipe, sources


def _open(recipe: Recipe) -> dict[Reference, Source]:
    return {reference: open_reference(str(reference)) for reference in recipe.references()}


def _findings(
    recipe: Recipe, sources: dict[Reference, Source], skip: Collection[str] = ()
) -> list[Finding]:
    named = {str(reference): source for reference, source in sources.items()}
    return run_checks(recipe, named, cache=HASHES, skip=skip)

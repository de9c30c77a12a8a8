"""A merge as a PEFT adapter over the recipe's base, for servers that load and swap adapters.

The merged difference of each linear layer and embedding becomes its best approximation of a given rank, with the
error that this leaves; what is no such weight is exact or refused (pipeline.merge.adapter_targets). The base
stays as it is stored: a recipe's `dtype` rounds the differences alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.facts import digest_file, package_versions, write_json
from pipeline.folders import FolderKind, check_replaceable, whole_folder
from pipeline.merge.adapter_targets import Targets, base_of, find_targets
from pipeline.merge.adapter_weights import AdapterWeights, Approximation
from pipeline.merge.engine import Progress
from pipeline.merge.merge import RECORD, plan_merge
from pipeline.recipe.types import Recipe
from pipeline.sources.adapter import STATEMENT, WEIGHTS
from pipeline.sources.adapter_config import CONFIG
from pipeline.sources.pin import pin
from pipeline.sources.reference import Reference
from pipeline.sources.source import Source

ADAPTER = FolderKind(
    "a merged adapter",
    f"{RECORD} beside an {CONFIG}",
    lambda folder: (folder / RECORD).is_file() and (folder / CONFIG).is_file(),
)


@dataclass(frozen=True)
class AdapterReport:
    """What was made. `rank` is the adapter's: what was asked for, or less where no tensor can need as much.

    `worst` and `mean` are of the errors of `tensors`. `whole` are modules saved as they are in a full merge: PEFT
    loads them, servers that know low-rank changes alone refuse them.
    """

    out: Path
    merge_method: str
    recipe_digest: str
    seed: int
    rank: int
    worst: float
    mean: float
    tensors: tuple[Approximation, ...]
    whole: tuple[str, ...]
    parameters: int
    weight_bytes: int


def merge_as_adapter(
    recipe: Recipe,
    sources: Mapping[Reference, Source],
    out: Path,
    *,
    rank: int,
    seed: int = 0,
    threads: int | None = None,
    force: bool = False,
    hashes: Path | None = None,
    progress: Progress | None = None,
) -> AdapterReport:
    """Merge `sources` (all that `recipe.references()` names) into the new adapter folder `out`.

    The bytes depend on recipe, sources, `rank` and seed alone. The other arguments are those of `merge`. Factors
    are stored in the recipe's `out_dtype`, in float32 where it has none.

    Raises InputError for all that an adapter cannot express, before anything is written.
    """
    if rank < 1:
        raise InputError(f"The rank is {rank}; it must be at least 1. Use for example 64.")
    check_replaceable(out.absolute(), ADAPTER, replace=force)
    _check_place(sources, out)
    plan = plan_merge(recipe, sources)
    base = base_of(plan)
    targets = find_targets(plan, base)
    weights = AdapterWeights(plan, targets, rank, seed)
    with ThreadPoolExecutor(1) as background, whole_folder(out, ADAPTER, replace=force) as part:
        pins = background.submit(lambda: {r: pin(sources[r], hashes) for r in plan.weights})
        tensors = weights.write(part, threads, progress)
        for path in base.model.side_files():
            if path.name != "generation_config.json":  # licence and notice
                shutil.copyfile(path, part / path.name)
        write_json(part / CONFIG, _config(targets, weights.rank, sources[base.reference]))
        digest = pins.result()[base.reference]["model"]["weights_digest"]
        write_json(part / STATEMENT, {"base_model_digest": digest})
        report = _report(recipe, targets, weights, tensors, out, seed)
        record = _record(recipe, report, rank, list(pins.result().values()))
        write_json(part / RECORD, record | {"files": {WEIGHTS: digest_file(part / WEIGHTS)}})
    return report


def _check_place(sources: Mapping[Reference, Source], out: Path) -> None:
    place = out.resolve()
    for reference, source in sources.items():
        if any(folder.resolve().is_relative_to(place) for folder in source.folders):
            raise InputError(f"{out}: holds the source {reference}. Name another folder.")


def _config(targets: Targets, rank: int, base: Source) -> dict[str, Any]:
    """adapter_config.json. Alpha equals the rank, so that the scaling is 1; targets are whole paths."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.reference.model,
        "revision": base.model_revision if base.kind == "hub" else None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": targets.transposed,
        "bias": "none",
        "target_modules": sorted(targets.low_rank),
        "modules_to_save": sorted(targets.whole) or None,
    }


def _report(
    recipe: Recipe,
    targets: Targets,
    weights: AdapterWeights,
    tensors: tuple[Approximation, ...],
    out: Path,
    seed: int,
) -> AdapterReport:
    errors = [tensor.error for tensor in tensors]
    return AdapterReport(
        out=out,
        merge_method=recipe.merge_method,
        recipe_digest=recipe.digest,
        seed=seed,
        rank=weights.rank,
        worst=max(errors),
        mean=sum(errors) / len(errors),
        tensors=tensors,
        whole=tuple(sorted(targets.whole)),
        parameters=sum(spec.elements for spec in weights.specs),
        weight_bytes=sum(spec.nbytes for spec in weights.specs),
    )


def _record(
    recipe: Recipe, report: AdapterReport, asked: int, pins: list[dict[str, Any]]
) -> dict[str, Any]:
    """merge.json: what decides the bytes beside it, and what the rank leaves out. No time or path of its own."""
    return {
        "schema": 2,
        "recipe": {"text": recipe.text, "digest": recipe.digest, "method": recipe.merge_method},
        "seed": report.seed,
        "device": "cpu",
        "sources": pins,
        "parameters": report.parameters,
        "adapter": {
            "rank": {"asked": asked, "stored": report.rank},
            "error": {"worst": report.worst, "mean": report.mean},
            "tensors": [asdict(tensor) for tensor in report.tensors],
            "whole": list(report.whole),
        },
        "tools": package_versions("mergegate", "torch"),
    }

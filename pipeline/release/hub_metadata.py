"""The head of a model card: metadata as the Hugging Face hub reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.release.record import shipped, table_of
from pipeline.sources import Reference


def hub_metadata(record: Mapping[str, Any]) -> str:
    """YAML without its fences: sources, licence, tags, and every score of the variant that ships."""
    from huggingface_hub import ModelCardData

    pins = record["identity"]["sources"]
    references = [Reference.parse(reference) for reference in pins]
    models = dict.fromkeys(part for r in references for part in (r.model, r.adapter) if part)
    return ModelCardData(
        base_model=list(models),
        base_model_relation="merge",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["merge", "mergegate"],
        model_name=record["name"],
        eval_results=_results(record),
        **_licence(pins),
    ).to_yaml()


def _licence(pins: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The sources' one licence; `other` with all of them named where they have several or none."""
    sides = [pin[side] for pin in pins.values() for side in ("model", "adapter") if pin[side]]
    named = sorted({side["licence"] or "unknown" for side in sides})
    if len(named) == 1 and named != ["unknown"]:
        return {"license": named[0]}
    return {"license": "other", "license_name": "-and-".join(named)}


def _results(record: Mapping[str, Any]) -> list[Any]:
    """A hub evaluation result per score of the shipped variant, with the golden set's digest."""
    from huggingface_hub import EvalResult

    table = table_of(record)
    means = dict(table.rows).get(shipped(record), ())
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=skill,
            dataset_name=f"golden set of {skill}",
            dataset_split="test",
            dataset_revision=record["identity"]["golden"].get(skill),
            metric_type=metric,
            metric_value=mean,
        )
        for (skill, metric), mean in zip(table.columns, means, strict=False)
        if mean is not None
    ]

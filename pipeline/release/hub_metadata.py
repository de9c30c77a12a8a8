"""The head of a model card: metadata as the Hugging Face hub reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.release.record import shipped, table_of
from pipeline.sources import Reference
from pipeline.sources.hub import is_named
from pipeline.sources.reference import is_registry_uri


def hub_metadata(record: Mapping[str, Any]) -> str:
    """YAML without its fences: sources, licence, tags, and every score of the variant that ships."""
    from huggingface_hub import ModelCardData

    pins = record["identity"]["sources"]
    models = base_models(pins)
    return ModelCardData(
        base_model=models or None,
        base_model_relation="merge" if models else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["merge", "mergegate"],
        model_name=record["name"],
        eval_results=_results(record),
        **_licence(pins),
    ).to_yaml()


def base_models(pins: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The hub ids of what was merged, each once, in the order of the pins.

    A model or adapter of the hub is named itself. For a model from a folder or a registry stands what its
    adapters declare as their base, else what it declares itself; a text that also names a folder of this
    release is none. Empty where nothing is known: a path means nothing to others.
    """
    parts = [_parts(text, pin) for text, pin in pins.items()]
    folders = {name for part in parts for name, side, _ in part if not side["revision"]}
    declared: dict[str, list[str]] = {}  # by model, what its adapters say
    for (model, *_), *adapters in parts:
        stated = [one for _, _, said in adapters for one in said]
        declared[model] = declared.get(model, []) + stated
    found: list[str] = []
    for (model, side, own), *adapters in parts:
        of_hub = [(model, side)] + [(name, adapter) for name, adapter, _ in adapters]
        found += [name for name, one in of_hub if one["revision"] and not is_registry_uri(name)]
        if model not in found:
            stated = [one for one in declared[model] if is_named(one) and one not in folders]
            found += stated or [one for one in own if one not in folders]
    return list(dict.fromkeys(found))


def _parts(text: str, pin: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], Sequence[str]]]:
    """The model of a source, then its adapters: name, pin, and the bases that it declares."""
    reference = Reference.parse(text)
    adapters = [pin["adapter"], *pin.get("further", ())] if pin["adapter"] else []
    of_adapters = zip(reference.each(), adapters, strict=True) if adapters else ()
    return [
        (reference.model, pin["model"], pin["model"].get("base_models", ())),
        *((str(one.adapter), side, [side.get("base_model")]) for one, side in of_adapters),
    ]


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

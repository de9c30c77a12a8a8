"""What release.json says that follows from the other files of its folder, and the same from those files.

Digests show that nothing was changed since; this shows that the record spoke of these files at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.evaluate.table import comparison
from pipeline.facts import Evaluation, read_json
from pipeline.recipe import load_recipe
from pipeline.release.bundle import RECIPE
from pipeline.release.record import unmerged_set

# The files of which release.json has a copy, by its field.
_COPIES = {"verdict": "verdict.json", "quantization": "quantize.json"}
DIAGNOSIS = "diagnosis.json"
_SINCE_3 = ("tasks",)  # fields that earlier schemas did not have


def told(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of release.json that follows from the other files, or from other parts of it."""
    identity, fields = record["identity"], ("comparison", "latency", "refused", "rollback")
    return {
        "identity": {
            **{key: identity[key] for key in ("golden", "outcome", "policy", "recipe", "samples")},
            "sources": identity["sources"],
        },
        "method": {key: record["method"].get(key) for key in ("name", "measured")},
        **{field: record[field] for field in (*fields, *_COPIES)},
        **{field: record[field] for field in _SINCE_3 if field in record},
    }


def told_again(
    folder: Path,
    record: Mapping[str, Any],
    evaluations: Mapping[str, Evaluation],
    policy: str,
    verdict: Mapping[str, Any],
    plain: Mapping[str, Any],
) -> dict[str, Any]:
    """The same from where it comes from.

    `evaluations` by variant; `policy` is the digest of policy.json; `verdict` and `plain` are the
    verdicts computed again, as JSON. Raises InputError and CorruptArtifactError for files that do
    not read, KeyError and the like for a record without its parts.
    """
    recipe, tasks = load_recipe(folder / RECIPE), evaluations["merged"].tasks
    pins, members = record["identity"]["sources"], record["rollback"]
    experts = {name: member["reference"] for name, member in members["experts"].items()}
    sources = {"base": members["base"]["reference"], **experts}
    # Base and experts were scored as they were pinned; what else the recipe reads was not.
    scored = {text: evaluations[name].model_digest for name, text in sources.items()}
    heads = {name: read_json(folder / "evals" / f"{name}.json") for name in evaluations}
    latency = read_json(folder / "latency.json")
    since_3 = {"tasks": {skill: asdict(facts) for skill, facts in tasks.items()}}
    return {
        "identity": {
            "golden": {skill: t.golden_digest for skill, t in tasks.items() if t.golden_digest},
            "outcome": verdict["outcome"],
            "policy": policy,
            "recipe": {"digest": recipe.digest, "text": recipe.text},
            "samples": {name: head["samples"]["sha256"] for name, head in heads.items()},
            "sources": _pins(folder, pins, scored),
        },
        "comparison": asdict(comparison(list(evaluations.values()))),
        "latency": None if "skipped" in latency else latency,
        "refused": {} if plain["outcome"] == "promote" else {"plain task arithmetic": dict(plain)},
        "rollback": unmerged_set(sources["base"], experts, pins),
        "method": {
            "name": recipe.merge_method,
            "measured": _measured(folder, record),
        },
        **{field: read_json(folder / name) for field, name in _COPIES.items()},
        **{field: again for field, again in since_3.items() if field in record},
    }


def _pins(
    folder: Path, pins: Mapping[str, Mapping[str, Any]], scored: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """The pins as compat.json has those of the recipe's sources, with the digests that were scored."""
    checked = read_json(folder / "compat.json").get("pins", {})
    again = {reference: dict(checked.get(reference, pin)) for reference, pin in pins.items()}
    for reference, digest in scored.items():
        again[reference] = {**again[reference], "digest": digest}
    return again


def _measured(folder: Path, record: Mapping[str, Any]) -> Any:
    """What the diagnosis says of the method; the first releases of schema 1 had none."""
    if DIAGNOSIS not in record["files"]:
        return record["method"].get("measured")
    return read_json(folder / DIAGNOSIS)["rationale"]

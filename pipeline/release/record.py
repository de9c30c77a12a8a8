"""The record of one release, release.json: what went in, the verdict, what came out, the way back.

`identity` holds all that decides the release and nothing that is measured in time; its digest is
the release digest, which the registry knows a release by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.errors import CorruptArtifactError
from pipeline.evaluate.table import Table
from pipeline.facts import digest_of
from pipeline.recipe import Recipe

SCHEMA = 3
# 1 had no digests of its own fields; 2 neither tasks, merged files, environment nor a signature.
READABLE = (1, 2, SCHEMA)
DIGESTS = "digests"
RECORD = "release.json"

# pin["adapter"] and pin["model"] of pipeline.sources.pin, by the kind of expert.
_ADAPTER, _MODEL = "adapter", "model"


def unmerged_set(
    base: str, experts: Mapping[str, str], pins: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The base and the experts, unmerged, as JSON values: the rollback target of their merges.

    `base` and the values of `experts` are references, and keys of `pins`. `digest` is the SHA-256
    of the canonical JSON of the rest: references, hub revisions and artifact digests. An expert's
    kind is `adapter` (over the base) or `model` (a full fine-tune).
    """
    members = {
        "base": {"reference": base, **_pinned(pins[base], _MODEL)},
        "experts": {
            name: {"reference": reference, **_pinned(pins[reference], _kind(pins[reference]))}
            for name, reference in experts.items()
        },
    }
    return {**members, "digest": digest_of(members)}


def build_record(
    *,
    name: str,
    candidate: str,
    recipe: Recipe,
    base: str,
    experts: Mapping[str, str],
    pins: Mapping[str, Mapping[str, Any]],
    merged_digest: str,
    quantized_files: Mapping[str, str] | None,
    golden: Mapping[str, str],
    samples: Mapping[str, str],
    verdict: Mapping[str, Any],
    comparison: Table,
    seed: int,
    versions: Mapping[str, str],
    merged_files: Mapping[str, str] | None = None,
    tasks: Mapping[str, Mapping[str, Any]] | None = None,
    environment: Mapping[str, Any] | None = None,
    domains: Mapping[str, str] | None = None,
    quantization: Mapping[str, Any] | None = None,
    latency: Mapping[str, Any] | None = None,
    refused: Mapping[str, Mapping[str, Any]] | None = None,
    measured: str = "",
) -> dict[str, Any]:
    """The record as JSON values.

    `pins`: the pin of every reference of the recipe, of `base` and of `experts`. `quantized_files`:
    the artifact that ships, as `folder_digests` gives it (path: SHA-256), None where the merge was
    not quantized. `golden`: SHA-256 of each skill's golden set. `samples`: SHA-256 of each
    variant's per-sample scores. `verdict` and `refused` (by candidate): verdicts as JSON.
    `versions`: of the code and of the libraries that results depend on. Outside the identity:
    `merged_files` ({path: SHA-256}, which `merged_digest` covers), `tasks` (by skill, as of
    `TaskFacts`), `environment` (of `machine.describe_machine`), `latency` (measured), `domains`,
    `quantization`, `refused` and `measured`, what the diagnosis says of the method (told, not
    judged).
    """
    identity = {
        "recipe": {"digest": recipe.digest, "text": recipe.text},
        "sources": dict(pins),
        "merged": merged_digest,
        "quantized": None if quantized_files is None else digest_of(dict(quantized_files)),
        "golden": dict(golden),
        "policy": verdict["policy_digest"],
        "samples": dict(samples),
        "outcome": verdict["outcome"],
        "seed": seed,
        "versions": dict(versions),
    }
    return {
        "schema": SCHEMA,
        "name": name,
        "candidate": candidate,
        "release_digest": digest_of(identity),
        "identity": identity,
        "method": {**method_of(recipe), "measured": measured},
        "verdict": dict(verdict),
        "comparison": asdict(comparison),
        "merged_files": None if merged_files is None else dict(merged_files),
        "quantized_files": None if quantized_files is None else dict(quantized_files),
        "tasks": {skill: dict(facts) for skill, facts in (tasks or {}).items()},
        "environment": dict(environment or {}),
        "quantization": dict(quantization or {}),
        "latency": dict(latency) if latency else None,
        "domains": dict(domains or {}),
        "rollback": unmerged_set(base, experts, pins),
        "refused": {other: dict(said) for other, said in (refused or {}).items()},
    }


def with_digests(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the SHA-256 of each of its fields under `digests`, so that a change has a name."""
    fields = {key: value for key, value in record.items() if key != DIGESTS}
    return {**fields, DIGESTS: {key: digest_of(value) for key, value in fields.items()}}


def check_record(record: Mapping[str, Any], where: str) -> None:
    """Raise CorruptArtifactError unless the digests in a record fit what they cover."""
    if wrong := record_faults(record):
        raise CorruptArtifactError(
            f"{where}: changed since it was written ({', '.join(wrong)}). "
            "Run `mergegate release` again."
        )


def record_faults(record: Any) -> list[str]:
    """The fields of a record that are not as it was written, each named; none for a sound one."""
    sound: dict[str, bool] = {}
    try:
        members = {key: record["rollback"][key] for key in ("base", "experts")}
        files = record["quantized_files"]
        sound |= {
            "schema": type(record["schema"]) is int and record["schema"] in READABLE,
            "release_digest": record["release_digest"] == digest_of(record["identity"]),
            "rollback.digest": record["rollback"]["digest"] == digest_of(members),
            "quantized_files": record["identity"]["quantized"] == (files and digest_of(files)),
            "verdict.outcome": record["identity"]["outcome"] == record["verdict"]["outcome"],
        }
        if sound["schema"] and record["schema"] > 2:
            merged = record["merged_files"]
            sound["merged_files"] = (
                merged is None or digest_of(merged) == record["identity"]["merged"]
            )
            sound["signing"] = isinstance(record["signing"]["fingerprint"], str)
    except (KeyError, TypeError, ValueError) as error:
        sound[f"lacks {error}"] = False
    wrong = [key for key, right in sound.items() if not right]
    return list(dict.fromkeys([*wrong, *_changed_fields(record)]))


def _changed_fields(record: Any) -> list[str]:
    """The fields whose digests do not fit, and `digests` where it has not one for each field."""
    if not isinstance(record, Mapping):
        return []
    if record.get("schema") == 1:  # the first schema had none
        return ["schema"] if DIGESTS in record else []
    stored = record.get(DIGESTS)
    if not isinstance(stored, Mapping):
        return [DIGESTS]
    try:
        now = with_digests(record)[DIGESTS]
    except (TypeError, ValueError):  # NaN, which no record holds
        return [DIGESTS]
    changed = sorted(key for key in {*stored, *now} if stored.get(key) != now.get(key))
    return changed + ([] if stored.keys() == now.keys() else [DIGESTS])


def shipped_files(record: Mapping[str, Any]) -> dict[str, str]:
    """The files of the model that ships, {path: SHA-256}; {} where a record has none of the merge's."""
    files = record["quantized_files"]
    if files is None:
        files = record.get("merged_files")
    return dict(files or {})


def shipped(record: Mapping[str, Any]) -> str:
    """The variant that ships: the quantized artifact, or the merge where none was made."""
    return "quantized" if record["identity"]["quantized"] else "merged"


def table_of(record: Mapping[str, Any]) -> Table:
    """The comparison of variants, as it was before it became JSON values."""
    stored = record["comparison"]
    return Table(
        tuple((skill, metric) for skill, metric in stored["columns"]),
        tuple((variant, tuple(means)) for variant, means in stored["rows"]),
    )


def _kind(pin: Mapping[str, Any]) -> str:
    return _ADAPTER if pin["adapter"] else _MODEL


def _pinned(pin: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {"kind": kind, "revision": pin[kind]["revision"], "digest": pin[kind]["digest"]}


def method_of(recipe: Recipe) -> dict[str, str]:
    """What the merge method does, where it comes from, and why the recipe's author chose it."""
    return {
        "name": recipe.merge_method,
        "summary": recipe.method.summary,
        "citation": recipe.method.citation,
        "rationale": _leading_comment(recipe.text),
    }


def _leading_comment(text: str) -> str:
    """The comment at the head of a recipe, without its marks; "" where there is none."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return "\n".join(lines).strip()

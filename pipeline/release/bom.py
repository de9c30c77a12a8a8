"""Bill of materials of a release: CycloneDX 1.6, JSON, with a model card (ML-BOM).

Specification: https://cyclonedx.org/docs/1.6/json/. Written by hand, since the public Python library
has no model cards; its strict validator accepts what is written here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.release.card import limits
from pipeline.release.inventory import SourceArtifact, source_artifacts
from pipeline.release.record import shipped, shipped_files, table_of
from pipeline.sources.folders import read_object

BOM = "bom.cdx.json"
_MODEL = "model"
# The hub writes SPDX identifiers in lower case; CycloneDX knows them only as SPDX spells them.
_IDENTIFIERS = (
    "AFL-3.0 AGPL-3.0 Apache-2.0 Artistic-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC-BY-3.0 CC-BY-4.0 "
    "CC-BY-NC-4.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 "
    "EPL-2.0 EUPL-1.2 GPL-2.0 GPL-3.0 ISC LGPL-2.1 LGPL-3.0 MIT MPL-2.0 MS-PL ODbL-1.0 OFL-1.1 "
    "PDDL-1.0 Unlicense WTFPL Zlib"
)
_SPDX = {name.lower(): name for name in _IDENTIFIERS.split()}


def render_bom(record: Mapping[str, Any]) -> dict[str, Any]:
    """The bill of materials as JSON values, from the record alone: the same record, the same bytes.

    The serial number is the UUIDv5 of the release digest; there is no timestamp.
    """
    sources = source_artifacts(record)
    golden = sorted(record["identity"]["golden"].items())
    packages = sorted(_packages(record).items())
    components = [
        *map(_source, sources),
        *(_dataset(skill, digest) for skill, digest in golden),
        *(_library(name, version) for name, version in packages),
    ]
    direct = [_ref(source) for source in sources] + [f"golden:{skill}" for skill, _ in golden]
    libraries = [_purl(name, version) for name, version in packages]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid5(
            NAMESPACE_URL, f"urn:mergegate:release:{record['release_digest']}"
        ).urn,
        "version": 1,
        "metadata": {"tools": _tools(record), "component": _model(record)},
        "components": components,
        "dependencies": [
            {"ref": _MODEL, "dependsOn": sorted({*direct, *libraries})},
            *({"ref": _ref(one), "dependsOn": _bases(one, sources)} for one in sources if one.base),
        ],
    }


def bom_faults(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Where bom.cdx.json is not of `record`: identity, metrics, components and their digests.

    Each fault is «FILE: FIELD: what differs».
    """
    try:
        found = dict(_facts(read_object(folder / BOM)))
    except (CorruptArtifactError, InputError) as error:
        return [f"{BOM}: {str(error).removeprefix(f'{folder / BOM}: ')}"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"{BOM}: components: not a bill of materials ({error!r:.200})"]
    expected = dict(_facts(render_bom(record)))
    return [
        f"{BOM}: {field}: is {_said(found.get(field))}, of this release is {_said(expected.get(field))}"
        for field in sorted({*found, *expected})
        if found.get(field) != expected.get(field)
    ]


def _facts(bom: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a bill of materials claims, by field; not its words, which may change."""
    for field in ("bomFormat", "specVersion", "serialNumber", "version"):
        yield field, bom[field]
    model = bom["metadata"]["component"]
    yield "modelCard.quantitativeAnalysis", model["modelCard"]["quantitativeAnalysis"]
    yield "dependencies", bom["dependencies"]
    for one in (model, *bom["components"]):
        ref = one["bom-ref"]
        for field in ("type", "name", "version", "hashes", "licenses", "properties", "components"):
            yield f"{ref}.{field}", one.get(field)
    refs = [one["bom-ref"] for one in bom["components"]]
    yield "components", len(refs)


def _model(record: Mapping[str, Any]) -> dict[str, Any]:
    """The model that ships, with its card."""
    identity = record["identity"]
    kind = shipped(record)
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": record["name"],
        "version": record["release_digest"],
        "description": f"Candidate {record['candidate']}: {record['verdict']['sentence']}",
        "licenses": _licences(one.licence for one in source_artifacts(record)),
        "modelCard": {
            "modelParameters": {
                "task": "text-generation",
                "datasets": [{"ref": f"golden:{skill}"} for skill in sorted(identity["golden"])],
                "inputs": [{"format": "text"}],
                "outputs": [{"format": "text"}],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [*_means(record), *_differences(record)]
            },
            "considerations": {"technicalLimitations": limits(record)},
        },
        "properties": _properties(
            release_digest=record["release_digest"],
            artifact_digest=identity[kind],
            ships=kind,
            candidate=record["candidate"],
            outcome=identity["outcome"],
            merge_method=record["method"]["name"],
            recipe_digest=identity["recipe"]["digest"],
            policy_digest=identity["policy"],
        ),
        **_nested(_MODEL, shipped_files(record)),
    }


def _means(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The mean of every variant under every metric."""
    table = table_of(record)
    for variant, means in table.rows:
        for (skill, metric), mean in zip(table.columns, means, strict=True):
            if mean is not None:
                yield {"type": f"{skill}/{metric}", "value": repr(mean), "slice": variant}


def _differences(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each difference that the verdict rests on, with the bounds of its interval."""
    for row in record["verdict"]["rows"]:
        if row.get("difference") is None:
            continue
        bounds = {"lowerBound": row.get("lower"), "upperBound": row.get("upper")}
        interval = {name: repr(bound) for name, bound in bounds.items() if bound is not None}
        yield {
            "type": f"{row['check']}/{row['metric']}: difference from {_reference(row)}",
            "value": repr(row["difference"]),
            "slice": row["artifact"],
            **({"confidenceInterval": interval} if interval else {}),
        }


def _reference(row: Mapping[str, Any]) -> str:
    """What a row compares with, and in which slice."""
    part = f" in {row['slice']}" if row.get("slice") else ""
    return f"{row.get('reference') or 'the reference'}{part}"


def _source(one: SourceArtifact) -> dict[str, Any]:
    ref = _ref(one)
    return {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": one.name,
        **({"version": one.revision} if one.revision else {}),
        **({"purl": one.uri} if one.uri and one.uri.startswith("pkg:") else {}),
        "licenses": _licences([one.licence]),
        "properties": _properties(
            artifact_digest=one.digest, kind=one.kind, roles=", ".join(one.roles) or "source"
        ),
        **_nested(ref, one.files),
    }


def _dataset(skill: str, digest: str) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"golden:{skill}",
        "name": f"golden set of {skill}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "data": [{"type": "dataset", "name": f"golden set of {skill}"}],
    }


def _library(name: str, version: str) -> dict[str, Any]:
    purl = _purl(name, version)
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _packages(record: Mapping[str, Any]) -> dict[str, str]:
    """All installed distributions; of a record without them the ones that results depend on."""
    if listed := record.get("environment", {}).get("packages"):
        return dict(listed)
    others = ("python", "machine", "code")
    versions: Mapping[str, str] = record["identity"]["versions"]
    return {name: v for name, v in versions.items() if name not in others and v != "not installed"}


def _tools(record: Mapping[str, Any]) -> dict[str, Any]:
    version = record["identity"]["versions"].get("mergegate", "")
    return {"components": [{"type": "application", "name": "mergegate", "version": version}]}


def _nested(ref: str, files: Mapping[str, str]) -> dict[str, Any]:
    """The files of a folder as components within its own, each with its SHA-256."""
    nested = [
        {
            "type": "file",
            "bom-ref": f"{ref}#{path}",
            "name": path,
            "hashes": [{"alg": "SHA-256", "content": digest}],
        }
        for path, digest in sorted(files.items())
    ]
    return {"components": nested} if nested else {}


def _licences(named: Any) -> list[dict[str, Any]]:
    """Each licence once, by its SPDX identifier where it is one."""
    found = sorted({text or "not stated" for text in named})
    return [
        {"license": {"id": _SPDX[text.lower()]} if text.lower() in _SPDX else {"name": text}}
        for text in found
    ]


def _properties(**values: str) -> list[dict[str, str]]:
    return [{"name": f"mergegate:{name}", "value": value} for name, value in values.items()]


def _bases(one: SourceArtifact, sources: list[SourceArtifact]) -> list[str]:
    return [_ref(other) for other in sources if other.kind == "model" and other.name == one.base]


def _ref(one: SourceArtifact) -> str:
    return f"source:{one.name}@{one.digest[:12]}"


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def _said(value: Any) -> str:
    return "missing" if value is None else f"{value!r:.200}"

"""The bill of materials: CycloneDX accepts it, and it lists what the record does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from release_family import verdict

from pipeline.facts import digest_file, read_json, write_json
from pipeline.release.bom import BOM, bom_faults, render_bom

Bundle = Callable[..., Path]
Record = Callable[..., dict[str, Any]]
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"quantized_files": None, "verdict": verdict("reject")},
        {"verdict": verdict("cannot judge", rows=[])},
        {"environment": None, "merged_files": None, "tasks": None},
        {"golden": {}},
    ],
)
def test_the_public_validator_accepts_it(record: Record, change: dict[str, Any]) -> None:
    errors = VALIDATOR.validate_str(json.dumps(render_bom(record(**change))))
    assert errors is None, errors


def test_the_validator_would_find_a_fault(record: Record) -> None:
    bom = render_bom(record())
    bom["metadata"]["component"]["modelCard"]["more"] = 1
    assert VALIDATOR.validate_str(json.dumps(bom)) is not None


def components(bom: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in bom["components"] if one["type"] == kind}


def test_it_lists_base_adapters_golden_sets_and_libraries(record: Record) -> None:
    bom = render_bom(record())
    models = components(bom, "machine-learning-model")
    assert list(models) == ["models/base", "models/json", "models/tone"]
    assert list(components(bom, "data")) == ["golden set of json", "golden set of tone"]
    assert components(bom, "library")["torch"]["purl"] == "pkg:pypi/torch@2.13.0"
    files = {
        one["name"]: one["hashes"][0]["content"] for one in models["models/tone"]["components"]
    }
    weights = Path("models/tone/adapter_model.safetensors")
    assert files[weights.name] == digest_file(weights)
    assert models["models/tone"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert models["models/base"]["licenses"] == [{"license": {"name": "not stated"}}]


def test_every_reference_of_the_dependencies_is_a_component(record: Record) -> None:
    bom = render_bom(record())
    refs = {one["bom-ref"] for one in (bom["metadata"]["component"], *bom["components"])}
    named = {ref for one in bom["dependencies"] for ref in (one["ref"], *one["dependsOn"])}
    assert named == refs
    tone = next(one for one in bom["dependencies"] if "models/tone" in one["ref"])
    assert len(tone["dependsOn"]) == 1
    assert "models/base" in tone["dependsOn"][0]


def test_the_model_card_has_the_scores_of_every_variant(record: Record) -> None:
    card = render_bom(record())["metadata"]["component"]["modelCard"]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    assert {"type": "json/exact", "value": "0.96", "slice": "merged"} in metrics
    assert len([one for one in metrics if one["slice"] == "json"]) == 1  # tone was not scored
    assert "golden sets" in card["considerations"]["technicalLimitations"][0]


def test_a_difference_has_its_interval(record: Record) -> None:
    row = {**verdict()["rows"][0], "reference": "json", "difference": -0.01, "lower": -0.02}
    bom = render_bom(record(verdict=verdict(rows=[{**row, "upper": None}])))
    analysis = bom["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]
    assert analysis["performanceMetrics"][-1] == {
        "type": "json/exact: difference from json",
        "value": "-0.01",
        "slice": "merged",
        "confidenceInterval": {"lowerBound": "-0.02"},
    }


def test_the_serial_number_is_that_of_the_release_and_of_no_other(record: Record) -> None:
    first = render_bom(record())
    assert first["serialNumber"].startswith("urn:uuid:")
    assert render_bom(record()) == first
    assert render_bom(record(seed=8))["serialNumber"] != first["serialNumber"]
    assert "timestamp" not in first["metadata"]


def test_a_written_one_fits_its_record(bundle: Bundle) -> None:
    folder = bundle()
    assert bom_faults(folder, read_json(folder / "release.json")) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda b: b.update(serialNumber="urn:uuid:0"), "serialNumber"),
        (lambda b: b["components"].pop(), "components"),
        (lambda b: b["components"][0].update(name="mine"), "source:models/base"),
        (
            lambda b: b["components"][0]["components"][0]["hashes"][0].update(content="0" * 64),
            "source:models/base",
        ),
        (
            lambda b: b["metadata"]["component"]["modelCard"].update(quantitativeAnalysis={}),
            "modelCard.quantitativeAnalysis",
        ),
        (lambda b: b["dependencies"].clear(), "dependencies"),
        (lambda b: b.pop("metadata"), "components: not a bill of materials"),
    ],
)
def test_one_of_something_else_is_a_fault_and_named(
    bundle: Bundle, change: Callable[[dict[str, Any]], Any], named: str
) -> None:
    folder = bundle()
    bom = read_json(folder / BOM)
    change(bom)
    write_json(folder / BOM, bom)
    faults = bom_faults(folder, read_json(folder / "release.json"))
    assert any(fault.startswith(f"{BOM}: {named}") for fault in faults), faults


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"bomFormat": 1}'])
def test_what_is_no_bill_of_materials_is_told_in_words(bundle: Bundle, content: str) -> None:
    folder = bundle()
    (folder / BOM).write_text(content)
    faults = bom_faults(folder, read_json(folder / "release.json"))
    assert len(faults) == 1
    assert faults[0].startswith(f"{BOM}: ")

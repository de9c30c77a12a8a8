"""The record: its digest covers what decides a release, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from release_family import EXPERTS, RECIPE, verdict

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import digest_of, read_json, write_json
from pipeline.release import read_bundle, unmerged_set, write_bundle
from pipeline.release.record import check_record, with_digests
from pipeline.sources import artifact_digest

Record = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"merged_digest": "0" * 64},
        {"quantized_files": {"model.safetensors": "0" * 64}},
        {"golden": {"json": "0" * 64}},
        {"samples": {"merged": "0" * 64}},
        {"verdict": verdict("reject")},
        {"verdict": verdict(policy_digest="0" * 64)},
        {"versions": {"torch": "2.14.0"}},
    ],
)
def test_whatever_decides_a_release_changes_its_digest(
    record: Record, change: dict[str, Any]
) -> None:
    assert record(**change)["release_digest"] != record()["release_digest"]


@pytest.mark.parametrize(
    "change",
    [
        {"latency": {"merged": {"p50": 1.0}}},
        {"domains": {}},
        {"refused": {"naive": verdict("reject")}},
        {"quantization": {"seconds": 3}},
    ],
)
def test_what_is_measured_or_told_does_not_change_the_digest(
    record: Record, change: dict[str, Any]
) -> None:
    assert record(**change)["release_digest"] == record()["release_digest"]


def test_the_digest_of_the_quantized_artifact_is_that_of_its_folder(record: Record) -> None:
    assert record()["identity"]["quantized"] == artifact_digest(Path("shipped"))


def test_the_author_s_reasons_are_the_comment_at_the_head_of_the_recipe(record: Record) -> None:
    method = record()["method"]
    assert method["rationale"] == "Two skills that hardly share a layer:\na plain sum keeps both."
    assert "arXiv 2212.04089" in method["citation"]


def test_an_unmerged_set_is_the_base_and_the_experts_by_reference_and_digest(
    pins: dict[str, Any],
) -> None:
    unmerged = unmerged_set("models/base", EXPERTS, pins)
    assert unmerged["experts"]["tone"] == {
        "kind": "adapter",
        "reference": EXPERTS["tone"],
        "revision": None,
        "digest": artifact_digest(Path("models/tone")),
    }
    members = {key: unmerged[key] for key in ("base", "experts")}
    assert unmerged["digest"] == digest_of(members)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        (("identity", "seed"), "release_digest"),
        (("identity", "outcome"), "release_digest"),
        (("verdict", "outcome"), "verdict.outcome"),
        (("rollback", "base", "digest"), "rollback.digest"),
        (("quantized_files", "model.safetensors"), "quantized_files"),
        (("schema",), "schema"),
    ],
)
def test_an_edited_record_is_refused_and_the_part_named(
    record: Record, keys: tuple[str, ...], named: str
) -> None:
    edited = copy.deepcopy(record())
    part = edited
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = "edited"
    with pytest.raises(CorruptArtifactError, match=named):
        check_record(edited, "release.json")


@pytest.mark.parametrize("content", [{}, {"schema": 1}, [], "text", None])
def test_what_is_no_record_is_refused(content: Any) -> None:
    with pytest.raises(CorruptArtifactError, match=r"release\.json: changed since it was written"):
        check_record(content, "release.json")


@pytest.mark.parametrize("field", ["name", "method", "comparison", "latency", "domains", "files"])
def test_a_field_that_no_other_digest_covers_is_named_when_it_is_edited(
    bundle: Callable[..., Path], field: str
) -> None:
    folder = bundle()
    edited = {**read_json(folder / "release.json"), field: "edited"}
    write_json(folder / "release.json", edited)
    with pytest.raises(CorruptArtifactError, match=rf"since it was written \({field}\)"):
        read_bundle(folder)


@pytest.mark.parametrize("change", [{"more": 1}, {"digests": {}}])
def test_a_field_without_a_digest_is_refused(
    bundle: Callable[..., Path], change: dict[str, Any]
) -> None:
    folder = bundle()
    write_json(folder / "release.json", {**read_json(folder / "release.json"), **change})
    with pytest.raises(CorruptArtifactError, match="digests"):
        read_bundle(folder)


ADDED = ("signing", "tasks", "merged_files", "environment")  # to the fields of a record by schema 3


def unsigned(folder: Path, schema: int) -> dict[str, Any]:
    """Make a release folder one of an earlier schema, and give its record."""
    for name in ("model.sig", "provenance.intoto.json", "signing.pub", "bom.cdx.json"):
        (folder / name).unlink()
    old = {**read_json(folder / "release.json"), "schema": schema}
    old = {key: value for key, value in old.items() if key not in (*ADDED, "digests")}
    old["files"] = {
        n: d for n, d in old["files"].items() if n not in ("signing.pub", "bom.cdx.json")
    }
    old = old if schema == 1 else with_digests(old)
    write_json(folder / "release.json", old)
    return old


@pytest.mark.parametrize("schema", [1, 2])
def test_a_record_of_an_earlier_schema_still_reads(
    bundle: Callable[..., Path], schema: int
) -> None:
    folder = bundle()
    old = unsigned(folder, schema)
    assert read_bundle(folder) == old


def test_a_release_that_pretends_to_be_from_before_signatures_may_hold_none(
    bundle: Callable[..., Path],
) -> None:
    folder = bundle()
    signature = (folder / "model.sig").read_bytes()
    unsigned(folder, 2)
    (folder / "model.sig").write_bytes(signature)
    with pytest.raises(CorruptArtifactError, match=r"model\.sig is no part of the release"):
        read_bundle(folder)


def test_a_newer_record_is_not_taken_for_one_of_the_first_schema(
    bundle: Callable[..., Path],
) -> None:
    folder = bundle()
    write_json(folder / "release.json", {**read_json(folder / "release.json"), "schema": 1})
    with pytest.raises(CorruptArtifactError, match="schema"):
        read_bundle(folder)


def test_a_file_that_is_not_recorded_is_refused_and_named(bundle: Callable[..., Path]) -> None:
    folder = bundle()
    (folder / "more.txt").write_text("mine")
    with pytest.raises(CorruptArtifactError, match=r"more\.txt is no part of the release"):
        read_bundle(folder)


def test_a_release_folder_reads_back_as_it_was_written(bundle: Callable[..., Path]) -> None:
    folder = bundle()
    assert (folder / "recipe.yaml").read_text() == RECIPE
    written = {"README.md", "recipe.yaml", "report.html", "bom.cdx.json", "signing.pub"}
    assert set(read_bundle(folder)["files"]) == {*written, "verdict.json"}


def test_the_same_record_gives_the_same_bytes(bundle: Callable[..., Path]) -> None:
    first = {path.name: path.read_bytes() for path in bundle().iterdir()}
    assert {path.name: path.read_bytes() for path in bundle().iterdir()} == first


@pytest.mark.parametrize("name", ["README.md", "verdict.json", "recipe.yaml"])
def test_one_changed_byte_of_evidence_is_refused_and_the_file_named(
    bundle: Callable[..., Path], name: str
) -> None:
    folder = bundle()
    (folder / name).write_text((folder / name).read_text() + " ")
    with pytest.raises(CorruptArtifactError, match=f"{name} changed"):
        read_bundle(folder)


def test_missing_evidence_stops_the_release_and_leaves_the_old_folder(
    bundle: Callable[..., Path], record: Record
) -> None:
    folder = bundle()
    before = read_json(folder / "release.json")
    with pytest.raises(InputError, match=r"nowhere\.json: no such file"):
        write_bundle(folder, record(seed=8), {"nowhere.json": Path("nowhere.json")})
    assert read_json(folder / "release.json") == before


def test_a_folder_that_is_no_release_is_never_replaced(tmp_path: Path, record: Record) -> None:
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a release folder"):
        write_bundle(tmp_path / "release", record(), {})


def test_a_file_list_cannot_point_outside_the_release_folder(bundle: Callable[..., Path]) -> None:
    folder = bundle()
    edited = read_json(folder / "release.json")
    edited["files"]["../verdict.json"] = edited["files"]["verdict.json"]
    write_json(folder / "release.json", with_digests(edited))
    with pytest.raises(CorruptArtifactError, match="leaves the folder"):
        read_bundle(folder)

"""Each value of release.json altered in turn: found, and named."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stored_workspace
from stored_workspace import load, write_workspace
from test_verify import FIELDS, run_stages

from flows.verify import verify
from flows.verify.result import Part
from pipeline.facts import digest_of, write_json
from pipeline.release.record import with_digests

Path_ = tuple[str | int, ...]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of few samples, since it is verified a thousand times."""
    folder = tmp_path_factory.mktemp("few")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_workspace, "N", 40)
        patch.setattr("pipeline.release.machine.packages", lambda: {"torch": "2.13.0"})
        write_workspace(folder)
        return run_stages(folder)


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder that trusts no key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MERGEGATE_SIGNING_KEY", raising=False)
    # Which code made it is no matter here, and reading all of ours takes longer than the rest.
    monkeypatch.setattr("flows.verify.judged.code_digest", lambda: "0" * 64)


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The path of every value that holds no other."""
    if isinstance(value, (dict, list)) and value:
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in entries:
            yield from leaves(inner, (*path, key))
    else:
        yield path


def altered(value: Any) -> Any:
    """Another value of the same kind, where there is one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "0"
    return {"added": 1} if value == {} else [1] if value == [] else 1


def with_altered(record: dict[str, Any], path: Path_) -> dict[str, Any]:
    changed = copy.deepcopy(record)
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = altered(place[path[-1]])
    return changed


def hidden(record: dict[str, Any]) -> dict[str, Any]:
    """The record with its own digests computed again, as a forger without the key would."""
    record["release_digest"] = digest_of(record["identity"])
    return with_digests(record)


@pytest.mark.parametrize("field", FIELDS)
def test_every_altered_value_is_found_and_its_field_named_by_digests_alone(
    release: Path, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.verify.folder.judged_again", lambda *_, **__: ("", Part()))
    monkeypatch.setattr("flows.verify.folder.attested", lambda *_, **__: ("", Part()))
    record = load(release / "release.json")
    for path in leaves(record[field], (field,)):
        write_json(release / "release.json", with_altered(record, path))
        name = path[1] if field == "digests" else field  # the digest of another field
        faults = verify(release).faults
        assert any(f.startswith(f"release.json: {name}") for f in faults), (path, faults)
    write_json(release / "release.json", record)


# What another file of the folder, or another field, says as well; of the rest the signature alone knows.
SAID_TWICE = {
    *("schema", "verdict", "comparison", "merged_files", "quantized_files", "quantization"),
    *("latency", "rollback", "refused", "tasks"),
}


@pytest.mark.parametrize("field", sorted({*FIELDS} - {"digests", "release_digest"}))
def test_an_altered_value_whose_digests_were_computed_again_is_found_by_what_was_signed(
    release: Path, field: str
) -> None:
    record = load(release / "release.json")
    for path in leaves(record[field], (field,)):
        write_json(release / "release.json", hidden(with_altered(record, path)))
        faults = verify(release).faults
        assert any(f.startswith("release.json: ") or field == "files" for f in faults), path
        assert any(f.startswith("provenance.intoto.json: ") for f in faults), path
        if field in SAID_TWICE:
            named = [f for f in faults if f.startswith("release.json: ") and field in f]
            assert named or path[-1] == "reference", (path, faults)
    write_json(release / "release.json", record)


@pytest.mark.parametrize("field", ["digest", "licence", "revision", "architecture_hash"])
def test_a_pin_that_is_not_as_it_was_checked_is_named(release: Path, field: str) -> None:
    record = load(release / "release.json")
    path = ("identity", "sources", "models/base", "model", field)
    write_json(release / "release.json", hidden(with_altered(record, path)))
    faults = verify(release).faults
    write_json(release / "release.json", record)
    told = f"release.json: identity.sources.models/base.model.{field}: "
    assert any(f.startswith(told) for f in faults), faults


def test_the_values_that_are_altered_here_are_many(release: Path) -> None:
    record = load(release / "release.json")
    assert sum(1 for field in FIELDS for _ in leaves(record[field])) > 400
    assert with_altered(record, ("identity", "seed"))["identity"] != record["identity"]

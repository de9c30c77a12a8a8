"""The release folder: whole, signed, the same each time, and silent about what others must not know."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from release_family import verdict

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import read_json, write_json
from pipeline.release import bundle as bundle_module
from pipeline.release import read_bundle, write_bundle
from pipeline.release.disclosure import check_disclosure
from pipeline.release.keys import load_signing_key
from pipeline.release.machine import describe_machine
from pipeline.release.signature import sign

Bundle = Callable[..., Path]
Record = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("outcome", ["promote", "reject", "inconclusive", "cannot judge"])
def test_every_outcome_gets_the_whole_folder(bundle: Bundle, outcome: str) -> None:
    folder = bundle(verdict=verdict(outcome))
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "report.html", "bom.cdx.json", "recipe.yaml", "verdict.json"),
        *("signing.pub", "release.json", "provenance.intoto.json", "model.sig"),
    }
    assert read_bundle(folder)["signing"] == {
        "fingerprint": load_signing_key().fingerprint,
        "algorithm": "ecdsa-p256-sha256",
        "method": "key",
    }


def test_another_key_changes_neither_release_digest_nor_evidence(bundle: Bundle) -> None:
    first = read_bundle(bundle())
    Path(".mergegate/signing/key.pem").unlink()
    second = read_bundle(bundle())
    assert first["signing"] != second["signing"]
    assert first["release_digest"] == second["release_digest"]
    changed = {name for name in first["files"] if first["files"][name] != second["files"][name]}
    assert "signing.pub" in changed
    assert not changed & {"verdict.json", "recipe.yaml", "bom.cdx.json"}


def test_a_key_that_cannot_sign_leaves_the_old_folder(
    bundle: Bundle, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle()
    before = (folder / "release.json").read_bytes()
    monkeypatch.setenv("MERGEGATE_SIGNING_KEY", "nowhere.pem")
    with pytest.raises(InputError, match=r"nowhere\.pem"):
        write_bundle(folder, record(seed=8), {})
    assert (folder / "release.json").read_bytes() == before


@pytest.mark.parametrize("name", ["model.sig", "provenance.intoto.json", "signing.pub"])
def test_a_folder_without_its_attestations_is_refused(bundle: Bundle, name: str) -> None:
    folder = bundle()
    (folder / name).unlink()
    with pytest.raises(CorruptArtifactError, match=f"{name} is missing"):
        read_bundle(folder)


def test_a_provenance_that_was_taken_from_another_release_is_refused(bundle: Bundle) -> None:
    other = bundle(candidate="other", seed=8)
    folder = bundle()
    shutil.copyfile(other / "provenance.intoto.json", folder / "provenance.intoto.json")
    sign(folder, load_signing_key())
    with pytest.raises(CorruptArtifactError, match=r"provenance\.intoto\.json: .*candidate"):
        read_bundle(folder)


def test_files_that_are_links_into_a_cache_read_like_files(bundle: Bundle) -> None:
    folder = bundle()
    for number, path in enumerate([p for p in folder.rglob("*") if p.is_file()]):
        target = Path(f"cache-{number}").absolute()
        path.rename(target)
        path.symlink_to(target)
    assert read_bundle(folder)["candidate"] == "tuned"


SECRETS = [
    ("mlflow at https://ann:pa55word@host/x", "holds a password"),
    ("hf_" + "a" * 34, "holds a password"),
    ("-----BEGIN EC PRIVATE KEY-----", "holds a password"),
    ("the value of a variable: correct-horse-battery", "holds a password"),
]


@pytest.mark.parametrize(("text", "words"), SECRETS)
def test_a_secret_is_refused_the_field_named_and_the_secret_not_repeated(
    text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_TOKEN", "correct-horse-battery")
    with pytest.raises(InputError, match=rf"release\.json: a\.b: {words}") as caught:
        check_disclosure({"a": {"b": [text]}}, "release.json")
    assert text not in str(caught.value)


def test_a_path_below_the_home_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    with pytest.raises(InputError, match="a path below the home folder"):
        check_disclosure({"base": "/home/ann/models/base"}, "params.yaml")
    check_disclosure({"base": "/data/home/anna/base", "other": "/home/anna/x"}, "params.yaml")


def test_ordinary_words_and_addresses_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "mlflow")  # short, and the name of a package
    check_disclosure({"mlflow": "https://host/x?y=1", "t": "tokenizer", "n": 3}, "release.json")


def test_evidence_that_holds_a_secret_stops_the_release(bundle: Bundle, record: Record) -> None:
    write_json(Path("more.json"), {"settings": {"base_url": "http://ann:pa55word@host/v1"}})
    with pytest.raises(InputError, match=r"evals/more\.json: settings\.base_url"):
        write_bundle(Path("out"), record(), {"evals/more.json": Path("more.json")})
    assert not Path("out").exists()


def test_the_environment_names_the_class_of_the_machine_and_not_the_machine() -> None:
    import platform

    found = describe_machine()
    assert found["packages"]["torch"]
    assert found["hardware"]["cores"] >= 1
    assert set(found["hardware"]) == {"machine", "cpu", "gpu", "cores"}
    check_disclosure(found, "environment")
    assert platform.node() not in str({key: found[key] for key in ("os", "hardware", "python")})


def test_the_record_keeps_what_made_it(bundle: Bundle) -> None:
    record = read_json(bundle() / "release.json")
    assert record["schema"] == 3
    assert record["environment"]["packages"]["torch"] == "2.13.0"
    assert record["tasks"]["json"]["task_digest"] == "1" * 64
    assert set(record["merged_files"]) == {path.name for path in Path("models/base").iterdir()}


SCHEMA = read_json(Path(bundle_module.__file__).with_name("release.schema.json"))


@pytest.mark.parametrize(
    "change",
    [{}, {"quantized_files": None, "quantization": {"skipped": "refused"}}, {"refused": {}}],
)
def test_the_record_fits_its_published_schema(bundle: Bundle, change: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    errors = [
        e.message for e in validator().iter_errors(read_json(bundle(**change) / "release.json"))
    ]
    assert errors == []


def validator() -> Draft202012Validator:
    return Draft202012Validator(SCHEMA)


def test_the_schema_misses_no_field_and_allows_no_other(bundle: Bundle) -> None:
    record = read_json(bundle() / "release.json")
    assert set(record) == set(SCHEMA["required"])
    for field in record:
        assert not validator().is_valid({k: v for k, v in record.items() if k != field}), field
    assert not validator().is_valid({**record, "more": 1})


def test_the_documentation_names_every_field_of_the_record() -> None:
    text = (Path(bundle_module.__file__).parents[2] / "docs" / "release.md").read_text()
    assert [name for name in SCHEMA["required"] if f"`{name}`" not in text] == []
    inner = [*SCHEMA["properties"]["identity"]["required"], *SCHEMA["$defs"]["pin"]["required"]]
    assert [name for name in inner if f"`{name}`" not in text] == []

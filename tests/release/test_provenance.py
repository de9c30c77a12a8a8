"""Provenance: the statement says what the record says, and public readers accept envelope and statement."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from release_family import EXPERTS, verdict
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from pipeline.facts import digest_file, read_json, write_json
from pipeline.release import dsse
from pipeline.release.keys import SigningKey, load_signing_key
from pipeline.release.provenance import PROVENANCE, provenance_faults, statement

Bundle = Callable[..., Path]
Record = Callable[..., dict[str, Any]]


def payload(folder: Path) -> dict[str, Any]:
    """The statement, without looking at its signature."""
    envelope = read_json(folder / PROVENANCE)
    found: dict[str, Any] = json.loads(b64decode(envelope["payload"]))
    return found


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Sign a changed statement with the folder's own key."""
    found, key = payload(folder), load_signing_key()
    change(found)
    write_json(folder / PROVENANCE, dsse.envelope(found, key, key.fingerprint))


def test_provenance_fits_the_record(bundle: Bundle) -> None:
    folder = bundle()
    assert provenance_faults(folder, read_json(folder / "release.json")) == []


def test_a_public_reader_verifies_the_envelope(bundle: Bundle) -> None:
    folder = bundle()
    envelope = Envelope.from_dict(read_json(folder / PROVENANCE))
    public = load_pem_public_key((folder / "signing.pub").read_bytes())
    (keyid,) = envelope.signatures
    assert envelope.verify([SSlibKey.from_crypto(public, keyid=keyid)], 1)
    envelope.payload += b" "
    with pytest.raises(VerificationError):
        envelope.verify([SSlibKey.from_crypto(public, keyid=keyid)], 1)


def test_public_readers_accept_statement_and_predicate(bundle: Bundle) -> None:
    found = payload(bundle())
    parsed = json_format.ParseDict(found, statement_pb2.Statement())
    Statement.copy_from_pb(parsed).validate()
    # Unknown fields of the predicate would be refused here.
    predicate = json_format.ParseDict(found["predicate"], provenance_pb2.Provenance())
    assert predicate.build_definition.build_type == "urn:mergegate:build-type:release:v1"
    assert predicate.run_details.metadata.invocation_id


def test_subjects_are_the_record_and_the_files_of_the_model_that_ships(bundle: Bundle) -> None:
    folder = bundle()
    subjects = {s["name"]: s["digest"]["sha256"] for s in payload(folder)["subject"]}
    assert subjects.pop("release.json") == digest_file(folder / "release.json")
    assert subjects == {p.name: digest_file(p) for p in Path("shipped").iterdir()}


def test_without_a_quantized_artifact_the_subjects_are_the_merge_s_files(bundle: Bundle) -> None:
    folder = bundle(quantized_files=None, verdict=verdict("reject"))
    names = {s["name"] for s in payload(folder)["subject"]}
    assert names == {"release.json", *(p.name for p in Path("models/base").iterdir())}


def test_every_source_is_a_dependency_with_its_files(bundle: Bundle) -> None:
    dependencies = payload(bundle())["predicate"]["buildDefinition"]["resolvedDependencies"]
    named = {one["name"]: one for one in dependencies}
    assert list(named) == [
        *("models/base", "models/json", "models/tone"),
        *("golden set of json", "golden set of tone"),
    ]
    tone = named["models/tone"]["annotations"]
    assert (tone["kind"], tone["roles"], tone["base"]) == ("adapter", ["tone"], "models/base")
    weights = Path("models/tone/adapter_model.safetensors")
    assert tone["files"][weights.name] == digest_file(weights)
    assert "uri" not in named["models/base"]


@pytest.mark.parametrize(
    ("reference", "revision", "uri"),
    [
        ("acme/base@main", "a" * 40, "pkg:huggingface/acme/base@" + "a" * 40),
        ("models:/base/3", "3", "models:/base/3"),
    ],
)
def test_a_source_from_elsewhere_says_where(
    record: Record, pins: dict[str, Any], reference: str, revision: str, uri: str
) -> None:
    model = {**pins["models/base"], "reference": reference}
    model["model"] = {**model["model"], "revision": revision}
    made = record(base=reference, pins={**pins, reference: model})
    dependencies = statement(made, "0" * 64)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert uri in [one.get("uri") for one in dependencies]


def test_all_adapters_of_one_reference_are_dependencies(
    record: Record, pins: dict[str, Any]
) -> None:
    tone, json_ = (pins[reference] for reference in EXPERTS.values())
    both = "models/base+models/tone+models/json"
    pin = {**tone, "reference": both, "further": [json_["adapter"]]}
    found = statement(record(pins={**pins, both: pin}), "0" * 64)
    dependencies = found["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert [one["name"] for one in dependencies[:3]] == [
        "models/base",
        "models/json",
        "models/tone",
    ]


def test_the_statement_is_the_same_each_time(bundle: Bundle) -> None:
    first = (bundle() / PROVENANCE).read_bytes()
    assert (bundle() / PROVENANCE).read_bytes() == first


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s["subject"].pop(), "subject: has"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "subject[0].digest.sha256"),
        (lambda s: s.update(predicateType="x"), "predicateType"),
        (lambda s: s["predicate"].update(more=1), "predicate.more"),
        (
            lambda s: s["predicate"]["buildDefinition"]["externalParameters"].update(seed=8),
            "predicate.buildDefinition.externalParameters.seed",
        ),
        (
            lambda s: s["predicate"]["buildDefinition"]["externalParameters"].update(seed=7.0),
            "predicate.buildDefinition.externalParameters.seed",
        ),
        (
            lambda s: s["predicate"]["runDetails"]["metadata"].clear(),
            "predicate.runDetails.metadata.invocationId: is missing",
        ),
    ],
)
def test_a_statement_of_something_else_is_a_fault_even_if_it_is_signed(
    bundle: Bundle, change: Callable[[dict[str, Any]], Any], named: str
) -> None:
    folder = bundle()
    rewrite(folder, change)
    faults = provenance_faults(folder, read_json(folder / "release.json"))
    assert len(faults) == 1
    assert faults[0].startswith(f"{PROVENANCE}: {named}")


def test_a_changed_record_is_not_the_one_that_was_attested(bundle: Bundle) -> None:
    folder = bundle()
    record = read_json(folder / "release.json")
    write_json(folder / "release.json", {**record, "candidate": "another"})
    faults = provenance_faults(folder, read_json(folder / "release.json"))
    assert [fault.split(": ")[1] for fault in faults] == [
        "predicate.buildDefinition.externalParameters.candidate",
        "subject[0].digest.sha256",
    ]


def test_a_statement_signed_by_another_key_is_a_fault(bundle: Bundle) -> None:
    folder = bundle()
    key = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
    write_json(folder / PROVENANCE, dsse.envelope(payload(folder), key, key.fingerprint))
    (fault,) = provenance_faults(folder, read_json(folder / "release.json"))
    assert fault.startswith(f"{PROVENANCE}: signatures: not of the key")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"payload": 1}', "[" * 100_000])
def test_what_is_no_envelope_is_told_in_words(bundle: Bundle, content: str) -> None:
    folder = bundle()
    (folder / PROVENANCE).write_text(content)
    (fault,) = provenance_faults(folder, read_json(folder / "release.json"))
    assert fault.startswith(f"{PROVENANCE}: ")

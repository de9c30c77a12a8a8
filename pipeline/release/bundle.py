"""The release folder: card, report, bill of materials, record and evidence, attested and signed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import canonical_json, digest_file, read_json, write_json, write_text
from pipeline.folders import FolderKind, whole_folder
from pipeline.release import sigstore
from pipeline.release.bom import BOM, render_bom
from pipeline.release.card import render_card
from pipeline.release.disclosure import check_disclosure
from pipeline.release.keys import SigningKey, load_signing_key
from pipeline.release.provenance import PROVENANCE, provenance_faults, write_provenance
from pipeline.release.record import RECORD as RECORD
from pipeline.release.record import check_record, with_digests
from pipeline.release.signature import PUBLIC_KEY, SIGNATURE, sign, signature_faults

CARD, RECIPE, REPORT = "README.md", "recipe.yaml", "report.html"
ATTESTED = (PROVENANCE, SIGNATURE)  # written after the record, which they cover
RELEASE = FolderKind("a release folder", RECORD, lambda folder: (folder / RECORD).is_file())


def write_bundle(
    out: Path,
    record: Mapping[str, Any],
    evidence: Mapping[str, Path],
    *,
    key: SigningKey | None = None,
    examples: Mapping[str, Any] | None = None,
) -> None:
    """Write the folder `out` whole or not at all, in place of an older one.

    Holds README.md (the model card), report.html (with `examples`, see `pipeline.report`),
    bom.cdx.json, recipe.yaml, `evidence` (path in the folder: file to copy), signing.pub,
    release.json, provenance.intoto.json and model.sig. In release.json, `files` lists the SHA-256 of
    all that stand before it here, `digests` that of each of its own fields, and `signing` the `key`
    (by default that of `load_signing_key`). The same record, evidence and key give the same bytes.

    Raises InputError naming evidence that is missing, what must not be told (see
    `check_disclosure`), and where `out` is a folder of another kind.
    """
    if missing := [str(path) for path in evidence.values() if not path.is_file()]:
        raise InputError(
            f"{', '.join(missing)}: no such file, and the release needs it. "
            "Run `mergegate release`."
        )
    key = key or load_signing_key()
    # As it will be read: what is rendered from it must not depend on the order of its fields.
    record = json.loads(canonical_json({**record, "signing": signing(key)}))
    check_disclosure(record, RECORD)
    with whole_folder(out, RELEASE) as part:
        _write_evidence(part, evidence)
        write_text(part / RECIPE, record["identity"]["recipe"]["text"])
        write_text(part / CARD, render_card(record))
        write_json(part / BOM, render_bom(record))
        write_text(part / PUBLIC_KEY, key.public.decode())
        write_text(part / REPORT, _report(record, part, examples or {}))
        names = sorted({CARD, RECIPE, REPORT, BOM, PUBLIC_KEY, *evidence})
        files = {name: digest_file(part / name) for name in names}
        full = with_digests({**record, "files": files})
        write_json(part / RECORD, full)
        write_provenance(part, full, key)
        sign(part, key, name=record["name"], known=files)


def signing(key: SigningKey) -> dict[str, str]:
    """Who signs: the key, by fingerprint and algorithm, and whether Sigstore signs the folder instead."""
    method = "sigstore" if sigstore.wanted() else "key"
    return {"fingerprint": key.fingerprint, "algorithm": key.algorithm, "method": method}


def read_bundle(folder: Path) -> dict[str, Any]:
    """The record in a release folder, of this schema or an older one.

    Raises CorruptArtifactError naming every file that is not as recorded, attested or signed. Whose
    key signed it is not asked here.
    """
    record: dict[str, Any] = read_json(folder / RECORD)
    check_record(record, str(folder / RECORD))
    wrong = [f"{name} {fault}" for name, fault in file_faults(folder, record.get("files")).items()]
    if not wrong and record["schema"] > 2:
        wrong = [*provenance_faults(folder, record), *signature_faults(folder)[1]]
    if wrong:
        raise CorruptArtifactError(
            f"{folder}: not what was recorded: {', '.join(wrong)}. Run `mergegate release` again."
        )
    return record


def file_faults(folder: Path, expected: Any) -> dict[str, str]:
    """What is wrong with each file of `folder`, by its path; `expected` is {path: SHA-256}.

    A file that is not expected is a fault as well: whoever is given the folder takes it for
    evidence. Where signing.pub is expected, so are provenance and signature, whose content they
    vouch for themselves.
    """
    if not isinstance(expected, Mapping):
        return {RECORD: "lists no files"}
    faults = {name: fault for name in expected if (fault := _fault(folder, name, expected[name]))}
    attested = ATTESTED if PUBLIC_KEY in expected else ()
    faults |= {name: "is missing" for name in attested if not (folder / name).is_file()}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if _holds(path)}
    extra = sorted(found - {RECORD, *attested, *expected})
    return {**faults, **dict.fromkeys(extra, "is no part of the release")}


def _write_evidence(folder: Path, evidence: Mapping[str, Path]) -> None:
    for name, path in evidence.items():
        if path.suffix == ".json":
            check_disclosure(read_json(path), name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)


def _report(record: Mapping[str, Any], folder: Path, examples: Mapping[str, Any]) -> str:
    from pipeline.report import render_report  # its templates take a while, and readers need none

    return render_report(record, folder, examples)


def _holds(path: Path) -> bool:
    """Whether a path is more than a folder; a link to a folder hides what is in it."""
    return path.is_symlink() or not path.is_dir()


def _fault(folder: Path, name: str, digest: Any) -> str:
    path = folder / name
    # By name, not by where links lead: DVC may keep outputs as links into its cache.
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return "leaves the folder"
    if not path.is_file():
        return "is missing"
    return "" if digest_file(path) == digest else "changed"

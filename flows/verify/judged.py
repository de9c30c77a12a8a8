"""The verdict computed again, and what the record says of the other files against those files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from flows.verify.consistent import consistent
from flows.verify.rendered import rendered
from flows.verify.result import Part, attempt, count, first, plain, together
from gates import Verdict
from gates.recompute import Stored, differences, plain_verdict, read_stored, release_verdict
from pipeline.code import code_digest
from pipeline.errors import InputError
from pipeline.evaluate.table import comparison
from pipeline.facts import Evaluation, read_evaluation, read_json
from pipeline.release.bundle import RECORD
from pipeline.release.verdict_inputs import told, told_again

PLAIN = "plain task arithmetic"  # as `refused` names it


def judged_again(folder: Path, record: Mapping[str, Any], today: date) -> tuple[str, Part]:
    """The outcome of the verdict computed again ("" where it could not be), and what that showed; and
    whether the files beside the verdict say what the record says.

    `today` only says which waivers have expired since the day of the verdict.
    """
    same = made_by_this_code(record)
    beside = consistent(folder, record, same_code=same)
    if record.get("schema") == 1:
        page = rendered(folder, record, {}, same_code=same)
        return "", together(_without_policy(folder, record), beside, page)
    stored = attempt(folder, lambda: _stored(folder, record))
    if isinstance(stored, str):
        return "", together(Part(faults=(stored,)), beside)
    page = rendered(folder, record, stored.evaluations, same_code=same)
    outcome, judged = _judged(folder, record, stored, today)
    return outcome, together(judged, beside, page)


def _judged(
    folder: Path, record: Mapping[str, Any], stored: Stored, today: date
) -> tuple[str, Part]:
    """The verdict computed again from `stored`, and what that showed."""
    verdict, faults = _recomputed(folder, record, stored)
    checked = (
        f"{count(stored.evaluations, 'variant')} and {_samples(stored):,} scores, judged again by "
        f"the policy {stored.policy.digest[:12]}…",
        f"verdict, comparison, and what {RECORD} says of policy, scores and golden sets",
    )
    notes = tuple(_notes(stored, verdict, today)) + code_notes(record, differs=bool(faults))
    return verdict.outcome if verdict else "", Part(checked, tuple(faults), notes)


def code_notes(record: Mapping[str, Any], *, differs: bool) -> tuple[str, ...]:
    """That another version of mergegate made the release, where it did."""
    made = attempt(Path(), lambda: record["identity"]["versions"].get("code"))
    if made in (None, code_digest()):
        return ()
    return (
        "Made by another version of mergegate"
        + (
            ", whose words or rounding may differ: verify with that one to be certain."
            if differs
            else "; this one comes to the same verdict."
        ),
    )


def made_by_this_code(record: Mapping[str, Any]) -> bool:
    """Whether this very version of mergegate made the release, as far as the record says."""
    try:
        return bool(record["identity"]["versions"]["code"] == code_digest())
    except (KeyError, TypeError):
        return False


def compared(name: str, stored: Any, computed: Any) -> list[str]:
    """Where a document differs from what it should be, as JSON keeps both."""
    return first([f"{name}: {words}" for words in differences(plain(stored), plain(computed))])


def _without_policy(folder: Path, record: Mapping[str, Any]) -> Part:
    """A release of schema 1: what is said twice is compared, the verdict taken as it stands."""
    found = attempt(folder, lambda: _told_by_schema_1(folder, record))
    note = (
        "Schema 1 keeps no policy: the verdict cannot be computed again, and stands as it was "
        "written. Run `mergegate release` again for a record that can."
    )
    checked = f"what {RECORD} says of scores, golden sets, verdict and recipe"
    return Part((checked,), (found,) if isinstance(found, str) else tuple(found), (note,))


def _told_by_schema_1(folder: Path, record: Mapping[str, Any]) -> list[str]:
    evaluations = {
        name: read_evaluation(folder / "evals" / f"{name}.json") for name in _variants(record)
    }
    verdict = read_json(folder / "verdict.json")
    refused = record["refused"].get(PLAIN, {"outcome": "promote"})  # it has no file to compare with
    policy = verdict["policy_digest"]
    again = told_again(folder, record, evaluations, policy, verdict, refused)
    return compared(RECORD, told(record), again)


def _variants(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The rows of the table, which keep the order of params.yaml; JSON sorts the names of a mapping."""
    named = tuple(variant for variant, _ in record["comparison"]["rows"])
    needed = {
        *("base", "plain", "merged"),
        *record["rollback"]["experts"],
        *record["identity"]["samples"],
    }
    if bad := sorted(needed - {*named}):
        raise InputError(f"{RECORD}: comparison: has no row of {', '.join(bad)}.")
    # Only files of the folder, whatever a record may call a variant.
    if bad := [name for name in named if f"evals/{name}.json" not in record["files"]]:
        raise InputError(f"{RECORD}: files: has no evals/{bad[0]}.json.")
    if bad := [name for name in named if name in ("", ".", "..") or Path(name).name != name]:
        raise InputError(f"{RECORD}: comparison: {bad[0]!r} is no name of a variant.")
    return named


def _stored(folder: Path, record: Mapping[str, Any]) -> Stored:
    """The content of the folder, as the record names it."""
    identity, named = record["identity"], _variants(record)
    weights = {"merged": identity["merged"], "quantized": identity["quantized"]}
    return read_stored(
        folder,
        variants=named,
        experts=tuple(name for name in named if name in record["rollback"]["experts"]),
        registered={artifact: digest for artifact, digest in weights.items() if digest},
        judged_on=str(read_json(folder / "verdict.json")["judged_on"]),
    )


def _recomputed(
    folder: Path, record: Mapping[str, Any], stored: Stored
) -> tuple[Verdict | None, list[str]]:
    """The verdict computed again, and where folder and record do not say the same."""
    judged = attempt(folder, lambda: (release_verdict(stored), plain_verdict(stored)))
    if isinstance(judged, str):
        return None, [judged]
    verdict, arithmetic = judged
    documents: dict[str, Any] = {
        "verdict.json": verdict.to_json(),
        "plain.verdict.json": arithmetic.to_json(),
        "comparison.csv": _lines(comparison(_all(stored)).to_csv()),
    }
    faults: list[str] = []
    for name, computed in documents.items():
        found = attempt(folder, partial(_compared_file, folder / name, computed))
        faults += [found] if isinstance(found, str) else found
    again = (stored.evaluations, stored.policy.digest, verdict.to_json(), arithmetic.to_json())
    found = attempt(
        folder, lambda: compared(RECORD, told(record), told_again(folder, record, *again))
    )
    return verdict, faults + ([found] if isinstance(found, str) else found)


def _compared_file(path: Path, computed: Mapping[str, Any]) -> list[str]:
    """A JSON file compared as it is, another one by its lines."""
    if path.suffix == ".json":
        return compared(path.name, read_json(path), computed)
    return compared(path.name, _lines(path.read_text(encoding="utf-8")), computed)


def _notes(stored: Stored, verdict: Verdict | None, today: date) -> Iterator[str]:
    """Waivers that have expired since, and what the verdict notes."""
    if stored.policy.waivers:
        yield f"Waivers hold as on {stored.day}, the day of the verdict."
        for waiver in stored.policy.waivers:
            if waiver.expired(today):
                yield f"The waiver of {waiver.check} has expired since ({waiver.words})."
    yield from verdict.notes if verdict else ()


def _lines(text: str) -> dict[str, str]:
    """A text as a document that can be compared."""
    return {f"line {number}": line for number, line in enumerate(text.split("\n"), 1)}


def _all(stored: Stored) -> list[Evaluation]:
    return list(stored.evaluations.values())


def _samples(stored: Stored) -> int:
    return sum(len(evaluation.scores) for evaluation in _all(stored))

"""compat.json of a release: that it speaks of this recipe, of each source, and that nothing in it blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError
from pipeline.facts import Finding, read_json
from pipeline.recipe import Recipe, load_recipe
from pipeline.release.bundle import RECIPE, RECORD
from pipeline.waivers import COMPATIBILITY

COMPAT, POLICY = "compat.json", "policy.json"
PLAN = "plan"
# The checks that have a finding on every source, and on every one with an adapter; the others hold
# each source against the base. Written down here once more, apart from the checks themselves.
OF_EACH, OF_ADAPTERS = frozenset({"values", "licences"}), frozenset({"adapters"})
AGAINST_BASE = COMPATIBILITY - OF_EACH - OF_ADAPTERS
_FIELDS = tuple(field.name for field in fields(Finding))


def found_sources(folder: Path, record: Mapping[str, Any], *, same_code: bool) -> Iterator[str]:
    """What is wrong with compat.json, «FILE: FIELD: what»; nothing else stores its findings.

    `same_code`: the checks are those of this version, so that each must have its findings; of another
    version each source must have one. Raises InputError and CorruptArtifactError for files that do
    not read, KeyError and the like for what is of another shape.
    """
    compat, recipe = read_json(folder / COMPAT), load_recipe(folder / RECIPE)
    digest, sources = record["identity"]["recipe"]["digest"], record["identity"]["sources"]
    if compat.get("recipe_digest") != digest:
        yield f"{COMPAT}: recipe_digest: is {compat.get('recipe_digest')}, and {RECORD} says {digest}"
    needed = {str(reference) for reference in recipe.references()}
    for reference in sorted(needed - compat["pins"].keys()):
        yield f"{COMPAT}: pins: has none of {reference}, which the recipe names"
    for reference in sorted(compat["pins"].keys() - sources.keys()):
        yield f"{COMPAT}: pins.{reference}: is no source of {RECORD}"
    findings = compat["findings"]
    if not isinstance(findings, list):
        raise CorruptArtifactError(f"{COMPAT}: findings: is no list.")
    waivers = read_json(folder / POLICY).get("waivers") or ()
    waived = {waiver["check"] for waiver in waivers}
    for number, finding in enumerate(findings):
        if fault := _fault(finding, waived):
            yield f"{COMPAT}: findings[{number}]{fault}"
            return  # what comes below counts findings that read
    yield from _uncovered(findings, recipe, same_code)


def _fault(finding: Any, waived: set[str]) -> str:
    """Why a finding cannot be one of a release; "" where it can."""
    if not isinstance(finding, Mapping) or sorted(finding) != sorted(_FIELDS):
        return f": is no finding; it must have {', '.join(_FIELDS)}"
    if bad := [name for name in _FIELDS if not isinstance(finding[name], str)]:
        return f".{bad[0]}: is no text"
    code, subject, status = finding["code"], finding["subject"], finding["status"]
    if status == "pass":
        return ""
    if status != "waived":
        return f".status: is {status}, and a release passes with pass or waived alone"
    if {code, f"{code}:{subject}"} & waived:
        return ""
    return f".status: is waived, and {POLICY} has no waiver of {code} for {subject}"


def _uncovered(
    findings: Sequence[Mapping[str, str]], recipe: Recipe, same_code: bool
) -> Iterator[str]:
    """The sources that a check should have looked at, and has no finding on."""
    base, singles = _singles(recipe)
    found = Counter((finding["code"], finding["subject"]) for finding in findings)
    if not same_code:
        told = {subject for _, subject in found}
        yield from (f"{COMPAT}: findings: has none on {one}" for one in singles if one not in told)
        return
    due = {one: set(OF_EACH) for one in singles}
    for one, has_adapter in singles.items():
        due[one] |= OF_ADAPTERS if has_adapter else set()
        due[one] |= AGAINST_BASE if one != base else set()
    for one, codes in due.items():
        if missing := sorted(code for code in codes if not found[code, one]):
            yield f"{COMPAT}: findings: has none of {', '.join(missing)} on {one}"
    if not any(code == PLAN for code, _ in found):
        yield f"{COMPAT}: findings: has none of {PLAN}"


def _singles(recipe: Recipe) -> tuple[str, dict[str, bool]]:
    """The base's name, and {source: whether it is an adapter}; several adapters are a source each."""
    references = recipe.references()
    base = recipe.base_model if recipe.base_model in references else references[0]
    each = [one for reference in references for one in reference.each()]
    return str(base.each()[0]), {str(one): one.adapter is not None for one in each}

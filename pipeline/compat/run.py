"""All checks over one recipe and its sources."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

# Imported for their registration; the order here is the order of the findings.
from pipeline.compat import (  # isort: skip
    architecture as architecture,
    shapes as shapes,
    tokenizer as tokenizer,
    chat_template as chat_template,
    lineage as lineage,
    adapters as adapters,
    values as values,
    licences as licences,
)
from pipeline.compat.plan import plan_finding
from pipeline.compat.registry import CHECKS, CompatFacts
from pipeline.errors import InputError
from pipeline.facts import Finding
from pipeline.recipe import Recipe
from pipeline.sources import Source
from pipeline.waivers import Waiver


def run_checks(
    recipe: Recipe,
    sources: Mapping[str, Source],
    waivers: Sequence[Waiver] = (),
    *,
    today: date | None = None,
    cache: Path | None = None,
    skip: Collection[str] = (),
) -> list[Finding]:
    """Every finding of every check, in the order of checks and then of sources; where none blocks, of the plan.

    `sources` are the recipe's, by the name that findings are to use, the base first; where the
    recipe has no base_model, all are held against the first. The check of a waiver is a code, or
    `code:subject` for one source alone; others are the gate's. It holds until the end of its day
    (`today`: default the UTC date). `cache` is that of `hashes.file_digests`. Checks whose
    code is in `skip` are left out.
    """
    if not sources:
        raise InputError(f"{recipe.where}: names no model, so there is nothing to check.")
    day = today or datetime.now(UTC).date()
    base = _base(recipe, sources)
    single = {n: s for name, source in sources.items() for n, s in _each(name, source)}
    facts = CompatFacts(recipe, single, _each(base, sources[base])[0][0], cache)
    chosen = [check for code, check in CHECKS.items() if code not in skip]
    found = [finding for check in chosen for finding in check.function(facts)]
    found = [_waived(finding, waivers, day) for finding in found]
    # A plan of sources that do not fit would say once more what the checks have said.
    return (
        found
        if any(finding.blocks for finding in found)
        else [*found, plan_finding(recipe, sources.values())]
    )


def _each(name: str, source: Source) -> list[tuple[str, Source]]:
    """A source by its name; one with several adapters as one for each of them."""
    if len(source.adapters) < 2:
        return [(name, source)]
    return [(str(one.reference), one) for one in source.each()]


def _base(recipe: Recipe, sources: Mapping[str, Source]) -> str:
    stated = (name for name, s in sources.items() if s.reference == recipe.base_model)
    return next(stated, next(iter(sources)))


def _waived(finding: Finding, waivers: Sequence[Waiver], today: date) -> Finding:
    """The finding, with status `waived` where it blocks and a waiver covers it on that day.

    The message says who waived it; a waiver that has expired is mentioned, and changes nothing.
    """
    named = (finding.code, f"{finding.code}:{finding.subject}")
    covering = [waiver for waiver in waivers if finding.blocks and waiver.check in named]
    for waiver in covering:
        if not waiver.expired(today):
            message = f"{finding.message} Waived {waiver.words}"
            return replace(finding, status="waived", message=message)
    expired = [f" A waiver has expired ({waiver.words})." for waiver in covering]
    return replace(finding, message=finding.message + "".join(expired))

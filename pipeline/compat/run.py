"""All checks over one recipe and its sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

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
from pipeline.compat.registry import CHECKS, CompatFacts
from pipeline.compat.waivers import parse_waivers, waived
from pipeline.errors import InputError
from pipeline.facts import Finding
from pipeline.recipe import Recipe
from pipeline.sources import Source


def run_checks(
    recipe: Recipe,
    sources: Mapping[str, Source],
    waivers: Sequence[Any] = (),
    *,
    today: date | None = None,
    cache: Path | None = None,
) -> list[Finding]:
    """Every finding of every check, in the order of checks and then of sources.

    `sources` are the recipe's, by the name that findings are to use, the base first; where the
    recipe has no base_model, all are held against the first. `waivers` are mappings of `check` (a
    code, or `code:subject`), `name`, `reason` and `expires`; one holds until the end of its day
    (`today`: default the UTC date). `cache` is that of `hashes.file_digests`.
    """
    if not sources:
        raise InputError(f"{recipe.where}: names no model, so there is nothing to check.")
    granted, day = parse_waivers(waivers), today or datetime.now(UTC).date()
    facts = CompatFacts(recipe, sources, _base(recipe, sources), cache)
    found = [finding for check in CHECKS.values() for finding in check.function(facts)]
    return [waived(finding, granted, day) for finding in found]


def _base(recipe: Recipe, sources: Mapping[str, Source]) -> str:
    stated = (name for name, s in sources.items() if s.reference == recipe.base_model)
    return next(stated, next(iter(sources)))

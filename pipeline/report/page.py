"""The page: the parts put together by the templates, under a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report.checks import against, checks_of, methods_of, reasons_of
from pipeline.report.facts import (
    digests_of,
    latency_of,
    machine_of,
    packages_of,
    refused_of,
    source_checks,
    versions_of,
    waivers_of,
)
from pipeline.report.forest import NARROW, WIDE, forest
from pipeline.report.interference import interference
from pipeline.report.lenient import at, entries, part, stored, words
from pipeline.report.lineage import lineage, sources_of
from pipeline.report.variants import variants_of
from pipeline.report.visible import visible
from pipeline.report.wording import brief, look

_TEMPLATES = Path(__file__).parent / "templates"

_SET = {"check": "", "artifact": "", "metric": "", "reference": "", "safety": False}
_SET |= {"failed": 0, "samples": 0, "gained": 0}
_TEXTS = ("prompt", "expected", "candidate_answer", "reference_answer")
_EXAMPLE = {"id": "", "candidate_score": 0.0, "reference_score": 0.0, "about": {}, "cut": ()}
_EXAMPLE |= dict.fromkeys(_TEXTS)


def render_report(
    record: Mapping[str, Any], folder: Path, examples: Mapping[str, Any] | None = None
) -> str:
    """report.html of a release: HTML that stands alone, the same bytes for the same input.

    `record`: release.json of any schema, with or without `files` and `digests`. `folder`: the release
    folder, read for diagnosis.json, policy.json and compat.json; what it lacks is left out in words.
    `examples`: as `failed_examples` gives them; None or {} where there are none.
    """
    record, examples = _sorted(record), _sorted(examples or {})
    verdict = part(record, "verdict")
    compat, policy = stored(folder / "compat.json"), stored(folder / "policy.json")
    checks = checks_of(verdict)
    style = (_TEMPLATES / "style.css.j2").read_text(encoding="utf-8")
    page = _environment().get_template("page.html.j2")
    return page.render(
        record=record,
        style=Markup(style),  # our own file; its digest lets it, and no other style, apply
        style_digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        name=words(record, "name") or "unnamed release",
        candidate=words(record, "candidate"),
        release_digest=words(record, "release_digest"),
        outcome=look(words(verdict, "outcome")),
        sentence=_rest(verdict),
        against=against(verdict),
        waived=against(verdict, waived=True),
        reasons=reasons_of(verdict),
        notes=[str(note) for note in at(verdict, "notes") or ()],
        improvements=[words(one, "text") for one in entries(verdict, "improvements")],
        checks=checks,
        alphas=sorted({words(row, "alpha") for row in entries(verdict, "rows")} - {""}),
        methods=methods_of(checks),
        forests=[forest(checks, layout) for layout in (WIDE, NARROW)],
        table=variants_of(record),
        latency=latency_of(record, policy),
        sources=sources_of(record),
        lineage=lineage(record),
        source_checks=source_checks(compat),
        interference=interference(stored(folder / "diagnosis.json")),
        examples=_examples(examples),
        refused=refused_of(record),
        waivers=waivers_of(record, compat),
        method=_filled(
            part(record, "method"), "name", "summary", "citation", "rationale", "measured"
        ),
        recipe=words(record, "identity", "recipe", "text"),
        seed=words(record, "identity", "seed"),
        signing=_filled(part(record, "signing"), "fingerprint", "method"),
        quantization=sorted(part(record, "quantization").items()),
        digests=digests_of(record),
        versions=versions_of(record),
        machine=machine_of(record),
        packages=packages_of(record),
        experts=", ".join(part(record, "rollback", "experts")),
        base=words(record, "rollback", "base", "reference"),
    )


def _sorted(value: Mapping[str, Any]) -> dict[str, Any]:
    """As it is read back from its file, so that the order of keys in memory changes no byte."""
    found: dict[str, Any] = json.loads(json.dumps(value, sort_keys=True))
    return found


@cache
def _environment() -> Environment:
    """Everything is escaped, and everything that hides is made visible first."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize,
    )
    environment.filters["brief"] = brief
    environment.filters["words"] = words
    return environment


def _finalize(value: Any) -> Any:
    """Not of Markup, which is our own: the style, and what macros have already made of their values."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _rest(verdict: Mapping[str, Any]) -> str:
    """The sentence without its first word, which the page shows by itself."""
    sentence, word = words(verdict, "sentence"), look(words(verdict, "outcome"))["word"]
    return sentence.removeprefix(f"{word}: ") or "The record holds no verdict."


def _filled(value: Mapping[str, Any], *keys: str) -> dict[str, str]:
    """The texts at `keys`, "" for what is not there."""
    return {key: words(value, key) for key in keys}


def _examples(examples: Mapping[str, Any]) -> dict[str, Any]:
    """The sets of skills and of safety suites apart, with what an older file may lack."""
    sets = [{**_SET, **one} for one in entries(examples, "sets")]
    for one in sets:
        one["examples"] = [{**_EXAMPLE, **e} for e in entries(one, "examples")]
        one["hidden"] = max(0, one["failed"] - len(one["examples"]))
    return {
        "most": words(examples, "most"),
        "longest": words(examples, "longest"),
        "skills": [one for one in sets if not one.get("safety")],
        "safety": [one for one in sets if one.get("safety")],
    }

"""Releases to render, small and whole, and a reader of what came of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pipeline.report import render_report

INLINE = {"span", "strong", "code", "tspan", "a"}
VOID = {"meta", "link", "br", "img", "input", "hr", "col", "base", "source", "wbr", "embed", "area"}


def row(check: str, artifact: str, **changes: Any) -> dict[str, Any]:
    """A row of figures as verdict.json has it: a share, 3 points worse, within its margin of 5."""
    return {
        "artifact": artifact,
        "check": check,
        "kind": "skill",
        "metric": "exact",
        "reference": "json",
        "outcome": "promote",
        "margin": 0.05,
        "floor": 0.85,
        "alpha": 0.05,
        "n": 800,
        "candidate_mean": 0.92,
        "reference_mean": 0.95,
        "difference": -0.03,
        "lower": -0.042,
        "upper": -0.02,
        "discordant": 30,
        "needed_n": None,
        "method": "a method for paired proportions",
        "rule": check,
        "slice": "",
        "cluster": "",
        "clusters": None,
        "low": 0.0,
        "high": 1.0,
        "direction": "higher",
        "bound": None,
        **changes,
    }


def reason(check: str, artifact: str, outcome: str, text: str, waiver: str = "") -> dict[str, str]:
    return {
        "artifact": artifact,
        "check": check,
        "outcome": outcome,
        "text": text,
        "waiver": waiver,
    }


def promoted() -> dict[str, Any]:
    """The record of a promotion with all that a record may have."""
    safety = {"kind": "safety", "metric": "refused", "reference": "base", "difference": 0.0}
    safety |= {"lower": -0.011, "upper": 0.011, "bound": 0.988, "n": 240, "margin": 0.03}
    verdict = {
        "schema": 2,
        "outcome": "promote",
        "sentence": "Promote: 1 skill and 1 safety suite show it. Waived: latency.",
        "artifacts": ["merged", "quantized"],
        "reasons": [
            reason(
                "latency", "merged", "reject", "latency: 2.5 times as long", "waived by Ann Lee"
            ),
            reason("json", "merged", "promote", "json: 92 % against 95 % of json-lora"),
            reason("refusal", "merged", "promote", "refusal: no difference"),
            reason("json", "quantized", "promote", "json: 92.1 % of the quantized"),
            reason("refusal", "quantized", "promote", "refusal: as the base"),
        ],
        "rows": [
            row("json", "merged"),
            row("json[language=de]", "merged", rule="json", slice="language=de", n=120),
            row("refusal", "merged", **safety),
            row("json", "quantized", difference=-0.029),
            row("refusal", "quantized", **safety),
        ],
        "waivers": [
            {"check": "latency", "name": "Ann Lee", "reason": "ticket 7", "expires": "2031-12-31"}
        ],
        "notes": ["The golden set is nearly used up."],
        "improvements": [{"artifact": "merged", "check": "tone", "text": "tone: 3 points better"}],
    }
    refused = {
        "outcome": "reject",
        "sentence": "Reject: json fell short.",
        "rows": [],
        "reasons": [reason("json", "merged", "reject", "json: 71.6 %, 23.2 points worse")],
    }
    lora = "models/base+models/json-lora"
    return {
        "schema": 3,
        "name": "harbor",
        "candidate": "tuned",
        "release_digest": "ab" * 32,
        "identity": {
            "recipe": {"digest": "c1" * 32, "text": "merge_method: ties\nmodels: []\n"},
            "sources": {
                "models/base": {
                    "adapter": None,
                    "model": {"licence": "mit", "digest": "b1" * 32, "revision": "0e9e39f1"},
                },
                lora: {
                    "adapter": {"licence": "apache-2.0", "digest": "b2" * 32, "revision": None},
                    "model": {"licence": "mit", "digest": "b1" * 32},
                },
            },
            "merged": "d1" * 32,
            "quantized": "d2" * 32,
            "golden": {"json": "e1" * 32},
            "policy": "f1" * 32,
            "samples": {"merged": "e2" * 32},
            "outcome": "promote",
            "seed": 7,
            "versions": {"torch": "2.13.0", "mergegate": "0.2.0"},
        },
        "method": {
            "name": "ties",
            "summary": "trimmed, merged where signs agree",
            "citation": "Yadav et al. 2023",
            "rationale": "They overlap.",
            "measured": "They hardly touch.",
        },
        "verdict": verdict,
        "comparison": {
            "columns": [["json", "exact"], ["json", "parse"]],
            "rows": [["base", [0.1, 0.2]], ["json", [0.95, 1.0]], ["merged", [0.92, None]]],
        },
        "quantization": {"scheme": "W4A16", "group_size": 32, "ignored": ["lm_head"]},
        "latency": {
            "device": "cpu",
            "merged": {"p50": 9.0, "p95": 30.0},
            "unmerged": {"p50": 11.0, "p95": 12.0},
        },
        "domains": {"json": "strict tool calls"},
        "environment": {"os": {"name": "Linux"}, "packages": {"numpy": "2.4.6"}},
        "signing": {"fingerprint": "9f" * 32, "algorithm": "ecdsa", "method": "key"},
        "rollback": {
            "base": {"reference": "models/base", "digest": "b1" * 32},
            "experts": {"json": {"reference": lora, "digest": "b2" * 32}},
            "digest": "a1" * 32,
        },
        "refused": {"plain task arithmetic": refused},
    }


def judged(outcome: str, text: str) -> dict[str, Any]:
    """The same release with another outcome for json, which then is not quantized."""
    record = promoted()
    record["identity"]["quantized"] = None
    verdict = record["verdict"]
    verdict["outcome"], verdict["waivers"] = outcome, []
    verdict["sentence"] = f"{outcome.capitalize()}: json decided it."
    verdict["reasons"] = [reason("json", "merged", outcome, text)]
    verdict["rows"] = [row("json", "merged", outcome=outcome)]
    return record


def evidence() -> dict[str, Any]:
    """What lies beside the record and is read for the report, by name."""
    source = {"relative_norm": 0.294, "effective_rank": 10.2, "top_share": 0.49}
    pair = {"of": ["tone-lora", "json-lora"], "cosine": -0.31, "sign_conflict": 0.61}
    cells = [
        {"layer": layer, "kind": kind, "cancelled": lost, "pairs": [pair], "sources": {"j": source}}
        for layer, kind, lost in ((0, "mlp", 0.1), (1, "mlp", 0.5), (None, "embed", None))
    ]
    return {
        "diagnosis.json": {
            "whole": {"cancelled": 0.39, "pairs": [pair], "sources": {"json-lora": source}},
            "cells": cells,
            "suggestion": {"method": "ties", "reason": "They interfere."},
        },
        "policy.json": {"latency": {"metric": "p95", "max_ratio": 1.5}},
        "compat.json": {
            "findings": [
                {"code": "licences", "subject": "a", "status": "pass", "message": ""},
                {"code": "values", "subject": "b", "status": "waived", "message": "waived by Bo"},
            ]
        },
    }


def examples() -> dict[str, Any]:
    """As `failed_examples` gives them: one shown of three for a skill, one for a safety suite."""
    one = {
        "id": "json-0007",
        "candidate_score": 0.0,
        "reference_score": 1.0,
        "prompt": "Route this ticket.",
        "expected": '{"queue": "returns"}',
        "candidate_answer": "I would rather not.",
        "reference_answer": '{"queue":"returns"}',
        "about": {"category": "returns"},
        "cut": ["prompt"],
    }
    skill = {"check": "json", "artifact": "merged", "safety": False, "metric": "exact"}
    skill |= {"reference": "json", "samples": 800, "failed": 3, "gained": 2, "examples": [one]}
    unknown = {**one, "id": "refusal-0001", "prompt": None, "reference_answer": None, "cut": []}
    veto = {**skill, "check": "refusal", "safety": True, "failed": 1, "examples": [unknown]}
    return {"most": 5, "longest": 2000, "sets": [skill, veto]}


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return folder


def whole(folder: Path) -> str:
    """The report of the promotion with all there is."""
    return render_report(promoted(), write(folder, evidence()), examples())


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of JSON values with every text in it changed; keys and the few words of our own stay."""
    kept = {
        "promote",
        "reject",
        "merged",
        "quantized",
        "safety",
        "skill",
        "higher",
        "waived",
        "prompt",
    }
    if isinstance(value, dict):
        return {key: mapped(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [mapped(inner, change) for inner in value]
    if isinstance(value, str) and value and value not in kept:
        return change(value)
    return copy.deepcopy(value)


class Read(HTMLParser):
    """The elements of a page in order, with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.unclosed: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        self.text += "" if tag in INLINE else " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self.text += "" if tag in INLINE else " "
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    @property
    def words(self) -> str:
        """The text with every run of white space as one space."""
        return " ".join(self.text.split())

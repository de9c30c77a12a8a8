"""The page says what the record says, in words, for every outcome and for records that lack things."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from rendered import Read, evidence, examples, judged, promoted, row, whole, write

from pipeline.report import render_report

RELEASES = Path(__file__).parents[1] / "fixtures" / "releases"


@pytest.mark.parametrize(
    "said",
    [
        "✓ Promote: 1 skill and 1 safety suite show it. Waived: latency.",
        "Release report of candidate tuned: a merge of json over models/base",
        "Skill checks that hold 3 of 3",
        "Safety vetoes that hold 2 of 2",
        "Ships quantized (W4A16)",
        "ab" * 32,
        "Waived by a named person: ≈ latency: 2.5 times as long waived by Ann Lee",
        "All 3 reasons for the merged weights",
        "✓ json: 92.1 % of the quantized",
        "tone: 3 points better",
        "The golden set is nearly used up.",
        "json exact merged ✓ Promote 800 92.0 % 95.0 % json −3.0 points −4.2 −2.0 −5.0 85.0 %",
        "85.0 % own bound 98.8 %",
        "json[language=de]",
        "a method for paired proportions",
        "json exact 0.100 ★ 0.950 0.920",
        "json parse 0.200 1.000 –",
        "P95 30.0 12.0 2.50 at most 1.5",
        "P50 9.0 11.0 0.82 not judged",
        "base models/base 0e9e39f1 mit – " + "b1" * 32,
        "json models/base+models/json-lora – apache-2.0 strict tool calls " + "b2" * 32,
        "belong together: 1 passed, 1 waived.",
        "They hardly touch.",
        "Added as they are, 39 % of their mass cancels.",
        "json-lora 0.294 10.2 0.49",
        "tone-lora and json-lora −0.310 0.610",
        "outside – – 0 – 0.10 1 – 0.50",
        "json, merged weights: 3 of 800 newly failed, 2 newly better; 1 shown, 2 hidden",
        "json-0007 (exact: json 1, candidate 0; category: returns)",
        "Prompt Route this ticket. Cut at 2000 characters.",
        'Expected {"queue": "returns"}',
        'Answer of json {"queue":"returns"}',
        "Answer of the candidate (merged) I would rather not.",
        "refusal, merged weights: 1 of 800 failed",
        "Prompt Not stored: the task has its own data.",
        "The answer was not kept.",
        "plain task arithmetic: ✗ Reject Reject: json fell short. ✗ json: 71.6 %, 23.2 points worse",
        "latency Ann Lee 2031-12-31 ticket 7",
        "values: b see compat.json – waived by Bo",
        "They overlap.",
        "ties: trimmed, merged where signs agree. Yadav et al. 2023",
        "merge_method: ties models: []",
        'group_size 32; ignored ["lm_head"]; scheme W4A16',
        "golden set json " + "e1" * 32,
        "public key of the signer " + "9f" * 32,
        "mergegate 0.2.0 torch 2.13.0",
        "os.name Linux",
        "All 1 packages that were installed there numpy 2.4.6",
        "mergegate verify release --key TRUSTED.pem model_signing verify key release",
        "The key that signed it has the fingerprint " + "9f" * 32,
    ],
)
def test_the_report_of_a_promotion_says(said: str, tmp_path: Path) -> None:
    assert said in Read(whole(tmp_path)).words


@pytest.mark.parametrize(
    ("outcome", "word", "symbol", "kind"),
    [
        ("reject", "Reject", "✗", "bad"),
        ("inconclusive", "Inconclusive", "?", "open"),
        ("cannot judge", "Cannot judge", "!", "none"),
    ],
)
def test_a_refusal_has_its_word_symbol_and_colour(
    outcome: str, word: str, symbol: str, kind: str, tmp_path: Path
) -> None:
    page = Read(render_report(judged(outcome, "json: why not"), tmp_path, {}))
    assert f"{symbol} {word}: json decided it." in page.words
    assert "Skill checks that hold 0 of 1" in page.words
    assert "Ships nothing" in page.words
    assert f"This speaks against promotion: {symbol} json: why not" in page.words
    assert "Nothing speaks against promotion" not in page.words
    banner = [attributes for _, attributes in page.elements if attributes.get("id") == "verdict"]
    assert banner == [{"class": f"verdict {kind}", "id": "verdict"}]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    words = Read(render_report({}, tmp_path, {})).words
    for said in (
        "! No verdict: The record holds no verdict.",
        "There are no figures",
        "The record holds no comparison.",
        "No latency was measured",
        "The record names no sources.",
        "holds no diagnosis",
        "No examples are kept",
        "No answers to safety suites are kept",
        "Nothing was waived.",
    ):
        assert said in words


def _fields(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = value.items() if isinstance(value, dict) else ()
    return [path, *(found for key, one in inner for found in _fields(one, (*path, key)))]


def test_a_record_may_lack_any_field_or_have_null_there(tmp_path: Path) -> None:
    for path in _fields(promoted())[1:]:
        for absent in (True, False):
            record = promoted()
            holder = record
            for key in path[:-1]:
                holder = holder[key]
            if absent:
                del holder[path[-1]]
            else:
                holder[path[-1]] = None
            page = Read(render_report(record, tmp_path, {}))
            assert not page.unclosed, path


@pytest.mark.parametrize("name", ["diagnosis.json", "policy.json", "compat.json"])
@pytest.mark.parametrize("content", ["", "[]", "{", '{"whole": 3, "cells": [7], "latency": "x"}'])
def test_evidence_that_does_not_read_is_left_out(name: str, content: str, tmp_path: Path) -> None:
    write(tmp_path, evidence())
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert "✓ Promote" in Read(render_report(promoted(), tmp_path, examples())).words


def test_a_merge_that_was_not_quantized_ships_itself(tmp_path: Path) -> None:
    record = promoted()
    record["identity"]["quantized"] = None
    words = Read(render_report(record, tmp_path, {})).words
    assert "Ships the merged weights" in words
    assert "merge: ships" in words


def test_a_refused_quantized_artifact_does_not_ship(tmp_path: Path) -> None:
    record = judged("reject", "json: no")
    record["identity"]["quantized"] = "d2" * 32
    words = Read(render_report(record, tmp_path, {})).words
    assert "Ships nothing" in words
    assert "quantized: ships" not in words


def test_a_waived_check_does_not_count_as_one_that_holds(tmp_path: Path) -> None:
    record = promoted()
    record["verdict"]["rows"] = [row("json", "merged", outcome="reject")]
    told = {"artifact": "merged", "check": "json", "outcome": "reject", "text": "json: worse"}
    record["verdict"]["reasons"] = [{**told, "waiver": "waived by Ann Lee"}]
    words = Read(render_report(record, tmp_path, {})).words
    assert "Skill checks that hold 0 of 1" in words
    assert "json exact merged ≈ Waived" in words


def test_a_release_without_a_key_or_with_sigstore_shows_no_command_for_keys(tmp_path: Path) -> None:
    record = promoted()
    record["signing"]["method"] = "sigstore"
    words = Read(render_report(record, tmp_path, {})).words
    assert "--key" not in words
    assert "It was signed through Sigstore" in words
    del record["signing"]
    words = Read(render_report(record, tmp_path, {})).words
    assert "TRUSTED.pem" not in words
    assert "mergegate verify release" in words


@pytest.mark.parametrize("schema", [1, 2])
def test_releases_of_older_schemas_are_rendered(schema: int, tmp_path: Path) -> None:
    with tarfile.open(RELEASES / f"schema-{schema}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (found,) = tmp_path.rglob("release.json")
    record = json.loads(found.read_text(encoding="utf-8"))
    page = Read(render_report(record, found.parent, {}))
    assert record["release_digest"] in page.words
    assert record["verdict"]["sentence"].partition(": ")[2] in page.words
    for reason in record["verdict"]["reasons"]:
        assert " ".join(reason["text"].split()) in page.words


def test_the_same_release_gives_the_same_bytes(tmp_path: Path) -> None:
    def reverse(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reverse(value[key]) for key in reversed(value)}
        return [reverse(one) for one in value] if isinstance(value, list) else value

    page = whole(tmp_path)
    assert whole(tmp_path) == page
    assert render_report(reverse(promoted()), tmp_path, reverse(examples())) == page


def test_importing_the_package_is_light() -> None:
    heavy = ("torch", "transformers", "mlflow", "prefect", "lm_eval", "matplotlib", "numpy")
    code = f"import sys, pipeline.report; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
